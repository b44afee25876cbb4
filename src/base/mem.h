/* SPDX-License-Identifier: Apache-2.0 */
/* Memory: small allocations that die when there is none, growing buffers, and
 * big mappings that may fail.
 *
 * Small allocations (`ant_x...`) never return NULL: an offline program has
 * nothing better to do than to end. The big planned ones (weights, KV cache,
 * workspaces) are mappings and return ANT_ENOMEM with sizes. Thread: any. */
#ifndef ANT_BASE_MEM_H
#define ANT_BASE_MEM_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

void *ant_xmalloc(size_t bytes) __attribute__((malloc, returns_nonnull));
void *ant_xcalloc(size_t n, size_t bytes)
    __attribute__((malloc, returns_nonnull)); /* dies on overflow */
void *ant_xrealloc(void *old, size_t n, size_t bytes)
    __attribute__((returns_nonnull)); /* n * bytes, dies on overflow */
char *ant_xstrdup(const char *text) __attribute__((malloc, returns_nonnull));
char *ant_xstrndup(const char *text, size_t n) __attribute__((malloc, returns_nonnull));
char *ant_xasprintf(const char *format, ...)
    __attribute__((malloc, returns_nonnull, format(printf, 1, 2)));

/* A growing byte buffer, owned by whoever holds the struct. Zero-initialised is
 * empty and valid (data is NULL then); otherwise a NUL, not counted in len,
 * follows the last byte. */
struct ant_buf {
    char *data;
    size_t len, cap;
};
void ant_buf_add(struct ant_buf *buf, const void *data, size_t bytes);
void ant_buf_printf(struct ant_buf *buf, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void *ant_buf_grow(struct ant_buf *buf, size_t bytes); /* room for `bytes` more at the end, counted
                                                          in len; returns it */
void ant_buf_release(struct ant_buf *buf);             /* frees, leaves it empty */

/* A growing list of int32 (token ids). Same rules. */
struct ant_ids {
    int32_t *data;
    size_t len, cap;
};
void ant_ids_add(struct ant_ids *ids, int32_t id);
void ant_ids_append(struct ant_ids *ids, const int32_t *data, size_t n);
void ant_ids_release(struct ant_ids *ids);

/* Anonymous, zeroed, page-aligned private memory for big planned blocks (huge
 * pages asked for). `what` names it in the error. 0 bytes are NULL. */
int ant_map_memory(void **out, size_t bytes, const char *what, struct ant_error *err);
void ant_unmap(void *address, size_t bytes);

#endif
