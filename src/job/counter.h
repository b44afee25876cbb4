/* SPDX-License-Identifier: Apache-2.0 */
/* One number a rank that every rank may add to, without the owner or anybody else having to take
 * part: how far each queue of rows has been taken.
 *
 * On one host an addition is an atomic instruction on shared memory. Between hosts it is a message
 * that the owner's transport serves whenever the owner is inside a call of src/job, which may take
 * a while; so additions to others are begun, and looked for later. Thread: control. */
#ifndef ANT_JOB_COUNTER_H
#define ANT_JOB_COUNTER_H

#include <stdint.h>

#include "base/error.h"
#include "job/group.h"

struct ant_counters;

/* Collective over `world`, the group of all ranks: every rank gets a counter, 0 at first. `node` is
 * the group of the ranks of this host, in order of rank, NULL: they share no memory. Cards are
 * borrowed until the end. */
int ant_counters_open(struct ant_counters **out, struct ant_transport *transport,
                      struct ant_group *world, struct ant_group *node, const struct ant_card *cards,
                      double timeout, struct ant_error *err);
/* When nobody adds any more: after an agreement of all. */
void ant_counters_close(struct ant_counters *counters);

/* Add to the own counter; what it was before. */
int64_t ant_counters_add(struct ant_counters *counters, int64_t n);

/* Add to that of rank `owner`, which is another. One addition to each owner at a time. */
void ant_counters_begin(struct ant_counters *counters, int owner, int64_t n);
/* 1: the addition is done, *before is what it was before. 0: not yet. ANT_EPEER: it failed. */
int ant_counters_poll(struct ant_counters *counters, int owner, int64_t *before,
                      struct ant_error *err);

#endif
