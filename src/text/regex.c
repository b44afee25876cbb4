/* SPDX-License-Identifier: Apache-2.0 */
/* From the regular expressions of tokenizer.json to PCRE2's.
 *
 * The files are written for Oniguruma with Ruby's syntax. Most of it is spelled alike in PCRE2 and
 * means something slightly different: \s, \w, \d, \h and \v, {n,m}+ and {,n}, (?m), an (?i) without
 * a group of its own, classes within classes. All of these are written out here; what has no exact
 * equivalent is refused by name. */
#include "config.h"

#include "text/pattern.h"
#include "text/unicode.h"

#include <ctype.h>
#include <inttypes.h>
#include <string.h>
#include <strings.h>

enum { DEPTH_MAX = 100 };

#define SPACE                                                                                      \
    "\\x09-\\x0d\\x20\\x85\\xa0\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}"                     \
    "\\x{202f}\\x{205f}\\x{3000}"
#define NOT_SPACE                                                                                  \
    "\\x00-\\x08\\x0e-\\x1f\\x21-\\x84\\x86-\\x9f\\xa1-\\x{167f}\\x{1681}-\\x{1fff}"               \
    "\\x{200b}-\\x{2027}\\x{202a}-\\x{202e}\\x{2030}-\\x{205e}\\x{2060}-\\x{2fff}"                 \
    "\\x{3001}-\\x{10ffff}"
/* Oniguruma counts the numbers of Latin-1 that are no digits as well. */
#define WORD "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\xb2\\xb3\\xb9\\xbc-\\xbe"
#define HEX  "0-9A-Fa-f"

struct group {
    size_t start;   /* of its text in the output */
    int extra_ends; /* of groups that an option without a group opened within it */
};

struct translation {
    const char *at, *end;
    struct ant_buf *out;
    struct ant_error *err;
    size_t atom; /* start in the output of what a quantifier would repeat; SIZE_MAX: nothing */
    bool quantified;
    struct group groups[DEPTH_MAX];
    int depth;
};

static void put(struct translation *t, const char *text)
{
    ant_buf_add(t->out, text, strlen(text));
}

static void put_character(struct translation *t, uint32_t character)
{
    ant_buf_printf(t->out, "\\x{%" PRIx32 "}", character);
}

static void begin_atom(struct translation *t)
{
    t->atom = t->out->len;
    t->quantified = false;
}

static bool take(struct translation *t, char c)
{
    if (t->at == t->end || *t->at != c)
        return false;
    t->at++;
    return true;
}

static char peek(const struct translation *t, ptrdiff_t ahead)
{
    return t->end - t->at > ahead ? t->at[ahead] : '\0';
}

static int refuse(struct translation *t, const char *what)
{
    return ant_fail(t->err, ANT_EUNSUPP, "pattern uses %s", what);
}

static int malformed(struct translation *t, const char *what)
{
    return ant_fail(t->err, ANT_EDATA, "pattern has %s", what);
}

/* General categories by their short and long names; anything else is taken for a script. */
static const char *category_name(const char *name)
{
    static const char *const categories[][2] = {
        {"L", "letter"},
        {"Lu", "uppercaseletter"},
        {"Ll", "lowercaseletter"},
        {"Lt", "titlecaseletter"},
        {"Lm", "modifierletter"},
        {"Lo", "otherletter"},
        {"M", "mark"},
        {"Mn", "nonspacingmark"},
        {"Mc", "spacingmark"},
        {"Me", "enclosingmark"},
        {"N", "number"},
        {"Nd", "decimalnumber"},
        {"Nl", "letternumber"},
        {"No", "othernumber"},
        {"P", "punctuation"},
        {"Pc", "connectorpunctuation"},
        {"Pd", "dashpunctuation"},
        {"Ps", "openpunctuation"},
        {"Pe", "closepunctuation"},
        {"Pi", "initialpunctuation"},
        {"Pf", "finalpunctuation"},
        {"Po", "otherpunctuation"},
        {"S", "symbol"},
        {"Sm", "mathsymbol"},
        {"Sc", "currencysymbol"},
        {"Sk", "modifiersymbol"},
        {"So", "othersymbol"},
        {"Z", "separator"},
        {"Zs", "spaceseparator"},
        {"Zl", "lineseparator"},
        {"Zp", "paragraphseparator"},
        {"C", "other"},
        {"Cc", "control"},
        {"Cf", "format"},
        {"Cn", "unassigned"},
        {"Co", "privateuse"},
    };
    size_t i;

    for (i = 0; i < sizeof categories / sizeof *categories; i++)
        if (strcasecmp(name, categories[i][0]) == 0 || strcmp(name, categories[i][1]) == 0)
            return categories[i][0];
    return NULL;
}

/* Behind \p or \P. */
static int property(struct translation *t, bool negative)
{
    char name[48];
    const char *category;
    size_t n = 0;

    if (!take(t, '{'))
        return refuse(t, "a property without braces");
    if (take(t, '^'))
        negative = !negative;
    while (t->at < t->end && *t->at != '}') {
        char c = *t->at++;

        if (c == ' ' || c == '_' || c == '-')
            continue;
        if (!isalpha((unsigned char)c) || n + 1 == sizeof name)
            return refuse(t, "an unknown property");
        name[n++] = (char)tolower((unsigned char)c);
    }
    if (!take(t, '}') || n == 0)
        return malformed(t, "an unfinished property");
    name[n] = '\0';
    category = category_name(name);
    ant_buf_printf(t->out, "\\%c{%s%s}", negative ? 'P' : 'p',
                   category ? "" : "sc:", category ? category : name);
    return 0;
}

static int digits(struct translation *t, int base, int least, int most, uint32_t *value)
{
    int n = 0;

    for (*value = 0; n < most; n++) {
        int digit = ant_hex_digit(peek(t, 0));

        if (digit < 0 || digit >= base)
            break;
        *value = *value * (uint32_t)base + (uint32_t)digit;
        t->at++;
    }
    return n < least ? malformed(t, "an unfinished character number") : 0;
}

/* The one character that an escape stands for, the backslash being read: 1. 0: it is something
 * else, nothing is taken. */
static int escaped_character(struct translation *t, uint32_t *character)
{
    static const char letters[] = "n\nt\tr\rf\fv\va\ae\033";
    char c = peek(t, 0);
    const char *letter;

    if (t->at == t->end)
        return malformed(t, "a backslash at its end");
    if (!isalnum((unsigned char)c)) {
        t->at += ant_utf8_next(t->at, character);
        return 1;
    }
    for (letter = letters; *letter; letter += 2) {
        if (*letter == c) {
            t->at++;
            *character = (unsigned char)letter[1];
            return 1;
        }
    }
    if (c != 'x' && c != 'u' && c != '0')
        return 0;
    t->at++;
    if (c == '0') {
        ANT_TRY(digits(t, 8, 0, 2, character));
    } else if (c == 'u') {
        ANT_TRY(digits(t, 16, 4, 4, character));
    } else if (take(t, '{')) {
        ANT_TRY(digits(t, 16, 1, 6, character));
        if (!take(t, '}'))
            return malformed(t, "an unfinished character number");
    } else {
        ANT_TRY(digits(t, 16, 1, 2, character));
        if (*character >= 0x80)
            return refuse(t, "a single byte of a character");
    }
    if (*character > 0x10ffff || (*character >= 0xd800 && *character < 0xe000))
        return malformed(t, "a number that is no character");
    return 1;
}

static int refuse_escape(struct translation *t)
{
    return ant_fail(t->err, ANT_EUNSUPP, "pattern uses '\\%c'", peek(t, 0));
}

/* Escapes that stand for a set of characters or a place, as PCRE2 takes them. */
static const struct {
    char letter;
    const char *alone, *in_class; /* NULL: has no meaning there */
} escapes[] = {
    {'s', "[" SPACE "]", SPACE},
    {'S', "[^" SPACE "]", NOT_SPACE},
    {'w', "[" WORD "]", WORD},
    {'W', "[^" WORD "]", NULL},
    {'d', "\\p{Nd}", "\\p{Nd}"},
    {'D', "\\P{Nd}", "\\P{Nd}"},
    {'h', "[" HEX "]", HEX},
    {'b', "(?:(?<=[" WORD "])(?![" WORD "])|(?<![" WORD "])(?=[" WORD "]))", NULL},
    {'B', "(?:(?<=[" WORD "])(?=[" WORD "])|(?<![" WORD "])(?![" WORD "]))", NULL},
    {'A', "\\A", NULL},
    {'z', "\\z", NULL},
    {'Z', "\\Z", NULL},
};

/* What a backslash, which is read, begins if it is no single character. */
static int put_escape(struct translation *t, bool is_in_class)
{
    char letter = peek(t, 0);

    if (letter == 'p' || letter == 'P') {
        t->at++;
        return property(t, letter == 'P');
    }
    for (size_t i = 0; i < sizeof(escapes) / sizeof(escapes[0]); i++) {
        const char *text = is_in_class ? escapes[i].in_class : escapes[i].alone;

        if (letter != escapes[i].letter || !text)
            continue;
        put(t, text);
        t->at++;
        return 0;
    }
    return refuse_escape(t);
}

/* A backslash is read, outside of classes. */
static int escape(struct translation *t)
{
    uint32_t character;
    int single;

    begin_atom(t);
    single = escaped_character(t, &character);
    if (single < 0)
        return single;
    if (!single)
        return put_escape(t, false);
    put_character(t, character);
    return 0;
}

/* A backslash is read, within a class. 1: a single character, for the caller to write; 0: a set,
 * written. */
static int class_escape(struct translation *t, uint32_t *character)
{
    int single = escaped_character(t, character);

    if (single == 0 && take(t, 'b')) {
        *character = '\b';
        return 1;
    }
    return single ? single : put_escape(t, true);
}

static int class_items(struct translation *t, int depth);

/* One member of a class; as class_escape. */
static int class_item(struct translation *t, int depth, uint32_t *character)
{
    if (take(t, '\\'))
        return class_escape(t, character);
    if (peek(t, 0) == '[') {
        t->at++;
        if (peek(t, 0) == ':')
            return refuse(t, "a POSIX class");
        if (peek(t, 0) == '^')
            return refuse(t, "a negated class within a class");
        if (depth == DEPTH_MAX)
            return malformed(t, "classes nested too deep");
        return class_items(t, depth + 1);
    }
    if (peek(t, 0) == '&' && peek(t, 1) == '&')
        return refuse(t, "an intersection of classes");
    t->at += ant_utf8_next(t->at, character);
    return 1;
}

/* The members up to and with the closing bracket. A class within a class only adds its members. */
static int class_items(struct translation *t, int depth)
{
    bool first = true;

    while (t->at < t->end) {
        uint32_t low, high;
        int single;

        if (!first && take(t, ']'))
            return 0;
        first = false;
        single = class_item(t, depth, &low);
        if (single < 0)
            return single;
        if (single)
            put_character(t, low);
        if (peek(t, 0) != '-' || peek(t, 1) == ']' || peek(t, 1) == '\0')
            continue;
        t->at++;
        if (!single || peek(t, 0) == '[') { /* nothing that could start or end a range */
            put_character(t, '-');
            continue;
        }
        ANT_TRY(single = class_item(t, depth, &high));
        if (!single)
            return refuse(t, "a set as the end of a range");
        if (high < low)
            return malformed(t, "an empty range");
        put(t, "-");
        put_character(t, high);
        if (peek(t, 0) == '-' && peek(t, 1) != '\0') { /* behind a range it is itself */
            t->at++;
            put_character(t, '-');
        }
    }
    return malformed(t, "an unfinished class");
}

/* Options behind "(?": i, m (in PCRE2's words s) and their negation, then ':' or ')'. */
static int options(struct translation *t)
{
    struct group *group = &t->groups[t->depth - 1];

    put(t, "(?");
    while (t->at < t->end && strchr("im-", *t->at)) {
        ant_buf_printf(t->out, "%c", *t->at == 'm' ? 's' : *t->at);
        t->at++;
    }
    put(t, ":");
    if (take(t, ':'))
        return 0;
    if (!take(t, ')'))
        return refuse(t, "an unknown kind of group");
    /* It holds to the end of the enclosing group, alternatives included: a group of its own. */
    t->depth--;
    group[-1].extra_ends++;
    t->atom = SIZE_MAX;
    return 0;
}

static int open_group(struct translation *t)
{
    static const char *const kinds[] = {":", "=", "!", ">", "<=", "<!"};
    size_t i;

    if (t->depth == DEPTH_MAX)
        return malformed(t, "groups nested too deep");
    t->groups[t->depth++] = (struct group){.start = t->out->len};
    t->atom = SIZE_MAX;
    if (peek(t, 0) != '?') {
        put(t, "(?:");
        return 0;
    }
    t->at++;
    for (i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        size_t n = strlen(kinds[i]);

        if ((size_t)(t->end - t->at) >= n && memcmp(t->at, kinds[i], n) == 0) {
            t->at += n;
            put(t, "(?");
            put(t, kinds[i]);
            return 0;
        }
    }
    return options(t);
}

static int close_group(struct translation *t)
{
    struct group *group;

    if (t->depth <= 1) /* the first is the whole pattern */
        return malformed(t, "a ')' too many");
    group = &t->groups[--t->depth];
    for (; group->extra_ends > 0; group->extra_ends--)
        put(t, ")");
    put(t, ")");
    t->atom = group->start;
    t->quantified = false;
    return 0;
}

/* Put (?: ) around the last atom, so that one more quantifier applies to the one it has. */
static void wrap_atom(struct translation *t)
{
    size_t n = t->out->len - t->atom;

    ant_buf_grow(t->out, 3);
    memmove(t->out->data + t->atom + 3, t->out->data + t->atom, n);
    memcpy(t->out->data + t->atom, "(?:", 3);
    put(t, ")");
}

static int begin_quantifier(struct translation *t)
{
    if (t->atom == SIZE_MAX)
        return malformed(t, "a quantifier of nothing");
    if (t->quantified)
        wrap_atom(t);
    t->quantified = true;
    return 0;
}

/* {n}, {n,}, {,n}, {n,m} at the brace: 1 and written; 0: a brace like any other character. Unlike
 * in PCRE2 a '+' behind it repeats, and {n}? is "n times or not at all". */
static int interval(struct translation *t)
{
    const char *c = t->at + 1, *low = c, *high;
    int n_low, n_high;
    bool range;

    while (c < t->end && isdigit((unsigned char)*c))
        c++;
    n_low = (int)(c - low);
    range = c < t->end && *c == ',';
    high = range ? ++c : c;
    while (c < t->end && isdigit((unsigned char)*c))
        c++;
    n_high = (int)(c - high);
    if (c == t->end || *c != '}' || (n_low == 0 && n_high == 0) || n_low > 5 || n_high > 5)
        return 0;
    ANT_TRY(begin_quantifier(t));
    t->at = c + 1;
    ant_buf_printf(t->out, "{%.*s%s%.*s}", n_low ? n_low : 1, n_low ? low : "0", range ? "," : "",
                   n_high, high);
    if (range && take(t, '?'))
        put(t, "?");
    return 1;
}

static int quantifier(struct translation *t)
{
    ANT_TRY(begin_quantifier(t));
    ant_buf_add(t->out, t->at++, 1);
    if (peek(t, 0) == '?' || peek(t, 0) == '+')
        ant_buf_add(t->out, t->at++, 1);
    return 0;
}

static int class_(struct translation *t)
{
    begin_atom(t);
    put(t, "[");
    if (take(t, '^'))
        put(t, "^");
    ANT_TRY(class_items(t, 1));
    put(t, "]");
    return 0;
}

static int literal(struct translation *t)
{
    uint32_t character;

    begin_atom(t);
    t->at += ant_utf8_next(t->at, &character);
    put_character(t, character);
    return 0;
}

static int element(struct translation *t)
{
    switch (*t->at) {
    case '\\':
        t->at++;
        return escape(t);
    case '[':
        t->at++;
        return class_(t);
    case '(':
        t->at++;
        return open_group(t);
    case ')':
        t->at++;
        return close_group(t);
    case '*':
    case '+':
    case '?':
        return quantifier(t);
    case '{': {
        int is_interval = interval(t);

        return is_interval ? is_interval : literal(t);
    }
    case '|':
    case '^':
    case '$':
        t->atom = SIZE_MAX;
        ant_buf_add(t->out, t->at++, 1);
        return 0;
    case '.':
        begin_atom(t);
        ant_buf_add(t->out, t->at++, 1);
        return 0;
    default:
        return literal(t);
    }
}

int ant_regex_translate(struct ant_buf *out, const char *source, size_t bytes,
                        struct ant_error *err)
{
    struct translation t = {
        .at = source,
        .end = source + bytes,
        .out = out,
        .err = err,
        .atom = SIZE_MAX,
        .depth = 1,
    };

    while (t.at < t.end)
        ANT_TRY(element(&t));
    if (t.depth != 1)
        return malformed(&t, "an unfinished group");
    for (; t.groups[0].extra_ends > 0; t.groups[0].extra_ends--)
        put(&t, ")");
    return 0;
}
