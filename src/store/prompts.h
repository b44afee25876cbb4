/* SPDX-License-Identifier: Apache-2.0 */
/* Prompts in: an HDF5 file whose least form is a dataset /prompts of strings, and whose full form
 * is a group /prompts:
 *
 *     text            [N] strings, or uint8 bytes with text_offsets [N + 1]
 *     tokens          [K] integers with tokens_offsets [N + 1], instead of text
 *     id              [N] strings or integers
 *     rank            [N] integers: a partition of the user's own
 *     error           [N] strings: where not empty, why the row is no prompt
 *     max_tokens, min_tokens, temperature, top_p, top_k, min_p, typical_p, seed,
 *     repetition_penalty, presence_penalty, frequency_penalty          [N] numbers
 *     logprobs, prompt_logprobs [N] integers: so many most probable tokens with each; below 0: none
 *     continuation    [N] strings, to be scored
 *     n               [N] integers: so many answers
 *     logit_bias      [N] strings: JSON objects, from token ids to what is added to their logits
 *     allowed_token_ids, stop_token_ids, bad_words [N] strings: JSON lists, of token ids or texts
 *     choice, regex, json_schema [N] strings: what the answer must be, as text/constraint.h has it;
 *                     at most one is given in a row, the others are empty
 *     stop            [N] strings: a text that ends answers, or a JSON list of such
 *     system          [N] strings: the system message of its conversation
 *     priority        [N] numbers: rows with a higher one are begun first; 0 where not given
 *     attributes      format ("text", "chat"), schema ("antiphon-prompts"), version (1)
 *
 * A number that is NaN, or equal to its column's attribute _FillValue (netCDF's convention), is
 * not given in that row. Any integer or float type serves. Unknown columns are ignored, see
 * ant_prompts_ignored.
 *
 * Hides HDF5. Opened read-only with locking off. A rank reads only the rows it asks for, in
 * pieces. Thread: control. Errors name file, dataset and row: ANT_ENOENT, ANT_EDATA, ANT_EUNSUPP,
 * ANT_EIO. */
#ifndef ANT_STORE_PROMPTS_H
#define ANT_STORE_PROMPTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "base/checksum.h"
#include "base/error.h"
#include "text/constraint.h"

struct ant_prompts;

/* Which per-prompt columns override the command line in a given row. */
enum ant_prompt_has {
    ANT_HAS_MAX_TOKENS = 1 << 0,
    ANT_HAS_MIN_TOKENS = 1 << 1,
    ANT_HAS_TEMPERATURE = 1 << 2,
    ANT_HAS_TOP_P = 1 << 3,
    ANT_HAS_TOP_K = 1 << 4,
    ANT_HAS_MIN_P = 1 << 5,
    ANT_HAS_SEED = 1 << 6,
    ANT_HAS_REPETITION = 1 << 7,
    ANT_HAS_PRESENCE = 1 << 8,
    ANT_HAS_FREQUENCY = 1 << 9,
    ANT_HAS_PRIORITY = 1 << 10,
    ANT_HAS_LOGPROBS = 1 << 11,
    ANT_HAS_PROMPT_LOGPROBS = 1 << 12,
    ANT_HAS_SAMPLES = 1 << 13,
    ANT_HAS_TYPICAL_P = 1 << 14,
};

/* What a row may say about the tokens of its answer, in JSON. */
enum ant_prompt_rule {
    ANT_RULE_LOGIT_BIAS,
    ANT_RULE_ALLOWED,
    ANT_RULE_BAD_WORDS,
    ANT_RULE_STOP_IDS,
    ANT_N_RULES
};
const char *ant_prompt_rule_name(enum ant_prompt_rule rule); /* "logit_bias" */

struct ant_prompt {
    int64_t row;
    const char *text; /* (text_bytes), not NUL-terminated, unchecked UTF-8; NULL
                         when the file holds tokens */
    size_t text_bytes;
    const int32_t *tokens; /* (n_tokens) or NULL */
    size_t n_tokens;
    unsigned has;                          /* ant_prompt_has */
    int64_t max_tokens, min_tokens, top_k; /* as in the file, range unchecked */
    double temperature, top_p, min_p, typical_p;
    double repetition_penalty, presence_penalty, frequency_penalty;
    uint64_t seed;
    double priority;
    int64_t logprobs, prompt_logprobs; /* most probable ids with each; below 0: none at all */
    const char *continuation; /* (continuation_bytes), to be scored; NULL: the file has none */
    size_t continuation_bytes;
    int64_t n; /* answers to it */
    enum ant_constraint_kind constraint_kind;
    const char *constraint; /* (constraint_bytes) */
    size_t constraint_bytes;
    const char *stop; /* (stop_bytes) a text that ends its answers, or a JSON list of such; empty or
                         NULL: it says nothing */
    size_t stop_bytes;
    const char *system; /* (system_bytes) of its conversation; empty or NULL: it says nothing */
    size_t system_bytes;
    struct ant_prompt_text {
        const char *text; /* (bytes); empty or NULL: it says nothing */
        size_t bytes;
    } rules[ANT_N_RULES];
};

/* `spec` is FILE or FILE:/path/of/dataset/or/group (default /prompts). */
int ant_prompts_open(struct ant_prompts **out, const char *spec, struct ant_error *err);
void ant_prompts_close(struct ant_prompts *prompts);

int64_t ant_prompts_count(const struct ant_prompts *prompts);
bool ant_prompts_are_chat(const struct ant_prompts *prompts);
bool ant_prompts_are_tokens(const struct ant_prompts *prompts);
/* When the file was last changed. */
time_t ant_prompts_written(const struct ant_prompts *prompts);
/* Digest of path-independent facts: row count, column names and types, byte
 * totals, and the content of a sample of rows. Equal on every rank; tells a
 * changed input from the same input on restart. */
struct ant_digest ant_prompts_fingerprint(const struct ant_prompts *prompts);

/* Names of columns that mean nothing to this program, for a warning: "a, b", or "". */
const char *ant_prompts_ignored(const struct ant_prompts *prompts);

/* Read row `row`. What `out` points at is borrowed until the next call. Rows asked for in ascending
 * order, or every k-th, are read in pieces; any order works. ANT_EDATA is a fault of this row alone
 * (offsets out of order, a number that is none): the row has failed, others can still be read. Any
 * other error is the file's. An empty text is no error here. */
int ant_prompts_read(struct ant_prompts *prompts, int64_t row, struct ant_prompt *out,
                     struct ant_error *err);

bool ant_prompts_have_continuations(const struct ant_prompts *prompts);
bool ant_prompts_have_constraints(const struct ant_prompts *prompts);

/* The largest number up to `limit` in the column of this flag, which is of integers: -1 when there
 * is none. Reads all of it. */
int ant_prompts_most(struct ant_prompts *prompts, enum ant_prompt_has flag, int64_t limit,
                     int64_t *most, struct ant_error *err);

/* The "rank" column of rows [first, first + n) into out[n]; ANT_ENOENT if the
 * file has none. */
int ant_prompts_ranks(struct ant_prompts *prompts, int64_t first, int64_t n, int32_t *out,
                      struct ant_error *err);

/* What decides when and where rows [first, first + n) are answered. Priorities: 0 where not given.
 * Sizes: bytes of the text, or number of tokens, 0 for a row that cannot be read; texts are read
 * for it only where the file has no offsets. max_tokens: -1 where not given. */
bool ant_prompts_have_priority(const struct ant_prompts *prompts);
int ant_prompts_priorities(struct ant_prompts *prompts, int64_t first, int64_t n, double *out,
                           struct ant_error *err);
int ant_prompts_sizes(struct ant_prompts *prompts, int64_t first, int64_t n, int64_t *sizes,
                      int64_t *max_tokens, struct ant_error *err);

/* The id column: kind, and values of rows [first, first + n). Strings come as bytes +
 * offsets[n + 1] (malloc'd), integers in `integers`, those of ANT_ID_UNSIGNED as the bits of a
 * uint64. */
enum ant_id_kind { ANT_ID_NONE, ANT_ID_INTEGER, ANT_ID_UNSIGNED, ANT_ID_STRING };
enum ant_id_kind ant_prompts_id_kind(const struct ant_prompts *prompts);
int ant_prompts_ids(struct ant_prompts *prompts, int64_t first, int64_t n, int64_t *integers,
                    char **bytes, int64_t **offsets, struct ant_error *err);

#endif
