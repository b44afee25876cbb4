/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "store/timeline.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/mem.h"
#include "store/journal_folder.h"

enum { LONGEST_LINE = 512, LONGEST_FILE = 1 << 30 };

/* ---- moments --------------------------------------------------------------------------------- */

bool ant_moment_is_sane(const struct ant_moment *m)
{
    const int64_t counts[] = {m->prompt_tokens, m->output_tokens, m->rows,
                              m->failed,        m->stolen,        m->left};
    const double seconds[] = {m->time, m->prefill_s, m->decode_s, m->idle_s};

    for (size_t i = 0; i < sizeof(counts) / sizeof(*counts); i++)
        if (counts[i] < 0 || counts[i] > INT64_C(1) << 53)
            return false;
    for (size_t i = 0; i < sizeof(seconds) / sizeof(*seconds); i++)
        if (!isfinite(seconds[i]) || seconds[i] < 0 || seconds[i] > 1e12)
            return false;
    return m->running >= 0;
}

void ant_moments_add(struct ant_moments *moments, const struct ant_moment *moment)
{
    if (moments->n == moments->cap) {
        moments->cap = moments->cap ? 2 * moments->cap : 64;
        moments->items = ant_xrealloc(moments->items, moments->cap, sizeof(*moments->items));
    }
    moments->items[moments->n++] = *moment;
}

static bool is_same_file(const struct ant_moment *a, const struct ant_moment *b)
{
    return a->start == b->start && a->rank == b->rank;
}

void ant_moments_thin(struct ant_moments *moments)
{
    const struct ant_moment *items = moments->items;
    size_t kept = 0, place = 0;

    for (size_t i = 0; i < moments->n; i++) {
        bool is_last = i + 1 == moments->n || !is_same_file(&items[i], &items[i + 1]);
        if (is_last || place++ % 2 == 0)
            moments->items[kept++] = moments->items[i];
        if (is_last)
            place = 0;
    }
    moments->n = kept;
}

void ant_moments_release(struct ant_moments *moments)
{
    free(moments->items);
    *moments = (struct ant_moments){0};
}

/* ---- writing --------------------------------------------------------------------------------- */

struct ant_timeline {
    struct ant_timeline_head head;
    char *path; /* owned */
    int fd;
};

static const char column_names[] =
    "time,prompt_tokens,output_tokens,rows,failed,stolen,left,running,"
    "prefill_s,decode_s,idle_s\n";

int ant_timeline_open(struct ant_timeline **out, const char *out_path,
                      const struct ant_timeline_head *head, struct ant_error *err)
{
    struct ant_timeline *timeline = ant_xcalloc(1, sizeof(*timeline));
    char text[LONGEST_LINE];
    int rc = 0;

    timeline->head = *head;
    timeline->path = ant_journal_timeline_path(out_path, head->rank, head->start);
    timeline->fd = open(timeline->path, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0666);
    int n = snprintf(text, sizeof(text),
                     "# antiphon 1, replica %d of %d on %.63s, began %.3f with %lld answers\n%s",
                     head->dp_rank, head->dp_size, *head->host ? head->host : "-", head->began,
                     (long long)head->answered, column_names);
    if (timeline->fd < 0)
        rc = ant_fail(err, ANT_EIO, "cannot create '%s': %s", timeline->path, strerror(errno));
    else
        rc = ant_write_all(timeline->fd, text, (size_t)n, timeline->path, err);
    if (rc < 0) {
        ant_timeline_close(timeline);
        return rc;
    }
    *out = timeline;
    return 0;
}

int ant_timeline_add(struct ant_timeline *timeline, const struct ant_moment *moment,
                     struct ant_error *err)
{
    char line[LONGEST_LINE];
    int n = snprintf(line, sizeof(line), "%.3f,%lld,%lld,%lld,%lld,%lld,%lld,%d,%.3f,%.3f,%.3f\n",
                     moment->time, (long long)moment->prompt_tokens,
                     (long long)moment->output_tokens, (long long)moment->rows,
                     (long long)moment->failed, (long long)moment->stolen, (long long)moment->left,
                     (int)moment->running, moment->prefill_s, moment->decode_s, moment->idle_s);

    return ant_write_all(timeline->fd, line, (size_t)n, timeline->path, err);
}

void ant_timeline_close(struct ant_timeline *timeline)
{
    if (!timeline)
        return;
    if (timeline->fd >= 0)
        close(timeline->fd);
    free(timeline->path);
    free(timeline);
}

/* ---- reading --------------------------------------------------------------------------------- */

static bool parse_line(const char *line, const struct ant_timeline_head *head,
                       struct ant_moment *out)
{
    struct ant_moment moment = {.start = head->start, .rank = head->rank, .dp_rank = head->dp_rank};
    long long prompt, output, rows, failed, stolen, left;
    int end = 0;

    if (sscanf(line, "%lf,%lld,%lld,%lld,%lld,%lld,%lld,%d,%lf,%lf,%lf%n", &moment.time, &prompt,
               &output, &rows, &failed, &stolen, &left, &moment.running, &moment.prefill_s,
               &moment.decode_s, &moment.idle_s, &end) != 11 ||
        line[end] != '\0')
        return false;
    moment.prompt_tokens = prompt;
    moment.output_tokens = output;
    moment.rows = rows;
    moment.failed = failed;
    moment.stolen = stolen;
    moment.left = left;
    *out = moment;
    return ant_moment_is_sane(&moment);
}

/* Every whole line of a text, in place; false ends it. */
static char *next_line(char **text)
{
    char *line = *text, *end = strchr(line, '\n');

    if (!end)
        return NULL;
    *end = '\0';
    *text = end + 1;
    return line;
}

static bool parse_head(char **text, struct ant_timeline_head *head)
{
    const char *line = next_line(text), *names = line ? next_line(text) : NULL;
    long long answered = 0;
    int end = 0;

    if (!names ||
        sscanf(line, "# antiphon 1, replica %d of %d on %63[^,], began %lf with %lld answers%n",
               &head->dp_rank, &head->dp_size, head->host, &head->began, &answered, &end) != 5)
        return false;
    head->answered = answered;
    return line[end] == '\0' && strncmp(names, column_names, strlen(names)) == 0 &&
           head->dp_rank >= 0 && answered >= 0 && isfinite(head->began) && head->began >= 0 &&
           head->began < 1e12;
}

static void parse_lines(struct ant_timeline_file *file, char *text)
{
    struct ant_moments *moments = &file->moments;
    struct ant_moment moment;

    for (char *line; (line = next_line(&text)) && parse_line(line, &file->head, &moment);)
        if (moments->n == 0 || moment.time >= moments->items[moments->n - 1].time)
            ant_moments_add(moments, &moment);
}

/* The head and the first line, then the last `tail` bytes from the first whole line on. */
static int read_file(struct ant_timeline_file *file, bool *is_good, const char *path, size_t tail,
                     struct ant_error *err)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC), rc = 0;

    if (fd < 0 && errno == ENOENT)
        return 0; /* a start that was ended before it answered */
    if (fd < 0 || fstat(fd, &st) < 0 || st.st_size > LONGEST_FILE) {
        rc = ant_fail(err, ANT_EIO, "cannot read '%s': %s", path,
                      fd < 0 ? strerror(errno) : "it is too long");
        if (fd >= 0)
            close(fd);
        return rc;
    }
    size_t bytes = (size_t)st.st_size, head = 3 * LONGEST_LINE;
    bool is_cut = tail > 0 && bytes > head + tail;
    size_t first = is_cut ? head : bytes;
    char *text = ant_xcalloc(1, first + tail + 2), *rest = text + first + 1, *at = text;
    rc = ant_pread_all(fd, text, first, 0, path, err);
    if (rc == 0 && is_cut)
        rc = ant_pread_all(fd, rest, tail, bytes - tail, path, err);
    close(fd);
    *is_good = rc == 0 && parse_head(&at, &file->head);
    if (*is_good) {
        parse_lines(file, at);
        if (is_cut && next_line(&rest))
            parse_lines(file, rest);
    }
    free(text);
    return rc;
}

int ant_timeline_read(struct ant_timeline_file **out, size_t *n, const char *out_path, size_t tail,
                      struct ant_error *err)
{
    struct ant_journal_name *names = NULL;
    size_t n_names = 0, n_files = 0;

    ANT_TRY(ant_journal_list(out_path, &names, &n_names, err));
    struct ant_timeline_file *files = ant_xcalloc(n_names + 1, sizeof(*files));
    int rc = 0;
    for (size_t i = 0; i < n_names && rc == 0; i++) {
        struct ant_timeline_file *file = &files[n_files];
        char *path = ant_journal_timeline_path(out_path, names[i].rank, names[i].start);
        bool is_good = false;
        *file =
            (struct ant_timeline_file){.head = {.rank = names[i].rank, .start = names[i].start}};
        rc = read_file(file, &is_good, path, tail, err);
        n_files += is_good;
        free(path);
    }
    free(names);
    if (rc < 0) {
        ant_timeline_release(files, n_files);
        return rc;
    }
    *out = files;
    *n = n_files;
    return 0;
}

void ant_timeline_release(struct ant_timeline_file *files, size_t n)
{
    for (size_t i = 0; i < n; i++)
        ant_moments_release(&files[i].moments);
    free(files);
}

int ant_timeline_collect(struct ant_moments *out, const char *out_path, int start, size_t most,
                         struct ant_error *err)
{
    struct ant_timeline_file *files = NULL;
    size_t n = 0;

    ANT_TRY(ant_timeline_read(&files, &n, out_path, 0, err));
    for (size_t i = 0; i < n; i++) {
        struct ant_moments *moments = &files[i].moments;
        if (files[i].head.start >= start)
            continue;
        while (moments->n >= most)
            ant_moments_thin(moments);
        for (size_t k = 0; k < moments->n; k++)
            ant_moments_add(out, &moments->items[k]);
    }
    ant_timeline_release(files, n);
    return 0;
}
