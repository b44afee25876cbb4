/* SPDX-License-Identifier: Apache-2.0 */
/* What an answer may be: one of some texts, a match of a regular expression, JSON of a schema; and
 * token by token, which may come next.
 *
 * Shared by all answers that are to be alike: what one of them finds out, the others need not. The
 * masks are exact: a token is allowed where some text of the constraint begins with the answer and
 * the token's bytes; an end of answer where the answer is such a text. Thread: any may open, hold
 * and release; place, follow and mask are the engine thread's. Errors: ANT_EDATA and ANT_EUNSUPP
 * name what in the text is wrong, and where. */
#ifndef ANT_TEXT_CONSTRAINT_H
#define ANT_TEXT_CONSTRAINT_H

#include <stdatomic.h>

#include "text/token_tree.h"

enum ant_constraint_kind {
    ANT_CONSTRAINT_NONE,
    ANT_CONSTRAINT_CHOICE, /* a JSON list of strings: one of them */
    ANT_CONSTRAINT_REGEX,  /* all of the answer matches it: text/grammar_read.h says what it may be
                            */
    ANT_CONSTRAINT_SCHEMA, /* a JSON schema, likewise */
};

enum { ANT_N_CONSTRAINTS = ANT_CONSTRAINT_SCHEMA + 1 };
extern const char *const ant_constraint_names[ANT_N_CONSTRAINTS]; /* "choice" */

struct ant_constraint;

/* With one reference, the caller's. The tree is borrowed. */
int ant_constraint_open(struct ant_constraint **out, enum ant_constraint_kind kind,
                        const char *text, size_t bytes, const struct ant_token_tree *tree,
                        struct ant_error *err);

/* Memory for what constraints have found out, all of those together that have joined it. Beyond
 * `most` bytes each that has more than its share forgets that, and finds it out again. */
struct ant_constraint_room {
    size_t most;
    atomic_size_t held; /* 0 at first, as is the number of those that have joined */
    atomic_size_t n;
};
/* Before its first use; the room is borrowed. One that has joined none has a bound of its own
 * alone. */
void ant_constraint_join(struct ant_constraint *constraint, struct ant_constraint_room *room);
struct ant_constraint *ant_constraint_hold(struct ant_constraint *constraint);
void ant_constraint_release(struct ant_constraint *constraint); /* NULL is legal */

/* How far an answer's tokens have been followed. Zeroed: nothing yet. */
struct ant_constraint_place {
    uint32_t state, generation;
    size_t n;
};

/* Follow the answer's `n` tokens. 1: it is whole and nothing can come behind it. ANT_EDATA: it is
 * no beginning of what it should be; ANT_EUNSUPP: the constraint turned out too complicated. */
int ant_constraint_follow(struct ant_constraint *constraint, struct ant_constraint_place *place,
                          const int32_t *ids, size_t n, struct ant_error *err);
/* Which tokens may come behind these, followed before: valid until the next call for this
 * constraint. NULL: too complicated, which following will say. */
const uint64_t *ant_constraint_mask(struct ant_constraint *constraint,
                                    struct ant_constraint_place *place, const int32_t *ids,
                                    size_t n);
size_t ant_constraint_words(const struct ant_constraint *constraint); /* of a mask */

#endif
