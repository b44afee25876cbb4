/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "cli/cli.h"
#include "cli/run.h"

/* How often ranks tell rank 0 how far they are. */
#define POST_S 1.0
/* How often rank 0 looks for wishes in the journal's folder. */
#define LOOK_S 2.0
/* A sync may take this long on a busy file system, a step on a slow device. */
#define SLOW_S 600.0
/* Whoever asks all ranks for a progress line wants one. */
#define ASK_S 2.0

/* ---- signs of life --------------------------------------------------------------------------- */

static const struct ant_heart_phase phases[] = {
    [RUN_STARTS] = {"starting", 0},
    [RUN_LOADS] = {"loading the model", 0},
    [RUN_ANSWERS] = {"answering prompts", 1},
    [RUN_SYNCS] = {"saving answers", SLOW_S},
    [RUN_MERGES] = {"writing the results", 0},
    [RUN_WORKS] = {"at work", 0},
};

/* The main thread may be anywhere, also in a collective that never ends. */
static void end_for_lost(void *data, const struct ant_error *err)
{
    const struct run *run = data;

    ant_job_abort(ant_cli_fail(run->argv[0], ANT_EPEER, err));
}

int ant_run_watch(struct run *run, struct ant_error *err)
{
    return ant_heart_open(&run->heart, run->world, ant_job_cards(run->job), phases,
                          run->settings.watchdog, end_for_lost, run, START_TIMEOUT_S, err);
}

void ant_run_doing(struct run *run, enum run_doing doing)
{
    ant_heart_beat(run->heart, (int)doing);
}

/* ---- every rank ------------------------------------------------------------------------------ */

static void update_counts(struct run *run, double now)
{
    struct run_counts *counts = &run->counts;
    struct ant_engine_stats stats;

    ant_engine_stats(run->engine, &stats);
    if (stats.steps != counts->steps || stats.running == 0)
        run->pulse.last_step = now;
    counts->prompt_tokens = stats.prompt_tokens;
    counts->output_tokens = stats.output_tokens;
    counts->steps = stats.steps;
    counts->running = stats.running;
    counts->n_progress += ant_stop_asked_progress();
    counts->stage = (int32_t)ant_stop_look(&run->stop, now);
    memcpy(counts->why, run->stop.why, sizeof(counts->why));
}

static int check_engine(const struct run *run, double now, struct ant_error *err)
{
    if (now - run->pulse.last_step < SLOW_S)
        return 0;
    return ant_fail(err, ANT_EDEVICE, "rank %d (%s): the engine has been in one step for %.0f s",
                    run->layout.rank, ant_job_cards(run->job)[run->layout.rank].node_name,
                    now - run->pulse.last_step);
}

/* ---- rank 0 ---------------------------------------------------------------------------------- */

static void hear_all(struct run *run, double now)
{
    struct run_pulse *pulse = &run->pulse;
    struct run_counts counts;
    int from;

    while (ant_group_next_post(run->world, &from, &counts, sizeof(counts))) {
        char why[ANT_STOP_WHY + 96];
        snprintf(why, sizeof(why), "%s on rank %d (%s)", counts.why, from,
                 ant_job_cards(run->job)[from].node_name);
        ant_stop_raise(&run->stop, (enum ant_stage)counts.stage, now, why);
        if (counts.n_progress != pulse->others[from].n_progress)
            pulse->is_asked = true;
        pulse->others[from] = counts;
        ant_group_post(run->world, from, &pulse->orders, sizeof(pulse->orders));
    }
    if (run->counts.n_progress != pulse->others[0].n_progress)
        pulse->is_asked = true;
    pulse->others[0] = run->counts;
}

static int look_into_folder(struct run *run, double now, struct ant_error *err)
{
    if (now - run->pulse.last_look < LOOK_S)
        return 0;
    run->pulse.last_look = now;
    enum ant_halt asked = ant_journal_halt_asked(run->settings.output);
    if (asked != ANT_HALT_NO)
        ant_stop_raise(&run->stop, asked == ANT_HALT_NOW ? ANT_STAGE_SAVE : ANT_STAGE_DRAIN, now,
                       "antiphon halt");
    return ant_journal_check_claim(err);
}

static enum run_next decide(const struct run *run)
{
    bool all_idle = true;
    int64_t left = 0;

    for (int i = 0; i < run->layout.world; i++) {
        all_idle = all_idle && run->pulse.others[i].is_idle;
        left += run->pulse.others[i].left;
    }
    if (all_idle && (left == 0 || run->stop.stage == ANT_STAGE_RUN))
        return RUN_MERGE;
    return all_idle || run->stop.stage == ANT_STAGE_SAVE ? RUN_SAVE : RUN_GO_ON;
}

/* What changes is told at once; else it is the answer to who posts. */
static void order_all(struct run *run, struct run_orders orders)
{
    if (memcmp(&orders, &run->pulse.orders, sizeof(orders)) == 0)
        return;
    run->pulse.orders = orders;
    for (int i = 1; i < run->layout.world; i++)
        ant_group_post(run->world, i, &orders, sizeof(orders));
}

static int lead(struct run *run, double now, struct ant_error *err)
{
    struct run_pulse *pulse = &run->pulse;

    hear_all(run, now);
    ANT_TRY(look_into_folder(run, now, err));
    enum ant_stage stage = ant_stop_look(&run->stop, now);
    if (pulse->orders.stage == ANT_STAGE_RUN && stage != ANT_STAGE_RUN)
        ant_run_tell_stop(run);
    order_all(run, (struct run_orders){(int32_t)stage, (int32_t)decide(run)});
    bool is_asked = pulse->is_asked && now - pulse->last_asked >= ASK_S;
    pulse->is_asked = false;
    if (is_asked)
        pulse->last_asked = now;
    ant_run_progress(run, is_asked);
    return 0;
}

/* ---- the others ------------------------------------------------------------------------------ */

static void post_counts(struct run *run, double now)
{
    run->pulse.last_post = now;
    run->pulse.posted = run->counts;
    ant_group_post(run->world, 0, &run->counts, sizeof(run->counts));
}

static bool has_news(const struct run *run)
{
    const struct run_counts *is = &run->counts, *was = &run->pulse.posted;

    return is->stage != was->stage || is->is_idle != was->is_idle ||
           is->n_progress != was->n_progress;
}

static void follow(struct run *run, double now)
{
    struct run_pulse *pulse = &run->pulse;
    int from;

    if (has_news(run) || now - pulse->last_post >= POST_S)
        post_counts(run, now);
    while (ant_group_next_post(run->world, &from, &pulse->orders, sizeof(pulse->orders)))
        ;
    ant_stop_raise(&run->stop, (enum ant_stage)pulse->orders.stage, now, "");
}

/* ---- what the rest sees ---------------------------------------------------------------------- */

void ant_run_pulse_start(struct run *run)
{
    int n = run->layout.rank == 0 ? run->layout.world : 1;

    run->pulse.others = ant_xcalloc((size_t)n, sizeof(*run->pulse.others));
    run->pulse.last_step = ant_now();
}

int ant_run_pulse(struct run *run, struct ant_error *err)
{
    double now = ant_now();

    ant_run_doing(run, RUN_ANSWERS);
    update_counts(run, now);
    ANT_TRY(check_engine(run, now, err));
    if (run->layout.rank == 0)
        return lead(run, now, err);
    follow(run, now);
    return 0;
}

void ant_run_pulse_stop(struct run *run)
{
    free(run->pulse.others);
}
