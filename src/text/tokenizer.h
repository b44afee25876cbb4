/* SPDX-License-Identifier: Apache-2.0 */
/* Text to token ids and back: byte-level BPE, SentencePiece-style BPE and
 * unigram models, from a Hugging Face tokenizer.json, SentencePiece's
 * tokenizer.model or the metadata of a GGUF file.
 *
 * Hides PCRE2 (split patterns), utf8proc (normalisation) and the merge
 * algorithm. Results equal those of Hugging Face tokenizers, special tokens
 * included, and decoding is the exact inverse where the tokenizer allows it. A
 * tokenizer is immutable once open: any function may run in any number of
 * threads at once (what a call needs to work with it takes from a pool).
 * Errors: ANT_EDATA or ANT_EUNSUPP naming file and construct. */
#ifndef ANT_TEXT_TOKENIZER_H
#define ANT_TEXT_TOKENIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/checksum.h"
#include "base/error.h"
#include "base/mem.h"

struct ant_tokenizer;
struct ant_gguf;

int ant_tokenizer_open_json(struct ant_tokenizer **out, const char *path, struct ant_error *err);
/* SentencePiece's tokenizer.model. */
int ant_tokenizer_open_model(struct ant_tokenizer **out, const char *path, struct ant_error *err);
int ant_tokenizer_open_gguf(struct ant_tokenizer **out, const struct ant_gguf *gguf,
                            struct ant_error *err);
void ant_tokenizer_close(struct ant_tokenizer *tokenizer);

int ant_tokenizer_size(const struct ant_tokenizer *tokenizer); /* ids are 0 .. size-1 */
struct ant_digest ant_tokenizer_digest(const struct ant_tokenizer *tokenizer);

/* Special ids, -1 when there is none. A tokenizer.json names none: they are
 * those of the tokenizer_config.json beside it, or of its own template. */
int ant_tokenizer_bos(const struct ant_tokenizer *tokenizer);
int ant_tokenizer_eos(const struct ant_tokenizer *tokenizer);
/* The id whose text is exactly `text` (special or not), or -1. */
int ant_tokenizer_find(const struct ant_tokenizer *tokenizer, const char *text);
bool ant_tokenizer_is_special(const struct ant_tokenizer *tokenizer, int id);

/* Append the ids of `text` to `out`. Special tokens written out in the text are
 * recognised, as Hugging Face does. `add_special`: put what the tokenizer's own
 * template puts around a text (BOS ...). Invalid UTF-8 is ANT_EDATA naming the
 * byte offset. */
int ant_tokenizer_encode(const struct ant_tokenizer *tokenizer, const char *text, size_t bytes,
                         bool add_special, struct ant_ids *out, struct ant_error *err);

/* The bytes that token `id` adds to a text (borrowed; may be part of a UTF-8
 * character). Special tokens give their text. An id out of range gives zero
 * bytes. */
const char *ant_tokenizer_piece(const struct ant_tokenizer *tokenizer, int id, size_t *bytes);

/* Append the text of `ids`, special tokens left out if asked, ids without a
 * token always; incomplete UTF-8 becomes U+FFFD as Hugging Face does. */
void ant_tokenizer_decode(const struct ant_tokenizer *tokenizer, const int32_t *ids, size_t n,
                          bool skip_special, struct ant_buf *out);

#endif
