/* SPDX-License-Identifier: Apache-2.0 */
/* What is done to each value by itself: the embedding of tokens, and the gated
 * activation of the MLP.
 *
 *   embed: out = table[token] * scale
 *   glu:   out = gate / (1 + exp(-gate)) * up, or GELU's approximation by tanh
 *
 * A thread takes eight values. Bound by memory: 6 bytes a value of output,
 * both (embed reads 2 and writes 4, glu reads 4 and writes 2). Measured on an
 * H100 at 2048 rows: embed (4096) 83 %, glu (14336) 93 % of copy bandwidth.
 */
#include "cuda/vec.cuh"

namespace
{

constexpr int THREADS = 256;

__global__ void __launch_bounds__(THREADS)
    embed(const __grid_constant__ struct kern_embed a, unsigned units, unsigned total)
{
    unsigned i = blockIdx.x * THREADS + threadIdx.x;
    start_next();
    wait_before();
    if (i >= total)
        return;
    unsigned row = i / units, unit = i % units;
    int token = a.tokens[row];
    float x[8];

    if (token < 0)
        token = a.drawn[~token];
    uint4 packed = {};
    if (token >= a.first && token < a.end)
        packed = *(const uint4 *)(a.table + (size_t)(token - a.first) * a.hidden + unit * 8);
    unpack8(x, packed);
#pragma unroll
    for (int k = 0; k < 8; k++)
        x[k] *= a.scale;
    store8(a.out + (size_t)row * a.hidden + unit * 8, x);
}

__global__ void __launch_bounds__(THREADS)
    glu(const __grid_constant__ struct kern_glu a, unsigned units, unsigned total)
{
    unsigned i = blockIdx.x * THREADS + threadIdx.x;
    start_next();
    wait_before();
    if (i >= total)
        return;
    unsigned row = i / units, unit = i % units;
    const uint16_t *from = a.in + (size_t)row * 2 * a.ff + unit * 8;
    uint4 g = __ldcs((const uint4 *)from), u = __ldcs((const uint4 *)(from + a.ff));
    float gate[8], up[8];

    unpack8(gate, g);
    unpack8(up, u);
#pragma unroll
    for (int k = 0; k < 8; k++)
        gate[k] = a.is_gelu ? gelu_gated(gate[k], up[k]) : gated(gate[k], up[k]);
    *(uint4 *)(a.out + (size_t)row * a.ff + unit * 8) = pack8(gate);
}

__global__ void __launch_bounds__(THREADS)
    bias(const __grid_constant__ struct kern_bias a, unsigned units, unsigned total)
{
    unsigned i = blockIdx.x * THREADS + threadIdx.x;
    start_next();
    wait_before();
    if (i >= total)
        return;
    float *out = a.out + (size_t)(i / units) * a.n + i % units * 8;
    float x[8], b[8];

    load8(x, out);
    unpack8(b, *(const uint4 *)(a.bias + i % units * 8));
#pragma unroll
    for (int k = 0; k < 8; k++)
        x[k] += b[k];
    store8(out, x);
}

__global__ void __launch_bounds__(THREADS) softcap(float *x, size_t units, float cap)
{
    size_t i = blockIdx.x * (size_t)THREADS + threadIdx.x;
    start_next();
    wait_before();
    if (i >= units)
        return;
    float4 v = ((const float4 *)x)[i];
    ((float4 *)x)[i] = make_float4(cap * tanhf(v.x / cap), cap * tanhf(v.y / cap),
                                   cap * tanhf(v.z / cap), cap * tanhf(v.w / cap));
}

__global__ void __launch_bounds__(THREADS) round_all(const float *x, uint16_t *out, size_t units)
{
    size_t i = blockIdx.x * (size_t)THREADS + threadIdx.x;
    float v[8];
    start_next();
    wait_before();
    if (i >= units)
        return;
    load8(v, x + 8 * i);
    *(uint4 *)(out + 8 * i) = pack8(v);
}

/* A mixing of the index (the finaliser of a 64-bit hash) gives four values. */
__global__ void __launch_bounds__(THREADS) fill_noise(uint16_t *out, size_t n, float scale)
{
    size_t step = (size_t)gridDim.x * THREADS;

    for (size_t i = blockIdx.x * (size_t)THREADS + threadIdx.x; i * 4 < n; i += step) {
        uint64_t z = (i + 1) * 0x9e3779b97f4a7c15u;
        z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
        z = (z ^ z >> 27) * 0x94d049bb133111ebu;
        z ^= z >> 31;
        for (int k = 0; k < 4 && i * 4 + k < n; k++, z >>= 16)
            out[i * 4 + k] = __bfloat16_as_ushort(
                __float2bfloat16_rn(((int)(z & 0xffff) - 32768) * (scale / 32768)));
    }
}

/* The sum decides whether something is written, or the compiler would leave out the reading. */
__global__ void __launch_bounds__(THREADS) read_all(const uint4 *data, size_t n, int32_t *out)
{
    constexpr int AHEAD = 8;
    uint32_t seen = 0;

    for (size_t i = (size_t)blockIdx.x * AHEAD * THREADS + threadIdx.x; i < n;
         i += (size_t)gridDim.x * AHEAD * THREADS) {
        uint4 x[AHEAD];
#pragma unroll
        for (int k = 0; k < AHEAD; k++)
            x[k] = i + k * THREADS < n ? __ldcs(data + i + k * THREADS) : make_uint4(0, 0, 0, 0);
#pragma unroll
        for (int k = 0; k < AHEAD; k++)
            seen += x[k].x ^ x[k].y ^ x[k].z ^ x[k].w;
    }
    if (seen == 0x5eed5eed)
        *out = 1;
}

} // namespace

cudaError_t kern_read(const void *data, size_t bytes, int32_t *out, cudaStream_t stream)
{
    if (bytes % 16)
        return cudaErrorInvalidValue;
    if (bytes == 0)
        return cudaSuccess;
    read_all<<<132 * 8, THREADS, 0, stream>>>((const uint4 *)data, bytes / 16, out);
    return cudaGetLastError();
}

cudaError_t kern_bias(struct kern_bias a, cudaStream_t stream)
{
    long long total = (long long)a.rows * (a.n / 8);

    if (a.n % 8 || total > 0x7fffffff)
        return cudaErrorInvalidValue;
    if (total == 0)
        return cudaSuccess;
    return launch_early(bias, blocks_for(total, THREADS), THREADS, 0, stream, a, a.n / 8, total);
}

cudaError_t kern_softcap(float *x, size_t n, float cap, cudaStream_t stream)
{
    if (n % 4)
        return cudaErrorInvalidValue;
    if (n == 0)
        return cudaSuccess;
    return launch_early(softcap, blocks_for(n / 4, THREADS), THREADS, 0, stream, x, n / 4, cap);
}

cudaError_t kern_round(const float *x, uint16_t *out, size_t n, cudaStream_t stream)
{
    if (n % 8)
        return cudaErrorInvalidValue;
    if (n == 0)
        return cudaSuccess;
    return launch_early(round_all, blocks_for(n / 8, THREADS), THREADS, 0, stream, x, out, n / 8);
}

cudaError_t kern_fill_noise(uint16_t *out, size_t n, float scale, cudaStream_t stream)
{
    if (n == 0)
        return cudaSuccess;
    fill_noise<<<1056, THREADS, 0, stream>>>(out, n, scale);
    return cudaGetLastError();
}

cudaError_t kern_embed(struct kern_embed a, cudaStream_t stream)
{
    long long total = (long long)a.rows * (a.hidden / 8);

    if (a.hidden % 8 || total > 0x7fffffff)
        return cudaErrorInvalidValue;
    if (total == 0)
        return cudaSuccess;
    return launch_early(embed, blocks_for(total, THREADS), THREADS, 0, stream, a, a.hidden / 8,
                        total);
}

cudaError_t kern_glu(struct kern_glu a, cudaStream_t stream)
{
    long long total = (long long)a.rows * (a.ff / 8);

    if (a.ff % 8 || total > 0x7fffffff)
        return cudaErrorInvalidValue;
    if (total == 0)
        return cudaSuccess;
    return launch_early(glu, blocks_for(total, THREADS), THREADS, 0, stream, a, a.ff / 8, total);
}
