/* SPDX-License-Identifier: Apache-2.0 */
/* What a job will need and take, from figures alone: no GPU, no launcher, no weights in memory.
 *
 * plan_machine.c is the table of machines. plan_cost.c says what a rank's memory holds and how long
 * a step takes by a roofline: products at the machine's rate or at that of reading their weights,
 * attention, what is read and written element by element, the ranks of a replica waiting for each
 * other. plan_run.c runs the engine's own scheduler over requests of the expected lengths and adds
 * up its steps; so batching, chunks, shared beginnings and the room in the cache are those of the
 * run. plan.c is the command. Thread: the main thread. */
#ifndef ANT_CLI_PLAN_H
#define ANT_CLI_PLAN_H

#include <stdbool.h>

#include "engine/engine.h"
#include "model/checkpoint.h"
#include "model/shard.h"

/* What one rank computes on: a GPU, or some cores. Rates are those that were reached, not those of
 * the data sheet. */
struct plan_machine {
    const char *name;
    const char *source; /* of its figures, for people */
    bool is_host;
    double memory;                 /* bytes that are free at the start, of a GPU, or of a core */
    double peak;                   /* of products on registers, of a core; 0: not known */
    double flops[2];               /* of products: weights of 16 and more bits, and of fewer */
    double expert_flops;           /* of products of experts */
    double bandwidth;              /* bytes/s of memory */
    double streams[2];             /* hosts: of weights that products of few rows ask for, however
                                      fast memory is, likewise; 0: as fast as it is */
    double least, most;            /* hosts: memory seen so slow and so fast, times the usual */
    double kv_bandwidth;           /* of the cache, in decode attention, */
    double decode_flops;           /* whose arithmetic binds hosts; 0: it does not */
    double prefill_flops;          /* of attention of a prompt's rows together */
    double element_bandwidth;      /* of operations on activations */
    double op_s;                   /* that each operation takes beside its work */
    double power_bandwidth;        /* bytes/s whose reading takes all power there is; 0: no limit */
    double link_bandwidth, link_s; /* between ranks of a host: bytes/s, and to agree at all; */
    double sum_bandwidth, sum_s;   /* the same of sums over the ranks of a layer */
    double most_bandwidth;         /* hosts: of all cores together */
    int default_seqs, many_seqs, default_rows; /* as of struct ant_backend_ops */
    double kv_share;
};

/* NULL, and all names in `known`, if there is none. */
const struct plan_machine *ant_plan_machine(const char *name, char *known, size_t bytes);
/* Scale a row of the table to the limits that antiphon bench has found on the machine itself and
 * written to a file of JSON. */
int ant_plan_measured(struct plan_machine *machine, const char *path, struct ant_error *err);
/* `cores` of a host's as one rank, with its part of the memory. */
struct plan_machine ant_plan_cores(const struct plan_machine *core, int cores, int all);

/* One way to share the model out. */
struct plan_layout {
    int dp, tp, pp;
    enum ant_ep ep;
};

/* What of the model the busiest rank holds, and what its memory is used for. */
struct plan_memory {
    struct ant_shard shard;
    double weights, workspace, page, cache; /* bytes; page: of the cache, over the rank's layers */
    double weight_bytes;                    /* of one element of a layer's matrices, */
    double output_bytes;                    /* and of the vocabulary's */
    int64_t n_pages;
};
/* ANT_EUSAGE: it does not fit, or cannot be split so. */
int ant_plan_memory(struct plan_memory *out, const struct ant_checkpoint *checkpoint,
                    const struct plan_machine *machine, const struct plan_layout *layout,
                    const struct ant_engine_config *config, struct ant_error *err);

/* Where the time of steps goes. */
struct plan_cost {
    double products, weights, attention, elements, links; /* seconds */
    double operations; /* what each takes however little there is to do */
    double power;      /* what the limit of the device's power adds */
};
double ant_plan_seconds(const struct plan_cost *cost);
/* Add that of a step of the engine to `sum`; returns its seconds. */
double ant_plan_step(struct plan_cost *sum, const struct plan_memory *memory,
                     const struct plan_machine *machine, const struct plan_layout *layout,
                     const struct ant_batch *batch);

/* What the prompts are like: a sample of them, in their order. */
struct plan_work {
    int64_t n;   /* answers of the whole job */
    int samples; /* of each prompt */
    struct plan_item {
        int32_t *tokens; /* owned */
        int n_prompt, n_output, most_output;
    } * items; /* (n_items) owned */
    int n_items;
};

struct plan_result {
    double seconds; /* of the answers, of the whole job */
    double prompt_tokens, output_tokens;
    struct plan_cost cost; /* of what was simulated */
    int64_t preemptions;
};
void ant_plan_run(struct plan_result *out, const struct plan_memory *memory,
                  const struct plan_machine *machine, const struct plan_layout *layout,
                  const struct ant_engine_config *config, const struct plan_work *work);

#endif
