/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "text/grammar_json.h"

#include <float.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "text/grammar_read.h"
#include "text/unicode.h"

/* Characters of a string, with every way to write them but halves of surrogate pairs. */
#define CHARACTER                                                                                  \
    "[^\"\\\\\\x00-\\x1f]|\\\\([\"\\\\/bfnrt]|u([0-9a-cA-CeEfF][0-9a-fA-F]{3}|[dD][0-7]"           \
    "[0-9a-fA-F]{2}|[dD][89abAB][0-9a-fA-F]{2}\\\\u[dD][c-fC-F][0-9a-fA-F]{2}))"
#define INTEGER "0|-?[1-9][0-9]{0,14}"
#define NUMBER  "-?(0|[1-9][0-9]{0,14})(\\.[0-9]{1,15})?([eE][+-]?[0-9]{1,2})?"
#define SPACE   " ?|\\n {0,40}|\\n\\t{0,10}"

#define DATE                                                                                       \
    "[1-9]\\d{3}-((0[1-9]|1[0-2])-(0[1-9]|1\\d|2[0-8])|(0[13-9]|1[0-2])-(29|30)|"                  \
    "(0[13578]|1[02])-31)"
#define TIME "([01]\\d|2[0-3]):[0-5]\\d:[0-5]\\d(\\.\\d{1,6})?(Z|[+-]([01]\\d|2[0-3]):[0-5]\\d)"
#define HOST "[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
#define BYTE "(25[0-5]|2[0-4]\\d|1\\d\\d|[1-9]?\\d)"

/* An expression of our own. */
static uint32_t regex_node(struct ant_grammar *grammar, const char *text)
{
    struct ant_error err;
    uint32_t node = ANT_NO_NODE;

    if (ant_grammar_read_regex(grammar, text, strlen(text), ANT_REGEX_TEXT, &node, &err) < 0)
        ant_die("the expression '%s' is wrong: %s", text, err.text);
    return node;
}

static uint32_t text_node(struct ant_grammar *grammar, const char *text)
{
    return ant_grammar_bytes(grammar, text, strlen(text));
}

static uint32_t quoted(struct ant_grammar *grammar, uint32_t content)
{
    uint32_t nodes[] = {text_node(grammar, "\""), content, text_node(grammar, "\"")};

    return ant_grammar_sequence(grammar, nodes, 3);
}

struct ant_json_parts ant_json_parts_of(struct ant_grammar *grammar)
{
    return (struct ant_json_parts){grammar, -1, -1, -1, -1};
}

/* ---- what has no parts ----------------------------------------------------------------------- */

uint32_t ant_json_string_of(struct ant_json_parts *parts, int32_t min, int32_t max)
{
    return quoted(parts->grammar,
                  ant_grammar_repeat(parts->grammar, regex_node(parts->grammar, CHARACTER), min,
                                     max, ANT_NO_NODE));
}

uint32_t ant_json_string(struct ant_json_parts *parts)
{
    if (parts->string < 0) {
        parts->string = ant_grammar_add_rule(parts->grammar);
        ant_grammar_define(parts->grammar, parts->string,
                           ant_json_string_of(parts, 0, ANT_NO_LIMIT));
    }
    return ant_grammar_call(parts->grammar, parts->string);
}

static uint32_t call_regex(struct ant_json_parts *parts, int32_t *rule, const char *text)
{
    if (*rule < 0) {
        *rule = ant_grammar_add_rule(parts->grammar);
        ant_grammar_define(parts->grammar, *rule, regex_node(parts->grammar, text));
    }
    return ant_grammar_call(parts->grammar, *rule);
}

uint32_t ant_json_integer(struct ant_json_parts *parts)
{
    return call_regex(parts, &parts->integer, INTEGER);
}

uint32_t ant_json_number(struct ant_json_parts *parts)
{
    return call_regex(parts, &parts->number, NUMBER);
}

uint32_t ant_json_format(struct ant_json_parts *parts, const char *name)
{
    static const struct {
        const char *name, *regex;
    } formats[] = {
        {"date", DATE},
        {"time", TIME},
        {"date-time", DATE "T" TIME},
        {"duration", "P(\\d{1,5}[YMWD]|T\\d{1,5}[HMS])"},
        {"uuid", "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"},
        {"ipv4", BYTE "(\\." BYTE "){3}"},
        {"ipv6", "([0-9a-f]{1,4}:){7}[0-9a-f]{1,4}"},
        {"hostname", HOST "(\\." HOST "){0,5}"},
        {"email",
         "[A-Za-z0-9_+-]{1,32}(\\.[A-Za-z0-9_+-]{1,32}){0,3}@(" HOST "\\.){1,5}[A-Za-z]{2,24}"},
        {"uri", "[a-z][a-z0-9+.-]{0,15}://[A-Za-z0-9._~:/?@!$&'()*+,;=-]{1,500}"},
    };

    for (size_t i = 0; i < sizeof(formats) / sizeof(*formats); i++)
        if (strcmp(formats[i].name, name) == 0)
            return quoted(parts->grammar, regex_node(parts->grammar, formats[i].regex));
    return ANT_NO_NODE;
}

/* ---- names ----------------------------------------------------------------------------------- */

uint32_t ant_json_member(struct ant_json_parts *parts, uint32_t name, uint32_t value)
{
    uint32_t nodes[] = {name, regex_node(parts->grammar, ": ?"), value};

    return ant_grammar_sequence(parts->grammar, nodes, 3);
}

static uint32_t some_character(struct ant_grammar *grammar)
{
    return ant_grammar_json_class(grammar, &(struct ant_code_range){0, 0x10ffff}, 1);
}

/* All ways to go on, behind the first `depth` bytes that the names share, other than as one of
 * them. */
static uint32_t other_rest(struct ant_grammar *grammar, const struct ant_word *names, size_t n,
                           size_t depth)
{
    struct ant_code_range *other = ant_xcalloc(n + 1, sizeof(*other));
    uint32_t *ways = ant_xcalloc(n + 2, sizeof(*ways)), from = 0, code;
    size_t n_ways = 0, n_other = 0, i = 0, end;
    bool ends_here = n > 0 && names[0].bytes == depth;

    for (i = ends_here; i < n; i = end) { /* those with the same next character */
        size_t next = depth + ant_utf8_next(names[i].text + depth, &code);
        for (end = i + 1; end < n && names[end].bytes >= next; end++)
            if (memcmp(names[end].text + depth, names[i].text + depth, next - depth) != 0)
                break;
        uint32_t nodes[] = {
            ant_grammar_json_class(grammar, &(struct ant_code_range){code, code}, 1),
            other_rest(grammar, names + i, end - i, next)};
        ways[n_ways++] = ant_grammar_sequence(grammar, nodes, 2);
        if (code > from)
            other[n_other++] = (struct ant_code_range){from, code - 1};
        from = code + 1;
    }
    other[n_other++] = (struct ant_code_range){from, 0x10ffff};
    uint32_t nodes[] = {
        ant_grammar_json_class(grammar, other, n_other),
        ant_grammar_repeat(grammar, some_character(grammar), 0, ANT_NO_LIMIT, ANT_NO_NODE)};
    ways[n_ways++] = ant_grammar_sequence(grammar, nodes, 2);
    uint32_t node = ant_grammar_any(grammar, ways, n_ways);
    free(other);
    free(ways);
    return ends_here ? node : ant_grammar_repeat(grammar, node, 0, 1, ANT_NO_NODE);
}

uint32_t ant_json_other_name(struct ant_json_parts *parts, struct ant_word *names, size_t n)
{
    if (n == 0)
        return ant_json_string(parts);
    ant_word_sort(names, n);
    return quoted(parts->grammar, other_rest(parts->grammar, names, n, 0));
}

/* ---- values that are given ------------------------------------------------------------------- */

uint32_t ant_json_name(struct ant_json_parts *parts, const char *name)
{
    json_t *value = json_string(name);
    char *text = json_dumps(value, JSON_ENCODE_ANY);
    uint32_t node = text_node(parts->grammar, text);

    free(text);
    json_decref(value);
    return node;
}

char *ant_json_scalar(const json_t *value)
{
    for (size_t digits = DBL_DIG;; digits++) {
        char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_REAL_PRECISION(digits));
        if (!json_is_real(value) || digits == DBL_DECIMAL_DIG ||
            strtod(text, NULL) == json_real_value(value))
            return text;
        free(text);
    }
}

uint32_t ant_json_exactly(struct ant_json_parts *parts, const json_t *value)
{
    bool is_object = json_is_object(value);
    size_t n = is_object ? json_object_size(value) : json_array_size(value), i = 0;
    struct ant_word commas[] = {{",", 1}, {", ", 2}};
    uint32_t comma = ant_grammar_words(parts->grammar, commas, 2), node;
    const char *name;
    json_t *item;

    if (!is_object && !json_is_array(value)) {
        char *text = ant_json_scalar(value);
        node = text_node(parts->grammar, text);
        free(text);
        return node;
    }
    uint32_t *nodes = ant_xcalloc(2 * n + 2, sizeof(*nodes)), n_nodes = 0;
    nodes[n_nodes++] = text_node(parts->grammar, is_object ? "{" : "[");
    json_array_foreach(value, i, item)
    {
        nodes[n_nodes++] = ant_json_exactly(parts, item);
        nodes[n_nodes++] = comma;
    }
    json_object_foreach((json_t *)value, name, item)
    {
        nodes[n_nodes++] =
            ant_json_member(parts, ant_json_name(parts, name), ant_json_exactly(parts, item));
        nodes[n_nodes++] = comma;
    }
    n_nodes -= n > 0; /* no comma behind the last one */
    nodes[n_nodes++] = text_node(parts->grammar, is_object ? "}" : "]");
    node = ant_grammar_sequence(parts->grammar, nodes, n_nodes);
    free(nodes);
    return node;
}

/* ---- objects and lists ----------------------------------------------------------------------- */

uint32_t ant_json_brackets(struct ant_json_parts *parts, const char *brackets, uint32_t content)
{
    struct ant_grammar *grammar = parts->grammar;
    uint32_t nodes[] = {ant_grammar_bytes(grammar, brackets, 1), regex_node(grammar, SPACE),
                        content, regex_node(grammar, SPACE),
                        ant_grammar_bytes(grammar, brackets + 1, 1)};

    return ant_grammar_guard(grammar, ant_grammar_sequence(grammar, nodes, 5));
}

uint32_t ant_json_comma(struct ant_json_parts *parts)
{
    return regex_node(parts->grammar, ",(" SPACE ")");
}

uint32_t ant_json_elements(struct ant_json_parts *parts, uint32_t element, int32_t min, int32_t max)
{
    struct ant_grammar *grammar = parts->grammar;
    uint32_t all =
        ant_grammar_repeat(grammar, element, min > 1 ? min : 1, max, ant_json_comma(parts));

    if (max < 1)
        return ant_grammar_sequence(grammar, NULL, 0);
    return min > 0 ? all : ant_grammar_repeat(grammar, all, 0, 1, ANT_NO_NODE);
}

uint32_t ant_json_any_object(struct ant_json_parts *parts, int32_t min, int32_t max)
{
    uint32_t member = ant_json_member(parts, ant_json_string(parts), ant_json_value(parts));

    return ant_json_brackets(parts, "{}", ant_json_elements(parts, member, min, max));
}

uint32_t ant_json_value(struct ant_json_parts *parts)
{
    struct ant_grammar *grammar = parts->grammar;

    if (parts->value < 0) {
        parts->value = ant_grammar_add_rule(grammar);
        uint32_t list =
            ant_json_elements(parts, ant_grammar_call(grammar, parts->value), 0, ANT_NO_LIMIT);
        uint32_t ways[] = {ant_json_any_object(parts, 0, ANT_NO_LIMIT),
                           ant_json_brackets(parts, "[]", list), ant_json_string(parts),
                           ant_json_number(parts), regex_node(grammar, "true|false|null")};
        ant_grammar_define(grammar, parts->value,
                           ant_grammar_any(grammar, ways, sizeof(ways) / sizeof(*ways)));
    }
    return ant_grammar_call(grammar, parts->value);
}
