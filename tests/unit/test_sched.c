/* SPDX-License-Identifier: Apache-2.0 */
/* The scheduler under random traffic: a batch is always well-formed, pages are never shared, every
 * request comes back once with just the tokens that it would have drawn alone, and small caches
 * only cost time. */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "engine/sched.h"

static uint32_t random_state;

static int random_below(int n)
{
    random_state = random_state * 1664525u + 1013904223u;
    return (int)((random_state >> 8) % (uint32_t)n);
}

static const struct ant_stops no_stops;

static struct ant_request *make_request(int row, int n_prompt, int n_output)
{
    struct ant_request *request = ant_xcalloc(1, sizeof(*request));

    request->row = row;
    request->prompt = ant_xcalloc((size_t)n_prompt, sizeof(int32_t));
    for (int i = 0; i < n_prompt; i++)
        request->prompt[i] = row * 1000 + i;
    request->n_prompt = n_prompt;
    request->sampling = (struct ant_sampling){.max_tokens = n_output, .seed = (uint64_t)row};
    request->stops = &no_stops;
    return request;
}

/* Stands for the model: a token is a function of the tokens before it, which are read from the
 * cache that the batches have filled: a wrong page, position or order gives a wrong answer. */
struct fake {
    int32_t *cache; /* (n_pages * ANT_PAGE_TOKENS) */
    int n_pages;
};

static int32_t next_token(int64_t sum, int n)
{
    return (int32_t)((sum * 31 + n * 7) % 1000003);
}

static void check_shape(const struct ant_batch *batch, const struct ant_engine_config *config)
{
    assert_in_range(batch->n_rows, 1, config->max_step_rows);
    assert_in_range(batch->n_seqs, 1, config->max_seqs);
    assert_int_equal(batch->row_start[0], 0);
    assert_int_equal(batch->row_start[batch->n_seqs], batch->n_rows);
    for (int i = 0, last = -1; i < batch->n_sampled; last = batch->sampled[i++])
        assert_true(batch->sampled[i] > last && batch->sampled[i] < batch->n_rows);
}

/* Write the batch's rows into the cache, then draw for the sampled ones from what the cache holds.
 */
static void fake_step(struct fake *fake, const struct ant_batch *batch, struct ant_sched *sched)
{
    int drawn = 0;

    for (int s = 0; s < batch->n_seqs; s++) {
        const int32_t *pages = batch->pages + batch->page_start[s];
        int64_t sum = 0;
        for (int row = batch->row_start[s]; row < batch->row_start[s + 1]; row++) {
            int t = batch->positions[row];
            assert_in_range(t / ANT_PAGE_TOKENS, 0,
                            batch->page_start[s + 1] - batch->page_start[s] - 1);
            assert_in_range(pages[t / ANT_PAGE_TOKENS], 0, fake->n_pages - 1);
            fake->cache[pages[t / ANT_PAGE_TOKENS] * ANT_PAGE_TOKENS + t % ANT_PAGE_TOKENS] =
                batch->tokens[row];
        }
        int last = batch->row_start[s + 1] - 1, n = batch->positions[last] + 1;
        assert_int_equal(n, batch->context[s]);
        if (drawn == batch->n_sampled || batch->sampled[drawn] != last)
            continue;
        for (int t = 0; t < n; t++)
            sum += fake->cache[pages[t / ANT_PAGE_TOKENS] * ANT_PAGE_TOKENS + t % ANT_PAGE_TOKENS];
        struct ant_request *request = ant_sched_sampled(sched, drawn);
        assert_int_equal(batch->draws[drawn].position, request->output.len);
        ant_ids_add(&request->output, next_token(sum, n));
        if ((int)request->output.len == request->sampling.max_tokens)
            request->finish = ANT_FINISH_LENGTH;
        drawn++;
    }
    assert_int_equal(drawn, batch->n_sampled);
}

static void check_answer(const struct ant_request *request)
{
    int64_t sum = 0;

    for (int i = 0; i < request->n_prompt; i++)
        sum += request->prompt[i];
    assert_int_equal(request->output.len, request->sampling.max_tokens);
    for (size_t i = 0; i < request->output.len; i++) {
        assert_int_equal(request->output.data[i], next_token(sum, request->n_prompt + (int)i));
        sum += request->output.data[i];
    }
}

/* Run `n` requests through; returns how often one was preempted. */
static int64_t run_traffic(const struct ant_engine_config *config, int n, uint32_t seed)
{
    struct fake fake = {ant_xcalloc((size_t)config->n_pages * ANT_PAGE_TOKENS, sizeof(int32_t)),
                        config->n_pages};
    struct ant_sched *sched = ant_sched_open(config);
    struct ant_sched_counts counts;
    struct ant_request *request;
    struct ant_batch batch;
    int added = 0, returned = 0;

    random_state = seed;
    for (int step = 0; returned < n; step++) {
        assert_true(step < 200000);
        for (int k = random_below(4); k > 0 && added < n; k--) {
            int n_prompt = 1 + random_below(config->max_context * 2 / 3);
            int n_output = 1 + random_below(config->max_context - n_prompt);
            ant_sched_add(sched, make_request(added++, n_prompt, n_output));
        }
        if (!ant_sched_plan(sched, &batch))
            continue;
        check_shape(&batch, config);
        fake_step(&fake, &batch, sched);
        ant_sched_commit(sched);
        while ((request = ant_sched_retire(sched))) {
            check_answer(request);
            ant_request_free(request);
            returned++;
        }
    }
    ant_sched_counts(sched, &counts);
    assert_int_equal(counts.running, 0);
    assert_int_equal(counts.waiting, 0);
    assert_int_equal(counts.pages_used, 0);
    ant_sched_close(sched);
    free(fake.cache);
    return counts.preemptions;
}

static void test_plenty(void **state)
{
    struct ant_engine_config config = {
        .max_seqs = 16, .max_step_rows = 64, .max_context = 200, .n_pages = 16 * 7};

    (void)state;
    assert_int_equal(run_traffic(&config, 200, 1), 0);
}

static void test_scarce_pages(void **state)
{
    struct ant_engine_config config = {
        .max_seqs = 16, .max_step_rows = 64, .max_context = 200, .n_pages = 10};

    (void)state;
    assert_true(run_traffic(&config, 150, 2) > 0);
}

static void test_corners(void **state)
{
    struct ant_engine_config one = {
        .max_seqs = 1, .max_step_rows = 1, .max_context = 40, .n_pages = 2};
    struct ant_engine_config few_rows = {
        .max_seqs = 9, .max_step_rows = 4, .max_context = 70, .n_pages = 12};

    (void)state;
    run_traffic(&one, 20, 3);
    run_traffic(&few_rows, 60, 4);
}

static void test_random_sizes(void **state)
{
    (void)state;
    for (uint32_t seed = 10; seed < 40; seed++) {
        random_state = seed * 77;
        struct ant_engine_config config = {.max_seqs = 1 + random_below(20),
                                           .max_step_rows = 1 + random_below(100),
                                           .max_context = 2 + random_below(150)};
        int needed = (config.max_context + ANT_PAGE_TOKENS - 1) / ANT_PAGE_TOKENS;
        config.n_pages = needed + random_below(3 * needed);
        run_traffic(&config, 40, seed);
    }
}

/* Unfinished requests are freed with the scheduler (a leak checker sees to it). */
static void test_close_in_flight(void **state)
{
    struct ant_engine_config config = {
        .max_seqs = 4, .max_step_rows = 8, .max_context = 64, .n_pages = 8};
    struct ant_sched *sched = ant_sched_open(&config);
    struct ant_batch batch;

    (void)state;
    for (int i = 0; i < 100; i++)
        ant_sched_add(sched, make_request(i, 5, 5));
    assert_true(ant_sched_plan(sched, &batch));
    ant_sched_close(sched);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plenty),          cmocka_unit_test(test_scarce_pages),
        cmocka_unit_test(test_corners),         cmocka_unit_test(test_random_sizes),
        cmocka_unit_test(test_close_in_flight),
    };
    setenv("ANTIPHON_CHECK", "1", 1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
