/* SPDX-License-Identifier: Apache-2.0 */
/* The log: one write(2) a line to standard error, "antiphon: [rank/size host]
 * module: text".
 *
 * Rank 0 alone logs info; every rank logs errors and warnings ("warning: "
 * before the text), and everything once the level is debug or trace. Control
 * characters become blanks, long lines end in "...". Wording as in error.h.
 * Machine-readable output never goes through here. Thread: any. */
#ifndef ANT_BASE_LOG_H
#define ANT_BASE_LOG_H

#include <stdbool.h>

enum ant_log_level { ANT_LOG_ERROR, ANT_LOG_WARN, ANT_LOG_INFO, ANT_LOG_DEBUG, ANT_LOG_TRACE };

/* Parse "error", "warn", "info", "debug", "trace". Returns false for anything
 * else. */
bool ant_log_level_parse(const char *name, enum ant_log_level *out);

void ant_log_set_level(enum ant_log_level level);

/* Who is speaking: called once the launch is known, before there are other
 * threads. Before it the prefix is "antiphon: ". `host` is copied. */
void ant_log_set_rank(int rank, int size, const char *host);

bool ant_log_on(enum ant_log_level level);

void ant_log(enum ant_log_level level, const char *module, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* A broken invariant or no memory for something small: log, then end the whole
 * job step (see ant_die_hook) with ANT_EXIT_BUG. */
void ant_die(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn, cold));

/* What ends the other ranks when this one dies: set by job/launch (PMIx_Abort).
 * NULL: nothing to tell. */
extern void (*ant_die_hook)(int exit_code);

#endif
