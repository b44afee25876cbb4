/* SPDX-License-Identifier: Apache-2.0 */
/* From the texts of tokens back to text: a list of steps over a list of token texts.
 * Thread: any. Errors: those of patterns. */
#ifndef ANT_TEXT_DECODE_H
#define ANT_TEXT_DECODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/mem.h"
#include "text/pattern.h"

enum ant_decode_kind {
    ANT_DECODE_BYTE_LEVEL,    /* every token from the byte alphabet; all become one text */
    ANT_DECODE_REPLACE,       /* every match of `pattern` by `content`, within each token */
    ANT_DECODE_BYTE_FALLBACK, /* tokens "<0x..>" side by side become the text they spell */
    ANT_DECODE_FUSE,          /* all tokens become one */
    ANT_DECODE_STRIP,         /* up to `left` and `right` of `content` off each token's ends */
    ANT_DECODE_METASPACE,     /* `content` becomes a space; with `drop_first` none in the first */
};

struct ant_decode_step {
    enum ant_decode_kind kind;
    struct ant_pattern *pattern; /* owned; REPLACE */
    char *content;               /* owned; REPLACE, STRIP, METASPACE */
    size_t bytes;
    size_t left, right; /* STRIP: how many at most */
    bool drop_first;    /* METASPACE */
};
void ant_decode_release(struct ant_decode_step *steps, size_t n); /* the steps and the array */

/* Token texts in a row, and where each ends. */
struct ant_decode_list {
    struct ant_buf texts;
    size_t *ends; /* owned */
    size_t n, cap;
};
void ant_decode_add(struct ant_decode_list *list, const char *text, size_t bytes);
void ant_decode_list_release(struct ant_decode_list *list);

/* Put the tokens of `list` through the steps and append the text, which is always UTF-8. Uses the
 * list up. */
int ant_decode(const struct ant_decode_step *steps, size_t n, struct ant_matcher *matcher,
               struct ant_decode_list *list, struct ant_buf *out, struct ant_error *err);

/* Append the bytes that one token adds, apart from what depends on its place in the text. */
int ant_decode_piece(const struct ant_decode_step *steps, size_t n, struct ant_matcher *matcher,
                     struct ant_buf scratch[2], const char *text, size_t bytes, struct ant_buf *out,
                     struct ant_error *err);

#endif
