/* SPDX-License-Identifier: Apache-2.0 */
/* Grammars of regular expressions, against PCRE2 on texts that were drawn from them and on texts
 * that were not; what is refused, and where. */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "text/automaton.h"
#include "text/grammar_read.h"
#include "text/unicode.h"

static uint32_t random_state;

static int random_below(int n)
{
    random_state = random_state * 1664525u + 1013904223u;
    return (int)((random_state >> 8) % (uint32_t)n);
}

/* ---- an expression run by both --------------------------------------------------------------- */

struct pair {
    struct ant_program program;
    struct ant_automaton *automaton;
    pcre2_code *code;
    pcre2_match_data *match;
    pcre2_match_context *context;
};

static int try_regex(const char *text, size_t bytes, struct ant_program *out, struct ant_error *err)
{
    struct ant_grammar *grammar = ant_grammar_open();
    uint32_t root = ANT_NO_NODE;
    int rc = ant_grammar_read_regex(grammar, text, bytes, ANT_REGEX_TEXT, &root, err);

    if (rc == 0)
        rc = ant_grammar_compile(grammar, root, out, err);
    ant_grammar_close(grammar);
    return rc;
}

static void open_pair(struct pair *pair, const char *text)
{
    struct ant_error err = {{0}};
    int number;
    size_t at;

    if (try_regex(text, strlen(text), &pair->program, &err) < 0)
        fail_msg("%s: %s", text, err.text);
    pair->automaton = ant_automaton_open(&pair->program);
    pair->code = pcre2_compile((PCRE2_SPTR)text, PCRE2_ZERO_TERMINATED,
                               PCRE2_UTF | PCRE2_DOLLAR_ENDONLY, &number, &at, NULL);
    if (!pair->code)
        fail_msg("%s: PCRE2 has nothing to compare with at %zu", text, at);
    pair->match = pcre2_match_data_create_from_pattern(pair->code, NULL);
    pair->context = pcre2_match_context_create(NULL);
    pcre2_set_match_limit(pair->context, 20000);
}

static void close_pair(struct pair *pair)
{
    ant_automaton_close(pair->automaton);
    ant_program_release(&pair->program);
    pcre2_match_data_free(pair->match);
    pcre2_match_context_free(pair->context);
    pcre2_code_free(pair->code);
}

static bool accepts(struct ant_automaton *automaton, const char *text, size_t bytes)
{
    uint32_t state = ant_automaton_start(automaton);

    for (size_t i = 0; i < bytes; i++)
        state = ant_automaton_next(automaton, state, (uint8_t)text[i]);
    return ant_automaton_accepts(automaton, state);
}

/* PCRE2 says so too, or gives up: it goes back and forth where the automaton does not. */
static bool agrees(const struct pair *pair, const char *text, size_t bytes, bool is_match)
{
    int rc = pcre2_match(pair->code, (PCRE2_SPTR)text, bytes, 0, PCRE2_ANCHORED | PCRE2_ENDANCHORED,
                         pair->match, NULL);

    if (rc == PCRE2_ERROR_MATCHLIMIT)
        return true;
    assert_true(rc >= PCRE2_ERROR_NOMATCH);
    return (rc > 0) == is_match;
}

/* A text of the language: at every state one of the bytes that lead on, until it accepts and a coin
 * says so. Empty and false when `most` bytes were not enough. */
static bool draw_text(struct ant_automaton *automaton, struct ant_buf *out, size_t most)
{
    uint32_t state = ant_automaton_start(automaton);

    for (out->len = 0; out->len < most;) {
        uint8_t bytes[256];
        int n = 0;
        if (ant_automaton_is_final(automaton, state) ||
            (ant_automaton_accepts(automaton, state) && random_below(6) == 0))
            return true;
        for (int byte = 0; byte < 256; byte++)
            if (ant_automaton_next(automaton, state, (uint8_t)byte) != ANT_DEAD)
                bytes[n++] = (uint8_t)byte;
        if (ant_automaton_is_full(automaton))
            return false;
        assert_true(n > 0);
        uint8_t byte = bytes[random_below(n)];
        ant_buf_add(out, &byte, 1);
        state = ant_automaton_next(automaton, state, byte);
    }
    return false;
}

static void compare_drawn(struct pair *pair, const char *text, int times)
{
    struct ant_buf drawn = {0};

    for (int i = 0; i < times; i++) {
        if (!draw_text(pair->automaton, &drawn, 400))
            continue;
        assert_int_equal(ant_utf8_check(drawn.data, drawn.len), drawn.len);
        if (!agrees(pair, drawn.data ? drawn.data : "", drawn.len, true))
            fail_msg("'%.*s' is no match of %s", (int)drawn.len, drawn.data, text);
        if (drawn.len > 0) { /* and something close to it */
            drawn.data[random_below((int)drawn.len)] = (char)('a' + random_below(4));
            if (ant_utf8_check(drawn.data, drawn.len) == drawn.len)
                assert_true(agrees(pair, drawn.data, drawn.len,
                                   accepts(pair->automaton, drawn.data, drawn.len)));
        }
    }
    ant_buf_release(&drawn);
}

static void expressions_match_what_pcre2_matches(void **state)
{
    static const char *const texts[] = {
        "abc",
        "a|b|",
        "",
        "(a|b)*c",
        "a{3}",
        "a{2,}b",
        "(ab){2,5}?",
        "x?y+z*",
        ".",
        ".{3}",
        "[a-f]{1,70}",
        "[^a-z]",
        "[^\\n\"]{0,40}",
        "\\d+\\.\\d{2}",
        "\\w+@\\w+\\.(com|org)",
        "(\\S+ )*\\S+",
        "[\\]\\-a]",
        "[]a]+",
        "[a-]",
        "\\x41\\x{1F600}\\t",
        "[\\x{e0}-\\x{2000}]+",
        "[\\x{7f0}-\\x{10ffff}]",
        "\\D\\W\\S",
        "^abc$",
        "^a|b$",
        "(?:ab|a)(?<n>bc|c)",
        "(?P<year>\\d{4})-(0[1-9]|1[0-2])",
        "(a*)*",
        "(a?){3}b",
        "((a|b){2,3}c?){1,4}",
        "\\.\\*\\[",
        "a{0}b",
        "(|a){5}",
        "[[:alpha:]_][[:alnum:]_]*",
        "[[:^digit:]]",
        "\xc3\xa9+|\xe2\x82\xac",
        "[\xc3\xa0-\xc3\xbf\xf0\x9f\x98\x80]{2}",
        "(yes|no|maybe)(, (yes|no|maybe)){0,3}",
        "[\\d\\s]{3}",
        "[\\b]",
        "(a|ab)(c|bcd)(d*)",
        "(a{1,3}){2,4}",
        "\\e\\a\\f\\v\\0",
    };

    (void)state;
    random_state = 1;
    for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
        struct pair pair;
        open_pair(&pair, texts[i]);
        compare_drawn(&pair, texts[i], 200);
        close_pair(&pair);
    }
}

/* ---- random expressions ---------------------------------------------------------------------- */

static void add_random(struct ant_buf *out, int depth)
{
    static const char *const atoms[] = {"a",
                                        "b",
                                        "c",
                                        "d",
                                        ".",
                                        "[ab]",
                                        "[^a]",
                                        "[b-d]",
                                        "\xc3\xa9",
                                        "\\w",
                                        "[a\xc3\xa9-\xc3\xaf]"};
    static const char *const times[] = {"",    "",      "",     "*",     "+",  "?",
                                        "{2}", "{1,3}", "{2,}", "{0,4}", "*?", "{3,6}"};
    int kind = depth > 0 ? random_below(5) : 0;

    if (kind <= 1) {
        ant_buf_printf(out, "%s", atoms[random_below(sizeof(atoms) / sizeof(*atoms))]);
    } else if (kind <= 3) {
        for (int i = 1 + random_below(3); i > 0; i--)
            add_random(out, depth - 1);
        return;
    } else {
        ant_buf_printf(out, "(");
        for (int i = 1 + random_below(3); i > 0; i--) {
            add_random(out, depth - 1);
            ant_buf_printf(out, "%s", i > 1 ? "|" : "");
        }
        ant_buf_printf(out, ")");
    }
    ant_buf_printf(out, "%s", times[random_below(sizeof(times) / sizeof(*times))]);
}

static void random_expressions_match_what_pcre2_matches(void **state)
{
    struct ant_buf text = {0};

    (void)state;
    random_state = 2;
    for (int i = 0; i < 600; i++) {
        struct pair pair;
        text.len = 0;
        add_random(&text, 3);
        open_pair(&pair, text.data);
        compare_drawn(&pair, text.data, 10);
        for (int k = 0; k < 30; k++) { /* any text at all */
            char any[16];
            int n = random_below(10);
            for (int c = 0; c < n; c++)
                any[c] = (char)('a' + random_below(5));
            if (!agrees(&pair, any, (size_t)n, accepts(pair.automaton, any, (size_t)n)))
                fail_msg("'%.*s' and %s: PCRE2 does not agree", n, any, text.data);
        }
        close_pair(&pair);
    }
    ant_buf_release(&text);
}

/* ---- what is refused ------------------------------------------------------------------------- */

static void errors_say_what_and_where(void **state)
{
    static const struct {
        const char *text, *why;
    } bad[] = {
        {"a(b", "at byte 1: a group that does not end: ')' is missing"},
        {"ab)", "at byte 2: a ')' that closes nothing"},
        {"[a", "at byte 0: a class that does not end: ']' is missing"},
        {"*a", "at byte 0: nothing to repeat"},
        {"a**", "at byte 2: nothing to repeat"},
        {"a++", "at byte 2: possessive repetition is not known"},
        {"a{2", "at byte 1: a repetition that does not end: '}' is missing"},
        {"a{3,2}", "at byte 1: a repetition of at most less than at least"},
        {"a{70000}", "at byte 2: more repetitions than 65535"},
        {"{", "at byte 0: '{' as a character is written \\{"},
        {"a^b", "at byte 1: '^' and '$' are known at the two ends of the whole alone"},
        {"(^a)", "at byte 1: '^' and '$' are known at the two ends of the whole alone"},
        {"(?=a)", "at byte 0: this kind of group is not known (no looks ahead or behind, no "
                  "options)"},
        {"(?i)a", "at byte 0: this kind of group is not known (no looks ahead or behind, no "
                  "options)"},
        {"(a)\\1", "at byte 3: this escape is not known (no references back, \\b, \\p, \\A, \\Z "
                   "...)"},
        {"\\bword", "at byte 0: this escape is not known (no references back, \\b, \\p, \\A, \\Z "
                    "...)"},
        {"a\\", "at byte 1: a backslash with nothing behind it"},
        {"\\x4", "at byte 2: hexadecimal digits are missing"},
        {"\\x4\x12", "at byte 2: hexadecimal digits are missing"},
        {"\\ud800", "at byte 2: there is no such character"},
        {"\\012", "at byte 0: octal numbers are not known: write \\xHH"},
        {"[z-a]", "at byte 1: a range that ends before it begins"},
        {"[a-\\d]", "at byte 1: a range that ends with a class"},
        {"[[:nix:]]", "at byte 1: no class of this name is known"},
        {"[^\\d\\D]", "no text can match"},
        {"a\xff", "at byte 1: not UTF-8"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        struct ant_program program;
        struct ant_error err = {{0}};
        int rc = try_regex(bad[i].text, strlen(bad[i].text), &program, &err);
        assert_true(rc == ANT_EDATA || rc == ANT_EUNSUPP);
        assert_string_equal(err.text, bad[i].why);
    }
}

static char *repeat_text(const char *text, int times)
{
    struct ant_buf out = {0};

    for (int i = 0; i < times; i++)
        ant_buf_printf(&out, "%s", text);
    return out.data;
}

/* Groups without end, expressions that a set of states is exponential for, repetitions of
 * repetitions: an error, or an automaton that stays within its bounds. */
static void hostile_expressions_end(void **state)
{
    char *deep = repeat_text("(", 100000), *deep_star = repeat_text("(a*", 150);
    char *long_class = repeat_text("[^a-z]", 100000), *closed = repeat_text(")*", 150);
    struct ant_buf stars = {0}, text = {0};
    struct ant_program program;
    struct ant_error err;

    (void)state;
    assert_int_equal(try_regex(deep, strlen(deep), &program, &err), ANT_EUNSUPP);
    assert_string_equal(err.text, "at byte 200: too many groups in groups");
    assert_int_equal(try_regex(long_class, strlen(long_class), &program, &err), ANT_EUNSUPP);
    ant_buf_printf(&stars, "%s%s", deep_star, closed);
    const char *const hard[] = {stars.data, "(.*a.{60000}){60000}", "((a{0,60000}){0,60000})*b",
                                "(a|a|aa|(a?){60000}){60000}", ".*a.{0,900}b.{0,900}c"};
    random_state = 3;
    for (size_t i = 0; i < sizeof(hard) / sizeof(*hard); i++) {
        assert_int_equal(try_regex(hard[i], strlen(hard[i]), &program, &err), 0);
        struct ant_automaton *automaton = ant_automaton_open(&program);
        for (int k = 0; k < 4 && !ant_automaton_is_full(automaton); k++) {
            uint32_t at = ant_automaton_start(automaton);
            for (int c = 0; c < 2000 && !ant_automaton_is_full(automaton); c++)
                at = ant_automaton_next(automaton, at, (uint8_t)('a' + random_below(2)));
        }
        ant_automaton_close(automaton);
        ant_program_release(&program);
    }
    free(deep);
    free(deep_star);
    free(closed);
    free(long_class);
    ant_buf_release(&stars);
    ant_buf_release(&text);
}

static void automata_forget_and_find_the_same_again(void **state)
{
    struct pair pair;

    (void)state;
    open_pair(&pair, "(a|b){3,9}c");
    uint32_t n = 0;
    for (int i = 0; i < 2; i++) {
        assert_true(accepts(pair.automaton, "ababc", 5));
        assert_false(accepts(pair.automaton, "abc", 3));
        assert_true(i == 0 || ant_automaton_count(pair.automaton) == n);
        n = ant_automaton_count(pair.automaton);
        ant_automaton_clear(pair.automaton);
    }
    close_pair(&pair);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(expressions_match_what_pcre2_matches),
        cmocka_unit_test(random_expressions_match_what_pcre2_matches),
        cmocka_unit_test(errors_say_what_and_where),
        cmocka_unit_test(hostile_expressions_end),
        cmocka_unit_test(automata_forget_and_find_the_same_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
