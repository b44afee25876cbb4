/* SPDX-License-Identifier: Apache-2.0 */
/* antiphon bench: what its parts share. bench.c sets up and measures, bench_work.c makes the
 * workloads, bench_report.c prints. Thread: main. */
#ifndef ANT_CLI_BENCH_H
#define ANT_CLI_BENCH_H

#include "cli/run.h"

/* ---- bench_work.c: prompts of random tokens, the same for the same workload everywhere ------- */

enum bench_lengths {
    BENCH_EVEN,
    BENCH_MIX,      /* as in conversations */
    BENCH_ONE_LONG, /* one answer is a hundred times as long as each of the others */
};

struct bench_work {
    const char *name;
    int n;               /* prompts */
    int shared, in, out; /* tokens: of one beginning of all prompts, of each prompt's own, of each
                            answer; the longest of each where lengths differ */
    enum bench_lengths lengths;
    float temperature, top_p;
};

/* The workloads there are, (n). */
const struct bench_work *ant_bench_works(int *n);

/* The lengths of prompt i, and its tokens (n_prompt), malloc'd, below `vocab`. Each workload and
 * each repetition has prompts of its own, so that nothing of one helps the next. */
void ant_bench_lengths(const struct bench_work *work, int i, int *n_prompt, int *n_output);
int32_t *ant_bench_prompt(const struct bench_work *work, int vocab, int repetition, int i);

/* ---- bench_report.c -------------------------------------------------------------------------- */

/* One repetition: of one rank, or, summed up, of all. Plain data. */
struct bench_sample {
    double wall_s;        /* from the common start to the last answer */
    double first_s;       /* from the common start to a prompt's first token, mean over prompts */
    double stream;        /* tokens/s of one answer after its first token, mean over prompts */
    double prefill_share; /* of the engine's busy time, the rows of prompts */
    int64_t n, prompt_tokens, prefilled_tokens, output_tokens, steps;
    int64_t company_steps;                /* beside `steps`, for the rows of other replicas alone */
    double weight_bytes, kv_bytes, flops; /* of the backend */
    double gemm_s, attention_s, other_s;  /* mean over ranks; 0: operations were not timed */
    struct ant_operation operations[ANT_MAX_OPERATIONS]; /* the same by name */
    int n_operations;
    double joules;
    double tail_s;    /* of all: from the first replica's last answer to the last of any */
    uint64_t answers; /* a digest of prompts' numbers and their answers, whoever gave them */
    int64_t stolen;   /* prompts answered by another replica than they were dealt to */
};

/* The machine's limits at one moment. Plain data. */
struct bench_look {
    double bandwidth; /* bytes/s over memory of the weights' size; 0: not measured */
    double flops;     /* flop/s of products on registers; 0: not measured */
};

/* The same summed over ranks: the best of all looks, and what else was seen of memory. */
struct bench_limits {
    double bandwidth, flops;
    double usual, least; /* bandwidth: the median of the looks, and the worst */
    double *looks;       /* owned, (n_looks) of bandwidth, ascending */
    int n_looks;
};

struct bench_result {
    const struct bench_work *work;
    struct bench_sample *samples; /* owned, (n_samples) in the order measured */
    int n_samples;
};

struct bench {
    struct run run;
    bool steals; /* replicas take prompts of others */
    struct bench_limits limits;
    /* Since the command began: until the ranks know each other, until the weights are loaded, until
     * the first token of an answer to 16 tokens. */
    double joined_s, ready_s, first_token_s;
    struct bench_result *results; /* owned, (n_results) */
    int n_results;
};

/* The sample whose wall time is the median one. */
const struct bench_sample *ant_bench_median(const struct bench_result *result);
/* The least time that the sample's bytes and operations take at the limits; 0: not known. */
double ant_bench_floor(const struct bench_limits *limits, const struct bench_sample *sample);

void ant_bench_print_setup(const struct bench *bench);
void ant_bench_print_head(void);
void ant_bench_print(const struct bench *bench, const struct bench_result *result);
/* What memory did meanwhile, where there was more than one look. */
void ant_bench_print_limits(const struct bench *bench);
/* Everything, to a file or, for "-", standard output. */
int ant_bench_write_json(const struct bench *bench, const char *path, struct ant_error *err);

#endif
