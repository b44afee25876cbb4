/* SPDX-License-Identifier: Apache-2.0 */
/* Answers under a constraint (text/constraint.h): what may be drawn in a step, and when they are
 * whole. Thread: engine. */
#ifndef ANT_ENGINE_GUIDE_H
#define ANT_ENGINE_GUIDE_H

#include "engine/engine.h"

/* The masks of one step, one draw's after the other. Zero-initialised is empty. */
struct ant_masks {
    uint64_t *words; /* owned, (n) */
    size_t n, cap;
    size_t each; /* words of a mask: as many for every draw */
};

/* Add the mask of the next draw of a request with a constraint, all of whose tokens are known. */
void ant_masks_add(struct ant_masks *masks, struct ant_request *request);
void ant_masks_clear(struct ant_masks *masks);
void ant_masks_release(struct ant_masks *masks);

/* Look at the tokens that are new in the request's output: sets `finish` if nothing can come behind
 * them, or, with the reason in `why`, if they are not what its constraint allows. */
void ant_guide_follow(struct ant_request *request);

#endif
