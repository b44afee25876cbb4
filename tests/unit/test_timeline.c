/* SPDX-License-Identifier: Apache-2.0 */
/* What ranks did and when: lines in the journal's folder, fewer of them, and in results, where
 * reports of ranks and notes of provenance are beside them. */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/mem.h"
#include "store/results.h"
#include "store/timeline.h"

static char folder[] = "/tmp/antiphon-timeline-XXXXXX";
static char out[80];
static struct ant_error err;

static int set_up(void **state)
{
    char journal[100];

    (void)state;
    memset(folder + strlen(folder) - 6, 'X', 6);
    if (!mkdtemp(folder))
        return -1;
    snprintf(out, sizeof(out), "%s/out.h5", folder);
    snprintf(journal, sizeof(journal), "%s.journal", out);
    return mkdir(journal, 0777) < 0 ? -1 : ant_store_start(1, &err);
}

static int tear_down(void **state)
{
    char command[128];

    (void)state;
    snprintf(command, sizeof(command), "rm -rf '%s'", folder);
    return system(command);
}

static void succeed(int rc)
{
    if (rc < 0)
        fail_msg("%s", err.text);
}

static char *inside(const char *name)
{
    static char path[160];

    snprintf(path, sizeof(path), "%s.journal/%s", out, name);
    return path;
}

static void put_file(const char *name, const char *text)
{
    succeed(ant_file_write(inside(name), text, strlen(text), &err));
}

static struct ant_moment moment_at(int rank, int start, int i)
{
    return (struct ant_moment){.time = 1763868000.5 + i,
                               .start = start,
                               .rank = rank,
                               .dp_rank = rank,
                               .running = i % 7,
                               .prompt_tokens = 100L * i,
                               .output_tokens = 10L * i,
                               .rows = i,
                               .failed = i / 10,
                               .stolen = i / 20,
                               .left = 1000 - i,
                               .prefill_s = 0.25 * i,
                               .decode_s = 0.5 * i,
                               .idle_s = 0.125 * i};
}

static void write_timeline(int rank, int start, int n)
{
    struct ant_timeline_head head = {.rank = rank,
                                     .start = start,
                                     .dp_rank = rank,
                                     .dp_size = 4,
                                     .began = 1763868000.25,
                                     .answered = 7};
    struct ant_timeline *timeline;
    char name[40];

    snprintf(name, sizeof(name), "r%d.s%d.aj", rank, start);
    put_file(name, "");
    snprintf(head.host, sizeof(head.host), "node%d", rank);
    succeed(ant_timeline_open(&timeline, out, &head, &err));
    for (int i = 0; i < n; i++) {
        const struct ant_moment moment = moment_at(rank, start, i);
        succeed(ant_timeline_add(timeline, &moment, &err));
    }
    ant_timeline_close(timeline);
}

static void assert_moment(const struct ant_moment *is, const struct ant_moment *wanted)
{
    assert_true(is->time == wanted->time && is->prefill_s == wanted->prefill_s &&
                is->decode_s == wanted->decode_s && is->idle_s == wanted->idle_s);
    assert_int_equal(is->start, wanted->start);
    assert_int_equal(is->rank, wanted->rank);
    assert_int_equal(is->dp_rank, wanted->dp_rank);
    assert_int_equal(is->running, wanted->running);
    assert_int_equal(is->prompt_tokens, wanted->prompt_tokens);
    assert_int_equal(is->output_tokens, wanted->output_tokens);
    assert_int_equal(is->rows, wanted->rows);
    assert_int_equal(is->failed, wanted->failed);
    assert_int_equal(is->stolen, wanted->stolen);
    assert_int_equal(is->left, wanted->left);
}

static void test_written_and_read(void **state)
{
    struct ant_timeline_file *files = NULL;
    size_t n = 0;

    (void)state;
    write_timeline(2, 1, 3);
    write_timeline(0, 2, 1);
    write_timeline(0, 1, 200);
    put_file("r5.s1.aj", ""); /* ended before it answered */
    succeed(ant_timeline_read(&files, &n, out, 0, &err));
    assert_int_equal(n, 3);
    assert_int_equal(files[0].moments.n, 200);
    assert_int_equal(files[1].head.rank, 2);
    assert_int_equal(files[2].head.start, 2);
    assert_string_equal(files[1].head.host, "node2");
    assert_int_equal(files[1].head.dp_rank, 2);
    assert_int_equal(files[1].head.dp_size, 4);
    assert_true(files[1].head.began == 1763868000.25);
    assert_int_equal(files[1].head.answered, 7);
    for (int i = 0; i < 200; i++) {
        const struct ant_moment wanted = moment_at(0, 1, i);
        assert_moment(&files[0].moments.items[i], &wanted);
    }
    ant_timeline_release(files, n);
}

static void test_tail(void **state)
{
    struct ant_timeline_file *files = NULL;
    const struct ant_moment last = moment_at(0, 1, 199), first = moment_at(0, 1, 0);
    size_t n = 0;

    (void)state;
    write_timeline(0, 1, 200);
    succeed(ant_timeline_read(&files, &n, out, 1000, &err));
    assert_int_equal(n, 1);
    const struct ant_moments *moments = &files[0].moments;
    assert_in_range(moments->n, 20, 100);
    assert_moment(&moments->items[0], &first);
    assert_moment(&moments->items[moments->n - 1], &last);
    ant_timeline_release(files, n);
}

static void test_thinned(void **state)
{
    struct ant_moments moments = {0};
    const struct ant_moment first = moment_at(1, 2, 0), last = moment_at(1, 2, 999);

    (void)state;
    write_timeline(0, 1, 1000);
    write_timeline(1, 2, 1000);
    write_timeline(1, 3, 10);
    succeed(ant_timeline_collect(&moments, out, 3, ANT_MOMENTS_KEPT, &err));
    assert_in_range(moments.n, ANT_MOMENTS_KEPT, 2 * ANT_MOMENTS_KEPT - 1);
    assert_moment(&moments.items[moments.n / 2], &first);
    assert_moment(&moments.items[moments.n - 1], &last);
    for (int i = 0; i < 20; i++)
        ant_moments_thin(&moments);
    assert_int_equal(moments.n, 4); /* the ends of each */
    ant_moments_release(&moments);
}

#define HEAD "# antiphon 1, replica 0 of 1 on n1, began 5 with 0 answers\n"
#define NAMES                                                                                      \
    "time,prompt_tokens,output_tokens,rows,failed,stolen,left,running,prefill_s,decode_s,idle_s\n"
#define GOOD "6,1,2,3,0,0,4,1,0.5,0.5,0\n"

static void test_strange_files(void **state)
{
    static const struct {
        const char *text;
        int n_files, n_lines;
    } cases[] = {
        {"", 0, 0},
        {"\n\n", 0, 0},
        {HEAD, 0, 0},
        {HEAD NAMES, 1, 0},
        {HEAD "other,columns\n" GOOD, 0, 0},
        {"# antiphon 2, replica 0 of 1 on n1, began 5 with 0 answers\n" NAMES GOOD, 0, 0},
        {"# antiphon 1, replica 0 of 1 on n1, began nan with 0 answers\n" NAMES GOOD, 0, 0},
        {HEAD NAMES GOOD, 1, 1},
        {HEAD NAMES GOOD GOOD "6,1,2,3,0,0,4,1,0.5,0.5,0", 1, 2}, /* torn */
        {HEAD NAMES GOOD "6,1,2,3,0,0,4,1,0.5,0.5\n" GOOD, 1, 1},
        {HEAD NAMES GOOD "6,1,2,3,0,0,4,1,0.5,0.5,0,9\n" GOOD, 1, 1},
        {HEAD NAMES GOOD "6,-1,2,3,0,0,4,1,0.5,0.5,0\n" GOOD, 1, 1},
        {HEAD NAMES GOOD "6,99999999999999999999,2,3,0,0,4,1,0.5,0.5,0\n", 1, 1},
        {HEAD NAMES GOOD "6,1,2,3,0,0,4,1,nan,0.5,0\n", 1, 1},
        {HEAD NAMES GOOD "5,1,2,3,0,0,4,1,0.5,0.5,0\n" GOOD, 1, 2}, /* a clock set back */
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        struct ant_timeline_file *files = NULL;
        size_t n = 0;

        put_file("r0.s1.aj", "");
        put_file("r0.s1.csv", cases[i].text);
        succeed(ant_timeline_read(&files, &n, out, i % 2 ? 4096 : 0, &err));
        if ((int)n != cases[i].n_files || (n && (int)files[0].moments.n != cases[i].n_lines))
            fail_msg("case %zu: %zu files, %zu lines", i, n, n ? files[0].moments.n : 0);
        ant_timeline_release(files, n);
    }
}

static void test_no_folder(void **state)
{
    struct ant_timeline_file *files = NULL;
    size_t n = 1;
    char other[100];

    (void)state;
    snprintf(other, sizeof(other), "%s/other.h5", folder);
    succeed(ant_timeline_read(&files, &n, other, 0, &err));
    assert_int_equal(n, 0);
    ant_timeline_release(files, n);
}

static void test_removed_with_the_journal(void **state)
{
    (void)state;
    put_file("manifest.json", "{}");
    write_timeline(0, 1, 5);
    write_timeline(3, 2, 5);
    succeed(ant_journal_remove(out, &err));
    assert_int_equal(access(inside(""), F_OK), -1);
}

static void test_results(void **state)
{
    static const struct ant_rank_report reports[] = {
        {.rank = 0, .rows = 5, .prefill_s = 1.5, .host = "n1"},
        {.rank = 1, .dp_rank = 1, .rows = 6, .flops = 3e12, .peak_memory = 7, .host = "n2"},
    };
    static const struct ant_fact provenance[] = {
        {.name = "version", .kind = ANT_FACT_TEXT, .text = "9"},
        {.name = "ranks", .kind = ANT_FACT_INT, .integer = 2},
        {.name = "x", .kind = ANT_FACT_REAL, .real = 0.5},
    };
    struct ant_results_plan plan = {.path = out,
                                    .n_rows = 2,
                                    .n_samples = 1,
                                    .reports = reports,
                                    .n_reports = 2,
                                    .provenance = provenance,
                                    .n_provenance = 3};
    const struct ant_moment wanted = moment_at(1, 1, 4);
    int64_t n_ok, n_failed;
    struct ant_results *results;
    struct ant_rank_report *got = NULL;
    struct ant_moments moments = {0};
    struct ant_results_note *notes = NULL;
    struct ant_answer answer;
    size_t n = 0;

    (void)state;
    write_timeline(0, 1, 3);
    write_timeline(1, 1, 5);
    succeed(ant_timeline_collect(&plan.timeline, out, 2, ANT_MOMENTS_KEPT, &err));
    succeed(ant_results_write(&plan, NULL, NULL, &n_ok, &n_failed, &err));
    ant_moments_release(&plan.timeline);

    succeed(ant_results_open(&results, out, &err));
    succeed(ant_results_reports(results, &got, &n, &err));
    assert_int_equal(n, 2);
    assert_memory_equal(got, reports, sizeof(reports));
    free(got);
    succeed(ant_results_timeline(results, &moments, &err));
    assert_int_equal(moments.n, 8);
    assert_moment(&moments.items[7], &wanted);
    ant_moments_release(&moments);
    succeed(ant_results_notes(results, &notes, &n, &err));
    assert_int_equal(n, 3);
    assert_string_equal(notes[0].name, "ranks");
    assert_string_equal(notes[0].text, "2");
    assert_string_equal(notes[1].text, "9");
    assert_string_equal(notes[2].text, "0.5");
    ant_results_notes_release(notes, n);
    succeed(ant_results_read_numbers(results, 1, &answer, &err));
    assert_int_equal(answer.status, ANT_STATUS_MISSING);
    assert_int_equal(answer.row, 1);
    ant_results_close(results);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_written_and_read, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_tail, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_thinned, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_strange_files, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_no_folder, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_removed_with_the_journal, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_results, set_up, tear_down),
    };

    return cmocka_run_group_tests_name("store/timeline", tests, NULL, NULL);
}
