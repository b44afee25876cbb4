/* SPDX-License-Identifier: Apache-2.0 */
/* Attention over pages: against the formula in double, and bit for bit between
 * the two kernels, other batches and other splits of the same sequence. */
#include "config.h"

#include "check.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/cuda/attn_plan.h"
#include "cuda/kern.h"

enum { MAX_SEQS = 1024 };

/* A batch over one layer's cache, host and device. */
struct problem {
    int heads, kv_heads, dim, window, n_seqs, n_rows, n_pages, n_page_ids;
    float softcap;
    bool no_wgmma, no_at_once; /* the general kernels */
    bool shares;               /* chunks that sequences have in common are computed once */
    bool plans_whole;          /* chunks are listed as if there were no window */
    bool is_e4m3;              /* of the device's cache; k and v hold the same values in bf16 */
    bool is_alike;             /* all are single rows whose first chunk is the same */
    int32_t row_start[MAX_SEQS + 1], context[MAX_SEQS], page_start[MAX_SEQS + 1];
    int32_t *pages;
    uint16_t *q, *k, *v; /* q rows are wider than its heads, as in qkv */
    int q_stride;
    struct check_buffer b_k, b_v;
};

static int n_shared_items;
static bool benches_e4m3;

static size_t page_values(const struct problem *p)
{
    return (size_t)p->kv_heads * KERN_PAGE_TOKENS * p->dim;
}

/* A key or value of e4m3, with its largest value, and the same in bf16. */
static void fill_e4m3(const struct problem *p, uint8_t *cache, uint16_t *same, size_t page_head,
                      int token)
{
    uint8_t *page = cache + page_head * KERN_E4M3_PAGE_BYTES(p->dim), *to = page + token * p->dim;
    float unit = check_pick(0, 1) ? 1 : 0.5f, largest = 448 * unit;

    for (int i = 0; i < p->dim; i++) {
        to[i] = (uint8_t)(check_pick(2, 8) << 3 | check_pick(0, 7) | check_pick(0, 1) << 7);
        same[i] = check_bf16(check_e4m3(to[i]) * unit);
    }
    memcpy(page + (size_t)KERN_PAGE_TOKENS * p->dim + 4 * token, &largest, 4);
}

/* Pages in random order; tokens beyond a context are NaN: no kernel may use them. */
static void fill_cache(struct problem *p)
{
    size_t n = p->n_pages * page_values(p);
    size_t n_e4m3 = (size_t)p->n_pages * p->kv_heads * KERN_E4M3_PAGE_BYTES(p->dim);
    uint8_t *k = malloc(n_e4m3), *v = malloc(n_e4m3);

    memset(k, 0xff, n_e4m3);
    memset(v, 0xff, n_e4m3);
    p->k = malloc(n * 2);
    p->v = malloc(n * 2);
    memset(p->k, 0xff, n * 2);
    memset(p->v, 0xff, n * 2);
    for (int s = 0; s < p->n_seqs; s++) {
        for (int t = 0; t < p->context[s]; t++) {
            size_t page = p->pages[p->page_start[s] + t / KERN_PAGE_TOKENS];
            for (int h = 0; h < p->kv_heads; h++) {
                size_t at = ((page * p->kv_heads + h) * KERN_PAGE_TOKENS + t % KERN_PAGE_TOKENS) *
                            (size_t)p->dim;
                if (p->is_e4m3) {
                    fill_e4m3(p, k, p->k + at, page * p->kv_heads + h, t % KERN_PAGE_TOKENS);
                    fill_e4m3(p, v, p->v + at, page * p->kv_heads + h, t % KERN_PAGE_TOKENS);
                    continue;
                }
                check_fill_bf16(p->k + at, p->dim, 1);
                check_fill_bf16(p->v + at, p->dim, 1);
            }
        }
    }
    p->b_k = p->is_e4m3 ? check_upload(k, n_e4m3) : check_upload(p->k, n * 2);
    p->b_v = p->is_e4m3 ? check_upload(v, n_e4m3) : check_upload(p->v, n * 2);
    free(k), free(v);
}

static void make_problem(struct problem *p, int n_seqs, int max_context, int max_rows)
{
    p->n_seqs = n_seqs;
    p->n_rows = p->n_page_ids = 0;
    for (int s = 0; s < n_seqs; s++) {
        int kind = p->is_alike ? 3 : check_pick(0, 3);
        p->context[s] = check_pick(1, max_context) + (p->is_alike ? KERN_CHUNK_KEYS : 0);
        int rows = kind == 0 ? check_pick(1, 16) : kind == 1 ? check_pick(1, max_rows) : 1;
        if (rows > p->context[s])
            rows = p->context[s];
        p->row_start[s] = p->n_rows;
        p->page_start[s] = p->n_page_ids;
        p->n_rows += rows;
        p->n_page_ids += (p->context[s] + KERN_PAGE_TOKENS - 1) / KERN_PAGE_TOKENS;
    }
    p->row_start[n_seqs] = p->n_rows;
    p->page_start[n_seqs] = p->n_page_ids;
    p->n_pages = p->n_page_ids + 3;
    p->pages = malloc(sizeof(*p->pages) * p->n_pages);
    for (int i = 0; i < p->n_pages; i++)
        p->pages[i] = i;
    for (int i = p->n_pages - 1; i > 0; i--) {
        int j = check_pick(0, i);
        int32_t t = p->pages[i];
        p->pages[i] = p->pages[j];
        p->pages[j] = t;
    }
    for (int s = 1; s < n_seqs && (p->is_alike || check_pick(0, 5)); s++) /* as the first begins */
        for (int i = 0, n = p->is_alike ? 16 : check_pick(8, 70); i < n; i++)
            if (i < p->page_start[1] - 1 && p->page_start[s] + i < p->page_start[s + 1] - 1)
                p->pages[p->page_start[s] + i] = p->pages[i];
    p->q_stride = (p->heads + 2 * p->kv_heads) * p->dim;
    p->q = malloc((size_t)p->n_rows * p->q_stride * 2);
    check_fill_bf16(p->q, (size_t)p->n_rows * p->q_stride, check_pick(0, 1) ? 1 : 4);
    fill_cache(p);
}

static void free_problem(struct problem *p)
{
    check_release(&p->b_k, "attention k");
    check_release(&p->b_v, "attention v");
    free(p->pages), free(p->q), free(p->k), free(p->v);
}

/* Output of a row and head in double. */
static void reference(double *out, const struct problem *p, int seq, int row, int head)
{
    int position = p->context[seq] - (p->row_start[seq + 1] - row),
        kv = head * p->kv_heads / p->heads;
    int from = p->window && position + 1 > p->window ? position + 1 - p->window : 0;
    double *w = malloc(sizeof(*w) * (position + 1)), max = -INFINITY, sum = 0;
    const uint16_t *q = p->q + (size_t)row * p->q_stride + head * p->dim;

    for (int pass = 0; pass < 2; pass++) {
        for (int t = from; t <= position; t++) {
            size_t page = p->pages[p->page_start[seq] + t / KERN_PAGE_TOKENS];
            size_t at = ((page * p->kv_heads + kv) * KERN_PAGE_TOKENS + t % KERN_PAGE_TOKENS) *
                        (size_t)p->dim;
            if (pass == 0) {
                w[t] = 0;
                for (int i = 0; i < p->dim; i++)
                    w[t] += (double)check_float(q[i]) * check_float(p->k[at + i]);
                w[t] /= sqrt(p->dim);
                if (p->softcap > 0)
                    w[t] = p->softcap * tanh(w[t] / p->softcap);
                max = fmax(max, w[t]);
            } else {
                double e = exp(w[t] - max);
                sum += e;
                for (int i = 0; i < p->dim; i++)
                    out[i] += e * check_float(p->v[at + i]);
            }
        }
        for (int i = 0; i < p->dim; i++)
            out[i] = pass == 0 ? 0 : out[i] / sum;
    }
    free(w);
}

/* Page ids, and behind them the members of shared chunks. */
static struct check_buffer upload_pages(const struct problem *p, struct ant_attn_plan *plan)
{
    int first = (p->n_page_ids + 1) / 2 * 2;
    int32_t *all = malloc(sizeof(*all) * (first + 2 * plan->n_members));

    memcpy(all, p->pages, sizeof(*all) * p->n_page_ids);
    memcpy(all + first, plan->members, sizeof(*plan->members) * plan->n_members);
    for (int i = 0; i < plan->n_shared; i++)
        plan->shared[i].first = first + 2 * plan->shared[i].first;
    struct check_buffer b = check_upload(all, sizeof(*all) * (first + 2 * plan->n_members));
    free(all);
    return b;
}

/* Compute a batch (rows, heads * dim) through the plan and the kernels. */
static uint16_t *compute(const struct problem *p, int max_ctas)
{
    int group = p->heads / p->kv_heads, longest = 1;
    for (int s = 0; s < p->n_seqs; s++)
        longest = p->context[s] > longest ? p->context[s] : longest;
    struct ant_attn_bound bound = ant_attn_bound(p->n_rows, p->n_seqs, longest, group);
    struct ant_batch batch = {.n_rows = p->n_rows,
                              .n_seqs = p->n_seqs,
                              .row_start = p->row_start,
                              .context = p->context,
                              .page_start = p->page_start,
                              .pages = p->pages};
    struct ant_attn_plan plan = {.decode = malloc(sizeof(*plan.decode) * bound.n_decode),
                                 .prefill = malloc(sizeof(*plan.prefill) * bound.n_prefill),
                                 .shared = malloc(sizeof(*plan.shared) * bound.n_shared),
                                 .members = malloc(sizeof(*plan.members) * bound.n_members),
                                 .marks =
                                     p->shares ? calloc(p->n_pages, sizeof(*plan.marks)) : NULL,
                                 .round_end = malloc(sizeof(*plan.round_end) * batch.n_seqs),
                                 .max_partials = bound.n_partials};
    size_t n_out = (size_t)p->n_rows * p->heads * p->dim;
    uint16_t *out = malloc(n_out * 2);

    ant_attn_plan(&plan, &batch, group, p->plans_whole ? 0 : p->window);
    check_that(plan.n_decode <= bound.n_decode && plan.n_prefill <= bound.n_prefill &&
                   plan.n_partials <= bound.n_partials && plan.n_shared <= bound.n_shared &&
                   plan.n_members <= bound.n_members,
               "plan: more items than its bound");
    n_shared_items += plan.n_shared;
    struct check_buffer b_q = check_upload(p->q, (size_t)p->n_rows * p->q_stride * 2);
    struct check_buffer b_out = check_device(n_out * 2);
    struct check_buffer b_pages = upload_pages(p, &plan);
    struct check_buffer b_shared = check_upload(plan.shared, sizeof(*plan.shared) * bound.n_shared);
    struct check_buffer b_decode = check_upload(plan.decode, sizeof(*plan.decode) * bound.n_decode);
    struct check_buffer b_prefill =
        check_upload(plan.prefill, sizeof(*plan.prefill) * bound.n_prefill);
    struct check_buffer b_partial = check_device(
        kern_attn_partial_bytes(plan.n_partials + 1, plan.part_rows, p->kv_heads, p->dim));
    struct check_buffer b_arrived =
        check_device(sizeof(int32_t) * (plan.n_partials + 1) * p->kv_heads);
    CU(cudaMemset(b_arrived.p, 0, b_arrived.bytes));
    struct kern_attn a = {.q = b_q.p,
                          .out = b_out.p,
                          .k_cache = p->b_k.p,
                          .v_cache = p->b_v.p,
                          .pages = b_pages.p,
                          .items = b_decode.p,
                          .partial = b_partial.p,
                          .part_rows = plan.part_rows,
                          .arrived = b_arrived.p,
                          .n_items = plan.n_decode,
                          .q_stride = p->q_stride,
                          .out_stride = p->heads * p->dim,
                          .heads = p->heads,
                          .kv_heads = p->kv_heads,
                          .head_dim = p->dim,
                          .window = p->window,
                          .scale = 1 / sqrtf((float)p->dim),
                          .softcap = p->softcap,
                          .no_wgmma = p->no_wgmma,
                          .no_at_once = p->no_at_once,
                          .max_ctas = max_ctas};
    a.items = b_shared.p;
    a.n_items = plan.n_shared;
    if (plan.n_shared > 0)
        CU(kern_attn_shared(a, 0));
    a.items = b_decode.p;
    a.n_items = plan.n_decode;
    CU(p->is_e4m3 ? kern_attn_decode_e4m3(a, 0) : kern_attn_decode(a, 0));
    a.items = b_prefill.p;
    a.n_items = plan.n_prefill;
    CU(p->is_e4m3 ? kern_attn_prefill_e4m3(a, 0) : kern_attn_prefill(a, 0));
    check_download(out, &b_out);
    int32_t *arrived = malloc(b_arrived.bytes);
    check_download(arrived, &b_arrived);
    for (size_t i = 0; i < b_arrived.bytes / sizeof(*arrived); i++)
        check_that(arrived[i] == 0, "attention: counter %zu is left at %d", i, arrived[i]);
    check_release(&b_q, "attention q");
    check_release(&b_out, "attention out");
    check_release(&b_pages, "attention pages");
    check_release(&b_shared, "attention items");
    check_release(&b_decode, "attention items");
    check_release(&b_prefill, "attention items");
    check_release(&b_partial, "attention partial");
    check_release(&b_arrived, "attention counters");
    free(plan.decode), free(plan.prefill), free(plan.shared), free(plan.members);
    free(plan.marks), free(plan.round_end), free(arrived);
    return out;
}

static void compare_reference(const struct problem *p, const uint16_t *out, int n_samples)
{
    double *want = malloc(sizeof(*want) * p->dim);
    float *got = malloc(sizeof(*got) * p->dim);
    char name[160];

    for (int i = 0; i < n_samples; i++) {
        int seq = check_pick(0, p->n_seqs - 1), head = check_pick(0, p->heads - 1);
        int row = check_pick(p->row_start[seq], p->row_start[seq + 1] - 1);
        reference(want, p, seq, row, head);
        for (int k = 0; k < p->dim; k++)
            got[k] = check_float(out[((size_t)row * p->heads + head) * p->dim + k]);
        snprintf(name, sizeof(name),
                 "attention%s dim %d heads %d/%d window %d cap %g, seq %d of %d rows, context %d, "
                 "row %d",
                 p->is_e4m3 ? " of e4m3" : "", p->dim, p->heads, p->kv_heads, p->window, p->softcap,
                 seq, p->row_start[seq + 1] - p->row_start[seq], p->context[seq],
                 row - p->row_start[seq]);
        check_close(name, got, want, p->dim, 8e-3);
    }
    free(want), free(got);
}

/* The last `keep` rows of each sequence up to a random row, as a batch of their own over the same
 * cache: their bits must be those they had. */
static void compare_split(const struct problem *p, const uint16_t *out, int keep, int max_ctas)
{
    struct problem part = *p;
    size_t width = (size_t)p->heads * p->dim;
    int source[MAX_SEQS];

    part.n_rows = 0;
    part.q = malloc((size_t)p->n_rows * p->q_stride * 2);
    for (int s = 0; s < p->n_seqs; s++) {
        int rows = p->row_start[s + 1] - p->row_start[s], last = check_pick(0, rows - 1);
        int n = keep < last + 1 ? keep : last + 1;
        source[s] = p->row_start[s] + last + 1 - n;
        part.context[s] = p->context[s] - (rows - 1 - last);
        part.row_start[s] = part.n_rows;
        memcpy(part.q + (size_t)part.n_rows * p->q_stride, p->q + (size_t)source[s] * p->q_stride,
               (size_t)n * p->q_stride * 2);
        part.n_rows += n;
    }
    part.row_start[p->n_seqs] = part.n_rows;
    uint16_t *got = compute(&part, max_ctas);
    for (int s = 0; s < p->n_seqs; s++)
        for (int r = part.row_start[s]; r < part.row_start[s + 1]; r++)
            check_that(!memcmp(got + r * width, out + (source[s] + r - part.row_start[s]) * width,
                               width * 2),
                       "attention%s dim %d heads %d/%d window %d: row of context %d differs in a "
                       "batch of %d rows a sequence",
                       p->is_e4m3 ? " of e4m3" : "", p->dim, p->heads, p->kv_heads, p->window,
                       part.context[s] - (part.row_start[s + 1] - r) + 1, keep);
    free(part.q), free(got);
}

static void check_shape_e4m3(int group, int kv_heads, int dim, int max_context)
{
    static struct problem p;

    p = (struct problem){
        .heads = group * kv_heads, .kv_heads = kv_heads, .dim = dim, .is_e4m3 = true};
    p.window = check_pick(0, 2) ? 0 : check_pick(1, max_context);
    make_problem(&p, check_pick(1, 12), max_context, check_quick ? 100 : 400);
    uint16_t *out = compute(&p, 0);
    compare_reference(&p, out, check_quick ? 4 : 16);
    compare_split(&p, out, 1, 5);
    compare_split(&p, out, 3, 0);
    compare_split(&p, out, 200, 7);
    free(out);
    free_problem(&p);
}

static void check_shape(int group, int kv_heads, int dim, int max_context)
{
    static struct problem p;

    p = (struct problem){.heads = group * kv_heads, .kv_heads = kv_heads, .dim = dim};
    p.window = check_pick(0, 2) ? 0 : check_pick(1, max_context);
    p.softcap = check_pick(0, 2) ? 0 : (float)check_pick(2, 50);
    make_problem(&p, check_pick(1, 12), max_context, check_quick ? 100 : 400);
    uint16_t *out = compute(&p, 0);
    compare_reference(&p, out, check_quick ? 4 : 16);
    compare_split(&p, out, 1, 5);
    p.no_at_once = true;
    compare_split(&p, out, 1, 0);
    compare_split(&p, out, 3, 0);
    p.no_at_once = false;
    p.plans_whole = true;
    compare_split(&p, out, 2, 0);
    p.plans_whole = false;
    p.shares = true;
    compare_split(&p, out, 1, 0);
    p.shares = false;
    compare_split(&p, out, 3, 0);
    compare_split(&p, out, 200, 7);
    p.no_wgmma = true;
    compare_split(&p, out, 300, 0);
    free(out);
    free_problem(&p);
}

/* Chunks that are certain to be shared, few and small: racecheck takes long. */
void check_shared(void)
{
    static struct problem p;
    int n_before = n_shared_items;

    for (int dim = 64; dim <= 256; dim *= 2) {
        for (int group = 1; group <= (check_quick ? 4 : 16); group *= 4) {
            p = (struct problem){.heads = group, .kv_heads = 1, .dim = dim, .is_alike = true};
            make_problem(&p, check_pick(4, check_quick ? 9 : 200), check_quick ? 70 : 700, 1);
            uint16_t *out = compute(&p, 0);
            compare_reference(&p, out, 4);
            p.shares = true;
            compare_split(&p, out, 1, 0);
            p.no_wgmma = p.no_at_once = true;
            compare_split(&p, out, 1, 0);
            free(out);
            free_problem(&p);
        }
    }
    check_that(n_shared_items > n_before, "shared: no chunk was shared");
    printf("shared: done\n");
}

void check_attention(void)
{
    static const int groups[] = {1, 2, 3, 4, 5, 7, 8, 16};
    int n_groups = check_quick ? 3 : 8;

    for (int round = 0; round < (check_quick ? 1 : 4); round++) {
        for (int g = 0; g < n_groups; g++) {
            for (int dim = 64; dim <= 256; dim *= 2) {
                int group = groups[check_quick ? 2 * g + 1 : g];
                int longest = check_quick ? 700 : round == 0 ? 100 : 2500;
                check_shape(group, check_pick(1, 3), dim, longest);
                if (dim <= 128)
                    check_shape_e4m3(group, check_pick(1, 3), dim, longest);
            }
        }
    }
    check_that(check_quick || n_shared_items > 0, "attention: no chunk was shared");
    struct kern_attn a = {.heads = 4, .kv_heads = 2, .head_dim = 96, .n_items = 1};
    check_that(kern_attn_decode(a, 0) == cudaErrorInvalidValue, "attention: accepts dim 96");
    check_that(kern_attn_prefill(a, 0) == cudaErrorInvalidValue, "attention: accepts dim 96");
    printf("attention: done\n");
}

/* ---- speed ----------------------------------------------------------------------------------- */

struct bench {
    struct kern_attn decode, prefill;
    size_t layer; /* values of one layer's K or V */
    int n_layers;
};

static void run_decode(void *context, int i)
{
    struct bench *b = context;
    struct kern_attn a = b->decode;

    a.k_cache += (size_t)(i % b->n_layers) * 2 * b->layer;
    a.v_cache += (size_t)(i % b->n_layers) * 2 * b->layer;
    CU(benches_e4m3 ? kern_attn_decode_e4m3(a, 0) : kern_attn_decode(a, 0));
}

static void run_prefill(void *context, int i)
{
    struct bench *b = context;

    (void)i;
    CU(benches_e4m3 ? kern_attn_prefill_e4m3(b->prefill, 0) : kern_attn_prefill(b->prefill, 0));
}

/* Random bf16 values everywhere: the same 16 MiB over and over. */
static void fill_noise(const struct check_buffer *b)
{
    enum { NOISE = 1 << 24 };
    static uint16_t noise[NOISE / 2];

    if (!noise[0])
        check_fill_bf16(noise, NOISE / 2, 1);
    for (size_t at = 0; at < b->bytes; at += NOISE)
        CU(cudaMemcpy((char *)b->p + at, noise, at + NOISE < b->bytes ? NOISE : b->bytes - at,
                      cudaMemcpyHostToDevice));
}

/* n_seqs sequences with contexts around `context` (spread percent either way), n_rows rows each. */
static void bench_case(const char *model, int heads, int kv_heads, int dim, int n_seqs, int context,
                       int spread, int n_rows, int max_ctas)
{
    static struct problem p;
    size_t total = 0, pairs = 0;

    p = (struct problem){.heads = heads, .kv_heads = kv_heads, .dim = dim, .n_seqs = n_seqs};
    for (int s = 0; s < n_seqs; s++) {
        p.context[s] = context + check_pick(-context * spread / 100, context * spread / 100);
        p.row_start[s + 1] = p.row_start[s] + n_rows;
        p.page_start[s + 1] = p.page_start[s] + (p.context[s] + 31) / KERN_PAGE_TOKENS;
        total += p.context[s];
        for (int r = 0; r < n_rows; r++)
            pairs += p.context[s] - r;
    }
    p.n_rows = p.row_start[n_seqs];
    p.n_pages = p.page_start[n_seqs];
    p.pages = malloc(sizeof(*p.pages) * p.n_pages);
    for (int i = 0; i < p.n_pages; i++)
        p.pages[i] = i;
    for (int i = p.n_pages - 1; i > 0; i--) {
        int j = check_pick(0, i);
        int32_t t = p.pages[i];
        p.pages[i] = p.pages[j];
        p.pages[j] = t;
    }
    int group = heads / kv_heads;
    struct ant_attn_bound bound = ant_attn_bound(p.n_rows, n_seqs, context * 2, group);
    struct ant_batch batch = {.n_rows = p.n_rows,
                              .n_seqs = n_seqs,
                              .row_start = p.row_start,
                              .context = p.context,
                              .page_start = p.page_start,
                              .pages = p.pages};
    struct ant_attn_plan plan = {.decode = malloc(sizeof(*plan.decode) * bound.n_decode),
                                 .prefill = malloc(sizeof(*plan.prefill) * bound.n_prefill),
                                 .round_end = malloc(sizeof(*plan.round_end) * batch.n_seqs),
                                 .max_partials = bound.n_partials};
    ant_attn_plan(&plan, &batch, group, 0);

    struct bench b = {.layer = p.n_pages * page_values(&p)};
    if (benches_e4m3)
        b.layer = (size_t)p.n_pages * kv_heads * KERN_E4M3_PAGE_BYTES(dim) / 2;
    b.n_layers = n_rows == 1 ? (int)(((size_t)1 << 30) / (b.layer * 2)) + 2 : 1;
    struct check_buffer b_kv = check_device(b.layer * 4 * b.n_layers);
    fill_noise(&b_kv);
    int q_stride = (heads + 2 * kv_heads) * dim;
    struct check_buffer b_q = check_device((size_t)p.n_rows * q_stride * 2);
    fill_noise(&b_q);
    struct check_buffer b_out = check_device((size_t)p.n_rows * heads * dim * 2);
    struct check_buffer b_pages = check_upload(p.pages, sizeof(*p.pages) * p.n_pages);
    struct check_buffer b_decode = check_upload(plan.decode, sizeof(*plan.decode) * bound.n_decode);
    struct check_buffer b_prefill =
        check_upload(plan.prefill, sizeof(*plan.prefill) * bound.n_prefill);
    struct check_buffer b_partial =
        check_device(kern_attn_partial_bytes(plan.n_partials + 1, plan.part_rows, kv_heads, dim));
    struct check_buffer b_arrived =
        check_device(sizeof(int32_t) * (plan.n_partials + 1) * kv_heads);
    CU(cudaMemset(b_arrived.p, 0, b_arrived.bytes));
    b.decode = (struct kern_attn){.q = b_q.p,
                                  .out = b_out.p,
                                  .k_cache = b_kv.p,
                                  .v_cache = (uint16_t *)b_kv.p + b.layer,
                                  .pages = b_pages.p,
                                  .items = b_decode.p,
                                  .partial = b_partial.p,
                                  .part_rows = plan.part_rows,
                                  .arrived = b_arrived.p,
                                  .n_items = plan.n_decode,
                                  .q_stride = q_stride,
                                  .out_stride = heads * dim,
                                  .heads = heads,
                                  .kv_heads = kv_heads,
                                  .head_dim = dim,
                                  .scale = 1 / sqrtf((float)dim),
                                  .max_ctas = max_ctas};
    b.prefill = b.decode;
    b.prefill.items = b_prefill.p;
    b.prefill.n_items = plan.n_prefill;
    printf("  %-8s %2d/%d x %3d  seqs %4d  context %5d +-%2d %%  ", model, heads, kv_heads, dim,
           n_seqs, context, spread);
    if (n_rows * group <= KERN_DECODE_ROWS) {
        int key = benches_e4m3 ? 2 * (dim + 4) : 4 * dim;
        double bytes = (double)total * kv_heads * key + (double)p.n_rows * heads * dim * 4;
        double t = check_time(run_decode, &b, n_seqs * context > 100000 ? 10 : 40);
        printf("%9.2f us  %6.0f GB/s  %3.0f %%", t * 1e6, bytes / t * 1e-9,
               bytes / t / check_copy * 100);
        printf(max_ctas ? "  (%d blocks)\n" : "\n", max_ctas);
    } else {
        double flops = 4.0 * heads * dim * pairs, t = check_time(run_prefill, &b, 10);
        printf("rows %5d  %9.2f us  %5.0f TFLOP/s", n_rows, t * 1e6, flops / t * 1e-12);
        b.prefill.no_wgmma = true;
        t = check_time(run_prefill, &b, 10);
        printf("  (mma.sync %9.2f us  %5.0f TFLOP/s)\n", t * 1e6, flops / t * 1e-12);
    }
    check_release(&b_kv, "bench cache");
    check_release(&b_q, "bench q");
    check_release(&b_out, "bench out");
    check_release(&b_pages, "bench pages");
    check_release(&b_decode, "bench items");
    check_release(&b_prefill, "bench items");
    check_release(&b_partial, "bench partial");
    check_release(&b_arrived, "bench counters");
    free(p.pages), free(plan.decode), free(plan.prefill);
}

void bench_decode(void)
{
    static const int batches[] = {1, 16, 64, 256, 512};
    static const int blocks[] = {132, 264, 396};

    printf("decode attention (bytes of K, V, q and out; caches rotate through 2 GiB)\n");
    for (int i = 0; i < 5; i++)
        for (int context = 256; context <= 4096; context *= 4)
            if (batches[i] * context <= 1 << 20)
                bench_case("llama-8b", 32, 8, 128, batches[i], context, 0, 1, 0);
    for (int context = 1024; context <= 4096; context *= 2)
        bench_case("llama-8b", 32, 8, 128, 256, context, 50, 1, 0);
    for (int i = 0; i < 3; i++)
        bench_case("llama-8b", 32, 8, 128, 256, 2048, 50, 1, blocks[i]);
    bench_case("qwen-7b", 28, 4, 128, 256, 1536, 50, 1, 0);
    bench_case("gemma-9b", 16, 8, 256, 256, 1024, 50, 1, 0);
    bench_case("phi-mini", 32, 8, 128, 512, 192, 30, 1, 0);
    bench_case("smollm2", 9, 3, 64, 1024, 192, 30, 1, 0);
    bench_case("smollm2", 9, 3, 64, 256, 1024, 50, 1, 0);
    printf("decode attention over e4m3\n");
    benches_e4m3 = true;
    bench_case("llama-8b", 32, 8, 128, 16, 1024, 0, 1, 0);
    bench_case("llama-8b", 32, 8, 128, 64, 1024, 0, 1, 0);
    for (int context = 256; context <= 4096; context *= 4)
        bench_case("llama-8b", 32, 8, 128, 256, context, 0, 1, 0);
    bench_case("llama-8b", 32, 8, 128, 512, 1024, 50, 1, 0);
    bench_case("smollm2", 9, 3, 64, 256, 1024, 50, 1, 0);
    benches_e4m3 = false;
}

void bench_prefill(void)
{
    printf("prefill attention (4 * heads * dim flop a visible pair)\n");
    bench_case("llama-8b", 32, 8, 128, 64, 128, 0, 128, 0);
    bench_case("llama-8b", 32, 8, 128, 8, 1024, 0, 1024, 0);
    bench_case("llama-8b", 32, 8, 128, 4, 2048, 0, 2048, 0);
    bench_case("llama-8b", 32, 8, 128, 1, 8192, 0, 8192, 0);
    bench_case("qwen-7b", 28, 4, 128, 4, 2048, 0, 2048, 0);
    bench_case("gemma-9b", 16, 8, 256, 4, 2048, 0, 2048, 0);
    bench_case("smollm2", 9, 3, 64, 16, 1024, 0, 1024, 0);
    printf("prefill attention over e4m3 (twice the same kernel)\n");
    benches_e4m3 = true;
    bench_case("llama-8b", 32, 8, 128, 64, 128, 0, 128, 0);
    bench_case("llama-8b", 32, 8, 128, 8, 1024, 0, 1024, 0);
    benches_e4m3 = false;
}
