/* SPDX-License-Identifier: Apache-2.0 */
/* The tokens of a vocabulary by their bytes, as a tree: which of them may come next where an
 * automaton is, all in one walk. Immutable once open: any thread may read it. */
#ifndef ANT_TEXT_TOKEN_TREE_H
#define ANT_TEXT_TOKEN_TREE_H

#include "text/automaton.h"
#include "base/mem.h"
#include "text/tokenizer.h"

struct ant_token_tree;

/* Of the ids below `n_ids` (of the model) those that add text to an answer. `ends` (n_ends) end it
 * instead; other special ids are not there at all. */
struct ant_token_tree *ant_token_tree_open(const struct ant_tokenizer *tokenizer, int n_ids,
                                           const int32_t *ends, int n_ends);
void ant_token_tree_close(struct ant_token_tree *tree);

/* 64-bit words of a mask: bit i of it is id i. */
size_t ant_token_tree_words(const struct ant_token_tree *tree);
bool ant_token_tree_is_end(const struct ant_token_tree *tree, int32_t id);
/* The bytes that a token adds, also where it is the `first` of its answer: some tokenizers drop a
 * space there. 0 bytes: it must not be drawn. */
const char *ant_token_tree_bytes(const struct ant_token_tree *tree, int32_t id, bool is_first,
                                 size_t *bytes);
/* Is what may come first another tree than what may come later? */
bool ant_token_tree_has_first(const struct ant_token_tree *tree);

/* Set the bits of the tokens that `state` goes on with, of the ends where it accepts. Where that is
 * not known of an outline, the node goes to `unknown`. What is_full of the automaton says matters
 * afterwards. */
void ant_token_tree_walk(const struct ant_token_tree *tree, struct ant_automaton *automaton,
                         uint32_t state, bool is_first, uint64_t *mask, struct ant_ids *unknown);
/* The same for tokens under these nodes alone, of a state whose outline's walk left them. */
void ant_token_tree_walk_unknown(const struct ant_token_tree *tree, struct ant_automaton *automaton,
                                 uint32_t state, bool is_first, const struct ant_ids *unknown,
                                 uint64_t *mask);

#endif
