/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "cli/run.h"

/* How often ranks tell each other that they are there. */
#define POST_S 1.0
/* How often rank 0 looks for wishes in the journal's folder. */
#define LOOK_S 2.0
/* A sync may take this long on a busy file system, a step on a slow device. */
#define SLOW_S 600.0
/* Whoever asks all ranks for a progress line wants one. */
#define ASK_S 2.0

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

/* Of several ranks that miss the same one the lowest speaks first. */
static int check_heart(const struct run *run, int rank, enum run_doing doing, double heard,
                       double now, struct ant_error *err)
{
    static const char *const names[] = {"answering prompts", "syncing its journal"};
    const struct ant_card *card = &ant_job_cards(run->job)[rank];
    double limit = run->settings.watchdog + 0.002 * (run->layout.rank % 1000);

    if (run->settings.watchdog <= 0)
        return 0;
    if (doing == RUN_SYNCS && limit < SLOW_S)
        limit = SLOW_S;
    if (now - heard < limit)
        return 0;
    return ant_fail(err, ANT_EPEER,
                    "no sign of rank %d (%s, pid %ld) for %.0f s, it was %s last; the same command "
                    "goes on with what is journalled",
                    rank, card->node_name, (long)card->pid, now - heard, names[doing]);
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
        pulse->heard[from] = now;
        ant_group_post(run->world, from, &pulse->orders, sizeof(pulse->orders));
    }
    if (run->counts.n_progress != pulse->others[0].n_progress)
        pulse->is_asked = true;
    pulse->others[0] = run->counts;
    pulse->heard[0] = now;
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
    order_all(run, (struct run_orders){(int32_t)stage, (int32_t)decide(run), run->counts.doing});
    for (int i = 1; i < run->layout.world && pulse->orders.next == RUN_GO_ON; i++)
        ANT_TRY(
            check_heart(run, i, (enum run_doing)pulse->others[i].doing, pulse->heard[i], now, err));
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
           is->n_progress != was->n_progress || is->doing != was->doing;
}

static int follow(struct run *run, double now, struct ant_error *err)
{
    struct run_pulse *pulse = &run->pulse;
    int from;

    if (has_news(run) || now - pulse->last_post >= POST_S)
        post_counts(run, now);
    while (ant_group_next_post(run->world, &from, &pulse->orders, sizeof(pulse->orders)))
        pulse->heard[0] = now;
    ant_stop_raise(&run->stop, (enum ant_stage)pulse->orders.stage, now, "");
    if (pulse->orders.next != RUN_GO_ON)
        return 0;
    return check_heart(run, 0, (enum run_doing)pulse->orders.doing, pulse->heard[0], now, err);
}

/* ---- what the rest sees ---------------------------------------------------------------------- */

void ant_run_pulse_start(struct run *run)
{
    struct run_pulse *pulse = &run->pulse;
    int n = run->layout.rank == 0 ? run->layout.world : 1;

    pulse->others = ant_xcalloc((size_t)n, sizeof(*pulse->others));
    pulse->heard = ant_xcalloc((size_t)n, sizeof(*pulse->heard));
    pulse->last_step = ant_now();
    for (int i = 0; i < n; i++)
        pulse->heard[i] = pulse->last_step;
}

int ant_run_pulse(struct run *run, struct ant_error *err)
{
    double now = ant_now();

    update_counts(run, now);
    ANT_TRY(check_engine(run, now, err));
    return run->layout.rank == 0 ? lead(run, now, err) : follow(run, now, err);
}

void ant_run_doing(struct run *run, enum run_doing doing)
{
    struct run_orders orders = run->pulse.orders;

    run->counts.doing = orders.doing = (int32_t)doing;
    if (run->layout.rank > 0)
        post_counts(run, ant_now());
    else
        order_all(run, orders);
}

void ant_run_pulse_stop(struct run *run)
{
    free(run->pulse.others);
    free(run->pulse.heard);
}
