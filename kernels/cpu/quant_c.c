/* SPDX-License-Identifier: Apache-2.0 */
/* Products of quantized weights in plain C: what the other levels must equal bit by bit. */
#include "config.h"

#include <math.h>
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

static void quantize_block(const float x[32], struct ant_quant *out)
{
    uint32_t top = 0, bits[32];
    memcpy(bits, x, sizeof bits);
    for (int i = 0; i < 32; i++) {
        uint32_t size = bits[i] & 0x7fffffffu; /* ordered like the numbers, NaN above all */
        top = size > top ? size : top;
    }
    float max, inverse = 0;
    memcpy(&max, &top, sizeof max);
    *out = (struct ant_quant){.scale = 0};
    if (top >= 0x7f800000u) {
        out->scale = NAN;
    } else if (max >= 1e-30f) {
        out->scale = max / ANT_QUANT_MAX;
        inverse = ANT_QUANT_MAX / max;
    }
    for (int i = 0; i < 32 && inverse > 0; i++) {
        out->words[i] = (int16_t)nearest(x[i] * inverse);
        out->sums[i >> 4] += out->words[i];
    }
    out->sums[2] = out->sums[0] + out->sums[1];
    for (int i = 0; i < 3; i++)
        out->parts[i] = out->scale * (float)out->sums[i];
}

static void quantize_c(const float *x, int n, struct ant_quant *out)
{
    for (; n >= 32; n -= 32, x += 32)
        quantize_block(x, out++);
    if (n > 0) {
        float last[32] = {0};
        memcpy(last, x, (size_t)n * sizeof *x);
        quantize_block(last, out);
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
                     const struct ant_quant *a, float *acc)
{
    for (int g = 0; g < format->groups; g++) {
        float part = a->parts[ant_quant_group(format->groups, g)];
        for (int c = 0; c < ANT_PANEL_ROWS; c++) {
            int32_t sum = format->groups == 1 ? dot(a->words, w->q[c], 32)
                                              : dot(a->words + 16 * g, w->q[c] + 16 * g, 16);
            acc[c] += (float)sum * a->scale * w->scale[g][c];
            if (format->has_min)
                acc[c] += w->offset[g][c] * part;
        }
    }
}

static void tile_quant_c(int rows, const struct ant_quant *a, size_t row_bytes,
                         const struct ant_panel *panels, int n_panels, int n_blocks, float *acc)
{
    for (int i = 0; i < n_panels; i++, acc += ANT_PANEL_ROWS) {
        for (int r = 0; r < rows; r++)
            memset(acc + r * ANT_TILE_COLS, 0, ANT_PANEL_ROWS * sizeof *acc);
        for (int b = 0; b < n_blocks; b++) {
            struct columns w;
            load_columns(&panels[i], b, &w);
            for (int r = 0; r < rows; r++)
                multiply(panels[i].format, &w, ant_quant_row(a, row_bytes, r) + b,
                         acc + r * ANT_TILE_COLS);
        }
    }
}

void ant_quant_init_c(struct ant_dsp *dsp)
{
    dsp->quantize = quantize_c;
    dsp->tile_quant = tile_quant_c;
}
