/* SPDX-License-Identifier: Apache-2.0 */
/* GGUF files: whatever opens must be readable to its last key, string and tensor byte, and may then
 * be a model. */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fuzz.h"
#include "model/checkpoint.h"
#include "model/gguf.h"

static volatile unsigned sink;

static void touch(const void *data, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        sink += ((const unsigned char *)data)[i];
}

static void read_key(const struct ant_gguf *gguf, const char *key)
{
    struct ant_gguf_array array;
    struct ant_error err;
    const char *text;
    size_t bytes;
    int64_t number;
    double real;
    float single;
    bool truth;
    ant_gguf_get_int(gguf, key, -5, 5, &number, &err);
    ant_gguf_get_float(gguf, key, &real, &err);
    ant_gguf_get_bool(gguf, key, &truth, &err);
    if (ant_gguf_get_string(gguf, key, &text, &bytes, &err) > 0)
        touch(text, bytes);
    if (ant_gguf_get_array(gguf, key, ANT_GGUF_INTS, &array, &err) > 0 ||
        ant_gguf_get_array(gguf, key, ANT_GGUF_BOOLS, &array, &err) > 0)
        while (ant_gguf_next_int(&array, &number))
            touch(&number, sizeof number);
    if (ant_gguf_get_array(gguf, key, ANT_GGUF_FLOATS, &array, &err) > 0)
        while (ant_gguf_next_float(&array, &single))
            touch(&single, sizeof single);
    if (ant_gguf_get_array(gguf, key, ANT_GGUF_STRINGS, &array, &err) > 0)
        while (ant_gguf_next_string(&array, &text, &bytes))
            touch(text, bytes);
}

static void read_all(const struct ant_gguf *gguf)
{
    const char *key;
    for (size_t i = 0; (key = ant_gguf_key(gguf, i)); i++)
        read_key(gguf, key);
    for (size_t i = 0; i < ant_gguf_count(gguf); i++) {
        const struct ant_tensor *tensor = ant_gguf_tensor(gguf, i);
        touch(tensor->data, tensor->bytes);
        if (ant_gguf_find(gguf, tensor->name) != tensor)
            abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    static int fd = -1;
    char path[64];
    struct ant_error err;
    struct ant_gguf *gguf;
    struct ant_checkpoint *checkpoint;
    if (fd < 0)
        fd = memfd_create("fuzz", MFD_CLOEXEC);
    if (fd < 0 || ftruncate(fd, 0) < 0 || pwrite(fd, data, bytes, 0) != (ssize_t)bytes)
        abort();
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    if (ant_gguf_open(&gguf, path, &err) < 0)
        return 0;
    read_all(gguf);
    ant_gguf_close(gguf);
    if (ant_checkpoint_open(&checkpoint, path, &err) == 0)
        ant_checkpoint_close(checkpoint);
    return 0;
}
