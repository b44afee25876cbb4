/* SPDX-License-Identifier: Apache-2.0 */
/* What loading (load.c) fills and the forward pass (forward.c) reads. Thread: as model.h. */
#ifndef ANT_MODEL_MODEL_INTERNAL_H
#define ANT_MODEL_MODEL_INTERNAL_H

#include "job/company.h"
#include "job/shared.h"
#include "model/model.h"
#include "model/replica.h"

/* Weights of one layer, as prepared by the backend; NULL: the model has none. */
struct ant_layer {
    struct ant_weight *attn_norm, *qkv, *q_norm, *k_norm, *o, *attn_post_norm;
    struct ant_weight *mlp_norm, *gate_up, *down, *mlp_post_norm;
    struct ant_weight *router, *experts_gate_up, *experts_down; /* else gate_up and down; with them
                                                                   those of the shared expert */
};

struct ant_model {
    struct ant_shard shard;
    const struct ant_arch *arch; /* the shard's */
    struct ant_backend *be;
    struct ant_weight *embed, *final_norm, *output; /* of the first stage, and of the last; tied:
                                                       output == embed where a rank has both */
    struct ant_layer *layers;                       /* owned, (arch->n_layers) */
    struct ant_shared weights, own_weights;         /* owned: their memory, unless the device's */
    int64_t bytes_read;
    double share_s; /* until what others had read was here */

    struct ant_replica replica;
    struct ant_company company; /* of the first ranks of all replicas; without group: none */
    int failed; /* first failure of what the ranks do together; then the cause is in `error` */
    struct ant_error error;
    struct ant_stage_step
        *steps; /* owned, (ant_model_most_steps) a circle: those in the pipeline */
    int64_t n_begun, n_run, n_ended; /* steps of this stage: handed to the backend, waited for, and
                                        those whose draws the first rank has asked for */
    int depth;                       /* steps that the backend takes at once */
};

/* What is to be known of a step in a pipeline until its end. */
struct ant_stage_step {
    int n_sampled;
    bool has_top; /* best ids are wanted */
};

/* More than can be in a pipeline: two of each stage. */
static inline int ant_model_most_steps(const struct ant_model *model)
{
    return 2 * model->shard.pp_size;
}

#endif
