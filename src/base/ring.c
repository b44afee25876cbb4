/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "base/ring.h"

#include <assert.h>
#include <linux/futex.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"

/* Both counters only ever grow (modulo 2^32); the slot of a count is count & mask. Each has one
 * writer, and the other side sleeps on it: it is the futex word. Counters and sleep flags are read
 * and written in one total order (seq_cst), so that either the mover sees the sleeper's flag or the
 * sleeper sees the moved counter: no wake-up is lost. */
struct ant_ring {
    alignas(64) _Atomic uint32_t pushed;
    alignas(64) _Atomic uint32_t popped;
    alignas(64) _Atomic uint32_t item_wanted; /* the popping side sleeps */
    _Atomic uint32_t room_wanted;             /* the pushing side sleeps */
    uint32_t mask;
    void *slots[];
};

struct ant_ring *ant_ring_open(size_t slots)
{
    size_t size = 1;
    while (size < slots && size < (size_t)1 << 30)
        size *= 2;
    struct ant_ring *ring;
    if (posix_memalign((void **)&ring, alignof(struct ant_ring),
                       sizeof *ring + size * sizeof ring->slots[0]) != 0)
        ant_die("out of memory: a ring of %zu slots", size);
    atomic_init(&ring->pushed, 0);
    atomic_init(&ring->popped, 0);
    atomic_init(&ring->item_wanted, 0);
    atomic_init(&ring->room_wanted, 0);
    ring->mask = (uint32_t)(size - 1);
    return ring;
}

void ant_ring_close(struct ant_ring *ring)
{
    free(ring);
}

static void wake(_Atomic uint32_t *counter, _Atomic uint32_t *wanted)
{
    if (atomic_load(wanted))
        syscall(SYS_futex, counter, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

bool ant_ring_push(struct ant_ring *ring, void *item)
{
    assert(item);
    uint32_t pushed = atomic_load_explicit(&ring->pushed, memory_order_relaxed);
    uint32_t popped = atomic_load_explicit(&ring->popped, memory_order_acquire);
    if (pushed - popped > ring->mask)
        return false;
    ring->slots[pushed & ring->mask] = item;
    atomic_store(&ring->pushed, pushed + 1);
    wake(&ring->pushed, &ring->item_wanted);
    return true;
}

void *ant_ring_pop(struct ant_ring *ring)
{
    uint32_t popped = atomic_load_explicit(&ring->popped, memory_order_relaxed);
    uint32_t pushed = atomic_load_explicit(&ring->pushed, memory_order_acquire);
    if (pushed == popped)
        return NULL;
    void *item = ring->slots[popped & ring->mask];
    atomic_store(&ring->popped, popped + 1);
    wake(&ring->popped, &ring->room_wanted);
    return item;
}

size_t ant_ring_count(const struct ant_ring *ring)
{
    /* In this order the difference cannot be negative; it can be too large when both sides move
     * in between. */
    uint32_t popped = atomic_load(&ring->popped);
    uint32_t count = atomic_load(&ring->pushed) - popped;
    return count > ring->mask ? (size_t)ring->mask + 1 : count;
}

/* Sleep while *counter is `seen`. */
static void sleep_on(_Atomic uint32_t *counter, uint32_t seen, _Atomic uint32_t *wanted,
                     double seconds)
{
    if (!(seconds > 0))
        return;
    if (seconds > 1e6)
        seconds = 1e6;
    struct timespec limit = {.tv_sec = (time_t)seconds};
    limit.tv_nsec = (long)((seconds - (double)limit.tv_sec) * 1e9);

    atomic_store(wanted, 1);
    if (atomic_load(counter) == seen)
        syscall(SYS_futex, counter, FUTEX_WAIT_PRIVATE, seen, &limit, NULL, 0);
    atomic_store(wanted, 0);
}

void ant_ring_wait_item(struct ant_ring *ring, double seconds)
{
    uint32_t popped = atomic_load_explicit(&ring->popped, memory_order_relaxed);
    sleep_on(&ring->pushed, popped, &ring->item_wanted, seconds);
}

void ant_ring_wake(struct ant_ring *ring)
{
    wake(&ring->pushed, &ring->item_wanted);
}

void ant_ring_wait_room(struct ant_ring *ring, double seconds)
{
    uint32_t pushed = atomic_load_explicit(&ring->pushed, memory_order_relaxed);
    sleep_on(&ring->popped, pushed - ring->mask - 1, &ring->room_wanted, seconds);
}
