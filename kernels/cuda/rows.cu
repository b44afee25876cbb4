/* SPDX-License-Identifier: Apache-2.0 */
/* What is done to each value by itself: the embedding of tokens, and the gated
 * activation of the MLP.
 *
 *   embed: out = table[token] * scale
 *   glu:   out = gate / (1 + exp(-gate)) * up
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
    if (i >= total)
        return;
    unsigned row = i / units, unit = i % units;
    int token = a.tokens[row];
    float x[8];

    if (token < 0)
        token = a.drawn[~token];
    unpack8(x, *(const uint4 *)(a.table + (size_t)token * a.hidden + unit * 8));
#pragma unroll
    for (int k = 0; k < 8; k++)
        x[k] *= a.scale;
    store8(a.out + (size_t)row * a.hidden + unit * 8, x);
}

__global__ void __launch_bounds__(THREADS)
    glu(const __grid_constant__ struct kern_glu a, unsigned units, unsigned total)
{
    unsigned i = blockIdx.x * THREADS + threadIdx.x;
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
        gate[k] = __fdividef(gate[k], 1.0f + __expf(-gate[k])) * up[k];
    *(uint4 *)(a.out + (size_t)row * a.ff + unit * 8) = pack8(gate);
}

} // namespace

cudaError_t kern_embed(struct kern_embed a, cudaStream_t stream)
{
    long long total = (long long)a.rows * (a.hidden / 8);

    if (a.hidden % 8 || total > 0x7fffffff)
        return cudaErrorInvalidValue;
    if (total == 0)
        return cudaSuccess;
    embed<<<blocks_for(total, THREADS), THREADS, 0, stream>>>(a, a.hidden / 8, total);
    return cudaGetLastError();
}

cudaError_t kern_glu(struct kern_glu a, cudaStream_t stream)
{
    long long total = (long long)a.rows * (a.ff / 8);

    if (a.ff % 8 || total > 0x7fffffff)
        return cudaErrorInvalidValue;
    if (total == 0)
        return cudaSuccess;
    glu<<<blocks_for(total, THREADS), THREADS, 0, stream>>>(a, a.ff / 8, total);
    return cudaGetLastError();
}
