/* SPDX-License-Identifier: Apache-2.0 */
/* Answers as lines of an OpenAI batch: one a row, its samples as choices. */
#include "config.h"

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

static void add_choice(struct ant_exchange_batch *batch, const struct ant_answer *answer)
{
    struct ant_buf *out = &batch->choices;

    ant_buf_printf(out, "%s{\"index\": %d, ", out->len ? ", " : "", (int)answer->sample);
    ant_buf_printf(out, batch->is_chat ? "\"message\": {\"role\": \"assistant\", \"content\": "
                                       : "\"text\": ");
    ant_exchange_put_json_string(out, answer->text, answer->text_bytes);
    ant_buf_printf(out, "%s, \"logprobs\": null, \"finish_reason\": \"%s\"}",
                   batch->is_chat ? "}" : "", finish_reason(answer->finish));
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
