/* SPDX-License-Identifier: Apache-2.0 */
/* The seam between the model and what computes it: one ragged batch in, sampled
 * ids out.
 *
 * Activations never cross it as pointers: they are named slots, and each
 * backend chooses their element type and layout. Operations are fused, enqueue
 * and return void; the first failure sticks and step_wait returns it. Every
 * output row of every operation is a pure function of that row's own inputs and
 * of the weights: bit for bit the same whichever rows share the step, however
 * many threads compute it, and whether a token arrives in a prefill chunk or in
 * a decode step. Thread: the engine thread, after open. No slot of the table is
 * NULL. */
#ifndef ANT_BACKEND_BACKEND_H
#define ANT_BACKEND_BACKEND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "job/parallel.h"
#include "model/arch.h"
#include "model/tensor.h"

enum {
    ANT_PAGE_TOKENS = 32, /* tokens in a page of the KV cache */
    ANT_MAX_TOP = 20,     /* most of ant_draw.n_top */
};

/* A change to one logit x before it is drawn from, in this order: x + bias; then divided by factor
 * if above 0, else multiplied by it; then less penalty. */
struct ant_edit {
    int32_t id;
    float bias, factor, penalty;
};

/* How one sampled row is drawn. Greedy when temperature is 0. */
struct ant_draw {
    float temperature, top_p, min_p;
    float typical_p; /* 0 or 1: off */
    int32_t top_k;
    uint64_t key;          /* of (seed, prompt, sample): see engine/sampling.h */
    uint64_t position;     /* index of the drawn token in its answer: the
                              generator's counter */
    const int32_t *banned; /* (n_banned) ids that must not be drawn (min_tokens) */
    int32_t n_banned;
    const struct ant_edit *edits; /* (n_edits) each id once; only where edits_logits */
    int32_t n_edits;
    bool only_edited;     /* no other ids may be drawn than those in `edits` */
    const uint64_t *mask; /* (vocab + 63) / 64: bit i % 64 of word i / 64 is set where id i may be
                             drawn; NULL: any. One of the batch's; only where masks_logits */
    bool is_given;        /* nothing is drawn: `given` is the id, what is wanted is its logprob */
    int32_t given;
    int32_t n_top; /* so many of the most probable ids are wanted too; only where ranks_logits */
};

/* One step: rows of several sequences, prefill chunks and single decode tokens
 * mixed. Plain arrays, owned by the engine, valid until step_end returns. The
 * rows of a sequence are consecutive and in order of position. Sequences that
 * begin alike share pages: one of them at most writes to a page, the others may
 * read it in the same step. Steps run in the order they were handed over: a
 * step may write to pages that the one before it still reads. Without rows nor
 * sequences it is a step for company (facts.in_company). */
struct ant_batch {
    int n_rows, n_seqs, n_sampled;
    const int32_t *tokens;        /* (n_rows) token ids; ~i: what the i-th sampled row of the
                                     step before drew (only where steps_in_flight > 1) */
    const int32_t *positions;     /* (n_rows) position in its sequence */
    const int32_t *row_start;     /* (n_seqs + 1) first row of each sequence */
    const int32_t *context;       /* (n_seqs) tokens in the cache when the step is done */
    const int32_t *page_start;    /* (n_seqs + 1) first entry of each sequence in `pages` */
    const int32_t *pages;         /* (page_start[n_seqs], at most max_seqs times the pages of
                                     max_context) page ids: token t of a sequence is in its page
                                     t / ANT_PAGE_TOKENS */
    const int32_t *sampled;       /* (n_sampled) rows whose next token is wanted, ascending; NULL
                                     where a step draws for the open one before it */
    const struct ant_draw *draws; /* (n_sampled); NULL on ranks that do not draw */
    const uint64_t *masks;        /* (n_masks, (vocab + 63) / 64) that draws point to */
    int n_masks;
    bool is_open; /* nothing is drawn yet, and this step is not waited for: the next one, without
                     rows, draws from its LOGITS; only where opens_steps */
};

/* What a step gives back, (n_sampled) each; arrays owned by the backend until
 * the next step_wait. */
struct ant_drawn {
    const int32_t *ids;
    const float *logprobs;  /* of the drawn id under the unmodified distribution
                               (temperature 1): a function of the logits and the id alone */
    const int32_t *top_ids; /* (n_sampled, ANT_MAX_TOP): n_top of each row, best first; of equal */
    const float *top_logprobs; /* ones the lower id is. Ids that there are too few of: -1 */
};

/* Activations, by name. Rows are those of the batch, or the sampled ones for
 * LAST and LOGITS. */
enum ant_slot {
    ANT_SLOT_RESIDUAL, /* (rows, hidden), always float32 */
    ANT_SLOT_NORMED,   /* (rows, hidden) */
    ANT_SLOT_QKV,      /* (rows, (heads + 2 kv heads) * head_dim) */
    ANT_SLOT_ATTN,     /* (rows, heads * head_dim) */
    ANT_SLOT_HIDDEN,   /* (rows, ff) */
    ANT_SLOT_SHARED,   /* (rows, moe.shared_ff): HIDDEN of the shared expert; else no rows */
    ANT_SLOT_BRANCH,   /* (rows, hidden), always float32: what norm_add adds; no rows
                          without has_post_norm */
    ANT_SLOT_LAST,     /* (sampled, hidden) final norm of the sampled rows */
    ANT_SLOT_LOGITS,   /* (sampled, vocab), always float32 */
    ANT_N_SLOTS,
};

enum ant_epilogue {
    ANT_EPILOGUE_STORE, /* out = in * W^T + bias */
    ANT_EPILOGUE_ADD,   /* out += in * W^T + bias (residual) */
    ANT_EPILOGUE_GLU,   /* out = act(in * gate^T) * (in * up^T): W holds two
                           parts, gate then up; arch->act */
    ANT_EPILOGUE_SHARE, /* out += (in * W^T) * the row's share of the shared expert, from route */
};

/* A weight as the model names it: one or more matrices with the same number of
 * columns, stacked by rows (q, k, v); or a vector (norms), whose elements become
 * scale * (x + offset), its bias scale * b; or the matrices of every expert. Parts may differ in
 * type. */
struct ant_weight_spec {
    const struct ant_tensor *parts[3];
    const struct ant_tensor *bias[3]; /* NULL entries: none */
    int n_parts;
    bool is_vector;
    bool is_table;                   /* also read by rows: the embedding */
    bool is_output;                  /* its product is the logits */
    bool rows_by_head, cols_by_head; /* its rows or columns are heads of head_dim each, which a
                                        backend may pad: q, k, v; o */
    bool rows_by_unit, cols_by_unit; /* each part's rows, or its columns, are the hidden units of a
                                        feed-forward, which a backend may pad: gate, up; down */
    bool is_router;                  /* its bias is for route alone, not the product's */
    float offset;                    /* of a vector */
    float scale;                     /* of a vector; 0: 1 */
    int n_experts;                   /* 0, or `experts` holds what `parts` holds else, */
    const struct ant_tensor *const
        *experts; /* (n_experts, n_parts): no bias; moe.n_held of them, */
    int layer;    /* of this one of arch->n_layers */
};
struct ant_weight; /* a backend's own prepared form */

enum ant_kv_type { ANT_KV_AUTO, ANT_KV_F32, ANT_KV_BF16, ANT_KV_FP8 };
/* FP8: matrices but the embedding, the output and routers become e4m3, with a scale for each row,
 * and so does what they are multiplied with. */
enum ant_weight_type { ANT_WEIGHT_AUTO, ANT_WEIGHT_FP8 };

struct ant_backend_config {
    const struct ant_arch *arch;
    int max_rows, max_seqs, max_sampled; /* of one step */
    int max_context;                     /* tokens of one sequence */
    int n_threads;                       /* CPU: 0 = every core of the process */
    int local_rank;
    enum ant_kv_type kv_type;
    enum ant_weight_type weight_type;
    bool binds_threads;    /* CPU: they are all that the rank's cores are for, one on each */
    bool is_fast;          /* a row's bits may depend on how many there are, where that is faster */
    bool reads_slots;      /* read_slot will be called: each operation is launched by itself */
    bool times_operations; /* for `counts`, also where that makes steps slower */
    /* The ranks that hold the rest of the replica (borrowed; NULL: nobody), and the tokens whose
     * rows of the embedding and of the output the ranks of a stage have: rank i from vocab_start[i]
     * to vocab_start[i + 1] (NULL: this one has all). `arch` is what this rank has of the model. */
    const struct ant_parallel *parallel;
    const int *vocab_start;
    const struct ant_spread *spread; /* borrowed: who in parallel->experts has the experts that this
                                        rank adds; NULL: it adds those that it holds */
};

/* What a backend tells of itself, for the plan, banner and report. */
struct ant_backend_facts {
    char device[128];  /* "AMD EPYC, 2 cores, AVX-512 BF16" */
    const char *level; /* part of what determines answers: "avx512", "sm_90" */
    size_t workspace_bytes;
    size_t kv_page_bytes; /* one page over all layers */
    size_t free_bytes;    /* memory for weights, workspace and cache together, before anything
                             was loaded */
    bool is_host;         /* that memory is the host's: its ranks hold the weights once and share
                             the rest */
    double kv_share;      /* what of the rest the cache may take by default */
    double bandwidth;     /* bytes/s, measured once weights are there; 0: not
                             measured */
    double peak_flops;    /* of products of the level's own type, flop/s; 0: not measured */
    bool edits_logits;    /* draws may have edits */
    bool masks_logits;    /* draws may have masks */
    bool ranks_logits;    /* draws may be given, and have n_top */
    bool in_company;      /* with `spread`: a step needs all ranks of parallel->experts, those that
                             have no rows take part with an empty batch; else each takes its own */
    bool opens_steps;     /* what a step draws by may be said while it runs */
    int steps_in_flight;  /* steps that may have ended but not been waited for, 1 or 2: a device
                             is given its next step while it works on one */
};

/* The time of all operations of one name. */
struct ant_operation {
    char name[40];
    double seconds;
};

enum { ANT_MAX_OPERATIONS = 32 };

/* Work counted since open: what the report compares with the hardware's limit.
 */
struct ant_backend_counts {
    double weight_bytes, kv_bytes, flops;
    double seconds_gemm, seconds_attention, seconds_other; /* of operations; 0: not timed */
    struct ant_operation operations[ANT_MAX_OPERATIONS];   /* in the order of their first use */
    int n_operations;                                      /* 0: not told apart */
    double joules; /* that the device has taken since kv_open; 0: not known */
};

/* Weights that several ranks hold, each filled by one of them: from the member `from` to all. */
struct ant_weight_part {
    void *data;
    size_t bytes;
    int from;
};
struct ant_weight_parts {
    const struct ant_weight_part *items; /* (n) */
    int n;
    struct ant_group *ranks;        /* those who hold them */
    const struct ant_device_id *id; /* of a group of their devices, for this once; not made: they go
                                       over the hosts' memory */
    double timeout;
};

struct ant_backend; /* each backend's own; begins with `const struct
                       ant_backend_ops *ops` */

struct ant_backend_ops {
    const char *name; /* "cuda", "cpu" */
    /* If nobody says: prompts in flight, those of models that want many (ant_arch_wants_many), and
     * rows of a step. */
    int default_seqs, many_seqs, default_rows;

    /* 0 when this process can use the backend; else the reason is in `why`. */
    int (*probe)(struct ant_error *why);
    /* Name of the device that the rank with this local number would use, which no two ranks may
     * share; empty when they may. */
    int (*unit)(int local_rank, char out[64], struct ant_error *err);
    int (*open)(struct ant_backend **out, const struct ant_backend_config *config,
                struct ant_error *err);
    void (*close)(struct ant_backend *be);
    void (*facts)(const struct ant_backend *be, struct ant_backend_facts *out);
    void (*counts)(const struct ant_backend *be, struct ant_backend_counts *out);
    /* Look at leisure, some tenths of a second, how fast memory and products can be, for `facts`:
     * after kv_open, with no step out. */
    void (*measure)(struct ant_backend *be);

    /* Weights. `weight_bytes` is what the prepared form takes. `weight_open` gives the device's
     * memory for all of them, or NULL: then it is the loader's, on the host, and may be shared by
     * the ranks of a node. `weight_put` prepares one in `memory` of its size, or, with `fill`
     * false, only adopts memory that another rank of the node fills. Safe to call for different
     * weights from several threads. */
    size_t (*weight_bytes)(const struct ant_backend *be, const struct ant_weight_spec *spec);
    int (*weight_open)(struct ant_backend *be, size_t bytes, void **memory, struct ant_error *err);
    int (*weight_put)(struct ant_backend *be, struct ant_weight **out,
                      const struct ant_weight_spec *spec, void *memory, bool fill,
                      struct ant_error *err);
    /* After all weights have been put. Collective; *damaged: some arrived otherwise than they were
     * sent, by a checksum of each. */
    int (*weight_share)(struct ant_backend *be, const struct ant_weight_parts *parts, bool *damaged,
                        struct ant_error *err);
    int (*kv_open)(struct ant_backend *be, int n_pages, struct ant_error *err);

    void (*step_begin)(struct ant_backend *be, const struct ant_batch *batch);
    /* The step is whole: hand it to the device. */
    void (*step_end)(struct ant_backend *be);
    /* What the oldest step not yet waited for drew. */
    int (*step_wait)(struct ant_backend *be, struct ant_drawn *out, struct ant_error *err);

    /* RESIDUAL = rows of the embedding `table`, times arch->embed_scale. */
    void (*embed)(struct ant_backend *be, const struct ant_weight *table);
    /* NORMED = norm(RESIDUAL) * w, of arch->norm; without w NORMED = RESIDUAL */
    void (*norm)(struct ant_backend *be, const struct ant_weight *w);
    /* RESIDUAL += norm(BRANCH) * w */
    void (*norm_add)(struct ant_backend *be, const struct ant_weight *w);
    /* What goes to LOGITS passes arch->logit_softcap. */
    void (*gemm)(struct ant_backend *be, const struct ant_weight *w, enum ant_slot in,
                 enum ant_slot out, enum ant_epilogue epilogue);
    /* Norm q and k of QKV by arch->qk_norm (its weights; NULL: none), rotate them
     * by position and by the bits of `layer` in arch->layers; append k and v to
     * the cache of `layer`. */
    void (*rope_append)(struct ant_backend *be, int layer, const struct ant_weight *q_norm,
                        const struct ant_weight *k_norm);
    /* ATTN = softmax(q k^T * ant_arch_attn_scale, under arch->attn_softcap) v,
     * causal, over the cache of `layer`; window 0: all of it. */
    void (*attention)(struct ant_backend *be, int layer, int window);
    /* Choose the experts of every row and their weights by NORMED * router^T and
     * arch->moe; the bias of `router` is moe.has_bias's. A second part of `router`, one row, gives
     * the share of the shared expert: the sigmoid of its product. Equal scores: the lower expert.
     */
    void (*route)(struct ant_backend *be, const struct ant_weight *router);
    /* RESIDUAL += over those of the row's experts that this rank adds, in the order of their rank:
     * weight * down(act(gate(NORMED)) * up(NORMED)). It adds those that it holds (moe.first_held,
     * n_held), the stage's other ranks the others' in all_reduce. With `spread` it adds more than
     * it holds: their outputs come from the ranks that do, for whom it computes meanwhile. */
    void (*experts)(struct ant_backend *be, const struct ant_weight *gate_up,
                    const struct ant_weight *down);
    /* After the last attention: nothing but the sampled rows is wanted from here to the end of the
     * step. A backend may compute the others all the same. */
    void (*keep_sampled)(struct ant_backend *be);
    /* LAST = norm(RESIDUAL) * w for the sampled rows. */
    void (*norm_sampled)(struct ant_backend *be, const struct ant_weight *w);
    /* What the ranks of a replica do together: all concerned call it in the same order, on slots of
     * float32, and only where the backend was opened with `parallel`. */
    /* slot = 0 */
    void (*clear)(struct ant_backend *be, enum ant_slot slot);
    /* slot = its sum over the ranks of the stage */
    void (*all_reduce)(struct ant_backend *be, enum ant_slot slot);
    /* LOGITS of the stage's first rank = the columns of all its ranks, side by side. */
    void (*gather_logits)(struct ant_backend *be);
    /* The stage's other ranks learn what its first has drawn, for a next step that is begun before
     * this one is waited for; with one step in flight there is nothing to do. */
    void (*share_drawn)(struct ant_backend *be);
    /* RESIDUAL to, and from, a rank of the replica. */
    void (*send)(struct ant_backend *be, enum ant_slot slot, int to);
    void (*receive)(struct ant_backend *be, enum ant_slot slot, int from);

    /* Draw an id from each row of LOGITS by its ant_draw, or look at the one it gives. */
    void (*sample)(struct ant_backend *be);

    /* Copy `n` floats of row `row` of a slot to the host, for tests and
     * scoring; between the operation and step_end. */
    int (*read_slot)(struct ant_backend *be, enum ant_slot slot, int row, float *out, int n,
                     struct ant_error *err);
};

struct ant_backend {
    const struct ant_backend_ops *ops;
};

extern const struct ant_backend_ops ant_backend_cpu, ant_backend_cuda;

/* The first backend in the list whose probe answers 0; refusals are logged.
 * `name` other than NULL or "auto" makes that backend's refusal the error. */
int ant_backend_choose(const struct ant_backend_ops **out, const char *name, struct ant_error *err);

#endif
