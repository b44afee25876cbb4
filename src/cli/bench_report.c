/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include <jansson.h>
#include <stdio.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/version.h"
#include "cli/bench.h"

static int by_wall(const void *a, const void *b)
{
    double x = (*(const struct bench_sample *const *)a)->wall_s;
    double y = (*(const struct bench_sample *const *)b)->wall_s;

    return (x > y) - (x < y);
}

/* Samples from the fastest to the slowest. Caller frees. */
static const struct bench_sample **sorted(const struct bench_result *result)
{
    const struct bench_sample **order = ant_xcalloc((size_t)result->n_samples, sizeof(void *));

    for (int i = 0; i < result->n_samples; i++)
        order[i] = &result->samples[i];
    qsort(order, (size_t)result->n_samples, sizeof(void *), by_wall);
    return order;
}

const struct bench_sample *ant_bench_median(const struct bench_result *result)
{
    const struct bench_sample **order = sorted(result);
    const struct bench_sample *median = order[result->n_samples / 2];

    free(order);
    return median;
}

/* The slowest repetition's time over the fastest's, less 1. */
static double spread(const struct bench_result *result)
{
    const struct bench_sample **order = sorted(result);
    double ratio = order[result->n_samples - 1]->wall_s / order[0]->wall_s;

    free(order);
    return ratio - 1;
}

double ant_bench_floor(const struct bench_limits *limits, const struct bench_sample *sample)
{
    double bytes = sample->weight_bytes + sample->kv_bytes;
    double memory_s = limits->bandwidth > 0 ? bytes / limits->bandwidth : 0;
    double products_s = limits->flops > 0 ? sample->flops / limits->flops : 0;

    return memory_s > products_s ? memory_s : products_s;
}

/* ---- the table ------------------------------------------------------------------------------- */

void ant_bench_print_setup(const struct bench *bench)
{
    const struct run *run = &bench->run;
    const struct ant_arch *arch = ant_checkpoint_arch(run->checkpoint);
    const struct ant_engine_config *config = &run->engine_config;

    printf("antiphon %s (commit %s)\n", ant_version, ant_version_commit);
    printf("model    %s (%s, %s), %.1f M parameters, %.3f GB of weights as prepared\n",
           ant_checkpoint_path(run->checkpoint), arch->family,
           ant_checkpoint_format(run->checkpoint), (double)ant_arch_parameters(arch) / 1e6,
           (double)run->weight_bytes / 1e9);
    printf("device   %s; %d rank%s of %d thread%s\n", run->facts.device, run->layout.world,
           run->layout.world == 1 ? "" : "s", run->settings.threads,
           run->settings.threads == 1 ? "" : "s");
    printf("engine   %d prompts in flight, %d rows a step, %lld tokens of KV cache a rank\n",
           config->max_seqs, config->max_step_rows, (long long)config->n_pages * ANT_PAGE_TOKENS);
    if (bench->limits.bandwidth > 0)
        printf("limits   memory read at %.1f GB/s", bench->limits.bandwidth / 1e9);
    if (bench->limits.flops > 0) /* not measured on a GPU */
        printf("%sproducts at %.0f GFLOP/s", bench->limits.bandwidth > 0 ? ", " : "limits   ",
               bench->limits.flops / 1e9);
    if (bench->limits.bandwidth > 0 || bench->limits.flops > 0)
        printf("\n");
    printf("start    joined after %.3f s, ready after %.3f s (weights %.3f s), first token after "
           "%.3f s\n\n",
           bench->joined_s, bench->ready_s, run->load_s, bench->first_token_s);
}

static double company_share(const struct bench_sample *s)
{
    int64_t all = s->steps + s->company_steps;

    return all > 0 ? (double)s->company_steps / (double)all : 0;
}

static int by_seconds(const void *a, const void *b)
{
    double x = ((const struct ant_operation *)a)->seconds;
    double y = ((const struct ant_operation *)b)->seconds;

    return (x < y) - (x > y);
}

static void print_operations(const struct bench_sample *sample)
{
    struct bench_sample s = *sample;
    double all = s.gemm_s + s.attention_s + s.other_s;

    printf("%8s products %.3f s, attention %.3f s, other operations %.3f s\n", "", s.gemm_s,
           s.attention_s, s.other_s);
    qsort(s.operations, (size_t)s.n_operations, sizeof s.operations[0], by_seconds);
    for (int i = 0; i < s.n_operations; i++)
        printf("%8s %-*s %9.3f s %5.1f %%\n", "", (int)sizeof s.operations[0].name,
               s.operations[i].name, s.operations[i].seconds,
               all > 0 ? 100 * s.operations[i].seconds / all : 0);
}

void ant_bench_print_head(void)
{
    printf("%-8s %7s %6s %5s %9s %5s %9s %9s %9s %8s %8s %7s %8s %6s\n", "work", "prompts", "in",
           "out", "wall s", "+ %", "prompt/s", "output/s", "total/s", "stream/s", "first s", "GB/s",
           "GFLOP/s", "floor");
}

void ant_bench_print(const struct bench *bench, const struct bench_result *result)
{
    const struct bench_sample *s = ant_bench_median(result);
    double bytes = s->weight_bytes + s->kv_bytes, floor = ant_bench_floor(&bench->limits, s);

    printf("%-8s %7lld %6.0f %5.0f %9.3f %5.1f %9.1f %9.1f %9.1f %8.1f %8.3f %7.1f %8.1f ",
           result->work->name, (long long)s->n, (double)s->prompt_tokens / (double)s->n,
           (double)s->output_tokens / (double)s->n, s->wall_s, 100 * spread(result),
           (double)s->prompt_tokens / s->wall_s, (double)s->output_tokens / s->wall_s,
           (double)(s->prompt_tokens + s->output_tokens) / s->wall_s, s->stream, s->first_s,
           bytes / s->wall_s / 1e9, s->flops / s->wall_s / 1e9);
    if (floor > 0)
        printf("%4.0f %%\n", 100 * floor / s->wall_s);
    else
        printf("%6s\n", "-");
    if (bench->run.settings.times_operations)
        print_operations(s);
    if (bench->run.layout.dp_size > 1)
        printf("%8s %.2f s from the first replica's end to the last's, %lld prompts taken over\n",
               "", s->tail_s, (long long)s->stolen);
    if (s->company_steps > 0)
        printf("%8s %.1f %% of %lld steps without rows, for experts of other replicas\n", "",
               100 * company_share(s), (long long)(s->steps + s->company_steps));
    if (s->joules > 0)
        printf("%8s %.4f J a token of answer, %.0f W a rank\n", "",
               s->joules / (double)s->output_tokens,
               s->joules / s->wall_s / bench->run.layout.world);
    fflush(stdout);
}

void ant_bench_print_limits(const struct bench *bench)
{
    const struct bench_limits *limits = &bench->limits;

    if (limits->n_looks > 1)
        printf("\nlimits   of %d looks: memory read at %.1f to %.1f GB/s, median %.1f; products at "
               "%.0f GFLOP/s\n",
               limits->n_looks, limits->least / 1e9, limits->bandwidth / 1e9, limits->usual / 1e9,
               limits->flops / 1e9);
}

/* ---- JSON ------------------------------------------------------------------------------------ */

static json_t *sample_json(const struct bench *bench, const struct bench_sample *s)
{
    json_t *json =
        json_pack("{s:f, s:I, s:I, s:I, s:I, s:f, s:f, s:f, s:f, s:f, s:f}", "wall_s", s->wall_s,
                  "prompt_tokens", (json_int_t)s->prompt_tokens, "prefilled_tokens",
                  (json_int_t)s->prefilled_tokens, "output_tokens", (json_int_t)s->output_tokens,
                  "steps", (json_int_t)s->steps, "company_share", company_share(s),
                  "prompt_tokens_per_s", (double)s->prompt_tokens / s->wall_s,
                  "output_tokens_per_s", (double)s->output_tokens / s->wall_s, "total_tokens_per_s",
                  (double)(s->prompt_tokens + s->output_tokens) / s->wall_s, "stream_tokens_per_s",
                  s->stream, "first_token_s", s->first_s);
    char answers[17];

    snprintf(answers, sizeof answers, "%016llx", (unsigned long long)s->answers);
    json_t *work = json_pack("{s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:I, s:s}",
                             "weight_bytes", s->weight_bytes, "kv_bytes", s->kv_bytes, "flops",
                             s->flops, "gemm_s", s->gemm_s, "attention_s", s->attention_s,
                             "other_s", s->other_s, "prefill_share", s->prefill_share, "floor_s",
                             ant_bench_floor(&bench->limits, s), "joules", s->joules, "tail_s",
                             s->tail_s, "stolen", (json_int_t)s->stolen, "answers", answers);

    json_object_update_new(json, work);
    if (s->n_operations > 0) {
        json_t *operations = json_object();
        for (int i = 0; i < s->n_operations; i++)
            json_object_set_new(operations, s->operations[i].name,
                                json_real(s->operations[i].seconds));
        json_object_set_new(json, "operations_s", operations);
    }
    return json;
}

/* Tokens of each prompt and its answer: the work for others to repeat. */
static json_t *lengths_json(const struct bench_work *work)
{
    json_t *lengths = json_array();

    for (int i = 0; i < work->n; i++) {
        int n_prompt, n_output;
        ant_bench_lengths(work, i, &n_prompt, &n_output);
        json_array_append_new(lengths, json_pack("[i, i]", n_prompt, n_output));
    }
    return lengths;
}

static json_t *result_json(const struct bench *bench, const struct bench_result *result)
{
    const struct bench_work *work = result->work;
    json_t *samples = json_array();

    for (int i = 0; i < result->n_samples; i++)
        json_array_append_new(samples, sample_json(bench, &result->samples[i]));
    return json_pack("{s:s, s:i, s:i, s:i, s:i, s:b, s:f, s:f, s:o, s:f, s:o, s:o}", "name",
                     work->name, "prompts", work->n, "shared_tokens", work->shared, "in", work->in,
                     "out", work->out, "mixed_lengths", work->lengths != BENCH_EVEN, "temperature",
                     (double)work->temperature, "top_p", (double)work->top_p, "median",
                     sample_json(bench, ant_bench_median(result)), "spread", spread(result),
                     "repetitions", samples, "lengths", lengths_json(work));
}

static json_t *model_json(const struct run *run)
{
    const struct ant_arch *arch = ant_checkpoint_arch(run->checkpoint);

    return json_pack("{s:s, s:s, s:s, s:I, s:I}", "path", ant_checkpoint_path(run->checkpoint),
                     "family", arch->family, "format", ant_checkpoint_format(run->checkpoint),
                     "parameters", (json_int_t)ant_arch_parameters(arch), "weight_bytes",
                     (json_int_t)run->weight_bytes);
}

static json_t *device_json(const struct run *run)
{
    return json_pack("{s:s, s:s, s:s, s:i, s:i}", "name", run->facts.device, "backend",
                     run->ops->name, "level", run->facts.level, "ranks", run->layout.world,
                     "threads", run->settings.threads);
}

static json_t *engine_json(const struct ant_engine_config *config)
{
    return json_pack("{s:i, s:i, s:i}", "max_num_seqs", config->max_seqs, "max_num_batched_tokens",
                     config->max_step_rows, "kv_pages", config->n_pages);
}

static json_t *limits_json(const struct bench_limits *limits)
{
    return json_pack("{s:f, s:f, s:f, s:f}", "read_bytes_per_s", limits->bandwidth,
                     "usual_read_bytes_per_s", limits->usual, "least_read_bytes_per_s",
                     limits->least, "flops_per_s", limits->flops);
}

static json_t *bench_json(const struct bench *bench)
{
    const struct run *run = &bench->run;
    json_t *works = json_array();
    char now[24];

    ant_utc(now, sizeof now, time(NULL));
    for (int i = 0; i < bench->n_results; i++)
        json_array_append_new(works, result_json(bench, &bench->results[i]));
    return json_pack("{s:s, s:s, s:s, s:o, s:o, s:o, s:o, s:{s:f, s:f, s:f, s:f}, s:o}", "antiphon",
                     ant_version, "commit", ant_version_commit, "date", now, "model",
                     model_json(run), "device", device_json(run), "engine",
                     engine_json(&run->engine_config), "limits", limits_json(&bench->limits),
                     "start", "joined_s", bench->joined_s, "ready_s", bench->ready_s, "load_s",
                     run->load_s, "first_token_s", bench->first_token_s, "workloads", works);
}

int ant_bench_write_json(const struct bench *bench, const char *path, struct ant_error *err)
{
    json_t *json = bench_json(bench);
    char *text = json_dumps(json, JSON_INDENT(1));
    int rc = 0;

    json_decref(json);
    if (!text)
        return ant_fail(err, ANT_EBUG, "the figures cannot be written as JSON");
    if (strcmp(path, "-") != 0)
        rc = ant_file_write(path, text, strlen(text), err);
    else if (puts(text) == EOF || fflush(stdout) != 0)
        rc = ant_fail(err, ANT_EIO, "cannot write to standard output: %s", strerror(errno));
    free(text);
    return rc;
}
