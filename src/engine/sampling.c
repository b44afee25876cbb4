/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "engine/sampling.h"

#include <math.h>

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

/* exp(x) for x <= 0, relative error below 1e-6; 0 below -87 and for NaN. Without a call or a branch
 * that depends on x: a draw needs one for every entry of the vocabulary. */
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
    uint32_t key; /* those with the highest are kept first, of equal ones the lowest id */
    int32_t id;
};

/* The order of numbers that are not negative. */
static uint32_t rising(float x)
{
    union {
        float value;
        uint32_t bits;
    } number = {.value = x};

    return number.bits;
}

/* Which candidates are kept: all with a higher key, and so many with this one. */
struct cut {
    uint32_t key;
    int n_equal;
};

/* The first candidates in order of keys, until they are `most` or weigh `mass`. They are not
 * sorted: the key at which that is so is found from its highest bits on, by what lies in each
 * range. */
static struct cut find_cut(const struct candidate *candidates, int n, int most, double mass)
{
    enum { BITS = 11, N_RANGES = 1 << BITS };
    struct cut cut = {0};
    uint32_t known = 0; /* bits of the key */
    int count = 0;      /* of those above it, and their weight */
    double sum = 0;

    for (int shift = 2 * BITS; shift >= 0; shift -= BITS) {
        struct range {
            double weight;
            int n;
        } ranges[N_RANGES] = {0};
        uint32_t at = N_RANGES - 1;
        for (int i = 0; i < n; i++) {
            if ((candidates[i].key & known) != cut.key)
                continue;
            struct range *range = &ranges[candidates[i].key >> shift & (N_RANGES - 1)];
            range->weight += (double)candidates[i].weight;
            range->n++;
        }
        for (; at > 0 && count + ranges[at].n < most && sum + ranges[at].weight < mass; at--) {
            count += ranges[at].n;
            sum += ranges[at].weight;
        }
        cut.key |= at << shift;
        known |= (uint32_t)(N_RANGES - 1) << shift;
    }
    for (int i = 0; i < n && count < most && sum < mass; i++) {
        if (candidates[i].key != cut.key)
            continue;
        sum += (double)candidates[i].weight;
        count++;
        cut.n_equal++;
    }
    return cut;
}

/* Keep those, in order of id; returns how many, *total becomes their weight. */
static int keep(struct candidate *candidates, int n, int most, double mass, double *total)
{
    struct cut cut = find_cut(candidates, n, most, mass);
    int kept = 0;

    *total = 0;
    for (int i = 0; i < n; i++) {
        uint32_t key = candidates[i].key;
        if (key < cut.key || (key == cut.key && cut.n_equal-- <= 0))
            continue;
        *total += (double)candidates[i].weight;
        candidates[kept++] = candidates[i];
    }
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

/* log of the sum of exp(x - max) in sixteen running sums, whose additions need not wait for each
 * other; the order is fixed. */
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
        out[i] = (struct candidate){exp_negative((logits[i] - max) * scale), 0, i};
    for (int k = 0; k < draw->n_banned; k++)
        if (draw->banned[k] >= 0 && draw->banned[k] < vocab)
            out[draw->banned[k]].weight = 0;
    for (int32_t i = 0; i < vocab; i++) {
        float weight = out[i].weight;
        if (!(weight > 0) || weight < draw->min_p)
            continue;
        out[n++] = (struct candidate){weight, rising(weight), i};
        *total += (double)weight;
    }
    return n;
}

static bool is_typical_wanted(const struct ant_draw *draw)
{
    return draw->typical_p > 0 && draw->typical_p < 1;
}

/* Those are the most typical whose surprise -log p is nearest to its mean, the entropy. Surprise
 * falls by 1 / temperature for each 1 of logit, so they are those whose logit is nearest to the
 * mean one. */
static void order_by_typicality(struct candidate *candidates, int n, const float *logits, float max,
                                double total)
{
    double mean = 0;

    for (int i = 0; i < n; i++)
        mean += (double)candidates[i].weight * (logits[candidates[i].id] - max);
    float centre = (float)(max + mean / total);
    for (int i = 0; i < n; i++)
        candidates[i].key = ~rising(fabsf(logits[candidates[i].id] - centre));
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
    int n = gather(logits, vocab, logits[best], draw, candidates, &total);
    int32_t drawn = best;

    if (draw->top_k > 0 && draw->top_k < n)
        n = keep(candidates, n, draw->top_k, INFINITY, &total);
    if (draw->top_p < 1.0f)
        n = keep(candidates, n, n, (double)draw->top_p * total, &total);
    if (n > 0 && is_typical_wanted(draw)) {
        order_by_typicality(candidates, n, logits, logits[best], total);
        n = keep(candidates, n, n, (double)draw->typical_p * total, &total);
    }
    double target = (double)ant_draw_uniform(draw->key, draw->position) * total;
    for (int i = 0; i < n; i++) {
        drawn = candidates[i].id;
        sum += (double)candidates[i].weight;
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
