/* SPDX-License-Identifier: Apache-2.0 */
/* Experts that are spread over the replicas of a job. The ranks take their steps together: in a
 * mixture's layer all of them gather all rows and their choices, each runs its own experts on them,
 * and the outputs go back to the rows' own ranks, which add them up in the order in which the row
 * chose. So a row gets the bits that it would get if its rank had all experts.
 *
 * What a row chooses is known on the device alone, but how many rows each rank brings is exchanged
 * on the host when a step begins: so sizes are known without waiting for the device, and of what a
 * rank sends back a row has as much as the rank can hold of its choices. A rank brings so many rows
 * at a time that the rows of all together are no more than those of a step. */
#include "config.h"

#include <stdlib.h>

#include "backend/cuda/cuda.h"
#include "base/mem.h"
#include "job/parallel.h"

enum { START_S = 120 };

/* What a rank tells the others of its step. */
struct cuda_share {
    int32_t n_rows, can_capture;
};

static int width_of(const struct cuda_backend *cuda, int member)
{
    const int *start = cuda->config.spread->start;
    int held = start[member + 1] - start[member];

    return held < cuda->arch.moe.n_used ? held : cuda->arch.moe.n_used;
}

/* ---- open ------------------------------------------------------------------------------------ */

void ant_cuda_spread_derive(struct cuda_backend *cuda)
{
    const struct ant_spread *spread = cuda->config.spread;
    struct cuda_spread *at = &cuda->spread;
    int rows = ant_cuda_graph_rows(cuda->config.max_rows, NULL);

    if (!spread)
        return;
    at->most = rows > spread->n ? rows / spread->n : 1;
    for (int i = 0; i < spread->n; i++)
        at->widths += width_of(cuda, i);
    at->width = width_of(cuda, spread->me);
    at->rows = ant_xcalloc((size_t)spread->n, sizeof(*at->rows));
    at->shares = ant_xcalloc((size_t)spread->n, sizeof(*at->shares));
    at->pieces = ant_xcalloc(2 * (size_t)spread->n, sizeof(*at->pieces));
}

/* Which rank holds an expert, for the device. */
static int send_holders(const struct cuda_backend *cuda, struct ant_error *err)
{
    const struct ant_spread *spread = cuda->config.spread;
    struct kern_holder holders[ANT_MAX_EXPERTS];
    int first = 0;

    for (int e = 0; e < cuda->arch.moe.n_experts; e++)
        holders[e] = (struct kern_holder){-1, 0};
    for (int i = 0; i < spread->n; first += width_of(cuda, i++))
        for (int e = spread->start[i]; e < spread->start[i + 1]; e++)
            holders[e] = (struct kern_holder){first, width_of(cuda, i)};
    ANT_CUDA_TRY("cannot copy the list of experts",
                 cudaMemcpy(cuda->spread.holders, holders,
                            (size_t)cuda->arch.moe.n_experts * sizeof(*holders),
                            cudaMemcpyHostToDevice));
    return 0;
}

int ant_cuda_spread_open(struct cuda_backend *cuda, struct ant_error *err)
{
    const struct ant_spread *spread = cuda->config.spread;

    if (!spread)
        return 0;
    ANT_TRY(send_holders(cuda, err));
    return ant_device_group_open(&cuda->spread.group, &cuda->config.parallel->experts_id,
                                 spread->me, spread->n, "experts of the job", START_S, err);
}

void ant_cuda_spread_close(struct cuda_backend *cuda)
{
    ant_device_group_close(cuda->spread.group);
    free(cuda->spread.rows);
    free(cuda->spread.shares);
    free(cuda->spread.pieces);
}

/* ---- a step begins --------------------------------------------------------------------------- */

bool ant_cuda_spread_agree(struct cuda_backend *cuda, int n_rows, bool can_capture, int *most)
{
    struct cuda_spread *at = &cuda->spread;
    struct cuda_share mine = {n_rows, can_capture};

    *most = 0;
    cuda->failed = ant_group_all_gather(cuda->config.parallel->experts, &mine, sizeof(mine),
                                        at->shares, ANT_PARALLEL_TIMEOUT_S, &cuda->error);
    for (int i = 0; i < cuda->config.spread->n && !cuda->failed; i++) {
        at->rows[i] = at->shares[i].n_rows;
        can_capture = can_capture && at->shares[i].can_capture;
        *most = at->rows[i] > *most ? at->rows[i] : *most;
        if (at->rows[i] < 0 || at->rows[i] > cuda->config.max_rows)
            cuda->failed = ant_fail(&cuda->error, ANT_EPEER,
                                    "replica %d brings %d rows to a step of at most %d", i,
                                    at->rows[i], cuda->config.max_rows);
    }
    return can_capture && !cuda->failed;
}

void ant_cuda_spread_equal(struct cuda_backend *cuda, int rows)
{
    for (int i = 0; i < cuda->config.spread->n; i++)
        cuda->spread.rows[i] = rows;
}

int ant_cuda_spread_mine(const struct cuda_backend *cuda)
{
    return cuda->spread.rows[cuda->config.spread->me];
}

/* ---- a layer --------------------------------------------------------------------------------- */

/* Rows that a member brings to this round. */
static int rows_of(const struct cuda_spread *at, int member, int round)
{
    int left = at->rows[member] - round * at->most;

    return left < 0 ? 0 : left < at->most ? left : at->most;
}

static void exchange(struct cuda_backend *cuda, int n, const char *what)
{
    if (!ant_cuda_is_on(cuda))
        return;
    cuda->failed = ant_device_group_exchange(cuda->spread.group, cuda->spread.pieces, n,
                                             cuda->stream, &cuda->error);
    ant_cuda_done(cuda, cudaSuccess, "%s", what);
}

/* What this rank brings itself need not travel. */
static void keep(struct cuda_backend *cuda, void *to, const void *from, size_t bytes)
{
    if (ant_cuda_is_on(cuda) && bytes > 0)
        ant_cuda_done(cuda,
                      cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, cuda->stream),
                      "copying of rows for experts");
}

/* The rows of all and what they have chosen, in the order of the ranks. Returns their number. */
static int gather_rows(struct cuda_backend *cuda, int round)
{
    const struct ant_spread *spread = cuda->config.spread;
    const struct cuda_spread *at = &cuda->spread;
    size_t row = (size_t)cuda->arch.hidden * 2, choices = (size_t)cuda->arch.moe.n_used * 4;
    size_t first = (size_t)round * (size_t)at->most, mine = (size_t)rows_of(at, spread->me, round);
    const char *rows = (const char *)cuda->slots[ANT_SLOT_NORMED].data + first * row;
    const char *ids = (const char *)cuda->moe.ids + first * choices;
    struct ant_device_piece *piece = at->pieces;
    size_t n = 0;

    for (int i = 0; i < spread->n; i++) {
        char *in = (char *)at->in + n * row, *in_ids = (char *)at->ids + n * choices;
        size_t theirs = (size_t)rows_of(at, i, round);

        n += theirs;
        if (i == spread->me) {
            keep(cuda, in, rows, mine * row);
            keep(cuda, in_ids, ids, mine * choices);
            continue;
        }
        *piece++ = (struct ant_device_piece){i, rows, mine * row, in, theirs * row};
        *piece++ = (struct ant_device_piece){i, ids, mine * choices, in_ids, theirs * choices};
    }
    exchange(cuda, (int)(piece - at->pieces), "gathering of rows for experts");
    return (int)n;
}

/* The outputs for `n` of the gathered rows, in the order of these. */
static void collect(struct cuda_backend *cuda, int first, int n, uint16_t *out)
{
    int used = cuda->arch.moe.n_used;

    if (ant_cuda_is_on(cuda))
        ant_cuda_done(cuda,
                      kern_collect((struct kern_collect){.in = cuda->moe.out,
                                                         .places = cuda->moe.places +
                                                                   (size_t)first * (size_t)used,
                                                         .out = out,
                                                         .rows = n,
                                                         .used = used,
                                                         .width = cuda->spread.width,
                                                         .hidden = cuda->arch.hidden},
                                   cuda->stream),
                      "collecting of outputs for %d rows", n);
}

/* The outputs of this rank's experts for `n_rows` rows to these rows' own ranks, those of this
 * rank's rows from all. */
static void return_rows(struct cuda_backend *cuda, int n_rows, int round)
{
    const struct ant_spread *spread = cuda->config.spread;
    const struct cuda_spread *at = &cuda->spread;
    size_t row = (size_t)cuda->arch.hidden, width = (size_t)at->width * row;
    size_t mine = (size_t)rows_of(at, spread->me, round), before = 0, n = 0;
    struct ant_device_piece *piece = at->pieces;
    uint16_t *back = at->back, *kept = NULL;

    for (int i = 0; i < spread->n; i++) {
        size_t theirs = (size_t)rows_of(at, i, round), n_in = mine * (size_t)width_of(cuda, i);

        if (i == spread->me)
            kept = back, before = n;
        else
            *piece++ = (struct ant_device_piece){i, at->out + n * width, theirs * width * 2, back,
                                                 n_in * row * 2};
        back += n_in * row;
        n += theirs;
    }
    size_t behind = before + mine;
    collect(cuda, 0, (int)before, at->out);
    collect(cuda, (int)before, (int)mine, kept);
    collect(cuda, (int)behind, n_rows - (int)behind, at->out + behind * width);
    exchange(cuda, (int)(piece - at->pieces), "return of rows from experts");
}

/* RESIDUAL of this round's rows += their experts: at once, or later where it is the only round. */
static void add_outputs(struct cuda_backend *cuda, int round, bool is_only)
{
    const struct cuda_spread *at = &cuda->spread;
    int used = cuda->arch.moe.n_used, first = round * at->most, n = cuda->n_rows - first;
    size_t begin = (size_t)first * (size_t)used;
    float *sum = cuda->slots[ANT_SLOT_RESIDUAL].data;
    struct kern_terms terms = {at->back, at->places, cuda->moe.weights + begin, used};

    n = n < at->most ? n : at->most;
    if (n <= 0 || !ant_cuda_is_on(cuda))
        return;
    ant_cuda_done(cuda,
                  kern_find((struct kern_find){.ids = cuda->moe.ids + begin,
                                               .holders = at->holders,
                                               .places = at->places,
                                               .rows = n,
                                               .used = used},
                            cuda->stream),
                  "places of the outputs of %d rows", n);
    if (is_only) {
        cuda->late_terms = terms;
        return;
    }
    ant_cuda_done(
        cuda,
        kern_combine((struct kern_combine){.terms = terms,
                                           .sum = sum + (size_t)first * (size_t)cuda->arch.hidden,
                                           .rows = n,
                                           .hidden = cuda->arch.hidden},
                     cuda->stream),
        "sum over the experts of %d rows", n);
}

void ant_cuda_spread_experts(struct cuda_backend *cuda, const struct ant_weight *gate_up,
                             const struct ant_weight *down)
{
    const struct cuda_spread *at = &cuda->spread;
    int n_rounds = 0;

    for (int i = 0; i < cuda->config.spread->n; i++)
        while (rows_of(at, i, n_rounds) > 0)
            n_rounds++;
    if (n_rounds > 1 && ant_cuda_is_on(cuda))
        ant_cuda_settle(cuda);
    for (int round = 0; round < n_rounds && !cuda->failed; round++) {
        int n = gather_rows(cuda, round);

        ant_cuda_run_experts(cuda, at->ids, at->in, n, gate_up, down);
        return_rows(cuda, n, round);
        add_outputs(cuda, round, n_rounds == 1);
    }
}
