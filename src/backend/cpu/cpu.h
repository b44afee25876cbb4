/* SPDX-License-Identifier: Apache-2.0 */
/* Inside the CPU backend: what its files share. cpu.c opens, closes and runs the steps;
 * cpu_weight.c packs; cpu_gemm.c multiplies; cpu_norm.c normalizes; cpu_attention.c keeps the KV
 * cache and attends; cpu_moe.c has the experts, cpu_spread.c those of other ranks; cpu_memory.c
 * says how much memory there is. Nothing outside src/backend/cpu includes this. */
#ifndef ANT_BACKEND_CPU_CPU_H
#define ANT_BACKEND_CPU_CPU_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "backend/backend.h"
#include "backend/cpu/cpu_level.h"
#include "backend/cpu/team.h"
#include "backend/tally.h"
#include "cpu/dsp.h"
#include "job/calls.h"

enum {
    CPU_CHUNK_BLOCKS = 20,      /* most blocks of 32 k that a decoded panel holds at a time */
    CPU_ACC_ROWS = 96,          /* rows that a decoded panel is multiplied with at a time */
    CPU_HELD_BYTES = 480 << 10, /* of activations that the second level of cache keeps */
    CPU_STREAM_ROWS = 4,        /* up to so many rows weights come from memory as fast as it can, */
    CPU_STREAMS = 4,            /* handed out in so many streams a member */
    CPU_ALONE = 16384,          /* values that one member is through with before another is awake */
    CPU_QUERY_ROWS = 48,        /* query rows (tokens x heads of a group) that share a page */
};

struct cpu_part {
    const struct ant_panel_format *format;
    const uint8_t *panels;
    const float *bias; /* or NULL */
    int rows, n_panels;
    int first_row; /* in the stacked matrix */
};

struct ant_weight {
    struct ant_weight *next;    /* of the backend's list */
    const float *vector;        /* norms: (n); else NULL */
    const float *vector_bias;   /* or NULL */
    struct ant_weight *experts; /* owned (n_experts), each a matrix of its own; or NULL */
    int n_experts, layer;
    int64_t k; /* columns; of a vector its length */
    int n_blocks, n_parts, rows;
    size_t bytes; /* packed */
    const uint8_t *memory;
    struct cpu_part parts[3];
};

struct cpu_slot {
    float *data;
    size_t stride; /* floats from row to row */
    int rows, cols;
    bool has_acts; /* bfloat16 instead of floats: what products take, zeros up to whole blocks */
};

/* What products are made from: a slot's rows in the form that a kind of weights wants. */
struct cpu_input {
    uint8_t *data;
    size_t row_bytes; /* for the columns at hand */
};

/* A packed weight by some rows of a slot, and how the work is cut (by ant_cpu_products). */
struct cpu_product {
    const struct ant_weight *w;
    int row, n_rows;
    int n_units, n_splits, rows_per_split, chunk_blocks, first_item;
};

/* What a step's rows have to do with experts. Places are the rows sorted by expert, n_used a
 * row. */
struct cpu_moe {
    struct cpu_slot logits;          /* (rows, experts and the share of the shared one) */
    struct cpu_slot in, hidden, out; /* (places, hidden), (places, moe.ff), (places, hidden) */
    int32_t *ids, *places;           /* (rows, n_used), best first; place -1: of an expert that
                                        others add */
    float *weights;                  /* (rows, n_used) */
    int32_t *first;                  /* (n_experts + 1) place of the first row of each expert that
                                        this rank adds */
    struct cpu_product *products;    /* (n_held) */
};

/* Where others hold some of the experts that this rank adds to its rows, and it some that others
 * add to theirs; all 0 else. */
struct cpu_spread {
    struct ant_calls *calls; /* owned */
    int32_t *counts;         /* (n_experts) rows that go to each expert */
    float *room;             /* (places, hidden) rows of others, as they come and go, */
    struct cpu_slot in, out; /* (places, hidden) and sorted by expert */
    int32_t *first;          /* (n_held + 1) */
    const struct ant_weight **gate_up, **down; /* (n_layers) the held experts of each */
};

/* New rows of one sequence: those within one page, or those of one query tile. */
struct cpu_span {
    int seq, row, n;
};

/* What one member works in. */
struct cpu_scratch {
    uint8_t *panels[2]; /* (CPU_CHUNK_BLOCKS * 512) decoded */
    float *acc, *other; /* (CPU_ACC_ROWS, 32) */
    uint8_t *query, *p; /* (query_rows + pad, dim_pad), (.., 32) in the level's type */
    float *scores, *sum;
    struct ant_softmax *state;
    uint8_t *key, *value; /* decoded page: (32 * dim_pad) floats each */
    float *row;           /* (hidden) */
    void *draw;           /* (vocab * 8) */
};

struct cpu_backend {
    struct ant_backend base;
    struct ant_backend_config config;
    struct ant_arch arch;
    enum ant_cpu_level level;
    struct ant_dsp dsp;
    struct ant_team *team;
    int n_members;

    uint8_t *workspace; /* owned mapping: slots, scratch, rope tables, spans */
    size_t workspace_bytes;
    struct cpu_slot slots[ANT_N_SLOTS];
    struct cpu_moe moe;
    struct cpu_spread spread;
    uint8_t *acts;               /* (rows, k) bfloat16, where the level multiplies those */
    uint8_t *quants;             /* (rows, k / 32) struct ant_quant */
    struct cpu_scratch *scratch; /* (n_members) */
    float *rope, *local_rope;    /* (max_context, dim/2, 2) */
    struct cpu_span *pages_spans, *query_spans;
    int n_page_spans, n_query_spans;
    /* (sampled, most columns of a rank): logits on their way; in a stage of several. */
    float *columns;
    int32_t *ids, *top_ids; /* (sampled), (sampled, ANT_MAX_TOP): of struct ant_drawn */
    float *logprobs, *top_logprobs;

    uint8_t *kv; /* owned mapping */
    size_t kv_bytes;
    int n_pages;
    bool kv_float;
    int dim_pad;            /* head_dim up to a multiple of 32 */
    size_t page_head_bytes; /* one page of one kv head: 32 * dim_pad elements */
    int query_rows;

    pthread_mutex_t lock; /* of weights */
    struct ant_weight *weights;
    bool has_quants; /* some matrix is quantized */

    const struct ant_batch *batch;
    int n_rows;         /* at work: the batch's, in the end the sampled ones alone, */
    bool keeps_sampled; /* which then are the first of their slots */
    int failed;         /* first failure of the step */
    struct ant_error error;
    struct ant_tally tally;
    double bandwidth, peak_flops;
    size_t free_bytes;
};

static inline struct cpu_backend *cpu_of(struct ant_backend *be)
{
    return (struct cpu_backend *)be;
}

static inline const struct cpu_backend *cpu_of_const(const struct ant_backend *be)
{
    return (const struct cpu_backend *)be;
}

/* Bytes of what float weights and cache pages are multiplied with. */
static inline size_t cpu_act_bytes(const struct cpu_backend *cpu)
{
    return cpu->dsp.is_bf16 ? 2 : 4;
}

static inline float *cpu_slot_row(const struct cpu_backend *cpu, enum ant_slot slot, int row)
{
    return cpu->slots[slot].data + (size_t)row * cpu->slots[slot].stride;
}

/* Where all products are of bfloat16, and read by nobody else (experts have their rows copied),
 * their inputs are made in it at once. */
static inline bool cpu_makes_acts(const struct cpu_backend *cpu)
{
    return cpu->dsp.is_bf16 && !cpu->has_quants && cpu->arch.moe.n_experts == 0;
}

/* Rows start on different sets of the first-level cache: an odd number of lines apart. */
static inline size_t cpu_row_bytes(size_t bytes)
{
    return ((bytes + 63) / 64 | 1) * 64;
}

/* From row to row of a slot that has acts. */
static inline size_t cpu_acts_bytes(const struct cpu_slot *slot)
{
    return cpu_row_bytes((size_t)ant_panel_blocks(slot->cols) * ANT_PANEL_K * sizeof(uint16_t));
}

static inline uint16_t *cpu_acts_row(const struct cpu_slot *slot, int row)
{
    return (uint16_t *)(void *)((uint8_t *)slot->data + (size_t)row * cpu_acts_bytes(slot));
}

/* What follows the last column of a row of acts is zero: weights there are, but so must NaN be. */
static inline void cpu_pad_acts(const struct cpu_slot *slot, int row)
{
    int padded = ant_panel_blocks(slot->cols) * ANT_PANEL_K;
    memset(cpu_acts_row(slot, row) + slot->cols, 0,
           (size_t)(padded - slot->cols) * sizeof(uint16_t));
}

/* Chunk for n items among the members: small enough to even out, large enough to be cheap. */
static inline int cpu_chunk(const struct cpu_backend *cpu, int n)
{
    int chunk = n / (cpu->n_members * 8);
    return chunk < 1 ? 1 : chunk;
}

/* Run `fn` over the members unless the step has failed already. */
void ant_cpu_run(struct cpu_backend *cpu, ant_team_fn *fn, void *arg, _Atomic double *seconds);
/* The same for work that takes next to nothing a row: alone when there are few. */
void ant_cpu_run_rows(struct cpu_backend *cpu, ant_team_fn *fn, void *arg, int n_rows);
void ant_cpu_fail(struct cpu_backend *cpu, enum ant_err code, const char *text);

size_t ant_cpu_weight_bytes(const struct ant_backend *be, const struct ant_weight_spec *spec);
int ant_cpu_weight_put(struct ant_backend *be, struct ant_weight **out,
                       const struct ant_weight_spec *spec, void *memory, bool fill,
                       struct ant_error *err);
int ant_cpu_weight_share(struct ant_backend *be, const struct ant_weight_parts *parts,
                         bool *damaged, struct ant_error *err);

void ant_cpu_embed(struct ant_backend *be, const struct ant_weight *table);
void ant_cpu_gemm(struct ant_backend *be, const struct ant_weight *w, enum ant_slot in,
                  enum ant_slot out, enum ant_epilogue epilogue);
/* Products in one go, whose rows together are the first `n_rows` of `in` and go to `out`. STORE,
 * ADD or GLU. */
void ant_cpu_products(struct cpu_backend *cpu, const struct cpu_slot *in,
                      const struct cpu_slot *out, enum ant_epilogue epilogue,
                      struct cpu_product *products, int n, int n_rows);

void ant_cpu_norm(struct ant_backend *be, const struct ant_weight *w);
void ant_cpu_norm_add(struct ant_backend *be, const struct ant_weight *w);
void ant_cpu_keep_sampled(struct ant_backend *be);
void ant_cpu_norm_sampled(struct ant_backend *be, const struct ant_weight *w);
/* x = rms_norm(x) * weight, in place */
void ant_cpu_rms_norm(float *x, const float *weight, float eps, int n);
/* The sampled rows' logits, under the model's softcap. */
void ant_cpu_cap_logits(struct cpu_backend *cpu);

void ant_cpu_route(struct ant_backend *be, const struct ant_weight *router);
void ant_cpu_experts(struct ant_backend *be, const struct ant_weight *gate_up,
                     const struct ant_weight *down);
/* `out` = the held experts of the rows of `in`, sorted by expert: the i-th of them has those from
 * first[i] on. */
void ant_cpu_run_experts(struct cpu_backend *cpu, const struct ant_weight *gate_up,
                         const struct ant_weight *down, const int32_t *first,
                         const struct cpu_slot *in, const struct cpu_slot *out);
/* The rows sorted to go to holders of their experts, and back. */
int ant_cpu_spread_open(struct cpu_backend *cpu, struct ant_error *err);
void ant_cpu_spread_send(struct cpu_backend *cpu, int layer);
void ant_cpu_spread_wait(struct cpu_backend *cpu);
/* RESIDUAL += in * w^T * the rows' shares of the shared expert */
void ant_cpu_add_share(struct cpu_backend *cpu, const struct ant_weight *w, enum ant_slot in);

/* Bytes of cache that one page takes over all layers. */
size_t ant_cpu_page_bytes(const struct cpu_backend *cpu);
int ant_cpu_kv_open(struct ant_backend *be, int n_pages, struct ant_error *err);
/* Cut the step's rows into spans; false when a page or position is out of range. */
bool ant_cpu_plan(struct cpu_backend *cpu);
void ant_cpu_rope_append(struct ant_backend *be, int layer, const struct ant_weight *q_norm,
                         const struct ant_weight *k_norm);
void ant_cpu_attention(struct ant_backend *be, int layer, int window);

/* Tokens that any rank of the stage has at most. */
int ant_cpu_most_columns(const struct cpu_backend *cpu);
void ant_cpu_clear(struct ant_backend *be, enum ant_slot slot);
void ant_cpu_all_reduce(struct ant_backend *be, enum ant_slot slot);
void ant_cpu_gather_logits(struct ant_backend *be);
void ant_cpu_share_drawn(struct ant_backend *be);
void ant_cpu_send(struct ant_backend *be, enum ant_slot slot, int to);
void ant_cpu_receive(struct ant_backend *be, enum ant_slot slot, int from);

/* Memory for weights and cache: what the kernel calls available, or what the process's control
 * groups leave of their limits where that is less. Of the whole node or job: ranks that share it
 * divide it themselves. */
size_t ant_cpu_free_bytes(void);

#endif
