/* SPDX-License-Identifier: Apache-2.0 */
/* Products of activations and packed weights.
 *
 * First the input's rows are brought into the form that the weight is multiplied with: integers for
 * quantized weights, bfloat16 for others where the level has such products. Then the work is cut
 * into units of two panels (32 columns; for GLU a gate panel and its up panel) by ranges of rows.
 * Quantized panels are multiplied as they lie. Panels of floats that a level does not compute from
 * are decoded into the member's scratch, a chunk of k at a time, for up to CPU_ACC_ROWS rows, whose
 * sums wait in `acc` between chunks. Chunks depend on k alone, so a row's sum has one order
 * whatever the batch. */
#include "config.h"

#include <string.h>

#include "backend/cpu/cpu.h"

/* Products of one kind in one go: of one weight, or of many experts' by the rows of each. */
struct gemm_job {
    struct cpu_backend *cpu;
    const struct cpu_slot *in, *out;
    enum ant_epilogue epilogue;
    const struct cpu_product *products;
    int n_products, n_rows;
    int64_t k;
    int n_blocks; /* of k */
    bool has_quants, has_acts;
    struct cpu_input quants, acts;
    struct ant_cursor cursor;
};

/* Two panels that are multiplied together. */
struct gemm_unit {
    const struct cpu_part *part;
    struct ant_panel panels[2];
    int n_panels;
    int col, cols;
};

static bool is_quantized(const struct ant_panel_format *format)
{
    return format->groups > 0;
}

static int part_units(const struct cpu_part *part)
{
    return (part->n_panels + 1) / 2;
}

static void find_unit(const struct gemm_job *job, const struct ant_weight *w, int index,
                      struct gemm_unit *unit)
{
    const struct cpu_part *part = w->parts;
    if (job->epilogue == ANT_EPILOGUE_GLU) {
        unit->part = part;
        unit->n_panels = 2;
        for (int i = 0; i < 2; i++)
            unit->panels[i] = ant_panel_at(part[i].format, part[i].panels, w->n_blocks, index);
        unit->col = index * ANT_PANEL_ROWS;
        unit->cols = part->rows - unit->col < 16 ? part->rows - unit->col : 16;
        return;
    }
    while (index >= part_units(part))
        index -= part_units(part++);
    unit->part = part;
    unit->n_panels = part->n_panels - 2 * index < 2 ? 1 : 2;
    for (int i = 0; i < unit->n_panels; i++)
        unit->panels[i] = ant_panel_at(part->format, part->panels, w->n_blocks, 2 * index + i);
    unit->col = index * ANT_TILE_COLS;
    unit->cols = part->rows - unit->col < 32 ? part->rows - unit->col : 32;
}

/* Blocks [b0, b1) of panels of floats in compute type: where they lie, or decoded. With one panel
 * the second is the first again, its result unused. */
static void prepare(const struct gemm_job *job, struct cpu_scratch *scratch,
                    const struct ant_panel *panels, int n_panels, int rows, int b0, int b1,
                    const void *out[2])
{
    const struct ant_dsp *dsp = &job->cpu->dsp;
    for (int i = 0; i < 2; i++) {
        const struct ant_panel *panel = &panels[i];
        if (i >= n_panels) {
            out[i] = out[0];
        } else if (ant_dsp_is_direct(dsp, panel->format, rows)) {
            out[i] = panel->blocks + (size_t)b0 * (size_t)panel->format->block_bytes;
        } else {
            dsp->decode(panel, b0, b1, scratch->panels[i]);
            out[i] = scratch->panels[i];
        }
    }
}

/* Sums of `rows` rows from `row` by one or two panels of floats: all 32 columns of acc. */
static void multiply_floats(const struct gemm_job *job, int chunk_blocks,
                            struct cpu_scratch *scratch, const struct ant_panel *panels,
                            int n_panels, int row, int rows, ptrdiff_t ahead, float *acc)
{
    const struct ant_dsp *dsp = &job->cpu->dsp;
    ant_tile_fn *tile = ant_dsp_tile(dsp, panels[0].format, rows);
    size_t act_bytes = cpu_act_bytes(job->cpu);
    if (!ant_dsp_is_direct(dsp, panels[0].format, rows))
        ahead = 0;
    for (int b0 = 0; b0 < job->n_blocks; b0 += chunk_blocks) {
        int b1 = b0 + chunk_blocks < job->n_blocks ? b0 + chunk_blocks : job->n_blocks;
        const void *b[2];
        prepare(job, scratch, panels, n_panels, rows, b0, b1, b);
        for (int r = 0; r < rows; r += dsp->tile_rows) {
            int n = rows - r < dsp->tile_rows ? rows - r : dsp->tile_rows;
            const uint8_t *a = job->acts.data + (size_t)(row + r) * job->acts.row_bytes +
                               (size_t)b0 * ANT_PANEL_K * act_bytes;
            tile(n, a, job->acts.row_bytes / act_bytes, b[0], b[1], (b1 - b0) * ANT_PANEL_K / 2,
                 acc + r * ANT_TILE_COLS, b0 == 0, r + n < rows ? 0 : ahead);
        }
    }
}

static void multiply_quants(const struct gemm_job *job, const struct ant_panel *panels,
                            int n_panels, int row, int rows, ptrdiff_t ahead, float *acc)
{
    const uint8_t *a = job->quants.data + (size_t)row * job->quants.row_bytes;
    job->cpu->dsp.tile_quant(rows, (const struct ant_quant *)(const void *)a, job->quants.row_bytes,
                             panels, n_panels, job->n_blocks, acc, ahead);
}

/* Panels of different kinds, each for itself. */
static void multiply_mixed(const struct gemm_job *job, int chunk_blocks,
                           struct cpu_scratch *scratch, const struct gemm_unit *unit, int row,
                           int rows)
{
    for (int i = 0; i < 2; i++) {
        float *acc = scratch->acc + i * ANT_PANEL_ROWS;
        if (is_quantized(unit->panels[i].format)) {
            multiply_quants(job, &unit->panels[i], 1, row, rows, 0, acc);
            continue;
        }
        multiply_floats(job, chunk_blocks, scratch, &unit->panels[i], 1, row, rows, 0,
                        scratch->other);
        for (int r = 0; r < rows; r++)
            memcpy(acc + r * ANT_TILE_COLS, scratch->other + r * ANT_TILE_COLS,
                   ANT_PANEL_ROWS * sizeof *acc);
    }
}

/* x sigmoid(x), and x sigmoid(2 sqrt(2 / pi) (x + 0.044715 x^3)), which is GELU's tanh form */
static const struct ant_glu glu_acts[] = {
    [ANT_ACT_SILU] = {-1.44269504f, 0},
    [ANT_ACT_GELU] = {-2.30220820f, -0.102943240f},
};

static void finish_glu(const struct gemm_job *job, const struct gemm_unit *unit, const float *acc,
                       int row, int rows)
{
    const struct cpu_slot *out = job->out;
    void *to = out->data + (size_t)row * out->stride + (size_t)unit->col;
    size_t ldo = out->stride;
    if (out->has_acts) {
        to = cpu_acts_row(out, row) + unit->col;
        ldo = cpu_acts_bytes(out) / sizeof(uint16_t);
    }
    job->cpu->dsp.glu(acc, rows, unit->cols, glu_acts[job->cpu->arch.act], to, ldo, out->has_acts);
    for (int r = row; out->has_acts && unit->col + unit->cols == out->cols && r < row + rows; r++)
        cpu_pad_acts(out, r);
}

static void finish(const struct gemm_job *job, const struct gemm_unit *unit, const float *acc,
                   int row, int rows)
{
    const struct ant_dsp *dsp = &job->cpu->dsp;
    const struct cpu_slot *out = job->out;
    const float *bias = unit->part->bias ? unit->part->bias + unit->col : NULL;
    float *to = out->data + (size_t)row * out->stride + (size_t)(unit->part->first_row + unit->col);
    if (job->epilogue == ANT_EPILOGUE_GLU)
        finish_glu(job, unit, acc, row, rows);
    else if (job->epilogue == ANT_EPILOGUE_ADD)
        dsp->add(acc, rows, unit->cols, bias, to, out->stride);
    else
        dsp->store(acc, rows, unit->cols, bias, to, out->stride);
}

/* What a member does at a time: a unit by a range of rows. */
struct gemm_item {
    struct gemm_unit unit;
    int row, end, chunk_blocks;
};

/* The product that item `i` belongs to. */
static const struct cpu_product *product_of(const struct gemm_job *job, int i)
{
    int low = 0, high = job->n_products;
    while (high - low > 1) {
        int middle = (low + high) / 2;
        if (job->products[middle].first_item <= i)
            low = middle;
        else
            high = middle;
    }
    return &job->products[low];
}

static void find_item(const struct gemm_job *job, int i, struct gemm_item *item)
{
    const struct cpu_product *product = product_of(job, i);
    int index = i - product->first_item, end = product->row + product->n_rows;
    item->row = product->row + index / product->n_units * product->rows_per_split;
    item->end =
        item->row + product->rows_per_split < end ? item->row + product->rows_per_split : end;
    item->chunk_blocks = product->chunk_blocks;
    find_unit(job, product->w, index % product->n_units, &item->unit);
}

/* `ahead`: how far behind the item's panels lie those of the next, or 0. */
static void do_item(const struct gemm_job *job, const struct gemm_item *item, ptrdiff_t ahead,
                    struct cpu_scratch *scratch)
{
    const struct gemm_unit *unit = &item->unit;
    const struct ant_panel *panels = unit->panels;
    bool is_mixed = unit->n_panels == 2 && panels[0].format != panels[1].format;
    for (int rows, row = item->row; row < item->end; row += rows) {
        rows = item->end - row < CPU_ACC_ROWS ? item->end - row : CPU_ACC_ROWS;
        ptrdiff_t then = row + rows < item->end ? 0 : ahead;
        if (is_mixed)
            multiply_mixed(job, item->chunk_blocks, scratch, unit, row, rows);
        else if (is_quantized(panels[0].format))
            multiply_quants(job, panels, unit->n_panels, row, rows, then, scratch->acc);
        else
            multiply_floats(job, item->chunk_blocks, scratch, panels, unit->n_panels, row, rows,
                            then, scratch->acc);
        finish(job, unit, scratch->acc, row, rows);
    }
}

/* Items that a member has taken from the cursor. */
struct gemm_share {
    int next, end;
};

static bool take_item(struct gemm_job *job, struct gemm_share *share, struct gemm_item *item)
{
    if (share->next == share->end && !ant_cursor_next(&job->cursor, &share->next, &share->end))
        return false;
    find_item(job, share->next++, item);
    return true;
}

/* A member has its next item before it does the one at hand, so that it can ask memory for it. */
static void gemm_member(void *arg, int member)
{
    struct gemm_job *job = arg;
    struct gemm_share share = {0, 0};
    struct gemm_item item, next;
    bool has_item = take_item(job, &share, &item);
    job->cpu->dsp.tile_begin();
    while (has_item) {
        bool has_next = take_item(job, &share, &next);
        ptrdiff_t ahead = has_next ? next.unit.panels[0].blocks - item.unit.panels[0].blocks : 0;
        do_item(job, &item, ahead, &job->cpu->scratch[member]);
        item = next;
        has_item = has_next;
    }
    job->cpu->dsp.tile_end();
}

/* ---- inputs ---------------------------------------------------------------------------------- */

static void convert_member(void *arg, int member)
{
    struct gemm_job *job = arg;
    const struct ant_dsp *dsp = &job->cpu->dsp;
    size_t k = (size_t)job->k, k_pad = (size_t)job->n_blocks * ANT_PANEL_K;
    int row, end;
    (void)member;
    while (ant_cursor_next(&job->cursor, &row, &end))
        for (; row < end; row++) {
            const float *from = job->in->data + (size_t)row * job->in->stride;
            if (job->has_quants) {
                uint8_t *to = job->quants.data + (size_t)row * job->quants.row_bytes;
                dsp->quantize(from, (int)k, (struct ant_quant *)(void *)to);
            }
            if (job->has_acts && dsp->is_bf16) { /* beside quantized ones */
                uint16_t *to =
                    (uint16_t *)(void *)(job->acts.data + (size_t)row * job->acts.row_bytes);
                dsp->convert(from, 1, (int)k, to);
                memset(to + k, 0, (k_pad - k) * sizeof *to); /* zero weights, but not by NaN */
            }
        }
}

static void convert(struct gemm_job *job)
{
    struct cpu_backend *cpu = job->cpu;
    size_t n_blocks = (size_t)job->n_blocks;
    if (job->in->has_acts) {
        job->acts = (struct cpu_input){(uint8_t *)job->in->data, cpu_acts_bytes(job->in)};
        return;
    }
    job->quants =
        (struct cpu_input){cpu->quants, cpu_row_bytes(n_blocks * sizeof(struct ant_quant))};
    if (cpu->dsp.is_bf16)
        job->acts = (struct cpu_input){cpu->acts, cpu_row_bytes(n_blocks * ANT_PANEL_K * 2)};
    else
        job->acts = (struct cpu_input){(uint8_t *)job->in->data, job->in->stride * sizeof(float)};
    if (!job->has_quants && !cpu->dsp.is_bf16)
        return;
    job->cursor = (struct ant_cursor){.n = job->n_rows, .chunk = cpu_chunk(cpu, job->n_rows)};
    ant_cpu_run_rows(cpu, convert_member, job, job->n_rows);
}

/* ---- the operation --------------------------------------------------------------------------- */

/* Rows of the input that a member's second level of cache holds while it goes through the units. */
static int held_rows(const struct gemm_job *job)
{
    size_t block =
        job->has_quants ? sizeof(struct ant_quant) : ANT_PANEL_K * cpu_act_bytes(job->cpu);
    int rows = CPU_HELD_BYTES / (int)((size_t)job->n_blocks * block);
    return rows > CPU_ACC_ROWS ? rows : CPU_ACC_ROWS;
}

/* Units alone keep few members busy; with many rows ranges of them help. A range goes through all
 * units before the next one does, and stays in the second level of cache meanwhile. */
static void plan(struct gemm_job *job, struct cpu_product *product)
{
    const struct ant_weight *w = product->w;
    int n_chunks = (w->n_blocks + CPU_CHUNK_BLOCKS - 1) / CPU_CHUNK_BLOCKS;
    product->chunk_blocks = (w->n_blocks + n_chunks - 1) / n_chunks;
    product->n_units = job->epilogue == ANT_EPILOGUE_GLU ? w->parts[0].n_panels : 0;
    for (int i = 0; i < w->n_parts && job->epilogue != ANT_EPILOGUE_GLU; i++)
        product->n_units += part_units(&w->parts[i]);
    for (int i = 0; i < w->n_parts; i++)
        *(is_quantized(w->parts[i].format) ? &job->has_quants : &job->has_acts) = true;
    int tile_rows = job->cpu->dsp.tile_rows;
    int tiles = (product->n_rows + tile_rows - 1) / tile_rows;
    int wanted = (4 * job->cpu->n_members + product->n_units - 1) / product->n_units;
    int most = (tiles + 3) / 4; /* a range is at least four tiles, or decoding takes over */
    int splits = job->cpu->n_members == 1 ? 1 : wanted < most ? wanted : most;
    int parts = (product->n_rows + held_rows(job) - 1) / held_rows(job);
    splits = splits > parts ? splits : parts;
    product->rows_per_split = (tiles + splits - 1) / splits * tile_rows;
    product->n_splits = (product->n_rows + product->rows_per_split - 1) / product->rows_per_split;
}

static bool fits(const struct gemm_job *job, const struct ant_weight *w)
{
    bool is_glu = job->epilogue == ANT_EPILOGUE_GLU;
    int rows = is_glu ? w->parts[0].rows : w->rows;
    if (w->vector == NULL && w->k == job->in->cols && rows <= job->out->cols &&
        (!is_glu || (w->n_parts == 2 && w->parts[1].rows == rows)))
        return true;
    ant_cpu_fail(job->cpu, ANT_EBUG, "a product of slots and a weight that do not fit");
    return false;
}

void ant_cpu_products(struct cpu_backend *cpu, const struct cpu_slot *in,
                      const struct cpu_slot *out, enum ant_epilogue epilogue,
                      struct cpu_product *products, int n, int n_rows)
{
    struct gemm_job job = {.cpu = cpu,
                           .in = in,
                           .out = out,
                           .epilogue = epilogue,
                           .products = products,
                           .n_products = n,
                           .n_rows = n_rows,
                           .k = in->cols,
                           .n_blocks = ant_panel_blocks(in->cols)};
    int n_items = 0;
    for (int i = 0; i < n && !cpu->failed && fits(&job, products[i].w); i++) {
        struct cpu_product *product = &products[i];
        plan(&job, product);
        product->first_item = n_items;
        n_items += product->n_units * product->n_splits;
        ant_tally_add(&cpu->tally.weight_bytes, (double)product->w->bytes);
        ant_tally_add(&cpu->tally.flops, 2.0 * (double)product->n_rows * (double)product->w->rows *
                                             (double)product->w->k);
    }
    if (job.has_quants && in->has_acts)
        ant_cpu_fail(cpu, ANT_EBUG, "a quantized weight came after the input was made without it");
    if (cpu->failed || n_rows == 0)
        return;
    convert(&job);
    int parts = n_rows <= CPU_STREAM_ROWS ? CPU_STREAMS * cpu->n_members : 0;
    job.cursor = (struct ant_cursor){
        .n = n_items, .chunk = parts > 0 ? (n_items + parts - 1) / parts : cpu_chunk(cpu, n_items)};
    ant_cpu_run(cpu, gemm_member, &job, &cpu->tally.seconds_gemm);
}

void ant_cpu_gemm(struct ant_backend *be, const struct ant_weight *w, enum ant_slot in,
                  enum ant_slot out, enum ant_epilogue epilogue)
{
    struct cpu_backend *cpu = cpu_of(be);
    if (cpu->failed)
        return;
    int n_rows = in == ANT_SLOT_LAST ? cpu->batch->n_sampled : cpu->n_rows;
    struct cpu_product product = {.w = w, .n_rows = n_rows};
    if (n_rows == 0)
        return;
    cpu->slots[out].has_acts = epilogue == ANT_EPILOGUE_GLU && cpu_makes_acts(cpu);
    if (epilogue == ANT_EPILOGUE_SHARE)
        ant_cpu_add_share(cpu, w, in);
    else
        ant_cpu_products(cpu, &cpu->slots[in], &cpu->slots[out], epilogue, &product, 1, n_rows);
    if (out == ANT_SLOT_LOGITS)
        ant_cpu_cap_logits(cpu);
}

struct embed_job {
    struct cpu_backend *cpu;
    const struct ant_weight *table;
    int first; /* the table's first token */
    struct ant_cursor cursor;
};

static void embed_member(void *arg, int member)
{
    struct embed_job *job = arg;
    struct cpu_backend *cpu = job->cpu;
    const struct cpu_part *part = &job->table->parts[0];
    float scale = (float)cpu->arch.embed_scale;
    int row, end;
    (void)member;
    while (ant_cursor_next(&job->cursor, &row, &end))
        for (; row < end; row++) {
            int32_t token = cpu->batch->tokens[row] - job->first;
            float *out = cpu_slot_row(cpu, ANT_SLOT_RESIDUAL, row);
            if (token < 0 || token >= part->rows) { /* another rank of the stage has it */
                memset(out, 0, (size_t)job->table->k * sizeof *out);
                continue;
            }
            struct ant_panel panel = ant_panel_at(part->format, part->panels, job->table->n_blocks,
                                                  token / ANT_PANEL_ROWS);
            ant_panel_row(&panel, token % ANT_PANEL_ROWS, job->table->k, out);
            for (int64_t i = 0; scale != 1 && i < job->table->k; i++)
                out[i] *= scale;
        }
}

void ant_cpu_embed(struct ant_backend *be, const struct ant_weight *table)
{
    struct cpu_backend *cpu = cpu_of(be);
    int first = 0, n_tokens = cpu->arch.vocab;
    if (cpu->config.vocab_start) {
        const int *start = cpu->config.vocab_start + cpu->config.parallel->tp_rank;
        first = start[0];
        n_tokens = start[1] - start[0];
    }
    if (table->vector || table->k != cpu->arch.hidden || table->parts[0].rows < n_tokens) {
        ant_cpu_fail(cpu, ANT_EBUG, "the embedding does not fit the model");
        return;
    }
    int n = cpu->failed ? 0 : cpu->batch->n_rows;
    struct embed_job job = {cpu, table, first, {.n = n, .chunk = cpu_chunk(cpu, n)}};
    ant_cpu_run_rows(cpu, embed_member, &job, n);
}
