/* SPDX-License-Identifier: Apache-2.0 */
/* The tokenizer in the metadata of a GGUF file: "gpt2" (byte-level, merges), "llama"
 * (SentencePiece's, scores), "gemma4" (SentencePiece's spelling, merges) and "t5" (unigram). */
#include "config.h"

#include "model/gguf.h"
#include "text/pre.h"
#include "text/sentencepiece.h"
#include "text/unicode.h"
#include "text/vocab.h"

#include <math.h>
#include <string.h>

#define KEY(name) "tokenizer.ggml." name

/* Element types of KEY("token_type"). */
enum { TYPE_NORMAL = 1, TYPE_UNKNOWN = 2, TYPE_CONTROL = 3, TYPE_USER_DEFINED = 4 };

/* What the file need not say. */
struct defaults {
    int bos, eos, unknown;
    bool add_bos, add_eos, add_space_prefix;
};

/* As ant_gguf_get_array, but what is missing is an error, and so is another count than `count`. */
static int get_array(const struct ant_gguf *gguf, const char *key, enum ant_gguf_kind kind,
                     size_t count, struct ant_gguf_array *out, struct ant_error *err)
{
    int found = ant_gguf_get_array(gguf, key, kind, out, err);

    if (found < 0)
        return found;
    if (found == 0)
        return ant_fail(err, ANT_EDATA, "'%s': no %s", ant_gguf_path(gguf), key);
    if (out->count != count && count != SIZE_MAX)
        return ant_fail(err, ANT_EDATA, "'%s': %s has %zu elements for %zu tokens",
                        ant_gguf_path(gguf), key, out->count, count);
    return 0;
}

static int read_tokens(struct ant_vocab *vocab, const struct ant_gguf *gguf, struct ant_error *err)
{
    struct ant_gguf_array array;
    const char *text;
    size_t bytes;
    int id = 0, result = 0;

    ANT_TRY(get_array(gguf, KEY("tokens"), ANT_GGUF_STRINGS, SIZE_MAX, &array, err));
    if (array.count == 0 || array.count > ANT_VOCAB_MAX)
        return ant_fail(err, ANT_EDATA, "'%s': %zu tokens", ant_gguf_path(gguf), array.count);
    ant_vocab_resize(vocab, (int)array.count);
    while (result == 0 && ant_gguf_next_string(&array, &text, &bytes))
        result = ant_vocab_set(vocab, id++, text, bytes, err);
    if (result == 0)
        result = ant_vocab_build_index(vocab, err);
    return result < 0 ? ant_fail_in(err, result, "'%s'", ant_gguf_path(gguf)) : 0;
}

/* Control tokens and those that users have defined are cut out of texts. */
static int read_types(struct ant_vocab *vocab, const struct ant_gguf *gguf, struct ant_error *err)
{
    struct ant_gguf_array array;
    int64_t type;
    int id;

    if (!ant_gguf_has(gguf, KEY("token_type")))
        return 0;
    ANT_TRY(get_array(gguf, KEY("token_type"), ANT_GGUF_INTS, (size_t)vocab->size, &array, err));
    for (id = 0; ant_gguf_next_int(&array, &type); id++) {
        struct ant_added token = {.id = id, .special = type != TYPE_USER_DEFINED};
        const char *text = ant_vocab_text(vocab, id, &token.bytes);

        if (token.bytes == 0 ||
            (type != TYPE_CONTROL && type != TYPE_USER_DEFINED && type != TYPE_UNKNOWN))
            continue;
        token.text = ant_xmalloc(token.bytes);
        memcpy(token.text, text, token.bytes);
        ant_vocab_add_added(vocab, &token);
    }
    return 0;
}

static int read_scores(struct ant_vocab *vocab, const struct ant_gguf *gguf, struct ant_error *err)
{
    struct ant_gguf_array array;
    int id;

    vocab->model = ANT_VOCAB_SCORES;
    ANT_TRY(get_array(gguf, KEY("scores"), ANT_GGUF_FLOATS, (size_t)vocab->size, &array, err));
    vocab->scores = ant_xcalloc((size_t)vocab->size, sizeof *vocab->scores);
    for (id = 0; ant_gguf_next_float(&array, &vocab->scores[id]); id++) {
        if (isnan(vocab->scores[id]))
            return ant_fail(err, ANT_EDATA, "'%s': the score of token %d is not a number",
                            ant_gguf_path(gguf), id);
        if (id + 1 == vocab->size)
            break;
    }
    return 0;
}

static int read_merges(struct ant_vocab *vocab, const struct ant_gguf *gguf, struct ant_error *err)
{
    struct ant_gguf_array array;
    const char *text;
    size_t bytes;
    int result;

    ANT_TRY(get_array(gguf, KEY("merges"), ANT_GGUF_STRINGS, SIZE_MAX, &array, err));
    while (ant_gguf_next_string(&array, &text, &bytes)) {
        const char *gap = bytes > 1 ? memchr(text + 1, ' ', bytes - 1) : NULL;
        size_t left = gap ? (size_t)(gap - text) : 0;

        result = gap ? ant_vocab_merge(vocab, text, left, gap + 1, bytes - left - 1, err)
                     : ant_fail(err, ANT_EDATA, "merge %zu is not two tokens",
                                vocab->n_merges + vocab->n_pending);

        if (result < 0)
            return ant_fail_in(err, result, "'%s'", ant_gguf_path(gguf));
    }
    result = ant_vocab_end_merges(vocab, err);
    return result < 0 ? ant_fail_in(err, result, "'%s'", ant_gguf_path(gguf)) : 0;
}

static int read_id(const struct ant_vocab *vocab, const struct ant_gguf *gguf, const char *key,
                   int otherwise, int *out, struct ant_error *err)
{
    int64_t id = otherwise;

    ANT_TRY(ant_gguf_get_int(gguf, key, 0, vocab->size - 1, &id, err));
    *out = id < vocab->size ? (int)id : -1;
    return 0;
}

static int read_specials(struct ant_vocab *vocab, const struct ant_gguf *gguf,
                         const struct defaults *defaults, struct ant_error *err)
{
    bool add_bos = defaults->add_bos, add_eos = defaults->add_eos;

    ANT_TRY(read_id(vocab, gguf, KEY("bos_token_id"), defaults->bos, &vocab->bos, err));
    ANT_TRY(read_id(vocab, gguf, KEY("eos_token_id"), defaults->eos, &vocab->eos, err));
    ANT_TRY(read_id(vocab, gguf, KEY("unknown_token_id"), defaults->unknown, &vocab->unknown, err));
    ANT_TRY(ant_gguf_get_bool(gguf, KEY("add_bos_token"), &add_bos, err));
    ANT_TRY(ant_gguf_get_bool(gguf, KEY("add_eos_token"), &add_eos, err));
    if (add_bos && vocab->bos >= 0)
        ant_ids_add(&vocab->prefix, vocab->bos);
    if (add_eos && vocab->eos >= 0)
        ant_ids_add(&vocab->suffix, vocab->eos);
    return 0;
}

static int read_sentencepiece(struct ant_vocab *vocab, const struct ant_gguf *gguf, bool merges,
                              struct ant_error *err)
{
    const struct defaults defaults = {
        .bos = merges ? -1 : 1,
        .eos = merges ? -1 : 2,
        .unknown = merges ? -1 : 0,
        .add_bos = !merges,
        .add_space_prefix = !merges,
    };
    struct ant_sentencepiece spelling = {.adds_prefix = defaults.add_space_prefix};

    ANT_TRY(ant_gguf_get_bool(gguf, KEY("add_space_prefix"), &spelling.adds_prefix, err));
    ANT_TRY(ant_sentencepiece_spell(vocab, &spelling, err));
    vocab->byte_fallback = true;
    vocab->fuse_unknown = true;
    ANT_TRY(merges ? read_merges(vocab, gguf, err) : read_scores(vocab, gguf, err));
    return read_specials(vocab, gguf, &defaults, err);
}

/* T5's: the most probable tokens, of text that a map of characters has rewritten. */
static int read_unigram(struct ant_vocab *vocab, const struct ant_gguf *gguf, struct ant_error *err)
{
    const struct defaults defaults = {.bos = -1, .eos = 1, .unknown = 2, .add_eos = true};
    struct ant_sentencepiece spelling = {.adds_prefix = true};
    struct ant_gguf_array array;
    struct ant_buf map = {0};
    int64_t byte;
    int rc;

    ANT_TRY(ant_gguf_get_bool(gguf, KEY("add_space_prefix"), &spelling.adds_prefix, err));
    ANT_TRY(ant_gguf_get_bool(gguf, KEY("remove_extra_whitespaces"), &spelling.strips, err));
    ANT_TRY(rc = ant_gguf_get_array(gguf, KEY("precompiled_charsmap"), ANT_GGUF_INTS, &array, err));
    while (rc > 0 && ant_gguf_next_int(&array, &byte))
        ant_buf_add(&map, &(char){(char)byte}, 1);
    spelling.map = map.data;
    spelling.map_bytes = map.len;
    rc = ant_sentencepiece_spell(vocab, &spelling, err);
    ant_buf_release(&map);
    if (rc < 0)
        return ant_fail_in(err, rc, "'%s'", ant_gguf_path(gguf));
    vocab->fuse_unknown = true;
    ANT_TRY(read_scores(vocab, gguf, err));
    ant_sentencepiece_weigh(vocab);
    return read_specials(vocab, gguf, &defaults, err);
}

static int read_byte_level(struct ant_vocab *vocab, const struct ant_gguf *gguf,
                           struct ant_error *err)
{
    struct defaults defaults = {.bos = -1, .eos = -1, .unknown = -1};
    const char *pre = "default";
    size_t bytes = strlen(pre);
    int result;

    ANT_TRY(ant_gguf_get_string(gguf, KEY("pre"), &pre, &bytes, err));
    result = ant_pre_apply(vocab, pre, bytes, &defaults.add_bos, err);
    if (result < 0)
        return ant_fail_in(err, result, "'%s': %s", ant_gguf_path(gguf), KEY("pre"));
    vocab->decode = ant_xcalloc(1, sizeof *vocab->decode);
    vocab->decode[vocab->n_decode++].kind = ANT_DECODE_BYTE_LEVEL;
    ANT_TRY(read_merges(vocab, gguf, err));
    ANT_TRY(read_specials(vocab, gguf, &defaults, err));
    vocab->unknown = -1; /* there is no byte that is unknown */
    return 0;
}

static void digest(struct ant_vocab *vocab, const char *model, size_t model_bytes, const char *pre,
                   size_t pre_bytes)
{
    struct ant_buf all = {0};
    size_t i;

    ant_buf_printf(&all, "%.*s %.*s %zu %zu %d %d\n", (int)model_bytes, model, (int)pre_bytes, pre,
                   vocab->prefix.len, vocab->suffix.len, vocab->bos, vocab->eos);
    ant_buf_add(&all, vocab->texts.data, vocab->texts.len);
    for (i = 0; i < (size_t)vocab->size; i++)
        ant_buf_add(&all, &vocab->tokens[i].bytes, sizeof vocab->tokens[i].bytes);
    ant_buf_add(&all, vocab->merges, vocab->n_merges * sizeof *vocab->merges);
    if (vocab->scores)
        ant_buf_add(&all, vocab->scores, (size_t)vocab->size * sizeof *vocab->scores);
    for (i = 0; i < vocab->n_added; i++)
        ant_buf_add(&all, &vocab->added[i].id, sizeof vocab->added[i].id);
    vocab->digest = ant_digest(all.data, all.len);
    ant_buf_release(&all);
}

int ant_vocab_load_gguf(struct ant_vocab *vocab, const struct ant_gguf *gguf, struct ant_error *err)
{
    const char *model = "", *pre = "";
    char quoted[ANT_QUOTED];
    size_t bytes = 0, pre_bytes = 0;

    ANT_TRY(ant_gguf_get_string(gguf, KEY("model"), &model, &bytes, err));
    if (bytes == 0)
        return ant_fail(err, ANT_EDATA, "'%s': no %s", ant_gguf_path(gguf), KEY("model"));
    ANT_TRY(ant_gguf_get_string(gguf, KEY("pre"), &pre, &pre_bytes, err));
    ANT_TRY(read_tokens(vocab, gguf, err));
    ANT_TRY(read_types(vocab, gguf, err));
    if (bytes == 4 && memcmp(model, "gpt2", 4) == 0)
        ANT_TRY(read_byte_level(vocab, gguf, err));
    else if (bytes == 5 && memcmp(model, "llama", 5) == 0)
        ANT_TRY(read_sentencepiece(vocab, gguf, false, err));
    else if (bytes == 6 && memcmp(model, "gemma4", 6) == 0)
        ANT_TRY(read_sentencepiece(vocab, gguf, true, err));
    else if (bytes == 2 && memcmp(model, "t5", 2) == 0)
        ANT_TRY(read_unigram(vocab, gguf, err));
    else
        return ant_fail(err, ANT_EUNSUPP, "'%s': %s '%s' is not supported", ant_gguf_path(gguf),
                        KEY("model"), ant_quote(quoted, model, bytes));
    digest(vocab, model, bytes, pre, pre_bytes);
    return 0;
}
