/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "model/shard.h"

#include <stddef.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"

/* How a role is split: not at all, by rows (elements of a vector), by columns. */
enum split { WHOLE, ROWS, COLUMNS, FIRST_ALONE };

static const struct rule {
    enum split split;
    size_t range;  /* of struct ant_shard */
    bool is_heads; /* the range counts heads, not rows or columns */
} rules[ANT_N_ROLES] = {
    [ANT_W_EMBED] = {ROWS, offsetof(struct ant_shard, vocab)},
    [ANT_W_OUTPUT] = {ROWS, offsetof(struct ant_shard, vocab)},
    [ANT_W_OUTPUT_BIAS] = {ROWS, offsetof(struct ant_shard, vocab)},
    [ANT_W_Q] = {ROWS, offsetof(struct ant_shard, heads), true},
    [ANT_W_K] = {ROWS, offsetof(struct ant_shard, kv_heads), true},
    [ANT_W_V] = {ROWS, offsetof(struct ant_shard, kv_heads), true},
    [ANT_W_Q_BIAS] = {ROWS, offsetof(struct ant_shard, heads), true},
    [ANT_W_K_BIAS] = {ROWS, offsetof(struct ant_shard, kv_heads), true},
    [ANT_W_V_BIAS] = {ROWS, offsetof(struct ant_shard, kv_heads), true},
    [ANT_W_O] = {COLUMNS, offsetof(struct ant_shard, heads), true},
    [ANT_W_O_BIAS] = {FIRST_ALONE},
    [ANT_W_GATE] = {ROWS, offsetof(struct ant_shard, ff)},
    [ANT_W_UP] = {ROWS, offsetof(struct ant_shard, ff)},
    [ANT_W_DOWN] = {COLUMNS, offsetof(struct ant_shard, ff)},
    [ANT_W_SHARED_GATE] = {ROWS, offsetof(struct ant_shard, shared_ff)},
    [ANT_W_SHARED_UP] = {ROWS, offsetof(struct ant_shard, shared_ff)},
    [ANT_W_SHARED_DOWN] = {COLUMNS, offsetof(struct ant_shard, shared_ff)},
    [ANT_W_EXPERT_GATE] = {ROWS, offsetof(struct ant_shard, expert_ff)},
    [ANT_W_EXPERT_UP] = {ROWS, offsetof(struct ant_shard, expert_ff)},
    [ANT_W_EXPERT_DOWN] = {COLUMNS, offsetof(struct ant_shard, expert_ff)},
};

/* The rank's part of n things that come in units. */
static struct ant_range part_of(int n, int unit, int rank, int size)
{
    int64_t units = n / unit;
    int first = (int)(units * rank / size), end = (int)(units * (rank + 1) / size);

    return (struct ant_range){first * unit, (end - first) * unit};
}

/* ---- tensor parallel ------------------------------------------------------------------------- */

/* KV heads go to ranks with all query heads that use them; with fewer of them than ranks, several
 * ranks hold the same one and share its query heads. */
static int split_heads(struct ant_shard *shard, const struct ant_arch *arch, struct ant_error *err)
{
    int group = arch->n_heads / arch->n_kv_heads, size = shard->tp_size, copies;

    if (arch->n_kv_heads >= size) {
        shard->kv_heads = part_of(arch->n_kv_heads, 1, shard->tp_rank, size);
        shard->heads =
            (struct ant_range){shard->kv_heads.first * group, shard->kv_heads.count * group};
        return 0;
    }
    copies = size / arch->n_kv_heads;
    if (size % arch->n_kv_heads != 0 || group % copies != 0)
        return ant_fail(err, ANT_EUSAGE,
                        "%d query heads over %d KV heads cannot be split into %d equal parts: "
                        "choose another --tp-size",
                        arch->n_heads, arch->n_kv_heads, size);
    shard->kv_heads = (struct ant_range){shard->tp_rank / copies, 1};
    shard->heads = (struct ant_range){shard->tp_rank * (group / copies), group / copies};
    return 0;
}

/* Quantized weights can be cut between blocks only. Gives the largest block among the tensors of
 * a role, and the name of one that has it. */
static int block_of(const struct ant_checkpoint *checkpoint, enum ant_role role, const char **name)
{
    int largest = 1, n_layers = ant_checkpoint_arch(checkpoint)->n_layers;

    *name = "";
    for (int i = 0; i < n_layers; i++) {
        const struct ant_tensor *tensor = ant_checkpoint_role(checkpoint, role, i);
        if (tensor && ant_types[tensor->type].block > largest) {
            largest = ant_types[tensor->type].block;
            *name = tensor->name;
        }
    }
    return largest;
}

static int check_heads(const struct ant_shard *shard, const struct ant_checkpoint *checkpoint,
                       struct ant_error *err)
{
    const char *name;
    int block = block_of(checkpoint, ANT_W_O, &name), dim = shard->arch.head_dim;

    if (shard->heads.first * dim % block == 0 && shard->heads.count * dim % block == 0)
        return 0;
    return ant_fail(err, ANT_EUSAGE,
                    "'%s' comes in blocks of %d columns, which %d heads of %d are no multiple of: "
                    "choose another --tp-size or a file of another type",
                    name, block, shard->heads.count, dim);
}

/* The hidden units of a feed-forward of n, whose down matrix plays `role`. */
static int split_units(struct ant_range *out, const struct ant_shard *shard,
                       const struct ant_checkpoint *checkpoint, enum ant_role role, int n,
                       struct ant_error *err)
{
    const char *name;
    int block = block_of(checkpoint, role, &name);

    *out = part_of(n, block, shard->tp_rank, shard->tp_size);
    if (n == 0 || n / block >= shard->tp_size)
        return 0;
    return ant_fail(err, ANT_EUSAGE,
                    "%d hidden units in blocks of %d cannot be shared by %d ranks: lower --tp-size",
                    n, block, shard->tp_size);
}

/* Whole experts: a share of them for each rank of the stage, and of that share one for each of
 * the holders. */
static int split_experts(struct ant_shard *shard, const struct ant_checkpoint *checkpoint,
                         const struct ant_layout *layout, struct ant_error *err)
{
    struct ant_moe *moe = &shard->arch.moe;
    struct ant_spread *spread = &shard->experts;
    bool is_whole = layout->ep != ANT_EP_NONE;
    struct ant_range mine = {0, moe->n_experts};

    shard->expert_ff = (struct ant_range){0, moe->ff};
    if (!is_whole)
        ANT_TRY(split_units(&shard->expert_ff, shard, checkpoint, ANT_W_EXPERT_DOWN, moe->ff, err));
    else
        mine = part_of(moe->n_experts, 1, layout->tp_rank, layout->tp_size);
    spread->n = layout->ep == ANT_EP_JOB ? layout->dp_size : 1;
    spread->me = layout->ep == ANT_EP_JOB ? layout->dp_rank : 0;
    if (is_whole && moe->n_experts < layout->tp_size * spread->n)
        return ant_fail(err, ANT_EUSAGE,
                        "%d experts cannot be spread over %d ranks, one each at least: %s",
                        moe->n_experts, layout->tp_size * spread->n,
                        moe->n_experts > 0 ? "start fewer of them, or without --enable-ep"
                                           : "--enable-ep is for mixtures of experts");
    for (int i = 0; i <= spread->n; i++)
        spread->start[i] = mine.first + part_of(mine.count, 1, i, spread->n).first;
    moe->ff = shard->expert_ff.count;
    moe->first_held = spread->start[spread->me];
    moe->n_held = spread->start[spread->me + 1] - moe->first_held;
    return 0;
}

static int split_tensors(struct ant_shard *shard, const struct ant_checkpoint *checkpoint,
                         struct ant_error *err)
{
    const struct ant_arch *arch = ant_checkpoint_arch(checkpoint);

    if (shard->tp_size > 1 && arch->qk_norm == ANT_QK_NORM_WHOLE)
        return ant_fail(err, ANT_EUSAGE,
                        "the norms of %s go over all heads together: --tp-size must be 1",
                        arch->family);
    ANT_TRY(split_heads(shard, arch, err));
    ANT_TRY(check_heads(shard, checkpoint, err));
    ANT_TRY(split_units(&shard->ff, shard, checkpoint, ANT_W_DOWN, arch->ff, err));
    ANT_TRY(split_units(&shard->shared_ff, shard, checkpoint, ANT_W_SHARED_DOWN,
                        arch->moe.shared_ff, err));
    shard->vocab = part_of(arch->vocab, 1, shard->tp_rank, shard->tp_size);
    for (int i = 0; i < shard->tp_size; i++)
        shard->vocab_start[i] = part_of(arch->vocab, 1, i, shard->tp_size).first;
    shard->vocab_start[shard->tp_size] = arch->vocab;
    shard->arch.n_heads = shard->heads.count;
    shard->arch.n_kv_heads = shard->kv_heads.count;
    shard->arch.ff = shard->ff.count;
    shard->arch.moe.shared_ff = shard->shared_ff.count;
    return 0;
}

/* ---- pipeline -------------------------------------------------------------------------------- */

/* Where stage `stage` begins, if the output matrix counts as many layers as it costs. */
static int first_layer(const struct ant_arch *arch, int stage, int n_stages)
{
    double layers = ant_arch_token_flops(arch) / arch->n_layers;
    double head = 2.0 * arch->hidden * arch->vocab / layers;
    int first = (int)((arch->n_layers + head) * stage / n_stages + 0.5);
    int last = arch->n_layers - (n_stages - stage); /* each later stage has one at least */

    return first < stage ? stage : first > last ? last : first;
}

static int split_layers(struct ant_shard *shard, const struct ant_arch *arch, struct ant_error *err)
{
    if (shard->pp_size > arch->n_layers)
        return ant_fail(err, ANT_EUSAGE, "%d layers cannot be split into %d stages", arch->n_layers,
                        shard->pp_size);
    int first = shard->pp_rank ? first_layer(arch, shard->pp_rank, shard->pp_size) : 0;
    int end = ant_shard_is_last(shard) ? arch->n_layers
                                       : first_layer(arch, shard->pp_rank + 1, shard->pp_size);

    shard->layers = (struct ant_range){first, end - first};
    shard->arch.n_layers = end - first;
    memmove(shard->arch.layers, arch->layers + first, (size_t)(end - first));
    return 0;
}

int ant_shard_init(struct ant_shard *out, const struct ant_checkpoint *checkpoint,
                   const struct ant_layout *layout, struct ant_error *err)
{
    const struct ant_arch *arch = ant_checkpoint_arch(checkpoint);

    *out = (struct ant_shard){
        .tp_rank = layout->tp_rank,
        .tp_size = layout->tp_size,
        .pp_rank = layout->pp_rank,
        .pp_size = layout->pp_size,
        .arch = *arch,
    };
    ANT_TRY(split_tensors(out, checkpoint, err));
    ANT_TRY(split_experts(out, checkpoint, layout, err));
    return split_layers(out, arch, err);
}

void ant_shard_whole(struct ant_shard *out, const struct ant_checkpoint *checkpoint)
{
    static const struct ant_layout alone = {.world = 1, .dp_size = 1, .tp_size = 1, .pp_size = 1};

    if (ant_shard_init(out, checkpoint, &alone, NULL) < 0)
        ant_die("a model that its one rank cannot hold");
}

/* ---- pieces ---------------------------------------------------------------------------------- */

bool ant_shard_is_mine(const struct ant_shard *shard, enum ant_role role)
{
    return rules[role].split != FIRST_ALONE || shard->tp_rank == 0;
}

void ant_shard_piece(const struct ant_shard *shard, enum ant_role role,
                     const struct ant_tensor *whole, struct ant_piece *out)
{
    const struct rule *rule = &rules[role];
    struct ant_tensor *tensor = &out->tensor;

    *out = (struct ant_piece){.tensor = *whole, .whole = whole};
    if (shard->tp_size == 1 || rule->split == WHOLE || rule->split == FIRST_ALONE)
        return;
    const struct ant_range *range = (const void *)((const char *)shard + rule->range);
    int64_t unit = rule->is_heads ? shard->arch.head_dim : 1;
    int64_t first = range->first * unit, count = range->count * unit;
    int last = tensor->n_dims - 1;

    if (count == tensor->shape[rule->split == COLUMNS ? last : 0])
        return;
    if (rule->split == COLUMNS) {
        tensor->shape[last] = count;
        tensor->bytes = (size_t)tensor->shape[0] * ant_row_bytes(tensor->type, count);
        tensor->data = NULL;
        out->first_column = first;
        return;
    }
    size_t row_bytes = last == 0 ? ant_row_bytes(tensor->type, 1)
                                 : ant_row_bytes(tensor->type, tensor->shape[last]);
    tensor->shape[0] = count;
    tensor->bytes = (size_t)count * row_bytes;
    if (tensor->data)
        tensor->data = (const char *)tensor->data + (size_t)first * row_bytes;
}

void ant_shard_read(struct ant_piece *piece, void **memory)
{
    struct ant_tensor *tensor = &piece->tensor;
    const struct ant_tensor *whole = piece->whole;

    *memory = NULL;
    if (tensor->data || !whole->data)
        return;
    size_t from_bytes = ant_row_bytes(whole->type, whole->shape[1]);
    size_t bytes = ant_row_bytes(whole->type, tensor->shape[1]);
    const char *from = (const char *)whole->data + ant_row_bytes(whole->type, piece->first_column);
    char *to = *memory = ant_xmalloc(tensor->bytes);

    tensor->data = to;
    for (int64_t row = 0; row < whole->shape[0]; row++, from += from_bytes, to += bytes)
        memcpy(to, from, bytes);
}
