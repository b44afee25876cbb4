/* SPDX-License-Identifier: Apache-2.0 */
/* Norms of rows of the residual stream, all rows or gathered ones, after
 * adding to them what is to be added and, of few rows, summing them over several GPUs; or of what
 * is added to it.
 *
 *   x += shift + delta + terms;  y = x / sqrt(mean(x^2) + eps) * weight (+ bias);  out = y or sum
 * += y
 *
 * where a layer norm takes x less its mean for x. One block a row; the row
 * stays in registers between the passes. Threads and order of the sums follow
 * from `hidden` alone.
 *
 * Bound by memory: 6 bytes a value (4 read, 2 written), 12 with delta. Measured
 * on an H100: 84 % of copy bandwidth at 2048 rows of 4096, 95 % at 8192.
 */
#include "cuda/peers.cuh"
#include "cuda/vec.cuh"

namespace
{

/* The sum of x over the block, in every thread. */
__device__ __forceinline__ float block_sum(float (&warp_sum)[8], float x)
{
    for (int o = 16; o; o >>= 1)
        x += __shfl_xor_sync(~0u, x, o);
    if (threadIdx.x % 32 == 0)
        warp_sum[threadIdx.x / 32] = x;
    __syncthreads();
    x = 0;
    for (int w = 0; w < (int)blockDim.x / 32; w++)
        x += warp_sum[w];
    return x;
}

/* Eight values of the result, to where they go. */
__device__ __forceinline__ void put(const struct kern_norm &a, int row, int i, float (&y)[8])
{
    size_t at = (size_t)row * a.hidden + i;
    float old[8];

    if (a.bias) {
        load8(old, a.bias + i);
#pragma unroll
        for (int k = 0; k < 8; k++)
            y[k] += old[k];
    }
    if (!a.sum) {
        *(uint4 *)(a.out + at) = pack8(y);
        return;
    }
    load8(old, a.sum + at);
#pragma unroll
    for (int k = 0; k < 8; k++)
        y[k] += old[k];
    store8(a.sum + at, y);
}

template <int UNITS, bool LAYER, bool TERMS, bool PEERS>
__global__ void __launch_bounds__(256) norm(const __grid_constant__ struct kern_norm a)
{
    __shared__ float sums[2][8];
    int row = blockIdx.x;
    float *x = a.x + (size_t)(a.index ? a.index[row] : row) * a.hidden;
    float v[UNITS][8], w[UNITS][8], sum = 0, total = 0;

    start_next();
#pragma unroll
    for (int u = 0; u < UNITS; u++) {
        int i = (u * blockDim.x + threadIdx.x) * 8;
        if (i < a.hidden)
            load8(w[u], a.weight + i);
    }
    wait_before();

#pragma unroll
    for (int u = 0; u < UNITS; u++) {
        int i = (u * blockDim.x + threadIdx.x) * 8;
        if (i < a.hidden)
            load8(v[u], x + i);
    }
#pragma unroll
    for (int u = 0; u < UNITS; u++) {
        int i = (u * blockDim.x + threadIdx.x) * 8;
        if (i >= a.hidden)
            continue;
        if (a.shift)
            add_shift(v[u], a.shift + i);
        if (a.delta)
            add_shift(v[u], a.delta + (size_t)row * a.hidden + i);
        if (TERMS)
            add_terms(v[u], a.terms, row, a.hidden, i);
    }
    if (PEERS)
        sum_row<UNITS>(a.peers, v, row, a.hidden);
#pragma unroll
    for (int u = 0; u < UNITS; u++) {
        int i = (u * blockDim.x + threadIdx.x) * 8;
        if (i >= a.hidden)
            continue;
        if (a.delta || TERMS || PEERS)
            store8(x + i, v[u]);
#pragma unroll
        for (int k = 0; k < 8 && LAYER; k++)
            total += v[u][k];
    }
    float mean = LAYER ? block_sum(sums[1], total) / a.hidden : 0;
#pragma unroll
    for (int u = 0; u < UNITS; u++) {
        if ((int)(u * blockDim.x + threadIdx.x) * 8 >= a.hidden)
            continue;
#pragma unroll
        for (int k = 0; k < 8; k++) {
            v[u][k] -= LAYER ? mean : 0;
            sum = __fmaf_rn(v[u][k], v[u][k], sum);
        }
    }
    float scale = rsqrtf(block_sum(sums[0], sum) / a.hidden + a.eps);
#pragma unroll
    for (int u = 0; u < UNITS; u++) {
        int i = (u * blockDim.x + threadIdx.x) * 8;
        if (i >= a.hidden)
            continue;
#pragma unroll
        for (int k = 0; k < 8; k++)
            w[u][k] *= v[u][k] * scale;
        put(a, row, i, w[u]);
    }
}

template <int UNITS, bool LAYER> auto kernel_of(const struct kern_norm &a)
{
    if (a.peers.n > 0)
        return norm<UNITS, LAYER, true, true>;
    return a.terms.used > 0 ? norm<UNITS, LAYER, true, false> : norm<UNITS, LAYER, false, false>;
}

template <int UNITS> cudaError_t launch(const struct kern_norm &a, int threads, cudaStream_t stream)
{
    auto kernel = a.is_layer ? kernel_of<UNITS, true>(a) : kernel_of<UNITS, false>(a);

    return launch_early(kernel, a.rows, threads, 0, stream, a);
}

} // namespace

cudaError_t kern_norm(struct kern_norm a, cudaStream_t stream)
{
    int units = a.hidden / 8;
    auto threads = [&](int per_thread) {
        return (units + 32 * per_thread - 1) / (32 * per_thread) * 32;
    };

    if (a.hidden % 8 || a.hidden <= 0 || a.hidden > 16384 ||
        ((a.delta || a.terms.used > 0 || a.peers.n > 0) && a.index) ||
        (a.peers.n > 0 && a.rows > KERN_SUM_FEW_ROWS))
        return cudaErrorInvalidValue;
    if (a.rows == 0)
        return cudaSuccess;
    if (units <= 256)
        return launch<1>(a, threads(1), stream);
    if (units <= 512)
        return launch<2>(a, threads(2), stream);
    if (units <= 1024)
        return launch<4>(a, threads(4), stream);
    return launch<8>(a, threads(8), stream);
}
