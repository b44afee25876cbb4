/* SPDX-License-Identifier: Apache-2.0 */
/* 16 rows of a warp against a whole tile of keys, for the kernels in which every warp has rows of
 * its own. */
#ifndef ANT_ATTN_WARP_CUH
#define ANT_ATTN_WARP_CUH

#include "cuda/attn_tile.cuh"

/* s = q K^T of the tile. */
template <int D>
__device__ __forceinline__ void warp_scores(float (&s)[8][4], uint32_t k_tile,
                                            const uint32_t (&q)[D / 16][4], int lane)
{
    int row = (lane & 7) + ((lane >> 4) << 3), unit = (lane >> 3) & 1;

#pragma unroll
    for (int n = 0; n < 8; n++)
        s[n][0] = s[n][1] = s[n][2] = s[n][3] = 0;
#pragma unroll
    for (int k = 0; k < D / 16; k++) {
#pragma unroll
        for (int n = 0; n < 8; n += 2) {
            uint32_t b[4];
            load_matrices(b, k_tile + tile_offset<D>(8 * n + row, 2 * k + unit));
            mma(s[n], q[k], b[0], b[1]);
            mma(s[n + 1], q[k], b[2], b[3]);
        }
    }
}

/* out += P V of the tile, for 8 N columns from 8 `first` on. */
template <int D, int N = D / 8>
__device__ __forceinline__ void warp_values(float (&out)[N][4], uint32_t v_tile,
                                            const float (&p)[8][4], int lane, int first = 0)
{
    int row = (lane & 7) + (((lane >> 3) & 1) << 3), unit = first + (lane >> 4);

#pragma unroll
    for (int k = 0; k < TILE_KEYS / 16; k++) {
        uint32_t a[4];
        pack_probabilities(a, p, k);
#pragma unroll
        for (int n = 0; n < N; n += 2) {
            uint32_t b[4];
            load_matrices_transposed(b, v_tile + tile_offset<D>(16 * k + row, unit + n));
            mma(out[n], a, b[0], b[1]);
            mma(out[n + 1], a, b[2], b[3]);
        }
    }
}

template <int N> __device__ __forceinline__ void scale_rows(float (&out)[N][4], const float (&f)[2])
{
#pragma unroll
    for (int n = 0; n < N; n++)
#pragma unroll
        for (int i = 0; i < 4; i++)
            out[n][i] = __fmul_rn(out[n][i], f[i >> 1]);
}

/* Merge a chunk into the outputs so far, and make the chunk empty. */
template <int N>
__device__ __forceinline__ void merge_rows(float (&out)[N][4], attn_state &total,
                                           float (&chunk)[N][4], attn_state &state, float c)
{
    row_sums(state);
#pragma unroll
    for (int h = 0; h < 2; h++) {
        float a, b;
        merge_chunk(total.max[h], total.sum[h], state.max[h], state.sum[h], c, a, b);
#pragma unroll
        for (int n = 0; n < N; n++) {
#pragma unroll
            for (int i = 2 * h; i < 2 * h + 2; i++) {
                out[n][i] = merge_value(out[n][i], chunk[n][i], a, b);
                chunk[n][i] = 0;
            }
        }
    }
    state = attn_state_empty();
}

#endif
