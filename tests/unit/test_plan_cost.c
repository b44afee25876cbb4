/* SPDX-License-Identifier: Apache-2.0 */
/* What antiphon plan reckons a step with, by machines so simple that the sum is known: weights of
 * few rows by bytes and the slower of memory and cores, weights of a type each, cores that share
 * memory, and a machine that was measured. */
#include "config.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "cli/plan.h"

static void is_near(double is, double should)
{
    if (!(fabs(is - should) <= 0.01 * should))
        fail_msg("%g is not about %g", is, should);
}

/* Reads a byte a nanosecond, and all else takes next to nothing. */
static struct plan_machine reader(void)
{
    return (struct plan_machine){.is_host = true,
                                 .memory = 1e12,
                                 .flops = {1e18, 1e18},
                                 .expert_flops = 1e18,
                                 .bandwidth = 1e9,
                                 .least = 1,
                                 .most = 1,
                                 .kv_bandwidth = 1e18,
                                 .prefill_flops = 1e18,
                                 .element_bandwidth = 1e18,
                                 .kv_share = 0.8};
}

static const struct plan_layout alone = {.dp = 1, .tp = 1, .pp = 1};

static void open_memory(struct plan_memory *memory, const struct plan_machine *machine,
                        const char *shape, enum ant_type type)
{
    const struct ant_engine_config config = {.max_seqs = 4, .max_step_rows = 64, .max_context = 64};
    struct ant_checkpoint *checkpoint;
    struct ant_error err = {{0}};

    if (ant_checkpoint_open_shape(&checkpoint, shape, type, &err) < 0 ||
        ant_plan_memory(memory, checkpoint, machine, &alone, &config, &err) < 0)
        fail_msg("%s", err.text);
    ant_checkpoint_close(checkpoint);
}

/* A step of one row that is drawn from. */
static double one_row(const struct plan_memory *memory, const struct plan_machine *machine,
                      struct plan_cost *cost)
{
    int32_t zero = 0, row_start[2] = {0, 1}, page_start[2] = {0, 1}, context = 1;
    const struct ant_batch batch = {.n_rows = 1,
                                    .n_seqs = 1,
                                    .n_sampled = 1,
                                    .tokens = &zero,
                                    .positions = &zero,
                                    .row_start = row_start,
                                    .context = &context,
                                    .page_start = page_start,
                                    .pages = &zero,
                                    .sampled = &zero};

    *cost = (struct plan_cost){0};
    return ant_plan_step(cost, memory, machine, &alone, &batch);
}

static void weights_are_bytes_over_the_slower_rate(void **state)
{
    (void)state;
    struct plan_machine machine = reader();
    struct plan_memory memory;
    struct plan_cost cost;

    open_memory(&memory, &machine, "smollm2-135m", ANT_Q8_0); /* tied: all of it is read */
    is_near(memory.weights, 134.5e6 * 34 / 32);
    is_near(one_row(&memory, &machine, &cost), memory.weights / 1e9);
    is_near(cost.weights, memory.weights / 1e9);
    machine.streams[0] = 1;
    machine.streams[1] = 0.5e9; /* cores that ask for half of it; together with memory: */
    is_near(one_row(&memory, &machine, &cost), memory.weights / 1e9 * cbrt(9));
    machine.bandwidth = 1e18;
    is_near(one_row(&memory, &machine, &cost), memory.weights / 0.5e9);
    machine.op_s = 1e-3; /* 30 layers of 4 products and 4 others, and the vocabulary's */
    one_row(&memory, &machine, &cost);
    is_near(cost.operations, 241e-3);
}

static void the_vocabulary_has_a_type_of_its_own(void **state)
{
    (void)state;
    struct plan_machine machine = reader();
    struct plan_memory memory;
    struct plan_cost cost;

    open_memory(&memory, &machine, "qwen2.5-0.5b", ANT_BF16);
    double vocab = 151936.0 * 896, all = memory.weights;
    memory.output_bytes = 1;
    is_near(one_row(&memory, &machine, &cost), (all - vocab) / 1e9);
    machine.streams[0] = 0.5e9; /* that of wide types alone is slow */
    machine.streams[1] = 1e18;
    is_near(one_row(&memory, &machine, &cost), ((all - 2 * vocab) * cbrt(9) + vocab) / 1e9);
}

static void cores_share_memory(void **state)
{
    (void)state;
    struct plan_machine core = reader(), two, many;

    core.most_bandwidth = 10e9;
    core.streams[0] = core.streams[1] = 2e9;
    two = ant_plan_cores(&core, 2, 2);
    many = ant_plan_cores(&core, 40, 80); /* one of two ranks */
    is_near(two.bandwidth, 2e9);
    is_near(two.streams[1], 4e9);
    is_near(many.bandwidth, 5e9);
    is_near(many.streams[0], 80e9);
}

static void what_was_measured_counts(void **state)
{
    (void)state;
    static const char limits[] =
        "{\"device\": {\"backend\": \"cpu\", \"ranks\": 2, \"threads\": 4}, \"limits\": "
        "{\"read_bytes_per_s\": 48e9, \"usual_read_bytes_per_s\": 24e9, "
        "\"least_read_bytes_per_s\": 12e9, \"flops_per_s\": 16e9}}";
    struct plan_machine machine = reader();
    struct ant_error err = {{0}};
    char path[] = "/tmp/antiphon-test-XXXXXX";
    int fd = mkstemp(path);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, limits, sizeof limits - 1), sizeof limits - 1);
    close(fd);
    machine.peak = 1e9;
    machine.flops[0] = 7e8;
    int rc = ant_plan_measured(&machine, path, &err);
    unlink(path);
    if (rc < 0)
        fail_msg("%s", err.text);
    is_near(machine.bandwidth, 3e9); /* of one of eight cores, as memory usually was */
    is_near(machine.least, 0.5);
    is_near(machine.most, 2);
    is_near(machine.flops[0], 14e8);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(weights_are_bytes_over_the_slower_rate),
        cmocka_unit_test(the_vocabulary_has_a_type_of_its_own),
        cmocka_unit_test(cores_share_memory),
        cmocka_unit_test(what_was_measured_counts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
