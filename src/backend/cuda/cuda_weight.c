/* SPDX-License-Identifier: Apache-2.0 */
/* Weights on the device: matrices in bf16, row after row, those of experts one after another, then
 * their biases; vectors in float32, then theirs.
 * Threads of the loader decode or copy rows into pieces of pinned memory, which one stream carries
 * over while they fill the next. */
#include "config.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "backend/cuda/cuda.h"
#include "base/mem.h"

enum { MAX_STAGES = 48 };

#define STAGE_BYTES ((size_t)4 << 20)

/* Scale of a random matrix of k columns: what keeps activations of about their size. */
#define NOISE(k) (1.7f / sqrtf((float)(k)))

static size_t aligned(size_t bytes)
{
    return (bytes + 255) / 256 * 256;
}

/* How a weight's matrix is made of its parts: heads, and the hidden units of a feed-forward, are
 * padded to what the kernels can do. */
struct form {
    int64_t n, k;                   /* of the matrix on the device; of experts, of each */
    int64_t row_head, row_head_pad; /* rows of a head, and with padding; equal: no padding */
    int64_t col_head, col_head_pad;
    bool is_e4m3;
};

static struct form form_of(const struct cuda_backend *cuda, const struct ant_weight_spec *spec)
{
    int64_t dim = cuda->arch.head_dim, pad = cuda->head_dim;
    struct form f = {.row_head = 1, .row_head_pad = 1, .col_head = 1, .col_head_pad = 1};

    const struct ant_tensor *const *parts = spec->n_experts > 0 ? spec->experts : spec->parts;
    if (spec->rows_by_head)
        f.row_head = dim, f.row_head_pad = pad;
    if (spec->cols_by_head)
        f.col_head = dim, f.col_head_pad = pad;
    if (spec->rows_by_unit) {
        f.row_head = ant_tensor_rows(parts[0]);
        f.row_head_pad = ant_cuda_units((int)f.row_head);
    }
    if (spec->cols_by_unit) {
        f.col_head = ant_tensor_cols(parts[0]);
        f.col_head_pad = ant_cuda_units((int)f.col_head);
    }
    f.is_e4m3 = cuda->config.weight_type == ANT_WEIGHT_FP8 && !spec->is_table && !spec->is_output &&
                !spec->is_vector;
    for (int i = 0; i < spec->n_parts; i++)
        f.n += ant_tensor_rows(parts[i]) / f.row_head * f.row_head_pad;
    f.n = (f.n + 7) / 8 * 8;
    f.k = ant_tensor_cols(parts[0]) / f.col_head * f.col_head_pad;
    return f;
}

static bool has_bias(const struct ant_weight_spec *spec)
{
    return spec->bias[0] || spec->bias[1] || spec->bias[2];
}

/* Of a vector: its values, and where its bias begins. */
static size_t vector_bytes(const struct ant_weight_spec *spec)
{
    return aligned((size_t)ant_tensor_elements(spec->parts[0]) * sizeof(float));
}

/* Of a matrix, or all of them; behind it the scales of its rows, then its bias. */
static size_t matrix_bytes(const struct form *f, const struct ant_weight_spec *spec)
{
    size_t n = spec->n_experts > 0 ? (size_t)spec->n_experts : 1;

    return aligned(n * (size_t)(f->n * f->k) * (f->is_e4m3 ? 1 : 2));
}

static size_t scales_bytes(const struct form *f)
{
    return f->is_e4m3 ? aligned((size_t)f->n * sizeof(float)) : 0;
}

size_t ant_cuda_weight_bytes(const struct ant_backend *be, const struct ant_weight_spec *spec)
{
    if (spec->is_vector)
        return vector_bytes(spec) * (has_bias(spec) ? 2 : 1);
    struct form f = form_of(cuda_of_const(be), spec);
    size_t bias = aligned((size_t)f.n * (spec->is_router ? sizeof(float) : 2));
    return matrix_bytes(&f, spec) + scales_bytes(&f) + (has_bias(spec) ? bias : 0);
}

/* ---- stages ---------------------------------------------------------------------------------- */

int ant_cuda_weight_open(struct ant_backend *be, size_t bytes, void **memory, struct ant_error *err)
{
    struct cuda_backend *cuda = cuda_of(be);
    int n = 3 * (cuda->config.n_threads > 0 ? cuda->config.n_threads : 1);

    cudaError_t e = cudaMalloc((void **)&cuda->weight_memory, bytes);
    if (e == cudaErrorMemoryAllocation) {
        cudaGetLastError();
        return ant_fail(err, ANT_ENOMEM,
                        "%.2f GB of weights do not fit into what is free on the GPU: take a GPU "
                        "with more memory, a quantized model on the CPU, or end what else runs",
                        (double)bytes / 1e9);
    }
    ANT_CUDA_TRY("cannot allocate memory for the weights", e);
    n = n < MAX_STAGES ? n : MAX_STAGES;
    cuda->stages = ant_xcalloc((size_t)n, sizeof(*cuda->stages));
    cuda->free_stages = ant_xcalloc((size_t)n, sizeof(struct cuda_stage *));
    for (cuda->n_stages = 0; cuda->n_stages < n; cuda->n_stages++) {
        struct cuda_stage *stage = &cuda->stages[cuda->n_stages];
        ANT_CUDA_TRY("cannot make an event",
                     cudaEventCreateWithFlags(&stage->copied, cudaEventDisableTiming));
        ANT_CUDA_TRY("cannot pin memory for the weights' way to the GPU",
                     cudaHostAlloc((void **)&stage->host, STAGE_BYTES, cudaHostAllocDefault));
        cuda->free_stages[cuda->n_free++] = stage;
    }
    if (cuda->config.weight_type == ANT_WEIGHT_FP8)
        ANT_CUDA_TRY("cannot allocate memory for weights on their way",
                     cudaMalloc((void **)&cuda->landing, STAGE_BYTES));
    *memory = cuda->weight_memory;
    return 0;
}

/* The stage that was given back first: its copy is the likeliest to have arrived. */
static struct cuda_stage *take_stage(struct cuda_backend *cuda)
{
    pthread_mutex_lock(&cuda->lock);
    while (cuda->n_free == 0)
        pthread_cond_wait(&cuda->arrival, &cuda->lock);
    struct cuda_stage *stage = cuda->free_stages[cuda->first_free];
    cuda->first_free = (cuda->first_free + 1) % cuda->n_stages;
    cuda->n_free--;
    pthread_mutex_unlock(&cuda->lock);
    return stage;
}

static void give_stage(struct cuda_backend *cuda, struct cuda_stage *stage)
{
    pthread_mutex_lock(&cuda->lock);
    cuda->free_stages[(cuda->first_free + cuda->n_free++) % cuda->n_stages] = stage;
    pthread_cond_signal(&cuda->arrival);
    pthread_mutex_unlock(&cuda->lock);
}

static int send_stage(struct cuda_backend *cuda, struct cuda_stage *stage, void *to, size_t bytes,
                      struct ant_error *err)
{
    ANT_CUDA_TRY(
        "cannot copy weights to the GPU",
        cudaMemcpyAsync(to, stage->host, bytes, cudaMemcpyHostToDevice, cuda->load_stream));
    ANT_CUDA_TRY("cannot copy weights to the GPU",
                 cudaEventRecord(stage->copied, cuda->load_stream));
    return 0;
}

/* Rows from `first` on that have landed become rows of the matrix. */
static int round_landed(struct cuda_backend *cuda, const struct form *f, char *memory,
                        int64_t first, int64_t n, struct ant_error *err)
{
    struct kern_row_e4m3 a = {
        .in = cuda->landing,
        .out = (uint8_t *)memory + first * f->k,
        .scales = (float *)(void *)(memory + aligned((size_t)(f->n * f->k))) + first,
        .rows = (int)n,
        .n = (int)f->k,
    };

    ANT_CUDA_TRY("cannot round weights to e4m3", kern_row_e4m3(a, cuda->load_stream));
    return 0;
}

/* `n` rows of bf16 to where they belong in a matrix. Copies and kernels follow each other on the
 * load stream, so that rows may land where others have been. */
static int send_rows(struct cuda_backend *cuda, const struct form *f, struct cuda_stage *stage,
                     char *memory, int64_t first, int64_t n, struct ant_error *err)
{
    size_t row_bytes = (size_t)f->k * 2, bytes = (size_t)n * row_bytes;

    if (!f->is_e4m3)
        return send_stage(cuda, stage, memory + (size_t)first * row_bytes, bytes, err);
    pthread_mutex_lock(&cuda->lock);
    int rc = send_stage(cuda, stage, cuda->landing, bytes, err);
    if (rc == 0)
        rc = round_landed(cuda, f, memory, first, n, err);
    pthread_mutex_unlock(&cuda->lock);
    return rc;
}

void ant_cuda_weight_close(struct cuda_backend *cuda)
{
    for (int i = 0; i < cuda->n_stages; i++) {
        cudaFreeHost(cuda->stages[i].host);
        cudaEventDestroy(cuda->stages[i].copied);
    }
    free(cuda->stages);
    free(cuda->free_stages);
    cuda->stages = NULL;
    cuda->free_stages = NULL;
    cuda->n_stages = cuda->n_free = cuda->first_free = 0;
}

int ant_cuda_weight_finish(struct cuda_backend *cuda, struct ant_error *err)
{
    ANT_CUDA_TRY("weights did not arrive on the GPU", cudaStreamSynchronize(cuda->load_stream));
    ant_cuda_weight_close(cuda);
    return 0;
}

/* ---- rows ------------------------------------------------------------------------------------ */

static void round_row(const float *from, uint16_t *to, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        to[i] = ant_float_to_bf16(from[i]);
}

/* What one thread works with. */
struct work {
    struct cuda_backend *cuda;
    struct form form;
    float *row; /* (columns) a decoded row */
};

/* Row `row` of `tensor` as a row of the matrix. */
static void put_row(const struct work *work, const struct ant_tensor *tensor, int64_t row,
                    uint16_t *to)
{
    int64_t cols = ant_tensor_cols(tensor), head = work->form.col_head,
            pad = work->form.col_head_pad;
    const char *from = (const char *)tensor->data + (size_t)row * ant_row_bytes(tensor->type, cols);

    if (tensor->type == ANT_BF16 && head == pad) {
        memcpy(to, from, (size_t)cols * 2);
        return;
    }
    ant_dequantize(tensor->type, from, work->row, cols);
    if (head == pad) {
        round_row(work->row, to, cols);
        return;
    }
    for (int64_t i = 0; i < cols / head; i++) {
        round_row(work->row + i * head, to + i * pad, head);
        memset(to + i * pad + head, 0, (size_t)(pad - head) * 2);
    }
}

/* Row `at` of the matrix: of which part, and which row of it; -1: a row of zeros. */
static int64_t source_of(const struct form *f, const struct ant_weight_spec *spec, int64_t at,
                         int *part)
{
    int64_t head = f->row_head, pad = f->row_head_pad;

    for (*part = 0; *part < spec->n_parts; ++*part) {
        int64_t rows = ant_tensor_rows(spec->parts[*part]) / head * pad;
        if (at < rows)
            return at % pad < head ? at / pad * head + at % pad : -1;
        at -= rows;
    }
    return -1;
}

/* Ask for a file's pages at once, not fault by fault. */
static void expect(const struct ant_tensor *tensor, int64_t row, int64_t n)
{
#ifdef MADV_POPULATE_READ
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    size_t row_bytes = ant_row_bytes(tensor->type, ant_tensor_cols(tensor));
    uintptr_t from = (uintptr_t)tensor->data + (size_t)row * row_bytes;
    uintptr_t to = (from + (size_t)n * row_bytes + page - 1) / page * page;

    from = from / page * page;
    madvise((void *)from, to - from, MADV_POPULATE_READ); /* else the pages come one by one */
#else
    (void)tensor, (void)row, (void)n;
#endif
}

static int put_matrix(const struct work *work, const struct ant_weight_spec *spec, char *memory,
                      struct ant_error *err)
{
    const struct form *f = &work->form;
    size_t row_bytes = (size_t)f->k * 2;
    int64_t per_stage = (int64_t)(STAGE_BYTES / row_bytes);

    for (int64_t at = 0; at < f->n; at += per_stage) {
        int64_t n = f->n - at < per_stage ? f->n - at : per_stage;
        struct cuda_stage *stage = take_stage(work->cuda);
        cudaEventSynchronize(stage->copied);
        for (int64_t i = 0; i < n; i++) {
            uint16_t *to = (uint16_t *)(void *)(stage->host + (size_t)i * row_bytes);
            int part;
            int64_t row = source_of(f, spec, at + i, &part);
            if (row < 0) {
                memset(to, 0, row_bytes);
                continue;
            }
            if (i == 0 || row == 0) {
                int64_t left = ant_tensor_rows(spec->parts[part]) - row;
                expect(spec->parts[part], row, left < n - i ? left : n - i);
            }
            put_row(work, spec->parts[part], row, to);
        }
        int rc = send_rows(work->cuda, f, stage, memory, at, n, err);
        give_stage(work->cuda, stage);
        ANT_TRY(rc);
    }
    return 0;
}

/* A vector or a bias: `n` elements, in bf16 or float32, all in one stage. */
static int put_elements(struct cuda_backend *cuda, const float *from, int64_t n, bool is_float,
                        void *memory, struct ant_error *err)
{
    size_t bytes = (size_t)n * (is_float ? 4 : 2);
    struct cuda_stage *stage = take_stage(cuda);

    cudaEventSynchronize(stage->copied);
    if (is_float)
        memcpy(stage->host, from, bytes);
    else
        round_row(from, (uint16_t *)(void *)stage->host, n);
    int rc = send_stage(cuda, stage, memory, bytes, err);
    give_stage(cuda, stage);
    return rc;
}

/* A model without weights computes with vectors of ones, and no biases. */
static int put_vector(struct cuda_backend *cuda, const struct ant_weight_spec *spec,
                      const struct ant_tensor *tensor, float offset, void *memory,
                      struct ant_error *err)
{
    float scale = spec->scale > 0 ? spec->scale : 1;
    int64_t n = ant_tensor_elements(tensor);
    float *values = ant_xmalloc((size_t)n * sizeof(*values));

    if (tensor->data)
        ant_dequantize(tensor->type, tensor->data, values, n);
    for (int64_t i = 0; i < n && !tensor->data; i++)
        values[i] = tensor == spec->bias[0] ? 0 : 1;
    for (int64_t i = 0; i < n; i++)
        values[i] = scale * (values[i] + offset);
    int rc = put_elements(cuda, values, n, true, memory, err);
    free(values);
    return rc;
}

static int fill_vector(struct cuda_backend *cuda, const struct ant_weight_spec *spec, char *memory,
                       struct ant_error *err)
{
    ANT_TRY(put_vector(cuda, spec, spec->parts[0], spec->offset, memory, err));
    if (!spec->bias[0])
        return 0;
    return put_vector(cuda, spec, spec->bias[0], 0, memory + vector_bytes(spec), err);
}

static int put_bias(struct cuda_backend *cuda, const struct form *f,
                    const struct ant_weight_spec *spec, void *memory, struct ant_error *err)
{
    float *values = ant_xcalloc((size_t)f->n, sizeof(*values)), *parts[3] = {NULL};

    for (int i = 0; i < spec->n_parts; i++) {
        const struct ant_tensor *bias = spec->bias[i];
        if (!bias || !bias->data)
            continue;
        parts[i] = ant_xmalloc((size_t)ant_tensor_elements(bias) * sizeof(float));
        ant_dequantize(bias->type, bias->data, parts[i], ant_tensor_elements(bias));
    }
    for (int64_t at = 0; at < f->n; at++) {
        int part;
        int64_t row = source_of(f, spec, at, &part);
        if (row >= 0 && parts[part])
            values[at] = parts[part][row];
    }
    int rc = put_elements(cuda, values, f->n, spec->is_router, memory, err);
    for (int i = 0; i < 3; i++)
        free(parts[i]);
    free(values);
    return rc;
}

/* ---- a weight -------------------------------------------------------------------------------- */

static int check_part(const struct ant_weight_spec *spec, int i, const struct form *f,
                      struct ant_error *err)
{
    const struct ant_tensor *part = spec->parts[i], *bias = spec->bias[i];

    if (ant_tensor_cols(part) != ant_tensor_cols(spec->parts[0]))
        return ant_fail(err, ANT_EDATA, "'%s' has %lld columns, '%s' %lld", part->name,
                        (long long)ant_tensor_cols(part), spec->parts[0]->name,
                        (long long)ant_tensor_cols(spec->parts[0]));
    if (bias && ant_tensor_elements(bias) != ant_tensor_rows(part))
        return ant_fail(err, ANT_EDATA, "bias '%s' has %lld elements for %lld rows", bias->name,
                        (long long)ant_tensor_elements(bias), (long long)ant_tensor_rows(part));
    if (ant_tensor_cols(part) % ant_types[part->type].block != 0)
        return ant_fail(err, ANT_EDATA, "'%s' has %lld columns, no multiple of %s's block",
                        part->name, (long long)ant_tensor_cols(part), ant_types[part->type].name);
    if (ant_tensor_rows(part) % f->row_head != 0 || ant_tensor_cols(part) % f->col_head != 0)
        return ant_fail(err, ANT_EDATA, "'%s' is %lld x %lld: no whole number of heads", part->name,
                        (long long)ant_tensor_rows(part), (long long)ant_tensor_cols(part));
    if (f->n > INT32_MAX / 4 || (size_t)f->k * 2 > STAGE_BYTES)
        return ant_fail(err, ANT_EUNSUPP, "'%s' is too large", part->name);
    return 0;
}

/* What of experts is weights of one of them. */
static struct ant_weight_spec expert_of(const struct ant_weight_spec *spec, int expert)
{
    struct ant_weight_spec one = *spec;

    one.n_experts = 0;
    for (int i = 0; i < spec->n_parts; i++)
        one.parts[i] = spec->experts[expert * spec->n_parts + i];
    return one;
}

static int check_parts(const struct ant_weight_spec *spec, const struct form *f,
                       struct ant_error *err)
{
    for (int i = 0; i < spec->n_parts; i++)
        ANT_TRY(check_part(spec, i, f, err));
    return 0;
}

/* A model without weights computes with noise; of experts there are no scales. */
static int fill_noise(struct cuda_backend *cuda, const struct form *f, int n_matrices, char *memory,
                      struct ant_error *err)
{
    int64_t rows = n_matrices * f->n;
    int64_t most = f->is_e4m3 ? (int64_t)(STAGE_BYTES / 2) / f->k : rows;
    int rc = 0;

    pthread_mutex_lock(&cuda->lock);
    for (int64_t at = 0; at < rows && rc == 0; at += most) {
        int64_t n = rows - at < most ? rows - at : most;
        cudaError_t e = kern_fill_noise(f->is_e4m3 ? cuda->landing : (uint16_t *)(void *)memory,
                                        (size_t)(n * f->k), NOISE(f->k), cuda->load_stream);
        if (e != cudaSuccess)
            rc = ant_cuda_fail(err, "cannot fill weights with noise", e);
        else if (f->is_e4m3)
            rc = round_landed(cuda, f, memory, at, n, err);
    }
    pthread_mutex_unlock(&cuda->lock);
    return rc;
}

static int fill_matrix(struct cuda_backend *cuda, const struct form *f,
                       const struct ant_weight_spec *spec, char *memory, struct ant_error *err)
{
    struct work work = {.cuda = cuda, .form = *f};
    const struct ant_tensor *first = spec->n_experts > 0 ? spec->experts[0] : spec->parts[0];
    int n = spec->n_experts > 0 ? spec->n_experts : 1, rc = 0;

    if (first->data == NULL) {
        ANT_TRY(fill_noise(cuda, f, n, memory, err));
    } else {
        work.row = ant_xmalloc((size_t)ant_tensor_cols(first) * sizeof(float));
        for (int i = 0; i < n && rc == 0; i++) {
            struct ant_weight_spec one = spec->n_experts > 0 ? expert_of(spec, i) : *spec;
            rc = put_matrix(&work, &one, memory + (size_t)i * (size_t)(f->n * f->k) * 2, err);
        }
        free(work.row);
        ANT_TRY(rc);
    }
    if (!has_bias(spec))
        return 0;
    return put_bias(cuda, f, spec, memory + matrix_bytes(f, spec) + scales_bytes(f), err);
}

/* What operations find where. */
static struct ant_weight describe(const struct ant_weight_spec *spec, const struct form *f,
                                  void *memory)
{
    struct ant_weight w = {.n = (int)f->n, .k = (int)f->k, .n_experts = spec->n_experts};
    char *bias = (char *)memory +
                 (spec->is_vector ? vector_bytes(spec) : matrix_bytes(f, spec) + scales_bytes(f));

    if (spec->is_vector)
        w.vector = memory;
    else
        w.matrix = memory;
    if (f->is_e4m3)
        w.scales = (const float *)(const void *)((char *)memory + matrix_bytes(f, spec));
    if (has_bias(spec) && (spec->is_vector || spec->is_router))
        w.vector_bias = (const float *)(const void *)bias;
    else if (has_bias(spec))
        w.bias = (const uint16_t *)(const void *)bias;
    return w;
}

int ant_cuda_weight_put(struct ant_backend *be, struct ant_weight **out,
                        const struct ant_weight_spec *spec, void *memory, bool fill,
                        struct ant_error *err)
{
    struct cuda_backend *cuda = cuda_of(be);
    struct form f = {.n = 1};
    int n_checked = spec->is_vector ? 0 : spec->n_experts > 0 ? spec->n_experts : 1;

    ANT_CUDA_TRY("cannot use the GPU", cudaSetDevice(cuda->device));
    if (spec->is_vector)
        f.k = ant_tensor_elements(spec->parts[0]);
    else
        f = form_of(cuda, spec);
    for (int i = 0; i < n_checked; i++) {
        struct ant_weight_spec one = spec->n_experts > 0 ? expert_of(spec, i) : *spec;
        ANT_TRY(check_parts(&one, &f, err));
    }
    if (fill)
        ANT_TRY(spec->is_vector ? fill_vector(cuda, spec, memory, err)
                                : fill_matrix(cuda, &f, spec, memory, err));
    struct ant_weight *w = ant_xcalloc(1, sizeof(*w));
    *w = describe(spec, &f, memory);
    w->bytes = ant_cuda_weight_bytes(be, spec);
    pthread_mutex_lock(&cuda->lock);
    w->next = cuda->weights;
    cuda->weights = w;
    pthread_mutex_unlock(&cuda->lock);
    *out = w;
    return 0;
}
