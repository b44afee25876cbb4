/* SPDX-License-Identifier: Apache-2.0 */
/* The CPU backend as a whole, on small random models: against a plain forward pass in double, and
 * against itself: a row's bits may not depend on the batch, the chunking or the threads. Every
 * level that the machine has. */
#include "config.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "backend/backend.h"
#include "backend/cpu/cpu_level.h"
#include "random.h"

enum { MAX_CONTEXT = 160, MAX_ROWS = 320, MAX_SEQS = 40, N_PAGES = 220, MAX_LAYERS = 2 };

/* ---- a small model --------------------------------------------------------------------------- */

enum { W_NORM1, W_Q, W_K, W_V, W_BQ, W_BK, W_BV, W_O, W_NORM2, W_GATE, W_UP, W_DOWN, N_LAYER };

struct tiny {
    struct ant_arch arch;
    struct ant_tensor embed, final_norm, output;
    struct ant_tensor layer[MAX_LAYERS][N_LAYER];
};

static struct ant_tensor vector(const char *name, int n)
{
    struct ant_tensor t = random_tensor(name, ANT_F32, 1, n, 0.2f);
    for (int i = 0; i < n; i++)
        ((float *)t.data)[i] += 1;
    return t;
}

/* `types`: of the embedding, q and o, k, v, gate and up, down; repeated through the layers. */
static void make_tiny(struct tiny *m, const struct ant_arch *arch, const enum ant_type types[6])
{
    memset(m, 0, sizeof *m);
    m->arch = *arch;
    int h = arch->hidden, q = arch->n_heads * arch->head_dim,
        kv = arch->n_kv_heads * arch->head_dim;
    m->embed = random_tensor("embed", types[0], arch->vocab, h, 1);
    m->output = arch->tied ? m->embed : random_tensor("output", types[0], arch->vocab, h, 0.3f);
    m->final_norm = vector("norm", h);
    for (int l = 0; l < arch->n_layers; l++) {
        struct ant_tensor *w = m->layer[l];
        w[W_NORM1] = vector("norm1", h);
        w[W_Q] = random_tensor("q", types[1], q, h, 2 / sqrtf((float)h));
        w[W_K] = random_tensor("k", types[2], kv, h, 2 / sqrtf((float)h));
        w[W_V] = random_tensor("v", types[3], kv, h, 2 / sqrtf((float)h));
        w[W_BQ] = random_tensor("bq", ANT_F32, 1, q, 0.3f);
        w[W_BK] = random_tensor("bk", ANT_F32, 1, kv, 0.3f);
        w[W_BV] = random_tensor("bv", ANT_F32, 1, kv, 0.3f);
        w[W_O] = random_tensor("o", types[1], h, q, 2 / sqrtf((float)q));
        w[W_NORM2] = vector("norm2", h);
        w[W_GATE] = random_tensor("gate", types[4], arch->ff, h, 2 / sqrtf((float)h));
        w[W_UP] = random_tensor("up", types[4], arch->ff, h, 2 / sqrtf((float)h));
        w[W_DOWN] = random_tensor("down", types[5], h, arch->ff, 2 / sqrtf((float)arch->ff));
    }
}

static void free_tiny(struct tiny *m)
{
    free((void *)m->embed.data);
    if (!m->arch.tied)
        free((void *)m->output.data);
    free((void *)m->final_norm.data);
    for (int l = 0; l < m->arch.n_layers; l++)
        for (int i = 0; i < N_LAYER; i++)
            free((void *)m->layer[l][i].data);
}

/* ---- the plain forward pass ------------------------------------------------------------------ */

static double *to_doubles(const struct ant_tensor *t)
{
    int64_t n = t->n_dims == 1 ? t->shape[0] : t->shape[0] * t->shape[1];
    float *f = ant_xmalloc((size_t)n * sizeof *f);
    double *d = ant_xmalloc((size_t)n * sizeof *d);
    ant_dequantize(t->type, t->data, f, n);
    for (int64_t i = 0; i < n; i++)
        d[i] = (double)f[i];
    free(f);
    return d;
}

static void times(const struct ant_tensor *w, const struct ant_tensor *bias, const double *x,
                  double *y, bool add)
{
    double *m = to_doubles(w), *b = bias ? to_doubles(bias) : NULL;
    for (int64_t i = 0; i < w->shape[0]; i++) {
        double sum = b ? b[i] : 0;
        for (int64_t j = 0; j < w->shape[1]; j++)
            sum += m[i * w->shape[1] + j] * x[j];
        y[i] = (add ? y[i] : 0) + sum;
    }
    free(m);
    free(b);
}

static void plain_norm(const struct ant_arch *arch, const struct ant_tensor *w, const double *x,
                       double *y)
{
    double *weight = to_doubles(w), sum = 0;
    for (int i = 0; i < arch->hidden; i++)
        sum += x[i] * x[i];
    for (int i = 0; i < arch->hidden; i++)
        y[i] = x[i] / sqrt(sum / arch->hidden + (double)arch->norm_eps) * weight[i];
    free(weight);
}

static void plain_rope(const struct ant_arch *arch, const float *table, int position, double *x)
{
    int half = arch->rope.dim / 2;
    for (int i = 0; i < half; i++) {
        double c = (double)table[(position * half + i) * 2];
        double s = (double)table[(position * half + i) * 2 + 1];
        int a = arch->rope.interleaved ? 2 * i : i, b = arch->rope.interleaved ? a + 1 : i + half;
        double first = x[a], second = x[b];
        x[a] = first * c - second * s;
        x[b] = first * s + second * c;
    }
}

static void plain_attention(const struct ant_arch *arch, const double *q, const double *k,
                            const double *v, int position, double *out)
{
    int dim = arch->head_dim, kv = arch->n_kv_heads * dim;
    for (int head = 0; head < arch->n_heads; head++) {
        int at = head / (arch->n_heads / arch->n_kv_heads) * dim;
        double p[MAX_CONTEXT], max = -INFINITY, sum = 0;
        int first =
            arch->window > 0 && position + 1 > arch->window ? position + 1 - arch->window : 0;
        for (int t = first; t <= position; t++) {
            p[t] = 0;
            for (int d = 0; d < dim; d++)
                p[t] += q[head * dim + d] * k[t * kv + at + d];
            p[t] /= sqrt(dim);
            max = p[t] > max ? p[t] : max;
        }
        for (int t = first; t <= position; t++)
            sum += p[t] = exp(p[t] - max);
        for (int d = 0; d < dim; d++) {
            out[head * dim + d] = 0;
            for (int t = first; t <= position; t++)
                out[head * dim + d] += p[t] / sum * v[t * kv + at + d];
        }
    }
}

/* Logits of every position of one sequence: (n, vocab). */
static void plain_forward(const struct tiny *m, const int32_t *tokens, int n, double *logits)
{
    const struct ant_arch *arch = &m->arch;
    int h = arch->hidden, nq = arch->n_heads * arch->head_dim,
        kv = arch->n_kv_heads * arch->head_dim;
    float *table = ant_xcalloc((size_t)(MAX_CONTEXT * arch->rope.dim), sizeof *table);
    double *x = ant_xcalloc((size_t)(n * h), sizeof *x), *embed = to_doubles(&m->embed);
    double *k = ant_xcalloc((size_t)(n * kv), sizeof *k),
           *v = ant_xcalloc((size_t)(n * kv), sizeof *v);
    double *t = ant_xcalloc((size_t)(h + 2 * nq + 2 * arch->ff), sizeof *t);
    double *q = t + h, *attn = q + nq, *gate = attn + nq, *up = gate + arch->ff;
    ant_rope_table(&arch->rope, MAX_CONTEXT, table);
    for (int i = 0; i < n; i++)
        for (int j = 0; j < h; j++)
            x[i * h + j] = embed[(int64_t)tokens[i] * h + j] * arch->embed_scale;
    for (int l = 0; l < arch->n_layers; l++) {
        const struct ant_tensor *w = m->layer[l];
        for (int i = 0; i < n; i++) {
            plain_norm(arch, &w[W_NORM1], x + i * h, t);
            times(&w[W_Q], arch->qkv_bias ? &w[W_BQ] : NULL, t, q, false);
            times(&w[W_K], arch->qkv_bias ? &w[W_BK] : NULL, t, k + i * kv, false);
            times(&w[W_V], arch->qkv_bias ? &w[W_BV] : NULL, t, v + i * kv, false);
            for (int head = 0; head < arch->n_heads; head++)
                plain_rope(arch, table, i, q + head * arch->head_dim);
            for (int head = 0; head < arch->n_kv_heads; head++)
                plain_rope(arch, table, i, k + i * kv + head * arch->head_dim);
            plain_attention(arch, q, k, v, i, attn);
            times(&w[W_O], NULL, attn, x + i * h, true);
            plain_norm(arch, &w[W_NORM2], x + i * h, t);
            times(&w[W_GATE], NULL, t, gate, false);
            times(&w[W_UP], NULL, t, up, false);
            for (int j = 0; j < arch->ff; j++)
                gate[j] = gate[j] / (1 + exp(-gate[j])) * up[j];
            times(&w[W_DOWN], NULL, gate, x + i * h, true);
        }
    }
    for (int i = 0; i < n; i++) {
        plain_norm(arch, &m->final_norm, x + i * h, t);
        times(&m->output, NULL, t, logits + (int64_t)i * arch->vocab, false);
    }
    free(table);
    free(x);
    free(embed);
    free(k);
    free(v);
    free(t);
}

/* ---- the model on the backend ---------------------------------------------------------------- */

struct loaded {
    const struct tiny *m;
    const struct ant_backend_ops *ops;
    struct ant_backend *be;
    struct ant_weight *embed, *final_norm, *output;
    struct ant_weight *norm1[MAX_LAYERS], *qkv[MAX_LAYERS], *o[MAX_LAYERS], *norm2[MAX_LAYERS],
        *gate_up[MAX_LAYERS], *down[MAX_LAYERS];
    void *memory[64];
    int n_memory;
};

static struct ant_weight *put(struct loaded *x, struct ant_weight_spec spec)
{
    struct ant_error err = {{0}};
    struct ant_weight *w = NULL;
    void *memory = NULL;
    size_t bytes = x->ops->weight_bytes(x->be, &spec);
    assert_int_equal(posix_memalign(&memory, 64, bytes), 0);
    x->memory[x->n_memory++] = memory;
    memset(memory, 0xff, bytes); /* what packing leaves untouched shows as NaN */
    if (x->ops->weight_put(x->be, &w, &spec, memory, true, &err) < 0)
        fail_msg("%s", err.text);
    return w;
}

#define ONE(tensor) ((struct ant_weight_spec){.parts = {tensor}, .n_parts = 1})
#define VEC(tensor) ((struct ant_weight_spec){.parts = {tensor}, .n_parts = 1, .is_vector = true})

static void load(struct loaded *x, const struct tiny *m, int n_threads, enum ant_kv_type kv)
{
    struct ant_error err = {{0}};
    struct ant_backend_config config = {.arch = &m->arch,
                                        .max_rows = MAX_ROWS,
                                        .max_seqs = MAX_SEQS,
                                        .max_sampled = MAX_ROWS,
                                        .max_context = MAX_CONTEXT,
                                        .n_threads = n_threads,
                                        .kv_type = kv};
    memset(x, 0, sizeof *x);
    x->m = m;
    x->ops = &ant_backend_cpu;
    if (x->ops->open(&x->be, &config, &err) < 0)
        fail_msg("%s", err.text);
    x->embed = put(x, ONE(&m->embed));
    x->output = m->arch.tied ? x->embed : put(x, ONE(&m->output));
    x->final_norm = put(x, VEC(&m->final_norm));
    for (int l = 0; l < m->arch.n_layers; l++) {
        const struct ant_tensor *w = m->layer[l];
        struct ant_weight_spec qkv = {.parts = {&w[W_Q], &w[W_K], &w[W_V]}, .n_parts = 3};
        for (int i = 0; m->arch.qkv_bias && i < 3; i++)
            qkv.bias[i] = &w[W_BQ + i];
        x->norm1[l] = put(x, VEC(&w[W_NORM1]));
        x->qkv[l] = put(x, qkv);
        x->o[l] = put(x, ONE(&w[W_O]));
        x->norm2[l] = put(x, VEC(&w[W_NORM2]));
        x->gate_up[l] =
            put(x, (struct ant_weight_spec){.parts = {&w[W_GATE], &w[W_UP]}, .n_parts = 2});
        x->down[l] = put(x, ONE(&w[W_DOWN]));
    }
    if (x->ops->kv_open(x->be, N_PAGES, &err) < 0)
        fail_msg("%s", err.text);
}

static void unload(struct loaded *x)
{
    x->ops->close(x->be);
    for (int i = 0; i < x->n_memory; i++)
        free(x->memory[i]);
}

/* One step; every row is sampled, its logits go to `logits` (n_rows, vocab) unless NULL. */
static void step(struct loaded *x, struct ant_batch *batch, float *logits, int32_t *ids)
{
    const struct ant_backend_ops *ops = x->ops;
    struct ant_backend *be = x->be;
    struct ant_error err = {{0}};
    struct ant_drawn drawn;
    ops->step_begin(be, batch);
    ops->embed(be, x->embed);
    for (int l = 0; l < x->m->arch.n_layers; l++) {
        ops->norm(be, x->norm1[l]);
        ops->gemm(be, x->qkv[l], ANT_SLOT_NORMED, ANT_SLOT_QKV, ANT_EPILOGUE_STORE);
        ops->rope_append(be, l, NULL, NULL);
        ops->attention(be, l, x->m->arch.window);
        if (l + 1 == x->m->arch.n_layers)
            ops->keep_sampled(be);
        ops->gemm(be, x->o[l], ANT_SLOT_ATTN, ANT_SLOT_RESIDUAL, ANT_EPILOGUE_ADD);
        ops->norm(be, x->norm2[l]);
        ops->gemm(be, x->gate_up[l], ANT_SLOT_NORMED, ANT_SLOT_HIDDEN, ANT_EPILOGUE_GLU);
        ops->gemm(be, x->down[l], ANT_SLOT_HIDDEN, ANT_SLOT_RESIDUAL, ANT_EPILOGUE_ADD);
    }
    ops->norm_sampled(be, x->final_norm);
    ops->gemm(be, x->output, ANT_SLOT_LAST, ANT_SLOT_LOGITS, ANT_EPILOGUE_STORE);
    ops->sample(be);
    for (int i = 0; i < batch->n_sampled && logits; i++)
        assert_int_equal(ops->read_slot(be, ANT_SLOT_LOGITS, i,
                                        logits + (size_t)i * (size_t)x->m->arch.vocab,
                                        x->m->arch.vocab, &err),
                         0);
    ops->step_end(be);
    if (ops->step_wait(be, &drawn, &err) < 0)
        fail_msg("%s", err.text);
    if (ids)
        memcpy(ids, drawn.ids, (size_t)batch->n_sampled * sizeof *ids);
}

/* ---- running sequences in different ways ----------------------------------------------------- */

struct sequences {
    int n;
    int length[MAX_SEQS];
    int32_t tokens[MAX_SEQS][MAX_CONTEXT];
    float *logits[MAX_SEQS]; /* (length, vocab) */
};

static void make_sequences(struct sequences *s, int n, int longest, int vocab)
{
    s->n = n;
    for (int i = 0; i < n; i++) {
        s->length[i] = i == 0 ? longest : 1 + random_below(longest);
        s->logits[i] = ant_xcalloc((size_t)s->length[i] * (size_t)vocab, sizeof(float));
        for (int t = 0; t < s->length[i]; t++)
            s->tokens[i][t] = random_below(vocab);
    }
}

static void free_sequences(struct sequences *s)
{
    for (int i = 0; i < s->n; i++)
        free(s->logits[i]);
}

/* Feed all sequences, each in chunks of up to `chunk` tokens (0: random sizes), `together` of them
 * in one step. Logits are kept by sequence and position. Pages are dealt in shuffled order. */
static void run_sequences(struct loaded *x, struct sequences *s, int chunk, int together)
{
    static const struct ant_draw greedy;
    struct ant_draw draws[MAX_ROWS];
    int32_t tokens[MAX_ROWS], positions[MAX_ROWS], sampled[MAX_ROWS];
    int32_t row_start[MAX_SEQS + 1], context[MAX_SEQS], page_start[MAX_SEQS + 1], pages[N_PAGES];
    int32_t all_pages[N_PAGES];
    int done[MAX_SEQS] = {0}, vocab = x->m->arch.vocab, first = 0;
    float *logits = ant_xmalloc((size_t)MAX_ROWS * (size_t)vocab * sizeof *logits);
    for (int i = 0; i < N_PAGES; i++)
        all_pages[i] = i;
    for (int i = N_PAGES - 1; i > 0; i--) {
        int j = random_below(i + 1), page = all_pages[i];
        all_pages[i] = all_pages[j];
        all_pages[j] = page;
    }
    int per_seq = (MAX_CONTEXT + ANT_PAGE_TOKENS - 1) / ANT_PAGE_TOKENS;
    for (int i = 0; i < MAX_ROWS; i++)
        draws[i] = greedy;
    for (int left = s->n; left > 0;) {
        struct ant_batch batch = {.tokens = tokens,
                                  .positions = positions,
                                  .row_start = row_start,
                                  .context = context,
                                  .page_start = page_start,
                                  .pages = pages,
                                  .sampled = sampled,
                                  .draws = draws};
        int who[MAX_SEQS];
        row_start[0] = page_start[0] = 0;
        for (int k = 0; k < s->n && batch.n_seqs < together; k++) {
            int seq = (first + k) % s->n, room = MAX_ROWS - batch.n_rows;
            int n = s->length[seq] - done[seq], most = chunk ? chunk : 1 + random_below(70);
            n = n < most ? n : most;
            n = n < room ? n : room;
            if (n == 0)
                continue;
            int b = batch.n_seqs++;
            who[b] = seq;
            for (int t = 0; t < n; t++) {
                tokens[batch.n_rows] = s->tokens[seq][done[seq] + t];
                positions[batch.n_rows] = done[seq] + t;
                sampled[batch.n_rows] = batch.n_rows;
                batch.n_rows++;
            }
            row_start[b + 1] = batch.n_rows;
            context[b] = done[seq] + n;
            page_start[b + 1] = page_start[b];
            for (int p = 0; p * ANT_PAGE_TOKENS < context[b]; p++)
                pages[page_start[b + 1]++] = all_pages[seq * per_seq % N_PAGES + p];
        }
        batch.n_sampled = batch.n_rows;
        step(x, &batch, logits, NULL);
        for (int b = 0; b < batch.n_seqs; b++) {
            int seq = who[b], n = row_start[b + 1] - row_start[b];
            memcpy(s->logits[seq] + (size_t)done[seq] * (size_t)vocab,
                   logits + (size_t)row_start[b] * (size_t)vocab,
                   (size_t)n * (size_t)vocab * sizeof *logits);
            done[seq] += n;
            left -= done[seq] == s->length[seq];
        }
        first = random_below(s->n);
    }
    free(logits);
}

/* ---- cases ----------------------------------------------------------------------------------- */

struct shape {
    const char *name;
    int layers, hidden, ff, heads, kv_heads, head_dim, vocab, window, rope_dim;
    bool interleaved, bias, tied;
    enum ant_type types[6];
};

static const struct shape shapes[] = {
    {"f16 heads of 4",
     2,
     16,
     64,
     4,
     4,
     4,
     100,
     0,
     4,
     true,
     false,
     false,
     {ANT_F16, ANT_F16, ANT_F16, ANT_F16, ANT_F16, ANT_F16}},
    {"odd sizes f32",
     1,
     50,
     70,
     3,
     1,
     6,
     33,
     0,
     4,
     false,
     true,
     true,
     {ANT_F32, ANT_F32, ANT_F32, ANT_F32, ANT_F32, ANT_F32}},
    {"bf16",
     2,
     96,
     160,
     6,
     2,
     16,
     130,
     0,
     16,
     false,
     false,
     true,
     {ANT_BF16, ANT_BF16, ANT_BF16, ANT_BF16, ANT_BF16, ANT_BF16}},
    {"smollm2-like",
     2,
     576,
     192,
     9,
     3,
     64,
     257,
     0,
     64,
     true,
     false,
     true,
     {ANT_Q8_0, ANT_Q4_1, ANT_Q4_1, ANT_Q4_1, ANT_Q4_1, ANT_Q4_1}},
    {"mixed parts, bias, window",
     2,
     256,
     768,
     4,
     2,
     128,
     64,
     37,
     128,
     false,
     true,
     false,
     {ANT_Q6_K, ANT_Q5_0, ANT_Q4_K, ANT_Q8_0, ANT_Q5_K, ANT_Q6_K}},
    {"the rest, window of 5",
     1,
     256,
     512,
     2,
     1,
     256,
     40,
     5,
     256,
     true,
     false,
     false,
     {ANT_Q5_1, ANT_Q4_0, ANT_Q2_K, ANT_Q3_K, ANT_BF16, ANT_Q4_0}},
    {"mixed with f16",
     1,
     256,
     256,
     2,
     2,
     40,
     96,
     0,
     40,
     false,
     true,
     false,
     {ANT_F16, ANT_F32, ANT_Q8_0, ANT_BF16, ANT_F16, ANT_Q4_1}},
};
enum { N_SHAPES = sizeof shapes / sizeof *shapes };

static void arch_of(const struct shape *s, struct ant_arch *arch)
{
    *arch = (struct ant_arch){
        .family = "test",
        .n_layers = s->layers,
        .hidden = s->hidden,
        .ff = s->ff,
        .n_heads = s->heads,
        .n_kv_heads = s->kv_heads,
        .head_dim = s->head_dim,
        .vocab = s->vocab,
        .context = MAX_CONTEXT,
        .norm_eps = 1e-5f,
        .qkv_bias = s->bias,
        .tied = s->tied,
        .window = s->window,
        .embed_scale = s->tied ? 1 : 1.5,
        .rope = {.interleaved = s->interleaved, .dim = s->rope_dim, .theta = 10000}};
}

static void make_shape(struct tiny *m, int i)
{
    struct ant_arch arch;
    random_state = (uint64_t)i + 1;
    arch_of(&shapes[i], &arch);
    make_tiny(m, &arch, shapes[i].types);
}

static int first_level; /* "test_cpu_backend LEVEL": none below */

/* For each level there is: set it, run. */
static void on_levels(void (*fn)(enum ant_cpu_level))
{
    for (int level = first_level; level <= (int)ant_cpu_best(); level++) {
        setenv("ANTIPHON_CPU", ant_cpu_level_names[level], 1);
        fn((enum ant_cpu_level)level);
    }
    unsetenv("ANTIPHON_CPU");
}

/* Root mean square of the differences over that of the expected values. */
static double distance(const double *want, const float *got, size_t n)
{
    double error = 0, size = 0;
    for (size_t i = 0; i < n; i++) {
        error += ((double)got[i] - want[i]) * ((double)got[i] - want[i]);
        size += want[i] * want[i];
    }
    return sqrt(error / size);
}

static void compare_with_plain(enum ant_cpu_level level)
{
    for (int i = 0; i < N_SHAPES; i++) {
        struct tiny m;
        struct loaded x;
        struct sequences s;
        make_shape(&m, i);
        make_sequences(&s, 2, 75, m.arch.vocab);
        for (int kv = 0; kv < 2; kv++) {
            load(&x, &m, 2, kv ? ANT_KV_BF16 : ANT_KV_F32);
            run_sequences(&x, &s, 40, 2);
            unload(&x);
            /* What a level rounds to: 16 bits before quantized weights, the cache, or much to
             * bfloat16. */
            double most = level >= ANT_CPU_AVX512 ? 2e-2 : kv ? 1e-2 : 2e-4;
            for (int k = 0; k < s.n; k++) {
                size_t n = (size_t)s.length[k] * (size_t)m.arch.vocab;
                double *want = ant_xmalloc(n * sizeof *want);
                plain_forward(&m, s.tokens[k], s.length[k], want);
                double d = distance(want, s.logits[k], n);
                free(want);
                if (!(d < most))
                    fail_msg("%s, '%s', %s cache: logits differ by %g of their size",
                             ant_cpu_level_names[level], shapes[i].name, kv ? "bf16" : "f32", d);
            }
        }
        free_sequences(&s);
        free_tiny(&m);
    }
}

static void test_against_plain(void **state)
{
    (void)state;
    on_levels(compare_with_plain);
}

static void compare_ways(enum ant_cpu_level level)
{
    /* chunk, together, threads */
    static const int ways[][3] = {{1, 1, 1},  {1, 33, 2}, {200, 2, 2},
                                  {0, 33, 3}, {33, 5, 4}, {0, 9, 1}};
    for (int i = 0; i < N_SHAPES; i++) {
        struct tiny m;
        struct sequences s;
        float *first[MAX_SEQS] = {0};
        make_shape(&m, i);
        make_sequences(&s, 33, i == 2 ? 150 : 24, m.arch.vocab);
        for (size_t way = 0; way < sizeof ways / sizeof *ways; way++) {
            struct loaded x;
            load(&x, &m, ways[way][2], way % 2 ? ANT_KV_AUTO : ANT_KV_BF16);
            run_sequences(&x, &s, ways[way][0], ways[way][1]);
            unload(&x);
            for (int k = 0; k < s.n; k++) {
                size_t bytes = (size_t)s.length[k] * (size_t)m.arch.vocab * sizeof(float);
                if (way == 0) {
                    first[k] = ant_xmalloc(bytes);
                    memcpy(first[k], s.logits[k], bytes);
                } else if (memcmp(first[k], s.logits[k], bytes) != 0) {
                    fail_msg(
                        "%s, '%s': sequence %d differs in chunks of %d, %d at a time, %d threads",
                        ant_cpu_level_names[level], shapes[i].name, k, ways[way][0], ways[way][1],
                        ways[way][2]);
                }
            }
        }
        for (int k = 0; k < s.n; k++)
            free(first[k]);
        free_sequences(&s);
        free_tiny(&m);
    }
}

static void test_same_bits_in_any_batch(void **state)
{
    (void)state;
    on_levels(compare_ways);
}

/* A batch of one sequence whose tokens are given. */
struct one {
    struct ant_batch batch;
    int32_t tokens[8], positions[8], row_start[2], context[1], page_start[2], pages[1], sampled[8];
    struct ant_draw draws[8];
};

static void make_one(struct one *o, int n)
{
    memset(o, 0, sizeof *o);
    for (int i = 0; i < n; i++) {
        o->tokens[i] = i;
        o->positions[i] = i;
        o->sampled[i] = i;
    }
    o->row_start[1] = n;
    o->context[0] = n;
    o->page_start[1] = 1;
    o->batch = (struct ant_batch){.n_rows = n,
                                  .n_seqs = 1,
                                  .n_sampled = n,
                                  .tokens = o->tokens,
                                  .positions = o->positions,
                                  .row_start = o->row_start,
                                  .context = o->context,
                                  .page_start = o->page_start,
                                  .pages = o->pages,
                                  .sampled = o->sampled,
                                  .draws = o->draws};
}

/* Logits of some rows are those that they have where all rows are sampled: in order, which lets the
 * rest go early, and out of it. */
static void compare_sampled(enum ant_cpu_level level)
{
    static const int32_t some[][8] = {{7}, {0, 3, 4, 6}, {5, 2}, {1, 1}};
    static const int counts[] = {1, 4, 2, 2};
    for (int i = 0; i < N_SHAPES; i++) {
        struct tiny m;
        struct loaded x;
        struct one o;
        make_shape(&m, i);
        load(&x, &m, 2, ANT_KV_AUTO);
        size_t vocab = (size_t)m.arch.vocab;
        float *all = ant_xmalloc(8 * vocab * sizeof *all);
        float *few = ant_xmalloc(8 * vocab * sizeof *few);
        make_one(&o, 8);
        step(&x, &o.batch, all, NULL);
        for (size_t way = 0; way < sizeof counts / sizeof *counts; way++) {
            make_one(&o, 8);
            memcpy(o.sampled, some[way], sizeof o.sampled);
            o.batch.n_sampled = counts[way];
            step(&x, &o.batch, few, NULL);
            for (int j = 0; j < counts[way]; j++)
                if (memcmp(few + (size_t)j * vocab, all + (size_t)some[way][j] * vocab,
                           vocab * sizeof *few) != 0)
                    fail_msg("%s, '%s': row %d has other logits where others are not sampled",
                             ant_cpu_level_names[level], shapes[i].name, some[way][j]);
        }
        make_one(&o, 8);
        o.batch.n_sampled = 0;
        step(&x, &o.batch, few, NULL);
        free(all);
        free(few);
        unload(&x);
        free_tiny(&m);
    }
}

static void test_sampled_rows_alone(void **state)
{
    (void)state;
    on_levels(compare_sampled);
}

static void expect_refused(struct loaded *x, struct one *o, const char *what)
{
    struct ant_error err = {{0}};
    struct ant_drawn drawn;
    x->ops->step_begin(x->be, &o->batch);
    x->ops->embed(x->be, x->embed);
    x->ops->norm(x->be, x->norm1[0]);
    x->ops->rope_append(x->be, 0, NULL, NULL);
    x->ops->attention(x->be, 0, 0);
    x->ops->sample(x->be);
    x->ops->step_end(x->be);
    if (x->ops->step_wait(x->be, &drawn, &err) != ANT_EBUG)
        fail_msg("%s was taken", what);
    assert_true(strlen(err.text) > 0);
}

static void test_broken_batches_are_refused(void **state)
{
    struct tiny m;
    struct loaded x;
    struct one o;
    (void)state;
    make_shape(&m, 2);
    load(&x, &m, 2, ANT_KV_AUTO);
    make_one(&o, 3);
    o.tokens[1] = m.arch.vocab;
    expect_refused(&x, &o, "a token beyond the vocabulary");
    make_one(&o, 3);
    o.positions[2] = MAX_CONTEXT;
    expect_refused(&x, &o, "a position beyond the context");
    make_one(&o, 3);
    o.pages[0] = N_PAGES;
    expect_refused(&x, &o, "a page beyond the cache");
    make_one(&o, 3);
    o.positions[1] = 5;
    expect_refused(&x, &o, "a gap between positions");
    make_one(&o, 3);
    o.sampled[2] = 3;
    expect_refused(&x, &o, "a sampled row that is not there");
    make_one(&o, 3);
    o.row_start[1] = 2;
    expect_refused(&x, &o, "a row of no sequence");
    make_one(&o, 3);
    step(&x, &o.batch, NULL, NULL); /* and the next sound step works */
    unload(&x);
    free_tiny(&m);
}

static void poison(enum ant_cpu_level level)
{
    struct tiny m;
    struct loaded x;
    struct one o;
    float *before = NULL, *after = NULL;
    make_shape(&m, 2);
    load(&x, &m, 2, ANT_KV_AUTO);
    size_t n = 3 * (size_t)m.arch.vocab;
    before = ant_xmalloc(n * sizeof *before);
    after = ant_xmalloc(n * sizeof *after);
    int32_t ids[8];
    make_one(&o, 3);
    step(&x, &o.batch, before, ids);
    /* The embedding of token 7 becomes NaN and infinity; a sequence with it fills the page. */
    uint16_t *row = (uint16_t *)m.embed.data + 7 * m.arch.hidden;
    for (int i = 0; i < m.arch.hidden; i++)
        row[i] = i % 2 ? 0x7fc0 : 0x7f80;
    unload(&x);
    load(&x, &m, 2, ANT_KV_AUTO);
    struct one bad;
    make_one(&bad, 8);
    bad.tokens[0] = 7;
    step(&x, &bad.batch, NULL, ids);
    for (int i = 0; i < 8; i++)
        assert_in_range(ids[i], 0, m.arch.vocab - 1);
    step(&x, &o.batch, after, ids);
    for (size_t i = 0; i < n; i++)
        if (i % (size_t)m.arch.vocab != 7 && before[i] != after[i]) /* 7: tied output */
            fail_msg("%s: a sequence before left its trace: %g became %g",
                     ant_cpu_level_names[level], (double)before[i], (double)after[i]);
    unload(&x);
    free(before);
    free(after);
    free_tiny(&m);
}

static void test_nan_stays_where_it_is(void **state)
{
    (void)state;
    on_levels(poison);
}

static void test_levels_by_name(void **state)
{
    struct ant_error err = {{0}};
    enum ant_cpu_level level;
    (void)state;
    setenv("ANTIPHON_CPU", "sse9", 1);
    assert_int_equal(ant_cpu_choose(&level, &err), ANT_EUSAGE);
    assert_non_null(strstr(err.text, "sse9"));
    assert_int_equal(ant_backend_cpu.probe(&err), ANT_EUSAGE);
    if (ant_cpu_best() < ANT_CPU_AMX) {
        setenv("ANTIPHON_CPU", "amx", 1);
        assert_int_equal(ant_cpu_choose(&level, &err), ANT_EUSAGE);
        assert_non_null(strstr(err.text, "amx"));
    }
    setenv("ANTIPHON_CPU", "c", 1);
    assert_int_equal(ant_cpu_choose(&level, &err), 0);
    assert_int_equal(level, ANT_CPU_C);
    unsetenv("ANTIPHON_CPU");
    assert_int_equal(ant_cpu_choose(&level, &err), 0);
    assert_int_equal(level, ant_cpu_best());
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_levels_by_name),
        cmocka_unit_test(test_against_plain),
        cmocka_unit_test(test_same_bits_in_any_batch),
        cmocka_unit_test(test_sampled_rows_alone),
        cmocka_unit_test(test_nan_stays_where_it_is),
        cmocka_unit_test(test_broken_batches_are_refused),
    };
    for (int level = 0; argc > 1 && level < ANT_CPU_N_LEVELS; level++)
        if (strcmp(argv[1], ant_cpu_level_names[level]) == 0)
            first_level = level;
    ant_cpu_request_amx();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
