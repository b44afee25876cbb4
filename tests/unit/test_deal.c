/* SPDX-License-Identifier: Apache-2.0 */
/* The deal: every row belongs to exactly one replica, in the right order, whatever the sizes. */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "job/deal.h"

static struct ant_deal *deal_rows(enum ant_partition partition, int dp_size,
                                  const struct ant_deal_facts *facts)
{
    struct ant_deal *deal = NULL;

    assert_int_equal(ant_deal_open(&deal, partition, dp_size, facts, "the test", NULL), 0);
    assert_int_equal(ant_deal_size(deal), dp_size);
    return deal;
}

/* Each row that is not done is in one queue, once; queues go from high to low, dear to cheap, and
 * forward; levels only go down, and end with the queue. */
static void check(const struct ant_deal *deal, const struct ant_deal_facts *facts)
{
    uint8_t *seen = ant_xcalloc((size_t)facts->n + 1, 1);

    for (int replica = 0; replica < ant_deal_size(deal); replica++) {
        int64_t count = ant_deal_count(deal, replica), last = -1;
        for (int64_t i = 0; i < count; i++) {
            int64_t row = ant_deal_row(deal, replica, i) - facts->first;
            assert_true(row >= 0 && row < facts->n);
            assert_int_equal(seen[row]++, 0);
            assert_true(!facts->is_done || !facts->is_done[row]);
            if (facts->rank)
                assert_int_equal(facts->rank[row], replica);
            assert_true(ant_deal_level(deal, replica, i) < ANT_DEAL_LEVELS);
            if (last >= 0) {
                double high = facts->priority ? facts->priority[last] : 0;
                double low = facts->priority ? facts->priority[row] : 0;
                assert_true(high >= low);
                assert_true(ant_deal_level(deal, replica, i - 1) <=
                            ant_deal_level(deal, replica, i));
                if (high == low && facts->cost)
                    assert_true(facts->cost[last] >= facts->cost[row]);
                else if (high == low)
                    assert_true(row > last);
            }
            last = row;
        }
        assert_int_equal(ant_deal_level(deal, replica, count), ANT_DEAL_LEVELS);
    }
    for (int64_t row = 0; row < facts->n; row++)
        assert_int_equal(seen[row], facts->is_done ? !facts->is_done[row] : 1);
    free(seen);
}

static void counts_differ_by_one(const struct ant_deal *deal)
{
    int64_t least = INT64_MAX, most = 0;

    for (int i = 0; i < ant_deal_size(deal); i++) {
        int64_t count = ant_deal_count(deal, i);
        least = count < least ? count : least;
        most = count > most ? count : most;
    }
    assert_true(most - least <= 1);
}

static void every_row_once(void **state)
{
    enum { MOST = 40 };
    double priority[MOST];
    int64_t cost[MOST];
    int32_t rank[MOST];
    uint8_t is_done[MOST];

    (void)state;
    for (int n = 0; n < MOST; n++)
        for (int dp_size = 1; dp_size < 12; dp_size++)
            for (int known = 0; known < 4; known++) {
                struct ant_deal_facts facts = {.first = 1000, .n = n};
                for (int i = 0; i < n; i++) {
                    priority[i] = i * 7 % 5 - 2;
                    cost[i] = i * i % 11;
                    rank[i] = i * 5 % dp_size;
                    is_done[i] = i % 3 == 1;
                }
                facts.priority = known & 1 ? priority : NULL;
                facts.is_done = known & 2 ? is_done : NULL;
                for (enum ant_partition how = 0; how <= ANT_PARTITION_PLUGIN; how++) {
                    facts.cost = how == ANT_PARTITION_LENGTH ? cost : NULL;
                    facts.rank = how >= ANT_PARTITION_RANK ? rank : NULL;
                    struct ant_deal *deal = deal_rows(how, dp_size, &facts);
                    check(deal, &facts);
                    if (how <= ANT_PARTITION_BLOCK)
                        counts_differ_by_one(deal);
                    ant_deal_close(deal);
                }
            }
}

static void modulo_and_block(void **state)
{
    const struct ant_deal_facts facts = {.n = 10};

    (void)state;
    struct ant_deal *deal = deal_rows(ANT_PARTITION_MODULO, 4, &facts);
    assert_int_equal(ant_deal_count(deal, 1), 3);
    for (int i = 0; i < 3; i++)
        assert_int_equal(ant_deal_row(deal, 1, i), 1 + 4 * i);
    ant_deal_close(deal);
    deal = deal_rows(ANT_PARTITION_BLOCK, 4, &facts);
    assert_int_equal(ant_deal_row(deal, 1, 0), 3);
    assert_int_equal(ant_deal_row(deal, 2, 0), 6);
    assert_int_equal(ant_deal_count(deal, 3), 2);
    ant_deal_close(deal);
}

/* All that is urgent goes to all replicas alike, though it stands together in the input. */
static void priority_is_spread(void **state)
{
    double priority[80];
    const struct ant_deal_facts facts = {.n = 80, .priority = priority};

    (void)state;
    for (int i = 0; i < 80; i++)
        priority[i] = i >= 60 ? 1 : -0.5;
    struct ant_deal *deal = deal_rows(ANT_PARTITION_MODULO, 4, &facts);
    for (int replica = 0; replica < 4; replica++)
        for (int64_t i = 0; i < 20; i++) {
            assert_int_equal(ant_deal_row(deal, replica, i) >= 60, i < 5);
            assert_int_equal(ant_deal_level(deal, replica, i), i >= 5);
        }
    ant_deal_close(deal);
}

static void many_priorities_are_parts(void **state)
{
    enum { N = 1600 };
    double priority[N];
    const struct ant_deal_facts facts = {.n = N, .priority = priority};

    (void)state;
    for (int i = 0; i < N; i++)
        priority[i] = i * 0.25;
    struct ant_deal *deal = deal_rows(ANT_PARTITION_MODULO, 2, &facts);
    check(deal, &facts);
    for (int64_t i = 0; i < N / 2; i++) {
        assert_int_equal(ant_deal_row(deal, 1, i), N - 2 - 2 * i);
        assert_int_equal(ant_deal_level(deal, 1, i), i / (N / 2 / ANT_DEAL_LEVELS));
    }
    ant_deal_close(deal);
}

/* One row as dear as all others together, and others of random cost: no sum is more above the mean
 * than one row costs. */
static void costs_are_balanced(void **state)
{
    enum { N = 1000, DP = 7 };
    int64_t cost[N], sum = 0;
    const struct ant_deal_facts facts = {.n = N, .cost = cost};
    uint32_t random = 1;

    (void)state;
    for (int i = 0; i < N; i++) {
        random = random * 1664525 + 1013904223;
        cost[i] = 1 + (random >> 24) * (random >> 28);
        sum += cost[i];
    }
    struct ant_deal *deal = deal_rows(ANT_PARTITION_LENGTH, DP, &facts);
    check(deal, &facts);
    for (int replica = 0; replica < DP; replica++) {
        int64_t load = 0;
        for (int64_t i = 0; i < ant_deal_count(deal, replica); i++)
            load += cost[ant_deal_row(deal, replica, i)];
        assert_true(load <= sum / DP + sum / DP / 100 && load >= sum / DP - sum / DP / 100);
    }
    ant_deal_close(deal);
}

static void ranks_out_of_range(void **state)
{
    const int32_t ranks[] = {0, 1, 2}, below[] = {0, -1, 0};
    struct ant_deal_facts facts = {.first = 100, .n = 3, .rank = ranks};
    struct ant_deal *deal = NULL;
    struct ant_error err;

    (void)state;
    assert_int_equal(ant_deal_open(&deal, ANT_PARTITION_RANK, 2, &facts, "the rank column", &err),
                     ANT_EDATA);
    assert_string_equal(err.text, "row 102: the rank column says 2, the job has replicas 0 to 1");
    facts.rank = below;
    assert_int_equal(ant_deal_open(&deal, ANT_PARTITION_PLUGIN, 2, &facts, "p.so", &err),
                     ANT_EDATA);
    assert_non_null(strstr(err.text, "row 101: p.so says -1"));
    assert_null(deal);
}

static void as_words(void **state)
{
    double priority[] = {1, 3, 2, 2, 3};
    const struct ant_deal_facts facts = {.n = 5, .priority = priority};
    size_t n = 0;

    (void)state;
    struct ant_deal *deal = deal_rows(ANT_PARTITION_MODULO, 2, &facts);
    const int64_t *words = ant_deal_words(deal, &n);
    int64_t *sent = ant_xcalloc(n, sizeof(*sent));
    memcpy(sent, words, n * sizeof(*sent));
    struct ant_deal *copy = ant_deal_from_words(sent, n);
    check(copy, &facts);
    assert_int_equal(ant_deal_row(copy, 1, 0), 4);
    ant_deal_close(copy);
    ant_deal_close(deal);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_row_once),     cmocka_unit_test(modulo_and_block),
        cmocka_unit_test(priority_is_spread), cmocka_unit_test(many_priorities_are_parts),
        cmocka_unit_test(costs_are_balanced), cmocka_unit_test(ranks_out_of_range),
        cmocka_unit_test(as_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
