/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "base/option.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <jansson.h>

#include "base/mem.h"

static const struct ant_option help_option = {
    .kind = ANT_OPTION_FLAG, .letter = 'h', .name = "help", .help = "print this text"};

static bool is_end(const struct ant_option *option)
{
    return option->name == NULL;
}

static void *member(void *settings, const struct ant_option *option)
{
    return (char *)settings + option->offset;
}

/* --- values ---------------------------------------------------------------------------------- */

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

/* --- the words of the command line ----------------------------------------------------------- */

/* Number of single-character changes between two short words. */
static int distance(const char *a, const char *b)
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

static int fail_unknown(struct ant_error *err, const struct ant_option *table, const char *name)
{
    const char *nearest = NULL;
    int least = 2 + (int)strlen(name) / 4;
    for (const struct ant_option *option = table; !is_end(option); option++) {
        if (option->kind == ANT_OPTION_HEADING)
            continue;
        int changes = distance(name, option->name);
        if (name[0] && strncmp(option->name, name, strlen(name)) == 0)
            changes = 0; /* an abbreviation: surely meant, still not taken */
        if (changes < least) {
            least = changes;
            nearest = option->name;
        }
    }
    if (nearest)
        return ant_fail(err, ANT_EUSAGE, "unknown option '--%s'; did you mean '--%s'?", name,
                        nearest);
    return ant_fail(err, ANT_EUSAGE, "unknown option '--%s'", name);
}

static const struct ant_option *find_long(const struct ant_option *table, const char *name,
                                          size_t length)
{
    if (length == strlen(help_option.name) && memcmp(name, help_option.name, length) == 0)
        return &help_option;
    for (const struct ant_option *option = table; !is_end(option); option++)
        if (option->kind != ANT_OPTION_HEADING && strlen(option->name) == length &&
            memcmp(option->name, name, length) == 0)
            return option;
    return NULL;
}

static const struct ant_option *find_letter(const struct ant_option *table, char letter)
{
    for (const struct ant_option *option = table; !is_end(option); option++)
        if (option->kind != ANT_OPTION_HEADING && option->letter && option->letter == letter)
            return option;
    return letter == help_option.letter ? &help_option : NULL;
}

/* Where parsing stands. */
struct parse {
    const struct ant_option *table;
    void *settings;
    char **argv;
    int argc;
    int next;    /* the word after the one being read */
    bool *given; /* by index in the table */
    bool help;
};

static int take(struct parse *parse, const struct ant_option *option, const char *value,
                struct ant_error *err)
{
    if (option == &help_option) {
        parse->help = true;
        return 0;
    }
    parse->given[option - parse->table] = true;
    if (option->kind == ANT_OPTION_FLAG) {
        *(bool *)member(parse->settings, option) = true;
        return 0;
    }
    if (!value) {
        if (parse->next >= parse->argc)
            return ant_fail(err, ANT_EUSAGE, "option '--%s' needs a value", option->name);
        value = parse->argv[parse->next++];
    }
    return parse_value(option, parse->settings, value, err);
}

static int parse_long(struct parse *parse, const char *word, struct ant_error *err)
{
    const char *equals = strchr(word, '=');
    size_t length = equals ? (size_t)(equals - word) : strlen(word);
    const struct ant_option *option = find_long(parse->table, word, length);
    if (!option) {
        char *name = ant_xstrndup(word, length);
        int code = fail_unknown(err, parse->table, name);
        free(name);
        return code;
    }
    if (equals && option->kind == ANT_OPTION_FLAG)
        return ant_fail(err, ANT_EUSAGE, "option '--%s' takes no value", option->name);
    return take(parse, option, equals ? equals + 1 : NULL, err);
}

static int parse_letters(struct parse *parse, const char *word, struct ant_error *err)
{
    for (; *word && !parse->help; word++) {
        const struct ant_option *option = find_letter(parse->table, *word);
        if (!option)
            return ant_fail(err, ANT_EUSAGE, "unknown option '-%c'", *word);
        if (option->kind != ANT_OPTION_FLAG)
            return take(parse, option, word[1] ? word + 1 : NULL, err);
        ANT_TRY(take(parse, option, NULL, err));
    }
    return 0;
}

/* Walk the words; operands are collected, and put behind the options at the end. */
static int parse_words(struct parse *parse, int *first_operand, struct ant_error *err)
{
    char **operands = ant_xcalloc((size_t)parse->argc, sizeof *operands);
    char **options = ant_xcalloc((size_t)parse->argc, sizeof *options);
    int n_operands = 0, n_options = 0, code = 0;
    bool ended = false;
    parse->next = 1;
    while (parse->next < parse->argc && code == 0 && !parse->help) {
        int start = parse->next;
        char *word = parse->argv[parse->next++];
        if (ended || word[0] != '-' || word[1] == 0) {
            operands[n_operands++] = word;
            continue;
        }
        if (strcmp(word, "--") == 0)
            ended = true;
        else if (word[1] == '-')
            code = parse_long(parse, word + 2, err);
        else
            code = parse_letters(parse, word + 1, err);
        for (int i = start; i < parse->next; i++)
            options[n_options++] = parse->argv[i];
    }
    if (code == 0 && !parse->help) {
        for (int i = 0; i < n_options; i++)
            parse->argv[1 + i] = options[i];
        for (int i = 0; i < n_operands; i++)
            parse->argv[1 + n_options + i] = operands[i];
        *first_operand = 1 + n_options;
    }
    free(operands);
    free(options);
    return code;
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
    size_t rows = 0;
    while (!is_end(&table[rows]))
        rows++;
    struct parse parse = {.table = table, .settings = settings, .argv = argv, .argc = argc};
    parse.given = ant_xcalloc(rows, sizeof *parse.given);
    int code = parse_words(&parse, first_operand, err);
    if (code == 0 && !parse.help)
        code = check_required(&parse, err);
    free(parse.given);
    if (code == 0 && parse.help) {
        ant_option_help(stdout, table, help);
        return 1;
    }
    return code;
}

/* --- help ------------------------------------------------------------------------------------ */

enum { HELP_COLUMN = 30, NARROWEST = 60, WIDEST = 120 };

static int page_width(FILE *out)
{
    struct winsize size;
    const char *columns = getenv("COLUMNS");
    int width = columns ? atoi(columns) : 80;
    if (ioctl(fileno(out), TIOCGWINSZ, &size) == 0 && size.ws_col > 0)
        width = size.ws_col;
    return width < NARROWEST ? NARROWEST : width > WIDEST ? WIDEST : width;
}

/* Print `text` broken at blanks; `column` is where the cursor stands, later lines begin at
 * `indent`. */
static void print_wrapped(FILE *out, const char *text, int column, int indent, int width)
{
    bool first = true;
    while (*text) {
        int length = (int)strcspn(text, " ");
        if (!first && column + 1 + length > width) {
            fprintf(out, "\n%*s", indent, "");
            column = indent;
        } else if (!first) {
            fputc(' ', out);
            column++;
        }
        fprintf(out, "%.*s", length, text);
        column += length;
        first = false;
        text += length;
        text += strspn(text, " ");
    }
    fputc('\n', out);
}

static void print_option(FILE *out, const struct ant_option *option, int width)
{
    struct ant_buf left = {0};
    if (option->letter)
        ant_buf_printf(&left, "  -%c, --%s", option->letter, option->name);
    else
        ant_buf_printf(&left, "      --%s", option->name);
    if (option->argument)
        ant_buf_printf(&left, "=%s", option->argument);
    else if (option->kind == ANT_OPTION_CHOICE)
        for (int i = 0; option->choices[i]; i++)
            ant_buf_printf(&left, "%c%s", i ? '|' : '=', option->choices[i]);

    if (left.len + 2 > HELP_COLUMN)
        fprintf(out, "%s\n%*s", left.data, HELP_COLUMN, "");
    else
        fprintf(out, "%-*s", HELP_COLUMN, left.data);
    print_wrapped(out, option->help, HELP_COLUMN, HELP_COLUMN, width);
    ant_buf_release(&left);
}

void ant_option_help(FILE *out, const struct ant_option *table, const struct ant_command_help *help)
{
    int width = page_width(out);
    int indent = fprintf(out, "Usage: antiphon %s ", help->name);
    print_wrapped(out, help->synopsis, indent, indent, width);
    print_wrapped(out, help->purpose, 0, 0, width);
    if (table->kind != ANT_OPTION_HEADING)
        fputc('\n', out);
    for (const struct ant_option *option = table; !is_end(option); option++) {
        if (option->kind == ANT_OPTION_HEADING)
            fprintf(out, "\n%s:\n", option->name);
        else
            print_option(out, option, width);
    }
    print_option(out, &help_option, width);
    if (help->epilog)
        fprintf(out, "\n%s\n", help->epilog);
}

/* --- the settings that answers depend on ------------------------------------------------------ */

/* One value on one line: a line break within it is escaped. */
static void add_line(struct ant_buf *out, const char *name, const char *value)
{
    ant_buf_printf(out, "%s=", name);
    for (; *value; value++) {
        if (*value == '\n')
            ant_buf_add(out, "\\n", 2);
        else if (*value == '\\')
            ant_buf_add(out, "\\\\", 2);
        else
            ant_buf_add(out, value, 1);
    }
    ant_buf_add(out, "\n", 1);
}

static void add_answer(struct ant_buf *out, const struct ant_option *option, const void *value)
{
    const char *name = option->name;
    switch (option->kind) {
    case ANT_OPTION_FLAG:
        add_line(out, name, *(const bool *)value ? "true" : "false");
        break;
    case ANT_OPTION_INT:
        ant_buf_printf(out, "%s=%d\n", name, *(const int *)value);
        break;
    case ANT_OPTION_INT64:
    case ANT_OPTION_BYTES:
        ant_buf_printf(out, "%s=%" PRId64 "\n", name, *(const int64_t *)value);
        break;
    case ANT_OPTION_SEED:
        ant_buf_printf(out, "%s=%" PRIu64 "\n", name, *(const uint64_t *)value);
        break;
    case ANT_OPTION_REAL:
        ant_buf_printf(out, "%s=%.17g\n", name, *(const double *)value);
        break;
    case ANT_OPTION_TEXT: {
        const char *text = *(const char *const *)value;
        add_line(out, name, text ? text : "");
        break;
    }
    case ANT_OPTION_CHOICE:
        add_line(out, name, option->choices[*(const int *)value]);
        break;
    case ANT_OPTION_LIST: {
        const struct ant_option_list *list = value;
        for (int i = 0; i < list->count; i++)
            add_line(out, name, list->items[i]);
        break;
    }
    case ANT_OPTION_HEADING:
        break;
    }
}

char *ant_option_answers(const struct ant_option *table, const void *settings)
{
    struct ant_buf out = {0};
    ant_buf_add(&out, "", 0);
    for (const struct ant_option *option = table; !is_end(option); option++)
        if (option->answers)
            add_answer(&out, option, (const char *)settings + option->offset);
    return out.data;
}

/* --- the settings in full --------------------------------------------------------------------- */

/* JSON is UTF-8, a path or a stop text need not be: what is foreign becomes '?'. */
static json_t *text_value(const char *text)
{
    json_t *value = json_string(text);
    if (value)
        return value;
    char *plain = ant_xstrdup(text);
    for (char *byte = plain; *byte; byte++)
        if (*byte & 0x80)
            *byte = '?';
    value = json_string(plain);
    free(plain);
    return value;
}

static json_t *list_value(const struct ant_option_list *list)
{
    json_t *array = json_array();
    for (int i = 0; i < list->count; i++)
        json_array_append_new(array, text_value(list->items[i]));
    return array;
}

static json_t *json_value(const struct ant_option *option, const void *value)
{
    const char *text;
    char seed[24];

    switch (option->kind) {
    case ANT_OPTION_FLAG:
        return json_boolean(*(const bool *)value);
    case ANT_OPTION_INT:
        return json_integer(*(const int *)value);
    case ANT_OPTION_INT64:
    case ANT_OPTION_BYTES:
        return json_integer(*(const int64_t *)value);
    case ANT_OPTION_SEED: /* as text: JSON readers lose digits above 2^53 */
        snprintf(seed, sizeof(seed), "%" PRIu64, *(const uint64_t *)value);
        return json_string(seed);
    case ANT_OPTION_REAL:
        return json_real(*(const double *)value);
    case ANT_OPTION_TEXT:
        text = *(const char *const *)value;
        return text ? text_value(text) : json_null();
    case ANT_OPTION_CHOICE:
        return json_string(option->choices[*(const int *)value]);
    case ANT_OPTION_LIST:
        return list_value(value);
    case ANT_OPTION_HEADING:
        break;
    }
    return NULL;
}

char *ant_option_json(const struct ant_option *table, const void *settings)
{
    json_t *object = json_object();
    for (const struct ant_option *option = table; !is_end(option); option++)
        if (option->kind != ANT_OPTION_HEADING)
            json_object_set_new(object, option->name,
                                json_value(option, (const char *)settings + option->offset));
    char *text = json_dumps(object, JSON_INDENT(1));
    json_decref(object);
    return text ? text : ant_xstrdup("{}");
}
