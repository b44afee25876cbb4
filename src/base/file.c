/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"

static int fail_errno(struct ant_error *err, const char *verb, const char *path)
{
    int code = errno == ENOENT || errno == ENOTDIR ? ANT_ENOENT : ANT_EIO;
    return ant_fail(err, code, "cannot %s '%s': %s", verb, path, strerror(errno));
}

/* A clone without Git LFS has small texts in the place of large files. */
static bool is_lfs_pointer(int fd)
{
    static const char begin[] = "version https://git-lfs";
    char data[sizeof begin - 1];

    return pread(fd, data, sizeof data, 0) == (ssize_t)sizeof data &&
           memcmp(data, begin, sizeof data) == 0;
}

static int open_file(int *out, const char *path, int flags, struct stat *status,
                     struct ant_error *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | flags);
    if (fd < 0)
        return fail_errno(err, "open", path);
    if (fstat(fd, status) < 0) {
        int code = fail_errno(err, "read", path);
        close(fd);
        return code;
    }
    if (S_ISDIR(status->st_mode)) {
        close(fd);
        return ant_fail(err, ANT_EDATA, "'%s' is a folder, not a file", path);
    }
    if (is_lfs_pointer(fd)) {
        close(fd);
        return ant_fail(err, ANT_EDATA,
                        "'%s' is only a pointer of Git LFS: 'git lfs pull' in its folder fetches "
                        "the file",
                        path);
    }
    *out = fd;
    return 0;
}

int ant_file_map(struct ant_file *out, const char *path, struct ant_error *err)
{
    int fd;
    struct stat status;
    /* A FIFO is opened at once, to be refused, and does not wait for its other end. */
    ANT_TRY(open_file(&fd, path, O_NONBLOCK, &status, err));
    int code = 0;
    if (!S_ISREG(status.st_mode)) {
        code = ant_fail(err, ANT_EDATA, "'%s' is not a regular file", path);
    } else if (status.st_size == 0) {
        code = ant_fail(err, ANT_EDATA, "'%s' is empty", path);
    } else {
        void *data = mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (data == MAP_FAILED)
            code = fail_errno(err, "map", path);
        else
            *out = (struct ant_file){data, (size_t)status.st_size, ant_xstrdup(path)};
    }
    close(fd);
    return code;
}

void ant_file_unmap(struct ant_file *file)
{
    if (file->data)
        munmap((void *)file->data, file->bytes);
    free(file->path);
    *file = (struct ant_file){0};
}

/* read(2) that is not stopped by a signal. */
static ssize_t read_some(int fd, void *data, size_t bytes)
{
    ssize_t n;
    do
        n = read(fd, data, bytes);
    while (n < 0 && errno == EINTR);
    return n;
}

int ant_file_read(char **out, size_t *bytes, const char *path, size_t max, struct ant_error *err)
{
    int fd;
    struct stat status;
    ANT_TRY(open_file(&fd, path, 0, &status, err));

    /* The size is a hint: files of /proc say 0, and a file may grow while it is read. */
    struct ant_buf buf = {0};
    size_t step =
        status.st_size > 0 && (uintmax_t)status.st_size <= max ? (size_t)status.st_size + 1 : 65536;
    int code = 0;
    for (;;) {
        size_t before = buf.len;
        ssize_t n = read_some(fd, ant_buf_grow(&buf, step), step);
        if (n < 0) {
            code = fail_errno(err, "read", path);
            break;
        }
        buf.len = before + (size_t)n;
        if (buf.len > max) {
            code = ant_fail(err, ANT_EDATA, "'%s' is larger than the %zu bytes allowed", path, max);
            break;
        }
        if (n == 0)
            break;
        step = 65536;
    }
    close(fd);
    if (code < 0) {
        ant_buf_release(&buf);
        return code;
    }
    buf.data[buf.len] = 0;
    *out = buf.data;
    if (bytes)
        *bytes = buf.len;
    return 0;
}

/* A new file beside `path`. Ranks on other hosts may write the same path, so the name holds the
 * time as well as the process, and must not exist. */
static int create_beside(char **out, const char *path, struct ant_error *err)
{
    for (int attempt = 0;; attempt++) {
        struct timespec now;
        clock_gettime(CLOCK_REALTIME, &now);
        char *name = ant_xasprintf("%s.%ld-%09ld" ANT_FILE_PART, path, (long)getpid(), now.tv_nsec);
        int fd = open(name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (fd >= 0) {
            *out = name;
            return fd;
        }
        bool again = errno == EEXIST && attempt < 100;
        int code = fail_errno(err, "create", name);
        free(name);
        if (!again)
            return code;
    }
}

/* A rename is safe only when the folder that holds the name is on the disk too. */
int ant_sync_folder(const char *path, struct ant_error *err)
{
    const char *slash = strrchr(path, '/');
    char *folder = !slash          ? ant_xstrdup(".")
                   : slash == path ? ant_xstrdup("/")
                                   : ant_xstrndup(path, (size_t)(slash - path));
    int code = 0;
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        code = fail_errno(err, "open", folder);
    else if (fsync(fd) < 0 && errno != EINVAL && errno != ENOTSUP) /* not every system can */
        code = fail_errno(err, "sync", folder);
    if (fd >= 0)
        close(fd);
    free(folder);
    return code;
}

bool ant_file_is_special(const char *path)
{
    static const char own[] = "/proc/self/fd/"; /* where /dev/stdout leads, then to any file */
    char target[sizeof own - 1];
    struct stat status;

    if (readlink(path, target, sizeof target) == (ssize_t)sizeof target &&
        memcmp(target, own, sizeof target) == 0)
        return true;
    return stat(path, &status) == 0 && !S_ISREG(status.st_mode);
}

static int write_special(const char *path, const void *data, size_t bytes, struct ant_error *err)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0)
        return fail_errno(err, "open", path);
    int code = ant_write_all(fd, data, bytes, path, err);
    if (close(fd) < 0 && code == 0)
        code = fail_errno(err, "close", path);
    return code;
}

int ant_file_write(const char *path, const void *data, size_t bytes, struct ant_error *err)
{
    if (ant_file_is_special(path))
        return write_special(path, data, bytes, err);

    char *part = NULL;
    int fd = create_beside(&part, path, err);
    if (fd < 0)
        return fd;
    int code = ant_write_all(fd, data, bytes, part, err);
    if (code == 0 && fsync(fd) < 0)
        code = fail_errno(err, "sync", part);
    if (close(fd) < 0 && code == 0)
        code = fail_errno(err, "close", part);
    if (code == 0 && rename(part, path) < 0)
        code = fail_errno(err, "write", path);
    if (code < 0)
        unlink(part);
    else
        code = ant_sync_folder(path, err);
    free(part);
    return code;
}

bool ant_file_is_same(const char *a, const char *b)
{
    struct stat x, y;

    return stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

int ant_write_all(int fd, const void *data, size_t bytes, const char *path, struct ant_error *err)
{
    const char *next = data;
    while (bytes > 0) {
        ssize_t n = write(fd, next, bytes);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return fail_errno(err, "write", path);
        next += n;
        bytes -= (size_t)n;
    }
    return 0;
}

int ant_pread_all(int fd, void *data, size_t bytes, uint64_t offset, const char *path,
                  struct ant_error *err)
{
    char *next = data;
    while (bytes > 0) {
        ssize_t n = pread(fd, next, bytes, (off_t)offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return fail_errno(err, "read", path);
        if (n == 0)
            return ant_fail(err, ANT_EDATA, "'%s' ends at byte %" PRIu64 ", %zu more expected",
                            path, offset, bytes);
        next += n;
        offset += (uint64_t)n;
        bytes -= (size_t)n;
    }
    return 0;
}

bool ant_file_type_is_remote(int64_t type)
{
    static const uint32_t types[] = {
        0x6969,     /* NFS */
        0x0bd00bd0, /* Lustre */
        0x47504653, /* GPFS */
        0x19830326, /* BeeGFS */
        0x00c36400, /* Ceph */
        0x65735546, /* FUSE: GlusterFS, sshfs and others */
        0x20030528, /* OrangeFS */
        0xff534d42, /* CIFS */
        0xfe534d42, /* SMB 2 */
        0x5346414f, /* AFS */
        0xaad7aaea, /* PanFS */
        0x01021997, /* 9P */
    };

    for (size_t i = 0; i < sizeof(types) / sizeof(*types); i++)
        if (types[i] == (uint32_t)type)
            return true;
    return false;
}

bool ant_file_is_remote(const char *path)
{
    struct statfs fs;

    return statfs(path, &fs) == 0 && ant_file_type_is_remote(fs.f_type);
}
