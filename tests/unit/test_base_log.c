/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/log.h"

static int pipe_fds[2];
static int saved_stderr;

static int start_capture(void **state)
{
    (void)state;
    fflush(stderr);
    if (pipe(pipe_fds) < 0)
        return -1;
    saved_stderr = dup(STDERR_FILENO);
    return dup2(pipe_fds[1], STDERR_FILENO) < 0 ? -1 : 0;
}

static int end_capture(void **state)
{
    (void)state;
    dup2(saved_stderr, STDERR_FILENO);
    close(saved_stderr);
    close(pipe_fds[0]);
    close(pipe_fds[1]);
    ant_log_set_level(ANT_LOG_INFO);
    return 0;
}

/* What one write has put there: the log promises one write a line. */
static const char *captured(void)
{
    static char text[8192];
    ssize_t n = read(pipe_fds[0], text, sizeof text - 1);
    assert_true(n > 0);
    text[n] = 0;
    return text;
}

static void levels_have_names(void **state)
{
    (void)state;
    enum ant_log_level level = ANT_LOG_ERROR;
    assert_true(ant_log_level_parse("trace", &level));
    assert_int_equal(level, ANT_LOG_TRACE);
    assert_true(ant_log_level_parse("error", &level));
    assert_int_equal(level, ANT_LOG_ERROR);
    assert_false(ant_log_level_parse("Error", &level));
    assert_false(ant_log_level_parse("", &level));
}

static void a_line_before_the_launch(void **state)
{
    (void)state;
    ant_log(ANT_LOG_INFO, "store", "read %d rows", 3);
    assert_string_equal(captured(), "antiphon: store: read 3 rows\n");
    ant_log(ANT_LOG_WARN, NULL, "slow");
    assert_string_equal(captured(), "antiphon: warning: slow\n");
}

static void one_line_whatever_is_in_it(void **state)
{
    (void)state;
    ant_log(ANT_LOG_INFO, "text", "prompt '%s'", "a\nb\x1b[2Jc\x7f \xc3\xa9");
    assert_string_equal(captured(), "antiphon: text: prompt 'a b [2Jc  \xc3\xa9'\n");

    char text[5000];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = 0;
    ant_log(ANT_LOG_INFO, "text", "%s", text);
    const char *line = captured();
    size_t length = strlen(line);
    assert_true(length < 2100);
    assert_string_equal(line + length - 4, "...\n");
}

static void other_ranks_are_quiet(void **state)
{
    (void)state;
    ant_log_set_rank(2, 4, "node1");
    assert_false(ant_log_on(ANT_LOG_INFO));
    assert_true(ant_log_on(ANT_LOG_WARN));
    ant_log(ANT_LOG_INFO, "job", "not seen");
    ant_log(ANT_LOG_ERROR, "job", "seen");
    assert_string_equal(captured(), "antiphon: [2/4 node1] job: seen\n");
    ant_log_set_level(ANT_LOG_DEBUG);
    assert_true(ant_log_on(ANT_LOG_INFO));
    assert_true(ant_log_on(ANT_LOG_DEBUG));
    assert_false(ant_log_on(ANT_LOG_TRACE));
    ant_log_set_rank(0, 4, "node0");
    ant_log_set_level(ANT_LOG_ERROR);
    assert_false(ant_log_on(ANT_LOG_WARN));
    ant_log_set_level(ANT_LOG_INFO);
    assert_true(ant_log_on(ANT_LOG_INFO));
}

static void tell_the_others(int code)
{
    char byte = (char)code;
    if (write(STDERR_FILENO, &byte, 1) != 1)
        _exit(1);
    ant_die("again"); /* must not come back here */
}

static void dying_tells_the_others_once(void **state)
{
    (void)state;
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        ant_die_hook = tell_the_others;
        ant_die("page %d owned twice", 9);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), ANT_EXIT_BUG);
    const char *text = captured();
    assert_non_null(strstr(text, "page 9 owned twice\nF")); /* 'F' is 70 */
    assert_non_null(strstr(text, "again\n"));
}

#define captured_test(name) cmocka_unit_test_setup_teardown(name, start_capture, end_capture)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(levels_have_names),        captured_test(a_line_before_the_launch),
        captured_test(one_line_whatever_is_in_it),  captured_test(other_ranks_are_quiet),
        captured_test(dying_tells_the_others_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
