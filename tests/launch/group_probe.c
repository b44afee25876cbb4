/* SPDX-License-Identifier: Apache-2.0 */
/* The job layer without a model: opens job, transport and the group of all ranks, exchanges cards
 * and does what its argument says. What tests/launch/group.sh starts in every way there is.
 *
 *   all              every collective with sizes from nothing to 10 MB, checked byte by byte
 *   differ RANK      RANK was started with other settings
 *   fail RANK        RANK cannot go on; all agree about that
 *   absent RANK      RANK never comes to the barrier and sleeps instead
 *   missing RANK N   the same of an all-gather of N bytes a rank; those left try it again
 *   die RANK         RANK is killed before the barrier
 *   abort RANK       RANK ends the whole job with code 70
 *   counters         all add to the counters of all, many times
 *   far-counters     the same without memory that ranks of a host share
 *   asleep RANK      all add to the counter of RANK, which is not there for a while
 *   far-asleep RANK  the same without that memory
 *   company          ranks with much work, little or none take their steps together
 *   speed            times of everything
 *
 * Exits with the codes of the program; errors go to standard error with the rank before them. */
#include "config.h"

#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "job/company.h"
#include "job/counter.h"
#include "job/group.h"
#include "job/launch.h"
#include "job/layout.h"

static const double timeout = 30.0;
static const double short_timeout = 3.0; /* where somebody is meant to be missing */

struct probe {
    const char *what;
    int chosen; /* the rank that behaves differently, -1: none */
    size_t bytes;
    struct ant_job *job;
    struct ant_transport *transport;
    struct ant_group *world;
    int rank, size;
    double transport_seconds, exchange_seconds;
};

/* ---- open and close -------------------------------------------------------------------------- */

static int open_probe(struct probe *probe, struct ant_error *err)
{
    struct ant_card card = {0};
    double start;
    int *ranks, rc;

    ANT_TRY(ant_job_open(&probe->job, err));
    probe->rank = ant_job_rank(probe->job);
    probe->size = ant_job_size(probe->job);
    start = ant_now();
    ANT_TRY(ant_transport_open(&probe->transport, false, err));
    probe->transport_seconds = ant_now() - start;

    card.address = (unsigned char *)ant_transport_address(probe->transport, &card.address_bytes);
    if (strcmp(probe->what, "differ") == 0 && probe->rank == probe->chosen)
        card.settings.low = 1;
    start = ant_now();
    ANT_TRY(ant_job_exchange(probe->job, &card, 0, err));
    probe->exchange_seconds = ant_now() - start;

    ranks = ant_xcalloc((size_t)probe->size, sizeof(*ranks));
    for (int i = 0; i < probe->size; i++)
        ranks[i] = i;
    rc = ant_group_open(&probe->world, probe->transport, ant_job_cards(probe->job), ranks,
                        probe->size, probe->rank, err);
    free(ranks);
    return rc;
}

static void close_probe(struct probe *probe)
{
    ant_group_close(probe->world);
    ant_transport_close(probe->transport);
    ant_job_close(probe->job);
}

/* ---- every collective ------------------------------------------------------------------------ */

/* Byte i of what `rank` sends in round `round`. */
static unsigned char pattern(int rank, int round, size_t i)
{
    return (unsigned char)(i * 31 + (i >> 12) + (size_t)rank * 97 + (size_t)round * 13);
}

static void fill(unsigned char *data, size_t bytes, int rank, int round)
{
    for (size_t i = 0; i < bytes; i++)
        data[i] = pattern(rank, round, i);
}

static int check(const unsigned char *data, size_t bytes, int rank, int round, const char *what,
                 struct ant_error *err)
{
    for (size_t i = 0; i < bytes; i++)
        if (data[i] != pattern(rank, round, i))
            return ant_fail(err, ANT_EBUG, "%s of %zu bytes: byte %zu of rank %d is wrong", what,
                            bytes, i, rank);
    return 0;
}

static int try_broadcast(struct ant_group *group, size_t bytes, int round, struct ant_error *err)
{
    int me = ant_group_rank(group), rc = 0;

    for (int root = 0; rc == 0 && root < ant_group_size(group); root++) {
        unsigned char *data = ant_xcalloc(1, bytes + 1);

        if (me == root)
            fill(data, bytes, root, round);
        rc = ant_group_broadcast(group, root, data, bytes, timeout, err);
        if (rc == 0)
            rc = check(data, bytes, root, round, "broadcast", err);
        free(data);
    }
    return rc;
}

static int try_all_gather(struct ant_group *group, size_t bytes, int round, struct ant_error *err)
{
    int n = ant_group_size(group), me = ant_group_rank(group), rc;
    unsigned char *mine = ant_xmalloc(bytes + 1), *all = ant_xcalloc((size_t)n, bytes + 1);

    fill(mine, bytes, me, round);
    rc = ant_group_all_gather(group, mine, bytes, all, timeout, err);
    for (int i = 0; rc == 0 && i < n; i++)
        rc = check(all + (size_t)i * bytes, bytes, i, round, "all-gather", err);
    free(mine);
    free(all);
    return rc;
}

/* Rank i sends so many bytes: from nothing to all, different for everyone. */
static size_t length_of(int rank, int n, size_t bytes)
{
    return n > 1 ? bytes / (size_t)(n - 1) * (size_t)((rank + 1) % n) : bytes;
}

static int try_all_gather_v(struct ant_group *group, size_t bytes, int round, struct ant_error *err)
{
    int n = ant_group_size(group), me = ant_group_rank(group), rc;
    size_t length = length_of(me, n, bytes), at = 0;
    size_t *sizes = ant_xcalloc((size_t)n, sizeof(*sizes));
    unsigned char *mine = ant_xmalloc(length + 1);
    void *all = NULL;

    fill(mine, length, me, round);
    rc = ant_group_all_gather_v(group, mine, length, &all, sizes, timeout, err);
    for (int i = 0; rc == 0 && i < n; i++) {
        if (sizes[i] != length_of(i, n, bytes))
            rc = ant_fail(err, ANT_EBUG, "rank %d is said to have %zu bytes", i, sizes[i]);
        else
            rc = check((unsigned char *)all + at, sizes[i], i, round, "all-gather-v", err);
        at += sizes[i];
    }
    free(mine);
    free(sizes);
    free(all);
    return rc;
}

/* Summand i of `rank`: numbers whose sum depends on the order it is taken in. */
static float summand(int rank, size_t i)
{
    return (float)((rank + 1) * 0.1 + (double)(i % 1000) * 1e-3) * (rank % 2 ? -1e4F : 1.0F);
}

static int try_all_reduce(struct ant_group *group, size_t bytes, struct ant_error *err)
{
    int n = ant_group_size(group), me = ant_group_rank(group);
    size_t count = bytes / sizeof(float);
    float *data = ant_xcalloc(count + 1, sizeof(*data));

    for (size_t i = 0; i < count; i++)
        data[i] = summand(me, i);
    int rc = ant_group_all_reduce(group, data, count, timeout, err);
    for (size_t i = 0; rc == 0 && i < count; i++) {
        float sum = summand(0, i);

        for (int rank = 1; rank < n; rank++)
            sum += summand(rank, i);
        if (data[i] != sum)
            rc = ant_fail(err, ANT_EBUG, "all-reduce of %zu: sum %zu is %g, not %g", count, i,
                          (double)data[i], (double)sum);
    }
    free(data);
    return rc;
}

/* Around the ring: everybody sends two messages of different sizes before anybody receives. */
static int try_messages(struct ant_group *group, size_t bytes, int round, struct ant_error *err)
{
    int n = ant_group_size(group), me = ant_group_rank(group), rc = 0;
    int next = (me + 1) % n, before = (me + n - 1) % n;
    unsigned char *out = ant_xmalloc(bytes + 1), *in = ant_xcalloc(1, bytes + 1);

    fill(out, bytes, me, round);
    for (size_t i = 1; rc == 0 && n > 1 && i <= 3; i += 2)
        rc = ant_group_send(group, next, out, bytes / i, err);
    for (size_t i = 1; rc == 0 && n > 1 && i <= 3; i += 2) {
        rc = ant_group_receive(group, before, in, bytes / i, timeout, err);
        if (rc == 0)
            rc = check(in, bytes / i, before, round, "message", err);
    }
    free(out);
    free(in);
    return rc;
}

static int try_agree(struct ant_group *group, struct ant_error *err)
{
    int n = ant_group_size(group), me = ant_group_rank(group), first = n / 2, rc;
    struct ant_error why = {{0}};
    char expected[64];

    rc = ant_group_agree(group, 0, timeout, &why);
    if (rc != 0)
        return ant_fail(err, rc, "agree: success became %d: %s", rc, why.text);
    rc = me >= first ? ant_fail(&why, ANT_EDATA, "trouble on rank %d", me) : 0;
    rc = ant_group_agree(group, rc, timeout, &why);
    snprintf(expected, sizeof(expected), "trouble on rank %d", first);
    if (rc != ANT_EDATA || strcmp(why.text, expected) != 0)
        return ant_fail(err, ANT_EBUG, "agree: %d '%s' instead of '%s'", rc, why.text, expected);
    return 0;
}

static int try_group(struct ant_group *group, struct ant_error *err)
{
    static const size_t sizes[] = {0, 1, 7, 1000, 8192, 100000, 1 << 20, 10000000};

    for (int i = 0; i < (int)(sizeof(sizes) / sizeof(sizes[0])); i++) {
        ANT_TRY(try_broadcast(group, sizes[i], i, err));
        ANT_TRY(try_all_gather(group, sizes[i], i, err));
        ANT_TRY(try_all_gather_v(group, sizes[i], i, err));
        ANT_TRY(try_all_reduce(group, sizes[i], err));
        ANT_TRY(try_messages(group, sizes[i], i, err));
        ANT_TRY(ant_group_barrier(group, timeout, err));
    }
    return try_agree(group, err);
}

/* Groups of a part of the ranks, in an order of their own, beside the big one: even and odd ranks,
 * highest first, twice. */
static int try_halves(struct probe *probe, struct ant_error *err)
{
    struct ant_group *half[2] = {NULL, NULL};
    int *ranks = ant_xcalloc((size_t)probe->size, sizeof(*ranks)), n = 0, rc = 0;

    for (int i = probe->size - 1; i >= 0; i--)
        if (i % 2 == probe->rank % 2)
            ranks[n++] = i;
    for (int i = 0; rc == 0 && i < 2; i++)
        rc = ant_group_open(&half[i], probe->transport, ant_job_cards(probe->job), ranks, n,
                            probe->rank, err);
    for (int i = 0; rc == 0 && i < 20; i++)
        rc = try_all_gather(half[i % 2], 100, i, err);
    if (rc == 0)
        rc = try_group(half[1], err);
    ant_group_close(half[1]);
    ant_group_close(half[0]);
    free(ranks);
    return rc;
}

/* A value put, fenced and read by all. */
static int try_put(struct probe *probe, struct ant_error *err)
{
    int value = probe->rank * probe->rank + 5, got = 0;

    ANT_TRY(ant_job_put(probe->job, "probe.value", &value, sizeof(value), err));
    ANT_TRY(ant_job_fence(probe->job, err));
    for (int i = 0; i < probe->size; i++) {
        ANT_TRY(ant_job_get(probe->job, i, "probe.value", &got, sizeof(got), err));
        if (got != i * i + 5)
            return ant_fail(err, ANT_EBUG, "rank %d put %d, read %d", i, i * i + 5, got);
    }
    if (ant_job_get(probe->job, 0, "probe.nothing", &got, sizeof(got), NULL) == 0)
        return ant_fail(err, ANT_EBUG, "a value that nobody put was read");
    return 0;
}

static int try_all(struct probe *probe, struct ant_error *err)
{
    const struct ant_card *cards = ant_job_cards(probe->job);
    struct ant_layout layout;
    char *table;

    ANT_TRY(try_put(probe, err));
    ANT_TRY(try_group(probe->world, err));
    ANT_TRY(try_halves(probe, err));
    /* One line a rank would come in any order: rank 0 speaks for all. */
    if (probe->rank != 0)
        return 0;
    ANT_TRY(ant_layout_init(&layout, 0, probe->size, 0, 1, 1, err));
    table = ant_layout_describe(&layout, cards);
    printf("launcher %s, job %s, PMIx %s, UCX %s\n%s", ant_job_launcher(probe->job),
           ant_job_name(probe->job), ant_job_pmix_version(probe->job), ant_transport_version(),
           table);
    for (int i = 0; i < probe->size; i++)
        printf("rank %d of %d local %d of %d node %d %s cores %d shared by %d\n", i, probe->size,
               cards[i].local_rank, cards[i].local_size, cards[i].node, cards[i].node_name,
               cards[i].n_cores, cards[i].cores_shared);
    free(table);
    puts("probe: all well");
    return 0;
}

/* ---- trouble --------------------------------------------------------------------------------- */

/* What is under way between two ranks that both give up ends all the same. */
static int gather_twice(struct probe *probe, struct ant_error *err)
{
    char *mine = ant_xcalloc(probe->bytes, 1);
    char *all = ant_xcalloc(probe->bytes, (size_t)probe->size);
    int rc = ant_group_all_gather(probe->world, mine, probe->bytes, all, short_timeout, err);

    if (rc < 0 && probe->rank != probe->chosen) {
        struct ant_error again = {{0}};

        if (ant_group_all_gather(probe->world, mine, probe->bytes, all, timeout, &again) != rc ||
            strcmp(again.text, err->text) != 0)
            rc = ant_fail(err, ANT_EBUG, "then: %s", again.text);
    }
    free(all);
    free(mine);
    return rc;
}

static int try_trouble(struct probe *probe, struct ant_error *err)
{
    bool is_chosen = probe->rank == probe->chosen;
    int rc = 0;

    /* Everybody is connected first, as in the middle of a run. */
    ANT_TRY(ant_group_barrier(probe->world, timeout, err));
    if (strcmp(probe->what, "fail") == 0) {
        if (is_chosen)
            rc = ant_fail(err, ANT_EDATA, "rank %d cannot go on", probe->rank);
        return ant_group_agree(probe->world, rc, timeout, err);
    }
    if (is_chosen && (strcmp(probe->what, "absent") == 0 || strcmp(probe->what, "missing") == 0))
        sleep(8);
    if (strcmp(probe->what, "missing") == 0)
        return gather_twice(probe, err);
    if (is_chosen && strcmp(probe->what, "die") == 0)
        raise(SIGKILL);
    if (is_chosen && strcmp(probe->what, "abort") == 0)
        ant_job_abort(ANT_EXIT_BUG);
    return ant_group_barrier(probe->world, short_timeout, err);
}

/* ---- counters -------------------------------------------------------------------------------- */

/* Until the addition is done. */
static int add(struct ant_counters *counters, int owner, int64_t n, int64_t *before,
               struct ant_error *err)
{
    double deadline = ant_now() + timeout;
    int rc;

    ant_counters_begin(counters, owner, n);
    while ((rc = ant_counters_poll(counters, owner, before, err)) == 0)
        if (ant_now() > deadline)
            return ant_fail(err, ANT_EPEER, "the counter of rank %d does not answer", owner);
    return rc;
}

/* Everybody moves each counter by ROUNDS, one at a time: what each addition found is ours alone. */
static int add_everywhere(struct probe *probe, struct ant_counters *counters, struct ant_error *err)
{
    enum { ROUNDS = 500 };
    size_t bytes = (size_t)probe->size * (size_t)probe->size * ROUNDS;
    uint8_t *mine = ant_xcalloc(bytes, 1), *all = ant_xcalloc(bytes, (size_t)probe->size);
    int rc = 0;

    for (int k = 0; k < ROUNDS * probe->size && rc >= 0; k++) {
        int owner = (probe->rank + k) % probe->size;
        int64_t before = 0;
        if (owner == probe->rank)
            before = ant_counters_add(counters, 1);
        else
            rc = add(counters, owner, 1, &before, err);
        if (rc >= 0 && (before < 0 || before >= ROUNDS * probe->size))
            rc = ant_fail(err, ANT_EBUG, "a counter was at %lld", (long long)before);
        if (rc >= 0)
            mine[(size_t)owner * ROUNDS * (size_t)probe->size + (size_t)before]++;
    }
    if (rc >= 0)
        rc = ant_group_all_gather(probe->world, mine, bytes, all, timeout, err);
    for (size_t i = 0; i < bytes && rc == 0; i++) {
        int times = 0;
        for (int rank = 0; rank < probe->size; rank++)
            times += all[(size_t)rank * bytes + i];
        if (times != 1)
            rc = ant_fail(err, ANT_EBUG, "a value of a counter was had %d times", times);
    }
    free(mine);
    free(all);
    return rc;
}

static int reach_sleeper(struct probe *probe, struct ant_counters *counters, struct ant_error *err)
{
    enum { ROUNDS = 1000 };
    int64_t before = 0;
    double start;

    for (int k = 0; k < 3; k++) /* the connection is there */
        if (probe->rank != probe->chosen)
            ANT_TRY(add(counters, probe->chosen, 0, &before, err));
    ANT_TRY(ant_group_barrier(probe->world, timeout, err));
    start = ant_now();
    if (probe->rank == probe->chosen)
        sleep(3);
    for (int k = 0; k < ROUNDS && probe->rank != probe->chosen; k++)
        ANT_TRY(add(counters, probe->chosen, 1, &before, err));
    double seconds = ant_now() - start;
    if (probe->rank == 0)
        printf("probe: %.2f us an addition, %s\n", seconds / ROUNDS * 1e6,
               seconds < 1 ? "without its help" : "with its help");
    return ant_group_barrier(probe->world, timeout, err);
}

static int try_counters(struct probe *probe, struct ant_error *err)
{
    const struct ant_card *cards = ant_job_cards(probe->job);
    bool is_far = strncmp(probe->what, "far-", 4) == 0, is_one_host = true;
    struct ant_counters *counters;

    for (int i = 0; i < probe->size; i++)
        is_one_host = is_one_host && cards[i].node == cards[0].node;
    ANT_TRY(ant_counters_open(&counters, probe->transport, probe->world,
                              is_one_host && !is_far ? probe->world : NULL, cards, timeout, err));
    int rc = probe->chosen < 0 ? add_everywhere(probe, counters, err)
                               : reach_sleeper(probe, counters, err);
    rc = ant_group_agree(probe->world, rc, timeout, err);
    ant_counters_close(counters);
    if (rc == 0 && probe->rank == 0)
        puts("probe: all well");
    return rc;
}

/* ---- company --------------------------------------------------------------------------------- */

static bool is_called(void *company)
{
    return ant_company_is_called(company);
}

/* What makes a step: all are there, and some have work. */
static int take_step(struct probe *probe, struct ant_company *company, int has_work,
                     struct ant_error *err)
{
    int *all = ant_xcalloc((size_t)probe->size, sizeof(*all)), n = 0;

    ant_company_begin(company);
    int rc = ant_group_all_gather(probe->world, &has_work, sizeof(has_work), all, timeout, err);
    for (int i = 0; i < probe->size; i++)
        n += all[i];
    free(all);
    if (rc == 0 && n == 0)
        rc = ant_fail(err, ANT_EBUG, "a step that nobody had work for");
    return rc;
}

/* Until it is called, or a short while. */
static int rest_or_follow(struct probe *probe, struct ant_company *company, double seconds,
                          struct ant_error *err)
{
    ANT_TRY(ant_group_attend(probe->world, seconds, is_called, company, err));
    return ant_company_is_called(company) ? take_step(probe, company, 0, err) : 0;
}

/* Rank 1 has a hundred times the work of the others, rank 2 none; every third rank dawdles. */
static int try_company(struct probe *probe, struct ant_error *err)
{
    struct ant_company company = {.group = probe->world};
    int n = probe->rank == 2 ? 0 : probe->rank == 1 ? 400 : 4;
    int64_t mine, *all = ant_xcalloc((size_t)probe->size, sizeof(*all));

    for (int i = 0; i < n; i++) {
        if (probe->rank % 3 == 0)
            ANT_TRY(rest_or_follow(probe, &company, 0.002, err));
        ANT_TRY(take_step(probe, &company, 1, err));
    }
    ant_company_leave(&company);
    while (!ant_company_is_over(&company))
        ANT_TRY(rest_or_follow(probe, &company, 0.01, err));
    mine = company.n_begun;
    ANT_TRY(ant_group_all_gather(probe->world, &mine, sizeof(mine), all, timeout, err));
    for (int i = 0; i < probe->size; i++)
        if (all[i] != mine || (probe->size > 1 && mine < 400))
            return ant_fail(err, ANT_EBUG, "rank %d took %lld steps, rank %d %lld", probe->rank,
                            (long long)mine, i, (long long)all[i]);
    if (probe->rank == 0)
        printf("probe: %lld steps\nprobe: all well\n", (long long)mine);
    free(all);
    return 0;
}

/* ---- times ----------------------------------------------------------------------------------- */

static int time_barrier(struct probe *probe, struct ant_error *err)
{
    enum { ROUNDS = 1000 };
    double start;

    ANT_TRY(ant_group_barrier(probe->world, timeout, err));
    start = ant_now();
    for (int i = 0; i < ROUNDS; i++)
        ANT_TRY(ant_group_barrier(probe->world, timeout, err));
    if (probe->rank == 0)
        printf("barrier %.1f us\n", (ant_now() - start) / ROUNDS * 1e6);
    return 0;
}

static int time_broadcast(struct probe *probe, size_t bytes, struct ant_error *err)
{
    enum { ROUNDS = 5 };
    unsigned char *data = ant_xcalloc(1, bytes);
    double start = ant_now();
    int rc = 0;

    for (int i = 0; rc == 0 && i < ROUNDS; i++)
        rc = ant_group_broadcast(probe->world, 0, data, bytes, timeout, err);
    if (rc == 0)
        rc = ant_group_barrier(probe->world, timeout, err);
    if (rc == 0 && probe->rank == 0)
        printf("broadcast of %zu MB: %.2f GB/s\n", bytes >> 20,
               (double)bytes * ROUNDS / (ant_now() - start) / 1e9);
    free(data);
    return rc;
}

static int time_all_reduce(struct probe *probe, size_t n, struct ant_error *err)
{
    enum { ROUNDS = 200 };
    float *data = ant_xcalloc(n, sizeof(*data));
    int rc = ant_group_all_reduce(probe->world, data, n, timeout, err);
    double start = ant_now();

    for (int i = 0; rc == 0 && i < ROUNDS; i++)
        rc = ant_group_all_reduce(probe->world, data, n, timeout, err);
    if (rc == 0 && probe->rank == 0)
        printf("all-reduce of %zu floats: %.1f us\n", n, (ant_now() - start) / ROUNDS * 1e6);
    free(data);
    return rc;
}

static int try_speed(struct probe *probe, struct ant_error *err)
{
    if (probe->rank == 0)
        printf("transport open %.1f ms, exchange %.1f ms\n", probe->transport_seconds * 1e3,
               probe->exchange_seconds * 1e3);
    ANT_TRY(time_barrier(probe, err));
    ANT_TRY(time_all_reduce(probe, 576, err));
    ANT_TRY(time_all_reduce(probe, 64 * 576, err));
    ANT_TRY(time_all_reduce(probe, 512 * 4096, err));
    ANT_TRY(time_broadcast(probe, 1 << 20, err));
    return time_broadcast(probe, 256 << 20, err);
}

int main(int argc, char **argv)
{
    struct probe probe = {.what = argc > 1 ? argv[1] : "all",
                          .chosen = argc > 2 ? atoi(argv[2]) : -1,
                          .bytes = argc > 3 ? (size_t)atoll(argv[3]) : 0};
    struct ant_error err = {{0}};
    int rc = open_probe(&probe, &err);

    setvbuf(stderr, NULL, _IOLBF, BUFSIZ); /* lines of several ranks go out whole */
    if (rc == 0) {
        if (strcmp(probe.what, "all") == 0)
            rc = try_all(&probe, &err);
        else if (strstr(probe.what, "counters") || strstr(probe.what, "asleep"))
            rc = try_counters(&probe, &err);
        else if (strcmp(probe.what, "company") == 0)
            rc = try_company(&probe, &err);
        else if (strcmp(probe.what, "speed") == 0)
            rc = try_speed(&probe, &err);
        else
            rc = try_trouble(&probe, &err);
    }
    if (rc < 0)
        fprintf(stderr, "probe: rank %d: %s\n", ant_job_env_rank(), err.text);
    close_probe(&probe);
    return ant_exit_code(rc);
}
