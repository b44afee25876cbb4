/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "fixture.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/mem.h"

char test_folder[256];

void must(int rc, const struct ant_error *err)
{
    if (rc < 0)
        fail_msg("%s", err->text);
}

char *source_path(const char *name)
{
    const char *top = getenv("TOP_SRCDIR");
    return ant_xasprintf("%s/%s", top ? top : ".", name);
}

json_t *load_json(const char *folder, const char *name)
{
    char *path = ant_xasprintf("%s/%s", folder, name);
    json_error_t reason;
    json_t *value = json_load_file(path, JSON_ALLOW_NUL, &reason);
    if (!value)
        fprintf(stderr, "%s: %s\n", path, reason.text);
    free(path);
    return value;
}

struct ant_checkpoint *open_tiny(const char *name, struct ant_tokenizer **tokenizer)
{
    struct ant_checkpoint *checkpoint;
    struct ant_error err;
    char *tiny = source_path("tests/golden/tiny");
    char *path = ant_xasprintf("%s/%s", tiny, name);
    must(ant_checkpoint_open(&checkpoint, path, &err), &err);
    if (tokenizer)
        must(ant_checkpoint_tokenizer(checkpoint, tokenizer, &err), &err);
    free(path);
    free(tiny);
    return checkpoint;
}

void make_folder(char path[256])
{
    snprintf(path, 256, "%s/antiphon-test-XXXXXX", getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp");
    if (!mkdtemp(path))
        fail_msg("cannot make the folder '%s'", path);
}

void remove_folder(const char *path)
{
    DIR *dir = opendir(path);
    for (struct dirent *entry; dir && (entry = readdir(dir));) {
        char *name = ant_xasprintf("%s/%s", path, entry->d_name);
        unlink(name); /* fails for "." and "..", as it should */
        free(name);
    }
    if (dir)
        closedir(dir);
    rmdir(path);
}

void write_file(const char *path, const void *data, size_t bytes)
{
    FILE *file = fopen(path, "wb");
    if (!file || fwrite(data, 1, bytes, file) != bytes || fclose(file) != 0)
        fail_msg("cannot write '%s'", path);
}

void write_in(const char *folder, const char *name, const void *data, size_t bytes)
{
    char *path = ant_xasprintf("%s/%s", folder, name);
    write_file(path, data, bytes);
    free(path);
}

int make_test_folder(void **state)
{
    (void)state;
    make_folder(test_folder);
    return 0;
}

int remove_test_folder(void **state)
{
    (void)state;
    remove_folder(test_folder);
    return 0;
}
