/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "job/work.h"

#include <stdlib.h>

#include "base/mem.h"

/* Rows are first, first + step, ... or, with a rank column, a list. */
struct ant_work {
    int dp_rank, dp_size;
    int64_t first, step, count;
    int64_t *list; /* owned; NULL without a rank column */
    int64_t list_cap;
    uint8_t *is_done; /* owned, one bit a row of this replica */
    int64_t n_done, cursor, n_handed;
};

struct ant_work *ant_work_open(enum ant_partition partition, int64_t n_rows, int dp_rank,
                               int dp_size)
{
    struct ant_work *work = ant_xcalloc(1, sizeof(*work));

    work->dp_rank = dp_rank;
    work->dp_size = dp_size;
    work->step = 1;
    if (partition == ANT_PARTITION_MODULO) {
        work->first = dp_rank;
        work->step = dp_size;
        work->count = n_rows > dp_rank ? (n_rows - dp_rank - 1) / dp_size + 1 : 0;
    } else if (partition == ANT_PARTITION_BLOCK) {
        int64_t base = n_rows / dp_size, rest = n_rows % dp_size;
        work->first = base * dp_rank + (dp_rank < rest ? dp_rank : rest);
        work->count = base + (dp_rank < rest);
    } else {
        work->list_cap = 64;
        work->list = ant_xcalloc((size_t)work->list_cap, sizeof(*work->list));
    }
    return work;
}

int ant_work_assign(struct ant_work *work, int64_t first, int64_t n, const int32_t *ranks,
                    struct ant_error *err)
{
    for (int64_t i = 0; i < n; i++) {
        if (ranks[i] < 0 || ranks[i] >= work->dp_size)
            return ant_fail(err, ANT_EDATA,
                            "row %lld: rank column says %d, the job has replicas 0 to %d",
                            (long long)(first + i), ranks[i], work->dp_size - 1);
        if (ranks[i] != work->dp_rank)
            continue;
        if (work->count == work->list_cap) {
            work->list_cap *= 2;
            work->list = ant_xrealloc(work->list, (size_t)work->list_cap, sizeof(*work->list));
        }
        work->list[work->count++] = first + i;
    }
    return 0;
}

static int64_t row_at(const struct ant_work *work, int64_t i)
{
    return work->list ? work->list[i] : work->first + i * work->step;
}

/* Position of a row among this replica's, or -1. */
static int64_t find(const struct ant_work *work, int64_t row)
{
    int64_t low = 0, high = work->count;

    while (low < high) {
        int64_t middle = low + (high - low) / 2;
        if (row_at(work, middle) < row)
            low = middle + 1;
        else
            high = middle;
    }
    return low < work->count && row_at(work, low) == row ? low : -1;
}

static bool is_done(const struct ant_work *work, int64_t i)
{
    return work->is_done && work->is_done[i / 8] >> (i % 8) & 1;
}

void ant_work_skip(struct ant_work *work, int64_t row)
{
    int64_t i = find(work, row);

    if (i < work->cursor || is_done(work, i))
        return;
    if (!work->is_done)
        work->is_done = ant_xcalloc((size_t)(work->count + 7) / 8, 1);
    work->is_done[i / 8] |= (uint8_t)(1u << (i % 8));
    work->n_done++;
}

int64_t ant_work_count(const struct ant_work *work)
{
    return work->count;
}

int64_t ant_work_left(const struct ant_work *work)
{
    return work->count - work->n_done - work->n_handed;
}

int64_t ant_work_next(struct ant_work *work)
{
    while (work->cursor < work->count && is_done(work, work->cursor))
        work->cursor++;
    if (work->cursor == work->count)
        return -1;
    work->n_handed++;
    return row_at(work, work->cursor++);
}

void ant_work_close(struct ant_work *work)
{
    if (!work)
        return;
    free(work->list);
    free(work->is_done);
    free(work);
}
