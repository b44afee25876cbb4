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

enum { MAX_BANNED = 3, MAX_EDITS = 40, FIRST_EDIT = 4 }; /* edits lie behind the banned ids */

struct rows {
    int n, vocab, stride;
    float *x, *plain; /* logits as they are drawn from, and before edits */
    struct kern_draw *draws;
    int32_t banned[FIRST_EDIT];
    struct kern_edit *edits; /* (n, MAX_EDITS) */
    uint32_t *masks;         /* (n, mask_words) */
    int mask_words;
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

static const double *sort_distance; /* of nearer() */

static int nearer(const void *a, const void *b)
{
    int i = *(const int *)a, j = *(const int *)b;

    if (sort_distance[i] != sort_distance[j])
        return sort_distance[i] < sort_distance[j] ? -1 : 1;
    return i < j ? -1 : 1;
}

/* Of n ids with weights w the most typical ones, by the definition: -log p near the entropy.
 * Returns how many, in order. */
static int keep_typical(const struct rows *p, int r, int *ids, int n, const double *w,
                        bool *is_sure)
{
    const struct kern_draw *d = &p->draws[r];
    const float *x = p->x + (size_t)r * p->stride;
    double total = 0, entropy = 0, sum = 0, *distance = malloc(sizeof(*distance) * p->vocab);
    int kept = 0;

    for (int i = 0; i < n; i++)
        total += w[ids[i]];
    for (int i = 0; i < n; i++)
        entropy -= w[ids[i]] / total * log(w[ids[i]] / total);
    for (int i = 0; i < n; i++)
        distance[ids[i]] = fabs(-log(w[ids[i]] / total) - entropy);
    sort_distance = distance;
    qsort(ids, (size_t)n, sizeof(*ids), nearer);
    while (kept < n && sum < d->typical_p * total) {
        sum += w[ids[kept++]];
        *is_sure &= fabs(sum - d->typical_p * total) > 3e-5 * total;
    }
    if (kept < n && x[ids[kept]] != x[ids[kept - 1]])
        *is_sure &= distance[ids[kept]] - distance[ids[kept - 1]] >
                    1e-5 * (1 + fabs(x[ids[kept]]) / d->temperature);
    free(distance);
    return kept;
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
    if (d->typical_p > 0 && d->typical_p < 1)
        n = keep_typical(p, r, ids, n, w, &is_sure);
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
    const float *x = p->x + (size_t)r * p->stride, *plain = p->plain + (size_t)r * p->stride;
    double max = -INFINITY, log_sum = 0, *w = calloc((size_t)p->vocab, sizeof(*w));
    char name[160];

    snprintf(name, sizeof(name),
             "vocab %d T %g top_k %d top_p %g min_p %g typical_p %g banned %d edits %d%s", p->vocab,
             d->temperature, d->top_k, d->top_p, d->min_p, d->typical_p, d->n_banned, d->n_edits,
             d->is_masked ? " masked" : "");
    for (int i = 0; i < p->vocab; i++)
        max = fmax(max, plain[i]);
    for (int i = 0; i < p->vocab; i++)
        log_sum += exp(plain[i] - max);
    log_sum = log(log_sum);
    if (!check_that(id >= 0 && id < p->vocab, "%s: id %d", name, id))
        goto out;
    check_that((isinf(logprob) && logprob == plain[id]) ||
                   fabs(logprob - (plain[id] - max - log_sum)) <
                       2e-5 * (10 + fabs(max - plain[id])),
               "%s: logprob %g, not %g", name, logprob, plain[id] - max - log_sum);
    if (d->is_given) {
        check_that(id == d->given, "%s: id %d, not the given one", name, id);
    } else if (d->temperature == 0) {
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

/* The best ids of a row, against all its ids in order. */
static void compare_top(const struct rows *p, int r, const int32_t *ids, const float *logprobs,
                        int32_t drawn, float logprob)
{
    int *want = malloc(sizeof(*want) * p->vocab), n = p->draws[r].n_top, n_wrong = 0;

    for (int i = 0; i < p->vocab; i++)
        want[i] = i;
    sort_x = p->plain + (size_t)r * p->stride;
    qsort(want, (size_t)p->vocab, sizeof(*want), order);
    for (int i = 0; i < n; i++) {
        n_wrong += ids[i] != (i < p->vocab ? want[i] : -1);
        n_wrong += ids[i] == drawn && logprobs[i] != logprob;
    }
    check_that(n_wrong == 0, "vocab %d: %d of the best %d ids are wrong", p->vocab, n_wrong, n);
    free(want);
}

/* Lists of a batch: banned ids, then edits, then masks. */
static struct check_buffer upload_lists(const struct rows *p)
{
    size_t edits = sizeof(*p->edits) * p->n * MAX_EDITS;
    size_t masks = sizeof(*p->masks) * p->n * p->mask_words;
    struct check_buffer b = check_device(sizeof(p->banned) + edits + masks);

    CU(cudaMemcpy(b.p, p->banned, sizeof(p->banned), cudaMemcpyHostToDevice));
    CU(cudaMemcpy((char *)b.p + sizeof(p->banned), p->edits, edits, cudaMemcpyHostToDevice));
    CU(cudaMemcpy((char *)b.p + sizeof(p->banned) + edits, p->masks, masks,
                  cudaMemcpyHostToDevice));
    return b;
}

static void check_draws(const struct rows *p)
{
    float *logprobs = malloc(sizeof(*logprobs) * p->n);
    int32_t *ids = malloc(sizeof(*ids) * p->n);
    int32_t *top_ids = malloc(sizeof(*top_ids) * p->n * KERN_MAX_TOP);
    float *top_logprobs = malloc(sizeof(*top_logprobs) * p->n * KERN_MAX_TOP);
    struct check_buffer b_x = check_upload(p->plain, sizeof(*p->x) * p->n * p->stride);
    struct check_buffer b_totals = check_device(sizeof(float) * 2 * p->n);
    struct check_buffer b_top_ids = check_device(sizeof(*top_ids) * p->n * KERN_MAX_TOP);
    struct check_buffer b_top_logprobs = check_device(sizeof(*top_ids) * p->n * KERN_MAX_TOP);
    struct check_buffer b_draws = check_upload(p->draws, sizeof(*p->draws) * p->n);
    struct check_buffer b_lists = upload_lists(p);
    struct check_buffer b_ids = check_device(sizeof(*ids) * p->n);
    struct check_buffer b_logprobs = check_device(sizeof(*logprobs) * p->n);

    struct kern_sample a = {.logits = b_x.p,
                            .draws = b_draws.p,
                            .lists = b_lists.p,
                            .ids = b_ids.p,
                            .logprobs = b_logprobs.p,
                            .totals = b_totals.p,
                            .top_ids = b_top_ids.p,
                            .top_logprobs = b_top_logprobs.p,
                            .rows = p->n,
                            .vocab = p->vocab,
                            .stride = p->stride};
    CU(kern_top(a, 0));
    CU(kern_edit(a, 0));
    CU(kern_sample(a, 0));
    check_download(top_ids, &b_top_ids);
    check_download(top_logprobs, &b_top_logprobs);
    check_download(ids, &b_ids);
    check_download(logprobs, &b_logprobs);
    for (int r = 0; r < p->n; r++) {
        compare_row(p, r, ids[r], logprobs[r]);
        compare_top(p, r, top_ids + r * KERN_MAX_TOP, top_logprobs + r * KERN_MAX_TOP, ids[r],
                    logprobs[r]);
    }
    check_release(&b_totals, "totals");
    check_release(&b_top_ids, "best ids");
    check_release(&b_top_logprobs, "best logprobs");
    free(top_ids), free(top_logprobs);
    check_release(&b_x, "logits");
    check_release(&b_draws, "draws");
    check_release(&b_lists, "lists");
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

/* Some changes to a row's logits; few ids, so that each is there once. */
static void edit_row(struct rows *p, int r)
{
    struct kern_draw *d = &p->draws[r];
    struct kern_edit *edits = p->edits + (size_t)r * MAX_EDITS;
    float *x = p->x + (size_t)r * p->stride;
    int step = p->vocab / MAX_EDITS;

    d->edits = FIRST_EDIT + r * MAX_EDITS * (int)(sizeof(*edits) / 4);
    d->n_edits = check_pick(1, MAX_EDITS);
    int first = check_pick(0, step - 1);
    d->only_edited = check_pick(0, 2) == 0 && x[first] > -1e20f; /* something is left */
    float *old = malloc(sizeof(*old) * p->vocab);
    memcpy(old, x, sizeof(*old) * p->vocab);
    for (int i = 0; i < p->vocab && d->only_edited; i++)
        x[i] = -INFINITY;
    for (int i = 0; i < d->n_edits; i++) {
        int id = i > 0 ? i * step + check_pick(0, step - 1) : first;
        edits[i] =
            (struct kern_edit){.id = i == 0 || check_pick(0, 20) ? id : p->vocab + id, .factor = 1};
        if (check_pick(0, 1))
            edits[i].bias = i > 0 && check_pick(0, 3) == 0 ? -INFINITY : check_normal();
        if (check_pick(0, 1))
            edits[i].factor = 1.25f;
        edits[i].penalty = 0.5f * (float)check_pick(0, 3);
        if (edits[i].id != id)
            continue;
        float y = old[id] + edits[i].bias;
        x[id] = (y > 0 ? y / edits[i].factor : y * edits[i].factor) - edits[i].penalty;
    }
    free(old);
}

/* Take ids out of a row, but not all that could be drawn. */
static void mask_row(struct rows *p, int r)
{
    struct kern_draw *d = &p->draws[r];
    uint32_t *mask = p->masks + (size_t)r * p->mask_words;
    float *x = p->x + (size_t)r * p->stride;
    int density = check_pick(1, 4), left = -1;

    d->is_masked = true;
    d->mask = FIRST_EDIT + p->n * MAX_EDITS * (int)(sizeof(*p->edits) / 4) + r * p->mask_words;
    for (int i = 0; i < p->mask_words; i++)
        for (int k = 0; k < density; k++)
            mask[i] = k == 0 ? (uint32_t)check_random() : mask[i] & (uint32_t)check_random();
    for (int i = check_pick(0, p->vocab - 1), k = 0; k < p->vocab && left < 0; k++, i++)
        if (!is_banned(p, r, i % p->vocab) && x[i % p->vocab] > -1e20f)
            left = i % p->vocab;
    mask[left / 32] |= 1u << left % 32;
    for (int i = 0; i < p->vocab; i++)
        if (!(mask[i / 32] >> i % 32 & 1))
            x[i] = -INFINITY;
}

static void check_vocab(int n, int vocab, bool greedy)
{
    static const float top_ps[] = {1, 0.95f, 0.8f, 0.3f, 0.999f, 1e-4f};
    static const float typical_ps[] = {0.95f, 0.7f, 0.2f, 0.999f, 1e-4f};
    struct rows p = {
        .n = n, .vocab = vocab, .stride = (vocab + 3) / 4 * 4, .mask_words = (vocab + 63) / 64 * 2};

    p.x = malloc(sizeof(*p.x) * n * p.stride);
    p.plain = malloc(sizeof(*p.x) * n * p.stride);
    p.draws = calloc((size_t)n, sizeof(*p.draws));
    p.edits = calloc((size_t)n * MAX_EDITS, sizeof(*p.edits));
    p.masks = calloc((size_t)n * p.mask_words, sizeof(*p.masks));
    for (int k = 0; k < FIRST_EDIT; k++)
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
        d->typical_p = check_pick(0, 2) ? check_pick(0, 1) : typical_ps[check_pick(0, 4)];
        if (vocab > 20 && !check_pick(0, 2)) { /* the best id among them */
            const float *x = p.x + (size_t)r * p.stride;
            d->banned = check_pick(0, 1);
            d->n_banned = MAX_BANNED - d->banned;
            for (int i = 0; i < vocab; i++)
                if (x[i] > x[p.banned[2]] && r == 0)
                    p.banned[2] = i;
        }
    }
    memcpy(p.plain, p.x, sizeof(*p.x) * n * p.stride);
    for (int r = 0; r < n; r++) {
        struct kern_draw *d = &p.draws[r];
        if (vocab >= MAX_EDITS && d->n_banned == 0 && check_pick(0, 1))
            edit_row(&p, r);
        if (check_pick(0, 2) == 0)
            mask_row(&p, r);
        d->is_given = check_pick(0, 9) == 0;
        d->given = check_pick(0, vocab - 1);
        d->n_top = check_pick(0, 1) ? 0 : check_pick(1, KERN_MAX_TOP);
    }
    check_draws(&p);
    free(p.x), free(p.plain), free(p.draws), free(p.edits), free(p.masks);
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

/* ---- speed ----------------------------------------------------------------------------------- */

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

static void run_edit(void *context, int i)
{
    (void)i;
    CU(kern_edit(*(struct kern_sample *)context, 0));
}

/* Masks before a draw, one for each eight rows, which leave an eighth of the ids. */
static void bench_masks(int rows, int vocab)
{
    int words = (vocab + 63) / 64 * 2, n_masks = (rows + 7) / 8;
    struct kern_draw *draws = calloc((size_t)rows, sizeof(*draws));
    uint32_t *masks = malloc(sizeof(*masks) * n_masks * words);
    struct check_buffer b_x = check_device(sizeof(float) * rows * vocab);
    struct check_buffer b_totals = check_device(sizeof(float) * 2 * rows);

    for (int i = 0; i < n_masks * words; i++)
        masks[i] = (uint32_t)(check_random() & check_random() & check_random());
    for (int r = 0; r < rows; r++)
        draws[r] = (struct kern_draw){.is_masked = true, .mask = r / 8 * words};
    struct check_buffer b_masks = check_upload(masks, sizeof(*masks) * n_masks * words);
    struct check_buffer b_draws = check_upload(draws, sizeof(*draws) * rows);
    CU(cudaMemset(b_x.p, 0, sizeof(float) * rows * vocab));
    struct kern_sample a = {.logits = b_x.p,
                            .draws = b_draws.p,
                            .lists = b_masks.p,
                            .totals = b_totals.p,
                            .rows = rows,
                            .vocab = vocab,
                            .stride = vocab};
    double t = check_time(run_edit, &a, 10);
    printf("  %-28s rows %4d  vocab %6d  %8.2f us\n", "masks", rows, vocab, t * 1e6);
    check_release(&b_x, "logits");
    check_release(&b_totals, "totals");
    check_release(&b_masks, "masks");
    check_release(&b_draws, "draws");
    free(draws), free(masks);
}

void bench_sampling(void)
{
    struct kern_draw greedy = {.top_p = 1}, plain = {.temperature = 0.8f, .top_p = 1};
    struct kern_draw top_p = {.temperature = 0.8f, .top_p = 0.95f};
    struct kern_draw top_k = {.temperature = 0.8f, .top_p = 1, .top_k = 50};
    struct kern_draw both = {.temperature = 0.8f, .top_p = 0.95f, .top_k = 50};
    struct kern_draw typical = {.temperature = 0.8f, .top_p = 1, .typical_p = 0.95f};

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
    bench_draw("typical_p, flat logits", 512, 128256, 1, typical);
    bench_draw("typical_p, peaked logits", 512, 128256, 4, typical);
    bench_draw("typical_p, flat logits", 1, 128256, 1, typical);
    bench_masks(256, 128256);
    bench_draw("top_p, flat logits", 1024, 49152, 1, top_p);
    bench_draw("top_p, flat logits", 32, 128256, 1, top_p);
    bench_draw("top_p, flat logits", 1, 128256, 1, top_p);
}
