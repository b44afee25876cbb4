/* SPDX-License-Identifier: Apache-2.0 */
/* The columns of numbers beside the prompts: what each is called, and where struct ant_prompt has
 * it. Internal to src/store. */
#ifndef ANT_STORE_PROMPTS_NUMBER_H
#define ANT_STORE_PROMPTS_NUMBER_H

#include "store/prompts.h"

enum { ANT_N_NUMBERS = 15 };

struct ant_number_column {
    const char *name; /* "max_tokens" */
    size_t offset;    /* of its member */
    enum {
        ANT_NUMBER_INTEGER, /* int64_t */
        ANT_NUMBER_BITS,    /* uint64_t */
        ANT_NUMBER_REAL,    /* double */
    } kind;
};

/* The column of flag 1 << i of enum ant_prompt_has is the i-th. */
extern const struct ant_number_column ant_number_columns[ANT_N_NUMBERS];

static inline int ant_number_of(enum ant_prompt_has flag)
{
    return __builtin_ctz(flag);
}

#endif
