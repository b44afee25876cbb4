/* SPDX-License-Identifier: Apache-2.0 */
/* Products of few rows (a single stream, the last sequences of a job): what
 * kern_chain computes, bit for bit, at the speed of reading the weights; or
 * what kern_glu makes of it.
 *
 *   out[row][j] = sum over k of in[row][k] weight[j][k]  (+ bias[j]) (+ out[row][j])
 *
 * A block of two warps takes 16 columns, eight a warp, and all of k, so that
 * nothing is split; several blocks a multiprocessor keep weights in flight.
 * Weights are on their way while the kernel before still runs. Gated, one warp
 * has eight columns of the gate, the other the same of up.
 *
 * Bound by memory: 2 * n * k bytes of weights. Measured on an H100 at 8 rows:
 * 2384 GB/s for 6144 x 4096, 2701 for 4096 x 14336, 3029 for 128256 x 4096.
 */
#include "cuda/few_rows.cuh"
#include "cuda/vec.cuh"

namespace
{

using namespace few_rows;

constexpr int DEPTH = ROW_BYTES / 2;

/* The A operands of two steps. */
template <int ROWS>
__device__ __forceinline__ void load_inputs(uint32_t (&a)[2][4], uint32_t from, int step, int lane)
{
    if (ROWS == 8) {
        uint32_t r[4];
        load_matrices(r, from + unit_offset(lane & 7, 2 * step + (lane >> 3)));
#pragma unroll
        for (int i = 0; i < 2; i++)
            a[i][0] = r[2 * i], a[i][1] = 0, a[i][2] = r[2 * i + 1], a[i][3] = 0;
    } else {
#pragma unroll
        for (int i = 0; i < 2; i++)
            load_matrices(a[i], from + unit_offset(lane & 15, 2 * (step + i) + (lane >> 4)));
    }
}

/* The gate's warp gets the other's values through shared memory; both are rounded as if stored. */
__device__ __forceinline__ void finish_gated(const struct kern_chain &a, float *shared, int warp,
                                             int lane, const float (&c)[4])
{
    int ff = a.n / 2;

    __syncthreads();
    for (int i = 0; i < 4 && warp == 1; i++)
        shared[32 * i + lane] = __bfloat162float(__float2bfloat16_rn(c[i]));
    __syncthreads();
    for (int i = 0; i < 4 && warp == 0; i++) {
        int row = (lane >> 2) + (i >> 1) * 8, column = blockIdx.x * 8 + 2 * (lane & 3) + (i & 1);
        float gate = __bfloat162float(__float2bfloat16_rn(c[i]));
        if (row < a.rows && column < ff)
            a.out[(size_t)row * ff + column] =
                __bfloat16_as_ushort(__float2bfloat16_rn(gated(gate, shared[32 * i + lane])));
    }
}

template <int ROWS, bool GATED>
__global__ void __launch_bounds__(THREADS) multiply(const __grid_constant__ struct kern_chain a)
{
    extern __shared__ __align__(128) char smem[];
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    int first = blockIdx.x * (GATED ? COLUMNS / 2 : COLUMNS), jump = GATED ? a.n / 2 - 8 : 0;
    pipeline<ROWS, struct kern_chain> at = {a, first, jump, (a.k + DEPTH - 1) / DEPTH,
                                            smem_address(smem)};
    int row = lane >> 2, column = first + 8 * warp + 2 * (lane & 3);
    float c[4] = {}, old[4];

    start_next();
    at.begin_weights();
    wait_before();
    at.begin_in();
    for (int i = 0; i < 4; i++)
        old[i] = old_value(a, row + (i >> 1) * 8, column + (i & 1));
    for (int t = 0; t < at.n_stages; t++) {
        uint32_t stage = at.next(t);

#pragma unroll
        for (int step = 0; step < DEPTH / 16; step += 2) {
            uint32_t in[2][4], w[4];
            load_inputs<ROWS>(in, stage + config<ROWS>::WEIGHT_BYTES, step, lane);
            load_matrices(w, stage + unit_offset(8 * warp + (lane & 7), 2 * step + (lane >> 3)));
            mma(c, in[0], w[0], w[1]);
            mma(c, in[1], w[2], w[3]);
        }
    }
    if (GATED)
        finish_gated(a, (float *)smem, warp, lane, c);
    for (int i = 0; i < 4 && !GATED; i++)
        finish(a, row + (i >> 1) * 8, column + (i & 1), c[i], old[i]);
}

template <int ROWS, bool GATED> cudaError_t launch(const struct kern_chain &a, cudaStream_t stream)
{
    cudaError_t e =
        cudaFuncSetAttribute(multiply<ROWS, GATED>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                             config<ROWS>::SMEM_BYTES);
    if (e != cudaSuccess)
        return e;
    return launch_early(multiply<ROWS, GATED>, (a.n + COLUMNS - 1) / COLUMNS, THREADS,
                        config<ROWS>::SMEM_BYTES, stream, a);
}

} // namespace

cudaError_t kern_few_rows(struct kern_chain a, cudaStream_t stream)
{
    if (a.k % 16 || a.rows > KERN_FEW_ROWS || (a.add && !a.out_f32))
        return cudaErrorInvalidValue;
    if (a.rows == 0 || a.n == 0)
        return cudaSuccess;
    return a.rows <= 8 ? launch<8, false>(a, stream) : launch<16, false>(a, stream);
}

cudaError_t kern_few_rows_glu(struct kern_chain a, cudaStream_t stream)
{
    if (a.k % 16 || a.rows > KERN_FEW_ROWS || a.n % 16 || a.add || a.out_f32 || a.bias)
        return cudaErrorInvalidValue;
    if (a.rows == 0 || a.n == 0)
        return cudaSuccess;
    return a.rows <= 8 ? launch<8, true>(a, stream) : launch<16, true>(a, stream);
}
