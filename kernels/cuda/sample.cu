/* SPDX-License-Identifier: Apache-2.0 */
/* Draw one id from each row of logits.
 *
 *   w = exp((x - max) / temperature)     over the ids that are not banned
 *   kept: w >= min_p; of those the top_k heaviest; of those the fewest heaviest
 *         whose weight reaches top_p of the whole
 *   id:   the first whose cumulated weight, in order of ids, exceeds u * total
 *   logprob = x[id] - max - log sum exp(x - max)      over all ids
 *
 * One block a row. A greedy row reads the logits once, a plain temperature
 * twice, top_k and top_p three times: these look for the lightest kept weight.
 * While the first reading finds the maximum and the sums it counts ids in bins
 * of 1/32 octave of w, which brackets that weight; the second copies the keys
 * (floats as ordered integers) of the bracket to shared memory, where eleven
 * bits at a time lead to one value, with ties going to the lower ids (too many
 * keys are read again instead). Weights within the bracket are summed as
 * integers, all others in a fixed order, so a row's draw is a function of the
 * row alone.
 *
 * Edited logits are changed beforehand, by a kernel that keeps what logprobs
 * need; the best ids of a row are found one reading after another.
 *
 * Bound by memory: 4 bytes a logit and reading; rows in flight exceed L2.
 * Measured on an H100, 512 rows of 128256: greedy 92 % of copy bandwidth,
 * temperature 90 %, top_k 89 %, top_p 53 to 71 % of what its readings take.
 */
#include <limits.h>

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

/* The kept ids: those of a greater logit, and of the ids with this logit the first ones. */
struct threshold {
    float value;
    int last_tie;
};

__device__ __forceinline__ uint32_t key_of(float x)
{
    uint32_t bits = __float_as_uint(x + 0.0f); /* -0 is 0 */
    return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

__device__ __forceinline__ float float_of(uint32_t key)
{
    return __uint_as_float(key & 0x80000000u ? key & 0x7fffffffu : ~key);
}

__device__ __forceinline__ float octaves_below(const row &r, float x)
{
    return (r.top - x) * r.scale;
}

__device__ __forceinline__ float power_of_two(float x)
{
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

__device__ __forceinline__ float weight_of(const row &r, float x)
{
    float w = power_of_two(-octaves_below(r, x));
    return w >= r.min_p ? w : 0;
}

/* Bins by weight, heaviest first. The reference opens bin BINS_ABOVE; the first and the last bin
 * hold all that lies beyond. */
__device__ __forceinline__ int octave_bin(const row &r, float x)
{
    float octaves = (r.reference - x) * r.scale;
    int bin = __float2int_rd(octaves * BINS_PER_OCTAVE + BINS_ABOVE);
    return max(0, min(bin, BINS - 1));
}

/* Octaves below the reference at which a bin begins. */
__device__ __forceinline__ float bin_begin(int bin)
{
    return (bin - BINS_ABOVE) / BINS_PER_OCTAVE;
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
__device__ double block_sum(shared &s, double x)
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

/* Sum of x over the threads before this one. */
__device__ double block_scan(shared &s, double x)
{
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    double sum = x;

#pragma unroll
    for (int o = 1; o < 32; o *= 2) {
        double below = __shfl_up_sync(~0u, sum, o);
        sum += lane >= o ? below : 0;
    }
    __syncthreads();
    if (lane == 31)
        s.warp_sum[warp] = sum;
    __syncthreads();
    double before = 0;
    for (int w = 0; w < warp; w++)
        before += s.warp_sum[w];
    return before + sum - x;
}

/* The first of the BINS values, PER a thread, with which the running sum satisfies reached(sum), or
 * the last that is not 0 when rounding keeps all from it; in every thread, with the sum before it.
 */
template <class Reached>
__device__ int first_reaching(shared &s, const double (&v)[PER], double *before, Reached reached)
{
    double sum = 0, below[PER];
    int mine = -1, last = -1;

#pragma unroll
    for (int k = 0; k < PER; k++)
        sum += v[k];
    sum = block_scan(s, sum);
#pragma unroll
    for (int k = 0; k < PER; k++) {
        below[k] = sum;
        sum += v[k];
        last = v[k] != 0 ? k : last;
        mine = mine < 0 && v[k] != 0 && reached(sum) ? k : mine;
    }
    __syncthreads();
    if (threadIdx.x == 0)
        s.found = BINS, s.last = 0;
    __syncthreads();
    if (mine >= 0)
        atomicMin(&s.found, PER * threadIdx.x + mine);
    if (last >= 0)
        atomicMax(&s.last, PER * threadIdx.x + last);
    __syncthreads();
    int found = s.found < BINS ? s.found : s.last;
#pragma unroll
    for (int k = 0; k < PER; k++)
        if (found == PER * threadIdx.x + k)
            s.found_before = below[k];
    __syncthreads();
    *before = s.found_before;
    return found;
}

/* One warp: the first id of a segment at which the cumulated weight exceeds `goal`, or the last
 * with any weight, to s.found. */
template <class Weight>
__device__ __forceinline__ void pick_in_segment(shared &s, const row &r, int segment, double before,
                                                double goal, Weight weight)
{
    constexpr int MINE = SEGMENT / 32; /* consecutive ids of a thread */
    int lane = threadIdx.x, first = segment * SEGMENT + lane * MINE, hit = -1, last = -1;
    float w[MINE], sum = 0;

#pragma unroll
    for (int j = 0; j < MINE; j++) {
        w[j] = first + j < r.vocab ? weight(fmaxf(r.x[first + j], -INFINITY), first + j) : 0;
        sum += w[j];
        last = w[j] > 0 ? first + j : last;
    }
    float below = sum;
#pragma unroll
    for (int o = 1; o < 32; o *= 2) {
        float other = __shfl_up_sync(~0u, below, o);
        below += lane >= o ? other : 0;
    }
    double running = before + (below - sum);
#pragma unroll
    for (int j = 0; j < MINE; j++) {
        running += w[j];
        if (hit < 0 && w[j] > 0 && running > goal)
            hit = first + j;
    }
    unsigned hits = __ballot_sync(~0u, hit >= 0), any = __ballot_sync(~0u, last >= 0);
    int from = hits ? __ffs(hits) - 1 : any ? 31 - __clz(any) : 0;
    int found = __shfl_sync(~0u, hits ? hit : last, from);
    if (lane == 0)
        s.found = found;
}

/* The first id at which the cumulated weight(x, id) exceeds target(total). */
template <class Weight, class Target>
__device__ int pick(shared &s, const row &r, Weight weight, Target target)
{
    float *segment = (float *)s.low;
    int lane = threadIdx.x % 32;
    double before;

    __syncthreads();
    for (int k = threadIdx.x; k < BINS; k += THREADS)
        segment[k] = 0;
    __syncthreads();
    float sum;
    for_segments(
        r, [&] { sum = 0; },
        [&](const float(&x)[4], int id) {
#pragma unroll
            for (int j = 0; j < 4; j++)
                sum += weight(x[j], id + j);
        },
        [&](int i) {
#pragma unroll
            for (int o = 16; o; o >>= 1)
                sum += __shfl_xor_sync(~0u, sum, o);
            if (lane == 0)
                segment[i] = sum;
        });
    __syncthreads();
    double v[PER], all = 0;
    for (int k = 0; k < PER; k++)
        all += v[k] = segment[PER * threadIdx.x + k];
    double goal = target(block_sum(s, all));
    int found = first_reaching(s, v, &before, [&](double sum) { return sum > goal; });
    if (threadIdx.x < 32)
        pick_in_segment(s, r, found, before, goal, weight);
    __syncthreads();
    found = s.found;
    __syncthreads();
    return found;
}

/* Weight of all candidates. */
__device__ double weigh(shared &s, const row &r)
{
    float sum = 0;

    for_each(r, [&](const float(&x)[4], int id) {
#pragma unroll
        for (int j = 0; j < 4; j++)
            sum += r.n_banned && is_banned(r, id + j) ? 0 : weight_of(r, x[j]);
    });
    return block_sum(s, sum);
}

/* Ids still undecided: of these octave bins and keys. */
struct bracket {
    int first, last;
    uint32_t low, high;
    double above; /* number or weight of the ids that are certainly kept */
    double n;     /* ids in it, at most */
};

/* Widen the keys of the bracket's bins by what rounding can do. */
__device__ __forceinline__ void bracket_keys(const row &r, bracket &b)
{
    float high = r.reference - bin_begin(b.first) / r.scale;
    float low = r.reference - bin_begin(b.last + 1) / r.scale;
    float slack = (fabsf(r.reference) + fabsf(low) + fabsf(high)) * 1e-6f + 1e-4f / r.scale;

    b.high = b.first == 0 ? key_of(r.top) : key_of(fminf(high + slack, r.top));
    b.low = b.last == BINS - 1 ? 0 : key_of(low - slack);
}

/* Bins between which the top_k-th id lies. */
__device__ bracket bracket_count(shared &s, const row &r, int top_k)
{
    double n[PER], before;
    bracket b;

    for (int k = 0; k < PER; k++)
        n[k] = s.octaves[PER * threadIdx.x + k];
    b.first = b.last = first_reaching(s, n, &before, [&](double sum) { return sum >= top_k; });
    b.above = before;
    b.n = s.octaves[b.first];
    bracket_keys(r, b);
    return b;
}

/* Bins between which the cumulated weight reaches `goal`, from what the weights in each bin are at
 * most and at least; the weight above is not known yet. */
__device__ bracket bracket_weight(shared &s, const row &r, double goal)
{
    float offset = (r.top - r.reference) * r.scale;
    double n[PER], most[PER], least[PER], before, inside = 0;
    bracket b;

    for (int k = 0; k < PER; k++) {
        int bin = PER * threadIdx.x + k;
        n[k] = s.octaves[bin];
        most[k] = n[k] * (bin ? fminf(exp2f(-bin_begin(bin) - offset) * 1.00002f, 1.0f) : 1.0f);
        least[k] = n[k] * (bin < BINS - 1 ? exp2f(-bin_begin(bin + 1) - offset) * 0.99998f : 0.0f);
    }
    b.first = first_reaching(s, most, &before, [&](double sum) { return sum >= goal; });
    b.last = first_reaching(s, least, &before, [&](double sum) { return sum >= goal; });
    if (block_sum(s, least[0] + least[1] + least[2] + least[3]) < goal)
        b.last = BINS - 1;
    for (int k = 0; k < PER; k++) {
        int bin = PER * threadIdx.x + k;
        inside += bin >= b.first && bin <= b.last ? n[k] : 0;
    }
    b.n = block_sum(s, inside);
    b.above = 0;
    bracket_keys(r, b);
    return b;
}

/* One level: sort the bracket's ids into bins by key, heaviest first. Returns the weight of the
 * octave bins above (0 from a list, which holds none of them). */
__device__ double count_bracket(shared &s, const row &r, const bracket &b, int shift, bool collect,
                                bool from_list)
{
    float above = 0;
    auto add = [&](uint32_t key) {
        uint32_t bin = (b.high - key) >> shift, w = weight_of(r, float_of(key)) * 0x1p28f + 0.5f;
        atomicAdd(&s.count[bin], 1u);
        atomicAdd(&s.low[bin], w & 0x3fff);
        atomicAdd(&s.high[bin], w >> 14);
    };

    __syncthreads();
    for (int k = threadIdx.x; k < BINS; k += THREADS)
        s.count[k] = s.low[k] = s.high[k] = 0;
    if (collect && threadIdx.x == 0)
        s.n_list = 0;
    __syncthreads();
    if (from_list) {
        for (uint32_t k = threadIdx.x; k < s.n_list; k += THREADS)
            if (s.list[k] >= b.low && s.list[k] <= b.high)
                add(s.list[k]);
    } else {
        float low = b.low ? float_of(b.low) : -INFINITY, high = float_of(b.high);
        for_each(r, [&](const float(&x)[4], int id) {
#pragma unroll
            for (int j = 0; j < 4; j++) {
                if (x[j] < low || (r.n_banned && is_banned(r, id + j)))
                    continue;
                float w = weight_of(r, x[j]);
                int bin = x[j] > high ? -1 : octave_bin(r, x[j]);
                if (bin < b.first)
                    above += w;
                if (!(w > 0) || bin < b.first || bin > b.last)
                    continue;
                uint32_t key = key_of(x[j]);
                add(key);
                if (collect)
                    s.list[atomicAdd(&s.n_list, 1u)] = key;
            }
        });
    }
    return block_sum(s, above);
}

/* Narrow a bracket to one key: that of the id with which number (by_weight: weight) reaches
 * `goal`. *kept becomes the weight of all kept ids. */
__device__ threshold narrow(shared &s, const row &r, bracket b, double goal, bool by_weight,
                            double *kept)
{
    bool from_list = false;
    int n_ties, shift;
    double weight_above = 0, before;

    for (int level = 0;; level++) {
        shift = max(0, 32 - __clz(b.high - b.low) - BIN_BITS);
        bool collect = !from_list && b.n <= LIST;
        double above = count_bracket(s, r, b, shift, collect, from_list);
        if (level == 0)
            weight_above = above;
        if (level == 0 && by_weight)
            b.above = above;
        from_list |= collect;
        double n[PER], w[PER];
        for (int k = 0; k < PER; k++) {
            int bin = PER * threadIdx.x + k;
            n[k] = s.count[bin];
            w[k] = (s.high[bin] * 0x1p14 + s.low[bin]) * 0x1p-28;
        }
        auto reached = [&](double sum) { return b.above + sum >= goal; };
        int bin = by_weight ? first_reaching(s, w, &before, reached)
                            : first_reaching(s, n, &before, reached);
        double passed = 0; /* weight of the bins before */
        for (int k = 0; k < PER; k++)
            passed += PER * (int)threadIdx.x + k < bin ? w[k] : 0;
        weight_above += block_sum(s, passed);
        b.above += before;
        n_ties = s.count[bin];
        b.n = n_ties;
        b.high -= (uint32_t)bin << shift;
        if (shift == 0)
            break;
        b.low = max(b.low, b.high - min(b.high, (1u << shift) - 1));
    }
    float w = weight_of(r, float_of(b.high));
    double wanted = by_weight ? ceil((goal - b.above) / w) : goal - b.above;
    int n = wanted < 1 ? 1 : wanted > n_ties ? n_ties : (int)wanted;
    threshold t = {float_of(b.high), 0x7fffffff};
    *kept = weight_above + (double)n * w;
    if (n < n_ties)
        t.last_tie = pick(
            s, r,
            [&](float x, int id) {
                return key_of(x) == b.high && !(r.n_banned && is_banned(r, id)) ? 1.0f : 0.0f;
            },
            [&](double) { return n - 0.5; });
    return t;
}

__device__ __forceinline__ bool is_kept(const threshold &t, float x, int id)
{
    return x > t.value || (x == t.value && id <= t.last_tie);
}

/* Philox4x32-10: the number of ant_draw_uniform. */
__device__ float uniform(uint64_t key, uint64_t position)
{
    uint32_t c0 = (uint32_t)position, c1 = (uint32_t)(position >> 32), c2 = 0, c3 = 0;
    uint32_t k0 = (uint32_t)key, k1 = (uint32_t)(key >> 32);

    for (int i = 0; i < 10; i++) {
        uint32_t a = __umulhi(0xD2511F53u, c0), b = __umulhi(0xCD9E8D57u, c2);
        uint32_t c = 0xD2511F53u * c0, d = 0xCD9E8D57u * c2;
        c0 = b ^ c1 ^ k0;
        c1 = d;
        c2 = a ^ c3 ^ k1;
        c3 = c;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    return (float)(c0 >> 8) * 0x1p-24f;
}

__device__ __forceinline__ bool cuts(const row &r, const kern_draw &d)
{
    return d.temperature >= MIN_TEMPERATURE && ((d.top_k > 0 && d.top_k < r.vocab) || d.top_p < 1);
}

/* The draw of a row whose bins are counted if cuts(); `total`: the weight of all candidates. */
__device__ int draw(shared &s, const row &r, const kern_draw &d, double total)
{
    threshold t = {-INFINITY, 0x7fffffff};

    if (cuts(r, d)) {
        double n = 0;
        for (int k = 0; k < PER; k++)
            n += s.octaves[PER * threadIdx.x + k];
        n = block_sum(s, n);
        if (d.top_k > 0 && d.top_k < n)
            t = narrow(s, r, bracket_count(s, r, d.top_k), d.top_k, false, &total);
        if (d.top_p < 1) {
            double goal = (double)d.top_p * total, kept;
            threshold p = narrow(s, r, bracket_weight(s, r, goal), goal, true, &kept);
            if (p.value > t.value || (p.value == t.value && p.last_tie < t.last_tie))
                t = p;
        }
    }
    float u = uniform(d.key, d.position);
    return pick(
        s, r,
        [&](float x, int id) {
            return is_kept(t, x, id) && !(r.n_banned && is_banned(r, id)) ? weight_of(r, x) : 0.0f;
        },
        [&](double total) { return u * total; });
}

__device__ __forceinline__ best better(best a, best b)
{
    return b.value > a.value || (b.value == a.value && b.id < a.id) ? b : a;
}

__device__ best block_best(shared &s, best b)
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
__device__ float guess_reference(shared &s, const row &r)
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

/* Highest logit that is not banned. */
__device__ best best_allowed(shared &s, const row &r)
{
    best top = {-INFINITY, 0};

    for_each(r, [&](const float(&x)[4], int id) {
#pragma unroll
        for (int j = 0; j < 4; j++)
            if (x[j] > top.value && !is_banned(r, id + j))
                top = {x[j], id + j};
    });
    return block_best(s, top);
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
    return d.n_edits > 0 && !d.is_given;
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
    __syncthreads();
    for (int i = threadIdx.x; i < d.n_edits; i += THREADS)
        if (edits[i].id >= 0 && edits[i].id < a.vocab)
            x[edits[i].id] = edits[i].penalty;
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

/* The logprob of an id under the unmodified distribution. */
__device__ void put_logprob(const struct kern_sample &a, const kern_draw &d, const findings &f,
                            int id)
{
    float x = a.logits[(size_t)blockIdx.x * a.stride + id];

    if (!is_edited(d)) {
        if (threadIdx.x == 0)
            a.logprobs[blockIdx.x] = x - f.top.value - f.log_sum;
        return;
    }
    float2 total = ((const float2 *)a.totals)[blockIdx.x];
    if (threadIdx.x == 0)
        a.logprobs[blockIdx.x] = x - total.x - total.y;
    __syncthreads();
    for (int i = threadIdx.x; i < d.n_edits; i += THREADS)
        if (edits_of(a, d)[i].id == id)
            a.logprobs[blockIdx.x] = edits_of(a, d)[i].bias - total.x - total.y;
}

__global__ void __launch_bounds__(THREADS, 2) sample(const __grid_constant__ struct kern_sample a)
{
    extern __shared__ __align__(16) char memory[];
    shared &s = *(shared *)memory;
    start_next();
    wait_before();
    kern_draw d = a.draws[blockIdx.x];
    row r = row_of(a, d);
    findings f = cuts(r, d) ? survey<true>(s, r) : survey<false>(s, r);
    best allowed = f.top;

    if (r.n_banned && is_banned(r, allowed.id))
        allowed = best_allowed(s, r);
    int id = allowed.id;
    r.top = allowed.value;
    if (d.is_given) {
        id = d.given;
    } else if (d.temperature >= MIN_TEMPERATURE && r.top > -1e30f) {
        if (cuts(r, d) && (r.n_banned || r.min_p > 0))
            f.weight = weigh(s, r);
        id = draw(s, r, d, f.weight);
    }
    if (threadIdx.x == 0)
        a.ids[blockIdx.x] = id;
    put_logprob(a, d, f, id);
}

cudaError_t launch(void (*kernel)(struct kern_sample), const struct kern_sample &a,
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

cudaError_t kern_sample(struct kern_sample a, cudaStream_t stream)
{
    return launch(sample, a, stream);
}

cudaError_t kern_edit(struct kern_sample a, cudaStream_t stream)
{
    return launch(edit, a, stream);
}

cudaError_t kern_top(struct kern_sample a, cudaStream_t stream)
{
    return launch(top, a, stream);
}
