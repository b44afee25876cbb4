/* SPDX-License-Identifier: Apache-2.0 */
/* struct ant_arch from a Hugging Face config.json, old keys and new. */
#include "config.h"

#include "model/family.h"

#include "base/mem.h"
#include "model/names.h"

#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Keys that are read below, or that say nothing of what the model computes. */
static const char *const plain_keys[] = {
    "_attn_implementation",
    "_attn_implementation_autoset",
    "_name_or_path",
    "_sliding_window_pattern",
    "add_cross_attention",
    "architectures",
    "attention_dropout",
    "auto_map",
    "begin_suppress_tokens",
    "bos_token_id",
    "chunk_size_feed_forward",
    "dtype",
    "embd_pdrop",
    "eos_token_id",
    "forced_bos_token_id",
    "head_dim",
    "hidden_act",
    "hidden_activation",
    "hidden_dropout",
    "hidden_size",
    "id2label",
    "initializer_range",
    "input_jitter_noise",
    "interpolate_factor",
    "intermediate_size",
    "is_llama_config",
    "keys_to_ignore_at_inference",
    "label2id",
    "layer_types",
    "max_length",
    "max_position_embeddings",
    "max_window_layers",
    "no_repeat_ngram_size",
    "num_attention_heads",
    "num_beam_groups",
    "num_beams",
    "num_hidden_layers",
    "num_key_value_heads",
    "num_return_sequences",
    "original_max_position_embeddings",
    "output_attentions",
    "output_hidden_states",
    "output_router_logits",
    "pad_token_id",
    "pretraining_tp",
    "prefix",
    "repetition_penalty",
    "resid_pdrop",
    "return_dict",
    "return_dict_in_generate",
    "rms_norm_eps",
    "rope_local_base_freq",
    "rope_parameters",
    "rope_scaling",
    "rope_theta",
    "router_aux_loss_coef",
    "sep_token_id",
    "sliding_window",
    "sliding_window_pattern",
    "suppress_tokens",
    "task_specific_params",
    "temperature",
    "tf_legacy_loss",
    "tie_encoder_decoder",
    "tie_word_embeddings",
    "tokenizer_class",
    "top_k",
    "top_p",
    "torchscript",
    "transformers.js_config",
    "typical_p",
    "unsloth_fixed",
    "use_bfloat16",
    "use_cache",
    "vocab_size",
};

/* Keys that change the computation: of the families that honour them, or to be there as long as
 * they say what a plain model does: null, nothing, or this number or truth. */
static const struct {
    const char *key;
    unsigned families; /* enum ant_family_keys */
    double neutral;
} special_keys[] = {
    {"attention_bias", ANT_KEYS_BIAS | ANT_KEYS_Q_BIAS, 0},
    {"attention_multiplier", ANT_KEYS_GRANITE, -1},
    {"attn_logit_softcapping", ANT_KEYS_GEMMA, 0},
    {"decoder_sparse_step", ANT_KEYS_EXPERTS, 1},
    {"do_sample", ~0u, 0},
    {"early_stopping", ~0u, 0},
    {"embedding_multiplier", ANT_KEYS_GRANITE, 1},
    {"final_logit_softcapping", ANT_KEYS_GEMMA, 0},
    {"first_k_dense_replace", ANT_KEYS_GROUPS, 0},
    {"full_attn_mod", 0, 1},
    {"is_causal", 0, 1},
    {"lm_head_bias", ANT_KEYS_HEAD_BIAS, 0},
    {"logit_scale", 0, 1},
    {"logits_scaling", ANT_KEYS_GRANITE, 1},
    {"mlp_only_layers", ANT_KEYS_EXPERTS, 0},
    {"moe_intermediate_size", ANT_KEYS_EXPERTS, 0},
    {"n_group", ANT_KEYS_GROUPS, 1},
    {"n_routed_experts", ANT_KEYS_GROUPS, 0},
    {"n_shared_experts", ANT_KEYS_GROUPS, 0},
    {"no_rope_layer_interval", ANT_KEYS_NO_ROPE, 0},
    {"no_rope_layers", ANT_KEYS_NO_ROPE, 0},
    {"norm_topk_prob", ANT_KEYS_EXPERTS, 0},
    {"num_experts", ANT_KEYS_EXPERTS, 0},
    {"num_experts_per_tok", ANT_KEYS_EXPERTS, 0},
    {"num_local_experts", ANT_KEYS_EXPERTS, 0},
    {"num_mtp_layers", ANT_KEYS_GROUPS, 0},
    {"num_nextn_predict_layers", ANT_KEYS_GROUPS, 0},
    {"partial_rotary_factor", ANT_KEYS_PARTIAL, 1},
    {"position_embedding_type", 0, -1},
    {"qkv_bias", ANT_KEYS_QKV_BIAS, 0},
    {"quantization_config", 0, 0},
    {"query_pre_attn_scalar", ANT_KEYS_GEMMA, -1},
    {"residual_multiplier", ANT_KEYS_GRANITE, 1},
    {"rope_interleaved", 0, 0},
    {"routed_scaling_factor", ANT_KEYS_GROUPS, 1},
    {"router_jitter_noise", ANT_KEYS_EXPERTS, 0},
    {"scale_emb", 0, 1},
    {"shared_expert_intermediate_size", ANT_KEYS_SHARED, 0},
    {"topk_group", ANT_KEYS_GROUPS, 1},
    {"use_qk_norm", ANT_KEYS_QK_NORM, 0},
    {"use_sliding_window", ANT_KEYS_SWITCH, 0},
};

static bool is_neutral(const json_t *value, double neutral)
{
    if (json_is_boolean(value))
        return json_is_true(value) == (neutral == 1);
    if (json_is_number(value))
        return json_number_value(value) == neutral;
    return json_is_null(value) || (json_is_object(value) && json_object_size(value) == 0) ||
           (json_is_array(value) && json_array_size(value) == 0);
}

/* Whether the computation still is the one we know with this member there. A key that nobody here
 * has heard of may be a note in words, or be off. */
static bool is_known(const struct ant_family *family, const char *key, const json_t *value)
{
    for (size_t i = 0; i < sizeof plain_keys / sizeof plain_keys[0]; i++)
        if (strcmp(key, plain_keys[i]) == 0)
            return true;
    for (size_t i = 0; i < sizeof special_keys / sizeof special_keys[0]; i++)
        if (strcmp(key, special_keys[i].key) == 0)
            return (special_keys[i].families & family->keys) != 0 ||
                   special_keys[i].families == ~0u || is_neutral(value, special_keys[i].neutral);
    return json_is_string(value) || is_neutral(value, 0);
}

static int check_keys(struct ant_json config, const struct ant_family *family,
                      struct ant_error *err)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)config.object, key, value)
    {
        if (!is_known(family, key, value))
            return ant_fail(err, ANT_EUNSUPP,
                            "%s: '%s' may change what a %s model computes and is not supported",
                            config.where, ant_name_shown(key), family->name);
    }
    return 0;
}

static int read_family(struct ant_json config, const struct ant_family **out, struct ant_error *err)
{
    const json_t *list = json_object_get(config.object, "architectures");
    const char *class = json_string_value(json_array_get(list, 0));
    char known[512];
    if (!class)
        return ant_fail(err, ANT_EDATA, "%s names no class in 'architectures'", config.where);
    *out = ant_family_of_class(class, known, sizeof known);
    if (!*out)
        return ant_fail(err, ANT_EUNSUPP, "%s: architecture '%s' is not supported (known: %s)",
                        config.where, ant_name_shown(class), known);
    return 0;
}

static int get_size(struct ant_json config, const char *key, int *out, struct ant_error *err)
{
    int64_t value;
    int found = ant_json_get_int(config, key, 1, INT_MAX, &value, err);
    if (found > 0)
        *out = (int)value;
    return found;
}

static int need_size(struct ant_json config, const char *key, int *out, struct ant_error *err)
{
    int found = get_size(config, key, out, err);
    if (found == 0)
        return ant_fail(err, ANT_EDATA, "%s has no '%s'", config.where, key);
    return found;
}

static int read_sizes(struct ant_json config, const struct ant_family *family,
                      struct ant_arch *arch, struct ant_error *err)
{
    ANT_TRY(need_size(config, "num_hidden_layers", &arch->n_layers, err));
    if (arch->n_layers > ANT_MAX_LAYERS)
        return ant_fail(err, ANT_EDATA, "%s: layers of %d, not 1 to %d", config.where,
                        arch->n_layers, ANT_MAX_LAYERS);
    ANT_TRY(need_size(config, "hidden_size", &arch->hidden, err));
    ANT_TRY(need_size(config, "intermediate_size", &arch->ff, err));
    ANT_TRY(need_size(config, "num_attention_heads", &arch->n_heads, err));
    ANT_TRY(need_size(config, "vocab_size", &arch->vocab, err));
    ANT_TRY(need_size(config, "max_position_embeddings", &arch->context, err));

    arch->n_kv_heads = arch->n_heads; /* what null means; a missing key has the class's default */
    if (family->default_kv_heads && !json_object_get(config.object, "num_key_value_heads"))
        arch->n_kv_heads = family->default_kv_heads;
    ANT_TRY(get_size(config, "num_key_value_heads", &arch->n_kv_heads, err));

    bool has_default = family->default_head_dim && !json_object_get(config.object, "head_dim");
    arch->head_dim = has_default ? family->default_head_dim : arch->hidden / arch->n_heads;
    int found = get_size(config, "head_dim", &arch->head_dim, err);
    ANT_TRY(found);
    if (found == 0 && !has_default && arch->hidden % arch->n_heads != 0)
        return ant_fail(err, ANT_EDATA, "%s: %d heads do not divide %d dimensions", config.where,
                        arch->n_heads, arch->hidden);
    return ant_arch_check_sizes(arch, config.where, err);
}

/* The activation under its key; `known` lists the names that mean the family's. */
static int check_act(struct ant_json config, const char *key, const char *const known[2],
                     struct ant_error *err)
{
    const char *act = known[0];
    ANT_TRY(ant_json_get_string(config, key, &act, err));
    if (strcmp(act, known[0]) != 0 && strcmp(act, known[1]) != 0)
        return ant_fail(err, ANT_EUNSUPP, "%s: %s '%s' is not supported (known: %s)", config.where,
                        key, ant_name_shown(act), known[0]);
    return 0;
}

static int read_switches(struct ant_json config, const struct ant_family *family,
                         struct ant_arch *arch, struct ant_error *err)
{
    static const char *const silu[2] = {"silu", "swish"};
    static const char *const gelu[2] = {"gelu_pytorch_tanh", "gelu_pytorch_tanh"};
    double epsilon = 1e-6;
    bool bias = false, has_qk_norm = false;
    if (family->keys & ANT_KEYS_GEMMA) /* which computes by this key alone */
        ANT_TRY(check_act(config, "hidden_activation", gelu, err));
    else
        ANT_TRY(check_act(config, "hidden_act", silu, err));
    ANT_TRY(ant_json_get_float(config, "rms_norm_eps", &epsilon, err));
    arch->norm_eps = (float)epsilon;
    arch->tied = family->is_tied;
    ANT_TRY(ant_json_get_bool(config, "tie_word_embeddings", &arch->tied, err));
    if (family->keys & (ANT_KEYS_BIAS | ANT_KEYS_Q_BIAS)) {
        ANT_TRY(ant_json_get_bool(config, "attention_bias", &bias, err));
        arch->qkv_bias = bias;
        arch->o_bias = bias && family->keys & ANT_KEYS_BIAS;
    }
    if (family->keys & ANT_KEYS_QK_NORM) {
        ANT_TRY(ant_json_get_bool(config, "use_qk_norm", &has_qk_norm, err));
        arch->qk_norm = has_qk_norm ? ANT_QK_NORM_HEAD : ANT_QK_NORM_NONE;
    }
    if (family->keys & ANT_KEYS_QKV_BIAS)
        ANT_TRY(ant_json_get_bool(config, "qkv_bias", &arch->qkv_bias, err));
    if (family->keys & ANT_KEYS_HEAD_BIAS)
        ANT_TRY(ant_json_get_bool(config, "lm_head_bias", &arch->output_bias, err));
    if (arch->output_bias && arch->tied)
        return ant_fail(err, ANT_EUNSUPP,
                        "%s: 'lm_head_bias' with tied embeddings is not supported", config.where);
    return 0;
}

/* A softcap: null means none. */
static int read_cap(struct ant_json config, const char *key, float *out, struct ant_error *err)
{
    double cap = json_object_get(config.object, key) ? 0 : (double)*out;
    int found = ant_json_get_float(config, key, &cap, err);
    *out = (float)cap;
    return found;
}

static int read_scales(struct ant_json config, const struct ant_family *family,
                       struct ant_arch *arch, struct ant_error *err)
{
    if (family->keys & ANT_KEYS_GEMMA) {
        double query = 256;
        ANT_TRY(ant_json_get_float(config, "query_pre_attn_scalar", &query, err));
        arch->attn_scale = 1 / sqrt(query);
        arch->embed_scale = sqrt((double)arch->hidden);
        ANT_TRY(read_cap(config, "attn_logit_softcapping", &arch->attn_softcap, err));
        ANT_TRY(read_cap(config, "final_logit_softcapping", &arch->logit_softcap, err));
    }
    if (family->keys & ANT_KEYS_GRANITE) {
        double residual = 1, logits = 1;
        arch->attn_scale = 1;
        ANT_TRY(ant_json_get_float(config, "attention_multiplier", &arch->attn_scale, err));
        ANT_TRY(ant_json_get_float(config, "embedding_multiplier", &arch->embed_scale, err));
        ANT_TRY(ant_json_get_float(config, "residual_multiplier", &residual, err));
        ANT_TRY(ant_json_get_float(config, "logits_scaling", &logits, err));
        arch->logit_scale = 1 / logits;
        ant_arch_set_residual_scale(arch, residual);
    }
    return 0;
}

/* ---- Windows --------------------------------------------------------------------------------- */

/* The layers that 'layer_types' lists as windowed: 1, or 0 when there is no such list. */
static int read_layer_types(struct ant_json config, const struct ant_family *family,
                            struct ant_arch *arch, int window, struct ant_error *err)
{
    const json_t *types = json_object_get(config.object, "layer_types");
    size_t listed = json_array_size(types);
    if (listed == 0)
        return 0;
    if (listed != (size_t)arch->n_layers)
        return ant_fail(err, ANT_EDATA, "%s: 'layer_types' lists %zu of %d layers", config.where,
                        listed, arch->n_layers);
    for (size_t i = 0; i < listed; i++) {
        const char *type = json_string_value(json_array_get(types, i));
        if (type && strcmp(type, "sliding_attention") == 0)
            ant_family_set_window(family, arch, (int)i, window);
        else if (!type || strcmp(type, "full_attention") != 0)
            return ant_fail(err, ANT_EUNSUPP, "%s: 'layer_types' names an unknown type",
                            config.where);
    }
    return 1;
}

static int read_switched_windows(struct ant_json config, const struct ant_family *family,
                                 struct ant_arch *arch, int window, struct ant_error *err)
{
    bool is_on = false;
    int64_t first = 28; /* the default of the class */
    ANT_TRY(ant_json_get_bool(config, "use_sliding_window", &is_on, err));
    if (!is_on)
        return 0;
    int listed = read_layer_types(config, family, arch, window, err);
    if (listed != 0)
        return listed;
    ANT_TRY(ant_json_get_int(config, "max_window_layers", 0, INT_MAX, &first, err));
    for (int i = (int)first; i < arch->n_layers; i++)
        ant_family_set_window(family, arch, i, window);
    return 0;
}

static int read_window(struct ant_json config, const struct ant_family *family,
                       struct ant_arch *arch, struct ant_error *err)
{
    int window = 0, period = family->window_period;
    if (family->window_rule == ANT_WINDOW_IGNORED)
        return 0;
    if (!json_object_get(config.object, "sliding_window")) /* null would mean none */
        window = family->default_window;
    ANT_TRY(get_size(config, "sliding_window", &window, err));
    /* Without a window local layers still are rotated as such. */
    if (window == 0 && !family->has_local_rope)
        return 0;
    if (family->window_rule == ANT_WINDOW_BY_SWITCH)
        return read_switched_windows(config, family, arch, window, err);
    if (family->window_rule == ANT_WINDOW_BY_PERIOD) {
        int listed = read_layer_types(config, family, arch, window, err);
        if (listed != 0)
            return listed;
        ANT_TRY(get_size(config, "_sliding_window_pattern", &period, err));
        ANT_TRY(get_size(config, "sliding_window_pattern", &period, err));
    }
    ant_family_set_windows(family, arch, period, window);
    return 0;
}

/* ---- Layers without rotation ----------------------------------------------------------------- */

static int read_no_rope(struct ant_json config, const struct ant_family *family,
                        struct ant_arch *arch, struct ant_error *err)
{
    const json_t *list = json_object_get(config.object, "no_rope_layers");
    size_t listed = json_array_size(list);
    int interval = 4;
    if (!(family->keys & ANT_KEYS_NO_ROPE))
        return 0;
    ANT_TRY(get_size(config, "no_rope_layer_interval", &interval, err));
    if (listed > 0 && listed < (size_t)arch->n_layers)
        return ant_fail(err, ANT_EDATA, "%s: 'no_rope_layers' lists %zu of %d layers", config.where,
                        listed, arch->n_layers);
    for (int i = 0; i < arch->n_layers; i++) {
        /* The list says which layers do have it. */
        const json_t *has = json_array_get(list, (size_t)i);
        if (listed > 0 && !json_is_integer(has))
            return ant_fail(err, ANT_EDATA,
                            "%s: 'no_rope_layers' holds something else than 0 and 1", config.where);
        if (listed > 0 ? json_integer_value(has) == 0 : (i + 1) % interval == 0)
            arch->layers[i] |= ANT_LAYER_NO_ROPE;
    }
    return 0;
}

/* ---- Experts --------------------------------------------------------------------------------- */

/* Layers with experts: every `step`-th but those listed. */
static int read_moe_layers(struct ant_json config, struct ant_arch *arch, struct ant_error *err)
{
    const json_t *dense = json_object_get(config.object, "mlp_only_layers");
    int step = 1;
    ANT_TRY(get_size(config, "decoder_sparse_step", &step, err));
    for (int i = 0; i < arch->n_layers; i++)
        if ((i + 1) % step == 0)
            arch->layers[i] |= ANT_LAYER_MOE;
    for (size_t i = 0; i < json_array_size(dense); i++) {
        const json_t *layer = json_array_get(dense, i);
        if (!json_is_integer(layer) || json_integer_value(layer) < 0 ||
            json_integer_value(layer) >= arch->n_layers)
            return ant_fail(err, ANT_EDATA,
                            "%s: 'mlp_only_layers' lists something that is no layer", config.where);
        arch->layers[json_integer_value(layer)] &= (uint8_t)~ANT_LAYER_MOE;
    }
    return 0;
}

/* Keys of GLM and, but for their attention, of the models of DeepSeek. */
static int read_groups(struct ant_json config, struct ant_arch *arch, struct ant_error *err)
{
    struct ant_moe *moe = &arch->moe;
    int n_shared = 1;
    int64_t n_dense = 1;
    ANT_TRY(get_size(config, "n_routed_experts", &moe->n_experts, err));
    ANT_TRY(get_size(config, "n_shared_experts", &n_shared, err));
    ANT_TRY(get_size(config, "n_group", &moe->n_groups, err));
    ANT_TRY(get_size(config, "topk_group", &moe->n_groups_used, err));
    ANT_TRY(ant_json_get_float(config, "routed_scaling_factor", &moe->scale, err));
    ANT_TRY(ant_json_get_int(config, "first_k_dense_replace", 0, INT_MAX, &n_dense, err));
    if (n_shared > 1 << 10)
        return ant_fail(err, ANT_EDATA, "%s: %d shared experts", config.where, n_shared);
    moe->shared_ff = moe->ff > INT_MAX >> 10 ? INT_MAX : moe->ff * n_shared;
    if (moe->n_groups == 1) /* all experts in one is no group */
        moe->n_groups = moe->n_groups_used = 0;
    for (int i = 0; i < arch->n_layers; i++)
        if (i < n_dense)
            arch->layers[i] &= (uint8_t)~ANT_LAYER_MOE;
    return 0;
}

static int read_moe(struct ant_json config, const struct ant_family *family, struct ant_arch *arch,
                    struct ant_error *err)
{
    struct ant_moe *moe = &arch->moe;
    double jitter = (double)moe->jitter;
    if (!(family->keys & ANT_KEYS_EXPERTS))
        return 0;
    if (moe->ff == 0)
        moe->ff = arch->ff; /* families that have one size for all */
    else
        ANT_TRY(get_size(config, "moe_intermediate_size", &moe->ff, err));
    ANT_TRY(get_size(config, "num_local_experts", &moe->n_experts, err));
    ANT_TRY(get_size(config, "num_experts", &moe->n_experts, err));
    ANT_TRY(get_size(config, "num_experts_per_tok", &moe->n_used, err));
    if (family->keys & ANT_KEYS_SHARED)
        ANT_TRY(get_size(config, "shared_expert_intermediate_size", &moe->shared_ff, err));
    ANT_TRY(ant_json_get_bool(config, "norm_topk_prob", &moe->is_renormalized, err));
    ANT_TRY(ant_json_get_float(config, "router_jitter_noise", &jitter, err));
    moe->jitter = (float)jitter;
    ANT_TRY(read_moe_layers(config, arch, err));
    return family->keys & ANT_KEYS_GROUPS ? read_groups(config, arch, err) : 0;
}

int ant_arch_read_config(struct ant_arch *out, struct ant_json config, struct ant_error *err)
{
    const struct ant_family *family;
    ANT_TRY(read_family(config, &family, err));
    struct ant_arch arch = family->plain;
    arch.family = family->name;
    arch.embed_scale = 1;
    ANT_TRY(check_keys(config, family, err));
    ANT_TRY(read_sizes(config, family, &arch, err));
    ANT_TRY(read_switches(config, family, &arch, err));
    ANT_TRY(read_scales(config, family, &arch, err));
    ANT_TRY(read_window(config, family, &arch, err));
    ANT_TRY(read_no_rope(config, family, &arch, err));
    ANT_TRY(read_moe(config, family, &arch, err));
    ANT_TRY(ant_config_read_rope(config, family, &arch, err));
    ANT_TRY(ant_arch_check(&arch, config.where, err));
    arch.moe.n_held = arch.moe.n_experts;
    *out = arch;
    return 0;
}
