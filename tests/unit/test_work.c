/* SPDX-License-Identifier: Apache-2.0 */
/* Partitions: every row belongs to exactly one replica, in order, whatever the sizes. */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "job/work.h"

/* Hand out all rows of all replicas; each must come once, and ascending within a replica. */
static void cover(enum ant_partition partition, int64_t n_rows, int dp_size, const int32_t *ranks)
{
    uint8_t *seen = ant_xcalloc((size_t)n_rows + 1, 1);
    int64_t smallest = INT64_MAX, largest = 0, total = 0;

    for (int dp_rank = 0; dp_rank < dp_size; dp_rank++) {
        struct ant_work *work = ant_work_open(partition, n_rows, dp_rank, dp_size);
        if (ranks)
            assert_int_equal(ant_work_assign(work, 0, n_rows, ranks, NULL), 0);
        int64_t count = ant_work_count(work), last = -1;
        for (int64_t row; (row = ant_work_next(work)) >= 0; last = row) {
            assert_true(row > last && row < n_rows);
            assert_int_equal(seen[row]++, 0);
            if (ranks)
                assert_int_equal(ranks[row], dp_rank);
            total++;
        }
        assert_int_equal(ant_work_left(work), 0);
        assert_int_equal(ant_work_next(work), -1);
        smallest = count < smallest ? count : smallest;
        largest = count > largest ? count : largest;
        ant_work_close(work);
    }
    assert_int_equal(total, n_rows);
    if (!ranks)
        assert_true(largest - smallest <= 1);
    free(seen);
}

static void test_every_row_once(void **state)
{
    (void)state;
    for (int64_t n_rows = 0; n_rows < 40; n_rows++)
        for (int dp_size = 1; dp_size < 12; dp_size++) {
            cover(ANT_PARTITION_MODULO, n_rows, dp_size, NULL);
            cover(ANT_PARTITION_BLOCK, n_rows, dp_size, NULL);
        }
}

static void test_modulo_is_modulo(void **state)
{
    struct ant_work *work = ant_work_open(ANT_PARTITION_MODULO, 10, 1, 4);

    (void)state;
    assert_int_equal(ant_work_next(work), 1);
    assert_int_equal(ant_work_next(work), 5);
    assert_int_equal(ant_work_next(work), 9);
    assert_int_equal(ant_work_next(work), -1);
    ant_work_close(work);
}

static void test_rank_column(void **state)
{
    enum { N = 500 };
    int32_t ranks[N];

    (void)state;
    for (int i = 0; i < N; i++)
        ranks[i] = (i * i + 3) % 7;
    cover(ANT_PARTITION_RANK, N, 7, ranks);
}

static void test_rank_out_of_range(void **state)
{
    int32_t ranks[3] = {0, 1, 2};
    struct ant_error err;
    struct ant_work *work = ant_work_open(ANT_PARTITION_RANK, 3, 0, 2);

    (void)state;
    assert_int_equal(ant_work_assign(work, 100, 3, ranks, &err), ANT_EDATA);
    assert_non_null(strstr(err.text, "row 102"));
    assert_non_null(strstr(err.text, "says 2"));
    ant_work_close(work);
}

static void test_skip(void **state)
{
    struct ant_work *work = ant_work_open(ANT_PARTITION_MODULO, 20, 2, 4);

    (void)state;
    for (int twice = 0; twice < 2; twice++)
        for (int row = 0; row < 20; row++)
            if (row == 2 || row == 10 || row == 11 || row == 18)
                ant_work_skip(work, row);
    assert_int_equal(ant_work_count(work), 5);
    assert_int_equal(ant_work_left(work), 2);
    assert_int_equal(ant_work_next(work), 6);
    assert_int_equal(ant_work_next(work), 14);
    assert_int_equal(ant_work_next(work), -1);
    ant_work_close(work);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_row_once), cmocka_unit_test(test_modulo_is_modulo),
        cmocka_unit_test(test_rank_column),    cmocka_unit_test(test_rank_out_of_range),
        cmocka_unit_test(test_skip),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
