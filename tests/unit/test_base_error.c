/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"

static void fail_writes_text_and_returns_code(void **state)
{
    (void)state;
    struct ant_error err = {"old"};
    assert_int_equal(ant_fail(&err, ANT_EIO, "cannot open '%s': %d", "a b", 7), ANT_EIO);
    assert_string_equal(err.text, "cannot open 'a b': 7");
    assert_int_equal(ant_fail(NULL, ANT_EDATA, "%s", "dropped"), ANT_EDATA);
}

static void a_text_is_one_line(void **state)
{
    (void)state;
    struct ant_error err;
    ant_fail(&err, ANT_EDATA, "tensor '%s' is \xc3\xa9", "a\nb\177c");
    ant_fail_in(&err, ANT_EDATA, "'%s'", "m\r.gguf");
    assert_string_equal(err.text, "'m .gguf': tensor 'a b c' is \xc3\xa9");
}

static void long_text_is_cut(void **state)
{
    (void)state;
    struct ant_error err;
    char text[2000];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = 0;
    ant_fail(&err, ANT_EIO, "%s", text);
    assert_int_equal(strlen(err.text), sizeof err.text - 1);
}

static void context_goes_in_front(void **state)
{
    (void)state;
    struct ant_error err;
    ant_fail(&err, ANT_EDATA, "bad offset 7");
    assert_int_equal(ant_fail_in(&err, ANT_EDATA, "tensor '%s'", "w"), ANT_EDATA);
    ant_fail_in(&err, ANT_EDATA, "'m.gguf'");
    assert_string_equal(err.text, "'m.gguf': tensor 'w': bad offset 7");
    assert_int_equal(ant_fail_in(NULL, ANT_EPEER, "x"), ANT_EPEER);
}

static void cause_survives_a_long_context(void **state)
{
    (void)state;
    struct ant_error err;
    char context[2000];
    memset(context, 'c', sizeof context - 1);
    context[sizeof context - 1] = 0;
    ant_fail(&err, ANT_EDATA, "the cause");
    ant_fail_in(&err, ANT_EDATA, "%s", context);
    assert_int_equal(strlen(err.text), sizeof err.text - 1);
    assert_string_equal(err.text + sizeof err.text - 1 - strlen(": the cause"), ": the cause");

    /* A cause that fills the text leaves no room, and stays as it is. */
    ant_fail(&err, ANT_EDATA, "%s", context);
    struct ant_error before = err;
    ant_fail_in(&err, ANT_EDATA, "where");
    assert_memory_equal(&err, &before, sizeof err);
}

static void exit_codes(void **state)
{
    (void)state;
    assert_int_equal(ant_exit_code(ANT_OK), 0);
    assert_int_equal(ant_exit_code(1), 0);
    assert_int_equal(ant_exit_code(ANT_EUSAGE), 64);
    assert_int_equal(ant_exit_code(ANT_EDATA), 65);
    assert_int_equal(ant_exit_code(ANT_ENOENT), 65);
    assert_int_equal(ant_exit_code(ANT_EUNSUPP), 65);
    assert_int_equal(ant_exit_code(ANT_EBUG), 70);
    assert_int_equal(ant_exit_code(-1000), 70);
    assert_int_equal(ant_exit_code(ANT_ENOMEM), 75);
    assert_int_equal(ant_exit_code(ANT_EIO), 74);
    assert_int_equal(ant_exit_code(ANT_EDEVICE), 75);
    assert_int_equal(ant_exit_code(ANT_EPEER), 75);
    assert_int_equal(ant_exit_code(ANT_EINTR), 75);
}

static int passes(int code, int *reached)
{
    ANT_TRY(code);
    *reached = 1;
    return 5;
}

static void try_returns_the_first_failure(void **state)
{
    (void)state;
    int reached = 0;
    assert_int_equal(passes(ANT_EPEER, &reached), ANT_EPEER);
    assert_int_equal(reached, 0);
    assert_int_equal(passes(3, &reached), 5);
    assert_int_equal(reached, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fail_writes_text_and_returns_code),
        cmocka_unit_test(a_text_is_one_line),
        cmocka_unit_test(long_text_is_cut),
        cmocka_unit_test(context_goes_in_front),
        cmocka_unit_test(cause_survives_a_long_context),
        cmocka_unit_test(exit_codes),
        cmocka_unit_test(try_returns_the_first_failure),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
