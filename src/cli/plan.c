/* SPDX-License-Identifier: Apache-2.0 */
/* antiphon plan: on a login node, what a job will need and take. */
#include "config.h"

#include "cli/plan.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/clock.h"
#include "cli/cli.h"
#include "cli/plan_input.h"
#include "cli/run.h"

/* The start of a rank on a GPU: products are planned, graphs captured; and how fast a host reads a
 * model from a shared file system. */
#define GPU_START_S    6.0
#define HOST_START_S   0.5
#define READ_BANDWIDTH 2e9

enum { MOST_CANDIDATES = 64, SHOWN = 8 };

struct plan_settings {
    struct plan_input_settings input;
    const char *gpus, *cpus, *measured, *json;
    int per_node, nodes, ranks_per_node;
    int dp, tp, pp;
    bool ep, no_prefix_sharing;
    int ep_scope; /* of ant_run_ep_scopes */
    int max_model_len, max_seqs, max_rows;
    int64_t memory;
};

#define AT(member) offsetof(struct plan_settings, member)

static const struct ant_option options[] = {
    {ANT_OPTION_HEADING, .name = "What to answer"},
    {ANT_OPTION_TEXT, 'm', "model", "PATH", AT(input.model),
     .help = "GGUF file, or Hugging Face folder."},
    {ANT_OPTION_TEXT, 0, "dummy", "SHAPE", AT(input.dummy),
     .help =
         "Instead, a model that need not be there: a config.json, a folder with one, or a known "
         "shape such as llama-3.1-8b, llama-3.1-70b, mixtral-8x7b."},
    {ANT_OPTION_CHOICE, 0, "dummy-type", "TYPE", AT(input.dummy_type),
     .choices = ant_plan_dummy_types,
     .help = "Of its weights: bf16 (default), f16, f32, q8_0, q4_0."},
    {ANT_OPTION_TEXT, 'i', "input", "FILE[:/PATH]", AT(input.input),
     .help = "Prompts: a sample of them is read and, where they are texts, tokenized."},
    {ANT_OPTION_FLAG, 0, "chat", NULL, AT(input.chat),
     .help = "They are taken as messages of a user, as antiphon run --chat does."},
    {ANT_OPTION_INT64, 0, "prompts", "N", AT(input.n), 1, 1e12,
     .help = "Instead of --input, so many prompts,"},
    {ANT_OPTION_INT, 0, "in", "N", AT(input.in), 1, 1 << 24,
     .help = "each of so many tokens (default 512),"},
    {ANT_OPTION_INT, 0, "shared", "N", AT(input.shared), 0, 1 << 24,
     .help = "behind so many more that all begin with (default 0)."},
    {ANT_OPTION_INT, 0, "max-tokens", "N", AT(input.max_tokens), 1, 1 << 24,
     .help = "Most tokens of an answer, where the prompt does not say. Default 256."},
    {ANT_OPTION_INT, 0, "out", "N", AT(input.out), 1, 1 << 24,
     .help = "How long answers will be on average. Default: as long as they may."},
    {ANT_OPTION_INT, 0, "samples", "N", AT(input.samples), 1, 65535,
     .help = "Answers to each prompt. Default 1."},

    {ANT_OPTION_HEADING, .name = "On what"},
    {ANT_OPTION_TEXT, 'g', "gpus", "KIND:N", AT(gpus),
     .help = "So many GPUs in all: a100-40, a100, l40s, h100, h200 or b200."},
    {ANT_OPTION_TEXT, 'c', "cpus", "KIND:N", AT(cpus),
     .help = "Or so many cores of a node: zen4, amx, avx512 or avx2."},
    {ANT_OPTION_INT, 0, "nodes", "N", AT(nodes), 1, 1 << 16, .help = "With --cpus. Default 1."},
    {ANT_OPTION_INT, 0, "per-node", "N", AT(per_node), 1, 1024,
     .help = "GPUs of a node (default 8), or ranks (default one for 16 cores)."},
    {ANT_OPTION_TEXT, 0, "measured", "FILE", AT(measured),
     .help =
         "What 'antiphon bench --json FILE' has found out on such a machine: its rates of memory "
         "and products take the place of the kind's."},
    {ANT_OPTION_BYTES, 0, "memory", "BYTES", AT(memory), 0, 1e18,
     .help = "Free memory of a GPU, or of a node. Default: the kind's; 4 GB for each core."},

    {ANT_OPTION_HEADING, .name = "How"},
    {ANT_OPTION_INT, 0, "dp-size", "N", AT(dp), 1, 1 << 20,
     .help = "Only layouts with so many replicas. Default: whichever is fastest."},
    {ANT_OPTION_INT, 0, "tp-size", "N", AT(tp), 1, 1024, .help = "Likewise."},
    {ANT_OPTION_INT, 0, "pp-size", "N", AT(pp), 1, 1024, .help = "Likewise."},
    {ANT_OPTION_FLAG, 0, "enable-ep", NULL, AT(ep),
     .help = "Whole experts to each of the ranks that share a layer."},
    {ANT_OPTION_CHOICE, 0, "ep-scope", "WHO", AT(ep_scope), .choices = ant_run_ep_scopes,
     .help = "Experts are shared by the ranks of a replica (default) or of the job."},
    {ANT_OPTION_INT, 0, "max-model-len", "N", AT(max_model_len), 1, 1 << 24,
     .help = "Longest prompt and answer together. Default: what the model was made for."},
    {ANT_OPTION_INT, 0, "max-num-seqs", "N", AT(max_seqs), 1, 1 << 20,
     .help =
         "Prompts in flight at once on a rank. Default 256, on a GPU 1024, of mixtures and small "
         "models 2048."},
    {ANT_OPTION_INT, 0, "max-num-batched-tokens", "N", AT(max_rows), 1, 1 << 20,
     .help = "Most rows of one step. Default 512, on a GPU 8448."},
    {ANT_OPTION_FLAG, 0, "no-prefix-sharing", NULL, AT(no_prefix_sharing),
     .help = "Compute every prompt whole, also where it begins like another one."},
    {ANT_OPTION_TEXT, 0, "json", "FILE", AT(json),
     .help = "Write the plan as JSON; - is standard output, without the table."},
    {0},
};

static const struct ant_command_help help = {
    .name = "plan",
    .summary = "what a job will need and take",
    .synopsis = "(--model PATH | --dummy SHAPE) (--input FILE | --prompts N --in N) "
                "(--gpus KIND:N | --cpus KIND:N) [options]",
    .purpose = "Say, on any machine, what a job will need and how long it will take: memory of a "
               "rank, room in the cache, the fastest way to share the model out, time and "
               "node-hours, and the job template that does it.",
    .epilog =
        "The engine's own scheduler is run over a sample of the prompts, and each of its steps "
        "is given the time of a roofline: products, reading of weights and cache, what ranks "
        "of a replica wait for each other. Rates of machines were measured or follow from "
        "their data sheets, as the table says; with measured ones times were within 20 % of runs "
        "(see BENCHMARKS). Few answers on CPUs take what memory allows, which others on the host "
        "change: then a range is told, too.",
};

/* ---- what there is to compute on ------------------------------------------------------------- */

struct site {
    struct plan_machine machine; /* of a rank */
    int ranks, per_node, nodes;
    int cores; /* of a rank; 0: a GPU */
};

/* KIND:N */
static int parse_kind(const char *text, const char *option, const struct plan_machine **kind,
                      int *n, bool is_host, struct ant_error *err)
{
    const char *colon = strchr(text, ':');
    char known[256], end = '\0';

    if (!colon || sscanf(colon + 1, "%d%c", n, &end) != 1 || *n < 1 || *n > 1 << 20)
        return ant_fail(err, ANT_EUSAGE, "%s '%s' is not a kind and a number, such as %s", option,
                        text, is_host ? "zen4:128" : "h100:8");
    char *name = ant_xstrndup(text, (size_t)(colon - text));
    *kind = ant_plan_machine(name, known, sizeof(known));
    int rc = 0;
    if (!*kind)
        rc = ant_fail(err, ANT_EUSAGE, "%s: '%s' is not one of %s", option, name, known);
    else if ((*kind)->is_host != is_host)
        rc = ant_fail(err, ANT_EUSAGE, "%s: '%s' is a kind of %s", option, name,
                      is_host ? "GPU" : "core");
    free(name);
    return rc;
}

static int find_site(struct site *out, const struct plan_settings *settings, struct ant_error *err)
{
    const struct plan_machine *kind;
    int n;

    if (!settings->gpus == !settings->cpus)
        return ant_fail(err, ANT_EUSAGE, "one of --gpus and --cpus is needed");
    *out = (struct site){0};
    if (settings->gpus)
        ANT_TRY(parse_kind(settings->gpus, "--gpus", &kind, &n, false, err));
    else
        ANT_TRY(parse_kind(settings->cpus, "--cpus", &kind, &n, true, err));
    struct plan_machine machine = *kind;
    if (settings->measured)
        ANT_TRY(ant_plan_measured(&machine, settings->measured, err));
    if (settings->gpus) {
        out->machine = machine;
        out->ranks = n;
        out->per_node = settings->per_node ? settings->per_node : 8;
        out->per_node = out->per_node < n ? out->per_node : n;
        out->nodes = (n + out->per_node - 1) / out->per_node;
        if (settings->memory)
            out->machine.memory = (double)settings->memory;
        return 0;
    }
    out->nodes = settings->nodes;
    out->per_node = settings->per_node ? settings->per_node : (n + 15) / 16;
    if (out->per_node > n)
        return ant_fail(err, ANT_EUSAGE, "%d ranks have less than a core each of %d", out->per_node,
                        n);
    out->cores = n / out->per_node;
    out->ranks = out->per_node * out->nodes;
    out->machine = ant_plan_cores(&machine, out->cores, n);
    if (settings->memory)
        out->machine.memory = (double)settings->memory / out->per_node;
    return 0;
}

/* ---- ways to share the model out ------------------------------------------------------------- */

struct candidate {
    struct plan_layout layout;
    struct plan_memory memory;
    struct plan_result result;
    double start_s; /* until the first token */
};

static int compare_candidates(const void *a, const void *b)
{
    const struct candidate *x = a, *y = b;
    double tx = x->start_s + x->result.seconds, ty = y->start_s + y->result.seconds;

    return (tx > ty) - (tx < ty);
}

struct plan {
    const struct plan_settings *settings;
    struct site site;
    struct ant_checkpoint *checkpoint;
    struct plan_work work;
    struct ant_engine_config config;
    struct candidate *candidates; /* owned, the fastest first */
    int n_candidates;
    double least_s, most_s; /* of the best one's answers, as memory was seen to differ */
};

static void try_layout(struct plan *plan, int tp, int pp, struct ant_error *why)
{
    struct candidate *candidate = &plan->candidates[plan->n_candidates];
    const struct site *site = &plan->site;
    const struct plan_settings *settings = plan->settings;

    if (plan->n_candidates == MOST_CANDIDATES || site->ranks % (tp * pp) != 0)
        return;
    candidate->layout = (struct plan_layout){.dp = site->ranks / (tp * pp), .tp = tp, .pp = pp};
    if (settings->ep)
        candidate->layout.ep = settings->ep_scope ? ANT_EP_JOB : ANT_EP_REPLICA;
    if ((settings->dp && settings->dp != candidate->layout.dp) ||
        (settings->tp && settings->tp != tp) || (settings->pp && settings->pp != pp))
        return;
    if (ant_plan_memory(&candidate->memory, plan->checkpoint, &site->machine, &candidate->layout,
                        &plan->config, why) < 0)
        return;
    ant_plan_run(&candidate->result, &candidate->memory, &site->machine, &candidate->layout,
                 &plan->config, &plan->work);
    double a_node = candidate->memory.weights * (site->cores                ? 1
                                                 : tp * pp < site->per_node ? tp * pp
                                                                            : site->per_node);
    candidate->start_s = (site->cores ? HOST_START_S : GPU_START_S) + a_node / READ_BANDWIDTH;
    plan->n_candidates++;
}

static void try_stages(struct plan *plan, int pp, struct ant_error *why)
{
    const struct site *site = &plan->site;

    for (int tp = 1; tp <= site->per_node && tp * pp <= site->ranks; tp++)
        if ((tp & (tp - 1)) == 0 || plan->settings->tp == tp)
            try_layout(plan, tp, pp, why);
}

static double cached_tokens(const struct candidate *candidate)
{
    return (double)candidate->memory.n_pages * candidate->layout.dp;
}

/* Of those that are about as fast the one that shares least comes first, for it depends on less;
 * unless it is short of memory, where a little more than is reckoned here costs much. */
static void prefer_simple(struct plan *plan)
{
    struct candidate *all = plan->candidates, best;
    double limit = 1.03 * (all->start_s + all->result.seconds);
    int chosen = 0;

    for (int i = 1; i < plan->n_candidates; i++)
        if (all[i].start_s + all[i].result.seconds < limit &&
            cached_tokens(&all[i]) > cached_tokens(all) / 2 &&
            all[i].layout.tp * all[i].layout.pp < all[chosen].layout.tp * all[chosen].layout.pp)
            chosen = i;
    best = all[chosen];
    memmove(all + 1, all, (size_t)chosen * sizeof(*all));
    *all = best;
}

/* Layers are shared within a node alone, whose GPUs are linked. Stages are tried where the model
 * does not fit otherwise, or that many are asked for. */
static int try_layouts(struct plan *plan, struct ant_error *err)
{
    const struct ant_arch *arch = ant_checkpoint_arch(plan->checkpoint);
    int asked = plan->settings->pp, ranks = plan->site.ranks;
    struct ant_error why = {{0}};

    plan->candidates = ant_xcalloc(MOST_CANDIDATES + 1, sizeof(*plan->candidates));
    try_stages(plan, asked ? asked : 1, &why);
    for (int pp = 2; pp <= arch->n_layers && !asked && plan->n_candidates == 0; pp *= 2)
        try_stages(plan, pp, &why);
    if (plan->n_candidates == 0)
        return *why.text ? ant_fail(err, ANT_EUSAGE, "no way fits %d ranks: %s", ranks, why.text)
                         : ant_fail(err, ANT_EUSAGE, "%d ranks cannot be shared out so", ranks);
    qsort(plan->candidates, (size_t)plan->n_candidates, sizeof(*plan->candidates),
          compare_candidates);
    prefer_simple(plan);
    return 0;
}

/* How long the best one's answers take where memory is so many times as fast. */
static double seconds_at(const struct plan *plan, double times)
{
    struct plan_machine machine = plan->site.machine;
    const struct candidate *best = plan->candidates;
    struct plan_result result;

    if (times == 1)
        return best->result.seconds;
    machine.bandwidth *= times;
    machine.kv_bandwidth *= times;
    ant_plan_run(&result, &best->memory, &machine, &best->layout, &plan->config, &plan->work);
    return result.seconds;
}

/* ---- telling --------------------------------------------------------------------------------- */

static const char *template_of(const struct plan *plan)
{
    const struct plan_layout *layout = &plan->candidates->layout;

    if (plan->site.cores)
        return "cpu";
    if (layout->ep)
        return "experts";
    if (layout->tp * layout->pp > 1)
        return "tensor";
    return plan->site.nodes > 1 ? "multi-node" : "gpu";
}

static void print_work(const struct plan *plan)
{
    const struct ant_arch *arch = ant_checkpoint_arch(plan->checkpoint);
    const struct plan_work *work = &plan->work;
    double prompt = 0, output = 0;
    int longest = 0;

    for (int i = 0; i < work->n_items; i++) {
        prompt += work->items[i].n_prompt;
        output += work->items[i].n_output;
        longest = work->items[i].n_prompt > longest ? work->items[i].n_prompt : longest;
    }
    printf("model    %s: %s (%s), %.1f M parameters\n", ant_checkpoint_path(plan->checkpoint),
           arch->family, ant_checkpoint_format(plan->checkpoint),
           (double)ant_arch_parameters(arch) / 1e6);
    printf(
        "work     %lld answers: prompts of %.0f tokens on average (longest %d), answers of %.0f\n",
        (long long)work->n, prompt / work->n_items, longest, output / work->n_items);
}

static void print_site(const struct plan *plan)
{
    const struct site *site = &plan->site;
    const struct plan_machine *machine = &site->machine;

    printf("on       %d node%s of %d rank%s, each ", site->nodes, site->nodes == 1 ? "" : "s",
           site->per_node, site->per_node == 1 ? "" : "s");
    if (site->cores)
        printf("%d cores of kind %s", site->cores, machine->name);
    else
        printf("one %s", machine->name);
    printf(" with %.1f GB free; rates %s\n", machine->memory / 1e9, machine->source);
    printf("engine   %d prompts in flight, %d rows a step, %d tokens a prompt and answer\n",
           plan->config.max_seqs, plan->config.max_step_rows, plan->config.max_context);
}

static double node_hours(const struct plan *plan, const struct candidate *candidate)
{
    return plan->site.nodes * (candidate->start_s + candidate->result.seconds) / 3600;
}

static void print_candidates(const struct plan *plan)
{
    printf("\n%5s %4s %4s  %10s %10s %12s  %10s %11s %11s %11s\n", "dp", "tp", "pp", "weights GB",
           "cache GB", "cache tokens", "time", "prompt/s", "drawn/s", "node-hours");
    for (int i = 0; i < plan->n_candidates && i < SHOWN; i++) {
        const struct candidate *c = &plan->candidates[i];
        char time[32];
        ant_duration(time, sizeof(time), c->start_s + c->result.seconds);
        printf("%5d %4d %4d  %10.2f %10.2f %12lld  %10s %11.0f %11.0f %11.3g%s\n", c->layout.dp,
               c->layout.tp, c->layout.pp, c->memory.weights / 1e9, c->memory.cache / 1e9,
               (long long)c->memory.n_pages * ANT_PAGE_TOKENS, time,
               c->result.prompt_tokens / c->result.seconds,
               c->result.output_tokens / c->result.seconds, node_hours(plan, c),
               i == 0 ? "  best" : "");
    }
    if (plan->n_candidates > SHOWN)
        printf("      (%d more are slower)\n", plan->n_candidates - SHOWN);
}

static void print_shares(const struct plan_cost *cost)
{
    const struct {
        const char *name;
        double seconds;
    } parts[] = {{"arithmetic of products", cost->products},
                 {"reading weights", cost->weights},
                 {"attention", cost->attention},
                 {"element by element", cost->elements},
                 {"ranks together", cost->links},
                 {"beginning and ending of operations", cost->operations},
                 {"the limit of power", cost->power}};
    double all = ant_plan_seconds(cost);
    int n = 0;

    printf("time goes to");
    for (size_t i = 0; i < sizeof(parts) / sizeof(*parts); i++)
        if (parts[i].seconds > 0.005 * all)
            printf("%s %s %.0f %%", n++ ? "," : "", parts[i].name, 100 * parts[i].seconds / all);
    printf("\n");
}

static void print_range(const struct plan *plan)
{
    const struct plan_machine *machine = &plan->site.machine;
    double tokens = plan->candidates->result.output_tokens;

    if (plan->most_s < 1.1 * plan->least_s)
        return;
    printf("note     memory is reckoned at %.0f GB/s a rank and was seen at %.0f to %.0f: %.3g to "
           "%.3g drawn/s\n",
           machine->bandwidth / 1e9, machine->least * machine->bandwidth / 1e9,
           machine->most * machine->bandwidth / 1e9, tokens / plan->most_s, tokens / plan->least_s);
}

static void print_advice(const struct plan *plan)
{
    const struct candidate *best = plan->candidates;
    const struct plan_input_settings *input = &plan->settings->input;
    char start[32], answers[32];

    ant_duration(start, sizeof(start), best->start_s);
    ant_duration(answers, sizeof(answers), best->result.seconds);
    printf("\nbest     dp %d, tp %d, pp %d: start %s (the model read at %.0f GB/s a node), answers "
           "%s\n",
           best->layout.dp, best->layout.tp, best->layout.pp, start, READ_BANDWIDTH / 1e9, answers);
    print_shares(&best->result.cost);
    print_range(plan);
    if (best->result.preemptions > 0)
        printf("note     the cache is short: %lld answers are put off and computed again; fewer "
               "--max-num-seqs, or more GPUs a replica, help\n",
               (long long)best->result.preemptions);
    printf("job      antiphon template %s", template_of(plan));
    if (plan->site.cores)
        printf(" --nodes %d --ranks-per-node %d --cpus-per-rank %d", plan->site.nodes,
               plan->site.per_node, plan->site.cores);
    else
        printf(" --gpus %d --gpus-per-node %d", plan->site.ranks, plan->site.per_node);
    if (best->layout.tp > 1 || best->layout.ep)
        printf(" --tp-size %d", best->layout.tp);
    if (best->layout.pp > 1)
        printf(" --pp-size %d", best->layout.pp);
    printf(" --model %s --input %s%s | sbatch\n", input->model ? input->model : "MODEL",
           input->input ? input->input : "PROMPTS",
           best->layout.ep == ANT_EP_JOB ? " -- --ep-scope job" : "");
}

static json_t *candidate_json(const struct plan *plan, const struct candidate *c)
{
    const struct plan_cost *cost = &c->result.cost;

    return json_pack(
        "{s:i, s:i, s:i, s:b, s:f, s:f, s:f, s:I, s:f, s:f, s:f, s:f, s:f, s:{s:f, s:f, s:f, s:f, "
        "s:f, s:f, s:f}}",
        "dp", c->layout.dp, "tp", c->layout.tp, "pp", c->layout.pp, "ep",
        c->layout.ep != ANT_EP_NONE, "weight_bytes", c->memory.weights, "workspace_bytes",
        c->memory.workspace, "cache_bytes", c->memory.cache, "cache_tokens",
        (json_int_t)(c->memory.n_pages * ANT_PAGE_TOKENS), "start_s", c->start_s, "answers_s",
        c->result.seconds, "prompt_tokens", c->result.prompt_tokens, "output_tokens",
        c->result.output_tokens, "node_hours", node_hours(plan, c), "seconds_simulated", "products",
        cost->products, "weights", cost->weights, "attention", cost->attention, "elements",
        cost->elements, "links", cost->links, "operations", cost->operations, "power", cost->power);
}

static int write_json(const struct plan *plan, const char *path, struct ant_error *err)
{
    json_t *all = json_array();

    for (int i = 0; i < plan->n_candidates; i++)
        json_array_append_new(all, candidate_json(plan, &plan->candidates[i]));
    json_t *json =
        json_pack("{s:s, s:s, s:I, s:i, s:i, s:s, s:[f, f], s:o}", "schema", "antiphon-plan",
                  "machine", plan->site.machine.name, "answers", (json_int_t)plan->work.n, "nodes",
                  plan->site.nodes, "ranks", plan->site.ranks, "template", template_of(plan),
                  "range_s", plan->least_s, plan->most_s, "layouts", all);
    int rc = strcmp(path, "-") == 0 ? json_dumpf(json, stdout, JSON_INDENT(1))
                                    : json_dump_file(json, path, JSON_INDENT(1));
    json_decref(json);
    if (strcmp(path, "-") == 0)
        printf("\n");
    return rc < 0 ? ant_fail(err, ANT_EIO, "cannot write '%s'", path) : 0;
}

/* ---- the command ----------------------------------------------------------------------------- */

static int set_limits(struct plan *plan, struct ant_error *err)
{
    const struct plan_settings *settings = plan->settings;
    const struct plan_machine *machine = &plan->site.machine;
    const struct ant_arch *arch = ant_checkpoint_arch(plan->checkpoint);
    int context = arch->context;
    int seqs = ant_arch_wants_many(arch) ? machine->many_seqs : machine->default_seqs;

    if (settings->max_model_len > context)
        return ant_fail(err, ANT_EUSAGE,
                        "--max-model-len %d is more than the %d the model was made for",
                        settings->max_model_len, context);
    plan->config = (struct ant_engine_config){
        .max_seqs = settings->max_seqs ? settings->max_seqs : seqs,
        .max_step_rows = settings->max_rows ? settings->max_rows : machine->default_rows,
        .max_context = settings->max_model_len ? settings->max_model_len : context,
        .no_prefix_sharing = settings->no_prefix_sharing,
    };
    return 0;
}

static int make_plan(struct plan *plan, struct ant_error *err)
{
    ANT_TRY(find_site(&plan->site, plan->settings, err));
    ANT_TRY(ant_plan_open_model(&plan->checkpoint, &plan->settings->input, err));
    ANT_TRY(set_limits(plan, err));
    ANT_TRY(ant_plan_read_work(&plan->work, &plan->settings->input, plan->checkpoint,
                               plan->config.max_context, err));
    ANT_TRY(try_layouts(plan, err));
    plan->least_s = seconds_at(plan, plan->site.machine.most);
    plan->most_s = seconds_at(plan, plan->site.machine.least);
    return 0;
}

static int plan(void *data, char **operands, int n, struct ant_error *err)
{
    const struct plan_settings *settings = data;
    struct plan plan = {.settings = settings};
    int rc = make_plan(&plan, err);

    (void)operands, (void)n;
    if (rc == 0 && (!settings->json || strcmp(settings->json, "-") != 0)) {
        print_work(&plan);
        print_site(&plan);
        print_candidates(&plan);
        print_advice(&plan);
    }
    if (rc == 0 && settings->json)
        rc = write_json(&plan, settings->json, err);
    ant_plan_release_work(&plan.work);
    ant_checkpoint_close(plan.checkpoint);
    free(plan.candidates);
    return rc;
}

static int plan_main(int argc, char **argv)
{
    struct plan_settings settings = {.nodes = 1,
                                     .input = {.in = 512, .max_tokens = 256, .samples = 1}};

    return ant_cli_main(&ant_command_plan, &settings, plan, argc, argv);
}

const struct ant_command ant_command_plan = {plan_main, options, &help, {0, 0, NULL}};
