/* SPDX-License-Identifier: Apache-2.0 */
/* Products of quantized weights with AVX2: vpmaddwd on 16-bit activations and weights, two products
 * a lane (8 columns). A block's weights are unpacked into 1 KiB on the stack, two steps for each
 * four k: the even ones of 16 columns, then the odd ones; activations stand in the same order. Then
 * every row passes by, 4 at a time (8 sums, 2 vectors of weights, a broadcast, a product). A single
 * row meets nibbles on their way from memory instead. */
#include "config.h"

#include "cpu/dsp.h"
#include "cpu/vec256.h"

#include <string.h>

/* ---- activations ---- */

INLINE int max_of(__m256i x)
{
    __m128i m = _mm_max_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1));
    m = _mm_max_epi32(m, _mm_shuffle_epi32(m, 0x4e));
    return _mm_cvtsi128_si32(_mm_max_epi32(m, _mm_shuffle_epi32(m, 0xb1)));
}

INLINE int sum_of(__m256i x)
{
    __m128i s = _mm_add_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1));
    s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0x4e));
    return _mm_cvtsi128_si32(_mm_add_epi32(s, _mm_shuffle_epi32(s, 0xb1)));
}

/* Eight integers as words 0 2 1 3 4 6 5 7. */
INLINE __m128i evens_first(__m256i q)
{
    const __m128i order = _mm_setr_epi8(0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 12, 13, 10, 11, 14, 15);
    __m128i words = _mm_packs_epi32(_mm256_castsi256_si128(q), _mm256_extracti128_si256(q, 1));
    return _mm_shuffle_epi8(words, order);
}

static int top_of(const float *x, int n)
{
    const __m256i positive = _mm256_set1_epi32(0x7fffffff);
    __m256i top = _mm256_setzero_si256();
    for (int i = 0; i < n; i += 8) {
        __m256i bits = _mm256_castps_si256(_mm256_maskload_ps(x + i, mask_of(n - i)));
        top = _mm256_max_epi32(top, _mm256_and_si256(bits, positive));
    }
    return max_of(top);
}

static void quantize_block(const float *x, int n, float scale, float inverse, struct ant_quant *out)
{
    __m256i sums[2] = {_mm256_setzero_si256(), _mm256_setzero_si256()};
    for (int i = 0; i < 4; i++) {
        __m256i q = _mm256_setzero_si256();
        if (inverse > 0)
            q = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_maskload_ps(x + 8 * i, mask_of(n - 8 * i)),
                                                 _mm256_set1_ps(inverse)));
        sums[i >> 1] = _mm256_add_epi32(sums[i >> 1], q);
        _mm_storeu_si128((__m128i *)(void *)(out->words + 8 * i), evens_first(q));
    }
    out->scale = scale;
    out->sums[0] = sum_of(sums[0]);
    out->sums[1] = sum_of(sums[1]);
    out->sums[2] = out->sums[0] + out->sums[1];
    for (int i = 0; i < 3; i++)
        out->float_sums[i] = (float)out->sums[i];
}

static void quantize_avx2(const float *x, int n, struct ant_quant *out)
{
    const int span = ANT_QUANT_SPAN * 32;
    for (; n > 0; n -= span, x += span) {
        int count = n < span ? n : span;
        float inverse, scale = ant_quant_scale(top_of(x, count), &inverse);
        for (int i = 0; i < count; i += 32)
            quantize_block(x + i, count - i, scale, inverse, out++);
    }
}

/* ---- weights ---- */

/* One block of a panel, ready to be multiplied. */
struct block {
    __m256i q[16][2]; /* even and odd k of each four, columns 0-7 and 8-15 */
    __m256 scale[2][2], offset[2][2];
};

INLINE __m256i load(const uint8_t *at)
{
    return _mm256_loadu_si256((const __m256i *)(const void *)at);
}

INLINE void unpack(const enum ant_plane plane, const uint8_t *at, struct block *out)
{
    const __m256i byte = _mm256_set1_epi16(255), nibble = _mm256_set1_epi16(15);
    const __m256i bits = _mm256_set1_epi16(plane == ANT_PLANE_Q5 ? 1 : 3);
    for (int half = 0; half < 2; half++, at += 32) {
        for (int v = 0; v < 8; v++) {
            const uint8_t *from = plane == ANT_PLANE_Q8 ? at + 64 * v : at + 64 * (v & 3);
            __m256i x = load(from);
            if (plane != ANT_PLANE_Q8 && v >= 4)
                x = _mm256_srli_epi16(x, 4);
            const __m256i mask = plane == ANT_PLANE_Q8 ? byte : nibble;
            __m256i even = _mm256_and_si256(x, mask);
            __m256i odd = _mm256_and_si256(_mm256_srli_epi16(x, 8), mask);
            if (plane == ANT_PLANE_Q5 || plane == ANT_PLANE_Q6) {
                int shift = plane == ANT_PLANE_Q5 ? v : 2 * (v & 3);
                __m256i h = load(at + 256 + (plane == ANT_PLANE_Q6 && v >= 4 ? 64 : 0));
                __m256i e = _mm256_and_si256(_mm256_srli_epi16(h, shift), bits);
                __m256i o = _mm256_and_si256(_mm256_srli_epi16(h, shift + 8), bits);
                even = _mm256_or_si256(even, _mm256_slli_epi16(e, 4));
                odd = _mm256_or_si256(odd, _mm256_slli_epi16(o, 4));
            }
            out->q[2 * v][half] = even;
            out->q[2 * v + 1][half] = odd;
        }
    }
}

INLINE __m256 load_int8(const uint8_t *at)
{
    return _mm256_cvtepi32_ps(
        _mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)at)));
}

INLINE void load_scales(const struct ant_panel *panel, int block, struct block *out)
{
    const struct ant_panel_format *format = panel->format;
    const uint8_t *scales =
        panel->blocks + (size_t)block * (size_t)format->block_bytes + format->plane_bytes;
    const uint8_t *halves = format->is_super
                                ? panel->super + (size_t)(block / 8) * (size_t)format->super_bytes
                                : scales;
    for (int g = 0; g < format->groups; g++)
        for (int half = 0; half < 2; half++) {
            __m256 d = load_halves(halves + 16 * half), m = _mm256_setzero_ps();
            if (format->has_min)
                m = load_halves(halves + 32 + 16 * half);
            if (format->is_super)
                d = _mm256_mul_ps(d, load_int8(scales + 16 * g + 8 * half));
            if (format->is_super && format->has_min)
                m = _mm256_mul_ps(_mm256_sub_ps(_mm256_setzero_ps(), m),
                                  load_int8(scales + 16 * (format->groups + g) + 8 * half));
            out->scale[g][half] = d;
            out->offset[g][half] = m;
        }
}

static void load_block(const struct ant_panel *panel, int block, struct block *out)
{
    const struct ant_panel_format *format = panel->format;
    const uint8_t *at = panel->blocks + (size_t)block * (size_t)format->block_bytes;
    if (format->plane == ANT_PLANE_Q8)
        unpack(ANT_PLANE_Q8, at, out);
    else if (format->plane == ANT_PLANE_Q4)
        unpack(ANT_PLANE_Q4, at, out);
    else if (format->plane == ANT_PLANE_Q5)
        unpack(ANT_PLANE_Q5, at, out);
    else
        unpack(ANT_PLANE_Q6, at, out);
    load_scales(panel, block, out);
}

/* ---- products ---- */

INLINE __m256i broadcast2(const int16_t *at)
{
    int two;
    memcpy(&two, at, sizeof two);
    return _mm256_set1_epi32(two);
}

/* One block of `n` rows, a constant of each copy, added to parts. */
INLINE void multiply(const int n, const struct ant_panel_format *format, const struct block *w,
                     const struct ant_quant *a, size_t row_bytes, __m256 part[4][2])
{
    const int groups = format->groups, steps = 16 / groups;
    for (int g = 0; g < groups; g++) {
        const int group = ant_quant_group(groups, g);
        __m256i sum[4][2];
#pragma GCC unroll 4
        for (int r = 0; r < n; r++)
            sum[r][0] = sum[r][1] =
                _mm256_set1_epi32(-format->bias * ant_quant_row(a, row_bytes, r)->sums[group]);
        for (int i = g * steps; i < (g + 1) * steps; i++) {
            __m256i w0 = w->q[i][0], w1 = w->q[i][1];
#pragma GCC unroll 4
            for (int r = 0; r < n; r++) {
                __m256i x = broadcast2(ant_quant_row(a, row_bytes, r)->words + 2 * i);
                sum[r][0] = _mm256_add_epi32(sum[r][0], _mm256_madd_epi16(x, w0));
                sum[r][1] = _mm256_add_epi32(sum[r][1], _mm256_madd_epi16(x, w1));
            }
        }
#pragma GCC unroll 4
        for (int r = 0; r < n; r++) {
            __m256 sum_a = _mm256_set1_ps(ant_quant_row(a, row_bytes, r)->float_sums[group]);
#pragma GCC unroll 2
            for (int half = 0; half < 2; half++) {
                __m256 all = _mm256_mul_ps(_mm256_cvtepi32_ps(sum[r][half]), w->scale[g][half]);
                part[r][half] = _mm256_add_ps(part[r][half], all);
                if (format->has_min)
                    part[r][half] =
                        _mm256_add_ps(part[r][half], _mm256_mul_ps(w->offset[g][half], sum_a));
            }
        }
    }
}

/* `blocks` blocks of one span of `n` rows, added to acc. */
INLINE void multiply_span(const int n, const struct ant_panel_format *format, const struct block *w,
                          int blocks, const struct ant_quant *a, size_t row_bytes, float *acc)
{
    __m256 part[4][2];
#pragma GCC unroll 4
    for (int r = 0; r < n; r++)
        part[r][0] = part[r][1] = _mm256_setzero_ps();
    for (int b = 0; b < blocks; b++)
        multiply(n, format, &w[b], a + b, row_bytes, part);
#pragma GCC unroll 4
    for (int r = 0; r < n; r++)
#pragma GCC unroll 2
        for (int half = 0; half < 2; half++) {
            float *to = acc + r * ANT_TILE_COLS + 8 * half;
            __m256 scale = _mm256_set1_ps(ant_quant_row(a, row_bytes, r)->scale);
            _mm256_storeu_ps(
                to, _mm256_add_ps(_mm256_loadu_ps(to), _mm256_mul_ps(part[r][half], scale)));
        }
}

/* A block of nibbles by one row, both halves of its columns, on the way from memory. */
INLINE void multiply_nibbles(const uint8_t *at, const struct ant_quant *a, __m256i sum[2])
{
    const __m256i nibble = _mm256_set1_epi16(15);
#pragma GCC unroll 4
    for (int v = 0; v < 4; v++) {
        const int16_t *low = a->words + 4 * v, *high = low + 16;
        __m256i x[4] = {broadcast2(low), broadcast2(low + 2), broadcast2(high),
                        broadcast2(high + 2)};
#pragma GCC unroll 2
        for (int half = 0; half < 2; half++) {
            __m256i q = load(at + 64 * v + 32 * half);
            __m256i w[4] = {
                _mm256_and_si256(q, nibble), _mm256_and_si256(_mm256_srli_epi16(q, 8), nibble),
                _mm256_and_si256(_mm256_srli_epi16(q, 4), nibble), _mm256_srli_epi16(q, 12)};
#pragma GCC unroll 4
            for (int i = 0; i < 4; i++)
                sum[half] = _mm256_add_epi32(sum[half], _mm256_madd_epi16(x[i], w[i]));
        }
    }
}

/* One row by a panel of nibbles with one scale a block. */
INLINE void row_nibbles(const bool has_min, const struct ant_quant *a,
                        const struct ant_panel *panel, int n_blocks, float *acc)
{
    const struct ant_panel_format *format = panel->format;
    __m256 all[2] = {_mm256_setzero_ps(), _mm256_setzero_ps()};
    for (int b = 0; b < n_blocks;) {
        __m256 part[2] = {_mm256_setzero_ps(), _mm256_setzero_ps()};
        __m256 scale = _mm256_set1_ps(a[b].scale);
        int end = b + ANT_QUANT_SPAN < n_blocks ? b + ANT_QUANT_SPAN : n_blocks;
        for (; b < end; b++) {
            const uint8_t *at = panel->blocks + (size_t)b * (size_t)format->block_bytes;
            struct block w;
            __m256i sum[2];
            sum[0] = sum[1] = _mm256_set1_epi32(-format->bias * a[b].sums[2]);
            multiply_nibbles(at, &a[b], sum);
            load_scales(panel, b, &w);
            for (int half = 0; half < 2; half++) {
                __m256 product = _mm256_mul_ps(_mm256_cvtepi32_ps(sum[half]), w.scale[0][half]);
                part[half] = _mm256_add_ps(part[half], product);
                if (has_min)
                    part[half] = _mm256_add_ps(
                        part[half],
                        _mm256_mul_ps(w.offset[0][half], _mm256_set1_ps(a[b].float_sums[2])));
            }
        }
        for (int half = 0; half < 2; half++)
            all[half] = _mm256_add_ps(all[half], _mm256_mul_ps(part[half], scale));
    }
    _mm256_storeu_ps(acc, all[0]);
    _mm256_storeu_ps(acc + 8, all[1]);
}

static void panel_avx2(int rows, const struct ant_quant *a, size_t row_bytes,
                       const struct ant_panel *panel, int n_blocks, float *acc)
{
    const struct ant_panel_format *format = panel->format;
    if (rows == 1 && format->plane == ANT_PLANE_Q4 && format->groups == 1) {
        if (format->has_min)
            row_nibbles(true, a, panel, n_blocks, acc);
        else
            row_nibbles(false, a, panel, n_blocks, acc);
        return;
    }
    for (int r = 0; r < rows; r++)
        memset(acc + r * ANT_TILE_COLS, 0, ANT_PANEL_ROWS * sizeof *acc);
    for (int b = 0; b < n_blocks; b += ANT_QUANT_SPAN, a += ANT_QUANT_SPAN) {
        struct block w[ANT_QUANT_SPAN];
        int r = 0, n = n_blocks - b < ANT_QUANT_SPAN ? n_blocks - b : ANT_QUANT_SPAN;
        for (int i = 0; i < n; i++)
            load_block(panel, b + i, &w[i]);
        for (; r + 4 <= rows; r += 4)
            multiply_span(4, format, w, n, ant_quant_row(a, row_bytes, r), row_bytes,
                          acc + r * ANT_TILE_COLS);
        for (; r < rows; r++)
            multiply_span(1, format, w, n, ant_quant_row(a, row_bytes, r), row_bytes,
                          acc + r * ANT_TILE_COLS);
    }
}

static void tile_quant_avx2(int rows, const struct ant_quant *a, size_t row_bytes,
                            const struct ant_panel *panels, int n_panels, int n_blocks, float *acc,
                            ptrdiff_t ahead)
{
    (void)ahead;
    for (int i = 0; i < n_panels; i++)
        panel_avx2(rows, a, row_bytes, &panels[i], n_blocks, acc + i * ANT_PANEL_ROWS);
}

void ant_quant_init_avx2(struct ant_dsp *dsp)
{
    dsp->quantize = quantize_avx2;
    dsp->tile_quant = tile_quant_avx2;
}
