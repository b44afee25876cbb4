/* SPDX-License-Identifier: Apache-2.0 */
/* struct ant_arch from the metadata of a GGUF file. */
#include "config.h"

#include "model/family.h"

#include "model/names.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* The keys below "<architecture>." that are read here or change nothing, of every family or of
 * those that honour them; elsewhere they must say what a plain model does. */
static const struct {
    const char *key;
    unsigned families; /* enum ant_family_keys; 0: all */
    double neutral;
} known_keys[] = {
    {"attention.causal", ~0u, 1},
    {"attention.clamp_kqv", ~0u, 0},
    {"attention.head_count", 0, 0},
    {"attention.head_count_kv", 0, 0},
    {"attention.key_length", 0, 0},
    {"attention.layer_norm_rms_epsilon", 0, 0},
    {"attention.scale", ANT_KEYS_GRANITE, -1},
    {"attention.sliding_window", 0, 0},
    {"attention.sliding_window_pattern", 0, 0},
    {"attention.value_length", 0, 0},
    {"attn_logit_softcapping", ANT_KEYS_GEMMA, 0},
    {"block_count", 0, 0},
    {"context_length", 0, 0},
    {"embedding_length", 0, 0},
    {"embedding_scale", ANT_KEYS_GRANITE, 1},
    {"expert_count", ANT_KEYS_EXPERTS, 0},
    {"expert_feed_forward_length", ANT_KEYS_EXPERTS, 0},
    {"expert_gating_func", ~0u, 1}, /* a softmax */
    {"expert_shared_count", ~0u, 0},
    {"expert_shared_feed_forward_length", ANT_KEYS_SHARED, 0},
    {"expert_used_count", ANT_KEYS_EXPERTS, 0},
    {"expert_weights_norm", ANT_KEYS_EXPERTS, 0},
    {"expert_weights_scale", ~0u, 1},
    {"feed_forward_length", 0, 0},
    {"final_logit_softcapping", ANT_KEYS_GEMMA, 0},
    {"logit_scale", ANT_KEYS_GRANITE, 1},
    {"residual_scale", ANT_KEYS_GRANITE, 1},
    {"rope.dimension_count", 0, 0},
    {"rope.dimension_count_swa", 0, 0},
    {"rope.freq_base", 0, 0},
    {"rope.freq_base_swa", 0, 0},
    {"rope.scale_linear", 0, 0},
    {"rope.scaling.attn_factor", 0, 0},
    {"rope.scaling.factor", 0, 0},
    {"rope.scaling.finetuned", 0, 0},
    {"rope.scaling.original_context_length", 0, 0},
    {"rope.scaling.type", 0, 0},
    {"rope.scaling.yarn_attn_factor", 0, 0},
    {"rope.scaling.yarn_beta_fast", 0, 0},
    {"rope.scaling.yarn_beta_slow", 0, 0},
    {"rope.scaling.yarn_ext_factor", ~0u, 1},
    {"use_parallel_residual", ~0u, 0},
    {"vocab_size", 0, 0},
};

/* A file being read: `key` holds the full name of the key looked at last. */
struct source {
    const struct ant_gguf *gguf;
    const struct ant_family *family;
    const char *name; /* of the architecture in the file */
    char key[128];
    struct ant_error *err;
};

static const char *key_of(struct source *source, const char *suffix)
{
    snprintf(source->key, sizeof source->key, "%s.%s", source->name, suffix);
    return source->key;
}

static int get_int(struct source *source, const char *suffix, int min, int *out)
{
    int64_t value;
    int found =
        ant_gguf_get_int(source->gguf, key_of(source, suffix), min, INT_MAX, &value, source->err);
    if (found > 0)
        *out = (int)value;
    return found;
}

static int get_float(struct source *source, const char *suffix, double *out)
{
    return ant_gguf_get_float(source->gguf, key_of(source, suffix), out, source->err);
}

/* Turns "absent" into an error. */
static int required(struct source *source, int found)
{
    if (found == 0)
        return ant_fail(source->err, ANT_EDATA, "'%s' has no key '%s'", ant_gguf_path(source->gguf),
                        source->key);
    return found;
}

static bool is_neutral(const struct source *source, const char *key, double neutral)
{
    double number;
    bool truth;
    if (ant_gguf_get_float(source->gguf, key, &number, NULL) > 0)
        return number == neutral;
    if (ant_gguf_get_bool(source->gguf, key, &truth, NULL) > 0)
        return truth == (neutral != 0);
    return false;
}

/* Whether the computation still is the one we know with key "<architecture>.<suffix>" there. */
static bool is_known(const struct source *source, const char *key, const char *suffix)
{
    for (size_t i = 0; i < sizeof known_keys / sizeof known_keys[0]; i++) {
        unsigned families = known_keys[i].families;
        if (strcmp(suffix, known_keys[i].key) != 0)
            continue;
        return families == 0 || (families != ~0u && (families & source->family->keys) != 0) ||
               is_neutral(source, key, known_keys[i].neutral);
    }
    return false;
}

static int check_keys(struct source *source)
{
    const char *path = ant_gguf_path(source->gguf), *key;
    size_t prefix = strlen(source->name);
    int64_t format = 2;
    for (size_t i = 0; (key = ant_gguf_key(source->gguf, i)); i++)
        if (strncmp(key, source->name, prefix) == 0 && key[prefix] == '.' &&
            !is_known(source, key, key + prefix + 1))
            return ant_fail(source->err, ANT_EUNSUPP,
                            "'%s': key '%.200s' may change what the model computes and is not "
                            "supported",
                            path, key);
    ANT_TRY(ant_gguf_get_int(source->gguf, "general.quantization_version", INT64_MIN, INT64_MAX,
                             &format, source->err));
    if (format != 2)
        return ant_fail(source->err, ANT_EUNSUPP,
                        "'%s': quantization version %lld; version 2 is supported", path,
                        (long long)format);
    return 0;
}

static int read_sizes(struct source *source, struct ant_arch *arch)
{
    int value_length;
    ANT_TRY(required(source, get_int(source, "block_count", 1, &arch->n_layers)));
    if (arch->n_layers > ANT_MAX_LAYERS)
        return ant_fail(source->err, ANT_EDATA, "'%s': layers of %d, not 1 to %d",
                        ant_gguf_path(source->gguf), arch->n_layers, ANT_MAX_LAYERS);
    ANT_TRY(required(source, get_int(source, "embedding_length", 1, &arch->hidden)));
    ANT_TRY(required(source, get_int(source, "feed_forward_length", 1, &arch->ff)));
    ANT_TRY(required(source, get_int(source, "context_length", 1, &arch->context)));
    ANT_TRY(required(source, get_int(source, "attention.head_count", 1, &arch->n_heads)));
    arch->n_kv_heads = arch->n_heads;
    ANT_TRY(get_int(source, "attention.head_count_kv", 1, &arch->n_kv_heads));
    arch->head_dim = arch->hidden / arch->n_heads;
    int found = get_int(source, "attention.key_length", 1, &arch->head_dim);
    ANT_TRY(found);
    if (found == 0 && arch->hidden % arch->n_heads != 0)
        return ant_fail(source->err, ANT_EDATA, "'%s': %d heads do not divide %d dimensions",
                        ant_gguf_path(source->gguf), arch->n_heads, arch->hidden);
    value_length = arch->head_dim;
    ANT_TRY(get_int(source, "attention.value_length", 1, &value_length));
    if (value_length != arch->head_dim)
        return ant_fail(source->err, ANT_EUNSUPP,
                        "'%s': values of %d dimensions under keys of %d are not supported",
                        ant_gguf_path(source->gguf), value_length, arch->head_dim);
    return 0;
}

/* Divisors of frequencies come as a tensor, or as two: 1 when it is there. */
static int read_factors(struct source *source, const char *name, int n, float *out)
{
    const char *path = ant_gguf_path(source->gguf);
    const struct ant_tensor *tensor = ant_gguf_find(source->gguf, name);
    if (!tensor)
        return 0;
    if (tensor->type != ANT_F32 || tensor->n_dims != 1 || tensor->shape[0] != n)
        return ant_fail(source->err, ANT_EDATA,
                        "'%s': tensor '%s' is %s of %lld elements, expected F32 of %d", path, name,
                        ant_types[tensor->type].name, (long long)tensor->shape[0], n);
    memcpy(out, tensor->data, (size_t)n * sizeof *out);
    for (int i = 0; i < n; i++)
        if (!(out[i] > 0) || !isfinite(out[i]))
            return ant_fail(source->err, ANT_EDATA, "'%s': tensor '%s' holds a factor of %g", path,
                            name, (double)out[i]);
    return 1;
}

/* One set for every context (Llama 3), or a short and a long one (Phi-3). */
static int read_all_factors(struct source *source, struct ant_rope *rope)
{
    const char *path = ant_gguf_path(source->gguf);
    int n = rope->dim / 2;
    int found = read_factors(source, "rope_freqs.weight", n, rope->factors[0]);
    ANT_TRY(found);
    memcpy(rope->factors[1], rope->factors[0], sizeof rope->factors[1]);
    rope->has_factors = found;
    int n_short = read_factors(source, "rope_factors_short.weight", n, rope->factors[0]);
    ANT_TRY(n_short);
    int n_long = read_factors(source, "rope_factors_long.weight", n, rope->factors[1]);
    ANT_TRY(n_long);
    if (n_short != n_long || (n_short && rope->has_factors))
        return ant_fail(
            source->err, ANT_EDATA,
            "'%s' holds another set of rope factors than one, or a short and a long one", path);
    rope->has_factors |= n_short;
    return 0;
}

static int read_scaling(struct source *source, struct ant_rope *rope)
{
    const char *type = "none", *path = ant_gguf_path(source->gguf);
    size_t bytes = 4;
    ANT_TRY(ant_gguf_get_string(source->gguf, key_of(source, "rope.scaling.type"), &type, &bytes,
                                source->err));
    if (bytes == 4 && memcmp(type, "none", 4) == 0)
        return 0;
    if (bytes == 6 && memcmp(type, "linear", 6) == 0) {
        rope->kind = ANT_ROPE_LINEAR;
        ANT_TRY(required(source, get_float(source, "rope.scaling.factor", &rope->factor)));
        return 0;
    }
    if (bytes == 8 && memcmp(type, "longrope", 8) == 0) /* the factors say it all */
        return 0;
    if (bytes != 4 || memcmp(type, "yarn", 4) != 0)
        return ant_fail(source->err, ANT_EUNSUPP,
                        "'%s': key '%s' asks for an unknown scaling; none, linear, yarn and "
                        "longrope are supported",
                        path, source->key);
    rope->kind = ANT_ROPE_YARN;
    rope->beta_fast = 32;
    rope->beta_slow = 1;
    ANT_TRY(required(source, get_float(source, "rope.scaling.factor", &rope->factor)));
    ANT_TRY(get_float(source, "rope.scaling.yarn_beta_fast", &rope->beta_fast));
    ANT_TRY(get_float(source, "rope.scaling.yarn_beta_slow", &rope->beta_slow));
    rope->magnitude[0] = rope->factor > 1 ? 0.1 * log(rope->factor) + 1 : 1;
    return get_float(source, "rope.scaling.yarn_attn_factor", &rope->magnitude[0]);
}

static int read_rope(struct source *source, struct ant_arch *arch)
{
    struct ant_rope *rope = &arch->rope;
    double scale = 1, attention = 1;
    rope->interleaved = source->family->gguf_interleaved;
    rope->dim = arch->head_dim;
    ANT_TRY(get_int(source, "rope.dimension_count", 1, &rope->dim));
    rope->theta = 10000;
    ANT_TRY(get_float(source, "rope.freq_base", &rope->theta));
    if (arch->window > 0 && source->family->has_local_rope) {
        bool is_one_theta = source->family->default_local_theta == source->family->default_theta;
        arch->local_rope = *rope; /* which no scaling concerns */
        if (!is_one_theta)
            arch->local_rope.theta = source->family->default_local_theta;
        ANT_TRY(get_float(source, "rope.freq_base_swa", &arch->local_rope.theta));
        ANT_TRY(get_int(source, "rope.dimension_count_swa", 1, &arch->local_rope.dim));
    }
    ANT_TRY(get_float(source, "rope.scale_linear", &scale)); /* the name before scaling.type */
    if (scale != 1) {
        rope->kind = ANT_ROPE_LINEAR;
        rope->factor = scale;
    }
    rope->original_context = arch->context;
    ANT_TRY(get_int(source, "rope.scaling.original_context_length", 1, &rope->original_context));
    ANT_TRY(read_scaling(source, rope));
    ANT_TRY(get_float(source, "rope.scaling.attn_factor", &attention));
    rope->magnitude[0] = (rope->magnitude[0] > 0 ? rope->magnitude[0] : 1) * attention;
    rope->magnitude[1] = rope->magnitude[0];
    return 0;
}

/* What only the tensors tell: sizes of the vocabulary, tied embeddings, biases. */
static int read_presence(struct source *source, struct ant_arch *arch)
{
    const struct ant_gguf *gguf = source->gguf;
    const struct ant_tensor *embedding = ant_gguf_find(gguf, "token_embd.weight");
    if (!embedding)
        return ant_fail(source->err, ANT_EDATA, "'%s' has no tensor 'token_embd.weight'",
                        ant_gguf_path(gguf));
    if (embedding->n_dims != 2 || embedding->shape[0] > INT_MAX)
        return ant_fail(source->err, ANT_EDATA,
                        "'%s': tensor 'token_embd.weight' is no matrix of a "
                        "possible size",
                        ant_gguf_path(gguf));
    arch->vocab = (int)embedding->shape[0];
    arch->tied = !ant_gguf_find(gguf, "output.weight");
    arch->qkv_bias |= ant_gguf_find(gguf, "blk.0.attn_q.bias") != NULL;
    arch->o_bias = ant_gguf_find(gguf, "blk.0.attn_output.bias") != NULL;
    arch->output_bias = ant_gguf_find(gguf, "output.bias") != NULL;
    return 0;
}

/* A flag for every layer, or a period; absent: the family's own. */
static int read_pattern(struct source *source, struct ant_arch *arch, int window)
{
    struct ant_gguf_array array;
    int period = source->family->window_period;
    int64_t flag;
    const char *key = key_of(source, "attention.sliding_window_pattern");
    if (ant_gguf_get_array(source->gguf, key, ANT_GGUF_BOOLS, &array, NULL) <= 0) {
        ANT_TRY(get_int(source, "attention.sliding_window_pattern", 1, &period));
        ant_family_set_windows(source->family, arch, period, window);
        return 0;
    }
    if (array.count != (size_t)arch->n_layers)
        return ant_fail(source->err, ANT_EDATA, "'%s': key '%s' lists %zu of %d layers",
                        ant_gguf_path(source->gguf), source->key, array.count, arch->n_layers);
    for (int i = 0; ant_gguf_next_int(&array, &flag); i++)
        if (flag)
            ant_family_set_window(source->family, arch, i, window);
    return 0;
}

static int read_window(struct source *source, struct ant_arch *arch)
{
    int window =
        source->family->window_rule == ANT_WINDOW_BY_PERIOD ? source->family->default_window : 0;
    ANT_TRY(get_int(source, "attention.sliding_window", 0, &window));
    if (source->family->window_rule == ANT_WINDOW_BY_SWITCH && window > 0)
        return ant_fail(source->err, ANT_EUNSUPP,
                        "'%s': key '%s' is %d, but does not say for which layers",
                        ant_gguf_path(source->gguf), source->key, window);
    return window > 0 ? read_pattern(source, arch, window) : 0;
}

static int read_moe(struct source *source, struct ant_arch *arch)
{
    struct ant_moe *moe = &arch->moe;
    if (!(source->family->keys & ANT_KEYS_EXPERTS))
        return 0;
    ANT_TRY(required(source, get_int(source, "expert_count", 1, &moe->n_experts)));
    ANT_TRY(required(source, get_int(source, "expert_used_count", 1, &moe->n_used)));
    moe->ff = arch->ff; /* where there is one size for all */
    ANT_TRY(get_int(source, "expert_feed_forward_length", 1, &moe->ff));
    if (moe->shared_ff > 0)
        ANT_TRY(get_int(source, "expert_shared_feed_forward_length", 1, &moe->shared_ff));
    moe->is_renormalized |= source->family->gguf_renormalizes;
    ANT_TRY(ant_gguf_get_bool(source->gguf, key_of(source, "expert_weights_norm"),
                              &moe->is_renormalized, source->err));
    for (int i = 0; i < arch->n_layers; i++)
        arch->layers[i] |= ANT_LAYER_MOE;
    return 0;
}

static int read_scales(struct source *source, struct ant_arch *arch)
{
    double attn_cap = (double)arch->attn_softcap, logit_cap = (double)arch->logit_softcap;
    double residual = 1, logits = 1;
    if (source->family->keys & ANT_KEYS_GEMMA) {
        bool is_wide = arch->n_layers == source->family->gguf_wide_query_layers;
        arch->attn_scale = 1 / sqrt(is_wide ? arch->hidden / arch->n_heads : arch->head_dim);
        arch->embed_scale = sqrt((double)arch->hidden);
        ANT_TRY(get_float(source, "attn_logit_softcapping", &attn_cap));
        ANT_TRY(get_float(source, "final_logit_softcapping", &logit_cap));
        arch->attn_softcap = (float)attn_cap;
        arch->logit_softcap = (float)logit_cap;
    }
    if (source->family->keys & ANT_KEYS_GRANITE) {
        ANT_TRY(get_float(source, "attention.scale", &arch->attn_scale));
        ANT_TRY(get_float(source, "embedding_scale", &arch->embed_scale));
        ANT_TRY(get_float(source, "residual_scale", &residual));
        ANT_TRY(get_float(source, "logit_scale", &logits));
        arch->logit_scale = 1 / logits;
        ant_arch_set_residual_scale(arch, residual);
    }
    return 0;
}

/* GGUF files call some families by the name of another, from which a key tells them. */
static int split_family(struct source *source)
{
    static const struct {
        const char *gguf, *key, *class;
    } splits[] = {
        {"llama", "expert_count", "MixtralForCausalLM"},
        {"olmo2", "attention.sliding_window", "Olmo3ForCausalLM"},
    };
    for (size_t i = 0; i < sizeof splits / sizeof splits[0]; i++) {
        int value = 0;
        if (strcmp(source->name, splits[i].gguf) != 0)
            continue;
        ANT_TRY(get_int(source, splits[i].key, 0, &value));
        if (value > 0)
            source->family = ant_family_of_class(splits[i].class, NULL, 0);
    }
    return 0;
}

static int read_family(struct source *source)
{
    const char *name, *path = ant_gguf_path(source->gguf);
    char known[512];
    size_t bytes;
    int found =
        ant_gguf_get_string(source->gguf, "general.architecture", &name, &bytes, source->err);
    ANT_TRY(found);
    if (found == 0)
        return ant_fail(source->err, ANT_EDATA, "'%s' has no key 'general.architecture'", path);
    source->family = ant_family_of_gguf(name, bytes, known, sizeof known);
    if (source->family) {
        source->name = source->family->gguf;
        return split_family(source);
    }
    if (bytes > 64 || !ant_name_is_plain(name, bytes))
        return ant_fail(source->err, ANT_EUNSUPP,
                        "'%s': key 'general.architecture' is not printable", path);
    return ant_fail(source->err, ANT_EUNSUPP,
                    "'%s': architecture '%.*s' is not supported (known: %s)", path, (int)bytes,
                    name, known);
}

int ant_arch_read_gguf(struct ant_arch *out, const struct ant_gguf *gguf, struct ant_error *err)
{
    struct source source = {.gguf = gguf, .err = err};
    double epsilon;
    char where[300];
    ANT_TRY(read_family(&source));
    struct ant_arch arch = source.family->plain;
    arch.family = source.family->name;
    arch.embed_scale = 1;
    arch.norm_offset = 0; /* it is in the file's weights */
    ANT_TRY(check_keys(&source));
    ANT_TRY(read_sizes(&source, &arch));
    ANT_TRY(required(&source, get_float(&source, "attention.layer_norm_rms_epsilon", &epsilon)));
    arch.norm_eps = (float)epsilon;
    ANT_TRY(read_presence(&source, &arch));
    ANT_TRY(read_scales(&source, &arch));
    ANT_TRY(read_window(&source, &arch));
    ANT_TRY(read_rope(&source, &arch));
    ANT_TRY(read_moe(&source, &arch));
    for (int i = 3; (source.family->keys & ANT_KEYS_NO_ROPE) && i < arch.n_layers; i += 4)
        arch.layers[i] |= ANT_LAYER_NO_ROPE; /* no key tells */
    snprintf(where, sizeof where, "'%.290s'", ant_gguf_path(gguf));
    ANT_TRY(ant_arch_check(&arch, where, err));
    ANT_TRY(read_all_factors(&source, &arch.rope));
    arch.moe.n_held = arch.moe.n_experts;
    *out = arch;
    return 0;
}
