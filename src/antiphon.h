/* SPDX-License-Identifier: Apache-2.0 */
/* What programs of others may use of antiphon. The only header that is installed.
 *
 * A partition of your own: `antiphon run --partition plugin:PATH` loads a shared object that
 * defines antiphon_partition. It is called once, on rank 0, before the model is loaded; its outcome
 * is given to all ranks.
 *
 *     cc -shared -fPIC -o partition.so partition.c        (see share/examples) */
#ifndef ANTIPHON_H
#define ANTIPHON_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define ANTIPHON_PARTITION_VERSION 1

/* All arrays have n_rows elements, one a row of the input from first_row on. */
struct antiphon_rows {
    int32_t version; /* ANTIPHON_PARTITION_VERSION; members are only ever added at the end */
    int32_t n_replicas;
    int64_t first_row, n_rows;  /* first_row is not 0 in a job with --shard */
    const int64_t *prompt_size; /* bytes of the text, or number of tokens */
    const int64_t *max_tokens;  /* longest answer: the row's own, or --max-tokens */
    double *priority;           /* higher goes first; as in the input, 0 without; may be changed */
    int32_t *replica;           /* to be filled: 0 to n_replicas - 1 */
};

/* Return 0, or anything else with a reason in `error` (a text of at most error_size bytes with its
 * NUL): the job then ends with that text. Rows that an earlier start of the job has finished are
 * there too; what is said of them has no effect. */
int antiphon_partition(struct antiphon_rows *rows, char *error, size_t error_size);

#ifdef __cplusplus
}
#endif

#endif
