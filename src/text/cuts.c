/* SPDX-License-Identifier: Apache-2.0 */
/* A table of which last byte of a character comes before which first byte of the next one within
 * any token. The word mark, beside which most cuts are, has values of its own: those that no byte
 * of UTF-8 has. */
#include "config.h"

#include "text/cuts.h"
#include "text/unicode.h"

#include <stdlib.h>
#include <string.h>

enum { MARK = 0xff, MARK_FIRST = 0xe2, MARK_BYTES = 3 };
static const char mark[] = "\xe2\x96\x81"; /* U+2581 */

struct ant_cuts {
    bool joined[256][256];
};

static bool is_mark(const char *text, size_t bytes)
{
    return bytes >= MARK_BYTES && memcmp(text, mark, MARK_BYTES) == 0;
}

/* The value of the character at `text` before the next one. */
static unsigned char last_of(const char *text, size_t length)
{
    return is_mark(text, length) ? MARK : (unsigned char)text[length - 1];
}

/* Its value behind the one before. */
static unsigned char first_of(const char *text, size_t bytes)
{
    unsigned char first = (unsigned char)*text;

    return first == MARK_FIRST && is_mark(text, bytes) ? MARK : first;
}

/* Texts of tokens need not be well-formed. */
static size_t length_at(const char *text, size_t bytes)
{
    size_t length = ant_utf8_length((unsigned char)*text);

    return length < bytes ? length : bytes;
}

static void join(struct ant_cuts *cuts, const char *text, size_t bytes)
{
    for (size_t at = 0, length; at < bytes; at += length) {
        length = length_at(text + at, bytes - at);
        if (at + length < bytes)
            cuts->joined[last_of(text + at, length)]
                        [first_of(text + at + length, bytes - at - length)] = true;
    }
}

struct ant_cuts *ant_cuts_open(const struct ant_vocab *vocab, bool words_only)
{
    struct ant_cuts *cuts = ant_xcalloc(1, sizeof(*cuts));

    for (int id = 0; id < vocab->size; id++) {
        size_t bytes;
        const char *text = ant_vocab_text(vocab, id, &bytes);

        join(cuts, text, bytes);
    }
    for (int last = 0; words_only && last < 256; last++)
        memset(cuts->joined[last], true, MARK);
    return cuts;
}

void ant_cuts_close(struct ant_cuts *cuts)
{
    free(cuts);
}

size_t ant_cuts_next(const struct ant_cuts *cuts, const char *text, size_t bytes, size_t at)
{
    for (;;) {
        size_t length = ant_utf8_length((unsigned char)text[at]);
        unsigned char last = length == 1 ? (unsigned char)text[at] : last_of(text + at, length);

        at += length;
        if (at >= bytes || !cuts->joined[last][first_of(text + at, bytes - at)])
            return at < bytes ? at : bytes;
    }
}
