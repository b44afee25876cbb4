/* SPDX-License-Identifier: Apache-2.0 */
/* The model made ready on a backend, and its forward pass: the one transformer of the program.
 *
 * A replica may be held by several ranks. Its first one leads: it says what each step is and how
 * tokens are drawn; the others follow. The first rank of the last stage draws. Thread: control
 * until the engine starts, then the engine thread. */
#ifndef ANT_MODEL_MODEL_H
#define ANT_MODEL_MODEL_H

#include "backend/backend.h"
#include "job/parallel.h"
#include "model/checkpoint.h"
#include "model/shard.h"

struct ant_model;

/* Bytes of prepared weights, for the memory plan; nothing is loaded. `shard` NULL: the whole
 * model. *own of them twins do not share. */
size_t ant_model_weight_bytes(const struct ant_checkpoint *checkpoint,
                              const struct ant_shard *shard, const struct ant_backend *be,
                              size_t *own);

/* Who prepares the weights, with how many threads each. A part of the model that several ranks hold
 * is in memory once a host, where the backend keeps weights in the host's memory. */
struct ant_loading {
    struct ant_group *twins; /* the ranks of this host that hold the same and share one copy, of
                                which each prepares a part; NULL: none */
    /* With more hosts than one each reads a part of what they have in common and gives it to the
     * others, checksummed. Where the backend has memory of its own each rank counts as a host. */
    int host, n_hosts; /* this one among those that hold the same; 0 of 0: all read all */
    struct ant_group
        *hosts; /* by host, the first rank of its twins; NULL: this is not such a one */
    const struct ant_device_id *id; /* of a group of their devices (borrowed) */
    int n_threads;
};

/* What of a replica a rank holds (copied; NULL: all of it), and the ranks it shares the replica
 * with (borrowed; NULL: none). Collective over twins and hosts; none returns before all twins are
 * done. Errors: ANT_ENOMEM, ANT_EIO, ANT_EPEER. */
int ant_model_load(struct ant_model **out, const struct ant_checkpoint *checkpoint,
                   const struct ant_shard *shard, const struct ant_parallel *parallel,
                   struct ant_backend *be, const struct ant_loading *loading,
                   struct ant_error *err);
/* Bytes of tensors that this rank took from the file. */
int64_t ant_model_bytes_read(const struct ant_model *model);
/* How long the others' parts took to arrive; 0: it has read all. */
double ant_model_share_seconds(const struct ant_model *model);
void ant_model_close(struct ant_model *model); /* before the backend; NULL is legal */

/* Is this the rank that calls the functions below? Else it calls ant_model_follow. */
bool ant_model_leads(const struct ant_model *model);

/* One step, from token ids to drawn ids: handed to the backend, and waited for. Steps are waited
 * for in their order; at most the backend's steps_in_flight may be out, and in a pipeline one of
 * each stage, none of them with the sequences of another. The batch's arrays are in use until then
 * in a pipeline. */
void ant_model_forward(struct ant_model *model, const struct ant_batch *batch);
/* Draw what the open step handed over last is to draw: `batch` says how. In a replica of one. */
void ant_model_draw(struct ant_model *model, const struct ant_batch *batch);
int ant_model_wait(struct ant_model *model, struct ant_drawn *out, struct ant_error *err);

/* There is nothing to do now, but will be: call it every second or so, lest the others give up. */
int ant_model_rest(struct ant_model *model, struct ant_error *err);
/* Does this rank hold experts for other replicas? Then it waits for work of its own here, until
 * `is_over` or the time has come, or it is called. */
bool ant_model_serves(const struct ant_model *model);
int ant_model_serve(struct ant_model *model, double seconds, bool (*is_over)(void *), void *arg,
                    struct ant_error *err);
/* Has another replica begun a step that needs this one? Then take part in it, with rows of its own
 * (ant_model_forward) or without; it is waited for as any other. */
bool ant_model_is_called(struct ant_model *model);
void ant_model_accompany(struct ant_model *model);
/* There will be no more steps: the others return. A rank that serves other replicas waits for them
 * to be through, too. */
int ant_model_dismiss(struct ant_model *model, struct ant_error *err);

/* Take part in the steps of the replica's first rank until it dismisses. */
int ant_model_follow(struct ant_model *model, struct ant_error *err);

#endif
