/* SPDX-License-Identifier: Apache-2.0 */
/* The inner loops of the CPU backend as one table, filled by plain C and then overwritten level by
 * level (C < AVX2 < AVX-512 < AMX) up to what the machine has.
 *
 * A level fixes the type of activations: float (C, AVX2) or bfloat16 (AVX-512 with BF16, AMX).
 * Sums are always float. Every function gives each row the same bits whatever the other rows are:
 * the order of a row's sum depends on k alone, vector tails run the same code under masks, and
 * exp2 is a polynomial of our own. Levels differ from each other in rounding.
 *
 * Shapes: products are made in tiles of `rows` activations by 32 columns (two panels), over whole
 * blocks of 32 k. No alignment is needed but the panels' (64 bytes for the first block). Thread:
 * any, no state; the AMX level keeps its tile registers between tile_begin and tile_end of the same
 * thread. */
#ifndef ANT_KERNELS_CPU_DSP_H
#define ANT_KERNELS_CPU_DSP_H

#include <stdbool.h>
#include <stddef.h>

#include "cpu/panel.h"

enum {
    ANT_TILE_COLS = 32,
    ANT_ROW_PAD = 16, /* tile kernels may read (not use) activations up to the next multiple */
};

/* acc (rows, 32), stride 32, = [acc +] a (rows, 2 pairs) * b^T, the columns of panel b0 then b1;
 * `lda` in elements, `pairs` a multiple of 16. The previous acc counts unless `first`. `ahead`:
 * as many bytes as b0 and b1 have, contiguous, that the next call will want from memory, or NULL.
 */
typedef void ant_tile_fn(int rows, const void *a, size_t lda, const void *b0, const void *b1,
                         int pairs, float *acc, bool first, const void *ahead);

/* Running state of one row of a softmax over pages. */
struct ant_softmax {
    float max, sum;
};

struct ant_dsp {
    const char *name; /* "c", "avx2", "avx512", "amx" */
    bool is_bf16;     /* activations are bfloat16, else float */
    int tile_rows;    /* rows a tile is best made of */

    /* Blocks [b0, b1) of a panel in compute type: float, or bfloat16 where is_bf16 and the format
     * is neither F32 nor F16. */
    void (*decode)(const struct ant_panel *panel, int b0, int b1, void *out);
    ant_tile_fn *tile;     /* activations by panels in the level's own type */
    ant_tile_fn *tile_f32; /* activations by float panels */
    void (*tile_begin)(void);
    void (*tile_end)(void);

    /* What becomes of `acc` (rows, 32): `cols` of them to out. `ldo` in elements. */
    void (*store)(const float *acc, int rows, int cols, const float *bias, float *out, size_t ldo);
    void (*add)(const float *acc, int rows, int cols, const float *bias, float *out, size_t ldo);
    /* silu(acc[i]) * acc[16 + i] for i < cols <= 16, as activations */
    void (*glu)(const float *acc, int rows, int cols, void *out, size_t ldo);

    /* out = x * weight / sqrt(mean(x^2) + eps), as activations */
    void (*norm)(const float *x, const float *weight, float eps, int n, void *out);
    /* out = x * scale, as activations */
    void (*convert)(const float *x, float scale, int n, void *out);

    /* Rotate `half` pairs by their (cos, sin) in table: neighbours, or i and i + half. */
    void (*rotate)(const float *table, int half, bool is_interleaved, float *x);
    /* n floats as bfloat16, rounded to nearest even, NaN stays */
    void (*to_bf16)(const float *x, int n, uint16_t *out);

    /* One page of a row's softmax: scores (32) in units of log2, of which [lo, hi) count; p (32)
     * activations, zero elsewhere. Returns what the sums so far must be multiplied with. */
    float (*softmax)(const float *scores, int lo, int hi, struct ant_softmax *state, void *p);
    /* x (n_tiles, 32) with `stride` floats between tiles, *= factor */
    void (*rescale)(float *x, int n_tiles, size_t stride, float factor);

    /* The lowest index of the greatest of n logits, and its log-probability. NaN never wins. */
    void (*greedy)(const float *logits, int n, int *index, float *logprob);
};

/* Each overwrites what its level does better; c first, it fills everything. */
void ant_dsp_init_c(struct ant_dsp *dsp);
void ant_dsp_init_avx2(struct ant_dsp *dsp);
void ant_dsp_init_avx512(struct ant_dsp *dsp);
void ant_dsp_init_amx(struct ant_dsp *dsp);

/* Are panels of this format computed in float on this level? */
static inline bool ant_dsp_in_float(const struct ant_dsp *dsp,
                                    const struct ant_panel_format *format)
{
    return !dsp->is_bf16 || format->plane == ANT_PLANE_F32 || format->plane == ANT_PLANE_F16;
}

/* Is the packed form already what the tiles compute from? */
static inline bool ant_dsp_is_direct(const struct ant_dsp *dsp,
                                     const struct ant_panel_format *format)
{
    return format->plane == ANT_PLANE_F32 || (dsp->is_bf16 && format->plane == ANT_PLANE_BF16);
}

#endif
