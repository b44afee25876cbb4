/* SPDX-License-Identifier: Apache-2.0 */
/* Where a text can be cut because no token of a vocabulary reaches over the cut: what stands on
 * either side of it is tokenized alone. Cuts are between characters. Immutable once open: any
 * thread. */
#ifndef ANT_TEXT_CUTS_H
#define ANT_TEXT_CUTS_H

#include <stdbool.h>
#include <stddef.h>

#include "text/vocab.h"

struct ant_cuts;

/* `words_only`: cuts are made before SentencePiece's word mark alone. Every text of the vocabulary
 * counts as a token. The vocabulary is not needed afterwards. */
struct ant_cuts *ant_cuts_open(const struct ant_vocab *vocab, bool words_only);
void ant_cuts_close(struct ant_cuts *cuts); /* legal on NULL */

/* The first cut behind `at`, which is before a character of well-formed UTF-8; `bytes` if there is
 * none. */
size_t ant_cuts_next(const struct ant_cuts *cuts, const char *text, size_t bytes, size_t at);

#endif
