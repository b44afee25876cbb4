/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "backend/cpu/team.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/mem.h"

enum { SPIN_MAX = 1 << 14, SPIN_MIN = 1 << 4, SPIN_TRY = 1 << 11, TRY_EVERY = 64 };

/* How long to spin for something before sleeping: longer when it came while spinning, half as long
 * when it did not, as where others have the core of the one waited for. Once down, a longer try
 * from time to time finds out whether they are gone; more of them would cost more than they gain
 * where they are not. */
struct patience {
    int spins;
    unsigned waits;
};

struct member {
    struct ant_team *team;
    pthread_t thread;
    int index, cpu;
    struct patience patience;
    bool is_started;
};

struct ant_team {
    int n;
    struct member *members; /* owned, (n); member 0 is the caller */
    ant_team_fn *fn;
    void *arg;
    struct patience patience; /* of the caller */
    int caller_cpu;           /* that the others leave it, or -1 */

    _Alignas(64) _Atomic uint32_t generation; /* of the operation handed out; odd: end */
    _Atomic int n_asleep;
    _Alignas(64) _Atomic uint32_t n_left; /* members still at work */
    _Atomic int caller_asleep;
};

static void relax(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
}

static void futex_wait(_Atomic uint32_t *word, uint32_t value)
{
    syscall(SYS_futex, (uint32_t *)word, FUTEX_WAIT_PRIVATE, value, NULL, NULL, 0);
}

static void futex_wake(_Atomic uint32_t *word)
{
    syscall(SYS_futex, (uint32_t *)word, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}

static void learn(struct patience *patience, int spins)
{
    patience->spins = spins > SPIN_MAX ? SPIN_MAX : spins < SPIN_MIN ? SPIN_MIN : spins;
}

/* Wait until *word is no longer `value`; `sleepers` tells the other side to wake us. */
static uint32_t wait_change(_Atomic uint32_t *word, uint32_t value, _Atomic int *sleepers,
                            struct patience *patience)
{
    uint32_t now;
    bool is_try = ++patience->waits % TRY_EVERY == 0 && patience->spins < SPIN_TRY;
    int spins = is_try ? SPIN_TRY : patience->spins;
    for (int i = 0; i < spins; i++) {
        now = atomic_load_explicit(word, memory_order_acquire);
        if (now != value) {
            learn(patience, 2 * (i > patience->spins ? i : patience->spins));
            return now;
        }
        relax();
    }
    atomic_fetch_add(sleepers, 1);
    while ((now = atomic_load(word)) == value)
        futex_wait(word, value);
    atomic_fetch_sub(sleepers, 1);
    learn(patience, patience->spins / 2);
    return now;
}

/* Bind this thread to one of the process's CPUs. */
static void settle_on(int cpu)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    if (cpu < 0 || cpu >= CPU_SETSIZE)
        return;
    CPU_SET(cpu, &set);
    pthread_setaffinity_np(pthread_self(), sizeof set, &set); /* a wish, not a condition */
}

static void *member_main(void *arg)
{
    struct member *me = arg;
    struct ant_team *team = me->team;
    settle_on(me->cpu);
    uint32_t seen = 0;
    for (;;) {
        seen = wait_change(&team->generation, seen, &team->n_asleep, &me->patience);
        if (seen & 1)
            return NULL;
        team->fn(team->arg, me->index);
        if (atomic_fetch_sub(&team->n_left, 1) == 1 && atomic_load(&team->caller_asleep))
            futex_wake(&team->n_left);
    }
}

int ant_team_cpus(void)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) < 0) {
        long n = sysconf(_SC_NPROCESSORS_ONLN); /* more CPUs than the set has room for */
        return n > 0 ? (int)n : 1;
    }
    return CPU_COUNT(&set);
}

/* The number of the process's CPU that stands at `place`, or -1. */
static int cpu_at(int place)
{
    cpu_set_t set;
    if (place < 0 || sched_getaffinity(0, sizeof set, &set) < 0)
        return -1;
    place %= CPU_COUNT(&set);
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
        if (CPU_ISSET(cpu, &set) && place-- == 0)
            return cpu;
    return -1;
}

int ant_team_open(struct ant_team **out, int n_members, int first_cpu, struct ant_error *err)
{
    struct ant_team *team = NULL;
    if (posix_memalign((void **)&team, 64, sizeof *team) != 0)
        return ant_fail(err, ANT_ENOMEM, "no memory for a team of threads");
    memset(team, 0, sizeof *team);
    team->n = n_members;
    team->patience.spins = SPIN_MAX / 16;
    team->caller_cpu = n_members > 1 ? cpu_at(first_cpu) : -1;
    team->members = ant_xcalloc((size_t)n_members, sizeof *team->members);
    for (int i = 1; i < n_members; i++) {
        struct member *member = &team->members[i];
        *member = (struct member){.team = team,
                                  .index = i,
                                  .cpu = first_cpu < 0 ? -1 : cpu_at(first_cpu + i),
                                  .patience = {SPIN_MAX / 16}};
        int rc = pthread_create(&member->thread, NULL, member_main, member);
        if (rc != 0) {
            ant_team_close(team);
            return ant_fail(err, ANT_ENOMEM, "cannot start thread %d of %d: %s", i, n_members,
                            strerror(rc));
        }
        member->is_started = true;
    }
    *out = team;
    return 0;
}

void ant_team_close(struct ant_team *team)
{
    if (team == NULL)
        return;
    atomic_fetch_add(&team->generation, 1);
    futex_wake(&team->generation);
    for (int i = 1; i < team->n; i++)
        if (team->members[i].is_started)
            pthread_join(team->members[i].thread, NULL);
    free(team->members);
    free(team);
}

int ant_team_size(const struct ant_team *team)
{
    return team->n;
}

void ant_team_settle(const struct ant_team *team)
{
    static _Thread_local int settled = -1;
    if (settled != team->caller_cpu)
        settle_on(team->caller_cpu);
    settled = team->caller_cpu;
}

void ant_team_run(struct ant_team *team, ant_team_fn *fn, void *arg)
{
    if (team->n == 1) {
        fn(arg, 0);
        return;
    }
    team->fn = fn;
    team->arg = arg;
    atomic_store(&team->n_left, (uint32_t)team->n - 1);
    atomic_fetch_add(&team->generation, 2);
    if (atomic_load(&team->n_asleep) > 0)
        futex_wake(&team->generation);
    fn(arg, 0);
    uint32_t left = atomic_load(&team->n_left);
    while (left != 0)
        left = wait_change(&team->n_left, left, &team->caller_asleep, &team->patience);
}
