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
    if (replica->body.len == 0)
        return 0;
    return ant_group_send(parallel->replica, to, replica->body.data, replica->body.len, err);
}

static void make_room(struct ant_replica *replica)
{
    replica->body.len = 0;
    if (replica->head.kind == ANT_PLAN_STEP)
        ant_buf_grow(&replica->body,
                     ant_plan_bytes(&replica->head) + (size_t)replica->head.draw_bytes);
}

/* The plan at hand to, or from the first rank of this stage to the others, who draw nothing. */
static int share(struct ant_replica *replica, struct ant_error *err)
{
    const struct ant_parallel *parallel = replica->parallel;

    if (!parallel->stage)
        return 0;
    ANT_TRY(ant_group_broadcast(parallel->stage, 0, &replica->head, sizeof(replica->head),
                                ANT_PARALLEL_TIMEOUT_S, err));
    if (parallel->tp_rank != 0) {
        replica->head.draw_bytes = 0;
        make_room(replica);
    }
    if (replica->head.kind != ANT_PLAN_STEP)
        return 0;
    return ant_group_broadcast(parallel->stage, 0, replica->body.data,
                               ant_plan_bytes(&replica->head), ANT_PARALLEL_TIMEOUT_S, err);
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
    if (kind == ANT_PLAN_STEP && replica->parallel->pp_size > 1)
        ant_plan_add_draws(&replica->head, batch, replica->mask_words, &replica->body);
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
        if (replica->body.len > 0)
            ANT_TRY(ant_group_receive(parallel->replica, from, replica->body.data,
                                      replica->body.len, ANT_PARALLEL_TIMEOUT_S, err));
        ANT_TRY(pass_down(replica, err));
    }
    return share(replica, err);
}

/* ---- what was drawn -------------------------------------------------------------------------- */

/* Ids and logprobs, then the best of each row if they are wanted: so many values of 4 bytes. */
static size_t drawn_values(int n, bool has_top)
{
    return 2 * (size_t)n * (1 + (has_top ? ANT_MAX_TOP : 0));
}

int ant_replica_return(const struct ant_replica *replica, const struct ant_drawn *drawn, int n,
                       bool has_top, struct ant_error *err)
{
    size_t each = (size_t)n * 4;
    struct ant_buf data = {0};

    ant_buf_add(&data, drawn->ids, each);
    ant_buf_add(&data, drawn->logprobs, each);
    if (has_top) {
        ant_buf_add(&data, drawn->top_ids, each * ANT_MAX_TOP);
        ant_buf_add(&data, drawn->top_logprobs, each * ANT_MAX_TOP);
    }
    int rc = ant_group_send(replica->parallel->replica, 0, data.data, data.len, err);
    ant_buf_release(&data);
    return rc;
}

int ant_replica_await(struct ant_replica *replica, int n, bool has_top, struct ant_drawn *out,
                      struct ant_error *err)
{
    const struct ant_parallel *parallel = replica->parallel;
    int from = (parallel->pp_size - 1) * parallel->tp_size;

    replica->drawn.len = 0;
    ant_buf_grow(&replica->drawn, drawn_values(n, has_top) * 4);
    ANT_TRY(ant_group_receive(parallel->replica, from, replica->drawn.data, replica->drawn.len,
                              ANT_PARALLEL_TIMEOUT_S, err));
    const int32_t *ids = (const int32_t *)(const void *)replica->drawn.data;
    *out = (struct ant_drawn){.ids = ids, .logprobs = (const float *)(ids + n)};
    if (has_top) {
        out->top_ids = ids + 2 * n;
        out->top_logprobs = (const float *)(out->top_ids + n * ANT_MAX_TOP);
    }
    return 0;
}
