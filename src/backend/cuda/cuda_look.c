/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "backend/cuda/cuda.h"
#include "backend/gpu.h"
#include "base/clock.h"
#include "base/mem.h"

int ant_gpu_look(struct ant_gpu *out, int local_rank, struct ant_error *err)
{
    struct cudaDeviceProp prop;
    size_t free_bytes, total;
    int device;

    *out = (struct ant_gpu){0};
    cudaDriverGetVersion(&out->driver);
    cudaRuntimeGetVersion(&out->runtime);
    ANT_TRY(ant_cuda_device_of(local_rank, &device, &prop, err));
    snprintf(out->name, sizeof(out->name), "%.63s", prop.name);
    ANT_TRY(ant_backend_cuda.unit(local_rank, out->uuid, err));
    ANT_CUDA_TRY("cannot use the GPU", cudaSetDevice(device));
    ANT_CUDA_TRY("cannot ask for the GPU's memory", cudaMemGetInfo(&free_bytes, &total));
    out->free_bytes = (double)free_bytes;
    out->total_bytes = (double)total;
    return 0;
}

/* Wait until the stream is done, but not for ever: what waits for a peer that does not come never
 * ends by itself. */
static int wait_for(cudaStream_t stream, double until, struct ant_error *err)
{
    const struct timespec nap = {0, 200000};
    cudaError_t e;

    while ((e = cudaStreamQuery(stream)) == cudaErrorNotReady && ant_now() < until)
        nanosleep(&nap, NULL);
    if (e == cudaErrorNotReady)
        return ant_fail(err, ANT_EPEER, "the sum over the GPUs is not done in time");
    return e == cudaSuccess ? 0 : ant_cuda_fail(err, "sum over the GPUs", e);
}

/* Rank r brings r + 1 in every place: sums of integers are exact. */
static int check_sum(struct ant_device_group *group, float *data, size_t count, int rank, int n,
                     cudaStream_t stream, double until, struct ant_error *err)
{
    float *host = ant_xcalloc(count, sizeof(*host)), wanted = (float)n * (float)(n + 1) / 2;
    size_t wrong = 0;

    for (size_t i = 0; i < count; i++)
        host[i] = (float)(rank + 1);
    cudaError_t e =
        cudaMemcpyAsync(data, host, count * sizeof(*host), cudaMemcpyHostToDevice, stream);
    int rc = e == cudaSuccess ? 0 : ant_cuda_fail(err, "copy to the GPU", e);
    if (rc == 0)
        rc = ant_device_group_all_reduce(group, data, count, stream, err);
    if (rc == 0)
        rc = wait_for(stream, until, err);
    if (rc == 0) {
        e = cudaMemcpy(host, data, count * sizeof(*host), cudaMemcpyDeviceToHost);
        rc = e == cudaSuccess ? 0 : ant_cuda_fail(err, "copy from the GPU", e);
    }
    for (size_t i = 0; i < count && rc == 0; i++)
        wrong += host[i] != wanted;
    if (wrong > 0)
        rc = ant_fail(err, ANT_EDEVICE, "%zu of %zu sums over the GPUs are wrong", wrong, count);
    free(host);
    return rc;
}

static int time_sum(double *seconds, struct ant_device_group *group, float *data, size_t count,
                    cudaStream_t stream, double until, struct ant_error *err)
{
    enum { TIMES = 10 };
    double start = ant_now();

    for (int i = 0; i < TIMES; i++)
        ANT_TRY(ant_device_group_all_reduce(group, data, count, stream, err));
    ANT_TRY(wait_for(stream, until, err));
    *seconds = (ant_now() - start) / TIMES;
    return 0;
}

int ant_gpu_try_sum(double *seconds, size_t bytes, const struct ant_device_id *id, int rank, int n,
                    int local_rank, double timeout, struct ant_error *err)
{
    struct ant_device_group *group = NULL;
    struct cudaDeviceProp prop;
    cudaStream_t stream = NULL;
    size_t count = bytes / sizeof(float);
    double until = ant_now() + timeout;
    float *data = NULL;
    int device;

    ANT_TRY(ant_cuda_device_of(local_rank, &device, &prop, err));
    ANT_CUDA_TRY("cannot use the GPU", cudaSetDevice(device));
    ANT_CUDA_TRY("cannot take memory of the GPU", cudaMalloc((void **)&data, bytes));
    cudaError_t e = cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking);
    int rc = e == cudaSuccess ? 0 : ant_cuda_fail(err, "cannot make a stream", e);
    if (rc == 0)
        rc = ant_device_group_open(&group, id, rank, n, "whole job", timeout, err);
    if (rc == 0)
        rc = check_sum(group, data, count, rank, n, stream, until, err);
    if (rc == 0)
        rc = time_sum(seconds, group, data, count, stream, until, err);
    ant_device_group_close(group);
    if (stream)
        cudaStreamDestroy(stream);
    cudaFree(data);
    return rc;
}
