/* SPDX-License-Identifier: Apache-2.0 */
/* Drawing and stealing: every row of the job is begun once, high before low, and nobody is done
 * while others have plenty, whatever the speeds and however late answers come. */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "job/work.h"

/* ---- counters of replicas that all live in this program; they stand for those over UCX ------- */

enum { MOST = 64, RANKS_EACH = 2 };

static struct shared {
    int64_t values[MOST * RANKS_EACH];
    uint32_t random;
    int latency; /* an answer comes at one poll out of so many */
} shared;

struct ant_counters {
    int rank;
    struct {
        int64_t n;
        bool is_begun;
    } adding[MOST * RANKS_EACH];
};

static uint32_t draw(uint32_t below)
{
    shared.random = shared.random * 1664525 + 1013904223;
    return (uint32_t)((uint64_t)shared.random * below >> 32);
}

int64_t ant_counters_add(struct ant_counters *counters, int64_t n)
{
    int64_t before = shared.values[counters->rank];

    shared.values[counters->rank] += n;
    return before;
}

void ant_counters_begin(struct ant_counters *counters, int owner, int64_t n)
{
    assert_int_not_equal(owner, counters->rank);
    assert_int_equal(owner % RANKS_EACH, 0);
    assert_false(counters->adding[owner].is_begun);
    counters->adding[owner].is_begun = true;
    counters->adding[owner].n = n;
}

int ant_counters_poll(struct ant_counters *counters, int owner, int64_t *before,
                      struct ant_error *err)
{
    (void)err;
    assert_true(counters->adding[owner].is_begun);
    if (draw((uint32_t)shared.latency) > 0)
        return 0;
    *before = shared.values[owner];
    shared.values[owner] += counters->adding[owner].n;
    counters->adding[owner].is_begun = false;
    return 1;
}

/* ---- a job ----------------------------------------------------------------------------------- */

/* Replicas of different speeds take rows in turn until none is left. */
struct job {
    struct ant_deal *deal;
    int n;
    struct ant_counters counters[MOST];
    struct ant_work *works[MOST];
    int64_t begun[MOST];
    bool is_done[MOST];
};

static void open_job(struct job *job, enum ant_partition partition, int n,
                     const struct ant_deal_facts *facts, bool steal)
{
    memset(job, 0, sizeof(*job));
    memset(&shared.values, 0, sizeof(shared.values));
    assert_int_equal(ant_deal_open(&job->deal, partition, n, facts, "", NULL), 0);
    job->n = n;
    for (int i = 0; i < n; i++) {
        job->counters[i].rank = i * RANKS_EACH;
        job->works[i] = ant_work_open(job->deal, i, steal ? &job->counters[i] : NULL, RANKS_EACH);
    }
}

static void close_job(struct job *job)
{
    for (int i = 0; i < job->n; i++)
        ant_work_close(job->works[i]);
    ant_deal_close(job->deal);
}

/* Replica i begins a row every speed[i] turns at most; `row_begun` sees them all. */
static void run_job(struct job *job, const int *speed,
                    void (*row_begun)(struct job *job, int replica, int64_t row, void *arg),
                    void *arg)
{
    int running = job->n;

    for (int64_t turn = 0; running > 0; turn++) {
        assert_true(turn < 10 * 1000 * 1000);
        for (int i = 0; i < job->n; i++) {
            int64_t row = -1;
            if (job->is_done[i] || turn % speed[i] != 0)
                continue;
            int answer = ant_work_next(job->works[i], 1 + draw(8), &row, NULL);
            assert_true(answer >= 0);
            if (answer == ANT_WORK_ROW) {
                job->begun[i]++;
                row_begun(job, i, row, arg);
            } else if (answer == ANT_WORK_NONE) {
                job->is_done[i] = true;
                running--;
            }
        }
    }
}

static void count_row(struct job *job, int replica, int64_t row, void *arg)
{
    uint8_t *seen = arg;

    (void)job, (void)replica;
    assert_int_equal(seen[row]++, 0);
}

static void rows_come_once(void **state)
{
    (void)state;
    for (uint32_t trial = 0; trial < 400; trial++) {
        struct job job;
        uint8_t seen[512] = {0};
        int speed[MOST], n;
        struct ant_deal_facts facts = {0};

        shared.random = trial;
        shared.latency = 1 + (int)draw(20);
        facts.n = draw(trial % 4 ? 512 : 8);
        n = 1 + (int)draw(MOST);
        for (int i = 0; i < n; i++)
            speed[i] = 1 + (int)draw(30);
        bool steal = trial % 5 != 0;
        open_job(&job, trial % 2 ? ANT_PARTITION_MODULO : ANT_PARTITION_BLOCK, n, &facts, steal);
        run_job(&job, speed, count_row, seen);
        for (int64_t row = 0; row < facts.n; row++)
            assert_int_equal(seen[row], 1);
        for (int i = 0; i < n && !steal; i++)
            assert_int_equal(job.begun[i], ant_deal_count(job.deal, i));
        close_job(&job);
    }
}

/* One replica is slow: the others do its rows, and nobody does more than his speed says. */
static void the_slow_are_helped(void **state)
{
    enum { N = 4, ROWS = 4000 };
    const struct ant_deal_facts facts = {.n = ROWS};
    static uint8_t seen[ROWS];
    int speed[N] = {1, 1, 1, 20};
    struct job job;
    int64_t stolen = 0;

    (void)state;
    shared.latency = 2;
    memset(seen, 0, sizeof(seen));
    open_job(&job, ANT_PARTITION_MODULO, N, &facts, true);
    run_job(&job, speed, count_row, seen);
    double share = ROWS / (1 + 1 + 1 + 1.0 / 20);
    for (int i = 0; i < N; i++) {
        assert_true((double)job.begun[i] > share / speed[i] * 0.9);
        assert_true((double)job.begun[i] < share / speed[i] * 1.1 + 8);
        stolen += ant_work_stolen(job.works[i]);
    }
    assert_true(stolen > 900 && stolen < 1000);
    close_job(&job);
}

/* A rank column may give all rows to one; all help. */
static void one_has_all(void **state)
{
    enum { N = 50, ROWS = 3000 };
    static int32_t rank[ROWS];
    static uint8_t seen[ROWS];
    const struct ant_deal_facts facts = {.n = ROWS, .rank = rank};
    int speed[N];
    struct job job;

    (void)state;
    for (int i = 0; i < ROWS; i++)
        rank[i] = 37;
    for (int i = 0; i < N; i++)
        speed[i] = 10;
    shared.latency = 1;
    memset(seen, 0, sizeof(seen));
    open_job(&job, ANT_PARTITION_RANK, N, &facts, true);
    run_job(&job, speed, count_row, seen);
    for (int i = 0; i < N; i++)
        assert_in_range(job.begun[i], ROWS / N / 2, ROWS / N * 2);
    close_job(&job);
}

/* ---- priorities ------------------------------------------------------------------------------ */

struct order {
    const double *priority; /* 0, 1 or 2 */
    double last[MOST];      /* of each replica */
};

static void check_order(struct job *job, int replica, int64_t row, void *arg)
{
    struct order *order = arg;
    double priority = order->priority[row];

    assert_true(priority <= order->last[replica]);
    order->last[replica] = priority;
    for (int i = 0; i < job->n; i++)
        assert_true(ant_deal_level(job->deal, i, shared.values[i * RANKS_EACH]) >= 2 - priority);
}

/* None is begun by a replica after a lower one, nor anywhere while a higher one is in a queue. */
static void high_before_low(void **state)
{
    enum { N = 6, ROWS = 1200 };
    static double priority[ROWS];
    static int32_t rank[ROWS];
    int speed[N] = {1, 9, 2, 5, 1, 14};

    (void)state;
    for (int trial = 0; trial < 30; trial++) {
        struct ant_deal_facts facts = {.n = ROWS, .priority = priority, .rank = rank};
        struct order order = {.priority = priority};
        struct job job;

        shared.random = (uint32_t)trial;
        shared.latency = 1 + trial % 7;
        for (int i = 0; i < ROWS; i++) {
            priority[i] = draw(3);
            rank[i] = (int32_t)draw(N);
        }
        for (int i = 0; i < N; i++)
            order.last[i] = 3;
        open_job(&job, trial % 2 ? ANT_PARTITION_MODULO : ANT_PARTITION_RANK, N, &facts, true);
        run_job(&job, speed, check_order, &order);
        close_job(&job);
    }
}

/* Plenty is left: as many rows ahead as there is room for. Little: few, for others to find some. */
static void ahead_shrinks(void **state)
{
    const struct ant_deal_facts facts = {.n = 2000};
    struct job job;
    int64_t row;

    (void)state;
    open_job(&job, ANT_PARTITION_MODULO, 2, &facts, true);
    assert_int_equal(ant_work_ahead(job.works[0], 64), 64);
    for (int i = 0; i < 900; i++)
        assert_int_equal(ant_work_next(job.works[0], 1, &row, NULL), ANT_WORK_ROW);
    assert_int_equal(ant_work_ahead(job.works[0], 64), 25);
    for (int i = 0; i < 98; i++)
        assert_int_equal(ant_work_next(job.works[0], 1, &row, NULL), ANT_WORK_ROW);
    assert_int_equal(ant_work_ahead(job.works[0], 64), 2);
    assert_int_equal(ant_work_ahead(job.works[0], 1), 1);
    close_job(&job);
    open_job(&job, ANT_PARTITION_MODULO, 2, &facts, false);
    assert_int_equal(ant_work_ahead(job.works[0], 64), 64);
    close_job(&job);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_come_once), cmocka_unit_test(the_slow_are_helped),
        cmocka_unit_test(one_has_all),    cmocka_unit_test(high_before_low),
        cmocka_unit_test(ahead_shrinks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
