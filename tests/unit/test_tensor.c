/* SPDX-License-Identifier: Apache-2.0 */
/* Element types against the reference values in tests/golden/quants and against arithmetic. */
#include "config.h"

#include "model/tensor.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/mem.h"
#include "fixture.h"

static FILE *open_golden(const char *name)
{
    char *folder = source_path("tests/golden/quants");
    char *path = ant_xasprintf("%s/%s", folder, name);
    FILE *file = fopen(path, "r");
    if (!file)
        fail_msg("cannot open '%s'", path);
    free(path);
    free(folder);
    return file;
}

static enum ant_type type_named(const char *name)
{
    for (int type = 0; type < ANT_N_TYPES; type++)
        if (strcmp(ant_types[type].name, name) == 0)
            return (enum ant_type)type;
    fail_msg("golden data of an unknown type %s", name);
    return ANT_N_TYPES;
}

/* Every value of the golden file, bit for bit; the block lies at an odd address, as it may in a
 * file. */
static void test_golden_blocks(void **state)
{
    (void)state;
    FILE *file = open_golden("quants.txt");
    int seen[ANT_N_TYPES] = {0};
    char name[16];
    while (fscanf(file, "%15s", name) == 1) {
        enum ant_type type = type_named(name);
        uint8_t memory[257], *block = memory + 1;
        float values[256];
        for (int i = 0; i < ant_types[type].block_bytes; i++) {
            unsigned byte;
            assert_int_equal(fscanf(file, "%2x", &byte), 1);
            block[i] = (uint8_t)byte;
        }
        ant_dequantize(type, block, values, ant_types[type].block);
        for (int i = 0; i < ant_types[type].block; i++) {
            uint32_t want, got;
            assert_int_equal(fscanf(file, "%x", &want), 1);
            memcpy(&got, &values[i], sizeof got);
            if (got != want)
                fail_msg("%s element %d: %08x, expected %08x", name, i, got, want);
        }
        seen[type]++;
    }
    fclose(file);
    for (int type = ANT_Q8_0; type < ANT_N_TYPES; type++)
        assert_int_equal(seen[type], 4);
}

static void test_row_bytes(void **state)
{
    (void)state;
    assert_int_equal(ant_row_bytes(ANT_F32, 7), 28);
    assert_int_equal(ant_row_bytes(ANT_BF16, 7), 14);
    assert_int_equal(ant_row_bytes(ANT_Q8_0, 64), 68);
    assert_int_equal(ant_row_bytes(ANT_Q4_1, 576), 360);
    assert_int_equal(ant_row_bytes(ANT_Q6_K, 512), 420);
}

/* Several blocks in a row, plain types, nothing written beyond n. */
static void test_many_blocks(void **state)
{
    (void)state;
    uint8_t blocks[2 * 34] = {0};
    float values[66];
    blocks[1] = 0x3c;      /* d = 1 */
    blocks[34 + 1] = 0x40; /* d = 2 */
    for (int i = 0; i < 32; i++)
        blocks[2 + i] = blocks[36 + i] = (uint8_t)(i - 16);
    values[64] = values[65] = 12345;
    ant_dequantize(ANT_Q8_0, blocks, values, 64);
    for (int i = 0; i < 32; i++) {
        assert_true(values[i] == (float)(i - 16));
        assert_true(values[32 + i] == (float)(2 * (i - 16)));
    }
    assert_true(values[64] == 12345 && values[65] == 12345);

    const uint16_t halves[3] = {0x3c00, 0xc000, 0x0001}, bf16[3] = {0x3f80, 0xc000, 0x7f80};
    ant_dequantize(ANT_F16, halves, values, 3);
    assert_true(values[0] == 1 && values[1] == -2 && values[2] == 0x1p-24f);
    ant_dequantize(ANT_BF16, bf16, values, 3);
    assert_true(values[0] == 1 && values[1] == -2 && isinf(values[2]));
}

/* What a half means, by its definition. */
static double half_by_definition(uint16_t half)
{
    int exponent = half >> 10 & 31, mantissa = half & 1023;
    double magnitude = exponent ? ldexp(1024 + mantissa, exponent - 25) : ldexp(mantissa, -24);
    return half & 0x8000 ? -magnitude : magnitude;
}

static void test_every_half(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 65536; i++) {
        uint16_t half = (uint16_t)i;
        float value = ant_half_to_float(half);
        if ((half & 0x7c00) == 0x7c00) {
            assert_true(half & 0x3ff ? isnan(value) : isinf(value));
            assert_int_equal(signbit(value) != 0, half >> 15);
            if (half & 0x3ff)
                assert_true((ant_float_to_half(value) & 0x7fff) > 0x7c00);
            else
                assert_int_equal(ant_float_to_half(value), half);
            continue;
        }
        assert_true((double)value == half_by_definition(half));
        assert_int_equal(signbit(value) != 0, half >> 15);
        assert_int_equal(ant_float_to_half(value), half);
    }
}

/* Around the middle between every two neighbouring halves: the even one at the middle, the nearer
 * one a float's step to either side. The last middle is 65520, where infinity begins. */
static void test_half_rounding(void **state)
{
    (void)state;
    for (uint16_t low = 0; low < 0x7c00; low++) {
        uint16_t high = (uint16_t)(low + 1);
        double above = high == 0x7c00 ? 65536 : half_by_definition(high);
        float middle = (float)((half_by_definition(low) + above) / 2);
        assert_int_equal(ant_float_to_half(middle), low & 1 ? high : low);
        assert_int_equal(ant_float_to_half(nextafterf(middle, 0)), low);
        assert_int_equal(ant_float_to_half(nextafterf(middle, INFINITY)), high);
        assert_int_equal(ant_float_to_half(-middle), 0x8000 | (low & 1 ? high : low));
    }
    assert_int_equal(ant_float_to_half(1e10f), 0x7c00);
    assert_int_equal(ant_float_to_half(-INFINITY), 0xfc00);
    assert_int_equal(ant_float_to_half(0x1p-149f), 0);
}

static void test_bf16(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 65536; i++) {
        uint16_t bf16 = (uint16_t)i;
        float value = ant_bf16_to_float(bf16);
        if (isnan(value))
            assert_true(isnan(ant_bf16_to_float(ant_float_to_bf16(value))));
        else
            assert_int_equal(ant_float_to_bf16(value), bf16);
    }
    for (uint16_t low = 0; low < 0x7f7f; low++) {
        uint32_t bits = (uint32_t)low << 16 | 0x8000;
        float middle;
        memcpy(&middle, &bits, sizeof middle);
        assert_int_equal(ant_float_to_bf16(middle), low & 1 ? low + 1 : low);
        assert_int_equal(ant_float_to_bf16(nextafterf(middle, 0)), low);
        assert_int_equal(ant_float_to_bf16(nextafterf(middle, INFINITY)), low + 1);
    }
    /* a NaN whose set bits all lie in the half that goes */
    uint32_t bits = 0x7f800001;
    float nan;
    memcpy(&nan, &bits, sizeof nan);
    assert_true(isnan(ant_bf16_to_float(ant_float_to_bf16(nan))));
    assert_int_equal(ant_float_to_bf16(3.4028235e38f), 0x7f80);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden_blocks), cmocka_unit_test(test_row_bytes),
        cmocka_unit_test(test_many_blocks),   cmocka_unit_test(test_every_half),
        cmocka_unit_test(test_half_rounding), cmocka_unit_test(test_bf16),
    };
    return cmocka_run_group_tests_name("tensor", tests, NULL, NULL);
}
