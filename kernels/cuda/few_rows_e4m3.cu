/* SPDX-License-Identifier: Apache-2.0 */
/* Products of few rows of e4m3 at the speed of reading the weights.
 *
 *   out[row][j] = in_scale[row] weight_scale[j] sum over k of in[row][k] weight[j][k]
 *                 (+ bias[j]) (+ out[row][j])
 *
 * Values become halves in registers, which is exact, and go through mma with
 * sums in float32: other bits than those of the library's products, which sum
 * in the matrix unit alone. A step takes 16 bytes of a row as they lie: which
 * values meet in one mma does not matter as long as both factors agree. Even
 * and odd steps are summed apart, so that neither chain holds the other up.
 *
 * Bound by memory: n * k bytes of weights.
 */
#include "cuda/e4m3.cuh"
#include "cuda/few_rows.cuh"

namespace
{

using namespace few_rows;

/* Four steps of a stage from unit `unit` on. */
template <int ROWS>
__device__ __forceinline__ void multiply_units(float (&c)[2][4], uint32_t weights, uint32_t in,
                                               int unit, int lane)
{
    uint32_t w[4], x[2][4] = {};

    load_matrices(w, weights + unit_offset(lane & 7, unit + (lane >> 3)));
    load_matrices(x[0], in + unit_offset(lane & 7, unit + (lane >> 3)));
    if (ROWS == 16)
        load_matrices(x[1], in + unit_offset(8 + (lane & 7), unit + (lane >> 3)));
#pragma unroll
    for (int i = 0; i < 4; i++) {
        uint32_t a[4] = {e4m3_halves(x[0][i] & 0xffff), 0, e4m3_halves(x[0][i] >> 16), 0};
        if (ROWS == 16) {
            a[1] = e4m3_halves(x[1][i] & 0xffff);
            a[3] = e4m3_halves(x[1][i] >> 16);
        }
        mma_half(c[i % 2], a, e4m3_halves(w[i] & 0xffff), e4m3_halves(w[i] >> 16));
    }
}

template <int ROWS>
__global__ void __launch_bounds__(THREADS)
    multiply_e4m3(const __grid_constant__ struct kern_few_rows_e4m3 a)
{
    extern __shared__ __align__(128) char smem[];
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32, first = blockIdx.x * COLUMNS;
    pipeline<ROWS, struct kern_few_rows_e4m3> at = {a, first, 0, (a.k + ROW_BYTES - 1) / ROW_BYTES,
                                                    smem_address(smem)};
    int row = lane >> 2, column = first + 8 * warp + 2 * (lane & 3);
    float c[2][4] = {}, old[4], scale[2];

    start_next();
    at.begin_weights();
    for (int i = 0; i < 2; i++)
        scale[i] = column + i < a.n ? a.weight_scales[column + i] : 0;
    wait_before();
    at.begin_in();
    for (int i = 0; i < 4; i++)
        old[i] = old_value(a, row + (i >> 1) * 8, column + (i & 1));
    for (int t = 0; t < at.n_stages; t++) {
        uint32_t stage = at.next(t);

#pragma unroll
        for (int unit = 0; unit < UNITS; unit += 4)
            multiply_units<ROWS>(c, stage + 8 * warp * ROW_BYTES,
                                 stage + config<ROWS>::WEIGHT_BYTES, unit, lane);
    }
    for (int i = 0; i < 4; i++) {
        int r = row + (i >> 1) * 8;
        float x = r < a.rows ? (c[0][i] + c[1][i]) * a.in_scales[r] * scale[i & 1] : 0;
        finish(a, r, column + (i & 1), x, old[i]);
    }
}

template <int ROWS> cudaError_t launch(const struct kern_few_rows_e4m3 &a, cudaStream_t stream)
{
    constexpr int BYTES = config<ROWS>::SMEM_BYTES;
    cudaError_t e = cudaFuncSetAttribute(multiply_e4m3<ROWS>,
                                         cudaFuncAttributeMaxDynamicSharedMemorySize, BYTES);
    if (e != cudaSuccess)
        return e;
    return launch_early(multiply_e4m3<ROWS>, (a.n + COLUMNS - 1) / COLUMNS, THREADS, BYTES, stream,
                        a);
}

} // namespace

cudaError_t kern_few_rows_e4m3(struct kern_few_rows_e4m3 a, cudaStream_t stream)
{
    if (a.k % 16 || a.rows > KERN_FEW_ROWS || (a.add && !a.out_f32))
        return cudaErrorInvalidValue;
    if (a.rows == 0 || a.n == 0)
        return cudaSuccess;
    return a.rows <= 8 ? launch<8>(a, stream) : launch<16>(a, stream);
}
