/* SPDX-License-Identifier: Apache-2.0 */
/* What the GPUs of a stage do together over memory that each has of the others: sums of many rows,
 * logits side by side on the first, what that one has drawn to the others. Sums of few rows are
 * part of kern_norm.
 *
 *   data of every GPU = data[0] + data[1] + ...   (in this order)
 *
 * Each GPU sums one part of the values, reading the others', and writes the sum to all of them; the
 * parts are no other's business, so this works in place, between a sign that all have come and one
 * that all are through.
 *
 * Bound by the links: a value crosses each direction of a link twice over the number of GPUs, read
 * and written.
 */
#include "cuda/peers.cuh"

namespace
{

constexpr int THREADS = 512, AHEAD = 4;

__device__ __forceinline__ float4 plus(float4 a, float4 b)
{
    return make_float4(__fadd_rn(a.x, b.x), __fadd_rn(a.y, b.y), __fadd_rn(a.z, b.z),
                       __fadd_rn(a.w, b.w));
}

__global__ void __launch_bounds__(THREADS) sum_all(const __grid_constant__ struct kern_sum a)
{
    const struct kern_peers &peers = a.peers;
    uint32_t flag = peer_flag(peers);
    size_t pieces = a.n / 4, end = pieces * (peers.rank + 1) / peers.n;
    size_t step = (size_t)gridDim.x * THREADS;

    start_next();
    wait_before();
    meet_peers(peers, PEER_BEGINS, flag);
    for (size_t i = pieces * peers.rank / peers.n + blockIdx.x * (size_t)THREADS + threadIdx.x;
         i < end; i += AHEAD * step) {
        float4 sum[AHEAD];
#pragma unroll
        for (int k = 0; k < AHEAD; k++)
            if (i + k * step < end)
                sum[k] = __ldcg((const float4 *)a.data[0] + i + k * step);
        for (int p = 1; p < peers.n; p++) {
            float4 x[AHEAD];
#pragma unroll
            for (int k = 0; k < AHEAD; k++)
                if (i + k * step < end)
                    x[k] = __ldcg((const float4 *)a.data[p] + i + k * step);
#pragma unroll
            for (int k = 0; k < AHEAD; k++)
                if (i + k * step < end)
                    sum[k] = plus(sum[k], x[k]);
        }
        for (int p = 0; p < peers.n; p++)
#pragma unroll
            for (int k = 0; k < AHEAD; k++)
                if (i + k * step < end)
                    ((float4 *)a.data[p])[i + k * step] = sum[k];
    }
    meet_peers(peers, PEER_ENDS, flag);
}

/* T: float4 where places allow it, else float. */
template <typename T>
__global__ void __launch_bounds__(THREADS) gather(const __grid_constant__ struct kern_gather a)
{
    constexpr int WIDTH = sizeof(T) / sizeof(float);
    int width = a.width / WIDTH, peer = threadIdx.x;
    size_t n = (size_t)a.rows * width;
    uint32_t flag = peer_flag(a.peers);

    start_next();
    wait_before();
    for (size_t i = blockIdx.x * (size_t)THREADS + threadIdx.x; i < n;
         i += (size_t)gridDim.x * THREADS) {
        size_t row = i / width, column = i % width;
        const T *from = (const T *)(a.part + row * a.part_stride) + column;
        *((T *)(a.logits + row * a.stride) + column) = *from;
    }
    __syncthreads();
    if (a.peers.rank > 0 && peer == 0)
        tell_peer(a.peers, 0, PEER_HAS_LOGITS, flag);
    if (a.peers.rank == 0 && peer > 0 && peer < a.peers.n)
        hear_peer(a.peers, peer, PEER_HAS_LOGITS, flag);
}

__global__ void __launch_bounds__(THREADS) share(const __grid_constant__ struct kern_share a)
{
    uint32_t flag = peer_flag(a.peers);
    int peer = threadIdx.x;

    start_next();
    wait_before();
    for (int i = threadIdx.x; i < a.n && a.peers.rank == 0; i += THREADS)
        for (int p = 1; p < a.peers.n; p++)
            a.ids[p][i] = a.ids[0][i];
    __syncthreads();
    if (a.peers.rank == 0 && peer > 0 && peer < a.peers.n)
        tell_peer(a.peers, peer, PEER_HAS_DRAWN, flag);
    if (a.peers.rank > 0 && peer == 0)
        hear_peer(a.peers, 0, PEER_HAS_DRAWN, flag);
}

bool is_sound(const struct kern_peers &a)
{
    return a.n >= 2 && a.n <= KERN_MAX_PEERS && a.rank >= 0 && a.rank < a.n;
}

/* As many blocks on every GPU, for they meet each other. */
unsigned blocks_of(size_t items)
{
    size_t n = (items + THREADS - 1) / THREADS;

    return n < 1 ? 1 : n < KERN_SUM_BLOCKS ? (unsigned)n : KERN_SUM_BLOCKS;
}

} // namespace

size_t kern_peers_bytes(int n, int hidden)
{
    return PEER_FLAG_BYTES + 2 * (size_t)n * KERN_SUM_FEW_ROWS * peer_row_bytes(hidden);
}

cudaError_t kern_sum(struct kern_sum a, cudaStream_t stream)
{
    if (!is_sound(a.peers) || a.n % 4)
        return cudaErrorInvalidValue;
    if (a.n == 0)
        return cudaSuccess;
    return launch_early(sum_all, blocks_of(a.n / 4 / a.peers.n), THREADS, 0, stream, a);
}

cudaError_t kern_gather(struct kern_gather a, cudaStream_t stream)
{
    bool is_wide = a.width % 4 == 0 && a.part_stride % 4 == 0 && a.stride % 4 == 0 &&
                   (uintptr_t)a.logits % 16 == 0;

    if (!is_sound(a.peers))
        return cudaErrorInvalidValue;
    if (a.rows == 0)
        return cudaSuccess;
    unsigned blocks = blocks_of((size_t)a.rows * a.stride / (4 * a.peers.n));
    return is_wide ? launch_early(gather<float4>, blocks, THREADS, 0, stream, a)
                   : launch_early(gather<float>, blocks, THREADS, 0, stream, a);
}

cudaError_t kern_share(struct kern_share a, cudaStream_t stream)
{
    if (!is_sound(a.peers))
        return cudaErrorInvalidValue;
    if (a.n == 0)
        return cudaSuccess;
    return launch_early(share, 1, THREADS, 0, stream, a);
}
