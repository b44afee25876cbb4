/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "cli/history.h"

#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { LONGEST_REASON = 240 };

/* ---- the answers ----------------------------------------------------------------------------- */

static void add_value(struct history_spread *spread, double value)
{
    if (spread->n == spread->cap) {
        spread->cap = spread->cap ? 2 * spread->cap : 1024;
        spread->values = ant_xrealloc(spread->values, spread->cap, sizeof(*spread->values));
    }
    spread->values[spread->n++] = (float)value;
    spread->mean += value;
}

static int compare_values(const void *a, const void *b)
{
    const float *x = a, *y = b;

    return (*x > *y) - (*x < *y);
}

double ant_history_quantile(const struct history_spread *spread, double share)
{
    size_t i = (size_t)ceil(share * (double)spread->n);

    return spread->n ? (double)spread->values[i > 0 ? i - 1 : 0] : 0;
}

/* 1, 2 or 5 times a power of ten: the least that is not below `value`. */
static double round_width(double value, bool is_whole)
{
    double power = pow(10, floor(log10(value > 1e-9 ? value : 1e-9)));

    if (is_whole && value <= 1)
        return 1;
    for (double k = 1; k <= 5; k = k == 1 ? 2 : 5)
        if (value <= k * power * 1.0001) {
            return k * power;
        } else if (k == 5) {
            break;
        }
    return 10 * power;
}

/* Most values fill the bars; a long tail does not press them together. */
static void make_bars(struct history_spread *spread, bool is_whole)
{
    if (spread->n == 0)
        return;
    qsort(spread->values, spread->n, sizeof(*spread->values), compare_values);
    spread->mean /= (double)spread->n;
    double most = ant_history_quantile(spread, 1), usual = 1.5 * ant_history_quantile(spread, 0.98);
    spread->width = round_width((most < usual ? most : usual) / (HISTORY_BARS - 2), is_whole);
    for (size_t i = 0; i < spread->n; i++) {
        double bar = floor((double)spread->values[i] / spread->width);
        int k = bar < HISTORY_BARS - 1 ? (int)bar : HISTORY_BARS - 1;
        spread->bars[k]++;
        if (k >= spread->n_bars)
            spread->n_bars = k + 1;
    }
}

/* Numbers differ from row to row, reasons do not. */
static bool is_same_reason(const char *a, const char *b)
{
    while (*a && *b) {
        bool are_numbers = isdigit((unsigned char)*a) && isdigit((unsigned char)*b);
        if (!are_numbers && *a++ != *b++)
            return false;
        while (are_numbers && isdigit((unsigned char)*a))
            a++;
        while (are_numbers && isdigit((unsigned char)*b))
            b++;
    }
    return *a == *b;
}

/* The list keeps the first that come; the rest is counted together. */
static void add_reason(struct history *h, const struct ant_answer *answer)
{
    size_t n = answer->error_bytes;
    char *text = ant_xstrndup(answer->error, n < LONGEST_REASON ? n : LONGEST_REASON);

    for (int i = 0; i < h->n_reasons; i++)
        if (is_same_reason(h->reasons[i].text, text)) {
            h->reasons[i].count++;
            free(text);
            return;
        }
    if (h->n_reasons < HISTORY_REASONS) {
        h->reasons[h->n_reasons++] = (struct history_reason){text, 1, answer->row};
        return;
    }
    h->n_other_reasons++;
    free(text);
}

static int compare_reasons(const void *a, const void *b)
{
    const struct history_reason *x = a, *y = b;

    return (x->count < y->count) - (x->count > y->count);
}

static int read_answer(struct history *h, struct ant_results *results, int64_t i,
                       struct ant_error *err)
{
    struct ant_answer answer;

    ANT_TRY(ant_results_read_numbers(results, i, &answer, err));
    h->status[answer.status]++;
    h->finish[answer.finish]++;
    if (answer.status == ANT_STATUS_FAILED) {
        ANT_TRY(ant_results_read(results, i, &answer, err));
        add_reason(h, &answer);
    }
    if (answer.status != ANT_STATUS_OK)
        return 0;
    h->prompt_tokens += answer.prompt_tokens;
    h->output_tokens += answer.n_tokens;
    add_value(&h->prompts, answer.prompt_tokens);
    add_value(&h->answers, answer.n_tokens);
    if (isfinite(answer.t_first) && answer.t_first >= 0)
        add_value(&h->first, (double)answer.t_first);
    if (isfinite(answer.t_total) && answer.t_total >= 0)
        add_value(&h->total, (double)answer.t_total);
    return 0;
}

static int read_answers(struct history *h, struct ant_results *results, struct ant_error *err)
{
    h->is_complete = ant_results_complete(results);
    h->n_results = ant_results_count(results);
    h->n_samples = ant_results_samples(results);
    h->n_rows = h->n_results / h->n_samples;
    h->n_ok = ant_results_ok(results);
    h->n_failed = ant_results_failed(results);
    h->n_missing = h->n_results - h->n_ok - h->n_failed;
    for (int64_t i = 0; i < h->n_results; i++)
        ANT_TRY(read_answer(h, results, i, err));
    make_bars(&h->prompts, true);
    make_bars(&h->answers, true);
    make_bars(&h->first, false);
    make_bars(&h->total, false);
    qsort(h->reasons, (size_t)h->n_reasons, sizeof(*h->reasons), compare_reasons);
    return 0;
}

/* ---- the course of the job ------------------------------------------------------------------- */

/* Notes of one start of one replica are together in the table: [first, end) is the run of them
 * that begins at `first`. */
static size_t run_end(const struct ant_moments *moments, size_t first)
{
    const struct ant_moment *items = moments->items;
    size_t end = first + 1;

    while (end < moments->n && items[end].shard == items[first].shard &&
           items[end].start == items[first].start && items[end].rank == items[first].rank)
        end++;
    return end;
}

static int compare_sessions(const void *a, const void *b)
{
    const struct history_session *x = a, *y = b;

    return (x->begin > y->begin) - (x->begin < y->begin);
}

static double gain(double was, double is)
{
    return is > was ? is - was : 0;
}

/* Files can be damaged: what is impossible goes, and so does what is older than the note before. */
static void drop_nonsense(struct ant_moments *moments)
{
    size_t kept = 0;

    for (size_t i = 0; i < moments->n; i++) {
        const struct ant_moment *is = &moments->items[i];
        const struct ant_moment *last = kept ? &moments->items[kept - 1] : NULL;
        bool is_next =
            last && last->shard == is->shard && last->start == is->start && last->rank == is->rank;
        if (ant_moment_is_sane(is) && (!is_next || is->time >= last->time))
            moments->items[kept++] = *is;
    }
    moments->n = kept;
}

/* Runs that overlap in time are one session. */
static void find_sessions(struct history *h)
{
    const struct ant_moment *items = h->moments.items;
    struct history_session *all = ant_xcalloc(h->moments.n + 1, sizeof(*all));
    int n = 0;

    for (size_t i = 0, end; i < h->moments.n; i = end) {
        end = run_end(&h->moments, i);
        all[n++] = (struct history_session){.begin = items[i].time, .end = items[end - 1].time};
    }
    qsort(all, (size_t)n, sizeof(*all), compare_sessions);
    for (int i = 0; i < n; i++) {
        struct history_session *last = h->n_sessions ? &all[h->n_sessions - 1] : NULL;
        if (!last || all[i].begin > last->end)
            all[h->n_sessions++] = all[i];
        else if (all[i].end > last->end)
            last->end = all[i].end;
    }
    for (int i = 0; i < h->n_sessions; i++) {
        all[i].at = h->seconds;
        h->seconds += all[i].end - all[i].begin;
    }
    h->sessions = all;
}

static double place(const struct history *h, double time)
{
    const struct history_session *session = h->sessions;

    for (int i = 1; i < h->n_sessions && h->sessions[i].begin <= time; i++)
        session = &h->sessions[i];
    return session->at + fmin(fmax(time - session->begin, 0), session->end - session->begin);
}

static void add_part(struct history_step *to, const struct history_step *what, double share)
{
    const double *from = (const double *)what;
    double *sum = (double *)to;

    for (size_t i = 0; i < sizeof(*what) / sizeof(double); i++)
        sum[i] += share * from[i];
}

/* Spread what happened from `begin` to `end` over the steps that lie there. */
static void add_between(struct history *h, struct history_lane *lane,
                        const struct history_step *what, double begin, double end)
{
    int first = (int)(begin / h->step_s), last = (int)(end / h->step_s);

    add_part(&lane->sum, what, 1);
    if (last >= h->n_steps)
        last = h->n_steps - 1;
    if (first > last)
        first = last;
    for (int i = first; i <= last; i++) {
        double from = fmax(begin, i * h->step_s), to = fmin(end, (i + 1) * h->step_s);
        double share = end > begin ? fmax(to - from, 0) / (end - begin) : i == first;
        add_part(&lane->steps[i], what, share);
    }
}

static double engine_seconds(const struct ant_moment *moment)
{
    return moment->prefill_s + moment->decode_s + moment->idle_s;
}

/* Where each note's engine time ends, on the axis. Counts grow when a step of the engine has ended,
 * which is before the note and may be long before. The engine's own clock says when, but for the
 * little time that it does not count; how much that is by any note, a later one tells that comes
 * right at the end of a step. */
static double *find_ends(const struct history *h, const struct ant_moment *notes, size_t n)
{
    double *ends = ant_xcalloc(n, sizeof(*ends)), uncounted = INFINITY;

    for (size_t i = n; i-- > 0;) {
        double counted = engine_seconds(&notes[i]) - engine_seconds(&notes[0]);
        uncounted = fmin(uncounted, fmax(notes[i].time - notes[0].time - counted, 0));
        ends[i] = fmin(place(h, notes[0].time + counted + uncounted), place(h, notes[i].time));
    }
    return ends;
}

static void add_note(struct history *h, struct history_lane *lane, const struct ant_moment *was,
                     const struct ant_moment *is, double end)
{
    const struct history_step what = {
        .prompt_tokens = gain((double)was->prompt_tokens, (double)is->prompt_tokens),
        .output_tokens = gain((double)was->output_tokens, (double)is->output_tokens),
        .rows = gain((double)was->rows, (double)is->rows),
        .failed = gain((double)was->failed, (double)is->failed),
        .stolen = gain((double)was->stolen, (double)is->stolen),
        .prefill_s = gain(was->prefill_s, is->prefill_s),
        .decode_s = gain(was->decode_s, is->decode_s),
        .idle_s = gain(was->idle_s, is->idle_s),
    };
    double took = what.prefill_s + what.decode_s + what.idle_s;

    add_between(h, lane, &what, fmax(end - took, 0), end);
}

static struct history_lane *lane_of(struct history *h, const struct ant_moment *moment)
{
    for (int i = 0; i < h->n_lanes; i++)
        if (h->lanes[i].shard == moment->shard && h->lanes[i].rank == moment->rank)
            return &h->lanes[i];
    h->lanes = ant_xrealloc(h->lanes, (size_t)h->n_lanes + 1, sizeof(*h->lanes));
    h->lanes[h->n_lanes] = (struct history_lane){
        .shard = moment->shard, .rank = moment->rank, .dp_rank = moment->dp_rank};
    return &h->lanes[h->n_lanes++];
}

static int compare_lanes(const void *a, const void *b)
{
    const struct history_lane *x = a, *y = b;

    if (x->shard != y->shard)
        return x->shard < y->shard ? -1 : 1;
    return (x->rank > y->rank) - (x->rank < y->rank);
}

/* As many steps as there are notes to tell them apart. */
static int count_steps(const struct history *h)
{
    size_t most = 8;

    for (size_t i = 0, end; i < h->moments.n; i = end) {
        end = run_end(&h->moments, i);
        if (end - i > most)
            most = end - i;
    }
    return most < HISTORY_STEPS ? (int)most : HISTORY_STEPS;
}

static void make_lanes(struct history *h)
{
    const struct ant_moment *items = h->moments.items;

    drop_nonsense(&h->moments); /* in place */
    find_sessions(h);
    h->n_steps = count_steps(h);
    h->step_s = h->seconds / h->n_steps;
    for (size_t i = 0, end; i < h->moments.n && h->seconds > 0; i = end) {
        struct history_lane *lane = lane_of(h, &items[i]);
        end = run_end(&h->moments, i);
        double *ends = find_ends(h, &items[i], end - i);
        for (size_t k = i + 1; k < end; k++)
            add_note(h, lane, &items[k - 1], &items[k], ends[k - i]);
        free(ends);
    }
    if (h->n_lanes > 0)
        qsort(h->lanes, (size_t)h->n_lanes, sizeof(*h->lanes), compare_lanes);
}

/* Without a timeline the reports alone make the lanes. */
static void join_reports(struct history *h)
{
    bool has_lanes = h->n_lanes > 0;

    for (size_t i = 0; i < h->n_reports; i++) {
        const struct ant_rank_report *report = &h->reports[i];
        const struct ant_moment key = {
            .shard = report->shard, .rank = report->rank, .dp_rank = report->dp_rank};
        double busy = report->prefill_s + report->decode_s;
        int n = h->n_lanes;
        if (!has_lanes && busy + report->idle_s <= 0)
            continue; /* not the first rank of its replica */
        struct history_lane *lane = has_lanes ? NULL : lane_of(h, &key);
        for (int k = 0; k < n && has_lanes; k++)
            if (h->lanes[k].shard == report->shard && h->lanes[k].rank == report->rank)
                lane = &h->lanes[k];
        if (!lane)
            continue;
        lane->report = report;
        if (!has_lanes)
            lane->sum = (struct history_step){(double)report->prompt_tokens,
                                              (double)report->output_tokens,
                                              (double)report->rows,
                                              (double)report->failed,
                                              (double)report->stolen,
                                              report->prefill_s,
                                              report->decode_s,
                                              report->idle_s};
    }
}

static void weigh(struct history *h)
{
    for (int i = 0; i < h->n_lanes; i++) {
        const struct history_step *sum = &h->lanes[i].sum;
        double busy = sum->prefill_s + sum->decode_s;
        h->mean_busy_s += busy / h->n_lanes;
        h->busiest_s = fmax(h->busiest_s, busy);
        h->stolen += (int64_t)llround(sum->stolen);
    }
    for (size_t i = 0; i < h->n_reports; i++)
        h->joules += h->reports[i].joules;
}

int ant_history_read(struct history *out, const char *path, struct ant_error *err)
{
    struct ant_results *results = NULL;

    *out = (struct history){.path = path};
    ANT_TRY(ant_results_open(&results, path, err));
    int rc = read_answers(out, results, err);
    if (rc == 0)
        rc = ant_results_reports(results, &out->reports, &out->n_reports, err);
    if (rc == 0)
        rc = ant_results_timeline(results, &out->moments, err);
    if (rc == 0)
        rc = ant_results_notes(results, &out->notes, &out->n_notes, err);
    ant_results_close(results);
    if (rc < 0)
        return rc;
    make_lanes(out);
    join_reports(out);
    weigh(out);
    return 0;
}

const char *ant_history_note(const struct history *history, const char *name)
{
    for (size_t i = 0; i < history->n_notes; i++)
        if (strcmp(history->notes[i].name, name) == 0)
            return history->notes[i].text;
    return "";
}

void ant_history_release(struct history *history)
{
    free(history->prompts.values);
    free(history->answers.values);
    free(history->first.values);
    free(history->total.values);
    for (int i = 0; i < history->n_reasons; i++)
        free(history->reasons[i].text);
    ant_results_notes_release(history->notes, history->n_notes);
    ant_moments_release(&history->moments);
    free(history->reports);
    free(history->sessions);
    free(history->lanes);
}
