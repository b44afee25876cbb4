/* SPDX-License-Identifier: Apache-2.0 */
/* struct ant_arch from the metadata of a GGUF file. */
#include "config.h"

#include "model/family.h"

#include "model/names.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* The keys below "<architecture>." that are read here or change nothing. */
static const char *const known_keys[] = {
    "attention.head_count",
    "attention.head_count_kv",
    "attention.key_length",
    "attention.layer_norm_rms_epsilon",
    "attention.sliding_window",
    "attention.value_length",
    "block_count",
    "context_length",
    "embedding_length",
    "feed_forward_length",
    "rope.dimension_count",
    "rope.freq_base",
    "rope.scale_linear",
    "rope.scaling.factor",
    "rope.scaling.finetuned",
    "rope.scaling.original_context_length",
    "rope.scaling.type",
    "vocab_size",
};

/* Keys that may be there as long as they say what a plain model does. */
static const struct {
    const char *key;
    double neutral;
} neutral_keys[] = {
    {"attention.causal", 1},
    {"attention.clamp_kqv", 0},
    {"expert_count", 0},
    {"expert_used_count", 0},
    {"expert_shared_count", 0},
    {"embedding_scale", 1},
    {"logit_scale", 1},
    {"residual_scale", 1},
    {"use_parallel_residual", 0},
    {"attn_logit_softcapping", 0},
    {"final_logit_softcapping", 0},
    {"rope.scaling.attn_factor", 1},
};

/* A file being read: `key` holds the full name of the key looked at last. */
struct source {
    const struct ant_gguf *gguf;
    const struct ant_family *family;
    char key[128];
    struct ant_error *err;
};

static const char *key_of(struct source *source, const char *suffix)
{
    snprintf(source->key, sizeof source->key, "%s.%s", source->family->gguf, suffix);
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
    for (size_t i = 0; i < sizeof known_keys / sizeof known_keys[0]; i++)
        if (strcmp(suffix, known_keys[i]) == 0)
            return true;
    for (size_t i = 0; i < sizeof neutral_keys / sizeof neutral_keys[0]; i++)
        if (strcmp(suffix, neutral_keys[i].key) == 0)
            return is_neutral(source, key, neutral_keys[i].neutral);
    return false;
}

static int check_keys(struct source *source)
{
    const char *path = ant_gguf_path(source->gguf), *key;
    size_t prefix = strlen(source->family->gguf);
    int64_t parts = 1, format = 2;
    for (size_t i = 0; (key = ant_gguf_key(source->gguf, i)); i++)
        if (strncmp(key, source->family->gguf, prefix) == 0 && key[prefix] == '.' &&
            !is_known(source, key, key + prefix + 1))
            return ant_fail(source->err, ANT_EUNSUPP,
                            "'%s': key '%.200s' may change what the model computes and is not "
                            "supported",
                            path, key);
    ANT_TRY(ant_gguf_get_int(source->gguf, "split.count", 0, INT_MAX, &parts, source->err));
    if (parts > 1)
        return ant_fail(source->err, ANT_EUNSUPP,
                        "'%s' is one of %lld parts of a model; merge them into one file first",
                        path, (long long)parts);
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

/* The divisors of Llama 3's scaled frequencies come as a tensor. */
static int read_factors(struct source *source, struct ant_rope *rope)
{
    const char *path = ant_gguf_path(source->gguf);
    const struct ant_tensor *tensor = ant_gguf_find(source->gguf, "rope_freqs.weight");
    if (!tensor)
        return 0;
    if (tensor->type != ANT_F32 || tensor->n_dims != 1 || tensor->shape[0] != rope->dim / 2)
        return ant_fail(source->err, ANT_EDATA,
                        "'%s': tensor 'rope_freqs.weight' is %s of %lld elements, expected F32 of "
                        "%d",
                        path, ant_types[tensor->type].name, (long long)tensor->shape[0],
                        rope->dim / 2);
    rope->factors = tensor->data; /* aligned: the mapping and the file's alignment see to it */
    for (int i = 0; i < rope->dim / 2; i++)
        if (!(rope->factors[i] > 0) || !isfinite(rope->factors[i]))
            return ant_fail(source->err, ANT_EDATA,
                            "'%s': tensor 'rope_freqs.weight' holds a factor of %g", path,
                            (double)rope->factors[i]);
    return 0;
}

static int read_rope(struct source *source, struct ant_arch *arch)
{
    struct ant_rope *rope = &arch->rope;
    const char *type = "none", *path = ant_gguf_path(source->gguf);
    size_t bytes = 4;
    double scale = 1;
    rope->interleaved = source->family->gguf_interleaved;
    rope->dim = arch->head_dim;
    ANT_TRY(get_int(source, "rope.dimension_count", 1, &rope->dim));
    rope->theta = 10000;
    ANT_TRY(get_float(source, "rope.freq_base", &rope->theta));
    ANT_TRY(get_float(source, "rope.scale_linear", &scale)); /* the name before scaling.type */
    if (scale != 1) {
        rope->kind = ANT_ROPE_LINEAR;
        rope->factor = scale;
    }
    ANT_TRY(ant_gguf_get_string(source->gguf, key_of(source, "rope.scaling.type"), &type, &bytes,
                                source->err));
    if (bytes == 6 && memcmp(type, "linear", 6) == 0) {
        rope->kind = ANT_ROPE_LINEAR;
        ANT_TRY(required(source, get_float(source, "rope.scaling.factor", &rope->factor)));
    } else if (bytes != 4 || memcmp(type, "none", 4) != 0) {
        bool is_yarn = bytes == 4 && memcmp(type, "yarn", 4) == 0;
        return ant_fail(source->err, ANT_EUNSUPP,
                        "'%s': key '%s' asks for %s; none and linear are supported", path,
                        source->key, is_yarn ? "yarn" : "an unknown scaling");
    }
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
    arch->qkv_bias = source->family->has_qkv_bias || ant_gguf_find(gguf, "blk.0.attn_q.bias");
    arch->o_bias = ant_gguf_find(gguf, "blk.0.attn_output.bias") != NULL;
    return 0;
}

static int read_window(struct source *source, struct ant_arch *arch)
{
    int window = 0;
    ANT_TRY(get_int(source, "attention.sliding_window", 0, &window));
    if (source->family->window_rule == ANT_WINDOW_BY_SWITCH && window > 0)
        return ant_fail(source->err, ANT_EUNSUPP,
                        "'%s': key '%s' is %d, but does not say for which layers",
                        ant_gguf_path(source->gguf), source->key, window);
    arch->window = window;
    return 0;
}

static int read_family(struct source *source)
{
    const char *name, *path = ant_gguf_path(source->gguf);
    char known[256];
    size_t bytes;
    int found =
        ant_gguf_get_string(source->gguf, "general.architecture", &name, &bytes, source->err);
    ANT_TRY(found);
    if (found == 0)
        return ant_fail(source->err, ANT_EDATA, "'%s' has no key 'general.architecture'", path);
    source->family = ant_family_of_gguf(name, bytes, known, sizeof known);
    if (source->family)
        return 0;
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
    struct ant_arch arch = {.norm = ANT_NORM_RMS, .act = ANT_ACT_SILU, .embed_scale = 1};
    double epsilon;
    char where[300];
    ANT_TRY(read_family(&source));
    arch.family = source.family->name;
    ANT_TRY(check_keys(&source));
    ANT_TRY(read_sizes(&source, &arch));
    ANT_TRY(required(&source, get_float(&source, "attention.layer_norm_rms_epsilon", &epsilon)));
    arch.norm_eps = (float)epsilon;
    ANT_TRY(read_presence(&source, &arch));
    ANT_TRY(read_rope(&source, &arch));
    ANT_TRY(read_window(&source, &arch));
    snprintf(where, sizeof where, "'%.290s'", ant_gguf_path(gguf));
    ANT_TRY(ant_arch_check(&arch, where, err));
    ANT_TRY(read_factors(&source, &arch.rope));
    *out = arch;
    return 0;
}
