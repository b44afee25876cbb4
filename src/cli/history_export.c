/* SPDX-License-Identifier: Apache-2.0 */
/* The figures of a report for other programs. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "cli/history.h"

static json_t *spread_of(const struct history_spread *spread)
{
    json_t *bars = json_array();

    for (int i = 0; i < spread->n_bars; i++)
        json_array_append_new(bars, json_integer(spread->bars[i]));
    return json_pack("{s:I, s:f, s:f, s:f, s:f, s:f, s:o}", "n", (json_int_t)spread->n, "mean",
                     spread->mean, "median", ant_history_quantile(spread, 0.5), "p95",
                     ant_history_quantile(spread, 0.95), "max", ant_history_quantile(spread, 1),
                     "bar_width", spread->width, "bars", bars);
}

static json_t *lane_of(const struct history_lane *lane)
{
    const struct history_step *sum = &lane->sum;
    const struct ant_rank_report *report = lane->report;
    json_t *out = json_pack(
        "{s:i, s:i, s:i, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f}", "shard", lane->shard, "rank",
        lane->rank, "replica", lane->dp_rank, "rows", sum->rows, "failed", sum->failed, "stolen",
        sum->stolen, "prompt_tokens", sum->prompt_tokens, "output_tokens", sum->output_tokens,
        "prefill_s", sum->prefill_s, "decode_s", sum->decode_s, "idle_s", sum->idle_s);

    if (report)
        json_object_update_new(out, json_pack("{s:s, s:f, s:f, s:f, s:f, s:f, s:f, s:f}", "host",
                                              report->host, "load_s", report->load_s, "total_s",
                                              report->total_s, "weight_bytes", report->weight_bytes,
                                              "kv_bytes", report->kv_bytes, "flops", report->flops,
                                              "bandwidth", report->bandwidth, "peak_memory",
                                              report->peak_memory));
    return out;
}

static json_t *counts_of(const char *const *names, const int64_t *counts)
{
    json_t *out = json_object();

    for (int i = 0; names[i]; i++)
        if (counts[i] > 0)
            json_object_set_new(out, names[i], json_integer(counts[i]));
    return out;
}

static json_t *reasons_of(const struct history *h)
{
    json_t *out = json_array();

    for (int i = 0; i < h->n_reasons; i++)
        json_array_append_new(out, json_pack("{s:s?, s:I, s:I}", "reason", h->reasons[i].text,
                                             "rows", (json_int_t)h->reasons[i].count, "first_row",
                                             (json_int_t)h->reasons[i].row));
    return out;
}

/* Of all replicas together. */
static json_t *steps_of(const struct history *h)
{
    json_t *out = json_array();

    for (int i = 0; i < h->n_steps && h->n_lanes > 0; i++) {
        struct history_step sum = {0};
        for (int k = 0; k < h->n_lanes; k++) {
            const struct history_step *step = &h->lanes[k].steps[i];
            sum.prompt_tokens += step->prompt_tokens;
            sum.output_tokens += step->output_tokens;
            sum.rows += step->rows;
            sum.prefill_s += step->prefill_s;
            sum.decode_s += step->decode_s;
            sum.idle_s += step->idle_s;
        }
        json_array_append_new(out, json_pack("{s:f, s:f, s:f, s:f, s:f, s:f, s:f}", "at_s",
                                             i * h->step_s, "prompt_tokens", sum.prompt_tokens,
                                             "output_tokens", sum.output_tokens, "rows", sum.rows,
                                             "prefill_s", sum.prefill_s, "decode_s", sum.decode_s,
                                             "idle_s", sum.idle_s));
    }
    return out;
}

static json_t *notes_of(const struct history *h)
{
    json_t *out = json_object();

    for (size_t i = 0; i < h->n_notes; i++) {
        const struct ant_results_note *note = &h->notes[i];
        json_t *value =
            strcmp(note->name, "settings") == 0 ? json_loads(note->text, 0, NULL) : NULL;
        json_object_set_new(out, note->name, value ? value : json_string(note->text));
    }
    return out;
}

void ant_history_json(const struct history *h, struct ant_buf *out)
{
    json_t *ranks = json_array();

    for (int i = 0; i < h->n_lanes; i++)
        json_array_append_new(ranks, lane_of(&h->lanes[i]));
    json_t *json = json_pack(
        "{s:s, s:b, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:f, s:f, s:f, s:I}", "schema",
        "antiphon-report", "complete", h->is_complete, "rows", (json_int_t)h->n_rows, "samples",
        (json_int_t)h->n_samples, "ok", (json_int_t)h->n_ok, "failed", (json_int_t)h->n_failed,
        "missing", (json_int_t)h->n_missing, "prompt_tokens", (json_int_t)h->prompt_tokens,
        "output_tokens", (json_int_t)h->output_tokens, "seconds", h->seconds, "busiest_s",
        h->busiest_s, "mean_busy_s", h->mean_busy_s, "stolen", (json_int_t)h->stolen);
    json_object_set_new(json, "joules", json_real(h->joules));
    json_object_set_new(json, "status", counts_of(ant_status_names, h->status));
    json_object_set_new(json, "finish", counts_of(ant_finish_names, h->finish));
    json_object_set_new(json, "reasons", reasons_of(h));
    json_object_set_new(json, "prompt_lengths", spread_of(&h->prompts));
    json_object_set_new(json, "answer_lengths", spread_of(&h->answers));
    json_object_set_new(json, "first_token_s", spread_of(&h->first));
    json_object_set_new(json, "answer_s", spread_of(&h->total));
    json_object_set_new(json, "ranks", ranks);
    json_object_set_new(json, "step_s", json_real(h->step_s));
    json_object_set_new(json, "steps", steps_of(h));
    json_object_set_new(json, "provenance", notes_of(h));
    char *text = json_dumps(json, JSON_INDENT(1) | JSON_REAL_PRECISION(9));
    ant_buf_printf(out, "%s\n", text ? text : "{}");
    free(text);
    json_decref(json);
}

void ant_history_csv(const struct history *h, struct ant_buf *out)
{
    ant_buf_printf(out, "at_s,seconds,shard,rank,replica,prompt_tokens,output_tokens,rows,failed,"
                        "stolen,prefill_s,decode_s,idle_s\n");
    for (int i = 0; i < h->n_steps; i++)
        for (int k = 0; k < h->n_lanes; k++) {
            const struct history_lane *lane = &h->lanes[k];
            const struct history_step *step = &lane->steps[i];
            ant_buf_printf(out, "%.3f,%.3f,%d,%d,%d,%.6g,%.6g,%.6g,%.6g,%.6g,%.6g,%.6g,%.6g\n",
                           i * h->step_s, h->step_s, lane->shard, lane->rank, lane->dp_rank,
                           step->prompt_tokens, step->output_tokens, step->rows, step->failed,
                           step->stolen, step->prefill_s, step->decode_s, step->idle_s);
        }
}
