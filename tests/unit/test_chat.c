/* SPDX-License-Identifier: Apache-2.0 */
/* Chat templates: what goes wrong with them and with conversations, and where models keep them.
 * What they make of conversations is compared with jinja2 in test_jinja_golden.c. */
#include "config.h"

#include "text/chat.h"
#include "text/jinja.h"
#include "text/tokenizer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "model_files.h"

static struct ant_tokenizer *tokenizer;

static const char tokenizer_json[] =
    "{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"<s>\":1,\"</s>\":2},\"merges\":[]},"
    "\"added_tokens\":[{\"id\":1,\"content\":\"<s>\",\"special\":true},"
    "{\"id\":2,\"content\":\"</s>\",\"special\":true}]}";

static void put(const char *name, const char *text)
{
    write_in(test_folder, name, text, strlen(text));
}

static int set_up(void **state)
{
    struct ant_error err;
    make_test_folder(state);
    put("tokenizer_config.json",
        "{\"bos_token\": \"<s>\", \"eos_token\": {\"content\": \"</s>\"}}");
    put("tokenizer.json", tokenizer_json);
    char *path = ant_xasprintf("%s/tokenizer.json", test_folder);
    int rc = ant_tokenizer_open_json(&tokenizer, path, &err);
    free(path);
    return rc;
}

static int tear_down(void **state)
{
    ant_tokenizer_close(tokenizer);
    return remove_test_folder(state);
}

/* What the template makes of no variables at all: its text, or the error. Caller frees. */
static char *result_of(const char *source)
{
    struct ant_jinja *jinja;
    struct ant_error err = {{0}};
    struct ant_buf out = {0};
    const struct tm now = {0};

    int rc = ant_jinja_open(&jinja, source, strlen(source), &err);
    if (rc == 0) {
        rc = ant_jinja_render(jinja, NULL, 0, &now, &out, &err);
        ant_jinja_close(jinja);
    }
    ant_buf_add(&out, rc < 0 ? err.text : "", rc < 0 ? strlen(err.text) : 0);
    return out.data;
}

static void expect(const char *source, const char *wanted)
{
    char *result = result_of(source);
    assert_string_equal(result, wanted);
    free(result);
}

/* Unknown constructs are named, with their line, at once ... */
static void test_unknown(void **state)
{
    (void)state;
    expect("a\n{% include 'x' %}", "line 2: tag 'include' is not supported here");
    expect("\n\n{{ x | urlize }}", "line 3: filter 'urlize' is not supported");
    expect("{{ x is prime }}", "line 1: test 'prime' is not supported");
    expect("{{ f(*x) }}", "line 1: '*' in a call is not supported");
    expect("{{ f(**x) }}", "line 1: '**' in a call is not supported");
    expect("{% for x in y recursive %}{% endfor %}",
           "line 1: 'for ... recursive' is not supported");
    expect("{{ '\\N{DASH}' }}", "line 1: an escape in a string is malformed or not supported");
    /* ... or, in a branch, when it is reached. */
    expect("{% if false %}{{ x | urlize }}{% endif %}fine", "fine");
    expect("{% if true %}\n{{ x | urlize }}{% endif %}",
           "line 2: filter 'urlize' is not supported");
    expect("{{ 'a'.zfill(3) }}", "line 1: method 'zfill' of a str is not supported");
    expect("{{ lipsum() }}", "line 1: function 'lipsum' is not there");
    expect("{{ 'x' | indent(tabs=1) }}", "line 1: argument 'tabs' of indent is not supported");
    expect("{{ 9223372036854775807 + 1 }}", "line 1: integers beyond 64 bits are not supported");
    expect("{{ '%s' % 1 }}", "line 1: '%' of a str is not supported; join with '~'");
}

static void test_malformed(void **state)
{
    (void)state;
    expect("{{ x ", "line 1: {{ has no end");
    expect("x\n{% if x %}\ny", "line 3: the template ends, but there is no 'elif' for line 3");
    expect("{# ", "line 1: a comment has no end");
    expect("{% raw %} {{ ", "line 1: {% raw %} has no end");
    expect("{{ 'x }}", "line 1: a string has no end");
    expect("{{ (1] }}", "line 1: unexpected ']'");
    expect("{{ }}", "line 1: the tag ends where an expression should be");
    expect("{{ 1 2 }}", "line 1: unexpected 'number' where the end of the tag should be");
    expect("{% endif %}", "line 1: tag 'endif' is not supported here");
    expect("{% break %}", "line 1: 'break' is not in a loop");
    expect("{{ \xc3 }}", "not UTF-8 at byte 3");
    expect("{{ \xc3\xa9 }}", "line 1: unexpected character '\xc3\xa9'");
    expect("{{ 99999999999999999999 }}", "line 1: a number is too large");
}

static void test_raised(void **state)
{
    (void)state;
    expect("{{ raise_exception('Roles\nmust alternate') }}",
           "line 1: the template says: Roles must alternate");
    expect("\n{{ x.y.z }}", "line 2: 'x' is undefined");
    expect("{{ none + 'x' }}", "line 1: a None and a str have no sum");
    expect("{{ 'x' + nothing }}", "line 1: 'nothing' is undefined");
    expect("{{ [1].append(2) }}", "line 1: templates may not change a list");
    expect("{{ 1 // 0 }}", "line 1: division by zero");
    expect("{% set a, b = [1] %}", "line 1: 1 values for 2 names");
    expect("{{ nothing | float }}", "line 1: 'nothing' is undefined");
    expect("{{ nothing | indent }}", "line 1: 'nothing' is undefined");
    expect("{{ nothing | dictsort }}", "line 1: 'nothing' is undefined");
    expect("{{ none | indent }}", "line 1: a None has no lines to indent");
    expect("{{ 'inf' | int(7) }}", "7");
    expect("{{ 1e300 | int }}", "line 1: integers beyond 64 bits are not supported");
    expect("{{ nothing | tojson }}", "line 1: a undefined cannot be written as JSON: nothing");
}

/* A part of a path is as long as it is, whatever stands behind it. */
static void test_paths(void **state)
{
    (void)state;
    expect("{{ [['x', 'y']] | map(attribute='01'[:1]) | join }}", "x");
    expect("{{ [['x', 'y']] | map(attribute='1') | join }}", "y");
    expect("{{ [[['x', 'y']]] | map(attribute='0.1') | join }}", "y");
    expect("{{ -9223372036854775807 | abs }}", "9223372036854775807");
    expect("{{ [true | abs, -2.5 | abs, true | int, 2.9 | int, ' 7 ' | int, 'x' | int(3)] }}",
           "[1, 2.5, 1, 2, 7, 3]");
}

/* No template takes memory, time or stack without end. */
static void test_hostile(void **state)
{
    (void)state;
    char deep[4096];
    struct ant_buf source = {0};

    expect("{% set n = namespace(s='x') %}{% for i in range(99) %}{% set n.s = n.s + n.s %}"
           "{% endfor %}",
           "line 1: the template needs more than 512 MiB of memory");
    expect("{{ 'abcdefgh' * 4000000000000 }}",
           "line 1: the template needs more than 512 MiB of memory");
    expect("{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
           "line 1: the template needs more than 512 MiB of memory");
    expect("{% set s = 'x' * 100000 %}{% for i in range(99999) %}{{ s.find('y') }}{% endfor %}",
           "line 1: the template goes on without end");
    expect("{{ ('a' * 1000000).rfind('a' * 500000 + 'b') }}",
           "line 1: the template goes on without end");
    expect("{{ ('a' * 1000000).rsplit('a' * 500000 + 'b', 1) }}",
           "line 1: the template goes on without end");
    expect("{{ (' ' * 1000000).strip('a' * 1000000 + ' ') }}",
           "line 1: the template goes on without end");
    expect(
        "{% set s = 'a' * 10000000 %}{% for i in range(9999) %}{{ s.startswith(s) }}{% endfor %}",
        "line 1: the template goes on without end");
    expect("{% set s = 'a' * 10000000 %}{% set t = s ~ '' %}{% for i in range(9999) %}{{ s == t }}"
           "{% endfor %}",
           "line 1: the template goes on without end");
    expect("{% set s = 'a' * 10000000 %}{% for i in range(9999) %}{{ s | length }}{% endfor %}",
           "line 1: the template goes on without end");
    expect("{{ range(1000000) | list }}", "line 1: range of more than 100000");
    expect("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "line 1: nested more than 800 deep");
    expect("{% set n = namespace(x=[]) %}{% for i in range(9999) %}{% set n.x = [n.x] %}"
           "{% endfor %}{{ n.x }}",
           "line 1: nested more than 2500 deep");
    expect("{{ 'ab' | replace('', 'x' * 100000) | replace('', 'y' * 100000) }}",
           "line 1: the template needs more than 512 MiB of memory");
    memset(deep, '-', sizeof(deep));
    ant_buf_printf(&source, "{{ 1 %.*s1 }}", 4000, deep);
    expect(source.data, "line 1: nested more than 120 deep");
    source.len = 0;
    memset(deep, '(', sizeof(deep));
    ant_buf_printf(&source, "{{ %.*s1 }}", 4000, deep);
    expect(source.data, "line 1: brackets are nested too deep");
    source.len = 0;
    for (int i = 0; i < 2000; i++)
        ant_buf_printf(&source, "{%% if x %%}");
    expect(source.data, "line 1: nested more than 120 deep");
    source.len = 0;
    ant_buf_printf(&source, "{{ 1");
    for (int i = 0; i < 5000; i++)
        ant_buf_printf(&source, " + 1");
    ant_buf_printf(&source, " }}");
    expect(source.data, "line 1: nested more than 800 deep");
    source.len = 0;
    memset(ant_buf_grow(&source, (1 << 20) + 1), ' ', (1 << 20) + 1);
    expect(source.data, "longer than 1048576 bytes");
    ant_buf_release(&source);
}

/* ---- conversations --------------------------------------------------------------------------- */

static const char plain[] = "{{ bos_token }}{% for m in messages %}[{{ m.role }}]{{ m.content }}"
                            "{{ m.thinking }}{% endfor %}{{ eos_token }}{{ tools | length if "
                            "tools }}{{ tone }}{% if add_generation_prompt %}>{% endif %}";

static void converse(const struct ant_chat_settings *settings, const char *json, const char *wanted)
{
    struct ant_chat *chat;
    struct ant_error err = {{0}};
    struct ant_buf out = {0};

    assert_int_equal(ant_chat_open(&chat, plain, tokenizer, settings, &err), 0);
    int rc = ant_chat_render(chat, json, strlen(json), &out, &err);
    if (rc < 0)
        assert_int_equal(out.len, 0);
    assert_string_equal(rc < 0 ? err.text : out.data, wanted);
    ant_buf_release(&out);
    ant_chat_close(chat);
}

static void test_conversations(void **state)
{
    (void)state;
    const struct ant_chat_settings none = {.name = "T"};
    const struct ant_chat_settings some = {
        .name = "T", .system = "kind", .variables = "{\"tone\": \"!\"}"};

    converse(&none, "[{\"role\":\"user\",\"content\":\"a\"}]", "<s>[user]a</s>>");
    converse(&some, "[{\"role\":\"user\",\"content\":\"a\"}]", "<s>[system]kind[user]a</s>!>");
    converse(&some,
             "[{\"role\":\"system\",\"content\":\"b\"},{\"role\":\"user\",\"content\":\"a\"}]",
             "<s>[system]b[user]a</s>!>");
    converse(&none, "[{\"role\":\"assistant\",\"content\":\"a\",\"reasoning\":\"hm\"}]",
             "<s>[assistant]ahm</s>>");
    converse(&some,
             "{\"messages\":[{\"role\":\"developer\",\"content\":\"a\"}],\"tools\":[1,2],"
             "\"chat_template_kwargs\":{\"tone\":\"?\",\"add_generation_prompt\":false}}",
             "<s>[developer]a</s>2?");
    converse(&none,
             "[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"a\"},"
             "{\"type\":\"text\",\"text\":\"b\"}]},{\"role\":\"user\",\"content\":[]}]",
             "<s>[user]a\nb[user]</s>>");
    converse(&none, "[{\"role\":\"user\",\"content\":[{\"type\":\"image_url\",\"image_url\":{}}]}]",
             "message 1 has a part of type 'image_url': only text goes");
    converse(&none, "[{\"role\":\"user\",\"content\":[{\"type\":\"text\"}]}]",
             "message 1: part 1 is no text");
    converse(&none, "[{\"role\":\"user\",\"content\":[\"a\"]}]", "message 1: part 1 is no text");
    converse(&none, "[]", "no list of messages");
    converse(&none, "[1]", "message 1 is no object");
    converse(&none, "{\"messages\":3}", "no list of messages");
    converse(&none, "{\"messages\":[{}],\"model\":1}", "'model' has no meaning in a conversation");
    converse(&none, "[{\"role\":\"user\"",
             "the messages are no JSON: '}' expected near end of file");
    converse(&none, "[{\"role\":\"\\ud800\"}]",
             "the messages are no JSON: invalid Unicode '\\uD800' near '\"\\ud800\"'");
}

/* A template that goes through parts gets them, by whatever way it comes to them. */
static void test_parts(void **state)
{
    static const char *const templates[] = {
        "{% for m in messages %}{% for p in m.content %}({{ p.text }}){% endfor %}{% endfor %}",
        "{% for m in messages %}{% for p in m['content'] %}({{ p['text'] }}){% endfor %}{% endfor "
        "%}",
        "{% macro say(content) %}{% for p in content %}({{ p.text }}){% endfor %}{% endmacro %}"
        "{% for m in messages %}{{ say(m.content) }}{% endfor %}"};
    static const char said[] =
        "[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"a\"},"
        "{\"type\":\"text\",\"text\":\"b\"}]}]";
    const struct ant_chat_settings settings = {.name = "T"};

    (void)state;
    for (size_t i = 0; i < sizeof(templates) / sizeof(*templates); i++) {
        struct ant_chat *chat;
        struct ant_error err = {{0}};
        struct ant_buf out = {0};

        assert_int_equal(ant_chat_open(&chat, templates[i], tokenizer, &settings, &err), 0);
        if (ant_chat_render(chat, said, strlen(said), &out, &err) < 0)
            fail_msg("%s", err.text);
        assert_string_equal(out.data, "(a)(b)");
        ant_buf_release(&out);
        ant_chat_close(chat);
    }
}

static void test_settings(void **state)
{
    (void)state;
    struct ant_chat *chat;
    struct ant_error err = {{0}};
    struct ant_buf out = {0};
    const struct ant_chat_settings bad = {.name = "T", .variables = "[]"};
    const struct ant_chat_settings good = {.name = "chat template 'x'"};

    assert_true(ant_chat_open(&chat, "", tokenizer, &bad, &err) < 0);
    assert_string_equal(err.text, "the template's variables are no JSON object");
    assert_true(ant_chat_open(&chat, "\n{% x %}", tokenizer, &good, &err) < 0);
    assert_string_equal(err.text, "chat template 'x': line 2: tag 'x' is not supported here");
    assert_int_equal(ant_chat_open(&chat, plain, tokenizer, &good, &err), 0);
    assert_int_equal(ant_chat_render_text(chat, "a\0\"", 3, &out, &err), 0);
    assert_int_equal(out.len, 17);
    assert_memory_equal(out.data, "<s>[user]a\0\"</s>>", 17);
    assert_true(ant_chat_render_text(chat, "a\xff", 2, &out, &err) < 0);
    assert_string_equal(err.text, "text is not UTF-8 at byte 1");
    ant_buf_release(&out);
    ant_chat_close(chat);
}

static void expect_found(int wanted, const char *text)
{
    struct ant_error err = {{0}};
    char *source = NULL;

    int found = ant_chat_find_folder(&source, test_folder, &err);
    assert_int_equal(found, wanted);
    if (found != 0)
        assert_non_null(strstr(found > 0 ? source : err.text, text));
    free(source);
}

static void test_find(void **state)
{
    (void)state;
    expect_found(0, "");
    put("chat_template.json", "{\"chat_template\": \"three\"}");
    expect_found(1, "three");
    put("tokenizer_config.json", "{\"model_max_length\": 1000000000000000019884624838656, "
                                 "\"chat_template\": \"two\"}");
    expect_found(1, "two");
    put("tokenizer_config.json", "{\"chat_template\": [{\"name\": \"tool_use\", \"template\": "
                                 "\"no\"}, {\"name\": \"default\", \"template\": \"yes\"}]}");
    expect_found(1, "yes");
    put("tokenizer_config.json", "{\"chat_template\": [{\"name\": \"rag\"}]}");
    expect_found(ANT_EUNSUPP, "neither a text nor a list with a 'default'");
    put("tokenizer_config.json", "{");
    expect_found(ANT_EDATA, "line 1 is no JSON");
    put("chat_template.jinja", "one");
    expect_found(1, "one");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_unknown),  cmocka_unit_test(test_malformed),
        cmocka_unit_test(test_paths),    cmocka_unit_test(test_raised),
        cmocka_unit_test(test_hostile),  cmocka_unit_test(test_conversations),
        cmocka_unit_test(test_settings), cmocka_unit_test(test_find),
        cmocka_unit_test(test_parts),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
