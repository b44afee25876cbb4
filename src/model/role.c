/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "model/role.h"

#include "model/family.h"

#include <stdio.h>
#include <string.h>

enum size {
    NO_SIZE,
    ONE,
    VOCAB,
    HIDDEN,
    FF,
    Q_HEADS,
    KV_HEADS,
    Q_NORM,
    K_NORM,
    EXPERTS,
    EXPERT_FF,
    SHARED_FF
};
enum where { GLOBAL, LAYER, EXPERT };

/* Names as most families have them; in a layer what follows the layer's prefix. A GGUF tensor of
 * experts has them all, in a safetensors folder %d is the expert. */
static const struct role {
    const char *gguf, *hf;
    enum where where;
    enum size rows, cols; /* a vector has no rows */
} roles[ANT_N_ROLES] = {
    [ANT_W_EMBED] = {"token_embd.weight", "model.embed_tokens.weight", GLOBAL, VOCAB, HIDDEN},
    [ANT_W_FINAL_NORM] = {"output_norm.weight", "model.norm.weight", GLOBAL, NO_SIZE, HIDDEN},
    [ANT_W_FINAL_NORM_BIAS] = {"output_norm.bias", "model.norm.bias", GLOBAL, NO_SIZE, HIDDEN},
    [ANT_W_OUTPUT] = {"output.weight", "lm_head.weight", GLOBAL, VOCAB, HIDDEN},
    [ANT_W_OUTPUT_BIAS] = {"output.bias", "lm_head.bias", GLOBAL, NO_SIZE, VOCAB},
    [ANT_W_ATTN_NORM] = {"attn_norm.weight", "input_layernorm.weight", LAYER, NO_SIZE, HIDDEN},
    [ANT_W_ATTN_NORM_BIAS] = {"attn_norm.bias", "input_layernorm.bias", LAYER, NO_SIZE, HIDDEN},
    [ANT_W_Q] = {"attn_q.weight", "self_attn.q_proj.weight", LAYER, Q_HEADS, HIDDEN},
    [ANT_W_K] = {"attn_k.weight", "self_attn.k_proj.weight", LAYER, KV_HEADS, HIDDEN},
    [ANT_W_V] = {"attn_v.weight", "self_attn.v_proj.weight", LAYER, KV_HEADS, HIDDEN},
    [ANT_W_Q_BIAS] = {"attn_q.bias", "self_attn.q_proj.bias", LAYER, NO_SIZE, Q_HEADS},
    [ANT_W_K_BIAS] = {"attn_k.bias", "self_attn.k_proj.bias", LAYER, NO_SIZE, KV_HEADS},
    [ANT_W_V_BIAS] = {"attn_v.bias", "self_attn.v_proj.bias", LAYER, NO_SIZE, KV_HEADS},
    [ANT_W_Q_NORM] = {"attn_q_norm.weight", "self_attn.q_norm.weight", LAYER, NO_SIZE, Q_NORM},
    [ANT_W_K_NORM] = {"attn_k_norm.weight", "self_attn.k_norm.weight", LAYER, NO_SIZE, K_NORM},
    [ANT_W_O] = {"attn_output.weight", "self_attn.o_proj.weight", LAYER, HIDDEN, Q_HEADS},
    [ANT_W_O_BIAS] = {"attn_output.bias", "self_attn.o_proj.bias", LAYER, NO_SIZE, HIDDEN},
    [ANT_W_ATTN_POST_NORM] = {"post_attention_norm.weight", "post_attention_layernorm.weight",
                              LAYER, NO_SIZE, HIDDEN},
    [ANT_W_MLP_NORM] = {"ffn_norm.weight", "post_attention_layernorm.weight", LAYER, NO_SIZE,
                        HIDDEN},
    [ANT_W_MLP_NORM_BIAS] = {"ffn_norm.bias", "post_attention_layernorm.bias", LAYER, NO_SIZE,
                             HIDDEN},
    [ANT_W_GATE] = {"ffn_gate.weight", "mlp.gate_proj.weight", LAYER, FF, HIDDEN},
    [ANT_W_UP] = {"ffn_up.weight", "mlp.up_proj.weight", LAYER, FF, HIDDEN},
    [ANT_W_DOWN] = {"ffn_down.weight", "mlp.down_proj.weight", LAYER, HIDDEN, FF},
    [ANT_W_MLP_POST_NORM] = {"post_ffw_norm.weight", "post_feedforward_layernorm.weight", LAYER,
                             NO_SIZE, HIDDEN},
    [ANT_W_ROUTER] = {"ffn_gate_inp.weight", "mlp.gate.weight", LAYER, EXPERTS, HIDDEN},
    [ANT_W_ROUTER_BIAS] = {"exp_probs_b.bias", "mlp.gate.e_score_correction_bias", LAYER, NO_SIZE,
                           EXPERTS},
    [ANT_W_SHARED_SCALE] = {"ffn_gate_inp_shexp.weight", "mlp.shared_expert_gate.weight", LAYER,
                            ONE, HIDDEN},
    [ANT_W_SHARED_GATE] = {"ffn_gate_shexp.weight", "mlp.shared_expert.gate_proj.weight", LAYER,
                           SHARED_FF, HIDDEN},
    [ANT_W_SHARED_UP] = {"ffn_up_shexp.weight", "mlp.shared_expert.up_proj.weight", LAYER,
                         SHARED_FF, HIDDEN},
    [ANT_W_SHARED_DOWN] = {"ffn_down_shexp.weight", "mlp.shared_expert.down_proj.weight", LAYER,
                           HIDDEN, SHARED_FF},
    [ANT_W_EXPERT_GATE] = {"ffn_gate_exps.weight", "mlp.experts.%d.gate_proj.weight", EXPERT,
                           EXPERT_FF, HIDDEN},
    [ANT_W_EXPERT_UP] = {"ffn_up_exps.weight", "mlp.experts.%d.up_proj.weight", EXPERT, EXPERT_FF,
                         HIDDEN},
    [ANT_W_EXPERT_DOWN] = {"ffn_down_exps.weight", "mlp.experts.%d.down_proj.weight", EXPERT,
                           HIDDEN, EXPERT_FF},
};

/* What Mixtral, GLM and those after them call the same in a safetensors folder. */
static const char *const own_names[][ANT_N_ROLES] = {
    [ANT_NAMES_MIXTRAL] =
        {
            [ANT_W_ROUTER] = "block_sparse_moe.gate.weight",
            [ANT_W_EXPERT_GATE] = "block_sparse_moe.experts.%d.w1.weight",
            [ANT_W_EXPERT_UP] = "block_sparse_moe.experts.%d.w3.weight",
            [ANT_W_EXPERT_DOWN] = "block_sparse_moe.experts.%d.w2.weight",
        },
    [ANT_NAMES_GLM] =
        {
            [ANT_W_SHARED_GATE] = "mlp.shared_experts.gate_proj.weight",
            [ANT_W_SHARED_UP] = "mlp.shared_experts.up_proj.weight",
            [ANT_W_SHARED_DOWN] = "mlp.shared_experts.down_proj.weight",
        },
};

/* Stored tensors that hold several roles, in this order of rows. */
static const struct fusion {
    const char *gguf, *hf;
    enum ant_role roles[3];
    int n_roles;
} fusions[] = {
    {"attn_qkv.weight", "self_attn.qkv_proj.weight", {ANT_W_Q, ANT_W_K, ANT_W_V}, 3},
    {"ffn_up.weight", "mlp.gate_up_proj.weight", {ANT_W_GATE, ANT_W_UP}, 2},
};

bool ant_role_is_global(enum ant_role role)
{
    return roles[role].where == GLOBAL;
}

bool ant_role_is_expert(enum ant_role role)
{
    return roles[role].where == EXPERT;
}

static int64_t size_of(const struct ant_arch *arch, enum size size)
{
    int64_t q = (int64_t)arch->n_heads * arch->head_dim;
    int64_t kv = (int64_t)arch->n_kv_heads * arch->head_dim;
    bool is_whole = arch->qk_norm == ANT_QK_NORM_WHOLE;
    switch (size) {
    case ONE:
        return 1;
    case VOCAB:
        return arch->vocab;
    case HIDDEN:
        return arch->hidden;
    case FF:
        return arch->ff;
    case Q_HEADS:
        return q;
    case KV_HEADS:
        return kv;
    case Q_NORM:
        return is_whole ? q : arch->head_dim;
    case K_NORM:
        return is_whole ? kv : arch->head_dim;
    case EXPERTS:
        return arch->moe.n_experts;
    case EXPERT_FF:
        return arch->moe.ff;
    case SHARED_FF:
        return arch->moe.shared_ff;
    case NO_SIZE:
        break;
    }
    return 0;
}

static bool has_role(const struct ant_arch *arch, enum ant_role role, int layer)
{
    bool is_moe = arch->layers[layer] & ANT_LAYER_MOE, is_layer_norm = arch->norm == ANT_NORM_LAYER;
    switch (role) {
    case ANT_W_OUTPUT:
        return !arch->tied;
    case ANT_W_OUTPUT_BIAS:
        return arch->output_bias;
    case ANT_W_FINAL_NORM_BIAS:
        return is_layer_norm;
    case ANT_W_ATTN_NORM:
    case ANT_W_MLP_NORM:
        return !arch->lacks_pre_norm;
    case ANT_W_ATTN_NORM_BIAS:
    case ANT_W_MLP_NORM_BIAS:
        return !arch->lacks_pre_norm && is_layer_norm;
    case ANT_W_ATTN_POST_NORM:
    case ANT_W_MLP_POST_NORM:
        return arch->has_post_norm;
    case ANT_W_Q_BIAS:
    case ANT_W_K_BIAS:
    case ANT_W_V_BIAS:
        return arch->qkv_bias;
    case ANT_W_O_BIAS:
        return arch->o_bias;
    case ANT_W_Q_NORM:
    case ANT_W_K_NORM:
        return arch->qk_norm != ANT_QK_NORM_NONE;
    case ANT_W_GATE:
    case ANT_W_UP:
    case ANT_W_DOWN:
        return !is_moe;
    case ANT_W_ROUTER:
    case ANT_W_EXPERT_GATE:
    case ANT_W_EXPERT_UP:
    case ANT_W_EXPERT_DOWN:
        return is_moe;
    case ANT_W_ROUTER_BIAS:
        return is_moe && arch->moe.has_bias;
    case ANT_W_SHARED_SCALE:
        return is_moe && arch->moe.has_shared_scale;
    case ANT_W_SHARED_GATE:
    case ANT_W_SHARED_UP:
    case ANT_W_SHARED_DOWN:
        return is_moe && arch->moe.shared_ff > 0;
    default:
        return true;
    }
}

static const char *hf_name(const struct ant_arch *arch, const struct ant_family *family,
                           enum ant_role role)
{
    if (own_names[family->names][role])
        return own_names[family->names][role];
    if (role == ANT_W_MLP_NORM && arch->has_post_norm) /* the other name is the post norm's */
        return "pre_feedforward_layernorm.weight";
    return roles[role].hf;
}

/* The role's rows within the tensor that holds several; its name, or NULL. */
static const char *fuse(struct ant_role_place *out, const struct ant_arch *arch, bool is_gguf,
                        enum ant_role role)
{
    for (size_t i = 0; i < sizeof fusions / sizeof fusions[0]; i++) {
        const struct fusion *fusion = &fusions[i];
        int64_t rows = 0;
        bool is_in = false;
        for (int j = 0; j < fusion->n_roles; j++) {
            if (fusion->roles[j] == role) {
                is_in = true;
                out->first = rows;
            }
            rows += size_of(arch, roles[fusion->roles[j]].rows);
        }
        if (is_in) {
            out->shape[0] = rows;
            return is_gguf ? fusion->gguf : fusion->hf;
        }
    }
    return NULL;
}

bool ant_role_find(struct ant_role_place *out, const struct ant_arch *arch, bool is_gguf,
                   enum ant_role role, int layer, int expert)
{
    const struct ant_family *family = ant_family_of(arch);
    const struct role *facts = &roles[role];
    const char *name = NULL;
    if (!has_role(arch, role, layer))
        return false;
    memset(out, 0, sizeof *out);
    if (facts->rows != NO_SIZE && !(is_gguf && facts->rows == ONE))
        out->role_shape[out->role_dims++] = size_of(arch, facts->rows);
    out->role_shape[out->role_dims++] = size_of(arch, facts->cols);
    out->n_dims = out->role_dims;
    memcpy(out->shape, out->role_shape, sizeof out->role_shape);
    if (is_gguf && facts->where == EXPERT) {
        out->first = expert * out->role_shape[0];
        out->n_dims = 3;
        memcpy(out->shape + 1, out->role_shape, sizeof out->role_shape);
        out->shape[0] = arch->moe.n_experts;
    }
    if (family->is_fused)
        name = fuse(out, arch, is_gguf, role);
    if (!name)
        name = is_gguf ? facts->gguf : hf_name(arch, family, role);

    char end[ANT_MAX_TENSOR_NAME / 2];
    if (!is_gguf && facts->where == EXPERT)
        snprintf(end, sizeof end, name, expert);
    else
        snprintf(end, sizeof end, "%s", name);
    if (facts->where == GLOBAL)
        snprintf(out->name, sizeof out->name, "%s", end);
    else
        snprintf(out->name, sizeof out->name, "%s.%d.%s", is_gguf ? "blk" : "model.layers", layer,
                 end);
    return true;
}
