/* SPDX-License-Identifier: Apache-2.0 */
/* Products of quantized weights with AMX: what quant_avx512.c does, in tiles of signed bytes: 16
 * rows by 16 columns by 32 k an instruction, one for the high and one for the low bytes of the
 * activations. Each block's integers leave the tiles to be scaled: 16 KiB of products cost 32
 * cycles of tiles, 32 lines stored and 80 to 112 vector operations (2 a cycle). The sums stay in
 * registers, 16 rows of a panel, so panels come one after the other, a chunk of unpacked blocks at
 * a time. Fewer than 16 rows are left to AVX-512. */
#include "config.h"

#include "cpu/amx.h"
#include "cpu/block512.h"
#include "cpu/dsp.h"

enum { ROWS = 16, BLOCK_BYTES = 512 };

/* Blocks of a panel as tiles; where blocks have two groups, each has its tile with zeros in the
 * place of the other. */
struct span {
    uint8_t q[ANT_QUANT_SPAN][2][BLOCK_BYTES] __attribute__((aligned(64)));
    float scale[ANT_QUANT_SPAN][2][16], offset[ANT_QUANT_SPAN][2][16];
};

INLINE void load_span(const struct block_shape s, const struct ant_panel *panel, int b0, int b1,
                      struct span *out)
{
    const __m512i bias = _mm512_set1_epi8((char)panel->format->bias);
    for (int b = b0; b < b1; b++) {
        struct block block;
        block_load(s, panel, b, &block);
        for (int g = 0; g < s.groups; g++) {
            for (int v = 0; v < 8; v++) {
                __m512i q = _mm512_sub_epi8(block.q[v], bias);
                if (s.groups == 2 && v / 4 != g)
                    q = _mm512_setzero_si512();
                _mm512_store_si512(out->q[b - b0][g] + 64 * v, q);
            }
            _mm512_store_ps(out->scale[b - b0][g], block.scale[g]);
            _mm512_store_ps(out->offset[b - b0][g], block.offset[g]);
        }
    }
}

/* Integer sums of 16 rows by the columns of a panel. */
struct sums {
    int32_t high[ROWS][16], low[ROWS][16];
} __attribute__((aligned(64)));

/* Registers: 0 and 1 high and low sums, 2 and 3 high and low bytes of rows, 4 the panel. */
INLINE void multiply(const struct ant_quant *a, size_t row_bytes, const uint8_t *q,
                     struct sums *out)
{
    ANT_AMX_LOAD(2, a->bytes, row_bytes);
    ANT_AMX_LOAD(4, q, 64);
    ANT_AMX_LOAD(3, a->bytes + 32, row_bytes);
    ANT_AMX_ZERO(0);
    ANT_AMX_ZERO(1);
    ANT_AMX_INT8(0, 2, 4);
    ANT_AMX_INT8(1, 3, 4);
    ANT_AMX_STORE(0, out->high, 64);
    ANT_AMX_STORE(1, out->low, 64);
}

INLINE void scale_sums(const struct block_shape s, const struct sums *sums,
                       const struct ant_quant *a, size_t row_bytes, int group, const float *scale,
                       const float *offset, __m512 part[ROWS])
{
    const __m512 by = _mm512_load_ps(scale), plus = _mm512_load_ps(offset);
#pragma GCC unroll 16
    for (int r = 0; r < ROWS; r++) {
        __m512i all = _mm512_slli_epi32(_mm512_load_si512(sums->high[r]), 8);
        all = _mm512_add_epi32(all, _mm512_load_si512(sums->low[r]));
        part[r] = _mm512_add_ps(part[r], _mm512_mul_ps(_mm512_cvtepi32_ps(all), by));
        if (s.has_min) {
            const struct ant_quant *row = ant_quant_row(a, row_bytes, r);
            part[r] =
                _mm512_add_ps(part[r], _mm512_mul_ps(plus, _mm512_set1_ps(row->float_sums[group])));
        }
    }
}

/* 16 rows by a span of a panel, added to acc. The tiles work on a block while the one before is
 * scaled. */
INLINE void tile_16(const struct block_shape s, const struct ant_quant *a, size_t row_bytes,
                    const struct span *w, int n_blocks, float *acc)
{
    struct sums sums[2];
    __m512 part[ROWS];
    const int n = n_blocks * s.groups;
#pragma GCC unroll 16
    for (int r = 0; r < ROWS; r++)
        part[r] = _mm512_setzero_ps();
    multiply(a, row_bytes, w->q[0][0], &sums[0]);
    for (int i = 0; i < n; i++) {
        int b = i / s.groups, g = i % s.groups, next = i + 1;
        if (next < n)
            multiply(a + next / s.groups, row_bytes, w->q[next / s.groups][next % s.groups],
                     &sums[next & 1]);
        scale_sums(s, &sums[i & 1], a + b, row_bytes, ant_quant_group(s.groups, g), w->scale[b][g],
                   w->offset[b][g], part);
    }
#pragma GCC unroll 16
    for (int r = 0; r < ROWS; r++) {
        float *to = acc + r * ANT_TILE_COLS;
        __m512 scale = _mm512_set1_ps(ant_quant_row(a, row_bytes, r)->scale);
        _mm512_storeu_ps(to, _mm512_add_ps(_mm512_loadu_ps(to), _mm512_mul_ps(part[r], scale)));
    }
}

INLINE void panel_rows(const struct block_shape s, int rows, const struct ant_quant *a,
                       size_t row_bytes, const struct ant_panel *panel, int n_blocks, float *acc)
{
    struct span w;
    for (int r = 0; r < rows; r++)
        _mm512_storeu_ps(acc + r * ANT_TILE_COLS, _mm512_setzero_ps());
    for (int b = 0; b < n_blocks; b += ANT_QUANT_SPAN) {
        int n = n_blocks - b < ANT_QUANT_SPAN ? n_blocks - b : ANT_QUANT_SPAN;
        load_span(s, panel, b, b + n, &w);
        for (int r = 0; r < rows; r += ROWS)
            tile_16(s, ant_quant_row(a + b, row_bytes, r), row_bytes, &w, n,
                    acc + r * ANT_TILE_COLS);
    }
}

static void tile_quant_amx(int rows, const struct ant_quant *a, size_t row_bytes,
                           const struct ant_panel *panels, int n_panels, int n_blocks, float *acc,
                           ptrdiff_t ahead)
{
    static const struct ant_amx_config config = {
        .palette = 1,
        .row_bytes = {64, 64, 32, 32, 64},
        .rows = {16, 16, 16, 16, 8},
    };
    int whole = rows / ROWS * ROWS;
    if (whole > 0) {
        ANT_AMX_CONFIGURE(config);
        for (int p = 0; p < n_panels; p++) {
#define PANEL(shape)                                                                               \
    panel_rows(shape, whole, a, row_bytes, &panels[p], n_blocks, acc + p * ANT_PANEL_ROWS)
            BLOCK_SHAPES(panels->format, PANEL);
#undef PANEL
        }
        ANT_AMX_CONFIGURE(ant_amx_usual);
    }
    if (whole < rows)
        ant_quant_tile_avx512(rows - whole, ant_quant_row(a, row_bytes, whole), row_bytes, panels,
                              n_panels, n_blocks, acc + whole * ANT_TILE_COLS, ahead);
}

void ant_quant_init_amx(struct ant_dsp *dsp)
{
    dsp->tile_quant = tile_quant_amx;
}
