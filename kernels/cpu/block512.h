/* SPDX-License-Identifier: Apache-2.0 */
/* A block of quantized weights in registers of 512 bits. Only for files of the AVX-512 level and
 * above. */
#ifndef ANT_KERNELS_CPU_BLOCK512_H
#define ANT_KERNELS_CPU_BLOCK512_H

#include <stdbool.h>
#include <stddef.h>

#include "cpu/panel.h"
#include "cpu/vec512.h"

/* The integers of a block: vector v is k 4 v to 4 v + 3 of 16 columns. */
INLINE void block_unpack(const enum ant_plane plane, const uint8_t *at, __m512i q[8])
{
    const __m512i nibble = _mm512_set1_epi8(15), bit4 = _mm512_set1_epi8(16);
    const __m512i bits45 = _mm512_set1_epi8(48);
    if (plane == ANT_PLANE_Q8) {
#pragma GCC unroll 8
        for (int v = 0; v < 8; v++)
            q[v] = _mm512_loadu_si512(at + 64 * v);
        return;
    }
#pragma GCC unroll 4
    for (int v = 0; v < 4; v++) {
        __m512i x = _mm512_loadu_si512(at + 64 * v);
        q[v] = _mm512_and_si512(x, nibble);
        q[v + 4] = _mm512_and_si512(_mm512_srli_epi16(x, 4), nibble);
    }
    if (plane == ANT_PLANE_Q4)
        return;
    __m512i low = _mm512_loadu_si512(at + 256), high = low;
    if (plane == ANT_PLANE_Q6)
        high = _mm512_loadu_si512(at + 320);
#pragma GCC unroll 8
    for (int v = 0; v < 8; v++) {
        int from = plane == ANT_PLANE_Q5 ? v : 2 * (v & 3); /* the bits go to bit 4 */
        __m512i x = v < 4 ? low : high;
        x = from < 4 ? _mm512_slli_epi16(x, 4 - from) : _mm512_srli_epi16(x, from - 4);
        q[v] = _mm512_ternarylogic_epi32(q[v], x, plane == ANT_PLANE_Q5 ? bit4 : bits45,
                                         0xf8); /* q | x & bits */
    }
}

INLINE __m512 load_int8(const uint8_t *at)
{
    return _mm512_cvtepi32_ps(
        _mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)(const void *)at)));
}

/* What is constant in each copy of the loops below. */
struct block_shape {
    enum ant_plane plane;
    int groups;
    bool has_min;
    int n_panels;
};

/* One block of one panel, ready to be multiplied. */
struct block {
    __m512i q[8];
    __m512 scale[2], offset[2]; /* by group */
};

INLINE void block_load(const struct block_shape s, const struct ant_panel *panel, int block,
                       struct block *out)
{
    const struct ant_panel_format *format = panel->format;
    const uint8_t *at = panel->blocks + (size_t)block * (size_t)format->block_bytes;
    const uint8_t *scales = at + format->plane_bytes;
    const uint8_t *halves = scales;
    block_unpack(s.plane, at, out->q);
    if (format->is_super)
        halves = panel->super + (size_t)(block / 8) * (size_t)format->super_bytes;
    __m512 d = load_halves(halves), m = _mm512_setzero_ps();
    if (s.has_min)
        m = load_halves(halves + 32);
#pragma GCC unroll 2
    for (int g = 0; g < s.groups; g++) {
        out->scale[g] = d;
        out->offset[g] = m;
        if (format->is_super)
            out->scale[g] = _mm512_mul_ps(d, load_int8(scales + 16 * g));
        if (format->is_super && s.has_min)
            out->offset[g] = _mm512_mul_ps(_mm512_sub_ps(_mm512_setzero_ps(), m),
                                           load_int8(scales + 16 * (s.groups + g)));
    }
}

/* Asks for the block that lies `ahead` of this one, unless that is 0: into the second level of
 * cache, since the first has few places for what has not come yet. */
INLINE void block_fetch(const struct ant_panel *panel, int block, ptrdiff_t ahead)
{
    const int bytes = panel->format->block_bytes;
    const uint8_t *at = panel->blocks + (size_t)block * (size_t)bytes + ahead;
    for (int i = 0; ahead && i < bytes; i += 64)
        _mm_prefetch(at + i, _MM_HINT_T1);
}

/* Calls act((struct block_shape){...}) with the constants of a format. */
#define BLOCK_SHAPES(format, act)                                                                  \
    do {                                                                                           \
        BLOCK_SHAPE(format, ANT_PLANE_Q8, 1, false, act)                                           \
        BLOCK_SHAPE(format, ANT_PLANE_Q4, 1, false, act)                                           \
        BLOCK_SHAPE(format, ANT_PLANE_Q4, 1, true, act)                                            \
        BLOCK_SHAPE(format, ANT_PLANE_Q4, 2, false, act)                                           \
        BLOCK_SHAPE(format, ANT_PLANE_Q4, 2, true, act)                                            \
        BLOCK_SHAPE(format, ANT_PLANE_Q5, 1, false, act)                                           \
        BLOCK_SHAPE(format, ANT_PLANE_Q5, 1, true, act)                                            \
        BLOCK_SHAPE(format, ANT_PLANE_Q6, 2, false, act)                                           \
    } while (0)
#define BLOCK_SHAPE(format, plane_, groups_, has_min_, act)                                        \
    if ((format)->plane == (plane_) && (format)->groups == (groups_) &&                            \
        (format)->has_min == (has_min_))                                                           \
        act(((const struct block_shape){plane_, groups_, has_min_, 1}));

#endif
