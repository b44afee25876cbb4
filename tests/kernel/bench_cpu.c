/* SPDX-License-Identifier: Apache-2.0 */
/* How fast the CPU backend's operations are, in the shapes of a 135M model: products by type and
 * number of rows, attention by kind of step. ANTIPHON_CPU chooses the level.
 *     bench_cpu [threads] [type ...]                                                             */
#include "config.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/backend.h"
#include "backend/cpu/cpu_level.h"
#include "base/clock.h"
#include "random.h"

enum { MAX_ROWS = 512, MAX_CONTEXT = 1024, N_PAGES = 2048, COPIES = 12 };

static const struct ant_arch arch = {.family = "bench",
                                     .n_layers = 1,
                                     .hidden = 576,
                                     .ff = 1536,
                                     .n_heads = 9,
                                     .n_kv_heads = 3,
                                     .head_dim = 64,
                                     .vocab = 49152,
                                     .context = MAX_CONTEXT,
                                     .norm_eps = 1e-5f,
                                     .embed_scale = 1,
                                     .rope = {.dim = 64, .theta = 10000}};

static void die(const struct ant_error *err)
{
    fprintf(stderr, "bench_cpu: %s\n", err->text);
    exit(1);
}

struct bench {
    struct ant_backend *be;
    const struct ant_backend_ops *ops;
    int32_t tokens[MAX_ROWS], positions[MAX_ROWS], row_start[MAX_ROWS + 1], context[MAX_ROWS];
    int32_t page_start[MAX_ROWS + 1], pages[N_PAGES], sampled[MAX_ROWS];
    struct ant_draw draws[MAX_ROWS];
    struct ant_batch batch;
};

/* `n_seqs` sequences, each with `n` new rows that end at `context`. */
static void make_batch(struct bench *b, int n_seqs, int n, int context)
{
    int pages = (context + ANT_PAGE_TOKENS - 1) / ANT_PAGE_TOKENS;
    b->batch = (struct ant_batch){.n_rows = n_seqs * n,
                                  .n_seqs = n_seqs,
                                  .n_sampled = n_seqs * n,
                                  .tokens = b->tokens,
                                  .positions = b->positions,
                                  .row_start = b->row_start,
                                  .context = b->context,
                                  .page_start = b->page_start,
                                  .pages = b->pages,
                                  .sampled = b->sampled,
                                  .draws = b->draws};
    for (int s = 0; s < n_seqs; s++) {
        b->row_start[s + 1] = (s + 1) * n;
        b->page_start[s + 1] = (s + 1) * pages;
        b->context[s] = context;
        for (int i = 0; i < pages; i++)
            b->pages[s * pages + i] = (s * pages + i) * 37 % N_PAGES;
        for (int i = 0; i < n; i++) {
            b->positions[s * n + i] = context - n + i;
            b->sampled[s * n + i] = s * n + i;
        }
    }
}

static struct ant_weight *put(struct bench *b, const struct ant_weight_spec *spec)
{
    struct ant_error err = {{0}};
    struct ant_weight *w = NULL;
    void *memory;
    if (ant_map_memory(&memory, b->ops->weight_bytes(b->be, spec), "weights", &err) < 0 ||
        b->ops->weight_put(b->be, &w, spec, memory, true, &err) < 0)
        die(&err);
    return w;
}

struct product {
    const char *name;
    int parts, rows[3], cols;
    enum ant_slot in, out;
    enum ant_epilogue epilogue;
};
static const struct product products[] = {
    {"qkv", 3, {576, 192, 192}, 576, ANT_SLOT_NORMED, ANT_SLOT_QKV, ANT_EPILOGUE_STORE},
    {"o", 1, {576}, 576, ANT_SLOT_ATTN, ANT_SLOT_RESIDUAL, ANT_EPILOGUE_ADD},
    {"gate_up", 2, {1536, 1536}, 576, ANT_SLOT_NORMED, ANT_SLOT_HIDDEN, ANT_EPILOGUE_GLU},
    {"down", 1, {576}, 1536, ANT_SLOT_HIDDEN, ANT_SLOT_RESIDUAL, ANT_EPILOGUE_ADD},
    {"head", 1, {49152}, 576, ANT_SLOT_LAST, ANT_SLOT_LOGITS, ANT_EPILOGUE_STORE},
};

static int bench_product(struct bench *b, const struct product *p, enum ant_type type)
{
    struct ant_tensor tensors[3];
    struct ant_weight *w[COPIES]; /* so that the last level of cache does not hold the weights */
    struct ant_weight_spec spec = {.n_parts = p->parts};
    int n_rows = 0, copies = p->out == ANT_SLOT_LOGITS ? 2 : COPIES;
    for (int i = 0; i < p->parts; i++) {
        if (p->cols % ant_types[type].block != 0)
            return 0;
        tensors[i] = random_tensor(p->name, type, p->rows[i], p->cols, 0.05f);
        spec.parts[i] = &tensors[i];
        n_rows += p->rows[i];
    }
    for (int i = 0; i < copies; i++)
        w[i] = put(b, &spec);
    double bytes = (double)b->ops->weight_bytes(b->be, &spec);
    static const int rows[] = {1, 2, 4, 8, 16, 64, 128, 256, 512};
    printf("%-5s %-8s", ant_types[type].name, p->name);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        int turns = 0;
        make_batch(b, rows[i], 1, 1);
        b->ops->step_begin(b->be, &b->batch);
        double flops = 2.0 * rows[i] * n_rows * p->cols, best = 1e9, start = ant_now();
        while (turns < 5 || ant_now() - start < 0.1) {
            double t = ant_now();
            for (int c = 0; c < copies; c++)
                b->ops->gemm(b->be, w[c], p->in, p->out, p->epilogue);
            t = (ant_now() - t) / copies;
            best = t < best ? t : best;
            turns++;
        }
        if (rows[i] == 1)
            printf(" %6.1f GB/s |", bytes / best * 1e-9);
        else
            printf(" %d: %4.0f", rows[i], flops / best * 1e-9);
    }
    printf("  GFLOP/s by rows\n");
    for (int i = 0; i < p->parts; i++)
        free((void *)tensors[i].data);
    return 1;
}

static void bench_attention(struct bench *b, int n_seqs, int n, int context)
{
    struct ant_backend_counts before, after;
    double best = 1e9;
    make_batch(b, n_seqs, n, context);
    b->ops->step_begin(b->be, &b->batch);
    b->ops->counts(b->be, &before);
    b->ops->attention(b->be, 0, 0);
    b->ops->counts(b->be, &after);
    double flops = after.flops - before.flops, bytes = after.kv_bytes - before.kv_bytes;
    for (int i = 0; i < 20; i++) {
        double t = ant_now();
        b->ops->attention(b->be, 0, 0);
        t = ant_now() - t;
        best = t < best ? t : best;
    }
    double rope = 1e9;
    for (int i = 0; i < 20; i++) {
        double t = ant_now();
        b->ops->rope_append(b->be, 0, NULL, NULL);
        t = ant_now() - t;
        rope = t < rope ? t : rope;
    }
    printf("attention %3d x %3d rows at %4d: %8.1f us, %5.1f GB/s of cache, %5.1f GFLOP/s; "
           "rope %.2f us a row\n",
           n_seqs, n, context, best * 1e6, bytes / best * 1e-9, flops / best * 1e-9,
           rope * 1e6 / (n_seqs * n));
}

static void bench_sample(struct bench *b)
{
    struct ant_error err;
    struct ant_drawn drawn;
    double best = 1e9;
    make_batch(b, 64, 1, 1);
    for (int i = 0; i < 5; i++) {
        b->ops->step_begin(b->be, &b->batch);
        double t = ant_now();
        b->ops->sample(b->be);
        t = ant_now() - t;
        b->ops->step_end(b->be);
        b->ops->step_wait(b->be, &drawn, &err);
        best = t < best ? t : best;
    }
    printf("greedy over %d: %.1f us a row\n", arch.vocab, best * 1e6 / 64);
}

int main(int argc, char **argv)
{
    static struct bench b;
    struct ant_error err = {{0}};
    struct ant_backend_facts facts;
    struct ant_backend_config config = {.arch = &arch,
                                        .max_rows = MAX_ROWS,
                                        .max_seqs = MAX_ROWS,
                                        .max_sampled = MAX_ROWS,
                                        .max_context = MAX_CONTEXT,
                                        .n_threads = argc > 1 ? atoi(argv[1]) : 0};
    ant_cpu_request_amx();
    b.ops = &ant_backend_cpu;
    if (b.ops->open(&b.be, &config, &err) < 0 || b.ops->kv_open(b.be, N_PAGES, &err) < 0)
        die(&err);
    b.ops->facts(b.be, &facts);
    printf("%s\n", facts.device);
    for (int type = 0; type < ANT_N_TYPES; type++) {
        bool is_wanted = argc < 3 && (type == ANT_BF16 || type == ANT_Q4_1);
        for (int i = 2; i < argc; i++)
            is_wanted |= strcmp(argv[i], ant_types[type].name) == 0;
        for (size_t i = 0; is_wanted && i < sizeof products / sizeof *products; i++)
            bench_product(&b, &products[i], (enum ant_type)type);
    }
    bench_attention(&b, 64, 1, 192);
    bench_attention(&b, 64, 1, 1024);
    bench_attention(&b, 1, 1, 1024);
    bench_attention(&b, 4, 128, 128);
    bench_attention(&b, 1, 512, 512);
    bench_attention(&b, 1, 512, 1024);
    bench_sample(&b);
    b.ops->close(b.be);
    return 0;
}
