/* SPDX-License-Identifier: Apache-2.0 */
/* Tokens are in a trie, in a double array: the child of a cell by a byte is the cell at its base
 * plus that byte, if that one's parent says so. From each character on, every token that stands
 * there offers a path to its end; the best offer of each end is kept, and the way back from the
 * last end is the answer. */
#include "config.h"

#include "text/unigram.h"
#include "text/unicode.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define UNKNOWN_PENALTY 10.0 /* below the least probable token */

enum { MOST_TRIES = 256, NONE = 0 /* the root is nobody's child */ };

struct cell {
    uint32_t base;
    uint32_t parent; /* plus 1; 0: free */
    int32_t id;      /* of the token that ends here, or -1 */
};

struct ant_unigram {
    const struct ant_vocab *vocab;       /* borrowed */
    struct cell *cells;                  /* owned */
    size_t n_cells, first_free, n_taken; /* none is taken from n_taken on */
    double unknown_score;
    bool is_single;        /* sums are rounded to single precision, as in SentencePiece itself */
    int32_t fallback[256]; /* the id of "<0x..>", or -1 */
};

/* The best way from the start of the piece to the end of a token. */
struct ant_unigram_path {
    double score;
    uint32_t start; /* of that token; UINT32_MAX: no way here yet */
    int32_t id;
};

/* The trie while it is made: the children of a node are a list. */
struct node {
    uint32_t first, next, cell;
    int32_t id;
    unsigned char byte;
};
struct tree {
    struct node *nodes; /* owned */
    size_t n, cap;
};

static uint32_t new_node(struct tree *tree, unsigned char byte)
{
    if (tree->n == tree->cap) {
        tree->cap = tree->cap ? 2 * tree->cap : 1024;
        tree->nodes = ant_xrealloc(tree->nodes, tree->cap, sizeof(*tree->nodes));
    }
    tree->nodes[tree->n] = (struct node){.id = -1, .byte = byte};
    return (uint32_t)tree->n++;
}

static void add_token(struct tree *tree, const char *text, size_t bytes, int32_t id)
{
    uint32_t at = 0, child;

    for (size_t i = 0; i < bytes; i++) {
        unsigned char byte = (unsigned char)text[i];
        for (child = tree->nodes[at].first; child != NONE; child = tree->nodes[child].next)
            if (tree->nodes[child].byte == byte)
                break;
        if (child == NONE) {
            child = new_node(tree, byte);
            tree->nodes[child].next = tree->nodes[at].first;
            tree->nodes[at].first = child;
        }
        at = child;
    }
    tree->nodes[at].id = id;
}

/* Cells up to base + 255 can be asked for. */
static void make_cells(struct ant_unigram *unigram, size_t base)
{
    size_t n = unigram->n_cells;

    if (base + 256 <= n)
        return;
    unigram->n_cells = 2 * (base + 256);
    unigram->cells = ant_xrealloc(unigram->cells, unigram->n_cells, sizeof(*unigram->cells));
    memset(unigram->cells + n, 0, (unigram->n_cells - n) * sizeof(*unigram->cells));
}

static bool is_free(struct ant_unigram *unigram, const struct tree *tree, uint32_t node,
                    size_t base)
{
    make_cells(unigram, base);
    for (uint32_t child = tree->nodes[node].first; child != NONE; child = tree->nodes[child].next)
        if (unigram->cells[base + tree->nodes[child].byte].parent != 0)
            return false;
    return true;
}

/* A base that puts all children of a node into free cells: one near the first free cell, else one
 * behind all that are taken. */
static size_t find_base(struct ant_unigram *unigram, const struct tree *tree, uint32_t node)
{
    unsigned char byte = tree->nodes[tree->nodes[node].first].byte;

    make_cells(unigram, unigram->first_free);
    while (unigram->cells[unigram->first_free].parent != 0)
        make_cells(unigram, ++unigram->first_free);
    for (size_t at = unigram->first_free; at < unigram->first_free + MOST_TRIES; at++) {
        make_cells(unigram, at);
        if (at >= byte && unigram->cells[at].parent == 0 && is_free(unigram, tree, node, at - byte))
            return at - byte;
    }
    make_cells(unigram, unigram->n_taken);
    return unigram->n_taken;
}

/* Nodes were made from the root outwards: each has its cell before its children look for theirs. */
static void place(struct ant_unigram *unigram, struct tree *tree)
{
    make_cells(unigram, 0);
    unigram->first_free = unigram->n_taken = 1;
    unigram->cells[0] = (struct cell){.parent = UINT32_MAX, .id = -1};
    for (uint32_t i = 0; i < tree->n; i++) {
        const struct node *node = &tree->nodes[i];
        if (node->first == NONE)
            continue;
        size_t base = find_base(unigram, tree, i);
        unigram->cells[node->cell].base = (uint32_t)base;
        for (uint32_t child = node->first; child != NONE; child = tree->nodes[child].next) {
            struct node *to = &tree->nodes[child];
            to->cell = (uint32_t)base + to->byte;
            if (to->cell >= unigram->n_taken)
                unigram->n_taken = to->cell + 1;
            unigram->cells[to->cell] = (struct cell){.parent = node->cell + 1, .id = to->id};
        }
    }
}

/* Tokens of the probability 0 are not to be found in texts. */
static void build_trie(struct ant_unigram *unigram)
{
    const struct ant_vocab *vocab = unigram->vocab;
    struct tree tree = {0};
    double least = INFINITY;

    new_node(&tree, 0);
    for (int id = 0; id < vocab->size; id++) {
        size_t bytes;
        const char *text = ant_vocab_text(vocab, id, &bytes);
        if (!ant_vocab_has(vocab, id) || bytes == 0 || vocab->weights[id] == -INFINITY)
            continue;
        add_token(&tree, text, bytes, id);
        least = vocab->weights[id] < least ? vocab->weights[id] : least;
    }
    place(unigram, &tree);
    free(tree.nodes);
    unigram->unknown_score = least - UNKNOWN_PENALTY;
}

int ant_unigram_open(struct ant_unigram **out, const struct ant_vocab *vocab, struct ant_error *err)
{
    char name[8];

    if (vocab->unknown < 0)
        return ant_fail(err, ANT_EDATA, "a unigram model without an unknown token");
    struct ant_unigram *unigram = ant_xcalloc(1, sizeof(*unigram));
    unigram->vocab = vocab;
    unigram->is_single = vocab->scores;
    build_trie(unigram);
    for (int byte = 0; byte < 256; byte++) {
        snprintf(name, sizeof(name), "<0x%02X>", (unsigned)byte);
        unigram->fallback[byte] = ant_vocab_find_own(vocab, name, strlen(name));
    }
    *out = unigram;
    return 0;
}

void ant_unigram_close(struct ant_unigram *unigram)
{
    if (!unigram)
        return;
    free(unigram->cells);
    free(unigram);
}

void ant_unigram_work_release(struct ant_unigram_work *work)
{
    free(work->paths);
    free(work->found);
}

static void offer(struct ant_unigram_path *path, double score, size_t start, int32_t id)
{
    if (path->start == UINT32_MAX || score > path->score)
        *path = (struct ant_unigram_path){score, (uint32_t)start, id};
}

/* Offers of all tokens that stand at `start`. */
static void offer_tokens(const struct ant_unigram *unigram, struct ant_unigram_path *paths,
                         const char *piece, size_t bytes, size_t start)
{
    double here = paths[start].score, sum;
    size_t length = ant_utf8_length((unsigned char)piece[start]);
    bool is_known = false;
    uint32_t here_cell = 0;

    for (size_t at = start; at < bytes; at++) {
        uint32_t cell = unigram->cells[here_cell].base + (unsigned char)piece[at];
        if (unigram->cells[cell].parent != here_cell + 1)
            break;
        here_cell = cell;
        int32_t id = unigram->cells[cell].id;
        if (id < 0)
            continue;
        sum = unigram->vocab->weights[id] + here;
        offer(&paths[at + 1], unigram->is_single ? (float)sum : sum, start, id);
        is_known |= at + 1 - start == length;
    }
    sum = unigram->unknown_score + here;
    if (!is_known)
        offer(&paths[start + length], unigram->is_single ? (float)sum : sum, start,
              unigram->vocab->unknown);
}

/* Unknown characters: as bytes if they all are tokens, else the token for what is unknown. What
 * many of them spell may be a token that was too improbable for each alone. Backwards. */
static size_t put_unknown(const struct ant_unigram *unigram, int32_t *found, size_t n,
                          const char *text, size_t bytes)
{
    const struct ant_vocab *vocab = unigram->vocab;
    int32_t id = ant_vocab_find_own(vocab, text, bytes);
    bool has_bytes = vocab->byte_fallback && id < 0;

    for (size_t i = 0; i < bytes && has_bytes; i++)
        has_bytes = unigram->fallback[(unsigned char)text[i]] >= 0;
    for (size_t i = bytes; i > 0 && has_bytes; i--)
        found[n++] = unigram->fallback[(unsigned char)text[i - 1]];
    if (!has_bytes)
        found[n++] = id >= 0 ? id : vocab->unknown;
    return n;
}

static void make_room(struct ant_unigram_work *work, size_t bytes)
{
    if (work->cap > bytes)
        return;
    work->cap = 2 * (bytes + 1);
    work->paths = ant_xrealloc(work->paths, work->cap, sizeof(*work->paths));
    work->found = ant_xrealloc(work->found, work->cap, sizeof(*work->found));
}

void ant_unigram_encode(const struct ant_unigram *unigram, struct ant_unigram_work *work,
                        const char *piece, size_t bytes, struct ant_ids *out)
{
    make_room(work, bytes);
    struct ant_unigram_path *paths = work->paths;
    for (size_t i = 0; i <= bytes; i++)
        paths[i].start = UINT32_MAX;
    paths[0].score = 0;
    for (size_t at = 0; at < bytes; at += ant_utf8_length((unsigned char)piece[at]))
        offer_tokens(unigram, paths, piece, bytes, at);

    size_t n = 0, end = bytes, unknown_end = 0;
    while (end > 0) {
        const struct ant_unigram_path *path = &paths[end];
        bool is_unknown = path->id == unigram->vocab->unknown;
        if (is_unknown && unknown_end == 0)
            unknown_end = end;
        if (!is_unknown && unknown_end > 0) {
            n = put_unknown(unigram, work->found, n, piece + end, unknown_end - end);
            unknown_end = 0;
        }
        if (!is_unknown)
            work->found[n++] = path->id;
        end = path->start;
    }
    if (unknown_end > 0)
        n = put_unknown(unigram, work->found, n, piece, unknown_end);
    while (n > 0)
        ant_ids_add(out, work->found[--n]);
}
