/* SPDX-License-Identifier: Apache-2.0 */
/* What the exchange readers share: bytes of a file with line numbers, and names that are known to
 * mean something. */
#ifndef ANT_STORE_EXCHANGE_SOURCE_H
#define ANT_STORE_EXCHANGE_SOURCE_H

#include <jansson.h>

#include "store/exchange.h"

struct ant_exchange_reader {
    FILE *file;       /* borrowed */
    const char *name; /* borrowed */
    const struct ant_exchange_settings *settings;
    char bytes[1 << 16];
    size_t at, n;
    bool is_begun;
    int64_t line;     /* lines begun so far */
    int64_t row_line; /* where the last row began */
    struct ant_buf text, id, continuation, stop, system, shape, unused, rules[ANT_N_RULES];
    struct ant_ids tokens;
    struct ant_error why; /* of a row that is no prompt */
    int n_unused;
    struct ant_exchange_csv *csv; /* owned */
};

/* The next byte, or -1 at the end; errors of reading show in ant_exchange_check. */
int ant_exchange_byte(struct ant_exchange_reader *reader);
/* A line without its end, appended to emptied `out`. 1: there is one. */
int ant_exchange_read_line(struct ant_exchange_reader *reader, struct ant_buf *out,
                           struct ant_error *err);
/* 0, or the error that ended reading. */
int ant_exchange_check(struct ant_exchange_reader *reader, struct ant_error *err);
/* ant_fail with file and line before the text. */
int ant_exchange_fail(const struct ant_exchange_reader *reader, struct ant_error *err,
                      enum ant_err code, const char *format, ...)
    __attribute__((format(printf, 4, 5), cold));
/* fail when `bytes` are more than a prompt may have. */
int ant_exchange_limit(const struct ant_exchange_reader *reader, size_t bytes,
                       struct ant_error *err);

/* What a name beside the prompt means. */
enum ant_exchange_meaning {
    ANT_MEANS_NOTHING,     /* noted as unused */
    ANT_MEANS_NO_MATTER,   /* passed over: it cannot change an answer */
    ANT_MEANS_UNSUPPORTED, /* it would change answers and cannot be honoured */
    ANT_MEANS_IGNORED,     /* as the user asked */
    ANT_MEANS_INTEGER,     /* *flag says which option */
    ANT_MEANS_REAL,
    ANT_MEANS_TEXT, /* of the column of this name */
    ANT_MEANS_RULE, /* *flag says which */
};
enum ant_exchange_meaning ant_exchange_meaning(const struct ant_exchange_reader *reader,
                                               const char *name, unsigned *flag);
void ant_exchange_note_unused(struct ant_exchange_reader *reader, const char *name);
/* Put an option's value where it belongs. */
void ant_exchange_set_integer(struct ant_prompt *prompt, unsigned flag, int64_t value);
void ant_exchange_set_text(struct ant_exchange_reader *reader, struct ant_prompt *prompt,
                           const char *name, const char *text, size_t bytes);
void ant_exchange_set_rule(struct ant_exchange_reader *reader, struct ant_prompt *prompt,
                           unsigned rule, const char *text, size_t bytes);
void ant_exchange_set_real(struct ant_prompt *prompt, unsigned flag, double value);

/* What an answer must be, by whatever name: 1 if this is such a name and was taken. Names and
 * values are those of JSON lines. */
int ant_exchange_take_shape(struct ant_exchange_reader *reader, const char *name,
                            const json_t *value, struct ant_prompt *prompt, struct ant_error *err);

/* The formats. 1: a row, 0: the end. */
int ant_exchange_next_json(struct ant_exchange_reader *reader, struct ant_exchange_row *out,
                           struct ant_error *err);
int ant_exchange_next_csv(struct ant_exchange_reader *reader, struct ant_exchange_row *out,
                          struct ant_error *err);
void ant_exchange_close_csv(struct ant_exchange_csv *csv);

#endif
