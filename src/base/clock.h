/* SPDX-License-Identifier: Apache-2.0 */
/* Time. Thread: any. */
#ifndef ANT_BASE_CLOCK_H
#define ANT_BASE_CLOCK_H

#include <stddef.h>
#include <time.h>

double ant_now(void);     /* seconds on the monotonic clock */
double ant_utc_now(void); /* seconds since 1970 by the host's clock, which may be set */

/* The host's clock for a record whose times must not go back: where the clock is set back, it goes
 * on from there. Zero-initialised is ready; `utc` and `now` are what the two clocks say. */
struct ant_record_clock {
    double ahead; /* seconds of the host's clock */
    double utc, now;
};
double ant_record_time(struct ant_record_clock *clock, double utc, double now);

/* "2026-11-22T23:04:05Z"; `text` has room for 21 bytes or more. */
void ant_utc(char *text, size_t bytes, time_t when);

/* "1:02:03" or "12.3 s", for people. */
void ant_duration(char *text, size_t bytes, double seconds);

#endif
