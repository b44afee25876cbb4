/* SPDX-License-Identifier: Apache-2.0 */
/* Draws: the published generator, the filters one by one, the right distribution, and hostile
 * logits. */
#include "config.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/sampling.h"

enum { VOCAB = 40 };

static char work[VOCAB * ANT_DRAW_WORK];

static int32_t draw(const float *logits, const struct ant_draw *draw)
{
    float logprob;

    return ant_draw_token(logits, VOCAB, draw, work, &logprob);
}

/* First word of the known answers of Random123's kat_vectors for philox4x32, 10 rounds. */
static void test_philox(void **state)
{
    (void)state;
    assert_float_equal(ant_draw_uniform(0, 0), (float)(0x6627e8d5u >> 8) * 0x1p-24f, 0);
}

static void test_key_depends_on_everything(void **state)
{
    int32_t a[3] = {1, 2, 3}, b[3] = {1, 2, 4};
    uint64_t key = ant_draw_key(7, a, 3, 0);

    (void)state;
    assert_true(key == ant_draw_key(7, a, 3, 0));
    assert_true(key != ant_draw_key(8, a, 3, 0));
    assert_true(key != ant_draw_key(7, b, 3, 0));
    assert_true(key != ant_draw_key(7, a, 2, 0));
    assert_true(key != ant_draw_key(7, a, 3, 1));
}

static void fill(float *logits)
{
    for (int i = 0; i < VOCAB; i++)
        logits[i] = 0.15f * (float)((i * 17) % VOCAB);
}

static void test_greedy(void **state)
{
    float logits[VOCAB] = {0}, logprob;
    struct ant_draw greedy = {0};

    (void)state;
    logits[5] = logits[9] = 2;
    assert_int_equal(ant_draw_token(logits, VOCAB, &greedy, work, &logprob), 5);
    assert_float_equal(logprob, 2 - log(2 * exp(2) + VOCAB - 2), 1e-5);
    greedy.banned = (int32_t[]){5};
    greedy.n_banned = 1;
    assert_int_equal(draw(logits, &greedy), 9);
}

/* Pearson's chi-square of `n` draws against probabilities; far too improbable a value is a failure.
 */
static void check_distribution(const float *logits, struct ant_draw draw_as, const double *expected)
{
    enum { N = 40000 };
    int count[VOCAB] = {0}, degrees = -1;
    double chi = 0;

    draw_as.key = 12345;
    for (int i = 0; i < N; i++) {
        draw_as.position = (uint64_t)i;
        count[draw(logits, &draw_as)]++;
    }
    for (int i = 0; i < VOCAB; i++) {
        if (expected[i] <= 0) {
            assert_int_equal(count[i], 0);
            continue;
        }
        double mean = N * expected[i];
        chi += (count[i] - mean) * (count[i] - mean) / mean;
        degrees++;
    }
    assert_true(chi < degrees + 5 * sqrt(2.0 * degrees + 1));
}

/* Of what `out` has of `total`, the most typical ids until typical_p of it, as Meister et al.
 * (2023) define it: by the distance of -log p to the entropy. Returns their weight. */
static double expect_typical(const struct ant_draw *draw_as, double total, double *out)
{
    double distance[VOCAB], entropy = 0, kept = 0;
    bool is_kept[VOCAB] = {false};

    for (int i = 0; i < VOCAB; i++)
        entropy -= out[i] > 0 ? out[i] / total * log(out[i] / total) : 0;
    for (int i = 0; i < VOCAB; i++)
        distance[i] = out[i] > 0 ? fabs(-log(out[i] / total) - entropy) : INFINITY;
    while (kept < draw_as->typical_p * total) {
        int best = -1;
        for (int i = 0; i < VOCAB; i++)
            if (!is_kept[i] && (best < 0 || distance[i] < distance[best]))
                best = i;
        is_kept[best] = true;
        kept += out[best];
    }
    for (int i = 0; i < VOCAB; i++)
        out[i] = is_kept[i] ? out[i] : 0;
    return kept;
}

/* Probabilities after temperature, min_p, top_k, top_p and typical_p, done the plain way in double.
 */
static void expect(const float *logits, const struct ant_draw *draw_as, double *out)
{
    double max = -INFINITY, total = 0, kept = 0;
    int order[VOCAB];

    for (int i = 0; i < VOCAB; i++)
        max = logits[i] > max ? logits[i] : max;
    for (int i = 0; i < VOCAB; i++) {
        out[i] = exp((logits[i] - max) / draw_as->temperature);
        if (out[i] < draw_as->min_p)
            out[i] = 0;
        order[i] = i;
    }
    for (int i = 0; i < VOCAB; i++)
        for (int k = i + 1; k < VOCAB; k++)
            if (out[order[k]] > out[order[i]]) {
                int swap = order[i];
                order[i] = order[k];
                order[k] = swap;
            }
    for (int i = draw_as->top_k > 0 ? draw_as->top_k : VOCAB; i < VOCAB; i++)
        out[order[i]] = 0;
    for (int i = 0; i < VOCAB; i++)
        total += out[i];
    for (int i = 0; i < VOCAB; i++) {
        if (kept >= draw_as->top_p * total)
            out[order[i]] = 0;
        kept += out[order[i]];
    }
    kept = 0;
    for (int i = 0; i < VOCAB; i++)
        kept += out[i];
    if (draw_as->typical_p > 0)
        kept = expect_typical(draw_as, kept, out);
    for (int i = 0; i < VOCAB; i++)
        out[i] /= kept;
}

static void test_distributions(void **state)
{
    static const struct ant_draw cases[] = {
        {.temperature = 1, .top_p = 1},
        {.temperature = 0.5f, .top_p = 1},
        {.temperature = 3, .top_p = 1, .top_k = 7},
        {.temperature = 1, .top_p = 0.8f},
        {.temperature = 1, .top_p = 1, .min_p = 0.2f},
        {.temperature = 1.3f, .top_p = 0.7f, .top_k = 12, .min_p = 0.05f},
        {.temperature = 1, .top_p = 0.999f, .top_k = VOCAB + 5},
        {.temperature = 1, .top_p = 1, .typical_p = 0.9f},
        {.temperature = 0.6f, .top_p = 1, .typical_p = 0.3f},
        {.temperature = 2, .top_p = 1, .typical_p = 0.99f},
        {.temperature = 1.3f, .top_p = 0.9f, .top_k = 25, .min_p = 0.02f, .typical_p = 0.6f},
    };
    float logits[VOCAB];
    double expected[VOCAB];

    (void)state;
    fill(logits);
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        expect(logits, &cases[i], expected);
        check_distribution(logits, cases[i], expected);
    }
}

/* What transformers' TypicalLogitsWarper keeps of the same logits. */
/* ---- many words, and many as good as others ---------------------------------------------------
 */

enum { MANY = 5000 };

static const float *sorted_logits;

static int by_logit(const void *a, const void *b)
{
    int x = *(const int *)a, y = *(const int *)b;
    float p = sorted_logits[x], q = sorted_logits[y];

    return p != q ? (p < q) - (p > q) : (x > y) - (x < y);
}

/* What is kept of `MANY` logits by sorting all of them: is_kept[id]; returns its weight. */
static double keep_sorted(const float *logits, const struct ant_draw *draw_as, bool *is_kept)
{
    static int order[MANY];
    double total = 0, sum = 0;
    int n = draw_as->top_k ? draw_as->top_k : MANY;

    for (int i = 0; i < MANY; i++)
        order[i] = i;
    sorted_logits = logits;
    qsort(order, MANY, sizeof order[0], by_logit);
    for (int i = 0; i < n; i++)
        total += exp((double)logits[order[i]]);
    memset(is_kept, 0, MANY * sizeof *is_kept);
    for (int i = 0; i < n && sum < (double)draw_as->top_p * total; i++) {
        is_kept[order[i]] = true;
        sum += exp((double)logits[order[i]]);
    }
    return sum;
}

/* Cuts fall among words of the same logit, of which the first are kept. */
static void test_cuts_as_by_sorting(void **state)
{
    static char room[MANY * ANT_DRAW_WORK];
    static float logits[MANY];
    static bool is_kept[MANY];
    float logprob;

    (void)state;
    for (int i = 0; i < 400; i++) {
        struct ant_draw draw_as = {.temperature = 1, .top_p = 0.1f + 0.009f * (float)(i % 100)};
        draw_as.typical_p = 1;
        draw_as.top_k = i % 3 == 0 ? 1 + 12 * i : 0;
        draw_as.position = (uint64_t)i;
        for (int k = 0; k < MANY; k++)
            logits[k] = -0.25f * (float)(int)(40 * ant_draw_uniform((uint64_t)i, (uint64_t)k));
        double total = keep_sorted(logits, &draw_as, is_kept), sum = 0;
        double target = (double)ant_draw_uniform(0, draw_as.position) * total;
        int drawn = ant_draw_token(logits, MANY, &draw_as, room, &logprob);
        assert_true(is_kept[drawn]);
        for (int k = 0; k < drawn; k++)
            sum += is_kept[k] ? exp((double)logits[k]) : 0;
        assert_true(sum <= target + 1e-3 && target < sum + exp((double)logits[drawn]) + 1e-3);
    }
}

static void test_typical_as_elsewhere(void **state)
{
    static const struct {
        float temperature, typical_p;
        int n_kept, kept[16];
    } cases[] = {
        {1, 0.9f, 16, {2, 4, 7, 9, 11, 14, 16, 18, 21, 23, 25, 28, 30, 32, 35, 37}},
        {1, 0.2f, 4, {2, 9, 16, 23}},
        {0.6f, 0.3f, 4, {2, 21, 28, 35}},
    };
    float logits[VOCAB];

    (void)state;
    fill(logits);
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        struct ant_draw typical = {
            .temperature = cases[i].temperature, .top_p = 1, .typical_p = cases[i].typical_p};
        bool is_drawn[VOCAB] = {false};
        int n_drawn = 0;
        for (typical.position = 0; typical.position < 4000; typical.position++) {
            int32_t id = draw(logits, &typical);
            n_drawn += !is_drawn[id];
            is_drawn[id] = true;
        }
        assert_int_equal(n_drawn, cases[i].n_kept);
        for (int k = 0; k < n_drawn; k++)
            assert_true(is_drawn[cases[i].kept[k]]);
    }
}

static void test_tiny_settings_are_greedy(void **state)
{
    float logits[VOCAB];
    struct ant_draw cold = {.temperature = 1e-30f, .top_p = 1},
                    narrow = {.temperature = 1, .top_p = 1e-9f},
                    one = {.temperature = 2, .top_p = 1, .top_k = 1};
    struct ant_draw greedy = {0};

    (void)state;
    fill(logits);
    for (uint64_t i = 0; i < 200; i++) {
        cold.position = narrow.position = one.position = i;
        assert_int_equal(draw(logits, &cold), draw(logits, &greedy));
        assert_int_equal(draw(logits, &narrow), draw(logits, &greedy));
        assert_int_equal(draw(logits, &one), draw(logits, &greedy));
    }
}

static void test_hostile_logits(void **state)
{
    static const float values[] = {NAN, INFINITY, -INFINITY, 3e38f, -3e38f, 0};
    float logits[VOCAB];
    int32_t all[VOCAB];

    (void)state;
    for (size_t v = 0; v < sizeof(values) / sizeof(*values); v++)
        for (int spread = 0; spread < 3; spread++) {
            struct ant_draw hot = {.temperature = 1, .top_p = 0.9f, .top_k = spread * 5};
            fill(logits);
            for (int i = 0; i < VOCAB; i += 1 + spread)
                logits[i] = values[v];
            int32_t id = draw(logits, &hot);
            assert_in_range(id, 0, VOCAB - 1);
            for (int i = 0; i < VOCAB; i++)
                all[i] = i;
            hot.banned = all;
            hot.n_banned = VOCAB;
            assert_in_range(draw(logits, &hot), 0, VOCAB - 1);
        }
}

static void test_banned_are_never_drawn(void **state)
{
    float logits[VOCAB];
    int32_t banned[] = {1, 7, 33, VOCAB + 4, -1};
    struct ant_draw hot = {.temperature = 5, .top_p = 1, .banned = banned, .n_banned = 5};

    (void)state;
    fill(logits);
    logits[7] = 1000;
    for (uint64_t i = 0; i < 3000; i++) {
        hot.position = i;
        int32_t id = draw(logits, &hot);
        assert_true(id != 1 && id != 7 && id != 33);
    }
}

static void test_check(void **state)
{
    struct ant_sampling good = {.max_tokens = 5, .temperature = 1, .top_p = 0.5f, .typical_p = 1},
                        bad;
    struct ant_error err;

    (void)state;
    assert_int_equal(ant_sampling_check(&good, &err), 0);
#define REFUSED(change, word)                                                                      \
    do {                                                                                           \
        bad = good;                                                                                \
        change;                                                                                    \
        assert_int_equal(ant_sampling_check(&bad, &err), ANT_EUSAGE);                              \
        assert_non_null(strstr(err.text, word));                                                   \
    } while (0)
    REFUSED(bad.max_tokens = 0, "max_tokens");
    REFUSED(bad.min_tokens = 6, "min_tokens");
    REFUSED(bad.min_tokens = -1, "min_tokens");
    REFUSED(bad.temperature = -1, "temperature");
    REFUSED(bad.temperature = NAN, "temperature");
    REFUSED(bad.top_p = 0, "top_p");
    REFUSED(bad.top_p = 1.5f, "top_p");
    REFUSED(bad.min_p = NAN, "min_p");
    REFUSED(bad.typical_p = 0, "typical_p");
    REFUSED(bad.typical_p = 1.01f, "typical_p");
    REFUSED(bad.top_k = -1, "top_k");
}

/* Against looking for the best again and again, with ties, NaN and infinity among the logits. */
static void test_top_ids(void **state)
{
    enum { N = 97, MOST = 20 };
    float logits[N], left[N];
    int32_t top[MOST];

    (void)state;
    for (int round = 0; round < 50; round++) {
        for (int i = 0; i < N; i++)
            logits[i] = (float)((i * 7919 + round * 104729) % (round + 3));
        logits[round] = NAN;
        logits[2 * round % N] = -INFINITY;
        if (round == 49)
            for (int i = 3; i < N; i++)
                logits[i] = NAN;
        for (int n = 0; n <= MOST; n++) {
            memcpy(left, logits, sizeof(left));
            ant_draw_top(logits, N, n, top);
            for (int k = 0; k < n; k++) {
                int best = -1;
                for (int i = 0; i < N; i++)
                    if (!isnan(left[i]) && (best < 0 || left[i] > left[best]))
                        best = i;
                assert_int_equal(top[k], best);
                if (best >= 0)
                    left[best] = NAN;
            }
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_philox),
        cmocka_unit_test(test_key_depends_on_everything),
        cmocka_unit_test(test_greedy),
        cmocka_unit_test(test_distributions),
        cmocka_unit_test(test_cuts_as_by_sorting),
        cmocka_unit_test(test_typical_as_elsewhere),
        cmocka_unit_test(test_tiny_settings_are_greedy),
        cmocka_unit_test(test_hostile_logits),
        cmocka_unit_test(test_banned_are_never_drawn),
        cmocka_unit_test(test_top_ids),
        cmocka_unit_test(test_check),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
