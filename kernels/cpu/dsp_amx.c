/* SPDX-License-Identifier: Apache-2.0 */
/* AMX with BF16: what AVX-512 does, but for the product of bfloat16 tiles: 16 rows by 16 columns
 * by 32 k an instruction. A block of a panel is one tile as it lies.
 *
 * Inline assembly with memory operands: with gcc 12 the intrinsics do not say that a tile
 * instruction reads memory, and stores to what it reads are lost. A tile is 2 x 2 registers of
 * sums (32 rows by 2 panels), 2 of rows and 2 of panels; rows beyond the last are computed from
 * what lies behind (ANT_ROW_PAD) in a buffer of their own and dropped. */
#include "config.h"

#include "cpu/dsp.h"

#include <string.h>

enum { TILE_BYTES = 1024, TILE_ROWS = 16 };

struct tile_config {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
};

static void tile_begin_amx(void)
{
    static const struct tile_config config = {
        .palette = 1,
        .row_bytes = {64, 64, 64, 64, 64, 64, 64, 64},
        .rows = {16, 16, 16, 16, 16, 16, 16, 16},
    };
    __asm__ volatile("ldtilecfg %0" : : "m"(config));
}

static void tile_end_amx(void)
{
    __asm__ volatile("tilerelease" : : : "memory");
}

/* Registers: 0-3 sums (rows, panel): 00 01 10 11; 4-5 rows; 6-7 panels. */
#define ZERO(t) __asm__ volatile("tilezero %%tmm" #t : :)
#define LOAD(t, at, stride)                                                                        \
    __asm__ volatile("tileloadd (%0,%1,1), %%tmm" #t                                               \
                     :                                                                             \
                     : "r"(at), "r"((size_t)(stride))                                              \
                     : "memory")
#define STORE(t, at, stride)                                                                       \
    __asm__ volatile("tilestored %%tmm" #t ", (%0,%1,1)"                                           \
                     :                                                                             \
                     : "r"(at), "r"((size_t)(stride))                                              \
                     : "memory")
#define PRODUCT(sum, rows, panel)                                                                  \
    __asm__ volatile("tdpbf16ps %%tmm" #panel ", %%tmm" #rows ", %%tmm" #sum : : : "memory")

enum { ACC_BYTES = ANT_TILE_COLS * sizeof(float) };

static void fetch(const uint8_t *b0, const uint8_t *b1, ptrdiff_t ahead, int block)
{
    for (int i = 0; ahead && i < TILE_BYTES; i += 64) {
        __builtin_prefetch(b0 + TILE_BYTES * (size_t)block + i + ahead, 0, 2);
        __builtin_prefetch(b1 + TILE_BYTES * (size_t)block + i + ahead, 0, 2);
    }
}

static void two_tiles(const uint8_t *a, size_t row_bytes, const uint8_t *b0, const uint8_t *b1,
                      int blocks, float *acc, bool first, ptrdiff_t ahead)
{
    const uint8_t *low = a + TILE_ROWS * row_bytes;
    float *acc1 = acc + TILE_ROWS * ANT_TILE_COLS;
    if (first) {
        ZERO(0);
        ZERO(1);
        ZERO(2);
        ZERO(3);
    } else {
        LOAD(0, acc, ACC_BYTES);
        LOAD(1, acc + 16, ACC_BYTES);
        LOAD(2, acc1, ACC_BYTES);
        LOAD(3, acc1 + 16, ACC_BYTES);
    }
    for (int i = 0; i < blocks; i++) {
        fetch(b0, b1, ahead, i);
        LOAD(4, a + 64 * (size_t)i, row_bytes);
        LOAD(6, b0 + TILE_BYTES * (size_t)i, 64);
        LOAD(7, b1 + TILE_BYTES * (size_t)i, 64);
        LOAD(5, low + 64 * (size_t)i, row_bytes);
        PRODUCT(0, 4, 6);
        PRODUCT(1, 4, 7);
        PRODUCT(2, 5, 6);
        PRODUCT(3, 5, 7);
    }
    STORE(0, acc, ACC_BYTES);
    STORE(1, acc + 16, ACC_BYTES);
    STORE(2, acc1, ACC_BYTES);
    STORE(3, acc1 + 16, ACC_BYTES);
}

static void one_tile(const uint8_t *a, size_t row_bytes, const uint8_t *b0, const uint8_t *b1,
                     int blocks, float *acc, bool first, ptrdiff_t ahead)
{
    if (first) {
        ZERO(0);
        ZERO(1);
    } else {
        LOAD(0, acc, ACC_BYTES);
        LOAD(1, acc + 16, ACC_BYTES);
    }
    for (int i = 0; i < blocks; i++) {
        fetch(b0, b1, ahead, i);
        LOAD(4, a + 64 * (size_t)i, row_bytes);
        LOAD(6, b0 + TILE_BYTES * (size_t)i, 64);
        LOAD(7, b1 + TILE_BYTES * (size_t)i, 64);
        PRODUCT(0, 4, 6);
        PRODUCT(1, 4, 7);
    }
    STORE(0, acc, ACC_BYTES);
    STORE(1, acc + 16, ACC_BYTES);
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
    LOAD(4, zeros, 64);
    LOAD(6, zeros, 64);
    ZERO(0);
    ZERO(1);
    ZERO(2);
    ZERO(3);
    for (int t = 0; t < turns; t++) {
        PRODUCT(0, 4, 6);
        PRODUCT(1, 4, 6);
        PRODUCT(2, 4, 6);
        PRODUCT(3, 4, 6);
    }
    STORE(0, zeros, 64);
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
}
