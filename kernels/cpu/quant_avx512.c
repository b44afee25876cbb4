/* SPDX-License-Identifier: Apache-2.0 */
/* Products of quantized weights with AVX-512 VNNI.
 *
 * vpdpbusd multiplies unsigned bytes, the weights as they are, by signed ones: the high and the low
 * bytes of activations in turn, sum = 256 * high + low. The weights of a block, unpacked, stay in 8
 * registers a panel, and every row passes by: 16 broadcasts of 4 activations, 16 products a panel.
 * So one row reads the packed weights once at the speed of memory, and many rows cost 32 products
 * and 2 by scales for each block of a pair of panels in 35.4 cycles, where one is issued a cycle
 * (Zen 4). */
#include "config.h"

#include "cpu/block512.h"
#include "cpu/dsp.h"

#include <string.h>

/* ---- activations ---- */

static int32_t top_of(const float *x, int n)
{
    const __m512i positive = _mm512_set1_epi32(0x7fffffff);
    __m512i top = _mm512_setzero_si512();
    for (; n >= 16; n -= 16, x += 16)
        top = _mm512_max_epi32(top, _mm512_and_si512(_mm512_loadu_si512(x), positive));
    __m512i last = _mm512_maskz_loadu_epi32(mask_of(n), x);
    return _mm512_reduce_max_epi32(_mm512_max_epi32(top, _mm512_and_si512(last, positive)));
}

/* The sums of the first and the last 16 words, of all, and a fourth that means nothing. */
INLINE __m128i sums_of(__m512i words)
{
    __m512i x = _mm512_madd_epi16(words, _mm512_set1_epi16(1));
    x = _mm512_add_epi32(x, _mm512_shuffle_epi32(x, (_MM_PERM_ENUM)0x4e));
    x = _mm512_add_epi32(x, _mm512_shuffle_epi32(x, (_MM_PERM_ENUM)0xb1));
    x = _mm512_add_epi32(x, _mm512_shuffle_i64x2(x, x, 0xb1));
    __m128i first = _mm512_castsi512_si128(x), last = _mm512_extracti32x4_epi32(x, 2);
    return _mm_unpacklo_epi64(_mm_unpacklo_epi32(first, last), _mm_add_epi32(first, last));
}

INLINE void quantize_block(const float *x, int n, float scale, float inverse, struct ant_quant *out)
{
    const __m512i in_order = _mm512_setr_epi64(0, 2, 4, 6, 1, 3, 5, 7);
    __mmask16 m0 = inverse > 0 ? mask_of(n) : 0, m1 = inverse > 0 ? mask_of(n - 16) : 0;
    __m512 by = _mm512_set1_ps(inverse);
    __m512i q0 = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_maskz_loadu_ps(m0, x), by));
    __m512i q1 = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_maskz_loadu_ps(m1, x + 16), by));
    __m512i words = _mm512_permutexvar_epi64(in_order, _mm512_packs_epi32(q0, q1));
    /* The low byte counts as a signed number. */
    __m512i high = _mm512_srai_epi16(_mm512_add_epi16(words, _mm512_set1_epi16(128)), 8);
    _mm256_storeu_si256((__m256i *)(void *)out->bytes, _mm512_cvtepi16_epi8(high));
    _mm256_storeu_si256((__m256i *)(void *)(out->bytes + 32), _mm512_cvtepi16_epi8(words));
    __m128i sums = sums_of(words);
    _mm_storeu_si128((__m128i *)(void *)out->sums, sums); /* the fourth lies where the scale will */
    out->scale = scale;
    _mm_storeu_ps(out->float_sums, _mm_cvtepi32_ps(sums)); /* this one in `unused` */
}

static void quantize_avx512(const float *x, int n, struct ant_quant *out)
{
    const int span = ANT_QUANT_SPAN * 32;
    for (; n > 0; n -= span, x += span) {
        int i = 0, count = n < span ? n : span;
        float inverse, scale = ant_quant_scale(top_of(x, count), &inverse);
        for (; i + 32 <= count; i += 32)
            quantize_block(x + i, 32, scale, inverse, out++);
        if (i < count)
            quantize_block(x + i, count - i, scale, inverse, out++);
    }
}

/* ---- products ---- */

INLINE __m512i broadcast4(const int8_t *at)
{
    int four;
    memcpy(&four, at, sizeof four);
    return _mm512_set1_epi32(four);
}

/* One block of one row, added to its parts. */
INLINE void multiply(const struct block_shape s, const struct block *w, int bias,
                     const struct ant_quant *a, __m512 part[2])
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
            __m512i all = _mm512_add_epi32(_mm512_slli_epi32(high[p], 8), low[p]);
            part[p] = _mm512_add_ps(part[p], _mm512_mul_ps(_mm512_cvtepi32_ps(all), w[p].scale[g]));
            if (s.has_min)
                part[p] = _mm512_add_ps(
                    part[p], _mm512_mul_ps(w[p].offset[g], _mm512_set1_ps(a->float_sums[group])));
        }
    }
}

/* One row by one panel, while that which lies `ahead` is fetched. */
INLINE void tile_row(const struct block_shape s, const struct ant_quant *a,
                     const struct ant_panel *panel, int n_blocks, float *acc, ptrdiff_t ahead)
{
    __m512 sum = _mm512_setzero_ps();
    struct block w[2];
    for (int b = 0; b < n_blocks;) {
        __m512 part[2] = {_mm512_setzero_ps()}, scale = _mm512_set1_ps(a[b].scale);
        int end = b + ANT_QUANT_SPAN < n_blocks ? b + ANT_QUANT_SPAN : n_blocks;
        for (; b < end; b++) {
            block_fetch(panel, b, ahead);
            block_load(s, panel, b, w);
            multiply(s, w, panel->format->bias, a + b, part);
        }
        sum = _mm512_add_ps(sum, _mm512_mul_ps(part[0], scale));
    }
    _mm512_storeu_ps(acc, sum);
}

/* Block `b` of all rows: parts are begun, added to, and at the end of a span added to acc. */
INLINE void tile_block(const struct block_shape s, int rows, const struct ant_quant *a,
                       size_t row_bytes, const struct block *w, int bias, bool begins, bool ends,
                       float *parts, float *acc)
{
    for (int r = 0; r < rows; r++, parts += ANT_TILE_COLS, acc += ANT_TILE_COLS) {
        const struct ant_quant *row = ant_quant_row(a, row_bytes, r);
        __m512 part[2];
#pragma GCC unroll 2
        for (int p = 0; p < s.n_panels; p++)
            part[p] = begins ? _mm512_setzero_ps() : _mm512_load_ps(parts + 16 * p);
        multiply(s, w, bias, row, part);
#pragma GCC unroll 2
        for (int p = 0; p < s.n_panels; p++)
            if (ends)
                _mm512_storeu_ps(acc + 16 * p,
                                 _mm512_add_ps(_mm512_loadu_ps(acc + 16 * p),
                                               _mm512_mul_ps(part[p], _mm512_set1_ps(row->scale))));
            else
                _mm512_store_ps(parts + 16 * p, part[p]);
    }
}

/* Block `b` of the panels, while that of those which lie `ahead` is fetched. */
INLINE void load_blocks(const struct block_shape s, const struct ant_panel *panels, int b,
                        ptrdiff_t ahead, struct block w[2])
{
#pragma GCC unroll 2
    for (int p = 0; p < s.n_panels; p++) {
        block_fetch(&panels[p], b, ahead);
        block_load(s, &panels[p], b, &w[p]);
    }
}

enum { PART_ROWS = 64 };

INLINE void tile_rows(const struct block_shape s, int rows, const struct ant_quant *a,
                      size_t row_bytes, const struct ant_panel *panels, int n_blocks, float *acc,
                      ptrdiff_t ahead)
{
    float parts[PART_ROWS * ANT_TILE_COLS] __attribute__((aligned(64)));
    const int bias = panels->format->bias;
    struct block w[2];
    for (int r = 0; r < rows; r++)
        memset(acc + r * ANT_TILE_COLS, 0, (size_t)s.n_panels * 16 * sizeof *acc);
    for (int b = 0; b < n_blocks; b++, a++) {
        bool begins = b % ANT_QUANT_SPAN == 0;
        bool ends = (b + 1) % ANT_QUANT_SPAN == 0 || b + 1 == n_blocks;
        load_blocks(s, panels, b, ahead, w);
        tile_block(s, rows, a, row_bytes, w, bias, begins, ends, parts, acc);
    }
}

/* The constants of `one` are those of each copy. */
INLINE void tile(const struct block_shape one, int rows, const struct ant_quant *a,
                 size_t row_bytes, const struct ant_panel *panels, int n_panels, int n_blocks,
                 float *acc, ptrdiff_t ahead)
{
    const struct block_shape two = {one.plane, one.groups, one.has_min, 2};
    if (rows == 1) {
        for (int p = 0; p < n_panels; p++)
            tile_row(one, a, &panels[p], n_blocks, acc + 16 * p, ahead);
        return;
    }
    for (int r = 0; r < rows; r += PART_ROWS) {
        const struct ant_quant *from = ant_quant_row(a, row_bytes, r);
        float *to = acc + r * ANT_TILE_COLS;
        int n = rows - r < PART_ROWS ? rows - r : PART_ROWS;
        ptrdiff_t then = r + n < rows ? 0 : ahead;
        if (n_panels == 2)
            tile_rows(two, n, from, row_bytes, panels, n_blocks, to, then);
        else
            tile_rows(one, n, from, row_bytes, panels, n_blocks, to, then);
    }
}

void ant_quant_tile_avx512(int rows, const struct ant_quant *a, size_t row_bytes,
                           const struct ant_panel *panels, int n_panels, int n_blocks, float *acc,
                           ptrdiff_t ahead)
{
#define TILE(shape) tile(shape, rows, a, row_bytes, panels, n_panels, n_blocks, acc, ahead)
    BLOCK_SHAPES(panels->format, TILE);
#undef TILE
}

void ant_quant_init_avx512(struct ant_dsp *dsp)
{
    dsp->quantize = quantize_avx512;
    dsp->tile_quant = ant_quant_tile_avx512;
}
