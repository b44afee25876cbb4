/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "store/h5.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"

/* Locks fail on Lustre and NFS. The property came with 1.10.7 and, on the next branch, 1.12.1. */
#define HAS_LOCKING_PROPERTY                                                                       \
    (H5_VERSION_GE(1, 12, 1) || (H5_VERSION_GE(1, 10, 7) && !H5_VERSION_GE(1, 11, 0)))

enum {
    WINDOW_CELLS = 4096,
    CAUSE_TEXT = 200,
    CHUNK_CACHE_LEAST = 1 << 20,
    CHUNK_CACHE_MOST = 1 << 28,
    MAX_ATTRIBUTE = 1 << 20,
    MOST_NUMBERS = 1 << 16, /* of an element */
    PIECE_BYTES = 4 << 20,  /* of fixed strings read at once */
};

void ant_h5_no_locks(hid_t access)
{
#if HAS_LOCKING_PROPERTY
    H5Pset_file_locking(access, 0, 1);
#else
    (void)access; /* the environment says so, see ant_h5_start */
#endif
}

/* What the last failing call of HDF5 said, kept until it is used: closing things afterwards clears
 * HDF5's own record. */
static struct {
    char text[CAUSE_TEXT];
    int system_error;
} cause;

/* The innermost entry of the stack knows the cause, except that a missing filter is reported as a
 * plugin folder that could not be opened, and that a system error hides in a long line. */
static herr_t note_entry(unsigned n, const H5E_error2_t *entry, void *data)
{
    static const char key[] = "error message = '";
    const char *text = entry->desc;
    int length;

    (void)data;
    if (!text || (n > 0 && cause.text[0] && !strstr(text, "required filter")))
        return 0;
    const char *system = strstr(text, key);
    if (system) {
        text = system + sizeof(key) - 1;
        length = (int)strcspn(text, "'");
        cause.system_error = 0;
    } else {
        length = (int)strcspn(text, "\n");
    }
    snprintf(cause.text, sizeof(cause.text), "%.*s", length, text);
    return 0;
}

static herr_t keep_cause(hid_t stack, void *data)
{
    (void)data;
    cause.text[0] = '\0';
    cause.system_error = errno;
    H5Ewalk2(stack, H5E_WALK_UPWARD, note_entry, NULL);
    return 0;
}

void ant_h5_start(void)
{
    static bool started;

    if (started)
        return;
    started = true;
#if !HAS_LOCKING_PROPERTY
    setenv("HDF5_USE_FILE_LOCKING", "FALSE", 0);
#endif
    H5dont_atexit();
    H5open();
    H5Eset_auto2(H5E_DEFAULT, keep_cause, NULL);
}

/* Some drivers say only that a write has failed; the system has said why. Other numbers may be left
 * from anything. */
static const char *storage_error(int number)
{
    static const int numbers[] = {ENOSPC, EDQUOT, EFBIG, EIO, EROFS, ESTALE};

    for (size_t i = 0; i < sizeof(numbers) / sizeof(*numbers); i++)
        if (number == numbers[i])
            return strerror(number);
    return NULL;
}

int ant_h5_fail(struct ant_error *err, enum ant_err code, const char *format, ...)
{
    char text[sizeof(err->text)];
    const char *system = storage_error(cause.system_error);
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    ant_fail(err, code, "%s%s%s%s%s", text, cause.text[0] ? ": " : "", cause.text,
             system ? ": " : "", system ? system : "");
    cause.text[0] = '\0';
    cause.system_error = 0;
    errno = 0;
    return code;
}

/* The signature may stand behind a user block of 512 bytes, 1024, 2048 ... */
static bool has_signature(int fd, off_t bytes)
{
    static const unsigned char signature[8] = {0x89, 'H', 'D', 'F', '\r', '\n', 0x1a, '\n'};
    unsigned char head[8];

    for (off_t at = 0; at + 8 <= bytes; at = at ? at * 2 : 512) {
        if (pread(fd, head, sizeof(head), at) == (ssize_t)sizeof(head) &&
            memcmp(head, signature, sizeof(head)) == 0)
            return true;
    }
    return false;
}

static int check_file(const char *path, const char *advice, struct ant_error *err)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

    if (fd < 0) {
        enum ant_err code = errno == ENOENT || errno == ENOTDIR ? ANT_ENOENT : ANT_EIO;
        return ant_fail(err, code, "cannot open '%s': %s", path, strerror(errno));
    }
    int rc = 0;
    if (fstat(fd, &st) < 0)
        rc = ant_fail(err, ANT_EIO, "cannot open '%s': %s", path, strerror(errno));
    else if (S_ISDIR(st.st_mode))
        rc = ant_fail(err, ANT_EDATA, "'%s' is a folder, not an HDF5 file", path);
    else if (!S_ISREG(st.st_mode) || !has_signature(fd, st.st_size))
        rc = ant_fail(err, ANT_EDATA, "'%s' is not an HDF5 file%s", path, advice);
    close(fd);
    return rc;
}

int ant_h5_open(hid_t *out, const char *path, bool writable, const char *advice,
                struct ant_error *err)
{
    ant_h5_start();
    ANT_TRY(check_file(path, advice, err));

    hid_t access = H5Pcreate(H5P_FILE_ACCESS);
    H5Pset_fclose_degree(access, H5F_CLOSE_STRONG);
    ant_h5_no_locks(access);
    hid_t file = H5Fopen(path, writable ? H5F_ACC_RDWR : H5F_ACC_RDONLY, access);
    H5Pclose(access);
    if (file < 0)
        return ant_h5_fail(err, ANT_EDATA, "cannot open '%s' as HDF5", path);
    *out = file;
    return 0;
}

int ant_h5_close(hid_t id)
{
    herr_t rc = 0;

    if (id < 0)
        return 0;
    switch (H5Iget_type(id)) {
    case H5I_FILE:
        rc = H5Fclose(id);
        break;
    case H5I_GROUP:
        rc = H5Gclose(id);
        break;
    case H5I_DATASET:
        rc = H5Dclose(id);
        break;
    case H5I_DATATYPE:
        rc = H5Tclose(id);
        break;
    case H5I_DATASPACE:
        rc = H5Sclose(id);
        break;
    case H5I_ATTR:
        rc = H5Aclose(id);
        break;
    default:
        rc = H5Idec_ref(id) < 0 ? -1 : 0;
    }
    return rc < 0 ? -1 : 0;
}

/* 1: open in *out. 0: not there. */
static int open_attribute(hid_t *out, hid_t object, const char *name, const char *label,
                          struct ant_error *err)
{
    htri_t there = H5Aexists(object, name);
    if (there < 0)
        return ant_h5_fail(err, ANT_EDATA, "%s: cannot look for attribute '%s'", label, name);
    if (there == 0)
        return 0;
    hid_t attribute = H5Aopen(object, name, H5P_DEFAULT);
    if (attribute < 0)
        return ant_h5_fail(err, ANT_EDATA, "%s: cannot open attribute '%s'", label, name);
    hid_t space = H5Aget_space(attribute);
    hssize_t points = H5Sget_simple_extent_npoints(space);
    ant_h5_close(space);
    if (points != 1) {
        ant_h5_close(attribute);
        return ant_fail(err, ANT_EDATA, "%s: attribute '%s' is not a single value", label, name);
    }
    *out = attribute;
    return 1;
}

static char *read_text(hid_t attribute, hid_t type)
{
    char *text = NULL;

    if (H5Tis_variable_str(type) > 0) {
        hid_t memory = H5Tcopy(type);
        char *value = NULL;
        if (H5Aread(attribute, memory, &value) >= 0) {
            text = ant_xstrdup(value ? value : "");
            H5free_memory(value);
        }
        H5Tclose(memory);
        return text;
    }
    size_t size = H5Tget_size(type);
    if (size == 0 || size > MAX_ATTRIBUTE)
        return NULL;
    text = ant_xcalloc(size + 1, 1);
    if (H5Aread(attribute, type, text) < 0) {
        free(text);
        return NULL;
    }
    if (H5Tget_strpad(type) == H5T_STR_SPACEPAD)
        for (size_t n = strlen(text); n > 0 && text[n - 1] == ' '; n--)
            text[n - 1] = '\0';
    return text;
}

int ant_h5_get_text(char **out, hid_t object, const char *name, const char *label,
                    struct ant_error *err)
{
    hid_t attribute = H5I_INVALID_HID;
    int rc = open_attribute(&attribute, object, name, label, err);
    if (rc <= 0)
        return rc;

    hid_t type = H5Aget_type(attribute);
    char *text = H5Tget_class(type) == H5T_STRING ? read_text(attribute, type) : NULL;
    ant_h5_close(type);
    ant_h5_close(attribute);
    if (!text)
        return ant_h5_fail(err, ANT_EDATA, "%s: attribute '%s' is not a readable text", label,
                           name);
    *out = text;
    return 1;
}

/* A number of this class, as `memory_type`. */
static int get_number(void *out, H5T_class_t class, hid_t memory_type, const char *what,
                      hid_t object, const char *name, const char *label, struct ant_error *err)
{
    hid_t attribute = H5I_INVALID_HID;
    int rc = open_attribute(&attribute, object, name, label, err);
    if (rc <= 0)
        return rc;

    hid_t type = H5Aget_type(attribute);
    bool fine = H5Tget_class(type) == class && H5Aread(attribute, memory_type, out) >= 0;
    ant_h5_close(type);
    ant_h5_close(attribute);
    if (!fine)
        return ant_h5_fail(err, ANT_EDATA, "%s: attribute '%s' is not a readable %s", label, name,
                           what);
    return 1;
}

int ant_h5_get_int(int64_t *out, hid_t object, const char *name, const char *label,
                   struct ant_error *err)
{
    return get_number(out, H5T_INTEGER, H5T_NATIVE_INT64, "integer", object, name, label, err);
}

int ant_h5_get_real(double *out, hid_t object, const char *name, const char *label,
                    struct ant_error *err)
{
    return get_number(out, H5T_FLOAT, H5T_NATIVE_DOUBLE, "number", object, name, label, err);
}

static int put_attribute(hid_t object, const char *name, hid_t file_type, hid_t memory_type,
                         const void *value, struct ant_error *err)
{
    hid_t space = H5Screate(H5S_SCALAR);
    hid_t attribute = H5Acreate2(object, name, file_type, space, H5P_DEFAULT, H5P_DEFAULT);
    herr_t rc = attribute < 0 ? -1 : H5Awrite(attribute, memory_type, value);
    ant_h5_close(attribute);
    ant_h5_close(space);
    if (rc < 0)
        return ant_h5_fail(err, ANT_EIO, "cannot write attribute '%s'", name);
    return 0;
}

/* Variable length: a fixed text of more than 64 KiB does not fit an object header. */
int ant_h5_put_text(hid_t object, const char *name, const char *text, struct ant_error *err)
{
    hid_t type = H5Tcopy(H5T_C_S1);

    H5Tset_size(type, H5T_VARIABLE);
    H5Tset_cset(type, H5T_CSET_UTF8);
    int rc = put_attribute(object, name, type, type, &text, err);
    H5Tclose(type);
    return rc;
}

int ant_h5_put_int(hid_t object, const char *name, int64_t value, struct ant_error *err)
{
    return put_attribute(object, name, H5T_STD_I64LE, H5T_NATIVE_INT64, &value, err);
}

int ant_h5_put_real(hid_t object, const char *name, double value, struct ant_error *err)
{
    return put_attribute(object, name, H5T_IEEE_F64LE, H5T_NATIVE_DOUBLE, &value, err);
}

static const char *class_name(H5T_class_t class)
{
    switch (class) {
    case H5T_COMPOUND:
        return "compound records; store each field as a dataset of its own";
    case H5T_VLEN:
        return "variable-length lists; store the values one after the other, with offsets";
    case H5T_REFERENCE:
        return "references";
    case H5T_OPAQUE:
        return "opaque bytes";
    case H5T_BITFIELD:
        return "bit fields";
    case H5T_ARRAY:
        return "arrays";
    default:
        return "values of an unknown type";
    }
}

static int check_space(struct ant_h5_column *column, struct ant_error *err)
{
    hid_t space = H5Dget_space(column->dataset);
    H5S_class_t class = H5Sget_simple_extent_type(space);
    int rank = H5Sget_simple_extent_ndims(space);
    hsize_t n = 0;

    if (class == H5S_SIMPLE && rank == 1)
        H5Sget_simple_extent_dims(space, &n, NULL);
    ant_h5_close(space);
    if (class == H5S_SCALAR)
        return ant_fail(err, ANT_EDATA, "%s is a single value, not a list", column->label);
    if (class != H5S_SIMPLE)
        return ant_fail(err, ANT_EDATA, "%s has no elements to read", column->label);
    if (rank != 1)
        return ant_fail(err, ANT_EDATA, "%s has %d dimensions, expected 1", column->label, rank);
    if (n > INT64_MAX)
        return ant_fail(err, ANT_EDATA, "%s has an impossible length", column->label);
    column->n = (int64_t)n;
    return 0;
}

static int check_type(struct ant_h5_column *column, struct ant_error *err)
{
    hid_t type = H5Dget_type(column->dataset);
    H5T_class_t class = H5Tget_class(type);

    column->size = H5Tget_size(type);
    if (class == H5T_INTEGER || class == H5T_ENUM) {
        column->is_signed = class == H5T_INTEGER && H5Tget_sign(type) != H5T_SGN_NONE;
        bool wide = !column->is_signed && column->size > 7;
        column->kind = ANT_H5_INTEGER;
        column->cell_type = wide ? H5T_NATIVE_UINT64 : H5T_NATIVE_INT64;
    } else if (class == H5T_FLOAT) {
        column->kind = ANT_H5_REAL;
        column->cell_type = H5T_NATIVE_DOUBLE;
    } else if (class == H5T_STRING) {
        column->kind = H5Tis_variable_str(type) > 0 ? ANT_H5_VARIABLE : ANT_H5_FIXED;
        column->pad = H5Tget_strpad(type);
    }
    ant_h5_close(type);
    if (class != H5T_INTEGER && class != H5T_ENUM && class != H5T_FLOAT && class != H5T_STRING)
        return ant_fail(err, ANT_EDATA, "%s holds %s", column->label, class_name(class));
    if (column->size > ANT_H5_LONGEST_VALUE)
        return ant_fail(err, ANT_EDATA, "%s has elements of %zu bytes, at most %d are possible",
                        column->label, column->size, ANT_H5_LONGEST_VALUE);
    return 0;
}

/* As the column's numbers are read, so that both compare. */
static int read_fill(struct ant_h5_column *column, struct ant_error *err)
{
    bool is_real = column->kind == ANT_H5_REAL;

    if (!is_real && column->kind != ANT_H5_INTEGER)
        return 0;
    int rc = get_number(&column->fill, is_real ? H5T_FLOAT : H5T_INTEGER, column->cell_type,
                        is_real ? "number" : "integer", column->dataset, "_FillValue",
                        column->label, err);
    column->has_fill = rc == 1;
    return rc < 0 ? rc : 0;
}

/* Room for at least one whole chunk, or every piece would decompress its chunk again. */
static hid_t open_with_cache(hid_t where, const char *name)
{
    hid_t dataset = H5Dopen2(where, name, H5P_DEFAULT);
    if (dataset < 0)
        return dataset;

    hid_t creation = H5Dget_create_plist(dataset);
    hsize_t chunk = 0;
    size_t bytes = 0;
    if (H5Pget_layout(creation) == H5D_CHUNKED && H5Pget_chunk(creation, 1, &chunk) == 1) {
        hid_t type = H5Dget_type(dataset);
        bytes = (size_t)chunk * H5Tget_size(type);
        ant_h5_close(type);
    }
    H5Pclose(creation);
    if (bytes <= CHUNK_CACHE_LEAST || bytes > CHUNK_CACHE_MOST)
        return dataset;

    H5Dclose(dataset);
    hid_t access = H5Pcreate(H5P_DATASET_ACCESS);
    H5Pset_chunk_cache(access, H5D_CHUNK_CACHE_NSLOTS_DEFAULT, bytes, 1.0);
    dataset = H5Dopen2(where, name, access);
    H5Pclose(access);
    return dataset;
}

int ant_h5_column_open(struct ant_h5_column *out, hid_t where, const char *name, const char *file,
                       const char *path, struct ant_error *err)
{
    struct ant_h5_column column = {.label = ant_xasprintf("'%s': dataset '%s'", file, path)};
    int rc;

    column.dataset = open_with_cache(where, name);
    if (column.dataset < 0) {
        rc = ant_h5_fail(err, ANT_EDATA, "%s cannot be opened", column.label);
        goto fail;
    }
    rc = check_space(&column, err);
    if (rc == 0)
        rc = check_type(&column, err);
    if (rc == 0)
        rc = read_fill(&column, err);
    if (rc < 0)
        goto fail;
    *out = column;
    return 0;

fail:
    ant_h5_column_close(&column);
    return rc;
}

/* How many numbers an element has, of a dataset of such; 0: of another kind. */
static int numbers_of(hid_t dataset)
{
    hid_t type = H5Dget_type(dataset), number = H5I_INVALID_HID;
    hsize_t n = 0;

    if (H5Tget_class(type) == H5T_ARRAY && H5Tget_array_ndims(type) == 1 &&
        H5Tget_array_dims2(type, &n) == 1)
        number = H5Tget_super(type);
    H5T_class_t class = number < 0 ? H5T_NO_CLASS : H5Tget_class(number);
    ant_h5_close(number);
    ant_h5_close(type);
    return (class == H5T_INTEGER || class == H5T_FLOAT) && n <= MOST_NUMBERS ? (int)n : 0;
}

int ant_h5_rows_open(struct ant_h5_column *out, hid_t *rows, int *width, hid_t number, hid_t where,
                     const char *name, const char *file, const char *path, struct ant_error *err)
{
    struct ant_h5_column column = {.label = ant_xasprintf("'%s': dataset '%s'", file, path)};
    int rc = 0, n = 0;

    column.dataset = open_with_cache(where, name);
    if (column.dataset < 0)
        rc = ant_h5_fail(err, ANT_EDATA, "%s cannot be opened", column.label);
    if (rc == 0)
        rc = check_space(&column, err);
    if (rc == 0 && (n = numbers_of(column.dataset)) == 0)
        rc = ant_fail(err, ANT_EDATA, "%s does not hold rows of numbers", column.label);
    if (rc < 0) {
        ant_h5_column_close(&column);
        return rc;
    }
    hsize_t dims = (hsize_t)n;
    *rows = H5Tarray_create2(number, 1, &dims);
    *width = n;
    *out = column;
    return 0;
}

void ant_h5_column_close(struct ant_h5_column *column)
{
    if (!column->label)
        return;
    ant_h5_close(column->dataset);
    free(column->window);
    free(column->label);
    *column = (struct ant_h5_column){0};
}

/* Where HDF5 looks: at the path itself, and in the folder of the file, also where links lead. */
static bool has_source(const char *file, const char *name)
{
    char real[PATH_MAX];
    const char *const near[] = {file, realpath(file, real) ? real : file};
    const char *base = *name == '/' ? strrchr(name, '/') + 1 : name;
    bool has = access(name, R_OK) == 0;

    for (size_t i = 0; i < sizeof(near) / sizeof(*near) && !has; i++) {
        const char *slash = strrchr(near[i], '/');
        int folder = slash ? (int)(slash - near[i]) + 1 : 0;
        char *path = ant_xasprintf("%.*s%s", folder, near[i], base);
        has = access(path, R_OK) == 0;
        free(path);
    }
    return has;
}

int ant_h5_check_sources(const struct ant_h5_column *column, const char *file,
                         struct ant_error *err)
{
    hid_t creation = H5Dget_create_plist(column->dataset);
    size_t n = 0;
    int rc = 0;

    if (H5Pget_layout(creation) == H5D_VIRTUAL && H5Pget_virtual_count(creation, &n) < 0)
        rc = ant_h5_fail(err, ANT_EDATA, "%s: cannot list what it refers to", column->label);
    /* A folder of the environment's would be looked into as well, and patterns name many files. */
    for (size_t i = 0; i < n && rc == 0 && !getenv("HDF5_VDS_PREFIX"); i++) {
        char name[PATH_MAX];
        if (H5Pget_virtual_filename(creation, i, name, sizeof(name)) < 0)
            rc = ant_h5_fail(err, ANT_EDATA, "%s: cannot list what it refers to", column->label);
        else if (strcmp(name, ".") != 0 && !strchr(name, '%') && !has_source(file, name))
            rc = ant_fail(err, ANT_ENOENT, "%s refers to file '%s', which is not there",
                          column->label, name);
    }
    ant_h5_close(creation);
    return rc;
}

static int read_selection(const struct ant_h5_column *column, int64_t first, int64_t stride,
                          int64_t n, hid_t memory_type, void *out, struct ant_error *err)
{
    hsize_t start = (hsize_t)first, step = (hsize_t)stride, count = (hsize_t)n;

    if (n == 0)
        return 0;
    hid_t file_space = H5Dget_space(column->dataset);
    hid_t memory_space = H5Screate_simple(1, &count, NULL);
    herr_t rc = H5Sselect_hyperslab(file_space, H5S_SELECT_SET, &start, &step, &count, NULL);
    if (rc >= 0)
        rc = H5Dread(column->dataset, memory_type, memory_space, file_space, H5P_DEFAULT, out);
    ant_h5_close(memory_space);
    ant_h5_close(file_space);
    if (rc < 0)
        return ant_h5_fail(err, ANT_EIO, "cannot read %s, row %lld and on", column->label,
                           (long long)first);
    return 0;
}

int ant_h5_read(const struct ant_h5_column *column, int64_t first, int64_t n, hid_t memory_type,
                void *out, struct ant_error *err)
{
    if (first < 0 || n < 0 || first > column->n || n > column->n - first)
        return ant_fail(err, ANT_EBUG, "%s: rows %lld to %lld of %lld asked for", column->label,
                        (long long)first, (long long)(first + n), (long long)column->n);
    return read_selection(column, first, 1, n, memory_type, out, err);
}

int ant_h5_hold(struct ant_h5_span *span, const struct ant_h5_column *column, int64_t first,
                int64_t n, int64_t ahead, hid_t memory_type, size_t width, const char **at,
                struct ant_error *err)
{
    int64_t most = ANT_H5_MOST_HELD / (int64_t)width;

    if (n > most)
        return ant_fail(err, ANT_EDATA,
                        "%s: %lld elements from %lld on are one value, of %d bytes at most",
                        column->label, (long long)n, (long long)first, ANT_H5_MOST_HELD);
    if (first < span->first || n > span->n || first - span->first > span->n - n) {
        int64_t want = n < ahead ? ahead : n;
        want = want < most ? want : most;
        if (want > column->n - first)
            want = column->n - first;
        span->n = 0;
        span->data.len = 0;
        void *room = ant_buf_grow(&span->data, (size_t)want * width);
        ANT_TRY(ant_h5_read(column, first, want, memory_type, room, err));
        span->first = first;
        span->n = want;
    }
    *at = n ? span->data.data + (size_t)(first - span->first) * width : "";
    return 0;
}

static int cell_at(struct ant_h5_column *column, int64_t row, union ant_h5_cell *out,
                   struct ant_error *err)
{
    if (row < column->window_first || row >= column->window_first + column->window_n) {
        int64_t first = row - row % WINDOW_CELLS;
        int64_t n = column->n - first < WINDOW_CELLS ? column->n - first : WINDOW_CELLS;
        if (!column->window)
            column->window = ant_xcalloc(WINDOW_CELLS, sizeof(*column->window));
        column->window_n = 0;
        ANT_TRY(ant_h5_read(column, first, n, column->cell_type, column->window, err));
        column->window_first = first;
        column->window_n = n;
    }
    *out = column->window[row - column->window_first];
    return 0;
}

static int not_an_integer(const struct ant_h5_column *column, int64_t row, struct ant_error *err)
{
    return ant_fail(err, ANT_EDATA, "%s, row %lld is no 64-bit integer", column->label,
                    (long long)row);
}

static bool is_given(const struct ant_h5_column *column, union ant_h5_cell cell)
{
    if (column->kind == ANT_H5_REAL)
        return !isnan(cell.r) && !(column->has_fill && cell.r == column->fill.r);
    return !column->has_fill || cell.i != column->fill.i;
}

int ant_h5_int(struct ant_h5_column *column, int64_t row, int64_t *out, bool *given,
               struct ant_error *err)
{
    union ant_h5_cell cell;

    ANT_TRY(cell_at(column, row, &cell, err));
    *given = is_given(column, cell);
    if (column->kind == ANT_H5_REAL) {
        if (*given && (cell.r != floor(cell.r) || fabs(cell.r) >= 0x1p63))
            return not_an_integer(column, row, err);
        *out = *given ? (int64_t)cell.r : 0;
        return 0;
    }
    if (*given && column->cell_type == H5T_NATIVE_UINT64 && cell.u > INT64_MAX)
        return not_an_integer(column, row, err);
    *out = cell.i;
    return 0;
}

int ant_h5_real(struct ant_h5_column *column, int64_t row, double *out, bool *given,
                struct ant_error *err)
{
    union ant_h5_cell cell;

    if (column->kind != ANT_H5_REAL) {
        int64_t value = 0;
        ANT_TRY(ant_h5_int(column, row, &value, given, err));
        *out = (double)value;
        return 0;
    }
    ANT_TRY(cell_at(column, row, &cell, err));
    *given = is_given(column, cell);
    *out = cell.r;
    return 0;
}

int ant_h5_bits(struct ant_h5_column *column, int64_t row, uint64_t *out, bool *given,
                struct ant_error *err)
{
    union ant_h5_cell cell;
    int64_t value = 0;

    if (column->kind == ANT_H5_INTEGER && column->cell_type == H5T_NATIVE_UINT64) {
        ANT_TRY(cell_at(column, row, &cell, err));
        *given = is_given(column, cell);
        *out = cell.u;
        return 0;
    }
    ANT_TRY(ant_h5_int(column, row, &value, given, err));
    *out = (uint64_t)value;
    return 0;
}

static size_t fixed_length(const char *text, size_t size, H5T_str_t pad)
{
    if (pad == H5T_STR_NULLTERM)
        return strnlen(text, size);
    while (size > 0 && text[size - 1] == '\0')
        size--;
    while (pad == H5T_STR_SPACEPAD && size > 0 && text[size - 1] == ' ')
        size--;
    return size;
}

static void add_string(struct ant_buf *bytes, int64_t *offsets, int64_t i, const char *text,
                       size_t length)
{
    ant_buf_add(bytes, text, length);
    offsets[i + 1] = (int64_t)bytes->len;
}

/* NULL is how HDF5 gives back an empty string of variable length. */
static int read_variable(const struct ant_h5_column *column, int64_t first, int64_t stride,
                         int64_t n, struct ant_buf *bytes, int64_t *offsets, struct ant_error *err)
{
    char **strings = ant_xcalloc((size_t)n, sizeof(*strings));
    hid_t type = H5Dget_type(column->dataset);
    int rc = read_selection(column, first, stride, n, type, strings, err);

    if (rc == 0) {
        hsize_t count = (hsize_t)n;
        hid_t space = H5Screate_simple(1, &count, NULL);
        for (int64_t i = 0; i < n; i++)
            add_string(bytes, offsets, i, strings[i] ? strings[i] : "",
                       strings[i] ? strlen(strings[i]) : 0);
#if H5_VERSION_GE(1, 12, 0)
        H5Treclaim(type, space, H5P_DEFAULT, strings);
#else
        H5Dvlen_reclaim(type, space, H5P_DEFAULT, strings);
#endif
        ant_h5_close(space);
    }
    ant_h5_close(type);
    free(strings);
    return rc;
}

static int read_fixed(const struct ant_h5_column *column, int64_t first, int64_t stride, int64_t n,
                      struct ant_buf *bytes, int64_t *offsets, struct ant_error *err)
{
    char *cells = ant_xcalloc((size_t)n, column->size);
    hid_t type = H5Dget_type(column->dataset);
    int rc = read_selection(column, first, stride, n, type, cells, err);

    for (int64_t i = 0; rc == 0 && i < n; i++) {
        const char *text = cells + (size_t)i * column->size;
        add_string(bytes, offsets, i, text, fixed_length(text, column->size, column->pad));
    }
    ant_h5_close(type);
    free(cells);
    return rc;
}

int64_t ant_h5_strings_at_once(const struct ant_h5_column *column, int64_t most)
{
    int64_t n = column->kind == ANT_H5_FIXED ? PIECE_BYTES / (int64_t)(column->size + 1) + 1 : most;

    return n < most ? n : most;
}

int ant_h5_read_strings(const struct ant_h5_column *column, int64_t first, int64_t stride,
                        int64_t n, struct ant_buf *bytes, int64_t *offsets, struct ant_error *err)
{
    bytes->len = 0;
    offsets[0] = 0;
    if (n == 0)
        return 0;
    if (first < 0 || stride < 1 || n < 0 || first >= column->n ||
        (n - 1) > (column->n - 1 - first) / stride)
        return ant_fail(err, ANT_EBUG, "%s: %lld strings from row %lld of %lld asked for",
                        column->label, (long long)n, (long long)first, (long long)column->n);
    if (column->kind == ANT_H5_VARIABLE)
        return read_variable(column, first, stride, n, bytes, offsets, err);
    return read_fixed(column, first, stride, n, bytes, offsets, err);
}
