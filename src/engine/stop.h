/* SPDX-License-Identifier: Apache-2.0 */
/* When an answer is over: end-of-answer ids, stop strings across token borders, a constraint that
 * is met, loops, length. Pure functions of the answer. Thread: any; the engine thread if it has a
 * constraint. */
#ifndef ANT_ENGINE_STOP_H
#define ANT_ENGINE_STOP_H

#include "engine/engine.h"

/* An answer of `n` tokens to this request must end: it is as long as it may be. `max_context`
 * bounds prompt and answer together. */
bool ant_stop_is_longest(const struct ant_request *request, int n, int max_context);

/* Look at the token just appended to request->output; sets `finish` (and `stop_string`) if the
 * answer is over. */
void ant_stop_check(struct ant_request *request, const struct ant_tokenizer *tokenizer,
                    int max_context);

/* The text of a finished answer: special tokens left out, and the token or string that ended it.
 * Appended to `out`. */
void ant_stop_text(const struct ant_request *request, const struct ant_tokenizer *tokenizer,
                   struct ant_buf *out);

#endif
