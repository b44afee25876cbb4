/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "engine/queue.h"

#include <stdlib.h>

#include "base/mem.h"

static struct ant_request **slot(const struct ant_queue *queue, int i)
{
    return &queue->items[(queue->first + i) % queue->cap];
}

static void make_room(struct ant_queue *queue)
{
    if (queue->count < queue->cap)
        return;
    int cap = queue->cap ? 2 * queue->cap : 64;
    struct ant_request **items = ant_xcalloc((size_t)cap, sizeof(*items));

    for (int i = 0; i < queue->count; i++)
        items[i] = *slot(queue, i);
    free(queue->items);
    *queue = (struct ant_queue){items, 0, queue->count, cap};
}

void ant_queue_push_back(struct ant_queue *queue, struct ant_request *request)
{
    make_room(queue);
    *slot(queue, queue->count++) = request;
}

void ant_queue_push_front(struct ant_queue *queue, struct ant_request *request)
{
    make_room(queue);
    queue->first = (queue->first + queue->cap - 1) % queue->cap;
    queue->items[queue->first] = request;
    queue->count++;
}

struct ant_request *ant_queue_at(const struct ant_queue *queue, int i)
{
    return *slot(queue, i);
}

struct ant_request *ant_queue_pop(struct ant_queue *queue)
{
    struct ant_request *request = queue->items[queue->first];

    queue->first = (queue->first + 1) % queue->cap;
    queue->count--;
    return request;
}

struct ant_request *ant_queue_bring(struct ant_queue *queue, int i)
{
    struct ant_request *request = *slot(queue, i);

    for (; i > 0; i--)
        *slot(queue, i) = *slot(queue, i - 1);
    return queue->items[queue->first] = request;
}

void ant_queue_release(struct ant_queue *queue)
{
    while (queue->count > 0)
        ant_request_free(ant_queue_pop(queue));
    free(queue->items);
    *queue = (struct ant_queue){0};
}
