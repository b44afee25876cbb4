/* SPDX-License-Identifier: Apache-2.0 */
/* What the rules of a tokenizer search for: a regular expression, a fixed text, or a class of
 * characters.
 *
 * Hides PCRE2 and the difference between its dialect and that of tokenizer.json (Oniguruma's Ruby
 * syntax). A pattern is immutable; the state of a search is in a struct ant_matcher, one a thread.
 * Errors: ANT_EUNSUPP for a construct that has no exact equivalent, ANT_EDATA for a malformed
 * pattern or one that exceeds the limits on a text. */
#ifndef ANT_TEXT_PATTERN_H
#define ANT_TEXT_PATTERN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/mem.h"

struct ant_pattern;

/* `source` must be well-formed UTF-8. */
int ant_pattern_regex(struct ant_pattern **out, const char *source, size_t bytes,
                      struct ant_error *err);
int ant_pattern_text(struct ant_pattern **out, const char *text, size_t bytes,
                     struct ant_error *err);
/* Every single character for which `is` holds. */
struct ant_pattern *ant_pattern_class(bool (*is)(uint32_t character));
void ant_pattern_close(struct ant_pattern *pattern); /* legal on NULL */

/* What PCRE2 needs to search: legal for any pattern. NULL-safe close. */
struct ant_matcher;
struct ant_matcher *ant_matcher_open(void);
void ant_matcher_close(struct ant_matcher *matcher);

/* The search for one pattern in one text, from front to back. */
struct ant_search {
    const struct ant_pattern *pattern;
    struct ant_matcher *matcher;
    const char *text; /* well-formed UTF-8 */
    size_t bytes;
    size_t at;       /* where to go on */
    size_t last_end; /* end of the last match; SIZE_MAX before the first */
};
void ant_search_begin(struct ant_search *search, const struct ant_pattern *pattern,
                      struct ant_matcher *matcher, const char *text, size_t bytes);

/* 1 and the next match, 0 when there is none, or an error. Matches do not overlap; an empty one
 * may stand anywhere but at the end of the match before it. */
int ant_search_next(struct ant_search *search, size_t *start, size_t *end, struct ant_error *err);

/* The translation, on its own for tests: appends PCRE2 syntax. */
int ant_regex_translate(struct ant_buf *out, const char *source, size_t bytes,
                        struct ant_error *err);

#endif
