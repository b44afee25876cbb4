/* SPDX-License-Identifier: Apache-2.0 */
/* A team of threads that do one operation at a time.
 *
 * The thread that calls ant_team_run is member 0 and returns when all members are done. Between
 * operations members spin for a while, then sleep in the kernel; how long they spin adapts to
 * whether spinning pays, so that ranks that share cores do not steal from each other. Members other
 * than 0 are bound to one each of the CPUs the process may use. Thread: one caller at a time. */
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
 * pass different ones), the others the next ones; -1: none is bound to a CPU. */
int ant_team_open(struct ant_team **out, int n_members, int first_cpu, struct ant_error *err);
void ant_team_close(struct ant_team *team);

/* The calling thread will be member 0 most of the time: it is bound to the CPU that the others have
 * left, lest the kernel puts it beside one of them. A thread without others stays free,
 * and so do those of a team that binds none. */
void ant_team_settle(const struct ant_team *team);

int ant_team_size(const struct ant_team *team);
void ant_team_run(struct ant_team *team, ant_team_fn *fn, void *arg);

/* Items 0..n-1 handed out to whoever is free, `chunk` at a time, in the last quarter fewer and
 * fewer so that all end together: what a member computes never depends on which member it is. */
struct ant_cursor {
    atomic_int next;
    int n, chunk;
};

/* The next items [*begin, *end), or 0 when there are none left. */
static inline int ant_cursor_next(struct ant_cursor *cursor, int *begin, int *end)
{
    int at = atomic_load_explicit(&cursor->next, memory_order_relaxed), count;
    do {
        int left = cursor->n - at;
        if (left <= 0)
            return 0;
        long long share = 4LL * cursor->chunk * left / cursor->n;
        count = share < cursor->chunk ? (int)share : cursor->chunk;
        count = count < 1 ? 1 : count < left ? count : left;
    } while (!atomic_compare_exchange_weak_explicit(&cursor->next, &at, at + count,
                                                    memory_order_relaxed, memory_order_relaxed));
    *begin = at;
    *end = at + count;
    return 1;
}

#endif
