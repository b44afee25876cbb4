/* SPDX-License-Identifier: Apache-2.0 */
/* The GGUF reader: what it gives back, and that no damaged file gets past it. */
#include "config.h"

#include "model/gguf.h"

#include "model_files.h"

#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

static char path[300];

static int set_up(void **state)
{
    make_test_folder(state);
    snprintf(path, sizeof path, "%s/m.gguf", test_folder);
    return 0;
}

static struct ant_gguf *open_good(const struct ant_buf *file)
{
    struct ant_gguf *gguf;
    struct ant_error err;
    write_file(path, file->data, file->len);
    if (ant_gguf_open(&gguf, path, &err) < 0)
        fail_msg("%s", err.text);
    return gguf;
}

/* Opening fails with this code, in one line that says this; the file is used up. */
static void expect_error(struct ant_buf *file, int code, const char *text)
{
    struct ant_gguf *gguf = NULL;
    struct ant_error err;
    write_file(path, file->data, file->len);
    ant_buf_release(file);
    int result = ant_gguf_open(&gguf, path, &err);
    if (result != code)
        fail_msg("code %d, expected %d (%s)", result, code, text);
    assert_null(gguf);
    if (!strstr(err.text, text) || strchr(err.text, '\n'))
        fail_msg("error '%s' should say '%s' in one line", err.text, text);
}

static void put_key(struct ant_buf *buf, const char *key, uint32_t type, const void *value,
                    size_t bytes)
{
    put_text(buf, key);
    put_u32(buf, type);
    ant_buf_add(buf, value, bytes);
}

/* A file with a key of every kind and two tensors. */
static struct ant_buf sample(void)
{
    struct ant_buf buf = {0};
    gguf_begin(&buf, 3, 2, 17);
    put_key(&buf, "a.u8", 0, "\xff", 1);
    put_key(&buf, "a.i8", 1, "\xff", 1);
    put_key(&buf, "a.u16", 2, "\xfe\xff", 2);
    put_key(&buf, "a.i16", 3, "\xfe\xff", 2);
    gguf_key_u32(&buf, "a.u32", 4000000000u);
    put_key(&buf, "a.i32", 5, "\xfd\xff\xff\xff", 4);
    gguf_key_f32(&buf, "a.f32", 0.5f);
    gguf_key_bool(&buf, "a.bool", true);
    gguf_key_text(&buf, "a.text", "text \n with a line");
    put_key(&buf, "a.u64", 10, "\xff\xff\xff\xff\xff\xff\xff\xff", 8);
    put_key(&buf, "a.i64", 11, "\xfc\xff\xff\xff\xff\xff\xff\xff", 8);
    put_key(&buf, "a.f64", 12, "\0\0\0\0\0\0\xe0\xbf", 8);
    gguf_key_array(&buf, "a.texts", 8, 3);
    put_text(&buf, "one");
    put_text(&buf, "");
    put_text(&buf, "three");
    gguf_key_array(&buf, "a.ints", 5, 2);
    put_u32(&buf, 7);
    put_u32(&buf, (uint32_t)-8);
    gguf_key_array(&buf, "a.floats", 6, 1);
    ant_buf_add(&buf, "\0\0\xc0\x3f", 4);
    gguf_key_array(&buf, "a.nested", 9, 2); /* [[1], []] */
    put_u32(&buf, 0);
    put_u64(&buf, 1);
    ant_buf_add(&buf, "\1", 1);
    put_u32(&buf, 0);
    put_u64(&buf, 0);
    gguf_key_u32(&buf, "general.alignment", 64);
    gguf_tensor(&buf, "t.one", 2, (int64_t[]){2, 3}, 0, 64);
    gguf_tensor(&buf, "t.two", 1, (int64_t[]){32}, 8, 0);
    gguf_pad(&buf, 64);
    for (unsigned char i = 0; i < 64 + 24; i++)
        ant_buf_add(&buf, &i, 1);
    return buf;
}

static void check_int(const struct ant_gguf *gguf, const char *key, int64_t wanted)
{
    struct ant_error err;
    int64_t value = 12345;
    assert_int_equal(ant_gguf_get_int(gguf, key, INT64_MIN, INT64_MAX, &value, &err), 1);
    assert_true(value == wanted);
}

static void test_scalars(void **state)
{
    (void)state;
    struct ant_buf file = sample();
    struct ant_gguf *gguf = open_good(&file);
    struct ant_error err;
    int64_t number = 5;
    double real;
    bool truth = false;
    const char *text;
    size_t bytes;
    assert_int_equal(ant_gguf_version(gguf), 3);
    assert_string_equal(ant_gguf_path(gguf), path);
    check_int(gguf, "a.u8", 255);
    check_int(gguf, "a.i8", -1);
    check_int(gguf, "a.u16", 65534);
    check_int(gguf, "a.i16", -2);
    check_int(gguf, "a.u32", 4000000000);
    check_int(gguf, "a.i32", -3);
    check_int(gguf, "a.i64", -4);
    assert_int_equal(ant_gguf_get_float(gguf, "a.f32", &real, &err), 1);
    assert_true(real == 0.5);
    assert_int_equal(ant_gguf_get_float(gguf, "a.f64", &real, &err), 1);
    assert_true(real == -0.5);
    assert_int_equal(ant_gguf_get_float(gguf, "a.i8", &real, &err), 1);
    assert_true(real == -1);
    assert_int_equal(ant_gguf_get_bool(gguf, "a.bool", &truth, &err), 1);
    assert_true(truth);
    assert_int_equal(ant_gguf_get_string(gguf, "a.text", &text, &bytes, &err), 1);
    assert_int_equal(bytes, 18);
    assert_memory_equal(text, "text \n with a line", 18);

    assert_true(ant_gguf_has(gguf, "a.u8"));
    assert_false(ant_gguf_has(gguf, "a.u"));
    assert_int_equal(ant_gguf_get_int(gguf, "a.none", 0, 1, &number, &err), 0);
    assert_int_equal(number, 5);
    assert_int_equal(ant_gguf_get_int(gguf, "a.u64", 0, INT64_MAX, &number, &err), ANT_EDATA);
    assert_non_null(strstr(err.text, "'a.u64'"));
    assert_int_equal(ant_gguf_get_int(gguf, "a.u8", 0, 254, &number, &err), ANT_EDATA);
    assert_non_null(strstr(err.text, "'a.u8' is 255, not between 0 and 254"));
    assert_int_equal(ant_gguf_get_int(gguf, "a.text", 0, 1, &number, &err), ANT_EDATA);
    assert_int_equal(ant_gguf_get_string(gguf, "a.u8", &text, &bytes, &err), ANT_EDATA);
    assert_int_equal(ant_gguf_get_bool(gguf, "a.u8", &truth, &err), ANT_EDATA);
    assert_int_equal(ant_gguf_get_float(gguf, "a.bool", &real, &err), ANT_EDATA);
    assert_int_equal(number, 5);

    assert_string_equal(ant_gguf_key(gguf, 0), "a.u8");
    assert_string_equal(ant_gguf_key(gguf, 16), "general.alignment");
    assert_null(ant_gguf_key(gguf, 17));
    ant_gguf_close(gguf);
    ant_buf_release(&file);
}

static void test_arrays(void **state)
{
    (void)state;
    struct ant_buf file = sample();
    struct ant_gguf *gguf = open_good(&file);
    struct ant_gguf_array array;
    struct ant_error err;
    const char *text;
    size_t bytes;
    int64_t number;
    float real;
    assert_int_equal(ant_gguf_get_array(gguf, "a.texts", ANT_GGUF_STRINGS, &array, &err), 1);
    assert_int_equal(array.count, 3);
    const char *const wanted[] = {"one", "", "three"};
    for (int i = 0; i < 3; i++) {
        assert_true(ant_gguf_next_string(&array, &text, &bytes));
        assert_int_equal(bytes, strlen(wanted[i]));
        assert_memory_equal(text, wanted[i], bytes);
    }
    assert_false(ant_gguf_next_string(&array, &text, &bytes));
    assert_int_equal(ant_gguf_get_array(gguf, "a.ints", ANT_GGUF_INTS, &array, &err), 1);
    assert_true(ant_gguf_next_int(&array, &number) && number == 7);
    assert_true(ant_gguf_next_int(&array, &number) && number == -8);
    assert_false(ant_gguf_next_int(&array, &number));
    assert_int_equal(ant_gguf_get_array(gguf, "a.floats", ANT_GGUF_FLOATS, &array, &err), 1);
    assert_true(ant_gguf_next_float(&array, &real));
    assert_true(real == 1.5f);
    assert_false(ant_gguf_next_float(&array, &real));

    assert_int_equal(ant_gguf_get_array(gguf, "a.none", ANT_GGUF_INTS, &array, &err), 0);
    assert_int_equal(ant_gguf_get_array(gguf, "a.ints", ANT_GGUF_STRINGS, &array, &err), ANT_EDATA);
    assert_non_null(strstr(err.text, "'a.ints' is not an array of strings"));
    assert_int_equal(ant_gguf_get_array(gguf, "a.u8", ANT_GGUF_INTS, &array, &err), ANT_EDATA);
    assert_int_equal(ant_gguf_get_array(gguf, "a.nested", ANT_GGUF_INTS, &array, &err), ANT_EDATA);
    ant_gguf_close(gguf);
    ant_buf_release(&file);
}

static void test_tensors(void **state)
{
    (void)state;
    struct ant_buf file = sample();
    struct ant_gguf *gguf = open_good(&file);
    assert_int_equal(ant_gguf_count(gguf), 2);
    const struct ant_tensor *one = ant_gguf_find(gguf, "t.one");
    const struct ant_tensor *two = ant_gguf_tensor(gguf, 1);
    assert_ptr_equal(one, ant_gguf_tensor(gguf, 0));
    assert_string_equal(two->name, "t.two");
    assert_null(ant_gguf_find(gguf, "t.three"));
    assert_int_equal(one->type, ANT_F32);
    assert_int_equal(one->n_dims, 2);
    assert_int_equal(one->shape[0], 2);
    assert_int_equal(one->shape[1], 3);
    assert_int_equal(one->bytes, 24);
    assert_int_equal(((const unsigned char *)one->data)[0], 64);
    assert_int_equal(two->type, ANT_Q8_0);
    assert_int_equal(two->bytes, 34);
    assert_int_equal(((const unsigned char *)two->data)[33], 33);
    const void *data;
    size_t bytes;
    assert_true(ant_gguf_data(gguf, 0, &data, &bytes));
    assert_false(ant_gguf_data(gguf, 1, &data, &bytes));
    assert_ptr_equal(data, two->data);
    assert_int_equal(bytes, 88);
    ant_gguf_close(gguf);
    ant_buf_release(&file);
}

/* The digest tells headers and sizes apart, and only them. */
static void test_digest(void **state)
{
    (void)state;
    struct ant_buf file = sample();
    struct ant_gguf *gguf = open_good(&file);
    struct ant_digest first = ant_gguf_digest(gguf), other;
    ant_gguf_close(gguf);
    file.data[file.len - 1] ^= 1; /* a weight */
    gguf = open_good(&file);
    other = ant_gguf_digest(gguf);
    assert_memory_equal(&first, &other, sizeof first);
    ant_gguf_close(gguf);
    ant_buf_add(&file, "", 1);
    gguf = open_good(&file);
    other = ant_gguf_digest(gguf);
    assert_true(memcmp(&first, &other, sizeof first) != 0);
    ant_gguf_close(gguf);
    file.data[8 + 16 + 8] ^= 1; /* a letter of the first key */
    gguf = open_good(&file);
    first = ant_gguf_digest(gguf);
    assert_true(memcmp(&first, &other, sizeof first) != 0);
    ant_gguf_close(gguf);
    ant_buf_release(&file);
}

static struct ant_buf preamble(uint32_t version, uint64_t n_tensors, uint64_t n_keys)
{
    struct ant_buf buf = {0};
    gguf_begin(&buf, version, n_tensors, n_keys);
    return buf;
}

static void test_bad_preamble(void **state)
{
    (void)state;
    struct ant_buf file = {0};
    ant_buf_add(&file, "GGU", 3);
    expect_error(&file, ANT_EDATA, "is not a GGUF file");
    ant_buf_add(&file, "GGMLabcdefghijklmnopqrstuvwxyz", 30);
    expect_error(&file, ANT_EDATA, "is not a GGUF file");
    file = preamble(1, 0, 0);
    expect_error(&file, ANT_EUNSUPP, "GGUF version 1; versions 2 and 3 are supported");
    file = preamble(4, 0, 0);
    expect_error(&file, ANT_EUNSUPP, "GGUF version 4");
    file = preamble(0, 0, 0);
    expect_error(&file, ANT_EUNSUPP, "GGUF version 0");
    file = preamble(3u << 24, 0, 0);
    expect_error(&file, ANT_EUNSUPP, "big-endian");
    file = preamble(3, UINT64_MAX, 0);
    expect_error(&file, ANT_EDATA, "claims 18446744073709551615 tensors");
    file = preamble(3, 0, 1 << 20);
    expect_error(&file, ANT_EDATA, "1048576 keys");
    file = preamble(3, 1000, 0);
    expect_error(&file, ANT_EDATA, "cut off or damaged");
    file = preamble(3, 0, 1000);
    expect_error(&file, ANT_EDATA, "cut off or damaged");

    file = preamble(2, 0, 0);
    struct ant_gguf *gguf = open_good(&file);
    assert_int_equal(ant_gguf_count(gguf), 0);
    assert_null(ant_gguf_find(gguf, "x"));
    assert_false(ant_gguf_has(gguf, "x"));
    ant_gguf_close(gguf);
    ant_buf_release(&file);
    struct ant_error err;
    assert_int_equal(ant_gguf_open(&gguf, "/nonexistent/m.gguf", &err), ANT_ENOENT);
}

static void test_bad_keys(void **state)
{
    (void)state;
    struct ant_buf file = preamble(3, 0, 2);
    gguf_key_u32(&file, "twice", 1);
    gguf_key_u32(&file, "twice", 2);
    expect_error(&file, ANT_EDATA, "key 'twice' is there twice");
    file = preamble(3, 0, 1);
    gguf_key_u32(&file, "", 1);
    expect_error(&file, ANT_EDATA, "key 0 has a name that is empty");
    file = preamble(3, 0, 1);
    gguf_key_u32(&file, "a\nb", 1);
    expect_error(&file, ANT_EDATA, "not printable");
    file = preamble(3, 0, 1);
    put_key(&file, "odd", 13, "\0\0\0\0\0\0\0\0", 8);
    expect_error(&file, ANT_EDATA, "key 'odd' has the unknown value type 13");
    file = preamble(3, 0, 1);
    put_key(&file, "truth", 7, "\2\0\0\0\0\0\0\0", 8);
    expect_error(&file, ANT_EDATA, "key 'truth' is a boolean of value 2");
    file = preamble(3, 0, 1);
    put_key(&file, "long", 8, "\xff\xff\xff\xff\xff\xff\xff\xff", 8);
    expect_error(&file, ANT_EDATA, "cut off or damaged");
    file = preamble(3, 0, 1);
    gguf_key_array(&file, "many", 10, UINT64_MAX / 4);
    expect_error(&file, ANT_EDATA, "cut off or damaged");
    file = preamble(3, 0, 1);
    gguf_key_array(&file, "many", 8, UINT64_MAX);
    expect_error(&file, ANT_EDATA, "cut off or damaged");
    file = preamble(3, 0, 1);
    gguf_key_array(&file, "odd", UINT32_MAX, 0);
    expect_error(&file, ANT_EDATA, "key 'odd' is an array of the unknown type 4294967295");
    file = preamble(3, 0, 1);
    gguf_key_array(&file, "deep", 9, 1);
    for (int i = 0; i < 10; i++) {
        put_u32(&file, 9);
        put_u64(&file, 1);
    }
    expect_error(&file, ANT_EDATA, "key 'deep' nests arrays more than 4 deep");
    for (uint32_t alignment = 0; alignment <= 24; alignment += 4) {
        if (alignment == 8 || alignment == 16)
            continue;
        file = preamble(3, 0, 1);
        gguf_key_u32(&file, "general.alignment", alignment);
        expect_error(&file, ANT_EDATA, "'general.alignment'");
    }
}

/* A file of one tensor, its data as long as asked for. */
static struct ant_buf one_tensor(const char *name, int n_dims, const int64_t *shape, uint32_t type,
                                 uint64_t offset, size_t data_bytes)
{
    struct ant_buf buf = preamble(3, 1, 0);
    gguf_tensor(&buf, name, n_dims, shape, type, offset);
    gguf_pad(&buf, 32);
    memset(ant_buf_grow(&buf, data_bytes), 0, data_bytes);
    return buf;
}

static void test_bad_tensors(void **state)
{
    (void)state;
    struct ant_buf file = one_tensor("t", 1, (int64_t[]){8}, 0, 0, 31);
    expect_error(&file, ANT_EDATA, "tensor 't' (offset 0, 32 bytes) ends beyond the 31 bytes");
    file = one_tensor("t", 1, (int64_t[]){8}, 0, 32, 32);
    expect_error(&file, ANT_EDATA, "ends beyond");
    file = one_tensor("t", 1, (int64_t[]){8}, 0, UINT64_MAX - 31, 32);
    expect_error(&file, ANT_EDATA, "ends beyond");
    file = one_tensor("t", 1, (int64_t[]){8}, 0, 8, 64);
    expect_error(&file, ANT_EDATA, "tensor 't' at offset 8 is not aligned to 32 bytes");
    file = one_tensor("t", 0, NULL, 0, 0, 32);
    expect_error(&file, ANT_EDATA, "tensor 't' has 0 dimensions");
    file = one_tensor("t", 5, (int64_t[]){1, 1, 1, 1, 1}, 0, 0, 32);
    expect_error(&file, ANT_EDATA, "tensor 't' has 5 dimensions");
    file = one_tensor("t", 2, (int64_t[]){4, 0}, 0, 0, 32);
    expect_error(&file, ANT_EDATA, "tensor 't' has an impossible dimension of 0");
    file = one_tensor("t", 2, (int64_t[]){1LL << 32, 1LL << 32}, 0, 0, 32);
    expect_error(&file, ANT_EDATA, "impossible dimension");
    file = one_tensor("t", 1, (int64_t[]){-1}, 0, 0, 32);
    expect_error(&file, ANT_EDATA, "impossible dimension of 18446744073709551615");
    file = one_tensor("t", 1, (int64_t[]){INT64_MAX / 8 + 1}, 8, 0, 32);
    expect_error(&file, ANT_EDATA, "impossible dimension");
    file = one_tensor("t", 1, (int64_t[]){48}, 8, 0, 64);
    expect_error(&file, ANT_EDATA, "rows of 48 elements, which Q8_0 blocks of 32 do not divide");
    file = one_tensor("t", 1, (int64_t[]){32}, 23, 0, 64);
    expect_error(&file, ANT_EUNSUPP, "tensor 't' has type IQ4_XS, which is not supported");
    file = one_tensor("t", 1, (int64_t[]){32}, 4, 0, 64);
    expect_error(&file, ANT_EUNSUPP, "tensor 't' has the unknown type 4");
    file = one_tensor("t", 1, (int64_t[]){32}, 1000, 0, 64);
    expect_error(&file, ANT_EUNSUPP, "unknown type 1000");
    file = one_tensor("", 1, (int64_t[]){8}, 0, 0, 32);
    expect_error(&file, ANT_EDATA, "tensor 0 has a name that is empty");

    file = preamble(3, 2, 0);
    gguf_tensor(&file, "a", 1, (int64_t[]){16}, 0, 0);
    gguf_tensor(&file, "b", 1, (int64_t[]){16}, 0, 32);
    gguf_pad(&file, 32);
    memset(ant_buf_grow(&file, 96), 0, 96);
    expect_error(&file, ANT_EDATA, "tensors 'a' and 'b' overlap");
    file = preamble(3, 2, 0);
    gguf_tensor(&file, "a", 1, (int64_t[]){8}, 0, 0);
    gguf_tensor(&file, "a", 1, (int64_t[]){8}, 0, 32);
    gguf_pad(&file, 32);
    memset(ant_buf_grow(&file, 64), 0, 64);
    expect_error(&file, ANT_EDATA, "tensor 'a' is there twice");
}

/* Cut off after every byte: always an error, in one line. */
static void test_truncations(void **state)
{
    (void)state;
    struct ant_buf file = sample();
    write_file(path, file.data, file.len);
    for (size_t bytes = file.len; bytes-- > 0;) {
        struct ant_gguf *gguf = NULL;
        struct ant_error err = {"unset"};
        assert_int_equal(truncate(path, (off_t)bytes), 0);
        assert_int_equal(ant_gguf_open(&gguf, path, &err), ANT_EDATA);
        assert_null(gguf);
        assert_non_null(strstr(err.text, path));
        assert_null(strchr(err.text, '\n'));
    }
    ant_buf_release(&file);
}

/* Every bit of the header turned over: an error in one line, or a file whose every value can be
 * read. */
static void test_flipped_bits(void **state)
{
    (void)state;
    struct ant_buf file = sample();
    int n_errors = 0;
    for (size_t bit = 0; bit < 8 * (file.len - 88); bit++) {
        struct ant_gguf *gguf;
        struct ant_error err = {"unset"};
        file.data[bit / 8] = (char)(file.data[bit / 8] ^ 1 << bit % 8);
        write_file(path, file.data, file.len);
        if (ant_gguf_open(&gguf, path, &err) < 0) {
            n_errors++;
            assert_non_null(strstr(err.text, path));
            assert_null(strchr(err.text, '\n'));
        } else {
            unsigned sum = 0;
            for (size_t i = 0; i < ant_gguf_count(gguf); i++) {
                const struct ant_tensor *tensor = ant_gguf_tensor(gguf, i);
                for (size_t j = 0; j < tensor->bytes; j++)
                    sum += ((const unsigned char *)tensor->data)[j];
            }
            assert_true(sum < UINT_MAX);
            ant_gguf_close(gguf);
        }
        file.data[bit / 8] = (char)(file.data[bit / 8] ^ 1 << bit % 8);
    }
    assert_true(n_errors > 1000);
    ant_buf_release(&file);
}

/* ---- Models in several files ----------------------------------------------------------------- */

/* Part `no` of `count` (from 0), called as part `called` of `count`: one tensor, `total` announced.
 */
static void write_part(int called, int no, int count, const char *tensor, int total)
{
    struct ant_buf buf = {0};
    char name[64];
    gguf_begin(&buf, 3, 1, no == 0 ? 4 : 2);
    put_key(&buf, "split.no", 2, &no, 2);
    put_key(&buf, "split.count", 2, &count, 2);
    if (no == 0) {
        put_key(&buf, "split.tensors.count", 5, &total, 4);
        gguf_key_text(&buf, "general.name", "split");
    }
    gguf_tensor(&buf, tensor, 1, (int64_t[]){8}, 0, 0);
    gguf_pad(&buf, 32);
    for (uint32_t i = 0; i < 8; i++)
        put_u32(&buf, (uint32_t)no * 100 + i);
    snprintf(name, sizeof name, "m-%05d-of-%05d.gguf", called + 1, count);
    write_in(test_folder, name, buf.data, buf.len);
    ant_buf_release(&buf);
}

static void expect_split_error(const char *name, int code, const char *text)
{
    struct ant_gguf *gguf;
    struct ant_error err;
    char first[400];
    snprintf(first, sizeof first, "%s/%s", test_folder, name);
    assert_int_equal(ant_gguf_open(&gguf, first, &err), code);
    if (!strstr(err.text, text) || strchr(err.text, '\n'))
        fail_msg("error '%s' should say '%s' in one line", err.text, text);
}

static void test_split(void **state)
{
    (void)state;
    static const char first[] = "m-00001-of-00003.gguf";
    struct ant_gguf *gguf;
    struct ant_error err;
    char name[400];
    const void *data;
    size_t bytes;
    write_part(0, 0, 3, "t.b", 3);
    write_part(1, 1, 3, "t.a", 0);
    expect_split_error(first, ANT_ENOENT, "m-00003-of-00003.gguf'");
    write_part(2, 2, 3, "t.c", 0);
    snprintf(name, sizeof name, "%s/%s", test_folder, first);
    if (ant_gguf_open(&gguf, name, &err) < 0)
        fail_msg("%s", err.text);
    assert_int_equal(ant_gguf_count(gguf), 3);
    assert_true(ant_gguf_has(gguf, "general.name"));
    assert_int_equal(*(const uint32_t *)ant_gguf_find(gguf, "t.a")->data, 100);
    assert_int_equal(*(const uint32_t *)ant_gguf_find(gguf, "t.b")->data, 0);
    assert_int_equal(*(const uint32_t *)ant_gguf_find(gguf, "t.c")->data, 200);
    assert_true(ant_gguf_data(gguf, 2, &data, &bytes) && bytes == 32);
    assert_false(ant_gguf_data(gguf, 3, &data, &bytes));
    ant_gguf_close(gguf);

    expect_split_error("m-00002-of-00003.gguf", ANT_EUSAGE, "is part 2 of 3; name the first");
    write_part(2, 1, 3, "t.c", 0);
    expect_split_error(first, ANT_EDATA, "m-00003-of-00003.gguf' says that it is part 2 of 3");
    write_part(2, 2, 3, "t.a", 0);
    expect_split_error(first, ANT_EDATA, "two of its parts hold tensor 't.a'");
    write_part(2, 2, 3, "t.c", 0);
    write_part(0, 0, 3, "t.b", 4);
    expect_split_error(first, ANT_EDATA, "announces 4 tensors, its parts hold 3");
    struct ant_buf buf = {0};
    gguf_begin(&buf, 3, 0, 1);
    gguf_key_u32(&buf, "split.count", 2);
    expect_error(&buf, ANT_EDATA, "is the first of 2 parts, but is not called NAME-00001-of-00002");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_scalars),      cmocka_unit_test(test_arrays),
        cmocka_unit_test(test_tensors),      cmocka_unit_test(test_digest),
        cmocka_unit_test(test_bad_preamble), cmocka_unit_test(test_bad_keys),
        cmocka_unit_test(test_bad_tensors),  cmocka_unit_test(test_truncations),
        cmocka_unit_test(test_flipped_bits), cmocka_unit_test(test_split),
    };
    return cmocka_run_group_tests_name("gguf", tests, set_up, remove_test_folder);
}
