/* SPDX-License-Identifier: Apache-2.0 */
/* Results files whose datasets and attributes are of any type, shape and size: read, checked, and
 * merged. */
#include "config.h"

#include <unistd.h>

#include "fuzz.h"
#include "h5_any.h"

#include "store/results.h"

enum { RESULTS = 6, ODD = 8 }; /* ODD of 256 datasets are not as they should be */

static void put_columns(hid_t group, struct bytes *in)
{
    static const struct {
        const char *name;
        unsigned most;
        bool is_offsets;
    } numbers[] = {{"row", 1, true},
                   {"sample", 0, false},
                   {"status", 3, false},
                   {"finish", 5, false},
                   {"prompt_tokens", 9, false},
                   {"seed", 99, false},
                   {"dp_rank", 3, false},
                   {"attempt", 2, false},
                   {"text_offsets", 4, true},
                   {"tokens_offsets", 3, true},
                   {"error_offsets", 2, true}};

    for (size_t i = 0; i < sizeof(numbers) / sizeof(*numbers); i++)
        put_numbers(group, numbers[i].name, H5T_STD_I64LE,
                    RESULTS + (numbers[i].is_offsets && i > 0), numbers[i].most,
                    numbers[i].is_offsets, ODD, in);
    put_any(group, "t_first", H5T_IEEE_F32LE, RESULTS, ODD, in);
    put_any(group, "t_total", H5T_IEEE_F32LE, RESULTS, ODD, in);
    put_any(group, "text", H5T_STD_U8LE, 24, ODD, in);
    put_any(group, "tokens", H5T_STD_I32LE, 18, ODD, in);
    put_any(group, "error", H5T_STD_U8LE, 12, ODD, in);
}

/* What only some results have. */
static void put_more(hid_t group, struct bytes *in)
{
    hsize_t wide = 2;
    hid_t ids = H5Tarray_create2(H5T_STD_I32LE, 1, &wide);
    hid_t values = H5Tarray_create2(H5T_IEEE_F32LE, 1, &wide), string = any_string(in);
    unsigned which = next(in);

    if (which & 1)
        put_any(group, "id", which & 2 ? string : H5T_STD_U64LE, RESULTS, ODD, in);
    if (which & 4)
        put_numbers(group, "id_offsets", H5T_STD_I64LE, RESULTS + 1, 2, true, ODD, in);
    if (which & 8) {
        put_any(group, "logprobs", H5T_IEEE_F32LE, 18, ODD, in);
        put_any(group, "top_ids", ids, 18, ODD, in);
        put_any(group, "top_logprobs", values, 18, ODD, in);
    }
    if (which & 16) {
        put_any(group, "prompt_logprobs", H5T_IEEE_F32LE, 12, ODD, in);
        put_any(group, "prompt_ids", H5T_STD_I32LE, 12, ODD, in);
        put_numbers(group, "prompt_logprobs_offsets", H5T_STD_I64LE, RESULTS + 1, 2, true, ODD, in);
    }
    H5Tclose(string);
    H5Tclose(values);
    H5Tclose(ids);
}

/* /performance, /timeline and /provenance. */
static void put_history(hid_t file, struct bytes *in)
{
    static const char *const groups[] = {"performance", "timeline", "provenance"};
    static const char *const members[3][4] = {{"rank", "host", "rows", "load_s"},
                                              {"time", "start", "rank", "left"},
                                              {"command", "input", "model", "hosts"}};

    for (int g = 0; g < 3; g++) {
        if (next(in) % 8 == 1)
            continue;
        hid_t group = H5Gcreate2(file, groups[g], H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
        for (int i = 0; i < 4 && g < 2; i++)
            put_any(group, members[g][i], H5T_STD_I32LE, 3, ODD, in);
        for (int i = 0; i < 4 && g == 2; i++)
            put_any_attribute(group, members[g][i], "text", 0, 64, in);
        H5Gclose(group);
    }
}

static void make_file(const char *path, struct bytes *in)
{
    hid_t file = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    hid_t group = H5Gcreate2(file, "results", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);

    put_any_attribute(file, "schema", "antiphon-results", 0, ODD, in);
    put_any_attribute(file, "version", NULL, 1, ODD, in);
    put_any_attribute(file, "complete", NULL, next(in) % 2, ODD, in);
    put_any_attribute(file, "n_samples", NULL, next(in) % 8 ? 1 : next(in) % 5, ODD, in);
    put_any_attribute(file, "n_ok", NULL, next(in) % 8, ODD, in);
    put_any_attribute(file, "n_failed", NULL, next(in) % 3, ODD, in);
    put_any_attribute(file, "input_digest", "aa", 0, ODD, in);
    if (next(in) % 8 == 1) {
        put_any_attribute(file, "shard", NULL, next(in) % 3, 64, in);
        put_any_attribute(file, "shards", NULL, next(in) % 5, 64, in);
        put_any_attribute(file, "first_row", NULL, next(in) % 3, 64, in);
        put_any_attribute(file, "input_rows", NULL, next(in), 64, in);
    }
    put_columns(group, in);
    put_more(group, in);
    put_history(file, in);
    H5Gclose(group);
    H5Fclose(file);
}

static void read_all(const char *path)
{
    struct ant_results *results = NULL;
    struct ant_rank_report *reports = NULL;
    struct ant_results_note *notes = NULL;
    struct ant_moments moments = {0};
    struct ant_manifest manifest = {0};
    struct ant_error err = {{0}};
    size_t n = 0, n_notes = 0;
    int rc = ant_results_open(&results, path, &err);

    expect_error(rc, &err);
    if (rc < 0)
        return;
    int64_t rows = ant_results_count(results), index;
    for (int64_t i = 0; i < rows && i < 3 * RESULTS; i++) {
        struct ant_answer answer;
        struct ant_results_id id;
        expect_error(ant_results_read(results, i, &answer, &err), &err);
        expect_error(ant_results_read_numbers(results, i, &answer, &err), &err);
        expect_error(ant_results_id(results, i, &id, &err), &err);
        expect_error(ant_results_find(results, i, &index, &err), &err);
    }
    expect_error(ant_results_reports(results, &reports, &n, &err), &err);
    expect_error(ant_results_timeline(results, &moments, &err), &err);
    expect_error(ant_results_manifest(&manifest, results, &err), &err);
    if (ant_results_notes(results, &notes, &n_notes, &err) == 0) {
        for (size_t i = 0; i < n_notes; i++)
            if (!notes[i].name || !notes[i].text)
                abort();
        ant_results_notes_release(notes, n_notes);
    }
    ant_manifest_release(&manifest);
    ant_moments_release(&moments);
    free(reports);
    ant_results_close(results);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    struct bytes in = {data, bytes, 0};
    struct ant_results_counts counts;
    struct ant_error err = {{0}};
    const char *path = fuzz_file();
    char *merged = ant_xasprintf("%s.merged", path);
    char *parts[] = {(char *)path};
    const struct ant_results_merge merge = {
        .path = merged, .parts = parts, .n_parts = 1, .is_partial = true, .command = "x"};
    int n_unsealed;

    make_file(path, &in);
    read_all(path);
    expect_error(ant_results_check(path, &n_unsealed, &err), &err);
    expect_error(ant_results_merge(&merge, &counts, &err), &err);
    unlink(merged);
    unlink(path);
    free(merged);
    return 0;
}
