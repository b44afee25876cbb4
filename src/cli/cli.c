/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "cli/cli.h"

#include <stdio.h>
#include <string.h>

const struct ant_command *const ant_commands[] = {
    &ant_command_run,
    &ant_command_score,
    &ant_command_pack,
    &ant_command_show,
    &ant_command_export,
    &ant_command_merge,
    &ant_command_verify,
    &ant_command_top,
    &ant_command_report,
    &ant_command_halt,
    &ant_command_params,
    &ant_command_plan,
    &ant_command_template,
    &ant_command_bench,
    &ant_command_doctor,
    &ant_command_manual,
    NULL,
};

const struct ant_command *ant_command_find(const char *name)
{
    for (const struct ant_command *const *command = ant_commands; *command; command++)
        if (strcmp((*command)->help->name, name) == 0)
            return *command;
    return NULL;
}

void ant_cli_quote(struct ant_buf *out, const char *word)
{
    const char *plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+=./:,@%";

    if (*word && word[strspn(word, plain)] == '\0') {
        ant_buf_printf(out, "%s", word);
        return;
    }
    ant_buf_printf(out, "'");
    for (; *word; word++)
        if (*word == '\'')
            ant_buf_printf(out, "'\\''");
        else
            ant_buf_add(out, word, 1);
    ant_buf_printf(out, "'");
}

int ant_cli_fail(const char *command, int code, const struct ant_error *err)
{
    fflush(stdout);
    fprintf(stderr, "antiphon %s: %s\n", command, err->text);
    return ant_exit_code(code);
}
