/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "text/normal.h"
#include "text/split.h"
#include "text/unicode.h"

#include <stdlib.h>
#include <string.h>

void ant_split_release(struct ant_split_step *steps, size_t n)
{
    size_t i;

    for (i = 0; i < n; i++) {
        ant_pattern_close(steps[i].pattern);
        free(steps[i].content);
    }
    free(steps);
}

void ant_splitter_init(struct ant_splitter *splitter, const struct ant_split_step *steps, size_t n,
                       struct ant_matcher *matcher, ant_split_piece *piece, void *context)
{
    *splitter = (struct ant_splitter){
        .steps = steps,
        .n_steps = n,
        .matcher = matcher,
        .buffers = ant_xcalloc(n, sizeof *splitter->buffers),
        .piece = piece,
        .context = context,
    };
}

void ant_splitter_fini(struct ant_splitter *splitter)
{
    size_t i;

    for (i = 0; i < splitter->n_steps; i++)
        ant_buf_release(&splitter->buffers[i]);
    free(splitter->buffers);
}

/* A stretch of text between two steps: a match or what lies between two. */
struct stretch {
    size_t start, end;
    bool match;
};

/* One cut in progress: what has been found, and the stretch that may still grow. */
struct cut {
    struct ant_splitter *splitter;
    size_t step;
    const char *text;
    bool at_start;
    struct stretch held;
    bool holds;
};

static int run(struct ant_splitter *splitter, size_t step, const char *text, size_t bytes,
               bool at_start, struct ant_error *err);

static int hand_on(struct cut *cut, size_t start, size_t end, struct ant_error *err)
{
    if (start == end)
        return 0;
    return run(cut->splitter, cut->step + 1, cut->text + start, end - start,
               cut->at_start && start == 0, err);
}

/* The held stretch and the next one become one piece? */
static bool joins(enum ant_split_behavior behavior, const struct stretch *held, bool match)
{
    switch (behavior) {
    case ANT_SPLIT_CONTIGUOUS:
        return held->match == match;
    case ANT_SPLIT_PREVIOUS:
        return !held->match && match;
    case ANT_SPLIT_NEXT:
        return held->match && !match;
    default:
        return false;
    }
}

static int found(struct cut *cut, size_t start, size_t end, bool match, struct ant_error *err)
{
    const struct ant_split_step *step = &cut->splitter->steps[cut->step];

    match = match != step->invert;
    if (step->behavior == ANT_SPLIT_ISOLATED)
        return hand_on(cut, start, end, err);
    if (step->behavior == ANT_SPLIT_REMOVED)
        return match ? 0 : hand_on(cut, start, end, err);
    if (cut->holds && joins(step->behavior, &cut->held, match)) {
        cut->held.end = end;
        cut->held.match = match;
        return 0;
    }
    if (cut->holds)
        ANT_TRY(hand_on(cut, cut->held.start, cut->held.end, err));
    cut->held = (struct stretch){start, end, match};
    cut->holds = true;
    return 0;
}

static int run_cut(struct ant_splitter *splitter, size_t i, const char *text, size_t bytes,
                   bool at_start, struct ant_error *err)
{
    struct cut cut = {.splitter = splitter, .step = i, .text = text, .at_start = at_start};
    struct ant_search search;
    size_t done = 0, start, end;
    int more;

    ant_search_begin(&search, splitter->steps[i].pattern, splitter->matcher, text, bytes);
    while ((more = ant_search_next(&search, &start, &end, err)) > 0) {
        if (done != start)
            ANT_TRY(found(&cut, done, start, false, err));
        ANT_TRY(found(&cut, start, end, true, err));
        done = end;
    }
    if (more < 0)
        return more;
    if (done != bytes)
        ANT_TRY(found(&cut, done, bytes, false, err));
    return cut.holds ? hand_on(&cut, cut.held.start, cut.held.end, err) : 0;
}

static int run_prefix(struct ant_splitter *splitter, size_t i, const char *text, size_t bytes,
                      bool at_start, struct ant_error *err)
{
    const struct ant_split_step *step = &splitter->steps[i];
    struct ant_buf *out = &splitter->buffers[i];

    if ((step->first_only && !at_start) ||
        (bytes >= step->bytes && memcmp(text, step->content, step->bytes) == 0))
        return run(splitter, i + 1, text, bytes, at_start, err);
    out->len = 0;
    ant_buf_add(out, step->content, step->bytes);
    ant_buf_add(out, text, bytes);
    ANT_TRY(ant_normal_check(out->len, splitter->most, err));
    return run(splitter, i + 1, out->data, out->len, at_start, err);
}

static int run(struct ant_splitter *splitter, size_t i, const char *text, size_t bytes,
               bool at_start, struct ant_error *err)
{
    const struct ant_split_step *step;
    struct ant_buf *out;

    if (i == splitter->n_steps) {
        ANT_TRY(ant_normal_check(bytes, splitter->most, err));
        splitter->most -= bytes;
        return splitter->piece(splitter->context, text, bytes, err);
    }
    step = &splitter->steps[i];
    if (step->kind == ANT_SPLIT_CUT)
        return run_cut(splitter, i, text, bytes, at_start, err);
    if (step->kind == ANT_SPLIT_PREFIX)
        return run_prefix(splitter, i, text, bytes, at_start, err);
    out = &splitter->buffers[i];
    out->len = 0;
    if (step->kind == ANT_SPLIT_SPELL)
        ant_bytes_spell(out, text, bytes);
    else
        ANT_TRY(ant_replace(out, splitter->most, step->pattern, splitter->matcher, text, bytes,
                            step->content, step->bytes, err));
    ANT_TRY(ant_normal_check(out->len, splitter->most, err));
    return out->len == 0 ? 0 : run(splitter, i + 1, out->data, out->len, at_start, err);
}

int ant_split(struct ant_splitter *splitter, const char *text, size_t bytes, bool at_start,
              struct ant_error *err)
{
    splitter->most = ant_normal_most(bytes);
    return bytes == 0 ? 0 : run(splitter, 0, text, bytes, at_start, err);
}
