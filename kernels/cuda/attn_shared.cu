/* SPDX-License-Identifier: Apache-2.0 */
/* A chunk of keys that several sequences begin with, for all of them at once:
 * the chunk is read once, not once a sequence.
 *
 *   partial[row] = chunk's sum p_j v_j, its maximum and sum of p_j
 *
 * One block takes 128 (sequence, head) rows of one kv head, 16 a warp, against
 * the 512 keys of the chunk, all of which every row sees. The results go where
 * decode attention puts those of its own chunks; it runs after this kernel and
 * merges them in order. Order of sums: attn_tile.cuh, so that a row has the
 * same bits whether its chunk was shared or not. Hopper has a kernel of its own
 * in attn_prefill90.cu.
 *
 * Bound by arithmetic, as prefill attention is: 4 * D flop a (row, key) pair.
 */
#include "cuda/attn_parts.cuh"
#include "cuda/attn_warp.cuh"
#include "cuda/prefill.cuh"

namespace
{

constexpr int WARPS = KERN_PREFILL_ROWS / 16, THREADS = 32 * WARPS;

template <int D> struct config {
    static constexpr int TILE_BYTES = TILE_KEYS * D * 2;
    static constexpr int STAGES = D <= 128 ? 3 : 2;
    static constexpr int STAGE_BYTES = 2 * TILE_BYTES;
    static constexpr int SMEM_BYTES = STAGES * STAGE_BYTES;
};

/* Q of rows `row` and row + 8 of an item; rows that it does not have are zero. */
template <int D>
__device__ __forceinline__ void load_members(uint32_t (&q)[D / 16][4], const kern_attn &args,
                                             const kern_attn_item &item, int kv_head, int row)
{
    int group = args.heads / args.kv_heads;

#pragma unroll
    for (int h = 0; h < 2; h++) {
        int r = row + 8 * h;
        bool valid = r < item.n_rows * group;
        size_t token = valid ? members_of(args, item)[r / group].x : 0;
        const uint16_t *from = args.q + token * args.q_stride + (kv_head * group + r % group) * D +
                               (threadIdx.x & 3) * 2;
#pragma unroll
        for (int k = 0; k < D / 16; k++) {
            q[k][h] = valid ? *(const uint32_t *)(from + 16 * k) : 0;
            q[k][h + 2] = valid ? *(const uint32_t *)(from + 16 * k + 8) : 0;
        }
    }
}

template <int D>
__device__ __forceinline__ void do_item(const kern_attn &args, const kern_attn_item &item,
                                        int kv_head, uint32_t stages)
{
    using C = config<D>;
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32, row = 16 * warp + (lane >> 2);
    float c = args.scale * 1.44269504f;
    uint32_t q[D / 16][4];
    float out[D / 8][4] = {};
    attn_state state = attn_state_empty();

    auto load = [&](int t) {
        if (t < TILES_PER_CHUNK) {
            const int32_t *pages = args.pages + item.page + t * PAGES_PER_TILE;
            uint32_t stage = stages + t % C::STAGES * C::STAGE_BYTES;
            tile_load<D, THREADS>(stage, args.k_cache, pages, TILE_KEYS, kv_head, args.kv_heads);
            tile_load<D, THREADS>(stage + C::TILE_BYTES, args.v_cache, pages, TILE_KEYS, kv_head,
                                  args.kv_heads);
        }
        copy_commit();
    };
    for (int t = 0; t < C::STAGES - 1; t++)
        load(t);
    load_members<D>(q, args, item, kv_head, row);
    for (int t = 0; t < TILES_PER_CHUNK; t++) {
        uint32_t k_tile = stages + t % C::STAGES * C::STAGE_BYTES;
        float p[8][4], factor[2];

        copy_wait<C::STAGES - 2>();
        __syncthreads();
        load(t + C::STAGES - 1);
        warp_scores<D>(p, k_tile, q, lane);
        if (args.softcap > 0)
            cap_tile(p, args);
        softmax_tile(p, state, factor, c);
        scale_rows(out, factor);
        warp_values<D>(out, k_tile + C::TILE_BYTES, p, lane);
    }
    row_sums(state);
    store_members<D>(args, item, kv_head, out, state, row, lane);
    __syncthreads();
}

template <int D>
__global__ void __launch_bounds__(THREADS, 1) shared_chunks(const __grid_constant__ kern_attn args)
{
    extern __shared__ __align__(128) char smem[];
    int n_items = args.count ? args.count[1] : args.n_items;
    const kern_attn_item *items =
        args.count ? (const kern_attn_item *)(args.pages + args.count[2]) : args.items;

    start_next();
    wait_before();
    for (int i = blockIdx.x; i < n_items * args.kv_heads; i += gridDim.x) {
        kern_attn_item item = items[i / args.kv_heads];
        do_item<D>(args, item, i % args.kv_heads, smem_address(smem));
    }
}

template <int D> cudaError_t launch(const kern_attn &args, cudaStream_t stream)
{
    int n = args.n_items * args.kv_heads, n_sm = device_property(cudaDevAttrMultiProcessorCount);
    cudaError_t e = cudaFuncSetAttribute(
        shared_chunks<D>, cudaFuncAttributeMaxDynamicSharedMemorySize, config<D>::SMEM_BYTES);
    if (e != cudaSuccess)
        return e;
    return launch_early(shared_chunks<D>, n < n_sm ? n : n_sm, THREADS, config<D>::SMEM_BYTES,
                        stream, args);
}

} // namespace

cudaError_t kern_attn_shared(struct kern_attn args, cudaStream_t stream)
{
    if (args.heads % args.kv_heads || args.heads / args.kv_heads > KERN_MAX_GROUP || args.window)
        return cudaErrorInvalidValue;
    if (args.n_items == 0)
        return cudaSuccess;
    if (prefill_is90(args))
        return shared_launch90(args, stream);
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
