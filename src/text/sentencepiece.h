/* SPDX-License-Identifier: Apache-2.0 */
/* What the files that carry SentencePiece's tokenizers have in common: how it spells texts. Thread:
 * the loader's. */
#ifndef ANT_TEXT_SENTENCEPIECE_H
#define ANT_TEXT_SENTENCEPIECE_H

#include <stdbool.h>
#include <stddef.h>

#include "text/vocab.h"

struct ant_sentencepiece {
    bool adds_prefix; /* a space before the text */
    bool strips;      /* no spaces at the ends, one between words */
    const void *map;  /* a compiled map of characters, or NULL; borrowed */
    size_t map_bytes;
};

/* The steps before and after: spaces become U+2581 and the rest of `spelling`, and back. */
int ant_sentencepiece_spell(struct ant_vocab *vocab, const struct ant_sentencepiece *spelling,
                            struct ant_error *err);

/* Make weights of the scores; added tokens, which texts are cut at, are not to be found. */
void ant_sentencepiece_weigh(struct ant_vocab *vocab);

#endif
