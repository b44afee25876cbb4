/* SPDX-License-Identifier: Apache-2.0 */
/* Rows that become e4m3: norms, gated activations, plain ones, keys and values in the cache. */
#include "config.h"

#include "check.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cuda/kern.h"

/* A row of e4m3 is what `want` rounds to, when its largest value becomes 448. */
static void compare_row(const char *name, const uint8_t *got, float largest, const double *want,
                        int n)
{
    double most = 0, unit = (double)largest / 448, worst = 0;
    int at = 0;

    for (int i = 0; i < n; i++)
        most = fmax(most, fabs(want[i]));
    check_that(fabs(largest - most) <= 4e-3 * most, "%s: the largest of a row is %g, not %g", name,
               (double)largest, most);
    for (int i = 0; i < n; i++) {
        double step = fmax(fabs(want[i]) / 16, unit / 1024) + 4e-3 * fabs(want[i]) + 1e-30;
        double off = fabs(check_e4m3(got[i]) * unit - want[i]) / step;
        if (!(off <= worst)) {
            worst = off;
            at = i;
        }
    }
    check_that(worst <= 1.001, "%s: value %d of %d is %g, not %g", name, at, n,
               check_e4m3(got[at]) * unit, want[at]);
}

/* ---- rows ------------------------------------------------------------------------------------ */

enum kind { PLAIN, GATED, NORM };
static const char *const names[] = {"row of e4m3", "gated row of e4m3", "norm of e4m3"};

/* What row `r` should be. */
static void row_reference(double *want, enum kind kind, const float *x, const uint16_t *in,
                          const float *weight, int r, int n)
{
    const uint16_t *row = in + (size_t)r * n * (kind == GATED ? 2 : 1);
    double sum = 0;

    for (int i = 0; i < n; i++)
        sum += (double)x[(size_t)r * n + i] * x[(size_t)r * n + i];
    for (int i = 0; i < n; i++) {
        double gate = check_float(row[i]);
        want[i] = kind == PLAIN   ? gate
                  : kind == GATED ? gate / (1 + exp(-gate)) * check_float(row[n + i])
                                  : x[(size_t)r * n + i] / sqrt(sum / n + 1e-5) * weight[i];
    }
}

static void check_rows_of(enum kind kind, int rows, int n)
{
    size_t total = (size_t)rows * n;
    float *x = malloc(sizeof(*x) * total), *weight = malloc(sizeof(*weight) * n);
    float *scales = malloc(sizeof(*scales) * rows);
    uint16_t *in = calloc(total, 4);
    uint8_t *got = malloc(total);
    double *want = malloc(sizeof(*want) * n);

    check_fill_float(x, total, 3);
    check_fill_float(weight, n, 1);
    check_fill_bf16(in, 2 * total, 4);
    if (rows > 1)
        memset(in + total * (kind == GATED ? 2 : 1) - n * (kind == GATED ? 2 : 1), 0,
               (size_t)n * (kind == GATED ? 4 : 2)); /* a last row of zeros */
    struct check_buffer b_x = check_upload(x, sizeof(*x) * total),
                        b_in = check_upload(in, total * 4);
    struct check_buffer b_weight = check_upload(weight, sizeof(*weight) * n);
    struct check_buffer b_out = check_device(total), b_scales = check_device(sizeof(float) * rows);
    struct kern_row_e4m3 a = {b_in.p, b_out.p, b_scales.p, rows, n};
    struct kern_norm_e4m3 norm = {b_x.p, b_weight.p, b_out.p, b_scales.p, rows, n, 1e-5f};
    CU(kind == PLAIN   ? kern_row_e4m3(a, 0)
       : kind == GATED ? kern_glu_e4m3(a, 0)
                       : kern_norm_e4m3(norm, 0));
    check_download(got, &b_out);
    check_download(scales, &b_scales);
    for (int r = 0; r < rows; r++) {
        row_reference(want, kind, x, in, weight, r, n);
        compare_row(names[kind], got + (size_t)r * n, scales[r] * 448, want, n);
    }
    check_release(&b_x, names[kind]), check_release(&b_in, names[kind]);
    check_release(&b_weight, names[kind]), check_release(&b_out, names[kind]);
    check_release(&b_scales, names[kind]);
    free(x), free(weight), free(scales), free(in), free(got), free(want);
}

/* ---- the cache ------------------------------------------------------------------------------- */

static void check_append(int rows, int heads, int kv_heads, int dim)
{
    int width = (heads + 2 * kv_heads) * dim, n_pages = rows / KERN_PAGE_TOKENS + 2;
    size_t page = KERN_E4M3_PAGE_BYTES(dim), bytes = (size_t)n_pages * kv_heads * page;
    uint16_t *qkv = malloc((size_t)rows * width * 2);
    uint8_t *cache[2] = {malloc(bytes), malloc(bytes)};
    int32_t *slots = malloc(sizeof(*slots) * rows);
    double *want = malloc(sizeof(*want) * dim);
    size_t kept = 0, written = 0;

    check_fill_bf16(qkv, (size_t)rows * width, 2);
    for (int r = 0; r < rows; r++)
        slots[r] = check_pick(0, 9) ? rows + 20 - r : -1;
    struct check_buffer b_qkv = check_upload(qkv, (size_t)rows * width * 2);
    struct check_buffer b_slots = check_upload(slots, sizeof(*slots) * rows);
    struct check_buffer b_k = check_device(bytes), b_v = check_device(bytes);
    CU(kern_append_e4m3(
        (struct kern_append_e4m3){b_qkv.p, b_slots.p, b_k.p, b_v.p, rows, heads, kv_heads, dim},
        0));
    check_download(cache[0], &b_k);
    check_download(cache[1], &b_v);
    for (int r = 0; r < rows; r++)
        for (int h = 0; h < 2 * kv_heads && slots[r] >= 0; h++) {
            uint8_t *at = cache[h / kv_heads] +
                          ((size_t)(slots[r] / KERN_PAGE_TOKENS) * kv_heads + h % kv_heads) * page;
            int token = slots[r] % KERN_PAGE_TOKENS;
            float largest;
            memcpy(&largest, at + (size_t)KERN_PAGE_TOKENS * dim + 4 * token, 4);
            for (int i = 0; i < dim; i++)
                want[i] = check_float(qkv[(size_t)r * width + (heads + h) * dim + i]);
            compare_row("append of e4m3", at + token * dim, largest, want, dim);
            kept += dim + 4;
        }
    for (size_t i = 0; i < 2 * bytes; i++) /* no value of e4m3, nor a byte of a largest, is 0xff */
        written += cache[i / bytes][i % bytes] != 0xff;
    check_that(written == kept, "append of e4m3: %zu bytes in the cache, not %zu", written, kept);
    check_release(&b_qkv, "append qkv"), check_release(&b_slots, "append slots");
    check_release(&b_k, "append k"), check_release(&b_v, "append v");
    free(qkv), free(cache[0]), free(cache[1]), free(slots), free(want);
}

void check_e4m3_rows(void)
{
    static const int lengths[] = {16, 96, 576, 1536, 2048, 2064, 4096, 8176, 14336, 18944};

    for (enum kind kind = PLAIN; kind <= NORM; kind++)
        for (int i = 0; i < (check_quick ? 4 : 10); i++)
            check_rows_of(kind, check_pick(1, check_quick ? 5 : 40), lengths[i]);
    for (int i = 0; i < (check_quick ? 2 : 8); i++)
        check_append(check_pick(1, check_quick ? 20 : 300), check_pick(1, 9), check_pick(1, 5),
                     i % 2 ? 64 : 128);
    struct kern_row_e4m3 odd = {.rows = 1, .n = 24};
    check_that(kern_row_e4m3(odd, 0) == cudaErrorInvalidValue, "row of e4m3: accepts 24 values");
    printf("e4m3: done\n");
}
