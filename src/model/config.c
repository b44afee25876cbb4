/* SPDX-License-Identifier: Apache-2.0 */
/* struct ant_arch from a Hugging Face config.json, old keys and new. */
#include "config.h"

#include "model/family.h"

#include "base/mem.h"
#include "model/names.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

/* Keys of other families or of finetuned variants that change the computation. They may be there as
 * long as they say what a plain model does: null, an empty object, or this number or truth. */
static const struct {
    const char *key;
    double neutral;
} refused_keys[] = {
    {"alibi", 0},
    {"attention_multiplier", -1},
    {"attn_logit_softcapping", 0},
    {"clip_qkv", 0},
    {"compression_config", 0},
    {"embedding_multiplier", 1},
    {"final_logit_softcapping", 0},
    {"is_causal", 1},
    {"logit_scale", 1},
    {"logits_scaling", 1},
    {"mlp_bias", 0},
    {"n_routed_experts", 0},
    {"no_rope_layers", 0},
    {"num_experts", 0},
    {"num_local_experts", 0},
    {"parallel_attn", 0},
    {"partial_rotary_factor", 1},
    {"qk_layernorm", 0},
    {"qk_norm", 0},
    {"quantization_config", 0},
    {"query_pre_attn_scalar", -1},
    {"residual_multiplier", 1},
    {"rope_interleaved", 0},
    {"scale_emb", 1},
    {"use_bidirectional_attention", 0},
    {"use_mrope", 0},
    {"use_parallel_residual", 0},
    {"use_qk_norm", 0},
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

static int check_keys(struct ant_json config, struct ant_error *err)
{
    for (size_t i = 0; i < sizeof refused_keys / sizeof refused_keys[0]; i++) {
        const json_t *value = json_object_get(config.object, refused_keys[i].key);
        if (value && !is_neutral(value, refused_keys[i].neutral))
            return ant_fail(err, ANT_EUNSUPP,
                            "%s: '%s' changes what the model computes and is not supported",
                            config.where, refused_keys[i].key);
    }
    return 0;
}

/* A name from the file, when it can be shown. */
static const char *shown(const char *name)
{
    size_t bytes = strlen(name);
    return bytes <= 64 && ant_name_is_plain(name, bytes) ? name : "(not printable)";
}

static int read_family(struct ant_json config, const struct ant_family **out, struct ant_error *err)
{
    const json_t *list = json_object_get(config.object, "architectures");
    const char *class = json_string_value(json_array_get(list, 0));
    char known[256];
    if (!class)
        return ant_fail(err, ANT_EDATA, "%s names no class in 'architectures'", config.where);
    *out = ant_family_of_class(class, known, sizeof known);
    if (!*out)
        return ant_fail(err, ANT_EUNSUPP, "%s: architecture '%s' is not supported (known: %s)",
                        config.where, shown(class), known);
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
    ANT_TRY(need_size(config, "hidden_size", &arch->hidden, err));
    ANT_TRY(need_size(config, "intermediate_size", &arch->ff, err));
    ANT_TRY(need_size(config, "num_attention_heads", &arch->n_heads, err));
    ANT_TRY(need_size(config, "vocab_size", &arch->vocab, err));
    ANT_TRY(need_size(config, "max_position_embeddings", &arch->context, err));

    arch->n_kv_heads = arch->n_heads; /* what null means; a missing key has the class's default */
    if (family->default_kv_heads && !json_object_get(config.object, "num_key_value_heads"))
        arch->n_kv_heads = family->default_kv_heads;
    ANT_TRY(get_size(config, "num_key_value_heads", &arch->n_kv_heads, err));

    arch->head_dim = arch->hidden / arch->n_heads;
    int found = get_size(config, "head_dim", &arch->head_dim, err);
    ANT_TRY(found);
    if (found == 0 && arch->hidden % arch->n_heads != 0)
        return ant_fail(err, ANT_EDATA, "%s: %d heads do not divide %d dimensions", config.where,
                        arch->n_heads, arch->hidden);
    return 0;
}

static int read_switches(struct ant_json config, const struct ant_family *family,
                         struct ant_arch *arch, struct ant_error *err)
{
    const char *act = "silu";
    double epsilon = 1e-6;
    bool bias = false;
    ANT_TRY(ant_json_get_string(config, "hidden_act", &act, err));
    if (strcmp(act, "silu") != 0)
        return ant_fail(err, ANT_EUNSUPP, "%s: hidden_act '%s' is not supported (known: silu)",
                        config.where, shown(act));
    ANT_TRY(ant_json_get_float(config, "rms_norm_eps", &epsilon, err));
    arch->norm_eps = (float)epsilon;
    ANT_TRY(ant_json_get_bool(config, "tie_word_embeddings", &arch->tied, err));
    ANT_TRY(ant_json_get_bool(config, "attention_bias", &bias, err));
    arch->qkv_bias = family->has_qkv_bias || (family->honours_attention_bias && bias);
    arch->o_bias = family->honours_attention_bias && bias;
    return 0;
}

/* Layers that use the window: all (1), none (0), or an error for a mixture. */
static int windowed_layers(struct ant_json config, const struct ant_arch *arch,
                           struct ant_error *err)
{
    const json_t *types = json_object_get(config.object, "layer_types");
    size_t n = 0, listed = json_array_size(types);
    int64_t first = 28; /* the default of the class */
    if (listed > 0) {
        for (size_t i = 0; i < listed; i++) {
            const char *type = json_string_value(json_array_get(types, i));
            if (type && strcmp(type, "sliding_attention") == 0)
                n++;
            else if (!type || strcmp(type, "full_attention") != 0)
                return ant_fail(err, ANT_EUNSUPP, "%s: 'layer_types' names an unknown type",
                                config.where);
        }
    } else {
        ANT_TRY(ant_json_get_int(config, "max_window_layers", 0, INT_MAX, &first, err));
        listed = (size_t)arch->n_layers;
        n = first < arch->n_layers ? listed - (size_t)first : 0;
    }
    if (n != 0 && n != listed)
        return ant_fail(err, ANT_EUNSUPP,
                        "%s: a sliding window in %zu of %zu layers is not supported", config.where,
                        n, listed);
    return n != 0;
}

static int read_window(struct ant_json config, const struct ant_family *family,
                       struct ant_arch *arch, struct ant_error *err)
{
    int window = 0;
    bool is_on = false;
    if (family->window_rule == ANT_WINDOW_IGNORED)
        return 0;
    if (!json_object_get(config.object, "sliding_window")) /* null would mean none */
        window = family->default_window;
    ANT_TRY(get_size(config, "sliding_window", &window, err));
    if (family->window_rule == ANT_WINDOW_BY_SWITCH) {
        ANT_TRY(ant_json_get_bool(config, "use_sliding_window", &is_on, err));
        if (!is_on || window == 0)
            return 0;
        int layers = windowed_layers(config, arch, err);
        ANT_TRY(layers);
        if (layers == 0)
            return 0;
    }
    arch->window = window;
    return 0;
}

static int check_rope_keys(struct ant_json rope, struct ant_error *err)
{
    static const char *const known[] = {
        "factor",
        "finetuned",
        "high_freq_factor",
        "low_freq_factor",
        "original_max_position_embeddings",
        "partial_rotary_factor",
        "rope_theta",
        "rope_type",
        "type",
    };
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)rope.object, key, value)
    {
        size_t i = 0, n = sizeof known / sizeof known[0];
        while (i < n && strcmp(key, known[i]) != 0)
            i++;
        if (i == n && !json_is_null(value))
            return ant_fail(err, ANT_EUNSUPP, "%s: '%s' is not supported", rope.where, shown(key));
    }
    const json_t *partial = json_object_get(rope.object, "partial_rotary_factor");
    if (partial && !is_neutral(partial, 1))
        return ant_fail(err, ANT_EUNSUPP,
                        "%s: 'partial_rotary_factor' other than 1 is not supported", rope.where);
    return 0;
}

static int need_float(struct ant_json rope, const char *key, double *out, struct ant_error *err)
{
    int found = ant_json_get_float(rope, key, out, err);
    if (found == 0)
        return ant_fail(err, ANT_EDATA, "%s has no '%s'", rope.where, key);
    return found;
}

/* What is in the object that scales (rope_scaling, or rope_parameters as newer files name it). */
static int read_scaling(struct ant_json config, struct ant_json scaling, struct ant_arch *arch,
                        struct ant_error *err)
{
    struct ant_rope *rope = &arch->rope;
    const char *type = "default";
    ANT_TRY(check_rope_keys(scaling, err));
    ANT_TRY(ant_json_get_string(scaling, "type", &type, err)); /* the old name */
    ANT_TRY(ant_json_get_string(scaling, "rope_type", &type, err));
    ANT_TRY(ant_json_get_float(scaling, "rope_theta", &rope->theta, err));
    if (strcmp(type, "default") == 0)
        return 0;
    if (strcmp(type, "linear") == 0) {
        rope->kind = ANT_ROPE_LINEAR;
        return need_float(scaling, "factor", &rope->factor, err);
    }
    if (strcmp(type, "llama3") != 0)
        return ant_fail(err, ANT_EUNSUPP,
                        "%s: type '%s' is not supported (known: default, linear, llama3)",
                        scaling.where, shown(type));
    rope->kind = ANT_ROPE_LLAMA3;
    rope->original_context = arch->context;
    ANT_TRY(need_float(scaling, "factor", &rope->factor, err));
    ANT_TRY(need_float(scaling, "low_freq_factor", &rope->low_freq_factor, err));
    ANT_TRY(need_float(scaling, "high_freq_factor", &rope->high_freq_factor, err));
    ANT_TRY(get_size(scaling, "original_max_position_embeddings", &rope->original_context, err));
    return get_size(config, "original_max_position_embeddings", &rope->original_context, err);
}

static int read_rope(struct ant_json config, struct ant_arch *arch, struct ant_error *err)
{
    static const char *const names[] = {"rope_scaling", "rope_parameters"};
    arch->rope.dim = arch->head_dim;
    arch->rope.theta = 10000;
    ANT_TRY(ant_json_get_float(config, "rope_theta", &arch->rope.theta, err));
    for (int i = 0; i < 2; i++) {
        const json_t *object = json_object_get(config.object, names[i]);
        if (!object || is_neutral(object, 0))
            continue;
        if (!json_is_object(object))
            return ant_fail(err, ANT_EDATA, "%s: '%s' is not an object", config.where, names[i]);
        char *where = ant_xasprintf("%s: %s", config.where, names[i]);
        int result = read_scaling(config, (struct ant_json){object, where}, arch, err);
        free(where);
        return result; /* the first that says anything counts, as in transformers */
    }
    return 0;
}

int ant_arch_read_config(struct ant_arch *out, struct ant_json config, struct ant_error *err)
{
    struct ant_arch arch = {.norm = ANT_NORM_RMS, .act = ANT_ACT_SILU, .embed_scale = 1};
    const struct ant_family *family;
    ANT_TRY(read_family(config, &family, err));
    arch.family = family->name;
    ANT_TRY(check_keys(config, err));
    ANT_TRY(read_sizes(config, family, &arch, err));
    ANT_TRY(read_switches(config, family, &arch, err));
    ANT_TRY(read_window(config, family, &arch, err));
    ANT_TRY(read_rope(config, &arch, err));
    ANT_TRY(ant_arch_check(&arch, config.where, err));
    *out = arch;
    return 0;
}
