/* SPDX-License-Identifier: Apache-2.0 */
/* Charts as SVG that fills whatever room there is: shapes are stretched (preserveAspectRatio none),
 * so text stands beside them as HTML and keeps its size. All shapes are in a box of 1000 x 100. */
#include "config.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "cli/history.h"

enum { WIDTH = 1000, HEIGHT = 100 };

void ant_chart_text(struct ant_buf *out, const char *text)
{
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;
        switch (c) {
        case '<':
            ant_buf_printf(out, "&lt;");
            break;
        case '>':
            ant_buf_printf(out, "&gt;");
            break;
        case '&':
            ant_buf_printf(out, "&amp;");
            break;
        case '"':
            ant_buf_printf(out, "&quot;");
            break;
        default:
            if (c < ' ' && c != '\n')
                c = ' ';
            ant_buf_add(out, &c, 1);
        }
    }
}

void ant_chart_number(struct ant_buf *out, double value)
{
    static const char *const units[] = {"", "k", "M", "G", "T", "P"};
    size_t unit = 0;

    for (; fabs(value) >= 9999.5 && unit < sizeof(units) / sizeof(*units) - 1; unit++)
        value /= 1000;
    if (unit == 0 && value == floor(value))
        ant_buf_printf(out, "%.0f", value);
    else
        ant_buf_printf(out, fabs(value) >= 999.5 ? "%.0f%s" : "%.3g%s", value, units[unit]);
}

void ant_chart_duration(struct ant_buf *out, double seconds)
{
    char text[32];

    if (seconds > 0 && seconds < 0.9995)
        ant_buf_printf(out, "%.3g ms", seconds * 1e3);
    else if (seconds < 60)
        ant_buf_printf(out, "%.3g s", seconds);
    else {
        ant_duration(text, sizeof(text), seconds);
        ant_buf_printf(out, "%s", text);
    }
}

static void open_chart(struct ant_buf *out, const char *title, const char *css)
{
    ant_buf_printf(out, "<figure class=\"chart %s\"><figcaption>%s</figcaption>", css, title);
}

/* Lines across, and what they stand for: the values of a scale from 0 to `most`. */
static double round_step(double most, int n)
{
    double step = most / n, power = pow(10, floor(log10(step > 1e-12 ? step : 1e-12)));

    if (step <= power)
        return power;
    if (step <= 2 * power)
        return 2 * power;
    return step <= 5 * power ? 5 * power : 10 * power;
}

static void add_scale(struct ant_buf *out, double most, double step)
{
    ant_buf_printf(out, "<div class=ys>");
    for (double value = 0; value <= most * 1.0001; value += step) {
        ant_buf_printf(out, "<span style=\"bottom:%.2f%%\">", 100 * value / most);
        ant_chart_number(out, value);
        ant_buf_printf(out, "</span>");
    }
    ant_buf_printf(out, "</div>");
}

static void add_lines(struct ant_buf *out, double most, double step)
{
    ant_buf_printf(out, "<path class=grid d=\"");
    for (double value = step; value <= most * 1.0001; value += step)
        ant_buf_printf(out, "M0 %.2fH%d", HEIGHT - HEIGHT * value / most, WIDTH);
    ant_buf_printf(out, "\"/>");
}

/* Round steps of time. */
static double time_step(double seconds)
{
    static const double steps[] = {0.1,  0.2,   0.5,   1,     2,     5,      10,    15,
                                   30,   60,    120,   300,   600,   900,    1800,  3600,
                                   7200, 14400, 21600, 43200, 86400, 172800, 432000};

    for (size_t i = 0; i < sizeof(steps) / sizeof(*steps); i++)
        if (seconds / steps[i] <= 6)
            return steps[i];
    return seconds / 4;
}

static void add_times(struct ant_buf *out, const struct history *h)
{
    double step = time_step(h->seconds);

    ant_buf_printf(out, "<div class=xs>");
    for (double at = 0; at <= h->seconds * 0.97; at += step) {
        ant_buf_printf(out, "<span style=\"left:%.2f%%\">", 100 * at / h->seconds);
        if (at > 0)
            ant_chart_duration(out, at);
        else
            ant_buf_printf(out, "0");
        ant_buf_printf(out, "</span>");
    }
    ant_buf_printf(out, "</div>");
}

/* Where a job was begun again. */
static void add_sessions(struct ant_buf *out, const struct history *h)
{
    for (int i = 1; i < h->n_sessions; i++)
        ant_buf_printf(out, "<path class=cut d=\"M%.1f 0V%d\"><title>begun again</title></path>",
                       WIDTH * h->sessions[i].at / h->seconds, HEIGHT);
}

/* ---- a rate over time ------------------------------------------------------------------------ */

static double rate_at(const struct history *h, int step, size_t member)
{
    double sum = 0, value;

    for (int i = 0; i < h->n_lanes; i++) {
        memcpy(&value, (const char *)&h->lanes[i].steps[step] + member, sizeof(value));
        sum += value;
    }
    return sum / h->step_s;
}

void ant_chart_rate(struct ant_buf *out, const struct history *h, const char *title,
                    const char *css, size_t member)
{
    double most = 0, sum = 0, dx = (double)WIDTH / h->n_steps;

    for (int i = 0; i < h->n_steps; i++) {
        most = fmax(most, rate_at(h, i, member));
        sum += rate_at(h, i, member);
    }
    double mean = sum / h->n_steps, step = round_step(most > 0 ? most : 1, 3);
    most = step * ceil((most > 0 ? most : 1) / step);
    open_chart(out, title, css);
    ant_buf_printf(out, "<p class=value>");
    ant_chart_number(out, mean);
    ant_buf_printf(out, "<small>/s on average</small></p><div class=plot>");
    add_scale(out, most, step);
    ant_buf_printf(out, "<svg viewBox=\"0 0 %d %d\" preserveAspectRatio=none role=img>", WIDTH,
                   HEIGHT);
    add_lines(out, most, step);
    ant_buf_printf(out, "<path class=area d=\"M0 %d", HEIGHT);
    for (int i = 0; i < h->n_steps; i++)
        ant_buf_printf(out, "V%.1fH%.1f", HEIGHT - HEIGHT * rate_at(h, i, member) / most,
                       (i + 1) * dx);
    ant_buf_printf(out, "V%dZ\"/><path class=mean d=\"M0 %.1fH%d\"/>", HEIGHT,
                   HEIGHT - HEIGHT * mean / most, WIDTH);
    add_sessions(out, h);
    ant_buf_printf(out, "</svg></div>");
    add_times(out, h);
    ant_buf_printf(out, "</figure>\n");
}

/* ---- who did what when ----------------------------------------------------------------------- */

enum { SHOWN_LANES = 64 };

/* The shares of a step that lie on top of one another, from the bottom. */
static double stacked(const struct history *h, const struct history_step *step, int n)
{
    const double parts[] = {step->prefill_s, step->decode_s, step->idle_s};
    double sum = 0;

    for (int i = 0; i < n; i++)
        sum += parts[i];
    return fmin(sum / h->step_s, 1);
}

/* From the top of what lies below to its own: there along the lower edge, back along the upper. */
static void add_band(struct ant_buf *out, const struct history *h, const struct history_lane *lane,
                     int band, const char *css)
{
    double dx = (double)WIDTH / h->n_steps;

    ant_buf_printf(out, "<path class=%s d=\"M0 %.1f", css,
                   HEIGHT - HEIGHT * stacked(h, &lane->steps[0], band));
    for (int i = 0; i < h->n_steps; i++)
        ant_buf_printf(out, "V%.1fH%.1f", HEIGHT - HEIGHT * stacked(h, &lane->steps[i], band),
                       (i + 1) * dx);
    for (int i = h->n_steps - 1; i >= 0; i--)
        ant_buf_printf(out, "V%.1fH%.1f", HEIGHT - HEIGHT * stacked(h, &lane->steps[i], band + 1),
                       i * dx);
    ant_buf_printf(out, "Z\"/>");
}

/* A row that was taken over between two notes is spread over the steps between them: one mark. */
static void add_stolen(struct ant_buf *out, const struct history *h,
                       const struct history_lane *lane)
{
    double stolen = 0;

    for (int i = 0; i < h->n_steps; i++) {
        stolen += lane->steps[i].stolen;
        if (stolen >= 0.5)
            ant_buf_printf(out, "<i style=\"left:%.2f%%\"></i>", 100 * (i + 0.5) / h->n_steps);
        stolen -= round(stolen);
    }
}

static void add_lane(struct ant_buf *out, const struct history *h, const struct history_lane *lane)
{
    const char *host = lane->report ? lane->report->host : "";

    ant_buf_printf(out, "<div class=lane><span class=name>");
    if (h->lanes[h->n_lanes - 1].shard > 0)
        ant_buf_printf(out, "%d/", lane->shard);
    ant_buf_printf(out,
                   "%d</span><div class=strip><svg viewBox=\"0 0 %d %d\" "
                   "preserveAspectRatio=none role=img><title>rank %d",
                   lane->dp_rank, WIDTH, HEIGHT, lane->rank);
    if (*host) {
        ant_buf_printf(out, " on ");
        ant_chart_text(out, host);
    }
    ant_buf_printf(out,
                   ": prefill %.1f s, decode %.1f s, idle %.1f s, %.0f rows taken over</title>",
                   lane->sum.prefill_s, lane->sum.decode_s, lane->sum.idle_s, lane->sum.stolen);
    add_band(out, h, lane, 0, "prefill");
    add_band(out, h, lane, 1, "decode");
    add_band(out, h, lane, 2, "idle");
    add_sessions(out, h);
    ant_buf_printf(out, "</svg>");
    add_stolen(out, h, lane);
    ant_buf_printf(out, "</div></div>");
}

void ant_chart_timeline(struct ant_buf *out, const struct history *h)
{
    int shown = h->n_lanes < SHOWN_LANES ? h->n_lanes : SHOWN_LANES;

    ant_buf_printf(out, "<div class=\"lanes%s\">", shown > 12 ? " many" : "");
    for (int i = 0; i < shown; i++) {
        int lane = shown > 1 ? (int)((int64_t)i * (h->n_lanes - 1) / (shown - 1)) : 0;
        add_lane(out, h, &h->lanes[lane]);
    }
    ant_buf_printf(out, "<div class=lane><span class=name></span><div class=strip-axis>");
    add_times(out, h);
    ant_buf_printf(out, "</div></div></div>\n");
    if (shown < h->n_lanes)
        ant_buf_printf(out, "<p class=note>%d of %d replicas, evenly chosen.</p>\n", shown,
                       h->n_lanes);
}

void ant_chart_shares(struct ant_buf *out, const struct history_step *sum, double most)
{
    const struct {
        const char *css;
        double seconds;
    } parts[] = {{"prefill", sum->prefill_s}, {"decode", sum->decode_s}, {"idle", sum->idle_s}};

    ant_buf_printf(out, "<div class=bar>");
    for (int i = 0; i < 3 && most > 0; i++)
        ant_buf_printf(out, "<b class=%s style=\"width:%.2f%%\"></b>", parts[i].css,
                       100 * parts[i].seconds / most);
    ant_buf_printf(out, "</div>");
}

/* ---- how values are spread ------------------------------------------------------------------- */

static void add_value_text(struct ant_buf *out, double value, bool is_time)
{
    if (is_time)
        ant_chart_duration(out, value);
    else
        ant_chart_number(out, value);
}

/* Bars that the width is divided into. */
static int count_bars(const struct history_spread *spread)
{
    return spread->n_bars > 8 ? spread->n_bars : 8;
}

static void add_bars(struct ant_buf *out, const struct history_spread *spread, double most,
                     bool is_time)
{
    double dx = (double)WIDTH / count_bars(spread), gap = dx * 0.08;

    for (int i = 0; i < spread->n_bars; i++) {
        double height = HEIGHT * (double)spread->bars[i] / most;
        if (spread->bars[i] == 0)
            continue;
        ant_buf_printf(out, "<rect class=area x=%.1f y=%.2f width=%.1f height=%.2f><title>",
                       i * dx + gap, HEIGHT - height, dx - 2 * gap, height);
        add_value_text(out, i * spread->width, is_time);
        if (i < HISTORY_BARS - 1) {
            ant_buf_printf(out, " to ");
            add_value_text(out, (i + 1) * spread->width, is_time);
        } else {
            ant_buf_printf(out, " and more");
        }
        ant_buf_printf(out, ": %lld</title></rect>", (long long)spread->bars[i]);
    }
}

/* A mark at a value, in the scale of the bars. */
static void add_mark(struct ant_buf *out, const struct history_spread *spread, double value,
                     const char *css)
{
    double x = fmin(value / spread->width / count_bars(spread), 1);

    ant_buf_printf(out, "<path class=\"mark %s\" d=\"M%.1f 0V%d\"/>", css, WIDTH * x, HEIGHT);
}

static void add_fact(struct ant_buf *out, const char *name, double value, bool is_time)
{
    ant_buf_printf(out, "<span>%s <b>", name);
    add_value_text(out, value, is_time);
    ant_buf_printf(out, "</b></span>");
}

void ant_chart_spread(struct ant_buf *out, const struct history_spread *spread, const char *title,
                      const char *css, bool is_time)
{
    int64_t most = 1;

    for (int i = 0; i < spread->n_bars; i++)
        if (spread->bars[i] > most)
            most = spread->bars[i];
    double step = round_step((double)most, 3), top = step * ceil((double)most / step);
    double median = ant_history_quantile(spread, 0.5), high = ant_history_quantile(spread, 0.95);
    open_chart(out, title, css);
    ant_buf_printf(out, "<p class=facts>");
    add_fact(out, "median", median, is_time);
    add_fact(out, "mean", spread->mean, is_time);
    add_fact(out, "95 %", high, is_time);
    add_fact(out, "most", ant_history_quantile(spread, 1), is_time);
    ant_buf_printf(out, "</p><div class=plot>");
    add_scale(out, top, step < 1 ? 1 : step);
    ant_buf_printf(out, "<svg viewBox=\"0 0 %d %d\" preserveAspectRatio=none role=img>", WIDTH,
                   HEIGHT);
    add_lines(out, top, step);
    add_bars(out, spread, top, is_time);
    add_mark(out, spread, median, "median");
    add_mark(out, spread, high, "high");
    ant_buf_printf(out, "</svg></div><div class=xs>");
    for (int i = 0, n = count_bars(spread); i < n; i += (n + 3) / 4) {
        ant_buf_printf(out, "<span style=\"left:%.2f%%\">", 100.0 * i / n);
        add_value_text(out, i * spread->width, is_time && i > 0);
        ant_buf_printf(out, "</span>");
    }
    ant_buf_printf(out, "</div></figure>\n");
}
