/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "base/failpoint.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

void ant_failpoint(const char *name, int rank)
{
    const char *wanted = getenv("ANTIPHON_FAILPOINT");
    size_t n = strlen(name);

    if (!wanted || strncmp(wanted, name, n) != 0)
        return;
    if (wanted[n] == '\0' || (wanted[n] == '@' && atoi(wanted + n + 1) == rank))
        raise(SIGKILL);
}
