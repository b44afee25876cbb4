/* SPDX-License-Identifier: Apache-2.0 */
/* Rotation and append, norm, gated activation, embedding. */
#include "config.h"

#include "check.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cuda/kern.h"

static float *floats_of(const uint16_t *x, size_t n)
{
    float *f = malloc((n + 1) * sizeof(*f));

    for (size_t i = 0; i < n; i++)
        f[i] = check_float(x[i]);
    return f;
}

static bool same_rows(const void *a, const void *b, size_t bytes)
{
    return memcmp(a, b, bytes) == 0;
}

/* ---- rope ------------------------------------------------------------------------------------ */

enum { MAX_POSITION = 300 };

/* What one (row, head) becomes. */
static void rope_reference(double *out, const uint16_t *x, const float *norm, int norm_dim,
                           const float *table, int dim, int rope_dim, bool interleaved)
{
    double sum = 0;

    for (int i = 0; i < dim; i++) {
        out[i] = check_float(x[i]);
        sum += out[i] * out[i];
    }
    for (int i = 0; norm && i < dim; i++)
        out[i] *= i < norm_dim ? norm[i] / sqrt(sum / norm_dim + 1e-5) : 0;
    for (int i = 0; i < rope_dim / 2; i++) {
        int a = interleaved ? 2 * i : i, b = interleaved ? 2 * i + 1 : i + rope_dim / 2;
        double c = table[2 * i], s = table[2 * i + 1];
        double p = out[a], q = out[b];
        out[a] = p * c - q * s;
        out[b] = p * s + q * c;
    }
}

/* norm_dim 0: queries and keys are not normed. */
static void check_rope_shape(int rows, int heads, int kv_heads, int dim, int rope_dim,
                             bool interleaved, int norm_dim)
{
    int width = (heads + 2 * kv_heads) * dim, n_slots = rows + 40;
    int n_pages = (n_slots + KERN_PAGE_TOKENS - 1) / KERN_PAGE_TOKENS;
    size_t n = (size_t)rows * width;
    size_t n_cache = (size_t)n_pages * KERN_PAGE_TOKENS * kv_heads * dim;
    uint16_t *qkv = malloc(n * 2), *got = malloc(n * 2);
    uint16_t *cache[2] = {malloc(n_cache * 2), malloc(n_cache * 2)};
    float *table = malloc(sizeof(*table) * MAX_POSITION * rope_dim);
    int32_t *positions = malloc(sizeof(*positions) * rows), *slots = malloc(sizeof(*slots) * rows);

    float norms[2 * 256];
    check_fill_float(norms, 2 * 256, 1);
    struct check_buffer b_norms = check_upload(norms, sizeof(norms));
    check_fill_bf16(qkv, n, 1);
    for (size_t i = 0; i < n && norm_dim > 0; i++) /* padding is 0 */
        qkv[i] = (int)(i % dim) < norm_dim ? qkv[i] : 0;
    for (int i = 0; i < MAX_POSITION * rope_dim / 2; i++) {
        table[2 * i] = (float)cos(i * 0.37);
        table[2 * i + 1] = (float)sin(i * 0.37);
    }
    int shift = check_pick(0, 39);
    for (int r = 0; r < rows; r++) {
        positions[r] = check_pick(0, MAX_POSITION - 1);
        slots[r] = check_pick(0, 9) ? (r * 7 + shift) % rows + shift / 2 : -1;
        for (int e = 0; e < r; e++) /* a slot holds one token */
            if (slots[e] == slots[r])
                slots[r] = -1;
    }
    struct check_buffer b_qkv = check_upload(qkv, n * 2), b_k = check_device(n_cache * 2);
    struct check_buffer b_v = check_device(n_cache * 2);
    struct check_buffer b_table = check_upload(table, sizeof(*table) * MAX_POSITION * rope_dim);
    struct check_buffer b_positions = check_upload(positions, sizeof(*positions) * rows);
    struct check_buffer b_slots = check_upload(slots, sizeof(*slots) * rows);

    CU(kern_rope_append(
        (struct kern_rope_append){.qkv = b_qkv.p,
                                  .table = b_table.p,
                                  .positions = b_positions.p,
                                  .slots = b_slots.p,
                                  .k_cache = b_k.p,
                                  .v_cache = b_v.p,
                                  .rows = rows,
                                  .heads = heads,
                                  .kv_heads = kv_heads,
                                  .head_dim = dim,
                                  .rope_dim = rope_dim,
                                  .interleaved = interleaved,
                                  .q_norm = norm_dim ? b_norms.p : NULL,
                                  .k_norm = norm_dim ? (float *)b_norms.p + 256 : NULL,
                                  .norm_dim = norm_dim,
                                  .eps = 1e-5f},
        0));
    check_release(&b_norms, "rope norms");
    check_download(got, &b_qkv);
    check_download(cache[0], &b_k);
    check_download(cache[1], &b_v);
    double *want = malloc(sizeof(*want) * dim);
    size_t kept = 0, written = 0;
    for (int r = 0; r < rows; r++) {
        for (int h = 0; h < heads + 2 * kv_heads; h++) {
            const uint16_t *x = qkv + (size_t)r * width + h * dim, *y = got + (x - qkv);
            bool is_value = h >= heads + kv_heads;
            const float *row_table = table + (size_t)positions[r] * rope_dim;
            const float *norm = is_value || norm_dim == 0 ? NULL : norms + (h >= heads ? 256 : 0);
            rope_reference(want, x, norm, norm_dim, row_table, dim, is_value ? 0 : rope_dim,
                           interleaved);
            if (h >= heads) {
                check_that(same_rows(x, y, dim * 2), "rope: row %d changed k or v of qkv", r);
                if (slots[r] < 0)
                    continue;
                size_t page = slots[r] / KERN_PAGE_TOKENS, token = slots[r] % KERN_PAGE_TOKENS;
                y = cache[is_value] +
                    ((page * kv_heads + (h - heads) % kv_heads) * KERN_PAGE_TOKENS + token) * dim;
                kept += dim;
            }
            float *f = floats_of(y, dim);
            check_close("rope", f, want, dim, 4e-3);
            free(f);
        }
    }
    for (size_t i = 0; i < 2 * n_cache; i++)
        written += cache[i / n_cache][i % n_cache] != 0xffff;
    check_that(written == kept, "rope: %zu values in the cache, not %zu", written, kept);
    check_release(&b_qkv, "rope qkv");
    check_release(&b_k, "rope k");
    check_release(&b_v, "rope v");
    check_release(&b_table, "rope table");
    check_release(&b_positions, "rope positions");
    check_release(&b_slots, "rope slots");
    free(qkv), free(got), free(cache[0]), free(cache[1]), free(table), free(positions), free(slots);
    free(want);
}

/* ---- norm ------------------------------------------------------------------------------------ */

/* What a kind of norm also does. */
enum { IS_LAYER = 1, HAS_BIAS = 2, IS_ADDED = 4 };

static void check_norm_shape(int rows, int hidden, bool with_delta, bool gathered, int kind)
{
    size_t n = (size_t)rows * hidden;
    int n_source = gathered ? rows * 2 + 1 : rows;
    float *x = malloc(sizeof(*x) * n_source * hidden), *weight = malloc(sizeof(*weight) * hidden);
    uint16_t *delta = malloc(n * 2 + 2), *got = malloc(n * 2);
    int32_t *index = malloc(sizeof(*index) * rows);
    double *want = malloc(sizeof(*want) * n), *sums = malloc(sizeof(*sums) * n);
    float *after = malloc(sizeof(*after) * n_source * hidden);
    float *bias = malloc(sizeof(*bias) * hidden), *sum_in = malloc(sizeof(*sum_in) * n);

    check_fill_float(bias, hidden, 1);
    check_fill_float(sum_in, n, 5);
    check_fill_float(x, (size_t)n_source * hidden, 3);
    check_fill_float(weight, hidden, 1);
    check_fill_bf16(delta, n, 2);
    for (int r = 0; r < rows; r++)
        index[r] = gathered ? check_pick(0, n_source - 1) : r;
    for (int r = 0; r < rows; r++) {
        double sum = 0, mean = 0;
        for (int i = 0; i < hidden; i++) {
            double v = x[(size_t)index[r] * hidden + i];
            if (with_delta)
                v += check_float(delta[(size_t)r * hidden + i]);
            sums[(size_t)r * hidden + i] = v;
            mean += kind & IS_LAYER ? v / hidden : 0;
        }
        for (int i = 0; i < hidden; i++)
            sum += pow(sums[(size_t)r * hidden + i] - mean, 2);
        for (int i = 0; i < hidden; i++) {
            size_t at = (size_t)r * hidden + i;
            want[at] = (sums[at] - mean) / sqrt(sum / hidden + 1e-5) * weight[i];
            want[at] += kind & HAS_BIAS ? bias[i] : 0;
            want[at] += kind & IS_ADDED ? sum_in[at] : 0;
        }
    }
    struct check_buffer b_bias = check_upload(bias, sizeof(*bias) * hidden);
    struct check_buffer b_sum = check_upload(sum_in, sizeof(*sum_in) * n);
    struct check_buffer b_x = check_upload(x, sizeof(*x) * n_source * hidden);
    struct check_buffer b_delta = check_upload(delta, n * 2);
    struct check_buffer b_weight = check_upload(weight, sizeof(*weight) * hidden);
    struct check_buffer b_index = check_upload(index, sizeof(*index) * rows);
    struct check_buffer b_out = check_device(n * 2);
    CU(kern_norm((struct kern_norm){.x = b_x.p,
                                    .delta = with_delta ? b_delta.p : NULL,
                                    .weight = b_weight.p,
                                    .bias = kind & HAS_BIAS ? b_bias.p : NULL,
                                    .index = gathered ? b_index.p : NULL,
                                    .out = kind & IS_ADDED ? NULL : b_out.p,
                                    .sum = kind & IS_ADDED ? b_sum.p : NULL,
                                    .rows = rows,
                                    .hidden = hidden,
                                    .eps = 1e-5f,
                                    .is_layer = kind & IS_LAYER},
                 0));
    check_download(got, &b_out);
    check_download(sum_in, &b_sum);
    float *f = floats_of(got, n);
    check_close("norm", kind & IS_ADDED ? sum_in : f, want, n, kind & IS_ADDED ? 1e-5 : 4e-3);
    check_release(&b_bias, "norm bias");
    check_release(&b_sum, "norm sum");
    free(bias), free(sum_in);
    check_download(after, &b_x);
    if (with_delta)
        check_close("norm residual", after, sums, n, 1e-6);
    else
        check_that(same_rows(after, x, b_x.bytes), "norm: residual changed");
    check_release(&b_x, "norm x");
    check_release(&b_delta, "norm delta");
    check_release(&b_weight, "norm weight");
    check_release(&b_index, "norm index");
    check_release(&b_out, "norm out");
    free(x), free(weight), free(delta), free(got), free(index), free(want), free(sums);
    free(after), free(f);
}

/* ---- gated activation and embedding ---------------------------------------------------------- */

static void check_glu_shape(int rows, int ff, bool is_gelu)
{
    size_t n = (size_t)rows * ff;
    uint16_t *in = malloc(n * 4), *got = malloc(n * 2);
    double *want = malloc(sizeof(*want) * n);

    check_fill_bf16(in, 2 * n, 4);
    in[0] = check_bf16(-300); /* the exponential overflows: the gate is 0 */
    for (int r = 0; r < rows; r++) {
        for (int i = 0; i < ff; i++) {
            double g = check_float(in[(size_t)r * 2 * ff + i]);
            double gate = is_gelu
                              ? g / 2 * (1 + tanh(0.7978845608028654 * (g + 0.044715 * g * g * g)))
                              : g / (1 + exp(-g));
            want[(size_t)r * ff + i] = gate * check_float(in[(size_t)r * 2 * ff + ff + i]);
        }
    }
    struct check_buffer b_in = check_upload(in, n * 4), b_out = check_device(n * 2);
    struct kern_glu a = {b_in.p, b_out.p, rows, ff, is_gelu};
    CU(kern_glu(a, 0));
    check_download(got, &b_out);
    float *f = floats_of(got, n);
    check_close("glu", f, want, n, 4e-3);
    check_release(&b_in, "glu in");
    check_release(&b_out, "glu out");
    free(in), free(got), free(want), free(f);
}

/* Softcap and rounding. */
static void check_values(int n)
{
    float *x = malloc(sizeof(*x) * n), *got = malloc(sizeof(*got) * n);
    double *want = malloc(sizeof(*want) * n), *same = malloc(sizeof(*same) * n);
    uint16_t *rounded = malloc((size_t)n * 2);

    check_fill_float(x, n, 40);
    for (int i = 0; i < n; i++) {
        want[i] = 30 * tanh(x[i] / 30.0);
        same[i] = check_float(check_bf16(x[i]));
    }
    struct check_buffer b_x = check_upload(x, sizeof(*x) * n), b_out = check_device((size_t)n * 2);
    CU(kern_round(b_x.p, b_out.p, n, 0));
    CU(kern_softcap(b_x.p, n, 30, 0));
    check_download(got, &b_x);
    check_close("softcap", got, want, n, 1e-6);
    check_download(rounded, &b_out);
    float *f = floats_of(rounded, n);
    check_close("round", f, same, n, 0);
    check_release(&b_x, "softcap x");
    check_release(&b_out, "round out");
    free(x), free(got), free(want), free(same), free(rounded), free(f);
}

static void check_qk_norm_shape(int rows, int heads, int kv_heads, int head_dim, int dim)
{
    int all = heads + 2 * kv_heads, n_weights = (heads + kv_heads) * dim;
    size_t n = (size_t)rows * all * head_dim;
    uint16_t *qkv = malloc(n * 2);
    float *weights = malloc(sizeof(*weights) * n_weights);
    double *want = malloc(sizeof(*want) * n);

    check_fill_bf16(qkv, n, 2);
    check_fill_float(weights, n_weights, 1);
    for (size_t i = 0; i < n; i++)
        qkv[i] = (int)(i % head_dim) < dim ? qkv[i] : 0;
    for (int r = 0; r < rows; r++)
        for (int part = 0; part < 3; part++) {
            int count = part ? kv_heads : heads, first = part ? heads + (part - 1) * kv_heads : 0;
            size_t at = ((size_t)r * all + first) * head_dim;
            double sum = 0;
            for (int i = 0; i < count * head_dim; i++)
                sum += pow(check_float(qkv[at + i]), 2);
            double scale = 1 / sqrt(sum / (count * dim) + 1e-6);
            for (int i = 0; i < count * head_dim; i++) {
                int w = (part ? heads * dim : 0) + i / head_dim * dim + i % head_dim;
                want[at + i] = check_float(qkv[at + i]);
                if (part < 2)
                    want[at + i] *= i % head_dim < dim ? scale * weights[w] : 0;
            }
        }
    struct check_buffer b = check_upload(qkv, n * 2);
    struct check_buffer b_weights = check_upload(weights, sizeof(*weights) * n_weights);
    float *k_norm = (float *)b_weights.p + heads * dim;
    CU(kern_qk_norm((struct kern_qk_norm){b.p, b_weights.p, k_norm, rows, heads, kv_heads, head_dim,
                                          dim, 1e-6f},
                    0));
    check_download(qkv, &b);
    float *f = floats_of(qkv, n);
    check_close("norms of queries and keys", f, want, n, 4e-3);
    check_release(&b, "qk norm");
    check_release(&b_weights, "qk norm weights");
    free(qkv), free(weights), free(want), free(f);
}

static void check_embed_shape(int rows, int hidden)
{
    enum { VOCAB = 37 };
    size_t n = (size_t)rows * hidden;
    uint16_t *table = malloc((size_t)VOCAB * hidden * 2);
    int32_t *tokens = malloc(sizeof(*tokens) * rows), drawn[5];
    float *got = malloc(sizeof(*got) * n);
    double *want = malloc(sizeof(*want) * n);

    check_fill_bf16(table, (size_t)VOCAB * hidden, 1);
    for (int i = 0; i < 5; i++)
        drawn[i] = check_pick(0, VOCAB - 1);
    for (int r = 0; r < rows; r++) {
        int from = check_pick(0, 9);
        tokens[r] = from < 5 ? ~from : check_pick(0, VOCAB - 1);
        int id = from < 5 ? drawn[from] : tokens[r];
        for (int i = 0; i < hidden; i++)
            want[(size_t)r * hidden + i] = 3.5 * check_float(table[(size_t)id * hidden + i]);
    }
    struct check_buffer b_table = check_upload(table, (size_t)VOCAB * hidden * 2);
    struct check_buffer b_tokens = check_upload(tokens, sizeof(*tokens) * rows);
    struct check_buffer b_drawn = check_upload(drawn, sizeof(drawn));
    struct check_buffer b_out = check_device(sizeof(float) * n);
    CU(kern_embed((struct kern_embed){.table = b_table.p,
                                      .tokens = b_tokens.p,
                                      .drawn = b_drawn.p,
                                      .out = b_out.p,
                                      .rows = rows,
                                      .hidden = hidden,
                                      .end = VOCAB,
                                      .scale = 3.5f},
                  0));
    check_download(got, &b_out);
    check_close("embed", got, want, n, 0);
    check_release(&b_table, "embed table");
    check_release(&b_tokens, "embed tokens");
    check_release(&b_drawn, "embed drawn");
    check_release(&b_out, "embed out");
    free(table), free(tokens), free(got), free(want);
}

void check_rows(void)
{
    static const int hiddens[] = {8, 64, 576, 2048, 2056, 3584, 4096, 5120, 8192, 12288, 16384};
    int times = check_quick ? 1 : 4;

    for (int t = 0; t < times; t++) {
        for (int interleaved = 0; interleaved < 2; interleaved++) {
            check_rope_shape(check_pick(1, 40), 9, 3, 64, 64, interleaved, 0);
            check_rope_shape(check_pick(1, 40), 8, 2, 128, 128, interleaved, 0);
            check_rope_shape(check_pick(1, 40), 7, 1, 128, 64, interleaved, 0);
            check_rope_shape(check_pick(1, 20), 2, 2, 96, 32, interleaved, 0);
            check_rope_shape(check_pick(1, 40), 4, 2, 64, 24, interleaved, 0);
            check_rope_shape(check_pick(1, 40), 5, 2, 64, 32, interleaved, 32);
            check_rope_shape(check_pick(1, 40), 8, 2, 128, 128, interleaved, 128);
            check_rope_shape(check_pick(1, 40), 4, 1, 256, 256, interleaved, 256);
            check_rope_shape(check_pick(1, 40), 4, 1, 256, 0, interleaved, 192);
        }
        for (size_t h = 0; h < sizeof(hiddens) / sizeof(*hiddens); h++) {
            check_norm_shape(check_pick(1, 9), hiddens[h], false, false, 0);
            check_norm_shape(check_pick(1, 9), hiddens[h], true, false, 0);
            check_norm_shape(check_pick(1, 9), hiddens[h], false, true, 0);
            check_norm_shape(check_pick(1, 9), hiddens[h], false, true, IS_LAYER | HAS_BIAS);
            check_norm_shape(check_pick(1, 9), hiddens[h], false, false,
                             check_pick(0, 3) | IS_ADDED);
            check_embed_shape(check_pick(1, 9), hiddens[h]);
        }
        check_glu_shape(check_pick(1, 40), 8 * check_pick(1, 300), false);
        check_glu_shape(check_pick(1, 40), 8 * check_pick(1, 300), true);
        check_glu_shape(check_pick(1, 5), 14336, false);
        check_glu_shape(check_pick(1, 70), 1536, false);
        check_values(8 * check_pick(1, 5000));
        check_qk_norm_shape(check_pick(1, 20), 9, 3, 64, 48);
        check_qk_norm_shape(check_pick(1, 20), 16, 16, 128, 128);
    }
    CU(kern_norm((struct kern_norm){.hidden = 64}, 0)); /* no rows: nothing to launch */
    CU(kern_glu((struct kern_glu){.ff = 64}, 0));
    CU(kern_embed((struct kern_embed){.hidden = 64}, 0));
    CU(kern_rope_append((struct kern_rope_append){.head_dim = 64, .rope_dim = 64}, 0));
    check_that(kern_norm((struct kern_norm){.rows = 1, .hidden = 12}, 0) == cudaErrorInvalidValue,
               "norm: accepts a row of 12");
    printf("rows: done\n");
}

/* ---- speed ----------------------------------------------------------------------------------- */

struct bench {
    struct kern_rope_append rope;
    struct kern_norm norm;
    struct kern_glu glu;
    struct kern_embed embed;
    size_t rotate; /* bytes between the inputs of successive launches */
    int n_rotate;
};

static void run_rope(void *context, int i)
{
    struct bench *b = context;
    struct kern_rope_append a = b->rope;

    a.qkv += (size_t)(i % b->n_rotate) * b->rotate / 2;
    CU(kern_rope_append(a, 0));
}

static void run_norm(void *context, int i)
{
    struct bench *b = context;
    struct kern_norm a = b->norm;

    a.x += (size_t)(i % b->n_rotate) * b->rotate / 4;
    CU(kern_norm(a, 0));
}

static void run_glu(void *context, int i)
{
    struct bench *b = context;
    struct kern_glu a = b->glu;

    a.in += (size_t)(i % b->n_rotate) * b->rotate / 2;
    CU(kern_glu(a, 0));
}

static void run_embed(void *context, int i)
{
    struct bench *b = context;
    struct kern_embed a = b->embed;

    a.out += (size_t)(i % b->n_rotate) * b->rotate / 4;
    CU(kern_embed(a, 0));
}

static void report(const char *name, int rows, double bytes, void (*run)(void *, int),
                   struct bench *b)
{
    double t = check_time(run, b, 40);

    printf("  %-28s rows %5d  %8.2f us  %6.0f GB/s  %3.0f %%\n", name, rows, t * 1e6,
           bytes / t * 1e-9, bytes / t / check_copy * 100);
}

static void bench_rows_of(int rows, int hidden, int ff, int heads, int kv_heads, int dim)
{
    enum { POOL = 1 << 30 };
    struct check_buffer in = check_device(POOL), out = check_device(POOL / 2);
    float *table = calloc((size_t)4096 * dim, sizeof(*table));
    int32_t *ids = malloc(sizeof(*ids) * rows), *slots = malloc(sizeof(*slots) * rows);
    float *weight = malloc(sizeof(*weight) * hidden), *noise = malloc(1 << 24);
    struct bench b;

    check_fill_float(weight, hidden, 1);
    check_fill_float(noise, (1 << 24) / 4, 1);
    CU(cudaMemcpy(in.p, noise, 1 << 24, cudaMemcpyHostToDevice));
    for (size_t have = 1 << 24; have < POOL; have *= 2)
        CU(cudaMemcpy((char *)in.p + have, in.p, have, cudaMemcpyDeviceToDevice));
    for (int i = 0; i < 4096 * dim; i++)
        table[i] = (float)cos(i);
    for (int r = 0; r < rows; r++) {
        ids[r] = check_pick(0, 4095);
        slots[r] = r;
    }
    struct check_buffer b_ids = check_upload(ids, sizeof(*ids) * rows);
    struct check_buffer b_slots = check_upload(slots, sizeof(*slots) * rows);
    struct check_buffer b_table = check_upload(table, sizeof(*table) * 4096 * dim);
    struct check_buffer b_weight = check_upload(weight, sizeof(*weight) * hidden);
    double width = (heads + 2 * kv_heads) * dim;

    b.rope = (struct kern_rope_append){.qkv = in.p,
                                       .table = b_table.p,
                                       .positions = b_ids.p,
                                       .slots = b_slots.p,
                                       .k_cache = out.p,
                                       .v_cache = (uint16_t *)out.p + POOL / 8,
                                       .rows = rows,
                                       .heads = heads,
                                       .kv_heads = kv_heads,
                                       .head_dim = dim,
                                       .rope_dim = dim};
    b.norm = (struct kern_norm){.x = in.p,
                                .weight = b_weight.p,
                                .out = out.p,
                                .rows = rows,
                                .hidden = hidden,
                                .eps = 1e-5f};
    b.glu = (struct kern_glu){.in = in.p, .out = out.p, .rows = rows, .ff = ff};
    b.embed = (struct kern_embed){.table = out.p,
                                  .tokens = b_ids.p,
                                  .out = in.p,
                                  .rows = rows,
                                  .hidden = hidden,
                                  .end = INT32_MAX,
                                  .scale = 1};
    printf(" hidden %d, ff %d, heads %d/%d x %d\n", hidden, ff, heads, kv_heads, dim);
    b.rotate = (size_t)(rows * width * 2), b.n_rotate = (int)(POOL / b.rotate);
    report("rope + append", rows, rows * width * 4, run_rope, &b);
    b.rotate = (size_t)rows * hidden * 4, b.n_rotate = (int)(POOL / b.rotate);
    report("norm", rows, (double)rows * hidden * 6, run_norm, &b);
    report("embed", rows, (double)rows * hidden * 6, run_embed, &b);
    b.norm.delta = (uint16_t *)out.p + POOL / 8;
    report("norm with delta", rows, (double)rows * hidden * 12, run_norm, &b);
    CU(cudaMemcpy(in.p, noise, 1 << 24, cudaMemcpyHostToDevice));
    b.rotate = (size_t)rows * ff * 4, b.n_rotate = (int)(POOL / b.rotate);
    report("glu", rows, (double)rows * ff * 6, run_glu, &b);
    check_release(&in, "bench in");
    check_release(&out, "bench out");
    check_release(&b_ids, "bench ids");
    check_release(&b_slots, "bench slots");
    check_release(&b_table, "bench table");
    check_release(&b_weight, "bench weight");
    free(table), free(ids), free(slots), free(weight), free(noise);
}

void bench_rows(void)
{
    printf("elementwise kernels (inputs rotate through 1 GiB)\n");
    for (int rows = 512; rows <= 8192; rows *= 4)
        bench_rows_of(rows, 4096, 14336, 32, 8, 128);
    bench_rows_of(2048, 576, 1536, 9, 3, 64);
}
