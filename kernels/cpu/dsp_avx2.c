/* SPDX-License-Identifier: Apache-2.0 */
/* AVX2 with FMA and F16C: float weights and activations, fused multiply-adds.
 *
 * In pair order a vector of 8 lanes is 4 columns, each with its even and its odd k; a pair of
 * activations is broadcast to all, and the two sums of a column meet at the end. A tile is 6 rows
 * by 2 vectors (12 sums), or up to 3 rows by 4, so that few rows have enough sums under way too.
 *
 * Up to 3 rows meet BF16 panels as they come from memory: 8 columns a vector, whose even and odd k
 * are made floats by a shift and a mask, with sums of their own.
 *
 * Two cores of Zen 4 reach 175 to 211 GFLOP/s by 64 to 512 rows, of 229 on registers alone. */
#include "config.h"

#include "cpu/dsp.h"
#include "cpu/vec256.h"

#include <math.h>
#include <string.h>

/* ---- decoding ---- */

static void decode_halves(const uint8_t *at, float *out)
{
    for (int i = 0; i < ANT_PANEL_ELEMENTS; i += 8)
        _mm256_storeu_ps(out + i, load_halves(at + 2 * i));
}

static void decode_bf16(const uint8_t *at, float *out)
{
    for (int i = 0; i < ANT_PANEL_ELEMENTS; i += 8) {
        __m128i bits = _mm_loadu_si128((const __m128i *)(const void *)(at + 2 * i));
        __m256i wide = _mm256_slli_epi32(_mm256_cvtepu16_epi32(bits), 16);
        _mm256_storeu_ps(out + i, _mm256_castsi256_ps(wide));
    }
}

static void decode_avx2(const struct ant_panel *panel, int b0, int b1, void *out)
{
    const struct ant_panel_format *format = panel->format;
    float *to = out;
    for (int b = b0; b < b1; b++, to += ANT_PANEL_ELEMENTS) {
        const uint8_t *at = panel->blocks + (size_t)b * (size_t)format->block_bytes;
        switch (format->plane) {
        case ANT_PLANE_F32:
            memcpy(to, at, (size_t)format->block_bytes);
            break;
        case ANT_PLANE_F16:
            decode_halves(at, to);
            break;
        case ANT_PLANE_BF16:
            decode_bf16(at, to);
            break;
        default:
            break; /* quantized weights are multiplied as they are */
        }
    }
}

/* ---- tiles ---- */

INLINE __m256 broadcast_pair(const float *at)
{
    double pair;
    memcpy(&pair, at, sizeof pair);
    return _mm256_castpd_ps(_mm256_set1_pd(pair));
}

/* `n` rows by `v` vectors of one panel, from `b`; both constants of each copy, v even. */
INLINE void tile_n(const int n, const int v, const float *a, size_t lda, const float *b, int pairs,
                   float *acc, bool first)
{
    __m256 sum[6][4];
#pragma GCC unroll 6
    for (int r = 0; r < n; r++)
#pragma GCC unroll 4
        for (int c = 0; c < v; c++)
            sum[r][c] = _mm256_setzero_ps();
    for (int p = 0; p < pairs; p++) {
        __m256 w[4];
#pragma GCC unroll 4
        for (int c = 0; c < v; c++)
            w[c] = _mm256_loadu_ps(b + 32 * (size_t)p + 8 * c);
#pragma GCC unroll 6
        for (int r = 0; r < n; r++) {
            __m256 x = broadcast_pair(a + (size_t)r * lda + 2 * (size_t)p);
#pragma GCC unroll 4
            for (int c = 0; c < v; c++)
                sum[r][c] = _mm256_fmadd_ps(x, w[c], sum[r][c]);
        }
    }
#pragma GCC unroll 6
    for (int r = 0; r < n; r++)
#pragma GCC unroll 2
        for (int c = 0; c < v; c += 2) {
            float *to = acc + ANT_TILE_COLS * r + 4 * c;
            __m256 s = _mm256_hadd_ps(sum[r][c], sum[r][c + 1]); /* columns 0 1 4 5 2 3 6 7 */
            s = _mm256_castpd_ps(_mm256_permute4x64_pd(_mm256_castps_pd(s), 0xd8));
            _mm256_storeu_ps(to, first ? s : _mm256_add_ps(_mm256_loadu_ps(to), s));
        }
}

/* Rows by one panel. */
static void panel_avx2(int rows, const float *a, size_t lda, const float *b, int pairs, float *acc,
                       bool first)
{
    for (; rows >= 6; rows -= 6, a += 6 * lda, acc += 6 * ANT_TILE_COLS)
        for (int half = 0; half < 2; half++)
            tile_n(6, 2, a, lda, b + 16 * half, pairs, acc + 8 * half, first);
    if (rows >= 3) {
        tile_n(3, 4, a, lda, b, pairs, acc, first);
        rows -= 3;
        a += 3 * lda;
        acc += 3 * ANT_TILE_COLS;
    }
    if (rows == 2)
        tile_n(2, 4, a, lda, b, pairs, acc, first);
    else if (rows == 1)
        tile_n(1, 4, a, lda, b, pairs, acc, first);
}

static void tile_avx2(int rows, const void *a, size_t lda, const void *b0, const void *b1,
                      int pairs, float *acc, bool first, ptrdiff_t ahead)
{
    (void)ahead; /* pages are decoded first, so that they are not read here */
    panel_avx2(rows, a, lda, b0, pairs, acc, first);
    panel_avx2(rows, a, lda, b1, pairs, acc + ANT_PANEL_ROWS, first);
}

/* `n` rows by `v` vectors of 8 columns of one panel of bfloat16, or of two that follow b. */
INLINE void few_n(const int n, const int v, const float *a, size_t lda, const uint8_t *const b[2],
                  int pairs, float *acc, bool first)
{
    const __m256i high = _mm256_set1_epi32((int)0xffff0000);
    __m256 even[3][4], odd[3][4];
#pragma GCC unroll 3
    for (int r = 0; r < n; r++)
#pragma GCC unroll 4
        for (int c = 0; c < v; c++)
            even[r][c] = odd[r][c] = _mm256_setzero_ps();
    for (int p = 0; p < pairs; p++) {
#pragma GCC unroll 4
        for (int c = 0; c < v; c++) {
            const uint8_t *at = b[c / 2] + 64 * (size_t)p + 32 * (c % 2);
            __m256i w = _mm256_loadu_si256((const __m256i *)(const void *)at);
            __m256 w0 = _mm256_castsi256_ps(_mm256_slli_epi32(w, 16));
            __m256 w1 = _mm256_castsi256_ps(_mm256_and_si256(w, high));
#pragma GCC unroll 3
            for (int r = 0; r < n; r++) {
                const float *x = a + (size_t)r * lda + 2 * (size_t)p;
                even[r][c] = _mm256_fmadd_ps(_mm256_broadcast_ss(x), w0, even[r][c]);
                odd[r][c] = _mm256_fmadd_ps(_mm256_broadcast_ss(x + 1), w1, odd[r][c]);
            }
        }
    }
#pragma GCC unroll 3
    for (int r = 0; r < n; r++)
#pragma GCC unroll 4
        for (int c = 0; c < v; c++) {
            float *to = acc + ANT_TILE_COLS * r + 8 * c;
            __m256 s = _mm256_add_ps(even[r][c], odd[r][c]);
            _mm256_storeu_ps(to, first ? s : _mm256_add_ps(_mm256_loadu_ps(to), s));
        }
}

static void few_avx2(int rows, const void *a, size_t lda, const void *b0, const void *b1, int pairs,
                     float *acc, bool first, ptrdiff_t ahead)
{
    const uint8_t *const b[2] = {b0, b1};
    (void)ahead; /* the hardware keeps up */
    if (rows == 1) {
        few_n(1, 4, a, lda, b, pairs, acc, first);
        return;
    }
    for (int i = 0; i < 2; i++) {
        float *to = acc + i * ANT_PANEL_ROWS;
        if (rows == 2)
            few_n(2, 2, a, lda, b + i, pairs, to, first);
        else
            few_n(3, 2, a, lda, b + i, pairs, to, first);
    }
}

/* ---- what becomes of sums ---- */

static void store_avx2(const float *acc, int rows, int cols, const float *bias, float *out,
                       size_t ldo)
{
    for (int i = 0; i < cols; i += 8) {
        __m256i mask = mask_of(cols - i);
        __m256 b = bias ? _mm256_maskload_ps(bias + i, mask) : _mm256_setzero_ps();
        for (int r = 0; r < rows; r++)
            _mm256_maskstore_ps(out + (size_t)r * ldo + i, mask,
                                _mm256_add_ps(_mm256_loadu_ps(acc + ANT_TILE_COLS * r + i), b));
    }
}

static void add_avx2(const float *acc, int rows, int cols, const float *bias, float *out,
                     size_t ldo)
{
    for (int i = 0; i < cols; i += 8) {
        __m256i mask = mask_of(cols - i);
        __m256 b = bias ? _mm256_maskload_ps(bias + i, mask) : _mm256_setzero_ps();
        for (int r = 0; r < rows; r++) {
            float *to = out + (size_t)r * ldo + i;
            __m256 sum = _mm256_add_ps(_mm256_loadu_ps(acc + ANT_TILE_COLS * r + i), b);
            _mm256_maskstore_ps(to, mask, _mm256_add_ps(_mm256_maskload_ps(to, mask), sum));
        }
    }
}

/* 2^x: Taylor's polynomial of exp(x ln 2) on [-1/2, 1/2], 1 ulp; 0 and infinity beyond the
 * exponents of float, NaN stays. */
INLINE __m256 exp2_avx2(__m256 x)
{
    x = _mm256_min_ps(_mm256_set1_ps(128), x); /* with NaN they return the second */
    x = _mm256_max_ps(_mm256_set1_ps(-127), x);
    __m256 n = _mm256_round_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    __m256 f = _mm256_sub_ps(x, n), p = _mm256_set1_ps(1.5403530e-4f);
    p = _mm256_fmadd_ps(p, f, _mm256_set1_ps(1.3333558e-3f));
    p = _mm256_fmadd_ps(p, f, _mm256_set1_ps(9.6181291e-3f));
    p = _mm256_fmadd_ps(p, f, _mm256_set1_ps(5.5504109e-2f));
    p = _mm256_fmadd_ps(p, f, _mm256_set1_ps(2.4022651e-1f));
    p = _mm256_fmadd_ps(p, f, _mm256_set1_ps(6.9314718e-1f));
    p = _mm256_fmadd_ps(p, f, _mm256_set1_ps(1.0f));
    __m256i power = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
    return _mm256_mul_ps(p, _mm256_castsi256_ps(_mm256_slli_epi32(power, 23)));
}

static void glu_avx2(const float *acc, int rows, int cols, struct ant_glu act, void *out,
                     size_t ldo, bool for_products)
{
    float *to = out;
    (void)for_products; /* they are of floats */
    const __m256 one = _mm256_set1_ps(1);
    const __m256 linear = _mm256_set1_ps(act.linear), cubic = _mm256_set1_ps(act.cubic);
    for (int i = 0; i < cols; i += 8)
        for (int r = 0; r < rows; r++) {
            const float *from = acc + ANT_TILE_COLS * r + i;
            __m256 gate = _mm256_loadu_ps(from), up = _mm256_loadu_ps(from + ANT_PANEL_ROWS);
            __m256 slope = _mm256_fmadd_ps(_mm256_mul_ps(gate, gate), cubic, linear);
            __m256 e = exp2_avx2(_mm256_mul_ps(gate, slope));
            __m256 active = _mm256_div_ps(gate, _mm256_add_ps(one, e));
            _mm256_maskstore_ps(to + (size_t)r * ldo + i, mask_of(cols - i),
                                _mm256_mul_ps(active, up));
        }
}

/* ---- rows ---- */

INLINE float sum_of(__m256 x)
{
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}

INLINE float max_of(__m256 x)
{
    __m128 s = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    s = _mm_max_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_max_ss(s, _mm_movehdup_ps(s)));
}

static void norm_avx2(const float *x, const float *weight, float eps, int n, float *out)
{
    __m256 sum = _mm256_setzero_ps();
    for (int i = 0; i < n; i += 8) {
        __m256 v = _mm256_maskload_ps(x + i, mask_of(n - i));
        sum = _mm256_fmadd_ps(v, v, sum);
    }
    float mean = sum_of(sum) / (float)n;
    __m256 scale = _mm256_set1_ps(1 / _mm_cvtss_f32(_mm_sqrt_ss(_mm_set_ss(mean + eps))));
    for (int i = 0; i < n; i += 8) {
        __m256i mask = mask_of(n - i);
        __m256 v = _mm256_mul_ps(_mm256_maskload_ps(x + i, mask), scale);
        _mm256_maskstore_ps(out + i, mask, _mm256_mul_ps(v, _mm256_maskload_ps(weight + i, mask)));
    }
}

static void convert_avx2(const float *x, float scale, int n, void *out)
{
    const __m256 s = _mm256_set1_ps(scale);
    for (int i = 0; i < n; i += 8) {
        __m256i mask = mask_of(n - i);
        _mm256_maskstore_ps((float *)out + i, mask,
                            _mm256_mul_ps(_mm256_maskload_ps(x + i, mask), s));
    }
}

static void rotate_avx2(const float *table, int half, bool is_interleaved, float *x)
{
    for (int i = 0; is_interleaved && i < 2 * half; i += 8) {
        __m256i mask = mask_of(2 * half - i);
        __m256 v = _mm256_maskload_ps(x + i, mask), t = _mm256_maskload_ps(table + i, mask);
        __m256 by_sin = _mm256_mul_ps(_mm256_permute_ps(v, 0xb1), _mm256_movehdup_ps(t));
        v = _mm256_fmaddsub_ps(v, _mm256_moveldup_ps(t), by_sin);
        _mm256_maskstore_ps(x + i, mask, v);
    }
    for (int i = 0; !is_interleaved && i < half; i += 8) {
        __m256i mask = mask_of(half - i);
        __m256 t0 = _mm256_maskload_ps(table + 2 * i, mask_of(2 * (half - i)));
        __m256 t1 = _mm256_maskload_ps(table + 2 * i + 8, mask_of(2 * (half - i) - 8));
        __m256 low = _mm256_permute2f128_ps(t0, t1, 0x20);
        __m256 high = _mm256_permute2f128_ps(t0, t1, 0x31);
        __m256 c = _mm256_shuffle_ps(low, high, 0x88), s = _mm256_shuffle_ps(low, high, 0xdd);
        __m256 a = _mm256_maskload_ps(x + i, mask), b = _mm256_maskload_ps(x + half + i, mask);
        _mm256_maskstore_ps(x + i, mask, _mm256_fmsub_ps(a, c, _mm256_mul_ps(b, s)));
        _mm256_maskstore_ps(x + half + i, mask, _mm256_fmadd_ps(b, c, _mm256_mul_ps(a, s)));
    }
}

static float softmax_avx2(const float *scores, int lo, int hi, struct ant_softmax *state, void *p)
{
    const __m256 none = _mm256_set1_ps(-INFINITY);
    __m256 s[4], mask[4], top = none, sum = _mm256_setzero_ps();
    for (int i = 0; i < 4; i++) {
        mask[i] =
            _mm256_castsi256_ps(_mm256_andnot_si256(mask_of(lo - 8 * i), mask_of(hi - 8 * i)));
        s[i] = _mm256_blendv_ps(none, _mm256_loadu_ps(scores + 8 * i), mask[i]);
        top = _mm256_max_ps(s[i], top);
    }
    float max = max_of(top);
    max = max > state->max ? max : state->max;
    for (int i = 0; i < 4; i++) {
        __m256 e = exp2_avx2(_mm256_sub_ps(s[i], _mm256_set1_ps(max)));
        e = _mm256_and_ps(e, mask[i]);
        sum = _mm256_add_ps(sum, e);
        _mm256_storeu_ps((float *)p + 8 * i, e);
    }
    float factor = _mm256_cvtss_f32(exp2_avx2(_mm256_set1_ps(state->max - max)));
    state->sum = state->sum * factor + sum_of(sum);
    state->max = max;
    return factor;
}

static void rescale_avx2(float *x, int n_tiles, size_t stride, float factor)
{
    const __m256 f = _mm256_set1_ps(factor);
    for (int t = 0; t < n_tiles; t++, x += stride)
        for (int i = 0; i < ANT_TILE_COLS; i += 8)
            _mm256_storeu_ps(x + i, _mm256_mul_ps(_mm256_loadu_ps(x + i), f));
}

/* The lowest index among the lanes that hold the greatest value. */
static int lowest_of(__m256 best, __m256i where, float max)
{
    float values[8];
    int32_t indices[8], lowest = INT32_MAX;
    _mm256_storeu_ps(values, best);
    _mm256_storeu_si256((__m256i *)(void *)indices, where);
    for (int i = 0; i < 8; i++)
        if (values[i] == max && indices[i] < lowest)
            lowest = indices[i];
    return lowest;
}

static void greedy_avx2(const float *logits, int n, int *index, float *logprob)
{
    const __m256 none = _mm256_set1_ps(-INFINITY), log2e = _mm256_set1_ps(1.44269504f);
    __m256 best = none, sum[4] = {_mm256_setzero_ps(), _mm256_setzero_ps(), _mm256_setzero_ps(),
                                  _mm256_setzero_ps()};
    __m256i at = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7), where = _mm256_setzero_si256();
    for (int i = 0; i < n; i += 8, at = _mm256_add_epi32(at, _mm256_set1_epi32(8))) {
        __m256i mask = mask_of(n - i);
        __m256 x =
            _mm256_blendv_ps(none, _mm256_maskload_ps(logits + i, mask), _mm256_castsi256_ps(mask));
        __m256 more = _mm256_cmp_ps(x, best, _CMP_GT_OQ);
        best = _mm256_blendv_ps(best, x, more);
        where = _mm256_blendv_epi8(where, at, _mm256_castps_si256(more));
    }
    float max = max_of(best);
    *index = lowest_of(best, where, max);
    for (int i = 0; i < n; i += 8) {
        __m256i mask = mask_of(n - i);
        __m256 x = _mm256_maskload_ps(logits + i, mask);
        __m256 counts = _mm256_and_ps(_mm256_castsi256_ps(mask), _mm256_cmp_ps(x, x, _CMP_ORD_Q));
        __m256 e = exp2_avx2(_mm256_mul_ps(_mm256_sub_ps(x, _mm256_set1_ps(max)), log2e));
        sum[i >> 3 & 3] = _mm256_add_ps(sum[i >> 3 & 3], _mm256_and_ps(e, counts));
    }
    __m256 all = _mm256_add_ps(_mm256_add_ps(sum[0], sum[1]), _mm256_add_ps(sum[2], sum[3]));
    *logprob = -(float)log((double)sum_of(all));
}

static double peak_avx2(int turns, float *out)
{
    enum { SUMS = 12 };
    const __m256 half = _mm256_set1_ps(0.5f), one = _mm256_set1_ps(1);
    __m256 sums[SUMS], total = _mm256_setzero_ps();
    for (int i = 0; i < SUMS; i++)
        sums[i] = one;
    for (int t = 0; t < turns; t++)
#pragma GCC unroll 16
        for (int i = 0; i < SUMS; i++)
            sums[i] = _mm256_fmadd_ps(sums[i], half, one);
    for (int i = 0; i < SUMS; i++)
        total = _mm256_add_ps(total, sums[i]);
    *out = sum_of(total);
    return 2.0 * 8 * SUMS * turns;
}

void ant_dsp_init_avx2(struct ant_dsp *dsp)
{
    dsp->name = "avx2";
    dsp->tile_rows = 12;
    dsp->decode = decode_avx2;
    dsp->tile = tile_avx2;
    dsp->tile_f32 = tile_avx2;
    dsp->tile_few = few_avx2;
    dsp->few_rows = 3;
    dsp->store = store_avx2;
    dsp->add = add_avx2;
    dsp->glu = glu_avx2;
    dsp->norm = norm_avx2;
    dsp->convert = convert_avx2;
    dsp->rotate = rotate_avx2;
    dsp->softmax = softmax_avx2;
    dsp->rescale = rescale_avx2;
    dsp->greedy = greedy_avx2;
    dsp->peak = peak_avx2;
    ant_quant_init_avx2(dsp);
}
