/* SPDX-License-Identifier: Apache-2.0 */
/* What loading (load.c) fills and the forward pass (forward.c) reads. */
#ifndef ANT_MODEL_MODEL_INTERNAL_H
#define ANT_MODEL_MODEL_INTERNAL_H

#include "job/shared.h"
#include "model/model.h"

/* Weights of one layer, as prepared by the backend; NULL: the model has none. */
struct ant_layer {
    struct ant_weight *attn_norm, *qkv, *q_norm, *k_norm, *o, *attn_post_norm;
    struct ant_weight *mlp_norm, *gate_up, *down, *mlp_post_norm;
    struct ant_weight *router, *experts_gate_up, *experts_down; /* else gate_up and down; with them
                                                                   those of the shared expert */
};

struct ant_model {
    const struct ant_arch *arch; /* the checkpoint's */
    struct ant_backend *be;
    struct ant_weight *embed, *final_norm, *output; /* tied: output == embed */
    struct ant_layer *layers;                       /* owned, (arch->n_layers) */
    struct ant_shared weights;                      /* owned: their memory, unless the device's */
};

#endif
