/* SPDX-License-Identifier: Apache-2.0 */
/* LD_PRELOAD: a node that is not as it should be. BAD_NODE="WHAT [RANK]", with RANK in the rank of
 * this number alone, where WHAT is
 *   clock   its clock is an hour ahead
 *   shm     /dev/shm is of 64 MB
 *   disk    file systems have 100 MB left
 *   flock   there are no locks of whole files
 *   fcntl   there are no other locks
 *   sync    file systems hang when asked to write to disk
 *   write   they hang when asked to write at a place of a file, as HDF5 does */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

static int is_bad(const char *what)
{
    const char *wish = getenv("BAD_NODE"), *rank = getenv("SLURM_PROCID");
    char name[16] = "";
    int only = -1;

    if (!wish || sscanf(wish, "%15s %d", name, &only) < 1 || strcmp(name, what) != 0)
        return 0;
    return only < 0 || (rank && atoi(rank) == only);
}

int clock_gettime(clockid_t clock, struct timespec *out)
{
    static int (*real)(clockid_t, struct timespec *);

    if (!real)
        *(void **)&real = dlsym(RTLD_NEXT, "clock_gettime");
    int rc = real(clock, out);
    if (rc == 0 && clock == CLOCK_REALTIME && is_bad("clock"))
        out->tv_sec += 3600;
    return rc;
}

int statvfs(const char *path, struct statvfs *out)
{
    int (*real)(const char *, struct statvfs *);

    *(void **)&real = dlsym(RTLD_NEXT, "statvfs");
    int rc = real(path, out);
    if (rc == 0 && strcmp(path, "/dev/shm") == 0 && is_bad("shm"))
        out->f_blocks = out->f_bavail = ((fsblkcnt_t)64 << 20) / out->f_frsize;
    else if (rc == 0 && is_bad("disk"))
        out->f_bavail = ((fsblkcnt_t)100 << 20) / out->f_frsize;
    return rc;
}

int flock(int fd, int operation)
{
    int (*real)(int, int);

    *(void **)&real = dlsym(RTLD_NEXT, "flock");
    errno = ENOSYS;
    return is_bad("flock") ? -1 : real(fd, operation);
}

int fcntl(int fd, int command, ...)
{
    int (*real)(int, int, void *);
    va_list args;

    va_start(args, command);
    void *argument = va_arg(args, void *);
    va_end(args);
    *(void **)&real = dlsym(RTLD_NEXT, "fcntl");
    errno = ENOLCK;
    return command == F_OFD_SETLK && is_bad("fcntl") ? -1 : real(fd, command, argument);
}

static void hang(const char *what)
{
    while (is_bad(what))
        pause();
}

int fsync(int fd)
{
    int (*real)(int);

    hang("sync");
    *(void **)&real = dlsym(RTLD_NEXT, "fsync");
    return real(fd);
}

ssize_t pwrite(int fd, const void *data, size_t bytes, off_t place)
{
    ssize_t (*real)(int, const void *, size_t, off_t);

    hang("write");
    *(void **)&real = dlsym(RTLD_NEXT, "pwrite");
    return real(fd, data, bytes, place);
}

ssize_t pwrite64(int fd, const void *data, size_t bytes, off64_t place)
{
    ssize_t (*real)(int, const void *, size_t, off64_t);

    hang("write");
    *(void **)&real = dlsym(RTLD_NEXT, "pwrite64");
    return real(fd, data, bytes, place);
}
