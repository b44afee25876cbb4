/* SPDX-License-Identifier: Apache-2.0 */
/* A step's way: the batch's integers go into one pinned descriptor and over in one copy; the
 * operations follow on the stream; what was drawn comes back in one copy, behind which an event
 * stands. Nothing here waits but step_wait, and nothing is allocated but a graph, the first time
 * that a size of decode step occurs. */
#include "config.h"

#include <string.h>

#include "backend/cuda/cuda.h"

/* ---- captured steps -------------------------------------------------------------------------- */

/* Sizes of captured steps: 1, 2, 4, then multiples of 8 up to 64, of 16 up to 256 and so on. */
int ant_cuda_graph_rows(int rows, int *index)
{
    static const struct {
        int last, unit;
    } spans[] = {{64, 8}, {256, 16}, {512, 32}, {1024, 64}, {CUDA_GRAPH_ROWS, 128}};
    int before = 0, n = 3;

    if (rows <= 4) {
        n = rows <= 2 ? rows - 1 : 2;
        if (index)
            *index = n;
        return 1 << n;
    }
    for (size_t i = 0; i < sizeof(spans) / sizeof(*spans); i++) {
        int unit = spans[i].unit, up = (rows - before + unit - 1) / unit;
        if (rows <= spans[i].last) {
            if (index)
                *index = n + up - 1;
            return before + up * unit;
        }
        n += (spans[i].last - before) / unit;
        before = spans[i].last;
    }
    return rows;
}

_Static_assert(3 + 64 / 8 + 192 / 16 + 256 / 32 + 512 / 64 + (CUDA_GRAPH_ROWS - 1024) / 128 <=
                   CUDA_GRAPHS,
               "a graph for each size");

/* One row of each sequence, each sampled. Or nothing. */
static bool has_single_rows(const struct ant_batch *batch)
{
    return batch->n_rows <= CUDA_GRAPH_ROWS && batch->n_seqs == batch->n_rows &&
           batch->n_sampled == batch->n_rows;
}

/* Attention of single rows in one round of decode items. */
static bool can_capture(const struct cuda_backend *cuda, const struct ant_batch *batch)
{
    return has_single_rows(batch) && cuda->plan.n_rounds == (batch->n_rows > 0) &&
           cuda->plan.n_prefill == 0 && !cuda->has_late_edits && !cuda->config.reads_slots &&
           !cuda->is_checked && !cuda->marks;
}

/* ---- the descriptor -------------------------------------------------------------------------- */

static size_t piece(size_t *end, int n, size_t bytes)
{
    size_t at = *end;
    *end = (at + (size_t)n * bytes + 15) / 16 * 16;
    return at;
}

struct cuda_layout ant_cuda_layout(int rows, int sampled)
{
    struct cuda_layout at;
    size_t end = 0;

    at.count = piece(&end, CUDA_COUNTS, sizeof(int32_t));
    at.draws = piece(&end, sampled, sizeof(struct kern_draw));
    at.tokens = piece(&end, rows, sizeof(int32_t));
    at.positions = piece(&end, rows, sizeof(int32_t));
    at.slots = piece(&end, rows, sizeof(int32_t));
    at.sampled = piece(&end, sampled, sizeof(int32_t));
    at.tail = end;
    return at;
}

static bool ids_in_range(const int32_t *ids, int n, int from, int to)
{
    for (int i = 0; i < n; i++)
        if (ids[i] < from || ids[i] >= to)
            return false;
    return true;
}

/* Rows to be sampled that the batch names: the draws of an open step come without them. */
static int n_named(const struct ant_batch *batch)
{
    return batch->sampled ? batch->n_sampled : 0;
}

/* What the integers of a batch must satisfy for the kernels to stay in their memory. */
static bool check_sequences(const struct cuda_backend *cuda, const struct ant_batch *b)
{
    for (int seq = 0; seq < b->n_seqs; seq++) {
        int first = b->row_start[seq], end = b->row_start[seq + 1], context = b->context[seq];
        int n_pages = b->page_start[seq + 1] - b->page_start[seq];
        if (end < first || end > b->n_rows || context > cuda->config.max_context ||
            (context + ANT_PAGE_TOKENS - 1) / ANT_PAGE_TOKENS > n_pages ||
            n_pages > cuda->config.max_context / ANT_PAGE_TOKENS + 1)
            return false;
        if (!ids_in_range(b->positions + first, end - first, 0, context))
            return false;
    }
    return ids_in_range(b->pages, b->page_start[b->n_seqs], 0, cuda->n_pages);
}

static const char *refusal(const struct cuda_backend *cuda, const struct ant_batch *batch)
{
    if (cuda->kv == NULL)
        return "a step before the KV cache was opened";
    if (cuda->n_begun - cuda->n_waited >= CUDA_STEPS)
        return "more steps in flight than there is room for";
    if ((n_named(batch) > 0 && batch->n_rows == 0) || batch->n_rows > cuda->config.max_rows ||
        batch->n_seqs > cuda->config.max_seqs || batch->n_sampled > cuda->config.max_sampled)
        return "a step larger than what was opened for";
    int n_before = cuda->n_begun > 0 ? cuda->steps[(cuda->n_begun - 1) % CUDA_STEPS].n_drawn : 0;
    if (!ids_in_range(batch->tokens, batch->n_rows, -n_before, cuda->arch.vocab) ||
        !ids_in_range(batch->sampled, n_named(batch), 0, batch->n_rows))
        return "a token id or row outside its range";
    if (!ant_cuda_check_draws(cuda, batch))
        return "a draw outside its range";
    if (!check_sequences(cuda, batch))
        return "a position or page outside its range";
    return NULL;
}

/* Rows, and those that a captured step has in excess: they are computed and kept nowhere. */
static void put_rows(const struct cuda_backend *cuda, const struct ant_batch *b, char *to)
{
    int32_t *tokens = (int32_t *)(void *)(to + cuda->at.tokens);
    int32_t *positions = (int32_t *)(void *)(to + cuda->at.positions);
    int32_t *slots = (int32_t *)(void *)(to + cuda->at.slots);
    int32_t *sampled = (int32_t *)(void *)(to + cuda->at.sampled);
    size_t n = (size_t)b->n_rows;

    memcpy(tokens, b->tokens, n * sizeof(*tokens));
    memcpy(positions, b->positions, n * sizeof(*positions));
    if (n_named(b) > 0)
        memcpy(sampled, b->sampled, (size_t)n_named(b) * sizeof(*sampled));
    for (int seq = 0; seq < b->n_seqs; seq++) {
        const int32_t *pages = b->pages + b->page_start[seq];
        for (int row = b->row_start[seq]; row < b->row_start[seq + 1]; row++)
            slots[row] = pages[b->positions[row] / ANT_PAGE_TOKENS] * ANT_PAGE_TOKENS +
                         b->positions[row] % ANT_PAGE_TOKENS;
    }
    for (int row = b->n_rows; row < cuda->n_rows; row++) {
        tokens[row] = positions[row] = 0;
        slots[row] = -1;
    }
    for (int i = b->n_sampled; i < cuda->n_sampled; i++)
        sampled[i] = i < cuda->n_rows ? i : 0;
}

/* The tail while it is filled, counted in integers. */
struct tail {
    int32_t *to;
    int n;
};

/* Add a part; returns where it begins. Members are read as pairs, so parts begin at even places. */
static int add_part(struct tail *tail, const void *from, size_t bytes)
{
    int at = tail->n;

    memcpy(tail->to + at, from, bytes);
    tail->n += (int)(bytes / sizeof(*tail->to) + 1) / 2 * 2;
    return at;
}

/* Items know their pages by place in the batch; make it the place in the tail. */
static struct kern_attn_item *shift_pages(const struct tail *tail, int at, int n, int pages)
{
    struct kern_attn_item *items = (struct kern_attn_item *)(void *)(tail->to + at);

    for (int i = 0; i < n; i++)
        items[i].page += pages;
    return items;
}

/* Items of attention, pages, members, banned ids and edits; and the draws, which name the latter.
 * Returns the tail's bytes, SIZE_MAX when ids are too many. */
static size_t put_tail(struct cuda_backend *cuda, const struct ant_batch *b, char *to)
{
    struct ant_attn_plan *plan = &cuda->plan;
    struct tail tail = {.to = (int32_t *)(void *)(to + cuda->at.tail)};
    int32_t *count = (int32_t *)(void *)(to + cuda->at.count);
    size_t item_bytes = sizeof(struct kern_attn_item);

    add_part(&tail, plan->decode, (size_t)plan->n_decode * item_bytes);
    cuda->prefill_at = add_part(&tail, plan->prefill, (size_t)plan->n_prefill * item_bytes);
    int shared = add_part(&tail, plan->shared, (size_t)plan->n_shared * item_bytes);
    int pages = add_part(&tail, b->pages, (size_t)b->page_start[b->n_seqs] * sizeof(int32_t));
    int members = add_part(&tail, plan->members, (size_t)plan->n_members * sizeof(*plan->members));
    shift_pages(&tail, 0, plan->n_decode, pages);
    shift_pages(&tail, cuda->prefill_at, plan->n_prefill, pages);
    struct kern_attn_item *items = shift_pages(&tail, shared, plan->n_shared, pages);
    for (int i = 0; i < plan->n_shared; i++)
        items[i].first = members + 2 * items[i].first;
    count[0] = plan->n_decode;
    count[1] = plan->n_shared;
    count[2] = shared;
    count[CUDA_SUMS_AT] = (int32_t)cuda->peers.n_before;
    int end = ant_cuda_put_draws(cuda, b, (struct kern_draw *)(void *)(to + cuda->at.draws),
                                 tail.to, tail.n);
    return end < 0 ? SIZE_MAX : (size_t)end * sizeof(int32_t);
}

/* ---- begin, end, wait ------------------------------------------------------------------------ */

static void fail(struct cuda_backend *cuda, int code, const char *text)
{
    if (!cuda->failed)
        cuda->failed = ant_fail(&cuda->error, (enum ant_err)code, "cuda: %s", text);
}

static void fail_device(struct cuda_backend *cuda, const char *what, cudaError_t e)
{
    if (!cuda->failed && e != cudaSuccess)
        cuda->failed = ant_cuda_fail(&cuda->error, what, e);
}

/* Keys that attention reads: those of shared chunks once. */
static size_t count_keys(const struct cuda_backend *cuda, const struct ant_batch *batch)
{
    size_t n = 0;

    for (int seq = 0; seq < batch->n_seqs; seq++)
        n += (size_t)batch->context[seq];
    for (int i = 0; i < cuda->plan.n_shared; i++)
        n -= (size_t)(cuda->plan.shared[i].n_rows - 1) * KERN_CHUNK_KEYS;
    return n;
}

/* How this step's operations are run. How many rows they have depends on the batch alone: ranks of
 * a replica exchange as many, whether each of them can capture the step or not. */
static void choose_mode(struct cuda_backend *cuda, const struct ant_batch *batch)
{
    bool is_empty = batch->n_rows + batch->n_sampled == 0, is_captured = can_capture(cuda, batch);
    int size, rows = batch->n_rows;

    cuda->mode = CUDA_LAUNCH;
    cuda->n_rows = batch->n_rows;
    cuda->n_sampled = batch->n_sampled;
    if (cuda->config.spread)
        is_captured = ant_cuda_spread_agree(cuda, batch->n_rows, is_captured, &rows);
    else if (has_single_rows(batch) && !is_empty)
        cuda->n_rows = cuda->n_sampled = ant_cuda_graph_rows(rows, NULL);
    if (!is_captured)
        return;
    rows = ant_cuda_graph_rows(rows, &size);
    if (cuda->config.spread)
        ant_cuda_spread_equal(cuda, rows);
    cuda->n_rows = cuda->n_sampled = is_empty ? 0 : rows;
    bool is_shared = cuda->plan.n_shared > 0;
    int kind = is_empty         ? CUDA_EMPTY
               : batch->is_open ? CUDA_OPEN + is_shared
                                : is_shared | cuda->has_edits << 1 | cuda->has_top << 2;
    cuda->graph = &cuda->graphs[kind][size];
    cuda->mode = *cuda->graph ? CUDA_REPLAY : CUDA_CAPTURE;
}

void ant_cuda_step_begin(struct ant_backend *be, const struct ant_batch *batch)
{
    struct cuda_backend *cuda = cuda_of(be);
    const char *why = refusal(cuda, batch);

    if (why)
        fail(cuda, ANT_EBUG, why);
    if (cuda->failed)
        return;
    struct cuda_step *step = &cuda->steps[cuda->n_begun % CUDA_STEPS];
    fail_device(cuda, "cannot use the GPU", cudaSetDevice(cuda->device));
    ant_attn_plan(&cuda->plan, batch, cuda->arch.n_heads / cuda->arch.n_kv_heads,
                  cuda->plan_window);
    cuda->late_shift = NULL;
    cuda->late_terms.used = 0;
    cuda->has_late_sum = cuda->has_late_clear = false;
    cuda->peers.n_before = cuda->peers.n_sums;
    ant_cuda_survey_draws(cuda, batch);
    choose_mode(cuda, batch);
    cuda->at = ant_cuda_layout(cuda->n_rows, cuda->n_sampled);
    size_t tail = put_tail(cuda, batch, step->host);
    if (tail == SIZE_MAX)
        fail(cuda, ANT_EUNSUPP, "too many ids are banned at once: give fewer --stop-token-id");
    put_rows(cuda, batch, step->host);
    step->n_drawn = cuda->n_sampled;
    step->is_open = batch->is_open;
    cuda->n_keys = count_keys(cuda, batch);
    fail_device(cuda, "cannot send a step to the GPU",
                cudaMemcpyAsync(cuda->descriptor, step->host, cuda->at.tail + tail,
                                cudaMemcpyHostToDevice, cuda->stream));
    ant_cuda_mark_begin(cuda);
    if (cuda->mode == CUDA_CAPTURE)
        fail_device(cuda, "cannot capture a step",
                    cudaStreamBeginCapture(cuda->stream, cudaStreamCaptureModeRelaxed));
}

/* Make what was captured a graph that can be launched. */
static void end_capture(struct cuda_backend *cuda)
{
    cudaGraph_t graph = NULL;

    fail_device(cuda, "cannot capture a step", cudaStreamEndCapture(cuda->stream, &graph));
    if (!cuda->failed)
        fail_device(cuda, "cannot make a graph of a step",
                    cudaGraphInstantiate(cuda->graph, graph, 0));
    if (graph)
        cudaGraphDestroy(graph);
}

void ant_cuda_step_end(struct ant_backend *be)
{
    struct cuda_backend *cuda = cuda_of(be);
    struct cuda_step *step = &cuda->steps[cuda->n_begun % CUDA_STEPS];

    if (cuda->mode == CUDA_CAPTURE)
        end_capture(cuda);
    if (cuda->failed)
        return;
    if (cuda->mode != CUDA_LAUNCH)
        fail_device(cuda, "cannot launch a step", cudaGraphLaunch(*cuda->graph, cuda->stream));
    cuda->mode = CUDA_LAUNCH;
    bool is_mine = !cuda->config.parallel || cuda->config.parallel->tp_rank == 0;
    if (step->n_drawn > 0 && is_mine && !step->is_open)
        fail_device(cuda, "cannot fetch what a step drew",
                    cudaMemcpyAsync(step->drawn, cuda->drawn, 2 * (size_t)step->n_drawn * 4,
                                    cudaMemcpyDeviceToHost, cuda->stream));
    if (step->n_drawn > 0 && is_mine && !step->is_open && cuda->has_top)
        fail_device(cuda, "cannot fetch what a step drew",
                    cudaMemcpyAsync(step->top, cuda->top,
                                    2 * (size_t)step->n_drawn * KERN_MAX_TOP * 4,
                                    cudaMemcpyDeviceToHost, cuda->stream));
    fail_device(cuda, "cannot fetch what a step drew", cudaEventRecord(step->done, cuda->stream));
    cuda->n_begun++;
}

int ant_cuda_step_wait(struct ant_backend *be, struct ant_drawn *out, struct ant_error *err)
{
    struct cuda_backend *cuda = cuda_of(be);
    if (cuda->n_waited < cuda->n_begun && cuda->steps[cuda->n_waited % CUDA_STEPS].is_open)
        cuda->n_waited++;
    struct cuda_step *step = &cuda->steps[cuda->n_waited % CUDA_STEPS];

    if (!cuda->failed && cuda->n_waited == cuda->n_begun)
        fail(cuda, ANT_EBUG, "a wait without a step");
    if (!cuda->failed && cuda->config.parallel && cuda->config.parallel->replica)
        cuda->failed = ant_cuda_parallel_wait(cuda, step->done, &cuda->error);
    if (!cuda->failed)
        fail_device(cuda, "a step on the GPU (ANTIPHON_CHECK=1 finds the operation)",
                    cudaEventSynchronize(step->done));
    if (cuda->failed) {
        if (err)
            *err = cuda->error;
        return cuda->failed;
    }
    cuda->n_waited++;
    ant_cuda_mark_end(cuda);
    *out = (struct ant_drawn){
        .ids = step->drawn,
        .logprobs = (const float *)(const void *)step->drawn + step->n_drawn,
        .top_ids = step->top,
        .top_logprobs = (const float *)(const void *)(step->top + step->n_drawn * KERN_MAX_TOP),
    };
    return 0;
}
