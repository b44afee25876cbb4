/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "job/work.h"

#include <stdbool.h>
#include <stdlib.h>

#include "base/mem.h"

enum {
    LOOKS = 32,      /* others looked at together, to find the one with most left */
    SHARE = 4,       /* one part in so many of what is left is taken at once */
    LEAST_AHEAD = 2, /* rows ready while the last ones run */
};

/* A queue as it is known here. It may have been taken further since, never less far. */
struct view {
    int64_t taken;
    int64_t adding;  /* under way: 0 to look, more to take */
    bool is_pending; /* an addition to its counter is under way */
    bool is_fresh;   /* looked at since the last choice */
};

/* Rows [next, end) of a queue that are taken and not begun. */
struct range {
    int replica;
    int64_t next, end;
};

struct ant_work {
    const struct ant_deal *deal;
    struct ant_counters *counters;
    int replica, n, ranks_each;
    struct view *views; /* (n), owned */
    int pending[LOOKS], n_pending;
    int looked;           /* the replica looked at last */
    struct range *ranges; /* (n_ranges), owned */
    int n_ranges, most_ranges;
    int64_t n_stolen;
};

struct ant_work *ant_work_open(const struct ant_deal *deal, int replica,
                               struct ant_counters *counters, int ranks_each)
{
    struct ant_work *work = ant_xcalloc(1, sizeof(*work));

    work->deal = deal;
    work->counters = counters;
    work->replica = work->looked = replica;
    work->n = ant_deal_size(deal);
    work->ranks_each = ranks_each;
    work->views = ant_xcalloc((size_t)work->n, sizeof(*work->views));
    return work;
}

void ant_work_close(struct ant_work *work)
{
    if (!work)
        return;
    free(work->views);
    free(work->ranges);
    free(work);
}

int64_t ant_work_stolen(const struct ant_work *work)
{
    return work->n_stolen;
}

static int64_t left(const struct ant_work *work, int replica)
{
    int64_t count = ant_deal_count(work->deal, replica), taken = work->views[replica].taken;

    return count > taken ? count - taken : 0;
}

static int level(const struct ant_work *work, int replica)
{
    return ant_deal_level(work->deal, replica, work->views[replica].taken);
}

int64_t ant_work_ahead(const struct ant_work *work, int64_t most)
{
    int64_t most_left = left(work, work->replica);
    bool is_dry = most_left == 0;

    if (!work->counters)
        return most;
    for (int i = 0; is_dry && i < work->n; i++)
        if (left(work, i) > most_left)
            most_left = left(work, i);
    int64_t ahead = most_left / SHARE > LEAST_AHEAD ? most_left / SHARE : LEAST_AHEAD;
    return ahead < most ? ahead : most;
}

int64_t ant_work_left(struct ant_work *work)
{
    int64_t sum;

    if (work->counters)
        work->views[work->replica].taken = ant_counters_add(work->counters, 0);
    sum = left(work, work->replica);
    for (int i = 0; i < work->n_pending; i++)
        sum += work->views[work->pending[i]].adding;
    for (int i = 0; i < work->n_ranges; i++)
        sum += work->ranges[i].end - work->ranges[i].next;
    return sum;
}

/* ---- taking ---------------------------------------------------------------------------------- */

/* A part of what is left, so that others find some too. */
static int64_t portion(const struct ant_work *work, int replica, int64_t want)
{
    int64_t part = left(work, replica) / SHARE;

    if (part > want)
        part = want;
    return part > 0 ? part : 1;
}

/* The queue was taken from `before` on by n rows, by us. */
static void keep(struct ant_work *work, int replica, int64_t before, int64_t n)
{
    int64_t count = ant_deal_count(work->deal, replica);
    int64_t end = before + n < count ? before + n : count;

    work->views[replica].taken = before + n;
    if (before >= end)
        return;
    if (work->n_ranges == work->most_ranges) {
        work->most_ranges = 2 * work->most_ranges + 4;
        work->ranges = ant_xrealloc(work->ranges, (size_t)work->most_ranges, sizeof(*work->ranges));
    }
    work->ranges[work->n_ranges++] = (struct range){replica, before, end};
    if (replica != work->replica)
        work->n_stolen += end - before;
}

static void take_own(struct ant_work *work, int64_t want)
{
    int64_t n = work->counters ? portion(work, work->replica, want) : 1;
    int64_t before =
        work->counters ? ant_counters_add(work->counters, n) : work->views[work->replica].taken;

    keep(work, work->replica, before, n);
}

static void begin(struct ant_work *work, int replica, int64_t n)
{
    struct view *view = &work->views[replica];

    view->is_pending = true;
    view->adding = n;
    work->pending[work->n_pending++] = replica;
    ant_counters_begin(work->counters, replica * work->ranks_each, n);
}

/* What has been answered of that which was begun. */
static int settle(struct ant_work *work, struct ant_error *err)
{
    int n = 0;

    for (int i = 0; i < work->n_pending; i++) {
        int replica = work->pending[i];
        struct view *view = &work->views[replica];
        int64_t before = 0;
        int rc = ant_counters_poll(work->counters, replica * work->ranks_each, &before, err);
        if (rc < 0)
            return rc;
        if (rc == 0) {
            work->pending[n++] = replica;
            continue;
        }
        view->is_pending = false;
        view->is_fresh = view->adding == 0;
        keep(work, replica, before, view->adding);
    }
    work->n_pending = n;
    return 0;
}

/* ---- choosing -------------------------------------------------------------------------------- */

/* The highest level that may be left in the queues of others. */
static int level_of_others(const struct ant_work *work)
{
    int best = ANT_DEAL_LEVELS;

    for (int i = 0; work->counters && i < work->n && best > 0; i++)
        if (i != work->replica && level(work, i) < best)
            best = level(work, i);
    return best;
}

/* Among what was taken the range of the highest level; NULL if there is none. */
static struct range *best_range(struct ant_work *work, int *best)
{
    struct range *found = NULL;

    *best = ANT_DEAL_LEVELS;
    for (int i = 0; i < work->n_ranges; i++) {
        struct range *range = &work->ranges[i];
        int at = ant_deal_level(work->deal, range->replica, range->next);
        if (at < *best) {
            *best = at;
            found = range;
        }
    }
    return found;
}

/* Look at queues that may hold rows of this level, going round from where the last look ended. */
static void look(struct ant_work *work, int wanted)
{
    int from = work->looked;

    for (int k = 1; k <= work->n && work->n_pending < LOOKS; k++) {
        int i = (from + k) % work->n;
        if (i == work->replica || level(work, i) != wanted)
            continue;
        begin(work, i, 0);
        work->looked = i;
    }
}

/* Of the queues just looked at, take from the one with most left of this level; false if none has
 * any. */
static bool steal(struct ant_work *work, int wanted, int64_t want)
{
    int best = -1;

    for (int i = 0; i < work->n; i++) {
        bool is_candidate = work->views[i].is_fresh && level(work, i) == wanted;
        work->views[i].is_fresh = false;
        if (is_candidate && (best < 0 || left(work, i) > left(work, best)))
            best = i;
    }
    if (best >= 0)
        begin(work, best, portion(work, best, want));
    return best >= 0;
}

static void hand_out(struct ant_work *work, struct range *range, int64_t *row)
{
    *row = ant_deal_row(work->deal, range->replica, range->next++);
    if (range->next == range->end)
        *range = work->ranges[--work->n_ranges];
}

int ant_work_next(struct ant_work *work, int64_t want, int64_t *row, struct ant_error *err)
{
    for (;;) {
        int others = level_of_others(work), here, own = level(work, work->replica);
        struct range *range = best_range(work, &here);
        if (range && here <= own && here <= others) {
            hand_out(work, range, row);
            return ANT_WORK_ROW;
        }
        if (own < ANT_DEAL_LEVELS && own <= others) {
            take_own(work, want);
            continue;
        }
        if (others == ANT_DEAL_LEVELS)
            return ANT_WORK_NONE;
        if (work->n_pending == 0 && !steal(work, others, want))
            look(work, others);
        ANT_TRY(settle(work, err));
        if (work->n_pending > 0)
            return ANT_WORK_LATER;
    }
}
