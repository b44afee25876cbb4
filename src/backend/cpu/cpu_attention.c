/* SPDX-License-Identifier: Apache-2.0 */
/* The KV cache and attention over it.
 *
 * A page of one kv head lies in the packed form of kernels/cpu/panel.h, so that both products of
 * attention are the tiles of cpu_gemm.c: keys are two panels of 16 tokens over head_dim, values are
 * panels of 16 dimensions over the page's 32 tokens. All layers of a page lie together, each with
 * its keys by kv head, then its values: a short answer touches few of the kernel's huge pages, each
 * of which is cleared on its first use. head_dim is padded with zeros to a multiple of 32.
 *
 * A query row meets its pages one by one from the first in its window, with a running maximum and
 * sum. It takes part in a page only if it sees a key there: so what it computes is the same alone
 * in a decode step and among the rows of a prefill chunk. */
#include "config.h"

#include <math.h>
#include <string.h>

#include "backend/cpu/cpu.h"
#include "base/mem.h"

enum { PAGE = ANT_PAGE_TOKENS };
#define LOG2_E 1.44269504088896340736
_Static_assert((int)ANT_PAGE_TOKENS == (int)ANT_TILE_COLS, "a page is one tile of keys");

size_t ant_cpu_page_bytes(const struct cpu_backend *cpu)
{
    return 2 * (size_t)cpu->arch.n_layers * (size_t)cpu->arch.n_kv_heads * cpu->page_head_bytes;
}

int ant_cpu_kv_open(struct ant_backend *be, int n_pages, struct ant_error *err)
{
    struct cpu_backend *cpu = cpu_of(be);
    void *memory;
    size_t bytes = (size_t)n_pages * ant_cpu_page_bytes(cpu);
    if (n_pages < 1)
        return ant_fail(err, ANT_EUSAGE, "a KV cache of %d pages", n_pages);
    ANT_TRY(ant_map_memory(&memory, bytes, "the KV cache", err));
    if (cpu->kv)
        ant_unmap(cpu->kv, cpu->kv_bytes);
    cpu->kv = memory;
    cpu->kv_bytes = bytes;
    cpu->n_pages = n_pages;
    return 0;
}

/* Cut the new rows of sequence `seq` at multiples of `size` tokens: of position for pages, of rows
 * for query tiles. */
static int cut(const struct ant_batch *batch, int seq, int size, bool by_position,
               struct cpu_span *spans)
{
    int n = 0, row = batch->row_start[seq], end = batch->row_start[seq + 1];
    while (row < end) {
        int room = by_position ? size - batch->positions[row] % size : size;
        int rows = end - row < room ? end - row : room;
        spans[n++] = (struct cpu_span){seq, row, rows};
        row += rows;
    }
    return n;
}

static bool is_sound(const struct cpu_backend *cpu, int seq)
{
    const struct ant_batch *batch = cpu->batch;
    int begin = batch->row_start[seq], end = batch->row_start[seq + 1];
    int n_pages = batch->page_start[seq + 1] - batch->page_start[seq];
    if (begin > end || end > batch->n_rows)
        return false;
    for (int row = begin; row < end; row++) {
        int position = batch->positions[row];
        if (position < 0 || position >= cpu->config.max_context || position / PAGE >= n_pages ||
            (row > begin && position != batch->positions[row - 1] + 1))
            return false;
    }
    for (int i = 0; i < n_pages; i++) {
        int page = batch->pages[batch->page_start[seq] + i];
        if (page < 0 || page >= cpu->n_pages)
            return false;
    }
    return true;
}

bool ant_cpu_plan(struct cpu_backend *cpu)
{
    const struct ant_batch *batch = cpu->batch;
    int group = cpu->arch.n_heads / cpu->arch.n_kv_heads;
    int tokens = CPU_QUERY_ROWS / group > 1 ? CPU_QUERY_ROWS / group : 1;
    cpu->n_page_spans = cpu->n_query_spans = 0;
    if (batch->n_rows > 0 &&
        (batch->row_start[0] != 0 || batch->row_start[batch->n_seqs] != batch->n_rows))
        return false;
    for (int seq = 0; seq < batch->n_seqs; seq++) {
        if (!is_sound(cpu, seq))
            return false;
        cpu->n_page_spans += cut(batch, seq, PAGE, true, cpu->pages_spans + cpu->n_page_spans);
        cpu->n_query_spans += cut(batch, seq, tokens, false, cpu->query_spans + cpu->n_query_spans);
    }
    return true;
}

static uint8_t *page_at(const struct cpu_backend *cpu, int layer, bool is_value, int page, int head)
{
    size_t at = ((size_t)page * (size_t)cpu->arch.n_layers + (size_t)layer) * 2 + is_value;
    return cpu->kv + (at * (size_t)cpu->arch.n_kv_heads + (size_t)head) * cpu->page_head_bytes;
}

static int page_of(const struct ant_batch *batch, int seq, int position)
{
    return batch->pages[batch->page_start[seq] + position / PAGE];
}

/* A token's key or value of one head into its page. In bfloat16 a key's pairs go as they are. */
static void put_key(const struct cpu_backend *cpu, uint8_t *page, int token, const float *k)
{
    int dim = cpu->arch.head_dim, at = token / 16 * 16 * cpu->dim_pad + 2 * (token % 16);
    if (cpu->kv_float) {
        for (int d = 0; d < dim; d += 2)
            memcpy((float *)(void *)page + at + 16 * d, k + d, 2 * sizeof *k);
        return;
    }
    uint16_t bits[ANT_MAX_HEAD_DIM];
    cpu->dsp.to_bf16(k, dim, bits);
    for (int d = 0; d < dim; d += 2)
        memcpy((uint16_t *)(void *)page + at + 16 * d, bits + d, 2 * sizeof *bits);
}

static void put_value(const struct cpu_backend *cpu, uint8_t *page, int token, const float *v)
{
    int dim = cpu->arch.head_dim, at = token / 2 * 32 + token % 2;
    if (cpu->kv_float) {
        for (int d = 0; d < dim; d++)
            ((float *)(void *)page)[at + d / 16 * 512 + d % 16 * 2] = v[d];
        return;
    }
    uint16_t bits[ANT_MAX_HEAD_DIM];
    cpu->dsp.to_bf16(v, dim, bits);
    for (int d = 0; d < dim; d++)
        ((uint16_t *)(void *)page)[at + d / 16 * 512 + d % 16 * 2] = bits[d];
}

struct rope_job {
    struct cpu_backend *cpu;
    int layer;
    const struct ant_weight *q_norm, *k_norm;
    struct ant_cursor cursor;
};

/* Queries or keys of one token: normed, then rotated, as the layer has it. */
static void turn_heads(const struct rope_job *job, const struct ant_weight *norm, int n_heads,
                       int position, float *x)
{
    const struct cpu_backend *cpu = job->cpu;
    const struct ant_arch *arch = &cpu->arch;
    bool is_local = arch->layers[job->layer] & ANT_LAYER_LOCAL_ROPE;
    const struct ant_rope *rope = is_local ? &arch->local_rope : &arch->rope;
    const float *table = is_local ? cpu->local_rope : cpu->rope;
    if (norm && arch->qk_norm == ANT_QK_NORM_WHOLE)
        ant_cpu_rms_norm(x, norm->vector, arch->norm_eps, n_heads * arch->head_dim);
    for (int head = 0; head < n_heads; head++, x += arch->head_dim) {
        if (norm && arch->qk_norm == ANT_QK_NORM_HEAD)
            ant_cpu_rms_norm(x, norm->vector, arch->norm_eps, arch->head_dim);
        if (!(arch->layers[job->layer] & ANT_LAYER_NO_ROPE))
            cpu->dsp.rotate(table + (size_t)position * (size_t)rope->dim, rope->dim / 2,
                            rope->interleaved, x);
    }
}

static void append_row(const struct rope_job *job, const struct cpu_span *span, int row)
{
    const struct cpu_backend *cpu = job->cpu;
    const struct ant_arch *arch = &cpu->arch;
    int position = cpu->batch->positions[row], page = page_of(cpu->batch, span->seq, position);
    float *q = cpu_slot_row(cpu, ANT_SLOT_QKV, row);
    float *k = q + arch->n_heads * arch->head_dim, *v = k + arch->n_kv_heads * arch->head_dim;
    turn_heads(job, job->q_norm, arch->n_heads, position, q);
    turn_heads(job, job->k_norm, arch->n_kv_heads, position, k);
    for (int head = 0; head < arch->n_kv_heads; head++) {
        uint8_t *values = page_at(cpu, job->layer, true, page, head);
        /* What an earlier sequence left must not meet a zero weight as infinity or NaN. */
        if (position % PAGE == 0)
            memset(values, 0, cpu->page_head_bytes);
        put_key(cpu, page_at(cpu, job->layer, false, page, head), position % PAGE,
                k + head * arch->head_dim);
        put_value(cpu, values, position % PAGE, v + head * arch->head_dim);
    }
}

static void rope_member(void *arg, int member)
{
    struct rope_job *job = arg;
    int i, end;
    (void)member;
    while (ant_cursor_next(&job->cursor, &i, &end))
        for (; i < end; i++) {
            const struct cpu_span *span = &job->cpu->pages_spans[i];
            for (int row = span->row; row < span->row + span->n; row++)
                append_row(job, span, row);
        }
}

/* Is this the norm of `n_heads` queries or keys that the model has? */
static bool fits(const struct ant_arch *arch, const struct ant_weight *norm, int n_heads)
{
    if (arch->qk_norm == ANT_QK_NORM_NONE)
        return norm == NULL;
    int n = arch->head_dim * (arch->qk_norm == ANT_QK_NORM_WHOLE ? n_heads : 1);
    return norm && norm->vector && norm->k == n;
}

void ant_cpu_rope_append(struct ant_backend *be, int layer, const struct ant_weight *q_norm,
                         const struct ant_weight *k_norm)
{
    struct cpu_backend *cpu = cpu_of(be);
    int n = cpu->n_page_spans;
    struct rope_job job = {cpu, layer, q_norm, k_norm, {.n = n, .chunk = cpu_chunk(cpu, n)}};
    if (!fits(&cpu->arch, q_norm, cpu->arch.n_heads) ||
        !fits(&cpu->arch, k_norm, cpu->arch.n_kv_heads))
        ant_cpu_fail(cpu, ANT_EBUG, "norms of queries and keys that do not fit the model");
    ant_cpu_run_rows(cpu, rope_member, &job, cpu->batch->n_rows);
}

struct attention_job {
    struct cpu_backend *cpu;
    int layer, window;
    struct ant_cursor cursor;
};

/* One query tile of one kv head: rows are (token, head of the group), token slowest. */
struct query {
    const struct cpu_span *span;
    int head, group, rows, first_position, first_page;
};

static void load_query(const struct cpu_backend *cpu, const struct query *query,
                       struct cpu_scratch *scratch)
{
    const struct ant_arch *arch = &cpu->arch;
    float scale = (float)(LOG2_E * ant_arch_attn_scale(arch));
    for (int row = 0; row < query->rows; row++) {
        const float *q = cpu_slot_row(cpu, ANT_SLOT_QKV, query->span->row + row / query->group);
        q += (query->head * query->group + row % query->group) * arch->head_dim;
        cpu->dsp.convert(q, scale, arch->head_dim,
                         scratch->query + (size_t)row * (size_t)cpu->dim_pad * cpu_act_bytes(cpu));
        scratch->state[row] = (struct ant_softmax){-INFINITY, 0};
    }
    for (int d = 0; d < cpu->dim_pad; d += PAGE)
        memset(scratch->sum + d * cpu->query_rows, 0,
               (size_t)query->rows * PAGE * sizeof *scratch->sum);
}

static const struct ant_panel_format *page_format(const struct cpu_backend *cpu)
{
    return &ant_panel_formats[cpu->kv_float ? ANT_F32 : ANT_BF16];
}

/* A page of keys or values as the tiles of so many rows take it. */
static const uint8_t *load_page(const struct cpu_backend *cpu, int rows, const uint8_t *page,
                                uint8_t *room)
{
    struct ant_panel panel = {page_format(cpu), page, page};
    if (ant_dsp_is_direct(&cpu->dsp, panel.format, rows))
        return page;
    cpu->dsp.decode(&panel, 0, cpu->dim_pad / 16, room);
    return room;
}

/* The rows of a query that see keys of a page, and of the page which. */
static void page_softmax(const struct cpu_backend *cpu, const struct query *query, int page_first,
                         int row, int end, int window, struct cpu_scratch *scratch)
{
    for (; row < end; row++) {
        int position = query->first_position + row / query->group;
        int hi = position + 1 - page_first < PAGE ? position + 1 - page_first : PAGE;
        int lo = window > 0 && position + 1 - window > page_first
                     ? position + 1 - window - page_first
                     : 0;
        float factor = cpu->dsp.softmax(scratch->scores + row * PAGE, lo, hi, &scratch->state[row],
                                        scratch->p + (size_t)(row * PAGE) * cpu_act_bytes(cpu));
        if (factor != 1)
            cpu->dsp.rescale(scratch->sum + row * PAGE, cpu->dim_pad / 32,
                             (size_t)cpu->query_rows * PAGE, factor);
    }
}

static void visit_page(const struct attention_job *job, const struct query *query, int number,
                       int last, struct cpu_scratch *scratch)
{
    const struct cpu_backend *cpu = job->cpu;
    int first = number * PAGE, page = page_of(cpu->batch, query->span->seq, first);
    /* Tokens before the page see none of it, nor do those whose window has left it behind. */
    int token = first > query->first_position ? first - query->first_position : 0;
    int stop = query->span->n;
    if (job->window > 0 && first + PAGE - 1 + job->window - query->first_position < stop)
        stop = first + PAGE - 1 + job->window - query->first_position;
    int row = token * query->group, end = stop * query->group;
    if (row >= end)
        return;

    bool is_bf16 = !cpu->kv_float && ant_dsp_is_direct(&cpu->dsp, page_format(cpu), end - row);
    size_t act = cpu_act_bytes(cpu), element = is_bf16 ? 2 : 4;
    size_t panel = (size_t)cpu->dim_pad * 16 * element, tile_bytes = 1024 * element;
    ant_tile_fn *tile = ant_dsp_tile(&cpu->dsp, page_format(cpu), end - row);
    const uint8_t *key = page_at(cpu, job->layer, false, page, query->head);
    const uint8_t *value = page_at(cpu, job->layer, true, page, query->head);
    /* Pages lie scattered: ask for one while the one before is at work, at the last for the next
     * head's first. The way is the same from key to key as from value to value. */
    ptrdiff_t ahead = 0;
    int next = page, head = query->head;
    if (number < last)
        next = page_of(cpu->batch, query->span->seq, first + PAGE);
    else if (head > 0)
        next = page_of(cpu->batch, query->span->seq, query->first_page * PAGE), head--;
    ahead = (ptrdiff_t)(next - page) * (ptrdiff_t)ant_cpu_page_bytes(cpu) +
            (ptrdiff_t)(head - query->head) * (ptrdiff_t)cpu->page_head_bytes;
    key = load_page(cpu, end - row, key, scratch->key);
    tile(end - row, scratch->query + (size_t)(row * cpu->dim_pad) * act, (size_t)cpu->dim_pad, key,
         key + panel, cpu->dim_pad / 2, scratch->scores + row * PAGE, true, ahead);
    if (cpu->arch.attn_softcap > 0)
        cpu->dsp.softcap(scratch->scores + row * PAGE, cpu->arch.attn_softcap * (float)LOG2_E,
                         (end - row) * PAGE);
    page_softmax(cpu, query, first, row, end, job->window, scratch);
    value = load_page(cpu, end - row, value, scratch->value);
    for (int t = 0; t < cpu->dim_pad / 32; t++, value += tile_bytes)
        tile(end - row, scratch->p + (size_t)(row * PAGE) * act, PAGE, value,
             value + tile_bytes / 2, PAGE / 2, scratch->sum + (t * cpu->query_rows + row) * PAGE,
             false, ahead);
}

static void store_query(const struct cpu_backend *cpu, const struct query *query,
                        const struct cpu_scratch *scratch)
{
    const struct cpu_slot *slot = &cpu->slots[ANT_SLOT_ATTN];
    int dim = cpu->arch.head_dim;
    for (int i = 0; i < query->rows; i++) {
        int row = query->span->row + i / query->group;
        int col = (query->head * query->group + i % query->group) * dim;
        float *sum = scratch->sum + i * PAGE, *out = slot->data + (size_t)row * slot->stride + col;
        cpu->dsp.rescale(sum, cpu->dim_pad / PAGE, (size_t)cpu->query_rows * PAGE,
                         1 / scratch->state[i].sum);
        for (int d = 0; d < dim; d += PAGE, sum += PAGE * cpu->query_rows) {
            int n = dim - d < PAGE ? dim - d : PAGE;
            if (slot->has_acts)
                cpu->dsp.to_bf16(sum, n, cpu_acts_row(slot, row) + col + d);
            else
                memcpy(out + d, sum, (size_t)n * sizeof *out);
        }
        if (slot->has_acts && col + dim == slot->cols)
            cpu_pad_acts(slot, row);
    }
}

static void attention_member(void *arg, int member)
{
    struct attention_job *job = arg;
    struct cpu_backend *cpu = job->cpu;
    struct cpu_scratch *scratch = &cpu->scratch[member];
    int i, end, group = cpu->arch.n_heads / cpu->arch.n_kv_heads;
    cpu->dsp.tile_begin();
    while (ant_cursor_next(&job->cursor, &i, &end))
        for (; i < end; i++) {
            /* From the end: the last tile of a prompt is the longest. */
            int left = job->cursor.n - 1 - i;
            int n_heads = cpu->arch.n_kv_heads;
            const struct cpu_span *span = &cpu->query_spans[left / n_heads];
            int first = cpu->batch->positions[span->row], last = (first + span->n - 1) / PAGE;
            int page =
                job->window > 0 && first + 1 > job->window ? (first + 1 - job->window) / PAGE : 0;
            struct query query = {span, left % n_heads, group, span->n * group, first, page};
            load_query(cpu, &query, scratch);
            for (; page <= last; page++)
                visit_page(job, &query, page, last, scratch);
            store_query(cpu, &query, scratch);
        }
    cpu->dsp.tile_end();
}

static void count_attention(struct cpu_backend *cpu, int window)
{
    const struct ant_batch *batch = cpu->batch;
    double keys = 0, pages = 0;
    for (int row = 0; row < batch->n_rows; row++) {
        int seen = batch->positions[row] + 1;
        keys += window > 0 && window < seen ? window : seen;
    }
    for (int i = 0; i < cpu->n_query_spans; i++) {
        const struct cpu_span *span = &cpu->query_spans[i];
        int first = batch->positions[span->row], last = first + span->n - 1;
        int from = window > 0 && first + 1 > window ? (first + 1 - window) / PAGE : 0;
        pages += last / PAGE + 1 - from;
    }
    ant_tally_add(&cpu->tally.flops, 4 * keys * cpu->arch.n_heads * cpu->arch.head_dim);
    ant_tally_add(&cpu->tally.kv_bytes,
                  2 * pages * cpu->arch.n_kv_heads * (double)cpu->page_head_bytes);
}

void ant_cpu_attention(struct ant_backend *be, int layer, int window)
{
    struct cpu_backend *cpu = cpu_of(be);
    int heads = cpu->arch.n_kv_heads, n = cpu->n_query_spans * heads;
    /* The heads of a page lie side by side. */
    int chunk = cpu->n_query_spans >= 8 * cpu->n_members ? heads : 1;
    struct attention_job job = {cpu, layer, window, {.n = n, .chunk = chunk}};
    if (cpu->failed || n == 0)
        return;
    count_attention(cpu, window);
    cpu->slots[ANT_SLOT_ATTN].has_acts = cpu_makes_acts(cpu);
    ant_cpu_run(cpu, attention_member, &job, &cpu->tally.seconds_attention);
}
