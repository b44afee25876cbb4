/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "engine/sched.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "engine/edits.h"
#include "engine/lookup.h"
#include "engine/outlook.h"
#include "engine/pages.h"
#include "engine/queue.h"
#include "engine/stop.h"

/* A request in flight. Its tokens are the prompt and then the answer. */
struct sequence {
    struct ant_request *request;
    uint64_t key;     /* of its random draws */
    int n_drawn;      /* tokens of the answer, with the one that is being drawn */
    int drawn_at;     /* which draw of the step planned last gives that one */
    int n_cached;     /* tokens in the KV cache once the planned steps have run */
    int first_wanted; /* row from which on logits are wanted */
    int32_t drafts[ANT_MOST_DRAFTS];
    int n_drafts, reach;   /* of the planned step; at most of the next one */
    int n_planned;         /* those that the step being planned adds */
    int n_published;       /* of its first pages: others can find them */
    int32_t *pages;        /* owned, room for the longest sequence */
    int n_pages, n_shared; /* and how many of them others had before */
};

struct ant_sched {
    struct ant_engine_config config;
    struct sequence *running; /* (max_seqs) oldest first */
    struct sequence *leaving; /* (2 * max_seqs) last token planned, not known yet; no pages */
    int n_running, n_leaving;
    struct ant_queue waiting;
    struct ant_pages *pages;
    struct ant_outlook *outlook;
    int64_t preemptions, shared_tokens, drafted, accepted;
    int64_t n_drawn, n_ended; /* tokens, and answers that ended before they had to */
    double lead;        /* steps that admission is behind the pace of the cache; below 0: ahead */
    bool is_open;       /* a group of sequences is coming in */
    bool has_preempted; /* in the step being planned */
    bool is_checked, is_held;

    struct ant_step steps[ANT_MAX_STEPS_IN_FLIGHT]; /* a circle */
    int oldest, n_in_flight;
};

static int pages_for(int tokens)
{
    return (tokens + ANT_PAGE_TOKENS - 1) / ANT_PAGE_TOKENS;
}

static int n_known(const struct ant_request *request)
{
    return request->n_prompt + (int)request->output.len;
}

static int n_tokens(const struct sequence *sequence)
{
    return sequence->request->n_prompt + sequence->n_drawn;
}

static bool is_whole(const struct ant_request *request)
{
    return request->whole != ANT_FINISH_NONE;
}

/* Rows to be computed before a token is drawn; of an answer that is whole, all that ever are. */
static int n_wanted(const struct sequence *sequence)
{
    return n_tokens(sequence) - is_whole(sequence->request);
}

/* The first row whose logits are wanted: before the first token without a log probability, or the
 * one that draws; of an answer that is whole, its last, which ends it. */
static int first_wanted(const struct ant_request *request)
{
    if (request->has_prompt_logprobs && request->prompt_logprobs.n < (uint32_t)request->n_prompt)
        return (int)request->prompt_logprobs.n - 1;
    if (request->has_logprobs)
        return request->n_prompt + (int)request->logprobs.n - 1;
    return n_known(request) - 1 - is_whole(request);
}

static int32_t known_token(const struct ant_request *request, int t)
{
    return t < request->n_prompt ? request->prompt[t] : request->output.data[t - request->n_prompt];
}

/* ---- opening --------------------------------------------------------------------------------- */

struct ant_sched *ant_sched_open(const struct ant_engine_config *config)
{
    struct ant_sched *sched = ant_xcalloc(1, sizeof(*sched));
    size_t seqs = (size_t)config->max_seqs, most = (size_t)pages_for(config->max_context);
    const char *check = getenv("ANTIPHON_CHECK");

    sched->config = *config;
    if (sched->config.max_sampled == 0)
        sched->config.max_sampled = config->max_seqs;
    sched->is_checked = check && *check == '1';
    sched->running = ant_xcalloc(seqs, sizeof(*sched->running));
    for (size_t i = 0; i < seqs; i++)
        sched->running[i].pages = ant_xcalloc(most, sizeof(int32_t));
    sched->leaving = ant_xcalloc(2 * seqs, sizeof(*sched->leaving));
    sched->pages = ant_pages_open(config->n_pages);
    sched->outlook = ant_outlook_open((int)most);
    for (int i = 0; i < ANT_MAX_STEPS_IN_FLIGHT; i++)
        ant_step_open(&sched->steps[i], &sched->config);
    return sched;
}

void ant_sched_close(struct ant_sched *sched)
{
    if (!sched)
        return;
    for (int i = 0; i < sched->n_running; i++)
        ant_request_free(sched->running[i].request);
    for (int i = 0; i < sched->n_leaving; i++)
        ant_request_free(sched->leaving[i].request);
    ant_queue_release(&sched->waiting);
    for (int i = 0; i < sched->config.max_seqs; i++)
        free(sched->running[i].pages);
    for (int i = 0; i < ANT_MAX_STEPS_IN_FLIGHT; i++)
        ant_step_close(&sched->steps[i]);
    ant_pages_close(sched->pages);
    ant_outlook_close(sched->outlook);
    free(sched->running);
    free(sched->leaving);
    free(sched);
}

void ant_sched_add(struct ant_sched *sched, struct ant_request *request)
{
    ant_queue_push_back(&sched->waiting, request);
}

/* ---- pages ----------------------------------------------------------------------------------- */

/* Give the sequence pages for `tokens` tokens. False, and nothing changed, when too few are left.
 */
static bool take_pages(struct ant_sched *sched, struct sequence *sequence, int tokens)
{
    int wanted = pages_for(tokens) - sequence->n_pages;

    if (wanted > ant_pages_available(sched->pages))
        return false;
    while (wanted-- > 0)
        sequence->pages[sequence->n_pages++] = ant_pages_take(sched->pages);
    return true;
}

static void give_pages(struct ant_sched *sched, struct sequence *sequence)
{
    while (sequence->n_pages > 0)
        ant_pages_give(sched->pages, sequence->pages[--sequence->n_pages]);
}

/* The tokens of a page. */
static void page_tokens(const struct ant_request *request, int page, int32_t out[ANT_PAGE_TOKENS])
{
    for (int i = 0; i < ANT_PAGE_TOKENS; i++)
        out[i] = known_token(request, page * ANT_PAGE_TOKENS + i);
}

static int32_t page_before(const struct sequence *sequence, int page)
{
    return page > 0 ? sequence->pages[page - 1] : ANT_NO_PAGE;
}

/* Let others find the pages that the first `tokens` tokens fill. */
static void publish_pages(struct ant_sched *sched, struct sequence *sequence, int tokens)
{
    int32_t held[ANT_PAGE_TOKENS];

    if (sched->config.no_prefix_sharing)
        return;
    for (int i = sequence->n_published; i < tokens / ANT_PAGE_TOKENS; i++) {
        page_tokens(sequence->request, i, held);
        if (!ant_pages_publish(sched->pages, sequence->pages[i], page_before(sequence, i), held))
            return;
        sequence->n_published++;
    }
}

/* Take the pages that others have filled with the same tokens, up to the first row whose logits are
 * wanted. */
static void share_pages(struct ant_sched *sched, struct sequence *sequence)
{
    int32_t held[ANT_PAGE_TOKENS], page;

    for (int i = 0; i < sequence->first_wanted / ANT_PAGE_TOKENS; i++) {
        page_tokens(sequence->request, i, held);
        page = ant_pages_share(sched->pages, page_before(sequence, i), held);
        if (page == ANT_NO_PAGE)
            break;
        sequence->pages[sequence->n_pages++] = page;
    }
    sequence->n_published = sequence->n_shared = sequence->n_pages;
    sequence->n_cached = sequence->n_pages * ANT_PAGE_TOKENS;
}

/* Take running[i] out, its pages given back; *out becomes it without pages. */
static void remove_running(struct ant_sched *sched, int i, struct sequence *out)
{
    struct sequence *sequence = &sched->running[i], *last = &sched->running[sched->n_running - 1];

    give_pages(sched, sequence);
    struct sequence removed = *sequence;
    memmove(sequence, sequence + 1, (size_t)(last - sequence) * sizeof(*sequence));
    last->pages = removed.pages;
    sched->n_running--;
    removed.pages = NULL;
    *out = removed;
}

/* ---- planning -------------------------------------------------------------------------------- */

static void preempt_youngest(struct ant_sched *sched)
{
    struct sequence *youngest = &sched->running[sched->n_running - 1], removed;
    int known = n_known(youngest->request);

    publish_pages(sched, youngest, youngest->n_cached < known ? youngest->n_cached : known);
    remove_running(sched, sched->n_running - 1, &removed);
    ant_queue_push_front(&sched->waiting, removed.request);
    sched->preemptions++;
    sched->has_preempted = true;
}

static bool is_decoding(const struct sequence *sequence)
{
    return sequence->n_cached >= sequence->request->n_prompt &&
           n_tokens(sequence) - sequence->n_cached == 1 && !is_whole(sequence->request);
}

/* Its newest token is not known yet. */
static bool is_drawing(const struct sequence *sequence)
{
    return sequence->n_drawn > (int)sequence->request->output.len;
}

/* A draw of it depends on all tokens before, and the newest is not known yet. */
static bool must_wait(const struct sequence *sequence)
{
    return is_decoding(sequence) && is_drawing(sequence) && ant_edits_look_back(sequence->request);
}

/* The longest that an answer may become. */
static int longest_answer(const struct ant_sched *sched, const struct ant_request *request)
{
    int room = sched->config.max_context - request->n_prompt;

    return request->sampling.max_tokens < room ? request->sampling.max_tokens : room;
}

/* One row of every sequence that decodes, taking pages from the youngest where they are short. */
static int plan_rows(struct ant_sched *sched, struct ant_step *step)
{
    int rows = 0;

    for (int i = 0; i < sched->n_running; i++) {
        struct sequence *sequence = &sched->running[i];
        sequence->n_planned = 0;
        if (!is_decoding(sequence) || rows == sched->config.max_step_rows ||
            (must_wait(sequence) && !sched->config.opens_steps))
            continue;
        while (i < sched->n_running && !take_pages(sched, sequence, sequence->n_cached + 1))
            preempt_youngest(sched); /* it may be this one: then it is gone */
        if (i == sched->n_running)
            break;
        sequence->n_planned = 1;
        step->is_open |= must_wait(sequence);
        rows++;
    }
    return rows;
}

/* Guess at most `room` tokens of a sequence that decodes. None where a draw depends on the tokens
 * before it: it would be told wrong ones. */
static int plan_drafts(struct ant_sched *sched, struct sequence *sequence, int room)
{
    const struct ant_request *request = sequence->request;
    int left = longest_answer(sched, request) - sequence->n_drawn - 1;
    int most = sequence->reach < room ? sequence->reach : room;

    most = most < left ? most : left;
    if (most < 1 || ant_edits_look_back(request))
        return 0;
    int n = ant_lookup(request, sequence->drafts, most);
    if (n > 0 && take_pages(sched, sequence, sequence->n_cached + 1 + n))
        sequence->n_drafts = n;
    sequence->n_planned += sequence->n_drafts;
    sched->drafted += sequence->n_drafts;
    return sequence->n_drafts;
}

static int plan_decodes(struct ant_sched *sched, struct ant_step *step)
{
    const struct ant_engine_config *config = &sched->config;
    int rows = plan_rows(sched, step), most = config->draft_rows;

    if (config->n_drafts == 0 || rows == 0 || sched->n_in_flight > 0)
        return rows;
    most = most < config->max_step_rows ? most : config->max_step_rows;
    most = most < config->max_sampled ? most : config->max_sampled;
    for (int i = 0; i < sched->n_running && rows < most; i++)
        if (sched->running[i].n_planned > 0)
            rows += plan_drafts(sched, &sched->running[i], most - rows);
    return rows;
}

/* By how many tokens to expect the sequence to grow. One that ends by length alone will reach it.
 * Others are taken to end at any time with the same chance, once in `mean` tokens: of many of x
 * tokens, exp(-t / mean) are left after t more, so that together they are largest when each has
 * gained mean - x, and then as if each had grown by mean * exp(x / mean - 1) - x of now. */
static int expected_growth(const struct ant_sched *sched, const struct sequence *sequence)
{
    const struct ant_request *request = sequence->request;
    const struct ant_stops *stops = request->stops;
    int left = longest_answer(sched, request) - sequence->n_drawn;
    bool may_end = request->constraint || stops->n_strings > 0 || stops->n_ids > stops->n_eos ||
                   (stops->n_eos > 0 && !request->sampling.ignore_eos) ||
                   request->sampling.max_repeats > 0;

    if (is_whole(request))
        return 0;
    if (!may_end || sched->n_ended == 0)
        return left;
    double mean = (double)sched->n_drawn / (double)sched->n_ended, now = n_tokens(sequence);
    double growth = now < mean ? mean * exp(now / mean - 1) - now : 0;
    return growth < left ? (int)growth : left;
}

/* Ask the outlook about the sequences that run; *shared: pages that several of them have, which
 * are there all along. */
static void look_at_running(struct ant_sched *sched, int *shared)
{
    *shared = sched->config.n_pages - ant_pages_available(sched->pages);
    ant_outlook_clear(sched->outlook);
    for (int i = 0; i < sched->n_running; i++) {
        const struct sequence *it = &sched->running[i];
        int own = it->n_pages - it->n_shared, end = n_tokens(it) + expected_growth(sched, it);
        *shared -= own;
        ant_outlook_add(sched->outlook, own, pages_for(end) - it->n_pages);
    }
}

/* And about one that would come to them. */
static void look_at_newcomer(struct ant_sched *sched, const struct sequence *it)
{
    int now = pages_for(n_tokens(it)), end = n_tokens(it) + expected_growth(sched, it);

    ant_outlook_add(sched->outlook, now - it->n_shared, pages_for(end) - now);
}

/* Pages at the worst moment to come. Sequences turn their pages at different steps: half a page
 * more for each than if all did at once. */
static int worst_moment(const struct ant_sched *sched, int shared, int n_newcomers)
{
    return shared + ant_outlook_peak(sched->outlook) + (sched->n_running + n_newcomers) / 2;
}

/* Would all that wait and may run fit beside those that run? */
static bool have_all_room(struct ant_sched *sched)
{
    int shared, n = sched->config.max_seqs - sched->n_running;

    n = n < sched->waiting.count ? n : sched->waiting.count;
    look_at_running(sched, &shared);
    for (int i = 0; i < n; i++) {
        struct ant_request *request = ant_queue_at(&sched->waiting, i);
        look_at_newcomer(
            sched, &(struct sequence){.request = request, .n_drawn = (int)request->output.len});
    }
    return worst_moment(sched, shared, n) <= sched->config.n_pages;
}

/* Will there be pages for the sequence, and for those that run to grow? Otherwise one of them would
 * have to be thrown out soon.
 *
 * Beyond half of the cache sequences come in at the pace at which it can let them through, unless
 * all that wait fit. If it were filled at once, answers of one length would all be at their longest
 * at once, fewer could run together, and those left over would run almost alone in the end, where
 * a step costs nearly as much as a full one. They come in groups that fill a step, whose products
 * are the fastest. */
static bool has_room(struct ant_sched *sched, const struct sequence *newest)
{
    int shared, growth = expected_growth(sched, newest), n_pages = sched->config.n_pages;
    double pages = pages_for(n_tokens(newest) + growth / 2) - newest->n_shared; /* on average */
    double share = pages * growth / n_pages; /* of the cache, in steps */
    double group = share * sched->config.max_step_rows / (n_tokens(newest) - newest->n_cached);

    sched->lead = fmax(fmin(sched->lead, group), -growth / 2); /* as far as is expected now */
    sched->is_open = sched->lead >= group || (sched->is_open && sched->lead >= 0);
    look_at_running(sched, &shared);
    look_at_newcomer(sched, newest);
    int worst = worst_moment(sched, shared, 1);
    if (worst > n_pages || (2 * worst > n_pages && !sched->is_open && !have_all_room(sched)))
        return false;
    sched->lead -= share;
    return true;
}

/* The request to be admitted next, brought to the queue's front: one that was thrown out, else the
 * one that may run longest, so that short ones are left to fill the end. NULL: none. */
static struct ant_request *bring_next(struct ant_sched *sched)
{
    struct ant_queue *queue = &sched->waiting;
    int longest = 0, at = 0;

    if (queue->count == 0)
        return NULL;
    for (int i = 0; i < queue->count && ant_queue_at(queue, 0)->output.len == 0; i++) {
        int length = longest_answer(sched, ant_queue_at(queue, i));
        if (length > longest) {
            longest = length;
            at = i;
        }
    }
    return ant_queue_bring(queue, at);
}

/* Admit a request if the cache has room for it, with a page to spare for each that runs. */
static bool admit(struct ant_sched *sched)
{
    struct sequence *sequence = &sched->running[sched->n_running];

    if (sched->is_held || sched->has_preempted || sched->n_running == sched->config.max_seqs)
        return false;
    struct ant_request *request = bring_next(sched);
    if (!request || request->finish != ANT_FINISH_NONE)
        return false;
    *sequence = (struct sequence){
        .request = request,
        .n_drawn = (int)request->output.len,
        .first_wanted = first_wanted(request),
        .reach = sched->config.n_drafts,
        .pages = sequence->pages,
    };
    share_pages(sched, sequence);
    int wanted = pages_for(n_tokens(sequence) + 1) - sequence->n_pages;
    if (sched->n_running > 0 && (wanted + sched->n_running > ant_pages_available(sched->pages) ||
                                 !has_room(sched, sequence))) {
        give_pages(sched, sequence);
        return false;
    }
    if (!take_pages(sched, sequence, n_tokens(sequence)))
        ant_die("a sequence of %d tokens was admitted to a cache of %d pages", n_tokens(sequence),
                sched->config.n_pages);
    sequence->key =
        ant_draw_key(request->sampling.seed, request->prompt, request->n_prompt, request->sample);
    sched->shared_tokens += sequence->n_cached;
    ant_queue_pop(&sched->waiting);
    sched->n_running++;
    return true;
}

/* Rows of the sequence that are computed without their logits, before those with. */
static int n_unwanted(const struct sequence *sequence)
{
    int n = sequence->first_wanted - sequence->n_cached;

    return n > 0 ? n : 0;
}

/* `samples` bounds the rows whose logits are wanted. */
static void plan_prefills(struct ant_sched *sched, int budget, int samples)
{
    int rows = 0;

    for (int i = 0; rows < budget && samples > 0; i++) {
        if (i == sched->n_running && !admit(sched))
            break;
        struct sequence *sequence = &sched->running[i];
        if (is_decoding(sequence))
            continue;
        int n = n_wanted(sequence) - sequence->n_cached, unwanted = n_unwanted(sequence), end;
        n = n < budget - rows ? n : budget - rows;
        n = n < unwanted + samples ? n : unwanted + samples;
        samples -= n > unwanted ? n - unwanted : 0;
        rows += n;
        sequence->n_planned = n;
        end = sequence->n_cached + n;
        publish_pages(sched, sequence,
                      end < sequence->request->n_prompt ? end : sequence->request->n_prompt);
    }
}

/* The row planned last draws the sequence's next token. */
static void emit_draw(struct ant_step *step, struct sequence *sequence)
{
    int n_ahead = sequence->n_drawn - (int)sequence->request->output.len; /* of the known tokens */
    int32_t guess = n_ahead < sequence->n_drafts ? sequence->drafts[n_ahead] : -1;

    sequence->drawn_at =
        ant_step_add_draw(step, sequence->request, sequence->key, sequence->n_drawn, guess);
    sequence->n_drawn++;
}

/* Known, guessed, or what the step before draws. */
static int32_t row_token(const struct sequence *sequence, int t, int known)
{
    if (t < known)
        return known_token(sequence->request, t);
    return sequence->n_drafts > 0 ? sequence->drafts[t - known] : ~sequence->drawn_at;
}

/* Write the planned rows of one sequence into the step. */
static void emit(const struct ant_sched *sched, struct ant_step *step, struct sequence *sequence)
{
    int end = sequence->n_cached + sequence->n_planned, known = n_known(sequence->request);
    int n = n_tokens(sequence);

    for (int t = sequence->n_cached; t < end; t++) {
        ant_step_add_row(step, row_token(sequence, t, known), t);
        if (t + 1 >= n)
            emit_draw(step, sequence);
        else if (t >= sequence->first_wanted)
            ant_step_add_given(step, sequence->request, t + 1,
                               known_token(sequence->request, t + 1));
    }
    ant_step_end_sequence(step, end, sequence->pages, pages_for(end), sched->config.first_page);
    sequence->n_cached = end;
}

/* Nothing more is to be planned for the sequence: with what is being drawn its answer is as long as
 * it may be, or it is whole and what was wanted of it is under way. */
static bool is_planned(const struct ant_sched *sched, const struct sequence *sequence)
{
    if (is_whole(sequence->request))
        return sequence->n_cached == n_wanted(sequence);
    if (sequence->n_drafts > 0) /* nobody knows yet how far it has come */
        return false;
    return ant_stop_is_longest(sequence->request, sequence->n_drawn, sched->config.max_context);
}

static void let_go(struct ant_sched *sched)
{
    for (int i = sched->n_running - 1; i >= 0; i--) {
        if (is_planned(sched, &sched->running[i]))
            remove_running(sched, i, &sched->leaving[sched->n_leaving++]);
    }
}

/* Should the step wait for the one in flight? Guesses are made of tokens that are known. Sequences
 * whose draws depend on all tokens before them would be left out; if many were, they and the others
 * would make two halves of what could be one step, each of which takes nearly as long. A step that
 * waits loses what the host takes, a few hundredths. */
static bool should_wait(const struct ant_sched *sched)
{
    enum { FEW = 16 };
    int n_decoding = 0, n_waiting = 0, n_guessed = 0;

    if (sched->n_in_flight == 0)
        return false;
    for (int i = 0; i < sched->n_running; i++) {
        const struct sequence *sequence = &sched->running[i];
        n_decoding += is_decoding(sequence);
        n_waiting += must_wait(sequence) && !sched->config.opens_steps;
        n_guessed += sequence->n_drafts;
    }
    bool may_guess = sched->config.n_drafts > 0 && n_decoding <= sched->config.draft_rows;
    return n_guessed > 0 || (may_guess && n_decoding > 0) || n_waiting * FEW > n_decoding;
}

bool ant_sched_plan(struct ant_sched *sched, struct ant_batch *batch)
{
    struct ant_step *step =
        &sched->steps[(sched->oldest + sched->n_in_flight) % ANT_MAX_STEPS_IN_FLIGHT];

    if (sched->n_in_flight == ANT_MAX_STEPS_IN_FLIGHT)
        ant_die("a step more than %d was planned", ANT_MAX_STEPS_IN_FLIGHT);
    if (should_wait(sched))
        return false;
    sched->has_preempted = false;
    sched->lead++;
    ant_step_clear(step);
    step->decode_rows = plan_decodes(sched, step);
    plan_prefills(sched, sched->config.max_step_rows - step->decode_rows,
                  sched->config.max_sampled - step->decode_rows);
    for (int i = 0; i < sched->n_running; i++)
        if (sched->running[i].n_planned > 0)
            emit(sched, step, &sched->running[i]);
    if (step->n_rows == 0)
        return false;
    if (!step->is_open)
        ant_step_settle(step);
    let_go(sched);
    sched->n_drawn += step->n_drawn;
    sched->n_in_flight++;
    ant_step_batch(step, batch);
    return true;
}

void ant_sched_complete(struct ant_sched *sched, struct ant_batch *batch)
{
    struct ant_step *step = &sched->steps[sched->oldest];

    ant_step_settle(step);
    ant_step_batch(step, batch);
}

/* ---- after the step -------------------------------------------------------------------------- */

const struct ant_sample *ant_sched_sampled(const struct ant_sched *sched, int i)
{
    return &sched->steps[sched->oldest].samples[i];
}

/* Every page is accounted for; every sequence has the pages its cached tokens need. */
static void check(const struct ant_sched *sched)
{
    int *users = ant_xcalloc((size_t)sched->config.n_pages, sizeof(*users));

    for (int i = 0; i < sched->n_running; i++) {
        const struct sequence *sequence = &sched->running[i];
        if (pages_for(sequence->n_cached) > sequence->n_pages)
            ant_die("row %lld has %d tokens in %d pages", (long long)sequence->request->row,
                    sequence->n_cached, sequence->n_pages);
        for (int k = 0; k < sequence->n_pages; k++)
            users[sequence->pages[k]]++;
    }
    ant_pages_check(sched->pages, users);
    free(users);
}

/* Back to what has been drawn. Guesses that are right make for more of them, wrong ones for fewer.
 */
static void settle_drafts(struct ant_sched *sched, struct sequence *sequence)
{
    int n_wrong = sequence->n_drawn - (int)sequence->request->output.len;
    int n_right = sequence->n_drafts - n_wrong;

    sched->accepted += n_right;
    sched->n_drawn -= n_wrong;
    sequence->reach = n_wrong == 0 ? 2 * sequence->reach : n_right + 1;
    if (sequence->reach > sched->config.n_drafts)
        sequence->reach = sched->config.n_drafts;
    sequence->n_drawn -= n_wrong;
    sequence->n_cached -= n_wrong;
    sequence->n_drafts = 0;
}

void ant_sched_commit(struct ant_sched *sched)
{
    for (int i = 0; i < sched->n_running; i++)
        if (sched->running[i].n_drafts > 0)
            settle_drafts(sched, &sched->running[i]);
    sched->oldest = (sched->oldest + 1) % ANT_MAX_STEPS_IN_FLIGHT;
    sched->n_in_flight--;
    if (sched->is_checked)
        check(sched);
}

/* The sequence has ended: if another step draws for it already, nobody wants to know. */
static struct ant_request *drop_draw(struct ant_sched *sched, const struct sequence *sequence)
{
    sched->n_ended += sequence->request->finish != ANT_FINISH_LENGTH;
    if (is_drawing(sequence))
        sched->steps[sched->oldest].samples[sequence->drawn_at].request = NULL;
    return sequence->request;
}

struct ant_request *ant_sched_retire(struct ant_sched *sched)
{
    struct ant_queue *waiting = &sched->waiting;
    struct sequence ended;

    for (int i = 0; i < sched->n_leaving; i++) {
        ended = sched->leaving[i];
        if (ended.request->finish == ANT_FINISH_NONE)
            continue;
        sched->leaving[i] = sched->leaving[--sched->n_leaving];
        return drop_draw(sched, &ended);
    }
    for (int i = 0; i < sched->n_running; i++)
        if (sched->running[i].request->finish != ANT_FINISH_NONE) {
            remove_running(sched, i, &ended);
            return drop_draw(sched, &ended);
        }
    if (waiting->count > 0 && ant_queue_at(waiting, 0)->finish != ANT_FINISH_NONE)
        return ant_queue_pop(waiting); /* preempted while it drew its last token */
    return NULL;
}

void ant_sched_hold(struct ant_sched *sched)
{
    sched->is_held = true;
}

void ant_sched_each(const struct ant_sched *sched, void (*visit)(struct ant_request *, void *),
                    void *data)
{
    const struct ant_queue *queue = &sched->waiting;

    for (int i = 0; i < sched->n_running; i++)
        visit(sched->running[i].request, data);
    for (int i = 0; i < sched->n_leaving; i++)
        visit(sched->leaving[i].request, data);
    for (int i = 0; i < queue->count; i++)
        visit(ant_queue_at(queue, i), data);
}

void ant_sched_counts(const struct ant_sched *sched, struct ant_sched_counts *out)
{
    const struct ant_step *step = &sched->steps[sched->oldest];

    *out = (struct ant_sched_counts){
        .running = sched->n_running + sched->n_leaving,
        .waiting = sched->waiting.count,
        .pages_used = sched->config.n_pages - ant_pages_available(sched->pages),
        .decode_rows = step->decode_rows,
        .prefill_rows = step->n_rows - step->decode_rows,
        .n_sampled = step->n_sampled,
        .preemptions = sched->preemptions,
        .shared_tokens = sched->shared_tokens,
        .drafted = sched->drafted,
        .accepted = sched->accepted,
    };
}
