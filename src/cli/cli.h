/* SPDX-License-Identifier: Apache-2.0 */
/* The commands, each a file here. Only they and main print. Thread: main. */
#ifndef ANT_CLI_CLI_H
#define ANT_CLI_CLI_H

#include <stdbool.h>

#include "base/error.h"
#include "base/mem.h"
#include "base/option.h"

struct ant_command {
    int (*run)(int argc, char **argv); /* argv[0] is its name; returns the program's exit code */
    const struct ant_option *options;
    const struct ant_command_help *help;
    struct ant_operands {
        int least, most;    /* so many */
        const char *wanted; /* what is said of any other number: "name one results file"; NULL where
                               there are none at all */
    } operands;
};

extern const struct ant_command ant_command_run;
extern const struct ant_command ant_command_score;
extern const struct ant_command ant_command_pack;
extern const struct ant_command ant_command_show;
extern const struct ant_command ant_command_export;
extern const struct ant_command ant_command_merge;
extern const struct ant_command ant_command_verify;
extern const struct ant_command ant_command_report;
extern const struct ant_command ant_command_top;
extern const struct ant_command ant_command_halt;
extern const struct ant_command ant_command_params;
extern const struct ant_command ant_command_plan;
extern const struct ant_command ant_command_template;
extern const struct ant_command ant_command_bench;
extern const struct ant_command ant_command_doctor;
extern const struct ant_command ant_command_manual;

/* All of them in the order of the help text, ended by NULL. */
extern const struct ant_command *const ant_commands[];

/* NULL when there is none of this name. */
const struct ant_command *ant_command_find(const char *name);

/* Parse the options into `settings`, which hold the defaults, and look at the number of operands,
 * argv[*first] and on. False: the command ends here, with this exit code: --help was printed, or,
 * by the first rank alone, what is wrong. */
bool ant_cli_parse(const struct ant_command *command, void *settings, int argc, char **argv,
                   int *first, int *exit_code);

/* The course of most commands: parse the options into `settings`, which hold the defaults, look
 * at the number of operands, act on them, make sure that all that was printed is out; on failure
 * print it. Returns the exit code. */
typedef int ant_cli_act(void *settings, char **operands, int n, struct ant_error *err);
int ant_cli_main(const struct ant_command *command, void *settings, ant_cli_act *act, int argc,
                 char **argv);

/* All that was printed is out, or ANT_EIO says why not. */
int ant_cli_end_output(struct ant_error *err);

/* Append a word as a shell would take it. */
void ant_cli_quote(struct ant_buf *out, const char *word);

/* Print "antiphon COMMAND: text" to standard error; returns the exit code for `code`. */
int ant_cli_fail(const char *command, int code, const struct ant_error *err);

#endif
