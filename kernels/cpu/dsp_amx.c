/* SPDX-License-Identifier: Apache-2.0 */
/* AMX with BF16: what AVX-512 does, but for the product of bfloat16 tiles: 16 rows by 16 columns
 * by 32 k an instruction. A block of a panel is one tile as it lies. A tile of ours is 2 x 2
 * registers of sums (32 rows by 2 panels), 2 of rows and 2 of panels; rows beyond the last are
 * computed from what lies behind (ANT_ROW_PAD) in a buffer of their own and dropped. */
#include "config.h"

#include "cpu/amx.h"
#include "cpu/dsp.h"

#include <string.h>

enum { TILE_BYTES = 1024, TILE_ROWS = 16, ACC_BYTES = ANT_TILE_COLS * sizeof(float) };

static void tile_begin_amx(void)
{
    ANT_AMX_CONFIGURE(ant_amx_usual);
}

static void tile_end_amx(void)
{
    ANT_AMX_RELEASE();
}

/* Asks memory for a block of the panels that the next call will want. */
static void fetch(const uint8_t *b0, const uint8_t *b1, ptrdiff_t ahead, int block)
{
    for (int i = 0; ahead && i < TILE_BYTES; i += 64) {
        __builtin_prefetch(b0 + TILE_BYTES * (size_t)block + i + ahead, 0, 2);
        __builtin_prefetch(b1 + TILE_BYTES * (size_t)block + i + ahead, 0, 2);
    }
}

/* 32 rows by both panels, added to acc. Registers: 0-3 sums (rows, panel): 00 01 10 11; 4-5 rows;
 * 6-7 panels. */
static void two_tiles(const uint8_t *a, size_t row_bytes, const uint8_t *b0, const uint8_t *b1,
                      int blocks, float *acc, bool first, ptrdiff_t ahead)
{
    const uint8_t *low = a + TILE_ROWS * row_bytes;
    float *acc1 = acc + TILE_ROWS * ANT_TILE_COLS;
    if (first) {
        ANT_AMX_ZERO(0);
        ANT_AMX_ZERO(1);
        ANT_AMX_ZERO(2);
        ANT_AMX_ZERO(3);
    } else {
        ANT_AMX_LOAD(0, acc, ACC_BYTES);
        ANT_AMX_LOAD(1, acc + 16, ACC_BYTES);
        ANT_AMX_LOAD(2, acc1, ACC_BYTES);
        ANT_AMX_LOAD(3, acc1 + 16, ACC_BYTES);
    }
    for (int i = 0; i < blocks; i++) {
        fetch(b0, b1, ahead, i);
        ANT_AMX_LOAD(4, a + 64 * (size_t)i, row_bytes);
        ANT_AMX_LOAD(6, b0 + TILE_BYTES * (size_t)i, 64);
        ANT_AMX_LOAD(7, b1 + TILE_BYTES * (size_t)i, 64);
        ANT_AMX_LOAD(5, low + 64 * (size_t)i, row_bytes);
        ANT_AMX_BF16(0, 4, 6);
        ANT_AMX_BF16(1, 4, 7);
        ANT_AMX_BF16(2, 5, 6);
        ANT_AMX_BF16(3, 5, 7);
    }
    ANT_AMX_STORE(0, acc, ACC_BYTES);
    ANT_AMX_STORE(1, acc + 16, ACC_BYTES);
    ANT_AMX_STORE(2, acc1, ACC_BYTES);
    ANT_AMX_STORE(3, acc1 + 16, ACC_BYTES);
}

/* 16 rows by both panels, in the same registers. */
static void one_tile(const uint8_t *a, size_t row_bytes, const uint8_t *b0, const uint8_t *b1,
                     int blocks, float *acc, bool first, ptrdiff_t ahead)
{
    if (first) {
        ANT_AMX_ZERO(0);
        ANT_AMX_ZERO(1);
    } else {
        ANT_AMX_LOAD(0, acc, ACC_BYTES);
        ANT_AMX_LOAD(1, acc + 16, ACC_BYTES);
    }
    for (int i = 0; i < blocks; i++) {
        fetch(b0, b1, ahead, i);
        ANT_AMX_LOAD(4, a + 64 * (size_t)i, row_bytes);
        ANT_AMX_LOAD(6, b0 + TILE_BYTES * (size_t)i, 64);
        ANT_AMX_LOAD(7, b1 + TILE_BYTES * (size_t)i, 64);
        ANT_AMX_BF16(0, 4, 6);
        ANT_AMX_BF16(1, 4, 7);
    }
    ANT_AMX_STORE(0, acc, ACC_BYTES);
    ANT_AMX_STORE(1, acc + 16, ACC_BYTES);
}

static void tile_amx(int rows, const void *a, size_t lda, const void *b0, const void *b1, int pairs,
                     float *acc, bool first, ptrdiff_t ahead)
{
    const uint8_t *at = a;
    size_t row_bytes = 2 * lda;
    int blocks = pairs / 16;
    for (; rows >= 32; rows -= 32, at += 32 * row_bytes, acc += 32 * ANT_TILE_COLS)
        two_tiles(at, row_bytes, b0, b1, blocks, acc, first, ahead);
    if (rows >= 16) {
        one_tile(at, row_bytes, b0, b1, blocks, acc, first, ahead);
        rows -= 16;
        at += 16 * row_bytes;
        acc += 16 * ANT_TILE_COLS;
    }
    if (rows > 0) {
        float some[TILE_ROWS * ANT_TILE_COLS] __attribute__((aligned(64)));
        size_t bytes = (size_t)rows * ACC_BYTES;
        if (!first)
            memcpy(some, acc, bytes);
        one_tile(at, row_bytes, b0, b1, blocks, some, first, ahead);
        memcpy(acc, some, bytes);
    }
}

static double peak_amx(int turns, float *out)
{
    float zeros[TILE_ROWS * 16] __attribute__((aligned(64))) = {0};
    tile_begin_amx();
    ANT_AMX_LOAD(4, zeros, 64);
    ANT_AMX_LOAD(6, zeros, 64);
    ANT_AMX_ZERO(0);
    ANT_AMX_ZERO(1);
    ANT_AMX_ZERO(2);
    ANT_AMX_ZERO(3);
    for (int t = 0; t < turns; t++) {
        ANT_AMX_BF16(0, 4, 6);
        ANT_AMX_BF16(1, 4, 6);
        ANT_AMX_BF16(2, 4, 6);
        ANT_AMX_BF16(3, 4, 6);
    }
    ANT_AMX_STORE(0, zeros, 64);
    tile_end_amx();
    *out = zeros[0];
    return 4 * 2.0 * TILE_ROWS * 16 * 32 * turns;
}

void ant_dsp_init_amx(struct ant_dsp *dsp)
{
    dsp->name = "amx";
    dsp->tile_rows = 32;
    dsp->tile = tile_amx;
    dsp->tile_begin = tile_begin_amx;
    dsp->tile_end = tile_end_amx;
    dsp->peak = peak_amx;
    ant_quant_init_amx(dsp);
}
