/* SPDX-License-Identifier: Apache-2.0 */
/* What the ranks of a replica do together, over NCCL and on the step's own stream, so that it can
 * be captured with the rest of a step. */
#include "config.h"

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

void ant_cuda_clear(struct ant_backend *be, enum ant_slot slot)
{
    struct cuda_backend *cuda = cuda_of(be);

    if (!ant_cuda_is_on(cuda))
        return;
    ant_cuda_settle(cuda);
    ant_cuda_done(
        cuda, cudaMemsetAsync(cuda->slots[slot].data, 0, values_of(cuda, slot) * 4, cuda->stream),
        "clearing of a slot");
}

void ant_cuda_all_reduce(struct ant_backend *be, enum ant_slot slot)
{
    struct cuda_backend *cuda = cuda_of(be);

    if (!ant_cuda_is_on(cuda))
        return;
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

void ant_cuda_gather_logits(struct ant_backend *be)
{
    struct cuda_backend *cuda = cuda_of(be);
    const struct ant_parallel *parallel = cuda->config.parallel;
    size_t rows = (size_t)cuda->n_sampled;

    if (!ant_cuda_is_on(cuda))
        return;
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
