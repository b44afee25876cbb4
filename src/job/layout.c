/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "job/layout.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

int ant_layout_init(struct ant_layout *out, int rank, int world, int dp_size, int tp_size,
                    int pp_size, struct ant_error *err)
{
    int64_t replica = (int64_t)tp_size * pp_size; /* ranks of one model instance */
    const char *more = world == 1 ? ": srun -n or mpirun -n starts more" : "";

    if (world < 1 || rank < 0 || rank >= world)
        return ant_fail(err, ANT_EBUG, "rank %d of a job of %d ranks", rank, world);
    if (tp_size < 1)
        return ant_fail(err, ANT_EUSAGE, "tp size %d is below 1", tp_size);
    if (pp_size < 1)
        return ant_fail(err, ANT_EUSAGE, "pp size %d is below 1", pp_size);
    if (dp_size < 0)
        return ant_fail(err, ANT_EUSAGE, "dp size %d is below 0", dp_size);
    if (dp_size == 0 && world % replica != 0)
        return ant_fail(err, ANT_EUSAGE,
                        "tp %d x pp %d needs a multiple of %lld ranks, the job has %d%s", tp_size,
                        pp_size, (long long)replica, world, more);
    if (dp_size == 0)
        dp_size = (int)(world / replica);
    /* Compared by division: the product of three sizes may not fit. */
    if (replica > world || world % replica != 0 || world / replica != dp_size)
        return ant_fail(err, ANT_EUSAGE, "dp %d x tp %d x pp %d needs %.0f ranks, the job has %d%s",
                        dp_size, tp_size, pp_size, (double)replica * dp_size, world, more);
    *out = (struct ant_layout){
        .world = world,
        .dp_size = dp_size,
        .tp_size = tp_size,
        .pp_size = pp_size,
        .rank = rank,
        .dp_rank = (int)(rank / replica),
        .tp_rank = rank % tp_size,
        .pp_rank = rank / tp_size % pp_size,
    };
    return 0;
}

/* ---- the table for people -------------------------------------------------------------------- */

/* A set of small numbers, and its text: "0-3,8". */
struct set {
    bool *has; /* (limit) */
    int limit;
};

static struct set make_set(int limit)
{
    return (struct set){ant_xcalloc((size_t)limit, sizeof(bool)), limit};
}

static char *take_text(struct set *set)
{
    struct ant_buf text = {0};

    for (int first = 0; first < set->limit; first++) {
        int last = first;

        if (!set->has[first])
            continue;
        while (last + 1 < set->limit && set->has[last + 1])
            last++;
        ant_buf_printf(&text, text.len ? ",%d" : "%d", first);
        if (last > first)
            ant_buf_printf(&text, "-%d", last);
        first = last;
    }
    ant_buf_add(&text, "", 1);
    free(set->has);
    return text.data;
}

enum { NODE, RANKS, DP, TP, PP, CORES, N_COLUMNS };

static void append_row(struct ant_buf *out, const struct ant_layout *layout,
                       const char *const cell[N_COLUMNS])
{
    ant_buf_printf(out, "  %-16s %-12s %-12s", cell[NODE], cell[RANKS], cell[DP]);
    if (layout->tp_size > 1)
        ant_buf_printf(out, " %-8s", cell[TP]);
    if (layout->pp_size > 1)
        ant_buf_printf(out, " %-8s", cell[PP]);
    ant_buf_printf(out, " %s\n", cell[CORES]);
}

static bool is_same_node(const struct ant_card *a, const struct ant_card *b)
{
    return a->node == b->node && strcmp(a->node_name, b->node_name) == 0;
}

/* The row of the node of rank `first`; marks its ranks as done. */
static void append_node(struct ant_buf *out, const struct ant_layout *layout,
                        const struct ant_card *cards, int first, bool *is_done)
{
    struct set ranks = make_set(layout->world), dp = make_set(layout->dp_size);
    struct set tp = make_set(layout->tp_size), pp = make_set(layout->pp_size);
    const struct ant_card *card = &cards[first];
    bool same_cores = true;
    char *cell[N_COLUMNS];

    for (int i = first; i < layout->world; i++) {
        if (!is_same_node(&cards[i], card))
            continue;
        is_done[i] = true;
        ranks.has[i] = true;
        dp.has[i / layout->tp_size / layout->pp_size] = true;
        tp.has[i % layout->tp_size] = true;
        pp.has[i / layout->tp_size % layout->pp_size] = true;
        same_cores = same_cores && strcmp(cards[i].cores, card->cores) == 0;
    }
    cell[NODE] = ant_xstrdup(card->node_name);
    cell[RANKS] = take_text(&ranks);
    cell[DP] = take_text(&dp);
    cell[TP] = take_text(&tp);
    cell[PP] = take_text(&pp);
    cell[CORES] =
        same_cores ? ant_xstrdup(card->cores) : ant_xasprintf("%d to each rank", card->n_cores);
    append_row(out, layout, (const char *const *)cell);
    for (int i = 0; i < N_COLUMNS; i++)
        free(cell[i]);
}

char *ant_layout_describe(const struct ant_layout *layout, const struct ant_card *cards)
{
    static const char *const head[N_COLUMNS] = {"node", "ranks", "dp", "tp", "pp", "cores"};
    bool *is_done = ant_xcalloc((size_t)layout->world, sizeof(*is_done));
    struct ant_buf out = {0};

    append_row(&out, layout, head);
    for (int i = 0; i < layout->world; i++)
        if (!is_done[i])
            append_node(&out, layout, cards, i, is_done);
    ant_buf_add(&out, "", 1);
    free(is_done);
    return out.data;
}
