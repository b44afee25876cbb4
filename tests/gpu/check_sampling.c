/* SPDX-License-Identifier: Apache-2.0 */
/* Drawing from logits on the device against the definition in double. */
#include "config.h"

#include "check.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/sampling.h"
#include "cuda/kern.h"

enum { MAX_BANNED = 3 };

struct rows {
    int n, vocab, stride;
    float *x;
    struct kern_draw *draws;
    int32_t banned[MAX_BANNED];
};

static bool is_banned(const struct rows *p, int r, int id)
{
    for (int k = 0; k < p->draws[r].n_banned; k++)
        if (p->banned[p->draws[r].banned + k] == id)
            return true;
    return false;
}

static const float *sort_x; /* of order() */

static int order(const void *a, const void *b)
{
    int i = *(const int *)a, j = *(const int *)b;

    if (sort_x[i] != sort_x[j])
        return sort_x[i] > sort_x[j] ? -1 : 1;
    return i < j ? -1 : 1;
}

/* Weights of the kept ids of row r, 0 for the others; false when a rounding error could decide
 * what is kept. */
static bool kept_weights(const struct rows *p, int r, double *w)
{
    const struct kern_draw *d = &p->draws[r];
    const float *x = p->x + (size_t)r * p->stride;
    int *ids = malloc(sizeof(*ids) * p->vocab), n = 0, kept = 0;
    double top = -INFINITY, total = 0, sum = 0;
    bool is_sure = true;

    for (int i = 0; i < p->vocab; i++)
        if (!is_banned(p, r, i))
            top = fmax(top, x[i]);
    for (int i = 0; i < p->vocab; i++) {
        w[i] = is_banned(p, r, i) ? 0 : exp((x[i] - top) / d->temperature);
        is_sure &= fabs(w[i] - d->min_p) > 1e-5 * d->min_p || d->min_p == 0;
        if (w[i] < d->min_p || w[i] < 1e-37)
            w[i] = 0;
        else
            ids[n++] = i;
    }
    sort_x = x;
    qsort(ids, (size_t)n, sizeof(*ids), order);
    if (d->top_k > 0 && d->top_k < n)
        n = d->top_k;
    for (int i = 0; i < n; i++)
        total += w[ids[i]];
    if (d->top_p < 1) {
        while (kept < n && sum < d->top_p * total) {
            sum += w[ids[kept++]];
            is_sure &= fabs(sum - d->top_p * total) > 3e-6 * total;
        }
        n = kept;
    }
    double *all = malloc(sizeof(*all) * p->vocab);
    memcpy(all, w, sizeof(*all) * p->vocab);
    memset(w, 0, sizeof(*w) * p->vocab);
    for (int i = 0; i < n; i++)
        w[ids[i]] = all[ids[i]];
    free(ids), free(all);
    return is_sure;
}

static void compare_row(const struct rows *p, int r, int id, float logprob)
{
    const struct kern_draw *d = &p->draws[r];
    const float *x = p->x + (size_t)r * p->stride;
    double max = -INFINITY, log_sum = 0, *w = calloc((size_t)p->vocab, sizeof(*w));
    char name[160];

    snprintf(name, sizeof(name), "vocab %d T %g top_k %d top_p %g min_p %g banned %d", p->vocab,
             d->temperature, d->top_k, d->top_p, d->min_p, d->n_banned);
    for (int i = 0; i < p->vocab; i++)
        max = fmax(max, x[i]);
    for (int i = 0; i < p->vocab; i++)
        log_sum += exp(x[i] - max);
    log_sum = log(log_sum);
    if (!check_that(id >= 0 && id < p->vocab, "%s: id %d", name, id))
        goto out;
    check_that(fabs(logprob - (x[id] - max - log_sum)) < 2e-5 * (10 + fabs(max - x[id])),
               "%s: logprob %g, not %g", name, logprob, x[id] - max - log_sum);
    if (d->temperature == 0) {
        int best = -1;
        for (int i = 0; i < p->vocab; i++)
            if (!is_banned(p, r, i) && (best < 0 || x[i] > x[best]))
                best = i;
        check_that(id == best, "%s: id %d, not %d", name, id, best);
    } else if (kept_weights(p, r, w)) {
        double total = 0, before = 0;
        for (int i = 0; i < p->vocab; i++)
            total += w[i];
        for (int i = 0; i < id; i++)
            before += w[i];
        double target = ant_draw_uniform(d->key, d->position) * total, slack = 1e-5 * total;
        check_that(w[id] > 0, "%s: id %d is not kept", name, id);
        check_that(before <= target + slack && before + w[id] >= target - slack,
                   "%s: id %d covers %g to %g of %g, not %g", name, id, before, before + w[id],
                   total, target);
    }
out:
    free(w);
}

static void check_draws(const struct rows *p)
{
    float *logprobs = malloc(sizeof(*logprobs) * p->n);
    int32_t *ids = malloc(sizeof(*ids) * p->n);
    struct check_buffer b_x = check_upload(p->x, sizeof(*p->x) * p->n * p->stride);
    struct check_buffer b_draws = check_upload(p->draws, sizeof(*p->draws) * p->n);
    struct check_buffer b_banned = check_upload(p->banned, sizeof(p->banned));
    struct check_buffer b_ids = check_device(sizeof(*ids) * p->n);
    struct check_buffer b_logprobs = check_device(sizeof(*logprobs) * p->n);

    CU(kern_sample((struct kern_sample){.logits = b_x.p,
                                        .draws = b_draws.p,
                                        .banned = b_banned.p,
                                        .ids = b_ids.p,
                                        .logprobs = b_logprobs.p,
                                        .rows = p->n,
                                        .vocab = p->vocab,
                                        .stride = p->stride},
                   0));
    check_download(ids, &b_ids);
    check_download(logprobs, &b_logprobs);
    for (int r = 0; r < p->n; r++)
        compare_row(p, r, ids[r], logprobs[r]);
    check_release(&b_x, "logits");
    check_release(&b_draws, "draws");
    check_release(&b_banned, "banned");
    check_release(&b_ids, "ids");
    check_release(&b_logprobs, "logprobs");
    free(logprobs), free(ids);
}

/* Logits of a row: by kind, ordinary, many ties, peaked, all equal, with infinities and NaN. */
static void fill_row(float *x, int vocab, int stride, int kind)
{
    float scale = kind == 2 ? 6 : 1.5f;

    for (int i = 0; i < stride; i++) {
        x[i] = check_normal() * scale + (kind == 0 ? 3 : -2);
        if (kind == 1)
            x[i] = roundf(x[i] * 4) / 4;
        if (kind == 3)
            x[i] = -1.25f;
        if (kind == 5 && i < vocab - 50) /* the best come late */
            x[i] -= 60;
        if (kind == 4 && i % 3 == 0 && i != 0)
            x[i] = i % 2 ? -INFINITY : -1e30f;
        if (i >= vocab)
            x[i] = 1e9f;
    }
}

static void check_vocab(int n, int vocab, bool greedy)
{
    static const float top_ps[] = {1, 0.95f, 0.8f, 0.3f, 0.999f, 1e-4f};
    struct rows p = {.n = n, .vocab = vocab, .stride = (vocab + 3) / 4 * 4};

    p.x = malloc(sizeof(*p.x) * n * p.stride);
    p.draws = calloc((size_t)n, sizeof(*p.draws));
    for (int k = 0; k < MAX_BANNED; k++)
        p.banned[k] = check_pick(0, vocab - 1);
    for (int r = 0; r < n; r++) {
        struct kern_draw *d = &p.draws[r];
        fill_row(p.x + (size_t)r * p.stride, vocab, p.stride, check_pick(0, 5));
        d->key = check_random();
        d->position = check_random() >> check_pick(0, 63);
        d->temperature = greedy ? 0 : check_pick(0, 9) ? 0.1f * (float)check_pick(1, 20) : 50;
        d->top_p = check_pick(0, 1) ? top_ps[check_pick(0, 5)] : 1;
        d->top_k = check_pick(0, 1) ? 0 : check_pick(1, check_pick(0, 1) ? 60 : vocab);
        d->min_p = check_pick(0, 3) ? 0 : 0.02f;
        if (vocab > 20 && !check_pick(0, 2)) { /* the best id among them */
            const float *x = p.x + (size_t)r * p.stride;
            d->banned = check_pick(0, 1);
            d->n_banned = MAX_BANNED - d->banned;
            for (int i = 0; i < vocab; i++)
                if (x[i] > x[p.banned[2]] && r == 0)
                    p.banned[2] = i;
        }
    }
    check_draws(&p);
    free(p.x), free(p.draws);
}

void check_sampling(void)
{
    for (int greedy = 0; greedy < 2; greedy++) {
        check_vocab(3, 1, greedy);
        for (int i = 0; i < (check_quick ? 3 : 25); i++)
            check_vocab(check_pick(1, 40), check_pick(2, 9000), greedy);
        check_vocab(check_quick ? 2 : 24, 49152, greedy);
        check_vocab(check_quick ? 2 : 24, 128256, greedy);
        check_vocab(check_quick ? 1 : 8, 151936, greedy);
        check_vocab(1, 262144, greedy);
    }
    check_that(kern_sample((struct kern_sample){.rows = 1, .vocab = 1100000, .stride = 1100000},
                           0) == cudaErrorInvalidValue,
               "sampling: accepts a vocabulary of 1100000");
    printf("sampling: done\n");
}

/* --- speed --- */

static void run_sample(void *context, int i)
{
    (void)i;
    CU(kern_sample(*(struct kern_sample *)context, 0));
}

static void bench_draw(const char *name, int rows, int vocab, float spread, struct kern_draw draw)
{
    enum { NOISE = 1 << 22 };
    static float *noise;
    size_t n = (size_t)rows * vocab;
    struct kern_draw *draws = calloc((size_t)rows, sizeof(*draws));
    float *x = malloc(sizeof(*x) * NOISE);

    if (!noise) {
        noise = malloc(sizeof(*noise) * NOISE);
        check_fill_float(noise, NOISE, 1);
    }
    for (int i = 0; i < NOISE; i++)
        x[i] = noise[i] * spread;
    for (int r = 0; r < rows; r++) {
        draws[r] = draw;
        draws[r].key = check_random();
    }
    struct check_buffer b_x = check_device(n * sizeof(*x));
    for (size_t at = 0; at < n; at += NOISE)
        CU(cudaMemcpy((float *)b_x.p + at, x, sizeof(*x) * (at + NOISE < n ? NOISE : n - at),
                      cudaMemcpyHostToDevice));
    struct check_buffer b_draws = check_upload(draws, sizeof(*draws) * rows);
    struct check_buffer b_ids = check_device(sizeof(int32_t) * rows);
    struct check_buffer b_logprobs = check_device(sizeof(float) * rows);
    struct kern_sample a = {.logits = b_x.p,
                            .draws = b_draws.p,
                            .ids = b_ids.p,
                            .logprobs = b_logprobs.p,
                            .rows = rows,
                            .vocab = vocab,
                            .stride = vocab};
    double t = check_time(run_sample, &a, 10), bytes = (double)n * 4;
    printf("  %-28s rows %4d  vocab %6d  %8.2f us  %6.0f GB/s  %3.0f %%\n", name, rows, vocab,
           t * 1e6, bytes / t * 1e-9, bytes / t / check_copy * 100);
    check_release(&b_x, "logits");
    check_release(&b_draws, "draws");
    check_release(&b_ids, "ids");
    check_release(&b_logprobs, "logprobs");
    free(x), free(draws);
}

void bench_sampling(void)
{
    struct kern_draw greedy = {.top_p = 1}, plain = {.temperature = 0.8f, .top_p = 1};
    struct kern_draw top_p = {.temperature = 0.8f, .top_p = 0.95f};
    struct kern_draw top_k = {.temperature = 0.8f, .top_p = 1, .top_k = 50};
    struct kern_draw both = {.temperature = 0.8f, .top_p = 0.95f, .top_k = 50};

    printf("sampling (bytes of one reading of the logits)\n");
    bench_draw("greedy", 1, 128256, 1, greedy);
    bench_draw("greedy", 32, 128256, 1, greedy);
    bench_draw("greedy", 512, 128256, 1, greedy);
    bench_draw("greedy", 1024, 49152, 1, greedy);
    bench_draw("temperature", 512, 128256, 1, plain);
    bench_draw("top_p, flat logits", 512, 128256, 1, top_p);
    bench_draw("top_p, peaked logits", 512, 128256, 4, top_p);
    bench_draw("top_k", 512, 128256, 1, top_k);
    bench_draw("top_k, top_p", 512, 128256, 1, both);
    bench_draw("top_p, flat logits", 1024, 49152, 1, top_p);
    bench_draw("top_p, flat logits", 32, 128256, 1, top_p);
    bench_draw("top_p, flat logits", 1, 128256, 1, top_p);
}
