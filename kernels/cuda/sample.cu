/* SPDX-License-Identifier: Apache-2.0 */
/* Draw one id from each row of logits.
 *
 *   w = exp((x - max) / temperature)     over the ids that are not banned
 *   kept: w >= min_p; of those the top_k heaviest; of those the fewest heaviest
 *         whose weight reaches top_p of the whole; of those the fewest most
 *         typical whose weight reaches typical_p of the whole: typical is
 *         -log p near its mean, so x near the mean of x
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
 * row alone. typical_p finds the mean, then narrows the keys of -|x - mean| in
 * the same way, from all of them.
 *
 * Edited and masked logits are changed beforehand (edit.cu).
 *
 * Bound by memory: 4 bytes a logit and reading; rows in flight exceed L2.
 * Measured on an H100, 512 rows of 128256: greedy 92 % of copy bandwidth,
 * temperature 90 %, top_k 89 %, top_p 53 to 71 % of what its readings take.
 */
#include "cuda/sample.cuh"

namespace
{

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

__device__ __forceinline__ float weight_of(const row &r, float x)
{
    float w = power_of_two(-octaves_below(r, x));
    return w >= r.min_p ? w : 0;
}

/* Octaves below the reference at which a bin begins. */
__device__ __forceinline__ float bin_begin(int bin)
{
    return (bin - BINS_ABOVE) / BINS_PER_OCTAVE;
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

/* Bins of ids with their number and weight, as integers. */
__device__ __forceinline__ void clear_bins(shared &s, bool with_list)
{
    __syncthreads();
    for (int k = threadIdx.x; k < BINS; k += THREADS)
        s.count[k] = s.low[k] = s.high[k] = 0;
    if (with_list && threadIdx.x == 0)
        s.n_list = 0;
    __syncthreads();
}

__device__ __forceinline__ void add_to_bin(shared &s, uint32_t bin, float weight)
{
    uint32_t w = weight * 0x1p28f + 0.5f;
    atomicAdd(&s.count[bin], 1u);
    atomicAdd(&s.low[bin], w & 0x3fff);
    atomicAdd(&s.high[bin], w >> 14);
}

__device__ __forceinline__ double weight_of_bin(const shared &s, int bin)
{
    return (s.high[bin] * 0x1p14 + s.low[bin]) * 0x1p-28;
}

/* One level: sort the bracket's ids into bins by key, heaviest first. Returns the weight of the
 * octave bins above (0 from a list, which holds none of them). */
__device__ double count_bracket(shared &s, const row &r, const bracket &b, int shift, bool collect,
                                bool from_list)
{
    float above = 0;
    auto add = [&](uint32_t key) {
        add_to_bin(s, (b.high - key) >> shift, weight_of(r, float_of(key)));
    };

    clear_bins(s, collect);
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
            w[k] = weight_of_bin(s, bin);
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

/* The weight of an id that top_k and top_p keep, else 0. */
__device__ __forceinline__ float kept_weight(const row &r, const threshold &t, float x, int id)
{
    return is_kept(t, x, id) && !(r.n_banned && is_banned(r, id)) ? weight_of(r, x) : 0.0f;
}

/* What typical_p keeps of these: the ids whose logits are near the centre. */
struct typical {
    float centre;
    threshold t; /* of nearness */
};

__device__ __forceinline__ float nearness(const typical &y, float x)
{
    return -fabsf(x - y.centre);
}

/* The mean logit of the kept ids; *total: their weight. */
__device__ float mean_logit(shared &s, const row &r, const threshold &t, double *total)
{
    float sum = 0, moment = 0;

    for_each(r, [&](const float(&x)[4], int id) {
#pragma unroll
        for (int j = 0; j < 4; j++) {
            float w = kept_weight(r, t, x[j], id + j);
            sum += w;
            moment += w > 0 ? w * (x[j] - r.top) : 0;
        }
    });
    *total = block_sum(s, sum);
    return (float)(r.top + block_sum(s, moment) / *total);
}

/* One level: sort the kept ids with a nearness between keys low and high into bins, nearest first.
 */
__device__ void count_near(shared &s, const row &r, const threshold &t, const typical &y,
                           uint32_t low, uint32_t high, int shift, bool collect, bool from_list)
{
    auto add = [&](float x, float w) {
        uint32_t key = key_of(nearness(y, x));
        if (key >= low && key <= high)
            add_to_bin(s, (high - key) >> shift, w);
        return key >= low && key <= high;
    };

    clear_bins(s, collect);
    if (from_list) {
        for (uint32_t k = threadIdx.x; k < s.n_list; k += THREADS)
            add(float_of(s.list[k]), weight_of(r, float_of(s.list[k])));
    } else {
        for_each(r, [&](const float(&x)[4], int id) {
#pragma unroll
            for (int j = 0; j < 4; j++) {
                float w = kept_weight(r, t, x[j], id + j);
                if (w > 0 && add(x[j], w) && collect)
                    s.list[atomicAdd(&s.n_list, 1u)] = key_of(x[j]);
            }
        });
    }
    __syncthreads();
}

/* The most typical of the kept ids, until their weight reaches typical_p of the whole. */
__device__ typical narrow_typical(shared &s, const row &r, const threshold &t, float typical_p)
{
    uint32_t low = 0, high = key_of(0);
    int n = r.vocab, shift;
    double total, above = 0, before;
    typical y = {mean_logit(s, r, t, &total), {0, 0x7fffffff}};
    double goal = (double)typical_p * total;
    bool from_list = false;

    do {
        shift = max(0, 32 - __clz(high - low) - BIN_BITS);
        bool collect = !from_list && n <= LIST;
        count_near(s, r, t, y, low, high, shift, collect, from_list);
        from_list |= collect;
        double w[PER];
        for (int k = 0; k < PER; k++)
            w[k] = weight_of_bin(s, PER * threadIdx.x + k);
        int bin = first_reaching(s, w, &before, [&](double sum) { return above + sum >= goal; });
        above += before;
        n = s.count[bin];
        high -= (uint32_t)bin << shift;
        low = max(low, high - min(high, (1u << shift) - 1));
    } while (shift > 0);
    y.t.value = float_of(high);
    if (n > 1) /* as near on either side */
        y.t.last_tie = pick(
            s, r,
            [&](float x, int id) {
                return nearness(y, x) == y.t.value ? kept_weight(r, t, x, id) : 0.0f;
            },
            [&](double) { return goal - above; });
    return y;
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

__device__ __forceinline__ bool is_typical_wanted(const kern_draw &d)
{
    return d.typical_p > 0 && d.typical_p < 1;
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
    auto goal = [&](double total) { return u * total; };
    if (is_typical_wanted(d)) {
        typical y = narrow_typical(s, r, t, d.typical_p);
        return pick(
            s, r,
            [&](float x, int id) {
                return is_kept(y.t, nearness(y, x), id) ? kept_weight(r, t, x, id) : 0.0f;
            },
            goal);
    }
    return pick(
        s, r, [&](float x, int id) { return kept_weight(r, t, x, id); }, goal);
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

} // namespace

cudaError_t kern_sample(struct kern_sample a, cudaStream_t stream)
{
    return launch(sample, a, stream);
}
