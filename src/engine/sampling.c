/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "engine/sampling.h"

#include <math.h>
#include <stdlib.h>

#include "base/checksum.h"

/* Below this a draw is the most probable token: dividing by it would overflow. */
#define MIN_TEMPERATURE 1e-5f

int ant_sampling_check(const struct ant_sampling *s, struct ant_error *err)
{
    if (s->max_tokens < 1)
        return ant_fail(err, ANT_EUSAGE, "max_tokens %d is not positive", s->max_tokens);
    if (s->min_tokens < 0 || s->min_tokens > s->max_tokens)
        return ant_fail(err, ANT_EUSAGE, "min_tokens %d is not between 0 and max_tokens %d",
                        s->min_tokens, s->max_tokens);
    if (!(s->temperature >= 0 && s->temperature <= 1e4f))
        return ant_fail(err, ANT_EUSAGE, "temperature %g is not between 0 and 10000",
                        s->temperature);
    if (!(s->top_p > 0 && s->top_p <= 1))
        return ant_fail(err, ANT_EUSAGE, "top_p %g is not above 0 and at most 1", s->top_p);
    if (!(s->min_p >= 0 && s->min_p <= 1))
        return ant_fail(err, ANT_EUSAGE, "min_p %g is not between 0 and 1", s->min_p);
    if (!(s->typical_p > 0 && s->typical_p <= 1))
        return ant_fail(err, ANT_EUSAGE, "typical_p %g is not above 0 and at most 1", s->typical_p);
    if (s->top_k < 0)
        return ant_fail(err, ANT_EUSAGE, "top_k %d is negative", s->top_k);
    if (s->max_repeats == 1)
        return ant_fail(err, ANT_EUSAGE, "max_repeats 1 would end every answer at once");
    if (!(s->repetition_penalty >= 0 && s->repetition_penalty <= 100))
        return ant_fail(err, ANT_EUSAGE, "repetition_penalty %g is not between 0 and 100",
                        s->repetition_penalty);
    if (!(fabsf(s->presence_penalty) <= 100))
        return ant_fail(err, ANT_EUSAGE, "presence_penalty %g is not between -100 and 100",
                        s->presence_penalty);
    if (!(fabsf(s->frequency_penalty) <= 100))
        return ant_fail(err, ANT_EUSAGE, "frequency_penalty %g is not between -100 and 100",
                        s->frequency_penalty);
    return 0;
}

uint64_t ant_draw_key(uint64_t seed, const int32_t *prompt, int n_prompt, int sample)
{
    struct ant_digest digest = ant_digest(prompt, (size_t)n_prompt * sizeof(*prompt));
    uint64_t parts[4] = {seed, digest.high, digest.low, (uint64_t)sample};

    return ant_digest(parts, sizeof(parts)).low;
}

/* Philox4x32-10 (Salmon et al., 2011): ten rounds over a 128-bit counter, of which the position is
 * the low half. */
float ant_draw_uniform(uint64_t key, uint64_t position)
{
    uint32_t c0 = (uint32_t)position, c1 = (uint32_t)(position >> 32), c2 = 0, c3 = 0;
    uint32_t k0 = (uint32_t)key, k1 = (uint32_t)(key >> 32);

    for (int round = 0; round < 10; round++) {
        uint64_t a = (uint64_t)0xD2511F53u * c0, b = (uint64_t)0xCD9E8D57u * c2;
        c0 = (uint32_t)(b >> 32) ^ c1 ^ k0;
        c1 = (uint32_t)b;
        c2 = (uint32_t)(a >> 32) ^ c3 ^ k1;
        c3 = (uint32_t)a;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    return (float)(c0 >> 8) * 0x1p-24f;
}

/* exp(x) for x <= 0, relative error below 1e-6; 0 below -87 and for NaN. Written so that the
 * compiler vectorises loops over it: a draw needs one for every entry of the vocabulary. */
static inline float exp_negative(float x)
{
    float t = x > -87.0f ? (x < 0 ? x : 0) : -87.0f;
    float n = (t * 1.44269504f + 0x1.8p23f) - 0x1.8p23f; /* nearest integer to log2 of the result */
    float r = t - n * 0.693147181f;
    float p = 1.38888889e-3f;
    union {
        uint32_t bits;
        float value;
    } power = {.bits = (uint32_t)((int32_t)n + 127) << 23};

    p = p * r + 8.33333333e-3f;
    p = p * r + 4.16666667e-2f;
    p = p * r + 0.166666667f;
    p = p * r + 0.5f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    return x > -87.0f ? p * power.value : 0.0f;
}

/* An entry of the vocabulary that may be drawn. */
struct candidate {
    float weight; /* unnormalised probability */
    int32_t id;
};

static bool is_ahead(struct candidate a, struct candidate b)
{
    return a.weight > b.weight || (a.weight == b.weight && a.id < b.id);
}

static void sift_down(struct candidate *heap, int n, int i)
{
    struct candidate moving = heap[i];

    for (int child; (child = 2 * i + 1) < n; i = child) {
        if (child + 1 < n && is_ahead(heap[child + 1], heap[child]))
            child++;
        if (!is_ahead(heap[child], moving))
            break;
        heap[i] = heap[child];
    }
    heap[i] = moving;
}

static void make_heap(struct candidate *heap, int n)
{
    for (int i = n / 2 - 1; i >= 0; i--)
        sift_down(heap, n, i);
}

/* Move the best of the heap's first n candidates behind them. */
static void pop_best(struct candidate *heap, int n)
{
    struct candidate best = heap[0];

    heap[0] = heap[n - 1];
    sift_down(heap, n - 1, 0);
    heap[n - 1] = best;
}

/* Move the most probable candidates to the end of the array, best last: `top_k` of them, and of
 * those as many as it takes for their weight to reach `top_p` of the whole. Returns how many are
 * kept; *total becomes their weight. */
static int keep_best(struct candidate *heap, int n, const struct ant_draw *draw, double *total)
{
    int popped = 0, kept = 0;
    double sum = 0;

    make_heap(heap, n);
    if (draw->top_k > 0 &&
        draw->top_k < n) { /* top_p is counted within these: all are wanted first */
        for (*total = 0; popped < draw->top_k; popped++) {
            pop_best(heap, n - popped);
            *total += heap[n - 1 - popped].weight;
        }
        if (draw->top_p >= 1.0f)
            return popped;
    }
    int limit = popped ? popped : n;
    while (kept < limit && sum < draw->top_p * *total) {
        if (kept >= popped)
            pop_best(heap, n - kept);
        sum += heap[n - 1 - kept].weight;
        kept++;
    }
    *total = sum;
    return kept;
}

static int32_t argmax(const float *x, int n, const struct ant_draw *draw)
{
    int32_t best = -1;

    for (int32_t i = 0; i < n; i++) {
        if (best >= 0 && !(x[i] > x[best]))
            continue;
        bool is_banned = false;
        for (int k = 0; k < draw->n_banned; k++)
            is_banned |= draw->banned[k] == i;
        if (!is_banned && x[i] == x[i])
            best = i;
    }
    return best < 0 ? 0 : best;
}

/* log of the sum of exp(x - max) in sixteen running sums: the order is fixed, and the loop
 * vectorises. */
static float log_sum(const float *x, int n, float max)
{
    float lane[16] = {0};
    double sum = 0;
    int i = 0;

    for (; i + 16 <= n; i += 16)
        for (int k = 0; k < 16; k++)
            lane[k] += exp_negative(x[i + k] - max);
    for (; i < n; i++)
        lane[0] += exp_negative(x[i] - max);
    for (int k = 0; k < 16; k++)
        sum += lane[k];
    return (float)log(sum);
}

/* Fill `out` with the candidates that temperature, min_p and the banned ids leave; returns their
 * number. */
static int gather(const float *logits, int vocab, float max, const struct ant_draw *draw,
                  struct candidate *out, double *total)
{
    float scale = 1.0f / draw->temperature;
    int n = 0;

    *total = 0;
    for (int32_t i = 0; i < vocab; i++)
        out[i] = (struct candidate){exp_negative((logits[i] - max) * scale), i};
    for (int k = 0; k < draw->n_banned; k++)
        if (draw->banned[k] >= 0 && draw->banned[k] < vocab)
            out[draw->banned[k]].weight = 0;
    for (int32_t i = 0; i < vocab; i++) {
        if (!(out[i].weight > 0) || out[i].weight < draw->min_p)
            continue;
        out[n++] = out[i];
        *total += out[i].weight;
    }
    return n;
}

static bool is_typical_wanted(const struct ant_draw *draw)
{
    return draw->typical_p > 0 && draw->typical_p < 1;
}

/* Likewise the most typical ones, until their weight reaches `typical_p` of the whole: those whose
 * surprise -log p is nearest to its mean, the entropy. Surprise falls by 1 / temperature for each 1
 * of logit, so they are those whose logit is nearest to the mean logit. */
static int keep_typical(struct candidate *heap, int n, const float *logits, float max,
                        const struct ant_draw *draw, double *total)
{
    float scale = 1.0f / draw->temperature;
    double mean = 0, sum = 0;
    int kept = 0;

    for (int i = 0; i < n; i++)
        mean += (double)heap[i].weight * (logits[heap[i].id] - max);
    float centre = (float)(max + mean / *total);
    for (int i = 0; i < n; i++)
        heap[i].weight = -fabsf(logits[heap[i].id] - centre);
    make_heap(heap, n);
    while (kept < n && sum < draw->typical_p * *total) {
        pop_best(heap, n - kept);
        struct candidate *best = &heap[n - 1 - kept];
        best->weight = exp_negative((logits[best->id] - max) * scale);
        sum += best->weight;
        kept++;
    }
    *total = sum;
    return kept;
}

static int compare_ids(const void *a, const void *b)
{
    const struct candidate *x = a, *y = b;

    return (x->id > y->id) - (x->id < y->id);
}

/* The logits as edited, into `out` (vocab). An id outside the vocabulary is passed over. */
static void edit_logits(const float *logits, int vocab, const struct ant_draw *draw, float *out)
{
    for (int i = 0; i < vocab; i++)
        out[i] = draw->only_edited ? -INFINITY : logits[i];
    for (int i = 0; i < draw->n_edits; i++) {
        const struct ant_edit *edit = &draw->edits[i];
        if (edit->id < 0 || edit->id >= vocab)
            continue;
        float x = logits[edit->id] + edit->bias;
        out[edit->id] = (x > 0 ? x / edit->factor : x * edit->factor) - edit->penalty;
    }
}

/* What the mask leaves out cannot be drawn. */
static void mask_logits(float *logits, int vocab, const uint64_t *mask)
{
    for (int first = 0; first < vocab; first += 64) {
        uint64_t word = mask[first / 64];
        int n = vocab - first < 64 ? vocab - first : 64;
        if (word == UINT64_MAX)
            continue;
        for (int i = 0; i < n; i++)
            if (!(word >> i & 1))
                logits[first + i] = -INFINITY;
    }
}

/* Draw at random from logits whose largest is that of `best`. */
static int32_t draw_random(const float *logits, int vocab, const struct ant_draw *draw,
                           int32_t best, struct candidate *candidates)
{
    double total, sum = 0;
    int n = gather(logits, vocab, logits[best], draw, candidates, &total), first = 0;
    int32_t drawn = best;

    if (n > 0 && (draw->top_k > 0 || draw->top_p < 1.0f))
        first = n - keep_best(candidates, n, draw, &total);
    if (n > 0 && is_typical_wanted(draw))
        first = n - keep_typical(candidates + first, n - first, logits, logits[best], draw, &total);
    if (draw->top_k > 0 || draw->top_p < 1.0f || is_typical_wanted(draw))
        qsort(candidates + first, (size_t)(n - first), sizeof(*candidates), compare_ids);
    double target = ant_draw_uniform(draw->key, draw->position) * total;
    for (int i = first; i < n; i++) {
        drawn = candidates[i].id;
        sum += candidates[i].weight;
        if (sum > target)
            break;
    }
    return drawn;
}

int32_t ant_draw_token(const float *logits, int vocab, const struct ant_draw *draw, void *work,
                       float *logprob)
{
    static const struct ant_draw plain;
    struct candidate *candidates = work;
    const float *from = logits;

    if (draw->n_edits > 0 || draw->mask) {
        float *edited = (float *)(candidates + vocab);
        edit_logits(logits, vocab, draw, edited);
        if (draw->mask)
            mask_logits(edited, vocab, draw->mask);
        from = edited;
    }
    int32_t best = argmax(from, vocab, draw), drawn = best;
    if (draw->temperature >= MIN_TEMPERATURE)
        drawn = draw_random(from, vocab, draw, best, candidates);
    if (logprob) {
        bool is_changed = draw->n_banned > 0 || from != logits;
        float max = logits[is_changed ? argmax(logits, vocab, &plain) : best];
        *logprob = logits[drawn] - max - log_sum(logits, vocab, max);
    }
    return drawn;
}

void ant_draw_top(const float *logits, int vocab, int n, int32_t *out)
{
    int have = 0;

    for (int32_t i = 0; i < vocab && n > 0; i++) {
        float x = logits[i];
        if (have == n ? !(x > logits[out[n - 1]]) : x != x)
            continue;
        int at = have < n ? have++ : n - 1;
        for (; at > 0 && x > logits[out[at - 1]]; at--)
            out[at] = out[at - 1];
        out[at] = i;
    }
    while (have < n)
        out[have++] = -1;
}
