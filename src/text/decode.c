/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "text/decode.h"
#include "text/normal.h"
#include "text/unicode.h"

#include <stdlib.h>
#include <string.h>

void ant_decode_release(struct ant_decode_step *steps, size_t n)
{
    size_t i;

    for (i = 0; i < n; i++) {
        ant_pattern_close(steps[i].pattern);
        free(steps[i].content);
    }
    free(steps);
}

/* The token's text is complete in `texts`: remember where it ends. */
static void end_token(struct ant_decode_list *list)
{
    ant_buf_grow(&list->texts, 0); /* there is a buffer even if all tokens are empty */
    if (list->n == list->cap) {
        list->cap = list->cap ? 2 * list->cap : 64;
        list->ends = ant_xrealloc(list->ends, list->cap, sizeof *list->ends);
    }
    list->ends[list->n++] = list->texts.len;
}

void ant_decode_add(struct ant_decode_list *list, const char *text, size_t bytes)
{
    ant_buf_add(&list->texts, text, bytes);
    end_token(list);
}

void ant_decode_list_release(struct ant_decode_list *list)
{
    ant_buf_release(&list->texts);
    free(list->ends);
    *list = (struct ant_decode_list){0};
}

static void unspell(struct ant_buf *out, const char *text, size_t bytes)
{
    if (!ant_bytes_unspell(out, text, bytes))
        ant_buf_add(out, text, bytes);
}

/* "<0x41>" is 0x41; anything else -1. */
static int fallback_byte(const char *text, size_t bytes)
{
    if (bytes != 6 || memcmp(text, "<0x", 3) != 0 || text[5] != '>')
        return -1;
    int high = ant_hex_digit(text[3]), low = ant_hex_digit(text[4]);
    return high < 0 || low < 0 ? -1 : high << 4 | low;
}

/* Bytes side by side are one text if they are UTF-8, else each becomes U+FFFD. */
static void end_bytes(struct ant_decode_list *to, struct ant_buf *bytes)
{
    size_t i;

    if (bytes->len == 0)
        return;
    if (ant_utf8_check(bytes->data, bytes->len) == bytes->len) {
        ant_decode_add(to, bytes->data, bytes->len);
    } else {
        for (i = 0; i < bytes->len; i++)
            ant_decode_add(to, "\xef\xbf\xbd", 3);
    }
    bytes->len = 0;
}

static void byte_fallback(const struct ant_decode_list *from, struct ant_decode_list *to)
{
    struct ant_buf bytes = {0};
    size_t i, start = 0;

    for (i = 0; i < from->n; start = from->ends[i++]) {
        const char *text = from->texts.data + start;
        int byte = fallback_byte(text, from->ends[i] - start);
        char c = (char)byte;

        if (byte >= 0) {
            ant_buf_add(&bytes, &c, 1);
            continue;
        }
        end_bytes(to, &bytes);
        ant_decode_add(to, text, from->ends[i] - start);
    }
    end_bytes(to, &bytes);
    ant_buf_release(&bytes);
}

static void strip(const struct ant_decode_step *step, const char **text, size_t *bytes)
{
    size_t i;

    for (i = 0; i < step->left && *bytes >= step->bytes; i++) {
        if (memcmp(*text, step->content, step->bytes) != 0)
            break;
        *text += step->bytes;
        *bytes -= step->bytes;
    }
    for (i = 0; i < step->right && *bytes >= step->bytes; i++) {
        if (memcmp(*text + *bytes - step->bytes, step->content, step->bytes) != 0)
            break;
        *bytes -= step->bytes;
    }
}

static void metaspace(const struct ant_decode_step *step, bool first, struct ant_buf *out,
                      const char *text, size_t bytes)
{
    const char *end = text + bytes, *found;

    while ((found = memmem(text, (size_t)(end - text), step->content, step->bytes))) {
        ant_buf_add(out, text, (size_t)(found - text));
        if (!first || !step->drop_first)
            ant_buf_add(out, " ", 1);
        text = found + step->bytes;
    }
    ant_buf_add(out, text, (size_t)(end - text));
}

/* Steps that look at one token at a time. */
static int each_token(const struct ant_decode_step *step, struct ant_matcher *matcher, bool first,
                      const char *text, size_t bytes, struct ant_buf *out, size_t most,
                      struct ant_error *err)
{
    switch (step->kind) {
    case ANT_DECODE_REPLACE:
        return ant_replace(out, most, step->pattern, matcher, text, bytes, step->content,
                           step->bytes, err);
    case ANT_DECODE_STRIP:
        strip(step, &text, &bytes);
        ant_buf_add(out, text, bytes);
        return 0;
    case ANT_DECODE_METASPACE:
        metaspace(step, first, out, text, bytes);
        return 0;
    case ANT_DECODE_BYTE_LEVEL:
        unspell(out, text, bytes);
        return 0;
    default:
        ant_buf_add(out, text, bytes);
        return 0;
    }
}

static int apply(const struct ant_decode_step *step, struct ant_matcher *matcher,
                 const struct ant_decode_list *from, struct ant_decode_list *to, size_t most,
                 struct ant_error *err)
{
    size_t i, start = 0;
    bool fuses = step->kind == ANT_DECODE_BYTE_LEVEL || step->kind == ANT_DECODE_FUSE;

    if (step->kind == ANT_DECODE_BYTE_FALLBACK) {
        byte_fallback(from, to);
        return 0;
    }
    for (i = 0; i < from->n; start = from->ends[i++]) {
        ANT_TRY(each_token(step, matcher, i == 0, from->texts.data + start, from->ends[i] - start,
                           &to->texts, most, err));
        if (!fuses)
            end_token(to);
    }
    if (fuses) {
        if (step->kind == ANT_DECODE_BYTE_LEVEL) { /* only whole it need be UTF-8 */
            struct ant_buf bytes = to->texts;

            to->texts = (struct ant_buf){0};
            ant_utf8_lossy(&to->texts, bytes.data, bytes.len);
            ant_buf_release(&bytes);
        }
        end_token(to);
    }
    return 0;
}

int ant_decode(const struct ant_decode_step *steps, size_t n, struct ant_matcher *matcher,
               struct ant_decode_list *list, struct ant_buf *out, struct ant_error *err)
{
    struct ant_decode_list next = {0}, swap;
    int result = 0;
    size_t most = ant_normal_most(list->texts.len), i, start = 0;

    for (i = 0; n == 0 && i < list->n; start = list->ends[i++]) { /* no steps: words in a row */
        if (i > 0)
            ant_buf_add(out, " ", 1);
        ant_buf_add(out, list->texts.data + start, list->ends[i] - start);
    }
    for (i = 0; i < n && result == 0; i++) {
        next.texts.len = 0;
        next.n = 0;
        result = apply(&steps[i], matcher, list, &next, most, err);
        swap = *list;
        *list = next;
        next = swap;
    }
    if (n > 0 && result == 0)
        ant_buf_add(out, list->texts.data, list->texts.len);
    ant_decode_list_release(&next);
    return result;
}

int ant_decode_piece(const struct ant_decode_step *steps, size_t n, struct ant_matcher *matcher,
                     struct ant_buf scratch[2], const char *text, size_t bytes, struct ant_buf *out,
                     struct ant_error *err)
{
    size_t most = ant_normal_most(bytes), i;
    int into = 0;

    for (i = 0; i < n; i++) {
        struct ant_buf *to = &scratch[into];
        int byte = steps[i].kind == ANT_DECODE_BYTE_FALLBACK ? fallback_byte(text, bytes) : -1;

        if (steps[i].kind == ANT_DECODE_STRIP || steps[i].kind == ANT_DECODE_FUSE)
            continue;
        if (ant_utf8_check(text, bytes) != bytes) /* steps look at whole characters */
            break;
        to->len = 0;
        if (byte >= 0)
            ant_buf_add(to, &(char){(char)byte}, 1);
        else
            ANT_TRY(each_token(&steps[i], matcher, false, text, bytes, to, most, err));
        text = to->data;
        bytes = to->len;
        into = !into;
    }
    ant_buf_add(out, text, bytes);
    return 0;
}
