/* SPDX-License-Identifier: Apache-2.0 */
/* A folder for a test that journals, and the job that does. To be included after cmocka.h by one
 * file a program. */
#ifndef ANT_TESTS_JOURNAL_FILES_H
#define ANT_TESTS_JOURNAL_FILES_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "store/journal.h"

static char folder[] = "/tmp/antiphon-journal-XXXXXX";
static char out[80];
static struct ant_error err;

static const struct ant_manifest manifest = {
    .n_rows = 100,
    .n_samples = 1,
    .input_digest = "aa",
    .model_digest = "bb",
    .answers = "temperature=0.7\nstop=\xff\xfe\nseed=1\n",
    .input = "prompts.h5",
    .job = "71",
};

static int set_up(void **state)
{
    (void)state;
    unsetenv("SLURM_JOB_ID");
    unsetenv("PMIX_NAMESPACE");
    memset(folder + strlen(folder) - 6, 'X', 6);
    if (!mkdtemp(folder))
        return -1;
    snprintf(out, sizeof(out), "%s/out.h5", folder);
    return 0;
}

static int tear_down(void **state)
{
    char command[128];

    (void)state;
    ant_journal_release();
    snprintf(command, sizeof(command), "rm -rf '%s'", folder);
    return system(command);
}

static char *inside(const char *name)
{
    static char path[160];

    snprintf(path, sizeof(path), "%s.journal/%s", out, name);
    return path;
}

static void assert_error(int rc, int code, const char *part)
{
    if (rc != code || !strstr(err.text, part))
        fail_msg("got %d '%s', expected %d with '%s'", rc, rc < 0 ? err.text : "", code, part);
}

static void prepare(int expected_start)
{
    int start = 0;
    int rc = ant_journal_prepare(out, &manifest, false, &start, &err);

    if (rc < 0)
        fail_msg("%s", err.text);
    assert_int_equal(start, expected_start);
}

#endif
