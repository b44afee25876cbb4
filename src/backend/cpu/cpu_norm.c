/* SPDX-License-Identifier: Apache-2.0 */
/* Norms of rows: the usual one by the level's own kernel, others here. Sums are kept in 16 lanes
 * that are added in halves, whatever vectors the compiler makes of them. */
#include "config.h"

#include "backend/cpu/cpu.h"

#include <math.h>
#include <string.h>

enum { LANES = 16 };

static float add_lanes(float lanes[LANES])
{
    for (int width = LANES / 2; width > 0; width /= 2)
        for (int i = 0; i < width; i++)
            lanes[i] += lanes[i + width];
    return lanes[0];
}

/* 1 / sqrt(mean(x^2) + eps) */
static float rms_scale(const float *x, float eps, int n)
{
    float lanes[LANES] = {0};
    int i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int lane = 0; lane < LANES; lane++)
            lanes[lane] += x[i + lane] * x[i + lane];
    for (int lane = 0; i < n; i++, lane++)
        lanes[lane] += x[i] * x[i];
    return 1 / sqrtf(add_lanes(lanes) / (float)n + eps);
}

void ant_cpu_rms_norm(float *x, const float *weight, float eps, int n)
{
    float scale = rms_scale(x, eps, n);
    for (int i = 0; i < n; i++)
        x[i] *= scale * weight[i];
}

/* out = layer_norm(x), or the RMS norm of x, times the weight, all in float */
static void norm_row(const struct ant_arch *arch, const struct ant_weight *w, const float *x,
                     float *out)
{
    int n = arch->hidden;
    float mean = 0, lanes[LANES] = {0};
    if (arch->norm == ANT_NORM_LAYER) {
        for (int i = 0; i < n; i++)
            lanes[i % LANES] += x[i];
        mean = add_lanes(lanes) / (float)n;
    }
    for (int i = 0; i < n; i++)
        out[i] = x[i] - mean;
    ant_cpu_rms_norm(out, w->vector, arch->norm_eps, n);
    for (int i = 0; w->vector_bias && i < n; i++)
        out[i] += w->vector_bias[i];
}

struct norm_job {
    struct cpu_backend *cpu;
    const struct ant_weight *w; /* NULL: only copied */
    enum ant_slot to;           /* RESIDUAL: the norm of BRANCH is added to it */
    struct ant_cursor cursor;
};

static void add_norm(const struct norm_job *job, float *room, int row)
{
    const struct cpu_backend *cpu = job->cpu;
    float *residual = cpu_slot_row(cpu, ANT_SLOT_RESIDUAL, row);
    norm_row(&cpu->arch, job->w, cpu_slot_row(cpu, ANT_SLOT_BRANCH, row), room);
    for (int i = 0; i < cpu->arch.hidden; i++)
        residual[i] += room[i];
}

static void norm_member(void *arg, int member)
{
    struct norm_job *job = arg;
    struct cpu_backend *cpu = job->cpu;
    const struct ant_arch *arch = &cpu->arch;
    float *room = cpu->scratch[member].row;
    int row, end;
    while (ant_cursor_next(&job->cursor, &row, &end))
        for (; row < end; row++) {
            bool is_apart = job->to == ANT_SLOT_LAST && !cpu->keeps_sampled;
            int from = is_apart ? cpu->batch->sampled[row] : row;
            const float *x = cpu_slot_row(cpu, ANT_SLOT_RESIDUAL, from);
            bool makes_acts = cpu->slots[job->to].has_acts;
            float *out = makes_acts ? room : cpu_slot_row(cpu, job->to, row);
            if (job->to == ANT_SLOT_RESIDUAL) {
                add_norm(job, room, row);
            } else if (job->w == NULL) {
                memcpy(out, x, (size_t)arch->hidden * sizeof *out);
            } else if (arch->norm == ANT_NORM_RMS) {
                cpu->dsp.norm(x, job->w->vector, arch->norm_eps, arch->hidden, out);
            } else {
                norm_row(arch, job->w, x, out);
            }
            if (makes_acts) {
                cpu->dsp.to_bf16(room, arch->hidden, cpu_acts_row(&cpu->slots[job->to], row));
                cpu_pad_acts(&cpu->slots[job->to], row);
            }
        }
}

static void norm_rows(struct cpu_backend *cpu, const struct ant_weight *w, enum ant_slot to)
{
    if (w && (w->vector == NULL || w->k != cpu->arch.hidden))
        ant_cpu_fail(cpu, ANT_EBUG, "a norm weight that does not fit the model");
    if (cpu->failed)
        return;
    int n = to == ANT_SLOT_LAST ? cpu->batch->n_sampled : cpu->n_rows;
    struct norm_job job = {cpu, w, to, {.n = n, .chunk = cpu_chunk(cpu, n)}};
    cpu->slots[to].has_acts = to != ANT_SLOT_RESIDUAL && cpu_makes_acts(cpu);
    ant_cpu_run_rows(cpu, norm_member, &job, n);
}

static void cap_member(void *arg, int member)
{
    struct norm_job *job = arg;
    struct cpu_backend *cpu = job->cpu;
    int row, end;
    (void)member;
    while (ant_cursor_next(&job->cursor, &row, &end))
        for (; row < end; row++)
            cpu->dsp.softcap(cpu_slot_row(cpu, job->to, row), cpu->arch.logit_softcap,
                             cpu->arch.vocab);
}

void ant_cpu_cap_logits(struct cpu_backend *cpu)
{
    struct norm_job job = {cpu, NULL, ANT_SLOT_LOGITS, {.n = cpu->batch->n_sampled, .chunk = 1}};
    if (cpu->arch.logit_softcap > 0)
        ant_cpu_run(cpu, cap_member, &job, &cpu->tally.seconds_other);
}

void ant_cpu_norm(struct ant_backend *be, const struct ant_weight *w)
{
    norm_rows(cpu_of(be), w, ANT_SLOT_NORMED);
}

void ant_cpu_norm_add(struct ant_backend *be, const struct ant_weight *w)
{
    norm_rows(cpu_of(be), w, ANT_SLOT_RESIDUAL);
}

void ant_cpu_norm_sampled(struct ant_backend *be, const struct ant_weight *w)
{
    norm_rows(cpu_of(be), w, ANT_SLOT_LAST);
}

static void keep_rows(const struct cpu_backend *cpu, struct cpu_slot *slot)
{
    uint8_t *data = (uint8_t *)slot->data;
    size_t bytes = slot->has_acts ? cpu_acts_bytes(slot) : slot->stride * sizeof(float);
    for (int i = 0; i < cpu->batch->n_sampled; i++)
        memmove(data + (size_t)i * bytes, data + (size_t)cpu->batch->sampled[i] * bytes, bytes);
}

/* Sampled rows move to the front, each before its place is taken: they are in order. */
void ant_cpu_keep_sampled(struct ant_backend *be)
{
    struct cpu_backend *cpu = cpu_of(be);
    const struct ant_batch *batch = cpu->batch;
    if (cpu->failed || batch->n_sampled == batch->n_rows)
        return;
    for (int i = 1; i < batch->n_sampled; i++)
        if (batch->sampled[i] <= batch->sampled[i - 1])
            return;
    keep_rows(cpu, &cpu->slots[ANT_SLOT_RESIDUAL]);
    keep_rows(cpu, &cpu->slots[ANT_SLOT_ATTN]);
    cpu->n_rows = batch->n_sampled;
    cpu->keeps_sampled = true;
}
