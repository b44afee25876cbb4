/* SPDX-License-Identifier: Apache-2.0 */
/* Attention over a cache of e4m3: decode and prefill, as attn_decode.cu and attn_prefill.cu do it
 * over bf16.
 *
 *   s_j = (q k8_j) K_j / 448,  out = sum p_j V_j v8_j / (448 sum p_j)
 *
 * where K_j and V_j are the largest values of a key and of a value, which e4m3 448 stands for.
 * Tiles are as they are in the cache; they become halves, exactly, in registers, and are multiplied
 * as such. For that, the columns of K and V are taken in an order in which a thread's four bytes
 * are what it needs: of each 16 of K the four from 4 (lane % 4) on, on both sides of the product;
 * of each 16 of V the even ones in one product, the odd ones in another. Order of sums:
 * attn_tile.cuh; both kernels give the same bits for the same row.
 *
 * Decode is bound by memory: 2 * D + 8 bytes a key and kv head.
 */
#include <cuda_fp16.h>

#include "cuda/attn_parts.cuh"
#include "cuda/attn_warp.cuh"
#include "cuda/e4m3.cuh"
#include "cuda/prefill.cuh"

namespace
{

constexpr int WARPS = 4, THREADS = 32 * WARPS;
constexpr int PREFILL_WARPS = KERN_PREFILL_ROWS / 16, PREFILL_THREADS = 32 * PREFILL_WARPS;
constexpr float UNIT = 1 / E4M3_LARGEST;

/* A stage: tile of K, tile of V, the largest of each key, of each value. */
template <int D> struct config {
    static constexpr int TILE_BYTES = TILE_KEYS * D;
    static constexpr int LARGEST = 2 * TILE_BYTES;
    static constexpr int STAGE_BYTES = LARGEST + 2 * TILE_KEYS * 4;
    static constexpr int STAGES = 4;
    static constexpr int SCORES = STAGES * STAGE_BYTES;
    static constexpr int SMEM_BYTES = SCORES + KERN_DECODE_ROWS * SCORE_STRIDE * 4 + 128;
    static constexpr int PREFILL_BYTES = STAGES * STAGE_BYTES;
};

/* Byte offset of 16-byte unit `u` of row `r`; eight rows of one unit lie in different banks. */
template <int D> __device__ __forceinline__ uint32_t place(int r, int u)
{
    return (uint32_t)(r * D + ((u ^ (D == 128 ? r & 7 : (r >> 1) & 3)) << 4));
}

/* Four bytes to shared memory, zeros when !valid. */
__device__ __forceinline__ void copy_async4(uint32_t to, const void *from, bool valid)
{
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(to), "l"(from),
                 "r"(valid ? 4 : 0)
                 : "memory");
}

/* Start the copy of a stage. Rows from `n_valid` on, and their largest values, become zeros. */
template <int D, int N_THREADS>
__device__ __forceinline__ void load_stage(uint32_t stage, const kern_attn &args,
                                           const int32_t *pages, int n_valid, int kv_head)
{
    constexpr int UNITS = D / 16, PAGE_UNITS = KERN_PAGE_TOKENS * UNITS;
    constexpr int ROUNDS = (PAGE_UNITS + N_THREADS - 1) / N_THREADS;
    int own = threadIdx.x % TILE_KEYS; /* the key or value whose largest this thread copies */

#pragma unroll
    for (int p = 0; p < PAGES_PER_TILE; p++) {
        size_t page = p * KERN_PAGE_TOKENS < n_valid ? (size_t)pages[p] : 0;
        size_t at = (page * args.kv_heads + kv_head) * KERN_E4M3_PAGE_BYTES(D);
#pragma unroll
        for (int is_value = 0; is_value < 2; is_value++) {
            const char *from = (const char *)(is_value ? args.v_cache : args.k_cache) + at;
#pragma unroll
            for (int i = 0; i < ROUNDS; i++) {
                int unit = i * N_THREADS + threadIdx.x, row = p * KERN_PAGE_TOKENS + unit / UNITS;
                if (PAGE_UNITS % N_THREADS == 0 || unit < PAGE_UNITS)
                    copy_async(stage + is_value * config<D>::TILE_BYTES +
                                   place<D>(row, unit % UNITS),
                               from + unit * 16, row < n_valid);
            }
            if (own / KERN_PAGE_TOKENS == p && (int)threadIdx.x / TILE_KEYS == is_value)
                copy_async4(stage + config<D>::LARGEST + threadIdx.x * 4,
                            from + KERN_PAGE_TOKENS * D + own % KERN_PAGE_TOKENS * 4,
                            own < n_valid);
        }
    }
}

__device__ __forceinline__ uint32_t pack_half(float low, float high)
{
    __half2 pair = __floats2half2_rn(fminf(fmaxf(low, -ROW_LARGEST), ROW_LARGEST),
                                     fminf(fmaxf(high, -ROW_LARGEST), ROW_LARGEST));
    return *(uint32_t *)&pair;
}

__device__ __forceinline__ uint32_t half_of_bf16(uint32_t two)
{
    return pack_half(__uint_as_float(two << 16), __uint_as_float(two & 0xffff0000u));
}

/* Q as load_query() has it, but of halves, and of each 16 columns the four from 4 (lane % 4) on. */
template <int D>
__device__ __forceinline__ void load_query_halves(uint32_t (&q)[D / 16][4], const kern_attn &args,
                                                  int first_token, int kv_head, int row, int n_rows)
{
    int group = args.heads / args.kv_heads;

#pragma unroll
    for (int h = 0; h < 2; h++) {
        int r = row + 8 * h;
        const uint16_t *from = args.q + (size_t)(first_token + r / group) * args.q_stride +
                               (kv_head * group + r % group) * D + (threadIdx.x & 3) * 4;
#pragma unroll
        for (int k = 0; k < D / 16; k++) {
            uint2 x = r < n_rows ? *(const uint2 *)(from + 16 * k) : make_uint2(0, 0);
            q[k][h] = half_of_bf16(x.x);
            q[k][h + 2] = half_of_bf16(x.y);
        }
    }
}

/* s = q K^T of 8 N keys from `first` on, times the largest of each. */
template <int D, int N>
__device__ __forceinline__ void scores_of(float (&s)[N][4], uint32_t k_tile, const float *largest,
                                          const uint32_t (&q)[D / 16][4], int first, int lane)
{
#pragma unroll
    for (int n = 0; n < N; n++) {
        s[n][0] = s[n][1] = s[n][2] = s[n][3] = 0;
#pragma unroll
        for (int k = 0; k < D / 16; k += 4) {
            uint32_t b[4];
            load_matrices(b, k_tile + place<D>(first + 8 * n + (lane & 7), k + (lane >> 3)));
#pragma unroll
            for (int i = 0; i < 4; i++)
                mma_half(s[n], q[k + i], e4m3_halves(b[i] & 0xffff), e4m3_halves(b[i] >> 16));
        }
        float2 two = *(const float2 *)(largest + first + 8 * n + 2 * (lane & 3));
#pragma unroll
        for (int i = 0; i < 4; i++)
            s[n][i] = __fmul_rn(s[n][i], i & 1 ? two.y : two.x);
    }
}

/* Probabilities times the largest of each value, as the A operands of a tile's mma steps. */
__device__ __forceinline__ void weigh(uint32_t (&a)[TILE_KEYS / 16][4], const float (&p)[8][4],
                                      const float *largest, int lane)
{
#pragma unroll
    for (int n = 0; n < 8; n++) {
        float2 two = *(const float2 *)(largest + 8 * n + 2 * (lane & 3));
#pragma unroll
        for (int h = 0; h < 2; h++)
            a[n / 2][2 * (n % 2) + h] =
                pack_half(__fmul_rn(p[n][2 * h], two.x), __fmul_rn(p[n][2 * h + 1], two.y));
    }
}

/* out += P V of the tile, of N / 2 times 16 columns from 16 `block` on: out[2 i] has the even ones,
 * out[2 i + 1] the odd ones. */
template <int D, int N>
__device__ __forceinline__ void values_of(float (&out)[N][4], uint32_t v_tile,
                                          const uint32_t (&a)[TILE_KEYS / 16][4], int block,
                                          int lane)
{
#pragma unroll
    for (int k = 0; k < TILE_KEYS / 16; k += 2) {
#pragma unroll
        for (int n = 0; n < N / 2; n++) {
            uint32_t b[4];
            load_matrices_transposed(b, v_tile + place<D>(16 * k + lane, block + n));
#pragma unroll
            for (int i = 0; i < 4; i++)
                b[i] = __byte_perm(b[i], 0, 0x3120);
#pragma unroll
            for (int i = 0; i < 2; i++) {
                mma_half(out[2 * n], a[k + i], e4m3_halves(b[2 * i] & 0xffff),
                         e4m3_halves(b[2 * i + 1] & 0xffff));
                mma_half(out[2 * n + 1], a[k + i], e4m3_halves(b[2 * i] >> 16),
                         e4m3_halves(b[2 * i + 1] >> 16));
            }
        }
    }
}

/* A thread's four columns of row h in block n. */
template <int N> __device__ __forceinline__ float4 columns(const float (&out)[N][4], int n, int h)
{
    return make_float4(out[2 * n][2 * h], out[2 * n + 1][2 * h], out[2 * n][2 * h + 1],
                       out[2 * n + 1][2 * h + 1]);
}

__device__ __forceinline__ void store_final(uint32_t *to, float4 x, float sum)
{
    float r = __fmul_rn(__frcp_rn(sum), UNIT);
    *(uint2 *)to = make_uint2(pack_bf16(x.x * r, x.y * r), pack_bf16(x.z * r, x.w * r));
}

/* ---- decode --------------------------------------------------------------------------------- */

/* Write a chunk's result, final when it is the only one of its sequence. */
template <int D>
__device__ __forceinline__ void store_part(const kern_attn &args, const kern_attn_item &item,
                                           int kv_head, const float (&out)[D / 32][4],
                                           const attn_state &state, int warp, int lane)
{
    int n_rows = item.n_rows * (args.heads / args.kv_heads);
    int part = item.part * args.kv_heads + kv_head;

#pragma unroll
    for (int h = 0; h < 2; h++) {
        int row = (lane >> 2) + 8 * h;
        if (row >= n_rows)
            continue;
#pragma unroll
        for (int n = 0; n < D / 64; n++) {
            int column = warp * (D / 4) + 16 * n + 4 * (lane & 3);
            float4 x = columns(out, n, h);
            if (item.n_parts == 1) { /* adding 0 makes -0 what a merge would make it */
                x = make_float4(x.x + 0.0f, x.y + 0.0f, x.z + 0.0f, x.w + 0.0f);
                store_final(output(args, item, kv_head, row, column), x, state.sum[h]);
            } else {
                __stcg((float4 *)(partial_values<D>(args, part) + row * D + column), x);
            }
        }
        if (item.n_parts > 1 && warp == 0 && (lane & 3) == 0)
            __stcg(partial_state<D>(args, part) + row, make_float2(state.max[h], state.sum[h]));
    }
}

/* Scores of the warp's 16 keys to shared memory; then, all warps being done, the tile's. */
template <int D>
__device__ __forceinline__ void tile_scores(float (&p)[8][4], float *scores, uint32_t k_tile,
                                            const float *largest, const uint32_t (&q)[D / 16][4],
                                            int warp, int lane)
{
    float s[2][4];
    float *own = scores + (lane >> 2) * SCORE_STRIDE + 2 * (lane & 3);

    scores_of<D, 2>(s, k_tile, largest, q, 16 * warp, lane);
    put_scores(own + 16 * warp, s);
    __syncthreads();
    read_scores(p, scores, lane);
}

template <int D>
__device__ __forceinline__ void do_item(const kern_attn &args, const kern_attn_item &item,
                                        int kv_head, char *smem)
{
    using C = config<D>;
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32, group = args.heads / args.kv_heads;
    float *scores = (float *)(smem + C::SCORES), c = args.scale * (1.44269504f * UNIT);
    int *flag = (int *)(scores + KERN_DECODE_ROWS * SCORE_STRIDE);
    int oldest = item.context - item.n_rows; /* position of the first token row */
    int tile = 0, n_tiles = (min(item.context - item.first, KERN_CHUNK_KEYS) + TILE_KEYS - 1) / 64;
    int to[2], from[2], from_last = args.window ? item.context - args.window : 0;
    uint32_t stages = smem_address(smem), q[D / 16][4];
    float out[D / 32][4] = {};
    attn_state state = attn_state_empty();

    if (args.window)
        tile = max(0, oldest + 1 - args.window - item.first) / TILE_KEYS;
    auto load = [&](int t) {
        int key = item.first + t * TILE_KEYS;
        if (t < n_tiles)
            load_stage<D, THREADS>(stages + t % C::STAGES * C::STAGE_BYTES, args,
                                   args.pages + item.page + key / KERN_PAGE_TOKENS,
                                   item.context - key, kv_head);
        copy_commit();
    };
    for (int i = 0; i < C::STAGES - 1; i++)
        load(tile + i);
    load_query_halves<D>(q, args, item.row, kv_head, lane >> 2, item.n_rows * group);
    see_rows(from, to, args, item, oldest, group, lane);
    for (; tile < n_tiles; tile++) {
        int stage = tile % C::STAGES * C::STAGE_BYTES, key = item.first + tile * TILE_KEYS;
        const float *largest = (const float *)(smem + stage + C::LARGEST);
        float p[8][4], factor[2];
        uint32_t a[TILE_KEYS / 16][4];

        copy_wait<C::STAGES - 2>();
        __syncthreads();
        load(tile + C::STAGES - 1);
        tile_scores<D>(p, scores, stages + stage, largest, q, warp, lane);
        if (key + TILE_KEYS > oldest + 1 || key < from_last)
            mask_tile(p, key + 2 * (lane & 3), from, to);
        softmax_tile(p, state, factor, c);
        scale_rows(out, factor);
        weigh(a, p, largest + TILE_KEYS, lane);
        values_of<D>(out, stages + stage + C::TILE_BYTES, a, warp * (D / 64), lane);
    }
    row_sums(state);
    store_part<D>(args, item, kv_head, out, state, warp, lane);
    if (item.n_parts > 1 && arrive_last(args, item, kv_head, flag))
        merge_parts<D>(args, item, kv_head, c, UNIT);
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

/* ---- prefill -------------------------------------------------------------------------------- */

template <int D>
__device__ __forceinline__ void store_rows(const kern_attn &args, const kern_attn_item &item,
                                           int kv_head, const float (&out)[D / 8][4],
                                           const attn_state &total, int row, int lane)
{
    int n_rows = item.n_rows * (args.heads / args.kv_heads);

#pragma unroll
    for (int h = 0; h < 2; h++, row += 8)
#pragma unroll
        for (int n = 0; n < D / 16; n++)
            if (row < n_rows)
                store_final(output(args, item, kv_head, row, 16 * n + 4 * (lane & 3)),
                            columns(out, n, h), total.sum[h]);
}

template <int D>
__global__ void __launch_bounds__(PREFILL_THREADS, 1)
    prefill(const __grid_constant__ kern_attn args)
{
    using C = config<D>;
    extern __shared__ __align__(128) char smem[];
    kern_attn_item item = args.items[blockIdx.x / args.kv_heads];
    int kv_head = blockIdx.x % args.kv_heads, group = args.heads / args.kv_heads;
    int lane = threadIdx.x % 32, first = item.first + 16 * (threadIdx.x / 32);
    uint32_t stages = smem_address(smem), q[D / 16][4];
    float c = args.scale * (1.44269504f * UNIT);
    prefill_rows see = prefill_see(args, item, first, lane);
    prefill_tiles tiles = prefill_block_tiles(args, item);
    float out[D / 8][4] = {}, chunk[D / 8][4] = {};
    attn_state total = attn_state_empty(), state = attn_state_empty();

    auto load = [&](int t) {
        if (t < tiles.to)
            load_stage<D, PREFILL_THREADS>(stages + t % C::STAGES * C::STAGE_BYTES, args,
                                           args.pages + item.page + t * PAGES_PER_TILE,
                                           item.context - t * TILE_KEYS, kv_head);
        copy_commit();
    };
    for (int i = 0; i < C::STAGES - 1; i++)
        load(tiles.from + i);
    load_query_halves<D>(q, args, item.row, kv_head, first + (lane >> 2), item.n_rows * group);
    for (int tile = tiles.from; tile < tiles.to; tile++) {
        int stage = tile % C::STAGES * C::STAGE_BYTES, key = tile * TILE_KEYS;
        const float *largest = (const float *)(smem + stage + C::LARGEST);
        float p[8][4], factor[2];
        uint32_t a[TILE_KEYS / 16][4];

        copy_wait<C::STAGES - 2>();
        __syncthreads();
        load(tile + C::STAGES - 1);
        if (tile % TILES_PER_CHUNK == 0 && tile > tiles.from)
            merge_rows(out, total, chunk, state, c);
        if (key >= see.any_to || key + TILE_KEYS <= see.any_from)
            continue;
        scores_of<D, 8>(p, stages + stage, largest, q, 0, lane);
        if (key + TILE_KEYS > see.all_to || key < see.all_from)
            mask_tile(p, key + 2 * (lane & 3), see.from, see.to);
        softmax_tile(p, state, factor, c);
        scale_rows(chunk, factor);
        weigh(a, p, largest + TILE_KEYS, lane);
        values_of<D>(chunk, stages + stage + C::TILE_BYTES, a, 0, lane);
    }
    merge_rows(out, total, chunk, state, c);
    store_rows<D>(args, item, kv_head, out, total, first + (lane >> 2), lane);
}

/* ---- launching ------------------------------------------------------------------------------ */

bool is_possible(const kern_attn &args)
{
    return args.heads % args.kv_heads == 0 && args.heads / args.kv_heads <= KERN_MAX_GROUP &&
           (args.head_dim == 64 || args.head_dim == 128);
}

template <int D> cudaError_t launch_decode(const kern_attn &args, cudaStream_t stream)
{
    int n = args.n_items * args.kv_heads;
    cudaError_t e = cudaFuncSetAttribute(decode<D>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                         config<D>::SMEM_BYTES);

    if (args.max_ctas > 0 && n > args.max_ctas)
        n = args.max_ctas;
    return e != cudaSuccess
               ? e
               : launch_early(decode<D>, n, THREADS, config<D>::SMEM_BYTES, stream, args);
}

template <int D> cudaError_t launch_prefill(const kern_attn &args, cudaStream_t stream)
{
    cudaError_t e = cudaFuncSetAttribute(prefill<D>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                         config<D>::PREFILL_BYTES);

    if (e != cudaSuccess)
        return e;
    prefill<D>
        <<<args.n_items * args.kv_heads, PREFILL_THREADS, config<D>::PREFILL_BYTES, stream>>>(args);
    return cudaGetLastError();
}

} // namespace

cudaError_t kern_attn_decode_e4m3(struct kern_attn args, cudaStream_t stream)
{
    if (!is_possible(args))
        return cudaErrorInvalidValue;
    if (args.n_items == 0)
        return cudaSuccess;
    return args.head_dim == 64 ? launch_decode<64>(args, stream) : launch_decode<128>(args, stream);
}

cudaError_t kern_attn_prefill_e4m3(struct kern_attn args, cudaStream_t stream)
{
    if (!is_possible(args))
        return cudaErrorInvalidValue;
    if (args.n_items == 0)
        return cudaSuccess;
    return args.head_dim == 64 ? launch_prefill<64>(args, stream)
                               : launch_prefill<128>(args, stream);
}
