/* SPDX-License-Identifier: Apache-2.0 */
/* The ways of splitting that GGUF files only name (tokenizer.ggml.pre). Thread: that of the
 * vocabulary. */
#ifndef ANT_TEXT_PRE_H
#define ANT_TEXT_PRE_H

#include <stdbool.h>
#include <stddef.h>

#include "text/vocab.h"

/* Fill in normalisation, splitting and ignore_merges of the byte-level vocabulary. `*add_bos`:
 * whether a text begins with BOS where the file does not say. ANT_EUNSUPP for an unknown name. */
int ant_pre_apply(struct ant_vocab *vocab, const char *name, size_t bytes, bool *add_bos,
                  struct ant_error *err);

#endif
