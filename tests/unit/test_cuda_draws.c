/* SPDX-License-Identifier: Apache-2.0 */
/* Draws on their way to a GPU: where their lists lie. Needs no GPU. */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "backend/cuda/cuda.h"
#include "base/mem.h"

enum { ROWS = 3, PADDED = 4, FIRST = 10, ROOM = 1000 };

static struct cuda_backend *make_backend(void)
{
    struct cuda_backend *cuda = ant_xcalloc(1, sizeof(*cuda));

    cuda->n_sampled = PADDED;
    cuda->arch.vocab = 100;
    return cuda;
}

static void test_lists(void **state)
{
    static const int32_t banned[] = {7, 8, 9};
    static const struct ant_edit edits[] = {{1, 2, 3, 4}, {5, 6, 7, 8}, {9, 10, 11, 12}};
    const struct ant_draw draws[ROWS] = {
        {.banned = banned, .n_banned = 3, .n_top = 2},
        {.edits = edits, .n_edits = 3, .only_edited = true, .banned = banned, .n_banned = 3},
        {.edits = edits + 1, .n_edits = 1, .is_given = true, .given = 99},
    };
    const struct ant_batch batch = {.n_sampled = ROWS, .draws = draws};
    struct cuda_backend *cuda = make_backend();
    struct kern_draw to[PADDED];
    int32_t tail[ROOM];

    (void)state;
    memset(to, 0xff, sizeof(to));
    memset(tail, 0xff, sizeof(tail));
    assert_true(ant_cuda_check_draws(cuda, &batch));
    ant_cuda_survey_draws(cuda, &batch);
    assert_true(cuda->has_edits && cuda->has_top && !cuda->has_late_edits);
    int end = ant_cuda_put_draws(cuda, &batch, to, tail, FIRST);
    assert_int_equal(to[0].banned, FIRST);
    assert_int_equal(to[1].banned, FIRST); /* the same list */
    assert_memory_equal(tail + FIRST, banned, sizeof(banned));
    assert_int_equal(to[0].n_edits, 0);
    for (int i = 1; i < ROWS; i++) {
        assert_int_equal(to[i].edits % 4, 0);
        assert_true(to[i].edits >= FIRST + 3);
        assert_int_equal(to[i].n_edits, draws[i].n_edits);
        assert_memory_equal(tail + to[i].edits, draws[i].edits,
                            (size_t)draws[i].n_edits * sizeof(*edits));
    }
    assert_int_equal(end, to[2].edits + 4);
    assert_true(to[1].only_edited && to[2].is_given && to[2].given == 99 && to[0].n_top == 2);
    assert_true(to[3].n_edits == 0 && to[3].n_banned == 0 && to[3].n_top == 0);
    assert_int_equal(tail[end], -1);
    free(cuda);
}

/* Masks lie behind the edits, each once, and draws name theirs. */
static void test_masks(void **state)
{
    static const uint64_t masks[] = {1, 2, 3, 4, 5, 6}; /* of two words, for ids below 100 */
    static const struct ant_edit edit = {1, 2, 3, 4};
    const struct ant_draw draws[ROWS] = {
        {.mask = masks + 2}, {.edits = &edit, .n_edits = 1}, {.mask = masks + 2, .temperature = 1}};
    struct ant_batch batch = {.n_sampled = ROWS, .draws = draws, .masks = masks, .n_masks = 3};
    struct cuda_backend *cuda = make_backend();
    struct kern_draw to[PADDED];
    int32_t tail[ROOM];

    (void)state;
    memset(to, 0xff, sizeof(to));
    assert_int_equal(ant_cuda_mask_bytes(cuda), 16);
    assert_true(ant_cuda_check_draws(cuda, &batch));
    ant_cuda_survey_draws(cuda, &batch);
    assert_true(cuda->has_edits && !cuda->has_late_edits);
    int end = ant_cuda_put_draws(cuda, &batch, to, tail, FIRST);
    assert_true(to[0].is_masked && !to[1].is_masked && to[2].is_masked && !to[3].is_masked);
    assert_int_equal(to[0].mask, to[2].mask);
    assert_int_equal(to[0].mask % 4, 0);
    assert_memory_equal(tail + to[0].mask, masks + 2, 16);
    assert_int_equal(end, to[0].mask + 8);
    assert_memory_equal(tail + to[1].edits, &edit, sizeof(edit));
    assert_true(to[1].edits + 4 <= to[0].mask - 4);
    batch.n_masks = 1; /* the draws point elsewhere */
    assert_false(ant_cuda_check_draws(cuda, &batch));
    free(cuda);
}

static void test_late(void **state)
{
    int n = CUDA_EDITS / 2 + 1;
    struct ant_edit *edits = ant_xcalloc((size_t)n, sizeof(*edits));
    const struct ant_draw draws[2] = {{.edits = edits, .n_edits = n},
                                      {.edits = edits, .n_edits = n}};
    const struct ant_batch batch = {.n_sampled = 2, .draws = draws};
    struct cuda_backend *cuda = make_backend();
    struct kern_draw to[PADDED];
    int32_t tail[ROOM];

    (void)state;
    ant_cuda_survey_draws(cuda, &batch);
    assert_true(cuda->has_late_edits);
    int end = ant_cuda_put_draws(cuda, &batch, to, tail, FIRST);
    assert_int_equal(end, cuda->edits_at);
    free(edits);
    free(cuda);
}

static void test_range(void **state)
{
    struct cuda_backend *cuda = make_backend();
    struct ant_draw draw = {.is_given = true, .given = 100};
    const struct ant_batch batch = {.n_sampled = 1, .draws = &draw};

    (void)state;
    assert_false(ant_cuda_check_draws(cuda, &batch));
    draw.given = 99;
    assert_true(ant_cuda_check_draws(cuda, &batch));
    draw.n_top = ANT_MAX_TOP + 1;
    assert_false(ant_cuda_check_draws(cuda, &batch));
    free(cuda);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lists),
        cmocka_unit_test(test_masks),
        cmocka_unit_test(test_late),
        cmocka_unit_test(test_range),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
