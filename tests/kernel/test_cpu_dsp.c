/* SPDX-License-Identifier: Apache-2.0 */
/* Every inner loop of every level that the machine has, against sums in double, on random ragged
 * shapes; what lies around its output must stay as it was. */
#include "config.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "backend/cpu/cpu_level.h"
#include "cpu/dsp.h"
#include "random.h"

static struct ant_dsp dsp; /* of the level under test */

/* ---- buffers with guards --------------------------------------------------------------------- */

enum { GUARD = 128, MAX_BUFFERS = 12 };

struct guarded {
    uint8_t *all;
    size_t bytes;
};
static struct guarded buffers[MAX_BUFFERS];
static int n_buffers;

static void on_levels(void (*fn)(void))
{
    for (int level = 0; level <= (int)ant_cpu_best(); level++) {
        ant_cpu_dsp((enum ant_cpu_level)level, &dsp);
        random_state = 7;
        n_buffers = 0; /* a test that failed left its own */
        fn();
    }
}

static void *guarded(size_t bytes)
{
    struct guarded *b = &buffers[n_buffers++];
    void *all = NULL;
    assert_int_equal(posix_memalign(&all, 64, bytes + 2 * GUARD), 0);
    memset(all, 0xa5, bytes + 2 * GUARD);
    *b = (struct guarded){all, bytes};
    return b->all + GUARD;
}

static void check_guards(const char *what)
{
    for (int i = 0; i < n_buffers; i++) {
        for (size_t j = 0; j < GUARD; j++)
            if (buffers[i].all[j] != 0xa5 || buffers[i].all[GUARD + buffers[i].bytes + j] != 0xa5)
                fail_msg("%s, %s: wrote outside its output", dsp.name, what);
        free(buffers[i].all);
    }
    n_buffers = 0;
}

static float *random_floats(size_t n, float size)
{
    float *x = guarded(n * sizeof *x);
    for (size_t i = 0; i < n; i++)
        x[i] = random_float() * size;
    return x;
}

/* ---- activations of the level ---------------------------------------------------------------- */

static size_t act_bytes(void)
{
    return dsp.is_bf16 ? 2 : 4;
}

static float act_at(const void *acts, size_t i)
{
    return dsp.is_bf16 ? ant_bf16_to_float(((const uint16_t *)acts)[i]) : ((const float *)acts)[i];
}

static void *random_acts(size_t n)
{
    uint8_t *x = guarded(n * act_bytes());
    for (size_t i = 0; i < n; i++) {
        float value = random_float();
        uint16_t bits = ant_float_to_bf16(value);
        if (dsp.is_bf16)
            memcpy(x + 2 * i, &bits, 2);
        else
            memcpy(x + 4 * i, &value, 4);
    }
    return x;
}

static void expect_near(float got, double want, double tolerance, const char *what)
{
    if (!(fabs((double)got - want) <= tolerance))
        fail_msg("%s, %s: %.9g instead of %.9g", dsp.name, what, (double)got, want);
}

/* What storing as an activation may lose. */
static double act_tolerance(double value)
{
    return fabs(value) * (dsp.is_bf16 ? 1.0 / 256 : 2e-6) + 1e-7;
}

/* ---- decoding -------------------------------------------------------------------------------- */

static void check_decode(enum ant_type type, int rows, int64_t cols)
{
    struct ant_tensor t = random_tensor("w", type, rows, cols, 1);
    const struct ant_panel_format *format = &ant_panel_formats[type];
    int n_blocks = ant_panel_blocks(cols);
    uint8_t *packed = guarded(ant_panel_bytes(format, n_blocks));
    float *want = ant_xmalloc((size_t)(rows * cols) * sizeof *want);
    ant_panel_pack(type, t.data, rows, cols, packed);
    ant_dequantize(type, t.data, want, rows * cols);
    struct ant_panel panel = ant_panel_at(format, packed, n_blocks, 0);

    float *row = guarded((size_t)cols * sizeof *row);
    for (int r = 0; r < rows; r++) {
        ant_panel_row(&panel, r, cols, row);
        for (int64_t k = 0; k < cols; k++)
            expect_near(row[k], (double)want[r * cols + k], 1e-6, ant_types[type].name);
    }

    if (format->groups > 0) {
        check_guards(ant_types[type].name);
        free(want);
        free((void *)t.data);
        return;
    }
    bool in_float = ant_dsp_in_float(&dsp, format);
    int b0 = n_blocks > 2 ? 1 : 0; /* not from the start, to see superblocks found */
    uint8_t *out = guarded((size_t)(n_blocks - b0) * ANT_PANEL_ELEMENTS * (in_float ? 4 : 2));
    dsp.decode(&panel, b0, n_blocks, out);
    for (int64_t k = 32 * b0; k < 32 * n_blocks; k++)
        for (int r = 0; r < 16; r++) {
            size_t at = (size_t)((k - 32 * b0) / 2 * 32 + 2 * r + k % 2);
            double w = r < rows && k < cols ? (double)want[r * cols + k] : 0;
            float got = in_float ? ((float *)(void *)out)[at]
                                 : ant_bf16_to_float(((uint16_t *)(void *)out)[at]);
            expect_near(got, w, in_float ? 1e-6 : fabs(w) / 256 + 1e-7, ant_types[type].name);
        }
    check_guards(ant_types[type].name);
    free(want);
    free((void *)t.data);
}

static void decode_level(void)
{
    for (int type = 0; type < ANT_N_TYPES; type++)
        for (int i = 0; i < 6; i++) {
            int block = ant_types[type].block;
            int cols = block == 1 ? 1 + random_below(150)
                                  : block * (1 + random_below(block == 32 ? 12 : 3));
            check_decode((enum ant_type)type, 1 + random_below(16), cols);
        }
}

static void test_decode(void **state)
{
    (void)state;
    on_levels(decode_level);
}

/* ---- tiles ----------------------------------------------------------------------------------- */

static float panel_value(const void *panel, bool is_float, int row, int k)
{
    size_t at = (size_t)(k / 2 * 32 + 2 * row + k % 2);
    return is_float ? ((const float *)panel)[at] : ant_bf16_to_float(((const uint16_t *)panel)[at]);
}

static void *random_panel(bool is_float, int pairs)
{
    uint8_t *panel = guarded((size_t)pairs * 32 * (is_float ? 4 : 2));
    for (int i = 0; i < pairs * 32; i++)
        random_element(is_float ? ANT_F32 : ANT_BF16, random_float(),
                       panel + i * (is_float ? 4 : 2));
    return panel;
}

static void check_tile(ant_tile_fn *tile, bool panels_float, int rows, int pairs, bool first)
{
    size_t lda = 2 * (size_t)pairs + 32 * (size_t)random_below(3), n_acc = (size_t)rows * 32;
    uint8_t *a = random_acts(((size_t)rows + ANT_ROW_PAD) * lda);
    void *b[2] = {random_panel(panels_float, pairs), random_panel(panels_float, pairs)};
    float *acc = random_floats(n_acc, 1), *before = random_floats(n_acc, 1);
    float *alone = random_floats(32, 1);
    memcpy(before, acc, n_acc * sizeof *acc);
    tile(rows, a, lda, b[0], b[1], pairs, acc, first, 0);
    for (int r = 0; r < rows; r++) {
        for (int c = 0; c < 32; c++) {
            double sum = first ? 0 : (double)before[r * 32 + c], size = fabs(sum);
            for (int k = 0; k < 2 * pairs; k++) {
                double product = (double)act_at(a, (size_t)r * lda + (size_t)k) *
                                 (double)panel_value(b[c / 16], panels_float, c % 16, k);
                sum += product;
                size += fabs(product);
            }
            expect_near(acc[r * 32 + c], sum, size * 2e-6, "tile");
        }
        memcpy(alone, before + 32 * r, 32 * sizeof *alone);
        tile(1, a + (size_t)r * lda * act_bytes(), lda, b[0], b[1], pairs, alone, first,
             (char *)b[1] - (char *)b[0]);
        if (memcmp(alone, acc + 32 * r, 32 * sizeof *alone) != 0)
            fail_msg("%s: row %d of %d is not what it is alone", dsp.name, r, rows);
    }
    check_guards("tile");
}

/* Panels of bfloat16 as they lie give the bits of decoded ones. */
static void check_few(int rows, int pairs, bool first)
{
    size_t lda = 2 * (size_t)pairs + 32;
    uint8_t *a = random_acts(((size_t)rows + ANT_ROW_PAD) * lda);
    float *acc = random_floats((size_t)rows * 32, 1), *wide = random_floats((size_t)rows * 32, 1);
    void *b[2];
    float *decoded[2];
    memcpy(wide, acc, (size_t)rows * 32 * sizeof *acc);
    for (int i = 0; i < 2; i++) {
        b[i] = random_panel(false, pairs);
        decoded[i] = guarded((size_t)pairs * 32 * sizeof(float));
        struct ant_panel panel = {&ant_panel_formats[ANT_BF16], b[i], b[i]};
        dsp.decode(&panel, 0, pairs / 16, decoded[i]);
    }
    dsp.tile_few(rows, a, lda, b[0], b[1], pairs, acc, first, 0);
    dsp.tile_f32(rows, a, lda, decoded[0], decoded[1], pairs, wide, first, 0);
    if (memcmp(acc, wide, (size_t)rows * 32 * sizeof *acc) != 0)
        fail_msg("%s: %d rows by packed bfloat16 are not what they are by floats", dsp.name, rows);
    check_guards("tile_few");
}

static void tile_level(void)
{
    for (int rows = 1; rows <= dsp.few_rows && !dsp.is_bf16; rows++)
        for (int i = 0; i < 4; i++) {
            check_tile(dsp.tile_few, false, rows, 16 * (1 + random_below(4)), i % 2 == 0);
            check_few(rows, 16 * (1 + random_below(4)), i % 2 == 0);
        }
    dsp.tile_begin();
    for (int rows = 1; rows <= 50; rows++) {
        check_tile(dsp.tile, !dsp.is_bf16, rows, 16 * (1 + random_below(4)), rows % 3 == 0);
        check_tile(dsp.tile_f32, true, rows, 16 * (1 + random_below(4)), rows % 3 == 0);
    }
    dsp.tile_end();
}

static void test_tile(void **state)
{
    (void)state;
    on_levels(tile_level);
}

/* ---- quantized products ---------------------------------------------------------------------- */

/* What the integers of level c make of a row: what every level must make of it. */
static void exact_row(const float *x, int n, double *out)
{
    struct ant_dsp plain;
    ant_dsp_init_c(&plain);
    for (int i = 0; i < n; i += 256) {
        struct ant_quant blocks[ANT_QUANT_SPAN];
        plain.quantize(x + i, n - i < 256 ? n - i : 256, blocks);
        for (int j = 0; j < 256 && i + j < n; j++)
            out[i + j] = (double)blocks[j / 32].scale * blocks[j / 32].words[j % 32];
    }
}

static void check_quantize(int n)
{
    int n_blocks = (n + 31) / 32;
    float *x = random_floats((size_t)n, 3);
    double *q = guarded((size_t)n * sizeof *q);
    struct ant_quant *got = guarded((size_t)n_blocks * sizeof *got), want[20];
    struct ant_dsp plain;
    ant_dsp_init_c(&plain);
    plain.quantize(x, n, want);
    dsp.quantize(x, n, got);
    exact_row(x, n, q);
    for (int i = 0; i < n; i++)
        expect_near(x[i], q[i], 3.0 / ANT_QUANT_MAX / 2 * 1.01, "quantize");
    for (int b = 0; b < n_blocks; b++) {
        size_t from = offsetof(struct ant_quant, sums), to = offsetof(struct ant_quant, unused);
        if (memcmp((char *)&got[b] + from, (char *)&want[b] + from, to - from) != 0)
            fail_msg("%s: block %d of %d values has another scale or sum than in C", dsp.name, b,
                     n);
    }
    check_guards("quantize");
}

struct products {
    enum ant_type type;
    int rows, cols, n_panels, w_rows;
    size_t row_bytes;
    struct ant_tensor w;
    struct ant_panel panels[2];
    float *x, *acc, *others;
    struct ant_quant *a;
};

static void make_products(struct products *p, enum ant_type type, int rows, int n_blocks)
{
    const struct ant_panel_format *format = &ant_panel_formats[type];
    *p = (struct products){.type = type, .rows = rows, .n_panels = 1 + random_below(2)};
    p->cols = ant_types[type].block * n_blocks;
    int blocks32 = p->cols / 32, w_rows = 16 * p->n_panels - random_below(16);
    p->w_rows = w_rows;
    p->w = random_tensor("w", type, w_rows, p->cols, 1);
    uint8_t *packed = guarded(2 * ant_panel_bytes(format, blocks32));
    for (int i = 0; i < p->n_panels; i++) {
        p->panels[i] = ant_panel_at(format, packed, blocks32, i);
        ant_panel_pack(type,
                       (const uint8_t *)p->w.data + (size_t)(16 * i) * ant_row_bytes(type, p->cols),
                       w_rows - 16 * i < 16 ? w_rows - 16 * i : 16, p->cols,
                       packed + (size_t)i * ant_panel_bytes(format, blocks32));
    }
    p->row_bytes = (size_t)blocks32 * sizeof *p->a + 32 * (size_t)random_below(3);
    p->x = random_floats((size_t)(rows * p->cols), 2);
    p->a = guarded((size_t)(rows + ANT_ROW_PAD) * p->row_bytes);
    p->acc = random_floats((size_t)rows * ANT_TILE_COLS, 1);
    p->others = random_floats((size_t)rows * ANT_TILE_COLS, 1);
    memcpy(p->others, p->acc, (size_t)rows * ANT_TILE_COLS * sizeof *p->acc);
}

static void multiply_with(const struct ant_dsp *level, struct products *p, int row, int rows,
                          float *acc)
{
    const struct ant_quant *from = ant_quant_row(p->a, p->row_bytes, row);
    for (int r = row; r < row + rows; r++)
        level->quantize(p->x + r * p->cols, p->cols,
                        (struct ant_quant *)(uintptr_t)ant_quant_row(p->a, p->row_bytes, r));
    level->tile_begin();
    level->tile_quant(rows, from, p->row_bytes, p->panels, p->n_panels, p->cols / 32, acc, 0);
    level->tile_end();
}

static void check_products(enum ant_type type, int rows, int n_blocks)
{
    struct products p;
    struct ant_dsp plain;
    make_products(&p, type, rows, n_blocks);
    double *x = guarded((size_t)p.cols * sizeof *x);
    float *w = guarded((size_t)(p.w_rows * p.cols) * sizeof *w), alone[32] = {0};
    ant_dequantize(type, p.w.data, w, p.w_rows * p.cols);
    multiply_with(&dsp, &p, 0, rows, p.acc);
    for (int r = 0; r < rows; r++) {
        exact_row(p.x + r * p.cols, p.cols, x);
        for (int c = 0; c < 32; c++) {
            double sum = 0, size = 0;
            for (int k = 0; k < p.cols && c < p.w_rows; k++) {
                double product = x[k] * (double)w[c * p.cols + k];
                sum += product;
                size += fabs(product);
            }
            if (c >= 16 * p.n_panels)
                sum = (double)p.others[32 * r + c];
            expect_near(p.acc[32 * r + c], sum, size * 2e-6, ant_types[type].name);
        }
        multiply_with(&dsp, &p, r, 1, alone);
        if (memcmp(alone, p.acc + 32 * r, (size_t)p.n_panels * 64) != 0)
            fail_msg("%s, %s: row %d of %d is not what it is alone", dsp.name, ant_types[type].name,
                     r, rows);
    }
    ant_dsp_init_c(&plain);
    multiply_with(&plain, &p, 0, rows, p.others);
    if (memcmp(p.others, p.acc, (size_t)rows * 32 * sizeof *p.acc) != 0)
        fail_msg("%s, %s: the sums are not those of plain C", dsp.name, ant_types[type].name);
    check_guards(ant_types[type].name);
    free((void *)p.w.data);
}

static void check_extremes(void)
{
    /* Great numbers, an infinity, a NaN, numbers too small to be scaled. */
    static const float values[] = {1e30f, -1e30f, INFINITY, NAN, 1e-38f, 1e-30f, 0};
    struct products p;
    for (int type = 0; type < ANT_N_TYPES; type++)
        for (size_t v = 0; v < sizeof values / sizeof *values; v++) {
            if (ant_panel_formats[type].groups == 0)
                continue;
            struct ant_dsp plain;
            ant_dsp_init_c(&plain);
            make_products(&p, (enum ant_type)type, 3, 2);
            for (int i = 0; i < 3 * p.cols; i++)
                p.x[i] = isfinite(values[v]) || i == p.cols + 5 ? values[v] : 1;
            multiply_with(&dsp, &p, 0, 3, p.acc);
            multiply_with(&plain, &p, 0, 3, p.others);
            for (int i = 0; i < 96; i++) {
                bool is_nan = !isfinite(values[v]) && i / 32 == 1 && i % 32 < 16 * p.n_panels;
                if (isnan(p.acc[i]) != is_nan || (!is_nan && p.acc[i] != p.others[i]))
                    fail_msg("%s, %s of %g: %g, in plain C %g", dsp.name, ant_types[type].name,
                             (double)values[v], (double)p.acc[i], (double)p.others[i]);
            }
            check_guards("extremes");
            free((void *)p.w.data);
        }
}

static void products_level(void)
{
    for (int n = 1; n <= 97; n++)
        check_quantize(n);
    for (int n = 250; n <= 600; n += 1 + random_below(50))
        check_quantize(n);
    for (int type = 0; type < ANT_N_TYPES; type++)
        for (int i = 0; i < 8 && ant_panel_formats[type].groups > 0; i++)
            check_products((enum ant_type)type,
                           i == 0  ? 1
                           : i < 4 ? 1 + random_below(7)
                                   : 1 + random_below(70),
                           1 + random_below(ant_types[type].block == 32 ? 26 : 3));
    check_extremes();
}

static void test_products(void **state)
{
    (void)state;
    on_levels(products_level);
}

/* ---- what becomes of sums -------------------------------------------------------------------- */

/* Columns between `cols` and the stride must stay 0xa5. */
static void check_gap(const void *out, int rows, size_t cols, size_t ldo, size_t bytes,
                      const char *what)
{
    for (int r = 0; r < rows; r++)
        for (size_t i = ((size_t)r * ldo + cols) * bytes; i < (size_t)(r + 1) * ldo * bytes; i++)
            if (((const uint8_t *)out)[i] != 0xa5)
                fail_msg("%s, %s: wrote beyond %zu columns", dsp.name, what, cols);
}

/* For products the same values, rounded once. */
static void check_glu_for_products(const float *acc, int rows, int cols, struct ant_glu act,
                                   const float *floats, size_t ldo)
{
    size_t bytes = dsp.is_bf16 ? 2 : 4;
    uint8_t *out = guarded((size_t)rows * ldo * bytes), want[16 * 4];
    dsp.glu(acc, rows, cols, act, out, ldo, true);
    check_gap(out, rows, (size_t)cols, ldo, bytes, "glu for products");
    for (int r = 0; r < rows; r++) {
        dsp.convert(floats + (size_t)r * ldo, 1, cols, want);
        assert_memory_equal(out + (size_t)r * ldo * bytes, want, (size_t)cols * bytes);
    }
}

static void check_epilogues(int rows, int cols)
{
    size_t ldo = (size_t)cols + (size_t)random_below(9), n = (size_t)rows * ldo;
    float *acc = random_floats((size_t)rows * 32, 8), *bias = random_floats((size_t)cols, 1);
    float *out = guarded(n * sizeof *out), *sum = guarded(n * sizeof *sum);
    float *act = guarded(n * sizeof *act);
    bool has_bias = random_below(2);
    int glu_cols = cols > 16 ? 16 : cols;
    dsp.store(acc, rows, cols, has_bias ? bias : NULL, out, ldo);
    for (int r = 0; r < rows; r++)
        memset(sum + (size_t)r * ldo, 0, (size_t)cols * sizeof *sum);
    dsp.add(acc, rows, cols, has_bias ? bias : NULL, sum, ldo);
    dsp.add(acc, rows, cols, NULL, sum, ldo);
    struct ant_glu silu = {-1.44269504f, 0}, gelu = {-2.30220820f, -0.102943240f};
    bool is_gelu = random_below(2);
    dsp.glu(acc, rows, glu_cols, is_gelu ? gelu : silu, act, ldo, false);
    check_glu_for_products(acc, rows, glu_cols, is_gelu ? gelu : silu, act, ldo);
    check_gap(out, rows, (size_t)cols, ldo, 4, "store");
    check_gap(sum, rows, (size_t)cols, ldo, 4, "add");
    check_gap(act, rows, (size_t)glu_cols, ldo, 4, "glu");
    for (int r = 0; r < rows; r++)
        for (int c = 0; c < cols; c++) {
            double x = (double)acc[r * 32 + c], b = has_bias ? (double)bias[c] : 0;
            size_t at = (size_t)r * ldo + (size_t)c;
            expect_near(out[at], x + b, 2e-6, "store");
            expect_near(sum[at], 2 * x + b, 4e-6, "add");
            if (c < glu_cols) {
                double inner = 0.7978845608028654 * (x + 0.044715 * x * x * x);
                double want = is_gelu ? x / 2 * (1 + tanh(inner)) : x / (1 + exp(-x));
                want *= (double)acc[r * 32 + 16 + c];
                expect_near(act[at], want, fabs(want) * 2e-6 + 1e-7, "glu");
            }
        }
    check_guards("epilogues");
}

static void epilogues_level(void)
{
    for (int cols = 1; cols <= 32; cols++)
        check_epilogues(1 + random_below(14), cols);
}

static void test_epilogues(void **state)
{
    (void)state;
    on_levels(epilogues_level);
}

/* ---- rows ------------------------------------------------------------------------------------ */

static void check_rows(int n)
{
    float *x = random_floats((size_t)n, 3), *w = random_floats((size_t)n, 2);
    float *out = guarded((size_t)n * sizeof *out);
    void *out2 = guarded((size_t)n * act_bytes());
    uint16_t *bits = guarded((size_t)n * sizeof *bits);
    double sum = 0;
    for (int i = 0; i < n; i++)
        sum += (double)x[i] * (double)x[i];
    double scale = 1 / sqrt(sum / n + 1e-5);
    dsp.norm(x, w, 1e-5f, n, out);
    dsp.convert(x, 0.37f, n, out2);
    dsp.to_bf16(x, n, bits);
    for (int i = 0; i < n; i++) {
        double want = (double)x[i] * scale * (double)w[i], half = (double)(x[i] * 0.37f);
        expect_near(out[i], want, fabs(want) * 2e-6 + 1e-7, "norm");
        expect_near(act_at(out2, (size_t)i), half, act_tolerance(half), "convert");
        if (bits[i] != ant_float_to_bf16(x[i]))
            fail_msg("%s: to_bf16 of %a", dsp.name, (double)x[i]);
    }
    check_guards("rows");
}

static void check_rotate(int half, bool is_interleaved)
{
    float *x = random_floats(2 * (size_t)half, 3), *table = random_floats(2 * (size_t)half, 1);
    float *before = random_floats(2 * (size_t)half, 1);
    memcpy(before, x, 2 * (size_t)half * sizeof *x);
    dsp.rotate(table, half, is_interleaved, x);
    for (int i = 0; i < half; i++) {
        int a = is_interleaved ? 2 * i : i, b = is_interleaved ? a + 1 : i + half;
        double c = (double)table[2 * i], s = (double)table[2 * i + 1];
        expect_near(x[a], (double)before[a] * c - (double)before[b] * s, 1e-6, "rotate");
        expect_near(x[b], (double)before[b] * c + (double)before[a] * s, 1e-6, "rotate");
    }
    check_guards("rotate");
}

static void rows_level(void)
{
    for (int n = 1; n < 100; n++)
        check_rows(n);
    check_rows(576);
    for (int half = 1; half <= 128; half++) {
        check_rotate(half, false);
        check_rotate(half, true);
    }
}

static void test_rows(void **state)
{
    (void)state;
    on_levels(rows_level);
}

static void check_softmax(void)
{
    enum { PAGES = 3 };
    struct ant_softmax state = {-INFINITY, 0};
    double exact[32 * PAGES], max = -INFINITY, sum = 0;
    float factors[PAGES];
    void *p[PAGES];
    int lo[PAGES], hi[PAGES];
    for (int page = 0; page < PAGES; page++) {
        float *scores = random_floats(32, 40);
        p[page] = guarded(32 * act_bytes());
        lo[page] = random_below(32);
        hi[page] = lo[page] + 1 + random_below(32 - lo[page]);
        for (int i = 0; i < 32; i++) {
            bool counts = i >= lo[page] && i < hi[page];
            exact[32 * page + i] = counts ? (double)scores[i] : -INFINITY;
            if (!counts)
                scores[i] = i % 2 ? NAN : INFINITY; /* must not matter */
            max = counts && (double)scores[i] > max ? (double)scores[i] : max;
        }
        factors[page] = dsp.softmax(scores, lo[page], hi[page], &state, p[page]);
    }
    for (int i = 0; i < 32 * PAGES; i++)
        sum += exp2(exact[i] - max);
    expect_near(state.max, max, 0, "softmax's maximum");
    expect_near(state.sum, sum, sum * 1e-5, "softmax's sum");
    for (int page = 0; page < PAGES; page++) {
        double later = 1;
        for (int k = page + 1; k < PAGES; k++)
            later *= (double)factors[k];
        for (int i = 0; i < 32; i++) {
            double want = exp2(exact[32 * page + i] - max);
            expect_near((float)((double)act_at(p[page], (size_t)i) * later), want,
                        act_tolerance(want) + want * 1e-5, "softmax");
        }
    }
    check_guards("softmax");
}

static void check_rescale(void)
{
    float *x = random_floats(4 * 100, 1), *before = random_floats(4 * 100, 1);
    memcpy(before, x, 400 * sizeof *x);
    dsp.rescale(x, 3, 100, 0.25f);
    for (int i = 0; i < 400; i++)
        expect_near(x[i], (double)before[i] * (i % 100 < 32 && i < 300 ? 0.25 : 1), 0, "rescale");
    check_guards("rescale");
}

static void softmax_level(void)
{
    for (int i = 0; i < 200; i++)
        check_softmax();
    check_rescale();
}

static void test_softmax(void **state)
{
    (void)state;
    on_levels(softmax_level);
}

static void check_greedy(int n)
{
    float *x = random_floats((size_t)n, 10), logprob;
    int best = 0, index;
    x[random_below(n)] = 10.5f; /* ties between these, */
    x[random_below(n)] = 10.5f;
    if (n > 8)
        x[random_below(n)] = NAN; /* and what is no number */
    double sum = 0;
    for (int i = 0; i < n; i++)
        if (x[i] > x[best] || (isnan(x[best]) && !isnan(x[i])))
            best = i;
    for (int i = 0; i < n; i++)
        sum += isnan(x[i]) ? 0 : exp((double)x[i] - (double)x[best]);
    dsp.greedy(x, n, &index, &logprob);
    if (index != best)
        fail_msg("%s: greedy takes %d of %d, not %d", dsp.name, index, n, best);
    expect_near(logprob, -log(sum), 1e-5, "greedy");
    check_guards("greedy");
}

static void greedy_level(void)
{
    for (int n = 1; n < 140; n++)
        check_greedy(n);
    check_greedy(49152);
    float *x = guarded(100 * sizeof *x), logprob;
    int index;
    for (int i = 0; i < 100; i++)
        x[i] = NAN;
    dsp.greedy(x, 100, &index, &logprob);
    assert_int_equal(index, 0);
    check_guards("greedy");
}

static void test_greedy(void **state)
{
    (void)state;
    on_levels(greedy_level);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_decode),   cmocka_unit_test(test_tile),
        cmocka_unit_test(test_products), cmocka_unit_test(test_epilogues),
        cmocka_unit_test(test_rows),     cmocka_unit_test(test_softmax),
        cmocka_unit_test(test_greedy),
    };
    ant_cpu_request_amx();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
