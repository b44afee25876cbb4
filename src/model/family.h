/* SPDX-License-Identifier: Apache-2.0 */
/* Model families, and the two ways to an ant_arch: GGUF metadata and Hugging Face config.json. A
 * setting that would change answers and is not known here is an error that names it. For
 * checkpoint.c; thread: control. Errors: ANT_EDATA, ANT_EUNSUPP, ANT_ENOENT, naming file and key.
 */
#ifndef ANT_MODEL_FAMILY_H
#define ANT_MODEL_FAMILY_H

#include "base/error.h"
#include "model/arch.h"
#include "model/gguf.h"
#include "model/json.h"

/* What a family does with config.json's sliding_window. */
enum ant_window_rule {
    ANT_WINDOW_IGNORED,   /* the family has none, whatever the file says */
    ANT_WINDOW_ALL,       /* every layer */
    ANT_WINDOW_BY_SWITCH, /* if use_sliding_window, layers from max_window_layers on */
};

struct ant_family {
    const char *name;
    const char *gguf;      /* general.architecture, NULL when GGUF files name another family */
    const char *class;     /* config.json's architectures[0] */
    bool gguf_interleaved; /* GGUF converters permute q and k for rotation in pairs */
    bool has_qkv_bias;     /* always, without being asked */
    bool honours_attention_bias;
    enum ant_window_rule window_rule;
    /* What its configuration class means by leaving a key out. 0 kv heads: as many as heads. */
    int default_kv_heads, default_window;
};

/* The family with this GGUF architecture or this class; NULL if there is none, and `known` (room
 * for `bytes`) lists those there are, for the error. */
const struct ant_family *ant_family_of_gguf(const char *name, size_t name_bytes, char *known,
                                            size_t bytes);
const struct ant_family *ant_family_of_class(const char *name, char *known, size_t bytes);

/* Fill an ant_arch. rope.factors borrows from `gguf`. */
int ant_arch_read_gguf(struct ant_arch *out, const struct ant_gguf *gguf, struct ant_error *err);
int ant_arch_read_config(struct ant_arch *out, struct ant_json config, struct ant_error *err);

/* Numbers that make sense and fit each other; `where` is the file. */
int ant_arch_check(const struct ant_arch *arch, const char *where, struct ant_error *err);

#endif
