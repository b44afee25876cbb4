/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "base/option.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

const struct ant_option ant_option_help_row = {
    .kind = ANT_OPTION_FLAG, .letter = 'h', .name = "help", .help = "Print this text."};

static bool is_end(const struct ant_option *option)
{
    return option->name == NULL;
}

static void *member(void *settings, const struct ant_option *option)
{
    return (char *)settings + option->offset;
}

/* ---- values ---------------------------------------------------------------------------------- */

static int fail_value(struct ant_error *err, const struct ant_option *option, const char *value,
                      const char *expected)
{
    return ant_fail(err, ANT_EUSAGE, "option '--%s': '%s' is not %s", option->name, value,
                    expected);
}

static int check_range(const struct ant_option *option, double number, const char *value,
                       struct ant_error *err)
{
    if (option->min == option->max || (number >= option->min && number <= option->max))
        return 0;
    return ant_fail(err, ANT_EUSAGE, "option '--%s': '%s' is not between %.15g and %.15g",
                    option->name, value, option->min, option->max);
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static int parse_int64(int64_t *out, const struct ant_option *option, const char *value,
                       struct ant_error *err)
{
    char *end;
    errno = 0;
    long long number = strtoll(value, &end, 10);
    if (!is_digit(value[value[0] == '-']) || *end)
        return fail_value(err, option, value, "a whole number");
    if (errno == ERANGE)
        return fail_value(err, option, value, "a number of 64 bits");
    ANT_TRY(check_range(option, (double)number, value, err));
    *out = number;
    return 0;
}

static int parse_int(int *out, const struct ant_option *option, const char *value,
                     struct ant_error *err)
{
    int64_t number;
    ANT_TRY(parse_int64(&number, option, value, err));
    if (number < INT_MIN || number > INT_MAX)
        return fail_value(err, option, value, "a number of 32 bits");
    *out = (int)number;
    return 0;
}

static int parse_seed(uint64_t *out, const struct ant_option *option, const char *value,
                      struct ant_error *err)
{
    char *end;
    errno = 0;
    unsigned long long number = strtoull(value, &end, 10);
    if (!is_digit(value[0]) || *end || errno == ERANGE)
        return fail_value(err, option, value, "a whole number between 0 and 18446744073709551615");
    *out = number;
    return 0;
}

static int parse_real(double *out, const struct ant_option *option, const char *value,
                      struct ant_error *err)
{
    char *end;
    double number = strtod(value, &end);
    if (value[strspn(value, "0123456789+-.eE")] || end == value || *end || !isfinite(number))
        return fail_value(err, option, value, "a number");
    ANT_TRY(check_range(option, number, value, err));
    *out = number;
    return 0;
}

static int parse_bytes(int64_t *out, const struct ant_option *option, const char *value,
                       struct ant_error *err)
{
    static const char units[] = "KMGT";
    static const char expected[] = "a size such as 1048576, 512M or 1.5G";
    size_t digits = strspn(value, "0123456789.");
    char *end;
    double number = strtod(value, &end);
    if (!is_digit(value[0]) || end != value + digits)
        return fail_value(err, option, value, expected);

    if (*end) {
        char letter = (char)(*end & ~0x20);
        const char *unit = letter ? strchr(units, letter) : NULL;
        if (!unit || (end[1] && strcmp(end + 1, "iB") != 0))
            return fail_value(err, option, value, expected);
        number = floor(ldexp(number, 10 * (int)(unit - units + 1)));
    }
    if (number >= 9e18 || number != floor(number))
        return fail_value(err, option, value, expected);
    ANT_TRY(check_range(option, number, value, err));
    *out = (int64_t)number;
    return 0;
}

static int parse_choice(int *out, const struct ant_option *option, const char *value,
                        struct ant_error *err)
{
    for (int i = 0; option->choices[i]; i++)
        if (strcmp(option->choices[i], value) == 0) {
            *out = i;
            return 0;
        }
    struct ant_buf names = {0};
    for (int i = 0; option->choices[i]; i++)
        ant_buf_printf(&names, "%s%s", i ? ", " : "one of ", option->choices[i]);
    int code = fail_value(err, option, value, names.data);
    ant_buf_release(&names);
    return code;
}

/* What a script makes of a variable that is not set: found out before any work, not when the file
 * is to be written. */
static int check_path(const struct ant_option *option, const char *value, struct ant_error *err)
{
    const char *argument = option->argument ? option->argument : "";

    if (*value || (strncmp(argument, "FILE", 4) != 0 && strcmp(argument, "PATH") != 0))
        return 0;
    return ant_fail(err, ANT_EUSAGE, "option '--%s' is empty: it names no file", option->name);
}

static int parse_value(const struct ant_option *option, void *settings, const char *value,
                       struct ant_error *err)
{
    void *out = member(settings, option);
    switch (option->kind) {
    case ANT_OPTION_INT:
        return parse_int(out, option, value, err);
    case ANT_OPTION_INT64:
        return parse_int64(out, option, value, err);
    case ANT_OPTION_SEED:
        return parse_seed(out, option, value, err);
    case ANT_OPTION_REAL:
        return parse_real(out, option, value, err);
    case ANT_OPTION_BYTES:
        return parse_bytes(out, option, value, err);
    case ANT_OPTION_CHOICE:
        return parse_choice(out, option, value, err);
    case ANT_OPTION_TEXT:
        ANT_TRY(check_path(option, value, err));
        *(const char **)out = value;
        return 0;
    case ANT_OPTION_LIST: {
        struct ant_option_list *list = out;
        list->items = ant_xrealloc(list->items, (size_t)list->count + 1, sizeof *list->items);
        list->items[list->count++] = value;
        return 0;
    }
    case ANT_OPTION_FLAG:
    case ANT_OPTION_HEADING:
        break;
    }
    return ant_fail(err, ANT_EBUG, "option '--%s' takes no value", option->name);
}

/* ---- the words of the command line ----------------------------------------------------------- */

int ant_word_distance(const char *a, const char *b)
{
    enum { LONGEST = 63 };
    int row[LONGEST + 1];
    int length = (int)strnlen(b, LONGEST);
    for (int j = 0; j <= length; j++)
        row[j] = j;
    for (int i = 1; a[i - 1] && i <= LONGEST; i++) {
        int diagonal = row[0];
        row[0] = i;
        for (int j = 1; j <= length; j++) {
            int best = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = row[j];
            if (best > row[j] + 1)
                best = row[j] + 1;
            if (best > row[j - 1] + 1)
                best = row[j - 1] + 1;
            row[j] = best;
        }
    }
    return row[length];
}

/* The option that a name was perhaps meant to be, if it is nearer than `*least`. */
static void look_for(const struct ant_option *option, const char *name, int *least,
                     const char **nearest)
{
    int changes = ant_word_distance(name, option->name);

    if (name[0] && strncmp(option->name, name, strlen(name)) == 0)
        changes = 0; /* an abbreviation: surely meant, still not taken */
    if (changes >= *least)
        return;
    *least = changes;
    *nearest = option->name;
}

static int fail_unknown(struct ant_error *err, const struct ant_option *table,
                        const struct ant_command_help *help, const char *name)
{
    const char *nearest = NULL;
    int least = 2 + (int)strlen(name) / 4;

    for (const struct ant_option *option = table; !is_end(option); option++)
        if (option->kind != ANT_OPTION_HEADING && !ant_option_is_hidden(option, help))
            look_for(option, name, &least, &nearest);
    look_for(&ant_option_help_row, name, &least, &nearest);
    if (nearest)
        return ant_fail(err, ANT_EUSAGE, "unknown option '--%s'; did you mean '--%s'?", name,
                        nearest);
    return ant_fail(err, ANT_EUSAGE, "unknown option '--%s'", name);
}

/* getopt_long's view of a table: option i of it answers FIRST + i, and the row after the last is
 * --help. */
enum { FIRST = 256 };

struct parse {
    const struct ant_option *table;
    const struct ant_command_help *help;
    int n; /* rows of the table */
    struct option *longs;
    char *letters; /* in getopt's notation */
    bool *given;   /* by row */
};

static const struct ant_option *row_of(const struct parse *parse, int i)
{
    return i == parse->n ? &ant_option_help_row : &parse->table[i];
}

static void parse_init(struct parse *parse, const struct ant_option *table,
                       const struct ant_command_help *help)
{
    struct ant_buf letters = {0};
    int n_longs = 0;
    *parse = (struct parse){.table = table, .help = help};
    while (!is_end(&table[parse->n]))
        parse->n++;
    parse->given = ant_xcalloc((size_t)parse->n + 1, sizeof *parse->given);
    parse->longs = ant_xcalloc((size_t)parse->n + 2, sizeof *parse->longs);
    ant_buf_add(&letters, ":", 1); /* a missing value is told from an unknown option */
    for (int i = 0; i <= parse->n; i++) {
        const struct ant_option *option = row_of(parse, i);
        bool has_value = option->kind != ANT_OPTION_FLAG;
        if (option->kind == ANT_OPTION_HEADING || ant_option_is_hidden(option, help))
            continue;
        parse->longs[n_longs++] = (struct option){
            option->name, has_value ? required_argument : no_argument, NULL, FIRST + i};
        if (option->letter)
            ant_buf_printf(&letters, "%c%s", option->letter, has_value ? ":" : "");
    }
    parse->letters = letters.data;
}

static void parse_fini(struct parse *parse)
{
    free(parse->given);
    free(parse->longs);
    free(parse->letters);
}

/* The row that getopt's answer stands for: a letter, or FIRST + row. */
static int row_by_answer(const struct parse *parse, int answer)
{
    if (answer >= FIRST)
        return answer - FIRST;
    for (int i = 0; i <= parse->n; i++)
        if (row_of(parse, i)->kind != ANT_OPTION_HEADING && row_of(parse, i)->letter == answer)
            return i;
    return -1;
}

/* The name of a long option as it was written in `word`, without dashes and value. Caller frees. */
static char *written_name(const char *word)
{
    return ant_xstrndup(word + 2, strcspn(word + 2, "="));
}

/* getopt_long takes abbreviations; scripts that use them break with the next option added. */
static int check_spelling(const struct parse *parse, const struct ant_option *option, char **argv,
                          struct ant_error *err)
{
    const char *word = argv[optind - 1 - (optarg && optarg == argv[optind - 1])];
    char *name = written_name(word);
    int code =
        strcmp(name, option->name) == 0 ? 0 : fail_unknown(err, parse->table, parse->help, name);
    free(name);
    return code;
}

/* What getopt_long could not take: ':' for a missing value, '?' for the rest. */
static int fail_refused(const struct parse *parse, int answer, char **argv, struct ant_error *err)
{
    int row = row_by_answer(parse, optopt);
    if (answer == ':')
        return ant_fail(err, ANT_EUSAGE, "option '--%s' needs a value", row_of(parse, row)->name);
    if (optopt >= FIRST)
        return ant_fail(err, ANT_EUSAGE, "option '--%s' takes no value", row_of(parse, row)->name);
    if (optopt != 0)
        return ant_fail(err, ANT_EUSAGE, "unknown option '-%c'", optopt);
    char *name = written_name(argv[optind - 1]);
    int code = fail_unknown(err, parse->table, parse->help, name);
    free(name);
    return code;
}

/* 1 when help was asked for. */
static int parse_words(struct parse *parse, void *settings, int argc, char **argv,
                       struct ant_error *err)
{
    int answer;
    optind = 0; /* begin anew, as glibc wants it */
    opterr = 0;
    while ((answer = getopt_long(argc, argv, parse->letters, parse->longs, NULL)) != -1) {
        if (answer == '?' || answer == ':')
            return fail_refused(parse, answer, argv, err);
        int row = row_by_answer(parse, answer);
        const struct ant_option *option = row_of(parse, row);
        if (answer >= FIRST)
            ANT_TRY(check_spelling(parse, option, argv, err));
        if (option == &ant_option_help_row)
            return 1;
        parse->given[row] = true;
        if (option->kind == ANT_OPTION_FLAG)
            *(bool *)member(settings, option) = true;
        else
            ANT_TRY(parse_value(option, settings, optarg, err));
    }
    return 0;
}

static int check_required(const struct parse *parse, struct ant_error *err)
{
    struct ant_buf missing = {0};
    for (int i = 0; !is_end(&parse->table[i]); i++)
        if (parse->table[i].required && !parse->given[i])
            ant_buf_printf(&missing, "%s'--%s'", missing.len ? ", " : "", parse->table[i].name);
    int code = missing.len ? ant_fail(err, ANT_EUSAGE, "missing option %s", missing.data) : 0;
    ant_buf_release(&missing);
    return code;
}

int ant_option_parse(const struct ant_option *table, const struct ant_command_help *help,
                     void *settings, int argc, char **argv, int *first_operand,
                     struct ant_error *err)
{
    struct parse parse;
    parse_init(&parse, table, help);
    int code = parse_words(&parse, settings, argc, argv, err);
    if (code == 0)
        code = check_required(&parse, err);
    parse_fini(&parse);
    if (code == 0)
        *first_operand = optind;
    if (code > 0)
        ant_option_help(stdout, table, help);
    return code;
}
