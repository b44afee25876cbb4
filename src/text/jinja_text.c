/* SPDX-License-Identifier: Apache-2.0 */
/* Values of a template as text: as Python's str, repr and json.dumps write them. */
#include "config.h"

#include "text/jinja_value.h"
#include "text/unicode.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- growing texts --------------------------------------------------------------------------- */

int ant_jtext_add(struct ant_jrun *run, struct ant_jtext *text, const char *data, size_t n)
{
    if (n == 0)
        return 0;
    if (text->cap - text->n < n) {
        size_t more = text->cap + n + 32;
        if (text->data && more <= SIZE_MAX / 2 &&
            ant_arena_extend(&run->arena, text->data, text->cap, more)) {
            text->cap += more;
        } else {
            char *bigger = ant_jinja_take(run, text->cap + more);
            if (!bigger)
                return ANT_EDATA;
            if (text->n > 0)
                memcpy(bigger, text->data, text->n);
            text->data = bigger;
            text->cap += more;
        }
    }
    memcpy(text->data + text->n, data, n);
    text->n += n;
    return ant_jinja_work(run, n / 64);
}

struct ant_jv ant_jtext_value(const struct ant_jtext *text)
{
    return ant_jv_text(text->data ? text->data : "", text->n);
}

static int add_word(struct ant_jrun *run, struct ant_jtext *out, const char *word)
{
    return ant_jtext_add(run, out, word, strlen(word));
}

size_t ant_jv_characters(const char *text, size_t bytes)
{
    size_t n = 0;

    for (size_t i = 0; i < bytes; i++)
        n += ((unsigned char)text[i] & 0xc0) != 0x80;
    return n;
}

size_t ant_jv_offset(const char *text, size_t bytes, size_t characters)
{
    size_t at = 0;

    while (at < bytes && characters-- > 0)
        at += ant_utf8_length((unsigned char)text[at]);
    return at;
}

size_t ant_jv_line(const char *text, size_t bytes, size_t *end)
{
    for (size_t at = 0; at < bytes;) {
        uint32_t c;
        size_t n = ant_utf8_next(text + at, &c);
        if ((c >= '\n' && c <= '\r') || (c >= 0x1c && c <= 0x1e) || c == 0x85 || c == 0x2028 ||
            c == 0x2029) {
            *end = n + (c == '\r' && at + 1 < bytes && text[at + 1] == '\n');
            return at;
        }
        at += n;
    }
    *end = 0;
    return bytes;
}

/* ---- str and repr ---------------------------------------------------------------------------- */

/* The shortest digits that give the number again, written as Python does. */
static void write_real(char out[40], double real)
{
    char digits[40];
    int precision = 0;

    if (isnan(real) || isinf(real)) {
        snprintf(out, 40, "%s", isnan(real) ? "nan" : real > 0 ? "inf" : "-inf");
        return;
    }
    do
        snprintf(digits, sizeof(digits), "%.*e", precision, real);
    while (strtod(digits, NULL) != real && ++precision < 17);
    int exponent = atoi(strchr(digits, 'e') + 1);
    if (exponent < -4 || exponent >= 16) {
        *strchr(digits, 'e') = '\0';
        snprintf(out, 40, "%.24se%c%02d", digits, exponent < 0 ? '-' : '+', abs(exponent));
    } else {
        int decimals = precision - exponent;
        snprintf(out, 40, "%.*f", decimals > 1 ? decimals : 1, real);
    }
}

static int print_number(struct ant_jrun *run, struct ant_jtext *out, const struct ant_jv *value)
{
    char text[40];

    if (value->kind == ANT_JV_INT)
        snprintf(text, sizeof(text), "%" PRId64, value->integer);
    else
        write_real(text, value->real);
    return add_word(run, out, text);
}

static int repr_character(struct ant_jrun *run, struct ant_jtext *out, uint32_t c,
                          const char *bytes, size_t n, char quote)
{
    static const char from[] = "\\\n\r\t", to[] = "\\nrt";
    const char *simple = c < 0x80 && c ? strchr(from, (int)c) : NULL;
    char text[16];

    if (simple || c == (uint32_t)quote) {
        text[0] = '\\';
        text[1] = simple ? to[simple - from] : quote;
        return ant_jtext_add(run, out, text, 2);
    }
    if (ant_is_printable(c))
        return ant_jtext_add(run, out, bytes, n);
    snprintf(text, sizeof(text), c < 0x100 ? "\\x%02x" : c < 0x10000 ? "\\u%04x" : "\\U%08x", c);
    return add_word(run, out, text);
}

static int repr_text(struct ant_jrun *run, struct ant_jtext *out, const char *text, size_t bytes)
{
    bool has_single = bytes > 0 && memchr(text, '\'', bytes);
    char quote = has_single && !memchr(text, '"', bytes) ? '"' : '\'';

    ANT_TRY(ant_jtext_add(run, out, &quote, 1));
    for (size_t at = 0; at < bytes;) {
        uint32_t c;
        size_t n = ant_utf8_next(text + at, &c);
        ANT_TRY(repr_character(run, out, c, text + at, n, quote));
        at += n;
    }
    ANT_TRY(ant_jinja_work(run, bytes));
    return ant_jtext_add(run, out, &quote, 1);
}

static int repr_list(struct ant_jrun *run, struct ant_jtext *out, const struct ant_jv *value)
{
    static const struct {
        const char *open, *close;
    } brackets[] = {{"[", "]"}, {"(", ")"}, {"dict_items([", "])"}};
    const struct ant_jlist *list = value->list;

    if (value->form == ANT_JFORM_GENERATOR)
        return ant_jinja_fail(run, ANT_EDATA, "a generator cannot be printed; |list makes a list");
    ANT_TRY(add_word(run, out, brackets[value->form].open));
    for (size_t i = 0; i < list->n; i++) {
        ANT_TRY(add_word(run, out, i ? ", " : ""));
        ANT_TRY(ant_jv_repr(run, out, &list->items[i]));
    }
    if (value->form == ANT_JFORM_TUPLE && list->n == 1)
        ANT_TRY(add_word(run, out, ","));
    return add_word(run, out, brackets[value->form].close);
}

static int repr_dict(struct ant_jrun *run, struct ant_jtext *out, const struct ant_jdict *dict)
{
    ANT_TRY(add_word(run, out, "{"));
    for (size_t i = 0; i < dict->n; i++) {
        ANT_TRY(add_word(run, out, i ? ", " : ""));
        ANT_TRY(ant_jv_repr(run, out, &dict->pairs[i].key));
        ANT_TRY(add_word(run, out, ": "));
        ANT_TRY(ant_jv_repr(run, out, &dict->pairs[i].value));
    }
    return add_word(run, out, "}");
}

int ant_jv_repr(struct ant_jrun *run, struct ant_jtext *out, const struct ant_jv *value)
{
    int rc = 0;

    switch ((enum ant_jkind)value->kind) {
    case ANT_JV_UNDEFINED:
        return add_word(run, out, "Undefined");
    case ANT_JV_NONE:
        return add_word(run, out, "None");
    case ANT_JV_BOOL:
        return add_word(run, out, value->truth ? "True" : "False");
    case ANT_JV_INT:
    case ANT_JV_FLOAT:
        return print_number(run, out, value);
    case ANT_JV_STRING:
        return repr_text(run, out, value->text, value->bytes);
    case ANT_JV_LIST:
        ANT_TRY(ant_jinja_enter(run, ANT_JV_DEEPEST));
        rc = repr_list(run, out, value);
        run->depth--;
        return rc;
    case ANT_JV_DICT:
        ANT_TRY(ant_jinja_enter(run, ANT_JV_DEEPEST));
        rc = repr_dict(run, out, value->dict);
        run->depth--;
        return rc;
    default:
        return ant_jinja_fail(run, ANT_EDATA, "a %s cannot be printed", ant_jv_type(value));
    }
}

int ant_jv_print(struct ant_jrun *run, struct ant_jtext *out, const struct ant_jv *value)
{
    if (value->kind == ANT_JV_UNDEFINED)
        return 0;
    if (value->kind == ANT_JV_STRING)
        return ant_jtext_add(run, out, value->text, value->bytes);
    return ant_jv_repr(run, out, value);
}

int ant_jv_string(struct ant_jrun *run, const struct ant_jv *value, struct ant_jv *out)
{
    struct ant_jtext text = {0};

    if (value->kind == ANT_JV_STRING) {
        *out = *value;
        return 0;
    }
    ANT_TRY(ant_jv_print(run, &text, value));
    *out = ant_jtext_value(&text);
    return 0;
}

/* ---- JSON ------------------------------------------------------------------------------------ */

static int json_unit(struct ant_jrun *run, struct ant_jtext *out, uint32_t unit)
{
    char text[16];

    snprintf(text, sizeof(text), "\\u%04x", unit);
    return ant_jtext_add(run, out, text, 6);
}

static int json_character(struct ant_jrun *run, struct ant_jtext *out, uint32_t c)
{
    static const char from[] = "\"\\\n\r\t\b\f", to[] = "\"\\nrtbf";
    const char *simple = c < 0x80 && c ? strchr(from, (int)c) : NULL;

    if (simple)
        return ant_jtext_add(run, out, (char[]){'\\', to[simple - from]}, 2);
    if (c < 0x10000)
        return json_unit(run, out, c);
    ANT_TRY(json_unit(run, out, 0xd800 + ((c - 0x10000) >> 10)));
    return json_unit(run, out, 0xdc00 + ((c - 0x10000) & 0x3ff));
}

static int json_text(struct ant_jrun *run, struct ant_jtext *out, const char *text, size_t bytes,
                     bool ascii)
{
    size_t done = 0;

    ANT_TRY(ant_jtext_add(run, out, "\"", 1));
    for (size_t at = 0; at < bytes;) {
        uint32_t c;
        size_t n = ant_utf8_next(text + at, &c);
        if (c < ' ' || c == '"' || c == '\\' || (ascii && c >= 0x7f)) {
            ANT_TRY(ant_jtext_add(run, out, text + done, at - done));
            ANT_TRY(json_character(run, out, c));
            done = at + n;
        }
        at += n;
    }
    ANT_TRY(ant_jinja_work(run, bytes / 16));
    ANT_TRY(ant_jtext_add(run, out, text + done, bytes - done));
    return ant_jtext_add(run, out, "\"", 1);
}

/* A line of its own, if there is to be one. */
static int json_line(struct ant_jrun *run, struct ant_jtext *out, const struct ant_jjson *style,
                     int level)
{
    if (!style->is_indented)
        return 0;
    ANT_TRY(ant_jtext_add(run, out, "\n", 1));
    for (int i = 0; i < level; i++)
        ANT_TRY(ant_jtext_add(run, out, style->indent.text, style->indent.bytes));
    return 0;
}

static int json_list(struct ant_jrun *run, struct ant_jtext *out, const struct ant_jlist *list,
                     const struct ant_jjson *style, int level)
{
    ANT_TRY(ant_jtext_add(run, out, "[", 1));
    for (size_t i = 0; i < list->n; i++) {
        if (i > 0)
            ANT_TRY(ant_jv_print(run, out, &style->item_separator));
        ANT_TRY(json_line(run, out, style, level + 1));
        ANT_TRY(ant_jv_json(run, out, &list->items[i], style, level + 1));
    }
    if (list->n > 0)
        ANT_TRY(json_line(run, out, style, level));
    return ant_jtext_add(run, out, "]", 1);
}

/* Keys of JSON are strings; Python makes some of what is none. */
static int json_key(struct ant_jrun *run, const struct ant_jv *key, struct ant_jv *out)
{
    switch ((enum ant_jkind)key->kind) {
    case ANT_JV_NONE:
        *out = ant_jv_word("null");
        return 0;
    case ANT_JV_BOOL:
        *out = ant_jv_word(key->truth ? "true" : "false");
        return 0;
    case ANT_JV_STRING:
    case ANT_JV_INT:
    case ANT_JV_FLOAT:
        return ant_jv_string(run, key, out);
    default:
        return ant_jinja_fail(run, ANT_EDATA, "a %s cannot be a key of JSON", ant_jv_type(key));
    }
}

static int json_dict(struct ant_jrun *run, struct ant_jtext *out, const struct ant_jdict *dict,
                     const struct ant_jjson *style, int level)
{
    struct ant_jv keys, values, key;

    ANT_TRY(ant_jv_list(run, ANT_JFORM_LIST, dict->n, &keys));
    ANT_TRY(ant_jv_list(run, ANT_JFORM_LIST, dict->n, &values));
    for (size_t i = 0; i < dict->n; i++) {
        keys.list->items[i] = dict->pairs[i].key;
        values.list->items[i] = dict->pairs[i].value;
    }
    if (style->sorted)
        ANT_TRY(ant_jv_sort(run, keys.list->items, values.list->items, dict->n, false));
    ANT_TRY(ant_jtext_add(run, out, "{", 1));
    for (size_t i = 0; i < dict->n; i++) {
        if (i > 0)
            ANT_TRY(ant_jv_print(run, out, &style->item_separator));
        ANT_TRY(json_line(run, out, style, level + 1));
        ANT_TRY(json_key(run, &keys.list->items[i], &key));
        ANT_TRY(json_text(run, out, key.text, key.bytes, style->ascii));
        ANT_TRY(ant_jv_print(run, out, &style->key_separator));
        ANT_TRY(ant_jv_json(run, out, &values.list->items[i], style, level + 1));
    }
    if (dict->n > 0)
        ANT_TRY(json_line(run, out, style, level));
    return ant_jtext_add(run, out, "}", 1);
}

static int json_scalar(struct ant_jrun *run, struct ant_jtext *out, const struct ant_jv *value,
                       const struct ant_jjson *style)
{
    switch ((enum ant_jkind)value->kind) {
    case ANT_JV_NONE:
        return add_word(run, out, "null");
    case ANT_JV_BOOL:
        return add_word(run, out, value->truth ? "true" : "false");
    case ANT_JV_INT:
        return print_number(run, out, value);
    case ANT_JV_FLOAT:
        if (isnan(value->real) || isinf(value->real))
            return add_word(run, out,
                            isnan(value->real) ? "NaN"
                            : value->real > 0  ? "Infinity"
                                               : "-Infinity");
        return print_number(run, out, value);
    case ANT_JV_STRING:
        return json_text(run, out, value->text, value->bytes, style->ascii);
    default:
        return ant_jinja_fail(run, ANT_EDATA, "a %s cannot be written as JSON%s%.*s",
                              ant_jv_type(value), value->kind == ANT_JV_UNDEFINED ? ": " : "",
                              value->kind == ANT_JV_UNDEFINED ? (int)value->bytes : 0,
                              value->kind == ANT_JV_UNDEFINED ? value->text : "");
    }
}

int ant_jv_json(struct ant_jrun *run, struct ant_jtext *out, const struct ant_jv *value,
                const struct ant_jjson *style, int level)
{
    bool is_list = value->kind == ANT_JV_LIST && value->form <= ANT_JFORM_TUPLE;

    if (!is_list && value->kind != ANT_JV_DICT)
        return json_scalar(run, out, value, style);
    ANT_TRY(ant_jinja_enter(run, ANT_JV_DEEPEST));
    int rc = is_list ? json_list(run, out, value->list, style, level)
                     : json_dict(run, out, value->dict, style, level);
    run->depth--;
    return rc;
}
