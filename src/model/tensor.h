/* SPDX-License-Identifier: Apache-2.0 */
/* Tensors as they lie in model files: element types, shapes, and their plain
 * conversion to float. Pure data; no library, no state. Thread: any. */
#ifndef ANT_MODEL_TENSOR_H
#define ANT_MODEL_TENSOR_H

#include <stddef.h>
#include <stdint.h>

enum ant_type {
    ANT_F32,
    ANT_F16,
    ANT_BF16,
    ANT_Q8_0,
    ANT_Q4_0,
    ANT_Q4_1,
    ANT_Q5_0,
    ANT_Q5_1, /* blocks of 32 */
    ANT_Q2_K,
    ANT_Q3_K,
    ANT_Q4_K,
    ANT_Q5_K,
    ANT_Q6_K, /* blocks of 256 */
    ANT_N_TYPES,
};

struct ant_type_facts {
    const char *name; /* "Q4_K" */
    int block;        /* elements in a block */
    int block_bytes;
};
extern const struct ant_type_facts ant_types[ANT_N_TYPES];

/* A matrix is (rows, cols) with cols contiguous: an output by input weight as
 * Hugging Face stores it; a vector has rows = 1. */
struct ant_tensor {
    const char *name; /* as in the file; owned by the checkpoint */
    enum ant_type type;
    int n_dims;
    int64_t shape[4]; /* slowest first, as in safetensors */
    const void *data; /* into the file mapping, or NULL for a model without
                         weights (dummy) */
    size_t bytes;
};

/* Of a matrix; a vector is one row. */
int64_t ant_tensor_rows(const struct ant_tensor *tensor);
int64_t ant_tensor_cols(const struct ant_tensor *tensor);
int64_t ant_tensor_elements(const struct ant_tensor *tensor); /* whatever its dimensions */

/* Bytes of one row of `cols` elements; cols must be a multiple of the block. */
size_t ant_row_bytes(enum ant_type type, int64_t cols);

/* n elements (a multiple of the block) to float. The reference for every faster
 * path. */
void ant_dequantize(enum ant_type type, const void *src, float *dst, int64_t n);

float ant_half_to_float(uint16_t half);
float ant_bf16_to_float(uint16_t bf16);
uint16_t ant_float_to_half(float value); /* round to nearest even */
uint16_t ant_float_to_bf16(float value); /* round to nearest even, NaN stays NaN */

#endif
