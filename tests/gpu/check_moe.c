/* SPDX-License-Identifier: Apache-2.0 */
/* Choice of experts, the order of experts, their products and sums. */
#include "config.h"

#include "check.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cuda/kern.h"

/* ---- choosing: what backend/cpu/cpu_moe.c does, in double ------------------------------------ */

static int best_of(const double *x, int n)
{
    int best = 0;

    for (int i = 1; i < n; i++)
        if (x[i] > x[best])
            best = i;
    return best;
}

static void keep_groups(const struct kern_route *a, double *left)
{
    int size = a->experts / a->groups;
    double sums[KERN_MAX_GROUPS];

    for (int g = 0; g < a->groups; g++) {
        double best = -INFINITY, second = -INFINITY;
        for (int i = g * size; i < (g + 1) * size; i++) {
            second = fmax(second, fmin(best, left[i]));
            best = fmax(best, left[i]);
        }
        sums[g] = best + second;
    }
    for (int i = 0; i < a->groups_used; i++)
        sums[best_of(sums, a->groups)] = -INFINITY;
    for (int i = 0; i < a->groups * size; i++)
        if (sums[i / size] > -INFINITY)
            left[i] = -INFINITY;
}

static double sparse_weight(const struct kern_route *a, const double *scores, const double *left,
                            int best)
{
    double max = left[best], sum = 0;

    for (int i = 0; i < a->experts; i++)
        if (left[i] > -INFINITY &&
            !((max - scores[i]) / fmax(fabs(scores[i]), max) > 2 * (double)a->jitter))
            sum += exp(left[i] - max);
    return 1 / sum;
}

static void choose(const struct kern_route *a, const double *scores, const float *bias,
                   int32_t *ids, double *weights)
{
    bool is_softmax = a->score == KERN_SCORE_SOFTMAX;
    double left[KERN_MAX_EXPERTS], value[KERN_MAX_EXPERTS], sum = 0;
    double max = scores[best_of(scores, a->experts)];

    for (int i = 0; i < a->experts; i++) {
        value[i] = is_softmax ? exp(scores[i] - max) : 1 / (1 + exp(-scores[i]));
        left[i] = (a->score == KERN_SCORE_SIGMOID ? value[i] : scores[i]) + (bias ? bias[i] : 0);
        sum += is_softmax && !a->is_renormalized ? value[i] : 0;
    }
    if (a->groups > 0)
        keep_groups(a, left);
    for (int i = 0; i < a->used; i++) {
        ids[i] = best_of(left, a->experts);
        weights[i] = a->score == KERN_SCORE_SPARSEMIXER ? sparse_weight(a, scores, left, ids[i])
                                                        : value[ids[i]];
        left[ids[i]] = -INFINITY;
        sum += a->is_renormalized ? weights[i] : 0;
    }
    for (int i = 0; i < a->used && a->score != KERN_SCORE_SPARSEMIXER; i++)
        weights[i] *= is_softmax || a->is_renormalized ? a->scale / sum : a->scale;
}

/* Near-ties may fall either way: a row counts only where nothing is decided by less than `gap`. The
 * input's values are small integers, so that scores are exact on both sides; the weights then
 * differ by the last bits of exponentials. */
static void check_route_shape(struct kern_route a, bool has_bias, bool has_share)
{
    int n = a.experts + has_share, entries = a.rows * a.used;
    uint16_t *in = malloc((size_t)a.rows * a.hidden * 2), *w = malloc((size_t)n * a.hidden * 2);
    float *bias = malloc(sizeof(*bias) * a.experts), *got_weights = malloc(sizeof(float) * entries);
    int32_t *ids = malloc(sizeof(*ids) * entries), *got_ids = malloc(sizeof(*ids) * entries);
    float *got_shares = malloc(sizeof(*got_shares) * a.rows);
    double *weights = malloc(sizeof(*weights) * entries), scores[KERN_MAX_EXPERTS + 1];
    double *shares = malloc(sizeof(*shares) * a.rows);

    for (int i = 0; i < a.rows * a.hidden; i++)
        in[i] = check_bf16((float)check_pick(-8, 8) / 16);
    for (int i = 0; i < n * a.hidden; i++)
        w[i] = check_bf16((float)check_pick(-8, 8) / 16);
    for (int i = 0; i < a.experts; i++)
        bias[i] = (float)check_pick(-64, 64) / 1024;
    for (int r = 0; r < a.rows; r++) {
        for (int e = 0; e < n; e++) {
            scores[e] = 0;
            for (int k = 0; k < a.hidden; k++)
                scores[e] += (double)check_float(in[(size_t)r * a.hidden + k]) *
                             check_float(w[(size_t)e * a.hidden + k]);
        }
        choose(&a, scores, has_bias ? bias : NULL, ids + r * a.used, weights + r * a.used);
        shares[r] = 1 / (1 + exp(-scores[a.experts]));
    }
    struct check_buffer b_in = check_upload(in, (size_t)a.rows * a.hidden * 2);
    struct check_buffer b_w = check_upload(w, (size_t)n * a.hidden * 2);
    struct check_buffer b_bias = check_upload(bias, sizeof(*bias) * a.experts);
    struct check_buffer b_ids = check_device(sizeof(*ids) * entries);
    struct check_buffer b_weights = check_device(sizeof(float) * entries);
    struct check_buffer b_shares = check_device(sizeof(float) * a.rows);
    a.in = b_in.p, a.router = b_w.p, a.bias = has_bias ? b_bias.p : NULL;
    a.ids = b_ids.p, a.weights = b_weights.p, a.shares = has_share ? b_shares.p : NULL;
    CU(kern_route(a, 0));
    check_download(got_ids, &b_ids);
    check_download(got_weights, &b_weights);
    check_download(got_shares, &b_shares);
    int n_wrong = 0;
    for (int i = 0; i < entries; i++)
        n_wrong += got_ids[i] != ids[i];
    /* With sigmoids, a tie of exact scores is one of rounded values as well; else none is left. */
    check_that(n_wrong <= (a.score == KERN_SCORE_SIGMOID ? entries / 200 : 0),
               "route: %d of %d choices differ, %d rows of %d, %d of %d experts, score %d", n_wrong,
               entries, a.rows, a.hidden, a.used, a.experts, a.score);
    if (n_wrong == 0)
        check_close("route weights", got_weights, weights, entries, 1e-5);
    if (has_share)
        check_close("route shares", got_shares, shares, a.rows, 1e-5);
    check_release(&b_in, "route in");
    check_release(&b_w, "route router");
    check_release(&b_bias, "route bias");
    check_release(&b_ids, "route ids");
    check_release(&b_weights, "route weights");
    check_release(&b_shares, "route shares");
    free(in), free(w), free(bias), free(got_weights), free(ids), free(got_ids), free(got_shares);
    free(weights), free(shares);
}

static void check_routes(void)
{
    int rows = check_pick(1, 50);

    check_route_shape((struct kern_route){.rows = rows,
                                          .hidden = 64,
                                          .experts = 8,
                                          .used = 2,
                                          .is_renormalized = true,
                                          .scale = 1},
                      false, false);
    check_route_shape(
        (struct kern_route){.rows = rows, .hidden = 2048, .experts = 60, .used = 4, .scale = 1},
        false, true);
    check_route_shape((struct kern_route){.rows = rows,
                                          .hidden = 2048,
                                          .experts = 128,
                                          .used = 8,
                                          .is_renormalized = true,
                                          .scale = 1},
                      false, false);
    check_route_shape((struct kern_route){.rows = rows,
                                          .hidden = 4096,
                                          .experts = 16,
                                          .used = 2,
                                          .score = KERN_SCORE_SPARSEMIXER,
                                          .jitter = 0.01f,
                                          .scale = 1},
                      false, false);
    check_route_shape((struct kern_route){.rows = rows,
                                          .hidden = 528,
                                          .experts = 256,
                                          .used = 8,
                                          .score = KERN_SCORE_SIGMOID,
                                          .is_renormalized = true,
                                          .groups = 8,
                                          .groups_used = 4,
                                          .scale = 2.5f},
                      true, false);
    check_route_shape((struct kern_route){.rows = 3,
                                          .hidden = 80,
                                          .experts = 1024,
                                          .used = 32,
                                          .score = KERN_SCORE_SIGMOID,
                                          .scale = 1},
                      false, true);
}

/* ---- the order of experts, products, sums ---------------------------------------------------- */

struct problem {
    int rows, used, experts, first, held, k, ff;
    int32_t *ids, *places, *row_of;
    struct check_buffer b_ids, b_places, b_rows, b_tiles, b_n_tiles;
    int tile_places, max_tiles, n_places;
};

/* Rows choose experts at random; some experts get most of them, some none. */
static void choose_at_random(struct problem *p)
{
    for (int r = 0; r < p->rows; r++)
        for (int i = 0; i < p->used; i++) {
            bool is_new = false;
            while (!is_new) {
                int id = check_pick(0, p->experts - 1);
                id = check_pick(0, 2) ? id * id / p->experts : id;
                is_new = true;
                for (int j = 0; j < i; j++)
                    is_new = is_new && p->ids[r * p->used + j] != id;
                p->ids[r * p->used + i] = id;
            }
        }
}

static void launch_sort(struct problem *p, int tile_places)
{
    int n = p->rows * p->used;

    p->tile_places = tile_places;
    p->max_tiles = kern_most_tiles(n, p->held, tile_places);
    CU(kern_sort((struct kern_sort){.ids = p->b_ids.p,
                                    .places = p->b_places.p,
                                    .rows = p->b_rows.p,
                                    .tiles = p->b_tiles.p,
                                    .n_tiles = p->b_n_tiles.p,
                                    .entries = n,
                                    .used = p->used,
                                    .first = p->first,
                                    .n_held = p->held,
                                    .tile_places = tile_places},
                 0));
}

static void open_problem(struct problem *p)
{
    size_t n = (size_t)p->rows * p->used;

    p->ids = malloc(n * 4), p->places = malloc(n * 4), p->row_of = malloc(n * 4);
    choose_at_random(p);
    p->b_ids = check_upload(p->ids, n * 4);
    p->b_places = check_device(n * 4);
    p->b_rows = check_device(n * 4);
    p->b_tiles = check_device((n / KERN_TILE_PLACES + (size_t)p->held) * sizeof(struct kern_tile));
    p->b_n_tiles = check_device(4);
}

static void close_problem(struct problem *p)
{
    check_release(&p->b_ids, "sort ids");
    check_release(&p->b_places, "sort places");
    check_release(&p->b_rows, "sort rows");
    check_release(&p->b_tiles, "sort tiles");
    check_release(&p->b_n_tiles, "sort number of tiles");
    free(p->ids), free(p->places), free(p->row_of);
}

/* Tiles have all places once, each those of one expert. */
static void check_tiles(const struct problem *p, const int32_t *expert_of, int n_tiles)
{
    struct kern_tile *tiles = malloc(p->b_tiles.bytes);
    bool *is_covered = calloc((size_t)p->n_places + 1, sizeof(*is_covered));
    int n_covered = 0;

    check_download(tiles, &p->b_tiles);
    for (int t = 0; t < n_tiles && t < p->max_tiles; t++) {
        struct kern_tile tile = tiles[t];
        bool is_right = tile.n_places > 0 && tile.n_places <= p->tile_places && tile.place >= 0 &&
                        tile.place + tile.n_places <= p->n_places;
        for (int i = tile.place; is_right && i < tile.place + tile.n_places; i++) {
            is_right = expert_of[i] == tile.expert && !is_covered[i];
            is_covered[i] = true;
        }
        check_that(is_right, "sort: tile %d, %d places from %d on, of expert %d", t, tile.n_places,
                   tile.place, tile.expert);
        n_covered += tile.n_places;
    }
    check_that(n_covered == p->n_places, "sort: tiles of %d places, not %d", n_covered,
               p->n_places);
    free(tiles), free(is_covered);
}

static void check_order(struct problem *p)
{
    int n = p->rows * p->used, place = 0, n_tiles, n_wrong = 0;
    int32_t *places = malloc((size_t)n * 4), *rows = malloc((size_t)n * 4);
    int32_t *expert_of = malloc((size_t)n * 4);

    check_download(places, &p->b_places);
    check_download(rows, &p->b_rows);
    check_download(&n_tiles, &p->b_n_tiles);
    for (int i = 0; i < n; i++)
        p->places[i] = -1;
    for (int e = 0; e < p->held; e++)
        for (int i = 0; i < n; i++)
            if (p->ids[i] == p->first + e) {
                n_wrong += rows[place] != i / p->used;
                p->row_of[place] = i / p->used;
                expert_of[place] = e;
                p->places[i] = place++;
            }
    p->n_places = place;
    for (int i = 0; i < n; i++)
        n_wrong += places[i] != p->places[i];
    check_that(n_wrong == 0 && n_tiles <= p->max_tiles,
               "sort: %d of %d entries differ, %d tiles of at most %d", n_wrong, n, n_tiles,
               p->max_tiles);
    check_tiles(p, expert_of, n_tiles);
    free(places), free(rows), free(expert_of);
}

/* What the products must be: kern_chain of each expert's rows, copied together. */
static void reference(const struct problem *p, const struct check_buffer *in, bool by_place,
                      const struct check_buffer *weights, int n, int k, bool is_gated, bool is_gelu,
                      uint16_t *want)
{
    int width = is_gated ? n / 2 : n;
    struct check_buffer some = check_device((size_t)p->n_places * k * 2 + 16);
    struct check_buffer out = check_device((size_t)p->n_places * n * 2 + 16);
    struct check_buffer act = check_device((size_t)p->n_places * width * 2 + 16);

    for (int place = 0; place < p->n_places; place++)
        CU(cudaMemcpy((uint16_t *)some.p + (size_t)place * k,
                      (uint16_t *)in->p + (size_t)(by_place ? place : p->row_of[place]) * k,
                      (size_t)k * 2, cudaMemcpyDeviceToDevice));
    for (int e = 0, first = 0; e < p->held; e++) {
        int count = 0;
        for (int i = 0; i < p->rows * p->used; i++)
            count += p->ids[i] == p->first + e;
        CU(kern_chain((struct kern_chain){.in = (uint16_t *)some.p + (size_t)first * k,
                                          .weight = (uint16_t *)weights->p + (size_t)e * n * k,
                                          .out = (uint16_t *)out.p + (size_t)first * n,
                                          .rows = count,
                                          .n = n,
                                          .k = k},
                      0));
        first += count;
    }
    CU(cudaDeviceSynchronize());
    if (is_gated)
        CU(kern_glu((struct kern_glu){out.p, act.p, p->n_places, width, is_gelu}, 0));
    CU(cudaDeviceSynchronize());
    CU(cudaMemcpy(want, is_gated ? act.p : out.p, (size_t)p->n_places * width * 2,
                  cudaMemcpyDeviceToHost));
    check_release(&some, "reference in");
    check_release(&out, "reference out");
    check_release(&act, "reference activation");
}

static void compare_grouped(struct problem *p, int n, int k, bool is_gated, bool by_place)
{
    int width = is_gated ? n / 2 : n, in_rows = by_place ? p->n_places : p->rows;
    size_t n_out = (size_t)p->n_places * width;
    bool is_gelu = check_pick(0, 3) == 0;
    uint16_t *in = malloc((size_t)in_rows * k * 2 + 2);
    uint16_t *weights = malloc((size_t)p->held * n * k * 2);
    uint16_t *want = malloc(n_out * 2 + 2), *got = malloc(n_out * 2 + 2);

    check_fill_bf16(in, (size_t)in_rows * k, 1);
    check_fill_bf16(weights, (size_t)p->held * n * k, 0.3f);
    struct check_buffer b_in = check_upload(in, (size_t)in_rows * k * 2);
    struct check_buffer b_weights = check_upload(weights, (size_t)p->held * n * k * 2);
    reference(p, &b_in, by_place, &b_weights, n, k, is_gated, is_gelu, want);
    for (int kind = 0; kind < 4; kind++) {
        static const int tiles[] = {16, 64, 64, 256};
        struct check_buffer b_out = check_device(n_out * 2);
        launch_sort(p, tiles[kind]);
        cudaError_t e = kern_grouped((struct kern_grouped){.in = b_in.p,
                                                           .rows = by_place ? NULL : p->b_rows.p,
                                                           .places = p->n_places,
                                                           .weights = b_weights.p,
                                                           .out = b_out.p,
                                                           .tiles = p->b_tiles.p,
                                                           .n_tiles = p->b_n_tiles.p,
                                                           .max_tiles = p->max_tiles,
                                                           .tile_places = p->tile_places,
                                                           .n_held = p->held,
                                                           .n = n,
                                                           .k = k,
                                                           .is_gated = is_gated,
                                                           .is_gelu = is_gelu,
                                                           .no_wgmma = kind == 1},
                                     0);
        if (e != cudaErrorInvalidValue || kind < 3) { /* tiles of 256 are Hopper's alone */
            CU(e);
            check_download(got, &b_out);
            int n_wrong = 0, place = -1;
            for (size_t i = 0; i < n_out; i++)
                if (got[i] != want[i] && n_wrong++ == 0)
                    place = (int)(i / (size_t)width);
            check_that(n_wrong == 0,
                       "grouped %d x %d, %d rows, %d of %d experts, tiles of %d%s%s: %d of %zu "
                       "values differ, first at place %d",
                       n, k, p->rows, p->used, p->experts, tiles[kind], kind == 1 ? " (mma)" : "",
                       is_gated ? ", gated" : "", n_wrong, n_out, place);
        }
        check_release(&b_out, "grouped out");
    }
    check_release(&b_in, "grouped in");
    check_release(&b_weights, "grouped weights");
    free(in), free(weights), free(want), free(got);
}

static void check_combine(struct problem *p, int hidden)
{
    size_t n = (size_t)p->rows * hidden, n_in = (size_t)p->n_places * hidden;
    int entries = p->rows * p->used;
    uint16_t *in = malloc(n_in * 2 + 2);
    float *weights = malloc(sizeof(*weights) * entries), *sum = malloc(sizeof(*sum) * n);
    double *want = malloc(sizeof(*want) * n);

    check_fill_bf16(in, n_in, 1);
    check_fill_float(weights, entries, 1);
    check_fill_float(sum, n, 3);
    uint16_t *shift = malloc((size_t)hidden * 2);
    float *ones = malloc(sizeof(*ones) * hidden), *other = malloc(sizeof(*other) * n);
    check_fill_bf16(shift, hidden, 1);
    for (int j = 0; j < hidden; j++)
        ones[j] = 1;
    struct check_buffer b_norm = check_upload(sum, n * 4), b_out = check_device(n * 2);
    struct check_buffer b_shift = check_upload(shift, (size_t)hidden * 2);
    struct check_buffer b_ones = check_upload(ones, sizeof(*ones) * hidden);
    for (int r = 0; r < p->rows; r++)
        for (int j = 0; j < hidden; j++) {
            size_t at = (size_t)r * hidden + j;
            want[at] = (double)sum[at] + check_float(shift[j]);
            for (int i = r * p->used; i < (r + 1) * p->used; i++)
                if (p->places[i] >= 0)
                    want[at] +=
                        (double)weights[i] * check_float(in[(size_t)p->places[i] * hidden + j]);
        }
    struct check_buffer b_in = check_upload(in, n_in * 2), b_sum = check_upload(sum, n * 4);
    struct check_buffer b_weights = check_upload(weights, sizeof(*weights) * entries);
    struct kern_terms terms = {b_in.p, p->b_places.p, b_weights.p, p->used};
    struct kern_norm norm = {.x = b_norm.p,
                             .shift = b_shift.p,
                             .terms = terms,
                             .weight = b_ones.p,
                             .out = b_out.p,
                             .rows = p->rows,
                             .hidden = hidden,
                             .eps = 1e-5f};
    CU(kern_combine((struct kern_combine){terms, b_shift.p, b_sum.p, p->rows, hidden}, 0));
    CU(kern_norm(norm, 0));
    check_download(other, &b_norm);
    check_download(sum, &b_sum);
    check_close("sum of experts", sum, want, n, 1e-6);
    check_that(memcmp(sum, other, sizeof(*sum) * n) == 0, "sum of experts: a norm's differs");
    check_release(&b_norm, "combine norm");
    check_release(&b_shift, "combine shift");
    check_release(&b_ones, "combine weight");
    check_release(&b_out, "combine out");
    free(shift), free(ones), free(other);
    check_release(&b_in, "combine in");
    check_release(&b_sum, "combine sum");
    check_release(&b_weights, "combine weights");
    free(in), free(weights), free(sum), free(want);
}

static void check_shape(int rows, int used, int experts, int first, int held, int hidden, int ff)
{
    struct problem p = {
        .rows = rows, .used = used, .experts = experts, .first = first, .held = held};

    open_problem(&p);
    launch_sort(&p, 64);
    check_order(&p);
    compare_grouped(&p, 2 * ff, hidden, true, false);
    compare_grouped(&p, hidden, ff, false, true);
    compare_grouped(&p, 64, hidden, check_pick(0, 1), check_pick(0, 1));
    check_combine(&p, hidden);
    close_problem(&p);
}

void check_moe(void)
{
    for (int t = 0; t < (check_quick ? 1 : 3); t++) {
        check_routes();
        check_shape(1, 2, 8, 0, 8, 64, 48);
        check_shape(check_pick(2, 30), 2, 8, 0, 8, 64, 48);
        check_shape(check_pick(2, 60), 4, 60, 20, 13, 144, 32);
        check_shape(check_pick(60, 200), 8, 128, 0, 128, 128, 96);
        check_shape(check_pick(300, 700), 2, 4, 1, 3, 256, 240);
        if (check_quick)
            continue;
        check_shape(check_pick(500, 900), 2, 16, 0, 16, 512, 960);
        check_shape(check_pick(100, 200), 2, 16, 0, 16, 4096, 960);
    }
    check_shape(2000, 1, 3, 0, 1, 64, 64); /* most entries without a place */
    printf("moe: done\n");
}

/* ---- speed ----------------------------------------------------------------------------------- */

struct bench {
    struct problem p;
    struct kern_grouped up, down;
    struct kern_route route;
    struct kern_combine combine;
    size_t up_values, down_values; /* of a layer */
    int n_layers;
};

static void run_up(void *context, int i)
{
    struct bench *b = context;
    struct kern_grouped a = b->up;

    a.weights += (size_t)(i % b->n_layers) * b->up_values;
    CU(kern_grouped(a, 0));
}

static void run_down(void *context, int i)
{
    struct bench *b = context;
    struct kern_grouped a = b->down;

    a.weights += (size_t)(i % b->n_layers) * b->down_values;
    CU(kern_grouped(a, 0));
}

static void run_route(void *context, int i)
{
    struct bench *b = context;

    (void)i;
    CU(kern_route(b->route, 0));
}

static void run_sort(void *context, int i)
{
    struct bench *b = context;

    (void)i;
    launch_sort(&b->p, b->p.tile_places);
}

static void run_combine(void *context, int i)
{
    struct bench *b = context;

    (void)i;
    CU(kern_combine(b->combine, 0));
}

/* Shares from a third of the mean up to five thirds, as routers of random weights have them. */
static int pick_unevenly(int experts)
{
    int id = check_pick(0, experts - 1);

    while (check_pick(0, 5 * experts) > experts + 4 * (id * 7 % experts))
        id = check_pick(0, experts - 1);
    return id;
}

static void bench_shape(const char *model, int rows, int used, int experts, int hidden, int ff,
                        bool is_even)
{
    struct bench b = {.p = {.rows = rows, .used = used, .experts = experts, .held = experts}};
    int entries = rows * used, tile = kern_tile_places(entries, experts), chosen = 0;
    double flops = 2.0 * entries * hidden * ff, bytes = 2.0 * hidden * ff;

    open_problem(&b.p);
    for (int i = 0; i < entries; i++)
        b.p.ids[i] = is_even ? (i * 7 + i / experts) % experts : pick_unevenly(experts);
    CU(cudaMemcpy(b.p.b_ids.p, b.p.ids, (size_t)entries * 4, cudaMemcpyHostToDevice));
    chosen = entries < experts ? entries : experts;
    b.up_values = (size_t)experts * 2 * ff * hidden, b.down_values = b.up_values / 2;
    b.n_layers = (int)((size_t)(1 << 30) / (b.up_values * 2)) + 2;
    struct check_buffer up = check_device(b.up_values * 2 * b.n_layers);
    struct check_buffer down = check_device(b.down_values * 2 * b.n_layers);
    struct check_buffer in = check_device((size_t)rows * hidden * 2);
    struct check_buffer act = check_device((size_t)entries * ff * 2);
    struct check_buffer out = check_device((size_t)entries * hidden * 2);
    struct check_buffer weights = check_device((size_t)entries * 4);
    struct check_buffer sum = check_device((size_t)rows * hidden * 4);
    CU(kern_fill_noise(up.p, b.up_values * b.n_layers, 0.1f, 0));
    CU(kern_fill_noise(down.p, b.down_values * b.n_layers, 0.1f, 0));
    CU(kern_fill_noise(in.p, (size_t)rows * hidden, 1, 0));
    CU(kern_fill_noise(act.p, (size_t)entries * ff, 1, 0));
    CU(cudaMemset(weights.p, 0, weights.bytes));
    CU(cudaMemset(sum.p, 0, sum.bytes));
    launch_sort(&b.p, tile);
    b.up = (struct kern_grouped){.in = in.p,
                                 .rows = b.p.b_rows.p,
                                 .weights = up.p,
                                 .out = act.p,
                                 .tiles = b.p.b_tiles.p,
                                 .n_tiles = b.p.b_n_tiles.p,
                                 .max_tiles = b.p.max_tiles,
                                 .tile_places = tile,
                                 .n_held = experts,
                                 .n = 2 * ff,
                                 .k = hidden,
                                 .is_gated = true};
    b.down = b.up;
    b.down.in = act.p, b.down.rows = NULL, b.down.places = entries, b.down.weights = down.p,
    b.down.out = out.p;
    b.down.n = hidden, b.down.k = ff, b.down.is_gated = false;
    b.route = (struct kern_route){.in = in.p,
                                  .router = up.p,
                                  .ids = b.p.b_rows.p, /* not looked at afterwards */
                                  .weights = weights.p,
                                  .rows = rows,
                                  .hidden = hidden,
                                  .experts = experts,
                                  .used = used,
                                  .scale = 1};
    b.combine =
        (struct kern_combine){{out.p, b.p.b_places.p, weights.p, used}, NULL, sum.p, rows, hidden};
    double t_up = check_time(run_up, &b, 20), t_down = check_time(run_down, &b, 20);
    double t_sort = check_time(run_sort, &b, 20), t_combine = check_time(run_combine, &b, 20);
    double t_route = check_time(run_route, &b, 20);
    printf("  %-8s rows %5d%s tiles %3d  gate, up %8.2f us %4.0f TFLOP/s %5.0f GB/s  down %8.2f us "
           "%4.0f TFLOP/s %5.0f GB/s  route %6.2f  sort %6.2f  sum %6.2f us\n",
           model, rows, is_even ? "" : " unevenly", tile, t_up * 1e6, 2 * flops / t_up * 1e-12,
           2 * bytes * chosen / t_up * 1e-9, t_down * 1e6, flops / t_down * 1e-12,
           bytes * chosen / t_down * 1e-9, t_route * 1e6, t_sort * 1e6, t_combine * 1e6);
    check_release(&up, "bench up"), check_release(&down, "bench down");
    check_release(&in, "bench in"), check_release(&act, "bench activation");
    check_release(&out, "bench out"), check_release(&weights, "bench weights");
    check_release(&sum, "bench sum");
    close_problem(&b.p);
}

void bench_moe(void)
{
    static const int rows[] = {1, 8, 32, 64, 128, 256, 512, 1024, 2048, 8192};

    printf("mixtures of experts (weights rotate through 1 GiB and more)\n");
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++)
        bench_shape("phi-mini", rows[i], 2, 16, 4096, 960, true);
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++)
        if (rows[i] >= 512)
            bench_shape("phi-mini", rows[i], 2, 16, 4096, 960, false);
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i += 3)
        bench_shape("qwen-30b", rows[i], 8, 128, 2048, 768, true);
    bench_shape("mixtral", 1024, 2, 8, 4096, 14336, true);
}
