/* SPDX-License-Identifier: Apache-2.0 */
/* Results out: one HDF5 file, see antiphon-hdf5(5), written from the journals
 * by all ranks in parallel (MPI-IO, independent contiguous writes, read back
 * and compared), or by one process without MPI.
 *
 * Written as OUT.part and renamed to OUT by rank 0 when every slice has been
 * verified. Thread: control. Errors: ANT_EIO (also no space), ANT_EUNSUPP (more
 * than one rank without parallel HDF5). */
#ifndef ANT_STORE_RESULTS_H
#define ANT_STORE_RESULTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "job/group.h"
#include "store/journal.h"
#include "store/prompts.h"
#include "store/timeline.h"

/* MPI is there for parallel HDF5 alone: started here, right after the launch when there is more
 * than one rank (its start is a fence that must not wait for hours), ended here. No-ops in a world
 * of one. Without parallel HDF5 more ranks than one are ANT_EUNSUPP. */
int ant_store_start(int world_size, struct ant_error *err);
/* Before ant_job_open, with what ant_job_env_size says: Open MPI 5 does not start any more once the
 * process has PMIx, so it starts here. With another MPI this does nothing. */
int ant_store_start_first(int n_ranks, struct ant_error *err);
void ant_store_stop(void);
const char *ant_store_versions(void); /* "HDF5 1.10.8, MPI-IO of Open MPI 4.1.4", or ", serial" */

/* For antiphon doctor: the ranks write a small file at `path` together as they write results, read
 * it back, and remove it. Collective over `world` (NULL: alone). */
int ant_results_try(const char *path, struct ant_group *world, double timeout,
                    struct ant_error *err);

/* A name and a value for an attribute of /provenance or the root; text or
 * integer or real. */
enum ant_fact_kind { ANT_FACT_TEXT, ANT_FACT_INT, ANT_FACT_REAL };
struct ant_fact {
    const char *name;
    enum ant_fact_kind kind;
    const char *text;
    int64_t integer;
    double real;
};

/* One row of /performance: what a rank did. Plain data, exchanged between
 * ranks. */
struct ant_rank_report {
    int32_t rank, dp_rank;
    int32_t shard; /* read back from a merged file: whose */
    int64_t rows, failed, prompt_tokens, output_tokens, steps, preemptions;
    int64_t shared_tokens;     /* of prompts, that need not be computed; not in prompt_tokens */
    int64_t drafted, accepted; /* tokens of answers guessed ahead, and those that were right */
    int64_t stolen;            /* of the rows: taken from other replicas */
    double load_s, prefill_s, decode_s, idle_s, total_s;
    double weight_bytes, kv_bytes, flops; /* moved and done over the run */
    double bandwidth;                     /* measured at start, bytes/s */
    double joules;                        /* that the device has taken; 0: not known */
    double peak_memory;                   /* bytes */
    int64_t read_bytes;                   /* of weights, from the file */
    int64_t company_steps; /* beside `steps`: without rows, for those of other replicas */
    char host[64];
};

struct ant_results_plan {
    const char *path;    /* OUT */
    const char *journal; /* whose journal holds the answers; NULL: that of OUT */
    int64_t n_rows;
    struct ant_input_shard shard; /* entries count rows as the whole input does */
    int n_samples;
    struct ant_columns columns;
    const struct ant_journal_entry *entries; /* all of them, sorted by (row, sample), no duplicates;
                                                rows without one become MISSING */
    size_t n_entries;
    const struct ant_fact *root, *provenance;
    size_t n_root, n_provenance;
    const struct ant_rank_report *reports;
    size_t n_reports;
    struct ant_moments timeline; /* borrowed; of all starts, by start, rank and time */
};

/* Collective over `world` (NULL: alone); every rank passes an equal plan. Payloads are read from
 * the journal OUT.journal, whose writers have closed or synced it. `prompts` supplies the id column
 * (may be NULL). `complete` in the file is 1 only if no row is missing. Counts come back in n_ok
 * and n_failed. A failure on one rank is every rank's error, and leaves no OUT behind. */
int ant_results_write(const struct ant_results_plan *plan, struct ant_prompts *prompts,
                      struct ant_group *world, int64_t *n_ok, int64_t *n_failed,
                      struct ant_error *err);

/* Free bytes on the file system of `path`'s folder against what results with `bytes` of content
 * need; ANT_EIO with both numbers. */
int ant_results_check_space(const char *path, int64_t bytes, struct ant_error *err);

/* Make one results file of those of the shards of an input, in any order. */
struct ant_results_merge {
    const char *path;
    char *const *parts; /* (n_parts) their files */
    int n_parts;
    bool is_virtual; /* refer to the parts, which must stay, instead of copying them */
    bool is_partial; /* leave out what is missing */
    const char *command;
};
struct ant_results_counts {
    int64_t n_rows, n_ok, n_failed, n_missing;
};
/* ANT_EDATA names the shards that are missing or not complete, the file that is damaged or of
 * another job. The copy is read back and compared before it takes its name. */
int ant_results_merge(const struct ant_results_merge *merge, struct ant_results_counts *out,
                      struct ant_error *err);

/* Reading results back: show, export. Row by row, only that row's bytes are read. */
struct ant_results;
/* Read all of a results file and compare it with its checksums and counts; ANT_EDATA names what
 * does not fit. *n_unsealed: datasets without a checksum. */
int ant_results_check(const char *path, int *n_unsealed, struct ant_error *err);
int ant_results_open(struct ant_results **out, const char *path, struct ant_error *err);
void ant_results_close(struct ant_results *results);
int64_t ant_results_count(const struct ant_results *results);   /* rows x samples */
int64_t ant_results_samples(const struct ant_results *results); /* of a row, at least 1 */
int64_t ant_results_ok(const struct ant_results *results);
int64_t ant_results_failed(const struct ant_results *results);
int ant_results_complete(const struct ant_results *results);
struct ant_columns ant_results_columns(const struct ant_results *results);
struct ant_input_shard ant_results_shard(
    const struct ant_results *results); /* count 0: a whole input's */
/* A fact of the root, or as "provenance/name" of that, as text; "" when there is none. Caller
 * frees.
 */
int ant_results_fact(const struct ant_results *results, const char *name, char **out,
                     struct ant_error *err);
/* Index of the row's first result; ANT_EUSAGE when it is not there. */
int ant_results_find(struct ant_results *results, int64_t row, int64_t *index,
                     struct ant_error *err);
/* Result `index`, in the order of rows and samples; borrowed until the next call. */
int ant_results_read(struct ant_results *results, int64_t index, struct ant_answer *out,
                     struct ant_error *err);
/* Its numbers alone: text, tokens and error are NULL, of tokens how many there are. */
int ant_results_read_numbers(struct ant_results *results, int64_t index, struct ant_answer *out,
                             struct ant_error *err);

/* What each rank did, and when: nothing if the file does not say. Of a file merged from shards,
 * those of shard after shard. Release the one with free(), the other with ant_moments_release. */
int ant_results_reports(const struct ant_results *results, struct ant_rank_report **out, size_t *n,
                        struct ant_error *err);
int ant_results_timeline(const struct ant_results *results, struct ant_moments *out,
                         struct ant_error *err);
/* Every attribute of /provenance that is a text or a number, as text; not of shards. Both strings
 * are owned. */
struct ant_results_note {
    char *name, *text;
};
int ant_results_notes(const struct ant_results *results, struct ant_results_note **out, size_t *n,
                      struct ant_error *err);
void ant_results_notes_release(struct ant_results_note *notes, size_t n);
/* What job a results file is of. Free with ant_manifest_release. */
int ant_results_manifest(struct ant_manifest *out, const struct ant_results *results,
                         struct ant_error *err);
/* Make a results file, which stays, a job to go on with: a journal of the answers that are OK.
 * Whole or not at all. ANT_EDATA: the file is damaged; ANT_EUSAGE: a job is at it. */
int ant_results_reopen(const char *path, struct ant_error *err);

/* The id of a result as text, whatever kind it is; borrowed until the next call. */
struct ant_results_id {
    enum ant_id_kind kind;
    const char *text;
    size_t bytes;
};
int ant_results_id(struct ant_results *results, int64_t index, struct ant_results_id *out,
                   struct ant_error *err);

#endif
