/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "engine/guide.h"

#include <stdlib.h>
#include <string.h>

void ant_masks_add(struct ant_masks *masks, struct ant_request *request)
{
    size_t each = masks->each = ant_constraint_words(request->constraint);
    const uint64_t *mask = ant_constraint_mask(request->constraint, &request->place,
                                               request->output.data, request->output.len);

    if (masks->n + each > masks->cap) {
        masks->cap = 2 * (masks->n + each);
        masks->words = ant_xrealloc(masks->words, masks->cap, sizeof(*masks->words));
    }
    /* Without a mask anything may be drawn: following it says what is wrong. */
    if (mask)
        memcpy(masks->words + masks->n, mask, each * sizeof(*mask));
    else
        memset(masks->words + masks->n, 0xff, each * sizeof(*mask));
    masks->n += each;
}

void ant_masks_clear(struct ant_masks *masks)
{
    masks->n = 0;
}

void ant_masks_release(struct ant_masks *masks)
{
    free(masks->words);
    *masks = (struct ant_masks){0};
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
