/* SPDX-License-Identifier: Apache-2.0 */
/* What the ranks of a replica do together, on the step's own stream, so that it can be captured
 * with the rest of a step: over each other's memory where they have it, else over NCCL. */
#include "config.h"

#include <string.h>

#include "backend/cuda/cuda.h"
#include "job/parallel.h"

/* Members of a group set up their GPUs at about the same time. */
#define START_S 120

/* A number through the pipeline, so that its stages are connected before a step is captured. */
static int pass_number(struct cuda_backend *cuda, struct ant_error *err)
{
    const struct ant_parallel *parallel = cuda->config.parallel;
    int size = parallel->tp_size, rank = parallel->pp_rank * size + parallel->tp_rank;
    float *number = cuda->slots[ANT_SLOT_RESIDUAL].data;

    if (parallel->pp_rank > 0)
        ANT_TRY(ant_device_group_receive(cuda->replica, rank - size, number, 1, cuda->stream, err));
    if (parallel->pp_rank < parallel->pp_size - 1)
        ANT_TRY(ant_device_group_send(cuda->replica, rank + size, number, 1, cuda->stream, err));
    ANT_CUDA_TRY("the stages of the pipeline cannot be connected",
                 cudaStreamSynchronize(cuda->stream));
    return 0;
}

int ant_cuda_parallel_open(struct cuda_backend *cuda, struct ant_error *err)
{
    const struct ant_parallel *parallel = cuda->config.parallel;

    if (!parallel)
        return 0;
    if (parallel->tp_size > 1)
        ANT_TRY(ant_cuda_peers_open(cuda, err));
    if (parallel->tp_size > 1 && !cuda->peers.is_open)
        ANT_TRY(ant_device_group_open(&cuda->stage, &parallel->stage_id, parallel->tp_rank,
                                      parallel->tp_size, "tensor parallel", START_S, err));
    if (parallel->pp_size == 1)
        return 0;
    int size = parallel->tp_size * parallel->pp_size;
    int rank = parallel->pp_rank * parallel->tp_size + parallel->tp_rank;
    ANT_TRY(ant_device_group_open(&cuda->replica, &parallel->replica_id, rank, size, "pipeline",
                                  START_S, err));
    return pass_number(cuda, err);
}

void ant_cuda_parallel_close(struct cuda_backend *cuda)
{
    ant_cuda_peers_close(cuda);
    ant_device_group_close(cuda->stage);
    ant_device_group_close(cuda->replica);
}

int ant_cuda_columns(const struct cuda_backend *cuda, int rank)
{
    const int *start = cuda->config.vocab_start;

    return (start[rank + 1] - start[rank] + 7) / 8 * 8;
}

int ant_cuda_most_columns(const struct cuda_backend *cuda)
{
    int most = 0;

    for (int i = 0; i < cuda->config.parallel->tp_size; i++)
        if (ant_cuda_columns(cuda, i) > most)
            most = ant_cuda_columns(cuda, i);
    return most;
}

static size_t values_of(const struct cuda_backend *cuda, enum ant_slot slot)
{
    return (size_t)ant_cuda_rows_of(cuda, slot) * (size_t)cuda->slots[slot].cols;
}

static void clear_now(struct cuda_backend *cuda, enum ant_slot slot)
{
    ant_cuda_done(
        cuda, cudaMemsetAsync(cuda->slots[slot].data, 0, values_of(cuda, slot) * 4, cuda->stream),
        "clearing of a slot");
}

/* RESIDUAL is cleared when something is added to it; a product may just store. */
void ant_cuda_clear(struct ant_backend *be, enum ant_slot slot)
{
    struct cuda_backend *cuda = cuda_of(be);

    if (!ant_cuda_is_on(cuda))
        return;
    ant_cuda_settle(cuda);
    cuda->has_late_clear = slot == ANT_SLOT_RESIDUAL;
    if (slot != ANT_SLOT_RESIDUAL)
        clear_now(cuda, slot);
}

void ant_cuda_settle_clear(struct cuda_backend *cuda)
{
    if (cuda->has_late_clear)
        clear_now(cuda, ANT_SLOT_RESIDUAL);
    cuda->has_late_clear = false;
}

void ant_cuda_sum(struct cuda_backend *cuda, enum ant_slot slot)
{
    const struct cuda_peers *peers = &cuda->peers;
    bool is_branch = slot == ANT_SLOT_BRANCH;
    struct kern_sum args = {.peers = ant_cuda_peers_of(cuda), .n = values_of(cuda, slot)};

    memcpy(args.data, is_branch ? peers->branch : peers->residual, sizeof(args.data));
    ant_cuda_done(cuda, kern_sum(args, cuda->stream), "sum of %d rows over %d GPUs",
                  ant_cuda_rows_of(cuda, slot), args.peers.n);
}

/* Few rows of RESIDUAL are summed by the norm that follows. */
static void sum_over_peers(struct cuda_backend *cuda, enum ant_slot slot)
{
    if (slot == ANT_SLOT_RESIDUAL && cuda->n_rows <= KERN_SUM_FEW_ROWS) {
        ant_cuda_settle_clear(cuda);
        cuda->has_late_sum = true;
        return;
    }
    ant_cuda_settle(cuda);
    ant_cuda_sum(cuda, slot);
}

void ant_cuda_all_reduce(struct ant_backend *be, enum ant_slot slot)
{
    struct cuda_backend *cuda = cuda_of(be);

    cuda->peers.n_sums++;
    if (!ant_cuda_is_on(cuda))
        return;
    if (cuda->peers.is_open) {
        sum_over_peers(cuda, slot);
        return;
    }
    ant_cuda_settle(cuda);
    cuda->failed = ant_device_group_all_reduce(cuda->stage, cuda->slots[slot].data,
                                               values_of(cuda, slot), cuda->stream, &cuda->error);
    ant_cuda_done(cuda, cudaSuccess, "all-reduce");
}

void ant_cuda_send(struct ant_backend *be, enum ant_slot slot, int to)
{
    struct cuda_backend *cuda = cuda_of(be);

    if (!ant_cuda_is_on(cuda))
        return;
    ant_cuda_settle(cuda);
    cuda->failed = ant_device_group_send(cuda->replica, to, cuda->slots[slot].data,
                                         values_of(cuda, slot), cuda->stream, &cuda->error);
    ant_cuda_done(cuda, cudaSuccess, "send");
}

void ant_cuda_receive(struct ant_backend *be, enum ant_slot slot, int from)
{
    struct cuda_backend *cuda = cuda_of(be);

    if (!ant_cuda_is_on(cuda))
        return;
    cuda->failed = ant_device_group_receive(cuda->replica, from, cuda->slots[slot].data,
                                            values_of(cuda, slot), cuda->stream, &cuda->error);
    ant_cuda_done(cuda, cudaSuccess, "receive");
}

/* The part of `rank` to its columns of LOGITS. */
static void place_part(struct cuda_backend *cuda, int rank)
{
    const int *start = cuda->config.vocab_start;
    float *to = (float *)cuda->slots[ANT_SLOT_LOGITS].data + start[rank];
    size_t width = (size_t)(start[rank + 1] - start[rank]) * 4;

    ant_cuda_done(cuda,
                  cudaMemcpy2DAsync(to, (size_t)cuda->vocab * 4, cuda->part,
                                    (size_t)ant_cuda_columns(cuda, rank) * 4, width,
                                    (size_t)cuda->n_sampled, cudaMemcpyDeviceToDevice,
                                    cuda->stream),
                  "logits of rank %d of the stage", rank);
}

/* This rank's columns into the LOGITS of the first. */
static void push_part(struct cuda_backend *cuda)
{
    const int *start = cuda->config.vocab_start;
    int rank = cuda->config.parallel->tp_rank;

    ant_cuda_done(cuda,
                  kern_gather((struct kern_gather){.peers = ant_cuda_peers_of(cuda),
                                                   .part = cuda->part,
                                                   .logits = cuda->peers.logits + start[rank],
                                                   .rows = cuda->n_sampled,
                                                   .width = start[rank + 1] - start[rank],
                                                   .stride = cuda->vocab,
                                                   .part_stride = cuda->columns},
                              cuda->stream),
                  "logits of the stage");
}

void ant_cuda_gather_logits(struct ant_backend *be)
{
    struct cuda_backend *cuda = cuda_of(be);
    const struct ant_parallel *parallel = cuda->config.parallel;
    size_t rows = (size_t)cuda->n_sampled;

    if (!ant_cuda_is_on(cuda))
        return;
    if (cuda->peers.is_open) {
        push_part(cuda);
        return;
    }
    if (parallel->tp_rank > 0) {
        cuda->failed = ant_device_group_send(
            cuda->stage, 0, cuda->part, rows * (size_t)cuda->columns, cuda->stream, &cuda->error);
        return;
    }
    place_part(cuda, 0);
    for (int rank = 1; rank < parallel->tp_size && !cuda->failed; rank++) {
        cuda->failed = ant_device_group_receive(cuda->stage, rank, cuda->part,
                                                rows * (size_t)ant_cuda_columns(cuda, rank),
                                                cuda->stream, &cuda->error);
        if (!cuda->failed)
            place_part(cuda, rank);
    }
}

void ant_cuda_share_drawn(struct ant_backend *be)
{
    struct cuda_backend *cuda = cuda_of(be);
    const struct ant_parallel *parallel = cuda->config.parallel;
    size_t n = (size_t)cuda->n_sampled;
    float *ids = (float *)(void *)cuda->drawn;

    if (!ant_cuda_is_on(cuda))
        return;
    if (cuda->peers.is_open) {
        struct kern_share args = {.peers = ant_cuda_peers_of(cuda), .n = cuda->n_sampled};
        memcpy(args.ids, cuda->peers.drawn, sizeof(args.ids));
        ant_cuda_done(cuda, kern_share(args, cuda->stream), "drawn ids of the stage");
        return;
    }
    if (parallel->tp_rank > 0)
        cuda->failed = ant_device_group_receive(cuda->stage, 0, ids, n, cuda->stream, &cuda->error);
    for (int rank = 1; rank < parallel->tp_size && parallel->tp_rank == 0 && !cuda->failed; rank++)
        cuda->failed = ant_device_group_send(cuda->stage, rank, ids, n, cuda->stream, &cuda->error);
    ant_cuda_done(cuda, cudaSuccess, "drawn ids of the stage");
}

static bool has_come(void *event)
{
    return cudaEventQuery(event) != cudaErrorNotReady;
}

/* A kernel that waits for a GPU whose rank is gone would wait for ever. Time in which this process
 * was stopped does not count: it is looked at so many times. */
int ant_cuda_parallel_wait(struct cuda_backend *cuda, cudaEvent_t done, struct ant_error *err)
{
    const struct ant_parallel *parallel = cuda->config.parallel;
    const double look_s = 1e-3;
    int rc = 0;

    for (int i = 0; rc == 0 && !has_come(done); i++) {
        rc = ant_group_attend(parallel->replica, look_s, has_come, done, err);
        if (rc == 0 && i * look_s > ANT_PARALLEL_TIMEOUT_S)
            rc = ant_fail(err, ANT_EPEER,
                          "a step of %d GPUs has not ended for %d s: one of them does not come",
                          ant_group_size(parallel->replica), ANT_PARALLEL_TIMEOUT_S);
    }
    cudaGetLastError(); /* not ready is no error */
    if (rc < 0)
        ant_cuda_peers_stop(cuda);
    return rc;
}
