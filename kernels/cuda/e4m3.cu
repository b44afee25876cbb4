/* SPDX-License-Identifier: Apache-2.0 */
/* Rows become e4m3 (e4m3.cuh): of a matrix as they are; the norm of the residual stream; the gated
 * activation; keys and values on their way to the cache.
 *
 *   out = round(y * 448 / largest |y| of the row),  scale = largest / 448
 *
 * One block a row, which stays in registers between the passes; a head of keys or values is a row
 * of its own, shared by D / 16 threads. Threads and order of sums follow from the row's length
 * alone.
 *
 * Bound by memory: norm 5 bytes a value, gated activation 5 a value of output, rows 3, append 3.
 */
#include "cuda/e4m3.cuh"

namespace
{

constexpr int THREADS = 256;

/* The sum, or the largest, of a value over the block, in every thread. */
template <bool IS_SUM> __device__ __forceinline__ float over_block(float x, float (&warps)[16])
{
#pragma unroll
    for (int o = 16; o; o >>= 1) {
        float other = __shfl_xor_sync(~0u, x, o);
        x = IS_SUM ? x + other : fmaxf(x, other);
    }
    if (threadIdx.x % 32 == 0)
        warps[threadIdx.x / 32] = x;
    __syncthreads();
    x = warps[0];
    for (int w = 1; w < (int)blockDim.x / 32; w++)
        x = IS_SUM ? x + warps[w] : fmaxf(x, warps[w]);
    return x;
}

/* The block's row: unit u of a thread is eight values. */
template <int UNITS>
__device__ __forceinline__ void store_row(uint8_t *out, float *scales, int row, int n,
                                          const float (&y)[UNITS][8], float (&warps)[16])
{
    float largest = 0;

#pragma unroll
    for (int u = 0; u < UNITS; u++)
        largest = fmaxf(largest, largest8(y[u]));
    largest = fminf(over_block<false>(largest, warps), ROW_LARGEST);
    float factor = e4m3_factor(largest);
#pragma unroll
    for (int u = 0; u < UNITS; u++) {
        int i = (u * blockDim.x + threadIdx.x) * 8;
        if (i < n)
            *(uint2 *)(out + (size_t)row * n + i) = e4m3_pack8(y[u], factor);
    }
    if (threadIdx.x == 0)
        scales[row] = __fdiv_rn(largest, E4M3_LARGEST);
}

template <int UNITS>
__global__ void __launch_bounds__(512) norm_row(const __grid_constant__ struct kern_norm_e4m3 a)
{
    __shared__ float sums[16], largest[16];
    int row = blockIdx.x;
    const float *x = a.x + (size_t)row * a.hidden;
    float y[UNITS][8] = {}, sum = 0;

    start_next();
    wait_before();
#pragma unroll
    for (int u = 0; u < UNITS; u++) {
        int i = (u * blockDim.x + threadIdx.x) * 8;
        if (i >= a.hidden)
            continue;
        load8(y[u], x + i);
#pragma unroll
        for (int k = 0; k < 8; k++)
            sum = __fmaf_rn(y[u][k], y[u][k], sum);
    }
    float scale = rsqrtf(over_block<true>(sum, sums) / a.hidden + a.eps);
#pragma unroll
    for (int u = 0; u < UNITS; u++) {
        int i = (u * blockDim.x + threadIdx.x) * 8;
        float w[8];
        if (i >= a.hidden)
            continue;
        load8(w, a.weight + i);
#pragma unroll
        for (int k = 0; k < 8; k++)
            y[u][k] = __fmul_rn(__fmul_rn(y[u][k], scale), w[k]);
    }
    store_row<UNITS>(a.out, a.scales, row, a.hidden, y, largest);
}

template <int UNITS>
__global__ void __launch_bounds__(512) glu_row(const __grid_constant__ struct kern_row_e4m3 a)
{
    __shared__ float largest[16];
    int row = blockIdx.x;
    const uint16_t *from = a.in + (size_t)row * 2 * a.n;
    float y[UNITS][8] = {};

    start_next();
    wait_before();
#pragma unroll
    for (int u = 0; u < UNITS; u++) {
        int i = (u * blockDim.x + threadIdx.x) * 8;
        float up[8];
        if (i >= a.n)
            continue;
        unpack8(y[u], __ldcs((const uint4 *)(from + i)));
        unpack8(up, __ldcs((const uint4 *)(from + a.n + i)));
#pragma unroll
        for (int k = 0; k < 8; k++)
            y[u][k] = gated(y[u][k], up[k]);
    }
    store_row<UNITS>(a.out, a.scales, row, a.n, y, largest);
}

template <int UNITS>
__global__ void __launch_bounds__(512) plain_row(const __grid_constant__ struct kern_row_e4m3 a)
{
    __shared__ float largest[16];
    int row = blockIdx.x;
    float y[UNITS][8] = {};

    start_next();
    wait_before();
#pragma unroll
    for (int u = 0; u < UNITS; u++) {
        int i = (u * blockDim.x + threadIdx.x) * 8;
        if (i < a.n)
            unpack8(y[u], *(const uint4 *)(a.in + (size_t)row * a.n + i));
    }
    store_row<UNITS>(a.out, a.scales, row, a.n, y, largest);
}

/* A thread has 16 values of a head, those beside it have the others. */
__global__ void __launch_bounds__(THREADS)
    append(const __grid_constant__ struct kern_append_e4m3 a, unsigned units, unsigned total)
{
    unsigned i = blockIdx.x * THREADS + threadIdx.x;
    int row = min(i, total - 1) / units, unit = i % units, width = a.head_dim / 16;
    int head = unit / width, part = unit % width, slot = a.slots[row];

    start_next();
    wait_before();
    if (i >= total || slot < 0)
        return; /* all threads of a head together */
    const uint16_t *from =
        a.qkv + ((size_t)row * (a.heads + 2 * a.kv_heads) + a.heads + head) * (size_t)a.head_dim +
        part * 16;
    char *page = (char *)(head < a.kv_heads ? a.k_cache : a.v_cache) +
                 ((size_t)(slot / KERN_PAGE_TOKENS) * a.kv_heads + head % a.kv_heads) *
                     KERN_E4M3_PAGE_BYTES(a.head_dim);
    int token = slot % KERN_PAGE_TOKENS;
    unsigned group = ((1u << width) - 1) << (threadIdx.x % 32 / width * width);
    float x[8], y[8];

    unpack8(x, *(const uint4 *)from);
    unpack8(y, *(const uint4 *)(from + 8));
    float largest = fmaxf(largest8(x), largest8(y));
    for (int o = width / 2; o; o >>= 1)
        largest = fmaxf(largest, __shfl_xor_sync(group, largest, o));
    largest = fminf(largest, ROW_LARGEST);
    float factor = e4m3_factor(largest);
    uint2 low = e4m3_pack8(x, factor), high = e4m3_pack8(y, factor);
    *(uint4 *)(page + token * a.head_dim + part * 16) = make_uint4(low.x, low.y, high.x, high.y);
    if (part == 0)
        ((float *)(page + KERN_PAGE_TOKENS * a.head_dim))[token] = largest;
}

/* Launches the instance of a kernel whose threads have as few units as cover the row. */
#define LAUNCH_ROW(kernel, n, rows, stream, a)                                                     \
    ((n) <= 2048    ? launch_early(kernel<1>, rows, ((n) / 8 + 31) / 32 * 32, 0, stream, a)        \
     : (n) <= 4096  ? launch_early(kernel<2>, rows, 256, 0, stream, a)                             \
     : (n) <= 8192  ? launch_early(kernel<4>, rows, 256, 0, stream, a)                             \
     : (n) <= 16384 ? launch_early(kernel<4>, rows, 512, 0, stream, a)                             \
                    : launch_early(kernel<8>, rows, 512, 0, stream, a))

bool is_possible(int n)
{
    return n > 0 && n % 16 == 0 && n <= KERN_E4M3_MAX_ROW;
}

} // namespace

cudaError_t kern_norm_e4m3(struct kern_norm_e4m3 a, cudaStream_t stream)
{
    if (!is_possible(a.hidden))
        return cudaErrorInvalidValue;
    if (a.rows == 0)
        return cudaSuccess;
    return LAUNCH_ROW(norm_row, a.hidden, a.rows, stream, a);
}

cudaError_t kern_glu_e4m3(struct kern_row_e4m3 a, cudaStream_t stream)
{
    if (!is_possible(a.n))
        return cudaErrorInvalidValue;
    if (a.rows == 0)
        return cudaSuccess;
    return LAUNCH_ROW(glu_row, a.n, a.rows, stream, a);
}

cudaError_t kern_row_e4m3(struct kern_row_e4m3 a, cudaStream_t stream)
{
    if (!is_possible(a.n))
        return cudaErrorInvalidValue;
    if (a.rows == 0)
        return cudaSuccess;
    return LAUNCH_ROW(plain_row, a.n, a.rows, stream, a);
}

cudaError_t kern_append_e4m3(struct kern_append_e4m3 a, cudaStream_t stream)
{
    unsigned units = 2 * (unsigned)a.kv_heads * (a.head_dim / 16);
    long long total = (long long)units * a.rows;

    if ((a.head_dim != 64 && a.head_dim != 128) || total > 0x7fffffff)
        return cudaErrorInvalidValue;
    if (total == 0)
        return cudaSuccess;
    return launch_early(append, blocks_for(total, THREADS), THREADS, 0, stream, a, units, total);
}
