/* SPDX-License-Identifier: Apache-2.0 */
/* Drawing tokens: a pure function of (seed, the prompt's tokens, sample number,
 * position) by a counter-based generator (Philox4x32-10), so the same prompt
 * draws the same numbers on any rank, in any batch, after any restart. Thread:
 * any; no state. */
#ifndef ANT_ENGINE_SAMPLING_H
#define ANT_ENGINE_SAMPLING_H

#include <stdbool.h>
#include <stdint.h>

#include "backend/backend.h"
#include "base/error.h"

/* How one prompt is answered. */
struct ant_sampling {
    int32_t max_tokens, min_tokens;
    float temperature, top_p, min_p, typical_p;
    int32_t top_k;                                                 /* 0: off */
    float repetition_penalty, presence_penalty, frequency_penalty; /* off: 0; repetition: 0 or 1 */
    uint64_t seed;
    bool ignore_eos;
    int32_t max_repeats; /* of the same tokens in a row; 0: any number */
};

/* Range check; the text names the parameter and its value. ANT_EUSAGE. */
int ant_sampling_check(const struct ant_sampling *sampling, struct ant_error *err);

/* The generator's key for one answer. */
uint64_t ant_draw_key(uint64_t seed, const int32_t *prompt, int n_prompt, int sample);

/* The uniform number in [0, 1) of a position under a key. */
float ant_draw_uniform(uint64_t key, uint64_t position);

/* Draw from logits (vocab). `work` has room for vocab entries of ANT_DRAW_WORK bytes. Edits and
 * the mask, then temperature, then min_p, then top_k, then top_p among those, as vLLM does, then
 * typical_p among those, as transformers does; what is left is drawn from in order of id by the
 * position's uniform number, the rule that every backend keeps to. Returns the id; *logprob (unless
 * NULL) is that of the unmodified distribution. Ties go to the lower id; NaN is never drawn unless
 * there is nothing else. */
enum { ANT_DRAW_WORK = 16 };
int32_t ant_draw_token(const float *logits, int vocab, const struct ant_draw *draw, void *work,
                       float *logprob);

/* The n most probable ids, best first, of equal ones the lower first; -1 where there are fewer that
 * are numbers. `out` (n). */
void ant_draw_top(const float *logits, int vocab, int n, int32_t *out);

#endif
