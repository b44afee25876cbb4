/* SPDX-License-Identifier: Apache-2.0 */
/* A team of threads that do one operation at a time.
 *
 * The thread that calls ant_team_run is member 0 and returns when all members are done. Between
 * operations members spin for a while, then sleep in the kernel; how long they spin adapts to
 * whether spinning has paid, so that ranks that share cores do not steal from each other. Members
 * other than 0 are pinned within the CPUs the process may use. Thread: one caller at a time. */
#ifndef ANT_BACKEND_CPU_TEAM_H
#define ANT_BACKEND_CPU_TEAM_H

#include <stdatomic.h>

#include "base/error.h"

struct ant_team;

/* Work of one member. */
typedef void ant_team_fn(void *arg, int member);

/* CPUs that the process may use. */
int ant_team_cpus(void);

/* `first_cpu`: which of the process's CPUs member 0 is reckoned to use (ranks that share CPUs
 * pass different ones). */
int ant_team_open(struct ant_team **out, int n_members, int first_cpu, struct ant_error *err);
void ant_team_close(struct ant_team *team);

int ant_team_size(const struct ant_team *team);
void ant_team_run(struct ant_team *team, ant_team_fn *fn, void *arg);

/* Items 0..n-1 handed out to whoever is free, `chunk` at a time: what a member computes never
 * depends on which member it is. */
struct ant_cursor {
    atomic_int next;
    int n, chunk;
};

/* The next items [*begin, *end), or 0 when there are none left. */
static inline int ant_cursor_next(struct ant_cursor *cursor, int *begin, int *end)
{
    int at = atomic_fetch_add_explicit(&cursor->next, cursor->chunk, memory_order_relaxed);
    if (at >= cursor->n)
        return 0;
    *begin = at;
    *end = at + cursor->chunk < cursor->n ? at + cursor->chunk : cursor->n;
    return 1;
}

#endif
