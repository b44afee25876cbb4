/* SPDX-License-Identifier: Apache-2.0 */
/* Whole models in both formats: roles, shapes, what must not be there, stop ids; damaged files. */
#include "config.h"

#include "model/checkpoint.h"

#include "base/file.h"
#include "model_files.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

static char gguf_path[300];

static int set_up(void **state)
{
    make_test_folder(state);
    snprintf(gguf_path, sizeof gguf_path, "%s/m.gguf", test_folder);
    return 0;
}

static struct ant_checkpoint *open_good(const char *path)
{
    struct ant_checkpoint *checkpoint;
    struct ant_error err;
    if (ant_checkpoint_open(&checkpoint, path, &err) < 0)
        fail_msg("%s", err.text);
    return checkpoint;
}

static void expect_error(const char *path, int code, const char *said)
{
    struct ant_checkpoint *checkpoint = NULL;
    struct ant_error err;
    int result = ant_checkpoint_open(&checkpoint, path, &err);
    if (result != code)
        fail_msg("code %d, expected %d (%s)", result, code, said);
    assert_null(checkpoint);
    if (!strstr(err.text, said) || strchr(err.text, '\n'))
        fail_msg("error '%s' should say '%s' in one line", err.text, said);
}

/* Every role that the model has is bound to a tensor of the bytes that were written. */
static void check_roles(const struct ant_checkpoint *checkpoint, const struct tiny_model *model,
                        bool in_file_order)
{
    static const enum ant_role roles[] = {
        ANT_W_ATTN_NORM, ANT_W_Q,      ANT_W_K,    ANT_W_V,      ANT_W_Q_BIAS,
        ANT_W_K_BIAS,    ANT_W_V_BIAS, ANT_W_O,    ANT_W_O_BIAS, ANT_W_MLP_NORM,
        ANT_W_GATE,      ANT_W_UP,     ANT_W_DOWN,
    };
    const struct ant_arch *arch = ant_checkpoint_arch(checkpoint);
    for (int layer = 0; layer < arch->n_layers; layer++)
        for (size_t i = 0; i < sizeof roles / sizeof *roles; i++) {
            enum ant_role role = roles[i];
            bool is_qkv_bias = role >= ANT_W_Q_BIAS && role <= ANT_W_V_BIAS;
            const struct ant_tensor *tensor = ant_checkpoint_role(checkpoint, role, layer);
            if ((is_qkv_bias && !arch->qkv_bias) || (role == ANT_W_O_BIAS && !arch->o_bias)) {
                assert_null(tensor);
                continue;
            }
            assert_non_null(tensor);
            struct ant_buf wanted = {0};
            tiny_weights(&wanted, model, role, layer);
            assert_int_equal(tensor->bytes, wanted.len);
            if (in_file_order)
                assert_memory_equal(tensor->data, wanted.data, wanted.len);
            ant_buf_release(&wanted);
        }
}

static void test_safetensors(void **state)
{
    (void)state;
    static const char *const families[] = {"llama", "mistral", "qwen2"};
    static const enum ant_type types[] = {ANT_F32, ANT_F16, ANT_BF16};
    for (int i = 0; i < 3; i++) {
        struct tiny_model model = {.family = families[i],
                                   .seed = 7,
                                   .tied = i == 2,
                                   .bias = i == 0,
                                   .window = i == 1 ? 100 : 0,
                                   .llama3 = i == 0};
        tiny_set_types(&model, types[i]);
        tiny_write_folder(test_folder, &model);
        struct ant_checkpoint *checkpoint = open_good(test_folder);
        const struct ant_arch *arch = ant_checkpoint_arch(checkpoint);
        assert_string_equal(arch->family, families[i]);
        assert_string_equal(ant_checkpoint_format(checkpoint), "safetensors");
        assert_string_equal(ant_checkpoint_path(checkpoint), test_folder);
        assert_int_equal(arch->o_bias, i == 0);
        assert_int_equal(arch->qkv_bias, i != 1);
        assert_int_equal(arch->window, i == 1 ? 100 : 0);
        check_roles(checkpoint, &model, true);
        const struct ant_tensor *embed = ant_checkpoint_role(checkpoint, ANT_W_EMBED, 0);
        assert_ptr_equal(embed->data,
                         ant_checkpoint_find(checkpoint, "model.embed_tokens.weight")->data);
        assert_int_equal(ant_checkpoint_role(checkpoint, ANT_W_OUTPUT, 0) == embed, i == 2);
        int64_t total = 0;
        for (size_t t = 0; t < ant_checkpoint_count(checkpoint); t++) {
            const struct ant_tensor *tensor = ant_checkpoint_tensor(checkpoint, t);
            total += tensor->n_dims == 2 ? tensor->shape[0] * tensor->shape[1] : tensor->shape[0];
        }
        assert_int_equal(total, ant_arch_parameters(arch));
        ant_checkpoint_drop_pages(checkpoint);
        check_roles(checkpoint, &model, true); /* they come back */
        ant_checkpoint_close(checkpoint);
    }
}

static void test_gguf(void **state)
{
    (void)state;
    for (int type = 0; type < ANT_N_TYPES; type++) {
        struct tiny_model model = {.family = type % 2 ? "qwen2" : "llama",
                                   .seed = 3,
                                   .hidden = 256,
                                   .ff = 256,
                                   .head_dim = 64,
                                   .tied = type % 3 == 0,
                                   .llama3 = type == 0};
        tiny_set_types(&model, (enum ant_type)type);
        tiny_write_gguf(gguf_path, &model);
        struct ant_checkpoint *checkpoint = open_good(gguf_path);
        const struct ant_arch *arch = ant_checkpoint_arch(checkpoint);
        assert_string_equal(ant_checkpoint_format(checkpoint), "GGUF v3");
        assert_int_equal(arch->tied, model.tied);
        assert_int_equal(arch->rope.interleaved, type % 2 == 0);
        assert_int_equal(ant_checkpoint_role(checkpoint, ANT_W_Q, 1)->type, type);
        check_roles(checkpoint, &model, type % 2 == 1); /* llama's q and k are permuted */
        if (type == 0) {
            assert_true(arch->rope.has_factors);
            assert_true(arch->rope.factors[0][0] == 1 && arch->rope.factors[1][31] == 8);
        }
        ant_checkpoint_close(checkpoint);
    }
}

static struct ant_buf read_whole(const char *path)
{
    struct ant_buf buf = {0};
    struct ant_error err;
    struct ant_file file;
    if (ant_file_map(&file, path, &err) < 0)
        fail_msg("%s", err.text);
    ant_buf_add(&buf, file.data, file.bytes);
    ant_file_unmap(&file);
    return buf;
}

static void test_shapes(void **state)
{
    (void)state;
    struct ant_error err;
    struct tiny_model model = {.seed = 1}, other = {.seed = 1, .ff = 128};
    char *config_path = ant_xasprintf("%s/config.json", test_folder);
    tiny_write_folder(test_folder, &other);
    struct ant_buf config = read_whole(config_path);
    free(config_path);
    tiny_write_folder(test_folder, &model);
    write_in(test_folder, "config.json", config.data, config.len);
    ant_buf_release(&config);
    expect_error(test_folder, ANT_EDATA,
                 "tensor 'model.layers.0.mlp.gate_proj.weight' has shape (96, 64), expected "
                 "(128, 64)");

    model = (struct tiny_model){.seed = 1, .n_layers = 3};
    tiny_write_folder(test_folder, &model);
    char *text = ant_xasprintf("%s/model.safetensors", test_folder);
    char *kept = ant_xasprintf("%s/kept", test_folder);
    assert_int_equal(rename(text, kept), 0);
    model.n_layers = 2;
    tiny_write_folder(test_folder, &model); /* config of 2 layers, tensors of 3 */
    assert_int_equal(rename(kept, text), 0);
    free(text);
    free(kept);
    struct ant_checkpoint *checkpoint;
    assert_int_equal(ant_checkpoint_open(&checkpoint, test_folder, &err), ANT_EUNSUPP);
    assert_non_null(strstr(err.text, "tensor 'model.layers.2."));
    assert_non_null(strstr(err.text, "has no place in a llama model"));
}

/* Puts `to` into a file, `skip` bytes after the end of the first `mark`. */
static void patch(const char *path, const char *mark, ptrdiff_t skip, const char *to)
{
    struct ant_buf buf = read_whole(path);
    char *found = memmem(buf.data, buf.len, mark, strlen(mark));
    assert_non_null(found);
    memcpy(found + strlen(mark) + skip, to, strlen(to));
    write_file(path, buf.data, buf.len);
    ant_buf_release(&buf);
}

static void test_tensors_amiss(void **state)
{
    (void)state;
    struct tiny_model model = {.seed = 1};
    tiny_write_gguf(gguf_path, &model);
    patch(gguf_path, "blk.1.ffn_up.weight", -19, "blk.1.ffn_xx.weight");
    expect_error(gguf_path, ANT_EDATA, "has no tensor 'blk.1.ffn_up.weight'");
    model.bias = true;
    tiny_write_gguf(gguf_path, &model);
    patch(gguf_path, "blk.0.attn_q.bias", -17, "blk.0.attn_x.bias");
    expect_error(gguf_path, ANT_EUNSUPP,
                 "tensor 'blk.0.attn_x.bias' has no place in a llama model");
    tiny_write_gguf(gguf_path, &model);
    patch(gguf_path, "output.weight", -13, "cutput.weight");
    expect_error(gguf_path, ANT_EUNSUPP, "tensor 'cutput.weight' has no place");
    tiny_write_gguf(gguf_path, &model);
    patch(gguf_path, "general.architecture", -20, "general.architexture");
    expect_error(gguf_path, ANT_EDATA, "has no key 'general.architecture'");

    model.bias = false;
    tiny_write_gguf(gguf_path, &model);
    patch(gguf_path, "blk.0.attn_norm.weight", 4 + 8, "\x08"); /* its type, after its shape */
    expect_error(gguf_path, ANT_EUNSUPP,
                 "tensor 'blk.0.attn_norm.weight' is a vector of type Q8_0");
    model.llama3 = true;
    tiny_write_gguf(gguf_path, &model);
    patch(gguf_path, "rope_freqs.weight", -17, "rope_freqz.weight");
    expect_error(gguf_path, ANT_EUNSUPP, "tensor 'rope_freqz.weight' has no place");
}

/* A tied model that holds its output matrix as well. */
static void test_tied_copy(void **state)
{
    (void)state;
    char *config = ant_xasprintf("%s/config.json", test_folder);
    struct tiny_model model = {.seed = 1};
    tiny_write_folder(test_folder, &model);
    patch(config, "\"tie_word_embeddings\": false", -28, "\"tie_word_embeddings\": true ");
    expect_error(test_folder, ANT_EDATA,
                 "tensors 'lm_head.weight' and 'model.embed_tokens.weight'");
    free(config);
}

static void test_paths(void **state)
{
    (void)state;
    struct tiny_model model = {.seed = 1};
    char *slashes = ant_xasprintf("%s//", test_folder);
    expect_error(slashes, ANT_ENOENT, "has no config.json");
    tiny_write_gguf(gguf_path, &model);
    char *said = ant_xasprintf("has no config.json; to use its GGUF file name '%s'", gguf_path);
    expect_error(test_folder, ANT_ENOENT, said);
    free(said);
    write_in(test_folder, "n.gguf", "x", 1);
    expect_error(test_folder, ANT_ENOENT, "name that file");
    tiny_write_folder(test_folder, &model);
    struct ant_checkpoint *checkpoint = open_good(slashes);
    assert_string_equal(ant_checkpoint_path(checkpoint), test_folder);
    ant_checkpoint_close(checkpoint);
    free(slashes);
    char *tensors = ant_xasprintf("%s/model.safetensors", test_folder);
    expect_error(tensors, ANT_EUSAGE, "name the folder that it is in");
    free(tensors);
    expect_error("/nonexistent", ANT_ENOENT, "/nonexistent");
    write_in(test_folder, "config.json", "{\"a\":", 5);
    expect_error(test_folder, ANT_EDATA, "config.json' is not valid JSON");
    ant_checkpoint_close(NULL);
}

static void test_digest(void **state)
{
    (void)state;
    struct tiny_model model = {.seed = 1};
    tiny_write_folder(test_folder, &model);
    struct ant_checkpoint *checkpoint = open_good(test_folder);
    struct ant_digest first = ant_checkpoint_digest(checkpoint), other;
    ant_checkpoint_close(checkpoint);
    checkpoint = open_good(test_folder);
    other = ant_checkpoint_digest(checkpoint);
    assert_memory_equal(&first, &other, sizeof first);
    ant_checkpoint_close(checkpoint);
    model.theta = 10001;
    tiny_write_folder(test_folder, &model);
    checkpoint = open_good(test_folder);
    other = ant_checkpoint_digest(checkpoint);
    assert_true(memcmp(&first, &other, sizeof first) != 0);
    ant_checkpoint_close(checkpoint);
}

static void test_bad_stop_ids(void **state)
{
    (void)state;
    static const char *const values[] = {"\"2\"", "[1,null]", "-1", "4294967296", "[[1]]", "1.5"};
    struct tiny_model model = {.seed = 1};
    tiny_write_folder(test_folder, &model);
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        char text[64];
        snprintf(text, sizeof text, "{\"eos_token_id\":%s}", values[i]);
        write_in(test_folder, "generation_config.json", text, strlen(text));
        expect_error(test_folder, ANT_EDATA,
                     "generation_config.json': 'eos_token_id' holds something that is no id");
    }
    write_in(test_folder, "generation_config.json", "{\"eos_token_id\":null}", 21);
    ant_checkpoint_close(open_good(test_folder));
}

/* Opens the file and, if that works, looks at every byte. */
static bool survives(const char *path)
{
    struct ant_checkpoint *checkpoint;
    struct ant_error err = {"unset"};
    if (ant_checkpoint_open(&checkpoint, path, &err) < 0) {
        assert_null(strchr(err.text, '\n'));
        assert_non_null(strstr(err.text, test_folder));
        return false;
    }
    for (size_t i = 0; i < ant_checkpoint_count(checkpoint); i++) {
        const struct ant_tensor *tensor = ant_checkpoint_tensor(checkpoint, i);
        for (size_t j = 0; j < tensor->bytes; j += 64)
            (void)((const volatile unsigned char *)tensor->data)[j];
    }
    ant_checkpoint_close(checkpoint);
    return true;
}

/* A model cut off at every byte of its header and here and there after it, and one with a byte of
 * its header set to something else. */
static void test_damaged_gguf(void **state)
{
    (void)state;
    struct tiny_model model = {.seed = 1, .n_layers = 1, .vocab = 300};
    tiny_write_gguf(gguf_path, &model);
    struct ant_buf good = read_whole(gguf_path);
    for (size_t bytes = good.len; bytes-- > 0;) {
        if (bytes > 9000 && bytes % 997 != 0)
            continue;
        assert_int_equal(truncate(gguf_path, (off_t)bytes), 0);
        assert_false(survives(gguf_path));
    }
    uint64_t random = 1;
    for (int i = 0; i < 3000; i++) {
        random = random * 6364136223846793005 + 1442695040888963407;
        size_t at = (size_t)(random >> 33) % 9000;
        char old = good.data[at];
        good.data[at] = (char)(random >> 24);
        write_file(gguf_path, good.data, good.len);
        survives(gguf_path);
        good.data[at] = old;
    }
    ant_buf_release(&good);
}

static void check_stops(const char *path)
{
    struct ant_checkpoint *checkpoint = open_good(path);
    struct ant_tokenizer *tokenizer;
    struct ant_error err;
    if (ant_checkpoint_tokenizer(checkpoint, &tokenizer, &err) < 0)
        fail_msg("%s", err.text);
    int end = ant_tokenizer_find(tokenizer, "<|im_end|>");
    int text_end = ant_tokenizer_find(tokenizer, "<|endoftext|>");
    assert_true(end > 0 && text_end > 0);
    int32_t ids[8];
    assert_int_equal(ant_checkpoint_stop_ids(checkpoint, tokenizer, ids, 8), 2);
    assert_int_equal(ids[0], end);
    assert_int_equal(ids[1], text_end);
    assert_int_equal(ant_checkpoint_stop_ids(checkpoint, tokenizer, ids, 1), 1);
    ant_tokenizer_close(tokenizer);
    ant_checkpoint_close(checkpoint);
}

static void test_stop_ids(void **state)
{
    (void)state;
    struct tiny_model model = {.seed = 1};
    tiny_write_gguf(gguf_path, &model);
    check_stops(gguf_path);
    tiny_write_folder(test_folder, &model);
    check_stops(test_folder);

    write_in(test_folder, "generation_config.json", "{\"eos_token_id\":[5,263,6]}", 26);
    struct ant_checkpoint *checkpoint = open_good(test_folder);
    struct ant_tokenizer *tokenizer;
    int32_t ids[8];
    assert_int_equal(ant_checkpoint_tokenizer(checkpoint, &tokenizer, NULL), 0);
    assert_int_equal(ant_checkpoint_stop_ids(checkpoint, tokenizer, ids, 8), 4);
    assert_int_equal(ids[0], 263); /* config.json first, each once */
    assert_int_equal(ids[1], 5);
    assert_int_equal(ids[2], 6);
    ant_tokenizer_close(tokenizer);
    ant_checkpoint_close(checkpoint);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, remove_test_folder)

/* ---- Random weights -------------------------------------------------------------------------- */

static struct ant_checkpoint *open_dummy(const char *shape, enum ant_type type)
{
    struct ant_checkpoint *checkpoint;
    struct ant_error err;
    if (ant_checkpoint_open_dummy(&checkpoint, shape, type, &err) < 0)
        fail_msg("%s", err.text);
    return checkpoint;
}

/* Mean and deviation of what the tensor holds. */
static void check_spread(const struct ant_tensor *tensor)
{
    int64_t n = tensor->shape[0] * tensor->shape[1];
    float *values = ant_xcalloc((size_t)n, sizeof *values);
    double sum = 0, squares = 0;
    ant_dequantize(tensor->type, tensor->data, values, n);
    for (int64_t i = 0; i < n; i++) {
        sum += (double)values[i];
        squares += (double)values[i] * (double)values[i];
    }
    free(values);
    assert_true(sum / (double)n < 3.5e-3 && sum / (double)n > -3.5e-3); /* Q4_0 leans by 2.2e-3 */
    assert_true(squares / (double)n > 0.018 * 0.018 && squares / (double)n < 0.022 * 0.022);
}

static void test_dummy(void **state)
{
    (void)state;
    static const enum ant_type types[] = {ANT_F32, ANT_F16, ANT_BF16, ANT_Q8_0, ANT_Q4_0};
    struct tiny_model model = {.family = "qwen2", .seed = 7};
    tiny_write_folder(test_folder, &model);
    for (int i = 0; i < 5; i++) {
        struct ant_checkpoint *checkpoint = open_dummy(test_folder, types[i]);
        struct ant_checkpoint *again = open_dummy(test_folder, types[i]);
        const struct ant_arch *arch = ant_checkpoint_arch(checkpoint);
        assert_string_equal(arch->family, "qwen2");
        for (int role = 0; role < ANT_N_ROLES; role++) {
            const struct ant_tensor *tensor =
                ant_checkpoint_role(checkpoint, (enum ant_role)role, 0);
            if (!tensor)
                continue;
            const struct ant_tensor *same = ant_checkpoint_role(again, (enum ant_role)role, 0);
            assert_int_equal(tensor->type, tensor->n_dims == 1 ? ANT_F32 : types[i]);
            assert_memory_equal(tensor->data, same->data, tensor->bytes);
            if (tensor->n_dims == 2)
                check_spread(tensor);
            else
                assert_true(*(const float *)tensor->data == (strstr(tensor->name, "bias") ? 0 : 1));
        }
        /* Layers differ. */
        assert_memory_not_equal(ant_checkpoint_role(checkpoint, ANT_W_Q, 0)->data,
                                ant_checkpoint_role(checkpoint, ANT_W_Q, 1)->data, 64);
        ant_checkpoint_close(again);
        ant_checkpoint_drop_pages(checkpoint);
        ant_checkpoint_close(checkpoint);
    }
}

static void test_dummy_shapes(void **state)
{
    (void)state;
    struct ant_checkpoint *checkpoint = open_dummy("smollm2-135m", ANT_Q4_0);
    struct ant_checkpoint *other = open_dummy("smollm2-135m", ANT_Q8_0);
    struct ant_tokenizer *tokenizer;
    struct ant_error err;
    assert_int_equal(ant_arch_parameters(ant_checkpoint_arch(checkpoint)), 134515008);
    assert_true(ant_checkpoint_digest(checkpoint).low != ant_checkpoint_digest(other).low);
    assert_string_equal(ant_checkpoint_format(other), "random Q8_0");
    assert_int_equal(ant_checkpoint_tokenizer(other, &tokenizer, &err), ANT_EUNSUPP);
    ant_checkpoint_close(other);
    ant_checkpoint_close(checkpoint);

    checkpoint = open_dummy("phi-mini-moe", ANT_Q4_0);
    assert_true(ant_arch_parameters(ant_checkpoint_arch(checkpoint)) > 7600000000);
    ant_checkpoint_close(checkpoint);
    checkpoint = open_dummy("mixtral-8x7b", ANT_Q4_0);
    assert_true(ant_arch_parameters(ant_checkpoint_arch(checkpoint)) > 46700000000);
    ant_checkpoint_close(checkpoint);

    checkpoint = NULL;
    assert_int_equal(ant_checkpoint_open_dummy(&checkpoint, "/nonexistent", ANT_F32, &err),
                     ANT_ENOENT);
    assert_non_null(strstr(err.text, "known: smollm2-135m, "));
    struct tiny_model odd = {.hidden = 48, .head_dim = 16};
    tiny_write_folder(test_folder, &odd);
    assert_int_equal(ant_checkpoint_open_dummy(&checkpoint, test_folder, ANT_Q8_0, &err),
                     ANT_EUSAGE);
    assert_non_null(strstr(err.text, "rows of 48, which Q8_0 cannot hold"));
    assert_null(checkpoint);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_safetensors),  TEST(test_gguf),     TEST(test_shapes), TEST(test_tensors_amiss),
        TEST(test_tied_copy),    TEST(test_paths),    TEST(test_digest), TEST(test_bad_stop_ids),
        TEST(test_damaged_gguf), TEST(test_stop_ids), TEST(test_dummy),  TEST(test_dummy_shapes),
    };
    return cmocka_run_group_tests_name("checkpoint", tests, NULL, NULL);
}
