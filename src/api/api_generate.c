/* SPDX-License-Identifier: Apache-2.0 */
/* Prompts from memory through the engine: the rows of a job without input and output files. */
#include "config.h"

#include <stdlib.h>

#include "api/api.h"
#include "base/mem.h"
#include "engine/stop.h"

#define NAP_S 0.05

struct generation {
    struct run *run;
    const struct antiphon_prompt *prompts;
    int64_t n;
    antiphon_partition_fn *partition;
    antiphon_answer_fn *take;
    void *user;
};

/* ---- which replica answers which prompt ------------------------------------------------------ */

static int ask_partition(const struct generation *g, double *priority, int32_t *replica,
                         struct ant_error *err)
{
    int64_t *sizes = ant_xcalloc(2 * (size_t)g->n + 1, sizeof(*sizes)), *most = sizes + g->n;
    char reason[160] = "";

    for (int64_t i = 0; i < g->n; i++) {
        const struct antiphon_prompt *prompt = &g->prompts[i];
        sizes[i] = (int64_t)(prompt->tokens ? prompt->n_tokens : prompt->bytes);
        most[i] = prompt->max_tokens ? prompt->max_tokens : g->run->sampling.max_tokens;
    }
    struct antiphon_rows rows = {
        .version = ANTIPHON_PARTITION_VERSION,
        .n_replicas = g->run->layout.dp_size,
        .n_rows = g->n,
        .prompt_size = sizes,
        .max_tokens = most,
        .priority = priority,
        .replica = replica,
    };
    int rc = g->partition(&rows, reason, sizeof(reason));
    free(sizes);
    return rc == 0 ? 0
                   : ant_fail(err, ANT_EUSAGE, "%.*s", (int)sizeof(reason) - 1,
                              *reason ? reason : "the partition failed without a reason");
}

static int deal(const struct generation *g, struct ant_error *err)
{
    struct run *run = g->run;
    double *priority = ant_xcalloc((size_t)g->n + 1, sizeof(*priority));
    int32_t *replica = ant_xcalloc((size_t)g->n + 1, sizeof(*replica));
    int rc = 0;

    for (int64_t i = 0; i < g->n; i++)
        priority[i] = g->prompts[i].priority;
    if (g->partition)
        rc = ask_partition(g, priority, replica, err);
    struct ant_deal_facts facts = {.n = g->n, .priority = priority, .rank = replica};
    if (rc == 0)
        rc = ant_deal_open(&run->deal, g->partition ? ANT_PARTITION_PLUGIN : ANT_PARTITION_MODULO,
                           run->layout.dp_size, &facts, "the partition", err);
    free(priority);
    free(replica);
    return rc;
}

/* ---- prompts in, answers out ----------------------------------------------------------------- */

static void give(const struct generation *g, int64_t i, const struct ant_request *request,
                 const struct ant_error *why)
{
    struct antiphon_answer answer = {.prompt = i, .finish = ant_finish_names[ANT_FINISH_ERROR]};
    struct ant_buf text = {0};

    if (why)
        answer.error = why->text;
    if (request) {
        ant_stop_text(request, g->run->tokenizer, &text);
        answer.finish = ant_finish_names[request->finish];
        answer.tokens = request->output.data;
        answer.n_tokens = request->output.len;
        answer.text = text.data;
        answer.bytes = text.len;
        answer.n_prompt_tokens = request->n_prompt;
    }
    g->take(&answer, g->user);
    ant_buf_release(&text);
}

/* NULL: it has been answered with the reason why it cannot be. */
static struct ant_request *make_request(const struct generation *g, int64_t i)
{
    const struct antiphon_prompt *from = &g->prompts[i];
    struct ant_request *request = NULL;
    struct ant_error why;
    struct ant_prompt prompt = {
        .row = i,
        .text = from->text,
        .text_bytes = from->bytes,
        .tokens = from->tokens,
        .n_tokens = from->n_tokens,
        .has = ANT_HAS_TEMPERATURE | ANT_HAS_SEED,
        .temperature = (double)from->temperature,
        .seed = from->seed,
        .max_tokens = from->max_tokens,
        .min_tokens = from->min_tokens,
        .top_k = from->top_k,
        .top_p = (double)from->top_p,
        .min_p = (double)from->min_p,
        .typical_p = (double)from->typical_p,
    };

    prompt.has |= from->max_tokens ? ANT_HAS_MAX_TOKENS : 0;
    prompt.has |= from->min_tokens ? ANT_HAS_MIN_TOKENS : 0;
    prompt.has |= from->top_k ? ANT_HAS_TOP_K : 0;
    prompt.has |= from->top_p != 0 ? ANT_HAS_TOP_P : 0;
    prompt.has |= from->min_p != 0 ? ANT_HAS_MIN_P : 0;
    prompt.has |= from->typical_p != 0 ? ANT_HAS_TYPICAL_P : 0;
    if (ant_run_request(g->run, &prompt, 0, &request, &why) < 0)
        give(g, i, NULL, &why);
    return request;
}

/* This replica's prompts, as many in the engine as it takes. */
static int answer(const struct generation *g, struct ant_error *err)
{
    struct run *run = g->run;
    int64_t n = ant_run_leads(run) ? ant_deal_count(run->deal, run->layout.dp_rank) : 0;
    int64_t i = 0, in_flight = 0;
    struct ant_request *next = NULL, *finished;
    int rc = 0;

    while (rc == 0 && (i < n || next || in_flight > 0)) {
        while (next || i < n) {
            if (!next)
                next = make_request(g, ant_deal_row(run->deal, run->layout.dp_rank, i++));
            if (next && !ant_engine_submit(run->engine, next))
                break;
            in_flight += next != NULL;
            next = NULL;
        }
        rc = ant_engine_take(run->engine, &finished, NAP_S, err);
        if (rc == 0 && finished) {
            give(g, finished->row, finished, NULL);
            ant_request_free(finished);
            in_flight--;
        }
    }
    ant_request_free(next);
    return rc;
}

static int check(const struct generation *g, struct ant_error *err)
{
    if (!g->take || g->n < 0 || (g->n > 0 && !g->prompts))
        return ant_fail(err, ANT_EUSAGE, "generate needs prompts and what takes their answers");
    return 0;
}

static int generate(const struct generation *g, struct ant_error *err)
{
    struct run *run = g->run;
    int rc = check(g, err);

    if (rc == 0 && run->layout.rank == 0)
        rc = deal(g, err);
    ANT_TRY(ant_group_agree(run->world, rc, API_PATIENCE_S, err));
    ANT_TRY(ant_run_share_deal(run, err));
    return ant_group_agree(run->world, answer(g, err), API_PATIENCE_S, err);
}

int antiphon_generate(struct antiphon *antiphon, const struct antiphon_prompt *prompts, int64_t n,
                      antiphon_partition_fn *partition, antiphon_answer_fn *take, void *user,
                      antiphon_text error)
{
    struct run *run = &antiphon->run;
    const struct generation g = {run, prompts, n, partition, take, user};
    struct ant_error err = {{0}};
    int rc = generate(&g, &err);

    ant_deal_close(run->deal);
    run->deal = NULL;
    return ant_api_result(rc, &err, error);
}
