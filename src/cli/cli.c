/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "cli/cli.h"

#include <stdio.h>

int ant_cli_fail(const char *command, int code, const struct ant_error *err)
{
    fflush(stdout);
    fprintf(stderr, "antiphon %s: %s\n", command, err->text);
    return ant_exit_code(code);
}
