/* SPDX-License-Identifier: Apache-2.0 */
/* Memory that the GPUs of a stage have of each other, where they are of one host and it lets them:
 * every rank's workspace is opened by the others. What they do over it is in kernels/cuda/peers.cu;
 * elsewhere NCCL does it. */
#include "config.h"

#include <stdio.h>
#include <string.h>

#include "backend/cuda/cuda.h"
#include "base/log.h"
#include "job/group.h"

/* Members of a group set up their GPUs at about the same time; they end together, too. */
enum { START_S = 120, END_S = 10 };

/* What a rank tells the others: its workspace, and where in it are the things that they use. */
struct card {
    cudaIpcMemHandle_t memory;
    size_t box, residual, branch, logits, drawn;
    int32_t is_there;
    char why[128]; /* not */
};

bool ant_cuda_peers_wanted(const struct cuda_backend *cuda)
{
    const struct ant_parallel *parallel = cuda->config.parallel;

    return parallel && parallel->tp_size > 1 && parallel->tp_size <= KERN_MAX_PEERS &&
           parallel->is_one_host;
}

static size_t place_of(const struct cuda_backend *cuda, const void *data)
{
    return data ? (size_t)((const char *)data - cuda->workspace) : 0;
}

/* This rank's card; without the driver's leave it says why. */
static struct card make_card(struct cuda_backend *cuda)
{
    struct cuda_peers *peers = &cuda->peers;
    struct card card = {
        .box = place_of(cuda, cuda->box),
        .residual = place_of(cuda, cuda->slots[ANT_SLOT_RESIDUAL].data),
        .branch = place_of(cuda, cuda->slots[ANT_SLOT_BRANCH].data),
        .logits = place_of(cuda, cuda->slots[ANT_SLOT_LOGITS].data),
        .drawn = place_of(cuda, cuda->drawn),
    };
    cudaError_t e = cudaMemset(cuda->box, 0,
                               kern_peers_bytes(cuda->config.parallel->tp_size, cuda->arch.hidden));

    if (e == cudaSuccess)
        e = cudaDeviceSynchronize();
    if (e == cudaSuccess)
        e = cudaHostAlloc((void **)&peers->stop, sizeof(*peers->stop), cudaHostAllocMapped);
    if (e == cudaSuccess)
        e = cudaIpcGetMemHandle(&card.memory, cuda->workspace);
    card.is_there = e == cudaSuccess;
    if (e != cudaSuccess)
        snprintf(card.why, sizeof(card.why), "%s", cudaGetErrorString(e));
    cudaGetLastError();
    return card;
}

/* The memory of all, opened here. */
static void open_memory(struct cuda_backend *cuda, const struct card *cards, struct card *mine)
{
    struct cuda_peers *peers = &cuda->peers;
    const struct ant_parallel *parallel = cuda->config.parallel;

    for (int i = 0; i < parallel->tp_size && mine->is_there; i++) {
        if (i == parallel->tp_rank) {
            peers->memory[i] = cuda->workspace;
        } else if (!cards[i].is_there) {
            mine->is_there = false;
            memcpy(mine->why, cards[i].why, sizeof(mine->why));
            break;
        } else {
            cudaError_t e = cudaIpcOpenMemHandle((void **)&peers->memory[i], cards[i].memory,
                                                 cudaIpcMemLazyEnablePeerAccess);
            mine->is_there = e == cudaSuccess;
            snprintf(mine->why, sizeof(mine->why), "%s", cudaGetErrorString(e));
            if (e != cudaSuccess)
                peers->memory[i] = NULL;
            cudaGetLastError();
        }
        char *memory = peers->memory[i];
        peers->kern.box[i] = memory + cards[i].box;
        peers->residual[i] = (float *)(void *)(memory + cards[i].residual);
        peers->branch[i] = (float *)(void *)(memory + cards[i].branch);
        peers->drawn[i] = (int32_t *)(void *)(memory + cards[i].drawn);
    }
    peers->logits = (float *)(void *)(peers->memory[0] + cards[0].logits);
}

/* Collective over the stage: all use each other's memory, or none does. */
int ant_cuda_peers_open(struct cuda_backend *cuda, struct ant_error *err)
{
    struct ant_group *stage = cuda->config.parallel->stage;
    struct cuda_peers *peers = &cuda->peers;
    struct card cards[KERN_MAX_PEERS], card;
    int n = cuda->config.parallel->tp_size;

    if (!ant_cuda_peers_wanted(cuda))
        return 0;
    card = make_card(cuda);
    ANT_TRY(ant_group_all_gather(stage, &card, sizeof(card), cards, START_S, err));
    open_memory(cuda, cards, &card);
    ANT_TRY(ant_group_all_gather(stage, &card, sizeof(card), cards, START_S, err));
    peers->is_open = true;
    for (int i = 0; i < n && peers->is_open; i++) {
        peers->is_open = cards[i].is_there;
        if (!peers->is_open)
            ant_log(ANT_LOG_INFO, "cuda",
                    "sums over the GPUs of a replica go through NCCL: rank %d of %d cannot have "
                    "the others' memory: %s",
                    i, n, cards[i].why);
    }
    peers->kern.rank = cuda->config.parallel->tp_rank;
    peers->kern.n = n;
    peers->kern.base = ant_cuda_integers(cuda, 0) + CUDA_SUMS_AT;
    peers->kern.stop = peers->stop;
    return 0;
}

void ant_cuda_peers_stop(struct cuda_backend *cuda)
{
    if (cuda->peers.stop)
        *(volatile int32_t *)cuda->peers.stop = 1;
}

/* Nobody gives memory back that others still have. */
void ant_cuda_peers_close(struct cuda_backend *cuda)
{
    struct cuda_peers *peers = &cuda->peers;
    struct ant_error why;

    for (int i = 0; i < KERN_MAX_PEERS; i++)
        if (peers->memory[i] && i != peers->kern.rank)
            cudaIpcCloseMemHandle(peers->memory[i]);
    if (peers->is_open && !cuda->failed)
        ant_group_barrier(cuda->config.parallel->stage, END_S, &why);
    cudaFreeHost(peers->stop);
    *peers = (struct cuda_peers){0};
}

/* The GPUs of the stage for the sum at hand, or for what comes behind it. */
struct kern_peers ant_cuda_peers_of(const struct cuda_backend *cuda)
{
    struct kern_peers kern = cuda->peers.kern;

    kern.call = (int)(cuda->peers.n_sums - cuda->peers.n_before);
    return kern;
}
