/* SPDX-License-Identifier: Apache-2.0 */
/* Log probabilities of tokens one after the other, each with the most probable ids in its place.
 * Plain arrays that grow. Thread: whoever owns it. */
#ifndef ANT_BASE_LOGPROBS_H
#define ANT_BASE_LOGPROBS_H

#include <stddef.h>
#include <stdint.h>

/* With `n_top` set and all else zero: empty. */
struct ant_logprobs {
    float *values;    /* owned, (n) of the tokens; NaN: there is none */
    int32_t *top_ids; /* owned, (n, n_top) best first; -1: none */
    float *top;       /* owned, (n, n_top) theirs */
    uint32_t n, cap;
    int32_t n_top;
};

/* Room for so many. */
void ant_logprobs_reserve(struct ant_logprobs *logprobs, uint32_t n);
/* `top_ids` and `top` (n_top); NULL: none. */
void ant_logprobs_add(struct ant_logprobs *logprobs, float value, const int32_t *top_ids,
                      const float *top);
/* Natural logarithm of the probability of all tokens together. */
double ant_logprobs_sum(const struct ant_logprobs *logprobs);
/* Is each of these tokens the most probable one in its place? */
int ant_logprobs_are_greedy(const struct ant_logprobs *logprobs, const int32_t *tokens);
void ant_logprobs_release(struct ant_logprobs *logprobs);

#endif
