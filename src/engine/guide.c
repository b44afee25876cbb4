/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "engine/guide.h"

#include <stdlib.h>
#include <string.h>

/* What a mask was copied from. A constraint keeps its masks where they are for a generation. */
struct ant_mask_source {
    const struct ant_constraint *constraint;
    const uint64_t *mask;
    uint32_t generation;
};

/* Rows with one constraint are mostly at one of few places: so many newest masks are looked at. */
enum { MOST_COMPARED = 128 };

/* The mask with this source, or -1. */
static int find_mask(const struct ant_masks *masks, const struct ant_mask_source *source)
{
    int first = masks->n > MOST_COMPARED ? masks->n - MOST_COMPARED : 0;

    for (int i = masks->n - 1; i >= first; i--) {
        const struct ant_mask_source *known = &masks->sources[i];
        if (known->mask == source->mask && known->constraint == source->constraint &&
            known->generation == source->generation)
            return i;
    }
    return -1;
}

static int copy_mask(struct ant_masks *masks, const struct ant_mask_source *source)
{
    size_t bytes = masks->each * sizeof(*masks->words);

    if (masks->n == masks->cap) {
        masks->cap = 2 * masks->cap + 16;
        masks->words = ant_xrealloc(masks->words, (size_t)masks->cap, bytes);
        masks->sources = ant_xrealloc(masks->sources, (size_t)masks->cap, sizeof(*masks->sources));
    }
    uint64_t *to = masks->words + (size_t)masks->n * masks->each;
    /* Without a mask anything may be drawn: following it says what is wrong. */
    if (source->mask)
        memcpy(to, source->mask, bytes);
    else
        memset(to, 0xff, bytes);
    masks->sources[masks->n] = *source;
    return masks->n++;
}

void ant_masks_add(struct ant_masks *masks, struct ant_request *request)
{
    struct ant_mask_source source = {.constraint = request->constraint};

    masks->each = ant_constraint_words(request->constraint);
    source.mask = ant_constraint_mask(request->constraint, &request->place, request->output.data,
                                      request->output.len);
    source.generation = request->place.generation;
    if (masks->n_draws == masks->draws_cap) {
        masks->draws_cap = 2 * masks->draws_cap + 64;
        masks->draws = ant_xrealloc(masks->draws, (size_t)masks->draws_cap, sizeof(*masks->draws));
    }
    int i = find_mask(masks, &source);
    masks->draws[masks->n_draws++] = i >= 0 ? i : copy_mask(masks, &source);
}

void ant_masks_clear(struct ant_masks *masks)
{
    masks->n = masks->n_draws = 0;
}

void ant_masks_release(struct ant_masks *masks)
{
    free(masks->words);
    free(masks->sources);
    free(masks->draws);
    *masks = (struct ant_masks){0};
}

const uint64_t *ant_masks_of(const struct ant_masks *masks, int i)
{
    return masks->words + (size_t)masks->draws[i] * masks->each;
}

void ant_guide_follow(struct ant_request *request)
{
    struct ant_error why;
    int rc = ant_constraint_follow(request->constraint, &request->place, request->output.data,
                                   request->output.len, &why);

    if (rc > 0)
        request->finish = ANT_FINISH_STOP;
    if (rc < 0) {
        request->finish = ANT_FINISH_ERROR;
        request->why = ant_xstrdup(why.text);
    }
}
