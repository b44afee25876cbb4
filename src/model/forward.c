/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "model/model_internal.h"

/* What a product adds to the residual: at once, or through the norm behind the block. */
static void add(const struct ant_model *model, const struct ant_weight *w, enum ant_slot in,
                const struct ant_weight *post_norm)
{
    const struct ant_backend_ops *ops = model->be->ops;
    struct ant_backend *be = model->be;

    if (!post_norm) {
        ops->gemm(be, w, in, ANT_SLOT_RESIDUAL, ANT_EPILOGUE_ADD);
        return;
    }
    ops->gemm(be, w, in, ANT_SLOT_BRANCH, ANT_EPILOGUE_STORE);
    ops->norm_add(be, post_norm);
}

static void forward_experts(const struct ant_model *model, const struct ant_layer *layer)
{
    const struct ant_backend_ops *ops = model->be->ops;
    struct ant_backend *be = model->be;

    ops->route(be, layer->router);
    ops->experts(be, layer->experts_gate_up, layer->experts_down);
    if (layer->gate_up) {
        ops->gemm(be, layer->gate_up, ANT_SLOT_NORMED, ANT_SLOT_SHARED, ANT_EPILOGUE_GLU);
        ops->gemm(be, layer->down, ANT_SLOT_SHARED, ANT_SLOT_RESIDUAL, ANT_EPILOGUE_SHARE);
    }
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
    add(model, layer->o, ANT_SLOT_ATTN, layer->attn_post_norm);

    ops->norm(be, layer->mlp_norm);
    if (layer->router) {
        forward_experts(model, layer);
        return;
    }
    ops->gemm(be, layer->gate_up, ANT_SLOT_NORMED, ANT_SLOT_HIDDEN, ANT_EPILOGUE_GLU);
    add(model, layer->down, ANT_SLOT_HIDDEN, layer->mlp_post_norm);
}

void ant_model_forward(struct ant_model *model, const struct ant_batch *batch)
{
    const struct ant_backend_ops *ops = model->be->ops;
    struct ant_backend *be = model->be;

    ops->step_begin(be, batch);
    ops->embed(be, model->embed);
    for (int i = 0; i < model->arch->n_layers; i++)
        forward_layer(model, i);
    if (batch->n_sampled > 0) {
        ops->norm_sampled(be, model->final_norm);
        ops->gemm(be, model->output, ANT_SLOT_LAST, ANT_SLOT_LOGITS, ANT_EPILOGUE_STORE);
        ops->sample(be);
    }
    ops->step_end(be);
}

int ant_model_wait(struct ant_model *model, struct ant_drawn *out, struct ant_error *err)
{
    return model->be->ops->step_wait(model->be, out, err);
}
