/* SPDX-License-Identifier: Apache-2.0 */
/* Reading the log probabilities of a results file: of the answers' tokens, or of the prompts'.
 * Internal to src/store. */
#ifndef ANT_STORE_RESULTS_LOGPROBS_H
#define ANT_STORE_RESULTS_LOGPROBS_H

#include "base/logprobs.h"
#include "store/h5.h"

/* Datasets PREFIXlogprobs, and PREFIXtop_ids and PREFIXtop_logprobs beside it. Zero-initialised is
 * closed: the file has none. */
struct ant_results_logprobs {
    struct ant_h5_column values, top_ids, top;
    hid_t id_rows, value_rows; /* owned where there are top ids */
    int n_top;
    struct ant_h5_span held_values, held_ids, held_top;
    struct ant_logprobs view; /* what was read last; borrows from those */
};

/* Of file `path`: 1, or 0 where it has none. */
int ant_results_logprobs_open(struct ant_results_logprobs *out, hid_t file, const char *path,
                              const char *prefix, struct ant_error *err);
void ant_results_logprobs_close(struct ant_results_logprobs *logprobs);
/* Elements [first, first + n); *out is borrowed until the next call, NULL where the file has none.
 */
int ant_results_logprobs_read(struct ant_results_logprobs *logprobs, int64_t first, int64_t n,
                              const struct ant_logprobs **out, struct ant_error *err);

#endif
