/* SPDX-License-Identifier: Apache-2.0 */
/* Names found in model files: whether one may be shown, and look-up by binary search. Thread: any.
 */
#ifndef ANT_MODEL_NAMES_H
#define ANT_MODEL_NAMES_H

#include <stdbool.h>
#include <stddef.h>

/* Names are quoted in one-line messages and in JSON: not empty, and printable ASCII alone. */
bool ant_name_is_plain(const char *name, size_t bytes);

/* A name from a file as messages show it: itself, or what is wrong with it. */
const char *ant_name_shown(const char *name);

/* A name and the place of what it names, in a list its owner keeps sorted. */
struct ant_name {
    const char *name; /* borrowed */
    size_t index;
};

/* Sort `names` (n). NULL, or, when a name is there twice, the first of the two neighbours. */
const struct ant_name *ant_names_sort(struct ant_name *names, size_t n);

/* The entry of `name` in sorted `names` (n), or NULL. */
const struct ant_name *ant_names_find(const struct ant_name *names, size_t n, const char *name);

#endif
