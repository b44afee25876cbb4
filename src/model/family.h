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

/* Which layers have a sliding window, where the file names one. */
enum ant_window_rule {
    ANT_WINDOW_IGNORED,   /* none, whatever the file says */
    ANT_WINDOW_ALL,       /* every layer */
    ANT_WINDOW_BY_SWITCH, /* if use_sliding_window, layers from max_window_layers on */
    ANT_WINDOW_BY_PERIOD, /* all but every n-th */
};

/* Groups of config.json's keys that a family honours; elsewhere they must say what a plain model
 * does. */
enum ant_family_keys {
    ANT_KEYS_BIAS = 1 << 0,      /* attention_bias */
    ANT_KEYS_QKV_BIAS = 1 << 1,  /* qkv_bias */
    ANT_KEYS_HEAD_BIAS = 1 << 2, /* lm_head_bias */
    ANT_KEYS_GEMMA = 1 << 3,     /* softcaps, query scale, hidden_activation */
    ANT_KEYS_GRANITE = 1 << 4,   /* multipliers */
    ANT_KEYS_PARTIAL = 1 << 5,   /* partial_rotary_factor */
    ANT_KEYS_NO_ROPE = 1 << 6,   /* no_rope_layers */
    ANT_KEYS_LONG_ROPE = 1 << 7, /* rope type longrope, which some files call su */
    ANT_KEYS_SWITCH = 1 << 8,    /* use_sliding_window */
    ANT_KEYS_EXPERTS = 1 << 9,
    ANT_KEYS_SHARED = 1 << 10,  /* shared_expert_intermediate_size */
    ANT_KEYS_GROUPS = 1 << 11,  /* n_routed_experts, n_group and what goes with them */
    ANT_KEYS_QK_NORM = 1 << 12, /* use_qk_norm: of each head */
    ANT_KEYS_Q_BIAS = 1 << 13,  /* attention_bias, but of q, k and v alone */
};

enum ant_family_names { ANT_NAMES_USUAL, ANT_NAMES_MIXTRAL, ANT_NAMES_GLM };

struct ant_family {
    const char *name;
    const char *gguf;           /* general.architecture, NULL when GGUF files name another family */
    const char *class;          /* config.json's architectures[0] */
    bool gguf_interleaved;      /* GGUF converters permute q and k for rotation in pairs */
    bool gguf_renormalizes;     /* weights of experts, without a key for it */
    int gguf_wide_query_layers; /* a model of so many layers scales by hidden / heads */
    bool is_fused;              /* q, k, v are stored as one matrix, gate and up as another */
    enum ant_family_names names; /* of tensors in a safetensors folder */
    bool has_extra_layers;       /* behind the last: for drafts, not for answers */
    unsigned keys;               /* enum ant_family_keys */
    enum ant_window_rule window_rule;
    int window_period; /* BY_PERIOD, where the file does not tell */
    bool has_local_rope;
    /* What its configuration class means by leaving a key out. 0 kv heads: as many as heads. */
    int default_kv_heads, default_window, default_head_dim;
    double default_theta, default_local_theta; /* 0: 10000 */
    double default_partial;                    /* of a head that is rotated; 0: all */
    bool is_tied;
    struct ant_arch plain; /* what every model of the family has */
};

/* The family with this GGUF architecture or this class; NULL if there is none, and `known` (room
 * for `bytes`) lists those there are, for the error. */
const struct ant_family *ant_family_of_gguf(const char *name, size_t name_bytes, char *known,
                                            size_t bytes);
const struct ant_family *ant_family_of_class(const char *name, char *known, size_t bytes);
/* The family that arch->family names. */
const struct ant_family *ant_family_of(const struct ant_arch *arch);

/* Fill an ant_arch. */
int ant_arch_read_gguf(struct ant_arch *out, const struct ant_gguf *gguf, struct ant_error *err);
int ant_arch_read_config(struct ant_arch *out, struct ant_json config, struct ant_error *err);

/* Part of reading a config.json: rotation, once sizes and layers are known. */
int ant_config_read_rope(struct ant_json config, const struct ant_family *family,
                         struct ant_arch *arch, struct ant_error *err);

/* Layers that have a window where every `period`-th has none, and with it the family's local
 * rotation. */
void ant_family_set_windows(const struct ant_family *family, struct ant_arch *arch, int period,
                            int window);
void ant_family_set_window(const struct ant_family *family, struct ant_arch *arch, int layer,
                           int window);

/* A residual multiplier as a residual stream that is smaller by it: embeddings are scaled up, and
 * the norms' epsilon with the square. The same numbers, and no backend needs to know. */
void ant_arch_set_residual_scale(struct ant_arch *arch, double scale);

/* Numbers that make sense and fit each other; `where` is the file. Of the sizes alone: what has
 * room for so many can be read then. */
int ant_arch_check_sizes(const struct ant_arch *arch, const char *where, struct ant_error *err);
int ant_arch_check(const struct ant_arch *arch, const char *where, struct ant_error *err);

#endif
