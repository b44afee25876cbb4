/* SPDX-License-Identifier: Apache-2.0 */
/* The results file without a model: every rank journals its share of made-up answers, all write one
 * file, rank 0 reads it back. What tests/launch/results.sh starts in every way there is.
 *
 *   OUT ROWS [what]
 *     what   limit RANK    RANK may not write files of more than a few kB, as on a full disk
 *            damage RANK   RANK's journal is damaged before the file is written
 *            missing       rows 2, 5, 8 ... have no answer
 *            large         answers of 200 kB
 *            input FILE    ids of this prompt file are copied
 *            journal [FILE]  no results file: the journal of all rows stays, for 'antiphon merge'
 *            killed [FILE]   the same of a job that has died without rows 2, 5, 8 ...
 *
 * Exits with the codes of the program; errors go to standard error with the rank before them. */
#include "config.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/mem.h"
#include "job/group.h"
#include "job/launch.h"
#include "store/results.h"
#include "../unit/answers.h"

static const double timeout = 60.0;
enum { LARGE = 200000 };

struct probe {
    const char *out, *what, *input;
    int64_t n_rows;
    int chosen; /* the rank that behaves differently, -1: none */
    struct ant_job *job;
    struct ant_transport *transport;
    struct ant_group *world;
    struct ant_prompts *prompts;
    int rank, size;
    char *large;
};

static int open_probe(struct probe *probe, struct ant_error *err)
{
    struct ant_card card = {0};

    ANT_TRY(ant_store_start_first(ant_job_env_size(), err));
    ANT_TRY(ant_job_open(&probe->job, err));
    probe->rank = ant_job_rank(probe->job);
    probe->size = ant_job_size(probe->job);
    ANT_TRY(ant_transport_open(&probe->transport, false, err));
    card.address = (unsigned char *)ant_transport_address(probe->transport, &card.address_bytes);
    ANT_TRY(ant_job_exchange(probe->job, &card, 0, err));
    int *ranks = ant_xcalloc((size_t)probe->size, sizeof(*ranks));
    for (int i = 0; i < probe->size; i++)
        ranks[i] = i;
    int rc = ant_group_open(&probe->world, probe->transport, ant_job_cards(probe->job), ranks,
                            probe->size, probe->rank, err);
    free(ranks);
    return rc == 0 ? ant_store_start(probe->size, err) : rc;
}

static bool is_missing(const struct probe *probe, int64_t row)
{
    return row % 3 == 2 &&
           (strcmp(probe->what, "missing") == 0 || strcmp(probe->what, "killed") == 0);
}

static const struct ant_answer *answer_of(const struct probe *probe, struct made_answer *made,
                                          int64_t row)
{
    make_answer(made, row, 0);
    if (probe->large) {
        made->answer.text = probe->large + row % 1000;
        made->answer.text_bytes = LARGE;
    }
    return &made->answer;
}

static int journal_rows(struct probe *probe, struct ant_journal **journal, struct ant_error *err)
{
    char digest[ANT_DIGEST_TEXT] = "";
    const struct ant_manifest manifest = {.n_rows = probe->n_rows,
                                          .n_samples = 1,
                                          .input = probe->input,
                                          .input_digest = digest,
                                          .model_digest = "",
                                          .answers = ""};
    struct made_answer made;
    int start = 0, rc = 0;

    if (probe->input)
        ANT_TRY(ant_prompts_open(&probe->prompts, probe->input, err));
    if (probe->input)
        ant_digest_text(digest, ant_prompts_fingerprint(probe->prompts));
    if (probe->rank == 0)
        rc = ant_journal_prepare(probe->out, &manifest, false, &start, err);
    ANT_TRY(ant_group_agree(probe->world, rc, timeout, err));
    ANT_TRY(ant_journal_open(journal, probe->out, probe->rank, 1, err));
    for (int64_t row = probe->rank; row < probe->n_rows; row += probe->size)
        if (!is_missing(probe, row))
            ANT_TRY(ant_journal_add(*journal, answer_of(probe, &made, row), err));
    return ant_journal_sync(*journal, err);
}

/* What makes the chosen rank fail. */
static void break_something(const struct probe *probe)
{
    struct rlimit limit = {4096, RLIM_INFINITY};

    if (probe->rank != probe->chosen)
        return;
    if (strcmp(probe->what, "limit") == 0) {
        signal(SIGXFSZ, SIG_IGN);
        setrlimit(RLIMIT_FSIZE, &limit);
    } else if (strcmp(probe->what, "damage") == 0) {
        char *path = ant_xasprintf("%s.journal/r%d.s1.aj", probe->out, probe->rank);
        int fd = open(path, O_WRONLY);
        if (pwrite(fd, "damage", 6, 30) != 6)
            perror(path);
        close(fd);
        free(path);
    }
}

static int write_file(struct probe *probe, const struct ant_journal *journal, struct ant_error *err)
{
    size_t n = 0, bytes = 0, *sizes = ant_xcalloc((size_t)probe->size, sizeof(*sizes));
    const struct ant_journal_entry *mine = ant_journal_entries(journal, &n);
    const struct ant_rank_report report = {.rank = probe->rank, .rows = (int64_t)n};
    struct ant_rank_report *reports = ant_xcalloc((size_t)probe->size, sizeof(*reports));
    const struct ant_fact fact = {.name = "command", .kind = ANT_FACT_TEXT, .text = "probe"};
    int64_t n_ok = 0, n_failed = 0;
    void *all = NULL;

    ANT_TRY(
        ant_group_all_gather_v(probe->world, mine, n * sizeof(*mine), &all, sizes, timeout, err));
    ANT_TRY(ant_group_all_gather(probe->world, &report, sizeof(report), reports, timeout, err));
    for (int i = 0; i < probe->size; i++)
        bytes += sizes[i];
    free(sizes);
    struct ant_journal_index index = {.entries = all, .n = bytes / sizeof(*mine)};
    ant_journal_index_sort(&index);
    struct ant_results_plan plan = {.path = probe->out,
                                    .n_rows = probe->n_rows,
                                    .n_samples = 1,
                                    .entries = index.entries,
                                    .n_entries = index.n,
                                    .provenance = &fact,
                                    .n_provenance = 1,
                                    .reports = reports,
                                    .n_reports = (size_t)probe->size};
    break_something(probe);
    int rc = ant_results_write(&plan, probe->prompts, probe->world, &n_ok, &n_failed, err);
    ant_journal_index_release(&index);
    free(reports);
    if (rc == 0 && probe->rank == 0)
        printf("probe: %lld ok, %lld failed\n", (long long)n_ok, (long long)n_failed);
    return rc;
}

static int read_file(const struct probe *probe, struct ant_error *err)
{
    struct ant_results *results = NULL;
    struct made_answer made;
    int rc = ant_results_open(&results, probe->out, err);

    for (int64_t row = 0; rc == 0 && row < probe->n_rows; row++) {
        struct ant_answer got;
        rc = ant_results_read(results, row, &got, err);
        if (rc < 0)
            break;
        if (is_missing(probe, row) ? got.status != ANT_STATUS_MISSING
                                   : differs(&got, answer_of(probe, &made, row)) != NULL)
            rc = ant_fail(err, ANT_EBUG, "row %lld came back different", (long long)row);
    }
    if (rc == 0)
        printf("probe: complete %d, %lld rows well\n", ant_results_complete(results),
               (long long)ant_results_count(results));
    ant_results_close(results);
    return rc;
}

static int run_probe(struct probe *probe, struct ant_error *err)
{
    struct ant_journal *journal = NULL;

    if (strcmp(probe->what, "large") == 0) {
        probe->large = ant_xmalloc(LARGE + 1000);
        for (int i = 0; i < LARGE + 1000; i++)
            probe->large[i] = (char)(i * 7 >> 2);
    }
    int rc = journal_rows(probe, &journal, err);
    rc = ant_group_agree(probe->world, rc, timeout, err);
    bool is_written = strcmp(probe->what, "journal") != 0 && strcmp(probe->what, "killed") != 0;
    if (rc == 0 && is_written)
        rc = write_file(probe, journal, err);
    ant_journal_close(journal);
    ant_prompts_close(probe->prompts);
    if (rc == 0 && is_written && probe->rank == 0)
        rc = read_file(probe, err);
    if (rc == 0 && is_written && probe->rank == 0)
        rc = ant_journal_remove(probe->out, err);
    free(probe->large);
    return ant_group_agree(probe->world, rc, timeout, err);
}

int main(int argc, char **argv)
{
    struct ant_error err = {0};
    struct probe probe = {.out = argc > 1 ? argv[1] : "probe.h5",
                          .n_rows = argc > 2 ? atoll(argv[2]) : 7,
                          .what = argc > 3 ? argv[3] : "",
                          .chosen = -1};

    setvbuf(stderr, NULL, _IOLBF, BUFSIZ); /* lines of several ranks go out whole */
    if (argc > 4 && (strcmp(probe.what, "limit") == 0 || strcmp(probe.what, "damage") == 0))
        probe.chosen = atoi(argv[4]);
    else if (argc > 4)
        probe.input = argv[4];
    int rc = open_probe(&probe, &err);
    if (rc == 0)
        rc = run_probe(&probe, &err);
    if (rc < 0)
        fprintf(stderr, "probe: rank %d: %s\n", probe.rank, err.text);
    ant_journal_release();
    ant_store_stop();
    ant_group_close(probe.world);
    ant_transport_close(probe.transport);
    ant_job_close(probe.job);
    return rc < 0 ? (int)ant_exit_code(rc) : ANT_EXIT_DONE;
}
