/* SPDX-License-Identifier: Apache-2.0 */
/* What penalties, biases, allowed and bad words do to the logits of a draw, as a list of changed
 * ids: an id once, in no order. As in vLLM: the repetition penalty counts tokens of the prompt and
 * of the answer, presence and frequency those of the answer. Thread: engine. */
#ifndef ANT_ENGINE_EDITS_H
#define ANT_ENGINE_EDITS_H

#include "engine/engine.h"

/* The edits of one step, one draw's after the other. Zero-initialised is empty. */
struct ant_edits {
    struct ant_edit *items; /* owned, (n) */
    int n, cap;
    int32_t *place; /* owned, (n_ids) where the draw at hand has an id, from 1; 0: nowhere */
    int n_ids;
};

/* Add the edits of the request's next draw, all of whose tokens are known. */
void ant_edits_add(struct ant_edits *edits, const struct ant_request *request);
void ant_edits_clear(struct ant_edits *edits);
void ant_edits_release(struct ant_edits *edits);

/* Is there anything to edit? */
bool ant_edits_are_wanted(const struct ant_sampling *sampling, const struct ant_rules *rules);

/* The request's draws depend on the tokens before them: each of them must be known. */
bool ant_edits_look_back(const struct ant_request *request);

#endif
