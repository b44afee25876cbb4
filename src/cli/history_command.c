/* SPDX-License-Identifier: Apache-2.0 */
/* antiphon report: how a job went, as a page for a browser, or as figures for other programs. */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/option.h"
#include "cli/cli.h"
#include "cli/history.h"

struct report_settings {
    const char *output;
    bool json, csv;
};

#define AT(member) offsetof(struct report_settings, member)

static const struct ant_option options[] = {
    {ANT_OPTION_TEXT, 'o', "output", "FILE", AT(output),
     .help = "Write FILE; '-' is standard output. Default: a page beside OUT, of its name with "
             ".html; standard output for --json and --csv."},
    {ANT_OPTION_FLAG, 0, "json", NULL, AT(json), .help = "Write all figures as JSON instead."},
    {ANT_OPTION_FLAG, 0, "csv", NULL, AT(csv),
     .help = "Write what each replica did in each step of time as CSV instead."},
    {0},
};

static const struct ant_command_help help = {
    .name = "report",
    .summary = "make a page of how a job went",
    .synopsis = "OUT [--output FILE] [--json | --csv]",
    .purpose = "Make one page of a results file: throughput over time, what each replica did when "
               "(prefill, decode, idle, rows taken over), lengths of prompts and answers, load "
               "balance, how rows ended, provenance. The page needs no network and no script.",
    .epilog = "A job that is still running is shown by antiphon top; of one that was stopped "
              "'antiphon merge OUT -o FILE' makes a results file.",
};

/* answers.h5 becomes answers.html. */
static char *page_path(const char *path)
{
    size_t n = strlen(path);

    if (n > 3 && strcmp(path + n - 3, ".h5") == 0)
        n -= 3;
    return ant_xasprintf("%.*s.html", (int)n, path);
}

static int write_out(const struct ant_buf *text, const char *path, struct ant_error *err)
{
    if (strcmp(path, "-") != 0) {
        ANT_TRY(ant_file_write(path, text->data, text->len, err));
        if (!ant_file_is_special(path)) /* it may be the standard output */
            printf("%s: %zu bytes\n", path, text->len);
        return 0;
    }
    fwrite(text->data, 1, text->len, stdout);
    return 0;
}

static int report(void *data, char **operands, int n, struct ant_error *err)
{
    const struct report_settings *settings = data;
    const char *path = operands[0];
    struct history *history = ant_xcalloc(1, sizeof(*history));
    struct ant_buf text = {0};
    char *page = page_path(path);
    const char *to = settings->output                  ? settings->output
                     : settings->json || settings->csv ? "-"
                                                       : page;
    int rc;

    (void)n;
    if (settings->json && settings->csv)
        rc = ant_fail(err, ANT_EUSAGE, "--json and --csv are two forms: choose one");
    else if (ant_file_is_same(to, path))
        rc = ant_fail(err, ANT_EUSAGE, "'%s' is to be read and written", path);
    else
        rc = ant_history_read(history, path, err);
    if (rc == 0) {
        if (settings->json)
            ant_history_json(history, &text);
        else if (settings->csv)
            ant_history_csv(history, &text);
        else
            ant_history_page(history, &text);
        rc = write_out(&text, to, err);
    }
    ant_history_release(history);
    ant_buf_release(&text);
    free(history);
    free(page);
    return rc;
}

static int report_main(int argc, char **argv)
{
    struct report_settings settings = {0};

    return ant_cli_main(&ant_command_report, &settings, report, argc, argv);
}

const struct ant_command ant_command_report = {
    report_main, options, &help, {1, 1, "name one results file"}};
