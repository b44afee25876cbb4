/* SPDX-License-Identifier: Apache-2.0 */
/* Numbers between bounds, as JSON writes them, as a grammar. Thread: that of the grammar. */
#ifndef ANT_TEXT_GRAMMAR_NUMBER_H
#define ANT_TEXT_GRAMMAR_NUMBER_H

#include "text/grammar.h"

/* The most digits before a point, and behind it. */
enum { ANT_NUMBER_DIGITS = 15 };

struct ant_number_bounds {
    bool has_least, has_most;
    double least, most;      /* below 10^ANT_NUMBER_DIGITS */
    bool is_above, is_below; /* the bound itself is left out */
};

/* Integers, or decimal fractions without exponent, within the bounds. */
uint32_t ant_grammar_integer(struct ant_grammar *grammar, const struct ant_number_bounds *bounds);
uint32_t ant_grammar_decimal(struct ant_grammar *grammar, const struct ant_number_bounds *bounds);

#endif
