/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "job/time_limit.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"

extern char **environ;

/* ---- times as Slurm writes them -------------------------------------------------------------- */

/* Numbers with ':' between them, at most `max`; their count, or -1. */
static int read_numbers(const char *text, double *numbers, int max)
{
    for (int n = 0;;) {
        char *end;
        size_t digits = strspn(text, "0123456789");
        if (n == max || digits == 0 || digits > 9)
            return -1;
        numbers[n++] = (double)strtol(text, &end, 10);
        if (!*end)
            return n;
        if (*end != ':')
            return -1;
        text = end + 1;
    }
}

int ant_time_parse(double *seconds, const char *text, struct ant_error *err)
{
    const char *dash = strchr(text, '-');
    double days = 0, n[3] = {0};
    int count;

    if (dash) {
        char head[16] = "";
        if (dash - text < (int)sizeof(head))
            memcpy(head, text, (size_t)(dash - text));
        count = read_numbers(head, &days, 1) == 1 ? read_numbers(dash + 1, n, 3) : -1;
    } else {
        count = read_numbers(text, n, 3);
    }
    if (count < 0)
        return ant_fail(err, ANT_EUSAGE,
                        "'%s' is no time: M, M:S, H:M:S, D-H, D-H:M and D-H:M:S are", text);
    if (dash || count == 3)
        *seconds = days * 86400 + n[0] * 3600 + n[1] * 60 + n[2];
    else
        *seconds = n[0] * 60 + n[1];
    return 0;
}

/* ---- Slurm ----------------------------------------------------------------------------------- */

/* What a program writes, at most bytes - 1 of it. By posix_spawn: a fork would copy the page tables
 * of memory that a network card may be writing to. */
static int read_program(const char *const argv[], double patience, char *out, size_t bytes)
{
    posix_spawn_file_actions_t actions;
    double until = ant_now() + patience;
    size_t have = 0;
    int pipes[2], status = 0;
    pid_t pid;

    if (pipe2(pipes, O_CLOEXEC) < 0)
        return -1;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, pipes[1], STDOUT_FILENO);
    posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
    int rc = posix_spawnp(&pid, argv[0], &actions, NULL, (char *const *)argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    close(pipes[1]);
    bool is_over = rc != 0;
    while (!is_over && ant_now() < until) {
        struct pollfd wait = {.fd = pipes[0], .events = POLLIN};
        if (poll(&wait, 1, 100) <= 0)
            continue;
        ssize_t n = read(pipes[0], out + have, bytes - 1 - have);
        have += n > 0 ? (size_t)n : 0;
        is_over = n == 0 || (n < 0 && errno != EINTR) || have == bytes - 1;
    }
    close(pipes[0]);
    out[have] = '\0';
    if (rc != 0)
        return -1;
    if (!is_over)
        kill(pid, SIGKILL);
    waitpid(pid, &status, 0);
    return is_over && WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -1;
}

static int ask_squeue(const char *job, double patience, double *seconds, struct ant_error *err)
{
    const char *const argv[] = {"squeue", "-h", "-j", job, "-o", "%L", NULL};
    char text[64] = "";
    double began = ant_now();

    if (read_program(argv, patience, text, sizeof(text)) < 0)
        return ant_fail(err, ANT_EPEER, "squeue does not say how long job %s may run", job);
    text[strcspn(text, " \n")] = '\0';
    *seconds = INFINITY;
    if (strcmp(text, "UNLIMITED") == 0)
        return 0;
    if (ant_time_parse(seconds, text, NULL) < 0)
        return ant_fail(err, ANT_EPEER, "squeue says '%s' of the time left to job %s", text, job);
    *seconds -= ant_now() - began;
    return 0;
}

int ant_time_left(double *seconds, double patience, struct ant_error *err)
{
    const char *job = getenv("SLURM_JOB_ID"), *end = getenv("SLURM_JOB_END_TIME");

    *seconds = INFINITY;
    if (!job)
        return 0;
    if (end) {
        char *rest;
        long long when = strtoll(end, &rest, 10);
        double left = (double)(when - (long long)time(NULL));
        if (*end && !*rest && left > 0) {
            *seconds = left;
            return 0;
        }
    }
    return ask_squeue(job, patience, seconds, err);
}
