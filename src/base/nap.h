/* SPDX-License-Identifier: Apache-2.0 */
/* A sleep that another thread can end: for threads that wake up now and then and last as long as
 * something else does. By the monotonic clock: setting the host's clock neither prolongs nor ends
 * it. Thread: one sleeps, any ends it. */
#ifndef ANT_BASE_NAP_H
#define ANT_BASE_NAP_H

#include <pthread.h>
#include <stdbool.h>

struct ant_nap {
    pthread_mutex_t mutex;
    pthread_cond_t cond;
    bool is_over;
};

void ant_nap_init(struct ant_nap *nap);
void ant_nap_fini(struct ant_nap *nap); /* nobody sleeps any more */

/* So many seconds. True, also at once: it was ended. */
bool ant_nap_sleep(struct ant_nap *nap, double seconds);
/* This one and all later ones. */
void ant_nap_end(struct ant_nap *nap);

#endif
