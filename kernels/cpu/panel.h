/* SPDX-License-Identifier: Apache-2.0 */
/* The one packed form of weights and cache pages that every instruction-set level computes from.
 *
 * A matrix (rows, k) is cut into panels of 16 rows; a panel is a sequence of blocks of 32 k.
 *
 * A block of floats stands in pair order: for each pair of neighbouring k, the 16 rows, each with
 * its two values. That is what a bf16 dot instruction and an AMX tile want, and float levels only
 * have to add two lanes at the end. A block of quantized weights stands in quad order: for each
 * four k the 16 rows, each with its four integers, a vector of 64 bytes; that is what 8-bit dot
 * instructions want. Integers are unsigned and keep their bits: the nibbles of vectors 0 to 3 lie
 * in the low halves of 256 bytes, those of 4 to 7 in the high halves; a fifth bit of vector v is
 * bit v of a plane of 64 bytes, two more bits are bits 2 (v % 4) of the v / 4th of two such planes.
 * A block's scales follow its planes. Formats with superblocks of 256 keep the superblocks'
 * half-precision scales at the panel's head. Nothing is rounded: unpacking gives what
 * ant_dequantize gives.
 *
 * Rows and k that a matrix lacks are zero. Thread: any; no state. */
#ifndef ANT_KERNELS_CPU_PANEL_H
#define ANT_KERNELS_CPU_PANEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "model/tensor.h"

enum {
    ANT_PANEL_ROWS = 16,
    ANT_PANEL_K = 32,        /* k of a block */
    ANT_PANEL_ELEMENTS = 512 /* of a block: 16 pairs of 32 */
};

enum ant_plane {
    ANT_PLANE_F32,
    ANT_PLANE_F16,
    ANT_PLANE_BF16,
    ANT_PLANE_Q8, /* bytes */
    ANT_PLANE_Q4, /* nibbles */
    ANT_PLANE_Q5, /* nibbles, then a plane of one bit */
    ANT_PLANE_Q6, /* nibbles, then a plane of two bits */
};

struct ant_panel_format {
    enum ant_plane plane;
    bool is_super; /* block scales are small integers, times the superblock's half floats */
    bool has_min;  /* value = scale * q + offset; else scale * (q - bias) */
    int groups;    /* scales of a row in a block: 0 for floats, 1, or 2 (16 k each) */
    int bias;
    int plane_bytes, block_bytes, super_bytes;
};
extern const struct ant_panel_format ant_panel_formats[ANT_N_TYPES];

/* One panel in memory. */
struct ant_panel {
    const struct ant_panel_format *format;
    const uint8_t *super;  /* (blocks / 8) */
    const uint8_t *blocks; /* (blocks) */
};

static inline int ant_panel_blocks(int64_t k)
{
    return (int)((k + ANT_PANEL_K - 1) / ANT_PANEL_K);
}

static inline size_t ant_panel_super_bytes(const struct ant_panel_format *format, int n_blocks)
{
    return (size_t)((n_blocks + 7) / 8) * (size_t)format->super_bytes;
}

/* Bytes from one panel to the next. */
static inline size_t ant_panel_bytes(const struct ant_panel_format *format, int n_blocks)
{
    size_t bytes =
        ant_panel_super_bytes(format, n_blocks) + (size_t)n_blocks * (size_t)format->block_bytes;
    return (bytes + 63) / 64 * 64;
}

static inline struct ant_panel ant_panel_at(const struct ant_panel_format *format,
                                            const uint8_t *panels, int n_blocks, int64_t index)
{
    const uint8_t *panel = panels + (size_t)index * ant_panel_bytes(format, n_blocks);
    return (struct ant_panel){format, panel, panel + ant_panel_super_bytes(format, n_blocks)};
}

/* Pack `n_rows` (at most 16) rows of `k` elements of a type, as they lie in a model file, into one
 * panel. */
void ant_panel_pack(enum ant_type type, const void *rows, int n_rows, int64_t k, uint8_t *panel);

/* Block `block` of a panel as scales and offsets of its 16 rows, by group. */
void ant_panel_scales(const struct ant_panel *panel, int block, float scale[2][16],
                      float offset[2][16]);

/* Row `row` of a panel as k floats. */
void ant_panel_row(const struct ant_panel *panel, int row, int64_t k, float *out);

/* The integers of a block, bias and all, in quad order. For the levels without vectors. */
void ant_panel_values(const struct ant_panel *panel, int block, uint8_t values[ANT_PANEL_ELEMENTS]);

#endif
