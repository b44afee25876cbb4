/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/mem.h"

static void strings(void **state)
{
    (void)state;
    char *copy = ant_xstrndup("antiphon", 4);
    assert_string_equal(copy, "anti");
    free(copy);
    copy = ant_xstrndup("ab", 100);
    assert_string_equal(copy, "ab");
    free(copy);
    copy = ant_xstrdup("");
    assert_string_equal(copy, "");
    free(copy);
    copy = ant_xasprintf("%03d-%s", 7, "x");
    assert_string_equal(copy, "007-x");
    free(copy);
}

static void nothing_is_something(void **state)
{
    (void)state;
    void *p = ant_xmalloc(0);
    assert_non_null(p);
    p = ant_xrealloc(p, 0, 8);
    assert_non_null(p);
    free(p);
    p = ant_xcalloc(0, 0);
    assert_non_null(p);
    free(p);
}

static int child_exit(void (*body)(void))
{
    pid_t child = fork();
    if (child == 0) {
        close(STDERR_FILENO);
        body();
        _exit(0);
    }
    int status = 0;
    waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void calloc_overflow(void)
{
    free(ant_xcalloc(SIZE_MAX / 2, 3));
}

static void realloc_overflow(void)
{
    free(ant_xrealloc(NULL, SIZE_MAX, SIZE_MAX));
}

static void buf_overflow(void)
{
    struct ant_buf buf = {0};
    ant_buf_add(&buf, "x", 1);
    ant_buf_grow(&buf, SIZE_MAX - 1);
}

static void overflow_dies(void **state)
{
    (void)state;
    assert_int_equal(child_exit(calloc_overflow), ANT_EXIT_BUG);
    assert_int_equal(child_exit(realloc_overflow), ANT_EXIT_BUG);
    assert_int_equal(child_exit(buf_overflow), ANT_EXIT_BUG);
}

static void buffer_grows(void **state)
{
    (void)state;
    struct ant_buf buf = {0};
    ant_buf_add(&buf, NULL, 0);
    assert_string_equal(buf.data, "");
    for (int i = 0; i < 1000; i++)
        ant_buf_printf(&buf, "%d,", i);
    assert_int_equal(buf.len, 10 * 2 + 90 * 3 + 900 * 4);
    assert_int_equal(strlen(buf.data), buf.len);
    assert_memory_equal(buf.data + buf.len - 8, "998,999,", 8);
    memcpy(ant_buf_grow(&buf, 3), "a\0b", 3);
    assert_memory_equal(buf.data + buf.len - 3, "a\0b", 4);
    ant_buf_release(&buf);
    assert_null(buf.data);
    assert_int_equal(buf.len, 0);
    ant_buf_release(&buf);
}

static void ids_grow(void **state)
{
    (void)state;
    struct ant_ids ids = {0};
    ant_ids_append(&ids, NULL, 0);
    assert_int_equal(ids.len, 0);
    int32_t three[] = {-1, 0, INT32_MAX};
    for (int i = 0; i < 500; i++)
        ant_ids_append(&ids, three, 3);
    ant_ids_add(&ids, 42);
    assert_int_equal(ids.len, 1501);
    assert_int_equal(ids.data[1499], INT32_MAX);
    assert_int_equal(ids.data[1500], 42);
    ant_ids_release(&ids);
    assert_null(ids.data);
}

static void mappings(void **state)
{
    (void)state;
    struct ant_error err;
    void *memory = NULL;
    size_t bytes = ((size_t)3 << 20) + 5;
    assert_int_equal(ant_map_memory(&memory, bytes, "the test", &err), 0);
    const unsigned char *byte = memory;
    assert_int_equal(byte[0] | byte[bytes - 1], 0);
    memset(memory, 1, bytes);
    ant_unmap(memory, bytes);

    memory = &err;
    assert_int_equal(ant_map_memory(&memory, 0, "nothing", &err), 0);
    assert_null(memory);
    ant_unmap(NULL, 0);

    memory = &err;
    assert_int_equal(ant_map_memory(&memory, SIZE_MAX / 4, "the KV cache", &err), ANT_ENOMEM);
    assert_ptr_equal(memory, &err);
    assert_non_null(strstr(err.text, "the KV cache"));
    assert_non_null(strstr(err.text, "4294967296.00 GiB"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(strings),       cmocka_unit_test(nothing_is_something),
        cmocka_unit_test(overflow_dies), cmocka_unit_test(buffer_grows),
        cmocka_unit_test(ids_grow),      cmocka_unit_test(mappings),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
