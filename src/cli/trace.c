/* SPDX-License-Identifier: Apache-2.0 */
/* What this replica has done, noted as time goes by: in the journal's folder for who looks on
 * (antiphon top), and in memory for the results. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "cli/run.h"

/* A note each hundredth of the time that has passed, within these bounds. */
#define LEAST_S 0.25
#define MOST_S  10.0

/* Figures are not worth a job: without a file it goes on, and nobody can look on. */
static void give_up(struct run *run, const struct ant_error *err)
{
    ant_log(ANT_LOG_WARN, "timeline", "%s: 'antiphon top' has nothing to show of this rank",
            err->text);
    ant_timeline_close(run->trace.file);
    run->trace.file = NULL;
}

void ant_run_trace_start(struct run *run)
{
    struct ant_timeline_head head = {.rank = run->layout.rank,
                                     .start = run->attempt,
                                     .dp_rank = run->layout.dp_rank,
                                     .dp_size = run->layout.dp_size,
                                     .began = ant_utc_now(),
                                     .answered = (int64_t)run->earlier.n};
    struct ant_error err;

    if (!ant_run_leads(run))
        return;
    snprintf(head.host, sizeof(head.host), "%s",
             ant_job_cards(run->job)[run->layout.rank].node_name);
    if (ant_timeline_open(&run->trace.file, run->settings.output, &head, &err) < 0)
        give_up(run, &err);
    ant_run_trace(run, true);
}

void ant_run_trace(struct run *run, bool now)
{
    struct run_trace *trace = &run->trace;
    double time = ant_now(), interval = 0.01 * (time - run->start_answers);
    struct ant_engine_stats stats;
    struct ant_error err;

    interval = interval < LEAST_S ? LEAST_S : interval > MOST_S ? MOST_S : interval;
    if (!ant_run_leads(run) || (!now && time - trace->last < interval))
        return;
    trace->last = time;
    ant_engine_stats(run->engine, &stats);
    const struct ant_moment moment = {
        .time = ant_record_time(&trace->clock, ant_utc_now(), time),
        .start = run->attempt,
        .rank = run->layout.rank,
        .dp_rank = run->layout.dp_rank,
        .running = stats.running,
        .prompt_tokens = stats.prompt_tokens,
        .output_tokens = stats.output_tokens,
        .rows = run->counts.done,
        .failed = run->counts.failed,
        .stolen = ant_work_stolen(run->work),
        .left = run->counts.left,
        .prefill_s = stats.prefill_s,
        .decode_s = stats.decode_s,
        .idle_s = stats.idle_s,
    };
    ant_moments_add(&trace->moments, &moment);
    if (trace->moments.n == ANT_MOMENTS_KEPT)
        ant_moments_thin(&trace->moments);
    if (trace->file && ant_timeline_add(trace->file, &moment, &err) < 0)
        give_up(run, &err);
}

int ant_run_trace_gather(struct run *run, struct ant_moments *out, double timeout,
                         struct ant_error *err)
{
    const struct ant_moments *mine = &run->trace.moments;
    size_t *sizes = ant_xcalloc((size_t)run->layout.world, sizeof(*sizes)), bytes = 0;
    struct ant_moment *all = NULL;
    struct ant_error ignored;

    int rc = ant_group_all_gather_v(run->world, mine->items, mine->n * sizeof(*mine->items),
                                    (void **)&all, sizes, timeout, err);
    for (int i = 0; i < run->layout.world && rc == 0; i++)
        bytes += sizes[i];
    if (rc == 0 && run->layout.rank == 0) {
        if (run->attempt > 1 && ant_timeline_collect(out, run->settings.output, run->attempt,
                                                     ANT_MOMENTS_KEPT, &ignored) < 0)
            ant_log(ANT_LOG_WARN, "timeline", "%s: left out of the results", ignored.text);
        for (size_t i = 0; i < bytes / sizeof(*all); i++)
            ant_moments_add(out, &all[i]);
    }
    free(all);
    free(sizes);
    return rc;
}

void ant_run_trace_stop(struct run *run)
{
    ant_timeline_close(run->trace.file);
    run->trace.file = NULL;
    ant_moments_release(&run->trace.moments);
}
