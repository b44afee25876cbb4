/* SPDX-License-Identifier: Apache-2.0 */
/* Where every byte of a results file goes, and which rank writes it: columns, their lengths, and
 * each rank's slice. Pure integers, the same on every rank; no HDF5, no files.
 *
 * A result is a row and a sample: index row * n_samples + sample, rows counted from the shard's
 * first. A rank's slice is a range of
 * results, cut so that all have about the same to write. */
#ifndef ANT_STORE_RESULTS_LAYOUT_H
#define ANT_STORE_RESULTS_LAYOUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "store/results.h"

enum ant_results_type {
    ANT_RESULTS_U8,
    ANT_RESULTS_U16,
    ANT_RESULTS_I32,
    ANT_RESULTS_I64,
    ANT_RESULTS_U64,
    ANT_RESULTS_F32,
    ANT_RESULTS_F64,
    ANT_RESULTS_TOP_I32, /* several in a row, as wide as the column says */
    ANT_RESULTS_TOP_F32,
    ANT_RESULTS_STATUS,
    ANT_RESULTS_FINISH,
    ANT_RESULTS_STRING, /* fixed length, as wide as the column says */
};

enum ant_results_column_index {
    ANT_COLUMN_ROW,
    ANT_COLUMN_SAMPLE,
    ANT_COLUMN_STATUS,
    ANT_COLUMN_FINISH,
    ANT_COLUMN_PROMPT_TOKENS,
    ANT_COLUMN_COMPLETION_TOKENS,
    ANT_COLUMN_SEED,
    ANT_COLUMN_DP_RANK,
    ANT_COLUMN_ATTEMPT,
    ANT_COLUMN_T_FIRST,
    ANT_COLUMN_T_TOTAL,
    ANT_COLUMN_TEXT,
    ANT_COLUMN_TEXT_OFFSETS,
    ANT_COLUMN_TOKENS,
    ANT_COLUMN_TOKENS_OFFSETS,
    ANT_COLUMN_ERROR,
    ANT_COLUMN_ERROR_OFFSETS,
    ANT_COLUMN_ID,
    ANT_COLUMN_ID_OFFSETS,
    ANT_COLUMN_LOGPROBS,
    ANT_COLUMN_TOP_IDS,
    ANT_COLUMN_TOP_LOGPROBS,
    ANT_COLUMN_LOGPROB_SUM,
    ANT_COLUMN_IS_GREEDY,
    ANT_COLUMN_PROMPT_IDS,
    ANT_COLUMN_PROMPT_LOGPROBS,
    ANT_COLUMN_PROMPT_TOP_IDS,
    ANT_COLUMN_PROMPT_TOP_LOGPROBS,
    ANT_COLUMN_PROMPT_OFFSETS,
    ANT_N_COLUMNS,
};

/* One dataset of /results and this rank's part of it. */
struct ant_results_column {
    const char *name; /* NULL: this file has no such column */
    enum ant_results_type type;
    size_t width;     /* bytes of an element */
    int64_t total;    /* elements in the file */
    int64_t first, n; /* of them this rank's */
};

/* Ids of the input: as integers, or as fixed strings of the longest's width; where that is more
 * than ANT_WIDEST_ID bytes, as bytes with offsets like the other texts. */
enum { ANT_WIDEST_ID = 1024 };

struct ant_results_ids {
    enum ant_id_kind kind;
    int64_t width;        /* of the longest id of all ranks */
    int64_t bytes, first; /* of all ranks, and of those before this rank's slice */
    int64_t n;            /* of this rank's slice */
};

struct ant_results_layout {
    int64_t n_results;
    int64_t n_ok, n_failed, n_missing;
    int64_t first, n;              /* this rank's results */
    size_t first_entry, n_entries; /* and what is known of them in the plan */
    struct ant_results_column columns[ANT_N_COLUMNS];
};

/* Cut the slices and fill all columns but those of ids. ANT_EBUG when the plan's entries are not
 * sorted, not single, or out of range. */
int ant_results_lay_out(struct ant_results_layout *out, const struct ant_results_plan *plan,
                        int rank, int size, struct ant_error *err);

/* Add the id columns. `is_last`: this rank writes the end of the offsets. */
void ant_results_lay_out_ids(struct ant_results_layout *layout, const struct ant_results_ids *ids,
                             bool is_last);

/* Bytes of all columns. */
int64_t ant_results_bytes(const struct ant_results_layout *layout);

#endif
