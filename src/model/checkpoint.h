/* SPDX-License-Identifier: Apache-2.0 */
/* A model on disk: a GGUF file, or a Hugging Face folder (config.json,
 * *.safetensors with or without index, tokenizer.json or tokenizer.model).
 *
 * Hides both formats. Files are mapped, headers are checked in full before
 * anything is used: every size, offset and count that a hostile file could
 * bend. Unknown architectures, tensor types and settings are named errors,
 * never guesses. Thread: control. Errors: ANT_ENOENT, ANT_EDATA, ANT_EUNSUPP
 * naming file and tensor or key. */
#ifndef ANT_MODEL_CHECKPOINT_H
#define ANT_MODEL_CHECKPOINT_H

#include <stddef.h>

#include "base/checksum.h"
#include "base/error.h"
#include "model/arch.h"
#include "model/tensor.h"
#include "text/tokenizer.h"

struct ant_checkpoint;

/* `path`: FILE.gguf or a folder. */
int ant_checkpoint_open(struct ant_checkpoint **out, const char *path, struct ant_error *err);
/* A model of random weights instead, without tokenizer: for benchmarks. `shape` is a config.json, a
 * folder with one, or a name that src/model/dummy.c knows; matrices are of `type` (F32, F16, BF16,
 * Q8_0, Q4_0). */
int ant_checkpoint_open_dummy(struct ant_checkpoint **out, const char *shape, enum ant_type type,
                              struct ant_error *err);
/* The same without the numbers, for plans: tensors have no data. */
int ant_checkpoint_open_shape(struct ant_checkpoint **out, const char *shape, enum ant_type type,
                              struct ant_error *err);
void ant_checkpoint_close(struct ant_checkpoint *checkpoint);

const char *ant_checkpoint_path(const struct ant_checkpoint *checkpoint);
const char *ant_checkpoint_format(
    const struct ant_checkpoint *checkpoint); /* "GGUF v3", "safetensors" */
const struct ant_arch *ant_checkpoint_arch(const struct ant_checkpoint *checkpoint);

/* Every tensor in file order, and one by its name in the file (NULL if absent).
 */
size_t ant_checkpoint_count(const struct ant_checkpoint *checkpoint);
const struct ant_tensor *ant_checkpoint_tensor(const struct ant_checkpoint *checkpoint,
                                               size_t index);
const struct ant_tensor *ant_checkpoint_find(const struct ant_checkpoint *checkpoint,
                                             const char *name);

/* The tensor that plays `role` in `layer` (0 for roles outside the layers), NULL where the model
 * has none. It may be some rows of a tensor of the file. Presence and shape of all that arch
 * promises were checked when the checkpoint was opened. With tied embeddings OUTPUT is the EMBED
 * tensor. */
const struct ant_tensor *ant_checkpoint_role(const struct ant_checkpoint *checkpoint,
                                             enum ant_role role, int layer);
/* The same of one expert. */
const struct ant_tensor *ant_checkpoint_expert(const struct ant_checkpoint *checkpoint,
                                               enum ant_role role, int layer, int expert);

/* Of headers, metadata and file sizes: enough to tell two models apart without
 * reading the weights. */
struct ant_digest ant_checkpoint_digest(const struct ant_checkpoint *checkpoint);

/* The tokenizer that belongs to it. */
int ant_checkpoint_tokenizer(const struct ant_checkpoint *checkpoint, struct ant_tokenizer **out,
                             struct ant_error *err);

/* Its chat template: 1 and a text that the caller frees; 0 when it has none. */
int ant_checkpoint_chat_template(const struct ant_checkpoint *checkpoint, char **out,
                                 struct ant_error *err);

/* Ids that end an answer: eos of config, generation_config, tokenizer, and
 * end-of-turn ids. At most `max`; returns the count. */
int ant_checkpoint_stop_ids(const struct ant_checkpoint *checkpoint,
                            const struct ant_tokenizer *tokenizer, int32_t *out, int max);

/* Tell the kernel that the mapped weights will not be needed again (they were
 * packed). A file's are read again if they are; random ones are gone. */
void ant_checkpoint_drop_pages(const struct ant_checkpoint *checkpoint);

#endif
