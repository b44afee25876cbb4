/* SPDX-License-Identifier: Apache-2.0 */
/* Who answers what: the facts about the rows are read by rank 0, dealt, and given to all. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "cli/run.h"
#include "job/plugin.h"

/* What --partition length takes a row to cost: its prompt's tokens at once, and its answer's one by
 * one, each as dear as this many of the prompt's. About four bytes of text are a token. */
enum { TOKEN_COST = 4, TOKEN_BYTES = 4 };

static const char *const names[] = {"modulo", "block", "length", "rank"};
static const char plugin_prefix[] = "plugin:";

int ant_run_parse_partition(struct run *run, struct ant_error *err)
{
    const char *text = run->settings.partition;

    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
        if (strcmp(text, names[i]) == 0) {
            run->partition = (enum ant_partition)i;
            return 0;
        }
    run->partition = ANT_PARTITION_PLUGIN;
    if (strncmp(text, plugin_prefix, strlen(plugin_prefix)) != 0 || !text[strlen(plugin_prefix)])
        return ant_fail(err, ANT_EUSAGE,
                        "--partition '%s' is not one of: modulo, block, length, rank, plugin:PATH",
                        text);
    return 0;
}

/* What rank 0 knows of the rows of this job; each owned, NULL where it does not matter. */
struct facts {
    int64_t first, n;
    double *priority;
    int64_t *size, *max_tokens;
    int32_t *rank;
    uint8_t *is_done;
};

static void release(struct facts *facts)
{
    free(facts->priority);
    free(facts->size);
    free(facts->max_tokens);
    free(facts->rank);
    free(facts->is_done);
}

static int read_sizes(struct run *run, struct facts *facts, struct ant_error *err)
{
    facts->size = ant_xcalloc((size_t)facts->n + 1, sizeof(*facts->size));
    facts->max_tokens = ant_xcalloc((size_t)facts->n + 1, sizeof(*facts->max_tokens));
    ANT_TRY(ant_prompts_sizes(run->prompts, facts->first, facts->n, facts->size, facts->max_tokens,
                              err));
    for (int64_t i = 0; i < facts->n; i++)
        if (facts->max_tokens[i] < 0)
            facts->max_tokens[i] = run->settings.max_tokens;
    return 0;
}

static int ask_plugin(struct run *run, struct facts *facts, struct ant_error *err)
{
    if (!facts->priority)
        facts->priority = ant_xcalloc((size_t)facts->n + 1, sizeof(*facts->priority));
    facts->rank = ant_xcalloc((size_t)facts->n + 1, sizeof(*facts->rank));
    struct antiphon_rows rows = {
        .version = ANTIPHON_PARTITION_VERSION,
        .n_replicas = run->layout.dp_size,
        .first_row = facts->first,
        .n_rows = facts->n,
        .prompt_size = facts->size,
        .max_tokens = facts->max_tokens,
        .priority = facts->priority,
        .replica = facts->rank,
    };
    return ant_plugin_partition(run->settings.partition + strlen(plugin_prefix), &rows, err);
}

/* Rows with all their samples done are no work. */
static void mark_done(const struct run *run, struct facts *facts)
{
    const struct ant_journal_entry *entries = run->earlier.entries;
    int n = 0;

    if (run->earlier.n > 0)
        facts->is_done = ant_xcalloc((size_t)facts->n + 1, 1);
    for (size_t i = 0; i < run->earlier.n; i++) {
        n = i > 0 && entries[i].row == entries[i - 1].row ? n + 1 : 1;
        facts->is_done[entries[i].row - facts->first] = n == run->settings.samples;
    }
}

static int read_facts(struct run *run, struct facts *facts, struct ant_error *err)
{
    size_t n = (size_t)facts->n + 1;

    mark_done(run, facts);
    if (ant_prompts_have_priority(run->prompts)) {
        facts->priority = ant_xcalloc(n, sizeof(*facts->priority));
        ANT_TRY(ant_prompts_priorities(run->prompts, facts->first, facts->n, facts->priority, err));
    }
    if (run->partition == ANT_PARTITION_RANK) {
        facts->rank = ant_xcalloc(n, sizeof(*facts->rank));
        ANT_TRY(ant_prompts_ranks(run->prompts, facts->first, facts->n, facts->rank, err));
    }
    if (run->partition == ANT_PARTITION_LENGTH || run->partition == ANT_PARTITION_PLUGIN)
        ANT_TRY(read_sizes(run, facts, err));
    return run->partition == ANT_PARTITION_PLUGIN ? ask_plugin(run, facts, err) : 0;
}

/* Sizes become costs, where they are. */
static int64_t *predict_costs(struct facts *facts, int bytes_a_token)
{
    const int64_t most = INT64_C(1) << 30; /* a sum over all rows must not overflow */

    for (int64_t i = 0; i < facts->n; i++) {
        int64_t cost = facts->size[i] / bytes_a_token +
                       TOKEN_COST * (facts->max_tokens[i] < most ? facts->max_tokens[i] : most);
        facts->size[i] = cost < most ? cost : most;
    }
    return facts->size;
}

static int deal_rows(struct run *run, struct ant_deal **out, struct ant_error *err)
{
    struct facts facts = {.first = run->part.first_row, .n = run->n_rows};
    int unit = ant_prompts_are_tokens(run->prompts) ? 1 : TOKEN_BYTES;
    int rc = read_facts(run, &facts, err);

    if (rc == 0) {
        struct ant_deal_facts known = {
            .first = facts.first,
            .n = facts.n,
            .priority = facts.priority,
            .cost = run->partition == ANT_PARTITION_LENGTH ? predict_costs(&facts, unit) : NULL,
            .rank = facts.rank,
            .is_done = facts.is_done,
        };
        rc = ant_deal_open(out, run->partition, run->layout.dp_size, &known,
                           run->partition == ANT_PARTITION_RANK ? "the rank column"
                                                                : run->settings.partition,
                           err);
    }
    release(&facts);
    return rc;
}

int ant_run_share_deal(struct run *run, struct ant_error *err)
{
    bool is_first = run->layout.rank == 0;
    size_t n = 0;
    int64_t *words = is_first ? (int64_t *)ant_deal_words(run->deal, &n) : NULL;

    ANT_TRY(ant_group_broadcast(run->world, 0, &n, sizeof(n), START_TIMEOUT_S, err));
    if (!is_first)
        words = ant_xcalloc(n, sizeof(*words));
    int rc = ant_group_broadcast(run->world, 0, words, n * sizeof(*words), START_TIMEOUT_S, err);
    if (!is_first)
        run->deal = ant_deal_from_words(words, n);
    return rc;
}

int ant_run_deal(struct run *run, struct ant_error *err)
{
    static const struct ant_deal_facts nothing = {0};
    const struct ant_layout *layout = &run->layout;
    int rc = layout->rank == 0 ? deal_rows(run, &run->deal, err) : 0;

    ANT_TRY(ant_run_agree(run, rc, err));
    ANT_TRY(ant_run_share_deal(run, err));
    if (layout->dp_size > 1 && !run->settings.no_steal)
        ANT_TRY(ant_counters_open(&run->counters, run->transport, run->world, run->node,
                                  ant_job_cards(run->job), START_TIMEOUT_S, err));
    /* The other ranks of a replica help its first with its rows, and have none. */
    if (!ant_run_leads(run)) {
        ant_deal_close(run->deal);
        ANT_TRY(
            ant_deal_open(&run->deal, ANT_PARTITION_MODULO, layout->dp_size, &nothing, "", err));
    }
    run->work =
        ant_work_open(run->deal, layout->dp_rank, run->counters, layout->tp_size * layout->pp_size);
    return 0;
}
