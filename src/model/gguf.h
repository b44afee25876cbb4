/* SPDX-License-Identifier: Apache-2.0 */
/* The GGUF container, versions 2 and 3, little-endian: typed metadata and tensor descriptions of
 * one mapped file, or of a model in several, of which the first is named (-00001-of-0000N.gguf).
 *
 * Hides the encoding. `open` walks the whole header once and checks every length, count, type,
 * offset and name, so that nothing read later can leave the file; the tensor data itself is never
 * touched. What it hands out points into the mapping and lives until close. A handle is immutable
 * once open. Thread: any. Errors: ANT_EIO, ANT_ENOENT, ANT_EDATA (damaged or hostile file),
 * ANT_EUNSUPP (version, byte order, tensor type), naming file and key or tensor. */
#ifndef ANT_MODEL_GGUF_H
#define ANT_MODEL_GGUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/checksum.h"
#include "base/error.h"
#include "model/tensor.h"

struct ant_gguf;

int ant_gguf_open(struct ant_gguf **out, const char *path, struct ant_error *err);
void ant_gguf_close(struct ant_gguf *gguf); /* legal on NULL */

const char *ant_gguf_path(const struct ant_gguf *gguf);
int ant_gguf_version(const struct ant_gguf *gguf);
struct ant_digest ant_gguf_digest(const struct ant_gguf *gguf); /* of the header and file size */

/* Tensors in file order, and one by name (NULL if absent). A vocabulary-only file has none.
 * Shapes are slowest first (the reverse of the file's order). */
size_t ant_gguf_count(const struct ant_gguf *gguf);
const struct ant_tensor *ant_gguf_tensor(const struct ant_gguf *gguf, size_t index);
const struct ant_tensor *ant_gguf_find(const struct ant_gguf *gguf, const char *name);

/* The mapped bytes of the tensor section of file `index`, for advice to the kernel; false beyond
 * the last. */
bool ant_gguf_data(const struct ant_gguf *gguf, size_t index, const void **data, size_t *bytes);

/* Metadata by key. Each returns 1 and writes `out` when the key is there, 0 when it is not (`out`
 * untouched, so it may hold a default), ANT_EDATA when the value has another type or lies outside
 * [min, max]. Integers of every width and sign are one kind; so are both float widths (an integer
 * is accepted as float too). */
bool ant_gguf_has(const struct ant_gguf *gguf, const char *key);
int ant_gguf_get_int(const struct ant_gguf *gguf, const char *key, int64_t min, int64_t max,
                     int64_t *out, struct ant_error *err);
int ant_gguf_get_float(const struct ant_gguf *gguf, const char *key, double *out,
                       struct ant_error *err);
int ant_gguf_get_bool(const struct ant_gguf *gguf, const char *key, bool *out,
                      struct ant_error *err);
/* The text is not NUL-terminated and any bytes are possible in it. */
int ant_gguf_get_string(const struct ant_gguf *gguf, const char *key, const char **text,
                        size_t *bytes, struct ant_error *err);

enum ant_gguf_kind { ANT_GGUF_INTS, ANT_GGUF_FLOATS, ANT_GGUF_BOOLS, ANT_GGUF_STRINGS };

/* An array of the metadata, in place. Read it front to back with the `next` function of its kind
 * (each returns false at the end), after a copy of the struct once more from the front. */
struct ant_gguf_array {
    size_t count; /* elements not yet read */
    const unsigned char *data;
    int element; /* the file's element type */
};
int ant_gguf_get_array(const struct ant_gguf *gguf, const char *key, enum ant_gguf_kind kind,
                       struct ant_gguf_array *out, struct ant_error *err);
bool ant_gguf_next_int(struct ant_gguf_array *array, int64_t *out); /* INTS and BOOLS */
bool ant_gguf_next_float(struct ant_gguf_array *array, float *out);
bool ant_gguf_next_string(struct ant_gguf_array *array, const char **text, size_t *bytes);

/* Keys in file order, for reports and for refusing what is not known; NULL beyond the last. */
const char *ant_gguf_key(const struct ant_gguf *gguf, size_t index);

#endif
