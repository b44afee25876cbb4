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

enum { N_DRAWS = 5, MASK_WORDS = 3 };

/* Draws go with their lists; one list that all rows name stays one. */
static void draws_go_along(void **state)
{
    (void)state;
    const int32_t ends[3] = {7, 8, 9}, others[1] = {4};
    const struct ant_edit edits[3] = {{1, 2, 3, 4}, {5, 6, 7, 8}, {9, 10, 11, 12}};
    const uint64_t masks[2][MASK_WORDS] = {{1, 2, 3}, {4, 5, 6}};
    const struct ant_draw draws[N_DRAWS] = {
        {.temperature = 0.5F, .key = 1, .banned = ends, .n_banned = 3},
        {.position = 2, .banned = others, .n_banned = 1, .edits = edits, .n_edits = 2},
        {.n_top = 4, .banned = ends, .n_banned = 3, .mask = masks[1]},
        {.is_given = true, .given = 3, .edits = edits + 2, .n_edits = 1, .only_edited = true},
        {.mask = masks[0], .banned = ends, .n_banned = 2},
    };
    struct made made;
    struct ant_buf body = {0};

    make(&made, N_DRAWS, 1, 1, N_DRAWS);
    made.batch.draws = draws;
    made.batch.masks = masks[0];
    made.batch.n_masks = 2;
    struct ant_plan_head head = ant_plan_head(&made.batch);
    ant_plan_write(&made.batch, ant_buf_grow(&body, ant_plan_bytes(&head)));
    ant_plan_add_draws(&head, &made.batch, MASK_WORDS, &body);
    assert_int_equal(body.len, ant_plan_bytes(&head) + (size_t)head.draw_bytes);
    char *copy = ant_xmalloc(body.len); /* exactly so many bytes travel */
    memcpy(copy, body.data, body.len);
    ant_buf_release(&body);

    struct ant_batch batch = {.n_sampled = N_DRAWS};
    ant_plan_read_draws(&head, copy, &batch);
    const struct ant_draw *read = batch.draws;
    assert_int_equal(batch.n_masks, 2);
    assert_ptr_equal(read[2].mask, batch.masks + MASK_WORDS);
    assert_ptr_equal(read[0].banned, read[2].banned);
    for (int i = 0; i < N_DRAWS; i++) {
        is_same(read[i].banned, draws[i].banned, draws[i].n_banned);
        assert_memory_equal(read[i].edits, draws[i].edits,
                            (size_t)draws[i].n_edits * sizeof(*edits));
        assert_int_equal(!read[i].mask, !draws[i].mask);
        if (read[i].mask)
            assert_memory_equal(read[i].mask, draws[i].mask, sizeof(masks[0]));
        assert_int_equal(read[i].key, draws[i].key);
        assert_int_equal(read[i].position, draws[i].position);
        assert_int_equal(read[i].n_top, draws[i].n_top);
        assert_int_equal(read[i].given, draws[i].given);
    }
    free(copy);
    for (int i = 0; i < 7; i++)
        free(made.arrays[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(goes_there_and_back),
        cmocka_unit_test(draws_go_along),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
