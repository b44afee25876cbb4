/* SPDX-License-Identifier: Apache-2.0 */
/* The instructions of kernels/cpu/amx.h as Intel's manual (volume 2) defines them, bit for bit, so
 * that the level amx can be tested on any machine with AVX-512. What the CPU would refuse ends the
 * program. The registers are of the thread, as they are there. */
#include "config.h"

#include "cpu/amx.h"

#include <immintrin.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TILES = 8, ROWS = 16, ROW_BYTES = 64 };

static __thread struct ant_amx_config config; /* palette 0: none, nothing may be used */
static __thread uint8_t tiles[TILES][ROWS][ROW_BYTES];

static void must(bool condition, const char *what)
{
    if (condition)
        return;
    fprintf(stderr, "emulated AMX: %s\n", what);
    abort();
}

static void must_be_configured(int tile)
{
    must(config.palette == 1, "tiles without a configuration");
    must(config.rows[tile] > 0 && config.row_bytes[tile] > 0, "a tile that is not configured");
}

void ant_amx_emulate_configure(const struct ant_amx_config *wanted)
{
    for (int t = 0; t < 16; t++)
        must(t < TILES ? wanted->rows[t] <= ROWS && wanted->row_bytes[t] <= ROW_BYTES &&
                             (wanted->rows[t] == 0) == (wanted->row_bytes[t] == 0)
                       : wanted->rows[t] == 0 && wanted->row_bytes[t] == 0,
             "a configuration of impossible shapes");
    must(wanted->palette == 1 && wanted->start_row == 0, "a configuration of an unknown kind");
    config = *wanted;
    memset(tiles, 0, sizeof tiles);
}

void ant_amx_emulate_release(void)
{
    config = (struct ant_amx_config){0};
}

void ant_amx_emulate_zero(int tile)
{
    must_be_configured(tile);
    memset(tiles[tile], 0, sizeof tiles[tile]);
}

void ant_amx_emulate_load(int tile, const void *at, size_t stride)
{
    ant_amx_emulate_zero(tile);
    for (size_t r = 0; r < config.rows[tile]; r++)
        memcpy(tiles[tile][r], (const char *)at + r * stride, config.row_bytes[tile]);
}

void ant_amx_emulate_store(int tile, void *at, size_t stride)
{
    must_be_configured(tile);
    for (size_t r = 0; r < config.rows[tile]; r++)
        memcpy((char *)at + r * stride, tiles[tile][r], config.row_bytes[tile]);
}

/* A product's shapes: sum (m, n), rows (m, k), panel (k, n), elements of 4 bytes. */
static void must_fit(int sum, int rows, int panel)
{
    must(sum != rows && sum != panel && rows != panel, "a product of a tile with itself");
    must_be_configured(sum);
    must_be_configured(rows);
    must_be_configured(panel);
    must(config.rows[sum] == config.rows[rows] &&
             config.row_bytes[sum] == config.row_bytes[panel] &&
             config.row_bytes[rows] == 4 * config.rows[panel] && config.row_bytes[sum] % 4 == 0,
         "a product of tiles that do not fit");
}

static __m512i broadcast(int tile, int row, int element)
{
    int bits;
    memcpy(&bits, &tiles[tile][row][4 * element], sizeof bits);
    return _mm512_set1_epi32(bits);
}

static __mmask16 columns(int tile)
{
    return (__mmask16)((1u << config.row_bytes[tile] / 4) - 1);
}

/* The first and the second of a pair of bfloat16, as floats. */
static __m512 first_of(__m512i pair)
{
    return _mm512_castsi512_ps(_mm512_slli_epi32(pair, 16));
}

static __m512 second_of(__m512i pair)
{
    return _mm512_castsi512_ps(_mm512_and_si512(pair, _mm512_set1_epi32((int)0xffff0000)));
}

/* The first and the second of all pairs are summed up apart, each product added without rounding
 * it before, and then together to the sum. Always to nearest even, and what is denormal is zero,
 * coming and going, whatever MXCSR says. */
void ant_amx_emulate_bf16(int sum, int rows, int panel)
{
    const unsigned as_tiles_do =
        0x9fc0; /* no exceptions, to nearest, denormals are zero both ways */
    unsigned before = _mm_getcsr();
    must_fit(sum, rows, panel);
    _mm_setcsr(as_tiles_do);
    __asm__ volatile("" : : : "memory"); /* what is loaded behind this is computed behind it */
    for (int m = 0; m < config.rows[sum]; m++) {
        __m512 first = _mm512_setzero_ps(), second = first;
        for (int k = 0; k < config.rows[panel]; k++) {
            __m512i a = broadcast(rows, m, k), b = _mm512_loadu_si512(tiles[panel][k]);
            first = _mm512_fmadd_ps(first_of(a), first_of(b), first);
            second = _mm512_fmadd_ps(second_of(a), second_of(b), second);
        }
        float *to = (float *)(void *)tiles[sum][m];
        __m512 all = _mm512_add_ps(_mm512_loadu_ps(to), _mm512_add_ps(first, second));
        _mm512_storeu_ps(to, _mm512_maskz_mov_ps(columns(sum), all));
    }
    __asm__ volatile("" : : : "memory");
    _mm_setcsr(before);
}

/* Signed by signed bytes. The instruction at hand takes unsigned ones: 128 more than the panel's,
 * which adds 128 times the row's. */
void ant_amx_emulate_int8(int sum, int rows, int panel)
{
    const __m512i more = _mm512_set1_epi8((char)128);
    must_fit(sum, rows, panel);
    for (int m = 0; m < config.rows[sum]; m++) {
        __m512i all = _mm512_loadu_si512(tiles[sum][m]);
        for (int k = 0; k < config.rows[panel]; k++) {
            __m512i a = broadcast(rows, m, k), b = _mm512_loadu_si512(tiles[panel][k]);
            all = _mm512_dpbusd_epi32(all, _mm512_xor_si512(b, more), a);
            all = _mm512_sub_epi32(all, _mm512_dpbusd_epi32(_mm512_setzero_si512(), more, a));
        }
        _mm512_storeu_si512(tiles[sum][m], _mm512_maskz_mov_epi32(columns(sum), all));
    }
}
