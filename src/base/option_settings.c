/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "base/option.h"

#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/mem.h"

/* ---- the settings that answers depend on ----------------------------------------------------- */

/* One value on one line: a line break within it is escaped. */
static void add_line(struct ant_buf *out, const char *name, const char *value)
{
    ant_buf_printf(out, "%s=", name);
    for (; *value; value++) {
        if (*value == '\n')
            ant_buf_add(out, "\\n", 2);
        else if (*value == '\\')
            ant_buf_add(out, "\\\\", 2);
        else
            ant_buf_add(out, value, 1);
    }
    ant_buf_add(out, "\n", 1);
}

static void add_answer(struct ant_buf *out, const struct ant_option *option, const void *value)
{
    const char *name = option->name;
    switch (option->kind) {
    case ANT_OPTION_FLAG:
        add_line(out, name, *(const bool *)value ? "true" : "false");
        break;
    case ANT_OPTION_INT:
        ant_buf_printf(out, "%s=%d\n", name, *(const int *)value);
        break;
    case ANT_OPTION_INT64:
    case ANT_OPTION_BYTES:
        ant_buf_printf(out, "%s=%" PRId64 "\n", name, *(const int64_t *)value);
        break;
    case ANT_OPTION_SEED:
        ant_buf_printf(out, "%s=%" PRIu64 "\n", name, *(const uint64_t *)value);
        break;
    case ANT_OPTION_REAL:
        ant_buf_printf(out, "%s=%.17g\n", name, *(const double *)value);
        break;
    case ANT_OPTION_TEXT: {
        const char *text = *(const char *const *)value;
        add_line(out, name, text ? text : "");
        break;
    }
    case ANT_OPTION_CHOICE:
        add_line(out, name, option->choices[*(const int *)value]);
        break;
    case ANT_OPTION_LIST: {
        const struct ant_option_list *list = value;
        for (int i = 0; i < list->count; i++)
            add_line(out, name, list->items[i]);
        break;
    }
    case ANT_OPTION_HEADING:
        break;
    }
}

char *ant_option_answers(const struct ant_option *table, const void *settings)
{
    struct ant_buf out = {0};
    ant_buf_add(&out, "", 0);
    for (const struct ant_option *option = table; option->name; option++)
        if (option->answers)
            add_answer(&out, option, (const char *)settings + option->offset);
    return out.data;
}

static const struct ant_option *find_option(const struct ant_option *table, const char *name,
                                            size_t bytes)
{
    for (; table->name; table++)
        if (table->kind != ANT_OPTION_HEADING && strlen(table->name) == bytes &&
            memcmp(table->name, name, bytes) == 0)
            return table;
    return NULL;
}

/* "--name=value" of a line, or "--name" of a flag; NULL when the line says nothing. */
static char *word_of_line(const struct ant_option *table, const char *line, size_t bytes)
{
    const char *end = line + bytes, *equals = memchr(line, '=', bytes);
    const struct ant_option *option =
        equals ? find_option(table, line, (size_t)(equals - line)) : NULL;
    struct ant_buf word = {0};

    if (!option || !option->answers || (option->kind == ANT_OPTION_TEXT && equals + 1 == end))
        return NULL;
    if (option->kind == ANT_OPTION_FLAG)
        return equals[1] == 't' ? ant_xasprintf("--%s", option->name) : NULL;
    ant_buf_printf(&word, "--%s=", option->name);
    for (const char *at = equals + 1; at < end; at++) {
        bool is_escaped = *at == '\\' && at + 1 < end;
        at += is_escaped;
        ant_buf_add(&word, is_escaped && *at == 'n' ? "\n" : at, 1);
    }
    ant_buf_add(&word, "", 1);
    return word.data;
}

char **ant_option_words(const struct ant_option *table, const char *answers, int *n)
{
    char **words = NULL;

    for (*n = 0; *answers;) {
        size_t bytes = strcspn(answers, "\n");
        char *word = word_of_line(table, answers, bytes);
        words = ant_xrealloc(words, (size_t)*n + 2, sizeof(*words));
        if (word)
            words[(*n)++] = word;
        answers += bytes + (answers[bytes] == '\n');
    }
    words = ant_xrealloc(words, (size_t)*n + 1, sizeof(*words));
    words[*n] = NULL;
    return words;
}

/* ---- the settings in full -------------------------------------------------------------------- */

/* JSON is UTF-8, a path or a stop text need not be: what is foreign becomes '?'. */
static json_t *text_value(const char *text)
{
    json_t *value = json_string(text);
    if (value)
        return value;
    char *plain = ant_xstrdup(text);
    for (char *byte = plain; *byte; byte++)
        if (*byte & 0x80)
            *byte = '?';
    value = json_string(plain);
    free(plain);
    return value;
}

static json_t *list_value(const struct ant_option_list *list)
{
    json_t *array = json_array();
    for (int i = 0; i < list->count; i++)
        json_array_append_new(array, text_value(list->items[i]));
    return array;
}

static json_t *json_value(const struct ant_option *option, const void *value)
{
    const char *text;
    char seed[24];

    switch (option->kind) {
    case ANT_OPTION_FLAG:
        return json_boolean(*(const bool *)value);
    case ANT_OPTION_INT:
        return json_integer(*(const int *)value);
    case ANT_OPTION_INT64:
    case ANT_OPTION_BYTES:
        return json_integer(*(const int64_t *)value);
    case ANT_OPTION_SEED: /* as text: JSON readers lose digits above 2^53 */
        snprintf(seed, sizeof(seed), "%" PRIu64, *(const uint64_t *)value);
        return json_string(seed);
    case ANT_OPTION_REAL:
        return json_real(*(const double *)value);
    case ANT_OPTION_TEXT:
        text = *(const char *const *)value;
        return text ? text_value(text) : json_null();
    case ANT_OPTION_CHOICE:
        return json_string(option->choices[*(const int *)value]);
    case ANT_OPTION_LIST:
        return list_value(value);
    case ANT_OPTION_HEADING:
        break;
    }
    return NULL;
}

char *ant_option_json(const struct ant_option *table, const void *settings)
{
    json_t *object = json_object();
    for (const struct ant_option *option = table; option->name; option++)
        if (option->kind != ANT_OPTION_HEADING)
            json_object_set_new(object, option->name,
                                json_value(option, (const char *)settings + option->offset));
    char *text = json_dumps(object, JSON_INDENT(1));
    json_decref(object);
    return text ? text : ant_xstrdup("{}");
}
