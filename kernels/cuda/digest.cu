/* SPDX-License-Identifier: Apache-2.0 */
/* A digest of memory that two devices compare: the sum over its 4-byte words w at place i of
 * mix(i * K + w), 64 bits that depend on every bit and on its place. Sums of integers are the same
 * in any order. Reads all of it once, at the rate of memory. */
#include "cuda/kern.h"

namespace
{

constexpr int THREADS = 256, AHEAD = 4;

__device__ uint64_t mix(uint64_t place, uint32_t word)
{
    uint64_t x = place * 0x9e3779b97f4a7c15ull + word;

    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ull;
    x = (x ^ x >> 27) * 0x94d049bb133111ebull;
    return x ^ x >> 31;
}

__global__ void __launch_bounds__(THREADS)
    digest(const uint32_t *data, size_t n, unsigned long long *out)
{
    __shared__ unsigned long long sums[THREADS / 32];
    const uint4 *quads = (const uint4 *)data;
    size_t n_quads = n / 4, stride = (size_t)gridDim.x * THREADS;
    size_t first = (size_t)blockIdx.x * THREADS + threadIdx.x;
    unsigned long long sum = 0;

    for (size_t i = first; i < n_quads; i += AHEAD * stride) {
        uint4 x[AHEAD];
#pragma unroll
        for (int k = 0; k < AHEAD; k++)
            if (i + k * stride < n_quads)
                x[k] = __ldcs(quads + i + k * stride);
#pragma unroll
        for (int k = 0; k < AHEAD; k++) {
            size_t at = 4 * (i + k * stride);
            if (at / 4 < n_quads)
                sum += mix(at, x[k].x) + mix(at + 1, x[k].y) + mix(at + 2, x[k].z) +
                       mix(at + 3, x[k].w);
        }
    }
    for (size_t i = 4 * n_quads + first; i < n; i += stride)
        sum += mix(i, data[i]);
    for (int offset = 16; offset > 0; offset /= 2)
        sum += __shfl_down_sync(0xffffffffu, sum, offset);
    if (threadIdx.x % 32 == 0)
        sums[threadIdx.x / 32] = sum;
    __syncthreads();
    if (threadIdx.x > 0)
        return;
    for (int i = 1; i < THREADS / 32; i++)
        sum += sums[i];
    atomicAdd(out, sum);
}

} // namespace

cudaError_t kern_digest(const void *data, size_t bytes, uint64_t *out, cudaStream_t stream)
{
    size_t blocks = bytes / (16 * THREADS * AHEAD) + 1;

    if (bytes % 4 || (uintptr_t)data % 16)
        return cudaErrorInvalidValue;
    digest<<<(unsigned)(blocks < 1056 ? blocks : 1056), THREADS, 0, stream>>>(
        (const uint32_t *)data, bytes / 4, (unsigned long long *)out);
    return cudaGetLastError();
}
