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
#include "cuda/attn_parts.cuh"
#include "cuda/attn_warp.cuh"

namespace
{

constexpr int WARPS = 4, THREADS = 32 * WARPS;

template <int D> struct config {
    static constexpr int TILE_BYTES = TILE_KEYS * D * 2;
    static constexpr int STAGES = D == 64 ? 3 : 2;
    static constexpr int STAGE_BYTES = 2 * TILE_BYTES;
    static constexpr int SCORES = STAGES * STAGE_BYTES;
    static constexpr int SMEM_BYTES = SCORES + KERN_DECODE_ROWS * SCORE_STRIDE * 4 + 128;
};

/* Scores of the warp's 16 keys, to shared memory. */
template <int D>
__device__ __forceinline__ void quarter_scores(float *scores, uint32_t k_tile,
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
    put_scores(scores + (lane >> 2) * SCORE_STRIDE + 16 * warp + 2 * (lane & 3), s);
}

/* out (16 x D/4 of the warp) += P V */
template <int D>
__device__ __forceinline__ void quarter_values(float (&out)[D / 32][4], uint32_t v_tile,
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

/* Write a chunk's result, 8 N columns a warp: final when it is the only one of its sequence. */
template <int D, int N>
__device__ __forceinline__ void store_chunk(const kern_attn &args, const kern_attn_item &item,
                                            int kv_head, const float (&out)[N][4],
                                            const attn_state &state, int warp, int lane)
{
    int n_rows = item.n_rows * (args.heads / args.kv_heads);
    int part = item.part * args.kv_heads + kv_head;

#pragma unroll
    for (int h = 0; h < 2; h++) {
        int row = (lane >> 2) + 8 * h, column = warp * 8 * N + 2 * (lane & 3);
        if (row >= n_rows)
            continue;
        float r = __frcp_rn(state.sum[h]);
#pragma unroll
        for (int n = 0; n < N; n++) {
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

/* The merged chunks of a thread's two rows, 2 N columns each. */
template <int N> struct merged {
    float max[2], sum[2], x[N][4];
};

/* Add a chunk's results of row h. */
template <int N>
__device__ __forceinline__ void merge_next(merged<N> &m, int h, float2 state,
                                           const float2 (&values)[N], float c)
{
    float a, b;

    merge_chunk(m.max[h], m.sum[h], state.x, state.y, c, a, b);
#pragma unroll
    for (int n = 0; n < N; n++) {
        m.x[n][2 * h] = merge_value(m.x[n][2 * h], values[n].x, a, b);
        m.x[n][2 * h + 1] = merge_value(m.x[n][2 * h + 1], values[n].y, a, b);
    }
}

/* All chunks of a sequence but its last are shared: then their results are there when this kernel
 * begins, and are merged while the last one's keys are on their way. */
__device__ __forceinline__ bool is_last_alone(const kern_attn_item &item)
{
    return item.n_parts > 1 && item.n_own == 1;
}

template <int D, int N>
__device__ __forceinline__ void merge_shared(merged<N> &m, const kern_attn &args,
                                             const kern_attn_item &item, int kv_head, float c,
                                             int warp, int lane)
{
    int n_rows = item.n_rows * (args.heads / args.kv_heads);

#pragma unroll
    for (int h = 0; h < 2; h++) {
        int row = (lane >> 2) + 8 * h, column = warp * 8 * N + 2 * (lane & 3);
        m.max[h] = -INFINITY, m.sum[h] = 0;
#pragma unroll
        for (int n = 0; n < N; n++)
            m.x[n][2 * h] = m.x[n][2 * h + 1] = 0;
        for (int i = item.part_first; i < item.part && row < n_rows; i++) {
            int part = i * args.kv_heads + kv_head;
            const float *from = partial_values<D>(args, part) + row * D + column;
            float2 values[N];
#pragma unroll
            for (int n = 0; n < N; n++)
                values[n] = __ldcg((const float2 *)(from + 8 * n));
            merge_next(m, h, __ldcg(partial_state<D>(args, part) + row), values, c);
        }
    }
}

/* The last chunk joins them, as merge_parts() has it. */
template <int N>
__device__ __forceinline__ void store_merged(merged<N> &m, const kern_attn &args,
                                             const kern_attn_item &item, int kv_head,
                                             const float (&out)[N][4], const attn_state &state,
                                             float c, int warp, int lane)
{
    int n_rows = item.n_rows * (args.heads / args.kv_heads);

#pragma unroll
    for (int h = 0; h < 2; h++) {
        int row = (lane >> 2) + 8 * h, column = warp * 8 * N + 2 * (lane & 3);
        float2 values[N];
        if (row >= n_rows)
            continue;
#pragma unroll
        for (int n = 0; n < N; n++)
            values[n] = make_float2(out[n][2 * h], out[n][2 * h + 1]);
        merge_next(m, h, make_float2(state.max[h], state.sum[h]), values, c);
        float r = __frcp_rn(m.sum[h]);
#pragma unroll
        for (int n = 0; n < N; n++)
            *output(args, item, kv_head, row, column + 8 * n) =
                pack_bf16(m.x[n][2 * h] * r, m.x[n][2 * h + 1] * r);
    }
}

/* What becomes of a chunk's sums: its sequence's output, a partial result, or both. */
template <int D, int N>
__device__ __forceinline__ void finish_chunk(merged<N> &m, const kern_attn &args,
                                             const kern_attn_item &item, int kv_head,
                                             const float (&out)[N][4], const attn_state &state,
                                             float c, int *flag, int warp, int lane)
{
    if (is_last_alone(item)) {
        store_merged(m, args, item, kv_head, out, state, c, warp, lane);
        return;
    }
    store_chunk<D>(args, item, kv_head, out, state, warp, lane);
    if (item.n_parts > 1 && arrive_last(args, item, kv_head, flag))
        merge_parts<D>(args, item, kv_head, c);
}

template <int D>
__device__ __forceinline__ void do_item(const kern_attn &args, const kern_attn_item &item,
                                        int kv_head, char *smem)
{
    using C = config<D>;
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
    merged<D / 32> m;
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
    if (is_last_alone(item))
        merge_shared<D>(m, args, item, kv_head, c, warp, lane);
    see_rows(from, to, args, item, oldest, group, lane);
    for (; tile < n_tiles; tile++) {
        uint32_t k_tile = stages + tile % C::STAGES * C::STAGE_BYTES;
        int key = item.first + tile * TILE_KEYS;
        float p[8][4], factor[2];

        copy_wait<C::STAGES - 2>();
        __syncthreads();
        load(tile + C::STAGES - 1);
        quarter_scores<D>(scores, k_tile, q, warp, lane);
        __syncthreads();
        read_scores(p, scores, lane);
        if (args.softcap > 0)
            cap_tile(p, args);
        if (key + TILE_KEYS > oldest + 1 || key < from_last)
            mask_tile(p, key + 2 * (lane & 3), from, to);
        softmax_tile(p, state, factor, c);
        scale_rows(out, factor);
        quarter_values<D>(out, k_tile + C::TILE_BYTES, p, warp, lane);
    }
    row_sums(state);
    finish_chunk<D>(m, args, item, kv_head, out, state, c, flag, warp, lane);
}

template <int D>
__global__ void __launch_bounds__(THREADS) decode(const __grid_constant__ kern_attn args)
{
    extern __shared__ __align__(128) char smem[];
    int n_items = args.count ? *args.count : args.n_items;

    start_next();
    wait_before();

    for (int i = blockIdx.x; i < n_items * args.kv_heads; i += gridDim.x) {
        kern_attn_item item = args.items[i / args.kv_heads];
        do_item<D>(args, item, i % args.kv_heads, smem);
        __syncthreads();
    }
}

/* ---- a chunk at once ----
 *
 * For so few items that a multiprocessor has one at most, what counts is not how much is in flight
 * on the device but how long one item takes. Eight warps have the chunk's eight tiles in shared
 * memory together: each computes one tile's scores and, once it knows the maxima of the tiles
 * before, its probabilities; then each has an eighth of the output columns. The steps of every sum
 * are those of the kernel above. */

constexpr int AT_ONCE_THREADS = 32 * TILES_PER_CHUNK;

template <int D> struct at_once {
    static constexpr int TILE_BYTES = TILE_KEYS * D * 2;
    static constexpr int V_TILES = TILES_PER_CHUNK / 2; /* the others go where keys were */
    static constexpr int VALUES = TILES_PER_CHUNK * TILE_BYTES;
    static constexpr int P = VALUES + V_TILES * TILE_BYTES;
    static constexpr int P_BYTES = KERN_DECODE_ROWS * TILE_KEYS * 2;
    static constexpr int STATE = P + TILES_PER_CHUNK * P_BYTES;
    static constexpr int SMEM_BYTES = STATE + TILES_PER_CHUNK * KERN_DECODE_ROWS * 6 * 4 + 128;

    static __device__ __forceinline__ uint32_t value_tile(uint32_t base, int t)
    {
        return base + (t < V_TILES ? VALUES + t * TILE_BYTES : (t - V_TILES) * TILE_BYTES);
    }
};

/* Of each tile and row: the tile's maximum, the factor of what came before, and the sums of
 * probabilities of the row's four threads. */
struct tile_states {
    float max[TILES_PER_CHUNK][KERN_DECODE_ROWS], factor[TILES_PER_CHUNK][KERN_DECODE_ROWS];
    float sum[TILES_PER_CHUNK][KERN_DECODE_ROWS][4];
};

/* The largest score of each of the thread's two rows in a tile. */
__device__ __forceinline__ void tile_max(float (&top)[2], const float (&s)[8][4])
{
#pragma unroll
    for (int h = 0; h < 2; h++) {
        top[h] = fmaxf(s[0][2 * h], s[0][2 * h + 1]);
#pragma unroll
        for (int n = 1; n < 8; n++)
            top[h] = fmaxf(top[h], fmaxf(s[n][2 * h], s[n][2 * h + 1]));
        top[h] = fmaxf(top[h], __shfl_xor_sync(~0u, top[h], 1));
        top[h] = fmaxf(top[h], __shfl_xor_sync(~0u, top[h], 2));
    }
}

/* One warp's tile: probabilities to shared memory as A operands, factor and sums beside them. */
__device__ __forceinline__ void finish_tile(float (&s)[8][4], tile_states &states, uint32_t *p,
                                            int first, int tile, int lane, float c)
{
    attn_state state = attn_state_empty();
    float factor[2];

    for (int t = first; t < tile; t++)
        for (int h = 0; h < 2; h++)
            state.max[h] = fmaxf(state.max[h], states.max[t][(lane >> 2) + 8 * h]);
    softmax_tile(s, state, factor, c);
#pragma unroll
    for (int h = 0; h < 2; h++) {
        int row = (lane >> 2) + 8 * h;
        states.sum[tile][row][lane & 3] = state.sum[h];
        if ((lane & 3) == 0)
            states.factor[tile][row] = factor[h];
    }
#pragma unroll
    for (int k = 0; k < TILE_KEYS / 16; k++) {
        uint32_t a[4];
        pack_probabilities(a, s, k);
        *(uint4 *)(p + (k * 32 + lane) * 4) = make_uint4(a[0], a[1], a[2], a[3]);
    }
}

/* out (16 x D/8 of the warp): all tiles in turn. */
template <int D>
__device__ __forceinline__ void add_tiles(float (&out)[D / 64][4], attn_state &state,
                                          const tile_states &states, const uint32_t *p,
                                          uint32_t base, int first, int n_tiles, int warp, int lane)
{
    constexpr int N = D / 64;
    int key = (lane & 7) + (((lane >> 3) & 1) << 3), unit = warp * N + (N == 2 ? lane >> 4 : 0);

    for (int t = first; t < n_tiles; t++) {
        uint32_t v_tile = at_once<D>::value_tile(base, t);
        float factor[2];
#pragma unroll
        for (int h = 0; h < 2; h++) {
            int row = (lane >> 2) + 8 * h;
            factor[h] = states.factor[t][row];
            state.max[h] = fmaxf(state.max[h], states.max[t][row]);
            state.sum[h] = __fmaf_rn(state.sum[h], factor[h], states.sum[t][row][lane & 3]);
        }
        scale_rows(out, factor);
#pragma unroll
        for (int k = 0; k < TILE_KEYS / 16; k++) {
            uint4 x = *(const uint4 *)(p + ((t * (TILE_KEYS / 16) + k) * 32 + lane) * 4);
            uint32_t a[4] = {x.x, x.y, x.z, x.w}, b[4];
            load_matrices_transposed(b, v_tile + tile_offset<D>(16 * k + key, unit));
            mma(out[0], a, b[0], b[1]);
            if (N == 2)
                mma(out[N - 1], a, b[2], b[3]);
        }
    }
}

template <int D>
__device__ __forceinline__ void do_item_at_once(const kern_attn &args, const kern_attn_item &item,
                                                int kv_head, char *smem)
{
    using C = at_once<D>;
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32, group = args.heads / args.kv_heads;
    int oldest = item.context - item.n_rows, key = item.first + warp * TILE_KEYS;
    int n_tiles = (min(item.context - item.first, KERN_CHUNK_KEYS) + TILE_KEYS - 1) / TILE_KEYS;
    int first = args.window ? max(0, oldest + 1 - args.window - item.first) / TILE_KEYS : 0;
    uint32_t base = smem_address(smem), q[D / 16][4];
    uint32_t *p = (uint32_t *)(smem + C::P);
    tile_states &states = *(tile_states *)(smem + C::STATE);
    int *flag = (int *)(&states + 1), to[2], from[2];
    float s[8][4], top[2], out[D / 64][4] = {}, c = args.scale * 1.44269504f;
    merged<D / 64> m;
    attn_state state = attn_state_empty();

    auto load = [&](const uint16_t *cache, uint32_t tile, int t) {
        const int32_t *pages = args.pages + item.page + item.first / KERN_PAGE_TOKENS;
        tile_load<D, AT_ONCE_THREADS>(tile, cache, pages + t * PAGES_PER_TILE,
                                      item.context - item.first - t * TILE_KEYS, kv_head,
                                      args.kv_heads);
    };
    for (int t = first; t < n_tiles; t++)
        load(args.k_cache, base + t * C::TILE_BYTES, t);
    copy_commit();
    for (int t = first; t < min(n_tiles, C::V_TILES); t++)
        load(args.v_cache, C::value_tile(base, t), t);
    copy_commit();
    load_query<D>(q, args, item.row, kv_head, lane >> 2, item.n_rows * group);
    if (is_last_alone(item))
        merge_shared<D>(m, args, item, kv_head, c, warp, lane);
    see_rows(from, to, args, item, oldest, group, lane);
    bool has_tile = warp >= first && warp < n_tiles;
    copy_wait<1>();
    __syncthreads();
    if (has_tile) {
        warp_scores<D>(s, base + warp * C::TILE_BYTES, q, lane);
        if (args.softcap > 0)
            cap_tile(s, args);
        mask_tile(s, key + 2 * (lane & 3), from, to);
        tile_max(top, s);
        for (int h = 0; h < 2 && (lane & 3) == 0; h++)
            states.max[warp][(lane >> 2) + 8 * h] = top[h];
    }
    __syncthreads();
    for (int t = max(first, C::V_TILES); t < n_tiles; t++)
        load(args.v_cache, C::value_tile(base, t), t);
    copy_commit();
    if (has_tile)
        finish_tile(s, states, p + warp * C::P_BYTES / 4, first, warp, lane, c);
    copy_wait<0>();
    __syncthreads();
    add_tiles<D>(out, state, states, p, base, first, n_tiles, warp, lane);
    row_sums(state);
    finish_chunk<D>(m, args, item, kv_head, out, state, c, flag, warp, lane);
}

template <int D>
__global__ void __launch_bounds__(AT_ONCE_THREADS)
    decode_at_once(const __grid_constant__ kern_attn args)
{
    extern __shared__ __align__(128) char smem[];
    int n_items = args.count ? *args.count : args.n_items, i = blockIdx.x;
    kern_attn_item item = args.items[min(i, args.n_items * args.kv_heads - 1) / args.kv_heads];

    start_next();
    wait_before();
    while (i < n_items * args.kv_heads) {
        do_item_at_once<D>(args, item, i % args.kv_heads, smem);
        __syncthreads();
        i += gridDim.x;
        if (i < n_items * args.kv_heads)
            item = args.items[i / args.kv_heads];
    }
}

/* ---- launching ---- */

template <int D> cudaError_t launch(const kern_attn &args, cudaStream_t stream)
{
    constexpr int BYTES = config<D>::SMEM_BYTES;
    int n = args.n_items * args.kv_heads;

    if constexpr (D <= 128) { /* no GPU has shared memory for a chunk of longer heads, */
        constexpr int AT_ONCE_BYTES = at_once<D>::SMEM_BYTES;
        /* and not every one for these */
        if (n <= device_property(cudaDevAttrMultiProcessorCount) && !args.no_at_once &&
            AT_ONCE_BYTES <= device_property(cudaDevAttrMaxSharedMemoryPerBlockOptin)) {
            cudaError_t e = cudaFuncSetAttribute(
                decode_at_once<D>, cudaFuncAttributeMaxDynamicSharedMemorySize, AT_ONCE_BYTES);
            return e != cudaSuccess ? e
                                    : launch_early(decode_at_once<D>, n, AT_ONCE_THREADS,
                                                   AT_ONCE_BYTES, stream, args);
        }
    }
    if (args.max_ctas > 0 && n > args.max_ctas)
        n = args.max_ctas;
    cudaError_t e =
        cudaFuncSetAttribute(decode<D>, cudaFuncAttributeMaxDynamicSharedMemorySize, BYTES);
    return e != cudaSuccess ? e : launch_early(decode<D>, n, THREADS, BYTES, stream, args);
}

} // namespace

size_t kern_attn_partial_bytes(int n_partials, int part_rows, int kv_heads, int head_dim)
{
    return (size_t)n_partials * kv_heads * part_rows * (head_dim + 2) * sizeof(float);
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
    case 256:
        return launch<256>(args, stream);
    }
    return cudaErrorInvalidValue;
}
