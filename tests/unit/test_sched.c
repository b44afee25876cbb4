/* SPDX-License-Identifier: Apache-2.0 */
/* The scheduler under random traffic, one step at a time and two: a batch is always well-formed,
 * every request comes back once with just the tokens that it would have drawn alone, whatever pages
 * it shares, and small caches only cost time. */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "engine/outlook.h"
#include "engine/sched.h"

static uint32_t random_state;

static int random_below(int n)
{
    random_state = random_state * 1664525u + 1013904223u;
    return (int)((random_state >> 8) % (uint32_t)n);
}

static const struct ant_stops no_stops;
/* An end that may come at any time: how long an answer becomes can only be expected. */
static const int32_t some_end = 1 << 20;
static const struct ant_stops may_stop = {.ids = &some_end, .n_ids = 1, .n_eos = 1};

/* The first `n_common` tokens are those of every prompt of the family. */
static struct ant_request *make_request(int row, int family, int n_common, int n_prompt,
                                        int n_output)
{
    struct ant_request *request = ant_xcalloc(1, sizeof(*request));

    request->row = row;
    request->prompt = ant_xcalloc((size_t)n_prompt, sizeof(int32_t));
    for (int i = 0; i < n_prompt; i++)
        request->prompt[i] = i < n_common ? family * 17 + i * i : row * 1000 + i;
    request->n_prompt = n_prompt;
    request->sampling = (struct ant_sampling){.max_tokens = n_output, .seed = (uint64_t)row};
    request->stops = &no_stops;
    return request;
}

/* Stands for the model and the device: a token is a function of the tokens before it, which are
 * read from the cache that the batches have filled: a wrong page, position or order gives a wrong
 * answer. Steps are waited for in order, `depth` of them at once. */
struct fake {
    int32_t *cache; /* (n_pages * ANT_PAGE_TOKENS) */
    int n_pages, depth, n_in_flight;
    int32_t *drawn[ANT_MAX_STEPS_IN_FLIGHT]; /* by the steps in flight, oldest first */
    int n_drawn[ANT_MAX_STEPS_IN_FLIGHT];
    int64_t prefill_rows;
    int n_steps, n_ahead; /* begun, and of them before another had ended */
    bool is_open;         /* the last one begun */
};

/* Answers go round in circles, but for a step aside now and then: they can be guessed. */
static bool is_repeating;

static int32_t next_token(int64_t sum, int n)
{
    if (is_repeating)
        return sum % 13 == 0 ? 50 : 40 + n % 5;
    return (int32_t)((sum * 31 + n * 7) % 1000003);
}

static bool is_end(int32_t token)
{
    return token % 29 == 0;
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

/* Write the rows of sequence `s` into the cache. */
static void fake_append(struct fake *fake, const struct ant_batch *batch, int s)
{
    const int32_t *pages = batch->pages + batch->page_start[s];

    for (int row = batch->row_start[s]; row < batch->row_start[s + 1]; row++) {
        int t = batch->positions[row], token = batch->tokens[row];
        if (token < 0) { /* drawn by the step before, which is still in flight */
            assert_int_equal(fake->n_in_flight, 1);
            assert_in_range(~token, 0, fake->n_drawn[0] - 1);
            token = fake->drawn[0][~token];
        }
        assert_in_range(t / ANT_PAGE_TOKENS, 0,
                        batch->page_start[s + 1] - batch->page_start[s] - 1);
        assert_in_range(pages[t / ANT_PAGE_TOKENS], 0, fake->n_pages - 1);
        fake->cache[pages[t / ANT_PAGE_TOKENS] * ANT_PAGE_TOKENS + t % ANT_PAGE_TOKENS] = token;
    }
}

/* Write the batch's rows into the cache, then draw for the sampled ones from what the cache holds.
 */
static void fake_begin(struct fake *fake, const struct ant_batch *batch)
{
    int32_t *ids = ant_xcalloc((size_t)batch->n_sampled + 1, sizeof(*ids));
    int drawn = 0;

    for (int s = 0; s < batch->n_seqs; s++)
        fake_append(fake, batch, s);
    for (int s = 0; s < batch->n_seqs; s++) {
        const int32_t *pages = batch->pages + batch->page_start[s];
        int end = batch->row_start[s + 1];
        assert_int_equal(batch->positions[end - 1] + 1, batch->context[s]);
        for (; drawn < batch->n_sampled && batch->sampled[drawn] < end; drawn++) {
            int n = batch->positions[batch->sampled[drawn]] + 1;
            int64_t sum = 0;
            for (int t = 0; t < n; t++)
                sum +=
                    fake->cache[pages[t / ANT_PAGE_TOKENS] * ANT_PAGE_TOKENS + t % ANT_PAGE_TOKENS];
            ids[drawn] = next_token(sum, n);
        }
    }
    assert_int_equal(drawn, batch->n_sampled);
    fake->n_steps++;
    fake->n_ahead += fake->n_in_flight;
    fake->drawn[fake->n_in_flight] = ids;
    fake->n_drawn[fake->n_in_flight++] = drawn;
}

/* The token in this place was known. True: it was the last. */
static bool take_given(const struct ant_sample *sample)
{
    struct ant_request *request = sample->request;

    if (sample->place < request->n_prompt)
        assert_int_equal(request->prompt_logprobs.n++, sample->place);
    return sample->place + 1 == request->n_prompt + (int)request->output.len;
}

static void fake_end(struct fake *fake, struct ant_sched *sched)
{
    struct ant_sched_counts counts;

    ant_sched_counts(sched, &counts);
    assert_int_equal(counts.n_sampled, fake->n_drawn[0]);
    fake->prefill_rows += counts.prefill_rows;
    for (int i = 0; i < fake->n_drawn[0]; i++) {
        const struct ant_sample *sample = ant_sched_sampled(sched, i);
        struct ant_request *request = sample->request;
        int32_t id = fake->drawn[0][i];
        if (!request)
            continue;
        assert_int_equal(request->finish, ANT_FINISH_NONE);
        if (sample->is_given) {
            request->finish = take_given(sample) ? request->whole : ANT_FINISH_NONE;
            continue;
        }
        assert_int_equal(sample->place, request->n_prompt + (int)request->output.len);
        ant_ids_add(&request->output, id);
        if (is_end(id))
            request->finish = ANT_FINISH_EOS;
        else if ((int)request->output.len == request->sampling.max_tokens)
            request->finish = ANT_FINISH_LENGTH;
        if (sample->guess < 0 || (sample->guess == id && request->finish == ANT_FINISH_NONE))
            continue;
        while (i + 1 < fake->n_drawn[0] && ant_sched_sampled(sched, i + 1)->request == request)
            i++;
    }
    free(fake->drawn[0]);
    fake->drawn[0] = fake->drawn[1];
    fake->n_drawn[0] = fake->n_drawn[1];
    fake->n_in_flight--;
    ant_sched_commit(sched);
}

/* What draws are told depends on all tokens before them. */
static void check_draws(const struct ant_sched *sched, const struct ant_batch *batch)
{
    for (int i = 0; i < batch->n_sampled; i++) {
        const struct ant_request *request = ant_sched_sampled(sched, i)->request;
        int n_known = 0;
        if (!request || request->sampling.presence_penalty == 0)
            continue;
        assert_int_equal(batch->draws[i].position, request->output.len);
        for (size_t k = 0; k < request->output.len; k++) {
            bool is_new = true;
            for (size_t earlier = 0; earlier < k; earlier++)
                is_new &= request->output.data[earlier] != request->output.data[k];
            n_known += is_new;
        }
        assert_int_equal(batch->draws[i].n_edits, n_known);
    }
}

static void check_answer(const struct ant_request *request)
{
    int64_t sum = 0;
    size_t n = request->output.len;

    if (request->whole != ANT_FINISH_NONE) {
        assert_int_equal(request->prompt_logprobs.n, request->n_prompt);
        return;
    }
    for (int i = 0; i < request->n_prompt; i++)
        sum += request->prompt[i];
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(request->output.data[i], next_token(sum, request->n_prompt + (int)i));
        assert_true(i == n - 1 || !is_end(request->output.data[i]));
        sum += request->output.data[i];
    }
    assert_true(is_end(request->output.data[n - 1]) || (int)n == request->sampling.max_tokens);
}

static struct fake fake_open(const struct ant_engine_config *config)
{
    return (struct fake){
        .cache = ant_xcalloc((size_t)config->n_pages * ANT_PAGE_TOKENS, sizeof(int32_t)),
        .n_pages = config->n_pages,
        .depth = config->steps_in_flight,
    };
}

/* As the engine does: plan up to `depth` steps, then wait for one. Returns how many requests came
 * back. */
static int run_once(struct fake *fake, struct ant_sched *sched,
                    const struct ant_engine_config *config)
{
    struct ant_request *request;
    struct ant_batch batch;
    int returned = 0;

    bool has_begun = ant_sched_plan(sched, &batch);
    if (has_begun) {
        check_shape(&batch, config);
        fake->is_open = batch.is_open;
        assert_true(!batch.is_open || (fake->n_in_flight == 1 && config->opens_steps));
        fake_begin(fake, &batch);
        if (fake->n_in_flight == 1)
            check_draws(sched, &batch);
    }
    if (fake->n_in_flight == 0 || (has_begun && fake->n_in_flight < fake->depth))
        return 0;
    fake_end(fake, sched);
    while ((request = ant_sched_retire(sched))) {
        check_answer(request);
        ant_request_free(request);
        returned++;
    }
    if (fake->is_open) {
        ant_sched_complete(sched, &batch);
        check_draws(sched, &batch);
        fake->is_open = false;
    }
    return returned;
}

/* Some answers are known, and of their prompts log probabilities are wanted. */
static bool some_are_whole;

static void make_whole(struct ant_request *request)
{
    request->whole = ANT_FINISH_LENGTH;
    request->has_prompt_logprobs = true;
    request->prompt_logprobs.n = 1; /* there is none of the first */
    request->sampling.presence_penalty = 0;
    for (int i = 0; i < request->sampling.max_tokens; i++)
        ant_ids_add(&request->output, i);
}

/* Run `n` requests through; returns how often one was preempted. */
static int64_t run_depth(const struct ant_engine_config *config, int n, uint32_t seed)
{
    struct fake fake = fake_open(config);
    struct ant_sched *sched = ant_sched_open(config);
    struct ant_sched_counts counts;
    int added = 0, returned = 0;

    random_state = seed;
    for (int step = 0; returned < n; step++) {
        assert_true(step < 200000);
        for (int k = random_below(4); k > 0 && added < n; k--) {
            int n_prompt = 1 + random_below(config->max_context * 2 / 3);
            int n_output = 1 + random_below(config->max_context - n_prompt);
            struct ant_request *request = make_request(
                added++, random_below(3), random_below(2 * n_prompt), n_prompt, n_output);
            request->stops = &may_stop;
            request->sampling.presence_penalty = config->opens_steps && random_below(3) == 0;
            if (some_are_whole && random_below(2) == 0)
                make_whole(request);
            ant_sched_add(sched, request);
        }
        returned += run_once(&fake, sched, config);
    }
    while (fake.n_in_flight > 0) /* draws that nobody wants to know */
        assert_int_equal(run_once(&fake, sched, config), 0);
    ant_sched_counts(sched, &counts);
    assert_int_equal(counts.running, 0);
    assert_int_equal(counts.waiting, 0);
    assert_int_equal(counts.pages_used, 0);
    if (config->draft_rows == 64 && is_repeating && n >= 200)
        assert_true(counts.accepted > 500 && counts.accepted < counts.drafted);
    ant_sched_close(sched);
    free(fake.cache);
    return counts.preemptions;
}

static int64_t run_traffic(const struct ant_engine_config *config, int n, uint32_t seed)
{
    struct ant_engine_config both = *config;
    int64_t preemptions = 0;

    for (both.steps_in_flight = 1; both.steps_in_flight <= 2; both.steps_in_flight++) {
        preemptions += run_depth(&both, n, seed);
        both.no_prefix_sharing = true;
        preemptions += run_depth(&both, n, seed);
        both.no_prefix_sharing = false;
        both.opens_steps = true;
        preemptions += run_depth(&both, n, seed);
        both.opens_steps = false;
    }
    both.n_drafts = 5;
    both.max_sampled = 64;
    for (int i = 0; i < 6; i++) { /* also with guesses now and then alone */
        is_repeating = i % 2 == 1;
        both.steps_in_flight = i < 2 ? 1 : 2;
        both.draft_rows = i < 4 ? 64 : 4;
        preemptions += run_depth(&both, n, seed);
    }
    is_repeating = false;
    return preemptions;
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
        .max_seqs = 16, .max_step_rows = 64, .max_context = 200, .n_pages = 9};

    (void)state;
    assert_true(run_traffic(&config, 400, 2) > 0);
}

static void test_known_answers(void **state)
{
    struct ant_engine_config config = {
        .max_seqs = 16, .max_step_rows = 64, .max_context = 200, .n_pages = 9};

    (void)state;
    some_are_whole = true;
    assert_true(run_traffic(&config, 400, 5) > 0);
    some_are_whole = false;
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

/* Twenty prompts begin with the same hundred tokens: three pages, computed once; and again for free
 * when all have ended, as long as nothing else needed the pages. */
static void test_prefix_is_computed_once(void **state)
{
    enum { N = 20, COMMON = 100, OWN = 10, OUT = 5, SHARED = COMMON / ANT_PAGE_TOKENS * 32 };
    struct ant_engine_config config = {
        .max_seqs = 8, .max_step_rows = 70, .max_context = 200, .n_pages = 60};

    (void)state;
    for (int depth = 1; depth <= 2; depth++) {
        config.steps_in_flight = depth;
        struct fake fake = fake_open(&config);
        struct ant_sched *sched = ant_sched_open(&config);
        struct ant_sched_counts counts;
        for (int pass = 0; pass < 2; pass++) {
            int returned = 0;
            for (int i = 0; i < N; i++)
                ant_sched_add(sched, make_request(1 + pass * N + i, 1, COMMON, COMMON + OWN, OUT));
            while (returned < N || fake.n_in_flight > 0)
                returned += run_once(&fake, sched, &config);
            ant_sched_counts(sched, &counts);
            int64_t n_shared = (pass + 1) * N - 1;
            assert_int_equal(counts.shared_tokens, n_shared * SHARED);
            assert_int_equal(fake.prefill_rows,
                             (pass + 1) * N * (COMMON + OWN) - n_shared * SHARED);
            assert_int_equal(counts.pages_used, 0);
        }
        ant_sched_close(sched);
        free(fake.cache);
    }
}

/* The same prompt again and again: all but its last page is shared, and at least one token left to
 * compute. */
static void test_equal_prompts(void **state)
{
    struct ant_engine_config config = {.max_seqs = 4,
                                       .max_step_rows = 64,
                                       .max_context = 100,
                                       .n_pages = 20,
                                       .steps_in_flight = 2};

    (void)state;
    for (int n_prompt = 1; n_prompt <= 70; n_prompt++) {
        struct fake fake = fake_open(&config);
        struct ant_sched *sched = ant_sched_open(&config);
        int returned = 0, n_own = n_prompt - (n_prompt - 1) / ANT_PAGE_TOKENS * ANT_PAGE_TOKENS;
        for (int i = 0; i < 6; i++)
            ant_sched_add(sched, make_request(7, 0, 0, n_prompt, 3));
        while (returned < 6 || fake.n_in_flight > 0)
            returned += run_once(&fake, sched, &config);
        assert_int_equal(fake.prefill_rows, n_prompt + 5 * n_own);
        ant_sched_close(sched);
        free(fake.cache);
    }
}

/* Against playing it through a page at a time. */
static void test_outlook(void **state)
{
    enum { MOST = 12 };
    struct ant_outlook *outlook = ant_outlook_open(MOST);

    (void)state;
    random_state = 5;
    for (int round = 0; round < 300; round++) {
        int n = random_below(20), pages[20], more[20], worst = 0;
        ant_outlook_clear(outlook);
        for (int i = 0; i < n; i++) {
            pages[i] = random_below(9);
            more[i] = random_below(MOST + 1);
            /* pages taken for guesses may be more than what is to come */
            ant_outlook_add(outlook, pages[i], more[i] > 0 ? more[i] : -random_below(3));
        }
        for (int t = 0; t <= MOST; t++) {
            int sum = 0;
            for (int i = 0; i < n; i++)
                sum += more[i] >= t ? pages[i] + t : 0;
            worst = sum > worst ? sum : worst;
        }
        assert_int_equal(ant_outlook_peak(outlook), worst);
    }
    ant_outlook_close(outlook);
}

/* Lengths that are known beforehand: no more is admitted than fits to the end, and the longest goes
 * first. */
static void test_known_lengths_do_not_thrash(void **state)
{
    enum { N = 120 };
    struct ant_engine_config config = {
        .max_seqs = 40, .max_step_rows = 200, .max_context = 400, .n_pages = 100};
    struct fake fake = fake_open(&config);
    struct ant_sched *sched = ant_sched_open(&config);
    struct ant_sched_counts counts;
    int64_t n_prompt = 0;
    int returned = 0;

    (void)state;
    random_state = 9;
    for (int i = 0; i < N; i++) {
        int n = 1 + random_below(60);
        n_prompt += n;
        ant_sched_add(sched, make_request(i, 0, 0, n, 1 + random_below(300)));
    }
    while (returned < N)
        returned += run_once(&fake, sched, &config);
    ant_sched_counts(sched, &counts);
    assert_true(counts.preemptions <= 2);
    assert_true(fake.prefill_rows <= n_prompt * 11 / 10);
    ant_sched_close(sched);
    free(fake.cache);
}

/* Answers of one length that do not all fit: they come in at different times, so that none is
 * thrown out, and none is left to run when the others have ended. */
static void test_equal_lengths_share_the_cache(void **state)
{
    enum { N = 48, IN = 32, OUT = 239, PAGES = 9 };
    struct ant_engine_config config = {
        .max_seqs = 64, .max_step_rows = 512, .max_context = 400, .n_pages = N * PAGES * 85 / 100};
    struct ant_sched *sched = ant_sched_open(&config);
    struct ant_sched_counts counts;
    struct ant_request *request;
    struct ant_batch batch;
    int steps = 0, most = 0;

    (void)state;
    for (int i = 0; i < N; i++)
        ant_sched_add(sched, make_request(i, 0, 0, IN, OUT));
    for (int returned = 0; returned < N; steps++) {
        assert_true(ant_sched_plan(sched, &batch));
        ant_sched_counts(sched, &counts);
        most = counts.running > most ? counts.running : most;
        for (int i = 0; i < counts.n_sampled; i++) {
            request = ant_sched_sampled(sched, i)->request;
            ant_ids_add(&request->output, 1);
            if (request->output.len == OUT)
                request->finish = ANT_FINISH_LENGTH;
        }
        ant_sched_commit(sched);
        for (; (request = ant_sched_retire(sched)); returned++)
            ant_request_free(request);
    }
    assert_int_equal(counts.preemptions, 0);
    assert_int_equal(most, N);
    assert_true(steps < OUT * 8 / 5);
    ant_sched_close(sched);
}

/* Unfinished requests are freed with the scheduler (a leak checker sees to it). */
/* Draws that depend on all tokens before: steps are open; where they cannot be and many sequences
 * do so, these stay together and steps wait for each other, a few are left out of every other step.
 */
static void test_looking_back(void **state)
{
    enum { N = 32, OUT = 40 };
    struct ant_engine_config config = {.max_seqs = N,
                                       .max_step_rows = 64,
                                       .max_context = 100,
                                       .n_pages = 4 * N,
                                       .steps_in_flight = 2};

    int usual = 0; /* steps where nobody looks back */

    (void)state;
    for (int i = 0; i < 4; i++) {
        static const int numbers[] = {0, 1, N, N};
        int n_looking = numbers[i], returned = 0;
        config.opens_steps = i == 3;
        struct fake fake = fake_open(&config);
        struct ant_sched *sched = ant_sched_open(&config);
        for (int k = 0; k < N; k++) {
            struct ant_request *request = make_request(k, 0, 0, 30, OUT);
            request->sampling.presence_penalty = k < n_looking ? 1 : 0;
            ant_sched_add(sched, request);
        }
        while (returned < N || fake.n_in_flight > 0)
            returned += run_once(&fake, sched, &config);
        usual = i == 0 ? fake.n_steps : usual;
        assert_true(fake.n_steps <= usual + 2 || n_looking == 1);
        if (i == 2)
            assert_int_equal(fake.n_ahead, 0);
        else
            assert_true(2 * fake.n_ahead > fake.n_steps);
        ant_sched_close(sched);
        free(fake.cache);
    }
}

static void test_close_in_flight(void **state)
{
    struct ant_engine_config config = {
        .max_seqs = 4, .max_step_rows = 8, .max_context = 64, .n_pages = 8};
    struct ant_sched *sched = ant_sched_open(&config);
    struct ant_batch batch;

    (void)state;
    for (int i = 0; i < 100; i++)
        ant_sched_add(sched, make_request(i, 0, 5, 5, 1 + i % 5));
    assert_true(ant_sched_plan(sched, &batch));
    assert_true(ant_sched_plan(sched, &batch));
    ant_sched_close(sched);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plenty),
        cmocka_unit_test(test_scarce_pages),
        cmocka_unit_test(test_known_answers),
        cmocka_unit_test(test_corners),
        cmocka_unit_test(test_random_sizes),
        cmocka_unit_test(test_prefix_is_computed_once),
        cmocka_unit_test(test_equal_prompts),
        cmocka_unit_test(test_outlook),
        cmocka_unit_test(test_known_lengths_do_not_thrash),
        cmocka_unit_test(test_equal_lengths_share_the_cache),
        cmocka_unit_test(test_looking_back),
        cmocka_unit_test(test_close_in_flight),
    };
    setenv("ANTIPHON_CHECK", "1", 1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
