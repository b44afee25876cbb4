/* SPDX-License-Identifier: Apache-2.0 */
/* The source of a template as tokens, white space around tags already taken away. */
#include "config.h"

#include "text/jinja_tree.h"
#include "base/mem.h"
#include "text/unicode.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { DEEPEST_BRACKETS = 200, LONGEST_NUMBER = 64 };

struct lexer {
    const char *source; /* line ends are \n */
    size_t bytes, at;
    int line;
    char open[DEEPEST_BRACKETS]; /* the brackets that will close the open ones */
    int n_open;
    struct ant_arena *arena;
    struct ant_jtokens *out;
    struct ant_error *err;
};

static bool is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static char peek(const struct lexer *lexer, size_t ahead)
{
    return lexer->at + ahead < lexer->bytes ? lexer->source[lexer->at + ahead] : '\0';
}

static bool is_here(const struct lexer *lexer, const char *text)
{
    size_t n = strlen(text);

    return lexer->bytes - lexer->at >= n && memcmp(lexer->source + lexer->at, text, n) == 0;
}

static void advance(struct lexer *lexer, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        lexer->line += lexer->source[lexer->at + i] == '\n';
    lexer->at += bytes;
}

/* Bytes of white space at `at`, as Python's \s. */
static size_t space_length(const struct lexer *lexer, size_t at)
{
    size_t n = 0;

    while (at + n < lexer->bytes) {
        uint32_t c;
        size_t length = ant_utf8_next(lexer->source + at + n, &c);
        if (!ant_is_python_space(c))
            break;
        n += length;
    }
    return n;
}

static struct ant_jtoken *add(struct lexer *lexer, enum ant_jtoken_kind kind)
{
    struct ant_jtokens *out = lexer->out;

    if (out->n == out->cap) {
        out->cap = out->cap ? 2 * out->cap : 256;
        out->items = ant_xrealloc(out->items, out->cap, sizeof(*out->items));
    }
    out->items[out->n] = (struct ant_jtoken){.kind = kind, .line = lexer->line};
    return &out->items[out->n++];
}

/* A token with a copy of `text`, and a NUL behind it. */
static void add_text(struct lexer *lexer, enum ant_jtoken_kind kind, const char *text, size_t bytes)
{
    struct ant_jtoken *token = add(lexer, kind);
    char *copy = ant_arena_take(lexer->arena, bytes + 1);

    memcpy(copy, text, bytes);
    copy[bytes] = '\0';
    token->text = copy;
    token->bytes = bytes;
}

static int fail(const struct lexer *lexer, const char *what)
{
    return ant_fail(lexer->err, ANT_EDATA, "line %d: %s", lexer->line, what);
}

/* ---- text between tags ----------------------------------------------------------------------- */

/* Text before a tag with this sign, without the white space that the tag takes away. */
static size_t text_before_tag(const struct lexer *lexer, size_t start, size_t end, char sign,
                              bool is_variable)
{
    if (sign == '-') {
        size_t kept = start;
        for (size_t at = start; at < end;) {
            uint32_t c;
            at += ant_utf8_next(lexer->source + at, &c);
            if (!ant_is_python_space(c))
                kept = at;
        }
        return kept;
    }
    if (sign == '+' || is_variable)
        return end;
    size_t line = end;
    while (line > start && lexer->source[line - 1] != '\n')
        line--;
    bool is_line_start = line > start || start == 0 || lexer->source[start - 1] == '\n';
    if (!is_line_start || line + space_length(lexer, line) < end)
        return end;
    return line;
}

/* The end of a tag is `n` bytes; with it goes the white space that it takes away. */
static void end_tag(struct lexer *lexer, size_t n, bool takes_all, bool takes_line_end)
{
    advance(lexer, n);
    if (takes_all)
        advance(lexer, space_length(lexer, lexer->at));
    else if (takes_line_end && peek(lexer, 0) == '\n')
        advance(lexer, 1);
}

/* {% raw %}, at its "{%"; its length, or 0. */
static size_t raw_tag(const struct lexer *lexer, size_t from, const char *name, char *end_sign)
{
    size_t at = from + 2;

    if (lexer->bytes - from < 4 || lexer->source[from] != '{' || lexer->source[from + 1] != '%')
        return 0;
    if (lexer->source[at] == '-' || lexer->source[at] == '+')
        at++;
    at += space_length(lexer, at);
    if (lexer->bytes - at < strlen(name) || memcmp(lexer->source + at, name, strlen(name)) != 0)
        return 0;
    at += strlen(name);
    at += space_length(lexer, at);
    *end_sign = at < lexer->bytes ? lexer->source[at] : '\0';
    if (*end_sign == '-' || (*end_sign == '+' && strcmp(name, "endraw") == 0))
        at++;
    if (lexer->bytes - at < 2 || lexer->source[at] != '%' || lexer->source[at + 1] != '}')
        return 0;
    return at + 2 - from;
}

static char sign_at(const struct lexer *lexer, size_t at)
{
    char c = at < lexer->bytes ? lexer->source[at] : '\0';

    return c == '-' || c == '+' ? c : '\0';
}

/* At the beginning of what a {% raw %} of `n` bytes holds. */
static int read_raw(struct lexer *lexer, size_t n, char end_sign)
{
    end_tag(lexer, n, end_sign == '-', false);
    size_t start = lexer->at;
    for (size_t at = start; at < lexer->bytes; at++) {
        n = raw_tag(lexer, at, "endraw", &end_sign);
        if (n == 0)
            continue;
        size_t kept = text_before_tag(lexer, start, at, sign_at(lexer, at + 2), false);
        if (kept > start)
            add_text(lexer, ANT_JTOKEN_TEXT, lexer->source + start, kept - start);
        advance(lexer, at - start);
        end_tag(lexer, n, end_sign == '-', end_sign != '+');
        return 0;
    }
    return fail(lexer, "{% raw %} has no end");
}

static int read_comment(struct lexer *lexer)
{
    const char *end = memmem(lexer->source + lexer->at + 2, lexer->bytes - lexer->at - 2, "#}", 2);

    if (!end)
        return fail(lexer, "a comment has no end");
    char sign = end > lexer->source + lexer->at + 2 ? end[-1] : '\0';
    end_tag(lexer, (size_t)(end + 2 - (lexer->source + lexer->at)), sign == '-', sign != '+');
    return 0;
}

/* ---- within tags ----------------------------------------------------------------------------- */

static int hex_value(const char *digits, size_t n, uint32_t *out)
{
    *out = 0;
    for (size_t i = 0; i < n; i++) {
        int value = ant_hex_digit(digits[i]);
        if (value < 0)
            return -1;
        *out = *out << 4 | (uint32_t)value;
    }
    return 0;
}

/* One escape at text[0] == '\\' within `bytes`, as Python's; returns its length, or -1. */
static int unescape(const char *text, size_t bytes, char *out, size_t *n_out)
{
    static const char from[] = "\\'\"abfnrtv", to[] = "\\'\"\a\b\f\n\r\t\v";
    const char *simple = strchr(from, text[1]);
    uint32_t c = 0;
    int length = 2;

    *n_out = 0;
    if (text[1] == '\n')
        return 2;
    if (text[1] && simple) {
        out[(*n_out)++] = to[simple - from];
        return 2;
    }
    if (text[1] >= '0' && text[1] <= '7') {
        for (length = 1;
             length < 4 && (size_t)length < bytes && text[length] >= '0' && text[length] <= '7';
             length++)
            c = c * 8 + (uint32_t)(text[length] - '0');
    } else if (text[1] == 'x' || text[1] == 'u' || text[1] == 'U') {
        size_t digits = text[1] == 'x' ? 2 : text[1] == 'u' ? 4 : 8;
        if (bytes < 2 + digits || hex_value(text + 2, digits, &c) < 0 || c > 0x10ffff ||
            (c >= 0xd800 && c < 0xe000))
            return -1;
        length = 2 + (int)digits;
    } else if (text[1] == 'N') {
        return -1;
    } else {
        out[0] = '\\';
        *n_out = 1;
        return 1;
    }
    *n_out = ant_utf8_put(out, c);
    return length;
}

static int read_string(struct lexer *lexer)
{
    const char *start = lexer->source + lexer->at + 1, *end = lexer->source + lexer->bytes;
    const char quote = start[-1], *at = start;

    while (at < end && *at != quote)
        at += *at == '\\' ? 2 : 1;
    if (at >= end)
        return fail(lexer, "a string has no end");
    char *text = ant_arena_take(lexer->arena, (size_t)(at - start) + 1);
    size_t n = 0, n_out;
    for (const char *from = start; from < at;) {
        if (*from != '\\') {
            text[n++] = *from++;
            continue;
        }
        int length = unescape(from, (size_t)(at - from), text + n, &n_out);
        if (length < 0)
            return fail(lexer, "an escape in a string is malformed or not supported");
        from += length;
        n += n_out;
    }
    text[n] = '\0';
    struct ant_jtoken *token = add(lexer, ANT_JTOKEN_STRING);
    token->text = text;
    token->bytes = n;
    advance(lexer, (size_t)(at + 1 - (start - 1)));
    return 0;
}

/* Decimal digits, with "_" between them, appended to `out`; how many bytes of source. */
static size_t digits_at(const struct lexer *lexer, size_t ahead, char *out, size_t *n)
{
    size_t length = 0;

    while (is_digit(peek(lexer, ahead + length)) ||
           (length > 0 && peek(lexer, ahead + length) == '_' &&
            is_digit(peek(lexer, ahead + length + 1)))) {
        char c = peek(lexer, ahead + length++);
        if (c != '_' && *n < LONGEST_NUMBER)
            out[(*n)++] = c;
    }
    return length;
}

static int read_number(struct lexer *lexer)
{
    char text[LONGEST_NUMBER + 8];
    size_t n = 0, length = digits_at(lexer, 0, text, &n), end = length;
    bool is_real = false;

    if (lexer->at > 0 && lexer->source[lexer->at - 1] != '.' && peek(lexer, end) == '.' &&
        is_digit(peek(lexer, end + 1))) {
        is_real = true;
        text[n++] = '.';
        end += 1 + digits_at(lexer, end + 1, text, &n);
    }
    size_t sign = peek(lexer, end + 1) == '+' || peek(lexer, end + 1) == '-';
    if ((peek(lexer, end) == 'e' || peek(lexer, end) == 'E') &&
        is_digit(peek(lexer, end + 1 + sign))) {
        is_real = true;
        text[n++] = 'e';
        if (sign)
            text[n++] = peek(lexer, end + 1);
        end += 1 + sign + digits_at(lexer, end + 1 + sign, text, &n);
    }
    if (n >= LONGEST_NUMBER || is_letter(peek(lexer, end)))
        return fail(lexer, "a number is malformed or too long");
    text[n] = '\0';
    struct ant_jtoken *token = add(lexer, is_real ? ANT_JTOKEN_FLOAT : ANT_JTOKEN_INTEGER);
    errno = 0;
    if (is_real)
        token->real = strtod(text, NULL);
    else
        token->integer = strtoll(text, NULL, 10);
    if (errno == ERANGE && !is_real)
        return fail(lexer, "a number is too large");
    advance(lexer, end);
    return 0;
}

static int read_operator(struct lexer *lexer)
{
    static const char *const operators[] = {"//", "**", "==", "!=", ">=", "<=", "+", "-", "/",
                                            "*",  "%",  "~",  "[",  "]",  "(",  ")", "{", "}",
                                            ">",  "<",  "=",  ".",  ":",  "|",  ",", ";"};
    char quoted[ANT_QUOTED];

    for (size_t i = 0; i < sizeof(operators) / sizeof(*operators); i++) {
        const char *text = operators[i];
        const char *bracket = strchr("([{)]}", *text);
        if (!is_here(lexer, text))
            continue;
        add_text(lexer, ANT_JTOKEN_OPERATOR, text, strlen(text));
        advance(lexer, strlen(text));
        if (!bracket)
            return 0;
        if (strchr("([{", *text)) {
            if (lexer->n_open == DEEPEST_BRACKETS)
                return fail(lexer, "brackets are nested too deep");
            lexer->open[lexer->n_open++] = *text == '(' ? ')' : *text == '[' ? ']' : '}';
        } else {
            if (lexer->n_open == 0 || lexer->open[lexer->n_open - 1] != *text)
                return ant_fail(lexer->err, ANT_EDATA, "line %d: unexpected '%s'", lexer->line,
                                text);
            lexer->n_open--;
        }
        return 0;
    }
    return ant_fail(lexer->err, ANT_EDATA, "line %d: unexpected character '%s'", lexer->line,
                    ant_quote(quoted, lexer->source + lexer->at,
                              ant_utf8_length((unsigned char)lexer->source[lexer->at])));
}

static int read_one(struct lexer *lexer)
{
    size_t n = 0;

    if (is_letter(peek(lexer, 0))) {
        while (is_letter(peek(lexer, n)) || is_digit(peek(lexer, n)))
            n++;
        add_text(lexer, ANT_JTOKEN_NAME, lexer->source + lexer->at, n);
        advance(lexer, n);
        return 0;
    }
    if (is_digit(peek(lexer, 0)))
        return read_number(lexer);
    if (peek(lexer, 0) == '\'' || peek(lexer, 0) == '"')
        return read_string(lexer);
    return read_operator(lexer);
}

/* What stands within {{ }} or {% %}, up to its end. */
static int read_tag(struct lexer *lexer, bool is_variable)
{
    const char *end = is_variable ? "}}" : "%}";

    add(lexer, is_variable ? ANT_JTOKEN_VARIABLE : ANT_JTOKEN_BLOCK);
    advance(lexer, sign_at(lexer, lexer->at + 2) ? 3 : 2);
    lexer->n_open = 0;
    for (;;) {
        advance(lexer, space_length(lexer, lexer->at));
        if (lexer->at == lexer->bytes)
            return fail(lexer, is_variable ? "{{ has no end" : "{% has no end");
        char sign = sign_at(lexer, lexer->at);
        size_t before = sign == '-' || (sign == '+' && !is_variable);
        if (lexer->n_open == 0 && lexer->bytes - lexer->at >= before + 2 &&
            memcmp(lexer->source + lexer->at + before, end, 2) == 0) {
            add(lexer, is_variable ? ANT_JTOKEN_VARIABLE_END : ANT_JTOKEN_BLOCK_END);
            end_tag(lexer, before + 2, before && sign == '-', !is_variable && !before);
            return 0;
        }
        ANT_TRY(read_one(lexer));
    }
}

/* ---- all of it ------------------------------------------------------------------------------- */

static int read_source(struct lexer *lexer)
{
    while (lexer->at < lexer->bytes) {
        size_t start = lexer->at, tag = start, raw;
        char end_sign;

        while (tag < lexer->bytes &&
               !(lexer->source[tag] == '{' && tag + 1 < lexer->bytes && lexer->source[tag + 1] &&
                 strchr("{%#", lexer->source[tag + 1])))
            tag++;
        bool is_variable = tag < lexer->bytes && lexer->source[tag + 1] == '{';
        size_t kept = tag == lexer->bytes ? tag
                                          : text_before_tag(lexer, start, tag,
                                                            sign_at(lexer, tag + 2), is_variable);
        if (kept > start)
            add_text(lexer, ANT_JTOKEN_TEXT, lexer->source + start, kept - start);
        advance(lexer, tag - start);
        if (tag == lexer->bytes)
            break;
        if (lexer->source[tag + 1] == '#')
            ANT_TRY(read_comment(lexer));
        else if ((raw = raw_tag(lexer, tag, "raw", &end_sign)) > 0)
            ANT_TRY(read_raw(lexer, raw, end_sign));
        else
            ANT_TRY(read_tag(lexer, is_variable));
    }
    add(lexer, ANT_JTOKEN_END);
    return 0;
}

int ant_jinja_lex(struct ant_jtokens *out, struct ant_arena *arena, const char *source,
                  size_t bytes, struct ant_error *err)
{
    struct lexer lexer = {.line = 1, .arena = arena, .out = out, .err = err};
    char *copy = ant_xmalloc(bytes + 1);

    /* \r\n and \r are \n; the last one of the source counts for nothing. */
    for (size_t i = 0; i < bytes; i++) {
        if (source[i] == '\r' && i + 1 < bytes && source[i + 1] == '\n')
            continue;
        copy[lexer.bytes++] = source[i] == '\r' ? '\n' : source[i];
    }
    if (lexer.bytes > 0 && copy[lexer.bytes - 1] == '\n')
        lexer.bytes--;
    lexer.source = copy;
    int rc = read_source(&lexer);
    free(copy);
    return rc;
}
