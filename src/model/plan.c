/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "model/plan.h"

#include <string.h>

/* The arrays of a batch in the order they travel, all of int32. */
enum { N_ARRAYS = 7 };

static void list_arrays(const struct ant_plan_head *head, const struct ant_batch *batch,
                        const int32_t *arrays[N_ARRAYS], size_t lengths[N_ARRAYS])
{
    const int32_t *pointers[N_ARRAYS] = {batch->tokens,  batch->positions,  batch->row_start,
                                         batch->context, batch->page_start, batch->pages,
                                         batch->sampled};
    const int32_t counts[N_ARRAYS] = {head->n_rows,   head->n_rows,     head->n_seqs + 1,
                                      head->n_seqs,   head->n_seqs + 1, head->n_pages,
                                      head->n_sampled};

    for (int i = 0; i < N_ARRAYS; i++) {
        arrays[i] = pointers[i];
        lengths[i] = (size_t)counts[i];
    }
}

struct ant_plan_head ant_plan_head(const struct ant_batch *batch)
{
    return (struct ant_plan_head){
        .kind = ANT_PLAN_STEP,
        .n_rows = batch->n_rows,
        .n_seqs = batch->n_seqs,
        .n_sampled = batch->n_sampled,
        .n_pages = batch->page_start[batch->n_seqs],
    };
}

size_t ant_plan_bytes(const struct ant_plan_head *head)
{
    return sizeof(int32_t) * (2 * (size_t)head->n_rows + 3 * (size_t)head->n_seqs + 2 +
                              (size_t)head->n_pages + (size_t)head->n_sampled);
}

void ant_plan_write(const struct ant_batch *batch, void *out)
{
    const struct ant_plan_head head = ant_plan_head(batch);
    const int32_t *arrays[N_ARRAYS];
    size_t lengths[N_ARRAYS];
    int32_t *to = out;

    list_arrays(&head, batch, arrays, lengths);
    for (int i = 0; i < N_ARRAYS; to += lengths[i++])
        if (lengths[i] > 0)
            memcpy(to, arrays[i], lengths[i] * sizeof(*to));
}

void ant_plan_read(const struct ant_plan_head *head, const void *data, struct ant_batch *out)
{
    const struct ant_batch nothing = {0};
    const int32_t *arrays[N_ARRAYS], *from = data;
    size_t lengths[N_ARRAYS];

    list_arrays(head, &nothing, arrays, lengths);
    for (int i = 0; i < N_ARRAYS; from += lengths[i++])
        arrays[i] = from;
    *out = (struct ant_batch){
        .n_rows = head->n_rows,
        .n_seqs = head->n_seqs,
        .n_sampled = head->n_sampled,
        .tokens = arrays[0],
        .positions = arrays[1],
        .row_start = arrays[2],
        .context = arrays[3],
        .page_start = arrays[4],
        .pages = arrays[5],
        .sampled = arrays[6],
    };
}
