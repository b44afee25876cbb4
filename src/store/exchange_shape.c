/* SPDX-License-Identifier: Apache-2.0 */
/* What an answer must be, as lines of JSON say it: by the columns' own names, by vLLM's, and as the
 * response_format of OpenAI. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "store/exchange_source.h"

static int fail_shape(struct ant_exchange_reader *reader, const char *name, struct ant_error *err)
{
    return ant_exchange_fail(reader, err, ANT_EDATA, "'%s' is none that is known", name);
}

static int put(struct ant_exchange_reader *reader, enum ant_constraint_kind kind, const char *text,
               size_t bytes, struct ant_prompt *prompt, struct ant_error *err)
{
    if (prompt->constraint_kind != ANT_CONSTRAINT_NONE)
        return ant_exchange_fail(reader, err, ANT_EDATA,
                                 "only one of choice, regex, json_schema and response_format can "
                                 "be met");
    reader->shape.len = 0;
    ant_buf_add(&reader->shape, text, bytes);
    prompt->constraint_kind = kind;
    prompt->constraint = reader->shape.data;
    prompt->constraint_bytes = bytes;
    return 1;
}

static int put_json(struct ant_exchange_reader *reader, enum ant_constraint_kind kind,
                    const json_t *value, struct ant_prompt *prompt, struct ant_error *err)
{
    char *text = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
    int rc = put(reader, kind, text, strlen(text), prompt, err);

    free(text);
    return rc;
}

/* A schema may be there as its text. */
static int put_schema(struct ant_exchange_reader *reader, const json_t *value,
                      struct ant_prompt *prompt, struct ant_error *err)
{
    if (json_is_string(value))
        return put(reader, ANT_CONSTRAINT_SCHEMA, json_string_value(value),
                   json_string_length(value), prompt, err);
    return put_json(reader, ANT_CONSTRAINT_SCHEMA, value, prompt, err);
}

static int put_object(struct ant_exchange_reader *reader, struct ant_prompt *prompt,
                      struct ant_error *err)
{
    static const char any[] = "{\"type\":\"object\"}";

    return put(reader, ANT_CONSTRAINT_SCHEMA, any, strlen(any), prompt, err);
}

/* {"type": "text"}, {"type": "json_object"}, {"type": "json_schema", "json_schema": {"schema":
 * {...}}}. */
static int take_format(struct ant_exchange_reader *reader, const json_t *value,
                       struct ant_prompt *prompt, struct ant_error *err)
{
    const char *type = json_string_value(json_object_get(value, "type"));
    const json_t *schema = json_object_get(json_object_get(value, "json_schema"), "schema");

    if (json_is_null(value) || (type && strcmp(type, "text") == 0))
        return 1;
    if (type && strcmp(type, "json_object") == 0)
        return put_object(reader, prompt, err);
    if (type && strcmp(type, "json_schema") == 0 && schema)
        return put_schema(reader, schema, prompt, err);
    return fail_shape(reader, "response_format", err);
}

/* The kinds of a shape by their names, with what vLLM puts before them. */
static int take_kind(struct ant_exchange_reader *reader, const char *name, const json_t *value,
                     struct ant_prompt *prompt, struct ant_error *err)
{
    if (json_is_null(value))
        return 1;
    if (strcmp(name, "choice") == 0)
        return put_json(reader, ANT_CONSTRAINT_CHOICE, value, prompt, err);
    if (strcmp(name, "regex") == 0 && json_string_length(value) > 0)
        return put(reader, ANT_CONSTRAINT_REGEX, json_string_value(value),
                   json_string_length(value), prompt, err);
    if (strcmp(name, "json") == 0)
        return put_schema(reader, value, prompt, err);
    if (strcmp(name, "json_object") == 0 && json_is_boolean(value))
        return json_is_true(value) ? put_object(reader, prompt, err) : 1;
    return fail_shape(reader, name, err);
}

/* {"json": {...}} and the like: vLLM's. */
static int take_outputs(struct ant_exchange_reader *reader, const json_t *value,
                        struct ant_prompt *prompt, struct ant_error *err)
{
    const char *name;
    json_t *item;

    if (!json_is_object(value) && !json_is_null(value))
        return fail_shape(reader, "structured_outputs", err);
    json_object_foreach((json_t *)value, name, item)
        ANT_TRY(take_kind(reader, name, item, prompt, err));
    return 1;
}

int ant_exchange_take_shape(struct ant_exchange_reader *reader, const char *name,
                            const json_t *value, struct ant_prompt *prompt, struct ant_error *err)
{
    static const char guided[] = "guided_";
    unsigned flag;

    if (ant_exchange_meaning(reader, name, &flag) == ANT_MEANS_IGNORED)
        return 0;
    if (strcmp(name, "response_format") == 0)
        return take_format(reader, value, prompt, err);
    if (strcmp(name, "structured_outputs") == 0)
        return take_outputs(reader, value, prompt, err);
    if (strcmp(name, "json_schema") == 0)
        return take_kind(reader, "json", value, prompt, err);
    if (strcmp(name, "choice") == 0 || strcmp(name, "regex") == 0)
        return take_kind(reader, name, value, prompt, err);
    if (strncmp(name, guided, strlen(guided)) == 0)
        return take_kind(reader, name + strlen(guided), value, prompt, err);
    return 0;
}
