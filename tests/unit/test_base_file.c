/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include <signal.h>

#include <cmocka.h>

#include "base/file.h"

static char folder[] = "/tmp/antiphon-test-XXXXXX";
static char path[64];

static int make_folder(void **state)
{
    (void)state;
    if (!mkdtemp(folder))
        return -1;
    snprintf(path, sizeof path, "%s/file", folder);
    return 0;
}

static int remove_folder(void **state)
{
    (void)state;
    unlink(path);
    return rmdir(folder);
}

static int entries(void)
{
    int n = 0;
    DIR *dir = opendir(folder);
    assert_non_null(dir);
    for (struct dirent *entry; (entry = readdir(dir));)
        n += entry->d_name[0] != '.';
    closedir(dir);
    return n;
}

static void write_then_read(void **state)
{
    (void)state;
    struct ant_error err;
    char *text;
    size_t bytes;
    assert_int_equal(ant_file_write(path, "first", 5, &err), 0);
    assert_int_equal(ant_file_write(path, "a\0b", 3, &err), 0);
    assert_int_equal(entries(), 1); /* nothing left beside it */
    assert_int_equal(ant_file_read(&text, &bytes, path, 3, &err), 0);
    assert_int_equal(bytes, 3);
    assert_memory_equal(text, "a\0b", 4);
    free(text);
    assert_int_equal(ant_file_read(&text, &bytes, path, 2, &err), ANT_EDATA);
    assert_non_null(strstr(err.text, path));

    assert_int_equal(ant_file_write(path, "", 0, &err), 0);
    assert_int_equal(ant_file_read(&text, NULL, path, 0, &err), 0);
    assert_string_equal(text, "");
    free(text);
}

static void files_without_a_size(void **state)
{
    (void)state;
    struct ant_error err;
    char *text;
    size_t bytes;
    assert_int_equal(ant_file_read(&text, &bytes, "/proc/self/maps", 1 << 24, &err), 0);
    assert_true(bytes > 0 && strlen(text) == bytes);
    free(text);
}

static void missing_and_wrong(void **state)
{
    (void)state;
    struct ant_error err;
    struct ant_file file = {0};
    char *text;
    assert_int_equal(ant_file_map(&file, "/nowhere/x", &err), ANT_ENOENT);
    assert_string_equal(err.text, "cannot open '/nowhere/x': No such file or directory");
    assert_int_equal(ant_file_map(&file, folder, &err), ANT_EDATA);
    assert_int_equal(ant_file_map(&file, "/dev/null", &err), ANT_EDATA);
    unlink(path);
    assert_int_equal(mkfifo(path, 0600), 0); /* nobody writes to it: opening it must not wait */
    assert_int_equal(ant_file_map(&file, path, &err), ANT_EDATA);
    assert_non_null(strstr(err.text, "is not a regular file"));
    unlink(path);
    assert_int_equal(ant_file_read(&text, NULL, folder, 10, &err), ANT_EDATA);
    assert_int_equal(ant_file_read(&text, NULL, "/nowhere/x", 10, &err), ANT_ENOENT);
    assert_int_equal(ant_file_write("/nowhere/x", "a", 1, &err), ANT_ENOENT);
    assert_non_null(strstr(err.text, "/nowhere/x"));
    assert_int_equal(ant_file_write(path, "", 0, &err), 0);
    assert_int_equal(ant_file_map(&file, path, &err), ANT_EDATA);
    assert_non_null(strstr(err.text, "is empty"));
    assert_null(file.data);
    static const char pointer[] = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\n";
    assert_int_equal(ant_file_write(path, pointer, sizeof pointer - 1, &err), 0);
    assert_int_equal(ant_file_map(&file, path, &err), ANT_EDATA);
    assert_non_null(strstr(err.text, "pointer of Git LFS"));
    ant_file_unmap(&file);
}

static void mapping(void **state)
{
    (void)state;
    struct ant_error err;
    struct ant_file file = {0};
    assert_int_equal(ant_file_write(path, "tensor", 6, &err), 0);
    assert_int_equal(ant_file_map(&file, path, &err), 0);
    assert_int_equal(file.bytes, 6);
    assert_memory_equal(file.data, "tensor", 6);
    assert_string_equal(file.path, path);
    ant_file_unmap(&file);
    assert_null(file.data);
}

static void failed_write_leaves_the_old_file(void **state)
{
    (void)state;
    struct ant_error err;
    struct rlimit old, small = {4096, 4096};
    char *text;
    static char big[100000];
    assert_int_equal(ant_file_write(path, "old", 3, &err), 0);
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    small.rlim_max = old.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    int code = ant_file_write(path, big, sizeof big, &err);
    setrlimit(RLIMIT_FSIZE, &old);
    assert_int_equal(code, ANT_EIO);
    assert_int_equal(entries(), 1);
    assert_int_equal(ant_file_read(&text, NULL, path, 100, &err), 0);
    assert_string_equal(text, "old");
    free(text);
}

static void a_pipe_is_written_to_and_stays(void **state)
{
    (void)state;
    struct ant_error err;
    struct stat status;
    char data[8] = {0};
    unlink(path);
    assert_int_equal(mkfifo(path, 0600), 0);
    int fd = open(path, O_RDWR | O_NONBLOCK);
    assert_true(fd >= 0);
    assert_int_equal(ant_file_write(path, "through", 7, &err), 0);
    assert_int_equal(read(fd, data, sizeof data), 7);
    assert_string_equal(data, "through");
    assert_int_equal(stat(path, &status), 0);
    assert_true(S_ISFIFO(status.st_mode));
    assert_int_equal(entries(), 1);
    close(fd);
    unlink(path);
    assert_int_equal(symlink("/proc/self/fd/1", path), 0); /* as /dev/stdout is one */
    assert_true(ant_file_is_special(path));
    unlink(path);
}

static void pread_past_the_end(void **state)
{
    (void)state;
    struct ant_error err;
    char data[8] = {0};
    assert_int_equal(ant_file_write(path, "0123456789", 10, &err), 0);
    int fd = open(path, O_RDONLY);
    assert_true(fd >= 0);
    assert_int_equal(ant_pread_all(fd, data, 4, 3, path, &err), 0);
    assert_string_equal(data, "3456");
    assert_int_equal(ant_pread_all(fd, data, 4, 8, path, &err), ANT_EDATA);
    assert_non_null(strstr(err.text, "ends at byte 10, 2 more expected"));
    assert_int_equal(ant_write_all(fd, "x", 1, path, &err), ANT_EIO);
    close(fd);
}

static void one_file_by_two_names(void **state)
{
    (void)state;
    struct ant_error err;
    char other[sizeof path + 8];
    snprintf(other, sizeof other, "%s.other", path);
    assert_int_equal(ant_file_write(path, "a", 1, &err), 0);
    assert_true(ant_file_is_same(path, path));
    assert_false(ant_file_is_same(path, other));
    assert_false(ant_file_is_same(other, other));
    assert_int_equal(link(path, other), 0);
    assert_true(ant_file_is_same(path, other));
    assert_int_equal(unlink(other), 0);
    assert_int_equal(symlink(path, other), 0);
    assert_true(ant_file_is_same(path, other));
    assert_int_equal(unlink(other), 0);
    assert_int_equal(ant_file_write(other, "a", 1, &err), 0);
    assert_false(ant_file_is_same(path, other));
    assert_int_equal(unlink(other), 0);
}

static void knows_file_systems_of_a_network(void **state)
{
    (void)state;
    assert_true(ant_file_type_is_remote(0x6969));              /* NFS */
    assert_true(ant_file_type_is_remote(0x0bd00bd0));          /* Lustre */
    assert_true(ant_file_type_is_remote((int32_t)0xfe534d42)); /* SMB 2, where it is signed */
    assert_false(ant_file_type_is_remote(0xef53));             /* ext4 */
    assert_false(ant_file_type_is_remote(0x01021994));         /* tmpfs */
    assert_false(ant_file_is_remote("/dev/null"));
    assert_false(ant_file_is_remote("/nowhere/at/all"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(knows_file_systems_of_a_network),
        cmocka_unit_test(write_then_read),
        cmocka_unit_test(files_without_a_size),
        cmocka_unit_test(missing_and_wrong),
        cmocka_unit_test(mapping),
        cmocka_unit_test(failed_write_leaves_the_old_file),
        cmocka_unit_test(a_pipe_is_written_to_and_stays),
        cmocka_unit_test(pread_past_the_end),
        cmocka_unit_test(one_file_by_two_names),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
