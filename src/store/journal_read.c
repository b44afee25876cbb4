/* SPDX-License-Identifier: Apache-2.0 */
/* What journals hold: replay of all files into an index, and reading by it. */
#include "config.h"

#include "store/journal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/mem.h"
#include "store/journal_folder.h"
#include "store/journal_frame.h"

enum {
    HEADER = ANT_FRAME_HEADER,
    READ_AHEAD = 1 << 20,
    MAX_OPEN_FILES = 64,
};

/* ---- replay ---------------------------------------------------------------------------------- */

struct replay {
    struct ant_journal_index index;
    size_t cap, parts_cap;
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

static void note_answer(struct replay *replay, const unsigned char *frame, size_t length,
                        uint64_t offset, const struct ant_journal_name *name)
{
    struct ant_journal_index *index = &replay->index;
    struct ant_answer answer;

    if (index->n == replay->cap) {
        replay->cap = replay->cap ? 2 * replay->cap : 1024;
        index->entries = ant_xrealloc(index->entries, replay->cap, sizeof(*index->entries));
    }
    ant_frame_get_answer(&answer, frame);
    index->entries[index->n++] = (struct ant_journal_entry){
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
        .n_prompt = ant_frame_n_prompt(frame),
    };
}

static void note_part(struct replay *replay, const unsigned char *frame, size_t length,
                      uint64_t offset, const struct ant_journal_name *name)
{
    struct ant_journal_index *index = &replay->index;
    struct ant_answer_part part;

    if (index->n_parts == replay->parts_cap) {
        replay->parts_cap = replay->parts_cap ? 2 * replay->parts_cap : 1024;
        index->parts = ant_xrealloc(index->parts, replay->parts_cap, sizeof(*index->parts));
    }
    ant_frame_get_part(&part, frame);
    index->parts[index->n_parts++] = (struct ant_journal_part){
        .row = part.row,
        .sample = part.sample,
        .file_rank = name->rank,
        .file_start = name->start,
        .length = (uint32_t)length,
        .offset = offset,
        .first = part.first,
        .n_tokens = part.n_tokens,
    };
}

/* 1: the frame at *offset is good, *offset is behind it now. 0: it is not. */
static int replay_frame(struct replay *replay, struct piece *piece, uint64_t *offset,
                        const struct ant_journal_name *name, struct ant_error *err)
{
    const unsigned char *bytes;
    struct ant_frame frame;
    size_t length;

    if (piece->file_bytes - *offset < HEADER)
        return 0;
    ANT_TRY(look_at(replay, piece, *offset, HEADER, &bytes, err));
    if (!ant_frame_length(bytes, &length) || length > piece->file_bytes - *offset - HEADER)
        return 0;
    ANT_TRY(look_at(replay, piece, *offset, HEADER + length, &bytes, err));
    if (!ant_frame_check(&frame, bytes, length))
        return 0;
    if (frame.kind == ANT_FRAME_DONE || frame.kind == ANT_FRAME_FAILED)
        note_answer(replay, bytes, length, *offset, name);
    else if (frame.kind == ANT_FRAME_PART)
        note_part(replay, bytes, length, *offset, name);
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
        replay->index.dropped_bytes += piece.file_bytes - offset;
    }
    if (piece.fd >= 0)
        close(piece.fd);
    free(path);
    return rc;
}

int ant_journal_replay(struct ant_journal_index *out, const char *out_path, int k, int m,
                       struct ant_error *err)
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
        ant_journal_index_release(&replay.index);
        return rc;
    }
    ant_journal_index_sort(&replay.index);
    *out = replay.index;
    return 0;
}

/* ---- the index ------------------------------------------------------------------------------- */

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

/* The longest of those that begin at the same token comes first, so that it alone is kept. */
static int compare_parts(const void *a, const void *b)
{
    const struct ant_journal_part *x = a, *y = b;

    COMPARE(x->row, y->row);
    COMPARE(x->sample, y->sample);
    COMPARE(x->first, y->first);
    COMPARE(y->n_tokens, x->n_tokens);
    COMPARE(x->file_start, y->file_start);
    COMPARE(x->file_rank, y->file_rank);
    COMPARE(x->offset, y->offset);
    return 0;
}

static size_t keep_first(struct ant_journal_entry *entries, size_t n)
{
    size_t kept = 0;

    for (size_t i = 0; i < n; i++)
        if (kept == 0 || entries[kept - 1].row != entries[i].row ||
            entries[kept - 1].sample != entries[i].sample)
            entries[kept++] = entries[i];
    return kept;
}

/* Which comes first, the row of the part or that of the entry? */
static int compare_rows(const struct ant_journal_part *part, const struct ant_journal_entry *entry)
{
    COMPARE(part->row, entry->row);
    COMPARE(part->sample, entry->sample);
    return 0;
}

/* The parts of rows that have no entry; of those the ones that add tokens without a gap. */
static size_t keep_chains(const struct ant_journal_index *index)
{
    struct ant_journal_part *parts = index->parts;
    size_t kept = 0, e = 0;
    uint32_t have = 0;

    for (size_t i = 0; i < index->n_parts; i++) {
        const struct ant_journal_part part = parts[i];
        if (i == 0 || part.row != parts[i - 1].row || part.sample != parts[i - 1].sample)
            have = 0;
        while (e < index->n && compare_rows(&part, &index->entries[e]) > 0)
            e++;
        bool is_done = e < index->n && compare_rows(&part, &index->entries[e]) == 0;
        if (is_done || part.first > have || part.first + part.n_tokens <= have)
            continue;
        have = part.first + part.n_tokens;
        parts[kept++] = part;
    }
    return kept;
}

void ant_journal_index_sort(struct ant_journal_index *index)
{
    if (index->n > 0)
        qsort(index->entries, index->n, sizeof(*index->entries), compare_entries);
    index->n = keep_first(index->entries, index->n);
    if (index->n_parts > 0)
        qsort(index->parts, index->n_parts, sizeof(*index->parts), compare_parts);
    index->n_parts = keep_chains(index);
}

int ant_journal_index_check(const struct ant_journal_index *index, const char *out_path,
                            int64_t first_row, int64_t n_rows, int n_samples, struct ant_error *err)
{
    for (size_t i = 0; i < index->n; i++) {
        const struct ant_journal_entry *entry = &index->entries[i];
        if (entry->row >= first_row && entry->row - first_row < n_rows && entry->sample < n_samples)
            continue;
        char *path = ant_journal_file_path(out_path, entry->file_rank, entry->file_start);
        ant_fail(err, ANT_EDATA,
                 "'%s' is of another job: it has sample %d of row %lld, this one has %d of rows "
                 "%lld to %lld; take it out of the folder",
                 path, (int)entry->sample, (long long)entry->row, n_samples, (long long)first_row,
                 (long long)(first_row + n_rows - 1));
        free(path);
        return ANT_EDATA;
    }
    return 0;
}

static int compare_places(const void *a, const void *b)
{
    const struct ant_journal_entry *x = a, *y = b;

    COMPARE(x->row, y->row);
    COMPARE(x->sample, y->sample);
    return 0;
}

bool ant_journal_index_has(const struct ant_journal_index *index, int64_t row, int32_t sample)
{
    const struct ant_journal_entry wanted = {.row = row, .sample = sample};

    return index->n > 0 && bsearch(&wanted, index->entries, index->n, sizeof(*index->entries),
                                   compare_places) != NULL;
}

void ant_journal_index_release(struct ant_journal_index *index)
{
    free(index->entries);
    free(index->parts);
    *index = (struct ant_journal_index){0};
}

/* ---- reading back ---------------------------------------------------------------------------- */

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
    struct ant_ids tokens, prompt_ids;
    struct ant_logprobs logprobs, prompt_logprobs;
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

/* The open file of a rank and start; the one unused longest makes room. */
static int find_file(struct ant_journal_reader *reader, int rank, int start, struct open_file **out,
                     struct ant_error *err)
{
    struct open_file *oldest = &reader->files[0];

    for (int i = 0; i < reader->n_files; i++) {
        struct open_file *file = &reader->files[i];
        if (file->rank == rank && file->start == start) {
            *out = file;
            return 0;
        }
        if (file->last_use < oldest->last_use)
            oldest = file;
    }
    struct open_file file = {.rank = rank, .start = start};
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

/* Read a frame into the reader's room and check it. *path names its file in errors. */
static int read_frame(struct ant_journal_reader *reader, int rank, int start, uint64_t offset,
                      size_t length, struct ant_frame *frame, const char **path,
                      struct ant_error *err)
{
    struct open_file *file = NULL;

    ANT_TRY(find_file(reader, rank, start, &file, err));
    file->last_use = ++reader->uses;
    *path = file->path;
    reader->frame.len = 0;
    unsigned char *bytes = ant_buf_grow(&reader->frame, HEADER + length);
    ANT_TRY(ant_pread_all(file->fd, bytes, HEADER + length, offset, file->path, err));
    if (!ant_frame_check(frame, bytes, length))
        frame->kind = 0;
    return 0;
}

static int fail_changed(const char *path, int64_t row, uint64_t offset, struct ant_error *err)
{
    return ant_fail(err, ANT_EDATA, "'%s': the frame of row %lld at byte %llu has changed", path,
                    (long long)row, (unsigned long long)offset);
}

int ant_journal_read(struct ant_journal_reader *reader, const struct ant_journal_entry *entry,
                     struct ant_answer *out, struct ant_error *err)
{
    struct ant_answer answer = {0};
    struct ant_frame frame = {0};
    const char *path;

    ANT_TRY(read_frame(reader, entry->file_rank, entry->file_start, entry->offset, entry->length,
                       &frame, &path, err));
    const unsigned char *bytes = (const unsigned char *)reader->frame.data;
    bool is_answer = frame.kind == ANT_FRAME_DONE || frame.kind == ANT_FRAME_FAILED;
    if (is_answer)
        ant_frame_get_answer(&answer, bytes);
    if (!is_answer || answer.row != entry->row || answer.sample != entry->sample ||
        (int32_t)answer.status != entry->status || answer.n_tokens != entry->n_tokens ||
        answer.text_bytes != entry->text_bytes || answer.error_bytes != entry->error_bytes ||
        ant_frame_n_prompt(bytes) != entry->n_prompt)
        return fail_changed(path, entry->row, entry->offset, err);
    reader->tokens.len = 0;
    ant_frame_get_tokens(&reader->tokens, bytes, 0);
    answer.tokens = reader->tokens.data;
    ant_frame_get_logprobs(&reader->logprobs, &reader->prompt_logprobs, &reader->prompt_ids, bytes);
    answer.logprobs = reader->logprobs.n > 0 ? &reader->logprobs : NULL;
    answer.prompt_logprobs = reader->prompt_logprobs.n > 0 ? &reader->prompt_logprobs : NULL;
    answer.prompt_ids = reader->prompt_ids.data;
    *out = answer;
    return 0;
}

static int read_part(struct ant_journal_reader *reader, const struct ant_journal_part *part,
                     struct ant_ids *out, struct ant_error *err)
{
    struct ant_answer_part got = {0};
    struct ant_frame frame = {0};
    const char *path;

    ANT_TRY(read_frame(reader, part->file_rank, part->file_start, part->offset, part->length,
                       &frame, &path, err));
    const unsigned char *bytes = (const unsigned char *)reader->frame.data;
    if (frame.kind == ANT_FRAME_PART)
        ant_frame_get_part(&got, bytes);
    if (frame.kind != ANT_FRAME_PART || got.row != part->row || got.sample != part->sample ||
        got.first != part->first || got.n_tokens != part->n_tokens)
        return fail_changed(path, part->row, part->offset, err);
    ant_frame_get_tokens(out, bytes, (uint32_t)out->len - part->first);
    return 0;
}

int ant_journal_read_parts(struct ant_journal_reader *reader, const struct ant_journal_index *index,
                           int64_t row, int32_t sample, struct ant_ids *out, struct ant_error *err)
{
    const struct ant_journal_entry wanted = {.row = row, .sample = sample};
    size_t low = 0, high = index->n_parts;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (compare_rows(&index->parts[middle], &wanted) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    for (; low < index->n_parts && compare_rows(&index->parts[low], &wanted) == 0; low++)
        ANT_TRY(read_part(reader, &index->parts[low], out, err));
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
    ant_ids_release(&reader->prompt_ids);
    ant_logprobs_release(&reader->logprobs);
    ant_logprobs_release(&reader->prompt_logprobs);
    free(reader->out_path);
    free(reader);
}
