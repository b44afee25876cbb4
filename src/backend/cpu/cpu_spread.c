/* SPDX-License-Identifier: Apache-2.0 */
/* Experts that are spread over the replicas of a job: rows go to the ranks that hold their experts
 * and come back as those experts' outputs, which the row's own rank adds up in the order in which
 * the row chose. So a row gets the bits that it would get if its rank had all of them. */
#include "config.h"

#include <string.h>

#include "backend/cpu/cpu.h"
#include "base/clock.h"

static float *row_at(const struct cpu_slot *slot, int row)
{
    return slot->data + (size_t)row * slot->stride;
}

/* ---- rows of others -------------------------------------------------------------------------- */

/* Between the calls' own places and those sorted by expert in `slot`; `first` (n_held + 1) becomes
 * the place of each expert's first row. */
static void move_rows(struct cpu_backend *cpu, const struct ant_call *calls, int n,
                      const struct cpu_slot *slot, bool to_slot, int32_t *first)
{
    size_t next[ANT_MAX_EXPERTS] = {0}; /* each caller holds an expert, so they are no more */
    int place = 0;

    for (int expert = 0; expert < cpu->arch.moe.n_held; expert++) {
        first[expert] = place;
        for (int i = 0; i < n; i++) {
            size_t floats = (size_t)calls[i].counts[expert] * slot->stride;
            float *theirs = calls[i].rows + next[i], *sorted = row_at(slot, place);

            memcpy(to_slot ? sorted : theirs, to_slot ? theirs : sorted, floats * sizeof(float));
            next[i] += floats;
            place += calls[i].counts[expert];
        }
    }
    first[cpu->arch.moe.n_held] = place;
}

static int serve(void *arg, int layer, const struct ant_call *calls, int n, struct ant_error *err)
{
    struct cpu_backend *cpu = arg;
    struct cpu_spread *spread = &cpu->spread;

    if (layer < 0 || layer >= cpu->arch.n_layers || !spread->gate_up[layer] || !spread->down[layer])
        return ant_fail(err, ANT_EPEER, "rows for the experts of layer %d, which has none", layer);
    move_rows(cpu, calls, n, &spread->in, true, spread->first);
    ant_cpu_run_experts(cpu, spread->gate_up[layer], spread->down[layer], spread->first,
                        &spread->in, &spread->out);
    move_rows(cpu, calls, n, &spread->out, false, spread->first);
    return cpu->failed ? ant_fail(err, (enum ant_err)cpu->failed, "%s", cpu->error.text) : 0;
}

/* ---- this rank's rows ------------------------------------------------------------------------ */

void ant_cpu_spread_send(struct cpu_backend *cpu, int layer)
{
    const struct ant_spread *holders = cpu->config.spread;
    const int32_t *first = cpu->moe.first;

    for (int expert = 0; expert < holders->start[holders->n] - holders->start[0]; expert++)
        cpu->spread.counts[expert] = first[expert + 1] - first[expert];
    for (int i = 0; i < holders->n; i++) {
        int begin = holders->start[i] - holders->start[0];
        int end = holders->start[i + 1] - holders->start[0];

        if (i != holders->me && first[end] > first[begin])
            ant_calls_send(cpu->spread.calls, i, layer, cpu->spread.counts + begin, end - begin,
                           row_at(&cpu->moe.in, first[begin]), first[end] - first[begin],
                           row_at(&cpu->moe.out, first[begin]));
    }
}

void ant_cpu_spread_wait(struct cpu_backend *cpu)
{
    struct ant_error err;
    double start = ant_now();
    int rc = ant_calls_wait(cpu->spread.calls, ANT_PARALLEL_TIMEOUT_S, &err);

    ant_tally_add(&cpu->tally.seconds_other, ant_now() - start);
    if (rc < 0)
        ant_cpu_fail(cpu, (enum ant_err)rc, err.text);
}

/* ---- open ------------------------------------------------------------------------------------ */

int ant_cpu_spread_open(struct cpu_backend *cpu, struct ant_error *err)
{
    const struct ant_calls_config config = {
        .row_floats = cpu->moe.in.stride,
        .n_bins = cpu->arch.moe.n_held,
        .max_rows = cpu->moe.in.rows,
        .room = cpu->spread.room,
        .serve = serve,
        .arg = cpu,
    };

    return ant_calls_open(&cpu->spread.calls, cpu->config.parallel->experts, &config, err);
}
