/* SPDX-License-Identifier: Apache-2.0 */
/* Machines, as data. h100, h200, zen4 and amx were measured (BENCHMARKS); the others are their
 * makers' data sheets times the share that an H100, or Zen 4, reaches of its own:
 *     H100 SXM   989 TFLOP/s dense bf16, 3.35 TB/s, 80 GB, 700 W     NVIDIA H100 data sheet
 *     H200 SXM   989 TFLOP/s, 4.8 TB/s, 141 GB, 700 W                NVIDIA H200 data sheet
 *     A100 SXM   312 TFLOP/s, 2.04 TB/s (80 GB), 1.56 (40), 400 W    NVIDIA A100 data sheet
 *     L40S       362 TFLOP/s, 0.86 TB/s, 48 GB, PCIe 4, 350 W        NVIDIA L40S data sheet
 *     B200 SXM   2250 TFLOP/s, 8.0 TB/s, 180 GB, 1000 W              NVIDIA HGX data sheet
 * The H100 reaches 73 % of its products under its power limit, 90 % of its memory's rate. Products
 * of experts reach two thirds of that (BENCHMARKS). A watt of that limit moves 6 GB/s: reading 3.7
 * TB/s an H200 takes 580 to 650 W, so that it cannot also multiply at its best. Free memory is a
 * little less than what is printed on the box. Of hosts a row is one core. What two of them read of
 * memory together was 28 to 63 GB/s within an hour on a virtual Zen 4, usually 36; their products
 * of few rows ask for 38 at most, those of 8 and fewer bits by AVX2 for 24. */
#include "config.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include <jansson.h>

#include "cli/plan.h"

#define T 1e12
#define G 1e9

#define GPU(name_, source_, memory_, watts_, flops_, bandwidth_, attn_, link_, sum_)               \
    {                                                                                              \
        .name = name_, .source = source_, .memory = memory_, .flops = {flops_, flops_},            \
        .expert_flops = 0.67 * (flops_), .bandwidth = bandwidth_, .least = 1, .most = 1,           \
        .kv_bandwidth = 0.95 * (bandwidth_), .prefill_flops = attn_,                               \
        .element_bandwidth = 0.87 * (bandwidth_), .op_s = 2.1e-6,                                  \
        .power_bandwidth = 6 * G * (watts_), .link_bandwidth = link_, .link_s = 19e-6,             \
        .sum_bandwidth = sum_, .sum_s = 8e-6, .default_seqs = 1024, .many_seqs = 2048,             \
        .default_rows = 8448, .kv_share = 0.98                                                     \
    }
#define CORE(name_, source_, peak_, flops16, flops8, bandwidth_, streams16, streams8, most_,       \
             prefill_, decode_, elements_)                                                         \
    {                                                                                              \
        .name = name_, .source = source_, .is_host = true, .memory = 4 * G, .peak = peak_,         \
        .flops = {flops16, flops8}, .expert_flops = flops16, .bandwidth = bandwidth_,              \
        .streams = {streams16, streams8}, .least = 0.75, .most = 1.6, .most_bandwidth = most_,     \
        .kv_bandwidth = bandwidth_, .prefill_flops = prefill_, .decode_flops = decode_,            \
        .element_bandwidth = elements_, .op_s = 1e-6, .link_bandwidth = 3 * G, .link_s = 60e-6,    \
        .sum_bandwidth = 3 * G, .sum_s = 60e-6, .default_seqs = 256, .many_seqs = 256,             \
        .default_rows = 512, .kv_share = 0.8                                                       \
    }

static const char measured[] = "measured", sheet[] = "by its data sheet";

static const struct plan_machine machines[] = {
    GPU("a100-40", sheet, 42 * G, 400, 228 * T, 1.40 * T, 125 * T, 150 * G, 230 * G),
    GPU("a100", sheet, 84 * G, 400, 228 * T, 1.84 * T, 125 * T, 150 * G, 230 * G),
    GPU("l40s", sheet, 47 * G, 350, 264 * T, 0.78 * T, 145 * T, 20 * G, 24 * G),
    GPU("h100", measured, 85.1 * G, 700, 720 * T, 3.02 * T, 390 * T, 180 * G, 340 * G),
    GPU("h200", measured, 150 * G, 700, 720 * T, 4.2 * T, 390 * T, 180 * G, 340 * G),
    GPU("b200", sheet, 190 * G, 1000, 1640 * T, 7.2 * T, 890 * T, 360 * G, 680 * G),
    CORE("zen4", "measured on two cores", 236 * G, 204 * G, 185 * G, 18 * G, 19 * G, 19 * G,
         400 * G, 110 * G, 34 * G, 6.7 * G),
    CORE("amx", "measured where speed varied by half", 0, 300 * G, 180 * G, 18 * G, 19 * G, 19 * G,
         250 * G, 110 * G, 34 * G, 6.7 * G),
    CORE("avx512", "Zen 4's without its bf16", 0, 95 * G, 130 * G, 18 * G, 19 * G, 19 * G, 180 * G,
         73 * G, 30 * G, 6.1 * G),
    CORE("avx2", "products measured, the rest Zen 4's", 114 * G, 90 * G, 90 * G, 18 * G, 19 * G,
         12 * G, 150 * G, 61 * G, 27 * G, 5.8 * G),
};

const struct plan_machine *ant_plan_machine(const char *name, char *known, size_t bytes)
{
    size_t used = 0;

    *known = '\0';
    for (size_t i = 0; i < sizeof(machines) / sizeof(*machines); i++) {
        if (strcmp(machines[i].name, name) == 0)
            return &machines[i];
        if (used < bytes)
            used += (size_t)snprintf(known + used, bytes - used, "%s%s", used ? ", " : "",
                                     machines[i].name);
    }
    return NULL;
}

static double number_of(const json_t *root, const char *object, const char *name)
{
    return json_number_value(json_object_get(json_object_get(root, object), name));
}

int ant_plan_measured(struct plan_machine *machine, const char *path, struct ant_error *err)
{
    json_error_t why;
    json_t *root = json_load_file(path, 0, &why);

    if (!root)
        return ant_fail(err, ANT_EDATA, "'%s' is not JSON of antiphon bench: %s", path, why.text);
    const char *backend =
        json_string_value(json_object_get(json_object_get(root, "device"), "backend"));
    bool is_host = backend && strcmp(backend, "cpu") == 0;
    double units =
        number_of(root, "device", "ranks") * (is_host ? number_of(root, "device", "threads") : 1);
    double best = number_of(root, "limits", "read_bytes_per_s");
    double usual = number_of(root, "limits", "usual_read_bytes_per_s");
    double least = number_of(root, "limits", "least_read_bytes_per_s");
    double read = is_host && usual > 0 ? usual : best;
    double flops = number_of(root, "limits", "flops_per_s");
    json_decref(root);
    if (!backend || units < 1)
        return ant_fail(err, ANT_EDATA, "'%s' is not JSON of antiphon bench", path);
    if (is_host != machine->is_host)
        return ant_fail(err, ANT_EUSAGE, "'%s' was measured on a %s, not on %s", path,
                        is_host ? "host" : "GPU", machine->name);
    double faster = read > 0 ? read / units / machine->bandwidth : 1;
    double stronger = machine->peak > 0 && flops > 0 ? flops / units / machine->peak : 1;
    machine->bandwidth *= faster;
    machine->least = least > 0 && is_host ? least / read : 1;
    machine->most = best > 0 && is_host ? best / read : 1;
    for (int i = 0; i < 2; i++)
        machine->flops[i] *= stronger;
    machine->expert_flops *= stronger;
    machine->kv_bandwidth *= faster;
    machine->element_bandwidth *= is_host ? stronger : faster;
    machine->prefill_flops *= stronger;
    machine->decode_flops *= stronger;
    machine->most_bandwidth = fmax(machine->most_bandwidth, read);
    machine->source = "scaled to what was measured";
    return 0;
}

/* Cores share the way to memory: many of them do not have each what one alone has. */
struct plan_machine ant_plan_cores(const struct plan_machine *core, int cores, int all)
{
    struct plan_machine rank = *core;
    double share = fmin(1, core->most_bandwidth / (core->bandwidth * all));

    rank.memory *= cores;
    rank.flops[0] *= cores;
    rank.flops[1] *= cores;
    rank.expert_flops *= cores;
    rank.bandwidth *= cores * share;
    rank.streams[0] *= cores;
    rank.streams[1] *= cores;
    rank.kv_bandwidth *= cores * share;
    rank.prefill_flops *= cores;
    rank.decode_flops *= cores;
    rank.element_bandwidth *= cores * share;
    return rank;
}
