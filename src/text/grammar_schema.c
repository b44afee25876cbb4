/* SPDX-License-Identifier: Apache-2.0 */
/* JSON schemas as grammars. */
#include "config.h"

#include "text/grammar_read.h"

#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/mem.h"
#include "text/grammar_json.h"
#include "text/grammar_number.h"

enum {
    LONGEST = 4 << 20,       /* bytes of a schema */
    MOST_TARGETS = 4096,     /* of $ref */
    DEEPEST = 100,           /* schemas in schemas */
    LONGEST_NAME = 512,      /* of a property beside others that have no name */
    LARGEST_COUNT = 1 << 24, /* minLength and the like */
};

/* Kinds of values, as bits. */
enum {
    IS_OBJECT = 1,
    IS_ARRAY = 2,
    IS_STRING = 4,
    IS_NUMBER = 8,
    IS_INTEGER = 16,
    IS_BOOLEAN = 32,
    IS_NULL = 64,
    IS_ANYTHING = 127 & ~IS_INTEGER,
};
static const char *const type_names[] = {"object",  "array",   "string", "number",
                                         "integer", "boolean", "null"};

/* What a keyword is for. Those of no kind of value say it all, or nothing that counts. */
enum {
    SAYS_NOTHING = 0,
    SAYS_ALL = 256,    /* there is room for nothing else that counts */
    SAYS_VALUES = 512, /* const, enum: the type may stand beside them */
    SAYS_TYPE = 1024,
    IS_REFUSED = 2048,
    /* refused unless its value asks for nothing, which is, of each: */
    IS_OFF = 4096,    /* false, {} or []; so are unknown ones */
    IS_SWITCH = 8192, /* false alone */
    IS_TEST = 16384,  /* a schema that all values pass */
};
static const struct keyword {
    const char *name;
    int use;
} keywords[] = {
    {"$ref", SAYS_ALL},
    {"anyOf", SAYS_ALL},
    {"oneOf", SAYS_ALL},
    {"allOf", SAYS_ALL},
    {"const", SAYS_VALUES},
    {"enum", SAYS_VALUES},
    {"type", SAYS_TYPE},
    {"nullable", SAYS_TYPE},
    {"properties", IS_OBJECT},
    {"required", IS_OBJECT},
    {"additionalProperties", IS_OBJECT},
    {"unevaluatedProperties", IS_OBJECT},
    {"minProperties", IS_OBJECT},
    {"maxProperties", IS_OBJECT},
    {"items", IS_ARRAY},
    {"prefixItems", IS_ARRAY},
    {"unevaluatedItems", IS_ARRAY},
    {"minItems", IS_ARRAY},
    {"maxItems", IS_ARRAY},
    {"minLength", IS_STRING},
    {"maxLength", IS_STRING},
    {"pattern", IS_STRING},
    {"format", IS_STRING},
    {"minimum", IS_NUMBER},
    {"maximum", IS_NUMBER},
    {"exclusiveMinimum", IS_NUMBER},
    {"exclusiveMaximum", IS_NUMBER},
    {"contains", IS_REFUSED},
    {"multipleOf", IS_REFUSED},
    {"uniqueItems", IS_SWITCH},
    {"not", IS_SWITCH},
    {"propertyNames", IS_TEST},
    {"then", IS_TEST},
    {"else", IS_TEST},
    {"title", SAYS_NOTHING},
    {"description", SAYS_NOTHING},
    {"default", SAYS_NOTHING},
    {"example", SAYS_NOTHING},
    {"examples", SAYS_NOTHING},
    {"deprecated", SAYS_NOTHING},
    {"readOnly", SAYS_NOTHING},
    {"writeOnly", SAYS_NOTHING},
    {"discriminator", SAYS_NOTHING},
    {"$schema", SAYS_NOTHING},
    {"$id", SAYS_NOTHING},
    {"$comment", SAYS_NOTHING},
    {"$defs", SAYS_NOTHING},
    {"definitions", SAYS_NOTHING},
};

struct reader {
    struct ant_grammar *grammar;
    struct ant_json_parts parts;
    json_t *root;
    struct target { /* what a $ref has named, each once */
        const json_t *schema;
        char *path; /* owned */
        int32_t rule;
    } * targets;
    size_t n_targets, cap_targets;
    struct ant_buf path; /* of the schema at hand: "#/properties/a" */
    int depth;
    struct ant_error *err;
};

static int read_schema(struct reader *r, const json_t *schema, uint32_t *out);

static int fail(struct reader *r, enum ant_err code, const char *format, ...)
    __attribute__((format(printf, 3, 4), cold));

static int fail(struct reader *r, enum ant_err code, const char *format, ...)
{
    struct ant_error what;
    va_list args;

    va_start(args, format);
    ant_fail_va(&what, code, format, args);
    va_end(args);
    return ant_fail(r->err, code, "%s at %.200s", what.text, r->path.data);
}

/* Read the schema that lies under these names: "properties", "a", or one name and NULL. */
static int read_under(struct reader *r, const char *keyword, const char *name, const json_t *schema,
                      uint32_t *out)
{
    size_t before = r->path.len;

    ant_buf_printf(&r->path, "/%s%s%s", keyword, name ? "/" : "", name ? name : "");
    int rc = read_schema(r, schema, out);
    r->path.len = before;
    r->path.data[before] = '\0';
    return rc;
}

static int read_nth(struct reader *r, const char *keyword, size_t i, const json_t *schema,
                    uint32_t *out)
{
    char name[24];

    snprintf(name, sizeof(name), "%zu", i);
    return read_under(r, keyword, name, schema, out);
}

/* ---- references ------------------------------------------------------------------------------ */

/* A name of a JSON pointer: ~1 is a slash, ~0 a tilde, %XX a byte. */
static void unescape(char *name)
{
    char *to = name;

    for (const char *from = name; *from; from++) {
        char hex[3] = {from[0] == '%' ? from[1] : '\0', hex[0] ? from[2] : '\0', '\0'}, *end = hex;
        long byte = strtol(hex, &end, 16);
        if (end == hex + 2 && byte > 0) {
            *to++ = (char)byte;
            from += 2;
        } else if (from[0] == '~' && (from[1] == '0' || from[1] == '1')) {
            *to++ = *++from == '1' ? '/' : '~';
        } else {
            *to++ = *from;
        }
    }
    *to = '\0';
}

static const json_t *follow_pointer(const json_t *root, const char *pointer)
{
    const json_t *at = root;

    while (at && *pointer == '/') {
        size_t n = strcspn(++pointer, "/");
        char *name = ant_xstrndup(pointer, n), *end;
        unescape(name);
        if (json_is_array(at)) {
            size_t i = strtoul(name, &end, 10);
            at = *end || !*name ? NULL : json_array_get(at, i);
        } else {
            at = json_object_get(at, name);
        }
        free(name);
        pointer += n;
    }
    return *pointer ? NULL : at;
}

static int read_reference(struct reader *r, const json_t *value, uint32_t *out)
{
    const char *text = json_string_value(value);

    if (!text || *text != '#')
        return fail(r, ANT_EUNSUPP, "$ref '%.100s' is not to a part of this schema",
                    text ? text : "");
    const json_t *schema = follow_pointer(r->root, text + 1);
    if (!schema)
        return fail(r, ANT_EDATA, "$ref '%.100s' leads nowhere", text);
    for (size_t i = 0; i < r->n_targets; i++)
        if (r->targets[i].schema == schema) {
            *out = ant_grammar_call(r->grammar, r->targets[i].rule);
            return 0;
        }
    if (r->n_targets == MOST_TARGETS)
        return fail(r, ANT_EUNSUPP, "more than %d parts are referred to", MOST_TARGETS);
    if (r->n_targets == r->cap_targets) {
        r->cap_targets = 2 * r->cap_targets + 8;
        r->targets = ant_xrealloc(r->targets, r->cap_targets, sizeof(*r->targets));
    }
    int32_t rule = ant_grammar_add_rule(r->grammar);
    r->targets[r->n_targets++] = (struct target){schema, ant_xstrdup(text), rule};
    *out = ant_grammar_call(r->grammar, rule);
    return 0;
}

/* ---- strings and numbers --------------------------------------------------------------------- */

/* A count under a keyword that may be missing. */
static int read_count(struct reader *r, const json_t *schema, const char *keyword, int32_t *out)
{
    const json_t *value = json_object_get(schema, keyword);
    double number = json_number_value(value);

    if (!value)
        return 0;
    if (!json_is_number(value) || number < 0 || number != floor(number))
        return fail(r, ANT_EDATA, "%s is no count", keyword);
    if (number > LARGEST_COUNT)
        return fail(r, ANT_EUNSUPP, "%s is more than %d", keyword, LARGEST_COUNT);
    *out = (int32_t)number;
    return 0;
}

/* Two counts, of which the first may not be above the second. */
static int read_range(struct reader *r, const json_t *schema, const char *low, const char *high,
                      int32_t *min, int32_t *max)
{
    *min = 0;
    *max = ANT_NO_LIMIT;
    ANT_TRY(read_count(r, schema, low, min));
    ANT_TRY(read_count(r, schema, high, max));
    return *min <= *max ? 0 : fail(r, ANT_EDATA, "%s is more than %s", low, high);
}

static int read_pattern(struct reader *r, const char *pattern, size_t bytes, uint32_t *out)
{
    struct ant_error why;
    uint32_t content = ANT_NO_NODE;
    int rc = ant_grammar_read_regex(r->grammar, pattern, bytes, ANT_REGEX_JSON, &content, &why);

    if (rc < 0)
        return fail(r, (enum ant_err)rc, "pattern: %s", why.text);
    uint32_t nodes[] = {ant_grammar_bytes(r->grammar, "\"", 1), content,
                        ant_grammar_bytes(r->grammar, "\"", 1)};
    *out = ant_grammar_sequence(r->grammar, nodes, 3);
    return 0;
}

static int read_string(struct reader *r, const json_t *schema, uint32_t *out)
{
    const json_t *pattern = json_object_get(schema, "pattern");
    const json_t *format = json_object_get(schema, "format");
    int32_t min, max;

    ANT_TRY(read_range(r, schema, "minLength", "maxLength", &min, &max));
    bool has_length = min > 0 || max != ANT_NO_LIMIT;
    if ((pattern && !json_is_string(pattern)) || (format && !json_is_string(format)))
        return fail(r, ANT_EDATA, "%s is no string", pattern ? "pattern" : "format");
    if ((pattern && (format || has_length)) || (format && has_length))
        return fail(r, ANT_EUNSUPP, "only one of pattern, format and a length can be met");
    if (pattern)
        return read_pattern(r, json_string_value(pattern), json_string_length(pattern), out);
    if (format) {
        *out = ant_json_format(&r->parts, json_string_value(format));
        return *out
                   ? 0
                   : fail(r, ANT_EUNSUPP, "format '%.60s' is not known", json_string_value(format));
    }
    *out = has_length ? ant_json_string_of(&r->parts, min, max) : ant_json_string(&r->parts);
    return 0;
}

/* A bound and whether it is left out: of `minimum` and `exclusiveMinimum` the one that says more;
 * the latter may also be a yes or no to the former. `sign` is -1 for the upper end. */
static int read_bound(struct reader *r, const json_t *schema, const char *closed, const char *open,
                      int sign, bool *has, double *bound, bool *is_open)
{
    const json_t *values[2] = {json_object_get(schema, closed), json_object_get(schema, open)};

    for (int i = 0; i < 2; i++) {
        if (!values[i] || (i == 1 && json_is_boolean(values[i])))
            continue;
        double value = json_number_value(values[i]);
        if (!json_is_number(values[i]))
            return fail(r, ANT_EDATA, "%s is no number", i ? open : closed);
        if (!(fabs(value) < 1e15) || (value != 0 && fabs(value) < 1e-9))
            return fail(r, ANT_EUNSUPP, "%s is too large or too small", i ? open : closed);
        if (*has && sign * value < sign * *bound)
            continue;
        *is_open = i == 1;
        *bound = value;
        *has = true;
    }
    *is_open |= json_is_true(values[1]);
    return 0;
}

static int read_number(struct reader *r, const json_t *schema, bool is_integer, uint32_t *out)
{
    struct ant_number_bounds bounds = {0};

    ANT_TRY(read_bound(r, schema, "minimum", "exclusiveMinimum", 1, &bounds.has_least,
                       &bounds.least, &bounds.is_above));
    ANT_TRY(read_bound(r, schema, "maximum", "exclusiveMaximum", -1, &bounds.has_most, &bounds.most,
                       &bounds.is_below));
    if (bounds.has_least || bounds.has_most)
        *out = is_integer ? ant_grammar_integer(r->grammar, &bounds)
                          : ant_grammar_decimal(r->grammar, &bounds);
    else
        *out = is_integer ? ant_json_integer(&r->parts) : ant_json_number(&r->parts);
    return 0;
}

/* ---- objects --------------------------------------------------------------------------------- */

/* The properties in their order, then those that are required without a schema. */
struct members {
    uint32_t *nodes;
    bool *is_optional;
    struct ant_word *names;
    size_t n, n_required;
    json_t *required; /* owned: names that are, and have not been met yet */
};

static int add_member(struct reader *r, struct members *members, const char *name, uint32_t value)
{
    size_t bytes = strlen(name), i = members->n++;
    bool is_needed = json_object_get(members->required, name);

    if (bytes > LONGEST_NAME)
        return fail(r, ANT_EUNSUPP, "the name of a property is longer than %d bytes", LONGEST_NAME);
    members->nodes[i] = ant_json_member(&r->parts, ant_json_name(&r->parts, name), value);
    members->is_optional[i] = !is_needed;
    members->names[i] = (struct ant_word){name, bytes};
    members->n_required += is_needed;
    json_object_del(members->required, name);
    return 0;
}

/* The keyword for properties without a name in the schema. Where nothing stands beside properties
 * that looks at names, unevaluatedProperties means the same. */
static const char *rest_keyword(const json_t *schema)
{
    return json_object_get(schema, "additionalProperties") ? "additionalProperties"
                                                           : "unevaluatedProperties";
}

/* What they hold: *out is ANT_NO_NODE if there are none. */
static int read_additional(struct reader *r, const json_t *schema, uint32_t *out)
{
    const json_t *additional = json_object_get(schema, rest_keyword(schema));

    if (!additional || json_is_false(additional))
        return 0;
    return read_under(r, rest_keyword(schema), NULL, additional, out);
}

static int read_members(struct reader *r, const json_t *schema, struct members *members,
                        uint32_t additional)
{
    json_t *value, *item;
    const char *name;
    uint32_t node = ANT_NO_NODE;
    size_t i;

    json_object_foreach(json_object_get(schema, "properties"), name, value)
    {
        ANT_TRY(read_under(r, "properties", name, value, &node));
        ANT_TRY(add_member(r, members, name, node));
    }
    json_array_foreach(json_object_get(schema, "required"), i, item)
    {
        name = json_string_value(item);
        if (!json_object_get(members->required, name))
            continue;
        if (json_is_false(json_object_get(schema, rest_keyword(schema))))
            return fail(r, ANT_EDATA, "'%.60s' is required but no property", name);
        ANT_TRY(add_member(r, members, name, additional ? additional : ant_json_value(&r->parts)));
    }
    return 0;
}

/* The number of properties can be bounded only where that asks for nothing more, or where none has
 * a name. */
static int read_object_of(struct reader *r, const json_t *schema, struct members *members,
                          uint32_t *out)
{
    bool is_plain = !json_object_get(schema, "properties") && !json_object_get(schema, "required");
    uint32_t additional = ANT_NO_NODE;
    int32_t min, max;

    ANT_TRY(read_range(r, schema, "minProperties", "maxProperties", &min, &max));
    if (is_plain && min > 1)
        return fail(r, ANT_EUNSUPP, "minProperties above 1 cannot be met: names may be the same");
    if (is_plain && !json_object_get(schema, rest_keyword(schema))) {
        *out = ant_json_any_object(&r->parts, min, max);
        return 0;
    }
    ANT_TRY(read_additional(r, schema, &additional));
    ANT_TRY(read_members(r, schema, members, additional));
    bool is_open = additional != ANT_NO_NODE;
    if (is_plain && !is_open && min > 0)
        return fail(r, ANT_EDATA, "minProperties is more than there may be properties");
    if (!is_plain && (min > (int32_t)members->n_required || max < (int32_t)members->n ||
                      (is_open && max != ANT_NO_LIMIT)))
        return fail(r, ANT_EUNSUPP,
                    "minProperties and maxProperties cannot be met beside properties");
    if (is_open) {
        uint32_t name = ant_json_other_name(&r->parts, members->names, members->n);
        uint32_t member = ant_json_member(&r->parts, name, additional);
        members->nodes[members->n] = is_plain
                                         ? ant_json_elements(&r->parts, member, min, max)
                                         : ant_json_elements(&r->parts, member, 1, ANT_NO_LIMIT);
        members->is_optional[members->n++] = !is_plain;
    }
    uint32_t list = ant_grammar_list(r->grammar, members->nodes, members->is_optional, members->n,
                                     ant_json_comma(&r->parts));
    *out = ant_json_brackets(&r->parts, "{}", list);
    return 0;
}

static int read_object(struct reader *r, const json_t *schema, uint32_t *out)
{
    const json_t *properties = json_object_get(schema, "properties");
    const json_t *required = json_object_get(schema, "required"), *item;
    size_t i, most = json_object_size(properties) + json_array_size(required) + 1;
    struct members members = {.required = json_object()};
    int rc = 0;

    if ((properties && !json_is_object(properties)) || (required && !json_is_array(required)))
        rc = fail(r, ANT_EDATA, "properties must be an object, required a list");
    json_array_foreach(required, i, item)
    {
        if (rc == 0 && !json_is_string(item))
            rc = fail(r, ANT_EDATA, "required must be a list of strings");
        if (rc == 0)
            json_object_set_new(members.required, json_string_value(item), json_true());
    }
    members.nodes = ant_xcalloc(most, sizeof(*members.nodes));
    members.is_optional = ant_xcalloc(most, sizeof(*members.is_optional));
    members.names = ant_xcalloc(most, sizeof(*members.names));
    if (rc == 0)
        rc = read_object_of(r, schema, &members, out);
    free(members.nodes);
    free(members.is_optional);
    free(members.names);
    json_decref(members.required);
    return rc;
}

/* ---- arrays ---------------------------------------------------------------------------------- */

/* Elements with a schema each, then those of `rest` (ANT_NO_NODE: none), `min` to `max` in all:
 * from the last to the first, each with what may come behind it. */
static int read_tuple(struct reader *r, const char *keyword, const json_t *list, uint32_t rest,
                      int32_t min, int32_t max, uint32_t *out)
{
    int32_t n = (int32_t)json_array_size(list), most = max < n ? max : n;
    uint32_t comma = ant_json_comma(&r->parts), element = ANT_NO_NODE, behind = ANT_NO_NODE;

    if (rest == ANT_NO_NODE && min > n)
        return fail(r, ANT_EDATA, "minItems is more than there are %s", keyword);
    if (rest != ANT_NO_NODE && max > n) {
        uint32_t nodes[] = {comma, rest};
        behind = ant_grammar_repeat(r->grammar, ant_grammar_sequence(r->grammar, nodes, 2),
                                    min > n ? min - n : 0, max == ANT_NO_LIMIT ? max : max - n,
                                    ANT_NO_NODE);
    }
    for (int32_t i = most; i-- > 0;) {
        ANT_TRY(read_nth(r, keyword, (size_t)i, json_array_get(list, (size_t)i), &element));
        uint32_t nodes[] = {comma, element, behind};
        behind = ant_grammar_sequence(r->grammar, i ? nodes : nodes + 1, i ? 3 : 2);
        if (i >= min)
            behind = ant_grammar_repeat(r->grammar, behind, 0, 1, ANT_NO_NODE);
    }
    *out = behind;
    return 0;
}

static int read_array(struct reader *r, const json_t *schema, uint32_t *out)
{
    const json_t *items = json_object_get(schema, "items");
    const json_t *prefix = json_object_get(schema, "prefixItems");
    const char *keyword = items ? "items" : "unevaluatedItems"; /* where both mean the same */
    uint32_t rest = ANT_NO_NODE, content = ANT_NO_NODE;
    int32_t min, max;

    ANT_TRY(read_range(r, schema, "minItems", "maxItems", &min, &max));
    if (json_is_array(items))
        return fail(r, ANT_EUNSUPP, "items is a list: write prefixItems");
    if (prefix && !json_is_array(prefix))
        return fail(r, ANT_EDATA, "prefixItems is no list");
    items = json_object_get(schema, keyword);
    if (items && !json_is_false(items))
        ANT_TRY(read_under(r, keyword, NULL, items, &rest));
    if (!items && !prefix)
        rest = ant_json_value(&r->parts);
    if (prefix && json_array_size(prefix) > 0)
        ANT_TRY(read_tuple(r, "prefixItems", prefix, rest, min, max, &content));
    else if (rest == ANT_NO_NODE && min > 0)
        return fail(r, ANT_EDATA, "minItems is more than there may be items");
    else
        content = ant_json_elements(&r->parts, rest, min, rest == ANT_NO_NODE ? 0 : max);
    *out = ant_json_brackets(&r->parts, "[]", content);
    return 0;
}

/* ---- any of several -------------------------------------------------------------------------- */

static int read_alternatives(struct reader *r, const char *keyword, const json_t *list,
                             uint32_t *out)
{
    size_t n = json_array_size(list), i;
    uint32_t *ways = ant_xcalloc(n + 1, sizeof(*ways));
    const json_t *item;
    int rc = 0;

    if (n == 0)
        rc = fail(r, ANT_EDATA, "%s must be a list of at least one schema", keyword);
    else if (strcmp(keyword, "allOf") == 0 && n > 1)
        rc = fail(r, ANT_EUNSUPP, "allOf of more than one schema cannot be met");
    for (i = 0; i < n && rc == 0; i++) {
        item = json_array_get(list, i);
        rc = read_nth(r, keyword, i, item, &ways[i]);
    }
    if (rc == 0)
        *out = ant_grammar_any(r->grammar, ways, n);
    free(ways);
    return rc;
}

static int type_of(const json_t *value)
{
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        return IS_OBJECT;
    case JSON_ARRAY:
        return IS_ARRAY;
    case JSON_STRING:
        return IS_STRING;
    case JSON_INTEGER:
        return IS_NUMBER | IS_INTEGER;
    case JSON_REAL:
        return json_real_value(value) == floor(json_real_value(value)) ? IS_NUMBER | IS_INTEGER
                                                                       : IS_NUMBER;
    case JSON_NULL:
        return IS_NULL;
    default:
        return IS_BOOLEAN;
    }
}

/* The values of `enum` or `const` that are of the types. */
static int read_values(struct reader *r, const json_t *schema, int types, uint32_t *out)
{
    const json_t *constant = json_object_get(schema, "const"),
                 *list = json_object_get(schema, "enum");
    size_t n = constant ? 1 : json_array_size(list), n_words = 0, n_ways = 0;
    struct ant_word *words = ant_xcalloc(n + 1, sizeof(*words));
    uint32_t *ways = ant_xcalloc(n + 1, sizeof(*ways));

    for (size_t i = 0; i < n; i++) {
        const json_t *value = constant ? constant : json_array_get(list, i);
        int type = type_of(value);
        if (type & types & (IS_OBJECT | IS_ARRAY)) {
            ways[n_ways++] = ant_json_exactly(&r->parts, value);
        } else if (type & types) {
            const char *text = ant_json_scalar(value);
            words[n_words++] = (struct ant_word){text, strlen(text)};
        }
    }
    ways[n_ways] = ant_grammar_words(r->grammar, words, n_words);
    *out = ant_grammar_any(r->grammar, ways, n_ways + (n_words > 0));
    for (size_t i = 0; i < n_words; i++)
        free((char *)words[i].text);
    free(words);
    free(ways);
    if (constant && list)
        return fail(r, ANT_EUNSUPP, "const beside enum");
    return n_words + n_ways > 0
               ? 0
               : fail(r, ANT_EDATA, "%s has no value of the type", constant ? "const" : "enum");
}

/* ---- a schema -------------------------------------------------------------------------------- */

static const struct keyword *find_keyword(const char *name)
{
    for (size_t i = 0; i < sizeof(keywords) / sizeof(*keywords); i++)
        if (strcmp(keywords[i].name, name) == 0)
            return &keywords[i];
    return NULL;
}

/* Does the value of a keyword of such a use ask for nothing? */
static bool asks_nothing(int use, const json_t *value)
{
    bool is_empty = (json_is_object(value) && json_object_size(value) == 0) ||
                    (json_is_array(value) && json_array_size(value) == 0);

    return (use & (IS_OFF | IS_SWITCH) && json_is_false(value)) ||
           (use & (IS_OFF | IS_TEST) && is_empty) || (use & IS_TEST && json_is_true(value));
}

/* Every keyword is known, and they can be met together. Returns what they are for, as bits. */
static int check_keywords(struct reader *r, const json_t *schema)
{
    const char *name, *whole = NULL, *other = NULL;
    int uses = 0;
    json_t *value;

    json_object_foreach((json_t *)schema, name, value)
    {
        const struct keyword *keyword = find_keyword(name);
        int use = keyword ? keyword->use : strncmp(name, "x-", 2) == 0 ? SAYS_NOTHING : IS_OFF;
        bool is_refused = use >= IS_REFUSED;
        if (is_refused && !asks_nothing(use, value))
            return fail(r, ANT_EUNSUPP, "'%.60s' cannot be met", name);
        if (is_refused || use == SAYS_NOTHING)
            continue;
        uses |= use;
        if (use == SAYS_ALL && !whole)
            whole = name;
        else
            other = name;
    }
    if (whole && other)
        return fail(r, ANT_EUNSUPP, "'%s' beside '%.60s' cannot be met", whole, other);
    if (uses & SAYS_VALUES && uses & 255)
        return fail(r, ANT_EUNSUPP, "'%s' beside what bounds values cannot be met",
                    json_object_get(schema, "const") ? "const" : "enum");
    return uses;
}

static int read_type(struct reader *r, const json_t *value)
{
    const char *name = json_string_value(value);

    for (size_t i = 0; name && i < sizeof(type_names) / sizeof(*type_names); i++)
        if (strcmp(type_names[i], name) == 0)
            return 1 << i;
    return fail(r, ANT_EDATA, "type '%.60s' is none", name ? name : "");
}

/* The types that a value may have. Where none is named, those that other keywords are about. */
static int read_types(struct reader *r, const json_t *schema, int uses)
{
    const json_t *value = json_object_get(schema, "type"), *item;
    int types = 0, one;
    size_t i;

    if (value && !json_is_array(value)) {
        ANT_TRY(types = read_type(r, value));
    }
    json_array_foreach(value, i, item)
    {
        ANT_TRY(one = read_type(r, item));
        types |= one;
    }
    if (value && types == 0)
        return fail(r, ANT_EDATA, "type is an empty list");
    if (!value)
        types = uses & 255 ? uses & 255 : IS_ANYTHING;
    return types | (json_is_true(json_object_get(schema, "nullable")) ? IS_NULL : 0);
}

static int read_of_type(struct reader *r, const json_t *schema, int type, uint32_t *out)
{
    switch (type) {
    case IS_OBJECT:
        return read_object(r, schema, out);
    case IS_ARRAY:
        return read_array(r, schema, out);
    case IS_STRING:
        return read_string(r, schema, out);
    case IS_NUMBER:
    case IS_INTEGER:
        return read_number(r, schema, type == IS_INTEGER, out);
    case IS_BOOLEAN:
        *out = ant_grammar_any(r->grammar,
                               (uint32_t[]){ant_grammar_bytes(r->grammar, "true", 4),
                                            ant_grammar_bytes(r->grammar, "false", 5)},
                               2);
        return 0;
    default:
        *out = ant_grammar_bytes(r->grammar, "null", 4);
        return 0;
    }
}

static int read_typed(struct reader *r, const json_t *schema, int uses, uint32_t *out)
{
    uint32_t ways[sizeof(type_names) / sizeof(*type_names)];
    size_t n = 0;
    int types;

    ANT_TRY(types = read_types(r, schema, uses));
    if (uses & SAYS_VALUES)
        return read_values(r, schema, types, out);
    if (uses == 0) {
        *out = ant_json_value(&r->parts);
        return 0;
    }
    if (types & IS_NUMBER)
        types &= ~IS_INTEGER;
    for (int type = 1; type <= IS_NULL; type <<= 1)
        if (types & type)
            ANT_TRY(read_of_type(r, schema, type, &ways[n++]));
    *out = ant_grammar_any(r->grammar, ways, n);
    return 0;
}

static int read_whole(struct reader *r, const json_t *schema, uint32_t *out)
{
    static const char *const lists[] = {"anyOf", "oneOf", "allOf"};
    const json_t *reference = json_object_get(schema, "$ref");

    if (reference)
        return read_reference(r, reference, out);
    for (size_t i = 0; i < sizeof(lists) / sizeof(*lists); i++) {
        const json_t *list = json_object_get(schema, lists[i]);
        if (list)
            return read_alternatives(r, lists[i], list, out);
    }
    return 0;
}

static int read_schema(struct reader *r, const json_t *schema, uint32_t *out)
{
    int rc = 0, uses;

    if (json_is_true(schema)) {
        *out = ant_json_value(&r->parts);
        return 0;
    }
    if (json_is_false(schema)) {
        *out = ant_grammar_any(r->grammar, NULL, 0);
        return 0;
    }
    if (!json_is_object(schema))
        return fail(r, ANT_EDATA, "a schema must be an object, true or false");
    if (r->depth == DEEPEST)
        return fail(r, ANT_EUNSUPP, "more than %d schemas in schemas", DEEPEST);
    ANT_TRY(uses = check_keywords(r, schema));
    r->depth++;
    rc = uses & SAYS_ALL ? read_whole(r, schema, out) : read_typed(r, schema, uses, out);
    r->depth--;
    return rc;
}

/* What was referred to, until nothing new is. */
static int define_targets(struct reader *r)
{
    uint32_t node = ANT_NO_NODE;

    for (size_t i = 0; i < r->n_targets; i++) {
        r->path.len = 0;
        ant_buf_printf(&r->path, "%s", r->targets[i].path);
        ANT_TRY(read_schema(r, r->targets[i].schema, &node));
        ant_grammar_define(r->grammar, r->targets[i].rule, node);
    }
    return 0;
}

int ant_grammar_read_schema(struct ant_grammar *grammar, const char *text, size_t bytes,
                            uint32_t *out, struct ant_error *err)
{
    struct reader r = {.grammar = grammar, .parts = ant_json_parts_of(grammar), .err = err};
    json_error_t why;

    if (bytes > LONGEST)
        return ant_fail(err, ANT_EUNSUPP, "longer than %d bytes", LONGEST);
    r.root = json_loadb(text, bytes, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &why);
    if (!r.root)
        return ant_fail(err, ANT_EDATA, "no JSON at line %d, column %d: %.120s", why.line,
                        why.column, why.text);
    ant_buf_printf(&r.path, "#");
    int rc = read_schema(&r, r.root, out);
    if (rc == 0)
        rc = define_targets(&r);
    for (size_t i = 0; i < r.n_targets; i++)
        free(r.targets[i].path);
    free(r.targets);
    ant_buf_release(&r.path);
    json_decref(r.root);
    return rc;
}
