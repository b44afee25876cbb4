/* SPDX-License-Identifier: Apache-2.0 */
/* The workloads of bench: lengths as promised, prompts the same everywhere, figures of a median. */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cli/bench.h"

static const struct bench_work *find(const char *name)
{
    int n;
    const struct bench_work *works = ant_bench_works(&n);
    for (int i = 0; i < n; i++)
        if (strcmp(works[i].name, name) == 0)
            return &works[i];
    fail_msg("no workload %s", name);
    return NULL;
}

static void test_lengths(void **state)
{
    (void)state;
    int n_prompt, n_output;
    ant_bench_lengths(find("batch"), 200, &n_prompt, &n_output);
    assert_int_equal(n_prompt, 128);
    assert_int_equal(n_output, 128);
    ant_bench_lengths(find("W6"), 3, &n_prompt, &n_output);
    assert_int_equal(n_prompt, 1088);
    assert_int_equal(n_output, 64);
}

/* The published means of the 256 conversations, and no correlation to speak of. */
static void test_mix(void **state)
{
    (void)state;
    const struct bench_work *mix = find("mix");
    double in = 0, out = 0, in2 = 0, out2 = 0, both = 0;
    for (int i = 0; i < mix->n; i++) {
        int n_prompt, n_output;
        ant_bench_lengths(mix, i, &n_prompt, &n_output);
        assert_in_range(n_prompt, 4, 470);
        assert_in_range(n_output, 6, 506);
        in += n_prompt, out += n_output;
        in2 += n_prompt * n_prompt, out2 += n_output * n_output, both += n_prompt * n_output;
    }
    in /= mix->n, out /= mix->n;
    assert_true(in > 74 && in < 78);
    assert_true(out > 227 && out < 233);
    double cov = both / mix->n - in * out;
    double variances = (in2 / mix->n - in * in) * (out2 / mix->n - out * out);
    assert_true(cov * cov < 0.1 * 0.1 * variances);

    /* Lengths of one's own keep the form. */
    struct bench_work shorter = *mix;
    shorter.in = 47;
    double sum = 0;
    for (int i = 0; i < mix->n; i++) {
        int n_prompt, n_output;
        ant_bench_lengths(&shorter, i, &n_prompt, &n_output);
        assert_in_range(n_prompt, 1, 47);
        sum += n_prompt;
    }
    assert_true(sum / mix->n > 7 && sum / mix->n < 8.5);
}

static void test_prompts(void **state)
{
    (void)state;
    const struct bench_work work = {"this", .n = 2, .shared = 40, .in = 20, .out = 1};
    const struct bench_work another = {"that", .n = 2, .shared = 40, .in = 20, .out = 1};
    int32_t *a = ant_bench_prompt(&work, 1000, 1, 0), *same = ant_bench_prompt(&work, 1000, 1, 0);
    int32_t *b = ant_bench_prompt(&work, 1000, 1, 1), *later = ant_bench_prompt(&work, 1000, 2, 0);
    assert_memory_equal(a, same, 60 * sizeof *a);
    assert_memory_equal(a, b, 40 * sizeof *a);
    assert_memory_not_equal(a + 40, b + 40, 20 * sizeof *a);
    assert_memory_not_equal(a, later, 40 * sizeof *a);
    for (int i = 0; i < 60; i++)
        assert_in_range(a[i], 256, 999);
    free(a), free(same), free(b), free(later);

    int32_t *other = ant_bench_prompt(&another, 1000, 1, 0);
    assert_memory_not_equal(a, other, 40 * sizeof(*a)); /* nothing of it helps this one */
    free(other);
    int32_t *small = ant_bench_prompt(&work, 3, 1, 0); /* any vocabulary */
    for (int i = 0; i < 60; i++)
        assert_in_range(small[i], 0, 2);
    free(small);
}

static void test_figures(void **state)
{
    (void)state;
    struct bench_sample samples[] = {{.wall_s = 3}, {.wall_s = 1}, {.wall_s = 2}};
    struct bench_result result = {.samples = samples, .n_samples = 3};
    assert_ptr_equal(ant_bench_median(&result), &samples[2]);
    struct bench_limits limits = {.bandwidth = 10};
    struct bench_sample sample = {.weight_bytes = 15, .kv_bytes = 5};
    assert_true(ant_bench_floor(&limits, &sample) == 2);
    sample.flops = 300;
    limits.flops = 100; /* the longer of the two */
    assert_true(ant_bench_floor(&limits, &sample) == 3);
    limits = (struct bench_limits){0};
    assert_true(ant_bench_floor(&limits, &sample) == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lengths),
        cmocka_unit_test(test_mix),
        cmocka_unit_test(test_prompts),
        cmocka_unit_test(test_figures),
    };
    return cmocka_run_group_tests_name("bench", tests, NULL, NULL);
}
