/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/deadline.h"

static void time_goes_forward(void **state)
{
    (void)state;
    double start = ant_now();
    struct timespec pause = {.tv_nsec = 2000000};
    nanosleep(&pause, NULL);
    double passed = ant_now() - start;
    assert_true(passed >= 0.002 && passed < 10);
}

static void records_never_go_back(void **state)
{
    (void)state;
    struct ant_record_clock clock = {0};
    assert_true(ant_record_time(&clock, 5000, 100) == 5000);
    assert_true(ant_record_time(&clock, 5010, 110) == 5010);
    assert_true(ant_record_time(&clock, 1415, 115) == 5015); /* set back by an hour */
    assert_true(ant_record_time(&clock, 1425, 125) == 5025);
    assert_true(ant_record_time(&clock, 1365, 130) == 5030); /* and by a minute */
    assert_true(ant_record_time(&clock, 9000, 140) == 9000 + 3665);
}

static void utc(void **state)
{
    (void)state;
    char text[32];
    ant_utc(text, sizeof text, 0);
    assert_string_equal(text, "1970-01-01T00:00:00Z");
    ant_utc(text, 21, 1795388645);
    assert_string_equal(text, "2026-11-22T23:04:05Z");
    ant_utc(text, 5, 0); /* no room: empty, not cut */
    assert_string_equal(text, "");
}

static void durations(void **state)
{
    (void)state;
    static const struct {
        double seconds;
        const char *text;
    } cases[] = {{0, "0.0 s"},       {12.34, "12.3 s"},   {59.94, "59.9 s"},
                 {59.96, "0:01:00"}, {3599.6, "1:00:00"}, {3723, "1:02:03"},
                 {-1, "0.0 s"},      {NAN, "0.0 s"},      {360000, "100:00:00"}};
    char text[32];
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        ant_duration(text, sizeof text, cases[i].seconds);
        assert_string_equal(text, cases[i].text);
    }
}

static void count(void *data)
{
    __atomic_add_fetch((int *)data, 1, __ATOMIC_SEQ_CST);
}

static void deadlines(void **state)
{
    (void)state;
    struct ant_deadline deadline;
    int expired = 0;
    ant_deadline_start(&deadline, 3600, count, &expired);
    ant_deadline_stop(&deadline);
    assert_int_equal(expired, 0);
    ant_deadline_start(&deadline, 0.001, count, &expired);
    for (double start = ant_now(); !__atomic_load_n(&expired, __ATOMIC_SEQ_CST);)
        assert_true(ant_now() - start < 10);
    ant_deadline_stop(&deadline);
    assert_int_equal(expired, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(time_goes_forward), cmocka_unit_test(records_never_go_back),
        cmocka_unit_test(utc), cmocka_unit_test(durations), cmocka_unit_test(deadlines)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
