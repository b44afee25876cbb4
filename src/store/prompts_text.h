/* SPDX-License-Identifier: Apache-2.0 */
/* A column of strings beside the prompts, read in pieces. Internal to src/store. */
#ifndef ANT_STORE_PROMPTS_TEXT_H
#define ANT_STORE_PROMPTS_TEXT_H

#include "store/h5.h"

enum { ANT_TEXTS_HELD = 64 };

/* Zero-initialised is closed: the input has no such column. */
struct ant_prompts_text {
    struct ant_h5_column column;
    int64_t first, n; /* rows held */
    int64_t offsets[ANT_TEXTS_HELD + 1];
    struct ant_buf bytes;
};

/* The text of a row, of `rows` in all; borrowed until the next call. *text: NULL where the column
 * is closed. */
int ant_prompts_text_read(struct ant_prompts_text *texts, int64_t row, int64_t rows,
                          const char **text, size_t *bytes, struct ant_error *err);
void ant_prompts_text_close(struct ant_prompts_text *texts);

#endif
