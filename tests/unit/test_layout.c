/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "job/layout.h"

/* Every rank of every layout of up to 24 ranks: the formula, and each role once. */
static void all_sizes(void **state)
{
    struct ant_error err;

    (void)state;
    for (int dp = 1; dp <= 24; dp++)
        for (int tp = 1; dp * tp <= 24; tp++)
            for (int pp = 1; dp * tp * pp <= 24; pp++)
                for (int rank = 0; rank < dp * tp * pp; rank++) {
                    struct ant_layout given, derived;
                    int world = dp * tp * pp;

                    assert_int_equal(ant_layout_init(&given, rank, world, dp, tp, pp, &err), 0);
                    assert_int_equal(ant_layout_init(&derived, rank, world, 0, tp, pp, &err), 0);
                    assert_memory_equal(&given, &derived, sizeof(given));
                    assert_in_range(given.dp_rank, 0, dp - 1);
                    assert_in_range(given.tp_rank, 0, tp - 1);
                    assert_in_range(given.pp_rank, 0, pp - 1);
                    assert_int_equal((given.dp_rank * pp + given.pp_rank) * tp + given.tp_rank,
                                     rank);
                    assert_int_equal(given.dp_size, dp);
                    assert_int_equal(given.world, world);
                    assert_int_equal(given.rank, rank);
                }
}

/* The reference's example: tp 4, dp 2: the first replica is processes 0 to 3. */
static void replicas_are_consecutive(void **state)
{
    struct ant_layout layout;
    struct ant_error err;

    (void)state;
    for (int rank = 0; rank < 8; rank++) {
        assert_int_equal(ant_layout_init(&layout, rank, 8, 2, 4, 1, &err), 0);
        assert_int_equal(layout.dp_rank, rank / 4);
        assert_int_equal(layout.tp_rank, rank % 4);
    }
}

static void is_refused(int world, int dp, int tp, int pp, const char *text)
{
    struct ant_layout layout = {.world = -7};
    struct ant_error err = {{0}};

    assert_int_equal(ant_layout_init(&layout, 0, world, dp, tp, pp, &err), ANT_EUSAGE);
    assert_string_equal(err.text, text);
    assert_int_equal(layout.world, -7);
}

static void what_does_not_fit(void **state)
{
    struct ant_layout layout;

    (void)state;
    is_refused(4, 3, 2, 1, "dp 3 x tp 2 x pp 1 needs 6 ranks, the job has 4");
    is_refused(8, 2, 2, 1, "dp 2 x tp 2 x pp 1 needs 4 ranks, the job has 8");
    is_refused(1, 2, 1, 1,
               "dp 2 x tp 1 x pp 1 needs 2 ranks, the job has 1: srun -n or mpirun -n starts more");
    is_refused(6, 0, 4, 1, "tp 4 x pp 1 needs a multiple of 4 ranks, the job has 6");
    is_refused(6, 0, 2, 2, "tp 2 x pp 2 needs a multiple of 4 ranks, the job has 6");
    is_refused(2, 0, 4, 1, "tp 4 x pp 1 needs a multiple of 4 ranks, the job has 2");
    is_refused(4, 1, 0, 1, "tp size 0 is below 1");
    is_refused(4, 1, 1, -2, "pp size -2 is below 1");
    is_refused(4, -1, 1, 1, "dp size -1 is below 0");
    /* Products beyond 32 and 64 bits. */
    is_refused(2, 65536, 65536, 1,
               "dp 65536 x tp 65536 x pp 1 needs 4294967296 ranks, the job has 2");
    is_refused(4, 1 << 30, 1 << 30, 1 << 30,
               "dp 1073741824 x tp 1073741824 x pp 1073741824 needs 1237940039285380274899124224 "
               "ranks, the job has 4");
    assert_int_equal(ant_layout_init(&layout, 4, 4, 0, 1, 1, NULL), ANT_EBUG);
    assert_int_equal(ant_layout_init(&layout, 0, 0, 0, 1, 1, NULL), ANT_EBUG);
}

static void fill_cards(struct ant_card *cards, int n, int per_node, const char *cores)
{
    memset(cards, 0, (size_t)n * sizeof(*cards));
    for (int i = 0; i < n; i++) {
        cards[i].rank = i;
        cards[i].node = i / per_node;
        cards[i].n_cores = 4;
        snprintf(cards[i].node_name, sizeof(cards[i].node_name), "n%d", i / per_node + 1);
        snprintf(cards[i].cores, sizeof(cards[i].cores), "%s", cores);
    }
}

static void is_described(const struct ant_card *cards, int world, int tp, int pp, const char *text)
{
    struct ant_layout layout;
    char *table;

    assert_int_equal(ant_layout_init(&layout, 0, world, 0, tp, pp, NULL), 0);
    table = ant_layout_describe(&layout, cards);
    assert_string_equal(table, text);
    free(table);
}

static void tables(void **state)
{
    struct ant_card cards[8];

    (void)state;
    fill_cards(cards, 8, 8, "0-3");
    is_described(cards, 1, 1, 1,
                 "  node             ranks        dp           cores\n"
                 "  n1               0            0            0-3\n");
    fill_cards(cards, 8, 4, "0-3");
    is_described(cards, 8, 1, 1,
                 "  node             ranks        dp           cores\n"
                 "  n1               0-3          0-3          0-3\n"
                 "  n2               4-7          4-7          0-3\n");
    snprintf(cards[6].cores, sizeof(cards[6].cores), "4-7");
    is_described(cards, 8, 2, 2,
                 "  node             ranks        dp           tp       pp       cores\n"
                 "  n1               0-3          0            0-1      0-1      0-3\n"
                 "  n2               4-7          1            0-1      0-1      4 to each rank\n");
    /* Ranks dealt out in turn, and two node daemons of one host. */
    for (int i = 0; i < 8; i++) {
        cards[i].node = 0;
        snprintf(cards[i].node_name, sizeof(cards[i].node_name), "n%d", i % 3);
        snprintf(cards[i].cores, sizeof(cards[i].cores), "0");
    }
    is_described(cards, 8, 2, 1,
                 "  node             ranks        dp           tp       cores\n"
                 "  n0               0,3,6        0-1,3        0-1      0\n"
                 "  n1               1,4,7        0,2-3        0-1      0\n"
                 "  n2               2,5          1-2          0-1      0\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_sizes),
        cmocka_unit_test(replicas_are_consecutive),
        cmocka_unit_test(what_does_not_fit),
        cmocka_unit_test(tables),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
