/* SPDX-License-Identifier: Apache-2.0 */
/* The command table. Each command is a file in src/cli. */
#include "config.h"

#include <stdio.h>
#include <string.h>

#include "backend/cpu/cpu_level.h"
#include "base/error.h"
#include "base/version.h"
#include "cli/cli.h"

static const struct command {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *purpose;
} commands[] = {
    {"run", ant_cli_run, "answer every prompt of a file with a model"},
    {"pack", ant_cli_pack, "make a prompt file of JSON lines, CSV or text"},
    {"show", ant_cli_show, "print answers of a result file"},
    {"export", ant_cli_export, "turn a result file into JSON lines or CSV"},
    {"merge", ant_cli_merge, "write the result file of an unfinished job"},
    {"params", ant_cli_params, "list the parameters of a model"},
};

static void print_help(FILE *out)
{
    fputs("Usage: antiphon COMMAND [options]\n\n"
          "Offline LLM inference on HPC clusters: prompts from HDF5, answers to HDF5.\n\n",
          out);
    for (size_t i = 0; i < sizeof(commands) / sizeof(*commands); i++)
        fprintf(out, "  %-8s %s\n", commands[i].name, commands[i].purpose);
    fputs("\n"
          "'antiphon COMMAND --help' tells a command's options. A parallel job is started by\n"
          "'srun --mpi=pmix -N2 -n8 antiphon run ...' or 'mpirun -n 8 antiphon run ...'.\n",
          out);
}

static int print_version(void)
{
    printf("antiphon %s (%s)\nbuilt by %s with: %s\n", ant_version, ant_version_commit,
           ant_version_compiler, ant_version_features);
    return ANT_EXIT_DONE;
}

int main(int argc, char **argv)
{
    ant_cpu_request_amx(); /* before any library installs a signal stack: the kernel would refuse */
    const char *name = argc > 1 ? argv[1] : "";

    if (strcmp(name, "--version") == 0 || strcmp(name, "-V") == 0)
        return print_version();
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 || strcmp(name, "help") == 0) {
        print_help(stdout);
        return ANT_EXIT_DONE;
    }
    for (size_t i = 0; i < sizeof(commands) / sizeof(*commands); i++)
        if (strcmp(name, commands[i].name) == 0)
            return commands[i].run(argc - 1, argv + 1);
    if (*name)
        fprintf(stderr, "antiphon: unknown command '%s'\n\n", name);
    print_help(stderr);
    return ANT_EXIT_USAGE;
}
