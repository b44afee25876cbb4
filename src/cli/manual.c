/* SPDX-License-Identifier: Apache-2.0 */
/* antiphon manual: what `make` writes the manual pages and the completion with, from the tables
 * that parse the command line. */
#include "config.h"

#include <stdio.h>

#include "cli/cli.h"

struct manual_settings {
    bool completion;
};

static const struct ant_option options[] = {
    {ANT_OPTION_FLAG, 0, "completion", NULL, offsetof(struct manual_settings, completion),
     .help = "Print the completion of all commands for bash instead."},
    {0},
};

static const struct ant_command_help help = {
    .name = "manual",
    .summary = "print the manual page of a command",
    .synopsis = "COMMAND | --completion",
    .purpose = "Print the manual page of a command in the form that man reads: "
               "'antiphon manual run | man -l -'.",
};

static void print_completion(void)
{
    fputs("# bash completion of antiphon, made by 'antiphon manual --completion'\n"
          "_antiphon()\n"
          "{\n"
          "    local word=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]} words\n"
          "    if [ \"$word\" = = ]; then\n"
          "        word=\n"
          "    elif [ \"$previous\" = = ]; then\n"
          "        previous=${COMP_WORDS[COMP_CWORD - 2]}\n"
          "    fi\n"
          "    case ${COMP_WORDS[1]} in\n",
          stdout);
    for (const struct ant_command *const *command = ant_commands; *command; command++)
        ant_option_completion(stdout, (*command)->options, (*command)->help);
    fputs("    *) words=\"", stdout);
    for (const struct ant_command *const *command = ant_commands; *command; command++)
        printf("%s ", (*command)->help->name);
    fputs("--help --version\" ;;\n"
          "    esac\n"
          "    mapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$word\")\n"
          "}\n"
          "complete -o default -F _antiphon antiphon\n",
          stdout);
}

static int print_page(const char *name, struct ant_error *err)
{
    const struct ant_command *command = ant_command_find(name);

    if (!command)
        return ant_fail(err, ANT_EUSAGE, "there is no command '%s'", name);
    ant_option_man(stdout, command->options, command->help);
    return 0;
}

static int print_manual(void *data, char **operands, int n, struct ant_error *err)
{
    const struct manual_settings *settings = data;

    if (n != (settings->completion ? 0 : 1))
        return ant_fail(err, ANT_EUSAGE, "give one command, or --completion");
    if (!settings->completion)
        return print_page(operands[0], err);
    print_completion();
    return 0;
}

static int manual_main(int argc, char **argv)
{
    struct manual_settings settings = {0};

    return ant_cli_main(&ant_command_manual, &settings, print_manual, argc, argv);
}

const struct ant_command ant_command_manual = {
    manual_main, options, &help, {0, 1, "give one command, or --completion"}};
