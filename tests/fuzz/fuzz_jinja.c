/* SPDX-License-Identifier: Apache-2.0 */
/* A chat template, opened and given a conversation: it ends, with UTF-8 or with a reason in one
 * line. The first line of the input is the conversation if it is JSON. */
#include "config.h"

#include "fuzz.h"
#include "text/jinja.h"
#include "text/unicode.h"

#include <stdlib.h>
#include <string.h>

static const char conversation[] =
    "{\"messages\": [{\"role\": \"system\", \"content\": \"a\\u00e9 \"}, {\"role\": \"user\", "
    "\"content\": [{\"type\": \"text\", \"text\": \"b\"}], \"n\": 1.5}], \"tools\": null, "
    "\"bos_token\": \"<s>\", \"add_generation_prompt\": true}";

static void check_error(int code, const struct ant_error *err)
{
    if (code >= 0 || !*err->text || strchr(err->text, '\n'))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    const char *text = (const char *)data;
    const char *end = bytes > 0 ? memchr(text, '\n', bytes) : NULL;
    json_t *variables = end ? json_loadb(text, (size_t)(end - text), JSON_ALLOW_NUL, NULL) : NULL;
    size_t skipped = variables ? (size_t)(end - text) + 1 : 0, n = 0;
    struct ant_jinja_variable list[16];
    struct ant_jinja *jinja;
    struct ant_error err = {{0}};
    struct ant_buf out = {0};
    const struct tm now = {.tm_year = 125, .tm_mday = 1};
    const char *name;
    json_t *value;

    if (!variables)
        variables = json_loads(conversation, 0, NULL);
    json_object_foreach(variables, name, value) if (n < 16) list[n++] =
        (struct ant_jinja_variable){name, value};
    int rc = ant_jinja_open(&jinja, text + skipped, bytes - skipped, &err);
    if (rc < 0) {
        check_error(rc, &err);
    } else {
        rc = ant_jinja_render(jinja, list, n, &now, &out, &err);
        if (rc < 0)
            check_error(rc, &err);
        if (out.len > 0 && ant_utf8_check(out.data, out.len) != out.len)
            abort();
        ant_jinja_close(jinja);
    }
    ant_buf_release(&out);
    json_decref(variables);
    return 0;
}
