/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "base/nap.h"

#include <errno.h>
#include <time.h>

void ant_nap_init(struct ant_nap *nap)
{
    pthread_condattr_t steady;

    nap->is_over = false;
    pthread_mutex_init(&nap->mutex, NULL);
    pthread_condattr_init(&steady);
    pthread_condattr_setclock(&steady, CLOCK_MONOTONIC);
    pthread_cond_init(&nap->cond, &steady);
    pthread_condattr_destroy(&steady);
}

void ant_nap_fini(struct ant_nap *nap)
{
    pthread_cond_destroy(&nap->cond);
    pthread_mutex_destroy(&nap->mutex);
}

bool ant_nap_sleep(struct ant_nap *nap, double seconds)
{
    struct timespec until;
    int rc = 0;

    clock_gettime(CLOCK_MONOTONIC, &until);
    long nanoseconds = until.tv_nsec + (long)((seconds - (double)(long)seconds) * 1e9);
    until.tv_sec += (time_t)seconds + nanoseconds / 1000000000;
    until.tv_nsec = nanoseconds % 1000000000;
    pthread_mutex_lock(&nap->mutex);
    while (!nap->is_over && rc != ETIMEDOUT)
        rc = pthread_cond_timedwait(&nap->cond, &nap->mutex, &until);
    bool is_over = nap->is_over;
    pthread_mutex_unlock(&nap->mutex);
    return is_over;
}

void ant_nap_end(struct ant_nap *nap)
{
    pthread_mutex_lock(&nap->mutex);
    nap->is_over = true;
    pthread_cond_signal(&nap->cond);
    pthread_mutex_unlock(&nap->mutex);
}
