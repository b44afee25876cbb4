/* SPDX-License-Identifier: Apache-2.0 */
/* What the two kernels for products of experts share. */
#ifndef ANT_GROUPED_CUH
#define ANT_GROUPED_CUH

#include "cuda/attn_tile.cuh"
#include "cuda/vec.cuh"

/* The kernel of Hopper, for tiles of 64 and 256 places; grouped.cu decides. */
cudaError_t grouped_launch90(const struct kern_grouped &args, cudaStream_t stream);

/* The input row of a tile's i-th place, NULL beyond its last. */
__device__ __forceinline__ const uint16_t *grouped_row(const struct kern_grouped &a,
                                                       const struct kern_tile &tile, int i)
{
    if (i >= tile.n_places)
        return NULL;
    int place = tile.place + i;
    return a.in + (size_t)(a.rows ? a.rows[place] : place) * a.k;
}

/* The gated activation of values rounded as if they had been stored. */
__device__ __forceinline__ float grouped_gate(const struct kern_grouped &a, float gate, float up)
{
    gate = __bfloat162float(__float2bfloat16_rn(gate));
    up = __bfloat162float(__float2bfloat16_rn(up));
    return a.is_gelu ? gelu_gated(gate, up) : gated(gate, up);
}

#endif
