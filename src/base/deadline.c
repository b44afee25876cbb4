/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "base/deadline.h"

#include <errno.h>
#include <time.h>

static void *watch(void *data)
{
    struct ant_deadline *deadline = data;
    struct timespec when;
    int rc = 0;

    clock_gettime(CLOCK_MONOTONIC, &when);
    long nanoseconds = when.tv_nsec + (long)((deadline->seconds - (long)deadline->seconds) * 1e9);
    when.tv_sec += (time_t)deadline->seconds + nanoseconds / 1000000000;
    when.tv_nsec = nanoseconds % 1000000000;
    pthread_mutex_lock(&deadline->mutex);
    while (!deadline->is_over && rc != ETIMEDOUT)
        rc = pthread_cond_timedwait(&deadline->cond, &deadline->mutex, &when);
    bool is_over = deadline->is_over;
    pthread_mutex_unlock(&deadline->mutex);
    if (!is_over)
        deadline->expired(deadline->data);
    return NULL;
}

void ant_deadline_start(struct ant_deadline *deadline, double seconds, void (*expired)(void *data),
                        void *data)
{
    pthread_condattr_t steady;

    *deadline = (struct ant_deadline){.seconds = seconds, .expired = expired, .data = data};
    pthread_mutex_init(&deadline->mutex, NULL);
    pthread_condattr_init(&steady);
    pthread_condattr_setclock(&steady, CLOCK_MONOTONIC);
    pthread_cond_init(&deadline->cond, &steady);
    pthread_condattr_destroy(&steady);
    deadline->is_running = pthread_create(&deadline->thread, NULL, watch, deadline) == 0;
}

void ant_deadline_stop(struct ant_deadline *deadline)
{
    pthread_mutex_lock(&deadline->mutex);
    deadline->is_over = true;
    pthread_cond_signal(&deadline->cond);
    pthread_mutex_unlock(&deadline->mutex);
    if (deadline->is_running)
        pthread_join(deadline->thread, NULL);
    pthread_cond_destroy(&deadline->cond);
    pthread_mutex_destroy(&deadline->mutex);
}
