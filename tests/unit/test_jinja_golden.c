/* SPDX-License-Identifier: Apache-2.0 */
/* Chat templates against jinja2 as transformers runs it (tests/golden/chat): every template there
 * with every conversation; those of ANTIPHON_TEMPLATES too, if it names a folder that
 * make_golden.py
 * --templates has been through. */
#include "config.h"

#include "base/checksum.h"
#include "base/file.h"
#include "text/jinja.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "fixture.h"

static json_t *conversations;
static char *folder;

/* 0, or what the template says is wrong. */
static int render(const struct ant_jinja *jinja, const json_t *conversation, struct ant_buf *out,
                  struct ant_error *err)
{
    const struct tm now = {.tm_year = 125,
                           .tm_mon = 6,
                           .tm_mday = 4,
                           .tm_hour = 12,
                           .tm_min = 30,
                           .tm_sec = 15,
                           .tm_wday = 5,
                           .tm_yday = 184};
    struct ant_jinja_variable variables[16];
    size_t n = 0;
    const char *name;
    json_t *value;

    json_object_foreach((json_t *)conversation, name, value) variables[n++] =
        (struct ant_jinja_variable){name, value};
    return ant_jinja_render(jinja, variables, n, &now, out, err);
}

/* Conversations for which this template makes something else than jinja2. */
static size_t check_template(const char *directory, const char *name, const json_t *expected)
{
    char *path = ant_xasprintf("%s/%s", directory, name), *source;
    struct ant_jinja *jinja = NULL;
    struct ant_error err = {{0}};
    struct ant_buf out = {0};
    size_t bytes, wrong = 0, i;
    json_t *crc;

    assert_int_equal(ant_file_read(&source, &bytes, path, 1 << 24, &err), 0);
    bool is_open = ant_jinja_open(&jinja, source, bytes, &err) == 0;
    if (!is_open)
        print_error("%s: %s\n", name, err.text);
    json_array_foreach(expected, i, crc)
    {
        out.len = 0;
        int rc = is_open ? render(jinja, json_array_get(conversations, i), &out, &err) : -1;
        bool is_same = rc < 0 ? json_is_null(crc)
                              : json_is_integer(crc) &&
                                    ant_crc32c(0, out.data, out.len) == json_integer_value(crc);
        if (!is_same && wrong++ < 3)
            print_error("%s, conversation %zu: %s\n", name, i,
                        rc < 0              ? err.text
                        : json_is_null(crc) ? "no error"
                                            : "other text");
    }
    assert_int_equal(i, json_array_size(conversations));
    ant_buf_release(&out);
    ant_jinja_close(jinja);
    free(source);
    free(path);
    return wrong;
}

static size_t check_folder(const char *directory)
{
    json_t *all = load_json(directory, "expected.json"), *expected;
    const char *name;
    size_t wrong = 0, n = 0;

    assert_non_null(all);
    json_object_foreach(all, name, expected)
    {
        wrong += check_template(directory, name, expected);
        n++;
    }
    json_decref(all);
    if (wrong)
        fail_msg("%zu prompts differ; make_golden.py --show prints what is expected", wrong);
    return n;
}

static void test_own(void **state)
{
    (void)state;
    assert_true(check_folder(folder) >= 5);
}

static void test_others(void **state)
{
    (void)state;
    const char *path = getenv("ANTIPHON_TEMPLATES");
    if (!path) {
        print_message("skip: ANTIPHON_TEMPLATES names no folder of templates\n");
        skip();
    }
    print_message("%zu templates\n", check_folder(path));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_own),
        cmocka_unit_test(test_others),
    };
    char *golden = source_path("tests/golden/chat");
    folder = ant_xasprintf("%s/templates", golden);
    conversations = load_json(golden, "conversations.json");
    if (!conversations)
        return 1;
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    json_decref(conversations);
    free(golden);
    free(folder);
    return failed;
}
