/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "text/charsmap.h"
#include "text/unicode.h"

#include <utf8proc.h>

#include <stdlib.h>
#include <string.h>

enum {
    LONGEST_CLUSTER = 5,
    LONGEST_TEXT = 64, /* bytes that an entry may become; 33 is the most in any model known */
};

/* The array's units, by bits: 31 is set in one that holds a value; else 0-7 the label, 8 whether a
 * text ends there, 9 whether the offset (10-30) counts in 256s. */
struct ant_charsmap {
    uint32_t *units; /* owned */
    size_t n_units;
    char *texts; /* owned: each ends with a NUL, and so does the last */
    size_t n_texts;
    bool plain[128]; /* no entry is this character of ASCII, or it and another */
};

static size_t offset_of(uint32_t unit)
{
    return (size_t)(unit >> 10) << ((unit & 1u << 9) >> 6);
}

/* Bytes of the shortest or longest entry that `text` begins with, and what it becomes; 0: none. */
static size_t look_up(const struct ant_charsmap *map, const char *text, size_t bytes,
                      bool is_longest, const char **to)
{
    size_t at = offset_of(map->units[0]), found = 0;

    for (size_t i = 0; i < bytes; i++) {
        unsigned char c = (unsigned char)text[i];
        at ^= c;
        if (at >= map->n_units || (map->units[at] & (1u << 31 | 0xff)) != c || c == 0)
            break;
        uint32_t unit = map->units[at];
        at ^= offset_of(unit);
        if (!(unit & 1u << 8) || at >= map->n_units)
            continue;
        size_t value = map->units[at] & 0x7fffffff;
        bool begins_character = value < map->n_texts && (map->texts[value] & 0xc0) != 0x80;
        if (!begins_character)
            continue;
        *to = map->texts + value;
        found = i + 1;
        if (!is_longest)
            break;
    }
    return found;
}

/* Most text is plain: its characters need not be looked up. */
static void find_plain(struct ant_charsmap *map)
{
    for (unsigned char c = 0; c < 128; c++) {
        size_t at = offset_of(map->units[0]) ^ c;
        map->plain[c] = true;
        if (at >= map->n_units || (map->units[at] & (1u << 31 | 0xff)) != c)
            continue;
        map->plain[c] = !(map->units[at] & 1u << 8);
        at ^= offset_of(map->units[at]);
        for (size_t next = 1; next < 128; next++)
            if ((at ^ next) < map->n_units && (map->units[at ^ next] & (1u << 31 | 0xff)) == next)
                map->plain[c] = false;
    }
    map->plain['\r'] = false; /* a cluster with \n */
}

/* Is none of the texts, each with a NUL behind it, longer than it may be? */
static bool are_short(const char *texts, size_t bytes)
{
    for (const char *end; bytes > 0; bytes -= (size_t)(end + 1 - texts), texts = end + 1) {
        end = memchr(texts, '\0', bytes);
        if (end - texts > LONGEST_TEXT)
            return false;
    }
    return true;
}

int ant_charsmap_open(struct ant_charsmap **out, const void *blob, size_t bytes,
                      struct ant_error *err)
{
    const unsigned char *data = blob;
    uint32_t trie = 0;

    for (int i = 3; i >= 0 && bytes >= 4; i--)
        trie = trie << 8 | data[i];
    if (bytes < 4 || trie > bytes - 4 || trie % 4 != 0 || trie == 0 || bytes - 4 == trie ||
        data[bytes - 1] != 0 ||
        ant_utf8_check((const char *)data + 4 + trie, bytes - 4 - trie) != bytes - 4 - trie)
        return ant_fail(err, ANT_EDATA, "the map of characters is malformed");
    if (!are_short((const char *)data + 4 + trie, bytes - 4 - trie))
        return ant_fail(err, ANT_EUNSUPP, "the map of characters has a text of more than %d bytes",
                        (int)LONGEST_TEXT);
    struct ant_charsmap *map = ant_xcalloc(1, sizeof(*map));
    map->n_units = trie / 4;
    map->units = ant_xcalloc(map->n_units, sizeof(*map->units));
    for (size_t i = 0; i < trie; i++)
        map->units[i / 4] |= (uint32_t)data[4 + i] << (8 * (i % 4));
    map->n_texts = bytes - 4 - trie;
    map->texts = ant_xmalloc(map->n_texts);
    memcpy(map->texts, data + 4 + trie, map->n_texts);
    find_plain(map);
    *out = map;
    return 0;
}

void ant_charsmap_close(struct ant_charsmap *map)
{
    if (!map)
        return;
    free(map->units);
    free(map->texts);
    free(map);
}

/* Bytes of the grapheme cluster that `text` begins with. */
static size_t cluster_length(const char *text, size_t bytes)
{
    utf8proc_int32_t state = 0;
    uint32_t last, next;
    size_t at = ant_utf8_next(text, &last);

    while (at < bytes) {
        size_t length = ant_utf8_next(text + at, &next);
        if (utf8proc_grapheme_break_stateful((utf8proc_int32_t)last, (utf8proc_int32_t)next,
                                             &state))
            break;
        at += length;
        last = next;
    }
    return at;
}

void ant_charsmap_rewrite(const struct ant_charsmap *map, bool by_cluster, const char *text,
                          size_t bytes, struct ant_buf *out)
{
    const char *to;

    for (size_t at = 0; at < bytes;) {
        size_t start = at;
        while (at + 1 < bytes && !((text[at] | text[at + 1]) & 0x80) &&
               map->plain[(unsigned char)text[at]])
            at++;
        ant_buf_add(out, text + start, at - start);
        size_t n = by_cluster ? cluster_length(text + at, bytes - at) : 0;
        if (n > 0 && n <= LONGEST_CLUSTER && look_up(map, text + at, n, false, &to)) {
            ant_buf_add(out, to, strlen(to));
            at += n;
            continue;
        }
        /* The characters of a cluster, or whatever is next. */
        for (size_t end = n > 0 ? at + n : at + 1; at < end;) {
            size_t length = ant_utf8_length((unsigned char)text[at]);
            size_t taken =
                look_up(map, text + at, by_cluster ? length : bytes - at, !by_cluster, &to);
            if (taken > 0)
                ant_buf_add(out, to, strlen(to));
            else
                ant_buf_add(out, text + at, length);
            at += taken > 0 && !by_cluster ? taken : length;
        }
    }
}
