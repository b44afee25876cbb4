/* SPDX-License-Identifier: Apache-2.0 */
/* Values as e4m3, FP8 of four exponent and three mantissa bits, times a scale that the values of a
 * row share: the largest of them becomes the largest e4m3, 448. */
#ifndef ANT_E4M3_CUH
#define ANT_E4M3_CUH

#include <cuda_fp8.h>

#include "cuda/vec.cuh"

constexpr float E4M3_LARGEST = 448;
/* What a row's largest value is taken to be at most: kernels multiply by it in half precision. */
constexpr float ROW_LARGEST = 65504;

/* What values are multiplied by before they are rounded. */
__device__ __forceinline__ float e4m3_factor(float largest)
{
    return largest > 0 ? __fdiv_rn(E4M3_LARGEST, largest) : 0.0f;
}

__device__ __forceinline__ uint2 e4m3_pack8(const float (&x)[8], float factor)
{
    uint32_t w[2] = {};

#pragma unroll
    for (int i = 0; i < 4; i++) {
        float2 pair = make_float2(__fmul_rn(x[2 * i], factor), __fmul_rn(x[2 * i + 1], factor));
        w[i / 2] |= (uint32_t)__nv_cvt_float2_to_fp8x2(pair, __NV_SATFINITE, __NV_E4M3)
                    << 16 * (i % 2);
    }
    return make_uint2(w[0], w[1]);
}

/* The two values in the low 16 bits, as halves; exact. */
__device__ __forceinline__ uint32_t e4m3_halves(uint32_t two)
{
    __half2_raw h = __nv_cvt_fp8x2_to_halfraw2((__nv_fp8x2_storage_t)two, __NV_E4M3);
    return (uint32_t)h.x | (uint32_t)h.y << 16;
}

/* c (16 x 8) += a (16 x 16) b (16 x 8) of halves */
__device__ __forceinline__ void mma_half(float (&c)[4], const uint32_t (&a)[4], uint32_t b0,
                                         uint32_t b1)
{
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, "
                 "{%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

__device__ __forceinline__ float largest8(const float (&x)[8])
{
    float largest = 0;

#pragma unroll
    for (int i = 0; i < 8; i++)
        largest = fmaxf(largest, fabsf(x[i]));
    return largest;
}

#endif
