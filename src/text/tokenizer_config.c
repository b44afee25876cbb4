/* SPDX-License-Identifier: Apache-2.0 */
/* tokenizer_config.json, which lies beside a tokenizer. */
#include "config.h"

#include "text/vocab.h"

#include <jansson.h>

#include <stdlib.h>
#include <string.h>

enum { MOST_ADDED = 1 << 16 }; /* ids beyond the model's own */

/* "<s>", or {"content": "<s>", ...}. */
static int named_token(const struct ant_vocab *vocab, const json_t *config, const char *key)
{
    const json_t *value = json_object_get(config, key);

    if (json_is_object(value))
        value = json_object_get(value, "content");
    return json_is_string(value)
               ? ant_vocab_find(vocab, json_string_value(value), json_string_length(value))
               : -1;
}

static bool is_cut_out(const struct ant_vocab *vocab, int id)
{
    for (size_t i = 0; i < vocab->n_added; i++)
        if (vocab->added[i].id == id)
            return true;
    return false;
}

/* One of added_tokens_decoder: an id beyond the model's own, or a new way of taking a token. */
static int add_token(struct ant_vocab *vocab, const char *name, const json_t *token, int n_own,
                     struct ant_error *err)
{
    const json_t *content = json_object_get(token, "content");
    struct ant_added added = {.special = json_is_true(json_object_get(token, "special")),
                              .lstrip = json_is_true(json_object_get(token, "lstrip")),
                              .rstrip = json_is_true(json_object_get(token, "rstrip")),
                              .single_word = json_is_true(json_object_get(token, "single_word"))};
    char *end;
    long id = strtol(name, &end, 10);

    if (!json_is_string(content) || end == name || *end || id < 0 || id >= n_own + MOST_ADDED)
        return ant_fail(err, ANT_EDATA, "tokenizer_config.json: added token '%.20s' is malformed",
                        name);
    added.id = (int32_t)id;
    added.bytes = json_string_length(content);
    if (added.bytes == 0 || is_cut_out(vocab, added.id))
        return 0;
    if (id >= vocab->size)
        ant_vocab_resize(vocab, (int)id + 1);
    if (!ant_vocab_has(vocab, added.id)) {
        ANT_TRY(ant_vocab_set(vocab, added.id, json_string_value(content), added.bytes, err));
        ANT_TRY(ant_vocab_add_to_index(vocab, added.id, err));
    }
    added.text = ant_xmalloc(added.bytes);
    memcpy(added.text, json_string_value(content), added.bytes);
    ant_vocab_add_added(vocab, &added);
    return 0;
}

static int complete_model(struct ant_vocab *vocab, const json_t *config, bool adds_bos,
                          struct ant_error *err)
{
    const json_t *add_bos = json_object_get(config, "add_bos_token");
    int n_own = vocab->size, rc = 0;
    const char *name;
    json_t *token;

    json_object_foreach(json_object_get(config, "added_tokens_decoder"), name, token)
    {
        rc = add_token(vocab, name, token, n_own, err);
        if (rc < 0)
            break;
    }
    ant_vocab_end_added(vocab, n_own, vocab->size);
    ANT_TRY(rc);
    if (json_is_boolean(add_bos))
        adds_bos = json_is_true(add_bos);
    if (adds_bos && vocab->bos >= 0)
        ant_ids_add(&vocab->prefix, vocab->bos);
    if (json_is_true(json_object_get(config, "add_eos_token")) && vocab->eos >= 0)
        ant_ids_add(&vocab->suffix, vocab->eos);
    return 0;
}

int ant_vocab_read_config(struct ant_vocab *vocab, const char *path, const bool *adds_bos,
                          struct ant_error *err)
{
    const char *slash = strrchr(path, '/');
    char *beside =
        ant_xasprintf("%.*stokenizer_config.json", slash ? (int)(slash - path + 1) : 0, path);
    json_error_t reason;
    /* a model_max_length of 10^30 is usual */
    json_t *config = json_load_file(beside, JSON_DECODE_INT_AS_REAL, &reason);
    int rc = 0;

    if (!config && json_error_code(&reason) != json_error_cannot_open_file)
        rc = ant_fail(err, ANT_EDATA, "'%s': line %d is no JSON", beside, reason.line);
    else if (adds_bos)
        rc = complete_model(vocab, config, *adds_bos, err);
    free(beside);
    if (vocab->prefix.len > 0)
        vocab->bos = vocab->prefix.data[0];
    if (vocab->suffix.len > 0)
        vocab->eos = vocab->suffix.data[vocab->suffix.len - 1];
    if (json_object_get(config, "bos_token"))
        vocab->bos = named_token(vocab, config, "bos_token");
    if (json_object_get(config, "eos_token"))
        vocab->eos = named_token(vocab, config, "eos_token");
    json_decref(config);
    return rc;
}
