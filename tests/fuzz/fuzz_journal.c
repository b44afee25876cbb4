/* SPDX-License-Identifier: Apache-2.0 */
/* A journal file of any bytes. What replay finds must be sorted, single, and readable. The first
 * byte, where it is odd, has the checksums of all frames mended, so that what lies behind them is
 * reached too. */
#include "config.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/checksum.h"
#include "base/mem.h"
#include "fuzz.h"
#include "store/journal.h"

enum { HEADER = 23 };

static char folder[] = "/tmp/antiphon-fuzz-XXXXXX";
static char out[64], journal[80], file[100];

static void remove_folder(void)
{
    unlink(file);
    rmdir(journal);
    rmdir(folder);
}

static void make_folder(void)
{
    if (!mkdtemp(folder))
        abort();
    snprintf(out, sizeof(out), "%s/o", folder);
    snprintf(journal, sizeof(journal), "%s.journal", out);
    snprintf(file, sizeof(file), "%s/r0.s1.aj", journal);
    if (mkdir(journal, 0700) < 0)
        abort();
    atexit(remove_folder);
}

static uint32_t length_at(const uint8_t *frame)
{
    return frame[4] | (uint32_t)frame[5] << 8 | (uint32_t)frame[6] << 16 | (uint32_t)frame[7] << 24;
}

static void mend_checksums(uint8_t *data, size_t bytes)
{
    for (size_t at = 0; bytes - at >= HEADER;) {
        uint8_t *frame = data + at;
        size_t length = length_at(frame);
        if (length > bytes - at - HEADER)
            break;
        uint32_t crc = ant_crc32c(0, frame + 4, 4);
        crc = ant_crc32c(crc, frame + 12, HEADER - 12 + length);
        for (int i = 0; i < 4; i++)
            frame[8 + i] = (uint8_t)(crc >> (8 * i));
        at += HEADER + length;
    }
}

static void read_parts(const struct ant_journal_index *index)
{
    struct ant_journal_reader *reader = ant_journal_reader_open(out);

    for (size_t i = 0; i < index->n_parts; i++) {
        const struct ant_journal_part *part = &index->parts[i];
        struct ant_ids tokens = {0};
        struct ant_error err;
        if (i + 1 < index->n_parts && part[1].row == part->row && part[1].sample == part->sample)
            continue; /* read with the last one of its answer */
        if (ant_journal_read_parts(reader, index, part->row, part->sample, &tokens, &err) < 0 ||
            tokens.len != part->first + part->n_tokens)
            abort();
        ant_ids_release(&tokens);
    }
    ant_journal_reader_close(reader);
}

static void read_all(const struct ant_journal_entry *entries, size_t n)
{
    struct ant_journal_reader *reader = ant_journal_reader_open(out);

    for (size_t i = 0; i < n; i++) {
        struct ant_answer answer;
        struct ant_error err;
        if (i > 0 &&
            (entries[i].row < entries[i - 1].row ||
             (entries[i].row == entries[i - 1].row && entries[i].sample <= entries[i - 1].sample)))
            abort();
        if (ant_journal_read(reader, &entries[i], &answer, &err) < 0)
            abort();
        for (uint32_t k = 0; k < answer.n_tokens; k++)
            (void)((const volatile int32_t *)answer.tokens)[k];
        for (uint32_t k = 0; k < answer.text_bytes; k++)
            (void)((const volatile char *)answer.text)[k];
        for (uint32_t k = 0; k < answer.error_bytes; k++)
            (void)((const volatile char *)answer.error)[k];
    }
    ant_journal_reader_close(reader);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    struct ant_journal_index index = {0};
    struct ant_error err;

    if (!*out)
        make_folder();
    if (bytes == 0)
        return 0;
    uint8_t *copy = ant_xmalloc(bytes);
    memcpy(copy, data, bytes);
    if (data[0] & 1)
        mend_checksums(copy + 1, bytes - 1);
    int fd = open(file, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (fd < 0 || write(fd, copy + 1, bytes - 1) != (ssize_t)(bytes - 1))
        abort();
    close(fd);
    free(copy);
    if (ant_journal_replay(&index, out, 0, 1, &err) < 0 || index.dropped_bytes > bytes - 1)
        abort();
    read_all(index.entries, index.n);
    read_parts(&index);
    ant_journal_index_release(&index);
    return 0;
}
