/* SPDX-License-Identifier: Apache-2.0 */
/* The results file of one process, and how it is cut for many. Many processes: tests/launch. */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "answers.h"
#include "h5_make.h"

#include "base/mem.h"
#include "store/results.h"
#include "store/results_layout.h"

static char folder[] = "/tmp/antiphon-results-XXXXXX";
static char out[80], part[90], input[80];
static struct ant_error err;

static int set_up(void **state)
{
    (void)state;
    memset(folder + strlen(folder) - 6, 'X', 6);
    if (!mkdtemp(folder))
        return -1;
    snprintf(out, sizeof(out), "%s/out.h5", folder);
    snprintf(part, sizeof(part), "%s.part", out);
    snprintf(input, sizeof(input), "%s/in.h5", folder);
    return ant_store_start(1, &err);
}

/* HDF5 holds on to a file that it could not write when closing it. */
static int n_unclosable;
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
    return "leak:libhdf5";
}

static int tear_down(void **state)
{
    char command[128];

    (void)state;
    assert_int_equal(H5Fget_obj_count((hid_t)H5F_OBJ_ALL, H5F_OBJ_ALL), n_unclosable);
    ant_journal_release();
    snprintf(command, sizeof(command), "rm -rf '%s'", folder);
    return system(command);
}

static void succeed(int rc)
{
    if (rc < 0)
        fail_msg("%s", err.text);
}

static void assert_error(int rc, int code, const char *text)
{
    if (rc != code || !strstr(err.text, text) || strchr(err.text, '\n'))
        fail_msg("got %d '%s', expected %d with '%s'", rc, rc < 0 ? err.text : "", code, text);
}

/* Journal every `step`-th row from `first` as rank `rank`. */
static void journal_rows(int rank, int64_t first, int64_t step, int64_t n_rows, int n_samples)
{
    struct ant_journal *journal;
    struct made_answer made;

    succeed(ant_journal_open(&journal, out, rank, 1, &err));
    for (int64_t row = first; row < n_rows; row += step)
        for (int32_t sample = 0; sample < n_samples; sample++)
            succeed(ant_journal_add(journal, make_answer(&made, row, sample), &err));
    succeed(ant_journal_sync(journal, &err));
    ant_journal_close(journal);
}

static void prepare(int64_t n_rows, int n_samples)
{
    const struct ant_manifest manifest = {.n_rows = n_rows,
                                          .n_samples = n_samples,
                                          .input_digest = "a",
                                          .model_digest = "b",
                                          .answers = ""};
    int start;

    succeed(ant_journal_prepare(out, &manifest, false, &start, &err));
}

static const struct ant_fact facts[] = {
    {.name = "command", .kind = ANT_FACT_TEXT, .text = "antiphon run \xc3\xa4"},
    {.name = "ranks", .kind = ANT_FACT_INT, .integer = -3},
    {.name = "factor", .kind = ANT_FACT_REAL, .real = 0.25},
    {.name = "nothing", .kind = ANT_FACT_TEXT},
};

static const struct ant_rank_report reports[] = {
    {.rank = 0, .rows = 10, .output_tokens = 5, .decode_s = 1.5, .bandwidth = 9e9},
    {.rank = 1, .dp_rank = 1, .rows = 11, .output_tokens = 6, .decode_s = 2.5, .bandwidth = 8e9},
};

static struct ant_results_plan plan_of(int64_t n_rows, int n_samples,
                                       struct ant_journal_entry **entries)
{
    struct ant_results_plan plan = {.path = out,
                                    .n_rows = n_rows,
                                    .n_samples = n_samples,
                                    .root = facts,
                                    .n_root = 2,
                                    .provenance = facts,
                                    .n_provenance = 4,
                                    .reports = reports,
                                    .n_reports = 2};
    struct ant_journal_index index = {0};

    succeed(ant_journal_replay(&index, out, 0, 1, &err));
    plan.entries = *entries = index.entries;
    plan.n_entries = index.n;
    return plan;
}

static void assert_row(struct ant_results *results, int64_t index, int n_samples, bool is_missing)
{
    struct made_answer made;
    struct ant_answer got;
    const struct ant_answer *want =
        make_answer(&made, index / n_samples, (int32_t)(index % n_samples));

    succeed(ant_results_read(results, index, &got, &err));
    if (is_missing) {
        assert_int_equal(got.row, want->row);
        assert_int_equal(got.sample, want->sample);
        assert_int_equal(got.status, ANT_STATUS_MISSING);
        assert_int_equal(got.finish, ANT_FINISH_NONE);
        assert_int_equal(got.n_tokens + got.text_bytes + got.error_bytes, 0);
        assert_int_equal(got.dp_rank, -1);
        assert_true(isnan(got.t_first) && isnan(got.t_total));
        return;
    }
    const char *what = differs(&got, want);
    if (what)
        fail_msg("result %lld: %s differs", (long long)index, what);
}

static int64_t attribute(const char *name)
{
    hid_t file = H5Fopen(out, H5F_ACC_RDONLY, H5P_DEFAULT);
    hid_t handle = H5Aopen(file, name, H5P_DEFAULT);
    int64_t value = -99;

    assert_true(H5Aread(handle, H5T_NATIVE_INT64, &value) >= 0);
    H5Aclose(handle);
    H5Fclose(file);
    return value;
}

static void every_row_comes_back(void **state)
{
    (void)state;
    struct ant_journal_entry *entries;
    struct ant_results *results;
    int64_t n_ok = 0, n_failed = 0;

    prepare(500, 1);
    for (int rank = 0; rank < 3; rank++)
        journal_rows(rank, rank, 3, 500, 1);
    struct ant_results_plan plan = plan_of(500, 1, &entries);
    succeed(ant_results_write(&plan, NULL, NULL, &n_ok, &n_failed, &err));
    assert_int_equal(n_ok, 429);
    assert_int_equal(n_failed, 71);
    assert_int_equal(access(part, F_OK), -1);
    succeed(ant_results_open(&results, out, &err));
    assert_int_equal(ant_results_count(results), 500);
    assert_int_equal(ant_results_ok(results), 429);
    assert_int_equal(ant_results_failed(results), 71);
    assert_true(ant_results_complete(results));
    for (int64_t i = 0; i < 500; i++)
        assert_row(results, i, 1, false);
    for (int64_t i = 499; i >= 0; i -= 13)
        assert_row(results, i, 1, false);
    struct ant_answer answer;
    assert_error(ant_results_read(results, 500, &answer, &err), ANT_EUSAGE, "no result 500");
    struct ant_results_id id;
    succeed(ant_results_id(results, 0, &id, &err));
    assert_int_equal(id.kind, ANT_ID_NONE);
    ant_results_close(results);
    assert_int_equal(attribute("n_rows"), 500);
    assert_int_equal(attribute("ranks"), -3);
    assert_int_equal(attribute("complete"), 1);
    free(entries);
}

static void missing_rows_make_it_incomplete(void **state)
{
    (void)state;
    struct ant_journal_entry *entries;
    struct ant_results *results;
    int64_t n_ok = 0, n_failed = 0;

    prepare(50, 2);
    journal_rows(0, 1, 2, 50, 2); /* odd rows only */
    struct ant_results_plan plan = plan_of(50, 2, &entries);
    succeed(ant_results_write(&plan, NULL, NULL, &n_ok, &n_failed, &err));
    assert_int_equal(n_ok + n_failed, 50);
    succeed(ant_results_open(&results, out, &err));
    assert_int_equal(ant_results_count(results), 100);
    assert_false(ant_results_complete(results));
    for (int64_t i = 0; i < 100; i++)
        assert_row(results, i, 2, i / 2 % 2 == 0);
    ant_results_close(results);
    assert_int_equal(attribute("n_missing"), 50);
    free(entries);
}

/* A results file of the first `n_rows` rows of an input, cut as `shard` says. */
static void write_shard(int64_t n_rows, struct ant_input_shard shard)
{
    struct ant_journal_entry *entries;
    int64_t n_ok, n_failed;

    prepare(n_rows, 1);
    journal_rows(0, 0, 1, n_rows, 1);
    struct ant_results_plan plan = plan_of(n_rows, 1, &entries);
    plan.shard = shard;
    succeed(ant_results_write(&plan, NULL, NULL, &n_ok, &n_failed, &err));
    free(entries);
}

static void missing_shards_are_named(void **state)
{
    static const struct {
        struct ant_input_shard shard;
        const char *text;
    } cases[] = {
        {{.count = 3, .input_rows = 11}, "shard 1 of 3 (rows 3 to 6) is missing; shard 2 of 3"},
        /* Cut otherwise than the rows that are there. */
        {{.count = 2, .input_rows = 10}, "rows 3 to 4 are missing; shard 1 of 2 (rows 5 to 9)"},
        /* More shards than rows, and more than can be gone through one by one. */
        {{.count = INT32_MAX, .input_rows = 5},
         "shard 1717986917 of 2147483647 (rows 3 to 3) is missing; shard 2147483646 of"},
        {{.count = INT32_MAX, .input_rows = (int64_t)1 << 60}, "; and 2147483639 mo"},
        {{.count = INT32_MAX, .input_rows = INT32_MAX}, "; and 2147483636 more"},
    };
    static char *const parts[] = {out};
    const struct ant_results_merge merge = {
        .path = input, .parts = parts, .n_parts = 1, .command = ""};
    struct ant_results_counts counts;

    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        write_shard(3, cases[i].shard);
        assert_error(ant_results_merge(&merge, &counts, &err), ANT_EDATA, cases[i].text);
        assert_int_equal(access(input, F_OK), -1);
        tear_down(state);
        set_up(state);
    }
}

static void no_rows_at_all(void **state)
{
    (void)state;
    struct ant_journal_entry *entries;
    struct ant_results *results;
    int64_t n_ok = -1, n_failed = -1;

    prepare(0, 1);
    struct ant_results_plan plan = plan_of(0, 1, &entries);
    plan.n_reports = 0;
    succeed(ant_results_write(&plan, NULL, NULL, &n_ok, &n_failed, &err));
    assert_int_equal(n_ok, 0);
    assert_int_equal(n_failed, 0);
    succeed(ant_results_open(&results, out, &err));
    assert_int_equal(ant_results_count(results), 0);
    assert_true(ant_results_complete(results));
    ant_results_close(results);
    free(entries);
}

/* Texts of several pieces, so that every buffer is flushed on the way. */
static void large_answers(void **state)
{
    (void)state;
    enum { BYTES = 3 << 20, N = 5 };
    struct ant_journal *journal;
    struct ant_journal_entry *entries;
    struct ant_results *results;
    int64_t n_ok, n_failed;
    char *text = ant_xmalloc(BYTES);

    for (int i = 0; i < BYTES; i++)
        text[i] = (char)(i * 31 >> 3);
    prepare(N, 1);
    succeed(ant_journal_open(&journal, out, 0, 1, &err));
    for (int64_t row = 0; row < N; row++) {
        struct ant_answer answer = {.row = row, .text = text + row, .text_bytes = BYTES - N};
        answer.tokens = (const int32_t *)(const void *)text;
        answer.n_tokens = BYTES / 4;
        succeed(ant_journal_add(journal, &answer, &err));
    }
    ant_journal_close(journal);
    struct ant_results_plan plan = plan_of(N, 1, &entries);
    succeed(ant_results_write(&plan, NULL, NULL, &n_ok, &n_failed, &err));
    succeed(ant_results_open(&results, out, &err));
    for (int64_t row = 0; row < N; row++) {
        struct ant_answer answer;
        succeed(ant_results_read(results, row, &answer, &err));
        assert_int_equal(answer.text_bytes, BYTES - N);
        assert_memory_equal(answer.text, text + row, BYTES - N);
        assert_int_equal(answer.n_tokens, BYTES / 4);
        assert_memory_equal(answer.tokens, text, BYTES);
    }
    ant_results_close(results);
    free(entries);
    free(text);
}

/* ids: 0 short strings, 1 long strings, 2 int64, 3 uint64, 4 empty strings. */
static void make_input(int kind, int64_t n)
{
    hid_t file = H5Fcreate(input, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    hid_t group = H5Gcreate2(file, "prompts", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    const char **texts = ant_xcalloc((size_t)n, sizeof(*texts));
    char **ids = ant_xcalloc((size_t)n, sizeof(*ids));
    int64_t *integers = ant_xcalloc((size_t)n, sizeof(*integers));

    for (int64_t i = 0; i < n; i++) {
        texts[i] = "x";
        integers[i] = -i;
        ids[i] = kind == 4 ? ant_xstrdup("")
                           : ant_xasprintf("id-%lld%*s", (long long)i, kind ? 2000 : 1, "\xc3\xa4");
    }
    h5_put_strings(group, "text", (hsize_t)n, texts);
    if (kind == 2 || kind == 3)
        h5_put(group, "id", kind == 2 ? H5T_STD_I64LE : H5T_STD_U64LE,
               kind == 2 ? H5T_NATIVE_INT64 : H5T_NATIVE_UINT64, (hsize_t)n, integers);
    else
        h5_put_strings(group, "id", (hsize_t)n, (const char *const *)ids);
    for (int64_t i = 0; i < n; i++)
        free(ids[i]);
    free(ids);
    free(texts);
    free(integers);
    H5Gclose(group);
    H5Fclose(file);
}

static void ids_are_copied(void **state)
{
    (void)state;
    enum { N = 20000 };

    for (int kind = 0; kind < 5; kind++) {
        int64_t n = kind == 1 ? 50 : N, n_ok, n_failed;
        struct ant_journal_entry *entries;
        struct ant_prompts *prompts;
        struct ant_results *results;
        struct ant_results_id id;
        char want[4096];

        make_input(kind, n);
        prepare(n, 2);
        struct ant_results_plan plan = plan_of(n, 2, &entries);
        succeed(ant_prompts_open(&prompts, input, &err));
        succeed(ant_results_write(&plan, prompts, NULL, &n_ok, &n_failed, &err));
        succeed(ant_results_open(&results, out, &err));
        for (int64_t i = 0; i < 2 * n; i += 17) {
            long long row = i / 2;
            succeed(ant_results_id(results, i, &id, &err));
            if (kind == 4)
                want[0] = '\0';
            else if (kind == 3)
                snprintf(want, sizeof(want), "%llu", (unsigned long long)-row);
            else if (kind == 2)
                snprintf(want, sizeof(want), "%lld", -row);
            else
                snprintf(want, sizeof(want), "id-%lld%*s", row, kind ? 2000 : 1, "\xc3\xa4");
            assert_int_equal(id.kind, kind == 3   ? ANT_ID_UNSIGNED
                                      : kind == 2 ? ANT_ID_INTEGER
                                                  : ANT_ID_STRING);
            assert_int_equal(id.bytes, strlen(want));
            assert_memory_equal(id.text, want, id.bytes);
        }
        ant_results_close(results);
        ant_prompts_close(prompts);
        ant_journal_release();
        succeed(ant_journal_remove(out, &err));
        free(entries);
    }
}

static void failures_leave_nothing_behind(void **state)
{
    (void)state;
    struct ant_journal_entry *entries;
    struct rlimit old, limit;
    int64_t n_ok, n_failed;
    char path[120];

    prepare(100, 1);
    journal_rows(0, 0, 1, 100, 1);
    struct ant_results_plan plan = plan_of(100, 1, &entries);

    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &old);
    limit = old;
    limit.rlim_cur = 10000;
    setrlimit(RLIMIT_FSIZE, &limit);
    int rc = ant_results_write(&plan, NULL, NULL, &n_ok, &n_failed, &err);
    setrlimit(RLIMIT_FSIZE, &old);
    n_unclosable = 1;
    assert_error(rc, ANT_EIO, "out.h5.part'");
    assert_error(rc, ANT_EIO, "File too large");
    assert_int_equal(access(part, F_OK), -1);
    assert_int_equal(access(out, F_OK), -1);

    snprintf(path, sizeof(path), "%s.journal/r0.s1.aj", out);
    int fd = open(path, O_WRONLY);
    assert_int_equal(pwrite(fd, "!", 1, (off_t)entries[70].offset + 30), 1);
    close(fd);
    assert_error(ant_results_write(&plan, NULL, NULL, &n_ok, &n_failed, &err), ANT_EDATA,
                 "r0.s1.aj': the frame of row 70 at byte ");
    assert_int_equal(access(part, F_OK), -1);
    assert_int_equal(access(out, F_OK), -1);

    plan.path = "/nonexistent/folder/out.h5";
    assert_error(ant_results_write(&plan, NULL, NULL, &n_ok, &n_failed, &err), ANT_ENOENT,
                 "'/nonexistent/folder/'");
    free(entries);
}

static void a_bad_plan_is_our_bug(void **state)
{
    (void)state;
    struct ant_journal_entry entries[] = {{.row = 1}, {.row = 0}, {.row = 5}};
    struct ant_results_plan plan = {
        .path = out, .n_rows = 5, .n_samples = 1, .entries = entries, .n_entries = 2};
    int64_t n_ok, n_failed;

    assert_error(ant_results_write(&plan, NULL, NULL, &n_ok, &n_failed, &err), ANT_EBUG,
                 "row 0, sample 0 is out of order");
    entries[0].row = 0;
    assert_error(ant_results_write(&plan, NULL, NULL, &n_ok, &n_failed, &err), ANT_EBUG,
                 "out of order");
    entries[1].row = 1;
    plan.n_entries = 3;
    assert_error(ant_results_write(&plan, NULL, NULL, &n_ok, &n_failed, &err), ANT_EBUG,
                 "row 5, sample 0 is not one of 5 x 1");
}

/* The slices of any number of ranks lie side by side in every column and are fairly equal. */
static void slices_tile_the_file(void **state)
{
    (void)state;
    static const int64_t counts[] = {0, 1, 2, 7, 100};
    struct ant_journal_entry entries[100] = {{0}};

    for (size_t c = 0; c < 5; c++) {
        size_t n_entries = 0;
        for (int64_t row = 0; row < counts[c]; row++)
            if (row % 4 != 1)
                entries[n_entries++] =
                    (struct ant_journal_entry){.row = row,
                                               .n_tokens = (uint32_t)(row * 13 % 50),
                                               .text_bytes = (uint32_t)(row * 7 % 500),
                                               .error_bytes = (uint32_t)(row % 3),
                                               .status = row % 3 ? ANT_STATUS_FAILED : 0};
        struct ant_results_plan plan = {.path = "x",
                                        .n_rows = counts[c],
                                        .n_samples = 1,
                                        .entries = entries,
                                        .n_entries = n_entries};
        for (int size = 1; size < 12; size++) {
            int64_t ends[ANT_N_COLUMNS] = {0}, totals[ANT_N_COLUMNS] = {0};
            size_t entry_end = 0;
            for (int rank = 0; rank < size; rank++) {
                struct ant_results_layout layout;
                succeed(ant_results_lay_out(&layout, &plan, rank, size, &err));
                if (layout.n > 0) {
                    assert_int_equal(layout.first_entry, entry_end);
                    entry_end += layout.n_entries;
                }
                if (counts[c] == 100)
                    assert_true(layout.n > 0);
                for (int i = 0; i < ANT_N_COLUMNS; i++) {
                    if (layout.columns[i].n > 0)
                        assert_int_equal(layout.columns[i].first, ends[i]);
                    ends[i] += layout.columns[i].n;
                    totals[i] = layout.columns[i].total;
                }
            }
            assert_memory_equal(ends, totals, sizeof(ends));
            assert_int_equal(entry_end, n_entries);
        }
    }
}

static void space_is_checked_before(void **state)
{
    (void)state;

    succeed(ant_results_check_space(out, 1, &err));
    succeed(ant_results_check_space("relative.h5", 1, &err));
    assert_error(ant_results_check_space(out, INT64_MAX, &err), ANT_EIO, "needs 92233720368");
    assert_error(ant_results_check_space("/nonexistent/x", 1, &err), ANT_ENOENT, "/nonexistent/");
}

static void other_files_are_refused(void **state)
{
    (void)state;
    struct ant_results *results;

    make_input(0, 3);
    assert_error(ant_results_open(&results, input, &err), ANT_EDATA, "is no results file");
    assert_error(ant_results_open(&results, out, &err), ANT_ENOENT, "cannot open '");
    hid_t file = H5Fcreate(out, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    int64_t one = 1;
    h5_put_text_attribute(file, "schema", "antiphon-results");
    h5_put_attribute(file, "version", H5T_NATIVE_INT64, &one);
    H5Fclose(file);
    assert_error(ant_results_open(&results, out, &err), ANT_EDATA, "has no attribute 'complete'");
    file = H5Fopen(out, H5F_ACC_RDWR, H5P_DEFAULT);
    h5_put_attribute(file, "complete", H5T_NATIVE_INT64, &one);
    h5_put_attribute(file, "n_samples", H5T_NATIVE_INT64, &one);
    h5_put_attribute(file, "n_ok", H5T_NATIVE_INT64, &one);
    h5_put_attribute(file, "n_failed", H5T_NATIVE_INT64, &one);
    H5Fclose(file);
    assert_error(ant_results_open(&results, out, &err), ANT_EDATA, "has no dataset '/results/row'");
}

/* Offsets and numbers that lie are that result's error, not a crash. */
static void lying_offsets_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *dataset;
        int64_t value;
        const char *text;
    } lies[] = {{"/results/text_offsets", INT64_MAX, "are no range of"},
                {"/results/text_offsets", -1, "are no range of"},
                {"/results/tokens_offsets", 1000000, "are no range of"},
                {"/results/error_offsets", INT64_MIN, "are no range of"},
                {"/results/row", -5, "-5 is not possible"}};
    struct ant_journal_entry *entries;
    struct ant_answer answer;
    int64_t n_ok, n_failed;

    prepare(10, 1);
    journal_rows(0, 0, 1, 10, 1);
    struct ant_results_plan plan = plan_of(10, 1, &entries);
    for (size_t i = 0; i < sizeof(lies) / sizeof(*lies); i++) {
        struct ant_results *results;
        hsize_t at = 5, one = 1;
        succeed(ant_results_write(&plan, NULL, NULL, &n_ok, &n_failed, &err));
        hid_t file = H5Fopen(out, H5F_ACC_RDWR, H5P_DEFAULT);
        hid_t dataset = H5Dopen2(file, lies[i].dataset, H5P_DEFAULT);
        hid_t space = H5Dget_space(dataset), memory = H5Screate_simple(1, &one, NULL);
        H5Sselect_hyperslab(space, H5S_SELECT_SET, &at, NULL, &one, NULL);
        H5Dwrite(dataset, H5T_NATIVE_INT64, memory, space, H5P_DEFAULT, &lies[i].value);
        H5Sclose(memory);
        H5Sclose(space);
        H5Dclose(dataset);
        H5Fclose(file);
        succeed(ant_results_open(&results, out, &err));
        succeed(ant_results_read(results, 3, &answer, &err));
        assert_error(ant_results_read(results, 5, &answer, &err), ANT_EDATA, lies[i].text);
        succeed(ant_results_read(results, 7, &answer, &err));
        ant_results_close(results);
    }
    free(entries);
}

static void versions_are_told(void **state)
{
    (void)state;

    assert_non_null(strstr(ant_store_versions(), "HDF5 "));
#ifdef HAVE_PARALLEL_HDF5
    assert_non_null(strstr(ant_store_versions(), ", MPI-IO of "));
#else
    assert_error(ant_store_start(2, &err), ANT_EUNSUPP, "no parallel HDF5");
#endif
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(every_row_comes_back),
        TEST(missing_rows_make_it_incomplete),
        TEST(missing_shards_are_named),
        TEST(no_rows_at_all),
        TEST(large_answers),
        TEST(ids_are_copied),
        TEST(failures_leave_nothing_behind),
        TEST(a_bad_plan_is_our_bug),
        TEST(slices_tile_the_file),
        TEST(space_is_checked_before),
        TEST(other_files_are_refused),
        TEST(lying_offsets_are_refused),
        TEST(versions_are_told),
    };
    return cmocka_run_group_tests_name("results", tests, NULL, NULL);
}
