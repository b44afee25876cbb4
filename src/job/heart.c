/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "job/heart.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/nap.h"
#include "job/transport.h"

#define NAP_S  0.25
#define BEAT_S 1.0

enum { LEAVES = -1 }; /* instead of a phase: not to be waited for any more */

/* What goes over the wire. */
struct sign {
    int32_t rank, phase;
    double quiet; /* so long the main thread has not beaten */
};

/* Another rank, as far as is known. */
struct other {
    struct sign sign;
    double heard;
};

struct ant_heart {
    struct ant_transport *transport;
    struct ant_card *cards; /* owned: with addresses of this transport */
    const struct ant_heart_phase *phases;
    int rank, size;
    double limit;
    void (*lost)(void *, const struct ant_error *);
    void *data;

    _Atomic int phase;
    _Atomic unsigned beats;

    pthread_t thread;
    bool is_living; /* the thread */
    struct ant_nap nap;

    /* The thread's own. Times are seconds that it has lived. */
    struct other *others; /* owned, (size); other ranks than 0 look at that alone */
    double now, last_beat, last_sent;
    unsigned seen_beats;
    int sent_phase;
};

/* ---- sending and hearing --------------------------------------------------------------------- */

static void send_sign(struct ant_heart *heart, int to, int phase)
{
    struct sign sign = {heart->rank, phase, heart->now - heart->last_beat};

    ant_transport_send_note(heart->transport, to, &sign, sizeof(sign));
}

/* To rank 0, or from it to all. */
static void send_signs(struct ant_heart *heart, int phase)
{
    heart->last_sent = heart->now;
    heart->sent_phase = phase;
    for (int i = heart->rank == 0 ? 1 : 0; i < (heart->rank == 0 ? heart->size : 1); i++)
        send_sign(heart, i, phase);
    ant_transport_progress(heart->transport);
}

static void hear_signs(struct ant_heart *heart)
{
    struct ant_note *note;

    ant_transport_progress(heart->transport);
    while ((note = ant_transport_take_note(heart->transport))) {
        struct sign sign;
        if (note->bytes == sizeof(sign)) {
            memcpy(&sign, note->data, sizeof(sign));
            if (sign.rank >= 0 && sign.rank < heart->size)
                heart->others[sign.rank] = (struct other){sign, heart->now};
        }
        free(note);
    }
}

/* ---- judging --------------------------------------------------------------------------------- */

static void check(struct ant_heart *heart, int rank)
{
    const struct other *other = &heart->others[rank];
    const struct ant_card *card = &heart->cards[rank];
    const struct ant_heart_phase *phase = &heart->phases[other->sign.phase];
    /* Of several ranks that miss the same one the lowest speaks first. */
    double stagger = 0.002 * (heart->rank % 1000);
    double silence = heart->now - other->heard, quiet = silence + other->sign.quiet;
    double patience = phase->patience > heart->limit ? phase->patience : heart->limit;
    struct ant_error err;

    if (silence >= heart->limit + stagger)
        ant_fail(&err, ANT_EPEER,
                 "no sign of rank %d (%s, pid %ld) for %.0f s, it was %s last; the same command "
                 "goes on with what is journalled",
                 rank, card->node_name, (long)card->pid, silence, phase->name);
    else if (phase->patience > 0 && quiet >= patience + stagger)
        ant_fail(&err, ANT_EPEER,
                 "rank %d (%s, pid %ld) lives but hangs: it has been %s for %.0f s without getting "
                 "anywhere; the same command goes on with what is journalled",
                 rank, card->node_name, (long)card->pid, phase->name, quiet);
    else
        return;
    heart->lost(heart->data, &err);
}

static void check_all(struct ant_heart *heart)
{
    int first = heart->rank == 0 ? 1 : 0, end = heart->rank == 0 ? heart->size : 1;

    for (int i = first; i < end; i++)
        if (heart->others[i].sign.phase != LEAVES)
            check(heart, i);
}

/* ---- the thread ------------------------------------------------------------------------------ */

static void *live(void *data)
{
    struct ant_heart *heart = data;
    double clock = ant_now();

    send_signs(heart, heart->phase);
    while (!ant_nap_sleep(&heart->nap, NAP_S)) {
        double now = ant_now();
        heart->now += now - clock < BEAT_S ? now - clock : BEAT_S;
        clock = now;
        unsigned beats = heart->beats;
        if (beats != heart->seen_beats)
            heart->last_beat = heart->now;
        heart->seen_beats = beats;
        hear_signs(heart);
        int phase = heart->phase;
        if (phase != heart->sent_phase || heart->now - heart->last_sent >= BEAT_S)
            send_signs(heart, phase);
        check_all(heart);
    }
    send_signs(heart, LEAVES);
    return NULL;
}

/* ---- open and close -------------------------------------------------------------------------- */

static void meet(struct ant_heart *heart)
{
    int n = heart->rank == 0 ? heart->size : 1;
    int *ranks = ant_xcalloc((size_t)n, sizeof(*ranks));

    for (int i = 0; i < n; i++)
        ranks[i] = i;
    ant_transport_meet(heart->transport, heart->cards, ranks, n);
    free(ranks);
}

int ant_heart_open(struct ant_heart **out, struct ant_group *world, const struct ant_card *cards,
                   const struct ant_heart_phase *phases, double limit,
                   void (*lost)(void *data, const struct ant_error *err), void *data,
                   double timeout, struct ant_error *err)
{
    int size = ant_group_size(world);

    *out = NULL;
    if (size == 1 || limit <= 0)
        return 0;
    struct ant_heart *heart = ant_xcalloc(1, sizeof(*heart));
    *heart = (struct ant_heart){.phases = phases,
                                .rank = ant_group_rank(world),
                                .size = size,
                                .limit = limit,
                                .lost = lost,
                                .data = data};
    ant_nap_init(&heart->nap);
    heart->others = ant_xcalloc((size_t)size, sizeof(*heart->others));
    int rc = ant_transport_open(&heart->transport, false, err);
    if (rc == 0)
        rc = ant_group_share_address(world, heart->transport, cards, &heart->cards, timeout, err);
    if (rc == 0) {
        meet(heart);
        int failed = pthread_create(&heart->thread, NULL, live, heart);
        if (failed)
            rc = ant_fail(err, ANT_EPEER, "cannot start a thread: %s", strerror(failed));
        heart->is_living = !failed;
    }
    if (rc < 0) {
        ant_heart_close(heart);
        return rc;
    }
    *out = heart;
    return 0;
}

void ant_heart_close(struct ant_heart *heart)
{
    if (!heart)
        return;
    ant_nap_end(&heart->nap);
    if (heart->is_living)
        pthread_join(heart->thread, NULL);
    /* A rank that has not looked since this job began, if that was a moment ago, never will. */
    ant_transport_close_at_once(heart->transport);
    ant_nap_fini(&heart->nap);
    free(heart->cards);
    free(heart->others);
    free(heart);
}

void ant_heart_beat(struct ant_heart *heart, int phase)
{
    if (!heart)
        return;
    heart->phase = phase;
    heart->beats++;
}
