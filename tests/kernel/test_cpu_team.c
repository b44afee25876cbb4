/* SPDX-License-Identifier: Apache-2.0 */
/* The team of threads: every member takes part in every operation once, items are handed out once,
 * and more members than cores, or pauses between operations, cost time and nothing else; each has a
 * CPU of its own. */
#include "config.h"

#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "backend/cpu/team.h"

enum { MAX_MEMBERS = 16, N_ITEMS = 1000 };

struct work {
    struct ant_cursor cursor;
    int turns[MAX_MEMBERS];   /* plain: the team must order them */
    atomic_int seen[N_ITEMS]; /* how often each item was handed out */
};

static void member(void *arg, int index)
{
    struct work *work = arg;
    int i, end;
    work->turns[index]++;
    while (ant_cursor_next(&work->cursor, &i, &end))
        for (; i < end; i++)
            atomic_fetch_add(&work->seen[i], 1);
}

static void pause_us(long us)
{
    nanosleep(&(struct timespec){0, us * 1000}, NULL);
}

static void check_team(int n_members, int n_runs, long us)
{
    struct ant_error err = {{0}};
    struct ant_team *team;
    static struct work work;
    memset(&work, 0, sizeof work);
    if (ant_team_open(&team, n_members, n_members, &err) < 0)
        fail_msg("%s", err.text);
    assert_int_equal(ant_team_size(team), n_members);
    for (int run = 1; run <= n_runs; run++) {
        atomic_store(&work.cursor.next, 0);
        work.cursor.n = run % N_ITEMS;
        work.cursor.chunk = 1 + run % 7;
        ant_team_run(team, member, &work);
        for (int i = 0; i < n_members; i++)
            assert_int_equal(work.turns[i], run);
        if (us > 0)
            pause_us(us);
    }
    for (int i = 0; i < N_ITEMS; i++) {
        int want = 0;
        for (int run = 1; run <= n_runs; run++)
            want += i < run % N_ITEMS;
        assert_int_equal(work.seen[i], want);
    }
    ant_team_close(team);
}

static void test_every_member_every_time(void **state)
{
    (void)state;
    for (int n = 1; n <= MAX_MEMBERS; n = n < 4 ? n + 1 : 2 * n)
        check_team(n, 500, 0);
}

static void test_sleepers_wake(void **state)
{
    (void)state;
    check_team(2, 30, 2000);
    check_team(5, 30, 2000);
}

static void test_close_without_work(void **state)
{
    (void)state;
    for (int i = 0; i < 20; i++) {
        check_team(4, 0, 0);
        check_team(3, 1, 3000);
    }
    ant_team_close(NULL);
}

/* Where the members of a team may run, the caller among them. */
struct places {
    int n_members, first_cpu;
    cpu_set_t of[2];
};

static void note_place(void *arg, int index)
{
    struct places *places = arg;
    if (index < 2)
        sched_getaffinity(0, sizeof places->of[index], &places->of[index]);
}

static void *settle(void *arg)
{
    struct places *places = arg;
    struct ant_error err = {{0}};
    struct ant_team *team;
    if (ant_team_open(&team, places->n_members, places->first_cpu, &err) < 0)
        return NULL;
    ant_team_settle(team);
    ant_team_settle(team);
    ant_team_run(team, note_place, places);
    ant_team_close(team);
    return places;
}

/* The caller has the first CPU to itself where there are others; alone, and in a team that binds
 * nobody, it goes where it likes. */
static void test_settled_apart(void **state)
{
    (void)state;
    int cpus = ant_team_cpus();
    for (int i = 0; i < 4; i++) {
        int n = 1 + i % 2, first_cpu = i < 2 ? 0 : -1;
        bool is_free = n == 1 || first_cpu < 0;
        struct places places = {.n_members = n, .first_cpu = first_cpu};
        pthread_t thread;
        void *done;
        cpu_set_t both;
        assert_int_equal(pthread_create(&thread, NULL, settle, &places), 0);
        pthread_join(thread, &done);
        assert_ptr_equal(done, &places);
        assert_int_equal(CPU_COUNT(&places.of[0]), is_free ? cpus : 1);
        if (n == 1)
            continue;
        CPU_AND(&both, &places.of[0], &places.of[1]);
        assert_int_equal(CPU_COUNT(&both), is_free ? cpus : cpus == 1);
    }
    assert_int_equal(ant_team_cpus(), cpus); /* this thread has not settled */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_member_every_time),
        cmocka_unit_test(test_sleepers_wake),
        cmocka_unit_test(test_close_without_work),
        cmocka_unit_test(test_settled_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
