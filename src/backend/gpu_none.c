/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "backend/gpu.h"

int ant_gpu_look(struct ant_gpu *out, int local_rank, struct ant_error *err)
{
    (void)local_rank;
    *out = (struct ant_gpu){0};
    return ant_fail(err, ANT_EUNSUPP, "this program was built without CUDA");
}

int ant_gpu_try_sum(double *seconds, size_t bytes, const struct ant_device_id *id, int rank, int n,
                    int local_rank, double timeout, struct ant_error *err)
{
    (void)seconds, (void)bytes, (void)id, (void)rank, (void)n, (void)local_rank, (void)timeout;
    return ant_fail(err, ANT_EUNSUPP, "this program was built without CUDA");
}
