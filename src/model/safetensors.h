/* SPDX-License-Identifier: Apache-2.0 */
/* The tensors of a folder in safetensors format: model.safetensors, or the shards that
 * model.safetensors.index.json lists, seen as one list.
 *
 * Hides headers, shards and the index. `open` checks every header in full: sizes, types, shapes,
 * that the tensors of a file fill its data without gap or overlap (the format's rule), that no
 * tensor is in two shards and that the index tells the truth. Tensor data is never touched. What it
 * hands out lives until close; immutable once open. Thread: any. Errors: ANT_ENOENT, ANT_EIO,
 * ANT_EDATA, ANT_EUNSUPP (element type), naming file and tensor. */
#ifndef ANT_MODEL_SAFETENSORS_H
#define ANT_MODEL_SAFETENSORS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/checksum.h"
#include "base/error.h"
#include "model/tensor.h"

struct ant_safetensors;

int ant_safetensors_open(struct ant_safetensors **out, const char *folder, struct ant_error *err);
void ant_safetensors_close(struct ant_safetensors *files); /* legal on NULL */

struct ant_digest ant_safetensors_digest(const struct ant_safetensors *files); /* headers, sizes */

/* Tensors, shard by shard in the order of their names, within one in the order of their data. */
size_t ant_safetensors_count(const struct ant_safetensors *files);
const struct ant_tensor *ant_safetensors_tensor(const struct ant_safetensors *files, size_t index);
const struct ant_tensor *ant_safetensors_find(const struct ant_safetensors *files,
                                              const char *name);

/* The mapped bytes of shard `index`, for advice to the kernel; false beyond the last. */
bool ant_safetensors_data(const struct ant_safetensors *files, size_t index, const void **data,
                          size_t *bytes);

#endif
