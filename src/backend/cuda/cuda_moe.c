/* SPDX-License-Identifier: Apache-2.0 */
/* Mixtures of experts. What a step's rows choose is known on the device alone: the host knows how
 * many entries there are, and launches for the most tiles that they can become. */
#include "config.h"

#include "backend/cuda/cuda.h"

static void fail(struct cuda_backend *cuda, const char *text)
{
    if (!cuda->failed)
        cuda->failed = ant_fail(&cuda->error, ANT_EBUG, "cuda: %s", text);
}

static enum kern_score score_of(const struct ant_moe *moe)
{
    static const enum kern_score kinds[] = {[ANT_ROUTER_SOFTMAX] = KERN_SCORE_SOFTMAX,
                                            [ANT_ROUTER_SIGMOID] = KERN_SCORE_SIGMOID,
                                            [ANT_ROUTER_SPARSEMIXER] = KERN_SCORE_SPARSEMIXER};
    return kinds[moe->score];
}

static void sort_places(struct cuda_backend *cuda, const int32_t *ids)
{
    const struct cuda_moe *at = &cuda->moe;

    ant_cuda_done(cuda,
                  kern_sort((struct kern_sort){.ids = ids,
                                               .places = at->places,
                                               .rows = at->rows,
                                               .tiles = at->tiles,
                                               .n_tiles = at->n_tiles,
                                               .entries = at->entries,
                                               .used = cuda->arch.moe.n_used,
                                               .first = cuda->arch.moe.first_held,
                                               .n_held = at->n_held,
                                               .tile_places = at->tile_places},
                            cuda->stream),
                  "sorting of %d entries by expert", at->entries);
}

void ant_cuda_route(struct ant_backend *be, const struct ant_weight *router)
{
    struct cuda_backend *cuda = cuda_of(be);
    const struct ant_moe *moe = &cuda->arch.moe;
    const struct cuda_moe *at = &cuda->moe;

    ant_tally_add(&cuda->tally.weight_bytes, (double)router->bytes);
    if (moe->n_experts == 0 || router->k != cuda->arch.hidden ||
        router->n < moe->n_experts + moe->has_shared_scale)
        fail(cuda, "a router that does not fit the model");
    if (!ant_cuda_is_on(cuda))
        return;
    ant_cuda_done(
        cuda,
        kern_route((struct kern_route){.in = cuda->slots[ANT_SLOT_NORMED].data,
                                       .router = router->matrix,
                                       .bias = router->vector_bias,
                                       .ids = at->ids,
                                       .weights = at->weights,
                                       .shares = moe->has_shared_scale ? at->shares : NULL,
                                       .rows = cuda->n_rows,
                                       .hidden = cuda->arch.hidden,
                                       .experts = moe->n_experts,
                                       .used = moe->n_used,
                                       .score = score_of(moe),
                                       .is_renormalized = moe->is_renormalized,
                                       .groups = moe->n_groups,
                                       .groups_used = moe->n_groups_used,
                                       .jitter = moe->jitter,
                                       .scale = moe->scale > 0 ? (float)moe->scale : 1},
                   cuda->stream),
        "choice of experts for %d rows", cuda->n_rows);
    if (cuda->n_rows == 0) /* what is brought in their place has chosen none */
        ant_cuda_done(cuda,
                      cudaMemsetAsync(at->ids, 0xff,
                                      (size_t)ant_cuda_spread_mine(cuda) * (size_t)moe->n_used *
                                          sizeof(*at->ids),
                                      cuda->stream),
                      "choice of no experts");
}

/* The products of all experts by the rows that chose them; `rows` NULL: these lie in order. */
static void multiply(struct cuda_backend *cuda, const struct ant_weight *w, const uint16_t *in,
                     const int32_t *rows, uint16_t *out, bool is_gated)
{
    const struct cuda_moe *at = &cuda->moe;
    int n = at->entries, tile = at->tile_places;
    double read = at->likely < w->n_experts ? (double)at->likely / w->n_experts : 1; /* at most */

    ant_tally_add(&cuda->tally.weight_bytes, read * (double)w->bytes);
    ant_tally_add(&cuda->tally.flops, 2.0 * at->likely * w->n * w->k);
    if (!ant_cuda_is_on(cuda))
        return;
    ant_cuda_done(
        cuda,
        kern_grouped((struct kern_grouped){.in = in,
                                           .rows = rows,
                                           .places = n,
                                           .weights = w->matrix,
                                           .out = out,
                                           .tiles = at->tiles,
                                           .n_tiles = at->n_tiles,
                                           .max_tiles = kern_most_tiles(n, at->n_held, tile),
                                           .tile_places = tile,
                                           .n_held = w->n_experts,
                                           .n = w->n,
                                           .k = w->k,
                                           .is_gated = is_gated,
                                           .is_gelu = cuda->arch.act == ANT_ACT_GELU},
                     cuda->stream),
        "products of %d entries with experts of %d x %d", n, w->n, w->k);
}

void ant_cuda_run_experts(struct cuda_backend *cuda, const int32_t *ids, const uint16_t *in,
                          int rows, const struct ant_weight *gate_up, const struct ant_weight *down)
{
    struct cuda_moe *at = &cuda->moe;
    const struct ant_moe *moe = &cuda->arch.moe;

    at->entries = rows * moe->n_used;
    at->likely = (int)((int64_t)at->entries * at->n_held / moe->n_experts);
    at->tile_places = kern_tile_places(at->likely, at->n_held);
    if (ant_cuda_is_on(cuda))
        sort_places(cuda, ids);
    multiply(cuda, gate_up, in, at->rows, at->hidden, true);
    multiply(cuda, down, at->hidden, NULL, at->out, false);
}

/* RESIDUAL lacks a sum of rows of moe.out. */
static void add_later(struct cuda_backend *cuda, const int32_t *places, const float *weights,
                      int used)
{
    if (ant_cuda_is_on(cuda))
        cuda->late_terms = (struct kern_terms){cuda->moe.out, places, weights, used};
}

void ant_cuda_experts(struct ant_backend *be, const struct ant_weight *gate_up,
                      const struct ant_weight *down)
{
    struct cuda_backend *cuda = cuda_of(be);
    const struct cuda_moe *at = &cuda->moe;
    int hidden = cuda->arch.hidden;

    if (gate_up->n_experts != at->n_held || down->n_experts != at->n_held || gate_up->k != hidden ||
        gate_up->n != 2 * at->ff || down->k != at->ff || down->n != hidden)
        fail(cuda, "experts that do not fit the model");
    if (cuda->failed)
        return;
    if (cuda->config.spread) {
        ant_cuda_spread_experts(cuda, gate_up, down);
        return;
    }
    ant_cuda_run_experts(cuda, at->ids, cuda->slots[ANT_SLOT_NORMED].data, cuda->n_rows, gate_up,
                         down);
    add_later(cuda, at->places, at->weights, cuda->arch.moe.n_used);
}

void ant_cuda_add_share(struct cuda_backend *cuda)
{
    add_later(cuda, NULL, cuda->moe.shares, 1);
}
