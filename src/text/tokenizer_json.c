/* SPDX-License-Identifier: Apache-2.0 */
/* tokenizer.json of Hugging Face tokenizers. */
#include "config.h"

#include "base/file.h"
#include "text/pipeline_json.h"
#include "text/unicode.h"
#include "text/vocab.h"

#include <jansson.h>

#include <stdlib.h>
#include <string.h>

enum { FILE_MAX = 1 << 28 }; /* bytes; the largest known are 35 MB */

/* The id in the file, or an error. */
static int token_id(const json_t *value, const char *text, struct ant_error *err)
{
    json_int_t number = json_is_integer(value) ? json_integer_value(value) : -1;
    char quoted[ANT_QUOTED];

    if (number < 0 || number >= ANT_VOCAB_MAX)
        return ant_fail(err, ANT_EDATA, "token '%s' has no id below %d",
                        ant_quote(quoted, text, strlen(text)), ANT_VOCAB_MAX);
    return (int)number;
}

/* jansson keeps no length of keys; a NUL within one it refuses. */
static int read_tokens(struct ant_vocab *vocab, const json_t *model, struct ant_error *err)
{
    const json_t *tokens = json_object_get(model, "vocab"), *value;
    const char *text;
    int id, size = 0;

    if (!json_is_object(tokens) || json_object_size(tokens) == 0)
        return ant_fail(err, ANT_EDATA, "it has no vocab");
    json_object_foreach((json_t *)tokens, text, value)
    {
        ANT_TRY(id = token_id(value, text, err));
        if (id >= size)
            size = id + 1;
    }
    ant_vocab_resize(vocab, size);
    json_object_foreach((json_t *)tokens, text, value)
        ANT_TRY(ant_vocab_set(vocab, (int)json_integer_value(value), text, strlen(text), err));
    return ant_vocab_build_index(vocab, err);
}

/* "a b", or since version 0.20 ["a", "b"]. */
static int read_merge(struct ant_vocab *vocab, const json_t *merge, struct ant_error *err)
{
    const json_t *left = json_array_get(merge, 0), *right = json_array_get(merge, 1);
    const char *text, *gap;
    size_t bytes, left_bytes;

    if (json_array_size(merge) == 2 && json_is_string(left) && json_is_string(right))
        return ant_vocab_merge(vocab, json_string_value(left), json_string_length(left),
                               json_string_value(right), json_string_length(right), err);
    text = json_string_value(merge);
    bytes = json_string_length(merge);
    if (text && strncmp(text, "#version", 8) == 0)
        return 0;
    gap = text ? memchr(text, ' ', bytes) : NULL;
    left_bytes = gap ? (size_t)(gap - text) : 0;
    if (!gap || memchr(gap + 1, ' ', bytes - left_bytes - 1))
        return ant_fail(err, ANT_EDATA, "merge %zu is not two tokens",
                        vocab->n_merges + vocab->n_pending);
    return ant_vocab_merge(vocab, text, left_bytes, gap + 1, bytes - left_bytes - 1, err);
}

static int read_merges(struct ant_vocab *vocab, const json_t *model, struct ant_error *err)
{
    const json_t *merges = json_object_get(model, "merges"), *merge;
    size_t i;

    if (!json_is_array(merges))
        return ant_fail(err, ANT_EDATA, "it has no merges");
    json_array_foreach(merges, i, merge) ANT_TRY(read_merge(vocab, merge, err));
    return ant_vocab_end_merges(vocab, err);
}

/* The options that this encoder has no use for must say that they are off. */
static int refuse_options(const json_t *model, struct ant_error *err)
{
    static const char *const affixes[] = {"continuing_subword_prefix", "end_of_word_suffix"};
    const json_t *dropout = json_object_get(model, "dropout");
    const char *type = json_string_value(json_object_get(model, "type"));
    char quoted[ANT_QUOTED];
    size_t i;

    if (type && strcmp(type, "BPE") != 0 && strcmp(type, "Unigram") != 0)
        return ant_fail(err, ANT_EUNSUPP, "type '%s' is not supported",
                        ant_quote(quoted, type, strlen(type)));
    if (dropout && !json_is_null(dropout) && json_number_value(dropout) != 0)
        return ant_fail(err, ANT_EUNSUPP, "dropout is not supported");
    for (i = 0; i < sizeof affixes / sizeof *affixes; i++) {
        const json_t *affix = json_object_get(model, affixes[i]);

        if (affix && !json_is_null(affix) && json_string_length(affix) != 0)
            return ant_fail(err, ANT_EUNSUPP, "%s is not supported", affixes[i]);
    }
    return 0;
}

/* [["text", weight], ...] by id. */
static int read_unigram(struct ant_vocab *vocab, const json_t *model, struct ant_error *err)
{
    const json_t *tokens = json_object_get(model, "vocab"), *token;
    const json_t *unknown = json_object_get(model, "unk_id");
    size_t n = json_array_size(tokens), i;

    if (n == 0 || n > ANT_VOCAB_MAX)
        return ant_fail(err, ANT_EDATA, "its vocab is no list of 1 to %d tokens", ANT_VOCAB_MAX);
    vocab->model = ANT_VOCAB_UNIGRAM;
    vocab->fuse_unknown = true;
    vocab->weights = ant_xcalloc(n, sizeof *vocab->weights);
    ant_vocab_resize(vocab, (int)n);
    json_array_foreach(tokens, i, token)
    {
        const json_t *text = json_array_get(token, 0), *weight = json_array_get(token, 1);

        if (!json_is_string(text) || !json_is_number(weight))
            return ant_fail(err, ANT_EDATA, "token %zu is no text with a weight", i);
        vocab->weights[i] = json_number_value(weight);
        ANT_TRY(
            ant_vocab_set(vocab, (int)i, json_string_value(text), json_string_length(text), err));
    }
    ANT_TRY(ant_vocab_build_index(vocab, err));
    if (!json_is_integer(unknown) || json_integer_value(unknown) < 0 ||
        json_integer_value(unknown) >= (json_int_t)n)
        return ant_fail(err, ANT_EUNSUPP, "a unigram model without unk_id");
    vocab->unknown = (int)json_integer_value(unknown);
    return 0;
}

static int read_model(struct ant_vocab *vocab, const json_t *model, struct ant_error *err)
{
    const json_t *unknown = json_object_get(model, "unk_token");
    const char *type = json_string_value(json_object_get(model, "type"));

    if (!json_is_object(model))
        return ant_fail(err, ANT_EDATA, "it is not there");
    ANT_TRY(refuse_options(model, err));
    if (type && strcmp(type, "Unigram") == 0) {
        ANT_TRY(ant_json_flag(model, "byte_fallback", false, &vocab->byte_fallback, err));
        return read_unigram(vocab, model, err);
    }
    ANT_TRY(ant_json_flag(model, "fuse_unk", false, &vocab->fuse_unknown, err));
    ANT_TRY(ant_json_flag(model, "byte_fallback", false, &vocab->byte_fallback, err));
    ANT_TRY(ant_json_flag(model, "ignore_merges", false, &vocab->ignore_merges, err));
    ANT_TRY(read_tokens(vocab, model, err));
    ANT_TRY(read_merges(vocab, model, err));
    if (!unknown || json_is_null(unknown))
        return 0;
    vocab->unknown =
        ant_vocab_find(vocab, json_is_string(unknown) ? json_string_value(unknown) : "",
                       json_string_length(unknown));
    if (vocab->unknown < 0)
        return ant_fail(err, ANT_EDATA, "unk_token is no token");
    return 0;
}

static int read_added_token(struct ant_vocab *vocab, const json_t *object, int *next_id,
                            struct ant_error *err)
{
    const json_t *content = json_object_get(object, "content");
    struct ant_added token = {0};
    size_t bytes = json_string_length(content);
    const char *text = json_string_value(content);
    char quoted[ANT_QUOTED];
    int id;

    if (!text)
        return ant_fail(err, ANT_EDATA, "an added token has no content");
    if (bytes == 0)
        return 0;
    ANT_TRY(id = token_id(json_object_get(object, "id"), text, err));
    ANT_TRY(ant_json_flag(object, "special", false, &token.special, err));
    ANT_TRY(ant_json_flag(object, "normalized", !token.special, &token.normalized, err));
    ANT_TRY(ant_json_flag(object, "lstrip", false, &token.lstrip, err));
    ANT_TRY(ant_json_flag(object, "rstrip", false, &token.rstrip, err));
    ANT_TRY(ant_json_flag(object, "single_word", false, &token.single_word, err));
    token.id = ant_vocab_find(vocab, text, bytes);
    if (token.id < 0) { /* new ones are numbered on, whatever the file says */
        token.id = (*next_id)++;
        if (id == token.id) {
            ant_vocab_resize(vocab, id + 1);
            ANT_TRY(ant_vocab_set(vocab, id, text, bytes, err));
            ANT_TRY(ant_vocab_add_to_index(vocab, id, err));
        }
    }
    if (id != token.id)
        return ant_fail(err, ANT_EDATA, "added token '%s' says id %d but takes id %d",
                        ant_quote(quoted, text, bytes), id, token.id);
    token.text = ant_xmalloc(bytes);
    memcpy(token.text, text, bytes);
    token.bytes = bytes;
    ant_vocab_add_added(vocab, &token);
    return 0;
}

static int read_added(struct ant_vocab *vocab, const json_t *list, int first, struct ant_error *err)
{
    const json_t *object;
    int next_id = first;
    bool *seen;
    size_t i;
    int result = 0;

    if (list && !json_is_null(list) && !json_is_array(list))
        return ant_fail(err, ANT_EDATA, "added_tokens is no list");
    json_array_foreach(list, i, object) ANT_TRY(read_added_token(vocab, object, &next_id, err));
    ant_vocab_end_added(vocab, first, next_id);
    seen = ant_xcalloc((size_t)vocab->size, sizeof *seen);
    for (i = 0; i < vocab->n_added && result == 0; i++) {
        if (seen[vocab->added[i].id])
            result = ant_fail(err, ANT_EDATA, "added token %d is there twice", vocab->added[i].id);
        seen[vocab->added[i].id] = true;
    }
    free(seen);
    return result;
}

static int read_all(struct ant_vocab *vocab, const json_t *root, struct ant_error *err)
{
    const json_t *model = json_object_get(root, "model");
    int result, next_id = (int)json_object_size(json_object_get(model, "vocab"));

    result = read_model(vocab, model, err);
    if (result < 0)
        return ant_fail_in(err, result, "model");
    ANT_TRY(ant_pipeline_normalizer(vocab, json_object_get(root, "normalizer"), err));
    ANT_TRY(ant_pipeline_pre_tokenizer(vocab, json_object_get(root, "pre_tokenizer"), err));
    ANT_TRY(ant_pipeline_decoder(vocab, json_object_get(root, "decoder"), err));
    if (vocab->model == ANT_VOCAB_UNIGRAM)
        next_id = vocab->size;
    ANT_TRY(read_added(vocab, json_object_get(root, "added_tokens"), next_id, err));
    return ant_pipeline_post_processor(vocab, json_object_get(root, "post_processor"), err);
}

int ant_vocab_load_json(struct ant_vocab *vocab, const char *path, struct ant_error *err)
{
    struct ant_file file;
    json_error_t reason;
    char quoted[ANT_QUOTED];
    json_t *root;
    int result;

    ANT_TRY(ant_file_map(&file, path, err));
    if (file.bytes > FILE_MAX) {
        result = ant_fail(err, ANT_EUNSUPP, "'%s': %zu bytes", path, file.bytes);
        ant_file_unmap(&file);
        return result;
    }
    vocab->digest = ant_digest(file.data, file.bytes);
    root = json_loadb((const char *)file.data, file.bytes, JSON_ALLOW_NUL | JSON_REJECT_DUPLICATES,
                      &reason);
    ant_file_unmap(&file);
    if (!root)
        return ant_fail(err, ANT_EDATA, "'%s': line %d: %s", path, reason.line,
                        ant_quote(quoted, reason.text, strlen(reason.text)));
    result = read_all(vocab, root, err);
    json_decref(root);
    if (result < 0)
        return ant_fail_in(err, result, "'%s'", path);
    return ant_vocab_read_config(vocab, path, NULL, err);
}
