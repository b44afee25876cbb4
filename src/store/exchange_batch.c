/* SPDX-License-Identifier: Apache-2.0 */
/* Answers as lines of an OpenAI batch: one a row, its samples as choices. */
#include "config.h"

#include <math.h>
#include <string.h>

#include "store/exchange.h"

static const char *finish_reason(enum ant_finish finish)
{
    return finish == ANT_FINISH_LENGTH ? "length" : "stop";
}

static void begin(struct ant_exchange_batch *batch, const struct ant_answer *answer,
                  const struct ant_results_id *id)
{
    batch->row = answer->row;
    batch->is_open = true;
    batch->status = answer->status;
    batch->prompt_tokens = answer->prompt_tokens;
    batch->completion_tokens = 0;
    batch->choices.len = batch->error.len = batch->id.len = 0;
    if (id->kind == ANT_ID_NONE)
        ant_buf_printf(&batch->id, "row-%lld", (long long)answer->row);
    else
        ant_buf_add(&batch->id, id->text, id->bytes);
}

/* "token" and "bytes" of an id. */
static void put_token(const struct ant_exchange_batch *batch, struct ant_buf *out, int32_t id)
{
    size_t n = 0;
    const char *piece = batch->piece ? batch->piece(batch->data, id, &n) : NULL;

    if (!piece) {
        ant_buf_printf(out, "\"token\": \"token_id:%d\", \"bytes\": null", (int)id);
        return;
    }
    ant_buf_printf(out, "\"token\": ");
    ant_exchange_put_json_string(out, piece, n);
    ant_buf_printf(out, ", \"bytes\": [");
    for (size_t i = 0; i < n; i++)
        ant_buf_printf(out, "%s%d", i ? ", " : "", (unsigned char)piece[i]);
    ant_buf_add(out, "]", 1);
}

/* JSON knows no infinity; the least that the interface gives is this, too. */
static double shown_logprob(float value)
{
    return value >= -9999.0f ? (double)value : -9999.0;
}

static void put_chat_logprobs(const struct ant_exchange_batch *batch, struct ant_buf *out,
                              const struct ant_answer *answer)
{
    const struct ant_logprobs *logprobs = answer->logprobs;
    size_t n_top = (size_t)logprobs->n_top;

    ant_buf_printf(out, "{\"content\": [");
    for (uint32_t i = 0; i < logprobs->n; i++) {
        ant_buf_printf(out, "%s{", i ? ", " : "");
        put_token(batch, out, answer->tokens[i]);
        ant_buf_printf(out, ", \"logprob\": %.9g, \"top_logprobs\": [",
                       shown_logprob(logprobs->values[i]));
        for (size_t k = i * n_top; k < (i + 1) * n_top && logprobs->top_ids[k] >= 0; k++) {
            ant_buf_printf(out, "%s{", k > i * n_top ? ", " : "");
            put_token(batch, out, logprobs->top_ids[k]);
            ant_buf_printf(out, ", \"logprob\": %.9g}", shown_logprob(logprobs->top[k]));
        }
        ant_buf_printf(out, "]}");
    }
    ant_buf_printf(out, "], \"refusal\": null}");
}

/* A token as the name of a member. */
static void put_name(const struct ant_exchange_batch *batch, struct ant_buf *out, int32_t id)
{
    size_t n = 0;
    const char *piece = batch->piece ? batch->piece(batch->data, id, &n) : NULL;

    if (piece)
        ant_exchange_put_json_string(out, piece, n);
    else
        ant_buf_printf(out, "\"token_id:%d\"", (int)id);
}

static void put_text_logprobs(const struct ant_exchange_batch *batch, struct ant_buf *out,
                              const struct ant_answer *answer)
{
    const struct ant_logprobs *logprobs = answer->logprobs;
    size_t n_top = (size_t)logprobs->n_top;

    ant_buf_printf(out, "{\"tokens\": [");
    for (uint32_t i = 0; i < logprobs->n; i++) {
        ant_buf_add(out, ", ", i ? 2 : 0);
        put_name(batch, out, answer->tokens[i]);
    }
    ant_buf_printf(out, "], \"token_logprobs\": [");
    for (uint32_t i = 0; i < logprobs->n; i++)
        ant_buf_printf(out, "%s%.9g", i ? ", " : "", shown_logprob(logprobs->values[i]));
    ant_buf_printf(out, "], \"top_logprobs\": [");
    for (uint32_t i = 0; i < logprobs->n; i++) {
        ant_buf_printf(out, "%s{", i ? ", " : "");
        for (size_t k = i * n_top; k < (i + 1) * n_top && logprobs->top_ids[k] >= 0; k++) {
            ant_buf_add(out, ", ", k > i * n_top ? 2 : 0);
            put_name(batch, out, logprobs->top_ids[k]);
            ant_buf_printf(out, ": %.9g", shown_logprob(logprobs->top[k]));
        }
        ant_buf_add(out, "}", 1);
    }
    ant_buf_printf(out, "]}");
}

static void put_logprobs(const struct ant_exchange_batch *batch, struct ant_buf *out,
                         const struct ant_answer *answer)
{
    if (!answer->logprobs || answer->logprobs->n == 0 || isnan(answer->logprobs->values[0]))
        ant_buf_printf(out, "null"); /* the row has not asked for them */
    else if (batch->is_chat)
        put_chat_logprobs(batch, out, answer);
    else
        put_text_logprobs(batch, out, answer);
}

static void add_choice(struct ant_exchange_batch *batch, const struct ant_answer *answer)
{
    struct ant_buf *out = &batch->choices;

    ant_buf_printf(out, "%s{\"index\": %d, ", out->len ? ", " : "", (int)answer->sample);
    ant_buf_printf(out, batch->is_chat ? "\"message\": {\"role\": \"assistant\", \"content\": "
                                       : "\"text\": ");
    ant_exchange_put_json_string(out, answer->text, answer->text_bytes);
    ant_buf_printf(out, "%s, \"logprobs\": ", batch->is_chat ? "}" : "");
    put_logprobs(batch, out, answer);
    ant_buf_printf(out, ", \"finish_reason\": \"%s\"}", finish_reason(answer->finish));
    batch->completion_tokens += answer->n_tokens;
}

static void put_response(const struct ant_exchange_batch *batch, struct ant_buf *out)
{
    ant_buf_printf(out,
                   "{\"status_code\": 200, \"request_id\": \"row-%lld\", \"body\": {\"id\": "
                   "\"%s-%lld\", \"object\": \"%s\", \"created\": %lld, \"model\": ",
                   (long long)batch->row, batch->is_chat ? "chatcmpl" : "cmpl",
                   (long long)batch->row, batch->is_chat ? "chat.completion" : "text_completion",
                   (long long)batch->created);
    ant_exchange_put_json_string(out, batch->model, strlen(batch->model));
    ant_buf_printf(out, ", \"choices\": [%s], \"usage\": {", batch->choices.data);
    ant_buf_printf(out, "\"prompt_tokens\": %lld, \"completion_tokens\": %lld, ",
                   (long long)batch->prompt_tokens, (long long)batch->completion_tokens);
    ant_buf_printf(out, "\"total_tokens\": %lld}}}, \"error\": null",
                   (long long)(batch->prompt_tokens + batch->completion_tokens));
}

static void put_failure(const struct ant_exchange_batch *batch, struct ant_buf *out)
{
    ant_buf_printf(out,
                   "{\"status_code\": 400, \"request_id\": \"row-%lld\", \"body\": {\"error\": "
                   "{\"message\": ",
                   (long long)batch->row);
    ant_exchange_put_json_string(out, batch->error.len ? batch->error.data : "", batch->error.len);
    ant_buf_printf(out, ", \"type\": \"invalid_request_error\", \"param\": null, \"code\": null}}}"
                        ", \"error\": null");
}

void ant_exchange_end_batch(struct ant_exchange_batch *batch, struct ant_buf *out)
{
    if (!batch->is_open)
        return;
    batch->is_open = false;
    ant_buf_printf(out, "{\"id\": \"batch_req_%lld\", \"custom_id\": ", (long long)batch->row);
    ant_exchange_put_json_string(out, batch->id.data ? batch->id.data : "", batch->id.len);
    ant_buf_printf(out, ", \"response\": ");
    if (batch->choices.len > 0)
        put_response(batch, out);
    else if (batch->status == ANT_STATUS_FAILED)
        put_failure(batch, out);
    else
        ant_buf_printf(out, "null, \"error\": {\"code\": \"batch_expired\", \"message\": \"the job "
                            "has not come to this row\"}");
    ant_buf_add(out, "}\n", 2);
}

void ant_exchange_put_batch(struct ant_exchange_batch *batch, struct ant_buf *out,
                            const struct ant_answer *answer, const struct ant_results_id *id)
{
    if (!batch->is_open || batch->row != answer->row) {
        ant_exchange_end_batch(batch, out);
        begin(batch, answer, id);
    }
    if (answer->status == ANT_STATUS_OK)
        add_choice(batch, answer);
    else if (batch->error.len == 0 && answer->error_bytes > 0)
        ant_buf_add(&batch->error, answer->error, answer->error_bytes);
    if (answer->status == ANT_STATUS_FAILED)
        batch->status = answer->status;
}

void ant_exchange_release_batch(struct ant_exchange_batch *batch)
{
    ant_buf_release(&batch->choices);
    ant_buf_release(&batch->error);
    ant_buf_release(&batch->id);
}
