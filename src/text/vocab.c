/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "text/vocab.h"
#include "text/unicode.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { PENDING = 64 };

/* Of short texts mostly: eight bytes a step. */
static uint64_t hash_of(const char *text, size_t bytes)
{
    const uint64_t odd = 0x9e3779b97f4a7c15u;
    uint64_t hash = bytes * odd, word;

    for (; bytes >= 8; text += 8, bytes -= 8) {
        memcpy(&word, text, 8);
        hash = (hash ^ word) * odd;
        hash ^= hash >> 32;
    }
    word = 0;
    memcpy(&word, text, bytes);
    hash = (hash ^ word) * odd;
    hash = (hash ^ hash >> 32) * 0xd6e8feb86659fd93u;
    return hash ^ hash >> 32;
}

/* A slot of the index: the upper half of the text's hash, and the id + 1 (0: free). */
static uint64_t slot_of(uint64_t hash, int id)
{
    return (hash & 0xffffffff00000000u) | (uint32_t)(id + 1);
}

void ant_vocab_init(struct ant_vocab *vocab)
{
    *vocab = (struct ant_vocab){.unknown = -1, .bos = -1, .eos = -1};
}

void ant_vocab_release(struct ant_vocab *vocab)
{
    size_t i;

    free(vocab->tokens);
    ant_buf_release(&vocab->texts);
    free(vocab->index);
    free(vocab->merges);
    free(vocab->pending);
    free(vocab->scores);
    free(vocab->weights);
    for (i = 0; i < vocab->n_added; i++)
        free(vocab->added[i].text);
    free(vocab->added);
    ant_normal_release(vocab->normal, vocab->n_normal);
    ant_split_release(vocab->split, vocab->n_split);
    ant_decode_release(vocab->decode, vocab->n_decode);
    ant_ids_release(&vocab->prefix);
    ant_ids_release(&vocab->suffix);
}

void ant_vocab_resize(struct ant_vocab *vocab, int size)
{
    int i;

    if (size <= vocab->size)
        return;
    vocab->tokens = ant_xrealloc(vocab->tokens, (size_t)size, sizeof *vocab->tokens);
    for (i = vocab->size; i < size; i++)
        vocab->tokens[i] = (struct ant_vocab_text){.bytes = UINT32_MAX};
    vocab->size = size;
}

int ant_vocab_set(struct ant_vocab *vocab, int id, const char *text, size_t bytes,
                  struct ant_error *err)
{
    struct ant_vocab_text *token = &vocab->tokens[id];

    if (token->bytes != UINT32_MAX)
        return ant_fail(err, ANT_EDATA, "two tokens have the id %d", id);
    if (bytes > ANT_TOKEN_MAX_BYTES)
        return ant_fail(err, ANT_EDATA, "token %d has %zu bytes", id, bytes);
    if (ant_utf8_check(text, bytes) != bytes)
        return ant_fail(err, ANT_EDATA, "token %d is not UTF-8", id);
    if (vocab->texts.len + bytes > UINT32_MAX)
        return ant_fail(err, ANT_EDATA, "tokens of more than 4 GiB");
    *token = (struct ant_vocab_text){(uint32_t)vocab->texts.len, (uint32_t)bytes};
    ant_buf_add(&vocab->texts, text, bytes);
    return 0;
}

bool ant_vocab_has(const struct ant_vocab *vocab, int id)
{
    return id >= 0 && id < vocab->size && vocab->tokens[id].bytes != UINT32_MAX;
}

const char *ant_vocab_text(const struct ant_vocab *vocab, int id, size_t *bytes)
{
    if (!ant_vocab_has(vocab, id) || vocab->tokens[id].bytes == 0) {
        *bytes = 0;
        return "";
    }
    *bytes = vocab->tokens[id].bytes;
    return vocab->texts.data + vocab->tokens[id].offset;
}

/* The slot of this text: the one that holds it, or the free one where it belongs. */
static size_t look_up(const struct ant_vocab *vocab, const char *text, size_t bytes, uint64_t hash)
{
    size_t i = hash & vocab->index_mask;

    for (;; i = (i + 1) & vocab->index_mask) {
        uint64_t slot = vocab->index[i];
        const struct ant_vocab_text *token;

        if (slot == 0)
            return i;
        if ((slot ^ hash) >> 32)
            continue;
        token = &vocab->tokens[(uint32_t)slot - 1];
        if (token->bytes == bytes && memcmp(vocab->texts.data + token->offset, text, bytes) == 0)
            return i;
    }
}

static int add_to_index(struct ant_vocab *vocab, int id, struct ant_error *err)
{
    size_t bytes, i;
    const char *text = ant_vocab_text(vocab, id, &bytes);
    uint64_t hash;

    if (bytes == 0) /* an id without text is never looked for */
        return 0;
    hash = hash_of(text, bytes);
    i = look_up(vocab, text, bytes, hash);
    if (vocab->index[i] != 0)
        return ant_fail(err, ANT_EDATA, "tokens %d and %d have the same text",
                        (int)(uint32_t)vocab->index[i] - 1, id);
    vocab->index[i] = slot_of(hash, id);
    vocab->n_indexed++;
    return 0;
}

int ant_vocab_build_index(struct ant_vocab *vocab, struct ant_error *err)
{
    size_t slots = 1024;
    int id;

    while (slots < 2 * (size_t)vocab->size)
        slots *= 2;
    free(vocab->index);
    vocab->index = ant_xcalloc(slots, sizeof *vocab->index);
    vocab->index_mask = slots - 1;
    vocab->n_indexed = 0;
    for (id = 0; id < vocab->size; id++)
        ANT_TRY(add_to_index(vocab, id, err));
    return 0;
}

int ant_vocab_add_to_index(struct ant_vocab *vocab, int id, struct ant_error *err)
{
    if (2 * vocab->n_indexed >= vocab->index_mask)
        return ant_vocab_build_index(vocab, err);
    return add_to_index(vocab, id, err);
}

int ant_vocab_find(const struct ant_vocab *vocab, const char *text, size_t bytes)
{
    if (bytes == 0)
        return -1;
    return (int)(uint32_t)vocab->index[look_up(vocab, text, bytes, hash_of(text, bytes))] - 1;
}

int ant_vocab_find_own(const struct ant_vocab *vocab, const char *text, size_t bytes)
{
    int id = ant_vocab_find(vocab, text, bytes);

    return id >= vocab->first_added && id < vocab->end_added ? -1 : id;
}

/* A merge that is waiting for its three tokens to be looked up. */
struct ant_vocab_pending {
    const char *left, *right;
    size_t left_bytes, right_bytes;
    uint64_t hashes[3]; /* of left, right, and both together */
};

static size_t put_together(char *to, const struct ant_vocab_pending *merge)
{
    memcpy(to, merge->left, merge->left_bytes);
    memcpy(to + merge->left_bytes, merge->right, merge->right_bytes);
    return merge->left_bytes + merge->right_bytes;
}

static int merge_part(const struct ant_vocab *vocab, const char *text, size_t bytes, uint64_t hash,
                      struct ant_error *err)
{
    uint64_t slot = bytes > 0 ? vocab->index[look_up(vocab, text, bytes, hash)] : 0;
    char quoted[ANT_QUOTED];

    if (slot == 0)
        return ant_fail(err, ANT_EDATA, "merge %zu: there is no token '%s'", vocab->n_merges,
                        ant_quote(quoted, text, bytes));
    return (int)(uint32_t)slot - 1;
}

/* The memory of one look-up is fetched while the others compute: half the time to open a file goes
 * here. */
static void fetch_ahead(const struct ant_vocab *vocab)
{
    const struct ant_vocab_text *token;
    size_t i, k;

    for (i = 0; i < vocab->n_pending; i++) {
        for (k = 0; k < 3; k++) {
            uint64_t slot = vocab->index[vocab->pending[i].hashes[k] & vocab->index_mask];

            if (slot != 0)
                __builtin_prefetch(&vocab->tokens[(uint32_t)slot - 1]);
        }
    }
    for (i = 0; i < vocab->n_pending; i++) {
        for (k = 0; k < 3; k++) {
            uint64_t slot = vocab->index[vocab->pending[i].hashes[k] & vocab->index_mask];

            token = &vocab->tokens[slot != 0 ? (uint32_t)slot - 1 : 0];
            __builtin_prefetch(vocab->texts.data + token->offset);
        }
    }
}

int ant_vocab_end_merges(struct ant_vocab *vocab, struct ant_error *err)
{
    char together[2 * ANT_TOKEN_MAX_BYTES];
    size_t i, bytes;

    fetch_ahead(vocab);
    if (vocab->n_merges + vocab->n_pending > vocab->cap_merges) {
        vocab->cap_merges = 2 * vocab->cap_merges + PENDING;
        vocab->merges = ant_xrealloc(vocab->merges, vocab->cap_merges, sizeof *vocab->merges);
    }
    for (i = 0; i < vocab->n_pending; i++) {
        const struct ant_vocab_pending *p = &vocab->pending[i];
        struct ant_merge merge;

        ANT_TRY(merge.left = merge_part(vocab, p->left, p->left_bytes, p->hashes[0], err));
        ANT_TRY(merge.right = merge_part(vocab, p->right, p->right_bytes, p->hashes[1], err));
        bytes = put_together(together, p);
        ANT_TRY(merge.result = merge_part(vocab, together, bytes, p->hashes[2], err));
        vocab->merges[vocab->n_merges++] = merge;
    }
    vocab->n_pending = 0;
    return 0;
}

int ant_vocab_merge(struct ant_vocab *vocab, const char *left, size_t left_bytes, const char *right,
                    size_t right_bytes, struct ant_error *err)
{
    char together[2 * ANT_TOKEN_MAX_BYTES];
    struct ant_vocab_pending *p;
    int i;

    if (left_bytes > ANT_TOKEN_MAX_BYTES || right_bytes > ANT_TOKEN_MAX_BYTES)
        return ant_fail(err, ANT_EDATA, "a merge of %zu and %zu bytes", left_bytes, right_bytes);
    if (!vocab->pending)
        vocab->pending = ant_xcalloc(PENDING, sizeof *vocab->pending);
    p = &vocab->pending[vocab->n_pending++];
    *p = (struct ant_vocab_pending){left, right, left_bytes, right_bytes, {0}};
    p->hashes[0] = hash_of(left, left_bytes);
    p->hashes[1] = hash_of(right, right_bytes);
    p->hashes[2] = hash_of(together, put_together(together, p));
    for (i = 0; i < 3; i++)
        __builtin_prefetch(&vocab->index[p->hashes[i] & vocab->index_mask]);
    return vocab->n_pending == PENDING ? ant_vocab_end_merges(vocab, err) : 0;
}

void ant_vocab_add_added(struct ant_vocab *vocab, const struct ant_added *added)
{
    if (vocab->n_added == vocab->cap_added) {
        vocab->cap_added = vocab->cap_added ? 2 * vocab->cap_added : 64;
        vocab->added = ant_xrealloc(vocab->added, vocab->cap_added, sizeof *vocab->added);
    }
    vocab->added[vocab->n_added++] = *added;
}

void ant_vocab_end_added(struct ant_vocab *vocab, int first, int end)
{
    vocab->first_added = first;
    vocab->end_added = end;
    if (vocab->scores)
        vocab->scores = ant_xrealloc(vocab->scores, (size_t)vocab->size, sizeof *vocab->scores);
    if (vocab->weights)
        vocab->weights = ant_xrealloc(vocab->weights, (size_t)vocab->size, sizeof *vocab->weights);
    for (int id = first; id < vocab->size; id++) { /* nothing becomes one of those */
        if (vocab->scores)
            vocab->scores[id] = -INFINITY;
        if (vocab->weights)
            vocab->weights[id] = -INFINITY;
    }
}
