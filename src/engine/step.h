/* SPDX-License-Identifier: Apache-2.0 */
/* A step that is being planned: the arrays of struct ant_batch, filled row by row, sequence by
 * sequence, and what its sampled rows are. Pure integers. Thread: engine. */
#ifndef ANT_ENGINE_STEP_H
#define ANT_ENGINE_STEP_H

#include <stdbool.h>

#include "backend/backend.h"
#include "engine/edits.h"
#include "engine/engine.h"
#include "engine/guide.h"

/* What the i-th sampled row of a step is. Those of a request follow each other, first to last. */
struct ant_sample {
    struct ant_request *request; /* NULL: has ended before */
    int32_t place;               /* of the token among those of prompt and answer */
    bool is_given;               /* known before: its log probability is wanted */
    int32_t guess; /* of one that is drawn: the request's next samples are of use only if this is
                      what was; -1: it has none */
};

struct ant_step {
    int32_t *tokens, *positions;               /* owned, (max_step_rows) */
    int32_t *row_start, *context, *page_start; /* owned, (max_seqs + 1) */
    int32_t *pages;                            /* owned */
    int32_t *sampled;                          /* owned, (max_sampled) */
    struct ant_draw *draws;                    /* likewise */
    struct ant_sample *samples;                /* likewise */
    struct ant_edits edits;                    /* of all draws, in their order */
    struct ant_masks masks;                    /* of those that have one */
    int n_rows, n_seqs, n_sampled, n_drawn;
    int decode_rows; /* the planner's */
    bool is_open;    /* what its draws depend on is not all known yet */
};

/* Room for the largest step of the configuration, whose max_sampled is not 0. */
void ant_step_open(struct ant_step *step, const struct ant_engine_config *config);
void ant_step_close(struct ant_step *step);
void ant_step_clear(struct ant_step *step);

/* The next row of the sequence at hand. */
void ant_step_add_row(struct ant_step *step, int32_t token, int position);
/* The row added last has its logits computed: the token behind it, in this place, is known and its
 * log probability is wanted; */
void ant_step_add_given(struct ant_step *step, struct ant_request *request, int place,
                        int32_t token);
/* or it draws token `n` of the answer, from 0 on. Returns which sampled row it is. */
int ant_step_add_draw(struct ant_step *step, struct ant_request *request, uint64_t key, int n,
                      int32_t guess);
/* The sequence is complete: it has so many tokens now, in these pages, whose numbers are raised by
 * `first_page`. */
void ant_step_end_sequence(struct ant_step *step, int context, const int32_t *pages, int n_pages,
                           int first_page);

/* Every token before the draws is known: say by which edits and masks they draw. */
void ant_step_settle(struct ant_step *step);

/* The arrays are the step's. */
void ant_step_batch(const struct ant_step *step, struct ant_batch *out);

#endif
