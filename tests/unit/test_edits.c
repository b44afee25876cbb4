/* SPDX-License-Identifier: Apache-2.0 */
/* Penalties, biases, allowed and bad words: against the plain definition over all logits, and what
 * is drawn then. */
#include "config.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/edits.h"
#include "engine/sampling.h"

enum { VOCAB = 3000, MOST = 40 };

static uint32_t random_state;

static int random_below(int n)
{
    random_state = random_state * 1664525u + 1013904223u;
    return (int)((random_state >> 8) % (uint32_t)n);
}

/* A request with random rules over few ids, so that they meet; and all it points to. */
struct made {
    struct ant_request request;
    struct ant_rules rules;
    int32_t prompt[MOST], output[MOST], allowed[MOST], words[8][3];
    struct ant_bias bias[MOST];
    struct ant_ids bad[8];
};

static int32_t random_id(void)
{
    return random_below(4) ? random_below(12) : random_below(VOCAB);
}

static void make_rules(struct made *made, unsigned kinds)
{
    made->rules =
        (struct ant_rules){.bias = made->bias, .allowed = made->allowed, .bad_words = made->bad};
    if (kinds & 1)
        made->rules.n_bias = random_below(10);
    if (kinds & 2)
        made->rules.n_allowed = 1 + random_below(MOST - 1);
    if (kinds & 4)
        made->rules.n_bad_words = random_below(8);
    for (int i = 0; i < MOST; i++) {
        made->bias[i] = (struct ant_bias){random_id(), (float)random_below(100) / 10 - 5};
        made->allowed[i] = random_id();
    }
    for (int i = 0; i < 8; i++) {
        for (int k = 0; k < 3; k++)
            made->words[i][k] = random_below(5);
        made->bad[i] = (struct ant_ids){made->words[i], 1 + (size_t)random_below(3), 3};
    }
}

static void make(struct made *made, unsigned kinds)
{
    struct ant_sampling *sampling = &made->request.sampling;

    memset(made, 0, sizeof(*made));
    make_rules(made, kinds);
    for (int i = 0; i < MOST; i++) {
        made->prompt[i] = random_id();
        made->output[i] = random_below(3) ? random_below(5) : random_id();
    }
    made->request.prompt = made->prompt;
    made->request.n_prompt = 1 + random_below(MOST - 1);
    made->request.output = (struct ant_ids){made->output, (size_t)random_below(MOST), MOST};
    made->request.rules = &made->rules;
    if (kinds & 8)
        sampling->repetition_penalty = 0.5f + (float)random_below(30) / 10;
    if (kinds & 16)
        sampling->presence_penalty = (float)random_below(40) / 10 - 2;
    if (kinds & 32)
        sampling->frequency_penalty = (float)random_below(40) / 10 - 2;
}

static bool has(const int32_t *ids, size_t n, int32_t id)
{
    for (size_t i = 0; i < n; i++)
        if (ids[i] == id)
            return true;
    return false;
}

static bool is_bad(const struct made *made, int32_t id)
{
    const struct ant_ids *output = &made->request.output;

    for (int i = 0; i < made->rules.n_bad_words; i++) {
        const struct ant_ids *word = &made->bad[i];
        size_t n = word->len - 1;
        if (word->data[n] == id && output->len >= n &&
            (n == 0 || memcmp(output->data + output->len - n, word->data, 4 * n) == 0))
            return true;
    }
    return false;
}

/* The logit of `id` by the definition. */
static float define(const struct made *made, const float *logits, int32_t id)
{
    const struct ant_request *request = &made->request;
    const struct ant_sampling *sampling = &request->sampling;
    const struct ant_ids *output = &request->output;
    float x = logits[id], count = 0;

    if (made->rules.n_allowed > 0 && !has(made->allowed, (size_t)made->rules.n_allowed, id))
        return -INFINITY;
    float bias = 0;
    for (int i = 0; i < made->rules.n_bias; i++)
        if (made->bias[i].id == id)
            bias += made->bias[i].value;
    x += bias;
    if (is_bad(made, id))
        x = -INFINITY;
    for (size_t i = 0; i < output->len; i++)
        count += output->data[i] == id;
    if (sampling->repetition_penalty > 0 &&
        (count > 0 || has(request->prompt, (size_t)request->n_prompt, id)))
        x = x > 0 ? x / sampling->repetition_penalty : x * sampling->repetition_penalty;
    if (count > 0)
        x -= sampling->presence_penalty + sampling->frequency_penalty * count;
    return x;
}

static void fill(float *logits)
{
    for (int i = 0; i < VOCAB; i++)
        logits[i] = (float)random_below(1200) / 100 - 6;
}

static double log_sum(const float *logits)
{
    double sum = 0;

    for (int i = 0; i < VOCAB; i++)
        sum += exp(logits[i]);
    return log(sum);
}

/* Draws of several requests in one step, each as from logits that were changed one by one;
 * the logprob stays that of the unchanged ones. */
static void test_against_definition(void **state)
{
    static float logits[VOCAB], changed[VOCAB];
    static char work[VOCAB * ANT_DRAW_WORK];
    struct ant_edits edits = {0};
    struct made made;
    float logprob, plain;

    (void)state;
    random_state = 3;
    for (int round = 0; round < 600; round++) {
        if (round % 5 == 0)
            ant_edits_clear(&edits);
        make(&made, (unsigned)round);
        fill(logits);
        int first = edits.n;
        ant_edits_add(&edits, &made.request);
        struct ant_draw draw = {.temperature = (float)(round % 3), .top_p = 0.9f};
        draw.key = (uint64_t)round;
        struct ant_draw edited = draw;
        edited.edits = edits.items + first;
        edited.n_edits = edits.n - first;
        edited.only_edited = made.rules.n_allowed > 0;
        for (int i = 0; i < VOCAB; i++)
            changed[i] = define(&made, logits, i);
        int32_t id = ant_draw_token(logits, VOCAB, &edited, work, &logprob);
        assert_int_equal(id, ant_draw_token(changed, VOCAB, &draw, work, &plain));
        assert_float_equal(logprob, logits[id] - log_sum(logits), 1e-4);
        assert_int_equal(ant_edits_are_wanted(&made.request.sampling, &made.rules),
                         edits.n > first || ant_edits_look_back(&made.request) ||
                             made.rules.n_bad_words > 0);
    }
    ant_edits_release(&edits);
}

/* Nothing asked for: nothing edited. */
static void test_nothing(void **state)
{
    struct ant_edits edits = {0};
    struct made made;

    (void)state;
    random_state = 4;
    make(&made, 0);
    made.request.sampling.repetition_penalty = 1;
    ant_edits_add(&edits, &made.request);
    made.request.rules = NULL;
    ant_edits_add(&edits, &made.request);
    assert_int_equal(edits.n, 0);
    assert_false(ant_edits_look_back(&made.request));
    ant_edits_release(&edits);
}

/* The distribution of edited logits is the one it should be. */
static void test_distribution(void **state)
{
    enum { N = 60000, SMALL = 12 };
    static const struct ant_bias bias[] = {{2, 1.5f}, {7, -2}};
    const struct ant_rules rules = {.bias = bias, .n_bias = 2};
    int32_t prompt[] = {1, 2, 3}, output[] = {3, 4, 4, 4, 5};
    struct ant_request request = {.prompt = prompt,
                                  .n_prompt = 3,
                                  .output = {output, 5, 5},
                                  .rules = &rules,
                                  .sampling = {.repetition_penalty = 1.3f,
                                               .presence_penalty = 0.4f,
                                               .frequency_penalty = 0.3f}};
    float logits[SMALL], logprob;
    char work[SMALL * ANT_DRAW_WORK];
    double expected[SMALL], total = 0, chi = 0;
    int count[SMALL] = {0};
    struct ant_edits edits = {0};

    (void)state;
    for (int i = 0; i < SMALL; i++)
        logits[i] = (float)(i * 5 % SMALL) / 4 - 1;
    for (int i = 0; i < SMALL; i++) {
        double x = logits[i] + (i == 2 ? 1.5 : i == 7 ? -2 : 0);
        if (i >= 1 && i <= 5)
            x = x > 0 ? x / 1.3 : x * 1.3;
        x -= i == 3 || i == 5 ? 0.7 : i == 4 ? 0.4 + 0.9 : 0;
        total += expected[i] = exp(x / 0.8);
    }
    ant_edits_add(&edits, &request);
    struct ant_draw draw = {.temperature = 0.8f, .top_p = 1, .key = 77};
    draw.edits = edits.items;
    draw.n_edits = edits.n;
    for (int i = 0; i < N; i++) {
        draw.position = (uint64_t)i;
        count[ant_draw_token(logits, SMALL, &draw, work, &logprob)]++;
    }
    for (int i = 0; i < SMALL; i++) {
        double mean = N * expected[i] / total;
        chi += (count[i] - mean) * (count[i] - mean) / mean;
    }
    assert_true(chi < SMALL - 1 + 5 * sqrt(2.0 * SMALL));
    ant_edits_release(&edits);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_against_definition),
        cmocka_unit_test(test_nothing),
        cmocka_unit_test(test_distribution),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
