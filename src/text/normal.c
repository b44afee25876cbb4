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

static int compose(struct ant_buf *out, enum ant_normal_kind kind, const char *text, size_t bytes,
                   struct ant_error *err)
{
    utf8proc_option_t options = UTF8PROC_STABLE;
    utf8proc_uint8_t *result = NULL;
    utf8proc_ssize_t n;

    options |=
        kind == ANT_NORMAL_NFC || kind == ANT_NORMAL_NFKC ? UTF8PROC_COMPOSE : UTF8PROC_DECOMPOSE;
    if (kind == ANT_NORMAL_NFKC || kind == ANT_NORMAL_NFKD)
        options |= UTF8PROC_COMPAT;
    n = utf8proc_map((const utf8proc_uint8_t *)text, (utf8proc_ssize_t)bytes, &result, options);
    if (n < 0)
        return ant_fail(err, n == UTF8PROC_ERROR_NOMEM ? ANT_ENOMEM : ANT_EDATA,
                        "text of %zu bytes cannot be normalised: %s", bytes, utf8proc_errmsg(n));
    ant_buf_add(out, result, (size_t)n);
    free(result);
    return 0;
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

int ant_replace(struct ant_buf *out, const struct ant_pattern *pattern, struct ant_matcher *matcher,
                const char *text, size_t bytes, const char *content, size_t content_bytes,
                struct ant_error *err)
{
    struct ant_search search;
    size_t done = 0, start, end;
    int found;

    ant_search_begin(&search, pattern, matcher, text, bytes);
    while ((found = ant_search_next(&search, &start, &end, err)) > 0) {
        ant_buf_add(out, text + done, start - done);
        ant_buf_add(out, content, content_bytes);
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

static int step_into(struct ant_buf *out, const struct ant_normal_step *step,
                     struct ant_matcher *matcher, const char *text, size_t bytes,
                     struct ant_error *err)
{
    switch (step->kind) {
    case ANT_NORMAL_PREPEND:
        ant_buf_add(out, step->content, step->bytes);
        ant_buf_add(out, text, bytes);
        return 0;
    case ANT_NORMAL_REPLACE:
        return ant_replace(out, step->pattern, matcher, text, bytes, step->content, step->bytes,
                           err);
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
    size_t i;
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
        ANT_TRY(step_into(out, &steps[i], matcher, *text, *bytes, err));
        *text = out->data ? out->data : "";
        *bytes = out->len;
        into = !into;
    }
    return 0;
}
