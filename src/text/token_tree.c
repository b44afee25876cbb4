/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "text/token_tree.h"

#include <stdlib.h>
#include <string.h>

/* A byte of some tokens, behind those above it. Nodes are in the order of the tokens' bytes. */
struct node {
    uint32_t end;      /* the node behind all that begin so */
    uint32_t first_id; /* of the tokens that end here, up to the next node's */
    uint16_t depth;    /* bytes up to here */
    uint8_t byte;
};

struct tree {
    struct node *nodes; /* owned, (n + 1); the last one has no byte */
    uint32_t n;
    int32_t *ids; /* owned, by their bytes */
    uint32_t n_ids;
    uint32_t deepest;
};

struct ant_token_tree {
    const struct ant_tokenizer *tokenizer;
    int n_ids;
    bool *is_text;     /* owned, (n_ids) */
    uint16_t *dropped; /* owned, (n_ids): bytes in front, where it is the first of an answer */
    int32_t *ends;     /* owned, (n_ends) */
    int n_ends;
    bool has_first;
    struct tree later, first; /* `first`: only with has_first */
};

/* ---- opening --------------------------------------------------------------------------------- */

struct token {
    const char *text;
    uint32_t bytes;
    int32_t id;
};

static int compare_tokens(const void *a, const void *b)
{
    const struct token *x = a, *y = b;
    uint32_t shorter = x->bytes < y->bytes ? x->bytes : y->bytes;
    int order = memcmp(x->text, y->text, shorter);

    if (order == 0)
        order = (x->bytes > y->bytes) - (x->bytes < y->bytes);
    return order ? order : (x->id > y->id) - (x->id < y->id);
}

static uint32_t count_shared(const struct token *a, const struct token *b)
{
    uint32_t n = 0;

    while (n < a->bytes && n < b->bytes && a->text[n] == b->text[n])
        n++;
    return n;
}

/* The tree of sorted tokens: each adds nodes for the bytes that it does not share with the one
 * before. `open` are the nodes of that one, whose ends are not known yet. */
static void build(struct tree *tree, const struct token *tokens, uint32_t n)
{
    uint32_t n_nodes = 1, depth = 0;

    for (uint32_t i = 0; i < n; i++) {
        n_nodes += tokens[i].bytes - (i ? count_shared(&tokens[i - 1], &tokens[i]) : 0);
        tree->deepest = tokens[i].bytes > tree->deepest ? tokens[i].bytes : tree->deepest;
    }
    tree->nodes = ant_xcalloc(n_nodes, sizeof(*tree->nodes));
    tree->ids = ant_xcalloc(n + 1, sizeof(*tree->ids));
    uint32_t *open = ant_xcalloc(tree->deepest + 1, sizeof(*open));
    for (uint32_t i = 0; i < n; i++) {
        uint32_t shared = i ? count_shared(&tokens[i - 1], &tokens[i]) : 0;
        while (depth > shared)
            tree->nodes[open[depth--]].end = tree->n;
        while (depth < tokens[i].bytes) {
            struct node *node = &tree->nodes[tree->n];
            node->byte = (uint8_t)tokens[i].text[depth];
            node->depth = (uint16_t)++depth;
            node->first_id = i;
            open[depth] = tree->n++;
        }
        tree->ids[i] = tokens[i].id;
    }
    while (depth > 0)
        tree->nodes[open[depth--]].end = tree->n;
    tree->nodes[tree->n].first_id = tree->n_ids = n;
    free(open);
}

static bool is_among(const int32_t *ids, int n, int32_t id)
{
    for (int i = 0; i < n; i++)
        if (ids[i] == id)
            return true;
    return false;
}

/* How many bytes in front are left out of the text of an answer that begins with this token: spaces
 * of some tokenizers. All, if more changes than that. */
static uint16_t count_dropped(const struct ant_tokenizer *tokenizer, int32_t id, const char *text,
                              size_t bytes, struct ant_buf *scratch)
{
    if (text[0] != ' ')
        return 0;
    scratch->len = 0;
    ant_tokenizer_decode(tokenizer, &id, 1, true, scratch);
    size_t kept = scratch->len < bytes ? scratch->len : bytes;
    bool is_tail = kept == 0 || memcmp(text + bytes - kept, scratch->data, kept) == 0;
    return (uint16_t)(is_tail ? bytes - kept : bytes);
}

static void find_texts(struct ant_token_tree *tree)
{
    struct ant_buf scratch = {0};
    int size = ant_tokenizer_size(tree->tokenizer);

    for (int32_t id = 0; id < tree->n_ids && id < size; id++) {
        size_t bytes;
        const char *text = ant_tokenizer_piece(tree->tokenizer, id, &bytes);
        if (bytes == 0 || bytes > UINT16_MAX || ant_tokenizer_is_special(tree->tokenizer, id) ||
            is_among(tree->ends, tree->n_ends, id))
            continue;
        tree->is_text[id] = true;
        tree->dropped[id] = count_dropped(tree->tokenizer, id, text, bytes, &scratch);
        tree->has_first |= tree->dropped[id] > 0;
    }
    ant_buf_release(&scratch);
}

static void open_tree(struct ant_token_tree *tree, struct tree *out, bool is_first)
{
    struct token *tokens = ant_xcalloc((size_t)tree->n_ids + 1, sizeof(*tokens));
    uint32_t n = 0;

    for (int32_t id = 0; id < tree->n_ids; id++) {
        size_t bytes;
        const char *text = ant_token_tree_bytes(tree, id, is_first, &bytes);
        if (bytes > 0)
            tokens[n++] = (struct token){text, (uint32_t)bytes, id};
    }
    qsort(tokens, n, sizeof(*tokens), compare_tokens);
    build(out, tokens, n);
    free(tokens);
}

struct ant_token_tree *ant_token_tree_open(const struct ant_tokenizer *tokenizer, int n_ids,
                                           const int32_t *ends, int n_ends)
{
    struct ant_token_tree *tree = ant_xcalloc(1, sizeof(*tree));

    tree->tokenizer = tokenizer;
    tree->n_ids = n_ids;
    tree->is_text = ant_xcalloc((size_t)n_ids + 1, sizeof(*tree->is_text));
    tree->dropped = ant_xcalloc((size_t)n_ids + 1, sizeof(*tree->dropped));
    tree->ends = ant_xcalloc((size_t)n_ends + 1, sizeof(*tree->ends));
    for (int i = 0; i < n_ends; i++)
        if (ends[i] >= 0 && ends[i] < n_ids)
            tree->ends[tree->n_ends++] = ends[i];
    find_texts(tree);
    open_tree(tree, &tree->later, false);
    if (tree->has_first)
        open_tree(tree, &tree->first, true);
    return tree;
}

void ant_token_tree_close(struct ant_token_tree *tree)
{
    if (!tree)
        return;
    free(tree->later.nodes);
    free(tree->later.ids);
    free(tree->first.nodes);
    free(tree->first.ids);
    free(tree->is_text);
    free(tree->dropped);
    free(tree->ends);
    free(tree);
}

/* ---- what is known of ids -------------------------------------------------------------------- */

size_t ant_token_tree_words(const struct ant_token_tree *tree)
{
    return ((size_t)tree->n_ids + 63) / 64;
}

bool ant_token_tree_is_end(const struct ant_token_tree *tree, int32_t id)
{
    return is_among(tree->ends, tree->n_ends, id);
}

const char *ant_token_tree_bytes(const struct ant_token_tree *tree, int32_t id, bool is_first,
                                 size_t *bytes)
{
    *bytes = 0;
    if (id < 0 || id >= tree->n_ids || !tree->is_text[id])
        return "";
    const char *text = ant_tokenizer_piece(tree->tokenizer, id, bytes);
    size_t dropped = is_first ? tree->dropped[id] : 0;
    *bytes -= dropped;
    return text + dropped;
}

bool ant_token_tree_has_first(const struct ant_token_tree *tree)
{
    return tree->has_first;
}

/* ---- walking --------------------------------------------------------------------------------- */

/* Where a walk is: the states after each byte on the way to the node at hand, and whether more
 * might be possible there than they show. */
struct walk {
    const struct tree *tree;
    struct ant_automaton *automaton;
    uint32_t *states; /* (deepest + 1) */
    bool *is_unknown; /* likewise */
    uint64_t *mask;
    struct ant_ids *unknown; /* NULL: what is not known is not so */
};

static void open_walk(struct walk *walk, const struct ant_token_tree *tree, bool is_first,
                      struct ant_automaton *automaton, uint64_t *mask, struct ant_ids *unknown)
{
    const struct tree *nodes = is_first && tree->has_first ? &tree->first : &tree->later;

    *walk = (struct walk){.tree = nodes, .automaton = automaton, .mask = mask, .unknown = unknown};
    walk->states = ant_xcalloc(nodes->deepest + 1, sizeof(*walk->states));
    walk->is_unknown = ant_xcalloc(nodes->deepest + 1, sizeof(*walk->is_unknown));
}

static void close_walk(struct walk *walk)
{
    free(walk->states);
    free(walk->is_unknown);
}

/* Nodes [first, end) below states[depth - 1] of the first one. */
static void walk_nodes(struct walk *walk, uint32_t first, uint32_t end)
{
    const struct tree *tree = walk->tree;

    for (uint32_t i = first; i < end;) {
        const struct node *node = &tree->nodes[i];
        uint32_t state =
            ant_automaton_next(walk->automaton, walk->states[node->depth - 1], node->byte);
        bool is_unknown =
            walk->is_unknown[node->depth - 1] || ant_automaton_has_unknown(walk->automaton, state);
        if (!ant_automaton_has_places(walk->automaton, state)) {
            if (is_unknown && walk->unknown)
                ant_ids_add(walk->unknown, (int32_t)i);
            i = node->end;
            continue;
        }
        walk->states[node->depth] = state;
        walk->is_unknown[node->depth] = is_unknown;
        for (uint32_t k = node->first_id; k < tree->nodes[i + 1].first_id; k++)
            walk->mask[tree->ids[k] / 64] |= 1ULL << (tree->ids[k] % 64);
        i++;
    }
}

void ant_token_tree_walk(const struct ant_token_tree *tree, struct ant_automaton *automaton,
                         uint32_t state, bool is_first, uint64_t *mask, struct ant_ids *unknown)
{
    struct walk walk;

    open_walk(&walk, tree, is_first, automaton, mask, unknown);
    walk.states[0] = state;
    walk_nodes(&walk, 0, walk.tree->n);
    close_walk(&walk);
    for (int i = 0; i < tree->n_ends && ant_automaton_accepts(automaton, state); i++)
        mask[tree->ends[i] / 64] |= 1ULL << (tree->ends[i] % 64);
}

/* The states on the way to a node's parent. False: there is no way. */
static bool go_to(struct walk *walk, const char *text, uint32_t depth)
{
    for (uint32_t i = 0; i < depth; i++) {
        walk->states[i + 1] =
            ant_automaton_next(walk->automaton, walk->states[i], (uint8_t)text[i]);
        if (walk->states[i + 1] == ANT_DEAD)
            return false;
    }
    return true;
}

void ant_token_tree_walk_unknown(const struct ant_token_tree *tree, struct ant_automaton *automaton,
                                 uint32_t state, bool is_first, const struct ant_ids *unknown,
                                 uint64_t *mask)
{
    struct walk walk;

    open_walk(&walk, tree, is_first, automaton, mask, NULL);
    walk.states[0] = state;
    for (size_t i = 0; i < unknown->len; i++) {
        uint32_t at = (uint32_t)unknown->data[i], end = walk.tree->nodes[at].end;
        size_t bytes;
        /* any token under the node begins with its bytes */
        int32_t id = walk.tree->ids[walk.tree->nodes[at].first_id];
        const char *text = ant_token_tree_bytes(tree, id, is_first, &bytes);
        if (go_to(&walk, text, walk.tree->nodes[at].depth - 1u))
            walk_nodes(&walk, at, end);
    }
    close_walk(&walk);
}
