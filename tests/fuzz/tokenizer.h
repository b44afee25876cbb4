/* SPDX-License-Identifier: Apache-2.0 */
/* What targets for tokenizers do with any bytes: open them as a file; if that succeeds, encode and
 * decode texts. Every id must be one of its own, decoded text must be UTF-8, a refusal must say why
 * in one line. */
#ifndef ANT_TESTS_FUZZ_TOKENIZER_H
#define ANT_TESTS_FUZZ_TOKENIZER_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "text/tokenizer.h"
#include "text/unicode.h"

typedef int fuzz_open_fn(struct ant_tokenizer **out, const char *path, struct ant_error *err);

static void fuzz_check_error(int code, const struct ant_error *err)
{
    if (code >= 0 || !*err->text || strchr(err->text, '\n'))
        abort();
}

static void fuzz_decode(const struct ant_tokenizer *tokenizer, const int32_t *ids, size_t n,
                        bool skips_special)
{
    struct ant_buf out = {0};

    ant_tokenizer_decode(tokenizer, ids, n, skips_special, &out);
    if (ant_utf8_check(out.data, out.len) != out.len)
        abort();
    ant_buf_release(&out);
}

static void fuzz_text(const struct ant_tokenizer *tokenizer, const char *text, size_t bytes)
{
    struct ant_ids ids = {0};
    struct ant_error err = {{0}};
    int result = ant_tokenizer_encode(tokenizer, text, bytes, true, &ids, &err);

    if (result < 0)
        fuzz_check_error(result, &err);
    for (size_t i = 0; i < ids.len; i++) {
        size_t n;
        if (ids.data[i] < 0 || ids.data[i] >= ant_tokenizer_size(tokenizer))
            abort();
        ant_tokenizer_piece(tokenizer, ids.data[i], &n);
    }
    fuzz_decode(tokenizer, ids.data, ids.len, bytes & 1);
    ant_ids_release(&ids);
}

static int fuzz_tokenizer(fuzz_open_fn *open, const uint8_t *data, size_t bytes)
{
    static const char *const texts[] = {
        "",
        " Hello  world's 12345 \r\n\t \xc3\xa9\x65\xcc\x81 \xe4\xb8\xad\xe6\x96\x87",
        "<s>a b</s> <pad>  x\xf0\x9f\x98\x80\xe2\x96\x81y",
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab",
    };
    int fd = memfd_create("tokenizer", 0);
    char path[40];
    if (fd < 0 || write(fd, data, bytes) != (ssize_t)bytes)
        abort();
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);

    struct ant_tokenizer *tokenizer;
    struct ant_error err = {{0}};
    int result = open(&tokenizer, path, &err);
    close(fd);
    if (result < 0) {
        fuzz_check_error(result, &err);
        return 0;
    }
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        fuzz_text(tokenizer, texts[i], strlen(texts[i]));
    fuzz_text(tokenizer, (const char *)data, bytes < 200 ? bytes : 200);
    int32_t ids[] = {-1, 0, 1, 2, 3, ant_tokenizer_size(tokenizer) - 1, INT32_MAX, 5, 4};
    fuzz_decode(tokenizer, ids, sizeof ids / sizeof *ids, false);
    ant_tokenizer_close(tokenizer);
    return 0;
}

#endif
