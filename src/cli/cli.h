/* SPDX-License-Identifier: Apache-2.0 */
/* The commands: each takes its own name as argv[0] and returns the program's exit code. Only they
 * and main print. Thread: main. */
#ifndef ANT_CLI_CLI_H
#define ANT_CLI_CLI_H

#include "base/error.h"

int ant_cli_run(int argc, char **argv);
int ant_cli_pack(int argc, char **argv);
int ant_cli_show(int argc, char **argv);
int ant_cli_export(int argc, char **argv);
int ant_cli_merge(int argc, char **argv);
int ant_cli_params(int argc, char **argv);

/* Print "antiphon COMMAND: text" to standard error; returns the exit code for `code`. */
int ant_cli_fail(const char *command, int code, const struct ant_error *err);

#endif
