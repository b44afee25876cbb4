/* SPDX-License-Identifier: Apache-2.0 */
/* Signs of life. A thread of every rank tells rank 0 once a second that its process lives, what the
 * main thread is at and since when that has been silent; rank 0 answers with its own. Whoever has
 * been missing for too long is named: a process that was stopped, a host that is gone, in any phase
 * of a job, also where the main thread is deep in a library or a file system.
 *
 * Over a transport of its own. Time that this process itself did not have (a job that was
 * suspended) is nobody's silence. Thread: control, except for the one inside. */
#ifndef ANT_JOB_HEART_H
#define ANT_JOB_HEART_H

#include "base/error.h"
#include "job/group.h"

/* What a rank can be at. */
struct ant_heart_phase {
    const char *name; /* "answering prompts" */
    double patience;  /* the main thread beats so often, or within the limit; 0: it need not */
};

struct ant_heart;

/* Collective over `world`, all ranks of the job; one rank alone has none: *out is NULL. `limit`: of
 * silence, in seconds. `lost` is told the name, on the thread inside, and ends the process. Phases
 * and cards are borrowed; phase 0 is the first. */
int ant_heart_open(struct ant_heart **out, struct ant_group *world, const struct ant_card *cards,
                   const struct ant_heart_phase *phases, double limit,
                   void (*lost)(void *data, const struct ant_error *err), void *data,
                   double timeout, struct ant_error *err);
void ant_heart_close(struct ant_heart *heart); /* NULL is legal here and below */

/* The main thread lives, and is at this. Costs nothing. */
void ant_heart_beat(struct ant_heart *heart, int phase);

#endif
