/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/version.h"
#include "cli/cli.h"
#include "cli/run.h"

/* Of more ranks than this the summary shows extremes and means only. */
#define MAX_TABLE 32

static double gb(double bytes)
{
    return bytes / 1e9;
}

/* ---- at the start ---------------------------------------------------------------------------- */

static void print_model(const struct run *run)
{
    const struct ant_arch *arch = ant_checkpoint_arch(run->checkpoint);

    printf("model    %s\n"
           "         %s (%s), %.1f M parameters: %d layers, hidden %d, %d/%d heads of %d, "
           "vocabulary %d\n",
           run->settings.model, arch->family, ant_checkpoint_format(run->checkpoint),
           (double)ant_arch_parameters(arch) / 1e6, arch->n_layers, arch->hidden, arch->n_heads,
           arch->n_kv_heads, arch->head_dim, arch->vocab);
}

static void print_memory(const struct run *run)
{
    const struct ant_engine_config *config = &run->engine_config;
    const struct ant_backend_facts *facts = &run->facts;
    bool is_shared = facts->is_host && ant_job_cards(run->job)[run->layout.rank].local_size > 1;
    size_t own = is_shared ? run->own_weight_bytes : 0;

    printf("device   %s, %d thread%s a rank\n", facts->device, run->settings.threads,
           run->settings.threads == 1 ? "" : "s");
    printf("memory   weights %.2f GB%s, ", gb((double)(run->weight_bytes - own)),
           is_shared ? " once a host" : "");
    if (own > 0)
        printf("experts %.2f GB, ", gb((double)own));
    printf("workspace %.2f GB and KV cache %.2f GB a rank (%lld tokens), %.2f GB free\n",
           gb((double)facts->workspace_bytes), gb((double)facts->kv_page_bytes * config->n_pages),
           (long long)config->n_pages * ANT_PAGE_TOKENS, gb((double)facts->free_bytes));
    printf("engine   %d prompts in flight, %d rows a step, %d tokens a prompt and answer\n",
           config->max_seqs, config->max_step_rows, config->max_context);
}

/* Answers that earlier starts have tokens of. */
static size_t count_begun(const struct run *run)
{
    const struct ant_journal_index *earlier = &run->earlier;
    size_t n = 0;

    for (size_t i = 0; i < earlier->n_parts; i++)
        n += earlier->parts[i].first == 0;
    return n;
}

void ant_run_banner(const struct run *run)
{
    static const char *const dealt[] = {"modulo", "in blocks", "by length", "by the rank column",
                                        "by a plugin"};
    const struct ant_layout *layout = &run->layout;
    char *table = ant_layout_describe(layout, ant_job_cards(run->job));
    const char *pmix = ant_job_pmix_version(run->job), *ucx = ant_transport_version();

    printf("antiphon %s (commit %s)\n", ant_version, ant_version_commit);
    printf("with     %s%s%s%s%s\n", ant_store_versions(), *pmix ? ", PMIx " : "", pmix,
           *ucx ? ", UCX " : "", ucx);
    printf("job      %s, launched by %s: %d rank%s, dp %d, tp %d, pp %d\n", ant_job_name(run->job),
           ant_job_launcher(run->job), layout->world, layout->world == 1 ? "" : "s",
           layout->dp_size, layout->tp_size, layout->pp_size);
    fputs(table, stdout);
    print_model(run);
    print_memory(run);
    printf("input    %s: %lld rows", run->settings.input, (long long)run->n_rows);
    if (run->part.count > 0)
        printf(" from row %lld on (part %d of %d)", (long long)run->part.first_row,
               run->part.number, run->part.count);
    printf(", dealt %s", dealt[run->partition]);
    if (run->settings.samples > 1)
        printf(", %d answers each", run->settings.samples);
    if (run->attempt > 1 || run->earlier.n > 0)
        printf("; start %d, %zu done before, %zu begun", run->attempt, run->earlier.n,
               count_begun(run));
    printf("\noutput   %s\n", run->settings.output);
    fflush(stdout);
    free(table);
}

/* ---- on the way ------------------------------------------------------------------------------ */

static void print_progress(struct run *run, double now)
{
    struct run_counts sum = {0};
    double elapsed = now - run->start_answers;
    int64_t n_rows = ant_run_answers(run) - (int64_t)run->earlier.n;
    char time[32], left[32] = "?";

    for (int i = 0; i < run->layout.world; i++) {
        sum.done += run->pulse.others[i].done;
        sum.failed += run->pulse.others[i].failed;
        sum.prompt_tokens += run->pulse.others[i].prompt_tokens;
        sum.output_tokens += run->pulse.others[i].output_tokens;
        sum.running += run->pulse.others[i].running;
    }
    ant_duration(time, sizeof(time), elapsed);
    if (sum.done > 0)
        ant_duration(left, sizeof(left), elapsed * (double)(n_rows - sum.done) / (double)sum.done);
    printf("%s%s  %lld/%lld rows, %lld failed, %d in flight; tokens/s: %.0f prompt, %.0f output; "
           "left %s%s",
           run->clock.is_terminal ? "\r\033[K" : "progress ", time, (long long)sum.done,
           (long long)n_rows, (long long)sum.failed, sum.running,
           (double)sum.prompt_tokens / elapsed, (double)sum.output_tokens / elapsed, left,
           run->clock.is_terminal ? "" : "\n");
    fflush(stdout);
}

void ant_run_progress_start(struct run *run)
{
    run->start_answers = run->clock.last_line = ant_now();
    /* mpirun gives its processes a terminal for their output, wherever that goes. */
    run->clock.is_terminal = isatty(STDOUT_FILENO) && isatty(STDERR_FILENO);
}

void ant_run_progress(struct run *run, bool now)
{
    double time = ant_now(), interval = run->clock.is_terminal ? 1 : run->settings.progress;

    if (!now && (run->settings.progress == 0 || time - run->clock.last_line < interval))
        return;
    run->clock.last_line = time;
    print_progress(run, time);
}

void ant_run_tell_stop(const struct run *run)
{
    int running = 0;

    for (int i = 0; i < run->layout.world; i++)
        running += run->pulse.others[i].running;
    if (run->clock.is_terminal)
        printf("\n");
    if (run->stop.stage == ANT_STAGE_SAVE)
        printf("stopping (%s): saving %d answers under way\n", run->stop.why, running);
    else
        printf("stopping (%s): no new prompts; %d answers under way have up to %.0f s\n",
               run->stop.why, running, run->stop.drain);
    fflush(stdout);
}

void ant_run_tell_stopped(const struct run *run, const struct run_counts *sum)
{
    int64_t done = sum->done + (int64_t)run->earlier.n;
    struct ant_buf command = {0};

    printf(
        "antiphon: STOPPED (%s) %lld/%lld rows done, %d begun; to go on, the same again: antiphon",
        run->stop.why, (long long)done, (long long)ant_run_answers(run), sum->running);
    for (int i = 0; i < run->argc; i++) {
        if (strcmp(run->argv[i], "--restart-over") == 0)
            continue; /* that would throw away what was done */
        ant_buf_printf(&command, " ");
        ant_cli_quote(&command, run->argv[i]);
    }
    printf("%s\n", command.data);
    ant_buf_release(&command);
    fflush(stdout);
}

/* ---- at the end ------------------------------------------------------------------------------ */

void ant_run_report(const struct run *run, struct ant_rank_report *out)
{
    struct ant_engine_stats stats;
    struct ant_backend_counts counts;
    struct ant_backend_facts facts;
    struct rusage usage;

    ant_engine_stats(run->engine, &stats);
    run->ops->counts(run->be, &counts);
    run->ops->facts(run->be, &facts);
    getrusage(RUSAGE_SELF, &usage);
    *out = (struct ant_rank_report){
        .rank = run->layout.rank,
        .dp_rank = run->layout.dp_rank,
        .rows = run->counts.done,
        .failed = run->counts.failed,
        .prompt_tokens = stats.prompt_tokens,
        .shared_tokens = stats.shared_tokens,
        .drafted = stats.drafted,
        .accepted = stats.accepted,
        .output_tokens = stats.output_tokens,
        .steps = stats.steps,
        .company_steps = stats.company_steps,
        .preemptions = stats.preemptions,
        .stolen = ant_work_stolen(run->work),
        .load_s = run->load_s,
        .read_bytes = ant_model_bytes_read(run->model),
        .prefill_s = stats.prefill_s,
        .decode_s = stats.decode_s,
        .idle_s = stats.idle_s,
        .total_s = ant_now() - run->start_answers,
        .weight_bytes = counts.weight_bytes,
        .kv_bytes = counts.kv_bytes,
        .flops = counts.flops,
        .bandwidth = facts.bandwidth,
        .joules = counts.joules,
        .peak_memory = (double)usage.ru_maxrss * 1024,
    };
    snprintf(out->host, sizeof(out->host), "%s",
             ant_job_cards(run->job)[run->layout.rank].node_name);
}

static double busy(const struct ant_rank_report *report)
{
    return report->prefill_s + report->decode_s;
}

static void print_rank(const struct ant_rank_report *r, const struct ant_card *card)
{
    printf("%6d %-12.12s %8lld %7lld %10lld %10lld %9.1f %9.1f %8.1f %9.0f\n", r->rank,
           card->node_name, (long long)r->rows, (long long)r->failed, (long long)r->prompt_tokens,
           (long long)r->output_tokens, r->prefill_s, r->decode_s, r->idle_s,
           busy(r) > 0 ? (double)r->output_tokens / busy(r) : 0.0);
}

/* Ranks of a replica: the first one's report speaks for all of them. */
static int replica_size(const struct run *run)
{
    return run->layout.tp_size * run->layout.pp_size;
}

static void print_ranks(const struct run *run, const struct ant_rank_report *reports)
{
    const struct ant_card *cards = ant_job_cards(run->job);
    int n = run->layout.world, slowest = 0, fastest = 0;

    printf("%6s %-12s %8s %7s %10s %10s %9s %9s %8s %9s\n", "rank", "node", "rows", "failed",
           "prompt", "output", "prefill s", "decode s", "idle s", "out tok/s");
    for (int i = 0; i < n; i += replica_size(run)) {
        if (busy(&reports[i]) > busy(&reports[slowest]))
            slowest = i;
        if (busy(&reports[i]) < busy(&reports[fastest]))
            fastest = i;
        if (run->layout.dp_size <= MAX_TABLE)
            print_rank(&reports[i], &cards[i]);
    }
    if (run->layout.dp_size > MAX_TABLE) {
        print_rank(&reports[fastest], &cards[fastest]);
        print_rank(&reports[slowest], &cards[slowest]);
        printf("        (the least and the most busy of %d replicas)\n", run->layout.dp_size);
    }
}

static void print_limits(const struct run *run, const struct ant_rank_report *reports)
{
    double busiest = 0, sum = 0, bytes = 0, flops = 0, limit = 0;
    int64_t stolen = 0;
    int n = run->layout.dp_size;

    for (int i = 0; i < run->layout.world; i += replica_size(run)) {
        sum += busy(&reports[i]);
        bytes += reports[i].weight_bytes + reports[i].kv_bytes;
        flops += reports[i].flops;
        stolen += reports[i].stolen;
        limit += reports[i].bandwidth * busy(&reports[i]);
        if (busy(&reports[i]) > busiest)
            busiest = busy(&reports[i]);
    }
    if (sum <= 0)
        return;
    printf("balance  busiest rank %.1f s, mean %.1f s: imbalance %.1f %%, %lld rows stolen\n",
           busiest, sum / n, 100 * (busiest / (sum / n) - 1), (long long)stolen);
    printf("rates    %.1f GFLOP/s and %.1f GB/s of weights and cache a rank", flops / sum / 1e9,
           bytes / sum / 1e9);
    if (limit > 0)
        printf(", %.0f %% of the measured memory bandwidth (%.1f GB/s)", 100 * bytes / limit,
               limit / sum / 1e9);
    printf("\n");
}

/* Every rank has a device of its own. */
static void print_energy(const struct run *run, const struct ant_rank_report *reports,
                         int64_t output, double seconds)
{
    double joules = 0;

    for (int i = 0; i < run->layout.world; i++)
        joules += reports[i].joules;
    if (joules > 0 && output > 0)
        printf("energy   %.1f kJ, %.4f J a token of answer, %.0f W a rank\n", joules / 1e3,
               joules / (double)output, joules / seconds / run->layout.world);
}

static void print_reading(const struct run *run, const struct ant_rank_report *reports)
{
    int64_t bytes = 0;

    for (int i = 0; i < run->layout.world; i++)
        bytes += reports[i].read_bytes;
    printf("weights  %.1f MB read from the file", (double)bytes / 1e6);
    if (run->is_broadcast && run->n_hosts > 1)
        printf(", a part %s, and broadcast in %.2f s",
               run->facts.is_host ? "on each host" : "for each GPU",
               ant_model_share_seconds(run->model));
    printf("\n");
}

/* Where replicas take their steps together. */
static void print_company(const struct run *run, const struct ant_rank_report *reports)
{
    int64_t steps = 0, company = 0;

    for (int i = 0; i < run->layout.world; i++) {
        steps += reports[i].steps + reports[i].company_steps;
        company += reports[i].company_steps;
    }
    if (company > 0)
        printf("company  %.1f %% of %lld steps were without rows, for experts of other replicas\n",
               100 * (double)company / (double)steps, (long long)steps);
}

void ant_run_summary(const struct run *run, const struct ant_rank_report *reports, int64_t n_rows,
                     int64_t n_ok, int64_t n_failed)
{
    double now = ant_now(), answers = reports[0].total_s;
    int64_t prompt = 0, shared = 0, output = 0, drafted = 0, accepted = 0;

    for (int i = 0; i < run->layout.world; i++) {
        prompt += reports[i].prompt_tokens;
        shared += reports[i].shared_tokens;
        drafted += reports[i].drafted;
        accepted += reports[i].accepted;
        output += reports[i].output_tokens;
        if (reports[i].total_s > answers)
            answers = reports[i].total_s;
    }
    if (run->clock.is_terminal)
        printf("\n");
    print_ranks(run, reports);
    printf("time     %.1f s: start %.2f, load %.2f, answers %.1f, results %.2f", now - run->start,
           run->start_answers - run->start - run->load_s, run->load_s, answers,
           now - run->start_answers - answers);
    if (run->first_token > 0)
        printf("; first token after %.2f s", run->first_token - run->start);
    printf("\n");
    print_reading(run, reports);
    printf("tokens   %lld prompt (%.0f/s), ", (long long)prompt, (double)prompt / answers);
    if (shared > 0)
        printf("%lld more shared, ", (long long)shared);
    printf("%lld output (%.0f/s)", (long long)output, (double)output / answers);
    if (drafted > 0)
        printf(", of which %lld guessed (%.0f %% of guesses were right)", (long long)accepted,
               100 * (double)accepted / (double)drafted);
    printf("\n");
    print_limits(run, reports);
    print_company(run, reports);
    print_energy(run, reports, output, answers);
    printf("antiphon: COMPLETE %lld/%lld rows, %lld failed\n", (long long)(n_ok + n_failed),
           (long long)n_rows, (long long)n_failed);
    if (n_failed > 0)
        printf("antiphon: why they failed: antiphon show --failed %s\n", run->settings.output);
    fflush(stdout);
}
