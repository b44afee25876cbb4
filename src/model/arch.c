/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "model/family.h"

#include "base/mem.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool has_layer(const struct ant_arch *arch, enum ant_layer_bits bit)
{
    for (int i = 0; i < arch->n_layers; i++)
        if (arch->layers[i] & bit)
            return true;
    return false;
}

static int check_scaling(const struct ant_rope *rope, const char *where, struct ant_error *err)
{
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
    if (rope->kind == ANT_ROPE_YARN &&
        (!(rope->beta_fast > 0) || !(rope->beta_slow > 0) || !isfinite(rope->beta_fast) ||
         !isfinite(rope->beta_slow) || rope->original_context < 1 || !(rope->theta > 1)))
        return ant_fail(err, ANT_EDATA,
                        "%s: yarn rope scaling with beta_fast %g, beta_slow %g and an original "
                        "context of %d",
                        where, rope->beta_fast, rope->beta_slow, rope->original_context);
    return 0;
}

static int check_rope(const struct ant_rope *rope, int head_dim, const char *where,
                      struct ant_error *err)
{
    if (rope->dim < 2 || rope->dim > head_dim || rope->dim % 2 != 0)
        return ant_fail(err, ANT_EDATA, "%s: %d rotated dimensions in heads of %d", where,
                        rope->dim, head_dim);
    if (!(rope->theta > 0) || !isfinite(rope->theta))
        return ant_fail(err, ANT_EDATA, "%s: a rope theta of %g", where, rope->theta);
    for (int set = 0; set < 2; set++) {
        if (!(rope->magnitude[set] >= 0) || !isfinite(rope->magnitude[set]))
            return ant_fail(err, ANT_EDATA, "%s: a rope attention factor of %g", where,
                            rope->magnitude[set]);
        for (int i = 0; rope->has_factors && i < rope->dim / 2; i++)
            if (!(rope->factors[set][i] > 0) || !isfinite(rope->factors[set][i]))
                return ant_fail(err, ANT_EDATA, "%s: a rope frequency factor of %g", where,
                                (double)rope->factors[set][i]);
    }
    return rope->kind == ANT_ROPE_PLAIN ? 0 : check_scaling(rope, where, err);
}

static int check_moe(const struct ant_moe *moe, const char *where, struct ant_error *err)
{
    if (moe->n_experts == 0)
        return 0;
    if (moe->n_experts < 1 || moe->n_experts > ANT_MAX_EXPERTS)
        return ant_fail(err, ANT_EUNSUPP, "%s: %d experts, more than %d", where, moe->n_experts,
                        ANT_MAX_EXPERTS);
    if (moe->n_used < 1 || moe->n_used > moe->n_experts || moe->n_used > ANT_MAX_USED)
        return ant_fail(err, ANT_EDATA, "%s: %d experts for a token, not 1 to %d", where,
                        moe->n_used, moe->n_experts < ANT_MAX_USED ? moe->n_experts : ANT_MAX_USED);
    if (moe->n_groups < 0 || (moe->n_groups > 0 && (moe->n_experts % moe->n_groups != 0 ||
                                                    moe->n_experts / moe->n_groups < 2)))
        return ant_fail(err, ANT_EDATA, "%s: %d experts in %d groups", where, moe->n_experts,
                        moe->n_groups);
    if (moe->n_groups > 0 && (moe->n_groups_used < 1 || moe->n_groups_used > moe->n_groups ||
                              moe->n_experts / moe->n_groups * moe->n_groups_used < moe->n_used))
        return ant_fail(err, ANT_EDATA, "%s: %d experts for a token, of %d of %d groups", where,
                        moe->n_used, moe->n_groups_used, moe->n_groups);
    if (!(moe->scale >= 0) || !isfinite(moe->scale))
        return ant_fail(err, ANT_EDATA, "%s: weights of experts scaled by %g", where, moe->scale);
    if (moe->score == ANT_ROUTER_SPARSEMIXER && moe->n_used != 2)
        return ant_fail(err, ANT_EUNSUPP, "%s: a sparse mixer of %d experts for a token, not of 2",
                        where, moe->n_used);
    if (moe->ff < 1 || moe->ff > 1 << 24 || moe->shared_ff < 0 || moe->shared_ff > 1 << 24)
        return ant_fail(err, ANT_EDATA, "%s: experts of feed-forward size %d, a shared one of %d",
                        where, moe->ff, moe->shared_ff);
    return 0;
}

static int check_scales(const struct ant_arch *arch, const char *where, struct ant_error *err)
{
    const struct {
        const char *what;
        double value;
        bool may_be_zero;
    } scales[] = {
        {"embedding scale", arch->embed_scale, false},
        {"attention scale", arch->attn_scale, true},
        {"attention softcap", (double)arch->attn_softcap, true},
        {"logit softcap", (double)arch->logit_softcap, true},
        {"logit scale", arch->logit_scale, true},
    };
    if (!(arch->norm_eps > 0) || !(arch->norm_eps < 1))
        return ant_fail(err, ANT_EDATA, "%s: a norm epsilon of %g", where, (double)arch->norm_eps);
    for (size_t i = 0; i < sizeof scales / sizeof scales[0]; i++)
        if (!isfinite(scales[i].value) || !(scales[i].value >= 0) ||
            (scales[i].value == 0 && !scales[i].may_be_zero))
            return ant_fail(err, ANT_EDATA, "%s: %s of %g", where, scales[i].what, scales[i].value);
    return 0;
}

int ant_arch_check_sizes(const struct ant_arch *arch, const char *where, struct ant_error *err)
{
    /* Far above any model, and low enough for counts without experts to fit 63 bits. */
    const struct {
        const char *what;
        int value, max;
    } sizes[] = {
        {"layers", arch->n_layers, ANT_MAX_LAYERS}, {"hidden size", arch->hidden, 1 << 20},
        {"feed-forward size", arch->ff, 1 << 24},   {"heads", arch->n_heads, 1 << 16},
        {"kv heads", arch->n_kv_heads, 1 << 16},    {"vocabulary", arch->vocab, 1 << 26},
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
    return 0;
}

int ant_arch_check(const struct ant_arch *arch, const char *where, struct ant_error *err)
{
    ANT_TRY(ant_arch_check_sizes(arch, where, err));
    ANT_TRY(check_rope(&arch->rope, arch->head_dim, where, err));
    if (has_layer(arch, ANT_LAYER_LOCAL_ROPE))
        ANT_TRY(check_rope(&arch->local_rope, arch->head_dim, where, err));
    ANT_TRY(check_scales(arch, where, err));
    ANT_TRY(check_moe(&arch->moe, where, err));
    double experts = 3.0 * arch->n_layers * arch->hidden * arch->moe.ff * arch->moe.n_experts;
    if (experts > 0x1p60)
        return ant_fail(err, ANT_EDATA, "%s: experts of %.3g parameters", where, experts);
    return 0;
}

/* Yarn: the pair of dimensions that turns `turns` times within the original context, as a real
 * number. */
static double yarn_pair(const struct ant_rope *rope, double turns)
{
    return rope->dim * log(rope->original_context / (turns * 2 * M_PI)) / (2 * log(rope->theta));
}

/* Yarn leaves pairs that turn often as they are, stretches those that turn rarely by `factor`, and
 * goes from one to the other in a straight line. */
static double yarn_frequency(const struct ant_rope *rope, int i, double plain)
{
    double low = yarn_pair(rope, rope->beta_fast), high = yarn_pair(rope, rope->beta_slow);
    if (!rope->is_exact) {
        low = floor(low);
        high = ceil(high);
    }
    low = fmax(low, 0);
    high = fmin(high, rope->dim - 1);
    if (low == high)
        high += 0.001;
    double stretched = fmin(fmax((i - low) / (high - low), 0), 1);
    return plain / rope->factor * stretched + plain * (1 - stretched);
}

/* The angle that dimension pair i turns by from one position to the next. */
static float frequency(const struct ant_rope *rope, int i, int set)
{
    float exponent = (float)(2 * i) / (float)rope->dim;
    float plain = 1.0f / (float)pow(rope->theta, (double)exponent);
    double scaled = (double)plain;
    if (rope->kind == ANT_ROPE_LINEAR) {
        scaled /= rope->factor;
    } else if (rope->kind == ANT_ROPE_YARN) {
        scaled = yarn_frequency(rope, i, scaled);
    } else if (rope->kind == ANT_ROPE_LLAMA3) {
        /* Turns within the original context: long waves are stretched by `factor`, short ones are
         * left alone, between them the two are mixed. */
        double turns = rope->original_context * (double)plain / (2 * M_PI);
        double mix =
            (turns - rope->low_freq_factor) / (rope->high_freq_factor - rope->low_freq_factor);
        mix = fmin(fmax(mix, 0), 1);
        scaled = (1 - mix) * scaled / rope->factor + mix * scaled;
    }
    if (rope->has_factors)
        scaled /= (double)rope->factors[set][i];
    return (float)scaled;
}

void ant_rope_table(const struct ant_rope *rope, int n_positions, float *table)
{
    int n = rope->dim / 2;
    int set = rope->original_context > 0 && n_positions > rope->original_context;
    float magnitude = rope->magnitude[set] > 0 ? (float)rope->magnitude[set] : 1;
    float frequencies[ANT_MAX_HEAD_DIM / 2];
    for (int i = 0; i < n; i++)
        frequencies[i] = frequency(rope, i, set);
    for (int position = 0; position < n_positions; position++)
        for (int i = 0; i < n; i++) {
            float angle = (float)position * frequencies[i];
            *table++ = (float)cos((double)angle) * magnitude;
            *table++ = (float)sin((double)angle) * magnitude;
        }
}

bool ant_arch_wants_many(const struct ant_arch *arch)
{
    enum { SMALL_CACHE = 20480 }; /* values of a token */
    int64_t values = (int64_t)2 * arch->n_layers * arch->n_kv_heads * arch->head_dim;

    return arch->moe.n_experts > 0 || values <= SMALL_CACHE;
}

double ant_arch_attn_scale(const struct ant_arch *arch)
{
    return arch->attn_scale > 0 ? arch->attn_scale : 1 / sqrt((double)arch->head_dim);
}

/* ---- What it needs --------------------------------------------------------------------------- */

static bool has_window_everywhere(const struct ant_arch *arch)
{
    for (int i = 0; i < arch->n_layers; i++)
        if (!(arch->layers[i] & ANT_LAYER_WINDOW))
            return false;
    return true;
}

static unsigned needs_of(const struct ant_arch *arch)
{
    const struct {
        bool is_needed;
        enum ant_need need;
    } all[] = {
        {arch->norm == ANT_NORM_LAYER, ANT_NEED_LAYER_NORM},
        {arch->act == ANT_ACT_GELU, ANT_NEED_GELU},
        {arch->qk_norm == ANT_QK_NORM_HEAD, ANT_NEED_QK_NORM_HEAD},
        {arch->qk_norm == ANT_QK_NORM_WHOLE, ANT_NEED_QK_NORM_WHOLE},
        {arch->has_post_norm, ANT_NEED_POST_NORM},
        {arch->lacks_pre_norm, ANT_NEED_NO_PRE_NORM},
        {arch->attn_scale > 0, ANT_NEED_ATTN_SCALE},
        {arch->attn_softcap > 0, ANT_NEED_ATTN_SOFTCAP},
        {arch->logit_softcap > 0, ANT_NEED_LOGIT_SOFTCAP},
        {has_layer(arch, ANT_LAYER_NO_ROPE), ANT_NEED_NO_ROPE},
        {has_layer(arch, ANT_LAYER_LOCAL_ROPE), ANT_NEED_LOCAL_ROPE},
        {arch->rope.dim < arch->head_dim, ANT_NEED_PARTIAL_ROPE},
        {arch->moe.n_experts > 0, ANT_NEED_MOE},
        {arch->moe.score == ANT_ROUTER_SPARSEMIXER, ANT_NEED_SPARSEMIXER},
        {arch->moe.shared_ff > 0, ANT_NEED_SHARED_EXPERT},
        {arch->moe.score == ANT_ROUTER_SIGMOID, ANT_NEED_SIGMOID},
        {has_layer(arch, ANT_LAYER_WINDOW) && !has_window_everywhere(arch), ANT_NEED_MIXED_WINDOWS},
    };
    unsigned needs = 0;
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        needs |= all[i].is_needed ? all[i].need : 0u;
    return needs;
}

int ant_arch_within(const struct ant_arch *arch, unsigned can, const char *who,
                    struct ant_error *err)
{
    static const char *const names[] = {
        "LayerNorm",
        "the activation GELU",
        "norms of each head's queries and keys",
        "norms over all queries and keys",
        "norms behind attention and feed-forward",
        "blocks without a norm before them",
        "an attention scale of its own",
        "an attention softcap",
        "a logit softcap",
        "layers without rotation",
        "two kinds of rotation",
        "rotation of a part of each head",
        "experts",
        "a sparse mixer of experts",
        "a shared expert",
        "windows in some layers only",
        "experts chosen by sigmoids",
    };
    unsigned missing = needs_of(arch) & ~can;
    if (missing == 0)
        return 0;
    return ant_fail(err, ANT_EUNSUPP, "%s: a model of family %s needs %s", who, arch->family,
                    names[__builtin_ctz(missing)]);
}

/* ---- Counts ---------------------------------------------------------------------------------- */

/* Elements of one layer's matrices; of experts, those of `n` of them. */
static int64_t layer_matrices(const struct ant_arch *arch, int layer, int n)
{
    const struct ant_moe *moe = &arch->moe;
    int64_t hidden = arch->hidden;
    int64_t q = (int64_t)arch->n_heads * arch->head_dim;
    int64_t kv = (int64_t)arch->n_kv_heads * arch->head_dim;
    int64_t attention = hidden * (q + 2 * kv) + q * hidden;
    if (!(arch->layers[layer] & ANT_LAYER_MOE))
        return attention + 3 * hidden * arch->ff;
    return attention + hidden * moe->n_experts + 3 * hidden * moe->ff * n +
           hidden * (3 * (int64_t)moe->shared_ff + moe->has_shared_scale);
}

/* Elements of one layer's vectors. */
static int64_t layer_vectors(const struct ant_arch *arch)
{
    int64_t hidden = arch->hidden, n = 0;
    int64_t q = (int64_t)arch->n_heads * arch->head_dim;
    int64_t kv = (int64_t)arch->n_kv_heads * arch->head_dim;
    n += arch->lacks_pre_norm ? 0 : 2 * hidden * (arch->norm == ANT_NORM_LAYER ? 2 : 1);
    n += arch->has_post_norm ? 2 * hidden : 0;
    n += arch->qk_norm == ANT_QK_NORM_HEAD ? 2 * arch->head_dim : 0;
    n += arch->qk_norm == ANT_QK_NORM_WHOLE ? q + kv : 0;
    n += arch->qkv_bias ? q + 2 * kv : 0;
    return n + (arch->o_bias ? hidden : 0);
}

int64_t ant_arch_parameters(const struct ant_arch *arch)
{
    int64_t hidden = arch->hidden, n = arch->vocab * hidden * (arch->tied ? 1 : 2);
    for (int i = 0; i < arch->n_layers; i++) {
        bool has_bias = arch->moe.has_bias && arch->layers[i] & ANT_LAYER_MOE;
        n += layer_matrices(arch, i, arch->moe.n_experts) + layer_vectors(arch);
        n += has_bias ? arch->moe.n_experts : 0;
    }
    n += hidden * (arch->norm == ANT_NORM_LAYER ? 2 : 1);
    return n + (arch->output_bias ? arch->vocab : 0);
}

double ant_arch_token_flops(const struct ant_arch *arch)
{
    int64_t n = 0;
    for (int i = 0; i < arch->n_layers; i++)
        n += layer_matrices(arch, i, arch->moe.n_used);
    return 2.0 * (double)n;
}
