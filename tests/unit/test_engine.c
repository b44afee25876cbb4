/* SPDX-License-Identifier: Apache-2.0 */
/* The whole engine on a tiny real checkpoint: answers do not depend on batch, budget, cache,
 * threads or order, and end where they should. Run under the thread sanitizer too. */
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

#include "base/mem.h"
#include "engine/engine.h"
#include "engine/stop.h"
#include "fixture.h"

enum { N_PROMPTS = 23, CONTEXT = 96 };

static struct ant_checkpoint *checkpoint;
static struct ant_tokenizer *tokenizer;

static int open_all(void **state)
{
    (void)state;
    checkpoint = open_tiny("llama", &tokenizer);
    return 0;
}

static int close_all(void **state)
{
    (void)state;
    ant_tokenizer_close(tokenizer);
    ant_checkpoint_close(checkpoint);
    return 0;
}

struct setup {
    int max_seqs, max_rows, n_pages, n_threads;
    bool is_reversed, is_whole; /* order, and no prefix sharing */
    int n_drafts;
};

struct answers {
    struct ant_ids ids[N_PROMPTS];
    enum ant_finish finish[N_PROMPTS];
    char *text[N_PROMPTS];
    struct ant_logprobs logprobs[N_PROMPTS], prompt_logprobs[N_PROMPTS];
};

static void answers_release(struct answers *answers)
{
    for (int i = 0; i < N_PROMPTS; i++) {
        ant_ids_release(&answers->ids[i]);
        free(answers->text[i]);
        ant_logprobs_release(&answers->logprobs[i]);
        ant_logprobs_release(&answers->prompt_logprobs[i]);
    }
}

/* What the requests of a run begin with: the first tokens of these answers; NULL: nothing. */
static const struct answers *begun;
/* Log probabilities are wanted; and only those, of answers that are given by `begun`. */
static bool wants_logprobs, wants_prompt_logprobs, is_scored;
/* What a run was told of its answers while they were under way; NULL: it does not ask. */
static struct ant_ids *gained;

static struct ant_request *make_request(int i, const struct ant_sampling *sampling,
                                        const struct ant_stops *stops)
{
    struct ant_request *request = ant_xcalloc(1, sizeof(*request));
    int vocab = ant_checkpoint_arch(checkpoint)->vocab;

    request->row = i;
    request->n_prompt = 1 + i * 37 % 61;
    request->prompt = ant_xcalloc((size_t)request->n_prompt, sizeof(int32_t));
    for (int k = 0; k < request->n_prompt; k++) { /* every fourth begins alike, a page and more */
        int own = i % 4 != 1 || k >= 35 ? i * 7919 : 0;
        request->prompt[k] = 3 + (own + k * 104729 + k * k) % (vocab - 3);
    }
    request->sampling = *sampling;
    request->stops = stops;
    if (begun)
        ant_ids_append(&request->output, begun->ids[i].data,
                       is_scored ? begun->ids[i].len : begun->ids[i].len * (size_t)i / 23);
    request->whole = is_scored ? begun->finish[i] : ANT_FINISH_NONE;
    request->has_logprobs = wants_logprobs;
    request->logprobs.n_top = 3;
    request->has_prompt_logprobs = wants_prompt_logprobs;
    request->prompt_logprobs.n_top = 2;
    request->n_reported = (uint32_t)request->output.len;
    return request;
}

static void keep(struct answers *answers, struct ant_request *request)
{
    struct ant_buf text = {0};

    assert_in_range(request->row, 0, N_PROMPTS - 1);
    assert_null(answers->ids[request->row].data);
    assert_true(request->t_admitted <= request->t_first && request->t_first <= request->t_done);
    ant_stop_text(request, tokenizer, &text);
    ant_buf_add(&text, "", 0);
    answers->ids[request->row] = request->output;
    answers->finish[request->row] = request->finish;
    answers->text[request->row] = text.data;
    answers->logprobs[request->row] = request->logprobs;
    answers->prompt_logprobs[request->row] = request->prompt_logprobs;
    assert_int_equal(request->logprobs.n, request->has_logprobs ? request->output.len : 0);
    assert_int_equal(request->prompt_logprobs.n,
                     request->has_prompt_logprobs ? request->n_prompt : 0);
    request->logprobs = request->prompt_logprobs = (struct ant_logprobs){0};
    request->output = (struct ant_ids){0};
    ant_request_free(request);
}

static void take_gains(struct ant_engine *engine)
{
    struct ant_gains gains;
    const int32_t *tokens;

    if (!gained)
        return;
    if (ant_engine_take_gains(engine, &gains)) {
        tokens = gains.tokens.data;
        for (size_t i = 0; i < gains.n; i++) {
            assert_int_equal(gains.items[i].first, gained[gains.items[i].row].len);
            ant_ids_append(&gained[gains.items[i].row], tokens, gains.items[i].n_tokens);
            tokens += gains.items[i].n_tokens;
        }
        assert_ptr_equal(tokens, gains.tokens.data + gains.tokens.len);
        ant_gains_release(&gains);
    }
    ant_engine_ask_gains(engine);
}

static int64_t n_accepted; /* guesses that were right, of all runs */

static void run(const struct setup *setup, const struct ant_sampling *sampling,
                const struct ant_stops *stops, struct answers *answers)
{
    struct ant_backend_config backend = {
        .arch = ant_checkpoint_arch(checkpoint),
        .max_rows = setup->max_rows,
        .max_seqs = setup->max_seqs,
        .max_sampled = setup->n_drafts ? setup->max_rows : setup->max_seqs,
        .max_context = CONTEXT,
        .n_threads = setup->n_threads,
    };
    struct ant_engine_config config = {
        .max_seqs = setup->max_seqs,
        .max_step_rows = setup->max_rows,
        .max_context = CONTEXT,
        .n_pages = setup->n_pages,
        .no_prefix_sharing = setup->is_whole,
        .max_sampled = backend.max_sampled,
        .n_drafts = setup->n_drafts,
        .draft_rows = setup->max_rows,
    };
    const struct ant_backend_ops *ops;
    struct ant_backend *be;
    struct ant_model *model;
    struct ant_engine *engine;
    struct ant_request *request;
    struct ant_engine_stats stats;
    struct ant_error err;
    int submitted = 0, taken = 0;

    memset(answers, 0, sizeof(*answers));
    must(ant_backend_choose(&ops, "cpu", &err), &err);
    must(ops->open(&be, &backend, &err), &err);
    must(ant_model_load(&model, checkpoint, NULL, NULL, be, &(struct ant_loading){.n_threads = 2},
                        &err),
         &err);
    must(ops->kv_open(be, setup->n_pages, &err), &err);
    must(ant_engine_start(&engine, model, tokenizer, &config, &err), &err);
    while (taken < N_PROMPTS) {
        while (submitted < N_PROMPTS) {
            int i = setup->is_reversed ? N_PROMPTS - 1 - submitted : submitted;
            request = make_request(i, sampling, stops);
            if (!ant_engine_submit(engine, request)) {
                ant_request_free(request);
                break;
            }
            submitted++;
        }
        must(ant_engine_take(engine, &request, gained ? 0.001 : 0.1, &err), &err);
        take_gains(engine);
        if (request) {
            keep(answers, request);
            taken++;
        }
    }
    ant_engine_stats(engine, &stats);
    assert_int_equal(stats.finished, N_PROMPTS);
    assert_true(setup->n_drafts > 0 || stats.drafted == 0);
    n_accepted += stats.accepted;
    ant_engine_stop(engine);
    ant_model_close(model);
    ops->close(be);
}

static void assert_same(const struct answers *a, const struct answers *b)
{
    for (int i = 0; i < N_PROMPTS; i++) {
        assert_int_equal(a->ids[i].len, b->ids[i].len);
        assert_memory_equal(a->ids[i].data, b->ids[i].data, a->ids[i].len * sizeof(int32_t));
        assert_int_equal(a->finish[i], b->finish[i]);
        assert_string_equal(a->text[i], b->text[i]);
    }
}

static void assert_same_logprobs(const struct ant_logprobs *a, const struct ant_logprobs *b)
{
    size_t n = a->n, n_top = (size_t)a->n_top;

    assert_int_equal(a->n, b->n);
    assert_int_equal(a->n_top, b->n_top);
    if (n == 0)
        return;
    assert_memory_equal(a->values, b->values, n * sizeof(float));
    assert_memory_equal(a->top_ids, b->top_ids, n * n_top * sizeof(int32_t));
    assert_memory_equal(a->top, b->top, n * n_top * sizeof(float));
}

static const struct setup plain = {.max_seqs = 8, .max_rows = 64, .n_pages = 64, .n_threads = 1};

static void check_setups(const struct ant_sampling *sampling)
{
    static const struct setup setups[] = {
        {1, 64, 3, 1, false, false, 0},     {7, 16, 64, 2, false, false, 0},
        {64, 512, 256, 3, false, false, 0}, {8, 64, 64, 1, true, false, 0},
        {8, 9, 6, 2, true, false, 0}, /* few pages: some are preempted */
        {8, 9, 6, 2, true, true, 0},        {64, 512, 256, 2, false, true, 0},
        {5, 1, 40, 1, false, false, 0},     {3, 2, 12, 2, false, false, 0},
        {8, 64, 64, 2, false, false, 4},    {1, 64, 3, 1, false, false, 7},
        {8, 9, 6, 2, true, false, 3},       {64, 512, 256, 3, true, true, ANT_MOST_DRAFTS},
    };
    const struct ant_stops stops = {0};
    struct answers expected, answers;

    run(&plain, sampling, &stops, &expected);
    for (size_t i = 0; i < sizeof(setups) / sizeof(*setups); i++) {
        run(&setups[i], sampling, &stops, &answers);
        assert_same(&answers, &expected);
        answers_release(&answers);
    }
    answers_release(&expected);
}

static void test_greedy_is_invariant(void **state)
{
    (void)state;
    n_accepted = 0;
    check_setups(&(struct ant_sampling){.max_tokens = 20, .top_p = 1});
    check_setups(&(struct ant_sampling){.max_tokens = 70, .top_p = 1});
    assert_true(n_accepted > 100);
}

static void test_sampled_is_invariant(void **state)
{
    (void)state;
    check_setups(&(struct ant_sampling){
        .max_tokens = 20, .temperature = 0.9f, .top_p = 0.95f, .top_k = 50, .seed = 11});
    n_accepted = 0; /* of few tokens some are drawn again and again */
    check_setups(&(struct ant_sampling){
        .max_tokens = 70, .temperature = 0.9f, .top_p = 1, .top_k = 2, .seed = 11});
    assert_true(n_accepted > 20);
}

/* An answer that begins with tokens of its own goes on as if it had never stopped; and what is told
 * of it on the way are its first tokens. */
static void test_goes_on_where_it_was(void **state)
{
    static const struct ant_sampling sampling = {
        .max_tokens = 40, .temperature = 0.9f, .top_p = 0.95f, .seed = 3};
    const struct ant_stops stops = {0};
    struct ant_ids tokens[N_PROMPTS] = {{0}};
    struct answers expected, answers;
    size_t told = 0;

    (void)state;
    gained = tokens;
    run(&plain, &sampling, &stops, &expected);
    gained = NULL;
    for (int i = 0; i < N_PROMPTS; i++) {
        assert_true(tokens[i].len < expected.ids[i].len);
        if (tokens[i].len)
            assert_memory_equal(tokens[i].data, expected.ids[i].data, 4 * tokens[i].len);
        told += tokens[i].len;
        ant_ids_release(&tokens[i]);
    }
    assert_true(told > 100);
    begun = &expected;
    for (int few = 0; few < 2; few++) {
        run(few ? &(struct setup){8, 9, 6, 2, true, false, 0} : &plain, &sampling, &stops,
            &answers);
        assert_same(&answers, &expected);
        answers_release(&answers);
    }
    begun = NULL;
    answers_release(&expected);
}

/* Log probabilities are the same bits in every batch, of tokens just drawn and of known ones.
 * Greedy answers are of the most probable ids, which come first, in order. */
static void test_logprobs(void **state)
{
    static const struct setup setups[] = {{1, 64, 3, 1, false, false, 0},
                                          {64, 512, 256, 3, true, false, 0},
                                          {8, 9, 6, 2, true, false, 0},
                                          {3, 2, 12, 2, false, false, 0}};
    const struct ant_stops stops = {0};
    struct ant_sampling sampling = {.max_tokens = 20, .top_p = 1};
    struct answers expected, answers;

    (void)state;
    wants_logprobs = wants_prompt_logprobs = true;
    for (int is_random = 0; is_random < 2; is_random++) {
        sampling.temperature = (float)is_random;
        run(&plain, &sampling, &stops, &expected);
        for (int i = 0; i < N_PROMPTS; i++) {
            const struct ant_logprobs *all = &expected.logprobs[i];
            for (uint32_t k = 0; k < all->n; k++) {
                assert_true(all->values[k] <= all->top[3 * k] && all->top[3 * k] < 0);
                assert_true(all->top[3 * k] >= all->top[3 * k + 1]);
                assert_true(all->top[3 * k + 1] >= all->top[3 * k + 2]);
            }
            assert_true(isnan(expected.prompt_logprobs[i].values[0]));
            assert_true(is_random || ant_logprobs_are_greedy(all, expected.ids[i].data));
        }
        for (size_t i = 0; i < 3 * sizeof(setups) / sizeof(*setups); i++) {
            begun = i % 3 ? &expected : NULL;
            is_scored = i % 3 == 2;
            run(&setups[i / 3], &sampling, &stops, &answers);
            assert_same(&answers, &expected);
            for (int k = 0; k < N_PROMPTS; k++) {
                assert_same_logprobs(&answers.logprobs[k], &expected.logprobs[k]);
                assert_same_logprobs(&answers.prompt_logprobs[k], &expected.prompt_logprobs[k]);
            }
            answers_release(&answers);
        }
        begun = NULL;
        is_scored = false;
        answers_release(&expected);
    }
    wants_logprobs = wants_prompt_logprobs = false;
}

static void test_seed_matters(void **state)
{
    struct ant_sampling sampling = {.max_tokens = 10, .temperature = 1, .top_p = 1, .seed = 1};
    const struct ant_stops stops = {0};
    struct answers a, b;
    int differ = 0;

    (void)state;
    run(&plain, &sampling, &stops, &a);
    sampling.seed = 2;
    run(&plain, &sampling, &stops, &b);
    for (int i = 0; i < N_PROMPTS; i++)
        differ += memcmp(a.ids[i].data, b.ids[i].data, 10 * sizeof(int32_t)) != 0;
    assert_true(differ > N_PROMPTS / 2);
    answers_release(&a);
    answers_release(&b);
}

static void test_length_ends(void **state)
{
    const struct ant_stops stops = {0};
    struct answers answers;

    (void)state;
    run(&plain, &(struct ant_sampling){.max_tokens = 1000, .top_p = 1}, &stops, &answers);
    for (int i = 0; i < N_PROMPTS; i++) {
        assert_int_equal(answers.ids[i].len, CONTEXT - (1 + i * 37 % 61));
        assert_int_equal(answers.finish[i], ANT_FINISH_LENGTH);
    }
    answers_release(&answers);
}

/* The 5th token of the first greedy answer is made an end in each of the ways there are. */
static void test_ids_end(void **state)
{
    struct ant_sampling sampling = {.max_tokens = 12, .top_p = 1};
    const struct ant_stops none = {0};
    struct answers free_run, answers;
    size_t at = 0;

    (void)state;
    run(&plain, &sampling, &none, &free_run);
    int32_t end = free_run.ids[0].data[4];
    while (free_run.ids[0].data[at] != end)
        at++;
    struct ant_stops eos = {.ids = &end, .n_ids = 1, .n_eos = 1}, user = {.ids = &end, .n_ids = 1};

    run(&plain, &sampling, &eos, &answers);
    assert_int_equal(answers.finish[0], ANT_FINISH_EOS);
    assert_int_equal(answers.ids[0].len, at + 1);
    answers_release(&answers);

    sampling.ignore_eos = true;
    run(&plain, &sampling, &eos, &answers);
    assert_same(&answers, &free_run);
    answers_release(&answers);

    run(&plain, &sampling, &user, &answers);
    assert_int_equal(answers.finish[0], ANT_FINISH_STOP);
    assert_int_equal(answers.ids[0].len, at + 1);
    answers_release(&answers);

    sampling.min_tokens = 9;
    run(&plain, &sampling, &user, &answers);
    for (int i = 0; i < N_PROMPTS; i++) {
        assert_true(answers.ids[i].len >= 9);
        for (int k = 0; k < 8; k++)
            assert_int_not_equal(answers.ids[i].data[k], end);
    }
    answers_release(&answers);
    answers_release(&free_run);
}

/* Every substring of a greedy text must end it at its first place, however tokens are cut. */
static void test_strings_end(void **state)
{
    struct ant_sampling sampling = {.max_tokens = 16, .top_p = 1};
    const struct ant_stops none = {0};
    struct answers free_run, answers;
    int tried = 0;

    (void)state;
    run(&plain, &sampling, &none, &free_run);
    for (size_t n = 1; n <= 7; n += 2) {
        char needle[8] = {0};
        const char *text = free_run.text[3];
        size_t from = strlen(text) / 2;
        while (from > 0 && ((unsigned char)text[from] & 0xC0) == 0x80)
            from--;
        if (from + n > strlen(text) || memchr(text + from, '\xef', n))
            continue;
        memcpy(needle, text + from, n);
        const char *strings[] = {"never in the text at all", needle};
        struct ant_stops stops = {.strings = strings, .n_strings = 2};
        run(&plain, &sampling, &stops, &answers);
        const char *first = strstr(text, needle);
        assert_non_null(first);
        assert_int_equal(answers.finish[3], ANT_FINISH_STOP);
        assert_int_equal(strlen(answers.text[3]), first - text);
        assert_memory_equal(answers.text[3], text, (size_t)(first - text));
        for (int i = 0; i < N_PROMPTS; i++)
            assert_null(strstr(answers.text[i], needle));
        answers_release(&answers);
        tried++;
    }
    assert_true(tried > 0);
    answers_release(&free_run);
}

/* A token that holds the string more than once: its first place counts. */
static void test_strings_within_a_token(void **state)
{
    const struct ant_sampling sampling = {.max_tokens = 16};
    int n_tried = 0;

    (void)state;
    for (int32_t id = 0; id < ant_tokenizer_size(tokenizer); id++) {
        size_t bytes;
        const char *piece = ant_tokenizer_piece(tokenizer, id, &bytes);
        if (bytes < 2 || piece[0] != piece[1] || (unsigned char)piece[0] >= 0x80 ||
            ant_tokenizer_is_special(tokenizer, id))
            continue;
        const char string[] = {piece[0], '\0'}, *strings[] = {string};
        struct ant_stops stops = {.strings = strings, .n_strings = 1};
        struct ant_request *request = make_request(0, &sampling, &stops);
        struct ant_buf text = {0};
        ant_ids_add(&request->output, id);
        ant_stop_check(request, tokenizer, 1000);
        assert_int_equal(request->finish, ANT_FINISH_STOP);
        ant_stop_text(request, tokenizer, &text);
        assert_int_equal(text.len, 0);
        ant_buf_release(&text);
        ant_request_free(request);
        n_tried++;
    }
    assert_true(n_tried > 0);
}

/* What ends an answer by its id is none of its text, also where it is no special token. */
static void test_ids_end_texts(void **state)
{
    const struct ant_sampling sampling = {.max_tokens = 16};
    const int32_t id = ant_tokenizer_find(tokenizer, "a");

    (void)state;
    assert_false(id < 0 || ant_tokenizer_is_special(tokenizer, id));
    for (int n_eos = 0; n_eos < 2; n_eos++) {
        struct ant_stops stops = {.ids = &id, .n_ids = 1, .n_eos = n_eos}, none = {0};
        struct ant_request *request = make_request(0, &sampling, &none);
        struct ant_buf text = {0};
        ant_ids_add(&request->output, id);
        ant_stop_check(request, tokenizer, 1000);
        assert_int_equal(request->finish, ANT_FINISH_NONE);
        request->stops = &stops;
        ant_ids_add(&request->output, id);
        ant_stop_check(request, tokenizer, 1000);
        assert_int_equal(request->finish, n_eos ? ANT_FINISH_EOS : ANT_FINISH_STOP);
        ant_stop_text(request, tokenizer, &text);
        assert_int_equal(text.len, 1);
        ant_buf_release(&text);
        ant_request_free(request);
    }
}

/* Do the first `n` ids end in three times the same? */
static bool ends_in_loop(const int32_t *ids, size_t n)
{
    for (size_t period = 1; 3 * period <= n && period <= 64; period++)
        if (memcmp(ids + n - period, ids + n - 2 * period, period * sizeof(*ids)) == 0 &&
            memcmp(ids + n - period, ids + n - 3 * period, period * sizeof(*ids)) == 0)
            return true;
    return false;
}

static void test_loops_end(void **state)
{
    struct ant_sampling sampling = {.max_tokens = 70, .top_p = 1};
    const struct ant_stops none = {0};
    struct answers free_run, answers;
    int n_loops = 0;

    (void)state;
    run(&plain, &sampling, &none, &free_run);
    sampling.max_repeats = 3;
    run(&plain, &sampling, &none, &answers);
    for (int i = 0; i < N_PROMPTS; i++) {
        const struct ant_ids *ids = &answers.ids[i];
        assert_memory_equal(ids->data, free_run.ids[i].data, ids->len * sizeof(int32_t));
        for (size_t n = 1; n < ids->len; n++)
            assert_false(ends_in_loop(ids->data, n));
        assert_int_equal(answers.finish[i] == ANT_FINISH_LOOP, ends_in_loop(ids->data, ids->len));
        n_loops += answers.finish[i] == ANT_FINISH_LOOP;
    }
    assert_in_range(n_loops, 1, N_PROMPTS);
    answers_release(&answers);
    answers_release(&free_run);
}

/* An end of answer that the constraint does not allow is drawn where nothing it allows was left:
 * it is no end, but an error. */
static void test_no_end_against_a_constraint(void **state)
{
    static const int32_t ends[] = {2};
    const struct ant_stops stops = {.ids = ends, .n_ids = 1, .n_eos = 1};
    struct ant_token_tree *tree =
        ant_token_tree_open(tokenizer, ant_tokenizer_size(tokenizer), ends, 1);
    struct ant_error err;

    (void)state;
    for (int may_be_empty = 0; may_be_empty < 2; may_be_empty++) {
        struct ant_request *request = ant_xcalloc(1, sizeof(*request));
        request->stops = &stops;
        request->sampling.max_tokens = 5;
        must(ant_constraint_open(&request->constraint, ANT_CONSTRAINT_REGEX, "[a-z]+|",
                                 may_be_empty ? 7 : 6, tree, &err),
             &err);
        ant_ids_add(&request->output, ends[0]);
        ant_stop_check(request, tokenizer, CONTEXT);
        assert_int_equal(request->finish, may_be_empty ? ANT_FINISH_EOS : ANT_FINISH_ERROR);
        assert_int_equal(request->why != NULL, !may_be_empty);
        ant_request_free(request);
    }
    ant_token_tree_close(tree);
}

static void test_too_small_a_cache(void **state)
{
    struct ant_engine_config config = {
        .max_seqs = 1, .max_step_rows = 1, .max_context = 65, .n_pages = 2};
    struct ant_engine *engine;
    struct ant_error err;

    (void)state;
    assert_int_equal(ant_engine_start(&engine, NULL, tokenizer, &config, &err), ANT_EUSAGE);
    assert_non_null(strstr(err.text, "64 tokens"));
    assert_non_null(strstr(err.text, "65"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_greedy_is_invariant),
        cmocka_unit_test(test_sampled_is_invariant),
        cmocka_unit_test(test_goes_on_where_it_was),
        cmocka_unit_test(test_seed_matters),
        cmocka_unit_test(test_length_ends),
        cmocka_unit_test(test_ids_end),
        cmocka_unit_test(test_strings_end),
        cmocka_unit_test(test_ids_end_texts),
        cmocka_unit_test(test_strings_within_a_token),
        cmocka_unit_test(test_no_end_against_a_constraint),
        cmocka_unit_test(test_too_small_a_cache),
        cmocka_unit_test(test_logprobs),
        cmocka_unit_test(test_loops_end),
    };
    setenv("ANTIPHON_CHECK", "1", 1);
    return cmocka_run_group_tests(tests, open_all, close_all);
}
