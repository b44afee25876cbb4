/* SPDX-License-Identifier: Apache-2.0 */
/* One page that needs nothing but itself: no script, no font, no picture from elsewhere. */
#include "config.h"

#include <string.h>
#include <time.h>

#include <jansson.h>

#include "base/clock.h"
#include "base/version.h"
#include "cli/history.h"

static const char style[] =
    ":root{--page:#f4f5f7;--card:#fff;--ink:#1a1d23;--soft:#596070;--line:#dde0e6;"
    "--prefill:#2f6fd6;--decode:#cc6a0a;--idle:#c3c8d1;--good:#1a7f4b;--bad:#c22f3d;--mark:#1a1d23;"
    "color-scheme:light dark}\n"
    "@media(prefers-color-scheme:dark){:root{--page:#121419;--card:#1b1e25;--ink:#e7e9ee;"
    "--soft:#9ba2b0;--line:#333843;--prefill:#5d97f2;--decode:#e9964a;--idle:#4d5361;"
    "--good:#4cc38a;--bad:#f0717c;--mark:#fff}}\n"
    "*{box-sizing:border-box}\n"
    "body{margin:0;background:var(--page);color:var(--ink);font:15px/1.45 system-ui,-apple-system,"
    "'Segoe UI',Roboto,'Noto Sans',sans-serif}\n"
    "main{max-width:1180px;margin:0 auto;padding:28px 20px 60px}\n"
    "h1{font-size:24px;margin:0 0 2px;overflow-wrap:anywhere}h2{font-size:16px;margin:0 0 4px}\n"
    "section{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:18px "
    "20px;margin-top:16px}\n"
    "header p,.note{color:var(--soft);margin:4px 0 0;overflow-wrap:anywhere}\n"
    ".state{display:inline-block;padding:1px 10px;border-radius:10px;color:#fff;"
    "background:var(--good);font-size:13px;font-weight:600;margin-right:8px;text-decoration:none}"
    ".state.partial{background:var(--bad)}@media(prefers-color-scheme:dark){.state{color:#121419}}"
    "\n"
    ".tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:12px;"
    "margin-top:16px}\n"
    ".tile{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:12px "
    "16px}.tile span{color:var(--soft);font-size:13px}.tile b{display:block;font-size:24px;"
    "font-weight:600;font-variant-numeric:tabular-nums}.tile small{color:var(--soft);"
    "font-size:13px}\n"
    ".charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,400px),1fr));"
    "gap:22px 30px;margin-top:10px}\n"
    ".chart{margin:0;min-width:0}figcaption{font-weight:600;font-size:14px}\n"
    ".value{margin:0;font-size:22px;font-weight:600}.value small{font-size:13px;font-weight:400;"
    "color:var(--soft);margin-left:2px}\n"
    ".facts{margin:0 0 2px;color:var(--soft);font-size:13px;display:flex;flex-wrap:wrap;gap:0 "
    "14px}.facts b{color:var(--ink);font-weight:600}\n"
    ".plot{position:relative;height:130px;margin:10px 0 0 42px;border-bottom:1px solid "
    "var(--soft)}.plot svg,.strip svg{position:absolute;inset:0;width:100%;height:100%}\n"
    ".ys span{position:absolute;right:100%;margin-right:6px;transform:translateY(50%);"
    "font-size:12px;color:var(--soft);white-space:nowrap}\n"
    ".xs{position:relative;height:20px;margin-left:42px}.xs span{position:absolute;top:3px;"
    "transform:translateX(-50%);font-size:12px;color:var(--soft);white-space:nowrap}"
    ".xs span:first-child{transform:none}\n"
    ".grid{stroke:var(--line);stroke-width:1;fill:none;vector-effect:non-scaling-stroke}\n"
    ".cut{stroke:var(--bad);stroke-width:1.5;stroke-dasharray:4 3;vector-effect:"
    "non-scaling-stroke;fill:none}\n"
    ".mean{stroke:var(--ink);stroke-width:1;stroke-dasharray:2 3;vector-effect:"
    "non-scaling-stroke;fill:none}\n"
    ".mark{stroke:var(--mark);stroke-width:1.5;vector-effect:non-scaling-stroke;fill:none}"
    ".mark.high{stroke-dasharray:3 3}\n"
    ".area{fill:var(--tone)}.tone-prefill{--tone:var(--prefill)}.tone-decode{--tone:"
    "var(--decode)}\n"
    ".prefill{fill:var(--prefill);background:var(--prefill)}.decode{fill:var(--decode);"
    "background:var(--decode)}.idle{fill:var(--idle);background:var(--idle)}\n"
    ".legend{display:flex;flex-wrap:wrap;gap:4px 18px;font-size:13px;color:var(--soft);margin:4px "
    "0 "
    "10px}.legend b{display:inline-block;width:11px;height:11px;border-radius:2px;margin-right:"
    "6px}.legend "
    "b.steal{width:7px;height:7px;border-radius:50%;background:var(--mark);margin-right:8px}\n"
    ".lane{display:flex;align-items:center}.lane .name{flex:0 0 42px;padding-right:8px;"
    "text-align:right;font-size:12px;color:var(--soft);font-variant-numeric:tabular-nums;"
    "margin-bottom:9px}.many .name{margin-bottom:3px}\n"
    ".strip{position:relative;flex:1;height:30px;margin-bottom:9px;min-width:0}.many .strip{"
    "height:12px;margin-bottom:3px}.strip i{position:absolute;bottom:-6px;width:5px;height:5px;"
    "margin-left:-2px;border-radius:50%;background:var(--mark)}.many .strip "
    "i{bottom:auto;top:4px}\n"
    ".strip-axis{flex:1}.strip-axis .xs{margin-left:0}\n"
    ".wide{overflow-x:auto}table{border-collapse:collapse;width:100%;font-size:14px;"
    "font-variant-numeric:tabular-nums}th,td{padding:5px 10px;text-align:right;border-bottom:1px "
    "solid var(--line);white-space:nowrap}th{color:var(--soft);font-weight:500;font-size:13px}"
    "th:first-child,td:first-child{text-align:left;padding-left:0}td.text,th.text{text-align:left}"
    "\n"
    ".bar{display:flex;width:170px;height:13px}.bar b{display:block;height:100%}\n"
    ".why{margin-top:16px}.why "
    "td{white-space:normal;overflow-wrap:anywhere}.bad{color:var(--bad)}\n"
    "dl{display:grid;grid-template-columns:minmax(110px,max-content) 1fr;gap:5px 18px;margin:8px 0 "
    "0;font-size:14px}dt{color:var(--soft)}dd{margin:0;overflow-wrap:anywhere;min-width:0}\n"
    "summary{cursor:pointer;font-weight:600;font-size:14px;margin-top:14px}code{font:13px/1.4 "
    "ui-monospace,Menlo,Consolas,'DejaVu Sans Mono',monospace}\n"
    "@media(max-width:560px){main{padding:18px 12px 40px}section{padding:14px}h1{font-size:20px}"
    "dl{grid-template-columns:1fr;gap:0}dd{margin-bottom:7px}.tile b{font-size:20px}"
    ".tiles{grid-template-columns:1fr 1fr}}\n"
    "@media print{body{background:#fff}section,.tile{break-inside:avoid}}\n";

static void add_tile(struct ant_buf *out, const char *name, double value, const char *unit,
                     const char *below)
{
    ant_buf_printf(out, "<div class=tile><span>%s</span><b>", name);
    if (strcmp(unit, "s") == 0)
        ant_chart_duration(out, value);
    else
        ant_chart_number(out, value);
    ant_buf_printf(out, "%s</b><small>%s</small></div>\n", strcmp(unit, "s") == 0 ? "" : unit,
                   below);
}

/* Seconds in which answers were made: those of the timeline, or the longest rank's. */
static double answer_seconds(const struct history *h)
{
    double most = 0;

    for (size_t i = 0; i < h->n_reports; i++)
        if (h->reports[i].total_s > most)
            most = h->reports[i].total_s;
    return h->seconds > 0 ? h->seconds : most;
}

static void add_head(struct ant_buf *out, const struct history *h)
{
    ant_buf_printf(out, "<header><h1>");
    ant_chart_text(out, h->path);
    ant_buf_printf(out, "</h1><p><span class=\"state%s\">%s</span>",
                   h->is_complete ? "" : " partial", h->is_complete ? "complete" : "not complete");
    if (h->n_failed > 0)
        ant_buf_printf(out, "<a class=\"state partial\" href=\"#ended\">%lld failed</a>",
                       (long long)h->n_failed);
    ant_chart_text(out, ant_history_note(h, "model"));
    ant_buf_printf(out, "</p><p>");
    ant_chart_text(out, ant_history_note(h, "device"));
    ant_buf_printf(out, ", %d replica%s", h->n_lanes, h->n_lanes == 1 ? "" : "s");
    if (*ant_history_note(h, "hosts")) {
        ant_buf_printf(out, " on ");
        ant_chart_text(out, ant_history_note(h, "hosts"));
    }
    ant_buf_printf(out, "; ended ");
    ant_chart_text(out, ant_history_note(h, "ended"));
    ant_buf_printf(out, "</p></header>\n");
}

static void add_tiles(struct ant_buf *out, const struct history *h)
{
    double seconds = answer_seconds(h);
    char below[96];

    ant_buf_printf(out, "<div class=tiles>\n");
    snprintf(below, sizeof(below), "%lld failed, %lld missing", (long long)h->n_failed,
             (long long)h->n_missing);
    add_tile(out, "answers", (double)h->n_ok, "", below);
    if (seconds > 0) {
        snprintf(below, sizeof(below), "%lld in all", (long long)h->output_tokens);
        add_tile(out, "tokens drawn", (double)h->output_tokens / seconds, "/s", below);
        snprintf(below, sizeof(below), "%lld in all", (long long)h->prompt_tokens);
        add_tile(out, "tokens of prompts", (double)h->prompt_tokens / seconds, "/s", below);
        snprintf(below, sizeof(below), "%s", h->n_sessions > 1 ? "without pauses" : "for answers");
        add_tile(out, "time", seconds, "s", below);
    }
    if (h->mean_busy_s > 0) {
        snprintf(below, sizeof(below), "%lld row%s taken over", (long long)h->stolen,
                 h->stolen == 1 ? "" : "s");
        add_tile(out, "imbalance", 100 * (h->busiest_s / h->mean_busy_s - 1), " %", below);
    }
    if (h->joules > 0) {
        snprintf(below, sizeof(below), "%.3g J a token drawn",
                 h->output_tokens > 0 ? h->joules / (double)h->output_tokens : 0);
        add_tile(out, "energy", h->joules / 3600, " Wh", below);
    }
    ant_buf_printf(out, "</div>\n");
}

static void add_course(struct ant_buf *out, const struct history *h)
{
    if (h->n_lanes == 0 || h->seconds <= 0)
        return;
    ant_buf_printf(out, "<section><h2>Throughput over time</h2><div class=charts>\n");
    ant_chart_rate(out, h, "prompt tokens computed", "tone-prefill",
                   offsetof(struct history_step, prompt_tokens));
    ant_chart_rate(out, h, "tokens drawn", "tone-decode",
                   offsetof(struct history_step, output_tokens));
    ant_buf_printf(out, "</div>%s</section>\n",
                   h->n_sessions > 1 ? "<p class=note>Dotted: on average; red: stopped, and later "
                                       "begun again. Pauses are left out.</p>"
                                     : "<p class=note>Dotted: on average.</p>");
    ant_buf_printf(out, "<section><h2>What each replica did</h2><p class=legend>"
                        "<span><b class=prefill></b>prefill</span><span><b class=decode></b>decode"
                        "</span><span><b class=idle></b>idle</span><span><b class=steal></b>rows "
                        "taken over from others</span></p>\n");
    ant_chart_timeline(out, h);
    ant_buf_printf(out, "</section>\n");
}

static void add_spreads(struct ant_buf *out, const struct history *h)
{
    if (h->n_ok == 0)
        return;
    ant_buf_printf(out, "<section><h2>How long prompts and answers were</h2><div class=charts>\n");
    ant_chart_spread(out, &h->prompts, "tokens of a prompt", "tone-prefill", false);
    ant_chart_spread(out, &h->answers, "tokens of an answer", "tone-decode", false);
    if (h->first.n > 0)
        ant_chart_spread(out, &h->first, "from admission to the first token", "tone-prefill", true);
    if (h->total.n > 0)
        ant_chart_spread(out, &h->total, "from admission to the end", "tone-decode", true);
    ant_buf_printf(out, "</div><p class=note>Solid line: median; dashed: 95 %% are below.</p>"
                        "</section>\n");
}

static void add_lane_row(struct ant_buf *out, const struct history *h,
                         const struct history_lane *lane, double most)
{
    const struct history_step *sum = &lane->sum;
    double busy = sum->prefill_s + sum->decode_s;

    ant_buf_printf(out, "<tr><td>");
    if (h->lanes[h->n_lanes - 1].shard > 0)
        ant_buf_printf(out, "%d/", lane->shard);
    ant_buf_printf(out, "%d</td><td class=text>", lane->rank);
    ant_chart_text(out, lane->report ? lane->report->host : "");
    ant_buf_printf(out, "</td><td>");
    ant_chart_shares(out, sum, most);
    ant_buf_printf(out, "</td><td>%.1f</td><td>%.1f</td><td>%.1f</td><td>%.0f</td><td>%.0f</td>",
                   sum->prefill_s, sum->decode_s, sum->idle_s, sum->rows, sum->stolen);
    ant_buf_printf(out, "<td>%.0f</td><td>%.0f</td><td>", sum->prompt_tokens, sum->output_tokens);
    ant_chart_number(out, busy > 0 ? sum->output_tokens / busy : 0);
    if (h->joules > 0) {
        ant_buf_printf(out, "</td><td>");
        ant_chart_number(out, lane->report ? lane->report->joules / 1e3 : 0);
    }
    ant_buf_printf(out, "</td></tr>\n");
}

static void add_balance(struct ant_buf *out, const struct history *h)
{
    enum { SHOWN = 128 };
    double most = 0;

    if (h->n_lanes == 0)
        return;
    for (int i = 0; i < h->n_lanes; i++) {
        const struct history_step *sum = &h->lanes[i].sum;
        double all = sum->prefill_s + sum->decode_s + sum->idle_s;
        most = all > most ? all : most;
    }
    ant_buf_printf(out, "<section><h2>Load balance</h2><p class=note>The busiest replica computed "
                        "for ");
    ant_chart_duration(out, h->busiest_s);
    ant_buf_printf(out, ", all on average for ");
    ant_chart_duration(out, h->mean_busy_s);
    ant_buf_printf(out,
                   ".</p><div class=wide><table><tr><th>rank<th class=text>host<th>"
                   "<th>prefill s<th>decode s<th>idle s<th>rows<th>taken over<th>prompt "
                   "tokens<th>drawn<th>drawn/s%s</tr>\n",
                   h->joules > 0 ? "<th>kJ" : "");
    for (int i = 0; i < h->n_lanes && i < SHOWN; i++)
        add_lane_row(out, h, &h->lanes[i], most);
    ant_buf_printf(out, "</table></div>");
    if (h->n_lanes > SHOWN)
        ant_buf_printf(out, "<p class=note>The first %d of %d.</p>", SHOWN, h->n_lanes);
    ant_buf_printf(out, "</section>\n");
}

static void add_outcomes(struct ant_buf *out, const struct history *h)
{
    ant_buf_printf(out,
                   "<section id=ended><h2>How rows ended</h2><div class=wide><table><tr><th>status"
                   "<th>rows<th class=text>of them ended by</tr>\n");
    for (int i = 0; ant_status_names[i]; i++) {
        if (h->status[i] == 0)
            continue;
        ant_buf_printf(out, "<tr><td%s>%s</td><td>%lld</td><td class=text>",
                       i == ANT_STATUS_OK ? "" : " class=bad", ant_status_names[i],
                       (long long)h->status[i]);
        for (int k = 0, n = 0; i == ANT_STATUS_OK && ant_finish_names[k]; k++)
            if (h->finish[k] > 0 && k != ANT_FINISH_ERROR && k != ANT_FINISH_NONE)
                ant_buf_printf(out, "%s%lld %s", n++ ? ", " : "", (long long)h->finish[k],
                               ant_finish_names[k]);
        ant_buf_printf(out, "</td></tr>\n");
    }
    ant_buf_printf(out, "</table></div>");
    if (h->n_reasons > 0)
        ant_buf_printf(out, "<table class=why><tr><th>reason (with the numbers of the first "
                            "row)<th>rows<th>first row</tr>\n");
    for (int i = 0; i < h->n_reasons; i++) {
        ant_buf_printf(out, "<tr><td>");
        ant_chart_text(out, h->reasons[i].text);
        ant_buf_printf(out, "</td><td>%lld</td><td>%lld</td></tr>\n",
                       (long long)h->reasons[i].count, (long long)h->reasons[i].row);
    }
    if (h->n_other_reasons > 0)
        ant_buf_printf(out, "<tr><td>other reasons</td><td>%lld</td><td></td></tr>\n",
                       (long long)h->n_other_reasons);
    if (h->n_reasons > 0)
        ant_buf_printf(out, "</table><p class=note>'antiphon show --failed' prints these rows; the "
                            "job once more with --retry-failed answers them again.</p>");
    ant_buf_printf(out, "</section>\n");
}

/* Every setting of the run, which are JSON. */
static void add_settings(struct ant_buf *out, const char *text)
{
    json_t *json = json_loads(text, 0, NULL), *value;
    const char *name;

    if (!json_is_object(json)) {
        json_decref(json);
        ant_buf_printf(out, "<dt>settings</dt><dd>");
        ant_chart_text(out, text);
        ant_buf_printf(out, "</dd></dl>\n");
        return;
    }
    ant_buf_printf(out, "</dl><details><summary>settings</summary><dl>\n");
    json_object_foreach(json, name, value)
    {
        char *shown = json_is_string(value)
                          ? NULL
                          : json_dumps(value, JSON_ENCODE_ANY | JSON_REAL_PRECISION(9));
        ant_buf_printf(out, "<dt>");
        ant_chart_text(out, name);
        ant_buf_printf(out, "</dt><dd>");
        ant_chart_text(out, shown ? shown : json_string_value(value));
        ant_buf_printf(out, "</dd>\n");
        free(shown);
    }
    ant_buf_printf(out, "</dl></details>\n");
    json_decref(json);
}

static void add_provenance(struct ant_buf *out, const struct history *h)
{
    const char *settings = ant_history_note(h, "settings");

    ant_buf_printf(out, "<section><h2>Provenance</h2><dl>\n");
    for (size_t i = 0; i < h->n_notes; i++) {
        const struct ant_results_note *note = &h->notes[i];
        if (strcmp(note->name, "settings") == 0 || *note->text == '\0')
            continue;
        ant_buf_printf(out, "<dt>");
        ant_chart_text(out, note->name);
        bool is_code = strcmp(note->name, "command") == 0;
        ant_buf_printf(out, "</dt><dd>%s", is_code ? "<code>" : "");
        ant_chart_text(out, note->text);
        ant_buf_printf(out, "%s</dd>\n", is_code ? "</code>" : "");
    }
    if (*settings)
        add_settings(out, settings);
    else
        ant_buf_printf(out, "</dl>\n");
    ant_buf_printf(out, "</section>\n");
}

void ant_history_page(const struct history *h, struct ant_buf *out)
{
    char now[32];

    ant_utc(now, sizeof(now), time(NULL));
    ant_buf_printf(out,
                   "<!DOCTYPE html>\n<html lang=en><head><meta charset=utf-8><meta name=viewport "
                   "content=\"width=device-width,initial-scale=1\"><title>");
    ant_chart_text(out, h->path);
    ant_buf_printf(out, "</title><style>\n%s</style></head><body><main>\n", style);
    add_head(out, h);
    add_tiles(out, h);
    add_course(out, h);
    add_spreads(out, h);
    add_balance(out, h);
    add_outcomes(out, h);
    add_provenance(out, h);
    ant_buf_printf(out, "<p class=note>antiphon report %s, %s</p></main></body></html>\n",
                   ant_version, now);
}
