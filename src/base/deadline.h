/* SPDX-License-Identifier: Apache-2.0 */
/* A deadline for calls that may never come back: a collective of MPI, a file system that hangs.
 * Thread: one starts and stops it; `expired` runs on a thread of its own. */
#ifndef ANT_BASE_DEADLINE_H
#define ANT_BASE_DEADLINE_H

#include <pthread.h>
#include <stdbool.h>

#include "base/nap.h"

struct ant_deadline {
    pthread_t thread;
    struct ant_nap nap;
    bool is_running;
    double seconds;
    void (*expired)(void *data);
    void *data;
};

/* `expired` is called if `seconds` pass before the stop. Where no thread can be made there is no
 * deadline. */
void ant_deadline_start(struct ant_deadline *deadline, double seconds, void (*expired)(void *data),
                        void *data);

/* Waits for `expired` if it has begun. */
void ant_deadline_stop(struct ant_deadline *deadline);

#endif
