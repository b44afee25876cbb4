/* SPDX-License-Identifier: Apache-2.0 */
/* Answers whose every field follows from row and sample, for tests that write them one way and read
 * them another. */
#ifndef TESTS_UNIT_ANSWERS_H
#define TESTS_UNIT_ANSWERS_H

#include <stdio.h>
#include <string.h>

#include "store/journal.h"

struct made_answer {
    struct ant_answer answer;
    int32_t tokens[64];
    char text[512], error[64];
};

/* Every seventh row has failed; texts are of 0 to 300 bytes and not always UTF-8. */
static inline const struct ant_answer *make_answer(struct made_answer *made, int64_t row,
                                                   int32_t sample)
{
    int failed = row % 7 == 3;
    int n_text = failed ? 0 : (int)((row * 37 + sample) % 300), n_tokens = n_text / 5;
    int n_error = 0;

    for (int i = 0; i < n_tokens; i++)
        made->tokens[i] = (int32_t)(row * 1000 + sample * 100 + i);
    for (int i = 0; i < n_text; i++)
        made->text[i] = (char)(row % 5 == 4 ? row + i * 7 : 'a' + (row + i) % 26);
    if (failed)
        n_error = snprintf(made->error, sizeof(made->error), "row %lld is bad", (long long)row);
    made->answer = (struct ant_answer){
        .row = row,
        .sample = sample,
        .status = failed ? ANT_STATUS_FAILED : ANT_STATUS_OK,
        .finish = failed ? ANT_FINISH_ERROR : (enum ant_finish)(1 + row % 3),
        .prompt_tokens = (int32_t)(row % 100),
        .dp_rank = (int32_t)(row % 4),
        .attempt = 1 + (int32_t)(row % 2),
        .seed = UINT64_MAX - (uint64_t)row,
        .t_first = (float)row / 8,
        .t_total = (float)row / 4,
        .tokens = made->tokens,
        .n_tokens = (uint32_t)n_tokens,
        .text = made->text,
        .text_bytes = (uint32_t)n_text,
        .error = made->error,
        .error_bytes = (uint32_t)n_error,
    };
    return &made->answer;
}

/* NULL, or what differs. */
static inline const char *differs(const struct ant_answer *a, const struct ant_answer *b)
{
    if (a->row != b->row || a->sample != b->sample)
        return "row";
    if (a->status != b->status || a->finish != b->finish)
        return "status";
    if (a->prompt_tokens != b->prompt_tokens || a->dp_rank != b->dp_rank ||
        a->attempt != b->attempt || a->seed != b->seed)
        return "numbers";
    if (memcmp(&a->t_first, &b->t_first, 4) != 0 || memcmp(&a->t_total, &b->t_total, 4) != 0)
        return "times";
    if (a->n_tokens != b->n_tokens ||
        (a->n_tokens && memcmp(a->tokens, b->tokens, 4 * (size_t)a->n_tokens) != 0))
        return "tokens";
    if (a->text_bytes != b->text_bytes ||
        (a->text_bytes && memcmp(a->text, b->text, a->text_bytes) != 0))
        return "text";
    if (a->error_bytes != b->error_bytes ||
        (a->error_bytes && memcmp(a->error, b->error, a->error_bytes) != 0))
        return "error";
    return NULL;
}

#endif
