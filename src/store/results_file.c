/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "store/results_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/failpoint.h"
#include "base/file.h"

/* Datasets of this size begin at its multiples: parallel file systems lock and stripe by it. */
enum { ALIGNMENT = 1 << 20 };

static hid_t enum_type(const char *const *names)
{
    hid_t type = H5Tenum_create(H5T_STD_U8LE);

    for (uint8_t i = 0; names[i]; i++)
        H5Tenum_insert(type, names[i], &i);
    return type;
}

/* Numbers of a row, as a type of their own: a dataset of them is a list like all others. */
static hid_t row_type(hid_t number, size_t width)
{
    hsize_t n = width / H5Tget_size(number);

    return H5Tarray_create2(number, 1, &n);
}

hid_t ant_results_type_open(const struct ant_results_column *column)
{
    hid_t type;

    switch (column->type) {
    case ANT_RESULTS_U8:
        return H5Tcopy(H5T_STD_U8LE);
    case ANT_RESULTS_U16:
        return H5Tcopy(H5T_STD_U16LE);
    case ANT_RESULTS_I32:
        return H5Tcopy(H5T_STD_I32LE);
    case ANT_RESULTS_I64:
        return H5Tcopy(H5T_STD_I64LE);
    case ANT_RESULTS_U64:
        return H5Tcopy(H5T_STD_U64LE);
    case ANT_RESULTS_F32:
        return H5Tcopy(H5T_IEEE_F32LE);
    case ANT_RESULTS_F64:
        return H5Tcopy(H5T_IEEE_F64LE);
    case ANT_RESULTS_TOP_I32:
        return row_type(H5T_STD_I32LE, column->width);
    case ANT_RESULTS_TOP_F32:
        return row_type(H5T_IEEE_F32LE, column->width);
    case ANT_RESULTS_STATUS:
        return enum_type(ant_status_names);
    case ANT_RESULTS_FINISH:
        return enum_type(ant_finish_names);
    case ANT_RESULTS_STRING:
        type = H5Tcopy(H5T_C_S1);
        H5Tset_size(type, column->width);
        H5Tset_strpad(type, H5T_STR_NULLPAD);
        H5Tset_cset(type, H5T_CSET_UTF8);
        return type;
    }
    return H5I_INVALID_HID;
}

/* ---- creating -------------------------------------------------------------------------------- */

/* Fixed size, allocated at once, never filled: what a rank has written is there whatever happens
 * to others, and no write needs another rank. */
static int create_columns(hid_t group, const struct ant_results_layout *layout,
                          struct ant_error *err)
{
    hid_t creation = H5Pcreate(H5P_DATASET_CREATE);
    int rc = 0;

    H5Pset_layout(creation, H5D_CONTIGUOUS);
    H5Pset_alloc_time(creation, H5D_ALLOC_TIME_EARLY);
    H5Pset_fill_time(creation, H5D_FILL_TIME_NEVER);
    H5Pset_obj_track_times(creation, 0);
    for (int i = 0; i < ANT_N_COLUMNS && rc == 0; i++) {
        const struct ant_results_column *column = &layout->columns[i];
        hsize_t n = (hsize_t)column->total;
        if (!column->name)
            continue;
        hid_t type = ant_results_type_open(column);
        hid_t space = H5Screate_simple(1, &n, NULL);
        hid_t dataset =
            H5Dcreate2(group, column->name, type, space, H5P_DEFAULT, creation, H5P_DEFAULT);
        if (dataset < 0)
            rc = ant_h5_fail(err, ANT_EIO, "cannot create dataset '/results/%s'", column->name);
        ant_h5_close(dataset);
        ant_h5_close(space);
        ant_h5_close(type);
    }
    H5Pclose(creation);
    return rc;
}

static int put_fact(hid_t object, const struct ant_fact *fact, struct ant_error *err)
{
    switch (fact->kind) {
    case ANT_FACT_TEXT:
        return ant_h5_put_text(object, fact->name, fact->text ? fact->text : "", err);
    case ANT_FACT_INT:
        return ant_h5_put_int(object, fact->name, fact->integer, err);
    case ANT_FACT_REAL:
        return ant_h5_put_real(object, fact->name, fact->real, err);
    }
    return ant_fail(err, ANT_EBUG, "attribute '%s' has no kind", fact->name);
}

static int put_root(hid_t file, const struct ant_results_plan *plan,
                    const struct ant_results_layout *layout, struct ant_error *err)
{
    ANT_TRY(ant_h5_put_text(file, "schema", ANT_RESULTS_SCHEMA, err));
    ANT_TRY(ant_h5_put_int(file, "version", ANT_RESULTS_VERSION, err));
    ANT_TRY(ant_h5_put_int(file, "complete", 0, err));
    ANT_TRY(ant_h5_put_int(file, "n_rows", plan->n_rows, err));
    ANT_TRY(ant_h5_put_int(file, "n_samples", plan->n_samples, err));
    ANT_TRY(ant_h5_put_int(file, "n_ok", layout->n_ok, err));
    ANT_TRY(ant_h5_put_int(file, "n_failed", layout->n_failed, err));
    ANT_TRY(ant_h5_put_int(file, "n_missing", layout->n_missing, err));
    if (plan->shard.count > 0) {
        ANT_TRY(ant_h5_put_int(file, "shard", plan->shard.number, err));
        ANT_TRY(ant_h5_put_int(file, "shards", plan->shard.count, err));
        ANT_TRY(ant_h5_put_int(file, "first_row", plan->shard.first_row, err));
        ANT_TRY(ant_h5_put_int(file, "input_rows", plan->shard.input_rows, err));
    }
    for (size_t i = 0; i < plan->n_root; i++)
        ANT_TRY(put_fact(file, &plan->root[i], err));
    return 0;
}

static int fill_file(hid_t file, const struct ant_results_plan *plan,
                     const struct ant_results_layout *layout, struct ant_error *err)
{
    static const char *const names[] = {"results", "provenance"};
    hid_t groups[] = {H5I_INVALID_HID, H5I_INVALID_HID};
    int rc = put_root(file, plan, layout, err);

    for (int i = 0; i < 2 && rc == 0; i++) {
        groups[i] = H5Gcreate2(file, names[i], H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
        if (groups[i] < 0)
            rc = ant_h5_fail(err, ANT_EIO, "cannot create group '/%s'", names[i]);
    }
    if (rc == 0)
        rc = create_columns(groups[0], layout, err);
    for (size_t i = 0; i < plan->n_provenance && rc == 0; i++)
        rc = put_fact(groups[1], &plan->provenance[i], err);
    if (rc == 0)
        rc = ant_results_put_performance(file, plan, err);
    for (int i = 0; i < 2; i++)
        ant_h5_close(groups[i]);
    return rc;
}

/* A file system that can, promises the space now; on others a full disk shows when it is written.
 */
static int reserve(const char *part, struct ant_error *err)
{
    struct stat st;
    int rc = 0;
    int fd = open(part, O_RDWR | O_CLOEXEC);

    if (fd < 0 || fstat(fd, &st) < 0)
        rc = ant_fail(err, ANT_EIO, "cannot open '%s': %s", part, strerror(errno));
    while (rc == 0 && st.st_size > 0 && fallocate(fd, 0, 0, st.st_size) < 0) {
        if (errno == EINTR)
            continue;
        if (errno == ENOSPC || errno == EDQUOT || errno == EFBIG)
            rc = ant_fail(err, ANT_EIO, "cannot reserve %lld bytes for '%s': %s",
                          (long long)st.st_size, part, strerror(errno));
        break;
    }
    if (fd >= 0)
        close(fd);
    return rc;
}

int ant_results_file_begin(hid_t *out, const char *part, struct ant_error *err)
{
    ant_h5_start();
    hid_t access = H5Pcreate(H5P_FILE_ACCESS);
    ant_h5_no_locks(access);
    H5Pset_fclose_degree(access, H5F_CLOSE_STRONG);
    H5Pset_libver_bounds(access, H5F_LIBVER_EARLIEST, H5F_LIBVER_V110);
    H5Pset_alignment(access, ALIGNMENT, ALIGNMENT);
    hid_t file = H5Fcreate(part, H5F_ACC_TRUNC, H5P_DEFAULT, access);
    H5Pclose(access);
    if (file < 0)
        return ant_h5_fail(err, ANT_EIO, "cannot create '%s'", part);
    *out = file;
    return 0;
}

int ant_results_file_create(const char *part, const struct ant_results_plan *plan,
                            const struct ant_results_layout *layout, struct ant_error *err)
{
    hid_t file = H5I_INVALID_HID;

    ANT_TRY(ant_results_file_begin(&file, part, err));
    errno = 0;
    int rc = fill_file(file, plan, layout, err);
    if (rc < 0)
        rc = ant_fail_in(err, rc, "'%s'", part);
    if (ant_h5_close(file) < 0 && rc == 0)
        rc = ant_h5_fail(err, ANT_EIO, "cannot write '%s'", part);
    return rc == 0 ? reserve(part, err) : rc;
}

/* ---- putting it in place --------------------------------------------------------------------- */

static int put_seal(hid_t file, const struct ant_results_seal *seal, struct ant_error *err)
{
    char *path = ant_xasprintf("results/%s", seal->name);
    hid_t dataset = H5Dopen2(file, path, H5P_DEFAULT);
    int rc = dataset < 0 ? ant_h5_fail(err, ANT_EIO, "cannot open dataset '/%s'", path)
                         : ant_h5_put_int(dataset, ANT_RESULTS_CRC, seal->crc, err);

    ant_h5_close(dataset);
    free(path);
    return rc;
}

static int set_complete(hid_t file, struct ant_error *err)
{
    int64_t complete = 1;
    hid_t attribute = H5Aopen(file, "complete", H5P_DEFAULT);
    herr_t rc = attribute < 0 ? -1 : H5Awrite(attribute, H5T_NATIVE_INT64, &complete);

    ant_h5_close(attribute);
    return rc < 0 ? ant_h5_fail(err, ANT_EIO, "cannot write attribute 'complete'") : 0;
}

static int seal_file(const char *part, const struct ant_results_seal *seals, size_t n,
                     bool is_complete, struct ant_error *err)
{
    hid_t file = H5I_INVALID_HID;
    int rc = 0;

    ANT_TRY(ant_h5_open(&file, part, true, "", err));
    for (size_t i = 0; i < n && rc == 0; i++)
        if (seals[i].name)
            rc = put_seal(file, &seals[i], err);
    if (rc == 0 && is_complete)
        rc = set_complete(file, err);
    if (rc < 0)
        rc = ant_fail_in(err, rc, "'%s'", part);
    if (ant_h5_close(file) < 0 && rc == 0)
        rc = ant_h5_fail(err, ANT_EIO, "cannot write '%s'", part);
    return rc;
}

int ant_results_file_sync(const char *part, struct ant_error *err)
{
    int rc = 0;
    int fd = open(part, O_RDWR | O_CLOEXEC);
    if (fd < 0 || fsync(fd) < 0)
        rc = ant_fail(err, ANT_EIO, "cannot sync '%s': %s", part, strerror(errno));
    if (fd >= 0)
        close(fd);
    return rc;
}

int ant_results_file_publish(const char *part, const char *path,
                             const struct ant_results_seal *seals, size_t n, bool is_complete,
                             struct ant_error *err)
{
    ANT_TRY(seal_file(part, seals, n, is_complete, err));
    ANT_TRY(ant_results_file_sync(part, err));
    ant_failpoint("merge-completed", 0);
    if (rename(part, path) < 0)
        return ant_fail(err, ANT_EIO, "cannot rename '%s' to '%s': %s", part, path,
                        strerror(errno));
    ant_failpoint("merge-renamed", 0);
    return ant_sync_folder(path, err);
}
