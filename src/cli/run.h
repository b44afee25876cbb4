/* SPDX-License-Identifier: Apache-2.0 */
/* One run of the main job: what its parts share. run.c is its course, setup.c starts and ends what
 * bench and verify have as well, record.c keeps the journal and the results, answer.c moves rows
 * through the engine, pulse.c keeps ranks in touch, report.c talks to the person in front of it.
 * Thread: control (the main thread). */
#ifndef ANT_CLI_RUN_H
#define ANT_CLI_RUN_H

#include "backend/backend.h"
#include "base/clock.h"
#include "base/option.h"
#include "cli/cli.h"
#include "engine/engine.h"
#include "job/deal.h"
#include "job/group.h"
#include "job/heart.h"
#include "job/launch.h"
#include "job/layout.h"
#include "job/parallel.h"
#include "job/stop.h"
#include "job/work.h"
#include "model/checkpoint.h"
#include "model/model.h"
#include "model/shard.h"
#include "store/journal.h"
#include "store/prompts.h"
#include "store/results.h"
#include "text/chat.h"

/* Work between two agreements of all ranks may take this long; a shared file system can be slow. */
#define START_TIMEOUT_S 900

/* The command line. */
struct run_settings {
    const char *model, *input, *output, *time_limit;
    int dp_size, tp_size, pp_size;
    bool enable_ep;
    int ep_scope; /* of ant_run_ep_scopes */
    int load;     /* of ant_run_loads */
    const char *partition, *shard;
    bool no_steal;
    int samples, max_tokens, min_tokens, top_k;
    double temperature, top_p, min_p, typical_p;
    double repetition_penalty, presence_penalty, frequency_penalty;
    struct ant_option_list logit_bias, allowed_ids, bad_words, choices;
    const char *regex, *json_schema;
    bool json;
    uint64_t seed;
    int logprobs, prompt_logprobs; /* most probable ids with each; -1: none at all */
    struct ant_option_list stop, stop_ids;
    bool ignore_eos;
    int max_repeats;
    bool chat;
    const char *system, *chat_template, *chat_variables, *chat_date;
    int max_model_len, max_num_seqs, max_batched_tokens, threads, backend, kv_type, weight_type;
    int64_t kv_memory;
    bool no_prefix_sharing, times_operations, is_fast;
    const char *speculate;
    bool restart_over, retry_failed;
    double save_every, drain, margin, watchdog;
    int progress, log_level;
};

/* What a rank is at. */
enum run_doing { RUN_STARTS, RUN_LOADS, RUN_ANSWERS, RUN_SYNCS, RUN_MERGES, RUN_WORKS };

/* What a rank has done so far, and what it knows; every rank sends it to rank 0 now and then. Plain
 * data. */
struct run_counts {
    int64_t left, done, failed, prompt_tokens, output_tokens, steps;
    int32_t running, is_idle; /* idle: nothing more to do for now */
    int32_t n_progress;       /* how often it was asked for a progress line */
    int32_t stage;            /* enum ant_stage */
    char why[ANT_STOP_WHY];
};

/* What rank 0 tells all others. */
enum run_next { RUN_GO_ON, RUN_MERGE, RUN_SAVE };
struct run_orders {
    int32_t stage, next; /* enum ant_stage, run_next */
};

/* pulse.c: what ranks told last; times are ant_now(). */
struct run_pulse {
    struct run_counts *others; /* owned, (world) on rank 0 */
    double last_post, last_look, last_step, last_asked;
    struct run_counts posted; /* what rank 0 was told last */
    struct run_orders orders; /* what rank 0 has said last */
    bool is_asked;            /* for a progress line */
};

struct run {
    struct run_settings settings;
    char *answers, *settings_json; /* owned: the settings that change answers, and all of them */
    int argc;
    char **argv;
    double start, start_answers, first_token; /* ant_now() */

    struct ant_job *job;
    struct ant_transport *transport;
    struct ant_group *world, *node, *twins; /* all; those of this host; of them those that hold the
                                               same part of the model */
    struct ant_group *hosts; /* the first of the twins of each host; NULL: this rank is none */
    int host, n_hosts;       /* this one among those hosts */
    int unit_ranks;          /* of this host on this rank's GPU: itself, but in tests */
    bool is_broadcast;       /* each host reads a part of the weights for all */
    struct ant_heart *heart;
    struct ant_layout layout;
    struct ant_parallel parallel; /* the ranks of this replica */
    struct ant_shard shard;       /* what of the model this rank holds */

    struct ant_checkpoint *checkpoint;
    struct ant_tokenizer *tokenizer;
    struct ant_prompts *prompts;
    struct ant_chat *chat; /* NULL: prompts are taken as they are */
    const struct ant_backend_ops *ops;
    struct ant_backend *be;
    struct ant_backend_facts facts;
    struct ant_model *model;
    size_t weight_bytes, own_weight_bytes; /* of them not shared with twins */
    struct ant_engine_config engine_config;
    struct ant_engine *engine;

    int samples;                  /* of a row that says nothing else; settings.samples: at most */
    bool is_scored;               /* continuations are given, nothing is drawn */
    struct ant_columns columns;   /* what its results have beside what all do */
    struct ant_sampling sampling; /* of a row that says nothing else */
    struct ant_stops stops;
    struct ant_rules rules;              /* both are rules.c's to fill and free */
    struct run_constraints *constraints; /* constrain.c's */

    struct ant_input_shard part; /* of the input, that is answered: */
    int64_t n_rows;              /* so many rows from part.first_row on */
    char *part_path;             /* owned; settings.output of a shard */
    enum ant_partition partition;
    struct ant_deal *deal;
    struct ant_counters *counters; /* NULL: nobody steals */
    struct ant_work *work;
    int64_t row;  /* being turned into requests, */
    int n_opened; /* and how many of its samples have been */
    struct ant_journal *journal;
    int attempt;                       /* number of this start: 1 the first time */
    struct ant_journal_index earlier;  /* owned: what earlier starts have finished and begun */
    struct ant_journal_reader *reader; /* of what they have begun */

    struct run_counts counts; /* this rank's */
    struct ant_stop stop;     /* what this rank knows of; on rank 0 what any rank knows of */
    struct run_pulse pulse;
    double load_s, last_save;
    struct run_trace {
        struct ant_timeline *file; /* NULL: this rank does not lead, or it cannot be written */
        struct ant_moments moments;
        double last;
        struct ant_record_clock clock;
    } trace;
    struct report_clock {
        double last_line;
        bool is_terminal;
    } clock;
};

/* A replica's first rank answers its rows with the help of the others. */
static inline bool ant_run_leads(const struct run *run)
{
    return run->layout.tp_rank == 0 && run->layout.pp_rank == 0;
}

/* run.c */
/* The main job: answer the rows of a file, or score them. `argv` and what the command sets of
 * `run` itself are there; the rest is set up and taken down. Returns the exit code. */
int ant_run_main(struct run *run, const struct ant_command *command);
extern const struct ant_option ant_run_options[];

/* setup.c, in the order of their calls. */
/* What the settings of these names can be: choices of options, ended by NULL. */
extern const char *const ant_run_ep_scopes[], *const ant_run_loads[];
extern const char *const ant_run_backends[],
    *const ant_run_kv_types[], *const ant_run_weight_types[], *const ant_run_log_levels[];
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

/* run.c */
/* What to run: model, prompts, stop rules. */
int ant_run_open_inputs(struct run *run, struct ant_error *err);
/* An error that every rank has, in the same words: one of them tells it, and all end in order.
 * Both return the exit code. */
int ant_run_end_together(struct run *run, int code, const struct ant_error *err);
/* An error of this rank alone: tell it and end the others too; what is journalled is safe. */
int ant_run_end_alone(struct run *run, int code, const struct ant_error *err);

/* rules.c: what the options say about how every answer ends and what may be drawn; rules_row.c:
 * what a row says. */
int ant_run_collect_rules(struct run *run, struct ant_error *err);
void ant_run_release_rules(struct run *run);
/* The request ends where its row says, and draws as it says. */
int ant_run_row_rules(const struct run *run, const struct ant_prompt *prompt,
                      struct ant_request *request, struct ant_error *err);
/* ANT_EUNSUPP if the backend cannot draw so. */
int ant_run_check_edits(const struct run *run, const struct ant_sampling *sampling,
                        const struct ant_rules *rules, struct ant_error *err);
/* What a bad word is as tokens, behind the `n` that are there: up to two more. */
int ant_run_add_word(const struct run *run, const char *text, struct ant_ids *words, int *n,
                     struct ant_error *err);
/* What adding to a logit may come to, as in the OpenAI interface. */
#define RUN_MOST_BIAS 100.0

/* logprobs.c: how many answers to a row, and what log probabilities, the job is asked for at most,
 * by its settings and its rows. Collective. */
int ant_run_find_columns(struct run *run, struct ant_error *err);
/* How many answers this row is asked for. */
int ant_run_row_samples(const struct run *run, const struct ant_prompt *prompt, int *out,
                        struct ant_error *err);
/* ANT_EUNSUPP if the backend has none. */
int ant_run_check_logprobs(const struct run *run, struct ant_error *err);
/* What a row asks for. */
int ant_run_want_logprobs(const struct run *run, const struct ant_prompt *prompt,
                          struct ant_request *request, struct ant_error *err);
/* The ids of a row's continuation, and of what comes before it. */
int ant_run_continuation_ids(const struct run *run, const struct ant_prompt *prompt,
                             struct ant_ids *before, struct ant_ids *out, struct ant_error *err);

/* constrain.c: what answers are possible at all. Collect after the rules. */
int ant_run_collect_constraint(struct run *run, struct ant_error *err);
/* ANT_EUNSUPP if the backend cannot draw so. */
int ant_run_check_constraint(const struct run *run, struct ant_error *err);
/* A reference to what a row's answer must be; NULL: anything. Of the row itself if it says so. */
int ant_run_hold_constraint(const struct run *run, const struct ant_prompt *prompt,
                            struct ant_constraint **out, struct ant_error *err);
void ant_run_release_constraints(struct run *run);

/* record.c: what says whether two jobs would give the same results: digests of the input, of the
 * model and of the settings that change answers. */
struct run_identity {
    char input[ANT_DIGEST_TEXT], model[ANT_DIGEST_TEXT], settings[ANT_DIGEST_TEXT];
};
void ant_run_identify(const struct run *run, struct run_identity *out);
/* How many answers the job has in all, every sample counted. */
int64_t ant_run_answers(const struct run *run);

/* chat.c: the chat template, if this run needs one; and the ids that a prompt begins with. */
int ant_run_open_chat(struct run *run, struct ant_error *err);
int ant_run_prompt_ids(const struct run *run, const struct ant_prompt *prompt, struct ant_ids *out,
                       struct ant_error *err);

/* answer.c: a sample of a row as a request, its failure if there is one. */
int ant_run_request(const struct run *run, const struct ant_prompt *prompt, int sample,
                    struct ant_request **out, struct ant_error *err);
/* Answer this rank's rows, journal every answer, until all ranks have, or all stop:
 * pulse.orders.next says which. */
int ant_run_answer(struct run *run, struct ant_error *err);

/* pulse.c: that a rank hangs is noticed from here on, by all others, which it ends; what comes next
 * is told by ant_run_doing. Collective. */
int ant_run_watch(struct run *run, struct ant_error *err);
void ant_run_doing(struct run *run, enum run_doing doing);
/* What ranks tell each other while they answer. Rank 0 hears from all how far they are and what
 * signals they got; all hear from rank 0 when to stop. */
void ant_run_pulse_start(struct run *run);
/* Call often. */
int ant_run_pulse(struct run *run, struct ant_error *err);
void ant_run_pulse_stop(struct run *run);

/* trace.c: what this replica has done as time goes by. Note it when it is time, or `now`: cheap to
 * call often. */
void ant_run_trace_start(struct run *run);
void ant_run_trace(struct run *run, bool now);
/* Collective: on rank 0 the notes of all ranks and starts. */
int ant_run_trace_gather(struct run *run, struct ant_moments *out, double timeout,
                         struct ant_error *err);
void ant_run_trace_stop(struct run *run);

/* shard.c: of the open prompts the rows of this job, and its output. */
int ant_run_take_shard(struct run *run, struct ant_error *err);

/* deal.c: which rows this rank answers. Collective, but for the look at the command line. */
int ant_run_parse_partition(struct run *run, struct ant_error *err);
int ant_run_deal(struct run *run, struct ant_error *err);
/* The deal of rank 0 to all. */
int ant_run_share_deal(struct run *run, struct ant_error *err);

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
/* Rank 0: a progress line when it is time, or `now`; cheap to call often. */
void ant_run_progress(struct run *run, bool now);
/* Rank 0: that it is going to stop; and the last line of one that has. */
void ant_run_tell_stop(const struct run *run);
void ant_run_tell_stopped(const struct run *run, const struct run_counts *sum);
void ant_run_report(const struct run *run, struct ant_rank_report *out);
void ant_run_summary(const struct run *run, const struct ant_rank_report *reports, int64_t n_rows,
                     int64_t n_ok, int64_t n_failed);

#endif
