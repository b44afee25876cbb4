/* SPDX-License-Identifier: Apache-2.0 */
/* What the ranks of a replica do together, over host memory. Rows of a slot lie one after another,
 * and their padding travels with them. */
#include "config.h"

#include <string.h>

#include "backend/cpu/cpu.h"
#include "base/checksum.h"
#include "base/clock.h"
#include "job/parallel.h"

int ant_cpu_most_columns(const struct cpu_backend *cpu)
{
    const int *start = cpu->config.vocab_start;
    int most = 0;

    for (int i = 0; i < cpu->config.parallel->tp_size; i++)
        most = start[i + 1] - start[i] > most ? start[i + 1] - start[i] : most;
    return most;
}

static int rows_of(const struct cpu_backend *cpu, enum ant_slot slot)
{
    bool is_sampled = slot == ANT_SLOT_LAST || slot == ANT_SLOT_LOGITS;

    return is_sampled ? cpu->batch->n_sampled : cpu->n_rows;
}

static size_t values_of(const struct cpu_backend *cpu, enum ant_slot slot)
{
    return (size_t)rows_of(cpu, slot) * cpu->slots[slot].stride;
}

/* The outcome of a call to the group, and the time that it took. */
static void note(struct cpu_backend *cpu, int rc, const struct ant_error *err, double start)
{
    ant_tally_add(&cpu->tally.seconds_other, ant_now() - start);
    if (rc < 0)
        ant_cpu_fail(cpu, (enum ant_err)rc, err->text);
}

void ant_cpu_clear(struct ant_backend *be, enum ant_slot slot)
{
    struct cpu_backend *cpu = cpu_of(be);

    if (!cpu->failed)
        memset(cpu->slots[slot].data, 0, values_of(cpu, slot) * sizeof(float));
}

void ant_cpu_all_reduce(struct ant_backend *be, enum ant_slot slot)
{
    struct cpu_backend *cpu = cpu_of(be);
    struct ant_error err;
    double start = ant_now();

    if (cpu->failed || values_of(cpu, slot) == 0)
        return;
    int rc =
        ant_group_all_reduce(cpu->config.parallel->stage, (float *)(void *)cpu->slots[slot].data,
                             values_of(cpu, slot), ANT_PARALLEL_TIMEOUT_S, &err);
    note(cpu, rc, &err, start);
}

void ant_cpu_send(struct ant_backend *be, enum ant_slot slot, int to)
{
    struct cpu_backend *cpu = cpu_of(be);
    struct ant_error err;
    double start = ant_now();

    if (cpu->failed)
        return;
    int rc = ant_group_send(cpu->config.parallel->replica, to, cpu->slots[slot].data,
                            values_of(cpu, slot) * sizeof(float), &err);
    note(cpu, rc, &err, start);
}

void ant_cpu_receive(struct ant_backend *be, enum ant_slot slot, int from)
{
    struct cpu_backend *cpu = cpu_of(be);
    struct ant_error err;
    double start = ant_now();

    if (cpu->failed)
        return;
    int rc = ant_group_receive(cpu->config.parallel->replica, from, cpu->slots[slot].data,
                               values_of(cpu, slot) * sizeof(float), ANT_PARALLEL_TIMEOUT_S, &err);
    note(cpu, rc, &err, start);
}

/* The columns of rank `rank` between LOGITS and a block of their own. */
static void copy_columns(struct cpu_backend *cpu, int rank, float *block, bool to_block)
{
    const int *start = cpu->config.vocab_start;
    size_t n = (size_t)(start[rank + 1] - start[rank]);
    int me = cpu->config.parallel->tp_rank;

    for (int row = 0; row < cpu->batch->n_sampled; row++, block += n) {
        float *logits = cpu_slot_row(cpu, ANT_SLOT_LOGITS, row);

        if (to_block) /* a rank computes its columns at the row's begin */
            memcpy(block, logits, n * sizeof(float));
        else
            memcpy(logits + start[rank] - start[me], block, n * sizeof(float));
    }
}

static size_t block_bytes(const struct cpu_backend *cpu, int rank)
{
    const int *start = cpu->config.vocab_start;

    return (size_t)cpu->batch->n_sampled * (size_t)(start[rank + 1] - start[rank]) * sizeof(float);
}

void ant_cpu_gather_logits(struct ant_backend *be)
{
    struct cpu_backend *cpu = cpu_of(be);
    const struct ant_parallel *parallel = cpu->config.parallel;
    struct ant_error err;
    double start = ant_now();
    int rc = 0;

    if (cpu->failed)
        return;
    if (parallel->tp_rank > 0) {
        copy_columns(cpu, parallel->tp_rank, cpu->columns, true);
        rc = ant_group_send(parallel->stage, 0, cpu->columns, block_bytes(cpu, parallel->tp_rank),
                            &err);
    }
    for (int rank = 1; rc == 0 && parallel->tp_rank == 0 && rank < parallel->tp_size; rank++) {
        rc = ant_group_receive(parallel->stage, rank, cpu->columns, block_bytes(cpu, rank),
                               ANT_PARALLEL_TIMEOUT_S, &err);
        if (rc == 0)
            copy_columns(cpu, rank, cpu->columns, false);
    }
    note(cpu, rc, &err, start);
}

/* Tokens of a next step are known when it begins. */
void ant_cpu_share_drawn(struct ant_backend *be)
{
    (void)be;
}

/* ---- weights --------------------------------------------------------------------------------- */

int ant_cpu_weight_share(struct ant_backend *be, const struct ant_weight_parts *parts,
                         bool *damaged, struct ant_error *err)
{
    (void)be;
    for (int i = 0; i < parts->n; i++) {
        const struct ant_weight_part *part = &parts->items[i];
        struct ant_digest digest = {0};

        if (part->from == ant_group_rank(parts->ranks))
            digest = ant_digest(part->data, part->bytes);
        ANT_TRY(ant_group_broadcast(parts->ranks, part->from, &digest, sizeof(digest),
                                    parts->timeout, err));
        ANT_TRY(ant_group_broadcast(parts->ranks, part->from, part->data, part->bytes,
                                    parts->timeout, err));
        struct ant_digest mine = ant_digest(part->data, part->bytes);
        *damaged = *damaged || memcmp(&mine, &digest, sizeof(mine)) != 0;
    }
    return 0;
}
