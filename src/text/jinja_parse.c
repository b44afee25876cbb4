/* SPDX-License-Identifier: Apache-2.0 */
/* Tokens to tree, by recursive descent along the grammar of jinja2. */
#include "config.h"

#include "text/jinja_value.h"
#include "base/mem.h"
#include "text/unicode.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { DEEPEST = 120, MOST_NAMES = 10000 };

struct parser {
    struct ant_jinja *jinja;
    const struct ant_jtoken *at; /* the next token; the last one is END */
    int depth;
    int n_loops;    /* around here */
    int n_branches; /* around here: what is unknown within one is an error only when reached */
    struct ant_error *err;
};

static int expression(struct parser *parser, bool with_choice, struct ant_jnode **out);
static int statements(struct parser *parser, const char *const *ends, struct ant_jnode **out);

/* ---- tokens and nodes ------------------------------------------------------------------------ */

static int fail(const struct parser *parser, enum ant_err code, const char *format, ...)
    __attribute__((format(printf, 3, 4), cold));
static int fail(const struct parser *parser, enum ant_err code, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    ant_fail_va(parser->err, code, format, args);
    va_end(args);
    return ant_fail_in(parser->err, code, "line %d", parser->at->line);
}

static bool is_operator(const struct parser *parser, const char *text)
{
    return parser->at->kind == ANT_JTOKEN_OPERATOR && strcmp(parser->at->text, text) == 0;
}

static bool is_word(const struct parser *parser, const char *text)
{
    return parser->at->kind == ANT_JTOKEN_NAME && strcmp(parser->at->text, text) == 0;
}

static bool skip_operator(struct parser *parser, const char *text)
{
    bool is_here = is_operator(parser, text);

    parser->at += is_here;
    return is_here;
}

static bool skip_word(struct parser *parser, const char *text)
{
    bool is_here = is_word(parser, text);

    parser->at += is_here;
    return is_here;
}

static int fail_unexpected(const struct parser *parser, const char *wanted)
{
    const struct ant_jtoken *token = parser->at;
    char quoted[ANT_QUOTED];

    if (token->kind == ANT_JTOKEN_END)
        return fail(parser, ANT_EDATA, "the template ends where %s should be", wanted);
    if (token->kind == ANT_JTOKEN_BLOCK_END || token->kind == ANT_JTOKEN_VARIABLE_END)
        return fail(parser, ANT_EDATA, "the tag ends where %s should be", wanted);
    return fail(parser, ANT_EDATA, "unexpected '%s' where %s should be",
                token->text ? ant_quote(quoted, token->text, token->bytes) : "number", wanted);
}

static int expect_operator(struct parser *parser, const char *text)
{
    char wanted[8] = "'";

    if (skip_operator(parser, text))
        return 0;
    memcpy(wanted + 1, text, strlen(text) + 1);
    memcpy(wanted + 1 + strlen(text), "'", 2);
    return fail_unexpected(parser, wanted);
}

static int expect_kind(struct parser *parser, enum ant_jtoken_kind kind, const char *wanted)
{
    if (parser->at->kind != kind)
        return fail_unexpected(parser, wanted);
    parser->at++;
    return 0;
}

static struct ant_jnode *new_node(struct parser *parser, enum ant_jnode_kind kind)
{
    struct ant_jnode *node = ant_arena_take(&parser->jinja->arena, sizeof(*node));

    *node = (struct ant_jnode){.kind = (uint8_t)kind, .line = parser->at->line};
    return node;
}

/* A node over `a`, on its line. */
static struct ant_jnode *node_over(struct parser *parser, enum ant_jnode_kind kind,
                                   struct ant_jnode *a)
{
    struct ant_jnode *node = new_node(parser, kind);

    node->line = a->line;
    node->a = a;
    return node;
}

static struct ant_jnode *text_node(struct parser *parser, enum ant_jnode_kind kind)
{
    struct ant_jnode *node = new_node(parser, kind);

    node->text = parser->at->text;
    node->bytes = parser->at->bytes;
    return node;
}

static int name_node(struct parser *parser, enum ant_jnode_kind kind, struct ant_jnode **out)
{
    if (parser->at->kind != ANT_JTOKEN_NAME)
        return fail_unexpected(parser, "a name");
    if (parser->jinja->names.n == MOST_NAMES)
        return fail(parser, ANT_EDATA, "more than %d names", MOST_NAMES);
    *out = text_node(parser, kind);
    (*out)->id =
        ant_jinja_name(&parser->jinja->names, &parser->jinja->arena, (*out)->text, (*out)->bytes);
    parser->at++;
    return 0;
}

static int deeper(struct parser *parser)
{
    if (parser->depth == DEEPEST)
        return fail(parser, ANT_EDATA, "nested more than %d deep", DEEPEST);
    parser->depth++;
    return 0;
}

/* ---- expressions ----------------------------------------------------------------------------- */

static bool ends_tuple(const struct parser *parser, const char *end_word)
{
    return parser->at->kind == ANT_JTOKEN_VARIABLE_END ||
           parser->at->kind == ANT_JTOKEN_BLOCK_END || is_operator(parser, ")") ||
           (end_word && is_word(parser, end_word));
}

/* One expression, or a tuple of them without parentheses of its own. */
static int tuple(struct parser *parser, bool with_choice, const char *end_word, bool may_be_empty,
                 struct ant_jnode **out)
{
    struct ant_jnode *node = new_node(parser, ANT_J_TUPLE), **last = &node->a;
    bool is_tuple = false;

    for (;;) {
        if (ends_tuple(parser, end_word))
            break;
        ANT_TRY(expression(parser, with_choice, last));
        last = &(*last)->next;
        if (!skip_operator(parser, ","))
            break;
        is_tuple = true;
    }
    if (!is_tuple && !node->a && !may_be_empty)
        return fail_unexpected(parser, "an expression");
    *out = !is_tuple && node->a ? node->a : node;
    return 0;
}

/* [a, b] and {a: b}, from behind the opening bracket. */
static int items(struct parser *parser, bool is_dict, struct ant_jnode *node)
{
    struct ant_jnode **last = &node->a;
    const char *end = is_dict ? "}" : "]";

    while (!is_operator(parser, end)) {
        if (node->a)
            ANT_TRY(expect_operator(parser, ","));
        if (is_operator(parser, end))
            break;
        struct ant_jnode *item;
        ANT_TRY(expression(parser, true, &item));
        if (is_dict) {
            item = node_over(parser, ANT_J_PAIR, item);
            ANT_TRY(expect_operator(parser, ":"));
            ANT_TRY(expression(parser, true, &item->b));
        }
        *last = item;
        last = &item->next;
    }
    return expect_operator(parser, end);
}

/* Strings side by side are one. */
static int string(struct parser *parser, struct ant_jnode **out)
{
    struct ant_jnode *node = text_node(parser, ANT_J_STRING);

    parser->at++;
    while (parser->at->kind == ANT_JTOKEN_STRING) {
        char *text = ant_arena_take(&parser->jinja->arena, node->bytes + parser->at->bytes + 1);
        memcpy(text, node->text, node->bytes);
        memcpy(text + node->bytes, parser->at->text, parser->at->bytes + 1);
        node->text = text;
        node->bytes += parser->at->bytes;
        parser->at++;
    }
    *out = node;
    return 0;
}

static int word(struct parser *parser, struct ant_jnode **out)
{
    static const struct {
        const char *name;
        enum ant_jnode_kind kind;
        int value;
    } words[] = {{"true", ANT_J_BOOL, 1},  {"True", ANT_J_BOOL, 1}, {"false", ANT_J_BOOL, 0},
                 {"False", ANT_J_BOOL, 0}, {"none", ANT_J_NONE, 0}, {"None", ANT_J_NONE, 0}};

    for (size_t i = 0; i < sizeof(words) / sizeof(*words); i++) {
        if (!is_word(parser, words[i].name))
            continue;
        *out = new_node(parser, words[i].kind);
        (*out)->integer = words[i].value;
        parser->at++;
        return 0;
    }
    return name_node(parser, ANT_J_NAME, out);
}

static int primary(struct parser *parser, struct ant_jnode **out)
{
    switch (parser->at->kind) {
    case ANT_JTOKEN_NAME:
        return word(parser, out);
    case ANT_JTOKEN_STRING:
        return string(parser, out);
    case ANT_JTOKEN_INTEGER:
        *out = new_node(parser, ANT_J_INT);
        (*out)->integer = parser->at++->integer;
        return 0;
    case ANT_JTOKEN_FLOAT:
        *out = new_node(parser, ANT_J_FLOAT);
        (*out)->real = parser->at++->real;
        return 0;
    default:
        break;
    }
    if (skip_operator(parser, "(")) {
        ANT_TRY(tuple(parser, true, NULL, true, out));
        return expect_operator(parser, ")");
    }
    bool is_dict = is_operator(parser, "{");
    if (!is_dict && !is_operator(parser, "["))
        return fail_unexpected(parser, "an expression");
    *out = new_node(parser, is_dict ? ANT_J_DICT : ANT_J_LIST);
    parser->at++;
    return items(parser, is_dict, *out);
}

/* (a, b, name=c), from its "(". */
static int arguments(struct parser *parser, struct ant_jnode **out)
{
    struct ant_jnode **last = out;
    bool is_named = false;

    ANT_TRY(expect_operator(parser, "("));
    while (!is_operator(parser, ")")) {
        if (*out)
            ANT_TRY(expect_operator(parser, ","));
        if (is_operator(parser, ")"))
            break;
        if (is_operator(parser, "*") || is_operator(parser, "**"))
            return fail(parser, ANT_EUNSUPP, "'%s' in a call is not supported", parser->at->text);
        struct ant_jnode *argument = new_node(parser, ANT_J_ARG);
        if (parser->at->kind == ANT_JTOKEN_NAME && parser->at[1].kind == ANT_JTOKEN_OPERATOR &&
            strcmp(parser->at[1].text, "=") == 0) {
            argument->text = parser->at->text;
            parser->at += 2;
            is_named = true;
        } else if (is_named) {
            return fail(parser, ANT_EDATA, "an argument without a name behind one with a name");
        }
        ANT_TRY(expression(parser, true, &argument->a));
        *last = argument;
        last = &argument->next;
    }
    return expect_operator(parser, ")");
}

static int slice_part(struct parser *parser, struct ant_jnode **out)
{
    if (is_operator(parser, ":") || is_operator(parser, "]"))
        return 0;
    return expression(parser, true, out);
}

/* a[b], a[b:c], a[b:c:d], from behind the "[". */
static int subscript(struct parser *parser, struct ant_jnode *a, struct ant_jnode **out)
{
    struct ant_jnode *node = node_over(parser, ANT_J_INDEX, a);

    ANT_TRY(slice_part(parser, &node->b));
    if (skip_operator(parser, ":")) {
        node->kind = ANT_J_SLICE;
        ANT_TRY(slice_part(parser, &node->c));
        if (skip_operator(parser, ":"))
            ANT_TRY(slice_part(parser, &node->d));
    } else if (!node->b) {
        return fail_unexpected(parser, "an expression");
    }
    *out = node;
    return expect_operator(parser, "]");
}

static int call(struct parser *parser, struct ant_jnode **node)
{
    *node = node_over(parser, ANT_J_CALL, *node);
    return arguments(parser, &(*node)->b);
}

/* .name, .0, [..] and (..), as many as there are. */
static int postfix(struct parser *parser, struct ant_jnode **node)
{
    for (;;) {
        if (skip_operator(parser, ".")) {
            struct ant_jnode *member = text_node(parser, ANT_J_MEMBER);
            member->a = *node;
            if (parser->at->kind == ANT_JTOKEN_INTEGER) {
                member->kind = ANT_J_INDEX;
                member->b = new_node(parser, ANT_J_INT);
                member->b->integer = parser->at->integer;
            } else if (parser->at->kind != ANT_JTOKEN_NAME) {
                return fail_unexpected(parser, "a name");
            }
            parser->at++;
            *node = member;
        } else if (skip_operator(parser, "[")) {
            ANT_TRY(subscript(parser, *node, node));
        } else if (is_operator(parser, "(")) {
            ANT_TRY(call(parser, node));
        } else {
            return 0;
        }
    }
}

/* Look a filter or test up. Within a branch an unknown one may never be reached. */
static int builtin(struct parser *parser, const struct ant_jbuiltin *list, struct ant_jnode *node)
{
    node->builtin = ant_jinja_find(list, node->text, node->bytes);
    if (!node->builtin && parser->n_branches == 0)
        return fail(parser, ANT_EUNSUPP, "%s '%s' is not supported",
                    node->kind == ANT_J_TEST ? "test" : "filter", node->text);
    return 0;
}

/* |name(..), from behind the "|". */
static int filter(struct parser *parser, struct ant_jnode *input, struct ant_jnode **out)
{
    struct ant_jnode *node = text_node(parser, ANT_J_FILTER);

    if (parser->at->kind != ANT_JTOKEN_NAME)
        return fail_unexpected(parser, "the name of a filter");
    ANT_TRY(builtin(parser, ant_jinja_filters, node));
    parser->at++;
    node->a = input;
    *out = node;
    return is_operator(parser, "(") ? arguments(parser, &node->b) : 0;
}

static bool begins_argument(const struct parser *parser)
{
    switch (parser->at->kind) {
    case ANT_JTOKEN_NAME:
        return !is_word(parser, "else") && !is_word(parser, "or") && !is_word(parser, "and");
    case ANT_JTOKEN_STRING:
    case ANT_JTOKEN_INTEGER:
    case ANT_JTOKEN_FLOAT:
        return true;
    default:
        return is_operator(parser, "[") || is_operator(parser, "{");
    }
}

/* is [not] name [argument], from behind the "is". */
static int test(struct parser *parser, struct ant_jnode *input, struct ant_jnode **out)
{
    bool is_not = skip_word(parser, "not");
    struct ant_jnode *node = text_node(parser, ANT_J_TEST);

    if (parser->at->kind != ANT_JTOKEN_NAME)
        return fail_unexpected(parser, "the name of a test");
    ANT_TRY(builtin(parser, ant_jinja_tests, node));
    parser->at++;
    node->a = input;
    if (is_operator(parser, "(")) {
        ANT_TRY(arguments(parser, &node->b));
    } else if (begins_argument(parser)) {
        if (is_word(parser, "is"))
            return fail(parser, ANT_EDATA, "tests with 'is' cannot be chained");
        node->b = new_node(parser, ANT_J_ARG);
        ANT_TRY(primary(parser, &node->b->a));
        ANT_TRY(postfix(parser, &node->b->a));
    }
    *out = is_not ? node_over(parser, ANT_J_NOT, node) : node;
    return 0;
}

static int unary(struct parser *parser, bool with_filters, struct ant_jnode **out)
{
    bool is_negative = is_operator(parser, "-");

    ANT_TRY(deeper(parser));
    if (is_negative || is_operator(parser, "+")) {
        *out = new_node(parser, is_negative ? ANT_J_NEGATIVE : ANT_J_POSITIVE);
        parser->at++;
        ANT_TRY(unary(parser, false, &(*out)->a));
    } else {
        ANT_TRY(primary(parser, out));
    }
    ANT_TRY(postfix(parser, out));
    while (with_filters) {
        if (skip_operator(parser, "|"))
            ANT_TRY(filter(parser, *out, out));
        else if (skip_word(parser, "is"))
            ANT_TRY(test(parser, *out, out));
        else if (is_operator(parser, "("))
            ANT_TRY(call(parser, out));
        else
            break;
    }
    parser->depth--;
    return 0;
}

/* Operators that bind equally, from the loosest. */
static const struct level {
    struct {
        const char *text;
        enum ant_jop op;
    } operators[4];
} levels[] = {
    {{{"+", ANT_JOP_ADD}, {"-", ANT_JOP_SUB}}},
    {{{"~", ANT_JOP_ADD}}}, /* of its own kind, see below */
    {{{"*", ANT_JOP_MUL}, {"/", ANT_JOP_DIV}, {"//", ANT_JOP_FLOOR_DIV}, {"%", ANT_JOP_MOD}}},
    {{{"**", ANT_JOP_POW}}},
};
enum { CONCAT_LEVEL = 1, N_LEVELS = 4 };

static int arithmetic(struct parser *parser, int level, struct ant_jnode **out)
{
    if (level == N_LEVELS)
        return unary(parser, true, out);
    ANT_TRY(arithmetic(parser, level + 1, out));
    if (level == CONCAT_LEVEL) {
        if (!is_operator(parser, "~"))
            return 0;
        struct ant_jnode *node = node_over(parser, ANT_J_CONCAT, *out), **last = &(*out)->next;
        for (*out = node; skip_operator(parser, "~"); last = &(*last)->next)
            ANT_TRY(arithmetic(parser, level + 1, last));
        return 0;
    }
    for (int i = 0; i < 4 && levels[level].operators[i].text; i++) {
        if (!is_operator(parser, levels[level].operators[i].text))
            continue;
        struct ant_jnode *node = node_over(parser, ANT_J_BINARY, *out);
        node->op = (uint8_t)levels[level].operators[i].op;
        parser->at++;
        ANT_TRY(arithmetic(parser, level + 1, &node->b));
        *out = node;
        i = -1;
    }
    return 0;
}

static bool skip_comparison(struct parser *parser, enum ant_jop *op)
{
    static const char *const texts[] = {"==", "!=", "<", "<=", ">", ">="};

    for (int i = 0; i < 6; i++)
        if (skip_operator(parser, texts[i])) {
            *op = (enum ant_jop)(ANT_JOP_EQ + i);
            return true;
        }
    *op = ANT_JOP_IN;
    if (skip_word(parser, "in"))
        return true;
    if (!is_word(parser, "not") || parser->at[1].kind != ANT_JTOKEN_NAME ||
        strcmp(parser->at[1].text, "in") != 0)
        return false;
    *op = ANT_JOP_NOT_IN;
    parser->at += 2;
    return true;
}

static int comparison(struct parser *parser, struct ant_jnode **out)
{
    enum ant_jop op;

    ANT_TRY(arithmetic(parser, 0, out));
    if (!skip_comparison(parser, &op))
        return 0;
    struct ant_jnode *node = node_over(parser, ANT_J_COMPARE, *out), **last = &node->b;
    do {
        *last = new_node(parser, ANT_J_OPERAND);
        (*last)->op = (uint8_t)op;
        ANT_TRY(arithmetic(parser, 0, &(*last)->a));
        last = &(*last)->next;
    } while (skip_comparison(parser, &op));
    *out = node;
    return 0;
}

static int negation(struct parser *parser, struct ant_jnode **out)
{
    if (!is_word(parser, "not"))
        return comparison(parser, out);
    ANT_TRY(deeper(parser));
    *out = new_node(parser, ANT_J_NOT);
    parser->at++;
    ANT_TRY(negation(parser, &(*out)->a));
    parser->depth--;
    return 0;
}

static int conjunction(struct parser *parser, struct ant_jnode **out)
{
    ANT_TRY(negation(parser, out));
    while (skip_word(parser, "and")) {
        *out = node_over(parser, ANT_J_AND, *out);
        ANT_TRY(negation(parser, &(*out)->b));
    }
    return 0;
}

static int disjunction(struct parser *parser, struct ant_jnode **out)
{
    ANT_TRY(conjunction(parser, out));
    while (skip_word(parser, "or")) {
        *out = node_over(parser, ANT_J_OR, *out);
        ANT_TRY(conjunction(parser, &(*out)->b));
    }
    return 0;
}

/* a if b else c; `with_choice`: else only a. */
static int expression(struct parser *parser, bool with_choice, struct ant_jnode **out)
{
    ANT_TRY(deeper(parser));
    ANT_TRY(disjunction(parser, out));
    while (with_choice && skip_word(parser, "if")) {
        struct ant_jnode *node = new_node(parser, ANT_J_CHOICE);
        node->b = *out;
        parser->n_branches++;
        ANT_TRY(disjunction(parser, &node->a));
        if (skip_word(parser, "else"))
            ANT_TRY(expression(parser, true, &node->c));
        parser->n_branches--;
        *out = node;
    }
    parser->depth--;
    return 0;
}

/* ---- statements ------------------------------------------------------------------------------ */

/* name, namespace.name, or several of them. */
static int target(struct parser *parser, const char *end_word, struct ant_jnode **out)
{
    struct ant_jnode *node = new_node(parser, ANT_J_TUPLE), **last = &node->a;
    bool is_tuple = false, is_bracketed = skip_operator(parser, "(");

    do {
        if (node->a && (ends_tuple(parser, end_word) || is_operator(parser, "=")))
            break;
        ANT_TRY(name_node(parser, ANT_J_NAME, last));
        if (!end_word && skip_operator(parser, ".")) {
            if (parser->at->kind != ANT_JTOKEN_NAME)
                return fail_unexpected(parser, "a name");
            (*last)->kind = ANT_J_NAMESPACE;
            (*last)->text = parser->at->text;
            (*last)->bytes = parser->at->bytes;
            parser->at++;
        }
        last = &(*last)->next;
        is_tuple |= is_operator(parser, ",");
    } while (skip_operator(parser, ","));
    *out = is_tuple ? node : node->a;
    return is_bracketed ? expect_operator(parser, ")") : 0;
}

static int end_of_tag(struct parser *parser)
{
    return expect_kind(parser, ANT_JTOKEN_BLOCK_END, "the end of the tag");
}

/* A body up to {% end %}. */
static int body(struct parser *parser, const char *end, struct ant_jnode **out)
{
    const char *const ends[] = {end, NULL};

    ANT_TRY(end_of_tag(parser));
    ANT_TRY(statements(parser, ends, out));
    parser->at++; /* the end's name */
    return end_of_tag(parser);
}

/* message.content, message['content'], or a variable of that name. */
static bool is_content(const struct ant_jnode *node)
{
    const struct ant_jnode *name = node->kind == ANT_J_INDEX ? node->b : node;
    bool is_named = node->kind == ANT_J_MEMBER || node->kind == ANT_J_NAME ||
                    (node->kind == ANT_J_INDEX && name->kind == ANT_J_STRING);

    return is_named && strcmp(name->text, "content") == 0;
}

static int for_statement(struct parser *parser, struct ant_jnode *node)
{
    static const char *const ends[] = {"endfor", "else", NULL};

    ANT_TRY(target(parser, "in", &node->a));
    if (!skip_word(parser, "in"))
        return fail_unexpected(parser, "'in'");
    ANT_TRY(tuple(parser, false, "recursive", false, &node->b));
    parser->jinja->reads_parts |= is_content(node->b);
    if (skip_word(parser, "if"))
        ANT_TRY(expression(parser, true, &node->c));
    if (is_word(parser, "recursive"))
        return fail(parser, ANT_EUNSUPP, "'for ... recursive' is not supported");
    ANT_TRY(end_of_tag(parser));
    parser->n_loops++;
    ANT_TRY(statements(parser, ends, &node->d));
    parser->n_loops--;
    if (skip_word(parser, "else"))
        return body(parser, "endfor", &node->e);
    parser->at++;
    return end_of_tag(parser);
}

static int if_statement(struct parser *parser, struct ant_jnode *node)
{
    static const char *const ends[] = {"elif", "else", "endif", NULL};

    parser->n_branches++;
    for (;;) {
        ANT_TRY(tuple(parser, false, NULL, false, &node->a));
        ANT_TRY(end_of_tag(parser));
        ANT_TRY(statements(parser, ends, &node->d));
        if (!is_word(parser, "elif"))
            break;
        node->e = new_node(parser, ANT_J_IF);
        node = node->e;
        parser->at++;
    }
    if (skip_word(parser, "else")) {
        ANT_TRY(body(parser, "endif", &node->e));
    } else {
        parser->at++;
        ANT_TRY(end_of_tag(parser));
    }
    parser->n_branches--;
    return 0;
}

/* Filters over a block, from the first name. */
static int block_filters(struct parser *parser, struct ant_jnode **out)
{
    *out = new_node(parser, ANT_J_INPUT);
    do
        ANT_TRY(filter(parser, *out, out));
    while (skip_operator(parser, "|"));
    return 0;
}

static int set_statement(struct parser *parser, struct ant_jnode *node)
{
    ANT_TRY(target(parser, NULL, &node->a));
    if (skip_operator(parser, "=")) {
        ANT_TRY(tuple(parser, true, NULL, false, &node->b));
        return end_of_tag(parser);
    }
    node->kind = ANT_J_SET_BLOCK;
    if (skip_operator(parser, "|"))
        ANT_TRY(block_filters(parser, &node->b));
    return body(parser, "endset", &node->d);
}

static int filter_statement(struct parser *parser, struct ant_jnode *node)
{
    ANT_TRY(block_filters(parser, &node->b));
    return body(parser, "endfilter", &node->d);
}

static int macro_statement(struct parser *parser, struct ant_jnode *node)
{
    struct ant_jnode *name, **last = &node->a;
    int n_loops = parser->n_loops;

    ANT_TRY(name_node(parser, ANT_J_NAME, &name));
    node->id = name->id;
    node->text = name->text;
    node->bytes = name->bytes;
    ANT_TRY(expect_operator(parser, "("));
    while (!is_operator(parser, ")")) {
        if (node->a)
            ANT_TRY(expect_operator(parser, ","));
        ANT_TRY(name_node(parser, ANT_J_NAME, last));
        if (skip_operator(parser, "="))
            ANT_TRY(expression(parser, true, &(*last)->a));
        last = &(*last)->next;
    }
    parser->at++;
    parser->n_loops = 0;
    ANT_TRY(body(parser, "endmacro", &node->d));
    parser->n_loops = n_loops;
    return 0;
}

/* transformers marks what an assistant says with it, which matters in training alone. */
static int generation_statement(struct parser *parser, struct ant_jnode *node)
{
    return body(parser, "endgeneration", &node->d);
}

static int jump_statement(struct parser *parser, struct ant_jnode *node)
{
    (void)node;
    if (parser->n_loops == 0)
        return fail(parser, ANT_EDATA, "'%s' is not in a loop", parser->at[-1].text);
    return end_of_tag(parser);
}

static int statement(struct parser *parser, struct ant_jnode **out)
{
    static const struct {
        const char *name;
        enum ant_jnode_kind kind;
        int (*parse)(struct parser *parser, struct ant_jnode *node);
    } kinds[] = {
        {"for", ANT_J_FOR, for_statement},
        {"if", ANT_J_IF, if_statement},
        {"set", ANT_J_SET, set_statement},
        {"macro", ANT_J_MACRO, macro_statement},
        {"filter", ANT_J_FILTER_BLOCK, filter_statement},
        {"generation", ANT_J_SCOPE, generation_statement},
        {"break", ANT_J_BREAK, jump_statement},
        {"continue", ANT_J_CONTINUE, jump_statement},
    };
    char quoted[ANT_QUOTED];

    if (parser->at->kind != ANT_JTOKEN_NAME)
        return fail_unexpected(parser, "the name of a tag");
    for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds); i++) {
        if (!is_word(parser, kinds[i].name))
            continue;
        *out = new_node(parser, kinds[i].kind);
        parser->at++;
        return kinds[i].parse(parser, *out);
    }
    return fail(parser, ANT_EUNSUPP, "tag '%s' is not supported here",
                ant_quote(quoted, parser->at->text, parser->at->bytes));
}

static bool is_among(const struct parser *parser, const char *const *ends)
{
    for (; *ends; ends++)
        if (is_word(parser, *ends))
            return true;
    return false;
}

/* Up to a tag of one of the names, at which the parser then stands; without: to the end. */
static int statements(struct parser *parser, const char *const *ends, struct ant_jnode **out)
{
    int line = parser->at->line;

    ANT_TRY(deeper(parser));
    for (; parser->at->kind != ANT_JTOKEN_END; out = &(*out)->next) {
        if (parser->at->kind == ANT_JTOKEN_TEXT) {
            *out = text_node(parser, ANT_J_TEXT);
            parser->at++;
        } else if (parser->at++->kind == ANT_JTOKEN_VARIABLE) {
            *out = new_node(parser, ANT_J_OUTPUT);
            ANT_TRY(tuple(parser, true, NULL, false, &(*out)->a));
            ANT_TRY(expect_kind(parser, ANT_JTOKEN_VARIABLE_END, "the end of the tag"));
        } else {
            if (ends && is_among(parser, ends))
                break;
            ANT_TRY(statement(parser, out));
        }
    }
    if (ends && parser->at->kind == ANT_JTOKEN_END)
        return fail(parser, ANT_EDATA, "the template ends, but there is no '%s' for line %d",
                    ends[0], line);
    parser->depth--;
    return 0;
}

int ant_jinja_parse(struct ant_jinja *out, const struct ant_jtokens *tokens, struct ant_error *err)
{
    struct parser parser = {.jinja = out, .at = tokens->items, .err = err};

    return statements(&parser, NULL, &out->body);
}
