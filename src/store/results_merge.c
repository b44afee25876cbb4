/* SPDX-License-Identifier: Apache-2.0 */
/* One results file of those of all shards. Rows of shards are consecutive, so every dataset is
 * those of the shards one after the other; only offsets are moved on by what lies before. A virtual
 * file holds its own offsets and refers to the shards for all else. */
#include "config.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/checksum.h"
#include "base/clock.h"
#include "base/version.h"
#include "store/results_file.h"

enum {
    PIECE_BYTES = 4 << 20,
    NAMED = 8, /* troubles told at most */
    SHARD_METADATA_BYTES = 64 << 10,
};

/* What parts must agree in, then what is taken over from the first. */
static const char *const fact_names[] = {"input_digest", "model_digest",    "settings_digest",
                                         "prompts",      "answer_settings", "provenance/input"};
enum { N_DIGESTS = 3, N_ROOT = 5, N_FACTS = 6 };
static const char offsets_end[] = "_offsets"; /* of the names of such columns */

/* The file of a shard. */
struct part {
    const char *path;
    struct ant_input_shard shard;
    int64_t n_rows, n_samples, n_ok, n_failed;
    bool is_complete;
    char *facts[N_FACTS]; /* owned */
};

/* A dataset of /results. */
struct column {
    char *name;      /* owned */
    bool is_offsets; /* one element more than results, counting those of another dataset */
    hid_t type;      /* in the file; owned */
    hid_t memory;    /* the same as a native one; owned */
    size_t width;    /* bytes of an element in memory */
    bool is_widened; /* shards have shorter strings */
    int64_t total;   /* elements */
    int64_t *counts; /* (n_parts) of each part, owned */
    int64_t written; /* elements so far */
    int64_t base;    /* of the offsets that come next */
    uint32_t crc;    /* of what was written */
    hid_t dataset;
};

struct merger {
    const struct ant_results_merge *merge;
    struct part *parts; /* (n_parts), by first row; owned */
    int n_parts;
    struct column *columns; /* (n_columns), owned */
    int n_columns;
    char *path; /* of the file in the making, owned */
    hid_t file, group;
    struct ant_results_counts counts;
};

/* ---- the parts: all there, all of one job ---------------------------------------------------- */

static int read_part(struct part *part, struct ant_error *err)
{
    struct ant_results *results = NULL;
    int rc = 0;

    ANT_TRY(ant_results_open(&results, part->path, err));
    part->n_samples = ant_results_samples(results);
    part->n_rows = ant_results_count(results) / part->n_samples;
    part->n_ok = ant_results_ok(results);
    part->n_failed = ant_results_failed(results);
    part->is_complete = ant_results_complete(results);
    part->shard = ant_results_shard(results);
    if (part->shard.count == 0)
        part->shard = (struct ant_input_shard){.input_rows = part->n_rows, .count = 1};
    for (int i = 0; i < N_FACTS && rc == 0; i++)
        rc = ant_results_fact(results, fact_names[i], &part->facts[i], err);
    ant_results_close(results);
    return rc;
}

/* Several troubles in one line. */
struct troubles {
    struct ant_buf text;
    int64_t n;
};

static void __attribute__((format(printf, 2, 3)))
add_trouble(struct troubles *troubles, const char *format, ...)
{
    va_list arguments;
    char text[256];

    if (troubles->n++ >= NAMED)
        return;
    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    ant_buf_printf(&troubles->text, "%s%s", troubles->n > 1 ? "; " : "", text);
}

static int fail_troubles(struct troubles *troubles, struct ant_error *err)
{
    int rc = 0;

    if (troubles->n > NAMED)
        ant_buf_printf(&troubles->text, "; and %lld more", (long long)troubles->n - NAMED);
    if (troubles->n > 0)
        rc = ant_fail(err, ANT_EDATA, "%s", troubles->text.data);
    ant_buf_release(&troubles->text);
    return rc;
}

static bool is_unfinished(const char *path)
{
    char *journal = ant_xasprintf("%s.journal", path);
    bool is_there = access(journal, F_OK) == 0;

    free(journal);
    return is_there;
}

/* Those that are there; what is not is a trouble. */
static int read_parts(struct merger *m, struct troubles *troubles, struct ant_error *err)
{
    for (int i = 0; i < m->merge->n_parts; i++) {
        struct part *part = &m->parts[m->n_parts];
        *part = (struct part){.path = m->merge->parts[i]};
        if (access(part->path, F_OK) != 0) {
            add_trouble(troubles, "'%s' %s", part->path,
                        is_unfinished(part->path) ? "is not finished: start its job again"
                                                  : "is not there");
            continue;
        }
        m->n_parts++; /* also when it cannot be read: what it owns must be freed */
        ANT_TRY(read_part(part, err));
        if (!part->is_complete)
            add_trouble(troubles, "'%s' is not complete, %lld answers are missing", part->path,
                        (long long)(part->n_rows * part->n_samples - part->n_ok - part->n_failed));
    }
    return 0;
}

static int compare_parts(const void *left, const void *right)
{
    const struct part *a = left, *b = right;

    if (a->shard.first_row != b->shard.first_row)
        return a->shard.first_row < b->shard.first_row ? -1 : 1;
    return a->n_rows < b->n_rows ? -1 : a->n_rows > b->n_rows;
}

/* All must be answers to one input by one model under the same settings. */
static int check_alike(const struct merger *m, struct ant_error *err)
{
    static const char *const whats[N_DIGESTS] = {"other prompts", "another model",
                                                 "other settings"};
    const struct part *first = &m->parts[0];

    for (int i = 1; i < m->n_parts; i++) {
        const struct part *part = &m->parts[i];
        for (int k = 0; k < N_DIGESTS; k++)
            if (strcmp(part->facts[k], first->facts[k]) != 0)
                return ant_fail(err, ANT_EDATA, "'%s' holds answers to %s than '%s'", part->path,
                                whats[k], first->path);
        if (part->shard.input_rows != first->shard.input_rows ||
            part->n_samples != first->n_samples)
            return ant_fail(err, ANT_EDATA,
                            "'%s' is of %lld rows and %lld samples, '%s' of %lld and "
                            "%lld",
                            part->path, (long long)part->shard.input_rows,
                            (long long)part->n_samples, first->path,
                            (long long)first->shard.input_rows, (long long)first->n_samples);
    }
    return 0;
}

/* The first row of shard k. */
static int64_t shard_begin(const struct ant_input_shard *shard, int64_t k)
{
    return (int64_t)((__int128)shard->input_rows * k / shard->count);
}

static int64_t shard_of(const struct ant_input_shard *shard, int64_t row)
{
    return (int64_t)(((__int128)(row + 1) * shard->count - 1) / shard->input_rows);
}

/* Rows [from, to) are in no file: which shards are that? By rows, as the file may say that there
 * are thousands of millions of shards. */
static void add_gap(const struct merger *m, struct troubles *troubles, int64_t from, int64_t to)
{
    const struct ant_input_shard *shard = &m->parts[0].shard;

    while (from < to && troubles->n < NAMED) {
        int64_t k = shard_of(shard, from), end = shard_begin(shard, k + 1);
        if (from == shard_begin(shard, k) && end <= to) {
            add_trouble(troubles, "shard %lld of %d (rows %lld to %lld) is missing", (long long)k,
                        shard->count, (long long)from, (long long)end - 1);
        } else { /* cut into another number of shards */
            end = end < to ? end : to;
            add_trouble(troubles, "rows %lld to %lld are missing", (long long)from,
                        (long long)end - 1);
        }
        from = end;
    }
    if (from < to) { /* of more shards than rows many are empty */
        int64_t shards = shard_of(shard, to - 1) - shard_of(shard, from) + 1;
        troubles->n += shards < to - from ? shards : to - from;
    }
}

static int check_rows(const struct merger *m, struct troubles *troubles, struct ant_error *err)
{
    int64_t next = 0;

    for (int i = 0; i < m->n_parts; i++) {
        const struct part *part = &m->parts[i];
        if (part->shard.first_row < next && part->n_rows > 0)
            return ant_fail(err, ANT_EDATA, "rows from %lld on are in '%s' and in '%s'",
                            (long long)part->shard.first_row, m->parts[i - 1].path, part->path);
        if (part->shard.first_row > next)
            add_gap(m, troubles, next, part->shard.first_row);
        if (part->n_rows > 0) /* an empty one may begin anywhere */
            next = part->shard.first_row + part->n_rows;
    }
    if (next < m->parts[0].shard.input_rows)
        add_gap(m, troubles, next, m->parts[0].shard.input_rows);
    return 0;
}

static int find_parts(struct merger *m, struct ant_error *err)
{
    struct troubles troubles = {0};
    int rc = read_parts(m, &troubles, err);

    if (rc == 0 && m->n_parts > 0) {
        qsort(m->parts, (size_t)m->n_parts, sizeof(*m->parts), compare_parts);
        rc = check_alike(m, err);
        if (rc == 0)
            rc = check_rows(m, &troubles, err);
    }
    if (rc == 0 && (!m->merge->is_partial || m->n_parts == 0))
        rc = fail_troubles(&troubles, err);
    ant_buf_release(&troubles.text);
    for (int i = 0; i < m->n_parts; i++) {
        m->counts.n_rows += m->parts[i].n_rows;
        m->counts.n_ok += m->parts[i].n_ok;
        m->counts.n_failed += m->parts[i].n_failed;
    }
    return rc;
}

/* ---- the columns ----------------------------------------------------------------------------- */

static int open_group(const struct part *part, hid_t *file, hid_t *group, struct ant_error *err)
{
    ANT_TRY(ant_h5_open(file, part->path, false, "", err));
    *group = H5Gopen2(*file, "results", H5P_DEFAULT);
    if (*group >= 0)
        return 0;
    ant_h5_close(*file);
    return ant_h5_fail(err, ANT_EDATA, "'%s' has no group '/results'", part->path);
}

static bool ends_in(const char *name, const char *end)
{
    size_t n = strlen(name), m = strlen(end);

    return n > m && strcmp(name + n - m, end) == 0;
}

/* The datasets of the first part are those of all. */
static int list_columns(struct merger *m, hid_t group, struct ant_error *err)
{
    H5G_info_t info;

    if (H5Gget_info(group, &info) < 0)
        return ant_h5_fail(err, ANT_EDATA, "'%s': cannot list '/results'", m->parts[0].path);
    m->columns = ant_xcalloc((size_t)info.nlinks + 1, sizeof(*m->columns));
    for (hsize_t i = 0; i < info.nlinks; i++) {
        struct column *column = &m->columns[m->n_columns];
        char name[128];
        ssize_t length = H5Lget_name_by_idx(group, ".", H5_INDEX_NAME, H5_ITER_INC, i, name,
                                            sizeof(name), H5P_DEFAULT);
        if (length < 0 || (size_t)length >= sizeof(name))
            return ant_h5_fail(err, ANT_EDATA, "'%s': cannot list '/results'", m->parts[0].path);
        *column = (struct column){.name = ant_xstrdup(name),
                                  .is_offsets = ends_in(name, offsets_end),
                                  .type = H5I_INVALID_HID,
                                  .memory = H5I_INVALID_HID,
                                  .dataset = H5I_INVALID_HID};
        column->counts = ant_xcalloc((size_t)m->n_parts, sizeof(*column->counts));
        m->n_columns++;
    }
    return 0;
}

/* Numbers, rows of them and strings of fixed length; offsets are counted with. */
static bool is_copied(const struct column *column, hid_t type)
{
    H5T_class_t class = H5Tget_class(type);

    if (column->is_offsets)
        return H5Tequal(type, H5T_STD_I64LE) > 0;
    if (H5Tget_size(type) > ANT_H5_LONGEST_VALUE)
        return false;
    return class == H5T_INTEGER || class == H5T_FLOAT || class == H5T_ENUM || class == H5T_ARRAY ||
           (class == H5T_STRING && H5Tis_variable_str(type) == 0);
}

/* Of strings the widest is the type of all; anything else must be the same. */
static int settle_type(struct column *column, hid_t type, const char *path, struct ant_error *err)
{
    bool is_first = column->type < 0;

    if (!is_copied(column, type))
        return ant_fail(err, ANT_EDATA,
                        "'%s': dataset '/results/%s' is of a type that has no place "
                        "in results",
                        path, column->name);
    if (!is_first && H5Tequal(column->type, type) > 0)
        return 0;
    if (!is_first && (H5Tget_class(type) != H5T_STRING || H5Tget_class(column->type) != H5T_STRING))
        return ant_fail(err, ANT_EDATA,
                        "'%s': dataset '/results/%s' is of another type than in the "
                        "other files",
                        path, column->name);
    column->is_widened = column->is_widened || !is_first;
    if (is_first || H5Tget_size(type) > H5Tget_size(column->type)) {
        ant_h5_close(column->type);
        ant_h5_close(column->memory);
        column->type = H5Tcopy(type);
        column->memory = H5Tget_native_type(type, H5T_DIR_ASCEND);
        column->width = H5Tget_size(column->memory);
    }
    return 0;
}

static int measure_column(struct merger *m, struct column *column, hid_t group, int i,
                          struct ant_error *err)
{
    const struct part *part = &m->parts[i];
    int64_t results = part->n_rows * part->n_samples;
    hid_t dataset = H5Dopen2(group, column->name, H5P_DEFAULT);
    hid_t space = dataset < 0 ? H5I_INVALID_HID : H5Dget_space(dataset);
    hid_t type = dataset < 0 ? H5I_INVALID_HID : H5Dget_type(dataset);
    hsize_t n = 0;
    int rc = 0;

    if (dataset < 0 || H5Sget_simple_extent_ndims(space) != 1 ||
        H5Sget_simple_extent_dims(space, &n, NULL) != 1)
        rc = ant_h5_fail(err, ANT_EDATA, "'%s' has no list '/results/%s', as other files have",
                         part->path, column->name);
    else if (column->is_offsets && (int64_t)n != results + 1)
        rc =
            ant_fail(err, ANT_EDATA, "'%s': dataset '/results/%s' has %lld elements, expected %lld",
                     part->path, column->name, (long long)n, (long long)results + 1);
    else
        rc = settle_type(column, type, part->path, err);
    column->counts[i] = (int64_t)n;
    column->total += (int64_t)n - (column->is_offsets && i > 0);
    ant_h5_close(type);
    ant_h5_close(space);
    ant_h5_close(dataset);
    return rc;
}

static int measure_part(struct merger *m, int i, struct ant_error *err)
{
    hid_t file = H5I_INVALID_HID, group = H5I_INVALID_HID;
    H5G_info_t info;
    int rc = 0;

    ANT_TRY(open_group(&m->parts[i], &file, &group, err));
    if (i == 0)
        rc = list_columns(m, group, err);
    else if (H5Gget_info(group, &info) < 0 || (int)info.nlinks != m->n_columns)
        rc = ant_fail(err, ANT_EDATA, "'%s' has other datasets in '/results' than '%s'",
                      m->parts[i].path, m->parts[0].path);
    for (int k = 0; k < m->n_columns && rc == 0; k++)
        rc = measure_column(m, &m->columns[k], group, i, err);
    ant_h5_close(group);
    ant_h5_close(file);
    return rc;
}

/* ---- the new file ---------------------------------------------------------------------------- */

/* As seen from the folder of the virtual file where the part lies in it or below, so that both can
 * be moved together. */
static char *path_from(const char *path, const char *part)
{
    char *folder = ant_xstrdup(path), *slash = strrchr(folder, '/');
    if (slash)
        slash[1] = '\0';
    char *here = realpath(slash ? folder : ".", NULL), *there = realpath(part, NULL);
    size_t n = here ? strlen(here) : 0;
    char *out;

    if (here && there && strncmp(here, there, n) == 0 && there[n] == '/')
        out = ant_xstrdup(there + n + 1);
    else
        out = ant_xstrdup(there ? there : part);
    free(folder);
    free(here);
    free(there);
    return out;
}

static int map_parts(const struct merger *m, const struct column *column, hid_t creation)
{
    char *name = ant_xasprintf("/results/%s", column->name);
    hsize_t total = (hsize_t)column->total, at = 0;
    int rc = 0;

    for (int i = 0; i < m->n_parts && rc >= 0; i++) {
        hsize_t n = (hsize_t)column->counts[i];
        char *path = path_from(m->merge->path, m->parts[i].path);
        hid_t whole = H5Screate_simple(1, &total, NULL), part = H5Screate_simple(1, &n, NULL);
        if (n > 0 && (H5Sselect_hyperslab(whole, H5S_SELECT_SET, &at, NULL, &n, NULL) < 0 ||
                      H5Pset_virtual(creation, whole, path, name, part) < 0))
            rc = -1;
        at += n;
        ant_h5_close(part);
        ant_h5_close(whole);
        free(path);
    }
    free(name);
    return rc;
}

static int create_column(struct merger *m, struct column *column, struct ant_error *err)
{
    hsize_t n = (hsize_t)column->total;
    hid_t creation = H5Pcreate(H5P_DATASET_CREATE), space = H5Screate_simple(1, &n, NULL);
    int rc = 0;

    H5Pset_obj_track_times(creation, 0);
    if (m->merge->is_virtual && !column->is_offsets && n > 0) {
        rc = map_parts(m, column, creation);
    } else {
        H5Pset_layout(creation, H5D_CONTIGUOUS);
        H5Pset_alloc_time(creation, H5D_ALLOC_TIME_EARLY);
        H5Pset_fill_time(creation, H5D_FILL_TIME_NEVER);
    }
    if (rc >= 0)
        column->dataset = H5Dcreate2(m->group, column->name, column->type, space, H5P_DEFAULT,
                                     creation, H5P_DEFAULT);
    if (column->dataset < 0)
        rc = ant_h5_fail(err, ANT_EIO, "cannot create dataset '/results/%s'", column->name);
    ant_h5_close(space);
    ant_h5_close(creation);
    return rc;
}

static int put_root(struct merger *m, struct ant_error *err)
{
    const struct part *first = &m->parts[0];
    struct ant_results_counts *counts = &m->counts;
    char now[32];

    counts->n_missing =
        first->shard.input_rows * first->n_samples - counts->n_ok - counts->n_failed;
    ant_utc(now, sizeof(now), time(NULL));
    const struct {
        const char *name;
        int64_t value;
    } numbers[] = {{"version", ANT_RESULTS_VERSION}, {"complete", 0},
                   {"n_rows", counts->n_rows},       {"n_samples", first->n_samples},
                   {"n_ok", counts->n_ok},           {"n_failed", counts->n_failed},
                   {"n_missing", counts->n_missing}};
    ANT_TRY(ant_h5_put_text(m->file, "schema", ANT_RESULTS_SCHEMA, err));
    for (size_t i = 0; i < sizeof(numbers) / sizeof(*numbers); i++)
        ANT_TRY(ant_h5_put_int(m->file, numbers[i].name, numbers[i].value, err));
    for (int i = 0; i < N_ROOT; i++)
        ANT_TRY(ant_h5_put_text(m->file, fact_names[i], first->facts[i], err));
    hid_t group = H5Gcreate2(m->file, "provenance", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    int rc = group < 0 ? ant_h5_fail(err, ANT_EIO, "cannot create group '/provenance'") : 0;
    if (rc == 0)
        rc = ant_h5_put_text(group, "version", ant_version, err);
    if (rc == 0)
        rc = ant_h5_put_text(group, "command", m->merge->command, err);
    if (rc == 0)
        rc = ant_h5_put_text(group, "ended", now, err);
    if (rc == 0)
        rc = ant_h5_put_text(group, "input", first->facts[N_ROOT], err);
    ant_h5_close(group);
    return rc;
}

/* What each shard says of itself, as it is: /shards/N/provenance, performance and timeline. */
static int copy_history(struct merger *m, hid_t from, int i, struct ant_error *err)
{
    static const char *const groups[] = {"provenance", "performance", "timeline"};
    hid_t links = H5Pcreate(H5P_LINK_CREATE);
    int rc = 0;

    H5Pset_create_intermediate_group(links, 1);
    for (size_t k = 0; k < 3 && rc == 0; k++) {
        char *name = ant_xasprintf("shards/%d/%s", m->parts[i].shard.number, groups[k]);
        if (H5Lexists(from, groups[k], H5P_DEFAULT) > 0 &&
            H5Ocopy(from, groups[k], m->file, name, H5P_DEFAULT, links) < 0)
            rc =
                ant_h5_fail(err, ANT_EIO, "cannot copy '/%s' of '%s'", groups[k], m->parts[i].path);
        free(name);
    }
    ant_h5_close(links);
    return rc;
}

static int create_file(struct merger *m, struct ant_error *err)
{
    int64_t bytes = (int64_t)m->n_parts * SHARD_METADATA_BYTES;
    int rc = 0;

    for (int k = 0; k < m->n_columns; k++)
        if (!m->merge->is_virtual || m->columns[k].is_offsets)
            bytes += m->columns[k].total * (int64_t)m->columns[k].width;
    unlink(m->path);
    ANT_TRY(ant_results_check_space(m->merge->path, bytes, err));
    ANT_TRY(ant_results_file_begin(&m->file, m->path, err));
    rc = put_root(m, err);
    m->group = H5Gcreate2(m->file, "results", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    if (rc == 0 && m->group < 0)
        rc = ant_h5_fail(err, ANT_EIO, "cannot create group '/results'");
    for (int k = 0; k < m->n_columns && rc == 0; k++)
        rc = create_column(m, &m->columns[k], err);
    return rc;
}

/* ---- copying --------------------------------------------------------------------------------- */

static int transfer(hid_t dataset, hid_t memory, int64_t first, int64_t n, void *data,
                    bool is_write)
{
    hsize_t start = (hsize_t)first, count = (hsize_t)n;
    hid_t space = H5Dget_space(dataset), in_memory = H5Screate_simple(1, &count, NULL);
    herr_t rc = H5Sselect_hyperslab(space, H5S_SELECT_SET, &start, NULL, &count, NULL);

    errno = 0;
    if (rc >= 0)
        rc = is_write ? H5Dwrite(dataset, memory, in_memory, space, H5P_DEFAULT, data)
                      : H5Dread(dataset, memory, in_memory, space, H5P_DEFAULT, data);
    ant_h5_close(in_memory);
    ant_h5_close(space);
    return rc;
}

/* Elements [done, done + n) of a part's column, moved on if they are offsets, to the new file. The
 * first offset of all but the first part is the last one of the part before. */
static int write_piece(struct merger *m, struct column *column, int64_t done, int64_t n,
                       struct ant_buf *piece, struct ant_error *err)
{
    char *data = piece->data;

    if (column->is_offsets) {
        int64_t *offsets = (int64_t *)(void *)data;
        for (int64_t i = 0; i < n; i++)
            offsets[i] += column->base;
        if (done == 0 && column->written > 0) {
            data += sizeof(*offsets);
            n--;
        }
    }
    if (n == 0)
        return 0;
    if (transfer(column->dataset, column->memory, column->written, n, data, true) < 0)
        return ant_h5_fail(err, ANT_EIO, "cannot write '%s', dataset '/results/%s'", m->path,
                           column->name);
    column->crc = ant_crc32c(column->crc, data, (size_t)n * column->width);
    column->written += n;
    return 0;
}

/* Elements in a part of what these offsets are of. */
static int64_t count_of(const struct merger *m, const struct column *offsets, int i)
{
    size_t n = strlen(offsets->name) - strlen(offsets_end);

    for (int k = 0; k < m->n_columns; k++)
        if (strlen(m->columns[k].name) == n && strncmp(m->columns[k].name, offsets->name, n) == 0)
            return m->columns[k].counts[i];
    return -1;
}

static int copy_pieces(struct merger *m, struct column *column, int i, hid_t from,
                       const char *label, struct ant_error *err)
{
    int64_t most = PIECE_BYTES / (int64_t)column->width + 1, end = column->base;
    struct ant_buf piece = {0};
    uint32_t found = 0, crc = 0;
    int has_crc = ant_results_read_crc(from, label, &crc, err), rc = has_crc < 0 ? has_crc : 0;

    for (int64_t done = 0, n; done < column->counts[i] && rc == 0; done += n) {
        n = column->counts[i] - done < most ? column->counts[i] - done : most;
        piece.len = 0;
        ant_buf_grow(&piece, (size_t)n * column->width);
        if (transfer(from, column->memory, done, n, piece.data, false) < 0) {
            rc = ant_h5_fail(err, ANT_EIO, "cannot read %s", label);
            break;
        }
        found = ant_crc32c(found, piece.data, piece.len);
        rc = write_piece(m, column, done, n, &piece, err);
        if (column->is_offsets)
            memcpy(&end, piece.data + (size_t)(n - 1) * column->width, sizeof(end));
    }
    ant_buf_release(&piece);
    if (rc == 0 && has_crc > 0 && !column->is_widened && found != crc)
        rc = ant_results_fail_crc(label, err);
    if (rc == 0 && column->is_offsets && end - column->base != count_of(m, column, i))
        rc = ant_fail(err, ANT_EDATA, "%s: the last offset is %lld, which is not the end", label,
                      (long long)(end - column->base));
    column->base = end;
    return rc;
}

/* A column that is only referred to: its checksum is made of those of the parts. */
static int refer_to(struct column *column, int i, hid_t from, const char *label,
                    struct ant_error *err)
{
    uint32_t crc = 0;
    int rc = ant_results_read_crc(from, label, &crc, err);

    if (rc < 0)
        return rc;
    if (rc == 0)
        return ant_fail(err, ANT_EDATA, "%s has no checksum: merge without --virtual", label);
    column->crc = ant_crc32c_combine(column->crc, crc, (uint64_t)column->counts[i] * column->width);
    return 0;
}

static int copy_column(struct merger *m, struct column *column, int i, hid_t group,
                       struct ant_error *err)
{
    char *label = ant_xasprintf("'%s', dataset '/results/%s'", m->parts[i].path, column->name);
    hid_t from = H5Dopen2(group, column->name, H5P_DEFAULT);
    int rc;

    if (from < 0)
        rc = ant_h5_fail(err, ANT_EDATA, "cannot open %s", label);
    else if (m->merge->is_virtual && !column->is_offsets)
        rc = column->is_widened ? 0 : refer_to(column, i, from, label, err);
    else
        rc = copy_pieces(m, column, i, from, label, err);
    ant_h5_close(from);
    free(label);
    return rc;
}

static int copy_part(struct merger *m, int i, struct ant_error *err)
{
    hid_t file = H5I_INVALID_HID, group = H5I_INVALID_HID;

    ANT_TRY(open_group(&m->parts[i], &file, &group, err));
    int rc = copy_history(m, file, i, err);
    for (int k = 0; k < m->n_columns && rc == 0; k++)
        rc = copy_column(m, &m->columns[k], i, group, err);
    ant_h5_close(group);
    ant_h5_close(file);
    return rc;
}

/* ---- reading back ---------------------------------------------------------------------------- */

/* What is in the file now. Only referred to, a column was read by nobody, and need not be. */
static int verify_column(struct merger *m, struct column *column, struct ant_error *err)
{
    bool is_referred = m->merge->is_virtual && !column->is_offsets;
    uint32_t crc = 0;

    if (is_referred && !column->is_widened)
        return 0;
    char *path = ant_xasprintf("results/%s", column->name);
    int rc = ant_results_crc(m->file, path, m->path, &crc, err);
    free(path);
    if (rc == 0 && is_referred)
        column->crc = crc;
    if (rc == 0 && crc != column->crc)
        rc = ant_fail(err, ANT_EIO,
                      "'%s': what was written to '/results/%s' does not read back the same",
                      m->path, column->name);
    return rc;
}

static void close_columns(struct merger *m)
{
    for (int k = 0; k < m->n_columns; k++) {
        ant_h5_close(m->columns[k].dataset);
        m->columns[k].dataset = H5I_INVALID_HID;
    }
    ant_h5_close(m->group);
    m->group = H5I_INVALID_HID;
}

static int close_file(struct merger *m, struct ant_error *err)
{
    close_columns(m);
    int rc = ant_h5_close(m->file);
    m->file = H5I_INVALID_HID;
    return rc < 0 ? ant_h5_fail(err, ANT_EIO, "cannot close '%s'", m->path) : 0;
}

static int publish(struct merger *m, struct ant_error *err)
{
    struct ant_results_seal *seals = ant_xcalloc((size_t)m->n_columns + 1, sizeof(*seals));

    for (int k = 0; k < m->n_columns; k++)
        seals[k] = (struct ant_results_seal){m->columns[k].name, m->columns[k].crc};
    int rc = ant_results_file_publish(m->path, m->merge->path, seals, (size_t)m->n_columns,
                                      m->counts.n_missing == 0, err);
    free(seals);
    return rc;
}

static int merge_parts(struct merger *m, struct ant_error *err)
{
    ANT_TRY(find_parts(m, err));
    for (int i = 0; i < m->n_parts; i++)
        ANT_TRY(measure_part(m, i, err));
    ANT_TRY(create_file(m, err));
    for (int i = 0; i < m->n_parts; i++)
        ANT_TRY(copy_part(m, i, err));
    ANT_TRY(close_file(m, err));
    ANT_TRY(ant_h5_open(&m->file, m->path, false, "", err));
    for (int k = 0; k < m->n_columns; k++)
        ANT_TRY(verify_column(m, &m->columns[k], err));
    ANT_TRY(close_file(m, err));
    return publish(m, err);
}

int ant_results_merge(const struct ant_results_merge *merge, struct ant_results_counts *out,
                      struct ant_error *err)
{
    struct merger m = {.merge = merge, .file = H5I_INVALID_HID, .group = H5I_INVALID_HID};

    ant_h5_start();
    m.parts = ant_xcalloc((size_t)merge->n_parts + 1, sizeof(*m.parts));
    m.path = ant_xasprintf("%s.part", merge->path);
    int rc = merge_parts(&m, err);
    close_columns(&m);
    if (ant_h5_close(m.file) < 0 && rc == 0)
        rc = ant_h5_fail(err, ANT_EIO, "cannot close '%s'", m.path);
    if (rc < 0)
        unlink(m.path);
    for (int k = 0; k < m.n_columns; k++) {
        ant_h5_close(m.columns[k].type);
        ant_h5_close(m.columns[k].memory);
        free(m.columns[k].counts);
        free(m.columns[k].name);
    }
    for (int i = 0; i < m.n_parts; i++)
        for (int k = 0; k < N_FACTS; k++)
            free(m.parts[i].facts[k]);
    free(m.columns);
    free(m.parts);
    free(m.path);
    if (rc == 0)
        *out = m.counts;
    return rc;
}
