/* SPDX-License-Identifier: Apache-2.0 */
/* Characters as the tokenizers see them: UTF-8, the classes their rules name, and the alphabet in
 * which byte-level vocabularies write bytes.
 *
 * Hides utf8proc's tables (not normalisation: that is normal.h). Thread: any. */
#ifndef ANT_TEXT_UNICODE_H
#define ANT_TEXT_UNICODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/mem.h"

/* Offset of the first byte that is not part of well-formed UTF-8 (no surrogates, nothing overlong,
 * nothing beyond U+10FFFF); `bytes` when all is well. */
size_t ant_utf8_check(const char *text, size_t bytes);

/* The character at `text`, which must be well-formed; returns its length. */
static inline size_t ant_utf8_next(const char *text, uint32_t *character)
{
    const unsigned char *c = (const unsigned char *)text;

    if (c[0] < 0x80) {
        *character = c[0];
        return 1;
    }
    if (c[0] < 0xe0) {
        *character = (c[0] & 0x1fu) << 6 | (c[1] & 0x3fu);
        return 2;
    }
    if (c[0] < 0xf0) {
        *character = (c[0] & 0x0fu) << 12 | (c[1] & 0x3fu) << 6 | (c[2] & 0x3fu);
        return 3;
    }
    *character = (c[0] & 0x07u) << 18 | (c[1] & 0x3fu) << 12 | (c[2] & 0x3fu) << 6 | (c[3] & 0x3fu);
    return 4;
}

/* Length of the character that starts with this byte of well-formed text. */
static inline size_t ant_utf8_length(unsigned char first)
{
    return first < 0x80 ? 1 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
}

size_t ant_utf8_put(char out[4], uint32_t character); /* returns the length */

int ant_hex_digit(char c); /* its value, or -1 */

/* Append any bytes as UTF-8: every longest start of a character that goes wrong becomes one
 * U+FFFD. */
void ant_utf8_lossy(struct ant_buf *out, const char *bytes, size_t n);

bool ant_is_space(uint32_t character);        /* the property White_Space */
bool ant_is_python_space(uint32_t character); /* ... and U+001C to U+001F: Python's str.isspace */
bool ant_is_printable(uint32_t character);    /* Python's str.isprintable */
bool ant_is_numeric(uint32_t character);      /* categories Nd, Nl, No */
bool ant_is_punctuation(uint32_t character);  /* categories P., and all of ASCII's */
bool ant_is_word(uint32_t character);         /* letters, marks, digits, connectors, joiners */
uint32_t ant_to_lower(uint32_t character);    /* one to one; U+0130 is the caller's */
uint32_t ant_to_upper(uint32_t character);    /* one to one */

/* Byte-level vocabularies (since GPT-2) are written with one printable character a byte. */
uint32_t ant_byte_character(unsigned char byte);
int ant_character_byte(uint32_t character); /* -1: none of the 256 */

/* Append `n` bytes spelled in that alphabet. */
void ant_bytes_spell(struct ant_buf *out, const char *bytes, size_t n);

/* Append the bytes that `text` (well-formed) spells. False, and nothing appended, when a character
 * is not of the alphabet. */
bool ant_bytes_unspell(struct ant_buf *out, const char *text, size_t n);

/* `text`, any bytes, fit for the middle of an error message: one line, UTF-8, cut short. Returns
 * `out`. */
enum { ANT_QUOTED = 64 };
const char *ant_quote(char out[ANT_QUOTED], const char *text, size_t bytes);

#endif
