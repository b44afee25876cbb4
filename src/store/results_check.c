/* SPDX-License-Identifier: Apache-2.0 */
/* Is a results file what it says it is? */
#include "config.h"

#include <stdlib.h>

#include "base/checksum.h"
#include "store/results_file.h"

enum { PIECE_BYTES = 4 << 20 };

int ant_results_read_crc(hid_t dataset, const char *label, uint32_t *crc, struct ant_error *err)
{
    int64_t value = 0;
    int rc = ant_h5_get_int(&value, dataset, ANT_RESULTS_CRC, label, err);

    if (rc > 0 && (value < 0 || value > UINT32_MAX))
        return ant_fail(err, ANT_EDATA, "%s has an impossible checksum", label);
    *crc = (uint32_t)value;
    return rc;
}

int ant_results_fail_crc(const char *label, struct ant_error *err)
{
    return ant_fail(err, ANT_EDATA, "%s is damaged: it does not fit its checksum", label);
}

static int sum_pieces(hid_t dataset, hid_t type, hsize_t n, const char *label, uint32_t *crc,
                      struct ant_error *err)
{
    size_t width = H5Tget_size(type); /* not 0 */
    hsize_t most = PIECE_BYTES / width + 1;
    char *piece = ant_xmalloc((size_t)most * width);
    hid_t space = H5Dget_space(dataset);
    herr_t rc = 0;

    *crc = 0;
    for (hsize_t done = 0, count; done < n && rc >= 0; done += count) {
        count = n - done < most ? n - done : most;
        hid_t in_memory = H5Screate_simple(1, &count, NULL);
        rc = H5Sselect_hyperslab(space, H5S_SELECT_SET, &done, NULL, &count, NULL);
        if (rc >= 0)
            rc = H5Dread(dataset, type, in_memory, space, H5P_DEFAULT, piece);
        *crc = ant_crc32c(*crc, piece, (size_t)count * width);
        ant_h5_close(in_memory);
    }
    ant_h5_close(space);
    free(piece);
    return rc < 0 ? ant_h5_fail(err, ANT_EIO, "cannot read %s", label) : 0;
}

static int sum_dataset(hid_t dataset, const char *label, uint32_t *crc, struct ant_error *err)
{
    hid_t space = H5Dget_space(dataset), in_file = H5Dget_type(dataset);
    hid_t type = H5Tget_native_type(in_file, H5T_DIR_ASCEND);
    hsize_t n = 0;
    int rc;

    if (H5Tget_class(in_file) == H5T_VLEN || H5Tis_variable_str(in_file) > 0 ||
        H5Sget_simple_extent_ndims(space) != 1 || H5Sget_simple_extent_dims(space, &n, NULL) != 1 ||
        type < 0 || H5Tget_size(type) == 0 || H5Tget_size(type) > ANT_H5_LONGEST_VALUE)
        rc = ant_fail(err, ANT_EDATA, "%s is no list of numbers or strings of fixed length", label);
    else
        rc = sum_pieces(dataset, type, n, label, crc, err);
    ant_h5_close(type);
    ant_h5_close(in_file);
    ant_h5_close(space);
    return rc;
}

static int open_dataset(hid_t *out, hid_t file, const char *name, const char *label,
                        struct ant_error *err)
{
    *out = H5Dopen2(file, name, H5P_DEFAULT);
    return *out < 0 ? ant_h5_fail(err, ANT_EDATA, "cannot open %s", label) : 0;
}

int ant_results_crc(hid_t file, const char *name, const char *path, uint32_t *crc,
                    struct ant_error *err)
{
    char *label = ant_xasprintf("'%s', dataset '/%s'", path, name);
    hid_t dataset = H5I_INVALID_HID;
    int rc = open_dataset(&dataset, file, name, label, err);

    if (rc == 0)
        rc = sum_dataset(dataset, label, crc, err);
    ant_h5_close(dataset);
    free(label);
    return rc;
}

/* 1: it has no checksum to compare with. */
static int check_dataset(hid_t file, const char *name, const char *path, struct ant_error *err)
{
    char *label = ant_xasprintf("'%s', dataset '/%s'", path, name);
    hid_t dataset = H5I_INVALID_HID;
    uint32_t wanted = 0, found = 0;
    int is_sealed = 0;
    int rc = open_dataset(&dataset, file, name, label, err);

    if (rc == 0)
        is_sealed = ant_results_read_crc(dataset, label, &wanted, err);
    if (is_sealed < 0)
        rc = is_sealed;
    else if (rc == 0)
        rc = sum_dataset(dataset, label, &found, err);
    if (rc == 0 && is_sealed && found != wanted)
        rc = ant_results_fail_crc(label, err);
    ant_h5_close(dataset);
    free(label);
    return rc < 0 ? rc : !is_sealed;
}

static int check_datasets(const char *path, int *n_unsealed, struct ant_error *err)
{
    hid_t file = H5I_INVALID_HID;
    H5G_info_t info;
    int rc = 0;

    *n_unsealed = 0;
    ANT_TRY(ant_h5_open(&file, path, false, "", err));
    if (H5Gget_info_by_name(file, "results", &info, H5P_DEFAULT) < 0)
        rc = ant_h5_fail(err, ANT_EDATA, "'%s' has no group '/results'", path);
    for (hsize_t i = 0; rc == 0 && i < info.nlinks; i++) {
        char name[128] = "results/";
        ssize_t n = H5Lget_name_by_idx(file, "results", H5_INDEX_NAME, H5_ITER_INC, i, name + 8,
                                       sizeof(name) - 8, H5P_DEFAULT);
        rc = n < 0 || (size_t)n >= sizeof(name) - 8
                 ? ant_h5_fail(err, ANT_EDATA, "'%s': cannot list '/results'", path)
                 : check_dataset(file, name, path, err);
        if (rc > 0) {
            ++*n_unsealed;
            rc = 0;
        }
    }
    ant_h5_close(file);
    return rc;
}

/* Each row can be read, they go up, and there are as many of each outcome as the file says. */
static int check_rows(struct ant_results *results, const char *path, struct ant_error *err)
{
    int64_t n = ant_results_count(results), n_ok = 0, n_missing = 0;
    int64_t row = -1;
    int32_t sample = 0;

    for (int64_t i = 0; i < n; i++) {
        struct ant_answer answer;
        struct ant_results_id id;
        ANT_TRY(ant_results_read(results, i, &answer, err));
        ANT_TRY(ant_results_id(results, i, &id, err));
        if (answer.row < row || (answer.row == row && answer.sample <= sample))
            return ant_fail(err, ANT_EDATA,
                            "'%s', result %lld: row %lld, sample %d is out of order", path,
                            (long long)i, (long long)answer.row, answer.sample);
        row = answer.row;
        sample = answer.sample;
        n_ok += answer.status == ANT_STATUS_OK || answer.status == ANT_STATUS_SKIPPED;
        n_missing += answer.status == ANT_STATUS_MISSING;
    }
    if (n_ok != ant_results_ok(results) || n - n_ok - n_missing != ant_results_failed(results) ||
        (n_missing > 0 && ant_results_complete(results)))
        return ant_fail(err, ANT_EDATA,
                        "'%s' says that %lld are ok and %lld failed, but %lld are ok, %lld failed "
                        "and %lld missing",
                        path, (long long)ant_results_ok(results),
                        (long long)ant_results_failed(results), (long long)n_ok,
                        (long long)(n - n_ok - n_missing), (long long)n_missing);
    return 0;
}

int ant_results_check(const char *path, int *n_unsealed, struct ant_error *err)
{
    struct ant_results *results = NULL;

    ANT_TRY(ant_results_open(&results, path, err));
    int rc = check_datasets(path, n_unsealed, err);
    if (rc == 0)
        rc = check_rows(results, path, err);
    ant_results_close(results);
    return rc;
}
