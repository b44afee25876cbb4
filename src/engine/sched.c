/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "engine/sched.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"

/* A request in flight. Its tokens are the prompt and then the output; the first n_cached are in the
 * KV cache. */
struct sequence {
    struct ant_request *request;
    uint64_t key; /* of its random draws */
    int n_cached, n_planned;
    int32_t *pages;
    int n_pages;
};

/* Requests that wait, first come first served; a preempted one goes back to the front. */
struct queue {
    struct ant_request **items;
    int first, count, cap; /* a circle */
};

struct ant_sched {
    struct ant_engine_config config;
    struct sequence *running; /* oldest first */
    int n_running;
    struct queue waiting;
    int32_t *free_pages;
    int n_free;
    int64_t preemptions;
    bool is_checked;

    /* The planned step, as the arrays of struct ant_batch. */
    int32_t *tokens, *positions, *row_start, *context, *page_start, *pages, *sampled;
    struct ant_draw *draws;
    struct ant_request **sampled_requests;
    int n_rows, n_seqs, n_sampled, decode_rows, prefill_rows;
};

static void queue_grow(struct queue *queue)
{
    int cap = queue->cap ? 2 * queue->cap : 64;
    struct ant_request **items = ant_xcalloc((size_t)cap, sizeof(*items));

    for (int i = 0; i < queue->count; i++)
        items[i] = queue->items[(queue->first + i) % queue->cap];
    free(queue->items);
    *queue = (struct queue){items, 0, queue->count, cap};
}

static void queue_push_back(struct queue *queue, struct ant_request *request)
{
    if (queue->count == queue->cap)
        queue_grow(queue);
    queue->items[(queue->first + queue->count++) % queue->cap] = request;
}

static void queue_push_front(struct queue *queue, struct ant_request *request)
{
    if (queue->count == queue->cap)
        queue_grow(queue);
    queue->first = (queue->first + queue->cap - 1) % queue->cap;
    queue->items[queue->first] = request;
    queue->count++;
}

static struct ant_request *queue_pop(struct queue *queue)
{
    struct ant_request *request = queue->items[queue->first];

    queue->first = (queue->first + 1) % queue->cap;
    queue->count--;
    return request;
}

static int n_tokens(const struct ant_request *request)
{
    return request->n_prompt + (int)request->output.len;
}

static int32_t token_at(const struct ant_request *request, int i)
{
    return i < request->n_prompt ? request->prompt[i] : request->output.data[i - request->n_prompt];
}

static int pages_for(int tokens)
{
    return (tokens + ANT_PAGE_TOKENS - 1) / ANT_PAGE_TOKENS;
}

struct ant_sched *ant_sched_open(const struct ant_engine_config *config)
{
    struct ant_sched *sched = ant_xcalloc(1, sizeof(*sched));
    size_t rows = (size_t)config->max_step_rows, seqs = (size_t)config->max_seqs;
    const char *check = getenv("ANTIPHON_CHECK");

    sched->config = *config;
    sched->is_checked = check && *check == '1';
    sched->running = ant_xcalloc(seqs, sizeof(*sched->running));
    sched->free_pages = ant_xcalloc((size_t)config->n_pages, sizeof(*sched->free_pages));
    for (int i = 0; i < config->n_pages; i++)
        sched->free_pages[sched->n_free++] = config->n_pages - 1 - i;
    sched->tokens = ant_xcalloc(rows, sizeof(*sched->tokens));
    sched->positions = ant_xcalloc(rows, sizeof(*sched->positions));
    sched->row_start = ant_xcalloc(seqs + 1, sizeof(*sched->row_start));
    sched->context = ant_xcalloc(seqs, sizeof(*sched->context));
    sched->page_start = ant_xcalloc(seqs + 1, sizeof(*sched->page_start));
    sched->pages = ant_xcalloc((size_t)config->n_pages, sizeof(*sched->pages));
    sched->sampled = ant_xcalloc(seqs, sizeof(*sched->sampled));
    sched->draws = ant_xcalloc(seqs, sizeof(*sched->draws));
    sched->sampled_requests = ant_xcalloc(seqs, sizeof(struct ant_request *));
    return sched;
}

void ant_sched_close(struct ant_sched *sched)
{
    if (!sched)
        return;
    for (int i = 0; i < sched->n_running; i++) {
        ant_request_free(sched->running[i].request);
        free(sched->running[i].pages);
    }
    while (sched->waiting.count)
        ant_request_free(queue_pop(&sched->waiting));
    free(sched->waiting.items);
    free(sched->running);
    free(sched->free_pages);
    free(sched->tokens);
    free(sched->positions);
    free(sched->row_start);
    free(sched->context);
    free(sched->page_start);
    free(sched->pages);
    free(sched->sampled);
    free(sched->draws);
    free(sched->sampled_requests);
    free(sched);
}

void ant_sched_add(struct ant_sched *sched, struct ant_request *request)
{
    queue_push_back(&sched->waiting, request);
}

/* Give the sequence pages for `tokens` tokens. False, and nothing changed, when too few are free.
 */
static bool take_pages(struct ant_sched *sched, struct sequence *sequence, int tokens)
{
    int wanted = pages_for(tokens) - sequence->n_pages;

    if (wanted > sched->n_free)
        return false;
    if (wanted <= 0)
        return true;
    sequence->pages = ant_xrealloc(sequence->pages, (size_t)(sequence->n_pages + wanted),
                                   sizeof(*sequence->pages));
    while (wanted-- > 0)
        sequence->pages[sequence->n_pages++] = sched->free_pages[--sched->n_free];
    return true;
}

/* Remove running[i]; its pages are free again. */
static struct ant_request *remove_running(struct ant_sched *sched, int i)
{
    struct sequence *sequence = &sched->running[i];
    struct ant_request *request = sequence->request;

    while (sequence->n_pages > 0)
        sched->free_pages[sched->n_free++] = sequence->pages[--sequence->n_pages];
    free(sequence->pages);
    memmove(sequence, sequence + 1, (size_t)(sched->n_running - 1 - i) * sizeof(*sequence));
    sched->n_running--;
    return request;
}

static void preempt_youngest(struct ant_sched *sched)
{
    queue_push_front(&sched->waiting, remove_running(sched, sched->n_running - 1));
    sched->preemptions++;
}

static bool is_decoding(const struct sequence *sequence)
{
    const struct ant_request *request = sequence->request;

    return sequence->n_cached >= request->n_prompt && n_tokens(request) - sequence->n_cached == 1;
}

/* One row of every sequence that decodes, taking pages from the youngest where they are short. */
static int plan_decodes(struct ant_sched *sched)
{
    int rows = 0;

    for (int i = 0; i < sched->n_running; i++) {
        struct sequence *sequence = &sched->running[i];
        sequence->n_planned = 0;
        if (!is_decoding(sequence) || rows == sched->config.max_step_rows)
            continue;
        while (i < sched->n_running && !take_pages(sched, sequence, sequence->n_cached + 1))
            preempt_youngest(sched); /* it may be this one: then it is gone */
        if (i == sched->n_running)
            break;
        sequence->n_planned = 1;
        rows++;
    }
    return rows;
}

/* Admit the first in the queue if it leaves a free page for each sequence already running:
 * otherwise the next steps would have to throw it out again. */
static bool admit(struct ant_sched *sched)
{
    struct sequence *sequence = &sched->running[sched->n_running];

    if (sched->n_running == sched->config.max_seqs || sched->waiting.count == 0)
        return false;
    struct ant_request *request = sched->waiting.items[sched->waiting.first];
    int wanted = pages_for(n_tokens(request) + 1);
    if (wanted + sched->n_running > sched->n_free && sched->n_running > 0)
        return false;
    *sequence = (struct sequence){.request = queue_pop(&sched->waiting)};
    sequence->key =
        ant_draw_key(request->sampling.seed, request->prompt, request->n_prompt, request->sample);
    if (!take_pages(sched, sequence, n_tokens(request)))
        ant_die("a sequence of %d tokens was admitted to a cache of %d pages", n_tokens(request),
                sched->config.n_pages);
    sched->n_running++;
    return true;
}

static int plan_prefills(struct ant_sched *sched, int budget)
{
    int rows = 0;

    for (int i = 0; rows < budget; i++) {
        if (i == sched->n_running && !admit(sched))
            break;
        struct sequence *sequence = &sched->running[i];
        if (is_decoding(sequence))
            continue;
        int left = n_tokens(sequence->request) - sequence->n_cached;
        sequence->n_planned = left < budget - rows ? left : budget - rows;
        rows += sequence->n_planned;
    }
    return rows;
}

static void plan_draw(struct ant_sched *sched, const struct sequence *sequence)
{
    const struct ant_request *request = sequence->request;
    const struct ant_sampling *sampling = &request->sampling;
    struct ant_draw *draw = &sched->draws[sched->n_sampled];
    bool is_early = (int)request->output.len + 1 < sampling->min_tokens;
    int n_passed = sampling->ignore_eos ? request->stops->n_eos : 0;

    *draw = (struct ant_draw){
        .temperature = sampling->temperature,
        .top_p = sampling->top_p,
        .min_p = sampling->min_p,
        .top_k = sampling->top_k,
        .key = sequence->key,
        .position = request->output.len,
        .banned = request->stops->ids + n_passed,
        .n_banned = is_early ? request->stops->n_ids - n_passed : 0,
    };
    sched->sampled[sched->n_sampled] = sched->n_rows - 1;
    sched->sampled_requests[sched->n_sampled++] = sequence->request;
}

/* Write the planned rows of one sequence into the batch. */
static void emit(struct ant_sched *sched, const struct sequence *sequence)
{
    int end = sequence->n_cached + sequence->n_planned, n_pages = pages_for(end);
    int first_page = sched->page_start[sched->n_seqs];

    for (int t = sequence->n_cached; t < end; t++) {
        sched->tokens[sched->n_rows] = token_at(sequence->request, t);
        sched->positions[sched->n_rows++] = t;
    }
    memcpy(sched->pages + first_page, sequence->pages, (size_t)n_pages * sizeof(*sched->pages));
    sched->context[sched->n_seqs++] = end;
    sched->row_start[sched->n_seqs] = sched->n_rows;
    sched->page_start[sched->n_seqs] = first_page + n_pages;
    if (end == n_tokens(sequence->request))
        plan_draw(sched, sequence);
}

bool ant_sched_plan(struct ant_sched *sched, struct ant_batch *batch)
{
    sched->decode_rows = plan_decodes(sched);
    sched->prefill_rows = plan_prefills(sched, sched->config.max_step_rows - sched->decode_rows);
    sched->n_rows = sched->n_seqs = sched->n_sampled = 0;
    for (int i = 0; i < sched->n_running; i++)
        if (sched->running[i].n_planned > 0)
            emit(sched, &sched->running[i]);
    *batch = (struct ant_batch){
        .n_rows = sched->n_rows,
        .n_seqs = sched->n_seqs,
        .n_sampled = sched->n_sampled,
        .tokens = sched->tokens,
        .positions = sched->positions,
        .row_start = sched->row_start,
        .context = sched->context,
        .page_start = sched->page_start,
        .pages = sched->pages,
        .sampled = sched->sampled,
        .draws = sched->draws,
    };
    return sched->n_rows > 0;
}

struct ant_request *ant_sched_sampled(const struct ant_sched *sched, int i)
{
    return sched->sampled_requests[i];
}

/* Every page is free or owned by one sequence; every sequence has the pages its cached tokens need.
 */
static void check(const struct ant_sched *sched)
{
    char *owned = ant_xcalloc((size_t)sched->config.n_pages, 1);
    int n = 0;

    for (int i = 0; i < sched->n_free; i++, n++)
        if (owned[sched->free_pages[i]]++)
            ant_die("page %d is free twice", sched->free_pages[i]);
    for (int i = 0; i < sched->n_running; i++) {
        const struct sequence *sequence = &sched->running[i];
        if (pages_for(sequence->n_cached) > sequence->n_pages)
            ant_die("row %lld has %d tokens in %d pages", (long long)sequence->request->row,
                    sequence->n_cached, sequence->n_pages);
        for (int k = 0; k < sequence->n_pages; k++, n++)
            if (owned[sequence->pages[k]]++)
                ant_die("page %d has two owners", sequence->pages[k]);
    }
    if (n != sched->config.n_pages)
        ant_die("%d of %d pages are lost", sched->config.n_pages - n, sched->config.n_pages);
    free(owned);
}

void ant_sched_commit(struct ant_sched *sched)
{
    for (int i = 0; i < sched->n_running; i++) {
        sched->running[i].n_cached += sched->running[i].n_planned;
        sched->running[i].n_planned = 0;
    }
    if (sched->is_checked)
        check(sched);
}

struct ant_request *ant_sched_retire(struct ant_sched *sched)
{
    for (int i = 0; i < sched->n_running; i++)
        if (sched->running[i].request->finish != ANT_FINISH_NONE)
            return remove_running(sched, i);
    return NULL;
}

void ant_sched_each(const struct ant_sched *sched, void (*visit)(struct ant_request *, void *),
                    void *data)
{
    const struct queue *queue = &sched->waiting;

    for (int i = 0; i < sched->n_running; i++)
        visit(sched->running[i].request, data);
    for (int i = 0; i < queue->count; i++)
        visit(queue->items[(queue->first + i) % queue->cap], data);
}

void ant_sched_counts(const struct ant_sched *sched, struct ant_sched_counts *out)
{
    *out = (struct ant_sched_counts){
        .running = sched->n_running,
        .waiting = sched->waiting.count,
        .pages_used = sched->config.n_pages - sched->n_free,
        .decode_rows = sched->decode_rows,
        .prefill_rows = sched->prefill_rows,
        .preemptions = sched->preemptions,
    };
}
