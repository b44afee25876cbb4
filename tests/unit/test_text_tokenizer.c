/* SPDX-License-Identifier: Apache-2.0 */
/* Tokenizers beyond their expected ids (test_text_golden): hostile files, the merge order against a
 * plain implementation, threads, GGUF metadata, single functions. */
#include "config.h"

#include "model/gguf.h"
#include "text/charsmap.h"
#include "text/tokenizer.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "model_files.h"

static char path[300], gguf_path[300];

static int set_up(void **state)
{
    make_test_folder(state);
    snprintf(path, sizeof path, "%s/tokenizer.json", test_folder);
    snprintf(gguf_path, sizeof gguf_path, "%s/m.gguf", test_folder);
    return 0;
}

static int open_text(struct ant_tokenizer **out, const char *json, struct ant_error *err)
{
    write_file(path, json, strlen(json));
    return ant_tokenizer_open_json(out, path, err);
}

static struct ant_tokenizer *open_good(const char *json)
{
    struct ant_tokenizer *tokenizer;
    struct ant_error err;
    if (open_text(&tokenizer, json, &err) < 0)
        fail_msg("%s", err.text);
    return tokenizer;
}

/* Ids as text: "1 2 3". */
static void expect_ids(const struct ant_tokenizer *tokenizer, const char *text, bool special,
                       const char *expected)
{
    struct ant_ids ids = {0};
    struct ant_buf out = {0};
    struct ant_error err;
    if (ant_tokenizer_encode(tokenizer, text, strlen(text), special, &ids, &err) < 0)
        fail_msg("%s", err.text);
    for (size_t i = 0; i < ids.len; i++)
        ant_buf_printf(&out, i ? " %d" : "%d", ids.data[i]);
    ant_buf_add(&out, "", 1);
    assert_string_equal(out.data, expected);
    ant_buf_release(&out);
    ant_ids_release(&ids);
}

static void expect_text(const struct ant_tokenizer *tokenizer, const int32_t *ids, size_t n,
                        bool skip_special, const char *expected)
{
    struct ant_buf out = {0};
    ant_tokenizer_decode(tokenizer, ids, n, skip_special, &out);
    ant_buf_add(&out, "", 1);
    assert_string_equal(out.data, expected);
    ant_buf_release(&out);
}

#define VOCAB   "\"vocab\":{\"a\":0,\"b\":1,\"ab\":2,\"\xc4\xa0\":3}"
#define MODEL   "\"model\":{\"type\":\"BPE\"," VOCAB ",\"merges\":[\"a b\"]}"
#define SPECIAL "{\"id\":4,\"content\":\"<s>\",\"special\":true}"

static void test_hostile_json(void **state)
{
    (void)state;
    static const struct {
        const char *json;
        int code;
        const char *text;
    } cases[] = {
        {"{", ANT_EDATA, "line 1"},
        {"[]", ANT_EDATA, "model: it is not there"},
        {"{\"model\":{\"type\":\"WordPiece\",\"vocab\":{}}}", ANT_EUNSUPP, "type 'WordPiece'"},
        {"{\"model\":{\"vocab\":[],\"merges\":[]}}", ANT_EDATA, "no vocab"},
        {"{\"model\":{" VOCAB "}}", ANT_EDATA, "no merges"},
        {"{\"model\":{\"vocab\":{\"a\":-1},\"merges\":[]}}", ANT_EDATA, "token 'a' has no id"},
        {"{\"model\":{\"vocab\":{\"a\":4294967296},\"merges\":[]}}", ANT_EDATA, "no id below"},
        {"{\"model\":{\"vocab\":{\"a\":1.5},\"merges\":[]}}", ANT_EDATA, "token 'a' has no id"},
        {"{\"model\":{\"vocab\":{\"a\":1,\"b\":1},\"merges\":[]}}", ANT_EDATA, "have the id 1"},
        {"{\"model\":{\"vocab\":{\"a\":1,\"a\":2},\"merges\":[]}}", ANT_EDATA, "duplicate"},
        {"{\"model\":{" VOCAB ",\"merges\":[\"a c\"]}}", ANT_EDATA,
         "merge 0: there is no token 'c'"},
        {"{\"model\":{" VOCAB ",\"merges\":[\"a b\",\"b a\"]}}", ANT_EDATA, "no token 'ba'"},
        {"{\"model\":{" VOCAB ",\"merges\":[\"b\\n a\"]}}", ANT_EDATA, "no token 'b\\x0a'"},
        {"{\"model\":{" VOCAB ",\"merges\":[\"ab\"]}}", ANT_EDATA, "not two tokens"},
        {"{\"model\":{" VOCAB ",\"merges\":[\"a b c\"]}}", ANT_EDATA, "not two tokens"},
        {"{\"model\":{" VOCAB ",\"merges\":[[\"a\"]]}}", ANT_EDATA, "not two tokens"},
        {"{\"model\":{" VOCAB ",\"merges\":[],\"dropout\":0.1}}", ANT_EUNSUPP, "dropout"},
        {"{\"model\":{" VOCAB ",\"merges\":[],\"end_of_word_suffix\":\"</w>\"}}", ANT_EUNSUPP,
         "end_of_word_suffix"},
        {"{\"model\":{" VOCAB ",\"merges\":[],\"unk_token\":\"x\"}}", ANT_EDATA, "unk_token"},
        {"{\"model\":{" VOCAB ",\"merges\":[],\"fuse_unk\":1}}", ANT_EDATA, "'fuse_unk'"},
        {"{" MODEL ",\"added_tokens\":[{\"content\":\"x\",\"id\":9}]}", ANT_EDATA,
         "'x' says id 9 but takes id 4"},
        {"{" MODEL ",\"added_tokens\":[{\"content\":\"a\",\"id\":1}]}", ANT_EDATA, "takes id 0"},
        {"{" MODEL ",\"added_tokens\":[" SPECIAL "," SPECIAL "]}", ANT_EDATA, "there twice"},
        {"{" MODEL ",\"added_tokens\":[{\"id\":1}]}", ANT_EDATA, "no content"},
        {"{" MODEL ",\"added_tokens\":{}}", ANT_EDATA, "no list"},
        {"{" MODEL ",\"normalizer\":{\"type\":\"Nmt\"}}", ANT_EUNSUPP, "normalizer: 'Nmt'"},
        {"{" MODEL ",\"normalizer\":{}}", ANT_EDATA, "normalizer: it has no type"},
        {"{" MODEL ",\"normalizer\":{\"type\":\"Replace\",\"content\":\"\",\"pattern\":{\"Regex\":"
         "\"(\"}}}",
         ANT_EDATA, "normalizer: Replace: pattern has an unfinished group"},
        {"{" MODEL ",\"pre_tokenizer\":{\"type\":\"Whitespace\"}}", ANT_EUNSUPP, "'Whitespace'"},
        {"{" MODEL ",\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"String\":\"a\"}}}",
         ANT_EDATA, "no behavior"},
        {"{" MODEL ",\"pre_tokenizer\":{\"type\":\"Sequence\"}}", ANT_EDATA, "no list"},
        {"{" MODEL ",\"decoder\":{\"type\":\"CTC\"}}", ANT_EUNSUPP, "decoder: 'CTC'"},
        {"{" MODEL ",\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{"
         "\"SpecialToken\":{\"id\":\"<s>\"}},{\"Sequence\":{\"id\":\"A\"}}],\"special_tokens\":{"
         "\"<s>\":{\"ids\":[7]}}}}",
         ANT_EDATA, "'<s>' has an id that is no token"},
        {"{" MODEL ",\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[]}}",
         ANT_EUNSUPP, "stands 0 times"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct ant_tokenizer *tokenizer = NULL;
        struct ant_error err = {0};
        int code = open_text(&tokenizer, cases[i].json, &err);
        if (code != cases[i].code || !strstr(err.text, cases[i].text) ||
            !strstr(err.text, "tokenizer.json") || strchr(err.text, '\n'))
            fail_msg("case %zu: %d '%s', expected %d '%s'", i, code, err.text, cases[i].code,
                     cases[i].text);
    }
    struct ant_tokenizer *tokenizer;
    assert_int_equal(ant_tokenizer_open_json(&tokenizer, "/nonexistent/tokenizer.json", NULL),
                     ANT_ENOENT);
}

/* The rule in its plainest form: of all neighbours merge those with the lowest rank, the leftmost
 * first. Tokens of the alphabet a, b; merge m makes token 2 + m. */
static size_t merge_plainly(int32_t *ids, size_t n, int32_t merges[][2], int n_merges)
{
    for (;;) {
        size_t best = 0, i;
        int rank = n_merges;
        for (i = 0; i + 1 < n; i++) {
            for (int m = 0; m < rank; m++) {
                if (merges[m][0] == ids[i] && merges[m][1] == ids[i + 1]) {
                    rank = m;
                    best = i;
                }
            }
        }
        if (rank == n_merges)
            return n;
        ids[best] = 2 + rank;
        memmove(ids + best + 1, ids + best + 2, (n - best - 2) * sizeof *ids);
        n--;
    }
}

/* Random merges over two letters; long words too, which take another way. */
static void test_merge_order(void **state)
{
    (void)state;
    enum { MERGES = 12, WORDS = 60 };
    srand(3);
    for (int round = 0; round < 40; round++) {
        char names[2 + MERGES][1 << 12] = {"a", "b"};
        int32_t merges[MERGES][2];
        struct ant_buf vocab = {0}, list = {0};
        int n = 0;
        while (n < MERGES) {
            int left = rand() % (2 + n), right = rand() % (2 + n);
            char name[1 << 13];
            bool known = false;
            snprintf(name, sizeof name, "%s%s", names[left], names[right]);
            for (int i = 0; i < 2 + n; i++)
                known = known || strcmp(names[i], name) == 0;
            if (known || strlen(name) > 200)
                continue;
            memcpy(names[2 + n], name, strlen(name) + 1);
            ant_buf_printf(&vocab, ",\"%s\":%d", name, 2 + n);
            ant_buf_printf(&list, "%s\"%s %s\"", n ? "," : "", names[left], names[right]);
            merges[n][0] = left;
            merges[n++][1] = right;
        }
        char *json = ant_xasprintf("{\"model\":{\"vocab\":{\"a\":0,\"b\":1%s},\"merges\":[%s]}}",
                                   vocab.data, list.data);
        struct ant_tokenizer *tokenizer = open_good(json);
        for (int w = 0; w < WORDS; w++) {
            char text[400];
            int32_t plain[400];
            struct ant_ids ids = {0};
            size_t length = 1 + (size_t)rand() % (w < WORDS / 2 ? 60 : 400), i;
            for (i = 0; i < length; i++)
                text[i] = (char)('a' + (plain[i] = rand() % 3 == 0));
            size_t expected = merge_plainly(plain, length, merges, MERGES);
            assert_int_equal(ant_tokenizer_encode(tokenizer, text, length, false, &ids, NULL), 0);
            assert_int_equal(ids.len, expected);
            assert_memory_equal(ids.data, plain, expected * sizeof *plain);
            ant_ids_release(&ids);
        }
        ant_tokenizer_close(tokenizer);
        free(json);
        ant_buf_release(&vocab);
        ant_buf_release(&list);
    }
}

#define BYTE_LEVEL                                                                                 \
    "{\"model\":{\"vocab\":{\"a\":0,\"b\":1,\"ab\":2,\"\xc4\xa0\":3,\"\xc3\x83\":4,"               \
    "\"\xc2\xa9\":5,\"c\":8},\"merges\":[[\"a\",\"b\"]]},"                                         \
    "\"added_tokens\":[{\"id\":7,\"content\":\"<s>\",\"special\":true},"                           \
    "{\"id\":8,\"content\":\"c\",\"special\":false}],"                                             \
    "\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false},"                       \
    "\"decoder\":{\"type\":\"ByteLevel\"}}"

static void test_functions(void **state)
{
    (void)state;
    struct ant_tokenizer *tokenizer = open_good(BYTE_LEVEL);
    struct ant_ids ids = {0};
    struct ant_error err;
    size_t n;

    assert_int_equal(ant_tokenizer_size(tokenizer), 9);
    assert_int_equal(ant_tokenizer_find(tokenizer, "ab"), 2);
    assert_int_equal(ant_tokenizer_find(tokenizer, "<s>"), 7);
    assert_int_equal(ant_tokenizer_find(tokenizer, "abc"), -1);
    assert_int_equal(ant_tokenizer_find(tokenizer, ""), -1);
    assert_true(ant_tokenizer_is_special(tokenizer, 7));
    assert_false(ant_tokenizer_is_special(tokenizer, 8));
    assert_false(ant_tokenizer_is_special(tokenizer, -1));
    assert_false(ant_tokenizer_is_special(tokenizer, 9));
    assert_int_equal(ant_tokenizer_bos(tokenizer), -1);
    assert_int_equal(ant_tokenizer_eos(tokenizer), -1);

    expect_ids(tokenizer, "", true, "");
    expect_ids(tokenizer,
               "ab\xc3\xa9"
               "a<s>",
               true, "2 4 5 0 7"); /* fed to no-token bytes: none */
    assert_memory_equal(ant_tokenizer_piece(tokenizer, 3, &n), " ", 1);
    assert_int_equal(n, 1);
    assert_memory_equal(ant_tokenizer_piece(tokenizer, 4, &n), "\xc3", 1);
    ant_tokenizer_piece(tokenizer, 6, &n); /* an id between others that has no token */
    assert_int_equal(n, 0);
    ant_tokenizer_piece(tokenizer, 9, &n);
    assert_int_equal(n, 0);
    ant_tokenizer_piece(tokenizer, -1, &n);
    assert_int_equal(n, 0);

    expect_text(tokenizer, (int32_t[]){0, 4, 5, 7, 3, 2}, 6, false, "a\xc3\xa9<s> ab");
    expect_text(tokenizer, (int32_t[]){0, 4, 5, 7, 3, 2}, 6, true, "a\xc3\xa9 ab");
    expect_text(tokenizer, (int32_t[]){0, 4}, 2, true, "a\xef\xbf\xbd");
    expect_text(tokenizer, (int32_t[]){5, 4, 0, 6, -5, 1000}, 6, true,
                "\xef\xbf\xbd\xef\xbf\xbd"
                "a");
    expect_text(tokenizer, NULL, 0, true, "");

    /* What is there already stays; a failure leaves nothing behind. */
    ant_ids_add(&ids, 42);
    assert_int_equal(ant_tokenizer_encode(tokenizer, "ab\xff", 3, true, &ids, &err), ANT_EDATA);
    assert_string_equal(err.text, "text is not UTF-8 at byte 2");
    assert_int_equal(ids.len, 1);
    static const char *const bad[] = {
        "\xc3",     "\xc0\xaf", "\xed\xa0\x80",        "\xf4\x90\x80\x80",
        "\xe4\xb8", "\x80",     "\xf8\x88\x80\x80\x80"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char text[20];
        snprintf(text, sizeof text, "0123456789%s", bad[i]);
        assert_int_equal(ant_tokenizer_encode(tokenizer, text, strlen(text), true, &ids, &err),
                         ANT_EDATA);
        assert_non_null(strstr(err.text, "at byte 10"));
    }
    ant_ids_release(&ids);
    ant_tokenizer_close(tokenizer);
    ant_tokenizer_close(NULL);
}

static void test_config_beside(void **state)
{
    (void)state;
    static const char config[] = "{\"bos_token\":{\"content\":\"<s>\"},\"eos_token\":\"ab\","
                                 "\"model_max_length\":1000000000000000019884624838656}";
    static const char cut_off[] = "{\"bos_token\":\n";
    write_in(test_folder, "tokenizer_config.json", config, strlen(config));
    struct ant_tokenizer *tokenizer = open_good(BYTE_LEVEL);
    assert_int_equal(ant_tokenizer_bos(tokenizer), 7);
    assert_int_equal(ant_tokenizer_eos(tokenizer), 2);
    struct ant_digest digest = ant_tokenizer_digest(tokenizer);
    ant_tokenizer_close(tokenizer);
    tokenizer = open_good(BYTE_LEVEL " ");
    struct ant_digest other = ant_tokenizer_digest(tokenizer);
    assert_true(digest.low != other.low);
    ant_tokenizer_close(tokenizer);
    write_in(test_folder, "tokenizer_config.json", cut_off, strlen(cut_off));
    struct ant_error err;
    assert_int_equal(open_text(&tokenizer, BYTE_LEVEL, &err), ANT_EDATA);
    assert_non_null(strstr(err.text, "tokenizer_config.json': line 2 is no JSON"));
    write_in(test_folder, "tokenizer_config.json", "{}", 2);
}

/* "a" becomes the text at `to` of "\xf0\x9f\x98\x80", U+1F600. */
static void expect_mapped(uint32_t to, const char *wanted)
{
    enum { UNITS = 1024, LABEL = 'a', ROOT = 0x100, LEAF = 0x200, ENDS = 1 << 8 };
    uint32_t blob[1 + UNITS + 2] = {UNITS * 4};
    uint32_t *units = blob + 1;
    struct ant_charsmap *map;
    struct ant_error err;
    struct ant_buf out = {0};

    units[0] = ROOT << 10;
    units[ROOT ^ LABEL] = LABEL | ENDS | LEAF << 10;
    units[ROOT ^ LABEL ^ LEAF] = 1u << 31 | to;
    memcpy(units + UNITS, "\xf0\x9f\x98\x80\0\0\0", 8);
    assert_int_equal(ant_charsmap_open(&map, blob, sizeof(blob), &err), 0);
    ant_charsmap_rewrite(map, false, "xa", 2, &out);
    assert_string_equal(out.data, wanted);
    ant_charsmap_close(map);
    ant_buf_release(&out);
}

static void test_map(void **state)
{
    (void)state;
    expect_mapped(0, "x\xf0\x9f\x98\x80");
    expect_mapped(1, "xa"); /* no text is half a character */
    expect_mapped(99, "xa");
}

/* `part` as a sequence of n such steps in `list`. */
static void add_sequence(struct ant_buf *json, const char *part, const char *list, const char *step,
                         int n)
{
    ant_buf_printf(json, ",\"%s\":{\"type\":\"Sequence\",\"%s\":[", part, list);
    for (int i = 0; i < n; i++)
        ant_buf_printf(json, "%s%s", i ? "," : "", step);
    ant_buf_printf(json, "]}");
}

/* Each step doubles the text: forty of them would fill any memory. */
static void test_growing_texts(void **state)
{
    (void)state;
    static const char twice[] = "{\"type\":\"Replace\",\"pattern\":{\"String\":\"a\"},"
                                "\"content\":\"aa\"}";
    static const char spelled[] =
        "{\"type\":\"ByteLevel\",\"use_regex\":false,\"add_prefix_space\":false}";
    static const struct {
        const char *part, *list, *step, *text;
    } cases[] = {{"normalizer", "normalizers", twice, "aaaa"},
                 {"pre_tokenizer", "pretokenizers", spelled, "\xc3\xa9"},
                 {"decoder", "decoders", twice, ""}};
    struct ant_tokenizer *tokenizer;
    struct ant_ids ids = {0};
    struct ant_error err;

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct ant_buf json = {0};
        ant_buf_printf(&json, "{" MODEL);
        add_sequence(&json, cases[i].part, cases[i].list, cases[i].step, 40);
        ant_buf_printf(&json, "}");
        int rc = open_text(&tokenizer, json.data, &err);
        ant_buf_release(&json);
        if (rc == 0) {
            rc = ant_tokenizer_encode(tokenizer, cases[i].text, strlen(cases[i].text), false, &ids,
                                      &err);
            ant_tokenizer_close(tokenizer);
        }
        assert_int_equal(rc, ANT_EUNSUPP);
        assert_non_null(strstr(err.text, "the tokenizer's rules make more than"));
    }
    ant_ids_release(&ids);
}

/* A step that looks at no token alone stands between two that do. */
static void test_pieces_of_steps(void **state)
{
    (void)state;
    struct ant_tokenizer *tokenizer =
        open_good("{" MODEL ",\"decoder\":{\"type\":\"Sequence\",\"decoders\":["
                  "{\"type\":\"Replace\",\"pattern\":{\"String\":\"a\"},\"content\":\"bb\"},"
                  "{\"type\":\"Fuse\"},"
                  "{\"type\":\"Replace\",\"pattern\":{\"String\":\"b\"},\"content\":\"cdef\"}]}}");
    size_t bytes;
    const char *piece = ant_tokenizer_piece(tokenizer, 2, &bytes);
    assert_int_equal(bytes, 12);
    assert_memory_equal(piece, "cdefcdefcdef", 12);
    ant_tokenizer_close(tokenizer);
}

/* The piece of half a character, which no pattern may look at. */
static void test_pieces_of_bytes(void **state)
{
    (void)state;
    struct ant_tokenizer *tokenizer =
        open_good("{\"model\":{\"vocab\":{\"\xc3\xa9\":0},\"merges\":[]},"
                  "\"decoder\":{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"ByteLevel\"},"
                  "{\"type\":\"Replace\",\"pattern\":{\"Regex\":\"\\\\p{L}+\"},\"content\":\"b\"},"
                  "{\"type\":\"ByteLevel\"}]}}");
    size_t bytes;
    const char *piece = ant_tokenizer_piece(tokenizer, 0, &bytes);
    assert_int_equal(bytes, 1);
    assert_memory_equal(piece, "\xe9", 1);
    ant_tokenizer_close(tokenizer);
}

/* Tokens that are added to a model are cut out of a text; what is not cut out is the model's. */
static void test_added_beyond_the_model(void **state)
{
    (void)state;
    static const char unigram[] =
        "{\"model\":{\"type\":\"Unigram\",\"unk_id\":0,\"vocab\":[[\"<unk>\",0],[\"a\",-1],"
        "[\"b\",-2]]},\"added_tokens\":[{\"id\":3,\"content\":\"ab\",\"single_word\":true},"
        "{\"id\":4,\"content\":\"x\",\"single_word\":true}]}";
    static const char merges[] =
        "{" MODEL ",\"added_tokens\":[{\"id\":4,\"content\":\"x\",\"single_word\":true}]}";
    struct ant_tokenizer *tokenizer = open_good(unigram);
    expect_ids(tokenizer, "ab", false, "3");
    expect_ids(tokenizer, "abb", false, "1 2 2");
    expect_ids(tokenizer, "bx", false, "2 0");
    ant_tokenizer_close(tokenizer);
    tokenizer = open_good(merges);
    expect_ids(tokenizer, "x", false, "4");
    expect_ids(tokenizer, "ax", false, "0");
    ant_tokenizer_close(tokenizer);
}

/* The alphabet of bytes is that of a unigram model's tokens too. */
static void test_unigram_of_bytes(void **state)
{
    (void)state;
    struct ant_tokenizer *tokenizer = open_good(
        "{\"model\":{\"type\":\"Unigram\",\"unk_id\":0,\"vocab\":[[\"<unk>\",0],[\" \",-1],"
        "[\"\xc4\xa0\",-2]]},\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"use_regex\":false,"
        "\"add_prefix_space\":false}}");
    expect_ids(tokenizer, " ", false, "2");
    ant_tokenizer_close(tokenizer);
}

/* Half a million characters without a place to split. */
static void test_long_words(void **state)
{
    (void)state;
    struct ant_tokenizer *tokenizer = open_good(BYTE_LEVEL);
    size_t n = 500000, i;
    char *text = malloc(n);
    struct ant_ids ids = {0};
    for (i = 0; i < n; i++)
        text[i] = i % 3 ? 'a' : 'b';
    assert_int_equal(ant_tokenizer_encode(tokenizer, text, n, false, &ids, NULL), 0);
    assert_int_equal(ids.len, n - n / 3); /* b aab aab ... */
    memset(text, ' ', n);
    ids.len = 0;
    assert_int_equal(ant_tokenizer_encode(tokenizer, text, n, false, &ids, NULL), 0);
    assert_int_equal(ids.len, n);
    ant_tokenizer_close(tokenizer);

    /* Marks in the wrong order, which to sort one by one would take minutes. */
    tokenizer = open_good("{" MODEL ",\"normalizer\":{\"type\":\"NFC\"}}");
    for (i = 0; i < n; i += 4)
        memcpy(text + i, i < n / 2 ? "\xcc\x81\xcc\x81" : "\xcc\xa3\xcc\xa3", 4);
    text[0] = text[1] = 'a';
    ids.len = 0;
    assert_int_equal(ant_tokenizer_encode(tokenizer, text, n, false, &ids, NULL), 0);
    assert_int_equal(ids.len, 1); /* the second a becomes another letter */
    ant_ids_release(&ids);
    free(text);
    ant_tokenizer_close(tokenizer);
}

static const struct ant_tokenizer *shared;

static void *encode_often(void *wrong)
{
    struct ant_ids ids = {0};
    for (int i = 0; i < 2000; i++) {
        char text[16];
        snprintf(text, sizeof text, "ab%*s", i % 7, "b");
        ids.len = 0;
        if (ant_tokenizer_encode(shared, text, strlen(text), false, &ids, NULL) < 0 ||
            ids.len != (size_t)(i % 7 < 2 ? 2 : 1 + i % 7) || ids.data[0] != 2)
            ++*(int *)wrong;
    }
    ant_ids_release(&ids);
    return NULL;
}

static void test_threads(void **state)
{
    (void)state;
    struct ant_tokenizer *tokenizer = open_good(BYTE_LEVEL);
    pthread_t threads[4];
    int wrong[4] = {0};
    shared = tokenizer;
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, encode_often, &wrong[i]), 0);
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(wrong[i], 0);
    }
    ant_tokenizer_close(tokenizer);
}

/* ---- GGUF ------------------------------------------------------------------------------------ */

enum { U32 = 4, I32 = 5, F32 = 6, TEXT = 8 }; /* its value types */

static void put_texts(struct ant_buf *buf, const char *key, const char *const *texts, size_t n)
{
    gguf_key_array(buf, key, TEXT, n);
    for (size_t i = 0; i < n; i++)
        put_text(buf, texts[i]);
}

static int open_metadata(struct ant_tokenizer **out, struct ant_buf *buf, struct ant_error *err)
{
    struct ant_gguf *gguf;
    write_file(gguf_path, buf->data, buf->len);
    ant_buf_release(buf);
    int result = ant_gguf_open(&gguf, gguf_path, err);
    if (result < 0)
        return result;
    result = ant_tokenizer_open_gguf(out, gguf, err);
    ant_gguf_close(gguf);
    return result;
}

static const char *const pieces[] = {"<unk>",  "<s>",    "</s>",         "<0x41>",
                                     "<0xC3>", "<0xA9>", "\xe2\x96\x81", "a",
                                     "b",      "ab",     "ba",           "\xe2\x96\x81\x61"};
static const uint32_t types[] = {2, 3, 3, 6, 6, 6, 1, 1, 1, 1, 1, 1};
static const float scores[] = {0, 0, 0, 0, 0, 0, -9, -8, -7, -1, -1, -2};
enum { PIECES = sizeof pieces / sizeof *pieces };

static void put_scores(struct ant_buf *buf, size_t n, float last)
{
    gguf_key_array(buf, "tokenizer.ggml.scores", F32, n);
    for (size_t i = 0; i < n; i++)
        ant_buf_add(buf, i + 1 == n ? &last : &scores[i], sizeof(float));
}

static void put_sentencepiece(struct ant_buf *buf, int more_keys)
{
    gguf_begin(buf, 3, 0, 4 + (uint64_t)more_keys);
    gguf_key_text(buf, "tokenizer.ggml.model", "llama");
    put_texts(buf, "tokenizer.ggml.tokens", pieces, PIECES);
    gguf_key_array(buf, "tokenizer.ggml.token_type", I32, PIECES);
    for (size_t i = 0; i < PIECES; i++)
        put_u32(buf, types[i]);
}

static void test_gguf_scores(void **state)
{
    (void)state;
    struct ant_buf buf = {0};
    struct ant_tokenizer *tokenizer;
    struct ant_error err;

    put_sentencepiece(&buf, 0);
    put_scores(&buf, PIECES, scores[PIECES - 1]);
    if (open_metadata(&tokenizer, &buf, &err) < 0)
        fail_msg("%s", err.text);
    assert_int_equal(ant_tokenizer_bos(tokenizer), 1);
    assert_int_equal(ant_tokenizer_eos(tokenizer), 2);
    /* "ab" and "ba" are equal in score: the left one merges; "_a" comes after both. */
    expect_ids(tokenizer, "aba", true, "1 6 9 7");
    expect_ids(tokenizer, "a ba", false, "11 6 10");
    expect_ids(tokenizer, "A\xc3\xa9?", false, "6 3 4 5 0");
    expect_ids(tokenizer, "b<s>b", false, "6 8 1 6 8");
    expect_ids(tokenizer, "", true, "1");
    expect_text(tokenizer, (int32_t[]){1, 6, 9, 4, 5, 6, 8}, 7, true, "ab\xc3\xa9 b");
    expect_text(tokenizer, (int32_t[]){9, 4, 8}, 3, true,
                "ab\xef\xbf\xbd"
                "b");
    ant_tokenizer_close(tokenizer);

    put_sentencepiece(&buf, 2);
    put_scores(&buf, PIECES, scores[PIECES - 1]);
    gguf_key_bool(&buf, "tokenizer.ggml.add_space_prefix", false);
    gguf_key_bool(&buf, "tokenizer.ggml.add_bos_token", false);
    assert_int_equal(open_metadata(&tokenizer, &buf, &err), 0);
    expect_ids(tokenizer, "b a", true, "8 11");
    expect_text(tokenizer, (int32_t[]){11, 8}, 2, true, " ab");
    ant_tokenizer_close(tokenizer);
}

static void expect_gguf_error(struct ant_buf *buf, int code, const char *text)
{
    struct ant_tokenizer *tokenizer = NULL;
    struct ant_error err = {0};
    int result = open_metadata(&tokenizer, buf, &err);
    if (result != code || !strstr(err.text, text) || !strstr(err.text, "m.gguf") ||
        strchr(err.text, '\n'))
        fail_msg("%d '%s', expected %d '%s'", result, err.text, code, text);
}

static void begin_gpt2(struct ant_buf *buf, const char *const *tokens, size_t n, const char *pre,
                       const char *merge)
{
    gguf_begin(buf, 3, 0, 4);
    gguf_key_text(buf, "tokenizer.ggml.model", "gpt2");
    put_texts(buf, "tokenizer.ggml.tokens", tokens, n);
    gguf_key_text(buf, "tokenizer.ggml.pre", pre);
    put_texts(buf, "tokenizer.ggml.merges", &merge, 1);
}

static void test_gguf_errors(void **state)
{
    (void)state;
    static const char *const good[] = {"a", "b", "ab"}, *const same[] = {"a", "b", "a"},
                             *const not_text[] = {"a", "b", "\xff"};
    struct ant_buf buf = {0};

    gguf_begin(&buf, 3, 0, 0);
    expect_gguf_error(&buf, ANT_EDATA, "no tokenizer.ggml.model");
    gguf_begin(&buf, 3, 0, 1);
    gguf_key_text(&buf, "tokenizer.ggml.model", "gpt2");
    expect_gguf_error(&buf, ANT_EDATA, "no tokenizer.ggml.tokens");
    gguf_begin(&buf, 3, 0, 2);
    gguf_key_text(&buf, "tokenizer.ggml.model", "ber\nt");
    put_texts(&buf, "tokenizer.ggml.tokens", good, 3);
    expect_gguf_error(&buf, ANT_EUNSUPP, "'ber\\x0at' is not supported");
    begin_gpt2(&buf, good, 3, "qwen9", "a b");
    expect_gguf_error(&buf, ANT_EUNSUPP, "'qwen9'");
    begin_gpt2(&buf, good, 3, "gpt-2 phi-2", "a b");
    expect_gguf_error(&buf, ANT_EUNSUPP, "'gpt-2 phi-2'");
    begin_gpt2(&buf, good, 3, "gpt-2", "a c");
    expect_gguf_error(&buf, ANT_EDATA, "merge 0: there is no token 'c'");
    begin_gpt2(&buf, good, 3, "gpt-2", "ab");
    expect_gguf_error(&buf, ANT_EDATA, "not two tokens");
    begin_gpt2(&buf, same, 3, "gpt-2", "a b");
    expect_gguf_error(&buf, ANT_EDATA, "tokens 0 and 2 have the same text");
    begin_gpt2(&buf, not_text, 3, "gpt-2", "a b");
    expect_gguf_error(&buf, ANT_EDATA, "token 2 is not UTF-8");
    put_sentencepiece(&buf, 0);
    put_scores(&buf, PIECES - 1, 0);
    expect_gguf_error(&buf, ANT_EDATA, "scores has 11 elements for 12 tokens");
    put_sentencepiece(&buf, 0);
    put_scores(&buf, PIECES, __builtin_nanf(""));
    expect_gguf_error(&buf, ANT_EDATA, "score of token 11");
    put_sentencepiece(&buf, 1);
    put_scores(&buf, PIECES, 0);
    gguf_key_u32(&buf, "tokenizer.ggml.bos_token_id", PIECES);
    expect_gguf_error(&buf, ANT_EDATA, "bos_token_id");
}

static void test_gguf_merges(void **state)
{
    (void)state;
    static const char *const tokens[] = {"a", "b", "ab", "\xc4\xa0", "1"};
    struct ant_buf buf = {0};
    struct ant_tokenizer *tokenizer;
    struct ant_error err;
    begin_gpt2(&buf, tokens, 5, "smollm", "a b");
    if (open_metadata(&tokenizer, &buf, &err) < 0)
        fail_msg("%s", err.text);
    expect_ids(tokenizer, "ab ab11", true, "2 3 2 4 4");
    expect_text(tokenizer, (int32_t[]){2, 3, 0}, 3, true, "ab a");
    ant_tokenizer_close(tokenizer);
}

/* ---- tokenizer.model ------------------------------------------------------------------------- */

/* Pieces <unk>, <s>, </s>, "\u2581", "a", "b", "\u2581ab"; then what `more` adds. */
static char *model_bytes(const char *more, size_t more_bytes, size_t *n)
{
    static const struct {
        const char *text;
        unsigned char kind;
    } tokens[] = {{"<unk>", 2},
                  {"<s>", 3},
                  {"</s>", 3},
                  {"\xe2\x96\x81", 1},
                  {"a", 1},
                  {"b", 1},
                  {"\xe2\x96\x81"
                   "ab",
                   1}};
    struct ant_buf out = {0};

    for (size_t i = 0; i < sizeof(tokens) / sizeof(*tokens); i++) {
        size_t length = strlen(tokens[i].text);
        ant_buf_printf(&out, "\n%c\n%c%s\x15", (int)(length + 9), (int)length, tokens[i].text);
        ant_buf_add(&out, (char[]){0, 0, (char)0x80, (char)0xbf, 0x18, (char)tokens[i].kind}, 6);
    }
    ant_buf_add(&out, more, more_bytes);
    *n = out.len;
    return out.data;
}

static int open_model(struct ant_tokenizer **out, const char *more, size_t more_bytes,
                      struct ant_error *err)
{
    char *name = ant_xasprintf("%s/tokenizer.model", test_folder);
    size_t n;
    char *bytes = model_bytes(more, more_bytes, &n);
    write_file(name, bytes, n);
    int rc = ant_tokenizer_open_model(out, name, err);
    free(bytes);
    free(name);
    return rc;
}

/* What tokenizer_config.json adds to it: special tokens of a chat, and what stands at the ends. */
static void test_model(void **state)
{
    (void)state;
    char *config = ant_xasprintf("%s/tokenizer_config.json", test_folder);
    struct ant_tokenizer *tokenizer;
    struct ant_error err = {{0}};

    unlink(config);
    assert_int_equal(open_model(&tokenizer, "", 0, &err), 0);
    expect_ids(tokenizer, "ab  a", true, "6 3 4");
    expect_ids(tokenizer, "xy", true, "3 0");
    ant_tokenizer_close(tokenizer);

    static const char bpe[] = "\x12\x02\x18\x02"; /* without tokens of bytes */
    assert_int_equal(open_model(&tokenizer, bpe, sizeof bpe - 1, &err), 0);
    expect_ids(tokenizer, "xy\xe4\xb8\xad a\xe4\xb8\xad", false, "3 0 3 4 0");
    ant_tokenizer_close(tokenizer);

    static const char json[] =
        "{\"add_bos_token\": true, \"add_eos_token\": true, \"eos_token\": \"<end>\","
        " \"added_tokens_decoder\": {\"1\": {\"content\": \"<s>\", \"special\": true},"
        " \"9\": {\"content\": \"<end>\", \"special\": true}}}";
    write_file(config, json, strlen(json));
    assert_int_equal(open_model(&tokenizer, "", 0, &err), 0);
    assert_int_equal(ant_tokenizer_size(tokenizer), 10);
    assert_int_equal(ant_tokenizer_eos(tokenizer), 9);
    assert_true(ant_tokenizer_is_special(tokenizer, 9));
    expect_ids(tokenizer, "ab<end>a", true, "1 6 9 3 4 2");
    ant_tokenizer_close(tokenizer);
    unlink(config);
    free(config);
}

static void test_model_errors(void **state)
{
    (void)state;
    static const struct {
        const char *more;
        size_t bytes;
        const char *text;
    } cases[] = {
        {"\x0a", 1, "no model of SentencePiece, or a malformed one"},
        {"\x0a\x7f", 2, "malformed"},
        {"\x0b", 1, "malformed"},
        {"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", 12, "malformed"},
        {"\x0a\x03\x0a\x01\xff", 5, "UTF-8"},
        {"\x0a\x03\x0a\x01"
         "a",
         5, "tokens 4 and 7 have the same text"},
        {"\x12\x02\x18\x03", 4, "neither a unigram nor a BPE model"},
        {"\x12\x03\xc0\x01\x01", 5, "spaces behind words are not supported"},
        {"\x1a\x03\x12\x01x", 5, "the map of characters is malformed"},
        {"\x1a\x02\x28\x00", 4, "spaces that are spelled as they are: not supported"},
        {"\x12\x03\xc0\x02\x64", 5, "without an unknown token"},
    };
    struct ant_tokenizer *tokenizer;
    struct ant_error err = {{0}};

    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        assert_true(open_model(&tokenizer, cases[i].more, cases[i].bytes, &err) < 0);
        if (!strstr(err.text, cases[i].text))
            fail_msg("case %zu: '%s', expected '%s'", i, err.text, cases[i].text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hostile_json),
        cmocka_unit_test(test_merge_order),
        cmocka_unit_test(test_functions),
        cmocka_unit_test(test_config_beside),
        cmocka_unit_test(test_growing_texts),
        cmocka_unit_test(test_pieces_of_steps),
        cmocka_unit_test(test_pieces_of_bytes),
        cmocka_unit_test(test_added_beyond_the_model),
        cmocka_unit_test(test_unigram_of_bytes),
        cmocka_unit_test(test_long_words),
        cmocka_unit_test(test_threads),
        cmocka_unit_test(test_gguf_scores),
        cmocka_unit_test(test_gguf_errors),
        cmocka_unit_test(test_gguf_merges),
        cmocka_unit_test(test_model),
        cmocka_unit_test(test_model_errors),
        cmocka_unit_test(test_map),
    };
    return cmocka_run_group_tests(tests, set_up, remove_test_folder);
}
