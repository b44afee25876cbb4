/* SPDX-License-Identifier: Apache-2.0 */
/* Answers as lines of text. */
#include "config.h"

#include <math.h>
#include <string.h>

#include "store/exchange.h"

/* Bytes of the UTF-8 character at `text` (`n` bytes are left); 0 when it is none. */
static size_t utf8_length(const unsigned char *text, size_t n)
{
    unsigned char first = text[0];
    size_t length = first < 0x80 ? 1 : first < 0xc2 ? 0 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;

    if (first > 0xf4 || length == 0 || length > n)
        return 0;
    for (size_t i = 1; i < length; i++)
        if ((text[i] & 0xc0) != 0x80)
            return 0;
    if ((first == 0xe0 && text[1] < 0xa0) || (first == 0xed && text[1] > 0x9f) ||
        (first == 0xf0 && text[1] < 0x90) || (first == 0xf4 && text[1] > 0x8f))
        return 0; /* overlong, a surrogate, beyond Unicode */
    return length;
}

static void put_json_char(struct ant_buf *out, unsigned char c)
{
    switch (c) {
    case '"':
        ant_buf_add(out, "\\\"", 2);
        break;
    case '\\':
        ant_buf_add(out, "\\\\", 2);
        break;
    case '\n':
        ant_buf_add(out, "\\n", 2);
        break;
    case '\r':
        ant_buf_add(out, "\\r", 2);
        break;
    case '\t':
        ant_buf_add(out, "\\t", 2);
        break;
    default:
        ant_buf_printf(out, "\\u%04x", c);
    }
}

void ant_exchange_put_json_string(struct ant_buf *out, const char *text, size_t n)
{
    const unsigned char *bytes = (const unsigned char *)text;
    size_t done = 0; /* bytes already in `out` */

    ant_buf_add(out, "\"", 1);
    for (size_t i = 0; i < n;) {
        size_t length = utf8_length(bytes + i, n - i);
        if (length > 0 && bytes[i] >= ' ' && bytes[i] != '"' && bytes[i] != '\\' &&
            bytes[i] != 0x7f) {
            i += length;
            continue;
        }
        ant_buf_add(out, text + done, i - done);
        if (length == 0)
            ant_buf_add(out, "\xef\xbf\xbd", 3);
        else
            put_json_char(out, bytes[i]);
        done = ++i;
    }
    ant_buf_add(out, text + done, n - done);
    ant_buf_add(out, "\"", 1);
}

static void put_json_time(struct ant_buf *out, const char *name, float seconds)
{
    if (isfinite(seconds))
        ant_buf_printf(out, ", \"%s\": %.6g", name, (double)seconds);
}

static void put_json_real(struct ant_buf *out, double value)
{
    if (isfinite(value))
        ant_buf_printf(out, "%.9g", value);
    else
        ant_buf_printf(out, "null");
}

/* "PREFIXlogprobs", and "PREFIXtop_logprobs": a list of [id, log probability] each. */
static void put_json_logprobs(struct ant_buf *out, const char *prefix,
                              const struct ant_logprobs *logprobs)
{
    size_t n_top = (size_t)logprobs->n_top;

    ant_buf_printf(out, ", \"%slogprobs\": [", prefix);
    for (uint32_t i = 0; i < logprobs->n; i++) {
        ant_buf_add(out, ", ", i ? 2 : 0);
        put_json_real(out, (double)logprobs->values[i]);
    }
    ant_buf_add(out, "]", 1);
    if (n_top == 0)
        return;
    ant_buf_printf(out, ", \"%stop_logprobs\": [", prefix);
    for (uint32_t i = 0; i < logprobs->n; i++) {
        ant_buf_printf(out, "%s[", i ? ", " : "");
        for (size_t k = i * n_top; k < (i + 1) * n_top && logprobs->top_ids[k] >= 0; k++) {
            ant_buf_printf(out, "%s[%d, ", k > i * n_top ? ", " : "", (int)logprobs->top_ids[k]);
            put_json_real(out, (double)logprobs->top[k]);
            ant_buf_add(out, "]", 1);
        }
        ant_buf_add(out, "]", 1);
    }
    ant_buf_add(out, "]", 1);
}

static void put_json_ids(struct ant_buf *out, const char *name, const int32_t *ids, uint32_t n)
{
    ant_buf_printf(out, ", \"%s\": [", name);
    for (uint32_t i = 0; i < n; i++)
        ant_buf_printf(out, "%s%d", i ? ", " : "", (int)ids[i]);
    ant_buf_add(out, "]", 1);
}

void ant_exchange_put_json(struct ant_buf *out, const struct ant_answer *answer,
                           const struct ant_results_id *id, bool is_scored)
{
    ant_buf_printf(out, "{\"row\": %lld, \"sample\": %d", (long long)answer->row,
                   (int)answer->sample);
    if (id->kind != ANT_ID_NONE) {
        ant_buf_printf(out, ", \"id\": ");
        if (id->kind == ANT_ID_STRING)
            ant_exchange_put_json_string(out, id->text, id->bytes);
        else
            ant_buf_add(out, id->text, id->bytes);
    }
    ant_buf_printf(out, ", \"status\": \"%s\", \"finish\": \"%s\"",
                   ant_status_names[answer->status], ant_finish_names[answer->finish]);
    ant_buf_printf(out, ", \"prompt_tokens\": %d, \"completion_tokens\": %u, \"seed\": %llu",
                   (int)answer->prompt_tokens, (unsigned)answer->n_tokens,
                   (unsigned long long)answer->seed);
    put_json_time(out, "t_first", answer->t_first);
    put_json_time(out, "t_total", answer->t_total);
    ant_buf_printf(out, ", \"text\": ");
    ant_exchange_put_json_string(out, answer->text, answer->text_bytes);
    if (is_scored && answer->logprobs && answer->status == ANT_STATUS_OK)
        ant_buf_printf(
            out, ", \"logprob_sum\": %.9g, \"is_greedy\": %s", ant_logprobs_sum(answer->logprobs),
            ant_logprobs_are_greedy(answer->logprobs, answer->tokens) ? "true" : "false");
    if (answer->logprobs && answer->n_tokens > 0) {
        put_json_ids(out, "tokens", answer->tokens, answer->n_tokens);
        put_json_logprobs(out, "", answer->logprobs);
    }
    if (answer->prompt_logprobs && answer->prompt_logprobs->n > 0) {
        put_json_ids(out, "prompt_ids", answer->prompt_ids, answer->prompt_logprobs->n);
        put_json_logprobs(out, "prompt_", answer->prompt_logprobs);
    }
    if (answer->error_bytes > 0) {
        ant_buf_printf(out, ", \"error\": ");
        ant_exchange_put_json_string(out, answer->error, answer->error_bytes);
    }
    ant_buf_add(out, "}\n", 2);
}

/* Quoted where it must be, and where a reader might strip something. */
static void put_csv_text(struct ant_buf *out, const char *text, size_t n)
{
    bool is_quoted = n > 0 && (text[0] == ' ' || text[n - 1] == ' ');

    for (size_t i = 0; i < n && !is_quoted; i++)
        is_quoted = text[i] == '"' || text[i] == ',' || text[i] == '\n' || text[i] == '\r';
    if (!is_quoted) {
        ant_buf_add(out, text, n);
        return;
    }
    ant_buf_add(out, "\"", 1);
    for (size_t done = 0; done < n;) {
        const char *quote = memchr(text + done, '"', n - done);
        size_t length = quote ? (size_t)(quote - text) + 1 - done : n - done;
        ant_buf_add(out, text + done, length);
        if (quote)
            ant_buf_add(out, "\"", 1);
        done += length;
    }
    ant_buf_add(out, "\"", 1);
}

void ant_exchange_put_csv_header(struct ant_buf *out, bool is_scored)
{
    ant_buf_printf(out,
                   "row,sample,id,status,finish,prompt_tokens,completion_tokens,seed,text,"
                   "error%s\r\n",
                   is_scored ? ",logprob_sum,is_greedy" : "");
}

void ant_exchange_put_csv(struct ant_buf *out, const struct ant_answer *answer,
                          const struct ant_results_id *id, bool is_scored)
{
    ant_buf_printf(out, "%lld,%d,", (long long)answer->row, (int)answer->sample);
    put_csv_text(out, id->text, id->bytes);
    ant_buf_printf(out, ",%s,%s,%d,%u,%llu,", ant_status_names[answer->status],
                   ant_finish_names[answer->finish], (int)answer->prompt_tokens,
                   (unsigned)answer->n_tokens, (unsigned long long)answer->seed);
    put_csv_text(out, answer->text, answer->text_bytes);
    ant_buf_add(out, ",", 1);
    put_csv_text(out, answer->error, answer->error_bytes);
    if (is_scored && answer->logprobs && answer->status == ANT_STATUS_OK)
        ant_buf_printf(out, ",%.9g,%d", ant_logprobs_sum(answer->logprobs),
                       ant_logprobs_are_greedy(answer->logprobs, answer->tokens));
    else if (is_scored)
        ant_buf_add(out, ",,", 2);
    ant_buf_add(out, "\r\n", 2);
}
