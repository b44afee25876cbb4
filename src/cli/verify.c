/* SPDX-License-Identifier: Apache-2.0 */
/* antiphon verify: is a results file what it says it is, and does the model still say so? */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "cli/cli.h"
#include "cli/run.h"

/* How long to wait for an answer before looking whether more prompts can go in, and for other
 * replicas to end. */
#define NAP_S      0.05
#define PATIENCE_S 86400.0

struct verify_settings {
    int sample;
    struct run_settings run; /* what the command line says; the rest is as in the file */
};

#define AT(member) offsetof(struct verify_settings, member)

static const struct ant_option options[] = {
    {ANT_OPTION_TEXT, 'm', "model", "PATH", AT(run.model),
     .help = "Generate a sample of the answers again with the model they were made with."},
    {ANT_OPTION_INT, 'n', "sample", "N", AT(sample), 0, 1 << 30,
     .help = "How many answers to generate again, evenly spread; 0: all. Default 32."},
    {ANT_OPTION_TEXT, 'i', "input", "FILE[:/PATH]", AT(run.input),
     .help = "The prompt file. Default: where the job found it."},
    {ANT_OPTION_TEXT, 0, "chat-template", "FILE", AT(run.chat_template),
     .help = "The template that the job was given instead of the model's own."},
    {ANT_OPTION_INT, 0, "tp-size", "N", AT(run.tp_size), 1, 1024,
     .help = "Ranks that share each layer of a replica. Default 1."},
    {ANT_OPTION_INT, 0, "pp-size", "N", AT(run.pp_size), 1, 1024,
     .help = "Stages of a replica. Default 1."},
    {ANT_OPTION_CHOICE, 0, "backend", "NAME", AT(run.backend), .choices = ant_run_backends,
     .help = "auto (default), cpu or cuda."},
    {ANT_OPTION_INT, 't', "threads", "N", AT(run.threads), 0, 4096,
     .help = "Compute threads of a rank. Default: its fair part of the cores."},
    {0},
};

static const struct ant_command_help help = {
    .name = "verify",
    .summary = "check a result file, by its checksums and by its model",
    .synopsis = "OUT [--model PATH [--sample N]]",
    .purpose = "Read all of a results file and compare it with its checksums and counts. With the "
               "model, generate a sample of its answers again and compare the tokens; under srun "
               "each replica does a part of the sample.",
    .epilog = "Exit codes: 0 all is as it should be, 65 the file is damaged or an answer differs: "
              "the first\none is named. Another kind of GPU or level of CPU than the job's may "
              "give other answers.",
};

/* The first of a rank's answers that is not as in the file. Plain data. */
struct difference {
    int64_t n_checked, n_differing;
    int64_t row;
    int32_t sample, position;
    int32_t was, is; /* tokens; -1: the answer ends there */
};

struct verify {
    const char *path;
    struct run run;
    struct ant_results *results;
    int64_t sample; /* answers to generate again */
    char **words;   /* owned: the settings of the job as a command line */
    int n_words;
    struct difference found;
};

/* ---- the settings of the job ----------------------------------------------------------------- */

/* The command line of a job with the file's settings, in words that live as long as they do. */
static int find_words(struct verify *v, const struct run_settings *asked, struct ant_error *err)
{
    struct ant_manifest manifest = {0};
    int n = 0;

    if (ant_results_columns(v->results).is_scored)
        return ant_fail(err, ANT_EUSAGE,
                        "'%s' holds scores, not answers that could be generated again", v->path);
    ANT_TRY(ant_results_manifest(&manifest, v->results, err));
    const char *input = asked->input ? asked->input : manifest.input;
    char **words = ant_option_words(ant_command_run.options, manifest.answers, &n);
    v->words = ant_xcalloc((size_t)n + 5, sizeof(*v->words));
    v->words[v->n_words++] = ant_xstrdup("run");
    v->words[v->n_words++] = ant_xasprintf("--model=%s", asked->model);
    v->words[v->n_words++] = ant_xasprintf("--input=%s", input);
    v->words[v->n_words++] = ant_xasprintf("--output=%s", v->path);
    for (int i = 0; i < n; i++)
        v->words[v->n_words++] = words[i];
    free(words);
    int rc = *input ? 0
                    : ant_fail(err, ANT_EUSAGE,
                               "'%s' does not say where its prompts are: add --input", v->path);
    ant_manifest_release(&manifest);
    return rc;
}

/* What changes answers as the file has it, where and how they are made as the command line says. */
static int take_settings(struct verify *v, const struct run_settings *asked, struct ant_error *err)
{
    const struct ant_option *table = ant_command_run.options;
    struct run_settings *settings = &v->run.settings;
    int first;

    ANT_TRY(find_words(v, asked, err));
    ant_run_set_defaults(settings);
    if (ant_option_parse(table, ant_command_run.help, settings, v->n_words, v->words, &first, err) <
        0)
        return ant_fail_in(err, ANT_EDATA, "'%s'", v->path);
    if (settings->is_fast)
        return ant_fail(err, ANT_EUSAGE,
                        "'%s' was made with --fast: its answers depend on what was computed beside "
                        "them, and cannot be compared",
                        v->path);
    settings->chat_template = asked->chat_template;
    settings->dp_size = asked->dp_size;
    settings->tp_size = asked->tp_size;
    settings->pp_size = asked->pp_size;
    settings->backend = asked->backend;
    settings->threads = asked->threads;
    v->run.answers = ant_option_answers(table, settings);
    return 0;
}

/* Are prompts, model and settings those of the file? */
static int check_identity(const struct verify *v, struct ant_error *err)
{
    const struct run_settings *settings = &v->run.settings;
    /* The settings themselves are the file's; what they name may have changed. */
    const char *changeable = settings->json_schema     ? settings->json_schema
                             : settings->chat_template ? settings->chat_template
                                                       : settings->model;
    struct run_identity mine;
    ant_run_identify(&v->run, &mine);
    const struct {
        const char *name, *mine, *quoted, *what;
    } facts[] = {
        {"input_digest", mine.input, settings->input, "is not the input of"},
        {"model_digest", mine.model, settings->model, "is not the model of"},
        {"settings_digest", mine.settings, changeable, "is not as it was for"},
    };
    int rc = 0;

    for (size_t i = 0; i < sizeof(facts) / sizeof(*facts) && rc == 0; i++) {
        char *theirs = NULL;
        rc = ant_results_fact(v->results, facts[i].name, &theirs, err);
        if (rc == 0 && strcmp(theirs, facts[i].mine) != 0)
            rc = ant_fail(err, ANT_EUSAGE, "'%s' %s '%s'", facts[i].quoted, facts[i].what, v->path);
        free(theirs);
    }
    return rc;
}

/* ---- generating again ------------------------------------------------------------------------ */

/* The first answer of each of `sample` even parts of the file, those of this replica: *out is NULL
 * when there are no more. */
static int next_request(struct verify *v, int64_t *part, struct ant_request **out,
                        struct ant_error *err)
{
    int64_t n = ant_results_count(v->results);

    *out = NULL;
    for (; *part < v->sample && !*out; *part += v->run.layout.dp_size) {
        int64_t end = (int64_t)((__int128)n * (*part + 1) / v->sample);
        struct ant_answer answer = {.status = ANT_STATUS_MISSING};
        for (int64_t i = (int64_t)((__int128)n * *part / v->sample);
             i < end && answer.status != ANT_STATUS_OK; i++)
            ANT_TRY(ant_results_read_numbers(v->results, i, &answer, err));
        if (answer.status != ANT_STATUS_OK)
            continue;
        struct ant_prompt prompt;
        ANT_TRY(ant_prompts_read(v->run.prompts, answer.row, &prompt, err));
        int rc = ant_run_request(&v->run, &prompt, answer.sample, out, err);
        if (rc < 0)
            return ant_fail_in(err, rc, "'%s', row %lld", v->path, (long long)answer.row);
    }
    return 0;
}

static void note_difference(struct difference *found, const struct ant_request *request,
                            const struct ant_answer *answer)
{
    const struct ant_ids *now = &request->output;
    uint32_t at = 0;

    while (at < answer->n_tokens && at < now->len && answer->tokens[at] == now->data[at])
        at++;
    found->n_checked++;
    if (at == answer->n_tokens && at == now->len)
        return;
    found->n_differing++;
    if (found->n_differing > 1 && found->row <= answer->row)
        return;
    found->row = answer->row;
    found->sample = answer->sample;
    found->position = (int32_t)at;
    found->was = at < answer->n_tokens ? answer->tokens[at] : -1;
    found->is = at < now->len ? now->data[at] : -1;
}

static int compare(struct verify *v, const struct ant_request *request, struct ant_error *err)
{
    struct ant_answer answer;
    int64_t index = 0;

    ANT_TRY(ant_results_find(v->results, request->row, &index, err));
    ANT_TRY(ant_results_read(v->results, index + request->sample, &answer, err));
    note_difference(&v->found, request, &answer);
    return 0;
}

static int generate(struct verify *v, struct ant_error *err)
{
    struct run *run = &v->run;
    int64_t part = ant_run_leads(run) ? run->layout.dp_rank : v->sample;
    struct ant_request *next = NULL, *finished = NULL;
    int in_flight = 0, rc = next_request(v, &part, &next, err);

    while (rc == 0 && (next || in_flight > 0)) {
        while (rc == 0 && next && ant_engine_submit(run->engine, next)) {
            in_flight++;
            rc = next_request(v, &part, &next, err);
        }
        if (rc == 0)
            rc = ant_engine_take(run->engine, &finished, NAP_S, err);
        if (rc == 0 && finished) {
            rc = compare(v, finished, err);
            ant_request_free(finished);
            in_flight--;
        }
    }
    ant_request_free(next);
    return rc;
}

/* ---- what came out --------------------------------------------------------------------------- */

/* Where the answers were made, if that is another kind of place than this one. */
static char *other_place(const struct verify *v)
{
    char *backend = NULL, *level = NULL, *text = NULL;

    if (ant_results_fact(v->results, "provenance/backend", &backend, NULL) == 0 &&
        ant_results_fact(v->results, "provenance/level", &level, NULL) == 0 && *backend &&
        (strcmp(backend, v->run.ops->name) != 0 || strcmp(level, v->run.facts.level) != 0))
        text = ant_xasprintf(" (made by %s, level %s; this is %s, level %s)", backend, level,
                             v->run.ops->name, v->run.facts.level);
    free(backend);
    free(level);
    return text ? text : ant_xstrdup("");
}

/* A token, or that there is none any more. */
static const char *token_text(int32_t token, char *text, size_t bytes)
{
    if (token < 0)
        snprintf(text, bytes, "the end");
    else
        snprintf(text, bytes, "%d", (int)token);
    return text;
}

static int judge(const struct verify *v, const struct difference *sum, struct ant_error *err)
{
    char was[16], is[16];

    if (sum->n_differing == 0) {
        if (v->run.layout.rank == 0)
            printf("%lld answers were generated again: the same tokens\n",
                   (long long)sum->n_checked);
        return 0;
    }
    char *place = other_place(v);
    ant_fail(err, ANT_EDATA,
             "'%s', row %lld, sample %d: token %d is %s in the file, %s now; %lld of %lld answers "
             "differ%s",
             v->path, (long long)sum->row, (int)sum->sample, (int)sum->position,
             token_text(sum->was, was, sizeof(was)), token_text(sum->is, is, sizeof(is)),
             (long long)sum->n_differing, (long long)sum->n_checked, place);
    free(place);
    return ANT_EDATA;
}

/* Everybody's findings as one. Collective. */
static int sum_up(struct verify *v, struct difference *out, struct ant_error *err)
{
    int n = v->run.layout.world;
    struct difference *all = ant_xcalloc((size_t)n, sizeof(*all));
    int rc = ant_group_all_gather(v->run.world, &v->found, sizeof(v->found), all, PATIENCE_S, err);

    *out = (struct difference){0};
    for (int i = 0; i < n && rc == 0; i++) {
        struct difference both = *out;
        if (all[i].n_differing > 0 && (both.n_differing == 0 || all[i].row < both.row))
            both = all[i];
        both.n_checked = out->n_checked + all[i].n_checked;
        both.n_differing = out->n_differing + all[i].n_differing;
        *out = both;
    }
    free(all);
    return rc;
}

/* ---- the command ----------------------------------------------------------------------------- */

static int check_file(const struct verify *v, struct ant_error *err)
{
    struct ant_results *results = NULL;
    int n_unsealed = 0;

    ANT_TRY(ant_results_check(v->path, &n_unsealed, err));
    ANT_TRY(ant_results_open(&results, v->path, err));
    int64_t n = ant_results_count(results), ok = ant_results_ok(results),
            failed = ant_results_failed(results);
    printf("%s: fits its checksums; %s, %lld ok, %lld failed, %lld missing\n", v->path,
           ant_results_complete(results) ? "complete" : "not complete", (long long)ok,
           (long long)failed, (long long)(n - ok - failed));
    if (n_unsealed > 0)
        printf("%d datasets have no checksum\n", n_unsealed);
    ant_results_close(results);
    return 0;
}

static int open_inputs(struct verify *v, const struct verify_settings *asked, struct ant_error *err)
{
    ANT_TRY(ant_results_open(&v->results, v->path, err));
    int64_t n = ant_results_count(v->results);
    v->sample = asked->sample > 0 && asked->sample < n ? asked->sample : n;
    ANT_TRY(take_settings(v, &asked->run, err));
    ANT_TRY(ant_run_open_inputs(&v->run, err));
    return check_identity(v, err);
}

/* The file is read by one rank, the model is run by all. */
static int prepare(struct verify *v, const struct verify_settings *asked, struct ant_error *err)
{
    struct run *run = &v->run;

    ANT_TRY(ant_run_agree(run, run->layout.rank == 0 ? check_file(v, err) : 0, err));
    ANT_TRY(ant_run_agree(run, open_inputs(v, asked, err), err));
    ANT_TRY(ant_run_agree(run, ant_run_plan(run, err), err));
    ANT_TRY(ant_run_load(run, err));
    ant_run_doing(run, RUN_WORKS);
    return 0;
}

static int verify_with_model(struct verify *v, const struct verify_settings *asked)
{
    struct run *run = &v->run;
    struct difference sum = {0};
    struct ant_error err = {{0}};

    int rc = ant_run_launch(run, &err);
    bool is_shared = rc == ANT_EUSAGE || rc == ANT_EUNSUPP; /* does every rank have this error? */
    if (rc == 0) {
        rc = prepare(v, asked, &err);
        is_shared = rc != ANT_EPEER;
    }
    if (rc == 0) {
        rc = generate(v, &err);
        is_shared = false;
    }
    if (rc == 0)
        rc = sum_up(v, &sum, &err);
    if (rc == 0) {
        rc = judge(v, &sum, &err);
        is_shared = true;
    }
    if (rc < 0)
        return is_shared ? ant_run_end_together(run, rc, &err) : ant_run_end_alone(run, rc, &err);
    ant_run_tear_down(run);
    return ANT_EXIT_DONE;
}

static void release(struct verify *v)
{
    ant_results_close(v->results);
    for (int i = 0; i < v->n_words; i++)
        free(v->words[i]);
    free(v->words);
}

static int verify_main(int argc, char **argv)
{
    struct verify_settings settings = {.sample = 32};
    struct verify v = {.run = {.argc = argc, .argv = argv, .start = ant_now()}};
    struct ant_error err = {{0}};
    int first, code, rc = 0;

    ant_run_set_defaults(&settings.run);
    if (!ant_cli_parse(&ant_command_verify, &settings, argc, argv, &first, &code))
        return code;
    v.path = argv[first];
    v.run.settings = settings.run;
    if (settings.run.model) {
        int exit_code = verify_with_model(&v, &settings);
        release(&v);
        return exit_code;
    }
    if (ant_job_env_rank() == 0)
        rc = check_file(&v, &err);
    return rc < 0 ? ant_run_end_together(&v.run, rc, &err) : ANT_EXIT_DONE;
}

const struct ant_command ant_command_verify = {
    verify_main, options, &help, {1, 1, "name one results file"}};
