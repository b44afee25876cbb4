/* SPDX-License-Identifier: Apache-2.0 */
/* What loading (load.c) fills and the forward pass (forward.c) reads. */
#ifndef ANT_MODEL_MODEL_INTERNAL_H
#define ANT_MODEL_MODEL_INTERNAL_H

#include "job/shared.h"
#include "model/model.h"

/* Weights of one layer, as prepared by the backend. */
struct ant_layer {
    struct ant_weight *attn_norm, *qkv, *o, *mlp_norm, *gate_up, *down;
};

struct ant_model {
    const struct ant_arch *arch; /* the checkpoint's */
    struct ant_backend *be;
    struct ant_weight *embed, *final_norm, *output; /* tied: output == embed */
    struct ant_layer *layers;                       /* owned, (arch->n_layers) */
    struct ant_shared weights;                      /* owned: their memory, unless the device's */
};

#endif
