/* SPDX-License-Identifier: Apache-2.0 */
/* Prefill attention: many query rows of one sequence, causal, over the paged
 * cache that already holds their keys.
 *
 *   out[row] = softmax(scale q[row] K^T) V     keys 0 .. position of the row
 *
 * One block takes 128 (token, head) rows of one kv head, 16 a warp, so that
 * every key tile serves the whole group of query heads; tiles of 64 keys come
 * through three stages of 16-byte asynchronous copies from the pages. Outputs of
 * more than 128 columns do not fit in registers: two blocks have half of them
 * each, and the same scores. Order of sums: attn_tile.cuh, the same as decode.
 *
 * Bound by arithmetic: 4 * D flop a (row, key) pair; by what mma.sync and the
 * shared memory that feeds it reach, not by the rate of wgmma. Measured on an
 * H100: 190 to 255 TFLOP/s.
 */
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
    static constexpr int PARTS = D <= 128 ? 1 : 2; /* blocks that share an item's columns, */
    static constexpr int N = D / 8 / PARTS;        /* eight by eight */
};

template <int D>
__global__ void __launch_bounds__(THREADS, 1) prefill(const __grid_constant__ kern_attn args)
{
    using C = config<D>;
    extern __shared__ __align__(128) char smem[];
    int i = blockIdx.x / C::PARTS, first = blockIdx.x % C::PARTS * C::N;
    kern_attn_item item = args.items[i / args.kv_heads];
    int kv_head = i % args.kv_heads;
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    uint32_t stages = smem_address(smem);
    float c = args.scale * 1.44269504f;
    prefill_rows see = prefill_see(args, item, item.first + 16 * warp, lane);
    prefill_tiles tiles = prefill_block_tiles(args, item);
    uint32_t q[D / 16][4];
    float out[C::N][4] = {}, chunk[C::N][4] = {};
    attn_state total = attn_state_empty(), state = attn_state_empty();

    auto load = [&](int t) {
        if (t < tiles.to) {
            const int32_t *pages = args.pages + item.page + t * PAGES_PER_TILE;
            uint32_t stage = stages + t % C::STAGES * C::STAGE_BYTES;
            int n_valid = item.context - t * TILE_KEYS;
            tile_load<D, THREADS>(stage, args.k_cache, pages, n_valid, kv_head, args.kv_heads);
            tile_load<D, THREADS>(stage + C::TILE_BYTES, args.v_cache, pages, n_valid, kv_head,
                                  args.kv_heads);
        }
        copy_commit();
    };
    for (int i = 0; i < C::STAGES - 1; i++)
        load(tiles.from + i);
    load_query<D>(q, args, item.row, kv_head, item.first + 16 * warp + (lane >> 2),
                  item.n_rows * (args.heads / args.kv_heads));
    for (int tile = tiles.from; tile < tiles.to; tile++) {
        uint32_t k_tile = stages + tile % C::STAGES * C::STAGE_BYTES;
        int key = tile * TILE_KEYS;
        float p[8][4], factor[2];

        copy_wait<C::STAGES - 2>();
        __syncthreads();
        load(tile + C::STAGES - 1);
        if (tile % TILES_PER_CHUNK == 0 && tile > tiles.from)
            merge_rows(out, total, chunk, state, c);
        if (key >= see.any_to || key + TILE_KEYS <= see.any_from)
            continue;
        warp_scores<D>(p, k_tile, q, lane);
        if (args.softcap > 0)
            cap_tile(p, args);
        if (key + TILE_KEYS > see.all_to || key < see.all_from)
            mask_tile(p, key + 2 * (lane & 3), see.from, see.to);
        softmax_tile(p, state, factor, c);
        scale_rows(chunk, factor);
        warp_values<D>(chunk, k_tile + C::TILE_BYTES, p, lane, first);
    }
    merge_rows(out, total, chunk, state, c);
    prefill_store<D>(args, item, kv_head, out, total, item.first + 16 * warp + (lane >> 2), lane,
                     first);
}

template <int D> cudaError_t launch(const kern_attn &args, cudaStream_t stream)
{
    cudaError_t e = cudaFuncSetAttribute(prefill<D>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                         config<D>::SMEM_BYTES);
    if (e != cudaSuccess)
        return e;
    int blocks = args.n_items * args.kv_heads * config<D>::PARTS;
    prefill<D><<<blocks, THREADS, config<D>::SMEM_BYTES, stream>>>(args);
    return cudaGetLastError();
}

} // namespace

cudaError_t kern_attn_prefill(struct kern_attn args, cudaStream_t stream)
{
    if (args.heads % args.kv_heads)
        return cudaErrorInvalidValue;
    if (args.head_dim != 64 && args.head_dim != 128 && args.head_dim != 256)
        return cudaErrorInvalidValue;
    if (args.n_items == 0)
        return cudaSuccess;
    if (prefill_is90(args))
        return prefill_launch90(args, stream);
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
