/* SPDX-License-Identifier: Apache-2.0 */
/* Frames: writing, replaying and reading them back. Whose the folder is: journal_folder.c. */
#include "config.h"

#include "store/journal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/checksum.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/mem.h"
#include "store/journal_folder.h"

enum kind { KIND_DONE = 1, KIND_PART = 2, KIND_FAILED = 3 };

enum {
    MAGIC = 0x31464a41, /* "AJF1" */
    HEADER = 23,
    FIXED = 42, /* of a payload, before the tokens */
    MAX_PAYLOAD = 1 << 30,
    SYNC_ROWS = 64,
    READ_AHEAD = 1 << 20,
    MAX_OPEN_FILES = 64,
};
#define SYNC_SECONDS 5.0

const char *const ant_status_names[] = {"OK", "FAILED", "SKIPPED", "MISSING", NULL};
const char *const ant_finish_names[] = {"NONE", "STOP", "LENGTH", "EOS", "ERROR", NULL};

/* ---- bytes ------------------------------------------------------------------------------------
 */

static void put_u16(unsigned char *at, uint32_t value)
{
    at[0] = (unsigned char)value;
    at[1] = (unsigned char)(value >> 8);
}

static void put_u32(unsigned char *at, uint32_t value)
{
    put_u16(at, value);
    put_u16(at + 2, value >> 16);
}

static void put_u64(unsigned char *at, uint64_t value)
{
    put_u32(at, (uint32_t)value);
    put_u32(at + 4, (uint32_t)(value >> 32));
}

static void put_float(unsigned char *at, float value)
{
    uint32_t bits;

    memcpy(&bits, &value, sizeof(bits));
    put_u32(at, bits);
}

static uint32_t get_u16(const unsigned char *at)
{
    return (uint32_t)at[0] | (uint32_t)at[1] << 8;
}

static uint32_t get_u32(const unsigned char *at)
{
    return get_u16(at) | get_u16(at + 2) << 16;
}

static uint64_t get_u64(const unsigned char *at)
{
    return get_u32(at) | (uint64_t)get_u32(at + 4) << 32;
}

static float get_float(const unsigned char *at)
{
    uint32_t bits = get_u32(at);
    float value;

    memcpy(&value, &bits, sizeof(value));
    return value;
}

/* ---- frames -----------------------------------------------------------------------------------
 */

/* Of the length, and of everything behind the checksum itself. */
static uint32_t frame_crc(const unsigned char *frame, size_t length)
{
    uint32_t crc = ant_crc32c(0, frame + 4, 4);

    return ant_crc32c(crc, frame + 12, HEADER - 12 + length);
}

static void put_frame(unsigned char *frame, const struct ant_answer *answer, size_t length)
{
    unsigned char *p = frame + HEADER;

    put_u32(frame, MAGIC);
    put_u32(frame + 4, (uint32_t)length);
    put_u64(frame + 12, (uint64_t)answer->row);
    put_u16(frame + 20, (uint32_t)answer->sample);
    frame[22] = answer->status == ANT_STATUS_OK ? KIND_DONE : KIND_FAILED;

    p[0] = (unsigned char)answer->status;
    p[1] = (unsigned char)answer->finish;
    put_u32(p + 2, (uint32_t)answer->prompt_tokens);
    put_u32(p + 6, (uint32_t)answer->dp_rank);
    put_u32(p + 10, (uint32_t)answer->attempt);
    put_u64(p + 14, answer->seed);
    put_float(p + 22, answer->t_first);
    put_float(p + 26, answer->t_total);
    put_u32(p + 30, answer->n_tokens);
    put_u32(p + 34, answer->text_bytes);
    put_u32(p + 38, answer->error_bytes);
    p += FIXED;
    for (uint32_t i = 0; i < answer->n_tokens; i++, p += 4)
        put_u32(p, (uint32_t)answer->tokens[i]);
    if (answer->text_bytes)
        memcpy(p, answer->text, answer->text_bytes);
    if (answer->error_bytes)
        memcpy(p + answer->text_bytes, answer->error, answer->error_bytes);
    put_u32(frame + 8, frame_crc(frame, length));
}

static size_t payload_length(uint64_t n_tokens, uint64_t text_bytes, uint64_t error_bytes)
{
    return FIXED + 4 * n_tokens + text_bytes + error_bytes;
}

/* Does the payload keep what its numbers promise? */
static bool is_answer(const unsigned char *payload, size_t length)
{
    if (length < FIXED || payload[0] > ANT_STATUS_MISSING || payload[1] > ANT_FINISH_ERROR)
        return false;
    return payload_length(get_u32(payload + 30), get_u32(payload + 34), get_u32(payload + 38)) ==
           length;
}

/* The answer but for its tokens, which must be turned round on big-endian machines. */
static void get_answer(struct ant_answer *out, const unsigned char *frame)
{
    const unsigned char *p = frame + HEADER;

    *out = (struct ant_answer){
        .row = (int64_t)get_u64(frame + 12),
        .sample = (int32_t)get_u16(frame + 20),
        .status = (enum ant_status)p[0],
        .finish = (enum ant_finish)p[1],
        .prompt_tokens = (int32_t)get_u32(p + 2),
        .dp_rank = (int32_t)get_u32(p + 6),
        .attempt = (int32_t)get_u32(p + 10),
        .seed = get_u64(p + 14),
        .t_first = get_float(p + 22),
        .t_total = get_float(p + 26),
        .n_tokens = get_u32(p + 30),
        .text_bytes = get_u32(p + 34),
        .error_bytes = get_u32(p + 38),
    };
    out->text = (const char *)p + FIXED + 4 * (size_t)out->n_tokens;
    out->error = out->text + out->text_bytes;
}

/* ---- writing ----------------------------------------------------------------------------------
 */

struct ant_journal {
    int fd, rank, start;
    char *path; /* owned */
    uint64_t bytes;
    int unsynced;
    double last_sync;
    bool is_torn; /* a frame was written in part and could not be taken back */
    struct ant_buf frame;
    struct ant_journal_entry *entries; /* owned */
    size_t n, cap;
};

int ant_journal_open(struct ant_journal **out, const char *out_path, int rank, int start,
                     struct ant_error *err)
{
    struct ant_journal *journal = ant_xcalloc(1, sizeof(*journal));

    journal->rank = rank;
    journal->start = start;
    journal->last_sync = ant_now();
    journal->path = ant_journal_file_path(out_path, rank, start);
    journal->fd = open(journal->path, O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0666);
    int rc = 0;
    if (journal->fd < 0)
        rc = ant_fail(err, ANT_EIO, "cannot create '%s': %s", journal->path, strerror(errno));
    else
        rc = ant_sync_folder(journal->path, err);
    if (rc < 0) {
        ant_journal_close(journal);
        return rc;
    }
    *out = journal;
    return 0;
}

static int check_answer(const struct ant_journal *journal, const struct ant_answer *answer,
                        size_t length, struct ant_error *err)
{
    if (answer->row < 0 || answer->sample < 0 || answer->sample > UINT16_MAX)
        return ant_fail(err, ANT_EBUG, "'%s': row %lld, sample %d cannot be journalled",
                        journal->path, (long long)answer->row, (int)answer->sample);
    if (length > MAX_PAYLOAD)
        return ant_fail(err, ANT_EUNSUPP, "'%s': the answer to row %lld has %zu bytes, at most %d",
                        journal->path, (long long)answer->row, length, MAX_PAYLOAD);
    if (journal->is_torn)
        return ant_fail(err, ANT_EIO, "'%s': an earlier write failed half way", journal->path);
    return 0;
}

static void note_entry(struct ant_journal *journal, const struct ant_answer *answer, size_t length)
{
    if (journal->n == journal->cap) {
        journal->cap = journal->cap ? 2 * journal->cap : 256;
        journal->entries = ant_xrealloc(journal->entries, journal->cap, sizeof(*journal->entries));
    }
    journal->entries[journal->n++] = (struct ant_journal_entry){
        .row = answer->row,
        .sample = answer->sample,
        .status = answer->status,
        .file_rank = journal->rank,
        .file_start = journal->start,
        .offset = journal->bytes,
        .length = (uint32_t)length,
        .n_tokens = answer->n_tokens,
        .text_bytes = answer->text_bytes,
        .error_bytes = answer->error_bytes,
    };
}

/* One write a frame: what has been written survives a kill of the process, synced or not. */
int ant_journal_add(struct ant_journal *journal, const struct ant_answer *answer,
                    struct ant_error *err)
{
    size_t length = payload_length(answer->n_tokens, answer->text_bytes, answer->error_bytes);

    ANT_TRY(check_answer(journal, answer, length, err));
    journal->frame.len = 0;
    unsigned char *frame = ant_buf_grow(&journal->frame, HEADER + length);
    put_frame(frame, answer, length);
    int rc = ant_write_all(journal->fd, frame, HEADER + length, journal->path, err);
    if (rc < 0) {
        /* Frames behind a torn one would be lost to replay. */
        journal->is_torn = ftruncate(journal->fd, (off_t)journal->bytes) < 0;
        return rc;
    }
    note_entry(journal, answer, length);
    journal->bytes += HEADER + length;
    journal->unsynced++;
    return 0;
}

int ant_journal_sync(struct ant_journal *journal, bool now, struct ant_error *err)
{
    if (journal->unsynced == 0)
        return 0;
    if (!now && journal->unsynced < SYNC_ROWS && ant_now() - journal->last_sync < SYNC_SECONDS)
        return 0;
    if (fdatasync(journal->fd) < 0)
        return ant_fail(err, ANT_EIO, "cannot sync '%s': %s", journal->path, strerror(errno));
    journal->unsynced = 0;
    journal->last_sync = ant_now();
    return 0;
}

const struct ant_journal_entry *ant_journal_entries(const struct ant_journal *journal, size_t *n)
{
    *n = journal->n;
    return journal->entries;
}

void ant_journal_close(struct ant_journal *journal)
{
    if (!journal)
        return;
    if (journal->fd >= 0)
        close(journal->fd);
    ant_buf_release(&journal->frame);
    free(journal->entries);
    free(journal->path);
    free(journal);
}

/* ---- replay -----------------------------------------------------------------------------------
 */

struct replay {
    struct ant_journal_entry *entries;
    size_t n, cap;
    uint64_t dropped;
    unsigned char *room; /* a piece of the file */
    size_t room_bytes;
};

/* A file read in pieces: [first, first + n) of it is in replay->room. */
struct piece {
    int fd;
    const char *path;
    uint64_t file_bytes, first;
    size_t n;
};

/* `bytes` at `offset`, which lie within the file; *at points into the room. */
static int look_at(struct replay *replay, struct piece *piece, uint64_t offset, size_t bytes,
                   const unsigned char **at, struct ant_error *err)
{
    if (offset < piece->first || offset + bytes > piece->first + piece->n) {
        uint64_t want = bytes > READ_AHEAD ? bytes : READ_AHEAD;
        if (want > piece->file_bytes - offset)
            want = piece->file_bytes - offset;
        if (want > replay->room_bytes) {
            replay->room = ant_xrealloc(replay->room, 1, want);
            replay->room_bytes = want;
        }
        piece->n = 0;
        ANT_TRY(ant_pread_all(piece->fd, replay->room, want, offset, piece->path, err));
        piece->first = offset;
        piece->n = want;
    }
    *at = replay->room + (offset - piece->first);
    return 0;
}

static void replay_entry(struct replay *replay, const unsigned char *frame, size_t length,
                         uint64_t offset, const struct ant_journal_name *name)
{
    struct ant_answer answer;

    if (replay->n == replay->cap) {
        replay->cap = replay->cap ? 2 * replay->cap : 1024;
        replay->entries = ant_xrealloc(replay->entries, replay->cap, sizeof(*replay->entries));
    }
    get_answer(&answer, frame);
    replay->entries[replay->n++] = (struct ant_journal_entry){
        .row = answer.row,
        .sample = answer.sample,
        .status = answer.status,
        .file_rank = name->rank,
        .file_start = name->start,
        .offset = offset,
        .length = (uint32_t)length,
        .n_tokens = answer.n_tokens,
        .text_bytes = answer.text_bytes,
        .error_bytes = answer.error_bytes,
    };
}

/* 1: the frame at *offset is good, *offset is behind it now. 0: it is not. */
static int replay_frame(struct replay *replay, struct piece *piece, uint64_t *offset,
                        const struct ant_journal_name *name, struct ant_error *err)
{
    const unsigned char *frame;

    if (piece->file_bytes - *offset < HEADER)
        return 0;
    ANT_TRY(look_at(replay, piece, *offset, HEADER, &frame, err));
    size_t length = get_u32(frame + 4);
    if (get_u32(frame) != MAGIC || length > MAX_PAYLOAD ||
        length > piece->file_bytes - *offset - HEADER)
        return 0;
    ANT_TRY(look_at(replay, piece, *offset, HEADER + length, &frame, err));
    if (get_u32(frame + 8) != frame_crc(frame, length))
        return 0;
    if (frame[22] == KIND_DONE || frame[22] == KIND_FAILED) {
        if (!is_answer(frame + HEADER, length) || get_u64(frame + 12) > INT64_MAX)
            return 0;
        replay_entry(replay, frame, length, *offset, name);
    }
    *offset += HEADER + length;
    return 1;
}

static int replay_file(struct replay *replay, const char *out_path,
                       const struct ant_journal_name *name, struct ant_error *err)
{
    char *path = ant_journal_file_path(out_path, name->rank, name->start);
    struct piece piece = {.path = path};
    struct stat st;
    uint64_t offset = 0;
    int rc;

    piece.fd = open(path, O_RDONLY | O_CLOEXEC);
    if (piece.fd < 0 || fstat(piece.fd, &st) < 0) {
        rc = ant_fail(err, ANT_EIO, "cannot open '%s': %s", path, strerror(errno));
    } else {
        piece.file_bytes = (uint64_t)st.st_size;
        do
            rc = replay_frame(replay, &piece, &offset, name, err);
        while (rc > 0);
        replay->dropped += piece.file_bytes - offset;
    }
    if (piece.fd >= 0)
        close(piece.fd);
    free(path);
    return rc;
}

int ant_journal_replay(const char *out_path, int k, int m, struct ant_journal_entry **entries,
                       size_t *n, uint64_t *dropped_bytes, struct ant_error *err)
{
    struct replay replay = {0};
    struct ant_journal_name *names = NULL;
    size_t n_names = 0;
    int rc = ant_journal_list(out_path, &names, &n_names, err);

    for (size_t i = 0; i < n_names && rc == 0; i++)
        if (i % (size_t)m == (size_t)k)
            rc = replay_file(&replay, out_path, &names[i], err);
    free(names);
    free(replay.room);
    if (rc < 0) {
        free(replay.entries);
        return rc;
    }
    *n = ant_journal_sort(replay.entries, replay.n);
    *entries = replay.entries;
    *dropped_bytes = replay.dropped;
    return 0;
}

#define COMPARE(x, y)                                                                              \
    do {                                                                                           \
        if ((x) != (y))                                                                            \
            return (x) < (y) ? -1 : 1;                                                             \
    } while (0)

static int compare_entries(const void *a, const void *b)
{
    const struct ant_journal_entry *x = a, *y = b;

    COMPARE(x->row, y->row);
    COMPARE(x->sample, y->sample);
    COMPARE(x->status != ANT_STATUS_OK, y->status != ANT_STATUS_OK);
    COMPARE(x->file_start, y->file_start);
    COMPARE(x->file_rank, y->file_rank);
    COMPARE(x->offset, y->offset);
    return 0;
}

size_t ant_journal_sort(struct ant_journal_entry *entries, size_t n)
{
    size_t kept = 0;

    if (n > 0)
        qsort(entries, n, sizeof(*entries), compare_entries);
    for (size_t i = 0; i < n; i++)
        if (kept == 0 || entries[kept - 1].row != entries[i].row ||
            entries[kept - 1].sample != entries[i].sample)
            entries[kept++] = entries[i];
    return kept;
}

/* ---- reading back -----------------------------------------------------------------------------
 */

struct open_file {
    int fd, rank, start;
    uint64_t last_use;
    char *path;
};

struct ant_journal_reader {
    char *out_path; /* owned */
    struct open_file files[MAX_OPEN_FILES];
    int n_files;
    uint64_t uses;
    struct ant_buf frame;
    struct ant_ids tokens;
};

struct ant_journal_reader *ant_journal_reader_open(const char *out_path)
{
    struct ant_journal_reader *reader = ant_xcalloc(1, sizeof(*reader));

    reader->out_path = ant_xstrdup(out_path);
    return reader;
}

static void drop_file(struct open_file *file)
{
    close(file->fd);
    free(file->path);
}

/* The open file of an entry; the one unused longest makes room. */
static int find_file(struct ant_journal_reader *reader, const struct ant_journal_entry *entry,
                     struct open_file **out, struct ant_error *err)
{
    struct open_file *oldest = &reader->files[0];

    for (int i = 0; i < reader->n_files; i++) {
        struct open_file *file = &reader->files[i];
        if (file->rank == entry->file_rank && file->start == entry->file_start) {
            *out = file;
            return 0;
        }
        if (file->last_use < oldest->last_use)
            oldest = file;
    }
    struct open_file file = {.rank = entry->file_rank, .start = entry->file_start};
    file.path = ant_journal_file_path(reader->out_path, file.rank, file.start);
    file.fd = open(file.path, O_RDONLY | O_CLOEXEC);
    if (file.fd < 0) {
        int rc = ant_fail(err, ANT_EIO, "cannot open '%s': %s", file.path, strerror(errno));
        free(file.path);
        return rc;
    }
    if (reader->n_files < MAX_OPEN_FILES)
        oldest = &reader->files[reader->n_files++];
    else
        drop_file(oldest);
    *oldest = file;
    *out = oldest;
    return 0;
}

int ant_journal_read(struct ant_journal_reader *reader, const struct ant_journal_entry *entry,
                     struct ant_answer *out, struct ant_error *err)
{
    struct open_file *file = NULL;
    size_t length = entry->length;

    ANT_TRY(find_file(reader, entry, &file, err));
    file->last_use = ++reader->uses;
    reader->frame.len = 0;
    unsigned char *frame = ant_buf_grow(&reader->frame, HEADER + length);
    ANT_TRY(ant_pread_all(file->fd, frame, HEADER + length, entry->offset, file->path, err));
    struct ant_answer answer = {0};
    bool fine = get_u32(frame) == MAGIC && get_u32(frame + 4) == length &&
                get_u32(frame + 8) == frame_crc(frame, length) && is_answer(frame + HEADER, length);
    if (fine)
        get_answer(&answer, frame);
    if (!fine || answer.row != entry->row || answer.sample != entry->sample ||
        (int32_t)answer.status != entry->status || answer.n_tokens != entry->n_tokens ||
        answer.text_bytes != entry->text_bytes || answer.error_bytes != entry->error_bytes)
        return ant_fail(err, ANT_EDATA, "'%s': the frame of row %lld at byte %llu has changed",
                        file->path, (long long)entry->row, (unsigned long long)entry->offset);
    reader->tokens.len = 0;
    const unsigned char *p = frame + HEADER + FIXED;
    for (uint32_t i = 0; i < answer.n_tokens; i++)
        ant_ids_add(&reader->tokens, (int32_t)get_u32(p + 4 * (size_t)i));
    answer.tokens = reader->tokens.data;
    *out = answer;
    return 0;
}

void ant_journal_reader_close(struct ant_journal_reader *reader)
{
    if (!reader)
        return;
    for (int i = 0; i < reader->n_files; i++)
        drop_file(&reader->files[i]);
    ant_buf_release(&reader->frame);
    ant_ids_release(&reader->tokens);
    free(reader->out_path);
    free(reader);
}
