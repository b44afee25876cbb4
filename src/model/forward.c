/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "model/model_internal.h"

static void forward_layer(const struct ant_model *model, int i)
{
    const struct ant_layer *layer = &model->layers[i];
    const struct ant_backend_ops *ops = model->be->ops;
    struct ant_backend *be = model->be;

    ops->norm(be, layer->attn_norm);
    ops->gemm(be, layer->qkv, ANT_SLOT_NORMED, ANT_SLOT_QKV, ANT_EPILOGUE_STORE);
    ops->rope_append(be, i);
    ops->attention(be, i, model->arch->window);
    ops->gemm(be, layer->o, ANT_SLOT_ATTN, ANT_SLOT_RESIDUAL, ANT_EPILOGUE_ADD);

    ops->norm(be, layer->mlp_norm);
    ops->gemm(be, layer->gate_up, ANT_SLOT_NORMED, ANT_SLOT_HIDDEN, ANT_EPILOGUE_GLU);
    ops->gemm(be, layer->down, ANT_SLOT_HIDDEN, ANT_SLOT_RESIDUAL, ANT_EPILOGUE_ADD);
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
