/* SPDX-License-Identifier: Apache-2.0 */
/* Which part of the model one rank of a replica holds: some of the layers (pipeline), and of each
 * the heads, hidden units and tokens that are its share (tensor parallel), and of its experts
 * either some of the hidden units of all or all of some (expert parallel).
 *
 * Products split by rows give each rank its own part of the output; products split by columns give
 * each rank a summand of the whole output. Pure integers and views of tensors. Thread: control. */
#ifndef ANT_MODEL_SHARD_H
#define ANT_MODEL_SHARD_H

#include "job/layout.h"
#include "model/checkpoint.h"

enum { ANT_MAX_TP = 1024 };

/* From `first`, `count` of something. */
struct ant_range {
    int first, count;
};

struct ant_shard {
    int tp_rank, tp_size, pp_rank, pp_size;
    struct ant_range layers, heads, kv_heads, ff, expert_ff, shared_ff, vocab;
    int vocab_start[ANT_MAX_TP + 1]; /* the first token of each rank of the stage, and the end */
    struct ant_spread experts; /* what this rank adds to the rows of its replica; holder i is of
                                  replica i; with ANT_EP_JOB alone there is more than one */
    struct ant_arch arch; /* the model as far as this rank is concerned: its heads, units, layers */
};

/* Errors: ANT_EUSAGE with the reason why the model cannot be split so. */
int ant_shard_init(struct ant_shard *out, const struct ant_checkpoint *checkpoint,
                   const struct ant_layout *layout, struct ant_error *err);

/* All of the model: the only rank of its replica. */
void ant_shard_whole(struct ant_shard *out, const struct ant_checkpoint *checkpoint);

/* Does this rank hold the first layer, the last one? */
static inline bool ant_shard_is_first(const struct ant_shard *shard)
{
    return shard->pp_rank == 0;
}
static inline bool ant_shard_is_last(const struct ant_shard *shard)
{
    return shard->pp_rank == shard->pp_size - 1;
}

/* The part of `whole`, which plays `role`, that this rank holds, as a tensor of its own. A part of
 * its rows is a view; a part of its columns has data NULL until ant_shard_read. */
struct ant_piece {
    struct ant_tensor tensor;
    const struct ant_tensor *whole;
    int64_t first_column;
};
void ant_shard_piece(const struct ant_shard *shard, enum ant_role role,
                     const struct ant_tensor *whole, struct ant_piece *out);
/* Columns are copied together: *memory (caller frees) is what piece->tensor.data then points to;
 * NULL when there was nothing to copy. */
void ant_shard_read(struct ant_piece *piece, void **memory);

/* Is this weight a summand that the stage's first rank alone brings (biases of products split by
 * columns)? */
bool ant_shard_is_mine(const struct ant_shard *shard, enum ant_role role);

#endif
