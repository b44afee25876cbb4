/* SPDX-License-Identifier: Apache-2.0 */
/* /performance and /timeline: tables of plain structs, a dataset a member, written and read back by
 * the same lists of members. And the attributes of /provenance, as a list. */
#include "config.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "store/results_file.h"

enum { I32, I64, REAL, TEXT };
enum { TOTAL_NONE, TOTAL_SUM, TOTAL_MAX }; /* also an attribute of the group */

struct member {
    const char *name;
    size_t offset;
    int type, total;
};

struct table {
    const char *name;
    const struct member *members;
    size_t n_members, stride, most_rows;
    size_t shard; /* offset of a member that no file has: whose of a merged one */
};

#define AT(name, type, total)                                                                      \
    {                                                                                              \
#name, offsetof(struct ant_rank_report, name), type, total                                 \
    }
static const struct member report_members[] = {
    AT(rank, I32, TOTAL_NONE),         AT(dp_rank, I32, TOTAL_NONE),
    AT(host, TEXT, TOTAL_NONE),        AT(rows, I64, TOTAL_SUM),
    AT(failed, I64, TOTAL_SUM),        AT(prompt_tokens, I64, TOTAL_SUM),
    AT(output_tokens, I64, TOTAL_SUM), AT(shared_tokens, I64, TOTAL_SUM),
    AT(drafted, I64, TOTAL_SUM),       AT(accepted, I64, TOTAL_SUM),
    AT(steps, I64, TOTAL_SUM),         AT(preemptions, I64, TOTAL_SUM),
    AT(stolen, I64, TOTAL_SUM),        AT(load_s, REAL, TOTAL_MAX),
    AT(prefill_s, REAL, TOTAL_MAX),    AT(decode_s, REAL, TOTAL_MAX),
    AT(idle_s, REAL, TOTAL_MAX),       AT(total_s, REAL, TOTAL_MAX),
    AT(weight_bytes, REAL, TOTAL_SUM), AT(kv_bytes, REAL, TOTAL_SUM),
    AT(flops, REAL, TOTAL_SUM),        AT(bandwidth, REAL, TOTAL_NONE),
    AT(peak_memory, REAL, TOTAL_SUM),  AT(joules, REAL, TOTAL_SUM),
    AT(read_bytes, I64, TOTAL_SUM),    AT(company_steps, I64, TOTAL_SUM),
};
#undef AT

#define AT(name, type)                                                                             \
    {                                                                                              \
#name, offsetof(struct ant_moment, name), type, TOTAL_NONE                                 \
    }
static const struct member moment_members[] = {
    AT(time, REAL),     AT(start, I32),         AT(rank, I32), AT(dp_rank, I32),
    AT(running, I32),   AT(prompt_tokens, I64), AT(rows, I64), AT(output_tokens, I64),
    AT(failed, I64),    AT(stolen, I64),        AT(left, I64), AT(prefill_s, REAL),
    AT(decode_s, REAL), AT(idle_s, REAL),
};
#undef AT

#define N_OF(list) (sizeof(list) / sizeof(*(list)))
static const struct table reports_table = {"performance",
                                           report_members,
                                           N_OF(report_members),
                                           sizeof(struct ant_rank_report),
                                           1 << 20,
                                           offsetof(struct ant_rank_report, shard)};
static const struct table timeline_table = {"timeline",
                                            moment_members,
                                            N_OF(moment_members),
                                            sizeof(struct ant_moment),
                                            1 << 23,
                                            offsetof(struct ant_moment, shard)};

/* In memory; close with ant_h5_close. */
static hid_t native_type(const struct member *member)
{
    if (member->type != TEXT)
        return H5Tcopy(member->type == I32   ? H5T_NATIVE_INT32
                       : member->type == I64 ? H5T_NATIVE_INT64
                                             : H5T_NATIVE_DOUBLE);
    hid_t type = H5Tcopy(H5T_C_S1);
    H5Tset_size(type, sizeof(((struct ant_rank_report *)0)->host));
    H5Tset_cset(type, H5T_CSET_UTF8);
    return type;
}

/* In the file. */
static hid_t file_type(const struct member *member)
{
    if (member->type == TEXT)
        return native_type(member);
    return H5Tcopy(member->type == I32   ? H5T_STD_I32LE
                   : member->type == I64 ? H5T_STD_I64LE
                                         : H5T_IEEE_F64LE);
}

static size_t width_of(const struct member *member)
{
    return member->type == I32    ? sizeof(int32_t)
           : member->type == TEXT ? sizeof(((struct ant_rank_report *)0)->host)
                                  : sizeof(int64_t);
}

/* ---- writing --------------------------------------------------------------------------------- */

static int put_total(hid_t group, const struct member *member, const char *values, size_t n,
                     struct ant_error *err)
{
    double real = 0;
    int64_t whole = 0;

    for (size_t i = 0; i < n; i++) {
        double value = 0;
        int64_t count = 0;
        if (member->type == REAL)
            memcpy(&value, values + i * sizeof(value), sizeof(value));
        else
            memcpy(&count, values + i * sizeof(count), sizeof(count));
        whole += count;
        real = member->total == TOTAL_SUM ? real + value : fmax(real, value);
    }
    return member->type == I64 ? ant_h5_put_int(group, member->name, whole, err)
                               : ant_h5_put_real(group, member->name, real, err);
}

static int put_member(hid_t group, const struct table *table, const struct member *member,
                      const void *rows, size_t n, struct ant_error *err)
{
    size_t width = width_of(member);
    hsize_t extent = n;
    char *values = ant_xcalloc(n + 1, width);
    int rc = 0;

    for (size_t i = 0; i < n; i++)
        memcpy(values + i * width, (const char *)rows + i * table->stride + member->offset, width);
    hid_t type = file_type(member), native = native_type(member);
    hid_t space = H5Screate_simple(1, &extent, NULL);
    hid_t dataset =
        H5Dcreate2(group, member->name, type, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    if (dataset < 0 ||
        (n > 0 && H5Dwrite(dataset, native, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) < 0))
        rc = ant_h5_fail(err, ANT_EIO, "cannot write dataset '/%s/%s'", table->name, member->name);
    if (rc == 0 && member->total != TOTAL_NONE)
        rc = put_total(group, member, values, n, err);
    ant_h5_close(dataset);
    ant_h5_close(space);
    ant_h5_close(native);
    ant_h5_close(type);
    free(values);
    return rc;
}

static int put_table(hid_t file, const struct table *table, const void *rows, size_t n,
                     struct ant_error *err)
{
    hid_t group = H5Gcreate2(file, table->name, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    int rc = group < 0 ? ant_h5_fail(err, ANT_EIO, "cannot create group '/%s'", table->name) : 0;

    for (size_t i = 0; i < table->n_members && rc == 0; i++)
        rc = put_member(group, table, &table->members[i], rows, n, err);
    ant_h5_close(group);
    return rc;
}

int ant_results_put_performance(hid_t file, const struct ant_results_plan *plan,
                                struct ant_error *err)
{
    ANT_TRY(put_table(file, &reports_table, plan->reports, plan->n_reports, err));
    return put_table(file, &timeline_table, plan->timeline.items, plan->timeline.n, err);
}

/* ---- reading --------------------------------------------------------------------------------- */

/* The rows of a table as they grow, shard by shard. */
struct rows {
    char *items; /* owned */
    size_t n;
};

/* No measurement is infinite. */
static void drop_nonsense(double *values, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!isfinite(values[i]))
            values[i] = 0;
}

/* A dataset that is not there leaves zeros: versions differ in what they tell. */
static int get_member(hid_t group, const struct table *table, const struct member *member,
                      char *rows, size_t n, const char *path, struct ant_error *err)
{
    size_t width = width_of(member);
    hsize_t extent = 0;
    int rc = 0;

    if (H5Lexists(group, member->name, H5P_DEFAULT) <= 0)
        return 0;
    char *values = ant_xcalloc(n + 1, width);
    hid_t dataset = H5Dopen2(group, member->name, H5P_DEFAULT);
    hid_t space = dataset < 0 ? H5I_INVALID_HID : H5Dget_space(dataset);
    hid_t native = native_type(member);
    if (dataset < 0 || H5Sget_simple_extent_ndims(space) != 1 ||
        H5Sget_simple_extent_dims(space, &extent, NULL) != 1 || extent != n ||
        H5Dread(dataset, native, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) < 0)
        rc = ant_h5_fail(err, ANT_EDATA, "'%s': dataset '/%s/%s' is not a list of %zu", path,
                         table->name, member->name, n);
    if (member->type == REAL && rc == 0)
        drop_nonsense((double *)(void *)values, n);
    for (size_t i = 0; i < n && rc == 0; i++)
        memcpy(rows + i * table->stride + member->offset, values + i * width,
               member->type == TEXT ? width - 1 : width);
    ant_h5_close(native);
    ant_h5_close(space);
    ant_h5_close(dataset);
    free(values);
    return rc;
}

/* The first member's dataset says how many rows there are; there is room for `most`. */
static int count_rows(hid_t group, const struct table *table, size_t most, size_t *n,
                      const char *path, struct ant_error *err)
{
    const char *name = table->members[0].name;
    hid_t dataset = H5Dopen2(group, name, H5P_DEFAULT);
    hid_t space = dataset < 0 ? H5I_INVALID_HID : H5Dget_space(dataset);
    hsize_t extent = 0;
    int rc = 0;

    if (dataset < 0 || H5Sget_simple_extent_ndims(space) != 1 ||
        H5Sget_simple_extent_dims(space, &extent, NULL) != 1)
        rc = ant_h5_fail(err, ANT_EDATA, "'%s' has no list '/%s/%s'", path, table->name, name);
    else if (extent > most)
        rc = ant_fail(err, ANT_EDATA, "'%s' has more than %zu rows in '/%s'", path,
                      table->most_rows, table->name);
    *n = (size_t)extent;
    ant_h5_close(space);
    ant_h5_close(dataset);
    return rc;
}

static int get_table(hid_t where, const struct table *table, struct rows *out, const char *path,
                     struct ant_error *err)
{
    size_t n = 0;

    if (H5Lexists(where, table->name, H5P_DEFAULT) <= 0)
        return 0;
    hid_t group = H5Gopen2(where, table->name, H5P_DEFAULT);
    int rc = group < 0 ? ant_h5_fail(err, ANT_EDATA, "'%s': cannot open '/%s'", path, table->name)
                       : count_rows(group, table, table->most_rows - out->n, &n, path, err);
    if (rc == 0) {
        out->items = ant_xrealloc(out->items, out->n + n + 1, table->stride);
        memset(out->items + out->n * table->stride, 0, n * table->stride);
    }
    for (size_t i = 0; i < table->n_members && rc == 0; i++)
        rc = get_member(group, table, &table->members[i], out->items + out->n * table->stride, n,
                        path, err);
    out->n += n;
    ant_h5_close(group);
    return rc;
}

/* Those of the i-th shard, whose group is named by its number. */
static int get_shard(hid_t shards, hsize_t i, const struct table *table, struct rows *out,
                     const char *path, struct ant_error *err)
{
    char name[24] = "";
    ssize_t length = H5Lget_name_by_idx(shards, ".", H5_INDEX_NAME, H5_ITER_INC, i, name,
                                        sizeof(name), H5P_DEFAULT);
    bool is_name = length > 0 && (size_t)length < sizeof(name);
    hid_t shard = is_name ? H5Gopen2(shards, name, H5P_DEFAULT) : H5I_INVALID_HID;
    size_t first = out->n;
    int32_t number = (int32_t)strtol(name, NULL, 10);

    if (shard < 0)
        return ant_h5_fail(err, ANT_EDATA, "'%s': cannot open '/shards/%s'", path, name);
    int rc = get_table(shard, table, out, path, err);
    for (size_t k = first; k < out->n && rc == 0; k++)
        memcpy(out->items + k * table->stride + table->shard, &number, sizeof(number));
    ant_h5_close(shard);
    return rc;
}

static int get_shards(hid_t file, const struct table *table, struct rows *out, const char *path,
                      struct ant_error *err)
{
    H5G_info_t info = {0};

    if (H5Lexists(file, "shards", H5P_DEFAULT) <= 0)
        return 0;
    hid_t shards = H5Gopen2(file, "shards", H5P_DEFAULT);
    int rc = shards < 0 || H5Gget_info(shards, &info) < 0
                 ? ant_h5_fail(err, ANT_EDATA, "'%s': cannot open '/shards'", path)
                 : 0;
    for (hsize_t i = 0; i < info.nlinks && rc == 0; i++)
        rc = get_shard(shards, i, table, out, path, err);
    ant_h5_close(shards);
    return rc;
}

/* Of the file, or of its shards; *items is owned, of as many structs as the table is of. */
static int get_tables(const struct ant_results *results, const struct table *table, void **items,
                      size_t *n, struct ant_error *err)
{
    const char *path = ant_results_path(results);
    hid_t file = ant_results_handle(results);
    struct rows rows = {0};
    int rc = get_table(file, table, &rows, path, err);

    if (rc == 0)
        rc = get_shards(file, table, &rows, path, err);
    if (rc < 0) {
        free(rows.items);
        return rc;
    }
    *items = rows.items;
    *n = rows.n;
    return 0;
}

int ant_results_reports(const struct ant_results *results, struct ant_rank_report **out, size_t *n,
                        struct ant_error *err)
{
    void *items = NULL;

    ANT_TRY(get_tables(results, &reports_table, &items, n, err));
    *out = items;
    return 0;
}

int ant_results_timeline(const struct ant_results *results, struct ant_moments *out,
                         struct ant_error *err)
{
    void *items = NULL;
    size_t n = 0;

    ANT_TRY(get_tables(results, &timeline_table, &items, &n, err));
    *out = (struct ant_moments){items, n, n};
    return 0;
}

/* ---- provenance ------------------------------------------------------------------------------ */

static int note_text(hid_t group, const char *name, const char *path, char **out,
                     struct ant_error *err)
{
    hid_t attribute = H5Aopen(group, name, H5P_DEFAULT);
    hid_t type = attribute < 0 ? H5I_INVALID_HID : H5Aget_type(attribute);
    H5T_class_t class = type < 0 ? H5T_NO_CLASS : H5Tget_class(type);
    int64_t whole = 0;
    double real = 0;
    int rc;

    ant_h5_close(type);
    ant_h5_close(attribute);
    if (class == H5T_INTEGER) {
        rc = ant_h5_get_int(&whole, group, name, path, err);
        *out = ant_xasprintf("%lld", (long long)whole);
    } else if (class == H5T_FLOAT) {
        rc = ant_h5_get_real(&real, group, name, path, err);
        *out = ant_xasprintf("%g", real);
    } else {
        rc = ant_h5_get_text(out, group, name, path, err);
    }
    return rc < 0 ? rc : 0;
}

int ant_results_notes(const struct ant_results *results, struct ant_results_note **out, size_t *n,
                      struct ant_error *err)
{
    const char *path = ant_results_path(results);
    hid_t group = H5Gopen2(ant_results_handle(results), "provenance", H5P_DEFAULT);
    H5O_info_t info = {0};
    int rc = 0;

    if (group < 0 || H5Oget_info(group, &info) < 0)
        rc = ant_h5_fail(err, ANT_EDATA, "'%s' has no group '/provenance'", path);
    struct ant_results_note *notes = ant_xcalloc((size_t)info.num_attrs + 1, sizeof(*notes));
    size_t count = 0;
    for (hsize_t i = 0; i < info.num_attrs && rc == 0; i++) {
        char name[128];
        ssize_t length = H5Aget_name_by_idx(group, ".", H5_INDEX_NAME, H5_ITER_INC, i, name,
                                            sizeof(name), H5P_DEFAULT);
        if (length < 0 || (size_t)length >= sizeof(name))
            continue;
        char *text = NULL;
        rc = note_text(group, name, path, &text, err);
        if (rc == 0)
            notes[count++] = (struct ant_results_note){ant_xstrdup(name), text};
        else
            free(text);
        rc = rc == ANT_EDATA ? 0 : rc; /* somebody's list, say */
    }
    ant_h5_close(group);
    if (rc < 0) {
        ant_results_notes_release(notes, count);
        return rc;
    }
    *out = notes;
    *n = count;
    return 0;
}

void ant_results_notes_release(struct ant_results_note *notes, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        free(notes[i].name);
        free(notes[i].text);
    }
    free(notes);
}
