/* SPDX-License-Identifier: Apache-2.0 */
/* What the products of few rows share, of bf16 and of e4m3: a block of two warps takes 16 columns
 * and all of k, in stages of 512 bytes of each row. */
#ifndef ANT_FEW_ROWS_CUH
#define ANT_FEW_ROWS_CUH

#include "cuda/attn_tile.cuh"

namespace few_rows
{

constexpr int THREADS = 64, COLUMNS = 16, ROW_BYTES = 512, UNITS = ROW_BYTES / 16;

template <int ROWS> struct config {
    static constexpr int WEIGHT_BYTES = COLUMNS * ROW_BYTES;
    static constexpr int STAGE_BYTES = WEIGHT_BYTES + ROWS * ROW_BYTES;
    static constexpr int STAGES = ROWS == 8 ? 6 : 4;
    static constexpr int SMEM_BYTES = STAGES * STAGE_BYTES;
};

__device__ __forceinline__ uint32_t unit_offset(int row, int unit)
{
    return (uint32_t)(row * ROW_BYTES + ((unit ^ (row & 7)) << 4));
}

/* Start the copy of N rows' bytes from `at` on, row `first` and following, from the ninth on `jump`
 * rows further; what lies beyond the matrix, of n_rows of n_bytes each, becomes zeros, which change
 * no sum. */
template <int N>
__device__ __forceinline__ void load_rows(uint32_t to, const void *matrix, int first, int jump,
                                          int n_rows, int at, int n_bytes)
{
#pragma unroll
    for (int i = 0; i < N * UNITS / THREADS; i++) {
        int number = i * THREADS + threadIdx.x, row = number / UNITS, unit = number % UNITS;
        int place = first + row + (row >= 8 ? jump : 0);
        bool valid = place < n_rows && at + unit * 16 < n_bytes;
        const char *from =
            (const char *)matrix + (valid ? (size_t)place * n_bytes + at + unit * 16 : 0);
        copy_async(to + unit_offset(row, unit), from, valid);
    }
}

/* A block's way through k: stages of its columns' weights and of all rows of the input. Weights may
 * be on their way before the input is there. */
template <int ROWS, typename A> struct pipeline {
    using C = config<ROWS>;
    const A &a;
    int first, jump; /* of the weights, as load_rows() has them */
    int n_stages;
    uint32_t base;

    __device__ __forceinline__ int row_bytes() const
    {
        return (int)sizeof(*a.weight) * a.k;
    }
    __device__ __forceinline__ uint32_t stage(int t) const
    {
        return base + t % C::STAGES * C::STAGE_BYTES;
    }
    __device__ __forceinline__ void load_weights(int t) const
    {
        if (t < n_stages)
            load_rows<COLUMNS>(stage(t), a.weight, first, jump, a.n, t * ROW_BYTES, row_bytes());
    }
    __device__ __forceinline__ void load_in(int t) const
    {
        if (t < n_stages)
            load_rows<ROWS>(stage(t) + C::WEIGHT_BYTES, a.in, 0, 0, a.rows, t * ROW_BYTES,
                            row_bytes());
        copy_commit();
    }
    __device__ __forceinline__ void begin_weights() const
    {
        for (int t = 0; t < C::STAGES - 1; t++)
            load_weights(t);
    }
    __device__ __forceinline__ void begin_in() const
    {
        for (int t = 0; t < C::STAGES - 1; t++)
            load_in(t);
    }
    /* Stage t, when it is there; another sets out. */
    __device__ __forceinline__ uint32_t next(int t) const
    {
        uint32_t now = stage(t);

        copy_wait<C::STAGES - 2>();
        __syncthreads();
        load_weights(t + C::STAGES - 1);
        load_in(t + C::STAGES - 1);
        return now;
    }
};

/* What is added to a product besides its bias. */
template <typename A> __device__ __forceinline__ float old_value(const A &a, int row, int column)
{
    return a.add && row < a.rows && column < a.n ? a.out_f32[(size_t)row * a.n + column] : 0;
}

template <typename A>
__device__ __forceinline__ void finish(const A &a, int row, int column, float x, float old)
{
    if (row >= a.rows || column >= a.n)
        return;
    size_t at = (size_t)row * a.n + column;
    if (a.bias)
        x += __uint_as_float((uint32_t)a.bias[column] << 16);
    if (a.add)
        x += old;
    if (a.out_f32)
        a.out_f32[at] = x;
    else
        a.out[at] = __bfloat16_as_ushort(__float2bfloat16_rn(x));
}

} // namespace few_rows

#endif
