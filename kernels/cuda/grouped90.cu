/* SPDX-License-Identifier: Apache-2.0 */
/* The products of all experts on Hopper: what grouped.cu computes, bit for bit,
 * with the warpgroup matrix instructions.
 *
 * One persistent block a multiprocessor takes a tile of at most 256 places by
 * 128 of its expert's rows at a time. Weights are the left operand, so that a
 * tile's number of places is the instruction's free dimension: 64, 128, 192 or
 * 256, whatever the expert has, and its weights are read once. A warpgroup
 * copies: the weights as a box of 128 rows by 64 columns; the input's rows as
 * boxes of 64 or, where they do not lie in order, by 16 bytes, which takes a
 * quarter longer. Two compute 64 of the rows each; gated, these are eight of the
 * gate and the same eight of up by turns, so that a thread has both values. Each
 * turns its results round in shared memory, 64 places at a time, while the other
 * may still compute.
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
constexpr int DEPTH = 64, ROWS = 64; /* columns of a stage; rows of weights of a group */
constexpr int CHUNK = 64, CHUNK_BYTES = CHUNK * ROWS * 2; /* places turned at once by a group */

template <int PLACES> struct config {
    static constexpr int STAGES = PLACES == 256 ? 4 : 8;
    static constexpr int WEIGHT_BYTES = CONSUMERS * ROWS * DEPTH * 2;
    static constexpr int STAGE_BYTES = WEIGHT_BYTES + PLACES * 128;
    static constexpr int CHUNKS = STAGES * STAGE_BYTES;
    static constexpr int BARRIERS = CHUNKS + CONSUMERS * CHUNK_BYTES;
    static constexpr int SMEM_BYTES = BARRIERS + 16 * STAGES + 1024;
};

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)

constexpr int UNITS = DEPTH / 8; /* 16-byte units of a row in a stage */

/* The shared memory of a block, by address, and the place in its ring. */
template <int PLACES> struct ring {
    using C = config<PLACES>;
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

/* What a block does at a time: a tile, and rows of its expert's matrix. */
struct piece {
    struct kern_tile tile;
    int first; /* column of the result */
};

/* Columns of the result that a group of threads has. */
__device__ __forceinline__ int group_columns(const struct kern_grouped &a)
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

/* This block's piece number `i`, column by column; false after the last. */
__device__ __forceinline__ bool get_piece(const struct kern_grouped &a, int i, struct piece &out)
{
    int columns = CONSUMERS * group_columns(a), across = (out_columns(a) + columns - 1) / columns;

    i = i * gridDim.x + blockIdx.x;
    if (i >= *a.n_tiles * across)
        return false;
    out.tile = a.tiles[i / across];
    out.first = i % across * columns;
    return true;
}

/* The same as copy_piece, of inputs that lie in order; one thread does it. */
template <int PLACES>
__device__ __forceinline__ void copy_boxes(ring<PLACES> &at, const struct kern_grouped &a,
                                           const struct maps &maps, const struct piece &piece)
{
    using C = config<PLACES>;
    int n = (piece.tile.n_places + CHUNK - 1) / CHUNK;

    for (int k = 0; k < a.k; k += DEPTH, at.next()) {
        barrier_wait(at.empty(at.i), at.parity ^ 1);
        barrier_arrive_expecting(at.full(at.i), C::WEIGHT_BYTES + n * CHUNK * 128);
        copy_box(at.stage(), maps.weights, k, piece.first / 8, piece.tile.expert, at.full(at.i));
        for (int i = 0; i < n; i++)
            copy_rows(at.stage() + C::WEIGHT_BYTES + i * CHUNK * 128, maps.in, k,
                      piece.tile.place + i * CHUNK, at.full(at.i));
    }
}

template <int PLACES>
__device__ __forceinline__ void copy_piece(ring<PLACES> &at, const struct kern_grouped &a,
                                           const void *map, const struct piece &piece)
{
    constexpr int STEP = GROUP_THREADS / UNITS; /* rows that the threads copy at once */
    using C = config<PLACES>;
    int unit = threadIdx.x % UNITS, row = threadIdx.x / UNITS;
    int n = (piece.tile.n_places + CHUNK - 1) / CHUNK * CHUNK;
    int source[PLACES / STEP];

#pragma unroll
    for (int i = 0; i < PLACES / STEP; i++) {
        int place = piece.tile.place + row + i * STEP;
        source[i] = row + i * STEP >= piece.tile.n_places ? -1 : a.rows ? a.rows[place] : place;
    }
    for (int k = 0; k < a.k; k += DEPTH, at.next()) {
        uint32_t to = at.stage() + C::WEIGHT_BYTES + row * 128 + ((unit ^ (row & 7)) << 4);
        bool is_inside = k + unit * 8 < a.k;

        barrier_wait(at.empty(at.i), at.parity ^ 1);
        if (threadIdx.x == 0) {
            barrier_arrive_expecting(at.full(at.i), C::WEIGHT_BYTES);
            copy_box(at.stage(), map, k, piece.first / 8, piece.tile.expert, at.full(at.i));
        }
#pragma unroll
        for (int i = 0; i < PLACES / STEP; i++) {
            bool valid = source[i] >= 0 && is_inside;
            if (i * STEP < n)
                copy_async(to + i * STEP * 128,
                           valid ? a.in + (size_t)source[i] * a.k + k + unit * 8 : a.in, valid);
        }
        barrier_arrive_after_copies(at.full(at.i));
    }
}

/* c = the group's 64 rows of weights by the tile's places. */
template <int PLACES, int N>
__device__ __forceinline__ void multiply(float (&c)[N][4], ring<PLACES> &at, int n_steps, int group)
{
    using C = config<PLACES>;
    int before = 0;

    for (int step = 0; step < n_steps; step++) {
        uint32_t a = __shfl_sync(
            ~0u, wgmma_operand(at.stage() + group * (C::WEIGHT_BYTES / CONSUMERS), 16), 0);
        uint32_t b = __shfl_sync(~0u, wgmma_operand(at.stage() + C::WEIGHT_BYTES, 16), 0);

        barrier_wait(at.full(at.i), at.parity);
        matrix_unit_fence();
        wgmma_hold(c);
        wgmma_begin();
#pragma unroll
        for (int k = 0; k < DEPTH / 16; k++)
            wgmma_product(c, a + 2 * k, b + 2 * k, step > 0 || k > 0);
        wgmma_commit();
        if (step > 0) {
            wgmma_wait<1>();
            if (threadIdx.x % 32 == 0)
                barrier_arrive(at.empty(before));
        }
        wgmma_hold(c);
        before = at.i;
        at.next();
    }
    wgmma_wait<0>();
    wgmma_hold(c);
    if (threadIdx.x % 32 == 0)
        barrier_arrive(at.empty(before));
}

/* Byte offset of a 16-byte unit of a place among the turned results, 128 bytes a place. */
__device__ __forceinline__ uint32_t turned_offset(int place, int unit)
{
    return (uint32_t)(place * 128 + ((unit ^ (place & 7)) << 4));
}

/* 64 places of results to shared memory, 64 columns each. */
__device__ __forceinline__ void turn(const float (&c)[8][4], uint32_t to, int warp, int lane)
{
    int place = (lane >> 4) * 8 + (lane & 7), unit = warp * 2 + ((lane >> 3) & 1);

#pragma unroll
    for (int n = 0; n < 8; n += 2)
        store_matrices_transposed(to + turned_offset(place + n * 8, unit),
                                  pack_bf16(c[n][0], c[n][1]), pack_bf16(c[n][2], c[n][3]),
                                  pack_bf16(c[n + 1][0], c[n + 1][1]),
                                  pack_bf16(c[n + 1][2], c[n + 1][3]));
}

/* The same gated, 32 columns each: a warp's rows are eight of the gate, then of up. */
__device__ __forceinline__ void turn_gated(const struct kern_grouped &a, const float (&c)[8][4],
                                           uint32_t to, int warp, int lane)
{
    uint32_t x[8];

#pragma unroll
    for (int n = 0; n < 8; n++)
        x[n] = pack_bf16(grouped_gate(a, c[n][0], c[n][2]), grouped_gate(a, c[n][1], c[n][3]));
#pragma unroll
    for (int n = 0; n < 8; n += 4)
        store_matrices_transposed(to + turned_offset(n * 8 + lane, warp), x[n], x[n + 1], x[n + 2],
                                  x[n + 3]);
}

/* They go out. */
__device__ __forceinline__ void put_chunk(const struct kern_grouped &a, const struct piece &piece,
                                          int column, uint32_t from, int first_place)
{
    int units = group_columns(a) / 8, width = out_columns(a);

    for (int i = threadIdx.x % GROUP_THREADS; i < CHUNK * units; i += GROUP_THREADS) {
        int place = i / units, unit = i % units;
        if (first_place + place >= piece.tile.n_places || column + unit * 8 >= width)
            continue;
        uint4 x;
        asm volatile("ld.shared.v4.b32 {%0, %1, %2, %3}, [%4];"
                     : "=r"(x.x), "=r"(x.y), "=r"(x.z), "=r"(x.w)
                     : "r"(from + turned_offset(place, unit))
                     : "memory");
        size_t row = piece.tile.place + first_place + place;
        *(uint4 *)(a.out + row * width + column + unit * 8) = x;
    }
}

template <int PLACES, int N>
__device__ __forceinline__ void do_piece(ring<PLACES> &at, const struct kern_grouped &a,
                                         const struct piece &piece, int group)
{
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32 % 4;
    int column = piece.first + group * group_columns(a);
    uint32_t chunk = at.base + config<PLACES>::CHUNKS + group * CHUNK_BYTES;
    float c[N / 8][4] = {};

    multiply<PLACES>(c, at, (a.k + DEPTH - 1) / DEPTH, group);
#pragma unroll
    for (int first = 0; first < N; first += CHUNK) {
        const float(&part)[8][4] = *(const float(*)[8][4]) & c[first / 8];
        barrier_threads(1 + group, GROUP_THREADS);
        if (a.is_gated)
            turn_gated(a, part, chunk, warp, lane);
        else
            turn(part, chunk, warp, lane);
        barrier_threads(1 + group, GROUP_THREADS);
        put_chunk(a, piece, column, chunk, first);
    }
}

template <int PLACES>
__device__ __forceinline__ void consume(ring<PLACES> at, const struct kern_grouped &a)
{
    int group = threadIdx.x / GROUP_THREADS - 1;
    struct piece piece;

    for (int i = 0; get_piece(a, i, piece); i++) {
        if (PLACES == 64 || piece.tile.n_places <= 64)
            do_piece<PLACES, 64>(at, a, piece, group);
        else if (piece.tile.n_places <= 128)
            do_piece<PLACES, 128>(at, a, piece, group);
        else if (piece.tile.n_places <= 192)
            do_piece<PLACES, 192>(at, a, piece, group);
        else
            do_piece<PLACES, 256>(at, a, piece, group);
    }
}

template <int PLACES>
__device__ __forceinline__ void work(const struct kern_grouped &a, const struct maps &maps,
                                     uint32_t base)
{
    ring<PLACES> at = {base};
    struct piece piece;

    if (threadIdx.x == 0) {
        for (int i = 0; i < config<PLACES>::STAGES; i++) {
            barrier_init(at.full(i), a.rows ? GROUP_THREADS + 1 : 1);
            barrier_init(at.empty(i), CONSUMERS * GROUP_THREADS / 32);
        }
        matrix_unit_fence();
    }
    __syncthreads();
    start_next();
    wait_before();
    if (threadIdx.x < GROUP_THREADS) {
        registers_lower<88>();
        for (int i = 0; a.rows && get_piece(a, i, piece); i++)
            copy_piece(at, a, maps.weights, piece);
        for (int i = 0; !a.rows && threadIdx.x == 0 && get_piece(a, i, piece); i++)
            copy_boxes(at, a, maps, piece);
    } else {
        registers_raise<208>();
        consume(at, a);
    }
}

#endif

template <int PLACES>
__global__ void __launch_bounds__(THREADS, 1)
    grouped90(const __grid_constant__ struct kern_grouped a,
              const __grid_constant__ CUtensorMap weights, const __grid_constant__ CUtensorMap in)
{
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
    extern __shared__ __align__(128) char smem[];

    work<PLACES>(a, {&weights, &in}, (smem_address(smem) + 1023) & ~1023u);
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

cudaError_t map_in(CUtensorMap *map, const struct kern_grouped &a)
{
    cuuint64_t size[2] = {(cuuint64_t)a.k, a.places > 0 ? (cuuint64_t)a.places : 1};
    cuuint64_t stride[1] = {(cuuint64_t)a.k * 2};
    cuuint32_t box[2] = {DEPTH, CHUNK};

    return make_map(map, a.in, 2, size, stride, box);
}

template <int PLACES> cudaError_t launch(const struct kern_grouped &a, cudaStream_t stream)
{
    constexpr int BYTES = config<PLACES>::SMEM_BYTES;
    CUtensorMap weights, in = {};
    cudaError_t e =
        cudaFuncSetAttribute(grouped90<PLACES>, cudaFuncAttributeMaxDynamicSharedMemorySize, BYTES);

    if (e == cudaSuccess)
        e = map_weights(&weights, a);
    if (e == cudaSuccess && !a.rows)
        e = map_in(&in, a);
    return e != cudaSuccess
               ? e
               : launch_early(grouped90<PLACES>, device_property(cudaDevAttrMultiProcessorCount),
                              THREADS, BYTES, stream, a, weights, in);
}

} // namespace

cudaError_t grouped_launch90(const struct kern_grouped &a, cudaStream_t stream)
{
    if (a.tile_places != 64 && a.tile_places != 256)
        return cudaErrorInvalidValue;
    return a.tile_places == 64 ? launch<64>(a, stream) : launch<256>(a, stream);
}
