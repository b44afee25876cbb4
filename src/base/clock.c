/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "base/clock.h"

#include <stdio.h>

static double look_at(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

double ant_now(void)
{
    return look_at(CLOCK_MONOTONIC);
}

double ant_utc_now(void)
{
    return look_at(CLOCK_REALTIME);
}

double ant_record_time(struct ant_record_clock *clock, double utc, double now)
{
    if (utc + clock->ahead < clock->utc)
        clock->ahead = clock->utc + (now - clock->now) - utc;
    clock->utc = utc + clock->ahead;
    clock->now = now;
    return clock->utc;
}

void ant_utc(char *text, size_t bytes, time_t when)
{
    struct tm tm;
    if (bytes == 0)
        return;
    if (!gmtime_r(&when, &tm) || strftime(text, bytes, "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
        text[0] = 0;
}

void ant_duration(char *text, size_t bytes, double seconds)
{
    if (!(seconds > 0))
        seconds = 0;
    if (seconds > 1e12)
        seconds = 1e12;
    if (seconds < 59.95) {
        snprintf(text, bytes, "%.1f s", seconds);
        return;
    }
    long long whole = (long long)(seconds + 0.5);
    snprintf(text, bytes, "%lld:%02lld:%02lld", whole / 3600, whole / 60 % 60, whole % 60);
}
