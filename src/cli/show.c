/* SPDX-License-Identifier: Apache-2.0 */
/* antiphon show: answers for people to read. */
#include "config.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>

#include "base/option.h"
#include "cli/cli.h"
#include "store/results.h"

struct show_settings {
    int64_t n, row;
    bool failed;
};

#define AT(member) offsetof(struct show_settings, member)

static const struct ant_option options[] = {
    {ANT_OPTION_INT64, 'n', "number", "N", AT(n), 0, 9e15,
     .help = "At most N answers. Default 10; 0: the heading alone."},
    {ANT_OPTION_INT64, 'r', "row", "R", AT(row), 0, 9e15, .help = "Row R of the prompts alone."},
    {ANT_OPTION_FLAG, 0, "failed", NULL, AT(failed),
     .help = "Only rows without an answer, and why."},
    {0},
};

static const struct ant_command_help help = {
    .name = "show",
    .summary = "print answers of a result file",
    .synopsis = "FILE [-n N] [--row R] [--failed]",
    .purpose = "Print answers of a results file.",
};

/* What a model says must not steer the terminal. */
static void print_text(const char *text, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)text[i];
        if ((c < ' ' && c != '\n' && c != '\t') || c == 0x7f)
            printf("\\x%02x", c);
        else if (c == 0xc2 && i + 1 < n && ((unsigned char)text[i + 1] & 0xe0) == 0x80)
            printf("\\u%04x", (unsigned char)text[++i]); /* C1 controls */
        else
            putchar(c);
    }
}

static void print_heading(struct ant_results *results, const char *path)
{
    int64_t n = ant_results_count(results), ok = ant_results_ok(results),
            failed = ant_results_failed(results);

    printf("%s: %s, %lld results: %lld ok, %lld failed", path,
           ant_results_complete(results) ? "complete" : "not complete", (long long)n, (long long)ok,
           (long long)failed);
    if (n != ok + failed)
        printf(", %lld missing", (long long)(n - ok - failed));
    printf("\n");
}

static int print_answer(struct ant_results *results, int64_t index, const struct ant_answer *answer,
                        struct ant_error *err)
{
    struct ant_results_id id;

    ANT_TRY(ant_results_id(results, index, &id, err));
    printf("\n--- row %lld", (long long)answer->row);
    if (ant_results_samples(results) > 1)
        printf(", sample %d", (int)answer->sample);
    if (id.kind != ANT_ID_NONE) {
        printf(", id ");
        print_text(id.text, id.bytes);
    }
    printf(": %s", ant_status_names[answer->status]);
    if (answer->status == ANT_STATUS_OK) {
        printf(", %s, %d + %u tokens", ant_finish_names[answer->finish], (int)answer->prompt_tokens,
               (unsigned)answer->n_tokens);
        if (isfinite(answer->t_total))
            printf(", %.2f s", (double)answer->t_total);
    }
    printf("\n");
    print_text(answer->text, answer->text_bytes);
    if (answer->text_bytes > 0 && answer->text[answer->text_bytes - 1] != '\n')
        printf("\n");
    if (answer->error_bytes > 0) {
        print_text(answer->error, answer->error_bytes);
        printf("\n");
    }
    return 0;
}

static int show(void *data, char **operands, int n, struct ant_error *err)
{
    const struct show_settings *settings = data;
    const char *path = operands[0];
    struct ant_results *results = NULL;

    (void)n;
    ANT_TRY(ant_results_open(&results, path, err));
    int64_t first = 0, end = ant_results_count(results), left = settings->n;
    int rc = 0;

    if (settings->row >= 0) {
        rc = ant_results_find(results, settings->row, &first, err);
        end = first + ant_results_samples(results);
    }
    if (rc == 0)
        print_heading(results, path);
    for (int64_t i = first; i < end && left > 0 && rc == 0; i++) {
        struct ant_answer answer = {0};
        rc = ant_results_read(results, i, &answer, err);
        bool is_well = answer.status == ANT_STATUS_OK || answer.status == ANT_STATUS_SKIPPED;
        if (rc < 0 || (settings->failed && is_well))
            continue;
        rc = print_answer(results, i, &answer, err);
        left--;
    }
    ant_results_close(results);
    return rc;
}

static int show_main(int argc, char **argv)
{
    struct show_settings settings = {.n = 10, .row = -1};

    return ant_cli_main(&ant_command_show, &settings, show, argc, argv);
}

const struct ant_command ant_command_show = {
    show_main, options, &help, {1, 1, "name one results file"}};
