/* SPDX-License-Identifier: Apache-2.0 */
/* The tests of templates: value is name. */
#include "config.h"

#include "text/jinja_value.h"
#include "text/unicode.h"

#include <string.h>

#define TEST(test_name, condition)                                                                 \
    static int test_##test_name(struct ant_jrun *run, const struct ant_jv *in,                     \
                                const struct ant_jcall *call, struct ant_jv *out)                  \
    {                                                                                              \
        (void)run, (void)call;                                                                     \
        *out = ant_jv_bool(condition);                                                             \
        return 0;                                                                                  \
    }

TEST(defined, in->kind != ANT_JV_UNDEFINED)
TEST(undefined, in->kind == ANT_JV_UNDEFINED)
TEST(none, in->kind == ANT_JV_NONE)
TEST(boolean, in->kind == ANT_JV_BOOL)
TEST(true, in->kind == ANT_JV_BOOL && in->truth)
TEST(false, in->kind == ANT_JV_BOOL && !in->truth)
TEST(integer, in->kind == ANT_JV_INT)
TEST(float, in->kind == ANT_JV_FLOAT)
TEST(number, ant_jv_is_number(in))
TEST(string, in->kind == ANT_JV_STRING)
TEST(mapping, in->kind == ANT_JV_DICT)
TEST(callable, in->kind == ANT_JV_MACRO || in->kind == ANT_JV_BUILTIN || in->kind == ANT_JV_LOOP ||
                   in->kind == ANT_JV_UNDEFINED)
TEST(iterable, in->kind == ANT_JV_LIST || in->kind == ANT_JV_DICT || in->kind == ANT_JV_STRING ||
                   in->kind == ANT_JV_UNDEFINED)
TEST(sequence, in->kind == ANT_JV_DICT || in->kind == ANT_JV_STRING ||
                   in->kind == ANT_JV_UNDEFINED ||
                   (in->kind == ANT_JV_LIST && in->form <= ANT_JFORM_TUPLE))

/* Is there a letter that can be in that case, and none in the other? */
static bool is_cased(const struct ant_jv *text, uint32_t (*to)(uint32_t),
                     uint32_t (*from)(uint32_t))
{
    bool has = false;

    for (size_t at = 0; at < text->bytes;) {
        uint32_t c;
        at += ant_utf8_next(text->text + at, &c);
        if (to(c) != c)
            return false;
        has |= from(c) != c;
    }
    return has;
}

static int test_lower(struct ant_jrun *run, const struct ant_jv *in, const struct ant_jcall *call,
                      struct ant_jv *out)
{
    struct ant_jv text;

    (void)call;
    ANT_TRY(ant_jv_string(run, in, &text));
    *out = ant_jv_bool(is_cased(&text, ant_to_lower, ant_to_upper));
    return ant_jinja_work(run, text.bytes);
}

static int test_upper(struct ant_jrun *run, const struct ant_jv *in, const struct ant_jcall *call,
                      struct ant_jv *out)
{
    struct ant_jv text;

    (void)call;
    ANT_TRY(ant_jv_string(run, in, &text));
    *out = ant_jv_bool(is_cased(&text, ant_to_upper, ant_to_lower));
    return ant_jinja_work(run, text.bytes);
}

/* The remainder of a division by `by`. */
static int remainder_is(struct ant_jrun *run, const struct ant_jv *in, int64_t by, bool is_zero,
                        struct ant_jv *out)
{
    int64_t value;

    if (!ant_jv_as_integer(in, &value) || by == 0)
        return ant_jinja_fail(run, ANT_EDATA, "a %s has no remainder here", ant_jv_type(in));
    *out = ant_jv_bool((by == -1 || value % by == 0) == is_zero);
    return 0;
}

static int test_even(struct ant_jrun *run, const struct ant_jv *in, const struct ant_jcall *call,
                     struct ant_jv *out)
{
    (void)call;
    return remainder_is(run, in, 2, true, out);
}

static int test_odd(struct ant_jrun *run, const struct ant_jv *in, const struct ant_jcall *call,
                    struct ant_jv *out)
{
    (void)call;
    return remainder_is(run, in, 2, false, out);
}

static int test_divisibleby(struct ant_jrun *run, const struct ant_jv *in,
                            const struct ant_jcall *call, struct ant_jv *out)
{
    const struct ant_jv *by = call->args[0];

    return remainder_is(run, in, by->kind == ANT_JV_INT ? by->integer : 0, true, out);
}

static int test_eq(struct ant_jrun *run, const struct ant_jv *in, const struct ant_jcall *call,
                   struct ant_jv *out)
{
    bool equal = false;

    ANT_TRY(ant_jv_equal(run, in, call->args[0], &equal));
    *out = ant_jv_bool(equal);
    return 0;
}

static int test_ne(struct ant_jrun *run, const struct ant_jv *in, const struct ant_jcall *call,
                   struct ant_jv *out)
{
    ANT_TRY(test_eq(run, in, call, out));
    out->truth = !out->truth;
    return 0;
}

/* Whether the order is `a` or `b`. */
static int order_is(struct ant_jrun *run, const struct ant_jv *in, const struct ant_jcall *call,
                    int a, int b, struct ant_jv *out)
{
    int order = 0;

    ANT_TRY(ant_jv_compare(run, in, call->args[0], &order));
    *out = ant_jv_bool(order == a || order == b);
    return 0;
}

static int test_lt(struct ant_jrun *run, const struct ant_jv *in, const struct ant_jcall *call,
                   struct ant_jv *out)
{
    return order_is(run, in, call, -1, -1, out);
}

static int test_le(struct ant_jrun *run, const struct ant_jv *in, const struct ant_jcall *call,
                   struct ant_jv *out)
{
    return order_is(run, in, call, -1, 0, out);
}

static int test_gt(struct ant_jrun *run, const struct ant_jv *in, const struct ant_jcall *call,
                   struct ant_jv *out)
{
    return order_is(run, in, call, 1, 1, out);
}

static int test_ge(struct ant_jrun *run, const struct ant_jv *in, const struct ant_jcall *call,
                   struct ant_jv *out)
{
    return order_is(run, in, call, 1, 0, out);
}

static int test_in(struct ant_jrun *run, const struct ant_jv *in, const struct ant_jcall *call,
                   struct ant_jv *out)
{
    bool contains = false;

    ANT_TRY(ant_jv_contains(run, call->args[0], in, &contains));
    *out = ant_jv_bool(contains);
    return 0;
}

/* Python's 'is': of what templates can hold, the same kind and value where that is one object. */
static int test_sameas(struct ant_jrun *run, const struct ant_jv *in, const struct ant_jcall *call,
                       struct ant_jv *out)
{
    const struct ant_jv *other = call->args[0];

    if (in->kind >= ANT_JV_LIST) {
        *out = ant_jv_bool(in->kind == other->kind && in->list == other->list);
        return 0;
    }
    ANT_TRY(test_eq(run, in, call, out));
    out->truth &= in->kind == other->kind;
    return 0;
}

static int exists(const struct ant_jbuiltin *list, const struct ant_jv *in, struct ant_jv *out)
{
    *out = ant_jv_bool(in->kind == ANT_JV_STRING && ant_jinja_find(list, in->text, in->bytes));
    return 0;
}

static int test_filter(struct ant_jrun *run, const struct ant_jv *in, const struct ant_jcall *call,
                       struct ant_jv *out)
{
    (void)run, (void)call;
    return exists(ant_jinja_filters, in, out);
}

static int test_test(struct ant_jrun *run, const struct ant_jv *in, const struct ant_jcall *call,
                     struct ant_jv *out)
{
    (void)run, (void)call;
    return exists(ant_jinja_tests, in, out);
}

const struct ant_jbuiltin ant_jinja_tests[] = {
    {"boolean", "", test_boolean},
    {"callable", "", test_callable},
    {"defined", "", test_defined},
    {"divisibleby", "*num", test_divisibleby},
    {"eq", "*other", test_eq},
    {"equalto", "*other", test_eq},
    {"==", "*other", test_eq},
    {"even", "", test_even},
    {"false", "", test_false},
    {"filter", "", test_filter},
    {"float", "", test_float},
    {"ge", "*other", test_ge},
    {">=", "*other", test_ge},
    {"greaterthan", "*other", test_gt},
    {"gt", "*other", test_gt},
    {">", "*other", test_gt},
    {"in", "*seq", test_in},
    {"integer", "", test_integer},
    {"iterable", "", test_iterable},
    {"le", "*other", test_le},
    {"<=", "*other", test_le},
    {"lessthan", "*other", test_lt},
    {"lower", "", test_lower},
    {"lt", "*other", test_lt},
    {"<", "*other", test_lt},
    {"mapping", "", test_mapping},
    {"ne", "*other", test_ne},
    {"!=", "*other", test_ne},
    {"none", "", test_none},
    {"number", "", test_number},
    {"odd", "", test_odd},
    {"sameas", "*other", test_sameas},
    {"sequence", "", test_sequence},
    {"string", "", test_string},
    {"test", "", test_test},
    {"true", "", test_true},
    {"undefined", "", test_undefined},
    {"upper", "", test_upper},
    {0},
};
