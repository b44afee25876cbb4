/* SPDX-License-Identifier: Apache-2.0 */
/* An example of a partition of one's own: short prompts first, and every replica gets about the
 * same number of tokens to read and write.
 *
 *     cc -shared -fPIC -I$(prefix)/include -o partition_cost.so partition_cost.c
 *     srun --mpi=pmix antiphon run --partition plugin:./partition_cost.so ... */
#include <antiphon.h>

#include <stdio.h>
#include <stdlib.h>

int antiphon_partition(struct antiphon_rows *rows, char *error, size_t error_size)
{
    double *load;

    if (rows->version != ANTIPHON_PARTITION_VERSION) {
        snprintf(error, error_size, "made for version %d of the interface, not %d",
                 ANTIPHON_PARTITION_VERSION, (int)rows->version);
        return 1;
    }
    load = calloc((size_t)rows->n_replicas, sizeof(*load));
    if (!load) {
        snprintf(error, error_size, "no memory for %d replicas", (int)rows->n_replicas);
        return 1;
    }
    for (int64_t i = 0; i < rows->n_rows; i++) {
        int least = 0;
        for (int k = 1; k < rows->n_replicas; k++)
            if (load[k] < load[least])
                least = k;
        rows->replica[i] = least;
        /* About four bytes are a token. */
        load[least] += (double)rows->prompt_size[i] / 4 + (double)rows->max_tokens[i];
        if (rows->prompt_size[i] < 100)
            rows->priority[i] += 1;
    }
    free(load);
    return 0;
}
