/* SPDX-License-Identifier: Apache-2.0 */
/* The products of all experts on Hopper: what grouped.cu computes, bit for bit,
 * with the warpgroup matrix instructions.
 *
 * One persistent block a multiprocessor takes the places of a tile by 128 of
 * its expert's rows at a time. Weights are the left operand, so that a tile's
 * number of places is the instruction's free dimension, whatever the expert
 * has, and its weights are read once. A warpgroup copies: the weights as a box
 * of 128 rows by 64 columns; the input's rows as boxes or, where they do not
 * lie in order, by 16 bytes. Two compute 64 of the rows each; gated, these are
 * eight of the gate and the same eight of up by turns, so that a thread has
 * both values. Each turns its results round in shared memory, some places at a
 * time, while the other may still compute.
 *
 * To copy by 16 bytes takes longer than the products. So where rows do not lie
 * in order, clusters of two blocks take large tiles, each block half of the
 * places by 256 rows of weights, half of which it sends to both: half of the
 * copies for the same products.
 *
 * Bound by reading the weights below some 250 places an expert, by arithmetic
 * above.
 */
#include <cuda.h>

#include "cuda/grouped.cuh"
#include "cuda/wgmma.cuh"

namespace
{

constexpr int GROUP_THREADS = 128, CONSUMERS = 2, THREADS = GROUP_THREADS * (1 + CONSUMERS);
constexpr int DEPTH = 64, ROWS = 64; /* columns of a stage; rows of weights of an instruction */
constexpr int PART_BYTES = ROWS * DEPTH * 2;

/* A kernel of clusters of B blocks, of up to P places a block. A group of threads has B parts of 64
 * rows of weights. */
template <int P, int B> struct config {
    static constexpr int PLACES = P, BLOCKS = B;
    static constexpr int BOX = 64 / BLOCKS; /* places that are copied, or turned, at once */
    static constexpr int STAGES = PLACES == 64 ? 8 : 4;
    static constexpr int WEIGHT_BYTES = CONSUMERS * BLOCKS * PART_BYTES;
    static constexpr int STAGE_BYTES = WEIGHT_BYTES + PLACES * DEPTH * 2;
    static constexpr int CHUNKS = STAGES * STAGE_BYTES, CHUNK_BYTES = BOX * ROWS * 2;
    static constexpr int BARRIERS = CHUNKS + CONSUMERS * CHUNK_BYTES;
    static constexpr int SMEM_BYTES = BARRIERS + 16 * STAGES + 1024;
};

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)

constexpr int UNITS = DEPTH / 8; /* 16-byte units of a row in a stage */

/* The shared memory of a block, by address, and the place in its ring. */
template <class C> struct ring {
    uint32_t base;
    int i = 0;
    uint32_t parity = 0;

    __device__ uint32_t stage() const
    {
        return base + i * C::STAGE_BYTES;
    }
    __device__ uint32_t full(int at) const
    {
        return base + C::BARRIERS + 16 * at;
    }
    __device__ uint32_t empty(int at) const
    {
        return full(at) + 8;
    }
    __device__ __forceinline__ void next()
    {
        if (++i == C::STAGES) {
            i = 0;
            parity ^= 1;
        }
    }
};

/* What a cluster does at a time, and this block's places of it. */
struct piece {
    int expert, first; /* column of the result */
    int place, n_places;
};

/* Columns of the result of a part of the weights. */
__device__ __forceinline__ int part_columns(const struct kern_grouped &a)
{
    return a.is_gated ? ROWS / 2 : ROWS;
}

__device__ __forceinline__ int out_columns(const struct kern_grouped &a)
{
    return a.is_gated ? a.n / 2 : a.n;
}

/* The tensor maps of a launch: of the weights, and of inputs that lie in order. */
struct maps {
    const void *weights, *in;
};

/* The number of this block in its cluster. */
template <class C> __device__ __forceinline__ int rank_in_cluster()
{
    return blockIdx.x % C::BLOCKS;
}

/* This cluster's piece number `i`, column by column; false after the last. */
template <class C>
__device__ __forceinline__ bool get_piece(const struct kern_grouped &a, int i, struct piece &out)
{
    int columns = C::BLOCKS * CONSUMERS * part_columns(a);
    int across = (out_columns(a) + columns - 1) / columns;
    int clusters = gridDim.x / C::BLOCKS, cluster = blockIdx.x / C::BLOCKS;

    i = i * clusters + cluster;
    if (i >= *a.n_tiles * across)
        return false;
    struct kern_tile tile = a.tiles[i / across];
    int share = (tile.n_places + C::BLOCKS * C::BOX - 1) / (C::BLOCKS * C::BOX) * C::BOX;
    int before = rank_in_cluster<C>() * share;
    out = {tile.expert, i % across * columns, tile.place + before,
           max(0, min(share, tile.n_places - before))};
    return true;
}

/* This block's share of a stage's weights, to all of its cluster; the others send the rest. */
template <class C>
__device__ __forceinline__ void copy_weights(const ring<C> &at, const struct kern_grouped &a,
                                             const void *map, const struct piece &piece, int k)
{
    int rank = rank_in_cluster<C>();
    int column = piece.first + rank * CONSUMERS * part_columns(a);
    uint32_t to = at.stage() + rank * CONSUMERS * PART_BYTES;

    if constexpr (C::BLOCKS == 1)
        copy_box(to, map, k, column / 8, piece.expert, at.full(at.i));
    else
        copy_box_to_both(to, map, k, column / 8, piece.expert, at.full(at.i));
}

/* The same as copy_piece, of inputs that lie in order; one thread does it. */
template <class C>
__device__ __forceinline__ void copy_boxes(ring<C> &at, const struct kern_grouped &a,
                                           const struct maps &maps, const struct piece &piece)
{
    int n = (piece.n_places + C::BOX - 1) / C::BOX;

    for (int k = 0; k < a.k; k += DEPTH, at.next()) {
        barrier_wait(at.empty(at.i), at.parity ^ 1);
        barrier_arrive_expecting(at.full(at.i), C::WEIGHT_BYTES + n * C::BOX * DEPTH * 2);
        copy_weights(at, a, maps.weights, piece, k);
        for (int i = 0; i < n; i++)
            copy_rows(at.stage() + C::WEIGHT_BYTES + i * C::BOX * DEPTH * 2, maps.in, k,
                      piece.place + i * C::BOX, at.full(at.i));
    }
}

template <class C>
__device__ __forceinline__ void copy_piece(ring<C> &at, const struct kern_grouped &a,
                                           const void *map, const struct piece &piece)
{
    constexpr int STEP = GROUP_THREADS / UNITS; /* rows that the threads copy at once */
    int unit = threadIdx.x % UNITS, row = threadIdx.x / UNITS;
    int n = (piece.n_places + C::BOX - 1) / C::BOX * C::BOX;
    int source[C::PLACES / STEP];

#pragma unroll
    for (int i = 0; i < C::PLACES / STEP; i++)
        source[i] = row + i * STEP < piece.n_places ? a.rows[piece.place + row + i * STEP] : -1;
    for (int k = 0; k < a.k; k += DEPTH, at.next()) {
        uint32_t to = at.stage() + C::WEIGHT_BYTES + row * 128 + ((unit ^ (row & 7)) << 4);
        bool is_inside = k + unit * 8 < a.k;

        barrier_wait(at.empty(at.i), at.parity ^ 1);
        if (threadIdx.x == 0) {
            barrier_arrive_expecting(at.full(at.i), C::WEIGHT_BYTES);
            copy_weights(at, a, map, piece, k);
        }
#pragma unroll
        for (int i = 0; i < C::PLACES / STEP; i++) {
            bool valid = source[i] >= 0 && is_inside;
            if (i * STEP < n)
                copy_async(to + i * STEP * 128,
                           valid ? a.in + (size_t)source[i] * a.k + k + unit * 8 : a.in, valid);
        }
        barrier_arrive_after_copies(at.full(at.i));
    }
}

/* A warp has read a stage, which all blocks of the cluster fill. */
template <class C> __device__ __forceinline__ void release(const ring<C> &at, int stage)
{
    int lane = threadIdx.x % 32;

    if (lane < C::BLOCKS) {
        if constexpr (C::BLOCKS == 1)
            barrier_arrive(at.empty(stage));
        else
            barrier_arrive_at(at.empty(stage), lane);
    }
}

template <int PARTS, int N> __device__ __forceinline__ void hold(float (&c)[PARTS][N][4])
{
#pragma unroll
    for (int i = 0; i < PARTS; i++)
        wgmma_hold(c[i]);
}

/* c = the group's parts of the weights by the block's places. */
template <class C, int N>
__device__ __forceinline__ void multiply(float (&c)[C::BLOCKS][N][4], ring<C> &at, int n_steps,
                                         int group)
{
    int before = 0;

    for (int step = 0; step < n_steps; step++) {
        uint32_t weights = wgmma_operand(at.stage() + group * C::BLOCKS * PART_BYTES, 16);
        uint32_t in = wgmma_operand(at.stage() + C::WEIGHT_BYTES, 16);

        barrier_wait(at.full(at.i), at.parity);
        matrix_unit_fence();
        hold(c);
        wgmma_begin();
#pragma unroll
        for (int k = 0; k < DEPTH / 16; k++)
#pragma unroll
            for (int i = 0; i < C::BLOCKS; i++)
                wgmma_product(c[i], weights + i * PART_BYTES / 16 + 2 * k, in + 2 * k,
                              step > 0 || k > 0);
        wgmma_commit();
        if (step > 0) {
            wgmma_wait<1>();
            release(at, before);
        }
        hold(c);
        before = at.i;
        at.next();
    }
    wgmma_wait<0>();
    hold(c);
    release(at, before);
}

/* A group that has nothing to compute lets the stages go by. */
template <class C> __device__ __forceinline__ void skip(ring<C> &at, int n_steps)
{
    for (int step = 0; step < n_steps; step++, at.next()) {
        barrier_wait(at.full(at.i), at.parity);
        release(at, at.i);
    }
}

/* Byte offset of a 16-byte unit of a place among the turned results, 128 bytes a place. */
__device__ __forceinline__ uint32_t turned_offset(int place, int unit)
{
    return (uint32_t)(place * 128 + ((unit ^ (place & 7)) << 4));
}

/* 8 N places of results to shared memory, 64 columns each. */
template <int N>
__device__ __forceinline__ void turn(const float (&c)[N][4], uint32_t to, int warp, int lane)
{
    int place = (lane >> 4) * 8 + (lane & 7), unit = warp * 2 + ((lane >> 3) & 1);

#pragma unroll
    for (int n = 0; n < N; n += 2)
        store_matrices_transposed(to + turned_offset(place + n * 8, unit),
                                  pack_bf16(c[n][0], c[n][1]), pack_bf16(c[n][2], c[n][3]),
                                  pack_bf16(c[n + 1][0], c[n + 1][1]),
                                  pack_bf16(c[n + 1][2], c[n + 1][3]));
}

/* The same gated, 32 columns each: a warp's rows are eight of the gate, then of up. */
template <int N>
__device__ __forceinline__ void turn_gated(const struct kern_grouped &a, const float (&c)[N][4],
                                           uint32_t to, int warp, int lane)
{
    uint32_t x[N];

#pragma unroll
    for (int n = 0; n < N; n++)
        x[n] = pack_bf16(grouped_gate(a, c[n][0], c[n][2]), grouped_gate(a, c[n][1], c[n][3]));
#pragma unroll
    for (int n = 0; n < N; n += 4)
        store_matrices_transposed(to + turned_offset(n * 8 + lane, warp), x[n], x[n + 1], x[n + 2],
                                  x[n + 3]);
}

/* Up to PLACES of them go out, from the piece's place number `first` on. */
template <int PLACES>
__device__ __forceinline__ void put_chunk(const struct kern_grouped &a, const struct piece &piece,
                                          int column, uint32_t from, int first)
{
    int units = part_columns(a) / 8, width = out_columns(a);

    for (int i = threadIdx.x % GROUP_THREADS; i < PLACES * units; i += GROUP_THREADS) {
        int place = i / units, unit = i % units;
        if (first + place >= piece.n_places || column + unit * 8 >= width)
            continue;
        uint4 x;
        asm volatile("ld.shared.v4.b32 {%0, %1, %2, %3}, [%4];"
                     : "=r"(x.x), "=r"(x.y), "=r"(x.z), "=r"(x.w)
                     : "r"(from + turned_offset(place, unit))
                     : "memory");
        size_t row = piece.place + first + place;
        *(uint4 *)(a.out + row * width + column + unit * 8) = x;
    }
}

/* The results of a part of the weights, by way of the group's room at `chunk`. */
template <class C, int N>
__device__ __forceinline__ void put_part(const struct kern_grouped &a, const float (&c)[N][4],
                                         const struct piece &piece, int group, int column,
                                         uint32_t chunk)
{
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32 % 4;

#pragma unroll
    for (int first = 0; first < N * 8; first += C::BOX) {
        const float(&some)[C::BOX / 8][4] = *(const float(*)[C::BOX / 8][4]) & c[first / 8];
        barrier_threads(1 + group, GROUP_THREADS);
        if (a.is_gated)
            turn_gated(a, some, chunk, warp, lane);
        else
            turn(some, chunk, warp, lane);
        barrier_threads(1 + group, GROUP_THREADS);
        put_chunk<C::BOX>(a, piece, column, chunk, first);
    }
}

template <class C, int N>
__device__ __forceinline__ void do_piece(ring<C> &at, const struct kern_grouped &a,
                                         const struct piece &piece, int group, int column)
{
    uint32_t chunk = at.base + C::CHUNKS + group * C::CHUNK_BYTES;
    float c[C::BLOCKS][N / 8][4] = {};

    multiply(c, at, (a.k + DEPTH - 1) / DEPTH, group);
#pragma unroll
    for (int i = 0; i < C::BLOCKS; i++)
        put_part<C>(a, c[i], piece, group, column + i * part_columns(a), chunk);
}

template <class C> __device__ __forceinline__ void consume(ring<C> at, const struct kern_grouped &a)
{
    int group = __shfl_sync(~0u, threadIdx.x / GROUP_THREADS - 1, 0); /* so that it is uniform */
    struct piece piece;

    for (int i = 0; get_piece<C>(a, i, piece); i++) {
        int column = piece.first + group * C::BLOCKS * part_columns(a);
        if (piece.n_places == 0 || column >= out_columns(a))
            skip(at, (a.k + DEPTH - 1) / DEPTH);
        else if (C::PLACES == C::BOX || piece.n_places <= C::BOX)
            do_piece<C, C::BOX>(at, a, piece, group, column);
        else if (piece.n_places <= 2 * C::BOX)
            do_piece<C, 2 * C::BOX>(at, a, piece, group, column);
        else if (piece.n_places <= 3 * C::BOX)
            do_piece<C, 3 * C::BOX>(at, a, piece, group, column);
        else
            do_piece<C, 4 * C::BOX>(at, a, piece, group, column);
    }
}

template <class C> __device__ __forceinline__ void synchronise()
{
    if constexpr (C::BLOCKS == 1)
        __syncthreads();
    else
        barrier_cluster();
}

template <class C>
__device__ __forceinline__ void work(const struct kern_grouped &a, const struct maps &maps,
                                     uint32_t base)
{
    ring<C> at = {base};
    struct piece piece;

    if (threadIdx.x == 0) {
        for (int i = 0; i < C::STAGES; i++) {
            barrier_init(at.full(i), a.rows ? GROUP_THREADS + 1 : 1);
            barrier_init(at.empty(i), C::BLOCKS * CONSUMERS * GROUP_THREADS / 32);
        }
        matrix_unit_fence();
    }
    synchronise<C>();
    start_next();
    wait_before();
    if (threadIdx.x < GROUP_THREADS) {
        registers_lower<88>();
        for (int i = 0; a.rows && get_piece<C>(a, i, piece); i++)
            copy_piece(at, a, maps.weights, piece);
        for (int i = 0; !a.rows && threadIdx.x == 0 && get_piece<C>(a, i, piece); i++)
            copy_boxes(at, a, maps, piece);
    } else {
        registers_raise<208>();
        consume(at, a);
    }
    if constexpr (C::BLOCKS > 1)
        barrier_cluster(); /* the others' copies and arrivals come to this block's memory */
}

#endif

template <class C>
__global__ void __launch_bounds__(THREADS, 1)
    grouped90(const __grid_constant__ struct kern_grouped a,
              const __grid_constant__ CUtensorMap weights, const __grid_constant__ CUtensorMap in)
{
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
    extern __shared__ __align__(128) char smem[];

    work<C>(a, {&weights, &in}, (smem_address(smem) + 1023) & ~1023u);
#endif
}

typedef CUresult encode_function(CUtensorMap *, CUtensorMapDataType, cuuint32_t, void *,
                                 const cuuint64_t *, const cuuint64_t *, const cuuint32_t *,
                                 const cuuint32_t *, CUtensorMapInterleave, CUtensorMapSwizzle,
                                 CUtensorMapL2promotion, CUtensorMapFloatOOBfill);

/* A tensor of bf16 in boxes of 128-byte rows. */
cudaError_t make_map(CUtensorMap *map, const void *data, int n, const cuuint64_t *size,
                     const cuuint64_t *stride, const cuuint32_t *box)
{
    cuuint32_t step[5] = {1, 1, 1, 1, 1};
    cudaDriverEntryPointQueryResult found;
    void *encode = NULL;
    cudaError_t e = cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &encode, 12000,
                                                     cudaEnableDefault, &found);

    if (e != cudaSuccess || encode == NULL)
        return e != cudaSuccess ? e : cudaErrorNotSupported;
    CUresult result = ((encode_function *)encode)(
        map, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, (cuuint32_t)n, (void *)data, size, stride, box, step,
        CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
        CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
    return result == CUDA_SUCCESS ? cudaSuccess : cudaErrorInvalidValue;
}

/* The weights as a tensor of columns, rows eight by eight, gate and up, eights of rows, experts; so
 * that a box has both by turns. Without a gate there is one of the two, in boxes twice as high. */
cudaError_t map_weights(CUtensorMap *map, const struct kern_grouped &a)
{
    cuuint64_t halves = a.is_gated ? 2 : 1, half = (cuuint64_t)a.n / halves;
    cuuint64_t row = (cuuint64_t)a.k * 2;
    cuuint64_t size[5] = {(cuuint64_t)a.k, 8, halves, half / 8, (cuuint64_t)a.n_held};
    cuuint64_t stride[4] = {row, half * row, 8 * row, a.n * row};
    cuuint32_t box[5] = {DEPTH, 8, (cuuint32_t)halves, (cuuint32_t)(16 / halves), 1};

    return make_map(map, a.weights, 5, size, stride, box);
}

/* The input's rows, in order, in boxes of `height` of them. */
cudaError_t map_in(CUtensorMap *map, const struct kern_grouped &a, int height)
{
    cuuint64_t size[2] = {(cuuint64_t)a.k, a.places > 0 ? (cuuint64_t)a.places : 1};
    cuuint64_t stride[1] = {(cuuint64_t)a.k * 2};
    cuuint32_t box[2] = {DEPTH, (cuuint32_t)height};

    return make_map(map, a.in, 2, size, stride, box);
}

/* As launch_early(), in clusters. */
template <class C>
cudaError_t launch_clusters(const struct kern_grouped &a, const CUtensorMap &weights,
                            const CUtensorMap &in, cudaStream_t stream)
{
    cudaLaunchAttribute attributes[2] = {};
    cudaLaunchConfig_t config = {};

    attributes[0].id = cudaLaunchAttributeProgrammaticStreamSerialization;
    attributes[0].val.programmaticStreamSerializationAllowed = 1;
    attributes[1].id = cudaLaunchAttributeClusterDimension;
    attributes[1].val.clusterDim = {C::BLOCKS, 1, 1};
    config.gridDim = dim3(device_property(cudaDevAttrMultiProcessorCount) / C::BLOCKS * C::BLOCKS);
    config.blockDim = dim3(THREADS);
    config.dynamicSmemBytes = C::SMEM_BYTES;
    config.stream = stream;
    config.attrs = attributes;
    config.numAttrs = C::BLOCKS > 1 ? 2 : 1;
    return cudaLaunchKernelEx(&config, grouped90<C>, a, weights, in);
}

template <class C> cudaError_t launch(const struct kern_grouped &a, cudaStream_t stream)
{
    CUtensorMap weights, in = {};
    cudaError_t e = cudaFuncSetAttribute(grouped90<C>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                         C::SMEM_BYTES);

    if (e == cudaSuccess)
        e = map_weights(&weights, a);
    if (e == cudaSuccess && !a.rows)
        e = map_in(&in, a, C::BOX);
    return e != cudaSuccess ? e : launch_clusters<C>(a, weights, in, stream);
}

} // namespace

cudaError_t grouped_launch90(const struct kern_grouped &a, cudaStream_t stream)
{
    if (a.tile_places != 64 && a.tile_places != 256)
        return cudaErrorInvalidValue;
    if (a.tile_places == 64)
        return launch<config<64, 1>>(a, stream);
    return a.rows ? launch<config<128, 2>>(a, stream) : launch<config<256, 1>>(a, stream);
}
