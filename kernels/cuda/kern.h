/* SPDX-License-Identifier: Apache-2.0 */
/* The CUDA kernels of the engine, callable from C.
 *
 * Every launcher takes its arguments by value and an explicit stream, enqueues
 * and returns the launch's error; nothing allocates or synchronises, so all of
 * them can be captured in a graph. All pointers are device memory, borrowed
 * until the kernel has run, and 16-byte aligned; bf16 values are uint16_t here.
 * Every output row is a pure function of its own inputs, bit for bit: no
 * kernel's order of summation depends on what else is in the step.
 * A count of zero rows is legal and launches nothing. Shapes that a kernel
 * cannot do (head dimension, odd alignment) give cudaErrorInvalidValue.
 * Thread: any that owns the stream. */
#ifndef ANT_KERN_H
#define ANT_KERN_H

#include <stdbool.h>
#include <stdint.h>

#include <cuda_runtime_api.h>

#ifdef __cplusplus
extern "C" {
#endif

enum {
    KERN_PAGE_TOKENS = 32,   /* tokens in a page of the cache */
    KERN_CHUNK_KEYS = 512,   /* keys that decode attention sums before it merges */
    KERN_MAX_GROUP = 16,     /* query heads that share a kv head */
    KERN_DECODE_ROWS = 16,   /* (token, query head) rows of a decode item */
    KERN_PREFILL_ROWS = 128, /* (token, query head) rows of a prefill item */
    KERN_FEW_ROWS = 16,      /* rows of a product that is bound by reading its weights */
    KERN_MAX_TOP = 20,       /* best ids that are told of a row */
    KERN_MAX_PEERS = 8,      /* GPUs that sum together */
    KERN_SUM_BLOCKS = 128,   /* most blocks of what they do together */
    KERN_SUM_FEW_ROWS = 64   /* rows that kern_norm sums over them */
};

/* GPUs of one host that have memory of each other, and one of their sums. All of them run the same
 * sums in the same order; `call` counts those of a step from 1 on, and is the last one's number for
 * what is no sum. A kernel here ends when the others have come to it, or when the host says that
 * they will not. */
struct kern_peers {
    int rank, n;               /* n 0: alone */
    int call;                  /* of this step */
    const int32_t *base;       /* sums before this step, on the device */
    const int32_t *stop;       /* the host's memory: other than 0 when nobody is to wait any more */
    void *box[KERN_MAX_PEERS]; /* (n) kern_peers_bytes of each GPU's memory, zero at first */
};
size_t kern_peers_bytes(int n, int hidden);

/* Attention over the paged cache. Cache of one layer: [page][kv head][token of
 * the page][head_dim], K and V alike; head_dim is 64, 128 or 256.
 *
 * Work comes as a list of items made on the host (backend/cuda/attn_plan.h) and
 * each item is done for every kv head. An item's rows are the (token, query
 * head of the group) pairs of its sequence, token-major. Decode items hold one
 * chunk of KERN_CHUNK_KEYS keys for at most KERN_DECODE_ROWS rows; prefill
 * items hold all the keys for KERN_PREFILL_ROWS rows. The two kernels sum in
 * the same order and give the same bits for the same row. */
struct kern_attn_item {
    int32_t row;        /* first token row of the item's sequence in q and out */
    int32_t n_rows;     /* token rows of the sequence in this step */
    int32_t context;    /* tokens of the sequence in the cache, those rows included */
    int32_t page;       /* index in `pages` of the sequence's first page */
    int32_t first;      /* decode: first key; prefill: first (token, head) row */
    int32_t part;       /* decode: index of this chunk's partial result */
    int32_t part_first; /* decode: index of the sequence's first partial result */
    int32_t n_parts;    /* decode: partial results of the sequence, 1: none is written; prefill:
                           how many keys its rows see, for the order of the list */
    int32_t n_own;      /* decode: those of them that decode items compute, the others are there */
};

struct kern_attn {
    const uint16_t *q; /* (rows, heads, head_dim), rows q_stride elements apart */
    uint16_t *out;     /* (rows, heads * head_dim), rows out_stride apart */
    const uint16_t *k_cache, *v_cache;
    const int32_t *pages;
    const struct kern_attn_item *items; /* (n_items), heaviest first */
    const int32_t *count; /* read on the device: the number of decode items, of shared items, and
                             where these begin in `pages`, counted in integers; or NULL: n_items
                             and items, else n_items bounds the blocks only */
    float *partial;       /* kern_attn_partial_bytes(): decode only */
    int part_rows;        /* of a partial result: even, at least the rows of any decode item */
    int32_t *arrived;     /* (partials, kv_heads) zero before and after: decode only */
    int n_items;
    int q_stride, out_stride;
    int heads, kv_heads, head_dim;
    int window;      /* keys a row may see, itself included; 0: all */
    float scale;     /* of the scores: 1 / sqrt(head_dim) */
    float softcap;   /* scaled scores become softcap * tanh(score / softcap); 0: they do not */
    bool no_wgmma;   /* prefill: the general kernel on Hopper, too (for comparison) */
    bool no_at_once; /* decode: the general kernel for few items, too (for comparison) */
    int max_ctas;    /* 0: as many as there are items; else the share of the device to use */
};

size_t kern_attn_partial_bytes(int n_partials, int part_rows, int kv_heads, int head_dim);
cudaError_t kern_attn_decode(struct kern_attn args, cudaStream_t stream);
cudaError_t kern_attn_prefill(struct kern_attn args, cudaStream_t stream);
/* Partial results of chunks that several sequences of one row begin with, for decode attention
 * after it to merge. An item is one chunk: `page` as there, `first` the place in `pages` of its
 * n_rows members, each the sequence's token row and the number of its partial result. No window. */
cudaError_t kern_attn_shared(struct kern_attn args, cudaStream_t stream);

/* Norm q and k of a row where they have weights for it, and rotate them by its position; q stays in
 * place, k (rotated) and v go to the cache. */
struct kern_rope_append {
    uint16_t *qkv;               /* (rows, (heads + 2 kv_heads) * head_dim) */
    const float *table;          /* (positions, rope_dim / 2, 2): cos, sin */
    const int32_t *positions;    /* (rows) */
    const int32_t *slots;        /* (rows) page * KERN_PAGE_TOKENS + token in the page;
                                    negative: not kept */
    uint16_t *k_cache, *v_cache; /* NULL: k stays in place, too */
    int rows, heads, kv_heads, head_dim;
    int rope_dim;                 /* rotated dimensions of a head, the first ones; even, 0: none */
    bool interleaved;             /* pairs (2i, 2i+1), else (i, i + rope_dim/2) */
    const float *q_norm, *k_norm; /* (norm_dim) RMS norm of each head's first dimensions, or NULL */
    int norm_dim;
    float eps;
};
cudaError_t kern_rope_append(struct kern_rope_append args, cudaStream_t stream);

/* The RMS norms of all of a row's queries together and of all its keys, in place. Of each head the
 * first `dim` dimensions count, the others are 0. */
struct kern_qk_norm {
    uint16_t *qkv;                /* (rows, (heads + 2 kv_heads) * head_dim) */
    const float *q_norm, *k_norm; /* (heads * dim), (kv_heads * dim) */
    int rows, heads, kv_heads, head_dim, dim;
    float eps;
};
cudaError_t kern_qk_norm(struct kern_qk_norm args, cudaStream_t stream);

/* What is added to a row of the residual stream before it is used: the sum of its experts, in the
 * order of i: weights[row][i] * in[place of entry (row, i)]; entries without a place are left out.
 */
struct kern_terms {
    const uint16_t *in;    /* (places, hidden) */
    const int32_t *places; /* (rows, used), -1: none; or NULL: the row, used is 1 */
    const float *weights;  /* (rows, used) */
    int used;              /* 0: nothing is added */
};

/* out = x / rms(x) * weight (+ bias), for the rows named by `index`, or all. */
struct kern_norm {
    float *x; /* (.., hidden) residual stream; written when delta, terms or peers are given */
    const uint16_t *shift;   /* (hidden) added to x first, or NULL; not written by itself */
    const uint16_t *delta;   /* (rows, hidden) added to x then, or NULL */
    struct kern_terms terms; /* and these */
    struct kern_peers peers; /* then x becomes its sum over them; at most
                                KERN_SUM_FEW_ROWS rows, without index */
    const float *weight;     /* (hidden) */
    const float *bias;       /* (hidden) or NULL */
    const int32_t *index;    /* (rows) row of x of each row of out, or NULL: the same */
    uint16_t *out;           /* (rows, hidden), when sum is NULL */
    float *sum;              /* (rows, hidden) that the result is added to, or NULL */
    int rows, hidden;        /* hidden: a multiple of 8, at most 16384 */
    float eps;
    bool is_layer; /* of x less its mean */
};
cudaError_t kern_norm(struct kern_norm args, cudaStream_t stream);

/* out += bias, for each row. */
struct kern_bias {
    float *out;           /* (rows, n) */
    const uint16_t *bias; /* (n) */
    int rows, n;          /* n: a multiple of 8 */
};
cudaError_t kern_bias(struct kern_bias args, cudaStream_t stream);

/* out = silu(gate) * up, or gelu(gate) * up, approximated by tanh. */
struct kern_glu {
    const uint16_t *in; /* (rows, 2 * ff): gate, then up */
    uint16_t *out;      /* (rows, ff) */
    int rows, ff;       /* ff: a multiple of 8 */
    bool is_gelu;
};
cudaError_t kern_glu(struct kern_glu args, cudaStream_t stream);

/* x = cap * tanh(x / cap); n: a multiple of 4. */
cudaError_t kern_softcap(float *x, size_t n, float cap, cudaStream_t stream);

/* out = x as bf16; n: a multiple of 8. */
cudaError_t kern_round(const float *x, uint16_t *out, size_t n, cudaStream_t stream);

/* out = table[token - first] * scale; 0 for tokens that the table is without. */
struct kern_embed {
    const uint16_t *table; /* (end - first, hidden) */
    const int32_t *tokens; /* (rows) ids; or ~i: the id in drawn[i] */
    const int32_t *drawn;  /* ids that a step still on the device draws, or NULL */
    float *out;            /* (rows, hidden) */
    int rows, hidden;      /* hidden: a multiple of 8 */
    int first, end;        /* tokens of the table */
    float scale;
};
cudaError_t kern_embed(struct kern_embed args, cudaStream_t stream);

/* How one row is drawn: struct ant_draw, with its banned ids in one array for
 * all rows. */
struct kern_draw {
    uint64_t key, position;
    float temperature, top_p, min_p; /* temperature 0: the most probable */
    float typical_p;                 /* 0 or 1: off */
    int32_t top_k;                   /* 0: off */
    int32_t banned, n_banned;        /* first of its ids in kern_sample.lists, and how many */
    int32_t edits, n_edits;          /* the same of its struct kern_edit, at a multiple of 4 */
    int32_t mask;                    /* first word there of its mask, where is_masked: bit i % 32 of
                                        word i / 32 is set where id i may be drawn */
    int32_t given;                   /* the id, where is_given: nothing is drawn */
    int32_t n_top;                   /* best ids wanted, at most KERN_MAX_TOP */
    bool is_given, only_edited, is_masked;
};

/* struct ant_edit: a change to the logit of one id. */
struct kern_edit {
    int32_t id; /* beyond the vocabulary: changes nothing */
    float bias, factor, penalty;
};

/* Draw an id from each row of logits: banned ids out, temperature, min_p,
 * top_k, top_p, typical_p, then the inverse of the distribution function in the order of
 * ids at the row's Philox number. logprob is of the unmodified distribution.
 * Ties go to the lower id. */
struct kern_sample {
    float *logits;                 /* (rows, vocab), rows `stride` apart, a multiple of 4 */
    const struct kern_draw *draws; /* (rows) */
    int32_t *lists;                /* of banned ids, edits and masks */
    int32_t *ids;                  /* (rows) */
    float *logprobs;               /* (rows) */
    float *totals;                 /* (rows, 2) by kern_edit for the rows that it changes */
    int32_t *top_ids;              /* (rows, KERN_MAX_TOP) by kern_top */
    float *top_logprobs;           /* the same */
    int rows, vocab, stride;
};
cudaError_t kern_sample(struct kern_sample args, cudaStream_t stream);
/* Before it: change the logits of rows that have edits or masks; what edited ones were is kept in
 * the lists. */
cudaError_t kern_edit(struct kern_sample args, cudaStream_t stream);
/* Before both: the best ids of rows that want them, of equals the lower first; -1 where there are
 * too few. */
cudaError_t kern_top(struct kern_sample args, cudaStream_t stream);

/* ---- FP8: values of e4m3 times a scale that a row of them shares ---- */

enum { KERN_E4M3_MAX_ROW = 32768 };
/* A page of a kv head in a cache of e4m3: the rows of its tokens, then the largest value of each
 * as float32, which is what 448 in the row stands for. */
#define KERN_E4M3_PAGE_BYTES(head_dim) ((size_t)KERN_PAGE_TOKENS * ((size_t)(head_dim) + 4))

/* kern_norm of all rows, as e4m3. */
struct kern_norm_e4m3 {
    const float *x;      /* (rows, hidden) */
    const float *weight; /* (hidden) */
    uint8_t *out;        /* (rows, hidden) */
    float *scales;       /* (rows) */
    int rows, hidden;    /* hidden: a multiple of 16, at most KERN_E4M3_MAX_ROW */
    float eps;
};
cudaError_t kern_norm_e4m3(struct kern_norm_e4m3 args, cudaStream_t stream);

/* kern_glu, or just the rows, as e4m3. */
struct kern_row_e4m3 {
    const uint16_t *in; /* (rows, n); for glu (rows, 2 n): gate, then up */
    uint8_t *out;       /* (rows, n) */
    float *scales;      /* (rows) */
    int rows, n;        /* n: a multiple of 16, at most KERN_E4M3_MAX_ROW */
};
cudaError_t kern_glu_e4m3(struct kern_row_e4m3 args, cudaStream_t stream);
cudaError_t kern_row_e4m3(struct kern_row_e4m3 args, cudaStream_t stream);

/* out = in * weight^T (+ bias) (+ out) for at most KERN_FEW_ROWS rows, at the speed of memory;
 * other bits than the library's products of e4m3. */
struct kern_few_rows_e4m3 {
    const uint8_t *in, *weight;             /* (rows, k), (n, k) */
    const float *in_scales, *weight_scales; /* (rows), (n) */
    const uint16_t *bias;                   /* (n) or NULL */
    uint16_t *out;                          /* (rows, n), when out_f32 is NULL */
    float *out_f32;                         /* (rows, n) or NULL */
    int rows, n, k;                         /* k: a multiple of 16 */
    bool add;                               /* to what out_f32 holds */
};
cudaError_t kern_few_rows_e4m3(struct kern_few_rows_e4m3 args, cudaStream_t stream);

/* k and v of a row, rotated already, to a cache of e4m3. */
struct kern_append_e4m3 {
    const uint16_t *qkv;  /* (rows, (heads + 2 kv_heads) * head_dim) */
    const int32_t *slots; /* (rows) as in kern_rope_append */
    void *k_cache, *v_cache;
    int rows, heads, kv_heads, head_dim; /* head_dim: 64 or 128 */
};
cudaError_t kern_append_e4m3(struct kern_append_e4m3 args, cudaStream_t stream);

/* kern_attn_decode and kern_attn_prefill over a cache of e4m3; alike bit for bit, too. */
cudaError_t kern_attn_decode_e4m3(struct kern_attn args, cudaStream_t stream);
cudaError_t kern_attn_prefill_e4m3(struct kern_attn args, cudaStream_t stream);

/* out = in * weight^T (+ bias) (+ out) in the order of one chain of mma over k: what the products
 * of the library are compared with. k: a multiple of 16. */
struct kern_chain {
    const uint16_t *in;     /* (rows, k) */
    const uint16_t *weight; /* (n, k) */
    const uint16_t *bias;   /* (n) or NULL */
    uint16_t *out;          /* (rows, n), when out_f32 is NULL */
    float *out_f32;         /* (rows, n) or NULL */
    int rows, n, k;
    bool add; /* to what out_f32 holds */
};
cudaError_t kern_chain(struct kern_chain args, cudaStream_t stream);
/* The same for at most KERN_FEW_ROWS rows, at the speed of memory. */
cudaError_t kern_few_rows(struct kern_chain args, cudaStream_t stream);
/* And kern_glu of the result: weight holds n / 2 rows of gate, then of up; out is (rows, n / 2). No
 * bias, nothing added. */
cudaError_t kern_few_rows_glu(struct kern_chain args, cudaStream_t stream);

/* ---- mixtures of experts: rows choose experts, are sorted by expert, go through the products of
 * all experts at once, and are summed up. An entry is a row's i-th choice, at row * used + i; its
 * place is where it comes to lie in the order of experts. ---- */

enum {
    KERN_MAX_EXPERTS = 1024,
    KERN_MAX_USED = 32,
    KERN_MAX_GROUPS = 32,
    KERN_TILE_PLACES = 16 /* least places of a tile: what room for tiles is reckoned with */
};

enum kern_score { KERN_SCORE_SOFTMAX, KERN_SCORE_SIGMOID, KERN_SCORE_SPARSEMIXER };

/* Scores in * router^T, the best `used` of them and their weights: struct ant_moe says how. Equal
 * scores: the lower expert. */
struct kern_route {
    const uint16_t *in;     /* (rows, hidden) */
    const uint16_t *router; /* (experts, hidden), and with `shares` a row more */
    const float *bias;      /* (experts) added to the scores for choosing, or NULL */
    int32_t *ids;           /* (rows, used) */
    float *weights;         /* (rows, used) */
    float *shares;          /* (rows) sigmoid of the product with the router's last row, or NULL */
    int rows, hidden;       /* hidden: a multiple of 16 */
    int experts, used;
    enum kern_score score;
    bool is_renormalized;
    int groups, groups_used; /* groups 0: none */
    float jitter, scale;
};
cudaError_t kern_route(struct kern_route args, cudaStream_t stream);

/* Some places of one expert. */
struct kern_tile {
    int32_t expert; /* from the first held one on */
    int32_t place, n_places;
    int32_t unused;
};

/* Entries of the experts from `first` to first + n_held - 1 in the order of experts, and of rows
 * within one. */
struct kern_sort {
    const int32_t *ids;      /* (entries) -1: of none */
    int32_t *places;         /* (entries) -1: of an expert that is not held */
    int32_t *rows;           /* (entries) by place: the entry's row */
    struct kern_tile *tiles; /* (entries / KERN_TILE_PLACES + n_held) */
    int32_t *n_tiles;        /* (1) */
    int entries, used;
    int first, n_held;
    int tile_places; /* most places of a tile, at least KERN_TILE_PLACES */
};
cudaError_t kern_sort(struct kern_sort args, cudaStream_t stream);

/* Most places of a tile that suit so many entries, and how many tiles they can become. */
int kern_tile_places(int entries, int n_held);
int kern_most_tiles(int entries, int n_held, int tile_places);

/* out[place] = in[row of place] * weight of its expert^T: what kern_chain computes, bit for bit; or
 * kern_glu of that. */
struct kern_grouped {
    const uint16_t *in;      /* (.., k) */
    const int32_t *rows;     /* (places) row of `in` of each place, or NULL: the place */
    int places;              /* rows of `in` in that case */
    const uint16_t *weights; /* (n_held, n, k) */
    uint16_t *out;           /* (places, n), or gated (places, n / 2) */
    const struct kern_tile *tiles;
    const int32_t *n_tiles; /* read on the device */
    int max_tiles;          /* kern_most_tiles */
    int tile_places;        /* as in kern_sort */
    int n_held, n, k;       /* n: a multiple of 16, gated of 32; k: of 16 */
    bool is_gated, is_gelu; /* n / 2 rows of gate, then of up */
    bool no_wgmma;          /* the general kernel on Hopper, too (for comparison) */
};
cudaError_t kern_grouped(struct kern_grouped args, cudaStream_t stream);

/* sum[row] += shift, then the terms, as kern_norm adds them. */
struct kern_combine {
    struct kern_terms terms;
    const uint16_t *shift; /* (hidden) or NULL */
    float *sum;            /* (rows, hidden) */
    int rows, hidden;      /* hidden: a multiple of 8 */
};
cudaError_t kern_combine(struct kern_combine args, cudaStream_t stream);

/* Experts of several ranks. Each rank that holds some of them gives back, for every row, `width`
 * rows: the outputs of those of the row's entries that it holds, in their order, and then nothing
 * of meaning. */
struct kern_collect {
    const uint16_t *in;    /* (places, hidden) outputs of the experts that are held here */
    const int32_t *places; /* (rows, used) -1: not held */
    uint16_t *out;         /* (rows, width, hidden) */
    int rows, used, width; /* width: at least the entries of a row that can be held */
    int hidden;            /* a multiple of 8 */
};
cudaError_t kern_collect(struct kern_collect args, cudaStream_t stream);

/* What all ranks gave back for the same rows lies one after another. */
struct kern_holder {
    int32_t first; /* the widths of the ranks before the one that holds the expert; -1: none does */
    int32_t width; /* of that rank */
};
struct kern_find {
    const int32_t *ids;                /* (rows, used) */
    const struct kern_holder *holders; /* (experts) */
    int32_t *places;                   /* (rows, used), of kern_terms; -1: held by none of them */
    int rows, used;
};
cudaError_t kern_find(struct kern_find args, cudaStream_t stream);

/* ---- what GPUs do together, see struct kern_peers ---- */

/* Every GPU's data = their sum, in the order of ranks. */
struct kern_sum {
    struct kern_peers peers;
    float *data[KERN_MAX_PEERS]; /* (n) of each GPU */
    size_t n;                    /* a multiple of 4 */
};
cudaError_t kern_sum(struct kern_sum args, cudaStream_t stream);

/* The part of each GPU to its columns of the first one's logits. */
struct kern_gather {
    struct kern_peers peers;
    const float *part;       /* (rows, part_stride) this GPU's */
    float *logits;           /* the first one's, from this GPU's columns on: (rows, stride) */
    int rows, width, stride; /* width: of the columns */
    int part_stride;
};
cudaError_t kern_gather(struct kern_gather args, cudaStream_t stream);

/* ids[0] of the first GPU to the others. */
struct kern_share {
    struct kern_peers peers;
    int32_t *ids[KERN_MAX_PEERS]; /* (n) of each GPU */
    int n;
};
cudaError_t kern_share(struct kern_share args, cudaStream_t stream);

/* Noise around 0, uniform in [-scale, scale): a function of the index alone. */
cudaError_t kern_fill_noise(uint16_t *out, size_t n, float scale, cudaStream_t stream);

/* Read all of it and nothing else; `bytes` a multiple of 16. *out may be overwritten. */
cudaError_t kern_read(const void *data, size_t bytes, int32_t *out, cudaStream_t stream);

/* *out += a digest of `bytes` of memory, a multiple of 4; `data` aligned to 16. */
cudaError_t kern_digest(const void *data, size_t bytes, uint64_t *out, cudaStream_t stream);

/* *count += 4-byte words that differ. */
cudaError_t kern_count_differences(const void *a, const void *b, size_t bytes, int32_t *count,
                                   cudaStream_t stream);

#ifdef __cplusplus
}
#endif

#endif
