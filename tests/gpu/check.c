/* SPDX-License-Identifier: Apache-2.0 */
/* check-gpu [--quick] [--seed N] [attention|e4m3|gemm|model|moe|peers|rows|sampling|spread]
 * check-gpu --bench [decode|prefill|gemm|moe|peers|rows|sampling]
 * Exit status 0: all passed, 1: something failed, 77: no GPU to check on. */
#include "config.h"

#include "check.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { GUARD = 4096, GUARD_BYTE = 0xa5, POISON = 0xff };

bool check_quick;
double check_copy;

static uint64_t state = 1;
static int n_checks, n_failed;

void check_cuda(cudaError_t e, const char *call, const char *file, int line)
{
    if (e == cudaSuccess)
        return;
    printf("%s:%d: %s: %s\n", file, line, call, cudaGetErrorString(e));
    exit(1);
}

void check_seed(uint64_t seed)
{
    state = seed;
}

uint64_t check_random(void) /* splitmix64 */
{
    uint64_t z = (state += 0x9E3779B97F4A7C15u);

    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

int check_pick(int low, int high)
{
    return low + (int)(check_random() % (uint64_t)(high - low + 1));
}

float check_normal(void) /* nearly: four uniform numbers from one draw */
{
    uint64_t z = check_random();
    int sum =
        (int)(z & 0xffff) + (int)(z >> 16 & 0xffff) + (int)(z >> 32 & 0xffff) + (int)(z >> 48);

    return (float)(sum - 131070) * (1 / 37837.2f);
}

uint16_t check_bf16(float x)
{
    uint32_t bits;

    memcpy(&bits, &x, sizeof(bits));
    return (uint16_t)((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

float check_float(uint16_t x)
{
    uint32_t bits = (uint32_t)x << 16;
    float value;

    memcpy(&value, &bits, sizeof(value));
    return value;
}

float check_e4m3(uint8_t x)
{
    int exponent = x >> 3 & 15, mantissa = x & 7;
    float value =
        exponent ? ldexpf(8 + (float)mantissa, exponent - 10) : ldexpf((float)mantissa, -9);

    return (x & 127) == 127 ? NAN : x & 128 ? -value : value;
}

void check_fill_bf16(uint16_t *x, size_t n, float scale)
{
    for (size_t i = 0; i < n; i++)
        x[i] = check_bf16(check_normal() * scale);
}

void check_fill_float(float *x, size_t n, float scale)
{
    for (size_t i = 0; i < n; i++)
        x[i] = check_normal() * scale;
}

struct check_buffer check_device(size_t bytes)
{
    struct check_buffer b = {.bytes = bytes};

    CU(cudaMalloc((void **)&b.base, bytes + 2 * GUARD));
    b.p = b.base + GUARD;
    CU(cudaMemset(b.base, GUARD_BYTE, GUARD));
    CU(cudaMemset(b.p, POISON, bytes));
    CU(cudaMemset(b.base + GUARD + bytes, GUARD_BYTE, GUARD));
    return b;
}

struct check_buffer check_upload(const void *from, size_t bytes)
{
    struct check_buffer b = check_device(bytes);

    CU(cudaMemcpy(b.p, from, bytes, cudaMemcpyHostToDevice));
    return b;
}

void check_download(void *to, const struct check_buffer *from)
{
    CU(cudaDeviceSynchronize());
    CU(cudaMemcpy(to, from->p, from->bytes, cudaMemcpyDeviceToHost));
}

void check_release(struct check_buffer *b, const char *name)
{
    unsigned char guard[GUARD];
    int changed = 0;

    for (int side = 0; side < 2; side++) {
        CU(cudaMemcpy(guard, side ? (char *)b->p + b->bytes : b->base, GUARD,
                      cudaMemcpyDeviceToHost));
        for (int i = 0; i < GUARD; i++)
            changed += guard[i] != GUARD_BYTE;
    }
    check_that(changed == 0, "%s: %d guard bytes changed", name, changed);
    CU(cudaFree(b->base));
    *b = (struct check_buffer){0};
}

bool check_that(bool ok, const char *format, ...)
{
    va_list args;

    n_checks++;
    if (ok)
        return true;
    if (++n_failed > 40)
        return false;
    va_start(args, format);
    printf("FAILED ");
    vprintf(format, args);
    printf("\n");
    va_end(args);
    return false;
}

bool check_close(const char *name, const float *got, const double *want, size_t n, double limit)
{
    double error = 0, norm = 0, worst = 0;
    size_t worst_i = 0;

    for (size_t i = 0; i < n; i++) {
        double d = got[i] - want[i];
        if (!(fabs(d) <= worst)) {
            worst = fabs(d);
            worst_i = i;
        }
        error += d * d;
        norm += want[i] * want[i];
    }
    double relative = norm > 0 ? sqrt(error / norm) : sqrt(error);
    double typical = sqrt(norm / (double)(n ? n : 1));
    return check_that(relative <= limit && worst <= limit * 20 * (typical + 1e-6),
                      "%s: relative error %.2e (limit %.2e), worst at %zu: %g, not %g", name,
                      relative, limit, worst_i, n ? got[worst_i] : 0, n ? want[worst_i] : 0);
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double check_time(void (*launch)(void *context, int i), void *context, int n)
{
    enum { GROUPS = 7 };
    cudaEvent_t start, end;
    double seconds[GROUPS];

    CU(cudaEventCreate(&start));
    CU(cudaEventCreate(&end));
    for (int i = 0; i < 3; i++)
        launch(context, i);
    for (int g = 0; g < GROUPS; g++) {
        float ms;
        CU(cudaEventRecord(start, 0));
        for (int i = 0; i < n; i++)
            launch(context, i);
        CU(cudaEventRecord(end, 0));
        CU(cudaEventSynchronize(end));
        CU(cudaEventElapsedTime(&ms, start, end));
        seconds[g] = ms * 1e-3 / n;
    }
    CU(cudaEventDestroy(start));
    CU(cudaEventDestroy(end));
    qsort(seconds, GROUPS, sizeof(*seconds), by_value);
    return seconds[GROUPS / 2];
}

struct copy {
    char *to, *from;
    size_t bytes;
};

static void launch_copy(void *context, int i)
{
    struct copy *c = context;

    (void)i;
    CU(cudaMemcpyAsync(c->to, c->from, c->bytes, cudaMemcpyDeviceToDevice, 0));
}

static void measure_copy(void)
{
    struct copy c = {.bytes = (size_t)2 << 30};
    enum { BLOCK = 1 << 24 };
    uint64_t *random = malloc(BLOCK);

    for (int i = 0; i < BLOCK / 8; i++)
        random[i] = check_random();
    CU(cudaMalloc((void **)&c.from, c.bytes));
    CU(cudaMalloc((void **)&c.to, c.bytes));
    CU(cudaMemcpy(c.from, random, BLOCK, cudaMemcpyHostToDevice));
    for (size_t have = BLOCK; have < c.bytes; have *= 2)
        CU(cudaMemcpy(c.from + have, c.from, have, cudaMemcpyDeviceToDevice));
    check_copy = 2 * (double)c.bytes / check_time(launch_copy, &c, 5);
    CU(cudaFree(c.from));
    CU(cudaFree(c.to));
    free(random);
    printf("copy bandwidth %.0f GB/s (read + written)\n", check_copy * 1e-9);
}

static bool has_gpu(void)
{
    struct cudaDeviceProp prop;
    int n = 0;
    cudaError_t e = cudaGetDeviceCount(&n);

    if (e != cudaSuccess || n == 0) {
        printf("skipped: no GPU (%s)\n", cudaGetErrorString(e));
        return false;
    }
    CU(cudaGetDeviceProperties(&prop, 0));
    printf("%s, sm_%d%d, %d multiprocessors\n", prop.name, prop.major, prop.minor,
           prop.multiProcessorCount);
    return true;
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*check)(void), (*bench)(void);
    } parts[] = {{"attention", check_attention, NULL},
                 {"shared", check_shared, NULL},
                 {"decode", NULL, bench_decode},
                 {"prefill", NULL, bench_prefill},
                 {"gemm", check_gemm, bench_gemm},
                 {"rows", check_rows, bench_rows},
                 {"sampling", check_sampling, bench_sampling},
                 {"e4m3", check_e4m3_rows, NULL},
                 {"moe", check_moe, bench_moe},
                 {"spread", check_spread, NULL},
                 {"model", check_model, NULL},
                 {"peers", check_peers, bench_peers}};
    const char *only = NULL;
    bool bench = false;

    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--bench"))
            bench = true;
        else if (!strcmp(argv[i], "--quick"))
            check_quick = true;
        else if (!strcmp(argv[i], "--seed") && i + 1 < argc)
            check_seed(strtoull(argv[++i], NULL, 0));
        else
            only = argv[i];
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (!has_gpu())
        return getenv("ANTIPHON_REQUIRE") && strstr(getenv("ANTIPHON_REQUIRE"), "cuda") ? 1 : 77;
    if (bench)
        measure_copy();
    for (size_t i = 0; i < sizeof(parts) / sizeof(*parts); i++) {
        void (*run)(void) = bench ? parts[i].bench : parts[i].check;
        if (run && (!only || !strcmp(only, parts[i].name)))
            run();
    }
    if (!bench)
        printf("%d checks, %d failed\n", n_checks, n_failed);
    return n_failed ? 1 : 0;
}
