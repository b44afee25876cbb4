/* SPDX-License-Identifier: Apache-2.0 */
/* The tree of a grammar: built in grammar.c, compiled in grammar_compile.c. Thread: that of the
 * grammar. */
#ifndef ANT_TEXT_GRAMMAR_TREE_H
#define ANT_TEXT_GRAMMAR_TREE_H

#include "base/mem.h"
#include "text/grammar.h"

enum ant_node_kind {
    ANT_NODE_BYTES,    /* (n) bytes */
    ANT_NODE_CLASS,    /* one character of (n) ranges */
    ANT_NODE_SEQUENCE, /* (n) nodes */
    ANT_NODE_ANY,      /* one of (n) nodes */
    ANT_NODE_WORDS,    /* one of (n) texts, sorted */
    ANT_NODE_REPEAT,   /* `child` from `min` to `max` times, with `between` */
    ANT_NODE_LIST,     /* (n) nodes, then (n) times whether each is optional; with `between` */
    ANT_NODE_GUARD,    /* `child`, unless calls are too deep */
    ANT_NODE_CALL,     /* the rule whose number is `min` */
};

/* What a node has of the pools of its grammar: (n) elements from `first` on. */
struct ant_node {
    enum ant_node_kind kind;
    uint32_t first, n;
    uint32_t child, between;
    int32_t min, max;
};

struct ant_span {
    uint32_t first, n; /* of bytes */
};

/* Its arrays are owned. */
struct ant_grammar {
    struct ant_node *nodes; /* nodes[0] is ANT_NO_NODE */
    size_t n_nodes, cap_nodes;
    uint32_t *lists; /* nodes; of LISTs also what is optional */
    size_t n_lists, cap_lists;
    struct ant_code_range *ranges;
    size_t n_ranges, cap_ranges;
    struct ant_span *words;
    size_t n_words, cap_words;
    struct ant_buf bytes;
    uint32_t *rules; /* their nodes */
    size_t n_rules, cap_rules;
    bool is_too_long; /* something was left out, and compiling says so */
};

/* Room for `more` behind the n elements of an array. */
#define ANT_GROW(array, n, cap, more)                                                              \
    do {                                                                                           \
        if ((n) + (more) > (cap)) {                                                                \
            (cap) = 2 * (cap) + (more) + 16;                                                       \
            (array) = ant_xrealloc((array), (cap), sizeof(*(array)));                              \
        }                                                                                          \
    } while (0)

#endif
