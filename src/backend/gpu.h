/* SPDX-License-Identifier: Apache-2.0 */
/* A look at a rank's GPU before anything is loaded, for antiphon doctor: which it is, whether its
 * driver serves this program, and whether the GPUs of all ranks can add up numbers together. In a
 * build without CUDA there is none. Thread: that of the device. */
#ifndef ANT_BACKEND_GPU_H
#define ANT_BACKEND_GPU_H

#include <stddef.h>

#include "base/error.h"
#include "job/device_group.h"

/* Plain data: it travels to other ranks. */
struct ant_gpu {
    int driver, runtime; /* CUDA versions, 13000 is 13.0; known also where no GPU can be used. 0: no
                            driver; no CUDA */
    char name[64], uuid[64];
    double total_bytes, free_bytes;
};

/* That of the rank with this local number. Errors: none can be used, and why. */
int ant_gpu_look(struct ant_gpu *out, int local_rank, struct ant_error *err);

/* Collective over `n` ranks with a GPU each: sums of `bytes` that are known beforehand are taken
 * and checked, then timed. Errors: ANT_EDEVICE, ANT_EPEER, also when that takes longer than
 * `timeout` seconds. */
int ant_gpu_try_sum(double *seconds, size_t bytes, const struct ant_device_id *id, int rank, int n,
                    int local_rank, double timeout, struct ant_error *err);

#endif
