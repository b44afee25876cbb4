/* SPDX-License-Identifier: Apache-2.0 */
/* The commands, each a file here. Only they and main print. Thread: main. */
#ifndef ANT_CLI_CLI_H
#define ANT_CLI_CLI_H

#include "base/error.h"
#include "base/mem.h"
#include "base/option.h"

struct ant_command {
    int (*run)(int argc, char **argv); /* argv[0] is its name; returns the program's exit code */
    const struct ant_option *options;
    const struct ant_command_help *help;
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

/* Append a word as a shell would take it. */
void ant_cli_quote(struct ant_buf *out, const char *word);

/* Print "antiphon COMMAND: text" to standard error; returns the exit code for `code`. */
int ant_cli_fail(const char *command, int code, const struct ant_error *err);

#endif
