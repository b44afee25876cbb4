/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/checksum.h"
#include "base/file.h"

/* The vectors of RFC 3720, appendix B.4, and the check value of the CRC catalogues. */
static void vectors(void **state)
{
    (void)state;
    unsigned char data[32];
    assert_int_equal(ant_crc32c(0, "", 0), 0);
    assert_int_equal(ant_crc32c(0, "123456789", 9), 0xE3069283);
    memset(data, 0, sizeof data);
    assert_int_equal(ant_crc32c(0, data, sizeof data), 0x8A9136AA);
    memset(data, 0xff, sizeof data);
    assert_int_equal(ant_crc32c(0, data, sizeof data), 0x62A8AB43);
    for (int i = 0; i < 32; i++)
        data[i] = (unsigned char)i;
    assert_int_equal(ant_crc32c(0, data, sizeof data), 0x46DD794E);
    assert_int_equal(ant_crc32c_portable(0, data, sizeof data), 0x46DD794E);
    for (int i = 0; i < 32; i++)
        data[i] = (unsigned char)(31 - i);
    assert_int_equal(ant_crc32c(0, data, sizeof data), 0x113FDB5C);
}

/* All lengths and alignments, whole and in two pieces, with and without the instruction. */
static void all_ways_agree(void **state)
{
    (void)state;
    unsigned char data[256];
    uint32_t noise = 1;
    for (size_t i = 0; i < sizeof data; i++) {
        noise = noise * 1664525 + 1013904223;
        data[i] = (unsigned char)(noise >> 24);
    }
    for (size_t start = 0; start < 9; start++)
        for (size_t bytes = 0; bytes < 200; bytes++) {
            uint32_t whole = ant_crc32c(0, data + start, bytes);
            assert_int_equal(ant_crc32c_portable(0, data + start, bytes), whole);
            size_t half = bytes / 3;
            uint32_t pieces = ant_crc32c(0, data + start, half);
            pieces = ant_crc32c(pieces, data + start + half, bytes - half);
            assert_int_equal(pieces, whole);
        }
}

static void digests(void **state)
{
    (void)state;
    char text[ANT_DIGEST_TEXT];
    /* XXH3's 128 bits of nothing, as its documentation gives them. */
    ant_digest_text(text, ant_digest("", 0));
    assert_string_equal(text, "99aa06d3014798d86001c324468d497f");
    ant_digest_text(text, (struct ant_digest){0xabc, 1});
    assert_string_equal(text, "0000000000000abc0000000000000001");
}

static void pieces_combine(void **state)
{
    (void)state;
    unsigned char data[3000];
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (unsigned char)(i * i >> 4);
    uint32_t whole = ant_crc32c(0, data, sizeof data);
    for (size_t cut = 0; cut <= sizeof data; cut += 7)
        assert_int_equal(ant_crc32c_combine(ant_crc32c(0, data, cut),
                                            ant_crc32c(0, data + cut, sizeof data - cut),
                                            sizeof data - cut),
                         whole);
    assert_int_equal(ant_crc32c_combine(whole, 0, 0), whole);
}

static void digest_of_a_file(void **state)
{
    (void)state;
    struct ant_error err;
    char path[] = "/tmp/antiphon-digest-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);

    size_t bytes = (3 << 20) + 17; /* more than one piece of the reader */
    char *data = malloc(bytes);
    for (size_t i = 0; i < bytes; i++)
        data[i] = (char)(i * 31 >> 3);
    assert_int_equal(ant_file_write(path, data, bytes, &err), 0);
    struct ant_digest whole = ant_digest(data, bytes), file;
    assert_int_equal(ant_digest_file(&file, path, &err), 0);
    assert_memory_equal(&file, &whole, sizeof file);
    unlink(path);
    free(data);

    assert_int_equal(ant_digest_file(&file, path, &err), ANT_ENOENT);
    assert_non_null(strstr(err.text, path));
    assert_int_equal(ant_digest_file(&file, "/", &err), ANT_EIO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(vectors), cmocka_unit_test(all_ways_agree),
                                       cmocka_unit_test(pieces_combine), cmocka_unit_test(digests),
                                       cmocka_unit_test(digest_of_a_file)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
