/* SPDX-License-Identifier: Apache-2.0 */
/* A program of byte tests (text/grammar.h) run for all its ways at once: a state is the set of
 * places where it can be, each with its calls and counts, and is made when it is first come to.
 *
 * States are numbers; the same set has the same number until ant_automaton_clear. Making them is
 * bounded: beyond ANT_AUTOMATON_MOST bytes, or where one step has too many ways, there is no next
 * state and is_full says so. Thread: one at a time. */
#ifndef ANT_TEXT_AUTOMATON_H
#define ANT_TEXT_AUTOMATON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "text/grammar.h"

enum {
    ANT_DEAD = 0, /* the state that no text leads out of */
    ANT_AUTOMATON_MOST = 64 << 20,
    ANT_DEEPEST = 64, /* calls under way where a guard lets nothing through */
};

struct ant_automaton;

/* The program is borrowed. */
struct ant_automaton *ant_automaton_open(const struct ant_program *program);
void ant_automaton_close(struct ant_automaton *automaton);

uint32_t ant_automaton_start(struct ant_automaton *automaton);
uint32_t ant_automaton_next(struct ant_automaton *automaton, uint32_t state, uint8_t byte);
/* The text up to here is a whole one; and no byte can follow it. */
bool ant_automaton_accepts(const struct ant_automaton *automaton, uint32_t state);
bool ant_automaton_is_final(const struct ant_automaton *automaton, uint32_t state);

/* The same places without what is around the innermost call, and with counts only as far as a
 * token's length: many states have the same. What follows from it is true of the state itself, as
 * far as it is known: where has_unknown, a state come to so may have more ways than it shows. One
 * that shows none, and accepts nothing, has no places. */
uint32_t ant_automaton_outline(struct ant_automaton *automaton, uint32_t state);
bool ant_automaton_has_places(const struct ant_automaton *automaton, uint32_t state);
bool ant_automaton_has_unknown(const struct ant_automaton *automaton, uint32_t state);

uint32_t ant_automaton_count(const struct ant_automaton *automaton);
size_t ant_automaton_bytes(const struct ant_automaton *automaton); /* of its states */
bool ant_automaton_is_full(const struct ant_automaton *automaton);
/* Forget all states. */
void ant_automaton_clear(struct ant_automaton *automaton);

#endif
