/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "text/automaton.h"

#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

#include "base/mem.h"

enum {
    NOT_MADE = UINT32_MAX, /* a transition not yet looked at */
    MOST_PLACES = 1 << 14, /* looked at in one step */
};
enum { COUNTED = 24 }; /* what an outline keeps of a count */

/* Stacks are chains of frames, each there once. These two have none. */
enum { STACK_EMPTY, STACK_UNKNOWN, N_STACK_ENDS };

/* A call under way, or a repetition with how often it must and may still come. */
struct frame {
    uint32_t below; /* a stack */
    uint32_t at;    /* END of a repetition; where a call returns to */
    int32_t min, max;
    uint32_t n_calls;                    /* here and below */
    uint8_t is_call, cuts_min, cuts_max; /* cuts: there may be more than min, max */
    uint8_t unused;
};

/* Where the program can be: waiting for a byte at a RANGE. */
struct place {
    uint32_t at, stack;
};

struct state {
    uint32_t first, n; /* of places, sorted */
    uint32_t outline;  /* NOT_MADE: not known yet */
    bool accepts, has_unknown;
};

/* Numbers by the hash of what they stand for; 0 is none. */
struct index {
    uint32_t *slots; /* owned, (mask + 1) */
    uint32_t mask, n;
};

struct ant_automaton {
    const struct ant_program *program;
    uint8_t class_of[256]; /* bytes that no test tells apart are a class */
    uint32_t n_classes;

    struct frame *frames; /* owned: of stack N_STACK_ENDS + i */
    uint32_t n_frames, cap_frames;
    struct index frame_index;
    struct place *places;
    uint32_t n_places, cap_places;
    struct state *states;
    uint32_t n_states, cap_states;
    uint32_t *next; /* (n_states, n_classes) */
    struct index state_index;
    uint32_t start;
    bool is_full;

    /* The step under way. */
    struct place *left, *found; /* (cap_left), (cap_found) */
    uint32_t n_left, cap_left, n_found, cap_found;
    struct place *seen; /* (seen_mask + 1) by hash; `seen_at` says in which step */
    uint32_t *seen_at, seen_mask, n_seen, step;
    bool accepts, has_unknown;
};

#define GROW(array, n, cap)                                                                        \
    do {                                                                                           \
        if ((n) == (cap)) {                                                                        \
            (cap) = 2 * (cap) + 16;                                                                \
            (array) = ant_xrealloc((array), (cap), sizeof(*(array)));                              \
        }                                                                                          \
    } while (0)

static uint32_t hash_of(const void *data, size_t bytes)
{
    return (uint32_t)XXH3_64bits(data, bytes);
}

/* ---- opening --------------------------------------------------------------------------------- */

static void find_classes(struct ant_automaton *a)
{
    bool begins[257] = {true};
    int class = -1;

    for (uint32_t i = 0; i < a->program->n; i++) {
        const struct ant_instruction *it = &a->program->code[i];
        if (it->op == ANT_OP_RANGE)
            begins[it->lo] = begins[it->hi + 1] = true;
    }
    for (int byte = 0; byte < 256; byte++) {
        class += begins[byte];
        a->class_of[byte] = (uint8_t) class;
    }
    a->n_classes = (uint32_t) class + 1;
}

static void open_index(struct index *index, uint32_t slots)
{
    *index = (struct index){ant_xcalloc(slots, sizeof(*index->slots)), slots - 1, 0};
}

enum { FIRST_SLOTS = 256 };

static uint32_t make_state(struct ant_automaton *a, const struct place *places, uint32_t n,
                           bool accepts, bool has_unknown);

static void open_states(struct ant_automaton *a)
{
    open_index(&a->frame_index, FIRST_SLOTS);
    open_index(&a->state_index, FIRST_SLOTS);
    make_state(a, NULL, 0, false, false); /* ANT_DEAD */
    a->start = NOT_MADE;
}

struct ant_automaton *ant_automaton_open(const struct ant_program *program)
{
    struct ant_automaton *a = ant_xcalloc(1, sizeof(*a));

    a->program = program;
    find_classes(a);
    open_states(a);
    a->seen_mask = FIRST_SLOTS - 1;
    a->seen = ant_xcalloc(FIRST_SLOTS, sizeof(*a->seen));
    a->seen_at = ant_xcalloc(FIRST_SLOTS, sizeof(*a->seen_at));
    return a;
}

static void close_states(struct ant_automaton *a)
{
    free(a->frames);
    free(a->places);
    free(a->states);
    free(a->next);
    free(a->frame_index.slots);
    free(a->state_index.slots);
    a->frames = NULL;
    a->places = NULL;
    a->states = NULL;
    a->next = NULL;
    a->n_frames = a->cap_frames = a->n_places = a->cap_places = a->n_states = a->cap_states = 0;
}

void ant_automaton_clear(struct ant_automaton *a)
{
    close_states(a);
    open_states(a);
    a->is_full = false;
}

void ant_automaton_close(struct ant_automaton *a)
{
    if (!a)
        return;
    close_states(a);
    free(a->left);
    free(a->found);
    free(a->seen);
    free(a->seen_at);
    free(a);
}

/* ---- frames and states, each once ------------------------------------------------------------ */

/* What index entry `i` hashes to. */
typedef uint32_t rehash(const struct ant_automaton *a, uint32_t i);

static void insert(const struct ant_automaton *a, struct index *index, uint32_t entry, rehash *hash)
{
    if (2 * ++index->n > index->mask) {
        struct index old = *index;
        open_index(index, 2 * (old.mask + 1));
        index->n = old.n;
        for (uint32_t i = 0; i <= old.mask; i++) {
            uint32_t slot = old.slots[i] ? hash(a, old.slots[i]) & index->mask : 0;
            if (!old.slots[i])
                continue;
            while (index->slots[slot])
                slot = (slot + 1) & index->mask;
            index->slots[slot] = old.slots[i];
        }
        free(old.slots);
    }
    uint32_t slot = hash(a, entry) & index->mask;
    while (index->slots[slot])
        slot = (slot + 1) & index->mask;
    index->slots[slot] = entry;
}

static uint32_t hash_frame(const struct ant_automaton *a, uint32_t stack)
{
    return hash_of(&a->frames[stack - N_STACK_ENDS], sizeof(*a->frames));
}

static const struct frame *top_of(const struct ant_automaton *a, uint32_t stack)
{
    return stack < N_STACK_ENDS ? NULL : &a->frames[stack - N_STACK_ENDS];
}

static uint32_t calls_of(const struct ant_automaton *a, uint32_t stack)
{
    const struct frame *top = top_of(a, stack);

    return top ? top->n_calls : 0;
}

static uint32_t push(struct ant_automaton *a, struct frame frame)
{
    frame.n_calls = calls_of(a, frame.below) + frame.is_call;
    uint32_t slot = hash_of(&frame, sizeof(frame)) & a->frame_index.mask;
    for (uint32_t stack; (stack = a->frame_index.slots[slot]);
         slot = (slot + 1) & a->frame_index.mask)
        if (memcmp(top_of(a, stack), &frame, sizeof(frame)) == 0)
            return stack;
    GROW(a->frames, a->n_frames, a->cap_frames);
    a->frames[a->n_frames] = frame;
    uint32_t stack = N_STACK_ENDS + a->n_frames++;
    insert(a, &a->frame_index, stack, hash_frame);
    return stack;
}

static uint32_t hash_places(const struct place *places, uint32_t n, bool accepts, bool has_unknown)
{
    return hash_of(places, n * sizeof(*places)) ^ (accepts ? 0x9e3779b9u : 0) ^
           (has_unknown ? 0x85ebca6bu : 0);
}

static uint32_t hash_state(const struct ant_automaton *a, uint32_t i)
{
    const struct state *state = &a->states[i];
    const struct place *places = state->n > 0 ? a->places + state->first : NULL;

    return hash_places(places, state->n, state->accepts, state->has_unknown);
}

size_t ant_automaton_bytes(const struct ant_automaton *a)
{
    return (size_t)a->n_states * (sizeof(*a->states) + a->n_classes * sizeof(*a->next)) +
           (size_t)a->n_places * sizeof(*a->places) + (size_t)a->n_frames * sizeof(*a->frames);
}

static uint32_t add_state(struct ant_automaton *a, const struct place *places, uint32_t n)
{
    uint32_t made = a->n_states, room = a->cap_states;

    GROW(a->states, a->n_states, a->cap_states);
    if (a->cap_states != room)
        a->next = ant_xrealloc(a->next, (size_t)a->cap_states * a->n_classes, sizeof(*a->next));
    memset(a->next + (size_t)made * a->n_classes, made == ANT_DEAD ? 0 : 0xff,
           a->n_classes * sizeof(*a->next));
    while (a->cap_places - a->n_places < n) {
        a->cap_places = 2 * a->cap_places + 64;
        a->places = ant_xrealloc(a->places, a->cap_places, sizeof(*a->places));
    }
    if (n > 0)
        memcpy(a->places + a->n_places, places, n * sizeof(*places));
    a->n_places += n;
    a->n_states++;
    return made;
}

/* The number of the state with these places. `places` is none of the automaton's states' own. */
static uint32_t make_state(struct ant_automaton *a, const struct place *places, uint32_t n,
                           bool accepts, bool has_unknown)
{
    uint32_t slot = hash_places(places, n, accepts, has_unknown) & a->state_index.mask;

    if (n == 0 && !accepts && !has_unknown && a->n_states > 0)
        return ANT_DEAD;
    for (uint32_t i; (i = a->state_index.slots[slot]); slot = (slot + 1) & a->state_index.mask) {
        const struct state *state = &a->states[i];
        if (state->n == n && state->accepts == accepts && state->has_unknown == has_unknown &&
            (n == 0 || memcmp(a->places + state->first, places, n * sizeof(*places)) == 0))
            return i;
    }
    if (ant_automaton_bytes(a) > ANT_AUTOMATON_MOST) {
        a->is_full = true;
        return ANT_DEAD;
    }
    uint32_t first = a->n_places, made = add_state(a, places, n);
    a->states[made] = (struct state){.first = first,
                                     .n = n,
                                     .outline = NOT_MADE,
                                     .accepts = accepts,
                                     .has_unknown = has_unknown};
    if (made != ANT_DEAD)
        insert(a, &a->state_index, made, hash_state);
    return made;
}

/* ---- a step ---------------------------------------------------------------------------------- */

static void begin_step(struct ant_automaton *a)
{
    if (++a->step == 0) {
        memset(a->seen_at, 0, (a->seen_mask + 1) * sizeof(*a->seen_at));
        a->step = 1;
    }
    a->n_seen = a->n_left = a->n_found = 0;
    a->accepts = a->has_unknown = false;
}

/* False: it is there already. */
static bool note_seen(struct ant_automaton *a, struct place place)
{
    uint32_t slot = hash_of(&place, sizeof(place)) & a->seen_mask;

    for (; a->seen_at[slot] == a->step; slot = (slot + 1) & a->seen_mask)
        if (memcmp(&a->seen[slot], &place, sizeof(place)) == 0)
            return false;
    a->seen_at[slot] = a->step;
    a->seen[slot] = place;
    a->n_seen++;
    return true;
}

static void widen_seen(struct ant_automaton *a)
{
    uint32_t n = a->seen_mask + 1, step = a->step;
    struct place *seen = a->seen;
    uint32_t *seen_at = a->seen_at;

    a->seen = ant_xcalloc(2 * n, sizeof(*a->seen));
    a->seen_at = ant_xcalloc(2 * n, sizeof(*a->seen_at));
    a->seen_mask = 2 * n - 1;
    a->n_seen = 0;
    for (uint32_t i = 0; i < n; i++)
        if (seen_at[i] == step)
            note_seen(a, seen[i]);
    free(seen);
    free(seen_at);
}

/* Go on from this place, if this step has not been there. */
static void visit(struct ant_automaton *a, uint32_t at, uint32_t stack)
{
    struct place place = {at, stack};

    if (a->n_seen == MOST_PLACES) {
        a->is_full = true;
        return;
    }
    if (2 * a->n_seen > a->seen_mask)
        widen_seen(a);
    if (!note_seen(a, place))
        return;
    GROW(a->left, a->n_left, a->cap_left);
    a->left[a->n_left++] = place;
}

/* A repetition has come once more. */
static void count(struct ant_automaton *a, uint32_t at, uint32_t stack)
{
    const struct ant_instruction *it = &a->program->code[at];
    struct frame frame = *top_of(a, stack);

    if (frame.min > 0)
        frame.min--;
    if (frame.max != ANT_NO_LIMIT)
        frame.max--;
    if (frame.min == 0 && frame.cuts_min)
        a->has_unknown = true;
    else if (frame.min == 0)
        visit(a, it->y, frame.below);
    if (frame.max == 0 && frame.cuts_max)
        a->has_unknown = true;
    else if (frame.max > 0)
        visit(a, it->x, push(a, frame));
}

static void return_from(struct ant_automaton *a, uint32_t stack)
{
    const struct frame *top = top_of(a, stack);

    if (top)
        visit(a, top->at, top->below);
    else
        a->has_unknown = true;
}

/* Where one place leads without a byte. */
static void expand(struct ant_automaton *a, struct place place)
{
    const struct ant_instruction *it = &a->program->code[place.at];

    switch (it->op) {
    case ANT_OP_RANGE:
        GROW(a->found, a->n_found, a->cap_found);
        a->found[a->n_found++] = place;
        break;
    case ANT_OP_MATCH:
        a->accepts = true;
        break;
    case ANT_OP_SPLIT:
        visit(a, it->x, place.stack);
        visit(a, it->y, place.stack);
        break;
    case ANT_OP_CALL:
        visit(a, it->x,
              push(a, (struct frame){.below = place.stack, .at = it->y, .is_call = true}));
        break;
    case ANT_OP_RETURN:
        return_from(a, place.stack);
        break;
    case ANT_OP_BEGIN:
        visit(a, it->x,
              push(a, (struct frame){
                          .below = place.stack, .at = it->y, .min = it->min, .max = it->max}));
        break;
    case ANT_OP_END:
        count(a, place.at, place.stack);
        break;
    case ANT_OP_GUARD:
        if (calls_of(a, place.stack) < ANT_DEEPEST)
            visit(a, it->x, place.stack);
        break;
    default:
        break;
    }
}

static int compare_places(const void *a, const void *b)
{
    const struct place *x = a, *y = b;

    if (x->at != y->at)
        return x->at < y->at ? -1 : 1;
    return (x->stack > y->stack) - (x->stack < y->stack);
}

/* The state of all places that were visited and what they lead to. */
static uint32_t end_step(struct ant_automaton *a)
{
    while (a->n_left > 0 && !a->is_full)
        expand(a, a->left[--a->n_left]);
    if (a->is_full)
        return ANT_DEAD;
    if (a->n_found > 1)
        qsort(a->found, a->n_found, sizeof(*a->found), compare_places);
    return make_state(a, a->found, a->n_found, a->accepts, a->has_unknown);
}

uint32_t ant_automaton_start(struct ant_automaton *a)
{
    if (a->start == NOT_MADE) {
        begin_step(a);
        visit(a, a->program->start, STACK_EMPTY);
        a->start = end_step(a);
    }
    return a->start;
}

static uint32_t step_over(struct ant_automaton *a, uint32_t state, uint8_t byte)
{
    const struct state *from = &a->states[state];

    begin_step(a);
    for (uint32_t i = 0; i < from->n; i++) {
        const struct place *place = &a->places[from->first + i];
        const struct ant_instruction *it = &a->program->code[place->at];
        if (byte >= it->lo && byte <= it->hi)
            visit(a, it->x, place->stack);
    }
    return end_step(a);
}

uint32_t ant_automaton_next(struct ant_automaton *a, uint32_t state, uint8_t byte)
{
    size_t at = (size_t)state * a->n_classes + a->class_of[byte];

    if (a->next[at] == NOT_MADE) {
        uint32_t next = step_over(a, state, byte);
        if (a->is_full)
            return ANT_DEAD;
        a->next[at] = next;
    }
    return a->next[at];
}

/* ---- outlines -------------------------------------------------------------------------------- */

/* The frames of `stack` down to the innermost call. */
static uint32_t cut_stack(struct ant_automaton *a, uint32_t stack)
{
    const struct frame *top = top_of(a, stack);

    if (!top || top->is_call)
        return top ? STACK_UNKNOWN : stack;
    struct frame frame = *top;
    frame.below = cut_stack(a, frame.below);
    frame.cuts_min = frame.min > COUNTED;
    frame.cuts_max = frame.max > COUNTED && frame.max != ANT_NO_LIMIT;
    frame.min = frame.cuts_min ? COUNTED : frame.min;
    frame.max = frame.cuts_max ? COUNTED : frame.max;
    return push(a, frame);
}

static uint32_t make_outline(struct ant_automaton *a, uint32_t state)
{
    begin_step(a);
    for (uint32_t i = 0; i < a->states[state].n; i++) {
        struct place place = a->places[a->states[state].first + i];
        if (calls_of(a, place.stack) > ANT_DEEPEST / 2)
            return state; /* guards may be near */
        visit(a, place.at, cut_stack(a, place.stack));
    }
    a->accepts = a->states[state].accepts;
    a->has_unknown = a->states[state].has_unknown;
    return end_step(a);
}

uint32_t ant_automaton_outline(struct ant_automaton *a, uint32_t state)
{
    if (a->states[state].outline == NOT_MADE) {
        uint32_t outline = make_outline(a, state);
        if (a->is_full)
            return state;
        a->states[state].outline = outline;
    }
    return a->states[state].outline;
}

/* ---- what is known of a state ---------------------------------------------------------------- */

bool ant_automaton_accepts(const struct ant_automaton *a, uint32_t state)
{
    return a->states[state].accepts;
}

bool ant_automaton_is_final(const struct ant_automaton *a, uint32_t state)
{
    return a->states[state].accepts && a->states[state].n == 0;
}

bool ant_automaton_has_places(const struct ant_automaton *a, uint32_t state)
{
    return a->states[state].accepts || a->states[state].n > 0;
}

bool ant_automaton_has_unknown(const struct ant_automaton *a, uint32_t state)
{
    return a->states[state].has_unknown;
}

uint32_t ant_automaton_count(const struct ant_automaton *a)
{
    return a->n_states;
}

bool ant_automaton_is_full(const struct ant_automaton *a)
{
    return a->is_full;
}
