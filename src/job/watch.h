/* SPDX-License-Identifier: Apache-2.0 */
/* Waiting with a deadline, and finding out whom everybody waits for. Internal to src/job.
 *
 * In a collective of log(n) steps a rank waits for a partner that may itself only be waiting. So
 * when nothing has moved for the deadline, the partner is asked whom it waits for, and so on; who
 * does not answer is missing. What was found ("verdict") is told to all members, so that they fail
 * at once and with the same text. Costs nothing as long as all goes well. Thread: control. */
#ifndef ANT_JOB_WATCH_H
#define ANT_JOB_WATCH_H

#include "job/transport.h"

/* One open group, as far as waiting is concerned. Filled by the owner, then joined. */
struct ant_watch {
    struct ant_transport *transport;
    uint32_t id; /* of the group, the same on all members */
    const struct ant_card *cards;
    const int *ranks; /* (n) world ranks; borrowed */
    int n, me;        /* me: own index in ranks */
    int failed;       /* 0, or the code of the verdict: nothing works in this group any more */
    struct ant_error verdict;
    const struct ant_flight *waiting; /* set while inside ant_watch_wait */
    struct ant_watch *next;
};

/* From join to leave, questions and verdicts of other members reach the watch. A verdict that came
 * before the group was opened here counts. ANT_EBUG if the id is taken. */
int ant_watch_join(struct ant_watch *watch, struct ant_error *err);
void ant_watch_leave(struct ant_watch *watch);

/* Until the flight has landed, or nothing has moved for `timeout` seconds, or a member failed.
 * `what` names the collective. On failure the flight is abandoned and everyone told. */
int ant_watch_wait(struct ant_watch *watch, struct ant_flight *flight, const char *what,
                   double timeout, struct ant_error *err);

/* Wait for nothing but the time or `is_over`, there for others. */
int ant_watch_attend(struct ant_watch *watch, double seconds, bool (*is_over)(void *), void *arg,
                     struct ant_error *err);

/* Small messages that nobody waits for; to and from are world ranks. Taking part in them also
 * serves the questions of others, so a rank that posts now and then counts as present. */
enum { ANT_POST_BYTES = 512 }; /* at most */
struct ant_post {
    struct ant_post *next;
    uint32_t group;
    int from;
    size_t bytes;
    unsigned char data[ANT_POST_BYTES];
};
void ant_watch_post(struct ant_watch *watch, int to, const void *data, size_t bytes);
struct ant_post *ant_watch_next_post(struct ant_watch *watch); /* NULL: none; caller frees */
/* The same of those that are here already, for a service that is called while something waits. */
struct ant_post *ant_watch_take_post(struct ant_watch *watch);

/* Free verdicts and posts that nobody asked for: when the transport is closed. */
void ant_watch_forget(struct ant_watch_list *list);

#endif
