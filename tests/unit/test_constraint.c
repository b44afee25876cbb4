/* SPDX-License-Identifier: Apache-2.0 */
/* Answers under constraints: texts drawn from schemas are JSON that satisfies them, by a reader and
 * a validator that know nothing of grammars; the mask of every place is what each token by itself
 * says, for byte-level vocabularies and for those that fall back to bytes; what is refused. */
#include "config.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include <cmocka.h>
#include <jansson.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "fixture.h"
#include "text/constraint.h"
#include "text/grammar_read.h"
#include "text/unicode.h"

static uint32_t random_state;

static int random_below(int n)
{
    random_state = random_state * 1664525u + 1013904223u;
    return (int)((random_state >> 8) % (uint32_t)n);
}

/* ---- a validator ----------------------------------------------------------------------------- */

static bool is_valid(const json_t *root, const json_t *schema, const json_t *value);

static bool has_type(const json_t *value, const char *type)
{
    double number = json_number_value(value);

    return strcmp(type, "object") == 0    ? json_is_object(value)
           : strcmp(type, "array") == 0   ? json_is_array(value)
           : strcmp(type, "string") == 0  ? json_is_string(value)
           : strcmp(type, "number") == 0  ? json_is_number(value)
           : strcmp(type, "integer") == 0 ? json_is_number(value) && number == floor(number)
           : strcmp(type, "boolean") == 0 ? json_is_boolean(value)
                                          : json_is_null(value);
}

static bool finds(const char *pattern, const char *text, size_t bytes)
{
    int number;
    size_t at;
    pcre2_code *code = pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED,
                                     PCRE2_UTF | PCRE2_DOLLAR_ENDONLY, &number, &at, NULL);
    pcre2_match_data *match = pcre2_match_data_create_from_pattern(code, NULL);
    int rc = pcre2_match(code, (PCRE2_SPTR)text, bytes, 0, 0, match, NULL);

    pcre2_match_data_free(match);
    pcre2_code_free(code);
    return rc > 0;
}

static size_t count_characters(const json_t *string)
{
    const char *text = json_string_value(string);
    size_t n = 0, bytes = json_string_length(string);

    for (size_t i = 0; i < bytes; i += ant_utf8_length((unsigned char)text[i]))
        n++;
    return n;
}

/* A bound of the schema, where there is one. */
static bool is_within(const json_t *schema, const char *name, double x, int sign, bool is_open)
{
    const json_t *bound = json_object_get(schema, name);
    double limit = json_number_value(bound);

    return !json_is_number(bound) || (is_open ? sign * x > sign * limit : sign * x >= sign * limit);
}

static bool is_valid_object(const json_t *root, const json_t *schema, const json_t *value)
{
    const json_t *properties = json_object_get(schema, "properties"), *item;
    const json_t *additional = json_object_get(schema, "additionalProperties");
    const char *name;
    json_t *member;
    size_t i;

    json_array_foreach(json_object_get(schema, "required"), i, item)
    {
        if (!json_object_get(value, json_string_value(item)))
            return false;
    }
    json_object_foreach((json_t *)value, name, member)
    {
        const json_t *own = json_object_get(properties, name);
        own = own ? own : additional;
        if (own && !is_valid(root, own, member))
            return false;
    }
    double n = (double)json_object_size(value);
    return is_within(schema, "minProperties", n, 1, false) &&
           is_within(schema, "maxProperties", n, -1, false);
}

static bool is_valid_array(const json_t *root, const json_t *schema, const json_t *value)
{
    const json_t *prefix = json_object_get(schema, "prefixItems");
    const json_t *items = json_object_get(schema, "items"), *item;
    size_t i;

    json_array_foreach(value, i, item)
    {
        const json_t *own = i < json_array_size(prefix) ? json_array_get(prefix, i) : items;
        if (own && !is_valid(root, own, item))
            return false;
    }
    return is_within(schema, "minItems", (double)json_array_size(value), 1, false) &&
           is_within(schema, "maxItems", (double)json_array_size(value), -1, false);
}

static bool is_valid_string(const json_t *schema, const json_t *value)
{
    const char *pattern = json_string_value(json_object_get(schema, "pattern"));
    double n = (double)count_characters(value);

    return is_within(schema, "minLength", n, 1, false) &&
           is_within(schema, "maxLength", n, -1, false) &&
           (!pattern || finds(pattern, json_string_value(value), json_string_length(value)));
}

static bool is_one_of(const json_t *root, const json_t *list, const json_t *value)
{
    const json_t *item;
    size_t i;

    json_array_foreach(list, i, item)
    {
        if (is_valid(root, item, value))
            return true;
    }
    return !list;
}

static bool is_equal_to_one(const json_t *list, const json_t *value)
{
    const json_t *item;
    size_t i;

    json_array_foreach(list, i, item)
    {
        if (json_equal(item, value))
            return true;
    }
    return !list;
}

static bool is_of_type(const json_t *schema, const json_t *value)
{
    const json_t *type = json_object_get(schema, "type"), *item;
    size_t i;

    json_array_foreach(type, i, item)
    {
        if (has_type(value, json_string_value(item)))
            return true;
    }
    return !type || (json_is_string(type) && has_type(value, json_string_value(type)));
}

static bool is_valid(const json_t *root, const json_t *schema, const json_t *value)
{
    const char *reference = json_string_value(json_object_get(schema, "$ref"));
    const json_t *constant = json_object_get(schema, "const");
    double x = json_number_value(value);

    if (!json_is_object(schema))
        return json_is_true(schema);
    if (reference && strncmp(reference, "#/$defs/", 8) == 0)
        schema = json_object_get(json_object_get(root, "$defs"), reference + 8);
    else if (reference)
        schema = root;
    if (reference)
        return is_valid(root, schema, value);
    if (!is_of_type(schema, value) || (constant && !json_equal(constant, value)) ||
        !is_equal_to_one(json_object_get(schema, "enum"), value) ||
        !is_one_of(root, json_object_get(schema, "anyOf"), value) ||
        !is_one_of(root, json_object_get(schema, "oneOf"), value) ||
        !is_one_of(root, json_object_get(schema, "allOf"), value))
        return false;
    if (json_is_object(value))
        return is_valid_object(root, schema, value);
    if (json_is_array(value))
        return is_valid_array(root, schema, value);
    if (json_is_string(value))
        return is_valid_string(schema, value);
    return !json_is_number(value) || (is_within(schema, "minimum", x, 1, false) &&
                                      is_within(schema, "maximum", x, -1, false) &&
                                      is_within(schema, "exclusiveMinimum", x, 1, true) &&
                                      is_within(schema, "exclusiveMaximum", x, -1, true));
}

/* ---- texts of schemas ------------------------------------------------------------------------ */

static int try_schema(const char *text, struct ant_program *out, struct ant_error *err)
{
    struct ant_grammar *grammar = ant_grammar_open();
    uint32_t root = ANT_NO_NODE;
    int rc = ant_grammar_read_schema(grammar, text, strlen(text), &root, err);

    if (rc == 0)
        rc = ant_grammar_compile(grammar, root, out, err);
    ant_grammar_close(grammar);
    return rc;
}

/* Bytes that lead on, those that tend to an end more often. */
static bool draw_text(struct ant_automaton *automaton, struct ant_buf *out, size_t most)
{
    uint32_t state = ant_automaton_start(automaton);

    for (out->len = 0; out->len < most;) {
        uint8_t bytes[1024];
        int n = 0;
        if (ant_automaton_is_final(automaton, state) ||
            (ant_automaton_accepts(automaton, state) && random_below(4) == 0))
            return true;
        for (int byte = 0; byte < 256; byte++) {
            if (ant_automaton_next(automaton, state, (uint8_t)byte) == ANT_DEAD)
                continue;
            bool is_likely = strchr("\"]},:0123abc", byte) != NULL;
            for (int times = is_likely && byte ? 4 : 1; times > 0 && n < 1024; times--)
                bytes[n++] = (uint8_t)byte;
            if (byte == '"' || byte == ']' || byte == '}')
                for (int times = 0; times < 40 && n < 1024; times++)
                    bytes[n++] = (uint8_t)byte;
        }
        assert_true(n > 0);
        uint8_t byte = bytes[random_below(n)];
        ant_buf_add(out, &byte, 1);
        state = ant_automaton_next(automaton, state, byte);
    }
    return false;
}

static const char *const schemas[] = {
    "{}",
    "true",
    "{\"type\": \"object\"}",
    "{\"type\": \"object\", \"minProperties\": 1, \"maxProperties\": 3}",
    "{\"type\": \"array\"}",
    "{\"type\": \"array\", \"items\": {\"type\": \"integer\"}, \"minItems\": 2, \"maxItems\": 4}",
    "{\"type\": \"array\", \"items\": {\"type\": \"boolean\"}, \"maxItems\": 0}",
    "{\"type\": [\"string\", \"null\"], \"maxLength\": 3}",
    "{\"type\": \"string\", \"minLength\": 2, \"maxLength\": 200}",
    "{\"type\": \"string\", \"pattern\": \"^[a-z\\\"\\\\\\\\\\\\n]{2,5}$\"}",
    "{\"type\": \"string\", \"pattern\": \"ab|^c|d$\"}",
    "{\"type\": \"string\", \"pattern\": \".\\\\d[^x]\"}",
    "{\"enum\": [\"a\", \"ab\", \"\\u00e9\\\"\", 1, 2.5, null, true, [1, {\"b\": []}]]}",
    "{\"type\": \"string\", \"enum\": [\"a\", 1, \"b\"]}",
    "{\"const\": {\"x\": [1, 2]}}",
    "{\"type\": \"integer\", \"minimum\": -12, \"maximum\": 345}",
    "{\"type\": \"integer\", \"minimum\": 7}",
    "{\"type\": \"integer\", \"maximum\": -1000}",
    "{\"type\": \"integer\", \"exclusiveMinimum\": 99, \"exclusiveMaximum\": 101}",
    "{\"type\": \"integer\", \"minimum\": 98, \"maximum\": 1002}",
    "{\"type\": \"number\", \"minimum\": 0, \"maximum\": 1}",
    "{\"type\": \"number\", \"exclusiveMinimum\": 0, \"exclusiveMaximum\": 1}",
    "{\"type\": \"number\", \"minimum\": -2.75, \"maximum\": 13.25}",
    "{\"type\": \"number\", \"minimum\": 0.125, \"maximum\": 0.25}",
    "{\"type\": \"number\", \"exclusiveMaximum\": -0.5}",
    "{\"type\": \"number\", \"minimum\": 99.5, \"exclusiveMaximum\": 1000}",
    "{\"type\": \"number\"}",
    "{\"type\": \"object\", \"properties\": {\"a\": {\"type\": \"integer\"}, \"b\\\"\": {\"type\": "
    "\"boolean\"}, \"c\": {\"type\": \"null\"}}, \"required\": [\"b\\\"\"], "
    "\"additionalProperties\": false}",
    "{\"type\": \"object\", \"properties\": {\"a\": {\"type\": \"integer\"}, \"ab\": {\"type\": "
    "\"boolean\"}, \"\\u00e9\": {\"type\": \"null\"}}, \"additionalProperties\": {\"type\": "
    "\"string\"}}",
    "{\"type\": \"object\", \"properties\": {\"a\": {}}, \"required\": [\"z\", \"a\"]}",
    "{\"type\": \"object\", \"additionalProperties\": {\"type\": \"integer\"}, \"minProperties\": "
    "1}",
    "{\"type\": \"array\", \"prefixItems\": [{\"type\": \"string\"}, {\"type\": \"integer\"}], "
    "\"items\": {\"type\": \"boolean\"}, \"minItems\": 1, \"maxItems\": 4}",
    "{\"type\": \"array\", \"prefixItems\": [{\"type\": \"null\"}, {\"type\": \"integer\"}], "
    "\"items\": false}",
    "{\"anyOf\": [{\"type\": \"integer\"}, {\"type\": \"array\", \"items\": {\"$ref\": \"#\"}}]}",
    "{\"oneOf\": [{\"$ref\": \"#/$defs/a\"}, {\"$ref\": \"#/$defs/b\"}], \"$defs\": {\"a\": "
    "{\"type\": \"object\", \"properties\": {\"next\": {\"anyOf\": [{\"$ref\": \"#/$defs/b\"}, "
    "{\"type\": \"null\"}]}}, \"required\": [\"next\"]}, \"b\": {\"type\": \"array\", \"items\": "
    "{\"$ref\": \"#/$defs/a\"}, \"maxItems\": 2}}}",
    "{\"allOf\": [{\"type\": \"string\", \"format\": \"date\"}], \"title\": \"t\", \"x-y\": 1}",
};

static void texts_of_schemas_satisfy_them(void **state)
{
    struct ant_buf text = {0};
    int n_done = 0;

    (void)state;
    random_state = 1;
    for (size_t i = 0; i < sizeof(schemas) / sizeof(*schemas); i++) {
        json_t *schema = json_loads(schemas[i], JSON_DECODE_ANY, NULL);
        struct ant_program program;
        struct ant_error err;
        if (try_schema(schemas[i], &program, &err) < 0)
            fail_msg("%s: %s", schemas[i], err.text);
        struct ant_automaton *automaton = ant_automaton_open(&program);
        for (int k = 0; k < 150; k++) {
            if (!draw_text(automaton, &text, 3000))
                continue;
            json_error_t why;
            json_t *value = json_loadb(text.data, text.len, JSON_DECODE_ANY | JSON_ALLOW_NUL, &why);
            if (!value)
                fail_msg("%s: '%.*s' is no JSON: %s", schemas[i], (int)text.len, text.data,
                         why.text);
            if (!is_valid(schema, schema, value))
                fail_msg("%s: '%.*s' does not satisfy it", schemas[i], (int)text.len, text.data);
            json_decref(value);
            n_done++;
        }
        ant_automaton_close(automaton);
        ant_program_release(&program);
        json_decref(schema);
    }
    ant_buf_release(&text);
    assert_true(n_done > 100 * (int)(sizeof(schemas) / sizeof(*schemas)));
}

/* What is JSON, of the schema, and not odd, is let through. */
static void usual_json_is_possible(void **state)
{
    static const struct {
        const char *schema, *text;
        bool is_possible;
    } cases[] = {
        {"{}", "{\"a\": [1, 2.5e-3, {\"b\": null}], \"\": \"x\\u00e9\\n\"}", true},
        {"{}", "{\n    \"a\": [\n        1,\n        2\n    ],\n    \"b\": {}\n}", true},
        {"{}", "{\"a\":[1,2],\"b\":{}}", true},
        {"{}", "{\n\t\"a\": 1\n}", true},
        {"{}", "[\"\\ud83d\\ude00\"]", true},
        {"{}", "[\"\\ud83d\"]", false},
        {"{}", "[01]", false},
        {"{}", "{\"a\" 1}", false},
        {"{}", "[1,]", false},
        {"{\"type\": \"object\"}", "[]", false},
        {"{\"type\": \"integer\", \"minimum\": -5, \"maximum\": 5}", "-5", true},
        {"{\"type\": \"integer\", \"minimum\": -5, \"maximum\": 5}", "-6", false},
        {"{\"type\": \"integer\", \"minimum\": -5, \"maximum\": 5}", "0", true},
        {"{\"type\": \"number\", \"minimum\": 0.5, \"maximum\": 10}", "0.5", true},
        {"{\"type\": \"number\", \"minimum\": 0.5, \"maximum\": 10}", "0.50", true},
        {"{\"type\": \"number\", \"minimum\": 0.5, \"maximum\": 10}", "0.499", false},
        {"{\"type\": \"number\", \"minimum\": 0.5, \"maximum\": 10}", "10.0", true},
        {"{\"type\": \"number\", \"minimum\": 0.5, \"maximum\": 10}", "10.01", false},
        {"{\"type\": \"number\", \"minimum\": 0.5, \"maximum\": 10}", "7.25", true},
        {"{\"type\": \"number\", \"minimum\": -1, \"maximum\": -0.25}", "-0.3", true},
        {"{\"type\": \"number\", \"minimum\": -1, \"maximum\": -0.25}", "-0.2", false},
        {"{\"type\": \"string\", \"format\": \"date-time\"}", "\"2026-02-28T23:59:59Z\"", true},
        {"{\"type\": \"string\", \"format\": \"date\"}", "\"2026-02-30\"", false},
        {"{\"type\": \"string\", \"format\": \"date\"}", "\"2026-12-31\"", true},
        {"{\"type\": \"string\", \"format\": \"time\"}", "\"12:30:00.5+01:00\"", true},
        {"{\"type\": \"string\", \"format\": \"uuid\"}", "\"01234567-89ab-cdef-0123-456789abcdef\"",
         true},
        {"{\"type\": \"string\", \"format\": \"ipv4\"}", "\"192.168.255.1\"", true},
        {"{\"type\": \"string\", \"format\": \"ipv4\"}", "\"256.1.1.1\"", false},
        {"{\"type\": \"string\", \"format\": \"email\"}", "\"a.b@c.org\"", true},
        {"{\"type\": \"string\", \"format\": \"uri\"}", "\"https://a.org/b?c=d\"", true},
        {"{\"type\": \"string\", \"format\": \"ipv6\"}", "\"1:2:3:4:5:6:7:abcd\"", true},
        {"{\"type\": \"string\", \"format\": \"hostname\"}", "\"a-b.example\"", true},
        {"{\"type\": \"string\", \"format\": \"duration\"}", "\"P3D\"", true},
        {"{\"type\": \"object\", \"properties\": {\"a\": {}}, \"additionalProperties\": true}",
         "{\"a\": 1, \"b\": 2}", true},
        {"{\"type\": \"object\", \"properties\": {\"a\": {}}, \"additionalProperties\": true}",
         "{\"b\": 1, \"a\": 2}", false},
        {"{\"type\": \"object\", \"properties\": {\"a\": {}}, \"additionalProperties\": true}",
         "{\"b\": 1, \"\\u0061\": 2}", false},
        {"{\"minimum\": 3}", "3.5", true},
        {"{\"type\": \"integer\", \"minimum\": -0.5}", "0", true},
        {"{\"type\": \"integer\", \"minimum\": -0.5}", "-1", false},
        {"{\"type\": \"integer\", \"maximum\": -0.0}", "0", true},
        {"{\"type\": \"integer\", \"maximum\": -0.0}", "5", false},
        {"{\"enum\": [0.1, 1e-6, 42.871]}", "0.1", true},
        {"{\"enum\": [0.1, 1e-6, 42.871]}", "42.871", true},
        {"{\"type\": \"integer\", \"enum\": [1.0, 2.5]}", "1.0", true},
        {"{\"type\": \"integer\", \"enum\": [1.0, 2.5]}", "2.5", false},
        {"{\"const\": {\"x\": [1, 0.3], \"y\": {}}}", "{\"x\":[1,0.3],\"y\":{}}", true},
        {"{\"const\": {\"x\": [1, 0.3], \"y\": {}}}", "{\"x\": [1, 0.3], \"y\": {}}", true},
        {"{\"const\": {\"x\": [1, 0.3], \"y\": {}}}", "{\"y\": {}, \"x\": [1, 0.3]}", false},
        {"{\"type\": \"number\", \"exclusiveMinimum\": 1000000}", "1000000.000000001", true},
        {"{\"type\": \"number\", \"exclusiveMinimum\": 1000000}", "1000000.000000000000001", false},
        {"{\"type\": \"number\", \"exclusiveMaximum\": 1000}", "999.999999999999999", false},
        {"{\"type\": \"number\", \"maximum\": 1e14}", "281162.969296", true},
        {"{\"pattern\": \"^\\\\S$\"}", "\"a\"", true},
        {"{\"pattern\": \"^\\\\S$\"}", "\"\xc2\xa0\"", false},
        {"{\"type\": \"object\", \"unevaluatedProperties\": false}", "{}", true},
        {"{\"type\": \"object\", \"unevaluatedProperties\": false}", "{\"a\": 1}", false},
        {"{\"type\": \"array\", \"unevaluatedItems\": false}", "[]", true},
        {"{\"type\": \"array\", \"unevaluatedItems\": false}", "[1]", false},
        {"{\"type\": \"array\", \"prefixItems\": [{}], \"unevaluatedItems\": {\"type\": \"null\"}}",
         "[1, null]", true},
        {"{\"type\": \"null\", \"not\": false, \"propertyNames\": {}, \"then\": true}", "null",
         true},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        struct ant_program program;
        struct ant_error err;
        if (try_schema(cases[i].schema, &program, &err) < 0)
            fail_msg("%s: %s", cases[i].schema, err.text);
        struct ant_automaton *automaton = ant_automaton_open(&program);
        uint32_t at = ant_automaton_start(automaton);
        for (const char *c = cases[i].text; *c; c++)
            at = ant_automaton_next(automaton, at, (uint8_t)*c);
        if (ant_automaton_accepts(automaton, at) != cases[i].is_possible)
            fail_msg("%s: %s", cases[i].schema, cases[i].text);
        ant_automaton_close(automaton);
        ant_program_release(&program);
    }
}

static void what_cannot_be_met_is_named(void **state)
{
    static const struct {
        const char *schema, *why;
    } bad[] = {
        {"{", "no JSON at line 1, column 1: string or '}' expected near end of file"},
        {"[1]", "a schema must be an object, true or false at #"},
        {"false", "no text can match"},
        {"{\"type\": \"strin\"}", "type 'strin' is none at #"},
        {"{\"properties\": {\"a\": {\"not\": {\"type\": \"null\"}}}}",
         "'not' cannot be met at #/properties/a"},
        {"{\"type\": \"array\", \"items\": {\"multipleOf\": 3}}",
         "'multipleOf' cannot be met at #/items"},
        {"{\"type\": \"array\", \"uniqueItems\": true}", "'uniqueItems' cannot be met at #"},
        {"{\"not\": {}}", "'not' cannot be met at #"},
        {"{\"contains\": {}}", "'contains' cannot be met at #"},
        {"{\"contains\": false}", "'contains' cannot be met at #"},
        {"{\"propertyNames\": false}", "'propertyNames' cannot be met at #"},
        {"{\"if\": {}, \"then\": false}", "'then' cannot be met at #"},
        {"{\"if\": false, \"else\": false}", "'else' cannot be met at #"},
        {"{\"anyOf\": [{}], \"unevaluatedProperties\": false}",
         "'anyOf' beside 'unevaluatedProperties' cannot be met at #"},
        {"{\"anyOf\": [{\"type\": \"null\"}, {\"$ref\": \"#/$defs/x\"}]}",
         "$ref '#/$defs/x' leads nowhere at #/anyOf/1"},
        {"{\"$ref\": \"other.json\"}", "$ref 'other.json' is not to a part of this schema at #"},
        {"{\"$ref\": \"#\"}", "it refers to itself with nothing in between"},
        {"{\"$ref\": \"#/$defs/a\", \"$defs\": {\"a\": {\"anyOf\": [{\"type\": \"null\"}, "
         "{\"$ref\": \"#/$defs/b\"}]}, \"b\": {\"anyOf\": [{\"type\": \"object\", "
         "\"additionalProperties\": {\"$ref\": \"#/$defs/b\"}}, {\"$ref\": \"#/$defs/a\"}]}}}",
         "it refers to itself with nothing in between"},
        {"{\"$ref\": \"#/$defs/a\", \"$defs\": {\"a\": {\"type\": \"object\", \"properties\": "
         "{\"n\": {\"$ref\": \"#/$defs/a\"}}, \"required\": [\"n\"]}}}",
         "no text can match"},
        {"{\"$ref\": \"#/$defs/a\", \"minLength\": 3, \"$defs\": {\"a\": {}}}",
         "'$ref' beside 'minLength' cannot be met at #"},
        {"{\"allOf\": [{}, {}]}", "allOf of more than one schema cannot be met at #"},
        {"{\"enum\": []}", "enum has no value of the type at #"},
        {"{\"enum\": [\"a\"], \"minLength\": 2}",
         "'enum' beside what bounds values cannot be met at #"},
        {"{\"type\": \"string\", \"pattern\": \"(\"}",
         "pattern: at byte 0: a group that does not end: ')' is missing at #"},
        {"{\"type\": \"string\", \"pattern\": \"a\", \"maxLength\": 3}",
         "only one of pattern, format and a length can be met at #"},
        {"{\"type\": \"string\", \"format\": \"colour\"}", "format 'colour' is not known at #"},
        {"{\"type\": \"string\", \"minLength\": 3, \"maxLength\": 2}",
         "minLength is more than maxLength at #"},
        {"{\"type\": \"string\", \"minLength\": -1}", "minLength is no count at #"},
        {"{\"type\": \"integer\", \"minimum\": 3, \"maximum\": 2}", "no text can match"},
        {"{\"type\": \"number\", \"minimum\": 1e300}", "minimum is too large or too small at #"},
        {"{\"type\": \"object\", \"properties\": {}, \"required\": [\"a\"], "
         "\"additionalProperties\": false}",
         "'a' is required but no property at #"},
        {"{\"type\": \"object\", \"minProperties\": 2}",
         "minProperties above 1 cannot be met: names may be the same at #"},
        {"{\"minProperties\": 1, \"additionalProperties\": false}",
         "minProperties is more than there may be properties at #"},
        {"{\"type\": \"array\", \"items\": [{}]}", "items is a list: write prefixItems at #"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        struct ant_program program;
        struct ant_error err = {{0}};
        int rc = try_schema(bad[i].schema, &program, &err);
        assert_true(rc == ANT_EDATA || rc == ANT_EUNSUPP);
        assert_string_equal(err.text, bad[i].why);
    }
}

/* Depth, many names, many references: an error or a program, in a moment. */
static void hostile_schemas_end(void **state)
{
    struct ant_buf deep = {0}, wide = {0}, other = {0}, chain = {0};
    struct rusage used;
    struct ant_program program;
    struct ant_error err;

    (void)state;
    for (int i = 0; i < 1000; i++)
        ant_buf_printf(&deep, "{\"items\":");
    ant_buf_printf(&deep, "{}");
    for (int i = 0; i < 1000; i++)
        ant_buf_printf(&deep, "}");
    assert_int_equal(try_schema(deep.data, &program, &err), ANT_EUNSUPP);

    ant_buf_printf(&wide, "{\"type\": \"object\", \"properties\": {");
    for (int i = 0; i < 20000; i++)
        ant_buf_printf(&wide, "%s\"p%d\": {\"type\": \"integer\"}", i ? "," : "", i);
    ant_buf_printf(&wide, "}, \"additionalProperties\": true}");
    if (try_schema(wide.data, &program, &err) == 0) {
        struct ant_automaton *automaton = ant_automaton_open(&program);
        assert_int_not_equal(ant_automaton_start(automaton), ANT_DEAD);
        ant_automaton_close(automaton);
        ant_program_release(&program);
    }
    ant_buf_printf(&other, "{\"type\": \"object\", \"properties\": {");
    for (int i = 0; i < 2000; i++)
        ant_buf_printf(&other, "%s\"%d%0400d\": {}", i ? "," : "", i, i);
    ant_buf_printf(&other, "}, \"additionalProperties\": true}");
    assert_int_equal(try_schema(other.data, &program, &err), ANT_EUNSUPP);
    assert_non_null(strstr(err.text, "it is too long"));
    getrusage(RUSAGE_SELF, &used);
    assert_true(used.ru_maxrss < 1 << 20); /* KiB */
    ant_buf_printf(&chain, "{\"$ref\": \"#/$defs/0\", \"$defs\": {");
    for (int i = 0; i < 4000; i++)
        ant_buf_printf(&chain,
                       "\"%d\": {\"anyOf\": [{\"$ref\": \"#/$defs/%d\"}, {\"$ref\": "
                       "\"#/$defs/%d\"}]},",
                       i, i + 1, i + 1);
    ant_buf_printf(&chain, "\"4000\": {\"type\": \"null\"}}}");
    assert_int_equal(try_schema(chain.data, &program, &err), 0);
    ant_program_release(&program);
    chain.len = 0;
    ant_buf_printf(&chain, "{\"$ref\": \"#/$defs/0\", \"$defs\": {");
    for (int i = 0; i < 4000; i++)
        ant_buf_printf(&chain, "\"%d\": {\"items\": {\"$ref\": \"#/$defs/%d\"}, \"minItems\": 1},",
                       i, i + 1);
    ant_buf_printf(&chain, "\"4000\": {\"type\": \"null\"}}}");
    assert_int_equal(try_schema(chain.data, &program, &err), 0);
    ant_program_release(&program);
    ant_buf_release(&deep);
    ant_buf_release(&wide);
    ant_buf_release(&other);
    ant_buf_release(&chain);
}

/* ---- masks ----------------------------------------------------------------------------------- */

/* One constraint twice: as the engine has it, and as an automaton that is asked token by token. */
struct twin {
    struct ant_constraint *constraint;
    struct ant_program program;
    struct ant_automaton *automaton;
    uint32_t at;
};

static void open_twin(struct twin *twin, enum ant_constraint_kind kind, const char *text,
                      const struct ant_token_tree *tree)
{
    struct ant_grammar *grammar = ant_grammar_open();
    uint32_t root = ANT_NO_NODE;
    struct ant_error err;

    if (ant_constraint_open(&twin->constraint, kind, text, strlen(text), tree, &err) < 0)
        fail_msg("%s", err.text);
    if (kind == ANT_CONSTRAINT_REGEX)
        ant_grammar_read_regex(grammar, text, strlen(text), ANT_REGEX_TEXT, &root, &err);
    else
        ant_grammar_read_schema(grammar, text, strlen(text), &root, &err);
    assert_int_equal(ant_grammar_compile(grammar, root, &twin->program, &err), 0);
    ant_grammar_close(grammar);
    twin->automaton = ant_automaton_open(&twin->program);
    twin->at = ant_automaton_start(twin->automaton);
}

static uint32_t behind(const struct twin *twin, const struct ant_token_tree *tree, int32_t id,
                       bool is_first)
{
    size_t bytes;
    const char *text = ant_token_tree_bytes(tree, id, is_first, &bytes);
    uint32_t at = twin->at;

    for (size_t i = 0; i < bytes; i++)
        at = ant_automaton_next(twin->automaton, at, (uint8_t)text[i]);
    return bytes ? at : ANT_DEAD;
}

static bool is_set(const uint64_t *mask, int32_t id)
{
    return mask[id / 64] >> (id % 64) & 1;
}

/* One answer of random tokens; every mask on the way is checked for every id. */
static void check_answer(struct twin *twin, const struct ant_tokenizer *tokenizer,
                         const struct ant_token_tree *tree, int n_ids, int32_t eos)
{
    struct ant_constraint_place place = {0};
    struct ant_ids output = {0};
    struct ant_buf text = {0};
    struct ant_error err;
    int rc = 0;

    twin->at = ant_automaton_start(twin->automaton);
    while (rc == 0 && output.len < 60) {
        const uint64_t *mask =
            ant_constraint_mask(twin->constraint, &place, output.data, output.len);
        int32_t some[64], chosen = -1;
        int n = 0;
        assert_non_null(mask);
        for (int32_t id = 0; id < n_ids; id++) {
            bool is_end = id == eos;
            bool expected = is_end ? ant_automaton_accepts(twin->automaton, twin->at)
                                   : behind(twin, tree, id, output.len == 0) != ANT_DEAD;
            if (is_set(mask, id) != expected)
                fail_msg("id %d behind %zu tokens", id, output.len);
            if (expected && random_below(++n) < 64)
                some[n <= 64 ? n - 1 : random_below(64)] = id;
        }
        assert_true(n > 0);
        chosen = some[random_below(n < 64 ? n : 64)];
        ant_ids_add(&output, chosen);
        if (chosen == eos)
            break;
        twin->at = behind(twin, tree, chosen, output.len == 1);
        rc = ant_constraint_follow(twin->constraint, &place, output.data, output.len, &err);
        assert_true(rc >= 0);
        assert_int_equal(rc, ant_automaton_is_final(twin->automaton, twin->at));
    }
    /* The text that a reader of the answer sees is what was followed. */
    ant_tokenizer_decode(tokenizer, output.data, output.len, true, &text);
    uint32_t at = ant_automaton_start(twin->automaton);
    bool is_whole = rc == 1 || output.data[output.len - 1] == eos;
    for (size_t i = 0; i < text.len && is_whole; i++)
        at = ant_automaton_next(twin->automaton, at, (uint8_t)text.data[i]);
    if (is_whole)
        assert_true(ant_automaton_accepts(twin->automaton, at));
    ant_ids_release(&output);
    ant_buf_release(&text);
}

static void check_masks(const struct ant_tokenizer *tokenizer)
{
    static const struct {
        enum ant_constraint_kind kind;
        const char *text;
    } all[] = {
        {ANT_CONSTRAINT_REGEX, "(a|b|the )*c?"},
        {ANT_CONSTRAINT_REGEX, "[^x]{3,70}"},
        {ANT_CONSTRAINT_REGEX, "\\w+( \\w+){0,30}\\."},
        {ANT_CONSTRAINT_REGEX, "(\xc3\xa9|\xe4\xb8\xad|[a-z ]){1,200}"},
        {ANT_CONSTRAINT_SCHEMA, "{}"},
        {ANT_CONSTRAINT_SCHEMA,
         "{\"type\": \"object\", \"properties\": {\"a\": {\"type\": \"string\", \"maxLength\": "
         "40}, \"n\": {\"type\": \"integer\"}, \"t\": {\"$ref\": \"#\"}}, \"required\": [\"a\"]}"},
    };
    int n_ids = ant_tokenizer_size(tokenizer) + 5; /* a model may have rows for more */
    int32_t eos = ant_tokenizer_eos(tokenizer) >= 0 ? ant_tokenizer_eos(tokenizer) : 0;
    struct ant_token_tree *tree = ant_token_tree_open(tokenizer, n_ids, &eos, 1);

    for (size_t i = 0; i < sizeof(all) / sizeof(*all); i++) {
        struct twin twin;
        open_twin(&twin, all[i].kind, all[i].text, tree);
        for (int k = 0; k < 6; k++)
            check_answer(&twin, tokenizer, tree, n_ids, eos);
        ant_constraint_release(twin.constraint);
        ant_automaton_close(twin.automaton);
        ant_program_release(&twin.program);
    }
    ant_token_tree_close(tree);
}

static void masks_are_what_each_token_says(void **state)
{
    static const char *const names[] = {
        "tests/golden/tiny/llama/tokenizer.json", "tests/golden/tiny/gemma2/tokenizer.json",
        "tests/golden/text/bpe.model", "tests/golden/text/unigram-bytes.model"};

    (void)state;
    random_state = 4;
    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
        struct ant_tokenizer *tokenizer;
        struct ant_error err;
        char *path = source_path(names[i]);
        int rc = strstr(path, ".json") ? ant_tokenizer_open_json(&tokenizer, path, &err)
                                       : ant_tokenizer_open_model(&tokenizer, path, &err);
        if (rc < 0)
            fail_msg("%s", err.text);
        check_masks(tokenizer);
        ant_tokenizer_close(tokenizer);
        free(path);
    }
}

/* A set of states beyond any bound: the answer ends with the reason, others go on. */
static void too_complicated_constraints_are_given_up(void **state)
{
    static const char hard[] = "(.*a.{0,9000}b.{0,9000}){2}";
    char *path = source_path("tests/golden/tiny/llama/tokenizer.json");
    struct ant_tokenizer *tokenizer;
    struct ant_constraint *constraint;
    struct ant_constraint_place place = {0};
    struct ant_ids output = {0};
    struct ant_error err = {{0}};
    int rc = 0;

    (void)state;
    random_state = 5;
    assert_int_equal(ant_tokenizer_open_json(&tokenizer, path, &err), 0);
    struct ant_token_tree *tree =
        ant_token_tree_open(tokenizer, ant_tokenizer_size(tokenizer), NULL, 0);
    assert_int_equal(
        ant_constraint_open(&constraint, ANT_CONSTRAINT_REGEX, hard, strlen(hard), tree, &err), 0);
    while (rc == 0 && output.len < 20000) {
        const char *word = random_below(2) ? "a" : "b";
        struct ant_ids one = {0};
        assert_int_equal(ant_tokenizer_encode(tokenizer, word, 1, false, &one, &err), 0);
        ant_ids_append(&output, one.data, one.len);
        ant_ids_release(&one);
        ant_constraint_mask(constraint, &place, output.data, output.len);
        rc = ant_constraint_follow(constraint, &place, output.data, output.len, &err);
    }
    assert_int_equal(rc, ANT_EUNSUPP);
    assert_non_null(strstr(err.text, "too complicated"));
    ant_ids_release(&output);
    ant_constraint_release(constraint);
    ant_token_tree_close(tree);
    ant_tokenizer_close(tokenizer);
    free(path);
}

/* Answers under many constraints by turns, as rows in flight have them; returns the most that was
 * held. The masks are noted, in the order they came. */
static size_t answer_by_turns(const struct ant_token_tree *tree, size_t most, struct ant_buf *masks)
{
    enum { N = 40, TOKENS = 24 };
    struct ant_constraint_room room = {.most = most};
    struct ant_constraint *constraints[N];
    struct ant_constraint_place places[N] = {{0}};
    struct ant_ids outputs[N] = {{0}};
    size_t words = ant_token_tree_words(tree), highest = 0;
    struct ant_error err;

    for (int i = 0; i < N; i++) {
        char *text = ant_xasprintf("([a-y]{1,%d}z%d|[0-9a-f]+ )*", i + 5, i);
        if (ant_constraint_open(&constraints[i], ANT_CONSTRAINT_REGEX, text, strlen(text), tree,
                                &err) < 0)
            fail_msg("%s", err.text);
        ant_constraint_join(constraints[i], &room);
        free(text);
    }
    for (int n = 0; n < TOKENS; n++)
        for (int i = 0; i < N; i++) {
            const uint64_t *mask =
                ant_constraint_mask(constraints[i], &places[i], outputs[i].data, outputs[i].len);
            int32_t id = (i * 31 + n * 7) % (int)(64 * words);
            ant_buf_add(masks, mask, words * sizeof(*mask));
            while (!is_set(mask, id))
                id = (id + 1) % (int)(64 * words);
            ant_ids_add(&outputs[i], id);
            highest = atomic_load(&room.held) > highest ? atomic_load(&room.held) : highest;
        }
    for (int i = 0; i < N; i++) {
        ant_constraint_release(constraints[i]);
        ant_ids_release(&outputs[i]);
    }
    assert_int_equal(atomic_load(&room.held), 0);
    assert_int_equal(atomic_load(&room.n), 0);
    return highest;
}

static void many_constraints_keep_to_their_room(void **state)
{
    char *path = source_path("tests/golden/tiny/llama/tokenizer.json");
    struct ant_buf wide = {0}, narrow = {0};
    struct ant_tokenizer *tokenizer;
    struct ant_error err;

    (void)state;
    assert_int_equal(ant_tokenizer_open_json(&tokenizer, path, &err), 0);
    struct ant_token_tree *tree =
        ant_token_tree_open(tokenizer, ant_tokenizer_size(tokenizer), NULL, 0);
    size_t all = answer_by_turns(tree, SIZE_MAX, &wide);
    size_t some = answer_by_turns(tree, all / 4, &narrow);
    assert_true(some < all); /* what an answer's own tokens lead to is found out again */
    assert_int_equal(wide.len, narrow.len);
    assert_memory_equal(wide.data, narrow.data, wide.len);
    ant_buf_release(&wide);
    ant_buf_release(&narrow);
    ant_token_tree_close(tree);
    ant_tokenizer_close(tokenizer);
    free(path);
}

static void choices_are_read_and_refused(void **state)
{
    static const struct {
        const char *text, *why;
    } cases[] = {
        {"[\"yes\", \"no\", \"yes\"]", NULL},
        {"[]", "choice: it must be a list of at least one string"},
        {"[\"a\", 1]", "choice: item 1 is no string"},
        {"[\"\"]", "choice: item 0 is empty"},
        {"\"a\"", "choice: no JSON at byte 3: '[' or '{' expected near '\"a\"'"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        struct ant_constraint *constraint = NULL;
        struct ant_error err = {{0}};
        int rc = ant_constraint_open(&constraint, ANT_CONSTRAINT_CHOICE, cases[i].text,
                                     strlen(cases[i].text), NULL, &err);
        assert_int_equal(rc, cases[i].why ? ANT_EDATA : 0);
        if (cases[i].why)
            assert_string_equal(err.text, cases[i].why);
        ant_constraint_release(constraint);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(texts_of_schemas_satisfy_them),
        cmocka_unit_test(usual_json_is_possible),
        cmocka_unit_test(what_cannot_be_met_is_named),
        cmocka_unit_test(hostile_schemas_end),
        cmocka_unit_test(masks_are_what_each_token_says),
        cmocka_unit_test(too_complicated_constraints_are_given_up),
        cmocka_unit_test(many_constraints_keep_to_their_room),
        cmocka_unit_test(choices_are_read_and_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
