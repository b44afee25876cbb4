/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "model/family.h"

#include <stdio.h>
#include <string.h>

static const struct ant_family families[] = {
    {
        .name = "llama",
        .gguf = "llama",
        .class = "LlamaForCausalLM",
        .gguf_interleaved = true,
        .keys = ANT_KEYS_BIAS,
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
        .keys = ANT_KEYS_SWITCH,
        .window_rule = ANT_WINDOW_BY_SWITCH,
        .default_kv_heads = 32,
        .default_window = 4096,
        .plain = {.qkv_bias = true},
    },
    {
        .name = "qwen3",
        .gguf = "qwen3",
        .class = "Qwen3ForCausalLM",
        .keys = ANT_KEYS_SWITCH | ANT_KEYS_BIAS,
        .window_rule = ANT_WINDOW_BY_SWITCH,
        .default_kv_heads = 32,
        .default_window = 4096,
        .default_head_dim = 128,
        .plain = {.qk_norm = ANT_QK_NORM_HEAD},
    },
    {
        .name = "smollm3",
        .gguf = "smollm3",
        .class = "SmolLM3ForCausalLM",
        .gguf_interleaved = true,
        .keys = ANT_KEYS_BIAS | ANT_KEYS_NO_ROPE,
        .default_kv_heads = 4,
        .default_theta = 2000000,
        .is_tied = true,
    },
    {
        .name = "phi3",
        .gguf = "phi3",
        .class = "Phi3ForCausalLM",
        .is_fused = true,
        .keys = ANT_KEYS_PARTIAL | ANT_KEYS_LONG_ROPE,
        .window_rule = ANT_WINDOW_ALL,
    },
    {
        .name = "gemma2",
        .gguf = "gemma2",
        .class = "Gemma2ForCausalLM",
        .keys = ANT_KEYS_BIAS | ANT_KEYS_GEMMA,
        .window_rule = ANT_WINDOW_BY_PERIOD,
        .window_period = 2,
        .gguf_wide_query_layers = 46,
        .default_kv_heads = 4,
        .default_window = 4096,
        .default_head_dim = 256,
        .is_tied = true,
        .plain = {.act = ANT_ACT_GELU,
                  .has_post_norm = true,
                  .norm_offset = 1,
                  .attn_softcap = 50,
                  .logit_softcap = 30},
    },
    {
        .name = "gemma3",
        .gguf = "gemma3",
        .class = "Gemma3ForCausalLM",
        .keys = ANT_KEYS_BIAS | ANT_KEYS_GEMMA,
        .window_rule = ANT_WINDOW_BY_PERIOD,
        .window_period = 6,
        .gguf_wide_query_layers = 62,
        .has_local_rope = true,
        .default_kv_heads = 4,
        .default_window = 4096,
        .default_head_dim = 256,
        .default_theta = 1000000,
        .default_local_theta = 10000,
        .is_tied = true,
        .plain = {.act = ANT_ACT_GELU,
                  .has_post_norm = true,
                  .norm_offset = 1,
                  .qk_norm = ANT_QK_NORM_HEAD},
    },
    {
        .name = "olmo2",
        .gguf = "olmo2",
        .class = "Olmo2ForCausalLM",
        .keys = ANT_KEYS_BIAS,
        .plain = {.has_post_norm = true, .lacks_pre_norm = true, .qk_norm = ANT_QK_NORM_WHOLE},
    },
    {
        .name = "olmo3",
        .class = "Olmo3ForCausalLM",
        .keys = ANT_KEYS_BIAS,
        .window_rule = ANT_WINDOW_BY_PERIOD,
        .window_period = 4,
        .has_local_rope = true,
        .default_window = 4096,
        .default_theta = 500000,
        .default_local_theta = 500000,
        .plain = {.has_post_norm = true, .lacks_pre_norm = true, .qk_norm = ANT_QK_NORM_WHOLE},
    },
    {
        .name = "granite",
        .gguf = "granite",
        .class = "GraniteForCausalLM",
        .gguf_interleaved = true,
        .keys = ANT_KEYS_BIAS | ANT_KEYS_GRANITE,
    },
    {
        .name = "mixtral",
        .class = "MixtralForCausalLM",
        .gguf_interleaved = true,
        .names = ANT_NAMES_MIXTRAL,
        .keys = ANT_KEYS_EXPERTS,
        .window_rule = ANT_WINDOW_ALL,
        .default_kv_heads = 8,
        .default_theta = 1000000,
        .plain = {.moe = {.n_experts = 8, .n_used = 2, .is_renormalized = true}},
    },
    {
        .name = "qwen2moe",
        .gguf = "qwen2moe",
        .class = "Qwen2MoeForCausalLM",
        .keys = ANT_KEYS_QKV_BIAS | ANT_KEYS_EXPERTS | ANT_KEYS_SHARED,
        .default_kv_heads = 16,
        .plain = {.qkv_bias = true,
                  .moe = {.n_experts = 60,
                          .n_used = 4,
                          .ff = 1408,
                          .shared_ff = 5632,
                          .has_shared_scale = true}},
    },
    {
        .name = "qwen3moe",
        .gguf = "qwen3moe",
        .gguf_renormalizes = true,
        .class = "Qwen3MoeForCausalLM",
        .keys = ANT_KEYS_BIAS | ANT_KEYS_EXPERTS,
        .default_kv_heads = 4,
        .plain = {.qk_norm = ANT_QK_NORM_HEAD, .moe = {.n_experts = 128, .n_used = 8, .ff = 768}},
    },
    {
        .name = "olmoe",
        .gguf = "olmoe",
        .class = "OlmoeForCausalLM",
        .keys = ANT_KEYS_BIAS | ANT_KEYS_EXPERTS,
        .plain = {.qk_norm = ANT_QK_NORM_WHOLE, .moe = {.n_experts = 64, .n_used = 8}},
    },
    {
        .name = "phimoe",
        .gguf = "phimoe",
        .class = "PhiMoEForCausalLM",
        .names = ANT_NAMES_MIXTRAL,
        .keys = ANT_KEYS_BIAS | ANT_KEYS_HEAD_BIAS | ANT_KEYS_LONG_ROPE | ANT_KEYS_EXPERTS,
        .window_rule = ANT_WINDOW_ALL,
        .default_kv_heads = 8,
        .default_theta = 1000000,
        .plain = {.norm = ANT_NORM_LAYER,
                  .moe = {.n_experts = 16,
                          .n_used = 2,
                          .score = ANT_ROUTER_SPARSEMIXER,
                          .jitter = 0.01f}},
    },
    {
        .name = "glm4moe",
        .class = "Glm4MoeForCausalLM",
        .names = ANT_NAMES_GLM,
        .has_extra_layers = true,
        .keys = ANT_KEYS_Q_BIAS | ANT_KEYS_PARTIAL | ANT_KEYS_QK_NORM | ANT_KEYS_EXPERTS |
                ANT_KEYS_GROUPS,
        .default_kv_heads = 8,
        .default_partial = 0.5,
        .plain = {.moe = {.n_experts = 128,
                          .n_used = 8,
                          .ff = 1408,
                          .score = ANT_ROUTER_SIGMOID,
                          .is_renormalized = true,
                          .has_bias = true}},
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
    /* transformers 5 writes the class as it is named there. */
    if (strcmp(name, "PhimoeForCausalLM") == 0)
        name = "PhiMoEForCausalLM";
    return find(class_name, name, strlen(name), known, bytes);
}

const struct ant_family *ant_family_of(const struct ant_arch *arch)
{
    for (size_t i = 0; i < N_FAMILIES; i++)
        if (strcmp(families[i].name, arch->family) == 0)
            return &families[i];
    return &families[0];
}

void ant_family_set_window(const struct ant_family *family, struct ant_arch *arch, int layer,
                           int window)
{
    arch->window = window;
    arch->layers[layer] |= ANT_LAYER_WINDOW | (family->has_local_rope ? ANT_LAYER_LOCAL_ROPE : 0);
}

void ant_family_set_windows(const struct ant_family *family, struct ant_arch *arch, int period,
                            int window)
{
    for (int i = 0; i < arch->n_layers; i++)
        if (period == 0 || (i + 1) % period != 0)
            ant_family_set_window(family, arch, i, window);
}

void ant_arch_set_residual_scale(struct ant_arch *arch, double scale)
{
    arch->embed_scale /= scale;
    arch->norm_eps = (float)((double)arch->norm_eps / (scale * scale));
}
