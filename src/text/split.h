/* SPDX-License-Identifier: Apache-2.0 */
/* Cutting a text into the pieces that are encoded one by one: a list of steps, each cutting (or
 * spelling anew) the pieces of the step before. Pieces are handed on as they are found; no list of
 * them is ever made. Thread: one struct ant_splitter each. Errors: those of patterns, ANT_EUNSUPP
 * for a text that grows too long. */
#ifndef ANT_TEXT_SPLIT_H
#define ANT_TEXT_SPLIT_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "base/mem.h"
#include "text/pattern.h"

/* What becomes of the matches of a cut, with "-" on "the-final--cut": */
enum ant_split_behavior {
    ANT_SPLIT_ISOLATED,   /* the - final - - cut */
    ANT_SPLIT_REMOVED,    /* the final cut */
    ANT_SPLIT_CONTIGUOUS, /* the - final -- cut */
    ANT_SPLIT_PREVIOUS,   /* the- final- - cut */
    ANT_SPLIT_NEXT,       /* the -final - -cut */
};

enum ant_split_kind {
    ANT_SPLIT_CUT,     /* by `pattern` */
    ANT_SPLIT_PREFIX,  /* `content` before every piece that does not start with it */
    ANT_SPLIT_REPLACE, /* every match of `pattern` by `content` */
    ANT_SPLIT_SPELL,   /* bytes spelled as byte-level vocabularies write them */
};

struct ant_split_step {
    enum ant_split_kind kind;
    struct ant_pattern *pattern; /* owned; CUT, REPLACE */
    enum ant_split_behavior behavior;
    bool invert;     /* CUT: what lies between matches counts as the match */
    bool first_only; /* PREFIX: only at the very start of a text */
    char *content;   /* owned; PREFIX, REPLACE */
    size_t bytes;
};
void ant_split_release(struct ant_split_step *steps, size_t n); /* the steps and the array */

typedef int ant_split_piece(void *context, const char *piece, size_t bytes, struct ant_error *err);

struct ant_splitter {
    const struct ant_split_step *steps; /* borrowed */
    size_t n_steps;
    struct ant_matcher *matcher; /* borrowed */
    struct ant_buf *buffers;     /* owned: one a step */
    ant_split_piece *piece;      /* called with every piece, none of them empty */
    void *context;
    size_t most; /* bytes that pieces of the text at hand may still have */
};
void ant_splitter_init(struct ant_splitter *splitter, const struct ant_split_step *steps, size_t n,
                       struct ant_matcher *matcher, ant_split_piece *piece, void *context);
void ant_splitter_fini(struct ant_splitter *splitter);

/* `at_start`: this is the start of the whole text, nothing cut away before it. */
int ant_split(struct ant_splitter *splitter, const char *text, size_t bytes, bool at_start,
              struct ant_error *err);

#endif
