/* SPDX-License-Identifier: Apache-2.0 */
/* What a tokenizer does to a text before it splits it: a list of rewriting steps.
 *
 * Hides utf8proc's normalisation. Thread: any. Errors: those of patterns. */
#ifndef ANT_TEXT_NORMAL_H
#define ANT_TEXT_NORMAL_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "base/mem.h"
#include "text/charsmap.h"
#include "text/pattern.h"

enum ant_normal_kind {
    ANT_NORMAL_NFC,
    ANT_NORMAL_NFD,
    ANT_NORMAL_NFKC,
    ANT_NORMAL_NFKD,
    ANT_NORMAL_LOWERCASE,
    ANT_NORMAL_STRIP,   /* white space at the ends */
    ANT_NORMAL_PREPEND, /* `content`, unless the text is empty */
    ANT_NORMAL_REPLACE, /* every match of `pattern` by `content` */
    ANT_NORMAL_MAP,     /* by a map of characters */
    ANT_NORMAL_SPELL,   /* spaces as U+2581 */
};

struct ant_normal_step {
    enum ant_normal_kind kind;
    bool left;                   /* STRIP; SPELL: one before a text */
    bool right;                  /* STRIP; SPELL: none at the ends, one between words */
    char *content;               /* owned; PREPEND, REPLACE */
    size_t bytes;                /* of content */
    struct ant_pattern *pattern; /* owned; REPLACE */
    struct ant_charsmap *map;    /* owned; MAP */
    bool by_cluster;             /* MAP */
};
void ant_normal_release(struct ant_normal_step *steps, size_t n); /* the steps and the array */

/* Rewrite `*text` (well-formed UTF-8). The result is either the text itself or lies in one of the
 * two buffers, until they are used again. Errors: those of patterns, ANT_EUNSUPP for a text that
 * grows too long. */
int ant_normalize(const struct ant_normal_step *steps, size_t n, struct ant_matcher *matcher,
                  struct ant_buf buffers[2], const char **text, size_t *bytes,
                  struct ant_error *err);

/* Steps of a file may double a text each: what they make of one of so many bytes has this many at
 * most, else it is refused. */
static inline size_t ant_normal_most(size_t bytes)
{
    return 64 * bytes + 1024;
}
/* ANT_EUNSUPP when there are more. */
int ant_normal_check(size_t bytes, size_t most, struct ant_error *err);

/* Append `text` with every match of `pattern` replaced, `most` bytes in `out` altogether. */
int ant_replace(struct ant_buf *out, size_t most, const struct ant_pattern *pattern,
                struct ant_matcher *matcher, const char *text, size_t bytes, const char *content,
                size_t content_bytes, struct ant_error *err);

#endif
