/* SPDX-License-Identifier: Apache-2.0 */
/* What a results file tells of how its job went: what antiphon report shows as a page, as JSON and
 * as CSV. history.c reads and sums up, history_page.c and history_chart.c write the page,
 * history_export.c the rest. Thread: the main thread. */
#ifndef ANT_CLI_HISTORY_H
#define ANT_CLI_HISTORY_H

#include <stdbool.h>

#include "base/mem.h"
#include "store/results.h"

enum { HISTORY_STEPS = 160, HISTORY_BARS = 32, HISTORY_REASONS = 12 };

/* Values of all answers, as bars of equal width from 0 on; the last has all that is longer too. */
struct history_spread {
    float *values; /* owned, sorted */
    size_t n, cap;
    double mean, width;
    int n_bars;
    int64_t bars[HISTORY_BARS];
};

/* What was done in one step of time. */
struct history_step {
    double prompt_tokens, output_tokens, rows, failed, stolen;
    double prefill_s, decode_s, idle_s;
};

/* A replica: its first rank, in all starts. */
struct history_lane {
    int32_t shard, rank, dp_rank;
    const struct ant_rank_report *report; /* NULL: none; borrowed */
    struct history_step steps[HISTORY_STEPS];
    struct history_step sum;
};

/* Time in which something ran; between two of them nothing did, and no room is left for it. */
struct history_session {
    double begin, end; /* seconds since 1970 */
    double at;         /* seconds since the first began to which `begin` is moved */
};

struct history {
    const char *path; /* borrowed */
    int64_t n_results, n_rows, n_samples, n_ok, n_failed, n_missing;
    bool is_complete;
    int64_t status[ANT_STATUS_MISSING + 1], finish[ANT_FINISH_LAST + 1];
    int64_t prompt_tokens, output_tokens; /* of the answers */
    struct history_spread prompts, answers, first, total;
    struct history_reason {
        char *text; /* owned; of the first such row: others may tell other numbers */
        int64_t count, row;
    } reasons[HISTORY_REASONS]; /* most frequent first */
    int n_reasons;
    int64_t n_other_reasons; /* rows */

    struct ant_rank_report *reports; /* owned */
    size_t n_reports;
    struct ant_moments moments;
    struct ant_results_note *notes; /* owned */
    size_t n_notes;

    struct history_session *sessions; /* owned */
    int n_sessions;
    double seconds, step_s;     /* of all sessions, and of a step */
    struct history_lane *lanes; /* owned, by shard and rank */
    int n_lanes, n_steps;
    double busiest_s, mean_busy_s; /* prefill and decode of replicas */
    int64_t stolen;
    double joules; /* of all ranks; 0: not measured */
};

/* Free with ant_history_release, also after an error. */
int ant_history_read(struct history *out, const char *path, struct ant_error *err);
void ant_history_release(struct history *history);
/* The smallest value that a share of the values does not exceed; 0 of none. */
double ant_history_quantile(const struct history_spread *spread, double share);
/* "" if there is no such note. */
const char *ant_history_note(const struct history *history, const char *name);

/* history_page.c, history_export.c: append to `out`. */
void ant_history_page(const struct history *history, struct ant_buf *out);
void ant_history_json(const struct history *history, struct ant_buf *out);
void ant_history_csv(const struct history *history, struct ant_buf *out);

/* history_chart.c: pieces of the page. */
void ant_chart_text(struct ant_buf *out, const char *text); /* escaped for HTML */
void ant_chart_number(struct ant_buf *out, double value);   /* "12.5k" */
void ant_chart_duration(struct ant_buf *out, double seconds);
/* A rate in each step, as an area. `member`: offset in struct history_step. */
void ant_chart_rate(struct ant_buf *out, const struct history *history, const char *title,
                    const char *css, size_t member);
void ant_chart_timeline(struct ant_buf *out, const struct history *history);
void ant_chart_spread(struct ant_buf *out, const struct history_spread *spread, const char *title,
                      const char *css, bool is_time);
/* Prefill, decode and idle of a replica beside each other, as shares of `most` seconds. */
void ant_chart_shares(struct ant_buf *out, const struct history_step *sum, double most);

#endif
