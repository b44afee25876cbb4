/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "cli/cli.h"
#include "cli/run.h"
#include "job/time_limit.h"

#define AT(member) offsetof(struct run_settings, member)

const struct ant_option ant_run_options[] = {
    {ANT_OPTION_HEADING, .name = "What to do"},
    {ANT_OPTION_TEXT, 'm', "model", "PATH", AT(model), .required = true,
     .help = "GGUF file, or Hugging Face folder with config.json, *.safetensors, tokenizer.json or "
             "tokenizer.model."},
    {ANT_OPTION_TEXT, 'i', "input", "FILE[:/PATH]", AT(input), .required = true,
     .help = "HDF5 file with prompts; PATH names the dataset or group, default /prompts. "
             "'antiphon pack' makes one of JSON lines, CSV or text."},
    {ANT_OPTION_TEXT, 'o', "output", "FILE", AT(output), .required = true,
     .help = "HDF5 file for the answers. FILE.journal holds them until all are there; the same "
             "command goes on where it was stopped."},
    {ANT_OPTION_FLAG, 0, "restart-over", NULL, AT(restart_over),
     .help = "Begin anew: throw away what an earlier job left in FILE and FILE.journal. A job that "
             "Slurm starts again goes on with what it has begun so."},
    {ANT_OPTION_FLAG, 0, "retry-failed", NULL, AT(retry_failed),
     .help = "If FILE is there: answer those of its rows again that have no answer, for a reason "
             "that is gone by now, and keep the others."},
    {ANT_OPTION_REAL, 0, "save-every", "SECONDS", AT(save_every), 0, 86400,
     .help = "Time between saves of unfinished answers, which a restart goes on with; 0: only when "
             "it is stopped in order. Default 10."},

    {ANT_OPTION_HEADING, .name = "Time"},
    {ANT_OPTION_TEXT, 0, "time-limit", "TIME", AT(time_limit),
     .help = "When to have ended: auto (the default: what Slurm gives the job), none, or a time "
             "from the start as Slurm writes it: M, M:S, H:M:S, D-H:M:S."},
    {ANT_OPTION_REAL, 0, "drain", "SECONDS", AT(drain), 0, 1e6,
     .help = "When it is to stop, by a signal, at the limit or by 'antiphon halt': no new prompts, "
             "and so long for those under way; then they are saved. Default 15."},
    {ANT_OPTION_REAL, 0, "margin", "SECONDS", AT(margin), 0, 1e6,
     .help = "Time kept before the limit for saving, after the drain. Default 30."},
    {ANT_OPTION_REAL, 0, "watchdog", "SECONDS", AT(watchdog), 0, 1e6,
     .help =
         "End the job when a rank has given no sign of life for so long; 0: never. Default 25."},

    {ANT_OPTION_HEADING, .name = "Layout"},
    {ANT_OPTION_INT, 0, "dp-size", "N", AT(dp_size), 0, 1 << 20,
     .help = "Replicas of the model (data parallel). Default: ranks / (tp * pp)."},
    {ANT_OPTION_INT, 0, "tp-size", "N", AT(tp_size), 1, 1024,
     .help = "Ranks that share each layer of a replica (tensor parallel). Default 1."},
    {ANT_OPTION_INT, 0, "pp-size", "N", AT(pp_size), 1, 1024,
     .help = "Stages of a replica (pipeline parallel). Default 1."},
    {ANT_OPTION_FLAG, 0, "enable-ep", NULL, AT(enable_ep),
     .help =
         "Spread the experts of a mixture over the ranks that share a layer, whole ones to each "
         "(expert parallel), instead of splitting every one."},
    {ANT_OPTION_CHOICE, 0, "ep-scope", "WHO", AT(ep_scope), .choices = ant_run_ep_scopes,
     .help =
         "Which ranks have the experts between them: those of a replica (the default), or those "
         "of the job, for models that do not fit otherwise."},
    {ANT_OPTION_TEXT, 0, "partition", "HOW", AT(partition),
     .help = "Which replica answers a row: modulo (row % dp, the default), block, length (equal "
             "sums of prompt and longest answer), rank (the input's own column), or plugin:PATH "
             "(a shared object, see antiphon.h). Rows with a higher priority column come first."},
    {ANT_OPTION_TEXT, 0, "shard", "K/M", AT(shard),
     .help = "Answer part K (from 0) of M parts of the input alone, and write FILE.K-of-M: jobs of "
             "an array that 'antiphon merge' makes one. auto: by the place of this task in its "
             "Slurm array."},
    {ANT_OPTION_FLAG, 0, "no-steal", NULL, AT(no_steal),
     .help = "A replica that has no row left is idle, instead of taking rows of the one that has "
             "most left."},
    {ANT_OPTION_CHOICE, 0, "backend", "NAME", AT(backend), .choices = ant_run_backends,
     .help = "auto takes the first that works and says why others do not; a name is a must."},
    {ANT_OPTION_INT, 't', "threads", "N", AT(threads), 0, 4096,
     .help = "Compute threads of a rank. Default: the cores the rank is bound to, shared evenly "
             "with ranks bound to the same ones. Fewer are not bound to cores themselves."},

    {ANT_OPTION_HEADING, .name = "Answers (per-row columns of the input come first)"},
    {ANT_OPTION_INT, 'n', "samples", "N", AT(samples), 1, UINT16_MAX, .answers = true,
     .draws = true,
     .help = "Answers to each prompt, drawn independently; its tokens are computed once. Default "
             "1."},
    {ANT_OPTION_INT, 0, "max-tokens", "N", AT(max_tokens), 1, 1 << 30, .answers = true,
     .draws = true, .help = "Longest answer. Default 256."},
    {ANT_OPTION_INT, 0, "min-tokens", "N", AT(min_tokens), 0, 1 << 30, .answers = true,
     .draws = true, .help = "Shortest answer: no end before it. Default 0."},
    {ANT_OPTION_REAL, 0, "temperature", "T", AT(temperature), 0, 1e4, .answers = true,
     .draws = true, .help = "0 takes the most probable token always. Default 1."},
    {ANT_OPTION_REAL, 0, "top-p", "P", AT(top_p), 0, 1, .answers = true, .draws = true,
     .help = "Draw from the most probable tokens that together reach P. Default 1."},
    {ANT_OPTION_INT, 0, "top-k", "K", AT(top_k), 0, 1 << 30, .answers = true, .draws = true,
     .help = "Draw from the K most probable tokens; 0, the default: all."},
    {ANT_OPTION_REAL, 0, "min-p", "P", AT(min_p), 0, 1, .answers = true, .draws = true,
     .help = "Leave out tokens below P times the most probable one's probability. Default 0."},
    {ANT_OPTION_REAL, 0, "typical-p", "P", AT(typical_p), 0, 1, .answers = true, .draws = true,
     .help = "Of the tokens that these leave, draw from the most typical ones that together reach "
             "P: those as surprising as a token is on average. Default 1."},
    {ANT_OPTION_REAL, 0, "repetition-penalty", "X", AT(repetition_penalty), 0, 100, .answers = true,
     .draws = true,
     .help = "Make tokens of the prompt and of the answer so far less likely: their logits are "
             "divided by X, or multiplied where below 0. Default 1: off."},
    {ANT_OPTION_REAL, 0, "presence-penalty", "X", AT(presence_penalty), -100, 100, .answers = true,
     .draws = true, .help = "Take X off the logits of tokens that are in the answer. Default 0."},
    {ANT_OPTION_REAL, 0, "frequency-penalty", "X", AT(frequency_penalty), -100, 100,
     .answers = true, .draws = true,
     .help = "Take X off the logits of tokens each time they are in the answer. Default 0."},
    {ANT_OPTION_LIST, 0, "logit-bias", "ID=X", AT(logit_bias), .answers = true, .draws = true,
     .help = "Add X (-100 to 100) to the logit of token ID. May be given more than once."},
    {ANT_OPTION_LIST, 0, "allowed-token-id", "ID", AT(allowed_ids), .answers = true, .draws = true,
     .help = "Draw no other tokens than these. May be given more than once."},
    {ANT_OPTION_LIST, 0, "bad-words", "TEXT", AT(bad_words), .answers = true, .draws = true,
     .help = "Never write TEXT, as its own tokens or behind a space. May be given more than once."},
    {ANT_OPTION_SEED, 0, "seed", "N", AT(seed), .answers = true, .draws = true,
     .help = "The same seed and prompt give the same answer, on any rank and in any batch. "
             "Default 0."},
    {ANT_OPTION_INT, 0, "logprobs", "K", AT(logprobs), -1, ANT_MAX_TOP, .answers = true,
     .help =
         "Keep the log probability of every token of an answer, and with it the K most probable "
         "tokens in its place. Default -1: none."},
    {ANT_OPTION_INT, 0, "prompt-logprobs", "K", AT(prompt_logprobs), -1, ANT_MAX_TOP,
     .answers = true,
     .help = "The same of the prompt's tokens, with the row's first answer. Default -1: none."},
    {ANT_OPTION_LIST, 0, "stop", "TEXT", AT(stop), .answers = true, .draws = true,
     .help = "End an answer before TEXT. May be given more than once."},
    {ANT_OPTION_LIST, 0, "stop-token-id", "ID", AT(stop_ids), .answers = true, .draws = true,
     .help = "End an answer at this token, which its text leaves out. May be given more than "
             "once."},
    {ANT_OPTION_FLAG, 0, "ignore-eos", NULL, AT(ignore_eos), .answers = true, .draws = true,
     .help = "Go on past the model's own end of answer."},
    {ANT_OPTION_INT, 0, "max-repeats", "N", AT(max_repeats), 0, 1 << 20, .answers = true,
     .draws = true,
     .help =
         "End an answer, as LOOP, when its last tokens are N times the same ones, up to 64 at a "
         "time. Default 0: go on."},
    {ANT_OPTION_INT, 0, "max-model-len", "N", AT(max_model_len), 0, 1 << 30, .answers = true,
     .help = "Most tokens of a prompt and its answer. Default: what the model was made for."},

    {ANT_OPTION_HEADING, .name = "What answers must be (at most one of these)", .draws = true},
    {ANT_OPTION_LIST, 0, "choice", "TEXT", AT(choices), .answers = true, .draws = true,
     .help = "One of the texts given so. May be given more than once."},
    {ANT_OPTION_TEXT, 0, "regex", "EXPRESSION", AT(regex), .answers = true, .draws = true,
     .help = "A text that the regular expression matches as a whole."},
    {ANT_OPTION_TEXT, 0, "json-schema", "FILE", AT(json_schema), .answers = true, .draws = true,
     .help = "JSON of this schema, with the properties in its order."},
    {ANT_OPTION_FLAG, 0, "json", NULL, AT(json), .answers = true, .draws = true,
     .help = "An object in JSON."},

    {ANT_OPTION_HEADING,
     .name = "Chat (prompts that are messages go through the model's template)"},
    {ANT_OPTION_FLAG, 0, "chat", NULL, AT(chat), .answers = true,
     .help = "Take each text as the message of a user."},
    {ANT_OPTION_TEXT, 0, "system", "TEXT", AT(system), .answers = true,
     .help = "The system message of conversations that begin with none."},
    {ANT_OPTION_TEXT, 0, "chat-template", "FILE", AT(chat_template),
     .help = "A Jinja template to take instead of the model's own."},
    {ANT_OPTION_TEXT, 0, "chat-template-kwargs", "JSON", AT(chat_variables), .answers = true,
     .help = "More variables for the template, such as {\"enable_thinking\": false}."},
    {ANT_OPTION_TEXT, 0, "chat-date", "YYYY-MM-DD", AT(chat_date), .answers = true,
     .help = "The day that a template which asks for it is told. Default: that on which the input "
             "was written."},

    {ANT_OPTION_HEADING, .name = "Engine"},
    {ANT_OPTION_CHOICE, 0, "load", "HOW", AT(load), .choices = ant_run_loads,
     .help =
         "read: every host reads the weights it needs, and every GPU. broadcast: of what several "
         "of them hold each reads a part and sends it to the others, checked. auto, the default: "
         "broadcast from network file systems."},
    {ANT_OPTION_INT, 0, "max-num-seqs", "N", AT(max_num_seqs), 1, 1 << 20,
     .help =
         "Prompts in flight at once on a rank. Default 256, on a GPU 1024, of mixtures and small "
         "models 2048."},
    {ANT_OPTION_INT, 0, "max-num-batched-tokens", "N", AT(max_batched_tokens), 1, 1 << 20,
     .help = "Most rows of one step, prompt chunks and answers together. Default 512, on a GPU "
             "8448."},
    {ANT_OPTION_FLAG, 0, "no-prefix-sharing", NULL, AT(no_prefix_sharing),
     .help = "Compute every prompt whole, also where it begins like another one. Answers are the "
             "same."},
    {ANT_OPTION_TEXT, 0, "speculate", "HOW", AT(speculate), .draws = true,
     .help =
         "Guess the next tokens of an answer by what followed the same words before, in the "
         "prompt or the answer, and compute them in one step: auto (the default: on CPUs, while "
         "few answers are under way), off, or N, at most 32: so many always. Answers are the "
         "same."},
    {ANT_OPTION_BYTES, 0, "kv-memory", "BYTES", AT(kv_memory), 0, 1e18,
     .help = "Memory of a rank for the KV cache. Default: what all prompts in flight can need, at "
             "most 80 % of what the weights leave free, on a GPU 98 %."},
    {ANT_OPTION_CHOICE, 0, "kv-type", "TYPE", AT(kv_type), .choices = ant_run_kv_types,
     .answers = true,
     .help = "Elements of the KV cache; auto is bf16. fp8 (on GPUs) is e4m3 with a scale for each "
             "key and value of a head: half the memory."},
    {ANT_OPTION_CHOICE, 0, "weight-type", "TYPE", AT(weight_type), .choices = ant_run_weight_types,
     .answers = true,
     .help = "Elements of the weights as they are multiplied. fp8 (on Hopper GPUs): e4m3 with a "
             "scale for each row, made while loading; embedding and output stay as they are. auto "
             "is what the backend makes of the model's own."},
    {ANT_OPTION_FLAG, 0, "fast", NULL, AT(is_fast), .answers = true,
     .help = "With --weight-type fp8: be faster while at most 16 answers are under way, and let "
             "answers depend on how many are: another batch, number of ranks or restart may then "
             "give others."},

    {ANT_OPTION_HEADING, .name = "Talk"},
    {ANT_OPTION_INT, 0, "progress", "SECONDS", AT(progress), 0, 86400,
     .help = "Time between progress lines in a log; 0: none. Default 30; on a terminal one line "
             "is redrawn every second."},
    {ANT_OPTION_CHOICE, 0, "log-level", "LEVEL", AT(log_level), .choices = ant_run_log_levels,
     .help = "error, warn, info (default), debug or trace."},
    {0},
};

static const struct ant_command_help run_help = {
    .name = "run",
    .summary = "answer every prompt of a file with a model",
    .synopsis = "--model PATH --input FILE --output FILE [options]",
    .purpose = "Answer every prompt of a file. Started alone, by srun --mpi=pmix or by mpirun.",
    .epilog =
        "What answers must be holds to the last token, or to --max-tokens: an answer that was cut "
        "off\n(finish LENGTH) is the beginning of one. Where nothing can follow, it ends at once.\n"
        "Expressions know characters, classes, groups, |, *, +, ?, {n,m}, \\d \\w \\s (of "
        "ASCII), and ^ and $\nat their ends; no references back, looks around, \\b or \\p.\n"
        "Schemas may have type, properties, required, additionalProperties, minProperties,\n"
        "maxProperties, items, prefixItems, minItems, maxItems, enum, const, anyOf, oneOf (as "
        "anyOf),\nallOf of one, $ref within the schema, minimum, maximum and the exclusive ones, "
        "and of minLength\nwith maxLength, pattern and format (date, time, date-time, duration, "
        "uuid, ipv4, ipv6, hostname,\nemail, uri) one. Any other keyword that would change what is "
        "meant is an error that names it.\nProperties and elements that a schema does not name are "
        "left out unless it says otherwise.\nNumbers have at most 15 digits before and behind the "
        "point; values are nested at most 64 deep\nwhere a schema refers to itself.\n\n"
        "SIGTERM, SIGINT, SIGUSR1 and SIGXCPU: the first stops the job as --drain says, the second "
        "saves\nat once, the third leaves at once. SIGUSR2: a progress line now.\n\n"
        "Exit codes: 0 every row has an answer or a reason why not, 64 wrong usage, 65 bad "
        "data, 70 a bug,\n74 a disk that is full or failing, 75 stopped or failed for now: "
        "the same command goes on where it was.",
};

/* ---- how long -------------------------------------------------------------------------------- */

/* Rank 0 alone watches the clock of the job. */
static int read_time_limit(struct run *run, struct ant_error *err)
{
    enum { PATIENCE_S = 10 };
    const char *text = run->settings.time_limit;
    double seconds = INFINITY, began = run->start;

    if (strcmp(text, "auto") == 0) {
        began = ant_now();
        if (ant_job_env_rank() == 0 && ant_time_left(&seconds, PATIENCE_S, err) < 0)
            ant_log(ANT_LOG_WARN, "time", "%s: no time limit is known", err->text);
    } else if (strcmp(text, "none") != 0 && ant_time_parse(&seconds, text, err) < 0) {
        return ant_fail_in(err, ANT_EUSAGE, "--time-limit");
    }
    double kept = run->settings.drain + run->settings.margin;
    if (seconds <= kept && began == run->start)
        return ant_fail(err, ANT_EUSAGE,
                        "--time-limit '%s' leaves no time to answer: --margin and --drain keep "
                        "%g s of it; raise it or lower them",
                        text, kept);
    if (seconds <= kept)
        ant_log(ANT_LOG_WARN, "time",
                "the job ends in %.0f s, of which --margin and --drain keep %g: no prompt is begun",
                seconds, kept);
    if (ant_job_env_rank() > 0)
        seconds = INFINITY;
    run->stop = (struct ant_stop){
        .drain = run->settings.drain, .margin = run->settings.margin, .end = began + seconds};
    return 0;
}

/* ---- what to run: model, prompts, stop rules ------------------------------------------------- */

int ant_run_open_inputs(struct run *run, struct ant_error *err)
{
    const struct run_settings *settings = &run->settings;

    ANT_TRY(ant_run_parse_partition(run, err));
    ANT_TRY(ant_checkpoint_open(&run->checkpoint, settings->model, err));
    ANT_TRY(ant_checkpoint_tokenizer(run->checkpoint, &run->tokenizer, err));
    ANT_TRY(ant_prompts_open(&run->prompts, settings->input, err));
    if (ant_prompts_count(run->prompts) == 0 && run->layout.rank == 0)
        ant_log(ANT_LOG_WARN, "prompts", "'%s' has no prompts", settings->input);
    ANT_TRY(ant_run_take_shard(run, err));
    ANT_TRY(ant_run_open_chat(run, err));
    if (run->is_scored && !ant_prompts_have_continuations(run->prompts))
        return ant_fail(err, ANT_EUSAGE, "'%s' has no column 'continuation': nothing to score",
                        settings->input);
    const char *ignored = ant_prompts_ignored(run->prompts);
    if (*ignored && run->layout.rank == 0)
        ant_log(ANT_LOG_WARN, "prompts", "columns of '%s' without a meaning here are ignored: %s",
                settings->input, ignored);
    ANT_TRY(ant_run_collect_rules(run, err));
    return ant_run_collect_constraint(run, err);
}

/* ---- all of it ------------------------------------------------------------------------------- */

/* 1 when there is nothing to do. */
static int prepare(struct run *run, struct ant_error *err)
{
    ANT_TRY(ant_run_agree(run, ant_run_open_inputs(run, err), err));
    ANT_TRY(ant_run_find_columns(run, err));
    ANT_TRY(ant_run_agree(run, ant_run_plan(run, err), err));
    int rc = ant_run_open_journal(run, err);
    if (rc != 0)
        return rc;
    if (run->layout.rank == 0)
        ant_run_banner(run);

    return ant_run_load(run, err);
}

int ant_run_end_together(struct run *run, int code, const struct ant_error *err)
{
    int exit_code = (int)ant_exit_code(code);

    if (ant_job_env_rank() == 0)
        ant_cli_fail(run->argv[0], code, err);
    ant_run_tear_down(run);
    return exit_code;
}

int ant_run_end_alone(struct run *run, int code, const struct ant_error *err)
{
    int exit_code = ant_cli_fail(run->argv[0], code, err);

    if (run->job && ant_job_size(run->job) > 1)
        ant_job_abort(exit_code);
    ant_run_tear_down(run);
    return exit_code;
}

static int end_done(struct run *run)
{
    if (run->layout.rank == 0)
        printf("antiphon: COMPLETE already: '%s' holds the answers of this very job "
               "(--restart-over gives them again)\n",
               run->settings.output);
    ant_run_tear_down(run);
    return ANT_EXIT_DONE;
}

/* Everything is in the journals. Once all ranks can say so, rank 0 does. */
static int end_stopped(struct run *run, struct ant_error *err)
{
    struct run_counts sum = {0}, *all = ant_xcalloc((size_t)run->layout.world, sizeof(*all));
    int rc = ant_group_all_gather(run->world, &run->counts, sizeof(run->counts), all,
                                  START_TIMEOUT_S, err);

    for (int i = 0; i < run->layout.world; i++) {
        sum.done += all[i].done;
        sum.running += all[i].running;
    }
    free(all);
    if (rc < 0)
        return ant_run_end_alone(run, rc, err);
    if (run->layout.rank == 0)
        ant_run_tell_stopped(run, &sum);
    ant_run_tear_down(run);
    return ANT_EXIT_TEMPORARY;
}

/* Another job than one that answers the same prompts. */
static void note_scored(struct run *run)
{
    char *answers = ant_xasprintf("%scommand=score\n", run->answers);

    free(run->answers);
    run->answers = answers;
}

int ant_run_main(struct run *run, const struct ant_command *command)
{
    struct ant_error err = {{0}};
    int first, code, rc = 0;

    ant_run_set_defaults(&run->settings);
    if (!ant_cli_parse(command, &run->settings, run->argc, run->argv, &first, &code))
        return code;
    if (run->settings.restart_over && run->settings.retry_failed)
        rc = ant_fail(&err, ANT_EUSAGE, "--restart-over answers all rows, --retry-failed some");
    if (rc < 0)
        return ant_run_end_together(run, rc, &err);
    ant_log_set_level((enum ant_log_level)run->settings.log_level);
    ant_stop_catch();
    rc = read_time_limit(run, &err);
    if (rc < 0)
        return ant_run_end_together(run, rc, &err);
    if (run->is_scored && run->settings.logprobs < 1)
        run->settings.logprobs = 1; /* the most probable token says whether it is this one */
    run->answers = ant_option_answers(ant_run_options, &run->settings);
    if (run->is_scored)
        note_scored(run);
    run->settings_json = ant_option_json(ant_run_options, &run->settings);

    rc = ant_run_launch(run, &err);
    if (rc == 0)
        rc = ant_store_start(ant_job_size(run->job), &err);
    if (rc == ANT_EUSAGE || rc == ANT_EUNSUPP)
        return ant_run_end_together(run, rc, &err);
    if (rc < 0)
        return ant_run_end_alone(run, rc, &err);
    rc = prepare(run, &err);
    if (rc < 0)
        return rc == ANT_EPEER ? ant_run_end_alone(run, rc, &err)
                               : ant_run_end_together(run, rc, &err);
    if (rc > 0)
        return end_done(run);
    ant_run_progress_start(run);
    rc = ant_run_answer(run, &err);
    if (rc < 0)
        return ant_run_end_alone(run, rc, &err);
    if (run->pulse.orders.next == RUN_SAVE)
        return end_stopped(run, &err);
    rc = ant_run_write_results(run, &err);
    if (rc < 0)
        return rc == ANT_EPEER ? ant_run_end_alone(run, rc, &err)
                               : ant_run_end_together(run, rc, &err);
    ant_run_tear_down(run);
    return ANT_EXIT_DONE;
}

static int run_main(int argc, char **argv)
{
    struct run run = {.argc = argc, .argv = argv, .start = ant_now()};

    return ant_run_main(&run, &ant_command_run);
}

const struct ant_command ant_command_run = {run_main, ant_run_options, &run_help};
