/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "job/deal.h"

#include <stdbool.h>
#include <stdlib.h>

#include "base/mem.h"

/* All of a deal is in one array, so that it can be sent as it is. */
enum {
    DP_SIZE,
    STEP, /* within a queue, 0: there is a list */
    N_LEVELS,
    HEADER, /* words so far; then for each replica: */
};
/*  its start in the list (its first row where there is none), its count, and N_LEVELS ends: how
 * many of its rows are of this level or a higher one. Then the list. */

struct ant_deal {
    int64_t *words; /* owned, (n) */
    size_t n;
};

static int64_t *queue(const struct ant_deal *deal, int replica)
{
    return deal->words + HEADER + (size_t)replica * (size_t)(2 + deal->words[N_LEVELS]);
}

static int64_t *list(const struct ant_deal *deal)
{
    return queue(deal, (int)deal->words[DP_SIZE]);
}

static struct ant_deal *make(int dp_size, int n_levels, int64_t n_listed)
{
    struct ant_deal *deal = ant_xcalloc(1, sizeof(*deal));

    deal->n = HEADER + (size_t)dp_size * (size_t)(2 + n_levels) + (size_t)n_listed;
    deal->words = ant_xcalloc(deal->n, sizeof(*deal->words));
    deal->words[DP_SIZE] = dp_size;
    deal->words[N_LEVELS] = n_levels;
    return deal;
}

void ant_deal_close(struct ant_deal *deal)
{
    if (!deal)
        return;
    free(deal->words);
    free(deal);
}

const int64_t *ant_deal_words(const struct ant_deal *deal, size_t *n)
{
    *n = deal->n;
    return deal->words;
}

struct ant_deal *ant_deal_from_words(int64_t *words, size_t n)
{
    struct ant_deal *deal = ant_xcalloc(1, sizeof(*deal));

    deal->n = n;
    deal->words = words;
    return deal;
}

int ant_deal_size(const struct ant_deal *deal)
{
    return (int)deal->words[DP_SIZE];
}

int64_t ant_deal_count(const struct ant_deal *deal, int replica)
{
    return queue(deal, replica)[1];
}

int64_t ant_deal_row(const struct ant_deal *deal, int replica, int64_t i)
{
    int64_t start = queue(deal, replica)[0];

    if (deal->words[STEP] > 0)
        return start + i * deal->words[STEP];
    return list(deal)[start + i];
}

int ant_deal_level(const struct ant_deal *deal, int replica, int64_t i)
{
    const int64_t *ends = queue(deal, replica) + 2;

    for (int level = 0; level < deal->words[N_LEVELS]; level++)
        if (i < ends[level])
            return level;
    return ANT_DEAL_LEVELS;
}

/* ---- by arithmetic --------------------------------------------------------------------------- */

static int64_t block_count(int64_t n, int dp_size, int replica)
{
    return n / dp_size + (replica < n % dp_size);
}

/* Every row is there and none goes before another. */
static struct ant_deal *deal_plainly(enum ant_partition partition, int dp_size, int64_t first,
                                     int64_t n)
{
    struct ant_deal *deal = make(dp_size, 1, 0);
    int64_t start = 0;

    deal->words[STEP] = partition == ANT_PARTITION_MODULO ? dp_size : 1;
    for (int i = 0; i < dp_size; i++) {
        int64_t *q = queue(deal, i);
        q[1] = q[2] = block_count(n, dp_size, i); /* the same counts either way */
        q[0] = first + (partition == ANT_PARTITION_MODULO ? i : start);
        start += q[1];
    }
    return deal;
}

/* ---- by a list ------------------------------------------------------------------------------- */

static int compare(const void *left, const void *right, void *context)
{
    const struct ant_deal_facts *facts = context;
    int64_t a = *(const int64_t *)left, b = *(const int64_t *)right;

    if (facts->priority && facts->priority[a] != facts->priority[b])
        return facts->priority[a] > facts->priority[b] ? -1 : 1;
    if (facts->cost && facts->cost[a] != facts->cost[b])
        return facts->cost[a] > facts->cost[b] ? -1 : 1;
    return a < b ? -1 : a > b;
}

/* The rows that are left, as indices into the facts, in order of dealing. */
static int64_t *sort_rows(const struct ant_deal_facts *facts, int64_t *n)
{
    int64_t *order = ant_xcalloc((size_t)facts->n + 1, sizeof(*order));

    *n = 0;
    for (int64_t i = 0; i < facts->n; i++)
        if (!facts->is_done || !facts->is_done[i])
            order[(*n)++] = i;
    if (facts->priority || facts->cost)
        qsort_r(order, (size_t)*n, sizeof(*order), compare, (void *)facts);
    return order;
}

/* Replicas by load, the least loaded on top; of equals the one with the lower number. */
struct load {
    int64_t cost;
    int32_t replica;
};

static bool is_less(struct load a, struct load b)
{
    return a.cost != b.cost ? a.cost < b.cost : a.replica < b.replica;
}

static void sink(struct load *heap, int n)
{
    int at = 0, child;

    while ((child = 2 * at + 1) < n) {
        if (child + 1 < n && is_less(heap[child + 1], heap[child]))
            child++;
        if (!is_less(heap[child], heap[at]))
            return;
        struct load swap = heap[at];
        heap[at] = heap[child];
        heap[child] = swap;
        at = child;
    }
}

/* The dearest first, each to whom has the least so far. */
static void deal_by_cost(int32_t *owner, const int64_t *order, int64_t n, const int64_t *cost,
                         int dp_size)
{
    struct load *heap = ant_xcalloc((size_t)dp_size, sizeof(*heap));

    for (int i = 0; i < dp_size; i++)
        heap[i].replica = i;
    for (int64_t i = 0; i < n; i++) {
        owner[i] = heap[0].replica;
        heap[0].cost += cost[order[i]];
        sink(heap, dp_size);
    }
    free(heap);
}

/* Blocks are of rows by number, whatever the order. */
static void deal_blocks(int32_t *owner, const int64_t *order, int64_t n,
                        const struct ant_deal_facts *facts, int dp_size)
{
    int32_t *of_row = ant_xcalloc((size_t)facts->n + 1, sizeof(*of_row));
    int64_t given = 0;
    int32_t replica = 0;

    for (int64_t i = 0; i < facts->n; i++) {
        if (facts->is_done && facts->is_done[i])
            continue;
        while (given == block_count(n, dp_size, replica)) {
            given = 0;
            replica++;
        }
        of_row[i] = replica;
        given++;
    }
    for (int64_t i = 0; i < n; i++)
        owner[i] = of_row[order[i]];
    free(of_row);
}

static int check_ranks(const struct ant_deal_facts *facts, int dp_size, const char *who,
                       struct ant_error *err)
{
    for (int64_t i = 0; i < facts->n; i++)
        if (facts->rank[i] < 0 || facts->rank[i] >= dp_size)
            return ant_fail(err, ANT_EDATA, "row %lld: %s says %d, the job has replicas 0 to %d",
                            (long long)(facts->first + i), who, facts->rank[i], dp_size - 1);
    return 0;
}

/* owner[i]: the replica of the i-th row in order. */
static void choose_owners(int32_t *owner, enum ant_partition partition, int dp_size,
                          const struct ant_deal_facts *facts, const int64_t *order, int64_t n)
{
    switch (partition) {
    case ANT_PARTITION_MODULO:
        for (int64_t i = 0; i < n; i++)
            owner[i] = (int32_t)(i % dp_size);
        break;
    case ANT_PARTITION_BLOCK:
        deal_blocks(owner, order, n, facts, dp_size);
        break;
    case ANT_PARTITION_LENGTH:
        deal_by_cost(owner, order, n, facts->cost, dp_size);
        break;
    case ANT_PARTITION_RANK:
    case ANT_PARTITION_PLUGIN:
        for (int64_t i = 0; i < n; i++)
            owner[i] = facts->rank[order[i]];
        break;
    }
}

static int count_priorities(const double *priority, const int64_t *order, int64_t n)
{
    int count = 1;

    for (int64_t i = 1; priority && i < n && count <= ANT_DEAL_LEVELS; i++)
        count += priority[order[i]] != priority[order[i - 1]];
    return count;
}

static void fill_queues(struct ant_deal *deal, const int32_t *owner, const int64_t *order,
                        int64_t n, const struct ant_deal_facts *facts, int n_priorities)
{
    int dp_size = ant_deal_size(deal), n_levels = (int)deal->words[N_LEVELS], level = 0;
    int64_t start = 0;

    for (int64_t i = 0; i < n; i++)
        queue(deal, owner[i])[1]++;
    for (int i = 0; i < dp_size; i++) {
        queue(deal, i)[0] = start;
        start += queue(deal, i)[1];
        queue(deal, i)[1] = 0;
    }
    for (int64_t i = 0; i < n; i++) {
        int64_t *q = queue(deal, owner[i]);
        if (n_priorities > ANT_DEAL_LEVELS)
            level = (int)((__int128)i * ANT_DEAL_LEVELS / n);
        else if (i > 0 && facts->priority)
            level += facts->priority[order[i]] != facts->priority[order[i - 1]];
        list(deal)[q[0] + q[1]++] = facts->first + order[i];
        q[2 + level] = q[1];
    }
    /* A level without rows ends where the one before it does. */
    for (int i = 0; i < dp_size; i++)
        for (int k = 1; k < n_levels; k++)
            if (queue(deal, i)[2 + k] < queue(deal, i)[1 + k])
                queue(deal, i)[2 + k] = queue(deal, i)[1 + k];
}

int ant_deal_open(struct ant_deal **out, enum ant_partition partition, int dp_size,
                  const struct ant_deal_facts *facts, const char *who, struct ant_error *err)
{
    int64_t n = 0;

    if (partition <= ANT_PARTITION_BLOCK && !facts->priority && !facts->is_done) {
        *out = deal_plainly(partition, dp_size, facts->first, facts->n);
        return 0;
    }
    if (partition == ANT_PARTITION_RANK || partition == ANT_PARTITION_PLUGIN)
        ANT_TRY(check_ranks(facts, dp_size, who, err));
    int64_t *order = sort_rows(facts, &n);
    int32_t *owner = ant_xcalloc((size_t)n + 1, sizeof(*owner));
    choose_owners(owner, partition, dp_size, facts, order, n);
    int n_priorities = count_priorities(facts->priority, order, n);
    *out = make(dp_size, n_priorities < ANT_DEAL_LEVELS ? n_priorities : ANT_DEAL_LEVELS, n);
    fill_queues(*out, owner, order, n, facts, n_priorities);
    free(owner);
    free(order);
    return 0;
}
