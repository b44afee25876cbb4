/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "store/prompts_number.h"

#include <stddef.h>

#define COLUMN(flag, member, kind)                                                                 \
    [__builtin_ctz(ANT_HAS_##flag)] = {#member, offsetof(struct ant_prompt, member),               \
                                       ANT_NUMBER_##kind}

const struct ant_number_column ant_number_columns[ANT_N_NUMBERS] = {
    COLUMN(MAX_TOKENS, max_tokens, INTEGER),
    COLUMN(MIN_TOKENS, min_tokens, INTEGER),
    COLUMN(TEMPERATURE, temperature, REAL),
    COLUMN(TOP_P, top_p, REAL),
    COLUMN(TOP_K, top_k, INTEGER),
    COLUMN(MIN_P, min_p, REAL),
    COLUMN(TYPICAL_P, typical_p, REAL),
    COLUMN(SEED, seed, BITS),
    COLUMN(REPETITION, repetition_penalty, REAL),
    COLUMN(PRESENCE, presence_penalty, REAL),
    COLUMN(FREQUENCY, frequency_penalty, REAL),
    COLUMN(PRIORITY, priority, REAL),
    COLUMN(LOGPROBS, logprobs, INTEGER),
    COLUMN(PROMPT_LOGPROBS, prompt_logprobs, INTEGER),
    COLUMN(SAMPLES, n, INTEGER),
};
