/* SPDX-License-Identifier: Apache-2.0 */
/* From a batch to the work lists of the attention kernels, once a step, for all
 * layers. Sequences whose (row, query head of the group) pairs fit a decode
 * item go to the decode kernel in chunks of keys, the others to the prefill
 * kernel in blocks of rows; heaviest items come first. Whole chunks that some
 * sequences of one row have in the same pages go to the shared kernel, once for
 * all of them. Which kernel computes a row never changes its bits. Thread: any;
 * no state but the plan's. */
#ifndef ANT_BACKEND_CUDA_ATTN_PLAN_H
#define ANT_BACKEND_CUDA_ATTN_PLAN_H

#include "backend/backend.h"
#include "cuda/kern.h"

/* Room that any batch within the limits needs. Room for fewer partial results will do when the
 * decode items are computed in several rounds, but not for fewer than those of one sequence
 * (n_least). */
struct ant_attn_bound {
    int n_decode, n_prefill, n_partials, n_least;
    int n_shared, n_members;
    int least_rows; /* of a partial result */
};
struct ant_attn_bound ant_attn_bound(int max_rows, int max_seqs, int max_context, int group);

/* Who else has the chunk that begins with a page: for planning alone. */
struct ant_attn_mark {
    int stamp; /* the plan that this is of */
    int chunk, leader, n;
    int next; /* place of the next member */
};

/* A sequence with a shared chunk: its token row, and the partial result that the chunk becomes. */
struct ant_attn_member {
    int32_t row, part;
};

struct ant_attn_plan {
    struct kern_attn_item *decode, *prefill; /* the caller's, of the sizes of the bound */
    struct kern_attn_item *shared;   /* the caller's; `page` of the leader, `first` and n_rows name
                                        the members */
    struct ant_attn_member *members; /* the caller's */
    struct ant_attn_mark *marks; /* (pages of the cache) the caller's, zeroed once; NULL: nothing
                                    is shared */
    int stamp;                   /* zeroed once */
    int *round_end;   /* (max_seqs) the caller's: first decode item after each round; rounds run one
                         after another and use the same partial results */
    int max_partials; /* the caller's: room for them if each has KERN_DECODE_ROWS rows */
    int part_rows;    /* that they have; with fewer there is room for more: */
    int room;
    int n_decode, n_prefill, n_rounds;
    int n_shared, n_members;
    int n_partials; /* most partial results of a round */
};

/* Fill the lists; window 0: none. */
void ant_attn_plan(struct ant_attn_plan *plan, const struct ant_batch *batch, int group,
                   int window);

#endif
