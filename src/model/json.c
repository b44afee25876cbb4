/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "model/json.h"

#include "base/file.h"
#include "base/mem.h"

#include <stdlib.h>

int ant_json_parse(json_t **out, const char *text, size_t bytes, const char *where,
                   struct ant_error *err)
{
    json_error_t error;
    json_t *root = json_loadb(text, bytes, JSON_REJECT_DUPLICATES, &error);
    if (!root)
        return ant_fail(
            err, ANT_EDATA, "%s is not valid JSON at line %d, column %d%s", where, error.line,
            error.column,
            json_error_code(&error) == json_error_duplicate_key ? ": a key is there twice" : "");
    if (!json_is_object(root)) {
        json_decref(root);
        return ant_fail(err, ANT_EDATA, "%s does not hold a JSON object", where);
    }
    *out = root;
    return 0;
}

int ant_json_load(json_t **out, const char *path, size_t max, struct ant_digest *digest,
                  struct ant_error *err)
{
    char *text;
    size_t bytes;
    ANT_TRY(ant_file_read(&text, &bytes, path, max, err));
    char *where = ant_xasprintf("'%s'", path);
    int result = ant_json_parse(out, text, bytes, where, err);
    if (result == 0 && digest)
        *digest = ant_digest(text, bytes);
    free(where);
    free(text);
    return result;
}

/* The member, or NULL when it is absent or null: Hugging Face writes null for "not set". */
static const json_t *member(struct ant_json json, const char *key)
{
    const json_t *value = json_object_get(json.object, key);
    return json_is_null(value) ? NULL : value;
}

static int wrong_type(struct ant_json json, const char *key, const char *wanted,
                      struct ant_error *err)
{
    return ant_fail(err, ANT_EDATA, "%s: '%s' is not %s", json.where, key, wanted);
}

int ant_json_get_int(struct ant_json json, const char *key, int64_t min, int64_t max, int64_t *out,
                     struct ant_error *err)
{
    const json_t *value = member(json, key);
    if (!value)
        return 0;
    if (!json_is_integer(value))
        return wrong_type(json, key, "an integer", err);
    int64_t number = json_integer_value(value);
    if (number < min || number > max)
        return ant_fail(err, ANT_EDATA, "%s: '%s' is %lld, not between %lld and %lld", json.where,
                        key, (long long)number, (long long)min, (long long)max);
    *out = number;
    return 1;
}

int ant_json_get_float(struct ant_json json, const char *key, double *out, struct ant_error *err)
{
    const json_t *value = member(json, key);
    if (!value)
        return 0;
    if (!json_is_number(value))
        return wrong_type(json, key, "a number", err);
    *out = json_number_value(value);
    return 1;
}

int ant_json_get_bool(struct ant_json json, const char *key, bool *out, struct ant_error *err)
{
    const json_t *value = member(json, key);
    if (!value)
        return 0;
    if (!json_is_boolean(value))
        return wrong_type(json, key, "true or false", err);
    *out = json_is_true(value);
    return 1;
}

int ant_json_get_string(struct ant_json json, const char *key, const char **out,
                        struct ant_error *err)
{
    const json_t *value = member(json, key);
    if (!value)
        return 0;
    if (!json_is_string(value))
        return wrong_type(json, key, "a string", err);
    *out = json_string_value(value);
    return 1;
}
