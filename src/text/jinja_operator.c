/* SPDX-License-Identifier: Apache-2.0 */
/* The operators of templates, on two values or one. */
#include "config.h"

#include "text/jinja_value.h"

#include <math.h>

enum { LONG_TEXT = 1 << 10 };

static int fail_operands(struct ant_jrun *run, const char *op, const struct ant_jv *a,
                         const struct ant_jv *b)
{
    const struct ant_jv *bad = a->kind == ANT_JV_UNDEFINED ? a : b;

    if (bad->kind == ANT_JV_UNDEFINED)
        return ant_jinja_fail_undefined(run, bad);
    return ant_jinja_fail(run, ANT_EDATA, "a %s and a %s have no %s", ant_jv_type(a),
                          ant_jv_type(b), op);
}

/* a, then b. A long text that grows from sum to sum, as templates build them in loops, grows where
 * it is: what was its value before is still its beginning. */
static int join_texts(struct ant_jrun *run, const struct ant_jv *a, const struct ant_jv *b,
                      struct ant_jv *out)
{
    struct ant_jtext fresh = {0}, *text = &fresh;

    if (a->bytes >= LONG_TEXT && (a->text != run->grown.data || a->bytes != run->grown.n))
        run->grown = fresh;
    if (a->bytes >= LONG_TEXT)
        text = &run->grown;
    if (text->n == 0)
        ANT_TRY(ant_jtext_add(run, text, a->text, a->bytes));
    ANT_TRY(ant_jtext_add(run, text, b->text, b->bytes));
    *out = ant_jtext_value(text);
    out->form = a->form;
    return ant_jinja_work(run, 1);
}

/* What is safe is not escaped, and makes the other part of a sum so. */
static int join_escaped(struct ant_jrun *run, const struct ant_jv *a, const struct ant_jv *b,
                        struct ant_jv *out)
{
    struct ant_jv name = ant_jv_word("escape"), parts[2];

    ANT_TRY(ant_jinja_apply(run, ant_jinja_filters, &name, a, NULL, 0, NULL, 0, &parts[0]));
    ANT_TRY(ant_jinja_apply(run, ant_jinja_filters, &name, b, NULL, 0, NULL, 0, &parts[1]));
    ANT_TRY(join_texts(run, &parts[0], &parts[1], out));
    out->form = ANT_JFORM_SAFE;
    return 0;
}

static int join_lists(struct ant_jrun *run, const struct ant_jv *a, const struct ant_jv *b,
                      struct ant_jv *out)
{
    ANT_TRY(ant_jv_list(run, (enum ant_jform)a->form, a->list->n + b->list->n, out));
    for (size_t i = 0; i < a->list->n; i++)
        out->list->items[out->list->n++] = a->list->items[i];
    for (size_t i = 0; i < b->list->n; i++)
        out->list->items[out->list->n++] = b->list->items[i];
    return ant_jinja_work(run, out->list->n);
}

static int repeat(struct ant_jrun *run, const struct ant_jv *what, int64_t times,
                  struct ant_jv *out)
{
    struct ant_jtext text = {0};
    bool is_text = what->kind == ANT_JV_STRING;
    size_t n = is_text ? what->bytes : what->list->n;

    if (!is_text)
        ANT_TRY(ant_jv_list(run, (enum ant_jform)what->form, 0, out));
    for (int64_t i = 0; i < times && n > 0; i++) {
        ANT_TRY(ant_jinja_work(run, 1));
        if (is_text)
            ANT_TRY(ant_jtext_add(run, &text, what->text, what->bytes));
        for (size_t k = 0; !is_text && k < n; k++)
            ANT_TRY(ant_jv_append(run, out->list, &what->list->items[k]));
    }
    if (is_text)
        *out = ant_jtext_value(&text);
    return 0;
}

static int fail_overflow(struct ant_jrun *run)
{
    return ant_jinja_fail(run, ANT_EUNSUPP, "integers beyond 64 bits are not supported");
}

/* x ** y by squaring; y >= 0. */
static bool power_overflows(int64_t x, int64_t y, int64_t *out)
{
    *out = 1;
    while (y > 0) {
        if (y & 1 && __builtin_mul_overflow(*out, x, out))
            return true;
        y >>= 1;
        if (y > 0 && __builtin_mul_overflow(x, x, &x))
            return true;
    }
    return false;
}

static int integer_operation(struct ant_jrun *run, enum ant_jop op, int64_t x, int64_t y,
                             struct ant_jv *out)
{
    int64_t z = 0;
    bool overflows = false;

    if ((op == ANT_JOP_DIV || op == ANT_JOP_FLOOR_DIV || op == ANT_JOP_MOD) && y == 0)
        return ant_jinja_fail(run, ANT_EDATA, "division by zero");
    switch (op) {
    case ANT_JOP_ADD:
        overflows = __builtin_add_overflow(x, y, &z);
        break;
    case ANT_JOP_SUB:
        overflows = __builtin_sub_overflow(x, y, &z);
        break;
    case ANT_JOP_MUL:
        overflows = __builtin_mul_overflow(x, y, &z);
        break;
    case ANT_JOP_FLOOR_DIV:
        overflows = x == INT64_MIN && y == -1;
        if (!overflows)
            z = x / y - (x % y != 0 && (x < 0) != (y < 0));
        break;
    case ANT_JOP_MOD:
        z = y == -1 ? 0 : x % y;
        z += z != 0 && (z < 0) != (y < 0) ? y : 0;
        break;
    case ANT_JOP_POW:
        if (y < 0) {
            *out = ant_jv_float(pow((double)x, (double)y));
            return 0;
        }
        overflows = power_overflows(x, y, &z);
        break;
    default:
        *out = ant_jv_float((double)x / (double)y);
        return 0;
    }
    *out = ant_jv_int(z);
    return overflows ? fail_overflow(run) : 0;
}

static int real_operation(struct ant_jrun *run, enum ant_jop op, double x, double y,
                          struct ant_jv *out)
{
    if ((op == ANT_JOP_DIV || op == ANT_JOP_FLOOR_DIV || op == ANT_JOP_MOD) && y == 0)
        return ant_jinja_fail(run, ANT_EDATA, "division by zero");
    double remainder = y != 0 ? fmod(x, y) : 0;
    if (remainder != 0 && (remainder < 0) != (y < 0))
        remainder += y;
    *out = ant_jv_float(op == ANT_JOP_ADD         ? x + y
                        : op == ANT_JOP_SUB       ? x - y
                        : op == ANT_JOP_MUL       ? x * y
                        : op == ANT_JOP_DIV       ? x / y
                        : op == ANT_JOP_FLOOR_DIV ? floor(x / y)
                        : op == ANT_JOP_MOD       ? remainder
                                                  : pow(x, y));
    return 0;
}

static int64_t integer_of(const struct ant_jv *value)
{
    int64_t integer = 0;

    ant_jv_as_integer(value, &integer);
    return integer;
}

static bool is_sequence(const struct ant_jv *value)
{
    return value->kind == ANT_JV_STRING ||
           (value->kind == ANT_JV_LIST && value->form <= ANT_JFORM_TUPLE);
}

int ant_jinja_binary(struct ant_jrun *run, enum ant_jop op, const struct ant_jv *a,
                     const struct ant_jv *b, struct ant_jv *out)
{
    static const char *const names[] = {"sum",      "difference", "product", "quotient",
                                        "quotient", "remainder",  "power"};
    bool a_real = a->kind == ANT_JV_FLOAT, b_real = b->kind == ANT_JV_FLOAT;

    if (ant_jv_is_number(a) && ant_jv_is_number(b))
        return a_real || b_real ? real_operation(run, op, ant_jv_real(a), ant_jv_real(b), out)
                                : integer_operation(run, op, integer_of(a), integer_of(b), out);
    if (op == ANT_JOP_ADD && a->kind == ANT_JV_STRING && b->kind == ANT_JV_STRING)
        return a->form != b->form ? join_escaped(run, a, b, out) : join_texts(run, a, b, out);
    if (op == ANT_JOP_ADD && is_sequence(a) && a->kind == b->kind && a->form == b->form)
        return join_lists(run, a, b, out);
    if (op == ANT_JOP_MUL && is_sequence(a) && ant_jv_is_number(b) && !b_real)
        return repeat(run, a, integer_of(b), out);
    if (op == ANT_JOP_MUL && is_sequence(b) && ant_jv_is_number(a) && !a_real)
        return repeat(run, b, integer_of(a), out);
    if (op == ANT_JOP_MOD && a->kind == ANT_JV_STRING)
        return ant_jinja_fail(run, ANT_EUNSUPP, "'%%' of a str is not supported; join with '~'");
    return fail_operands(run, names[op], a, b);
}

int ant_jinja_holds(struct ant_jrun *run, enum ant_jop op, const struct ant_jv *a,
                    const struct ant_jv *b, bool *out)
{
    int order;

    switch (op) {
    case ANT_JOP_EQ:
    case ANT_JOP_NE:
        ANT_TRY(ant_jv_equal(run, a, b, out));
        *out ^= op == ANT_JOP_NE;
        return 0;
    case ANT_JOP_IN:
    case ANT_JOP_NOT_IN:
        ANT_TRY(ant_jv_contains(run, b, a, out));
        *out ^= op == ANT_JOP_NOT_IN;
        return 0;
    default:
        if (a->kind == ANT_JV_UNDEFINED || b->kind == ANT_JV_UNDEFINED)
            return fail_operands(run, "order", a, b);
        ANT_TRY(ant_jv_compare(run, a, b, &order));
        *out = order != 2 && (op == ANT_JOP_LT   ? order < 0
                              : op == ANT_JOP_LE ? order <= 0
                              : op == ANT_JOP_GT ? order > 0
                                                 : order >= 0);
        return 0;
    }
}

int ant_jinja_sign(struct ant_jrun *run, bool is_negative, struct ant_jv *value)
{
    struct ant_jv zero = ant_jv_int(0), number = *value;

    if (!ant_jv_is_number(value))
        return fail_operands(run, "sum", &zero, value);
    if (value->kind == ANT_JV_FLOAT) {
        *value = ant_jv_float(is_negative ? -value->real : value->real);
        return 0;
    }
    return integer_operation(run, is_negative ? ANT_JOP_SUB : ANT_JOP_ADD, 0, integer_of(&number),
                             value);
}
