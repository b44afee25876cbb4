/* SPDX-License-Identifier: Apache-2.0 */
/* The filters of templates. */
#include "config.h"

#include "text/jinja_value.h"
#include "text/unicode.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- arguments ------------------------------------------------------------------------------- */

static bool flag(const struct ant_jv *arg)
{
    return arg && ant_jv_truth(arg);
}

static int text_of(struct ant_jrun *run, const struct ant_jv *arg, const char *otherwise,
                   struct ant_jv *out)
{
    *out = ant_jv_word(otherwise);
    return arg ? ant_jv_string(run, arg, out) : 0;
}

/* a.b.0: the parts of an attribute's path one after the other. */
static int path_of(struct ant_jrun *run, const struct ant_jv *item, const struct ant_jv *path,
                   const struct ant_jv *otherwise, struct ant_jv *out)
{
    *out = *item;
    if (path->kind != ANT_JV_STRING)
        return ant_jv_index(run, item, path, out);
    for (size_t at = 0; at <= path->bytes;) {
        const char *dot = memchr(path->text + at, '.', path->bytes - at);
        size_t n = dot ? (size_t)(dot - path->text) - at : path->bytes - at;
        struct ant_jv part = ant_jv_text(path->text + at, n), from = *out;
        bool is_number = n > 0 && n < 10;
        int64_t number = 0;
        for (size_t i = 0; i < n && is_number; i++) {
            is_number = part.text[i] >= '0' && part.text[i] <= '9';
            number = 10 * number + (part.text[i] - '0');
        }
        if (is_number)
            part = ant_jv_int(number);
        ANT_TRY(ant_jv_index(run, &from, &part, out));
        if (otherwise && out->kind == ANT_JV_UNDEFINED)
            *out = *otherwise;
        at += n + 1;
    }
    return 0;
}

/* ---- texts ----------------------------------------------------------------------------------- */

/* Call a method of str on what str makes of the input. */
static int as_method(struct ant_jrun *run, const struct ant_jv *in, const char *method,
                     const struct ant_jcall *call, struct ant_jv *out)
{
    struct ant_jv text;

    ANT_TRY(ant_jv_string(run, in, &text));
    return ant_jinja_method(&text, method, strlen(method))->call(run, &text, call, out);
}

static int filter_upper(struct ant_jrun *run, const struct ant_jv *in, const struct ant_jcall *call,
                        struct ant_jv *out)
{
    return as_method(run, in, "upper", call, out);
}

static int filter_lower(struct ant_jrun *run, const struct ant_jv *in, const struct ant_jcall *call,
                        struct ant_jv *out)
{
    return as_method(run, in, "lower", call, out);
}

static int filter_capitalize(struct ant_jrun *run, const struct ant_jv *in,
                             const struct ant_jcall *call, struct ant_jv *out)
{
    return as_method(run, in, "capitalize", call, out);
}

/* Words begin behind white space, hyphens and opening brackets. */
static int filter_title(struct ant_jrun *run, const struct ant_jv *in, const struct ant_jcall *call,
                        struct ant_jv *out)
{
    struct ant_jtext text = {0};
    struct ant_jv all;
    bool begins = true;
    char bytes[4];

    (void)call;
    ANT_TRY(ant_jv_string(run, in, &all));
    for (size_t at = 0; at < all.bytes;) {
        uint32_t c;
        at += ant_utf8_next(all.text + at, &c);
        size_t n = ant_utf8_put(bytes, begins ? ant_to_upper(c) : ant_to_lower(c));
        ANT_TRY(ant_jtext_add(run, &text, bytes, n));
        begins = ant_is_python_space(c) || (c && c < 0x80 && strchr("-({[<", (int)c));
    }
    *out = ant_jtext_value(&text);
    return ant_jinja_work(run, all.bytes);
}

static int filter_trim(struct ant_jrun *run, const struct ant_jv *in, const struct ant_jcall *call,
                       struct ant_jv *out)
{
    return as_method(run, in, "strip", call, out);
}

static int filter_replace(struct ant_jrun *run, const struct ant_jv *in,
                          const struct ant_jcall *call, struct ant_jv *out)
{
    struct ant_jcall texts = *call;
    struct ant_jv from, to;

    ANT_TRY(ant_jv_string(run, call->args[0], &from));
    ANT_TRY(ant_jv_string(run, call->args[1], &to));
    texts.args[0] = &from;
    texts.args[1] = &to;
    return as_method(run, in, "replace", &texts, out);
}

static int filter_string(struct ant_jrun *run, const struct ant_jv *in,
                         const struct ant_jcall *call, struct ant_jv *out)
{
    (void)call;
    return ant_jv_string(run, in, out);
}

static int filter_safe(struct ant_jrun *run, const struct ant_jv *in, const struct ant_jcall *call,
                       struct ant_jv *out)
{
    ANT_TRY(filter_string(run, in, call, out));
    out->form = ANT_JFORM_SAFE;
    return 0;
}

static int filter_escape(struct ant_jrun *run, const struct ant_jv *in,
                         const struct ant_jcall *call, struct ant_jv *out)
{
    static const char from[] = "&<>'\"";
    static const char *const to[] = {"&amp;", "&lt;", "&gt;", "&#39;", "&#34;"};
    bool is_safe = in->kind == ANT_JV_STRING && in->form == ANT_JFORM_SAFE;
    struct ant_jtext text = {0};
    struct ant_jv all;

    ANT_TRY(filter_safe(run, in, call, &all));
    for (size_t i = 0; i < all.bytes && !is_safe; i++) {
        const char *special = all.text[i] ? strchr(from, all.text[i]) : NULL;
        ANT_TRY(ant_jtext_add(run, &text, special ? to[special - from] : all.text + i,
                              special ? strlen(to[special - from]) : 1));
    }
    *out = is_safe ? all : ant_jtext_value(&text);
    out->form = ANT_JFORM_SAFE;
    return ant_jinja_work(run, all.bytes);
}

/* A string, or a number of spaces. */
static int indent_of(struct ant_jrun *run, const struct ant_jv *width, int otherwise,
                     struct ant_jv *out)
{
    static const char spaces[] = "                                                                ";
    int64_t n = otherwise;

    if (width && width->kind == ANT_JV_STRING) {
        *out = *width;
        return 0;
    }
    if (width && width->kind != ANT_JV_INT)
        return ant_jinja_fail(run, ANT_EDATA, "a %s is no indentation", ant_jv_type(width));
    n = width ? width->integer : n;
    if (n > (int64_t)sizeof(spaces) - 1)
        return ant_jinja_fail(run, ANT_EUNSUPP, "an indentation of more than %zu is not supported",
                              sizeof(spaces) - 1);
    *out = ant_jv_text(spaces, n > 0 ? (size_t)n : 0);
    return 0;
}

static int filter_indent(struct ant_jrun *run, const struct ant_jv *in,
                         const struct ant_jcall *call, struct ant_jv *out)
{
    struct ant_jv indent;
    struct ant_jtext text = {0};
    size_t at = 0, n, end;

    if (in->kind == ANT_JV_UNDEFINED)
        return ant_jinja_fail_undefined(run, in);
    if (in->kind != ANT_JV_STRING)
        return ant_jinja_fail(run, ANT_EDATA, "a %s has no lines to indent", ant_jv_type(in));
    ANT_TRY(indent_of(run, call->args[0], 4, &indent));
    for (bool is_first = true;; is_first = false) {
        n = ant_jv_line(in->text + at, in->bytes - at, &end);
        if (is_first ? flag(call->args[1]) : n > 0 || flag(call->args[2]))
            ANT_TRY(ant_jtext_add(run, &text, indent.text, indent.bytes));
        ANT_TRY(ant_jtext_add(run, &text, in->text + at, n));
        at += n + end;
        if (end == 0)
            break;
        ANT_TRY(ant_jtext_add(run, &text, "\n", 1));
    }
    *out = ant_jtext_value(&text);
    return ant_jinja_work(run, in->bytes / 16);
}

static int filter_tojson(struct ant_jrun *run, const struct ant_jv *in,
                         const struct ant_jcall *call, struct ant_jv *out)
{
    const struct ant_jv *indent = call->args[1], *separators = call->args[2];
    struct ant_jjson style = {.ascii = flag(call->args[0]), .sorted = flag(call->args[3])};
    struct ant_jtext text = {0};

    style.is_indented = indent && indent->kind != ANT_JV_NONE;
    if (style.is_indented)
        ANT_TRY(indent_of(run, indent, 0, &style.indent));
    style.item_separator = ant_jv_word(style.is_indented ? "," : ", ");
    style.key_separator = ant_jv_word(": ");
    if (separators && separators->kind == ANT_JV_LIST && separators->list->n == 2 &&
        separators->list->items[0].kind == ANT_JV_STRING &&
        separators->list->items[1].kind == ANT_JV_STRING) {
        style.item_separator = separators->list->items[0];
        style.key_separator = separators->list->items[1];
    } else if (separators && separators->kind != ANT_JV_NONE) {
        return ant_jinja_fail(run, ANT_EDATA, "separators of tojson are not two strings");
    }
    ANT_TRY(ant_jv_json(run, &text, in, &style, 0));
    *out = ant_jtext_value(&text);
    return 0;
}

static int filter_join(struct ant_jrun *run, const struct ant_jv *in, const struct ant_jcall *call,
                       struct ant_jv *out)
{
    const struct ant_jlist *items;
    struct ant_jtext text = {0};
    struct ant_jv between, item;

    ANT_TRY(text_of(run, call->args[0], "", &between));
    ANT_TRY(ant_jv_items(run, in, &items));
    for (size_t i = 0; i < items->n; i++) {
        item = items->items[i];
        if (call->args[1])
            ANT_TRY(path_of(run, &items->items[i], call->args[1], NULL, &item));
        if (i > 0)
            ANT_TRY(ant_jtext_add(run, &text, between.text, between.bytes));
        ANT_TRY(ant_jv_print(run, &text, &item));
    }
    *out = ant_jtext_value(&text);
    return ant_jinja_work(run, items->n);
}

/* ---- numbers --------------------------------------------------------------------------------- */

/* The number that all of a text spells, white space around it left out. */
static bool parse_number(const struct ant_jv *text, double *real, int64_t *integer,
                         bool *is_integer)
{
    char copy[64], *end;
    size_t n = 0;

    for (size_t i = 0; i < text->bytes; i++) {
        if (n == sizeof(copy) - 1 || !text->text[i] || strchr("xXpP", text->text[i]))
            return false;
        copy[n++] = text->text[i];
    }
    copy[n] = '\0';
    while (n > 0 && strchr(" \t\n\r", copy[n - 1]))
        copy[--n] = '\0';
    errno = 0;
    *integer = strtoll(copy, &end, 10);
    *is_integer = n > 0 && !*end && errno == 0;
    *real = strtod(copy, &end);
    return n > 0 && end != copy && !*end;
}

static int filter_int(struct ant_jrun *run, const struct ant_jv *in, const struct ant_jcall *call,
                      struct ant_jv *out)
{
    double real = 0;
    int64_t integer = 0;
    bool is_integer = ant_jv_as_integer(in, &integer), is_number = in->kind == ANT_JV_FLOAT;

    if (in->kind == ANT_JV_UNDEFINED)
        return ant_jinja_fail_undefined(run, in);
    *out = call->args[0] ? *call->args[0] : ant_jv_int(0);
    if (in->kind == ANT_JV_STRING)
        is_number = parse_number(in, &real, &integer, &is_integer);
    else if (is_number)
        real = in->real;
    if (is_integer)
        *out = ant_jv_int(integer);
    else if (is_number && fabs(real) < 0x1p63)
        *out = ant_jv_int((int64_t)real);
    else if (is_number && isfinite(real))
        return ant_jinja_fail(run, ANT_EUNSUPP, "integers beyond 64 bits are not supported");
    return 0;
}

static int filter_float(struct ant_jrun *run, const struct ant_jv *in, const struct ant_jcall *call,
                        struct ant_jv *out)
{
    double real = 0;
    int64_t integer;
    bool is_integer;

    if (in->kind == ANT_JV_UNDEFINED)
        return ant_jinja_fail_undefined(run, in);
    *out = call->args[0] ? *call->args[0] : ant_jv_float(0);
    if (ant_jv_is_number(in))
        *out = ant_jv_float(ant_jv_real(in));
    else if (in->kind == ANT_JV_STRING && parse_number(in, &real, &integer, &is_integer))
        *out = ant_jv_float(real);
    return 0;
}

static int filter_abs(struct ant_jrun *run, const struct ant_jv *in, const struct ant_jcall *call,
                      struct ant_jv *out)
{
    int64_t integer;

    (void)call;
    if (in->kind == ANT_JV_FLOAT) {
        *out = ant_jv_float(fabs(in->real));
        return 0;
    }
    if (!ant_jv_as_integer(in, &integer) || integer == INT64_MIN)
        return ant_jinja_fail(run, ANT_EDATA, "a %s has no absolute value", ant_jv_type(in));
    *out = ant_jv_int(integer < 0 ? -integer : integer);
    return 0;
}

static int extreme(struct ant_jrun *run, const struct ant_jv *in, int wanted, struct ant_jv *out)
{
    const struct ant_jlist *items;

    *out = ant_jv_undefined("item", 4);
    ANT_TRY(ant_jv_items(run, in, &items));
    for (size_t i = 0; i < items->n; i++) {
        int order = wanted;
        if (i > 0)
            ANT_TRY(ant_jv_compare(run, &items->items[i], out, &order));
        if (order == wanted)
            *out = items->items[i];
    }
    return ant_jinja_work(run, items->n);
}

static int filter_min(struct ant_jrun *run, const struct ant_jv *in, const struct ant_jcall *call,
                      struct ant_jv *out)
{
    (void)call;
    return extreme(run, in, -1, out);
}

static int filter_max(struct ant_jrun *run, const struct ant_jv *in, const struct ant_jcall *call,
                      struct ant_jv *out)
{
    (void)call;
    return extreme(run, in, 1, out);
}

/* ---- sequences ------------------------------------------------------------------------------- */

static int filter_length(struct ant_jrun *run, const struct ant_jv *in,
                         const struct ant_jcall *call, struct ant_jv *out)
{
    int64_t n;

    (void)call;
    ANT_TRY(ant_jv_length(run, in, &n));
    *out = ant_jv_int(n);
    return 0;
}

static int end_of(struct ant_jrun *run, const struct ant_jv *in, bool is_last, struct ant_jv *out)
{
    const struct ant_jlist *items;

    if (is_last && in->kind == ANT_JV_LIST && in->form == ANT_JFORM_GENERATOR)
        return ant_jinja_fail(run, ANT_EDATA, "a generator has no last item; |list makes a list");
    ANT_TRY(ant_jv_items(run, in, &items));
    *out = items->n > 0 ? items->items[is_last ? items->n - 1 : 0] : ant_jv_undefined("item", 4);
    return 0;
}

static int filter_first(struct ant_jrun *run, const struct ant_jv *in, const struct ant_jcall *call,
                        struct ant_jv *out)
{
    (void)call;
    return end_of(run, in, false, out);
}

static int filter_last(struct ant_jrun *run, const struct ant_jv *in, const struct ant_jcall *call,
                       struct ant_jv *out)
{
    (void)call;
    return end_of(run, in, true, out);
}

/* A copy of what a loop over it would go through. */
static int copy_items(struct ant_jrun *run, const struct ant_jv *in, enum ant_jform form,
                      struct ant_jv *out)
{
    const struct ant_jlist *items;

    ANT_TRY(ant_jv_items(run, in, &items));
    ANT_TRY(ant_jv_list(run, form, items->n, out));
    for (size_t i = 0; i < items->n; i++)
        out->list->items[out->list->n++] = items->items[i];
    return ant_jinja_work(run, items->n);
}

static int filter_list(struct ant_jrun *run, const struct ant_jv *in, const struct ant_jcall *call,
                       struct ant_jv *out)
{
    (void)call;
    return copy_items(run, in, ANT_JFORM_LIST, out);
}

static int filter_reverse(struct ant_jrun *run, const struct ant_jv *in,
                          const struct ant_jcall *call, struct ant_jv *out)
{
    struct ant_jv step = ant_jv_int(-1);

    (void)call;
    if (in->kind == ANT_JV_STRING)
        return ant_jv_slice(run, in, NULL, NULL, &step, out);
    ANT_TRY(copy_items(run, in, ANT_JFORM_GENERATOR, out));
    ant_jlist_reverse(out->list);
    return 0;
}

static int filter_items(struct ant_jrun *run, const struct ant_jv *in, const struct ant_jcall *call,
                        struct ant_jv *out)
{
    if (in->kind == ANT_JV_UNDEFINED)
        return ant_jv_list(run, ANT_JFORM_GENERATOR, 0, out);
    if (in->kind != ANT_JV_DICT)
        return ant_jinja_fail(run, ANT_EDATA, "a %s has no items", ant_jv_type(in));
    ANT_TRY(ant_jinja_method(in, "items", 5)->call(run, in, call, out));
    out->form = ANT_JFORM_GENERATOR;
    return 0;
}

/* What to order an item by: the same for upper and lower case, unless told otherwise. */
static int sort_key(struct ant_jrun *run, const struct ant_jv *item, bool has_case,
                    struct ant_jv *out)
{
    struct ant_jcall none = {0};

    *out = *item;
    return item->kind == ANT_JV_STRING && !has_case ? filter_lower(run, item, &none, out) : 0;
}

static int filter_sort(struct ant_jrun *run, const struct ant_jv *in, const struct ant_jcall *call,
                       struct ant_jv *out)
{
    struct ant_jv keys;

    ANT_TRY(copy_items(run, in, ANT_JFORM_LIST, out));
    ANT_TRY(copy_items(run, out, ANT_JFORM_LIST, &keys));
    for (size_t i = 0; i < keys.list->n; i++) {
        struct ant_jv value = keys.list->items[i];
        if (call->args[2] && call->args[2]->kind != ANT_JV_NONE)
            ANT_TRY(path_of(run, &keys.list->items[i], call->args[2], NULL, &value));
        ANT_TRY(sort_key(run, &value, flag(call->args[1]), &keys.list->items[i]));
    }
    return ant_jv_sort(run, keys.list->items, out->list->items, keys.list->n, flag(call->args[0]));
}

static int filter_dictsort(struct ant_jrun *run, const struct ant_jv *in,
                           const struct ant_jcall *call, struct ant_jv *out)
{
    struct ant_jv by, keys;

    if (in->kind == ANT_JV_UNDEFINED)
        return ant_jinja_fail_undefined(run, in);
    ANT_TRY(text_of(run, call->args[1], "key", &by));
    size_t place = by.bytes == 5 && memcmp(by.text, "value", 5) == 0;
    if (!place && (by.bytes != 3 || memcmp(by.text, "key", 3) != 0))
        return ant_jinja_fail(run, ANT_EDATA, "dictsort is by 'key' or 'value'");
    ANT_TRY(filter_items(run, in, call, out));
    out->form = ANT_JFORM_LIST;
    ANT_TRY(copy_items(run, out, ANT_JFORM_LIST, &keys));
    for (size_t i = 0; i < keys.list->n; i++)
        ANT_TRY(sort_key(run, &out->list->items[i].list->items[place], flag(call->args[0]),
                         &keys.list->items[i]));
    return ant_jv_sort(run, keys.list->items, out->list->items, keys.list->n, flag(call->args[2]));
}

static int filter_unique(struct ant_jrun *run, const struct ant_jv *in,
                         const struct ant_jcall *call, struct ant_jv *out)
{
    const struct ant_jlist *items;
    struct ant_jv seen, key;

    ANT_TRY(ant_jv_items(run, in, &items));
    ANT_TRY(ant_jv_dict(run, &seen));
    ANT_TRY(ant_jv_list(run, ANT_JFORM_GENERATOR, 0, out));
    for (size_t i = 0; i < items->n; i++) {
        const struct ant_jv *there;
        struct ant_jv value = items->items[i];
        if (call->args[1])
            ANT_TRY(path_of(run, &items->items[i], call->args[1], NULL, &value));
        ANT_TRY(sort_key(run, &value, flag(call->args[0]), &key));
        ANT_TRY(ant_jv_lookup(run, seen.dict, &key, &there));
        if (there)
            continue;
        ANT_TRY(ant_jv_put(run, seen.dict, &key, &key));
        ANT_TRY(ant_jv_append(run, out->list, &items->items[i]));
    }
    return 0;
}

static int filter_sum(struct ant_jrun *run, const struct ant_jv *in, const struct ant_jcall *call,
                      struct ant_jv *out)
{
    const struct ant_jlist *items;
    struct ant_jv item;
    double sum = 0;
    bool is_real = false;

    (void)out;
    ANT_TRY(ant_jv_items(run, in, &items));
    for (size_t i = 0; i < items->n; i++) {
        item = items->items[i];
        if (call->args[0])
            ANT_TRY(path_of(run, &items->items[i], call->args[0], NULL, &item));
        if (!ant_jv_is_number(&item))
            return ant_jinja_fail(run, ANT_EDATA, "a %s cannot be summed", ant_jv_type(&item));
        is_real |= item.kind == ANT_JV_FLOAT;
        sum += ant_jv_real(&item);
    }
    *out = is_real || fabs(sum) >= 0x1p53 ? ant_jv_float(sum) : ant_jv_int((int64_t)sum);
    return 0;
}

/* map('filter', ...) or map(attribute='name', default=...). */
static int filter_map(struct ant_jrun *run, const struct ant_jv *in, const struct ant_jcall *call,
                      struct ant_jv *out)
{
    const struct ant_jv *path = NULL, *otherwise = NULL;
    const struct ant_jlist *items;

    for (size_t i = 0; i < call->n_named && call->n == 0; i++) {
        if (strcmp(call->named[i].name, "attribute") == 0)
            path = &call->named[i].value;
        else if (strcmp(call->named[i].name, "default") == 0)
            otherwise = &call->named[i].value;
    }
    if (!ant_jv_truth(in))
        return ant_jv_list(run, ANT_JFORM_GENERATOR, 0, out);
    if (!path && call->n == 0)
        return ant_jinja_fail(run, ANT_EDATA, "map needs the name of a filter");
    ANT_TRY(ant_jv_items(run, in, &items));
    ANT_TRY(ant_jv_list(run, ANT_JFORM_GENERATOR, items->n, out));
    for (size_t i = 0; i < items->n; i++) {
        struct ant_jv *item = &out->list->items[i];
        ANT_TRY(path ? path_of(run, &items->items[i], path, otherwise, item)
                     : ant_jinja_apply(run, ant_jinja_filters, &call->all[0], &items->items[i],
                                       call->all + 1, call->n - 1, call->named, call->n_named,
                                       item));
        out->list->n++;
    }
    return ant_jinja_work(run, items->n);
}

/* select('test', ...), selectattr('name', 'test', ...), and those that keep the others. */
static int choose(struct ant_jrun *run, const struct ant_jv *in, const struct ant_jcall *call,
                  bool by_attribute, bool keeps, struct ant_jv *out)
{
    const struct ant_jlist *items;
    struct ant_jv value, holds;
    size_t n = by_attribute; /* arguments before the test's name */

    if (!ant_jv_truth(in)) /* None too */
        return ant_jv_list(run, ANT_JFORM_GENERATOR, 0, out);
    if (call->n < n)
        return ant_jinja_fail(run, ANT_EDATA, "the name of an attribute is missing");
    ANT_TRY(ant_jv_items(run, in, &items));
    ANT_TRY(ant_jv_list(run, ANT_JFORM_GENERATOR, items->n, out));
    for (size_t i = 0; i < items->n; i++) {
        value = items->items[i];
        if (by_attribute)
            ANT_TRY(path_of(run, &items->items[i], &call->all[0], NULL, &value));
        holds = value;
        if (call->n > n)
            ANT_TRY(ant_jinja_apply(run, ant_jinja_tests, &call->all[n], &value, call->all + n + 1,
                                    call->n - n - 1, call->named, call->n_named, &holds));
        if (ant_jv_truth(&holds) == keeps)
            out->list->items[out->list->n++] = items->items[i];
    }
    return ant_jinja_work(run, items->n);
}

static int filter_select(struct ant_jrun *run, const struct ant_jv *in,
                         const struct ant_jcall *call, struct ant_jv *out)
{
    return choose(run, in, call, false, true, out);
}

static int filter_reject(struct ant_jrun *run, const struct ant_jv *in,
                         const struct ant_jcall *call, struct ant_jv *out)
{
    return choose(run, in, call, false, false, out);
}

static int filter_selectattr(struct ant_jrun *run, const struct ant_jv *in,
                             const struct ant_jcall *call, struct ant_jv *out)
{
    return choose(run, in, call, true, true, out);
}

static int filter_rejectattr(struct ant_jrun *run, const struct ant_jv *in,
                             const struct ant_jcall *call, struct ant_jv *out)
{
    return choose(run, in, call, true, false, out);
}

/* ---- anything -------------------------------------------------------------------------------- */

static int filter_default(struct ant_jrun *run, const struct ant_jv *in,
                          const struct ant_jcall *call, struct ant_jv *out)
{
    (void)run;
    *out = *in;
    if (in->kind == ANT_JV_UNDEFINED || (flag(call->args[1]) && !ant_jv_truth(in)))
        *out = call->args[0] ? *call->args[0] : ant_jv_word("");
    return 0;
}

static int filter_attr(struct ant_jrun *run, const struct ant_jv *in, const struct ant_jcall *call,
                       struct ant_jv *out)
{
    const struct ant_jv *name = call->args[0];

    *out = ant_jv_undefined("item", 4);
    if (name->kind != ANT_JV_STRING || in->kind == ANT_JV_DICT)
        return 0; /* an attribute it is, never an item */
    return ant_jv_member(run, in, name->text, name->bytes, out);
}

const struct ant_jbuiltin ant_jinja_filters[] = {
    {"abs", "", filter_abs},
    {"attr", "*name", filter_attr},
    {"capitalize", "", filter_capitalize},
    {"count", "", filter_length},
    {"d", "default_value boolean", filter_default},
    {"default", "default_value boolean", filter_default},
    {"dictsort", "case_sensitive by reverse", filter_dictsort},
    {"e", "", filter_escape},
    {"escape", "", filter_escape},
    {"first", "", filter_first},
    {"float", "default", filter_float},
    {"indent", "width first blank", filter_indent},
    {"int", "default", filter_int},
    {"items", "", filter_items},
    {"join", "d attribute", filter_join},
    {"last", "", filter_last},
    {"length", "", filter_length},
    {"list", "", filter_list},
    {"lower", "", filter_lower},
    {"map", NULL, filter_map},
    {"max", "", filter_max},
    {"min", "", filter_min},
    {"reject", NULL, filter_reject},
    {"rejectattr", NULL, filter_rejectattr},
    {"replace", "*old *new count", filter_replace},
    {"reverse", "", filter_reverse},
    {"safe", "", filter_safe},
    {"select", NULL, filter_select},
    {"selectattr", NULL, filter_selectattr},
    {"sort", "reverse case_sensitive attribute", filter_sort},
    {"string", "", filter_string},
    {"sum", "attribute", filter_sum},
    {"title", "", filter_title},
    {"tojson", "ensure_ascii indent separators sort_keys", filter_tojson},
    {"trim", "chars", filter_trim},
    {"unique", "case_sensitive attribute", filter_unique},
    {"upper", "", filter_upper},
    {0},
};
