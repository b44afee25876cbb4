/* SPDX-License-Identifier: Apache-2.0 */
/* LD_PRELOAD: writing goes wrong. FAIL_WRITE="N ERRNO PART [RANK]" makes the N-th write or sync of
 * this process to a file whose path contains PART fail, and every later one, as on a disk that is
 * full or broken; with RANK in the rank of this number alone. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

static _Atomic int n_writes;

static int fails(int fd)
{
    const char *wish = getenv("FAIL_WRITE"), *rank = getenv("SLURM_PROCID");
    char part[256] = "", link[64], path[4096];
    int n = 0, number = 0, only = -1;

    if (!wish || sscanf(wish, "%d %d %255s %d", &n, &number, part, &only) < 3)
        return 0;
    if (only >= 0 && (!rank || atoi(rank) != only))
        return 0;
    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof(path) - 1);
    if (length < 0)
        return 0;
    path[length] = '\0';
    if (!strstr(path, part) || ++n_writes < n)
        return 0;
    errno = number;
    return 1;
}

#define WRAP(type, name, parameters, arguments)                                                    \
    type name parameters                                                                           \
    {                                                                                              \
        type(*real) parameters = (type(*) parameters)dlsym(RTLD_NEXT, #name);                      \
        return fails(fd) ? -1 : real arguments;                                                    \
    }

WRAP(ssize_t, write, (int fd, const void *data, size_t n), (fd, data, n))
WRAP(ssize_t, pwrite, (int fd, const void *data, size_t n, off_t at), (fd, data, n, at))
WRAP(ssize_t, pwrite64, (int fd, const void *data, size_t n, off64_t at), (fd, data, n, at))
WRAP(ssize_t, writev, (int fd, const struct iovec *v, int n), (fd, v, n))
WRAP(ssize_t, pwritev, (int fd, const struct iovec *v, int n, off_t at), (fd, v, n, at))
WRAP(ssize_t, pwritev64, (int fd, const struct iovec *v, int n, off64_t at), (fd, v, n, at))
WRAP(int, fsync, (int fd), (fd))
WRAP(int, fdatasync, (int fd), (fd))
