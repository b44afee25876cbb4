/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "text/unicode.h"

#include <utf8proc.h>

#include <stdio.h>
#include <string.h>

/* Length of the well-formed character at `c` of at most `n` bytes, or 0; then `*bad` is the length
 * of its longest start that could still have become one (at least 1). */
static size_t well_formed(const unsigned char *c, size_t n, size_t *bad)
{
    unsigned char low = 0x80, high = 0xbf;
    size_t length, i;

    *bad = 1;
    if (c[0] < 0x80)
        return 1;
    if (c[0] < 0xc2 || c[0] > 0xf4)
        return 0;
    length = ant_utf8_length(c[0]);
    if (c[0] == 0xe0)
        low = 0xa0;
    else if (c[0] == 0xed)
        high = 0x9f;
    else if (c[0] == 0xf0)
        low = 0x90;
    else if (c[0] == 0xf4)
        high = 0x8f;
    for (i = 1; i < length; i++) {
        if (i >= n || c[i] < low || c[i] > high) {
            *bad = i;
            return 0;
        }
        low = 0x80;
        high = 0xbf;
    }
    return length;
}

size_t ant_utf8_check(const char *text, size_t bytes)
{
    const unsigned char *c = (const unsigned char *)text;
    size_t i = 0, bad;

    while (i < bytes) {
        uint64_t eight;
        size_t length;

        while (i + 8 <= bytes) {
            memcpy(&eight, c + i, 8);
            if (eight & 0x8080808080808080u)
                break;
            i += 8;
        }
        if (i == bytes)
            break;
        length = well_formed(c + i, bytes - i, &bad);
        if (length == 0)
            return i;
        i += length;
    }
    return bytes;
}

size_t ant_utf8_put(char out[4], uint32_t character)
{
    return (size_t)utf8proc_encode_char((utf8proc_int32_t)character, (utf8proc_uint8_t *)out);
}

int ant_hex_digit(char c)
{
    char lower = (char)(c | 0x20);

    if (c >= '0' && c <= '9')
        return c - '0';
    return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

void ant_utf8_lossy(struct ant_buf *out, const char *bytes, size_t n)
{
    const unsigned char *c = (const unsigned char *)bytes;
    size_t i = 0, start = 0, bad;

    while (i < n) {
        size_t length = well_formed(c + i, n - i, &bad);

        if (length > 0) {
            i += length;
            continue;
        }
        ant_buf_add(out, bytes + start, i - start);
        ant_buf_add(out, "\xef\xbf\xbd", 3);
        i += bad;
        start = i;
    }
    ant_buf_add(out, bytes + start, n - start);
}

bool ant_is_space(uint32_t c)
{
    if (c < 0x80)
        return c == ' ' || (c >= 9 && c <= 13);
    return c == 0x85 || c == 0xa0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200a) || c == 0x2028 ||
           c == 0x2029 || c == 0x202f || c == 0x205f || c == 0x3000;
}

bool ant_is_python_space(uint32_t c)
{
    return (c >= 0x1c && c <= 0x1f) || ant_is_space(c);
}

bool ant_is_printable(uint32_t c)
{
    utf8proc_category_t category = utf8proc_category((utf8proc_int32_t)c);

    return c == ' ' || (category != UTF8PROC_CATEGORY_CN && category < UTF8PROC_CATEGORY_ZS);
}

bool ant_is_numeric(uint32_t c)
{
    utf8proc_category_t category;

    if (c < 0x80)
        return c >= '0' && c <= '9';
    category = utf8proc_category((utf8proc_int32_t)c);
    return category >= UTF8PROC_CATEGORY_ND && category <= UTF8PROC_CATEGORY_NO;
}

bool ant_is_punctuation(uint32_t c)
{
    utf8proc_category_t category;

    if (c < 0x80)
        return (c >= '!' && c <= '/') || (c >= ':' && c <= '@') || (c >= '[' && c <= '`') ||
               (c >= '{' && c <= '~');
    category = utf8proc_category((utf8proc_int32_t)c);
    return category >= UTF8PROC_CATEGORY_PC && category <= UTF8PROC_CATEGORY_PO;
}

bool ant_is_word(uint32_t c)
{
    utf8proc_category_t category = utf8proc_category((utf8proc_int32_t)c);

    if (category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_NL)
        return true;
    /* Connectors, the two joiners, and the encircled letters that count as alphabetic. */
    return category == UTF8PROC_CATEGORY_PC || c == 0x200c || c == 0x200d ||
           (c >= 0x24b6 && c <= 0x24e9) || (c >= 0x1f130 && c <= 0x1f149) ||
           (c >= 0x1f150 && c <= 0x1f169) || (c >= 0x1f170 && c <= 0x1f189);
}

uint32_t ant_to_lower(uint32_t c)
{
    return (uint32_t)utf8proc_tolower((utf8proc_int32_t)c);
}

uint32_t ant_to_upper(uint32_t c)
{
    return (uint32_t)utf8proc_toupper((utf8proc_int32_t)c);
}

/* Printable characters of Latin-1 stand for themselves; the 68 others count up from U+0100. */
static bool spells_itself(uint32_t c)
{
    return (c >= 0x21 && c <= 0x7e) || (c >= 0xa1 && c <= 0xac) || (c >= 0xae && c <= 0xff);
}

uint32_t ant_byte_character(unsigned char byte)
{
    if (spells_itself(byte))
        return byte;
    if (byte <= 0x20)
        return 0x100u + byte;
    if (byte <= 0xa0)
        return 0x100u + 0x21 + (byte - 0x7fu);
    return 0x100u + 0x21 + 0x22; /* 0xad */
}

int ant_character_byte(uint32_t c)
{
    if (c < 0x100)
        return spells_itself(c) ? (int)c : -1;
    if (c <= 0x120)
        return (int)(c - 0x100);
    if (c <= 0x142)
        return (int)(c - 0x121 + 0x7f);
    return c == 0x143 ? 0xad : -1;
}

void ant_bytes_spell(struct ant_buf *out, const char *bytes, size_t n)
{
    char *to = ant_buf_grow(out, 2 * n), *start = to;
    size_t i;

    for (i = 0; i < n; i++) {
        uint32_t c = ant_byte_character((unsigned char)bytes[i]);

        if (c < 0x80) {
            *to++ = (char)c;
        } else {
            *to++ = (char)(0xc0 | c >> 6);
            *to++ = (char)(0x80 | (c & 0x3f));
        }
    }
    out->len -= 2 * n - (size_t)(to - start);
}

bool ant_bytes_unspell(struct ant_buf *out, const char *text, size_t n)
{
    size_t before = out->len, i = 0;
    char *to = ant_buf_grow(out, n);

    out->len = before;
    while (i < n) {
        uint32_t c;
        int byte;

        i += ant_utf8_next(text + i, &c);
        byte = ant_character_byte(c);
        if (byte < 0) {
            out->len = before;
            return false;
        }
        *to++ = (char)byte;
        out->len++;
    }
    return true;
}

const char *ant_quote(char out[ANT_QUOTED], const char *text, size_t bytes)
{
    enum { LONGEST = 4, DOTS = 3 };
    size_t i = 0, n = 0, bad;

    while (i < bytes) {
        size_t length = well_formed((const unsigned char *)text + i, bytes - i, &bad);

        if (n + LONGEST + DOTS + 1 > ANT_QUOTED) {
            memcpy(out + n, "...", DOTS);
            n += DOTS;
            break;
        }
        if (length == 0 || (unsigned char)text[i] < 0x20 || text[i] == 0x7f) {
            n += (size_t)snprintf(out + n, LONGEST + 1, "\\x%02x", (unsigned char)text[i]);
            i++;
        } else {
            memcpy(out + n, text + i, length);
            n += length;
            i += length;
        }
    }
    out[n] = '\0';
    return out;
}
