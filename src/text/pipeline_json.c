/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "text/pipeline_json.h"
#include "text/unicode.h"

#include <stdlib.h>
#include <string.h>

enum { DEPTH_MAX = 16 }; /* sequences within sequences */

static const char gpt2[] =
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

int ant_json_flag(const json_t *object, const char *key, bool otherwise, bool *out,
                  struct ant_error *err)
{
    const json_t *value = json_object_get(object, key);

    if (value && !json_is_null(value) && !json_is_boolean(value))
        return ant_fail(err, ANT_EDATA, "'%s' is neither true nor false", key);
    *out = json_is_boolean(value) ? json_is_true(value) : otherwise;
    return 0;
}

static int text_of(const json_t *object, const char *key, const char **text, size_t *bytes,
                   struct ant_error *err)
{
    const json_t *value = json_object_get(object, key);

    *text = "";
    *bytes = 0;
    if (!json_is_string(value))
        return ant_fail(err, ANT_EDATA, "'%s' is no text", key);
    *text = json_string_value(value);
    *bytes = json_string_length(value);
    return 0;
}

static char *copy(const char *text, size_t bytes)
{
    char *to = ant_xmalloc(bytes + 1);

    memcpy(to, text, bytes);
    to[bytes] = '\0';
    return to;
}

/* {"String": text} or {"Regex": text}. */
static int pattern_of(const json_t *object, struct ant_pattern **out, struct ant_error *err)
{
    const json_t *pattern = json_object_get(object, "pattern");
    const char *text;
    size_t bytes;

    if (json_object_get(pattern, "Regex")) {
        ANT_TRY(text_of(pattern, "Regex", &text, &bytes, err));
        return ant_pattern_regex(out, text, bytes, err);
    }
    ANT_TRY(text_of(pattern, "String", &text, &bytes, err));
    return ant_pattern_text(out, text, bytes, err);
}

/* What a list of named functions adds up to: each reads one kind of object. */
struct kind {
    const char *name;
    int (*read)(struct ant_vocab *vocab, const json_t *object, struct ant_error *err);
};

/* `part` is null, an object of a known kind, or a "Sequence" with a list of such in `list`. */
static int read_part(struct ant_vocab *vocab, const json_t *part, const struct kind *kinds,
                     size_t n, const char *list, int depth, struct ant_error *err)
{
    const json_t *members, *member;
    char quoted[ANT_QUOTED];
    const char *type;
    size_t i;

    if (!part || json_is_null(part))
        return 0;
    type = json_string_value(json_object_get(part, "type"));
    if (!type)
        return ant_fail(err, ANT_EDATA, "it has no type");
    for (i = 0; i < n; i++) {
        int result;

        if (strcmp(type, kinds[i].name) != 0)
            continue;
        result = kinds[i].read(vocab, part, err);
        return result < 0 ? ant_fail_in(err, result, "%s", type) : 0;
    }
    if (strcmp(type, "Sequence") != 0)
        return ant_fail(err, ANT_EUNSUPP, "'%s' is not supported",
                        ant_quote(quoted, type, strlen(type)));
    members = json_object_get(part, list);
    if (!json_is_array(members) || depth == DEPTH_MAX)
        return ant_fail(err, ANT_EDATA, "a Sequence has no list '%s' or is nested too deep", list);
    json_array_foreach(members, i, member)
        ANT_TRY(read_part(vocab, member, kinds, n, list, depth + 1, err));
    return 0;
}

static struct ant_normal_step *add_normal(struct ant_vocab *vocab, enum ant_normal_kind kind)
{
    size_t n = ++vocab->n_normal;

    vocab->normal = ant_xrealloc(vocab->normal, n, sizeof *vocab->normal);
    vocab->normal[n - 1] = (struct ant_normal_step){.kind = kind};
    return &vocab->normal[n - 1];
}

static int normal_nfc(struct ant_vocab *vocab, const json_t *object, struct ant_error *err)
{
    (void)object, (void)err;
    add_normal(vocab, ANT_NORMAL_NFC);
    return 0;
}

static int normal_nfd(struct ant_vocab *vocab, const json_t *object, struct ant_error *err)
{
    (void)object, (void)err;
    add_normal(vocab, ANT_NORMAL_NFD);
    return 0;
}

static int normal_nfkc(struct ant_vocab *vocab, const json_t *object, struct ant_error *err)
{
    (void)object, (void)err;
    add_normal(vocab, ANT_NORMAL_NFKC);
    return 0;
}

static int normal_nfkd(struct ant_vocab *vocab, const json_t *object, struct ant_error *err)
{
    (void)object, (void)err;
    add_normal(vocab, ANT_NORMAL_NFKD);
    return 0;
}

static int normal_lowercase(struct ant_vocab *vocab, const json_t *object, struct ant_error *err)
{
    (void)object, (void)err;
    add_normal(vocab, ANT_NORMAL_LOWERCASE);
    return 0;
}

static int normal_strip(struct ant_vocab *vocab, const json_t *object, struct ant_error *err)
{
    struct ant_normal_step *step = add_normal(vocab, ANT_NORMAL_STRIP);

    ANT_TRY(ant_json_flag(object, "strip_left", true, &step->left, err));
    return ant_json_flag(object, "strip_right", true, &step->right, err);
}

static int normal_prepend(struct ant_vocab *vocab, const json_t *object, struct ant_error *err)
{
    struct ant_normal_step *step;
    const char *text;
    size_t bytes;

    ANT_TRY(text_of(object, "prepend", &text, &bytes, err));
    step = add_normal(vocab, ANT_NORMAL_PREPEND);
    step->content = copy(text, bytes);
    step->bytes = bytes;
    return 0;
}

static int normal_replace(struct ant_vocab *vocab, const json_t *object, struct ant_error *err)
{
    struct ant_normal_step *step;
    const char *text;
    size_t bytes;

    ANT_TRY(text_of(object, "content", &text, &bytes, err));
    step = add_normal(vocab, ANT_NORMAL_REPLACE);
    step->content = copy(text, bytes);
    step->bytes = bytes;
    return pattern_of(object, &step->pattern, err);
}

/* The six bits that a character of base 64 stands for, or -1. */
static int six_bits(char c)
{
    static const char alphabet[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *found = c ? strchr(alphabet, c) : NULL;

    return found ? (int)(found - alphabet) : -1;
}

static int normal_precompiled(struct ant_vocab *vocab, const json_t *object, struct ant_error *err)
{
    struct ant_normal_step *step;
    struct ant_buf blob = {0};
    const char *text;
    size_t bytes, i;
    uint32_t bits = 0;
    int n_bits = 0, result;

    ANT_TRY(text_of(object, "precompiled_charsmap", &text, &bytes, err));
    for (i = 0; i < bytes && six_bits(text[i]) >= 0; i++) {
        bits = bits << 6 | (uint32_t)six_bits(text[i]);
        n_bits += 6;
        if (n_bits >= 8)
            ant_buf_add(&blob, &(char){(char)(bits >> (n_bits -= 8))}, 1);
    }
    step = add_normal(vocab, ANT_NORMAL_MAP);
    step->by_cluster = true;
    result = i + 2 < bytes ? ant_fail(err, ANT_EDATA, "it is not base 64")
                           : ant_charsmap_open(&step->map, blob.data, blob.len, err);
    ant_buf_release(&blob);
    return result;
}

int ant_pipeline_normalizer(struct ant_vocab *vocab, const json_t *part, struct ant_error *err)
{
    static const struct kind kinds[] = {
        {"NFC", normal_nfc},
        {"NFD", normal_nfd},
        {"NFKC", normal_nfkc},
        {"NFKD", normal_nfkd},
        {"Lowercase", normal_lowercase},
        {"Precompiled", normal_precompiled},
        {"Strip", normal_strip},
        {"Prepend", normal_prepend},
        {"Replace", normal_replace},
    };
    int result = read_part(vocab, part, kinds, sizeof kinds / sizeof *kinds, "normalizers", 0, err);

    return result < 0 ? ant_fail_in(err, result, "normalizer") : 0;
}

static struct ant_split_step *add_split(struct ant_vocab *vocab, enum ant_split_kind kind)
{
    size_t n = ++vocab->n_split;

    vocab->split = ant_xrealloc(vocab->split, n, sizeof *vocab->split);
    vocab->split[n - 1] = (struct ant_split_step){.kind = kind};
    return &vocab->split[n - 1];
}

static void add_prefix(struct ant_vocab *vocab, const char *content, size_t bytes, bool first_only)
{
    struct ant_split_step *step = add_split(vocab, ANT_SPLIT_PREFIX);

    step->content = copy(content, bytes);
    step->bytes = bytes;
    step->first_only = first_only;
}

static int behavior_of(const json_t *object, enum ant_split_behavior otherwise,
                       enum ant_split_behavior *out, struct ant_error *err)
{
    static const char *const names[] = {"Isolated", "Removed", "Contiguous", "MergedWithPrevious",
                                        "MergedWithNext"};
    const json_t *value = json_object_get(object, "behavior");
    size_t i;

    if (!value) {
        *out = otherwise;
        return 0;
    }
    for (i = 0; i < sizeof names / sizeof *names; i++) {
        if (json_is_string(value) && strcmp(json_string_value(value), names[i]) == 0) {
            *out = (enum ant_split_behavior)i;
            return 0;
        }
    }
    return ant_fail(err, ANT_EUNSUPP, "unknown behavior");
}

static int split_byte_level(struct ant_vocab *vocab, const json_t *object, struct ant_error *err)
{
    bool add_prefix_space, use_regex;

    ANT_TRY(ant_json_flag(object, "add_prefix_space", true, &add_prefix_space, err));
    ANT_TRY(ant_json_flag(object, "use_regex", true, &use_regex, err));
    if (add_prefix_space)
        add_prefix(vocab, " ", 1, false);
    if (use_regex)
        ANT_TRY(
            ant_pattern_regex(&add_split(vocab, ANT_SPLIT_CUT)->pattern, gpt2, strlen(gpt2), err));
    add_split(vocab, ANT_SPLIT_SPELL);
    return 0;
}

static int split_split(struct ant_vocab *vocab, const json_t *object, struct ant_error *err)
{
    struct ant_split_step *step = add_split(vocab, ANT_SPLIT_CUT);

    if (!json_object_get(object, "behavior"))
        return ant_fail(err, ANT_EDATA, "it has no behavior");
    ANT_TRY(behavior_of(object, ANT_SPLIT_ISOLATED, &step->behavior, err));
    ANT_TRY(ant_json_flag(object, "invert", false, &step->invert, err));
    return pattern_of(object, &step->pattern, err);
}

static int split_digits(struct ant_vocab *vocab, const json_t *object, struct ant_error *err)
{
    struct ant_split_step *step = add_split(vocab, ANT_SPLIT_CUT);
    bool individual;

    ANT_TRY(ant_json_flag(object, "individual_digits", false, &individual, err));
    step->behavior = individual ? ANT_SPLIT_ISOLATED : ANT_SPLIT_CONTIGUOUS;
    step->pattern = ant_pattern_class(ant_is_numeric);
    return 0;
}

static int split_punctuation(struct ant_vocab *vocab, const json_t *object, struct ant_error *err)
{
    struct ant_split_step *step = add_split(vocab, ANT_SPLIT_CUT);

    step->pattern = ant_pattern_class(ant_is_punctuation);
    return behavior_of(object, ANT_SPLIT_ISOLATED, &step->behavior, err);
}

/* "always", "first" or "never"; older files say add_prefix_space instead. */
static int prepend_scheme(const json_t *object, const char **scheme, struct ant_error *err)
{
    const json_t *value = json_object_get(object, "prepend_scheme");
    bool add_prefix_space;

    ANT_TRY(ant_json_flag(object, "add_prefix_space", true, &add_prefix_space, err));
    *scheme = value ? json_string_value(value) : add_prefix_space ? "always" : "never";
    if (!*scheme || (strcmp(*scheme, "always") != 0 && strcmp(*scheme, "first") != 0 &&
                     strcmp(*scheme, "never") != 0))
        return ant_fail(err, ANT_EUNSUPP, "unknown prepend_scheme");
    return 0;
}

static int split_metaspace(struct ant_vocab *vocab, const json_t *object, struct ant_error *err)
{
    struct ant_split_step *step;
    const char *mark, *scheme;
    size_t bytes;
    bool cut;

    ANT_TRY(text_of(object, "replacement", &mark, &bytes, err));
    ANT_TRY(prepend_scheme(object, &scheme, err));
    ANT_TRY(ant_json_flag(object, "split", true, &cut, err));
    step = add_split(vocab, ANT_SPLIT_REPLACE);
    step->content = copy(mark, bytes);
    step->bytes = bytes;
    ANT_TRY(ant_pattern_text(&step->pattern, " ", 1, err));
    if (*scheme != 'n')
        add_prefix(vocab, mark, bytes, *scheme == 'f');
    if (!cut)
        return 0;
    step = add_split(vocab, ANT_SPLIT_CUT);
    step->behavior = ANT_SPLIT_NEXT;
    return ant_pattern_text(&step->pattern, mark, bytes, err);
}

int ant_pipeline_pre_tokenizer(struct ant_vocab *vocab, const json_t *part, struct ant_error *err)
{
    static const struct kind kinds[] = {
        {"ByteLevel", split_byte_level}, {"Split", split_split},
        {"Digits", split_digits},        {"Punctuation", split_punctuation},
        {"Metaspace", split_metaspace},
    };
    int result =
        read_part(vocab, part, kinds, sizeof kinds / sizeof *kinds, "pretokenizers", 0, err);

    if (result < 0)
        return ant_fail_in(err, result, "pre_tokenizer");
    /* Spelled last of all: then merges may as well start from the bytes themselves. */
    if (vocab->model == ANT_VOCAB_MERGES && vocab->n_split > 0 &&
        vocab->split[vocab->n_split - 1].kind == ANT_SPLIT_SPELL) {
        vocab->n_split--;
        vocab->byte_level = true;
    }
    return 0;
}

static struct ant_decode_step *add_decode(struct ant_vocab *vocab, enum ant_decode_kind kind)
{
    size_t n = ++vocab->n_decode;

    vocab->decode = ant_xrealloc(vocab->decode, n, sizeof *vocab->decode);
    vocab->decode[n - 1] = (struct ant_decode_step){.kind = kind};
    return &vocab->decode[n - 1];
}

static int decode_byte_level(struct ant_vocab *vocab, const json_t *object, struct ant_error *err)
{
    (void)object, (void)err;
    add_decode(vocab, ANT_DECODE_BYTE_LEVEL);
    return 0;
}

static int decode_byte_fallback(struct ant_vocab *vocab, const json_t *object,
                                struct ant_error *err)
{
    (void)object, (void)err;
    add_decode(vocab, ANT_DECODE_BYTE_FALLBACK);
    return 0;
}

static int decode_fuse(struct ant_vocab *vocab, const json_t *object, struct ant_error *err)
{
    (void)object, (void)err;
    add_decode(vocab, ANT_DECODE_FUSE);
    return 0;
}

static int decode_replace(struct ant_vocab *vocab, const json_t *object, struct ant_error *err)
{
    struct ant_decode_step *step;
    const char *text;
    size_t bytes;

    ANT_TRY(text_of(object, "content", &text, &bytes, err));
    step = add_decode(vocab, ANT_DECODE_REPLACE);
    step->content = copy(text, bytes);
    step->bytes = bytes;
    return pattern_of(object, &step->pattern, err);
}

static int decode_strip(struct ant_vocab *vocab, const json_t *object, struct ant_error *err)
{
    const json_t *start = json_object_get(object, "start"), *stop = json_object_get(object, "stop");
    struct ant_decode_step *step;
    const char *text;
    size_t bytes;

    ANT_TRY(text_of(object, "content", &text, &bytes, err));
    if (bytes == 0 || json_integer_value(start) < 0 || json_integer_value(stop) < 0)
        return ant_fail(err, ANT_EDATA, "nothing to strip");
    step = add_decode(vocab, ANT_DECODE_STRIP);
    step->content = copy(text, bytes);
    step->bytes = bytes;
    step->left = (size_t)json_integer_value(start);
    step->right = (size_t)json_integer_value(stop);
    return 0;
}

static int decode_metaspace(struct ant_vocab *vocab, const json_t *object, struct ant_error *err)
{
    struct ant_decode_step *step;
    const char *mark, *scheme;
    size_t bytes;

    ANT_TRY(text_of(object, "replacement", &mark, &bytes, err));
    ANT_TRY(prepend_scheme(object, &scheme, err));
    if (bytes == 0)
        return ant_fail(err, ANT_EDATA, "the replacement is empty");
    step = add_decode(vocab, ANT_DECODE_METASPACE);
    step->content = copy(mark, bytes);
    step->bytes = bytes;
    step->drop_first = *scheme != 'n';
    return 0;
}

int ant_pipeline_decoder(struct ant_vocab *vocab, const json_t *part, struct ant_error *err)
{
    static const struct kind kinds[] = {
        {"ByteLevel", decode_byte_level},
        {"ByteFallback", decode_byte_fallback},
        {"Fuse", decode_fuse},
        {"Replace", decode_replace},
        {"Strip", decode_strip},
        {"Metaspace", decode_metaspace},
    };
    int result = read_part(vocab, part, kinds, sizeof kinds / sizeof *kinds, "decoders", 0, err);

    if (result < 0)
        return ant_fail_in(err, result, "decoder");
    if (part && !json_is_null(part) && vocab->n_decode == 0) /* none at all puts spaces between */
        add_decode(vocab, ANT_DECODE_FUSE);
    return 0;
}

/* One special token of a template, which may stand for several ids. */
static int template_ids(const struct ant_vocab *vocab, const json_t *specials, const json_t *piece,
                        struct ant_ids *out, struct ant_error *err)
{
    const char *name = json_string_value(json_object_get(piece, "id"));
    const json_t *ids = json_object_get(json_object_get(specials, name ? name : ""), "ids"), *id;
    char quoted[ANT_QUOTED];
    size_t i;

    ant_quote(quoted, name ? name : "", name ? strlen(name) : 0);
    if (!json_is_array(ids))
        return ant_fail(err, ANT_EDATA, "special token '%s' has no ids", quoted);
    json_array_foreach(ids, i, id)
    {
        json_int_t value = json_is_integer(id) ? json_integer_value(id) : -1;

        if (value < 0 || value >= vocab->size || !ant_vocab_has(vocab, (int)value))
            return ant_fail(err, ANT_EDATA, "special token '%s' has an id that is no token",
                            quoted);
        ant_ids_add(out, (int32_t)value);
    }
    return 0;
}

static int post_template(struct ant_vocab *vocab, const json_t *object, struct ant_error *err)
{
    const json_t *single = json_object_get(object, "single"), *piece;
    const json_t *specials = json_object_get(object, "special_tokens");
    struct ant_ids prefix = {0}, suffix = {0};
    size_t i, texts = 0;
    int result = 0;

    json_array_foreach(single, i, piece)
    {
        const json_t *text = json_object_get(piece, "Sequence");
        const char *id = json_string_value(json_object_get(text, "id"));

        if (text && id && strcmp(id, "A") == 0)
            texts++;
        else if (result == 0)
            result = template_ids(vocab, specials, json_object_get(piece, "SpecialToken"),
                                  texts == 0 ? &prefix : &suffix, err);
    }
    if (result == 0 && texts != 1)
        result = ant_fail(err, ANT_EUNSUPP, "the text stands %zu times in the template", texts);
    if (result == 0) { /* around what an earlier one has put there */
        ant_ids_append(&prefix, vocab->prefix.data, vocab->prefix.len);
        ant_ids_append(&vocab->suffix, suffix.data, suffix.len);
        ant_ids_release(&vocab->prefix);
        vocab->prefix = prefix;
    } else {
        ant_ids_release(&prefix);
    }
    ant_ids_release(&suffix);
    return result;
}

static int post_byte_level(struct ant_vocab *vocab, const json_t *object, struct ant_error *err)
{
    (void)vocab, (void)object, (void)err; /* it moves offsets, which nobody asks for here */
    return 0;
}

int ant_pipeline_post_processor(struct ant_vocab *vocab, const json_t *part, struct ant_error *err)
{
    static const struct kind kinds[] = {
        {"TemplateProcessing", post_template},
        {"ByteLevel", post_byte_level},
    };
    int result = read_part(vocab, part, kinds, sizeof kinds / sizeof *kinds, "processors", 0, err);

    return result < 0 ? ant_fail_in(err, result, "post_processor") : 0;
}
