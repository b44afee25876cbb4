/* SPDX-License-Identifier: Apache-2.0 */
/* Answers under a constraint (text/constraint.h): what may be drawn in a step, and when they are
 * whole. Thread: engine. */
#ifndef ANT_ENGINE_GUIDE_H
#define ANT_ENGINE_GUIDE_H

#include "engine/engine.h"

/* The masks of one step; draws with the same one share it. Zero-initialised is empty. */
struct ant_masks {
    uint64_t *words;                 /* owned, (n, each) */
    struct ant_mask_source *sources; /* owned, (n) */
    int n, cap;
    size_t each;    /* words of a mask */
    int32_t *draws; /* owned, (n_draws) which mask is whose, in the order of the draws added */
    int n_draws, draws_cap;
};

/* Add the next draw of a request with a constraint, all of whose tokens are known. */
void ant_masks_add(struct ant_masks *masks, struct ant_request *request);
void ant_masks_clear(struct ant_masks *masks);
void ant_masks_release(struct ant_masks *masks);
/* The mask of the i-th draw added; it stays where it is once all are. */
const uint64_t *ant_masks_of(const struct ant_masks *masks, int i);

/* Look at the tokens that are new in the request's output: sets `finish` if nothing can come behind
 * them, or, with the reason in `why`, if they are not what its constraint allows. */
void ant_guide_follow(struct ant_request *request);

#endif
