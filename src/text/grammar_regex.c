/* SPDX-License-Identifier: Apache-2.0 */
/* Regular expressions as grammars. */
#include "config.h"

#include "text/grammar_read.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "text/unicode.h"

enum {
    LONGEST = 1 << 20,  /* bytes of an expression */
    DEEPEST = 200,      /* groups in groups */
    MOST_TIMES = 65535, /* of a repetition */
    LAST_CODE = 0x10ffff,
};

struct parser {
    struct ant_grammar *grammar;
    const char *text;
    size_t bytes, at;
    enum ant_regex_use use;
    int depth;
    struct ant_error *err;
};

/* A growing list of nodes, or of ranges. */
struct nodes {
    uint32_t *items;
    size_t n, cap;
};
struct ranges {
    struct ant_code_range *items;
    size_t n, cap;
};

static void add_node(struct nodes *nodes, uint32_t node)
{
    if (nodes->n == nodes->cap) {
        nodes->cap = 2 * nodes->cap + 8;
        nodes->items = ant_xrealloc(nodes->items, nodes->cap, sizeof(*nodes->items));
    }
    nodes->items[nodes->n++] = node;
}

static void add_range(struct ranges *ranges, uint32_t first, uint32_t last)
{
    if (ranges->n == ranges->cap) {
        ranges->cap = 2 * ranges->cap + 8;
        ranges->items = ant_xrealloc(ranges->items, ranges->cap, sizeof(*ranges->items));
    }
    ranges->items[ranges->n++] = (struct ant_code_range){first, last};
}

static int fail(struct parser *p, enum ant_err code, size_t at, const char *what)
{
    return ant_fail(p->err, code, "at byte %zu: %s", at, what);
}

static bool is_next(const struct parser *p, char c)
{
    return p->at < p->bytes && p->text[p->at] == c;
}

static bool skip(struct parser *p, const char *word)
{
    size_t n = strlen(word);

    if (p->bytes - p->at < n || memcmp(p->text + p->at, word, n) != 0)
        return false;
    p->at += n;
    return true;
}

/* ---- characters ------------------------------------------------------------------------------ */

enum { ESCAPED_BYTES = 6, LAST_ESCAPED = '\\' };

static bool is_escaped(uint32_t code)
{
    return code < ' ' || code == '"' || code == '\\';
}

/* A character as JSON writes it where it may not stand for itself. Returns the length. */
static size_t escape(char text[ESCAPED_BYTES], uint32_t code)
{
    static const char short_names[] = {
        ['\b'] = 'b', ['\t'] = 't', ['\n'] = 'n',  ['\f'] = 'f',
        ['\r'] = 'r', ['"'] = '"',  ['\\'] = '\\',
    };
    static const char digits[] = "0123456789abcdef";
    const char whole[ESCAPED_BYTES] = {
        '\\', 'u', '0', '0', digits[code >> 4 & 15], digits[code & 15]};

    memcpy(text, whole, sizeof(whole));
    if (short_names[code] == '\0')
        return sizeof(whole);
    text[1] = short_names[code];
    return 2;
}

uint32_t ant_grammar_json_class(struct ant_grammar *grammar, const struct ant_code_range *ranges,
                                size_t n)
{
    static const struct ant_code_range bare[] = {{' ', '!'}, {'#', '['}, {']', LAST_CODE}};
    struct ranges plain = {0};
    char texts[LAST_ESCAPED + 1][ESCAPED_BYTES];
    struct ant_word words[LAST_ESCAPED + 1];
    bool is_in[LAST_ESCAPED + 1] = {false};
    size_t n_words = 0;

    for (size_t i = 0; i < n; i++) {
        const struct ant_code_range *range = &ranges[i];
        for (size_t k = 0; k < sizeof(bare) / sizeof(*bare); k++)
            add_range(&plain, range->first > bare[k].first ? range->first : bare[k].first,
                      range->last < bare[k].last ? range->last : bare[k].last);
        for (uint32_t code = range->first; code <= LAST_ESCAPED && code <= range->last; code++)
            is_in[code] = is_escaped(code);
    }
    for (uint32_t code = 0; code <= LAST_ESCAPED; code++)
        if (is_in[code]) {
            words[n_words] = (struct ant_word){texts[n_words], escape(texts[n_words], code)};
            n_words++;
        }
    uint32_t node = ant_grammar_class(grammar, plain.items, plain.n);
    free(plain.items);
    if (n_words > 0)
        node = ant_grammar_any(grammar,
                               (uint32_t[]){node, ant_grammar_words(grammar, words, n_words)}, 2);
    return node;
}

static uint32_t make_class(struct parser *p, const struct ranges *ranges)
{
    return p->use == ANT_REGEX_JSON ? ant_grammar_json_class(p->grammar, ranges->items, ranges->n)
                                    : ant_grammar_class(p->grammar, ranges->items, ranges->n);
}

static int compare_ranges(const void *a, const void *b)
{
    const struct ant_code_range *x = a, *y = b;

    return (x->first > y->first) - (x->first < y->first);
}

/* All that the ranges are not. */
static void invert(struct ranges *ranges)
{
    struct ranges other = {0};
    uint32_t from = 0;

    if (ranges->n > 1)
        qsort(ranges->items, ranges->n, sizeof(*ranges->items), compare_ranges);
    for (size_t i = 0; i < ranges->n; i++) {
        const struct ant_code_range *range = &ranges->items[i];
        if (range->first > from)
            add_range(&other, from, range->first - 1);
        if (range->last >= from)
            from = range->last + 1;
    }
    if (from <= LAST_CODE)
        add_range(&other, from, LAST_CODE);
    free(ranges->items);
    *ranges = other;
}

/* What a class by name holds, as pairs of its ranges' ends. */
static const char *named_class(const char *name, size_t n)
{
    static const struct {
        const char *name, *pairs;
    } classes[] = {
        {"d", "09"},         {"w", "09AZ__az"},    {"s", "\t\r  "},      {"alpha", "AZaz"},
        {"digit", "09"},     {"alnum", "09AZaz"},  {"upper", "AZ"},      {"lower", "az"},
        {"space", "\t\r  "}, {"word", "09AZ__az"}, {"xdigit", "09AFaf"}, {"punct", "!/:@[`{~"},
    };

    for (size_t i = 0; i < sizeof(classes) / sizeof(*classes); i++)
        if (strlen(classes[i].name) == n && memcmp(classes[i].name, name, n) == 0)
            return classes[i].pairs;
    return NULL;
}

static void add_pairs(struct parser *p, struct ranges *ranges, const char *pairs, bool is_inverted)
{
    static const struct ant_code_range spaces[] = {
        {0xa0, 0xa0},     {0x1680, 0x1680}, {0x2000, 0x200a}, {0x2028, 0x2029},
        {0x202f, 0x202f}, {0x205f, 0x205f}, {0x3000, 0x3000}, {0xfeff, 0xfeff}};
    bool is_space = *pairs == '\t', is_json = p->use == ANT_REGEX_JSON;
    struct ranges own = {0};

    for (; *pairs; pairs += 2)
        add_range(&own, (uint32_t)pairs[0], (uint32_t)pairs[1]);
    for (size_t i = 0; is_space && is_json && i < sizeof(spaces) / sizeof(*spaces); i++)
        add_range(&own, spaces[i].first, spaces[i].last); /* as in JavaScript */
    if (is_inverted)
        invert(&own);
    for (size_t i = 0; i < own.n; i++)
        add_range(ranges, own.items[i].first, own.items[i].last);
    free(own.items);
}

/* Hexadecimal digits: `n` of them, or in braces. */
static int read_hex(struct parser *p, int n, uint32_t *out)
{
    size_t from = p->at;
    bool has_braces = skip(p, "{");
    int most = has_braces ? 8 : n, digits = 0;

    for (*out = 0; digits < most && p->at < p->bytes && ant_hex_digit(p->text[p->at]) >= 0;
         digits++)
        *out = *out * 16 + (uint32_t)ant_hex_digit(p->text[p->at++]);
    if (digits == 0 || (has_braces ? !skip(p, "}") : digits < n))
        return fail(p, ANT_EDATA, from, "hexadecimal digits are missing");
    if (*out > LAST_CODE || (*out >= 0xd800 && *out <= 0xdfff))
        return fail(p, ANT_EDATA, from, "there is no such character");
    return 0;
}

/* What comes behind a backslash: one character in *code, or 1 and a class added to `ranges`. */
static int read_escape(struct parser *p, struct ranges *ranges, uint32_t *code)
{
    static const char letters[] = "ntrfvae0", values[] = "\n\t\r\f\v\a\033";
    size_t from = p->at - 1;

    if (p->at == p->bytes)
        return fail(p, ANT_EDATA, from, "a backslash with nothing behind it");
    char c = p->text[p->at++];
    const char *letter = strchr(letters, c), lower = (char)(c | 0x20);
    if (c == '0' && p->at < p->bytes && p->text[p->at] >= '0' && p->text[p->at] <= '9')
        return fail(p, ANT_EUNSUPP, from, "octal numbers are not known: write \\xHH");
    if (c && letter) {
        *code = (uint32_t)values[letter - letters];
        return 0;
    }
    if (c == 'x' || c == 'u')
        return read_hex(p, c == 'x' ? 2 : 4, code);
    if (lower == 'd' || lower == 'w' || lower == 's') {
        add_pairs(p, ranges, named_class(&lower, 1), c != lower);
        return 1;
    }
    if ((lower >= 'a' && lower <= 'z' && c >= 'A') || (c >= '1' && c <= '9'))
        return fail(p, ANT_EUNSUPP, from,
                    "this escape is not known (no references back, \\b, \\p, \\A, \\Z ...)");
    p->at--;
    p->at += ant_utf8_next(p->text + p->at, code);
    return 0;
}

/* An end of a range in a class, or 1 and more of the class. */
static int read_class_item(struct parser *p, struct ranges *ranges, uint32_t *code)
{
    if (skip(p, "\\")) {
        if (skip(p, "b")) {
            *code = '\b';
            return 0;
        }
        return read_escape(p, ranges, code);
    }
    if (p->bytes - p->at > 1 && p->text[p->at] == '[' && strchr(":.=", p->text[p->at + 1])) {
        bool is_inverted = p->bytes - p->at > 2 && p->text[p->at + 2] == '^';
        const char *name = p->text + p->at + 2 + is_inverted;
        size_t left = (size_t)(p->text + p->bytes - name);
        const char *end = memmem(name, left, ":]", 2);
        const char *pairs = end ? named_class(name, (size_t)(end - name)) : NULL;
        if (p->text[p->at + 1] != ':' || !pairs || end - name < 2)
            return fail(p, ANT_EUNSUPP, p->at, "no class of this name is known");
        add_pairs(p, ranges, pairs, is_inverted);
        p->at = (size_t)(end + 2 - p->text);
        return 1;
    }
    p->at += ant_utf8_next(p->text + p->at, code);
    return 0;
}

static int read_class_range(struct parser *p, struct ranges *ranges)
{
    size_t from = p->at;
    uint32_t first = 0, last = 0;
    int is_class = read_class_item(p, ranges, &first);

    if (is_class != 0)
        return is_class < 0 ? is_class : 0;
    last = first;
    if (p->bytes - p->at > 1 && p->text[p->at] == '-' && p->text[p->at + 1] != ']') {
        p->at++;
        is_class = read_class_item(p, ranges, &last);
        if (is_class > 0)
            return fail(p, ANT_EDATA, from, "a range that ends with a class");
        if (is_class < 0)
            return is_class;
        if (last < first)
            return fail(p, ANT_EDATA, from, "a range that ends before it begins");
    }
    add_range(ranges, first, last);
    return 0;
}

static int read_class(struct parser *p, uint32_t *out)
{
    size_t from = p->at - 1;
    struct ranges ranges = {0};
    bool is_inverted = skip(p, "^"), is_first = true;
    int rc = 0;

    while (rc == 0 && (is_first || !is_next(p, ']'))) {
        if (p->at == p->bytes) {
            rc = fail(p, ANT_EDATA, from, "a class that does not end: ']' is missing");
            break;
        }
        rc = read_class_range(p, &ranges);
        is_first = false;
    }
    p->at++;
    if (is_inverted)
        invert(&ranges);
    if (rc == 0)
        *out = make_class(p, &ranges);
    free(ranges.items);
    return rc;
}

static uint32_t make_dot(struct parser *p)
{
    static const struct ant_code_range text[] = {{0, '\n' - 1}, {'\n' + 1, LAST_CODE}};
    static const struct ant_code_range json[] = {{0, '\n' - 1},
                                                 {'\n' + 1, '\r' - 1},
                                                 {'\r' + 1, 0x2027},
                                                 {0x202a, LAST_CODE}}; /* as in JavaScript */
    bool is_json = p->use == ANT_REGEX_JSON;
    struct ranges ranges = {(struct ant_code_range *)(is_json ? json : text), is_json ? 4 : 2, 0};

    return make_class(p, &ranges);
}

/* ---- groups, repetitions, branches ----------------------------------------------------------- */

static int read_branches(struct parser *p, uint32_t *out);

/* What stands between "(?" and the group's content. */
static int read_group_kind(struct parser *p)
{
    size_t from = p->at - 1;

    if (!skip(p, "?") || skip(p, ":"))
        return 0;
    bool is_named = skip(p, "P<") || (is_next(p, '<') && p->bytes - p->at > 1 &&
                                      !strchr("=!", p->text[p->at + 1]) && skip(p, "<"));
    const char *end = is_named ? memchr(p->text + p->at, '>', p->bytes - p->at) : NULL;
    if (!end)
        return fail(p, ANT_EUNSUPP, from,
                    "this kind of group is not known (no looks ahead or behind, no options)");
    p->at = (size_t)(end + 1 - p->text);
    return 0;
}

static int read_group(struct parser *p, uint32_t *out)
{
    size_t from = p->at - 1;

    if (++p->depth > DEEPEST)
        return fail(p, ANT_EUNSUPP, from, "too many groups in groups");
    ANT_TRY(read_group_kind(p));
    ANT_TRY(read_branches(p, out));
    if (!skip(p, ")"))
        return fail(p, ANT_EDATA, from, "a group that does not end: ')' is missing");
    p->depth--;
    return 0;
}

static int read_atom(struct parser *p, uint32_t *out)
{
    struct ranges ranges = {0};
    size_t from = p->at;
    uint32_t code = 0;
    int rc = 0;

    if (skip(p, "("))
        return read_group(p, out);
    if (skip(p, "["))
        return read_class(p, out);
    if (skip(p, ".")) {
        *out = make_dot(p);
        return 0;
    }
    if (strchr("*+?", p->text[p->at]) && p->text[p->at])
        return fail(p, ANT_EDATA, from, "nothing to repeat");
    if (is_next(p, '{'))
        return fail(p, ANT_EDATA, from, "'{' as a character is written \\{");
    if (is_next(p, '^') || is_next(p, '$'))
        return fail(p, ANT_EUNSUPP, from,
                    "'^' and '$' are known at the two ends of the whole alone");
    if (skip(p, "\\"))
        rc = read_escape(p, &ranges, &code);
    else
        p->at += ant_utf8_next(p->text + p->at, &code);
    if (rc == 0)
        add_range(&ranges, code, code);
    if (rc >= 0)
        *out = make_class(p, &ranges);
    free(ranges.items);
    return rc < 0 ? rc : 0;
}

static int read_number(struct parser *p, int32_t *out)
{
    size_t from = p->at;

    for (*out = 0; p->at < p->bytes && p->text[p->at] >= '0' && p->text[p->at] <= '9'; p->at++) {
        *out = *out * 10 + (p->text[p->at] - '0');
        if (*out > MOST_TIMES)
            return fail(p, ANT_EUNSUPP, from, "more repetitions than 65535");
    }
    return p->at > from ? 0 : fail(p, ANT_EDATA, from, "a number is missing: {n}, {n,} or {n,m}");
}

/* 1: there is a repetition. */
static int read_times(struct parser *p, int32_t *min, int32_t *max)
{
    size_t from = p->at;

    *min = is_next(p, '+');
    *max = is_next(p, '?') ? 1 : ANT_NO_LIMIT;
    if (skip(p, "*") || skip(p, "+") || skip(p, "?"))
        return 1;
    if (!skip(p, "{"))
        return 0;
    ANT_TRY(read_number(p, min));
    *max = *min;
    if (skip(p, ",")) {
        *max = ANT_NO_LIMIT;
        if (!is_next(p, '}'))
            ANT_TRY(read_number(p, max));
    }
    if (!skip(p, "}"))
        return fail(p, ANT_EDATA, from, "a repetition that does not end: '}' is missing");
    if (*max < *min)
        return fail(p, ANT_EDATA, from, "a repetition of at most less than at least");
    return 1;
}

static int read_repeated(struct parser *p, uint32_t *out)
{
    int32_t min = 0, max = 0;

    ANT_TRY(read_atom(p, out));
    int is_repeated = read_times(p, &min, &max);
    if (is_repeated <= 0)
        return is_repeated;
    if (!skip(p, "?") && is_next(p, '+'))
        return fail(p, ANT_EUNSUPP, p->at, "possessive repetition is not known");
    *out = ant_grammar_repeat(p->grammar, *out, min, max, ANT_NO_NODE);
    return 0;
}

static bool is_branch_end(const struct parser *p)
{
    return p->at == p->bytes || is_next(p, '|') || is_next(p, ')');
}

/* '$' as the last of a branch of the whole. */
static bool skip_end_anchor(struct parser *p)
{
    if (p->depth > 0 || !is_next(p, '$') || (p->at + 1 < p->bytes && p->text[p->at + 1] != '|'))
        return false;
    p->at++;
    return true;
}

static int read_branch(struct parser *p, uint32_t *out)
{
    bool finds = p->use == ANT_REGEX_JSON && p->depth == 0;
    struct ranges all = {0};
    struct nodes nodes = {0};
    uint32_t node = ANT_NO_NODE, anything = ANT_NO_NODE;
    int rc = 0;

    add_range(&all, 0, LAST_CODE);
    if (finds)
        anything =
            ant_grammar_repeat(p->grammar, make_class(p, &all), 0, ANT_NO_LIMIT, ANT_NO_NODE);
    free(all.items);
    if (!(p->depth == 0 && skip(p, "^")) && finds)
        add_node(&nodes, anything);
    bool is_anchored = false;
    while (rc == 0 && !is_branch_end(p) && !(is_anchored = skip_end_anchor(p))) {
        rc = read_repeated(p, &node);
        add_node(&nodes, node);
    }
    if (finds && !is_anchored)
        add_node(&nodes, anything);
    if (rc == 0)
        *out = ant_grammar_sequence(p->grammar, nodes.items, nodes.n);
    free(nodes.items);
    return rc;
}

static int read_branches(struct parser *p, uint32_t *out)
{
    struct nodes branches = {0};
    uint32_t node = ANT_NO_NODE;
    int rc;

    do {
        rc = read_branch(p, &node);
        add_node(&branches, node);
    } while (rc == 0 && skip(p, "|"));
    if (rc == 0)
        *out = ant_grammar_any(p->grammar, branches.items, branches.n);
    free(branches.items);
    return rc;
}

int ant_grammar_read_regex(struct ant_grammar *grammar, const char *text, size_t bytes,
                           enum ant_regex_use use, uint32_t *out, struct ant_error *err)
{
    struct parser parser = {
        .grammar = grammar, .text = text, .bytes = bytes, .use = use, .err = err};
    size_t good = ant_utf8_check(text, bytes);

    if (bytes > LONGEST)
        return ant_fail(err, ANT_EUNSUPP, "longer than %d bytes", LONGEST);
    if (good < bytes)
        return fail(&parser, ANT_EDATA, good, "not UTF-8");
    ANT_TRY(read_branches(&parser, out));
    if (parser.at < bytes)
        return fail(&parser, ANT_EDATA, parser.at, "a ')' that closes nothing");
    return 0;
}
