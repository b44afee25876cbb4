/* SPDX-License-Identifier: Apache-2.0 */
/* Eight bf16 values as one 16-byte access, and sums over a block in a fixed
 * order. */
#ifndef ANT_VEC_CUH
#define ANT_VEC_CUH

#include <cuda_bf16.h>

#include "cuda/kern.h"
#include "cuda/launch.cuh"

__device__ __forceinline__ void unpack8(float (&x)[8], uint4 v)
{
    const uint32_t w[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
    for (int i = 0; i < 4; i++) {
        x[2 * i] = __uint_as_float(w[i] << 16);
        x[2 * i + 1] = __uint_as_float(w[i] & 0xffff0000u);
    }
}

__device__ __forceinline__ uint4 pack8(const float (&x)[8])
{
    uint32_t w[4];
#pragma unroll
    for (int i = 0; i < 4; i++) {
        __nv_bfloat162 pair = __floats2bfloat162_rn(x[2 * i], x[2 * i + 1]);
        w[i] = *(uint32_t *)&pair;
    }
    return make_uint4(w[0], w[1], w[2], w[3]);
}

__device__ __forceinline__ void load8(float (&x)[8], const float *from)
{
    float4 a = *(const float4 *)from, b = *(const float4 *)(from + 4);
    x[0] = a.x, x[1] = a.y, x[2] = a.z, x[3] = a.w;
    x[4] = b.x, x[5] = b.y, x[6] = b.z, x[7] = b.w;
}

__device__ __forceinline__ void store8(float *to, const float (&x)[8])
{
    *(float4 *)to = make_float4(x[0], x[1], x[2], x[3]);
    *(float4 *)(to + 4) = make_float4(x[4], x[5], x[6], x[7]);
}

/* y += eight values of a vector that all rows have */
__device__ __forceinline__ void add_shift(float (&y)[8], const uint16_t *shift)
{
    float x[8];

    unpack8(x, *(const uint4 *)shift);
#pragma unroll
    for (int k = 0; k < 8; k++)
        y[k] = __fadd_rn(y[k], x[k]);
}

/* y += the terms of a row, eight values from column `i` on */
__device__ __forceinline__ void add_terms(float (&y)[8], const struct kern_terms &a, int row,
                                          int hidden, int i)
{
    for (int t = 0; t < a.used; t++) {
        int place = a.places ? a.places[row * a.used + t] : row;
        float weight = a.weights[row * a.used + t], x[8];
        if (place < 0)
            continue;
        unpack8(x, *(const uint4 *)(a.in + (size_t)place * hidden + i));
#pragma unroll
        for (int k = 0; k < 8; k++)
            y[k] = __fmaf_rn(weight, x[k], y[k]);
    }
}

/* silu(gate) * up */
__device__ __forceinline__ float gated(float gate, float up)
{
    return __fdividef(gate, 1.0f + __expf(-gate)) * up;
}

/* gelu(gate) * up: 0.5 (1 + tanh(y)) is 1 / (1 + exp(-2 y)). */
__device__ __forceinline__ float gelu_gated(float gate, float up)
{
    float y = 0.79788456f * (gate + 0.044715f * gate * gate * gate);
    return __fdividef(gate, 1.0f + __expf(-2 * y)) * up;
}

/* Blocks of `threads` that cover n elements, one each. */
static inline unsigned blocks_for(long long n, int threads)
{
    return (unsigned)((n + threads - 1) / threads);
}

#endif
