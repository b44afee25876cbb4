/* SPDX-License-Identifier: Apache-2.0 */
/* What a model is, as data: the one forward pass (model/forward.c) is driven by
 * this descriptor, and a model family is a row of the table in family.c that
 * says how to read its names and settings. Thread: read-only once filled. */
#ifndef ANT_MODEL_ARCH_H
#define ANT_MODEL_ARCH_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

enum ant_norm_kind {
    ANT_NORM_RMS,   /* x / sqrt(mean(x^2) + eps) * w */
    ANT_NORM_LAYER, /* the same of x - mean(x), and + bias */
};
enum ant_act_kind {
    ANT_ACT_SILU,
    ANT_ACT_GELU, /* in the approximation by tanh */
};
/* Norms of q and k before they are turned: RMS, whatever the model's own kind is. */
enum ant_qk_norm {
    ANT_QK_NORM_NONE,
    ANT_QK_NORM_HEAD,  /* of each head; weights (head_dim) */
    ANT_QK_NORM_WHOLE, /* of all heads together; weights (heads * head_dim) */
};
enum ant_rope_kind { ANT_ROPE_PLAIN, ANT_ROPE_LINEAR, ANT_ROPE_LLAMA3, ANT_ROPE_YARN };

enum { ANT_MAX_HEAD_DIM = 256, ANT_MAX_LAYERS = 512, ANT_MAX_EXPERTS = 1024, ANT_MAX_USED = 32 };

struct ant_rope {
    enum ant_rope_kind kind;
    bool interleaved; /* pairs (2i, 2i+1), as GGUF's llama files are permuted
                         for; else (i, i + dim/2) */
    int dim;          /* rotated dimensions of a head: the first */
    double theta;
    double factor;                            /* LINEAR, LLAMA3, YARN */
    double low_freq_factor, high_freq_factor; /* LLAMA3 */
    double beta_fast, beta_slow;              /* YARN */
    bool is_exact;                            /* YARN: its range is not rounded to whole pairs */
    int original_context;
    /* Divisors of the frequencies and what cos and sin are multiplied with (0: 1). The second set
     * is for runs whose max_context goes beyond original_context; most models have one. */
    bool has_factors;
    float factors[2][ANT_MAX_HEAD_DIM / 2];
    double magnitude[2];
};

enum ant_router_score {
    ANT_ROUTER_SOFTMAX,     /* over all experts; the best of them */
    ANT_ROUTER_SIGMOID,     /* of each by itself */
    ANT_ROUTER_SPARSEMIXER, /* two experts, each weighed against those close to it: see PhiMoE */
};

struct ant_moe {
    int n_experts;         /* 0: no layer has any */
    int n_used;            /* experts of a token */
    int ff;                /* of one expert */
    int shared_ff;         /* of the expert that every token has; 0: none */
    bool has_shared_scale; /* it counts by a sigmoid of its own, not in full */
    enum ant_router_score score;
    bool is_renormalized; /* weights of the chosen are made to sum to 1 (which also makes them a
                             softmax over the chosen alone) */
    float jitter;         /* SPARSEMIXER */
    bool has_bias;        /* SIGMOID: added to the scores for choosing, not to the weights */
    int n_groups, n_groups_used; /* SIGMOID: the chosen are of the groups whose two best sum
                                    highest; 0: no groups */
    double scale;                /* of the weights; 0: 1 */
    /* The experts whose weights are held: `n_held` from `first_held` on, with `ff` units each. All,
     * as read from a file; of a rank that shares its replica, what model/shard.h says: some experts
     * whole, or of all of them some units. n_experts is always the number that the router chooses
     * from. */
    int first_held, n_held;
};

/* Who has the experts that a rank adds to its rows, where that is not it alone: holder i those from
 * start[i] up to start[i + 1]. */
struct ant_spread {
    int me, n; /* holders */
    int start[ANT_MAX_EXPERTS + 1];
};

/* What differs from layer to layer. */
enum ant_layer_bits {
    ANT_LAYER_WINDOW = 1,     /* attention sees arch->window, not all */
    ANT_LAYER_NO_ROPE = 2,    /* q and k are not turned */
    ANT_LAYER_LOCAL_ROPE = 4, /* they are turned by arch->local_rope, not arch->rope */
    ANT_LAYER_MOE = 8,        /* experts, not one feed-forward */
};

/* A field left zero means that the model is without it: so a Llama is. */
struct ant_arch {
    const char *family; /* "llama", "qwen2", "mistral": static */
    int n_layers, hidden, ff, n_heads, n_kv_heads, head_dim;
    int vocab;   /* rows of the embedding */
    int context; /* longest context the model was made for */
    enum ant_norm_kind norm;
    float norm_eps;
    enum ant_act_kind act;
    bool qkv_bias, o_bias, output_bias;
    bool tied;  /* the output matrix is the embedding */
    int window; /* sliding attention: a token sees itself and window - 1 before it */
    uint8_t layers[ANT_MAX_LAYERS]; /* enum ant_layer_bits */
    struct ant_rope rope, local_rope;
    double embed_scale; /* 1 for most */

    bool has_post_norm;  /* a block is x += norm(f(norm(x))), not x += f(norm(x)) */
    bool lacks_pre_norm; /* x += norm(f(x)) */
    enum ant_qk_norm qk_norm;
    double attn_scale;   /* of q k^T; 0: 1 / sqrt(head_dim) */
    float attn_softcap;  /* scores become cap * tanh(score / cap) */
    float logit_softcap; /* so do logits */
    float norm_offset;   /* what is added to the weights of norms as they are stored */
    double logit_scale;  /* of logits, as a factor of the final norm's weights; 0: 1 */
    struct ant_moe moe;
};

/* What a model needs beyond a Llama, for backends that cannot do all of it. */
enum ant_need {
    ANT_NEED_LAYER_NORM = 1 << 0,
    ANT_NEED_GELU = 1 << 1,
    ANT_NEED_QK_NORM_HEAD = 1 << 2,
    ANT_NEED_QK_NORM_WHOLE = 1 << 3,
    ANT_NEED_POST_NORM = 1 << 4,
    ANT_NEED_NO_PRE_NORM = 1 << 5,
    ANT_NEED_ATTN_SCALE = 1 << 6,
    ANT_NEED_ATTN_SOFTCAP = 1 << 7,
    ANT_NEED_LOGIT_SOFTCAP = 1 << 8,
    ANT_NEED_NO_ROPE = 1 << 9,
    ANT_NEED_LOCAL_ROPE = 1 << 10,
    ANT_NEED_PARTIAL_ROPE = 1 << 11,
    ANT_NEED_MOE = 1 << 12,
    ANT_NEED_SPARSEMIXER = 1 << 13,
    ANT_NEED_SHARED_EXPERT = 1 << 14,
    ANT_NEED_MIXED_WINDOWS = 1 << 15,
    ANT_NEED_SIGMOID = 1 << 16,
};

/* ANT_EUNSUPP naming the first thing that `arch` needs and `can` (enum ant_need) lacks. `who`: the
 * backend. */
int ant_arch_within(const struct ant_arch *arch, unsigned can, const char *who,
                    struct ant_error *err);

/* What attention over the cache of `layer` sees; 0: all of it. */
static inline int ant_arch_window(const struct ant_arch *arch, int layer)
{
    return arch->layers[layer] & ANT_LAYER_WINDOW ? arch->window : 0;
}

/* Is a step of this model on a GPU faster, row by row, with yet more sequences than usual? Those of
 * a mixture, whose experts have few rows each, and of a model so small that its cache is never
 * full. */
bool ant_arch_wants_many(const struct ant_arch *arch);

/* What q k^T is multiplied with. */
double ant_arch_attn_scale(const struct ant_arch *arch);

/* The weights of a model by role. LAYER roles exist once a layer, EXPERT roles once an expert of a
 * layer. */
enum ant_role {
    ANT_W_EMBED,
    ANT_W_FINAL_NORM,
    ANT_W_FINAL_NORM_BIAS,
    ANT_W_OUTPUT,
    ANT_W_OUTPUT_BIAS,
    ANT_W_ATTN_NORM,
    ANT_W_ATTN_NORM_BIAS,
    ANT_W_Q,
    ANT_W_K,
    ANT_W_V,
    ANT_W_Q_BIAS,
    ANT_W_K_BIAS,
    ANT_W_V_BIAS,
    ANT_W_Q_NORM,
    ANT_W_K_NORM,
    ANT_W_O,
    ANT_W_O_BIAS,
    ANT_W_ATTN_POST_NORM,
    ANT_W_MLP_NORM,
    ANT_W_MLP_NORM_BIAS,
    ANT_W_GATE,
    ANT_W_UP,
    ANT_W_DOWN,
    ANT_W_MLP_POST_NORM,
    ANT_W_ROUTER,
    ANT_W_ROUTER_BIAS,
    ANT_W_SHARED_SCALE, /* (1, hidden): the shared expert counts by a sigmoid of its product */
    ANT_W_SHARED_GATE,
    ANT_W_SHARED_UP,
    ANT_W_SHARED_DOWN,
    ANT_W_EXPERT_GATE,
    ANT_W_EXPERT_UP,
    ANT_W_EXPERT_DOWN,
    ANT_N_ROLES,
};

/* cos and sin of every position below n_positions, which is the max_context of the run, for the
 * rotated half-dimension: table (n_positions, dim/2, 2). The single place where frequencies are
 * computed. Frequencies and angles are rounded to float where Hugging Face transformers rounds
 * them, for that is what models were trained with; everything between is in double. */
void ant_rope_table(const struct ant_rope *rope, int n_positions, float *table);

/* Parameters of the model, and flops of one token's products (2 *
 * multiply-adds; head excluded), for plans and reports. */
int64_t ant_arch_parameters(const struct ant_arch *arch);
double ant_arch_token_flops(const struct ant_arch *arch);

#endif
