/* SPDX-License-Identifier: Apache-2.0 */
/* Messages between ranks over host memory: what collectives are made of. Internal to src/job.
 *
 * Hides UCX (transport.c), or that there is none (transport_none.c). Two kinds:
 *  - tagged messages of any size between buffers that both sides name, in flights that are waited
 *    for together;
 *  - notes: small, unasked, best effort, for finding out what is wrong.
 * Nothing moves unless this process is inside a call of this interface. Endpoints are made on
 * first use. Thread: control. */
#ifndef ANT_JOB_TRANSPORT_H
#define ANT_JOB_TRANSPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "job/group.h"
#include "job/launch.h"

/* Remember how to reach these world ranks. Cards are borrowed until the transport is closed. */
void ant_transport_meet(struct ant_transport *transport, const struct ant_card *cards,
                        const int *ranks, int n);

/* Is everyone of these alive, as far as is known? Else ANT_EPEER with the name. */
int ant_transport_check(const struct ant_transport *transport, const int *ranks, int n,
                        struct ant_error *err);

/* ---- flights --------------------------------------------------------------------------------- */

struct ant_message; /* one segment of something sent or received */

/* Messages under way. Their buffers are in use until the flight has landed or been abandoned. Start
 * with {.transport = t}; landing or abandoning empties it for reuse, ant_flight_release frees. */
struct ant_flight {
    struct ant_transport *transport;
    struct ant_message *messages; /* (capacity), owned */
    int count, capacity;
    int landed; /* messages[0 .. landed-1] are done */
};

/* Both sides must name the same number of bytes. Messages of one tag between two ranks arrive in
 * the order sent. Failures show in ant_flight_poll. */
void ant_flight_send(struct ant_flight *flight, int peer, uint64_t tag, const void *data,
                     size_t bytes);
void ant_flight_receive(struct ant_flight *flight, int peer, uint64_t tag, void *data,
                        size_t bytes);

/* Move what can be moved. 1: all landed, 0: not yet, ANT_EPEER: a message failed. */
int ant_flight_poll(struct ant_flight *flight, struct ant_error *err);

/* World ranks that unfinished messages wait for, each once, at most `max`; returns the count. */
int ant_flight_peers(const struct ant_flight *flight, int *peers, int max);

/* Take all buffers back, whatever becomes of the messages; peers with unfinished sends are cut off
 * for good. */
void ant_flight_abandon(struct ant_flight *flight);
void ant_flight_release(struct ant_flight *flight); /* of a landed or abandoned one */

/* ---- notes ----------------------------------------------------------------------------------- */

enum { ANT_NOTE_BYTES = 1024 }; /* at most */

struct ant_note {
    struct ant_note *next;
    size_t bytes;
    unsigned char data[];
};

void ant_transport_send_note(struct ant_transport *transport, int peer, const void *data,
                             size_t bytes);
/* The oldest note received, NULL if none; caller frees. */
struct ant_note *ant_transport_take_note(struct ant_transport *transport);

/* ---- words ----------------------------------------------------------------------------------- */

/* A number of this process that others can add to, in memory of the caller's, 8-byte aligned. The
 * key is what they need for it; borrowed. Additions are atomic beside those of this CPU. */
struct ant_word;
int ant_word_open(struct ant_word **out, struct ant_transport *transport, int64_t *value,
                  struct ant_error *err);
void ant_word_close(struct ant_word *word);
const void *ant_word_key(const struct ant_word *word, size_t *bytes);

/* The word of rank `peer`, for rank `self`, which is this process. One addition at a time; poll
 * returns 1 when it is done, with what the word was before, 0 when it is not, or ANT_EPEER. Close
 * after the last has been polled. */
struct ant_far_word;
struct ant_far_word *ant_far_word_open(struct ant_transport *transport, int self, int peer,
                                       const void *key, size_t bytes);
void ant_far_word_close(struct ant_far_word *word);
void ant_far_word_add(struct ant_far_word *word, int64_t n);
int ant_far_word_poll(struct ant_far_word *word, int64_t *before, struct ant_error *err);

/* How messages go to this rank, once some have: "posix/memory, tcp/eth0" are transports and their
 * devices, "" where that is not known. */
void ant_transport_ways(const struct ant_transport *transport, int peer, char *out, size_t bytes);

/* Move what can be moved, without waiting. */
void ant_transport_progress(struct ant_transport *transport);
/* The same until every note is out or `seconds` have gone by. */
void ant_transport_flush_notes(struct ant_transport *transport, double seconds);

/* What this process does for others whenever it waits: never waiting itself, 1 if there was
 * something to do. */
struct ant_service {
    int (*serve)(void *arg, struct ant_error *err); /* NULL: nothing */
    void *arg;
};

/* Where watch.c and group.c keep what they know of this process's groups. */
struct ant_watch_list {
    struct ant_service service;
    struct ant_watch *live;    /* groups that are open */
    struct ant_verdict *early; /* about groups that are not open here yet; owned */
    struct ant_post *posts;    /* received, oldest first; owned */
    uint32_t serial;           /* of the questions asked */
    uint64_t *opened;          /* (n_opened) which sets of ranks were opened, each time; owned */
    int n_opened;
};
struct ant_watch_list *ant_transport_watches(struct ant_transport *transport);

#endif
