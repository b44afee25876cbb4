/* SPDX-License-Identifier: Apache-2.0 */
/* --shard: the part of the input that this job answers, and the file of its answers. */
#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "cli/run.h"

enum { MOST_SHARDS = 1 << 20 };

static int parse_number(const char *text, char end, long *out)
{
    char *stop;

    errno = 0;
    *out = strtol(text, &stop, 10);
    return errno == 0 && stop != text && *stop == end && *out >= 0 ? (int)(stop - text) : -1;
}

/* "K/M" */
static int parse_shard(const char *text, struct ant_input_shard *out, struct ant_error *err)
{
    long number = 0, count = 0;
    int at = parse_number(text, '/', &number);

    if (at < 0 || parse_number(text + at + 1, '\0', &count) < 0 || number >= count ||
        count > MOST_SHARDS)
        return ant_fail(err, ANT_EUSAGE, "--shard '%s' is neither auto nor K/M, such as 0/8 to 7/8",
                        text);
    out->number = (int)number;
    out->count = (int)count;
    return 0;
}

static int read_variable(const char *name, long *out, struct ant_error *err)
{
    const char *value = getenv(name);

    if (!value)
        return ant_fail(err, ANT_EUSAGE,
                        "--shard auto: %s is not set, this is no task of a Slurm array", name);
    if (parse_number(value, '\0', out) < 0)
        return ant_fail(err, ANT_EUSAGE, "--shard auto: %s is '%s'", name, value);
    return 0;
}

/* From the place of this task in its array. */
static int find_shard(struct ant_input_shard *out, struct ant_error *err)
{
    long id = 0, least = 0, most = 0, step = 1, count = 0;

    ANT_TRY(read_variable("SLURM_ARRAY_TASK_ID", &id, err));
    ANT_TRY(read_variable("SLURM_ARRAY_TASK_MIN", &least, err));
    ANT_TRY(read_variable("SLURM_ARRAY_TASK_MAX", &most, err));
    ANT_TRY(read_variable("SLURM_ARRAY_TASK_COUNT", &count, err));
    if (getenv("SLURM_ARRAY_TASK_STEP"))
        ANT_TRY(read_variable("SLURM_ARRAY_TASK_STEP", &step, err));
    if (step < 1 || id < least || id > most || (id - least) % step != 0 ||
        (most - least) / step + 1 != count || count > MOST_SHARDS)
        return ant_fail(err, ANT_EUSAGE,
                        "--shard auto: task %ld of %ld from %ld to %ld by %ld is not one of an "
                        "array without gaps; say --shard K/M",
                        id, count, least, most, step);
    out->number = (int)((id - least) / step);
    out->count = (int)count;
    return 0;
}

/* "answers.h5" becomes "answers.07-of-12.h5": names that sort. */
static char *shard_path(const char *path, const struct ant_input_shard *shard)
{
    const char *slash = strrchr(path, '/'), *dot = strrchr(slash ? slash : path, '.');
    int width = snprintf(NULL, 0, "%d", shard->count);

    if (!dot || dot == path || dot[-1] == '/')
        dot = path + strlen(path);
    return ant_xasprintf("%.*s.%0*d-of-%d%s", (int)(dot - path), path, width, shard->number,
                         shard->count, dot);
}

int ant_run_take_shard(struct run *run, struct ant_error *err)
{
    const char *text = run->settings.shard;
    int64_t n = ant_prompts_count(run->prompts);
    struct ant_input_shard shard = {.input_rows = n};

    run->n_rows = n;
    if (!text)
        return 0;
    ANT_TRY(strcmp(text, "auto") == 0 ? find_shard(&shard, err) : parse_shard(text, &shard, err));
    shard.first_row = (int64_t)((__int128)n * shard.number / shard.count);
    run->n_rows = (int64_t)((__int128)n * (shard.number + 1) / shard.count) - shard.first_row;
    run->part = shard;
    run->part_path = shard_path(run->settings.output, &shard);
    run->settings.output = run->part_path;
    return 0;
}
