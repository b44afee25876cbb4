/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "engine/step.h"

#include <stdlib.h>

#include "base/mem.h"

void ant_step_open(struct ant_step *step, const struct ant_engine_config *config)
{
    size_t rows = (size_t)config->max_step_rows, seqs = (size_t)config->max_seqs;
    size_t sampled = (size_t)config->max_sampled;
    size_t pages = ((size_t)config->max_context + ANT_PAGE_TOKENS - 1) / ANT_PAGE_TOKENS;

    *step = (struct ant_step){0};
    step->tokens = ant_xcalloc(rows, sizeof(*step->tokens));
    step->positions = ant_xcalloc(rows, sizeof(*step->positions));
    step->row_start = ant_xcalloc(seqs + 1, sizeof(*step->row_start));
    step->context = ant_xcalloc(seqs + 1, sizeof(*step->context));
    step->page_start = ant_xcalloc(seqs + 1, sizeof(*step->page_start));
    step->pages = ant_xcalloc(seqs * pages, sizeof(*step->pages));
    step->sampled = ant_xcalloc(sampled, sizeof(*step->sampled));
    step->draws = ant_xcalloc(sampled, sizeof(*step->draws));
    step->samples = ant_xcalloc(sampled, sizeof(*step->samples));
}

void ant_step_close(struct ant_step *step)
{
    free(step->tokens);
    free(step->positions);
    free(step->row_start);
    free(step->context);
    free(step->page_start);
    free(step->pages);
    free(step->sampled);
    free(step->draws);
    free(step->samples);
    ant_edits_release(&step->edits);
    ant_masks_release(&step->masks);
}

void ant_step_clear(struct ant_step *step)
{
    step->n_rows = step->n_seqs = step->n_sampled = step->n_drawn = step->decode_rows = 0;
    step->is_open = false;
    ant_edits_clear(&step->edits);
    ant_masks_clear(&step->masks);
}

void ant_step_add_row(struct ant_step *step, int32_t token, int position)
{
    step->tokens[step->n_rows] = token;
    step->positions[step->n_rows++] = position;
}

/* The row added last is sampled. */
static struct ant_draw *add_sample(struct ant_step *step, struct ant_sample sample)
{
    step->sampled[step->n_sampled] = step->n_rows - 1;
    step->samples[step->n_sampled] = sample;
    return &step->draws[step->n_sampled++];
}

void ant_step_add_given(struct ant_step *step, struct ant_request *request, int place,
                        int32_t token)
{
    const struct ant_logprobs *to =
        place < request->n_prompt ? &request->prompt_logprobs : &request->logprobs;

    *add_sample(step, (struct ant_sample){request, place, true, -1}) =
        (struct ant_draw){.is_given = true, .given = token, .n_top = to->n_top};
}

/* Ids that must not be drawn next: ends that would come too early; those of the model that would be
 * passed over, where a constraint has them behind a whole answer alone. */
static void ban_ends(struct ant_draw *draw, const struct ant_request *request, bool is_early)
{
    const struct ant_stops *stops = request->stops;
    bool passes = request->sampling.ignore_eos;
    int first = passes && !request->constraint ? stops->n_eos : 0;

    draw->banned = stops->ids + first;
    draw->n_banned = is_early ? stops->n_ids - first : passes ? stops->n_eos - first : 0;
}

int ant_step_add_draw(struct ant_step *step, struct ant_request *request, uint64_t key, int n,
                      int32_t guess)
{
    const struct ant_sampling *sampling = &request->sampling;
    struct ant_draw *draw =
        add_sample(step, (struct ant_sample){request, request->n_prompt + n, false, guess});

    *draw = (struct ant_draw){
        .temperature = sampling->temperature,
        .top_p = sampling->top_p,
        .min_p = sampling->min_p,
        .typical_p = sampling->typical_p,
        .top_k = sampling->top_k,
        .key = key,
        .position = (uint64_t)n,
        .n_top = request->has_logprobs ? request->logprobs.n_top : 0,
        .only_edited = request->rules && request->rules->n_allowed > 0,
    };
    ban_ends(draw, request, n + 1 < sampling->min_tokens);
    step->n_drawn++;
    return step->n_sampled - 1;
}

void ant_step_end_sequence(struct ant_step *step, int context, const int32_t *pages, int n_pages,
                           int first_page)
{
    int at = step->page_start[step->n_seqs];

    for (int i = 0; i < n_pages; i++)
        step->pages[at + i] = first_page + pages[i];
    step->context[step->n_seqs++] = context;
    step->row_start[step->n_seqs] = step->n_rows;
    step->page_start[step->n_seqs] = at + n_pages;
}

/* A token that is drawn, and that somebody still wants to know. */
static bool is_drawn(const struct ant_sample *sample)
{
    return sample->request && !sample->is_given;
}

/* First all edits and masks are gathered, then they are handed out: by then they stay where they
 * are. */
void ant_step_settle(struct ant_step *step)
{
    int masked = 0;

    for (int i = 0; i < step->n_sampled; i++) {
        struct ant_request *request = step->samples[i].request;
        int first = step->edits.n;
        if (!is_drawn(&step->samples[i]))
            continue;
        if (request->constraint)
            ant_masks_add(&step->masks, request);
        ant_edits_add(&step->edits, request);
        step->draws[i].n_edits = step->edits.n - first;
    }
    const struct ant_edit *edits = step->edits.items;
    for (int i = 0; i < step->n_sampled; i++) {
        struct ant_draw *draw = &step->draws[i];
        if (draw->n_edits > 0)
            draw->edits = edits;
        edits += draw->n_edits;
        if (is_drawn(&step->samples[i]) && step->samples[i].request->constraint)
            draw->mask = ant_masks_of(&step->masks, masked++);
    }
}

void ant_step_batch(const struct ant_step *step, struct ant_batch *out)
{
    *out = (struct ant_batch){
        .n_rows = step->n_rows,
        .n_seqs = step->n_seqs,
        .n_sampled = step->n_sampled,
        .tokens = step->tokens,
        .positions = step->positions,
        .row_start = step->row_start,
        .context = step->context,
        .page_start = step->page_start,
        .pages = step->pages,
        .sampled = step->sampled,
        .draws = step->draws,
        .masks = step->masks.words,
        .n_masks = step->masks.n,
        .is_open = step->is_open,
    };
}
