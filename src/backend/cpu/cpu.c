/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "backend/cpu/cpu.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "engine/sampling.h"

/* Of the memory left after the weights: the host has other work, too. */
#define KV_SHARE 0.8

/* ---- steps ----------------------------------------------------------------------------------- */

void ant_cpu_fail(struct cpu_backend *cpu, enum ant_err code, const char *text)
{
    if (!cpu->failed)
        cpu->failed = ant_fail(&cpu->error, code, "cpu: %s", text);
}

void ant_cpu_run(struct cpu_backend *cpu, ant_team_fn *fn, void *arg, _Atomic double *seconds)
{
    if (cpu->failed)
        return;
    double start = ant_now();
    ant_team_run(cpu->team, fn, arg);
    ant_tally_add(seconds, ant_now() - start);
}

void ant_cpu_run_rows(struct cpu_backend *cpu, ant_team_fn *fn, void *arg, int n_rows)
{
    double start = ant_now();
    if (cpu->failed)
        return;
    if ((size_t)n_rows * (size_t)cpu->arch.hidden <= CPU_ALONE)
        fn(arg, 0);
    else
        ant_team_run(cpu->team, fn, arg);
    ant_tally_add(&cpu->tally.seconds_other, ant_now() - start);
}

static bool ids_in_range(const int32_t *ids, int n, int limit)
{
    for (int i = 0; i < n; i++)
        if (ids[i] < 0 || ids[i] >= limit)
            return false;
    return true;
}

static bool draws_in_range(const struct ant_batch *batch, int vocab)
{
    for (int i = 0; batch->draws && i < batch->n_sampled; i++) {
        const struct ant_draw *draw = &batch->draws[i];
        if (draw->n_top < 0 || draw->n_top > ANT_MAX_TOP ||
            (draw->is_given && (draw->given < 0 || draw->given >= vocab)))
            return false;
    }
    return true;
}

static void step_begin(struct ant_backend *be, const struct ant_batch *batch)
{
    struct cpu_backend *cpu = cpu_of(be);
    ant_team_settle(cpu->team); /* the engine's thread */
    cpu->failed = 0;
    cpu->batch = batch;
    cpu->n_rows = batch->n_rows;
    cpu->keeps_sampled = false;
    if (cpu->kv == NULL)
        ant_cpu_fail(cpu, ANT_EBUG, "a step before the KV cache was opened");
    else if (batch->n_rows > cpu->config.max_rows || batch->n_seqs > cpu->config.max_seqs ||
             batch->n_sampled > cpu->config.max_sampled)
        ant_cpu_fail(cpu, ANT_EBUG, "a step larger than what was opened for");
    else if (!ids_in_range(batch->tokens, batch->n_rows, cpu->arch.vocab) ||
             !ids_in_range(batch->sampled, batch->n_sampled, batch->n_rows))
        ant_cpu_fail(cpu, ANT_EBUG, "a token id or row outside its range");
    else if (!draws_in_range(batch, cpu->arch.vocab))
        ant_cpu_fail(cpu, ANT_EBUG, "a draw outside its range");
    else if (!ant_cpu_plan(cpu))
        ant_cpu_fail(cpu, ANT_EBUG, "a position or page outside its range");
}

/* Every operation is done when it returns. */
static void step_end(struct ant_backend *be)
{
    (void)be;
}

static int step_wait(struct ant_backend *be, struct ant_drawn *out, struct ant_error *err)
{
    struct cpu_backend *cpu = cpu_of(be);
    if (cpu->failed) {
        if (err)
            *err = cpu->error;
        return cpu->failed;
    }
    *out = (struct ant_drawn){cpu->ids, cpu->logprobs, cpu->top_ids, cpu->top_logprobs};
    return 0;
}

/* ---- operations by rows ---------------------------------------------------------------------- */

struct sample_job {
    struct cpu_backend *cpu;
    struct ant_cursor cursor;
};

/* Whatever the row is drawn by, the logprob of an id is reckoned in one way. */
static void sample_row(struct cpu_backend *cpu, int row, void *work)
{
    const struct ant_draw *draw = &cpu->batch->draws[row];
    const float *logits = cpu_slot_row(cpu, ANT_SLOT_LOGITS, row);
    int32_t *top_ids = cpu->top_ids + (size_t)row * ANT_MAX_TOP;
    int best, vocab = cpu->arch.vocab;
    float of_best;

    cpu->dsp.greedy(logits, vocab, &best, &of_best);
    if (draw->is_given)
        cpu->ids[row] = draw->given;
    else if (draw->temperature == 0 && draw->n_banned == 0 && draw->n_edits == 0 && !draw->mask)
        cpu->ids[row] = best;
    else
        cpu->ids[row] = ant_draw_token(logits, vocab, draw, work, NULL);
    cpu->logprobs[row] = logits[cpu->ids[row]] - logits[best] + of_best;
    ant_draw_top(logits, vocab, draw->n_top, top_ids);
    for (int i = 0; i < draw->n_top; i++)
        cpu->top_logprobs[(size_t)row * ANT_MAX_TOP + (size_t)i] =
            top_ids[i] < 0 ? -INFINITY : logits[top_ids[i]] - logits[best] + of_best;
}

static void sample_member(void *arg, int member)
{
    struct sample_job *job = arg;
    int row, end;
    while (ant_cursor_next(&job->cursor, &row, &end))
        for (; row < end; row++)
            sample_row(job->cpu, row, job->cpu->scratch[member].draw);
}

static void sample(struct ant_backend *be)
{
    struct cpu_backend *cpu = cpu_of(be);
    if (cpu->failed)
        return;
    struct sample_job job = {cpu, {.n = cpu->batch->n_sampled, .chunk = 1}};
    ant_cpu_run(cpu, sample_member, &job, &cpu->tally.seconds_other);
}

static int read_slot(struct ant_backend *be, enum ant_slot slot, int row, float *out, int n,
                     struct ant_error *err)
{
    const struct cpu_backend *cpu = cpu_of(be);
    const struct cpu_slot *s = &cpu->slots[slot];
    if (s->has_acts)
        return ant_fail(err, ANT_EUNSUPP, "cpu: rows that are made for products are not read back");
    if (row < 0 || row >= s->rows || n < 0 || n > s->cols)
        return ant_fail(err, ANT_EUSAGE, "row %d of %d values is outside a slot of %d rows by %d",
                        row, n, s->rows, s->cols);
    memcpy(out, cpu_slot_row(cpu, slot, row), (size_t)n * sizeof *out);
    return 0;
}

/* ---- opening --------------------------------------------------------------------------------- */

/* Hands out pieces of one mapping; with base NULL it only counts. */
struct arena {
    uint8_t *base;
    size_t used;
};

static void *take(struct arena *arena, size_t n, size_t bytes)
{
    void *piece = arena->base ? arena->base + arena->used : NULL;
    arena->used += (n * bytes + 63) / 64 * 64;
    return piece;
}

static struct cpu_slot place_rows(struct arena *arena, int rows, int cols)
{
    size_t row_bytes = cpu_row_bytes((size_t)ant_panel_blocks(cols) * ANT_PANEL_K * sizeof(float));
    return (struct cpu_slot){.data = take(arena, (size_t)rows + ANT_ROW_PAD, row_bytes),
                             .stride = row_bytes / sizeof(float),
                             .rows = rows,
                             .cols = cols};
}

static void place_moe(struct cpu_backend *cpu, struct arena *arena)
{
    const struct ant_moe *moe = &cpu->arch.moe;
    int rows = cpu->config.max_rows, places = rows * moe->n_used, hidden = cpu->arch.hidden;
    struct cpu_moe *to = &cpu->moe;
    if (moe->n_experts == 0)
        return;
    to->logits = place_rows(arena, rows, moe->n_experts + 1);
    to->in = place_rows(arena, places, hidden);
    to->hidden = place_rows(arena, places, moe->ff);
    to->out = place_rows(arena, places, hidden);
    to->ids = take(arena, (size_t)places, sizeof *to->ids);
    to->places = take(arena, (size_t)places, sizeof *to->places);
    to->weights = take(arena, (size_t)places, sizeof *to->weights);
    to->first = take(arena, (size_t)moe->n_experts + 1, sizeof *to->first);
    to->products = take(arena, (size_t)moe->n_held, sizeof *to->products);
}

static void place_spread(struct cpu_backend *cpu, struct arena *arena)
{
    int places = cpu->moe.in.rows, hidden = cpu->arch.hidden;
    struct cpu_spread *to = &cpu->spread;
    if (cpu->config.spread == NULL)
        return;
    to->counts = take(arena, (size_t)cpu->arch.moe.n_experts, sizeof *to->counts);
    to->first = take(arena, (size_t)cpu->arch.moe.n_held + 1, sizeof *to->first);
    to->room = place_rows(arena, places, hidden).data;
    to->in = place_rows(arena, places, hidden);
    to->out = place_rows(arena, places, hidden);
    to->gate_up = take(arena, (size_t)cpu->arch.n_layers, sizeof *to->gate_up);
    to->down = take(arena, (size_t)cpu->arch.n_layers, sizeof *to->down);
}

/* Inputs of products, as many and as wide as there can be. */
static void place_inputs(struct cpu_backend *cpu, struct arena *arena)
{
    const struct cpu_slot *s = cpu->slots;
    const struct cpu_slot *const inputs[] = {
        &s[ANT_SLOT_NORMED], &s[ANT_SLOT_ATTN], &s[ANT_SLOT_HIDDEN], &s[ANT_SLOT_SHARED],
        &s[ANT_SLOT_LAST],   &cpu->moe.in,      &cpu->moe.hidden,
    };
    size_t rows = 0, blocks = 0;
    for (size_t i = 0; i < sizeof inputs / sizeof *inputs; i++) {
        size_t n = (size_t)inputs[i]->rows + ANT_ROW_PAD;
        size_t k = (size_t)ant_panel_blocks(inputs[i]->cols);
        rows = n > rows ? n : rows;
        blocks = k > blocks ? k : blocks;
    }
    if (cpu->dsp.is_bf16)
        cpu->acts = take(arena, rows, cpu_row_bytes(blocks * ANT_PANEL_K * 2));
    cpu->quants = take(arena, rows, cpu_row_bytes(blocks * sizeof(struct ant_quant)));
}

static void place_scratch(struct cpu_backend *cpu, struct arena *arena, struct cpu_scratch *s)
{
    size_t dim = (size_t)cpu->dim_pad, rows = (size_t)cpu->query_rows + ANT_ROW_PAD;
    for (int i = 0; i < 2; i++)
        s->panels[i] = take(arena, CPU_CHUNK_BLOCKS * ANT_PANEL_ELEMENTS, 4);
    s->acc = take(arena, CPU_ACC_ROWS * ANT_TILE_COLS, 4);
    s->other = take(arena, CPU_ACC_ROWS * ANT_TILE_COLS, 4);
    s->query = take(arena, rows * dim, 4);
    s->p = take(arena, rows * ANT_TILE_COLS, 4);
    s->scores = take(arena, rows * ANT_TILE_COLS, 4);
    s->sum = take(arena, rows * dim, 4);
    s->state = take(arena, rows, sizeof *s->state);
    s->key = take(arena, dim * ANT_PAGE_TOKENS, 4);
    s->value = take(arena, dim * ANT_PAGE_TOKENS, 4);
    s->row = take(arena, (size_t)cpu->arch.hidden, 4);
    s->draw = take(arena, (size_t)cpu->arch.vocab, ANT_DRAW_WORK);
}

/* Everything a step works in, laid out in one mapping (run twice: to count, then to place). */
static void place(struct cpu_backend *cpu, struct arena *arena)
{
    const struct ant_arch *arch = &cpu->arch;
    int rows = cpu->config.max_rows, sampled = cpu->config.max_sampled;
    int attn = arch->n_heads * arch->head_dim, kv = arch->n_kv_heads * arch->head_dim;
    struct cpu_slot *slots = cpu->slots;
    slots[ANT_SLOT_RESIDUAL] = place_rows(arena, rows, arch->hidden);
    slots[ANT_SLOT_NORMED] = place_rows(arena, rows, arch->hidden);
    slots[ANT_SLOT_QKV] = place_rows(arena, rows, attn + 2 * kv);
    slots[ANT_SLOT_ATTN] = place_rows(arena, rows, attn);
    slots[ANT_SLOT_HIDDEN] = place_rows(arena, rows, arch->ff);
    slots[ANT_SLOT_SHARED] =
        place_rows(arena, arch->moe.shared_ff > 0 ? rows : 0, arch->moe.shared_ff);
    slots[ANT_SLOT_BRANCH] = place_rows(arena, arch->has_post_norm ? rows : 0, arch->hidden);
    slots[ANT_SLOT_LAST] = place_rows(arena, sampled, arch->hidden);
    slots[ANT_SLOT_LOGITS] = place_rows(arena, sampled, arch->vocab);
    place_moe(cpu, arena);
    place_spread(cpu, arena);
    place_inputs(cpu, arena);
    cpu->rope = take(arena, (size_t)cpu->config.max_context * (size_t)arch->rope.dim, 4);
    cpu->local_rope =
        take(arena, (size_t)cpu->config.max_context * (size_t)arch->local_rope.dim, 4);
    cpu->pages_spans = take(arena, (size_t)rows, sizeof *cpu->pages_spans);
    cpu->query_spans = take(arena, (size_t)rows, sizeof *cpu->query_spans);
    if (cpu->config.parallel && cpu->config.parallel->tp_size > 1)
        cpu->columns =
            take(arena, (size_t)sampled * (size_t)ant_cpu_most_columns(cpu), sizeof(float));
    cpu->ids = take(arena, (size_t)sampled, sizeof *cpu->ids);
    cpu->logprobs = take(arena, (size_t)sampled, sizeof *cpu->logprobs);
    cpu->top_ids = take(arena, (size_t)sampled * ANT_MAX_TOP, sizeof *cpu->top_ids);
    cpu->top_logprobs = take(arena, (size_t)sampled * ANT_MAX_TOP, sizeof *cpu->top_logprobs);
    for (int i = 0; i < cpu->n_members; i++)
        place_scratch(cpu, arena, &cpu->scratch[i]);
}

static int check_config(const struct ant_backend_config *config, struct ant_error *err)
{
    const struct ant_arch *arch = config->arch;
    if (config->max_rows < 1 || config->max_seqs < 1 || config->max_sampled < 1 ||
        config->max_context < 1 || config->n_threads < 0)
        return ant_fail(
            err, ANT_EUSAGE, "a step of %d rows, %d sequences, %d sampled, %d tokens of context",
            config->max_rows, config->max_seqs, config->max_sampled, config->max_context);
    if (config->kv_type == ANT_KV_FP8 || config->weight_type == ANT_WEIGHT_FP8)
        return ant_fail(err, ANT_EUNSUPP, "--%s-type fp8: on GPUs only",
                        config->kv_type == ANT_KV_FP8 ? "kv" : "weight");
    if (arch->head_dim < 2 || arch->head_dim > ANT_MAX_HEAD_DIM || arch->head_dim % 2 != 0 ||
        arch->rope.dim < 0 || arch->rope.dim > arch->head_dim || arch->rope.dim % 2 != 0 ||
        arch->local_rope.dim < 0 || arch->local_rope.dim > arch->head_dim ||
        arch->local_rope.dim % 2 != 0)
        return ant_fail(err, ANT_EUNSUPP, "cpu: heads of %d dimensions, %d of them rotated",
                        arch->head_dim, arch->rope.dim);
    if (arch->n_kv_heads < 1 || arch->n_heads % arch->n_kv_heads != 0)
        return ant_fail(err, ANT_EUNSUPP, "cpu: %d heads over %d kv heads", arch->n_heads,
                        arch->n_kv_heads);
    return 0;
}

static int probe(struct ant_error *why)
{
    enum ant_cpu_level level;
    return ant_cpu_choose(&level, why);
}

/* Ranks share the cores and the memory that they were given. */
static int unit(int local_rank, char out[64], struct ant_error *err)
{
    (void)local_rank, (void)err;
    *out = '\0';
    return 0;
}

/* Weights lie where the loader wants them: once a host. */
static int weight_open(struct ant_backend *be, size_t bytes, void **memory, struct ant_error *err)
{
    (void)be, (void)bytes, (void)err;
    *memory = NULL;
    return 0;
}

static void close_cpu(struct ant_backend *be)
{
    struct cpu_backend *cpu = cpu_of(be);
    if (cpu == NULL)
        return;
    ant_calls_close(cpu->spread.calls);
    ant_team_close(cpu->team);
    while (cpu->weights) {
        struct ant_weight *w = cpu->weights;
        cpu->weights = w->next;
        free(w->experts);
        free(w);
    }
    if (cpu->kv)
        ant_unmap(cpu->kv, cpu->kv_bytes);
    if (cpu->workspace)
        ant_unmap(cpu->workspace, cpu->workspace_bytes);
    free(cpu->scratch);
    pthread_mutex_destroy(&cpu->lock);
    free(cpu);
}

/* Sizes that follow from the model and the level. */
static void derive(struct cpu_backend *cpu)
{
    const struct ant_arch *arch = &cpu->arch;
    int group = arch->n_heads / arch->n_kv_heads;
    cpu->dim_pad = (arch->head_dim + 31) / 32 * 32;
    cpu->kv_float = cpu->config.kv_type == ANT_KV_F32;
    cpu->page_head_bytes = (size_t)ANT_PAGE_TOKENS * (size_t)cpu->dim_pad * (cpu->kv_float ? 4 : 2);
    cpu->query_rows = group > CPU_QUERY_ROWS ? group : CPU_QUERY_ROWS;
}

static int open_workspace(struct cpu_backend *cpu, struct ant_error *err)
{
    struct arena arena = {0};
    void *memory;
    cpu->scratch = ant_xcalloc((size_t)cpu->n_members, sizeof *cpu->scratch);
    place(cpu, &arena);
    ANT_TRY(ant_map_memory(&memory, arena.used, "the workspace", err));
    cpu->workspace = memory;
    cpu->workspace_bytes = arena.used;
    arena = (struct arena){memory, 0};
    place(cpu, &arena);
    ant_rope_table(&cpu->arch.rope, cpu->config.max_context, cpu->rope);
    ant_rope_table(&cpu->arch.local_rope, cpu->config.max_context, cpu->local_rope);
    return 0;
}

static int open_cpu(struct ant_backend **out, const struct ant_backend_config *config,
                    struct ant_error *err)
{
    enum ant_cpu_level level;
    ANT_TRY(check_config(config, err));
    ANT_TRY(ant_cpu_choose(&level, err));
    struct cpu_backend *cpu = ant_xcalloc(1, sizeof *cpu);
    cpu->base.ops = &ant_backend_cpu;
    cpu->config = *config;
    cpu->arch = *config->arch;
    cpu->level = level;
    ant_cpu_dsp(level, &cpu->dsp);
    cpu->n_members = config->n_threads > 0 ? config->n_threads : ant_team_cpus();
    cpu->free_bytes = ant_cpu_free_bytes();
    pthread_mutex_init(&cpu->lock, NULL);
    derive(cpu);
    int rc = open_workspace(cpu, err);
    if (rc == 0)
        rc = ant_team_open(&cpu->team, cpu->n_members,
                           config->binds_threads ? config->local_rank * cpu->n_members : -1, err);
    if (rc == 0 && config->spread)
        rc = ant_cpu_spread_open(cpu, err);
    if (rc < 0) {
        close_cpu(&cpu->base);
        return rc;
    }
    *out = &cpu->base;
    return 0;
}

/* ---- what it tells --------------------------------------------------------------------------- */

enum {
    PEAK_TURNS = 200000,    /* some milliseconds on any level */
    LOOK_BYTES = 256 << 20, /* of the weights: a start need not wait for all of a big model */
};

struct stream_job {
    struct cpu_backend *cpu;
    size_t bytes; /* of all weights to read, from the first of the list; each member its share */
    _Atomic uint64_t seen;
};

/* Read this member's part of the packed weights, a word a line: the memory moves whole lines. */
static void stream_member(void *arg, int member)
{
    struct stream_job *job = arg;
    uint64_t seen = 0;
    size_t left = job->bytes;
    for (const struct ant_weight *w = job->cpu->weights; w && left > 0; w = w->next) {
        size_t bytes = w->bytes < left ? w->bytes : left;
        left -= bytes;
        size_t n = bytes / 64, members = (size_t)job->cpu->n_members;
        for (size_t i = n * (size_t)member / members; i < n * ((size_t)member + 1) / members; i++)
            seen += *(const uint64_t *)(const void *)(w->memory + 64 * i);
    }
    job->seen += seen; /* or the compiler would leave the reading out */
}

/* One look at how fast memory is, at so many bytes of the weights. */
static double look_at_memory(struct cpu_backend *cpu, size_t limit)
{
    struct stream_job job = {.cpu = cpu};
    _Atomic double seconds = 0;
    for (const struct ant_weight *w = cpu->weights; w; w = w->next)
        job.bytes += w->bytes;
    job.bytes = job.bytes < limit ? job.bytes : limit;
    cpu->failed = 0;
    ant_cpu_run(cpu, stream_member, &job, &seconds);
    return job.bytes > 0 && seconds > 0 ? (double)job.bytes / seconds : 0;
}

struct peak_job {
    struct cpu_backend *cpu;
    _Atomic uint64_t flops;
};

static void peak_member(void *arg, int member)
{
    struct peak_job *job = arg;
    job->flops += (uint64_t)job->cpu->dsp.peak(PEAK_TURNS, job->cpu->scratch[member].acc);
}

static double look_at_products(struct cpu_backend *cpu)
{
    struct peak_job job = {.cpu = cpu};
    _Atomic double seconds = 0;
    ant_cpu_run(cpu, peak_member, &job, &seconds);
    return seconds > 0 ? (double)job.flops / seconds : 0;
}

/* The best of several looks: others' work on the machine only makes them slower. */
static void *look_around(void *arg)
{
    struct cpu_backend *cpu = arg;
    double start = ant_now();
    ant_team_settle(cpu->team);
    cpu->bandwidth = 0;
    for (int i = 0; i < 3 || (i < 20 && ant_now() - start < 0.2); i++)
        cpu->bandwidth = fmax(cpu->bandwidth, look_at_memory(cpu, SIZE_MAX));
    for (int i = 0; i < 10 || ant_now() - start < 0.3; i++)
        cpu->peak_flops = fmax(cpu->peak_flops, look_at_products(cpu));
    return NULL;
}

static void *look_shortly(void *arg)
{
    struct cpu_backend *cpu = arg;
    ant_team_settle(cpu->team);
    cpu->bandwidth = look_at_memory(cpu, LOOK_BYTES);
    return NULL;
}

/* Looks are taken where the engine's thread will run, but the caller is bound nowhere by them. */
static void look(struct cpu_backend *cpu, void *(*how)(void *))
{
    pthread_t thread;
    if (pthread_create(&thread, NULL, how, cpu) == 0)
        pthread_join(thread, NULL);
}

static void measure(struct ant_backend *be)
{
    look(cpu_of(be), look_around);
}

static int kv_open(struct ant_backend *be, int n_pages, struct ant_error *err)
{
    ANT_TRY(ant_cpu_kv_open(be, n_pages, err));
    look(cpu_of(be), look_shortly); /* the weights are there, the engine not yet */
    return 0;
}

static void facts(const struct ant_backend *be, struct ant_backend_facts *out)
{
    const struct cpu_backend *cpu = cpu_of_const(be);
    static const char *const titles[ANT_CPU_N_LEVELS] = {"plain C", "AVX2", "AVX-512 BF16", "AMX"};
    char brand[64];
    ant_cpu_brand(brand, sizeof brand);
    *out = (struct ant_backend_facts){.level = cpu->dsp.name,
                                      .workspace_bytes = cpu->workspace_bytes,
                                      .steps_in_flight = 1,
                                      .edits_logits = true,
                                      .masks_logits = true,
                                      .ranks_logits = true,
                                      .kv_page_bytes = ant_cpu_page_bytes(cpu),
                                      .free_bytes = cpu->free_bytes,
                                      .is_host = true,
                                      .kv_share = KV_SHARE,
                                      .bandwidth = cpu->bandwidth,
                                      .peak_flops = cpu->peak_flops};
    snprintf(out->device, sizeof out->device, "%s, %d core%s, %s", brand, cpu->n_members,
             cpu->n_members == 1 ? "" : "s", titles[cpu->level]);
}

static void counts(const struct ant_backend *be, struct ant_backend_counts *out)
{
    *out = ant_tally_read(&cpu_of_const(be)->tally);
}

const struct ant_backend_ops ant_backend_cpu = {
    .name = "cpu",
    .default_seqs = 256,
    .many_seqs = 256,
    .default_rows = 512,
    .probe = probe,
    .unit = unit,
    .open = open_cpu,
    .close = close_cpu,
    .facts = facts,
    .counts = counts,
    .measure = measure,
    .weight_bytes = ant_cpu_weight_bytes,
    .weight_open = weight_open,
    .weight_put = ant_cpu_weight_put,
    .weight_share = ant_cpu_weight_share,
    .kv_open = kv_open,
    .step_begin = step_begin,
    .step_end = step_end,
    .step_wait = step_wait,
    .embed = ant_cpu_embed,
    .norm = ant_cpu_norm,
    .norm_add = ant_cpu_norm_add,
    .gemm = ant_cpu_gemm,
    .rope_append = ant_cpu_rope_append,
    .attention = ant_cpu_attention,
    .route = ant_cpu_route,
    .experts = ant_cpu_experts,
    .keep_sampled = ant_cpu_keep_sampled,
    .norm_sampled = ant_cpu_norm_sampled,
    .clear = ant_cpu_clear,
    .all_reduce = ant_cpu_all_reduce,
    .gather_logits = ant_cpu_gather_logits,
    .share_drawn = ant_cpu_share_drawn,
    .send = ant_cpu_send,
    .receive = ant_cpu_receive,
    .sample = sample,
    .read_slot = read_slot,
};
