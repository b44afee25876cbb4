/* SPDX-License-Identifier: Apache-2.0 */
/* Prefill attention on Hopper, and that of shared chunks: what attn_prefill.cu
 * and attn_shared.cu compute, bit for bit, with the warpgroup matrix
 * instructions, whose sums over 16 keys or dimensions are those of mma.sync.
 *
 * One persistent block a multiprocessor: a warpgroup that copies and two that
 * compute 64 (token, head) rows each. The copying one runs ahead over tiles and
 * items through a ring of K and V tiles and a buffer of queries, which the
 * computing ones take to registers. These start the scores of the next tile and
 * then the values of this one, and do the next tile's softmax while the values
 * are summed. Operands' addresses go through a shuffle, so that the compiler
 * knows them to be the same in all threads.
 *
 * Bound by arithmetic: 4 * D flop a (row, key) pair. Measured on an H100 of 800
 * TFLOP/s: 326 at 1024 tokens, 416 at 2048, 481 to 504 at 8192 (D 128).
 */
#include "cuda/attn_parts.cuh"
#include "cuda/prefill.cuh"
#include "cuda/wgmma.cuh"

namespace
{

constexpr int GROUP_THREADS = 128, CONSUMERS = 2, THREADS = GROUP_THREADS * (1 + CONSUMERS);
constexpr int BLOCK_BYTES = 64 * 128; /* 64 rows of 64 values */
constexpr int STAGES = 5, QUERIES = 1;

template <int D> struct config {
    static constexpr int BLOCKS = D / 64; /* blocks of 64 dimensions in a row */
    static constexpr int TILE_BYTES = BLOCKS * BLOCK_BYTES;
    static constexpr int QUERY_BYTES = CONSUMERS * TILE_BYTES;
    static constexpr int STAGE_BYTES = 2 * TILE_BYTES;
    static constexpr int RING = QUERIES * QUERY_BYTES;
    static constexpr int BARRIERS = RING + STAGES * STAGE_BYTES;
    static constexpr int SMEM_BYTES = BARRIERS + 8 * 2 * (STAGES + QUERIES) + 1024;
};

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)

constexpr int GROUP_ROWS = KERN_PREFILL_ROWS / CONSUMERS;

/* Byte offset of 16-byte unit u of row r in a tile of 64-dimension blocks. */
__device__ __forceinline__ uint32_t block_offset(int r, int u)
{
    return (uint32_t)((u >> 3) * BLOCK_BYTES + r * 128 + (((u & 7) ^ (r & 7)) << 4));
}

/* The shared memory of a block, by address. */
template <int D> struct memory {
    using C = config<D>;
    uint32_t base;

    __device__ uint32_t query(int i) const
    {
        return base + i * C::QUERY_BYTES;
    }
    __device__ uint32_t stage(int i) const
    {
        return base + C::RING + i * C::STAGE_BYTES;
    }
    __device__ uint32_t full(int i) const
    {
        return base + C::BARRIERS + 16 * i;
    }
    __device__ uint32_t empty(int i) const
    {
        return full(i) + 8;
    }
    __device__ uint32_t query_full(int i) const
    {
        return full(STAGES + i);
    }
    __device__ uint32_t query_empty(int i) const
    {
        return full(STAGES + i) + 8;
    }
};

/* Position in a ring: index and parity of the phase. */
template <int N> struct ring {
    int i = 0;
    uint32_t parity = 0;

    __device__ __forceinline__ void next()
    {
        if (++i == N) {
            i = 0;
            parity ^= 1;
        }
    }
};

/* This block's item of a round, for one kv head. Of prompts the heaviest come first, and rounds go
 * in alternating direction, so that no block gets the heavier one every time. False after the last.
 */
template <bool SHARED>
__device__ __forceinline__ bool get_item(const kern_attn &args, int round, kern_attn_item &item,
                                         int &kv_head)
{
    bool is_counted = SHARED && args.count;
    const kern_attn_item *items =
        is_counted ? (const kern_attn_item *)(args.pages + args.count[2]) : args.items;
    int n = (is_counted ? args.count[1] : args.n_items) * args.kv_heads;
    int i = round * gridDim.x + (round % 2 ? gridDim.x - 1 - blockIdx.x : blockIdx.x);

    if (i >= n)
        return false;
    item = items[i / args.kv_heads];
    kv_head = i % args.kv_heads;
    if (SHARED)
        item.context = KERN_CHUNK_KEYS; /* all that its rows see here */
    return true;
}

/* First (token, head) row of an item. */
template <bool SHARED> __device__ __forceinline__ int first_row(const kern_attn_item &item)
{
    return SHARED ? 0 : item.first;
}

template <bool SHARED>
__device__ __forceinline__ prefill_tiles tiles_of(const kern_attn &args, const kern_attn_item &item)
{
    return SHARED ? prefill_tiles{0, TILES_PER_CHUNK} : prefill_block_tiles(args, item);
}

/* The copying side: every thread announces its own part of a tile. */
template <int D, bool SHARED> struct producer {
    memory<D> m;
    ring<STAGES> at;
    ring<QUERIES> query;

    __device__ __forceinline__ void load_query(const kern_attn &args, const kern_attn_item &item,
                                               int kv_head)
    {
        constexpr int UNITS = D / 8;
        int group = args.heads / args.kv_heads, n = item.n_rows * group;

        barrier_wait(m.query_empty(query.i), query.parity ^ 1);
#pragma unroll 4
        for (int i = threadIdx.x; i < KERN_PREFILL_ROWS * UNITS; i += GROUP_THREADS) {
            int r = i / UNITS, unit = i % UNITS, row = min(first_row<SHARED>(item) + r, n - 1);
            int token = SHARED ? members_of(args, item)[row / group].x : item.row + row / group;
            const uint16_t *from = args.q + (size_t)token * args.q_stride +
                                   (kv_head * group + row % group) * D + unit * 8;
            uint32_t to = m.query(query.i) + r / GROUP_ROWS * config<D>::TILE_BYTES;
            copy_async(to + block_offset(r % GROUP_ROWS, unit), from, true);
        }
        barrier_arrive_after_copies(m.query_full(query.i));
        query.next();
    }
    __device__ __forceinline__ void load_page(uint32_t to, const uint16_t *from, int n_valid)
    {
        constexpr int UNITS = D / 8;
#pragma unroll
        for (int i = 0; i < KERN_PAGE_TOKENS * UNITS / GROUP_THREADS; i++) {
            int unit = i * GROUP_THREADS + threadIdx.x, row = unit / UNITS;
            copy_async(to + block_offset(row, unit % UNITS), from + unit * 8, row < n_valid);
        }
    }
    __device__ __forceinline__ void load_tile(const kern_attn &args, const size_t (&page)[2],
                                              int n_valid, int kv_head)
    {
        uint32_t to = m.stage(at.i);

        barrier_wait(m.empty(at.i), at.parity ^ 1);
#pragma unroll
        for (int p = 0; p < PAGES_PER_TILE; p++) {
            size_t from = (page[p] * args.kv_heads + kv_head) * (size_t)(KERN_PAGE_TOKENS * D);
            uint32_t rows = to + p * KERN_PAGE_TOKENS * 128;
            int n = n_valid - p * KERN_PAGE_TOKENS;
            load_page(rows, args.k_cache + from, n);
            load_page(rows + config<D>::TILE_BYTES, args.v_cache + from, n);
        }
        barrier_arrive_after_copies(m.full(at.i));
        at.next();
    }
    __device__ __forceinline__ void run(const kern_attn &args)
    {
        kern_attn_item item;
        int kv_head;

        for (int round = 0; get_item<SHARED>(args, round, item, kv_head); round++) {
            prefill_tiles tiles = tiles_of<SHARED>(args, item);
            const int32_t *pages = args.pages + item.page;
            int last = (item.context - 1) / KERN_PAGE_TOKENS;

            load_query(args, item, kv_head);
            for (int t = tiles.from; t < tiles.to; t++) {
                int p = t * PAGES_PER_TILE;
                size_t page[2] = {(size_t)pages[p], (size_t)pages[min(p + 1, last)]};
                load_tile(args, page, item.context - t * TILE_KEYS, kv_head);
            }
        }
    }
};

/* The computing side: 64 rows of an item. */
template <int D, bool SHARED> struct consumer {
    using C = config<D>;
    memory<D> m;
    ring<STAGES> at; /* tile whose scores come next */
    ring<QUERIES> query;
    int group, warp, lane; /* which consumer; warp of the group */
    float c;
    float s[8][4], out[D / 8][4], total_out[D / 8][4];
    uint32_t p[4][4], q[D / 16][4];
    attn_state state, total;

    __device__ __forceinline__ void release(uint32_t barrier)
    {
        if (lane == 0)
            barrier_arrive(barrier);
    }
    __device__ __forceinline__ void start_scores()
    {
        uint32_t k = __shfl_sync(~0u, wgmma_operand(m.stage(at.i), 16), 0);

        barrier_wait(m.full(at.i), at.parity);
        matrix_unit_fence();
        wgmma_hold(s);
        wgmma_begin();
#pragma unroll
        for (int i = 0; i < D / 16; i++) {
            uint32_t step = (i / 4 * BLOCK_BYTES + i % 4 * 32) / 16;
            wgmma_scores(s, q[i], k + step, i > 0);
        }
        wgmma_commit();
    }
    __device__ __forceinline__ void start_values(int stage, bool add)
    {
        uint32_t v =
            __shfl_sync(~0u, wgmma_operand(m.stage(stage) + C::TILE_BYTES, BLOCK_BYTES), 0);

        wgmma_hold(out);
        wgmma_hold(p);
        wgmma_begin();
#pragma unroll
        for (int k = 0; k < TILE_KEYS / 16; k++)
            wgmma_values(out, p[k], v + k * 16 * 128 / 16, k > 0 || add);
        wgmma_commit();
    }
    __device__ __forceinline__ void softmax(int tile, const prefill_rows &see, float (&factor)[2])
    {
        int key = tile * TILE_KEYS;

        if (!SHARED && (key + TILE_KEYS > see.all_to || key < see.all_from))
            mask_tile(s, key + 2 * (lane & 3), see.from, see.to);
        softmax_tile(s, state, factor, c);
    }
    __device__ __forceinline__ void pack()
    {
#pragma unroll
        for (int k = 0; k < 4; k++)
            pack_probabilities(p[k], s, k);
    }
    __device__ __forceinline__ void merge(attn_state chunk)
    {
        row_sums(chunk);
#pragma unroll
        for (int h = 0; h < 2; h++) {
            float a, b;
            merge_chunk(total.max[h], total.sum[h], chunk.max[h], chunk.sum[h], c, a, b);
#pragma unroll
            for (int n = 0; n < D / 8; n++)
#pragma unroll
                for (int i = 2 * h; i < 2 * h + 2; i++)
                    total_out[n][i] = merge_value(total_out[n][i], out[n][i], a, b);
        }
    }
    __device__ __forceinline__ void start_item()
    {
        total = attn_state_empty();
        state = attn_state_empty();
#pragma unroll
        for (int n = 0; n < D / 8; n++)
            total_out[n][0] = total_out[n][1] = total_out[n][2] = total_out[n][3] = 0;
        barrier_wait(m.query_full(query.i), query.parity);
        uint32_t from = m.query(query.i) + group * C::TILE_BYTES;
#pragma unroll
        for (int i = 0; i < D / 16; i++)
            load_matrices(q[i], from + block_offset(16 * warp + (lane & 15), 2 * i + (lane >> 4)));
        release(m.query_empty(query.i));
        query.next();
    }
    /* Tiles [from, to) for these rows; those of the block that these rows do not see go by. */
    __device__ __forceinline__ void run_item(prefill_tiles tiles, const prefill_rows &see)
    {
        int to = SHARED ? tiles.to : min(tiles.to, (see.any_to + TILE_KEYS - 1) / TILE_KEYS), stage;
        bool add = false;
        float factor[2];

        start_item();
        start_scores();
        wgmma_wait<0>();
        wgmma_hold(s);
        softmax(tiles.from, see, factor);
        pack();
        for (int t = tiles.from; t < to; t++) {
            stage = at.i;
            at.next();
            attn_state chunk = state;
            bool is_last = t + 1 == to, is_new = (t + 1) % TILES_PER_CHUNK == 0;
            if (!is_last) {
                start_scores();
                start_values(stage, add);
                wgmma_wait<1>();
                wgmma_hold(s);
                if (is_new)
                    state = attn_state_empty();
                softmax(t + 1, see, factor);
            } else {
                start_values(stage, add);
            }
            wgmma_wait<0>();
            wgmma_hold(out);
            wgmma_hold(p);
            release(m.empty(stage));
            add = !is_new;
            if (is_last || is_new) {
                merge(chunk);
            } else {
#pragma unroll
                for (int n = 0; n < D / 8; n++)
#pragma unroll
                    for (int i = 0; i < 4; i++)
                        out[n][i] = __fmul_rn(out[n][i], factor[i >> 1]);
            }
            pack();
        }
        for (int t = to; t < tiles.to; t++) {
            barrier_wait(m.full(at.i), at.parity);
            release(m.empty(at.i));
            at.next();
        }
    }
    __device__ __forceinline__ void run(const kern_attn &args)
    {
        kern_attn_item item;
        prefill_rows see;
        int kv_head;

        c = args.scale * 1.44269504f;
        for (int round = 0; get_item<SHARED>(args, round, item, kv_head); round++) {
            int first = first_row<SHARED>(item) + GROUP_ROWS * group + 16 * warp;
            if (!SHARED) {
                see = prefill_see(args, item, first, lane);
                prefill_group_limits(args, item, item.first + GROUP_ROWS * group, GROUP_ROWS, see);
            }
            run_item(tiles_of<SHARED>(args, item), see);
            if (SHARED)
                store_members<D>(args, item, kv_head, total_out, total, first + (lane >> 2), lane);
            else
                prefill_store<D>(args, item, kv_head, total_out, total, first + (lane >> 2), lane);
        }
    }
};

template <int D, bool SHARED>
__device__ __forceinline__ void work(const kern_attn &args, uint32_t base)
{
    memory<D> m = {base};

    if (threadIdx.x == 0) {
        for (int i = 0; i < STAGES + QUERIES; i++) {
            barrier_init(m.full(i), GROUP_THREADS);
            barrier_init(m.empty(i), CONSUMERS * GROUP_THREADS / 32);
        }
        matrix_unit_fence();
    }
    __syncthreads();
    start_next();
    wait_before();
    if (threadIdx.x < GROUP_THREADS) {
        registers_lower<40>();
        producer<D, SHARED> p;
        p.m = m;
        p.run(args);
    } else {
        registers_raise<232>();
        consumer<D, SHARED> w;
        w.m = m;
        w.group = threadIdx.x / GROUP_THREADS - 1;
        w.warp = threadIdx.x / 32 % 4;
        w.lane = threadIdx.x % 32;
        w.run(args);
    }
}

#endif

template <int D, bool SHARED>
__global__ void __launch_bounds__(THREADS, 1) prefill90(const __grid_constant__ kern_attn args)
{
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
    extern __shared__ __align__(128) char smem[];

    work<D, SHARED>(args, (smem_address(smem) + 1023) & ~1023u);
#endif
}

template <int D, bool SHARED> cudaError_t launch(const kern_attn &args, cudaStream_t stream)
{
    int n = args.n_items * args.kv_heads, n_sm = device_property(cudaDevAttrMultiProcessorCount);
    cudaError_t e = cudaFuncSetAttribute(
        prefill90<D, SHARED>, cudaFuncAttributeMaxDynamicSharedMemorySize, config<D>::SMEM_BYTES);
    if (e != cudaSuccess)
        return e;
    return launch_early(prefill90<D, SHARED>, n < n_sm ? n : n_sm, THREADS, config<D>::SMEM_BYTES,
                        stream, args);
}

} // namespace

cudaError_t prefill_launch90(const kern_attn &args, cudaStream_t stream)
{
    return args.head_dim == 64 ? launch<64, false>(args, stream) : launch<128, false>(args, stream);
}

cudaError_t shared_launch90(const kern_attn &args, cudaStream_t stream)
{
    return args.head_dim == 64 ? launch<64, true>(args, stream) : launch<128, true>(args, stream);
}
