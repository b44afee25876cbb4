/* SPDX-License-Identifier: Apache-2.0 */
/* The products of all experts at once: each tile is some places of one expert.
 *
 *   out[place][j] = sum over k of in[row of place][k] weights[expert][j][k]
 *
 * or what kern_glu makes of it. Every sum is one chain of mma over k, so that a
 * row has the same bits as from kern_chain, in whatever tile it lies. Tiles are
 * listed on the device; a block takes a tile and 64 columns and finds nothing to
 * do beyond the list's end. Operands come through a ring of asynchronous
 * copies, the input's rows from wherever they lie. Gated, a warp has the gate's
 * columns and the same of up, so that a thread has both values.
 *
 * Of few places: bound by reading the weights of the experts that were chosen.
 * Of many: by mma.sync; on Hopper grouped90.cu does these.
 */
#include "cuda/grouped.cuh"
#include "cuda/vec.cuh"

namespace
{

constexpr int THREADS = 128, COLUMNS = 64, DEPTH = 64, UNITS = DEPTH / 8, ROW_BYTES = DEPTH * 2;

/* Warps side by side along the columns; each has 16 M places by 8 N columns. */
template <int PLACES> struct config {
    static constexpr int ACROSS = PLACES == 16 ? 4 : 2;
    static constexpr int M = PLACES == 16 ? 1 : PLACES / 32, N = COLUMNS / 8 / ACROSS;
    static constexpr int WEIGHT_BYTES = COLUMNS * ROW_BYTES;
    static constexpr int STAGE_BYTES = WEIGHT_BYTES + PLACES * ROW_BYTES;
    static constexpr int STAGES = PLACES == 16 ? 6 : 4;
    static constexpr int SMEM_BYTES = STAGES * STAGE_BYTES;
};

__device__ __forceinline__ uint32_t unit_offset(int row, int unit)
{
    return (uint32_t)(row * ROW_BYTES + ((unit ^ (row & 7)) << 4));
}

/* The row of an expert's matrix that is column `column` of a block's tile; gated: eight of the gate
 * and eight of up by turns. */
__device__ __forceinline__ int weight_row(const struct kern_grouped &a, int first, int column)
{
    if (!a.is_gated)
        return first + column;
    return first / 2 + column / 16 * 8 + column % 8 + (column & 8 ? a.n / 2 : 0);
}

/* Is it within its part of the matrix? */
__device__ __forceinline__ bool is_column(const struct kern_grouped &a, int first, int column)
{
    return a.is_gated ? first / 2 + column / 16 * 8 + column % 8 < a.n / 2 : first + column < a.n;
}

/* What a thread copies: the same units of some rows at each step. */
template <int N> struct copier {
    const uint16_t *from[N]; /* NULL: zeros */
    uint32_t to[N];

    __device__ __forceinline__ void set(int i, const uint16_t *row, int at)
    {
        from[i] = row ? row + at % UNITS * 8 : NULL;
        to[i] = unit_offset(at / UNITS, at % UNITS);
    }
    __device__ __forceinline__ void start(uint32_t stage, int k, int n_k, const uint16_t *any) const
    {
        int unit = threadIdx.x % UNITS * 8;
#pragma unroll
        for (int i = 0; i < N; i++) {
            bool valid = from[i] && k + unit < n_k;
            copy_async(stage + to[i], valid ? from[i] + k : any, valid);
        }
    }
};

template <int PLACES>
__device__ __forceinline__ void store(const struct kern_grouped &a, const struct kern_tile &tile,
                                      int first, int place, int column,
                                      const float (&c)[config<PLACES>::N][4])
{
    int width = a.is_gated ? a.n / 2 : a.n, step = a.is_gated ? 2 : 1;

#pragma unroll
    for (int h = 0; h < 2; h++) {
        if (place + 8 * h >= tile.n_places)
            continue;
        uint16_t *out = a.out + (size_t)(tile.place + place + 8 * h) * width;
#pragma unroll
        for (int n = 0; n < config<PLACES>::N; n++) {
            int at = column + 8 * n;
            if (n % step || !is_column(a, first, at))
                continue;
            float x = c[n][2 * h], y = c[n][2 * h + 1];
            if (a.is_gated) {
                x = grouped_gate(a, x, c[n | 1][2 * h]);
                y = grouped_gate(a, y, c[n | 1][2 * h + 1]);
            }
            *(uint32_t *)(out + (a.is_gated ? weight_row(a, first, at) : first + at)) =
                pack_bf16(x, y);
        }
    }
}

template <int PLACES>
__device__ __forceinline__ void do_tile(const struct kern_grouped &a, const struct kern_tile &tile,
                                        int first, uint32_t stages)
{
    using C = config<PLACES>;
    constexpr int STEP = THREADS / UNITS; /* rows that the threads copy at once */
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32, n_steps = (a.k + DEPTH - 1) / DEPTH;
    int place = warp / C::ACROSS * 16 * C::M, column = warp % C::ACROSS * 8 * C::N;
    const uint16_t *weights = a.weights + (size_t)tile.expert * a.n * a.k;
    copier<COLUMNS / STEP> w;
    copier<PLACES / STEP> in;
    float c[C::M][C::N][4] = {};

#pragma unroll
    for (int i = 0; i < COLUMNS / STEP; i++) {
        int at = i * THREADS + threadIdx.x, row = at / UNITS;
        bool valid = is_column(a, first, row);
        w.set(i, valid ? weights + (size_t)weight_row(a, first, row) * a.k : NULL, at);
    }
#pragma unroll
    for (int i = 0; i < PLACES / STEP; i++) {
        int at = i * THREADS + threadIdx.x;
        in.set(i, grouped_row(a, tile, at / UNITS), at);
    }
    auto load = [&](int step) {
        if (step < n_steps) {
            uint32_t stage = stages + step % C::STAGES * C::STAGE_BYTES;
            w.start(stage, step * DEPTH, a.k, weights);
            in.start(stage + C::WEIGHT_BYTES, step * DEPTH, a.k, weights);
        }
        copy_commit();
    };
    for (int step = 0; step < C::STAGES - 1; step++)
        load(step);
    for (int step = 0; step < n_steps; step++) {
        uint32_t stage = stages + step % C::STAGES * C::STAGE_BYTES;

        copy_wait<C::STAGES - 2>();
        __syncthreads();
        load(step + C::STAGES - 1);
#pragma unroll
        for (int k = 0; k < DEPTH / 16; k++) {
            uint32_t x[C::M][4], y[C::N / 2][4];
#pragma unroll
            for (int m = 0; m < C::M; m++)
                load_matrices(x[m],
                              stage + C::WEIGHT_BYTES +
                                  unit_offset(place + 16 * m + (lane & 15), 2 * k + (lane >> 4)));
#pragma unroll
            for (int n = 0; n < C::N / 2; n++)
                load_matrices(y[n],
                              stage + unit_offset(column + 16 * n + (lane & 7) + ((lane >> 4) << 3),
                                                  2 * k + ((lane >> 3) & 1)));
#pragma unroll
            for (int m = 0; m < C::M; m++)
#pragma unroll
                for (int n = 0; n < C::N; n++)
                    mma(c[m][n], x[m], y[n / 2][n % 2 * 2], y[n / 2][n % 2 * 2 + 1]);
        }
    }
#pragma unroll
    for (int m = 0; m < C::M; m++)
        store<PLACES>(a, tile, first, place + 16 * m + (lane >> 2), column + 2 * (lane & 3), c[m]);
}

template <int PLACES>
__global__ void __launch_bounds__(THREADS) grouped(const __grid_constant__ struct kern_grouped a)
{
    extern __shared__ __align__(128) char smem[];

    start_next();
    wait_before();
    if ((int)blockIdx.y < *a.n_tiles)
        do_tile<PLACES>(a, a.tiles[blockIdx.y], blockIdx.x * COLUMNS, smem_address(smem));
}

template <int PLACES> cudaError_t launch(const struct kern_grouped &a, cudaStream_t stream)
{
    constexpr int BYTES = config<PLACES>::SMEM_BYTES;
    cudaError_t e =
        cudaFuncSetAttribute(grouped<PLACES>, cudaFuncAttributeMaxDynamicSharedMemorySize, BYTES);

    return e != cudaSuccess
               ? e
               : launch_early(grouped<PLACES>, dim3((a.n + COLUMNS - 1) / COLUMNS, a.max_tiles),
                              THREADS, BYTES, stream, a);
}

} // namespace

/* Tiles of 16 while experts have few places each, then what the kernels are best at. */
int kern_tile_places(int entries, int n_held)
{
    if (entries <= 8 * n_held)
        return 16;
    if (!runs_sm90a())
        return 64;
    return entries <= 32 * n_held ? 64 : 256;
}

int kern_most_tiles(int entries, int n_held, int tile_places)
{
    return entries / tile_places + (entries < n_held ? entries : n_held);
}

cudaError_t kern_grouped(struct kern_grouped a, cudaStream_t stream)
{
    if (a.k % 16 || a.n % (a.is_gated ? 32 : 16) || a.max_tiles > 65535)
        return cudaErrorInvalidValue;
    if (a.max_tiles == 0 || a.n == 0)
        return cudaSuccess;
    if (a.tile_places == 16)
        return launch<16>(a, stream);
    if (runs_sm90a() && !a.no_wgmma)
        return grouped_launch90(a, stream);
    return a.tile_places == 64 ? launch<64>(a, stream) : cudaErrorInvalidValue;
}
