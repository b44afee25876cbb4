/* SPDX-License-Identifier: Apache-2.0 */
/* Which experts a row chooses, how much each counts, and the rows in the order
 * of experts.
 *
 *   score = row * router^T;  the best `used` of them;  weights of these
 *
 * route: a block takes 16 rows; its eight warps have an eighth of the sum over
 * `hidden` each, by mma on operands straight from memory (columns are taken in
 * an order in which a thread's are consecutive, the same for both operands),
 * and add it to the scores in shared memory one after another. Then a warp
 * chooses for two rows. All sums have an order of their own that follows from
 * the shape alone.
 *
 * sort: one block counts and places the entries, each warp a run of them, so
 * that within an expert they keep their order.
 *
 * combine: a thread takes eight values of a row. Bound by memory: 8 bytes a
 * value, and 2 for each expert.
 */
#include "cuda/attn_tile.cuh"
#include "cuda/vec.cuh"

namespace
{

constexpr int THREADS = 256, WARPS = THREADS / 32, ROWS = 16;

/* ---- scores ---- */

__device__ __forceinline__ uint4 eight(const uint16_t *matrix, int row, int n_rows, int k, int at)
{
    return at < k ? *(const uint4 *)(matrix + (size_t)min(row, n_rows - 1) * k + at) : uint4{};
}

/* c (16 rows x 8 N experts) = the sum over columns [from, to); many loads in flight. */
template <int N>
__device__ __forceinline__ void part_of_scores(float (&c)[N][4], const struct kern_route &a,
                                               int row, int expert, int n, int from, int to)
{
    int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;

#pragma unroll
    for (int i = 0; i < N; i++)
        c[i][0] = c[i][1] = c[i][2] = c[i][3] = 0;
#pragma unroll(N > 4 ? 1 : 16 / N)
    for (int k = from + 8 * t; k < to + 8 * t; k += 32) {
        uint4 low = eight(a.in, row + g, a.rows, a.hidden, k);
        uint4 high = eight(a.in, row + g + 8, a.rows, a.hidden, k);
        uint32_t first[4] = {low.x, high.x, low.y, high.y};
        uint32_t second[4] = {low.z, high.z, low.w, high.w};
#pragma unroll
        for (int i = 0; i < N; i++) {
            uint4 w = eight(a.router, expert + 8 * i + g, n, a.hidden, k);
            mma(c[i], first, w.x, w.y);
            mma(c[i], second, w.z, w.w);
        }
    }
}

/* scores (16 x stride) of N times eight experts from `expert` on, from the parts of all warps. */
template <int N>
__device__ __forceinline__ void add_scores(float *scores, const struct kern_route &a, int row,
                                           int expert, int n, int stride)
{
    int warp = threadIdx.x / 32, g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
    int steps = (a.hidden + 31) / 32;
    float c[N][4];

    part_of_scores<N>(c, a, row, expert, n, steps * warp / WARPS * 32,
                      steps * (warp + 1) / WARPS * 32);
    for (int turn = 0; turn < WARPS; turn++) {
        for (int i = 0; i < N && turn == warp; i++)
#pragma unroll
            for (int j = 0; j < 4; j++) {
                int id = expert + 8 * i + 2 * t + (j & 1);
                float *score = scores + (g + (j >> 1) * 8) * stride + id;
                if (id < n)
                    *score = warp == 0 ? c[i][j] : *score + c[i][j];
            }
        __syncthreads();
    }
}

/* ---- choosing: a warp, one row ---- */

struct candidate {
    float value;
    int id;
};

__device__ __forceinline__ candidate better(candidate a, candidate b)
{
    return b.value > a.value || (b.value == a.value && b.id < a.id) ? b : a;
}

__device__ __forceinline__ candidate warp_best(candidate c)
{
    for (int o = 16; o; o >>= 1)
        c = better(c, {__shfl_xor_sync(~0u, c.value, o), __shfl_xor_sync(~0u, c.id, o)});
    return c;
}

/* The greatest of n values, the first of equals; the first of all when none is greater than
 * -infinity. */
__device__ __forceinline__ candidate best_of(const float *values, int n)
{
    candidate c = {-INFINITY, 0};

    for (int i = threadIdx.x % 32; i < n; i += 32)
        if (values[i] > c.value)
            c = {values[i], i};
    return warp_best(c);
}

__device__ __forceinline__ float warp_sum(float x)
{
    for (int o = 16; o; o >>= 1)
        x += __shfl_xor_sync(~0u, x, o);
    return x;
}

/* Take the one chosen out. */
__device__ __forceinline__ void strike(float *values, int id)
{
    __syncwarp();
    if (threadIdx.x % 32 == 0)
        values[id] = -INFINITY;
    __syncwarp();
}

__device__ void choose_sparse(const struct kern_route &a, const float *scores, float *left,
                              int32_t *ids, float *weights)
{
    int lane = threadIdx.x % 32;

    for (int i = lane; i < a.experts; i += 32)
        left[i] = scores[i];
    __syncwarp();
    for (int choice = 0; choice < a.used; choice++) {
        candidate top = best_of(left, a.experts);
        float sum = 0;
        for (int i = lane; i < a.experts; i += 32) {
            float size = fmaxf(fabsf(scores[i]), top.value);
            if (left[i] > -INFINITY && !((top.value - scores[i]) / size > 2 * a.jitter))
                sum += expf(left[i] - top.value);
        }
        sum = warp_sum(sum);
        if (lane == 0) {
            ids[choice] = top.id;
            weights[choice] = 1 / sum;
        }
        strike(left, top.id);
    }
}

/* Values of experts whose group is not among the best are taken out. A lane has a group. */
__device__ void keep_groups(const struct kern_route &a, float *left)
{
    int lane = threadIdx.x % 32, size = a.experts / a.groups;
    float best = -INFINITY, second = -INFINITY;

    for (int i = 0; i < size && lane < a.groups; i++) {
        float x = left[lane * size + i];
        second = fmaxf(second, fminf(best, x));
        best = fmaxf(best, x);
    }
    float sum = lane < a.groups ? best + second : -INFINITY;
    bool is_kept = false;
    for (int i = 0; i < a.groups_used; i++) {
        int id = warp_best({sum, sum > -INFINITY ? lane : 32}).id;
        is_kept |= lane == id;
        sum = lane == id ? -INFINITY : sum;
    }
    for (int i = 0; i < size && lane < a.groups && !is_kept; i++)
        left[lane * size + i] = -INFINITY;
    __syncwarp();
}

__device__ void choose_best(const struct kern_route &a, const float *scores, float *left,
                            int32_t *ids, float *weights)
{
    int lane = threadIdx.x % 32, mine = 0;
    bool is_softmax = a.score == KERN_SCORE_SOFTMAX;
    float max = best_of(scores, a.experts).value, sum = 0, weight = 0;

    for (int i = lane; i < a.experts; i += 32) {
        float value = is_softmax ? expf(scores[i] - max) : 1 / (1 + expf(-scores[i]));
        left[i] = (is_softmax ? scores[i] : value) + (a.bias ? a.bias[i] : 0);
        sum += is_softmax && !a.is_renormalized ? value : 0;
    }
    sum = warp_sum(sum);
    __syncwarp();
    if (a.groups > 0)
        keep_groups(a, left);
    for (int choice = 0; choice < a.used; choice++) {
        int id = best_of(left, a.experts).id;
        float value = is_softmax ? expf(scores[id] - max) : 1 / (1 + expf(-scores[id]));
        strike(left, id);
        sum += a.is_renormalized ? value : 0;
        if (lane == choice)
            mine = id, weight = value;
    }
    if (lane < a.used) {
        ids[lane] = mine;
        weights[lane] = weight * (is_softmax || a.is_renormalized ? a.scale / sum : a.scale);
    }
}

template <int N>
__global__ void __launch_bounds__(THREADS) route(const __grid_constant__ struct kern_route a)
{
    extern __shared__ float memory[];
    int first = blockIdx.x * ROWS, n = a.experts + (a.shares != NULL), stride = n | 1;
    float *scores = memory, *left = memory + ROWS * stride;

    start_next();
    wait_before();
    for (int expert = 0; expert < n; expert += 8 * N)
        add_scores<N>(scores, a, first, expert, n, stride);
    for (int i = threadIdx.x / 32; i < ROWS && first + i < a.rows; i += WARPS) {
        size_t row = first + i;
        const float *mine = scores + i * stride;
        if (a.score == KERN_SCORE_SPARSEMIXER)
            choose_sparse(a, mine, left + i * stride, a.ids + row * a.used,
                          a.weights + row * a.used);
        else
            choose_best(a, mine, left + i * stride, a.ids + row * a.used, a.weights + row * a.used);
        if (a.shares && threadIdx.x % 32 == 0)
            a.shares[row] = 1 / (1 + expf(-mine[a.experts]));
    }
}

/* ---- the order of experts ---- */

constexpr int SORT_THREADS = 1024, SORT_WARPS = SORT_THREADS / 32;
constexpr int AHEAD = 4; /* entries of a thread that are read at once */

/* The held expert of an entry, or n_held: of none. */
__device__ __forceinline__ int expert_of(const struct kern_sort &a, int entry, int end)
{
    int held = entry < end ? a.ids[entry] - a.first : -1;
    return held >= 0 && held < a.n_held ? held : a.n_held;
}

/* Those of AHEAD entries, 32 apart, from `entry` on. */
__device__ __forceinline__ void read_ahead(int (&held)[AHEAD], const struct kern_sort &a, int entry,
                                           int end)
{
#pragma unroll
    for (int i = 0; i < AHEAD; i++)
        held[i] = expert_of(a, entry + 32 * i, end);
}

/* Sum of x over the lanes up to this one. */
__device__ __forceinline__ int scan_warp(int x)
{
    int lane = threadIdx.x % 32;

    for (int o = 1; o < 32; o *= 2) {
        int below = __shfl_up_sync(~0u, x, o);
        x += lane >= o ? below : 0;
    }
    return x;
}

/* Sum of x over the threads before this one; *total: over all. */
__device__ __forceinline__ int scan(int *room, int x, int *total)
{
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32, sum = scan_warp(x);

    __syncthreads();
    if (lane == 31)
        room[warp] = sum;
    __syncthreads();
    int warps = scan_warp(room[lane]); /* as many as lanes */
    *total = __shfl_sync(~0u, warps, SORT_WARPS - 1);
    return __shfl_sync(~0u, warps, warp) - room[warp] + sum - x;
}

__global__ void __launch_bounds__(SORT_THREADS, 1) sort(const __grid_constant__ struct kern_sort a)
{
    extern __shared__ int counts[]; /* (SORT_WARPS, n_held + 1) */
    __shared__ int room[SORT_WARPS];
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32, width = a.n_held + 1;
    int runs = (a.entries + 31) / 32; /* of 32 entries */
    int from = (int)((long long)runs * warp / SORT_WARPS) * 32;
    int to = min((int)((long long)runs * (warp + 1) / SORT_WARPS) * 32, a.entries);
    int *mine = counts + warp * width, e = threadIdx.x, held[AHEAD];

    start_next();
    for (int i = threadIdx.x; i < SORT_WARPS * width; i += SORT_THREADS)
        counts[i] = 0;
    __syncthreads();
    wait_before();
    for (int i = from + lane; i - lane < to; i += 32 * AHEAD) {
        read_ahead(held, a, i, to);
#pragma unroll
        for (int j = 0; j < AHEAD; j++) {
            unsigned peers = __match_any_sync(~0u, held[j]);
            if (lane == __ffs(peers) - 1)
                mine[held[j]] += __popc(peers);
            __syncwarp();
        }
    }
    __syncthreads();
    int n = 0, total, n_tiles;
#pragma unroll 4
    for (int w = 0; w < SORT_WARPS && e < a.n_held; w++)
        n += counts[w * width + e];
    int place = scan(room, n, &total), first = place;
#pragma unroll 4
    for (int w = 0; w < SORT_WARPS && e < a.n_held; w++) {
        int count = counts[w * width + e];
        counts[w * width + e] = place;
        place += count;
    }
    int tiles = (n + a.tile_places - 1) / a.tile_places, tile = scan(room, tiles, &n_tiles);
    /* About equal ones: a small one would read all of the expert's weights, too. */
    int share = tiles > 0 ? min(a.tile_places, ((n + tiles - 1) / tiles + 63) / 64 * 64) : 0;
    for (int i = 0; i < tiles; i++)
        a.tiles[tile + i] = {e, first + i * share, min(share, n - i * share), 0};
    if (e == 0)
        *a.n_tiles = n_tiles;
    for (int i = from + lane; i - lane < to; i += 32 * AHEAD) {
        read_ahead(held, a, i, to);
#pragma unroll
        for (int j = 0; j < AHEAD; j++) {
            unsigned peers = __match_any_sync(~0u, held[j]), below = peers & ((1u << lane) - 1);
            int at = mine[held[j]] + __popc(below), entry = i + 32 * j;
            __syncwarp();
            if (lane == __ffs(peers) - 1)
                mine[held[j]] += __popc(peers);
            __syncwarp();
            if (entry < to)
                a.places[entry] = held[j] < a.n_held ? at : -1;
            if (held[j] < a.n_held)
                a.rows[at] = entry / a.used;
        }
    }
}

/* ---- the sum of a row's experts ---- */

__global__ void __launch_bounds__(THREADS)
    combine(const __grid_constant__ struct kern_combine a, unsigned units, unsigned total)
{
    unsigned i = blockIdx.x * THREADS + threadIdx.x;
    start_next();
    wait_before();
    if (i >= total)
        return;
    int row = i / units, unit = i % units;
    float *sum = a.sum + (size_t)row * a.hidden + unit * 8, y[8];

    load8(y, sum);
    if (a.shift)
        add_shift(y, a.shift + unit * 8);
    add_terms(y, a.terms, row, a.hidden, unit * 8);
    store8(sum, y);
}

template <int N> cudaError_t launch_route(const struct kern_route &a, cudaStream_t stream)
{
    int stride = (a.experts + (a.shares != NULL)) | 1;
    size_t bytes = (size_t)2 * ROWS * stride * sizeof(float);
    cudaError_t e =
        cudaFuncSetAttribute(route<N>, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)bytes);

    return e != cudaSuccess
               ? e
               : launch_early(route<N>, (a.rows + ROWS - 1) / ROWS, THREADS, bytes, stream, a);
}

} // namespace

cudaError_t kern_route(struct kern_route a, cudaStream_t stream)
{
    if (a.hidden % 16 || a.experts < 1 || a.experts > KERN_MAX_EXPERTS || a.used < 1 ||
        a.used > KERN_MAX_USED || a.used > a.experts || a.groups > KERN_MAX_GROUPS)
        return cudaErrorInvalidValue;
    if (a.rows == 0)
        return cudaSuccess;
    int n = a.experts + (a.shares != NULL);
    return n <= 16   ? launch_route<2>(a, stream)
           : n <= 32 ? launch_route<4>(a, stream)
                     : launch_route<16>(a, stream);
}

cudaError_t kern_sort(struct kern_sort a, cudaStream_t stream)
{
    size_t bytes = (size_t)SORT_WARPS * (a.n_held + 1) * sizeof(int);

    if (a.n_held < 1 || a.n_held > KERN_MAX_EXPERTS || a.used < 1 ||
        a.tile_places < KERN_TILE_PLACES)
        return cudaErrorInvalidValue;
    if (a.entries == 0)
        return cudaSuccess;
    cudaError_t e =
        cudaFuncSetAttribute(sort, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)bytes);
    return e != cudaSuccess ? e : launch_early(sort, 1, SORT_THREADS, bytes, stream, a);
}

cudaError_t kern_combine(struct kern_combine a, cudaStream_t stream)
{
    long long total = (long long)a.rows * (a.hidden / 8);

    if (a.hidden % 8 || total > 0x7fffffff || (!a.terms.places && a.terms.used > 1))
        return cudaErrorInvalidValue;
    if (total == 0)
        return cudaSuccess;
    return launch_early(combine, blocks_for(total, THREADS), THREADS, 0, stream, a, a.hidden / 8,
                        total);
}
