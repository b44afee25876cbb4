/* SPDX-License-Identifier: Apache-2.0 */
/* The journal: OUT.journal/, one append-only file per rank and start, checksummed frames, nothing
 * shared, nothing collective. A kill can only tear the tail of a file.
 *
 *     manifest.json       what job this is, see struct ant_manifest
 *     owner               locked by the job that is writing, and its name as text
 *     halt                somebody wants that job to stop: "drain" or "now"
 *     r<rank>.s<start>.aj frames, one after the other, little-endian; start 0 is what was taken
 *                         over from a results file:
 *         u32 magic "AJF1"   u32 length of the payload   u32 CRC32C of length and all behind it
 *         u64 row   u16 sample   u8 kind (1 done, 2 part, 3 failed)   payload
 *     payload of done and failed:
 *         u8 status   u8 finish   i32 prompt_tokens, dp_rank, attempt   u64 seed
 *         f32 t_first, t_total   u32 n_tokens, text_bytes, error_bytes
 *         i32 tokens[n_tokens]   text   error
 *         then, where log probabilities were asked for, two lists of them, of the answer and of the
 *         prompt, and the prompt's ids, as many as its list has entries; a list is
 *         u32 n, n_top   f32 values[n]   i32 top_ids[n][n_top]   f32 top[n][n_top]
 *     payload of part, tokens [first, first + n_tokens) of an answer under way:
 *         u32 first, n_tokens   i32 tokens[n_tokens]
 *
 * Replay steps over frames of other kinds. Thread: control. Errors name the file: ANT_EIO,
 * ANT_EDATA, ANT_EUSAGE (another job owns it; settings differ). */
#ifndef ANT_STORE_JOURNAL_H
#define ANT_STORE_JOURNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/logprobs.h"
#include "base/mem.h"

enum ant_status {
    ANT_STATUS_OK = 0,
    ANT_STATUS_FAILED = 1,
    ANT_STATUS_SKIPPED = 2,
    ANT_STATUS_MISSING = 3
};
enum ant_finish {
    ANT_FINISH_NONE = 0,
    ANT_FINISH_STOP = 1,
    ANT_FINISH_LENGTH = 2,
    ANT_FINISH_EOS = 3,
    ANT_FINISH_ERROR = 4,
    ANT_FINISH_LOOP = 5, /* it had begun to repeat itself */
    ANT_FINISH_LAST = ANT_FINISH_LOOP,
};

/* Their names, as in the results file: "OK", "EOS"; NULL ends each list. */
extern const char *const ant_status_names[];
extern const char *const ant_finish_names[];

/* One finished (or failed) answer, as journalled and as written to the results.
 * Pointers are borrowed. */
struct ant_answer {
    int64_t row;
    int32_t sample;
    enum ant_status status;
    enum ant_finish finish;
    int32_t prompt_tokens;
    int32_t dp_rank;
    int32_t attempt; /* how many starts it took: 1 the first time */
    uint64_t seed;
    float t_first, t_total; /* seconds from admission */
    const int32_t *tokens;
    uint32_t n_tokens;
    const char *text; /* UTF-8 */
    uint32_t text_bytes;
    const char *error; /* reason when FAILED */
    uint32_t error_bytes;
    const struct ant_logprobs *logprobs;        /* of the answer's tokens; NULL: not asked for */
    const struct ant_logprobs *prompt_logprobs; /* of the prompt's, NULL likewise */
    const int32_t *prompt_ids;                  /* (prompt_logprobs->n) */
};

/* What an answer under way has gained since its last part: tokens [first, first + n_tokens). */
struct ant_answer_part {
    int64_t row;
    int32_t sample;
    uint32_t first, n_tokens;
    const int32_t *tokens; /* borrowed */
};

/* Where a done or failed frame lies: enough to lay out the results without reading the payload
 * again. Plain data without padding: ranks exchange arrays of it. */
struct ant_journal_entry {
    int64_t row;
    int32_t sample;
    int32_t status;                /* enum ant_status */
    int32_t file_rank, file_start; /* names the file: r<rank>.s<start>.aj */
    uint64_t offset;               /* of the frame */
    uint32_t length;               /* of the payload */
    uint32_t n_tokens, text_bytes, error_bytes;
    uint32_t n_prompt; /* tokens of the prompt with log probabilities */
    uint32_t spare;
};

/* Where a part frame lies. Plain data, as above. */
struct ant_journal_part {
    int64_t row;
    int32_t sample;
    int32_t file_rank, file_start;
    uint32_t length;
    uint64_t offset;
    uint32_t first, n_tokens;
};

/* Part `number` of `count` of an input of `input_rows`, from `first_row` on; count 0: the whole. */
struct ant_input_shard {
    int64_t first_row, input_rows;
    int number, count;
};

enum { ANT_MOST_TOP = 1 << 10 }; /* of the numbers below */

/* What results hold beside what all do. */
struct ant_columns {
    bool has_logprobs, has_prompt_logprobs;
    int n_top, n_prompt_top; /* most probable ids with each */
    bool is_scored;          /* the sum of the logprobs, and whether the tokens are the likeliest */
};

struct ant_journal;

/* What identifies a job for its journal; written to manifest.json by rank 0 and compared on
 * restart. */
struct ant_manifest {
    int64_t n_rows;
    struct ant_input_shard shard;
    int n_samples;
    struct ant_columns columns; /* follow from input and settings: not compared */
    const char *input_digest;   /* hexadecimal */
    const char *model_digest;
    const char *answers; /* ant_option_answers text: one line a setting that changes answers */
    const char *input;   /* the prompt file as named on the command line, for `antiphon merge`; may
                            be NULL, is not compared */
    const char *job;     /* Slurm's number of the job that began it; the same two things hold */
};

/* Own OUT.journal, which exists, until ant_journal_release or the end of the process: ANT_EUSAGE
 * names the job that owns it now. By a lock on the file `owner`, in which the owner writes who it
 * is. Where locks do not reach (other hosts of some file systems) it is the file's time that tells:
 * a thread of the owner moves it every second, and who finds another's name there watches it for a
 * few seconds. What a killed job leaves behind does not move, and is taken over. */
int ant_journal_claim(const char *out_path, struct ant_error *err);
void ant_journal_release(void);
/* Is it still ours? ANT_EUSAGE names who has taken it: where locks do not reach, two jobs that
 * claim it at the same moment both believe so at first. */
int ant_journal_check_claim(struct ant_error *err);

/* Ask the job that owns OUT.journal to stop: to finish what is under way, or to save it `now`. Who
 * that is comes back as text. ANT_ENOENT: nobody is running there. */
int ant_journal_halt(const char *out_path, bool now, char *owner, size_t bytes,
                     struct ant_error *err);
/* Who owns it, or did last, as text, and the seconds since he gave a sign: every second while he
 * lives. By the clocks of this host and of the file system, and nothing is touched. ANT_ENOENT:
 * nobody ever did. */
int ant_journal_who(const char *out_path, char *owner, size_t bytes, double *silent,
                    struct ant_error *err);
/* The owner: has it been asked? */
enum ant_halt { ANT_HALT_NO, ANT_HALT_DRAIN, ANT_HALT_NOW };
enum ant_halt ant_journal_halt_asked(const char *out_path);

/* Rank 0 first (others after a barrier of the caller's): make the folder, claim it, write or
 * compare the manifest. `*start` is this start's number, 1 the first time. ANT_EUSAGE says which
 * setting differs, or who owns the folder. `restart_over` removes what an earlier, different job
 * left, its results too: what is begun now can be gone on with. */
int ant_journal_prepare(const char *out_path, const struct ant_manifest *manifest,
                        bool restart_over, int *start, struct ant_error *err);

/* The manifest of a folder; ANT_ENOENT when there is none. Free with ant_manifest_release. */
int ant_manifest_read(struct ant_manifest *out, const char *out_path, struct ant_error *err);
void ant_manifest_release(struct ant_manifest *manifest);
/* Of the same job? ANT_EUSAGE says what differs between what `path` was begun with and this. */
int ant_manifest_compare(const char *path, const struct ant_manifest *was,
                         const struct ant_manifest *is, struct ant_error *err);

/* What is in the folder: nothing to go on with, a job under way, or one that ant_results_reopen has
 * made of a results file. */
enum ant_journal_state { ANT_JOURNAL_NONE, ANT_JOURNAL_BEGUN, ANT_JOURNAL_REOPENED };
enum ant_journal_state ant_journal_state(const char *out_path);

/* Every rank: open its own new file for appending. */
int ant_journal_open(struct ant_journal **out, const char *out_path, int rank, int start,
                     struct ant_error *err);
int ant_journal_add(struct ant_journal *journal, const struct ant_answer *answer,
                    struct ant_error *err);
int ant_journal_add_part(struct ant_journal *journal, const struct ant_answer_part *part,
                         struct ant_error *err);
/* Have 64 frames or 5 s gone by since the last sync, and is there something to sync? */
bool ant_journal_is_due(const struct ant_journal *journal);
int ant_journal_sync(struct ant_journal *journal, struct ant_error *err);
/* Entries added by this process, in order of adding; borrowed until the next add. */
const struct ant_journal_entry *ant_journal_entries(const struct ant_journal *journal, size_t *n);
void ant_journal_close(struct ant_journal *journal);

/* What journals hold: the finished answers, and what there is of others. */
struct ant_journal_index {
    struct ant_journal_entry *entries; /* owned */
    size_t n;
    struct ant_journal_part *parts; /* owned */
    size_t n_parts;
    uint64_t dropped_bytes; /* behind the last good frame of each file */
};

/* Replay: the index of every file in the folder, or only of those whose position among the sorted
 * names is k modulo m (so ranks can share the work), sorted as by ant_journal_index_sort. Never
 * fails because of a frame's content: a bad frame ends its file. No folder: nothing. */
int ant_journal_replay(struct ant_journal_index *out, const char *out_path, int k, int m,
                       struct ant_error *err);

/* Sort entries by (row, sample) and keep one of each: a done one before a failed one, then the
 * first by (start, rank, offset). Of rows without an entry keep the parts that, one after the
 * other, lead from the first token as far as possible. */
void ant_journal_index_sort(struct ant_journal_index *index);
/* Are all entries answers of such a job: to rows [first_row, first_row + n_rows), each with so many
 * samples? ANT_EDATA names the file that has another, which was put there. */
int ant_journal_index_check(const struct ant_journal_index *index, const char *out_path,
                            int64_t first_row, int64_t n_rows, int n_samples,
                            struct ant_error *err);
/* Is there an entry for this answer? */
bool ant_journal_index_has(const struct ant_journal_index *index, int64_t row, int32_t sample);
void ant_journal_index_release(struct ant_journal_index *index);

/* Read answers back by entry. Keeps files open between calls. The answer borrows memory of the
 * reader until the next call. A frame that has changed since is ANT_EDATA. */
struct ant_journal_reader;
struct ant_journal_reader *ant_journal_reader_open(const char *out_path);
int ant_journal_read(struct ant_journal_reader *reader, const struct ant_journal_entry *entry,
                     struct ant_answer *out, struct ant_error *err);
/* Append to `out`, which is empty, the tokens that a sorted index has of an answer under way. */
int ant_journal_read_parts(struct ant_journal_reader *reader, const struct ant_journal_index *index,
                           int64_t row, int32_t sample, struct ant_ids *out, struct ant_error *err);
void ant_journal_reader_close(struct ant_journal_reader *reader);

/* Rank 0, after the results are in place: remove the folder and give it up. */
int ant_journal_remove(const char *out_path, struct ant_error *err);
/* The results are in place: remove what a kill has left of the folder, if nobody owns it. */
void ant_journal_tidy(const char *out_path);

#endif
