/* SPDX-License-Identifier: Apache-2.0 */
/* Products of quantized weights in plain C: what the other levels must equal bit by bit. */
#include "config.h"

#include <string.h>

#include "cpu/dsp.h"

/* The integer nearest to x, |x| < 2^22, ties to even. */
static int32_t nearest(float x)
{
    float shifted = x + 0x1.8p23f;
    int32_t bits;
    memcpy(&bits, &shifted, sizeof bits);
    return bits - 0x4b400000;
}

static int32_t top_of(const float *x, int n)
{
    int32_t top = 0;
    for (int i = 0; i < n; i++) {
        int32_t bits;
        memcpy(&bits, &x[i], sizeof bits);
        bits &= 0x7fffffff;
        top = bits > top ? bits : top;
    }
    return top;
}

static void quantize_block(const float *x, int n, float scale, float inverse, struct ant_quant *out)
{
    *out = (struct ant_quant){.scale = scale};
    for (int i = 0; i < n && inverse > 0; i++) {
        out->words[i] = (int16_t)nearest(x[i] * inverse);
        out->sums[i >> 4] += out->words[i];
    }
    out->sums[2] = out->sums[0] + out->sums[1];
    for (int i = 0; i < 3; i++)
        out->float_sums[i] = (float)out->sums[i];
}

static void quantize_c(const float *x, int n, struct ant_quant *out)
{
    const int span = ANT_QUANT_SPAN * 32;
    for (; n > 0; n -= span, x += span) {
        int count = n < span ? n : span;
        float inverse, scale = ant_quant_scale(top_of(x, count), &inverse);
        for (int i = 0; i < count; i += 32)
            quantize_block(x + i, count - i < 32 ? count - i : 32, scale, inverse, out++);
    }
}

/* A block of a panel, column by column. */
struct columns {
    int16_t q[16][32];
    float scale[2][16], offset[2][16];
};

static void load_columns(const struct ant_panel *panel, int block, struct columns *out)
{
    uint8_t values[ANT_PANEL_ELEMENTS];
    ant_panel_values(panel, block, values);
    for (int i = 0; i < ANT_PANEL_ELEMENTS; i++)
        out->q[i >> 2 & 15][(i >> 6) * 4 + (i & 3)] = (int16_t)(values[i] - panel->format->bias);
    ant_panel_scales(panel, block, out->scale, out->offset);
}

static int32_t dot(const int16_t *a, const int16_t *b, int n)
{
    int32_t sum = 0;
    for (int i = 0; i < n; i++)
        sum += a[i] * b[i];
    return sum;
}

static void multiply(const struct ant_panel_format *format, const struct columns *w,
                     const struct ant_quant *a, float part[16])
{
    for (int g = 0; g < format->groups; g++) {
        float sum_a = a->float_sums[ant_quant_group(format->groups, g)];
        for (int c = 0; c < ANT_PANEL_ROWS; c++) {
            int32_t sum = format->groups == 1 ? dot(a->words, w->q[c], 32)
                                              : dot(a->words + 16 * g, w->q[c] + 16 * g, 16);
            part[c] += (float)sum * w->scale[g][c];
            if (format->has_min)
                part[c] += w->offset[g][c] * sum_a;
        }
    }
}

static void panel_c(int rows, const struct ant_quant *a, size_t row_bytes,
                    const struct ant_panel *panel, int n_blocks, float *acc)
{
    for (int r = 0; r < rows; r++)
        memset(acc + r * ANT_TILE_COLS, 0, ANT_PANEL_ROWS * sizeof *acc);
    for (int b = 0; b < n_blocks; b += ANT_QUANT_SPAN, a += ANT_QUANT_SPAN) {
        struct columns w[ANT_QUANT_SPAN];
        int n = n_blocks - b < ANT_QUANT_SPAN ? n_blocks - b : ANT_QUANT_SPAN;
        for (int i = 0; i < n; i++)
            load_columns(panel, b + i, &w[i]);
        for (int r = 0; r < rows; r++) {
            const struct ant_quant *row = ant_quant_row(a, row_bytes, r);
            float part[16] = {0};
            for (int i = 0; i < n; i++)
                multiply(panel->format, &w[i], row + i, part);
            for (int c = 0; c < ANT_PANEL_ROWS; c++)
                acc[r * ANT_TILE_COLS + c] += part[c] * row->scale;
        }
    }
}

static void tile_quant_c(int rows, const struct ant_quant *a, size_t row_bytes,
                         const struct ant_panel *panels, int n_panels, int n_blocks, float *acc,
                         ptrdiff_t ahead)
{
    (void)ahead;
    for (int i = 0; i < n_panels; i++)
        panel_c(rows, a, row_bytes, &panels[i], n_blocks, acc + i * ANT_PANEL_ROWS);
}

void ant_quant_init_c(struct ant_dsp *dsp)
{
    dsp->quantize = quantize_c;
    dsp->tile_quant = tile_quant_c;
}
