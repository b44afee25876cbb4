/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the AVX2 level have in common. */
#ifndef ANT_KERNELS_CPU_VEC256_H
#define ANT_KERNELS_CPU_VEC256_H

#include <immintrin.h>
#include <stdint.h>

#define INLINE static inline __attribute__((always_inline))

/* The first n of 8 lanes: none when n is not positive, all when it is larger. */
INLINE __m256i mask_of(int n)
{
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

/* 8 half-precision floats. */
INLINE __m256 load_halves(const uint8_t *at)
{
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)at));
}

#endif
