/* SPDX-License-Identifier: Apache-2.0 */
/* The ranks that hold one replica of the model together: tensor parallel ranks share each layer,
 * pipeline stages follow one another. Where experts are spread over the job, also the ranks of the
 * same place in all replicas.
 *
 * They talk on a transport of their own, for the engine thread moves data while the control thread
 * talks about the job. Thread: control until the engine starts, then engine. */
#ifndef ANT_JOB_PARALLEL_H
#define ANT_JOB_PARALLEL_H

#include "job/device_group.h"
#include "job/group.h"
#include "job/layout.h"

/* Data between two steps of the same layer is late after this long; the longest step of a stage
 * must be shorter. A rank that died is noticed within seconds. */
#define ANT_PARALLEL_TIMEOUT_S 600

struct ant_parallel {
    int tp_rank, tp_size, pp_rank, pp_size;
    bool is_one_host;          /* the ranks of the stage are */
    struct ant_group *stage;   /* those that share this rank's layers, by tp_rank; NULL: alone */
    struct ant_group *replica; /* all, by pp_rank * tp_size + tp_rank; NULL: alone */
    struct ant_group *experts; /* those who have the experts that this rank adds to its rows, by
                                  dp_rank; NULL: it has them itself */
    struct ant_device_id stage_id, replica_id, experts_id; /* not made: GPUs were not asked for, or
                                                              cannot */
    struct ant_device_id copies_id; /* of those who hold the same part of the model, by dp_rank */
    struct ant_transport *transport;
    struct ant_card *cards; /* owned: of all ranks, with the addresses of this transport */
};

/* Collective over `world`, all ranks of the job, whose cards these are. A replica of one rank that
 * has all its experts opens no group. `with_devices`: ids for groups of GPUs are exchanged, too. */
int ant_parallel_open(struct ant_parallel *out, const struct ant_layout *layout,
                      struct ant_job *job, bool with_devices, struct ant_group *world,
                      const struct ant_card *cards, double timeout, struct ant_error *err);
void ant_parallel_close(struct ant_parallel *parallel); /* legal on a zeroed struct */

#endif
