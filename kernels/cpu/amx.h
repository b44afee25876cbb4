/* SPDX-License-Identifier: Apache-2.0 */
/* AMX tile instructions as inline assembly with memory operands: with gcc 12 the intrinsics do not
 * say that a tile instruction reads memory, and stores to what it reads are lost. Only for files
 * of the AMX level. */
#ifndef ANT_KERNELS_CPU_AMX_H
#define ANT_KERNELS_CPU_AMX_H

#include <stddef.h>
#include <stdint.h>

/* What ldtilecfg loads: of each of 8 registers, bytes of a row and rows. */
struct ant_amx_config {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
};

/* How registers are set between tile_begin and tile_end. */
static const struct ant_amx_config ant_amx_usual = {
    .palette = 1,
    .row_bytes = {64, 64, 64, 64, 64, 64, 64, 64},
    .rows = {16, 16, 16, 16, 16, 16, 16, 16},
};

#ifdef ANT_AMX_EMULATED /* tests on machines without AMX: tiles in memory, tests/emulated/amx.c */

void ant_amx_emulate_configure(const struct ant_amx_config *config);
void ant_amx_emulate_release(void);
void ant_amx_emulate_zero(int tile);
void ant_amx_emulate_load(int tile, const void *at, size_t stride);
void ant_amx_emulate_store(int tile, void *at, size_t stride);
void ant_amx_emulate_bf16(int sum, int rows, int panel);
void ant_amx_emulate_int8(int sum, int rows, int panel);

#define ANT_AMX_CONFIGURE(config)      ant_amx_emulate_configure(&(config))
#define ANT_AMX_RELEASE()              ant_amx_emulate_release()
#define ANT_AMX_ZERO(t)                ant_amx_emulate_zero(t)
#define ANT_AMX_LOAD(t, at, by)        ant_amx_emulate_load(t, at, (size_t)(by))
#define ANT_AMX_STORE(t, at, by)       ant_amx_emulate_store(t, at, (size_t)(by))
#define ANT_AMX_BF16(sum, rows, panel) ant_amx_emulate_bf16(sum, rows, panel)
#define ANT_AMX_INT8(sum, rows, panel) ant_amx_emulate_int8(sum, rows, panel)

#else

#define ANT_AMX_CONFIGURE(config) __asm__ volatile("ldtilecfg %0" : : "m"(config))
#define ANT_AMX_RELEASE()         __asm__ volatile("tilerelease" : : : "memory")
#define ANT_AMX_ZERO(t)           __asm__ volatile("tilezero %%tmm" #t : :)
#define ANT_AMX_LOAD(t, at, by)                                                                    \
    __asm__ volatile("tileloadd (%0,%1,1), %%tmm" #t : : "r"(at), "r"((size_t)(by)) : "memory")
#define ANT_AMX_STORE(t, at, by)                                                                   \
    __asm__ volatile("tilestored %%tmm" #t ", (%0,%1,1)"                                           \
                     :                                                                             \
                     : "r"(at), "r"((size_t)(by))                                                  \
                     : "memory")
/* sum += rows * panel, of bfloat16 or of signed bytes */
#define ANT_AMX_BF16(sum, rows, panel)                                                             \
    __asm__ volatile("tdpbf16ps %%tmm" #panel ", %%tmm" #rows ", %%tmm" #sum : : : "memory")
#define ANT_AMX_INT8(sum, rows, panel)                                                             \
    __asm__ volatile("tdpbssd %%tmm" #panel ", %%tmm" #rows ", %%tmm" #sum : : : "memory")

#endif

#endif
