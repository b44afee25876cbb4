/* SPDX-License-Identifier: Apache-2.0 */
/* Which rows run in the next step: admission, chunked prefill, decode, pages of the KV cache,
 * preemption.
 *
 * Pure integers: no device, no clock, no thread. Sequences in flight are kept oldest first. Each
 * step takes one row of every sequence that decodes, then fills the row budget with prefill chunks,
 * oldest first, then admits waiting requests while pages last. When a decoding sequence needs a
 * page and none is free, the youngest gives up its own and is prefilled again later; its answer
 * does not change. With every check on (`ANTIPHON_CHECK=1`) the invariants are verified after each
 * step. Thread: engine. */
#ifndef ANT_ENGINE_SCHED_H
#define ANT_ENGINE_SCHED_H

#include <stdbool.h>

#include "backend/backend.h"
#include "engine/engine.h"

struct ant_sched;

struct ant_sched *ant_sched_open(const struct ant_engine_config *config);
void ant_sched_close(struct ant_sched *sched); /* frees the requests still inside */

/* The scheduler owns the request from here until ant_sched_retire hands it back. */
void ant_sched_add(struct ant_sched *sched, struct ant_request *request);

/* True when there is a step to run; `batch` is valid until the next call of ant_sched_commit. */
bool ant_sched_plan(struct ant_sched *sched, struct ant_batch *batch);

/* The request whose next token is the batch's i-th sampled row. */
struct ant_request *ant_sched_sampled(const struct ant_sched *sched, int i);

/* The planned step has run, and the tokens drawn were appended to the requests' outputs. */
void ant_sched_commit(struct ant_sched *sched);

/* Take back one request whose `finish` is set, its pages freed; NULL when there is none. After
 * commit. */
struct ant_request *ant_sched_retire(struct ant_sched *sched);

/* Every request inside. */
void ant_sched_each(const struct ant_sched *sched, void (*visit)(struct ant_request *, void *),
                    void *data);

struct ant_sched_counts {
    int running, waiting, pages_used;
    int decode_rows, prefill_rows; /* of the step last planned */
    int64_t preemptions;
};
void ant_sched_counts(const struct ant_sched *sched, struct ant_sched_counts *out);

#endif
