/* SPDX-License-Identifier: Apache-2.0 */
/* LD_PRELOAD: files are removed as on NFS. One that some process of this host has open keeps a
 * name,
 * ".nfs...", in its folder until the last of them closes it. */
#define _GNU_SOURCE
#include <ctype.h>
#include <dirent.h>
#include <dlfcn.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Has process `pid` this file open? */
static bool holds(const char *pid, const struct stat *file)
{
    char path[600];
    bool is_held = false;

    snprintf(path, sizeof(path), "/proc/%.20s/fd", pid);
    DIR *dir = opendir(path);
    for (struct dirent *entry; dir && !is_held && (entry = readdir(dir));) {
        struct stat is;
        snprintf(path, sizeof(path), "/proc/%.20s/fd/%.255s", pid, entry->d_name);
        is_held = stat(path, &is) == 0 && is.st_dev == file->st_dev && is.st_ino == file->st_ino;
    }
    if (dir)
        closedir(dir);
    return is_held;
}

static bool is_open(const char *path)
{
    struct stat file;
    bool is_held = false;

    if (stat(path, &file) < 0 || !S_ISREG(file.st_mode))
        return false;
    DIR *dir = opendir("/proc");
    for (struct dirent *entry; dir && !is_held && (entry = readdir(dir));)
        is_held = isdigit((unsigned char)entry->d_name[0]) && holds(entry->d_name, &file);
    if (dir)
        closedir(dir);
    return is_held;
}

int unlink(const char *path)
{
    static _Atomic int n;
    int (*real)(const char *) = (int (*)(const char *))dlsym(RTLD_NEXT, "unlink");
    const char *slash = strrchr(path, '/');
    char name[4200];

    if (!is_open(path))
        return real(path);
    snprintf(name, sizeof(name), "%.*s.nfs%ld.%d", slash ? (int)(slash - path) + 1 : 0, path,
             (long)getpid(), ++n);
    return rename(path, name);
}

int close(int fd)
{
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, "close");
    int (*remove_name)(const char *) = (int (*)(const char *))dlsym(RTLD_NEXT, "unlink");
    char link[64], path[4096];

    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof(path) - 1);
    int rc = real(fd);
    path[length > 0 ? length : 0] = '\0';
    if (strstr(path, "/.nfs") && !is_open(path))
        remove_name(path);
    return rc;
}
