/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "engine/engine.h"

#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/ring.h"
#include "engine/sched.h"
#include "engine/stop.h"

/* How long either thread sleeps at most before it looks again whether it should end. */
#define NAP_S 0.1

/* Whose are the engine's gains? */
enum { GAINS_NONE, GAINS_ASKED, GAINS_READY };

/* In place of a lane: a step without rows of this replica's, for those of others. */
enum { COMPANY = -1 };

/* Sequences that are never in the same step as those of another lane. A pipeline has as many lanes
 * as stages, so that each stage works on a step of its own. */
struct lane {
    struct ant_sched *sched;
    int n_in_flight;
    bool is_open; /* the step handed over last: its draws are not */
};

struct ant_engine {
    struct ant_model *model;
    const struct ant_tokenizer *tokenizer;
    struct ant_engine_config config;
    struct ant_ring *inbox, *outbox;
    pthread_t thread;
    _Atomic bool is_stopping, is_draining;
    _Atomic int failure; /* of the device; `error` may be read once it is not 0 */
    struct ant_error error;
    _Atomic int gains_state;
    struct ant_gains gains; /* the engine thread's while asked for, else the control thread's */

    /* The engine thread's alone. */
    struct lane *lanes; /* (n_lanes) */
    int n_lanes, turn;  /* turn: the lane that is asked next for a step */
    int *in_flight;     /* a circle: the lanes of the steps in flight, oldest first; COMPANY */
    int first_in_flight, n_in_flight;
    int most_in_flight; /* steps of a lane */
    double last_end;    /* of a step, or when the first one since began */

    /* Written by the engine thread, read by the control thread. */
    _Atomic int64_t steps, prompt_tokens, shared_tokens, output_tokens, finished, preemptions;
    _Atomic int64_t company_steps;
    _Atomic int64_t drafted, accepted;
    _Atomic int64_t prefill_ns, decode_ns, idle_ns;
    _Atomic int running, waiting, pages_used;
};

void ant_gains_release(struct ant_gains *gains)
{
    free(gains->items);
    ant_ids_release(&gains->tokens);
    *gains = (struct ant_gains){0};
}

static void add_gain(struct ant_request *request, void *data)
{
    struct ant_gains *gains = data;
    uint32_t n = (uint32_t)request->output.len - request->n_reported;

    if (n == 0)
        return;
    if (gains->n == gains->cap) {
        gains->cap = gains->cap ? 2 * gains->cap : 64;
        gains->items = ant_xrealloc(gains->items, gains->cap, sizeof(*gains->items));
    }
    gains->items[gains->n++] =
        (struct ant_gain){request->row, request->sample, request->n_reported, n};
    ant_ids_append(&gains->tokens, request->output.data + request->n_reported, n);
    request->n_reported += n;
}

static void serve_gains(struct ant_engine *engine)
{
    if (atomic_load_explicit(&engine->gains_state, memory_order_acquire) != GAINS_ASKED)
        return;
    for (int i = 0; i < engine->n_lanes; i++)
        ant_sched_each(engine->lanes[i].sched, add_gain, &engine->gains);
    atomic_store_explicit(&engine->gains_state, GAINS_READY, memory_order_release);
}

static int lane_seqs(const struct ant_engine_config *config)
{
    int n = config->n_lanes > 1 ? config->n_lanes : 1;

    return (config->max_seqs + n - 1) / n;
}

/* The lane that has the fewest requests: so each has about as many rows in its steps. */
static struct lane *emptiest_lane(struct ant_engine *engine, int *n_waiting)
{
    struct lane *emptiest = engine->lanes;
    struct ant_sched_counts counts, fewest;

    ant_sched_counts(emptiest->sched, &fewest);
    for (int i = 1; i < engine->n_lanes; i++) {
        ant_sched_counts(engine->lanes[i].sched, &counts);
        if (counts.running + counts.waiting >= fewest.running + fewest.waiting)
            continue;
        emptiest = &engine->lanes[i];
        fewest = counts;
    }
    *n_waiting = fewest.waiting;
    return emptiest;
}

/* Requests move from the ring to the schedulers only as far as these can soon use them, so that the
 * ring's size bounds how far ahead prompts are read and tokenized. */
static void take_in(struct ant_engine *engine)
{
    struct ant_request *request;
    int n_waiting;

    for (;;) {
        const struct lane *lane = emptiest_lane(engine, &n_waiting);
        if (n_waiting >= lane_seqs(&engine->config) || !(request = ant_ring_pop(engine->inbox)))
            break;
        request->t_admitted = ant_now();
        if (request->has_prompt_logprobs && request->prompt_logprobs.n == 0)
            ant_logprobs_add(&request->prompt_logprobs, NAN, NULL, NULL); /* nothing is before it */
        ant_sched_add(lane->sched, request);
    }
}

static void hand_back(struct ant_engine *engine, struct ant_request *request)
{
    while (!ant_ring_push(engine->outbox, request)) {
        if (atomic_load(&engine->is_stopping)) {
            ant_request_free(request);
            return;
        }
        ant_ring_wait_room(engine->outbox, NAP_S);
    }
}

static void add_ns(_Atomic int64_t *counter, double seconds)
{
    atomic_fetch_add_explicit(counter, (int64_t)(seconds * 1e9), memory_order_relaxed);
}

/* How things stand in all lanes now that the finished are gone. */
static void count_requests(struct ant_engine *engine)
{
    struct ant_sched_counts all = {0}, counts;

    for (int i = 0; i < engine->n_lanes; i++) {
        ant_sched_counts(engine->lanes[i].sched, &counts);
        all.running += counts.running;
        all.waiting += counts.waiting;
        all.pages_used += counts.pages_used;
        all.shared_tokens += counts.shared_tokens;
        all.preemptions += counts.preemptions;
        all.drafted += counts.drafted;
        all.accepted += counts.accepted;
    }
    atomic_store_explicit(&engine->shared_tokens, all.shared_tokens, memory_order_relaxed);
    atomic_store_explicit(&engine->preemptions, all.preemptions, memory_order_relaxed);
    atomic_store_explicit(&engine->drafted, all.drafted, memory_order_relaxed);
    atomic_store_explicit(&engine->accepted, all.accepted, memory_order_relaxed);
    atomic_store_explicit(&engine->waiting, all.waiting, memory_order_relaxed);
    atomic_store_explicit(&engine->pages_used, all.pages_used, memory_order_relaxed);
    atomic_store_explicit(&engine->running, all.running, memory_order_release);
}

/* The oldest step has run, `seconds` after the one before it. */
static void count_step(struct ant_engine *engine, const struct lane *lane, double seconds)
{
    struct ant_sched_counts counts;

    ant_sched_counts(lane->sched, &counts);
    double decode = seconds * counts.decode_rows / (counts.decode_rows + counts.prefill_rows);
    add_ns(&engine->decode_ns, decode);
    add_ns(&engine->prefill_ns, seconds - decode);
    atomic_fetch_add_explicit(&engine->steps, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&engine->prompt_tokens, counts.prefill_rows, memory_order_relaxed);
}

/* What a step says of sampled row `i`, to the end of a list. */
static void add_logprob(struct ant_logprobs *logprobs, const struct ant_drawn *drawn, int i)
{
    size_t top = (size_t)i * ANT_MAX_TOP;
    bool has_top = logprobs->n_top > 0;

    ant_logprobs_add(logprobs, drawn->logprobs[i], has_top ? drawn->top_ids + top : NULL,
                     has_top ? drawn->top_logprobs + top : NULL);
}

/* The token in this place was known; its log probability may be wanted. */
static void append_given(const struct ant_sample *sample, const struct ant_drawn *drawn, int i)
{
    struct ant_request *request = sample->request;
    bool is_prompt = sample->place < request->n_prompt;

    if (is_prompt && request->has_prompt_logprobs)
        add_logprob(&request->prompt_logprobs, drawn, i);
    if (!is_prompt && request->has_logprobs)
        add_logprob(&request->logprobs, drawn, i);
    if (sample->place + 1 == request->n_prompt + (int)request->output.len)
        request->finish = request->whole;
}

static void append_token(const struct ant_engine *engine, struct ant_request *request,
                         const struct ant_drawn *drawn, int i)
{
    ant_ids_add(&request->output, drawn->ids[i]);
    if (request->has_logprobs)
        add_logprob(&request->logprobs, drawn, i);
    ant_stop_check(request, engine->tokenizer, engine->config.max_context);
}

static void append_drawn(struct ant_engine *engine, const struct lane *lane,
                         const struct ant_drawn *drawn)
{
    struct ant_sched_counts counts;
    double now = ant_now();
    int n = 0;

    ant_sched_counts(lane->sched, &counts);
    for (int i = 0; i < counts.n_sampled; i++) {
        const struct ant_sample *sample = ant_sched_sampled(lane->sched, i);
        struct ant_request *request = sample->request;
        if (!request)
            continue;
        if (sample->is_given) {
            append_given(sample, drawn, i);
        } else {
            append_token(engine, request, drawn, i);
            n++;
        }
        bool is_missed = sample->guess >= 0 &&
                         (drawn->ids[i] != sample->guess || request->finish != ANT_FINISH_NONE);
        if (request->t_first == 0 && (!sample->is_given || request->finish != ANT_FINISH_NONE))
            request->t_first = now;
        if (request->finish != ANT_FINISH_NONE)
            request->t_done = now;
        while (is_missed && i + 1 < counts.n_sampled &&
               ant_sched_sampled(lane->sched, i + 1)->request == request)
            i++;
    }
    atomic_fetch_add_explicit(&engine->output_tokens, n, memory_order_relaxed);
}

/* Steps of all lanes together. */
static int most_in_flight(const struct ant_engine *engine)
{
    return engine->n_lanes * engine->most_in_flight;
}

/* The oldest step, which has run, was of this lane. */
static void end_lane(struct ant_engine *engine, struct lane *lane, const struct ant_drawn *drawn,
                     double seconds)
{
    struct ant_request *request;

    count_step(engine, lane, seconds);
    append_drawn(engine, lane, drawn);
    ant_sched_commit(lane->sched);
    lane->n_in_flight--;
    while ((request = ant_sched_retire(lane->sched))) {
        atomic_fetch_add_explicit(&engine->finished, 1, memory_order_relaxed);
        hand_back(engine, request);
    }
    if (lane->is_open) {
        struct ant_batch draws;
        ant_sched_complete(lane->sched, &draws);
        ant_model_draw(engine->model, &draws);
        lane->is_open = false;
    }
    count_requests(engine);
}

/* Wait for the oldest step. */
static int end_step(struct ant_engine *engine)
{
    int lane = engine->in_flight[engine->first_in_flight];
    struct ant_drawn drawn;

    ANT_TRY(ant_model_wait(engine->model, &drawn, &engine->error));
    double now = ant_now(), seconds = now - engine->last_end;
    engine->last_end = now;
    engine->first_in_flight = (engine->first_in_flight + 1) % most_in_flight(engine);
    engine->n_in_flight--;
    if (lane != COMPANY) {
        end_lane(engine, &engine->lanes[lane], &drawn, seconds);
        return 0;
    }
    add_ns(&engine->idle_ns, seconds);
    atomic_fetch_add_explicit(&engine->company_steps, 1, memory_order_relaxed);
    return 0;
}

static void put_in_flight(struct ant_engine *engine, int lane)
{
    if (engine->n_in_flight == 0)
        engine->last_end = ant_now();
    engine->in_flight[(engine->first_in_flight + engine->n_in_flight++) % most_in_flight(engine)] =
        lane;
}

/* Hand the backend a step of a lane, if there is one. */
static bool begin_lane(struct ant_engine *engine, int i)
{
    struct lane *lane = &engine->lanes[i];
    struct ant_batch batch;

    if (lane->n_in_flight == engine->most_in_flight)
        return false;
    if (atomic_load_explicit(&engine->is_draining, memory_order_relaxed))
        ant_sched_hold(lane->sched);
    else
        take_in(engine);
    if (!ant_sched_plan(lane->sched, &batch))
        return false;
    put_in_flight(engine, i);
    lane->n_in_flight++;
    lane->is_open = batch.is_open;
    ant_model_forward(engine->model, &batch);
    return true;
}

/* Another replica's step needs this one, which has no rows for it. It may have some as soon as its
 * own step in flight has ended: else two replicas could come to take turns with steps of their own.
 * In a pipeline those are the next lane's. */
static bool begin_company(struct ant_engine *engine)
{
    bool may_have_rows = engine->n_lanes == 1 && engine->lanes[0].n_in_flight > 0;

    if (may_have_rows || engine->n_in_flight == most_in_flight(engine) ||
        !ant_model_is_called(engine->model))
        return false;
    put_in_flight(engine, COMPANY);
    ant_model_accompany(engine->model);
    return true;
}

/* The lanes take turns. */
static bool begin_step(struct ant_engine *engine)
{
    for (int i = 0; i < engine->n_lanes; i++) {
        int lane = engine->turn;

        engine->turn = (engine->turn + 1) % engine->n_lanes;
        if (begin_lane(engine, lane))
            return true;
    }
    return begin_company(engine);
}

static bool has_news(void *argument)
{
    struct ant_engine *engine = argument;

    return ant_ring_count(engine->inbox) > 0 || atomic_load(&engine->is_stopping);
}

static int wait_for_request(struct ant_engine *engine)
{
    double start = ant_now();
    int rc = 0;

    if (ant_model_serves(engine->model))
        rc = ant_model_serve(engine->model, NAP_S, has_news, engine, &engine->error);
    else
        ant_ring_wait_item(engine->inbox, NAP_S);
    add_ns(&engine->idle_ns, ant_now() - start);
    return rc < 0 ? rc : ant_model_rest(engine->model, &engine->error);
}

/* Where the backend takes two steps at once, the next is planned and handed over before the one
 * under way is waited for. */
static int lead(struct ant_engine *engine)
{
    int rc = 0;

    while (rc == 0 && !atomic_load(&engine->is_stopping)) {
        serve_gains(engine);
        bool has_begun = begin_step(engine);
        if (engine->n_in_flight == 0)
            rc = wait_for_request(engine);
        else if (!has_begun || engine->n_in_flight == most_in_flight(engine))
            rc = end_step(engine);
    }
    while (rc == 0 && engine->n_in_flight > 0)
        rc = end_step(engine);
    return rc < 0 ? rc : ant_model_dismiss(engine->model, &engine->error);
}

/* Only the first rank of a replica has requests; the others take part in its steps. */
static void *engine_main(void *argument)
{
    struct ant_engine *engine = argument;
    int rc = ant_model_leads(engine->model) ? lead(engine)
                                            : ant_model_follow(engine->model, &engine->error);

    if (rc < 0)
        atomic_store_explicit(&engine->failure, rc, memory_order_release);
    return NULL;
}

static void open_lanes(struct ant_engine *engine)
{
    const struct ant_engine_config *config = &engine->config;
    int n = engine->n_lanes = config->n_lanes > 1 ? config->n_lanes : 1;

    engine->lanes = ant_xcalloc((size_t)n, sizeof(*engine->lanes));
    engine->in_flight = ant_xcalloc((size_t)most_in_flight(engine), sizeof(*engine->in_flight));
    for (int i = 0; i < n; i++) {
        struct ant_engine_config lane = *config;

        lane.max_seqs = lane_seqs(config);
        lane.n_pages = config->n_pages / n;
        lane.first_page = lane.n_pages * i;
        engine->lanes[i].sched = ant_sched_open(&lane);
    }
}

static void close_lanes(struct ant_engine *engine)
{
    for (int i = 0; i < engine->n_lanes; i++)
        ant_sched_close(engine->lanes[i].sched);
    free(engine->lanes);
    free(engine->in_flight);
}

int ant_engine_start(struct ant_engine **out, struct ant_model *model,
                     const struct ant_tokenizer *tokenizer, const struct ant_engine_config *config,
                     struct ant_error *err)
{
    int needed = (config->max_context + ANT_PAGE_TOKENS - 1) / ANT_PAGE_TOKENS;
    int n_pages = config->n_pages / (config->n_lanes > 1 ? config->n_lanes : 1);

    if (n_pages < needed)
        return ant_fail(err, ANT_EUSAGE,
                        "the KV cache has room for %d tokens, one sequence may need %d: lower "
                        "--max-model-len or give more memory",
                        n_pages * ANT_PAGE_TOKENS, config->max_context);
    struct ant_engine *engine = ant_xcalloc(1, sizeof(*engine));
    engine->model = model;
    engine->tokenizer = tokenizer;
    engine->config = *config;
    engine->most_in_flight = config->steps_in_flight > 1 ? ANT_MAX_STEPS_IN_FLIGHT : 1;
    open_lanes(engine);
    engine->inbox = ant_ring_open((size_t)config->max_seqs);
    engine->outbox = ant_ring_open(2 * (size_t)config->max_seqs);
    int rc = pthread_create(&engine->thread, NULL, engine_main, engine);
    if (rc) {
        close_lanes(engine);
        ant_ring_close(engine->inbox);
        ant_ring_close(engine->outbox);
        free(engine);
        return ant_fail(err, ANT_EIO, "cannot start the engine thread: %s", strerror(rc));
    }
    *out = engine;
    return 0;
}

bool ant_engine_submit(struct ant_engine *engine, struct ant_request *request)
{
    return ant_ring_push(engine->inbox, request);
}

int ant_engine_take(struct ant_engine *engine, struct ant_request **out, double seconds,
                    struct ant_error *err)
{
    *out = ant_ring_pop(engine->outbox);
    if (*out)
        return 0;
    int failure = atomic_load_explicit(&engine->failure, memory_order_acquire);
    if (failure < 0)
        return ant_fail(err, failure, "%s", engine->error.text);
    if (seconds > 0) {
        ant_ring_wait_item(engine->outbox, seconds);
        *out = ant_ring_pop(engine->outbox);
    }
    return 0;
}

void ant_engine_drain(struct ant_engine *engine)
{
    atomic_store_explicit(&engine->is_draining, true, memory_order_relaxed);
}

void ant_engine_ask_gains(struct ant_engine *engine)
{
    int none = GAINS_NONE;

    atomic_compare_exchange_strong(&engine->gains_state, &none, GAINS_ASKED);
}

bool ant_engine_take_gains(struct ant_engine *engine, struct ant_gains *out)
{
    if (atomic_load_explicit(&engine->gains_state, memory_order_acquire) != GAINS_READY)
        return false;
    *out = engine->gains;
    engine->gains = (struct ant_gains){0};
    atomic_store_explicit(&engine->gains_state, GAINS_NONE, memory_order_relaxed);
    return true;
}

void ant_engine_stats(const struct ant_engine *engine, struct ant_engine_stats *out)
{
    *out = (struct ant_engine_stats){
        .steps = atomic_load_explicit(&engine->steps, memory_order_relaxed),
        .company_steps = atomic_load_explicit(&engine->company_steps, memory_order_relaxed),
        .prompt_tokens = atomic_load_explicit(&engine->prompt_tokens, memory_order_relaxed),
        .shared_tokens = atomic_load_explicit(&engine->shared_tokens, memory_order_relaxed),
        .output_tokens = atomic_load_explicit(&engine->output_tokens, memory_order_relaxed),
        .finished = atomic_load_explicit(&engine->finished, memory_order_relaxed),
        .preemptions = atomic_load_explicit(&engine->preemptions, memory_order_relaxed),
        .drafted = atomic_load_explicit(&engine->drafted, memory_order_relaxed),
        .accepted = atomic_load_explicit(&engine->accepted, memory_order_relaxed),
        .running = atomic_load_explicit(&engine->running, memory_order_acquire),
        .waiting = atomic_load_explicit(&engine->waiting, memory_order_relaxed),
        .pages_used = atomic_load_explicit(&engine->pages_used, memory_order_relaxed),
        .pages_total = engine->config.n_pages,
        .prefill_s = 1e-9 * (double)atomic_load_explicit(&engine->prefill_ns, memory_order_relaxed),
        .decode_s = 1e-9 * (double)atomic_load_explicit(&engine->decode_ns, memory_order_relaxed),
        .idle_s = 1e-9 * (double)atomic_load_explicit(&engine->idle_ns, memory_order_relaxed),
    };
}

void ant_engine_stop(struct ant_engine *engine)
{
    struct ant_request *request;

    if (!engine)
        return;
    atomic_store(&engine->is_stopping, true);
    ant_ring_wake(engine->inbox);
    pthread_join(engine->thread, NULL);
    while ((request = ant_ring_pop(engine->inbox)))
        ant_request_free(request);
    while ((request = ant_ring_pop(engine->outbox)))
        ant_request_free(request);
    ant_ring_close(engine->inbox);
    ant_ring_close(engine->outbox);
    close_lanes(engine);
    ant_gains_release(&engine->gains);
    free(engine);
}
