/* SPDX-License-Identifier: Apache-2.0 */
/* Where models keep their chat templates. */
#include "config.h"

#include "base/file.h"
#include "model/gguf.h"
#include "text/chat.h"

#include <jansson.h>

#include <stdlib.h>
#include <string.h>

enum { LARGEST = 16 << 20 };

int ant_chat_find_gguf(char **out, const struct ant_gguf *gguf, struct ant_error *err)
{
    const char *text = NULL;
    size_t bytes = 0;
    int found = ant_gguf_get_string(gguf, "tokenizer.chat_template", &text, &bytes, err);

    if (found <= 0)
        return found;
    if (memchr(text, '\0', bytes))
        return ant_fail(err, ANT_EDATA, "'%s': tokenizer.chat_template has a NUL in it",
                        ant_gguf_path(gguf));
    *out = ant_xstrndup(text, bytes);
    return 1;
}

/* 1: the file's text. 0: there is no such file. */
static int read_text(char **out, const char *path, struct ant_error *err)
{
    size_t bytes = 0;
    int rc = ant_file_read(out, &bytes, path, LARGEST, err);

    if (rc == ANT_ENOENT)
        return 0;
    if (rc == 0 && strlen(*out) != bytes) {
        free(*out);
        return ant_fail(err, ANT_EDATA, "'%s' has a NUL in it", path);
    }
    return rc < 0 ? rc : 1;
}

/* "text", or [{"name": "default", "template": "text"}, ...]. */
static const char *template_of(const json_t *value)
{
    size_t i;
    json_t *item;

    if (json_is_string(value))
        return json_string_value(value);
    json_array_foreach(value, i, item)
    {
        const char *name = json_string_value(json_object_get(item, "name"));
        if (name && strcmp(name, "default") == 0)
            return json_string_value(json_object_get(item, "template"));
    }
    return NULL;
}

static int find_in_json(char **out, const char *path, struct ant_error *err)
{
    char *text;
    json_error_t reason;
    int found = read_text(&text, path, err);

    if (found <= 0)
        return found;
    /* a model_max_length of 10^30 is usual */
    json_t *config = json_loads(text, JSON_ALLOW_NUL | JSON_DECODE_INT_AS_REAL, &reason);
    free(text);
    if (!config)
        return ant_fail(err, ANT_EDATA, "'%s': line %d is no JSON", path, reason.line);
    const json_t *value = json_object_get(config, "chat_template");
    const char *source = template_of(value);
    if (source)
        *out = ant_xstrdup(source);
    bool is_strange = value && !json_is_null(value) && !source;
    json_decref(config);
    if (is_strange)
        return ant_fail(err, ANT_EUNSUPP,
                        "'%s': chat_template is neither a text nor a list with a 'default'", path);
    return source != NULL;
}

int ant_chat_find_folder(char **out, const char *folder, struct ant_error *err)
{
    static const char *const names[] = {"chat_template.jinja", "tokenizer_config.json",
                                        "chat_template.json"};
    int found = 0;

    for (size_t i = 0; i < sizeof(names) / sizeof(*names) && found == 0; i++) {
        char *path = ant_xasprintf("%s/%s", folder, names[i]);
        found = i == 0 ? read_text(out, path, err) : find_in_json(out, path, err);
        free(path);
    }
    return found;
}
