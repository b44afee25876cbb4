/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "cli/plan.h"
#include "engine/sched.h"

/* A replica with more answers than so many is simulated with fewer, and the rest goes on at the
 * pace of the second half. */
enum { LEAST_SIMULATED = 1024, TIMES_IN_FLIGHT = 4 };

static const struct ant_stops no_stops;

/* The prompts of a lane: every `lanes`-th, as a run deals them, without one twice. */
struct deal {
    const struct plan_work *work;
    int lanes, round; /* round: so many until the first comes again */
};

static struct deal deal_out(const struct plan_work *work, int lanes)
{
    int a = work->n_items, b = lanes;

    while (b > 0) {
        int rest = a % b;
        a = b;
        b = rest;
    }
    return (struct deal){work, lanes, work->n_items / a};
}

static const struct plan_item *item_of(const struct deal *deal, int64_t i)
{
    int64_t row = i / deal->work->samples;

    return &deal->work->items[(row * deal->lanes + row / deal->round) % deal->work->n_items];
}

static struct ant_request *make_request(const struct deal *deal, int64_t i)
{
    const struct plan_item *item = item_of(deal, i);
    struct ant_request *request = ant_xcalloc(1, sizeof(*request));

    request->row = i;
    request->n_prompt = item->n_prompt;
    request->prompt = ant_xcalloc((size_t)item->n_prompt, sizeof(*request->prompt));
    memcpy(request->prompt, item->tokens, (size_t)item->n_prompt * sizeof(*request->prompt));
    request->sampling.max_tokens = item->most_output;
    request->stops = &no_stops;
    return request;
}

/* Every answer ends when it is as long as expected. */
static void draw(const struct ant_sched *sched, const struct deal *deal, int n_sampled,
                 struct plan_result *out)
{
    for (int i = 0; i < n_sampled; i++) {
        struct ant_request *request = ant_sched_sampled(sched, i)->request;
        if (!request)
            continue;
        ant_ids_add(&request->output, 1);
        out->output_tokens++;
        if ((int)request->output.len >= item_of(deal, request->row)->n_output)
            request->finish = ANT_FINISH_LENGTH;
    }
}

/* One lane of a replica, with `n` answers: the others' steps lie between its own. */
static void simulate(struct plan_result *out, const struct plan_memory *memory,
                     const struct plan_machine *machine, const struct plan_layout *layout,
                     const struct ant_engine_config *config, const struct deal *deal, int64_t n)
{
    struct ant_sched *sched = ant_sched_open(config);
    struct ant_sched_counts counts;
    struct ant_request *request;
    struct ant_batch batch;
    int64_t next = 0;

    *out = (struct plan_result){0};
    for (bool is_busy = true; is_busy;) {
        ant_sched_counts(sched, &counts);
        for (int i = counts.waiting; i < config->max_seqs && next < n; i++)
            ant_sched_add(sched, make_request(deal, next++));
        is_busy = ant_sched_plan(sched, &batch);
        if (!is_busy)
            break;
        out->seconds += layout->pp * ant_plan_step(&out->cost, memory, machine, layout, &batch);
        ant_sched_counts(sched, &counts);
        out->prompt_tokens += counts.prefill_rows;
        draw(sched, deal, batch.n_sampled, out);
        ant_sched_commit(sched);
        while ((request = ant_sched_retire(sched)))
            ant_request_free(request);
    }
    ant_sched_counts(sched, &counts);
    out->preemptions = counts.preemptions;
    ant_sched_close(sched);
}

void ant_plan_run(struct plan_result *out, const struct plan_memory *memory,
                  const struct plan_machine *machine, const struct plan_layout *layout,
                  const struct ant_engine_config *config, const struct plan_work *work)
{
    int lanes = layout->dp * layout->pp;
    int64_t n = (work->n + lanes - 1) / lanes, most;
    struct ant_engine_config lane = *config;
    struct deal deal = deal_out(work, layout->dp);
    struct plan_result half;

    lane.max_seqs = (config->max_seqs + layout->pp - 1) / layout->pp;
    lane.n_pages = (int)(memory->n_pages / layout->pp);
    most = (int64_t)TIMES_IN_FLIGHT * lane.max_seqs;
    most = most > LEAST_SIMULATED ? most : LEAST_SIMULATED;
    if (most > (int64_t)work->n_items * work->samples) /* a prompt twice would be shared */
        most = (int64_t)work->n_items * work->samples;
    simulate(out, memory, machine, layout, &lane, &deal, n < most ? n : most);
    if (n > most) {
        double more = (double)(n - most);
        simulate(&half, memory, machine, layout, &lane, &deal, most / 2);
        out->seconds += more * (out->seconds - half.seconds) / ((double)most / 2);
        out->prompt_tokens += more * (out->prompt_tokens - half.prompt_tokens) / ((double)most / 2);
        out->output_tokens += more * (out->output_tokens - half.output_tokens) / ((double)most / 2);
    }
    out->prompt_tokens *= (double)work->n / (double)n; /* some lanes may have nothing to do */
    out->output_tokens *= (double)work->n / (double)n;
}
