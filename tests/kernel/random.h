/* SPDX-License-Identifier: Apache-2.0 */
/* Random tensors for the kernel tests: every element type, with scales that keep values near the
 * size that weights have. The same seed gives the same bytes. */
#ifndef ANT_TESTS_KERNEL_RANDOM_H
#define ANT_TESTS_KERNEL_RANDOM_H

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "model/tensor.h"

static uint64_t random_state = 1;

static inline uint64_t random_bits(void)
{
    uint64_t z = random_state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static inline int random_below(int n)
{
    return (int)(random_bits() % (uint64_t)n);
}

/* In [-1, 1). */
static inline float random_float(void)
{
    return (float)((double)(int64_t)random_bits() / 9223372036854775808.0);
}

/* Where a block of a type keeps half floats (-1: nowhere), and their size for values near 1. */
struct random_halves {
    int at[2];
    float size[2];
};
static const struct random_halves random_halves[ANT_N_TYPES] = {
    [ANT_Q8_0] = {{0, -1}, {1.0f / 128, 0}},
    [ANT_Q4_0] = {{0, -1}, {1.0f / 8, 0}},
    [ANT_Q4_1] = {{0, 2}, {1.0f / 8, -1}},
    [ANT_Q5_0] = {{0, -1}, {1.0f / 16, 0}},
    [ANT_Q5_1] = {{0, 2}, {1.0f / 16, -1}},
    [ANT_Q2_K] = {{80, 82}, {1.0f / 24, 1.0f / 16}},
    [ANT_Q3_K] = {{108, -1}, {1.0f / 128, 0}},
    [ANT_Q4_K] = {{0, 2}, {1.0f / 500, 1.0f / 64}},
    [ANT_Q5_K] = {{0, 2}, {1.0f / 1000, 1.0f / 64}},
    [ANT_Q6_K] = {{208, -1}, {1.0f / 4096, 0}},
};

static inline void random_element(enum ant_type type, float value, uint8_t *out)
{
    uint16_t bits = type == ANT_F16 ? ant_float_to_half(value) : ant_float_to_bf16(value);
    if (type == ANT_F32)
        memcpy(out, &value, 4);
    else
        memcpy(out, &bits, 2);
}

/* (rows, cols) of a type, values of about `size`; data is the caller's to free. */
static inline struct ant_tensor random_tensor(const char *name, enum ant_type type, int64_t rows,
                                              int64_t cols, float size)
{
    const struct ant_type_facts *facts = &ant_types[type];
    const struct random_halves *halves = &random_halves[type];
    size_t n_blocks = (size_t)(rows * cols / facts->block);
    size_t bytes = n_blocks * (size_t)facts->block_bytes;
    uint8_t *data = ant_xmalloc(bytes);
    for (size_t i = 0; i < n_blocks; i++) {
        uint8_t *block = data + i * (size_t)facts->block_bytes;
        if (facts->block == 1) {
            random_element(type, random_float() * size, block);
            continue;
        }
        for (int j = 0; j < facts->block_bytes; j++)
            block[j] = (uint8_t)random_bits();
        for (int j = 0; j < 2; j++)
            if (halves->at[j] >= 0)
                random_element(ANT_F16, (1 + random_float() / 2) * halves->size[j] * size,
                               block + halves->at[j]);
    }
    return (struct ant_tensor){.name = name,
                               .type = type,
                               .n_dims = rows == 1 ? 1 : 2,
                               .shape = {rows == 1 ? cols : rows, rows == 1 ? 0 : cols},
                               .data = data,
                               .bytes = bytes};
}

#endif
