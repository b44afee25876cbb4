/* SPDX-License-Identifier: Apache-2.0 */
/* Prompts as JSON lines. */
#include "config.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "store/exchange_source.h"

static const char *type_name(const json_t *value)
{
    static const char *const type_names[] = {
        [JSON_OBJECT] = "an object", [JSON_ARRAY] = "an array", [JSON_STRING] = "a string",
        [JSON_INTEGER] = "a number", [JSON_REAL] = "a number",  [JSON_TRUE] = "true",
        [JSON_FALSE] = "false",      [JSON_NULL] = "null",
    };

    return type_names[json_typeof(value)];
}

static int take_string(struct ant_exchange_reader *reader, const json_t *value,
                       struct ant_exchange_row *out)
{
    reader->text.len = 0;
    ant_buf_add(&reader->text, json_string_value(value), json_string_length(value));
    out->prompt.text = reader->text.len ? reader->text.data : "";
    out->prompt.text_bytes = reader->text.len;
    return 0;
}

/* Ids instead of a text, as the tokenizer gave them. */
static int take_tokens(struct ant_exchange_reader *reader, const char *name, const json_t *value,
                       struct ant_exchange_row *out, struct ant_error *err)
{
    const json_t *item;
    size_t i;

    reader->tokens.len = 0;
    json_array_foreach((json_t *)value, i, item)
    {
        json_int_t id = json_is_integer(item) ? json_integer_value(item) : -1;
        if (id < 0 || id > INT32_MAX)
            return ant_exchange_fail(reader, err, ANT_EDATA,
                                     "'%s' is a list, but not of token ids: there must be one "
                                     "prompt a line",
                                     name);
        ant_ids_add(&reader->tokens, (int32_t)id);
    }
    if (reader->tokens.len == 0)
        return ant_exchange_fail(reader, err, ANT_EDATA, "'%s' is an empty list", name);
    out->prompt.tokens = reader->tokens.data;
    out->prompt.n_tokens = reader->tokens.len;
    return 0;
}

static int take_prompt(struct ant_exchange_reader *reader, const char *name, const json_t *value,
                       struct ant_exchange_row *out, struct ant_error *err)
{
    if (json_is_array(value))
        return take_tokens(reader, name, value, out, err);
    if (json_is_string(value) && strcmp(name, "prompt_token_ids") != 0)
        return take_string(reader, value, out);
    return ant_exchange_fail(reader, err, ANT_EDATA, "'%s' is %s, expected %s", name,
                             type_name(value),
                             strcmp(name, "prompt_token_ids") == 0 ? "a list" : "a string");
}

static bool is_listed(const char *name, const char *const *list, int n)
{
    for (int i = 0; i < n; i++)
        if (strcmp(name, list[i]) == 0)
            return true;
    return false;
}

/* What is done without being said. */
enum { N_ON = 3 };
static const char *const on_by_default[N_ON] = {"add_generation_prompt", "add_special_tokens",
                                                "skip_special_tokens"};

/* Does leaving it out change nothing? */
static bool is_neutral(const char *name, const json_t *value)
{
    if (json_is_boolean(value))
        return json_is_true(value) == is_listed(name, on_by_default, N_ON);
    if (json_is_null(value))
        return true;
    if (json_is_number(value)) {
        bool is_factor = strcmp(name, "best_of") == 0 || strcmp(name, "length_penalty") == 0 ||
                         strcmp(name, "repetition_penalty") == 0;
        return json_number_value(value) == (is_factor ? 1.0 : 0.0);
    }
    if (json_is_array(value))
        return json_array_size(value) == 0;
    if (json_is_object(value))
        return json_object_size(value) == 0;
    return json_is_string(value) && json_string_length(value) == 0;
}

/* What goes to the template beside messages. */
enum { N_EXTRAS = 3 };
static const char *const extras[N_EXTRAS] = {"tools", "documents", "chat_template_kwargs"};

/* Messages alone are kept as their list; with more for the template as an object. */
static int take_messages(struct ant_exchange_reader *reader, const json_t *object,
                         struct ant_exchange_row *out, struct ant_error *err)
{
    json_t *messages = json_object_get(object, "messages"), *message, *all = NULL;
    size_t i;

    if (!json_is_array(messages) || json_array_size(messages) == 0)
        return ant_exchange_fail(reader, err, ANT_EDATA, "'messages' must be a list of messages");
    json_array_foreach(messages, i, message)
    {
        if (!json_is_string(json_object_get(message, "role")))
            return ant_exchange_fail(reader, err, ANT_EDATA,
                                     "message %zu has no 'role' that is a string", i + 1);
    }
    for (i = 0; i < N_EXTRAS; i++) {
        json_t *extra = json_object_get(object, extras[i]);
        if (!extra || is_neutral(extras[i], extra))
            continue;
        if (!all)
            all = json_pack("{s:O}", "messages", messages);
        json_object_set(all, extras[i], extra);
    }
    char *text = json_dumps(all ? all : messages, JSON_COMPACT);
    json_decref(all);
    if (!text)
        return ant_exchange_fail(reader, err, ANT_EDATA, "'messages' cannot be written as JSON");
    reader->text.len = 0;
    ant_buf_add(&reader->text, text, strlen(text));
    free(text);
    out->is_chat = true;
    out->prompt.text = reader->text.data;
    out->prompt.text_bytes = reader->text.len;
    return 0;
}

static int take_number(struct ant_exchange_reader *reader, const char *name, const json_t *value,
                       bool is_real, unsigned flag, struct ant_prompt *prompt,
                       struct ant_error *err)
{
    if (json_is_null(value))
        return 0;
    if (!json_is_number(value))
        return ant_exchange_fail(reader, err, ANT_EDATA, "'%s' is %s, expected a number", name,
                                 type_name(value));
    if (is_real) {
        ant_exchange_set_real(prompt, flag, json_number_value(value));
        return 0;
    }
    double real = json_number_value(value);
    if (json_is_real(value) && (real != floor(real) || fabs(real) >= 0x1p53))
        return ant_exchange_fail(reader, err, ANT_EDATA, "'%s' is %g, expected an integer", name,
                                 real);
    ant_exchange_set_integer(prompt, flag,
                             json_is_real(value) ? (int64_t)real : json_integer_value(value));
    return 0;
}

static int take_id(struct ant_exchange_reader *reader, const char *name, const json_t *value,
                   struct ant_exchange_row *out, struct ant_error *err)
{
    if (json_is_null(value))
        return 0;
    if (json_is_integer(value) && reader->settings->keeps_bad) { /* beside those that are strings */
        reader->id.len = 0;
        ant_buf_printf(&reader->id, "%lld", (long long)json_integer_value(value));
        out->id_kind = ANT_ID_STRING;
        out->id_text = reader->id.data;
        out->id_bytes = reader->id.len;
        return 0;
    }
    if (json_is_integer(value)) {
        out->id_kind = ANT_ID_INTEGER;
        out->id = json_integer_value(value);
        return 0;
    }
    if (!json_is_string(value))
        return ant_exchange_fail(reader, err, ANT_EDATA,
                                 "'%s' is %s, expected a string or an integer", name,
                                 type_name(value));
    reader->id.len = 0;
    ant_buf_add(&reader->id, json_string_value(value), json_string_length(value));
    out->id_kind = ANT_ID_STRING;
    out->id_text = reader->id.len ? reader->id.data : "";
    out->id_bytes = reader->id.len;
    return 0;
}

static bool is_ignored(const struct ant_exchange_reader *reader, const char *name)
{
    unsigned flag;

    return ant_exchange_meaning(reader, name, &flag) == ANT_MEANS_IGNORED;
}

/* A number as in completions; or true as in chats, where "top_logprobs" has the number. */
static int take_logprobs(struct ant_exchange_reader *reader, const json_t *object,
                         const json_t *value, struct ant_prompt *prompt, struct ant_error *err)
{
    const json_t *top = json_object_get(object, "top_logprobs");

    if (!json_is_boolean(value))
        return take_number(reader, "logprobs", value, false, ANT_HAS_LOGPROBS, prompt, err);
    if (json_is_false(value))
        return 0;
    ant_exchange_set_integer(prompt, ANT_HAS_LOGPROBS, 0);
    return top ? take_number(reader, "top_logprobs", top, false, ANT_HAS_LOGPROBS, prompt, err) : 0;
}

/* A string; or, for stop, a list of strings. */
static int take_named(struct ant_exchange_reader *reader, const char *name, const json_t *value,
                      struct ant_prompt *prompt, struct ant_error *err)
{
    bool is_stop = strcmp(name, "stop") == 0;
    json_t *list, *item;
    size_t i;

    if (json_is_null(value) || (json_is_array(value) && json_array_size(value) == 0))
        return 0;
    if (!json_is_string(value) && !(is_stop && json_is_array(value)))
        return ant_exchange_fail(reader, err, ANT_EDATA, "'%s' is %s, expected a string%s", name,
                                 type_name(value), is_stop ? " or a list of strings" : "");
    if (!is_stop) {
        ant_exchange_set_text(reader, prompt, name, json_string_value(value),
                              json_string_length(value));
        return 0;
    }
    list = json_is_array(value) ? json_copy((json_t *)value) : json_pack("[O]", value);
    int rc = 0;
    json_array_foreach(list, i, item)
    {
        if (!json_is_string(item))
            rc = ant_exchange_fail(reader, err, ANT_EDATA, "'stop' holds %s, expected strings",
                                   type_name(item));
    }
    char *text = json_dumps(list, JSON_COMPACT);
    if (rc == 0)
        ant_exchange_set_text(reader, prompt, name, text, strlen(text));
    free(text);
    json_decref(list);
    return rc;
}

/* Kept as JSON: what is in it is looked at when the model is known. */
static int take_rule(struct ant_exchange_reader *reader, const char *name, unsigned rule,
                     const json_t *value, struct ant_prompt *prompt, struct ant_error *err)
{
    bool is_map = rule == ANT_RULE_LOGIT_BIAS;

    if (is_neutral(name, value))
        return 0;
    if (is_map ? !json_is_object(value) : !json_is_array(value))
        return ant_exchange_fail(reader, err, ANT_EDATA, "'%s' is %s, expected %s", name,
                                 type_name(value), is_map ? "an object" : "a list");
    char *text = json_dumps(value, JSON_COMPACT);
    ant_exchange_set_rule(reader, prompt, rule, text, strlen(text));
    free(text);
    return 0;
}

/* A name that is neither prompt nor id. */
static int take_other(struct ant_exchange_reader *reader, const char *name, const json_t *value,
                      struct ant_exchange_row *out, struct ant_error *err)
{
    unsigned flag = 0;

    switch (ant_exchange_meaning(reader, name, &flag)) {
    case ANT_MEANS_INTEGER:
        return take_number(reader, name, value, false, flag, &out->prompt, err);
    case ANT_MEANS_REAL:
        return take_number(reader, name, value, true, flag, &out->prompt, err);
    case ANT_MEANS_TEXT:
        return take_named(reader, name, value, &out->prompt, err);
    case ANT_MEANS_RULE:
        return take_rule(reader, name, flag, value, &out->prompt, err);
    case ANT_MEANS_UNSUPPORTED:
        if (is_neutral(name, value))
            return 0;
        return ant_exchange_fail(reader, err, ANT_EUNSUPP,
                                 "'%s' cannot be set for one prompt; leave it out, or pass over it "
                                 "with --ignore %s",
                                 name, name);
    case ANT_MEANS_NOTHING:
        ant_exchange_note_unused(reader, name);
        return 0;
    case ANT_MEANS_NO_MATTER:
    case ANT_MEANS_IGNORED:
        return 0;
    }
    return 0;
}

enum { N_PROMPTS = 3 };
static const char *const prompts[N_PROMPTS] = {"prompt", "text", "prompt_token_ids"};

static int take_object(struct ant_exchange_reader *reader, json_t *object,
                       struct ant_exchange_row *out, int *n_prompts, struct ant_error *err)
{
    const char *name;
    json_t *value;

    json_object_foreach(object, name, value)
    {
        int rc = 0;
        if (is_listed(name, prompts, N_PROMPTS)) {
            rc = take_prompt(reader, name, value, out, err);
            ++*n_prompts;
        } else if (strcmp(name, "messages") == 0) {
            rc = take_messages(reader, object, out, err);
            ++*n_prompts;
        } else if (json_object_get(object, "messages") && is_listed(name, extras, N_EXTRAS)) {
            continue; /* taken with the messages */
        } else if ((rc = ant_exchange_take_shape(reader, name, value, &out->prompt, err)) != 0) {
            rc = rc < 0 ? rc : 0;
        } else if (strcmp(name, "logprobs") == 0 && !is_ignored(reader, name)) {
            rc = take_logprobs(reader, object, value, &out->prompt, err);
        } else if (strcmp(name, "top_logprobs") == 0 && json_object_get(object, "logprobs")) {
            continue; /* taken with that */
        } else if (strcmp(name, "id") == 0 || strcmp(name, "custom_id") == 0) {
            rc = take_id(reader, name, value, out, err);
        } else if (strcmp(name, "body") == 0 && json_is_object(value)) {
            rc = take_object(reader, value, out, n_prompts, err);
        } else {
            rc = take_other(reader, name, value, out, err);
        }
        if (rc < 0)
            return rc;
    }
    return 0;
}

static int take_value(struct ant_exchange_reader *reader, json_t *value,
                      struct ant_exchange_row *out, struct ant_error *err)
{
    int n_prompts = 0;

    if (json_is_string(value))
        return take_string(reader, value, out);
    if (json_is_array(value) && reader->row_line == 1)
        return ant_exchange_fail(
            reader, err, ANT_EDATA,
            "a list; there must be one prompt a line (jq -c '.[]' makes that)");
    if (!json_is_object(value))
        return ant_exchange_fail(reader, err, ANT_EDATA, "%s is no prompt", type_name(value));
    ANT_TRY(take_object(reader, value, out, &n_prompts, err));
    if (n_prompts != 1)
        return ant_exchange_fail(reader, err, ANT_EDATA, "%s",
                                 n_prompts ? "more than one of 'prompt', 'text', 'messages' and "
                                             "'prompt_token_ids'"
                                           : "neither 'prompt' nor 'text' nor 'messages'");
    return 0;
}

static bool is_blank(const struct ant_buf *line)
{
    for (size_t i = 0; i < line->len; i++)
        if (!strchr(" \t\r", line->data[i]) || !line->data[i])
            return false;
    return true;
}

/* A row of its id alone, and of what was wrong. */
static int keep_bad(struct ant_exchange_reader *reader, const json_t *value,
                    struct ant_exchange_row *out, const struct ant_error *err)
{
    struct ant_error ignored;
    json_t *id = json_object_get(value, "custom_id");

    id = id ? id : json_object_get(value, "id");
    *out = (struct ant_exchange_row){.prompt = {.text = ""}};
    reader->why = *err;
    out->error = reader->why.text;
    if (id && take_id(reader, "id", id, out, &ignored) < 0)
        out->id_kind = ANT_ID_NONE;
    return 0;
}

int ant_exchange_next_json(struct ant_exchange_reader *reader, struct ant_exchange_row *out,
                           struct ant_error *err)
{
    struct ant_exchange_row row = {0};
    json_error_t why;
    int rc;

    do {
        reader->row_line = reader->line + 1;
        rc = ant_exchange_read_line(reader, &reader->text, err);
    } while (rc == 1 && is_blank(&reader->text));
    if (rc <= 0)
        return rc;
    json_t *value =
        json_loadb(reader->text.data, reader->text.len, JSON_DECODE_ANY | JSON_ALLOW_NUL, &why);
    if (!value)
        rc = ant_exchange_fail(reader, err, ANT_EDATA, "no JSON at column %d: %.120s", why.column,
                               why.text);
    else
        rc = take_value(reader, value, &row, err);
    if (rc < 0 && reader->settings->keeps_bad)
        rc = keep_bad(reader, value, &row, err);
    json_decref(value);
    if (rc < 0)
        return rc;
    *out = row;
    return 1;
}
