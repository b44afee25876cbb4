/* SPDX-License-Identifier: Apache-2.0 */
/* The plain C level: float activations, float products. The reference that the other levels are
 * tested against, and what runs where there is nothing better. */
#include "config.h"

#include <math.h>
#include <string.h>

#include "cpu/dsp.h"

static void decode_c(const struct ant_panel *panel, int b0, int b1, void *out)
{
    const struct ant_panel_format *format = panel->format;
    float *to = out;
    for (int b = b0; b < b1; b++, to += ANT_PANEL_ELEMENTS) {
        const uint8_t *block = panel->blocks + (size_t)b * (size_t)format->block_bytes;
        if (format->plane == ANT_PLANE_F32) {
            memcpy(to, block, ANT_PANEL_ELEMENTS * sizeof *to);
        } else {
            const uint16_t *bits = (const uint16_t *)(const void *)block;
            for (int i = 0; i < ANT_PANEL_ELEMENTS; i++)
                to[i] = format->plane == ANT_PLANE_F16 ? ant_half_to_float(bits[i])
                                                       : ant_bf16_to_float(bits[i]);
        }
    }
}

/* The compiler's own vectors: SSE2, NEON or plain floats. */
typedef float vec4 __attribute__((vector_size(16), aligned(4)));

/* One row by one panel: even and odd k in sums of their own, as the vector levels keep them. */
static void dot_panel(const float *a, const float *b, int pairs, float *acc, bool first)
{
    vec4 sum[8] = {{0}};
    for (int p = 0; p < pairs; p++, a += 2, b += 32) {
        vec4 pair = {a[0], a[1], a[0], a[1]};
        for (int i = 0; i < 8; i++)
            sum[i] += pair * *(const vec4 *)(const void *)(b + 4 * i);
    }
    for (int i = 0; i < ANT_PANEL_ROWS; i++) {
        float even = sum[i / 2][i % 2 * 2], odd = sum[i / 2][i % 2 * 2 + 1];
        acc[i] = (first ? 0 : acc[i]) + (even + odd);
    }
}

static void tile_c(int rows, const void *a, size_t lda, const void *b0, const void *b1, int pairs,
                   float *acc, bool first, ptrdiff_t ahead)
{
    (void)ahead;
    for (int r = 0; r < rows; r++, acc += ANT_TILE_COLS) {
        const float *row = (const float *)a + (size_t)r * lda;
        dot_panel(row, b0, pairs, acc, first);
        dot_panel(row, b1, pairs, acc + ANT_PANEL_ROWS, first);
    }
}

static void tile_state_c(void)
{
}

static void store_c(const float *acc, int rows, int cols, const float *bias, float *out, size_t ldo)
{
    for (int r = 0; r < rows; r++, acc += ANT_TILE_COLS, out += ldo)
        for (int i = 0; i < cols; i++)
            out[i] = bias ? acc[i] + bias[i] : acc[i];
}

static void add_c(const float *acc, int rows, int cols, const float *bias, float *out, size_t ldo)
{
    for (int r = 0; r < rows; r++, acc += ANT_TILE_COLS, out += ldo)
        for (int i = 0; i < cols; i++)
            out[i] += bias ? acc[i] + bias[i] : acc[i];
}

/* 2^x: Taylor's polynomial of exp(x ln 2) on [-1/2, 1/2], 1 ulp; 0 and infinity beyond the
 * exponents of float, NaN stays. */
static float exp2_c(float x)
{
    x = x < -127 ? -127 : x;
    x = x > 128 ? 128 : x;
    float shifted = x + 0x1.8p23f; /* the integer nearest to x in the low bits */
    float f = x - (shifted - 0x1.8p23f);
    float p = 1.5403530e-4f;
    p = p * f + 1.3333558e-3f;
    p = p * f + 9.6181291e-3f;
    p = p * f + 5.5504109e-2f;
    p = p * f + 2.4022651e-1f;
    p = p * f + 6.9314718e-1f;
    p = p * f + 1.0f;
    uint32_t bits;
    memcpy(&bits, &shifted, sizeof bits);
    bits = (bits - 0x4b400000u + 127u) << 23;
    float power;
    memcpy(&power, &bits, sizeof power);
    return p * power;
}

static void glu_c(const float *acc, int rows, int cols, struct ant_glu act, void *out, size_t ldo,
                  bool for_products)
{
    float *to = out;
    (void)for_products; /* they are of floats */
    for (int r = 0; r < rows; r++, acc += ANT_TILE_COLS)
        for (int i = 0; i < cols; i++) {
            float gate = acc[i], up = acc[ANT_PANEL_ROWS + i];
            float e = exp2_c(gate * (act.linear + act.cubic * (gate * gate)));
            to[(size_t)r * ldo + (size_t)i] = gate / (1 + e) * up;
        }
}

static void softcap_c(float *x, float cap, int n)
{
    float to_exponent = 2 * 1.44269504f / cap;
    for (int i = 0; i < n; i++)
        x[i] = cap - 2 * cap / (1 + exp2_c(x[i] * to_exponent));
}

static void norm_c(const float *x, const float *weight, float eps, int n, float *out)
{
    float sum[16] = {0};
    for (int i = 0; i < n; i++)
        sum[i & 15] += x[i] * x[i];
    for (int width = 8; width; width /= 2)
        for (int i = 0; i < width; i++)
            sum[i] += sum[i + width];
    float scale = 1 / sqrtf(sum[0] / (float)n + eps);
    for (int i = 0; i < n; i++)
        out[i] = x[i] * scale * weight[i];
}

static void convert_c(const float *x, float scale, int n, void *out)
{
    for (int i = 0; i < n; i++)
        ((float *)out)[i] = x[i] * scale;
}

static void rotate_c(const float *table, int half, bool is_interleaved, float *x)
{
    int step = is_interleaved ? 2 : 1, other = is_interleaved ? 1 : half;
    for (int i = 0; i < half; i++) {
        float *a = x + i * step, *b = a + other;
        float c = table[2 * i], s = table[2 * i + 1], first = *a, second = *b;
        *a = first * c - second * s;
        *b = second * c + first * s;
    }
}

static void to_bf16_c(const float *x, int n, uint16_t *out)
{
    for (int i = 0; i < n; i++)
        out[i] = ant_float_to_bf16(x[i]);
}

static float softmax_c(const float *scores, int lo, int hi, struct ant_softmax *state, void *p)
{
    float *to = p, sum = 0, max = state->max;
    for (int i = lo; i < hi; i++)
        max = scores[i] > max ? scores[i] : max;
    for (int i = 0; i < ANT_TILE_COLS; i++) {
        to[i] = i >= lo && i < hi ? exp2_c(scores[i] - max) : 0;
        sum += to[i];
    }
    float factor = exp2_c(state->max - max);
    state->sum = state->sum * factor + sum;
    state->max = max;
    return factor;
}

static void rescale_c(float *x, int n_tiles, size_t stride, float factor)
{
    for (int t = 0; t < n_tiles; t++)
        for (int i = 0; i < ANT_TILE_COLS; i++)
            x[(size_t)t * stride + (size_t)i] *= factor;
}

static void greedy_c(const float *logits, int n, int *index, float *logprob)
{
    int best = 0;
    for (int i = 1; i < n; i++)
        if (logits[i] > logits[best] || (isnan(logits[best]) && !isnan(logits[i])))
            best = i;
    double sum = 0;
    for (int i = 0; i < n; i++)
        if (!isnan(logits[i]))
            sum += (double)exp2_c((logits[i] - logits[best]) * 1.44269504f);
    *index = best;
    *logprob = -(float)log(sum);
}

static double peak_c(int turns, float *out)
{
    enum { SUMS = 16 };
    float sums[SUMS] = {0}, total = 0;
    for (int t = 0; t < turns; t++)
#pragma GCC unroll 16
        for (int i = 0; i < SUMS; i++)
            sums[i] = sums[i] * 0.5f + 1;
    for (int i = 0; i < SUMS; i++)
        total += sums[i];
    *out = total;
    return 2.0 * SUMS * turns;
}

void ant_dsp_init_c(struct ant_dsp *dsp)
{
    *dsp = (struct ant_dsp){
        .name = "c",
        .tile_rows = 4,
        .decode = decode_c,
        .tile = tile_c,
        .tile_f32 = tile_c,
        .tile_begin = tile_state_c,
        .tile_end = tile_state_c,
        .store = store_c,
        .add = add_c,
        .glu = glu_c,
        .norm = norm_c,
        .softcap = softcap_c,
        .convert = convert_c,
        .rotate = rotate_c,
        .to_bf16 = to_bf16_c,
        .softmax = softmax_c,
        .rescale = rescale_c,
        .greedy = greedy_c,
        .peak = peak_c,
    };
    ant_quant_init_c(dsp);
}
