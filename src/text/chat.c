/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "text/chat.h"
#include "text/jinja.h"
#include "text/tokenizer.h"
#include "text/unicode.h"

#include <jansson.h>

#include <stdlib.h>
#include <string.h>

enum { MOST_VARIABLES = 64 };

struct ant_chat {
    struct ant_jinja *jinja;
    char *name;                     /* owned */
    json_t *bos, *eos;              /* owned: their texts, or NULL */
    json_t *system, *more, *prompt; /* owned: a message or NULL, an object, true */
    struct tm now;
};

static json_t *token_text(const struct ant_tokenizer *tokenizer, int id)
{
    size_t bytes;
    const char *text = ant_tokenizer_piece(tokenizer, id, &bytes);

    return id < 0 ? NULL : json_stringn(text, bytes);
}

static int read_settings(struct ant_chat *chat, const struct ant_chat_settings *settings,
                         struct ant_error *err)
{
    json_error_t reason;
    char quoted[ANT_QUOTED];

    if (settings->system) {
        chat->system = json_pack("{s:s, s:s}", "role", "system", "content", settings->system);
        if (!chat->system)
            return ant_fail(err, ANT_EUSAGE, "the system message is not UTF-8");
    }
    chat->more = json_object();
    if (!settings->variables)
        return 0;
    json_decref(chat->more);
    chat->more = json_loads(settings->variables, JSON_ALLOW_NUL, &reason);
    if (!chat->more)
        return ant_fail(err, ANT_EUSAGE, "the template's variables are no JSON: %s",
                        ant_quote(quoted, reason.text, strlen(reason.text)));
    if (!json_is_object(chat->more))
        return ant_fail(err, ANT_EUSAGE, "the template's variables are no JSON object");
    return 0;
}

int ant_chat_open(struct ant_chat **out, const char *source, const struct ant_tokenizer *tokenizer,
                  const struct ant_chat_settings *settings, struct ant_error *err)
{
    struct ant_chat *chat = ant_xcalloc(1, sizeof(*chat));
    int rc = ant_jinja_open(&chat->jinja, source, strlen(source), err);

    if (rc < 0)
        rc = ant_fail_in(err, rc, "%s", settings->name);
    if (rc == 0)
        rc = read_settings(chat, settings, err);
    if (rc < 0) {
        ant_chat_close(chat);
        return rc;
    }
    chat->name = ant_xstrdup(settings->name);
    chat->now = settings->now;
    chat->prompt = json_true();
    chat->bos = token_text(tokenizer, ant_tokenizer_bos(tokenizer));
    chat->eos = token_text(tokenizer, ant_tokenizer_eos(tokenizer));
    *out = chat;
    return 0;
}

void ant_chat_close(struct ant_chat *chat)
{
    if (!chat)
        return;
    ant_jinja_close(chat->jinja);
    json_decref(chat->bos);
    json_decref(chat->eos);
    json_decref(chat->system);
    json_decref(chat->more);
    json_decref(chat->prompt);
    free(chat->name);
    free(chat);
}

/* ---- messages -------------------------------------------------------------------------------- */

/* What a model thought before it spoke has three names; templates read the first, or the second.
 */
static void name_reasoning(json_t *message)
{
    static const char *const names[] = {"reasoning_content", "thinking", "reasoning"};
    json_t *reasoning = NULL;

    for (size_t i = 0; i < sizeof(names) / sizeof(*names) && !reasoning; i++) {
        reasoning = json_object_get(message, names[i]);
        reasoning = json_is_null(reasoning) ? NULL : reasoning;
    }
    if (!reasoning)
        return;
    json_incref(reasoning);
    json_object_set(message, "reasoning_content", reasoning);
    if (!json_object_get(message, "thinking"))
        json_object_set(message, "thinking", reasoning);
    json_decref(reasoning);
}

/* A content in parts is text alone: others could not be given to the model. */
static int check_parts(const json_t *content, size_t i_message, struct ant_error *err)
{
    char quoted[ANT_QUOTED];
    size_t i;
    json_t *part;

    json_array_foreach(content, i, part)
    {
        const char *type = json_string_value(json_object_get(part, "type"));
        bool is_text = type && strcmp(type, "text") == 0;

        if (type && !is_text)
            return ant_fail(err, ANT_EUNSUPP, "message %zu has a part of type '%s': only text goes",
                            i_message + 1, ant_quote(quoted, type, strlen(type)));
        if (!is_text || !json_is_string(json_object_get(part, "text")))
            return ant_fail(err, ANT_EDATA, "message %zu: part %zu is no text", i_message + 1,
                            i + 1);
    }
    return 0;
}

/* For a template that knows texts alone: a line a part, as vLLM does. */
static void join_parts(json_t *message, const json_t *content)
{
    struct ant_buf text = {0};
    size_t i;
    json_t *part;

    json_array_foreach(content, i, part)
    {
        const json_t *piece = json_object_get(part, "text");
        ant_buf_add(&text, "\n", i > 0);
        ant_buf_add(&text, json_string_value(piece), json_string_length(piece));
    }
    json_object_set_new(message, "content", json_stringn(text.len ? text.data : "", text.len));
    ant_buf_release(&text);
}

static int complete_content(const struct ant_chat *chat, json_t *message, size_t i,
                            struct ant_error *err)
{
    const json_t *content = json_object_get(message, "content");

    if (!json_is_array(content))
        return 0;
    ANT_TRY(check_parts(content, i, err));
    if (!ant_jinja_reads_parts(chat->jinja))
        join_parts(message, content);
    return 0;
}

/* Check the messages, and put the system's before them if they have none of their own. */
static int complete_messages(const struct ant_chat *chat, json_t *messages, struct ant_error *err)
{
    const char *first = json_string_value(json_object_get(json_array_get(messages, 0), "role"));
    size_t i;
    json_t *message;

    if (!json_is_array(messages) || json_array_size(messages) == 0)
        return ant_fail(err, ANT_EDATA, "no list of messages");
    json_array_foreach(messages, i, message)
    {
        if (!json_is_object(message))
            return ant_fail(err, ANT_EDATA, "message %zu is no object", i + 1);
        name_reasoning(message);
        ANT_TRY(complete_content(chat, message, i, err));
    }
    if (chat->system &&
        !(first && (strcmp(first, "system") == 0 || strcmp(first, "developer") == 0)))
        json_array_insert(messages, 0, chat->system);
    return 0;
}

/* ---- variables ------------------------------------------------------------------------------- */

struct variables {
    struct ant_jinja_variable items[MOST_VARIABLES];
    size_t n;
};

/* A later one of a name is the one that counts. */
static int add_variable(struct variables *variables, const char *name, const json_t *value,
                        struct ant_error *err)
{
    if (variables->n == MOST_VARIABLES)
        return ant_fail(err, ANT_EDATA, "more than %d variables", MOST_VARIABLES);
    if (value)
        variables->items[variables->n++] = (struct ant_jinja_variable){name, value};
    return 0;
}

static int add_object(struct variables *variables, const json_t *object, struct ant_error *err)
{
    const char *name;
    json_t *value;

    json_object_foreach((json_t *)object, name, value)
        ANT_TRY(add_variable(variables, name, value, err));
    return 0;
}

/* Everything beside the messages that a conversation brings. */
static int add_extras(struct variables *variables, const json_t *conversation,
                      struct ant_error *err)
{
    const char *name;
    json_t *value;

    json_object_foreach((json_t *)conversation, name, value)
    {
        if (strcmp(name, "messages") == 0)
            continue;
        if (strcmp(name, "chat_template_kwargs") == 0 && json_is_object(value))
            ANT_TRY(add_object(variables, value, err));
        else if (strcmp(name, "tools") == 0 || strcmp(name, "documents") == 0)
            ANT_TRY(add_variable(variables, name, value, err));
        else
            return ant_fail(err, ANT_EUNSUPP, "'%.40s' has no meaning in a conversation", name);
    }
    return 0;
}

static int render(const struct ant_chat *chat, json_t *conversation, struct ant_buf *out,
                  struct ant_error *err)
{
    json_t *messages =
        json_is_object(conversation) ? json_object_get(conversation, "messages") : conversation;
    json_t *none = json_null(); /* of its own, not counted */
    struct variables variables = {.n = 0};

    ANT_TRY(complete_messages(chat, messages, err));
    ANT_TRY(add_variable(&variables, "bos_token", chat->bos, err));
    ANT_TRY(add_variable(&variables, "eos_token", chat->eos, err));
    ANT_TRY(add_variable(&variables, "tools", none, err));
    ANT_TRY(add_variable(&variables, "documents", none, err));
    ANT_TRY(add_variable(&variables, "add_generation_prompt", chat->prompt, err));
    ANT_TRY(add_object(&variables, chat->more, err));
    ANT_TRY(add_variable(&variables, "messages", messages, err));
    if (json_is_object(conversation))
        ANT_TRY(add_extras(&variables, conversation, err));
    int rc = ant_jinja_render(chat->jinja, variables.items, variables.n, &chat->now, out, err);
    return rc < 0 ? ant_fail_in(err, rc, "%s", chat->name) : 0;
}

int ant_chat_render(const struct ant_chat *chat, const char *json, size_t bytes,
                    struct ant_buf *out, struct ant_error *err)
{
    json_error_t reason;
    char quoted[ANT_QUOTED];
    json_t *conversation = json_loadb(json, bytes, JSON_ALLOW_NUL, &reason);

    if (!conversation)
        return ant_fail(err, ANT_EDATA, "the messages are no JSON: %s",
                        ant_quote(quoted, reason.text, strlen(reason.text)));
    int rc = render(chat, conversation, out, err);
    json_decref(conversation);
    return rc;
}

int ant_chat_render_text(const struct ant_chat *chat, const char *text, size_t bytes,
                         struct ant_buf *out, struct ant_error *err)
{
    size_t good = ant_utf8_check(text, bytes);

    if (good != bytes)
        return ant_fail(err, ANT_EDATA, "text is not UTF-8 at byte %zu", good);
    json_t *messages = json_pack("[{s:s, s:s%}]", "role", "user", "content", text, bytes);
    int rc = render(chat, messages, out, err);
    json_decref(messages);
    return rc;
}
