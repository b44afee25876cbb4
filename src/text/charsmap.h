/* SPDX-License-Identifier: Apache-2.0 */
/* SentencePiece's compiled normalisation: a map from short texts to texts, in a double array as its
 * models carry it.
 *
 * A struct ant_charsmap is immutable. Thread: any. */
#ifndef ANT_TEXT_CHARSMAP_H
#define ANT_TEXT_CHARSMAP_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "base/mem.h"

struct ant_charsmap;

/* `blob` may go away afterwards. ANT_EDATA when it is malformed, ANT_EUNSUPP when
 * a character becomes very many. */
int ant_charsmap_open(struct ant_charsmap **out, const void *blob, size_t bytes,
                      struct ant_error *err);
void ant_charsmap_close(struct ant_charsmap *map); /* legal on NULL */

/* Append the rewritten text. SentencePiece takes the longest entry at each place. Hugging Face
 * looks only at whole grapheme clusters shorter than 6 bytes and at characters, and takes the
 * shortest entry that they begin with: `by_cluster`. */
void ant_charsmap_rewrite(const struct ant_charsmap *map, bool by_cluster, const char *text,
                          size_t bytes, struct ant_buf *out);

#endif
