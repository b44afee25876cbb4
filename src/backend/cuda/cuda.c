/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "backend/cuda/cuda.h"
#include "base/checksum.h"
#include "base/log.h"
#include "base/mem.h"

/* Of the memory left after weights and workspace: graphs and the libraries take a little later. */
#define KV_SHARE 0.98
/* Partial results of decode attention kept at once, of KERN_DECODE_ROWS rows; more chunks go in
 * several rounds. */
#define MAX_PARTIALS 4096

int ant_cuda_fail(struct ant_error *err, const char *what, cudaError_t e)
{
    cudaGetLastError();
    return ant_fail(err, e == cudaErrorMemoryAllocation ? ANT_ENOMEM : ANT_EDEVICE, "%s: %s", what,
                    cudaGetErrorString(e));
}

/* ---- which GPU ------------------------------------------------------------------------------- */

static int count_gpus(int *n, struct ant_error *err)
{
    int driver = 0;
    cudaError_t e = cudaGetDeviceCount(n);

    if (e == cudaSuccess && *n > 0)
        return 0;
    cudaGetLastError();
    /* CUDA itself calls a host without any driver one with too old a driver. */
    if (cudaDriverGetVersion(&driver) == cudaSuccess && driver == 0)
        return ant_fail(err, ANT_EDEVICE, "this host has no NVIDIA driver");
    return ant_fail(err, ANT_EDEVICE, "no GPU can be used: %s",
                    e == cudaSuccess ? "there is none" : cudaGetErrorString(e));
}

/* With --gpus-per-task=1 each rank sees its own. */
int ant_cuda_device_of(int local_rank, int *device, struct cudaDeviceProp *prop,
                       struct ant_error *err)
{
    int n;

    ANT_TRY(count_gpus(&n, err));
    *device = local_rank % n;
    ANT_CUDA_TRY("cannot ask for the GPU's properties", cudaGetDeviceProperties(prop, *device));
    if (prop->major < 8)
        return ant_fail(err, ANT_EUNSUPP,
                        "%s has compute capability %d.%d, the least that is needed is 8.0",
                        prop->name, prop->major, prop->minor);
    return 0;
}

static int probe(struct ant_error *why)
{
    struct cudaDeviceProp prop;
    int device;

    return ant_cuda_device_of(0, &device, &prop, why);
}

static int unit(int local_rank, char out[64], struct ant_error *err)
{
    struct cudaDeviceProp prop;
    int device, n = 4;

    ANT_TRY(ant_cuda_device_of(local_rank, &device, &prop, err));
    memcpy(out, "GPU-", 5);
    for (int i = 0; i < 16; i++)
        n += snprintf(out + n, 64 - (size_t)n, "%s%02x", i >= 4 && i <= 10 && i % 2 == 0 ? "-" : "",
                      (unsigned char)prop.uuid.bytes[i]);
    return 0;
}

/* ---- what it can compute --------------------------------------------------------------------- */

/* Of what models need beyond a Llama: all that there is at present. */
enum { CUDA_CAN = (ANT_NEED_SIGMOID << 1) - 1 };

static int check_experts(const struct ant_moe *moe, struct ant_error *err)
{
    if (moe->n_experts > KERN_MAX_EXPERTS || moe->n_used > KERN_MAX_USED ||
        moe->n_groups > KERN_MAX_GROUPS)
        return ant_fail(err, ANT_EUNSUPP,
                        "%d experts in %d groups, %d of them used: the GPU does up to %d in %d, %d",
                        moe->n_experts, moe->n_groups, moe->n_used, KERN_MAX_EXPERTS,
                        KERN_MAX_GROUPS, KERN_MAX_USED);
    return 0;
}

static int check_config(const struct ant_backend_config *config, struct ant_error *err)
{
    const struct ant_arch *arch = config->arch;
    int group = arch->n_kv_heads > 0 ? arch->n_heads / arch->n_kv_heads : 0;

    if (config->max_rows < 1 || config->max_seqs < 1 || config->max_sampled < 1 ||
        config->max_context < 1)
        return ant_fail(err, ANT_EBUG, "cuda: a limit of steps below 1");
    if (config->max_rows > CUDA_MAX_ROWS)
        return ant_fail(err, ANT_EUSAGE,
                        "--max-num-batched-tokens %d: a GPU's step has at most %d rows",
                        config->max_rows, CUDA_MAX_ROWS);
    if (config->kv_type == ANT_KV_F32)
        return ant_fail(err, ANT_EUNSUPP, "--kv-type f32: a GPU's cache is bf16");
    if (arch->head_dim < 1 || arch->head_dim > 256 || arch->head_dim % 2 || arch->rope.dim % 2)
        return ant_fail(err, ANT_EUNSUPP,
                        "heads of %d with %d rotated dimensions: the GPU does up to 256, even ones",
                        arch->head_dim, arch->rope.dim);
    if (group < 1 || group > KERN_MAX_GROUP || arch->n_heads % arch->n_kv_heads)
        return ant_fail(err, ANT_EUNSUPP, "%d heads on %d kv heads: the GPU does up to %d on one",
                        arch->n_heads, arch->n_kv_heads, KERN_MAX_GROUP);
    if (arch->hidden % 16 || arch->hidden > 16384)
        return ant_fail(err, ANT_EUNSUPP,
                        "hidden size %d: the GPU does multiples of 16 up to 16384", arch->hidden);
    ANT_TRY(check_experts(&arch->moe, err));
    if (config->weight_type == ANT_WEIGHT_FP8 && arch->moe.n_experts > 0)
        return ant_fail(err, ANT_EUNSUPP, "--weight-type fp8: not for mixtures of experts");
    if (config->kv_type == ANT_KV_FP8 && (arch->head_dim > 128 || arch->attn_softcap > 0))
        return ant_fail(err, ANT_EUNSUPP,
                        "--kv-type fp8: not with heads of more than 128 nor capped scores");
    return ant_arch_within(arch, CUDA_CAN, "cuda", err);
}

/* Of the GPU. */
static int check_device(const struct cuda_backend *cuda, struct ant_error *err)
{
    if (cuda->config.weight_type == ANT_WEIGHT_FP8 && cuda->prop.major != 9)
        return ant_fail(
            err, ANT_EUNSUPP,
            "--weight-type fp8: %s has compute capability %d.%d, products of FP8 with a "
            "scale a row need 9.0",
            cuda->prop.name, cuda->prop.major, cuda->prop.minor);
    return 0;
}

/* ---- products -------------------------------------------------------------------------------- */

/* Has any layer this bit; has any not? */
static bool has_layer(const struct ant_arch *arch, enum ant_layer_bits bit, bool is_set)
{
    for (int i = 0; i < arch->n_layers; i++)
        if (!!(arch->layers[i] & bit) == is_set)
            return true;
    return false;
}

enum { MAX_SHAPES = 8 };

/* The products of a feed-forward that every row has. `branch`: how its result is kept. */
static int list_feed_forward(const struct ant_arch *a, int ff, enum ant_gemm_out branch, bool e4m3,
                             struct ant_gemm_shape *out)
{
    out[0] = (struct ant_gemm_shape){2 * ff, a->hidden, ANT_GEMM_BF16, false, e4m3};
    out[1] = (struct ant_gemm_shape){a->hidden, ff, branch, false, e4m3};
    return 2;
}

/* The shapes of the model's products; returns their number. Residuals, what norms come behind, and
 * logits are float32. */
static int list_shapes(const struct cuda_backend *cuda, struct ant_gemm_shape *out)
{
    const struct ant_arch *a = &cuda->arch;
    int q = a->n_heads * cuda->head_dim, kv = a->n_kv_heads * cuda->head_dim, n = 0;
    bool adds = !cuda->config.parallel || cuda->config.parallel->tp_rank == 0;
    enum ant_gemm_out branch = a->has_post_norm || !adds ? ANT_GEMM_F32 : ANT_GEMM_ADD;

    bool e4m3 = cuda->config.weight_type == ANT_WEIGHT_FP8;

    out[n++] = (struct ant_gemm_shape){q + 2 * kv, a->hidden, ANT_GEMM_BF16, a->qkv_bias, e4m3};
    out[n++] = (struct ant_gemm_shape){a->hidden, q, branch, false, e4m3};
    if (has_layer(a, ANT_LAYER_MOE, false))
        n += list_feed_forward(a, ant_cuda_units(a->ff), branch, e4m3, out + n);
    if (a->moe.shared_ff > 0)
        n += list_feed_forward(a, ant_cuda_units(a->moe.shared_ff),
                               a->moe.has_shared_scale ? ANT_GEMM_BF16 : ANT_GEMM_ADD, false,
                               out + n);
    out[n++] = (struct ant_gemm_shape){cuda->columns, a->hidden, ANT_GEMM_F32, false, false};
    return n;
}

/* Where plans of these shapes are kept: in the user's folder for what can be made again. NULL when
 * there is none. Caller frees. */
static char *plan_path(const struct ant_gemm_shape *shapes, int n)
{
    const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    struct ant_digest digest = ant_digest(shapes, (size_t)n * sizeof(*shapes));
    char *folder;

    if (cache && *cache == '/')
        folder = ant_xasprintf("%s/antiphon", cache);
    else if (home && *home == '/')
        folder = ant_xasprintf("%s/.cache/antiphon", home);
    else
        return NULL;
    char *path = ant_xasprintf("%s/products-%016llx", folder, (unsigned long long)digest.low);
    *strrchr(folder, '/') = '\0';
    mkdir(folder, 0700); /* what cannot be made is no matter: plans are then made each time */
    folder[strlen(folder)] = '/';
    mkdir(folder, 0700);
    free(folder);
    return path;
}

/* A plan for each product, from the file of an earlier run or made now. */
static int plan_products(struct cuda_backend *cuda, struct ant_error *err)
{
    struct ant_gemm_shape shapes[MAX_SHAPES];
    struct ant_error why;
    int n = list_shapes(cuda, shapes), plan, n_loaded = 0, n_made = 0, rc = 0;
    int sampled = ant_cuda_graph_rows(cuda->config.max_sampled, NULL);
    char *path = plan_path(shapes, n);

    if (path && (n_loaded = ant_gemm_load(cuda->gemm, path, &why)) < 0)
        ant_log(ANT_LOG_WARN, "cuda", "plans of products are made anew: %s", why.text);
    for (int i = 0; i < n && rc == 0; i++) {
        int rows = i == n - 1 ? sampled : CUDA_MAX_ROWS; /* the last gives logits */
        bool is_there = ant_gemm_find(cuda->gemm, &shapes[i], rows) >= 0;
        rc = ant_gemm_plan(cuda->gemm, &plan, &shapes[i], rows, err);
        n_made += !is_there;
    }
    if (rc == 0 && n_made > 0 && path && ant_gemm_save(cuda->gemm, path, &why) < 0)
        ant_log(ANT_LOG_INFO, "cuda", "plans of products are not kept: %s", why.text);
    free(path);
    return rc;
}

/* ---- memory ---------------------------------------------------------------------------------- */

/* Hands out pieces of one allocation; with base NULL it only counts. */
struct arena {
    char *base;
    size_t used;
};

static void *take(struct arena *arena, size_t n, size_t bytes)
{
    void *piece = arena->base ? arena->base + arena->used : NULL;
    arena->used += (n * bytes + 255) / 256 * 256;
    return piece;
}

static void place_slot(struct cuda_backend *cuda, struct arena *arena, enum ant_slot slot, int cols,
                       bool is_float)
{
    bool is_sampled = slot == ANT_SLOT_LAST || slot == ANT_SLOT_LOGITS;
    int rows = is_sampled ? cuda->config.max_sampled : cuda->config.max_rows;

    cuda->slots[slot] =
        (struct cuda_slot){.cols = cols, .is_float = is_float, .is_sampled = is_sampled};
    cuda->slots[slot].data =
        take(arena, (size_t)ant_cuda_graph_rows(rows, NULL) * (size_t)cols, is_float ? 4 : 2);
}

/* Hidden units of the wider of the feed-forwards that every row has. */
static int most_units(const struct ant_arch *arch)
{
    return ant_cuda_units(arch->ff > arch->moe.shared_ff ? arch->ff : arch->moe.shared_ff);
}

/* Where rows become e4m3 by themselves, or behind the activation. */
static void place_e4m3(struct cuda_backend *cuda, struct arena *arena, size_t rows)
{
    const struct ant_arch *a = &cuda->arch;
    int most = a->n_heads * cuda->head_dim, ff = ant_cuda_units(a->ff);

    most = most > a->hidden ? most : a->hidden;
    most = most > ff ? most : ff;
    if (a->act == ANT_ACT_SILU)
        cuda->slots[ANT_SLOT_HIDDEN].scales = take(arena, rows, 4);
    cuda->packed = take(arena, rows * (size_t)most, 1);
    cuda->packed_scales = take(arena, rows, 4);
}

/* Rows on their way to the experts of other ranks and back. Returns how many there can be here. */
static size_t place_spread(struct cuda_backend *cuda, struct arena *arena)
{
    struct cuda_spread *to = &cuda->spread;
    size_t most = (size_t)to->most, rows = most * (size_t)cuda->config.spread->n;
    size_t used = (size_t)cuda->arch.moe.n_used, row = (size_t)cuda->arch.hidden * 2;

    to->in = take(arena, rows, row);
    to->ids = take(arena, rows * used, sizeof(*to->ids));
    to->out = take(arena, rows * (size_t)to->width, row);
    to->back = take(arena, most * (size_t)to->widths, row);
    to->places = take(arena, most * used, sizeof(*to->places));
    return rows;
}

/* What experts work in, and the shared one. */
static void place_moe(struct cuda_backend *cuda, struct arena *arena)
{
    const struct ant_moe *moe = &cuda->arch.moe;
    struct cuda_moe *to = &cuda->moe;
    size_t rows = (size_t)ant_cuda_graph_rows(cuda->config.max_rows, NULL);
    size_t used = (size_t)moe->n_used;

    if (moe->n_experts == 0)
        return;
    size_t places = used * (cuda->config.spread ? place_spread(cuda, arena) : rows);
    to->ids = take(arena, rows * used, sizeof(*to->ids));
    to->weights = take(arena, rows * used, sizeof(*to->weights));
    to->places = take(arena, places, sizeof(*to->places));
    to->rows = take(arena, places, sizeof(*to->rows));
    to->shares = take(arena, rows, sizeof(*to->shares));
    to->n_tiles = take(arena, 1, sizeof(*to->n_tiles));
    to->tiles = take(arena, places / KERN_TILE_PLACES + (size_t)to->n_held, sizeof(*to->tiles));
    to->hidden = take(arena, places * (size_t)to->ff, 2);
    to->out = take(arena, places * (size_t)cuda->arch.hidden, 2);
    place_slot(cuda, arena, ANT_SLOT_SHARED, ant_cuda_units(moe->shared_ff), false);
}

/* Everything a step works in. Logits lie where the feed-forward layer's values were. */
static void place(struct cuda_backend *cuda, struct arena *arena)
{
    const struct ant_arch *a = &cuda->arch;
    int q = a->n_heads * cuda->head_dim, kv = a->n_kv_heads * cuda->head_dim;
    size_t rows = (size_t)ant_cuda_graph_rows(cuda->config.max_rows, NULL);
    size_t sampled = (size_t)ant_cuda_graph_rows(cuda->config.max_sampled, NULL);

    place_slot(cuda, arena, ANT_SLOT_RESIDUAL, a->hidden, true);
    place_slot(cuda, arena, ANT_SLOT_NORMED, a->hidden, false);
    if (cuda->config.weight_type == ANT_WEIGHT_FP8 && a->norm == ANT_NORM_RMS && !a->lacks_pre_norm)
        cuda->slots[ANT_SLOT_NORMED].scales = take(arena, rows, 4);
    place_slot(cuda, arena, ANT_SLOT_QKV, q + 2 * kv, false);
    place_slot(cuda, arena, ANT_SLOT_ATTN, q, false);
    place_slot(cuda, arena, ANT_SLOT_LAST, a->hidden, false);
    if (a->has_post_norm)
        place_slot(cuda, arena, ANT_SLOT_BRANCH, a->hidden, true);
    cuda->rope = take(arena, (size_t)cuda->config.max_context * (size_t)a->rope.dim, 4);
    if (has_layer(a, ANT_LAYER_LOCAL_ROPE, true))
        cuda->local_rope =
            take(arena, (size_t)cuda->config.max_context * (size_t)a->local_rope.dim, 4);
    cuda->partial = take(arena,
                         kern_attn_partial_bytes(cuda->plan.max_partials, KERN_DECODE_ROWS,
                                                 a->n_kv_heads, cuda->head_dim),
                         1);
    cuda->arrived = take(arena, cuda->n_arrived, 4);
    cuda->drawn = take(arena, 2 * sampled, 4);
    if (ant_cuda_peers_wanted(cuda))
        cuda->box = take(arena, kern_peers_bytes(cuda->config.parallel->tp_size, a->hidden), 1);
    cuda->top = take(arena, 2 * sampled * KERN_MAX_TOP, 4);
    cuda->totals = take(arena, 2 * sampled, 4);
    cuda->descriptor = take(arena, cuda->descriptor_bytes, 1);
    if (cuda->config.spread)
        cuda->spread.holders = take(arena, (size_t)a->moe.n_experts, sizeof(*cuda->spread.holders));
    struct arena feed_forward = *arena, logits = *arena;
    cuda->gate_up = take(&feed_forward, rows * 2 * (size_t)most_units(a), 2);
    place_slot(cuda, &feed_forward, ANT_SLOT_HIDDEN, ant_cuda_units(a->ff), false);
    place_moe(cuda, &feed_forward);
    if (cuda->config.weight_type == ANT_WEIGHT_FP8)
        place_e4m3(cuda, &feed_forward, rows);
    place_slot(cuda, &logits, ANT_SLOT_LOGITS, cuda->vocab, true);
    if (cuda->config.parallel && cuda->config.parallel->tp_size > 1)
        cuda->part = take(&logits, (size_t)ant_cuda_graph_rows(cuda->config.max_sampled, NULL),
                          (size_t)ant_cuda_most_columns(cuda) * 4);
    arena->used = feed_forward.used > logits.used ? feed_forward.used : logits.used;
}

static void open_plan(struct ant_attn_plan *plan, const struct ant_attn_bound *bound, int max_seqs)
{
    plan->round_end = ant_xcalloc((size_t)max_seqs, sizeof(*plan->round_end));
    plan->decode = ant_xcalloc((size_t)bound->n_decode, sizeof(*plan->decode));
    plan->prefill = ant_xcalloc((size_t)bound->n_prefill, sizeof(*plan->prefill));
    plan->shared = ant_xcalloc((size_t)bound->n_shared, sizeof(*plan->shared));
    plan->members = ant_xcalloc((size_t)bound->n_members, sizeof(*plan->members));
}

static void close_plan(struct ant_attn_plan *plan)
{
    free(plan->round_end);
    free(plan->decode);
    free(plan->prefill);
    free(plan->shared);
    free(plan->members);
    free(plan->marks);
}

/* Sizes that follow from the model and the limits of a step. */
static void derive(struct cuda_backend *cuda)
{
    const struct ant_backend_config *c = &cuda->config;
    const struct ant_arch *a = &cuda->arch;
    struct ant_attn_bound bound =
        ant_attn_bound(c->max_rows, c->max_seqs, c->max_context, a->n_heads / a->n_kv_heads);
    size_t pages = (size_t)c->max_seqs * ((size_t)c->max_context / ANT_PAGE_TOKENS + 1);
    int least = bound.n_least > MAX_PARTIALS ? bound.n_least : MAX_PARTIALS;

    cuda->head_dim = a->head_dim <= 64 ? 64 : a->head_dim <= 128 ? 128 : 256;
    cuda->has_windows = has_layer(a, ANT_LAYER_WINDOW, true);
    cuda->plan_window = has_layer(a, ANT_LAYER_WINDOW, false) ? 0 : a->window;
    cuda->moe.ff = ant_cuda_units(a->moe.ff);
    cuda->moe.n_held = a->moe.n_held;
    ant_cuda_spread_derive(cuda);
    cuda->vocab = (a->vocab + 7) / 8 * 8;
    cuda->columns = c->vocab_start ? ant_cuda_columns(cuda, c->parallel->tp_rank) : cuda->vocab;
    open_plan(&cuda->plan, &bound, c->max_seqs);
    cuda->plan.max_partials = bound.n_partials < least ? bound.n_partials : least;
    cuda->n_arrived = (size_t)(cuda->plan.max_partials * KERN_DECODE_ROWS / bound.least_rows) *
                      (size_t)a->n_kv_heads;
    struct cuda_layout at = ant_cuda_layout(ant_cuda_graph_rows(c->max_rows, NULL),
                                            ant_cuda_graph_rows(c->max_sampled, NULL));
    cuda->descriptor_bytes = at.tail +
                             (size_t)(bound.n_decode + bound.n_prefill + bound.n_shared) *
                                 sizeof(struct kern_attn_item) +
                             (size_t)bound.n_members * sizeof(struct ant_attn_member) +
                             (pages + CUDA_BANNED) * 4 + CUDA_EDITS * sizeof(struct kern_edit) +
                             ant_cuda_mask_bytes(cuda) + 64;
}

static int open_steps(struct cuda_backend *cuda, struct ant_error *err)
{
    size_t drawn = 2 * (size_t)ant_cuda_graph_rows(cuda->config.max_sampled, NULL) * 4;

    for (int i = 0; i < CUDA_STEPS; i++) {
        struct cuda_step *step = &cuda->steps[i];
        ANT_CUDA_TRY("cannot pin memory for steps",
                     cudaHostAlloc((void **)&step->host, cuda->descriptor_bytes, 0));
        ANT_CUDA_TRY("cannot pin memory for steps", cudaHostAlloc((void **)&step->drawn, drawn, 0));
        ANT_CUDA_TRY("cannot pin memory for steps",
                     cudaHostAlloc((void **)&step->top, drawn * KERN_MAX_TOP, 0));
        ANT_CUDA_TRY("cannot make an event",
                     cudaEventCreateWithFlags(&step->done, cudaEventDisableTiming));
    }
    return 0;
}

/* The table of positions of one kind of rotation, to the device. */
static int send_rope(const struct cuda_backend *cuda, const struct ant_rope *rope, float *to,
                     struct ant_error *err)
{
    size_t n = (size_t)cuda->config.max_context * (size_t)rope->dim;
    float *table = ant_xmalloc(n * sizeof(*table));

    ant_rope_table(rope, cuda->config.max_context, table);
    cudaError_t e = cudaMemcpy(to, table, n * sizeof(*table), cudaMemcpyHostToDevice);
    free(table);
    ANT_CUDA_TRY("cannot copy the table of positions", e);
    return 0;
}

static int open_workspace(struct cuda_backend *cuda, struct ant_error *err)
{
    const struct ant_arch *arch = &cuda->arch;
    struct arena arena = {0};
    cudaError_t e;

    place(cuda, &arena);
    cuda->workspace_bytes = arena.used;
    e = cudaMalloc((void **)&cuda->workspace, arena.used);
    if (e == cudaErrorMemoryAllocation) {
        cudaGetLastError();
        return ant_fail(err, ANT_ENOMEM,
                        "the GPU has no %.2f GB for the workspace: lower --max-num-batched-tokens "
                        "or --max-num-seqs",
                        (double)arena.used / 1e9);
    }
    ANT_CUDA_TRY("cannot allocate the workspace", e);
    arena = (struct arena){cuda->workspace, 0};
    place(cuda, &arena);
    ANT_TRY(send_rope(cuda, &arch->rope, cuda->rope, err));
    if (cuda->local_rope)
        ANT_TRY(send_rope(cuda, &arch->local_rope, cuda->local_rope, err));
    ANT_CUDA_TRY("cannot clear the workspace", cudaMemset(cuda->arrived, 0, cuda->n_arrived * 4));
    return 0;
}

/* ---- opening --------------------------------------------------------------------------------- */

static void close_cuda(struct ant_backend *be)
{
    struct cuda_backend *cuda = cuda_of(be);

    if (cuda == NULL)
        return;
    cudaSetDevice(cuda->device);
    if (cuda->failed)
        ant_cuda_peers_stop(cuda);
    if (cuda->stream)
        cudaStreamSynchronize(cuda->stream);
    for (int i = 0; i < CUDA_KINDS * CUDA_GRAPHS; i++)
        if (cuda->graphs[i / CUDA_GRAPHS][i % CUDA_GRAPHS])
            cudaGraphExecDestroy(cuda->graphs[i / CUDA_GRAPHS][i % CUDA_GRAPHS]);
    for (int i = 0; i < CUDA_STEPS; i++) {
        cudaFreeHost(cuda->steps[i].host);
        cudaFreeHost(cuda->steps[i].drawn);
        cudaFreeHost(cuda->steps[i].top);
        if (cuda->steps[i].done)
            cudaEventDestroy(cuda->steps[i].done);
    }
    ant_cuda_parallel_close(cuda);
    ant_cuda_spread_close(cuda);
    ant_cuda_meter_close(cuda);
    ant_cuda_weight_close(cuda);
    while (cuda->weights) {
        struct ant_weight *w = cuda->weights;
        cuda->weights = w->next;
        free(w);
    }
    ant_gemm_close(cuda->gemm);
    cudaFree(cuda->kv);
    cudaFree(cuda->weight_memory);
    cudaFree(cuda->landing);
    cudaFree(cuda->workspace);
    if (cuda->load_stream)
        cudaStreamDestroy(cuda->load_stream);
    if (cuda->stream)
        cudaStreamDestroy(cuda->stream);
    pthread_mutex_destroy(&cuda->lock);
    pthread_cond_destroy(&cuda->arrival);
    close_plan(&cuda->plan);
    free(cuda);
}

static int open_device(struct cuda_backend *cuda, struct ant_error *err)
{
    size_t free_bytes, total;

    ANT_CUDA_TRY("cannot use the GPU", cudaSetDevice(cuda->device));
    ANT_CUDA_TRY("cannot use the GPU",
                 cudaStreamCreateWithFlags(&cuda->stream, cudaStreamNonBlocking));
    ANT_CUDA_TRY("cannot use the GPU",
                 cudaStreamCreateWithFlags(&cuda->load_stream, cudaStreamNonBlocking));
    ANT_TRY(ant_gemm_open(&cuda->gemm, err));
    ANT_TRY(plan_products(cuda, err));
    ANT_TRY(open_workspace(cuda, err));
    ANT_TRY(open_steps(cuda, err));
    ANT_TRY(ant_cuda_parallel_open(cuda, err));
    ANT_TRY(ant_cuda_spread_open(cuda, err));
    ANT_CUDA_TRY("cannot ask for the GPU's memory", cudaMemGetInfo(&free_bytes, &total));
    cuda->free_bytes = free_bytes + cuda->workspace_bytes;
    return 0;
}

/* A Hopper for which nothing was compiled takes the code for 8.0, whose answers have other bits. */
static void name_level(struct cuda_backend *cuda)
{
    const char *code = "";

#ifndef HAVE_SM90A
    if (cuda->prop.major == 9)
        code = "-general";
#endif
    snprintf(cuda->level, sizeof(cuda->level), "sm_%d%d%s", cuda->prop.major, cuda->prop.minor,
             code);
}

static int open_cuda(struct ant_backend **out, const struct ant_backend_config *config,
                     struct ant_error *err)
{
    const char *check = getenv("ANTIPHON_CHECK");

    ANT_TRY(check_config(config, err));
    struct cuda_backend *cuda = ant_xcalloc(1, sizeof(*cuda));
    cuda->base.ops = &ant_backend_cuda;
    cuda->config = *config;
    cuda->arch = *config->arch;
    cuda->is_checked = check && *check == '1';
    pthread_mutex_init(&cuda->lock, NULL);
    pthread_cond_init(&cuda->arrival, NULL);
    int rc = ant_cuda_device_of(config->local_rank, &cuda->device, &cuda->prop, err);
    if (rc == 0) {
        name_level(cuda);
        derive(cuda);
        rc = check_device(cuda, err);
    }
    if (rc == 0) {
        rc = open_device(cuda, err);
    }
    if (rc < 0) {
        close_cuda(&cuda->base);
        return rc;
    }
    *out = &cuda->base;
    return 0;
}

/* ---- the cache ------------------------------------------------------------------------------- */

size_t ant_cuda_page_bytes(const struct cuda_backend *cuda)
{
    size_t head = cuda->config.kv_type == ANT_KV_FP8
                      ? KERN_E4M3_PAGE_BYTES(cuda->head_dim)
                      : (size_t)ANT_PAGE_TOKENS * (size_t)cuda->head_dim * 2;

    return (size_t)cuda->arch.n_kv_heads * head;
}

/* How fast the weights can be read, after a first time that brings the kernel. What the L2 cache
 * holds says nothing of the memory. */
static int measure_bandwidth(struct cuda_backend *cuda, struct ant_error *err)
{
    cudaEvent_t start, end;
    size_t bytes = 0;
    float ms = 0;

    for (const struct ant_weight *w = cuda->weights; w; w = w->next)
        bytes += w->bytes;
    bytes = bytes / 256 * 256;
    if (bytes <= (size_t)cuda->prop.l2CacheSize)
        return 0;
    ANT_CUDA_TRY("cannot make an event", cudaEventCreate(&start));
    ANT_CUDA_TRY("cannot make an event", cudaEventCreate(&end));
    for (int i = 0; i < 2; i++) {
        cudaEventRecord(start, cuda->stream);
        kern_read(cuda->weight_memory, bytes, cuda->drawn, cuda->stream);
        cudaEventRecord(end, cuda->stream);
    }
    ANT_CUDA_TRY("cannot read the weights on the GPU", cudaEventSynchronize(end));
    cudaEventElapsedTime(&ms, start, end);
    cudaEventDestroy(start);
    cudaEventDestroy(end);
    cuda->bandwidth = ms > 0 ? (double)bytes / (ms * 1e-3) : 0;
    return 0;
}

static int kv_open(struct ant_backend *be, int n_pages, struct ant_error *err)
{
    struct cuda_backend *cuda = cuda_of(be);
    size_t layers = (size_t)cuda->arch.n_layers, bytes;
    char name[64];

    ANT_CUDA_TRY("cannot use the GPU", cudaSetDevice(cuda->device));
    ANT_TRY(ant_cuda_weight_finish(cuda, err));
    cuda->layer_bytes = (size_t)n_pages * ant_cuda_page_bytes(cuda);
    bytes = 2 * layers * cuda->layer_bytes;
    cudaError_t e = cudaMalloc((void **)&cuda->kv, bytes);
    if (e == cudaErrorMemoryAllocation) {
        cudaGetLastError();
        return ant_fail(err, ANT_ENOMEM,
                        "the GPU has no %.2f GB for the KV cache: lower --kv-memory, or end what "
                        "else runs on it",
                        (double)bytes / 1e9);
    }
    ANT_CUDA_TRY("cannot allocate the KV cache", e);
    cuda->n_pages = n_pages;
    if (!cuda->has_windows && cuda->config.kv_type != ANT_KV_FP8)
        cuda->plan.marks = ant_xcalloc((size_t)n_pages, sizeof(*cuda->plan.marks));
    ANT_TRY(unit(cuda->config.local_rank, name, err));
    ant_cuda_meter_open(cuda, name);
    return measure_bandwidth(cuda, err);
}

static void measure(struct ant_backend *be)
{
    measure_bandwidth(cuda_of(be), NULL); /* again, at the clocks of a device at work */
}

/* ---- what it tells --------------------------------------------------------------------------- */

static void facts(const struct ant_backend *be, struct ant_backend_facts *out)
{
    const struct cuda_backend *cuda = cuda_of_const(be);

    *out = (struct ant_backend_facts){
        .level = cuda->level,
        .workspace_bytes = cuda->workspace_bytes,
        .kv_page_bytes = 2 * (size_t)cuda->arch.n_layers * ant_cuda_page_bytes(cuda),
        .free_bytes = cuda->free_bytes,
        .kv_share = KV_SHARE,
        .bandwidth = cuda->bandwidth,
        .edits_logits = true,
        .masks_logits = true,
        .ranks_logits = true,
        .in_company = cuda->config.spread != NULL,
        .opens_steps = !cuda->config.spread,
        .steps_in_flight = cuda->config.times_operations ? 1 : 2,
    };
    snprintf(out->device, sizeof(out->device), "%.80s, %d multiprocessors, %s", cuda->prop.name,
             cuda->prop.multiProcessorCount, cuda->level);
}

static void counts(const struct ant_backend *be, struct ant_backend_counts *out)
{
    *out = ant_tally_read(&cuda_of_const(be)->tally);
    ant_cuda_meter_read(cuda_of_const(be), out);
}

/* A captured step has one number of rows from its begin to its end. */
static void keep_all(struct ant_backend *be)
{
    (void)be;
}

const struct ant_backend_ops ant_backend_cuda = {
    .name = "cuda",
    .default_seqs = 1024,
    .many_seqs = CUDA_GRAPH_ROWS,
    .default_rows = CUDA_MAX_ROWS,
    .probe = probe,
    .unit = unit,
    .open = open_cuda,
    .close = close_cuda,
    .facts = facts,
    .counts = counts,
    .measure = measure,
    .weight_bytes = ant_cuda_weight_bytes,
    .weight_open = ant_cuda_weight_open,
    .weight_put = ant_cuda_weight_put,
    .weight_share = ant_cuda_weight_share,
    .kv_open = kv_open,
    .step_begin = ant_cuda_step_begin,
    .step_end = ant_cuda_step_end,
    .step_wait = ant_cuda_step_wait,
    .embed = ant_cuda_embed,
    .norm = ant_cuda_norm,
    .norm_add = ant_cuda_norm_add,
    .gemm = ant_cuda_gemm,
    .rope_append = ant_cuda_rope_append,
    .attention = ant_cuda_attention,
    .route = ant_cuda_route,
    .experts = ant_cuda_experts,
    .keep_sampled = keep_all,
    .norm_sampled = ant_cuda_norm_sampled,
    .clear = ant_cuda_clear,
    .all_reduce = ant_cuda_all_reduce,
    .gather_logits = ant_cuda_gather_logits,
    .share_drawn = ant_cuda_share_drawn,
    .send = ant_cuda_send,
    .receive = ant_cuda_receive,
    .sample = ant_cuda_sample,
    .read_slot = ant_cuda_read_slot,
};
