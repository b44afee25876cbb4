/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "job/counter.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "base/mem.h"
#include "job/shared.h"
#include "job/transport.h"

/* One a cache line, so that ranks do not slow each other down. */
struct counter {
    _Alignas(64) _Atomic int64_t value;
};

struct other {
    struct ant_far_word *word; /* NULL until first used, and always on this host; owned */
    int64_t before;            /* on this host: what the addition has found already */
};

struct ant_counters {
    struct ant_transport *transport;
    const struct ant_card *cards; /* borrowed */
    int rank, n;
    struct ant_shared memory; /* the counters of this host, or the own one alone */
    struct ant_word *mine;
    struct other *others; /* (n), owned */
    char *keys;           /* of all, one after the other; owned */
    size_t *starts;       /* (n + 1), owned */
};

/* The counter of a rank of this host; NULL where there is no memory in common. */
static _Atomic int64_t *counter_of(const struct ant_counters *counters, int rank)
{
    const struct ant_card *card = &counters->cards[rank];
    struct counter *all = counters->memory.memory;

    if (!counters->memory.is_shared)
        return rank == counters->rank ? &all->value : NULL;
    return card->node == counters->cards[counters->rank].node ? &all[card->local_rank].value : NULL;
}

static int open_memory(struct ant_counters *counters, struct ant_group *node, struct ant_error *err)
{
    size_t n = node ? (size_t)ant_group_size(node) : 1;

    ANT_TRY(ant_shared_open(&counters->memory, node, n * sizeof(struct counter), "counters", err));
    return ant_word_open(&counters->mine, counters->transport,
                         (int64_t *)counter_of(counters, counters->rank), err);
}

int ant_counters_open(struct ant_counters **out, struct ant_transport *transport,
                      struct ant_group *world, struct ant_group *node, const struct ant_card *cards,
                      double timeout, struct ant_error *err)
{
    struct ant_counters *counters = ant_xcalloc(1, sizeof(*counters));
    const void *key = NULL;
    void *keys = NULL;
    size_t bytes = 0;

    counters->transport = transport;
    counters->cards = cards;
    counters->rank = ant_group_rank(world);
    counters->n = ant_group_size(world);
    counters->others = ant_xcalloc((size_t)counters->n, sizeof(*counters->others));
    counters->starts = ant_xcalloc((size_t)counters->n + 1, sizeof(*counters->starts));
    int rc = ant_group_agree(world, open_memory(counters, node, err), timeout, err);
    if (rc == 0) {
        key = ant_word_key(counters->mine, &bytes);
        rc = ant_group_all_gather_v(world, key, bytes, &keys, counters->starts + 1, timeout, err);
    }
    if (rc < 0) {
        ant_counters_close(counters);
        return rc;
    }
    counters->keys = keys;
    for (int i = 0; i < counters->n; i++)
        counters->starts[i + 1] += counters->starts[i];
    *out = counters;
    return 0;
}

void ant_counters_close(struct ant_counters *counters)
{
    if (!counters)
        return;
    for (int i = 0; i < counters->n; i++)
        ant_far_word_close(counters->others[i].word);
    ant_word_close(counters->mine);
    ant_shared_close(&counters->memory);
    free(counters->others);
    free(counters->starts);
    free(counters->keys);
    free(counters);
}

int64_t ant_counters_add(struct ant_counters *counters, int64_t n)
{
    return atomic_fetch_add(counter_of(counters, counters->rank), n);
}

void ant_counters_begin(struct ant_counters *counters, int owner, int64_t n)
{
    _Atomic int64_t *here = counter_of(counters, owner);
    struct other *other = &counters->others[owner];
    size_t start = counters->starts[owner];

    if (here) {
        other->before = atomic_fetch_add(here, n);
        return;
    }
    if (!other->word)
        other->word =
            ant_far_word_open(counters->transport, counters->rank, owner, counters->keys + start,
                              counters->starts[owner + 1] - start);
    ant_far_word_add(other->word, n);
}

int ant_counters_poll(struct ant_counters *counters, int owner, int64_t *before,
                      struct ant_error *err)
{
    struct other *other = &counters->others[owner];

    if (other->word)
        return ant_far_word_poll(other->word, before, err);
    *before = other->before;
    return 1;
}
