/* SPDX-License-Identifier: Apache-2.0 */
/* The inner loops of the CPU backend as one table, filled by plain C and then overwritten level by
 * level (C < AVX2 < AVX-512 < AMX) up to what the machine has.
 *
 * Activations are floats. What float weights are multiplied with is the level's own: float (C,
 * AVX2) or bfloat16 (AVX-512 with BF16, AMX). What quantized weights are multiplied with is, on
 * every level, 16-bit integers with a scale for every 256 (struct ant_quant). Sums are float.
 *
 * Every function gives each row the same bits whatever the other rows are: the order of a row's sum
 * depends on k alone, vector tails run the same code under masks, and exp2 is a polynomial of our
 * own. Levels differ from each other in rounding, but not in products of quantized weights: the sum
 * of a block's products is an exact integer, and what follows is, each operation rounded,
 *     for each span of 256: part = 0
 *         for each block of it, for each group of the block:
 *             part += float(integer) * scale of the column
 *             part += offset of the column * float(sum of the row's integers), where there is one
 *         sum += part * scale of the row
 *
 * Shapes: products are made in tiles of `rows` activations by 32 columns (two panels), over whole
 * blocks of 32 k. No alignment is needed but the panels' (64 bytes for the first block). Thread:
 * any, no state; the AMX level keeps its tile registers between tile_begin and tile_end of the same
 * thread. */
#ifndef ANT_KERNELS_CPU_DSP_H
#define ANT_KERNELS_CPU_DSP_H

#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "cpu/panel.h"

enum {
    ANT_TILE_COLS = 32,
    ANT_ROW_PAD = 16, /* tile kernels may read (not use) activations up to the next multiple */
};

/* acc (rows, 32), stride 32, = [acc +] a (rows, 2 pairs) * b^T, the columns of panel b0 then b1;
 * `lda` in elements, `pairs` a multiple of 16. The previous acc counts unless `first`. `ahead`:
 * how far behind b0 and b1 lie the panels that the next call will want from memory, or 0. */
typedef void ant_tile_fn(int rows, const void *a, size_t lda, const void *b0, const void *b1,
                         int pairs, float *acc, bool first, ptrdiff_t ahead);

/* 32 activations of a row: value = scale * integer. The scale is that of a span of 8 blocks, and
 * takes the greatest value there to +-32512, so that the high byte of the integer, taken after the
 * low byte as a signed number, is one too. An infinity or NaN among them makes the scale NaN.
 * `sums` are of the first 16 integers, the last 16 and all. */
struct ant_quant {
    union {
        int16_t words[32]; /* in the order that the level likes */
        int8_t bytes[64];  /* 32 high bytes, 32 low ones */
    };
    int32_t sums[3];
    float scale;
    float float_sums[3];
    int32_t unused; /* 96 bytes: halves of 32 bytes never straddle lines */
};
enum { ANT_QUANT_MAX = 32512, ANT_QUANT_SPAN = 8 };

static inline const struct ant_quant *ant_quant_row(const struct ant_quant *a, size_t row_bytes,
                                                    int row)
{
    return (const struct ant_quant *)(const void *)((const char *)a + (size_t)row * row_bytes);
}

/* The scale of a span of activations, and what they are multiplied with to be integers: 0 where
 * those are 0. `top` is the greatest size among them, as the integer that its bits are: such
 * integers are ordered like the numbers, NaN above all. */
static inline float ant_quant_scale(int32_t top, float *inverse)
{
    float max;
    memcpy(&max, &top, sizeof max);
    *inverse = 0;
    if (top >= 0x7f800000)
        return NAN;
    if (max < 1e-30f)
        return 0;
    *inverse = ANT_QUANT_MAX / max;
    return max / ANT_QUANT_MAX;
}

/* Where the sums have group `group` of a format's block. */
static inline int ant_quant_group(int groups, int group)
{
    return groups == 1 ? 2 : group;
}

/* acc (rows, 16 n_panels), stride 32, = a (rows, n_blocks) * panels^T: one or two panels of one
 * quantized format. `ahead` as above. */
typedef void ant_quant_tile_fn(int rows, const struct ant_quant *a, size_t row_bytes,
                               const struct ant_panel *panels, int n_panels, int n_blocks,
                               float *acc, ptrdiff_t ahead);

/* Running state of one row of a softmax over pages. */
struct ant_softmax {
    float max, sum;
};

/* An activation as x / (1 + 2^(x (linear + cubic x^2))): SiLU, and GELU by its tanh form. */
struct ant_glu {
    float linear, cubic;
};

struct ant_dsp {
    const char *name; /* "c", "avx2", "avx512", "amx" */
    bool is_bf16;     /* products of floats are of bfloat16 activations, else of float ones */
    int tile_rows;    /* rows a tile is best made of */

    /* Blocks [b0, b1) of a panel of floats in compute type: float, or bfloat16 where is_bf16 and
     * the format is neither F32 nor F16. */
    void (*decode)(const struct ant_panel *panel, int b0, int b1, void *out);
    ant_tile_fn *tile;     /* activations by panels in the level's own type */
    ant_tile_fn *tile_f32; /* activations by float panels */
    /* The same bits as by decoded panels, for up to few_rows rows (0: none) by BF16 panels as they
     * lie: weights that are used once are not worth writing down. */
    ant_tile_fn *tile_few;
    int few_rows;
    /* n floats as ceil(n / 32) blocks, zeros behind them. */
    void (*quantize)(const float *x, int n, struct ant_quant *out);
    ant_quant_tile_fn *tile_quant;
    void (*tile_begin)(void);
    void (*tile_end)(void);

    /* What becomes of `acc` (rows, 32): `cols` of them to out. `ldo` in elements. */
    void (*store)(const float *acc, int rows, int cols, const float *bias, float *out, size_t ldo);
    void (*add)(const float *acc, int rows, int cols, const float *bias, float *out, size_t ldo);
    /* act(acc[i]) * acc[16 + i] for i < cols <= 16, as floats or as the level's type for products
     */
    void (*glu)(const float *acc, int rows, int cols, struct ant_glu act, void *out, size_t ldo,
                bool for_products);

    /* out = x * weight / sqrt(mean(x^2) + eps) */
    void (*norm)(const float *x, const float *weight, float eps, int n, float *out);
    /* x = cap * tanh(x / cap) */
    void (*softcap)(float *x, float cap, int n);
    /* out = x * scale, as the level's type for products */
    void (*convert)(const float *x, float scale, int n, void *out);

    /* Rotate `half` pairs by their (cos, sin) in table: neighbours, or i and i + half. */
    void (*rotate)(const float *table, int half, bool is_interleaved, float *x);
    /* n floats as bfloat16, rounded to nearest even, NaN stays */
    void (*to_bf16)(const float *x, int n, uint16_t *out);

    /* One page of a row's softmax: scores (32) in units of log2, of which [lo, hi) count; p (32) in
     * the level's type for products, zero elsewhere. Returns what the sums so far must be
     * multiplied with. */
    float (*softmax)(const float *scores, int lo, int hi, struct ant_softmax *state, void *p);
    /* x (n_tiles, 32) with `stride` floats between tiles, *= factor */
    void (*rescale)(float *x, int n_tiles, size_t stride, float factor);

    /* The lowest index of the greatest of n logits, and its log-probability. NaN never wins. */
    void (*greedy)(const float *logits, int n, int *index, float *logprob);

    /* `turns` rounds of the products that `tile` is made of, on registers alone: what no tile can
     * be faster than. Returns their flops; the sums go to *out. */
    double (*peak)(int turns, float *out);
};

/* Each overwrites what its level does better; c first, it fills everything. The second half of a
 * level, products of quantized weights, is filled in by the first. */
void ant_dsp_init_c(struct ant_dsp *dsp);
void ant_dsp_init_avx2(struct ant_dsp *dsp);
void ant_dsp_init_avx512(struct ant_dsp *dsp);
void ant_dsp_init_amx(struct ant_dsp *dsp);
void ant_quant_init_c(struct ant_dsp *dsp);
void ant_quant_init_avx2(struct ant_dsp *dsp);
void ant_quant_init_avx512(struct ant_dsp *dsp);
void ant_quant_init_amx(struct ant_dsp *dsp);

/* AVX-512's, for the rows that do not fill a tile of AMX. */
ant_quant_tile_fn ant_quant_tile_avx512;

/* Are panels of this format computed in float on this level? */
static inline bool ant_dsp_in_float(const struct ant_dsp *dsp,
                                    const struct ant_panel_format *format)
{
    return !dsp->is_bf16 || format->plane == ANT_PLANE_F32 || format->plane == ANT_PLANE_F16;
}

/* Are so many rows multiplied with panels of this format as they lie? */
static inline bool ant_dsp_is_direct(const struct ant_dsp *dsp,
                                     const struct ant_panel_format *format, int rows)
{
    return format->plane == ANT_PLANE_F32 ||
           (format->plane == ANT_PLANE_BF16 && (dsp->is_bf16 || rows <= dsp->few_rows));
}

/* What multiplies so many rows with panels of this format, as they lie or decoded. */
static inline ant_tile_fn *ant_dsp_tile(const struct ant_dsp *dsp,
                                        const struct ant_panel_format *format, int rows)
{
    if (!ant_dsp_in_float(dsp, format))
        return dsp->tile;
    return format->plane == ANT_PLANE_BF16 && rows <= dsp->few_rows ? dsp->tile_few : dsp->tile_f32;
}

#endif
