/* SPDX-License-Identifier: Apache-2.0 */
/* Writing frames. What they look like: journal_frame.c. Reading them: journal_read.c. Whose the
 * folder is: journal_folder.c. */
#include "config.h"

#include "store/journal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/mem.h"
#include "store/journal_folder.h"
#include "store/journal_frame.h"

enum { SYNC_FRAMES = 64 };
#define SYNC_SECONDS 5.0

const char *const ant_status_names[] = {"OK", "FAILED", "SKIPPED", "MISSING", NULL};
const char *const ant_finish_names[] = {"NONE", "STOP", "LENGTH", "EOS", "ERROR", "LOOP", NULL};

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

static int check_frame(const struct ant_journal *journal, int64_t row, int32_t sample,
                       size_t length, struct ant_error *err)
{
    if (row < 0 || sample < 0 || sample > UINT16_MAX)
        return ant_fail(err, ANT_EBUG, "'%s': row %lld, sample %d cannot be journalled",
                        journal->path, (long long)row, (int)sample);
    if (length > ANT_FRAME_MAX)
        return ant_fail(err, ANT_EUNSUPP, "'%s': the answer to row %lld has %zu bytes, at most %d",
                        journal->path, (long long)row, length, ANT_FRAME_MAX);
    if (journal->is_torn)
        return ant_fail(err, ANT_EIO, "'%s': an earlier write failed half way", journal->path);
    return 0;
}

static void note_entry(struct ant_journal *journal, const struct ant_answer *answer,
                       uint64_t offset, size_t length)
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
        .offset = offset,
        .length = (uint32_t)length,
        .n_tokens = answer->n_tokens,
        .text_bytes = answer->text_bytes,
        .error_bytes = answer->error_bytes,
        .n_prompt = answer->prompt_logprobs ? answer->prompt_logprobs->n : 0,
    };
}

/* Room for a frame with a payload of so many bytes. */
static unsigned char *frame_room(struct ant_journal *journal, size_t length)
{
    journal->frame.len = 0;
    return ant_buf_grow(&journal->frame, ANT_FRAME_HEADER + length);
}

/* One write a frame: what has been written survives a kill of the process, synced or not. */
static int write_frame(struct ant_journal *journal, struct ant_error *err)
{
    int rc =
        ant_write_all(journal->fd, journal->frame.data, journal->frame.len, journal->path, err);

    if (rc < 0) {
        /* Frames behind a torn one would be lost to replay. */
        journal->is_torn = ftruncate(journal->fd, (off_t)journal->bytes) < 0;
        return rc;
    }
    journal->bytes += journal->frame.len;
    journal->unsynced++;
    return 0;
}

int ant_journal_add(struct ant_journal *journal, const struct ant_answer *answer,
                    struct ant_error *err)
{
    size_t length = ant_frame_answer_bytes(answer);
    uint64_t offset = journal->bytes;

    ANT_TRY(check_frame(journal, answer->row, answer->sample, length, err));
    ant_frame_put_answer(frame_room(journal, length), answer);
    ANT_TRY(write_frame(journal, err));
    note_entry(journal, answer, offset, length);
    return 0;
}

int ant_journal_add_part(struct ant_journal *journal, const struct ant_answer_part *part,
                         struct ant_error *err)
{
    size_t length = ant_frame_part_bytes(part);

    ANT_TRY(check_frame(journal, part->row, part->sample, length, err));
    ant_frame_put_part(frame_room(journal, length), part);
    return write_frame(journal, err);
}

bool ant_journal_is_due(const struct ant_journal *journal)
{
    return journal->unsynced >= SYNC_FRAMES ||
           (journal->unsynced > 0 && ant_now() - journal->last_sync >= SYNC_SECONDS);
}

int ant_journal_sync(struct ant_journal *journal, struct ant_error *err)
{
    if (journal->unsynced == 0)
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
