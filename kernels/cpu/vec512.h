/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the AVX-512 level and above have in common. */
#ifndef ANT_KERNELS_CPU_VEC512_H
#define ANT_KERNELS_CPU_VEC512_H

#include <immintrin.h>
#include <stdint.h>

#define INLINE static inline __attribute__((always_inline))

/* The first n of 16 lanes: none when n is not positive, all when it is larger. */
INLINE __mmask16 mask_of(int n)
{
    return n >= 16 ? 0xffff : n <= 0 ? 0 : (__mmask16)((1u << n) - 1);
}

/* 16 half-precision floats. */
INLINE __m512 load_halves(const uint8_t *at)
{
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)at));
}

#endif
