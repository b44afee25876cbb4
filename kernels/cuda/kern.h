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
    KERN_FEW_ROWS = 16       /* rows of a product that is bound by reading its weights */
};

/* Attention over the paged cache. Cache of one layer: [page][kv head][token of
 * the page][head_dim], K and V alike; head_dim is 64 or 128.
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
    int32_t *arrived;     /* (partials, kv_heads) zero before and after: decode only */
    int n_items;
    int q_stride, out_stride;
    int heads, kv_heads, head_dim;
    int window;      /* keys a row may see, itself included; 0: all */
    float scale;     /* of the scores: 1 / sqrt(head_dim) */
    bool no_wgmma;   /* prefill: the general kernel on Hopper, too (for comparison) */
    bool no_at_once; /* decode: the general kernel for few items, too (for comparison) */
    int max_ctas;    /* 0: as many as there are items; else the share of the device to use */
};

size_t kern_attn_partial_bytes(int n_partials, int kv_heads, int head_dim);
cudaError_t kern_attn_decode(struct kern_attn args, cudaStream_t stream);
cudaError_t kern_attn_prefill(struct kern_attn args, cudaStream_t stream);
/* Partial results of chunks that several sequences of one row begin with, for decode attention
 * after it to merge. An item is one chunk: `page` as there, `first` the place in `pages` of its
 * n_rows members, each the sequence's token row and the number of its partial result. No window. */
cudaError_t kern_attn_shared(struct kern_attn args, cudaStream_t stream);

/* Rotate q and k of a row by its position; q stays in place, k (rotated) and v
 * go to the cache. */
struct kern_rope_append {
    uint16_t *qkv;            /* (rows, (heads + 2 kv_heads) * head_dim) */
    const float *table;       /* (positions, rope_dim / 2, 2): cos, sin */
    const int32_t *positions; /* (rows) */
    const int32_t *slots;     /* (rows) page * KERN_PAGE_TOKENS + token in the page;
                                 negative: not kept */
    uint16_t *k_cache, *v_cache;
    int rows, heads, kv_heads, head_dim;
    int rope_dim;     /* rotated dimensions of a head, the first ones; a multiple of 16 */
    bool interleaved; /* pairs (2i, 2i+1), else (i, i + rope_dim/2) */
};
cudaError_t kern_rope_append(struct kern_rope_append args, cudaStream_t stream);

/* out = x / rms(x) * weight, for the rows named by `index`, or all. */
struct kern_norm {
    float *x;              /* (.., hidden) residual stream; written when delta is given */
    const uint16_t *delta; /* (rows, hidden) added to x first, or NULL */
    const float *weight;   /* (hidden) */
    const int32_t *index;  /* (rows) row of x of each row of out, or NULL: the same */
    uint16_t *out;         /* (rows, hidden) */
    int rows, hidden;      /* hidden: a multiple of 8, at most 16384 */
    float eps;
};
cudaError_t kern_norm(struct kern_norm args, cudaStream_t stream);

/* out += bias, for each row. */
struct kern_bias {
    float *out;           /* (rows, n) */
    const uint16_t *bias; /* (n) */
    int rows, n;          /* n: a multiple of 8 */
};
cudaError_t kern_bias(struct kern_bias args, cudaStream_t stream);

/* out = silu(gate) * up. */
struct kern_glu {
    const uint16_t *in; /* (rows, 2 * ff): gate, then up */
    uint16_t *out;      /* (rows, ff) */
    int rows, ff;       /* ff: a multiple of 8 */
};
cudaError_t kern_glu(struct kern_glu args, cudaStream_t stream);

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
    int32_t top_k;                   /* 0: off */
    int32_t banned, n_banned;        /* first of its ids in kern_sample.banned, and how many */
};

/* Draw an id from each row of logits: banned ids out, temperature, min_p,
 * top_k, top_p, then the inverse of the distribution function in the order of
 * ids at the row's Philox number. logprob is of the unmodified distribution.
 * Ties go to the lower id. */
struct kern_sample {
    const float *logits;           /* (rows, vocab), rows `stride` apart, a multiple of 4 */
    const struct kern_draw *draws; /* (rows) */
    const int32_t *banned;
    int32_t *ids;    /* (rows) */
    float *logprobs; /* (rows) */
    int rows, vocab, stride;
};
cudaError_t kern_sample(struct kern_sample args, cudaStream_t stream);

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

/* Noise around 0, uniform in [-scale, scale): a function of the index alone. */
cudaError_t kern_fill_noise(uint16_t *out, size_t n, float scale, cudaStream_t stream);

/* Read all of it and nothing else; `bytes` a multiple of 16. *out may be overwritten. */
cudaError_t kern_read(const void *data, size_t bytes, int32_t *out, cudaStream_t stream);

/* *count += 4-byte words that differ. */
cudaError_t kern_count_differences(const void *a, const void *b, size_t bytes, int32_t *count,
                                   cudaStream_t stream);

#ifdef __cplusplus
}
#endif

#endif
