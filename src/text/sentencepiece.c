/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "text/sentencepiece.h"

#include <math.h>
#include <string.h>

enum { STEPS = 2 };

static const char mark[] = "\xe2\x96\x81"; /* U+2581 stands for a space */

static int spell(struct ant_vocab *vocab, const struct ant_sentencepiece *spelling,
                 struct ant_error *err)
{
    vocab->normal = ant_xcalloc(STEPS, sizeof(*vocab->normal));
    if (spelling->map_bytes > 0) {
        vocab->normal->kind = ANT_NORMAL_MAP;
        vocab->n_normal = 1;
        ANT_TRY(ant_charsmap_open(&vocab->normal->map, spelling->map, spelling->map_bytes, err));
    }
    vocab->normal[vocab->n_normal++] = (struct ant_normal_step){
        .kind = ANT_NORMAL_SPELL, .left = spelling->adds_prefix, .right = spelling->strips};
    return 0;
}

static int spell_back(struct ant_vocab *vocab, bool has_prefix, struct ant_error *err)
{
    static const struct ant_decode_step steps[] = {
        {.kind = ANT_DECODE_REPLACE},
        {.kind = ANT_DECODE_BYTE_FALLBACK},
        {.kind = ANT_DECODE_FUSE},
        {.kind = ANT_DECODE_STRIP, .left = 1},
    };

    vocab->decode = ant_xcalloc(sizeof(steps) / sizeof(*steps), sizeof(*vocab->decode));
    memcpy(vocab->decode, steps, sizeof(steps));
    vocab->n_decode = sizeof(steps) / sizeof(*steps);
    vocab->decode[0].content = ant_xstrdup(" ");
    vocab->decode[0].bytes = 1;
    vocab->decode[3].content = ant_xstrdup(" ");
    vocab->decode[3].bytes = 1;
    vocab->decode[3].left = has_prefix;
    return ant_pattern_text(&vocab->decode[0].pattern, mark, strlen(mark), err);
}

int ant_sentencepiece_spell(struct ant_vocab *vocab, const struct ant_sentencepiece *spelling,
                            struct ant_error *err)
{
    ANT_TRY(spell(vocab, spelling, err));
    return spell_back(vocab, spelling->adds_prefix, err);
}

void ant_sentencepiece_weigh(struct ant_vocab *vocab)
{
    vocab->model = ANT_VOCAB_UNIGRAM;
    vocab->weights = ant_xcalloc((size_t)vocab->size, sizeof(*vocab->weights));
    for (int id = 0; id < vocab->size; id++)
        vocab->weights[id] = (double)vocab->scores[id];
    for (size_t i = 0; i < vocab->n_added; i++)
        vocab->weights[vocab->added[i].id] = -INFINITY;
}
