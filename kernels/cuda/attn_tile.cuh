/* SPDX-License-Identifier: Apache-2.0 */
/* What the two attention kernels share: the one order in which a row of
 * attention is summed.
 *
 *   s_j = q k_j,  p_j = exp(scale (s_j - m)),  out = sum p_j v_j / sum p_j
 *
 * Keys go in tiles of TILE_KEYS from key 0 on. A tile's scores are chains of
 * mma m16n8k16 over the dimensions, its maximum updates the running maximum,
 * sums and outputs are rescaled, and P V continues the chain of mma over the
 * keys. After every KERN_CHUNK_KEYS keys the sums start anew, and chunks are
 * merged in ascending order. A tile or chunk of which a row sees nothing
 * changes none of its bits (factors are exactly 1 or 0), so it may be skipped
 * or not. Products of a row do not depend on the row's place among the 16 of
 * its mma: tests/gpu compares the kernels bit for bit. */
#ifndef ANT_ATTN_TILE_CUH
#define ANT_ATTN_TILE_CUH

#include <cuda_bf16.h>

#include "cuda/kern.h"
#include "cuda/launch.cuh"

constexpr int TILE_KEYS = 64;
constexpr int TILES_PER_CHUNK = KERN_CHUNK_KEYS / TILE_KEYS;
constexpr int PAGES_PER_TILE = TILE_KEYS / KERN_PAGE_TOKENS;

__device__ __forceinline__ uint32_t smem_address(const void *p)
{
    return (uint32_t)__cvta_generic_to_shared(p);
}

/* 16 bytes to shared memory, zeros when !valid. */
__device__ __forceinline__ void copy_async(uint32_t to, const void *from, bool valid)
{
    asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16, %2;" ::"r"(to), "l"(from),
                 "r"(valid ? 16 : 0)
                 : "memory");
}

__device__ __forceinline__ void copy_commit()
{
    asm volatile("cp.async.commit_group;" ::: "memory");
}

template <int PENDING> __device__ __forceinline__ void copy_wait()
{
    asm volatile("cp.async.wait_group %0;" ::"n"(PENDING) : "memory");
}

__device__ __forceinline__ void load_matrices(uint32_t (&r)[4], uint32_t address)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(address)
                 : "memory");
}

__device__ __forceinline__ void load_matrices_transposed(uint32_t (&r)[4], uint32_t address)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(address)
                 : "memory");
}

/* c (16 x 8) += a (16 x 16) b (16 x 8) */
__device__ __forceinline__ void mma(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1)
{
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, "
                 "{%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

__device__ __forceinline__ float exp2_fast(float x)
{
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

__device__ __forceinline__ uint32_t pack_bf16(float low, float high)
{
    __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
    return *(uint32_t *)&pair;
}

/* A tile in shared memory: TILE_KEYS rows of D bf16 in units of 16 bytes, the
 * unit's place in its row XORed with the row so that eight rows of one unit
 * lie in different banks. Byte offset of unit `u` of row `r`: */
template <int D> __device__ __forceinline__ uint32_t tile_offset(int r, int u)
{
    return (uint32_t)(r * (D * 2) + ((u ^ (r & 7)) << 4));
}

/* Start the copy of one tile of K or V; rows from `n_valid` on become zeros, so that whatever an
 * unused part of a page holds is never multiplied. */
template <int D, int THREADS>
__device__ __forceinline__ void tile_load(uint32_t to, const uint16_t *cache, const int32_t *pages,
                                          int n_valid, int kv_head, int kv_heads)
{
    constexpr int UNITS = D / 8, PAGE_UNITS = KERN_PAGE_TOKENS * UNITS;

#pragma unroll
    for (int p = 0; p < PAGES_PER_TILE; p++) {
        bool used = p * KERN_PAGE_TOKENS < n_valid;
        size_t page = used ? (size_t)pages[p] : 0;
        const uint16_t *from = cache + (page * kv_heads + kv_head) * (size_t)(KERN_PAGE_TOKENS * D);
#pragma unroll
        for (int i = 0; i < PAGE_UNITS / THREADS; i++) {
            int unit = i * THREADS + threadIdx.x;
            int row = p * KERN_PAGE_TOKENS + unit / UNITS;
            copy_async(to + tile_offset<D>(row, unit % UNITS), from + unit * 8, row < n_valid);
        }
    }
}

/* Running state of one thread's two rows (g and g + 8 of the 16 of its warp). The sums are those
 * of the thread's own columns until row_sums(). */
struct attn_state {
    float max[2], sum[2];
};

__device__ __forceinline__ attn_state attn_state_empty()
{
    return {{-INFINITY, -INFINITY}, {0, 0}};
}

/* Scores s (16 rows x 64 keys, mma layout) become probabilities; `factor` is what outputs so far
 * must be multiplied by. c = scale * log2(e). Both rows advance together and in trees, because a
 * multiprocessor has few warps to hide the latency of a chain. */
__device__ __forceinline__ void softmax_tile(float (&s)[8][4], attn_state &state,
                                             float (&factor)[2], float c)
{
    float top[2], base[2], x[2][8];

#pragma unroll
    for (int n = 0; n < 8; n++)
#pragma unroll
        for (int h = 0; h < 2; h++)
            x[h][n] = fmaxf(s[n][2 * h], s[n][2 * h + 1]);
#pragma unroll
    for (int step = 4; step; step /= 2)
#pragma unroll
        for (int n = 0; n < step; n++)
#pragma unroll
            for (int h = 0; h < 2; h++)
                x[h][n] = fmaxf(x[h][n], x[h][n + step]);
#pragma unroll
    for (int h = 0; h < 2; h++)
        top[h] = fmaxf(state.max[h], x[h][0]);
#pragma unroll
    for (int step = 1; step < 4; step *= 2)
#pragma unroll
        for (int h = 0; h < 2; h++)
            top[h] = fmaxf(top[h], __shfl_xor_sync(~0u, top[h], step));
#pragma unroll
    for (int h = 0; h < 2; h++) {
        base[h] = top[h] == -INFINITY ? 0.0f : __fmul_rn(top[h], c);
        factor[h] = exp2_fast(__fsub_rn(__fmul_rn(state.max[h], c), base[h]));
        state.max[h] = top[h];
    }
#pragma unroll
    for (int n = 0; n < 8; n++) {
#pragma unroll
        for (int i = 0; i < 4; i++)
            s[n][i] = exp2_fast(__fmaf_rn(s[n][i], c, -base[i >> 1]));
#pragma unroll
        for (int h = 0; h < 2; h++)
            x[h][n] = __fadd_rn(s[n][2 * h], s[n][2 * h + 1]);
    }
#pragma unroll
    for (int step = 4; step; step /= 2)
#pragma unroll
        for (int n = 0; n < step; n++)
#pragma unroll
            for (int h = 0; h < 2; h++)
                x[h][n] = __fadd_rn(x[h][n], x[h][n + step]);
#pragma unroll
    for (int h = 0; h < 2; h++)
        state.sum[h] = __fmaf_rn(state.sum[h], factor[h], x[h][0]);
}

/* Scores, not yet scaled, under args.softcap; not yet scaled either. tanh(y) = 1 - 2 / (exp(2 y) +
 * 1)
 */
__device__ __forceinline__ void cap_tile(float (&s)[8][4], const kern_attn &args)
{
    float in = 2 * 1.44269504f * args.scale / args.softcap, out = args.softcap / args.scale;

#pragma unroll
    for (int n = 0; n < 8; n++)
#pragma unroll
        for (int i = 0; i < 4; i++) {
            float e = __fadd_rn(exp2_fast(__fmul_rn(s[n][i], in)), 1);
            s[n][i] = __fmul_rn(out, __fsub_rn(1, __fdividef(2, e)));
        }
}

/* Keys that a row may not see get -infinity. The thread's columns of mma n are key + 8 n and the
 * next one; row h sees keys [from[h], to[h]). */
__device__ __forceinline__ void mask_tile(float (&s)[8][4], int key, const int (&from)[2],
                                          const int (&to)[2])
{
#pragma unroll
    for (int n = 0; n < 8; n++) {
#pragma unroll
        for (int i = 0; i < 4; i++) {
            int k = key + 8 * n + (i & 1);
            if (k < from[i >> 1] || k >= to[i >> 1])
                s[n][i] = -INFINITY;
        }
    }
}

/* Probabilities in the layout of an mma's A operand, for the 16 keys of step k. */
__device__ __forceinline__ void pack_probabilities(uint32_t (&a)[4], const float (&s)[8][4], int k)
{
    a[0] = pack_bf16(s[2 * k][0], s[2 * k][1]);
    a[1] = pack_bf16(s[2 * k][2], s[2 * k][3]);
    a[2] = pack_bf16(s[2 * k + 1][0], s[2 * k + 1][1]);
    a[3] = pack_bf16(s[2 * k + 1][2], s[2 * k + 1][3]);
}

/* The sums of whole rows, from those of the four threads of a row. */
__device__ __forceinline__ void row_sums(attn_state &state)
{
#pragma unroll
    for (int h = 0; h < 2; h++) {
        state.sum[h] = __fadd_rn(state.sum[h], __shfl_xor_sync(~0u, state.sum[h], 1));
        state.sum[h] = __fadd_rn(state.sum[h], __shfl_xor_sync(~0u, state.sum[h], 2));
    }
}

/* Merge a chunk's maximum and sum into a row's; outputs become out * a + chunk * b. */
__device__ __forceinline__ void merge_chunk(float &max, float &sum, float chunk_max,
                                            float chunk_sum, float c, float &a, float &b)
{
    float top = fmaxf(max, chunk_max);
    float base = top == -INFINITY ? 0.0f : __fmul_rn(top, c);

    a = exp2_fast(__fsub_rn(__fmul_rn(max, c), base));
    b = exp2_fast(__fsub_rn(__fmul_rn(chunk_max, c), base));
    max = top;
    sum = __fmaf_rn(chunk_sum, b, __fmul_rn(sum, a));
}

__device__ __forceinline__ float merge_value(float out, float chunk, float a, float b)
{
    return __fmaf_rn(chunk, b, __fmul_rn(out, a));
}

/* A chunk's outputs and its (max, sum) in the partial results. */
template <int D> __device__ __forceinline__ float *partial_values(const kern_attn &args, int i)
{
    return args.partial + (size_t)i * args.part_rows * (D + 2);
}

template <int D> __device__ __forceinline__ float2 *partial_state(const kern_attn &args, int i)
{
    return (float2 *)(partial_values<D>(args, i) + args.part_rows * D);
}

/* Q of 16 rows as the A operands of D / 16 mma steps; rows from n_rows on are zero. `row` is the
 * thread's first (token, head) row, its second is 8 further. */
template <int D>
__device__ __forceinline__ void load_query(uint32_t (&q)[D / 16][4], const kern_attn &args,
                                           int first_token, int kv_head, int row, int n_rows)
{
    int group = args.heads / args.kv_heads;

#pragma unroll
    for (int h = 0; h < 2; h++) {
        int r = row + 8 * h;
        const uint16_t *from = args.q + (size_t)(first_token + r / group) * args.q_stride +
                               (kv_head * group + r % group) * D + (threadIdx.x & 3) * 2;
#pragma unroll
        for (int k = 0; k < D / 16; k++) {
            q[k][h] = r < n_rows ? *(const uint32_t *)(from + 16 * k) : 0;
            q[k][h + 2] = r < n_rows ? *(const uint32_t *)(from + 16 * k + 8) : 0;
        }
    }
}

#endif
