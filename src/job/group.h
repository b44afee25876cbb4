/* SPDX-License-Identifier: Apache-2.0 */
/* A set of ranks that act together: collectives and messages over UCX, for host memory. Its
 * counterpart for device memory is device_group.h.
 *
 * All members call each collective in the same order. Deadlines: a collective in which nothing has
 * moved for `timeout` seconds fails with ANT_EPEER, naming the ranks that are missing; so it does
 * when a member dies. All members get the same text, and from then on the group fails at once. A
 * deadline is about waiting inside one call, so it must be longer than members may come apart.
 * Results do not depend on timing: sums are taken in rank order. Thread: the control thread for
 * groups over host memory. Without UCX only a group of one can be opened. */
#ifndef ANT_JOB_GROUP_H
#define ANT_JOB_GROUP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "job/launch.h"

struct ant_group;
struct ant_transport; /* this process's UCX context and worker */

/* Before the exchange: the transport's address goes into the card. A rank that is alone starts
 * nothing of UCX: it has no address, and nobody to send to. */
int ant_transport_open(struct ant_transport **out, bool is_alone, struct ant_error *err);
/* After every group is closed. What was sent goes out first. */
void ant_transport_close(struct ant_transport *transport);
/* The same without waiting until peers, who may be gone, have taken what was sent. */
void ant_transport_close_at_once(struct ant_transport *transport);
/* Borrowed; NULL and zero bytes without UCX. */
const void *ant_transport_address(const struct ant_transport *transport, size_t *bytes);
const char *ant_transport_version(void); /* of the UCX library loaded, "" without UCX */

/* After the exchange: `ranks` (n) are world ranks in group order and contain the caller's. Members
 * that open several groups of the same ranks do so in the same order. Not collective: endpoints are
 * made on first use. `cards` are borrowed until the transport is closed. */
int ant_group_open(struct ant_group **out, struct ant_transport *transport,
                   const struct ant_card *cards, const int *ranks, int n, int my_world_rank,
                   struct ant_error *err);
/* Collective, so that nobody leaves while others still need it; waits 10 s for them at most. */
void ant_group_close(struct ant_group *group);

int ant_group_rank(const struct ant_group *group);
int ant_group_size(const struct ant_group *group);

int ant_group_barrier(struct ant_group *group, double timeout, struct ant_error *err);
int ant_group_broadcast(struct ant_group *group, int root, void *data, size_t bytes, double timeout,
                        struct ant_error *err);
/* `out` is (size * bytes), in group order. */
int ant_group_all_gather(struct ant_group *group, const void *mine, size_t bytes, void *out,
                         double timeout, struct ant_error *err);
/* Different lengths: `sizes` (size) of all ranks come back as well; *out is malloc'd, blocks in
 * group order without gaps. */
int ant_group_all_gather_v(struct ant_group *group, const void *mine, size_t bytes, void **out,
                           size_t *sizes, double timeout, struct ant_error *err);

/* Make known how to be reached on another transport: *out are the cards of all with the addresses
 * there, in one block that free() frees. */
int ant_group_share_address(struct ant_group *group, const struct ant_transport *transport,
                            const struct ant_card *cards, struct ant_card **out, double timeout,
                            struct ant_error *err);

/* `data` (n) becomes the sum over all ranks, taken in rank order: the same bits on every rank and
 * whatever n is cut into. Allocates only when n is larger than ever before. */
int ant_group_all_reduce(struct ant_group *group, float *data, size_t n, double timeout,
                         struct ant_error *err);

/* Between two members, the others not taking part: one sends as many bytes as the other receives,
 * and messages of a pair arrive in the order sent. A send copies `data` and does not wait; it moves
 * whenever this rank is inside a call of the group. */
int ant_group_send(struct ant_group *group, int to, const void *data, size_t bytes,
                   struct ant_error *err);
int ant_group_receive(struct ant_group *group, int from, void *data, size_t bytes, double timeout,
                      struct ant_error *err);
/* Until all that was sent has gone out: before this rank waits for something else. */
int ant_group_flush(struct ant_group *group, double timeout, struct ant_error *err);

/* Be there for others for so long, or until `is_over`: work on what they send (job/calls.h), notice
 * who dies. */
int ant_group_attend(struct ant_group *group, double seconds, bool (*is_over)(void *), void *arg,
                     struct ant_error *err);

/* Send a small message (at most 512 bytes, copied) to group rank `to` without waiting; not
 * collective, best effort: for news, not for data. It arrives whole, in the order of its sender's
 * posts, when `to` looks for it: ant_group_next_post is false when none is there, and `bytes` must
 * be what was sent. */
void ant_group_post(struct ant_group *group, int to, const void *data, size_t bytes);
bool ant_group_next_post(struct ant_group *group, int *from, void *data, size_t bytes);

/* Agree on an outcome: collective. `rc` and `err` are this rank's; afterwards every rank holds the
 * first failing rank's (lowest group rank), and its code is returned; 0 if all succeeded. With it
 * an error is printed once. */
int ant_group_agree(struct ant_group *group, int rc, double timeout, struct ant_error *err);

#endif
