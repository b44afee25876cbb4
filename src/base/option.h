/* SPDX-License-Identifier: Apache-2.0 */
/* Command-line options as one table a command: parsing, --help, the manual page
 * and the shell's completion all come from it, so they cannot differ.
 *
 * As in GNU programs, options and operands mix, "--" ends the options, and
 * "--name=value", "--name value", "-nvalue", "-n value" and "-qv" mean what
 * they do there. Names are never abbreviated: a script must not change its
 * meaning when an option is added. The last of a repeated option counts.
 * Thread: the main thread at start. */
#ifndef ANT_BASE_OPTION_H
#define ANT_BASE_OPTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "base/error.h"

enum ant_option_kind {
    ANT_OPTION_FLAG,    /* bool */
    ANT_OPTION_INT,     /* int, between min and max */
    ANT_OPTION_INT64,   /* int64_t, between min and max */
    ANT_OPTION_SEED,    /* uint64_t, the whole range */
    ANT_OPTION_REAL,    /* double, between min and max */
    ANT_OPTION_BYTES,   /* int64_t: "512M", "1.5G", "80GiB"; K, M, G, T are powers of 1024 */
    ANT_OPTION_TEXT,    /* const char * into argv */
    ANT_OPTION_CHOICE,  /* int, the index in `choices` */
    ANT_OPTION_LIST,    /* struct ant_option_list: may be given more than once */
    ANT_OPTION_HEADING, /* no option: a heading of the help text */
};

struct ant_option_list {
    const char **items; /* owned (the array), pointing into argv */
    int count;
};

/* A row of a table; a zeroed row ends it. */
struct ant_option {
    enum ant_option_kind kind;
    char letter;                /* short option or 0 */
    const char *name;           /* long option, without dashes; for a heading its text */
    const char *argument;       /* "FILE", "N": how help names the argument; NULL for flags */
    size_t offset;              /* of the member in the command's settings struct */
    double min, max;            /* for numbers; equal = unbounded */
    const char *const *choices; /* NULL-terminated, for CHOICE */
    bool required;
    bool answers;     /* a different value may change answers: it is part of the
                         settings digest */
    bool draws;       /* means nothing to a command that draws no tokens: see hides_draws */
    const char *help; /* one or two sentences, with the default */
};

struct ant_command_help {
    const char *name;     /* "run" */
    const char *summary;  /* "answer every prompt of a file with a model": a line among others */
    const char *synopsis; /* "--model PATH --input FILE --output FILE [options]" */
    const char *purpose;  /* one or two sentences */
    const char *epilog;   /* exit codes, examples; may be NULL */
    bool hides_draws;     /* the command has no options with `draws` of its table */
};

/* Does the command not know this row of its table? */
static inline bool ant_option_is_hidden(const struct ant_option *option,
                                        const struct ant_command_help *help)
{
    return option->draws && help->hides_draws;
}

/* Parse argv[1..] into `settings` (already holding the defaults). argv is
 * reordered: operands are left at argv[*first_operand..argc-1]. Errors are
 * ANT_EUSAGE and name the option. Returns 1 after --help was printed to
 * stdout. */
int ant_option_parse(const struct ant_option *table, const struct ant_command_help *help,
                     void *settings, int argc, char **argv, int *first_operand,
                     struct ant_error *err);

/* Every command has it, after the rows of its table. */
extern const struct ant_option ant_option_help_row;

/* Number of single-character changes between two short words: for "did you mean". */
int ant_word_distance(const char *a, const char *b);

void ant_option_help(FILE *out, const struct ant_option *table,
                     const struct ant_command_help *help);

/* The command's manual page, in the troff of man(7). */
void ant_option_man(FILE *out, const struct ant_option *table, const struct ant_command_help *help);

/* The command's branch in the bash function of src/cli/manual.c: it sets `words` by `previous`. */
void ant_option_completion(FILE *out, const struct ant_option *table,
                           const struct ant_command_help *help);

/* Text of every option marked `answers`, "name=value\n" in table order: what
 * the settings digest is taken of, and what two runs are compared by. Caller
 * frees. */
char *ant_option_answers(const struct ant_option *table, const void *settings);

/* The other way: words of a command line that give such a text. What is no option, or none marked
 * `answers`, is left out. Caller frees each word and the list, which a NULL ends. */
char **ant_option_words(const struct ant_option *table, const char *answers, int *n);

/* Every setting by its option's name, as one JSON object: for the provenance of results. Caller
 * frees. */
char *ant_option_json(const struct ant_option *table, const void *settings);

#endif
