/* SPDX-License-Identifier: Apache-2.0 */
/* The whole backend on models of random weights: its logits against the plain C of the CPU backend
 * with a float32 cache, and its answers against themselves: each prompt alone, operation by
 * operation, against all together, prompts in chunks, decode steps captured, one step ahead. */
#include "config.h"

#include "check.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "engine/sampling.h"
#include "model/model.h"

enum { MAX_SEQS = 40, MAX_ROWS = 512, MAX_CONTEXT = 1100, N_DRAWN = 24, CHUNK = 96 };
enum { PAGES_EACH = (MAX_CONTEXT + ANT_PAGE_TOKENS - 1) / ANT_PAGE_TOKENS };

static bool has_fp8; /* weights and cache on the GPU */

static void demand(int result, const struct ant_error *err)
{
    if (result >= 0)
        return;
    printf("%s\n", err->text);
    exit(1);
}

/* ---- a model on a backend -------------------------------------------------------------------- */

struct model {
    const char *config;
    const struct ant_arch *arch;
    struct ant_checkpoint *checkpoint; /* opened for each loading: random weights are read once */
    struct ant_backend *be;
    struct ant_model *model;
};

static void open_checkpoint(struct model *m)
{
    char path[] = "/tmp/check-model-XXXXXX.json";
    int fd = mkstemps(path, 5);
    struct ant_error err;

    if (fd < 0 || write(fd, m->config, strlen(m->config)) != (ssize_t)strlen(m->config))
        exit(1);
    close(fd);
    demand(ant_checkpoint_open_dummy(&m->checkpoint, path, ANT_BF16, &err), &err);
    unlink(path);
    m->arch = ant_checkpoint_arch(m->checkpoint);
}

static void open_model(struct model *m, const char *backend, bool reads_slots)
{
    open_checkpoint(m);
    struct ant_backend_config config = {
        .arch = m->arch,
        .max_rows = MAX_ROWS,
        .max_seqs = MAX_SEQS,
        .max_sampled = MAX_SEQS,
        .max_context = MAX_CONTEXT,
        .kv_type = strcmp(backend, "cpu") == 0 ? ANT_KV_F32
                   : has_fp8                   ? ANT_KV_FP8
                                               : ANT_KV_BF16,
        .weight_type = strcmp(backend, "cpu") != 0 && has_fp8 ? ANT_WEIGHT_FP8 : ANT_WEIGHT_AUTO,
        .reads_slots = reads_slots,
    };
    const struct ant_backend_ops *ops;
    struct ant_error err;

    demand(ant_backend_choose(&ops, backend, &err), &err);
    demand(ops->open(&m->be, &config, &err), &err);
    demand(ant_model_load(&m->model, m->checkpoint, NULL, NULL, m->be,
                          &(struct ant_loading){.n_threads = 4}, &err),
           &err);
    demand(ops->kv_open(m->be, MAX_SEQS * PAGES_EACH, &err), &err);
}

static void close_model(struct model *m)
{
    ant_model_close(m->model);
    m->be->ops->close(m->be);
    ant_checkpoint_close(m->checkpoint);
}

/* ---- sequences and steps --------------------------------------------------------------------- */

struct sequence {
    int n_prompt, n_cached;
    int32_t prompt[MAX_CONTEXT];
    int n_drawn;
    int32_t ids[N_DRAWN];
    float logprobs[N_DRAWN];
};

struct step {
    int n_rows, n_seqs, n_sampled, n_pages;
    int32_t tokens[MAX_ROWS], positions[MAX_ROWS], row_start[MAX_SEQS + 1], context[MAX_SEQS];
    int32_t page_start[MAX_SEQS + 1], pages[MAX_SEQS * PAGES_EACH], sampled[MAX_SEQS];
    int seqs[MAX_SEQS]; /* of the sampled rows */
    struct ant_draw draws[MAX_SEQS];
    bool is_open; /* its draws follow in a step of their own */
};

/* `n` more tokens of a sequence; drawn ones that are not known yet are `token`. Page ids are
 * scattered over the cache. */
static void step_add(struct step *s, struct sequence *seq, int index, int n, int32_t token)
{
    static const int32_t banned[] = {3, 5, 7};
    int context = seq->n_cached + n;

    for (int i = seq->n_cached; i < context; i++) {
        s->tokens[s->n_rows] = i < seq->n_prompt ? seq->prompt[i] : token;
        s->positions[s->n_rows++] = i;
    }
    for (int i = 0; i < (context + ANT_PAGE_TOKENS - 1) / ANT_PAGE_TOKENS; i++)
        s->pages[s->n_pages++] = (PAGES_EACH - 1 - i) * MAX_SEQS + index * 17 % MAX_SEQS;
    if (context >= seq->n_prompt) {
        s->seqs[s->n_sampled] = index;
        s->sampled[s->n_sampled] = s->n_rows - 1;
        s->draws[s->n_sampled++] =
            (struct ant_draw){.temperature = index % 3 == 0 ? 0 : 0.8f,
                              .top_p = index % 3 == 1 ? 0.95f : 1,
                              .top_k = index % 5 == 2 ? 40 : 0,
                              .key = ant_draw_key(1, seq->prompt, seq->n_prompt, 0),
                              .position = (uint64_t)(context - seq->n_prompt),
                              .banned = banned,
                              .n_banned = index % 4 == 1 ? 3 : 0};
    }
    seq->n_cached = context;
    s->context[s->n_seqs++] = context;
    s->row_start[s->n_seqs] = s->n_rows;
    s->page_start[s->n_seqs] = s->n_pages;
}

static void step_launch(struct model *m, const struct step *s)
{
    struct ant_batch batch = {.n_rows = s->n_rows,
                              .n_seqs = s->n_seqs,
                              .n_sampled = s->n_sampled,
                              .tokens = s->tokens,
                              .positions = s->positions,
                              .row_start = s->row_start,
                              .context = s->context,
                              .page_start = s->page_start,
                              .pages = s->pages,
                              .sampled = s->sampled,
                              .draws = s->draws,
                              .is_open = s->is_open};

    ant_model_forward(m->model, &batch);
}

static void step_draw(struct model *m, const struct step *s)
{
    const struct ant_batch batch = {.n_sampled = s->n_sampled, .draws = s->draws};

    if (s->is_open)
        ant_model_draw(m->model, &batch);
}

static void step_finish(struct model *m, const struct step *s, struct sequence *seqs)
{
    struct ant_drawn drawn;
    struct ant_error err;

    demand(ant_model_wait(m->model, &drawn, &err), &err);
    for (int i = 0; i < s->n_sampled; i++) {
        struct sequence *seq = &seqs[s->seqs[i]];
        if (seq->n_drawn == N_DRAWN)
            continue;
        seq->ids[seq->n_drawn] = drawn.ids[i];
        seq->logprobs[seq->n_drawn++] = drawn.logprobs[i];
    }
}

/* One prompt alone: all of it in steps as large as can be, then row by row. */
static void answer_alone(struct model *m, struct sequence *seqs, int index)
{
    struct sequence *seq = &seqs[index];

    while (seq->n_drawn < N_DRAWN) {
        struct step *s = ant_xcalloc(1, sizeof(*s));
        int left = seq->n_prompt - seq->n_cached, n = left < MAX_ROWS ? left : MAX_ROWS;
        step_add(s, seq, index, left > 0 ? n : 1,
                 seq->n_drawn > 0 ? seq->ids[seq->n_drawn - 1] : 0);
        step_launch(m, s);
        step_finish(m, s, seqs);
        free(s);
    }
}

/* All of them: prompts in chunks, some with others that decode already; at the end one step ahead.
 * Of some steps that draw the draws are said later. */
static void answer_together(struct model *m, struct sequence *seqs, int n)
{
    struct step *last = NULL;
    int n_steps = 0;

    for (int done = 0; done < n;) {
        struct step *s = ant_xcalloc(1, sizeof(*s));
        bool all_decode = true;
        for (int i = 0; i < n; i++)
            all_decode = all_decode && seqs[i].n_cached >= seqs[i].n_prompt;
        if (last && !all_decode) {
            step_finish(m, last, seqs);
            free(last);
            last = NULL;
        }
        done = 0;
        for (int i = 0; i < n; i++) {
            struct sequence *seq = &seqs[i];
            int left = seq->n_prompt - seq->n_cached, row = -1;
            for (int k = 0; last && k < last->n_sampled; k++)
                row = last->seqs[k] == i ? k : row;
            int n_drawn = seq->n_drawn + (row >= 0);
            done += n_drawn >= N_DRAWN;
            if (n_drawn >= N_DRAWN || s->n_rows + CHUNK > MAX_ROWS)
                continue;
            step_add(s, seq, i,
                     left > CHUNK ? CHUNK
                     : left > 0   ? left
                                  : 1,
                     row >= 0      ? ~row
                     : n_drawn > 0 ? seq->ids[n_drawn - 1]
                                   : 0);
        }
        s->is_open = s->n_sampled > 0 && n_steps++ % 3 > 0;
        if (s->n_rows > 0)
            step_launch(m, s);
        if (last) {
            step_finish(m, last, seqs);
            free(last);
        }
        step_draw(m, s);
        last = s->n_rows > 0 ? s : NULL;
        if (!last)
            free(s);
    }
    if (last)
        step_finish(m, last, seqs);
    free(last);
}

static void make_sequences(struct sequence *seqs, int n, int vocab)
{
    memset(seqs, 0, (size_t)n * sizeof(*seqs));
    for (int i = 0; i < n; i++) {
        seqs[i].n_prompt = i == 0 ? 1 : i == 1 ? 1030 : check_pick(2, i % 3 ? 150 : 600);
        for (int k = 0; k < seqs[i].n_prompt; k++)
            seqs[i].prompt[k] = check_pick(0, vocab - 1);
    }
}

/* ---- the checks ------------------------------------------------------------------------------ */

static void check_bits(const char *name, struct model *m)
{
    int n = check_quick ? 5 : MAX_SEQS;
    struct sequence *alone = ant_xcalloc((size_t)n, sizeof(*alone));
    struct sequence *together = ant_xcalloc((size_t)n, sizeof(*together));
    int n_ids = 0, n_logprobs = 0;

    open_model(m, "cuda", true);
    make_sequences(alone, n, m->arch->vocab);
    memcpy(together, alone, (size_t)n * sizeof(*alone));
    for (int i = 0; i < n; i++)
        answer_alone(m, alone, i);
    close_model(m);
    open_model(m, "cuda", false);
    answer_together(m, together, n);
    close_model(m);
    for (int i = 0; i < n; i++) {
        n_ids += memcmp(alone[i].ids, together[i].ids, sizeof(alone[i].ids)) != 0;
        n_logprobs +=
            memcmp(alone[i].logprobs, together[i].logprobs, sizeof(alone[i].logprobs)) != 0;
    }
    check_that(n_ids == 0 && n_logprobs == 0,
               "%s: of %d answers %d have other ids and %d other logprobs in a batch", name, n,
               n_ids, n_logprobs);
    free(alone);
    free(together);
}

static struct {
    struct ant_backend_ops ops;
    const struct ant_backend_ops *real;
    float *logits;
    int vocab;
} spy;

static void spy_step_end(struct ant_backend *be)
{
    struct ant_error err;

    demand(spy.real->read_slot(be, ANT_SLOT_LOGITS, 0, spy.logits, spy.vocab, &err), &err);
    spy.real->step_end(be);
}

/* Logits after a prompt. */
static void logits_of(struct model *m, const char *backend, const struct sequence *seq,
                      float *logits)
{
    struct sequence *copy = ant_xcalloc(1, sizeof(*copy));
    struct step *s = ant_xcalloc(1, sizeof(*s));

    *copy = *seq;
    open_model(m, backend, true);
    spy.real = m->be->ops;
    spy.ops = *spy.real;
    spy.ops.step_end = spy_step_end;
    spy.logits = logits;
    spy.vocab = m->arch->vocab;
    m->be->ops = &spy.ops;
    step_add(s, copy, 0, copy->n_prompt, 0);
    step_launch(m, s);
    step_finish(m, s, copy);
    m->be->ops = spy.real;
    close_model(m);
    free(s);
    free(copy);
}

static void check_logits(const char *name, struct model *m)
{
    open_checkpoint(m);
    size_t n = (size_t)m->arch->vocab;
    float *want = ant_xmalloc(n * sizeof(*want)), *got = ant_xmalloc(n * sizeof(*got));
    double *wide = ant_xmalloc(n * sizeof(*wide));
    struct sequence *seq = ant_xcalloc(1, sizeof(*seq));

    make_sequences(seq, 1, m->arch->vocab);
    seq->n_prompt = check_quick ? 20 : 70;
    for (int i = 0; i < seq->n_prompt; i++)
        seq->prompt[i] = check_pick(0, m->arch->vocab - 1);
    ant_checkpoint_close(m->checkpoint);
    setenv("ANTIPHON_CPU", "c", 1);
    logits_of(m, "cpu", seq, want);
    unsetenv("ANTIPHON_CPU");
    logits_of(m, "cuda", seq, got);
    double off = 0, all = 0;
    for (size_t i = 0; i < n; i++) {
        wide[i] = want[i];
        off += (got[i] - wide[i]) * (got[i] - wide[i]);
        all += wide[i] * wide[i];
    }
    printf("  %s%s: logits off by %.1e of their size\n", name, has_fp8 ? " in FP8" : "",
           all > 0 ? sqrt(off / all) : 0);
    /* Random weights make ten times of what rounding to bf16 is off; so they do of e4m3's 3 %. */
    check_close(name, got, wide, n, has_fp8 ? 0.3 : 2e-2);
    free(want), free(got), free(wide), free(seq);
}

static bool can_fp8(void)
{
    struct cudaDeviceProp prop;

    CU(cudaGetDeviceProperties(&prop, 0));
    return prop.major == 9;
}

void check_model(void)
{
    static const struct {
        const char *name, *config;
    } models[] = {
        {"tiny heads of 32",
         "{\"architectures\": [\"LlamaForCausalLM\"], \"num_hidden_layers\": 3, \"hidden_size\": "
         "96, \"intermediate_size\": 160, \"num_attention_heads\": 3, \"num_key_value_heads\": 1, "
         "\"vocab_size\": 1003, \"max_position_embeddings\": 2048, \"rope_theta\": 10000, "
         "\"rms_norm_eps\": 1e-5, \"tie_word_embeddings\": true}"},
        {"SmolLM2-135M, 4 layers",
         "{\"architectures\": [\"LlamaForCausalLM\"], \"num_hidden_layers\": 4, \"hidden_size\": "
         "576, \"intermediate_size\": 1536, \"num_attention_heads\": 9, \"num_key_value_heads\": "
         "3, \"vocab_size\": 49152, \"max_position_embeddings\": 8192, \"rope_theta\": 100000, "
         "\"rms_norm_eps\": 1e-5, \"tie_word_embeddings\": true}"},
        {"Llama-3.1-8B, 2 layers",
         "{\"architectures\": [\"LlamaForCausalLM\"], \"num_hidden_layers\": 2, \"hidden_size\": "
         "4096, \"intermediate_size\": 14336, \"num_attention_heads\": 32, "
         "\"num_key_value_heads\": 8, \"vocab_size\": 128256, \"max_position_embeddings\": "
         "131072, \"rope_theta\": 500000, \"rms_norm_eps\": 1e-5, \"tie_word_embeddings\": "
         "false}"},
        {"Qwen2.5-7B, 2 layers",
         "{\"architectures\": [\"Qwen2ForCausalLM\"], \"num_hidden_layers\": 2, \"hidden_size\": "
         "3584, \"intermediate_size\": 18944, \"num_attention_heads\": 28, "
         "\"num_key_value_heads\": 4, \"vocab_size\": 152064, \"max_position_embeddings\": 32768, "
         "\"rope_theta\": 1000000, \"rms_norm_eps\": 1e-6, \"tie_word_embeddings\": false}"},
    };

    /* Where rows choose experts a near-tie makes other logits: the golden answers have those. */
    static const struct {
        const char *name, *config;
        bool has_experts;
    } others[] = {
        {"Phi-mini-MoE, 2 layers",
         "{\"architectures\": [\"PhiMoEForCausalLM\"], \"hidden_size\": 4096, "
         "\"intermediate_size\": 960, \"num_attention_heads\": 32, "
         "\"num_key_value_heads\": 8, \"head_dim\": 128, \"vocab_size\": 3206, "
         "\"num_local_experts\": 16, \"num_experts_per_tok\": 2, "
         "\"router_jitter_noise\": 0.01, \"attention_bias\": true, \"lm_head_bias\": "
         "true, \"sliding_window\": 300, \"hidden_act\": \"silu\", "
         "\"num_hidden_layers\": 2, \"max_position_embeddings\": 2048, "
         "\"rms_norm_eps\": 1e-05, \"rope_theta\": 10000.0, \"rope_scaling\": null, "
         "\"tie_word_embeddings\": false}",
         true},
        {"64 experts",
         "{\"architectures\": [\"Qwen3MoeForCausalLM\"], \"hidden_size\": 512, "
         "\"intermediate_size\": 512, \"moe_intermediate_size\": 176, \"num_experts\": "
         "64, \"num_experts_per_tok\": 8, \"norm_topk_prob\": true, "
         "\"decoder_sparse_step\": 1, \"mlp_only_layers\": [], \"use_sliding_window\": "
         "false, \"sliding_window\": null, \"num_attention_heads\": 8, "
         "\"num_key_value_heads\": 2, \"head_dim\": 96, \"vocab_size\": 1003, "
         "\"hidden_act\": \"silu\", \"attention_bias\": false, \"num_hidden_layers\": "
         "2, \"max_position_embeddings\": 2048, \"rms_norm_eps\": 1e-05, "
         "\"rope_theta\": 10000.0, \"rope_scaling\": null, \"tie_word_embeddings\": "
         "false}",
         true},
        {"Gemma 2, heads of 256",
         "{\"architectures\": [\"Gemma2ForCausalLM\"], \"hidden_size\": 768, "
         "\"intermediate_size\": 1000, \"num_attention_heads\": 4, "
         "\"num_key_value_heads\": 2, \"head_dim\": 256, \"sliding_window\": 200, "
         "\"query_pre_attn_scalar\": 256, \"attn_logit_softcapping\": 50.0, "
         "\"final_logit_softcapping\": 30.0, \"hidden_activation\": "
         "\"gelu_pytorch_tanh\", \"hidden_act\": \"gelu_pytorch_tanh\", "
         "\"attention_bias\": false, \"vocab_size\": 2003, \"num_hidden_layers\": 3, "
         "\"max_position_embeddings\": 2048, \"rms_norm_eps\": 1e-06, \"rope_theta\": "
         "10000.0}",
         false},
    };

    for (size_t i = 0; i < sizeof(others) / sizeof(*others); i++) {
        struct model m = {.config = others[i].config};
        if (!others[i].has_experts)
            check_logits(others[i].name, &m);
        check_bits(others[i].name, &m);
    }
    for (size_t i = 0; i < (check_quick ? 1 : sizeof(models) / sizeof(*models)); i++) {
        struct model m = {.config = models[i].config};
        for (int fp8 = 0; fp8 <= can_fp8(); fp8++) {
            has_fp8 = fp8;
            check_logits(models[i].name, &m);
            check_bits(models[i].name, &m);
        }
    }
}
