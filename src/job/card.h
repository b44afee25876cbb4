/* SPDX-License-Identifier: Apache-2.0 */
/* The cards that ranks exchange: what a process knows about itself, how that travels, and what
 * follows from all of them together. Pure data, no PMIx; internal to src/job, tested on its own.
 * Thread: control. */
#ifndef ANT_JOB_CARD_H
#define ANT_JOB_CARD_H

#include "base/mem.h"
#include "job/launch.h"

/* Everything about this process but rank, settings and address. Errors: the binary cannot be
 * read. */
int ant_card_fill(struct ant_card *card, struct ant_error *err);

/* To bytes, and back with every length checked. Reading rank `rank`'s card sets its `address`,
 * which ant_card_release frees. Errors: ANT_EPEER, or ANT_EUSAGE if another version wrote it. */
void ant_card_write(const struct ant_card *card, struct ant_buf *out);
int ant_card_read(struct ant_card *out, const void *data, size_t bytes, int rank,
                  struct ant_error *err);
void ant_card_release(struct ant_card *card);

/* local_rank, local_size, node and cores_shared of all, by host and boot id. */
void ant_cards_derive(struct ant_card *cards, int n);

/* Are binary and settings those of rank 0 everywhere? ANT_EUSAGE naming the first that differs. */
int ant_cards_check(const struct ant_card *cards, int n, struct ant_error *err);

#endif
