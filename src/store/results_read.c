/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "store/results_file.h"
#include "store/results_logprobs.h"

/* Only what a reader asks for; timing columns are for other tools. */
enum {
    ROW,
    SAMPLE,
    STATUS,
    FINISH,
    PROMPT_TOKENS,
    SEED,
    DP_RANK,
    ATTEMPT,
    T_FIRST,
    T_TOTAL,
    TEXT,
    TEXT_OFFSETS,
    TOKENS,
    TOKENS_OFFSETS,
    ERROR,
    ERROR_OFFSETS,
    N_COLUMNS
};

enum { AHEAD = 64 << 10 }; /* bytes or tokens read at once */

static const struct {
    const char *name;
    int extra; /* elements more than results; below zero: any number */
    bool is_real;
} facts[N_COLUMNS] = {
    [ROW] = {"row", 0, false},
    [SAMPLE] = {"sample", 0, false},
    [STATUS] = {"status", 0, false},
    [FINISH] = {"finish", 0, false},
    [PROMPT_TOKENS] = {"prompt_tokens", 0, false},
    [SEED] = {"seed", 0, false},
    [DP_RANK] = {"dp_rank", 0, false},
    [ATTEMPT] = {"attempt", 0, false},
    [T_FIRST] = {"t_first", 0, true},
    [T_TOTAL] = {"t_total", 0, true},
    [TEXT] = {"text", -1, false},
    [TEXT_OFFSETS] = {"text_offsets", 1, false},
    [TOKENS] = {"tokens", -1, false},
    [TOKENS_OFFSETS] = {"tokens_offsets", 1, false},
    [ERROR] = {"error", -1, false},
    [ERROR_OFFSETS] = {"error_offsets", 1, false},
};

struct ant_results {
    char *path; /* owned */
    hid_t file;
    int64_t n, n_samples, n_ok, n_failed, complete;
    struct ant_input_shard shard;
    struct ant_h5_column columns[N_COLUMNS], id, id_offsets;
    struct ant_h5_span text, error, tokens, id_bytes;
    struct ant_buf id_text;
    struct ant_results_logprobs logprobs, prompt_logprobs; /* closed: the file has none */
    struct ant_h5_column prompt_offsets, prompt_ids;
    struct ant_h5_span prompt_tokens;
};

static int open_column(struct ant_results *results, struct ant_h5_column *column, const char *name,
                       struct ant_error *err)
{
    char *path = ant_xasprintf("/results/%s", name);
    int rc = 0;

    if (H5Lexists(results->file, "results", H5P_DEFAULT) <= 0 ||
        H5Lexists(results->file, path, H5P_DEFAULT) <= 0)
        rc = ant_fail(err, ANT_EDATA, "'%s' has no dataset '%s'", results->path, path);
    else
        rc = ant_h5_column_open(column, results->file, path, results->path, path, err);
    free(path);
    return rc;
}

static int open_columns(struct ant_results *results, struct ant_error *err)
{
    for (int i = 0; i < N_COLUMNS; i++) {
        struct ant_h5_column *column = &results->columns[i];
        ANT_TRY(open_column(results, column, facts[i].name, err));
        if (i == ROW)
            results->n = column->n;
        if (facts[i].extra >= 0 && column->n - facts[i].extra != results->n)
            return ant_fail(err, ANT_EDATA, "%s has %lld elements, expected %lld", column->label,
                            (long long)column->n, (long long)(results->n + facts[i].extra));
        if (column->kind != (facts[i].is_real ? ANT_H5_REAL : ANT_H5_INTEGER))
            return ant_fail(err, ANT_EDATA, "%s must hold %s", column->label,
                            facts[i].is_real ? "reals" : "integers");
    }
    return 0;
}

static int check_counts(const struct ant_results *results, struct ant_error *err)
{
    if (results->n_samples < 1 || results->n_samples > UINT16_MAX + 1 ||
        results->n % results->n_samples != 0)
        return ant_fail(err, ANT_EDATA, "'%s': %lld results are not a multiple of n_samples = %lld",
                        results->path, (long long)results->n, (long long)results->n_samples);
    return 0;
}

static int open_ids(struct ant_results *results, struct ant_error *err)
{
    if (H5Lexists(results->file, "results/id", H5P_DEFAULT) <= 0)
        return 0;
    ANT_TRY(open_column(results, &results->id, "id", err));
    if (H5Lexists(results->file, "results/id_offsets", H5P_DEFAULT) > 0) {
        ANT_TRY(open_column(results, &results->id_offsets, "id_offsets", err));
        if (results->id_offsets.kind != ANT_H5_INTEGER || results->id.kind != ANT_H5_INTEGER ||
            results->id_offsets.n - 1 != results->n)
            return ant_fail(err, ANT_EDATA, "%s does not belong to %s", results->id_offsets.label,
                            results->id.label);
        return 0;
    }
    if (results->id.n != results->n || results->id.kind == ANT_H5_REAL)
        return ant_fail(err, ANT_EDATA, "%s does not belong to %lld results", results->id.label,
                        (long long)results->n);
    return 0;
}

static int open_logprobs(struct ant_results *results, struct ant_error *err)
{
    ANT_TRY(ant_results_logprobs_open(&results->logprobs, results->file, results->path, "", err));
    int has_prompts = ant_results_logprobs_open(&results->prompt_logprobs, results->file,
                                                results->path, "prompt_", err);
    if (has_prompts <= 0)
        return has_prompts;
    ANT_TRY(open_column(results, &results->prompt_ids, "prompt_ids", err));
    ANT_TRY(open_column(results, &results->prompt_offsets, "prompt_logprobs_offsets", err));
    if (results->prompt_ids.kind != ANT_H5_INTEGER ||
        results->prompt_offsets.kind != ANT_H5_INTEGER ||
        results->prompt_offsets.n - 1 != results->n)
        return ant_fail(err, ANT_EDATA, "%s does not belong to %lld results",
                        results->prompt_offsets.label, (long long)results->n);
    return 0;
}

static int read_root(struct ant_results *results, struct ant_error *err)
{
    const struct {
        const char *name;
        int64_t *out;
    } counts[] = {{"complete", &results->complete},
                  {"n_samples", &results->n_samples},
                  {"n_ok", &results->n_ok},
                  {"n_failed", &results->n_failed}};
    char *label = ant_xasprintf("'%s'", results->path), *schema = NULL;
    int64_t version = 0;
    int rc = ant_h5_get_text(&schema, results->file, "schema", label, err);

    if (rc >= 0 && (!schema || strcmp(schema, ANT_RESULTS_SCHEMA) != 0))
        rc = ant_fail(err, ANT_EDATA, "%s is no results file of antiphon%s", label,
                      H5Lexists(results->file, "prompts", H5P_DEFAULT) > 0
                          ? ": it holds prompts, which 'antiphon run' answers"
                          : "");
    if (rc >= 0)
        rc = ant_h5_get_int(&version, results->file, "version", label, err);
    if (rc >= 0 && version != ANT_RESULTS_VERSION)
        rc = ant_fail(err, ANT_EUNSUPP, "%s has version %lld, this program reads version %d", label,
                      (long long)version, ANT_RESULTS_VERSION);
    for (size_t i = 0; i < sizeof(counts) / sizeof(*counts) && rc >= 0; i++) {
        rc = ant_h5_get_int(counts[i].out, results->file, counts[i].name, label, err);
        if (rc == 0)
            rc = ant_fail(err, ANT_EDATA, "%s has no attribute '%s'", label, counts[i].name);
    }
    free(schema);
    free(label);
    return rc < 0 ? rc : 0;
}

/* A whole input's results have none of these attributes. */
static int read_shard(struct ant_results *results, struct ant_error *err)
{
    struct ant_input_shard *shard = &results->shard;
    int64_t number = 0, count = 0;
    const struct {
        const char *name;
        int64_t *out;
    } parts[] = {{"shard", &number},
                 {"shards", &count},
                 {"first_row", &shard->first_row},
                 {"input_rows", &shard->input_rows}};
    char *label = ant_xasprintf("'%s'", results->path);
    int rc = 0, n = 0;

    for (size_t i = 0; i < sizeof(parts) / sizeof(*parts) && rc >= 0; i++) {
        rc = ant_h5_get_int(parts[i].out, results->file, parts[i].name, label, err);
        n += rc > 0;
    }
    int64_t rows = results->n / results->n_samples;
    if (rc >= 0 && n > 0 &&
        (n < 4 || number < 0 || number >= count || count > INT32_MAX || shard->first_row < 0 ||
         shard->input_rows < rows || shard->first_row > shard->input_rows - rows ||
         shard->input_rows > INT64_MAX / results->n_samples))
        rc = ant_fail(err, ANT_EDATA, "%s is an impossible part of an input", label);
    shard->number = (int)number;
    shard->count = (int)count;
    free(label);
    return rc < 0 ? rc : 0;
}

/* Where only the journal of a job is there: what can be done. */
static int check_is_written(const char *path, struct ant_error *err)
{
    char *journal = ant_xasprintf("%s.journal", path);
    bool is_unfinished = access(path, F_OK) != 0 && access(journal, F_OK) == 0;

    free(journal);
    if (is_unfinished)
        return ant_fail(err, ANT_ENOENT,
                        "'%s' is not written yet: 'antiphon top %s' shows a job that is running, "
                        "'antiphon merge %s -o FILE' makes results of what there is",
                        path, path, path);
    return 0;
}

int ant_results_open(struct ant_results **out, const char *path, struct ant_error *err)
{
    struct ant_results *results = ant_xcalloc(1, sizeof(*results));

    results->path = ant_xstrdup(path);
    results->file = H5I_INVALID_HID;
    int rc = check_is_written(path, err);
    if (rc == 0)
        rc = ant_h5_open(&results->file, path, false, "", err);
    if (rc == 0)
        rc = read_root(results, err);
    if (rc == 0)
        rc = open_columns(results, err);
    if (rc == 0)
        rc = check_counts(results, err);
    if (rc == 0)
        rc = read_shard(results, err);
    if (rc == 0)
        rc = ant_h5_check_sources(&results->columns[ROW], path, err);
    if (rc == 0)
        rc = open_ids(results, err);
    if (rc == 0)
        rc = open_logprobs(results, err);
    if (rc < 0) {
        ant_results_close(results);
        return rc;
    }
    *out = results;
    return 0;
}

void ant_results_close(struct ant_results *results)
{
    if (!results)
        return;
    for (int i = 0; i < N_COLUMNS; i++)
        ant_h5_column_close(&results->columns[i]);
    ant_results_logprobs_close(&results->logprobs);
    ant_results_logprobs_close(&results->prompt_logprobs);
    ant_h5_column_close(&results->prompt_ids);
    ant_h5_column_close(&results->prompt_offsets);
    ant_buf_release(&results->prompt_tokens.data);
    ant_h5_column_close(&results->id);
    ant_h5_column_close(&results->id_offsets);
    ant_h5_close(results->file);
    ant_buf_release(&results->text.data);
    ant_buf_release(&results->error.data);
    ant_buf_release(&results->tokens.data);
    ant_buf_release(&results->id_bytes.data);
    ant_buf_release(&results->id_text);
    free(results->path);
    free(results);
}

hid_t ant_results_handle(const struct ant_results *results)
{
    return results->file;
}

const char *ant_results_path(const struct ant_results *results)
{
    return results->path;
}

int64_t ant_results_count(const struct ant_results *results)
{
    return results->n;
}

int ant_results_fact(const struct ant_results *results, const char *name, char **out,
                     struct ant_error *err)
{
    const char *slash = strchr(name, '/');
    char *label = ant_xasprintf("'%s'", results->path), *text = NULL;
    char *group = slash ? ant_xstrndup(name, (size_t)(slash - name)) : ant_xstrdup("/");
    hid_t object = H5Gopen2(results->file, group, H5P_DEFAULT);
    int rc = object < 0 ? 0 : ant_h5_get_text(&text, object, slash ? slash + 1 : name, label, err);

    ant_h5_close(object);
    free(group);
    free(label);
    if (rc < 0)
        return rc;
    *out = text ? text : ant_xstrdup("");
    return 0;
}

struct ant_columns ant_results_columns(const struct ant_results *results)
{
    const struct ant_results_logprobs *own = &results->logprobs,
                                      *prompt = &results->prompt_logprobs;
    bool has_own = ant_h5_column_is_open(&own->values);

    return (struct ant_columns){
        .has_logprobs = has_own,
        .has_prompt_logprobs = ant_h5_column_is_open(&prompt->values),
        .n_top = own->n_top,
        .n_prompt_top = prompt->n_top,
        .is_scored = has_own && H5Lexists(results->file, "results/logprob_sum", H5P_DEFAULT) > 0,
    };
}

struct ant_input_shard ant_results_shard(const struct ant_results *results)
{
    return results->shard;
}

int ant_results_complete(const struct ant_results *results)
{
    return results->complete != 0;
}

int64_t ant_results_samples(const struct ant_results *results)
{
    return results->n_samples;
}

int64_t ant_results_ok(const struct ant_results *results)
{
    return results->n_ok;
}

int64_t ant_results_failed(const struct ant_results *results)
{
    return results->n_failed;
}

/* An integer between least and most. */
static int read_small(struct ant_results *results, int c, int64_t index, int64_t least,
                      int64_t most, int64_t *out, struct ant_error *err)
{
    bool given;

    ANT_TRY(ant_h5_int(&results->columns[c], index, out, &given, err));
    if (*out < least || *out > most)
        return ant_fail(err, ANT_EDATA, "%s, result %lld: %lld is not possible",
                        results->columns[c].label, (long long)index, (long long)*out);
    return 0;
}

/* Range of result `index` by its offsets. */
static int read_range(struct ant_h5_column *offsets, const struct ant_h5_column *values,
                      int64_t index, int64_t *first, int64_t *n, struct ant_error *err)
{
    int64_t end = 0;
    bool given;

    ANT_TRY(ant_h5_int(offsets, index, first, &given, err));
    ANT_TRY(ant_h5_int(offsets, index + 1, &end, &given, err));
    if (*first < 0 || end < *first || end > values->n || end - *first > UINT32_MAX)
        return ant_fail(err, ANT_EDATA, "%s, result %lld: offsets %lld and %lld are no range of %s",
                        offsets->label, (long long)index, (long long)*first, (long long)end,
                        values->label);
    *n = end - *first;
    return 0;
}

static int read_text(struct ant_h5_column *values, struct ant_h5_column *offsets, int64_t index,
                     struct ant_h5_span *span, const char **text, uint32_t *bytes,
                     struct ant_error *err)
{
    int64_t first = 0, n = 0;

    ANT_TRY(read_range(offsets, values, index, &first, &n, err));
    ANT_TRY(ant_h5_hold(span, values, first, n, AHEAD, H5T_NATIVE_UINT8, 1, text, err));
    *bytes = (uint32_t)n;
    return 0;
}

static int read_tokens(struct ant_results *results, int64_t index, struct ant_answer *out,
                       struct ant_error *err)
{
    struct ant_h5_column *tokens = &results->columns[TOKENS];
    int64_t first = 0, n = 0;
    const char *at = NULL;

    ANT_TRY(read_range(&results->columns[TOKENS_OFFSETS], tokens, index, &first, &n, err));
    ANT_TRY(ant_h5_hold(&results->tokens, tokens, first, n, AHEAD, H5T_NATIVE_INT32,
                        sizeof(int32_t), &at, err));
    out->tokens = n ? (const int32_t *)(const void *)at : NULL;
    out->n_tokens = (uint32_t)n;
    return ant_results_logprobs_read(&results->logprobs, first, n, &out->logprobs, err);
}

static int read_prompt_logprobs(struct ant_results *results, int64_t index, struct ant_answer *out,
                                struct ant_error *err)
{
    struct ant_h5_column *ids = &results->prompt_ids;
    int64_t first = 0, n = 0;
    const char *at = NULL;

    if (!ant_h5_column_is_open(ids))
        return 0;
    ANT_TRY(read_range(&results->prompt_offsets, ids, index, &first, &n, err));
    ANT_TRY(ant_h5_hold(&results->prompt_tokens, ids, first, n, AHEAD, H5T_NATIVE_INT32,
                        sizeof(int32_t), &at, err));
    out->prompt_ids = (const int32_t *)(const void *)at;
    return ant_results_logprobs_read(&results->prompt_logprobs, first, n, &out->prompt_logprobs,
                                     err);
}

static int read_numbers(struct ant_results *results, int64_t index, struct ant_answer *out,
                        struct ant_error *err)
{
    int64_t sample, status, finish, prompt_tokens, dp_rank, attempt;
    double t_first, t_total;
    bool given;

    ANT_TRY(read_small(results, ROW, index, 0, INT64_MAX, &out->row, err));
    ANT_TRY(read_small(results, SAMPLE, index, 0, UINT16_MAX, &sample, err));
    ANT_TRY(read_small(results, STATUS, index, 0, ANT_STATUS_MISSING, &status, err));
    ANT_TRY(read_small(results, FINISH, index, 0, ANT_FINISH_LAST, &finish, err));
    ANT_TRY(read_small(results, PROMPT_TOKENS, index, 0, INT32_MAX, &prompt_tokens, err));
    ANT_TRY(read_small(results, DP_RANK, index, -1, INT32_MAX, &dp_rank, err));
    ANT_TRY(read_small(results, ATTEMPT, index, 0, UINT16_MAX, &attempt, err));
    ANT_TRY(ant_h5_bits(&results->columns[SEED], index, &out->seed, &given, err));
    ANT_TRY(ant_h5_real(&results->columns[T_FIRST], index, &t_first, &given, err));
    ANT_TRY(ant_h5_real(&results->columns[T_TOTAL], index, &t_total, &given, err));
    out->sample = (int32_t)sample;
    out->status = (enum ant_status)status;
    out->finish = (enum ant_finish)finish;
    out->prompt_tokens = (int32_t)prompt_tokens;
    out->dp_rank = (int32_t)dp_rank;
    out->attempt = (int32_t)attempt;
    out->t_first = (float)t_first;
    out->t_total = (float)t_total;
    return 0;
}

int ant_results_read(struct ant_results *results, int64_t index, struct ant_answer *out,
                     struct ant_error *err)
{
    struct ant_h5_column *columns = results->columns;
    struct ant_answer answer = {0};

    if (index < 0 || index >= results->n)
        return ant_fail(err, ANT_EUSAGE, "'%s' has no result %lld, there are %lld", results->path,
                        (long long)index, (long long)results->n);
    ANT_TRY(read_numbers(results, index, &answer, err));
    ANT_TRY(read_text(&columns[TEXT], &columns[TEXT_OFFSETS], index, &results->text, &answer.text,
                      &answer.text_bytes, err));
    ANT_TRY(read_text(&columns[ERROR], &columns[ERROR_OFFSETS], index, &results->error,
                      &answer.error, &answer.error_bytes, err));
    ANT_TRY(read_tokens(results, index, &answer, err));
    ANT_TRY(read_prompt_logprobs(results, index, &answer, err));
    *out = answer;
    return 0;
}

int ant_results_read_numbers(struct ant_results *results, int64_t index, struct ant_answer *out,
                             struct ant_error *err)
{
    struct ant_h5_column *columns = results->columns;
    struct ant_answer answer = {0};
    int64_t first = 0, n = 0;

    ANT_TRY(read_numbers(results, index, &answer, err));
    ANT_TRY(read_range(&columns[TOKENS_OFFSETS], &columns[TOKENS], index, &first, &n, err));
    answer.n_tokens = (uint32_t)n;
    *out = answer;
    return 0;
}

int ant_results_find(struct ant_results *results, int64_t row, int64_t *index,
                     struct ant_error *err)
{
    int64_t low = 0, high = results->n, found = -1;

    while (low < high) {
        int64_t middle = low + (high - low) / 2;
        ANT_TRY(read_small(results, ROW, middle, 0, INT64_MAX, &found, err));
        if (found < row)
            low = middle + 1;
        else
            high = middle;
    }
    if (low < results->n)
        ANT_TRY(read_small(results, ROW, low, 0, INT64_MAX, &found, err));
    if (low == results->n || found != row)
        return ant_fail(err, ANT_EUSAGE, "'%s' has no row %lld, there are %lld", results->path,
                        (long long)row, (long long)(results->n / results->n_samples));
    *index = low;
    return 0;
}

int ant_results_id(struct ant_results *results, int64_t index, struct ant_results_id *out,
                   struct ant_error *err)
{
    struct ant_h5_column *id = &results->id;
    struct ant_results_id value = {.kind = ANT_ID_NONE};
    int64_t offsets[2];
    bool given;

    if (!ant_h5_column_is_open(id)) {
        *out = value;
        return 0;
    }
    value.kind = ANT_ID_STRING;
    if (ant_h5_column_is_open(&results->id_offsets)) {
        uint32_t bytes = 0;
        ANT_TRY(read_text(id, &results->id_offsets, index, &results->id_bytes, &value.text, &bytes,
                          err));
        value.bytes = bytes;
        *out = value;
        return 0;
    }
    if (id->kind == ANT_H5_INTEGER) {
        uint64_t bits = 0;
        ANT_TRY(ant_h5_bits(id, index, &bits, &given, err));
        value.kind = id->cell_type == H5T_NATIVE_UINT64 ? ANT_ID_UNSIGNED : ANT_ID_INTEGER;
        results->id_text.len = 0;
        if (value.kind == ANT_ID_UNSIGNED)
            ant_buf_printf(&results->id_text, "%llu", (unsigned long long)bits);
        else
            ant_buf_printf(&results->id_text, "%lld", (long long)bits);
    } else {
        ANT_TRY(ant_h5_read_strings(id, index, 1, 1, &results->id_text, offsets, err));
    }
    value.text = results->id_text.len ? results->id_text.data : "";
    value.bytes = results->id_text.len;
    *out = value;
    return 0;
}
