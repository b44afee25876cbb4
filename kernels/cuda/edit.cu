/* SPDX-License-Identifier: Apache-2.0 */
/* What is done to rows of logits before an id is drawn from each.
 *
 *   top    the best ids and their logprobs, one reading after another
 *   edit   y = x + bias; y / factor above 0, else y * factor; less penalty;
 *          -infinity for ids that only_edited or a mask leaves out
 *
 * One block a row; a row that wants nothing of it costs a launch's share. Logits
 * change in place: logprobs of the unmodified distribution need the row's
 * maximum and sum, kept in `totals`, and the logit of the id that is drawn, kept
 * where its bias was. Bound by memory: edit reads a row once, and a mask writes
 * what it takes out.
 */
#include <limits.h>

#include "cuda/sample.cuh"

namespace
{

__device__ __forceinline__ bool is_masked_out(const uint32_t *mask, int id)
{
    return mask && !(mask[id / 32] >> id % 32 & 1);
}

/* Take out what the mask does not have. */
__device__ void apply_mask(float *x, int vocab, const uint32_t *mask)
{
#pragma unroll 8
    for (int id = threadIdx.x; id < vocab; id += THREADS)
        if (is_masked_out(mask, id))
            x[id] = -INFINITY;
}

/* Logits change in place, and what they were stays where their bias was. */
__global__ void __launch_bounds__(THREADS, 2) edit(const __grid_constant__ struct kern_sample a)
{
    extern __shared__ __align__(16) char memory[];
    float *x = a.logits + (size_t)blockIdx.x * a.stride;

    start_next();
    wait_before();
    kern_draw d = a.draws[blockIdx.x];
    struct kern_edit *edits = edits_of(a, d);
    const uint32_t *mask = d.is_masked ? (const uint32_t *)(a.lists + d.mask) : nullptr;
    if (!is_edited(d))
        return;
    row r = row_of(a, d);
    findings f = survey<false>(*(shared *)memory, r);
    __syncthreads();
    for (int i = threadIdx.x; i < d.n_edits; i += THREADS) {
        struct kern_edit e = edits[i];
        if (e.id < 0 || e.id >= a.vocab)
            continue;
        float y = x[e.id] + e.bias;
        edits[i].bias = x[e.id];
        y = y > 0 ? __fdiv_rn(y, e.factor) : __fmul_rn(y, e.factor);
        edits[i].penalty = __fsub_rn(y, e.penalty);
    }
    __syncthreads();
    for (int i = threadIdx.x; i < a.vocab && d.only_edited; i += THREADS)
        x[i] = -INFINITY;
    if (mask && !d.only_edited)
        apply_mask(x, a.vocab, mask);
    __syncthreads();
    for (int i = threadIdx.x; i < d.n_edits; i += THREADS) {
        int id = edits[i].id;
        if (id >= 0 && id < a.vocab && !is_masked_out(mask, id))
            x[id] = edits[i].penalty;
    }
    if (threadIdx.x == 0)
        ((float2 *)a.totals)[blockIdx.x] = make_float2(f.top.value, f.log_sum);
}

/* One id after another: the best of those behind the one before. */
__global__ void __launch_bounds__(THREADS, 2) top(const __grid_constant__ struct kern_sample a)
{
    extern __shared__ __align__(16) char memory[];
    shared &s = *(shared *)memory;
    best last = {INFINITY, -1};

    start_next();
    wait_before();
    kern_draw d = a.draws[blockIdx.x];
    if (d.n_top == 0)
        return;
    row r = row_of(a, d);
    findings f = survey<false>(s, r);
    for (int i = 0; i < d.n_top; i++) {
        best b = {-INFINITY, INT_MAX};
        for_each(r, [&](const float(&x)[4], int id) {
#pragma unroll
            for (int j = 0; j < 4; j++) {
                bool is_behind = x[j] < last.value || (x[j] == last.value && id + j > last.id);
                if (is_behind && id + j < r.vocab)
                    b = better(b, {x[j], id + j});
            }
        });
        last = block_best(s, b);
        if (threadIdx.x == 0) {
            size_t at = (size_t)blockIdx.x * KERN_MAX_TOP + i;
            bool is_there = last.id < r.vocab;
            a.top_ids[at] = is_there ? last.id : -1;
            a.top_logprobs[at] = is_there ? last.value - f.top.value - f.log_sum : -INFINITY;
        }
    }
}

} // namespace

cudaError_t kern_edit(struct kern_sample a, cudaStream_t stream)
{
    return launch(edit, a, stream);
}

cudaError_t kern_top(struct kern_sample a, cudaStream_t stream)
{
    return launch(top, a, stream);
}
