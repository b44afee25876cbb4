/* SPDX-License-Identifier: Apache-2.0 */
/* Other people's formats: prompts out of JSON lines, CSV and text into a prompt file, answers out
 * of a results file as JSON lines and CSV. Everything streams; memory is bounded by the longest
 * prompt.
 *
 * Thread: main. Errors name file and line: ANT_EDATA, ANT_EUNSUPP (what would change answers and
 * cannot be honoured), ANT_EIO. */
#ifndef ANT_STORE_EXCHANGE_H
#define ANT_STORE_EXCHANGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/error.h"
#include "base/mem.h"
#include "store/prompts.h"
#include "store/results.h"

enum ant_exchange_format {
    ANT_EXCHANGE_JSONL,      /* a value a line: "text", {"prompt": ...}, {"text": ...},
                                {"messages": [...]}, {"prompt_token_ids": [...]}, or the OpenAI batch
                                form. Beside messages
                                the template's "tools", "documents", "chat_template_kwargs" */
    ANT_EXCHANGE_CSV,        /* RFC 4180 with a header */
    ANT_EXCHANGE_LINES,      /* a prompt a line; empty lines count for nothing */
    ANT_EXCHANGE_PARAGRAPHS, /* prompts separated by empty lines */
    ANT_EXCHANGE_FILE,       /* the whole file is one prompt */
};

enum { ANT_EXCHANGE_LONGEST = 1 << 28 }; /* bytes of a line or prompt; more is ANT_EDATA */

/* A prompt on its way into a file. Pointers are borrowed from the reader until its next call. */
struct ant_exchange_row {
    struct ant_prompt prompt; /* text and the options that the line gave */
    bool is_chat;             /* the text is the JSON of a list of messages */
    enum ant_id_kind id_kind; /* none, integer or string */
    int64_t id;
    const char *id_text;
    size_t id_bytes;
    const char *error; /* why this is no prompt, or NULL: only with keeps_bad */
};

struct ant_exchange_settings {
    enum ant_exchange_format format;
    const char *column; /* CSV: the column of prompts; NULL: "prompt", "text", the only one */
    const char *const *ignored; /* names to pass over even where that changes answers */
    int n_ignored;
    bool keeps_bad; /* a line of JSON that is no prompt is a row with an error */
};

struct ant_exchange_reader;
/* `name` is for errors. `file` stays the caller's, `settings` is borrowed. */
int ant_exchange_open(struct ant_exchange_reader **out, FILE *file, const char *name,
                      const struct ant_exchange_settings *settings, struct ant_error *err);
/* 1: a row. 0: the end. */
int ant_exchange_next(struct ant_exchange_reader *reader, struct ant_exchange_row *out,
                      struct ant_error *err);
/* The line where the last row began, from 1. */
int64_t ant_exchange_line(const struct ant_exchange_reader *reader);
/* Names that meant nothing, "a, b", or "". */
const char *ant_exchange_unused(const struct ant_exchange_reader *reader);
void ant_exchange_close(struct ant_exchange_reader *reader);

/* A prompt file being written, as PATH.part until it is finished. */
struct ant_pack;
int ant_pack_open(struct ant_pack **out, const char *path, struct ant_error *err);
/* ANT_EDATA when the row does not go with the first: chat and text, ids of two kinds. */
int ant_pack_add(struct ant_pack *pack, const struct ant_exchange_row *row, struct ant_error *err);
/* Complete the file and put it in place. */
int ant_pack_finish(struct ant_pack *pack, struct ant_error *err);
int64_t ant_pack_rows(const struct ant_pack *pack);
/* Of all prompts; `unit` is "bytes" or "tokens". */
int64_t ant_pack_length(const struct ant_pack *pack, const char **unit);
/* Names of the columns beside the text, "id, seed", or ""; borrowed until the next call. */
const char *ant_pack_columns(struct ant_pack *pack);
/* An unfinished file is removed. */
void ant_pack_close(struct ant_pack *pack);

/* Append one answer as a line. JSON is valid whatever the bytes are: what is not UTF-8 becomes
 * U+FFFD. CSV has the bytes as they are. */
void ant_exchange_put_json(struct ant_buf *out, const struct ant_answer *answer,
                           const struct ant_results_id *id, bool is_scored);
void ant_exchange_put_json_string(struct ant_buf *out, const char *text, size_t n);
void ant_exchange_put_csv_header(struct ant_buf *out, bool is_scored);
void ant_exchange_put_csv(struct ant_buf *out, const struct ant_answer *answer,
                          const struct ant_results_id *id, bool is_scored);

/* The output of an OpenAI batch: a line a row, written when the next row or the end has come.
 * Zeroed but for the first five; ids are custom_ids. */
struct ant_exchange_batch {
    bool is_chat;
    const char *model; /* borrowed */
    int64_t created;
    /* The bytes of a token, beside its log probability; NULL: it goes as "token_id:7". */
    const char *(*piece)(const void *data, int32_t id, size_t *bytes);
    const void *data;
    int64_t row, prompt_tokens, completion_tokens;
    bool is_open;
    enum ant_status status;
    struct ant_buf choices, error, id;
};
void ant_exchange_put_batch(struct ant_exchange_batch *batch, struct ant_buf *out,
                            const struct ant_answer *answer, const struct ant_results_id *id);
void ant_exchange_end_batch(struct ant_exchange_batch *batch, struct ant_buf *out);
void ant_exchange_release_batch(struct ant_exchange_batch *batch);

#endif
