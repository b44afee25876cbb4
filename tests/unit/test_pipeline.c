/* SPDX-License-Identifier: Apache-2.0 */
/* The engine on a backend that computes nothing in earnest but holds the engine to the seam: a step
 * is looked at only until step_end returns, no more steps are out than the backend takes, tokens
 * not yet known are those of the step before, and the cache holds what it should although steps run
 * late. Answers are the same with one step out and with two, and in several lanes. */
#include "config.h"

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
#include "fixture.h"
#include "model/model_internal.h"

enum { N_REQUESTS = 60, CONTEXT = 150, MOST_STEPS = 3 };

static struct ant_checkpoint *checkpoint;
static struct ant_tokenizer *tokenizer;
static uint32_t random_state;

static int random_below(int n)
{
    random_state = random_state * 1664525u + 1013904223u;
    return (int)((random_state >> 8) % (uint32_t)n);
}

/* The engine's thread cannot leave by cmocka's long jump. */
#define MUST(condition)                                                                            \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: the seam: %s\n", __FILE__, __LINE__, #condition);              \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

/* ---- the backend ----------------------------------------------------------------------------- */

/* A step as it was handed over: the engine's arrays are not looked at again. */
struct copy {
    struct ant_batch batch;
    int32_t *tokens, *positions, *row_start, *context, *page_start, *pages, *sampled;
    struct ant_draw *draws;
    uint64_t *edits; /* (n_sampled) what they come to */
};

struct fake {
    struct ant_backend base;
    struct ant_backend_config config;
    int depth, n_pages, fails_at; /* steps until the device breaks; negative: never */
    const struct ant_batch *begun;
    struct copy out[MOST_STEPS]; /* ended, not waited for; oldest first */
    int n_out;
    int32_t *cache;    /* (n_pages * ANT_PAGE_TOKENS) */
    int32_t *drawn[2]; /* by the step waited for last, and the one before: no longer valid */
    float *logprobs;
    int n_drawn;
};

static struct fake *fake_of(struct ant_backend *be)
{
    return (struct fake *)(void *)be;
}

static void *copy_array(const void *from, int n, size_t bytes)
{
    void *to = ant_xcalloc((size_t)n + 1, bytes);

    if (n > 0)
        memcpy(to, from, (size_t)n * bytes);
    return to;
}

static uint64_t sum_edits(const struct ant_draw *draw)
{
    uint64_t sum = draw->only_edited;

    for (int i = 0; i < draw->n_edits; i++)
        sum += (uint64_t)draw->edits[i].id * 31 + (uint64_t)(100 * draw->edits[i].penalty) * 7;
    return sum;
}

static void copy_take(struct copy *copy, const struct ant_batch *batch)
{
    copy->batch = *batch;
    copy->tokens = copy_array(batch->tokens, batch->n_rows, 4);
    copy->positions = copy_array(batch->positions, batch->n_rows, 4);
    copy->row_start = copy_array(batch->row_start, batch->n_seqs + 1, 4);
    copy->context = copy_array(batch->context, batch->n_seqs, 4);
    copy->page_start = copy_array(batch->page_start, batch->n_seqs + 1, 4);
    copy->pages = copy_array(batch->pages, batch->page_start[batch->n_seqs], 4);
    copy->sampled = copy_array(batch->sampled, batch->n_sampled, 4);
    copy->draws = copy_array(batch->draws, batch->n_sampled, sizeof(*copy->draws));
    copy->edits = ant_xcalloc((size_t)batch->n_sampled + 1, sizeof(*copy->edits));
    for (int i = 0; i < batch->n_sampled; i++)
        copy->edits[i] = sum_edits(&batch->draws[i]);
}

static void copy_free(struct copy *copy)
{
    free(copy->tokens);
    free(copy->positions);
    free(copy->row_start);
    free(copy->context);
    free(copy->page_start);
    free(copy->pages);
    free(copy->sampled);
    free(copy->draws);
    free(copy->edits);
}

static void check_sequence(const struct fake *fake, const struct ant_batch *batch, int s)
{
    int n_pages = batch->page_start[s + 1] - batch->page_start[s], first = batch->row_start[s];

    MUST(batch->row_start[s + 1] > first);
    MUST(batch->context[s] <= fake->config.max_context);
    MUST(n_pages == (batch->context[s] + ANT_PAGE_TOKENS - 1) / ANT_PAGE_TOKENS);
    for (int row = first; row < batch->row_start[s + 1]; row++) {
        MUST(batch->positions[row] == batch->context[s] - batch->row_start[s + 1] + row);
        MUST(batch->tokens[row] < 0 || batch->tokens[row] < fake->config.arch->vocab);
        if (batch->tokens[row] < 0) /* of the step before, which is out */
            MUST(fake->n_out > 0 &&
                 ~batch->tokens[row] < fake->out[fake->n_out - 1].batch.n_sampled);
    }
    for (int i = 0; i < n_pages; i++) {
        int page = batch->pages[batch->page_start[s] + i];
        MUST(page >= 0 && page < fake->n_pages);
    }
}

static void step_begin(struct ant_backend *be, const struct ant_batch *batch)
{
    struct fake *fake = fake_of(be);

    MUST(!fake->begun && fake->n_out < fake->depth);
    MUST(batch->n_rows >= 1 && batch->n_rows <= fake->config.max_rows);
    MUST(batch->n_seqs >= 1 && batch->n_seqs <= fake->config.max_seqs);
    MUST(batch->row_start[0] == 0 && batch->row_start[batch->n_seqs] == batch->n_rows);
    MUST(batch->page_start[0] == 0);
    for (int s = 0; s < batch->n_seqs; s++)
        check_sequence(fake, batch, s);
    for (int i = 0; i < batch->n_sampled; i++)
        MUST(batch->sampled[i] > (i > 0 ? batch->sampled[i - 1] : -1) &&
             batch->sampled[i] < batch->n_rows);
    fake->begun = batch;
}

static void step_end(struct ant_backend *be)
{
    struct fake *fake = fake_of(be);

    MUST(fake->begun);
    copy_take(&fake->out[fake->n_out++], fake->begun);
    fake->begun = NULL;
}

static int32_t *cell(const struct fake *fake, const struct copy *step, int s, int t)
{
    int32_t page = step->pages[step->page_start[s] + t / ANT_PAGE_TOKENS];

    return &fake->cache[page * ANT_PAGE_TOKENS + t % ANT_PAGE_TOKENS];
}

/* The id drawn at the end of sequence `s`: depends on every token and its place, and on the draw.
 */
static int32_t draw(const struct fake *fake, const struct copy *step, int s, int at)
{
    const struct ant_draw *how = &step->draws[at];
    uint64_t sum = how->key * 31 + how->position + step->edits[at];

    for (int t = 0; t < step->context[s]; t++)
        sum = sum * 1000003 + (uint64_t)*cell(fake, step, s, t);
    sum ^= sum >> 29;
    return 3 + (int32_t)(sum % (uint64_t)(fake->config.arch->vocab - 3));
}

static void run_oldest(struct fake *fake)
{
    struct copy *step = &fake->out[0];
    const int32_t *before = fake->drawn[0];
    int32_t *ids = ant_xcalloc((size_t)step->batch.n_sampled + 1, sizeof(*ids));
    int n = 0;

    for (int s = 0; s < step->batch.n_seqs; s++)
        for (int row = step->row_start[s]; row < step->row_start[s + 1]; row++)
            *cell(fake, step, s, step->positions[row]) =
                step->tokens[row] < 0 ? before[~step->tokens[row]] : step->tokens[row];
    for (int s = 0; s < step->batch.n_seqs; s++)
        if (n < step->batch.n_sampled && step->sampled[n] < step->row_start[s + 1]) {
            MUST(step->sampled[n] == step->row_start[s + 1] - 1);
            ids[n] = draw(fake, step, s, n);
            n++;
        }
    MUST(n == step->batch.n_sampled);
    free(fake->drawn[1]);
    fake->drawn[1] = fake->drawn[0];
    if (fake->drawn[1])
        memset(fake->drawn[1], 0xff, (size_t)fake->n_drawn * sizeof(int32_t));
    fake->drawn[0] = ids;
    fake->n_drawn = n;
}

static int step_wait(struct ant_backend *be, struct ant_drawn *out, struct ant_error *err)
{
    struct fake *fake = fake_of(be);

    MUST(!fake->begun && fake->n_out > 0);
    if (fake->fails_at-- == 0)
        return ant_fail(err, ANT_EDEVICE, "the fake device broke");
    run_oldest(fake);
    copy_free(&fake->out[0]);
    fake->n_out--;
    memmove(fake->out, fake->out + 1, (size_t)fake->n_out * sizeof(*fake->out));
    *out = (struct ant_drawn){.ids = fake->drawn[0], .logprobs = fake->logprobs};
    return 0;
}

static void on_weight(struct ant_backend *be, const struct ant_weight *w)
{
    MUST(fake_of(be)->begun);
    (void)w;
}

static void on_gemm(struct ant_backend *be, const struct ant_weight *w, enum ant_slot in,
                    enum ant_slot out, enum ant_epilogue epilogue)
{
    (void)in;
    (void)out;
    (void)epilogue;
    on_weight(be, w);
}

static void on_rope_append(struct ant_backend *be, int layer, const struct ant_weight *q_norm,
                           const struct ant_weight *k_norm)
{
    (void)layer;
    (void)k_norm;
    on_weight(be, q_norm);
}

static void on_attention(struct ant_backend *be, int layer, int window)
{
    (void)layer;
    (void)window;
    on_weight(be, NULL);
}

static void on_step(struct ant_backend *be)
{
    on_weight(be, NULL);
}

static const struct ant_backend_ops fake_ops = {
    .name = "fake",
    .step_begin = step_begin,
    .step_end = step_end,
    .step_wait = step_wait,
    .embed = on_weight,
    .norm = on_weight,
    .gemm = on_gemm,
    .rope_append = on_rope_append,
    .attention = on_attention,
    .keep_sampled = on_step,
    .norm_sampled = on_weight,
    .sample = on_step,
};

/* ---- the traffic ----------------------------------------------------------------------------- */

struct setup {
    int depth, n_lanes, max_seqs, max_rows, n_pages, fails_at; /* n_pages: of a lane */
    bool is_whole;
};

struct answers {
    struct ant_ids ids[N_REQUESTS];
    enum ant_finish finish[N_REQUESTS];
};

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

/* Of every kind: with ends by id and by text, of given length, beginning alike or not, with and
 * without penalties. */
static struct ant_request *make_request(int i, const struct ant_stops *stops)
{
    static const struct ant_stops none;
    struct ant_request *request = ant_xcalloc(1, sizeof(*request));

    request->row = i;
    request->n_prompt = 1 + i * 41 % (CONTEXT * 2 / 3);
    request->prompt = ant_xcalloc((size_t)request->n_prompt, sizeof(int32_t));
    for (int k = 0; k < request->n_prompt; k++)
        request->prompt[k] = 3 + (i % 5 < 3 && k < 70 ? i % 5 * 7 + k : i * 97 + k) % 200;
    request->sampling = (struct ant_sampling){.max_tokens = 1 + i * 13 % 60, .seed = 5};
    request->stops = i % 4 ? stops : &none;
    if (i % 6 == 1) /* its draws depend on all tokens before them */
        request->sampling.frequency_penalty = 0.5f;
    return request;
}

static void keep(struct answers *answers, struct ant_request *request)
{
    assert_int_not_equal(request->finish, ANT_FINISH_NONE);
    assert_null(answers->ids[request->row].data);
    answers->ids[request->row] = request->output;
    answers->finish[request->row] = request->finish;
    request->output = (struct ant_ids){0};
    ant_request_free(request);
}

static void fake_close(struct fake *fake)
{
    for (int i = 0; i < fake->n_out; i++)
        copy_free(&fake->out[i]);
    free(fake->drawn[0]);
    free(fake->drawn[1]);
    free(fake->logprobs);
    free(fake->cache);
}

/* Submit everything and take it back; the error that ended it, if one did. */
static int pump(struct ant_engine *engine, const struct ant_stops *stops, struct answers *answers,
                struct ant_error *err)
{
    struct ant_request *request = NULL;

    for (int submitted = 0, taken = 0; taken < N_REQUESTS;) {
        while (submitted < N_REQUESTS) {
            request = make_request(submitted, stops);
            if (!ant_engine_submit(engine, request))
                break;
            submitted++;
            request = NULL;
        }
        ant_request_free(request);
        ANT_TRY(ant_engine_take(engine, &request, 0.1, err));
        if (request) {
            keep(answers, request);
            taken++;
        }
        request = NULL;
    }
    return 0;
}

static int run(const struct setup *setup, const struct ant_stops *stops, struct answers *answers,
               struct ant_engine_stats *stats, struct ant_error *err)
{
    struct ant_arch arch = *ant_checkpoint_arch(checkpoint);
    struct ant_layer *layers = ant_xcalloc((size_t)arch.n_layers, sizeof(*layers));
    struct fake fake = {
        .base = {&fake_ops},
        .config = {.arch = &arch,
                   .max_rows = setup->max_rows,
                   .max_seqs = setup->max_seqs,
                   .max_context = CONTEXT},
        .depth = setup->depth * setup->n_lanes,
        .n_pages = setup->n_lanes * setup->n_pages,
        .fails_at = setup->fails_at,
        .cache = ant_xcalloc((size_t)setup->n_lanes * (size_t)setup->n_pages * ANT_PAGE_TOKENS,
                             sizeof(int32_t)),
        .logprobs = ant_xcalloc((size_t)setup->max_seqs, sizeof(float)),
    };
    struct ant_model model = {.arch = &arch, .be = &fake.base, .layers = layers};
    ant_shard_whole(&model.shard, checkpoint);
    struct ant_engine_config config = {
        .max_seqs = setup->max_seqs,
        .max_step_rows = setup->max_rows,
        .max_context = CONTEXT,
        .n_pages = setup->n_lanes * setup->n_pages,
        .steps_in_flight = setup->depth,
        .n_lanes = setup->n_lanes,
        .no_prefix_sharing = setup->is_whole,
    };
    struct ant_engine *engine;

    memset(answers, 0, sizeof(*answers));
    must(ant_engine_start(&engine, &model, tokenizer, &config, err), err);
    int rc = pump(engine, stops, answers, err);
    ant_engine_stats(engine, stats);
    ant_engine_stop(engine);
    fake_close(&fake);
    free(layers);
    return rc;
}

static void answers_release(struct answers *answers)
{
    for (int i = 0; i < N_REQUESTS; i++)
        ant_ids_release(&answers->ids[i]);
}

static void assert_same(const struct answers *a, const struct answers *b)
{
    for (int i = 0; i < N_REQUESTS; i++) {
        assert_int_equal(a->ids[i].len, b->ids[i].len);
        assert_memory_equal(a->ids[i].data, b->ids[i].data, a->ids[i].len * sizeof(int32_t));
        assert_int_equal(a->finish[i], b->finish[i]);
    }
}

static const struct setup plain = {.depth = 1,
                                   .n_lanes = 1,
                                   .max_seqs = 4,
                                   .max_rows = 50,
                                   .n_pages = 40,
                                   .fails_at = -1,
                                   .is_whole = true};

/* An id in ten ends an answer, and so does a letter. */
static void make_stops(struct ant_stops *stops, int32_t *ids, int n)
{
    static const char *const strings[] = {"e"};

    for (int i = 0; i < n; i++)
        ids[i] = 3 + 10 * i;
    *stops = (struct ant_stops){
        .ids = ids, .n_ids = n, .n_eos = n / 2, .strings = strings, .n_strings = 1};
}

static void test_depths_agree(void **state)
{
    int32_t ids[20];
    struct ant_stops stops;
    struct answers expected, answers;
    struct ant_engine_stats stats;
    struct ant_error err;
    int64_t n_preempted = 0, n_shared = 0;
    int n_finish[5] = {0};

    (void)state;
    make_stops(&stops, ids, 20);
    must(run(&plain, &stops, &expected, &stats, &err), &err);
    for (int i = 0; i < N_REQUESTS; i++)
        n_finish[expected.finish[i]]++;
    assert_true(n_finish[ANT_FINISH_STOP] && n_finish[ANT_FINISH_EOS] &&
                n_finish[ANT_FINISH_LENGTH]);
    random_state = 1;
    for (int round = 0; round < 60; round++) {
        int scarce = round % 2 ? 1 + random_below(6) : 60;
        struct setup setup = {.depth = 1 + round % 3 % 2,
                              .n_lanes = 1 + (round % 3 == 2) * (1 + round % 2),
                              .max_seqs = 1 + random_below(20),
                              .max_rows = 1 + random_below(100),
                              .n_pages = CONTEXT / ANT_PAGE_TOKENS + scarce,
                              .fails_at = -1,
                              .is_whole = round % 5 == 0};
        must(run(&setup, &stops, &answers, &stats, &err), &err);
        n_preempted += stats.preemptions;
        n_shared += stats.shared_tokens;
        assert_int_equal(stats.finished, N_REQUESTS);
        assert_same(&answers, &expected);
        answers_release(&answers);
    }
    assert_true(n_preempted > 0 && n_shared > 0);
    answers_release(&expected);
}

/* The device breaks at one step or another: the error comes out, and the end is orderly. */
static void test_device_breaks(void **state)
{
    struct ant_stops stops = {0};
    struct answers answers;
    struct ant_engine_stats stats;
    struct ant_error err;

    (void)state;
    for (int i = 0; i < 12; i++) {
        struct setup setup = plain;
        setup.depth = 1 + i % 2;
        setup.fails_at = i * i;
        assert_int_equal(run(&setup, &stops, &answers, &stats, &err), ANT_EDEVICE);
        assert_non_null(strstr(err.text, "the fake device broke"));
        answers_release(&answers);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_depths_agree),
        cmocka_unit_test(test_device_breaks),
    };
    setenv("ANTIPHON_CHECK", "1", 1);
    return cmocka_run_group_tests(tests, open_all, close_all);
}
