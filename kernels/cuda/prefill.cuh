/* SPDX-License-Identifier: Apache-2.0 */
/* What the two prefill kernels share: which keys the rows of an item see, and
 * where their outputs go. */
#ifndef ANT_PREFILL_CUH
#define ANT_PREFILL_CUH

#include "cuda/attn_tile.cuh"

/* The kernels of Hopper: of prompts, and of shared chunks. */
cudaError_t prefill_launch90(const kern_attn &args, cudaStream_t stream);
cudaError_t shared_launch90(const kern_attn &args, cudaStream_t stream);

static inline bool prefill_is90(const kern_attn &args)
{
    return runs_sm90a() && args.head_dim <= 128 && args.softcap == 0 && !args.no_wgmma;
}

/* Keys seen by a thread's two rows, by all and by some of its warp's (or warpgroup's) rows. */
struct prefill_rows {
    int from[2], to[2];
    int all_from, all_to, any_from, any_to;
};

/* Tiles of keys that an item needs. */
struct prefill_tiles {
    int from, to;
};

/* One beyond the last key that a (token, head) row sees; rows beyond the item's last are as it. */
__device__ __forceinline__ int prefill_to(const kern_attn &args, const kern_attn_item &item,
                                          int row)
{
    int group = args.heads / args.kv_heads;
    return item.context - item.n_rows + min(row, item.n_rows * group - 1) / group + 1;
}

__device__ __forceinline__ int prefill_from(const kern_attn &args, const kern_attn_item &item,
                                            int row)
{
    return args.window ? max(0, prefill_to(args, item, row) - args.window) : 0;
}

__device__ __forceinline__ prefill_tiles prefill_block_tiles(const kern_attn &args,
                                                             const kern_attn_item &item)
{
    int to = prefill_to(args, item, item.first + KERN_PREFILL_ROWS - 1);
    return {prefill_from(args, item, item.first) / TILE_KEYS, (to + TILE_KEYS - 1) / TILE_KEYS};
}

/* Limits over `n` rows from `first` on. */
__device__ __forceinline__ void prefill_group_limits(const kern_attn &args,
                                                     const kern_attn_item &item, int first, int n,
                                                     prefill_rows &r)
{
    r.all_from = prefill_from(args, item, first + n - 1);
    r.all_to = prefill_to(args, item, first);
    r.any_from = prefill_from(args, item, first);
    r.any_to = prefill_to(args, item, first + n - 1);
}

/* The rows of a warp's 16 from `first` on that this thread has. */
__device__ __forceinline__ prefill_rows prefill_see(const kern_attn &args,
                                                    const kern_attn_item &item, int first, int lane)
{
    prefill_rows r;

    for (int h = 0; h < 2; h++) {
        r.from[h] = prefill_from(args, item, first + (lane >> 2) + 8 * h);
        r.to[h] = prefill_to(args, item, first + (lane >> 2) + 8 * h);
    }
    prefill_group_limits(args, item, first, 16, r);
    return r;
}

/* Outputs of rows `row` and row + 8, divided by their sums; 8 N columns from 8 `first` on. */
template <int D, int N = D / 8>
__device__ __forceinline__ void prefill_store(const kern_attn &args, const kern_attn_item &item,
                                              int kv_head, const float (&out)[N][4],
                                              const attn_state &total, int row, int lane,
                                              int first = 0)
{
    int group = args.heads / args.kv_heads;

#pragma unroll
    for (int h = 0; h < 2; h++, row += 8) {
        if (row >= item.n_rows * group)
            continue;
        uint16_t *to = args.out + (size_t)(item.row + row / group) * args.out_stride +
                       (kv_head * group + row % group) * D + 8 * first + 2 * (lane & 3);
        float r = __frcp_rn(total.sum[h]);
#pragma unroll
        for (int n = 0; n < N; n++)
            *(uint32_t *)(to + 8 * n) = pack_bf16(out[n][2 * h] * r, out[n][2 * h + 1] * r);
    }
}

#endif
