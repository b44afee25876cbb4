/* SPDX-License-Identifier: Apache-2.0 */
/* JSON files of a model folder: read with a size limit, and typed members with the same tri-state
 * answers as GGUF metadata. Errors name file and key and never quote the file's own text, which may
 * hold anything. Thread: any. */
#ifndef ANT_MODEL_JSON_H
#define ANT_MODEL_JSON_H

#include <stdbool.h>
#include <stdint.h>

#include <jansson.h>

#include "base/checksum.h"
#include "base/error.h"

/* An object and how errors call it: "'DIR/config.json'" or "'DIR/config.json': rope_scaling". */
struct ant_json {
    const json_t *object;
    const char *where;
};

/* The object in `path`, at most `max` bytes, member names unique. json_decref is the caller's.
 * `digest` (may be NULL): of the file's bytes. ANT_ENOENT when there is no such file. */
int ant_json_load(json_t **out, const char *path, size_t max, struct ant_digest *digest,
                  struct ant_error *err);

/* The same from memory. `where` as above. */
int ant_json_parse(json_t **out, const char *text, size_t bytes, const char *where,
                   struct ant_error *err);

/* 1 and `out` written; 0 when the member is absent or null; ANT_EDATA for another type or a value
 * outside [min, max]. */
int ant_json_get_int(struct ant_json json, const char *key, int64_t min, int64_t max, int64_t *out,
                     struct ant_error *err);
int ant_json_get_float(struct ant_json json, const char *key, double *out, struct ant_error *err);
int ant_json_get_bool(struct ant_json json, const char *key, bool *out, struct ant_error *err);
/* Borrowed from the object. */
int ant_json_get_string(struct ant_json json, const char *key, const char **out,
                        struct ant_error *err);

#endif
