/* SPDX-License-Identifier: Apache-2.0 */
/* antiphon halt: stop a running job from anywhere that sees its output. */
#include "config.h"

#include <stddef.h>
#include <stdio.h>

#include "base/option.h"
#include "cli/cli.h"
#include "store/journal.h"

struct halt_settings {
    bool now;
};

static const struct ant_option options[] = {
    {ANT_OPTION_FLAG, 0, "now", NULL, offsetof(struct halt_settings, now),
     .help = "Save the answers under way at once instead of finishing them."},
    {0},
};

static const struct ant_command_help help = {
    .name = "halt",
    .summary = "stop a running job in order",
    .synopsis = "OUT [--now]",
    .purpose =
        "Stop the job that is writing OUT: no new prompts, what is under way is finished for as "
        "long as its --drain allows, then saved. The job ends with exit code 75; its "
        "command goes on where it was.",
    .epilog = "The job looks every 2 seconds; a network file system may let it wait for a minute.",
};

static int halt(void *data, char **operands, int n, struct ant_error *err)
{
    const struct halt_settings *settings = data;
    char owner[256];

    (void)n;
    ANT_TRY(ant_journal_halt(operands[0], settings->now, owner, sizeof(owner), err));
    printf("%s is asked to stop\n", owner);
    return 0;
}

static int halt_main(int argc, char **argv)
{
    struct halt_settings settings = {0};

    return ant_cli_main(&ant_command_halt, &settings, halt, argc, argv);
}

const struct ant_command ant_command_halt = {
    halt_main, options, &help, {1, 1, "name the output of one job"}};
