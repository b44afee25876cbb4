/* SPDX-License-Identifier: Apache-2.0 */
/* Products of activations with weights through cuBLASLt, the same bits for a
 * row whatever the other rows.
 *
 *   out (rows, n) = in (rows, k) * weight (n, k)^T [+ bias (n)] [+ out]
 *
 * of bf16, or of e4m3 with a scale for each row of either.
 *
 * A plan holds, for a shape and each bucket of row counts, the fastest
 * algorithm among those that sum over k in one chain: splitting k is left out,
 * and each candidate must reproduce the bits of kern_chain on its first and
 * last rows; kern_few_rows is one of them. Of e4m3 they reproduce what the one chosen for most rows
 * makes of those. Planning runs the candidates on the device (a second or
 * two for a model); running allocates nothing and can be captured. Buffers are 256-byte aligned.
 * Thread: the engine thread, one stream at a time (a workspace is shared). */
#ifndef ANT_BACKEND_CUDA_GEMM_PLAN_H
#define ANT_BACKEND_CUDA_GEMM_PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cuda_runtime_api.h>

#include "base/error.h"

enum ant_gemm_out {
    ANT_GEMM_BF16, /* stored as bf16 */
    ANT_GEMM_F32,  /* stored as float32 */
    ANT_GEMM_ADD,  /* added to float32 */
};

struct ant_gemm_shape {
    int n, k; /* k a multiple of 16, n of 8; of e4m3 both of 16 */
    enum ant_gemm_out out;
    bool has_bias; /* of bf16; with ANT_GEMM_BF16 only */
    bool is_e4m3;
};

struct ant_gemm_call {
    int rows;
    const void *in, *weight, *bias; /* bias NULL without */
    void *out;
    const float *in_scales, *weight_scales; /* (rows), (n); of e4m3; 32-byte aligned */
};

/* What planning found for one bucket of rows, for reports. */
struct ant_gemm_choice {
    int rows;
    int n_tried, n_equal; /* algorithms run, and those of the reference's bits */
    bool is_own;          /* kern_few_rows was chosen */
    double seconds;       /* of the chosen one, weights not in cache */
};

struct ant_gemm;

int ant_gemm_open(struct ant_gemm **out, struct ant_error *err);
void ant_gemm_close(struct ant_gemm *gemm);

/* The number of a shape's plan for up to max_rows rows, made now if there is none. */
int ant_gemm_plan(struct ant_gemm *gemm, int *plan, const struct ant_gemm_shape *shape,
                  int max_rows, struct ant_error *err);

/* The number of the plan made for it, -1 if there is none. */
int ant_gemm_find(const struct ant_gemm *gemm, const struct ant_gemm_shape *shape, int max_rows);

int ant_gemm_run(struct ant_gemm *gemm, int plan, const struct ant_gemm_call *call,
                 cudaStream_t stream, struct ant_error *err);

/* Keep all plans in a file, and take those of a file that the same GPU, library and build wrote.
 * Loading returns the number of plans taken: 0 when there is no file or it is from elsewhere. A
 * damaged file is ANT_EDATA; nothing is taken from it, and planning works as without. */
int ant_gemm_save(const struct ant_gemm *gemm, const char *path, struct ant_error *err);
int ant_gemm_load(struct ant_gemm *gemm, const char *path, struct ant_error *err);

/* Choices of a plan, one a bucket; returns their number. */
int ant_gemm_choices(const struct ant_gemm *gemm, int plan, const struct ant_gemm_choice **out);

#endif
