/* SPDX-License-Identifier: Apache-2.0 */
/* Planned products: every row has the bits of one chain of mma, for any number
 * of rows; the chain itself against double. */
#include "config.h"

#include "check.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "backend/cuda/gemm_plan.h"
#include "base/file.h"
#include "cuda/kern.h"

static void demand(int result, const struct ant_error *err)
{
    if (result == 0)
        return;
    printf("%s\n", err->text);
    exit(1);
}

struct operands {
    uint16_t *in, *weight, *bias, *initial;
    struct check_buffer b_in, b_weight, b_bias;
};

static void make_operands(struct operands *o, const struct ant_gemm_shape *shape, int rows)
{
    size_t n_in = (size_t)rows * shape->k, n_weight = (size_t)shape->n * shape->k;

    o->in = malloc(n_in * 2);
    o->weight = malloc(n_weight * 2);
    o->bias = malloc((size_t)shape->n * 2);
    check_fill_bf16(o->in, n_in, 1);
    check_fill_bf16(o->weight, n_weight, 0.1f);
    check_fill_bf16(o->bias, shape->n, 1);
    o->b_in = check_upload(o->in, n_in * 2);
    o->b_weight = check_upload(o->weight, n_weight * 2);
    o->b_bias = check_upload(o->bias, (size_t)shape->n * 2);
}

static void free_operands(struct operands *o)
{
    check_release(&o->b_in, "gemm in");
    check_release(&o->b_weight, "gemm weight");
    check_release(&o->b_bias, "gemm bias");
    free(o->in), free(o->weight), free(o->bias);
}

/* A few values of the chain's result against double. */
static void compare_reference(const struct operands *o, const struct ant_gemm_shape *shape,
                              int rows, const struct check_buffer *out)
{
    enum { SAMPLES = 200 };
    void *host = malloc(out->bytes);
    float got[SAMPLES];
    double want[SAMPLES];

    check_download(host, out);
    for (int i = 0; i < SAMPLES; i++) {
        int r = check_pick(0, rows - 1), j = check_pick(0, shape->n - 1);
        size_t at = (size_t)r * shape->n + j;
        want[i] = shape->has_bias ? check_float(o->bias[j]) : 0;
        want[i] += shape->out == ANT_GEMM_ADD ? 0.5 : 0;
        for (int k = 0; k < shape->k; k++)
            want[i] += (double)check_float(o->in[(size_t)r * shape->k + k]) *
                       check_float(o->weight[(size_t)j * shape->k + k]);
        got[i] =
            shape->out == ANT_GEMM_BF16 ? check_float(((uint16_t *)host)[at]) : ((float *)host)[at];
    }
    /* the matrix unit adds with less than float32's rounding: 2e-5 at k of 14336 */
    check_close("gemm chain", got, want, SAMPLES, shape->out == ANT_GEMM_BF16 ? 4e-3 : 5e-5);
    free(host);
}

static void start_out(const struct check_buffer *b, bool add)
{
    float *half = malloc(b->bytes);

    for (size_t i = 0; i < b->bytes / 4; i++)
        half[i] = 0.5f;
    if (add)
        CU(cudaMemcpy(b->p, half, b->bytes, cudaMemcpyHostToDevice));
    free(half);
}

static void check_rows_of(struct ant_gemm *gemm, int plan, const struct ant_gemm_shape *shape,
                          int rows)
{
    size_t bytes = (size_t)rows * shape->n * (shape->out == ANT_GEMM_BF16 ? 2 : 4);
    struct check_buffer out = check_device(bytes), want = check_device(bytes);
    int32_t count = 0;
    struct check_buffer b_count = check_upload(&count, sizeof(count));
    struct operands o;
    struct ant_error err;

    make_operands(&o, shape, rows);
    start_out(&out, shape->out == ANT_GEMM_ADD);
    start_out(&want, shape->out == ANT_GEMM_ADD);
    struct ant_gemm_call call = {
        .rows = rows, .in = o.b_in.p, .weight = o.b_weight.p, .bias = o.b_bias.p, .out = out.p};
    demand(ant_gemm_run(gemm, plan, &call, 0, &err), &err);
    struct kern_chain chain = {.in = o.b_in.p,
                               .weight = o.b_weight.p,
                               .bias = shape->has_bias ? o.b_bias.p : NULL,
                               .rows = rows,
                               .n = shape->n,
                               .k = shape->k,
                               .add = shape->out == ANT_GEMM_ADD};
    if (shape->out == ANT_GEMM_BF16)
        chain.out = want.p;
    else
        chain.out_f32 = want.p;
    CU(kern_chain(chain, 0));
    compare_reference(&o, shape, rows, &want);
    CU(kern_count_differences(out.p, want.p, bytes, b_count.p, 0));
    check_download(&count, &b_count);
    check_that(count == 0, "gemm %d x %d, %d rows: %d words differ from the chain", shape->n,
               shape->k, rows, count);
    free_operands(&o);
    check_release(&out, "gemm out");
    check_release(&want, "gemm reference");
    check_release(&b_count, "gemm count");
}

/* Factors of e4m3: against double, and a row's bits alone and among others. */
static void check_e4m3_rows_of(struct ant_gemm *gemm, int plan, const struct ant_gemm_shape *shape,
                               int rows)
{
    enum { SAMPLES = 200 };
    size_t n_in = (size_t)rows * shape->k, n_weight = (size_t)shape->n * shape->k;
    size_t row_bytes = (size_t)shape->n * (shape->out == ANT_GEMM_BF16 ? 2 : 4);
    uint8_t *in = malloc(n_in), *weight = malloc(n_weight);
    float *scales = malloc(sizeof(*scales) * (rows + shape->n)), got[SAMPLES];
    uint16_t *bias = malloc((size_t)shape->n * 2);
    double want[SAMPLES];
    char *host = malloc(rows * row_bytes), *one = malloc(row_bytes);
    struct ant_error err;

    for (size_t i = 0; i < n_in + n_weight; i++)
        *(i < n_in ? in + i : weight + i - n_in) =
            (uint8_t)(check_pick(3, 9) << 3 | check_pick(0, 7) | check_pick(0, 1) << 7);
    for (int i = 0; i < rows + shape->n; i++)
        scales[i] = 0.01f * (float)check_pick(1, 100);
    check_fill_bf16(bias, shape->n, 1);
    struct check_buffer b_in = check_upload(in, n_in), b_weight = check_upload(weight, n_weight);
    struct check_buffer b_in_scales = check_upload(scales, sizeof(*scales) * rows);
    struct check_buffer b_scales = check_upload(scales + rows, sizeof(*scales) * shape->n);
    struct check_buffer b_bias = check_upload(bias, (size_t)shape->n * 2);
    struct check_buffer out = check_device(rows * row_bytes), b_one = check_device(row_bytes);
    start_out(&out, shape->out == ANT_GEMM_ADD);
    start_out(&b_one, shape->out == ANT_GEMM_ADD);
    struct ant_gemm_call call = {rows,  b_in.p,        b_weight.p, b_bias.p,
                                 out.p, b_in_scales.p, b_scales.p};
    demand(ant_gemm_run(gemm, plan, &call, 0, &err), &err);
    int alone = check_pick(0, (rows - 1) / 8) * 8; /* scales have to lie at 32 bytes */
    call = (struct ant_gemm_call){1,          (uint8_t *)b_in.p + (size_t)alone * shape->k,
                                  b_weight.p, b_bias.p,
                                  b_one.p,    (float *)b_in_scales.p + alone,
                                  b_scales.p};
    demand(ant_gemm_run(gemm, plan, &call, 0, &err), &err);
    check_download(host, &out);
    check_download(one, &b_one);
    check_that(!memcmp(one, host + alone * row_bytes, row_bytes),
               "gemm of e4m3 %d x %d: row %d of %d has other bits alone", shape->n, shape->k, alone,
               rows);
    for (int i = 0; i < SAMPLES; i++) {
        int r = check_pick(0, rows - 1), j = check_pick(0, shape->n - 1);
        double sum = 0;
        for (int k = 0; k < shape->k; k++)
            sum += (double)check_e4m3(in[(size_t)r * shape->k + k]) *
                   check_e4m3(weight[(size_t)j * shape->k + k]);
        want[i] = sum * scales[r] * scales[rows + j] + (shape->out == ANT_GEMM_ADD ? 0.5 : 0) +
                  (shape->has_bias ? check_float(bias[j]) : 0);
        const char *at = host + (size_t)r * row_bytes;
        got[i] = shape->out == ANT_GEMM_BF16 ? check_float(((const uint16_t *)at)[j])
                                             : ((const float *)at)[j];
    }
    check_close("gemm of e4m3", got, want, SAMPLES, 8e-3);
    check_release(&b_in, "gemm in"), check_release(&b_weight, "gemm weight");
    check_release(&b_in_scales, "gemm scales"), check_release(&b_scales, "gemm scales");
    check_release(&b_bias, "gemm bias"), check_release(&out, "gemm out");
    check_release(&b_one, "gemm out");
    free(in), free(weight), free(scales), free(bias), free(host), free(one);
}

static void check_e4m3_products(struct ant_gemm *gemm)
{
    static const struct ant_gemm_shape shapes[] = {{960, 576, ANT_GEMM_BF16, true, true},
                                                   {3072, 576, ANT_GEMM_BF16, false, true},
                                                   {576, 1536, ANT_GEMM_ADD, false, true},
                                                   {4096, 14336, ANT_GEMM_ADD, false, true}};
    static const int rows[] = {1, 2, 7, 16, 17, 63, 130, 257, 600};
    struct cudaDeviceProp prop;
    struct ant_error err;
    int plan;

    CU(cudaGetDeviceProperties(&prop, 0));
    if (prop.major != 9) {
        printf("gemm: products of e4m3 are skipped, they need compute capability 9.0\n");
        return;
    }
    for (int i = 0; i < (check_quick ? 2 : 4); i++) {
        demand(ant_gemm_plan(gemm, &plan, &shapes[i], check_quick ? 64 : 1024, &err), &err);
        for (int r = 0; r < (check_quick ? 5 : 9); r++)
            check_e4m3_rows_of(gemm, plan, &shapes[i], rows[r]);
    }
    struct ant_gemm_shape odd = {24, 576, ANT_GEMM_BF16, false, true};
    check_that(ant_gemm_plan(gemm, &plan, &odd, 8, &err) == ANT_EUNSUPP,
               "gemm of e4m3: accepts 24 columns");
}

/* Plans survive in a file; a damaged or foreign file gives none. */
static void check_file(struct ant_gemm *gemm, const struct ant_gemm_shape *shape)
{
    char path[] = "/tmp/check-gpu-XXXXXX", *bytes;
    const struct ant_gemm_choice *a, *b;
    struct ant_gemm *other;
    struct ant_error err;
    size_t n_bytes;
    int plan, again, fd = mkstemp(path);

    check_that(fd >= 0, "gemm: cannot make '%s'", path);
    close(fd);
    demand(ant_gemm_plan(gemm, &plan, shape, 8, &err), &err);
    demand(ant_gemm_save(gemm, path, &err), &err);
    demand(ant_gemm_open(&other, &err), &err);
    check_that(ant_gemm_load(other, path, &err) > plan, "gemm: plans of a file are not taken");
    demand(ant_gemm_plan(other, &again, shape, 8, &err), &err);
    int n = ant_gemm_choices(gemm, plan, &a);
    check_that(again == plan && n == ant_gemm_choices(other, again, &b) &&
                   !memcmp(a, b, (size_t)n * sizeof(*a)),
               "gemm: plans of a file are not those that were saved");
    check_rows_of(other, again, shape, 9);
    ant_gemm_close(other);

    demand(ant_file_read(&bytes, &n_bytes, path, 1 << 20, &err), &err);
    demand(ant_gemm_open(&other, &err), &err);
    bytes[n_bytes - 1] ^= 1;
    demand(ant_file_write(path, bytes, n_bytes, &err), &err);
    check_that(ant_gemm_load(other, path, &err) == ANT_EDATA, "gemm: a changed file is taken");
    demand(ant_file_write(path, bytes, n_bytes - 5, &err), &err);
    check_that(ant_gemm_load(other, path, &err) == ANT_EDATA, "gemm: a short file is taken");
    bytes[9] ^= 1; /* in the name of the GPU */
    demand(ant_file_write(path, bytes, n_bytes, &err), &err);
    check_that(ant_gemm_load(other, path, &err) == 0, "gemm: another GPU's file is taken");
    demand(ant_file_write(path, bytes, 3, &err), &err);
    check_that(ant_gemm_load(other, path, &err) == 0, "gemm: a file of 3 bytes is taken");
    unlink(path);
    check_that(ant_gemm_load(other, path, &err) == 0, "gemm: an absent file is an error");
    ant_gemm_close(other);
    free(bytes);
}

/* Few rows: any shape, as the planner may choose another way. */
static void check_few_rows(void)
{
    for (int i = 0; i < (check_quick ? 4 : 40); i++) {
        struct ant_gemm_shape shape = {
            8 * check_pick(1, 90) - check_pick(0, 1), 16 * check_pick(1, 90),
            check_pick(0, 1) ? ANT_GEMM_BF16 : ANT_GEMM_ADD, check_pick(0, 1), false};
        int rows = check_pick(1, KERN_FEW_ROWS);
        size_t n = (size_t)rows * shape.n, bytes = n * (shape.out == ANT_GEMM_BF16 ? 2 : 4);
        struct check_buffer out[2] = {check_device(bytes), check_device(bytes)};
        void *host[2] = {malloc(bytes), malloc(bytes)};
        struct operands o;

        make_operands(&o, &shape, rows);
        for (int k = 0; k < 2; k++) {
            start_out(&out[k], shape.out == ANT_GEMM_ADD);
            struct kern_chain a = {.in = o.b_in.p,
                                   .weight = o.b_weight.p,
                                   .bias = shape.has_bias ? o.b_bias.p : NULL,
                                   .rows = rows,
                                   .n = shape.n,
                                   .k = shape.k,
                                   .add = shape.out == ANT_GEMM_ADD};
            if (shape.out == ANT_GEMM_BF16)
                a.out = out[k].p;
            else
                a.out_f32 = out[k].p;
            CU(k ? kern_few_rows(a, 0) : kern_chain(a, 0));
            check_download(host[k], &out[k]);
        }
        check_that(!memcmp(host[0], host[1], bytes),
                   "few rows: %d of %d x %d differ from the chain", rows, shape.n, shape.k);
        for (int k = 0; k < 2; k++) {
            check_release(&out[k], "few rows out");
            free(host[k]);
        }
        free_operands(&o);
    }
}

/* The gated product against the product and the gated activation. */
static void check_few_rows_glu(void)
{
    for (int i = 0; i < (check_quick ? 4 : 30); i++) {
        struct ant_gemm_shape shape = {16 * check_pick(1, 60), 16 * check_pick(1, 60),
                                       ANT_GEMM_BF16, false, false};
        int rows = check_pick(1, KERN_FEW_ROWS), ff = shape.n / 2;
        size_t bytes = (size_t)rows * ff * 2;
        struct check_buffer both = check_device(2 * bytes);
        struct check_buffer out[2] = {check_device(bytes), check_device(bytes)};
        void *host[2] = {malloc(bytes), malloc(bytes)};
        struct operands o;

        make_operands(&o, &shape, rows);
        struct kern_chain a = {.in = o.b_in.p,
                               .weight = o.b_weight.p,
                               .out = both.p,
                               .rows = rows,
                               .n = shape.n,
                               .k = shape.k};
        CU(kern_few_rows(a, 0));
        CU(kern_glu((struct kern_glu){.in = both.p, .out = out[0].p, .rows = rows, .ff = ff}, 0));
        a.out = out[1].p;
        CU(kern_few_rows_glu(a, 0));
        for (int k = 0; k < 2; k++)
            check_download(host[k], &out[k]);
        check_that(!memcmp(host[0], host[1], bytes), "few rows, gated: %d of %d x %d differ", rows,
                   shape.n, shape.k);
        for (int k = 0; k < 2; k++) {
            check_release(&out[k], "gated few rows out");
            free(host[k]);
        }
        check_release(&both, "few rows before the gate");
        free_operands(&o);
    }
}

/* Few rows of e4m3 against double, whatever the shape; rows of 16 bytes and more. */
static void check_few_rows_e4m3(void)
{
    enum { SAMPLES = 200 };

    for (int i = 0; i < (check_quick ? 4 : 40); i++) {
        int rows = check_pick(1, KERN_FEW_ROWS), n = check_pick(1, 700);
        int k = 16 * check_pick(1, 200), kind = check_pick(0, 2); /* bf16, float32, added */
        size_t n_in = (size_t)rows * k, n_weight = (size_t)n * k, n_out = (size_t)rows * n;
        size_t bytes = n_out * (kind == 0 ? 2 : 4);
        uint8_t *in = malloc(n_in + n_weight), *weight = in + n_in;
        float *scales = malloc(sizeof(*scales) * (rows + n)), got[SAMPLES];
        uint16_t *bias = malloc((size_t)n * 2);
        double want[SAMPLES];
        char *host = malloc(bytes);

        for (size_t j = 0; j < n_in + n_weight; j++)
            in[j] = (uint8_t)(check_pick(3, 9) << 3 | check_pick(0, 7) | check_pick(0, 1) << 7);
        for (int j = 0; j < rows + n; j++)
            scales[j] = 0.01f * (float)check_pick(1, 100);
        check_fill_bf16(bias, n, 1);
        struct check_buffer b_in = check_upload(in, n_in),
                            b_weight = check_upload(weight, n_weight);
        struct check_buffer b_scales = check_upload(scales, sizeof(*scales) * rows);
        struct check_buffer b_weight_scales = check_upload(scales + rows, sizeof(*scales) * n);
        struct check_buffer b_bias = check_upload(bias, (size_t)n * 2), out = check_device(bytes);
        start_out(&out, kind == 2);
        CU(kern_few_rows_e4m3((struct kern_few_rows_e4m3){.in = b_in.p,
                                                          .weight = b_weight.p,
                                                          .in_scales = b_scales.p,
                                                          .weight_scales = b_weight_scales.p,
                                                          .bias = kind == 0 ? b_bias.p : NULL,
                                                          .out = kind == 0 ? out.p : NULL,
                                                          .out_f32 = kind == 0 ? NULL : out.p,
                                                          .rows = rows,
                                                          .n = n,
                                                          .k = k,
                                                          .add = kind == 2},
                              0));
        check_download(host, &out);
        for (int s = 0; s < SAMPLES; s++) {
            int r = check_pick(0, rows - 1), j = check_pick(0, n - 1);
            size_t at = (size_t)r * n + j;
            double sum = 0;
            for (int c = 0; c < k; c++)
                sum += (double)check_e4m3(in[(size_t)r * k + c]) *
                       check_e4m3(weight[(size_t)j * k + c]);
            want[s] = sum * scales[r] * scales[rows + j] + (kind == 2 ? 0.5 : 0) +
                      (kind == 0 ? check_float(bias[j]) : 0);
            got[s] = kind == 0 ? check_float(((uint16_t *)(void *)host)[at])
                               : ((float *)(void *)host)[at];
        }
        check_close("few rows of e4m3", got, want, SAMPLES, kind == 0 ? 4e-3 : 2e-5);
        check_release(&b_in, "few rows in"), check_release(&b_weight, "few rows weight");
        check_release(&b_scales, "few rows scales");
        check_release(&b_weight_scales, "few rows scales");
        check_release(&b_bias, "few rows bias"), check_release(&out, "few rows out");
        free(in), free(scales), free(bias), free(host);
    }
}

void check_gemm(void)
{
    static const struct ant_gemm_shape shapes[] = {
        {960, 576, ANT_GEMM_BF16, false, false},  {576, 576, ANT_GEMM_ADD, false, false},
        {4608, 3584, ANT_GEMM_BF16, true, false}, {576, 1536, ANT_GEMM_ADD, false, false},
        {49152, 576, ANT_GEMM_F32, false, false}, {4096, 4096, ANT_GEMM_ADD, false, false},
        {896, 4864, ANT_GEMM_BF16, true, false},  {4096, 14336, ANT_GEMM_ADD, false, false},
        {256, 64, ANT_GEMM_BF16, false, false}};
    static const int rows[] = {1, 2, 7, 8, 9, 31, 65, 100, 130, 257, 300};
    int max_rows = check_quick ? 16 : 300;
    struct ant_gemm *gemm;
    struct ant_error err;

    demand(ant_gemm_open(&gemm, &err), &err);
    for (size_t s = 0; s < (check_quick ? 2 : sizeof(shapes) / sizeof(*shapes)); s++) {
        int plan, again;
        demand(ant_gemm_plan(gemm, &plan, &shapes[s], max_rows, &err), &err);
        demand(ant_gemm_plan(gemm, &again, &shapes[s], 5, &err), &err);
        check_that(again == plan, "gemm: a second plan for one shape");
        for (size_t r = 0; r < sizeof(rows) / sizeof(*rows) && rows[r] <= max_rows; r++)
            check_rows_of(gemm, plan, &shapes[s], rows[r]);
    }
    check_file(gemm, &shapes[0]);
    struct ant_gemm_shape odd = {100, 100, ANT_GEMM_BF16, false, false};
    int plan;
    check_that(ant_gemm_plan(gemm, &plan, &odd, 8, &err) == ANT_EUNSUPP, "gemm: accepts k of 100");
    odd = (struct ant_gemm_shape){64, 64, ANT_GEMM_ADD, true, false};
    check_that(ant_gemm_plan(gemm, &plan, &odd, 8, &err) == ANT_EUNSUPP,
               "gemm: accepts a bias with a sum");
    check_e4m3_products(gemm);
    ant_gemm_close(gemm);
    check_few_rows();
    check_few_rows_glu();
    check_few_rows_e4m3();
    printf("gemm: done\n");
}

static void bench_shape(struct ant_gemm *gemm, const char *name, struct ant_gemm_shape shape,
                        int max_rows)
{
    const struct ant_gemm_choice *choices;
    struct timespec a, b;
    struct ant_error err;
    int plan;

    clock_gettime(CLOCK_MONOTONIC, &a);
    demand(ant_gemm_plan(gemm, &plan, &shape, max_rows, &err), &err);
    clock_gettime(CLOCK_MONOTONIC, &b);
    int n = ant_gemm_choices(gemm, plan, &choices);
    printf("  %s %d x %d, %s: tuned in %.2f s\n", name, shape.n, shape.k,
           shape.out == ANT_GEMM_ADD   ? "added"
           : shape.out == ANT_GEMM_F32 ? "float32"
                                       : "bf16",
           (double)(b.tv_sec - a.tv_sec) + (double)(b.tv_nsec - a.tv_nsec) * 1e-9);
    for (int i = 0; i < n; i++) {
        const struct ant_gemm_choice *c = &choices[i];
        double flops = 2.0 * c->rows * shape.n * shape.k;
        double bytes = 2.0 * shape.n * shape.k + 2.0 * c->rows * shape.k +
                       (shape.out == ANT_GEMM_BF16 ? 2.0 : 4.0) * c->rows * shape.n;
        printf("    rows %5d  %9.2f us  %4.0f TFLOP/s  %5.0f GB/s  (%d of %d in one chain)%s\n",
               c->rows, c->seconds * 1e6, flops / c->seconds * 1e-12, bytes / c->seconds * 1e-9,
               c->n_equal, c->n_tried, c->is_own ? "  own" : "");
    }
}

void bench_gemm(void)
{
    struct ant_gemm *gemm;
    struct ant_error err;

    demand(ant_gemm_open(&gemm, &err), &err);
    printf("products (median of five, caches flushed before each)\n");
    bench_shape(gemm, "llama-8b qkv",
                (struct ant_gemm_shape){6144, 4096, ANT_GEMM_BF16, false, false}, 8192);
    bench_shape(gemm, "llama-8b o", (struct ant_gemm_shape){4096, 4096, ANT_GEMM_ADD, false, false},
                8192);
    bench_shape(gemm, "llama-8b gate, up",
                (struct ant_gemm_shape){28672, 4096, ANT_GEMM_BF16, false, false}, 8192);
    bench_shape(gemm, "llama-8b down",
                (struct ant_gemm_shape){4096, 14336, ANT_GEMM_ADD, false, false}, 8192);
    bench_shape(gemm, "llama-8b output",
                (struct ant_gemm_shape){128256, 4096, ANT_GEMM_F32, false, false}, 1024);
    bench_shape(gemm, "smollm2 qkv", (struct ant_gemm_shape){960, 576, ANT_GEMM_BF16, false, false},
                8192);
    bench_shape(gemm, "smollm2 o", (struct ant_gemm_shape){576, 576, ANT_GEMM_ADD, false, false},
                8192);
    bench_shape(gemm, "smollm2 gate, up",
                (struct ant_gemm_shape){3072, 576, ANT_GEMM_BF16, false, false}, 8192);
    bench_shape(gemm, "smollm2 down",
                (struct ant_gemm_shape){576, 1536, ANT_GEMM_ADD, false, false}, 8192);
    bench_shape(gemm, "smollm2 output",
                (struct ant_gemm_shape){49152, 576, ANT_GEMM_F32, false, false}, 2048);
    ant_gemm_close(gemm);
}
