/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "model/family.h"

#include "base/mem.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct ant_family families[] = {
    {
        .name = "llama",
        .gguf = "llama",
        .class = "LlamaForCausalLM",
        .gguf_interleaved = true,
        .honours_attention_bias = true,
        .window_rule = ANT_WINDOW_IGNORED,
    },
    {
        .name = "mistral",
        .class = "MistralForCausalLM",
        .window_rule = ANT_WINDOW_ALL,
        .default_kv_heads = 8,
        .default_window = 4096,
    },
    {
        .name = "qwen2",
        .gguf = "qwen2",
        .class = "Qwen2ForCausalLM",
        .has_qkv_bias = true,
        .window_rule = ANT_WINDOW_BY_SWITCH,
        .default_kv_heads = 32,
        .default_window = 4096,
    },
};
enum { N_FAMILIES = sizeof families / sizeof families[0] };

static const char *gguf_name(const struct ant_family *family)
{
    return family->gguf;
}

static const char *class_name(const struct ant_family *family)
{
    return family->class;
}

static const struct ant_family *find(const char *(*name_of)(const struct ant_family *),
                                     const char *name, size_t name_bytes, char *known, size_t bytes)
{
    size_t used = 0;
    for (size_t i = 0; i < N_FAMILIES; i++) {
        const char *candidate = name_of(&families[i]);
        if (!candidate)
            continue;
        if (strlen(candidate) == name_bytes && memcmp(candidate, name, name_bytes) == 0)
            return &families[i];
        if (used < bytes)
            used +=
                (size_t)snprintf(known + used, bytes - used, "%s%s", used ? ", " : "", candidate);
    }
    return NULL;
}

const struct ant_family *ant_family_of_gguf(const char *name, size_t name_bytes, char *known,
                                            size_t bytes)
{
    return find(gguf_name, name, name_bytes, known, bytes);
}

const struct ant_family *ant_family_of_class(const char *name, char *known, size_t bytes)
{
    return find(class_name, name, strlen(name), known, bytes);
}

static int check_rope(const struct ant_rope *rope, const char *where, struct ant_error *err)
{
    if (!(rope->theta > 0) || !isfinite(rope->theta))
        return ant_fail(err, ANT_EDATA, "%s: a rope theta of %g", where, rope->theta);
    if (rope->kind == ANT_ROPE_PLAIN)
        return 0;
    if (!(rope->factor > 0) || !isfinite(rope->factor))
        return ant_fail(err, ANT_EDATA, "%s: a rope scaling factor of %g", where, rope->factor);
    if (rope->kind == ANT_ROPE_LLAMA3 &&
        (!(rope->low_freq_factor > 0) || !(rope->high_freq_factor > rope->low_freq_factor) ||
         !isfinite(rope->high_freq_factor) || rope->original_context < 1))
        return ant_fail(err, ANT_EDATA,
                        "%s: llama3 rope scaling with low_freq_factor %g, high_freq_factor %g and "
                        "an original context of %d",
                        where, rope->low_freq_factor, rope->high_freq_factor,
                        rope->original_context);
    return 0;
}

int ant_arch_check(const struct ant_arch *arch, const char *where, struct ant_error *err)
{
    /* Far above any model, and low enough for all products of two to fit 63 bits. */
    const struct {
        const char *what;
        int value, max;
    } sizes[] = {
        {"layers", arch->n_layers, 4096},         {"hidden size", arch->hidden, 1 << 20},
        {"feed-forward size", arch->ff, 1 << 24}, {"heads", arch->n_heads, 1 << 16},
        {"kv heads", arch->n_kv_heads, 1 << 16},  {"vocabulary", arch->vocab, 1 << 26},
        {"context", arch->context, 1 << 30},
    };
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        if (sizes[i].value < 1 || sizes[i].value > sizes[i].max)
            return ant_fail(err, ANT_EDATA, "%s: %s of %d, not 1 to %d", where, sizes[i].what,
                            sizes[i].value, sizes[i].max);
    if (arch->n_heads % arch->n_kv_heads != 0)
        return ant_fail(err, ANT_EDATA, "%s: %d heads do not divide among %d kv heads", where,
                        arch->n_heads, arch->n_kv_heads);
    if (arch->head_dim < 2 || arch->head_dim > ANT_MAX_HEAD_DIM || arch->head_dim % 2 != 0)
        return ant_fail(err, ANT_EUNSUPP,
                        "%s: a head dimension of %d; even ones up to %d are supported", where,
                        arch->head_dim, ANT_MAX_HEAD_DIM);
    if (arch->rope.dim < 2 || arch->rope.dim > arch->head_dim || arch->rope.dim % 2 != 0)
        return ant_fail(err, ANT_EDATA, "%s: %d rotated dimensions in heads of %d", where,
                        arch->rope.dim, arch->head_dim);
    if (!(arch->norm_eps > 0) || !(arch->norm_eps < 1))
        return ant_fail(err, ANT_EDATA, "%s: a norm epsilon of %g", where, (double)arch->norm_eps);
    return check_rope(&arch->rope, where, err);
}

/* The angle that dimension pair i turns by from one position to the next. */
static float frequency(const struct ant_rope *rope, int i)
{
    float exponent = (float)(2 * i) / (float)rope->dim;
    float plain = 1.0f / (float)pow(rope->theta, (double)exponent);
    double scaled = (double)plain;
    if (rope->kind == ANT_ROPE_LINEAR) {
        scaled /= rope->factor;
    } else if (rope->kind == ANT_ROPE_LLAMA3) {
        /* Turns within the original context: long waves are stretched by `factor`, short ones are
         * left alone, between them the two are mixed. */
        double turns = rope->original_context * (double)plain / (2 * M_PI);
        double mix =
            (turns - rope->low_freq_factor) / (rope->high_freq_factor - rope->low_freq_factor);
        mix = fmin(fmax(mix, 0), 1);
        scaled = (1 - mix) * scaled / rope->factor + mix * scaled;
    }
    if (rope->factors)
        scaled /= (double)rope->factors[i];
    return (float)scaled;
}

void ant_rope_table(const struct ant_rope *rope, int n_positions, float *table)
{
    int n = rope->dim / 2;
    float *frequencies = ant_xcalloc((size_t)n, sizeof *frequencies);
    for (int i = 0; i < n; i++)
        frequencies[i] = frequency(rope, i);
    for (int position = 0; position < n_positions; position++)
        for (int i = 0; i < n; i++) {
            float angle = (float)position * frequencies[i];
            *table++ = (float)cos((double)angle);
            *table++ = (float)sin((double)angle);
        }
    free(frequencies);
}

/* Elements of one layer's matrices. */
static int64_t layer_matrices(const struct ant_arch *arch)
{
    int64_t hidden = arch->hidden;
    int64_t q = (int64_t)arch->n_heads * arch->head_dim;
    int64_t kv = (int64_t)arch->n_kv_heads * arch->head_dim;
    return hidden * (q + 2 * kv) + q * hidden + 3 * hidden * arch->ff;
}

int64_t ant_arch_parameters(const struct ant_arch *arch)
{
    int64_t hidden = arch->hidden;
    int64_t q = (int64_t)arch->n_heads * arch->head_dim;
    int64_t kv = (int64_t)arch->n_kv_heads * arch->head_dim;
    int64_t layer = layer_matrices(arch) + 2 * hidden;
    if (arch->qkv_bias)
        layer += q + 2 * kv;
    if (arch->o_bias)
        layer += hidden;
    return arch->vocab * hidden * (arch->tied ? 1 : 2) + arch->n_layers * layer + hidden;
}

double ant_arch_token_flops(const struct ant_arch *arch)
{
    return 2.0 * arch->n_layers * (double)layer_matrices(arch);
}
