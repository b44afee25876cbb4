/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "store/prompts_text.h"

const char *const ant_text_columns[ANT_N_TEXTS] = {
    [ANT_TEXT_CONTINUATION] = "continuation",
    [ANT_TEXT_STOP] = "stop",
    [ANT_TEXT_SYSTEM] = "system",
    [ANT_TEXT_RULES + ANT_RULE_LOGIT_BIAS] = "logit_bias",
    [ANT_TEXT_RULES + ANT_RULE_ALLOWED] = "allowed_token_ids",
    [ANT_TEXT_RULES + ANT_RULE_BAD_WORDS] = "bad_words",
    [ANT_TEXT_RULES + ANT_RULE_STOP_IDS] = "stop_token_ids",
    [ANT_TEXT_CHOICE] = "choice",
    [ANT_TEXT_REGEX] = "regex",
    [ANT_TEXT_SCHEMA] = "json_schema",
};

const char *ant_prompt_rule_name(enum ant_prompt_rule rule)
{
    return ant_text_columns[ANT_TEXT_RULES + (int)rule];
}

int ant_prompts_text_read(struct ant_prompts_text *texts, int64_t row, int64_t rows,
                          const char **text, size_t *bytes, struct ant_error *err)
{
    *text = NULL;
    *bytes = 0;
    if (!ant_h5_column_is_open(&texts->column))
        return 0;
    if (row < texts->first || row >= texts->first + texts->n) {
        int64_t most = ant_h5_strings_at_once(&texts->column, ANT_TEXTS_HELD);
        int64_t n = rows - row < most ? rows - row : most;
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

void ant_prompts_note(struct ant_buf *facts, const struct ant_prompt *prompt)
{
    ant_buf_printf(
        facts, "row %lld %zu %zu %u %lld %lld %lld %a %a %a %a %a %a %a %llu %lld %lld %lld\n",
        (long long)prompt->row, prompt->text_bytes, prompt->n_tokens, prompt->has,
        (long long)prompt->max_tokens, (long long)prompt->min_tokens, (long long)prompt->top_k,
        prompt->temperature, prompt->top_p, prompt->min_p, prompt->typical_p,
        prompt->repetition_penalty, prompt->presence_penalty, prompt->frequency_penalty,
        (unsigned long long)prompt->seed, (long long)prompt->logprobs,
        (long long)prompt->prompt_logprobs, (long long)prompt->n);
    ant_buf_add(facts, prompt->continuation, prompt->continuation_bytes);
    ant_buf_add(facts, prompt->constraint, prompt->constraint_bytes);
    ant_buf_add(facts, prompt->stop, prompt->stop_bytes);
    ant_buf_add(facts, prompt->system, prompt->system_bytes);
    for (int i = 0; i < ANT_N_RULES; i++)
        ant_buf_add(facts, prompt->rules[i].text, prompt->rules[i].bytes);
    ant_buf_add(facts, prompt->text, prompt->text_bytes);
    ant_buf_add(facts, prompt->tokens, prompt->n_tokens * sizeof(*prompt->tokens));
}
