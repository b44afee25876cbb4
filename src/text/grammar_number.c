/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "text/grammar_number.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DIGITS = ANT_NUMBER_DIGITS, MOST_WAYS = 2 * DIGITS + 4 };

/* A bound that is not negative: digits before the point, without leading zeros, and behind it. An
 * end that is left out is not `is_closed`. */
struct decimal {
    char whole[DIGITS + 1], part[DIGITS + 1];
    bool is_closed;
};

static uint32_t bytes_node(struct ant_grammar *g, const char *text)
{
    return ant_grammar_bytes(g, text, strlen(text));
}

static uint32_t digit_node(struct ant_grammar *g, char first, char last)
{
    return ant_grammar_class(g, &(struct ant_code_range){(uint32_t)first, (uint32_t)last}, 1);
}

static uint32_t two_nodes(struct ant_grammar *g, uint32_t a, uint32_t b)
{
    return ant_grammar_sequence(g, (uint32_t[]){a, b}, 2);
}

static uint32_t digits_node(struct ant_grammar *g, int min, int max)
{
    return ant_grammar_repeat(g, digit_node(g, '0', '9'), min, max, ANT_NO_NODE);
}

/* ---- whole numbers --------------------------------------------------------------------------- */

/* As many digits as the bounds have, between them; NULL: no bound. */
static uint32_t same_length(struct ant_grammar *g, const char *low, const char *high, int n)
{
    uint32_t ways[3];
    size_t n_ways = 0;

    if (n == 0)
        return ant_grammar_sequence(g, NULL, 0);
    if (!low && !high)
        return digits_node(g, n, n);
    char first = low ? *low : '0', last = high ? *high : '9';
    bool is_one = first == last;
    if (low)
        ways[n_ways++] =
            two_nodes(g, digit_node(g, first, first),
                      same_length(g, low + 1, high && is_one ? high + 1 : NULL, n - 1));
    if (high && !(low && is_one))
        ways[n_ways++] = two_nodes(g, digit_node(g, last, last),
                                   same_length(g, low && is_one ? low + 1 : NULL, high + 1, n - 1));
    first = (char)(first + (low != NULL));
    last = (char)(last - (high != NULL));
    if (first <= last)
        ways[n_ways++] = two_nodes(g, digit_node(g, first, last), digits_node(g, n - 1, n - 1));
    return ant_grammar_any(g, ways, n_ways);
}

/* Numbers from `low` to `high`, both written without leading zeros; high NULL: no bound. */
static uint32_t whole_node(struct ant_grammar *g, const char *low, const char *high)
{
    int from = (int)strlen(low), to = high ? (int)strlen(high) : DIGITS;
    static const char least[] = "100000000000000";
    uint32_t ways[DIGITS];
    size_t n_ways = 0;

    for (int n = from; n <= to; n++) {
        char lowest[DIGITS + 1];
        snprintf(lowest, sizeof(lowest), "%.*s", n, n == from ? low : least);
        ways[n_ways++] = same_length(g, lowest, high && n == to ? high : NULL, n);
    }
    return ant_grammar_any(g, ways, n_ways);
}

static int compare_whole(const char *a, const char *b)
{
    size_t n = strlen(a), m = strlen(b);

    return n != m ? (n > m) - (n < m) : strcmp(a, b);
}

/* Add 1 or take it away; the number has to have room for it. */
static void change_whole(char whole[DIGITS + 1], int by)
{
    snprintf(whole, DIGITS + 1, "%.0f", strtod(whole, NULL) + by);
}

/* ---- what comes behind the point ------------------------------------------------------------- */

/* The digits of a bound that are left, all zero where there are no more; NULL: no bound. */
struct ends {
    const char *low, *high;
    bool low_closed, high_closed;
};

static bool is_zero(const char *digits)
{
    return digits[strspn(digits, "0")] == '\0';
}

static char digit_of(const char *digits)
{
    return *digits ? *digits : '0';
}

static const char *next_digit(const char *digits)
{
    return *digits ? digits + 1 : digits;
}

/* May the digits end here, as if zeros came? */
static bool may_end(const struct ends *ends)
{
    return (!ends->low || (is_zero(ends->low) && ends->low_closed)) &&
           (!ends->high || !is_zero(ends->high) || ends->high_closed);
}

/* At least one and at most `room` digits within the ends. */
static uint32_t part_digits(struct ant_grammar *g, struct ends ends, int room)
{
    uint32_t ways[MOST_WAYS];
    size_t n_ways = 0;

    if (ends.low && is_zero(ends.low) && ends.low_closed)
        ends.low = NULL;
    if (!ends.low && !ends.high)
        return digits_node(g, 1, room);
    char first = ends.low ? digit_of(ends.low) : '0', last = ends.high ? digit_of(ends.high) : '9';
    for (char d = first; room > 0 && d <= last; d++) {
        struct ends rest = ends;
        rest.low = ends.low && d == first ? next_digit(ends.low) : NULL;
        rest.high = ends.high && d == last ? next_digit(ends.high) : NULL;
        uint32_t digit = digit_node(g, d, d);
        if (may_end(&rest))
            ways[n_ways++] = digit;
        if (room > 1)
            ways[n_ways++] = two_nodes(g, digit, part_digits(g, rest, room - 1));
    }
    return ant_grammar_any(g, ways, n_ways);
}

/* The point and what comes behind it, at most `room` digits, or nothing. */
static uint32_t part_node(struct ant_grammar *g, const struct decimal *low,
                          const struct decimal *high, int room)
{
    struct ends ends = {low ? low->part : NULL, high ? high->part : NULL, low && low->is_closed,
                        high && high->is_closed};
    uint32_t part = two_nodes(g, bytes_node(g, "."), part_digits(g, ends, room));

    if (may_end(&ends))
        part = ant_grammar_repeat(g, part, 0, 1, ANT_NO_NODE);
    return part;
}

/* ---- both ------------------------------------------------------------------------------------ */

/* Digits behind the point that may come. With more than 16 in all a reader's double may be the very
 * bound that is left out. */
static int room_beside(const struct decimal *bound)
{
    return bound->is_closed ? DIGITS : DIGITS + 1 - (int)strlen(bound->whole);
}

/* Numbers that are not negative; high NULL: no bound. */
static uint32_t positive(struct ant_grammar *g, const struct decimal *low,
                         const struct decimal *high)
{
    uint32_t ways[3];
    size_t n_ways = 0;
    struct decimal first = *low, last = {"", "", true};
    int room = room_beside(low), most = high ? room_beside(high) : DIGITS;

    if (high)
        last = *high;
    if (room > most)
        room = most;
    int order = high ? compare_whole(low->whole, high->whole) : -1;
    if (order > 0)
        return ant_grammar_any(g, NULL, 0);
    ways[n_ways++] =
        two_nodes(g, bytes_node(g, low->whole), part_node(g, low, order == 0 ? high : NULL, room));
    if (order == 0)
        return ways[0];
    if (high)
        ways[n_ways++] = two_nodes(g, bytes_node(g, high->whole), part_node(g, NULL, high, room));
    if (high)
        change_whole(last.whole, -1);
    if (strcmp(first.whole, "999999999999999") != 0) {
        change_whole(first.whole, 1);
        if (!high || compare_whole(first.whole, last.whole) <= 0)
            ways[n_ways++] = two_nodes(g, whole_node(g, first.whole, high ? last.whole : NULL),
                                       part_node(g, NULL, NULL, room));
    }
    return ant_grammar_any(g, ways, n_ways);
}

/* The fewest digits that say this very number. */
static struct decimal to_decimal(double value, bool is_closed)
{
    struct decimal out = {.is_closed = is_closed};
    char text[2 * DIGITS + 8];
    int n = 0;

    do
        snprintf(text, sizeof(text), "%.*f", n, fabs(value));
    while (n++ < DIGITS && strtod(text, NULL) != fabs(value));
    char *point = strchr(text, '.');
    snprintf(out.whole, sizeof(out.whole), "%.*s", point ? (int)(point - text) : DIGITS, text);
    if (point)
        snprintf(out.part, sizeof(out.part), "%s", point + 1);
    return out;
}

uint32_t ant_grammar_decimal(struct ant_grammar *g, const struct ant_number_bounds *bounds)
{
    const struct decimal zero = {"0", "", true}, above_zero = {"0", "", false};
    struct decimal least = to_decimal(bounds->has_least ? bounds->least : 0, !bounds->is_above);
    struct decimal most = to_decimal(bounds->has_most ? bounds->most : 0, !bounds->is_below);
    bool least_below = !bounds->has_least || bounds->least < 0;
    bool most_below = bounds->has_most && bounds->most < 0;
    uint32_t ways[2];
    size_t n_ways = 0;

    if (!most_below)
        ways[n_ways++] = positive(g, least_below ? &zero : &least, bounds->has_most ? &most : NULL);
    if (least_below)
        ways[n_ways++] = two_nodes(
            g, bytes_node(g, "-"),
            positive(g, most_below ? &most : &above_zero, bounds->has_least ? &least : NULL));
    return ant_grammar_any(g, ways, n_ways);
}

/* The whole numbers from `low` to `high`, neither negative. */
static uint32_t whole_between(struct ant_grammar *g, double low, double high)
{
    char first[32], last[32];

    if (low > high)
        return ant_grammar_any(g, NULL, 0);
    snprintf(first, sizeof(first), "%.0f", low + 0.0); /* -0 is 0 */
    snprintf(last, sizeof(last), "%.0f", high + 0.0);
    return whole_node(g, first, last);
}

uint32_t ant_grammar_integer(struct ant_grammar *g, const struct ant_number_bounds *bounds)
{
    const double largest = 999999999999999;
    double least = bounds->has_least ? ceil(bounds->least) : -largest;
    double most = bounds->has_most ? floor(bounds->most) : largest;

    if (bounds->has_least && bounds->is_above && least == bounds->least)
        least++;
    if (bounds->has_most && bounds->is_below && most == bounds->most)
        most--;
    uint32_t positive_way = whole_between(g, fmax(least, 0), fmin(most, largest));
    uint32_t negative_way = whole_between(g, fmax(-most, 1), fmin(-least, largest));
    return ant_grammar_any(
        g, (uint32_t[]){positive_way, two_nodes(g, bytes_node(g, "-"), negative_way)}, 2);
}
