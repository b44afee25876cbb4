/* SPDX-License-Identifier: Apache-2.0 */
/* What the first rank of a replica tells the others: the step to run, as bytes. How tokens are
 * drawn is not in it, for the first rank draws. Thread: engine. */
#ifndef ANT_MODEL_PLAN_H
#define ANT_MODEL_PLAN_H

#include "backend/backend.h"
#include "base/mem.h"

enum ant_plan_kind {
    ANT_PLAN_STEP,
    ANT_PLAN_WAIT, /* nothing to do for now: the first rank lives */
    ANT_PLAN_END,  /* there will be no more steps */
};

/* Travels before the plan, so that its reader has room. */
struct ant_plan_head {
    int32_t kind, n_rows, n_seqs, n_sampled, n_pages;
};

struct ant_plan_head ant_plan_head(const struct ant_batch *batch);
size_t ant_plan_bytes(const struct ant_plan_head *head);

/* The arrays of `batch` to `out` (ant_plan_bytes). */
void ant_plan_write(const struct ant_batch *batch, void *out);
/* A batch whose arrays point into `data`; it has no draws. */
void ant_plan_read(const struct ant_plan_head *head, const void *data, struct ant_batch *out);

#endif
