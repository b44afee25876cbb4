/* SPDX-License-Identifier: Apache-2.0 */
/* A tokenizer as data, whatever file it came from: the tokens, how they merge, and the steps
 * before and after. The loaders (tokenizer_json.c, tokenizer_gguf.c) fill it, the tokenizer is
 * built from it. Thread: one while it is filled, any afterwards.
 *
 * Errors of this module name neither file nor key; the loader puts that before them. */
#ifndef ANT_TEXT_VOCAB_H
#define ANT_TEXT_VOCAB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/checksum.h"
#include "base/error.h"
#include "base/mem.h"
#include "text/decode.h"
#include "text/normal.h"
#include "text/split.h"

enum {
    ANT_VOCAB_MAX = 1 << 22,      /* ids; the largest known vocabularies have 2^18 */
    ANT_TOKEN_MAX_BYTES = 1 << 16 /* of one token's text */
};

/* Tokens "a" and "b" side by side become "ab"; earlier in the list goes first. */
struct ant_merge {
    int32_t left, right, result;
};

/* A token that is cut out of a text before anything else happens to it. */
struct ant_added {
    int32_t id;
    char *text; /* owned */
    size_t bytes;
    bool special;        /* left out of decoded text on request */
    bool normalized;     /* searched for in the normalised text */
    bool lstrip, rstrip; /* takes the white space beside it along */
    bool single_word;    /* not within a word */
};

enum ant_vocab_model {
    ANT_VOCAB_MERGES,  /* pairs merge by their rank in a list */
    ANT_VOCAB_SCORES,  /* any two tokens whose texts make a third one merge, best score first */
    ANT_VOCAB_UNIGRAM, /* the most probable sequence of tokens */
};

struct ant_vocab {
    /* Tokens by id. Ids without a token have the length UINT32_MAX. */
    struct ant_vocab_text {
        size_t offset;
        uint32_t bytes;
    } * tokens; /* owned */
    int size;
    struct ant_buf texts;
    uint64_t *index; /* owned: hash table from texts to ids */
    size_t index_mask, n_indexed;

    enum ant_vocab_model model;
    struct ant_merge *merges; /* owned; MERGES */
    size_t n_merges, cap_merges;
    struct ant_vocab_pending *pending; /* owned: merges not yet looked up */
    size_t n_pending;
    float *scores;   /* owned; SCORES, or UNIGRAM of a file of SentencePiece's: one an id */
    double *weights; /* owned; UNIGRAM: one an id, -INFINITY: never to be found in a text */

    bool byte_level;    /* tokens are spelled in the byte alphabet, pieces are bytes */
    bool byte_fallback; /* a character that is no token becomes tokens "<0x..>" */
    bool ignore_merges; /* a piece that is a token is that token */
    bool fuse_unknown;  /* unknown characters side by side are one unknown token */
    int unknown;        /* id, or -1: unknown characters are dropped */

    struct ant_added *added; /* owned */
    size_t n_added, cap_added;
    int first_added,
        end_added; /* ids that are no tokens of the model: they are cut out or nothing */

    struct ant_normal_step *normal; /* owned */
    size_t n_normal;
    struct ant_split_step *split; /* owned */
    size_t n_split;
    struct ant_decode_step *decode; /* owned */
    size_t n_decode;
    struct ant_ids prefix, suffix; /* what stands around a text when asked for */

    int bos, eos; /* -1: none */
    struct ant_digest digest;
};

void ant_vocab_init(struct ant_vocab *vocab);
void ant_vocab_release(struct ant_vocab *vocab);

/* Make room for ids below `size`. */
void ant_vocab_resize(struct ant_vocab *vocab, int size);

/* Give `id` (below size) its text. ANT_EDATA when it has one, or the text is not UTF-8. */
int ant_vocab_set(struct ant_vocab *vocab, int id, const char *text, size_t bytes,
                  struct ant_error *err);

/* Make the texts findable; ANT_EDATA when two ids have the same. One that is set afterwards is
 * added by itself. */
int ant_vocab_build_index(struct ant_vocab *vocab, struct ant_error *err);
int ant_vocab_add_to_index(struct ant_vocab *vocab, int id, struct ant_error *err);
/* The id of this text, or -1; of the model's own tokens alone. */
int ant_vocab_find(const struct ant_vocab *vocab, const char *text, size_t bytes);
int ant_vocab_find_own(const struct ant_vocab *vocab, const char *text, size_t bytes);

bool ant_vocab_has(const struct ant_vocab *vocab, int id);
const char *ant_vocab_text(const struct ant_vocab *vocab, int id, size_t *bytes);

/* The next merge of the list, by the texts of its two tokens, which must stay where they are until
 * the list is ended. ANT_EDATA, perhaps only at the end, when one of the three tokens does not
 * exist. */
int ant_vocab_merge(struct ant_vocab *vocab, const char *left, size_t left_bytes, const char *right,
                    size_t right_bytes, struct ant_error *err);
int ant_vocab_end_merges(struct ant_vocab *vocab, struct ant_error *err);

/* Takes the text over. */
void ant_vocab_add_added(struct ant_vocab *vocab, const struct ant_added *added);
/* All are there: ids from `first` up to `end` are theirs and no tokens of the model. */
void ant_vocab_end_added(struct ant_vocab *vocab, int first, int end);

/* The loaders. Errors name the file. */
struct ant_gguf;
int ant_vocab_load_json(struct ant_vocab *vocab, const char *path, struct ant_error *err);
/* What tokenizer_config.json beside `path`, if it is there, says of the tokens that begin and end a
 * text; without it they are those that the template has, if any. For a tokenizer.model, which has
 * no template and no added tokens, those come from there too, `adds_bos` where it says nothing;
 * NULL for others. */
int ant_vocab_read_config(struct ant_vocab *vocab, const char *path, const bool *adds_bos,
                          struct ant_error *err);
int ant_vocab_load_model(struct ant_vocab *vocab, const char *path, struct ant_error *err);
int ant_vocab_load_gguf(struct ant_vocab *vocab, const struct ant_gguf *gguf,
                        struct ant_error *err);

#endif
