/* SPDX-License-Identifier: Apache-2.0 */
/* Tokens of hostile texts as Hugging Face tokenizers makes them (tests/golden/text), for every
 * construct of tokenizer.json; of the real SmolLM2 if ANTIPHON_MODEL names it; and llama.cpp's own
 * test vectors if ANTIPHON_VOCABS names a folder with them (tests/golden/text/get-vectors). */
#include "config.h"

#include "base/file.h"
#include "model/gguf.h"
#include "text/tokenizer.h"

#include <dirent.h>
#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "model_files.h"

static char *golden; /* the folder of what is expected */
static json_t *texts, *variants;

static void encode(const struct ant_tokenizer *tokenizer, const json_t *text, struct ant_ids *ids)
{
    struct ant_error err;
    ids->len = 0;
    if (ant_tokenizer_encode(tokenizer, json_string_value(text), json_string_length(text), true,
                             ids, &err) < 0)
        fail_msg("%s", err.text);
}

static void print_ids(const struct ant_ids *ids)
{
    for (size_t i = 0; i < ids->len; i++)
        print_error(" %d", ids->data[i]);
    print_error("\n");
}

/* The base tokenizer with this variant's changes, through a file of its own. */
static struct ant_tokenizer *open_variant(const json_t *variant)
{
    char *name = ant_xasprintf("%s.json", json_string_value(json_object_get(variant, "base")));
    json_t *root = load_json(golden, name), *change = json_object_get(variant, "change");
    assert_non_null(root);
    json_t *model = json_incref(json_object_get(root, "model"));
    json_object_update(root, change);
    json_object_update(model, json_object_get(change, "model"));
    json_object_set_new(root, "model", model);

    char *text = json_dumps(root, 0), *path = ant_xasprintf("%s/tokenizer.json", test_folder);
    write_file(path, text, strlen(text));
    struct ant_tokenizer *tokenizer;
    struct ant_error err;
    if (ant_tokenizer_open_json(&tokenizer, path, &err) < 0)
        fail_msg("%s", err.text);
    json_decref(root);
    free(text);
    free(path);
    free(name);
    return tokenizer;
}

static void test_variant(void **state)
{
    const json_t *variant = *state, *expected = json_object_get(variant, "encode"), *text;
    const json_t *decoded = json_object_get(variant, "decode");
    struct ant_tokenizer *tokenizer = open_variant(variant);
    struct ant_ids ids = {0};
    struct ant_buf out = {0};
    size_t i, wrong = 0;

    json_array_foreach(texts, i, text)
    {
        encode(tokenizer, text, &ids);
        uint32_t crc = ant_crc32c(0, ids.data, ids.len * sizeof *ids.data);
        if (crc != json_integer_value(json_array_get(expected, i)) && wrong++ < 5) {
            print_error("text %zu '%.60s' becomes", i, json_string_value(text));
            print_ids(&ids);
        }
        out.len = 0;
        ant_tokenizer_decode(tokenizer, ids.data, ids.len, false, &out);
        ant_buf_add(&out, "", 1);
        ant_tokenizer_decode(tokenizer, ids.data, ids.len, true, &out);
        crc = ant_crc32c(0, out.data, out.len);
        if (decoded && crc != json_integer_value(json_array_get(decoded, i)) && wrong++ < 5)
            print_error("text %zu is decoded to '%.60s'\n", i, out.data);
    }
    assert_int_equal(i, json_array_size(expected));
    if (wrong)
        fail_msg("%zu of %zu texts differ; make_golden.py --show prints what is expected", wrong,
                 i);
    ant_buf_release(&out);
    ant_ids_release(&ids);
    ant_tokenizer_close(tokenizer);
}

static struct ant_tokenizer *open_gguf(const char *path)
{
    struct ant_gguf *gguf;
    struct ant_tokenizer *tokenizer = NULL;
    struct ant_error err;
    if (ant_gguf_open(&gguf, path, &err) < 0 || ant_tokenizer_open_gguf(&tokenizer, gguf, &err) < 0)
        fail_msg("%s", err.text);
    ant_gguf_close(gguf); /* the tokenizer has copied what it needs */
    return tokenizer;
}

static struct ant_tokenizer *open_model(const char *path)
{
    struct ant_tokenizer *tokenizer;
    struct ant_error err;

    if (strcmp(path + strlen(path) - strlen(".gguf"), ".gguf") == 0)
        return open_gguf(path);
    if (ant_tokenizer_open_model(&tokenizer, path, &err) < 0)
        fail_msg("%s", err.text);
    return tokenizer;
}

/* Models of SentencePiece: its own ids. */
static void test_models(void **state)
{
    (void)state;
    json_t *all = load_json(golden, "models.json"), *expected, *crc;
    const char *name;
    struct ant_ids ids = {0};
    size_t i, wrong = 0;

    assert_non_null(all);
    json_object_foreach(all, name, expected)
    {
        char *path = ant_xasprintf("%s/%s", golden, name);
        struct ant_tokenizer *tokenizer = open_model(path);
        json_array_foreach(expected, i, crc)
        {
            const json_t *text = json_array_get(texts, i);
            encode(tokenizer, text, &ids);
            if (!json_is_null(crc) &&
                ant_crc32c(0, ids.data, ids.len * sizeof *ids.data) != json_integer_value(crc) &&
                wrong++ < 5) {
                print_error("%s, text %zu '%.60s' becomes", name, i, json_string_value(text));
                print_ids(&ids);
            }
        }
        assert_int_equal(i, json_array_size(texts));
        ant_tokenizer_close(tokenizer);
        free(path);
    }
    json_decref(all);
    ant_ids_release(&ids);
    if (wrong)
        fail_msg("%zu texts differ", wrong);
}

static void test_smollm2(void **state)
{
    (void)state;
    const char *path = getenv("ANTIPHON_MODEL");
    if (!path) {
        const char *needs = getenv("ANTIPHON_REQUIRE");
        if (needs && strstr(needs, "model"))
            fail_msg("ANTIPHON_MODEL names no file");
        print_message("skip: ANTIPHON_MODEL names no file; share/get-smollm2 fetches it\n");
        skip();
    }
    struct ant_tokenizer *tokenizer = open_gguf(path);
    json_t *smollm2 = load_json(golden, "smollm2.json"), *item;
    struct ant_ids ids = {0};
    struct ant_buf out = {0};
    size_t i, k;

    assert_non_null(smollm2);
    json_array_foreach(smollm2, i, item)
    {
        const json_t *text = json_object_get(item, "text"),
                     *expected = json_object_get(item, "ids");
        encode(tokenizer, text, &ids);
        if (ids.len != json_array_size(expected))
            fail_msg("text %zu: %zu ids, expected %zu", i, ids.len, json_array_size(expected));
        for (k = 0; k < ids.len; k++)
            assert_int_equal(ids.data[k], json_integer_value(json_array_get(expected, k)));
        out.len = 0;
        ant_tokenizer_decode(tokenizer, ids.data, ids.len, false, &out);
        assert_int_equal(out.len, json_string_length(text));
        assert_memory_equal(out.data, json_string_value(text), out.len);
    }
    assert_true(i >= 20);
    json_decref(smollm2);
    ant_ids_release(&ids);
    ant_buf_release(&out);
    ant_tokenizer_close(tokenizer);
}

static char *read_beside(const char *path, const char *ending, size_t *bytes)
{
    char *name = ant_xasprintf("%s%s", path, ending), *text = NULL;
    ant_file_read(&text, bytes, name, 1 << 20, NULL);
    free(name);
    return text;
}

/* Texts are parted by a line of their own; the expected ids are one line a text. */
static size_t check_vectors(const char *path, char *inputs, const char *outputs)
{
    static const char between[] = "\n__ggml_vocab_test__\n";
    struct ant_tokenizer *tokenizer = open_gguf(path);
    struct ant_ids ids = {0};
    struct ant_error err;
    size_t n = 0;

    for (char *text = inputs, *next; text; text = next, n++) {
        next = strstr(text, between);
        size_t bytes = next ? (size_t)(next - text) : strlen(text), k = 0;
        next = next ? next + strlen(between) : NULL;
        ids.len = 0;
        if (ant_tokenizer_encode(tokenizer, text, bytes, false, &ids, &err) < 0)
            fail_msg("%s", err.text);
        char *end;
        for (; *outputs && *outputs != '\n'; outputs = end) {
            long id = strtol(outputs, &end, 10);
            if (end == outputs) { /* the space before the end of the line */
                end++;
                continue;
            }
            if (k >= ids.len || ids.data[k] != id)
                fail_msg("%s, text %zu '%.*s': id %zu should be %ld", path, n, (int)bytes, text, k,
                         id);
            k++;
        }
        if (k != ids.len)
            fail_msg("%s, text %zu '%.*s': %zu ids, expected %zu", path, n, (int)bytes, text,
                     ids.len, k);
        if (*outputs == '\n')
            outputs++;
    }
    ant_ids_release(&ids);
    ant_tokenizer_close(tokenizer);
    return n;
}

static void test_vectors(void **state)
{
    (void)state;
    const char *path = getenv("ANTIPHON_VOCABS");
    if (!path) {
        print_message("skip: ANTIPHON_VOCABS names no folder; get-vectors fetches one\n");
        skip();
    }
    DIR *dir = opendir(path);
    assert_non_null(dir);
    size_t n_files = 0;
    for (struct dirent *entry; (entry = readdir(dir));) {
        size_t length = strlen(entry->d_name), bytes;
        if (length < 5 || strcmp(entry->d_name + length - 5, ".gguf") != 0 ||
            strstr(entry->d_name, "bert")) /* WordPiece and Unigram are not ours */
            continue;
        char *file = ant_xasprintf("%s/%s", path, entry->d_name);
        char *inputs = read_beside(file, ".inp", &bytes);
        char *outputs = read_beside(file, ".out", &bytes);
        if (inputs && outputs) {
            print_message("%s: %zu texts\n", entry->d_name, check_vectors(file, inputs, outputs));
            n_files++;
        }
        free(inputs);
        free(outputs);
        free(file);
    }
    closedir(dir);
    assert_true(n_files >= 10);
}

int main(void)
{
    golden = source_path("tests/golden/text");
    texts = load_json(golden, "texts.json");
    variants = load_json(golden, "variants.json");
    if (!texts || !variants)
        return 1;
    size_t n = json_array_size(variants), i;
    struct CMUnitTest *tests = calloc(n + 3, sizeof *tests);
    json_t *variant;
    json_array_foreach(variants, i, variant) tests[i] = (struct CMUnitTest){
        json_string_value(json_object_get(variant, "name")), test_variant, NULL, NULL, variant};
    tests[n] = (struct CMUnitTest){"smollm2", test_smollm2, NULL, NULL, NULL};
    tests[n + 1] = (struct CMUnitTest){"vectors of llama.cpp", test_vectors, NULL, NULL, NULL};
    tests[n + 2] = (struct CMUnitTest){"models of SentencePiece", test_models, NULL, NULL, NULL};
    int failed =
        _cmocka_run_group_tests("text_golden", tests, n + 3, make_test_folder, remove_test_folder);
    free(tests);
    json_decref(texts);
    free(golden);
    json_decref(variants);
    return failed;
}
