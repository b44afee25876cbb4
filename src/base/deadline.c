/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "base/deadline.h"

static void *watch(void *data)
{
    struct ant_deadline *deadline = data;

    if (!ant_nap_sleep(&deadline->nap, deadline->seconds))
        deadline->expired(deadline->data);
    return NULL;
}

void ant_deadline_start(struct ant_deadline *deadline, double seconds, void (*expired)(void *data),
                        void *data)
{
    *deadline = (struct ant_deadline){.seconds = seconds, .expired = expired, .data = data};
    ant_nap_init(&deadline->nap);
    deadline->is_running = pthread_create(&deadline->thread, NULL, watch, deadline) == 0;
}

void ant_deadline_stop(struct ant_deadline *deadline)
{
    ant_nap_end(&deadline->nap);
    if (deadline->is_running)
        pthread_join(deadline->thread, NULL);
    ant_nap_fini(&deadline->nap);
}
