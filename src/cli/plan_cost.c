/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "cli/plan.h"

/* ---- memory ---------------------------------------------------------------------------------- */

/* Bytes of an element of the matrices that the vocabulary has, and of all others: a file may mix
 * types. */
static void find_element_bytes(struct plan_memory *out, double *embed_bytes,
                               const struct ant_checkpoint *checkpoint)
{
    const struct ant_tensor *embed = ant_checkpoint_role(checkpoint, ANT_W_EMBED, 0);
    const struct ant_tensor *output = ant_checkpoint_role(checkpoint, ANT_W_OUTPUT, 0);
    double n_embed = (double)ant_tensor_elements(embed);
    double n_output = (double)ant_tensor_elements(output);
    double bytes = -(double)output->bytes, elements = -n_output;

    for (size_t i = 0; i < ant_checkpoint_count(checkpoint); i++) {
        const struct ant_tensor *tensor = ant_checkpoint_tensor(checkpoint, i);
        bytes += tensor->n_dims < 2 ? 0 : (double)tensor->bytes;
        elements += tensor->n_dims < 2 ? 0 : (double)ant_tensor_elements(tensor);
    }
    if (!ant_checkpoint_arch(checkpoint)->tied) {
        bytes -= (double)embed->bytes;
        elements -= n_embed;
    }
    *embed_bytes = (double)embed->bytes / n_embed;
    out->output_bytes = (double)output->bytes / n_output;
    out->weight_bytes = elements > 0 ? bytes / elements : 2;
}

static double attention_elements(const struct ant_arch *arch)
{
    double q = (double)arch->n_heads * arch->head_dim,
           kv = (double)arch->n_kv_heads * arch->head_dim;

    return arch->hidden * (2 * q + 2 * kv);
}

static double expert_elements(const struct ant_arch *arch)
{
    return 3.0 * arch->hidden * arch->moe.ff;
}

/* Elements of the matrices of layer i as the rank holds them, with `n_experts` of its experts. */
static double layer_elements(const struct ant_arch *arch, int i, double n_experts)
{
    double n = attention_elements(arch);

    if (!(arch->layers[i] & ANT_LAYER_MOE))
        return n + 3.0 * arch->hidden * arch->ff;
    return n + expert_elements(arch) * n_experts +
           (double)arch->hidden * (arch->moe.n_experts + 3.0 * arch->moe.shared_ff);
}

/* What a step of so many rows needs beside weights and cache: float32 residuals, 16-bit rows for
 * products, logits in float32. */
static double workspace_bytes(const struct plan_memory *memory,
                              const struct ant_engine_config *config, bool is_host)
{
    const struct ant_arch *arch = &memory->shard.arch;
    double rows = config->max_step_rows, used = arch->moe.n_used;
    double heads = (double)arch->n_heads + 2.0 * arch->n_kv_heads;
    double ff = arch->moe.n_experts ? used * arch->moe.ff + arch->moe.shared_ff : arch->ff;
    double logits = fmin(config->max_seqs, rows) * arch->vocab * 4.0;
    double spread = 0;                  /* rows to the experts of other replicas and back */
    double fixed = is_host ? 0 : 400e6; /* NCCL, cuBLASLt, graphs */

    if (memory->shard.experts.n > 1)
        spread = 2.0 * arch->hidden * (1 + 2 * fmin(used, arch->moe.n_held));
    return rows * (10.0 * arch->hidden + spread + 4.0 * heads * arch->head_dim + 6.0 * ff) +
           logits + fixed;
}

int ant_plan_memory(struct plan_memory *out, const struct ant_checkpoint *checkpoint,
                    const struct plan_machine *machine, const struct plan_layout *plan,
                    const struct ant_engine_config *config, struct ant_error *err)
{
    struct ant_layout layout;
    const struct ant_arch *arch = &out->shard.arch;
    int replica = plan->tp * plan->pp,
        each = (config->max_context + ANT_PAGE_TOKENS - 1) / ANT_PAGE_TOKENS;

    ANT_TRY(ant_layout_init(&layout, replica - plan->tp, plan->dp * replica, plan->dp, plan->tp,
                            plan->pp, err));
    layout.ep = plan->ep;
    ANT_TRY(ant_shard_init(&out->shard, checkpoint, &layout, err)); /* of the last stage */
    out->weight_bytes = out->output_bytes = 2;
    double vocab = (double)out->shard.vocab.count * arch->hidden, embed_bytes = 2, elements = 0;
    if (machine->is_host) /* packed as the file has them */
        find_element_bytes(out, &embed_bytes, checkpoint);
    for (int i = 0; i < arch->n_layers; i++)
        elements += layer_elements(arch, i, arch->moe.n_held);
    out->weights = elements * out->weight_bytes + vocab * out->output_bytes;
    if (plan->pp == 1 && !arch->tied)
        out->weights += vocab * embed_bytes;
    out->workspace = workspace_bytes(out, config, machine->is_host);
    int dim = machine->is_host ? arch->head_dim : arch->head_dim <= 64 ? 64 : 128;
    out->page = 2.0 * ANT_PAGE_TOKENS * arch->n_layers * arch->n_kv_heads * dim * 2;
    double room = (machine->memory - out->weights - out->workspace) * machine->kv_share;
    out->n_pages = (int64_t)fmin(room / out->page, (double)each * config->max_seqs);
    out->cache = (double)out->n_pages * out->page;
    if (out->n_pages < (int64_t)each * plan->pp)
        return ant_fail(
            err, ANT_EUSAGE,
            "weights %.1f GB and workspace %.1f GB leave %.1f of %.1f GB for the cache: "
            "a sequence of %d tokens needs %.1f; lower --max-model-len, or take more",
            out->weights / 1e9, out->workspace / 1e9, fmax(room, 0) / 1e9, machine->memory / 1e9,
            config->max_context, each * out->page / 1e9);
    return 0;
}

/* ---- time ------------------------------------------------------------------------------------ */

double ant_plan_seconds(const struct plan_cost *cost)
{
    return cost->products + cost->weights + cost->attention + cost->elements + cost->links +
           cost->operations + cost->power;
}

/* Every operation costs a little beside its work: to begin on all cores or multiprocessors, and to
 * wait for the last of them. */
static void add_operations(struct plan_cost *cost, const struct plan_machine *machine, double n)
{
    cost->operations += n * machine->op_s;
}

/* What would take `seconds` at the device's best rate and reads so many bytes takes power for it.
 * Of a step that is summed up in `power`: the seconds that it takes at full power, all in all. */
static void add_power(struct plan_cost *cost, const struct plan_machine *machine, double seconds,
                      double bytes)
{
    if (machine->power_bandwidth > 0)
        cost->power += seconds + bytes / machine->power_bandwidth;
}

/* What takes a bytes/s by one measure and b by another, near the crossing by both. */
static double both_rates(double a, double b)
{
    return b > 0 ? 1 / cbrt(1 / (a * a * a) + 1 / (b * b * b)) : a;
}

/* Weights as they lie in memory. */
struct weights {
    double elements, element_bytes;
};

/* A product is bound by arithmetic or by its weights; near the crossing by both. Weights come as
 * fast as memory is, and on a host not faster than its cores ask for them. */
static void add_product_at(struct plan_cost *cost, const struct plan_machine *machine, double rate,
                           double flops, struct weights weights)
{
    bool is_narrow = weights.element_bytes < 1.9;
    double compute = flops / rate, bytes = weights.elements * weights.element_bytes;
    double reading = bytes / both_rates(machine->bandwidth, machine->streams[is_narrow]);
    double both = cbrt(compute * compute * compute + reading * reading * reading);

    add_operations(cost, machine, 1);
    add_power(cost, machine, compute, bytes);
    if (compute > reading)
        cost->products += both;
    else
        cost->weights += both;
}

static void add_product(struct plan_cost *cost, const struct plan_machine *machine, double rows,
                        struct weights weights)
{
    add_product_at(cost, machine, machine->flops[weights.element_bytes < 1.9],
                   2 * rows * weights.elements, weights);
}

/* Of `held` experts those that some row has chosen: each row chooses `used` of `n`. */
static double experts_met(const struct ant_moe *moe, double rows)
{
    double missed = pow(1 - (double)moe->n_used / moe->n_experts, rows);

    return moe->n_held * (1 - missed);
}

static void add_feed_forward(struct plan_cost *cost, const struct plan_memory *memory,
                             const struct plan_machine *machine, int layer, double rows)
{
    const struct ant_arch *arch = &memory->shard.arch;
    const struct ant_moe *moe = &arch->moe;
    double third = (double)arch->hidden * arch->ff, one = expert_elements(arch) / 3;
    double bytes = memory->weight_bytes;

    if (!(arch->layers[layer] & ANT_LAYER_MOE)) {
        add_product(cost, machine, rows, (struct weights){2 * third, bytes});
        add_product(cost, machine, rows, (struct weights){third, bytes});
        return;
    }
    double all = rows * memory->shard.experts.n; /* those of other replicas, too */
    double met = experts_met(moe, all), shared = (double)arch->hidden * moe->shared_ff;
    double each = (double)moe->n_used * moe->n_held / moe->n_experts * memory->shard.experts.n;
    double flops = 2 * rows * (one * each + shared), rate = machine->expert_flops;
    add_product_at(cost, machine, rate, 2 * flops,
                   (struct weights){2 * (one * met + shared), bytes});
    add_product_at(cost, machine, rate, flops, (struct weights){one * met + shared, bytes});
    add_operations(cost, machine, 3); /* routing */
}

/* What attention reads and multiplies in a step. */
struct seen {
    double decode_tokens; /* of the cache, read for rows that decode; shared pages once */
    double prefill_pairs; /* of a row and what it sees */
    double decode_pairs;
};

/* Distinct pages of the sequences that decode. */
static double distinct_pages(const struct ant_batch *batch, int64_t n_pages)
{
    uint8_t *is_seen = ant_xcalloc((size_t)n_pages + 1, sizeof(*is_seen));
    double distinct = 0;

    for (int s = 0; s < batch->n_seqs; s++) {
        int n = (batch->context[s] + ANT_PAGE_TOKENS - 1) / ANT_PAGE_TOKENS;
        const int32_t *pages = batch->pages + batch->page_start[s];
        if (batch->row_start[s + 1] - batch->row_start[s] > 1)
            continue;
        for (int i = 0; i < n; i++) {
            distinct += !is_seen[pages[i]];
            is_seen[pages[i]] = 1;
        }
    }
    free(is_seen);
    return distinct;
}

static struct seen look(const struct ant_batch *batch, int window, double distinct)
{
    struct seen seen = {0};
    double whole = 0;

    for (int s = 0; s < batch->n_seqs; s++) {
        double rows = batch->row_start[s + 1] - batch->row_start[s], context = batch->context[s];
        double sees = context - (rows - 1) / 2; /* on average */
        if (window > 0)
            sees = fmin(sees, window);
        if (rows > 1) {
            seen.prefill_pairs += rows * sees;
        } else {
            seen.decode_pairs += sees;
            seen.decode_tokens += sees;
            whole += context;
        }
    }
    if (whole > 0)
        seen.decode_tokens *= fmin(1, ANT_PAGE_TOKENS * distinct / whole);
    return seen;
}

/* The same for all layers of one window: two kinds at most are in a model. */
static void add_attention(struct plan_cost *cost, const struct plan_memory *memory,
                          const struct plan_machine *machine, const struct ant_batch *batch)
{
    const struct ant_arch *arch = &memory->shard.arch;
    double token = memory->page / ANT_PAGE_TOKENS / arch->n_layers;
    double pair = 4.0 * arch->n_heads * arch->head_dim;
    double distinct = machine->is_host ? INFINITY : distinct_pages(batch, memory->n_pages);
    const struct seen seen[2] = {look(batch, 0, distinct), look(batch, arch->window, distinct)};

    for (int i = 0; i < arch->n_layers; i++) {
        const struct seen *s = &seen[ant_arch_window(arch, i) > 0];
        double decode = token * s->decode_tokens / machine->kv_bandwidth;
        double prefill = pair * s->prefill_pairs / machine->prefill_flops;
        if (machine->decode_flops > 0)
            decode = fmax(decode, pair * s->decode_pairs / machine->decode_flops);
        add_power(cost, machine, prefill, token * s->decode_tokens);
        cost->attention += decode + prefill;
    }
}

static void add_elements(struct plan_cost *cost, const struct plan_machine *machine, double bytes)
{
    add_power(cost, machine, 0, bytes);
    cost->elements += bytes / machine->element_bandwidth;
}

/* Bytes that norms, rotation and activation move for a row of a layer. */
static double element_traffic(const struct ant_arch *arch)
{
    double heads = (double)arch->n_heads + 2.0 * arch->n_kv_heads;
    double ff = arch->moe.n_experts ? (double)arch->moe.n_used * arch->moe.ff + arch->moe.shared_ff
                                    : arch->ff;

    return 24.0 * arch->hidden + 4.0 * heads * arch->head_dim + 6.0 * ff;
}

static void add_links(struct plan_cost *cost, const struct plan_memory *memory,
                      const struct plan_machine *machine, const struct plan_layout *layout,
                      const struct ant_batch *batch)
{
    /* A lane's next step is made when its last one's ids are back: the host's work for each answer
     * is not hidden behind a step that is on its way. */
    static const double answer_s = 4e-6;
    const struct ant_arch *arch = &memory->shard.arch;
    double bytes = batch->n_rows * arch->hidden * 4.0;

    if (layout->tp > 1)
        cost->links +=
            2.0 * arch->n_layers *
            (machine->sum_s + 2.0 * (layout->tp - 1) / layout->tp * bytes / machine->sum_bandwidth);
    if (memory->shard.experts.n > 1)
        cost->links += 2.0 * arch->n_layers * machine->link_s +
                       arch->n_layers * (memory->shard.experts.n - 1) * bytes / 2 *
                           (1 + fmin(arch->moe.n_used, arch->moe.n_held)) / machine->link_bandwidth;
    if (layout->pp > 1)
        cost->links +=
            machine->link_s + bytes / machine->link_bandwidth + batch->n_sampled * answer_s;
}

double ant_plan_step(struct plan_cost *sum, const struct plan_memory *memory,
                     const struct plan_machine *machine, const struct plan_layout *layout,
                     const struct ant_batch *batch)
{
    const struct ant_arch *arch = &memory->shard.arch;
    double q = (double)arch->n_heads * arch->head_dim,
           kv = (double)arch->n_kv_heads * arch->head_dim;
    double rows = batch->n_rows, output = (double)memory->shard.vocab.count * arch->hidden;
    double bytes = memory->weight_bytes;
    struct plan_cost cost = {0};

    for (int i = 0; i < arch->n_layers; i++) {
        add_product(&cost, machine, rows, (struct weights){arch->hidden * (q + 2 * kv), bytes});
        add_product(&cost, machine, rows, (struct weights){arch->hidden * q, bytes});
        add_feed_forward(&cost, memory, machine, i, rows);
    }
    add_elements(&cost, machine, rows * arch->n_layers * element_traffic(arch));
    add_operations(&cost, machine, 4.0 * arch->n_layers); /* two norms, rotation, attention */
    add_attention(&cost, memory, machine, batch);
    if (batch->n_sampled > 0) {
        add_product(&cost, machine, batch->n_sampled,
                    (struct weights){output, memory->output_bytes});
        add_elements(&cost, machine, 2.0 * batch->n_sampled * memory->shard.vocab.count * 4.0);
    }
    add_links(&cost, memory, machine, layout, batch);
    double full_power = cost.power;
    cost.power = 0;
    cost.power = fmax(0, full_power - ant_plan_seconds(&cost));
    sum->products += cost.products;
    sum->weights += cost.weights;
    sum->attention += cost.attention;
    sum->elements += cost.elements;
    sum->links += cost.links;
    sum->operations += cost.operations;
    sum->power += cost.power;
    return ant_plan_seconds(&cost);
}
