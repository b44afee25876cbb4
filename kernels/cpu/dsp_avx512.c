/* SPDX-License-Identifier: Apache-2.0 */
/* AVX-512 with BF16: activations and BF16 weights are multiplied in pairs by
 * vdpbf16ps into float sums (64 flops an instruction, one each cycle on Zen 4, twice the rate of
 * float multiply-adds there). F32 and F16 weights are multiplied in float.
 *
 * A tile is 12 rows by 2 panels: 24 sums, two panel vectors and one broadcast pair of activations
 * in the 32 registers. Each pair of k costs 14 loads for 24 products: 226 to 235 GFLOP/s of the 236
 * that a core of Zen 4 makes of registers alone. Few rows take what memory gives. */
#include "config.h"

#include "cpu/dsp.h"
#include "cpu/vec512.h"

#include <math.h>
#include <string.h>

/* ---- decoding ---- */

static void decode_halves(const uint8_t *at, uint8_t *out)
{
    for (int i = 0; i < ANT_PANEL_ELEMENTS; i += 16)
        _mm512_storeu_ps(out + 4 * i, load_halves(at + 2 * i));
}

/* Panels follow each other, but multiplying comes between them: the hardware's prefetching has lost
 * the track each time. Up to here beyond the block at hand we keep it ourselves. */
enum { AHEAD = 2048 };

static void decode_avx512(const struct ant_panel *panel, int b0, int b1, void *out)
{
    const struct ant_panel_format *format = panel->format;
    uint8_t *to = out;
    for (int b = b0; b < b1; b++) {
        const uint8_t *at = panel->blocks + (size_t)b * (size_t)format->block_bytes;
        for (int i = 0; i < format->block_bytes; i += 64)
            _mm_prefetch(at + AHEAD + i, _MM_HINT_T0);
        switch (format->plane) {
        case ANT_PLANE_F32:
        case ANT_PLANE_BF16:
            memcpy(to, at, (size_t)format->block_bytes);
            break;
        case ANT_PLANE_F16:
            decode_halves(at, to);
            break;
        default:
            break; /* quantized weights are multiplied as they are */
        }
        to += format->plane == ANT_PLANE_F16 ? 2 * format->block_bytes : format->block_bytes;
    }
}

/* ---- tiles ---- */

INLINE __m512bh load_bf16(const uint8_t *at)
{
    return (__m512bh)_mm512_loadu_si512(at);
}

INLINE __m512i broadcast_pair(const uint8_t *at)
{
    int pair;
    memcpy(&pair, at, sizeof pair);
    return _mm512_set1_epi32(pair);
}

/* `n` rows; n and `fetches` are constants of each copy. Fetching is spread over the products: as
 * many lines asked for at once would wait for each other.
 *
 * Rows are reached from a pointer to every third: base, base + row, base + 2 rows are addresses of
 * one instruction each. Left to itself the compiler keeps 11 distances, some of them in vector
 * registers, whose way back costs 4 % of the products. */
INLINE void tile_n(const int n, const bool fetches, const uint8_t *a, size_t row_bytes,
                   const uint8_t *b0, const uint8_t *b1, int pairs, float *acc, bool first,
                   ptrdiff_t ahead)
{
    __m512 sum[12][2];
    const uint8_t *third[4];
#pragma GCC unroll 4
    for (int i = 0; 3 * i < n; i++) {
        third[i] = a + 3 * (size_t)i * row_bytes;
        __asm__("" : "+r"(third[i])); /* what it was made of is forgotten */
    }
#pragma GCC unroll 12
    for (int r = 0; r < n; r++) {
        sum[r][0] = first ? _mm512_setzero_ps() : _mm512_loadu_ps(acc + 32 * r);
        sum[r][1] = first ? _mm512_setzero_ps() : _mm512_loadu_ps(acc + 32 * r + 16);
    }
    for (int p = 0; p < pairs; p++) {
        __m512bh w0 = load_bf16(b0 + 64 * (size_t)p), w1 = load_bf16(b1 + 64 * (size_t)p);
        if (fetches) {
            _mm_prefetch(b0 + 64 * (size_t)p + ahead, _MM_HINT_T1);
            _mm_prefetch(b1 + 64 * (size_t)p + ahead, _MM_HINT_T1);
        }
#pragma GCC unroll 12
        for (int r = 0; r < n; r++) {
            __m512bh x = (__m512bh)broadcast_pair(third[r / 3] + (size_t)(r % 3) * row_bytes);
            sum[r][0] = _mm512_dpbf16_ps(sum[r][0], x, w0);
            sum[r][1] = _mm512_dpbf16_ps(sum[r][1], x, w1);
        }
#pragma GCC unroll 4
        for (int i = 0; 3 * i < n; i++)
            third[i] += 4;
    }
#pragma GCC unroll 12
    for (int r = 0; r < n; r++) {
        _mm512_storeu_ps(acc + 32 * r, sum[r][0]);
        _mm512_storeu_ps(acc + 32 * r + 16, sum[r][1]);
    }
}

INLINE void tile_any(const bool fetches, int rows, const uint8_t *a, size_t row_bytes,
                     const uint8_t *b0, const uint8_t *b1, int pairs, float *acc, bool first,
                     ptrdiff_t ahead)
{
    for (; rows >= 12; rows -= 12, a += 12 * row_bytes, acc += 12 * ANT_TILE_COLS)
        tile_n(12, fetches, a, row_bytes, b0, b1, pairs, acc, first, ahead);
    switch (rows) {
#define CASE(n)                                                                                    \
    case n:                                                                                        \
        tile_n(n, fetches, a, row_bytes, b0, b1, pairs, acc, first, ahead);                        \
        break;
        CASE(1) CASE(2) CASE(3) CASE(4) CASE(5) CASE(6) CASE(7) CASE(8) CASE(9) CASE(10) CASE(11)
#undef CASE
    }
}

static void tile_avx512(int rows, const void *a, size_t lda, const void *b0, const void *b1,
                        int pairs, float *acc, bool first, ptrdiff_t ahead)
{
    if (ahead)
        tile_any(true, rows, a, 2 * lda, b0, b1, pairs, acc, first, ahead);
    else
        tile_any(false, rows, a, 2 * lda, b0, b1, pairs, acc, first, 0);
}

/* Of 32 neighbours in two vectors every second, from the one at `first`. */
INLINE __m512 every_second(__m512 x, __m512 y, const int first)
{
    const __m512i even =
        _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    return _mm512_permutex2var_ps(x, _mm512_add_epi32(even, _mm512_set1_epi32(first)), y);
}

/* 16 sums of even and odd k, interleaved in two vectors, to 16 columns. */
INLINE __m512 even_plus_odd(__m512 x, __m512 y)
{
    return _mm512_add_ps(every_second(x, y, 0), every_second(x, y, 1));
}

/* bfloat16 rows by float panels: 6 rows by 4 vectors of 8 columns. */
INLINE void tile_f32_n(const int n, const uint8_t *a, size_t row_bytes, const float *b0,
                       const float *b1, int pairs, float *acc, bool first, ptrdiff_t ahead)
{
    /* The pair's two bfloat16 become the upper halves of neighbouring lanes. */
    const __m512i spread = _mm512_set4_epi32(0x03028080, 0x01008080, 0x03028080, 0x01008080);
    __m512 sum[6][4];
#pragma GCC unroll 6
    for (int r = 0; r < n; r++)
#pragma GCC unroll 4
        for (int c = 0; c < 4; c++)
            sum[r][c] = _mm512_setzero_ps();
    for (int p = 0; p < pairs; p++) {
        const float *w0 = b0 + 32 * (size_t)p, *w1 = b1 + 32 * (size_t)p;
        __m512 w[4] = {_mm512_loadu_ps(w0), _mm512_loadu_ps(w0 + 16), _mm512_loadu_ps(w1),
                       _mm512_loadu_ps(w1 + 16)};
        for (int i = 0; ahead && i < 32; i += 16) {
            _mm_prefetch((const char *)(w0 + i) + ahead, _MM_HINT_T1);
            _mm_prefetch((const char *)(w1 + i) + ahead, _MM_HINT_T1);
        }
#pragma GCC unroll 6
        for (int r = 0; r < n; r++) {
            __m512i pair = broadcast_pair(a + (size_t)r * row_bytes + 4 * (size_t)p);
            __m512 x = (__m512)_mm512_shuffle_epi8(pair, spread);
#pragma GCC unroll 4
            for (int c = 0; c < 4; c++)
                sum[r][c] = _mm512_fmadd_ps(x, w[c], sum[r][c]);
        }
    }
#pragma GCC unroll 6
    for (int r = 0; r < n; r++)
#pragma GCC unroll 2
        for (int c = 0; c < 2; c++) {
            float *to = acc + 32 * r + 16 * c;
            __m512 s = even_plus_odd(sum[r][2 * c], sum[r][2 * c + 1]);
            _mm512_storeu_ps(to, first ? s : _mm512_add_ps(_mm512_loadu_ps(to), s));
        }
}

static void tile_f32_avx512(int rows, const void *a, size_t lda, const void *b0, const void *b1,
                            int pairs, float *acc, bool first, ptrdiff_t ahead)
{
    const uint8_t *at = a;
    size_t row_bytes = 2 * lda;
    for (; rows >= 6; rows -= 6, at += 6 * row_bytes, acc += 6 * ANT_TILE_COLS)
        tile_f32_n(6, at, row_bytes, b0, b1, pairs, acc, first, ahead);
    switch (rows) {
#define CASE(n)                                                                                    \
    case n:                                                                                        \
        tile_f32_n(n, at, row_bytes, b0, b1, pairs, acc, first, ahead);                            \
        break;
        CASE(1) CASE(2) CASE(3) CASE(4) CASE(5)
#undef CASE
    }
}

/* ---- what becomes of sums ---- */

static void store_avx512(const float *acc, int rows, int cols, const float *bias, float *out,
                         size_t ldo)
{
    for (int i = 0; i < cols; i += 16) {
        __mmask16 mask = mask_of(cols - i);
        __m512 b = bias ? _mm512_maskz_loadu_ps(mask, bias + i) : _mm512_setzero_ps();
        for (int r = 0; r < rows; r++)
            _mm512_mask_storeu_ps(out + (size_t)r * ldo + i, mask,
                                  _mm512_add_ps(_mm512_loadu_ps(acc + 32 * r + i), b));
    }
}

static void add_avx512(const float *acc, int rows, int cols, const float *bias, float *out,
                       size_t ldo)
{
    for (int i = 0; i < cols; i += 16) {
        __mmask16 mask = mask_of(cols - i);
        __m512 b = bias ? _mm512_maskz_loadu_ps(mask, bias + i) : _mm512_setzero_ps();
        for (int r = 0; r < rows; r++) {
            float *to = out + (size_t)r * ldo + i;
            __m512 sum = _mm512_add_ps(_mm512_loadu_ps(acc + 32 * r + i), b);
            _mm512_mask_storeu_ps(to, mask, _mm512_add_ps(_mm512_maskz_loadu_ps(mask, to), sum));
        }
    }
}

/* 2^x: Taylor's polynomial of exp(x ln 2) on [-1/2, 1/2], 1 ulp; NaN stays. */
INLINE __m512 exp2_avx512(__m512 x)
{
    x = _mm512_min_ps(_mm512_set1_ps(129), x); /* with NaN they return the second */
    x = _mm512_max_ps(_mm512_set1_ps(-151), x);
    __m512 n = _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    __m512 f = _mm512_sub_ps(x, n), p = _mm512_set1_ps(1.5403530e-4f);
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(1.3333558e-3f));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(9.6181291e-3f));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(5.5504109e-2f));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(2.4022651e-1f));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(6.9314718e-1f));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(1.0f));
    return _mm512_scalef_ps(p, n);
}

INLINE void store_bf16(uint16_t *out, __mmask16 mask, __m512 x)
{
    _mm256_mask_storeu_epi16(out, mask, (__m256i)_mm512_cvtneps_pbh(x));
}

static void glu_avx512(const float *acc, int rows, int cols, struct ant_glu act, void *out,
                       size_t ldo, bool for_products)
{
    const __m512 one = _mm512_set1_ps(1);
    const __m512 linear = _mm512_set1_ps(act.linear), cubic = _mm512_set1_ps(act.cubic);
    __mmask16 mask = mask_of(cols);
    for (int r = 0; r < rows; r++) {
        __m512 gate = _mm512_loadu_ps(acc + 32 * r), up = _mm512_loadu_ps(acc + 32 * r + 16);
        __m512 slope = _mm512_fmadd_ps(_mm512_mul_ps(gate, gate), cubic, linear);
        __m512 e = exp2_avx512(_mm512_mul_ps(gate, slope));
        __m512 active = _mm512_div_ps(gate, _mm512_add_ps(one, e));
        __m512 x = _mm512_mul_ps(active, up);
        if (for_products)
            store_bf16((uint16_t *)out + (size_t)r * ldo, mask, x);
        else
            _mm512_mask_storeu_ps((float *)out + (size_t)r * ldo, mask, x);
    }
}

/* ---- rows ---- */

INLINE __m512 square_sum(__m512 x, __m512 sum)
{
    return _mm512_fmadd_ps(x, x, sum);
}

static void norm_avx512(const float *x, const float *weight, float eps, int n, float *out)
{
    __m512 s0 = _mm512_setzero_ps(), s1 = s0, s2 = s0, s3 = s0;
    int i = 0;
    for (; i + 64 <= n; i += 64) {
        s0 = square_sum(_mm512_loadu_ps(x + i), s0);
        s1 = square_sum(_mm512_loadu_ps(x + i + 16), s1);
        s2 = square_sum(_mm512_loadu_ps(x + i + 32), s2);
        s3 = square_sum(_mm512_loadu_ps(x + i + 48), s3);
    }
    for (; i < n; i += 16)
        s0 = square_sum(_mm512_maskz_loadu_ps(mask_of(n - i), x + i), s0);
    float sum = _mm512_reduce_add_ps(_mm512_add_ps(_mm512_add_ps(s0, s1), _mm512_add_ps(s2, s3)));
    float root = _mm_cvtss_f32(_mm_sqrt_ss(_mm_set_ss(sum / (float)n + eps)));
    __m512 scale = _mm512_set1_ps(1 / root);
    for (i = 0; i + 16 <= n; i += 16) {
        __m512 v = _mm512_mul_ps(_mm512_loadu_ps(x + i), scale);
        _mm512_storeu_ps(out + i, _mm512_mul_ps(v, _mm512_loadu_ps(weight + i)));
    }
    __mmask16 rest = mask_of(n - i);
    __m512 v = _mm512_mul_ps(_mm512_maskz_loadu_ps(rest, x + i), scale);
    _mm512_mask_storeu_ps(out + i, rest, _mm512_mul_ps(v, _mm512_maskz_loadu_ps(rest, weight + i)));
}

static void convert_avx512(const float *x, float scale, int n, void *out)
{
    const __m512 s = _mm512_set1_ps(scale);
    uint16_t *to = out;
    int i = 0;
    for (; i + 16 <= n; i += 16)
        store_bf16(to + i, 0xffff, _mm512_mul_ps(_mm512_loadu_ps(x + i), s));
    __mmask16 rest = mask_of(n - i);
    store_bf16(to + i, rest, _mm512_mul_ps(_mm512_maskz_loadu_ps(rest, x + i), s));
}

static void rotate_avx512(const float *table, int half, bool is_interleaved, float *x)
{
    for (int i = 0; is_interleaved && i < 2 * half; i += 16) {
        __mmask16 mask = mask_of(2 * half - i);
        __m512 v = _mm512_maskz_loadu_ps(mask, x + i), t = _mm512_maskz_loadu_ps(mask, table + i);
        __m512 by_sin = _mm512_mul_ps(_mm512_permute_ps(v, 0xb1), _mm512_movehdup_ps(t));
        v = _mm512_fmaddsub_ps(v, _mm512_moveldup_ps(t), by_sin);
        _mm512_mask_storeu_ps(x + i, mask, v);
    }
    for (int i = 0; !is_interleaved && i < half; i += 16) {
        __mmask16 mask = mask_of(half - i);
        __m512 t0 = _mm512_maskz_loadu_ps(mask_of(2 * (half - i)), table + 2 * i);
        __m512 t1 = _mm512_maskz_loadu_ps(mask_of(2 * (half - i) - 16), table + 2 * i + 16);
        __m512 c = every_second(t0, t1, 0), s = every_second(t0, t1, 1);
        __m512 a = _mm512_maskz_loadu_ps(mask, x + i),
               b = _mm512_maskz_loadu_ps(mask, x + half + i);
        _mm512_mask_storeu_ps(x + i, mask, _mm512_fmsub_ps(a, c, _mm512_mul_ps(b, s)));
        _mm512_mask_storeu_ps(x + half + i, mask, _mm512_fmadd_ps(b, c, _mm512_mul_ps(a, s)));
    }
}

static void to_bf16_avx512(const float *x, int n, uint16_t *out)
{
    convert_avx512(x, 1, n, out);
}

static float softmax_avx512(const float *scores, int lo, int hi, struct ant_softmax *state, void *p)
{
    const __m512 none = _mm512_set1_ps(-INFINITY);
    __mmask16 m0 = mask_of(hi) & (__mmask16)~mask_of(lo);
    __mmask16 m1 = mask_of(hi - 16) & (__mmask16)~mask_of(lo - 16);
    __m512 s0 = _mm512_mask_loadu_ps(none, m0, scores);
    __m512 s1 = _mm512_mask_loadu_ps(none, m1, scores + 16);
    float max = _mm512_reduce_max_ps(_mm512_max_ps(s0, s1));
    max = max > state->max ? max : state->max;
    __m512 over = _mm512_set1_ps(max);
    __m512 p0 = _mm512_maskz_mov_ps(m0, exp2_avx512(_mm512_sub_ps(s0, over)));
    __m512 p1 = _mm512_maskz_mov_ps(m1, exp2_avx512(_mm512_sub_ps(s1, over)));
    _mm512_storeu_si512(p, (__m512i)_mm512_cvtne2ps_pbh(p1, p0));
    float factor = _mm512_cvtss_f32(exp2_avx512(_mm512_set1_ps(state->max - max)));
    state->sum = state->sum * factor + _mm512_reduce_add_ps(_mm512_add_ps(p0, p1));
    state->max = max;
    return factor;
}

static void rescale_avx512(float *x, int n_tiles, size_t stride, float factor)
{
    const __m512 f = _mm512_set1_ps(factor);
    for (int t = 0; t < n_tiles; t++, x += stride) {
        _mm512_storeu_ps(x, _mm512_mul_ps(_mm512_loadu_ps(x), f));
        _mm512_storeu_ps(x + 16, _mm512_mul_ps(_mm512_loadu_ps(x + 16), f));
    }
}

static void greedy_avx512(const float *logits, int n, int *index, float *logprob)
{
    const __m512 none = _mm512_set1_ps(-INFINITY), log2e = _mm512_set1_ps(1.44269504f);
    __m512 best = none, sum[4] = {_mm512_setzero_ps(), _mm512_setzero_ps(), _mm512_setzero_ps(),
                                  _mm512_setzero_ps()};
    __m512i at = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    __m512i where = _mm512_setzero_si512();
    for (int i = 0; i < n; i += 16, at = _mm512_add_epi32(at, _mm512_set1_epi32(16))) {
        __m512 x = _mm512_mask_loadu_ps(none, mask_of(n - i), logits + i);
        __mmask16 more = _mm512_cmp_ps_mask(x, best, _CMP_GT_OQ);
        best = _mm512_mask_mov_ps(best, more, x);
        where = _mm512_mask_mov_epi32(where, more, at);
    }
    __m512 max = _mm512_set1_ps(_mm512_reduce_max_ps(best));
    __mmask16 equal = _mm512_cmp_ps_mask(best, max, _CMP_EQ_OQ);
    *index = _mm512_mask_reduce_min_epi32(equal, where);
    for (int i = 0; i < n; i += 16) {
        __m512 x = _mm512_mask_loadu_ps(none, mask_of(n - i), logits + i);
        __mmask16 number = _mm512_cmp_ps_mask(x, x, _CMP_ORD_Q);
        __m512 e = exp2_avx512(_mm512_mul_ps(_mm512_sub_ps(x, max), log2e));
        sum[i >> 4 & 3] = _mm512_mask_add_ps(sum[i >> 4 & 3], number, sum[i >> 4 & 3], e);
    }
    __m512 all = _mm512_add_ps(_mm512_add_ps(sum[0], sum[1]), _mm512_add_ps(sum[2], sum[3]));
    *logprob = -(float)log((double)_mm512_reduce_add_ps(all));
}

static double peak_avx512(int turns, float *out)
{
    enum { SUMS = 16 };
    const __m512bh a = (__m512bh)_mm512_set1_epi16(0x3f80), b = (__m512bh)_mm512_set1_epi16(0x3c00);
    __m512 sums[SUMS], total = _mm512_setzero_ps();
    for (int i = 0; i < SUMS; i++)
        sums[i] = _mm512_setzero_ps();
    for (int t = 0; t < turns; t++)
#pragma GCC unroll 16
        for (int i = 0; i < SUMS; i++)
            sums[i] = _mm512_dpbf16_ps(sums[i], a, b);
    for (int i = 0; i < SUMS; i++)
        total = _mm512_add_ps(total, sums[i]);
    *out = _mm512_reduce_add_ps(total);
    return 2.0 * 32 * SUMS * turns;
}

void ant_dsp_init_avx512(struct ant_dsp *dsp)
{
    dsp->name = "avx512";
    dsp->is_bf16 = true;
    dsp->tile_rows = 12;
    dsp->decode = decode_avx512;
    dsp->tile = tile_avx512;
    dsp->tile_f32 = tile_f32_avx512;
    dsp->store = store_avx512;
    dsp->add = add_avx512;
    dsp->glu = glu_avx512;
    dsp->norm = norm_avx512;
    dsp->convert = convert_avx512;
    dsp->rotate = rotate_avx512;
    dsp->to_bf16 = to_bf16_avx512;
    dsp->softmax = softmax_avx512;
    dsp->rescale = rescale_avx512;
    dsp->greedy = greedy_avx512;
    dsp->peak = peak_avx512;
    ant_quant_init_avx512(dsp);
}
