/* SPDX-License-Identifier: Apache-2.0 */
/* The way of a text: added tokens are cut out, what lies between them is normalised, added tokens
 * that are searched for in normalised text are cut out, the rest is split into pieces, and each
 * piece is encoded. */
#include "config.h"

#include "text/tokenizer.h"
#include "text/added.h"
#include "model/gguf.h"
#include "text/bpe.h"
#include "text/unicode.h"
#include "text/unigram.h"
#include "text/vocab.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { TEXT_MAX = 1 << 30 }; /* bytes of one text: positions fit an int32 with room to spare */

/* What one thread needs while it encodes or decodes. */
struct work {
    struct work *next;
    const struct ant_tokenizer *tokenizer;
    struct ant_matcher *matcher;
    struct ant_splitter splitter;
    struct ant_bpe_work *bpe; /* NULL for unigram models */
    struct ant_unigram_work unigram;
    struct ant_buf normal[2];
    struct ant_decode_list list;
    bool at_start; /* of the text that is being encoded */
    struct ant_ids *out;
};

struct ant_tokenizer {
    struct ant_vocab vocab;
    struct ant_bpe *bpe; /* one of them */
    struct ant_unigram *unigram;
    struct ant_added_set *added_raw, *added_normal;
    struct ant_added_text *added_texts; /* owned: the searched-for text of each added token */
    struct ant_buf normal_texts;        /* what those of normalised tokens point into */
    bool *special;                      /* owned: of each id */
    size_t *piece_ends;                 /* owned: of each id, in pieces */
    struct ant_buf pieces;

    pthread_mutex_t lock;
    struct work *idle; /* owned: works that nobody uses */
};

static int encode_piece(void *context, const char *piece, size_t bytes, struct ant_error *err);

static struct work *work_open(const struct ant_tokenizer *tokenizer)
{
    struct work *work = ant_xcalloc(1, sizeof *work);

    work->tokenizer = tokenizer;
    work->matcher = ant_matcher_open();
    ant_splitter_init(&work->splitter, tokenizer->vocab.split, tokenizer->vocab.n_split,
                      work->matcher, encode_piece, work);
    if (tokenizer->vocab.model != ANT_VOCAB_UNIGRAM)
        work->bpe = ant_bpe_work_open();
    return work;
}

static void work_close(struct work *work)
{
    ant_splitter_fini(&work->splitter);
    ant_matcher_close(work->matcher);
    ant_bpe_work_close(work->bpe);
    ant_unigram_work_release(&work->unigram);
    ant_buf_release(&work->normal[0]);
    ant_buf_release(&work->normal[1]);
    ant_decode_list_release(&work->list);
    free(work);
}

static struct work *work_take(const struct ant_tokenizer *tokenizer)
{
    struct ant_tokenizer *owner = (struct ant_tokenizer *)tokenizer; /* the pool alone changes */
    struct work *work;

    pthread_mutex_lock(&owner->lock);
    work = owner->idle;
    if (work)
        owner->idle = work->next;
    pthread_mutex_unlock(&owner->lock);
    return work ? work : work_open(tokenizer);
}

static void work_return(struct work *work)
{
    struct ant_tokenizer *owner = (struct ant_tokenizer *)work->tokenizer;

    pthread_mutex_lock(&owner->lock);
    work->next = owner->idle;
    owner->idle = work;
    pthread_mutex_unlock(&owner->lock);
}

/* Both sets of added tokens, those of normalised text with their text normalised. */
static int build_added(struct ant_tokenizer *tokenizer, struct work *work, struct ant_error *err)
{
    const struct ant_vocab *vocab = &tokenizer->vocab;
    struct ant_added_text *texts = ant_xcalloc(vocab->n_added, sizeof *texts);
    size_t n_raw = 0, n_normal = 0, i;

    tokenizer->added_texts = texts;
    for (i = 0; i < vocab->n_added; i++) {
        const struct ant_added *token = &vocab->added[i];

        if (!token->normalized)
            texts[n_raw++] = (struct ant_added_text){token->text, token->bytes, token};
    }
    tokenizer->added_raw = ant_added_open(texts, n_raw);
    for (i = 0; i < vocab->n_added; i++) {
        const struct ant_added *token = &vocab->added[i];
        struct ant_added_text *text = &texts[n_raw + n_normal];

        if (!token->normalized)
            continue;
        *text = (struct ant_added_text){token->text, token->bytes, token};
        ANT_TRY(ant_normalize(vocab->normal, vocab->n_normal, work->matcher, work->normal,
                              &text->text, &text->bytes, err));
        ant_buf_add(&tokenizer->normal_texts, text->text, text->bytes);
        n_normal++;
    }
    /* The buffer has stopped moving: now the texts can point into it. */
    for (i = 0; i < n_normal; i++) {
        size_t before = i ? (size_t)(texts[n_raw + i - 1].text - tokenizer->normal_texts.data) +
                                texts[n_raw + i - 1].bytes
                          : 0;

        texts[n_raw + i].text = tokenizer->normal_texts.data + before;
    }
    tokenizer->added_normal = ant_added_open(texts + n_raw, n_normal);
    return 0;
}

static int build_pieces(struct ant_tokenizer *tokenizer, struct work *work, struct ant_error *err)
{
    const struct ant_vocab *vocab = &tokenizer->vocab;
    int id;

    tokenizer->piece_ends = ant_xcalloc((size_t)vocab->size, sizeof *tokenizer->piece_ends);
    tokenizer->special = ant_xcalloc((size_t)vocab->size, sizeof *tokenizer->special);
    ant_buf_grow(&tokenizer->pieces, vocab->texts.len);
    tokenizer->pieces.len = 0;
    for (id = 0; id < vocab->size; id++) {
        size_t bytes;
        const char *text = ant_vocab_text(vocab, id, &bytes);

        ANT_TRY(ant_decode_piece(vocab->decode, vocab->n_decode, work->matcher, work->normal, text,
                                 bytes, &tokenizer->pieces, err));
        tokenizer->piece_ends[id] = tokenizer->pieces.len;
    }
    for (size_t i = 0; i < vocab->n_added; i++)
        if (vocab->added[i].special)
            tokenizer->special[vocab->added[i].id] = true;
    return 0;
}

/* Takes the vocabulary over, also when it fails. */
static int build(struct ant_tokenizer **out, struct ant_vocab *vocab, const char *path,
                 struct ant_error *err)
{
    struct ant_tokenizer *tokenizer = ant_xcalloc(1, sizeof *tokenizer);
    struct work *work;
    int result;

    tokenizer->vocab = *vocab;
    pthread_mutex_init(&tokenizer->lock, NULL);
    work = work_take(tokenizer);
    if (tokenizer->vocab.model == ANT_VOCAB_UNIGRAM)
        result = ant_unigram_open(&tokenizer->unigram, &tokenizer->vocab, err);
    else
        result = ant_bpe_open(&tokenizer->bpe, &tokenizer->vocab, err);
    if (result == 0)
        result = build_added(tokenizer, work, err);
    if (result == 0)
        result = build_pieces(tokenizer, work, err);
    work_return(work);
    if (result < 0) {
        ant_tokenizer_close(tokenizer);
        return ant_fail_in(err, result, "'%s'", path);
    }
    *out = tokenizer;
    return 0;
}

static int open_file(struct ant_tokenizer **out, const char *path,
                     int (*load)(struct ant_vocab *, const char *, struct ant_error *),
                     struct ant_error *err)
{
    struct ant_vocab vocab;
    int result;

    ant_vocab_init(&vocab);
    result = load(&vocab, path, err);
    if (result < 0) {
        ant_vocab_release(&vocab);
        return result;
    }
    return build(out, &vocab, path, err);
}

int ant_tokenizer_open_json(struct ant_tokenizer **out, const char *path, struct ant_error *err)
{
    return open_file(out, path, ant_vocab_load_json, err);
}

int ant_tokenizer_open_model(struct ant_tokenizer **out, const char *path, struct ant_error *err)
{
    return open_file(out, path, ant_vocab_load_model, err);
}

int ant_tokenizer_open_gguf(struct ant_tokenizer **out, const struct ant_gguf *gguf,
                            struct ant_error *err)
{
    struct ant_vocab vocab;
    int result;

    ant_vocab_init(&vocab);
    result = ant_vocab_load_gguf(&vocab, gguf, err);
    if (result < 0) {
        ant_vocab_release(&vocab);
        return result;
    }
    return build(out, &vocab, ant_gguf_path(gguf), err);
}

void ant_tokenizer_close(struct ant_tokenizer *tokenizer)
{
    if (!tokenizer)
        return;
    while (tokenizer->idle) {
        struct work *work = tokenizer->idle;

        tokenizer->idle = work->next;
        work_close(work);
    }
    pthread_mutex_destroy(&tokenizer->lock);
    ant_added_close(tokenizer->added_raw);
    ant_added_close(tokenizer->added_normal);
    free(tokenizer->added_texts);
    ant_buf_release(&tokenizer->normal_texts);
    free(tokenizer->special);
    free(tokenizer->piece_ends);
    ant_buf_release(&tokenizer->pieces);
    ant_bpe_close(tokenizer->bpe);
    ant_unigram_close(tokenizer->unigram);
    ant_vocab_release(&tokenizer->vocab);
    free(tokenizer);
}

int ant_tokenizer_size(const struct ant_tokenizer *tokenizer)
{
    return tokenizer->vocab.size;
}

struct ant_digest ant_tokenizer_digest(const struct ant_tokenizer *tokenizer)
{
    return tokenizer->vocab.digest;
}

int ant_tokenizer_bos(const struct ant_tokenizer *tokenizer)
{
    return tokenizer->vocab.bos;
}

int ant_tokenizer_eos(const struct ant_tokenizer *tokenizer)
{
    return tokenizer->vocab.eos;
}

int ant_tokenizer_find(const struct ant_tokenizer *tokenizer, const char *text)
{
    return ant_vocab_find(&tokenizer->vocab, text, strlen(text));
}

bool ant_tokenizer_is_special(const struct ant_tokenizer *tokenizer, int id)
{
    return id >= 0 && id < tokenizer->vocab.size && tokenizer->special[id];
}

static int encode_piece(void *context, const char *piece, size_t bytes, struct ant_error *err)
{
    struct work *work = context;

    (void)err;
    if (work->bpe)
        ant_bpe_encode(work->tokenizer->bpe, work->bpe, piece, bytes, work->out);
    else
        ant_unigram_encode(work->tokenizer->unigram, &work->unigram, piece, bytes, work->out);
    return 0;
}

/* Text between added tokens, normalised. */
static int encode_normal(void *context, const struct ant_added *token, const char *text,
                         size_t bytes, struct ant_error *err)
{
    struct work *work = context;
    bool at_start = work->at_start;

    work->at_start = false;
    if (token) {
        ant_ids_add(work->out, token->id);
        return 0;
    }
    return ant_split(&work->splitter, text, bytes, at_start, err);
}

/* Text between added tokens, as it was given. */
static int encode_raw(void *context, const struct ant_added *token, const char *text, size_t bytes,
                      struct ant_error *err)
{
    struct work *work = context;
    const struct ant_vocab *vocab = &work->tokenizer->vocab;
    int result;

    if (token) {
        ant_ids_add(work->out, token->id);
        work->at_start = false;
        return 0;
    }
    ANT_TRY(ant_normalize(vocab->normal, vocab->n_normal, work->matcher, work->normal, &text,
                          &bytes, err));
    if (bytes > TEXT_MAX)
        return ant_fail(err, ANT_EDATA, "text has %zu bytes when normalised", bytes);
    result = ant_added_cut(work->tokenizer->added_normal, text, bytes, encode_normal, work, err);
    work->at_start = false;
    return result;
}

int ant_tokenizer_encode(const struct ant_tokenizer *tokenizer, const char *text, size_t bytes,
                         bool add_special, struct ant_ids *out, struct ant_error *err)
{
    const struct ant_vocab *vocab = &tokenizer->vocab;
    size_t good = ant_utf8_check(text, bytes), before = out->len;
    struct work *work;
    int result;

    if (good != bytes)
        return ant_fail(err, ANT_EDATA, "text is not UTF-8 at byte %zu", good);
    if (bytes > TEXT_MAX)
        return ant_fail(err, ANT_EDATA, "text has %zu bytes", bytes);
    work = work_take(tokenizer);
    work->out = out;
    work->at_start = true;
    if (add_special)
        ant_ids_append(out, vocab->prefix.data, vocab->prefix.len);
    result = ant_added_cut(tokenizer->added_raw, text, bytes, encode_raw, work, err);
    if (add_special)
        ant_ids_append(out, vocab->suffix.data, vocab->suffix.len);
    work_return(work);
    if (result < 0)
        out->len = before;
    return result;
}

const char *ant_tokenizer_piece(const struct ant_tokenizer *tokenizer, int id, size_t *bytes)
{
    size_t start;

    *bytes = 0;
    if (id < 0 || id >= tokenizer->vocab.size)
        return "";
    start = id > 0 ? tokenizer->piece_ends[id - 1] : 0;
    *bytes = tokenizer->piece_ends[id] - start;
    return tokenizer->pieces.data + start;
}

void ant_tokenizer_decode(const struct ant_tokenizer *tokenizer, const int32_t *ids, size_t n,
                          bool skip_special, struct ant_buf *out)
{
    const struct ant_vocab *vocab = &tokenizer->vocab;
    struct work *work = work_take(tokenizer);
    struct ant_buf *plain = &work->normal[0];
    size_t i, before = out->len;
    bool bytes_only = vocab->n_decode == 1 && vocab->decode[0].kind == ANT_DECODE_BYTE_LEVEL;

    plain->len = 0;
    work->list.n = 0;
    work->list.texts.len = 0;
    for (i = 0; i < n; i++) {
        size_t bytes;
        const char *text;

        if (!ant_vocab_has(vocab, ids[i]) || (skip_special && tokenizer->special[ids[i]]))
            continue;
        text = ant_tokenizer_piece(tokenizer, ids[i], &bytes);
        ant_buf_add(plain, text, bytes);
        if (bytes_only)
            continue;
        text = ant_vocab_text(vocab, ids[i], &bytes);
        ant_decode_add(&work->list, text, bytes);
    }
    /* Where a pattern gives up on the text, the plain pieces are the best there is. */
    if (bytes_only ||
        ant_decode(vocab->decode, vocab->n_decode, work->matcher, &work->list, out, NULL) < 0) {
        out->len = before;
        ant_utf8_lossy(out, plain->data, plain->len);
    }
    work_return(work);
}
