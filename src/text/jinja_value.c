/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "text/jinja_value.h"
#include "base/mem.h"
#include "text/unicode.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    CHUNK = 16 << 10,        /* bytes of an arena's first chunk; each next one doubles ... */
    LARGEST_CHUNK = 4 << 20, /* ... up to this */
    MOST_MEMORY = 512 << 20, /* of one rendering */
};

/* ---- memory ---------------------------------------------------------------------------------- */

struct ant_arena_chunk {
    struct ant_arena_chunk *next;
    size_t used, bytes;
    _Alignas(16) char data[];
};

static size_t rounded(size_t bytes)
{
    return (bytes + 15) & ~(size_t)15;
}

void *ant_arena_take(struct ant_arena *arena, size_t bytes)
{
    struct ant_arena_chunk *chunk = arena->chunks;

    bytes = rounded(bytes ? bytes : 1);
    if (!chunk || chunk->bytes - chunk->used < bytes) {
        size_t size = chunk ? 2 * chunk->bytes : CHUNK;
        size = size < LARGEST_CHUNK ? size : LARGEST_CHUNK;
        size = size < bytes ? bytes : size;
        chunk = ant_xmalloc(sizeof(*chunk) + size);
        chunk->next = arena->chunks;
        chunk->used = 0;
        chunk->bytes = size;
        arena->chunks = chunk;
    }
    void *piece = chunk->data + chunk->used;
    chunk->used += bytes;
    arena->bytes += bytes;
    return piece;
}

bool ant_arena_extend(struct ant_arena *arena, const void *piece, size_t bytes, size_t more)
{
    struct ant_arena_chunk *chunk = arena->chunks;
    const char *end = (const char *)piece + rounded(bytes ? bytes : 1);
    size_t extra = rounded(bytes + more) - rounded(bytes ? bytes : 1);

    if (!chunk || end != chunk->data + chunk->used || chunk->bytes - chunk->used < extra)
        return false;
    chunk->used += extra;
    arena->bytes += extra;
    return true;
}

void ant_arena_release(struct ant_arena *arena)
{
    while (arena->chunks) {
        struct ant_arena_chunk *chunk = arena->chunks;
        arena->chunks = chunk->next;
        free(chunk);
    }
    arena->bytes = 0;
}

int ant_jinja_fail(struct ant_jrun *run, enum ant_err code, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    ant_fail_va(run->err, code, format, args);
    va_end(args);
    return ant_fail_in(run->err, code, "line %d", run->line);
}

int ant_jinja_work(struct ant_jrun *run, size_t n)
{
    if (n > (size_t)run->work_left)
        return ant_jinja_fail(run, ANT_EDATA, "the template goes on without end");
    run->work_left -= (int64_t)n;
    return 0;
}

/* Templates can nest values as deep as their loops go round. */
int ant_jinja_enter(struct ant_jrun *run, int deepest)
{
    ANT_TRY(ant_jinja_work(run, 1));
    if (run->depth >= deepest)
        return ant_jinja_fail(run, ANT_EDATA, "nested more than %d deep", deepest);
    run->depth++;
    return 0;
}

void *ant_jinja_take(struct ant_jrun *run, size_t bytes)
{
    if (bytes <= MOST_MEMORY && run->arena.bytes <= MOST_MEMORY - bytes)
        return ant_arena_take(&run->arena, bytes);
    ant_jinja_fail(run, ANT_EDATA, "the template needs more than %d MiB of memory",
                   MOST_MEMORY >> 20);
    return NULL;
}

/* ---- making values --------------------------------------------------------------------------- */

struct ant_jv ant_jv_bool(bool truth)
{
    return (struct ant_jv){.kind = ANT_JV_BOOL, .truth = truth};
}

struct ant_jv ant_jv_int(int64_t integer)
{
    return (struct ant_jv){.kind = ANT_JV_INT, .integer = integer};
}

struct ant_jv ant_jv_float(double real)
{
    return (struct ant_jv){.kind = ANT_JV_FLOAT, .real = real};
}

struct ant_jv ant_jv_text(const char *text, size_t bytes)
{
    return (struct ant_jv){.kind = ANT_JV_STRING, .text = text, .bytes = bytes};
}

struct ant_jv ant_jv_word(const char *text)
{
    return ant_jv_text(text, strlen(text));
}

struct ant_jv ant_jv_undefined(const char *name, size_t bytes)
{
    return (struct ant_jv){.kind = ANT_JV_UNDEFINED, .text = name, .bytes = bytes};
}

int ant_jv_list(struct ant_jrun *run, enum ant_jform form, size_t room, struct ant_jv *out)
{
    struct ant_jlist *list = ant_jinja_take(run, sizeof(*list));
    struct ant_jv *items = list ? ant_jinja_take(run, room * sizeof(*items)) : NULL;

    if (!items)
        return ANT_EDATA;
    *list = (struct ant_jlist){.items = items, .cap = room};
    *out = (struct ant_jv){.kind = ANT_JV_LIST, .form = (uint8_t)form, .list = list};
    return 0;
}

/* Room for one more item of `size` bytes; the old array stays as it was. */
static int grow(struct ant_jrun *run, void **items, size_t *cap, size_t n, size_t size)
{
    if (n < *cap)
        return 0;
    size_t more = *cap ? 2 * *cap : 8;
    void *bigger = ant_jinja_take(run, more * size);
    if (!bigger)
        return ANT_EDATA;
    if (n > 0)
        memcpy(bigger, *items, n * size);
    *items = bigger;
    *cap = more;
    return ant_jinja_work(run, n);
}

int ant_jv_append(struct ant_jrun *run, struct ant_jlist *list, const struct ant_jv *item)
{
    void *items = list->items;

    ANT_TRY(grow(run, &items, &list->cap, list->n, sizeof(*list->items)));
    list->items = items;
    list->items[list->n++] = *item;
    return 0;
}

void ant_jlist_reverse(struct ant_jlist *list)
{
    for (size_t i = 0; i < list->n / 2; i++) {
        struct ant_jv swap = list->items[i];
        list->items[i] = list->items[list->n - 1 - i];
        list->items[list->n - 1 - i] = swap;
    }
}

int ant_jv_dict(struct ant_jrun *run, struct ant_jv *out)
{
    struct ant_jdict *dict = ant_jinja_take(run, sizeof(*dict));

    if (!dict)
        return ANT_EDATA;
    *dict = (struct ant_jdict){0};
    *out = (struct ant_jv){.kind = ANT_JV_DICT, .dict = dict};
    return 0;
}

int ant_jv_put(struct ant_jrun *run, struct ant_jdict *dict, const struct ant_jv *key,
               const struct ant_jv *value)
{
    const struct ant_jv *there;
    void *pairs = dict->pairs;

    ANT_TRY(ant_jv_lookup(run, dict, key, &there));
    if (there) {
        dict->pairs[(const struct ant_jpair *)((const char *)there -
                                               offsetof(struct ant_jpair, value)) -
                    dict->pairs]
            .value = *value;
        return 0;
    }
    ANT_TRY(grow(run, &pairs, &dict->cap, dict->n, sizeof(*dict->pairs)));
    dict->pairs = pairs;
    dict->pairs[dict->n++] = (struct ant_jpair){*key, *value};
    return 0;
}

static int from_json_object(struct ant_jrun *run, const json_t *json, struct ant_jv *out)
{
    size_t n = json_object_size(json);
    const char *name;
    json_t *value;

    ANT_TRY(ant_jv_dict(run, out));
    struct ant_jpair *pair = ant_jinja_take(run, n * sizeof(*pair));
    if (!pair)
        return ANT_EDATA;
    out->dict->pairs = pair;
    out->dict->n = out->dict->cap = n;
    json_object_foreach((json_t *)json, name, value)
    {
        pair->key = ant_jv_word(name);
        ANT_TRY(ant_jv_from_json(run, value, &pair->value));
        pair++;
    }
    return 0;
}

int ant_jv_from_json(struct ant_jrun *run, const json_t *json, struct ant_jv *out)
{
    size_t i;
    json_t *item;

    *out = (struct ant_jv){.kind = ANT_JV_NONE};
    if (!json)
        return 0;
    switch (json_typeof(json)) {
    case JSON_OBJECT:
        return from_json_object(run, json, out);
    case JSON_ARRAY:
        ANT_TRY(ant_jv_list(run, ANT_JFORM_LIST, json_array_size(json), out));
        json_array_foreach(json, i, item)
            ANT_TRY(ant_jv_from_json(run, item, &out->list->items[out->list->n++]));
        break;
    case JSON_STRING:
        *out = ant_jv_text(json_string_value(json), json_string_length(json));
        break;
    case JSON_INTEGER:
        *out = ant_jv_int(json_integer_value(json));
        break;
    case JSON_REAL:
        *out = ant_jv_float(json_real_value(json));
        break;
    case JSON_TRUE:
    case JSON_FALSE:
        *out = ant_jv_bool(json_is_true(json));
        break;
    case JSON_NULL:
        break;
    }
    return 0;
}

/* ---- what values are ------------------------------------------------------------------------- */

bool ant_jv_is_number(const struct ant_jv *value)
{
    return value->kind == ANT_JV_BOOL || value->kind == ANT_JV_INT || value->kind == ANT_JV_FLOAT;
}

bool ant_jv_as_integer(const struct ant_jv *value, int64_t *out)
{
    if (value->kind == ANT_JV_INT)
        *out = value->integer;
    else if (value->kind == ANT_JV_BOOL)
        *out = value->truth;
    else
        return false;
    return true;
}

double ant_jv_real(const struct ant_jv *number)
{
    return number->kind == ANT_JV_FLOAT  ? number->real
           : number->kind == ANT_JV_BOOL ? number->truth
                                         : (double)number->integer;
}

const char *ant_jv_type(const struct ant_jv *value)
{
    static const char *const names[] = {
        [ANT_JV_UNDEFINED] = "undefined", [ANT_JV_NONE] = "None",
        [ANT_JV_BOOL] = "bool",           [ANT_JV_INT] = "int",
        [ANT_JV_FLOAT] = "float",         [ANT_JV_STRING] = "str",
        [ANT_JV_DICT] = "dict",           [ANT_JV_LIST] = "list",
        [ANT_JV_NAMESPACE] = "namespace", [ANT_JV_LOOP] = "loop",
        [ANT_JV_MACRO] = "macro",         [ANT_JV_BUILTIN] = "function",
    };
    static const char *const forms[] = {"list", "tuple", "view", "generator"};

    return value->kind == ANT_JV_LIST ? forms[value->form] : names[value->kind];
}

bool ant_jv_truth(const struct ant_jv *value)
{
    switch ((enum ant_jkind)value->kind) {
    case ANT_JV_UNDEFINED:
    case ANT_JV_NONE:
        return false;
    case ANT_JV_BOOL:
        return value->truth;
    case ANT_JV_INT:
        return value->integer != 0;
    case ANT_JV_FLOAT:
        return value->real != 0;
    case ANT_JV_STRING:
        return value->bytes > 0;
    case ANT_JV_LIST:
        return value->form == ANT_JFORM_GENERATOR || value->list->n > 0;
    case ANT_JV_DICT:
        return value->dict->n > 0;
    default:
        return true;
    }
}

static int compare_numbers(const struct ant_jv *a, const struct ant_jv *b)
{
    int64_t x, y;

    if (ant_jv_as_integer(a, &x) && ant_jv_as_integer(b, &y))
        return x < y ? -1 : x > y;
    double p = ant_jv_real(a), q = ant_jv_real(b);
    return p < q ? -1 : p > q ? 1 : p == q ? 0 : 2; /* 2: not a number */
}

static int compare_texts(const struct ant_jv *a, const struct ant_jv *b)
{
    size_t n = a->bytes < b->bytes ? a->bytes : b->bytes;
    int order = n > 0 ? memcmp(a->text, b->text, n) : 0;

    return order ? (order > 0) - (order < 0) : a->bytes < b->bytes ? -1 : a->bytes > b->bytes;
}

static int equal_lists(struct ant_jrun *run, const struct ant_jlist *a, const struct ant_jlist *b,
                       bool *out)
{
    *out = a->n == b->n;
    for (size_t i = 0; i < a->n && *out; i++)
        ANT_TRY(ant_jv_equal(run, &a->items[i], &b->items[i], out));
    return 0;
}

static int equal_dicts(struct ant_jrun *run, const struct ant_jdict *a, const struct ant_jdict *b,
                       bool *out)
{
    *out = a->n == b->n;
    for (size_t i = 0; i < a->n && *out; i++) {
        const struct ant_jv *there;
        ANT_TRY(ant_jv_lookup(run, b, &a->pairs[i].key, &there));
        *out = there;
        if (there)
            ANT_TRY(ant_jv_equal(run, &a->pairs[i].value, there, out));
    }
    return 0;
}

int ant_jv_equal(struct ant_jrun *run, const struct ant_jv *a, const struct ant_jv *b, bool *out)
{
    if (ant_jv_is_number(a) && ant_jv_is_number(b)) {
        *out = compare_numbers(a, b) == 0;
        return 0;
    }
    *out = false;
    if (a->kind != b->kind)
        return 0;
    ANT_TRY(ant_jinja_enter(run, ANT_JV_DEEPEST));
    int rc = 0;
    switch ((enum ant_jkind)a->kind) {
    case ANT_JV_UNDEFINED:
    case ANT_JV_NONE:
        *out = true;
        break;
    case ANT_JV_STRING:
        *out = a->bytes == b->bytes && compare_texts(a, b) == 0;
        rc = ant_jinja_work(run, *out ? a->bytes / 16 : 0);
        break;
    case ANT_JV_LIST:
        if (a->list == b->list)
            *out = true;
        else if (a->form == b->form && a->form <= ANT_JFORM_TUPLE)
            rc = equal_lists(run, a->list, b->list, out);
        break;
    case ANT_JV_DICT:
        rc = equal_dicts(run, a->dict, b->dict, out);
        break;
    default:
        *out = a->list == b->list; /* any of the pointers */
    }
    run->depth--;
    return rc;
}

static int compare_lists(struct ant_jrun *run, const struct ant_jlist *a, const struct ant_jlist *b,
                         int *out)
{
    for (size_t i = 0; i < a->n && i < b->n; i++) {
        bool equal;
        ANT_TRY(ant_jv_equal(run, &a->items[i], &b->items[i], &equal));
        if (!equal)
            return ant_jv_compare(run, &a->items[i], &b->items[i], out);
    }
    *out = a->n < b->n ? -1 : a->n > b->n;
    return 0;
}

int ant_jv_compare(struct ant_jrun *run, const struct ant_jv *a, const struct ant_jv *b, int *out)
{
    if (ant_jv_is_number(a) && ant_jv_is_number(b)) {
        *out = compare_numbers(a, b);
        return 0;
    }
    if (a->kind == ANT_JV_STRING && b->kind == ANT_JV_STRING) {
        *out = compare_texts(a, b);
        return ant_jinja_work(run, (a->bytes < b->bytes ? a->bytes : b->bytes) / 16);
    }
    if (a->kind != ANT_JV_LIST || b->kind != ANT_JV_LIST || a->form != b->form ||
        a->form > ANT_JFORM_TUPLE)
        return ant_jinja_fail(run, ANT_EDATA, "%s and %s have no order", ant_jv_type(a),
                              ant_jv_type(b));
    ANT_TRY(ant_jinja_enter(run, ANT_JV_DEEPEST));
    int rc = compare_lists(run, a->list, b->list, out);
    run->depth--;
    return rc;
}

/* ---- containers ------------------------------------------------------------------------------ */

const struct ant_jv *ant_jv_get(const struct ant_jdict *dict, const char *key, size_t bytes)
{
    for (size_t i = 0; i < dict->n; i++) {
        const struct ant_jv *there = &dict->pairs[i].key;
        if (there->kind == ANT_JV_STRING && there->bytes == bytes &&
            memcmp(there->text, key, bytes) == 0)
            return &dict->pairs[i].value;
    }
    return NULL;
}

int ant_jv_lookup(struct ant_jrun *run, const struct ant_jdict *dict, const struct ant_jv *key,
                  const struct ant_jv **out)
{
    size_t a_key = 1 + (key->kind == ANT_JV_STRING ? key->bytes / 64 : 0);

    *out = NULL;
    ANT_TRY(ant_jinja_work(run, 1 + dict->n / 8 * a_key));
    if (key->kind == ANT_JV_STRING) {
        *out = ant_jv_get(dict, key->text, key->bytes);
        return 0;
    }
    if (key->kind == ANT_JV_DICT || (key->kind == ANT_JV_LIST && key->form == ANT_JFORM_LIST))
        return ant_jinja_fail(run, ANT_EDATA, "a %s cannot be a key", ant_jv_type(key));
    for (size_t i = 0; i < dict->n; i++) {
        bool equal;
        ANT_TRY(ant_jv_equal(run, &dict->pairs[i].key, key, &equal));
        if (equal) {
            *out = &dict->pairs[i].value;
            break;
        }
    }
    return 0;
}

int ant_jv_contains(struct ant_jrun *run, const struct ant_jv *all, const struct ant_jv *item,
                    bool *out)
{
    const struct ant_jlist *items;
    const struct ant_jv *there;

    if (all->kind == ANT_JV_STRING) {
        if (item->kind != ANT_JV_STRING)
            return ant_jinja_fail(run, ANT_EDATA, "a str cannot have a %s in it",
                                  ant_jv_type(item));
        *out = item->bytes == 0 ||
               (all->bytes > 0 && memmem(all->text, all->bytes, item->text, item->bytes));
        return ant_jinja_work(run, 1 + all->bytes / 64);
    }
    if (all->kind == ANT_JV_DICT) {
        ANT_TRY(ant_jv_lookup(run, all->dict, item, &there));
        *out = there;
        return 0;
    }
    *out = false;
    ANT_TRY(ant_jv_items(run, all, &items));
    for (size_t i = 0; i < items->n && !*out; i++)
        ANT_TRY(ant_jv_equal(run, &items->items[i], item, out));
    return 0;
}

static int characters(struct ant_jrun *run, const struct ant_jv *text, struct ant_jv *out)
{
    ANT_TRY(ant_jv_list(run, ANT_JFORM_LIST, ant_jv_characters(text->text, text->bytes), out));
    for (size_t at = 0; at < text->bytes;) {
        size_t length = ant_utf8_length((unsigned char)text->text[at]);
        out->list->items[out->list->n++] = ant_jv_text(text->text + at, length);
        at += length;
    }
    return ant_jinja_work(run, out->list->n);
}

int ant_jv_items(struct ant_jrun *run, const struct ant_jv *value, const struct ant_jlist **out)
{
    struct ant_jv list;

    switch ((enum ant_jkind)value->kind) {
    case ANT_JV_LIST:
        *out = value->list;
        if (value->form != ANT_JFORM_GENERATOR)
            return 0;
        ANT_TRY(ant_jv_list(run, ANT_JFORM_LIST, 0, &list));
        *list.list = *value->list;
        value->list->n = 0;
        *out = list.list;
        return 0;
    case ANT_JV_UNDEFINED:
        ANT_TRY(ant_jv_list(run, ANT_JFORM_LIST, 0, &list));
        break;
    case ANT_JV_STRING:
        ANT_TRY(characters(run, value, &list));
        break;
    case ANT_JV_DICT:
        ANT_TRY(ant_jv_list(run, ANT_JFORM_LIST, value->dict->n, &list));
        for (size_t i = 0; i < value->dict->n; i++)
            list.list->items[list.list->n++] = value->dict->pairs[i].key;
        break;
    default:
        return ant_jinja_fail(run, ANT_EDATA, "a %s cannot be gone through", ant_jv_type(value));
    }
    *out = list.list;
    return 0;
}

int ant_jv_length(struct ant_jrun *run, const struct ant_jv *value, int64_t *out)
{
    if (value->kind == ANT_JV_STRING) {
        *out = (int64_t)ant_jv_characters(value->text, value->bytes);
        return ant_jinja_work(run, value->bytes / 16);
    }
    if (value->kind == ANT_JV_LIST && value->form != ANT_JFORM_GENERATOR)
        *out = (int64_t)value->list->n;
    else if (value->kind == ANT_JV_DICT)
        *out = (int64_t)value->dict->n;
    else if (value->kind == ANT_JV_UNDEFINED)
        *out = 0;
    else
        return ant_jinja_fail(run, ANT_EDATA, "a %s has no length", ant_jv_type(value));
    return 0;
}

static int loop_member(struct ant_jrun *run, const struct ant_jv *value, const char *name,
                       size_t bytes, struct ant_jv *out)
{
    const struct ant_jloop *loop = value->loop;
    int64_t i = (int64_t)loop->i, n = (int64_t)loop->list->n;
    const struct {
        const char *name;
        struct ant_jv value;
    } members[] = {
        {"index", ant_jv_int(i + 1)},
        {"index0", ant_jv_int(i)},
        {"revindex", ant_jv_int(n - i)},
        {"revindex0", ant_jv_int(n - i - 1)},
        {"first", ant_jv_bool(i == 0)},
        {"last", ant_jv_bool(i == n - 1)},
        {"length", ant_jv_int(n)},
        {"depth", ant_jv_int(1)}, /* of recursive loops, which there are none of */
        {"depth0", ant_jv_int(0)},
        {"previtem", i > 0 ? loop->list->items[i - 1] : *out},
        {"nextitem", i < n - 1 ? loop->list->items[i + 1] : *out},
    };

    for (size_t k = 0; k < sizeof(members) / sizeof(*members); k++)
        if (strlen(members[k].name) == bytes && memcmp(members[k].name, name, bytes) == 0) {
            *out = members[k].value;
            return 0;
        }
    return ant_jinja_fail(run, ANT_EUNSUPP, "'loop.%.*s' is not supported", (int)bytes, name);
}

/* 1 when there is such an attribute. */
static int attribute(struct ant_jrun *run, const struct ant_jv *value, const char *name,
                     size_t bytes, struct ant_jv *out)
{
    const struct ant_jbuiltin *method = ant_jinja_method(value, name, bytes);

    if (!method)
        return 0;
    *out = (struct ant_jv){.kind = ANT_JV_BUILTIN,
                           .method = ant_jinja_take(run, sizeof(*out->method))};
    if (!out->method)
        return ANT_EDATA;
    *out->method = (struct ant_jmethod){method, *value};
    return 1;
}

int ant_jinja_fail_undefined(struct ant_jrun *run, const struct ant_jv *value)
{
    return ant_jinja_fail(run, ANT_EDATA, "'%.*s' is undefined", (int)value->bytes, value->text);
}

int ant_jv_member(struct ant_jrun *run, const struct ant_jv *value, const char *name, size_t bytes,
                  struct ant_jv *out)
{
    *out = ant_jv_undefined(name, bytes);
    if (value->kind == ANT_JV_UNDEFINED)
        return ant_jinja_fail_undefined(run, value);
    if (value->kind == ANT_JV_LOOP)
        return loop_member(run, value, name, bytes, out);
    int rc = attribute(run, value, name, bytes, out);
    if (rc != 0)
        return rc < 0 ? rc : 0;
    if (value->kind == ANT_JV_DICT || value->kind == ANT_JV_NAMESPACE) {
        const struct ant_jv *there = ant_jv_get(value->dict, name, bytes);
        if (there)
            *out = *there;
        return ant_jinja_work(run, value->dict->n / 8);
    }
    return 0;
}

int ant_jv_index(struct ant_jrun *run, const struct ant_jv *value, const struct ant_jv *key,
                 struct ant_jv *out)
{
    const struct ant_jv *there = NULL;
    int64_t i, n;

    *out = ant_jv_undefined(key->kind == ANT_JV_STRING ? key->text : "item",
                            key->kind == ANT_JV_STRING ? key->bytes : 4);
    if (value->kind == ANT_JV_UNDEFINED)
        return ant_jinja_fail_undefined(run, value);
    if (value->kind == ANT_JV_DICT || value->kind == ANT_JV_NAMESPACE)
        ANT_TRY(ant_jv_lookup(run, value->dict, key, &there));
    if (there) {
        *out = *there;
    } else if (key->kind == ANT_JV_STRING) {
        int rc = attribute(run, value, key->text, key->bytes, out);
        return rc < 0 ? rc : 0;
    } else if (ant_jv_as_integer(key, &i) &&
               (value->kind == ANT_JV_STRING ||
                (value->kind == ANT_JV_LIST && value->form <= ANT_JFORM_TUPLE))) {
        ANT_TRY(ant_jv_length(run, value, &n));
        i += i < 0 ? n : 0;
        if (i < 0 || i >= n)
            return 0;
        if (value->kind == ANT_JV_LIST) {
            *out = value->list->items[i];
            return 0;
        }
        size_t at = ant_jv_offset(value->text, value->bytes, (size_t)i);
        *out = ant_jv_text(value->text + at, ant_utf8_length((unsigned char)value->text[at]));
        return ant_jinja_work(run, value->bytes / 64);
    }
    return 0;
}

/* A bound of a slice as Python has it: negative ones from the end, all within [low, high]. */
static int bound(struct ant_jrun *run, const struct ant_jv *value, int64_t n, int64_t low,
                 int64_t high, int64_t otherwise, int64_t *out)
{
    *out = otherwise;
    if (!value || value->kind == ANT_JV_NONE)
        return 0;
    if (!ant_jv_as_integer(value, out))
        return ant_jinja_fail(run, ANT_EDATA, "a %s cannot bound a slice", ant_jv_type(value));
    if (*out < 0)
        *out = *out < -n ? low : *out + n;
    *out = *out < low ? low : *out > high ? high : *out;
    return 0;
}

int ant_jv_slice(struct ant_jrun *run, const struct ant_jv *value, const struct ant_jv *from,
                 const struct ant_jv *to, const struct ant_jv *step, struct ant_jv *out)
{
    struct ant_jv list = *value;
    int64_t n, by = 1, start, end;

    if (value->kind == ANT_JV_UNDEFINED)
        return ant_jinja_fail_undefined(run, value);
    if (value->kind != ANT_JV_STRING &&
        (value->kind != ANT_JV_LIST || value->form > ANT_JFORM_TUPLE))
        return ant_jinja_fail(run, ANT_EDATA, "a %s cannot be sliced", ant_jv_type(value));
    if (step && step->kind != ANT_JV_NONE && (!ant_jv_as_integer(step, &by) || by == 0))
        return ant_jinja_fail(run, ANT_EDATA, "the step of a slice must be an integer but 0");
    ANT_TRY(ant_jv_length(run, value, &n));
    ANT_TRY(bound(run, from, n, by < 0 ? -1 : 0, by < 0 ? n - 1 : n, by < 0 ? n - 1 : 0, &start));
    ANT_TRY(bound(run, to, n, by < 0 ? -1 : 0, by < 0 ? n - 1 : n, by < 0 ? -1 : n, &end));
    ANT_TRY(ant_jinja_work(run, value->kind == ANT_JV_STRING ? value->bytes / 64 : 1));
    if (value->kind == ANT_JV_STRING && by == 1) {
        size_t a = ant_jv_offset(value->text, value->bytes, (size_t)start);
        size_t b = ant_jv_offset(value->text, value->bytes, (size_t)end);
        *out = ant_jv_text(value->text + a, b > a ? b - a : 0);
        return 0;
    }
    if (value->kind == ANT_JV_STRING)
        ANT_TRY(characters(run, value, &list));
    ANT_TRY(ant_jv_list(run, (enum ant_jform)value->form, 0, out));
    for (int64_t i = start; by > 0 ? i < end : i > end;) {
        ANT_TRY(ant_jv_append(run, out->list, &list.list->items[i]));
        if (__builtin_add_overflow(i, by, &i))
            break;
    }
    if (value->kind != ANT_JV_STRING)
        return 0;
    struct ant_jtext text = {0};
    for (size_t i = 0; i < out->list->n; i++)
        ANT_TRY(ant_jtext_add(run, &text, out->list->items[i].text, out->list->items[i].bytes));
    *out = ant_jtext_value(&text);
    return 0;
}
