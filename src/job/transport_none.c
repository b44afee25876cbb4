/* SPDX-License-Identifier: Apache-2.0 */
/* The transport of a build without UCX: it opens, so that one process can run, and reaches nobody.
 * ant_group_open refuses larger groups because ant_transport_version() is empty, so that nothing is
 * ever sent. */
#include "config.h"

#include "job/transport.h"

#include <stdlib.h>

#include "base/log.h"
#include "base/mem.h"
#include "job/watch.h"

struct ant_transport {
    struct ant_watch_list watches;
};

int ant_transport_open(struct ant_transport **out, bool is_alone, struct ant_error *err)
{
    (void)is_alone, (void)err;
    *out = ant_xcalloc(1, sizeof(**out));
    return 0;
}

void ant_transport_close(struct ant_transport *transport)
{
    if (transport)
        ant_watch_forget(&transport->watches);
    free(transport);
}

void ant_transport_close_at_once(struct ant_transport *transport)
{
    ant_transport_close(transport);
}

const void *ant_transport_address(const struct ant_transport *transport, size_t *bytes)
{
    (void)transport;
    *bytes = 0;
    return NULL;
}

const char *ant_transport_version(void)
{
    return "";
}

struct ant_watch_list *ant_transport_watches(struct ant_transport *transport)
{
    return &transport->watches;
}

void ant_transport_meet(struct ant_transport *transport, const struct ant_card *cards,
                        const int *ranks, int n)
{
    (void)transport, (void)cards, (void)ranks, (void)n;
}

void ant_transport_ways(const struct ant_transport *transport, int peer, char *out, size_t bytes)
{
    (void)transport, (void)peer, (void)bytes;
    *out = '\0';
}

int ant_transport_check(const struct ant_transport *transport, const int *ranks, int n,
                        struct ant_error *err)
{
    (void)transport, (void)ranks, (void)n, (void)err;
    return 0;
}

void ant_flight_send(struct ant_flight *flight, int peer, uint64_t tag, const void *data,
                     size_t bytes)
{
    (void)flight, (void)tag, (void)data;
    ant_die("%zu bytes for rank %d in a program without UCX", bytes, peer);
}

void ant_flight_receive(struct ant_flight *flight, int peer, uint64_t tag, void *data, size_t bytes)
{
    (void)flight, (void)tag, (void)data;
    ant_die("%zu bytes from rank %d in a program without UCX", bytes, peer);
}

int ant_flight_poll(struct ant_flight *flight, struct ant_error *err)
{
    (void)flight, (void)err;
    return 1;
}

int ant_flight_peers(const struct ant_flight *flight, int *peers, int max)
{
    (void)flight, (void)peers, (void)max;
    return 0;
}

void ant_flight_abandon(struct ant_flight *flight)
{
    (void)flight;
}

void ant_flight_release(struct ant_flight *flight)
{
    (void)flight;
}

void ant_transport_send_note(struct ant_transport *transport, int peer, const void *data,
                             size_t bytes)
{
    (void)transport, (void)peer, (void)data, (void)bytes;
}

struct ant_note *ant_transport_take_note(struct ant_transport *transport)
{
    (void)transport;
    return NULL;
}

void ant_transport_progress(struct ant_transport *transport)
{
    (void)transport;
}

void ant_transport_flush_notes(struct ant_transport *transport, double seconds)
{
    (void)transport, (void)seconds;
}

int ant_word_open(struct ant_word **out, struct ant_transport *transport, int64_t *value,
                  struct ant_error *err)
{
    (void)out, (void)transport, (void)value;
    return ant_fail(err, ANT_EUNSUPP, "built without UCX: ranks cannot share a number");
}

void ant_word_close(struct ant_word *word)
{
    (void)word;
}

const void *ant_word_key(const struct ant_word *word, size_t *bytes)
{
    (void)word;
    *bytes = 0;
    return NULL;
}

struct ant_far_word *ant_far_word_open(struct ant_transport *transport, int self, int peer,
                                       const void *key, size_t bytes)
{
    (void)transport, (void)self, (void)peer, (void)key, (void)bytes;
    return NULL;
}

void ant_far_word_close(struct ant_far_word *word)
{
    (void)word;
}

void ant_far_word_add(struct ant_far_word *word, int64_t n)
{
    (void)word, (void)n;
}

int ant_far_word_poll(struct ant_far_word *word, int64_t *before, struct ant_error *err)
{
    (void)word, (void)before;
    return ant_fail(err, ANT_EUNSUPP, "built without UCX: ranks cannot share a number");
}
