/* SPDX-License-Identifier: Apache-2.0 */
/* When a job stops: signals, limits, wishes; and how long Slurm says it may run. */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "job/stop.h"
#include "job/time_limit.h"

static void the_clock_raises_the_stage(void **state)
{
    (void)state;
    struct ant_stop stop = {.drain = 10, .margin = 5, .end = 100};

    assert_int_equal(ant_stop_look(&stop, 84.9), ANT_STAGE_RUN);
    assert_int_equal(ant_stop_look(&stop, 85), ANT_STAGE_DRAIN);
    assert_string_equal(stop.why, "time limit");
    assert_int_equal(ant_stop_look(&stop, 94.9), ANT_STAGE_DRAIN);
    assert_int_equal(ant_stop_look(&stop, 95), ANT_STAGE_SAVE);
    assert_int_equal(ant_stop_look(&stop, 10), ANT_STAGE_SAVE);
}

static void a_wish_drains_then_saves(void **state)
{
    (void)state;
    struct ant_stop stop = {.drain = 10, .margin = 5, .end = INFINITY};

    ant_stop_raise(&stop, ANT_STAGE_RUN, 50, "nothing");
    assert_int_equal(ant_stop_look(&stop, 50), ANT_STAGE_RUN);
    ant_stop_raise(&stop, ANT_STAGE_DRAIN, 50, "a wish");
    ant_stop_raise(&stop, ANT_STAGE_DRAIN, 55, "another");
    assert_string_equal(stop.why, "a wish");
    assert_int_equal(ant_stop_look(&stop, 59.9), ANT_STAGE_DRAIN);
    assert_int_equal(ant_stop_look(&stop, 60), ANT_STAGE_SAVE);
}

static void no_drain_saves_at_once(void **state)
{
    (void)state;
    struct ant_stop stop = {.margin = 5, .end = 100};

    ant_stop_raise(&stop, ANT_STAGE_DRAIN, 50, "a wish");
    assert_int_equal(ant_stop_look(&stop, 50), ANT_STAGE_SAVE);
}

static void nap(double seconds)
{
    struct timespec time = {(time_t)seconds, (long)((seconds - floor(seconds)) * 1e9)};

    nanosleep(&time, NULL);
}

/* In a child: signals are counted for the whole process. Its exit code says how far it got. */
static int look_after(const int *numbers, const double *waits, int n)
{
    struct ant_stop stop = {.drain = 1000, .end = INFINITY};

    ant_stop_catch();
    for (int i = 0; i < n; i++) {
        raise(numbers[i]);
        nap(waits[i]);
    }
    return 10 + (int)ant_stop_look(&stop, 1);
}

static void assert_exit(const int *numbers, const double *waits, int n, int expected)
{
    int status = 0;
    pid_t pid = fork();

    if (pid == 0)
        _exit(look_after(numbers, waits, n));
    waitpid(pid, &status, 0);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), expected);
}

static void signals_count_with_two_seconds_between(void **state)
{
    (void)state;
    const int terms[] = {SIGTERM, SIGUSR1, SIGXCPU, SIGINT};

    assert_exit(terms, (const double[]){0}, 0, 10 + ANT_STAGE_RUN);
    assert_exit(terms, (const double[]){0}, 1, 10 + ANT_STAGE_DRAIN);
    assert_exit(terms, (const double[]){0.1, 0.1, 0.1, 0}, 4, 10 + ANT_STAGE_DRAIN);
    assert_exit(terms, (const double[]){2.1, 0.1, 0}, 3, 10 + ANT_STAGE_SAVE);
    assert_exit(terms, (const double[]){2.1, 2.1, 0}, 3, 75);
}

static void progress_is_asked_once(void **state)
{
    (void)state;
    ant_stop_catch();
    assert_false(ant_stop_asked_progress());
    raise(SIGUSR2);
    assert_true(ant_stop_asked_progress());
    assert_false(ant_stop_asked_progress());
}

static void times_are_read_as_slurm_writes_them(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        double seconds;
    } times[] = {{"90", 5400},       {"0:03", 3},           {"1:02:03", 3723}, {"2-3", 183600},
                 {"1-00:30", 88200}, {"1-02:03:04", 93784}, {"10:00", 600},    {"0", 0}};
    static const char *const bad[] = {"",    "x",         "1:", ":1",  "1:2:3:4",     "-1",
                                      "1-",  "1-2:3:4:5", "1 ", "1.5", "99999999999", "UNLIMITED",
                                      "1-x", "1--2"};
    struct ant_error err;
    double seconds;

    for (size_t i = 0; i < sizeof(times) / sizeof(*times); i++) {
        assert_int_equal(ant_time_parse(&seconds, times[i].text, &err), 0);
        assert_float_equal(seconds, times[i].seconds, 0);
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
        if (ant_time_parse(&seconds, bad[i], &err) != ANT_EUSAGE || !strstr(err.text, "is no time"))
            fail_msg("'%s' was read as a time", bad[i]);
}

/* A squeue that says this, first in PATH. */
static void fake_squeue(const char *folder, const char *script)
{
    char path[128];

    snprintf(path, sizeof(path), "%s/squeue", folder);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fprintf(file, "#!/bin/sh\n%s\n", script);
    fclose(file);
    chmod(path, 0700);
}

static void the_time_left_comes_from_slurm(void **state)
{
    (void)state;
    char folder[] = "/tmp/antiphon-stop-XXXXXX", end[32], path[4096], command[64];
    struct ant_error err;
    double seconds;

    unsetenv("SLURM_JOB_ID");
    assert_int_equal(ant_time_left(&seconds, 1, &err), 0);
    assert_true(isinf(seconds));
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof(path), "%s:%s", folder, getenv("PATH"));
    setenv("PATH", path, 1);
    setenv("SLURM_JOB_ID", "7", 1);
    snprintf(end, sizeof(end), "%lld", (long long)time(NULL) + 100);
    setenv("SLURM_JOB_END_TIME", end, 1);
    fake_squeue(folder, "exit 1");
    assert_int_equal(ant_time_left(&seconds, 1, &err), 0);
    assert_in_range((int)seconds, 80, 100);
    setenv("SLURM_JOB_END_TIME", "soon", 1);
    assert_int_equal(ant_time_left(&seconds, 1, &err), ANT_EPEER);
    unsetenv("SLURM_JOB_END_TIME");
    fake_squeue(folder, "[ \"$*\" = '-h -j 7 -o %L' ] && echo 1-00:00:10");
    assert_int_equal(ant_time_left(&seconds, 5, &err), 0);
    assert_in_range((int)seconds, 86400, 86410);
    fake_squeue(folder, "echo UNLIMITED");
    assert_int_equal(ant_time_left(&seconds, 5, &err), 0);
    assert_true(isinf(seconds));
    fake_squeue(folder, "echo INVALID");
    assert_int_equal(ant_time_left(&seconds, 5, &err), ANT_EPEER);
    assert_non_null(strstr(err.text, "'INVALID'"));
    fake_squeue(folder, "exec sleep 60");
    assert_int_equal(ant_time_left(&seconds, 0.3, &err), ANT_EPEER);
    fake_squeue(folder, "yes");
    assert_int_equal(ant_time_left(&seconds, 5, &err), ANT_EPEER);
    snprintf(command, sizeof(command), "rm -rf '%s'", folder);
    assert_int_equal(system(command), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_clock_raises_the_stage),
        cmocka_unit_test(a_wish_drains_then_saves),
        cmocka_unit_test(no_drain_saves_at_once),
        cmocka_unit_test(signals_count_with_two_seconds_between),
        cmocka_unit_test(progress_is_asked_once),
        cmocka_unit_test(times_are_read_as_slurm_writes_them),
        cmocka_unit_test(the_time_left_comes_from_slurm),
    };
    return cmocka_run_group_tests_name("stop", tests, NULL, NULL);
}
