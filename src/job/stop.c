/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "job/stop.h"

#include <math.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/error.h"

/* Signals closer together than this are one. */
enum { DEBOUNCE_MS = 2000, LAST_SIGNAL = 3 };

static const struct {
    int number;
    const char *name;
} signals[] = {
    {SIGTERM, "SIGTERM"}, {SIGINT, "SIGINT"}, {SIGUSR1, "SIGUSR1"}, {SIGXCPU, "SIGXCPU"}};

static _Atomic int n_signals, first_signal, asked_progress;
static _Atomic long long last_signal_ms;

static void count_signal(int number)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    long long ms = now.tv_sec * 1000LL + now.tv_nsec / 1000000;
    if (n_signals > 0 && ms - last_signal_ms < DEBOUNCE_MS)
        return;
    last_signal_ms = ms;
    if (n_signals == 0)
        first_signal = number;
    if (++n_signals >= LAST_SIGNAL)
        _exit(ANT_EXIT_TEMPORARY);
}

static void note_progress(int number)
{
    (void)number;
    asked_progress = 1;
}

void ant_stop_catch(void)
{
    struct sigaction action = {.sa_handler = count_signal, .sa_flags = SA_RESTART};

    for (size_t i = 0; i < sizeof(signals) / sizeof(*signals); i++)
        sigaddset(&action.sa_mask, signals[i].number);
    for (size_t i = 0; i < sizeof(signals) / sizeof(*signals); i++)
        sigaction(signals[i].number, &action, NULL);
    action.sa_handler = note_progress;
    sigaction(SIGUSR2, &action, NULL);
    signal(SIGPIPE, SIG_IGN); /* who read the progress may go, the job does not */
}

bool ant_stop_asked_progress(void)
{
    return atomic_exchange(&asked_progress, 0);
}

void ant_stop_raise(struct ant_stop *stop, enum ant_stage stage, double at, const char *why)
{
    if (stage <= stop->stage)
        return;
    if (stop->stage == ANT_STAGE_RUN) {
        stop->since = at;
        snprintf(stop->why, sizeof(stop->why), "%s", why);
    }
    stop->stage = stage;
}

static const char *signal_name(void)
{
    for (size_t i = 0; i < sizeof(signals) / sizeof(*signals); i++)
        if (signals[i].number == first_signal)
            return signals[i].name;
    return "";
}

enum ant_stage ant_stop_look(struct ant_stop *stop, double at)
{
    if (n_signals > 0)
        ant_stop_raise(stop, n_signals > 1 ? ANT_STAGE_SAVE : ANT_STAGE_DRAIN, at, signal_name());
    if (at >= stop->end - stop->margin - stop->drain)
        ant_stop_raise(stop, ANT_STAGE_DRAIN, at, "time limit");
    if (at >= stop->end - stop->margin)
        ant_stop_raise(stop, ANT_STAGE_SAVE, at, "time limit");
    if (stop->stage == ANT_STAGE_DRAIN && at >= stop->since + stop->drain)
        stop->stage = ANT_STAGE_SAVE;
    return stop->stage;
}
