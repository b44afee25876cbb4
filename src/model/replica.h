/* SPDX-License-Identifier: Apache-2.0 */
/* How a step's plan reaches all ranks of a replica: from its first rank down the pipeline, in each
 * stage from its first rank to the others; and how what was drawn comes back from the last stage.
 * Internal to src/model. Thread: engine. */
#ifndef ANT_MODEL_REPLICA_H
#define ANT_MODEL_REPLICA_H

#include "job/parallel.h"
#include "model/plan.h"

struct ant_replica {
    const struct ant_parallel *parallel;
    struct ant_plan_head head; /* of the plan at hand */
    struct ant_buf body;       /* owned: it, and draws behind it */
    size_t mask_words;         /* of a draw's mask */
    struct ant_buf drawn;      /* owned: what came back last */
    double last_told;          /* ant_now() */
};

/* Of the first rank. A plan to wait is told at most every second. Errors: ANT_EPEER. */
int ant_replica_tell(struct ant_replica *replica, enum ant_plan_kind kind,
                     const struct ant_batch *batch, struct ant_error *err);
/* Of the others: the next plan, which has been passed on; it is in `head` and `body`. */
int ant_replica_hear(struct ant_replica *replica, struct ant_error *err);

/* What a step drew, from the rank that draws in a pipeline to the first one. `n`: sampled rows;
 * has_top: best ids are wanted. */
int ant_replica_return(const struct ant_replica *replica, const struct ant_drawn *drawn, int n,
                       bool has_top, struct ant_error *err);
/* It, on the first rank; valid until the next one. */
int ant_replica_await(struct ant_replica *replica, int n, bool has_top, struct ant_drawn *out,
                      struct ant_error *err);

/* The rank of the replica that holds the same part of another stage. */
static inline int ant_replica_peer(const struct ant_parallel *parallel, int stage)
{
    return stage * parallel->tp_size + parallel->tp_rank;
}

#endif
