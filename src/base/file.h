/* SPDX-License-Identifier: Apache-2.0 */
/* Files as the rest of the program needs them: whole-file read-only mappings
 * and small text files. Every error names the path. Thread: any. */
#ifndef ANT_BASE_FILE_H
#define ANT_BASE_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/* A read-only mapping of a whole file. A file of zero bytes is an error
 * (ANT_EDATA), and so is what is no regular file. */
struct ant_file {
    const unsigned char *data; /* owned */
    size_t bytes;
    char *path; /* owned */
};
int ant_file_map(struct ant_file *out, const char *path, struct ant_error *err);
void ant_file_unmap(struct ant_file *file); /* legal on a zeroed struct */

/* The whole of a file as a NUL-terminated string; more than `max` bytes are an
 * error (ANT_EDATA). `bytes` may be NULL. Caller frees. */
int ant_file_read(char **out, size_t *bytes, const char *path, size_t max, struct ant_error *err);

/* Is something of this name there that is no regular file: a device, a pipe, /dev/stdout? It can be
 * written to, and must not be replaced. */
bool ant_file_is_special(const char *path);

/* Write `path` whole or not at all: temporary file beside it, whose name ends in ANT_FILE_PART,
 * fsync, rename, fsync of the folder. A kill can leave the temporary file. What is special is
 * written to as it is. */
#define ANT_FILE_PART ".part"
int ant_file_write(const char *path, const void *data, size_t bytes, struct ant_error *err);

/* Are these one file, by whatever names? One that is not there is none. */
bool ant_file_is_same(const char *a, const char *b);

/* Put the name of `path` on the disk: fsync of the folder it lies in. */
int ant_sync_folder(const char *path, struct ant_error *err);

/* Does `path` lie on a file system that other hosts read over a network, too? `type` is what
 * statfs(2) says of it. */
bool ant_file_is_remote(const char *path);
bool ant_file_type_is_remote(int64_t type);

/* write(2) and pread(2) until done, EINTR and short counts handled. */
int ant_write_all(int fd, const void *data, size_t bytes, const char *path, struct ant_error *err);
int ant_pread_all(int fd, void *data, size_t bytes, uint64_t offset, const char *path,
                  struct ant_error *err);

#endif
