/* SPDX-License-Identifier: Apache-2.0 */
/* What templates call: methods of values, and functions. */
#include "config.h"

#include "text/jinja_value.h"
#include "text/unicode.h"

#include <string.h>
#include <time.h>

enum {
    MOST_RANGE = 100000, /* as in jinja2's sandbox */
    LONGEST_DATE = 256,
};

#define FUNCTION(function_name)                                                                    \
    static int function_name(struct ant_jrun *run, const struct ant_jv *self,                      \
                             const struct ant_jcall *call, struct ant_jv *out)

static int need_text(struct ant_jrun *run, const struct ant_jv *arg)
{
    if (arg->kind == ANT_JV_STRING)
        return 0;
    return ant_jinja_fail(run, ANT_EDATA, "a str is needed, not a %s", ant_jv_type(arg));
}

/* An optional integer. */
static int integer(struct ant_jrun *run, const struct ant_jv *arg, int64_t otherwise, int64_t *out)
{
    *out = otherwise;
    if (arg && !ant_jv_as_integer(arg, out))
        return ant_jinja_fail(run, ANT_EDATA, "an int is needed, not a %s", ant_jv_type(arg));
    return 0;
}

static bool begins(const struct ant_jv *text, size_t at, const struct ant_jv *with)
{
    return text->bytes - at >= with->bytes && memcmp(text->text + at, with->text, with->bytes) == 0;
}

/* ---- str: cases ------------------------------------------------------------------------------ */

enum casing { LOWER, UPPER, FIRST, WORDS };

static int change_case(struct ant_jrun *run, const struct ant_jv *self, enum casing casing,
                       struct ant_jv *out)
{
    struct ant_jtext text = {0};
    bool is_start = true;
    char bytes[8];

    for (size_t at = 0; at < self->bytes;) {
        uint32_t c;
        at += ant_utf8_next(self->text + at, &c);
        bool is_upper = casing == UPPER || (casing != LOWER && is_start);
        size_t n = ant_utf8_put(bytes, is_upper ? ant_to_upper(c) : ant_to_lower(c));
        if (is_upper && c == 0xdf) {
            memcpy(bytes, casing == UPPER ? "SS" : "Ss", 2);
            n = 2;
        }
        if (!is_upper && c == 0x130) {
            memcpy(bytes, "i\xcc\x87", 3);
            n = 3;
        }
        ANT_TRY(ant_jtext_add(run, &text, bytes, n));
        bool is_letter = ant_to_upper(c) != c || ant_to_lower(c) != c;
        is_start = casing == WORDS && !is_letter;
    }
    *out = ant_jtext_value(&text);
    return ant_jinja_work(run, self->bytes);
}

FUNCTION(str_lower)
{
    (void)call;
    return change_case(run, self, LOWER, out);
}

FUNCTION(str_upper)
{
    (void)call;
    return change_case(run, self, UPPER, out);
}

FUNCTION(str_capitalize)
{
    (void)call;
    return change_case(run, self, FIRST, out);
}

FUNCTION(str_title)
{
    (void)call;
    return change_case(run, self, WORDS, out);
}

/* ---- str: what characters there are ---------------------------------------------------------- */

static int all_are(struct ant_jrun *run, const struct ant_jv *self, bool (*is)(uint32_t),
                   struct ant_jv *out)
{
    bool all = self->bytes > 0;

    for (size_t at = 0; at < self->bytes && all;) {
        uint32_t c;
        at += ant_utf8_next(self->text + at, &c);
        all = is(c);
    }
    *out = ant_jv_bool(all);
    return ant_jinja_work(run, self->bytes);
}

static bool is_digit(uint32_t c)
{
    return c >= '0' && c <= '9';
}

FUNCTION(str_isdigit)
{
    (void)call;
    return all_are(run, self, is_digit, out);
}

FUNCTION(str_isspace)
{
    (void)call;
    return all_are(run, self, ant_is_python_space, out);
}

FUNCTION(str_islower)
{
    return ant_jinja_find(ant_jinja_tests, "lower", 5)->call(run, self, call, out);
}

FUNCTION(str_isupper)
{
    return ant_jinja_find(ant_jinja_tests, "upper", 5)->call(run, self, call, out);
}

/* ---- str: ends ------------------------------------------------------------------------------- */

/* Is the character at `at` one of those to take away? NULL: white space. */
static bool is_among(const struct ant_jv *self, size_t at, const struct ant_jv *chars)
{
    uint32_t c, d;

    ant_utf8_next(self->text + at, &c);
    if (!chars || chars->kind == ANT_JV_NONE)
        return ant_is_python_space(c);
    for (size_t i = 0; i < chars->bytes;) {
        i += ant_utf8_next(chars->text + i, &d);
        if (c == d)
            return true;
    }
    return false;
}

/*
 * Count the work of looking for a character among `chars`, which may be NULL. By an if: of
 * `1 + (has_text ? chars->bytes / 8 : 0)` gcc 14 makes a product, and reads through NULL.
 */
static int count_look(struct ant_jrun *run, const struct ant_jv *chars)
{
    size_t work = 1;

    if (chars && chars->kind == ANT_JV_STRING)
        work += chars->bytes / 8;
    return ant_jinja_work(run, work);
}

static int strip(struct ant_jrun *run, const struct ant_jv *self, const struct ant_jcall *call,
                 bool left, bool right, struct ant_jv *out)
{
    const struct ant_jv *chars = call->args[0];
    size_t start = 0, end = self->bytes;

    if (chars && chars->kind != ANT_JV_NONE)
        ANT_TRY(need_text(run, chars));
    while (left && start < end && is_among(self, start, chars)) {
        start += ant_utf8_length((unsigned char)self->text[start]);
        ANT_TRY(count_look(run, chars));
    }
    while (right && end > start) {
        size_t at = end - 1;
        while (((unsigned char)self->text[at] & 0xc0) == 0x80)
            at--;
        if (!is_among(self, at, chars))
            break;
        end = at;
        ANT_TRY(count_look(run, chars));
    }
    *out = ant_jv_text(self->text + start, end - start);
    return 0;
}

FUNCTION(str_strip)
{
    return strip(run, self, call, true, true, out);
}

FUNCTION(str_lstrip)
{
    return strip(run, self, call, true, false, out);
}

FUNCTION(str_rstrip)
{
    return strip(run, self, call, false, true, out);
}

/* With one text, or any of a tuple of them. */
static int has_end(struct ant_jrun *run, const struct ant_jv *self, const struct ant_jv *ends,
                   bool is_start, struct ant_jv *out)
{
    bool is_tuple = ends->kind == ANT_JV_LIST && ends->form == ANT_JFORM_TUPLE, has = false;
    size_t n = is_tuple ? ends->list->n : 1;

    for (size_t i = 0; i < n; i++) {
        const struct ant_jv *end = is_tuple ? &ends->list->items[i] : ends;
        ANT_TRY(need_text(run, end));
        ANT_TRY(ant_jinja_work(run, end->bytes / 16));
        if (end->bytes <= self->bytes)
            has |= begins(self, is_start ? 0 : self->bytes - end->bytes, end);
    }
    *out = ant_jv_bool(has);
    return 0;
}

FUNCTION(str_startswith)
{
    return has_end(run, self, call->args[0], true, out);
}

FUNCTION(str_endswith)
{
    return has_end(run, self, call->args[0], false, out);
}

FUNCTION(str_removeprefix)
{
    struct ant_jv has;

    ANT_TRY(need_text(run, call->args[0]));
    ANT_TRY(has_end(run, self, call->args[0], true, &has));
    size_t n = has.truth ? call->args[0]->bytes : 0;
    *out = ant_jv_text(self->text + n, self->bytes - n);
    return 0;
}

FUNCTION(str_removesuffix)
{
    struct ant_jv has;

    ANT_TRY(need_text(run, call->args[0]));
    ANT_TRY(has_end(run, self, call->args[0], false, &has));
    *out = ant_jv_text(self->text, self->bytes - (has.truth ? call->args[0]->bytes : 0));
    return 0;
}

/* ---- str: parts ------------------------------------------------------------------------------ */

/* Where `what` is at or behind `at`, or SIZE_MAX; from the end: the last place. */
static size_t place_of(const struct ant_jv *self, size_t at, const struct ant_jv *what,
                       bool from_end)
{
    const char *there;

    if (what->bytes > self->bytes - at)
        return SIZE_MAX;
    if (!from_end) {
        if (what->bytes == 0)
            return at;
        there = memmem(self->text + at, self->bytes - at, what->text, what->bytes);
        return there ? (size_t)(there - self->text) : SIZE_MAX;
    }
    for (size_t i = self->bytes - what->bytes + 1; i-- > at;)
        if (begins(self, i, what))
            return i;
    return SIZE_MAX;
}

/* Count the work of place_of: from the end it may compare all of `what` at each place. */
static int count_search(struct ant_jrun *run, const struct ant_jv *self, const struct ant_jv *what,
                        bool from_end)
{
    size_t a_place = 1 + (from_end ? what->bytes / 64 : 0);

    return ant_jinja_work(run, 1 + self->bytes / 16 * a_place);
}

static int find_place(struct ant_jrun *run, const struct ant_jv *self, const struct ant_jv *what,
                      bool from_end, struct ant_jv *out)
{
    ANT_TRY(need_text(run, what));
    ANT_TRY(count_search(run, self, what, from_end));
    size_t at = place_of(self, 0, what, from_end);
    *out = ant_jv_int(at == SIZE_MAX ? -1 : (int64_t)ant_jv_characters(self->text, at));
    return 0;
}

FUNCTION(str_find)
{
    return find_place(run, self, call->args[0], false, out);
}

FUNCTION(str_rfind)
{
    return find_place(run, self, call->args[0], true, out);
}

FUNCTION(str_count)
{
    const struct ant_jv *what = call->args[0];
    int64_t n = 0;

    ANT_TRY(need_text(run, what));
    if (what->bytes == 0)
        n = (int64_t)ant_jv_characters(self->text, self->bytes) + 1;
    for (size_t at = 0; what->bytes > 0 && (at = place_of(self, at, what, false)) != SIZE_MAX;
         at += what->bytes)
        n++;
    *out = ant_jv_int(n);
    return ant_jinja_work(run, 1 + self->bytes / 16);
}

FUNCTION(str_replace)
{
    const struct ant_jv *from = call->args[0], *to = call->args[1];
    struct ant_jtext text = {0};
    size_t at = 0;
    int64_t most;

    ANT_TRY(need_text(run, from));
    ANT_TRY(need_text(run, to));
    ANT_TRY(integer(run, call->args[2], -1, &most));
    for (int64_t n = 0; n != most; n++) {
        size_t next = place_of(self, at, from, false);
        if (next == SIZE_MAX)
            break;
        ANT_TRY(ant_jtext_add(run, &text, self->text + at, next - at));
        ANT_TRY(ant_jtext_add(run, &text, to->text, to->bytes));
        at = next + from->bytes;
        ANT_TRY(ant_jinja_work(run, 1));
        if (from->bytes > 0)
            continue;
        if (at == self->bytes)
            break;
        size_t length = ant_utf8_length((unsigned char)self->text[at]);
        ANT_TRY(ant_jtext_add(run, &text, self->text + at, length));
        at += length;
    }
    ANT_TRY(ant_jtext_add(run, &text, self->text + at, self->bytes - at));
    *out = ant_jtext_value(&text);
    return ant_jinja_work(run, 1 + self->bytes / 16);
}

static int add_part(struct ant_jrun *run, struct ant_jv *list, const struct ant_jv *self,
                    size_t from, size_t to)
{
    struct ant_jv part = ant_jv_text(self->text + from, to - from);

    return ant_jv_append(run, list->list, &part);
}

/* By white space: none at the ends, any amount between. */
static int split_words(struct ant_jrun *run, const struct ant_jv *self, int64_t most,
                       struct ant_jv *out)
{
    size_t at = 0;

    for (int64_t n = 0;; n++) {
        while (at < self->bytes && is_among(self, at, NULL))
            at += ant_utf8_length((unsigned char)self->text[at]);
        if (at == self->bytes)
            break;
        size_t start = at;
        while (at < self->bytes && (n == most || !is_among(self, at, NULL)))
            at += ant_utf8_length((unsigned char)self->text[at]);
        ANT_TRY(add_part(run, out, self, start, at));
    }
    return ant_jinja_work(run, self->bytes / 4);
}

FUNCTION(str_split)
{
    const struct ant_jv *by = call->args[0];
    size_t at = 0, next;
    int64_t most;

    ANT_TRY(integer(run, call->args[1], -1, &most));
    ANT_TRY(ant_jv_list(run, ANT_JFORM_LIST, 0, out));
    if (!by || by->kind == ANT_JV_NONE)
        return split_words(run, self, most, out);
    ANT_TRY(need_text(run, by));
    if (by->bytes == 0)
        return ant_jinja_fail(run, ANT_EDATA, "split by an empty str");
    for (int64_t n = 0; n != most && (next = place_of(self, at, by, false)) != SIZE_MAX; n++) {
        ANT_TRY(add_part(run, out, self, at, next));
        at = next + by->bytes;
    }
    ANT_TRY(ant_jinja_work(run, self->bytes / 16));
    return add_part(run, out, self, at, self->bytes);
}

FUNCTION(str_rsplit)
{
    const struct ant_jv *by = call->args[0];
    struct ant_jv rest = *self;
    size_t next;
    int64_t most;

    ANT_TRY(integer(run, call->args[1], -1, &most));
    if (most < 0)
        return str_split(run, self, call, out);
    if (!by || by->kind != ANT_JV_STRING || by->bytes == 0)
        return ant_jinja_fail(run, ANT_EUNSUPP, "rsplit by white space is not supported");
    ANT_TRY(ant_jv_list(run, ANT_JFORM_LIST, 0, out));
    for (int64_t n = 0; n != most; n++) {
        ANT_TRY(count_search(run, &rest, by, true));
        next = place_of(&rest, 0, by, true);
        if (next == SIZE_MAX)
            break;
        ANT_TRY(add_part(run, out, self, next + by->bytes, rest.bytes));
        rest.bytes = next;
    }
    ANT_TRY(add_part(run, out, self, 0, rest.bytes));
    ant_jlist_reverse(out->list);
    return 0;
}

FUNCTION(str_splitlines)
{
    bool keeps_ends = call->args[0] && ant_jv_truth(call->args[0]);

    ANT_TRY(ant_jv_list(run, ANT_JFORM_LIST, 0, out));
    for (size_t at = 0; at < self->bytes;) {
        size_t end, n = ant_jv_line(self->text + at, self->bytes - at, &end);
        ANT_TRY(add_part(run, out, self, at, at + n + (keeps_ends ? end : 0)));
        at += n + end;
    }
    return ant_jinja_work(run, self->bytes / 16);
}

FUNCTION(str_join)
{
    const struct ant_jlist *items;
    struct ant_jtext text = {0};

    ANT_TRY(ant_jv_items(run, call->args[0], &items));
    for (size_t i = 0; i < items->n; i++) {
        ANT_TRY(need_text(run, &items->items[i]));
        if (i > 0)
            ANT_TRY(ant_jtext_add(run, &text, self->text, self->bytes));
        ANT_TRY(ant_jv_print(run, &text, &items->items[i]));
    }
    *out = ant_jtext_value(&text);
    return ant_jinja_work(run, items->n);
}

/* The argument that a replacement field "{}", "{0}" or "{name}" means. */
static int field(struct ant_jrun *run, const struct ant_jcall *call, const char *name, size_t n,
                 size_t *next, const struct ant_jv **out)
{
    size_t i = 0;

    for (size_t k = 0; k < call->n_named; k++)
        if (strlen(call->named[k].name) == n && memcmp(call->named[k].name, name, n) == 0) {
            *out = &call->named[k].value;
            return 0;
        }
    for (size_t k = 0; k < n; k++) {
        if (!is_digit((unsigned char)name[k]) || k > 4)
            return ant_jinja_fail(run, ANT_EUNSUPP, "'{%.*s}' of format is not supported",
                                  n < 40 ? (int)n : 40, name);
        i = i * 10 + (size_t)(name[k] - '0');
    }
    i = n > 0 ? i : (*next)++;
    if (i >= call->n)
        return ant_jinja_fail(run, ANT_EDATA, "format has no argument %zu", i);
    *out = &call->all[i];
    return 0;
}

FUNCTION(str_format)
{
    struct ant_jtext text = {0};
    const struct ant_jv *value = NULL;
    size_t next = 0;

    for (size_t at = 0; at < self->bytes;) {
        char c = self->text[at], after = at + 1 < self->bytes ? self->text[at + 1] : '\0';
        if ((c == '{' || c == '}') && c == after) {
            ANT_TRY(ant_jtext_add(run, &text, &c, 1));
            at += 2;
        } else if (c == '{') {
            const char *end = memchr(self->text + at, '}', self->bytes - at);
            if (!end)
                return ant_jinja_fail(run, ANT_EDATA, "'{' in format has no end");
            size_t n = (size_t)(end - self->text) - at - 1;
            ANT_TRY(field(run, call, self->text + at + 1, n, &next, &value));
            ANT_TRY(ant_jv_print(run, &text, value));
            at += n + 2;
        } else {
            ANT_TRY(ant_jtext_add(run, &text, &c, 1));
            at++;
        }
    }
    *out = ant_jtext_value(&text);
    return ant_jinja_work(run, self->bytes);
}

/* ---- dict and list --------------------------------------------------------------------------- */

FUNCTION(dict_get)
{
    const struct ant_jv *there;

    ANT_TRY(ant_jv_lookup(run, self->dict, call->args[0], &there));
    *out = there ? *there : call->args[1] ? *call->args[1] : (struct ant_jv){.kind = ANT_JV_NONE};
    return 0;
}

/* Keys, values, or both as tuples. */
static int view(struct ant_jrun *run, const struct ant_jv *self, bool keys, bool values,
                struct ant_jv *out)
{
    const struct ant_jdict *dict = self->dict;

    ANT_TRY(ant_jv_list(run, ANT_JFORM_VIEW, dict->n, out));
    for (size_t i = 0; i < dict->n; i++) {
        struct ant_jv *item = &out->list->items[out->list->n++];
        *item = keys ? dict->pairs[i].key : dict->pairs[i].value;
        if (!keys || !values)
            continue;
        ANT_TRY(ant_jv_list(run, ANT_JFORM_TUPLE, 2, item));
        item->list->items[0] = dict->pairs[i].key;
        item->list->items[1] = dict->pairs[i].value;
        item->list->n = 2;
    }
    return ant_jinja_work(run, dict->n);
}

FUNCTION(dict_items)
{
    (void)call;
    return view(run, self, true, true, out);
}

FUNCTION(dict_keys)
{
    (void)call;
    return view(run, self, true, false, out);
}

FUNCTION(dict_values)
{
    (void)call;
    return view(run, self, false, true, out);
}

/* Nothing can change it, so it is as good as a copy. */
FUNCTION(any_copy)
{
    (void)run, (void)call;
    *out = *self;
    return 0;
}

FUNCTION(list_index)
{
    bool equal = false;

    for (size_t i = 0; i < self->list->n; i++) {
        ANT_TRY(ant_jv_equal(run, &self->list->items[i], call->args[0], &equal));
        *out = ant_jv_int((int64_t)i);
        if (equal)
            return 0;
    }
    return ant_jinja_fail(run, ANT_EDATA, "index: it is not in the list");
}

FUNCTION(list_count)
{
    int64_t n = 0;

    for (size_t i = 0; i < self->list->n; i++) {
        bool equal;
        ANT_TRY(ant_jv_equal(run, &self->list->items[i], call->args[0], &equal));
        n += equal;
    }
    *out = ant_jv_int(n);
    return 0;
}

/* The sandbox that templates run in lets them change nothing. */
FUNCTION(any_change)
{
    (void)call, (void)out;
    return ant_jinja_fail(run, ANT_EDATA, "templates may not change a %s", ant_jv_type(self));
}

/* ---- functions ------------------------------------------------------------------------------- */

FUNCTION(function_range)
{
    int64_t from = 0, to, step;

    (void)self;
    ANT_TRY(integer(run, call->args[call->args[1] ? 1 : 0], 0, &to));
    if (call->args[1])
        ANT_TRY(integer(run, call->args[0], 0, &from));
    ANT_TRY(integer(run, call->args[2], 1, &step));
    if (step == 0)
        return ant_jinja_fail(run, ANT_EDATA, "range with a step of 0");
    ANT_TRY(ant_jv_list(run, ANT_JFORM_LIST, 0, out));
    for (int64_t i = from; step > 0 ? i < to : i > to;) {
        struct ant_jv item = ant_jv_int(i);
        if (out->list->n == MOST_RANGE)
            return ant_jinja_fail(run, ANT_EDATA, "range of more than %d", MOST_RANGE);
        ANT_TRY(ant_jv_append(run, out->list, &item));
        if (__builtin_add_overflow(i, step, &i))
            break;
    }
    return ant_jinja_work(run, out->list->n);
}

/* Pairs of another dict, then those given by name. */
FUNCTION(function_dict)
{
    (void)self;
    ANT_TRY(ant_jv_dict(run, out));
    if (call->n > 1 ||
        (call->n == 1 && call->all[0].kind != ANT_JV_DICT && call->all[0].kind != ANT_JV_NAMESPACE))
        return ant_jinja_fail(run, ANT_EUNSUPP, "dict of anything but a dict is not supported");
    for (size_t i = 0; call->n == 1 && i < call->all[0].dict->n; i++)
        ANT_TRY(ant_jv_put(run, out->dict, &call->all[0].dict->pairs[i].key,
                           &call->all[0].dict->pairs[i].value));
    for (size_t i = 0; i < call->n_named; i++) {
        struct ant_jv key = ant_jv_word(call->named[i].name);
        ANT_TRY(ant_jv_put(run, out->dict, &key, &call->named[i].value));
    }
    return 0;
}

FUNCTION(function_namespace)
{
    ANT_TRY(function_dict(run, self, call, out));
    out->kind = ANT_JV_NAMESPACE;
    return 0;
}

FUNCTION(function_raise)
{
    struct ant_jv text = ant_jv_word("");

    (void)self, (void)out;
    if (call->args[0])
        ANT_TRY(ant_jv_string(run, call->args[0], &text));
    return ant_jinja_fail(run, ANT_EDATA, "the template says: %.*s",
                          text.bytes < 400 ? (int)text.bytes : 400, text.text);
}

FUNCTION(function_strftime)
{
    const struct ant_jv *format = call->args[0];
    char *text = ant_jinja_take(run, LONGEST_DATE), copy[LONGEST_DATE / 4];

    (void)self;
    ANT_TRY(need_text(run, format));
    if (!text)
        return ANT_EDATA;
    if (format->bytes >= sizeof(copy) || memchr(format->text, '\0', format->bytes))
        return ant_jinja_fail(run, ANT_EUNSUPP, "a format of a date is too long");
    memcpy(copy, format->text, format->bytes);
    copy[format->bytes] = '\0';
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral" /* it formats a date and nothing else */
    size_t n = strftime(text, LONGEST_DATE, copy, run->now);
#pragma GCC diagnostic pop
    if (ant_utf8_check(text, n) != n)
        return ant_jinja_fail(run, ANT_EDATA, "a date is not UTF-8");
    *out = ant_jv_text(text, n);
    return 0;
}

/* ---- tables ---------------------------------------------------------------------------------- */

static const struct ant_jbuiltin str_methods[] = {
    {"capitalize", "", str_capitalize},
    {"count", "*sub", str_count},
    {"endswith", "*suffix", str_endswith},
    {"find", "*sub", str_find},
    {"format", NULL, str_format},
    {"isdigit", "", str_isdigit},
    {"islower", "", str_islower},
    {"isspace", "", str_isspace},
    {"isupper", "", str_isupper},
    {"join", "*iterable", str_join},
    {"lower", "", str_lower},
    {"lstrip", "chars", str_lstrip},
    {"removeprefix", "*prefix", str_removeprefix},
    {"removesuffix", "*suffix", str_removesuffix},
    {"replace", "*old *new count", str_replace},
    {"rfind", "*sub", str_rfind},
    {"rsplit", "sep maxsplit", str_rsplit},
    {"rstrip", "chars", str_rstrip},
    {"split", "sep maxsplit", str_split},
    {"splitlines", "keepends", str_splitlines},
    {"startswith", "*prefix", str_startswith},
    {"strip", "chars", str_strip},
    {"title", "", str_title},
    {"upper", "", str_upper},
    {"casefold", "", NULL},
    {"center", NULL, NULL},
    {"encode", NULL, NULL},
    {"expandtabs", NULL, NULL},
    {"format_map", NULL, NULL},
    {"index", NULL, NULL},
    {"isalnum", NULL, NULL},
    {"isalpha", NULL, NULL},
    {"isascii", NULL, NULL},
    {"isdecimal", NULL, NULL},
    {"isidentifier", NULL, NULL},
    {"isnumeric", NULL, NULL},
    {"isprintable", NULL, NULL},
    {"istitle", NULL, NULL},
    {"ljust", NULL, NULL},
    {"maketrans", NULL, NULL},
    {"partition", NULL, NULL},
    {"rindex", NULL, NULL},
    {"rjust", NULL, NULL},
    {"rpartition", NULL, NULL},
    {"swapcase", NULL, NULL},
    {"translate", NULL, NULL},
    {"zfill", NULL, NULL},
    {0},
};

static const struct ant_jbuiltin dict_methods[] = {
    {"clear", NULL, any_change},      {"copy", "", any_copy},
    {"fromkeys", NULL, NULL},         {"get", "*key default", dict_get},
    {"items", "", dict_items},        {"keys", "", dict_keys},
    {"pop", NULL, any_change},        {"popitem", NULL, any_change},
    {"setdefault", NULL, any_change}, {"update", NULL, any_change},
    {"values", "", dict_values},      {0},
};

static const struct ant_jbuiltin list_methods[] = {
    {"append", NULL, any_change},    {"clear", NULL, any_change},  {"copy", "", any_copy},
    {"count", "*value", list_count}, {"extend", NULL, any_change}, {"index", "*value", list_index},
    {"insert", NULL, any_change},    {"pop", NULL, any_change},    {"remove", NULL, any_change},
    {"reverse", NULL, any_change},   {"sort", NULL, any_change},   {0},
};

const struct ant_jbuiltin ant_jinja_functions[] = {
    {"dict", NULL, function_dict},
    {"namespace", NULL, function_namespace},
    {"raise_exception", "message", function_raise},
    {"range", "*start stop step", function_range},
    {"strftime_now", "*format", function_strftime},
    {0},
};

const struct ant_jbuiltin *ant_jinja_method(const struct ant_jv *self, const char *name,
                                            size_t bytes)
{
    switch ((enum ant_jkind)self->kind) {
    case ANT_JV_STRING:
        return ant_jinja_find(str_methods, name, bytes);
    case ANT_JV_DICT:
        return ant_jinja_find(dict_methods, name, bytes);
    case ANT_JV_LIST:
        return self->form <= ANT_JFORM_TUPLE ? ant_jinja_find(list_methods, name, bytes) : NULL;
    default:
        return NULL;
    }
}
