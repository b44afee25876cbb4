/* SPDX-License-Identifier: Apache-2.0 */
/* The way of every command that runs a model from its command line to a started engine, and back:
 * launch, plan, load, tear down. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/failpoint.h"
#include "base/log.h"
#include "base/mem.h"
#include "cli/run.h"

const char *const ant_run_backends[] = {"auto", "cpu", "cuda", NULL};
const char *const ant_run_kv_types[] = {"auto", "f32", "bf16", "fp8", NULL};
const char *const ant_run_weight_types[] = {"auto", "fp8", NULL};
const char *const ant_run_ep_scopes[] = {"replica", "job", NULL};
const char *const ant_run_loads[] = {"auto", "read", "broadcast", NULL};
const char *const ant_run_log_levels[] = {"error", "warn", "info", "debug", "trace", NULL};

void ant_run_set_defaults(struct run_settings *settings)
{
    *settings = (struct run_settings){
        .tp_size = 1,
        .pp_size = 1,
        .samples = 1,
        .partition = "modulo",
        .max_tokens = 256,
        .logprobs = -1,
        .speculate = "auto",
        .prompt_logprobs = -1,
        .temperature = 1,
        .top_p = 1,
        .typical_p = 1,
        .repetition_penalty = 1,
        .save_every = 10,
        .time_limit = "auto",
        .drain = 15,
        .margin = 30,
        .watchdog = 25,
        .progress = 30,
        .log_level = ANT_LOG_INFO,
    };
}

/* Rows of a step whose logits are computed, however few prompts are in flight: those of one prompt
 * may be wanted. */
enum { LEAST_SAMPLED = 64 };

/* ---- launch: who are the ranks --------------------------------------------------------------- */

/* Every rank must have been started with the same arguments. */
static struct ant_digest settings_digest(int argc, char **argv)
{
    struct ant_buf text = {0};

    for (int i = 1; i < argc; i++)
        ant_buf_add(&text, argv[i], strlen(argv[i]) + 1);
    struct ant_digest digest = ant_digest(text.data, text.len);
    ant_buf_release(&text);
    return digest;
}

static int exchange_cards(struct run *run, struct ant_error *err)
{
    struct ant_card card = {.settings = settings_digest(run->argc, run->argv)};

    card.address = (unsigned char *)ant_transport_address(run->transport, &card.address_bytes);
    return ant_job_exchange(run->job, &card, run->settings.watchdog, err);
}

/* The ranks of `rank`'s host that hold the same part of the model; the count comes back. */
static int list_twins(const struct run *run, int rank, int *out)
{
    const struct ant_card *cards = ant_job_cards(run->job);
    int replica = run->layout.tp_size * run->layout.pp_size, n = 0;

    for (int i = rank % replica; i < run->layout.world; i += replica)
        if (cards[i].node == cards[rank].node)
            out[n++] = i;
    return n;
}

/* Of all ranks that hold the same part the first of each host. */
static int list_hosts(struct run *run, int *out)
{
    const struct ant_card *cards = ant_job_cards(run->job);
    int replica = run->layout.tp_size * run->layout.pp_size, n = 0;

    for (int i = run->layout.rank % replica; i < run->layout.world; i += replica) {
        bool is_first = true;

        for (int k = 0; k < n; k++)
            is_first = is_first && cards[out[k]].node != cards[i].node;
        if (!is_first)
            continue;
        if (cards[i].node == cards[run->layout.rank].node)
            run->host = n;
        out[n++] = i;
    }
    return n;
}

static int open_groups(struct run *run, struct ant_error *err)
{
    const struct ant_card *cards = ant_job_cards(run->job);
    int rank = run->layout.rank, size = run->layout.world, n_local = 0;
    int *ranks = ant_xcalloc((size_t)size, sizeof(*ranks));

    for (int i = 0; i < size; i++)
        ranks[i] = i;
    int rc = ant_group_open(&run->world, run->transport, cards, ranks, size, rank, err);
    for (int i = 0; i < size; i++)
        if (cards[i].node == cards[rank].node)
            ranks[n_local++] = i;
    if (rc == 0)
        rc = ant_group_open(&run->node, run->transport, cards, ranks, n_local, rank, err);
    if (rc == 0)
        rc = ant_group_open(&run->twins, run->transport, cards, ranks, list_twins(run, rank, ranks),
                            rank, err);
    run->n_hosts = list_hosts(run, ranks);
    if (rc == 0 && run->n_hosts > 1 && ranks[run->host] == rank)
        rc = ant_group_open(&run->hosts, run->transport, cards, ranks, run->n_hosts, rank, err);
    free(ranks);
    return rc;
}

static int choose_ep(struct run *run, struct ant_error *err)
{
    static const enum ant_ep scopes[] = {ANT_EP_REPLICA, ANT_EP_JOB};
    const struct run_settings *settings = &run->settings;

    if (!settings->enable_ep && scopes[settings->ep_scope] == ANT_EP_JOB)
        return ant_fail(err, ANT_EUSAGE, "--ep-scope says nothing without --enable-ep");
    run->layout.ep = settings->enable_ep ? scopes[settings->ep_scope] : ANT_EP_NONE;
    return 0;
}

int ant_run_launch(struct run *run, struct ant_error *err)
{
    ANT_TRY(ant_store_start_first(ant_job_env_size(), err));
    ANT_TRY(ant_job_open(&run->job, err));
    ant_failpoint("launched", ant_job_rank(run->job));
    ANT_TRY(ant_transport_open(&run->transport, ant_job_size(run->job) == 1, err));
    ANT_TRY(exchange_cards(run, err));
    const struct ant_card *card = &ant_job_cards(run->job)[ant_job_rank(run->job)];
    ant_log_set_rank(card->rank, ant_job_size(run->job), card->node_name);
    ANT_TRY(ant_layout_init(&run->layout, card->rank, ant_job_size(run->job), run->settings.dp_size,
                            run->settings.tp_size, run->settings.pp_size, err));
    ANT_TRY(choose_ep(run, err));
    ANT_TRY(open_groups(run, err));
    ANT_TRY(ant_run_watch(run, err));
    ant_failpoint("met", run->layout.rank);
    bool may_be_gpu = strcmp(ant_run_backends[run->settings.backend], "cpu") != 0;
    return ant_parallel_open(&run->parallel, &run->layout, run->job, may_be_gpu, run->world,
                             ant_job_cards(run->job), START_TIMEOUT_S, err);
}

/* ---- memory: planned before anything is loaded ----------------------------------------------- */

/* The rank's fair part of its cores. */
static int default_threads(const struct ant_card *card)
{
    int threads = card->n_cores / card->cores_shared;

    return threads > 0 ? threads : 1;
}

/* Not even one sequence has room for its keys and values: `need` and `room` bytes a rank. */
static int fail_no_room(const struct run *run, double need, double room, double weights,
                        int sharers, struct ant_error *err)
{
    const struct ant_backend_facts *facts = &run->facts;
    const char *where = facts->is_host ? "host" : "GPU";
    double free_bytes = (double)facts->free_bytes;

    if (weights > free_bytes)
        return ant_fail(
            err, ANT_EUSAGE,
            "does not fit: %.3g GB of weights on a %s that has %.3g GB free: share them "
            "among more %ss (--tp-size, --pp-size), or take a quantized or smaller "
            "model",
            weights / 1e9, where, free_bytes / 1e9, where);
    return ant_fail(err, ANT_EUSAGE,
                    "does not fit: one sequence of %d tokens needs %.3g GB of KV cache, a rank has "
                    "room for %.3g GB (%.3g GB free on the %s, %.3g GB weights, shared by %d): "
                    "lower --max-model-len%s",
                    run->engine_config.max_context, need / 1e9, room > 0 ? room / 1e9 : 0.0,
                    free_bytes / 1e9, where, weights / 1e9, sharers,
                    run->settings.kv_memory > 0 ? ", or raise --kv-memory" : "");
}

/* Pages for every sequence in flight at full length, or as many as the memory allows: of the host,
 * whose ranks share it, or of the rank's device. */
static int plan_pages(struct run *run, int local_size, struct ant_error *err)
{
    const struct run_settings *settings = &run->settings;
    const struct ant_backend_facts *facts = &run->facts;
    struct ant_engine_config *config = &run->engine_config;
    int sharers = facts->is_host ? local_size : run->unit_ranks;
    double copies = facts->is_host ? (double)local_size / ant_group_size(run->twins) : sharers;
    double weights = copies * (double)(run->weight_bytes - run->own_weight_bytes) +
                     sharers * (double)run->own_weight_bytes;
    double left = ((double)facts->free_bytes - weights) / sharers - (double)facts->workspace_bytes;
    double share = left * facts->kv_share, page = (double)facts->kv_page_bytes;
    int each = (config->max_context + ANT_PAGE_TOKENS - 1) / ANT_PAGE_TOKENS;

    if (settings->kv_memory > 0 && (double)settings->kv_memory < left)
        share = (double)settings->kv_memory;
    else if (settings->kv_memory > 0)
        return ant_fail(err, ANT_EUSAGE,
                        "--kv-memory asks for %.3g GB a rank, %.3g GB are free for it (%.3g GB on "
                        "the %s, %.3g GB weights, shared by %d): lower it",
                        (double)settings->kv_memory / 1e9, left > 0 ? left / 1e9 : 0.0,
                        (double)facts->free_bytes / 1e9, facts->is_host ? "host" : "GPU",
                        weights / 1e9, sharers);
    double pages = (double)each * config->max_seqs;
    if (pages * page > share)
        pages = share / page;
    if (pages < each)
        return fail_no_room(run, each * page, share, weights, sharers, err);
    config->n_pages = (int)pages;
    return 0;
}

/* No two ranks of a host on one GPU, but for tests of layouts where there are fewer GPUs
 * (ANTIPHON_SHARE_GPU). Collective over the host. */
static int check_units(struct run *run, int local_rank, struct ant_error *err)
{
    int size = ant_group_size(run->node), rank = ant_group_rank(run->node);
    char mine[64] = "", (*all)[64] = ant_xcalloc((size_t)size, sizeof(*all));
    int rc = run->ops ? run->ops->unit(local_rank, mine, err) : 0;
    struct ant_error why;

    if (ant_group_all_gather(run->node, mine, sizeof(mine), all, START_TIMEOUT_S, &why) < 0)
        rc = ant_fail(err, ANT_EPEER, "%s", why.text);
    run->unit_ranks = 1;
    for (int i = 0; i < size && rc == 0 && *mine; i++) {
        if (i == rank || strcmp(all[i], mine) != 0)
            continue;
        run->unit_ranks++;
        if (!getenv("ANTIPHON_SHARE_GPU"))
            rc = ant_fail(err, ANT_EUSAGE,
                          "ranks %d and %d of this host would both use %s: give each rank a GPU "
                          "of its own (srun --gpus-per-task=1) or start fewer ranks",
                          i < rank ? i : rank, i < rank ? rank : i, mine);
    }
    free(all);
    return rc;
}

static int choose_backend(struct run *run, int local_rank, struct ant_error *err)
{
    bool wants_many = ant_arch_wants_many(ant_checkpoint_arch(run->checkpoint));
    struct run_settings *settings = &run->settings;
    struct ant_error why;
    int rc = ant_backend_choose(&run->ops, ant_run_backends[settings->backend], err);
    int units = check_units(run, local_rank, rc < 0 ? &why : err);

    if (rc == 0 && !settings->max_num_seqs)
        settings->max_num_seqs = wants_many ? run->ops->many_seqs : run->ops->default_seqs;
    if (rc == 0 && !settings->max_batched_tokens)
        settings->max_batched_tokens = run->ops->default_rows;
    return rc < 0 ? rc : units;
}

/* Guessed tokens are rows that others could have: worth it where a step of a few rows takes hardly
 * longer than that of one, waiting for the weights. */
static int plan_drafts(struct run *run, struct ant_error *err)
{
    enum { AUTO_DRAFTS = 7, AUTO_ROWS = 12 };
    struct ant_engine_config *config = &run->engine_config;
    const char *text = run->settings.speculate;
    char *end = NULL;

    config->n_drafts = run->facts.is_host ? AUTO_DRAFTS : 0;
    config->draft_rows = AUTO_ROWS;
    if (strcmp(text, "auto") == 0)
        return 0;
    config->n_drafts = 0;
    if (strcmp(text, "off") == 0)
        return 0;
    long n = strtol(text, &end, 10);
    if (end == text || *end || n < 1 || n > ANT_MOST_DRAFTS)
        return ant_fail(err, ANT_EUSAGE, "--speculate '%s' is neither auto nor off nor 1 to %d",
                        text, ANT_MOST_DRAFTS);
    config->n_drafts = (int)n;
    config->draft_rows = config->max_step_rows;
    return 0;
}

int ant_run_plan(struct run *run, struct ant_error *err)
{
    const struct run_settings *settings = &run->settings;
    const struct ant_arch *arch = ant_checkpoint_arch(run->checkpoint);
    const struct ant_card *card = &ant_job_cards(run->job)[run->layout.rank];
    struct ant_engine_config *config = &run->engine_config;

    if (settings->max_model_len > arch->context)
        return ant_fail(err, ANT_EUSAGE,
                        "--max-model-len %d is more than the %d the model was made for",
                        settings->max_model_len, arch->context);
    if (settings->is_fast && settings->weight_type != ANT_WEIGHT_FP8)
        return ant_fail(err, ANT_EUSAGE,
                        "--fast is for --weight-type fp8: nothing else is faster with it");
    config->max_context = settings->max_model_len ? settings->max_model_len : arch->context;
    ANT_TRY(choose_backend(run, card->local_rank, err));
    config->max_seqs = settings->max_num_seqs;
    config->max_step_rows = settings->max_batched_tokens;
    config->max_sampled = config->max_seqs > LEAST_SAMPLED ? config->max_seqs : LEAST_SAMPLED;
    if (config->max_sampled > config->max_step_rows)
        config->max_sampled = config->max_step_rows;
    config->no_prefix_sharing = settings->no_prefix_sharing;
    config->n_lanes = run->layout.pp_size;
    ANT_TRY(ant_shard_init(&run->shard, run->checkpoint, &run->layout, err));
    struct ant_backend_config backend = {
        .arch = &run->shard.arch,
        .parallel = &run->parallel,
        .vocab_start = run->shard.vocab_start,
        .spread = run->shard.experts.n > 1 ? &run->shard.experts : NULL,
        .max_rows = config->max_step_rows,
        .max_seqs = config->max_seqs,
        .max_sampled = config->max_sampled,
        .max_context = config->max_context,
        .n_threads = settings->threads ? settings->threads : default_threads(card),
        .binds_threads = settings->threads == 0 || settings->threads >= default_threads(card),
        .local_rank = card->local_rank,
        .kv_type = (enum ant_kv_type)settings->kv_type,
        .weight_type = (enum ant_weight_type)settings->weight_type,
        .is_fast = settings->is_fast,
        .times_operations = settings->times_operations,
    };
    run->settings.threads = backend.n_threads;
    ANT_TRY(run->ops->open(&run->be, &backend, err));
    run->ops->facts(run->be, &run->facts);
    config->steps_in_flight = run->layout.pp_size > 1 ? 1 : run->facts.steps_in_flight;
    config->opens_steps = run->layout.tp_size * run->layout.pp_size == 1 && run->facts.opens_steps;
    ANT_TRY(plan_drafts(run, err));
    ANT_TRY(ant_run_check_edits(run, &run->sampling, &run->rules, err));
    ANT_TRY(ant_run_check_logprobs(run, err));
    ANT_TRY(ant_run_check_constraint(run, err));
    run->weight_bytes =
        ant_model_weight_bytes(run->checkpoint, &run->shard, run->be, &run->own_weight_bytes);
    return plan_pages(run, card->local_size, err);
}

/* ---- weights and engine ---------------------------------------------------------------------- */

int ant_run_agree(struct run *run, int rc, struct ant_error *err)
{
    return ant_group_agree(run->world, rc, START_TIMEOUT_S, err);
}

/* The ranks of a replica keep the same sequences: as many as the one with the least room can. And
 * all read weights in one way: by broadcast where one of them finds them on a network, unless some
 * keep them on a host and some on a device. */
static int agree_on_load(struct run *run, struct ant_error *err)
{
    enum { AUTO, READ, BROADCAST }; /* of ant_run_loads */
    struct wish {
        int n_pages, is_broadcast, is_host;
    } *all = ant_xcalloc((size_t)run->layout.world, sizeof(*all));
    int replica = run->layout.tp_size * run->layout.pp_size;
    bool is_remote = ant_file_is_remote(ant_checkpoint_path(run->checkpoint));
    struct wish mine = {run->engine_config.n_pages,
                        run->settings.load == BROADCAST ||
                            (run->settings.load == AUTO && is_remote),
                        run->facts.is_host};
    int rc = ant_group_all_gather(run->world, &mine, sizeof(mine), all, START_TIMEOUT_S, err);

    for (int i = 0; i < run->layout.world && rc == 0; i++) {
        run->is_broadcast = run->is_broadcast || all[i].is_broadcast;
        if (i / replica == run->layout.dp_rank && all[i].n_pages < run->engine_config.n_pages)
            run->engine_config.n_pages = all[i].n_pages;
    }
    for (int i = 0; i < run->layout.world && rc == 0; i++)
        run->is_broadcast = run->is_broadcast && all[i].is_host == mine.is_host;
    free(all);
    return rc;
}

/* Devices share nothing: each of the ranks that hold the same part of the model is a reader. */
static int open_copies(struct run *run, struct ant_loading *loading, struct ant_error *err)
{
    const struct ant_layout *layout = &run->layout;
    int replica = layout->tp_size * layout->pp_size, n = layout->dp_size;
    int *ranks = ant_xcalloc((size_t)n, sizeof(*ranks));

    for (int i = 0; i < n; i++)
        ranks[i] = i * replica + layout->rank % replica;
    int rc = ant_group_open(&loading->hosts, run->transport, ant_job_cards(run->job), ranks, n,
                            layout->rank, err);
    free(ranks);
    loading->host = layout->dp_rank;
    loading->n_hosts = run->n_hosts = n;
    return rc;
}

static int load_model(struct run *run, struct ant_error *err)
{
    bool has_copies = !run->facts.is_host && run->is_broadcast && run->layout.dp_size > 1;
    struct ant_loading loading = {
        .twins = run->twins,
        .host = run->host,
        .n_hosts = run->is_broadcast ? run->n_hosts : 0,
        .hosts = run->hosts,
        .id = &run->parallel.copies_id,
        .n_threads = run->settings.threads,
    };

    if (has_copies)
        ANT_TRY(open_copies(run, &loading, err));
    int rc = ant_model_load(&run->model, run->checkpoint, &run->shard, &run->parallel, run->be,
                            &loading, err);
    if (has_copies)
        ant_group_close(loading.hosts);
    return rc;
}

int ant_run_load(struct run *run, struct ant_error *err)
{
    double start = ant_now();

    ant_run_doing(run, RUN_LOADS);
    ANT_TRY(agree_on_load(run, err));
    ant_failpoint("loading", run->layout.rank);
    int rc = load_model(run, err);
    if (rc == 0)
        rc = run->ops->kv_open(run->be, run->engine_config.n_pages, err);
    /* Only when all are ready: the engines of a replica wait for one another. */
    ANT_TRY(ant_run_agree(run, rc, err));
    rc = ant_engine_start(&run->engine, run->model, run->tokenizer, &run->engine_config, err);
    run->load_s = ant_now() - start;
    return rc == ANT_EIO ? ANT_EPEER : rc; /* a thread that one rank alone cannot have */
}

/* ---- the end --------------------------------------------------------------------------------- */

void ant_run_tear_down(struct run *run)
{
    ant_engine_stop(run->engine);
    ant_model_close(run->model);
    if (run->be)
        run->ops->close(run->be);
    ant_journal_close(run->journal);
    ant_journal_release();
    ant_work_close(run->work);
    ant_counters_close(run->counters);
    ant_deal_close(run->deal);
    ant_chat_close(run->chat);
    ant_run_release_constraints(run);
    ant_prompts_close(run->prompts);
    ant_tokenizer_close(run->tokenizer);
    ant_checkpoint_close(run->checkpoint);
    ant_journal_index_release(&run->earlier);
    ant_journal_reader_close(run->reader);
    ant_run_pulse_stop(run);
    ant_run_trace_stop(run);
    ant_run_release_rules(run);
    free(run->part_path);
    free(run->answers);
    free(run->settings_json);
    ant_store_stop();
    ant_parallel_close(&run->parallel);
    ant_group_close(run->hosts);
    ant_group_close(run->twins);
    ant_group_close(run->node);
    ant_group_close(run->world); /* waits for all: then all hearts stop together */
    ant_heart_close(run->heart);
    ant_transport_close(run->transport);
    ant_job_close(run->job);
    free(run->settings.stop.items);
    free(run->settings.stop_ids.items);
}
