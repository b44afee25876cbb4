/* SPDX-License-Identifier: Apache-2.0 */
/* How a step's rows are drawn: their draws, and the lists of ids that these name, on the way to the
 * device, and the drawing itself. */
#include "config.h"

#include <string.h>

#include "backend/cuda/cuda.h"

_Static_assert(sizeof(struct kern_edit) == sizeof(struct ant_edit) &&
                   (int)KERN_MAX_TOP == (int)ANT_MAX_TOP,
               "edits are copied as they are");

/* Only the rank that draws knows how, and of an open step nobody yet. */
static int count_draws(const struct ant_batch *batch)
{
    return batch->draws && !batch->is_open ? batch->n_sampled : 0;
}

static size_t mask_words(const struct cuda_backend *cuda)
{
    return ((size_t)cuda->arch.vocab + 63) / 64;
}

size_t ant_cuda_mask_bytes(const struct cuda_backend *cuda)
{
    return (mask_words(cuda) * 8 + 15) / 16 * 16;
}

/* The room that a draw's own edits and mask take, as edits. */
static size_t count_edits(const struct cuda_backend *cuda, const struct ant_draw *draw)
{
    return (size_t)draw->n_edits +
           (draw->mask ? ant_cuda_mask_bytes(cuda) / sizeof(struct kern_edit) : 0);
}

void ant_cuda_survey_draws(struct cuda_backend *cuda, const struct ant_batch *batch)
{
    size_t n_edits = (size_t)batch->n_masks * ant_cuda_mask_bytes(cuda) / sizeof(struct kern_edit);

    cuda->has_top = false;
    for (int i = 0; i < count_draws(batch); i++) {
        n_edits += (size_t)batch->draws[i].n_edits;
        cuda->has_top = cuda->has_top || batch->draws[i].n_top > 0;
    }
    cuda->has_edits = n_edits > 0;
    cuda->has_late_edits = n_edits > CUDA_EDITS;
}

static bool is_mask(const struct cuda_backend *cuda, const struct ant_batch *batch,
                    const uint64_t *mask)
{
    return mask >= batch->masks &&
           mask < batch->masks + (size_t)batch->n_masks * mask_words(cuda) &&
           (size_t)(mask - batch->masks) % mask_words(cuda) == 0;
}

bool ant_cuda_check_draws(const struct cuda_backend *cuda, const struct ant_batch *batch)
{
    for (int i = 0; i < count_draws(batch); i++) {
        const struct ant_draw *draw = &batch->draws[i];
        if (draw->n_top < 0 || draw->n_top > ANT_MAX_TOP || draw->n_edits < 0 ||
            draw->n_edits > CUDA_EDITS || (draw->mask && !is_mask(cuda, batch, draw->mask)) ||
            (draw->is_given && (draw->given < 0 || draw->given >= cuda->arch.vocab)))
            return false;
    }
    return true;
}

/* ---- lists ----------------------------------------------------------------------------------- */

enum { KNOWN_LISTS = 4 };

/* Lists of banned ids already in the descriptor: rows mostly share them. */
struct banned {
    struct {
        const int32_t *ids;
        int n, at;
    } known[KNOWN_LISTS];
    int n_known, n_ids;
};

/* Where the list of a draw lies among the step's ids; it is put there unless it is there. */
static int place_banned(struct banned *banned, const struct ant_draw *draw, int32_t *to)
{
    int at = banned->n_ids;

    for (int i = 0; i < KNOWN_LISTS; i++)
        if (banned->known[i].ids == draw->banned && banned->known[i].n == draw->n_banned)
            return banned->known[i].at;
    if (at + draw->n_banned > CUDA_BANNED)
        return -1;
    memcpy(to + at, draw->banned, (size_t)draw->n_banned * sizeof(*to));
    banned->n_ids += draw->n_banned;
    int i = banned->n_known++ % KNOWN_LISTS;
    banned->known[i].ids = draw->banned;
    banned->known[i].n = draw->n_banned;
    banned->known[i].at = at;
    return at;
}

/* The edits of draws [from, to), to place `at` of the tail and behind it; returns their end. */
static int put_edits(const struct ant_batch *batch, int from, int to, struct kern_draw *draws,
                     int32_t *tail, int at)
{
    for (int i = from; i < to; i++) {
        const struct ant_draw *draw = &batch->draws[i];
        size_t bytes = (size_t)draw->n_edits * sizeof(*draw->edits);
        draws[i].edits = at;
        if (bytes > 0)
            memcpy(tail + at, draw->edits, bytes);
        at += (int)(bytes / sizeof(*tail));
    }
    return at;
}

static int put_mask(const struct cuda_backend *cuda, const uint64_t *mask, int32_t *tail, int at)
{
    memcpy(tail + at, mask, mask_words(cuda) * sizeof(*mask));
    return at + (int)(ant_cuda_mask_bytes(cuda) / sizeof(*tail));
}

/* The step's masks, each once, likewise. */
static int put_masks(const struct cuda_backend *cuda, const struct ant_batch *batch,
                     struct kern_draw *draws, int32_t *tail, int at)
{
    int each = (int)(ant_cuda_mask_bytes(cuda) / sizeof(*tail)), first = at;

    for (int i = 0; i < batch->n_masks; i++)
        at = put_mask(cuda, batch->masks + (size_t)i * mask_words(cuda), tail, at);
    for (int i = 0; i < count_draws(batch); i++) {
        const uint64_t *mask = batch->draws[i].mask;
        draws[i].is_masked = mask != NULL;
        if (mask)
            draws[i].mask = first + (int)((size_t)(mask - batch->masks) / mask_words(cuda)) * each;
    }
    return at;
}

/* Edits of draws [from, to) and a mask for each, of a step that has too many for one time. */
static int put_late(const struct cuda_backend *cuda, int from, int to, struct kern_draw *draws,
                    int32_t *tail)
{
    int at = put_edits(cuda->batch, from, to, draws, tail, cuda->edits_at);

    for (int i = from; i < to; i++) {
        const uint64_t *mask = cuda->batch->draws[i].mask;
        draws[i].is_masked = mask != NULL;
        draws[i].mask = at;
        if (mask)
            at = put_mask(cuda, mask, tail, at);
    }
    return at;
}

int ant_cuda_put_draws(struct cuda_backend *cuda, const struct ant_batch *batch,
                       struct kern_draw *to, int32_t *tail, int first)
{
    struct banned banned = {0};
    int n = count_draws(batch);

    for (int i = 0; i < n; i++) {
        const struct ant_draw *draw = &batch->draws[i];
        int at = draw->n_banned > 0 ? place_banned(&banned, draw, tail + first) : 0;
        if (at < 0)
            return -1;
        to[i] = (struct kern_draw){.key = draw->key,
                                   .position = draw->position,
                                   .temperature = draw->temperature,
                                   .top_p = draw->top_p,
                                   .min_p = draw->min_p,
                                   .typical_p = draw->typical_p,
                                   .top_k = draw->top_k,
                                   .banned = first + at,
                                   .n_banned = draw->n_banned,
                                   .n_edits = draw->n_edits,
                                   .given = draw->given,
                                   .n_top = draw->n_top,
                                   .is_given = draw->is_given,
                                   .only_edited = draw->only_edited};
    }
    memset(to + n, 0, (size_t)(cuda->n_sampled - n) * sizeof(*to));
    cuda->batch = batch;
    cuda->edits_at = (first + banned.n_ids + 3) / 4 * 4;
    if (cuda->has_late_edits)
        return cuda->edits_at;
    return put_masks(cuda, batch, to, tail, put_edits(batch, 0, n, to, tail, cuda->edits_at));
}

/* ---- drawing --------------------------------------------------------------------------------- */

/* Draw from rows [from, to). */
static void sample_rows(struct cuda_backend *cuda, int from, int to)
{
    const struct kern_draw *draws = (const void *)ant_cuda_integers(cuda, cuda->at.draws);
    float *logits = cuda->slots[ANT_SLOT_LOGITS].data, *logprobs = (float *)cuda->drawn;
    float *top_logprobs = (float *)cuda->top + (size_t)cuda->n_sampled * KERN_MAX_TOP;
    struct kern_sample args = {
        .logits = logits + (size_t)from * (size_t)cuda->vocab,
        .draws = draws + from,
        .lists = ant_cuda_integers(cuda, cuda->at.tail),
        .ids = cuda->drawn + from,
        .logprobs = logprobs + cuda->n_sampled + from,
        .totals = cuda->totals + 2 * (size_t)from,
        .top_ids = cuda->top + (size_t)from * KERN_MAX_TOP,
        .top_logprobs = top_logprobs + (size_t)from * KERN_MAX_TOP,
        .rows = to - from,
        .vocab = cuda->arch.vocab,
        .stride = cuda->vocab,
    };

    if (cuda->has_top)
        ant_cuda_done(cuda, kern_top(args, cuda->stream), "best ids of %d rows", args.rows);
    if (cuda->has_edits)
        ant_cuda_done(cuda, kern_edit(args, cuda->stream), "edits of %d rows", args.rows);
    ant_cuda_done(cuda, kern_sample(args, cuda->stream), "sampling of %d rows", args.rows);
}

/* The edits of draws [from, to) follow the others' when the device is through with these. */
static void send_edits(struct cuda_backend *cuda, int from, int to)
{
    char *host = cuda->steps[cuda->n_begun % CUDA_STEPS].host;
    struct kern_draw *draws = (struct kern_draw *)(void *)(host + cuda->at.draws);
    int32_t *tail = (int32_t *)(void *)(host + cuda->at.tail);
    size_t edits = cuda->at.tail + (size_t)cuda->edits_at * sizeof(*tail);
    cudaError_t e = cudaStreamSynchronize(cuda->stream);
    int end = put_late(cuda, from, to, draws, tail);

    if (e == cudaSuccess)
        e = cudaMemcpyAsync(cuda->descriptor + cuda->at.draws, draws,
                            (size_t)cuda->n_sampled * sizeof(*draws), cudaMemcpyHostToDevice,
                            cuda->stream);
    if (e == cudaSuccess)
        e = cudaMemcpyAsync(cuda->descriptor + edits, tail + cuda->edits_at,
                            (size_t)(end - cuda->edits_at) * sizeof(*tail), cudaMemcpyHostToDevice,
                            cuda->stream);
    ant_cuda_done(cuda, e, "edits of %d rows", to - from);
}

void ant_cuda_sample(struct ant_backend *be)
{
    struct cuda_backend *cuda = cuda_of(be);
    int from = 0, to, n_drawn = count_draws(cuda->batch);

    if (!ant_cuda_is_on(cuda))
        return;
    if (!cuda->has_late_edits) {
        sample_rows(cuda, 0, cuda->n_sampled);
        return;
    }
    for (; from < n_drawn && !cuda->failed; from = to) {
        size_t n = 0;
        for (to = from; to < n_drawn; to++) {
            n += count_edits(cuda, &cuda->batch->draws[to]);
            if (to > from && n > CUDA_EDITS)
                break;
        }
        send_edits(cuda, from, to);
        sample_rows(cuda, from, to);
    }
}
