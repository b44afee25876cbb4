/* SPDX-License-Identifier: Apache-2.0 */
/* antiphon export: answers for other programs. */
#include "config.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/option.h"
#include "cli/cli.h"
#include "store/exchange.h"

struct export_settings {
    const char *output;
    bool jsonl, csv;
};

#define AT(member) offsetof(struct export_settings, member)

static const struct ant_option options[] = {
    {ANT_OPTION_FLAG, 0, "jsonl", NULL, AT(jsonl), .help = "One JSON object a line (the default)."},
    {ANT_OPTION_FLAG, 0, "csv", NULL, AT(csv), .help = "CSV with a header."},
    {ANT_OPTION_TEXT, 'o', "output", "FILE", AT(output),
     .help = "Write to FILE, whole or not at all. Default: standard output."},
    {0},
};

static const struct ant_command_help help = {
    .name = "export",
    .summary = "turn a result file into JSON lines or CSV",
    .synopsis = "FILE [--jsonl | --csv] [--output FILE]",
    .purpose = "Turn a results file into JSON lines or CSV, in the order of its rows.",
};

static int export_rows(struct ant_results *results, bool is_csv, FILE *file, const char *name,
                       struct ant_error *err)
{
    int64_t n = ant_results_count(results);
    struct ant_buf line = {0};
    int rc = 0;

    if (is_csv)
        ant_exchange_put_csv_header(&line);
    for (int64_t i = 0; i <= n && rc == 0; i++) {
        struct ant_answer answer;
        struct ant_results_id id;
        errno = 0;
        if (line.len > 0 && fwrite(line.data, 1, line.len, file) != line.len)
            rc = ant_fail(err, ANT_EIO, "cannot write '%s': %s", name, strerror(errno));
        line.len = 0;
        if (i == n || rc < 0)
            break;
        rc = ant_results_read(results, i, &answer, err);
        if (rc == 0)
            rc = ant_results_id(results, i, &id, err);
        if (rc == 0 && is_csv)
            ant_exchange_put_csv(&line, &answer, &id);
        else if (rc == 0)
            ant_exchange_put_json(&line, &answer, &id);
    }
    ant_buf_release(&line);
    errno = 0;
    if (rc == 0 && fflush(file) != 0)
        rc = ant_fail(err, ANT_EIO, "cannot write '%s': %s", name, strerror(errno));
    return rc;
}

/* Into NAME.part, which becomes NAME when it is whole. */
static int export_to_file(struct ant_results *results, bool is_csv, const char *name,
                          struct ant_error *err)
{
    char *part = ant_xasprintf("%s.part", name);
    FILE *file = fopen(part, "wbe");
    int rc = 0;

    if (!file) {
        rc = ant_fail(err, ANT_EIO, "cannot create '%s': %s", part, strerror(errno));
    } else {
        rc = export_rows(results, is_csv, file, part, err);
        if (rc == 0 && fsync(fileno(file)) < 0 && errno != EINVAL)
            rc = ant_fail(err, ANT_EIO, "cannot sync '%s': %s", part, strerror(errno));
        if (fclose(file) != 0 && rc == 0)
            rc = ant_fail(err, ANT_EIO, "cannot write '%s': %s", part, strerror(errno));
        if (rc == 0 && rename(part, name) < 0)
            rc = ant_fail(err, ANT_EIO, "cannot rename '%s': %s", part, strerror(errno));
        if (rc < 0)
            unlink(part);
    }
    free(part);
    return rc;
}

static int export(const struct export_settings *settings, const char *path, struct ant_error *err)
{
    struct ant_results *results = NULL;
    int rc;

    if (settings->jsonl && settings->csv)
        return ant_fail(err, ANT_EUSAGE, "--jsonl or --csv, not both");
    ANT_TRY(ant_results_open(&results, path, err));
    if (settings->output)
        rc = export_to_file(results, settings->csv, settings->output, err);
    else
        rc = export_rows(results, settings->csv, stdout, "standard output", err);
    ant_results_close(results);
    return rc;
}

static int export_main(int argc, char **argv)
{
    struct export_settings settings = {0};
    struct ant_error err = {0};
    int first = 0;
    int rc = ant_option_parse(options, &help, &settings, argc, argv, &first, &err);

    if (rc > 0)
        return ANT_EXIT_DONE;
    if (rc == 0 && argc - first != 1)
        rc = ant_fail(&err, ANT_EUSAGE, "name one results file");
    if (rc == 0)
        rc = export(&settings, argv[first], &err);
    return rc < 0 ? ant_cli_fail("export", rc, &err) : ANT_EXIT_DONE;
}

const struct ant_command ant_command_export = {export_main, options, &help};
