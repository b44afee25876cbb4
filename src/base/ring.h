/* SPDX-License-Identifier: Apache-2.0 */
/* A bounded ring of pointers between exactly two threads: one pushes, one pops.
 * No locks; waiting sleeps on a futex. A pointer's ownership travels with it.
 */
#ifndef ANT_BASE_RING_H
#define ANT_BASE_RING_H

#include <stdbool.h>
#include <stddef.h>

struct ant_ring;

struct ant_ring *ant_ring_open(size_t slots); /* rounded up to a power of two */
void ant_ring_close(struct ant_ring *ring);   /* both threads must be done; items left inside are
                                                 the caller's to drain first */

bool ant_ring_push(struct ant_ring *ring, void *item); /* false: full */
void *ant_ring_pop(struct ant_ring *ring);             /* NULL: empty */
size_t ant_ring_count(const struct ant_ring *ring);    /* a snapshot */

/* Sleep until the other side has pushed (wait_item) or popped (wait_room), or
 * `seconds` have gone by. May wake early. */
void ant_ring_wait_item(struct ant_ring *ring, double seconds);
void ant_ring_wait_room(struct ant_ring *ring, double seconds);
/* The other side need not wait for an item any longer: there is other news for it. */
void ant_ring_wake(struct ant_ring *ring);

#endif
