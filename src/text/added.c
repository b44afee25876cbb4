/* SPDX-License-Identifier: Apache-2.0 */
/* The texts lie sorted; at a place of the text the range of those that fit is narrowed byte by
 * byte. Most bytes of a text start none of them. */
#include "config.h"

#include "text/added.h"
#include "text/unicode.h"

#include <stdlib.h>
#include <string.h>

struct ant_added_set {
    struct ant_added_text *texts; /* owned: sorted as bytes, a prefix before what it starts */
    size_t n;
    size_t first[257]; /* where the texts that start with this byte begin */
};

static int compare(const void *a, const void *b)
{
    const struct ant_added_text *x = a, *y = b;
    int order = memcmp(x->text, y->text, x->bytes < y->bytes ? x->bytes : y->bytes);

    return order ? order : (x->bytes > y->bytes) - (x->bytes < y->bytes);
}

struct ant_added_set *ant_added_open(const struct ant_added_text *texts, size_t n)
{
    struct ant_added_set *set = ant_xcalloc(1, sizeof *set);
    size_t i, byte = 0;

    set->texts = ant_xcalloc(n, sizeof *set->texts);
    for (i = 0; i < n; i++)
        if (texts[i].bytes > 0)
            set->texts[set->n++] = texts[i];
    qsort(set->texts, set->n, sizeof *set->texts, compare);
    for (i = 0; i < set->n; i++)
        while (byte <= (unsigned char)set->texts[i].text[0])
            set->first[byte++] = i;
    while (byte <= 256)
        set->first[byte++] = set->n;
    return set;
}

void ant_added_close(struct ant_added_set *set)
{
    if (!set)
        return;
    free(set->texts);
    free(set);
}

/* The first of [low, high) whose byte at `depth` is `byte` or more. All share the bytes before. */
static size_t lower_bound(const struct ant_added_set *set, size_t low, size_t high, size_t depth,
                          unsigned byte)
{
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const struct ant_added_text *t = &set->texts[middle];

        if (t->bytes <= depth || (unsigned char)t->text[depth] < byte)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* The longest text that stands at the front of `text`, or NULL. */
static const struct ant_added_text *longest(const struct ant_added_set *set, const char *text,
                                            size_t bytes)
{
    const struct ant_added_text *found = NULL;
    unsigned char byte = (unsigned char)*text;
    size_t low = set->first[byte], high = set->first[byte + 1], depth = 1;

    while (low < high) {
        if (set->texts[low].bytes == depth)
            found = &set->texts[low];
        if (depth == bytes)
            break;
        byte = (unsigned char)text[depth];
        low = lower_bound(set, low, high, depth, byte);
        high = lower_bound(set, low, high, depth, byte + 1u);
        depth++;
    }
    return found;
}

static bool word_before(const char *text, size_t at)
{
    uint32_t character;
    size_t length = 1;

    if (at == 0)
        return false;
    while ((text[at - length] & 0xc0) == 0x80)
        length++;
    ant_utf8_next(text + at - length, &character);
    return ant_is_word(character);
}

static bool word_behind(const char *text, size_t bytes, size_t at)
{
    uint32_t character;

    if (at == bytes)
        return false;
    ant_utf8_next(text + at, &character);
    return ant_is_word(character);
}

static size_t space_before(const char *text, size_t at, size_t low)
{
    while (at > low) {
        uint32_t character;
        size_t length = 1;

        while ((text[at - length] & 0xc0) == 0x80)
            length++;
        ant_utf8_next(text + at - length, &character);
        if (!ant_is_space(character))
            break;
        at -= length;
    }
    return at > low ? at : low;
}

static size_t space_behind(const char *text, size_t bytes, size_t at)
{
    while (at < bytes) {
        uint32_t character;
        size_t length = ant_utf8_next(text + at, &character);

        if (!ant_is_space(character))
            break;
        at += length;
    }
    return at;
}

int ant_added_cut(const struct ant_added_set *set, const char *text, size_t bytes,
                  ant_added_stretch *stretch, void *context, struct ant_error *err)
{
    size_t at = 0, done = 0;

    while (set->n > 0 && at < bytes) {
        const struct ant_added_text *found = longest(set, text + at, bytes - at);
        size_t start = at, end;

        if (!found) {
            at++;
            continue;
        }
        end = at += found->bytes;
        if (found->token->single_word &&
            (word_before(text, start) || word_behind(text, bytes, end)))
            continue;
        if (found->token->lstrip)
            start = space_before(text, start, done);
        if (found->token->rstrip)
            end = space_behind(text, bytes, end);
        if (start > done)
            ANT_TRY(stretch(context, NULL, text + done, start - done, err));
        ANT_TRY(stretch(context, found->token, found->text, found->bytes, err));
        done = end;
    }
    return done < bytes ? stretch(context, NULL, text + done, bytes - done, err) : 0;
}
