/* SPDX-License-Identifier: Apache-2.0 */
/* The texts of JSON as a grammar: what the reader of schemas builds from. White space is allowed
 * between the parts of a value as people write it: at most one space or one indented line break.
 * Numbers have at most 15 digits before and behind the point and 2 in the exponent. Thread: that of
 * the grammar. */
#ifndef ANT_TEXT_GRAMMAR_JSON_H
#define ANT_TEXT_GRAMMAR_JSON_H

#include <jansson.h>

#include "text/grammar.h"

struct ant_json_parts {
    struct ant_grammar *grammar;
    int32_t string, integer, number, value; /* rules; -1: not yet needed */
};

struct ant_json_parts ant_json_parts_of(struct ant_grammar *grammar);
uint32_t ant_json_string(struct ant_json_parts *parts);
uint32_t ant_json_string_of(struct ant_json_parts *parts, int32_t min,
                            int32_t max); /* characters */
uint32_t ant_json_integer(struct ant_json_parts *parts);
uint32_t ant_json_number(struct ant_json_parts *parts);
uint32_t ant_json_value(struct ant_json_parts *parts); /* any */
/* A string of a format by its name, or ANT_NO_NODE. */
uint32_t ant_json_format(struct ant_json_parts *parts, const char *name);

/* A name and its value; any name but these (`n` in all). Such names are written without escapes
 * that are not needed, so that none of these comes in disguise. */
uint32_t ant_json_member(struct ant_json_parts *parts, uint32_t name, uint32_t value);
uint32_t ant_json_other_name(struct ant_json_parts *parts, struct ant_word *names, size_t n);
/* A name of a member as JSON writes it. */
uint32_t ant_json_name(struct ant_json_parts *parts, const char *name);
/* This very value on one line, its members in their order. */
uint32_t ant_json_exactly(struct ant_json_parts *parts, const json_t *value);
/* How a value that is no object or list is written: a number by the fewest digits that say this
 * very one. Caller frees. */
char *ant_json_scalar(const json_t *value);
/* `content`, which holds what is between, in brackets of one of "{}" and "[]". */
uint32_t ant_json_brackets(struct ant_json_parts *parts, const char *brackets, uint32_t content);
uint32_t ant_json_comma(struct ant_json_parts *parts);
/* Any members, between `min` and `max` in number; any elements, likewise. */
uint32_t ant_json_any_object(struct ant_json_parts *parts, int32_t min, int32_t max);
uint32_t ant_json_elements(struct ant_json_parts *parts, uint32_t element, int32_t min,
                           int32_t max);

#endif
