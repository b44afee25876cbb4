/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

#include "answers.h"

#include "base/mem.h"
#include "store/exchange.h"

static char folder[] = "/tmp/antiphon-exchange-XXXXXX";
static char path[80], part[90];
static struct ant_error err;

static int set_up(void **state)
{
    (void)state;
    memset(folder + strlen(folder) - 6, 'X', 6);
    if (!mkdtemp(folder))
        return -1;
    snprintf(path, sizeof(path), "%s/p.h5", folder);
    snprintf(part, sizeof(part), "%s.part", path);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    unlink(path);
    return rmdir(folder); /* nothing else may be there */
}

static void assert_error(int rc, int code, const char *text)
{
    if (rc != code || !strstr(err.text, text) || strchr(err.text, '\n'))
        fail_msg("got %d '%s', expected %d with '%s'", rc, rc < 0 ? err.text : "", code, text);
}

static FILE *memory_file(const char *text, size_t bytes)
{
    FILE *file = bytes ? fmemopen((void *)text, bytes, "r") : fopen("/dev/null", "r");

    assert_non_null(file);
    return file;
}

/* Pack a text; what a reader says of it. */
static int pack_text(enum ant_exchange_format format, const char *text, size_t bytes)
{
    const struct ant_exchange_settings settings = {.format = format};
    struct ant_exchange_reader *reader = NULL;
    struct ant_exchange_row row;
    struct ant_pack *pack = NULL;
    FILE *file = memory_file(text, bytes);
    int rc = ant_pack_open(&pack, path, &err);

    assert_int_equal(rc, 0);
    rc = ant_exchange_open(&reader, file, "in", &settings, &err);
    while (rc >= 0 && (rc = ant_exchange_next(reader, &row, &err)) > 0) {
        rc = ant_pack_add(pack, &row, &err);
        if (rc < 0)
            ant_fail_in(&err, rc, "line %lld", (long long)ant_exchange_line(reader));
    }
    if (rc == 0)
        rc = ant_pack_finish(pack, &err);
    ant_exchange_close(reader);
    ant_pack_close(pack);
    fclose(file);
    assert_int_equal(access(part, F_OK), -1);
    return rc;
}

static struct ant_prompts *packed(enum ant_exchange_format format, const char *text)
{
    struct ant_prompts *prompts = NULL;

    if (pack_text(format, text, strlen(text)) < 0 || ant_prompts_open(&prompts, path, &err) < 0)
        fail_msg("%s", err.text);
    return prompts;
}

static void assert_text(struct ant_prompts *prompts, int64_t row, const char *want)
{
    struct ant_prompt prompt;

    if (ant_prompts_read(prompts, row, &prompt, &err) < 0)
        fail_msg("%s", err.text);
    if (prompt.text_bytes != strlen(want) || memcmp(prompt.text, want, prompt.text_bytes) != 0)
        fail_msg("row %lld is '%.*s', expected '%s'", (long long)row, (int)prompt.text_bytes,
                 prompt.text, want);
}

static void every_form_of_a_json_line(void **state)
{
    (void)state;
    struct ant_prompt prompt;
    struct ant_prompts *prompts = packed(
        ANT_EXCHANGE_JSONL,
        "\xef\xbb\xbf\"one \\u00e4\\n\"\r\n"
        "\n"
        "  {\"prompt\": \"two\", \"max_tokens\": 64, \"temperature\": 0, \"seed\": -1}\n"
        "\t\r\n"
        "{\"text\":\"three\",\"id\":\"c\",\"min_tokens\":3.0,\"top_p\":0.5,\"top_k\":null}\n"
        "{\"custom_id\":\"d\",\"method\":\"POST\",\"url\":\"/v1/completions\",\"body\":"
        "{\"model\":\"m\",\"prompt\":\"four\",\"max_completion_tokens\":7,\"n\":1,\"stop\":[],"
        "\"frequency_penalty\":0,\"presence_penalty\":-1.5,\"min_p\":0.125,\"logprobs\":false,"
        "\"top_k\":5}}");
    assert_int_equal(ant_prompts_count(prompts), 4);
    assert_false(ant_prompts_are_chat(prompts));
    assert_text(prompts, 0, "one \xc3\xa4\n");
    assert_text(prompts, 3, "four");
    assert_int_equal(ant_prompts_read(prompts, 0, &prompt, &err), 0);
    assert_int_equal(prompt.has, 0);
    assert_int_equal(ant_prompts_read(prompts, 1, &prompt, &err), 0);
    assert_int_equal(prompt.has, ANT_HAS_MAX_TOKENS | ANT_HAS_TEMPERATURE | ANT_HAS_SEED);
    assert_int_equal(prompt.max_tokens, 64);
    assert_true(prompt.temperature == 0 && prompt.seed == UINT64_MAX);
    assert_int_equal(ant_prompts_read(prompts, 2, &prompt, &err), 0);
    assert_int_equal(prompt.has, ANT_HAS_MIN_TOKENS | ANT_HAS_TOP_P);
    assert_int_equal(prompt.min_tokens, 3);
    assert_int_equal(ant_prompts_read(prompts, 3, &prompt, &err), 0);
    assert_int_equal(prompt.has, ANT_HAS_MAX_TOKENS | ANT_HAS_MIN_P | ANT_HAS_TOP_K |
                                     ANT_HAS_PRESENCE | ANT_HAS_FREQUENCY | ANT_HAS_SAMPLES);
    assert_true(prompt.presence_penalty == -1.5 && prompt.frequency_penalty == 0);
    assert_int_equal(prompt.max_tokens, 7);
    assert_int_equal(prompt.top_k, 5);
    assert_true(prompt.min_p == 0.125);
    char *bytes;
    int64_t *offsets;
    assert_int_equal(ant_prompts_ids(prompts, 0, 4, NULL, &bytes, &offsets, &err), 0);
    assert_int_equal(offsets[2], 0);
    assert_int_equal(offsets[4], 2);
    assert_memory_equal(bytes, "cd", 2);
    free(bytes);
    free(offsets);
    ant_prompts_close(prompts);
}

static void ids_of_tokens(void **state)
{
    (void)state;
    struct ant_prompt prompt;
    struct ant_prompts *prompts =
        packed(ANT_EXCHANGE_JSONL, "{\"prompt\":[5,0,2147483647],\"max_tokens\":3}\n"
                                   "{\"prompt_token_ids\":[7],\"skip_special_tokens\":true}\n");
    assert_int_equal(ant_prompts_count(prompts), 2);
    assert_int_equal(ant_prompts_read(prompts, 0, &prompt, &err), 0);
    assert_null(prompt.text);
    assert_int_equal(prompt.n_tokens, 3);
    assert_int_equal(prompt.tokens[0], 5);
    assert_int_equal(prompt.tokens[2], INT32_MAX);
    assert_int_equal(prompt.max_tokens, 3);
    assert_int_equal(ant_prompts_read(prompts, 1, &prompt, &err), 0);
    assert_int_equal(prompt.n_tokens, 1);
    assert_int_equal(prompt.tokens[0], 7);
    ant_prompts_close(prompts);
}

static void chats_keep_their_messages(void **state)
{
    (void)state;
    struct ant_prompts *prompts =
        packed(ANT_EXCHANGE_JSONL,
               "{\"messages\": [{\"role\": \"user\", \"content\": \"a \\u0000 \\\"b\\\"\"}]}\n"
               "{\"custom_id\": \"x\", \"body\": {\"messages\": [{\"role\": \"system\", "
               "\"content\": null}, {\"content\": [], \"role\": \"user\"}]}}\n");
    assert_true(ant_prompts_are_chat(prompts));
    assert_text(prompts, 0, "[{\"role\":\"user\",\"content\":\"a \\u0000 \\\"b\\\"\"}]");
    assert_text(prompts, 1,
                "[{\"role\":\"system\",\"content\":null},{\"content\":[],\"role\":\"user\"}]");
    ant_prompts_close(prompts);
}

static void integer_ids(void **state)
{
    (void)state;
    int64_t ids[2];
    struct ant_prompts *prompts =
        packed(ANT_EXCHANGE_JSONL, "{\"prompt\":\"a\",\"id\":-9007199254740993}\n"
                                   "{\"prompt\":\"b\",\"id\":9223372036854775807}");
    assert_int_equal(ant_prompts_id_kind(prompts), ANT_ID_INTEGER);
    assert_int_equal(ant_prompts_ids(prompts, 0, 2, ids, NULL, NULL, &err), 0);
    assert_true(ids[0] == -9007199254740993 && ids[1] == INT64_MAX);
    ant_prompts_close(prompts);
}

static void bad_json_lines_are_named(void **state)
{
    (void)state;
    static const struct {
        const char *text, *error;
        int code;
    } cases[] = {
        {"\"a\"\n{\"prompt\": \"x\"\n", "'in', line 2: no JSON at column", ANT_EDATA},
        {"\"a\"\n\n\n{} {}\n", "'in', line 4: no JSON", ANT_EDATA},
        {"\"a\"\n\"\xff\"\n", "line 2: no JSON", ANT_EDATA},
        {"[\"a\",\"b\"]\n", "line 1: a list; there must be one prompt a line", ANT_EDATA},
        {"\"a\"\n[1]\n", "line 2: an array is no prompt", ANT_EDATA},
        {"17\n", "a number is no prompt", ANT_EDATA},
        {"{\"prompt\":[\"a\",\"b\"]}", "'prompt' is a list, but not of token ids", ANT_EDATA},
        {"{\"prompt\":[1,-2]}", "'prompt' is a list, but not of token ids", ANT_EDATA},
        {"{\"prompt\":[]}", "'prompt' is an empty list", ANT_EDATA},
        {"{\"prompt_token_ids\":\"a\"}", "'prompt_token_ids' is a string, expected a list",
         ANT_EDATA},
        {"{\"prompt\":\"a\",\"prompt_token_ids\":[1]}", "more than one of 'prompt'", ANT_EDATA},
        {"{\"prompt\":[1]}\n\"a\"", "line 2: a text, where there were token ids before", ANT_EDATA},
        {"\"a\"\n{\"prompt\":[1]}", "line 2: token ids, where there were texts before", ANT_EDATA},
        {"{\"prompt\":\"a\",\"truncate_prompt_tokens\":9}",
         "'truncate_prompt_tokens' cannot be set", ANT_EUNSUPP},
        {"{\"prompt\":\"a\",\"skip_special_tokens\":false}", "'skip_special_tokens' cannot be set",
         ANT_EUNSUPP},
        {"{\"prompt\":null}", "'prompt' is null", ANT_EDATA},
        {"{\"question\":\"x\"}", "neither 'prompt' nor 'text' nor 'messages'", ANT_EDATA},
        {"{\"prompt\":\"a\",\"text\":\"b\"}", "more than one of", ANT_EDATA},
        {"{\"prompt\":\"a\",\"max_tokens\":\"5\"}", "'max_tokens' is a string, expected a number",
         ANT_EDATA},
        {"{\"prompt\":\"a\",\"max_tokens\":1.5}", "'max_tokens' is 1.5, expected an integer",
         ANT_EDATA},
        {"{\"prompt\":\"a\",\"top_p\":true}", "'top_p' is true", ANT_EDATA},
        {"{\"prompt\":\"a\",\"seed\":99999999999999999999}", "too big integer", ANT_EDATA},
        {"{\"prompt\":\"a\",\"id\":1.5}", "'id' is a number, expected a string or an integer",
         ANT_EDATA},
        {"{\"prompt\":\"a\",\"best_of\":2}", "'best_of' cannot be set for one prompt", ANT_EUNSUPP},
        {"{\"prompt\":\"a\",\"stop\":[1]}", "'stop' holds a number, expected strings", ANT_EDATA},
        {"{\"prompt\":\"a\",\"stop\":{}}", "expected a string or a list of strings", ANT_EDATA},
        {"{\"prompt\":\"a\",\"system\":1}", "'system' is a number, expected a string", ANT_EDATA},
        {"{\"body\":{\"prompt\":\"a\",\"logit_bias\":[5]}}", "'logit_bias' is an array", ANT_EDATA},
        {"{\"messages\":[]}", "'messages' must be a list", ANT_EDATA},
        {"{\"messages\":[{\"role\":\"user\"},{\"content\":\"x\"}]}", "message 2 has no 'role'",
         ANT_EDATA},
        {"\"a\"\n{\"messages\":[{\"role\":\"user\"}]}", "line 2: messages, where there were texts",
         ANT_EDATA},
        {"{\"prompt\":\"a\",\"id\":1}\n\"b\"", "line 2: the id is none, where it was an integer",
         ANT_EDATA},
        {"\"b\"\n{\"prompt\":\"a\",\"id\":1}", "the id is an integer, where it was none",
         ANT_EDATA},
        {"{\"prompt\":\"a\",\"id\":\"x\"}\n{\"prompt\":\"a\",\"id\":1}", "where it was a string",
         ANT_EDATA},
        {"{\"prompt\":\"a\",\"id\":\"x\\u0000y\"}", "zero byte", ANT_EDATA},
        {"{\"prompt\":\"a\",\"system\":\"x\\u0000y\"}", "'system' has a zero byte", ANT_EDATA},
        {"\xff\xfe\"\0", "'in' is UTF-16", ANT_EDATA},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        err.text[0] = '\0';
        int rc = pack_text(ANT_EXCHANGE_JSONL, cases[i].text, strlen(cases[i].text));
        assert_error(rc, cases[i].code, cases[i].error);
        assert_int_equal(access(path, F_OK), -1);
    }
}

static void names_that_are_passed_over(void **state)
{
    (void)state;
    static const char text[] = "{\"prompt\":\"a\",\"stop\":\"x\",\"model\":\"m\",\"foo\":1}\n"
                               "{\"prompt\":\"b\",\"foo\":1,\"b\\u0001,ar\":2}\n";
    static const char *const ignored[] = {"stop"};
    const struct ant_exchange_settings settings = {
        .format = ANT_EXCHANGE_JSONL, .ignored = ignored, .n_ignored = 1};
    struct ant_exchange_reader *reader;
    struct ant_exchange_row row;
    FILE *file = memory_file(text, sizeof(text) - 1);

    assert_int_equal(ant_exchange_open(&reader, file, "in", &settings, &err), 0);
    assert_int_equal(ant_exchange_next(reader, &row, &err), 1);
    assert_int_equal(ant_exchange_next(reader, &row, &err), 1);
    assert_int_equal(ant_exchange_line(reader), 2);
    assert_int_equal(ant_exchange_next(reader, &row, &err), 0);
    assert_string_equal(ant_exchange_unused(reader), "foo, b??ar");
    ant_exchange_close(reader);
    fclose(file);
}

static void csv_as_in_the_rfc(void **state)
{
    (void)state;
    struct ant_prompt prompt;
    struct ant_prompts *prompts =
        packed(ANT_EXCHANGE_CSV, "id,prompt,max_tokens,notes,temperature\r\n"
                                 "1,plain,5,x,\r\n"
                                 "\r\n"
                                 "\"b \"\"q\"\"\",\"two\r\nlines, \"\"quoted\"\"\",,,0.25\r\n"
                                 "c,,-3,,\n"
                                 "d,last,7,,1e0");
    assert_int_equal(ant_prompts_count(prompts), 4);
    assert_text(prompts, 0, "plain");
    assert_text(prompts, 1, "two\r\nlines, \"quoted\"");
    assert_text(prompts, 2, "");
    assert_text(prompts, 3, "last");
    assert_int_equal(ant_prompts_read(prompts, 0, &prompt, &err), 0);
    assert_int_equal(prompt.has, ANT_HAS_MAX_TOKENS);
    assert_int_equal(ant_prompts_read(prompts, 1, &prompt, &err), 0);
    assert_int_equal(prompt.has, ANT_HAS_TEMPERATURE);
    assert_true(prompt.temperature == 0.25);
    assert_int_equal(ant_prompts_read(prompts, 2, &prompt, &err), 0);
    assert_int_equal(prompt.max_tokens, -3);
    char *bytes;
    int64_t *offsets;
    assert_int_equal(ant_prompts_ids(prompts, 1, 1, NULL, &bytes, &offsets, &err), 0);
    assert_memory_equal(bytes, "b \"q\"", 5);
    free(bytes);
    free(offsets);
    ant_prompts_close(prompts);
}

static void bad_csv_is_named(void **state)
{
    (void)state;
    static const struct {
        const char *text, *error;
        int code;
    } cases[] = {
        {"a,b\n1,2\n", "line 1: which column holds the prompts? --column NAME; there are 'a', 'b'",
         ANT_EDATA},
        {"prompt,prompt\n1,2\n", "two columns are named 'prompt'", ANT_EDATA},
        {"prompt,b\n1,2\n\"x\ny\",2\n3\n", "line 5: 1 cells where the header has 2", ANT_EDATA},
        {"prompt\n\"x\n", "line 2: a quote is not closed", ANT_EDATA},
        {"prompt\n\"x\"y\n", "line 2: 'y' after a closing quote", ANT_EDATA},
        {"prompt,max_tokens\nx,1.5\n", "'max_tokens' is '1.5', expected an integer", ANT_EDATA},
        {"prompt,max_tokens\nx,9999999999999999999\n", "expected an integer", ANT_EDATA},
        {"prompt,seed\nx,-9223372036854775808\n", "line 2: 'seed' cannot be -9223372036854775808",
         ANT_EDATA},
        {"prompt,seed\nx,18446744073709551616\n", "expected an integer", ANT_EDATA},
        {"prompt;id\nx;1\n", "the header 'prompt;id' has no comma", ANT_EDATA},
        {"prompt,top_p\nx,half\n", "'top_p' is 'half', expected a number", ANT_EDATA},
        {"prompt,best_of\nx,\ny,2\n", "line 3: 'best_of' cannot be set for one prompt",
         ANT_EUNSUPP},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
        assert_error(pack_text(ANT_EXCHANGE_CSV, cases[i].text, strlen(cases[i].text)),
                     cases[i].code, cases[i].error);
}

static void plain_text(void **state)
{
    (void)state;
    static const char text[] = "one\r\n\n two \n  \n\nthree\nfour\n\n\n";
    struct ant_prompts *prompts = packed(ANT_EXCHANGE_LINES, text);
    assert_int_equal(ant_prompts_count(prompts), 5);
    assert_text(prompts, 0, "one");
    assert_text(prompts, 1, " two ");
    assert_text(prompts, 2, "  ");
    assert_text(prompts, 4, "four");
    ant_prompts_close(prompts);
    prompts = packed(ANT_EXCHANGE_PARAGRAPHS, text);
    assert_int_equal(ant_prompts_count(prompts), 3);
    assert_text(prompts, 0, "one");
    assert_text(prompts, 1, " two ");
    assert_text(prompts, 2, "three\nfour");
    ant_prompts_close(prompts);
    prompts = packed(ANT_EXCHANGE_FILE, text);
    assert_int_equal(ant_prompts_count(prompts), 1);
    assert_text(prompts, 0, text);
    ant_prompts_close(prompts);
}

static void nothing_at_all(void **state)
{
    (void)state;

    for (int format = ANT_EXCHANGE_JSONL; format <= ANT_EXCHANGE_FILE; format++) {
        struct ant_prompts *prompts = packed((enum ant_exchange_format)format, "");
        assert_int_equal(ant_prompts_count(prompts), format == ANT_EXCHANGE_FILE);
        ant_prompts_close(prompts);
    }
}

/* Enough rows that every buffer is flushed many times, options that come late and go again, and
 * prompts longer than a piece. */
static void many_rows(void **state)
{
    (void)state;
    enum { N = 30000, LONG = 3000000 };
    struct ant_pack *pack;
    struct ant_prompts *prompts;
    struct ant_prompt prompt;
    char id[32], *text = ant_xmalloc(LONG);

    for (int i = 0; i < LONG; i++)
        text[i] = (char)(i >> 4);
    assert_int_equal(ant_pack_open(&pack, path, &err), 0);
    for (int64_t i = 0; i < N; i++) {
        struct ant_exchange_row row = {
            .prompt = {.text = text + i % 100, .text_bytes = i == 9999 ? LONG - 100 : i % 200}};
        if (i >= 20000 && i % 3 == 0) {
            row.prompt.has = ANT_HAS_SEED | ANT_HAS_TOP_P;
            row.prompt.seed = (uint64_t)-i;
            row.prompt.top_p = (double)i / N;
        }
        if (i >= 10000) {
            row.id_kind = ANT_ID_STRING;
            row.id_bytes = (size_t)snprintf(id, sizeof(id), "id %lld", (long long)i);
            row.id_text = id;
        }
        assert_int_equal(ant_pack_add(pack, &row, &err), 0);
    }
    assert_int_equal(ant_pack_finish(pack, &err), 0);
    assert_string_equal(ant_pack_columns(pack), "id, top_p, seed");
    assert_int_equal(ant_pack_rows(pack), N);
    ant_pack_close(pack);

    assert_int_equal(ant_prompts_open(&prompts, path, &err), 0);
    assert_int_equal(ant_prompts_count(prompts), N);
    for (int64_t i = 0; i < N; i += i % 1000 == 0 ? 1 : 7) {
        assert_int_equal(ant_prompts_read(prompts, i, &prompt, &err), 0);
        assert_int_equal(prompt.text_bytes, i == 9999 ? LONG - 100 : i % 200);
        assert_memory_equal(prompt.text, text + i % 100, prompt.text_bytes);
        if (i >= 20000 && i % 3 == 0) {
            assert_int_equal(prompt.has, ANT_HAS_SEED | ANT_HAS_TOP_P);
            assert_true(prompt.seed == (uint64_t)-i && prompt.top_p == (double)i / N);
        } else {
            assert_int_equal(prompt.has, 0);
        }
    }
    char *bytes;
    int64_t *offsets;
    assert_int_equal(ant_prompts_ids(prompts, 0, N, NULL, &bytes, &offsets, &err), 0);
    assert_int_equal(offsets[10000], 0);
    assert_int_equal(offsets[10001], 8);
    assert_memory_equal(bytes + offsets[29999], "id 29999", 8);
    free(bytes);
    free(offsets);
    ant_prompts_close(prompts);
    free(text);
}

static const struct ant_results_id no_id = {.kind = ANT_ID_NONE, .text = ""};

/* Any bytes: the line is JSON, its text the bytes with what is not UTF-8 replaced. */
static void json_is_valid_for_any_bytes(void **state)
{
    (void)state;
    struct made_answer made;
    struct ant_buf line = {0};
    unsigned seed = 1;

    for (int round = 0; round < 3000; round++) {
        struct ant_answer answer = *make_answer(&made, round, 1);
        char id_text[8];
        answer.seed = INT64_MAX; /* Jansson reads no more */
        answer.text_bytes = (uint32_t)(round % 60);
        for (uint32_t i = 0; i < answer.text_bytes; i++) {
            seed = seed * 1103515245 + 12345;
            made.text[i] = (char)(seed >> 16);
            id_text[i % 8] = made.text[i];
        }
        struct ant_results_id id = {.kind = ANT_ID_STRING,
                                    .text = id_text,
                                    .bytes = answer.text_bytes < 8 ? answer.text_bytes : 8};
        line.len = 0;
        ant_exchange_put_json(&line, &answer, &id, false);
        assert_int_equal(line.data[line.len - 1], '\n');
        assert_null(memchr(line.data, '\n', line.len - 1));
        json_error_t why;
        json_t *json = json_loadb(line.data, line.len, JSON_ALLOW_NUL, &why);
        if (!json)
            fail_msg("%s in '%s'", why.text, line.data);
        assert_int_equal(json_integer_value(json_object_get(json, "row")), round);
        assert_string_equal(json_string_value(json_object_get(json, "status")),
                            ant_status_names[answer.status]);
        assert_non_null(json_object_get(json, "id"));
        json_decref(json);
    }
    ant_buf_release(&line);
}

static void json_of_known_bytes(void **state)
{
    (void)state;
    static const char text[] = "a\"\\\n\r\t\x01\x7f \xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80 "
                               "\xc0\x80 \xed\xa0\x80 \xf4\x90\x80\x80 \xe2\x82";
    struct ant_answer answer = {.row = 5,
                                .finish = ANT_FINISH_EOS,
                                .seed = UINT64_MAX,
                                .t_first = NAN,
                                .t_total = 1.5f,
                                .text = text,
                                .text_bytes = sizeof(text) - 1,
                                .error = "x",
                                .error_bytes = 1};
    const struct ant_results_id id = {.kind = ANT_ID_INTEGER, .text = "-7", .bytes = 2};
    struct ant_buf line = {0};

    ant_exchange_put_json(&line, &answer, &id, false);
    assert_string_equal(
        line.data,
        "{\"row\": 5, \"sample\": 0, \"id\": -7, \"status\": \"OK\", \"finish\": \"EOS\", "
        "\"prompt_tokens\": 0, \"completion_tokens\": 0, \"seed\": 18446744073709551615, "
        "\"t_total\": 1.5, \"text\": \"a\\\"\\\\\\n\\r\\t\\u0001\\u007f "
        "\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80 "
        "\xef\xbf\xbd\xef\xbf\xbd \xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd "
        "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd \xef\xbf\xbd\xef\xbf\xbd\", "
        "\"error\": \"x\"}\n");
    ant_buf_release(&line);
}

/* What is written as CSV is read back by our own reader. */
static void csv_comes_back(void **state)
{
    (void)state;
    const struct ant_exchange_settings settings = {.format = ANT_EXCHANGE_CSV, .column = "text"};
    struct ant_exchange_reader *reader;
    struct ant_exchange_row row;
    struct ant_buf csv = {0};
    static const char *const texts[] = {"plain",          "",         "a,b",     "say \"x\"", "\"",
                                        "two\nlines\r\n", " spaces ", "\xff\x01"};

    ant_exchange_put_csv_header(&csv, false);
    for (size_t i = 0; i < 8; i++) {
        struct ant_answer answer = {
            .row = (int64_t)i, .text = texts[i], .text_bytes = (uint32_t)strlen(texts[i])};
        ant_exchange_put_csv(&csv, &answer, &no_id, false);
    }
    FILE *file = memory_file(csv.data, csv.len);
    assert_int_equal(ant_exchange_open(&reader, file, "in", &settings, &err), 0);
    for (size_t i = 0; i < 8; i++) {
        assert_int_equal(ant_exchange_next(reader, &row, &err), 1);
        assert_int_equal(row.prompt.text_bytes, strlen(texts[i]));
        assert_memory_equal(row.prompt.text, texts[i], row.prompt.text_bytes);
    }
    assert_int_equal(ant_exchange_next(reader, &row, &err), 0);
    ant_exchange_close(reader);
    fclose(file);
    ant_buf_release(&csv);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(every_form_of_a_json_line),
        TEST(ids_of_tokens),
        TEST(chats_keep_their_messages),
        TEST(integer_ids),
        TEST(bad_json_lines_are_named),
        TEST(names_that_are_passed_over),
        TEST(csv_as_in_the_rfc),
        TEST(bad_csv_is_named),
        TEST(plain_text),
        TEST(nothing_at_all),
        TEST(many_rows),
        TEST(json_is_valid_for_any_bytes),
        TEST(json_of_known_bytes),
        TEST(csv_comes_back),
    };
    return cmocka_run_group_tests_name("exchange", tests, NULL, NULL);
}
