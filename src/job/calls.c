/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "job/calls.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "job/group_internal.h"

/* Comes before the counts and the rows, as a post. */
struct head {
    int32_t subject, n_rows;
};

/* A member that waits for an answer. It has one call under way at most. */
struct caller {
    int from; /* group rank */
    struct head head;
};

struct ant_calls {
    struct ant_group *group;
    struct ant_watch *watch; /* the group's */
    struct ant_calls_config config;
    struct ant_flight asked; /* this member's calls and their answers */

    struct caller *queue; /* owned (size), in the order they came */
    int n_queue;
    /* Those at hand: first their rows come, then the answers go. */
    enum { IDLE, RECEIVES, ANSWERS } state;
    struct caller *callers; /* owned (size) */
    struct ant_call *calls; /* owned (size) */
    int32_t *counts;        /* owned (size, n_bins) */
    int n_calls;
    struct ant_flight work;
    int64_t served;
};

/* ---- serving --------------------------------------------------------------------------------- */

static int find_member(const struct ant_watch *watch, int world_rank)
{
    int i = 0;

    while (watch->ranks[i] != world_rank)
        i++;
    return i;
}

static int check_head(const struct ant_calls *calls, const struct ant_post *post, struct head head,
                      struct ant_error *err)
{
    if (post->bytes == sizeof(head) && head.n_rows > 0 && head.n_rows <= calls->config.max_rows &&
        calls->n_queue < calls->watch->n)
        return 0;
    return ant_fail(err, ANT_EPEER,
                    "rank %d (%s) sends %d rows of experts, %d at most are expected: the ranks "
                    "disagree about what they do together",
                    post->from, calls->watch->cards[post->from].node_name, head.n_rows,
                    calls->config.max_rows);
}

static int hear_callers(struct ant_calls *calls, struct ant_error *err)
{
    struct ant_post *post;
    int rc = 0;

    while (rc == 0 && (post = ant_watch_take_post(calls->watch))) {
        struct head head = {0};

        memcpy(&head, post->data, sizeof(head));
        rc = check_head(calls, post, head, err);
        if (rc == 0)
            calls->queue[calls->n_queue++] =
                (struct caller){find_member(calls->watch, post->from), head};
        free(post);
    }
    return rc;
}

/* The oldest call and all about the same subject that there is room for: what is common to their
 * rows is done once. */
static void receive_rows(struct ant_calls *calls)
{
    size_t n_bins = (size_t)calls->config.n_bins;
    int subject = calls->queue[0].head.subject, used = 0, n_left = 0;

    calls->n_calls = 0;
    for (int i = 0; i < calls->n_queue; i++) {
        struct caller caller = calls->queue[i];
        int rank = calls->watch->ranks[caller.from], n = calls->n_calls;
        uint64_t tag = ant_group_tag(calls->group, ANT_LINE_CALL, caller.from);
        int32_t *counts = calls->counts + (size_t)n * n_bins;
        float *rows = calls->config.room + (size_t)used * calls->config.row_floats;
        size_t bytes = (size_t)caller.head.n_rows * calls->config.row_floats * sizeof(float);

        if (caller.head.subject != subject || caller.head.n_rows > calls->config.max_rows - used) {
            calls->queue[n_left++] = caller;
            continue;
        }
        ant_flight_receive(&calls->work, rank, tag, counts, n_bins * sizeof(*counts));
        ant_flight_receive(&calls->work, rank, tag, rows, bytes);
        calls->callers[n] = caller;
        calls->calls[n] = (struct ant_call){counts, rows};
        calls->n_calls++;
        used += caller.head.n_rows;
    }
    calls->n_queue = n_left;
    calls->state = RECEIVES;
}

static int check_counts(const struct ant_calls *calls, int i, struct ant_error *err)
{
    const struct caller *caller = &calls->callers[i];
    int64_t n = 0;
    int rank = calls->watch->ranks[caller->from];

    for (int bin = 0; bin < calls->config.n_bins; bin++)
        n += calls->calls[i].counts[bin] >= 0 ? calls->calls[i].counts[bin] : INT32_MAX;
    if (n == caller->head.n_rows)
        return 0;
    return ant_fail(err, ANT_EPEER, "rank %d (%s) sends %d rows of experts but counts %lld", rank,
                    calls->watch->cards[rank].node_name, caller->head.n_rows, (long long)n);
}

static int answer(struct ant_calls *calls, struct ant_error *err)
{
    for (int i = 0; i < calls->n_calls; i++)
        ANT_TRY(check_counts(calls, i, err));
    ANT_TRY(calls->config.serve(calls->config.arg, calls->callers[0].head.subject, calls->calls,
                                calls->n_calls, err));
    for (int i = 0; i < calls->n_calls; i++) {
        const struct caller *caller = &calls->callers[i];
        int n_rows = caller->head.n_rows;

        ant_flight_send(&calls->work, calls->watch->ranks[caller->from],
                        ant_group_tag(calls->group, ANT_LINE_ANSWER, calls->watch->me),
                        calls->calls[i].rows,
                        (size_t)n_rows * calls->config.row_floats * sizeof(float));
        calls->served += n_rows;
    }
    calls->state = ANSWERS;
    return 0;
}

/* One look at what has come in; never waits. 1: something was done. */
static int serve(void *arg, struct ant_error *err)
{
    struct ant_calls *calls = arg;

    ANT_TRY(hear_callers(calls, err));
    if (calls->state == IDLE && calls->n_queue > 0)
        receive_rows(calls);
    if (calls->state == IDLE)
        return 0;
    int rc = ant_flight_poll(&calls->work, err);
    if (rc <= 0)
        return rc;
    if (calls->state == RECEIVES)
        ANT_TRY(answer(calls, err));
    else
        calls->state = IDLE;
    return 1;
}

/* ---- calling --------------------------------------------------------------------------------- */

void ant_calls_send(struct ant_calls *calls, int to, int subject, const int32_t *counts, int n_bins,
                    const float *rows, int n_rows, float *answers)
{
    struct head head = {subject, n_rows};
    int rank = calls->watch->ranks[to];
    uint64_t tag = ant_group_tag(calls->group, ANT_LINE_CALL, calls->watch->me);
    size_t bytes = (size_t)n_rows * calls->config.row_floats * sizeof(float);

    ant_group_post(calls->group, to, &head, sizeof(head));
    ant_flight_send(&calls->asked, rank, tag, counts, (size_t)n_bins * sizeof(*counts));
    ant_flight_send(&calls->asked, rank, tag, rows, bytes);
    ant_flight_receive(&calls->asked, rank, ant_group_tag(calls->group, ANT_LINE_ANSWER, to),
                       answers, bytes);
}

int ant_calls_wait(struct ant_calls *calls, double timeout, struct ant_error *err)
{
    return ant_watch_wait(calls->watch, &calls->asked, "exchange of rows for experts", timeout,
                          err);
}

int64_t ant_calls_served(const struct ant_calls *calls)
{
    return calls->served;
}

/* ---- open and close -------------------------------------------------------------------------- */

int ant_calls_open(struct ant_calls **out, struct ant_group *group,
                   const struct ant_calls_config *config, struct ant_error *err)
{
    struct ant_watch *watch = ant_group_watch(group);
    struct ant_service *service = &ant_transport_watches(watch->transport)->service;
    size_t n = (size_t)watch->n;

    if (service->serve)
        return ant_fail(err, ANT_EBUG, "a second set of calls over one transport");
    struct ant_calls *calls = ant_xcalloc(1, sizeof(*calls));
    calls->group = group;
    calls->watch = watch;
    calls->config = *config;
    calls->asked.transport = calls->work.transport = watch->transport;
    calls->queue = ant_xcalloc(n, sizeof(*calls->queue));
    calls->callers = ant_xcalloc(n, sizeof(*calls->callers));
    calls->calls = ant_xcalloc(n, sizeof(*calls->calls));
    calls->counts = ant_xcalloc(n * (size_t)config->n_bins, sizeof(*calls->counts));
    *service = (struct ant_service){serve, calls};
    *out = calls;
    return 0;
}

/* What is still under way belongs to a run that has failed. */
static void end_flight(struct ant_flight *flight)
{
    if (flight->count > flight->landed)
        ant_flight_abandon(flight);
    ant_flight_release(flight);
}

void ant_calls_close(struct ant_calls *calls)
{
    if (!calls)
        return;
    ant_transport_watches(calls->watch->transport)->service = (struct ant_service){0};
    end_flight(&calls->asked);
    end_flight(&calls->work);
    free(calls->queue);
    free(calls->callers);
    free(calls->calls);
    free(calls->counts);
    free(calls);
}
