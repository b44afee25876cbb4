/* SPDX-License-Identifier: Apache-2.0 */
/* Reading prompts: the bytes, the plain text formats, and the names that all formats know. JSON
 * lines and CSV have files of their own. */
#include "config.h"

#include "store/exchange.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "store/exchange_source.h"
#include "store/prompts_number.h"

enum { MOST_UNUSED = 16, LONGEST_NAME = 40 };

/* ---- bytes and lines ------------------------------------------------------------------------- */

static bool refill(struct ant_exchange_reader *reader)
{
    if (reader->at < reader->n)
        return true;
    reader->at = 0;
    reader->n = fread(reader->bytes, 1, sizeof(reader->bytes), reader->file);
    return reader->n > 0;
}

int ant_exchange_byte(struct ant_exchange_reader *reader)
{
    if (!refill(reader))
        return -1;
    return (unsigned char)reader->bytes[reader->at++];
}

int ant_exchange_check(struct ant_exchange_reader *reader, struct ant_error *err)
{
    if (ferror(reader->file))
        return ant_fail(err, ANT_EIO, "cannot read '%s': %s", reader->name, strerror(errno));
    return 0;
}

int ant_exchange_fail(const struct ant_exchange_reader *reader, struct ant_error *err,
                      enum ant_err code, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    ant_fail_va(err, code, format, args);
    va_end(args);
    return ant_fail_in(err, code, "'%s', line %lld", reader->name, (long long)reader->row_line);
}

int ant_exchange_limit(const struct ant_exchange_reader *reader, size_t bytes,
                       struct ant_error *err)
{
    if (bytes <= ANT_EXCHANGE_LONGEST)
        return 0;
    return ant_exchange_fail(reader, err, ANT_EDATA, "more than %d bytes in one prompt",
                             ANT_EXCHANGE_LONGEST);
}

int ant_exchange_read_line(struct ant_exchange_reader *reader, struct ant_buf *out,
                           struct ant_error *err)
{
    out->len = 0;
    if (!refill(reader)) {
        ANT_TRY(ant_exchange_check(reader, err));
        return 0;
    }
    reader->line++;
    for (;;) {
        const char *from = reader->bytes + reader->at;
        const char *end = memchr(from, '\n', reader->n - reader->at);
        size_t n = end ? (size_t)(end - from) : reader->n - reader->at;
        ANT_TRY(ant_exchange_limit(reader, out->len + n, err));
        ant_buf_add(out, from, n);
        reader->at += n + (end != NULL);
        if (end || !refill(reader))
            break;
    }
    if (out->len > 0 && out->data[out->len - 1] == '\r')
        out->len--;
    ANT_TRY(ant_exchange_check(reader, err));
    return 1;
}

/* A byte order mark of UTF-8 is passed over; those of UTF-16 tell what the file really is. */
static int begin(struct ant_exchange_reader *reader, struct ant_error *err)
{
    const unsigned char *head = (const unsigned char *)reader->bytes;

    if (reader->is_begun)
        return 0;
    reader->is_begun = true;
    refill(reader);
    if (reader->n >= 3 && memcmp(head, "\xef\xbb\xbf", 3) == 0)
        reader->at = 3;
    else if (reader->n >= 2 &&
             (memcmp(head, "\xff\xfe", 2) == 0 || memcmp(head, "\xfe\xff", 2) == 0))
        return ant_fail(err, ANT_EDATA, "'%s' is UTF-16: convert it with iconv -t UTF-8",
                        reader->name);
    return 0;
}

/* ---- names ----------------------------------------------------------------------------------- */

static const struct name {
    const char *name;
    enum ant_exchange_meaning meaning;
    unsigned flag;
} names[] = {
    {"max_tokens", ANT_MEANS_INTEGER, ANT_HAS_MAX_TOKENS},
    {"max_completion_tokens", ANT_MEANS_INTEGER, ANT_HAS_MAX_TOKENS},
    {"min_tokens", ANT_MEANS_INTEGER, ANT_HAS_MIN_TOKENS},
    {"temperature", ANT_MEANS_REAL, ANT_HAS_TEMPERATURE},
    {"top_p", ANT_MEANS_REAL, ANT_HAS_TOP_P},
    {"top_k", ANT_MEANS_INTEGER, ANT_HAS_TOP_K},
    {"min_p", ANT_MEANS_REAL, ANT_HAS_MIN_P},
    {"typical_p", ANT_MEANS_REAL, ANT_HAS_TYPICAL_P},
    {"repetition_penalty", ANT_MEANS_REAL, ANT_HAS_REPETITION},
    {"presence_penalty", ANT_MEANS_REAL, ANT_HAS_PRESENCE},
    {"frequency_penalty", ANT_MEANS_REAL, ANT_HAS_FREQUENCY},
    {"seed", ANT_MEANS_INTEGER, ANT_HAS_SEED},
    {"priority", ANT_MEANS_REAL, ANT_HAS_PRIORITY},
    {"method", ANT_MEANS_NO_MATTER, 0},
    {"url", ANT_MEANS_NO_MATTER, 0},
    {"model", ANT_MEANS_NO_MATTER, 0},
    {"user", ANT_MEANS_NO_MATTER, 0},
    {"metadata", ANT_MEANS_NO_MATTER, 0},
    {"stream", ANT_MEANS_NO_MATTER, 0},
    {"stream_options", ANT_MEANS_NO_MATTER, 0},
    {"n", ANT_MEANS_INTEGER, ANT_HAS_SAMPLES},
    {"best_of", ANT_MEANS_UNSUPPORTED, 0},
    {"stop", ANT_MEANS_TEXT, 0},
    {"stop_token_ids", ANT_MEANS_RULE, ANT_RULE_STOP_IDS},
    {"allowed_token_ids", ANT_MEANS_RULE, ANT_RULE_ALLOWED},
    {"bad_words", ANT_MEANS_RULE, ANT_RULE_BAD_WORDS},
    {"system", ANT_MEANS_TEXT, 0},
    {"continuation", ANT_MEANS_TEXT, 0},
    {"suffix", ANT_MEANS_UNSUPPORTED, 0},
    {"add_generation_prompt", ANT_MEANS_UNSUPPORTED, 0},
    {"add_special_tokens", ANT_MEANS_UNSUPPORTED, 0},
    {"continue_final_message", ANT_MEANS_UNSUPPORTED, 0},
    {"ignore_eos", ANT_MEANS_UNSUPPORTED, 0},
    {"include_stop_str_in_output", ANT_MEANS_UNSUPPORTED, 0},
    {"length_penalty", ANT_MEANS_UNSUPPORTED, 0},
    {"logits_processors", ANT_MEANS_UNSUPPORTED, 0},
    {"prompt_embeds", ANT_MEANS_UNSUPPORTED, 0},
    {"sampling_params", ANT_MEANS_UNSUPPORTED, 0},
    {"extra_body", ANT_MEANS_UNSUPPORTED, 0},
    {"skip_special_tokens", ANT_MEANS_UNSUPPORTED, 0},
    {"truncate_prompt_tokens", ANT_MEANS_UNSUPPORTED, 0},
    {"use_beam_search", ANT_MEANS_UNSUPPORTED, 0},
    {"echo", ANT_MEANS_UNSUPPORTED, 0},
    {"logprobs", ANT_MEANS_INTEGER, ANT_HAS_LOGPROBS},
    {"prompt_logprobs", ANT_MEANS_INTEGER, ANT_HAS_PROMPT_LOGPROBS},
    {"top_logprobs", ANT_MEANS_UNSUPPORTED, 0},
    {"logit_bias", ANT_MEANS_RULE, ANT_RULE_LOGIT_BIAS},
    {"response_format", ANT_MEANS_UNSUPPORTED, 0},
    {"tools", ANT_MEANS_UNSUPPORTED, 0},
    {"tool_choice", ANT_MEANS_UNSUPPORTED, 0},
    {"functions", ANT_MEANS_UNSUPPORTED, 0},
    {"function_call", ANT_MEANS_UNSUPPORTED, 0},
};

enum ant_exchange_meaning ant_exchange_meaning(const struct ant_exchange_reader *reader,
                                               const char *name, unsigned *flag)
{
    for (int i = 0; i < reader->settings->n_ignored; i++)
        if (strcmp(name, reader->settings->ignored[i]) == 0)
            return ANT_MEANS_IGNORED;
    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
        if (strcmp(name, names[i].name) == 0) {
            *flag = names[i].flag;
            return names[i].meaning;
        }
    return ANT_MEANS_NOTHING;
}

/* Is `name` one of the names in a list "a, b"? */
static bool is_listed(const struct ant_buf *list, const char *name, size_t n)
{
    for (size_t at = 0; at < list->len;) {
        size_t length = strcspn(list->data + at, ",");
        if (length == n && memcmp(list->data + at, name, n) == 0)
            return true;
        at += length + 2;
    }
    return false;
}

void ant_exchange_note_unused(struct ant_exchange_reader *reader, const char *name)
{
    char clean[LONGEST_NAME + 1];
    size_t n = 0;

    for (; n < LONGEST_NAME && name[n]; n++)
        clean[n] =
            (unsigned char)name[n] < ' ' || name[n] == ',' || name[n] == 0x7f ? '?' : name[n];
    clean[n] = '\0';
    if (reader->n_unused > MOST_UNUSED || is_listed(&reader->unused, clean, n))
        return;
    reader->n_unused++;
    ant_buf_printf(&reader->unused, "%s%s", reader->unused.len ? ", " : "",
                   reader->n_unused > MOST_UNUSED ? "..." : clean);
}

/* A number of 8 bytes of the kind that the flag's column holds. */
static void set_number(struct ant_prompt *prompt, unsigned flag, const void *value)
{
    const struct ant_number_column *column = &ant_number_columns[ant_number_of(flag)];

    prompt->has |= flag;
    memcpy((char *)prompt + column->offset, value, 8);
}

void ant_exchange_set_integer(struct ant_prompt *prompt, unsigned flag, int64_t value)
{
    set_number(prompt, flag, &value);
}

void ant_exchange_set_real(struct ant_prompt *prompt, unsigned flag, double value)
{
    set_number(prompt, flag, &value);
}

void ant_exchange_set_text(struct ant_exchange_reader *reader, struct ant_prompt *prompt,
                           const char *name, const char *text, size_t bytes)
{
    const struct {
        const char *name;
        struct ant_buf *room;
        const char **text;
        size_t *bytes;
    } texts[] = {
        {"continuation", &reader->continuation, &prompt->continuation, &prompt->continuation_bytes},
        {"stop", &reader->stop, &prompt->stop, &prompt->stop_bytes},
        {"system", &reader->system, &prompt->system, &prompt->system_bytes}};

    for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
        if (strcmp(name, texts[i].name) != 0)
            continue;
        texts[i].room->len = 0;
        ant_buf_add(texts[i].room, text, bytes);
        *texts[i].text = bytes ? texts[i].room->data : "";
        *texts[i].bytes = bytes;
    }
}

void ant_exchange_set_rule(struct ant_exchange_reader *reader, struct ant_prompt *prompt,
                           unsigned rule, const char *text, size_t bytes)
{
    struct ant_buf *room = &reader->rules[rule];

    room->len = 0;
    ant_buf_add(room, text, bytes);
    prompt->rules[rule] = (struct ant_prompt_text){bytes ? room->data : "", bytes};
}

/* ---- plain text ------------------------------------------------------------------------------ */

static void take_text(struct ant_exchange_reader *reader, struct ant_exchange_row *out)
{
    *out = (struct ant_exchange_row){.prompt = {.text = reader->text.len ? reader->text.data : "",
                                                .text_bytes = reader->text.len}};
}

static int next_line(struct ant_exchange_reader *reader, struct ant_exchange_row *out,
                     struct ant_error *err)
{
    int rc;

    do {
        reader->row_line = reader->line + 1;
        rc = ant_exchange_read_line(reader, &reader->text, err);
    } while (rc == 1 && reader->text.len == 0);
    if (rc == 1)
        take_text(reader, out);
    return rc;
}

/* Lines up to an empty one; white space alone is empty too. */
static int next_paragraph(struct ant_exchange_reader *reader, struct ant_exchange_row *out,
                          struct ant_error *err)
{
    struct ant_buf line = {0};
    int rc = 0;

    reader->text.len = 0;
    for (;;) {
        if (reader->text.len == 0)
            reader->row_line = reader->line + 1;
        rc = ant_exchange_read_line(reader, &line, err);
        if (rc <= 0)
            break;
        bool is_empty = line.len == 0 || strspn(line.data, " \t\r\n") >= line.len;
        if (is_empty && reader->text.len > 0)
            break;
        if (is_empty)
            continue;
        if (reader->text.len > 0)
            ant_buf_add(&reader->text, "\n", 1);
        ant_buf_add(&reader->text, line.data, line.len);
        rc = ant_exchange_limit(reader, reader->text.len, err);
        if (rc < 0)
            break;
    }
    ant_buf_release(&line);
    if (rc < 0 || reader->text.len == 0)
        return rc < 0 ? rc : 0;
    take_text(reader, out);
    return 1;
}

static int whole_file(struct ant_exchange_reader *reader, struct ant_exchange_row *out,
                      struct ant_error *err)
{
    if (reader->line > 0)
        return 0;
    reader->line = reader->row_line = 1;
    while (refill(reader)) {
        ant_buf_add(&reader->text, reader->bytes + reader->at, reader->n - reader->at);
        reader->at = reader->n;
        ANT_TRY(ant_exchange_limit(reader, reader->text.len, err));
    }
    ANT_TRY(ant_exchange_check(reader, err));
    take_text(reader, out);
    return 1;
}

/* ---- the reader ------------------------------------------------------------------------------ */

int ant_exchange_open(struct ant_exchange_reader **out, FILE *file, const char *name,
                      const struct ant_exchange_settings *settings, struct ant_error *err)
{
    struct ant_exchange_reader *reader = ant_xcalloc(1, sizeof(*reader));

    reader->file = file;
    reader->name = name;
    reader->settings = settings;
    int rc = begin(reader, err);
    if (rc < 0) {
        ant_exchange_close(reader);
        return rc;
    }
    *out = reader;
    return 0;
}

int ant_exchange_next(struct ant_exchange_reader *reader, struct ant_exchange_row *out,
                      struct ant_error *err)
{
    switch (reader->settings->format) {
    case ANT_EXCHANGE_JSONL:
        return ant_exchange_next_json(reader, out, err);
    case ANT_EXCHANGE_CSV:
        return ant_exchange_next_csv(reader, out, err);
    case ANT_EXCHANGE_LINES:
        return next_line(reader, out, err);
    case ANT_EXCHANGE_PARAGRAPHS:
        return next_paragraph(reader, out, err);
    case ANT_EXCHANGE_FILE:
        return whole_file(reader, out, err);
    }
    return ant_fail(err, ANT_EBUG, "'%s': no such format", reader->name);
}

int64_t ant_exchange_line(const struct ant_exchange_reader *reader)
{
    return reader->row_line;
}

const char *ant_exchange_unused(const struct ant_exchange_reader *reader)
{
    return reader->unused.len ? reader->unused.data : "";
}

void ant_exchange_close(struct ant_exchange_reader *reader)
{
    if (!reader)
        return;
    ant_exchange_close_csv(reader->csv);
    ant_buf_release(&reader->text);
    ant_ids_release(&reader->tokens);
    ant_buf_release(&reader->id);
    ant_buf_release(&reader->continuation);
    ant_buf_release(&reader->stop);
    ant_buf_release(&reader->shape);
    ant_buf_release(&reader->system);
    ant_buf_release(&reader->unused);
    for (int i = 0; i < ANT_N_RULES; i++)
        ant_buf_release(&reader->rules[i]);
    free(reader);
}
