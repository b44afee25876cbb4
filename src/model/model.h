/* SPDX-License-Identifier: Apache-2.0 */
/* The model made ready on a backend, and its forward pass: the one transformer of the program.
 * Thread: control until the engine starts, then ant_model_forward belongs to the engine thread. */
#ifndef ANT_MODEL_MODEL_H
#define ANT_MODEL_MODEL_H

#include "backend/backend.h"
#include "job/group.h"
#include "model/checkpoint.h"

struct ant_model;

/* Bytes of prepared weights, for the memory plan; nothing is loaded. */
size_t ant_model_weight_bytes(const struct ant_checkpoint *checkpoint,
                              const struct ant_backend *be);

/* The ranks of one host share one copy: `node` is their group (NULL: alone). Each prepares a part
 * with `n_threads` threads, none returns before all are done. Collective over `node`. Errors:
 * ANT_ENOMEM, ANT_EIO, ANT_EPEER. */
int ant_model_load(struct ant_model **out, const struct ant_checkpoint *checkpoint,
                   struct ant_backend *be, struct ant_group *node, int n_threads,
                   struct ant_error *err);
void ant_model_close(struct ant_model *model); /* before the backend; NULL is legal */

/* One step, from token ids to drawn ids: handed to the backend, and waited for. Steps are waited
 * for in their order; at most the backend's steps_in_flight may be out. */
void ant_model_forward(struct ant_model *model, const struct ant_batch *batch);
int ant_model_wait(struct ant_model *model, struct ant_drawn *out, struct ant_error *err);

#endif
