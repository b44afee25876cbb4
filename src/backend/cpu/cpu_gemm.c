/* SPDX-License-Identifier: Apache-2.0 */
/* Products of activations and packed weights.
 *
 * The work is cut into units of two panels (32 columns; for GLU a gate panel and its up panel) by
 * ranges of rows. A unit's panels are decoded once into the member's scratch, a chunk of k at a
 * time, and all rows of the range are multiplied with them; sums wait in `acc` between chunks.
 * Chunks depend on k alone, so a row's sum has one order whatever the batch. */
#include "config.h"

#include "backend/cpu/cpu.h"

struct gemm_job {
    struct cpu_backend *cpu;
    const struct ant_weight *w;
    const struct cpu_slot *in, *out;
    enum ant_epilogue epilogue;
    int n_rows, n_units, n_splits, rows_per_split;
    int chunk_blocks;
    struct ant_cursor cursor;
};

/* Two panels that are multiplied together. */
struct gemm_unit {
    const struct cpu_part *part;
    struct ant_panel panels[2];
    int n_panels; /* 1: the second is the first again, its result unused */
    int col, cols;
};

static int part_units(const struct cpu_part *part)
{
    return (part->n_panels + 1) / 2;
}

static void find_unit(const struct gemm_job *job, int index, struct gemm_unit *unit)
{
    const struct ant_weight *w = job->w;
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
    for (int i = 0; i < 2; i++)
        unit->panels[i] = ant_panel_at(part->format, part->panels, w->n_blocks,
                                       2 * index + (unit->n_panels == 2 ? i : 0));
    unit->col = index * ANT_TILE_COLS;
    unit->cols = part->rows - unit->col < 32 ? part->rows - unit->col : 32;
}

/* Blocks [b0, b1) of both panels in compute type: where they lie, or decoded. */
static void prepare(const struct gemm_job *job, struct cpu_scratch *scratch,
                    const struct gemm_unit *unit, int b0, int b1, const void *out[2])
{
    const struct ant_dsp *dsp = &job->cpu->dsp;
    for (int i = 0; i < 2; i++) {
        const struct ant_panel *panel = &unit->panels[i];
        if (i >= unit->n_panels) {
            out[i] = out[0];
        } else if (ant_dsp_is_direct(dsp, panel->format)) {
            out[i] = panel->blocks + (size_t)b0 * (size_t)panel->format->block_bytes;
        } else {
            dsp->decode(panel, b0, b1, scratch->panels[i]);
            out[i] = scratch->panels[i];
        }
    }
}

static void finish(const struct gemm_job *job, const struct gemm_unit *unit, const float *acc,
                   int row, int rows)
{
    const struct ant_dsp *dsp = &job->cpu->dsp;
    const struct cpu_slot *out = job->out;
    size_t at = (size_t)row * out->stride + (size_t)(unit->part->first_row + unit->col);
    const float *bias = unit->part->bias ? unit->part->bias + unit->col : NULL;
    float *to = (float *)(void *)out->data + at;
    if (job->epilogue == ANT_EPILOGUE_GLU)
        dsp->glu(acc, rows, unit->cols, out->data + at * cpu_act_bytes(job->cpu), out->stride);
    else if (job->epilogue == ANT_EPILOGUE_ADD)
        dsp->add(acc, rows, unit->cols, bias, to, out->stride);
    else
        dsp->store(acc, rows, unit->cols, bias, to, out->stride);
}

/* Rows [row, end) by one chunk of k, tile by tile. */
static void multiply(const struct gemm_job *job, const struct gemm_unit *unit, const void *b[2],
                     int b0, int b1, int row, int end, float *acc)
{
    const struct ant_dsp *dsp = &job->cpu->dsp;
    ant_tile_fn *tile = ant_dsp_in_float(dsp, unit->panels[0].format) ? dsp->tile_f32 : dsp->tile;
    size_t k = (size_t)b0 * ANT_PANEL_K;
    for (; row < end; row += dsp->tile_rows, acc += dsp->tile_rows * ANT_TILE_COLS) {
        int rows = end - row < dsp->tile_rows ? end - row : dsp->tile_rows;
        const uint8_t *a =
            job->in->data + ((size_t)row * job->in->stride + k) * cpu_act_bytes(job->cpu);
        tile(rows, a, job->in->stride, b[0], b[1], (b1 - b0) * ANT_PANEL_K / 2, acc, b0 == 0, b[0]);
    }
}

static void do_item(const struct gemm_job *job, struct cpu_scratch *scratch, int index)
{
    struct gemm_unit unit;
    const void *b[2];
    int n_blocks = job->w->n_blocks, row = index % job->n_splits * job->rows_per_split;
    int end = row + job->rows_per_split < job->n_rows ? row + job->rows_per_split : job->n_rows;
    bool is_whole = job->chunk_blocks >= n_blocks; /* one chunk: finish while the sums are hot */
    int step = is_whole ? job->cpu->dsp.tile_rows : CPU_ACC_ROWS;
    find_unit(job, index / job->n_splits, &unit);
    if (is_whole)
        prepare(job, scratch, &unit, 0, n_blocks, b);
    for (; row < end; row += step) {
        int stop = row + step < end ? row + step : end;
        for (int b0 = 0; b0 < n_blocks; b0 += job->chunk_blocks) {
            int b1 = b0 + job->chunk_blocks < n_blocks ? b0 + job->chunk_blocks : n_blocks;
            if (!is_whole)
                prepare(job, scratch, &unit, b0, b1, b);
            multiply(job, &unit, b, b0, b1, row, stop, scratch->acc);
        }
        finish(job, &unit, scratch->acc, row, stop - row);
    }
}

static void gemm_member(void *arg, int member)
{
    struct gemm_job *job = arg;
    int i, end;
    job->cpu->dsp.tile_begin();
    while (ant_cursor_next(&job->cursor, &i, &end))
        for (; i < end; i++)
            do_item(job, &job->cpu->scratch[member], i);
    job->cpu->dsp.tile_end();
}

/* Units alone keep few members busy; with many rows ranges of them help. */
static void plan(struct gemm_job *job)
{
    int n_chunks = (job->w->n_blocks + CPU_CHUNK_BLOCKS - 1) / CPU_CHUNK_BLOCKS;
    job->chunk_blocks = (job->w->n_blocks + n_chunks - 1) / n_chunks;
    if (job->epilogue == ANT_EPILOGUE_GLU)
        job->n_units = job->w->parts[0].n_panels;
    else
        for (int i = 0; i < job->w->n_parts; i++)
            job->n_units += part_units(&job->w->parts[i]);
    int tile_rows = job->cpu->dsp.tile_rows;
    int tiles = (job->n_rows + tile_rows - 1) / tile_rows;
    int wanted = (4 * job->cpu->n_members + job->n_units - 1) / job->n_units;
    int most = (tiles + 3) / 4; /* a range is at least four tiles, or decoding takes over */
    int splits = job->cpu->n_members == 1 ? 1 : wanted < most ? wanted : most;
    job->rows_per_split = (tiles + splits - 1) / splits * tile_rows;
    job->n_splits = (job->n_rows + job->rows_per_split - 1) / job->rows_per_split;
    job->cursor.n = job->n_units * job->n_splits;
    job->cursor.chunk = cpu_chunk(job->cpu, job->cursor.n);
}

static bool fits(struct cpu_backend *cpu, const struct ant_weight *w, const struct cpu_slot *in,
                 const struct cpu_slot *out, enum ant_epilogue epilogue)
{
    bool is_glu = epilogue == ANT_EPILOGUE_GLU;
    int rows = is_glu ? w->parts[0].rows : w->rows;
    if (w->vector || in->is_float != !cpu->dsp.is_bf16 || w->k != in->cols || rows > out->cols ||
        (is_glu ? w->n_parts != 2 || w->parts[1].rows != rows || out->is_float != !cpu->dsp.is_bf16
                : !out->is_float)) {
        ant_cpu_fail(cpu, ANT_EBUG, "a product of slots and a weight that do not fit");
        return false;
    }
    if (is_glu && ant_dsp_in_float(&cpu->dsp, w->parts[0].format) !=
                      ant_dsp_in_float(&cpu->dsp, w->parts[1].format)) {
        ant_cpu_fail(cpu, ANT_EUNSUPP, "gate and up weights are of types too different");
        return false;
    }
    return true;
}

void ant_cpu_gemm(struct ant_backend *be, const struct ant_weight *w, enum ant_slot in,
                  enum ant_slot out, enum ant_epilogue epilogue)
{
    struct cpu_backend *cpu = cpu_of(be);
    struct gemm_job job = {
        .cpu = cpu, .w = w, .in = &cpu->slots[in], .out = &cpu->slots[out], .epilogue = epilogue};
    if (cpu->failed || !fits(cpu, w, job.in, job.out, epilogue))
        return;
    job.n_rows = in == ANT_SLOT_LAST ? cpu->batch->n_sampled : cpu->batch->n_rows;
    if (job.n_rows == 0)
        return;
    plan(&job);
    ant_cpu_run(cpu, gemm_member, &job, &cpu->counts.seconds_gemm);
    cpu->counts.weight_bytes += (double)w->bytes;
    cpu->counts.flops += 2.0 * (double)job.n_rows * (double)w->rows * (double)w->k;
}

struct embed_job {
    struct cpu_backend *cpu;
    const struct ant_weight *table;
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
            int32_t token = cpu->batch->tokens[row];
            float *out = cpu_slot_row(cpu, ANT_SLOT_RESIDUAL, row);
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
    if (table->vector || table->k != cpu->arch.hidden || table->parts[0].rows < cpu->arch.vocab) {
        ant_cpu_fail(cpu, ANT_EBUG, "the embedding does not fit the model");
        return;
    }
    int n = cpu->failed ? 0 : cpu->batch->n_rows;
    struct embed_job job = {cpu, table, {.n = n, .chunk = cpu_chunk(cpu, n)}};
    ant_cpu_run_rows(cpu, embed_member, &job, n);
}
