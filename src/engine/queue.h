/* SPDX-License-Identifier: Apache-2.0 */
/* Requests that wait, in order. Zero-initialised is empty. Thread: engine. */
#ifndef ANT_ENGINE_QUEUE_H
#define ANT_ENGINE_QUEUE_H

#include "engine/engine.h"

struct ant_queue {
    struct ant_request **items; /* (cap) a circle */
    int first, count, cap;
};

void ant_queue_push_back(struct ant_queue *queue, struct ant_request *request);
void ant_queue_push_front(struct ant_queue *queue, struct ant_request *request);
struct ant_request *ant_queue_at(const struct ant_queue *queue, int i);
struct ant_request *ant_queue_pop(struct ant_queue *queue); /* the first; there must be one */
/* Put the i-th first; those before it go back by one. Returns it. */
struct ant_request *ant_queue_bring(struct ant_queue *queue, int i);
void ant_queue_release(struct ant_queue *queue); /* the requests are freed too */

#endif
