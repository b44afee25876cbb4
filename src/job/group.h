/* SPDX-License-Identifier: Apache-2.0 */
/* A set of ranks that act together: collectives and messages, over UCX for host
 * memory (over NCCL for device memory when parallel groups of GPUs come).
 *
 * All members call each collective in the same order. Deadlines: a collective
 * that has made no progress for `timeout` seconds fails with ANT_EPEER naming
 * the ranks still missing. Results do not depend on timing: sums are taken in
 * rank order. Thread: the control thread for groups over host memory. Without
 * UCX only a group of one can be opened. */
#ifndef ANT_JOB_GROUP_H
#define ANT_JOB_GROUP_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "job/launch.h"

struct ant_group;
struct ant_transport; /* this process's UCX context and worker */

/* Before the exchange: the transport's address goes into the card. */
int ant_transport_open(struct ant_transport **out, struct ant_error *err);
void ant_transport_close(struct ant_transport *transport); /* after every group is closed */
const void *ant_transport_address(const struct ant_transport *transport,
                                  size_t *bytes); /* borrowed */
const char *ant_transport_version(void);          /* of the UCX library loaded, "" without UCX */

/* After the exchange: `ranks` (n) are world ranks in group order and contain
 * the caller's. Not collective: endpoints are made on first use. */
int ant_group_open(struct ant_group **out, struct ant_transport *transport,
                   const struct ant_card *cards, const int *ranks, int n, int my_world_rank,
                   struct ant_error *err);
void ant_group_close(struct ant_group *group); /* collective: members close together */

int ant_group_rank(const struct ant_group *group);
int ant_group_size(const struct ant_group *group);

int ant_group_barrier(struct ant_group *group, double timeout, struct ant_error *err);
int ant_group_broadcast(struct ant_group *group, int root, void *data, size_t bytes, double timeout,
                        struct ant_error *err);
/* `out` is (size * bytes), in group order. */
int ant_group_all_gather(struct ant_group *group, const void *mine, size_t bytes, void *out,
                         double timeout, struct ant_error *err);
/* Different lengths: bytes[] of every rank comes back as well; *out is
 * malloc'd, blocks in group order. */
int ant_group_all_gather_v(struct ant_group *group, const void *mine, size_t bytes, void **out,
                           size_t *sizes, double timeout, struct ant_error *err);

/* Agree on an outcome: collective. `rc` and `err` are this rank's; afterwards
 * every rank holds the first failing rank's (lowest group rank), and its code
 * is returned; 0 if all succeeded. With it an error is printed once. */
int ant_group_agree(struct ant_group *group, int rc, double timeout, struct ant_error *err);

#endif
