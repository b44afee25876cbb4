/* SPDX-License-Identifier: Apache-2.0 */
/* What the first rank of a replica tells the others: the step to run, as bytes. In a pipeline also
 * how tokens are drawn, for the first rank of the last stage, which draws. Thread: engine. */
#ifndef ANT_MODEL_PLAN_H
#define ANT_MODEL_PLAN_H

#include "backend/backend.h"
#include "base/mem.h"

enum ant_plan_kind {
    ANT_PLAN_STEP,
    ANT_PLAN_DRAWN, /* the first rank waits for what the oldest step of the pipeline has drawn */
    ANT_PLAN_WAIT,  /* nothing to do for now: the first rank lives */
    ANT_PLAN_END,   /* there will be no more steps */
};

/* Travels before the plan, so that its reader has room. */
struct ant_plan_head {
    int64_t draw_bytes; /* behind the plan, where the next to read it needs them */
    int32_t kind, n_rows, n_seqs, n_sampled, n_pages, n_masks;
};

struct ant_plan_head ant_plan_head(const struct ant_batch *batch);
size_t ant_plan_bytes(const struct ant_plan_head *head);

/* The arrays of `batch` to `out` (ant_plan_bytes). */
void ant_plan_write(const struct ant_batch *batch, void *out);
/* A batch whose arrays point into `data`; it has no draws. */
void ant_plan_read(const struct ant_plan_head *head, const void *data, struct ant_batch *out);

/* The draws of `batch`, with the lists that they name, to the end of `body`, a plan that begins it.
 * `mask_words`: of each mask. */
void ant_plan_add_draws(struct ant_plan_head *head, const struct ant_batch *batch,
                        size_t mask_words, struct ant_buf *body);
/* These to `batch`, with their lists and masks, all inside `data`, where plan and draws are;
 * called once. */
void ant_plan_read_draws(const struct ant_plan_head *head, void *data, struct ant_batch *batch);

#endif
