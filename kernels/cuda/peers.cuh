/* SPDX-License-Identifier: Apache-2.0 */
/* How GPUs of one host wait for each other inside kernels: flags and values in boxes, memory of
 * each that all can write to (struct kern_peers).
 *
 * A flag is the number of the sum it belongs to, counted over all steps, so nothing is ever reset.
 * Values of few rows travel with their flags, eight bytes at a time, which arrive whole; whoever
 * waits for them needs no other sign. A box has two places for them, used in turn: a GPU that is
 * through with a sum has heard from all others that they were through with the one before. */
#ifndef ANT_PEERS_CUH
#define ANT_PEERS_CUH

#include "cuda/kern.h"
#include "cuda/launch.cuh"

/* What a block tells the same block of another GPU. */
enum peer_news { PEER_BEGINS, PEER_ENDS, PEER_HAS_LOGITS, PEER_HAS_DRAWN, N_PEER_NEWS };

/* Pieces of 16 bytes in a box: flags, then the places of rows. */
static constexpr size_t PEER_FLAG_BYTES =
    (size_t)N_PEER_NEWS * KERN_MAX_PEERS * KERN_SUM_BLOCKS * sizeof(uint32_t);

/* Bytes of a row and its flags; threads take eight values each, the last ones none. */
__host__ __device__ __forceinline__ size_t peer_row_bytes(int hidden)
{
    return (size_t)(hidden / 8 + 256) * 64;
}

/* The number of this sum. */
__device__ __forceinline__ uint32_t peer_flag(const struct kern_peers &a)
{
    return (uint32_t)*a.base + (uint32_t)a.call;
}

/* Waiting is in vain. Looked up rarely: it is the host's memory. */
__device__ __forceinline__ bool is_called_off(const struct kern_peers &a, unsigned &spins)
{
    return ++spins % 4096 == 0 && *(const volatile int32_t *)a.stop != 0;
}

/* Tell the other GPUs, and hear from them, with all that was written before. */
__device__ __forceinline__ void tell_peer(const struct kern_peers &a, int to, enum peer_news news,
                                          uint32_t flag)
{
    uint32_t *at = (uint32_t *)a.box[to] + ((int)news * KERN_MAX_PEERS + a.rank) * KERN_SUM_BLOCKS +
                   blockIdx.x;

    __threadfence_system();
    asm volatile("st.release.sys.global.u32 [%0], %1;" ::"l"(at), "r"(flag) : "memory");
}

__device__ __forceinline__ void hear_peer(const struct kern_peers &a, int from, enum peer_news news,
                                          uint32_t flag)
{
    const uint32_t *at = (const uint32_t *)a.box[a.rank] +
                         ((int)news * KERN_MAX_PEERS + from) * KERN_SUM_BLOCKS + blockIdx.x;
    uint32_t seen;
    unsigned spins = 0;

    do
        asm volatile("ld.acquire.sys.global.u32 %0, [%1];" : "=r"(seen) : "l"(at) : "memory");
    while (seen != flag && !is_called_off(a, spins));
}

/* All GPUs come here, each with this block. */
__device__ __forceinline__ void meet_peers(const struct kern_peers &a, enum peer_news news,
                                           uint32_t flag)
{
    int peer = threadIdx.x;

    __syncthreads();
    if (peer < a.n && peer != a.rank) {
        tell_peer(a, peer, news, flag);
        hear_peer(a, peer, news, flag);
    }
    __syncthreads();
}

/* Two values and their flags. */
__device__ __forceinline__ void push_pair(void *to, float x, float y, uint32_t flag)
{
    asm volatile("st.volatile.global.v4.u32 [%0], {%1, %2, %3, %2};" ::"l"(to),
                 "r"(__float_as_uint(x)), "r"(flag), "r"(__float_as_uint(y))
                 : "memory");
}

__device__ __forceinline__ uint4 look_pair(const void *from)
{
    uint4 v;

    asm volatile("ld.volatile.global.v4.u32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
                 : "l"(from)
                 : "memory");
    return v;
}

/* Where this thread's first pair of a row lies that GPU `from` pushes to `to`; the next ones follow
 * a block's threads further, so that a warp writes one piece. */
__device__ __forceinline__ char *pairs_of(const struct kern_peers &a, int to, int from, int row,
                                          int hidden, uint32_t flag)
{
    size_t place = ((size_t)(flag & 1) * a.n + from) * KERN_SUM_FEW_ROWS + row;

    return (char *)a.box[to] + PEER_FLAG_BYTES + place * peer_row_bytes(hidden) +
           (size_t)threadIdx.x * 16;
}

/* Eight values of a thread from `at` on, when they have come. */
__device__ __forceinline__ void pull8(const struct kern_peers &a, float (&x)[8], const char *at,
                                      uint32_t flag)
{
    uint4 v[4];
    bool is_there;
    unsigned spins = 0;

    do {
        is_there = true;
#pragma unroll
        for (int j = 0; j < 4; j++)
            v[j] = look_pair(at + (size_t)j * blockDim.x * 16);
#pragma unroll
        for (int j = 0; j < 4; j++)
            is_there = is_there && v[j].y == flag && v[j].w == flag;
    } while (!is_there && !is_called_off(a, spins));
#pragma unroll
    for (int j = 0; j < 4; j++) {
        x[2 * j] = __uint_as_float(v[j].x);
        x[2 * j + 1] = __uint_as_float(v[j].z);
    }
}

/* v = its sum over the GPUs, in their order. Of each thread those units count that lie within the
 * row. */
template <int UNITS>
__device__ __forceinline__ void sum_row(const struct kern_peers &a, float (&v)[UNITS][8], int row,
                                        int hidden)
{
    uint32_t flag = peer_flag(a);
    size_t unit_bytes = (size_t)blockDim.x * 64;

    for (int to = 0; to < a.n; to++) {
        char *at = pairs_of(a, to, a.rank, row, hidden, flag);
#pragma unroll
        for (int u = 0; u < UNITS; u++)
#pragma unroll
            for (int j = 0; j < 4; j++)
                if (to != a.rank && (int)(u * blockDim.x + threadIdx.x) * 8 < hidden)
                    push_pair(at + u * unit_bytes + (size_t)j * blockDim.x * 16, v[u][2 * j],
                              v[u][2 * j + 1], flag);
    }
#pragma unroll
    for (int u = 0; u < UNITS; u++) {
        float sum[8];
        if ((int)(u * blockDim.x + threadIdx.x) * 8 >= hidden)
            continue;
        for (int from = 0; from < a.n; from++) {
            float x[8];
            if (from != a.rank)
                pull8(a, x, pairs_of(a, a.rank, from, row, hidden, flag) + u * unit_bytes, flag);
#pragma unroll
            for (int k = 0; k < 8; k++) {
                x[k] = from == a.rank ? v[u][k] : x[k];
                sum[k] = from == 0 ? x[k] : __fadd_rn(sum[k], x[k]);
            }
        }
#pragma unroll
        for (int k = 0; k < 8; k++)
            v[u][k] = sum[k];
    }
}

#endif
