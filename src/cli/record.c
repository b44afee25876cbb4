/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/log.h"
#include "cli/run.h"

/* The end of the run is waited for as long as it takes: ranks do not end together. */
#define NO_TIMEOUT INFINITY
/* What a row takes at the very least, in the journal and in the results together. */
#define MIN_ROW_BYTES 256
/* What a token takes there: its number and about four bytes of text, twice. */
#define TOKEN_BYTES 16

/* ---- the journal: what is done already, what is left ----------------------------------------- */

void ant_run_identify(const struct run *run, struct run_identity *out)
{
    ant_digest_text(out->input, ant_prompts_fingerprint(run->prompts));
    ant_digest_text(out->model, ant_checkpoint_digest(run->checkpoint));
    ant_digest_text(out->settings, ant_digest(run->answers, strlen(run->answers)));
}

static int compare_results(const struct ant_results *results, const char *path,
                           const struct ant_manifest *mine, struct ant_error *err)
{
    struct ant_manifest theirs = {0};

    ANT_TRY(ant_results_manifest(&theirs, results, err));
    int rc = ant_manifest_compare(path, &theirs, mine, err);
    ant_manifest_release(&theirs);
    return rc;
}

/* With --restart-over: is what is there what this very job has begun anew, before Slurm started it
 * again? */
static bool is_begun_over(const struct run *run, const struct ant_manifest *mine)
{
    const char *path = run->settings.output;
    struct ant_manifest was = {0};

    if (!getenv("SLURM_RESTART_COUNT") || !mine->job || ant_manifest_read(&was, path, NULL) < 0)
        return false;
    bool is = was.job && strcmp(was.job, mine->job) == 0 &&
              ant_manifest_compare(path, &was, mine, NULL) == 0;
    ant_manifest_release(&was);
    return is;
}

/* The output may be there already. Whole, and of this very job: 1. Its rows that are not OK are to
 * be answered again: it becomes a job to go on with. Of another job: refused, results are not
 * overwritten by accident. Begun over, results may be of any job; anything else stays. */
static int look_at_output(const struct run *run, const struct ant_manifest *mine, bool is_over,
                          struct ant_error *err)
{
    const char *path = run->settings.output;
    bool retries = run->settings.retry_failed;
    struct ant_results *results;

    if (access(path, F_OK) != 0)
        return 0;
    int rc = ant_results_open(&results, path, err);
    if (rc < 0 && is_over)
        ant_fail_in(err, rc, "--restart-over throws away results alone");
    ANT_TRY(rc);
    bool is_complete = ant_results_complete(results);
    bool is_good = ant_results_ok(results) == ant_results_count(results);
    rc = is_over ? 0 : compare_results(results, path, mine, err);
    ant_results_close(results);
    if (rc < 0 || is_over)
        return rc;

    enum ant_journal_state state = ant_journal_state(path);
    if (is_good || (is_complete && !retries)) {
        if (is_good || state != ANT_JOURNAL_REOPENED) /* else it goes on with --retry-failed */
            ant_journal_tidy(path);
        return 1;
    }
    if (!retries || state == ANT_JOURNAL_REOPENED || (state == ANT_JOURNAL_BEGUN && !is_complete))
        return 0;
    return ant_results_reopen(path, err);
}

int64_t ant_run_answers(const struct run *run)
{
    return run->n_rows * run->settings.samples;
}

/* Before the first token: the least that journal and results will take must be free. What they can
 * take at most is worth a warning. */
static int check_space(const struct run *run, struct ant_error *err)
{
    double most = (double)ant_run_answers(run) *
                  (MIN_ROW_BYTES + (double)run->settings.max_tokens * TOKEN_BYTES);
    struct ant_error warning;

    ANT_TRY(
        ant_results_check_space(run->settings.output, ant_run_answers(run) * MIN_ROW_BYTES, err));
    if (ant_results_check_space(run->settings.output, (int64_t)fmin(most, 9e18), &warning) < 0)
        ant_log(ANT_LOG_WARN, "space", "if every answer is as long as it may be, %s", warning.text);
    return 0;
}

/* Rank 0 alone: the journal's folder, and whether it belongs to this very job. 1 when all is done
 * already. */
static int prepare_journal(struct run *run, struct ant_error *err)
{
    struct run_identity mine;

    ant_run_identify(run, &mine);
    struct ant_manifest manifest = {
        .n_rows = run->n_rows,
        .shard = run->part,
        .n_samples = run->settings.samples,
        .columns = run->columns,
        .input_digest = mine.input,
        .model_digest = mine.model,
        .answers = run->answers,
        .input = run->settings.input,
        .job = getenv("SLURM_JOB_ID"),
    };
    bool is_over = run->settings.restart_over && !is_begun_over(run, &manifest);
    int rc = look_at_output(run, &manifest, is_over, err);
    if (rc == 0)
        rc = check_space(run, err);
    if (rc == 0)
        rc = ant_journal_prepare(run->settings.output, &manifest, is_over, &run->attempt, err);
    return rc;
}

/* Every rank's bytes to every rank. Collective. */
static int gather(struct run *run, const void *mine, size_t bytes, void **out, size_t *bytes_out,
                  double timeout, struct ant_error *err)
{
    size_t *sizes = ant_xcalloc((size_t)run->layout.world, sizeof(*sizes));
    int rc = ant_group_all_gather_v(run->world, mine, bytes, out, sizes, timeout, err);

    *bytes_out = 0;
    for (int i = 0; i < run->layout.world && rc == 0; i++)
        *bytes_out += sizes[i];
    free(sizes);
    return rc;
}

/* Every rank's index to every rank, as one. Collective. */
static int gather_index(struct run *run, const struct ant_journal_index *mine,
                        struct ant_journal_index *out, double timeout, struct ant_error *err)
{
    struct ant_journal_index all = {.dropped_bytes = mine->dropped_bytes};
    void *entries = NULL, *parts = NULL;
    size_t bytes = 0;

    ANT_TRY(
        gather(run, mine->entries, mine->n * sizeof(*all.entries), &entries, &bytes, timeout, err));
    all.entries = entries;
    all.n = bytes / sizeof(*all.entries);
    int rc =
        gather(run, mine->parts, mine->n_parts * sizeof(*all.parts), &parts, &bytes, timeout, err);
    if (rc < 0) {
        ant_journal_index_release(&all);
        return rc;
    }
    all.parts = parts;
    all.n_parts = bytes / sizeof(*all.parts);
    ant_journal_index_sort(&all);
    *out = all;
    return 0;
}

/* Collective: what earlier starts of this job have finished need not be done again. */
static int replay_journal(struct run *run, struct ant_error *err)
{
    struct ant_journal_index mine = {0};
    int rc =
        ant_journal_replay(&mine, run->settings.output, run->layout.rank, run->layout.world, err);

    rc = ant_group_agree(run->world, rc, START_TIMEOUT_S, err);
    if (rc == 0)
        rc = gather_index(run, &mine, &run->earlier, START_TIMEOUT_S, err);
    ant_journal_index_release(&mine);
    if (rc == 0)
        rc = ant_journal_index_check(&run->earlier, run->settings.output, run->part.first_row,
                                     run->n_rows, run->settings.samples, err);
    if (rc < 0)
        return rc;
    if (run->earlier.dropped_bytes > 0)
        ant_log(ANT_LOG_WARN, "journal", "%llu bytes at torn ends of files were dropped",
                (unsigned long long)run->earlier.dropped_bytes);
    run->reader = ant_journal_reader_open(run->settings.output);
    return 0;
}

int ant_run_open_journal(struct run *run, struct ant_error *err)
{
    int rc = run->layout.rank == 0 ? prepare_journal(run, err) : 0;
    int is_done = rc > 0;

    ANT_TRY(ant_group_agree(run->world, rc < 0 ? rc : 0, START_TIMEOUT_S, err));
    ANT_TRY(ant_group_broadcast(run->world, 0, &is_done, sizeof(is_done), START_TIMEOUT_S, err));
    if (is_done)
        return 1;
    ANT_TRY(ant_group_broadcast(run->world, 0, &run->attempt, sizeof(run->attempt), START_TIMEOUT_S,
                                err));
    ANT_TRY(replay_journal(run, err));
    ANT_TRY(ant_run_deal(run, err));
    rc = ant_journal_open(&run->journal, run->settings.output, run->layout.rank, run->attempt, err);
    return ant_group_agree(run->world, rc, START_TIMEOUT_S, err);
}

/* ---- the results ----------------------------------------------------------------------------- */

/* Collective: where every finished row's answer lies, from this start and earlier ones. */
static int gather_all(struct run *run, struct ant_journal_index *out, struct ant_error *err)
{
    size_t n_new, n_old = run->layout.rank == 0 ? run->earlier.n : 0;
    const struct ant_journal_entry *new = ant_journal_entries(run->journal, &n_new);
    struct ant_buf both = {0};

    ant_buf_add(&both, run->earlier.entries, n_old * sizeof(*new));
    ant_buf_add(&both, new, n_new * sizeof(*new));
    const struct ant_journal_index mine = {.entries = (struct ant_journal_entry *)both.data,
                                           .n = n_old + n_new};
    int rc = gather_index(run, &mine, out, NO_TIMEOUT, err);
    ant_buf_release(&both);
    return rc;
}

static int gather_reports(struct run *run, struct ant_rank_report *out, struct ant_error *err)
{
    struct ant_rank_report mine;

    ant_run_report(run, &mine);
    return ant_group_all_gather(run->world, &mine, sizeof(mine), out, NO_TIMEOUT, err);
}

/* The results are in place, the journal has served. No rank has a file of it open any more: NFS
 * would keep the file, and so the folder. What cannot be removed harms nobody. Collective. */
static int remove_journal(struct run *run, struct ant_error *err)
{
    struct ant_error why;

    ant_journal_close(run->journal);
    ant_journal_reader_close(run->reader);
    ant_run_trace_stop(run);
    run->journal = NULL;
    run->reader = NULL;
    ANT_TRY(ant_group_barrier(run->world, START_TIMEOUT_S, err));
    if (run->layout.rank == 0 && ant_journal_remove(run->settings.output, &why) < 0)
        ant_log(ANT_LOG_WARN, "journal", "%s; it has served and can be removed", why.text);
    return 0;
}

int ant_run_write_results(struct run *run, struct ant_error *err)
{
    struct ant_rank_report *reports = ant_xcalloc((size_t)run->layout.world, sizeof(*reports));
    struct ant_results_plan plan = {
        .path = run->settings.output,
        .n_rows = run->n_rows,
        .shard = run->part,
        .n_samples = run->settings.samples,
        .columns = run->columns,
        .reports = reports,
        .n_reports = (size_t)run->layout.world,
    };
    struct ant_journal_index index = {0};
    struct run_identity identity;
    ant_run_identify(run, &identity);
    struct ant_run_facts *facts = ant_run_facts_open(run, identity.input, identity.model,
                                                     identity.settings, run->settings_json);
    int64_t n_ok = 0, n_failed = 0;

    ant_run_doing(run, RUN_MERGES);
    int rc = gather_all(run, &index, err);
    if (rc == 0)
        rc = gather_reports(run, reports, err);
    if (rc == 0)
        rc = ant_run_trace_gather(run, &plan.timeline, NO_TIMEOUT, err);
    plan.entries = index.entries;
    plan.n_entries = index.n;
    plan.root = ant_run_facts_root(facts, &plan.n_root);
    plan.provenance = ant_run_facts_provenance(facts, &plan.n_provenance);
    if (rc == 0)
        rc = ant_results_write(&plan, run->prompts, run->world, &n_ok, &n_failed, err);
    if (rc == 0)
        rc = remove_journal(run, err);
    rc = rc == ANT_EPEER ? rc : ant_group_agree(run->world, rc, START_TIMEOUT_S, err);
    if (rc == 0 && run->layout.rank == 0)
        ant_run_summary(run, reports, ant_run_answers(run), n_ok, n_failed);
    ant_run_facts_close(facts);
    ant_journal_index_release(&index);
    ant_moments_release(&plan.timeline);
    free(reports);
    return rc;
}
