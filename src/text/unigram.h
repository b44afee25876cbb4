/* SPDX-License-Identifier: Apache-2.0 */
/* Encoding by the most probable sequence of tokens (SentencePiece's unigram models), as Hugging
 * Face's Unigram finds it: ties included, unknown characters side by side one token.
 *
 * A struct ant_unigram is immutable; each thread has its own struct ant_unigram_work. */
#ifndef ANT_TEXT_UNIGRAM_H
#define ANT_TEXT_UNIGRAM_H

#include <stddef.h>

#include "base/error.h"
#include "base/mem.h"
#include "text/vocab.h"

struct ant_unigram;

struct ant_unigram_work {
    struct ant_unigram_path *paths; /* owned */
    size_t cap;
    int32_t *found; /* owned: ids, the last one first */
};
void ant_unigram_work_release(struct ant_unigram_work *work);

/* `vocab` is borrowed until close. ANT_EDATA when it cannot encode. */
int ant_unigram_open(struct ant_unigram **out, const struct ant_vocab *vocab,
                     struct ant_error *err);
void ant_unigram_close(struct ant_unigram *unigram); /* legal on NULL */

/* Append the ids of a piece of less than 2 GiB, well-formed UTF-8. */
void ant_unigram_encode(const struct ant_unigram *unigram, struct ant_unigram_work *work,
                        const char *piece, size_t bytes, struct ant_ids *out);

#endif
