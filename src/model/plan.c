/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "model/plan.h"

#include <stdlib.h>
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

/* ---- draws ----------------------------------------------------------------------------------- */

/* Behind the plan: the draws as they are in memory, then where the lists of each begin, counted in
 * bytes from the first draw, then the masks of the step, then the lists. */
struct lists {
    uint64_t banned, edits, masks, mask; /* masks: those of the step */
};

enum { ALIGNMENT = 16, LOOK_BACK = 8 };

static size_t aligned(size_t bytes)
{
    return (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

/* Add a list; returns where it is, from `start` on. */
static uint64_t add_list(struct ant_buf *body, size_t start, const void *list, size_t bytes)
{
    size_t gap = aligned(body->len) - body->len;

    if (gap > 0)
        memset(ant_buf_grow(body, gap), 0, gap);
    uint64_t at = body->len - start;
    if (bytes > 0)
        ant_buf_add(body, list, bytes);
    return at;
}

/* Rows mostly ban the same ids, by the same list: a draw before this one that has it, else -1. */
static int find_banned(const struct ant_draw *draws, int i)
{
    for (int k = i - 1; k >= 0 && k >= i - LOOK_BACK; k--)
        if (draws[k].banned == draws[i].banned && draws[k].n_banned == draws[i].n_banned)
            return k;
    return -1;
}

void ant_plan_add_draws(struct ant_plan_head *head, const struct ant_batch *batch,
                        size_t mask_words, struct ant_buf *body)
{
    size_t n = (size_t)batch->n_sampled, start = aligned(body->len);
    struct lists *lists = ant_xcalloc(n + 1, sizeof(*lists));

    add_list(body, start, batch->draws, n * sizeof(*batch->draws));
    uint64_t at = add_list(body, start, lists, (n + 1) * sizeof(*lists));
    lists[n].masks = add_list(body, start, batch->masks,
                              (size_t)batch->n_masks * mask_words * sizeof(*batch->masks));
    for (int i = 0; i < batch->n_sampled; i++) {
        const struct ant_draw *draw = &batch->draws[i];
        int same = find_banned(batch->draws, i);
        lists[i].banned = same >= 0 ? lists[same].banned
                                    : add_list(body, start, draw->banned,
                                               (size_t)draw->n_banned * sizeof(*draw->banned));
        lists[i].edits =
            add_list(body, start, draw->edits, (size_t)draw->n_edits * sizeof(*draw->edits));
        if (draw->mask)
            lists[i].mask =
                lists[n].masks + (uint64_t)(draw->mask - batch->masks) * sizeof(*draw->mask);
    }
    memcpy(body->data + start + at, lists, (n + 1) * sizeof(*lists));
    free(lists);
    head->n_masks = batch->n_masks;
    head->draw_bytes = (int64_t)(body->len - ant_plan_bytes(head));
}

void ant_plan_read_draws(const struct ant_plan_head *head, void *data, struct ant_batch *batch)
{
    char *start = (char *)data + aligned(ant_plan_bytes(head));
    size_t n = (size_t)head->n_sampled;
    struct ant_draw *draws = (struct ant_draw *)(void *)start;
    const struct lists *lists = (const void *)(start + aligned(n * sizeof(*draws)));

    for (size_t i = 0; i < n; i++) {
        draws[i].banned = (const void *)(start + lists[i].banned);
        draws[i].edits = (const void *)(start + lists[i].edits);
        draws[i].mask = draws[i].mask ? (const void *)(start + lists[i].mask) : NULL;
    }
    batch->draws = draws;
    batch->masks = (const void *)(start + lists[n].masks);
    batch->n_masks = head->n_masks;
}
