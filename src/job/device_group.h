/* SPDX-License-Identifier: Apache-2.0 */
/* A set of ranks that exchange device memory, each with its own GPU, over NCCL.
 *
 * Operations are enqueued on the caller's stream, the same on all members in the same order, and
 * may be captured in a graph. Each waits at most for NCCL to take it, not for it to be done; a
 * member that died shows as an error of a later call, or by the job's watchdog. Thread: that of the
 * device. Errors: ANT_EPEER, ANT_EDEVICE, and ANT_EUNSUPP in a build without NCCL. */
#ifndef ANT_JOB_DEVICE_GROUP_H
#define ANT_JOB_DEVICE_GROUP_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

/* What a group is made of: one member makes it, the others get it through PMIx. Plain data. */
struct ant_device_id {
    int is_made;
    unsigned char bytes[128];
};
/* Errors: no NCCL, or none that works here. */
int ant_device_id_make(struct ant_device_id *out, struct ant_error *err);

struct ant_device_group;

/* Collective over the `n` members, whose current device it binds to. `what` names the group. Those
 * who do not come within `timeout` seconds make it fail. */
int ant_device_group_open(struct ant_device_group **out, const struct ant_device_id *id, int rank,
                          int n, const char *what, double timeout, struct ant_error *err);
void ant_device_group_close(struct ant_device_group *group); /* NULL is legal */
/* Its ncclComm_t, for operations of others; borrowed. */
void *ant_device_group_comm(const struct ant_device_group *group);

/* `stream` is a cudaStream_t; `data` (n) is in device memory. */
int ant_device_group_all_reduce(struct ant_device_group *group, float *data, size_t n, void *stream,
                                struct ant_error *err);
int ant_device_group_send(struct ant_device_group *group, int to, const float *data, size_t n,
                          void *stream, struct ant_error *err);
int ant_device_group_receive(struct ant_device_group *group, int from, float *data, size_t n,
                             void *stream, struct ant_error *err);

/* Bytes to a member and bytes from it, both may be 0. */
struct ant_device_piece {
    int member;
    const void *out;
    size_t out_bytes;
    void *in;
    size_t in_bytes;
};
/* All `pieces` (n) at once, those of a pair of members in order; a member may be this one. */
int ant_device_group_exchange(struct ant_device_group *group, const struct ant_device_piece *pieces,
                              int n, void *stream, struct ant_error *err);
/* `bytes` from member `root` to all. */
int ant_device_group_broadcast(struct ant_device_group *group, int root, void *data, size_t bytes,
                               void *stream, struct ant_error *err);

const char *ant_device_group_version(void); /* of the NCCL library loaded, "" without */

#endif
