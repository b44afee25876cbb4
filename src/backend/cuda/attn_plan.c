/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "backend/cuda/attn_plan.h"

#include <stdlib.h>
#include <string.h>

_Static_assert((int)KERN_PAGE_TOKENS == (int)ANT_PAGE_TOKENS, "one size of page");

enum { COST_KEYS = 64, COSTS = KERN_CHUNK_KEYS / COST_KEYS };
enum { CHUNK_PAGES = KERN_CHUNK_KEYS / KERN_PAGE_TOKENS };
enum { MIN_SHARED = 4 }; /* sequences: fewer are as well served each alone */

static int ceil_div(int a, int b)
{
    return (a + b - 1) / b;
}

/* Rows of partial results: an even number, so that each begins at 16 bytes. */
static int even(int rows)
{
    return (rows + 1) / 2 * 2;
}

struct ant_attn_bound ant_attn_bound(int max_rows, int max_seqs, int max_context, int group)
{
    int chunks = max_seqs * ceil_div(max_context, KERN_CHUNK_KEYS);

    return (struct ant_attn_bound){
        .n_decode = chunks,
        .n_prefill = max_seqs + max_rows * group / KERN_PREFILL_ROWS + 1,
        .n_partials = chunks,
        .n_least = ceil_div(max_context, KERN_CHUNK_KEYS),
        .n_shared = chunks / MIN_SHARED + 1,
        .n_members = chunks,
        .least_rows = even(group),
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

/* ---- shared chunks --------------------------------------------------------------------------- */

/* Chunks from key 0 on that a sequence of one row sees whole, its own token not among them. */
static int n_whole(const struct kern_attn_item *item)
{
    return item->n_rows == 1 ? (item->context - 1) / KERN_CHUNK_KEYS : 0;
}

static bool has_same_pages(const struct ant_batch *batch, int a, int b, int chunk)
{
    const int32_t *pages = batch->pages + chunk * CHUNK_PAGES;

    return a == b || memcmp(pages + batch->page_start[a], pages + batch->page_start[b],
                            CHUNK_PAGES * sizeof(*pages)) == 0;
}

/* The mark of a sequence's chunk when it is the one that others have, too; NULL otherwise. */
static struct ant_attn_mark *find_mark(const struct ant_attn_plan *plan,
                                       const struct ant_batch *batch, int seq, int chunk)
{
    int32_t page = batch->pages[batch->page_start[seq] + chunk * CHUNK_PAGES];
    struct ant_attn_mark *mark = &plan->marks[page];

    return mark->stamp == plan->stamp && mark->chunk == chunk &&
                   has_same_pages(batch, seq, mark->leader, chunk)
               ? mark
               : NULL;
}

/* Count who has which chunk. False when nothing is to be shared. */
static bool mark_chunks(struct ant_attn_plan *plan, const struct ant_batch *batch, int group)
{
    bool is_shared = false;
    int n_partials = 0;

    plan->stamp++;
    for (int seq = 0; seq < batch->n_seqs; seq++) {
        struct kern_attn_item item = item_of(batch, seq);
        int n = is_decode(&item, group) ? n_chunks(&item, 0) : 0;
        n_partials += n > 1 ? n : 0;
        for (int chunk = 0; chunk < n_whole(&item); chunk++) {
            int32_t page = batch->pages[item.page + chunk * CHUNK_PAGES];
            struct ant_attn_mark *mark = find_mark(plan, batch, seq, chunk);
            if (mark)
                is_shared = ++mark->n >= MIN_SHARED || is_shared;
            else if (plan->marks[page].stamp != plan->stamp)
                plan->marks[page] =
                    (struct ant_attn_mark){plan->stamp, chunk, seq, .n = 1, .next = -1};
        }
    }
    return is_shared && n_partials <= plan->room;
}

/* The items of a chunk's members, and room for these. */
static void open_shared(struct ant_attn_plan *plan, const struct ant_batch *batch,
                        struct ant_attn_mark *mark, int group)
{
    int most = KERN_PREFILL_ROWS / group;

    mark->next = plan->n_members;
    plan->n_members += mark->n;
    for (int i = 0; i < mark->n; i += most)
        plan->shared[plan->n_shared++] = (struct kern_attn_item){
            .first = mark->next + i,
            .n_rows = mark->n - i < most ? mark->n - i : most,
            .page = batch->page_start[mark->leader] + mark->chunk * CHUNK_PAGES,
        };
}

/* The mark of a chunk that is computed for several sequences at once; NULL when it is not. */
static struct ant_attn_mark *find_shared(const struct ant_attn_plan *plan,
                                         const struct ant_batch *batch, int seq,
                                         const struct kern_attn_item *item, int chunk)
{
    struct ant_attn_mark *mark = chunk < n_whole(item) ? find_mark(plan, batch, seq, chunk) : NULL;

    return mark && mark->n >= MIN_SHARED ? mark : NULL;
}

static int count_shared(const struct ant_attn_plan *plan, const struct ant_batch *batch, int seq,
                        const struct kern_attn_item *item)
{
    int n = 0;

    for (int chunk = 0; chunk < n_whole(item); chunk++)
        n += find_shared(plan, batch, seq, item, chunk) != NULL;
    return n;
}

static void add_member(struct ant_attn_plan *plan, const struct ant_batch *batch,
                       struct ant_attn_mark *mark, const struct kern_attn_item *item, int group)
{
    if (mark->next < 0)
        open_shared(plan, batch, mark, group);
    plan->members[mark->next++] = (struct ant_attn_member){item->row, item->part};
}

/* ---- chunks of sequences of few rows --------------------------------------------------------- */

/* First sequence after those from `first` on whose partial results fit the room together. */
static int end_of_round(const struct ant_attn_plan *plan, const struct ant_batch *batch, int first,
                        int group, int window)
{
    int n_partials = 0, seq = first;

    for (; seq < batch->n_seqs; seq++) {
        struct kern_attn_item item = item_of(batch, seq);
        int n = is_decode(&item, group) ? n_chunks(&item, window) : 0;
        if (n > 1 && seq > first && n_partials + n > plan->room)
            break;
        n_partials += n > 1 ? n : 0;
    }
    return seq;
}

/* What one pass over sequences works with: `place` holds the number of items of each cost, then
 * where the next of each goes. */
struct round {
    int first, end; /* sequences */
    int group, window, n_partials;
    bool is_shared; /* some chunks are */
    int place[COSTS];
};

/* Count the items of a sequence, or put them where they belong. */
static void plan_sequence(struct ant_attn_plan *plan, const struct ant_batch *batch,
                          struct round *round, int seq, bool is_counting)
{
    struct kern_attn_item item = item_of(batch, seq);

    if (!is_decode(&item, round->group))
        return;
    item.n_parts = n_chunks(&item, round->window);
    item.n_own = item.n_parts - (round->is_shared ? count_shared(plan, batch, seq, &item) : 0);
    item.part = item.part_first = round->n_partials;
    for (item.first = first_key(&item, round->window);
         item.first<item.context; item.first += KERN_CHUNK_KEYS, item.part += item.n_parts> 1) {
        int *place = &round->place[cost_of(&item, item.first)];
        struct ant_attn_mark *mark = NULL;
        if (round->is_shared)
            mark = find_shared(plan, batch, seq, &item, item.first / KERN_CHUNK_KEYS);
        if (is_counting)
            *place += !mark;
        else if (mark)
            add_member(plan, batch, mark, &item, round->group);
        else
            plan->decode[(*place)++] = item;
    }
    if (!is_counting)
        round->n_partials = item.part;
}

/* The items of some sequences, sorted by counting. */
static void plan_round(struct ant_attn_plan *plan, const struct ant_batch *batch,
                       struct round *round)
{
    for (int seq = round->first; seq < round->end; seq++)
        plan_sequence(plan, batch, round, seq, true);
    for (int cost = COSTS - 1; cost >= 0; cost--) {
        int n = round->place[cost];
        round->place[cost] = plan->n_decode;
        plan->n_decode += n;
    }
    for (int seq = round->first; seq < round->end; seq++)
        plan_sequence(plan, batch, round, seq, false);
    if (round->n_partials > plan->n_partials)
        plan->n_partials = round->n_partials;
}

/* The rows of the largest item, as of any other. */
static int rows_of_parts(const struct ant_batch *batch, int group)
{
    int most = group;

    for (int seq = 0; seq < batch->n_seqs; seq++) {
        struct kern_attn_item item = item_of(batch, seq);
        if (is_decode(&item, group) && item.n_rows * group > most)
            most = item.n_rows * group;
    }
    return even(most);
}

static void plan_decode(struct ant_attn_plan *plan, const struct ant_batch *batch, int group,
                        int window)
{
    plan->part_rows = rows_of_parts(batch, group);
    plan->room = plan->max_partials * KERN_DECODE_ROWS / plan->part_rows;
    bool is_shared = plan->marks && window == 0 && mark_chunks(plan, batch, group);

    for (int seq = 0, end; seq < batch->n_seqs; seq = end) {
        int before = plan->n_decode;
        end = end_of_round(plan, batch, seq, group, window);
        struct round round = {
            .first = seq, .end = end, .group = group, .window = window, .is_shared = is_shared};
        plan_round(plan, batch, &round);
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
    plan->n_shared = plan->n_members = 0;
    plan_decode(plan, batch, group, window);
    plan_prefill(plan, batch, group, window);
}
