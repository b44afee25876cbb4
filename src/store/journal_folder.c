/* SPDX-License-Identifier: Apache-2.0 */
/* The journal's folder: what job it belongs to, which files it holds. */
#include "config.h"

#include "store/journal_folder.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <jansson.h>

#include "base/failpoint.h"
#include "base/file.h"
#include "base/mem.h"

enum { MAX_MANIFEST = 16 << 20, SHOWN = 80 };

char *ant_journal_in_folder(const char *out_path, const char *name)
{
    return ant_xasprintf("%s.journal/%s", out_path, name);
}

char *ant_journal_file_path(const char *out_path, int rank, int start)
{
    return ant_xasprintf("%s.journal/r%d.s%d.aj", out_path, rank, start);
}

char *ant_journal_timeline_path(const char *out_path, int rank, int start)
{
    return ant_xasprintf("%s.journal/r%d.s%d.csv", out_path, rank, start);
}

/* ---- files of the folder --------------------------------------------------------------------- */

/* Exactly what ant_journal_file_path makes: no signs, no leading zeros. */
static bool parse_name(const char *text, struct ant_journal_name *out)
{
    char again[64];

    if (sscanf(text, "r%d.s%d.aj", &out->rank, &out->start) != 2 || out->rank < 0 || out->start < 0)
        return false;
    snprintf(again, sizeof(again), "r%d.s%d.aj", out->rank, out->start);
    return strcmp(again, text) == 0;
}

static int compare_names(const void *a, const void *b)
{
    const struct ant_journal_name *x = a, *y = b;

    if (x->start != y->start)
        return x->start < y->start ? -1 : 1;
    return (x->rank > y->rank) - (x->rank < y->rank);
}

int ant_journal_list(const char *out_path, struct ant_journal_name **names, size_t *n,
                     struct ant_error *err)
{
    char *folder = ant_journal_in_folder(out_path, "");
    struct ant_journal_name *list = NULL;
    size_t count = 0, cap = 0;
    int rc = 0;

    DIR *dir = opendir(folder);
    if (!dir && errno != ENOENT)
        rc = ant_fail(err, ANT_EIO, "cannot open '%s': %s", folder, strerror(errno));
    errno = 0;
    for (struct dirent *entry; dir && (entry = readdir(dir)); errno = 0) {
        struct ant_journal_name name;
        if (!parse_name(entry->d_name, &name))
            continue;
        if (count == cap) {
            cap = cap ? 2 * cap : 64;
            list = ant_xrealloc(list, cap, sizeof(*list));
        }
        list[count++] = name;
    }
    if (dir && errno != 0)
        rc = ant_fail(err, ANT_EIO, "cannot list '%s': %s", folder, strerror(errno));
    if (dir)
        closedir(dir);
    free(folder);
    if (rc < 0) {
        free(list);
        return rc;
    }
    if (count > 0)
        qsort(list, count, sizeof(*list), compare_names);
    *names = list;
    *n = count;
    return 0;
}

/* Takes the path over. */
static int remove_path(char *path, struct ant_error *err)
{
    int rc = 0;

    if (unlink(path) < 0 && errno != ENOENT)
        rc = ant_fail(err, ANT_EIO, "cannot remove '%s': %s", path, strerror(errno));
    free(path);
    return rc;
}

static int remove_file(const char *out_path, const char *name, struct ant_error *err)
{
    return remove_path(ant_journal_in_folder(out_path, name), err);
}

static int remove_journals(const char *out_path, struct ant_error *err)
{
    struct ant_journal_name *names = NULL;
    size_t n = 0;
    int rc = ant_journal_list(out_path, &names, &n, err);

    for (size_t i = 0; i < n && rc == 0; i++) {
        rc = remove_path(ant_journal_timeline_path(out_path, names[i].rank, names[i].start), err);
        if (rc == 0)
            rc = remove_path(ant_journal_file_path(out_path, names[i].rank, names[i].start), err);
    }
    free(names);
    return rc;
}

/* What a kill has left of files that were to be written whole. */
static int remove_parts(const char *out_path, struct ant_error *err)
{
    char *folder = ant_journal_in_folder(out_path, "");
    DIR *dir = opendir(folder);
    int rc = 0;

    for (struct dirent *entry; dir && rc == 0 && (entry = readdir(dir));) {
        size_t n = strlen(entry->d_name), m = strlen(ANT_FILE_PART);
        if (n > m && strcmp(entry->d_name + n - m, ANT_FILE_PART) == 0)
            rc = remove_file(out_path, entry->d_name, err);
    }
    if (dir)
        closedir(dir);
    free(folder);
    return rc;
}

/* The manifest goes last but one, so that what a kill leaves behind still tells whose it is. The
 * claim is given up before the folder goes: NFS keeps a name for a removed file that is open. */
int ant_journal_remove(const char *out_path, struct ant_error *err)
{
    char *folder = ant_journal_in_folder(out_path, "");
    int rc = remove_journals(out_path, err);

    ant_failpoint("journals-removed", 0);
    if (rc == 0)
        rc = remove_parts(out_path, err);
    if (rc == 0)
        rc = remove_file(out_path, "halt", err);
    if (rc == 0)
        rc = remove_file(out_path, "manifest.json", err);
    ant_failpoint("manifest-removed", 0);
    if (rc == 0)
        rc = remove_file(out_path, "owner", err);
    ant_journal_release();
    if (rc == 0 && rmdir(folder) < 0)
        rc = ant_fail(err, ANT_EIO, "cannot remove '%s': %s", folder, strerror(errno));
    free(folder);
    return rc;
}

void ant_journal_tidy(const char *out_path)
{
    if (ant_journal_claim(out_path, NULL) == 0)
        ant_journal_remove(out_path, NULL);
}

/* ---- manifest -------------------------------------------------------------------------------- */

/* JSON wants UTF-8; an option's value may be any bytes. Caller frees. */
static char *printable(const char *text, size_t n)
{
    json_t *test = json_stringn(text, n);
    struct ant_buf out = {0};

    if (test) {
        json_decref(test);
        return ant_xstrndup(text, n);
    }
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)text[i] < 0x80)
            ant_buf_add(&out, text + i, 1);
        else
            ant_buf_printf(&out, "\\x%02x", (unsigned char)text[i]);
    return out.data;
}

/* The settings as an array of lines, "name=value". */
static json_t *lines_of(const char *text)
{
    json_t *lines = json_array();

    while (*text) {
        size_t n = strcspn(text, "\n");
        char *line = printable(text, n);
        json_array_append_new(lines, json_string(line));
        free(line);
        text += n + (text[n] == '\n');
    }
    return lines;
}

static json_t *pack_columns(const struct ant_columns *columns)
{
    return json_pack("{s:i, s:i, s:b}", "logprobs", columns->has_logprobs ? columns->n_top : -1,
                     "prompt_logprobs", columns->has_prompt_logprobs ? columns->n_prompt_top : -1,
                     "scored", (int)columns->is_scored);
}

int ant_manifest_write(const char *out_path, const struct ant_manifest *manifest,
                       struct ant_error *err)
{
    char *path = ant_journal_in_folder(out_path, "manifest.json");
    char *input = printable(manifest->input ? manifest->input : "",
                            manifest->input ? strlen(manifest->input) : 0);
    json_t *json = json_pack(
        "{s:s, s:i, s:I, s:i, s:s, s:s, s:s, s:o}", "schema", "antiphon-journal", "version", 1,
        "n_rows", (json_int_t)manifest->n_rows, "n_samples", manifest->n_samples, "input_digest",
        manifest->input_digest, "model_digest", manifest->model_digest, "input", input ? input : "",
        "answers", lines_of(manifest->answers));
    if (json && manifest->shard.count > 0)
        json_object_set_new(json, "shard",
                            json_pack("{s:i, s:i, s:I, s:I}", "number", manifest->shard.number,
                                      "count", manifest->shard.count, "first_row",
                                      (json_int_t)manifest->shard.first_row, "input_rows",
                                      (json_int_t)manifest->shard.input_rows));
    if (json && manifest->job)
        json_object_set_new(json, "job", json_string(manifest->job));
    if (json)
        json_object_set_new(json, "columns", pack_columns(&manifest->columns));
    char *text = json ? json_dumps(json, JSON_INDENT(2)) : NULL;
    int rc = text ? ant_file_write(path, text, strlen(text), err)
                  : ant_fail(err, ANT_EBUG, "'%s': the manifest cannot be written", path);

    free(text);
    free(input);
    free(path);
    json_decref(json);
    return rc;
}

static char *join_lines(const json_t *lines)
{
    struct ant_buf out = {0};
    size_t i;
    json_t *line;

    ant_buf_add(&out, "", 0);
    json_array_foreach(lines, i, line)
        ant_buf_printf(&out, "%s\n", json_is_string(line) ? json_string_value(line) : "");
    return out.data ? out.data : ant_xstrdup("");
}

/* Settings as they come back from a manifest. Caller frees. */
static char *as_stored(const char *answers)
{
    json_t *lines = lines_of(answers);
    char *text = join_lines(lines);

    json_decref(lines);
    return text;
}

/* None: the whole input. */
static int parse_shard(struct ant_input_shard *out, const json_t *json, int64_t n_rows,
                       const char *path, struct ant_error *err)
{
    json_int_t first = 0, input_rows = 0;
    struct ant_input_shard shard = {0};
    json_error_t why;

    *out = shard;
    if (!json)
        return 0;
    if (json_unpack_ex((json_t *)json, &why, 0, "{s:i, s:i, s:I, s:I}", "number", &shard.number,
                       "count", &shard.count, "first_row", &first, "input_rows", &input_rows) < 0)
        return ant_fail(err, ANT_EDATA, "'%s': %s", path, why.text);
    shard.first_row = first;
    shard.input_rows = input_rows;
    if (first < 0 || shard.number < 0 || shard.number >= shard.count || input_rows < n_rows ||
        first > input_rows - n_rows)
        return ant_fail(err, ANT_EDATA, "'%s' has an impossible shard", path);
    *out = shard;
    return 0;
}

/* None: none beside what all results hold. */
static int parse_columns(struct ant_columns *out, const json_t *json, const char *path,
                         struct ant_error *err)
{
    int n_top = -1, n_prompt_top = -1, is_scored = 0;
    json_error_t why;

    if (json && json_unpack_ex((json_t *)json, &why, 0, "{s:i, s:i, s:b}", "logprobs", &n_top,
                               "prompt_logprobs", &n_prompt_top, "scored", &is_scored) < 0)
        return ant_fail(err, ANT_EDATA, "'%s': %s", path, why.text);
    if (n_top > ANT_MOST_TOP || n_prompt_top > ANT_MOST_TOP)
        return ant_fail(err, ANT_EDATA, "'%s' has impossible columns", path);
    *out = (struct ant_columns){.has_logprobs = n_top >= 0,
                                .has_prompt_logprobs = n_prompt_top >= 0,
                                .n_top = n_top > 0 ? n_top : 0,
                                .n_prompt_top = n_prompt_top > 0 ? n_prompt_top : 0,
                                .is_scored = is_scored && n_top >= 0};
    return 0;
}

static int parse_manifest(struct ant_manifest *out, const char *path, const char *text,
                          size_t bytes, struct ant_error *err)
{
    const char *schema = NULL, *input_digest = NULL, *model_digest = NULL, *input = NULL;
    json_error_t why;
    json_int_t n_rows = 0;
    struct ant_input_shard shard;
    struct ant_columns columns;
    int version = 0, n_samples = 0, rc = 0;
    json_t *answers = NULL;
    json_t *json = json_loadb(text, bytes, 0, &why);

    if (!json)
        return ant_fail(err, ANT_EDATA, "'%s', line %d: %s", path, why.line, why.text);
    if (json_unpack_ex(json, &why, 0, "{s:s, s:i, s:I, s:i, s:s, s:s, s:s, s:o}", "schema", &schema,
                       "version", &version, "n_rows", &n_rows, "n_samples", &n_samples,
                       "input_digest", &input_digest, "model_digest", &model_digest, "input",
                       &input, "answers", &answers) < 0)
        rc = ant_fail(err, ANT_EDATA, "'%s': %s", path, why.text);
    else if (strcmp(schema, "antiphon-journal") != 0 || n_rows < 0 || n_samples < 1 ||
             n_rows > INT64_MAX / n_samples)
        rc = ant_fail(err, ANT_EDATA, "'%s' is no manifest of a journal", path);
    else if (version != 1)
        rc = ant_fail(err, ANT_EUNSUPP, "'%s' has version %d, this program reads version 1", path,
                      version);
    if (rc == 0)
        rc = parse_shard(&shard, json_object_get(json, "shard"), n_rows, path, err);
    if (rc == 0)
        rc = parse_columns(&columns, json_object_get(json, "columns"), path, err);
    const char *job = json_string_value(json_object_get(json, "job"));
    if (rc == 0)
        *out = (struct ant_manifest){.n_rows = n_rows,
                                     .shard = shard,
                                     .columns = columns,
                                     .n_samples = n_samples,
                                     .input_digest = ant_xstrdup(input_digest),
                                     .model_digest = ant_xstrdup(model_digest),
                                     .input = *input ? ant_xstrdup(input) : NULL,
                                     .job = job ? ant_xstrdup(job) : NULL,
                                     .answers = join_lines(answers)};
    json_decref(json);
    return rc;
}

int ant_manifest_read(struct ant_manifest *out, const char *out_path, struct ant_error *err)
{
    char *path = ant_journal_in_folder(out_path, "manifest.json");
    char *text = NULL;
    size_t bytes = 0;
    int rc = ant_file_read(&text, &bytes, path, MAX_MANIFEST, err);

    if (rc == 0)
        rc = parse_manifest(out, path, text, bytes, err);
    free(text);
    free(path);
    return rc;
}

void ant_manifest_release(struct ant_manifest *manifest)
{
    free((char *)manifest->input_digest);
    free((char *)manifest->model_digest);
    free((char *)manifest->answers);
    free((char *)manifest->input);
    free((char *)manifest->job);
    *manifest = (struct ant_manifest){0};
}

/* The first line that differs between two lists of "name=value". */
static int compare_settings(const char *path, const char *was, const char *is,
                            struct ant_error *err)
{
    while (*was || *is) {
        int n = (int)strcspn(was, "\n"), m = (int)strcspn(is, "\n");
        if (n != m || memcmp(was, is, (size_t)n) != 0)
            return ant_fail(err, ANT_EUSAGE,
                            "'%s' was begun with '%.*s', now it is '%.*s': use the same settings, "
                            "or --restart-over to throw away what is there",
                            path, n < SHOWN ? n : SHOWN, was, m < SHOWN ? m : SHOWN, is);
        was += n + (was[n] == '\n');
        is += m + (is[m] == '\n');
    }
    return 0;
}

static int fail_differs(const char *path, const char *what, const char *was, const char *is,
                        struct ant_error *err)
{
    return ant_fail(err, ANT_EUSAGE,
                    "'%s' was begun with another %s (%.40s, now %.40s): use the same, or "
                    "--restart-over to throw away what is there",
                    path, what, was, is);
}

static void describe_rows(char *out, size_t bytes, const struct ant_manifest *manifest)
{
    snprintf(out, bytes, "%lld x %d", (long long)manifest->n_rows, manifest->n_samples);
    if (manifest->shard.count > 0)
        snprintf(out + strlen(out), bytes - strlen(out), " from row %lld on",
                 (long long)manifest->shard.first_row);
}

int ant_manifest_compare(const char *path, const struct ant_manifest *was,
                         const struct ant_manifest *is, struct ant_error *err)
{
    char was_rows[64], is_rows[64];

    describe_rows(was_rows, sizeof(was_rows), was);
    describe_rows(is_rows, sizeof(is_rows), is);
    if (strcmp(was_rows, is_rows) != 0)
        return fail_differs(path, "number of rows", was_rows, is_rows, err);
    if (strcmp(was->input_digest, is->input_digest) != 0)
        return fail_differs(path, "input", was->input_digest, is->input_digest, err);
    if (strcmp(was->model_digest, is->model_digest) != 0)
        return fail_differs(path, "model", was->model_digest, is->model_digest, err);
    char *was_answers = as_stored(was->answers), *is_answers = as_stored(is->answers);
    int rc = compare_settings(path, was_answers, is_answers, err);
    free(was_answers);
    free(is_answers);
    return rc;
}

/* ---- the start of a job ---------------------------------------------------------------------- */

static int make_folder(const char *out_path, struct ant_error *err)
{
    char *folder = ant_xasprintf("%s.journal", out_path);
    int rc = 0;

    if (mkdir(folder, 0777) < 0 && errno != EEXIST)
        rc = ant_fail(err, ANT_EIO, "cannot create folder '%s': %s", folder, strerror(errno));
    else
        rc = ant_sync_folder(folder, err);
    free(folder);
    return rc;
}

/* What is there belongs to this job, or is made to. A manifest without journals is of a job that
 * died before it began: nothing is lost with it. */
static int settle_manifest(const char *out_path, const struct ant_manifest *manifest,
                           bool restart_over, size_t n_files, struct ant_error *err)
{
    char *path = ant_journal_in_folder(out_path, "manifest.json");
    char *folder = ant_xasprintf("%s.journal", out_path);
    struct ant_manifest was = {0};
    bool is_there = n_files > 0 && access(path, F_OK) == 0;
    int rc = 0;

    if (restart_over) {
        rc = remove_journals(out_path, err);
        if (rc == 0)
            rc = remove_path(ant_xstrdup(out_path), err);
        is_there = false;
    } else if (is_there) {
        rc = ant_manifest_read(&was, out_path, err);
        if (rc == 0)
            rc = ant_manifest_compare(folder, &was, manifest, err);
        ant_manifest_release(&was);
    } else if (n_files > 0) {
        rc = ant_fail(err, ANT_EDATA,
                      "'%s' is missing, though there are journals beside it; --restart-over throws "
                      "them away",
                      path);
    }
    if (rc == 0 && !is_there)
        rc = ant_manifest_write(out_path, manifest, err);
    free(folder);
    free(path);
    return rc;
}

enum ant_journal_state ant_journal_state(const char *out_path)
{
    char *manifest = ant_journal_in_folder(out_path, "manifest.json");
    char *taken_over = ant_journal_file_path(out_path, 0, 0);
    enum ant_journal_state state = ANT_JOURNAL_NONE;

    if (access(manifest, F_OK) == 0)
        state = access(taken_over, F_OK) == 0 ? ANT_JOURNAL_REOPENED : ANT_JOURNAL_BEGUN;
    free(taken_over);
    free(manifest);
    return state;
}

int ant_journal_clear(const char *out_path, struct ant_error *err)
{
    ANT_TRY(make_folder(out_path, err));
    ANT_TRY(ant_journal_claim(out_path, err));
    ANT_TRY(remove_file(out_path, "manifest.json", err));
    return remove_journals(out_path, err);
}

int ant_journal_prepare(const char *out_path, const struct ant_manifest *manifest,
                        bool restart_over, int *start, struct ant_error *err)
{
    struct ant_journal_name *names = NULL;
    size_t n = 0;

    ANT_TRY(make_folder(out_path, err));
    ANT_TRY(ant_journal_claim(out_path, err));
    int rc = ant_journal_list(out_path, &names, &n, err);
    int last = n ? names[n - 1].start : 0;
    free(names);
    if (rc == 0)
        rc = settle_manifest(out_path, manifest, restart_over, n, err);
    if (rc == 0)
        rc = remove_file(out_path, "halt", err); /* was meant for the job before this */
    if (rc < 0) {
        ant_journal_release();
        return rc;
    }
    *start = restart_over ? 1 : last + 1;
    return 0;
}
