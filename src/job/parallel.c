/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "job/parallel.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

/* Everybody's address on the new transport, in copies of the cards. */
static int exchange_addresses(struct ant_parallel *parallel, struct ant_group *world,
                              const struct ant_card *cards, double timeout, struct ant_error *err)
{
    int n = ant_group_size(world);
    size_t bytes, *sizes = ant_xcalloc((size_t)n, sizeof(*sizes));
    const void *mine = ant_transport_address(parallel->transport, &bytes);
    void *all = NULL;
    int rc = ant_group_all_gather_v(world, mine, bytes, &all, sizes, timeout, err);

    if (rc == 0) {
        unsigned char *address = parallel->addresses = all;
        parallel->cards = ant_xcalloc((size_t)n, sizeof(*cards));
        for (int i = 0; i < n; i++) {
            parallel->cards[i] = cards[i];
            parallel->cards[i].address = address;
            parallel->cards[i].address_bytes = sizes[i];
            address += sizes[i];
        }
    }
    free(sizes);
    return rc;
}

int ant_parallel_open(struct ant_parallel *out, const struct ant_layout *layout,
                      struct ant_group *world, const struct ant_card *cards, double timeout,
                      struct ant_error *err)
{
    int replica = layout->tp_size * layout->pp_size;

    *out = (struct ant_parallel){
        .tp_rank = layout->tp_rank,
        .tp_size = layout->tp_size,
        .pp_rank = layout->pp_rank,
        .pp_size = layout->pp_size,
    };
    if (replica == 1)
        return 0;
    ANT_TRY(ant_transport_open(&out->transport, err));
    ANT_TRY(exchange_addresses(out, world, cards, timeout, err));
    int *ranks = ant_xcalloc((size_t)replica, sizeof(*ranks));
    for (int i = 0; i < replica; i++)
        ranks[i] = layout->dp_rank * replica + i;
    int rc = ant_group_open(&out->replica, out->transport, out->cards, ranks, replica, layout->rank,
                            err);
    if (rc == 0 && out->tp_size > 1)
        rc = ant_group_open(&out->stage, out->transport, out->cards,
                            ranks + out->pp_rank * out->tp_size, out->tp_size, layout->rank, err);
    free(ranks);
    return rc;
}

void ant_parallel_close(struct ant_parallel *parallel)
{
    ant_group_close(parallel->stage);
    ant_group_close(parallel->replica);
    ant_transport_close(parallel->transport);
    free(parallel->cards);
    free(parallel->addresses);
    *parallel = (struct ant_parallel){0};
}
