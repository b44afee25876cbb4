/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "base/mem.h"
#include "base/option.h"

struct settings {
    const char *model;
    int tokens;
    int64_t rows;
    uint64_t seed;
    double temperature;
    int64_t memory;
    int partition;
    bool quiet, verbose;
    struct ant_option_list stop;
};

static const char *const partitions[] = {"modulo", "block", "rank", NULL};

static const struct ant_option table[] = {
    {.kind = ANT_OPTION_HEADING, .name = "What to run"},
    {.kind = ANT_OPTION_TEXT,
     .letter = 'm',
     .name = "model",
     .argument = "PATH",
     .offset = offsetof(struct settings, model),
     .required = true,
     .answers = true,
     .help = "folder or file of the model"},
    {.kind = ANT_OPTION_INT,
     .letter = 'n',
     .name = "max-tokens",
     .argument = "N",
     .offset = offsetof(struct settings, tokens),
     .min = 1,
     .max = 1000,
     .answers = true,
     .help =
         "end an answer after N tokens, unless the prompt says otherwise by a column of its own; "
         "the default is 16"},
    {.kind = ANT_OPTION_INT64,
     .name = "rows",
     .offset = offsetof(struct settings, rows),
     .help = "rows"},
    {.kind = ANT_OPTION_SEED,
     .name = "seed",
     .argument = "N",
     .offset = offsetof(struct settings, seed),
     .answers = true,
     .help = "seed"},
    {.kind = ANT_OPTION_REAL,
     .name = "temperature",
     .argument = "X",
     .offset = offsetof(struct settings, temperature),
     .min = 0,
     .max = 2,
     .answers = true,
     .help = "spread"},
    {.kind = ANT_OPTION_HEADING, .name = "How"},
    {.kind = ANT_OPTION_BYTES,
     .name = "kv-memory",
     .argument = "SIZE",
     .offset = offsetof(struct settings, memory),
     .help = "memory"},
    {.kind = ANT_OPTION_CHOICE,
     .name = "partition",
     .offset = offsetof(struct settings, partition),
     .choices = partitions,
     .answers = true,
     .help = "who does which prompt"},
    {.kind = ANT_OPTION_FLAG,
     .letter = 'q',
     .name = "quiet",
     .offset = offsetof(struct settings, quiet),
     .answers = true,
     .help = "say less"},
    {.kind = ANT_OPTION_FLAG,
     .letter = 'v',
     .name = "verbose",
     .offset = offsetof(struct settings, verbose),
     .help = "say more"},
    {.kind = ANT_OPTION_LIST,
     .name = "stop",
     .argument = "TEXT",
     .offset = offsetof(struct settings, stop),
     .answers = true,
     .help = "stop at TEXT"},
    {0},
};

static const struct ant_command_help help = {
    .name = "run",
    .synopsis = "--model=PATH [options] FILE...",
    .purpose = "Answer every prompt.",
    .epilog = "Exit codes: 0 done.",
};

static struct settings settings;
static struct ant_error err;
static int first;

enum { MOST_WORDS = 16 };
static char *words[MOST_WORDS + 1];
static int n_words;

/* Parse a command line given as one text, words parted by one blank each. */
static int parse(const char *line)
{
    static char text[512];
    free(settings.stop.items);
    settings = (struct settings){.tokens = 16, .temperature = 0.5};
    err.text[0] = 0;
    first = -1;
    snprintf(text, sizeof text, "antiphon %s", line);
    n_words = 0;
    for (char *word = text; word && n_words < MOST_WORDS; n_words++) {
        words[n_words] = word;
        word = strchr(word, ' ');
        if (word)
            *word++ = 0;
    }
    words[n_words] = NULL;
    return ant_option_parse(table, &help, &settings, n_words, words, &first, &err);
}

static void assert_fails(const char *line, const char *text)
{
    assert_int_equal(parse(line), ANT_EUSAGE);
    assert_string_equal(err.text, text);
}

static void every_kind(void **state)
{
    (void)state;
    assert_int_equal(parse("--model m.gguf --max-tokens=7 --rows -9000000000 --seed "
                           "18446744073709551615 --temperature=1e-3 --kv-memory 3G "
                           "--partition=rank -q --stop=a --stop b"),
                     0);
    assert_string_equal(settings.model, "m.gguf");
    assert_int_equal(settings.tokens, 7);
    assert_true(settings.rows == -9000000000);
    assert_true(settings.seed == UINT64_MAX);
    assert_true(settings.temperature == 1e-3);
    assert_true(settings.memory == (int64_t)3 << 30);
    assert_int_equal(settings.partition, 2);
    assert_true(settings.quiet);
    assert_false(settings.verbose);
    assert_int_equal(settings.stop.count, 2);
    assert_string_equal(settings.stop.items[0], "a");
    assert_string_equal(settings.stop.items[1], "b");
    assert_int_equal(first, n_words);
}

static void letters(void **state)
{
    (void)state;
    assert_int_equal(parse("-qvn5 -m x"), 0);
    assert_true(settings.quiet && settings.verbose);
    assert_int_equal(settings.tokens, 5);
    assert_string_equal(settings.model, "x");
    assert_fails("-mx -k", "unknown option '-k'");
    assert_fails("-mx -qn", "option '--max-tokens' needs a value");
}

static void operands_end_up_last(void **state)
{
    (void)state;
    assert_int_equal(parse("a -m x b --quiet - -- -v c"), 0);
    assert_int_equal(n_words - first, 5);
    static const char *const expected[] = {"a", "b", "-", "-v", "c"};
    for (int i = 0; i < 5; i++)
        assert_string_equal(words[first + i], expected[i]);
    assert_true(settings.quiet);
    assert_false(settings.verbose);
    assert_fails("--model=", "option '--model' is empty: it names no file");
}

static void unknown_and_nearest(void **state)
{
    (void)state;
    assert_fails("--modle x", "unknown option '--modle'; did you mean '--model'?");
    assert_fails("--temp=1", "unknown option '--temp'; did you mean '--temperature'?");
    assert_fails("--max_tokens 1", "unknown option '--max_tokens'; did you mean '--max-tokens'?");
    assert_fails("--frobnicate", "unknown option '--frobnicate'");
    assert_fails("--=3", "unknown option '--'");
    char longest[400];
    memset(longest, 'z', sizeof longest);
    memcpy(longest, "--", 2);
    longest[sizeof longest - 1] = 0;
    assert_int_equal(parse(longest), ANT_EUSAGE);
}

static void values_are_checked_whole(void **state)
{
    (void)state;
    static const char *const wrong[] = {"--max-tokens=",
                                        "--max-tokens=x",
                                        "--max-tokens=5x",
                                        "--max-tokens=0",
                                        "--max-tokens=1001",
                                        "--max-tokens=+5",
                                        "--max-tokens=5.0",
                                        "--max-tokens=-",
                                        "--rows=99999999999999999999",
                                        "--seed=-1",
                                        "--seed=0x10",
                                        "--seed=18446744073709551616",
                                        "--temperature=nan",
                                        "--temperature=inf",
                                        "--temperature=2.1",
                                        "--temperature=0x1",
                                        "--temperature=1,5",
                                        "--temperature=",
                                        "--kv-memory=G",
                                        "--kv-memory=1X",
                                        "--kv-memory=-1G",
                                        "--kv-memory=1GB",
                                        "--kv-memory=1.5",
                                        "--kv-memory=99999999999T",
                                        "--kv-memory=1..5G",
                                        "--kv-memory=",
                                        "--partition=modul",
                                        "--partition=",
                                        "--partition=modulo,rank"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        char line[100];
        snprintf(line, sizeof line, "-mx %s", wrong[i]);
        assert_int_equal(parse(line), ANT_EUSAGE);
        size_t name = strcspn(wrong[i], "=");
        assert_memory_equal(err.text, "option '", 8);
        assert_memory_equal(err.text + 8, wrong[i], name);
    }
    assert_fails("-mx --max-tokens=0", "option '--max-tokens': '0' is not between 1 and 1000");
    assert_fails("-mx --partition=x",
                 "option '--partition': 'x' is not one of modulo, block, rank");
    assert_fails("-mx --quiet=yes", "option '--quiet' takes no value");
    assert_fails("--model", "option '--model' needs a value");
    assert_fails("--quiet", "missing option '--model'");
}

static void sizes(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t bytes;
    } cases[] = {{"0", 0},
                 {"1048577", 1048577},
                 {"1k", 1024},
                 {"2M", 2 << 20},
                 {"1.5G", (int64_t)3 << 29},
                 {"80GiB", (int64_t)80 << 30},
                 {"2T", (int64_t)2 << 40},
                 {"0.3K", 307}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char line[100];
        snprintf(line, sizeof line, "-mx --kv-memory=%s", cases[i].text);
        assert_int_equal(parse(line), 0);
        assert_true(settings.memory == cases[i].bytes);
    }
}

static char *help_text(const char *columns)
{
    char *text = NULL;
    size_t bytes;
    setenv("COLUMNS", columns, 1);
    FILE *out = tmpfile();
    assert_non_null(out);
    ant_option_help(out, table, &help);
    bytes = (size_t)ftell(out);
    rewind(out);
    text = malloc(bytes + 1);
    assert_int_equal(fread(text, 1, bytes, out), bytes);
    text[bytes] = 0;
    fclose(out);
    return text;
}

static void help_is_wrapped(void **state)
{
    (void)state;
    char *text = help_text("70");
    assert_non_null(strstr(text, "Usage: antiphon run --model=PATH [options] FILE...\n"));
    assert_non_null(strstr(text, "\nWhat to run:\n  -m, --model=PATH            folder or file"));
    assert_non_null(strstr(text, "\n      --partition=modulo|block|rank\n" /* too long: own line */
                                 "                              who does which prompt\n"));
    assert_non_null(strstr(text, "  -h, --help "));
    assert_non_null(strstr(text, "\nExit codes: 0 done.\n"));
    for (const char *line = text; *line;) {
        size_t length = strcspn(line, "\n");
        assert_true(length <= 70);
        line += length + 1;
    }
    char *narrow = help_text("1"), *wide = help_text("500");
    assert_true(strlen(narrow) > strlen(text)); /* more lines, each indented */
    assert_true(strlen(wide) < strlen(text));
    free(text);
    free(narrow);
    free(wide);
}

static void settings_digest_text(void **state)
{
    (void)state;
    assert_int_equal(parse("-mx --seed=7 --verbose --stop=a\nb\\ --stop c"), 0);
    char *text = ant_option_answers(table, &settings);
    assert_string_equal(text, "model=x\nmax-tokens=16\nseed=7\ntemperature=0.5\npartition=modulo\n"
                              "quiet=false\nstop=a\\nb\\\\\nstop=c\n");
    /* And back: what is no option, does not change answers, is off or empty says nothing. */
    int n = 0;
    char *more = ant_xasprintf("unknown=1\n%sverbose=true\nquiet", text);
    char **back = ant_option_words(table, more, &n);
    static const char *const expected[] = {
        "--model=x",          "--max-tokens=16", "--seed=7", "--temperature=0.5",
        "--partition=modulo", "--stop=a\nb\\",   "--stop=c"};
    assert_int_equal(n, sizeof(expected) / sizeof(*expected));
    for (int i = 0; i < n; i++) {
        assert_string_equal(back[i], expected[i]);
        free(back[i]);
    }
    assert_null(back[n]);
    free(back);
    free(more);
    free(text);
    static const struct ant_option none[] = {{0}};
    text = ant_option_answers(none, &settings);
    assert_string_equal(text, "");
    free(text);
}

static void settings_as_json(void **state)
{
    (void)state;
    assert_int_equal(parse("-mx\xff --seed=18446744073709551615 --temperature=0.25 --stop=\"\n"),
                     0);
    char *text = ant_option_json(table, &settings);
    json_t *json = json_loads(text, 0, NULL);
    free(text);
    assert_non_null(json);
    assert_int_equal(json_object_size(json), 10);
    assert_string_equal(json_string_value(json_object_get(json, "model")), "x?");
    assert_string_equal(json_string_value(json_object_get(json, "seed")), "18446744073709551615");
    assert_true(json_real_value(json_object_get(json, "temperature")) == 0.25);
    assert_string_equal(json_string_value(json_object_get(json, "partition")), "modulo");
    assert_true(json_is_false(json_object_get(json, "quiet")));
    assert_string_equal(json_string_value(json_array_get(json_object_get(json, "stop"), 0)),
                        "\"\n");
    json_decref(json);
}

static void asking_for_help(void **state)
{
    (void)state;
    fflush(stdout);
    FILE *old = stdout;
    stdout = tmpfile();
    int long_form = parse("--quiet --help --nonsense");
    int short_form = parse("-qh");
    long bytes = ftell(stdout);
    fclose(stdout);
    stdout = old;
    assert_int_equal(long_form, 1);
    assert_int_equal(short_form, 1);
    assert_true(bytes > 500);
    assert_int_equal(parse("--nonsense --help"), ANT_EUSAGE);
}

static int release(void **state)
{
    (void)state;
    free(settings.stop.items);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind),
        cmocka_unit_test(letters),
        cmocka_unit_test(operands_end_up_last),
        cmocka_unit_test(unknown_and_nearest),
        cmocka_unit_test(sizes),
        cmocka_unit_test(values_are_checked_whole),
        cmocka_unit_test(help_is_wrapped),
        cmocka_unit_test(settings_digest_text),
        cmocka_unit_test(asking_for_help),
        cmocka_unit_test(settings_as_json),
    };
    return cmocka_run_group_tests(tests, NULL, release);
}
