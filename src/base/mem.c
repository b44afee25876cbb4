/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "base/mem.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/log.h"

static void *checked(void *memory, size_t bytes)
{
    if (!memory)
        ant_die("out of memory: %zu bytes", bytes);
    return memory;
}

static size_t product(size_t n, size_t bytes)
{
    size_t total;
    if (__builtin_mul_overflow(n, bytes, &total))
        ant_die("out of memory: %zu times %zu bytes", n, bytes);
    return total;
}

void *ant_xmalloc(size_t bytes)
{
    return checked(malloc(bytes ? bytes : 1), bytes);
}

void *ant_xcalloc(size_t n, size_t bytes)
{
    size_t total = product(n, bytes);
    return checked(calloc(total ? total : 1, 1), total);
}

void *ant_xrealloc(void *old, size_t n, size_t bytes)
{
    size_t total = product(n, bytes);
    return checked(realloc(old, total ? total : 1), total);
}

char *ant_xstrdup(const char *text)
{
    return ant_xstrndup(text, strlen(text));
}

char *ant_xstrndup(const char *text, size_t n)
{
    size_t length = strnlen(text, n);
    char *copy = ant_xmalloc(length + 1);
    memcpy(copy, text, length);
    copy[length] = 0;
    return copy;
}

char *ant_xasprintf(const char *format, ...)
{
    char *text;
    va_list args;
    va_start(args, format);
    int length = vasprintf(&text, format, args);
    va_end(args);
    if (length < 0)
        ant_die("out of memory: formatting '%s'", format);
    return text;
}

/* Capacity of a growing array that must hold `need`: doubled, so that adding one by one stays
 * linear. */
static size_t grown(size_t cap, size_t need)
{
    size_t doubled = cap < 32 ? 64 : cap > SIZE_MAX / 2 ? SIZE_MAX : cap * 2;
    return doubled < need ? need : doubled;
}

static size_t sum(size_t a, size_t b)
{
    size_t total;
    if (__builtin_add_overflow(a, b, &total))
        ant_die("out of memory: %zu and %zu bytes", a, b);
    return total;
}

void *ant_buf_grow(struct ant_buf *buf, size_t bytes)
{
    size_t need = sum(sum(buf->len, bytes), 1);
    if (need > buf->cap) {
        buf->cap = grown(buf->cap, need);
        buf->data = ant_xrealloc(buf->data, buf->cap, 1);
    }
    char *fresh = buf->data + buf->len;
    buf->len += bytes;
    buf->data[buf->len] = 0;
    return fresh;
}

void ant_buf_add(struct ant_buf *buf, const void *data, size_t bytes)
{
    void *fresh = ant_buf_grow(buf, bytes);
    if (bytes > 0)
        memcpy(fresh, data, bytes);
}

void ant_buf_printf(struct ant_buf *buf, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int length = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (length < 0)
        ant_die("cannot format '%s'", format);

    /* vsnprintf writes its NUL where ant_buf_grow has put one already. */
    char *fresh = ant_buf_grow(buf, (size_t)length);
    va_start(args, format);
    vsnprintf(fresh, (size_t)length + 1, format, args);
    va_end(args);
}

void ant_buf_release(struct ant_buf *buf)
{
    free(buf->data);
    *buf = (struct ant_buf){0};
}

static int32_t *ids_grow(struct ant_ids *ids, size_t n)
{
    size_t need = sum(ids->len, n);
    if (need > ids->cap) {
        ids->cap = grown(ids->cap, need);
        ids->data = ant_xrealloc(ids->data, ids->cap, sizeof *ids->data);
    }
    int32_t *fresh = ids->data + ids->len;
    ids->len = need;
    return fresh;
}

void ant_ids_add(struct ant_ids *ids, int32_t id)
{
    *ids_grow(ids, 1) = id;
}

void ant_ids_append(struct ant_ids *ids, const int32_t *data, size_t n)
{
    if (n > 0)
        memcpy(ids_grow(ids, n), data, n * sizeof *data);
}

void ant_ids_release(struct ant_ids *ids)
{
    free(ids->data);
    *ids = (struct ant_ids){0};
}

int ant_map_memory(void **out, size_t bytes, const char *what, struct ant_error *err)
{
    if (bytes == 0) {
        *out = NULL;
        return 0;
    }
    void *address = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (address == MAP_FAILED)
        return ant_fail(err, ANT_ENOMEM, "cannot allocate %.2f GiB for %s: %s",
                        (double)bytes / (1024.0 * 1024 * 1024), what, strerror(errno));

    /* Fewer TLB misses where the kernel has huge pages to give; the memory serves without. */
    madvise(address, bytes, MADV_HUGEPAGE);
    *out = address;
    return 0;
}

void ant_unmap(void *address, size_t bytes)
{
    if (address)
        munmap(address, bytes);
}
