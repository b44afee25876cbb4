/* SPDX-License-Identifier: Apache-2.0 */
/* Experts that are spread over ranks: their outputs on the way back to the rows' own rank.
 *
 *   collect: out[row][n-th of its entries that are held] = in[place]
 *   find:    where among what all ranks send back the output of an entry lies
 *
 * A row that is only there to fill a captured step may have chosen one expert several times; then
 * there is no more of it than a row has room for.
 *
 * collect: a thread takes eight values of a row. Bound by memory: 4 bytes a value and entry.
 * find: a thread takes a row; it is a few integers a row.
 */
#include "cuda/vec.cuh"

namespace
{

constexpr int THREADS = 256;

__global__ void __launch_bounds__(THREADS)
    collect(const __grid_constant__ struct kern_collect a, unsigned units, unsigned total)
{
    unsigned i = blockIdx.x * THREADS + threadIdx.x;
    start_next();
    wait_before();
    if (i >= total)
        return;
    int row = i / units, unit = i % units, n = 0;
    uint16_t *out = a.out + (size_t)row * a.width * a.hidden + unit * 8;

    for (int t = 0; t < a.used; t++) {
        int place = a.places[row * a.used + t];
        if (place < 0 || n == a.width)
            continue;
        *(uint4 *)(out + (size_t)n++ * a.hidden) =
            *(const uint4 *)(a.in + (size_t)place * a.hidden + unit * 8);
    }
}

__global__ void __launch_bounds__(THREADS) find(const __grid_constant__ struct kern_find a)
{
    int row = blockIdx.x * THREADS + threadIdx.x;
    start_next();
    wait_before();
    if (row >= a.rows)
        return;
    const int32_t *ids = a.ids + (size_t)row * a.used;

    for (int t = 0; t < a.used; t++) {
        struct kern_holder holder = a.holders[ids[t]];
        int n = 0;
        for (int before = 0; before < t; before++)
            n += a.holders[ids[before]].first == holder.first;
        a.places[(size_t)row * a.used + t] =
            n >= holder.width ? -1 : a.rows * holder.first + row * holder.width + n;
    }
}

} // namespace

cudaError_t kern_collect(struct kern_collect a, cudaStream_t stream)
{
    long long total = (long long)a.rows * (a.hidden / 8);

    if (a.hidden % 8 || total > 0x7fffffff)
        return cudaErrorInvalidValue;
    if (total == 0)
        return cudaSuccess;
    return launch_early(collect, blocks_for(total, THREADS), THREADS, 0, stream, a, a.hidden / 8,
                        total);
}

cudaError_t kern_find(struct kern_find a, cudaStream_t stream)
{
    if (a.rows == 0)
        return cudaSuccess;
    return launch_early(find, blocks_for(a.rows, THREADS), THREADS, 0, stream, a);
}
