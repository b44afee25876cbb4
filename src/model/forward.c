/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "model/model_internal.h"

#include <string.h>

/* ---- the layers ------------------------------------------------------------------------------ */

/* Where each rank of a stage has a summand of what is added to the residual,
 * the first brings the residual itself as well, and their sum is everybody's.
 */
static void begin_sum(const struct ant_model *model)
{
    if (model->shard.tp_rank > 0)
        model->be->ops->clear(model->be, ANT_SLOT_RESIDUAL);
}

static void end_sum(const struct ant_model *model, enum ant_slot slot)
{
    if (model->shard.tp_size > 1)
        model->be->ops->all_reduce(model->be, slot);
}

/* What a product adds to the residual: at once, or through the norm behind the
 * block. */
static void add(const struct ant_model *model, const struct ant_weight *w, enum ant_slot in,
                const struct ant_weight *post_norm)
{
    const struct ant_backend_ops *ops = model->be->ops;
    struct ant_backend *be = model->be;

    if (!post_norm) {
        begin_sum(model);
        ops->gemm(be, w, in, ANT_SLOT_RESIDUAL, ANT_EPILOGUE_ADD);
        end_sum(model, ANT_SLOT_RESIDUAL);
        return;
    }
    ops->gemm(be, w, in, ANT_SLOT_BRANCH, ANT_EPILOGUE_STORE);
    end_sum(model, ANT_SLOT_BRANCH);
    ops->norm_add(be, post_norm);
}

static void forward_experts(const struct ant_model *model, const struct ant_layer *layer)
{
    const struct ant_backend_ops *ops = model->be->ops;
    struct ant_backend *be = model->be;
    enum ant_epilogue shared =
        model->arch->moe.has_shared_scale ? ANT_EPILOGUE_SHARE : ANT_EPILOGUE_ADD;

    ops->route(be, layer->router);
    begin_sum(model);
    ops->experts(be, layer->experts_gate_up, layer->experts_down);
    if (layer->gate_up) {
        ops->gemm(be, layer->gate_up, ANT_SLOT_NORMED, ANT_SLOT_SHARED, ANT_EPILOGUE_GLU);
        ops->gemm(be, layer->down, ANT_SLOT_SHARED, ANT_SLOT_RESIDUAL, shared);
    }
    end_sum(model, ANT_SLOT_RESIDUAL);
}

static void forward_layer(const struct ant_model *model, int i)
{
    const struct ant_layer *layer = &model->layers[i];
    const struct ant_backend_ops *ops = model->be->ops;
    struct ant_backend *be = model->be;

    ops->norm(be, layer->attn_norm);
    ops->gemm(be, layer->qkv, ANT_SLOT_NORMED, ANT_SLOT_QKV, ANT_EPILOGUE_STORE);
    ops->rope_append(be, i, layer->q_norm, layer->k_norm);
    ops->attention(be, i, ant_arch_window(model->arch, i));
    if (i + 1 == model->arch->n_layers && ant_shard_is_last(&model->shard))
        ops->keep_sampled(be);
    add(model, layer->o, ANT_SLOT_ATTN, layer->attn_post_norm);

    ops->norm(be, layer->mlp_norm);
    if (layer->router) {
        forward_experts(model, layer);
        return;
    }
    ops->gemm(be, layer->gate_up, ANT_SLOT_NORMED, ANT_SLOT_HIDDEN, ANT_EPILOGUE_GLU);
    add(model, layer->down, ANT_SLOT_HIDDEN, layer->mlp_post_norm);
}

/* ---- one stage ------------------------------------------------------------------------------- */

static void begin_rows(const struct ant_model *model)
{
    const struct ant_backend_ops *ops = model->be->ops;

    if (ant_shard_is_first(&model->shard)) {
        ops->embed(model->be, model->embed);
        end_sum(model, ANT_SLOT_RESIDUAL);
        return;
    }
    ops->receive(model->be, ANT_SLOT_RESIDUAL,
                 ant_replica_peer(model->replica.parallel, model->shard.pp_rank - 1));
}

/* The logits are on the first rank of the last stage, which draws. */
static void end_rows(const struct ant_model *model, const struct ant_batch *batch)
{
    const struct ant_backend_ops *ops = model->be->ops;
    struct ant_backend *be = model->be;

    if (!ant_shard_is_last(&model->shard)) {
        ops->send(be, ANT_SLOT_RESIDUAL,
                  ant_replica_peer(model->replica.parallel, model->shard.pp_rank + 1));
        return;
    }
    if (batch->n_sampled == 0)
        return;
    ops->norm_sampled(be, model->final_norm);
    ops->gemm(be, model->output, ANT_SLOT_LAST, ANT_SLOT_LOGITS, ANT_EPILOGUE_STORE);
    if (model->shard.tp_size > 1)
        ops->gather_logits(be);
    if (model->shard.tp_rank == 0 && !batch->is_open)
        ops->sample(be);
    if (model->shard.tp_size > 1 && model->shard.pp_size == 1)
        ops->share_drawn(be);
}

static void run_stage(const struct ant_model *model, const struct ant_batch *batch)
{
    model->be->ops->step_begin(model->be, batch);
    begin_rows(model);
    for (int i = 0; i < model->arch->n_layers; i++)
        forward_layer(model, i);
    end_rows(model, batch);
    model->be->ops->step_end(model->be);
}

/* ---- a stage of several ---------------------------------------------------------------------- */

static struct ant_stage_step *step_at(const struct ant_model *model, int64_t i)
{
    return &model->steps[i % ant_model_most_steps(model)];
}

static bool has_top(const struct ant_batch *batch)
{
    for (int i = 0; batch->draws && i < batch->n_sampled; i++)
        if (batch->draws[i].n_top > 0)
            return true;
    return false;
}

/* While this rank waits for its device its messages do not move: the next stage must have been told
 * of the step whose rows it is to take. */
static int let_plans_go(const struct ant_model *model, struct ant_error *err)
{
    if (model->depth == 1 || ant_shard_is_last(&model->shard))
        return 0;
    return ant_group_flush(model->replica.parallel->replica, ANT_PARALLEL_TIMEOUT_S, err);
}

/* The oldest step of this stage that may still run; what it drew goes to the first rank. */
static int wait_oldest(struct ant_model *model, struct ant_error *err)
{
    const struct ant_stage_step *step = step_at(model, model->n_run);
    struct ant_drawn drawn;

    ANT_TRY(let_plans_go(model, err));
    ANT_TRY(model->be->ops->step_wait(model->be, &drawn, err));
    model->n_run++;
    if (!ant_shard_is_last(&model->shard) || model->shard.tp_rank > 0 || step->n_sampled == 0)
        return 0;
    return ant_replica_return(&model->replica, &drawn, step->n_sampled, step->has_top, err);
}

/* The backend has work while the next plan is on its way, if it takes more than one step. */
static int begin_stage(struct ant_model *model, const struct ant_batch *batch,
                       struct ant_error *err)
{
    struct ant_batch mine = *batch;

    if (!ant_shard_is_last(&model->shard)) {
        mine.draws = NULL;
        mine.n_masks = 0;
    }
    if (model->n_begun - model->n_run == model->depth)
        ANT_TRY(wait_oldest(model, err));
    run_stage(model, &mine);
    *step_at(model, model->n_begun++) = (struct ant_stage_step){batch->n_sampled, has_top(batch)};
    return model->depth == 1 ? wait_oldest(model, err) : 0;
}

/* What the pipeline's oldest step drew is wanted. */
static int end_stage(struct ant_model *model, struct ant_error *err)
{
    return model->n_run == model->n_ended++ ? wait_oldest(model, err) : 0;
}

/* ---- the replica's first rank ---------------------------------------------------------------- */

bool ant_model_leads(const struct ant_model *model)
{
    return model->shard.tp_rank == 0 && model->shard.pp_rank == 0;
}

static bool is_alone(const struct ant_model *model)
{
    return model->shard.tp_size * model->shard.pp_size == 1;
}

void ant_model_forward(struct ant_model *model, const struct ant_batch *batch)
{
    if (model->company.group)
        ant_company_begin(&model->company);
    if (!is_alone(model) && model->failed == 0)
        model->failed = ant_replica_tell(&model->replica, ANT_PLAN_STEP, batch, &model->error);
    if (model->failed < 0)
        return;
    if (model->shard.pp_size > 1)
        model->failed = begin_stage(model, batch, &model->error);
    else
        run_stage(model, batch);
}

/* The end of a pipeline's oldest step. */
static int await_drawn(struct ant_model *model, struct ant_drawn *out, struct ant_error *err)
{
    const struct ant_stage_step *step = step_at(model, model->n_ended);

    ANT_TRY(ant_replica_tell(&model->replica, ANT_PLAN_DRAWN, NULL, err));
    ANT_TRY(end_stage(model, err));
    return step->n_sampled > 0
               ? ant_replica_await(&model->replica, step->n_sampled, step->has_top, out, err)
               : 0;
}

int ant_model_wait(struct ant_model *model, struct ant_drawn *out, struct ant_error *err)
{
    *out = (struct ant_drawn){0};
    if (model->failed == 0 && model->shard.pp_size > 1)
        model->failed = await_drawn(model, out, &model->error);
    else if (model->failed == 0)
        model->failed = model->be->ops->step_wait(model->be, out, &model->error);
    return model->failed < 0 ? ant_fail(err, (enum ant_err)model->failed, "%s", model->error.text)
                             : 0;
}

int ant_model_rest(struct ant_model *model, struct ant_error *err)
{
    return is_alone(model) ? 0 : ant_replica_tell(&model->replica, ANT_PLAN_WAIT, NULL, err);
}

bool ant_model_serves(const struct ant_model *model)
{
    return model->replica.parallel && model->replica.parallel->experts;
}

bool ant_model_is_called(struct ant_model *model)
{
    return model->company.group && ant_company_is_called(&model->company);
}

/* A batch without rows. */
static struct ant_batch empty_batch(void)
{
    static const int32_t nothing[1];

    return (struct ant_batch){
        .tokens = nothing,
        .positions = nothing,
        .row_start = nothing,
        .context = nothing,
        .page_start = nothing,
        .pages = nothing,
    };
}

void ant_model_draw(struct ant_model *model, const struct ant_batch *batch)
{
    struct ant_batch draws = empty_batch();

    draws.n_sampled = batch->n_sampled;
    draws.draws = batch->draws;
    draws.masks = batch->masks;
    draws.n_masks = batch->n_masks;
    if (model->failed < 0)
        return;
    model->be->ops->step_begin(model->be, &draws);
    model->be->ops->sample(model->be);
    model->be->ops->step_end(model->be);
}

void ant_model_accompany(struct ant_model *model)
{
    const struct ant_batch batch = empty_batch();

    ant_model_forward(model, &batch);
}

/* What ends the wait for work of its own: of the caller's, or a call. */
struct vigil {
    struct ant_model *model;
    bool (*is_over)(void *);
    void *arg;
};

static bool is_vigil_over(void *arg)
{
    const struct vigil *vigil = arg;

    return vigil->is_over(vigil->arg) || ant_model_is_called(vigil->model);
}

int ant_model_serve(struct ant_model *model, double seconds, bool (*is_over)(void *), void *arg,
                    struct ant_error *err)
{
    struct vigil vigil = {model, is_over, arg};

    return ant_group_attend(model->replica.parallel->experts, seconds, is_vigil_over, &vigil, err);
}

static bool is_company_over(void *arg)
{
    return ant_company_is_over(arg);
}

/* Take part in the steps of other replicas until none has any more. */
static int leave_company(struct ant_model *model, struct ant_error *err)
{
    struct ant_drawn nothing;

    ant_company_leave(&model->company);
    while (!ant_company_is_over(&model->company)) {
        if (ant_model_is_called(model)) {
            ant_model_accompany(model);
            ANT_TRY(ant_model_wait(model, &nothing, err));
            continue;
        }
        ANT_TRY(ant_model_serve(model, 0.1, is_company_over, &model->company, err));
        ANT_TRY(ant_model_rest(model, err));
    }
    return 0;
}

/* Others may still have rows for the experts of this rank. */
static int leave(const struct ant_model *model, struct ant_error *err)
{
    return ant_model_serves(model)
               ? ant_group_barrier(model->replica.parallel->experts, ANT_PARALLEL_TIMEOUT_S, err)
               : 0;
}

int ant_model_dismiss(struct ant_model *model, struct ant_error *err)
{
    if (model->company.group)
        ANT_TRY(leave_company(model, err));
    if (!is_alone(model))
        ANT_TRY(ant_replica_tell(&model->replica, ANT_PLAN_END, NULL, err));
    return leave(model, err);
}

/* ---- the others ------------------------------------------------------------------------------ */

/* The oldest step of a rank that has nothing to draw. */
static int end_followed(struct ant_model *model, struct ant_error *err)
{
    struct ant_drawn nothing;

    ANT_TRY(model->be->ops->step_wait(model->be, &nothing, err));
    model->n_run++;
    return 0;
}

/* The next plan is heard while a step runs, where the backend takes more than one. */
static int follow_step(struct ant_model *model, struct ant_error *err)
{
    struct ant_replica *replica = &model->replica;
    struct ant_batch batch;

    ant_plan_read(&replica->head, replica->body.data, &batch);
    if (model->shard.pp_size > 1) {
        if (ant_shard_is_last(&model->shard) && model->shard.tp_rank == 0)
            ant_plan_read_draws(&replica->head, replica->body.data, &batch);
        return begin_stage(model, &batch, err);
    }
    run_stage(model, &batch);
    model->n_begun++;
    return model->n_begun - model->n_run == model->depth ? end_followed(model, err) : 0;
}

int ant_model_follow(struct ant_model *model, struct ant_error *err)
{
    for (;;) {
        ANT_TRY(ant_replica_hear(&model->replica, err));
        switch (model->replica.head.kind) {
        case ANT_PLAN_STEP:
            ANT_TRY(follow_step(model, err));
            break;
        case ANT_PLAN_DRAWN:
            ANT_TRY(end_stage(model, err));
            break;
        case ANT_PLAN_END:
            while (model->shard.pp_size == 1 && model->n_run < model->n_begun)
                ANT_TRY(end_followed(model, err));
            return leave(model, err);
        default: /* there is nothing to do */
            break;
        }
    }
}
