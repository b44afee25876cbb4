/* SPDX-License-Identifier: Apache-2.0 */
/* Which row a replica begins next: of its own queue, or, when that has run dry, of the queue of the
 * replica that has most left ("stealing").
 *
 * How far a queue has been taken is one counter of its owner's that all add to; whoever adds gets
 * the rows that he has moved it past. So nobody serves, and nobody waits for anybody but himself.
 * Rows of a higher level (deal.h) go first in the whole job: a replica that would begin a lower one
 * looks for higher ones of others before. Rows that were taken are begun by whoever took them, so
 * only as many are taken as can be begun soon. Thread: control. */
#ifndef ANT_JOB_WORK_H
#define ANT_JOB_WORK_H

#include <stdint.h>

#include "base/error.h"
#include "job/counter.h"
#include "job/deal.h"

struct ant_work;

/* The rows of `replica`, whose first rank is replica * ranks_each in the group of `counters`. Both
 * are borrowed until the end. Counters NULL: nobody steals. */
struct ant_work *ant_work_open(const struct ant_deal *deal, int replica,
                               struct ant_counters *counters, int ranks_each);
void ant_work_close(struct ant_work *work);

/* The next row to begin; `want`: how many could be begun right now, at least 1. */
enum ant_work_answer {
    ANT_WORK_NONE,  /* no row is left in the whole job, or in the own queue when nobody steals */
    ANT_WORK_ROW,   /* *row */
    ANT_WORK_LATER, /* others have rows, which are on their way: ask again soon */
};
int ant_work_next(struct ant_work *work, int64_t want, int64_t *row, struct ant_error *err);

/* How many rows should be taken ahead of what runs, of `most` that could be: all of them as long as
 * plenty is left, few near the end, so that they stay where others can take them. */
int64_t ant_work_ahead(const struct ant_work *work, int64_t most);

/* Rows of the own queue that nobody has taken, and those taken here (or on their way) and not
 * begun: the sum over all replicas is 0 when every row has been begun. */
int64_t ant_work_left(struct ant_work *work);

int64_t ant_work_stolen(const struct ant_work *work); /* rows taken from others so far */

#endif
