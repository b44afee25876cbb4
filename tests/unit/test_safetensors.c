/* SPDX-License-Identifier: Apache-2.0 */
/* The safetensors reader: single files, shards with an index, and what it refuses. */
#include "config.h"

#include "model/safetensors.h"

#include "model_files.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

/* The file `name` of this header with that many zero bytes of data. */
static void write_shard(const char *name, const char *header, size_t data_bytes)
{
    struct ant_buf file = {0};
    safetensors_file(&file, header, data_bytes);
    write_in(test_folder, name, file.data, file.len);
    ant_buf_release(&file);
}

static void write_index(const char *text)
{
    write_in(test_folder, "model.safetensors.index.json", text, strlen(text));
}

static struct ant_safetensors *open_good(void)
{
    struct ant_safetensors *files;
    struct ant_error err;
    if (ant_safetensors_open(&files, test_folder, &err) < 0)
        fail_msg("%s", err.text);
    return files;
}

static void expect_error(int code, const char *text)
{
    struct ant_safetensors *files = NULL;
    struct ant_error err;
    int result = ant_safetensors_open(&files, test_folder, &err);
    if (result != code)
        fail_msg("code %d, expected %d (%s)", result, code, text);
    assert_null(files);
    if (!strstr(err.text, text) || strchr(err.text, '\n'))
        fail_msg("error '%s' should say '%s' in one line", err.text, text);
}

/* A single file of this header is refused. */
static void expect_refused(const char *header, size_t data_bytes, int code, const char *text)
{
    write_shard("model.safetensors", header, data_bytes);
    expect_error(code, text);
}

static void test_single(void **state)
{
    (void)state;
    struct ant_buf file = {0};
    safetensors_file(&file,
                     "{\"__metadata__\":{\"format\":\"pt\"},"
                     "\"b\":{\"dtype\":\"BF16\",\"shape\":[2,3],\"data_offsets\":[8,20]},"
                     "\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},"
                     "\"s\":{\"dtype\":\"F16\",\"shape\":[],\"data_offsets\":[20,22]},"
                     "\"e\":{\"dtype\":\"F16\",\"shape\":[0,4],\"data_offsets\":[22,22]}}   ",
                     22);
    for (int i = 0; i < 22; i++)
        file.data[file.len - 22 + (size_t)i] = (char)i;
    write_in(test_folder, "model.safetensors", file.data, file.len);
    struct ant_safetensors *files = open_good();
    assert_int_equal(ant_safetensors_count(files), 4);
    const struct ant_tensor *a = ant_safetensors_find(files, "a");
    const struct ant_tensor *b = ant_safetensors_find(files, "b");
    assert_ptr_equal(a, ant_safetensors_tensor(files, 0)); /* in the order of the data */
    assert_ptr_equal(b, ant_safetensors_tensor(files, 1));
    assert_int_equal(a->type, ANT_F32);
    assert_int_equal(a->n_dims, 1);
    assert_int_equal(b->type, ANT_BF16);
    assert_int_equal(b->shape[0], 2);
    assert_int_equal(b->shape[1], 3);
    assert_int_equal(b->bytes, 12);
    assert_int_equal(((const char *)b->data)[0], 8);
    assert_int_equal(ant_safetensors_find(files, "s")->n_dims, 0);
    assert_int_equal(ant_safetensors_find(files, "e")->bytes, 0);
    assert_null(ant_safetensors_find(files, "__metadata__"));
    const void *data;
    size_t bytes;
    assert_true(ant_safetensors_data(files, 0, &data, &bytes));
    assert_ptr_equal(data, a->data);
    assert_int_equal(bytes, 22);
    assert_false(ant_safetensors_data(files, 1, &data, &bytes));
    ant_safetensors_close(files);

    /* cut off after every byte */
    for (size_t n = 0; n < file.len; n++) {
        write_in(test_folder, "model.safetensors", file.data, n);
        expect_error(ANT_EDATA, "model.safetensors'");
    }
    ant_buf_release(&file);
}

static void test_bad_headers(void **state)
{
    (void)state;
    struct ant_buf file = {0};
    put_u64(&file, UINT64_MAX);
    write_in(test_folder, "model.safetensors", file.data, file.len);
    expect_error(ANT_EDATA, "is not a safetensors file or cut off");
    ant_buf_release(&file);

    expect_refused("", 0, ANT_EDATA, "is not valid JSON");
    expect_refused("{\"a\":", 0, ANT_EDATA, "is not valid JSON at line 1");
    expect_refused("[]", 0, ANT_EDATA, "does not hold a JSON object");
    expect_refused("{} x", 0, ANT_EDATA, "is not valid JSON");
    expect_refused("{\"a\":{},\"a\":{}}", 0, ANT_EDATA, "a key is there twice");
    expect_refused("{\"a\":1}", 0, ANT_EDATA, "tensor 'a' is not described by an object");
    expect_refused("{\"\":{}}", 0, ANT_EDATA, "a tensor has a name that is empty");
    expect_refused("{\"a\\n\":{}}", 0, ANT_EDATA, "not printable");
    expect_refused("{\"a\":{}}", 0, ANT_EDATA, "tensor 'a' has no dtype");
    expect_refused("{\"a\":{\"dtype\":\"I64\",\"shape\":[1],\"data_offsets\":[0,8]}}", 8,
                   ANT_EUNSUPP, "tensor 'a' has element type I64; F32, F16 and BF16 are supported");
    expect_refused("{\"a\":{\"dtype\":\"F8_E4M3\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1,
                   ANT_EUNSUPP, "F8_E4M3");
    expect_refused("{\"a\":{\"dtype\":\"\\n\",\"shape\":[1],\"data_offsets\":[0,8]}}", 8,
                   ANT_EUNSUPP, "of an odd name");
}

static void test_bad_shapes(void **state)
{
    (void)state;
    static const char *const shapes[] = {"[1,1,1,1,1]",
                                         "3",
                                         "null",
                                         "[-1]",
                                         "[1.5]",
                                         "[\"1\"]",
                                         "[4294967296,4294967296]",
                                         "[9223372036854775807,2]"};
    char header[200];
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        snprintf(header, sizeof header,
                 "{\"a\":{\"dtype\":\"F32\",\"shape\":%s,\"data_offsets\":[0,4]}}", shapes[i]);
        expect_refused(header, 4, ANT_EDATA, "tensor 'a' has ");
    }
    static const char *const offsets[] = {"[0]", "[0,4,8]", "null", "[4,0]", "[-4,0]", "[0,\"4\"]"};
    for (size_t i = 0; i < sizeof offsets / sizeof offsets[0]; i++) {
        snprintf(header, sizeof header,
                 "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":%s}}", offsets[i]);
        expect_refused(header, 4, ANT_EDATA, "tensor 'a' has no proper data_offsets");
    }
    expect_refused("{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,4]}}", 4, ANT_EDATA,
                   "tensor 'a' has 4 bytes, its shape says 8");
    expect_refused("{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 4, ANT_EDATA,
                   "cut off or damaged: tensor 'a' ends at byte 8 of 4 bytes");
    expect_refused("{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 8, ANT_EDATA,
                   "has 4 bytes after its last tensor");
    expect_refused("{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}", 8, ANT_EDATA,
                   "tensor 'a' leaves a gap before it");
    expect_refused("{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},"
                   "\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}",
                   8, ANT_EDATA, "tensor 'b' overlaps the one before it");
}

#define ONE(name) "{\"" name "\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}"

static void test_shards(void **state)
{
    (void)state;
    write_shard("m-1.safetensors", ONE("a"), 4);
    write_shard("m-2.safetensors", ONE("b"), 4);
    write_index("{\"metadata\":{\"total_size\":8},\"weight_map\":"
                "{\"b\":\"m-2.safetensors\",\"a\":\"m-1.safetensors\"}}");
    struct ant_safetensors *files = open_good();
    assert_int_equal(ant_safetensors_count(files), 2);
    assert_string_equal(ant_safetensors_tensor(files, 0)->name, "a");
    assert_string_equal(ant_safetensors_tensor(files, 1)->name, "b");
    struct ant_digest digest = ant_safetensors_digest(files);
    ant_safetensors_close(files);

    write_index("{\"weight_map\":{\"b\":\"m-1.safetensors\",\"a\":\"m-1.safetensors\"}}");
    expect_error(ANT_EDATA, "says that tensor 'b' is in 'm-1.safetensors'; it is not");
    write_index("{\"weight_map\":{\"c\":\"m-1.safetensors\",\"a\":\"m-2.safetensors\"}}");
    expect_error(ANT_EDATA, "it is not");
    write_index("{\"weight_map\":{\"a\":\"m-3.safetensors\"}}");
    expect_error(ANT_ENOENT, "m-3.safetensors'");

    write_shard("m-2.safetensors", ONE("a"), 4);
    write_index("{\"weight_map\":{\"b\":\"m-2.safetensors\",\"a\":\"m-1.safetensors\"}}");
    expect_error(ANT_EDATA, "tensor 'a' is in '");

    write_shard("m-2.safetensors", ONE("c"), 4);
    write_index("{\"weight_map\":{\"c\":\"m-2.safetensors\",\"a\":\"m-1.safetensors\"}}");
    files = open_good();
    struct ant_digest other = ant_safetensors_digest(files);
    assert_true(memcmp(&digest, &other, sizeof digest) != 0);
    ant_safetensors_close(files);
}

static void test_bad_index(void **state)
{
    (void)state;
    static const char *const maps[] = {
        "{\"a\":\"../m-1.safetensors\"}", "{\"a\":\"/etc/m.safetensors\"}", "{\"a\":\"m-1.bin\"}",
        "{\"a\":\".safetensors\"}",       "{\"a\":\"x\\n.safetensors\"}",   "{\"a\":1}"};
    write_shard("m-1.safetensors", ONE("a"), 4);
    for (size_t i = 0; i < sizeof maps / sizeof maps[0]; i++) {
        char text[100];
        snprintf(text, sizeof text, "{\"weight_map\":%s}", maps[i]);
        write_index(text);
        expect_error(ANT_EDATA, "names no .safetensors file of the folder");
    }
    write_index("{\"weight_map\":{}}");
    expect_error(ANT_EDATA, "names 0 files");
    write_index("{\"weight_map\":[]}");
    expect_error(ANT_EDATA, "has no weight_map");
    write_index("{");
    expect_error(ANT_EDATA, "index.json' is not valid JSON");
    write_index("{\"weight_map\":{\"a\\u0001\":\"m-1.safetensors\"}}");
    expect_error(ANT_EDATA, "a tensor's name is not printable");
}

static void test_no_files(void **state)
{
    (void)state;
    expect_error(ANT_ENOENT, "holds no model.safetensors and no model.safetensors.index.json");
    write_in(test_folder, "model.safetensors", "", 0);
    expect_error(ANT_EDATA, "is empty");
    ant_safetensors_close(NULL);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_test_folder, remove_test_folder)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_single), TEST(test_bad_headers), TEST(test_bad_shapes),
        TEST(test_shards), TEST(test_bad_index),   TEST(test_no_files),
    };
    return cmocka_run_group_tests_name("safetensors", tests, NULL, NULL);
}
