/* SPDX-License-Identifier: Apache-2.0 */
/* antiphon top: a running job as it goes, from its journal's folder alone. Plain ANSI on a
 * terminal; elsewhere one block of text. */
#include "config.h"

#include <limits.h>
#include <math.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/option.h"
#include "cli/cli.h"
#include "store/journal.h"
#include "store/results.h"
#include "store/timeline.h"

/* Rates are of so many seconds back, read from so many bytes at the end of each file. */
#define WINDOW_S 30.0
enum { TAIL_BYTES = 16 << 10 };
/* Who gives no sign for so long does not live. */
#define SILENT_S 15.0
enum { BAR = 24, LEAST_COLUMNS = 60, LEAST_LINES = 12 };

struct top_settings {
    bool once;
    double interval;
};

#define AT(member) offsetof(struct top_settings, member)

static const struct ant_option options[] = {
    {ANT_OPTION_FLAG, 0, "once", NULL, AT(once),
     .help = "Print the state once, as plain text, and end. So it is anyway where the output is no "
             "terminal."},
    {ANT_OPTION_REAL, 'n', "interval", "SECONDS", AT(interval), 0.5, 3600,
     .help = "Look again after so many seconds. Default 2."},
    {0},
};

static const struct ant_command_help help = {
    .name = "top",
    .summary = "watch a running job",
    .synopsis = "OUT... [--once] [--interval SECONDS]",
    .purpose = "Show how far the job is that is writing OUT, how fast it goes, and what each "
               "replica does: prefill, decode, idle (p, d and . in the bar), rows it took over. Of "
               "several, the tasks of an array, a line each.",
    .epilog = "It reads OUT.journal, so it runs anywhere that sees the output; on a network file "
              "system what it shows may be some seconds old. q or Ctrl-C ends it, Ctrl-Z puts it "
              "aside; it "
              "ends by itself with the job.",
};

/* ---- what there is to show ------------------------------------------------------------------- */

struct lane {
    const struct ant_timeline_head *head;
    const struct ant_moment *last, *before; /* before: WINDOW_S ago, or the first */
};

struct view {
    const char *path;
    enum { NOT_THERE, STARTING, RUNNING, ENDED, COMPLETE } state;
    char owner[256];
    double silent; /* seconds without a sign of the owner */
    int64_t n_answers, done, failed, stolen;
    double seconds;                /* since this start began to answer */
    struct ant_moment sum, recent; /* of all replicas: in all, and in `window` seconds */
    double window;
    struct ant_timeline_file *files; /* owned */
    size_t n_files;
    struct lane *lanes; /* owned; of the newest start */
    size_t n_lanes;
};

static struct ant_moment difference(const struct ant_moment *a, const struct ant_moment *b)
{
    return (struct ant_moment){.time = b->time - a->time,
                               .prompt_tokens = b->prompt_tokens - a->prompt_tokens,
                               .output_tokens = b->output_tokens - a->output_tokens,
                               .rows = b->rows - a->rows,
                               .prefill_s = b->prefill_s - a->prefill_s,
                               .decode_s = b->decode_s - a->decode_s,
                               .idle_s = b->idle_s - a->idle_s};
}

static void add_lane(struct view *view, const struct ant_timeline_file *file)
{
    const struct ant_moments *moments = &file->moments;
    struct lane *lane = &view->lanes[view->n_lanes++];

    lane->head = &file->head;
    lane->last = lane->before = &moments->items[moments->n - 1];
    for (size_t i = moments->n - 1; i > 0 && lane->last->time - lane->before->time < WINDOW_S; i--)
        lane->before = &moments->items[i - 1];
    const struct ant_moment recent = difference(lane->before, lane->last);
    view->done += lane->last->rows;
    view->failed += lane->last->failed;
    view->stolen += lane->last->stolen;
    view->sum.running += lane->last->running;
    view->sum.prompt_tokens += lane->last->prompt_tokens;
    view->sum.output_tokens += lane->last->output_tokens;
    view->recent.prompt_tokens += recent.prompt_tokens;
    view->recent.output_tokens += recent.output_tokens;
    view->window = fmax(view->window, recent.time);
    view->seconds = fmax(view->seconds, lane->last->time - file->head.began);
}

static int read_lanes(struct view *view, struct ant_error *err)
{
    ANT_TRY(ant_timeline_read(&view->files, &view->n_files, view->path, TAIL_BYTES, err));
    size_t first = view->n_files;
    while (first > 0 &&
           view->files[first - 1].head.start == view->files[view->n_files - 1].head.start)
        first--;
    view->lanes = ant_xcalloc(view->n_files + 1, sizeof(*view->lanes));
    for (size_t i = first; i < view->n_files; i++)
        if (view->files[i].moments.n > 0)
            add_lane(view, &view->files[i]);
    if (view->n_lanes > 0) {
        view->done += view->lanes[0].head->answered;
        view->state = RUNNING;
    }
    return 0;
}

static bool is_there(const char *path, const char *end)
{
    char *whole = ant_xasprintf("%s%s", path, end);
    bool there = access(whole, F_OK) == 0;

    free(whole);
    return there;
}

static int read_complete(struct view *view, struct ant_error *err)
{
    struct ant_results *results;

    ANT_TRY(ant_results_open(&results, view->path, err));
    view->n_answers = ant_results_count(results);
    view->done = ant_results_ok(results) + ant_results_failed(results);
    view->failed = ant_results_failed(results);
    view->state = ant_results_complete(results) ? COMPLETE : ENDED;
    ant_results_close(results);
    return 0;
}

static void release_view(struct view *view)
{
    ant_timeline_release(view->files, view->n_files);
    free(view->lanes);
    *view = (struct view){.path = view->path};
}

/* The folder goes when the job is complete, maybe while it is being read. */
static int read_view(struct view *view, struct ant_error *err)
{
    struct ant_manifest manifest;

    release_view(view);
    if (!is_there(view->path, ".journal"))
        return is_there(view->path, "") ? read_complete(view, err) : 0;
    view->state = STARTING;
    int rc = ant_journal_who(view->path, view->owner, sizeof(view->owner), &view->silent, err);
    if (rc == ANT_ENOENT) { /* who ends in order leaves no name */
        view->silent = INFINITY;
        rc = 0;
    }
    if (rc == 0)
        rc = ant_manifest_read(&manifest, view->path, err);
    if (rc == 0) {
        view->n_answers = manifest.n_rows * manifest.n_samples;
        ant_manifest_release(&manifest);
        rc = read_lanes(view, err);
    }
    if (rc < 0 && !is_there(view->path, ".journal"))
        return is_there(view->path, "") ? read_complete(view, err) : 0;
    if (rc == 0 && view->silent > SILENT_S)
        view->state = ENDED;
    return rc == ANT_ENOENT ? 0 : rc;
}

/* ---- showing it ------------------------------------------------------------------------------ */

/* A screen of text that is written at once; lines are cut at its width. */
struct screen {
    struct ant_buf text;
    bool has_colours;
    int columns, lines, n_lines; /* lines 0: as many as it takes */
};

static const char bold[] = "\033[1m", dim[] = "\033[2m", normal[] = "\033[0m";
static const char green[] = "\033[32m", red[] = "\033[31m", blue[] = "\033[34m",
                  yellow[] = "\033[33m";

static void colour(struct screen *screen, const char *which)
{
    if (screen->has_colours)
        ant_buf_printf(&screen->text, "%s", which);
}

static void end_line(struct screen *screen)
{
    colour(screen, "\033[K");
    ant_buf_printf(&screen->text, "\n");
    screen->n_lines++;
}

/* What comes from files must not steer the terminal. */
static void put_plain(struct screen *screen, const char *text)
{
    for (; *text; text++) {
        char c = (unsigned char)*text < ' ' || *text == 0x7f ? '?' : *text;
        ant_buf_add(&screen->text, &c, 1);
    }
}

static void put_share(struct screen *screen, const char *css, char mark, int n)
{
    colour(screen, css);
    for (int i = 0; i < n; i++)
        ant_buf_add(&screen->text, &mark, 1);
    colour(screen, normal);
}

/* What the replica did of late: p, d and . by their shares. */
static void put_doing(struct screen *screen, const struct ant_moment *recent)
{
    double all = recent->prefill_s + recent->decode_s + recent->idle_s;
    int p = all > 0 ? (int)lround(BAR * recent->prefill_s / all) : 0;
    int d = all > 0 ? (int)lround(BAR * (recent->prefill_s + recent->decode_s) / all) - p : 0;
    int idle = all > 0 ? BAR - p - d : 0;

    ant_buf_printf(&screen->text, " [");
    put_share(screen, blue, 'p', p);
    put_share(screen, yellow, 'd', d);
    put_share(screen, dim, '.', idle);
    ant_buf_printf(&screen->text, "%*s]", BAR - p - d - idle, "");
}

static double per_second(double amount, double seconds)
{
    return seconds > 0 ? amount / seconds : 0;
}

static void put_progress(struct screen *screen, const struct view *view, int width)
{
    double share = view->n_answers > 0 ? fmin((double)view->done / (double)view->n_answers, 1) : 1;
    int n = (int)(share * width);

    ant_buf_printf(&screen->text, "[");
    put_share(screen, green, '=', n);
    ant_buf_printf(&screen->text, "%*s] %5.1f %%", width - n, "", 100 * share);
}

static void put_left(struct screen *screen, const struct view *view)
{
    int64_t now_done = view->done - (view->n_lanes ? view->lanes[0].head->answered : 0);
    char text[32];

    if (now_done <= 0)
        return;
    ant_duration(text, sizeof(text),
                 view->seconds * (double)(view->n_answers - view->done) / (double)now_done);
    ant_buf_printf(&screen->text, ", about %s left", text);
}

static void put_state(struct screen *screen, const struct view *view)
{
    static const char *const names[] = {"nothing is there", "starting", "running", "not running",
                                        "complete"};
    char time[32];

    colour(screen, view->state == ENDED || view->state == NOT_THERE ? red : green);
    ant_buf_printf(&screen->text, "%s", names[view->state]);
    colour(screen, normal);
    if (view->state == ENDED && *view->owner) {
        ant_duration(time, sizeof(time), view->silent);
        ant_buf_printf(&screen->text, ", last sign %s ago", time);
    } else if (view->state == RUNNING) {
        ant_duration(time, sizeof(time), view->seconds);
        ant_buf_printf(&screen->text, " for %s", time);
        put_left(screen, view);
    }
}

static void put_head(struct screen *screen, const struct view *view)
{
    int hosts = 0;

    colour(screen, bold);
    put_plain(screen, view->path);
    colour(screen, normal);
    ant_buf_printf(&screen->text, ": ");
    put_state(screen, view);
    end_line(screen);
    if (*view->owner) {
        colour(screen, dim);
        put_plain(screen, view->owner);
        colour(screen, normal);
        end_line(screen);
    }
    put_progress(screen, view, screen->columns - 12 < 60 ? screen->columns - 12 : 60);
    end_line(screen);
    ant_buf_printf(&screen->text, "%lld of %lld answers, %lld failed, %d in flight",
                   (long long)view->done, (long long)view->n_answers, (long long)view->failed,
                   (int)view->sum.running);
    end_line(screen);
    if (view->n_lanes == 0)
        return;
    for (size_t i = 0; i < view->n_lanes; i++)
        hosts += i == 0 || strcmp(view->lanes[i].head->host, view->lanes[i - 1].head->host) != 0;
    ant_buf_printf(&screen->text,
                   "tokens/s of the last %.0f s: %.0f prompt, %.0f drawn; from the start: %.0f, "
                   "%.0f",
                   view->window, per_second((double)view->recent.prompt_tokens, view->window),
                   per_second((double)view->recent.output_tokens, view->window),
                   per_second((double)view->sum.prompt_tokens, view->seconds),
                   per_second((double)view->sum.output_tokens, view->seconds));
    end_line(screen);
    ant_buf_printf(&screen->text, "start %d, %zu replica%s on %d host%s, %lld rows taken over",
                   view->lanes[0].head->start, view->n_lanes, view->n_lanes == 1 ? "" : "s", hosts,
                   hosts == 1 ? "" : "s", (long long)view->stolen);
    end_line(screen);
    end_line(screen);
}

static void put_lane(struct screen *screen, const struct lane *lane, double now)
{
    const struct ant_moment recent = difference(lane->before, lane->last);
    double silent = now - lane->last->time;

    ant_buf_printf(&screen->text, "%5d %-12.12s %8lld %6lld %7lld %6d %8.0f %8.0f",
                   lane->head->rank, lane->head->host, (long long)lane->last->rows,
                   (long long)lane->last->failed, (long long)lane->last->left,
                   (int)lane->last->running, per_second((double)recent.prompt_tokens, recent.time),
                   per_second((double)recent.output_tokens, recent.time));
    if (screen->columns >= 72 + BAR + 3)
        put_doing(screen, &recent);
    if (silent > SILENT_S) {
        colour(screen, red);
        ant_buf_printf(&screen->text, " %.0f s old", silent);
        colour(screen, normal);
    }
    end_line(screen);
}

static int most_left_first(const void *a, const void *b)
{
    const struct lane *x = a, *y = b;

    return (x->last->left < y->last->left) - (x->last->left > y->last->left);
}

/* Where they do not all fit: those that have most left, for they are what the others will wait
 * for. */
static void put_lanes(struct screen *screen, const struct view *view)
{
    size_t room =
        screen->lines - screen->n_lines > 3 ? (size_t)(screen->lines - screen->n_lines) - 3 : 1;
    double now = ant_utc_now();
    bool fits = view->n_lanes <= room || screen->lines == 0;

    if (!fits)
        qsort(view->lanes, view->n_lanes, sizeof(*view->lanes), most_left_first);
    colour(screen, dim);
    ant_buf_printf(&screen->text, "%5s %-12s %8s %6s %7s %6s %8s %8s", "rank", "host", "rows",
                   "failed", "left", "flight", "prompt/s", "drawn/s");
    colour(screen, normal);
    end_line(screen);
    for (size_t i = 0; i < view->n_lanes && (fits || i < room); i++)
        put_lane(screen, &view->lanes[i], now);
    if (!fits) {
        ant_buf_printf(&screen->text, "      (%zu of %zu replicas: those with most left)", room,
                       view->n_lanes);
        end_line(screen);
    }
}

static void put_line(struct screen *screen, const struct view *view)
{
    put_progress(screen, view, 20);
    ant_buf_printf(&screen->text, " ");
    put_plain(screen, view->path);
    ant_buf_printf(&screen->text, ": %lld of %lld, %lld failed, %.0f + %.0f tokens/s, ",
                   (long long)view->done, (long long)view->n_answers, (long long)view->failed,
                   per_second((double)view->recent.prompt_tokens, view->window),
                   per_second((double)view->recent.output_tokens, view->window));
    put_state(screen, view);
    end_line(screen);
}

static void put_views(struct screen *screen, struct view *views, int n)
{
    for (int i = 0; i < n && n > 1; i++)
        put_line(screen, &views[i]);
    if (n > 1)
        return;
    put_head(screen, views);
    if (views->n_lanes > 0)
        put_lanes(screen, views);
}

/* ---- again and again ------------------------------------------------------------------------- */

static volatile sig_atomic_t is_over, is_put_aside;

static void on_signal(int number)
{
    if (number == SIGTSTP)
        is_put_aside = 1;
    else
        is_over = 1;
}

static int write_screen(struct screen *screen, struct ant_error *err)
{
    fwrite(screen->text.data, 1, screen->text.len, stdout);
    if (fflush(stdout) != 0 || ferror(stdout))
        return ant_fail(err, ANT_EIO, "cannot write to standard output");
    return 0;
}

/* Elsewhere than on a terminal: wide, and of any length. */
static void measure(struct screen *screen)
{
    struct winsize size;

    screen->columns = 120;
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) < 0 || size.ws_col == 0)
        return;
    screen->columns = size.ws_col > LEAST_COLUMNS ? size.ws_col : LEAST_COLUMNS;
    screen->lines = size.ws_row > LEAST_LINES ? size.ws_row : LEAST_LINES;
}

/* Lines longer than the terminal would spoil the picture: it is told not to wrap them. */
static int show_screen(struct view *views, int n, struct ant_error *err)
{
    struct screen screen = {.has_colours = true};

    measure(&screen);
    ant_buf_printf(&screen.text, "\033[H\033[?7l");
    put_views(&screen, views, n);
    ant_buf_printf(&screen.text, "\033[J");
    int rc = write_screen(&screen, err);
    ant_buf_release(&screen.text);
    return rc;
}

static int show_once(struct view *views, int n, struct ant_error *err)
{
    struct screen screen = {0};

    measure(&screen);
    screen.lines = 0;
    put_views(&screen, views, n);
    int rc = write_screen(&screen, err);
    ant_buf_release(&screen.text);
    return rc;
}

/* What is changed while the job is watched: the person's terminal, and which signals come when. */
struct terminal {
    struct termios was;
    bool has_keys;
    sigset_t awake; /* the signals that come while it waits */
};

/* On a screen of its own. */
static void enter(struct terminal *terminal)
{
    terminal->has_keys = tcgetattr(STDIN_FILENO, &terminal->was) == 0;
    if (terminal->has_keys) {
        struct termios raw = terminal->was;
        raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
        tcsetattr(STDIN_FILENO, TCSANOW, &raw);
    }
    fputs("\033[?1049h\033[?25l", stdout);
}

static void leave(const struct terminal *terminal)
{
    fputs("\033[?7h\033[?25h\033[?1049l", stdout);
    fflush(stdout);
    if (terminal->has_keys)
        tcsetattr(STDIN_FILENO, TCSANOW, &terminal->was);
}

/* Ctrl-Z: the shell finds its screen as it was, and so does `fg`. */
static void stop_for_a_while(struct terminal *terminal)
{
    struct sigaction stop = {.sa_handler = SIG_DFL}, action;
    sigset_t asleep;

    is_put_aside = 0;
    leave(terminal);
    sigaction(SIGTSTP, &stop, &action);
    raise(SIGTSTP);
    sigprocmask(SIG_SETMASK, &terminal->awake, &asleep); /* it stops here */
    sigprocmask(SIG_SETMASK, &asleep, NULL);
    sigaction(SIGTSTP, &action, NULL);
    enter(terminal);
}

/* True: the person has had enough. Signals come here alone, so that none is missed. */
static bool wait_for_key(const struct terminal *terminal, double seconds)
{
    struct timespec limit = {(time_t)seconds, (long)((seconds - floor(seconds)) * 1e9)};
    struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
    char key = 0;

    if (ppoll(&input, 1, &limit, &terminal->awake) > 0 && read(STDIN_FILENO, &key, 1) <= 0)
        ppoll(NULL, 0, &limit, &terminal->awake); /* no keys there, only time */
    return key == 'q' || key == 'Q';
}

static bool is_any_open(const struct view *views, int n)
{
    for (int i = 0; i < n; i++)
        if (views[i].state == STARTING || views[i].state == RUNNING)
            return true;
    return false;
}

static int read_views(struct view *views, int n, struct ant_error *err)
{
    for (int i = 0; i < n; i++)
        ANT_TRY(read_view(&views[i], err));
    return 0;
}

static void catch_signals(struct terminal *terminal)
{
    static const int numbers[] = {SIGINT, SIGTERM, SIGTSTP};
    struct sigaction action = {.sa_handler = on_signal};
    sigset_t caught;

    sigemptyset(&caught);
    for (size_t i = 0; i < sizeof(numbers) / sizeof(*numbers); i++) {
        sigaction(numbers[i], &action, NULL);
        sigaddset(&caught, numbers[i]);
    }
    sigprocmask(SIG_BLOCK, &caught, &terminal->awake);
}

/* It leaves the last state on the person's screen. */
static int watch(struct view *views, int n, double interval, struct ant_error *err)
{
    struct terminal terminal;
    bool has_enough = false;
    int rc;

    catch_signals(&terminal);
    enter(&terminal);
    do {
        rc = read_views(views, n, err);
        if (rc == 0)
            rc = show_screen(views, n, err);
        if (rc == 0 && is_any_open(views, n))
            has_enough = wait_for_key(&terminal, interval);
        if (is_put_aside)
            stop_for_a_while(&terminal);
    } while (rc == 0 && is_any_open(views, n) && !has_enough && !is_over);
    leave(&terminal);
    return rc == 0 ? show_once(views, n, err) : rc;
}

static int top(void *data, char **paths, int n, struct ant_error *err)
{
    const struct top_settings *settings = data;
    struct view *views = ant_xcalloc((size_t)n, sizeof(*views));
    bool is_live = !settings->once && isatty(STDOUT_FILENO);

    for (int i = 0; i < n; i++)
        views[i].path = paths[i];
    int rc = ant_store_start(1, err);
    if (rc == 0)
        rc = read_views(views, n, err);
    for (int i = 0; i < n && rc == 0; i++)
        if (views[i].state == NOT_THERE && n == 1)
            rc = ant_fail(err, ANT_ENOENT, "there is neither '%s' nor '%s.journal'", paths[i],
                          paths[i]);
    if (rc == 0)
        rc = is_live && is_any_open(views, n) ? watch(views, n, settings->interval, err)
                                              : show_once(views, n, err);
    for (int i = 0; i < n; i++)
        release_view(&views[i]);
    free(views);
    return rc;
}

static int top_main(int argc, char **argv)
{
    struct top_settings settings = {.interval = 2};

    return ant_cli_main(&ant_command_top, &settings, top, argc, argv);
}

const struct ant_command ant_command_top = {
    top_main, options, &help, {1, INT_MAX, "name the output of a job"}};
