/* SPDX-License-Identifier: Apache-2.0 */
/* Which rank holds what: of any layout, the ranks of a replica hold all of the model between them,
 * and nothing twice but what they must. */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "fixture.h"
#include "model/role.h"
#include "model/shard.h"

static struct ant_layout layout_of(int rank, int dp, int tp, int pp, enum ant_ep ep)
{
    struct ant_layout layout;

    assert_int_equal(ant_layout_init(&layout, rank, dp * tp * pp, dp, tp, pp, NULL), 0);
    layout.ep = ep;
    return layout;
}

/* ---- every element is somewhere -------------------------------------------------------------- */

/* How often each element of `whole` is held, by one more piece of it. Elements are told by their
 * bytes: pieces are parts of the file's own memory, or copies of columns. */
static void count_piece(const struct ant_shard *shard, enum ant_role role,
                        const struct ant_tensor *whole, int *counts)
{
    int64_t cols = ant_tensor_cols(whole);
    struct ant_piece piece;
    void *memory;

    if (!ant_shard_is_mine(shard, role))
        return;
    ant_shard_piece(shard, role, whole, &piece);
    bool is_columns = piece.tensor.data == NULL;
    ant_shard_read(&piece, &memory);
    size_t element = ant_row_bytes(whole->type, 1); /* none is quantized */
    int64_t first = is_columns ? piece.first_column
                               : ((const char *)piece.tensor.data - (const char *)whole->data) /
                                     (int64_t)element;
    int64_t rows = ant_tensor_rows(&piece.tensor), width = ant_tensor_cols(&piece.tensor);
    for (int64_t i = 0; i < rows; i++)
        for (int64_t k = 0; k < width; k++) {
            int64_t at = first + i * cols + k;

            assert_true(at < ant_tensor_elements(whole));
            assert_memory_equal((const char *)piece.tensor.data + (size_t)(i * width + k) * element,
                                (const char *)whole->data + (size_t)at * element, element);
            counts[at]++;
        }
    free(memory);
}

/* So many of the ranks of a stage hold each element. */
static int copies_of(const struct ant_arch *arch, enum ant_role role, int tp)
{
    struct ant_shard shard = {.tp_rank = 1};

    switch (role) {
    case ANT_W_EMBED:
    case ANT_W_OUTPUT:
    case ANT_W_OUTPUT_BIAS:
    case ANT_W_Q:
    case ANT_W_Q_BIAS:
    case ANT_W_O:
    case ANT_W_GATE:
    case ANT_W_UP:
    case ANT_W_DOWN:
    case ANT_W_SHARED_GATE:
    case ANT_W_SHARED_UP:
    case ANT_W_SHARED_DOWN:
    case ANT_W_EXPERT_GATE:
    case ANT_W_EXPERT_UP:
    case ANT_W_EXPERT_DOWN:
        return 1;
    case ANT_W_K:
    case ANT_W_V:
    case ANT_W_K_BIAS:
    case ANT_W_V_BIAS:
        return tp > arch->n_kv_heads ? tp / arch->n_kv_heads : 1;
    default:
        return ant_shard_is_mine(&shard, role) ? tp : 1;
    }
}

static void check_tensor(const struct ant_checkpoint *checkpoint, const struct ant_tensor *whole,
                         enum ant_role role, int layer, int expert, int dp, int tp, int pp,
                         enum ant_ep ep)
{
    const struct ant_arch *arch = ant_checkpoint_arch(checkpoint);
    int64_t n = ant_tensor_elements(whole);
    int *counts = ant_xcalloc((size_t)n, sizeof *counts);
    int wanted = copies_of(arch, role, tp) * (expert >= 0 && ep == ANT_EP_JOB ? 1 : dp);

    for (int rank = 0; rank < dp * tp * pp; rank++) {
        struct ant_layout layout = layout_of(rank, dp, tp, pp, ep);
        struct ant_shard shard;
        struct ant_error err;

        if (ant_shard_init(&shard, checkpoint, &layout, &err) < 0)
            fail_msg("%s", err.text);
        const struct ant_moe *moe = &shard.arch.moe;
        if (layer < shard.layers.first || layer >= shard.layers.first + shard.layers.count)
            continue;
        if (expert < 0 || (expert >= moe->first_held && expert < moe->first_held + moe->n_held))
            count_piece(&shard, role, whole, counts);
    }
    for (int64_t i = 0; i < n; i++)
        if (counts[i] != wanted)
            fail_msg("'%s', dp %d, tp %d, pp %d, ep %d: element %lld is held %d times, not %d",
                     whole->name, dp, tp, pp, ep, (long long)i, counts[i], wanted);
    free(counts);
}

static void check_layer(const struct ant_checkpoint *checkpoint, int layer, int dp, int tp, int pp,
                        enum ant_ep ep)
{
    int n_experts = ant_checkpoint_arch(checkpoint)->moe.n_experts;

    for (int role = ANT_W_ATTN_NORM; role < ANT_N_ROLES; role++) {
        bool is_expert = ant_role_is_expert(role);
        for (int i = 0; i < (is_expert ? n_experts : 1); i++) {
            const struct ant_tensor *whole = is_expert
                                                 ? ant_checkpoint_expert(checkpoint, role, layer, i)
                                                 : ant_checkpoint_role(checkpoint, role, layer);
            if (whole)
                check_tensor(checkpoint, whole, role, layer, is_expert ? i : -1, dp, tp, pp, ep);
        }
    }
}

static void check_layouts(const char *name, const enum ant_ep *eps, int n_eps)
{
    static const int layouts[][3] = {{1, 1, 1}, {1, 2, 1}, {2, 1, 1}, {2, 2, 1},
                                     {1, 1, 2}, {1, 4, 1}, {3, 1, 2}, {2, 2, 2}};
    struct ant_checkpoint *checkpoint = open_tiny(name, NULL);

    for (int e = 0; e < n_eps; e++)
        for (size_t i = 0; i < sizeof layouts / sizeof *layouts; i++)
            for (int layer = 0; layer < ant_checkpoint_arch(checkpoint)->n_layers; layer++)
                check_layer(checkpoint, layer, layouts[i][0], layouts[i][1], layouts[i][2], eps[e]);
    ant_checkpoint_close(checkpoint);
}

static void dense_models_are_whole(void **state)
{
    (void)state;
    check_layouts("llama", (enum ant_ep[]){ANT_EP_NONE}, 1);
    check_layouts("qwen2", (enum ant_ep[]){ANT_EP_NONE}, 1);
}

static void mixtures_are_whole(void **state)
{
    static const enum ant_ep eps[] = {ANT_EP_NONE, ANT_EP_REPLICA, ANT_EP_JOB};

    (void)state;
    check_layouts("mixtral", eps, 3);
    check_layouts("phimoe", eps, 3);
    check_layouts("qwen2moe", eps, 3); /* with a shared expert */
}

/* ---- who adds, who holds --------------------------------------------------------------------- */

/* The ranks of a stage add each expert once, and a rank's part is the same in every replica; the
 * holders that a rank knows are those that say so of themselves. */
static void experts_have_one_adder_and_one_holder(void **state)
{
    struct ant_checkpoint *checkpoint = open_tiny("mixtral", NULL);
    int n_experts = ant_checkpoint_arch(checkpoint)->moe.n_experts;

    (void)state;
    for (int dp = 1; dp <= 4; dp++)
        for (int tp = 1; tp <= 2; tp++) {
            int added = 0;
            for (int rank = 0; rank < dp * tp; rank++) {
                struct ant_layout layout = layout_of(rank, dp, tp, 1, ANT_EP_JOB);
                struct ant_shard mine, theirs;

                assert_int_equal(ant_shard_init(&mine, checkpoint, &layout, NULL), 0);
                assert_int_equal(mine.experts.n, dp);
                assert_int_equal(mine.experts.me, layout.dp_rank);
                for (int i = 0; i < dp; i++) {
                    struct ant_layout other =
                        layout_of(i * tp + layout.tp_rank, dp, tp, 1, ANT_EP_JOB);
                    assert_int_equal(ant_shard_init(&theirs, checkpoint, &other, NULL), 0);
                    assert_int_equal(theirs.arch.moe.first_held, mine.experts.start[i]);
                    assert_int_equal(theirs.arch.moe.n_held,
                                     mine.experts.start[i + 1] - mine.experts.start[i]);
                    assert_true(theirs.arch.moe.n_held > 0);
                }
                if (layout.dp_rank == 0)
                    added += mine.experts.start[dp] - mine.experts.start[0];
            }
            assert_int_equal(added, n_experts);
        }
    ant_checkpoint_close(checkpoint);
}

/* ---- what cannot be -------------------------------------------------------------------------- */

static void is_refused(const char *name, int dp, int tp, int pp, enum ant_ep ep, const char *text)
{
    struct ant_checkpoint *checkpoint = open_tiny(name, NULL);
    struct ant_layout layout = layout_of(0, dp, tp, pp, ep);
    struct ant_shard shard;
    struct ant_error err = {{0}};

    assert_int_equal(ant_shard_init(&shard, checkpoint, &layout, &err), ANT_EUSAGE);
    if (!strstr(err.text, text))
        fail_msg("'%s' does not say '%s'", err.text, text);
    ant_checkpoint_close(checkpoint);
}

static void says_what_cannot_be(void **state)
{
    (void)state;
    is_refused("llama", 1, 3, 1, ANT_EP_NONE, "choose another --tp-size");
    is_refused("llama", 1, 1, 3, ANT_EP_NONE, "2 layers cannot be split into 3 stages");
    is_refused("llama", 1, 2, 1, ANT_EP_REPLICA, "--enable-ep is for mixtures of experts");
    is_refused("olmo2", 1, 2, 1, ANT_EP_NONE, "--tp-size must be 1");
    is_refused("qwen2moe", 4, 2, 1, ANT_EP_JOB, "6 experts cannot be spread over 8 ranks");
    is_refused("mixtral", 9, 1, 1, ANT_EP_JOB, "8 experts cannot be spread over 9 ranks");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(dense_models_are_whole),
        cmocka_unit_test(mixtures_are_whole),
        cmocka_unit_test(experts_have_one_adder_and_one_holder),
        cmocka_unit_test(says_what_cannot_be),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
