/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "model/tensor.h"

#include <assert.h>
#include <string.h>

const struct ant_type_facts ant_types[ANT_N_TYPES] = {
    [ANT_F32] = {"F32", 1, 4},       [ANT_F16] = {"F16", 1, 2},
    [ANT_BF16] = {"BF16", 1, 2},     [ANT_Q8_0] = {"Q8_0", 32, 34},
    [ANT_Q4_0] = {"Q4_0", 32, 18},   [ANT_Q4_1] = {"Q4_1", 32, 20},
    [ANT_Q5_0] = {"Q5_0", 32, 22},   [ANT_Q5_1] = {"Q5_1", 32, 24},
    [ANT_Q2_K] = {"Q2_K", 256, 84},  [ANT_Q3_K] = {"Q3_K", 256, 110},
    [ANT_Q4_K] = {"Q4_K", 256, 144}, [ANT_Q5_K] = {"Q5_K", 256, 176},
    [ANT_Q6_K] = {"Q6_K", 256, 210},
};

int64_t ant_tensor_rows(const struct ant_tensor *tensor)
{
    return tensor->n_dims < 2 ? 1 : tensor->shape[0];
}

int64_t ant_tensor_cols(const struct ant_tensor *tensor)
{
    return tensor->shape[tensor->n_dims < 2 ? 0 : 1];
}

int64_t ant_tensor_elements(const struct ant_tensor *tensor)
{
    int64_t n = 1;
    for (int i = 0; i < tensor->n_dims; i++)
        n *= tensor->shape[i];
    return n;
}

size_t ant_row_bytes(enum ant_type type, int64_t cols)
{
    const struct ant_type_facts *facts = &ant_types[type];
    assert(cols % facts->block == 0);
    return (size_t)(cols / facts->block) * (size_t)facts->block_bytes;
}

static float float_of_bits(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static uint32_t bits_of_float(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

float ant_half_to_float(uint16_t half)
{
    uint32_t sign = (uint32_t)(half & 0x8000) << 16;
    uint32_t exponent = half >> 10 & 0x1f;
    uint32_t mantissa = half & 0x3ff;
    if (exponent == 0x1f) /* infinity, NaN */
        return float_of_bits(sign | 0x7f800000 | mantissa << 13);
    if (exponent == 0) { /* zero, subnormal: a multiple of 2^-24, exact in float */
        float magnitude = (float)mantissa * 0x1p-24f;
        return sign ? -magnitude : magnitude;
    }
    return float_of_bits(sign | (exponent + 112) << 23 | mantissa << 13);
}

float ant_bf16_to_float(uint16_t bf16)
{
    return float_of_bits((uint32_t)bf16 << 16);
}

uint16_t ant_float_to_half(float value)
{
    uint32_t bits = bits_of_float(value);
    uint16_t sign = (uint16_t)(bits >> 16 & 0x8000);
    uint32_t magnitude = bits & 0x7fffffff;
    if (magnitude > 0x7f800000) /* NaN: keep it one when its low bits go */
        return (uint16_t)(sign | 0x7e00 | (magnitude >> 13 & 0x3ff));
    if (magnitude >= 0x477ff000) /* 65520 and above round to infinity */
        return (uint16_t)(sign | 0x7c00);
    if (magnitude < 0x38800000) {
        /* Below 2^-14 the result counts in steps of 2^-24. Adding 0.5 puts that step on the last
         * bit of the sum, so the addition itself rounds to nearest even. */
        float sum = float_of_bits(magnitude) + 0.5f;
        return (uint16_t)(sign | (bits_of_float(sum) - bits_of_float(0.5f)));
    }
    uint32_t odd = magnitude >> 13 & 1;
    return (uint16_t)(sign | ((magnitude - 0x38000000 + 0xfff + odd) >> 13));
}

uint16_t ant_float_to_bf16(float value)
{
    uint32_t bits = bits_of_float(value);
    if ((bits & 0x7fffffff) > 0x7f800000)
        return (uint16_t)(bits >> 16 | 0x40);
    uint32_t odd = bits >> 16 & 1;
    return (uint16_t)((bits + 0x7fff + odd) >> 16);
}

/* Files promise no alignment within a block, so wider values are put together from bytes. */
static uint16_t load16(const uint8_t *p)
{
    return (uint16_t)(p[0] | p[1] << 8);
}

static uint32_t load32(const uint8_t *p)
{
    return (uint32_t)load16(p) | (uint32_t)load16(p + 2) << 16;
}

static float load_half(const uint8_t *p)
{
    return ant_half_to_float(load16(p));
}

/* Below, one function a block format: b is the block, y its elements. In the formats of 32, byte j
 * of the nibbles holds elements j (low) and j + 16 (high). */

/* d half, 32 x int8 */
static void block_q8_0(const uint8_t *b, float *y)
{
    float d = load_half(b);
    for (int j = 0; j < 32; j++)
        y[j] = (float)(int8_t)b[2 + j] * d;
}

/* d half, 16 bytes of nibbles; (q - 8) d */
static void block_q4_0(const uint8_t *b, float *y)
{
    float d = load_half(b);
    const uint8_t *q = b + 2;
    for (int j = 0; j < 16; j++) {
        y[j] = (float)((q[j] & 15) - 8) * d;
        y[j + 16] = (float)((q[j] >> 4) - 8) * d;
    }
}

/* d half, m half, 16 bytes of nibbles; q d + m */
static void block_q4_1(const uint8_t *b, float *y)
{
    float d = load_half(b), m = load_half(b + 2);
    const uint8_t *q = b + 4;
    for (int j = 0; j < 16; j++) {
        y[j] = (float)(q[j] & 15) * d + m;
        y[j + 16] = (float)(q[j] >> 4) * d + m;
    }
}

/* The fifth bits of a block of 32 lie in one word, bit e for element e. */
static int five_bits(int nibble, uint32_t high, int element)
{
    return nibble | (int)(high >> element & 1) << 4;
}

/* d half, 4 bytes of fifth bits, 16 bytes of nibbles; (q - 16) d */
static void block_q5_0(const uint8_t *b, float *y)
{
    float d = load_half(b);
    uint32_t high = load32(b + 2);
    const uint8_t *q = b + 6;
    for (int j = 0; j < 16; j++) {
        y[j] = (float)(five_bits(q[j] & 15, high, j) - 16) * d;
        y[j + 16] = (float)(five_bits(q[j] >> 4, high, j + 16) - 16) * d;
    }
}

/* d half, m half, 4 bytes of fifth bits, 16 bytes of nibbles; q d + m */
static void block_q5_1(const uint8_t *b, float *y)
{
    float d = load_half(b), m = load_half(b + 2);
    uint32_t high = load32(b + 4);
    const uint8_t *q = b + 8;
    for (int j = 0; j < 16; j++) {
        y[j] = (float)five_bits(q[j] & 15, high, j) * d + m;
        y[j + 16] = (float)five_bits(q[j] >> 4, high, j + 16) * d + m;
    }
}

/* The K formats: 256 elements in groups with scales of their own, the scales themselves integers
 * under a half. Elements e, e + 32, e + 64, e + 96 of each half block of 128 share a byte of
 * two-bit values. */

/* 16 x (scale, min) nibbles, 64 bytes of two-bit values, d half, dmin half; groups of 16 */
static void block_q2_k(const uint8_t *b, float *y)
{
    float d = load_half(b + 80), dmin = load_half(b + 82);
    for (int group = 0; group < 16; group++) {
        const uint8_t *q = b + 16 + group / 8 * 32 + group % 2 * 16;
        int shift = group % 8 / 2 * 2;
        float scale = d * (float)(b[group] & 15), min = dmin * (float)(b[group] >> 4);
        for (int j = 0; j < 16; j++)
            y[16 * group + j] = scale * (float)(q[j] >> shift & 3) - min;
    }
}

/* 32 bytes of third bits, 64 bytes of two-bit values, 12 bytes of six-bit scales, d half; groups of
 * 16; a third bit that is not set takes 4 away */
static void block_q3_k(const uint8_t *b, float *y)
{
    const uint8_t *packed = b + 96;
    float d = load_half(b + 108);
    for (int group = 0; group < 16; group++) {
        int low = group < 8 ? packed[group] & 15 : packed[group - 8] >> 4;
        int high = packed[8 + group % 4] >> group / 4 * 2 & 3;
        float scale = d * (float)((low | high << 4) - 32);
        const uint8_t *third = b + group % 2 * 16;
        const uint8_t *q = b + 32 + group / 8 * 32 + group % 2 * 16;
        int shift = group % 8 / 2 * 2;
        for (int j = 0; j < 16; j++) {
            int value = (q[j] >> shift & 3) - (third[j] >> group / 2 & 1 ? 0 : 4);
            y[16 * group + j] = scale * (float)value;
        }
    }
}

/* Eight six-bit (scale, min) pairs in 12 bytes: the first four plainly in bytes 0-3 and 4-7, the
 * last four as nibbles in bytes 8-11 with their top bits above those of the first four. */
static void scale_and_min(const uint8_t *packed, int group, int *scale, int *min)
{
    if (group < 4) {
        *scale = packed[group] & 63;
        *min = packed[group + 4] & 63;
    } else {
        *scale = (packed[group + 4] & 15) | packed[group - 4] >> 6 << 4;
        *min = packed[group + 4] >> 4 | packed[group] >> 6 << 4;
    }
}

/* d half, dmin half, 12 bytes of scales and mins, 128 bytes of nibbles; groups of 32, of which two
 * share 32 bytes: low nibbles, then high */
static void block_q4_k(const uint8_t *b, float *y)
{
    float d = load_half(b), dmin = load_half(b + 2);
    for (int group = 0; group < 8; group++) {
        const uint8_t *q = b + 16 + group / 2 * 32;
        int shift = group % 2 * 4, scale, min;
        scale_and_min(b + 4, group, &scale, &min);
        float ds = d * (float)scale, dm = dmin * (float)min;
        for (int j = 0; j < 32; j++)
            y[32 * group + j] = ds * (float)(q[j] >> shift & 15) - dm;
    }
}

/* As Q4_K, with 32 bytes of fifth bits before the nibbles: bit `group` of byte j */
static void block_q5_k(const uint8_t *b, float *y)
{
    float d = load_half(b), dmin = load_half(b + 2);
    const uint8_t *fifth = b + 16;
    for (int group = 0; group < 8; group++) {
        const uint8_t *q = b + 48 + group / 2 * 32;
        int shift = group % 2 * 4, scale, min;
        scale_and_min(b + 4, group, &scale, &min);
        float ds = d * (float)scale, dm = dmin * (float)min;
        for (int j = 0; j < 32; j++) {
            int value = (q[j] >> shift & 15) | (fifth[j] >> group & 1) << 4;
            y[32 * group + j] = ds * (float)value - dm;
        }
    }
}

/* 128 bytes of low nibbles, 64 bytes of top bit pairs, 16 x int8 scales, d half; groups of 16; in
 * each half block elements e and e + 64 share a nibble byte */
static void block_q6_k(const uint8_t *b, float *y)
{
    float d = load_half(b + 208);
    for (int group = 0; group < 16; group++) {
        int in_half = group % 8;
        const uint8_t *low = b + group / 8 * 64 + in_half % 4 * 16;
        const uint8_t *high = b + 128 + group / 8 * 32 + in_half % 2 * 16;
        int low_shift = in_half / 4 * 4, high_shift = in_half / 2 * 2;
        float scale = d * (float)(int8_t)b[192 + group];
        for (int j = 0; j < 16; j++) {
            int value = (low[j] >> low_shift & 15) | (high[j] >> high_shift & 3) << 4;
            y[16 * group + j] = scale * (float)(value - 32);
        }
    }
}

static void (*const block_decoders[ANT_N_TYPES])(const uint8_t *b, float *y) = {
    [ANT_Q8_0] = block_q8_0, [ANT_Q4_0] = block_q4_0, [ANT_Q4_1] = block_q4_1,
    [ANT_Q5_0] = block_q5_0, [ANT_Q5_1] = block_q5_1, [ANT_Q2_K] = block_q2_k,
    [ANT_Q3_K] = block_q3_k, [ANT_Q4_K] = block_q4_k, [ANT_Q5_K] = block_q5_k,
    [ANT_Q6_K] = block_q6_k,
};

void ant_dequantize(enum ant_type type, const void *src, float *dst, int64_t n)
{
    const uint8_t *bytes = src;
    const struct ant_type_facts *facts = &ant_types[type];
    assert(n % facts->block == 0);
    switch (type) {
    case ANT_F32:
        memcpy(dst, src, (size_t)n * sizeof *dst);
        return;
    case ANT_F16:
        for (int64_t i = 0; i < n; i++)
            dst[i] = load_half(bytes + 2 * i);
        return;
    case ANT_BF16:
        for (int64_t i = 0; i < n; i++)
            dst[i] = ant_bf16_to_float(load16(bytes + 2 * i));
        return;
    default:
        for (int64_t i = 0; i < n; i += facts->block, bytes += facts->block_bytes)
            block_decoders[type](bytes, dst + i);
    }
}
