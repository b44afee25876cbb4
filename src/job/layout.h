/* SPDX-License-Identifier: Apache-2.0 */
/* Ranks to roles: data, tensor, pipeline parallel. Pure integers, no library;
 * tested without a launcher. */
#ifndef ANT_JOB_LAYOUT_H
#define ANT_JOB_LAYOUT_H

#include "base/error.h"
#include "job/launch.h"

/* Where a model's experts are (expert parallel). */
enum ant_ep {
    ANT_EP_NONE,    /* each on all tensor parallel ranks of a replica, split as the rest of it is */
    ANT_EP_REPLICA, /* each whole on one of those ranks */
    ANT_EP_JOB, /* each whole on one rank of the job: what ANT_EP_REPLICA gives a tensor parallel
                   rank is spread over the ranks of the same place in all replicas */
};

struct ant_layout {
    enum ant_ep ep; /* not by ant_layout_init */
    int world, dp_size, tp_size, pp_size;
    int rank, dp_rank, tp_rank,
        pp_rank; /* rank = (dp_rank * pp_size + pp_rank) * tp_size + tp_rank */
};

/* dp_size 0: world / (tp * pp). ANT_EUSAGE with the numbers when it does not
 * fit. */
int ant_layout_init(struct ant_layout *out, int rank, int world, int dp_size, int tp_size,
                    int pp_size, struct ant_error *err);

/* The table of the banner: one line a host, which ranks and roles it holds.
 * Caller frees. */
char *ant_layout_describe(const struct ant_layout *layout, const struct ant_card *cards);

#endif
