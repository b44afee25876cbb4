/* SPDX-License-Identifier: Apache-2.0 */
/* A block and its row of logits: how it reads them, sums over them, finds the best; what drawing
 * (sample.cu) and what comes before it (edit.cu) share. Included inside no namespace. */
#ifndef ANT_SAMPLE_CUH
#define ANT_SAMPLE_CUH

#include "cuda/vec.cuh"

namespace
{

constexpr int THREADS = 512, WARPS = THREADS / 32;
constexpr int PER = 4, BINS = PER * THREADS, BIN_BITS = 11; /* bins of a thread, and of a row */
constexpr float BINS_PER_OCTAVE = 32;
constexpr int BINS_ABOVE = 16 * 32;  /* bins for weights above the reference's */
constexpr int LIST = 19456;          /* keys kept in shared memory: two blocks fit */
constexpr int AHEAD = 4;             /* 16-byte loads in flight a thread */
constexpr int SEGMENT = AHEAD * 128; /* ids that a warp reads at once */
constexpr int MAX_VOCAB = SEGMENT * BINS;
constexpr float MIN_TEMPERATURE = 1e-5f; /* below: greedy, as on the CPU */

struct best {
    float value;
    int id;
};

struct shared {
    uint32_t octaves[BINS];                      /* ids by weight */
    uint32_t count[BINS], low[BINS], high[BINS]; /* of the bracket; low: segment sums, too */
    uint32_t list[LIST], n_list;
    best warp_best[WARPS];
    double warp_sum[WARPS];
    int found, last;
    double found_before;
};

/* What a block knows of its row. */
struct row {
    const float *x;
    const int32_t *banned;
    int vocab, n_banned;
    float top, scale, min_p; /* best allowed logit; log2(e) / temperature */
    float reference;         /* a high logit of the row: the origin of its bins */
};

__device__ __forceinline__ float power_of_two(float x)
{
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

/* Bins by weight, heaviest first. The reference opens bin BINS_ABOVE; the first and the last bin
 * hold all that lies beyond. */
__device__ __forceinline__ int octave_bin(const row &r, float x)
{
    float octaves = (r.reference - x) * r.scale;
    int bin = __float2int_rd(octaves * BINS_PER_OCTAVE + BINS_ABOVE);
    return max(0, min(bin, BINS - 1));
}

__device__ __forceinline__ bool is_banned(const row &r, int id)
{
    for (int k = 0; k < r.n_banned; k++)
        if (r.banned[k] == id)
            return true;
    return false;
}

/* Four logits from `id` on; -infinity for NaN and beyond the row. */
__device__ __forceinline__ void clean(float (&x)[4], float4 v, int n)
{
    x[0] = fmaxf(v.x, -INFINITY), x[1] = fmaxf(v.y, -INFINITY);
    x[2] = fmaxf(v.z, -INFINITY), x[3] = fmaxf(v.w, -INFINITY);
    if (n < 4) {
#pragma unroll
        for (int j = 0; j < 4; j++)
            x[j] = j < n ? x[j] : -INFINITY;
    }
}

/* begin(), then f(x, id) of AHEAD groups of four ids a thread, then end(segment): a warp takes
 * whole segments, and all of its threads call all of these. */
template <class Begin, class F, class End>
__device__ __forceinline__ void for_segments(const row &r, Begin begin, F f, End end)
{
    int lane = threadIdx.x % 32, n_segments = (r.vocab + SEGMENT - 1) / SEGMENT;

    for (int segment = threadIdx.x / 32; segment < n_segments; segment += WARPS) {
        int first = segment * SEGMENT + lane * 4;
        float4 v[AHEAD];
#pragma unroll
        for (int k = 0; k < AHEAD; k++)
            v[k] = first + k * 128 < r.vocab ? *(const float4 *)(r.x + first + k * 128)
                                             : make_float4(0, 0, 0, 0);
        begin();
#pragma unroll
        for (int k = 0; k < AHEAD; k++) {
            float x[4];
            clean(x, v[k], r.vocab - first - k * 128);
            f(x, first + k * 128);
        }
        end(segment);
    }
}

template <class F> __device__ __forceinline__ void for_each(const row &r, F f)
{
    for_segments(
        r, [] {}, f, [](int) {});
}

/* Sum over the block in a fixed order, in every thread. */
__device__ __forceinline__ double block_sum(shared &s, double x)
{
#pragma unroll
    for (int o = 16; o; o >>= 1)
        x += __shfl_xor_sync(~0u, x, o);
    __syncthreads();
    if (threadIdx.x % 32 == 0)
        s.warp_sum[threadIdx.x / 32] = x;
    __syncthreads();
    x = threadIdx.x % 32 < WARPS ? s.warp_sum[threadIdx.x % 32] : 0;
#pragma unroll
    for (int o = 16; o; o >>= 1)
        x += __shfl_xor_sync(~0u, x, o);
    return x;
}

__device__ __forceinline__ best better(best a, best b)
{
    return b.value > a.value || (b.value == a.value && b.id < a.id) ? b : a;
}

__device__ __forceinline__ best block_best(shared &s, best b)
{
    for (int round = 0; round < 2; round++) {
#pragma unroll
        for (int o = 16; o; o >>= 1)
            b = better(b, {__shfl_xor_sync(~0u, b.value, o), __shfl_xor_sync(~0u, b.id, o)});
        __syncthreads();
        if (round == 0 && threadIdx.x % 32 == 0)
            s.warp_best[threadIdx.x / 32] = b;
        __syncthreads();
        if (round == 0)
            b = s.warp_best[threadIdx.x % WARPS];
    }
    return b;
}

/* What one reading of a row finds: its highest logit, the log of the sum of exponentials below it
 * and, with COUNT, the weight of all ids. */
struct findings {
    best top;
    float log_sum;
    double weight;
};

/* A high logit to begin with: the best of the first few. */
__device__ __forceinline__ float guess_reference(shared &s, const row &r)
{
    float x[4];
    int i = threadIdx.x * 4;

    clean(x, i < r.vocab ? *(const float4 *)(r.x + i) : make_float4(0, 0, 0, 0), r.vocab - i);
    best b = block_best(s, {fmaxf(fmaxf(x[0], x[1]), fmaxf(x[2], x[3])), 0});
    return fmaxf(b.value, -1e30f);
}

/* COUNT: also the ids that are not banned by weight, in s.octaves. */
template <bool COUNT> __device__ findings survey(shared &s, row &r)
{
    best top = {-1e30f, 0};
    float sum = 0, weight = 0;

    if (COUNT) {
        for (int k = threadIdx.x; k < BINS; k += THREADS)
            s.octaves[k] = 0;
        r.reference = guess_reference(s, r);
    }
    for_each(r, [&](const float(&x)[4], int id) {
        float m = fmaxf(fmaxf(x[0], x[1]), fmaxf(x[2], x[3]));
        if (m > top.value) {
            sum *= __expf(top.value - m);
            weight *= COUNT ? power_of_two((top.value - m) * r.scale) : 0;
            top = {m, id + (x[0] == m ? 0 : x[1] == m ? 1 : x[2] == m ? 2 : 3)};
        }
#pragma unroll
        for (int j = 0; j < 4; j++) {
            sum += __expf(x[j] - top.value);
            if (COUNT && x[j] > -INFINITY && !(r.n_banned && is_banned(r, id + j))) {
                weight += power_of_two((x[j] - top.value) * r.scale);
                atomicAdd(&s.octaves[octave_bin(r, x[j])], 1u);
            }
        }
    });
    findings f = {block_best(s, top)};
    f.log_sum = logf((float)block_sum(s, sum * __expf(top.value - f.top.value)));
    if (COUNT)
        f.weight = block_sum(s, weight * power_of_two((top.value - f.top.value) * r.scale));
    return f;
}

__device__ __forceinline__ row row_of(const struct kern_sample &a, const kern_draw &d)
{
    return {a.logits + (size_t)blockIdx.x * a.stride,
            a.lists + d.banned,
            a.vocab,
            d.n_banned,
            0,
            1.44269504f / d.temperature,
            d.min_p};
}

__device__ __forceinline__ struct kern_edit *edits_of(const struct kern_sample &a,
                                                      const kern_draw &d)
{
    return (struct kern_edit *)(a.lists + d.edits);
}

/* A given id is not drawn. */
__device__ __forceinline__ bool is_edited(const kern_draw &d)
{
    return (d.n_edits > 0 || d.is_masked) && !d.is_given;
}

inline cudaError_t launch(void (*kernel)(struct kern_sample), const struct kern_sample &a,
                          cudaStream_t stream)
{
    if (a.stride % 4 || a.stride < a.vocab || a.vocab <= 0 || a.vocab > MAX_VOCAB)
        return cudaErrorInvalidValue;
    if (a.rows == 0)
        return cudaSuccess;
    cudaError_t e =
        cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, sizeof(shared));
    return e != cudaSuccess ? e : launch_early(kernel, a.rows, THREADS, sizeof(shared), stream, a);
}

} // namespace

#endif
