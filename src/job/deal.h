/* SPDX-License-Identifier: Apache-2.0 */
/* The deal: which replica answers which rows, and in which order. Pure integers; tested without a
 * launcher.
 *
 * Rows are put in order (higher priority first, then, where costs are given, the dearest first,
 * then by number) and given to the replicas, whose queues keep that order. A replica that has
 * nothing left takes rows out of the queues of others (work.h), so every rank knows all queues. */
#ifndef ANT_JOB_DEAL_H
#define ANT_JOB_DEAL_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

enum ant_partition {
    ANT_PARTITION_MODULO, /* the i-th row goes to replica i % dp_size */
    ANT_PARTITION_BLOCK,  /* consecutive rows, counts differ by one at most */
    ANT_PARTITION_LENGTH, /* equal sums of predicted cost, the dearest row first */
    ANT_PARTITION_RANK,   /* the input's own rank column */
    ANT_PARTITION_PLUGIN, /* what the user's shared object says */
};

/* What is known of rows [first, first + n). Arrays hold one element a row, NULL: nothing is known;
 * all borrowed. */
struct ant_deal_facts {
    int64_t first, n;
    const double *priority; /* higher goes first */
    const int64_t *cost;    /* LENGTH must have it */
    const int32_t *rank;    /* RANK and PLUGIN must have it */
    const uint8_t *is_done; /* rows that are not dealt any more */
};

struct ant_deal;

/* Deal. A rank that is no replica of the job is ANT_EDATA naming the row; `who` says where the rank
 * is from. */
int ant_deal_open(struct ant_deal **out, enum ant_partition partition, int dp_size,
                  const struct ant_deal_facts *facts, const char *who, struct ant_error *err);
void ant_deal_close(struct ant_deal *deal);

/* A deal as plain data, to give to other ranks, and back. The first are borrowed, the second taken
 * over (malloc'd). */
const int64_t *ant_deal_words(const struct ant_deal *deal, size_t *n);
struct ant_deal *ant_deal_from_words(int64_t *words, size_t n);

int ant_deal_size(const struct ant_deal *deal);                   /* replicas */
int64_t ant_deal_count(const struct ant_deal *deal, int replica); /* rows in its queue */
int64_t ant_deal_row(const struct ant_deal *deal, int replica, int64_t i);

/* Rows of a lower level are begun nowhere in the job while one of a higher level (a smaller number)
 * waits in any queue. Up to ANT_DEAL_LEVELS different priorities are levels of their own; of more,
 * that many parts of the order are. The level of what comes next when `i` rows of a queue have been
 * taken; ANT_DEAL_LEVELS behind its end. */
enum { ANT_DEAL_LEVELS = 16 };
int ant_deal_level(const struct ant_deal *deal, int replica, int64_t i);

#endif
