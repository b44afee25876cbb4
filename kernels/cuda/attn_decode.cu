/* SPDX-License-Identifier: Apache-2.0 */
/* Decode attention: few query rows against a long paged cache.
 *
 *   out[row] = softmax(scale q[row] K^T) V          over the row's own context
 *
 * One block takes one item, a chunk of 512 keys of one sequence, for one kv
 * head; its at most 16 (token, head) rows fill one mma. The four warps share
 * the tiles: each computes the scores of 16 of a tile's 64 keys, all of them
 * the probabilities, and each D/4 of the output columns, so that the order of
 * every sum is that of attn_tile.cuh. The block that finishes a sequence last
 * merges its chunks in order.
 *
 * Bound by memory: 4 * D bytes a key and kv head, 4 * group flop a byte.
 * Measured on an H100: 93 to 98 % of copy bandwidth for 256 sequences of 256 to
 * 4096 tokens (D 128, group 4), 81 to 84 % for D 64 (BENCHMARKS).
 */
#include "cuda/attn_tile.cuh"

namespace
{

constexpr int WARPS = 4, THREADS = 32 * WARPS;
constexpr int SCORE_STRIDE = TILE_KEYS + 8; /* eight rows of float2 without bank conflict */

/* DEEP: for so few items that a multiprocessor has one at most. What counts then is not how much is
 * in flight on the device but how early each tile is asked for. */
template <int D, bool DEEP> struct config {
    static constexpr int TILE_BYTES = TILE_KEYS * D * 2;
    static constexpr int STAGES = DEEP ? (D == 128 ? 6 : 8) : D == 128 ? 2 : 3;
    static constexpr int STAGE_BYTES = 2 * TILE_BYTES;
    static constexpr int SCORES = STAGES * STAGE_BYTES;
    static constexpr int SMEM_BYTES = SCORES + KERN_DECODE_ROWS * SCORE_STRIDE * 4 + 128;
};

/* Scores of the warp's 16 keys, to shared memory. */
template <int D>
__device__ __forceinline__ void warp_scores(float *scores, uint32_t k_tile,
                                            const uint32_t (&q)[D / 16][4], int warp, int lane)
{
    float s[2][4] = {};
    int row = 16 * warp + (lane & 7) + ((lane >> 4) << 3), unit = (lane >> 3) & 1;

#pragma unroll
    for (int k = 0; k < D / 16; k++) {
        uint32_t b[4];
        load_matrices(b, k_tile + tile_offset<D>(row, 2 * k + unit));
        mma(s[0], q[k], b[0], b[1]);
        mma(s[1], q[k], b[2], b[3]);
    }
    float *to = scores + (lane >> 2) * SCORE_STRIDE + 16 * warp + 2 * (lane & 3);
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

/* out (16 x D/4 of the warp) += P V */
template <int D>
__device__ __forceinline__ void warp_values(float (&out)[D / 32][4], uint32_t v_tile,
                                            const float (&p)[8][4], int warp, int lane)
{
    int row = (lane & 7) + (((lane >> 3) & 1) << 3), unit = warp * (D / 32) + (lane >> 4);

#pragma unroll
    for (int k = 0; k < TILE_KEYS / 16; k++) {
        uint32_t a[4];
        pack_probabilities(a, p, k);
#pragma unroll
        for (int n = 0; n < D / 32; n += 2) {
            uint32_t b[4];
            load_matrices_transposed(b, v_tile + tile_offset<D>(16 * k + row, unit + n));
            mma(out[n], a, b[0], b[1]);
            mma(out[n + 1], a, b[2], b[3]);
        }
    }
}

__device__ __forceinline__ uint32_t *output(const kern_attn &args, const kern_attn_item &item,
                                            int kv_head, int row, int column)
{
    int group = args.heads / args.kv_heads;
    return (uint32_t *)(args.out + (size_t)(item.row + row / group) * args.out_stride +
                        (kv_head * group + row % group) * args.head_dim + column);
}

/* Merge the chunks of a sequence in ascending order; four columns a thread. */
template <int D>
__device__ __forceinline__ void merge_parts(const kern_attn &args, const kern_attn_item &item,
                                            int kv_head, float c)
{
    int n_rows = item.n_rows * (args.heads / args.kv_heads);

    for (int i = threadIdx.x; i < n_rows * (D / 4); i += THREADS) {
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
        float r = __frcp_rn(sum);
        *(uint2 *)output(args, item, kv_head, row, column) =
            make_uint2(pack_bf16(out.x * r, out.y * r), pack_bf16(out.z * r, out.w * r));
    }
}

/* Write a chunk's result: final when it is the only one of its sequence. */
template <int D>
__device__ __forceinline__ void store_chunk(const kern_attn &args, const kern_attn_item &item,
                                            int kv_head, const float (&out)[D / 32][4],
                                            const attn_state &state, int warp, int lane)
{
    int n_rows = item.n_rows * (args.heads / args.kv_heads);
    int part = item.part * args.kv_heads + kv_head;

#pragma unroll
    for (int h = 0; h < 2; h++) {
        int row = (lane >> 2) + 8 * h, column = warp * (D / 4) + 2 * (lane & 3);
        if (row >= n_rows)
            continue;
        float r = __frcp_rn(state.sum[h]);
#pragma unroll
        for (int n = 0; n < D / 32; n++) {
            float x = out[n][2 * h], y = out[n][2 * h + 1];
            if (item.n_parts == 1) /* adding 0 makes -0 what a merge would make it */
                *output(args, item, kv_head, row, column + 8 * n) =
                    pack_bf16((x + 0.0f) * r, (y + 0.0f) * r);
            else
                __stcg((float2 *)(partial_values<D>(args, part) + row * D + column + 8 * n),
                       make_float2(x, y));
        }
        if (item.n_parts > 1 && warp == 0 && (lane & 3) == 0)
            __stcg(partial_state<D>(args, part) + row, make_float2(state.max[h], state.sum[h]));
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

template <int D, bool DEEP>
__device__ __forceinline__ void do_item(const kern_attn &args, const kern_attn_item &item,
                                        int kv_head, char *smem)
{
    using C = config<D, DEEP>;
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    float *scores = (float *)(smem + C::SCORES);
    int *flag = (int *)(scores + KERN_DECODE_ROWS * SCORE_STRIDE);
    uint32_t stages = smem_address(smem);
    float c = args.scale * 1.44269504f;
    int group = args.heads / args.kv_heads;
    int oldest = item.context - item.n_rows; /* position of the first token row */
    int tile = 0, n_tiles = (min(item.context - item.first, KERN_CHUNK_KEYS) + TILE_KEYS - 1) / 64;
    int to[2], from[2], from_last = args.window ? item.context - args.window : 0;
    uint32_t q[D / 16][4];
    float out[D / 32][4] = {};
    attn_state state = attn_state_empty();

    if (args.window)
        tile = max(0, oldest + 1 - args.window - item.first) / TILE_KEYS;
    auto load = [&](int t) {
        if (t < n_tiles) {
            int key = item.first + t * TILE_KEYS;
            const int32_t *pages = args.pages + item.page + key / KERN_PAGE_TOKENS;
            uint32_t stage = stages + t % C::STAGES * C::STAGE_BYTES;
            tile_load<D, THREADS>(stage, args.k_cache, pages, item.context - key, kv_head,
                                  args.kv_heads);
            tile_load<D, THREADS>(stage + C::TILE_BYTES, args.v_cache, pages, item.context - key,
                                  kv_head, args.kv_heads);
        }
        copy_commit();
    };
    for (int i = 0; i < C::STAGES - 1; i++)
        load(tile + i);
    load_query<D>(q, args, item.row, kv_head, lane >> 2, item.n_rows * group);
    for (int h = 0; h < 2; h++) {
        int position = oldest + min((lane >> 2) + 8 * h, item.n_rows * group - 1) / group;
        to[h] = position + 1;
        from[h] = args.window ? position + 1 - args.window : 0;
    }
    for (; tile < n_tiles; tile++) {
        uint32_t k_tile = stages + tile % C::STAGES * C::STAGE_BYTES;
        int key = item.first + tile * TILE_KEYS;
        float p[8][4], factor[2];

        copy_wait<C::STAGES - 2>();
        __syncthreads();
        load(tile + C::STAGES - 1);
        warp_scores<D>(scores, k_tile, q, warp, lane);
        __syncthreads();
        read_scores(p, scores, lane);
        if (key + TILE_KEYS > oldest + 1 || key < from_last)
            mask_tile(p, key + 2 * (lane & 3), from, to);
        softmax_tile(p, state, factor, c);
#pragma unroll
        for (int n = 0; n < D / 32; n++)
#pragma unroll
            for (int i = 0; i < 4; i++)
                out[n][i] = __fmul_rn(out[n][i], factor[i >> 1]);
        warp_values<D>(out, k_tile + C::TILE_BYTES, p, warp, lane);
    }
    row_sums(state);
    store_chunk<D>(args, item, kv_head, out, state, warp, lane);
    if (item.n_parts > 1 && arrive_last(args, item, kv_head, flag))
        merge_parts<D>(args, item, kv_head, c);
}

template <int D, bool DEEP>
__global__ void __launch_bounds__(THREADS) decode(const __grid_constant__ kern_attn args)
{
    extern __shared__ __align__(128) char smem[];
    int n_items = args.count ? *args.count : args.n_items;

    start_next();
    wait_before();

    for (int i = blockIdx.x; i < n_items * args.kv_heads; i += gridDim.x) {
        kern_attn_item item = args.items[i / args.kv_heads];
        do_item<D, DEEP>(args, item, i % args.kv_heads, smem);
        __syncthreads();
    }
}

template <int D, bool DEEP>
cudaError_t launch_blocks(const kern_attn &args, int n, cudaStream_t stream)
{
    constexpr int BYTES = config<D, DEEP>::SMEM_BYTES;
    cudaError_t e =
        cudaFuncSetAttribute(decode<D, DEEP>, cudaFuncAttributeMaxDynamicSharedMemorySize, BYTES);
    if (e != cudaSuccess)
        return e;
    return launch_early(decode<D, DEEP>, n, THREADS, BYTES, stream, args);
}

template <int D> cudaError_t launch(const kern_attn &args, cudaStream_t stream)
{
    int n = args.n_items * args.kv_heads;

    /* Only Hopper has shared memory for so many stages. */
    if (n <= device_property(cudaDevAttrMultiProcessorCount) &&
        config<D, true>::SMEM_BYTES <= device_property(cudaDevAttrMaxSharedMemoryPerBlockOptin))
        return launch_blocks<D, true>(args, n, stream);
    if (args.max_ctas > 0 && n > args.max_ctas)
        n = args.max_ctas;
    return launch_blocks<D, false>(args, n, stream);
}

} // namespace

size_t kern_attn_partial_bytes(int n_partials, int kv_heads, int head_dim)
{
    return (size_t)n_partials * kv_heads * KERN_DECODE_ROWS * (head_dim + 2) * sizeof(float);
}

cudaError_t kern_attn_decode(struct kern_attn args, cudaStream_t stream)
{
    if (args.heads % args.kv_heads || args.heads / args.kv_heads > KERN_MAX_GROUP)
        return cudaErrorInvalidValue;
    if (args.n_items == 0)
        return cudaSuccess;
    switch (args.head_dim) {
    case 64:
        return launch<64>(args, stream);
    case 128:
        return launch<128>(args, stream);
    }
    return cudaErrorInvalidValue;
}
