/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "model/replica.h"

#include "base/clock.h"

/* The plan at hand to the next stage. */
static int pass_down(const struct ant_replica *replica, struct ant_error *err)
{
    const struct ant_parallel *parallel = replica->parallel;
    int next = parallel->pp_rank + 1;

    if (next == parallel->pp_size || parallel->tp_rank != 0)
        return 0;
    int to = ant_replica_peer(parallel, next);
    ANT_TRY(ant_group_send(parallel->replica, to, &replica->head, sizeof(replica->head), err));
    return ant_group_send(parallel->replica, to, replica->body.data, replica->body.len, err);
}

static void make_room(struct ant_replica *replica)
{
    replica->body.len = 0;
    if (replica->head.kind == ANT_PLAN_STEP)
        ant_buf_grow(&replica->body, ant_plan_bytes(&replica->head));
}

/* The plan at hand to, or from the first rank of this stage to the others. */
static int share(struct ant_replica *replica, struct ant_error *err)
{
    const struct ant_parallel *parallel = replica->parallel;

    if (!parallel->stage)
        return 0;
    ANT_TRY(ant_group_broadcast(parallel->stage, 0, &replica->head, sizeof(replica->head),
                                ANT_PARALLEL_TIMEOUT_S, err));
    if (parallel->tp_rank != 0)
        make_room(replica);
    return ant_group_broadcast(parallel->stage, 0, replica->body.data, replica->body.len,
                               ANT_PARALLEL_TIMEOUT_S, err);
}

int ant_replica_tell(struct ant_replica *replica, enum ant_plan_kind kind,
                     const struct ant_batch *batch, struct ant_error *err)
{
    if (kind == ANT_PLAN_WAIT && ant_now() - replica->last_told < 1)
        return 0;
    replica->last_told = ant_now();
    replica->head = kind == ANT_PLAN_STEP ? ant_plan_head(batch)
                                          : (struct ant_plan_head){.kind = (int32_t)kind};
    make_room(replica);
    if (kind == ANT_PLAN_STEP)
        ant_plan_write(batch, replica->body.data);
    ANT_TRY(pass_down(replica, err));
    return share(replica, err);
}

int ant_replica_hear(struct ant_replica *replica, struct ant_error *err)
{
    const struct ant_parallel *parallel = replica->parallel;

    if (parallel->tp_rank == 0) {
        int from = ant_replica_peer(parallel, parallel->pp_rank - 1);
        ANT_TRY(ant_group_receive(parallel->replica, from, &replica->head, sizeof(replica->head),
                                  ANT_PARALLEL_TIMEOUT_S, err));
        make_room(replica);
        ANT_TRY(ant_group_receive(parallel->replica, from, replica->body.data, replica->body.len,
                                  ANT_PARALLEL_TIMEOUT_S, err));
        ANT_TRY(pass_down(replica, err));
    }
    return share(replica, err);
}
