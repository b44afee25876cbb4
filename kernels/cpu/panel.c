/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "cpu/panel.h"

#include <assert.h>
#include <string.h>

#define FLOATS(plane, bytes)                                                                       \
    {                                                                                              \
        plane, false, false, 0, 0, 512 * (bytes), 512 * (bytes), 0                                 \
    }
#define SIMPLE(plane, bytes, bias)                                                                 \
    {                                                                                              \
        plane, false, false, 1, bias, bytes, (bytes) + 32, 0                                       \
    }
#define SIMPLE_MIN(plane, bytes)                                                                   \
    {                                                                                              \
        plane, false, true, 1, 0, bytes, (bytes) + 64, 0                                           \
    }
#define SUPER(plane, bytes, groups, bias)                                                          \
    {                                                                                              \
        plane, true, false, groups, bias, bytes, (bytes) + 16 * (groups), 32                       \
    }
#define SUPER_MIN(plane, bytes, groups)                                                            \
    {                                                                                              \
        plane, true, true, groups, 0, bytes, (bytes) + 32 * (groups), 64                           \
    }

/* Q2_K and Q3_K use part of a nibble: rare formats, not worth planes of their own. */
const struct ant_panel_format ant_panel_formats[ANT_N_TYPES] = {
    [ANT_F32] = FLOATS(ANT_PLANE_F32, 4),         [ANT_F16] = FLOATS(ANT_PLANE_F16, 2),
    [ANT_BF16] = FLOATS(ANT_PLANE_BF16, 2),       [ANT_Q8_0] = SIMPLE(ANT_PLANE_Q8, 512, 128),
    [ANT_Q4_0] = SIMPLE(ANT_PLANE_Q4, 256, 8),    [ANT_Q4_1] = SIMPLE_MIN(ANT_PLANE_Q4, 256),
    [ANT_Q5_0] = SIMPLE(ANT_PLANE_Q5, 320, 16),   [ANT_Q5_1] = SIMPLE_MIN(ANT_PLANE_Q5, 320),
    [ANT_Q2_K] = SUPER_MIN(ANT_PLANE_Q4, 256, 2), [ANT_Q3_K] = SUPER(ANT_PLANE_Q4, 256, 2, 4),
    [ANT_Q4_K] = SUPER_MIN(ANT_PLANE_Q4, 256, 1), [ANT_Q5_K] = SUPER_MIN(ANT_PLANE_Q5, 320, 1),
    [ANT_Q6_K] = SUPER(ANT_PLANE_Q6, 384, 2, 32),
};

/* 32 neighbouring elements of one row, taken apart. */
struct raw {
    uint8_t q[32];
    uint16_t d, m; /* half floats: of the block, or of its superblock */
    uint8_t scale[2], min[2];
};

static uint16_t half_at(const uint8_t *p)
{
    return (uint16_t)(p[0] | p[1] << 8);
}

static void unpack_nibbles(const uint8_t *qs, uint8_t *q)
{
    for (int i = 0; i < 16; i++) {
        q[i] = qs[i] & 15;
        q[i + 16] = qs[i] >> 4;
    }
}

static void add_high_bits(const uint8_t *qh, uint8_t *q)
{
    for (int i = 0; i < 32; i++)
        q[i] |= (uint8_t)((qh[i >> 3] >> (i & 7) & 1) << 4);
}

/* Q4_K and Q5_K: eight 6-bit scales and mins in 12 bytes. */
static void unpack_scale_min(const uint8_t *s, int j, struct raw *raw)
{
    if (j < 4) {
        raw->scale[0] = s[j] & 63;
        raw->min[0] = s[j + 4] & 63;
    } else {
        raw->scale[0] = (uint8_t)((s[j + 4] & 15) | (s[j - 4] >> 6) << 4);
        raw->min[0] = (uint8_t)((s[j + 4] >> 4) | (s[j] >> 6) << 4);
    }
}

/* Sub-block `sub` (0..7) of a superblock of Q4_K or Q5_K. */
static void unpack_45_k(const uint8_t *b, int sub, bool five, struct raw *raw)
{
    const uint8_t *qh = b + 16, *qs = b + (five ? 48 : 16) + 32 * (sub >> 1);
    raw->d = half_at(b);
    raw->m = half_at(b + 2);
    unpack_scale_min(b + 4, sub, raw);
    for (int i = 0; i < 32; i++) {
        raw->q[i] = sub & 1 ? qs[i] >> 4 : qs[i] & 15;
        if (five)
            raw->q[i] |= (uint8_t)((qh[i] >> sub & 1) << 4);
    }
}

static void unpack_q6_k(const uint8_t *b, int sub, struct raw *raw)
{
    int half = sub >> 2, quarter = sub & 3;
    const uint8_t *ql = b + 64 * half + 32 * (quarter & 1), *qh = b + 128 + 32 * half;
    for (int i = 0; i < 32; i++) {
        int low = quarter < 2 ? ql[i] & 15 : ql[i] >> 4;
        raw->q[i] = (uint8_t)(low | (qh[i] >> 2 * quarter & 3) << 4);
    }
    memcpy(raw->scale, b + 192 + 2 * sub, 2);
    raw->d = half_at(b + 208);
}

static void unpack_q2_k(const uint8_t *b, int sub, struct raw *raw)
{
    const uint8_t *qs = b + 16 + 32 * (sub >> 2);
    for (int i = 0; i < 32; i++)
        raw->q[i] = qs[i] >> 2 * (sub & 3) & 3;
    for (int g = 0; g < 2; g++) {
        raw->scale[g] = b[2 * sub + g] & 15;
        raw->min[g] = b[2 * sub + g] >> 4;
    }
    raw->d = half_at(b + 80);
    raw->m = half_at(b + 82);
}

static void unpack_q3_k(const uint8_t *b, int sub, struct raw *raw)
{
    const uint8_t *mask = b, *qs = b + 32 + 32 * (sub >> 2), *s = b + 96;
    for (int i = 0; i < 32; i++)
        raw->q[i] = (uint8_t)((qs[i] >> 2 * (sub & 3) & 3) | (mask[i] >> sub & 1) << 2);
    for (int g = 0; g < 2; g++) {
        int i = 2 * sub + g;
        int low = i < 8 ? s[i] & 15 : s[i - 8] >> 4;
        int high = s[8 + i % 4] >> 2 * (i / 4) & 3;
        raw->scale[g] = (uint8_t)((low | high << 4) - 32);
    }
    raw->d = half_at(b + 108);
}

static void unpack(enum ant_type type, const uint8_t *row, int block, struct raw *raw)
{
    const struct ant_type_facts *facts = &ant_types[type];
    const uint8_t *b = row + (size_t)(block / (facts->block / 32)) * (size_t)facts->block_bytes;
    int sub = block % (facts->block / 32);
    switch (type) {
    case ANT_Q8_0:
        raw->d = half_at(b);
        memcpy(raw->q, b + 2, 32);
        break;
    case ANT_Q4_0:
        raw->d = half_at(b);
        unpack_nibbles(b + 2, raw->q);
        break;
    case ANT_Q4_1:
        raw->d = half_at(b);
        raw->m = half_at(b + 2);
        unpack_nibbles(b + 4, raw->q);
        break;
    case ANT_Q5_0:
        raw->d = half_at(b);
        unpack_nibbles(b + 6, raw->q);
        add_high_bits(b + 2, raw->q);
        break;
    case ANT_Q5_1:
        raw->d = half_at(b);
        raw->m = half_at(b + 2);
        unpack_nibbles(b + 8, raw->q);
        add_high_bits(b + 4, raw->q);
        break;
    case ANT_Q4_K:
        unpack_45_k(b, sub, false, raw);
        break;
    case ANT_Q5_K:
        unpack_45_k(b, sub, true, raw);
        break;
    case ANT_Q6_K:
        unpack_q6_k(b, sub, raw);
        break;
    case ANT_Q2_K:
        unpack_q2_k(b, sub, raw);
        break;
    case ANT_Q3_K:
        unpack_q3_k(b, sub, raw);
        break;
    default:
        assert(!"a quantized type");
    }
}

/* Where an element of a block stands: byte 64 (k / 4) + 4 row + k % 4 of eight vectors of 64. */
static int place_of(int k, int row)
{
    return (k >> 2) * 64 + row * 4 + (k & 3);
}

/* Four integers at a time, a vector's share of a row: every byte of a word for itself. */
static uint32_t bytes_of(uint32_t word, int shift, uint32_t mask)
{
    return word >> shift & mask * 0x01010101u;
}

static void put_word(uint8_t *vector, int row, uint32_t word)
{
    memcpy(vector + 4 * row, &word, sizeof word);
}

static void put_planes(const struct ant_panel_format *format, const struct raw *raw, int row,
                       uint8_t *block)
{
    uint32_t q[8], fifth = 0, two[2] = {0, 0};
    memcpy(q, raw->q, sizeof q);
    if (format->plane == ANT_PLANE_Q8) {
        for (int v = 0; v < 8; v++)
            put_word(block + 64 * v, row, q[v] ^ 0x80808080u); /* the signs' bits: plus 128 */
        return;
    }
    for (int v = 0; v < 4; v++)
        put_word(block + 64 * v, row, bytes_of(q[v], 0, 15) | bytes_of(q[v + 4], 0, 15) << 4);
    for (int v = 0; v < 8; v++) {
        fifth |= bytes_of(q[v], 4, 1) << v;
        two[v >> 2] |= bytes_of(q[v], 4, 3) << 2 * (v & 3);
    }
    if (format->plane == ANT_PLANE_Q5)
        put_word(block + 256, row, fifth);
    for (int p = 0; format->plane == ANT_PLANE_Q6 && p < 2; p++)
        put_word(block + 256 + 64 * p, row, two[p]);
}

static void put_scales(const struct ant_panel_format *format, const struct raw *raw, int row,
                       uint8_t *super, uint8_t *scales)
{
    uint8_t *halves = format->is_super ? super : scales;
    memcpy(halves + 2 * row, &raw->d, 2);
    if (format->has_min)
        memcpy(halves + 32 + 2 * row, &raw->m, 2);
    if (!format->is_super)
        return;
    for (int g = 0; g < format->groups; g++) {
        scales[16 * g + row] = raw->scale[g];
        if (format->has_min)
            scales[16 * (format->groups + g) + row] = raw->min[g];
    }
}

typedef uint32_t quad __attribute__((vector_size(16)));

static quad quad_at(const uint8_t *at)
{
    quad q;
    memcpy(&q, at, sizeof q);
    return q;
}

/* Four pairs of each of four rows change places: row by row to pair by pair. */
static void turn_pairs(const uint8_t *rows, size_t row_bytes, uint8_t *to)
{
    quad a = quad_at(rows), b = quad_at(rows + row_bytes);
    quad c = quad_at(rows + 2 * row_bytes), d = quad_at(rows + 3 * row_bytes);
    quad ab = __builtin_shufflevector(a, b, 0, 4, 1, 5);
    quad cd = __builtin_shufflevector(c, d, 0, 4, 1, 5);
    quad out[4] = {__builtin_shufflevector(ab, cd, 0, 1, 4, 5),
                   __builtin_shufflevector(ab, cd, 2, 3, 6, 7)};
    ab = __builtin_shufflevector(a, b, 2, 6, 3, 7);
    cd = __builtin_shufflevector(c, d, 2, 6, 3, 7);
    out[2] = __builtin_shufflevector(ab, cd, 0, 1, 4, 5);
    out[3] = __builtin_shufflevector(ab, cd, 2, 3, 6, 7);
    for (int i = 0; i < 4; i++)
        memcpy(to + 64 * i, &out[i], sizeof out[i]);
}

/* A whole panel of 16-bit floats over whole blocks, which nearly all are. */
static void turn_panel(const uint8_t *rows, size_t row_bytes, uint8_t *panel)
{
    for (size_t from = 0; from < row_bytes; from += 64)
        for (int row = 0; row < ANT_PANEL_ROWS; row += 4)
            for (size_t i = 0; i < 64; i += 16)
                turn_pairs(rows + (size_t)row * row_bytes + from + i, row_bytes,
                           panel + (from + i) * ANT_PANEL_ROWS + 4 * (size_t)row);
}

/* Pairs of neighbours, `bytes` long, a block's at a time: what is written stays in the first level
 * of cache until all rows are there. The last of an odd number has a neighbour of zeros. */
static inline __attribute__((always_inline)) void pack_pairs(const uint8_t *rows, size_t row_bytes,
                                                             int n_rows, size_t bytes,
                                                             uint8_t *panel)
{
    for (size_t from = 0; from < row_bytes; from += 16 * bytes)
        for (int row = 0; row < n_rows; row++) {
            const uint8_t *at = rows + (size_t)row * row_bytes + from;
            uint8_t *to = panel + (from * ANT_PANEL_ROWS + (size_t)row * bytes);
            size_t left = row_bytes - from < 16 * bytes ? row_bytes - from : 16 * bytes;
            for (; left >= bytes; left -= bytes, at += bytes, to += ANT_PANEL_ROWS * bytes)
                memcpy(to, at, bytes);
            memcpy(to, at, left);
        }
}

static void pack_floats(enum ant_type type, const uint8_t *rows, int n_rows, int64_t k,
                        uint8_t *panel)
{
    if (type == ANT_F32) /* a length that the compiler sees is a move */
        pack_pairs(rows, ant_row_bytes(type, k), n_rows, 8, panel);
    else if (n_rows == ANT_PANEL_ROWS && k % ANT_PANEL_K == 0)
        turn_panel(rows, ant_row_bytes(type, k), panel);
    else
        pack_pairs(rows, ant_row_bytes(type, k), n_rows, 4, panel);
}

void ant_panel_pack(enum ant_type type, const void *rows, int n_rows, int64_t k, uint8_t *panel)
{
    const struct ant_panel_format *format = &ant_panel_formats[type];
    int n_blocks = ant_panel_blocks(k);
    if (n_rows < ANT_PANEL_ROWS || k % ANT_PANEL_K != 0) /* else all of it is written */
        memset(panel, 0, ant_panel_bytes(format, n_blocks));
    if (format->groups == 0) {
        pack_floats(type, rows, n_rows, k, panel);
        return;
    }
    size_t row_bytes = ant_row_bytes(type, k);
    uint8_t *blocks = panel + ant_panel_super_bytes(format, n_blocks);
    for (int row = 0; row < n_rows; row++)
        for (int b = 0; b < n_blocks; b++) {
            struct raw raw = {0};
            uint8_t *block = blocks + (size_t)b * (size_t)format->block_bytes;
            unpack(type, (const uint8_t *)rows + (size_t)row * row_bytes, b, &raw);
            put_planes(format, &raw, row, block);
            put_scales(format, &raw, row, panel + (size_t)(b / 8) * (size_t)format->super_bytes,
                       block + format->plane_bytes);
        }
}

static float half_float_at(const uint8_t *halves, int row)
{
    uint16_t half;
    memcpy(&half, halves + 2 * row, 2);
    return ant_half_to_float(half);
}

static void row_scales(const struct ant_panel *panel, int block, int group, int row, float *scale,
                       float *offset)
{
    const struct ant_panel_format *format = panel->format;
    const uint8_t *scales =
        panel->blocks + (size_t)block * (size_t)format->block_bytes + format->plane_bytes;
    const uint8_t *halves = format->is_super
                                ? panel->super + (size_t)(block / 8) * (size_t)format->super_bytes
                                : scales;
    *scale = half_float_at(halves, row);
    *offset = format->has_min ? half_float_at(halves + 32, row) : 0;
    if (!format->is_super)
        return;
    *scale *= (float)(int8_t)scales[16 * group + row];
    if (format->has_min)
        *offset *= -(float)scales[16 * (format->groups + group) + row];
}

void ant_panel_scales(const struct ant_panel *panel, int block, float scale[2][16],
                      float offset[2][16])
{
    for (int g = 0; g < panel->format->groups; g++)
        for (int row = 0; row < 16; row++)
            row_scales(panel, block, g, row, &scale[g][row], &offset[g][row]);
}

static uint8_t value_at(enum ant_plane plane, const uint8_t *block, int i)
{
    int v = i >> 6, lane = i & 63;
    if (plane == ANT_PLANE_Q8)
        return block[i];
    uint8_t q = i < 256 ? block[i] & 15 : block[i - 256] >> 4;
    if (plane == ANT_PLANE_Q5)
        q |= (uint8_t)((block[256 + lane] >> v & 1) << 4);
    else if (plane == ANT_PLANE_Q6)
        q |= (uint8_t)((block[256 + 64 * (v >> 2) + lane] >> 2 * (v & 3) & 3) << 4);
    return q;
}

void ant_panel_values(const struct ant_panel *panel, int block, uint8_t values[ANT_PANEL_ELEMENTS])
{
    const struct ant_panel_format *format = panel->format;
    const uint8_t *bytes = panel->blocks + (size_t)block * (size_t)format->block_bytes;
    for (int i = 0; i < ANT_PANEL_ELEMENTS; i++)
        values[i] = value_at(format->plane, bytes, i);
}

static float float_at(const struct ant_panel *panel, int row, int64_t k)
{
    size_t at = (size_t)(k >> 1) * 32 + 2 * (size_t)row + (size_t)(k & 1);
    if (panel->format->plane == ANT_PLANE_F32) {
        float value;
        memcpy(&value, panel->blocks + 4 * at, 4);
        return value;
    }
    uint16_t bits;
    memcpy(&bits, panel->blocks + 2 * at, 2);
    return panel->format->plane == ANT_PLANE_F16 ? ant_half_to_float(bits)
                                                 : ant_bf16_to_float(bits);
}

void ant_panel_row(const struct ant_panel *panel, int row, int64_t k, float *out)
{
    const struct ant_panel_format *format = panel->format;
    if (format->groups == 0) {
        for (int64_t i = 0; i < k; i++)
            out[i] = float_at(panel, row, i);
        return;
    }
    for (int b = 0; b < (int)(k / 32); b++) {
        const uint8_t *block = panel->blocks + (size_t)b * (size_t)format->block_bytes;
        float scale[2], offset[2];
        for (int g = 0; g < format->groups; g++)
            row_scales(panel, b, g, row, &scale[g], &offset[g]);
        for (int i = 0; i < 32; i++) {
            int g = format->groups == 2 ? i >> 4 : 0;
            int q = value_at(format->plane, block, place_of(i, row)) - format->bias;
            out[32 * b + i] = (float)q * scale[g] + offset[g];
        }
    }
}
