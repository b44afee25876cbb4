/* SPDX-License-Identifier: Apache-2.0 */
/* Walking the tree of a template. */
#include "config.h"

#include "text/jinja.h"
#include "text/jinja_value.h"
#include "base/mem.h"
#include "text/unicode.h"

#include <stdlib.h>
#include <string.h>

enum {
    DEEPEST = 800, /* nodes within nodes, macros within macros */
};

/* Variables of one scope; a loop's round and a macro's call have one of their own. */
struct ant_jframe {
    struct ant_jframe *parent;
    struct variable {
        int id;
        struct ant_jv value;
    } * items;
    int n, cap;
};

/* What statements end with, besides errors. */
enum { GO_ON = 0, BREAK = 1, CONTINUE = 2 };

static int eval(struct ant_jrun *run, struct ant_jframe *frame, const struct ant_jnode *node,
                struct ant_jv *out);
static int execute(struct ant_jrun *run, struct ant_jframe *frame, const struct ant_jnode *node);

/* ---- variables ------------------------------------------------------------------------------- */

static const struct ant_jv *find(const struct ant_jframe *frame, int id)
{
    for (; frame; frame = frame->parent)
        for (int i = 0; i < frame->n; i++)
            if (frame->items[i].id == id)
                return &frame->items[i].value;
    return NULL;
}

static int set(struct ant_jrun *run, struct ant_jframe *frame, int id, const struct ant_jv *value)
{
    for (int i = 0; i < frame->n; i++)
        if (frame->items[i].id == id) {
            frame->items[i].value = *value;
            return 0;
        }
    if (frame->n == frame->cap) {
        int more = frame->cap ? 2 * frame->cap : 4;
        struct variable *bigger = ant_jinja_take(run, (size_t)more * sizeof(*bigger));
        if (!bigger)
            return ANT_EDATA;
        if (frame->n > 0)
            memcpy(bigger, frame->items, (size_t)frame->n * sizeof(*bigger));
        frame->items = bigger;
        frame->cap = more;
    }
    frame->items[frame->n++] = (struct variable){id, *value};
    return 0;
}

static struct ant_jframe *inner(struct ant_jrun *run, struct ant_jframe *parent)
{
    struct ant_jframe *frame = ant_jinja_take(run, sizeof(*frame));

    if (frame)
        *frame = (struct ant_jframe){.parent = parent};
    return frame;
}

static int assign(struct ant_jrun *run, struct ant_jframe *frame, const struct ant_jnode *target,
                  const struct ant_jv *value)
{
    const struct ant_jlist *items;
    size_t n = 0;

    if (target->kind == ANT_J_NAME)
        return set(run, frame, target->id, value);
    if (target->kind == ANT_J_NAMESPACE) {
        const struct ant_jv *object = find(frame, target->id);
        struct ant_jv key = ant_jv_text(target->text, target->bytes);
        if (!object || object->kind != ANT_JV_NAMESPACE)
            return ant_jinja_fail(run, ANT_EDATA, "'.%s' is set on what is no namespace",
                                  target->text);
        return ant_jv_put(run, object->dict, &key, value);
    }
    ANT_TRY(ant_jv_items(run, value, &items));
    for (const struct ant_jnode *part = target->a; part; part = part->next, n++)
        if (n < items->n)
            ANT_TRY(assign(run, frame, part, &items->items[n]));
    if (n != items->n)
        return ant_jinja_fail(run, ANT_EDATA, "%zu values for %zu names", items->n, n);
    return 0;
}

/* ---- calls ----------------------------------------------------------------------------------- */

const struct ant_jbuiltin *ant_jinja_find(const struct ant_jbuiltin *list, const char *name,
                                          size_t bytes)
{
    for (; list->name; list++)
        if (strlen(list->name) == bytes && memcmp(list->name, name, bytes) == 0)
            return list;
    return NULL;
}

/* The place of `name` in a builtin's parameters, or -1. */
static int parameter(const char *params, const char *name)
{
    for (int i = 0; *params; i++) {
        params += *params == '*';
        size_t n = strcspn(params, " ");
        if (strlen(name) == n && memcmp(params, name, n) == 0)
            return i;
        params += n + (params[n] == ' ');
    }
    return -1;
}

static int bind(struct ant_jrun *run, const struct ant_jbuiltin *builtin, struct ant_jcall *call)
{
    int i = 0;
    size_t n_params = 0;

    for (const char *at = builtin->params; *at; at++)
        n_params += *at == ' ' || at == builtin->params;
    if (call->n > n_params)
        return ant_jinja_fail(run, ANT_EDATA, "%s takes at most %zu arguments", builtin->name,
                              n_params);
    for (size_t k = 0; k < call->n; k++)
        call->args[k] = &call->all[k];
    for (size_t k = 0; k < call->n_named; k++) {
        i = parameter(builtin->params, call->named[k].name);
        if (i < 0 || call->args[i])
            return ant_jinja_fail(run, i < 0 ? ANT_EUNSUPP : ANT_EDATA, "argument '%s' of %s is %s",
                                  call->named[k].name, builtin->name,
                                  i < 0 ? "not supported" : "there twice");
        call->args[i] = &call->named[k].value;
    }
    i = 0;
    for (const char *at = builtin->params; *at; at++) {
        if (*at == '*' && !call->args[i])
            return ant_jinja_fail(run, ANT_EDATA, "%s needs %zu more arguments", builtin->name,
                                  n_params - (size_t)i);
        i += *at == ' ';
    }
    return 0;
}

static int invoke(struct ant_jrun *run, const struct ant_jbuiltin *builtin,
                  const struct ant_jv *self, struct ant_jcall *call, struct ant_jv *out)
{
    if (!builtin->call)
        return ant_jinja_fail(run, ANT_EUNSUPP, "method '%s' of a %s is not supported",
                              builtin->name, ant_jv_type(self));
    if (builtin->params)
        ANT_TRY(bind(run, builtin, call));
    return builtin->call(run, self, call, out);
}

int ant_jinja_apply(struct ant_jrun *run, const struct ant_jbuiltin *list,
                    const struct ant_jv *name, const struct ant_jv *input,
                    const struct ant_jv *args, size_t n, const struct ant_jnamed *named,
                    size_t n_named, struct ant_jv *out)
{
    struct ant_jcall call = {.all = args, .n = n, .named = named, .n_named = n_named};
    const struct ant_jbuiltin *builtin =
        name->kind == ANT_JV_STRING ? ant_jinja_find(list, name->text, name->bytes) : NULL;

    if (!builtin)
        return ant_jinja_fail(run, ANT_EUNSUPP, "%s '%.*s' is not supported",
                              list == ant_jinja_tests ? "test" : "filter",
                              name->kind == ANT_JV_STRING ? (int)name->bytes : 1,
                              name->kind == ANT_JV_STRING ? name->text : "?");
    ANT_TRY(ant_jinja_work(run, 1));
    return invoke(run, builtin, input, &call, out);
}

static int arguments(struct ant_jrun *run, struct ant_jframe *frame, const struct ant_jnode *args,
                     struct ant_jcall *out)
{
    size_t n = 0, n_named = 0;

    *out = (struct ant_jcall){0};
    for (const struct ant_jnode *arg = args; arg; arg = arg->next)
        *(arg->text ? &n_named : &n) += 1;
    if (n + n_named == 0)
        return 0;
    struct ant_jv *all = ant_jinja_take(run, n * sizeof(*all));
    struct ant_jnamed *named = all ? ant_jinja_take(run, n_named * sizeof(*named)) : NULL;
    if (!named)
        return ANT_EDATA;
    *out = (struct ant_jcall){.all = all, .named = named};
    for (const struct ant_jnode *arg = args; arg; arg = arg->next) {
        if (arg->text)
            named[out->n_named].name = arg->text;
        ANT_TRY(
            eval(run, frame, arg->a, arg->text ? &named[out->n_named++].value : &all[out->n++]));
    }
    return 0;
}

/* Run a body with its output caught. */
static int capture(struct ant_jrun *run, struct ant_jframe *frame, const struct ant_jnode *body,
                   struct ant_jv *out)
{
    struct ant_jtext text = {0}, *outer = run->out;

    run->out = &text;
    int rc = execute(run, frame, body);
    run->out = outer;
    *out = ant_jtext_value(&text);
    return rc;
}

static int call_macro(struct ant_jrun *run, const struct ant_jmacro *macro,
                      const struct ant_jcall *call, struct ant_jv *out)
{
    const struct ant_jnode *node = macro->node;
    struct ant_jframe *frame = inner(run, macro->frame);
    size_t i = 0, n_used = 0;

    if (!frame)
        return ANT_EDATA;
    for (const struct ant_jnode *param = node->a; param; param = param->next, i++) {
        struct ant_jv value = ant_jv_undefined(param->text, param->bytes);
        bool is_given = i < call->n;
        if (is_given)
            value = call->all[i];
        for (size_t k = 0; k < call->n_named; k++)
            if (!is_given && strcmp(call->named[k].name, param->text) == 0) {
                value = call->named[k].value;
                is_given = true;
                n_used++;
            }
        if (!is_given && param->a)
            ANT_TRY(eval(run, frame, param->a, &value));
        ANT_TRY(set(run, frame, param->id, &value));
    }
    if (call->n > i || n_used < call->n_named)
        return ant_jinja_fail(run, ANT_EDATA, "macro '%s' has no such arguments", node->text);
    return capture(run, frame, node->d, out);
}

static int call(struct ant_jrun *run, struct ant_jframe *frame, const struct ant_jnode *node,
                struct ant_jv *out)
{
    struct ant_jv what;
    struct ant_jcall args;

    ANT_TRY(eval(run, frame, node->a, &what));
    ANT_TRY(arguments(run, frame, node->b, &args));
    run->line = node->line;
    if (what.kind == ANT_JV_BUILTIN)
        return invoke(run, what.method->builtin, &what.method->self, &args, out);
    if (what.kind == ANT_JV_MACRO)
        return call_macro(run, what.macro, &args, out);
    if (what.kind == ANT_JV_UNDEFINED)
        return ant_jinja_fail(run, ANT_EUNSUPP, "function '%.*s' is not there", (int)what.bytes,
                              what.text);
    return ant_jinja_fail(run, ANT_EUNSUPP, "a %s cannot be called", ant_jv_type(&what));
}

/* A filter or a test. */
static int apply(struct ant_jrun *run, struct ant_jframe *frame, const struct ant_jnode *node,
                 const struct ant_jv *block, struct ant_jv *out)
{
    struct ant_jv input;
    struct ant_jcall args;

    if (block && node->a->kind == ANT_J_INPUT)
        input = *block;
    else if (block)
        ANT_TRY(apply(run, frame, node->a, block, &input));
    else
        ANT_TRY(eval(run, frame, node->a, &input));
    ANT_TRY(arguments(run, frame, node->b, &args));
    run->line = node->line;
    if (!node->builtin)
        return ant_jinja_fail(run, ANT_EUNSUPP, "%s '%s' is not supported",
                              node->kind == ANT_J_TEST ? "test" : "filter", node->text);
    return invoke(run, node->builtin, &input, &args, out);
}

/* ---- expressions ----------------------------------------------------------------------------- */

/* a < b < c: as long as each holds. */
static int comparison(struct ant_jrun *run, struct ant_jframe *frame, const struct ant_jnode *node,
                      struct ant_jv *out)
{
    struct ant_jv left, right;
    bool holds = true;

    ANT_TRY(eval(run, frame, node->a, &left));
    for (const struct ant_jnode *operand = node->b; operand && holds; operand = operand->next) {
        ANT_TRY(eval(run, frame, operand->a, &right));
        ANT_TRY(ant_jinja_holds(run, (enum ant_jop)operand->op, &left, &right, &holds));
        left = right;
    }
    *out = ant_jv_bool(holds);
    return 0;
}

static int concat(struct ant_jrun *run, struct ant_jframe *frame, const struct ant_jnode *node,
                  struct ant_jv *out)
{
    struct ant_jtext text = {0};
    struct ant_jv item;

    for (const struct ant_jnode *part = node->a; part; part = part->next) {
        ANT_TRY(eval(run, frame, part, &item));
        ANT_TRY(ant_jv_print(run, &text, &item));
    }
    *out = ant_jtext_value(&text);
    return 0;
}

static int name(struct ant_jrun *run, const struct ant_jframe *frame, const struct ant_jnode *node,
                struct ant_jv *out)
{
    const struct ant_jv *value = find(frame, node->id);
    const struct ant_jbuiltin *function;

    *out = ant_jv_undefined(node->text, node->bytes);
    if (value) {
        *out = *value;
        return 0;
    }
    function = ant_jinja_find(ant_jinja_functions, node->text, node->bytes);
    if (!function)
        return 0;
    struct ant_jmethod *method = ant_jinja_take(run, sizeof(*method));
    if (!method)
        return ANT_EDATA;
    *method = (struct ant_jmethod){.builtin = function};
    *out = (struct ant_jv){.kind = ANT_JV_BUILTIN, .method = method};
    return 0;
}

static int list(struct ant_jrun *run, struct ant_jframe *frame, const struct ant_jnode *node,
                struct ant_jv *out)
{
    struct ant_jv item;

    ANT_TRY(ant_jv_list(run, node->kind == ANT_J_TUPLE ? ANT_JFORM_TUPLE : ANT_JFORM_LIST, 0, out));
    for (const struct ant_jnode *part = node->a; part; part = part->next) {
        ANT_TRY(eval(run, frame, part, &item));
        ANT_TRY(ant_jv_append(run, out->list, &item));
    }
    return 0;
}

static int dict(struct ant_jrun *run, struct ant_jframe *frame, const struct ant_jnode *node,
                struct ant_jv *out)
{
    struct ant_jv key, value;

    ANT_TRY(ant_jv_dict(run, out));
    for (const struct ant_jnode *pair = node->a; pair; pair = pair->next) {
        ANT_TRY(eval(run, frame, pair->a, &key));
        ANT_TRY(eval(run, frame, pair->b, &value));
        ANT_TRY(ant_jv_put(run, out->dict, &key, &value));
    }
    return 0;
}

static int slice(struct ant_jrun *run, struct ant_jframe *frame, const struct ant_jnode *node,
                 struct ant_jv *out)
{
    const struct ant_jnode *const parts[] = {node->b, node->c, node->d};
    struct ant_jv value, bounds[3];

    ANT_TRY(eval(run, frame, node->a, &value));
    for (int i = 0; i < 3; i++)
        if (parts[i])
            ANT_TRY(eval(run, frame, parts[i], &bounds[i]));
    return ant_jv_slice(run, &value, parts[0] ? &bounds[0] : NULL, parts[1] ? &bounds[1] : NULL,
                        parts[2] ? &bounds[2] : NULL, out);
}

/* and, or: the operand that decides, as it is. */
static int either(struct ant_jrun *run, struct ant_jframe *frame, const struct ant_jnode *node,
                  struct ant_jv *out)
{
    ANT_TRY(eval(run, frame, node->a, out));
    if (ant_jv_truth(out) == (node->kind == ANT_J_OR))
        return 0;
    return eval(run, frame, node->b, out);
}

static int choice(struct ant_jrun *run, struct ant_jframe *frame, const struct ant_jnode *node,
                  struct ant_jv *out)
{
    struct ant_jv condition;

    ANT_TRY(eval(run, frame, node->a, &condition));
    if (ant_jv_truth(&condition))
        return eval(run, frame, node->b, out);
    *out = ant_jv_undefined("", 0);
    return node->c ? eval(run, frame, node->c, out) : 0;
}

/* Operators and members: nodes of one or two evaluated operands. */
static int operation(struct ant_jrun *run, struct ant_jframe *frame, const struct ant_jnode *node,
                     struct ant_jv *out)
{
    struct ant_jv a, b;

    ANT_TRY(eval(run, frame, node->a, &a));
    if (node->kind == ANT_J_BINARY || node->kind == ANT_J_INDEX)
        ANT_TRY(eval(run, frame, node->b, &b));
    run->line = node->line;
    switch ((enum ant_jnode_kind)node->kind) {
    case ANT_J_MEMBER:
        return ant_jv_member(run, &a, node->text, node->bytes, out);
    case ANT_J_INDEX:
        return ant_jv_index(run, &a, &b, out);
    case ANT_J_BINARY:
        return ant_jinja_binary(run, (enum ant_jop)node->op, &a, &b, out);
    case ANT_J_NOT:
        *out = ant_jv_bool(!ant_jv_truth(&a));
        return 0;
    default:
        *out = a;
        return ant_jinja_sign(run, node->kind == ANT_J_NEGATIVE, out);
    }
}

static int eval_deeper(struct ant_jrun *run, struct ant_jframe *frame, const struct ant_jnode *node,
                       struct ant_jv *out)
{
    switch ((enum ant_jnode_kind)node->kind) {
    case ANT_J_LIST:
    case ANT_J_TUPLE:
        return list(run, frame, node, out);
    case ANT_J_DICT:
        return dict(run, frame, node, out);
    case ANT_J_SLICE:
        return slice(run, frame, node, out);
    case ANT_J_CALL:
        return call(run, frame, node, out);
    case ANT_J_FILTER:
    case ANT_J_TEST:
        return apply(run, frame, node, NULL, out);
    case ANT_J_AND:
    case ANT_J_OR:
        return either(run, frame, node, out);
    case ANT_J_COMPARE:
        return comparison(run, frame, node, out);
    case ANT_J_CONCAT:
        return concat(run, frame, node, out);
    case ANT_J_CHOICE:
        return choice(run, frame, node, out);
    default:
        return operation(run, frame, node, out);
    }
}

static int eval(struct ant_jrun *run, struct ant_jframe *frame, const struct ant_jnode *node,
                struct ant_jv *out)
{
    run->line = node->line;
    switch ((enum ant_jnode_kind)node->kind) {
    case ANT_J_NONE:
        *out = (struct ant_jv){.kind = ANT_JV_NONE};
        return 0;
    case ANT_J_BOOL:
        *out = ant_jv_bool(node->integer);
        return 0;
    case ANT_J_INT:
        *out = ant_jv_int(node->integer);
        return 0;
    case ANT_J_FLOAT:
        *out = ant_jv_float(node->real);
        return 0;
    case ANT_J_STRING:
        *out = ant_jv_text(node->text, node->bytes);
        return 0;
    case ANT_J_NAME:
        return name(run, frame, node, out);
    default:
        break;
    }
    ANT_TRY(ant_jinja_enter(run, DEEPEST));
    int rc = eval_deeper(run, frame, node, out);
    run->depth--;
    return rc;
}

/* ---- statements ------------------------------------------------------------------------------ */

/* Those items of a loop for which its condition holds. */
static int loop_items(struct ant_jrun *run, struct ant_jframe *frame, const struct ant_jnode *node,
                      const struct ant_jlist **out)
{
    struct ant_jv iterable, chosen, holds;
    const struct ant_jlist *items;

    ANT_TRY(eval(run, frame, node->b, &iterable));
    ANT_TRY(ant_jv_items(run, &iterable, &items));
    *out = items;
    if (!node->c)
        return 0;
    ANT_TRY(ant_jv_list(run, ANT_JFORM_LIST, items->n, &chosen));
    for (size_t i = 0; i < items->n; i++) {
        struct ant_jframe *round = inner(run, frame);
        if (!round)
            return ANT_EDATA;
        ANT_TRY(assign(run, round, node->a, &items->items[i]));
        ANT_TRY(eval(run, round, node->c, &holds));
        if (ant_jv_truth(&holds))
            chosen.list->items[chosen.list->n++] = items->items[i];
    }
    *out = chosen.list;
    return 0;
}

static int for_loop(struct ant_jrun *run, struct ant_jframe *frame, const struct ant_jnode *node)
{
    int loop_id = 0; /* "loop" is the first name of every template */
    const struct ant_jlist *items;
    int rc = GO_ON;

    ANT_TRY(loop_items(run, frame, node, &items));
    for (size_t i = 0; i < items->n && rc != BREAK; i++) {
        struct ant_jframe *round = inner(run, frame);
        struct ant_jloop *loop = round ? ant_jinja_take(run, sizeof(*loop)) : NULL;
        if (!loop)
            return ANT_EDATA;
        *loop = (struct ant_jloop){.list = items, .i = i};
        struct ant_jv value = {.kind = ANT_JV_LOOP, .loop = loop};
        ANT_TRY(set(run, round, loop_id, &value));
        ANT_TRY(assign(run, round, node->a, &items->items[i]));
        ANT_TRY(rc = execute(run, round, node->d));
    }
    if (items->n > 0 || !node->e)
        return 0;
    struct ant_jframe *other = inner(run, frame);
    return other ? execute(run, other, node->e) : ANT_EDATA;
}

static int if_else(struct ant_jrun *run, struct ant_jframe *frame, const struct ant_jnode *node)
{
    struct ant_jv condition;

    for (;;) {
        ANT_TRY(eval(run, frame, node->a, &condition));
        if (ant_jv_truth(&condition))
            return execute(run, frame, node->d);
        if (!node->e || node->e->kind != ANT_J_IF || node->e->next)
            return execute(run, frame, node->e);
        node = node->e;
    }
}

/* {% set name %} and {% filter %}: what the body says, filtered. */
static int block(struct ant_jrun *run, struct ant_jframe *frame, const struct ant_jnode *node)
{
    struct ant_jframe *scope = inner(run, frame);
    struct ant_jv text, filtered;

    if (!scope)
        return ANT_EDATA;
    ANT_TRY(capture(run, scope, node->d, &text));
    filtered = text;
    if (node->b)
        ANT_TRY(apply(run, scope, node->b, &text, &filtered));
    if (node->kind == ANT_J_SET_BLOCK)
        return assign(run, frame, node->a, &filtered);
    return ant_jv_print(run, run->out, &filtered);
}

static int define(struct ant_jrun *run, struct ant_jframe *frame, const struct ant_jnode *node)
{
    struct ant_jmacro *macro = ant_jinja_take(run, sizeof(*macro));
    struct ant_jv value = {.kind = ANT_JV_MACRO, .macro = macro};

    if (!macro)
        return ANT_EDATA;
    *macro = (struct ant_jmacro){.node = node, .frame = frame};
    return set(run, frame, node->id, &value);
}

static int statement(struct ant_jrun *run, struct ant_jframe *frame, const struct ant_jnode *node)
{
    struct ant_jv value;

    switch ((enum ant_jnode_kind)node->kind) {
    case ANT_J_TEXT:
        return ant_jtext_add(run, run->out, node->text, node->bytes);
    case ANT_J_OUTPUT:
        ANT_TRY(eval(run, frame, node->a, &value));
        return ant_jv_print(run, run->out, &value);
    case ANT_J_SET:
        ANT_TRY(eval(run, frame, node->b, &value));
        return assign(run, frame, node->a, &value);
    case ANT_J_SET_BLOCK:
    case ANT_J_FILTER_BLOCK:
        return block(run, frame, node);
    case ANT_J_SCOPE:
        frame = inner(run, frame);
        return frame ? execute(run, frame, node->d) : ANT_EDATA;
    case ANT_J_FOR:
        return for_loop(run, frame, node);
    case ANT_J_IF:
        return if_else(run, frame, node);
    case ANT_J_MACRO:
        return define(run, frame, node);
    default:
        return node->kind == ANT_J_BREAK ? BREAK : CONTINUE;
    }
}

/* A chain of statements, until one leaves the loop around it. */
static int execute(struct ant_jrun *run, struct ant_jframe *frame, const struct ant_jnode *node)
{
    int rc = GO_ON;

    ANT_TRY(ant_jinja_enter(run, DEEPEST));
    for (; node && rc == GO_ON; node = node->next) {
        ANT_TRY(ant_jinja_work(run, 1));
        run->line = node->line;
        rc = statement(run, frame, node);
    }
    run->depth--;
    return rc;
}

/* ---- all of it ------------------------------------------------------------------------------- */

/* A variable that the template does not name is no variable to it. */
static int set_variable(struct ant_jrun *run, struct ant_jframe *frame,
                        const struct ant_jinja_variable *variable)
{
    const struct ant_jnames *names = &run->jinja->names;
    struct ant_jv value;

    for (int i = 0; i < names->n; i++)
        if (strcmp(names->items[i], variable->name) == 0) {
            ANT_TRY(ant_jv_from_json(run, variable->value, &value));
            return set(run, frame, i, &value);
        }
    return 0;
}

int ant_jinja_evaluate(struct ant_jrun *run, const struct ant_jinja_variable *variables, size_t n)
{
    struct ant_jframe frame = {0};

    for (size_t i = 0; i < n; i++)
        ANT_TRY(set_variable(run, &frame, &variables[i]));
    return execute(run, &frame, run->jinja->body);
}
