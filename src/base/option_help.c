/* SPDX-License-Identifier: Apache-2.0 */
/* What a person reads of a command's options: --help, the manual page, the shell's completion. */
#include "config.h"

#include "base/option.h"

#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/version.h"

/* How an option's argument is shown: its name, or its choices as "a|b|c"; NULL for a flag. Caller
 * frees. */
static char *argument_of(const struct ant_option *option)
{
    struct ant_buf text = {0};
    if (option->argument)
        return ant_xstrdup(option->argument);
    if (option->kind == ANT_OPTION_CHOICE)
        for (int i = 0; option->choices[i]; i++)
            ant_buf_printf(&text, "%s%s", i ? "|" : "", option->choices[i]);
    return text.data;
}

/* What stands below the options: its own lines, those of more than 100 columns broken at blanks. */
static char *epilog_of(const struct ant_command_help *help)
{
    enum { WIDTH = 100 };
    char *text = ant_xstrdup(help->epilog), *line = text, *blank = NULL;

    for (char *at = text; *at; at++) {
        if (*at == ' ')
            blank = at;
        if (*at == '\n') {
            line = at + 1;
            blank = NULL;
        } else if (blank && at - line >= WIDTH) {
            *blank = '\n';
            line = blank + 1;
            blank = NULL;
        }
    }
    return text;
}

/* ---- --help ---------------------------------------------------------------------------------- */

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
    char *argument = argument_of(option);
    if (option->letter)
        ant_buf_printf(&left, "  -%c, --%s", option->letter, option->name);
    else
        ant_buf_printf(&left, "      --%s", option->name);
    if (argument)
        ant_buf_printf(&left, "=%s", argument);
    free(argument);

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
    for (const struct ant_option *option = table; option->name; option++) {
        if (ant_option_is_hidden(option, help))
            continue;
        if (option->kind == ANT_OPTION_HEADING)
            fprintf(out, "\n%s:\n", option->name);
        else
            print_option(out, option, width);
    }
    print_option(out, &ant_option_help_row, width);
    if (help->epilog) {
        char *epilog = epilog_of(help);
        fprintf(out, "\n%s\n", epilog);
        free(epilog);
    }
}

/* ---- manual page ----------------------------------------------------------------------------- */

/* Plain text for troff: nothing in it is a request, an escape or a typographic hyphen. A newline of
 * the text ends the line there, too. */
static void put_roff(FILE *out, const char *text)
{
    bool is_line_start = true;
    for (; *text; text++) {
        if (is_line_start && (*text == '.' || *text == '\''))
            fputs("\\&", out);
        if (*text == '\\')
            fputs("\\e", out);
        else if (*text == '-')
            fputs("\\-", out);
        else
            fputc(*text, out);
        is_line_start = *text == '\n';
    }
}

static void man_option(FILE *out, const struct ant_option *option)
{
    char *argument = argument_of(option);
    fputs(".TP\n", out);
    if (option->letter)
        fprintf(out, "\\fB\\-%c\\fR, ", option->letter);
    fputs("\\fB\\-\\-", out);
    put_roff(out, option->name);
    fputs("\\fR", out);
    if (argument) {
        fputs("=\\fI", out);
        put_roff(out, argument);
        fputs("\\fR", out);
    }
    fputc('\n', out);
    put_roff(out, option->help);
    fputc('\n', out);
    free(argument);
}

void ant_option_man(FILE *out, const struct ant_option *table, const struct ant_command_help *help)
{
    fprintf(out, ".TH ANTIPHON\\-%s 1 \"\" \"antiphon %s\" \"Antiphon\"\n", help->name,
            ant_version);
    fprintf(out, ".SH NAME\nantiphon\\-%s \\- ", help->name);
    put_roff(out, help->summary);
    fprintf(out, "\n.SH SYNOPSIS\n.B antiphon %s\n", help->name);
    put_roff(out, help->synopsis);
    fputs("\n.SH DESCRIPTION\n", out);
    put_roff(out, help->purpose);
    fputs("\n.SH OPTIONS\n", out);
    for (const struct ant_option *option = table; option->name; option++) {
        if (ant_option_is_hidden(option, help))
            continue;
        if (option->kind == ANT_OPTION_HEADING)
            fprintf(out, ".SS %s\n", option->name);
        else
            man_option(out, option);
    }
    man_option(out, &ant_option_help_row);
    if (help->epilog) {
        char *epilog = epilog_of(help);
        fputs(".SH NOTES\n.nf\n", out);
        put_roff(out, epilog);
        fputs("\n.fi\n", out);
        free(epilog);
    }
    fputs(".SH SEE ALSO\n.BR antiphon (1),\n.BR antiphon\\-hdf5 (5),\n.BR antiphon\\-slurm (7)\n",
          out);
}

/* ---- completion ------------------------------------------------------------------------------ */

void ant_option_completion(FILE *out, const struct ant_option *table,
                           const struct ant_command_help *help)
{
    fprintf(out, "    %s)\n        case $previous in\n", help->name);
    for (const struct ant_option *option = table; option->name; option++) {
        if (option->kind != ANT_OPTION_CHOICE || ant_option_is_hidden(option, help))
            continue;
        fprintf(out, "        --%s) words=\"", option->name);
        for (int i = 0; option->choices[i]; i++)
            fprintf(out, "%s%s", i ? " " : "", option->choices[i]);
        fputs("\" ;;\n", out);
    }
    fputs("        *) words=\"", out);
    for (const struct ant_option *option = table; option->name; option++)
        if (option->kind != ANT_OPTION_HEADING && !ant_option_is_hidden(option, help))
            fprintf(out, "--%s ", option->name);
    fputs("--help\" ;;\n        esac ;;\n", out);
}
