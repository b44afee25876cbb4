/* SPDX-License-Identifier: Apache-2.0 */
/* What the decode kernels and those of shared chunks have in common: where a row's output goes, or
 * its partial result, and how the block that finishes a sequence last merges its chunks. */
#ifndef ANT_ATTN_PARTS_CUH
#define ANT_ATTN_PARTS_CUH

#include "cuda/attn_tile.cuh"

__device__ __forceinline__ uint32_t *output(const kern_attn &args, const kern_attn_item &item,
                                            int kv_head, int row, int column)
{
    int group = args.heads / args.kv_heads;
    return (uint32_t *)(args.out + (size_t)(item.row + row / group) * args.out_stride +
                        (kv_head * group + row % group) * args.head_dim + column);
}

/* Scores of a tile in shared memory, of 16 rows: each of four warps puts those of 16 keys there. */
constexpr int SCORE_STRIDE = TILE_KEYS + 8; /* eight rows of float2 without bank conflict */

/* `to`: of the thread's first row, its first column of the warp's 16. */
__device__ __forceinline__ void put_scores(float *to, const float (&s)[2][4])
{
#pragma unroll
    for (int n = 0; n < 2; n++) {
        *(float2 *)(to + 8 * n) = make_float2(s[n][0], s[n][1]);
        *(float2 *)(to + 8 * n + 8 * SCORE_STRIDE) = make_float2(s[n][2], s[n][3]);
    }
}

__device__ __forceinline__ void read_scores(float (&s)[8][4], const float *scores, int lane)
{
    const float *from = scores + (lane >> 2) * SCORE_STRIDE + 2 * (lane & 3);

#pragma unroll
    for (int n = 0; n < 8; n++) {
        float2 low = *(const float2 *)(from + 8 * n);
        float2 high = *(const float2 *)(from + 8 * n + 8 * SCORE_STRIDE);
        s[n][0] = low.x;
        s[n][1] = low.y;
        s[n][2] = high.x;
        s[n][3] = high.y;
    }
}

/* The keys that a thread's two rows see: [from[h], to[h]). `oldest`: position of the item's first
 * token row; group: its rows of a token. */
__device__ __forceinline__ void see_rows(int (&from)[2], int (&to)[2], const kern_attn &args,
                                         const kern_attn_item &item, int oldest, int group,
                                         int lane)
{
    for (int h = 0; h < 2; h++) {
        int position = oldest + min((lane >> 2) + 8 * h, item.n_rows * group - 1) / group;
        to[h] = position + 1;
        from[h] = args.window ? position + 1 - args.window : 0;
    }
}

/* Merge the chunks of a sequence in ascending order; four columns a thread. Values are multiples of
 * `unit`. */
template <int D>
__device__ __forceinline__ void merge_parts(const kern_attn &args, const kern_attn_item &item,
                                            int kv_head, float c, float unit = 1)
{
    int n_rows = item.n_rows * (args.heads / args.kv_heads);

    for (int i = threadIdx.x; i < n_rows * (D / 4); i += blockDim.x) {
        int row = i / (D / 4), column = i % (D / 4) * 4;
        float max = -INFINITY, sum = 0, a, b;
        float4 out = {};
#pragma unroll 4
        for (int k = 0; k < item.n_parts; k++) {
            int part = (item.part_first + k) * args.kv_heads + kv_head;
            float2 state = __ldcg(partial_state<D>(args, part) + row);
            float4 x = __ldcg((const float4 *)(partial_values<D>(args, part) + row * D + column));
            merge_chunk(max, sum, state.x, state.y, c, a, b);
            out.x = merge_value(out.x, x.x, a, b);
            out.y = merge_value(out.y, x.y, a, b);
            out.z = merge_value(out.z, x.z, a, b);
            out.w = merge_value(out.w, x.w, a, b);
        }
        float r = __fmul_rn(__frcp_rn(sum), unit);
        *(uint2 *)output(args, item, kv_head, row, column) =
            make_uint2(pack_bf16(out.x * r, out.y * r), pack_bf16(out.z * r, out.w * r));
    }
}

/* True in all threads of the block that finishes the sequence. */
__device__ __forceinline__ bool arrive_last(const kern_attn &args, const kern_attn_item &item,
                                            int kv_head, int *flag)
{
    __threadfence();
    __syncthreads();
    if (threadIdx.x == 0) {
        int32_t *arrived = args.arrived + item.part_first * args.kv_heads + kv_head;
        *flag = atomicAdd(arrived, 1) == item.n_own - 1;
        if (*flag)
            *arrived = 0;
        __threadfence();
    }
    __syncthreads();
    return *flag;
}

/* The members of a shared chunk's item: token row and partial result of each. */
__device__ __forceinline__ const int2 *members_of(const kern_attn &args, const kern_attn_item &item)
{
    return (const int2 *)(args.pages + item.first);
}

/* A shared chunk's results of rows `row` and row + 8 of its item. */
template <int D>
__device__ __forceinline__ void store_members(const kern_attn &args, const kern_attn_item &item,
                                              int kv_head, const float (&out)[D / 8][4],
                                              const attn_state &state, int row, int lane)
{
    int group = args.heads / args.kv_heads;

#pragma unroll
    for (int h = 0; h < 2; h++) {
        int r = row + 8 * h;
        if (r >= item.n_rows * group)
            continue;
        int part = members_of(args, item)[r / group].y * args.kv_heads + kv_head;
        float *to = partial_values<D>(args, part) + r % group * D + 2 * (lane & 3);
#pragma unroll
        for (int n = 0; n < D / 8; n++)
            __stcg((float2 *)(to + 8 * n), make_float2(out[n][2 * h], out[n][2 * h + 1]));
        if ((lane & 3) == 0)
            __stcg(partial_state<D>(args, part) + r % group,
                   make_float2(state.max[h], state.sum[h]));
    }
}

#endif
