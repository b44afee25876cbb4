/* SPDX-License-Identifier: Apache-2.0 */
/* Weights in memory: the packed panels of each part, one after another, then the biases as floats.
 * Vectors are floats. Experts lie one after another, each like a weight of its own. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "backend/cpu/cpu.h"
#include "base/mem.h"

static size_t aligned(size_t bytes)
{
    return (bytes + 63) / 64 * 64;
}

static size_t part_bytes(const struct ant_tensor *tensor)
{
    int64_t panels = (ant_tensor_rows(tensor) + ANT_PANEL_ROWS - 1) / ANT_PANEL_ROWS;
    return (size_t)panels * ant_panel_bytes(&ant_panel_formats[tensor->type],
                                            ant_panel_blocks(ant_tensor_cols(tensor)));
}

/* One expert's matrices as a weight of their own. */
static struct ant_weight_spec expert_of(const struct ant_weight_spec *spec, int expert)
{
    struct ant_weight_spec one = {.n_parts = spec->n_parts};
    for (int i = 0; i < spec->n_parts; i++)
        one.parts[i] = spec->experts[expert * spec->n_parts + i];
    return one;
}

size_t ant_cpu_weight_bytes(const struct ant_backend *be, const struct ant_weight_spec *spec)
{
    size_t bytes = 0;
    if (spec->is_vector)
        return aligned((size_t)ant_tensor_elements(spec->parts[0]) * sizeof(float)) *
               (spec->bias[0] ? 2 : 1);
    for (int i = 0; i < spec->n_experts; i++) {
        struct ant_weight_spec expert = expert_of(spec, i);
        bytes += ant_cpu_weight_bytes(be, &expert);
    }
    if (spec->n_experts > 0)
        return bytes;
    for (int i = 0; i < spec->n_parts; i++) {
        bytes += part_bytes(spec->parts[i]);
        if (spec->bias[i])
            bytes += aligned((size_t)ant_tensor_rows(spec->parts[i]) * sizeof(float));
    }
    return bytes;
}

static int check(const struct ant_weight_spec *spec, const void *memory, struct ant_error *err)
{
    if ((uintptr_t)memory % 64 != 0)
        return ant_fail(err, ANT_EBUG, "memory for '%s' is not aligned to 64 bytes",
                        spec->parts[0]->name);
    for (int i = 0; i < spec->n_parts; i++) {
        const struct ant_tensor *part = spec->parts[i], *bias = spec->bias[i];
        if (ant_tensor_cols(part) != ant_tensor_cols(spec->parts[0]))
            return ant_fail(err, ANT_EDATA, "'%s' has %lld columns, '%s' %lld", part->name,
                            (long long)ant_tensor_cols(part), spec->parts[0]->name,
                            (long long)ant_tensor_cols(spec->parts[0]));
        int64_t n_outputs = spec->is_vector ? ant_tensor_elements(part) : ant_tensor_rows(part);
        if (bias && ant_tensor_elements(bias) != n_outputs)
            return ant_fail(err, ANT_EDATA, "bias '%s' has %lld elements for %lld", bias->name,
                            (long long)ant_tensor_elements(bias), (long long)n_outputs);
        if (ant_tensor_cols(part) % ant_types[part->type].block != 0)
            return ant_fail(err, ANT_EDATA, "'%s' has %lld columns, no multiple of %s's block",
                            part->name, (long long)ant_tensor_cols(part),
                            ant_types[part->type].name);
        if (ant_tensor_rows(part) > INT32_MAX / 4 || ant_tensor_cols(part) > INT32_MAX / 4)
            return ant_fail(err, ANT_EUNSUPP, "'%s' is too large", part->name);
    }
    return 0;
}

/* A model without weights computes with zeros. */
static void put_floats(const struct ant_tensor *tensor, float *out)
{
    int64_t n = ant_tensor_elements(tensor);
    if (tensor->data)
        ant_dequantize(tensor->type, tensor->data, out, n);
    else
        memset(out, 0, (size_t)n * sizeof *out);
}

static void put_part(const struct ant_tensor *tensor, uint8_t *memory)
{
    int64_t rows = ant_tensor_rows(tensor), cols = ant_tensor_cols(tensor);
    size_t row_bytes = ant_row_bytes(tensor->type, cols);
    size_t panel_bytes = ant_panel_bytes(&ant_panel_formats[tensor->type], ant_panel_blocks(cols));
    if (tensor->data == NULL) {
        memset(memory, 0, part_bytes(tensor));
        return;
    }
    for (int64_t row = 0; row < rows; row += ANT_PANEL_ROWS, memory += panel_bytes) {
        int n = rows - row < ANT_PANEL_ROWS ? (int)(rows - row) : ANT_PANEL_ROWS;
        ant_panel_pack(tensor->type, (const uint8_t *)tensor->data + (size_t)row * row_bytes, n,
                       cols, memory);
    }
}

static void put_parts(struct ant_weight *w, const struct ant_weight_spec *spec, uint8_t *memory,
                      bool fill)
{
    for (int i = 0; i < spec->n_parts; i++) {
        const struct ant_tensor *tensor = spec->parts[i];
        struct cpu_part *part = &w->parts[i];
        *part =
            (struct cpu_part){.format = &ant_panel_formats[tensor->type],
                              .panels = memory,
                              .rows = (int)ant_tensor_rows(tensor),
                              .n_panels = (int)((ant_tensor_rows(tensor) + 15) / ANT_PANEL_ROWS),
                              .first_row = w->rows};
        w->rows += part->rows;
        if (fill)
            put_part(tensor, memory);
        memory += part_bytes(tensor);
        if (spec->bias[i]) {
            part->bias = (const float *)(void *)memory;
            if (fill)
                put_floats(spec->bias[i], (float *)(void *)memory);
            memory += aligned((size_t)part->rows * sizeof(float));
        }
    }
}

/* Elements of a vector as the spec wants them. */
static const float *put_vector(const struct ant_weight_spec *spec, const struct ant_tensor *tensor,
                               float offset, float *out, bool fill)
{
    float scale = spec->scale > 0 ? spec->scale : 1;
    if (fill)
        put_floats(tensor, out);
    for (int64_t i = 0; fill && i < ant_tensor_elements(tensor); i++)
        out[i] = scale * (out[i] + offset);
    return out;
}

/* A weight that is no stack of experts. */
static int put_one(struct ant_weight *w, const struct ant_weight_spec *spec, size_t bytes,
                   void *memory, bool fill, struct ant_error *err)
{
    ANT_TRY(check(spec, memory, err));
    *w = (struct ant_weight){.memory = memory, .bytes = bytes, .n_parts = spec->n_parts};
    if (spec->is_vector) {
        float *bias = (float *)(void *)((uint8_t *)memory + bytes / 2);
        w->k = ant_tensor_elements(spec->parts[0]);
        w->vector = put_vector(spec, spec->parts[0], spec->offset, memory, fill);
        if (spec->bias[0])
            w->vector_bias = put_vector(spec, spec->bias[0], 0, bias, fill);
    } else {
        w->k = ant_tensor_cols(spec->parts[0]);
        w->n_blocks = ant_panel_blocks(w->k);
        put_parts(w, spec, memory, fill);
    }
    return 0;
}

static int put_experts(struct ant_weight *w, const struct ant_backend *be,
                       const struct ant_weight_spec *spec, uint8_t *memory, bool fill,
                       struct ant_error *err)
{
    *w = (struct ant_weight){.memory = memory, .n_experts = spec->n_experts, .layer = spec->layer};
    w->experts = ant_xcalloc((size_t)spec->n_experts, sizeof *w->experts);
    for (int i = 0; i < spec->n_experts; i++) {
        struct ant_weight_spec expert = expert_of(spec, i);
        size_t bytes = ant_cpu_weight_bytes(be, &expert);
        ANT_TRY(put_one(&w->experts[i], &expert, bytes, memory + w->bytes, fill, err));
        w->bytes += bytes;
    }
    return 0;
}

int ant_cpu_weight_put(struct ant_backend *be, struct ant_weight **out,
                       const struct ant_weight_spec *spec, void *memory, bool fill,
                       struct ant_error *err)
{
    struct cpu_backend *cpu = cpu_of(be);
    struct ant_weight *w = ant_xcalloc(1, sizeof *w);
    const struct ant_tensor *const *parts = spec->n_experts > 0 ? spec->experts : spec->parts;
    int n_matrices = spec->n_parts * (spec->n_experts > 0 ? spec->n_experts : 1);
    bool is_quantized = false;
    for (int i = 0; i < n_matrices && !spec->is_vector; i++)
        is_quantized |= ant_panel_formats[parts[i]->type].groups > 0;
    int rc = spec->n_experts > 0
                 ? put_experts(w, be, spec, memory, fill, err)
                 : put_one(w, spec, ant_cpu_weight_bytes(be, spec), memory, fill, err);
    if (rc < 0) {
        free(w->experts);
        free(w);
        return rc;
    }
    pthread_mutex_lock(&cpu->lock);
    w->next = cpu->weights;
    cpu->weights = w;
    if (spec->n_experts > 0 && cpu->config.spread)
        (spec->n_parts == 2 ? cpu->spread.gate_up : cpu->spread.down)[spec->layer] = w;
    cpu->has_quants |= is_quantized;
    pthread_mutex_unlock(&cpu->lock);
    *out = w;
    return 0;
}
