/* SPDX-License-Identifier: Apache-2.0 */
/* The operations: each finds its kernel's arguments and enqueues it. In a step that a graph holds
 * already they only count their work. */
#include "config.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "backend/cuda/cuda.h"
#include "base/mem.h"

bool ant_cuda_is_on(const struct cuda_backend *cuda)
{
    return !cuda->failed && cuda->mode != CUDA_REPLAY;
}

void ant_cuda_done(struct cuda_backend *cuda, cudaError_t e, const char *format, ...)
{
    char what[128];
    va_list args;

    if (e == cudaSuccess && cuda->is_checked)
        e = cudaStreamSynchronize(cuda->stream);
    if ((e == cudaSuccess && !cuda->marks) || cuda->failed)
        return;
    va_start(args, format);
    vsnprintf(what, sizeof(what), format, args);
    va_end(args);
    if (e == cudaSuccess)
        ant_cuda_mark(cuda, what);
    else
        cuda->failed = ant_cuda_fail(&cuda->error, what, e);
}

static void fail(struct cuda_backend *cuda, const char *text)
{
    if (!cuda->failed)
        cuda->failed = ant_fail(&cuda->error, ANT_EBUG, "cuda: %s", text);
}

int ant_cuda_rows_of(const struct cuda_backend *cuda, enum ant_slot slot)
{
    return cuda->slots[slot].is_sampled ? cuda->n_sampled : cuda->n_rows;
}

void ant_cuda_embed(struct ant_backend *be, const struct ant_weight *table)
{
    struct cuda_backend *cuda = cuda_of(be);
    const int *start = cuda->config.vocab_start;
    int rank = start ? cuda->config.parallel->tp_rank : 0;
    int first = start ? start[rank] : 0, end = start ? start[rank + 1] : cuda->arch.vocab;

    if (table->k != cuda->arch.hidden || table->n < end - first)
        fail(cuda, "an embedding that does not fit the model");
    if (!ant_cuda_is_on(cuda))
        return;
    ant_cuda_done(cuda,
                  kern_embed((struct kern_embed){.table = table->matrix,
                                                 .tokens = ant_cuda_integers(cuda, cuda->at.tokens),
                                                 .drawn = cuda->drawn,
                                                 .out = cuda->slots[ANT_SLOT_RESIDUAL].data,
                                                 .rows = cuda->n_rows,
                                                 .hidden = cuda->arch.hidden,
                                                 .first = first,
                                                 .end = end,
                                                 .scale = (float)cuda->arch.embed_scale},
                             cuda->stream),
                  "embedding of %d rows", cuda->n_rows);
}

/* RESIDUAL += the bias and the experts that it lacks. */
static void combine(struct cuda_backend *cuda)
{
    ant_cuda_done(cuda,
                  kern_combine((struct kern_combine){.terms = cuda->late_terms,
                                                     .shift = cuda->late_shift,
                                                     .sum = cuda->slots[ANT_SLOT_RESIDUAL].data,
                                                     .rows = cuda->n_rows,
                                                     .hidden = cuda->arch.hidden},
                               cuda->stream),
                  "sum over the experts of %d rows", cuda->n_rows);
    cuda->late_shift = NULL;
    cuda->late_terms.used = 0;
}

void ant_cuda_settle(struct cuda_backend *cuda)
{
    ant_cuda_settle_clear(cuda);
    if (cuda->late_shift || cuda->late_terms.used > 0)
        combine(cuda);
    if (cuda->has_late_sum)
        ant_cuda_sum(cuda, ANT_SLOT_RESIDUAL);
    cuda->has_late_sum = false;
}

/* The norm of rows of RESIDUAL to a slot, or that of BRANCH, added to RESIDUAL. Only the norm of
 * all rows adds what these lack; of that, a bias is not kept: the next sum has it, too. */
static void norm_rows(struct cuda_backend *cuda, const struct ant_weight *w, enum ant_slot out,
                      const int32_t *index)
{
    bool is_added = out == ANT_SLOT_RESIDUAL;
    if (out != ANT_SLOT_NORMED || cuda->slots[out].scales)
        ant_cuda_settle(cuda);
    struct kern_norm args = {
        .x = cuda->slots[is_added ? ANT_SLOT_BRANCH : ANT_SLOT_RESIDUAL].data,
        .shift = cuda->late_shift,
        .terms = cuda->late_terms,
        .peers = cuda->has_late_sum ? ant_cuda_peers_of(cuda) : (struct kern_peers){0},
        .weight = w->vector,
        .bias = w->vector_bias,
        .index = index,
        .out = is_added ? NULL : cuda->slots[out].data,
        .sum = is_added ? cuda->slots[out].data : NULL,
        .rows = ant_cuda_rows_of(cuda, out),
        .hidden = cuda->arch.hidden,
        .eps = cuda->arch.norm_eps,
        .is_layer = cuda->arch.norm == ANT_NORM_LAYER,
    };

    if (w->vector == NULL || w->k != cuda->arch.hidden || args.x == NULL)
        fail(cuda, "a norm weight that does not fit the model");
    if (!ant_cuda_is_on(cuda))
        return;
    if (cuda->slots[out].scales)
        ant_cuda_done(cuda,
                      kern_norm_e4m3((struct kern_norm_e4m3){.x = args.x,
                                                             .weight = args.weight,
                                                             .out = cuda->slots[out].data,
                                                             .scales = cuda->slots[out].scales,
                                                             .rows = args.rows,
                                                             .hidden = args.hidden,
                                                             .eps = args.eps},
                                     cuda->stream),
                      "norm of %d rows", args.rows);
    else
        ant_cuda_done(cuda, kern_norm(args, cuda->stream), "norm of %d rows", args.rows);
    if (args.terms.used > 0 || args.peers.n > 0) {
        cuda->late_shift = NULL;
        cuda->late_terms.used = 0;
        cuda->has_late_sum = false;
    }
}

void ant_cuda_norm(struct ant_backend *be, const struct ant_weight *w)
{
    struct cuda_backend *cuda = cuda_of(be);
    size_t n = (size_t)cuda->n_rows * (size_t)cuda->arch.hidden;

    if (w) {
        norm_rows(cuda, w, ANT_SLOT_NORMED, NULL);
        return;
    }
    ant_cuda_settle(cuda);
    if (ant_cuda_is_on(cuda))
        ant_cuda_done(cuda,
                      kern_round(cuda->slots[ANT_SLOT_RESIDUAL].data,
                                 cuda->slots[ANT_SLOT_NORMED].data, n, cuda->stream),
                      "rounding of %d rows", cuda->n_rows);
}

void ant_cuda_norm_add(struct ant_backend *be, const struct ant_weight *w)
{
    norm_rows(cuda_of(be), w, ANT_SLOT_RESIDUAL, NULL);
}

void ant_cuda_norm_sampled(struct ant_backend *be, const struct ant_weight *w)
{
    struct cuda_backend *cuda = cuda_of(be);

    norm_rows(cuda, w, ANT_SLOT_LAST, ant_cuda_integers(cuda, cuda->at.sampled));
}

/* Rows of a slot of bf16 as e4m3. */
static void pack(struct cuda_backend *cuda, const struct cuda_slot *slot, int rows)
{
    ant_cuda_done(cuda,
                  kern_row_e4m3((struct kern_row_e4m3){.in = slot->data,
                                                       .out = cuda->packed,
                                                       .scales = cuda->packed_scales,
                                                       .rows = rows,
                                                       .n = slot->cols},
                                cuda->stream),
                  "rounding of %d rows", rows);
}

/* A product of few rows of e4m3 with the bits of no other. */
static cudaError_t multiply_few(struct cuda_backend *cuda, const struct ant_weight *w,
                                const struct ant_gemm_call *call, enum ant_gemm_out kind)
{
    return kern_few_rows_e4m3(
        (struct kern_few_rows_e4m3){.in = call->in,
                                    .weight = call->weight,
                                    .in_scales = call->in_scales,
                                    .weight_scales = call->weight_scales,
                                    .bias = call->bias,
                                    .out = kind == ANT_GEMM_BF16 ? call->out : NULL,
                                    .out_f32 = kind == ANT_GEMM_BF16 ? NULL : call->out,
                                    .rows = call->rows,
                                    .n = w->n,
                                    .k = w->k,
                                    .add = kind == ANT_GEMM_ADD},
        cuda->stream);
}

/* One product, its bias included. The library adds a bias to bf16 results only. */
static void multiply(struct cuda_backend *cuda, const struct ant_weight *w, enum ant_slot in,
                     void *out, enum ant_gemm_out kind)
{
    int rows = ant_cuda_rows_of(cuda, in);
    bool is_bias_fused = w->bias && kind == ANT_GEMM_BF16;
    struct ant_gemm_shape shape = {w->n, w->k, kind, is_bias_fused, w->scales != NULL};
    struct ant_gemm_call call = {
        rows, cuda->slots[in].data,   w->matrix, is_bias_fused ? w->bias : NULL,
        out,  cuda->slots[in].scales, w->scales};
    int plan = ant_gemm_find(cuda->gemm, &shape, rows);

    if (plan < 0) {
        fail(cuda, "a product that was not planned");
        return;
    }
    if (w->scales && !call.in_scales) {
        pack(cuda, &cuda->slots[in], rows);
        call.in = cuda->packed;
        call.in_scales = cuda->packed_scales;
    }
    cudaError_t e = cudaSuccess;
    if (w->scales && cuda->config.is_fast && rows <= KERN_FEW_ROWS) {
        e = multiply_few(cuda, w, &call, kind);
    } else {
        int rc = ant_gemm_run(cuda->gemm, plan, &call, cuda->stream, &cuda->error);
        if (rc < 0)
            cuda->failed = rc;
    }
    ant_cuda_done(cuda, e, "product of %d rows with %d x %d", rows, w->n, w->k);
    if (cuda->failed || !w->bias || is_bias_fused)
        return;
    if (out == cuda->slots[ANT_SLOT_RESIDUAL].data)
        cuda->late_shift = w->bias;
    else
        ant_cuda_done(
            cuda,
            kern_bias((struct kern_bias){.out = out, .bias = w->bias, .rows = rows, .n = w->n},
                      cuda->stream),
            "bias of %d rows", rows);
}

static void cap_logits(struct cuda_backend *cuda, float *logits, int columns)
{
    if (!cuda->failed)
        ant_cuda_done(cuda,
                      kern_softcap(logits, (size_t)cuda->n_sampled * (size_t)columns,
                                   cuda->arch.logit_softcap, cuda->stream),
                      "softcap of %d rows", cuda->n_sampled);
}

static void multiply_gated(struct cuda_backend *cuda, const struct ant_weight *w, enum ant_slot in,
                           enum ant_slot out)
{
    if (cuda->n_rows <= KERN_FEW_ROWS && !w->bias && !w->scales && cuda->arch.act == ANT_ACT_SILU) {
        ant_cuda_done(cuda,
                      kern_few_rows_glu((struct kern_chain){.in = cuda->slots[in].data,
                                                            .weight = w->matrix,
                                                            .out = cuda->slots[out].data,
                                                            .rows = cuda->n_rows,
                                                            .n = w->n,
                                                            .k = w->k},
                                        cuda->stream),
                      "gated product of %d rows with %d x %d", cuda->n_rows, w->n, w->k);
        return;
    }
    multiply(cuda, w, in, cuda->gate_up, ANT_GEMM_BF16);
    if (!cuda->failed && cuda->slots[out].scales)
        ant_cuda_done(cuda,
                      kern_glu_e4m3((struct kern_row_e4m3){.in = cuda->gate_up,
                                                           .out = cuda->slots[out].data,
                                                           .scales = cuda->slots[out].scales,
                                                           .rows = cuda->n_rows,
                                                           .n = cuda->slots[out].cols},
                                    cuda->stream),
                      "gated activation of %d rows", cuda->n_rows);
    else if (!cuda->failed)
        ant_cuda_done(cuda,
                      kern_glu((struct kern_glu){.in = cuda->gate_up,
                                                 .out = cuda->slots[out].data,
                                                 .rows = cuda->n_rows,
                                                 .ff = cuda->slots[out].cols,
                                                 .is_gelu = cuda->arch.act == ANT_ACT_GELU},
                               cuda->stream),
                      "gated activation of %d rows", cuda->n_rows);
}

void ant_cuda_gemm(struct ant_backend *be, const struct ant_weight *w, enum ant_slot in,
                   enum ant_slot out, enum ant_epilogue epilogue)
{
    struct cuda_backend *cuda = cuda_of(be);
    bool is_glu = epilogue == ANT_EPILOGUE_GLU;
    bool is_part = out == ANT_SLOT_LOGITS && cuda->part;
    int cols = is_glu ? 2 * cuda->slots[out].cols : is_part ? cuda->columns : cuda->slots[out].cols;

    ant_tally_add(&cuda->tally.weight_bytes, (double)w->bytes);
    ant_tally_add(&cuda->tally.flops, 2.0 * ant_cuda_rows_of(cuda, in) * w->n * w->k);
    if (w->matrix == NULL || w->k != cuda->slots[in].cols || w->n != cols)
        fail(cuda, "a product whose weight does not fit its slots");
    if (!ant_cuda_is_on(cuda) || ant_cuda_rows_of(cuda, in) == 0)
        return;
    bool is_stored =
        epilogue == ANT_EPILOGUE_ADD && cuda->has_late_clear && cuda->late_terms.used == 0;
    if (is_stored)
        cuda->has_late_clear = false;
    if (epilogue == ANT_EPILOGUE_SHARE || out == ANT_SLOT_RESIDUAL)
        ant_cuda_settle(cuda);
    if (epilogue == ANT_EPILOGUE_SHARE) {
        multiply(cuda, w, in, cuda->moe.out, ANT_GEMM_BF16);
        ant_cuda_add_share(cuda);
        return;
    }
    if (is_glu) {
        multiply_gated(cuda, w, in, out);
        return;
    }
    void *to = is_part ? cuda->part : cuda->slots[out].data;
    multiply(cuda, w, in, to,
             epilogue == ANT_EPILOGUE_ADD && !is_stored ? ANT_GEMM_ADD
             : cuda->slots[out].is_float                ? ANT_GEMM_F32
                                                        : ANT_GEMM_BF16);
    if (out == ANT_SLOT_LOGITS && cuda->arch.logit_softcap > 0)
        cap_logits(cuda, to, w->n);
}

static void *layer_cache(const struct cuda_backend *cuda, int layer, bool is_value)
{
    return cuda->kv + (2 * (size_t)layer + is_value) * cuda->layer_bytes;
}

/* Are these the norms that the model has of queries or keys of `heads` heads? */
static bool fits(const struct ant_arch *arch, const struct ant_weight *norm, int heads)
{
    if (arch->qk_norm == ANT_QK_NORM_NONE)
        return norm == NULL;
    int n = arch->head_dim * (arch->qk_norm == ANT_QK_NORM_WHOLE ? heads : 1);
    return norm && norm->vector && norm->k == n;
}

/* Norms over all queries, and all keys, come before the rotation. */
static void norm_whole(struct cuda_backend *cuda, const float *q_norm, const float *k_norm)
{
    const struct ant_arch *arch = &cuda->arch;

    ant_cuda_done(cuda,
                  kern_qk_norm((struct kern_qk_norm){.qkv = cuda->slots[ANT_SLOT_QKV].data,
                                                     .q_norm = q_norm,
                                                     .k_norm = k_norm,
                                                     .rows = cuda->n_rows,
                                                     .heads = arch->n_heads,
                                                     .kv_heads = arch->n_kv_heads,
                                                     .head_dim = cuda->head_dim,
                                                     .dim = arch->head_dim,
                                                     .eps = arch->norm_eps},
                               cuda->stream),
                  "norms of queries and keys of %d rows", cuda->n_rows);
}

void ant_cuda_rope_append(struct ant_backend *be, int layer, const struct ant_weight *q_norm,
                          const struct ant_weight *k_norm)
{
    struct cuda_backend *cuda = cuda_of(be);
    const struct ant_arch *arch = &cuda->arch;
    bool is_local = arch->layers[layer] & ANT_LAYER_LOCAL_ROPE;
    bool is_turned = !(arch->layers[layer] & ANT_LAYER_NO_ROPE);
    const struct ant_rope *rope = is_local ? &arch->local_rope : &arch->rope;
    bool is_by_head = arch->qk_norm == ANT_QK_NORM_HEAD;
    bool is_e4m3 = cuda->config.kv_type == ANT_KV_FP8;
    void *k_cache = is_e4m3 ? NULL : layer_cache(cuda, layer, false);

    if (!fits(arch, q_norm, arch->n_heads) || !fits(arch, k_norm, arch->n_kv_heads))
        fail(cuda, "norms of queries and keys that do not fit the model");
    if (!ant_cuda_is_on(cuda))
        return;
    if (arch->qk_norm == ANT_QK_NORM_WHOLE)
        norm_whole(cuda, q_norm->vector, k_norm->vector);
    ant_cuda_done(
        cuda,
        kern_rope_append(
            (struct kern_rope_append){.qkv = cuda->slots[ANT_SLOT_QKV].data,
                                      .table = is_local ? cuda->local_rope : cuda->rope,
                                      .positions = ant_cuda_integers(cuda, cuda->at.positions),
                                      .slots = ant_cuda_integers(cuda, cuda->at.slots),
                                      .k_cache = k_cache,
                                      .v_cache = layer_cache(cuda, layer, true),
                                      .rows = cuda->n_rows,
                                      .heads = arch->n_heads,
                                      .kv_heads = arch->n_kv_heads,
                                      .head_dim = cuda->head_dim,
                                      .rope_dim = is_turned ? rope->dim : 0,
                                      .interleaved = rope->interleaved,
                                      .q_norm = is_by_head ? q_norm->vector : NULL,
                                      .k_norm = is_by_head ? k_norm->vector : NULL,
                                      .norm_dim = arch->head_dim,
                                      .eps = arch->norm_eps},
            cuda->stream),
        "positions of layer %d", layer);
    if (is_e4m3)
        ant_cuda_done(
            cuda,
            kern_append_e4m3(
                (struct kern_append_e4m3){.qkv = cuda->slots[ANT_SLOT_QKV].data,
                                          .slots = ant_cuda_integers(cuda, cuda->at.slots),
                                          .k_cache = layer_cache(cuda, layer, false),
                                          .v_cache = layer_cache(cuda, layer, true),
                                          .rows = cuda->n_rows,
                                          .heads = arch->n_heads,
                                          .kv_heads = arch->n_kv_heads,
                                          .head_dim = cuda->head_dim},
                cuda->stream),
            "cache of layer %d", layer);
}

static struct kern_attn attention_args(const struct cuda_backend *cuda, int layer, int window)
{
    const struct ant_arch *arch = &cuda->arch;

    return (struct kern_attn){.q = cuda->slots[ANT_SLOT_QKV].data,
                              .out = cuda->slots[ANT_SLOT_ATTN].data,
                              .k_cache = layer_cache(cuda, layer, false),
                              .v_cache = layer_cache(cuda, layer, true),
                              .pages = ant_cuda_integers(cuda, cuda->at.tail),
                              .partial = cuda->partial,
                              .part_rows = cuda->plan.part_rows,
                              .arrived = cuda->arrived,
                              .q_stride = cuda->slots[ANT_SLOT_QKV].cols,
                              .out_stride = cuda->slots[ANT_SLOT_ATTN].cols,
                              .heads = arch->n_heads,
                              .kv_heads = arch->n_kv_heads,
                              .head_dim = cuda->head_dim,
                              .window = window,
                              .scale = (float)ant_arch_attn_scale(arch),
                              .softcap = arch->attn_softcap};
}

static cudaError_t decode(const struct cuda_backend *cuda, const struct kern_attn *args)
{
    return cuda->config.kv_type == ANT_KV_FP8 ? kern_attn_decode_e4m3(*args, cuda->stream)
                                              : kern_attn_decode(*args, cuda->stream);
}

static cudaError_t prefill(const struct cuda_backend *cuda, const struct kern_attn *args)
{
    return cuda->config.kv_type == ANT_KV_FP8 ? kern_attn_prefill_e4m3(*args, cuda->stream)
                                              : kern_attn_prefill(*args, cuda->stream);
}

/* A captured launch serves any number of items: the device knows it, the blocks take them in
 * turn. Enough of them for contexts of one chunk, or for a few long ones. */
static void attend_captured(struct cuda_backend *cuda, struct kern_attn args, int layer)
{
    int enough = 4 * cuda->prop.multiProcessorCount / args.kv_heads + 1;
    int most = cuda->n_rows * (cuda->config.max_context / KERN_CHUNK_KEYS + 1);

    args.items = (const void *)args.pages;
    args.n_items = cuda->n_rows > enough ? cuda->n_rows : enough < most ? enough : most;
    ant_cuda_done(cuda, decode(cuda, &args), "attention of layer %d, %d rows", layer, cuda->n_rows);
}

void ant_cuda_attention(struct ant_backend *be, int layer, int window)
{
    struct cuda_backend *cuda = cuda_of(be);
    const struct ant_attn_plan *plan = &cuda->plan;
    struct kern_attn args = attention_args(cuda, layer, window);
    const struct kern_attn_item *items = (const void *)args.pages;

    ant_tally_add(&cuda->tally.kv_bytes,
                  2.0 * (double)cuda->n_keys * (double)ant_cuda_page_bytes(cuda) / ANT_PAGE_TOKENS);
    if (window != ant_arch_window(&cuda->arch, layer))
        fail(cuda, "a window that is not the model's");
    if (!ant_cuda_is_on(cuda))
        return;
    args.count = ant_cuda_integers(cuda, cuda->at.count);
    if (plan->n_shared > 0) {
        args.n_items = cuda->mode == CUDA_CAPTURE ? cuda->prop.multiProcessorCount : plan->n_shared;
        ant_cuda_done(cuda, kern_attn_shared(args, cuda->stream),
                      "shared attention of layer %d, %d items", layer, args.n_items);
    }
    if (cuda->mode == CUDA_CAPTURE) {
        attend_captured(cuda, args, layer);
        return;
    }
    args.count = NULL;
    for (int round = 0; round < plan->n_rounds; round++) {
        int first = round > 0 ? plan->round_end[round - 1] : 0;
        args.items = items + first;
        args.n_items = plan->round_end[round] - first;
        ant_cuda_done(cuda, decode(cuda, &args), "attention of layer %d, %d items", layer,
                      args.n_items);
    }
    args.items = (const void *)(args.pages + cuda->prefill_at);
    args.n_items = plan->n_prefill;
    ant_cuda_done(cuda, prefill(cuda, &args), "prompt attention of layer %d, %d items", layer,
                  args.n_items);
}

int ant_cuda_read_slot(struct ant_backend *be, enum ant_slot slot, int row, float *out, int n,
                       struct ant_error *err)
{
    struct cuda_backend *cuda = cuda_of(be);
    const struct cuda_slot *s = &cuda->slots[slot];
    size_t bytes = s->is_float ? 4 : 2;
    const char *from = (const char *)s->data + (size_t)row * (size_t)s->cols * bytes;

    if (!cuda->config.reads_slots || s->scales)
        return ant_fail(err, ANT_EBUG, "slots can be read only where the backend was told so");
    if (row < 0 || row >= ant_cuda_rows_of(cuda, slot) || n < 0 || n > s->cols)
        return ant_fail(err, ANT_EUSAGE, "row %d of %d values is outside a slot of %d rows by %d",
                        row, n, ant_cuda_rows_of(cuda, slot), s->cols);
    ant_cuda_settle(cuda);
    if (cuda->failed) {
        *err = cuda->error;
        return cuda->failed;
    }
    uint16_t *half = ant_xmalloc((size_t)n * 2 + 2);
    ANT_CUDA_TRY("cannot read a slot", cudaStreamSynchronize(cuda->stream));
    cudaError_t e = cudaMemcpy(s->is_float ? (void *)out : half, from, (size_t)n * bytes,
                               cudaMemcpyDeviceToHost);
    for (int i = 0; i < n && !s->is_float; i++)
        out[i] = ant_bf16_to_float(half[i]);
    free(half);
    ANT_CUDA_TRY("cannot read a slot", e);
    return 0;
}
