/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "h5_make.h"

#include "base/file.h"
#include "base/mem.h"
#include "store/prompts.h"

static char folder[] = "/tmp/antiphon-prompts-XXXXXX";
static char path[80];
static struct ant_error err;
static hid_t file, group;

/* A new file with an empty group /prompts. */
static void begin_file(void)
{
    file = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    assert_true(file >= 0);
}

static void begin(void)
{
    begin_file();
    group = H5Gcreate2(file, "prompts", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
}

static void end(void)
{
    if (group >= 0)
        H5Gclose(group);
    group = -1;
    assert_true(H5Fclose(file) >= 0);
}

static int set_up(void **state)
{
    (void)state;
    group = -1;
    memset(folder + strlen(folder) - 6, 'X', 6);
    if (!mkdtemp(folder))
        return -1;
    snprintf(path, sizeof(path), "%s/p.h5", folder);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    assert_int_equal(H5Fget_obj_count((hid_t)H5F_OBJ_ALL, H5F_OBJ_ALL), 0);
    unlink(path);
    return rmdir(folder);
}

static struct ant_prompts *open_prompts(const char *spec)
{
    struct ant_prompts *prompts = NULL;

    if (ant_prompts_open(&prompts, spec, &err) < 0)
        fail_msg("%s", err.text);
    return prompts;
}

static void assert_error(int rc, int code, const char *part)
{
    if (rc != code || !strstr(err.text, part) || strchr(err.text, '\n'))
        fail_msg("got %d '%s', expected %d with '%s'", rc, rc < 0 ? err.text : "", code, part);
}

static void assert_refused(int code, const char *part)
{
    struct ant_prompts *prompts = NULL;

    err.text[0] = '\0';
    assert_error(ant_prompts_open(&prompts, path, &err), code, part);
    assert_null(prompts);
    if (code != ANT_ENOENT || strstr(part, "/prompts"))
        assert_non_null(strstr(err.text, path));
}

static void assert_text(struct ant_prompts *prompts, int64_t row, const char *want, size_t bytes)
{
    struct ant_prompt prompt;

    if (ant_prompts_read(prompts, row, &prompt, &err) < 0)
        fail_msg("%s", err.text);
    assert_int_equal(prompt.row, row);
    if (prompt.text_bytes != bytes || memcmp(prompt.text, want, bytes) != 0)
        fail_msg("row %lld is '%.*s', expected '%s'", (long long)row, (int)prompt.text_bytes,
                 prompt.text, want);
    assert_null(prompt.tokens);
}

static void variable_strings(void **state)
{
    (void)state;
    static const char *const texts[] = {"one", "", "zw\xc3\xb6lf", "four\n", NULL, "six"};

    begin_file();
    h5_put_strings(file, "prompts", 6, texts);
    end();
    struct ant_prompts *prompts = open_prompts(path);
    assert_int_equal(ant_prompts_count(prompts), 6);
    assert_false(ant_prompts_are_chat(prompts));
    assert_false(ant_prompts_are_tokens(prompts));
    assert_int_equal(ant_prompts_id_kind(prompts), ANT_ID_NONE);
    assert_string_equal(ant_prompts_ignored(prompts), "");
    for (int64_t i = 5; i >= 0; i--)
        assert_text(prompts, i, texts[i] ? texts[i] : "", texts[i] ? strlen(texts[i]) : 0);
    int32_t rank;
    assert_error(ant_prompts_ranks(prompts, 0, 1, &rank, &err), ANT_ENOENT, "no column 'rank'");
    ant_prompts_close(prompts);
}

static void fixed_strings_of_every_padding(void **state)
{
    (void)state;
    static const struct {
        H5T_str_t pad;
        size_t lengths[4];
    } cases[] = {{H5T_STR_NULLTERM, {3, 4, 0, 2}},
                 {H5T_STR_NULLPAD, {3, 4, 0, 4}},
                 {H5T_STR_SPACEPAD, {3, 4, 0, 4}}};

    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        char data[4][5];
        char fill = cases[i].pad == H5T_STR_SPACEPAD ? ' ' : '\0';
        memset(data, fill, sizeof(data));
        memcpy(data[0], "abc", 3);
        memcpy(data[1], "abcd", 4);
        memcpy(data[3], "a\xff\0b", 4);
        hid_t type = h5_string_type(5, cases[i].pad, i % 2 ? H5T_CSET_UTF8 : H5T_CSET_ASCII);
        begin_file();
        h5_put(file, "prompts", type, type, 4, data);
        H5Tclose(type);
        end();
        struct ant_prompts *prompts = open_prompts(path);
        for (int64_t row = 0; row < 4; row++)
            assert_text(prompts, row, data[row], cases[i].lengths[row]);
        ant_prompts_close(prompts);
    }
}

enum { MANY = 5000 };

/* Every way through many rows gives the same texts: all, every k-th, backwards, at random. */
static void assert_all_orders(struct ant_prompts *prompts)
{
    char want[64];

    for (int64_t stride = 1; stride <= 5000; stride = stride * 3 + 1)
        for (int64_t row = stride / 2; row < MANY; row += stride) {
            int n = snprintf(want, sizeof(want), "prompt %lld", (long long)row);
            assert_text(prompts, row, want, (size_t)n);
        }
    for (int64_t row = MANY - 1; row >= 0; row -= 7) {
        int n = snprintf(want, sizeof(want), "prompt %lld", (long long)row);
        assert_text(prompts, row, want, (size_t)n);
    }
    for (int64_t i = 0, row = 1; i < 500; i++, row = row * 7919 % MANY) {
        int n = snprintf(want, sizeof(want), "prompt %lld", (long long)row);
        assert_text(prompts, row, want, (size_t)n);
    }
}

static void many_rows_in_any_order(void **state)
{
    (void)state;
    char **strings = ant_xcalloc(MANY, sizeof(*strings));
    struct ant_buf bytes = {0};
    int64_t *offsets = ant_xcalloc(MANY + 1, sizeof(*offsets));

    for (int i = 0; i < MANY; i++) {
        strings[i] = ant_xasprintf("prompt %d", i);
        ant_buf_add(&bytes, strings[i], strlen(strings[i]));
        offsets[i + 1] = (int64_t)bytes.len;
    }
    hid_t type = h5_string_type(0, H5T_STR_NULLTERM, H5T_CSET_UTF8);
    for (int chunk = 0; chunk <= 1000; chunk += 1000) {
        begin_file();
        h5_put_chunked(file, "prompts", type, type, MANY, (hsize_t)chunk, strings);
        end();
        struct ant_prompts *prompts = open_prompts(path);
        assert_all_orders(prompts);
        ant_prompts_close(prompts);

        begin();
        h5_put_chunked(group, "text", H5T_STD_U8LE, H5T_NATIVE_UINT8, bytes.len, (hsize_t)chunk,
                       bytes.data);
        h5_put_chunked(group, "text_offsets", H5T_STD_I64BE, H5T_NATIVE_INT64, MANY + 1,
                       (hsize_t)chunk, offsets);
        end();
        prompts = open_prompts(path);
        assert_int_equal(ant_prompts_count(prompts), MANY);
        assert_all_orders(prompts);
        ant_prompts_close(prompts);
    }
    H5Tclose(type);
    for (int i = 0; i < MANY; i++)
        free(strings[i]);
    free(strings);
    free(offsets);
    ant_buf_release(&bytes);
}

static void bytes_may_be_any(void **state)
{
    (void)state;
    static const unsigned char bytes[] = {'x', 0xff, 0x80, 0, 'y', 'z'};
    static const uint32_t offsets[] = {1, 4, 4, 6}; /* the first byte belongs to no row */

    for (int i = 0; i < 2; i++) {
        begin();
        h5_put(group, "text", i ? H5T_STD_I8LE : H5T_STD_U8LE,
               i ? H5T_NATIVE_INT8 : H5T_NATIVE_UINT8, 6, bytes);
        h5_put(group, "text_offsets", H5T_STD_U32LE, H5T_NATIVE_UINT32, 4, offsets);
        end();
        struct ant_prompts *prompts = open_prompts(path);
        assert_int_equal(ant_prompts_count(prompts), 3);
        assert_text(prompts, 0, "\xff\x80", 3);
        assert_text(prompts, 1, "", 0);
        assert_text(prompts, 2, "yz", 2);
        ant_prompts_close(prompts);
    }
}

static void tokens(void **state)
{
    (void)state;
    static const int64_t ids[] = {5, 6, 7, -1, 3000000000, 9};
    static const int64_t offsets[] = {0, 3, 3, 4, 5, 6};
    struct ant_prompt prompt;

    begin();
    h5_put(group, "tokens", H5T_STD_I64LE, H5T_NATIVE_INT64, 6, ids);
    h5_put(group, "tokens_offsets", H5T_STD_I64LE, H5T_NATIVE_INT64, 6, offsets);
    end();
    struct ant_prompts *prompts = open_prompts(path);
    assert_int_equal(ant_prompts_count(prompts), 5);
    assert_true(ant_prompts_are_tokens(prompts));
    assert_int_equal(ant_prompts_read(prompts, 0, &prompt, &err), 0);
    assert_null(prompt.text);
    assert_int_equal(prompt.n_tokens, 3);
    assert_int_equal(prompt.tokens[2], 7);
    assert_int_equal(ant_prompts_read(prompts, 1, &prompt, &err), 0);
    assert_int_equal(prompt.n_tokens, 0);
    assert_error(ant_prompts_read(prompts, 2, &prompt, &err), ANT_EDATA,
                 "row 2: -1 is no token id");
    assert_error(ant_prompts_read(prompts, 3, &prompt, &err), ANT_EDATA,
                 "row 3: 3000000000 is no token id");
    assert_int_equal(ant_prompts_read(prompts, 4, &prompt, &err), 0);
    assert_int_equal(prompt.tokens[0], 9);
    ant_prompts_close(prompts);
}

static void put_texts(int n)
{
    static const char *const texts[] = {"a", "b", "c", "d", "e", "f"};

    h5_put_strings(group, "text", (hsize_t)n, texts);
}

/* As netCDF writes it. */
static void put_filled(const char *name, hid_t type, hsize_t n, const void *data, const void *fill)
{
    h5_put(group, name, type, type, n, data);
    hid_t dataset = H5Dopen2(group, name, H5P_DEFAULT);
    h5_put_attribute(dataset, "_FillValue", type, fill);
    H5Dclose(dataset);
}

static void columns_of_any_number_type(void **state)
{
    (void)state;
    static const int8_t max_tokens[] = {10, -1, 127};
    static const float temperature[] = {0.5f, NAN, 1}, typical_p[] = {-999.9f, 0.5f, -999.9f};
    static const double min_tokens[] = {1, NAN, 3};
    static const int64_t top_k[] = {40, INT64_MIN, -7};
    static const uint64_t seeds[] = {UINT64_MAX, 0, 5}, logprobs[] = {UINT64_MAX, 5, UINT64_MAX};
    static const int16_t top_p[] = {1, 0, 1}, min_p[] = {0, 1, 0};
    static const uint8_t ranks[] = {0, 3, 1};
    struct ant_prompt prompt;
    int32_t rank[3];
    begin();
    put_texts(3);
    h5_put(group, "max_tokens", H5T_STD_I8BE, H5T_NATIVE_INT8, 3, max_tokens);
    h5_put(group, "temperature", H5T_IEEE_F32BE, H5T_NATIVE_FLOAT, 3, temperature);
    h5_put(group, "min_tokens", H5T_IEEE_F64LE, H5T_NATIVE_DOUBLE, 3, min_tokens);
    put_filled("top_k", H5T_NATIVE_INT64, 3, top_k, &top_k[1]);
    put_filled("typical_p", H5T_NATIVE_FLOAT, 3, typical_p, &typical_p[0]);
    put_filled("logprobs", H5T_NATIVE_UINT64, 3, logprobs, &logprobs[0]);
    put_filled("seed", H5T_NATIVE_UINT64, 3, seeds, &seeds[2]);
    h5_put(group, "top_p", H5T_STD_I16LE, H5T_NATIVE_INT16, 3, top_p);
    h5_put(group, "min_p", H5T_STD_I16LE, H5T_NATIVE_INT16, 3, min_p);
    h5_put(group, "rank", H5T_STD_U8LE, H5T_NATIVE_UINT8, 3, ranks);
    end();
    struct ant_prompts *prompts = open_prompts(path);
    assert_int_equal(ant_prompts_read(prompts, 0, &prompt, &err), 0);
    assert_int_equal(prompt.has, ANT_HAS_MAX_TOKENS | ANT_HAS_MIN_TOKENS | ANT_HAS_TEMPERATURE |
                                     ANT_HAS_TOP_P | ANT_HAS_TOP_K | ANT_HAS_MIN_P | ANT_HAS_SEED);
    assert_int_equal(prompt.max_tokens, 10);
    assert_int_equal(prompt.min_tokens, 1);
    assert_int_equal(prompt.top_k, 40);
    assert_true(prompt.temperature == 0.5 && prompt.top_p == 1 && prompt.min_p == 0);
    assert_true(prompt.seed == UINT64_MAX);
    assert_int_equal(ant_prompts_read(prompts, 1, &prompt, &err), 0);
    assert_int_equal(prompt.has, ANT_HAS_MAX_TOKENS | ANT_HAS_TOP_P | ANT_HAS_MIN_P | ANT_HAS_SEED |
                                     ANT_HAS_TYPICAL_P | ANT_HAS_LOGPROBS);
    assert_int_equal(prompt.max_tokens, -1); /* the range is the engine's business */
    assert_int_equal(ant_prompts_read(prompts, 2, &prompt, &err), 0);
    assert_int_equal(prompt.top_k, -7);
    assert_false(prompt.has & (ANT_HAS_SEED | ANT_HAS_TYPICAL_P | ANT_HAS_LOGPROBS));
    assert_int_equal(ant_prompts_ranks(prompts, 0, 3, rank, &err), 0);
    assert_int_equal(rank[1], 3);
    ant_prompts_close(prompts);
}

static void a_number_that_is_none_fails_its_row(void **state)
{
    (void)state;
    static const double max_tokens[] = {1.5, 1e300, 3, INFINITY};
    static const int64_t ranks[] = {0, -1, 0, 0};
    struct ant_prompt prompt;
    int32_t rank[4];

    begin();
    put_texts(4);
    h5_put(group, "max_tokens", H5T_IEEE_F64LE, H5T_NATIVE_DOUBLE, 4, max_tokens);
    h5_put(group, "rank", H5T_STD_I64LE, H5T_NATIVE_INT64, 4, ranks);
    end();
    struct ant_prompts *prompts = open_prompts(path);
    assert_error(ant_prompts_read(prompts, 0, &prompt, &err), ANT_EDATA,
                 "'/prompts/max_tokens', row 0 is no 64-bit integer");
    assert_error(ant_prompts_read(prompts, 1, &prompt, &err), ANT_EDATA, "row 1");
    assert_int_equal(ant_prompts_read(prompts, 2, &prompt, &err), 0);
    assert_int_equal(prompt.max_tokens, 3);
    assert_error(ant_prompts_read(prompts, 3, &prompt, &err), ANT_EDATA, "row 3");
    assert_error(ant_prompts_ranks(prompts, 0, 4, rank, &err), ANT_EDATA,
                 "'/prompts/rank', row 1 is no rank");
    ant_prompts_close(prompts);
}

static void ids_keep_their_kind(void **state)
{
    (void)state;
    static const char *const names[] = {"first", "", "dritte \xc3\xa4"};
    static const uint64_t large[] = {UINT64_MAX, 1, 2};
    static const int32_t small[] = {-5, 1, 2};
    int64_t integers[3], *offsets;
    char *bytes;

    begin();
    put_texts(3);
    h5_put_strings(group, "id", 3, names);
    end();
    struct ant_prompts *prompts = open_prompts(path);
    assert_int_equal(ant_prompts_id_kind(prompts), ANT_ID_STRING);
    assert_int_equal(ant_prompts_ids(prompts, 0, 3, NULL, &bytes, &offsets, &err), 0);
    assert_int_equal(offsets[1], 5);
    assert_int_equal(offsets[2], 5);
    assert_memory_equal(bytes, "firstdritte \xc3\xa4", (size_t)offsets[3]);
    free(bytes);
    free(offsets);
    assert_int_equal(ant_prompts_ids(prompts, 3, 0, NULL, &bytes, &offsets, &err), 0);
    assert_int_equal(offsets[0], 0);
    free(bytes);
    free(offsets);
    ant_prompts_close(prompts);

    for (int i = 0; i < 2; i++) {
        begin();
        put_texts(3);
        if (i == 0)
            h5_put(group, "id", H5T_STD_U64LE, H5T_NATIVE_UINT64, 3, large);
        else
            h5_put(group, "id", H5T_STD_I32BE, H5T_NATIVE_INT32, 3, small);
        end();
        prompts = open_prompts(path);
        assert_int_equal(ant_prompts_id_kind(prompts), i == 0 ? ANT_ID_UNSIGNED : ANT_ID_INTEGER);
        assert_int_equal(ant_prompts_ids(prompts, 0, 3, integers, NULL, NULL, &err), 0);
        assert_int_equal(integers[0], i == 0 ? -1 : -5);
        ant_prompts_close(prompts);
    }
}

static void another_path_in_the_file(void **state)
{
    (void)state;
    static const char *const texts[] = {"x", "y"};
    char spec[120];
    struct ant_prompts *prompts;

    begin_file();
    group = H5Gcreate2(file, "a", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    h5_put_strings(group, "b", 2, texts);
    end();
    assert_refused(ANT_ENOENT,
                   "no dataset or group '/prompts'; it has /a (name one as FILE:/path)");
    snprintf(spec, sizeof(spec), "%s:/a/b", path);
    prompts = open_prompts(spec);
    assert_text(prompts, 1, "y", 1);
    ant_prompts_close(prompts);
    snprintf(spec, sizeof(spec), "%s:/a/c", path);
    assert_error(ant_prompts_open(&prompts, spec, &err), ANT_ENOENT, "'/a/c'");
    snprintf(spec, sizeof(spec), "%s:/a", path);
    assert_error(ant_prompts_open(&prompts, spec, &err), ANT_ENOENT,
                 "neither 'text' nor 'tokens'; it has b (");
    begin();
    h5_put_text_attribute(group, "pandas_type", "frame");
    end();
    assert_refused(ANT_EDATA, "a table as pandas keeps it");
}

static void attributes_are_checked(void **state)
{
    (void)state;
    static const struct {
        const char *name, *value, *part;
    } cases[] = {{"format", "xml", "format 'xml', expected"},
                 {"schema", "other", "schema 'other', expected"},
                 {"version", "1", "attribute 'version' is not a readable integer"}};
    int64_t version = 2;

    begin();
    put_texts(1);
    h5_put_text_attribute(group, "format", "chat");
    h5_put_text_attribute(group, "schema", "antiphon-prompts");
    end();
    struct ant_prompts *prompts = open_prompts(path);
    assert_true(ant_prompts_are_chat(prompts));
    ant_prompts_close(prompts);

    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        begin();
        put_texts(1);
        h5_put_text_attribute(group, cases[i].name, cases[i].value);
        end();
        assert_refused(ANT_EDATA, cases[i].part);
    }
    begin();
    put_texts(1);
    h5_put_attribute(group, "version", H5T_NATIVE_INT64, &version);
    end();
    assert_refused(ANT_EUNSUPP, "version 2, this program reads version 1");
}

static void unknown_columns_are_told(void **state)
{
    (void)state;
    static const char *const strings[] = {"stop", "system", "continuation"};
    static const int32_t values[] = {1, 2};
    char part[64];

    begin();
    put_texts(2);
    h5_put(group, "category", H5T_STD_I32LE, H5T_NATIVE_INT32, 1, values);
    H5Gclose(H5Gcreate2(group, "notes", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
    end();
    struct ant_prompts *prompts = open_prompts(path);
    assert_string_equal(ant_prompts_ignored(prompts), "category, notes");
    ant_prompts_close(prompts);
    for (size_t i = 0; i < 3; i++) {
        begin();
        put_texts(2);
        h5_put(group, strings[i], H5T_STD_I32LE, H5T_NATIVE_INT32, 2, values);
        end();
        snprintf(part, sizeof(part), "'/prompts/%s' must hold strings", strings[i]);
        assert_refused(ANT_EDATA, part);
    }
}

static void wrong_shapes_are_named(void **state)
{
    (void)state;
    static const int32_t values[6] = {0};
    static const int64_t offsets[] = {0, 2, 1, 99, 4};
    hsize_t dims[2] = {2, 3};
    struct ant_prompt prompt;

    begin_file();
    hid_t space = H5Screate_simple(2, dims, NULL);
    hid_t type = h5_string_type(4, H5T_STR_NULLPAD, H5T_CSET_ASCII);
    H5Dclose(H5Dcreate2(file, "prompts", type, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
    H5Sclose(space);
    end();
    assert_refused(ANT_EDATA, "dataset '/prompts' has 2 dimensions, expected 1");

    begin_file();
    space = H5Screate(H5S_SCALAR);
    H5Dclose(H5Dcreate2(file, "prompts", type, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
    H5Sclose(space);
    end();
    assert_refused(ANT_EDATA, "is a single value, not a list");

    begin_file();
    space = H5Screate(H5S_NULL);
    H5Dclose(H5Dcreate2(file, "prompts", type, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
    H5Sclose(space);
    H5Tclose(type);
    end();
    assert_refused(ANT_EDATA, "has no elements");

    begin_file();
    h5_put(file, "prompts", H5T_STD_I32LE, H5T_NATIVE_INT32, 6, values);
    end();
    assert_refused(ANT_EDATA, "holds numbers, expected strings");

    begin();
    h5_put(group, "text", H5T_STD_I32LE, H5T_NATIVE_INT32, 6, values);
    end();
    assert_refused(ANT_EDATA, "'/prompts/text' must hold strings, or bytes with offsets");

    begin();
    h5_put(group, "text", H5T_STD_U8LE, H5T_NATIVE_INT32, 6, values);
    end();
    assert_refused(ANT_ENOENT, "'/prompts/text_offsets' is missing");

    begin();
    h5_put(group, "text", H5T_STD_U8LE, H5T_NATIVE_INT32, 6, values);
    h5_put(group, "text_offsets", H5T_STD_I64LE, H5T_NATIVE_INT64, 0, offsets);
    end();
    assert_refused(ANT_EDATA, "'/prompts/text_offsets' is empty");

    begin();
    h5_put(group, "text", H5T_STD_U8LE, H5T_NATIVE_INT32, 6, values);
    h5_put(group, "text_offsets", H5T_STD_I64LE, H5T_NATIVE_INT64, 4, offsets);
    end();
    assert_refused(ANT_EDATA, "runs from 0 to 99, but");

    begin();
    h5_put(group, "text", H5T_STD_U8LE, H5T_NATIVE_INT32, 6, values);
    h5_put(group, "text_offsets", H5T_STD_I64LE, H5T_NATIVE_INT64, 5, offsets);
    end();
    struct ant_prompts *prompts = open_prompts(path);
    assert_int_equal(ant_prompts_read(prompts, 0, &prompt, &err), 0);
    for (int row = 1; row < 4; row++)
        assert_error(ant_prompts_read(prompts, row, &prompt, &err), ANT_EDATA,
                     "are not a range of 6");
    assert_error(ant_prompts_read(prompts, 1, &prompt, &err), ANT_EDATA, "row 1: offsets 2 and 1");
    ant_prompts_close(prompts);

    begin();
    put_texts(3);
    h5_put(group, "seed", H5T_STD_I32LE, H5T_NATIVE_INT32, 6, values);
    end();
    assert_refused(ANT_EDATA, "'/prompts/seed' has 6 rows, but there are 3 prompts");

    begin();
    put_texts(3);
    h5_put(group, "tokens", H5T_STD_I32LE, H5T_NATIVE_INT32, 6, values);
    end();
    assert_refused(ANT_EDATA, "both text and tokens");
}

static void wrong_types_are_named(void **state)
{
    (void)state;
    static const char *const texts[] = {"a", "b"};
    static const double reals[2] = {0};

    begin_file();
    hid_t type = H5Tcreate(H5T_COMPOUND, 8);
    H5Tinsert(type, "a", 0, H5T_NATIVE_INT32);
    H5Tinsert(type, "b", 4, H5T_NATIVE_INT32);
    h5_put(file, "prompts", type, type, 1, reals);
    H5Tclose(type);
    end();
    assert_refused(ANT_EDATA, "'/prompts' holds compound records; store each field");

    begin();
    type = H5Tvlen_create(H5T_NATIVE_INT32);
    hvl_t empty[2] = {{0}};
    h5_put(group, "tokens", type, type, 2, empty);
    H5Tclose(type);
    end();
    assert_refused(ANT_EDATA, "'/prompts/tokens' holds variable-length lists");

    begin();
    put_texts(2);
    h5_put_strings(group, "seed", 2, texts);
    end();
    assert_refused(ANT_EDATA, "'/prompts/seed' must hold numbers, not strings");

    begin();
    put_texts(2);
    h5_put(group, "id", H5T_IEEE_F64LE, H5T_NATIVE_DOUBLE, 2, reals);
    end();
    assert_refused(ANT_EDATA, "'/prompts/id' must hold strings or integers");

    begin();
    put_texts(2);
    H5Gclose(H5Gcreate2(group, "seed", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
    end();
    assert_refused(ANT_EDATA, "'/prompts/seed' cannot be opened");
}

/* Strings of fixed length take their room in memory, not in the file: a few are read at once. */
static void long_fixed_strings_are_read_in_turn(void **state)
{
    (void)state;
    enum { ROWS = 64, LENGTH = 16 << 20 };
    struct ant_prompt prompt;

    const char *texts[ROWS];

    for (int i = 0; i < ROWS; i++)
        texts[i] = "a";
    begin();
    h5_put_strings(group, "text", ROWS, texts);
    hid_t type = h5_string_type(LENGTH, H5T_STR_NULLPAD, H5T_CSET_UTF8), space = h5_space(ROWS);
    H5Dclose(H5Dcreate2(group, "stop", type, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
    H5Sclose(space);
    H5Tclose(type);
    end();
    struct rusage before, after;
    getrusage(RUSAGE_SELF, &before);
    struct ant_prompts *prompts = open_prompts(path);
    assert_int_equal(ant_prompts_read(prompts, 1, &prompt, &err), 0);
    getrusage(RUSAGE_SELF, &after);
    /* In KiB; a sanitizer keeps some of what was freed. */
    assert_true(after.ru_maxrss - before.ru_maxrss < ROWS / 2 * (LENGTH >> 10));
    ant_prompts_close(prompts);
}

static void no_rows_at_all(void **state)
{
    (void)state;
    static const int64_t offsets[] = {0};

    begin_file();
    h5_put_strings(file, "prompts", 0, NULL);
    end();
    struct ant_prompts *prompts = open_prompts(path);
    assert_int_equal(ant_prompts_count(prompts), 0);
    ant_prompts_close(prompts);
    begin();
    h5_put(group, "text", H5T_STD_U8LE, H5T_NATIVE_UINT8, 0, NULL);
    h5_put(group, "text_offsets", H5T_STD_I64LE, H5T_NATIVE_INT64, 1, offsets);
    end();
    prompts = open_prompts(path);
    assert_int_equal(ant_prompts_count(prompts), 0);
    ant_prompts_close(prompts);
}

/* The first of them too long to be kept until the others are read. */
static void fingerprint_tells_inputs_apart(void **state)
{
    (void)state;
    char large[3 << 19], spec[120];
    const char *texts[3] = {large, "b", "c"};
    struct ant_digest digests[5];

    for (int i = 0; i < 5; i++) {
        memset(large, 'x', sizeof(large) - 1);
        large[sizeof(large) - 1] = '\0';
        large[0] = i == 4 ? 'y' : 'x';
        texts[2] = i == 1 ? "d" : "c";
        begin_file();
        h5_put_strings(file, i == 3 ? "other" : "prompts", i == 2 ? 2 : 3, texts);
        end();
        snprintf(spec, sizeof(spec), "%s%s", path, i == 3 ? ":/other" : "");
        struct ant_prompts *prompts = open_prompts(spec);
        digests[i] = ant_prompts_fingerprint(prompts);
        ant_prompts_close(prompts);
    }
    for (int i = 1; i < 5; i++)
        assert_int_equal(memcmp(&digests[0], &digests[i], sizeof(digests[0])) == 0, i == 3);
}

static void links_that_lead_nowhere(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        begin_file();
        if (i == 0)
            H5Lcreate_soft("/other", file, "prompts", H5P_DEFAULT, H5P_DEFAULT);
        else
            H5Lcreate_external("other.h5", "/", file, "prompts", H5P_DEFAULT, H5P_DEFAULT);
        end();
        assert_refused(ANT_ENOENT, "'/prompts' cannot be opened; a link that leads nowhere?");
    }
}

/* HDF5 would read empty strings. */
static void a_virtual_dataset_wants_its_files(void **state)
{
    (void)state;
    static const char texts[2][4] = {"one", "two"};
    hid_t type = h5_string_type(4, H5T_STR_NULLPAD, H5T_CSET_UTF8), space = h5_space(2);
    hid_t creation = H5Pcreate(H5P_DATASET_CREATE);
    char *whole = ant_xstrdup(path);

    H5Pset_virtual(creation, space, "other.h5", "/texts", space);
    begin_file();
    H5Dclose(H5Dcreate2(file, "prompts", type, space, H5P_DEFAULT, creation, H5P_DEFAULT));
    end();
    assert_refused(ANT_ENOENT, "refers to file 'other.h5', which is not there");
    snprintf(path, sizeof(path), "%s/other.h5", folder);
    begin_file();
    h5_put(file, "texts", type, type, 2, texts);
    end();
    struct ant_prompts *prompts = open_prompts(whole);
    assert_text(prompts, 1, "two", 3);
    ant_prompts_close(prompts);
    unlink(whole);
    free(whole);
    H5Pclose(creation);
    H5Sclose(space);
    H5Tclose(type);
}

static void files_that_are_none(void **state)
{
    (void)state;

    assert_refused(ANT_ENOENT, "cannot open '");
    assert_int_equal(ant_file_write(path, "{\"prompt\": \"x\"}\n", 16, &err), 0);
    assert_refused(ANT_EDATA, "is not an HDF5 file; make one with 'antiphon pack ");
    assert_int_equal(ant_file_write(path, "", 0, &err), 0);
    assert_refused(ANT_EDATA, "is not an HDF5 file");
    struct ant_prompts *prompts;
    assert_error(ant_prompts_open(&prompts, folder, &err), ANT_EDATA, "is a folder");
    assert_error(ant_prompts_open(&prompts, "/dev/null", &err), ANT_EDATA, "is not an HDF5 file");
}

/* Read everything that can be read. */
static int read_all(void)
{
    struct ant_prompts *prompts = NULL;
    struct ant_prompt prompt;
    int rc = ant_prompts_open(&prompts, path, &err);

    for (int64_t row = 0; rc == 0 && row < ant_prompts_count(prompts) && row < 1000; row++) {
        rc = ant_prompts_read(prompts, row, &prompt, &err);
        if (rc == ANT_EDATA)
            rc = 0;
    }
    ant_prompts_close(prompts);
    return rc;
}

static void assert_one_line(int rc)
{
    if (rc < 0 && (!err.text[0] || strchr(err.text, '\n') || !strstr(err.text, path)))
        fail_msg("bad error text '%s'", err.text);
}

static void truncated_files(void **state)
{
    (void)state;
    static const int32_t seeds[] = {1, 2, 3, 4, 5, 6};
    struct stat st;

    begin();
    put_texts(6);
    h5_put(group, "seed", H5T_STD_I32LE, H5T_NATIVE_INT32, 6, seeds);
    end();
    assert_int_equal(stat(path, &st), 0);
    for (off_t cut = st.st_size - 1; cut > 0; cut -= 97) {
        assert_int_equal(truncate(path, cut), 0);
        err.text[0] = '\0';
        int rc = read_all();
        assert_one_line(rc);
        assert_true(rc < 0);
    }
}

/* HDF5 asks for absurd sizes when a length is damaged, and copes with getting nothing. */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
    return "allocator_may_return_null=1:exitcode=99";
}

enum { READ, REFUSED, BAD_TEXT, LIBRARY_CRASHED, WE_CRASHED, N_OUTCOMES };

/* Which code broke: a sanitizer's report names it, in the first frame that is not its own. */
static int blame(const char *report)
{
    char *text = NULL;
    int outcome = LIBRARY_CRASHED;

    if (ant_file_read(&text, NULL, report, 1 << 20, &err) == 0)
        for (char *frame = strstr(text, "    #"); frame; frame = strstr(frame + 1, "    #")) {
            char *end = frame + strcspn(frame, "\n");
            *end = end[1] ? '\0' : *end;
            if (strstr(frame, "sanitizer"))
                continue;
            if (strstr(frame, "src/store") || strstr(frame, "src/base"))
                outcome = WE_CRASHED;
            break;
        }
    free(text);
    return outcome;
}

static int read_in_child(void)
{
    static const int deadly[] = {SIGSEGV, SIGBUS, SIGABRT, SIGFPE};
    char report[100];
    int status;

    snprintf(report, sizeof(report), "%s.report", path);
    pid_t pid = fork();
    if (pid == 0) {
        for (size_t i = 0; i < sizeof(deadly) / sizeof(*deadly); i++)
            signal(deadly[i], SIG_DFL);
        alarm(20);
        dup2(open(report, O_WRONLY | O_CREAT | O_TRUNC, 0600), STDERR_FILENO);
        err.text[0] = '\0';
        if (read_all() == 0)
            _exit(READ);
        _exit(strchr(err.text, '\n') || !strstr(err.text, path) ? BAD_TEXT : REFUSED);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    int outcome = WIFEXITED(status) ? WEXITSTATUS(status) : LIBRARY_CRASHED;
    if (outcome > BAD_TEXT)
        outcome = blame(report);
    unlink(report);
    return outcome;
}

/* Flipped bits: other data or an error of one line, never a crash of ours. One in the HDF5 library
 * cannot be helped here. */
static void flipped_bits(void **state)
{
    (void)state;
    static const int32_t seeds[] = {1, 2, 3, 4, 5, 6};
    struct stat st;
    int counts[N_OUTCOMES] = {0};

    begin();
    put_texts(6);
    h5_put_chunked(group, "seed", H5T_STD_I32LE, H5T_NATIVE_INT32, 6, 3, seeds);
    h5_put_text_attribute(group, "format", "text");
    end();
    assert_int_equal(stat(path, &st), 0);
    int fd = open(path, O_RDWR);
    for (off_t bit = 3; bit < st.st_size * 8; bit += bit < 6000 ? 61 : 331) {
        unsigned char byte, flipped;
        assert_int_equal(pread(fd, &byte, 1, bit / 8), 1);
        flipped = byte ^ (unsigned char)(1 << bit % 8);
        assert_int_equal(pwrite(fd, &flipped, 1, bit / 8), 1);
        counts[read_in_child()]++;
        assert_int_equal(pwrite(fd, &byte, 1, bit / 8), 1);
    }
    close(fd);
    print_message("# flipped bits: %d read, %d refused, %d crashes of HDF5\n", counts[READ],
                  counts[REFUSED], counts[LIBRARY_CRASHED]);
    assert_int_equal(counts[BAD_TEXT], 0);
    assert_int_equal(counts[WE_CRASHED], 0);
    assert_true(counts[REFUSED] > 10);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(variable_strings),
        TEST(fixed_strings_of_every_padding),
        TEST(many_rows_in_any_order),
        TEST(bytes_may_be_any),
        TEST(tokens),
        TEST(columns_of_any_number_type),
        TEST(a_number_that_is_none_fails_its_row),
        TEST(ids_keep_their_kind),
        TEST(another_path_in_the_file),
        TEST(attributes_are_checked),
        TEST(unknown_columns_are_told),
        TEST(wrong_shapes_are_named),
        TEST(wrong_types_are_named),
        TEST(long_fixed_strings_are_read_in_turn),
        TEST(no_rows_at_all),
        TEST(fingerprint_tells_inputs_apart),
        TEST(links_that_lead_nowhere),
        TEST(a_virtual_dataset_wants_its_files),
        TEST(files_that_are_none),
        TEST(truncated_files),
        TEST(flipped_bits),
    };
    return cmocka_run_group_tests_name("prompts", tests, NULL, NULL);
}
