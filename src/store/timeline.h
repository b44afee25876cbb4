/* SPDX-License-Identifier: Apache-2.0 */
/* What a replica did and when: while a job runs its first rank appends a line now and then to a
 * file of its own in the journal's folder, OUT.journal/r<rank>.s<start>.csv; the results keep the
 * lines of all, fewer of them, as /timeline.
 *
 *     # antiphon 1, replica 0 of 4 on n1, began 1763868000.125 with 0 answers
 *     time,prompt_tokens,output_tokens,...
 *     1763868001.250,4096,0,...
 *
 * Times are seconds since 1970 by the host's own clock; all else has been counted since this start
 * of the job began to answer, so a line that is missing only makes the picture coarser. A last line
 * without its end is no line. Nothing is synced: these are figures, not answers. Thread: control.
 * Errors name the file: ANT_EIO, ANT_EDATA. */
#ifndef ANT_STORE_TIMELINE_H
#define ANT_STORE_TIMELINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/* One line. Plain data: ranks exchange arrays of it. */
struct ant_moment {
    double time;
    int32_t start, rank, dp_rank, running; /* running: answers under way */
    int64_t prompt_tokens, output_tokens, rows, failed, stolen;
    int64_t left; /* rows of the own part not begun, or under way */
    double prefill_s, decode_s, idle_s;
    int32_t shard; /* read back from merged results: whose */
};

/* Is every number in the range in which sums and differences mean something? What is read back may
 * have been damaged. */
bool ant_moment_is_sane(const struct ant_moment *moment);

struct ant_moments {
    struct ant_moment *items; /* owned, by time within each rank and start */
    size_t n, cap;
};
void ant_moments_add(struct ant_moments *moments, const struct ant_moment *moment);
/* The results have fewer than so many of each start of a replica. */
enum { ANT_MOMENTS_KEPT = 400 };
/* Every other of each rank and start goes, but for its first and last. */
void ant_moments_thin(struct ant_moments *moments);
void ant_moments_release(struct ant_moments *moments);

/* Who writes a file. */
struct ant_timeline_head {
    int rank, start, dp_rank, dp_size;
    double began;     /* to answer, seconds since 1970 */
    int64_t answered; /* by earlier starts, of all replicas */
    char host[64];
};

struct ant_timeline;
int ant_timeline_open(struct ant_timeline **out, const char *out_path,
                      const struct ant_timeline_head *head, struct ant_error *err);
int ant_timeline_add(struct ant_timeline *timeline, const struct ant_moment *moment,
                     struct ant_error *err);
void ant_timeline_close(struct ant_timeline *timeline);

/* The files of the folder, sorted by (start, rank): who wrote them, and from each its first line
 * and those in its last `tail` bytes (0: all). A file that says nothing sensible is left out, one
 * in which a line does not ends there. No folder: none. */
struct ant_timeline_file {
    struct ant_timeline_head head;
    struct ant_moments moments;
};
int ant_timeline_read(struct ant_timeline_file **out, size_t *n, const char *out_path, size_t tail,
                      struct ant_error *err);
void ant_timeline_release(struct ant_timeline_file *files, size_t n);
/* Add what there is of all starts before `start`, fewer than `most` lines of each file. */
int ant_timeline_collect(struct ant_moments *out, const char *out_path, int start, size_t most,
                         struct ant_error *err);

#endif
