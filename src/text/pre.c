/* SPDX-License-Identifier: Apache-2.0 */
/* One row a way of splitting, with the names that GGUF writers have given to it. The steps are
 * those of the models' own tokenizer.json where that is known; "default" is what llama.cpp does
 * with files from before the names. */
#include "config.h"

#include "text/pre.h"
#include "text/unicode.h"

#include <string.h>

enum { STEPS = 6 };

enum cut_kind {
    END,
    REGEX,  /* isolates its matches */
    DIGIT,  /* isolates every numeric character */
    NUMBER, /* numeric characters side by side are one piece */
    PUNCT,  /* punctuation side by side is one piece */
    SPELL,  /* from here on the text is spelled in the byte alphabet */
};

struct pre {
    const char *names; /* each between two spaces */
    bool nfc, ignore_merges, add_bos;
    struct {
        enum cut_kind kind;
        const char *pattern;
    } steps[STEPS];
};

#define GPT2                                                                                       \
    "'s|'t|'re|'ve|'m|'ll|'d"                                                                      \
    "| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"
#define SHORTENED         "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define AFTER_WORDS       "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define AFTER_WORDS_SLASH "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define BEFORE_WORD       "[^\\r\\n\\p{L}\\p{N}]?"
#define LLAMA3            SHORTENED "|" BEFORE_WORD "\\p{L}+|\\p{N}{1,3}" AFTER_WORDS
#define QWEN2             SHORTENED "|" BEFORE_WORD "\\p{L}+|\\p{N}" AFTER_WORDS
#define CAPITALS          "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]"
#define SMALLS            "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"
#define GPT4O                                                                                      \
    BEFORE_WORD CAPITALS "*" SMALLS "+" SHORTENED "?|" BEFORE_WORD CAPITALS "+" SMALLS             \
                         "*" SHORTENED "?|\\p{N}{1,3}" AFTER_WORDS_SLASH
#define ASCII_PUNCT "!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~"
#define DEEPSEEK3                                                                                  \
    "[" ASCII_PUNCT "][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+"                       \
    "| ?[\\p{P}\\p{S}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define BLOOM " ?[^(\\s|.,!?\\x{2026}\\x{3002}\\x{ff0c}\\x{3001}\\x{964}\\x{6d4}\\x{60c})]+"
#define DEEPSEEK_LETTERS                                                                           \
    "\\s?[A-Za-z"                                                                                  \
    "\\x{b5}\\x{c0}-\\x{d6}\\x{d8}-\\x{f6}\\x{f8}-\\x{1ba}\\x{1bc}-\\x{1bf}\\x{1c4}-\\x{293}"      \
    "\\x{295}-\\x{2af}\\x{370}-\\x{373}\\x{376}\\x{377}\\x{37b}-\\x{37d}\\x{37f}\\x{386}"          \
    "\\x{388}-\\x{38a}\\x{38c}\\x{38e}-\\x{3a1}\\x{3a3}-\\x{3f5}\\x{3f7}-\\x{481}"                 \
    "\\x{48a}-\\x{52f}\\x{531}-\\x{556}\\x{10a0}-\\x{10c5}\\x{13a0}-\\x{13f5}"                     \
    "\\x{13f8}-\\x{13fd}\\x{1c90}-\\x{1cba}\\x{1cbd}-\\x{1cbf}\\x{1d00}-\\x{1d2b}"                 \
    "\\x{1d6b}-\\x{1d77}\\x{1d79}-\\x{1d9a}\\x{1e00}-\\x{1f15}\\x{1f18}-\\x{1f1d}"                 \
    "\\x{1f20}-\\x{1f45}\\x{1f48}-\\x{1f4d}\\x{1f50}-\\x{1f57}\\x{1f59}\\x{1f5b}\\x{1f5d}"         \
    "\\x{1f5f}-\\x{1f7d}\\x{1f80}-\\x{1fb4}\\x{1fb6}-\\x{1fbc}\\x{1fbe}\\x{1fc2}-\\x{1fc4}"        \
    "\\x{1fc6}-\\x{1fcc}\\x{1fd0}-\\x{1fd3}\\x{1fd6}-\\x{1fdb}\\x{1fe0}-\\x{1fec}"                 \
    "\\x{1ff2}-\\x{1ff4}\\x{1ff6}-\\x{1ffc}\\x{2102}\\x{2107}\\x{210a}-\\x{2113}\\x{2115}"         \
    "\\x{2119}-\\x{211d}\\x{2124}\\x{2126}\\x{2128}\\x{212a}-\\x{212d}\\x{212f}-\\x{2134}"         \
    "\\x{2139}\\x{213c}-\\x{213f}\\x{2145}-\\x{2149}\\x{214e}\\x{2183}\\x{2184}"                   \
    "\\x{2c00}-\\x{2c7b}\\x{2c7e}-\\x{2ce4}\\x{2ceb}-\\x{2cee}\\x{2cf2}\\x{2cf3}"                  \
    "\\x{a640}-\\x{a66d}\\x{a680}-\\x{a69b}\\x{a722}-\\x{a76f}\\x{a771}-\\x{a787}"                 \
    "\\x{a78b}-\\x{a78e}\\x{ab70}-\\x{abbf}\\x{fb00}-\\x{fb06}\\x{fb13}-\\x{fb17}"                 \
    "\\x{ff21}-\\x{ff3a}\\x{ff41}-\\x{ff5a}\\x{10400}-\\x{1044f}\\x{104b0}-\\x{104d3}"             \
    "\\x{104d8}-\\x{104fb}\\x{10c80}-\\x{10cb2}\\x{10cc0}-\\x{10cf2}\\x{118a0}-\\x{118df}"         \
    "\\x{1e900}-\\x{1e943}]+"

static const struct pre pres[] = {
    {.names = " default ",
     .steps = {{REGEX, "[\\p{P}\\$\\+<=>\\^~\\|]+"},
               {REGEX, GPT2},
               {REGEX, "\\p{N}+"},
               {REGEX, "[0-9][0-9][0-9]"}}},
    {.names = " gpt-2 phi-2 gigachat a.x-4.0 mellum exaone4 jais trillion granite-docling ",
     .steps = {{REGEX, GPT2}}},
    {.names = " mpt olmo ", .nfc = true, .steps = {{REGEX, GPT2}}},
    {.names = " smollm starcoder refact codeshell exaone minerva-7b mellum2 ",
     .steps = {{DIGIT, NULL}, {REGEX, GPT2}}},
    {.names = " command-r ", .nfc = true, .steps = {{DIGIT, NULL}, {REGEX, GPT2}}},
    {.names = " llama3 llama-v3 llama-bpe falcon3 falcon-h1 pixtral midm-2.0 lfm2 ",
     .ignore_merges = true,
     .add_bos = true,
     .steps = {{REGEX, LLAMA3}}},
    {.names = " dbrx smaug-bpe chatglm-bpe ", .steps = {{REGEX, LLAMA3}}},
    {.names = " glm4 glm5 ", .ignore_merges = true, .steps = {{REGEX, LLAMA3}}},
    {.names = " qwen2 ", .nfc = true, .steps = {{REGEX, QWEN2}}},
    {.names = " stablelm2 deepseek-r1-qwen kormo f2llmv2 megrez hunyuan solar-open grok-2 ",
     .steps = {{REGEX, QWEN2}}},
    {.names = " qwen35 ",
     .steps = {{REGEX,
                SHORTENED "|" BEFORE_WORD "[\\p{L}\\p{M}]+|\\p{N}| ?[^\\s\\p{L}\\p{M}\\p{N}]+"
                          "[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"}}},
    {.names = " tekken ",
     .ignore_merges = true,
     .add_bos = true,
     .steps = {{REGEX, BEFORE_WORD CAPITALS "*" SMALLS "+|" BEFORE_WORD CAPITALS "+" SMALLS
                                            "*|\\p{N}" AFTER_WORDS_SLASH}}},
    {.names = " gpt-4o llama4 kanana2 minimax-m2 talkie ", .steps = {{REGEX, GPT4O}}},
    {.names = " tiny_aya cohere2moe ",
     .steps = {{REGEX, "\\d{1,3}(?=(?:\\d{3})*\\b)"}, {REGEX, GPT4O}}},
    {.names = " deepseek-llm ",
     .steps =
         {{REGEX, "[\\r\\n]"},
          {REGEX, DEEPSEEK_LETTERS},
          {REGEX,
           "\\s?[!-/"
           ":-~\\x{ff01}-\\x{ff0f}\\x{ff1a}-\\x{ff5e}\\x{2018}-\\x{201f}\\x{3000}-\\x{3002}]+"},
          {REGEX, "\\s+$"},
          {REGEX, "[\\x{4e00}-\\x{9fa5}\\x{800}-\\x{4e00}\\x{ac00}-\\x{d7ff}]+"},
          {DIGIT, NULL}}},
    {.names = " deepseek-coder ",
     .steps = {{REGEX, "[\\r\\n]"},
               {REGEX, "\\s?\\p{L}+"},
               {REGEX, "\\s?\\p{P}+"},
               {REGEX, "[\\x{4e00}-\\x{9fa5}\\x{800}-\\x{4e00}\\x{ac00}-\\x{d7ff}]+"},
               {DIGIT, NULL}}},
    {.names = " deepseek-v3 joyai-llm hunyuan-dense hy_v4 ",
     .steps = {{REGEX, "\\p{N}{1,3}"},
               {REGEX, "[\\x{4e00}-\\x{9fa5}\\x{3040}-\\x{309f}\\x{30a0}-\\x{30ff}]+"},
               {REGEX, DEEPSEEK3}}},
    {.names = " falcon ",
     .steps =
         {{PUNCT, NULL}, {REGEX, GPT2}, {SPELL, NULL}, {NUMBER, NULL}, {REGEX, "[0-9][0-9][0-9]"}}},
    {.names = " bloom poro-chat gpt3-finnish ", .steps = {{REGEX, BLOOM}}},
    {.names = " viking ", .steps = {{REGEX, BLOOM}, {DIGIT, NULL}}},
    {.names = " bailingmoe bailingmoe2 llada-moe ",
     .steps = {{REGEX, "'(?i:[sdmt]|ll|ve|re)|[^\\r\\n\\p{L}\\p{N}]?+\\p{L}+|\\p{N}"
                       "| ?[^\\s\\p{L}\\p{N}]++[\\r\\n]*|\\s*[\\r\\n]|\\s+(?!\\S)|\\s+"}}},
    {.names = " seed-coder ",
     .steps = {{REGEX, SHORTENED "|" BEFORE_WORD "\\p{L}+|\\p{N}{1}| ?[^\\s\\p{L}\\p{N}\\r\\n]+"
                                 "|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"}}},
    {.names = " exaone-moe ",
     .steps = {{REGEX, SHORTENED "|" BEFORE_WORD "(?:\\p{L}\\p{M}*(?: \\p{L}\\p{M}*)*)+|\\p{N}"
                                 "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]?|\\s*[\\r\\n]|\\s+(?!\\S)"
                                 "|\\s+"}}},
    {.names = " minicpm5 ",
     .ignore_merges = true,
     .steps = {{REGEX, "\\p{N}{1,3}"},
               {REGEX, SHORTENED "|" BEFORE_WORD "\\p{L}+|\\p{N}+" AFTER_WORDS}}},
};

static const struct pre *find(const char *name, size_t bytes)
{
    char wanted[64];
    size_t i;

    if (bytes == 0 || bytes + 3 > sizeof wanted || memchr(name, ' ', bytes) ||
        memchr(name, '\0', bytes))
        return NULL;
    wanted[0] = ' ';
    memcpy(wanted + 1, name, bytes);
    memcpy(wanted + 1 + bytes, " ", 2);
    for (i = 0; i < sizeof pres / sizeof *pres; i++)
        if (strstr(pres[i].names, wanted))
            return &pres[i];
    return NULL;
}

static int add_step(struct ant_vocab *vocab, enum cut_kind kind, const char *pattern,
                    struct ant_error *err)
{
    struct ant_split_step *step = &vocab->split[vocab->n_split++];

    *step = (struct ant_split_step){.kind = ANT_SPLIT_CUT, .behavior = ANT_SPLIT_CONTIGUOUS};
    switch (kind) {
    case DIGIT:
        step->behavior = ANT_SPLIT_ISOLATED;
        step->pattern = ant_pattern_class(ant_is_numeric);
        return 0;
    case NUMBER:
        step->pattern = ant_pattern_class(ant_is_numeric);
        return 0;
    case PUNCT:
        step->pattern = ant_pattern_class(ant_is_punctuation);
        return 0;
    case SPELL:
        step->kind = ANT_SPLIT_SPELL;
        vocab->byte_level = false;
        return 0;
    default:
        step->behavior = ANT_SPLIT_ISOLATED;
        return ant_pattern_regex(&step->pattern, pattern, strlen(pattern), err);
    }
}

int ant_pre_apply(struct ant_vocab *vocab, const char *name, size_t bytes, bool *add_bos,
                  struct ant_error *err)
{
    const struct pre *pre = find(name, bytes);
    char quoted[ANT_QUOTED];
    size_t i;

    if (!pre)
        return ant_fail(err, ANT_EUNSUPP, "unknown way of splitting '%s'",
                        ant_quote(quoted, name, bytes));
    if (pre->nfc) {
        vocab->normal = ant_xcalloc(1, sizeof *vocab->normal);
        vocab->normal[vocab->n_normal++].kind = ANT_NORMAL_NFC;
    }
    vocab->byte_level = true;
    vocab->ignore_merges = pre->ignore_merges;
    *add_bos = pre->add_bos;
    vocab->split = ant_xcalloc(STEPS, sizeof *vocab->split);
    for (i = 0; i < STEPS && pre->steps[i].kind != END; i++)
        ANT_TRY(add_step(vocab, pre->steps[i].kind, pre->steps[i].pattern, err));
    return 0;
}
