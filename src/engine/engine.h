/* SPDX-License-Identifier: Apache-2.0 */
/* Continuous batching over one model: requests in, finished answers out.
 *
 * The engine thread is started by ant_engine_start and owns the backend until
 * ant_engine_stop. The control thread feeds requests and takes answers through
 * two rings; a request's memory travels with it. What a request is answered
 * with does not depend on which others are there. Errors of the device end the
 * engine: the next call of ant_engine_take returns them. */
#ifndef ANT_ENGINE_ENGINE_H
#define ANT_ENGINE_ENGINE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/logprobs.h"
#include "base/mem.h"
#include "engine/sampling.h"
#include "model/model.h"
#include "store/journal.h"
#include "text/constraint.h"
#include "text/tokenizer.h"

/* A stop rule set, shared by many requests, immutable. */
struct ant_stops {
    const int32_t *ids; /* (n_ids) end of answer by id: the model's own first, n_eos of them */
    int n_ids, n_eos;   /* ignore_eos passes over those, not over the user's */
    const char *const *strings; /* (n_strings) end of answer by text, cut off from it */
    int n_strings;
};

/* What to do to logits before every draw, shared by many requests, immutable. Ids are those of the
 * model. */
struct ant_rules {
    const struct ant_bias {
        int32_t id;
        float value; /* added */
    } * bias;
    int n_bias;
    const int32_t *allowed; /* no other ids are drawn; none: all are */
    int n_allowed;
    const struct ant_ids *bad_words; /* the last id of each is not drawn after the ones before it */
    int n_bad_words;
};

/* One prompt to be answered. The control thread fills it and hands it over with ant_engine_submit;
 * ant_engine_take hands it back with the lower half filled. */
struct ant_request {
    int64_t row;
    int32_t sample;
    int32_t *prompt; /* owned, (n_prompt) */
    int32_t n_prompt;
    struct ant_sampling sampling;
    const struct ant_stops *stops;     /* borrowed, lives as long as the engine; or own_stops */
    struct ant_stops *own_stops;       /* owned with all in it; NULL: those of others */
    const struct ant_rules *rules;     /* borrowed likewise, or own_rules; NULL: none */
    struct ant_rules *own_rules;       /* owned with all in it; NULL: those of others */
    struct ant_constraint *constraint; /* a reference of its own; NULL: none */
    struct ant_constraint_place place; /* in it, the engine's */

    struct ant_ids output; /* owned; may start non-empty: an answer to be gone on with, shorter than
                              it may become */
    uint32_t n_reported;   /* of output: known already to who asks for gains */
    enum ant_finish whole; /* other than NONE: the output is all there and ended so, only its log
                              probabilities are wanted, of the prompt's and its own tokens */
    bool has_logprobs, has_prompt_logprobs; /* wanted: below, n_top of them as it is there */
    struct ant_logprobs logprobs;           /* owned; of the output */
    struct ant_logprobs prompt_logprobs;    /* owned; the first token has none */
    enum ant_finish finish;
    char *why;       /* owned: of ANT_FINISH_ERROR */
    int stop_string; /* index into stops->strings of the one that ended it, or -1 */
    double t_admitted, t_first, t_done; /* ant_now() */
};
void ant_request_free(struct ant_request *request);
/* What rules point to, owned. */
void ant_rules_release(struct ant_rules *rules);

enum {
    ANT_MOST_DRAFTS = 32,
    ANT_MOST_STOPS = 64, /* texts of a row's own that end its answer */
};

struct ant_engine_config {
    int max_seqs;           /* sequences in flight */
    int max_step_rows;      /* token budget of one step */
    int max_sampled;        /* rows of a step whose logits are wanted; 0: one a sequence */
    int max_context;        /* prompt and answer together */
    int n_pages;            /* of the KV cache */
    int first_page;         /* of a scheduler that has a part of them */
    int steps_in_flight;    /* most steps at once, from the backend's facts; 0: one */
    bool opens_steps;       /* of the backend's facts, and the replica is of one rank */
    int n_lanes;            /* pipeline stages, each with a step under way; 0: one */
    bool no_prefix_sharing; /* compute every prompt whole */
    int n_drafts;           /* tokens of an answer guessed ahead in a step, at most
                               ANT_MOST_DRAFTS. Answers do not change. 0: none */
    int draft_rows; /* only while a step's answers and guesses are no more rows than these */
};

/* Counted since start; may be read from the control thread at any time, each value right by itself.
 */
struct ant_engine_stats {
    int64_t steps, output_tokens, finished, preemptions;
    int64_t company_steps; /* beside `steps`: without rows of this replica's, for those of others */
    int64_t prompt_tokens, shared_tokens; /* computed, and found in the cache instead */
    int running, waiting, pages_used, pages_total;
    int64_t drafted, accepted;          /* tokens guessed, and those that were right */
    double prefill_s, decode_s, idle_s; /* mixed steps are split by rows */
};

/* What unfinished answers have gained since they were last asked for: tokens of `output` from
 * `first` on, those of all answers one after the other in `tokens`. */
struct ant_gains {
    struct ant_gain {
        int64_t row;
        int32_t sample;
        uint32_t first, n_tokens;
    } * items; /* (n) owned */
    size_t n, cap;
    struct ant_ids tokens;
};
void ant_gains_release(struct ant_gains *gains);

struct ant_engine;

int ant_engine_start(struct ant_engine **out, struct ant_model *model,
                     const struct ant_tokenizer *tokenizer, const struct ant_engine_config *config,
                     struct ant_error *err);
/* False: the queue is full, try after taking. */
bool ant_engine_submit(struct ant_engine *engine, struct ant_request *request);
/* A finished request, or NULL in *out when none came within `seconds`. */
int ant_engine_take(struct ant_engine *engine, struct ant_request **out, double seconds,
                    struct ant_error *err);
/* Begin no more requests, finish those that run: the others stay inside, stats.running says when
 * none runs any more. */
void ant_engine_drain(struct ant_engine *engine);
/* Ask for the gains; the engine thread gathers them between two steps. Then take them: false, they
 * are not there yet. One question at a time: asking again before taking is no new question. */
void ant_engine_ask_gains(struct ant_engine *engine);
bool ant_engine_take_gains(struct ant_engine *engine, struct ant_gains *out);
void ant_engine_stats(const struct ant_engine *engine, struct ant_engine_stats *out);
/* Ends the thread; unfinished requests are freed. */
void ant_engine_stop(struct ant_engine *engine);

#endif
