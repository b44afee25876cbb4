/* SPDX-License-Identifier: Apache-2.0 */
/* One run of the main job: what its parts share. run.c sets up and takes down, record.c keeps the
 * journal and the results, answer.c moves rows through the engine, report.c talks to the person in
 * front of it. Thread: control (the main thread). */
#ifndef ANT_CLI_RUN_H
#define ANT_CLI_RUN_H

#include "backend/backend.h"
#include "base/option.h"
#include "engine/engine.h"
#include "job/group.h"
#include "job/launch.h"
#include "job/layout.h"
#include "job/work.h"
#include "model/checkpoint.h"
#include "model/model.h"
#include "store/journal.h"
#include "store/prompts.h"
#include "store/results.h"

/* Work between two agreements of all ranks may take this long; a shared file system can be slow. */
#define START_TIMEOUT_S 900

/* The command line. */
struct run_settings {
    const char *model, *input, *output;
    int dp_size, tp_size, pp_size, partition;
    int samples, max_tokens, min_tokens, top_k;
    double temperature, top_p, min_p;
    uint64_t seed;
    struct ant_option_list stop, stop_ids;
    bool ignore_eos;
    int max_model_len, max_num_seqs, max_batched_tokens, threads, backend, kv_type;
    int64_t kv_memory;
    bool no_prefix_sharing;
    bool restart_over;
    double save_every;
    int progress, log_level;
};

/* What a rank has done so far; every rank sends it to rank 0 now and then. Plain data. */
struct run_counts {
    int64_t rows, done, failed, prompt_tokens, output_tokens;
    int32_t running, is_finished;
};

struct run {
    struct run_settings settings;
    char *answers, *settings_json; /* owned: the settings that change answers, and all of them */
    int argc;
    char **argv;
    double start, start_answers, first_token; /* ant_now() */

    struct ant_job *job;
    struct ant_transport *transport;
    struct ant_group *world, *node;
    struct ant_layout layout;

    struct ant_checkpoint *checkpoint;
    struct ant_tokenizer *tokenizer;
    struct ant_prompts *prompts;
    const struct ant_backend_ops *ops;
    struct ant_backend *be;
    struct ant_backend_facts facts;
    struct ant_model *model;
    size_t weight_bytes;
    struct ant_engine_config engine_config;
    struct ant_engine *engine;

    struct ant_sampling sampling; /* of a row that says nothing else */
    struct ant_stops stops;
    int32_t *stop_ids; /* owned: stops.ids */

    struct ant_work *work;
    int64_t row;  /* being turned into requests, */
    int n_opened; /* and how many of its samples have been */
    struct ant_journal *journal;
    int attempt;                       /* number of this start: 1 the first time */
    struct ant_journal_index earlier;  /* owned: what earlier starts have finished and begun */
    struct ant_journal_reader *reader; /* of what they have begun */

    struct run_counts counts;  /* this rank's */
    struct run_counts *others; /* owned, (world) on rank 0 */
    double load_s, last_save;
    struct report_clock {
        double last_line, last_post;
        bool is_terminal;
    } clock;
};

/* run.c: the parts of a run that bench has as well, in their order. */
/* What the settings of these names can be: choices of options, ended by NULL. */
extern const char *const ant_run_backends[], *const ant_run_kv_types[], *const ant_run_log_levels[];
void ant_run_set_defaults(struct run_settings *settings);
/* Who the ranks are, and groups of all of them and of those of a host. */
int ant_run_launch(struct run *run, struct ant_error *err);
/* Of the open checkpoint: a backend, and what goes where in memory. */
int ant_run_plan(struct run *run, struct ant_error *err);
/* Weights, cache and engine are ready on all ranks. */
int ant_run_load(struct run *run, struct ant_error *err);
/* One outcome for all ranks: the first failing rank's error is everybody's. */
int ant_run_agree(struct run *run, int rc, struct ant_error *err);
void ant_run_tear_down(struct run *run);
/* An error that every rank has, in the same words: one of them tells it, and all end in order.
 * Both return the exit code. */
int ant_run_end_together(struct run *run, int code, const struct ant_error *err);
/* An error of this rank alone: tell it and end the others too; what is journalled is safe. */
int ant_run_end_alone(struct run *run, int code, const struct ant_error *err);

/* record.c: how many answers the job has in all, every sample counted. */
int64_t ant_run_answers(const struct run *run);

/* answer.c: answer this rank's rows, journal every answer. */
int ant_run_answer(struct run *run, struct ant_error *err);

/* record.c: the journal and the results. Both are collective. */
/* Find out what earlier starts of this job have done, deal the rest to the ranks, begin a journal.
 * 1 when all is done. */
int ant_run_open_journal(struct run *run, struct ant_error *err);
/* Everybody's journal entries and reports, the one file, the summary; then the journal has served.
 */
int ant_run_write_results(struct run *run, struct ant_error *err);

/* provenance.c: what the results file says of where it comes from. Digests of the input, the model
 * and the settings that change answers; `settings` are all of them as JSON. */
struct ant_run_facts;
struct ant_run_facts *ant_run_facts_open(const struct run *run, const char *input,
                                         const char *model, const char *answers,
                                         const char *settings);
const struct ant_fact *ant_run_facts_root(const struct ant_run_facts *facts, size_t *n);
const struct ant_fact *ant_run_facts_provenance(const struct ant_run_facts *facts, size_t *n);
void ant_run_facts_close(struct ant_run_facts *facts);

/* report.c */
void ant_run_banner(const struct run *run);
/* The clock of the answers starts. */
void ant_run_progress_start(struct run *run);
/* Send counts to rank 0, and there print a progress line when it is time; cheap to call often.
 * `is_last`: this rank has no more to do; rank 0 then waits for all others, still printing. */
void ant_run_progress(struct run *run, bool is_last);
void ant_run_report(const struct run *run, struct ant_rank_report *out);
void ant_run_summary(const struct run *run, const struct ant_rank_report *reports, int64_t n_rows,
                     int64_t n_ok, int64_t n_failed);

#endif
