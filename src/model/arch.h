/* SPDX-License-Identifier: Apache-2.0 */
/* What a model is, as data: the one forward pass (model/forward.c) is driven by
 * this descriptor, and a model family is a row of the table in arch.c that says
 * how to read its names and settings. Thread: read-only once filled. */
#ifndef ANT_MODEL_ARCH_H
#define ANT_MODEL_ARCH_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

enum ant_norm_kind { ANT_NORM_RMS };
enum ant_act_kind { ANT_ACT_SILU };
enum ant_rope_kind { ANT_ROPE_PLAIN, ANT_ROPE_LINEAR, ANT_ROPE_LLAMA3 };

enum { ANT_MAX_HEAD_DIM = 256 };

struct ant_rope {
    enum ant_rope_kind kind;
    bool interleaved; /* pairs (2i, 2i+1), as GGUF's llama files are permuted
                         for; else (i, i + dim/2) */
    int dim;          /* rotated dimensions of a head */
    double theta;
    double factor;                            /* LINEAR, LLAMA3 */
    double low_freq_factor, high_freq_factor; /* LLAMA3 */
    int original_context;
    const float *factors; /* (dim/2) divisors from the file (GGUF rope_freqs.weight), or
                             NULL; borrowed from the checkpoint */
};

struct ant_arch {
    const char *family; /* "llama", "qwen2", "mistral": static */
    int n_layers, hidden, ff, n_heads, n_kv_heads, head_dim;
    int vocab;   /* rows of the embedding */
    int context; /* longest context the model was made for */
    enum ant_norm_kind norm;
    float norm_eps;
    enum ant_act_kind act;
    bool qkv_bias, o_bias;
    bool tied;  /* the output matrix is the embedding */
    int window; /* sliding attention: a token sees itself and window - 1 before it; 0: all */
    struct ant_rope rope;
    double embed_scale; /* 1 for most */
};

/* The weights of a model by role. LAYER roles exist once a layer. */
enum ant_role {
    ANT_W_EMBED,
    ANT_W_FINAL_NORM,
    ANT_W_OUTPUT,
    ANT_W_ATTN_NORM,
    ANT_W_Q,
    ANT_W_K,
    ANT_W_V,
    ANT_W_Q_BIAS,
    ANT_W_K_BIAS,
    ANT_W_V_BIAS,
    ANT_W_O,
    ANT_W_O_BIAS,
    ANT_W_MLP_NORM,
    ANT_W_GATE,
    ANT_W_UP,
    ANT_W_DOWN,
    ANT_N_ROLES,
};

/* cos and sin of every position below n_positions for the rotated half-dimension: table
 * (n_positions, dim/2, 2). The single place where frequencies are computed. Frequencies and angles
 * are rounded to float where Hugging Face transformers rounds them, for that is what models were
 * trained with; everything between is in double. */
void ant_rope_table(const struct ant_rope *rope, int n_positions, float *table);

/* Parameters of the model, and flops of one token's products (2 *
 * multiply-adds; head excluded), for plans and reports. */
int64_t ant_arch_parameters(const struct ant_arch *arch);
double ant_arch_token_flops(const struct ant_arch *arch);

#endif
