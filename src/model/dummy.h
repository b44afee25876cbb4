/* SPDX-License-Identifier: Apache-2.0 */
/* Tensors of a model without a file: shapes as asked for, random matrices, norms of ones, biases of
 * zeros. For benchmarks, which need a model's shape and not its answers.
 *
 * Hides where the numbers come from: one block of memory as long as the longest matrix, of which
 * each matrix is a window at a place of its own. Its elements are uniform with the deviation that
 * models are initialised with, 0.02, and each is a function of its index alone: the same on every
 * rank, whatever the number of threads that made it. Thread: control. Errors: ANT_EUSAGE,
 * ANT_ENOMEM. */
#ifndef ANT_MODEL_DUMMY_H
#define ANT_MODEL_DUMMY_H

#include <stdbool.h>

#include "base/error.h"
#include "model/tensor.h"

struct ant_dummy;

/* The config.json of a well-known model by its name ("llama-3.1-8b"); NULL if there is none, and
 * `known` (room for `bytes`) lists those there are, for the error. */
const char *ant_dummy_config(const char *name, char *known, size_t bytes);

/* `tensors` (n) have names, owned, and shapes; type, data and bytes are filled in here. The dummy
 * takes them over, the array too, also when this fails. Matrices are of `type`: F32, F16, BF16,
 * Q8_0 or Q4_0. Without `has_data` there are no numbers, only how many there would be. */
int ant_dummy_open(struct ant_dummy **out, struct ant_tensor *tensors, size_t n, enum ant_type type,
                   bool has_data, struct ant_error *err);
void ant_dummy_close(struct ant_dummy *dummy); /* legal on NULL */

size_t ant_dummy_count(const struct ant_dummy *dummy);
const struct ant_tensor *ant_dummy_tensor(const struct ant_dummy *dummy, size_t index);
const struct ant_tensor *ant_dummy_find(const struct ant_dummy *dummy, const char *name);

/* The memory that holds the matrices, for advice to the kernel. */
void ant_dummy_data(const struct ant_dummy *dummy, const void **data, size_t *bytes);

#endif
