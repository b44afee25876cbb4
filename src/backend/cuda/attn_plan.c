/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "backend/cuda/attn_plan.h"

#include <stdlib.h>

_Static_assert((int)KERN_PAGE_TOKENS == (int)ANT_PAGE_TOKENS, "one size of page");

enum { COST_KEYS = 64, COSTS = KERN_CHUNK_KEYS / COST_KEYS };

static int ceil_div(int a, int b)
{
    return (a + b - 1) / b;
}

struct ant_attn_bound ant_attn_bound(int max_rows, int max_seqs, int max_context, int group)
{
    int chunks = max_seqs * ceil_div(max_context, KERN_CHUNK_KEYS);

    return (struct ant_attn_bound){
        .n_decode = chunks,
        .n_prefill = max_seqs + max_rows * group / KERN_PREFILL_ROWS + 1,
        .n_partials = chunks,
        .n_least = ceil_div(max_context, KERN_CHUNK_KEYS),
    };
}

static struct kern_attn_item item_of(const struct ant_batch *batch, int seq)
{
    return (struct kern_attn_item){
        .row = batch->row_start[seq],
        .n_rows = batch->row_start[seq + 1] - batch->row_start[seq],
        .context = batch->context[seq],
        .page = batch->page_start[seq],
        .n_parts = 1,
    };
}

/* First key of the chunk where the sequence's oldest row begins to see. */
static int first_key(const struct kern_attn_item *item, int window)
{
    int from = window ? item->context - item->n_rows + 1 - window : 0;

    return from > 0 ? from / KERN_CHUNK_KEYS * KERN_CHUNK_KEYS : 0;
}

static int cost_of(const struct kern_attn_item *item, int key)
{
    int keys = item->context - key;

    return keys >= KERN_CHUNK_KEYS ? COSTS - 1 : ceil_div(keys, COST_KEYS) - 1;
}

static bool is_decode(const struct kern_attn_item *item, int group)
{
    return item->n_rows > 0 && item->n_rows * group <= KERN_DECODE_ROWS;
}

static int n_chunks(const struct kern_attn_item *item, int window)
{
    return ceil_div(item->context - first_key(item, window), KERN_CHUNK_KEYS);
}

/* First sequence after those from `first` on whose partial results fit the room together. */
static int end_of_round(const struct ant_attn_plan *plan, const struct ant_batch *batch, int first,
                        int group, int window)
{
    int n_partials = 0, seq = first;

    for (; seq < batch->n_seqs; seq++) {
        struct kern_attn_item item = item_of(batch, seq);
        int n = is_decode(&item, group) ? n_chunks(&item, window) : 0;
        if (n > 1 && seq > first && n_partials + n > plan->max_partials)
            break;
        n_partials += n > 1 ? n : 0;
    }
    return seq;
}

/* Chunks of the sequences of few rows among [first, end), sorted by counting: `place` holds the
 * number of items of each cost, then where the next of each goes. */
static void plan_round(struct ant_attn_plan *plan, const struct ant_batch *batch, int first,
                       int end, int group, int window)
{
    int place[COSTS] = {0}, next = plan->n_decode, n_partials = 0;

    for (int pass = 0; pass < 2; pass++) {
        for (int seq = first; seq < end; seq++) {
            struct kern_attn_item item = item_of(batch, seq);
            if (!is_decode(&item, group))
                continue;
            item.n_parts = n_chunks(&item, window);
            item.part = item.part_first = n_partials;
            for (item.first = first_key(&item, window); item.first < item.context;
                 item.first += KERN_CHUNK_KEYS) {
                int cost = cost_of(&item, item.first);
                if (pass == 0)
                    place[cost]++;
                else
                    plan->decode[place[cost]++] = item;
                item.part += item.n_parts > 1;
            }
            if (pass == 1)
                n_partials = item.part;
        }
        for (int cost = COSTS - 1; pass == 0 && cost >= 0; cost--) {
            int n = place[cost];
            place[cost] = next;
            next += n;
        }
    }
    plan->n_decode = next;
    if (n_partials > plan->n_partials)
        plan->n_partials = n_partials;
}

static void plan_decode(struct ant_attn_plan *plan, const struct ant_batch *batch, int group,
                        int window)
{
    for (int seq = 0, end; seq < batch->n_seqs; seq = end) {
        int before = plan->n_decode;
        end = end_of_round(plan, batch, seq, group, window);
        plan_round(plan, batch, seq, end, group, window);
        if (plan->n_decode > before)
            plan->round_end[plan->n_rounds++] = plan->n_decode;
    }
}

/* Keys that an item of the prefill kernel reads. */
static int reach(const struct kern_attn_item *item)
{
    return item->n_parts;
}

static int by_reach(const void *a, const void *b)
{
    const struct kern_attn_item *x = a, *y = b;

    if (reach(x) != reach(y))
        return reach(x) < reach(y) ? 1 : -1;
    if (x->row != y->row)
        return x->row < y->row ? -1 : 1;
    return x->first < y->first ? -1 : 1;
}

static void plan_prefill(struct ant_attn_plan *plan, const struct ant_batch *batch, int group,
                         int window)
{
    for (int seq = 0; seq < batch->n_seqs; seq++) {
        struct kern_attn_item item = item_of(batch, seq);
        if (item.n_rows * group <= KERN_DECODE_ROWS)
            continue;
        for (item.first = 0; item.first < item.n_rows * group; item.first += KERN_PREFILL_ROWS) {
            int last = (item.first + KERN_PREFILL_ROWS - 1) / group;
            int keys = item.context - item.n_rows + (last < item.n_rows ? last + 1 : item.n_rows);
            item.n_parts = window && keys > window + KERN_PREFILL_ROWS ? window : keys;
            plan->prefill[plan->n_prefill++] = item;
        }
    }
    qsort(plan->prefill, (size_t)plan->n_prefill, sizeof(*plan->prefill), by_reach);
}

void ant_attn_plan(struct ant_attn_plan *plan, const struct ant_batch *batch, int group, int window)
{
    plan->n_decode = plan->n_prefill = plan->n_rounds = plan->n_partials = 0;
    plan_decode(plan, batch, group, window);
    plan_prefill(plan, batch, group, window);
}
