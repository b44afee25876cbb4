/* SPDX-License-Identifier: Apache-2.0 */
/* What an independent implementation answered: the files that make_smollm2.py and make_tiny.py
 * wrote. A file that cannot be read ends the test program. */
#ifndef ANT_TESTS_GOLDEN_EXPECTED_H
#define ANT_TESTS_GOLDEN_EXPECTED_H

#include <stddef.h>
#include <stdint.h>

#include "base/mem.h"

struct expected_prompt {
    char *text;
    struct ant_ids tokens, output, second; /* second: of the next largest logit at each position */
    float *gap;                            /* (output.len) largest less next largest logit */

    /* Of the first position: logits of some ids (of all of them in a tiny model), and how far the
     * largest of all is above the smallest. */
    struct ant_ids ids;
    float *logits; /* (ids.len) */
    double width;
};

struct expected {
    struct expected_prompt *prompts;
    int n_prompts;
    size_t longest; /* most tokens of a prompt and its answer */
};

void expected_load(struct expected *out, const char *path, int vocab);
void expected_free(struct expected *expected);

#endif
