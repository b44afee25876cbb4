/* SPDX-License-Identifier: Apache-2.0 */
/* antiphon pack: a prompt file out of what people have. */
#include "config.h"

#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/file.h"
#include "base/option.h"
#include "cli/cli.h"
#include "store/exchange.h"

enum { FROM_AUTO, FROM_JSONL, FROM_CSV, FROM_LINES, FROM_PARAGRAPHS, FROM_FILE, FROM_BATCH };
static const char *const formats[] = {"auto",       "jsonl", "csv",          "lines",
                                      "paragraphs", "file",  "openai-batch", NULL};

struct pack_settings {
    const char *output, *column;
    int from;
    bool force, whole_file, keeps_bad;
    struct ant_option_list ignored;
};

#define AT(member) offsetof(struct pack_settings, member)

static const struct ant_option options[] = {
    {ANT_OPTION_TEXT, 'o', "output", "FILE", AT(output), .required = true,
     .help = "The prompt file to be made."},
    {ANT_OPTION_CHOICE, 0, "from", "FORMAT", AT(from), .choices = formats,
     .help =
         "jsonl: one JSON value a line. csv: with a header. lines: a prompt a line. paragraphs: "
         "separated by empty lines. file: each file is one prompt. openai-batch: the input of an "
         "OpenAI batch, as jsonl with --keep-bad. Default auto: by the "
         "name's ending (.jsonl, .ndjson, .csv; .txt and .text are lines)."},
    {ANT_OPTION_FLAG, 0, "whole-file", NULL, AT(whole_file), .help = "The same as --from file."},
    {ANT_OPTION_TEXT, 0, "column", "NAME", AT(column),
     .help = "CSV column of the prompts. Default: prompt, else text, else the only one."},
    {ANT_OPTION_LIST, 0, "ignore", "NAME", AT(ignored),
     .help = "Pass over this key or column, though it would change answers. May be given more than "
             "once."},
    {ANT_OPTION_FLAG, 0, "keep-bad", NULL, AT(keeps_bad),
     .help =
         "A line of JSON that is no prompt becomes a row that fails with the reason, instead of "
         "an error."},
    {ANT_OPTION_FLAG, 'f', "force", NULL, AT(force), .help = "Replace an output that is there."},
    {0},
};

static const struct ant_command_help help = {
    .name = "pack",
    .summary = "make a prompt file of JSON lines, CSV or text",
    .synopsis = "INPUT... --output FILE [options]",
    .purpose = "Make a prompt file of JSON lines, CSV or text. '-' is standard input.",
    .epilog =
        "A JSON line is a string, an object with \"prompt\", \"text\", \"messages\" or "
        "\"prompt_token_ids\", or a line of an OpenAI batch. Beside the prompt these are kept a "
        "row, "
        "in CSV as columns: id or custom_id, continuation, logprobs, prompt_logprobs, choice, "
        "regex, "
        "json_schema (or response_format), max_tokens, min_tokens, temperature, top_p, top_k, "
        "min_p, "
        "typical_p, seed, repetition_penalty, presence_penalty, frequency_penalty, n, stop, "
        "system, "
        "logit_bias, bad_words, allowed_token_ids, stop_token_ids, priority. What would change "
        "answers "
        "and cannot be honoured is an error that names the line; other names are noted and passed "
        "over.",
};

static bool ends_in(const char *name, const char *ending)
{
    size_t n = strlen(name), m = strlen(ending);

    return n > m && strcasecmp(name + n - m, ending) == 0;
}

static int choose_format(const struct pack_settings *settings, const char *name,
                         enum ant_exchange_format *out, struct ant_error *err)
{
    static const struct {
        const char *ending;
        enum ant_exchange_format format;
    } endings[] = {{".jsonl", ANT_EXCHANGE_JSONL}, {".ndjson", ANT_EXCHANGE_JSONL},
                   {".json", ANT_EXCHANGE_JSONL},  {".csv", ANT_EXCHANGE_CSV},
                   {".txt", ANT_EXCHANGE_LINES},   {".text", ANT_EXCHANGE_LINES}};

    if (settings->from == FROM_BATCH) {
        *out = ANT_EXCHANGE_JSONL;
        return 0;
    }
    if (settings->from != FROM_AUTO) {
        *out = (enum ant_exchange_format)(settings->from - FROM_JSONL);
        return 0;
    }
    for (size_t i = 0; i < sizeof(endings) / sizeof(*endings); i++)
        if (ends_in(name, endings[i].ending)) {
            *out = endings[i].format;
            return 0;
        }
    return ant_fail(err, ANT_EUSAGE, "the name '%s' does not tell its format: say --from %s", name,
                    "jsonl, csv, lines, paragraphs or file");
}

/* A row that does not go with those before may be one that fails. */
static int pack_row(struct ant_pack *pack, struct ant_exchange_row *row, const char *name,
                    int64_t line, bool keeps_bad, struct ant_error *err)
{
    int rc = ant_pack_add(pack, row, err);

    if (rc == 0)
        return 0;
    ant_fail_in(err, rc, "'%s', line %lld", name, (long long)line);
    if (rc != ANT_EDATA || !keeps_bad || row->error)
        return rc;
    const struct ant_error why = *err;
    row->prompt = (struct ant_prompt){.text = ""};
    row->error = why.text;
    rc = ant_pack_add(pack, row, err);
    if (rc != ANT_EDATA)
        return rc;
    row->id_bytes = 0; /* that is what is wrong */
    return ant_pack_add(pack, row, err);
}

/* All rows of one file. */
static int pack_rows(struct ant_pack *pack, struct ant_exchange_reader *reader, const char *name,
                     bool keeps_bad, int64_t *n_bad, struct ant_error *err)
{
    struct ant_exchange_row row;
    int rc;

    while ((rc = ant_exchange_next(reader, &row, err)) > 0) {
        ANT_TRY(pack_row(pack, &row, name, ant_exchange_line(reader), keeps_bad, err));
        *n_bad += row.error != NULL;
    }
    return rc;
}

static int pack_input(struct ant_pack *pack, const struct pack_settings *settings, const char *name,
                      int64_t *n_bad, struct ant_error *err)
{
    struct ant_exchange_settings exchange = {.column = settings->column,
                                             .ignored = settings->ignored.items,
                                             .n_ignored = settings->ignored.count,
                                             .keeps_bad = settings->keeps_bad ||
                                                          settings->from == FROM_BATCH};
    struct ant_exchange_reader *reader = NULL;
    bool is_stdin = strcmp(name, "-") == 0;

    ANT_TRY(choose_format(settings, name, &exchange.format, err));
    if (settings->column && exchange.format != ANT_EXCHANGE_CSV)
        return ant_fail(err, ANT_EUSAGE, "--column is for CSV, '%s' is not read as such", name);
    FILE *file = is_stdin ? stdin : fopen(name, "rbe");
    if (!file)
        return ant_fail(err, errno == ENOENT ? ANT_ENOENT : ANT_EIO, "cannot open '%s': %s", name,
                        strerror(errno));
    const char *shown = is_stdin ? "standard input" : name;
    int rc = ant_exchange_open(&reader, file, shown, &exchange, err);
    if (rc == 0)
        rc = pack_rows(pack, reader, shown, exchange.keeps_bad, n_bad, err);
    if (rc == 0 && *ant_exchange_unused(reader))
        fprintf(stderr, "antiphon pack: note: not used from '%s': %s\n", shown,
                ant_exchange_unused(reader));
    ant_exchange_close(reader);
    if (!is_stdin)
        fclose(file);
    return rc;
}

static int pack(void *data, char **names, int n, struct ant_error *err)
{
    struct pack_settings *settings = data;
    struct ant_pack *out = NULL;
    int64_t n_bad = 0;
    int rc = 0;

    if (settings->whole_file && settings->from != FROM_AUTO && settings->from != FROM_FILE)
        return ant_fail(err, ANT_EUSAGE, "--whole-file is --from file: choose one format");
    if (settings->whole_file)
        settings->from = FROM_FILE;
    if (ant_file_is_special(settings->output))
        return ant_fail(err, ANT_EUSAGE, "'%s' is no file that could be replaced",
                        settings->output);
    if (!settings->force && access(settings->output, F_OK) == 0)
        return ant_fail(err, ANT_EUSAGE, "'%s' is there already; --force replaces it",
                        settings->output);
    for (int i = 0; i < n; i++)
        if (ant_file_is_same(names[i], settings->output))
            return ant_fail(err, ANT_EUSAGE, "'%s' is to be read and written", names[i]);
    ANT_TRY(ant_pack_open(&out, settings->output, err));
    for (int i = 0; i < n && rc == 0; i++)
        rc = pack_input(out, settings, names[i], &n_bad, err);
    if (rc == 0)
        rc = ant_pack_finish(out, err);
    if (rc == 0) {
        const char *unit, *columns = ant_pack_columns(out);
        int64_t length = ant_pack_length(out, &unit);
        printf("%s: %lld prompt%s, %lld %s%s%s\n", settings->output, (long long)ant_pack_rows(out),
               ant_pack_rows(out) == 1 ? "" : "s", (long long)length, unit,
               *columns ? ", with " : "", columns);
        if (ant_pack_rows(out) == 0)
            fprintf(stderr, "antiphon pack: note: there are no prompts in it\n");
        if (n_bad > 0)
            printf("%lld of them are none, and will fail with the reason\n", (long long)n_bad);
    }
    ant_pack_close(out);
    return rc;
}

static int pack_main(int argc, char **argv)
{
    struct pack_settings settings = {0};
    int code = ant_cli_main(&ant_command_pack, &settings, pack, argc, argv);

    free(settings.ignored.items);
    return code;
}

const struct ant_command ant_command_pack = {
    pack_main, options, &help, {1, INT_MAX, "no input is named; '-' is standard input"}};
