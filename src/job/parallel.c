/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "job/parallel.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"

/* The first rank of every group puts its id; one fence serves them all. An id that cannot be made
 * is told, too: who needs it says so. */
static int exchange_ids(struct ant_parallel *parallel, const struct ant_layout *layout,
                        struct ant_job *job, struct ant_error *err)
{
    int replica = layout->tp_size * layout->pp_size, replica_root = layout->dp_rank * replica;
    int stage_root = replica_root + layout->pp_rank * layout->tp_size;
    int n_experts = layout->ep == ANT_EP_JOB ? layout->dp_size : 1;
    const struct {
        const char *key;
        int root;
        struct ant_device_id *id;
        int size;
    } groups[] = {
        {"antiphon.nccl.stage", stage_root, &parallel->stage_id, layout->tp_size},
        {"antiphon.nccl.replica", replica_root, &parallel->replica_id, layout->pp_size},
        {"antiphon.nccl.experts", layout->rank % replica, &parallel->experts_id, n_experts},
        {"antiphon.nccl.copies", layout->rank % replica, &parallel->copies_id, layout->dp_size},
    };
    enum { N_GROUPS = sizeof(groups) / sizeof(*groups) };
    struct ant_error why;

    for (int i = 0; i < N_GROUPS; i++) {
        if (groups[i].size == 1 || groups[i].root != layout->rank)
            continue;
        if (ant_device_id_make(groups[i].id, &why) < 0)
            ant_log(ANT_LOG_DEBUG, "nccl", "%s", why.text);
        ANT_TRY(ant_job_put(job, groups[i].key, groups[i].id, sizeof(*groups[i].id), err));
    }
    ANT_TRY(ant_job_fence(job, err));
    for (int i = 0; i < N_GROUPS; i++)
        if (groups[i].size > 1)
            ANT_TRY(ant_job_get(job, groups[i].root, groups[i].key, groups[i].id,
                                sizeof(*groups[i].id), err));
    return 0;
}

static int open_groups(struct ant_parallel *parallel, const struct ant_layout *layout,
                       struct ant_error *err)
{
    int replica = layout->tp_size * layout->pp_size, place = layout->rank % replica, rc = 0;
    int *ranks = ant_xcalloc((size_t)layout->world, sizeof(*ranks));

    for (int i = 0; i < replica; i++)
        ranks[i] = layout->dp_rank * replica + i;
    if (replica > 1)
        rc = ant_group_open(&parallel->replica, parallel->transport, parallel->cards, ranks,
                            replica, layout->rank, err);
    if (rc == 0 && layout->tp_size > 1)
        rc = ant_group_open(&parallel->stage, parallel->transport, parallel->cards,
                            ranks + layout->pp_rank * layout->tp_size, layout->tp_size,
                            layout->rank, err);
    for (int i = 0; i < layout->dp_size; i++)
        ranks[i] = i * replica + place;
    if (rc == 0 && layout->ep == ANT_EP_JOB && layout->dp_size > 1)
        rc = ant_group_open(&parallel->experts, parallel->transport, parallel->cards, ranks,
                            layout->dp_size, layout->rank, err);
    free(ranks);
    return rc;
}

/* Are the ranks of the stage on one host? */
static bool is_one_host(const struct ant_layout *layout, const struct ant_card *cards)
{
    int first = layout->rank - layout->tp_rank;

    for (int i = 1; i < layout->tp_size; i++)
        if (cards[first + i].node != cards[first].node)
            return false;
    return true;
}

int ant_parallel_open(struct ant_parallel *out, const struct ant_layout *layout,
                      struct ant_job *job, bool with_devices, struct ant_group *world,
                      const struct ant_card *cards, double timeout, struct ant_error *err)
{
    *out = (struct ant_parallel){
        .tp_rank = layout->tp_rank,
        .tp_size = layout->tp_size,
        .pp_rank = layout->pp_rank,
        .pp_size = layout->pp_size,
        .is_one_host = is_one_host(layout, cards),
    };
    if (with_devices && layout->world > 1)
        ANT_TRY(exchange_ids(out, layout, job, err));
    if (layout->tp_size * layout->pp_size == 1 &&
        (layout->ep != ANT_EP_JOB || layout->dp_size == 1))
        return 0;
    ANT_TRY(ant_transport_open(&out->transport, false, err));
    ANT_TRY(ant_group_share_address(world, out->transport, cards, &out->cards, timeout, err));
    return open_groups(out, layout, err);
}

void ant_parallel_close(struct ant_parallel *parallel)
{
    ant_group_close(parallel->experts);
    ant_group_close(parallel->stage);
    ant_group_close(parallel->replica);
    ant_transport_close(parallel->transport);
    free(parallel->cards);
    *parallel = (struct ant_parallel){0};
}
