/* SPDX-License-Identifier: Apache-2.0 */
/* The columns of strings beside the prompts, read in pieces. Internal to src/store. */
#ifndef ANT_STORE_PROMPTS_TEXT_H
#define ANT_STORE_PROMPTS_TEXT_H

#include "store/h5.h"
#include "store/prompts.h"

enum {
    ANT_TEXT_CONTINUATION,
    ANT_TEXT_STOP,
    ANT_TEXT_SYSTEM,
    ANT_TEXT_RULES, /* in the order of enum ant_prompt_rule */
    ANT_TEXT_CHOICE = ANT_TEXT_RULES + ANT_N_RULES,
    ANT_TEXT_REGEX,
    ANT_TEXT_SCHEMA,
    ANT_N_TEXTS
};
extern const char *const ant_text_columns[ANT_N_TEXTS]; /* "continuation" */

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

/* All that a prompt says, for a digest of it. */
void ant_prompts_note(struct ant_buf *facts, const struct ant_prompt *prompt);

#endif
