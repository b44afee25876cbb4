/* SPDX-License-Identifier: Apache-2.0 */
/* Regular expressions and JSON schemas as grammars. What they hold that is not known here, and
 * would change what they mean, is refused: ANT_EDATA (it is wrong) and ANT_EUNSUPP (it may be
 * right) name it and where it stands. Thread: that of the grammar. */
#ifndef ANT_TEXT_GRAMMAR_READ_H
#define ANT_TEXT_GRAMMAR_READ_H

#include "text/grammar.h"

enum ant_regex_use {
    ANT_REGEX_TEXT, /* the whole text matches */
    ANT_REGEX_JSON, /* as `pattern` of a schema: some part of a string's value does, unless ^ and $
                       say otherwise; the text is that value as JSON writes it, without quotes */
};

/* Characters, ".", [classes] with ranges and [:names:], \d \w \s and their opposites (of ASCII; the
 * spaces of a JSON pattern, and what its "." leaves out, are JavaScript's), \n
 * \t \r \f \v \a \e \0 \xHH \x{H} \uHHHH, groups (also named or not counted), |, * + ? {n} {n,}
 * {n,m} (also lazy: the texts are the same), ^ and $ at the two ends. "." is all but \n. Not known:
 * references back, looks ahead and behind, \b, \p, possessive repetition, options. */
int ant_grammar_read_regex(struct ant_grammar *grammar, const char *text, size_t bytes,
                           enum ant_regex_use use, uint32_t *out, struct ant_error *err);

/* One character out of the ranges, in a string of JSON: as itself if that may be, else escaped. */
uint32_t ant_grammar_json_class(struct ant_grammar *grammar, const struct ant_code_range *ranges,
                                size_t n);

/* Keywords of JSON Schema: what is refused, what only says something to people, and what is taken
 * more narrowly than it is meant is in the manual page of antiphon-run. */
int ant_grammar_read_schema(struct ant_grammar *grammar, const char *text, size_t bytes,
                            uint32_t *out, struct ant_error *err);

#endif
