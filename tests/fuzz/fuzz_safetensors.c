/* SPDX-License-Identifier: Apache-2.0 */
/* Safetensors: the index of a sharded model when the input looks like JSON, else a file of tensors.
 * The names that an index gives may be those of two good shards. */
#include "config.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fuzz.h"
#include "model/safetensors.h"

static char folder[64];

static void write_in_folder(const char *name, const void *data, size_t bytes)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (fd < 0 || write(fd, data, bytes) != (ssize_t)bytes || close(fd) < 0)
        abort();
}

static void remove_from_folder(const char *name)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    unlink(path);
}

static void clean_up(void)
{
    remove_from_folder("a.safetensors");
    remove_from_folder("b.safetensors");
    remove_from_folder("model.safetensors");
    remove_from_folder("model.safetensors.index.json");
    rmdir(folder);
}

static void set_up(void)
{
    static const char header[] = "\x40\0\0\0\0\0\0\0"
                                 "{\"a\":{\"dtype\":\"F16\",\"shape\":[2],\"data_offsets\":[0,4]}}"
                                 "          "
                                 "1234";
    char other[sizeof header];
    memcpy(other, header, sizeof header);
    other[10] = 'b';
    const char *base = getenv("TMPDIR");
    snprintf(folder, sizeof folder, "%s/fuzz-XXXXXX", base && strlen(base) < 40 ? base : "/tmp");
    if (!mkdtemp(folder))
        abort();
    atexit(clean_up);
    write_in_folder("a.safetensors", header, 8 + 0x40 + 4);
    write_in_folder("b.safetensors", other, 8 + 0x40 + 4);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    struct ant_safetensors *files;
    struct ant_error err;
    if (!*folder)
        set_up();
    bool is_index = bytes > 0 && data[0] == '{';
    const char *name = is_index ? "model.safetensors.index.json" : "model.safetensors";
    write_in_folder(name, data, bytes);
    if (ant_safetensors_open(&files, folder, &err) == 0) {
        for (size_t i = 0; i < ant_safetensors_count(files); i++) {
            const struct ant_tensor *tensor = ant_safetensors_tensor(files, i);
            for (size_t j = 0; j < tensor->bytes; j++)
                (void)((const volatile unsigned char *)tensor->data)[j];
            if (ant_safetensors_find(files, tensor->name) != tensor)
                abort();
        }
        ant_safetensors_close(files);
    }
    remove_from_folder(name);
    return 0;
}
