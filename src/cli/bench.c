/* SPDX-License-Identifier: Apache-2.0 */
/* antiphon bench: how fast a model runs here, and how far from the machine's limits that is. */
#include "config.h"

#include "cli/bench.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/checksum.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "cli/cli.h"

/* How long ranks may come apart before one is taken for dead. */
#define PATIENCE_S 3600
/* How long the loop sleeps at most for an answer. */
#define NAP_S 0.2
/* The same where rows of others may be on their way. */
#define SHORT_NAP_S 0.001
enum { WARM_UP_TOKENS = 16 };

struct bench_settings {
    struct run_settings run;
    const char *dummy, *works, *json, *tokenizer;
    int dummy_type, repeat, n, in, out;
    bool steals;
};

static const char *const dummy_types[] = {"bf16", "f16", "f32", "q8_0", "q4_0", NULL};
static const enum ant_type dummy_type_of[] = {ANT_BF16, ANT_F16, ANT_F32, ANT_Q8_0, ANT_Q4_0};

#define AT(member) offsetof(struct bench_settings, member)

static const struct ant_option options[] = {
    {ANT_OPTION_HEADING, .name = "What to measure"},
    {ANT_OPTION_TEXT, 'm', "model", "PATH", AT(run.model),
     .help = "GGUF file, or Hugging Face folder."},
    {ANT_OPTION_TEXT, 0, "dummy", "SHAPE", AT(dummy),
     .help = "Random weights instead: a config.json, a folder with one, or a known shape such as "
             "smollm2-135m, llama-3.1-8b, qwen2.5-0.5b."},
    {ANT_OPTION_CHOICE, 0, "dummy-type", "TYPE", AT(dummy_type), .choices = dummy_types,
     .help = "Of the random weights: bf16 (default), f16, f32, q8_0, q4_0."},
    {ANT_OPTION_TEXT, 'w', "work", "NAME[,NAME...]", AT(works),
     .help = "Workloads, see below. Default prefill,single,batch."},
    {ANT_OPTION_INT, 'r', "repeat", "N", AT(repeat), 1, 1000,
     .help = "Repetitions of each; the median is shown. Default 3."},
    {ANT_OPTION_INT, 0, "prompts", "N", AT(n), 0, 1 << 24,
     .help = "Prompts, instead of a workload's own number."},
    {ANT_OPTION_INT, 0, "in", "N", AT(in), 0, 1 << 24,
     .help = "Tokens of a prompt, instead of a workload's own number."},
    {ANT_OPTION_INT, 0, "out", "N", AT(out), 0, 1 << 24, .help = "Tokens of an answer, likewise."},
    {ANT_OPTION_TEXT, 0, "regex", "EXPRESSION", AT(run.regex),
     .help = "Hold answers to a shape, as antiphon run does: to see what that takes, let it be one "
             "that no answer ends early by."},
    {ANT_OPTION_TEXT, 0, "json-schema", "FILE", AT(run.json_schema), .help = "Likewise."},
    {ANT_OPTION_TEXT, 0, "tokenizer", "FILE", AT(tokenizer),
     .help = "A tokenizer.json: for shapes, which words random weights write with."},
    {ANT_OPTION_TEXT, 0, "json", "FILE", AT(json),
     .help = "Write the figures, each repetition's too, as JSON; - is standard output, without "
             "the table."},

    {ANT_OPTION_HEADING, .name = "How"},
    {ANT_OPTION_INT, 0, "dp-size", "N", AT(run.dp_size), 0, 1 << 20,
     .help = "Replicas of the model. Default: ranks / (tp * pp)."},
    {ANT_OPTION_INT, 0, "tp-size", "N", AT(run.tp_size), 1, 1024,
     .help = "Ranks that share each layer of a replica. Default 1."},
    {ANT_OPTION_INT, 0, "pp-size", "N", AT(run.pp_size), 1, 1024,
     .help = "Stages of a replica. Default 1."},
    {ANT_OPTION_FLAG, 0, "steal", NULL, AT(steals),
     .help = "A replica that is through takes prompts of others, as antiphon run does; else each "
             "answers every dp-th."},
    {ANT_OPTION_CHOICE, 0, "load", "HOW", AT(run.load), .choices = ant_run_loads,
     .help = "Weights: auto (default), read or broadcast, as for antiphon run."},
    {ANT_OPTION_FLAG, 0, "enable-ep", NULL, AT(run.enable_ep),
     .help = "Whole experts to each of the ranks that share a layer."},
    {ANT_OPTION_CHOICE, 0, "ep-scope", "WHO", AT(run.ep_scope), .choices = ant_run_ep_scopes,
     .help = "Experts are shared by the ranks of a replica (default) or of the job."},
    {ANT_OPTION_CHOICE, 0, "backend", "NAME", AT(run.backend), .choices = ant_run_backends,
     .help = "auto (default), cpu or cuda."},
    {ANT_OPTION_INT, 't', "threads", "N", AT(run.threads), 0, 4096,
     .help = "Compute threads of a rank. Default: its fair part of the cores."},
    {ANT_OPTION_INT, 0, "max-num-seqs", "N", AT(run.max_num_seqs), 1, 1 << 20,
     .help =
         "Prompts in flight at once on a rank. Default 256, on a GPU 1024, of mixtures and small "
         "models 2048."},
    {ANT_OPTION_INT, 0, "max-num-batched-tokens", "N", AT(run.max_batched_tokens), 1, 1 << 20,
     .help = "Most rows of one step. Default 512, on a GPU 8448."},
    {ANT_OPTION_FLAG, 0, "no-prefix-sharing", NULL, AT(run.no_prefix_sharing),
     .help = "Compute every prompt whole, also where it begins like another one."},
    {ANT_OPTION_BYTES, 0, "kv-memory", "BYTES", AT(run.kv_memory), 0, 1e18,
     .help = "Memory of a rank for the KV cache. Default: as for antiphon run."},
    {ANT_OPTION_CHOICE, 0, "kv-type", "TYPE", AT(run.kv_type), .choices = ant_run_kv_types,
     .help = "Elements of the KV cache; auto is bf16. fp8: on GPUs."},
    {ANT_OPTION_CHOICE, 0, "weight-type", "TYPE", AT(run.weight_type),
     .choices = ant_run_weight_types,
     .help = "Elements of the weights as they are multiplied: auto, or on Hopper GPUs fp8."},
    {ANT_OPTION_TEXT, 0, "speculate", "HOW", AT(run.speculate),
     .help = "As for antiphon run, but off by default: what random weights write goes round in "
             "circles, so that most guesses are right."},
    {ANT_OPTION_FLAG, 0, "fast", NULL, AT(run.is_fast), .help = "As for antiphon run."},
    {ANT_OPTION_FLAG, 0, "operations", NULL, AT(run.times_operations),
     .help =
         "Time products, attention and the rest apart: on a GPU operation by operation, without "
         "captured steps, which takes longer."},
    {ANT_OPTION_CHOICE, 0, "log-level", "LEVEL", AT(run.log_level), .choices = ant_run_log_levels,
     .help = "error, warn, info (default), debug or trace."},
    {0},
};

static const struct ant_command_help help = {
    .name = "bench",
    .summary = "measure how fast a model runs here",
    .synopsis = "(--model PATH | --dummy SHAPE) [options]",
    .purpose = "Measure how fast a model runs here, beside what the machine could do. Under srun "
               "each rank is a replica and answers its share.",
    .epilog = "Workloads: prompts x tokens of a prompt x tokens of an answer; tokens are random\n"
              "  batch    256 x 128 x 128     many prompts of one length\n"
              "  mix      256 x ~76 x ~230    lengths as in conversations (ShareGPT)\n"
              "  prefill    1 x 512 x 1       one prompt, one token of answer\n"
              "  single     1 x 128 x 128     one answer at a time\n"
              "  prefix   200 x 1032 x 32     prompts that begin with the same 1000 tokens\n"
              "  topp     256 x 128 x 128     batch with temperature 0.8, top-p 0.95\n"
              "  uneven     7 x 16 x 400      one answer of 400 tokens, the others of 4\n"
              "  W1      1000 x 1024 x 128    for GPUs: long prompts\n"
              "  W2      2000 x 128 x 128     batch\n"
              "  W3       512 x 128 x 1024    long answers\n"
              "  W4         1 x 128 x 256     one answer at a time\n"
              "  W5      2000 x 128 x 128     batch with temperature 0.8, top-p 0.95\n"
              "  W6      1000 x 1088 x 64     prompts that begin with the same 1024 tokens",
};

/* ---- what to measure ------------------------------------------------------------------------- */

static int add_work(struct bench *bench, const struct bench_settings *settings, const char *name,
                    size_t bytes, struct ant_error *err)
{
    int n;
    const struct bench_work *works = ant_bench_works(&n);

    for (int i = 0; i < n; i++) {
        if (strlen(works[i].name) != bytes || strncmp(works[i].name, name, bytes) != 0)
            continue;
        struct bench_result *result = &bench->results[bench->n_results++];
        struct bench_work *work = ant_xcalloc(1, sizeof *work);
        *work = works[i];
        work->n = settings->n ? settings->n : work->n;
        work->in = settings->in ? settings->in : work->in;
        work->out = settings->out ? settings->out : work->out;
        *result = (struct bench_result){.work = work};
        result->samples = ant_xcalloc((size_t)settings->repeat, sizeof *result->samples);
        return 0;
    }
    return ant_fail(err, ANT_EUSAGE, "--work '%.*s' is no workload (--help lists them)", (int)bytes,
                    name);
}

static int choose_works(struct bench *bench, const struct bench_settings *settings,
                        struct ant_error *err)
{
    bench->results = ant_xcalloc(strlen(settings->works) + 1, sizeof *bench->results);
    for (const char *at = settings->works; *at;) {
        size_t bytes = strcspn(at, ",");
        ANT_TRY(add_work(bench, settings, at, bytes, err));
        at += bytes + (at[bytes] == ',');
    }
    if (bench->n_results == 0)
        return ant_fail(err, ANT_EUSAGE, "--work names no workload");
    return 0;
}

/* What answers are held to, if anything: that needs to know the words. */
static int open_shape(struct run *run, const struct bench_settings *settings, struct ant_error *err)
{
    if (settings->tokenizer)
        ANT_TRY(ant_tokenizer_open_json(&run->tokenizer, settings->tokenizer, err));
    else if (!settings->dummy)
        ANT_TRY(ant_checkpoint_tokenizer(run->checkpoint, &run->tokenizer, err));
    if (!run->tokenizer && (run->settings.regex || run->settings.json_schema))
        return ant_fail(err, ANT_EUSAGE, "a shape of answers needs --model or --tokenizer");
    return ant_run_collect_constraint(run, err);
}

/* The model, and sequences as long as the longest workload needs. */
static int open_model(struct bench *bench, const struct bench_settings *settings,
                      struct ant_error *err)
{
    struct run *run = &bench->run;

    if (settings->dummy)
        ANT_TRY(ant_checkpoint_open_dummy(&run->checkpoint, settings->dummy,
                                          dummy_type_of[settings->dummy_type], err));
    else
        ANT_TRY(ant_checkpoint_open(&run->checkpoint, settings->run.model, err));
    ANT_TRY(open_shape(run, settings, err));
    int context = ant_checkpoint_arch(run->checkpoint)->context;
    for (int i = 0; i < bench->n_results; i++) {
        const struct bench_work *work = bench->results[i].work;
        int length = work->shared + work->in + work->out;
        if (length > context)
            return ant_fail(err, ANT_EUSAGE,
                            "workload %s has sequences of %d tokens, the model was made for %d",
                            work->name, length, context);
        if (length > run->settings.max_model_len)
            run->settings.max_model_len = length;
    }
    return 0;
}

static int set_up(struct bench *bench, const struct bench_settings *settings, struct ant_error *err)
{
    struct run *run = &bench->run;

    ANT_TRY(ant_run_agree(run, open_model(bench, settings, err), err));
    ANT_TRY(ant_run_agree(run, ant_run_plan(run, err), err));
    ANT_TRY(ant_run_load(run, err));
    ant_run_doing(run, RUN_WORKS);
    bench->ready_s = ant_now() - run->start;
    return 0;
}

/* ---- measuring ------------------------------------------------------------------------------- */

static struct ant_request *make_request(const struct bench *bench, const struct bench_work *work,
                                        int repetition, int i)
{
    static const struct ant_stops no_stops;
    struct ant_request *request = ant_xcalloc(1, sizeof *request);
    int vocab = ant_checkpoint_arch(bench->run.checkpoint)->vocab, n_output;

    request->row = i;
    ant_bench_lengths(work, i, &request->n_prompt, &n_output);
    request->prompt = ant_bench_prompt(work, vocab, repetition, i);
    request->sampling = (struct ant_sampling){
        .max_tokens = n_output,
        .temperature = work->temperature,
        .top_p = work->top_p,
        .typical_p = 1,
        .ignore_eos = true,
    };
    request->stops = &no_stops;
    ant_run_hold_constraint(&bench->run, &(struct ant_prompt){0}, &request->constraint, NULL);
    return request;
}

static void count_answer(struct bench_sample *sample, const struct ant_request *request,
                         double start)
{
    double seconds = request->t_done - request->t_first;

    sample->n++;
    sample->answers += ant_digest(request->output.data, request->output.len * sizeof(int32_t)).low *
                       (2 * (uint64_t)request->row + 1);
    sample->prompt_tokens += request->n_prompt;
    sample->output_tokens += (int64_t)request->output.len;
    sample->first_s += request->t_first - start;
    sample->stream += seconds > 0 ? (double)(request->output.len - 1) / seconds : 0;
    if (request->t_done - start > sample->wall_s)
        sample->wall_s = request->t_done - start;
}

/* The prompts of one measurement, as they are dealt to the replicas. */
struct round {
    const struct bench_work *work;
    int repetition;
    struct ant_deal *deal;
    struct ant_counters *counters; /* NULL: nobody steals */
    struct ant_work *rows;
    struct ant_request *next; /* owned: made, but the engine was full */
    int more;                 /* what is known of further prompts, as ant_work_next */
    int64_t in_flight;
};

/* Collective. The other ranks of a replica help its first, and have no prompts. */
static int open_round(struct round *round, const struct bench *bench, struct ant_error *err)
{
    const struct run *run = &bench->run;
    struct ant_deal_facts facts = {.n = ant_run_leads(run) ? round->work->n : 0};

    round->more = ANT_WORK_ROW;
    ANT_TRY(
        ant_deal_open(&round->deal, ANT_PARTITION_MODULO, run->layout.dp_size, &facts, "", err));
    if (bench->steals && run->layout.dp_size > 1)
        ANT_TRY(ant_counters_open(&round->counters, run->transport, run->world, run->node,
                                  ant_job_cards(run->job), PATIENCE_S, err));
    round->rows = ant_work_open(round->deal, run->layout.dp_rank, round->counters,
                                run->layout.tp_size * run->layout.pp_size);
    return 0;
}

static void close_round(struct round *round)
{
    ant_request_free(round->next);
    ant_work_close(round->rows);
    ant_counters_close(round->counters);
    ant_deal_close(round->deal);
}

/* How many prompts more the engine may have now: as many as it takes, or, where others could have
 * them, what it can begin soon. */
static int64_t room_for(const struct bench *bench, const struct round *round)
{
    int most = bench->run.engine_config.max_seqs;
    struct ant_engine_stats stats;

    if (!round->counters)
        return round->work->n;
    ant_engine_stats(bench->run.engine, &stats);
    return ant_work_ahead(round->rows, most) + stats.running - round->in_flight;
}

static int feed_engine(const struct bench *bench, struct round *round, struct ant_error *err)
{
    int64_t row;

    for (int64_t room = room_for(bench, round); room > 0; room--) {
        if (!round->next) {
            ANT_TRY(round->more = ant_work_next(round->rows, room, &row, err));
            if (round->more != ANT_WORK_ROW)
                return 0;
            round->next = make_request(bench, round->work, round->repetition, (int)row);
        }
        if (!ant_engine_submit(bench->run.engine, round->next))
            return 0;
        round->next = NULL;
        round->in_flight++;
    }
    return 0;
}

/* This rank's share of the prompts through the engine. */
static int answer(const struct bench *bench, struct round *round, double start,
                  struct bench_sample *sample, struct ant_error *err)
{
    struct ant_request *finished;

    while (round->more != ANT_WORK_NONE || round->next || round->in_flight > 0) {
        ANT_TRY(feed_engine(bench, round, err));
        bool is_waiting = round->more == ANT_WORK_NONE || !round->counters;
        ANT_TRY(
            ant_engine_take(bench->run.engine, &finished, is_waiting ? NAP_S : SHORT_NAP_S, err));
        for (; finished; round->in_flight--) {
            count_answer(sample, finished, start);
            ant_request_free(finished);
            ANT_TRY(ant_engine_take(bench->run.engine, &finished, 0, err));
        }
    }
    sample->stolen = ant_work_stolen(round->rows);
    return 0;
}

/* What engine and backend have counted so far. The engine hands out the last answer before it
 * counts that step: it is waited for until `n_output` tokens are there. */
static void read_counts(const struct bench *bench, int64_t n_output, struct ant_engine_stats *stats,
                        struct ant_backend_counts *counts)
{
    const struct run *run = &bench->run;

    ant_engine_stats(run->engine, stats);
    for (int i = 0; i < 1000 && stats->output_tokens < n_output; i++) {
        usleep(1000);
        ant_engine_stats(run->engine, stats);
    }
    run->ops->counts(run->be, counts);
}

/* What operations took between two readings, of which the first has the first of them. */
static void subtract_operations(struct bench_sample *sample, const struct ant_backend_counts *new,
                                const struct ant_backend_counts *old)
{
    sample->n_operations = new->n_operations;
    for (int i = 0; i < new->n_operations; i++) {
        sample->operations[i] = new->operations[i];
        if (i < old->n_operations)
            sample->operations[i].seconds -= old->operations[i].seconds;
    }
}

static int measure_rank(struct bench *bench, struct round *round, struct bench_sample *sample,
                        struct ant_error *err)
{
    struct ant_engine_stats before, after;
    struct ant_backend_counts old, new;

    *sample = (struct bench_sample){0};
    read_counts(bench, 0, &before, &old);
    ANT_TRY(ant_group_barrier(bench->run.world, PATIENCE_S, err));
    ANT_TRY(answer(bench, round, ant_now(), sample, err));
    /* Those who have no prompts of their own have work and take energy as long as the others. */
    ANT_TRY(ant_group_barrier(bench->run.world, PATIENCE_S, err));
    read_counts(bench, before.output_tokens + sample->output_tokens, &after, &new);
    double prefill = after.prefill_s - before.prefill_s, decode = after.decode_s - before.decode_s;
    sample->prefill_share = prefill > 0 ? prefill / (prefill + decode) : 0;
    sample->prefilled_tokens = after.prompt_tokens - before.prompt_tokens;
    sample->steps = after.steps - before.steps;
    sample->company_steps = after.company_steps - before.company_steps;
    sample->weight_bytes = new.weight_bytes - old.weight_bytes;
    sample->kv_bytes = new.kv_bytes - old.kv_bytes;
    sample->flops = new.flops - old.flops;
    sample->gemm_s = new.seconds_gemm - old.seconds_gemm;
    sample->attention_s = new.seconds_attention - old.seconds_attention;
    sample->other_s = new.seconds_other - old.seconds_other;
    sample->joules = new.joules - old.joules;
    subtract_operations(sample, &new, &old);
    return 0;
}

/* The ranks of a replica need not have the same operations. */
static void add_operations(struct bench_sample *to, const struct bench_sample *from, double share)
{
    for (int i = 0; i < from->n_operations; i++) {
        const struct ant_operation *it = &from->operations[i];
        int at = 0;
        while (at < to->n_operations && strcmp(to->operations[at].name, it->name) != 0)
            at++;
        if (at == ANT_MAX_OPERATIONS)
            at--;
        else if (at == to->n_operations)
            memcpy(to->operations[to->n_operations++].name, it->name, sizeof it->name);
        to->operations[at].seconds += share * it->seconds;
    }
}

/* One sample of all ranks: sums, means over prompts and over ranks, the longest time. */
static void sum_up(const struct bench_sample *ranks, int n, struct bench_sample *out)
{
    int n_leading = 0; /* the others of a replica have no prompts of their own */
    double first_through = HUGE_VAL;

    *out = (struct bench_sample){0};
    for (int i = 0; i < n; i++)
        n_leading += ranks[i].n > 0;
    for (int i = 0; i < n; i++)
        if (ranks[i].n > 0 && ranks[i].wall_s < first_through)
            first_through = ranks[i].wall_s;
    for (int i = 0; i < n; i++) {
        const struct bench_sample *r = &ranks[i];
        out->wall_s = r->wall_s > out->wall_s ? r->wall_s : out->wall_s;
        out->first_s += r->first_s;
        out->stream += r->stream;
        out->prefill_share += n_leading ? r->prefill_share / n_leading : 0;
        out->n += r->n;
        out->prompt_tokens += r->prompt_tokens;
        out->prefilled_tokens += r->prefilled_tokens;
        out->output_tokens += r->output_tokens;
        out->steps += r->steps;
        out->company_steps += r->company_steps;
        out->weight_bytes += r->weight_bytes;
        out->kv_bytes += r->kv_bytes;
        out->flops += r->flops;
        out->gemm_s += r->gemm_s / n;
        out->attention_s += r->attention_s / n;
        out->other_s += r->other_s / n;
        out->joules += r->joules;
        out->answers += r->answers;
        out->stolen += r->stolen;
        add_operations(out, r, 1.0 / n);
    }
    out->tail_s = out->wall_s - first_through;
    out->first_s /= (double)out->n;
    out->stream /= (double)out->n;
}

static int measure(struct bench *bench, const struct bench_work *work, int repetition,
                   struct bench_sample *out, struct ant_error *err)
{
    struct bench_sample mine;
    int n = bench->run.layout.world;
    struct bench_sample *all = ant_xcalloc((size_t)n, sizeof *all);
    struct round round = {.work = work, .repetition = repetition};
    int rc = open_round(&round, bench, err);

    if (rc == 0)
        rc = measure_rank(bench, &round, &mine, err);
    if (rc == 0)
        rc = ant_group_all_gather(bench->run.world, &mine, sizeof mine, all, PATIENCE_S, err);
    if (rc == 0)
        sum_up(all, n, out);
    close_round(&round);
    free(all);
    return rc;
}

/* The first token that comes out, as a user waits for it. */
static int warm_up(struct bench *bench, struct ant_error *err)
{
    struct bench_work work = {"warm-up", .n = bench->run.layout.dp_size, .in = WARM_UP_TOKENS,
                              .out = 2};
    struct bench_sample sample;

    work.in = work.in < bench->run.settings.max_model_len - 2
                  ? work.in
                  : bench->run.settings.max_model_len - 2;
    work.in = work.in < 1 ? 1 : work.in;
    double start = ant_now();
    ANT_TRY(measure(bench, &work, 0, &sample, err));
    bench->first_token_s = start + sample.first_s - bench->run.start;
    return 0;
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

/* What the machine's memory and cores can do now. Others on a host change that from second to
 * second, so it is looked at before each repetition. */
static int look_at_limits(struct bench *bench, struct ant_error *err)
{
    struct run *run = &bench->run;
    struct bench_limits *limits = &bench->limits;
    int n = run->layout.world;
    struct bench_look mine, sum = {0, 0}, *all = ant_xcalloc((size_t)n, sizeof *all);

    int rc = ant_group_barrier(run->world, PATIENCE_S, err); /* ranks share a host's memory */
    run->ops->measure(run->be);
    run->ops->facts(run->be, &run->facts);
    mine = (struct bench_look){run->facts.bandwidth, run->facts.peak_flops};
    if (rc == 0)
        rc = ant_group_all_gather(run->world, &mine, sizeof mine, all, PATIENCE_S, err);
    for (int i = 0; i < n && rc == 0; i++) {
        sum.bandwidth += all[i].bandwidth;
        sum.flops += all[i].flops;
    }
    free(all);
    limits->looks[limits->n_looks++] = sum.bandwidth;
    qsort(limits->looks, (size_t)limits->n_looks, sizeof *limits->looks, by_size);
    limits->least = limits->looks[0];
    limits->usual = limits->looks[limits->n_looks / 2];
    limits->bandwidth = limits->looks[limits->n_looks - 1];
    limits->flops = sum.flops > limits->flops ? sum.flops : limits->flops;
    return rc;
}

static int measure_all(struct bench *bench, struct bench_result *result, int repeat,
                       struct ant_error *err)
{
    for (int r = 0; r < repeat; r++, result->n_samples++) {
        if (bench->run.facts.is_host)
            ANT_TRY(look_at_limits(bench, err));
        ANT_TRY(measure(bench, result->work, r + 1, &result->samples[r], err));
    }
    return 0;
}

static int run_all(struct bench *bench, const struct bench_settings *settings,
                   struct ant_error *err)
{
    bool is_speaking = bench->run.layout.rank == 0;
    bool has_table = is_speaking && !(settings->json && strcmp(settings->json, "-") == 0);

    ANT_TRY(warm_up(bench, err));
    bench->limits.looks =
        ant_xcalloc((size_t)(1 + bench->n_results * settings->repeat), sizeof *bench->limits.looks);
    ANT_TRY(look_at_limits(bench, err));
    if (has_table) {
        ant_bench_print_setup(bench);
        ant_bench_print_head();
    }
    for (int i = 0; i < bench->n_results; i++) {
        struct bench_result *result = &bench->results[i];
        ANT_TRY(measure_all(bench, result, settings->repeat, err));
        if (has_table)
            ant_bench_print(bench, result);
    }
    if (has_table)
        ant_bench_print_limits(bench);
    if (is_speaking && settings->json)
        return ant_bench_write_json(bench, settings->json, err);
    return 0;
}

static void release(struct bench *bench)
{
    for (int i = 0; i < bench->n_results; i++) {
        free((void *)bench->results[i].work);
        free(bench->results[i].samples);
    }
    free(bench->results);
    free(bench->limits.looks);
}

static int bench_main(int argc, char **argv)
{
    struct bench_settings settings = {.works = "prefill,single,batch", .repeat = 3};
    struct bench bench = {.run = {.argc = argc, .argv = argv, .start = ant_now()}};
    struct run *run = &bench.run;
    struct ant_error err = {{0}};
    int first, code;

    ant_run_set_defaults(&settings.run);
    settings.run.speculate = "off";
    if (!ant_cli_parse(&ant_command_bench, &settings, argc, argv, &first, &code))
        return code;
    int rc = 0;
    if (!settings.run.model == !settings.dummy)
        rc = ant_fail(&err, ANT_EUSAGE, "one of --model and --dummy is needed");
    if (rc == 0)
        rc = choose_works(&bench, &settings, &err);
    run->settings = settings.run;
    bench.steals = settings.steals;
    ant_log_set_level((enum ant_log_level)run->settings.log_level);
    bool is_shared = rc < 0; /* does every rank have this error? */
    if (rc == 0) {
        rc = ant_run_launch(run, &err);
        is_shared = rc == ANT_EUSAGE || rc == ANT_EUNSUPP;
    }
    if (rc == 0) {
        bench.joined_s = ant_now() - run->start;
        rc = set_up(&bench, &settings, &err);
        is_shared = rc != ANT_EPEER;
    }
    if (rc == 0) {
        rc = run_all(&bench, &settings, &err);
        is_shared = false;
    }
    release(&bench);
    if (rc < 0)
        return is_shared ? ant_run_end_together(run, rc, &err) : ant_run_end_alone(run, rc, &err);
    ant_run_tear_down(run);
    return ANT_EXIT_DONE;
}

const struct ant_command ant_command_bench = {bench_main, options, &help};
