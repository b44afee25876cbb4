/* SPDX-License-Identifier: Apache-2.0 */
/* Command lines: one word a line. What was understood must be told again as text and as JSON. */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/option.h"
#include "fuzz.h"

struct settings {
    const char *text;
    int number, choice;
    int64_t wide, size;
    uint64_t seed;
    double real;
    bool flag;
    struct ant_option_list list;
};

#define MEMBER(field) .name = #field, .offset = offsetof(struct settings, field), .help = "help"

static const char *const choices[] = {"modulo", "block", NULL};
static const struct ant_option table[] = {
    {.kind = ANT_OPTION_HEADING, .name = "Heading"},
    {.kind = ANT_OPTION_TEXT, .letter = 't', .answers = true, MEMBER(text)},
    {.kind = ANT_OPTION_INT, .letter = 'n', .answers = true, .min = -5, .max = 5, MEMBER(number)},
    {.kind = ANT_OPTION_CHOICE, .answers = true, .choices = choices, MEMBER(choice)},
    {.kind = ANT_OPTION_INT64, .answers = true, MEMBER(wide)},
    {.kind = ANT_OPTION_BYTES, .answers = true, MEMBER(size)},
    {.kind = ANT_OPTION_SEED, .answers = true, MEMBER(seed)},
    {.kind = ANT_OPTION_REAL, .answers = true, MEMBER(real)},
    {.kind = ANT_OPTION_FLAG, .letter = 'f', .answers = true, MEMBER(flag)},
    {.kind = ANT_OPTION_LIST, .answers = true, MEMBER(list)},
    {0},
};
static const struct ant_command_help help = {.name = "x", .synopsis = "y", .purpose = "z"};

enum { MOST_WORDS = 64 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    static FILE *nowhere; /* where --help goes */
    if (!nowhere)
        stdout = nowhere = fopen("/dev/null", "w");

    char *line = malloc(bytes + 1), program[] = "antiphon", *argv[MOST_WORDS + 1] = {program};
    if (!line)
        return 0;
    memcpy(line, data, bytes);
    line[bytes] = 0;
    int argc = 1, first;
    for (char *word = line, *next; word && argc < MOST_WORDS; word = next) {
        next = strchr(word, '\n');
        if (next)
            *next++ = 0;
        argv[argc++] = word;
    }

    struct settings settings = {0};
    struct ant_error err = {0};
    int code = ant_option_parse(table, &help, &settings, argc, argv, &first, &err);
    if (code == 0) {
        char *answers = ant_option_answers(table, &settings);
        char *json = ant_option_json(table, &settings);
        if (first < 1 || first > argc || settings.number < -5 || settings.number > 5 ||
            strlen(answers) < 10 || json[0] != '{')
            abort();
        free(answers);
        free(json);
    } else if (code != 1 && (code != ANT_EUSAGE || !err.text[0])) {
        abort();
    }
    free(settings.list.items);
    free(line);
    return 0;
}
