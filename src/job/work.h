/* SPDX-License-Identifier: Apache-2.0 */
/* Which rows of the input a replica answers, and which comes next. Pure integers; tested without a
 * launcher. */
#ifndef ANT_JOB_WORK_H
#define ANT_JOB_WORK_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

enum ant_partition {
    ANT_PARTITION_MODULO, /* row % dp_size */
    ANT_PARTITION_BLOCK,  /* consecutive rows, sizes differ by one at most */
    ANT_PARTITION_RANK,   /* the input's own rank column */
};

struct ant_work;

/* The rows of replica `dp_rank` among n_rows. */
struct ant_work *ant_work_open(enum ant_partition partition, int64_t n_rows, int dp_rank,
                               int dp_size);

/* ANT_PARTITION_RANK: the column's values for rows [first, first + n), each part once, in ascending
 * order. A value that is no replica of the job is ANT_EDATA naming the row. */
int ant_work_assign(struct ant_work *work, int64_t first, int64_t n, const int32_t *ranks,
                    struct ant_error *err);

/* Row `row` has its answer already; rows of other replicas are passed over in silence. */
void ant_work_skip(struct ant_work *work, int64_t row);

int64_t ant_work_count(
    const struct ant_work *work); /* rows of this replica, skipped ones included */
int64_t ant_work_left(const struct ant_work *work); /* not yet handed out, not skipped */
int64_t ant_work_next(struct ant_work *work);       /* in ascending order; -1 when there is none */
void ant_work_close(struct ant_work *work);

#endif
