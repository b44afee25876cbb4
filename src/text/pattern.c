/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "text/pattern.h"
#include "base/log.h"
#include "text/unicode.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <stdlib.h>
#include <string.h>

/* A pattern of a model file may be hostile, and a harmless one may meet a hostile text: a search
 * ends with an error rather than run on. */
enum {
    MATCH_LIMIT = 10000000,
    HEAP_LIMIT_KIB = 256 * 1024,
    JIT_STACK_FIRST = 32 * 1024,
    JIT_STACK_MOST = 1024 * 1024,
    SOURCE_MAX = 64 * 1024,
};

struct ant_pattern {
    pcre2_code *code; /* owned; or NULL */
    bool jit;
    bool (*is)(uint32_t character); /* or NULL */
    char *text;                     /* owned; or NULL */
    size_t bytes;
};

struct ant_matcher {
    pcre2_match_data *data;
    pcre2_match_context *context;
    pcre2_jit_stack *stack;
};

static int compile(struct ant_pattern *pattern, const struct ant_buf *source, struct ant_error *err)
{
    pcre2_compile_context *context = pcre2_compile_context_create(NULL);
    PCRE2_UCHAR reason[160];
    PCRE2_SIZE offset;
    int code;

    if (!context)
        return ant_fail(err, ANT_ENOMEM, "no memory for a split pattern");
    pcre2_set_newline(context, PCRE2_NEWLINE_LF);
    /* Ruby's ^ and $ always mean lines, hence MULTILINE. */
    pattern->code = pcre2_compile((PCRE2_SPTR)source->data, source->len,
                                  PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NO_UTF_CHECK |
                                      PCRE2_NEVER_BACKSLASH_C,
                                  &code, &offset, context);
    pcre2_compile_context_free(context);
    if (!pattern->code) {
        pcre2_get_error_message(code, reason, sizeof reason);
        return ant_fail(err, ANT_EDATA, "pattern cannot be compiled: %s", (const char *)reason);
    }
    pattern->jit = pcre2_jit_compile(pattern->code, PCRE2_JIT_COMPLETE) == 0;
    return 0;
}

int ant_pattern_regex(struct ant_pattern **out, const char *source, size_t bytes,
                      struct ant_error *err)
{
    struct ant_pattern *pattern;
    struct ant_buf translated = {0};
    int result;

    if (bytes > SOURCE_MAX)
        return ant_fail(err, ANT_EUNSUPP, "pattern of %zu bytes", bytes);
    pattern = ant_xcalloc(1, sizeof *pattern);
    result = ant_regex_translate(&translated, source, bytes, err);
    if (result == 0)
        result = compile(pattern, &translated, err);
    ant_buf_release(&translated);
    if (result < 0) {
        ant_pattern_close(pattern);
        return result;
    }
    *out = pattern;
    return 0;
}

int ant_pattern_text(struct ant_pattern **out, const char *text, size_t bytes,
                     struct ant_error *err)
{
    struct ant_pattern *pattern;

    if (bytes == 0)
        return ant_fail(err, ANT_EUNSUPP, "pattern is the empty text");
    pattern = ant_xcalloc(1, sizeof *pattern);
    pattern->text = ant_xmalloc(bytes);
    memcpy(pattern->text, text, bytes);
    pattern->bytes = bytes;
    *out = pattern;
    return 0;
}

struct ant_pattern *ant_pattern_class(bool (*is)(uint32_t character))
{
    struct ant_pattern *pattern = ant_xcalloc(1, sizeof *pattern);

    pattern->is = is;
    return pattern;
}

void ant_pattern_close(struct ant_pattern *pattern)
{
    if (!pattern)
        return;
    pcre2_code_free(pattern->code);
    free(pattern->text);
    free(pattern);
}

struct ant_matcher *ant_matcher_open(void)
{
    struct ant_matcher *matcher = ant_xcalloc(1, sizeof *matcher);

    matcher->data = pcre2_match_data_create(1, NULL);
    matcher->context = pcre2_match_context_create(NULL);
    if (!matcher->data || !matcher->context)
        ant_die("no memory for a pattern search");
    pcre2_set_match_limit(matcher->context, MATCH_LIMIT);
    pcre2_set_heap_limit(matcher->context, HEAP_LIMIT_KIB);
    /* NULL where the library has no JIT: then nothing asks for the stack. */
    matcher->stack = pcre2_jit_stack_create(JIT_STACK_FIRST, JIT_STACK_MOST, NULL);
    if (matcher->stack)
        pcre2_jit_stack_assign(matcher->context, NULL, matcher->stack);
    return matcher;
}

void ant_matcher_close(struct ant_matcher *matcher)
{
    if (!matcher)
        return;
    pcre2_jit_stack_free(matcher->stack);
    pcre2_match_context_free(matcher->context);
    pcre2_match_data_free(matcher->data);
    free(matcher);
}

void ant_search_begin(struct ant_search *search, const struct ant_pattern *pattern,
                      struct ant_matcher *matcher, const char *text, size_t bytes)
{
    *search = (struct ant_search){
        .pattern = pattern,
        .matcher = matcher,
        .text = text,
        .bytes = bytes,
        .last_end = SIZE_MAX,
    };
}

static int next_regex(struct ant_search *s, size_t *start, size_t *end, struct ant_error *err)
{
    const struct ant_pattern *p = s->pattern;
    PCRE2_SIZE *range = pcre2_get_ovector_pointer(s->matcher->data);

    for (;;) {
        int found = PCRE2_ERROR_JIT_STACKLIMIT;

        if (s->at > s->bytes)
            return 0;
        if (p->jit)
            found = pcre2_jit_match(p->code, (PCRE2_SPTR)s->text, s->bytes, s->at, 0,
                                    s->matcher->data, s->matcher->context);
        if (found == PCRE2_ERROR_JIT_STACKLIMIT) /* the interpreter's memory is the heap */
            found = pcre2_match(p->code, (PCRE2_SPTR)s->text, s->bytes, s->at,
                                PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, s->matcher->data,
                                s->matcher->context);
        if (found == PCRE2_ERROR_NOMATCH)
            return 0;
        if (found < 0) {
            PCRE2_UCHAR reason[160];

            pcre2_get_error_message(found, reason, sizeof reason);
            return ant_fail(err, ANT_EDATA, "split pattern fails behind byte %zu: %s", s->at,
                            (const char *)reason);
        }
        /* \K in a lookahead could put the start behind the end; translation refuses \K. */
        if (range[0] == range[1] && range[1] == s->last_end) {
            s->at += s->at < s->bytes ? ant_utf8_length((unsigned char)s->text[s->at]) : 1;
            continue;
        }
        *start = range[0];
        *end = s->at = s->last_end = range[1];
        return 1;
    }
}

static int next_text(struct ant_search *s, size_t *start, size_t *end)
{
    const struct ant_pattern *p = s->pattern;
    const char *found;

    if (p->bytes == 1)
        found = memchr(s->text + s->at, p->text[0], s->bytes - s->at);
    else
        found = memmem(s->text + s->at, s->bytes - s->at, p->text, p->bytes);
    if (!found)
        return 0;
    *start = (size_t)(found - s->text);
    *end = s->at = *start + p->bytes;
    return 1;
}

static int next_class(struct ant_search *s, size_t *start, size_t *end)
{
    size_t at = s->at;

    while (at < s->bytes) {
        uint32_t character;
        size_t length = ant_utf8_next(s->text + at, &character);

        if (s->pattern->is(character)) {
            *start = at;
            *end = s->at = at + length;
            return 1;
        }
        at += length;
    }
    s->at = s->bytes;
    return 0;
}

int ant_search_next(struct ant_search *search, size_t *start, size_t *end, struct ant_error *err)
{
    if (search->pattern->code)
        return next_regex(search, start, end, err);
    if (search->pattern->text)
        return next_text(search, start, end);
    return next_class(search, start, end);
}
