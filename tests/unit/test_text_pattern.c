/* SPDX-License-Identifier: Apache-2.0 */
/* Patterns: Oniguruma's meaning in PCRE2's hands, refusals by name, limits. What whole split
 * patterns make of texts is in test_text_golden. */
#include "config.h"

#include "text/pattern.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static struct ant_matcher *matcher;

static int set_up(void **state)
{
    (void)state;
    matcher = ant_matcher_open();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    ant_matcher_close(matcher);
    return 0;
}

static struct ant_pattern *regex(const char *source)
{
    struct ant_pattern *pattern;
    struct ant_error err;
    if (ant_pattern_regex(&pattern, source, strlen(source), &err) < 0)
        fail_msg("'%s': %s", source, err.text);
    return pattern;
}

/* All matches, each in square brackets; closes the pattern. */
static void expect(struct ant_pattern *pattern, const char *text, const char *expected)
{
    struct ant_search search;
    struct ant_buf found = {0};
    struct ant_error err;
    size_t start, end;
    int more;
    ant_search_begin(&search, pattern, matcher, text, strlen(text));
    while ((more = ant_search_next(&search, &start, &end, &err)) > 0)
        ant_buf_printf(&found, "[%.*s]", (int)(end - start), text + start);
    if (more < 0)
        fail_msg("%s", err.text);
    ant_buf_add(&found, "", 1);
    assert_string_equal(found.data, expected);
    ant_buf_release(&found);
    ant_pattern_close(pattern);
}

static void test_meaning(void **state)
{
    (void)state;
    static const char *const cases[][3] = {
        /* white space is White_Space: U+0085 and U+3000, not U+180E or U+200B */
        {"\\s+",
         "a\xc2\x85\xe3\x80\x80"
         "b\xe1\xa0\x8e"
         "c\xe2\x80\x8b",
         "[\xc2\x85\xe3\x80\x80]"},
        {"[\\S]+", " a\xe1\xa0\x8e ", "[a\xe1\xa0\x8e]"},
        {"[^\\S]", "a b", "[ ]"},
        /* a '+' behind an interval repeats it, elsewhere it is possessive */
        {"\\d{1,3}+", "12345678", "[12345678]"},
        {"a++b|a", "aab aa", "[aab][a][a]"},
        {"(?:ab){2}?c", "ababc c abc", "[ababc][c][c]"},
        {"x{,2}y", "xxxy y", "[xxy][y]"},
        {"a{b}", "a{b}", "[a{b}]"},
        {"a{1,2}{2}", "aaaaa", "[aaaa]"},
        /* options */
        {"(?i:'S)t", "'st 'ST 'St", "['st]['St]"},
        {"a(?i)b|c", "aB ac aC c", "[aB][ac][aC]"},
        {"(?m:a.b)", "a\nb", "[a\nb]"},
        {"a.b", "a\nb a-b", "[a-b]"},
        {"(?i:k)", "\xe2\x84\xaa", "[\xe2\x84\xaa]"},
        /* lines */
        {"^.|.$", "ab\ncd", "[a][b][c][d]"},
        {"\\A.|.\\z", "ab\ncd", "[a][d]"},
        /* classes */
        {"[a-c-e]+", "abc-e d", "[abc-e]"},
        {"[^(x[yz])]+", "a(b)xyzc", "[a][b][c]"},
        {"[]a]+", "]a[", "[]a]"},
        {"[\\x41-\\u0043\\n]+", "ABCD\n", "[ABC][\n]"},
        {"\\h+\\v", "fFg0\v", "[0\v]"},
        {"[\\h&]+", "a&g", "[a&]"},
        {"\\w+", "na\xc3\xafve_x \xc2\xb2 \xe2\x93\x90",
         "[na\xc3\xafve_x][\xc2\xb2][\xe2\x93\x90]"},
        {"\\p{Lu}\\p{^Lu}", "aBcD", "[Bc]"},
        {"\\p{Uppercase_Letter}|\\P{Letter}", "aB1", "[B][1]"},
        {"\\p{Han}+", "a\xe4\xb8\xad\xe3\x80\x82", "[\xe4\xb8\xad]"},
        /* empty matches, never right behind a match */
        {"b*", "abba", "[][bb][]"},
        {"\\b", "ab cd", "[][][][]"},
        {"(?=(c))", "abc", "[]"},
        {"(?<=a)b(?!c)", "abc ab", "[b]"},
        {"(?>a*)ab|b", "aab", "[b]"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        expect(regex(cases[i][0]), cases[i][1], cases[i][2]);
}

static void test_refusals(void **state)
{
    (void)state;
    static const struct {
        const char *source;
        int code;
        const char *text;
    } cases[] = {
        {"(a)\\1", ANT_EUNSUPP, "'\\1'"},
        {"\\Ga", ANT_EUNSUPP, "'\\G'"},
        {"a\\Kb", ANT_EUNSUPP, "'\\K'"},
        {"\\X", ANT_EUNSUPP, "'\\X'"},
        {"[\\W]", ANT_EUNSUPP, "'\\W'"},
        {"[[:alpha:]]", ANT_EUNSUPP, "POSIX class"},
        {"[a&&b]", ANT_EUNSUPP, "intersection"},
        {"[a[^b]]", ANT_EUNSUPP, "negated class within"},
        {"[a-\\d]", ANT_EUNSUPP, "end of a range"},
        {"(?x: a)", ANT_EUNSUPP, "kind of group"},
        {"(?<name>a)", ANT_EUNSUPP, "kind of group"},
        {"(?#c)", ANT_EUNSUPP, "kind of group"},
        {"\\xe9", ANT_EUNSUPP, "single byte"},
        {"\\pL", ANT_EUNSUPP, "without braces"},
        {"\\p{L1}", ANT_EUNSUPP, "unknown property"},
        {"\\p{Klingon}", ANT_EDATA, "compiled"},
        {"(*UTF)a", ANT_EDATA, "quantifier of nothing"},
        {"a|*", ANT_EDATA, "quantifier of nothing"},
        {"(a", ANT_EDATA, "unfinished group"},
        {"a)", ANT_EDATA, "')' too many"},
        {"[a", ANT_EDATA, "unfinished class"},
        {"[z-a]", ANT_EDATA, "empty range"},
        {"\\x{110000}", ANT_EDATA, "no character"},
        {"\\u12", ANT_EDATA, "unfinished"},
        {"a\\", ANT_EDATA, "backslash"},
        {"((((((a{9999}){9999}){9999}){9999}){9999}){9999})", ANT_EDATA, "compiled"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct ant_pattern *pattern = NULL;
        struct ant_error err = {0};
        int code = ant_pattern_regex(&pattern, cases[i].source, strlen(cases[i].source), &err);
        if (code != cases[i].code || !strstr(err.text, cases[i].text) || strchr(err.text, '\n'))
            fail_msg("'%s': %d '%s', expected %d '%s'", cases[i].source, code, err.text,
                     cases[i].code, cases[i].text);
        assert_null(pattern);
    }
    char deep[400];
    struct ant_pattern *pattern;
    memset(deep, '(', sizeof deep);
    assert_int_equal(ant_pattern_regex(&pattern, deep, sizeof deep, NULL), ANT_EDATA);
    memset(deep, '[', sizeof deep);
    assert_int_equal(ant_pattern_regex(&pattern, deep, sizeof deep, NULL), ANT_EDATA);
    assert_int_equal(ant_pattern_text(&pattern, "", 0, NULL), ANT_EUNSUPP);
}

static void test_limits(void **state)
{
    (void)state;
    struct ant_pattern *pattern = regex("(a+)+$");
    struct ant_search search;
    struct ant_error err;
    size_t start, end, n = 1 << 20;
    char *text = malloc(n);
    memset(text, 'a', n);
    text[40] = 'b';
    ant_search_begin(&search, pattern, matcher, text, 41);
    assert_int_equal(ant_search_next(&search, &start, &end, &err), ANT_EDATA);
    assert_non_null(strstr(err.text, "split pattern fails"));
    ant_pattern_close(pattern);

    /* A megabyte of backtracking points is no reason to fail. */
    pattern = regex("(?:a|b)*c|(?:a|b)+");
    ant_search_begin(&search, pattern, matcher, text, 300000);
    assert_int_equal(ant_search_next(&search, &start, &end, &err), 1);
    assert_int_equal(end - start, 300000);
    ant_pattern_close(pattern);

    pattern = regex("\\p{L}+|\\s+(?!\\S)");
    text[40] = 'a';
    ant_search_begin(&search, pattern, matcher, text, n);
    assert_int_equal(ant_search_next(&search, &start, &end, &err), 1);
    assert_int_equal(end, n);
    assert_int_equal(ant_search_next(&search, &start, &end, &err), 0);
    ant_pattern_close(pattern);
    free(text);
}

static bool is_vowel(uint32_t c)
{
    return c == 'a' || c == 0xe9;
}

static void test_other_kinds(void **state)
{
    (void)state;
    struct ant_pattern *pattern;
    assert_int_equal(ant_pattern_text(&pattern, "aa", 2, NULL), 0);
    expect(pattern, "aaabaa", "[aa][aa]");
    assert_int_equal(ant_pattern_text(&pattern, ".", 1, NULL), 0);
    expect(pattern, "a.b..", "[.][.][.]");
    expect(ant_pattern_class(is_vowel), "ab\xc3\xa9\xc3\xa8", "[a][\xc3\xa9]");
    expect(ant_pattern_class(is_vowel), "", "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_meaning),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_other_kinds),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
