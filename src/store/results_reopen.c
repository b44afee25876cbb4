/* SPDX-License-Identifier: Apache-2.0 */
/* A results file as the job that it is of, and as a journal again. */
#include "config.h"

#include "store/results.h"

#include <stdlib.h>

#include "store/journal_folder.h"

static int read_facts(struct ant_manifest *out, const struct ant_results *results,
                      struct ant_error *err)
{
    const struct {
        const char *name, **out;
    } facts[] = {{"input_digest", &out->input_digest},
                 {"model_digest", &out->model_digest},
                 {"answer_settings", &out->answers},
                 {"provenance/input", &out->input}};

    for (size_t i = 0; i < sizeof(facts) / sizeof(*facts); i++) {
        char *text = NULL;
        ANT_TRY(ant_results_fact(results, facts[i].name, &text, err));
        *facts[i].out = text;
    }
    return 0;
}

int ant_results_manifest(struct ant_manifest *out, const struct ant_results *results,
                         struct ant_error *err)
{
    int64_t n_samples = ant_results_samples(results);
    struct ant_manifest manifest = {.n_rows = ant_results_count(results) / n_samples,
                                    .shard = ant_results_shard(results),
                                    .n_samples = (int)n_samples,
                                    .columns = ant_results_columns(results)};
    int rc = read_facts(&manifest, results, err);

    if (rc < 0)
        ant_manifest_release(&manifest);
    else
        *out = manifest;
    return rc;
}

static int copy_answers(struct ant_journal *journal, struct ant_results *results,
                        struct ant_error *err)
{
    for (int64_t i = 0; i < ant_results_count(results); i++) {
        struct ant_answer answer;
        ANT_TRY(ant_results_read(results, i, &answer, err));
        if (answer.status == ANT_STATUS_OK || answer.status == ANT_STATUS_SKIPPED)
            ANT_TRY(ant_journal_add(journal, &answer, err));
    }
    return ant_journal_sync(journal, err);
}

/* The manifest comes last: with it the journal counts. */
static int write_journal(const char *path, struct ant_results *results, struct ant_error *err)
{
    struct ant_manifest manifest = {0};
    struct ant_journal *journal = NULL;

    ANT_TRY(ant_results_manifest(&manifest, results, err));
    int rc = ant_journal_clear(path, err);
    if (rc == 0)
        rc = ant_journal_open(&journal, path, 0, 0, err);
    if (rc == 0)
        rc = copy_answers(journal, results, err);
    if (rc == 0)
        rc = ant_manifest_write(path, &manifest, err);
    ant_journal_close(journal);
    ant_journal_release();
    ant_manifest_release(&manifest);
    return rc;
}

int ant_results_reopen(const char *path, struct ant_error *err)
{
    struct ant_results *results = NULL;
    int n_unsealed;

    ANT_TRY(ant_results_check(path, &n_unsealed, err));
    ANT_TRY(ant_results_open(&results, path, err));
    int rc = write_journal(path, results, err);
    ant_results_close(results);
    return rc;
}
