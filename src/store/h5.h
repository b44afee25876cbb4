/* SPDX-License-Identifier: Apache-2.0 */
/* What the store's files share about HDF5: quiet errors turned into one line, files opened without
 * locks, attributes, and 1-D datasets read in pieces. Included by src/store alone.
 *
 * Thread: control. Errors carry the innermost cause that HDF5 gives. */
#ifndef ANT_STORE_H5_H
#define ANT_STORE_H5_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <hdf5.h>

#include "base/error.h"
#include "base/mem.h"

/* Before anything else of HDF5; any number of times. Instead of printing its errors, HDF5 has the
 * cause kept for ant_h5_fail. Its exit handler is turned off: closing a shared file at exit, after
 * another rank has failed, would wait for ever. */
void ant_h5_start(void);

/* ant_fail with ": cause" behind the text: what the last HDF5 call that failed gave as its reason.
 */
int ant_h5_fail(struct ant_error *err, enum ant_err code, const char *format, ...)
    __attribute__((format(printf, 3, 4), cold));

/* In a property list of file access: take no lock on the file. */
void ant_h5_no_locks(hid_t access);

/* Open an existing file, locks off. A file that is not HDF5 is ANT_EDATA with `advice` behind the
 * text. */
int ant_h5_open(hid_t *out, const char *path, bool writable, const char *advice,
                struct ant_error *err);

/* Close whatever `id` is; ids below zero are ignored. Returns 0, or -1 when HDF5 could not write
 * what was left. */
int ant_h5_close(hid_t id);

/* Scalar attributes of an object that is already open. A get returns 1 when it is there, 0 when
 * not; text is malloc'd. `label` names the object in errors. */
int ant_h5_get_text(char **out, hid_t object, const char *name, const char *label,
                    struct ant_error *err);
int ant_h5_get_int(int64_t *out, hid_t object, const char *name, const char *label,
                   struct ant_error *err);
int ant_h5_get_real(double *out, hid_t object, const char *name, const char *label,
                    struct ant_error *err);
int ant_h5_put_text(hid_t object, const char *name, const char *text, struct ant_error *err);
int ant_h5_put_int(hid_t object, const char *name, int64_t value, struct ant_error *err);
int ant_h5_put_real(hid_t object, const char *name, double value, struct ant_error *err);

enum ant_h5_kind { ANT_H5_INTEGER, ANT_H5_REAL, ANT_H5_FIXED, ANT_H5_VARIABLE };

enum {
    ANT_H5_LONGEST_VALUE = 1 << 28, /* bytes of one string or one row; more is refused */
    ANT_H5_MOST_HELD = 1 << 30,     /* bytes of the elements that belong together */
};

/* A number as it is held. */
union ant_h5_cell {
    int64_t i;
    uint64_t u;
    double r;
};

/* A 1-D dataset open for reading. Zero-initialised is closed; see ant_h5_column_is_open. */
struct ant_h5_column {
    char *label;     /* owned: "'p.h5': dataset '/prompts/seed'"; NULL: closed */
    hid_t dataset;   /* owned */
    hid_t cell_type; /* what numbers are read as: native int64, uint64 or double (predefined) */
    int64_t n;
    enum ant_h5_kind kind;
    bool is_signed; /* of integers */
    size_t size;    /* bytes of an element in the file */
    H5T_str_t pad;  /* of fixed strings */
    bool has_fill;  /* of numbers: an attribute _FillValue marks rows without a value */
    union ant_h5_cell fill;
    int64_t window_first, window_n; /* numbers held */
    union ant_h5_cell *window;      /* owned */
};

/* `file` and `path` only name it in errors. Anything but a 1-D dataset of numbers or strings is
 * ANT_EDATA saying what it is. */
int ant_h5_column_open(struct ant_h5_column *out, hid_t where, const char *name, const char *file,
                       const char *path, struct ant_error *err);
void ant_h5_column_close(struct ant_h5_column *column);
static inline bool ant_h5_column_is_open(const struct ant_h5_column *column)
{
    return column->label != NULL;
}

/* A virtual dataset reads as fill values where a file that it refers to is not there: that is
 * ANT_ENOENT, naming it. `file` is that of the column. */
int ant_h5_check_sources(const struct ant_h5_column *column, const char *file,
                         struct ant_error *err);

/* ant_h5_column_open for a dataset whose elements are each `*width` numbers of this type (an HDF5
 * array of one dimension); for ant_h5_hold, with *rows, which the caller closes, as the type in
 * memory. */
int ant_h5_rows_open(struct ant_h5_column *out, hid_t *rows, int *width, hid_t number, hid_t where,
                     const char *name, const char *file, const char *path, struct ant_error *err);

/* One number through a window of neighbours. `*given` is false for NaN and for the fill value.
 * A number that is no int64 (a fraction, too large) is ANT_EDATA naming the row; so a caller may
 * treat ANT_EDATA as that row's own fault, and all else as the file's. */
int ant_h5_int(struct ant_h5_column *column, int64_t row, int64_t *out, bool *given,
               struct ant_error *err);
int ant_h5_real(struct ant_h5_column *column, int64_t row, double *out, bool *given,
                struct ant_error *err);
/* All 64 bits: a negative integer keeps its pattern. */
int ant_h5_bits(struct ant_h5_column *column, int64_t row, uint64_t *out, bool *given,
                struct ant_error *err);

/* Elements [first, first + n) as `memory_type`. */
int ant_h5_read(const struct ant_h5_column *column, int64_t first, int64_t n, hid_t memory_type,
                void *out, struct ant_error *err);

/* Elements of a column kept between calls: those that were asked for, and some behind them.
 * Zero-initialised is empty; release `data`. */
struct ant_h5_span {
    int64_t first, n;
    struct ant_buf data;
};

/* *at: elements [first, first + n) as `memory_type` of `width` bytes, read together with those
 * behind them up to `ahead` elements. Borrowed until the next call. More than ANT_H5_MOST_HELD
 * bytes are ANT_EDATA. */
int ant_h5_hold(struct ant_h5_span *span, const struct ant_h5_column *column, int64_t first,
                int64_t n, int64_t ahead, hid_t memory_type, size_t width, const char **at,
                struct ant_error *err);

/* How many strings, of `most`, are read at once: of fixed ones, which may be long, some MB. */
int64_t ant_h5_strings_at_once(const struct ant_h5_column *column, int64_t most);
/* Strings first, first + stride, ... (n of them) as bytes and offsets (n + 1): appended to emptied
 * buffers. */
int ant_h5_read_strings(const struct ant_h5_column *column, int64_t first, int64_t stride,
                        int64_t n, struct ant_buf *bytes, int64_t *offsets, struct ant_error *err);

#endif
