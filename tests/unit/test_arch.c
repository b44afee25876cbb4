/* SPDX-License-Identifier: Apache-2.0 */
/* What a model is, read from config.json and GGUF metadata: values, defaults, and everything that
 * must be refused by name. */
#include "config.h"

#include "model/family.h"

#include "model_files.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static char path[300];

static int set_up(void **state)
{
    make_test_folder(state);
    snprintf(path, sizeof path, "%s/m.gguf", test_folder);
    return 0;
}

/* ---- Rotary tables --------------------------------------------------------------------------- */

/* Against transformers itself: the last bit of a float. Its llama3 mixture is in single precision,
 * so there a frequency may be a unit in the last place away, which grows with the position. */
static void test_rope_golden(void **state)
{
    (void)state;
    char kind[16], *name = source_path("tests/golden/rope/rope.txt");
    FILE *file = fopen(name, "r");
    if (!file)
        fail_msg("cannot open '%s'", name);
    free(name);
    struct ant_rope rope = {.kind = ANT_ROPE_PLAIN};
    int position, n_lines = 0;
    while (fscanf(file, "%15s %d %lf %lf %lf %lf %d %d", kind, &rope.dim, &rope.theta, &rope.factor,
                  &rope.low_freq_factor, &rope.high_freq_factor, &rope.original_context,
                  &position) == 8) {
        rope.kind = kind[0] == 'd'   ? ANT_ROPE_PLAIN
                    : kind[0] == 'y' ? ANT_ROPE_YARN
                    : kind[1] == 'i' ? ANT_ROPE_LINEAR
                                     : ANT_ROPE_LLAMA3;
        bool is_yarn = rope.kind == ANT_ROPE_YARN;
        rope.beta_fast = 32;
        rope.beta_slow = 1;
        rope.magnitude[0] = rope.magnitude[1] = is_yarn ? 0.1 * log(rope.factor) + 1 : 0;
        size_t row = (size_t)rope.dim;
        float *table = ant_xcalloc((size_t)(position + 1) * row, sizeof *table);
        ant_rope_table(&rope, position + 1, table);
        for (int part = 0; part < 2; part++)
            for (int i = 0; i < rope.dim / 2; i++) {
                double wanted, got = (double)table[(size_t)position * row + (size_t)(2 * i + part)];
                assert_int_equal(fscanf(file, "%lf", &wanted), 1);
                double slack = rope.kind == ANT_ROPE_LLAMA3 ? 3e-10 * position : 0;
                slack += is_yarn ? 1.5e-8 * position + 1.2e-7 : 0;
                if (fabs(got - wanted) > 1.2e-7 + slack)
                    fail_msg("%s dim %d position %d pair %d: %.9g, expected %.9g", kind, rope.dim,
                             position, i, got, wanted);
            }
        free(table);
        n_lines++;
    }
    fclose(file);
    assert_int_equal(n_lines, 54);
}

/* Divisors from a file, and that they work like the scaling they stand for. */
static void test_rope_factors(void **state)
{
    (void)state;
    struct ant_rope rope = {
        .dim = 4, .theta = 10000, .has_factors = true, .factors = {{1, 8}, {2, 9}}};
    float table[12];
    ant_rope_table(&rope, 2, table);
    assert_true(table[0] == 1 && table[1] == 0 && table[2] == 1 && table[3] == 0);
    assert_true(fabs((double)table[4] - cos(1)) < 1e-7);
    assert_true(fabs((double)table[5] - sin(1)) < 1e-7);
    assert_true(fabs((double)table[6] - cos(0.01 / 8)) < 1e-7);
    assert_true(fabs((double)table[7] - sin(0.01 / 8)) < 1e-9);

    /* Runs beyond the original context have the second set, at every position. */
    rope.original_context = 2;
    rope.magnitude[1] = 3;
    ant_rope_table(&rope, 2, table);
    assert_true(fabs((double)table[4] - cos(1)) < 1e-7);
    ant_rope_table(&rope, 3, table);
    assert_true(table[0] == 3 && table[1] == 0);
    assert_true(fabs((double)table[4] - 3 * cos(0.5)) < 3e-7);
    assert_true(fabs((double)table[6] - 3 * cos(0.01 / 9)) < 3e-7);
}

static void test_counts(void **state)
{
    (void)state;
    struct ant_arch arch = {.n_layers = 30,
                            .hidden = 576,
                            .ff = 1536,
                            .n_heads = 9,
                            .n_kv_heads = 3,
                            .head_dim = 64,
                            .vocab = 49152,
                            .tied = true};
    assert_int_equal(ant_arch_parameters(&arch), 134515008); /* SmolLM2-135M */
    assert_true(ant_arch_token_flops(&arch) ==
                2.0 * 30 * (576 * (576 + 384) + 576 * 576 + 3 * 576 * 1536));
    arch = (struct ant_arch){.n_layers = 24,
                             .hidden = 896,
                             .ff = 4864,
                             .n_heads = 14,
                             .n_kv_heads = 2,
                             .head_dim = 64,
                             .vocab = 151936,
                             .qkv_bias = true};
    assert_int_equal(ant_arch_parameters(&arch), 630167424); /* Qwen2.5-0.5B, untied */
    assert_true(ant_arch_wants_many(&arch));
    arch.n_layers = 32, arch.n_kv_heads = 8, arch.head_dim = 128; /* as Llama-3.1-8B */
    assert_false(ant_arch_wants_many(&arch));
    arch.moe.n_experts = 16;
    assert_true(ant_arch_wants_many(&arch));
}

/* ---- config.json ----------------------------------------------------------------------------- */

static int read_config(struct ant_arch *arch, const char *text, struct ant_error *err)
{
    json_t *root;
    assert_int_equal(ant_json_parse(&root, text, strlen(text), "config", err), 0);
    int result = ant_arch_read_config(arch, (struct ant_json){root, "config"}, err);
    json_decref(root);
    return result;
}

/* A config of this class with these members added. */
static int read_with(struct ant_arch *arch, const char *class, const char *members,
                     struct ant_error *err)
{
    char *text = ant_xasprintf("{\"architectures\":[\"%s\"],\"num_hidden_layers\":4,"
                               "\"hidden_size\":64,\"intermediate_size\":96,"
                               "\"num_attention_heads\":8,\"vocab_size\":100,"
                               "\"max_position_embeddings\":2048%s%s}",
                               class, *members ? "," : "", members);
    int result = read_config(arch, text, err);
    free(text);
    return result;
}

static struct ant_arch read_good(const char *class, const char *members)
{
    struct ant_arch arch;
    struct ant_error err;
    if (read_with(&arch, class, members, &err) < 0)
        fail_msg("%s: %s", members, err.text);
    return arch;
}

static void expect_error(const char *class, const char *members, int code, const char *said)
{
    struct ant_arch arch;
    struct ant_error err;
    int result = read_with(&arch, class, members, &err);
    if (result != code)
        fail_msg("%s: code %d, expected %d", members, result, code);
    if (!strstr(err.text, said) || strncmp(err.text, "config", 6) != 0)
        fail_msg("%s: error '%s' should say '%s'", members, err.text, said);
}

static const char LLAMA[] = "LlamaForCausalLM", MISTRAL[] = "MistralForCausalLM",
                  QWEN2[] = "Qwen2ForCausalLM";

static void test_config_values(void **state)
{
    (void)state;
    struct ant_arch arch =
        read_good(LLAMA, "\"num_key_value_heads\":2,\"head_dim\":32,\"rms_norm_eps\":1e-5,"
                         "\"tie_word_embeddings\":true,\"attention_bias\":true,"
                         "\"rope_theta\":5e5,\"torch_dtype\":\"bfloat16\",\"use_cache\":true,"
                         "\"sliding_window\":77,\"hidden_act\":\"silu\",\"mlp_bias\":false,"
                         "\"quantization_config\":null,\"rope_scaling\":{}");
    assert_string_equal(arch.family, "llama");
    assert_int_equal(arch.n_layers, 4);
    assert_int_equal(arch.hidden, 64);
    assert_int_equal(arch.ff, 96);
    assert_int_equal(arch.n_heads, 8);
    assert_int_equal(arch.n_kv_heads, 2);
    assert_int_equal(arch.head_dim, 32);
    assert_int_equal(arch.vocab, 100);
    assert_int_equal(arch.context, 2048);
    assert_true(arch.norm_eps == 1e-5f);
    assert_true(arch.tied && arch.qkv_bias && arch.o_bias);
    assert_int_equal(arch.window, 0); /* the family has none */
    assert_int_equal(arch.rope.kind, ANT_ROPE_PLAIN);
    assert_false(arch.rope.interleaved);
    assert_int_equal(arch.rope.dim, 32);
    assert_true(arch.rope.theta == 5e5 && arch.embed_scale == 1);
}

static void test_config_defaults(void **state)
{
    (void)state;
    struct ant_arch arch = read_good(LLAMA, "");
    assert_int_equal(arch.n_kv_heads, 8);
    assert_int_equal(arch.head_dim, 8);
    assert_true(arch.norm_eps == 1e-6f && arch.rope.theta == 10000);
    assert_false(arch.tied || arch.qkv_bias || arch.o_bias);
    assert_int_equal(read_good(LLAMA, "\"num_key_value_heads\":null").n_kv_heads, 8);
    expect_error(MISTRAL, "\"attention_bias\":true", ANT_EUNSUPP, "'attention_bias' may change");
    arch = read_good(MISTRAL, "\"attention_bias\":false");
    assert_string_equal(arch.family, "mistral");
    assert_int_equal(arch.n_kv_heads, 8);
    assert_int_equal(arch.window, 4096);
    assert_false(arch.qkv_bias || arch.o_bias); /* the class has none */
    arch = read_good(QWEN2, "\"num_key_value_heads\":2,\"attention_bias\":false");
    assert_string_equal(arch.family, "qwen2");
    assert_true(arch.qkv_bias);
    assert_false(arch.o_bias);
    assert_int_equal(arch.window, 0);
    expect_error(QWEN2, "", ANT_EDATA, "8 heads do not divide among 32 kv heads");
}

static void test_config_window(void **state)
{
    (void)state;
    struct ant_arch arch = read_good(MISTRAL, "\"sliding_window\":512");
    for (int i = 0; i < 4; i++)
        assert_int_equal(ant_arch_window(&arch, i), 512);
    arch = read_good(MISTRAL, "\"sliding_window\":null");
    assert_int_equal(ant_arch_window(&arch, 0), 0);
    static const struct {
        const char *members;
        int windows; /* as many layers have one */
    } qwen[] = {
        {"\"sliding_window\":512", 0},
        {"\"sliding_window\":512,\"use_sliding_window\":false,\"max_window_layers\":0", 0},
        {"\"sliding_window\":512,\"use_sliding_window\":true", 0}, /* from layer 28 on */
        {"\"sliding_window\":512,\"use_sliding_window\":true,\"max_window_layers\":4", 0},
        {"\"sliding_window\":512,\"use_sliding_window\":true,\"max_window_layers\":0", 4},
        {"\"sliding_window\":512,\"use_sliding_window\":true,\"max_window_layers\":3", 1},
        {"\"sliding_window\":null,\"use_sliding_window\":true,\"max_window_layers\":0", 0},
        {"\"sliding_window\":512,\"use_sliding_window\":true,\"layer_types\":"
         "[\"full_attention\",\"full_attention\",\"full_attention\",\"full_attention\"]",
         0},
        {"\"sliding_window\":512,\"use_sliding_window\":true,\"layer_types\":"
         "[\"full_attention\",\"full_attention\",\"sliding_attention\",\"sliding_attention\"]",
         2},
    };
    for (size_t i = 0; i < sizeof qwen / sizeof qwen[0]; i++) {
        char members[300];
        snprintf(members, sizeof members, "\"num_key_value_heads\":2,%s", qwen[i].members);
        arch = read_good(QWEN2, members);
        for (int layer = 0; layer < 4; layer++)
            assert_int_equal(ant_arch_window(&arch, layer), layer >= 4 - qwen[i].windows ? 512 : 0);
    }
    expect_error(QWEN2,
                 "\"num_key_value_heads\":2,\"sliding_window\":512,\"use_sliding_window\":true,"
                 "\"layer_types\":[\"sliding_attention\"]",
                 ANT_EDATA, "'layer_types' lists 1 of 4 layers");
    expect_error(QWEN2,
                 "\"num_key_value_heads\":2,\"sliding_window\":512,\"use_sliding_window\":true,"
                 "\"layer_types\":[\"linear_attention\",\"a\",\"b\",\"c\"]",
                 ANT_EUNSUPP, "'layer_types' names an unknown type");
}

static void test_config_rope(void **state)
{
    (void)state;
    struct ant_rope rope =
        read_good(LLAMA, "\"rope_theta\":7,\"rope_scaling\":{\"type\":\"linear\",\"factor\":2}")
            .rope;
    assert_int_equal(rope.kind, ANT_ROPE_LINEAR);
    assert_true(rope.factor == 2 && rope.theta == 7);
    rope = read_good(LLAMA, "\"rope_scaling\":{\"rope_type\":\"llama3\",\"factor\":8.0,"
                            "\"low_freq_factor\":1.0,\"high_freq_factor\":4.0,"
                            "\"original_max_position_embeddings\":512}")
               .rope;
    assert_int_equal(rope.kind, ANT_ROPE_LLAMA3);
    assert_int_equal(rope.original_context, 512);
    assert_true(rope.factor == 8 && rope.low_freq_factor == 1 && rope.high_freq_factor == 4);
    rope = read_good(LLAMA, "\"rope_theta\":7,\"rope_parameters\":{\"rope_type\":\"llama3\","
                            "\"rope_theta\":9,\"factor\":8,\"low_freq_factor\":1,"
                            "\"high_freq_factor\":4}")
               .rope;
    assert_int_equal(rope.original_context, 2048); /* as transformers fills it in */
    assert_true(rope.theta == 9);
    rope = read_good(LLAMA, "\"rope_scaling\":null,\"rope_parameters\":{\"rope_type\":\"default\","
                            "\"rope_theta\":9,\"partial_rotary_factor\":1.0}")
               .rope;
    assert_int_equal(rope.kind, ANT_ROPE_PLAIN);
    assert_true(rope.theta == 9);

    rope = read_good(LLAMA, "\"rope_scaling\":{\"type\":\"yarn\",\"factor\":4,"
                            "\"original_max_position_embeddings\":512}")
               .rope;
    assert_int_equal(rope.kind, ANT_ROPE_YARN);
    assert_int_equal(rope.original_context, 512);
    assert_true(rope.beta_fast == 32 && rope.beta_slow == 1 && rope.factor == 4);
    assert_true(fabs(rope.magnitude[0] - (0.1 * log(4) + 1)) < 1e-12);
    expect_error(LLAMA, "\"rope_scaling\":{\"type\":\"yarn\",\"beta_fast\":-1}", ANT_EDATA,
                 "yarn rope scaling with beta_fast -1");
    expect_error(LLAMA, "\"rope_scaling\":{\"type\":\"longrope\",\"factor\":2}", ANT_EUNSUPP,
                 "rope_scaling: type 'longrope' is not supported (known: default, linear,");
    expect_error(LLAMA, "\"rope_parameters\":{\"rope_type\":\"dynamic\",\"factor\":2}", ANT_EUNSUPP,
                 "rope_parameters: type 'dynamic'");
    expect_error(LLAMA, "\"rope_scaling\":{\"type\":\"linear\"}", ANT_EDATA, "has no 'factor'");
    expect_error(LLAMA, "\"rope_scaling\":{\"type\":\"linear\",\"factor\":-1}", ANT_EDATA,
                 "scaling factor of -1");
    expect_error(LLAMA, "\"rope_scaling\":{\"type\":\"default\",\"mrope_section\":[1]}",
                 ANT_EUNSUPP, "'mrope_section' is not supported");
    expect_error(LLAMA, "\"rope_parameters\":{\"full_attention\":{}}", ANT_EUNSUPP,
                 "'full_attention' is not supported");
    expect_error(LLAMA, "\"rope_parameters\":{\"partial_rotary_factor\":0.5}", ANT_EUNSUPP,
                 "partial_rotary_factor");
    expect_error(LLAMA, "\"rope_scaling\":\"yarn\"", ANT_EDATA, "'rope_scaling' is not an object");
    expect_error(LLAMA, "\"rope_theta\":0", ANT_EDATA, "rope theta of 0");
    expect_error(LLAMA,
                 "\"rope_scaling\":{\"type\":\"llama3\",\"factor\":8,\"low_freq_factor\":4,"
                 "\"high_freq_factor\":1}",
                 ANT_EDATA, "llama3 rope scaling with low_freq_factor 4");
}

static void test_config_refused(void **state)
{
    (void)state;
    struct ant_arch arch;
    struct ant_error err;
    static const char *const keys[] = {
        "\"quantization_config\":{\"quant_method\":\"gptq\"}",
        "\"attn_logit_softcapping\":50.0",
        "\"final_logit_softcapping\":30.0",
        "\"mlp_bias\":true",
        "\"num_local_experts\":8",
        "\"partial_rotary_factor\":0.5",
        "\"residual_multiplier\":0.22",
        "\"query_pre_attn_scalar\":256",
        "\"qk_norm\":true",
        "\"is_causal\":false",
        "\"logit_scale\":\"odd\"",
        "\"no_rope_layers\":[1,0]",
    };
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
        expect_error(LLAMA, keys[i], ANT_EUNSUPP, "may change what a llama model computes");
    read_good(LLAMA, "\"mlp_bias\":false,\"num_local_experts\":0,\"partial_rotary_factor\":1.0,"
                     "\"is_causal\":true,\"residual_multiplier\":1.0,\"quantization_config\":null");

    /* Keys that nobody has heard of: notes and what is off may be there, a setting may not. */
    read_good(LLAMA, "\"made_by\":\"me\",\"use_magic\":false,\"magic\":null,\"list\":[]");
    expect_error(LLAMA, "\"use_magic\":true", ANT_EUNSUPP, "'use_magic' may change");
    expect_error(LLAMA, "\"magic_scale\":0.5", ANT_EUNSUPP, "'magic_scale' may change");

    expect_error("Gemma4ForCausalLM", "", ANT_EUNSUPP,
                 "architecture 'Gemma4ForCausalLM' is not supported (known: LlamaForCausalLM, "
                 "MistralForCausalLM, Qwen2ForCausalLM, ");
    expect_error("a\\nb", "", ANT_EUNSUPP, "architecture '(not printable)'");
    expect_error(LLAMA, "\"hidden_act\":\"gelu\"", ANT_EUNSUPP, "hidden_act 'gelu'");
    expect_error(LLAMA, "\"hidden_act\":3", ANT_EDATA, "'hidden_act' is not a string");
    expect_error(LLAMA, "\"num_key_value_heads\":3", ANT_EDATA, "8 heads do not divide among 3");
    expect_error(LLAMA, "\"head_dim\":7", ANT_EUNSUPP, "a head dimension of 7");
    expect_error(LLAMA, "\"head_dim\":512", ANT_EUNSUPP, "a head dimension of 512");
    expect_error(LLAMA, "\"head_dim\":0", ANT_EDATA, "'head_dim' is 0, not between 1 and");
    expect_error(LLAMA, "\"rms_norm_eps\":0", ANT_EDATA, "a norm epsilon of 0");
    expect_error(LLAMA, "\"rms_norm_eps\":true", ANT_EDATA, "'rms_norm_eps' is not a number");
    expect_error(LLAMA, "\"tie_word_embeddings\":1", ANT_EDATA, "is not true or false");

    assert_int_equal(read_config(&arch, "{}", &err), ANT_EDATA);
    assert_string_equal(err.text, "config names no class in 'architectures'");
    assert_int_equal(read_config(&arch, "{\"architectures\":[\"LlamaForCausalLM\"]}", &err),
                     ANT_EDATA);
    assert_string_equal(err.text, "config has no 'num_hidden_layers'");
    assert_int_equal(read_config(&arch,
                                 "{\"architectures\":[\"LlamaForCausalLM\"],"
                                 "\"num_hidden_layers\":100}",
                                 &err),
                     ANT_EDATA);
    assert_string_equal(err.text, "config has no 'hidden_size'");
    assert_int_equal(read_config(&arch,
                                 "{\"architectures\":[\"LlamaForCausalLM\"],"
                                 "\"num_hidden_layers\":513}",
                                 &err),
                     ANT_EDATA);
    assert_string_equal(err.text, "config: layers of 513, not 1 to 512");
}

/* ---- Families -------------------------------------------------------------------------------- */

static void expect_bits(const struct ant_arch *arch, int a, int b, int c, int d)
{
    const int wanted[4] = {a, b, c, d};
    for (int i = 0; i < 4; i++)
        assert_int_equal(arch->layers[i], wanted[i]);
}

static void test_config_layers(void **state)
{
    (void)state;
    enum { W = ANT_LAYER_WINDOW, L = ANT_LAYER_WINDOW | ANT_LAYER_LOCAL_ROPE };
    struct ant_arch arch =
        read_good("Gemma3ForCausalLM", "\"num_key_value_heads\":2,\"sliding_window\":64,"
                                       "\"_sliding_window_pattern\":2,\"rope_theta\":5e6,"
                                       "\"rope_local_base_freq\":77,\"rope_scaling\":"
                                       "{\"rope_type\":\"linear\",\"factor\":8}");
    expect_bits(&arch, L, 0, L, 0);
    assert_true(arch.rope.theta == 5e6 && arch.rope.kind == ANT_ROPE_LINEAR);
    assert_true(arch.local_rope.theta == 77 && arch.local_rope.kind == ANT_ROPE_PLAIN);
    assert_true(arch.embed_scale == 8 && arch.attn_scale == 1.0 / 16 && arch.tied);
    assert_true(arch.norm_offset == 1 && arch.head_dim == 256 && arch.act == ANT_ACT_GELU);
    arch = read_good("Gemma3ForCausalLM",
                     "\"num_key_value_heads\":2,\"rope_parameters\":{\"full_attention\":"
                     "{\"rope_type\":\"default\",\"rope_theta\":3},\"sliding_attention\":"
                     "{\"rope_type\":\"default\",\"rope_theta\":4}}");
    assert_true(arch.rope.theta == 3 && arch.local_rope.theta == 4);
    arch = read_good("Gemma2ForCausalLM", "\"num_key_value_heads\":2,"
                                          "\"attn_logit_softcapping\":null");
    expect_bits(&arch, W, 0, W, 0);
    assert_true(arch.attn_softcap == 0 && arch.logit_softcap == 30);
    arch = read_good("Olmo3ForCausalLM", "\"rope_theta\":9,\"rope_scaling\":"
                                         "{\"rope_type\":\"yarn\",\"factor\":2}");
    expect_bits(&arch, L, L, L, 0);
    assert_true(arch.local_rope.theta == 9 && arch.local_rope.kind == ANT_ROPE_PLAIN);
    assert_true(arch.rope.theta == 9 && arch.rope.kind == ANT_ROPE_YARN);
    arch = read_good("SmolLM3ForCausalLM", "");
    expect_bits(&arch, 0, 0, 0, ANT_LAYER_NO_ROPE);
    arch = read_good("SmolLM3ForCausalLM", "\"no_rope_layers\":[0,1,1,0,1]");
    expect_bits(&arch, ANT_LAYER_NO_ROPE, 0, 0, ANT_LAYER_NO_ROPE);
    expect_error("SmolLM3ForCausalLM", "\"no_rope_layers\":[0,1]", ANT_EDATA, "lists 2 of 4");
    expect_error("SmolLM3ForCausalLM", "\"no_rope_layers\":[0,1,\"x\",0]", ANT_EDATA, "0 and 1");
    expect_error("Gemma2ForCausalLM", "\"hidden_activation\":\"silu\"", ANT_EUNSUPP,
                 "hidden_activation 'silu' is not supported (known: gelu_pytorch_tanh)");
}

static void test_config_scales(void **state)
{
    (void)state;
    struct ant_arch arch =
        read_good("GraniteForCausalLM", "\"embedding_multiplier\":12,\"attention_multiplier\":0.5,"
                                        "\"residual_multiplier\":0.25,\"logits_scaling\":8,"
                                        "\"rms_norm_eps\":1e-5");
    assert_true(arch.embed_scale == 48 && arch.attn_scale == 0.5 && arch.logit_scale == 0.125);
    assert_true(fabs((double)arch.norm_eps - 1.6e-4) < 1e-9);
    expect_error("GraniteForCausalLM", "\"residual_multiplier\":0", ANT_EDATA, "epsilon of inf");
    expect_error("GraniteForCausalLM", "\"logits_scaling\":-1", ANT_EDATA, "logit scale of -1");

    static const char factors[] = "\"rope_scaling\":{\"type\":\"longrope\",\"short_factor\":[1,2],"
                                  "\"long_factor\":[3,4]},"
                                  "\"original_max_position_embeddings\":512,"
                                  "\"partial_rotary_factor\":0.5";
    arch = read_good("Phi3ForCausalLM", factors);
    assert_int_equal(arch.rope.dim, 4);
    assert_int_equal(arch.rope.original_context, 512);
    assert_true(arch.rope.has_factors && arch.rope.factors[0][1] == 2);
    assert_true(arch.rope.factors[1][0] == 3);
    assert_true(fabs(arch.rope.magnitude[1] - sqrt(1 + log(4) / log(512))) < 1e-12);
    expect_error("Phi3ForCausalLM",
                 "\"rope_scaling\":{\"type\":\"longrope\",\"short_factor\":[1,2]}", ANT_EDATA,
                 "'short_factor' is no list of 4 numbers");
    expect_error("Phi3ForCausalLM", "\"rope_scaling\":{\"type\":\"yarn\",\"factor\":2}",
                 ANT_EUNSUPP, "type 'yarn' is not supported (known: default, longrope)");
    expect_error("Phi3ForCausalLM", "\"partial_rotary_factor\":0.2", ANT_EDATA, "rotated");

    /* More factors than there is room for. */
    struct ant_buf many = {0};
    ant_buf_printf(&many, "\"head_dim\":20000,\"rope_scaling\":{\"type\":\"longrope\","
                          "\"long_factor\":[1],\"short_factor\":[1");
    for (int i = 1; i < 10000; i++)
        ant_buf_printf(&many, ",1");
    ant_buf_printf(&many, "]}");
    expect_error("Phi3ForCausalLM", many.data, ANT_EUNSUPP, "a head dimension of 20000");
    ant_buf_release(&many);
}

static void test_config_experts(void **state)
{
    (void)state;
    struct ant_arch arch =
        read_good("Qwen2MoeForCausalLM", "\"num_key_value_heads\":8,\"num_experts\":6,"
                                         "\"num_experts_per_tok\":3,\"moe_intermediate_size\":24,"
                                         "\"shared_expert_intermediate_size\":40,"
                                         "\"mlp_only_layers\":[1],\"norm_topk_prob\":true");
    expect_bits(&arch, ANT_LAYER_MOE, 0, ANT_LAYER_MOE, ANT_LAYER_MOE);
    assert_int_equal(arch.moe.n_experts, 6);
    assert_int_equal(arch.moe.n_used, 3);
    assert_int_equal(arch.moe.ff, 24);
    assert_int_equal(arch.moe.shared_ff, 40);
    assert_true(arch.moe.is_renormalized && arch.qkv_bias);
    arch = read_good("MixtralForCausalLM", "\"num_key_value_heads\":8");
    assert_int_equal(arch.moe.ff, 96);
    assert_int_equal(arch.moe.n_experts, 8);
    arch = read_good("PhiMoEForCausalLM", "\"lm_head_bias\":true,\"attention_bias\":true,"
                                          "\"router_jitter_noise\":0.5");
    assert_true(arch.output_bias && arch.o_bias && arch.norm == ANT_NORM_LAYER);
    assert_true(arch.moe.score == ANT_ROUTER_SPARSEMIXER && arch.moe.jitter == 0.5f);
    expect_error("MixtralForCausalLM", "\"num_experts_per_tok\":9", ANT_EDATA,
                 "9 experts for a token, not 1 to 8");
    expect_error("MixtralForCausalLM", "\"num_local_experts\":4096", ANT_EUNSUPP, "4096 experts");
    static const char vast[] =
        "{\"architectures\":[\"MixtralForCausalLM\"],\"num_hidden_layers\":512,"
        "\"hidden_size\":1048576,\"head_dim\":64,\"intermediate_size\":16777216,"
        "\"num_attention_heads\":8,\"vocab_size\":100,\"max_position_embeddings\":2048,"
        "\"num_local_experts\":1024}";
    struct ant_error err;
    assert_int_equal(read_config(&arch, vast, &err), ANT_EDATA);
    assert_non_null(strstr(err.text, "experts of 2.77e+19 parameters"));
    expect_error("PhiMoEForCausalLM", "\"num_experts_per_tok\":3", ANT_EUNSUPP, "not of 2");
    expect_error("PhiMoEForCausalLM", "\"lm_head_bias\":true,\"tie_word_embeddings\":true",
                 ANT_EUNSUPP, "'lm_head_bias' with tied");
    arch =
        read_good("Glm4MoeForCausalLM",
                  "\"n_group\":4,\"topk_group\":2,\"n_routed_experts\":16,"
                  "\"num_experts_per_tok\":4,\"moe_intermediate_size\":24,\"n_shared_experts\":2,"
                  "\"first_k_dense_replace\":3,\"routed_scaling_factor\":2.5,"
                  "\"use_qk_norm\":true,\"attention_bias\":true");
    expect_bits(&arch, 0, 0, 0, ANT_LAYER_MOE);
    assert_true(arch.moe.n_groups == 4 && arch.moe.n_groups_used == 2 && arch.moe.shared_ff == 48);
    assert_true(arch.moe.has_bias && !arch.moe.has_shared_scale && arch.moe.scale == 2.5);
    assert_true(arch.qkv_bias && !arch.o_bias && arch.qk_norm == ANT_QK_NORM_HEAD);
    assert_int_equal(arch.rope.dim, 4);
    assert_int_equal(read_good("Glm4MoeForCausalLM", "\"n_group\":1").moe.n_groups, 0);
    expect_error("Glm4MoeForCausalLM", "\"n_group\":3,\"topk_group\":1", ANT_EDATA,
                 "128 experts in 3 groups");
    expect_error("Glm4MoeForCausalLM", "\"n_group\":32,\"topk_group\":1", ANT_EDATA,
                 "8 experts for a token, of 1 of 32 groups");
    expect_error("MixtralForCausalLM", "\"n_group\":4", ANT_EUNSUPP, "'n_group' may change");
    expect_error("OlmoeForCausalLM", "\"mlp_only_layers\":[4]", ANT_EDATA, "no layer");
    expect_error("OlmoeForCausalLM", "\"clip_qkv\":8", ANT_EUNSUPP, "'clip_qkv' may change");
}

/* What a backend lacks is named. */
static void test_within(void **state)
{
    (void)state;
    static const struct {
        const char *class, *members;
        unsigned need;
        const char *said;
    } cases[] = {
        {LLAMA, "", 0, ""},
        {"GraniteForCausalLM", "", ANT_NEED_ATTN_SCALE, "an attention scale of its own"},
        {"Qwen3ForCausalLM", "\"num_key_value_heads\":8", ANT_NEED_QK_NORM_HEAD, "each head"},
        {"SmolLM3ForCausalLM", "", ANT_NEED_NO_ROPE, "layers without rotation"},
        {QWEN2, "\"num_key_value_heads\":8,\"use_sliding_window\":true,\"max_window_layers\":2",
         ANT_NEED_MIXED_WINDOWS, "windows in some layers only"},
        {"MixtralForCausalLM", "", ANT_NEED_MOE, "experts"},
    };
    struct ant_error err;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct ant_arch arch = read_good(cases[i].class, cases[i].members);
        assert_int_equal(ant_arch_within(&arch, cases[i].need, "gpu", &err), 0);
        if (cases[i].need == 0)
            continue;
        assert_int_equal(ant_arch_within(&arch, ~cases[i].need, "gpu", &err), ANT_EUNSUPP);
        if (!strstr(err.text, cases[i].said) || strncmp(err.text, "gpu: ", 5) != 0)
            fail_msg("error '%s' should say '%s'", err.text, cases[i].said);
    }
}

/* ---- GGUF ------------------------------------------------------------------------------------ */

/* A file of this architecture: a model of 4 layers, and what `add` puts in besides (`n` keys). */
static int read_gguf(struct ant_arch *arch, const char *family, void (*add)(struct ant_buf *),
                     int n, struct ant_error *err)
{
    static const char *const keys[] = {"block_count", "embedding_length", "feed_forward_length",
                                       "context_length", "attention.head_count"};
    static const uint32_t values[] = {4, 64, 96, 2048, 8};
    struct ant_buf buf = {0};
    struct ant_gguf *gguf;
    char key[64];
    gguf_begin(&buf, 3, 1, (uint64_t)(7 + n));
    gguf_key_text(&buf, "general.architecture", family);
    for (int i = 0; i < 5; i++) {
        snprintf(key, sizeof key, "%s.%s", family, keys[i]);
        gguf_key_u32(&buf, key, values[i]);
    }
    snprintf(key, sizeof key, "%s.attention.layer_norm_rms_epsilon", family);
    gguf_key_f32(&buf, key, 1e-5f);
    if (add)
        add(&buf);
    gguf_tensor(&buf, "token_embd.weight", 2, (int64_t[]){100, 64}, 0, 0);
    gguf_pad(&buf, 32);
    memset(ant_buf_grow(&buf, 100 * 64 * 4), 0, 100 * 64 * 4);
    write_file(path, buf.data, buf.len);
    ant_buf_release(&buf);
    assert_int_equal(ant_gguf_open(&gguf, path, err), 0);
    int result = ant_arch_read_gguf(arch, gguf, err);
    ant_gguf_close(gguf);
    return result;
}

static void add_all(struct ant_buf *buf)
{
    gguf_key_u32(buf, "llama.attention.head_count_kv", 2);
    gguf_key_u32(buf, "llama.attention.key_length", 32);
    gguf_key_u32(buf, "llama.attention.value_length", 32);
    gguf_key_u32(buf, "llama.rope.dimension_count", 16);
    gguf_key_f32(buf, "llama.rope.freq_base", 500000);
    gguf_key_u32(buf, "llama.vocab_size", 99);
    gguf_key_u32(buf, "llama.expert_count", 0);
    gguf_key_text(buf, "llama.rope.scaling.type", "linear");
    gguf_key_f32(buf, "llama.rope.scaling.factor", 4);
    gguf_key_u32(buf, "llama.attention.sliding_window", 128);
    gguf_key_u32(buf, "general.file_type", 1);
}

static void test_gguf_values(void **state)
{
    (void)state;
    struct ant_arch arch;
    struct ant_error err;
    assert_int_equal(read_gguf(&arch, "llama", NULL, 0, &err), 0);
    assert_string_equal(arch.family, "llama");
    assert_int_equal(arch.n_layers, 4);
    assert_int_equal(arch.n_kv_heads, 8);
    assert_int_equal(arch.head_dim, 8);
    assert_int_equal(arch.vocab, 100); /* the embedding's rows */
    assert_int_equal(arch.context, 2048);
    assert_int_equal(arch.rope.kind, ANT_ROPE_PLAIN);
    assert_int_equal(arch.rope.dim, 8);
    assert_true(arch.rope.interleaved && arch.tied && arch.rope.theta == 10000);
    assert_false(arch.qkv_bias || arch.o_bias);
    assert_false(arch.rope.has_factors);

    assert_int_equal(read_gguf(&arch, "llama", add_all, 11, &err), 0);
    assert_int_equal(arch.n_kv_heads, 2);
    assert_int_equal(arch.head_dim, 32);
    assert_int_equal(arch.rope.dim, 16);
    assert_int_equal(arch.rope.kind, ANT_ROPE_LINEAR);
    assert_int_equal(ant_arch_window(&arch, 3), 128);
    assert_int_equal(arch.vocab, 100);
    assert_true(arch.rope.factor == 4 && arch.rope.theta == 500000);

    assert_int_equal(read_gguf(&arch, "qwen2", NULL, 0, &err), 0);
    assert_true(arch.qkv_bias);
    assert_false(arch.rope.interleaved);
}

static void add_dynamic(struct ant_buf *buf)
{
    gguf_key_text(buf, "llama.rope.scaling.type", "dynamic");
}
static void add_experts(struct ant_buf *buf)
{
    gguf_key_u32(buf, "llama.expert_group_count", 8);
}
static void add_unknown(struct ant_buf *buf)
{
    gguf_key_u32(buf, "llama.new_thing", 1);
}
static void add_lengths(struct ant_buf *buf)
{
    gguf_key_u32(buf, "llama.attention.value_length", 16);
}
static void add_old_blocks(struct ant_buf *buf)
{
    gguf_key_u32(buf, "general.quantization_version", 1);
}
static void add_negative_base(struct ant_buf *buf)
{
    gguf_key_f32(buf, "llama.rope.freq_base", -1);
}
static void add_text_heads(struct ant_buf *buf)
{
    gguf_key_text(buf, "llama.attention.head_count_kv", "8");
}
static void add_noncausal(struct ant_buf *buf)
{
    gguf_key_bool(buf, "llama.attention.causal", false);
}

static void test_gguf_refused(void **state)
{
    (void)state;
    static const struct {
        void (*add)(struct ant_buf *);
        int code;
        const char *said;
    } cases[] = {
        {add_dynamic, ANT_EUNSUPP, "'llama.rope.scaling.type' asks for an unknown scaling"},
        {add_experts, ANT_EUNSUPP, "'llama.expert_group_count' may change what the model"},
        {add_unknown, ANT_EUNSUPP, "'llama.new_thing' may change what the model computes"},
        {add_noncausal, ANT_EUNSUPP, "'llama.attention.causal' may change"},
        {add_lengths, ANT_EUNSUPP, "values of 16 dimensions under keys of 8"},
        {add_old_blocks, ANT_EUNSUPP, "quantization version 1"},
        {add_negative_base, ANT_EDATA, "a rope theta of -1"},
        {add_text_heads, ANT_EDATA, "'llama.attention.head_count_kv' is not an integer"},
    };
    struct ant_arch arch;
    struct ant_error err;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_int_equal(read_gguf(&arch, "llama", cases[i].add, 1, &err), cases[i].code);
        if (!strstr(err.text, cases[i].said) || !strstr(err.text, path))
            fail_msg("error '%s' should say '%s'", err.text, cases[i].said);
    }
    assert_int_equal(read_gguf(&arch, "gemma4", NULL, 0, &err), ANT_EUNSUPP);
    assert_non_null(
        strstr(err.text, "architecture 'gemma4' is not supported (known: llama, qwen2, "));

    struct ant_buf buf = {0};
    struct ant_gguf *gguf;
    gguf_begin(&buf, 3, 0, 1);
    gguf_key_text(&buf, "general.architecture", "lla\nma");
    write_file(path, buf.data, buf.len);
    ant_buf_release(&buf);
    assert_int_equal(ant_gguf_open(&gguf, path, &err), 0);
    assert_int_equal(ant_arch_read_gguf(&arch, gguf, &err), ANT_EUNSUPP);
    assert_null(strchr(err.text, '\n'));
    ant_gguf_close(gguf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rope_golden),     cmocka_unit_test(test_rope_factors),
        cmocka_unit_test(test_counts),          cmocka_unit_test(test_config_values),
        cmocka_unit_test(test_config_defaults), cmocka_unit_test(test_config_window),
        cmocka_unit_test(test_config_rope),     cmocka_unit_test(test_config_refused),
        cmocka_unit_test(test_config_layers),   cmocka_unit_test(test_config_scales),
        cmocka_unit_test(test_config_experts),  cmocka_unit_test(test_within),
        cmocka_unit_test(test_gguf_values),     cmocka_unit_test(test_gguf_refused),
    };
    return cmocka_run_group_tests_name("arch", tests, set_up, remove_test_folder);
}
