/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "text/constraint.h"

#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "text/grammar_read.h"

const char *const ant_constraint_names[ANT_N_CONSTRAINTS] = {"none", "choice", "regex",
                                                             "json_schema"};

enum { MOST_MASK_BYTES = 64 << 20 };

/* What may come behind a state. */
struct entry {
    uint64_t *mask;         /* NULL: not looked at yet */
    bool is_shared;         /* another state's */
    struct ant_ids unknown; /* of an outline: nodes that each of its states must look at itself */
};

struct ant_constraint {
    atomic_int n_holders;
    const struct ant_token_tree *tree;
    struct ant_program program;

    /* The engine thread's, made when first needed. */
    struct ant_automaton *automaton;
    uint32_t generation; /* from 1: states and masks of an earlier one are forgotten */
    struct entry *entries;
    size_t n_entries;
    struct entry first; /* at the start of an answer, where the tree has others for it */
    size_t mask_bytes;
    bool is_too_big;
    struct ant_constraint_room *room; /* borrowed; NULL: none */
    size_t counted;                   /* bytes of this one that the room knows of */
};

/* ---- opening --------------------------------------------------------------------------------- */

static int read_choice(struct ant_grammar *grammar, const char *text, size_t bytes, uint32_t *out,
                       struct ant_error *err)
{
    json_error_t why;
    json_t *list = json_loadb(text, bytes, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &why);
    size_t n = json_array_size(list), i;
    struct ant_word *words = ant_xcalloc(n + 1, sizeof(*words));
    json_t *item;
    int rc = 0;

    if (!list)
        rc = ant_fail(err, ANT_EDATA, "no JSON at byte %d: %.120s", why.position, why.text);
    else if (n == 0)
        rc = ant_fail(err, ANT_EDATA, "it must be a list of at least one string");
    json_array_foreach(list, i, item)
    {
        words[i] = (struct ant_word){json_string_value(item), json_string_length(item)};
        if (rc == 0 && words[i].bytes == 0)
            rc = ant_fail(err, ANT_EDATA, "item %zu is %s", i,
                          json_is_string(item) ? "empty" : "no string");
    }
    if (rc == 0)
        *out = ant_grammar_words(grammar, words, n);
    free(words);
    json_decref(list);
    return rc;
}

static int read_text(struct ant_grammar *grammar, enum ant_constraint_kind kind, const char *text,
                     size_t bytes, uint32_t *out, struct ant_error *err)
{
    switch (kind) {
    case ANT_CONSTRAINT_CHOICE:
        return read_choice(grammar, text, bytes, out, err);
    case ANT_CONSTRAINT_REGEX:
        return ant_grammar_read_regex(grammar, text, bytes, ANT_REGEX_TEXT, out, err);
    case ANT_CONSTRAINT_SCHEMA:
        return ant_grammar_read_schema(grammar, text, bytes, out, err);
    default:
        return ant_fail(err, ANT_EBUG, "there is no constraint of kind %d", (int)kind);
    }
}

int ant_constraint_open(struct ant_constraint **out, enum ant_constraint_kind kind,
                        const char *text, size_t bytes, const struct ant_token_tree *tree,
                        struct ant_error *err)
{
    struct ant_grammar *grammar = ant_grammar_open();
    struct ant_program program;
    uint32_t root = ANT_NO_NODE;

    int rc = read_text(grammar, kind, text, bytes, &root, err);
    if (rc == 0)
        rc = ant_grammar_compile(grammar, root, &program, err);
    ant_grammar_close(grammar);
    if (rc < 0)
        return ant_fail_in(err, rc, "%s", ant_constraint_names[kind]);
    struct ant_constraint *constraint = ant_xcalloc(1, sizeof(*constraint));
    atomic_init(&constraint->n_holders, 1);
    constraint->tree = tree;
    constraint->program = program;
    constraint->generation = 1;
    *out = constraint;
    return 0;
}

void ant_constraint_join(struct ant_constraint *constraint, struct ant_constraint_room *room)
{
    constraint->room = room;
    atomic_fetch_add(&room->n, 1);
}

static void leave(struct ant_constraint *constraint)
{
    if (!constraint->room)
        return;
    atomic_fetch_sub(&constraint->room->held, constraint->counted);
    atomic_fetch_sub(&constraint->room->n, 1);
}

struct ant_constraint *ant_constraint_hold(struct ant_constraint *constraint)
{
    atomic_fetch_add(&constraint->n_holders, 1);
    return constraint;
}

static void release_entry(struct entry *entry)
{
    if (!entry->is_shared)
        free(entry->mask);
    ant_ids_release(&entry->unknown);
    *entry = (struct entry){0};
}

static void release_entries(struct ant_constraint *constraint)
{
    for (size_t i = 0; i < constraint->n_entries; i++)
        release_entry(&constraint->entries[i]);
    release_entry(&constraint->first);
    free(constraint->entries);
    constraint->entries = NULL;
    constraint->n_entries = constraint->mask_bytes = 0;
}

void ant_constraint_release(struct ant_constraint *constraint)
{
    if (!constraint || atomic_fetch_sub(&constraint->n_holders, 1) > 1)
        return;
    leave(constraint);
    release_entries(constraint);
    ant_automaton_close(constraint->automaton);
    ant_program_release(&constraint->program);
    free(constraint);
}

size_t ant_constraint_words(const struct ant_constraint *constraint)
{
    return ant_token_tree_words(constraint->tree);
}

/* ---- following ------------------------------------------------------------------------------- */

static struct ant_automaton *automaton_of(struct ant_constraint *constraint)
{
    if (!constraint->automaton)
        constraint->automaton = ant_automaton_open(&constraint->program);
    return constraint->automaton;
}

/* States and masks have become too many: forget them. The answers are followed anew. */
static void forget(struct ant_constraint *constraint)
{
    release_entries(constraint);
    ant_automaton_clear(constraint->automaton);
    constraint->generation++;
}

/* Tell the room how much there is by now. */
static void count_held(struct ant_constraint *constraint)
{
    size_t held = constraint->mask_bytes + constraint->n_entries * sizeof(struct entry) +
                  ant_automaton_bytes(constraint->automaton);

    if (!constraint->room)
        return;
    atomic_fetch_add(&constraint->room->held, held - constraint->counted);
    constraint->counted = held;
}

static bool has_too_much(const struct ant_constraint *constraint)
{
    const struct ant_constraint_room *room = constraint->room;

    if (constraint->mask_bytes > MOST_MASK_BYTES)
        return true;
    return room && atomic_load(&room->held) > room->most &&
           constraint->counted > room->most / atomic_load(&room->n);
}

static int fail_too_big(struct ant_error *err)
{
    return ant_fail(err, ANT_EUNSUPP,
                    "the constraint is too complicated: it can be gone on with in too many ways");
}

/* The state behind one more token. */
static int follow_token(struct ant_constraint *constraint, struct ant_constraint_place *place,
                        int32_t id, struct ant_error *err)
{
    struct ant_automaton *automaton = constraint->automaton;
    uint32_t state = place->state;
    size_t bytes, i = 0;

    if (ant_token_tree_is_end(constraint->tree, id) && ant_automaton_accepts(automaton, state)) {
        place->n++;
        return 0;
    }
    const char *text = ant_token_tree_bytes(constraint->tree, id, place->n == 0, &bytes);
    while (i < bytes && state != ANT_DEAD)
        state = ant_automaton_next(automaton, state, (uint8_t)text[i++]);
    if (bytes == 0 || state == ANT_DEAD)
        return ant_fail(err, ANT_EDATA,
                        "no token was left to draw that the constraint allows behind %zu tokens",
                        place->n);
    place->state = state;
    place->n++;
    return 0;
}

static int follow(struct ant_constraint *constraint, struct ant_constraint_place *place,
                  const int32_t *ids, size_t n, struct ant_error *err)
{
    struct ant_automaton *automaton = automaton_of(constraint);

    if (place->generation != constraint->generation)
        *place = (struct ant_constraint_place){ant_automaton_start(automaton),
                                               constraint->generation, 0};
    while (place->n < n && !ant_automaton_is_full(automaton)) {
        int rc = follow_token(constraint, place, ids[place->n], err);
        if (rc < 0 && !ant_automaton_is_full(automaton))
            return rc;
    }
    return ant_automaton_is_final(automaton, place->state);
}

int ant_constraint_follow(struct ant_constraint *constraint, struct ant_constraint_place *place,
                          const int32_t *ids, size_t n, struct ant_error *err)
{
    for (int times = 0; times < 2 && !constraint->is_too_big; times++) {
        int rc = follow(constraint, place, ids, n, err);
        if (!ant_automaton_is_full(constraint->automaton))
            return rc;
        forget(constraint);
    }
    constraint->is_too_big = true;
    return fail_too_big(err);
}

/* ---- masks ----------------------------------------------------------------------------------- */

static struct entry *entry_of(struct ant_constraint *constraint, uint32_t state)
{
    if (state >= constraint->n_entries) {
        size_t n = 2 * (size_t)state + 16;
        constraint->entries = ant_xrealloc(constraint->entries, n, sizeof(struct entry));
        memset(constraint->entries + constraint->n_entries, 0,
               (n - constraint->n_entries) * sizeof(struct entry));
        constraint->n_entries = n;
    }
    return &constraint->entries[state];
}

static uint64_t *new_mask(struct ant_constraint *constraint, const uint64_t *from)
{
    size_t bytes = ant_constraint_words(constraint) * sizeof(uint64_t);
    uint64_t *mask = ant_xcalloc(1, bytes);

    if (from)
        memcpy(mask, from, bytes);
    constraint->mask_bytes += bytes;
    return mask;
}

/* By a walk of its outline, which many states share; then by a look at what that could not tell. */
static const uint64_t *make_mask(struct ant_constraint *constraint, uint32_t state)
{
    struct ant_automaton *automaton = constraint->automaton;
    uint32_t outline = ant_automaton_outline(automaton, state);
    struct entry *shared = entry_of(constraint, outline);

    if (!shared->mask) {
        shared->mask = new_mask(constraint, NULL);
        ant_token_tree_walk(constraint->tree, automaton, outline, false, shared->mask,
                            &shared->unknown);
    }
    if (outline == state)
        return shared->mask;
    struct entry *entry = entry_of(constraint, state);
    shared = entry_of(constraint, outline);
    entry->is_shared = shared->unknown.len == 0;
    if (entry->is_shared)
        return entry->mask = shared->mask;
    entry->mask = new_mask(constraint, shared->mask);
    ant_token_tree_walk_unknown(constraint->tree, automaton, state, false, &shared->unknown,
                                entry->mask);
    return entry->mask;
}

static const uint64_t *find_mask(struct ant_constraint *constraint,
                                 const struct ant_constraint_place *place)
{
    if (place->n == 0 && ant_token_tree_has_first(constraint->tree)) {
        if (!constraint->first.mask) {
            constraint->first.mask = new_mask(constraint, NULL);
            ant_token_tree_walk(constraint->tree, constraint->automaton, place->state, true,
                                constraint->first.mask, NULL);
        }
        return constraint->first.mask;
    }
    const struct entry *entry = entry_of(constraint, place->state);
    return entry->mask ? entry->mask : make_mask(constraint, place->state);
}

const uint64_t *ant_constraint_mask(struct ant_constraint *constraint,
                                    struct ant_constraint_place *place, const int32_t *ids,
                                    size_t n)
{
    if (has_too_much(constraint))
        forget(constraint);
    for (int times = 0; times < 2 && !constraint->is_too_big; times++) {
        if (ant_constraint_follow(constraint, place, ids, n, NULL) < 0)
            return NULL;
        const uint64_t *mask = find_mask(constraint, place);
        count_held(constraint);
        if (!ant_automaton_is_full(constraint->automaton))
            return mask;
        forget(constraint);
    }
    constraint->is_too_big = true;
    return NULL;
}
