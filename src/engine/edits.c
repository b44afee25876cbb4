/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "engine/edits.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static bool has_repetition(const struct ant_sampling *sampling)
{
    return sampling->repetition_penalty > 0 && sampling->repetition_penalty != 1;
}

static bool has_counts(const struct ant_sampling *sampling)
{
    return sampling->presence_penalty != 0 || sampling->frequency_penalty != 0;
}

bool ant_edits_are_wanted(const struct ant_sampling *sampling, const struct ant_rules *rules)
{
    return has_repetition(sampling) || has_counts(sampling) ||
           (rules && rules->n_bias + rules->n_allowed + rules->n_bad_words > 0);
}

bool ant_edits_look_back(const struct ant_request *request)
{
    const struct ant_rules *rules = request->rules;

    if (request->constraint || has_repetition(&request->sampling) || has_counts(&request->sampling))
        return true;
    for (int i = 0; rules && i < rules->n_bad_words; i++)
        if (rules->bad_words[i].len > 1)
            return true;
    return false;
}

static void make_place(struct ant_edits *edits, int32_t id)
{
    int n = 2 * id + 1024;

    edits->place = ant_xrealloc(edits->place, (size_t)n, sizeof(*edits->place));
    memset(edits->place + edits->n_ids, 0, (size_t)(n - edits->n_ids) * sizeof(*edits->place));
    edits->n_ids = n;
}

/* The edit of this id; a new one changes nothing yet. */
static struct ant_edit *edit_of(struct ant_edits *edits, int32_t id)
{
    if (id >= edits->n_ids)
        make_place(edits, id);
    if (edits->place[id] == 0) {
        if (edits->n == edits->cap) {
            edits->cap = edits->cap ? 2 * edits->cap : 1024;
            edits->items = ant_xrealloc(edits->items, (size_t)edits->cap, sizeof(*edits->items));
        }
        edits->items[edits->n] = (struct ant_edit){.id = id, .factor = 1};
        edits->place[id] = ++edits->n;
    }
    return &edits->items[edits->place[id] - 1];
}

/* Does the answer end with all of the word but its last id? */
static bool is_begun(const struct ant_ids *word, const struct ant_ids *output)
{
    size_t n = word->len - 1;

    return output->len >= n &&
           (n == 0 || memcmp(output->data + output->len - n, word->data, n * sizeof(int32_t)) == 0);
}

static void add_rules(struct ant_edits *edits, const struct ant_rules *rules,
                      const struct ant_ids *output)
{
    for (int i = 0; i < rules->n_bias; i++)
        edit_of(edits, rules->bias[i].id)->bias += rules->bias[i].value;
    for (int i = 0; i < rules->n_bad_words; i++) {
        const struct ant_ids *word = &rules->bad_words[i];
        if (is_begun(word, output))
            edit_of(edits, word->data[word->len - 1])->bias = -INFINITY;
    }
}

/* An id's number in the answer stands in `penalty` until all are counted. */
static void add_penalties(struct ant_edits *edits, const struct ant_request *request, int first)
{
    const struct ant_sampling *sampling = &request->sampling;
    const struct ant_ids *output = &request->output;

    if (has_repetition(sampling)) {
        for (int i = 0; i < request->n_prompt; i++)
            edit_of(edits, request->prompt[i])->factor = sampling->repetition_penalty;
        for (size_t i = 0; i < output->len; i++)
            edit_of(edits, output->data[i])->factor = sampling->repetition_penalty;
    }
    if (!has_counts(sampling))
        return;
    for (size_t i = 0; i < output->len; i++)
        edit_of(edits, output->data[i])->penalty += 1;
    for (int i = first; i < edits->n; i++)
        if (edits->items[i].penalty > 0)
            edits->items[i].penalty =
                sampling->presence_penalty + sampling->frequency_penalty * edits->items[i].penalty;
}

/* The ids from `first` on have no place any more. */
static void forget(struct ant_edits *edits, int first)
{
    for (int i = first; i < edits->n; i++)
        edits->place[edits->items[i].id] = 0;
}

void ant_edits_add(struct ant_edits *edits, const struct ant_request *request)
{
    const struct ant_rules *rules = request->rules;
    int first = edits->n;

    for (int i = 0; rules && i < rules->n_allowed; i++)
        edit_of(edits, rules->allowed[i]);
    int end = edits->n;
    if (rules)
        add_rules(edits, rules, &request->output);
    add_penalties(edits, request, first);
    forget(edits, first);
    if (end > first) /* what is done to other ids does not matter */
        edits->n = end;
}

void ant_edits_clear(struct ant_edits *edits)
{
    edits->n = 0;
}

void ant_edits_release(struct ant_edits *edits)
{
    free(edits->items);
    free(edits->place);
    *edits = (struct ant_edits){0};
}
