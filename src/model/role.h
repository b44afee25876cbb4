/* SPDX-License-Identifier: Apache-2.0 */
/* Which tensor of a file plays which role: names and shapes, by format and family.
 *
 * Hides that files fuse what the model keeps apart: Phi-3 stores q, k and v as one matrix, gate and
 * up as another, and GGUF stores a matrix of all experts as one tensor. A role is then some of the
 * rows of a stored tensor. For checkpoint.c; thread: any. */
#ifndef ANT_MODEL_ROLE_H
#define ANT_MODEL_ROLE_H

#include <stdbool.h>
#include <stdint.h>

#include "model/arch.h"

enum { ANT_MAX_TENSOR_NAME = 256 };

struct ant_role_place {
    char name[ANT_MAX_TENSOR_NAME]; /* of the stored tensor */
    int n_dims;
    int64_t shape[3]; /* of the stored tensor, slowest first */
    int64_t first;    /* the role's first row in it */
    int role_dims;
    int64_t role_shape[2];
};

/* Roles that exist once in the model, and roles that exist once an expert. */
bool ant_role_is_global(enum ant_role role);
bool ant_role_is_expert(enum ant_role role);

/* Whether the model has this role in this layer, and where. `layer` and `expert` are 0 for roles
 * outside of them. */
bool ant_role_find(struct ant_role_place *out, const struct ant_arch *arch, bool is_gguf,
                   enum ant_role role, int layer, int expert);

#endif
