/* SPDX-License-Identifier: Apache-2.0 */
/* Version, help, and the way to the commands in src/cli. */
#include "config.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "backend/cpu/cpu_level.h"
#include "base/error.h"
#include "base/version.h"
#include "cli/cli.h"

/* A file that is opened gets the lowest number that is free. Were it that of a standard stream
 * which the caller has closed, what is printed would go into that file. */
static void open_standard_streams(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDWR) < 0)
            _exit(ANT_EXIT_UNAVAILABLE);
}

static void print_help(FILE *out)
{
    fputs("Usage: antiphon COMMAND [options]\n\n"
          "Offline LLM inference on HPC clusters: prompts from HDF5, answers to HDF5.\n\n",
          out);
    for (const struct ant_command *const *command = ant_commands; *command; command++)
        fprintf(out, "  %-8s %s\n", (*command)->help->name, (*command)->help->summary);
    fputs("\n"
          "'antiphon help COMMAND' tells a command's options. A parallel job is started by\n"
          "'srun --mpi=pmix -N2 -n8 antiphon run ...' or 'mpirun -n 8 antiphon run ...'.\n",
          out);
}

/* Exit code of what only prints. */
static int end_output(void)
{
    struct ant_error err;

    if (ant_cli_end_output(&err) == 0)
        return ANT_EXIT_DONE;
    fprintf(stderr, "antiphon: %s\n", err.text);
    return ANT_EXIT_DISK;
}

static int print_version(void)
{
    printf("antiphon %s (commit %s)\nbuilt by %s with: %s\n", ant_version, ant_version_commit,
           ant_version_compiler, ant_version_features);
    return end_output();
}

/* What a word that is no command was perhaps meant to be; NULL: there is nothing like it. */
static const char *nearest_command(const char *word)
{
    const char *nearest = NULL;
    int least = 3;

    for (const struct ant_command *const *command = ant_commands; *command; command++) {
        int changes = ant_word_distance(word, (*command)->help->name);
        if (changes < least) {
            least = changes;
            nearest = (*command)->help->name;
        }
    }
    return nearest;
}

static int fail_unknown(const char *word)
{
    const char *nearest = nearest_command(word);

    if (nearest)
        fprintf(stderr, "antiphon: unknown command '%s'; did you mean '%s'?\n", word, nearest);
    else
        fprintf(stderr, "antiphon: unknown command '%s': 'antiphon help' lists them\n", word);
    return ANT_EXIT_USAGE;
}

/* antiphon help [COMMAND] */
static int print_help_of(const char *name)
{
    const struct ant_command *command = name ? ant_command_find(name) : NULL;

    if (name && !command)
        return fail_unknown(name);
    if (command)
        ant_option_help(stdout, command->options, command->help);
    else
        print_help(stdout);
    return end_output();
}

int main(int argc, char **argv)
{
    ant_cpu_request_amx(); /* before any library installs a signal stack: the kernel would refuse */
    const char *name = argc > 1 ? argv[1] : "";

    open_standard_streams();
    setvbuf(stderr, NULL, _IOLBF, BUFSIZ); /* lines of several ranks go out whole */
    if (strcmp(name, "--version") == 0 || strcmp(name, "-V") == 0)
        return print_version();
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 || strcmp(name, "help") == 0)
        return print_help_of(argc > 2 ? argv[2] : NULL);
    const struct ant_command *command = ant_command_find(name);
    if (command)
        return command->run(argc - 1, argv + 1);
    if (*name)
        return fail_unknown(name);
    print_help(stderr);
    return ANT_EXIT_USAGE;
}
