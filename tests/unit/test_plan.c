/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "model/plan.h"

/* A batch with arrays of its own, every number another one. */
struct made {
    struct ant_batch batch;
    int32_t *arrays[7];
};

static int32_t *numbers(int n, int32_t *next)
{
    int32_t *array = ant_xcalloc((size_t)n + 1, sizeof(*array));

    for (int i = 0; i < n; i++)
        array[i] = (*next)++;
    return array;
}

static void make(struct made *out, int n_rows, int n_seqs, int n_pages, int n_sampled)
{
    const int counts[7] = {n_rows, n_rows, n_seqs + 1, n_seqs, n_seqs + 1, n_pages, n_sampled};
    int32_t next = 1;

    for (int i = 0; i < 7; i++)
        out->arrays[i] = numbers(counts[i], &next);
    out->arrays[4][n_seqs] = n_pages;
    out->batch = (struct ant_batch){.n_rows = n_rows,
                                    .n_seqs = n_seqs,
                                    .n_sampled = n_sampled,
                                    .tokens = out->arrays[0],
                                    .positions = out->arrays[1],
                                    .row_start = out->arrays[2],
                                    .context = out->arrays[3],
                                    .page_start = out->arrays[4],
                                    .pages = out->arrays[5],
                                    .sampled = out->arrays[6]};
}

static void is_same(const int32_t *a, const int32_t *b, int n)
{
    for (int i = 0; i < n; i++)
        assert_int_equal(a[i], b[i]);
}

/* What one rank writes the others read, and nothing is written behind the end that was told. */
static void goes_there_and_back(void **state)
{
    (void)state;
    for (int n_rows = 0; n_rows < 5; n_rows++)
        for (int n_seqs = 0; n_seqs < 4; n_seqs++)
            for (int n_pages = 0; n_pages < 4; n_pages++)
                for (int n_sampled = 0; n_sampled <= n_rows; n_sampled++) {
                    struct made made;
                    make(&made, n_rows, n_seqs, n_pages, n_sampled);
                    struct ant_plan_head head = ant_plan_head(&made.batch);
                    size_t bytes = ant_plan_bytes(&head);
                    unsigned char *data = ant_xmalloc(bytes + 1);
                    struct ant_batch read;

                    data[bytes] = 0xa5;
                    ant_plan_write(&made.batch, data);
                    assert_int_equal(data[bytes], 0xa5);
                    assert_int_equal(head.kind, ANT_PLAN_STEP);
                    ant_plan_read(&head, data, &read);
                    assert_int_equal(read.n_rows, n_rows);
                    assert_int_equal(read.n_seqs, n_seqs);
                    assert_int_equal(read.n_sampled, n_sampled);
                    assert_null(read.draws);
                    is_same(read.tokens, made.batch.tokens, n_rows);
                    is_same(read.positions, made.batch.positions, n_rows);
                    is_same(read.row_start, made.batch.row_start, n_seqs + 1);
                    is_same(read.context, made.batch.context, n_seqs);
                    is_same(read.page_start, made.batch.page_start, n_seqs + 1);
                    is_same(read.pages, made.batch.pages, n_pages);
                    is_same(read.sampled, made.batch.sampled, n_sampled);
                    for (int i = 0; i < 7; i++)
                        free(made.arrays[i]);
                    free(data);
                }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(goes_there_and_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
