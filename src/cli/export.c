/* SPDX-License-Identifier: Apache-2.0 */
/* antiphon export: answers for other programs. */
#include "config.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/mem.h"
#include "base/option.h"
#include "cli/cli.h"
#include "model/checkpoint.h"
#include "store/exchange.h"
#include "text/tokenizer.h"

struct export_settings {
    const char *output, *model;
    bool jsonl, csv, batch;
};

#define AT(member) offsetof(struct export_settings, member)

static const struct ant_option options[] = {
    {ANT_OPTION_FLAG, 0, "jsonl", NULL, AT(jsonl), .help = "One JSON object a line (the default)."},
    {ANT_OPTION_FLAG, 0, "csv", NULL, AT(csv), .help = "CSV with a header."},
    {ANT_OPTION_FLAG, 0, "openai-batch", NULL, AT(batch),
     .help =
         "The output of an OpenAI batch: one line a row, ids as custom_id, samples as choices."},
    {ANT_OPTION_TEXT, 'm', "model", "PATH", AT(model),
     .help = "Where the texts of tokens are found that log probabilities of an OpenAI batch need. "
             "Default: the model that the results name."},
    {ANT_OPTION_TEXT, 'o', "output", "FILE", AT(output),
     .help = "Write to FILE, whole or not at all. Default, and '-': standard output."},
    {0},
};

static const struct ant_command_help help = {
    .name = "export",
    .summary = "turn a result file into JSON lines, CSV or an OpenAI batch",
    .synopsis = "FILE [--jsonl | --csv | --openai-batch] [--output FILE]",
    .purpose =
        "Turn a results file into JSON lines, CSV or the output of an OpenAI batch, in the order "
        "of its rows.",
};

/* What is written for each answer, and at the ends. */
struct writer {
    const struct export_settings *settings;
    struct ant_exchange_batch batch;
    char *model, *prompts; /* owned: what the results say of themselves */
    bool is_scored;
    struct ant_checkpoint *checkpoint;
    struct ant_tokenizer *tokenizer;
    FILE *file;
    const char *name;
    struct ant_buf text; /* to be written */
};

static const char *piece_of(const void *tokenizer, int32_t id, size_t *bytes)
{
    return ant_tokenizer_piece(tokenizer, id, bytes);
}

/* Of the model that was named, or that the results name, which may be elsewhere now. */
static int open_tokenizer(struct writer *writer, struct ant_error *err)
{
    const char *named = writer->settings->model;
    int rc = ant_checkpoint_open(&writer->checkpoint, named ? named : writer->model, err);

    if (rc == 0)
        rc = ant_checkpoint_tokenizer(writer->checkpoint, &writer->tokenizer, err);
    if (rc < 0 && named)
        return rc;
    if (rc < 0) {
        fprintf(stderr, "antiphon export: note: tokens go as their numbers, without --model: %s\n",
                err->text);
        return 0;
    }
    writer->batch.piece = piece_of;
    writer->batch.data = writer->tokenizer;
    return 0;
}

static int open_writer(struct writer *writer, struct ant_results *results, const char *path,
                       struct ant_error *err)
{
    struct stat facts;

    writer->is_scored = ant_results_columns(results).is_scored;
    if (writer->settings->csv)
        ant_exchange_put_csv_header(&writer->text, writer->is_scored);
    if (!writer->settings->batch)
        return 0;
    ANT_TRY(ant_results_fact(results, "provenance/model", &writer->model, err));
    ANT_TRY(ant_results_fact(results, "prompts", &writer->prompts, err));
    const char *slash = strrchr(writer->model, '/');
    writer->batch.model = slash && slash[1] ? slash + 1 : writer->model;
    writer->batch.is_chat = strcmp(writer->prompts, "text") != 0;
    if (ant_results_columns(results).has_logprobs)
        ANT_TRY(open_tokenizer(writer, err));
    writer->batch.created = stat(path, &facts) == 0 ? (int64_t)facts.st_mtime : 0;
    return 0;
}

static void close_writer(struct writer *writer)
{
    ant_exchange_release_batch(&writer->batch);
    ant_buf_release(&writer->text);
    ant_tokenizer_close(writer->tokenizer);
    ant_checkpoint_close(writer->checkpoint);
    free(writer->model);
    free(writer->prompts);
}

static int write_text(struct writer *writer, struct ant_error *err)
{
    size_t n = writer->text.len;

    errno = 0;
    writer->text.len = 0;
    if (n > 0 && fwrite(writer->text.data, 1, n, writer->file) != n)
        return ant_fail(err, ANT_EIO, "cannot write '%s': %s", writer->name, strerror(errno));
    return 0;
}

static int export_row(struct writer *writer, struct ant_results *results, int64_t i,
                      struct ant_error *err)
{
    struct ant_answer answer;
    struct ant_results_id id;

    ANT_TRY(ant_results_read(results, i, &answer, err));
    if (answer.status == ANT_STATUS_SKIPPED) /* the row has fewer answers than others */
        return 0;
    ANT_TRY(ant_results_id(results, i, &id, err));
    if (writer->settings->csv)
        ant_exchange_put_csv(&writer->text, &answer, &id, writer->is_scored);
    else if (writer->settings->batch)
        ant_exchange_put_batch(&writer->batch, &writer->text, &answer, &id);
    else
        ant_exchange_put_json(&writer->text, &answer, &id, writer->is_scored);
    return write_text(writer, err);
}

static int export_rows(const struct export_settings *settings, struct ant_results *results,
                       const char *path, FILE *file, const char *name, struct ant_error *err)
{
    struct writer writer = {.settings = settings, .file = file, .name = name};
    int64_t n = ant_results_count(results);
    int rc = open_writer(&writer, results, path, err);

    for (int64_t i = 0; i < n && rc == 0; i++)
        rc = export_row(&writer, results, i, err);
    ant_exchange_end_batch(&writer.batch, &writer.text);
    if (rc == 0)
        rc = write_text(&writer, err);
    close_writer(&writer);
    errno = 0;
    if (rc == 0 && fflush(file) != 0)
        rc = ant_fail(err, ANT_EIO, "cannot write '%s': %s", name, strerror(errno));
    return rc;
}

/* A stream to `path`, which is closed, and on the disk where it can be. */
static int export_to_path(const struct export_settings *settings, struct ant_results *results,
                          const char *input, const char *path, struct ant_error *err)
{
    FILE *file = fopen(path, "wbe");

    if (!file)
        return ant_fail(err, ANT_EIO, "cannot create '%s': %s", path, strerror(errno));
    int rc = export_rows(settings, results, input, file, path, err);
    if (rc == 0 && fsync(fileno(file)) < 0 && errno != EINVAL)
        rc = ant_fail(err, ANT_EIO, "cannot sync '%s': %s", path, strerror(errno));
    if (fclose(file) != 0 && rc == 0)
        rc = ant_fail(err, ANT_EIO, "cannot write '%s': %s", path, strerror(errno));
    return rc;
}

/* Into NAME.part, which becomes NAME when it is whole. */
static int export_to_file(const struct export_settings *settings, struct ant_results *results,
                          const char *input, struct ant_error *err)
{
    const char *name = settings->output;

    if (ant_file_is_special(name))
        return export_to_path(settings, results, input, name, err);
    char *part = ant_xasprintf("%s.part", name);
    int rc = export_to_path(settings, results, input, part, err);
    if (rc == 0 && rename(part, name) < 0)
        rc = ant_fail(err, ANT_EIO, "cannot rename '%s': %s", part, strerror(errno));
    if (rc < 0)
        unlink(part);
    else
        rc = ant_sync_folder(name, err);
    free(part);
    return rc;
}

static int export(void *data, char **operands, int n, struct ant_error *err)
{
    const struct export_settings *settings = data;
    const char *path = operands[0];
    struct ant_results *results = NULL;
    int rc;

    (void)n;
    if (settings->jsonl + settings->csv + settings->batch > 1)
        return ant_fail(err, ANT_EUSAGE,
                        "--jsonl, --csv and --openai-batch are three forms: choose one");
    if (settings->model && !settings->batch)
        return ant_fail(err, ANT_EUSAGE,
                        "--model is for the log probabilities of --openai-batch: give both");
    ANT_TRY(ant_results_open(&results, path, err));
    bool is_to_file = settings->output && strcmp(settings->output, "-") != 0;
    if (is_to_file && ant_file_is_same(settings->output, path))
        rc = ant_fail(err, ANT_EUSAGE, "'%s' is to be read and written", path);
    else if (is_to_file)
        rc = export_to_file(settings, results, path, err);
    else
        rc = export_rows(settings, results, path, stdout, "standard output", err);
    ant_results_close(results);
    return rc;
}

static int export_main(int argc, char **argv)
{
    struct export_settings settings = {0};

    return ant_cli_main(&ant_command_export, &settings, export, argc, argv);
}

const struct ant_command ant_command_export = {
    export_main, options, &help, {1, 1, "name one results file"}};
