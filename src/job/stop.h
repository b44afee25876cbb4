/* SPDX-License-Identifier: Apache-2.0 */
/* When to stop, and how soon: signals, the end of the time limit, a wish from elsewhere.
 *
 * The stage only goes up. SIGTERM, SIGINT, SIGUSR1 and SIGXCPU each raise it by one; those that
 * come within two seconds of another count once, since a launcher may send them twice. The third
 * ends the process at once, by the handler, with ANT_EXIT_TEMPORARY. SIGUSR2 asks for a progress
 * line. SIGPIPE is ignored. Thread: control; the handlers only count. */
#ifndef ANT_JOB_STOP_H
#define ANT_JOB_STOP_H

#include <stdbool.h>

enum ant_stage {
    ANT_STAGE_RUN,
    ANT_STAGE_DRAIN, /* begin nothing, finish what is under way: for `drain` seconds at most */
    ANT_STAGE_SAVE,  /* save what is under way and end */
};

enum { ANT_STOP_WHY = 96 };

/* Set `drain`, `margin` and `end`; the rest is kept by the functions. */
struct ant_stop {
    double drain;
    double end;    /* ant_now() at which the time is up, INFINITY: never */
    double margin; /* seconds before it by which the saving begins */
    enum ant_stage stage;
    double since; /* ant_now() when the stage was raised first */
    char why[ANT_STOP_WHY];
};

/* Catch the signals from here on. */
void ant_stop_catch(void);

/* The stage by now. `at` is ant_now(). */
enum ant_stage ant_stop_look(struct ant_stop *stop, double at);

/* Somebody else wants at least this stage; `why` counts if nothing raised it before. */
void ant_stop_raise(struct ant_stop *stop, enum ant_stage stage, double at, const char *why);

/* SIGUSR2 since the last call. */
bool ant_stop_asked_progress(void);

#endif
