/* SPDX-License-Identifier: Apache-2.0 */
/* Rows that members of a group send each other to be worked on, and get back.
 *
 * Nobody keeps step with anybody. A member with rows sends them where they belong and waits for the
 * answers; whoever waits, for answers, in any other call over the same transport, or with nothing
 * of its own to do (ant_group_attend), works on what has come in meanwhile. So members with much
 * work, little or none never wait for a step of another, there are no steps for company's sake, and
 * two that wait for each other both get on. A member must not leave while others may still call:
 * a barrier of the group, in which it serves, is how all leave together.
 *
 * Deadlines and deaths are those of the group. Thread: the one that uses the transport. */
#ifndef ANT_JOB_CALLS_H
#define ANT_JOB_CALLS_H

#include "job/group.h"

/* The rows of one member: those of bin i are counts[i], and follow those of the bins before. */
struct ant_call {
    const int32_t *counts; /* (n_bins) */
    float *rows;           /* (sum of counts, row_floats) to be replaced by the answers */
};

/* Calls of several members that are about the same `subject`. */
typedef int ant_calls_fn(void *arg, int subject, const struct ant_call *calls, int n,
                         struct ant_error *err);

struct ant_calls_config {
    size_t row_floats;
    int n_bins;   /* of this member */
    int max_rows; /* of one call, the same on all members */
    float *room;  /* (max_rows, row_floats) borrowed: for rows of others */
    ant_calls_fn *serve;
    void *arg;
};

/* From open to close this member serves. One for each transport. Not collective. */
struct ant_calls;
int ant_calls_open(struct ant_calls **out, struct ant_group *group,
                   const struct ant_calls_config *config, struct ant_error *err);
void ant_calls_close(struct ant_calls *calls); /* NULL is legal */

/* Send `n_rows` rows to member `to`, who has `n_bins` bins; at most one call to each before
 * ant_calls_wait. All arrays are in use until then; `answers` may not be `rows`. */
void ant_calls_send(struct ant_calls *calls, int to, int subject, const int32_t *counts, int n_bins,
                    const float *rows, int n_rows, float *answers);
/* Until all answers are there. */
int ant_calls_wait(struct ant_calls *calls, double timeout, struct ant_error *err);

/* Rows of others that were worked on so far. */
int64_t ant_calls_served(const struct ant_calls *calls);

#endif
