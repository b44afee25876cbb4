/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "base/failpoint.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void ant_failpoint(const char *name, int rank)
{
    const char *wanted = getenv("ANTIPHON_FAILPOINT");
    size_t n = strlen(name);
    int signal = SIGKILL;

    if (wanted && strncmp(wanted, "stop:", 5) == 0) {
        wanted += 5;
        signal = SIGSTOP;
    }
    if (!wanted || strncmp(wanted, name, n) != 0)
        return;
    if (wanted[n] != '\0' && (wanted[n] != '@' || atoi(wanted + n + 1) != rank))
        return;
    if (signal == SIGSTOP)
        sleep(2);
    raise(signal);
}
