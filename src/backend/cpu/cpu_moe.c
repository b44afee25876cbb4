/* SPDX-License-Identifier: Apache-2.0 */
/* Mixtures of experts. Rows choose their experts, are copied to places sorted by expert, go through
 * their experts' products, all of them in one go, and are summed up in the order in which they
 * chose. Nothing of it depends on which rows share the step: a product gives a row the same bits
 * among any others. */
#include "config.h"

#include <math.h>
#include <string.h>

#include "backend/cpu/cpu.h"

enum { NOWHERE = -1 };

struct moe_job {
    struct cpu_backend *cpu;
    const float *bias; /* of the router, or NULL */
    struct ant_cursor cursor;
};

static float *row_of(const struct cpu_slot *slot, int row)
{
    return slot->data + (size_t)row * slot->stride;
}

static void run_rows(struct cpu_backend *cpu, ant_team_fn *fn, const float *bias)
{
    int n = cpu->n_rows;
    struct moe_job job = {cpu, bias, {.n = n, .chunk = cpu_chunk(cpu, n)}};
    ant_cpu_run_rows(cpu, fn, &job, n);
}

/* ---- choosing -------------------------------------------------------------------------------- */

/* The greatest of n scores, the first of equals. */
static int best_of(const float *scores, int n)
{
    int best = 0;
    for (int i = 1; i < n; i++)
        if (scores[i] > scores[best])
            best = i;
    return best;
}

/* The weight of the best of `masked` among those close to it; closeness is measured by the scores
 * as they were. */
static float sparse_weight(const struct ant_moe *moe, const float *scores, const float *masked,
                           int best)
{
    float max = masked[best], sum = 0;
    for (int i = 0; i < moe->n_experts; i++) {
        float size = fabsf(scores[i]) > max ? fabsf(scores[i]) : max;
        if (masked[i] > -INFINITY && !((max - scores[i]) / size > 2 * moe->jitter))
            sum += expf(masked[i] - max);
    }
    return 1 / sum;
}

static void choose_sparse(const struct ant_moe *moe, const float *scores, int32_t *ids,
                          float *weights)
{
    float masked[ANT_MAX_EXPERTS];
    memcpy(masked, scores, (size_t)moe->n_experts * sizeof *masked);
    for (int i = 0; i < moe->n_used; i++) {
        ids[i] = best_of(masked, moe->n_experts);
        weights[i] = sparse_weight(moe, scores, masked, ids[i]);
        masked[ids[i]] = -INFINITY;
    }
}

/* Scores of experts whose group is not among the best are taken out. */
static void keep_groups(const struct ant_moe *moe, float *scores)
{
    int size = moe->n_groups > 0 ? moe->n_experts / moe->n_groups : 0;
    float sums[ANT_MAX_EXPERTS];
    for (int i = 0; i < moe->n_groups; i++) {
        const float *group = scores + i * size;
        float best = -INFINITY, second = -INFINITY;
        for (int j = 0; j < size; j++) {
            second = fmaxf(second, fminf(best, group[j]));
            best = fmaxf(best, group[j]);
        }
        sums[i] = best + second;
    }
    for (int i = 0; i < moe->n_groups_used; i++)
        sums[best_of(sums, moe->n_groups)] = -INFINITY; /* it stays */
    for (int i = 0; i < moe->n_groups * size; i++)
        if (sums[i / size] > -INFINITY)
            scores[i] = -INFINITY;
}

/* The best by their scores and `bias`, or NULL, with weights of their scores alone. */
static void choose_best(const struct ant_moe *moe, const float *scores, const float *bias,
                        int32_t *ids, float *weights)
{
    bool is_softmax = moe->score == ANT_ROUTER_SOFTMAX;
    float left[ANT_MAX_EXPERTS], values[ANT_MAX_EXPERTS], sum = 0;
    float max = scores[best_of(scores, moe->n_experts)];
    for (int i = 0; i < moe->n_experts; i++) {
        values[i] = is_softmax ? expf(scores[i] - max) : 1 / (1 + expf(-scores[i]));
        left[i] = (is_softmax ? scores[i] : values[i]) + (bias ? bias[i] : 0);
        sum += is_softmax && !moe->is_renormalized ? values[i] : 0;
    }
    keep_groups(moe, left);
    for (int i = 0; i < moe->n_used; i++) {
        ids[i] = best_of(left, moe->n_experts);
        weights[i] = values[ids[i]];
        left[ids[i]] = -INFINITY;
        sum += moe->is_renormalized ? weights[i] : 0;
    }
    float scale = moe->scale > 0 ? (float)moe->scale : 1;
    for (int i = 0; i < moe->n_used; i++)
        weights[i] *= is_softmax || moe->is_renormalized ? scale / sum : scale;
}

static void choose_member(void *arg, int member)
{
    struct moe_job *job = arg;
    const struct cpu_moe *at = &job->cpu->moe;
    const struct ant_moe *moe = &job->cpu->arch.moe;
    int row, end;
    (void)member;
    while (ant_cursor_next(&job->cursor, &row, &end))
        for (; row < end; row++) {
            const float *scores = row_of(&at->logits, row);
            int32_t *ids = at->ids + (size_t)row * (size_t)moe->n_used;
            float *weights = at->weights + (size_t)row * (size_t)moe->n_used;
            if (moe->score == ANT_ROUTER_SPARSEMIXER)
                choose_sparse(moe, scores, ids, weights);
            else
                choose_best(moe, scores, job->bias, ids, weights);
        }
}

/* Rows sorted by expert, and by row within one; those of experts that others add have no place.
 */
static void sort_places(struct cpu_backend *cpu)
{
    const struct ant_moe *moe = &cpu->arch.moe;
    const struct ant_spread *spread = cpu->config.spread;
    struct cpu_moe *at = &cpu->moe;
    int n = cpu->n_rows * moe->n_used;
    int first = spread ? spread->start[0] : moe->first_held;
    int n_added = spread ? spread->start[spread->n] - first : moe->n_held;
    int32_t next[ANT_MAX_EXPERTS];
    memset(at->first, 0, ((size_t)n_added + 1) * sizeof *at->first);
    for (int i = 0; i < n; i++) {
        int expert = at->ids[i] - first;
        at->places[i] = expert >= 0 && expert < n_added ? expert : NOWHERE;
        if (at->places[i] != NOWHERE)
            at->first[expert + 1]++;
    }
    for (int i = 0; i < n_added; i++) {
        at->first[i + 1] += at->first[i];
        next[i] = at->first[i];
    }
    for (int i = 0; i < n; i++)
        if (at->places[i] != NOWHERE)
            at->places[i] = next[at->places[i]]++;
}

void ant_cpu_route(struct ant_backend *be, const struct ant_weight *router)
{
    struct cpu_backend *cpu = cpu_of(be);
    const struct ant_moe *moe = &cpu->arch.moe;
    struct ant_weight plain = *router; /* its bias is not the product's */
    struct cpu_product product = {.w = &plain, .n_rows = cpu->n_rows};
    plain.parts[0].bias = NULL;
    if (moe->n_experts == 0 || router->rows != moe->n_experts + (router->n_parts == 2))
        ant_cpu_fail(cpu, ANT_EBUG, "a router that does not fit the model");
    if (cpu->failed || cpu->n_rows == 0)
        return;
    ant_cpu_products(cpu, &cpu->slots[ANT_SLOT_NORMED], &cpu->moe.logits, ANT_EPILOGUE_STORE,
                     &product, 1, product.n_rows);
    run_rows(cpu, choose_member, router->parts[0].bias);
    if (!cpu->failed)
        sort_places(cpu);
}

/* ---- the experts ----------------------------------------------------------------------------- */

static void gather_member(void *arg, int member)
{
    struct moe_job *job = arg;
    struct cpu_backend *cpu = job->cpu;
    size_t bytes = (size_t)cpu->arch.hidden * sizeof(float);
    int row, end, n = cpu->arch.moe.n_used;
    (void)member;
    while (ant_cursor_next(&job->cursor, &row, &end))
        for (; row < end; row++)
            for (int i = row * n; i < (row + 1) * n; i++)
                if (cpu->moe.places[i] != NOWHERE)
                    memcpy(row_of(&cpu->moe.in, cpu->moe.places[i]),
                           cpu_slot_row(cpu, ANT_SLOT_NORMED, row), bytes);
}

static void combine_member(void *arg, int member)
{
    struct moe_job *job = arg;
    struct cpu_backend *cpu = job->cpu;
    const struct cpu_slot *out = &cpu->moe.out;
    int row, end, n = cpu->arch.moe.n_used;
    (void)member;
    while (ant_cursor_next(&job->cursor, &row, &end))
        for (; row < end; row++) {
            float *residual = cpu_slot_row(cpu, ANT_SLOT_RESIDUAL, row);
            for (int i = row * n; i < (row + 1) * n; i++) {
                if (cpu->moe.places[i] == NOWHERE)
                    continue;
                const float *x = row_of(out, cpu->moe.places[i]);
                float weight = cpu->moe.weights[i];
                for (int j = 0; j < cpu->arch.hidden; j++)
                    residual[j] += weight * x[j];
            }
        }
}

/* Every held expert's matrix by its rows. */
static void multiply(struct cpu_backend *cpu, const struct ant_weight *w, const int32_t *first,
                     const struct cpu_slot *in, const struct cpu_slot *out,
                     enum ant_epilogue epilogue)
{
    int n = 0;
    for (int i = 0; i < w->n_experts; i++)
        if (first[i + 1] > first[i])
            cpu->moe.products[n++] = (struct cpu_product){
                .w = &w->experts[i], .row = first[i] - first[0], .n_rows = first[i + 1] - first[i]};
    ant_cpu_products(cpu, in, out, epilogue, cpu->moe.products, n, first[w->n_experts] - first[0]);
}

static struct cpu_slot rows_from(const struct cpu_slot *slot, int row)
{
    struct cpu_slot rest = *slot;
    rest.data = row_of(slot, row);
    rest.rows -= row;
    return rest;
}

void ant_cpu_run_experts(struct cpu_backend *cpu, const struct ant_weight *gate_up,
                         const struct ant_weight *down, const int32_t *first,
                         const struct cpu_slot *in, const struct cpu_slot *out)
{
    struct cpu_slot from = rows_from(in, first[0]), to = rows_from(out, first[0]);
    multiply(cpu, gate_up, first, &from, &cpu->moe.hidden, ANT_EPILOGUE_GLU);
    multiply(cpu, down, first, &cpu->moe.hidden, &to, ANT_EPILOGUE_STORE);
}

void ant_cpu_experts(struct ant_backend *be, const struct ant_weight *gate_up,
                     const struct ant_weight *down)
{
    struct cpu_backend *cpu = cpu_of(be);
    const struct ant_spread *spread = cpu->config.spread;
    const struct cpu_moe *at = &cpu->moe;
    int n_held = cpu->arch.moe.n_held;
    if (n_held == 0 || gate_up->n_experts != n_held || down->n_experts != n_held)
        ant_cpu_fail(cpu, ANT_EBUG, "experts that do not fit the model");
    if (cpu->failed || cpu->n_rows == 0)
        return;
    run_rows(cpu, gather_member, NULL);
    if (spread)
        ant_cpu_spread_send(cpu, gate_up->layer);
    ant_cpu_run_experts(cpu, gate_up, down,
                        at->first + (spread ? cpu->arch.moe.first_held - spread->start[0] : 0),
                        &at->in, &at->out);
    if (spread)
        ant_cpu_spread_wait(cpu);
    run_rows(cpu, combine_member, NULL);
}

/* ---- the shared expert ----------------------------------------------------------------------- */

static void share_member(void *arg, int member)
{
    struct moe_job *job = arg;
    struct cpu_backend *cpu = job->cpu;
    const struct cpu_slot *out = &cpu->moe.out, *logits = &cpu->moe.logits;
    int row, end;
    (void)member;
    while (ant_cursor_next(&job->cursor, &row, &end))
        for (; row < end; row++) {
            float *residual = cpu_slot_row(cpu, ANT_SLOT_RESIDUAL, row);
            const float *x = row_of(out, row);
            const float *scores = row_of(logits, row);
            float share = 1 / (1 + expf(-scores[cpu->arch.moe.n_experts]));
            for (int j = 0; j < cpu->arch.hidden; j++)
                residual[j] += share * x[j];
        }
}

void ant_cpu_add_share(struct cpu_backend *cpu, const struct ant_weight *w, enum ant_slot in)
{
    struct cpu_product product = {.w = w, .n_rows = cpu->n_rows};
    if (cpu->arch.moe.n_experts == 0)
        ant_cpu_fail(cpu, ANT_EBUG, "a shared expert in a model without experts");
    if (cpu->failed)
        return;
    ant_cpu_products(cpu, &cpu->slots[in], &cpu->moe.out, ANT_EPILOGUE_STORE, &product, 1,
                     product.n_rows);
    run_rows(cpu, share_member, NULL);
}
