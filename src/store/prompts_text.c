/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "store/prompts_text.h"

int ant_prompts_text_read(struct ant_prompts_text *texts, int64_t row, int64_t rows,
                          const char **text, size_t *bytes, struct ant_error *err)
{
    *text = NULL;
    *bytes = 0;
    if (!ant_h5_column_is_open(&texts->column))
        return 0;
    if (row < texts->first || row >= texts->first + texts->n) {
        int64_t n = rows - row < ANT_TEXTS_HELD ? rows - row : ANT_TEXTS_HELD;
        texts->n = 0;
        ANT_TRY(ant_h5_read_strings(&texts->column, row, 1, n, &texts->bytes, texts->offsets, err));
        texts->first = row;
        texts->n = n;
    }
    const int64_t *at = texts->offsets + (row - texts->first);
    *bytes = (size_t)(at[1] - at[0]);
    *text = *bytes ? texts->bytes.data + at[0] : "";
    return 0;
}

void ant_prompts_text_close(struct ant_prompts_text *texts)
{
    ant_h5_column_close(&texts->column);
    ant_buf_release(&texts->bytes);
}
