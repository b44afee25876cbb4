/* SPDX-License-Identifier: Apache-2.0 */
/* Products of quantized weights with AVX-512 VNNI.
 *
 * vpdpbusd multiplies unsigned bytes, the weights as they are, by signed ones: the high and the low
 * bytes of activations in turn, sum = 256 * high + low. The weights of a block, unpacked, stay in 8
 * registers a panel, and every row passes by: 16 broadcasts of 4 activations, 16 products a panel.
 * So one row reads the packed weights once at the speed of memory, and many rows cost 32 products
 * in some 36 cycles where one is issued a cycle (Zen 4). */
#include "config.h"

#include "cpu/dsp.h"

#include <immintrin.h>
#include <math.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))

/* ---- activations ---- */

static void quantize_block(__m512 x0, __m512 x1, struct ant_quant *out)
{
    const __m512i positive = _mm512_set1_epi32(0x7fffffff);
    __m512i size0 = _mm512_and_si512((__m512i)x0, positive);
    __m512i size1 = _mm512_and_si512((__m512i)x1, positive);
    /* As integers they are ordered like the numbers, NaN above all. */
    int top = _mm512_reduce_max_epi32(_mm512_max_epi32(size0, size1));
    float max, inverse = 0, scale = 0;
    memcpy(&max, &top, sizeof max);
    if (top >= 0x7f800000) {
        scale = NAN;
    } else if (max >= 1e-30f) {
        scale = max / ANT_QUANT_MAX;
        inverse = ANT_QUANT_MAX / max;
    }
    __mmask16 counts = inverse > 0 ? 0xffff : 0;
    __m512 by = _mm512_set1_ps(inverse);
    __m512i q0 = _mm512_maskz_cvtps_epi32(counts, _mm512_mul_ps(x0, by));
    __m512i q1 = _mm512_maskz_cvtps_epi32(counts, _mm512_mul_ps(x1, by));
    const __m512i half = _mm512_set1_epi32(128); /* what the low byte takes as a signed number */
    __m512i high0 = _mm512_srai_epi32(_mm512_add_epi32(q0, half), 8);
    __m512i high1 = _mm512_srai_epi32(_mm512_add_epi32(q1, half), 8);
    __m128i *to = (__m128i *)(void *)out->bytes;
    _mm_storeu_si128(to, _mm512_cvtepi32_epi8(high0));
    _mm_storeu_si128(to + 1, _mm512_cvtepi32_epi8(high1));
    _mm_storeu_si128(to + 2, _mm512_cvtepi32_epi8(q0));
    _mm_storeu_si128(to + 3, _mm512_cvtepi32_epi8(q1));
    int sum0 = _mm512_reduce_add_epi32(q0), sum1 = _mm512_reduce_add_epi32(q1);
    out->scale = scale;
    out->sums[0] = sum0;
    out->sums[1] = sum1;
    out->sums[2] = sum0 + sum1;
    for (int i = 0; i < 3; i++)
        out->parts[i] = scale * (float)out->sums[i];
}

INLINE __mmask16 mask_of(int n)
{
    return n >= 16 ? 0xffff : n <= 0 ? 0 : (__mmask16)((1u << n) - 1);
}

static void quantize_avx512(const float *x, int n, struct ant_quant *out)
{
    for (; n > 0; n -= 32, x += 32)
        quantize_block(_mm512_maskz_loadu_ps(mask_of(n), x),
                       _mm512_maskz_loadu_ps(mask_of(n - 16), x + 16), out++);
}

/* ---- weights ---- */

/* The integers of a block: vector v is k 4 v to 4 v + 3 of 16 columns. */
INLINE void unpack(const enum ant_plane plane, const uint8_t *at, __m512i q[8])
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

INLINE __m512 load_halves(const uint8_t *at)
{
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)at));
}

INLINE __m512 load_int8(const uint8_t *at)
{
    return _mm512_cvtepi32_ps(
        _mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)(const void *)at)));
}

/* What is constant in each copy of the loops below. */
struct shape {
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

INLINE void load_block(const struct shape s, const struct ant_panel *panel, int block,
                       struct block *out)
{
    const struct ant_panel_format *format = panel->format;
    const uint8_t *at = panel->blocks + (size_t)block * (size_t)format->block_bytes;
    const uint8_t *scales = at + format->plane_bytes;
    const uint8_t *halves = scales;
    unpack(s.plane, at, out->q);
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

/* ---- products ---- */

INLINE __m512i broadcast4(const int8_t *at)
{
    int four;
    memcpy(&four, at, sizeof four);
    return _mm512_set1_epi32(four);
}

/* One block of one row. */
INLINE void multiply(const struct shape s, const struct block *w, int bias,
                     const struct ant_quant *a, __m512 sum[2])
{
    const int quads = 8 / s.groups;
#pragma GCC unroll 2
    for (int g = 0; g < s.groups; g++) {
        const int group = s.groups == 1 ? 2 : g;
        __m512i high[2], low[2];
#pragma GCC unroll 2
        for (int p = 0; p < s.n_panels; p++) {
            high[p] = _mm512_setzero_si512();
            low[p] = s.has_min ? _mm512_setzero_si512() : _mm512_set1_epi32(-bias * a->sums[group]);
        }
#pragma GCC unroll 8
        for (int v = g * quads; v < (g + 1) * quads; v++) {
            __m512i x = broadcast4(a->bytes + 4 * v), y = broadcast4(a->bytes + 32 + 4 * v);
#pragma GCC unroll 2
            for (int p = 0; p < s.n_panels; p++) {
                high[p] = _mm512_dpbusd_epi32(high[p], w[p].q[v], x);
                low[p] = _mm512_dpbusd_epi32(low[p], w[p].q[v], y);
            }
        }
#pragma GCC unroll 2
        for (int p = 0; p < s.n_panels; p++) {
            __m512 all =
                _mm512_cvtepi32_ps(_mm512_add_epi32(_mm512_slli_epi32(high[p], 8), low[p]));
            all = _mm512_mul_ps(_mm512_mul_ps(all, _mm512_set1_ps(a->scale)), w[p].scale[g]);
            sum[p] = _mm512_add_ps(sum[p], all);
            if (s.has_min)
                sum[p] = _mm512_add_ps(
                    sum[p], _mm512_mul_ps(w[p].offset[g], _mm512_set1_ps(a->parts[group])));
        }
    }
}

/* Packed weights come in one stream: a panel after the other, this far ahead. */
enum { AHEAD = 2048 };

INLINE void load_blocks(const struct shape s, const struct ant_panel *panels, int block,
                        struct block w[2])
{
    const int bytes = panels->format->block_bytes;
#pragma GCC unroll 2
    for (int p = 0; p < s.n_panels; p++) {
        const uint8_t *at = panels[p].blocks + (size_t)block * (size_t)bytes;
        for (int i = 0; i < bytes; i += 64)
            _mm_prefetch(at + AHEAD + i, _MM_HINT_T0);
        load_block(s, &panels[p], block, &w[p]);
    }
}

/* One row by one panel. */
INLINE void tile_row(const struct shape s, const struct ant_quant *a, const struct ant_panel *panel,
                     int n_blocks, float *acc)
{
    __m512 sum[2] = {_mm512_setzero_ps()};
    struct block w[2];
    for (int b = 0; b < n_blocks; b++) {
        load_blocks(s, panel, b, w);
        multiply(s, w, panel->format->bias, a + b, sum);
    }
    _mm512_storeu_ps(acc, sum[0]);
}

INLINE void tile_rows(const struct shape s, int rows, const struct ant_quant *a, size_t row_bytes,
                      const struct ant_panel *panels, int n_blocks, float *acc)
{
    const int bias = panels->format->bias;
    struct block w[2];
    for (int b = 0; b < n_blocks; b++) {
        load_blocks(s, panels, b, w);
        for (int r = 0; r < rows; r++) {
            float *to = acc + r * ANT_TILE_COLS;
            __m512 sum[2];
#pragma GCC unroll 2
            for (int p = 0; p < s.n_panels; p++)
                sum[p] = b == 0 ? _mm512_setzero_ps() : _mm512_loadu_ps(to + 16 * p);
            multiply(s, w, bias, ant_quant_row(a, row_bytes, r) + b, sum);
#pragma GCC unroll 2
            for (int p = 0; p < s.n_panels; p++)
                _mm512_storeu_ps(to + 16 * p, sum[p]);
        }
    }
}

/* The constants of `one` are those of each copy. */
INLINE void tile(const struct shape one, int rows, const struct ant_quant *a, size_t row_bytes,
                 const struct ant_panel *panels, int n_panels, int n_blocks, float *acc)
{
    const struct shape two = {one.plane, one.groups, one.has_min, 2};
    if (rows == 1)
        for (int p = 0; p < n_panels; p++)
            tile_row(one, a, &panels[p], n_blocks, acc + 16 * p);
    else if (n_panels == 2)
        tile_rows(two, rows, a, row_bytes, panels, n_blocks, acc);
    else
        tile_rows(one, rows, a, row_bytes, panels, n_blocks, acc);
}

static void tile_quant_avx512(int rows, const struct ant_quant *a, size_t row_bytes,
                              const struct ant_panel *panels, int n_panels, int n_blocks,
                              float *acc)
{
    const struct ant_panel_format *format = panels->format;
#define SHAPE(plane_, groups_, has_min_)                                                           \
    if (format->plane == (plane_) && format->groups == (groups_) && format->has_min == (has_min_)) \
        tile((struct shape){plane_, groups_, has_min_, 1}, rows, a, row_bytes, panels, n_panels,   \
             n_blocks, acc);
    SHAPE(ANT_PLANE_Q8, 1, false)
    SHAPE(ANT_PLANE_Q4, 1, false)
    SHAPE(ANT_PLANE_Q4, 1, true)
    SHAPE(ANT_PLANE_Q4, 2, false)
    SHAPE(ANT_PLANE_Q4, 2, true)
    SHAPE(ANT_PLANE_Q5, 1, false)
    SHAPE(ANT_PLANE_Q5, 1, true)
    SHAPE(ANT_PLANE_Q6, 2, false)
#undef SHAPE
}

void ant_quant_init_avx512(struct ant_dsp *dsp)
{
    dsp->quantize = quantize_avx512;
    dsp->tile_quant = tile_quant_avx512;
}
