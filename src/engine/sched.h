/* SPDX-License-Identifier: Apache-2.0 */
/* Which rows run in the next step: admission, chunked prefill, decode, pages of the KV cache,
 * preemption.
 *
 * Pure integers: no device, no clock, no thread. Sequences in flight are kept oldest first. Each
 * step takes one row of every sequence that decodes, then fills the row budget with prefill chunks,
 * oldest first, then admits waiting requests, the longest first, as many as the cache can be
 * expected to hold until they end. When a decoding sequence needs a page all the same and none is
 * free, the youngest gives up its own and is prefilled again later; its answer does not change.
 *
 * A prompt that begins like one before it shares its full pages instead of computing them again,
 * also when that one is planned in the same step, and when it has ended and its pages are not yet
 * needed. What a preempted sequence has computed is kept the same way.
 *
 * Where log probabilities of tokens that are known are wanted, the rows before these have their
 * logits computed, as many in a step as there is room for, and are not shared.
 *
 * Tokens of an answer may be guessed ahead, see lookup.h: then a step has the rows of these guesses
 * too, and all of them draw, each just what it would draw if it came alone. As far as a guess is
 * what was drawn before it, its draw counts; the rest is dropped, and its rows leave the cache. No
 * other step is planned meanwhile, nor while there could be guesses once the one in flight is
 * committed.
 *
 * Up to two steps may be planned and not yet committed: a sequence then goes on with a token that
 * is not known yet. If it turns out to have ended, what it draws in the later step is dropped.
 * Steps run in the order they were planned in: so a sequence's pages can be given to another as
 * soon as its last row is planned. Where draws depend on all tokens before them (penalties, shapes
 * of answers), the later step is open: what it draws by is said when the one before it has been
 * committed. Where that cannot be (opens_steps), such a sequence is left out of the later step, or,
 * unless they are few, there is no later step until then.
 *
 * With every check on (`ANTIPHON_CHECK=1`) the invariants are verified after each step. Thread:
 * engine. */
#ifndef ANT_ENGINE_SCHED_H
#define ANT_ENGINE_SCHED_H

#include <stdbool.h>

#include "backend/backend.h"
#include "engine/engine.h"
#include "engine/step.h"

enum { ANT_MAX_STEPS_IN_FLIGHT = 2 };

struct ant_sched;

struct ant_sched *ant_sched_open(const struct ant_engine_config *config);
void ant_sched_close(struct ant_sched *sched); /* frees the requests still inside */

/* The scheduler owns the request from here until ant_sched_retire hands it back. */
void ant_sched_add(struct ant_sched *sched, struct ant_request *request);

/* True when there is a step to run; `batch` is valid until the step is committed. */
bool ant_sched_plan(struct ant_sched *sched, struct ant_batch *batch);

/* An open step was planned, and the step before it is committed and its ended requests are taken
 * back: `batch` becomes the step that draws. Before the next plan. */
void ant_sched_complete(struct ant_sched *sched, struct ant_batch *batch);

/* The i-th sampled row of the oldest step not yet committed, which has run. */
const struct ant_sample *ant_sched_sampled(const struct ant_sched *sched, int i);

/* What that step gave was appended to the requests' outputs and log probabilities, and `finish` is
 * set in those that have ended. */
void ant_sched_commit(struct ant_sched *sched);

/* Take back one request whose `finish` is set, its pages freed; NULL when there is none. After
 * commit, before the next plan. */
struct ant_request *ant_sched_retire(struct ant_sched *sched);

/* Admit no waiting request from here on. */
void ant_sched_hold(struct ant_sched *sched);

/* Every request inside. */
void ant_sched_each(const struct ant_sched *sched, void (*visit)(struct ant_request *, void *),
                    void *data);

struct ant_sched_counts {
    int running, waiting, pages_used;
    int decode_rows, prefill_rows, n_sampled; /* of the oldest step not yet committed */
    int64_t drafted, accepted;
    int64_t preemptions;
    int64_t shared_tokens; /* that need not be computed because another sequence has */
};
void ant_sched_counts(const struct ant_sched *sched, struct ant_sched_counts *out);

#endif
