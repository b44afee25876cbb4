/* SPDX-License-Identifier: Apache-2.0 */
/* A piece starts as one symbol a character (or a byte). Then the adjacent pair with the lowest
 * rank, the leftmost among equals, is made one symbol, until no pair merges. A short piece is
 * searched for that pair over and over; a long one keeps its pairs in a heap, O(n log n). */
#include "config.h"

#include "text/bpe.h"
#include "text/cuts.h"
#include "text/unicode.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    SHORT = 48,      /* symbols: up to here searching beats a heap */
    CACHE_BITS = 15, /* 2^15 slots of 64 bytes */
    CACHE_KEY = 24,  /* bytes */
    CACHE_IDS = 9,   /* so that a slot is one cache line */
    MEMO_BITS = 15,  /* 2^15 pairs */
    NO_RANK = -1,    /* as uint32_t: later than any */
    UNKNOWN = -1,    /* a symbol that is no token (scores only) */
    SPACE_BYTES = 3,
};
static const char space[] = "\xe2\x96\x81"; /* U+2581, the word mark of SentencePiece */

struct pair {
    uint64_t key; /* left id << 32 | right id; UINT64_MAX: free */
    uint32_t rank;
    int32_t result;
};

struct ant_bpe {
    const struct ant_vocab *vocab; /* borrowed */
    struct pair *pairs;            /* owned: hash table; merges only */
    int pair_shift;
    uint32_t *ranks;       /* owned: of each id; scores only */
    size_t longest;        /* bytes of the longest token */
    int32_t bytes[256];    /* byte-level: the id of each byte; else of U+0000 to U+00FF */
    int32_t fallback[256]; /* the id of "<0x..>" */
    struct ant_cuts *cuts; /* owned: the parts between them merge alone; NULL: the piece as one */
};

struct symbol {
    int32_t id;
    uint32_t start, bytes; /* bytes 0: merged into its left neighbour */
    int32_t prev, next;    /* -1: none */
};

struct candidate {
    uint64_t key; /* rank << 32 | index of the left symbol */
    int32_t result;
    uint32_t bytes; /* of both symbols: they are what they were as long as this holds */
};

struct cached {
    uint64_t key[CACHE_KEY / 8];
    int32_t ids[CACHE_IDS];
    uint8_t bytes, n_ids;
};
_Static_assert(sizeof(struct cached) == 64, "a slot is one cache line");

struct ant_bpe_work {
    struct symbol *symbols; /* owned */
    size_t n_symbols, cap_symbols;
    struct candidate *heap; /* owned */
    size_t n_heap, cap_heap;
    struct ant_buf spelled;
    struct pair *memo;    /* owned, scores only: what pairs of tokens were found to become */
    void *memory;         /* owned: that of the cache */
    struct cached *cache; /* aligned within memory */
};

static uint64_t mix(uint64_t key)
{
    key *= 0x9e3779b97f4a7c15u;
    key ^= key >> 32;
    return key * 0xd6e8feb86659fd93u;
}

static void build_pairs(struct ant_bpe *bpe)
{
    const struct ant_vocab *vocab = bpe->vocab;
    size_t slots = 64, i, at;

    bpe->pair_shift = 64 - 6;
    while (slots < 2 * vocab->n_merges) {
        slots *= 2;
        bpe->pair_shift--;
    }
    bpe->pairs = ant_xcalloc(slots, sizeof *bpe->pairs);
    for (i = 0; i < slots; i++)
        bpe->pairs[i].key = UINT64_MAX;
    for (i = 0; i < vocab->n_merges; i++) {
        const struct ant_merge *merge = &vocab->merges[i];
        uint64_t key = (uint64_t)merge->left << 32 | (uint32_t)merge->right;

        at = mix(key) >> bpe->pair_shift;
        while (bpe->pairs[at].key != UINT64_MAX && bpe->pairs[at].key != key)
            at = (at + 1) & (slots - 1);
        /* A pair that is listed twice has its later rank. */
        bpe->pairs[at] = (struct pair){key, (uint32_t)i, merge->result};
    }
}

/* Best scores first: an order-preserving map of floats to integers, turned round. */
static void build_ranks(struct ant_bpe *bpe)
{
    int id;

    bpe->ranks = ant_xcalloc((size_t)bpe->vocab->size, sizeof *bpe->ranks);
    for (id = 0; id < bpe->vocab->size; id++) {
        float score = bpe->vocab->scores[id] + 0.0f; /* -0 is 0 */
        uint32_t bits;

        memcpy(&bits, &score, sizeof bits);
        bits = bits & 0x80000000u ? ~bits : bits | 0x80000000u;
        bpe->ranks[id] = ~bits;
    }
}

static int build_bytes(struct ant_bpe *bpe, struct ant_error *err)
{
    const struct ant_vocab *vocab = bpe->vocab;
    int byte;

    for (byte = 0; byte < 256; byte++) {
        char name[8];
        size_t n = (size_t)snprintf(name, sizeof name, "<0x%02X>", (unsigned)byte);

        bpe->fallback[byte] = ant_vocab_find_own(vocab, name, n);
        if (vocab->byte_level)
            n = ant_utf8_put(name, ant_byte_character((unsigned char)byte));
        else
            n = ant_utf8_put(name, (uint32_t)byte);
        bpe->bytes[byte] = ant_vocab_find_own(vocab, name, n);
        if (vocab->byte_level && vocab->byte_fallback && bpe->bytes[byte] < 0)
            return ant_fail(err, ANT_EUNSUPP, "byte_fallback with bytes that are no tokens");
    }
    return 0;
}

static void measure_tokens(struct ant_bpe *bpe)
{
    for (int id = 0; id < bpe->vocab->size; id++) {
        size_t bytes;

        ant_vocab_text(bpe->vocab, id, &bytes);
        if (bytes > bpe->longest)
            bpe->longest = bytes;
    }
}

/* Where unknown characters side by side may be one token only words merge alone; and where merges
 * drop them, their neighbours meet, even over the start of a word. */
static void build_cuts(struct ant_bpe *bpe)
{
    const struct ant_vocab *vocab = bpe->vocab;
    bool has_words = ant_vocab_find_own(vocab, space, SPACE_BYTES) >= 0;
    bool has_all = vocab->byte_fallback;

    for (int byte = 0; byte < 256; byte++)
        has_all &= bpe->fallback[byte] >= 0;
    if (vocab->model == ANT_VOCAB_SCORES && (has_all || has_words))
        bpe->cuts = ant_cuts_open(vocab, !has_all);
    else if (vocab->model == ANT_VOCAB_MERGES && !vocab->byte_level && !vocab->ignore_merges &&
             vocab->unknown >= 0 && has_words)
        bpe->cuts = ant_cuts_open(vocab, true);
}

int ant_bpe_open(struct ant_bpe **out, const struct ant_vocab *vocab, struct ant_error *err)
{
    struct ant_bpe *bpe = ant_xcalloc(1, sizeof *bpe);
    int result;

    bpe->vocab = vocab;
    result = build_bytes(bpe, err);
    if (result < 0) {
        ant_bpe_close(bpe);
        return result;
    }
    if (vocab->model == ANT_VOCAB_MERGES)
        build_pairs(bpe);
    else
        build_ranks(bpe);
    measure_tokens(bpe);
    build_cuts(bpe);
    *out = bpe;
    return 0;
}

void ant_bpe_close(struct ant_bpe *bpe)
{
    if (!bpe)
        return;
    free(bpe->pairs);
    free(bpe->ranks);
    ant_cuts_close(bpe->cuts);
    free(bpe);
}

struct ant_bpe_work *ant_bpe_work_open(void)
{
    struct ant_bpe_work *work = ant_xcalloc(1, sizeof *work);
    size_t slot = sizeof *work->cache;

    /* Fresh zero pages cost nothing until they are used; hence no aligned_alloc and memset. */
    work->memory = ant_xcalloc(((size_t)1 << CACHE_BITS) + 1, slot);
    work->memo = ant_xcalloc((size_t)1 << MEMO_BITS, sizeof *work->memo);
    work->cache = (struct cached *)(((uintptr_t)work->memory + slot - 1) & ~(uintptr_t)(slot - 1));
    return work;
}

void ant_bpe_work_close(struct ant_bpe_work *work)
{
    if (!work)
        return;
    free(work->symbols);
    free(work->heap);
    ant_buf_release(&work->spelled);
    free(work->memo);
    free(work->memory);
    free(work);
}

static void add_symbol(struct ant_bpe_work *work, int32_t id, size_t start, size_t bytes)
{
    if (work->n_symbols == work->cap_symbols) {
        work->cap_symbols = work->cap_symbols ? 2 * work->cap_symbols : 256;
        work->symbols = ant_xrealloc(work->symbols, work->cap_symbols, sizeof *work->symbols);
    }
    work->symbols[work->n_symbols] = (struct symbol){
        .id = id,
        .start = (uint32_t)start,
        .bytes = (uint32_t)bytes,
        .prev = (int32_t)work->n_symbols - 1,
        .next = (int32_t)work->n_symbols + 1,
    };
    work->n_symbols++;
}

/* The id of the character (or byte) at `text`, of `bytes` bytes; -1 if it is no token. */
static int32_t character_id(const struct ant_bpe *bpe, const char *text, size_t bytes)
{
    if (bytes == 1)
        return bpe->bytes[(unsigned char)*text];
    return ant_vocab_find_own(bpe->vocab, text, bytes);
}

/* Can a character that is no token be one token a byte? */
static bool has_bytes(const struct ant_bpe *bpe, const char *text, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        if (bpe->fallback[(unsigned char)text[i]] < 0)
            return false;
    return bpe->vocab->byte_fallback;
}

/* With merges all symbols are tokens from the start. Unknown characters wait for the next known
 * one, to be fused; the order this makes of bytes behind them is that of Hugging Face. */
static void symbols_of_merges(const struct ant_bpe *bpe, struct ant_bpe_work *work,
                              const char *piece, size_t bytes)
{
    const struct ant_vocab *vocab = bpe->vocab;
    size_t at = 0, length, unknown_start = 0, unknown_bytes = 0;

    for (; at < bytes; at += length) {
        int32_t id;

        length = vocab->byte_level ? 1 : ant_utf8_length((unsigned char)piece[at]);
        id = character_id(bpe, piece + at, length);
        if (id < 0 && has_bytes(bpe, piece + at, length)) {
            for (size_t i = at; i < at + length; i++)
                add_symbol(work, bpe->fallback[(unsigned char)piece[i]], i, 1);
            continue;
        }
        if (unknown_bytes > 0 && (id >= 0 || (vocab->unknown >= 0 && !vocab->fuse_unknown))) {
            add_symbol(work, vocab->unknown, unknown_start, unknown_bytes);
            unknown_bytes = 0;
        }
        if (id >= 0) {
            add_symbol(work, id, at, length);
        } else if (vocab->unknown >= 0) {
            if (unknown_bytes == 0)
                unknown_start = at;
            unknown_bytes += length;
        }
    }
    if (unknown_bytes > 0)
        add_symbol(work, vocab->unknown, unknown_start, unknown_bytes);
}

/* With scores a character need not be a token to become part of one. */
static void symbols_of_scores(const struct ant_bpe *bpe, struct ant_bpe_work *work,
                              const char *piece, size_t bytes)
{
    size_t at = 0, length;

    for (; at < bytes; at += length) {
        length = ant_utf8_length((unsigned char)piece[at]);
        add_symbol(work, character_id(bpe, piece + at, length), at, length);
    }
}

static bool look_up_merge(const struct ant_bpe *bpe, uint64_t key, uint32_t *rank, int32_t *result)
{
    size_t at = mix(key) >> bpe->pair_shift;
    size_t mask = ((size_t)1 << (64 - bpe->pair_shift)) - 1;

    for (;; at = (at + 1) & mask) {
        const struct pair *pair = &bpe->pairs[at];

        if (pair->key == key) {
            *rank = pair->rank;
            *result = pair->result;
            return true;
        }
        if (pair->key == UINT64_MAX)
            return false;
    }
}

static int32_t find_both(const struct ant_bpe *bpe, const char *piece, const struct symbol *left,
                         const struct symbol *right)
{
    if ((size_t)left->bytes + right->bytes > bpe->longest)
        return -1;
    return ant_vocab_find_own(bpe->vocab, piece + left->start, left->bytes + right->bytes);
}

/* The rank and result of merging two neighbours; false: they do not merge. */
static inline bool look_up(const struct ant_bpe *bpe, struct ant_bpe_work *work, const char *piece,
                           const struct symbol *left, const struct symbol *right, uint32_t *rank,
                           int32_t *result)
{
    uint64_t key = (uint64_t)(uint32_t)left->id << 32 | (uint32_t)right->id;

    if (bpe->pairs)
        return look_up_merge(bpe, key, rank, result);
    if (left->id == UNKNOWN || right->id == UNKNOWN) {
        *result = find_both(bpe, piece, left, right);
    } else {
        /* Keys are kept inverted: a fresh slot is no pair's. */
        struct pair *memo = &work->memo[mix(key) >> (64 - MEMO_BITS)];

        if (memo->key != ~key)
            *memo = (struct pair){.key = ~key, .result = find_both(bpe, piece, left, right)};
        *result = memo->result;
    }
    if (*result < 0)
        return false;
    *rank = bpe->ranks[*result];
    return true;
}

/* Merge the first n symbols, which stand side by side; returns how many are left, at the front. */
static size_t merge_short(const struct ant_bpe *bpe, struct ant_bpe_work *work, const char *piece,
                          size_t n)
{
    struct symbol *symbols = work->symbols;
    uint32_t ranks[SHORT];
    int32_t results[SHORT];
    size_t i, best;

    for (i = 0; i + 1 < n; i++)
        if (!look_up(bpe, work, piece, &symbols[i], &symbols[i + 1], &ranks[i], &results[i]))
            ranks[i] = (uint32_t)NO_RANK;
    while (n > 1) {
        for (best = 0, i = 1; i + 1 < n; i++)
            if (ranks[i] < ranks[best])
                best = i;
        if (ranks[best] == (uint32_t)NO_RANK)
            break;
        symbols[best].id = results[best];
        symbols[best].bytes += symbols[best + 1].bytes;
        n--;
        for (i = best + 1; i < n; i++) {
            symbols[i] = symbols[i + 1];
            ranks[i - 1] = ranks[i];
            results[i - 1] = results[i];
        }
        for (i = best > 0 ? best - 1 : 0; i <= best && i + 1 < n; i++)
            if (!look_up(bpe, work, piece, &symbols[i], &symbols[i + 1], &ranks[i], &results[i]))
                ranks[i] = (uint32_t)NO_RANK;
    }
    return n;
}

static void sift_down(struct candidate *heap, size_t n, size_t i)
{
    struct candidate moved = heap[i];

    for (;;) {
        size_t child = 2 * i + 1;

        if (child >= n)
            break;
        if (child + 1 < n && heap[child + 1].key < heap[child].key)
            child++;
        if (heap[child].key >= moved.key)
            break;
        heap[i] = heap[child];
        i = child;
    }
    heap[i] = moved;
}

static void push(struct ant_bpe_work *work, struct candidate candidate)
{
    size_t i = work->n_heap++;

    if (i == work->cap_heap) {
        work->cap_heap = work->cap_heap ? 2 * work->cap_heap : 256;
        work->heap = ant_xrealloc(work->heap, work->cap_heap, sizeof *work->heap);
    }
    for (; i > 0 && work->heap[(i - 1) / 2].key > candidate.key; i = (i - 1) / 2)
        work->heap[i] = work->heap[(i - 1) / 2];
    work->heap[i] = candidate;
}

static struct candidate pop(struct ant_bpe_work *work)
{
    struct candidate top = work->heap[0];

    work->heap[0] = work->heap[--work->n_heap];
    if (work->n_heap > 0)
        sift_down(work->heap, work->n_heap, 0);
    return top;
}

static void consider(const struct ant_bpe *bpe, struct ant_bpe_work *work, const char *piece,
                     int32_t left)
{
    const struct symbol *symbols = work->symbols;
    struct candidate candidate;
    uint32_t rank;

    if (left < 0 || symbols[left].next < 0)
        return;
    if (!look_up(bpe, work, piece, &symbols[left], &symbols[symbols[left].next], &rank,
                 &candidate.result))
        return;
    candidate.key = (uint64_t)rank << 32 | (uint32_t)left;
    candidate.bytes = symbols[left].bytes + symbols[symbols[left].next].bytes;
    push(work, candidate);
}

static size_t merge_long(const struct ant_bpe *bpe, struct ant_bpe_work *work, const char *piece)
{
    struct symbol *symbols = work->symbols;
    size_t i, n = work->n_symbols;

    work->n_heap = 0;
    symbols[n - 1].next = -1;
    for (i = 0; i + 1 < n; i++)
        consider(bpe, work, piece, (int32_t)i);
    while (work->n_heap > 0) {
        struct candidate top = pop(work);
        struct symbol *left = &symbols[(uint32_t)top.key], *right;

        if (left->bytes == 0 || left->next < 0)
            continue;
        right = &symbols[left->next];
        if (left->bytes + right->bytes != top.bytes)
            continue;
        left->id = top.result;
        left->bytes += right->bytes;
        right->bytes = 0;
        left->next = right->next;
        if (left->next >= 0)
            symbols[left->next].prev = (int32_t)(left - symbols);
        consider(bpe, work, piece, left->prev);
        consider(bpe, work, piece, (int32_t)(left - symbols));
    }
    for (i = 0, n = 0; i < work->n_symbols; i++)
        if (symbols[i].bytes > 0)
            symbols[n++] = symbols[i];
    return n;
}

static void put_symbols(const struct ant_bpe *bpe, const struct ant_bpe_work *work, size_t n,
                        const char *piece, struct ant_ids *out)
{
    const struct ant_vocab *vocab = bpe->vocab;
    bool is_unknown = false;

    for (size_t i = 0; i < n; i++) {
        const struct symbol *symbol = &work->symbols[i];
        const char *text = piece + symbol->start;
        bool fuses = is_unknown && vocab->fuse_unknown;

        is_unknown = symbol->id == UNKNOWN && !has_bytes(bpe, text, symbol->bytes);
        if (symbol->id != UNKNOWN)
            ant_ids_add(out, symbol->id);
        else if (!is_unknown)
            for (size_t k = 0; k < symbol->bytes; k++)
                ant_ids_add(out, bpe->fallback[(unsigned char)text[k]]);
        else if (vocab->unknown >= 0 && !fuses)
            ant_ids_add(out, vocab->unknown);
    }
}

static void encode(const struct ant_bpe *bpe, struct ant_bpe_work *work, const char *piece,
                   size_t bytes, struct ant_ids *out)
{
    size_t n;

    if (bpe->vocab->ignore_merges) {
        const char *text = piece;
        size_t text_bytes = bytes;
        int id;

        if (bpe->vocab->byte_level) {
            work->spelled.len = 0;
            ant_bytes_spell(&work->spelled, piece, bytes);
            text = work->spelled.data;
            text_bytes = work->spelled.len;
        }
        id = text_bytes <= bpe->longest ? ant_vocab_find_own(bpe->vocab, text, text_bytes) : -1;
        if (id >= 0) {
            ant_ids_add(out, id);
            return;
        }
    }
    work->n_symbols = 0;
    if (bpe->pairs)
        symbols_of_merges(bpe, work, piece, bytes);
    else
        symbols_of_scores(bpe, work, piece, bytes);
    n = work->n_symbols;
    if (n > SHORT)
        n = merge_long(bpe, work, piece);
    else if (n > 0)
        n = merge_short(bpe, work, piece, n);
    put_symbols(bpe, work, n, piece, out);
}

/* As encode, with the ids of short pieces remembered. */
static void encode_cached(const struct ant_bpe *bpe, struct ant_bpe_work *work, const char *piece,
                          size_t bytes, struct ant_ids *out)
{
    uint64_t key[CACHE_KEY / 8] = {0};
    struct cached *slot;
    size_t before = out->len, n;

    if (bytes > CACHE_KEY) {
        encode(bpe, work, piece, bytes, out);
        return;
    }
    memcpy(key, piece, bytes);
    slot = &work->cache[mix(key[0] ^ mix(key[1] ^ mix(key[2] + bytes))) >> (64 - CACHE_BITS)];
    if (slot->bytes == bytes && memcmp(slot->key, key, sizeof key) == 0) {
        ant_ids_append(out, slot->ids, slot->n_ids);
        return;
    }
    encode(bpe, work, piece, bytes, out);
    n = out->len - before;
    if (n > CACHE_IDS)
        return;
    slot->bytes = (uint8_t)bytes;
    slot->n_ids = (uint8_t)n;
    memcpy(slot->key, key, sizeof key);
    if (n > 0)
        memcpy(slot->ids, out->data + before, n * sizeof *out->data);
}

void ant_bpe_encode(const struct ant_bpe *bpe, struct ant_bpe_work *work, const char *piece,
                    size_t bytes, struct ant_ids *out)
{
    for (size_t at = 0, end; at < bytes; at = end) {
        end = bpe->cuts ? ant_cuts_next(bpe->cuts, piece, bytes, at) : bytes;
        encode_cached(bpe, work, piece + at, end - at, out);
    }
}
