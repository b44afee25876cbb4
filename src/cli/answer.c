/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "cli/run.h"
#include "engine/stop.h"

/* How long the loop sleeps at most for an answer before it looks around again, also for what others
 * want; shorter when only other ranks have something to do, or the engine could begin more rows
 * than it was given. */
#define NAP_S        0.05
#define IDLE_NAP_S   0.01
#define HUNGRY_NAP_S 0.001
/* How long the engine may be in one step when it is to save. */
#define SAVE_PATIENCE_S 20.0

/* A row's own sampling parameters where it has some; out of range is this row's failure, no one
 * else's. */
static int row_sampling(const struct run *run, const struct ant_prompt *prompt,
                        struct ant_sampling *out, struct ant_error *err)
{
    const struct ant_sampling *defaults = &run->sampling;

    *out = *defaults;
    if (run->is_scored) /* nothing is drawn */
        return 0;
    if (prompt->has & ANT_HAS_MAX_TOKENS)
        out->max_tokens = (int32_t)fmin(fmax((double)prompt->max_tokens, -1), INT32_MAX);
    if (prompt->has & ANT_HAS_MIN_TOKENS)
        out->min_tokens = (int32_t)fmin(fmax((double)prompt->min_tokens, -1), INT32_MAX);
    if (prompt->has & ANT_HAS_TOP_K)
        out->top_k = (int32_t)fmin(fmax((double)prompt->top_k, -1), INT32_MAX);
    if (prompt->has & ANT_HAS_TEMPERATURE)
        out->temperature = (float)prompt->temperature;
    if (prompt->has & ANT_HAS_TOP_P)
        out->top_p = (float)prompt->top_p;
    if (prompt->has & ANT_HAS_MIN_P)
        out->min_p = (float)prompt->min_p;
    if (prompt->has & ANT_HAS_TYPICAL_P)
        out->typical_p = (float)prompt->typical_p;
    if (prompt->has & ANT_HAS_REPETITION)
        out->repetition_penalty = (float)prompt->repetition_penalty;
    if (prompt->has & ANT_HAS_PRESENCE)
        out->presence_penalty = (float)prompt->presence_penalty;
    if (prompt->has & ANT_HAS_FREQUENCY)
        out->frequency_penalty = (float)prompt->frequency_penalty;
    if (prompt->has & ANT_HAS_SEED)
        out->seed = prompt->seed;
    return ant_sampling_check(out, err);
}

/* A tokenizer may know more than the model has rows for. */
static int check_ids(const struct run *run, const struct ant_ids *ids, struct ant_error *err)
{
    int vocab = ant_checkpoint_arch(run->checkpoint)->vocab;

    for (size_t i = 0; i < ids->len; i++)
        if (ids->data[i] < 0 || ids->data[i] >= vocab)
            return ant_fail(err, ANT_EDATA, "token %d at position %zu is not one of the model's %d",
                            ids->data[i], i, vocab);
    return 0;
}

/* The prompt's tokens, and in `output` those of the answer where it is given. */
static int row_tokens(const struct run *run, const struct ant_prompt *prompt, struct ant_ids *out,
                      struct ant_ids *output, struct ant_error *err)
{
    size_t most = (size_t)run->engine_config.max_context;

    if (run->is_scored)
        ANT_TRY(ant_run_continuation_ids(run, prompt, out, output, err));
    else
        ANT_TRY(ant_run_prompt_ids(run, prompt, out, err));
    if (out->len == 0)
        return ant_fail(err, ANT_EDATA, "empty prompt");
    if (run->is_scored && out->len + output->len > most)
        return ant_fail(
            err, ANT_EDATA,
            "the prompt has %zu tokens and its continuation %zu, --max-model-len is %zu", out->len,
            output->len, most);
    if (out->len >= most)
        return ant_fail(
            err, ANT_EDATA,
            "the prompt has %zu tokens, --max-model-len %zu leaves no room for an answer", out->len,
            most);
    ANT_TRY(check_ids(run, out, err));
    return check_ids(run, output, err);
}

int ant_run_request(const struct run *run, const struct ant_prompt *prompt, int sample,
                    struct ant_request **out, struct ant_error *err)
{
    struct ant_sampling sampling;
    struct ant_ids tokens = {0}, output = {0};

    ANT_TRY(row_sampling(run, prompt, &sampling, err));
    int rc = row_tokens(run, prompt, &tokens, &output, err);
    if (rc < 0) {
        ant_ids_release(&tokens);
        ant_ids_release(&output);
        return rc;
    }
    struct ant_request *request = ant_xcalloc(1, sizeof(*request));
    request->row = prompt->row;
    request->sample = sample;
    request->prompt = tokens.data;
    request->n_prompt = (int32_t)tokens.len;
    request->output = output;
    request->whole = run->is_scored ? ANT_FINISH_LENGTH : ANT_FINISH_NONE;
    request->sampling = sampling;
    request->stops = &run->stops;
    request->rules = &run->rules;
    rc = ant_run_hold_constraint(run, prompt, &request->constraint, err);
    if (rc == 0)
        rc = ant_run_want_logprobs(run, prompt, request, err);
    if (rc == 0)
        rc = ant_run_row_rules(run, prompt, request, err);
    if (rc == 0)
        rc = ant_run_check_edits(run, &request->sampling, request->rules, err);
    if (rc < 0) {
        ant_request_free(request);
        return rc;
    }
    *out = request;
    return 0;
}

static int journal_failure(struct run *run, int64_t row, int sample, const struct ant_error *why,
                           struct ant_error *err)
{
    struct ant_answer answer = {
        .row = row,
        .sample = sample,
        .status = ANT_STATUS_FAILED,
        .finish = ANT_FINISH_ERROR,
        .dp_rank = run->layout.dp_rank,
        .attempt = run->attempt,
        .error = why->text,
        .error_bytes = (uint32_t)strlen(why->text),
    };

    run->counts.done++;
    run->counts.failed++;
    return ant_journal_add(run->journal, &answer, err);
}

/* Other rows have more answers. */
static int journal_skipped(struct run *run, int64_t row, int sample, struct ant_error *err)
{
    struct ant_answer answer = {
        .row = row,
        .sample = sample,
        .status = ANT_STATUS_SKIPPED,
        .dp_rank = run->layout.dp_rank,
        .attempt = run->attempt,
    };

    run->counts.done++;
    return ant_journal_add(run->journal, &answer, err);
}

static int journal_answer(struct run *run, const struct ant_request *request, struct ant_error *err)
{
    struct ant_buf text = {0};

    ant_stop_text(request, run->tokenizer, &text);
    bool has_prompt = request->has_prompt_logprobs;
    struct ant_answer answer = {
        .row = request->row,
        .sample = request->sample,
        .status = ANT_STATUS_OK,
        .finish = request->finish,
        .prompt_tokens = request->n_prompt,
        .dp_rank = run->layout.dp_rank,
        .attempt = run->attempt,
        .seed = request->sampling.seed,
        .t_first = (float)(request->t_first - request->t_admitted),
        .t_total = (float)(request->t_done - request->t_admitted),
        .tokens = request->output.data,
        .n_tokens = (uint32_t)request->output.len,
        .text = text.data,
        .text_bytes = (uint32_t)text.len,
        .logprobs = request->has_logprobs ? &request->logprobs : NULL,
        .prompt_logprobs = has_prompt ? &request->prompt_logprobs : NULL,
        .prompt_ids = request->prompt,
    };
    int rc = ant_journal_add(run->journal, &answer, err);
    ant_buf_release(&text);

    run->counts.done++;
    return rc;
}

/* What the engine has done with: an answer, or a reason why there is none. */
static int journal_finished(struct run *run, const struct ant_request *request,
                            struct ant_error *err)
{
    struct ant_error why;

    if (request->finish != ANT_FINISH_ERROR)
        return journal_answer(run, request, err);
    ant_fail(&why, ANT_EDATA, "%s", request->why);
    return journal_failure(run, request->row, request->sample, &why, err);
}

/* Begin with what earlier starts have of this answer. It may be all of it: a kill can come between
 * the last part and the answer. Whether it meets a constraint the engine alone can say: the last
 * token is drawn again. */
static int resume(struct run *run, struct ant_request *request, struct ant_error *err)
{
    if (run->is_scored) /* the answer is given */
        return 0;
    ANT_TRY(ant_journal_read_parts(run->reader, &run->earlier, request->row, request->sample,
                                   &request->output, err));
    request->n_reported = (uint32_t)request->output.len;
    if (request->constraint && request->output.len > 0)
        request->n_reported = (uint32_t)--request->output.len;
    else if (request->output.len > 0)
        ant_stop_check(request, run->tokenizer, run->engine_config.max_context);
    if (request->has_logprobs || request->has_prompt_logprobs) { /* they are not in the parts */
        request->whole = request->finish;
        request->finish = ANT_FINISH_NONE;
    }
    return 0;
}

/* One sample of a row as a request, or as an answer in the journal: *out is NULL then. */
static int open_sample(struct run *run, int64_t row, int sample, struct ant_request **out,
                       struct ant_error *err)
{
    struct ant_request *request = NULL;
    struct ant_prompt prompt;
    struct ant_error why;
    int rc = ant_prompts_read(run->prompts, row, &prompt, &why), samples = run->samples;

    if (rc < 0 && rc != ANT_EDATA)
        return ant_fail(err, rc, "%s", why.text);
    if (rc == 0)
        rc = ant_run_row_samples(run, &prompt, &samples, &why);
    if (sample >= samples)
        return journal_skipped(run, row, sample, err);
    if (rc < 0 || ant_run_request(run, &prompt, sample, &request, &why) < 0)
        return journal_failure(run, row, sample, &why, err);
    rc = resume(run, request, err);
    if (rc == 0 && request->finish == ANT_FINISH_NONE) {
        *out = request;
        return 0;
    }
    if (rc == 0)
        rc = journal_answer(run, request, err);
    ant_request_free(request);
    return rc;
}

/* The next sample that can be answered as a request, those of a row one after the other: they share
 * the prompt. Returns as ant_work_next; `want`: how many rows could be begun now. */
static int next_request(struct run *run, int64_t want, struct ant_request **out,
                        struct ant_error *err)
{
    for (*out = NULL; !*out; run->n_opened++) {
        if (run->n_opened == run->settings.samples) {
            int answer = ant_work_next(run->work, want, &run->row, err);
            if (answer != ANT_WORK_ROW)
                return answer;
            run->n_opened = 0;
        }
        if (!ant_journal_index_has(&run->earlier, run->row, run->n_opened))
            ANT_TRY(open_sample(run, run->row, run->n_opened, out, err));
    }
    return ANT_WORK_ROW;
}

static int journal_gains(struct run *run, const struct ant_gains *gains, struct ant_error *err)
{
    const int32_t *tokens = gains->tokens.data;

    for (size_t i = 0; i < gains->n; i++) {
        const struct ant_gain *gain = &gains->items[i];
        const struct ant_answer_part part = {.row = gain->row,
                                             .sample = gain->sample,
                                             .first = gain->first,
                                             .n_tokens = gain->n_tokens,
                                             .tokens = tokens};
        ANT_TRY(ant_journal_add_part(run->journal, &part, err));
        tokens += gain->n_tokens;
    }
    return 0;
}

/* True: the engine had something to journal. */
static int take_gains(struct run *run, struct ant_error *err)
{
    struct ant_gains gains;

    if (!ant_engine_take_gains(run->engine, &gains))
        return 0;
    int rc = journal_gains(run, &gains, err);
    ant_gains_release(&gains);
    return rc < 0 ? rc : 1;
}

/* Now and then unfinished answers are journalled as far as they are, so that a restart goes on with
 * them. The engine is asked first, and has them ready one step later. */
static int save_unfinished(struct run *run, struct ant_error *err)
{
    double now = ant_now();

    ANT_TRY(take_gains(run, err));
    if (run->settings.save_every > 0 && now - run->last_save >= run->settings.save_every) {
        run->last_save = now;
        ant_engine_ask_gains(run->engine);
    }
    return 0;
}

static int sync_journal(struct run *run, struct ant_error *err)
{
    if (!ant_journal_is_due(run->journal))
        return 0;
    ant_run_doing(run, RUN_SYNCS);
    return ant_journal_sync(run->journal, err);
}

/* What is between the rows that are left and the engine. */
struct feed {
    int64_t in_flight;        /* given to the engine and not taken back */
    struct ant_request *next; /* owned: made, but the engine was full */
    int more;                 /* what is known of further rows, as ant_work_next */
    bool is_hungry;           /* the engine has room: do not let it wait for more */
};

/* Give the engine what it can begin soon. */
static int feed_engine(struct run *run, struct feed *feed, struct ant_error *err)
{
    int samples = run->settings.samples, max_seqs = run->engine_config.max_seqs;
    int64_t ahead = samples * ant_work_ahead(run->work, (max_seqs + samples - 1) / samples);
    struct ant_engine_stats stats;

    feed->is_hungry = false;
    if (run->stop.stage != ANT_STAGE_RUN) {
        ant_engine_drain(run->engine);
        return 0;
    }
    ant_engine_stats(run->engine, &stats);
    for (int64_t room = ahead + stats.running - feed->in_flight; room > 0; room--) {
        if (!feed->next)
            ANT_TRY(feed->more =
                        next_request(run, (room + samples - 1) / samples, &feed->next, err));
        if (!feed->next || !ant_engine_submit(run->engine, feed->next))
            break;
        feed->next = NULL;
        feed->in_flight++;
        ANT_TRY(ant_run_pulse(run, err));
    }
    feed->is_hungry = feed->more != ANT_WORK_NONE && stats.waiting == 0 && stats.running < max_seqs;
    return 0;
}

/* Journal what has been finished, waiting at most `seconds` for the first. */
static int take_finished(struct run *run, struct feed *feed, double seconds, struct ant_error *err)
{
    struct ant_request *request;

    ANT_TRY(ant_engine_take(run->engine, &request, seconds, err));
    while (request) {
        if (run->first_token == 0 || request->t_first < run->first_token)
            run->first_token = request->t_first;
        int rc = journal_finished(run, request, err);
        ant_request_free(request);
        feed->in_flight--;
        ANT_TRY(rc);
        ANT_TRY(ant_engine_take(run->engine, &request, 0, err));
    }
    return 0;
}

/* One time round: rows in, answers out, news to the others and from them. */
static int turn(struct run *run, struct feed *feed, struct ant_error *err)
{
    struct ant_engine_stats stats;

    ANT_TRY(feed_engine(run, feed, err));
    ant_engine_stats(run->engine, &stats); /* before taking: what ran last is then taken */
    bool is_drained = run->stop.stage != ANT_STAGE_RUN && stats.running == 0;
    double nap = feed->is_hungry ? HUNGRY_NAP_S : run->counts.is_idle ? IDLE_NAP_S : NAP_S;
    ANT_TRY(take_finished(run, feed, nap, err));
    ANT_TRY(save_unfinished(run, err));
    ANT_TRY(sync_journal(run, err));
    run->counts.left = ant_work_left(run->work) + (run->settings.samples - run->n_opened) +
                       (feed->next != NULL) + feed->in_flight;
    run->counts.is_idle =
        (!feed->next && feed->in_flight == 0 && feed->more == ANT_WORK_NONE) || is_drained;
    ant_run_trace(run, false);
    return ant_run_pulse(run, err);
}

/* The answers under way go to the journal as they are. */
static int save_rest(struct run *run, struct feed *feed, struct ant_error *err)
{
    double until = ant_now() + SAVE_PATIENCE_S;
    struct ant_engine_stats stats;
    int rc = take_gains(run, err);

    ant_engine_ask_gains(run->engine);
    for (rc = rc < 0 ? rc : 0; rc == 0 && ant_now() < until;) {
        ANT_TRY(take_finished(run, feed, IDLE_NAP_S, err));
        rc = take_gains(run, err);
    }
    ant_engine_stats(run->engine, &stats);
    run->counts.running = stats.running;
    if (rc == 0)
        ant_log(ANT_LOG_WARN, "journal",
                "the engine is in a long step: what it drew since the "
                "last save will be drawn again");
    return rc < 0 ? rc : 0;
}

int ant_run_answer(struct run *run, struct ant_error *err)
{
    struct feed feed = {.more = ANT_WORK_ROW};
    int rc = 0;

    run->last_save = ant_now();
    run->n_opened = run->settings.samples;
    ant_run_pulse_start(run);
    ant_run_trace_start(run);
    while (rc == 0 && run->pulse.orders.next == RUN_GO_ON)
        rc = turn(run, &feed, err);
    ant_run_doing(run, RUN_SYNCS);
    if (rc == 0 && run->pulse.orders.next == RUN_SAVE)
        rc = save_rest(run, &feed, err);
    ant_run_trace(run, true);
    ant_request_free(feed.next);
    return rc < 0 ? rc : ant_journal_sync(run->journal, err);
}
