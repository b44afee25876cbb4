/* SPDX-License-Identifier: Apache-2.0 */
/* SentencePiece's tokenizer.model: a protocol buffer of which these fields count, by number.
 *
 *     1 piece     1 text, 2 score (float), 3 kind
 *     2 trainer   3 model (1 unigram, 2 BPE), 24 spaces behind words, 35 byte fallback, 40 unknown,
 *                 41 BOS, 42 EOS
 *     3 normal    2 map of characters, 3 dummy prefix, 4 strip, 5 spell spaces
 */
#include "config.h"

#include "base/file.h"
#include "text/sentencepiece.h"
#include "text/unicode.h"
#include "text/vocab.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { KIND_NORMAL = 1, KIND_UNKNOWN, KIND_CONTROL, KIND_USER, KIND_UNUSED, KIND_BYTE };
enum { MODEL_UNIGRAM = 1, MODEL_BPE = 2 };

/* A field: a number, or bytes. */
struct field {
    uint64_t number;
    int tag;
    bool is_bytes;
    const unsigned char *data;
    size_t bytes;
    uint64_t value; /* of a varint, or the bits of a fixed one */
};

/* A message that is being read. */
struct message {
    const unsigned char *at, *end;
};

static int fail_malformed(struct ant_error *err)
{
    return ant_fail(err, ANT_EDATA, "no model of SentencePiece, or a malformed one");
}

static int varint(struct message *message, uint64_t *out, struct ant_error *err)
{
    *out = 0;
    for (int shift = 0; shift < 64; shift += 7) {
        if (message->at == message->end)
            break;
        unsigned char byte = *message->at++;
        *out |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80)
            return 0;
    }
    return fail_malformed(err);
}

static int fixed(struct message *message, size_t bytes, uint64_t *out, struct ant_error *err)
{
    if ((size_t)(message->end - message->at) < bytes)
        return fail_malformed(err);
    *out = 0;
    for (size_t i = 0; i < bytes; i++)
        *out |= (uint64_t)message->at[i] << (8 * i);
    message->at += bytes;
    return 0;
}

/* 1: a field. 0: the message ends here. */
static int next_field(struct message *message, struct field *out, struct ant_error *err)
{
    uint64_t key;

    if (message->at == message->end)
        return 0;
    ANT_TRY(varint(message, &key, err));
    *out = (struct field){.tag = key >> 3 < 1000 ? (int)(key >> 3) : 1000};
    switch (key & 7) {
    case 0:
        ANT_TRY(varint(message, &out->value, err));
        return 1;
    case 1:
        ANT_TRY(fixed(message, 8, &out->value, err));
        return 1;
    case 5:
        ANT_TRY(fixed(message, 4, &out->value, err));
        return 1;
    case 2:
        ANT_TRY(varint(message, &out->value, err));
        if (out->value > (uint64_t)(message->end - message->at))
            return fail_malformed(err);
        out->is_bytes = true;
        out->data = message->at;
        out->bytes = (size_t)out->value;
        message->at += out->bytes;
        return 1;
    default:
        return fail_malformed(err);
    }
}

/* What the model says besides its pieces. */
struct model {
    int kind, unknown, bos, eos;
    bool byte_fallback;
    struct ant_sentencepiece spelling;
};

static int read_trainer(struct model *model, const struct field *trainer, struct ant_error *err)
{
    struct message message = {trainer->data, trainer->data + trainer->bytes};
    struct field field;
    int rc;

    while ((rc = next_field(&message, &field, err)) > 0) {
        int value = field.value < INT32_MAX ? (int)field.value : -1; /* negative ones too */
        if (field.tag == 3)
            model->kind = value;
        else if (field.tag == 24 && value != 0)
            return ant_fail(err, ANT_EUNSUPP, "spaces behind words are not supported");
        else if (field.tag == 35)
            model->byte_fallback = value != 0;
        else if (field.tag == 40)
            model->unknown = value;
        else if (field.tag == 41)
            model->bos = value;
        else if (field.tag == 42)
            model->eos = value;
    }
    return rc;
}

static int read_normal(struct model *model, const struct field *normal, struct ant_error *err)
{
    struct message message = {normal->data, normal->data + normal->bytes};
    struct field field;
    int rc;

    while ((rc = next_field(&message, &field, err)) > 0) {
        if (field.tag == 2 && field.is_bytes) {
            model->spelling.map = field.data;
            model->spelling.map_bytes = field.bytes;
        } else if (field.tag == 3) {
            model->spelling.adds_prefix = field.value != 0;
        } else if (field.tag == 4) {
            model->spelling.strips = field.value != 0;
        } else if (field.tag == 5 && field.value == 0) {
            return ant_fail(err, ANT_EUNSUPP, "spaces that are spelled as they are: not supported");
        }
    }
    return rc;
}

static int read_piece(struct ant_vocab *vocab, int id, const struct field *piece,
                      struct ant_error *err)
{
    struct message message = {piece->data, piece->data + piece->bytes};
    struct field field, text = {0};
    uint64_t kind = KIND_NORMAL;
    uint32_t bits = 0;
    int rc;

    while ((rc = next_field(&message, &field, err)) > 0) {
        if (field.tag == 1 && field.is_bytes)
            text = field;
        else if (field.tag == 2)
            bits = (uint32_t)field.value;
        else if (field.tag == 3)
            kind = field.value;
    }
    ANT_TRY(rc);
    ANT_TRY(ant_vocab_set(vocab, id, (const char *)text.data, text.bytes, err));
    memcpy(&vocab->scores[id], &bits, sizeof(bits));
    if (isnan(vocab->scores[id]))
        return ant_fail(err, ANT_EDATA, "the score of token %d is not a number", id);
    if (text.bytes > 0 && (kind == KIND_UNKNOWN || kind == KIND_CONTROL || kind == KIND_USER)) {
        struct ant_added added = {.id = id, .bytes = text.bytes, .special = kind != KIND_USER};
        added.text = ant_xmalloc(text.bytes);
        memcpy(added.text, text.data, text.bytes);
        ant_vocab_add_added(vocab, &added);
    }
    /* Ordinary text never becomes these: as if they were most improbable. */
    if (kind == KIND_BYTE || kind == KIND_UNUSED)
        vocab->scores[id] = -INFINITY;
    return 0;
}

static int read_all(struct ant_vocab *vocab, struct model *model, const struct ant_file *file,
                    struct ant_error *err)
{
    struct message whole = {file->data, file->data + file->bytes}, message = whole;
    struct field field;
    int rc, n = 0;

    while ((rc = next_field(&message, &field, err)) > 0)
        n += field.tag == 1 && field.is_bytes && n <= ANT_VOCAB_MAX;
    ANT_TRY(rc);
    if (n == 0 || n > ANT_VOCAB_MAX)
        return fail_malformed(err);
    ant_vocab_resize(vocab, n);
    vocab->scores = ant_xcalloc((size_t)n, sizeof(*vocab->scores));
    n = 0;
    for (message = whole; next_field(&message, &field, err) > 0;) {
        if (!field.is_bytes)
            continue;
        if (field.tag == 1)
            ANT_TRY(read_piece(vocab, n++, &field, err));
        else if (field.tag == 2)
            ANT_TRY(read_trainer(model, &field, err));
        else if (field.tag == 3)
            ANT_TRY(read_normal(model, &field, err));
    }
    return ant_vocab_build_index(vocab, err);
}

static int id_within(const struct ant_vocab *vocab, int id)
{
    return id >= 0 && id < vocab->size ? id : -1;
}

static int load(struct ant_vocab *vocab, const struct ant_file *file, const char *path,
                struct ant_error *err)
{
    struct model model = {.kind = MODEL_UNIGRAM,
                          .unknown = 0,
                          .bos = 1,
                          .eos = 2,
                          .spelling = {.adds_prefix = true, .strips = true}};

    ANT_TRY(read_all(vocab, &model, file, err));
    if (model.kind != MODEL_UNIGRAM && model.kind != MODEL_BPE)
        return ant_fail(err, ANT_EUNSUPP, "neither a unigram nor a BPE model");
    vocab->unknown = id_within(vocab, model.unknown);
    vocab->bos = id_within(vocab, model.bos);
    vocab->eos = id_within(vocab, model.eos);
    vocab->byte_fallback = model.byte_fallback;
    vocab->fuse_unknown = true;
    ANT_TRY(ant_sentencepiece_spell(vocab, &model.spelling, err));
    if (model.kind == MODEL_UNIGRAM)
        ant_sentencepiece_weigh(vocab);
    else
        vocab->model = ANT_VOCAB_SCORES;
    return ant_vocab_read_config(vocab, path, &(bool){model.kind == MODEL_BPE}, err);
}

int ant_vocab_load_model(struct ant_vocab *vocab, const char *path, struct ant_error *err)
{
    struct ant_file file;

    ANT_TRY(ant_file_map(&file, path, err));
    vocab->digest = ant_digest(file.data, file.bytes);
    int rc = load(vocab, &file, path, err);
    ant_file_unmap(&file);
    return rc < 0 ? ant_fail_in(err, rc, "'%s'", path) : 0;
}
