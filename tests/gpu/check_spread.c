/* SPDX-License-Identifier: Apache-2.0 */
/* The way back of experts' outputs that several ranks hold: here one GPU is all of them in turn. */
#include "config.h"

#include "check.h"

#include <stdio.h>
#include <stdlib.h>

#include "cuda/kern.h"

struct problem {
    int rows, used, experts, ranks, hidden;
    int start[9], width[8]; /* of the ranks */
    int32_t *ids;           /* (rows, used) */
    struct check_buffer b_ids, b_places, b_rows, b_tiles, b_n_tiles, b_back;
};

/* What the expert gives for the row: something that no other gives. */
static uint16_t output(const struct problem *p, int row, int expert, int i)
{
    return (uint16_t)((row * p->experts + expert) * 31 + i);
}

/* The outputs of one rank, as it would have computed them, to its part of b_back. */
static void collect(struct problem *p, int rank, int first_width)
{
    int entries = p->rows * p->used, held = p->start[rank + 1] - p->start[rank];
    size_t row = (size_t)p->hidden * 2;
    int32_t *places = malloc(sizeof(*places) * entries);
    uint16_t *out = calloc((size_t)entries, row);

    CU(kern_sort((struct kern_sort){.ids = p->b_ids.p,
                                    .places = p->b_places.p,
                                    .rows = p->b_rows.p,
                                    .tiles = p->b_tiles.p,
                                    .n_tiles = p->b_n_tiles.p,
                                    .entries = entries,
                                    .used = p->used,
                                    .first = p->start[rank],
                                    .n_held = held,
                                    .tile_places = KERN_TILE_PLACES},
                 0));
    check_download(places, &p->b_places);
    for (int i = 0; i < entries; i++)
        for (int k = 0; k < p->hidden && places[i] >= 0; k++)
            out[(size_t)places[i] * p->hidden + k] = output(p, i / p->used, p->ids[i], k);
    struct check_buffer b_out = check_upload(out, (size_t)entries * row);
    CU(kern_collect((struct kern_collect){.in = b_out.p,
                                          .places = p->b_places.p,
                                          .out = (uint16_t *)p->b_back.p +
                                                 (size_t)p->rows * first_width * p->hidden,
                                          .rows = p->rows,
                                          .used = p->used,
                                          .width = p->width[rank],
                                          .hidden = p->hidden},
                    0));
    CU(cudaDeviceSynchronize());
    check_release(&b_out, "spread out");
    free(places), free(out);
}

/* Every entry's output is found again; entries of experts that no rank holds have none. */
static void check_found(const struct problem *p, const struct kern_holder *holders, int widths)
{
    int entries = p->rows * p->used, n_wrong = 0;
    size_t values = (size_t)p->rows * widths * p->hidden;
    int32_t *places = malloc(sizeof(*places) * entries);
    uint16_t *back = malloc(values * 2);
    struct check_buffer b_holders = check_upload(holders, sizeof(*holders) * p->experts);

    CU(kern_find((struct kern_find){p->b_ids.p, b_holders.p, p->b_places.p, p->rows, p->used}, 0));
    check_download(places, &p->b_places);
    check_download(back, &p->b_back);
    for (int i = 0; i < entries; i++) {
        bool is_held = p->ids[i] >= p->start[0] && p->ids[i] < p->start[p->ranks];
        bool is_right = is_held ? places[i] >= 0 && places[i] < p->rows * widths : places[i] == -1;
        for (int k = 0; k < p->hidden && is_held && is_right; k++)
            is_right =
                back[(size_t)places[i] * p->hidden + k] == output(p, i / p->used, p->ids[i], k);
        n_wrong += !is_right;
    }
    check_that(n_wrong == 0, "spread: %d of %d entries are not found, %d of %d experts on %d ranks",
               n_wrong, entries, p->used, p->experts, p->ranks);
    check_release(&b_holders, "spread holders");
    free(places), free(back);
}

/* Experts [first, end) are shared out to the ranks. */
static void check_shape(int rows, int used, int experts, int ranks, int first, int end)
{
    struct problem p = {rows, used, experts, ranks, .hidden = 8 * check_pick(1, 20)};
    struct kern_holder holders[KERN_MAX_EXPERTS];
    int entries = rows * used, widths = 0;

    p.ids = malloc(sizeof(*p.ids) * entries);
    for (int r = 0; r < rows; r++) /* a stride prime to the number of experts: none twice */
        for (int i = 0, at = check_pick(0, experts - 1); i < used; i++)
            p.ids[r * used + i] = (at + 7 * i) % experts;
    for (int e = 0; e < experts; e++)
        holders[e] = (struct kern_holder){-1, 0};
    for (int i = 0; i <= ranks; i++)
        p.start[i] = first + (end - first) * i / ranks;
    for (int i = 0; i < ranks; widths += p.width[i++]) {
        int held = p.start[i + 1] - p.start[i];
        p.width[i] = held < used ? held : used;
        for (int e = p.start[i]; e < p.start[i + 1]; e++)
            holders[e] = (struct kern_holder){widths, p.width[i]};
    }
    p.b_ids = check_upload(p.ids, sizeof(*p.ids) * entries);
    p.b_places = check_device(sizeof(int32_t) * entries);
    p.b_rows = check_device(sizeof(int32_t) * entries);
    p.b_tiles =
        check_device((size_t)(entries / KERN_TILE_PLACES + experts) * sizeof(struct kern_tile));
    p.b_n_tiles = check_device(4);
    p.b_back = check_device((size_t)rows * widths * p.hidden * 2);
    for (int i = 0, before = 0; i < ranks; before += p.width[i++])
        collect(&p, i, before);
    check_found(&p, holders, widths);
    check_release(&p.b_ids, "spread ids");
    check_release(&p.b_places, "spread places");
    check_release(&p.b_rows, "spread rows");
    check_release(&p.b_tiles, "spread tiles");
    check_release(&p.b_n_tiles, "spread number of tiles");
    check_release(&p.b_back, "spread back");
    free(p.ids);
}

void check_spread(void)
{
    check_shape(1, 2, 8, 2, 0, 8);
    check_shape(check_pick(2, 300), 2, 8, 2, 0, 8);
    check_shape(check_pick(2, 300), 2, 8, 8, 0, 8);
    check_shape(check_pick(2, 300), 2, 16, 3, 0, 16);
    check_shape(check_pick(2, 300), 4, 60, 7, 0, 60);
    check_shape(check_pick(2, 300), 8, 128, 5, 64, 128); /* the part of one of two */
    printf("spread: done\n");
}
