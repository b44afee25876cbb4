/* SPDX-License-Identifier: Apache-2.0 */
/* What the GPU checks share: random data, device buffers between guard bytes,
 * comparison with a reference in double, timing. Thread: one. */
#ifndef ANT_TESTS_GPU_CHECK_H
#define ANT_TESTS_GPU_CHECK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cuda_runtime_api.h>

/* Stops the program with the expression when a CUDA call fails. */
#define CU(call) check_cuda((call), #call, __FILE__, __LINE__)
void check_cuda(cudaError_t e, const char *call, const char *file, int line);

/* Random numbers: one stream, seeded by the command line. */
void check_seed(uint64_t seed);
uint64_t check_random(void);
int check_pick(int low, int high); /* uniform in [low, high] */
float check_normal(void);

uint16_t check_bf16(float x); /* round to nearest even */
float check_float(uint16_t x);
float check_e4m3(uint8_t x); /* its value */
void check_fill_bf16(uint16_t *x, size_t n, float scale);
void check_fill_float(float *x, size_t n, float scale);

/* Device memory with 4 KiB of known bytes on either side, itself filled with
 * 0xff (NaN in every type used). */
struct check_buffer {
    char *base;
    void *p;
    size_t bytes;
};
struct check_buffer check_device(size_t bytes);
struct check_buffer check_upload(const void *from, size_t bytes);
void check_download(void *to, const struct check_buffer *from);
/* Release; complains when guard bytes have changed. */
void check_release(struct check_buffer *b, const char *name);

/* Counts a check; prints what failed. Returns ok. */
bool check_that(bool ok, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* ||got - want|| / ||want|| and the largest difference against limits. */
bool check_close(const char *name, const float *got, const double *want, size_t n, double limit);

/* Median seconds of a launch over repetitions; `launch` gets its number, so that it can rotate
 * among buffers. */
double check_time(void (*launch)(void *context, int i), void *context, int n);

extern bool check_quick;  /* small shapes only: under compute-sanitizer */
extern double check_copy; /* bytes/s of a large device copy, read + written; 0: not measured */

void check_attention(void);
void check_shared(void);
void check_e4m3_rows(void);
void check_gemm(void);
void check_model(void);
void check_moe(void);
void check_peers(void);
void check_rows(void);
void check_sampling(void);
void check_spread(void);
void bench_decode(void);
void bench_gemm(void);
void bench_moe(void);
void bench_peers(void);
void bench_prefill(void);
void bench_rows(void);
void bench_sampling(void);

#endif
