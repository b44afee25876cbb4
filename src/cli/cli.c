/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "cli/cli.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "job/launch.h"

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

static int check_operands(const struct ant_operands *wanted, char **operands, int n,
                          struct ant_error *err)
{
    if (n >= wanted->least && n <= wanted->most)
        return 0;
    if (wanted->wanted)
        return ant_fail(err, ANT_EUSAGE, "%s", wanted->wanted);
    return ant_fail(err, ANT_EUSAGE, "'%s' is not an option", operands[0]);
}

int ant_cli_end_output(struct ant_error *err)
{
    errno = 0;
    if (fflush(stdout) == 0 && !ferror(stdout))
        return 0;
    return ant_fail(err, ANT_EIO, "cannot write to standard output%s%s", errno ? ": " : "",
                    errno ? strerror(errno) : "");
}

bool ant_cli_parse(const struct ant_command *command, void *settings, int argc, char **argv,
                   int *first, int *exit_code)
{
    const char *name = command->help->name;
    struct ant_error err;
    int rc = ant_option_parse(command->options, command->help, settings, argc, argv, first, &err);

    if (rc == 0)
        rc = check_operands(&command->operands, argv + *first, argc - *first, &err);
    if (rc == 0)
        return true;
    if (rc > 0)
        rc = ant_cli_end_output(&err); /* of --help */
    *exit_code = ant_exit_code(rc);
    if (rc < 0 && ant_job_env_rank() == 0)
        ant_cli_fail(name, rc, &err);
    if (rc == ANT_EUSAGE && ant_job_env_rank() == 0)
        fprintf(stderr, "'antiphon %s --help' tells the options\n", name);
    return false;
}

int ant_cli_main(const struct ant_command *command, void *settings, ant_cli_act *act, int argc,
                 char **argv)
{
    struct ant_error err = {{0}};
    int first, code;

    if (!ant_cli_parse(command, settings, argc, argv, &first, &code))
        return code;
    int rc = act(settings, argv + first, argc - first, &err);
    if (rc == 0)
        rc = ant_cli_end_output(&err);
    return rc < 0 ? ant_cli_fail(command->help->name, rc, &err) : ANT_EXIT_DONE;
}
