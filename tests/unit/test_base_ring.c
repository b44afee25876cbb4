/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/ring.h"

static void full_and_empty(void **state)
{
    (void)state;
    int items[5];
    struct ant_ring *ring = ant_ring_open(3); /* becomes 4 */
    assert_null(ant_ring_pop(ring));
    for (int round = 0; round < 1000; round++) {
        for (int i = 0; i < 4; i++)
            assert_true(ant_ring_push(ring, &items[i]));
        assert_false(ant_ring_push(ring, &items[4]));
        assert_int_equal(ant_ring_count(ring), 4);
        for (int i = 0; i < 4; i++)
            assert_ptr_equal(ant_ring_pop(ring), &items[i]);
        assert_null(ant_ring_pop(ring));
        assert_int_equal(ant_ring_count(ring), 0);
    }
    ant_ring_close(ring);
    ant_ring_close(NULL);
}

static void waiting_ends(void **state)
{
    (void)state;
    int item;
    struct ant_ring *ring = ant_ring_open(1);
    double start = ant_now();
    ant_ring_wait_item(ring, 0.02);
    double passed = ant_now() - start;
    assert_true(passed > 0.01 && passed < 10);
    ant_ring_wait_item(ring, -1);
    assert_true(ant_ring_push(ring, &item));
    start = ant_now();
    ant_ring_wait_item(ring, 1e300); /* there is one: no sleep */
    assert_true(ant_now() - start < 10);
    start = ant_now();
    ant_ring_wait_room(ring, 0.02);
    assert_true(ant_now() - start > 0.01);
    ant_ring_pop(ring);
    ant_ring_wait_room(ring, 1e300);
    ant_ring_close(ring);
}

static void *wait_long(void *argument)
{
    ant_ring_wait_item(argument, 60);
    return NULL;
}

static void waking_ends_waiting(void **state)
{
    (void)state;
    struct ant_ring *ring = ant_ring_open(1);
    struct timespec limit;
    double start = ant_now();
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, wait_long, ring), 0);
    do { /* it may not be asleep yet */
        ant_ring_wake(ring);
        clock_gettime(CLOCK_REALTIME, &limit);
        limit.tv_sec++;
    } while (pthread_timedjoin_np(thread, NULL, &limit) != 0);
    assert_true(ant_now() - start < 30);
    ant_ring_close(ring);
}

/* Two threads, a ring far too small, both sides sleeping often: every item arrives once, in order,
 * and with what was written into it before it was pushed. */
enum { ITEMS = 100000 };

struct item {
    int number, twice;
};

static void *produce(void *argument)
{
    struct ant_ring *ring = argument;
    for (int i = 0; i < ITEMS; i++) {
        struct item *item = malloc(sizeof *item);
        item->number = i;
        item->twice = 2 * i;
        while (!ant_ring_push(ring, item))
            ant_ring_wait_room(ring, 5);
    }
    return NULL;
}

static void two_threads(void **state)
{
    (void)state;
    for (size_t slots = 1; slots <= 64; slots *= 8) {
        struct ant_ring *ring = ant_ring_open(slots);
        pthread_t producer;
        double start = ant_now();
        assert_int_equal(pthread_create(&producer, NULL, produce, ring), 0);
        int wrong = 0;
        for (int i = 0; i < ITEMS; i++) {
            struct item *item;
            while (!(item = ant_ring_pop(ring)))
                ant_ring_wait_item(ring, 5);
            wrong += item->number != i || item->twice != 2 * i;
            wrong += ant_ring_count(ring) > slots;
            free(item);
        }
        pthread_join(producer, NULL);
        assert_int_equal(wrong, 0);
        assert_null(ant_ring_pop(ring));
        /* A lost wake-up would cost 5 s each. */
        assert_true(ant_now() - start < 60);
        ant_ring_close(ring);
    }
}

static void *push_later(void *argument)
{
    static int item;
    struct timespec pause = {.tv_nsec = 30000000};
    nanosleep(&pause, NULL);
    ant_ring_push(argument, &item);
    return NULL;
}

static void a_sleeper_is_woken(void **state)
{
    (void)state;
    struct ant_ring *ring = ant_ring_open(8);
    pthread_t producer;
    double start = ant_now();
    assert_int_equal(pthread_create(&producer, NULL, push_later, ring), 0);
    while (ant_ring_count(ring) == 0)
        ant_ring_wait_item(ring, 30);
    assert_true(ant_now() - start < 20);
    pthread_join(producer, NULL);
    assert_non_null(ant_ring_pop(ring));
    ant_ring_close(ring);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(full_and_empty), cmocka_unit_test(waiting_ends),
        cmocka_unit_test(waking_ends_waiting), cmocka_unit_test(two_threads),
        cmocka_unit_test(a_sleeper_is_woken)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
