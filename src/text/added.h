/* SPDX-License-Identifier: Apache-2.0 */
/* Finds the added tokens of a tokenizer in a text: leftmost first, longest among those that start
 * at one place. Immutable once open. Thread: any. */
#ifndef ANT_TEXT_ADDED_H
#define ANT_TEXT_ADDED_H

#include <stddef.h>

#include "base/error.h"
#include "text/vocab.h"

struct ant_added_set;

/* `texts` (of `bytes`) are what to search for, one for each of `tokens`; both are borrowed until
 * close. An empty set is legal. */
struct ant_added_text {
    const char *text;
    size_t bytes;
    const struct ant_added *token;
};
struct ant_added_set *ant_added_open(const struct ant_added_text *texts, size_t n);
void ant_added_close(struct ant_added_set *set); /* legal on NULL */

/* Called with the stretches of a text in order: an added token with `token`, text between two
 * without. No stretch of text is empty. */
typedef int ant_added_stretch(void *context, const struct ant_added *token, const char *text,
                              size_t bytes, struct ant_error *err);

int ant_added_cut(const struct ant_added_set *set, const char *text, size_t bytes,
                  ant_added_stretch *stretch, void *context, struct ant_error *err);

#endif
