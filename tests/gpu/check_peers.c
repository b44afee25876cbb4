/* SPDX-License-Identifier: Apache-2.0 */
/* What GPUs do together over each other's memory: sums against the same in float, logits and drawn
 * ids, launched and from graphs, many times over. Needs two GPUs of one host that let each other.
 */
#include "config.h"

#include "check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cuda/kern.h"

enum { MOST_ROWS = 300, MOST_HIDDEN = 8192, ROUNDS = 200, MOST_VOCAB = 4096 };

/* One of the GPUs. */
struct gpu {
    cudaStream_t stream;
    void *box;
    float *x, *weight, *part, *logits;
    uint16_t *out;
    int32_t *ids, *base;
};

static struct gpu gpus[KERN_MAX_PEERS];
static int n_gpus;
static int32_t *stop;
static int32_t n_sums;

static bool open_gpus(void)
{
    int n = 0, can = 1;

    CU(cudaGetDeviceCount(&n));
    n = n > KERN_MAX_PEERS ? KERN_MAX_PEERS : n;
    for (int i = 0; i < n; i++)
        for (int k = 0; k < n && can; k++)
            if (i != k)
                CU(cudaDeviceCanAccessPeer(&can, i, k));
    if (n < 2 || !can) {
        printf("sums over GPUs skipped: %s\n", n < 2 ? "one GPU" : "no access to each other");
        return false;
    }
    CU(cudaHostAlloc((void **)&stop, sizeof(*stop), cudaHostAllocPortable | cudaHostAllocMapped));
    *stop = 0;
    for (n_gpus = 0; n_gpus < n; n_gpus++) {
        struct gpu *g = &gpus[n_gpus];
        size_t box = kern_peers_bytes(n, MOST_HIDDEN);
        CU(cudaSetDevice(n_gpus));
        for (int k = 0; k < n; k++)
            if (k != n_gpus)
                CU(cudaDeviceEnablePeerAccess(k, 0));
        CU(cudaStreamCreateWithFlags(&g->stream, cudaStreamNonBlocking));
        CU(cudaMalloc(&g->box, box));
        CU(cudaMemset(g->box, 0, box));
        CU(cudaMalloc((void **)&g->x, (size_t)MOST_ROWS * MOST_HIDDEN * 4));
        CU(cudaMalloc((void **)&g->out, (size_t)MOST_ROWS * MOST_HIDDEN * 2));
        CU(cudaMalloc((void **)&g->weight, MOST_HIDDEN * 4));
        CU(cudaMalloc((void **)&g->part, (size_t)MOST_ROWS * MOST_VOCAB * 4));
        CU(cudaMalloc((void **)&g->logits, (size_t)MOST_ROWS * MOST_VOCAB * 4));
        CU(cudaMalloc((void **)&g->ids, MOST_ROWS * 4));
        CU(cudaMalloc((void **)&g->base, 4));
        CU(cudaDeviceSynchronize());
    }
    return true;
}

static struct kern_peers peers_of(int rank, int call)
{
    struct kern_peers peers = {
        .rank = rank, .n = n_gpus, .call = call, .base = gpus[rank].base, .stop = stop};

    for (int i = 0; i < n_gpus; i++)
        peers.box[i] = gpus[i].box;
    return peers;
}

/* With `peers` of the sum over all GPUs' x, without of this one's. */
static void enqueue_norm(const struct gpu *g, struct kern_peers peers, int rows, int hidden)
{
    CU(kern_norm((struct kern_norm){.x = g->x,
                                    .peers = peers,
                                    .weight = g->weight,
                                    .out = g->out,
                                    .rows = rows,
                                    .hidden = hidden,
                                    .eps = 1e-5f},
                 g->stream));
}

/* As a norm of few rows, or in place. */
static void enqueue_sum(int rank, int call, int rows, int hidden, bool is_norm)
{
    struct gpu *g = &gpus[rank];
    struct kern_sum sum = {.peers = peers_of(rank, call), .n = (size_t)rows * hidden};

    for (int i = 0; i < n_gpus; i++)
        sum.data[i] = gpus[i].x;
    if (is_norm)
        enqueue_norm(g, sum.peers, rows, hidden);
    else
        CU(kern_sum(sum, g->stream));
}

static void set_base(void)
{
    for (int i = 0; i < n_gpus; i++) {
        CU(cudaSetDevice(i));
        CU(cudaMemcpyAsync(gpus[i].base, &n_sums, 4, cudaMemcpyHostToDevice, gpus[i].stream));
    }
}

static void synchronize(void)
{
    for (int i = 0; i < n_gpus; i++) {
        CU(cudaSetDevice(i));
        CU(cudaStreamSynchronize(gpus[i].stream));
    }
}

/* Every GPU's values at random; want: their sum in order. */
static void fill(float *want, size_t n)
{
    float *mine = malloc(n * sizeof(*mine));

    for (int i = 0; i < n_gpus; i++) {
        check_fill_float(mine, n, 1);
        CU(cudaSetDevice(i));
        CU(cudaMemcpyAsync(gpus[i].x, mine, n * 4, cudaMemcpyHostToDevice, gpus[i].stream));
        CU(cudaStreamSynchronize(gpus[i].stream));
        for (size_t k = 0; k < n; k++)
            want[k] = i == 0 ? mine[k] : want[k] + mine[k];
    }
    free(mine);
}

static void compare(const char *what, const float *want, int rows, int hidden)
{
    size_t n = (size_t)rows * hidden;
    float *got = malloc(n * sizeof(*got));

    for (int i = 0; i < n_gpus; i++) {
        size_t n_wrong = 0;
        CU(cudaMemcpy(got, gpus[i].x, n * 4, cudaMemcpyDeviceToHost));
        for (size_t k = 0; k < n; k++)
            n_wrong += memcmp(&got[k], &want[k], 4) != 0;
        check_that(n_wrong == 0, "%s of %d x %d on GPU %d: %zu values are not the sum", what, rows,
                   hidden, i, n_wrong);
    }
    free(got);
}

/* The norm's rows are those of a norm after the sum. */
static void compare_norms(int rows, int hidden)
{
    size_t n = (size_t)rows * hidden;
    uint16_t *got = malloc(n * 2), *want = malloc(n * 2);

    for (int i = 0; i < n_gpus; i++) {
        struct gpu *g = &gpus[i];
        CU(cudaSetDevice(i));
        CU(cudaMemcpy(got, g->out, n * 2, cudaMemcpyDeviceToHost));
        enqueue_norm(g, (struct kern_peers){0}, rows, hidden);
        CU(cudaStreamSynchronize(g->stream));
        CU(cudaMemcpy(want, g->out, n * 2, cudaMemcpyDeviceToHost));
        check_that(memcmp(got, want, n * 2) == 0,
                   "norm with the sum of %d x %d on GPU %d differs from norm after the sum", rows,
                   hidden, i);
    }
    free(got), free(want);
}

static void check_sum(int rows, int hidden, bool is_norm)
{
    float *want = malloc((size_t)rows * hidden * sizeof(*want));

    fill(want, (size_t)rows * hidden);
    set_base();
    for (int i = 0; i < n_gpus; i++) {
        CU(cudaSetDevice(i));
        enqueue_sum(i, 1, rows, hidden, is_norm);
    }
    n_sums++;
    synchronize();
    compare(is_norm ? "sum by norm" : "sum", want, rows, hidden);
    if (is_norm)
        compare_norms(rows, hidden);
    free(want);
}

/* A graph of sums by turns of either kind, each of what the one before gave: after each replay
 * values are n^sums times as large; then they are set anew. */
static void check_replay(int rows, int hidden)
{
    enum { SUMS = 9 };
    cudaGraphExec_t graphs[KERN_MAX_PEERS];
    size_t n = (size_t)rows * hidden;
    float *x = malloc(n * 4), *got = malloc(n * 4);
    float factor = 1;
    int n_wrong = 0;

    for (int i = 0; i < n_gpus; i++) {
        cudaGraph_t graph;
        CU(cudaSetDevice(i));
        CU(cudaStreamBeginCapture(gpus[i].stream, cudaStreamCaptureModeRelaxed));
        for (int call = 1; call <= SUMS; call++)
            enqueue_sum(i, call, rows, hidden, call % 3 != 0 && rows <= KERN_SUM_FEW_ROWS);
        CU(cudaStreamEndCapture(gpus[i].stream, &graph));
        CU(cudaGraphInstantiate(&graphs[i], graph, 0));
        CU(cudaGraphDestroy(graph));
    }
    for (int call = 1; call <= SUMS; call++)
        factor *= (float)n_gpus;
    for (int round = 0; round < ROUNDS; round++) {
        for (size_t k = 0; k < n; k++)
            x[k] = (float)(1 + (k * 7 + (size_t)round) % 64);
        for (int i = 0; i < n_gpus; i++) {
            CU(cudaSetDevice(i));
            CU(cudaMemcpyAsync(gpus[i].x, x, n * 4, cudaMemcpyHostToDevice, gpus[i].stream));
        }
        synchronize();
        set_base();
        for (int i = 0; i < n_gpus; i++) {
            CU(cudaSetDevice(i));
            CU(cudaGraphLaunch(graphs[i], gpus[i].stream));
        }
        n_sums += SUMS;
        synchronize();
        CU(cudaMemcpy(got, gpus[round % n_gpus].x, n * 4, cudaMemcpyDeviceToHost));
        for (size_t k = 0; k < n; k++)
            n_wrong += got[k] != x[k] * factor;
    }
    check_that(n_wrong == 0, "replayed sums of %d x %d: %d values are wrong", rows, hidden,
               n_wrong);
    for (int i = 0; i < n_gpus; i++)
        CU(cudaGraphExecDestroy(graphs[i]));
    free(x), free(got);
}

static int32_t first_column(int rank, int vocab)
{
    return rank * (vocab / n_gpus) / 4 * 4 + (vocab % 4 && rank > 0);
}

static float logit_of(int row, int column)
{
    return (float)(row * 31 + column);
}

/* Parts side by side on the first GPU, and what it then has drawn on all. */
static void check_logits(int rows, int vocab)
{
    int stride = (vocab + 7) / 8 * 8;
    float *part = malloc((size_t)rows * stride * 4), *got = malloc((size_t)rows * stride * 4);
    int32_t ids[MOST_ROWS], seen[MOST_ROWS];
    int n_wrong = 0;

    set_base();
    for (int i = 0; i < n_gpus; i++) {
        struct gpu *g = &gpus[i];
        int first = first_column(i, vocab);
        int end = i + 1 < n_gpus ? first_column(i + 1, vocab) : vocab, width = end - first;
        int part_stride = (width + 7) / 8 * 8;
        struct kern_share share = {.peers = peers_of(i, 1), .n = rows};
        for (int row = 0; row < rows; row++)
            for (int k = 0; k < width; k++)
                part[(size_t)row * part_stride + k] = logit_of(row, first + k);
        for (int row = 0; row < rows; row++)
            ids[row] = i == 0 ? row * 3 + n_sums : -1;
        CU(cudaSetDevice(i));
        CU(cudaMemcpyAsync(g->part, part, (size_t)rows * part_stride * 4, cudaMemcpyHostToDevice,
                           g->stream));
        CU(cudaMemcpyAsync(g->ids, ids, (size_t)rows * 4, cudaMemcpyHostToDevice, g->stream));
        CU(cudaStreamSynchronize(g->stream));
        for (int k = 0; k < n_gpus; k++)
            share.ids[k] = gpus[k].ids;
        enqueue_sum(i, 1, 1, 64, false); /* all are here */
        CU(kern_gather((struct kern_gather){.peers = share.peers,
                                            .part = g->part,
                                            .logits = gpus[0].logits + first,
                                            .rows = rows,
                                            .width = width,
                                            .stride = stride,
                                            .part_stride = part_stride},
                       g->stream));
        CU(kern_share(share, g->stream));
    }
    synchronize();
    CU(cudaMemcpy(got, gpus[0].logits, (size_t)rows * stride * 4, cudaMemcpyDeviceToHost));
    for (int row = 0; row < rows; row++)
        for (int k = 0; k < vocab; k++)
            n_wrong += got[(size_t)row * stride + k] != logit_of(row, k);
    check_that(n_wrong == 0, "logits of %d x %d: %d values are wrong", rows, vocab, n_wrong);
    for (int i = 0; i < n_gpus; i++) {
        CU(cudaMemcpy(seen, gpus[i].ids, (size_t)rows * 4, cudaMemcpyDeviceToHost));
        n_wrong = 0;
        for (int row = 0; row < rows; row++)
            n_wrong += seen[row] != row * 3 + n_sums;
        check_that(n_wrong == 0, "GPU %d knows %d of %d drawn ids wrongly", i, n_wrong, rows);
    }
    n_sums++;
    free(part), free(got);
}

/* The others never come: the host ends the waiting. */
static void check_stop(void)
{
    CU(cudaSetDevice(0));
    set_base();
    enqueue_sum(0, 1, 3, 256, true);
    enqueue_sum(0, 2, 100, 256, false);
    n_sums += 2;
    cudaError_t before = cudaStreamQuery(gpus[0].stream);
    *(volatile int32_t *)stop = 1;
    CU(cudaStreamSynchronize(gpus[0].stream));
    check_that(before == cudaErrorNotReady, "a sum ended without the others");
    *stop = 0;
}

void check_peers(void)
{
    static const int hiddens[] = {64, 576, 2048, 4096, 5120, 8192};

    if (!open_gpus())
        return;
    for (int i = 0; i < n_gpus; i++) {
        float weight[MOST_HIDDEN];
        check_fill_float(weight, MOST_HIDDEN, 1);
        CU(cudaMemcpy(gpus[i].weight, weight, sizeof(weight), cudaMemcpyHostToDevice));
    }
    for (size_t i = 0; i < sizeof(hiddens) / sizeof(*hiddens); i++) {
        check_sum(1, hiddens[i], true);
        check_sum(check_pick(2, KERN_SUM_FEW_ROWS), hiddens[i], true);
        check_sum(KERN_SUM_FEW_ROWS, hiddens[i], true);
        check_sum(check_pick(1, MOST_ROWS), hiddens[i], false);
    }
    check_replay(1, 4096);
    check_replay(7, 2048);
    check_replay(KERN_SUM_FEW_ROWS, 4096);
    check_replay(257, 576);
    check_logits(1, 4096);
    check_logits(37, 1000);
    check_logits(130, 999);
    check_stop();
    CU(cudaSetDevice(0));
}

/* ---- speed ----------------------------------------------------------------------------------- */

/* Microseconds of a sum, among many in a graph. */
static double time_sum(int rows, int hidden, bool is_norm)
{
    enum { SUMS = 100 };
    cudaEvent_t start, end;
    float ms = 0;

    CU(cudaSetDevice(0));
    CU(cudaEventCreate(&start));
    CU(cudaEventCreate(&end));
    for (int turn = 0; turn < 3; turn++) {
        set_base();
        synchronize();
        CU(cudaSetDevice(0));
        CU(cudaEventRecord(start, gpus[0].stream));
        for (int call = 1; call <= SUMS; call++)
            for (int i = 0; i < n_gpus; i++) {
                CU(cudaSetDevice(i));
                enqueue_sum(i, call, rows, hidden, is_norm);
            }
        CU(cudaSetDevice(0));
        CU(cudaEventRecord(end, gpus[0].stream));
        n_sums += SUMS;
        synchronize();
        CU(cudaEventElapsedTime(&ms, start, end));
    }
    CU(cudaEventDestroy(start));
    CU(cudaEventDestroy(end));
    return ms * 1e3 / SUMS;
}

void bench_peers(void)
{
    static const int rows[] = {1, 8, 16, 32, 64, 128, 300};

    if (!open_gpus())
        return;
    for (int i = 0; i < n_gpus; i++)
        CU(cudaMemset(gpus[i].weight, 0, MOST_HIDDEN * 4));
    printf("sums over %d GPUs, rows of 4096, us\n  rows  with norm  in place\n", n_gpus);
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++)
        printf("  %4d  %9.2f  %8.2f\n", rows[i],
               rows[i] <= KERN_SUM_FEW_ROWS ? time_sum(rows[i], 4096, true) : 0.0,
               time_sum(rows[i], 4096, false));
    CU(cudaSetDevice(0));
}
