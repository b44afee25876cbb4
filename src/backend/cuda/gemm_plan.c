/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "backend/cuda/gemm_plan.h"

#include <stdlib.h>
#include <string.h>

#include <cublasLt.h>

#include "base/checksum.h"
#include "base/file.h"
#include "base/mem.h"
#include "cuda/kern.h"

enum { N_BUCKETS = 28, MAX_PLANS = 64, REPEATS = 3, CHECK_ROWS = 16 };
enum { UNSPLIT = 12, LARGER = 4, CANDIDATES = UNSPLIT + LARGER + 1 };

/* An algorithm is at its best with the rows it was chosen for. The largest are multiples of 33 rows
 * of tiles, of which 132 multiprocessors have none left over. */
static const int bucket_rows[N_BUCKETS] = {
    8,   16,  32,  64,  96,   128,  160,  192,  256,  288,  320,  384,  448,  512,
    576, 640, 768, 896, 1024, 1152, 1280, 1536, 1792, 2048, 3072, 4224, 6336, 8448};

#define WORKSPACE_BYTES ((size_t)32 << 20)
#define FLUSH_BYTES     ((size_t)96 << 20) /* more than the L2 cache of any GPU known */
#define HOPELESS        1.15               /* times the fastest */
#define LONG_S          5e-4               /* of which one run is enough */
#define OWN_SHARE       0.9 /* of what our own kernel takes by itself: it overlaps the one before */

/* How a product is computed. */
struct way {
    bool is_own; /* kern_few_rows, else the library's */
    cublasLtMatmulAlgo_t algo;
};

static bool is_same_way(const struct way *a, const struct way *b)
{
    return a->is_own == b->is_own && memcmp(&a->algo, &b->algo, sizeof(a->algo)) == 0;
}

/* What tuning finds, and a file keeps. */
struct tuned {
    struct ant_gemm_shape shape;
    int n_buckets;
    struct way ways[N_BUCKETS];
    struct ant_gemm_choice choices[N_BUCKETS];
};

struct plan {
    struct tuned t;
    cublasLtMatmulDesc_t desc;
};

struct ant_gemm {
    cublasLtHandle_t lt;
    void *workspace;
    int n_plans;
    struct plan plans[MAX_PLANS];
};

/* What tuning works on: buffers of the largest bucket, and what times a run. */
struct bench {
    uint16_t *in, *weight, *bias;
    float *in_scales, *weight_scales; /* of e4m3 */
    char *out, *initial, *want;
    void *flush;
    int32_t *count;
    cudaEvent_t start, end;
};

static int fail_cuda(struct ant_error *err, const char *what, cudaError_t e)
{
    cudaGetLastError();
    return ant_fail(err, e == cudaErrorMemoryAllocation ? ANT_ENOMEM : ANT_EDEVICE, "%s: %s", what,
                    cudaGetErrorString(e));
}

#define TRY_CUDA(what, call)                                                                       \
    do {                                                                                           \
        cudaError_t cuda_result = (call);                                                          \
        if (cuda_result != cudaSuccess)                                                            \
            return fail_cuda(err, what, cuda_result);                                              \
    } while (0)

#define TRY_LT(what, call)                                                                         \
    do {                                                                                           \
        cublasStatus_t lt_result = (call);                                                         \
        if (lt_result != CUBLAS_STATUS_SUCCESS)                                                    \
            return ant_fail(err, ANT_EDEVICE, "%s: %s", what, cublasLtGetStatusString(lt_result)); \
    } while (0)

int ant_gemm_open(struct ant_gemm **out, struct ant_error *err)
{
    struct ant_gemm *gemm = ant_xcalloc(1, sizeof(*gemm));
    cublasStatus_t status = cublasLtCreate(&gemm->lt);
    cudaError_t e;

    if (status != CUBLAS_STATUS_SUCCESS) {
        free(gemm);
        return ant_fail(err, ANT_EDEVICE, "cannot start cuBLASLt: %s",
                        cublasLtGetStatusString(status));
    }
    e = cudaMalloc(&gemm->workspace, WORKSPACE_BYTES);
    if (e != cudaSuccess) {
        ant_gemm_close(gemm);
        return fail_cuda(err, "cannot allocate the workspace of products", e);
    }
    *out = gemm;
    return 0;
}

void ant_gemm_close(struct ant_gemm *gemm)
{
    if (!gemm)
        return;
    for (int i = 0; i < gemm->n_plans; i++)
        cublasLtMatmulDescDestroy(gemm->plans[i].desc);
    cudaFree(gemm->workspace);
    cublasLtDestroy(gemm->lt);
    free(gemm);
}

static size_t out_bytes(const struct ant_gemm_shape *shape, int rows)
{
    return (size_t)rows * (size_t)shape->n * (shape->out == ANT_GEMM_BF16 ? 2 : 4);
}

/* Layouts of a product: the library's matrices are by columns, so W is (k, n) transposed, and rows
 * of activations are its columns. */
struct layouts {
    cublasLtMatrixLayoutOpaque_t weight, in, out;
};

static void make_layouts(struct layouts *l, const struct ant_gemm_shape *shape, int rows)
{
    cudaDataType_t type = shape->out == ANT_GEMM_BF16 ? CUDA_R_16BF : CUDA_R_32F;
    cudaDataType_t factor = shape->is_e4m3 ? CUDA_R_8F_E4M3 : CUDA_R_16BF;
    uint64_t n = (uint64_t)shape->n, k = (uint64_t)shape->k, m = (uint64_t)rows;

    cublasLtMatrixLayoutInit(&l->weight, factor, k, n, (int64_t)k);
    cublasLtMatrixLayoutInit(&l->in, factor, k, m, (int64_t)k);
    cublasLtMatrixLayoutInit(&l->out, type, n, m, (int64_t)n);
}

static void set_scales(struct plan *plan, const float *in, const float *weight)
{
    cublasLtMatmulDescSetAttribute(plan->desc, CUBLASLT_MATMUL_DESC_A_SCALE_POINTER, &weight,
                                   sizeof(weight));
    cublasLtMatmulDescSetAttribute(plan->desc, CUBLASLT_MATMUL_DESC_B_SCALE_POINTER, &in,
                                   sizeof(in));
}

/* A scale a row of either factor. Sums in the matrix unit alone: to 3e-3 of their size at k of
 * 14336, a tenth of what rounding to e4m3 has cost. */
static int describe_e4m3(struct ant_gemm *gemm, struct plan *plan, struct ant_error *err)
{
    cublasLtMatmulMatrixScale_t by_row = CUBLASLT_MATMUL_MATRIX_SCALE_OUTER_VEC_32F;
    int8_t fast = 1;

    TRY_LT("cannot describe a product of e4m3",
           cublasLtMatmulDescSetAttribute(plan->desc, CUBLASLT_MATMUL_DESC_A_SCALE_MODE, &by_row,
                                          sizeof(by_row)));
    TRY_LT("cannot describe a product of e4m3",
           cublasLtMatmulDescSetAttribute(plan->desc, CUBLASLT_MATMUL_DESC_B_SCALE_MODE, &by_row,
                                          sizeof(by_row)));
    TRY_LT("cannot describe a product of e4m3",
           cublasLtMatmulDescSetAttribute(plan->desc, CUBLASLT_MATMUL_DESC_FAST_ACCUM, &fast,
                                          sizeof(fast)));
    set_scales(plan, gemm->workspace, gemm->workspace); /* some, until there are others */
    return 0;
}

static int make_desc(struct ant_gemm *gemm, struct plan *plan, struct ant_error *err)
{
    cublasOperation_t transposed = CUBLAS_OP_T;
    cublasLtEpilogue_t epilogue = CUBLASLT_EPILOGUE_BIAS;
    cudaDataType_t bias_type = CUDA_R_16BF;

    TRY_LT("cannot describe a product",
           cublasLtMatmulDescCreate(&plan->desc, CUBLAS_COMPUTE_32F, CUDA_R_32F));
    TRY_LT("cannot describe a product",
           cublasLtMatmulDescSetAttribute(plan->desc, CUBLASLT_MATMUL_DESC_TRANSA, &transposed,
                                          sizeof(transposed)));
    if (plan->t.shape.is_e4m3)
        ANT_TRY(describe_e4m3(gemm, plan, err));
    if (!plan->t.shape.has_bias)
        return 0;
    TRY_LT("cannot describe a product with bias",
           cublasLtMatmulDescSetAttribute(plan->desc, CUBLASLT_MATMUL_DESC_EPILOGUE, &epilogue,
                                          sizeof(epilogue)));
    TRY_LT("cannot describe a product with bias",
           cublasLtMatmulDescSetAttribute(plan->desc, CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE,
                                          &bias_type, sizeof(bias_type)));
    return 0;
}

static cudaError_t launch_own(const struct ant_gemm_shape *shape, const struct ant_gemm_call *call,
                              cudaStream_t stream)
{
    struct kern_chain a = {.in = call->in,
                           .weight = call->weight,
                           .bias = shape->has_bias ? call->bias : NULL,
                           .rows = call->rows,
                           .n = shape->n,
                           .k = shape->k,
                           .add = shape->out == ANT_GEMM_ADD};

    if (shape->out == ANT_GEMM_BF16)
        a.out = call->out;
    else
        a.out_f32 = call->out;
    return kern_few_rows(a, stream);
}

static cublasStatus_t launch(struct ant_gemm *gemm, struct plan *plan, const struct way *way,
                             const struct ant_gemm_call *call, cudaStream_t stream)
{
    static const float one = 1, zero = 0;
    const float *beta = plan->t.shape.out == ANT_GEMM_ADD ? &one : &zero;
    struct layouts l;

    if (way->is_own)
        return launch_own(&plan->t.shape, call, stream) == cudaSuccess
                   ? CUBLAS_STATUS_SUCCESS
                   : CUBLAS_STATUS_EXECUTION_FAILED;
    make_layouts(&l, &plan->t.shape, call->rows);
    if (plan->t.shape.is_e4m3)
        set_scales(plan, call->in_scales, call->weight_scales);
    if (plan->t.shape.has_bias)
        cublasLtMatmulDescSetAttribute(plan->desc, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &call->bias,
                                       sizeof(call->bias));
    return cublasLtMatmul(
        gemm->lt, plan->desc, &one, call->weight, (cublasLtMatrixLayout_t)&l.weight, call->in,
        (cublasLtMatrixLayout_t)&l.in, beta, call->out, (cublasLtMatrixLayout_t)&l.out, call->out,
        (cublasLtMatrixLayout_t)&l.out, &way->algo, gemm->workspace, WORKSPACE_BYTES, stream);
}

int ant_gemm_run(struct ant_gemm *gemm, int plan, const struct ant_gemm_call *call,
                 cudaStream_t stream, struct ant_error *err)
{
    struct plan *p = &gemm->plans[plan];
    int bucket = 0;

    if (call->rows == 0)
        return 0;
    while (bucket < p->t.n_buckets - 1 && bucket_rows[bucket] < call->rows)
        bucket++;
    cublasStatus_t status = launch(gemm, p, &p->t.ways[bucket], call, stream);
    if (status != CUBLAS_STATUS_SUCCESS)
        return ant_fail(err, ANT_EDEVICE, "product of %d rows with %d x %d: %s", call->rows,
                        p->t.shape.n, p->t.shape.k, cublasLtGetStatusString(status));
    return 0;
}

int ant_gemm_choices(const struct ant_gemm *gemm, int plan, const struct ant_gemm_choice **out)
{
    *out = gemm->plans[plan].t.choices;
    return gemm->plans[plan].t.n_buckets;
}

/* ---- tuning ---------------------------------------------------------------------------------- */

static void close_bench(struct bench *b)
{
    void *buffers[] = {b->in,   b->weight, b->bias,  b->out,       b->initial,
                       b->want, b->flush,  b->count, b->in_scales, b->weight_scales};

    for (size_t i = 0; i < sizeof(buffers) / sizeof(*buffers); i++)
        cudaFree(buffers[i]);
    if (b->start)
        cudaEventDestroy(b->start);
    if (b->end)
        cudaEventDestroy(b->end);
}

/* Noise as rows of e4m3, made of bf16 for a moment. */
static int fill_e4m3(uint16_t *to, float *scales, int rows, int k, struct ant_error *err)
{
    size_t n = (size_t)rows * (size_t)k;
    uint16_t *from;

    TRY_CUDA("tuning of products", cudaMalloc((void **)&from, n * 2));
    cudaError_t e = kern_fill_noise(from, n, 1, 0);
    if (e == cudaSuccess)
        e = kern_row_e4m3((struct kern_row_e4m3){from, (uint8_t *)to, scales, rows, k}, 0);
    cudaFree(from);
    TRY_CUDA("tuning of products", e);
    return 0;
}

/* The factors. Zeros would flatter timings. */
static int fill_factors(struct bench *b, const struct ant_gemm_shape *shape, int rows,
                        struct ant_error *err)
{
    size_t in = (size_t)rows * (size_t)shape->k, weight = (size_t)shape->n * (size_t)shape->k;

    if (!shape->is_e4m3) {
        TRY_CUDA("tuning of products", kern_fill_noise(b->in, in, 1, 0));
        TRY_CUDA("tuning of products", kern_fill_noise(b->weight, weight, 1, 0));
        return 0;
    }
    TRY_CUDA("tuning of products", cudaMalloc((void **)&b->in_scales, (size_t)rows * 4));
    TRY_CUDA("tuning of products", cudaMalloc((void **)&b->weight_scales, (size_t)shape->n * 4));
    ANT_TRY(fill_e4m3(b->in, b->in_scales, rows, shape->k, err));
    return fill_e4m3(b->weight, b->weight_scales, shape->n, shape->k, err);
}

static int open_bench(struct bench *b, const struct ant_gemm_shape *shape, int rows,
                      struct ant_error *err)
{
    size_t element = shape->is_e4m3 ? 1 : 2, out = out_bytes(shape, rows);
    size_t in = (size_t)rows * (size_t)shape->k * element;
    size_t weight = (size_t)shape->n * (size_t)shape->k * element;

    TRY_CUDA("tuning of products", cudaMalloc((void **)&b->in, in));
    TRY_CUDA("tuning of products", cudaMalloc((void **)&b->weight, weight));
    TRY_CUDA("tuning of products", cudaMalloc((void **)&b->bias, (size_t)shape->n * 2));
    TRY_CUDA("tuning of products", cudaMalloc((void **)&b->out, out));
    TRY_CUDA("tuning of products", cudaMalloc((void **)&b->initial, out));
    TRY_CUDA("tuning of products", cudaMalloc((void **)&b->want, out_bytes(shape, 2 * CHECK_ROWS)));
    TRY_CUDA("tuning of products", cudaMalloc(&b->flush, FLUSH_BYTES));
    TRY_CUDA("tuning of products", cudaMalloc((void **)&b->count, sizeof(*b->count)));
    TRY_CUDA("tuning of products", cudaMemset(b->flush, 0, FLUSH_BYTES));
    TRY_CUDA("tuning of products", cudaEventCreate(&b->start));
    TRY_CUDA("tuning of products", cudaEventCreate(&b->end));
    TRY_CUDA("tuning of products", kern_fill_noise(b->bias, (size_t)shape->n, 1, 0));
    TRY_CUDA("tuning of products", kern_fill_noise((uint16_t *)b->initial, out / 2, 1, 0));
    return fill_factors(b, shape, rows, err);
}

/* First and last rows (at most CHECK_ROWS each) of a product of `rows` rows. */
struct ends {
    int n, last; /* rows of each end; first row of the last end */
};

static struct ends ends_of(int rows)
{
    struct ends e = {.n = rows < CHECK_ROWS ? rows : CHECK_ROWS};

    e.last = rows - e.n;
    return e;
}

/* What those rows must be, to b->want: what `way` makes of them alone; NULL: the chain. */
static int compute_reference(struct ant_gemm *gemm, struct plan *plan, const struct bench *b,
                             int rows, const struct way *way, struct ant_error *err)
{
    const struct ant_gemm_shape *shape = &plan->t.shape;
    struct ends ends = ends_of(rows);
    size_t bytes = out_bytes(shape, ends.n);

    for (int end = 0; end < 2; end++) {
        int first = end ? ends.last : 0;
        char *out = b->want + (size_t)end * bytes;
        struct kern_chain a = {.in = b->in + (size_t)first * (size_t)shape->k,
                               .weight = b->weight,
                               .bias = shape->has_bias ? b->bias : NULL,
                               .rows = ends.n,
                               .n = shape->n,
                               .k = shape->k,
                               .add = shape->out == ANT_GEMM_ADD};
        if (shape->out == ANT_GEMM_BF16)
            a.out = (uint16_t *)out;
        else
            a.out_f32 = (float *)out;
        TRY_CUDA("tuning of products", cudaMemcpy(out, b->initial + out_bytes(shape, first), bytes,
                                                  cudaMemcpyDeviceToDevice));
        if (!way) {
            TRY_CUDA("tuning of products", kern_chain(a, 0));
            continue;
        }
        struct ant_gemm_call call = {ends.n,
                                     (const uint8_t *)b->in + (size_t)first * (size_t)shape->k,
                                     b->weight,
                                     b->bias,
                                     out,
                                     b->in_scales + first,
                                     b->weight_scales};
        TRY_LT("tuning of products", launch(gemm, plan, way, &call, 0));
    }
    return 0;
}

/* Whether what is in b->out has the reference's bits. */
static int compare(const struct bench *b, const struct ant_gemm_shape *shape, int rows,
                   bool *is_equal, struct ant_error *err)
{
    struct ends ends = ends_of(rows);
    size_t bytes = out_bytes(shape, ends.n);
    int32_t count = 0;

    TRY_CUDA("tuning of products", cudaMemset(b->count, 0, sizeof(*b->count)));
    for (int end = 0; end < 2; end++)
        TRY_CUDA("tuning of products",
                 kern_count_differences(b->out + out_bytes(shape, end ? ends.last : 0),
                                        b->want + (size_t)end * bytes, bytes, b->count, 0));
    TRY_CUDA("tuning of products",
             cudaMemcpy(&count, b->count, sizeof(count), cudaMemcpyDeviceToHost));
    *is_equal = count == 0;
    return 0;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

/* Median time of an algorithm, weights and activations not in cache. The cache is filled by
 * reading: what a write leaves in it would have to be written back during the product. One that
 * takes long, or is far from the `fastest` so far (0: none), is run once. */
static int measure(struct ant_gemm *gemm, struct plan *plan, const struct bench *b,
                   const struct way *way, const struct ant_gemm_call *call, double fastest,
                   double *seconds, struct ant_error *err)
{
    double t[REPEATS];
    int n = 0;

    while (n < REPEATS && !(n > 0 && fastest > 0 && t[0] > HOPELESS * fastest) &&
           !(n > 0 && t[0] > LONG_S)) {
        float ms;
        TRY_CUDA("tuning of products",
                 kern_count_differences(b->flush, b->flush, FLUSH_BYTES, b->count, 0));
        TRY_CUDA("tuning of products", cudaEventRecord(b->start, 0));
        TRY_LT("tuning of products", launch(gemm, plan, way, call, 0));
        TRY_CUDA("tuning of products", cudaEventRecord(b->end, 0));
        TRY_CUDA("tuning of products", cudaEventSynchronize(b->end));
        TRY_CUDA("tuning of products", cudaEventElapsedTime(&ms, b->start, b->end));
        t[n++] = ms * 1e-3;
    }
    qsort(t, (size_t)n, sizeof(*t), by_value);
    *seconds = t[n / 2];
    return 0;
}

/* Add a way that is not there yet. */
static void add_way(struct way *ways, int *n, const struct way *way)
{
    for (int i = 0; i < *n; i++)
        if (is_same_way(&ways[i], way))
            return;
    ways[(*n)++] = *way;
}

/* Candidates for a number of rows: the library's that do not reduce over splits, what was chosen
 * for more rows, which can be faster than all that it names, and our own. */
static int candidates(struct ant_gemm *gemm, const struct plan *plan, int bucket, struct way *out,
                      int *n, struct ant_error *err)
{
    cublasLtMatmulHeuristicResult_t found[UNSPLIT];
    cublasLtMatmulPreference_t preference;
    size_t workspace = WORKSPACE_BYTES;
    uint32_t mask = CUBLASLT_REDUCTION_SCHEME_NONE;
    struct layouts l;
    int got = 0;

    make_layouts(&l, &plan->t.shape, bucket_rows[bucket]);
    TRY_LT("tuning of products", cublasLtMatmulPreferenceCreate(&preference));
    cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                                         &workspace, sizeof(workspace));
    *n = 0;
    cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
                                         &mask, sizeof(mask));
    if (cublasLtMatmulAlgoGetHeuristic(
            gemm->lt, plan->desc, (cublasLtMatrixLayout_t)&l.weight, (cublasLtMatrixLayout_t)&l.in,
            (cublasLtMatrixLayout_t)&l.out, (cublasLtMatrixLayout_t)&l.out, preference, UNSPLIT,
            found, &got) != CUBLAS_STATUS_SUCCESS)
        got = 0;
    for (int i = 0; i < got; i++)
        add_way(out, n, &(struct way){.algo = found[i].algo});
    for (int larger = bucket + 1; larger < plan->t.n_buckets && larger <= bucket + LARGER; larger++)
        add_way(out, n, &plan->t.ways[larger]);
    if (bucket_rows[bucket] <= KERN_FEW_ROWS && !plan->t.shape.is_e4m3)
        add_way(out, n, &(struct way){.is_own = true});
    cublasLtMatmulPreferenceDestroy(preference);
    return 0;
}

static int tune_bucket(struct ant_gemm *gemm, struct plan *plan, int bucket, const struct bench *b,
                       struct ant_error *err)
{
    struct way found[CANDIDATES];
    int rows = bucket_rows[bucket], n = 0;
    struct ant_gemm_choice choice = {.rows = rows};
    struct ant_gemm_call call = {rows,   b->in,        b->weight,       b->bias,
                                 b->out, b->in_scales, b->weight_scales};
    int last = plan->t.n_buckets - 1;
    const struct way *reference = bucket < last ? &plan->t.ways[last] : found;

    ANT_TRY(candidates(gemm, plan, bucket, found, &n, err));
    if (n == 0)
        return ant_fail(err, ANT_EUNSUPP,
                        "the GPU's library has no product of %d rows by %d x %d%s", rows,
                        plan->t.shape.n, plan->t.shape.k, plan->t.shape.is_e4m3 ? " in e4m3" : "");
    ANT_TRY(compute_reference(gemm, plan, b, rows, plan->t.shape.is_e4m3 ? reference : NULL, err));
    for (int i = 0; i < n; i++) {
        bool is_equal = false;
        double seconds = 0;
        TRY_CUDA("tuning of products",
                 cudaMemcpy(b->out, b->initial, out_bytes(&plan->t.shape, rows),
                            cudaMemcpyDeviceToDevice));
        if (launch(gemm, plan, &found[i], &call, 0) != CUBLAS_STATUS_SUCCESS)
            continue;
        choice.n_tried++;
        ANT_TRY(compare(b, &plan->t.shape, rows, &is_equal, err));
        if (!is_equal)
            continue;
        ANT_TRY(measure(gemm, plan, b, &found[i], &call, choice.seconds, &seconds, err));
        if (found[i].is_own)
            seconds *= OWN_SHARE;
        if (choice.n_equal++ == 0 || seconds < choice.seconds) {
            choice.seconds = seconds;
            choice.is_own = found[i].is_own;
            plan->t.ways[bucket] = found[i];
        }
    }
    if (choice.n_equal == 0)
        return ant_fail(err, ANT_EDEVICE,
                        "none of %d algorithms for %d rows by %d x %d sums in one chain",
                        choice.n_tried, rows, plan->t.shape.n, plan->t.shape.k);
    plan->t.choices[bucket] = choice;
    return 0;
}

static int tune(struct ant_gemm *gemm, struct plan *plan, int max_rows, struct ant_error *err)
{
    struct bench b = {0};
    int n = 1, result;

    while (n < N_BUCKETS && bucket_rows[n - 1] < max_rows)
        n++;
    result = open_bench(&b, &plan->t.shape, bucket_rows[n - 1], err);
    plan->t.n_buckets = n;
    for (int bucket = n - 1; result == 0 && bucket >= 0; bucket--)
        result = tune_bucket(gemm, plan, bucket, &b, err);
    close_bench(&b);
    return result;
}

int ant_gemm_find(const struct ant_gemm *gemm, const struct ant_gemm_shape *shape, int max_rows)
{
    for (int i = 0; i < gemm->n_plans; i++) {
        const struct plan *p = &gemm->plans[i];
        if (p->t.shape.n == shape->n && p->t.shape.k == shape->k && p->t.shape.out == shape->out &&
            p->t.shape.has_bias == shape->has_bias && p->t.shape.is_e4m3 == shape->is_e4m3 &&
            bucket_rows[p->t.n_buckets - 1] >= max_rows)
            return i;
    }
    return -1;
}

int ant_gemm_plan(struct ant_gemm *gemm, int *plan, const struct ant_gemm_shape *shape,
                  int max_rows, struct ant_error *err)
{
    *plan = ant_gemm_find(gemm, shape, max_rows);
    if (*plan >= 0)
        return 0;
    if (shape->has_bias && shape->out != ANT_GEMM_BF16)
        return ant_fail(err, ANT_EUNSUPP, "a bias goes with bf16 results only");
    if (shape->k % 16 || shape->n % (shape->is_e4m3 ? 16 : 8) ||
        (shape->is_e4m3 && shape->k > KERN_E4M3_MAX_ROW) || max_rows > bucket_rows[N_BUCKETS - 1])
        return ant_fail(err, ANT_EUNSUPP, "products of %d rows with %d x %d are not possible",
                        max_rows, shape->n, shape->k);
    if (gemm->n_plans == MAX_PLANS)
        return ant_fail(err, ANT_EBUG, "more than %d shapes of products", MAX_PLANS);
    struct plan *p = &gemm->plans[gemm->n_plans];
    memset(p, 0, sizeof(*p)); /* a file keeps the padding, too */
    p->t.shape = *shape;
    int result = make_desc(gemm, p, err);
    if (result == 0)
        result = tune(gemm, p, max_rows, err);
    if (result < 0) {
        if (p->desc)
            cublasLtMatmulDescDestroy(p->desc);
        return result;
    }
    *plan = gemm->n_plans++;
    return 0;
}

/* ---- the file -------------------------------------------------------------------------------- */

static const char magic[8] = "antgemm";

struct header {
    char magic[8], gpu[256];
    uint64_t library, record_bytes;
    uint64_t n_plans;
    struct ant_digest digest; /* of the records */
};

static int make_header(struct header *h, struct ant_error *err)
{
    struct cudaDeviceProp prop;
    int device;

    memset(h, 0, sizeof(*h));
    TRY_CUDA("cannot ask for the name of the GPU", cudaGetDevice(&device));
    TRY_CUDA("cannot ask for the name of the GPU", cudaGetDeviceProperties(&prop, device));
    memcpy(h->magic, magic, sizeof(magic));
    memcpy(h->gpu, prop.name, strnlen(prop.name, sizeof(h->gpu)));
    h->library = cublasLtGetVersion();
    h->record_bytes = sizeof(struct tuned);
    return 0;
}

int ant_gemm_save(const struct ant_gemm *gemm, const char *path, struct ant_error *err)
{
    struct header h;
    struct ant_buf buf = {0};

    ANT_TRY(make_header(&h, err));
    h.n_plans = (uint64_t)gemm->n_plans;
    ant_buf_add(&buf, &h, sizeof(h));
    for (int i = 0; i < gemm->n_plans; i++)
        ant_buf_add(&buf, &gemm->plans[i].t, sizeof(gemm->plans[i].t));
    h.digest = ant_digest(buf.data + sizeof(h), buf.len - sizeof(h));
    memcpy(buf.data, &h, sizeof(h));
    int result = ant_file_write(path, buf.data, buf.len, err);
    ant_buf_release(&buf);
    return result;
}

/* Whether the library can still run what a record says. */
static bool is_usable(struct ant_gemm *gemm, const struct plan *plan)
{
    cublasLtMatmulHeuristicResult_t result;

    if (plan->t.n_buckets < 1 || plan->t.n_buckets > N_BUCKETS)
        return false;
    for (int i = 0; i < plan->t.n_buckets; i++) {
        struct layouts l;
        if (plan->t.ways[i].is_own)
            continue;
        make_layouts(&l, &plan->t.shape, bucket_rows[i]);
        if (cublasLtMatmulAlgoCheck(gemm->lt, plan->desc, (cublasLtMatrixLayout_t)&l.weight,
                                    (cublasLtMatrixLayout_t)&l.in, (cublasLtMatrixLayout_t)&l.out,
                                    (cublasLtMatrixLayout_t)&l.out, &plan->t.ways[i].algo,
                                    &result) != CUBLAS_STATUS_SUCCESS ||
            result.workspaceSize > WORKSPACE_BYTES)
            return false;
    }
    return true;
}

/* Take the records behind a header that is ours. */
static int load_records(struct ant_gemm *gemm, const char *records, size_t n, const char *path,
                        struct ant_error *err)
{
    int taken = 0;

    for (size_t i = 0; i < n && gemm->n_plans < MAX_PLANS; i++) {
        struct plan *p = &gemm->plans[gemm->n_plans];
        memset(p, 0, sizeof(*p));
        memcpy(&p->t, records + i * sizeof(p->t), sizeof(p->t));
        ANT_TRY(make_desc(gemm, p, err));
        if (!is_usable(gemm, p)) {
            cublasLtMatmulDescDestroy(p->desc);
            return ant_fail(err, ANT_EDATA, "'%s': plan %zu is not one that this library runs",
                            path, i);
        }
        gemm->n_plans++;
        taken++;
    }
    return taken;
}

int ant_gemm_load(struct ant_gemm *gemm, const char *path, struct ant_error *err)
{
    struct header want, have;
    char *data;
    size_t bytes;
    int result = ant_file_read(&data, &bytes, path, 1 << 20, err);

    if (result == ANT_ENOENT)
        return 0;
    ANT_TRY(result);
    result = make_header(&want, err);
    if (result < 0 || bytes < sizeof(have))
        goto out;
    memcpy(&have, data, sizeof(have));
    if (memcmp(have.magic, want.magic, sizeof(want.magic)) ||
        memcmp(have.gpu, want.gpu, sizeof(want.gpu)) || have.library != want.library ||
        have.record_bytes != want.record_bytes)
        goto out;
    struct ant_digest digest = ant_digest(data + sizeof(have), bytes - sizeof(have));
    if (have.n_plans > MAX_PLANS || bytes - sizeof(have) != have.n_plans * sizeof(struct tuned) ||
        memcmp(&digest, &have.digest, sizeof(digest)))
        result = ant_fail(err, ANT_EDATA, "'%s' is damaged", path);
    else
        result = load_records(gemm, data + sizeof(have), have.n_plans, path, err);
out:
    free(data);
    return result;
}
