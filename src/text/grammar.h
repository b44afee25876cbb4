/* SPDX-License-Identifier: Apache-2.0 */
/* What texts are allowed: a tree that regular expressions, choices and JSON schemas are turned
 * into, and the program of byte tests it compiles to, which an automaton runs.
 *
 * Nothing is expanded: a repetition is counted while the program runs, and what is referred to is
 * called, so tree and program are as long as what they were made of, also where it refers to
 * itself. Nodes are numbers that mean something to their own grammar alone. Thread: one at a time.
 */
#ifndef ANT_TEXT_GRAMMAR_H
#define ANT_TEXT_GRAMMAR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct ant_grammar;

enum { ANT_NO_NODE = 0, ANT_NO_LIMIT = INT32_MAX };

/* Unicode code points from `first` to `last`. */
struct ant_code_range {
    uint32_t first, last;
};

/* Bytes that stay the caller's. */
struct ant_word {
    const char *text;
    size_t bytes;
};

/* By their bytes. */
void ant_word_sort(struct ant_word *words, size_t n);

struct ant_grammar *ant_grammar_open(void);
void ant_grammar_close(struct ant_grammar *grammar);

uint32_t ant_grammar_bytes(struct ant_grammar *grammar, const char *text, size_t bytes);
/* One character of UTF-8 out of the ranges, in any order; surrogates are never among them. */
uint32_t ant_grammar_class(struct ant_grammar *grammar, const struct ant_code_range *ranges,
                           size_t n);
/* One after the other; none: the empty text. */
uint32_t ant_grammar_sequence(struct ant_grammar *grammar, const uint32_t *nodes, size_t n);
/* One of them; none: no text at all. */
uint32_t ant_grammar_any(struct ant_grammar *grammar, const uint32_t *nodes, size_t n);
/* One of these texts; sorts them. */
uint32_t ant_grammar_words(struct ant_grammar *grammar, struct ant_word *words, size_t n);
/* `node` from `min` to `max` times, with `between` (or ANT_NO_NODE) between two. */
uint32_t ant_grammar_repeat(struct ant_grammar *grammar, uint32_t node, int32_t min, int32_t max,
                            uint32_t between);
/* The nodes in their order, without those of the optional that are left out, with `between` between
 * any two. */
uint32_t ant_grammar_list(struct ant_grammar *grammar, const uint32_t *nodes,
                          const bool *is_optional, size_t n, uint32_t between);
/* `node`, unless the calls under way are as many as may be. */
uint32_t ant_grammar_guard(struct ant_grammar *grammar, uint32_t node);

/* A rule can be called before it is defined, also by itself. It never matches the empty text. */
int32_t ant_grammar_add_rule(struct ant_grammar *grammar);
void ant_grammar_define(struct ant_grammar *grammar, int32_t rule, uint32_t node);
uint32_t ant_grammar_call(struct ant_grammar *grammar, int32_t rule);

/* ---- programs -------------------------------------------------------------------------------- */

enum ant_op {
    ANT_OP_NEVER,
    ANT_OP_MATCH,
    ANT_OP_RANGE,  /* a byte from lo to hi, then x */
    ANT_OP_SPLIT,  /* x or y */
    ANT_OP_CALL,   /* x, and after its RETURN y */
    ANT_OP_RETURN, /* to the y of the call under way */
    ANT_OP_BEGIN,  /* x, which goes to END y, from min to max times */
    ANT_OP_END,    /* once more from x, or if it was often enough y */
    ANT_OP_GUARD,  /* x, if calls are not too deep */
};

struct ant_instruction {
    uint8_t op, lo, hi; /* enum ant_op */
    uint32_t x, y;
    int32_t min, max; /* of BEGIN; max may be ANT_NO_LIMIT */
};

struct ant_program {
    struct ant_instruction *code; /* owned, (n) */
    uint32_t n, start;
};

/* ANT_EUNSUPP: too long, a rule that calls itself with nothing before, or no text matches. Of what
 * cannot lead to a match nothing is left. */
int ant_grammar_compile(const struct ant_grammar *grammar, uint32_t root, struct ant_program *out,
                        struct ant_error *err);
void ant_program_release(struct ant_program *program);

#endif
