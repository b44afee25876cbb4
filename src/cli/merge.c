/* SPDX-License-Identifier: Apache-2.0 */
/* antiphon merge: a results file of what an unfinished job has so far, or of those of all shards.
 */
#include "config.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/option.h"
#include "base/version.h"
#include "cli/cli.h"
#include "store/results.h"

struct merge_settings {
    const char *output, *input;
    bool is_virtual, is_partial;
};

#define AT(member) offsetof(struct merge_settings, member)

static const struct ant_option options[] = {
    {ANT_OPTION_TEXT, 'o', "output", "FILE", AT(output),
     .help = "Write FILE instead of OUT. The only way while the job is running."},
    {ANT_OPTION_TEXT, 'i', "input", "FILE[:/PATH]", AT(input),
     .help = "The prompt file, for its ids. Default: where the job found it."},
    {ANT_OPTION_FLAG, 0, "virtual", NULL, AT(is_virtual),
     .help = "Of shards: refer to their files, which must stay where they are, seen from FILE, "
             "instead of copying them (HDF5 virtual datasets)."},
    {ANT_OPTION_FLAG, 0, "partial", NULL, AT(is_partial),
     .help = "Of shards: leave out what is missing; the file then says complete = 0."},
    {0},
};

static const struct ant_command_help help = {
    .name = "merge",
    .summary = "write the result file of an unfinished job, or one of many shards",
    .synopsis = "OUT [--output FILE] | SHARD... --output FILE [--virtual] [--partial]",
    .purpose = "Write the results file of a job from OUT.journal as it stands: rows without an "
               "answer are MISSING, the file then says complete = 0. Or make one file of those of "
               "the shards of an array (antiphon run --shard), in any order.",
    .epilog = "The journal stays, so that the job can go on, unless OUT itself came out complete; "
              "shards stay too.\nA shard that is missing, not complete or damaged is named, and "
              "nothing is written.",
};

/* Prompts for the ids. Named by the user they must be there and the right ones; found by the
 * manifest they may have gone. */
static int open_prompts(struct ant_prompts **out, const struct merge_settings *settings,
                        const struct ant_manifest *manifest, struct ant_error *err)
{
    const char *name = settings->input ? settings->input : manifest->input;
    struct ant_prompts *prompts = NULL;
    char digest[ANT_DIGEST_TEXT];

    if (!name)
        return 0;
    int rc = ant_prompts_open(&prompts, name, err);
    if (rc == 0) {
        ant_digest_text(digest, ant_prompts_fingerprint(prompts));
        if (strcmp(digest, manifest->input_digest) != 0)
            rc = ant_fail(err, ANT_EUSAGE, "'%s' is not the input of this job, or has changed",
                          name);
    }
    if (rc == 0) {
        *out = prompts;
        return 0;
    }
    ant_prompts_close(prompts);
    if (settings->input)
        return rc;
    fprintf(stderr, "antiphon merge: note: without ids: %s\n", err->text);
    return 0;
}

/* What is there already may be the prompts, named by mistake. */
static int check_output(const char *path, struct ant_error *err)
{
    struct ant_results *results = NULL;

    if (access(path, F_OK) != 0)
        return 0;
    int rc = ant_results_open(&results, path, err);
    ant_results_close(results);
    return rc < 0 ? ant_fail_in(err, rc, "merge replaces results alone") : 0;
}

/* Where the answers of a job lie. */
static int read_index(struct ant_journal_index *out, const char *job,
                      const struct ant_manifest *manifest, struct ant_error *err)
{
    ANT_TRY(ant_journal_replay(out, job, 0, 1, err));
    if (out->dropped_bytes > 0)
        fprintf(stderr, "antiphon merge: note: %llu bytes at torn ends of journals were dropped\n",
                (unsigned long long)out->dropped_bytes);
    return ant_journal_index_check(out, job, manifest->shard.first_row, manifest->n_rows,
                                   manifest->n_samples, err);
}

static int write_results(const struct merge_settings *settings, const char *job,
                         const struct ant_manifest *manifest, bool *is_complete,
                         struct ant_error *err)
{
    struct ant_results_plan plan = {.path = settings->output ? settings->output : job,
                                    .journal = job,
                                    .n_rows = manifest->n_rows,
                                    .shard = manifest->shard,
                                    .n_samples = manifest->n_samples,
                                    .columns = manifest->columns};
    char now[32], settings_digest[ANT_DIGEST_TEXT];
    bool is_chat = strstr(manifest->answers, "chat-template-digest="); /* a run notes it for them */
    ant_utc(now, sizeof(now), time(NULL));
    ant_digest_text(settings_digest, ant_digest(manifest->answers, strlen(manifest->answers)));
    const struct ant_fact root[] = {
        {.name = "input_digest", .kind = ANT_FACT_TEXT, .text = manifest->input_digest},
        {.name = "model_digest", .kind = ANT_FACT_TEXT, .text = manifest->model_digest},
        {.name = "settings_digest", .kind = ANT_FACT_TEXT, .text = settings_digest},
        {.name = "answer_settings", .kind = ANT_FACT_TEXT, .text = manifest->answers},
        {.name = "prompts", .kind = ANT_FACT_TEXT, .text = is_chat ? "chat" : "text"},
    };
    const struct ant_fact provenance[] = {
        {.name = "version", .kind = ANT_FACT_TEXT, .text = ant_version},
        {.name = "libraries", .kind = ANT_FACT_TEXT, .text = ant_store_versions()},
        {.name = "command", .kind = ANT_FACT_TEXT, .text = "antiphon merge"},
        {.name = "ended", .kind = ANT_FACT_TEXT, .text = now},
        {.name = "input", .kind = ANT_FACT_TEXT, .text = manifest->input ? manifest->input : ""},
    };
    struct ant_journal_index index = {0};
    struct ant_prompts *prompts = NULL;
    int64_t n_ok = 0, n_failed = 0;

    plan.root = root;
    plan.n_root = sizeof(root) / sizeof(*root);
    plan.provenance = provenance;
    plan.n_provenance = sizeof(provenance) / sizeof(*provenance);
    int rc = read_index(&index, job, manifest, err);
    plan.entries = index.entries;
    plan.n_entries = index.n;
    if (rc == 0)
        rc = open_prompts(&prompts, settings, manifest, err);
    if (rc == 0)
        rc = ant_timeline_collect(&plan.timeline, job, INT_MAX, ANT_MOMENTS_KEPT, err);
    if (rc == 0)
        rc = ant_results_write(&plan, prompts, NULL, &n_ok, &n_failed, err);
    ant_prompts_close(prompts);
    ant_journal_index_release(&index);
    ant_moments_release(&plan.timeline);
    if (rc < 0)
        return rc;
    int64_t missing = plan.n_rows * plan.n_samples - n_ok - n_failed;
    *is_complete = missing == 0;
    printf("%s: %s, %lld ok, %lld failed, %lld missing\n", plan.path,
           missing ? "not complete" : "complete", (long long)n_ok, (long long)n_failed,
           (long long)missing);
    return 0;
}

static bool has_journal(const char *job)
{
    char *journal = ant_xasprintf("%s.journal", job);
    bool has = access(journal, F_OK) == 0;

    free(journal);
    return has;
}

/* Is `output` the job's own, by whatever name? Its journal is there when it is not yet itself. */
static bool is_own(const char *output, const char *job)
{
    char *here = ant_xasprintf("%s.journal", job), *there = ant_xasprintf("%s.journal", output);
    bool is = ant_file_is_same(here, there);

    free(here);
    free(there);
    return is;
}

static int merge_job(const struct merge_settings *settings, const char *job, struct ant_error *err)
{
    struct ant_manifest manifest = {0};
    bool is_complete = false;

    ANT_TRY(ant_store_start(1, err));
    if (!has_journal(job))
        return ant_fail(err, ANT_ENOENT, "there is neither '%s' nor '%s.journal'", job, job);
    ANT_TRY(check_output(settings->output ? settings->output : job, err));
    ANT_TRY(ant_manifest_read(&manifest, job, err));
    bool is_beside = settings->output && !is_own(settings->output, job);
    int rc = is_beside ? 0 : ant_journal_claim(job, err);
    if (rc == ANT_EUSAGE)
        rc = ant_fail_in(err, rc, "--output FILE writes what there is beside it");
    if (rc == 0)
        rc = write_results(settings, job, &manifest, &is_complete, err);
    if (rc == 0 && is_complete && !is_beside && ant_journal_remove(job, err) < 0)
        fprintf(stderr, "antiphon merge: note: %s; it has served and can be removed\n", err->text);
    ant_journal_release();
    ant_manifest_release(&manifest);
    return rc;
}

static int merge_shards(const struct merge_settings *settings, char **paths, int n,
                        struct ant_error *err)
{
    struct ant_results_merge plan = {.path = settings->output,
                                     .parts = paths,
                                     .n_parts = n,
                                     .is_virtual = settings->is_virtual,
                                     .is_partial = settings->is_partial,
                                     .command = "antiphon merge"};
    struct ant_results_counts counts;

    if (!settings->output && n == 1)
        return ant_fail(err, ANT_EUSAGE,
                        "'%s' has no journal beside it: nothing is left to merge (--output FILE "
                        "copies a part of an array)",
                        paths[0]);
    if (!settings->output)
        return ant_fail(err, ANT_EUSAGE, "--output FILE is needed to make one file of %d", n);
    for (int i = 0; i < n; i++)
        if (ant_file_is_same(paths[i], settings->output))
            return ant_fail(err, ANT_EUSAGE, "'%s' is to be read and written", paths[i]);
    ANT_TRY(ant_store_start(1, err));
    ANT_TRY(check_output(settings->output, err));
    ANT_TRY(ant_results_merge(&plan, &counts, err));
    printf("%s: %s, %lld ok, %lld failed, %lld missing, of %d file%s%s\n", settings->output,
           counts.n_missing ? "not complete" : "complete", (long long)counts.n_ok,
           (long long)counts.n_failed, (long long)counts.n_missing, n, n == 1 ? "" : "s",
           settings->is_virtual ? ", which it refers to" : "");
    return 0;
}

/* A single finished file is a shard, though the only one; a job is what has a journal. */
static bool are_shards(char **paths, int n)
{
    if (n > 1)
        return true;
    return access(paths[0], F_OK) == 0 && !has_journal(paths[0]);
}

static int merge(void *data, char **operands, int n, struct ant_error *err)
{
    const struct merge_settings *settings = data;

    if (are_shards(operands, n))
        return merge_shards(settings, operands, n, err);
    if (settings->is_virtual || settings->is_partial)
        return ant_fail(err, ANT_EUSAGE, "--virtual and --partial are for shards");
    return merge_job(settings, operands[0], err);
}

static int merge_main(int argc, char **argv)
{
    struct merge_settings settings = {0};

    return ant_cli_main(&ant_command_merge, &settings, merge, argc, argv);
}

const struct ant_command ant_command_merge = {
    merge_main, options, &help, {1, INT_MAX, "name the output of a job, or those of all shards"}};
