/* SPDX-License-Identifier: Apache-2.0 */
/* Inside the CUDA backend: what its files share. cuda.c opens, closes and tells facts; cuda_ops.c
 * enqueues the operations, cuda_moe.c those of experts, cuda_spread.c brings rows to those of other
 * replicas; cuda_draws.c draws; cuda_step.c uploads a step's integers, captures and replays graphs,
 * fetches what was drawn; cuda_parallel.c and cuda_peers.c are about the replica's other GPUs;
 * cuda_weight.c brings weights to the device, cuda_share.c those that others have read;
 * cuda_meter.c counts energy and time. Nothing outside src/backend/cuda
 * includes this.
 *
 * One stream does everything in order, so that activations, the descriptor of a step and what it
 * draws exist once on the device; only their pinned counterparts on the host are a ring. */
#ifndef ANT_BACKEND_CUDA_CUDA_H
#define ANT_BACKEND_CUDA_CUDA_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cuda_runtime_api.h>

#include "backend/backend.h"
#include "backend/cuda/attn_plan.h"
#include "backend/cuda/gemm_plan.h"
#include "backend/tally.h"
#include "cuda/kern.h"

enum {
    CUDA_STEPS = 4,         /* in flight: two, of which one or both draw in a step of their own */
    CUDA_GRAPH_ROWS = 2048, /* most rows of a captured step */
    CUDA_GRAPHS = 48,       /* sizes of captured steps */
    CUDA_EMPTY = 8,         /* kinds of captured steps: by shared chunks, edits, best ids; without */
    CUDA_OPEN = 9,          /* rows; open ones, by shared chunks */
    CUDA_KINDS = 11,
    CUDA_MAX_ROWS = 8448,   /* of a step: what products are planned for */
    CUDA_BANNED = 1 << 16,  /* ids that a step can ban, each list counted once */
    CUDA_EDITS = 1 << 20,   /* edits, and masks as so many, that are with a step's descriptor, which
                               has room for one mask more; others go one after another */
    CUDA_COUNTS = 4,        /* integers that the descriptor begins with: struct kern_attn.count, */
    CUDA_SUMS_AT = 3,       /* and here the stage's sums before this step */
};

struct ant_weight {
    struct ant_weight *next;  /* of the backend's list */
    const float *vector;      /* norms: (k); else NULL */
    const float *vector_bias; /* of a norm, of a router; or NULL */
    const uint16_t *matrix;   /* (n, k) bf16, with scales e4m3; of experts one after another */
    const float *scales;      /* (n) or NULL */
    const uint16_t *bias;     /* (n) bf16 or NULL */
    int n, k;                 /* n: up to a multiple of 8 with rows of zeros */
    int n_experts;            /* 0: a matrix by itself */
    size_t bytes;
};

/* What a step's rows have to do with experts, on the device: kern.h says what is what. */
struct cuda_moe {
    int ff;                  /* of an expert, with padding */
    int n_held;              /* experts of this rank */
    int entries, likely;     /* of the products being enqueued; those that are held here, if all
                                experts are chosen alike */
    int tile_places;         /* that suit these */
    int32_t *ids, *places;   /* (max_rows, used) */
    float *weights, *shares; /* (max_rows, used), (max_rows) */
    int32_t *rows, *n_tiles; /* (places), (1) */
    struct kern_tile *tiles;
    uint16_t *hidden, *out; /* (places, ff), (places, hidden) */
};

/* Experts spread over replicas: what the ranks exchange in one round. */
struct cuda_spread {
    struct ant_device_group *group;  /* owned; NULL: they are not spread */
    struct cuda_share *shares;       /* owned (ranks) what each says of its step */
    int *rows;                       /* owned (ranks) that each brings to the layers of the step */
    struct ant_device_piece *pieces; /* owned (2 ranks) */
    int most;                        /* rows of a rank in a round */
    int width, widths; /* rows that this rank, and all of them together, send back for one */
    /* On the device. */
    struct kern_holder *holders; /* (experts) */
    uint16_t *in, *out;          /* (ranks * most, hidden), (ranks * most, width, hidden) */
    int32_t *ids;                /* (ranks * most, used) */
    uint16_t *back;              /* (most * widths, hidden) */
    int32_t *places;             /* (most, used) in that */
};

/* The GPUs of the stage, when they have memory of each other. */
struct cuda_peers {
    bool is_open;
    char *memory[KERN_MAX_PEERS]; /* their workspaces, opened here; the own one among them */
    struct kern_peers kern;       /* `call` is not set */
    int32_t *stop;                /* owned, pinned */
    float *residual[KERN_MAX_PEERS], *branch[KERN_MAX_PEERS], *logits; /* the first one's */
    int32_t *drawn[KERN_MAX_PEERS];
    uint32_t n_sums, n_before; /* so far, and before this step */
};

struct cuda_slot {
    void *data;
    int cols;
    bool is_float, is_sampled; /* rows are the sampled ones */
    float *scales;             /* (rows) of a slot of e4m3; else NULL */
};

/* A piece of pinned memory on its way to the device. */
struct cuda_stage {
    char *host;
    cudaEvent_t copied;
};

/* One step on its way: its pinned descriptor and results. */
struct cuda_step {
    char *host;
    int32_t *drawn; /* ids, then logprobs at `n_drawn` */
    int32_t *top;   /* (n_drawn, KERN_MAX_TOP) ids, then logprobs */
    cudaEvent_t done;
    int n_drawn;
    bool is_open; /* nobody waits for it */
};

/* Where the parts of the descriptor lie, on the host as on the device. The places depend on the
 * step's numbers of rows alone, so that captured steps find them; the tail holds what varies:
 * items of attention, page ids, members of shared chunks, banned ids, edits, masks. */
struct cuda_layout {
    size_t count, draws, tokens, positions, slots, sampled, tail;
};

enum cuda_mode {
    CUDA_LAUNCH,  /* operations go to the stream */
    CUDA_CAPTURE, /* operations go to a graph, launched at the end of the step */
    CUDA_REPLAY,  /* a graph holds this step's operations already */
};

struct cuda_backend {
    struct ant_backend base;
    struct ant_backend_config config;
    struct ant_arch arch; /* copied; its rope.factors is not used after open */
    struct cudaDeviceProp prop;
    char level[24];
    int device, head_dim; /* of the cache and of activations: 64, 128 or 256 */
    int plan_window;      /* what attention is planned with: that of all layers, or 0 */
    bool has_windows;     /* some layer has one: chunks are not shared */
    int vocab;            /* columns of LOGITS: up to a multiple of 8 */
    int columns;          /* those that this rank computes */
    cudaStream_t stream;
    struct ant_gemm *gemm;
    bool is_checked; /* ANTIPHON_CHECK=1: wait for every operation, and name the one that fails */

    /* Device memory, owned. */
    char *workspace, *weight_memory, *kv;
    size_t workspace_bytes, free_bytes;
    struct cuda_slot slots[ANT_N_SLOTS];
    struct cuda_moe moe;
    struct cuda_spread spread;
    uint16_t *gate_up;        /* (max_rows, 2 ff) */
    void *packed;             /* (max_rows, ..) a slot's rows as e4m3, for the next product */
    float *packed_scales;     /* (max_rows) */
    float *rope, *local_rope; /* (max_context, dim/2, 2); local_rope NULL: no layer has it */
    float *partial;           /* of decode attention */
    float *part; /* (max_sampled, columns of any rank): logits of a rank, in a stage of several */
    char *box;   /* of struct kern_peers; NULL: not wanted */
    int32_t *arrived; /* (n_arrived) */
    size_t n_arrived;
    int32_t *drawn;   /* ids of the last step, then logprobs at the step's n_drawn */
    int32_t *top;     /* the best ids of its rows, then their logprobs */
    float *totals;    /* (max_sampled, 2) of rows that have edits or masks */
    char *descriptor; /* of the step */
    size_t descriptor_bytes;
    int n_pages;
    size_t layer_bytes; /* of K, or V, of a layer */

    /* Weights on their way. */
    pthread_mutex_t lock;   /* of the stages and the list */
    pthread_cond_t arrival; /* of a stage in the circle */
    struct cuda_stage *stages, **free_stages;
    int n_stages, first_free, n_free;
    cudaStream_t load_stream;
    uint16_t *landing; /* owned: rows in bf16 that become e4m3; the load stream's */
    struct ant_weight *weights;

    struct ant_device_group *stage, *replica; /* owned; NULL: of one rank, or not needed */
    struct cuda_peers peers;

    struct ant_cuda_energy *energy; /* owned; NULL: it is not known */
    struct ant_cuda_marks *marks;   /* owned; NULL: operations are not timed */

    /* The step being enqueued. */
    struct cuda_step steps[CUDA_STEPS];
    int n_begun, n_waited; /* steps so far */
    int n_rows, n_sampled; /* rows that operations work on: a captured step's are rounded up */
    size_t n_keys;         /* that attention reads in a layer */
    const struct ant_batch *batch; /* until step_end */
    const uint16_t *late_shift;    /* what RESIDUAL still lacks: a bias, */
    struct kern_terms late_terms;  /* then the sum of experts; the next norm adds them */
    bool has_late_sum;             /* and then sums RESIDUAL over the stage */
    bool has_late_clear;           /* RESIDUAL is to be 0 before anything is added to it */
    int edits_at;                  /* place of the edits in the tail, in integers */
    bool has_edits, has_top;       /* some draw has; a mask is one */
    bool has_late_edits;           /* more than the descriptor has room for */
    int prefill_at;                /* place of the prefill items in the tail, in integers */
    struct cuda_layout at;
    struct ant_attn_plan plan; /* owns its arrays */
    enum cuda_mode mode;
    cudaGraphExec_t *graph; /* the step's, when it is captured */
    cudaGraphExec_t graphs[CUDA_KINDS][CUDA_GRAPHS];

    int failed; /* the first failure sticks */
    struct ant_error error;
    struct ant_tally tally;
    double bandwidth;
};

static inline struct cuda_backend *cuda_of(struct ant_backend *be)
{
    return (struct cuda_backend *)be;
}

static inline const struct cuda_backend *cuda_of_const(const struct ant_backend *be)
{
    return (const struct cuda_backend *)be;
}

/* ant_fail with the device's own words; clears them. */
int ant_cuda_fail(struct ant_error *err, const char *what, cudaError_t e);

#define ANT_CUDA_TRY(what, call)                                                                   \
    do {                                                                                           \
        cudaError_t cuda_result = (call);                                                          \
        if (cuda_result != cudaSuccess)                                                            \
            return ant_cuda_fail(err, what, cuda_result);                                          \
    } while (0)

/* The GPU of the rank with this local number: the ranks of a host take those that they see in turn.
 */
int ant_cuda_device_of(int local_rank, int *device, struct cudaDeviceProp *prop,
                       struct ant_error *err);

/* cuda_step.c. Rows of the captured step that a step of `rows` decode rows uses. */
int ant_cuda_graph_rows(int rows, int *index);
struct cuda_layout ant_cuda_layout(int rows, int sampled);
void ant_cuda_step_begin(struct ant_backend *be, const struct ant_batch *batch);
void ant_cuda_step_end(struct ant_backend *be);
int ant_cuda_step_wait(struct ant_backend *be, struct ant_drawn *out, struct ant_error *err);

/* Integers of the step's descriptor on the device. */
static inline int32_t *ant_cuda_integers(const struct cuda_backend *cuda, size_t at)
{
    return (int32_t *)(void *)(cuda->descriptor + at);
}

/* Hidden units of a feed-forward as its matrices have them, with padding. */
static inline int ant_cuda_units(int n)
{
    return (n + 15) / 16 * 16;
}

/* cuda_moe.c */
void ant_cuda_route(struct ant_backend *be, const struct ant_weight *router);
void ant_cuda_experts(struct ant_backend *be, const struct ant_weight *gate_up,
                      const struct ant_weight *down);
/* moe.out = the outputs of this rank's experts for rows of `in` that have chosen `ids`, at
 * moe.places. */
void ant_cuda_run_experts(struct cuda_backend *cuda, const int32_t *ids, const uint16_t *in,
                          int rows, const struct ant_weight *gate_up,
                          const struct ant_weight *down);
/* RESIDUAL += cuda->moe.out * the rows' shares of the shared expert, later */
void ant_cuda_add_share(struct cuda_backend *cuda);
/* A page of K, or V, in a layer. */
size_t ant_cuda_page_bytes(const struct cuda_backend *cuda);

/* cuda_spread.c. Sizes; then, collective over the ranks with experts for each other, the group. */
void ant_cuda_spread_derive(struct cuda_backend *cuda);
int ant_cuda_spread_open(struct cuda_backend *cuda, struct ant_error *err);
void ant_cuda_spread_close(struct cuda_backend *cuda);
/* What each brings to a step that begins. Returns whether all capture it; *most: rows of any. */
bool ant_cuda_spread_agree(struct cuda_backend *cuda, int n_rows, bool can_capture, int *most);
/* In a captured step all bring so many. */
void ant_cuda_spread_equal(struct cuda_backend *cuda, int rows);
int ant_cuda_spread_mine(const struct cuda_backend *cuda); /* rows that this rank brings */
/* RESIDUAL += the experts of all ranks. */
void ant_cuda_spread_experts(struct cuda_backend *cuda, const struct ant_weight *gate_up,
                             const struct ant_weight *down);

/* cuda_draws.c. What the step's draws need; whether they are in range; them, and their lists at
 * place `first` of the tail: returns the end of these, -1 when too many ids are banned. */
void ant_cuda_survey_draws(struct cuda_backend *cuda, const struct ant_batch *batch);
bool ant_cuda_check_draws(const struct cuda_backend *cuda, const struct ant_batch *batch);
size_t ant_cuda_mask_bytes(const struct cuda_backend *cuda); /* as it lies in the tail */
int ant_cuda_put_draws(struct cuda_backend *cuda, const struct ant_batch *batch,
                       struct kern_draw *to, int32_t *tail, int first);
void ant_cuda_sample(struct ant_backend *be);

/* cuda_ops.c */
void ant_cuda_embed(struct ant_backend *be, const struct ant_weight *table);
void ant_cuda_norm(struct ant_backend *be, const struct ant_weight *w);
void ant_cuda_norm_add(struct ant_backend *be, const struct ant_weight *w);
void ant_cuda_gemm(struct ant_backend *be, const struct ant_weight *w, enum ant_slot in,
                   enum ant_slot out, enum ant_epilogue epilogue);
void ant_cuda_rope_append(struct ant_backend *be, int layer, const struct ant_weight *q_norm,
                          const struct ant_weight *k_norm);
void ant_cuda_attention(struct ant_backend *be, int layer, int window);
void ant_cuda_norm_sampled(struct ant_backend *be, const struct ant_weight *w);
int ant_cuda_read_slot(struct ant_backend *be, enum ant_slot slot, int row, float *out, int n,
                       struct ant_error *err);

/* Whether an operation is to be enqueued; and its outcome: the first failure sticks, with the
 * operation's name. */
bool ant_cuda_is_on(const struct cuda_backend *cuda);
void ant_cuda_done(struct cuda_backend *cuda, cudaError_t e, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
int ant_cuda_rows_of(const struct cuda_backend *cuda, enum ant_slot slot);
/* Add to RESIDUAL what it lacks: before anything but a norm reads or changes it. */
void ant_cuda_settle(struct cuda_backend *cuda);

/* cuda_meter.c. `unit`: the GPU's name as ops->unit tells it. */
void ant_cuda_meter_open(struct cuda_backend *cuda, const char *unit);
void ant_cuda_meter_close(struct cuda_backend *cuda);
/* Of struct ant_backend_counts: energy and operations. */
void ant_cuda_meter_read(const struct cuda_backend *cuda, struct ant_backend_counts *counts);
/* A step begins; an operation, by what it is called in errors, was enqueued; the step has run. */
void ant_cuda_mark_begin(struct cuda_backend *cuda);
void ant_cuda_mark(struct cuda_backend *cuda, const char *what);
void ant_cuda_mark_end(struct cuda_backend *cuda);

/* cuda_parallel.c. Collective over the replica. */
int ant_cuda_parallel_open(struct cuda_backend *cuda, struct ant_error *err);
void ant_cuda_parallel_close(struct cuda_backend *cuda);
/* Columns that rank `rank` of the stage computes, up to a multiple of 8; and the most of any. */
int ant_cuda_columns(const struct cuda_backend *cuda, int rank);
int ant_cuda_most_columns(const struct cuda_backend *cuda);
void ant_cuda_clear(struct ant_backend *be, enum ant_slot slot);
void ant_cuda_all_reduce(struct ant_backend *be, enum ant_slot slot);
void ant_cuda_share_drawn(struct ant_backend *be);
/* Parts of ant_cuda_settle: what was put off. */
void ant_cuda_settle_clear(struct cuda_backend *cuda);
void ant_cuda_sum(struct cuda_backend *cuda, enum ant_slot slot);
/* Until `done` has come, or the other ranks are gone. */
int ant_cuda_parallel_wait(struct cuda_backend *cuda, cudaEvent_t done, struct ant_error *err);
void ant_cuda_gather_logits(struct ant_backend *be);
void ant_cuda_send(struct ant_backend *be, enum ant_slot slot, int to);
void ant_cuda_receive(struct ant_backend *be, enum ant_slot slot, int from);

/* cuda_peers.c. Whether room for a box is to be made; the others are of help to each other. */
bool ant_cuda_peers_wanted(const struct cuda_backend *cuda);
int ant_cuda_peers_open(struct cuda_backend *cuda, struct ant_error *err);
void ant_cuda_peers_close(struct cuda_backend *cuda);
void ant_cuda_peers_stop(struct cuda_backend *cuda); /* kernels wait no longer for others */
struct kern_peers ant_cuda_peers_of(const struct cuda_backend *cuda);

/* cuda_weight.c */
size_t ant_cuda_weight_bytes(const struct ant_backend *be, const struct ant_weight_spec *spec);
int ant_cuda_weight_open(struct ant_backend *be, size_t bytes, void **memory,
                         struct ant_error *err);
int ant_cuda_weight_put(struct ant_backend *be, struct ant_weight **out,
                        const struct ant_weight_spec *spec, void *memory, bool fill,
                        struct ant_error *err);
/* cuda_share.c */
int ant_cuda_weight_share(struct ant_backend *be, const struct ant_weight_parts *parts,
                          bool *damaged, struct ant_error *err);
/* All copies have arrived; the stages are given back. */
int ant_cuda_weight_finish(struct cuda_backend *cuda, struct ant_error *err);
void ant_cuda_weight_close(struct cuda_backend *cuda);

#endif
