/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "base/log.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"

enum { LINE_BYTES = 2048 };

static const char *const level_names[] = {"error", "warn", "info", "debug", "trace"};
static atomic_int log_level = ANT_LOG_INFO;
static atomic_int log_rank;
static char log_prefix[128] = "antiphon: "; /* written once, before there are other threads */

void (*ant_die_hook)(int exit_code);

bool ant_log_level_parse(const char *name, enum ant_log_level *out)
{
    for (int i = 0; i <= ANT_LOG_TRACE; i++)
        if (strcmp(name, level_names[i]) == 0) {
            *out = (enum ant_log_level)i;
            return true;
        }
    return false;
}

void ant_log_set_level(enum ant_log_level level)
{
    atomic_store(&log_level, (int)level);
}

void ant_log_set_rank(int rank, int size, const char *host)
{
    atomic_store(&log_rank, rank);
    snprintf(log_prefix, sizeof log_prefix, "antiphon: [%d/%d %.64s] ", rank, size, host);
}

bool ant_log_on(enum ant_log_level level)
{
    int limit = atomic_load_explicit(&log_level, memory_order_relaxed);
    if ((int)level > limit)
        return false;
    return level <= ANT_LOG_WARN || limit >= ANT_LOG_DEBUG ||
           atomic_load_explicit(&log_rank, memory_order_relaxed) == 0;
}

/* A line must stay one line and must not steer the reader's terminal, whatever a file or a prompt
 * put into it. */
static void blank_controls(char *text, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f)
            text[i] = ' ';
}

static void write_line(enum ant_log_level level, const char *module, const char *format,
                       va_list args)
{
    char line[LINE_BYTES];
    int head = snprintf(line, sizeof line, "%s%s%s%s", log_prefix, module ? module : "",
                        module ? ": " : "", level == ANT_LOG_WARN ? "warning: " : "");
    size_t length = head < 0 ? 0 : (size_t)head;
    if (length > sizeof line - 2)
        length = sizeof line - 2;
    int body = vsnprintf(line + length, sizeof line - length - 1, format, args);
    length += body < 0 ? 0 : (size_t)body;
    if (length > sizeof line - 2) {
        length = sizeof line - 2;
        memcpy(line + length - 3, "...", 3);
    }
    blank_controls(line, length);
    line[length++] = '\n';

    /* There is nobody to tell that standard error is gone. */
    for (size_t done = 0; done < length;) {
        ssize_t n = write(STDERR_FILENO, line + done, length - done);
        if (n <= 0)
            break;
        done += (size_t)n;
    }
}

void ant_log(enum ant_log_level level, const char *module, const char *format, ...)
{
    if (!ant_log_on(level))
        return;
    va_list args;
    va_start(args, format);
    write_line(level, module, format, args);
    va_end(args);
}

void ant_die(const char *format, ...)
{
    static atomic_flag dying = ATOMIC_FLAG_INIT;
    va_list args;
    va_start(args, format);
    write_line(ANT_LOG_ERROR, NULL, format, args);
    va_end(args);

    /* The hook may itself die, and a second thread may come here meanwhile. */
    if (ant_die_hook && !atomic_flag_test_and_set(&dying))
        ant_die_hook(ANT_EXIT_BUG);
    _exit(ANT_EXIT_BUG);
}
