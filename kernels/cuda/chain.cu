/* SPDX-License-Identifier: Apache-2.0 */
/* The reference order of a product, and a comparison with it.
 *
 *   out[row][j] = sum over k of in[row][k] weight[j][k]  (+ bias[j]) (+ out[row][j])
 *
 * One chain of mma m16n8k16 over k, the order in which every unsplit algorithm
 * of cuBLASLt was seen to sum on Hopper. It serves to tell those from others,
 * not to be fast: a warp computes 16 rows by 8 columns straight from memory.
 */
#include "cuda/attn_tile.cuh"

namespace
{

__device__ __forceinline__ uint32_t pair_of(const uint16_t *matrix, int row, int n_rows, int k,
                                            int at)
{
    return *(const uint32_t *)(matrix + (size_t)min(row, n_rows - 1) * k + at);
}

__device__ __forceinline__ void finish(const struct kern_chain &a, int row, int column, float x)
{
    if (row >= a.rows || column >= a.n)
        return;
    size_t at = (size_t)row * a.n + column;
    if (a.bias)
        x += __uint_as_float((uint32_t)a.bias[column] << 16);
    if (a.add)
        x += a.out_f32[at];
    if (a.out_f32)
        a.out_f32[at] = x;
    else
        a.out[at] = __bfloat16_as_ushort(__float2bfloat16_rn(x));
}

__global__ void __launch_bounds__(32) chain(const __grid_constant__ struct kern_chain a)
{
    int g = threadIdx.x >> 2, t = threadIdx.x & 3, row = blockIdx.y * 16 + g,
        first = blockIdx.x * 8;
    float c[4] = {};

    for (int k = 2 * t; k < a.k; k += 16) {
        uint32_t in[4] = {
            pair_of(a.in, row, a.rows, a.k, k), pair_of(a.in, row + 8, a.rows, a.k, k),
            pair_of(a.in, row, a.rows, a.k, k + 8), pair_of(a.in, row + 8, a.rows, a.k, k + 8)};
        mma(c, in, pair_of(a.weight, first + g, a.n, a.k, k),
            pair_of(a.weight, first + g, a.n, a.k, k + 8));
    }
    for (int i = 0; i < 4; i++)
        finish(a, row + (i >> 1) * 8, first + 2 * t + (i & 1), c[i]);
}

__global__ void __launch_bounds__(256)
    count_differences(const uint32_t *a, const uint32_t *b, size_t n, int32_t *count)
{
    int mine = 0;

    for (size_t i = blockIdx.x * 256 + threadIdx.x; i < n; i += (size_t)gridDim.x * 256)
        mine += a[i] != b[i];
    for (int o = 16; o; o >>= 1)
        mine += __shfl_xor_sync(~0u, mine, o);
    if (threadIdx.x % 32 == 0 && mine)
        atomicAdd(count, mine);
}

} // namespace

cudaError_t kern_chain(struct kern_chain a, cudaStream_t stream)
{
    if (a.k % 16 || (a.add && !a.out_f32))
        return cudaErrorInvalidValue;
    if (a.rows == 0 || a.n == 0)
        return cudaSuccess;
    chain<<<dim3((a.n + 7) / 8, (a.rows + 15) / 16), 32, 0, stream>>>(a);
    return cudaGetLastError();
}

cudaError_t kern_count_differences(const void *a, const void *b, size_t bytes, int32_t *count,
                                   cudaStream_t stream)
{
    if (bytes % 4)
        return cudaErrorInvalidValue;
    if (bytes == 0)
        return cudaSuccess;
    count_differences<<<264, 256, 0, stream>>>((const uint32_t *)a, (const uint32_t *)b, bytes / 4,
                                               count);
    return cudaGetLastError();
}
