/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "text/normal.h"
#include "text/unicode.h"

#include <utf8proc.h>

#include <stdlib.h>
#include <string.h>

void ant_normal_release(struct ant_normal_step *steps, size_t n)
{
    size_t i;

    for (i = 0; i < n; i++) {
        free(steps[i].content);
        ant_pattern_close(steps[i].pattern);
        ant_charsmap_close(steps[i].map);
    }
    free(steps);
}

/* Nothing below `first` changes or joins what stands before it: most text is done here. */
static bool all_below(const char *text, size_t bytes, unsigned char first)
{
    size_t i;

    for (i = 0; i < bytes; i++)
        if ((unsigned char)text[i] >= first)
            return false;
    return true;
}

/* Sort marks side by side by their combining class, equal ones staying in order. utf8proc's own way
 * takes quadratic time, and a text may be nothing but marks. */
static void order_marks(utf8proc_int32_t *marks, size_t n, utf8proc_int32_t *room)
{
    size_t starts[257] = {0}, i;

    for (i = 0; i < n; i++)
        starts[utf8proc_get_property(marks[i])->combining_class % 256 + 1]++;
    for (i = 1; i < 257; i++)
        starts[i] += starts[i - 1];
    for (i = 0; i < n; i++)
        room[starts[utf8proc_get_property(marks[i])->combining_class % 256]++] = marks[i];
    memcpy(marks, room, n * sizeof *marks);
}

static void order(utf8proc_int32_t *text, size_t n, utf8proc_int32_t *room)
{
    size_t i = 0;

    while (i < n) {
        int last = 0, class;
        bool ordered = true;
        size_t start = i;

        for (; i < n && (class = utf8proc_get_property(text[i])->combining_class) > 0; i++) {
            ordered = ordered && class >= last;
            last = class;
        }
        if (!ordered)
            order_marks(text + start, i - start, room);
        i += i == start;
    }
}

static utf8proc_option_t options_of(enum ant_normal_kind kind)
{
    utf8proc_option_t options = UTF8PROC_STABLE;

    options |=
        kind == ANT_NORMAL_NFC || kind == ANT_NORMAL_NFKC ? UTF8PROC_COMPOSE : UTF8PROC_DECOMPOSE;
    if (kind == ANT_NORMAL_NFKC || kind == ANT_NORMAL_NFKD)
        options |= UTF8PROC_COMPAT;
    return options;
}

static int compose(struct ant_buf *out, enum ant_normal_kind kind, const char *text, size_t bytes,
                   struct ant_error *err)
{
    enum { MOST = 32 }; /* characters of which one is made; U+FDFA has 18 */
    utf8proc_option_t options = options_of(kind);
    utf8proc_int32_t *wide = ant_xcalloc(bytes + MOST, 2 * sizeof *wide), *room;
    size_t i = 0, n = 0, cap = 2 * (bytes + MOST);
    utf8proc_ssize_t got = 0;
    int bound = 0; /* of grapheme clusters, which nobody asks for */

    while (i < bytes && got >= 0) {
        uint32_t character;

        if (n + MOST > cap) {
            cap *= 2;
            wide = ant_xrealloc(wide, cap, sizeof *wide);
        }
        i += ant_utf8_next(text + i, &character);
        got = utf8proc_decompose_char((utf8proc_int32_t)character, wide + n, MOST, options, &bound);
        n += got > 0 && got <= MOST ? (size_t)got : 0;
    }
    room = ant_xcalloc(n, sizeof *room);
    order(wide, n, room);
    free(room);
    if (got >= 0)
        got = utf8proc_normalize_utf32(wide, (utf8proc_ssize_t)n, options);
    for (i = 0; (utf8proc_ssize_t)i < got; i++) {
        char one[4];

        ant_buf_add(out, one, ant_utf8_put(one, (uint32_t)wide[i]));
    }
    free(wide);
    return got < 0 ? ant_fail(err, ANT_EDATA, "text cannot be normalised: %s", utf8proc_errmsg(got))
                   : 0;
}

static void lower(struct ant_buf *out, const char *text, size_t bytes)
{
    size_t i = 0;

    while (i < bytes) {
        uint32_t character;
        char small[4];

        i += ant_utf8_next(text + i, &character);
        if (character == 0x130) { /* the one capital whose small letter is two characters */
            ant_buf_add(out, "i\xcc\x87", 3);
            continue;
        }
        ant_buf_add(out, small, ant_utf8_put(small, ant_to_lower(character)));
    }
}

static void strip(const struct ant_normal_step *step, const char **text, size_t *bytes)
{
    uint32_t character;

    while (step->left && *bytes > 0) {
        size_t length = ant_utf8_next(*text, &character);

        if (!ant_is_space(character))
            break;
        *text += length;
        *bytes -= length;
    }
    while (step->right && *bytes > 0) {
        size_t length = 1;

        while (((*text)[*bytes - length] & 0xc0) == 0x80)
            length++;
        ant_utf8_next(*text + *bytes - length, &character);
        if (!ant_is_space(character))
            break;
        *bytes -= length;
    }
}

/* Spaces at the ends and side by side count for nothing if `strips`, and so does U+2581 at the end,
 * as in SentencePiece. */
static void spell(struct ant_buf *out, const char *text, size_t bytes, bool adds_prefix,
                  bool strips)
{
    static const char mark[] = "\xe2\x96\x81";
    size_t at = 0;

    while (strips && at < bytes && text[at] == ' ')
        at++;
    if (adds_prefix && at < bytes)
        ant_buf_add(out, mark, 3);
    while (at < bytes) {
        const char *space = memchr(text + at, ' ', bytes - at);
        size_t end = space ? (size_t)(space - text) : bytes;

        ant_buf_add(out, text + at, end - at);
        if (space)
            ant_buf_add(out, mark, 3);
        at = end + (space != NULL);
        while (strips && at < bytes && text[at] == ' ')
            at++;
    }
    while (strips && out->len >= 3 && memcmp(out->data + out->len - 3, mark, 3) == 0)
        out->len -= 3;
}

int ant_normal_check(size_t bytes, size_t most, struct ant_error *err)
{
    if (bytes <= most)
        return 0;
    return ant_fail(err, ANT_EUNSUPP, "the tokenizer's rules make more than %zu bytes of a text",
                    most);
}

int ant_replace(struct ant_buf *out, size_t most, const struct ant_pattern *pattern,
                struct ant_matcher *matcher, const char *text, size_t bytes, const char *content,
                size_t content_bytes, struct ant_error *err)
{
    struct ant_search search;
    size_t done = 0, start, end;
    int found;

    ant_search_begin(&search, pattern, matcher, text, bytes);
    while ((found = ant_search_next(&search, &start, &end, err)) > 0) {
        ant_buf_add(out, text + done, start - done);
        ant_buf_add(out, content, content_bytes);
        ANT_TRY(ant_normal_check(out->len, most, err));
        done = end;
    }
    ant_buf_add(out, text + done, bytes - done);
    return found;
}

/* True: the step leaves this text as it is. */
static bool idle(const struct ant_normal_step *step, const char *text, size_t bytes)
{
    switch (step->kind) {
    case ANT_NORMAL_NFC: /* U+0300 is the first that may combine; it starts with 0xcc */
        return all_below(text, bytes, 0xcc);
    case ANT_NORMAL_NFD:
    case ANT_NORMAL_NFKC:
    case ANT_NORMAL_NFKD:
        return all_below(text, bytes, 0x80);
    default:
        return bytes == 0;
    }
}

static int step_into(struct ant_buf *out, size_t most, const struct ant_normal_step *step,
                     struct ant_matcher *matcher, const char *text, size_t bytes,
                     struct ant_error *err)
{
    switch (step->kind) {
    case ANT_NORMAL_PREPEND:
        ant_buf_add(out, step->content, step->bytes);
        ant_buf_add(out, text, bytes);
        return 0;
    case ANT_NORMAL_REPLACE:
        return ant_replace(out, most, step->pattern, matcher, text, bytes, step->content,
                           step->bytes, err);
    case ANT_NORMAL_MAP:
        ant_charsmap_rewrite(step->map, step->by_cluster, text, bytes, out);
        return 0;
    case ANT_NORMAL_SPELL:
        spell(out, text, bytes, step->left, step->right);
        return 0;
    case ANT_NORMAL_LOWERCASE:
        lower(out, text, bytes);
        return 0;
    default:
        return compose(out, step->kind, text, bytes, err);
    }
}

int ant_normalize(const struct ant_normal_step *steps, size_t n, struct ant_matcher *matcher,
                  struct ant_buf buffers[2], const char **text, size_t *bytes,
                  struct ant_error *err)
{
    size_t most = ant_normal_most(*bytes), i;
    int into = 0;

    for (i = 0; i < n; i++) {
        struct ant_buf *out = &buffers[into];

        if (idle(&steps[i], *text, *bytes))
            continue;
        if (steps[i].kind == ANT_NORMAL_STRIP) {
            strip(&steps[i], text, bytes);
            continue;
        }
        out->len = 0;
        ANT_TRY(step_into(out, most, &steps[i], matcher, *text, *bytes, err));
        ANT_TRY(ant_normal_check(out->len, most, err));
        *text = out->data ? out->data : "";
        *bytes = out->len;
        into = !into;
    }
    return 0;
}
