/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "model/model_internal.h"

/* Preparing a part of the weights may take this long before other ranks of the host give up on it.
 */
#define TIMEOUT_S 1800

/* Weights start on their own cache lines and pages of vector loads. */
#define ALIGNMENT 4096

enum {
    MAX_LAYER_WEIGHTS = 13, /* as many as struct ant_layer has */
    MAX_PIECES = 6,         /* of a weight but experts: parts and biases */
};

/* Memory for weights: what all who hold the same part of the model have in common, and what each
 * rank has of its own even so, experts that are spread over them. */
enum block { COMMON, OWN, N_BLOCKS };

/* One weight to be prepared: where its handle goes, what it is made of, and its place in the
 * memory. */
struct job {
    struct ant_weight **handle;
    struct ant_weight_spec spec;
    enum block block;
    size_t offset, bytes;      /* in that */
    int first_piece, n_pieces; /* of the tensors in the spec */
    int host;                  /* that reads it, among those of which each reads a part */
    bool is_mine;              /* this rank reads it */
};

struct load {
    const struct ant_checkpoint *checkpoint;
    const struct ant_shard *shard;
    const struct ant_backend *be;
    struct job *jobs; /* owned */
    int n_jobs;
    struct ant_piece *pieces; /* owned: the tensors, as far as this rank holds them */
    int n_pieces;
    const struct ant_tensor **experts; /* owned: what the specs' lists of experts are parts of */
    int n_experts;
    size_t bytes[N_BLOCKS];
};

/* This rank's part of what plays a role; NULL: the model or this rank is without it. */
static const struct ant_tensor *take(struct load *load, enum ant_role role,
                                     const struct ant_tensor *whole)
{
    if (!whole || !ant_shard_is_mine(load->shard, role))
        return NULL;
    struct ant_piece *piece = &load->pieces[load->n_pieces++];
    ant_shard_piece(load->shard, role, whole, piece);
    return &piece->tensor;
}

static const struct ant_tensor *take_role(struct load *load, enum ant_role role, int layer)
{
    return take(load, role, ant_checkpoint_role(load->checkpoint, role, layer));
}

/* `spec` is made of the tensors that were taken since the last weight. */
static void add(struct load *load, struct ant_weight **handle, struct ant_weight_spec spec)
{
    size_t bytes = load->be->ops->weight_bytes(load->be, &spec);
    const struct job *before = load->n_jobs ? &load->jobs[load->n_jobs - 1] : NULL;
    int first = before ? before->first_piece + before->n_pieces : 0;
    enum block block = spec.n_experts > 0 && load->shard->experts.n > 1 ? OWN : COMMON;

    load->jobs[load->n_jobs++] =
        (struct job){handle, spec, block, load->bytes[block], bytes, first, load->n_pieces - first};
    load->bytes[block] += (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

/* A matrix of up to three roles stacked, those that the model has. `biases` NULL: none. */
static void add_stack(struct load *load, struct ant_weight **handle, int n,
                      const enum ant_role *parts, const enum ant_role *biases, int layer)
{
    struct ant_weight_spec spec = {
        .is_table = parts[0] == ANT_W_EMBED,
        .is_output = parts[0] == ANT_W_OUTPUT,
        .rows_by_head = parts[0] == ANT_W_Q,
        .cols_by_head = parts[0] == ANT_W_O,
        .rows_by_unit = parts[0] == ANT_W_GATE || parts[0] == ANT_W_SHARED_GATE,
        .cols_by_unit = parts[0] == ANT_W_DOWN || parts[0] == ANT_W_SHARED_DOWN,
        .is_router = parts[0] == ANT_W_ROUTER,
    };

    for (int i = 0; i < n; i++) {
        const struct ant_tensor *part = take_role(load, parts[i], layer);
        if (!part)
            continue;
        spec.parts[spec.n_parts] = part;
        bool has_bias = biases && biases[i] != ANT_N_ROLES;
        spec.bias[spec.n_parts++] = has_bias ? take_role(load, biases[i], layer) : NULL;
    }
    if (spec.n_parts > 0)
        add(load, handle, spec);
}

static void add_matrix(struct load *load, struct ant_weight **handle, enum ant_role role,
                       const enum ant_role *bias, int layer)
{
    add_stack(load, handle, 1, &role, bias, layer);
}

/* The weights of a norm, and its bias if it has one. `scale`: of both. */
static void add_norm(struct load *load, struct ant_weight **handle, enum ant_role role,
                     const enum ant_role *bias, int layer, double scale)
{
    struct ant_weight_spec spec = {
        .parts = {take_role(load, role, layer)},
        .bias = {bias ? take_role(load, *bias, layer) : NULL},
        .n_parts = 1,
        .is_vector = true,
        .offset = load->shard->arch.norm_offset,
        .scale = (float)scale,
    };

    if (spec.parts[0])
        add(load, handle, spec);
}

/* One matrix of every expert that this rank holds, or two of them stacked. */
static void add_experts(struct load *load, struct ant_weight **handle, int n,
                        const enum ant_role *parts, int layer)
{
    const struct ant_checkpoint *checkpoint = load->checkpoint;
    int first = load->shard->arch.moe.first_held, n_held = load->shard->arch.moe.n_held;
    const struct ant_tensor **list = load->experts + load->n_experts;

    for (int k = 0; k < n_held; k++)
        for (int i = 0; i < n; i++)
            load->experts[load->n_experts++] =
                take(load, parts[i], ant_checkpoint_expert(checkpoint, parts[i], layer, first + k));
    add(load, handle,
        (struct ant_weight_spec){.n_parts = n,
                                 .rows_by_unit = parts[0] == ANT_W_EXPERT_GATE,
                                 .cols_by_unit = parts[0] == ANT_W_EXPERT_DOWN,
                                 .n_experts = n_held,
                                 .experts = list,
                                 .layer = layer - load->shard->layers.first});
}

static void add_moe(struct load *load, struct ant_layer *layer, int i)
{
    static const enum ant_role router[] = {ANT_W_ROUTER, ANT_W_SHARED_SCALE},
                               bias[] = {ANT_W_ROUTER_BIAS, ANT_N_ROLES},
                               gate_up[] = {ANT_W_EXPERT_GATE, ANT_W_EXPERT_UP},
                               down[] = {ANT_W_EXPERT_DOWN},
                               shared[] = {ANT_W_SHARED_GATE, ANT_W_SHARED_UP};

    add_stack(load, &layer->router, 2, router, bias, i);
    add_experts(load, &layer->experts_gate_up, 2, gate_up, i);
    add_experts(load, &layer->experts_down, 1, down, i);
    add_stack(load, &layer->gate_up, 2, shared, NULL, i);
    add_matrix(load, &layer->down, ANT_W_SHARED_DOWN, NULL, i);
}

static void add_layer(struct load *load, struct ant_layer *layer, int i)
{
    static const enum ant_role qkv[] = {ANT_W_Q, ANT_W_K, ANT_W_V},
                               qkv_bias[] = {ANT_W_Q_BIAS, ANT_W_K_BIAS, ANT_W_V_BIAS},
                               o_bias[] = {ANT_W_O_BIAS}, attn_bias[] = {ANT_W_ATTN_NORM_BIAS},
                               mlp_bias[] = {ANT_W_MLP_NORM_BIAS},
                               gate_up[] = {ANT_W_GATE, ANT_W_UP};

    add_norm(load, &layer->attn_norm, ANT_W_ATTN_NORM, attn_bias, i, 1);
    add_stack(load, &layer->qkv, 3, qkv, qkv_bias, i);
    add_norm(load, &layer->q_norm, ANT_W_Q_NORM, NULL, i, 1);
    add_norm(load, &layer->k_norm, ANT_W_K_NORM, NULL, i, 1);
    add_matrix(load, &layer->o, ANT_W_O, o_bias, i);
    add_norm(load, &layer->attn_post_norm, ANT_W_ATTN_POST_NORM, NULL, i, 1);
    add_norm(load, &layer->mlp_norm, ANT_W_MLP_NORM, mlp_bias, i, 1);
    add_norm(load, &layer->mlp_post_norm, ANT_W_MLP_POST_NORM, NULL, i, 1);
    if (ant_checkpoint_arch(load->checkpoint)->layers[i] & ANT_LAYER_MOE) {
        add_moe(load, layer, i);
        return;
    }
    add_stack(load, &layer->gate_up, 2, gate_up, NULL, i);
    add_matrix(load, &layer->down, ANT_W_DOWN, NULL, i);
}

/* Everything that the rank's part consists of, with its place in memory. The biggest
 * come first, so that threads end together. */
static void list_weights(struct load *load, struct ant_model *model)
{
    static const enum ant_role output_bias[] = {ANT_W_OUTPUT_BIAS},
                               norm_bias[] = {ANT_W_FINAL_NORM_BIAS};
    const struct ant_arch *arch = model->arch;
    const struct ant_shard *shard = load->shard;
    size_t n_layers = (size_t)arch->n_layers, n_experts = 3 * (size_t)arch->moe.n_held;
    size_t n_jobs = 3 + MAX_LAYER_WEIGHTS * n_layers;

    load->jobs = ant_xcalloc(n_jobs, sizeof(*load->jobs));
    load->experts = ant_xcalloc(1 + n_layers * n_experts, sizeof(*load->experts));
    load->pieces = ant_xcalloc(n_jobs * MAX_PIECES + n_layers * n_experts, sizeof(*load->pieces));
    if (ant_shard_is_first(shard))
        add_matrix(load, &model->embed, ANT_W_EMBED, NULL, 0);
    if (ant_shard_is_last(shard) && !(arch->tied && ant_shard_is_first(shard)))
        add_matrix(load, &model->output, ANT_W_OUTPUT, output_bias, 0);
    for (int i = 0; i < arch->n_layers; i++)
        add_layer(load, &model->layers[i], shard->layers.first + i);
    if (ant_shard_is_last(shard))
        add_norm(load, &model->final_norm, ANT_W_FINAL_NORM, norm_bias, 0, arch->logit_scale);
}

static void release(struct load *load)
{
    free(load->jobs);
    free(load->experts);
    free(load->pieces);
}

static void init(struct ant_model *model, const struct ant_shard *shard,
                 const struct ant_checkpoint *checkpoint, const struct ant_parallel *parallel,
                 struct ant_backend *be)
{
    *model = (struct ant_model){.be = be, .replica = {.parallel = parallel}};
    if (shard)
        model->shard = *shard;
    else
        ant_shard_whole(&model->shard, checkpoint);
    model->arch = &model->shard.arch;
    model->layers = ant_xcalloc((size_t)model->arch->n_layers, sizeof(*model->layers));
    model->steps = ant_xcalloc((size_t)ant_model_most_steps(model), sizeof(*model->steps));
}

/* Where experts are spread over replicas and these take their steps together, the first rank of
 * each calls the others. */
static void join_company(struct ant_model *model)
{
    const struct ant_parallel *parallel = model->replica.parallel;
    struct ant_backend_facts facts;

    model->be->ops->facts(model->be, &facts);
    if (parallel && parallel->experts && facts.in_company && ant_model_leads(model))
        model->company.group = parallel->experts;
}

static void fini(struct ant_model *model)
{
    ant_buf_release(&model->replica.body);
    ant_buf_release(&model->replica.drawn);
    free(model->steps);
    free(model->layers);
}

size_t ant_model_weight_bytes(const struct ant_checkpoint *checkpoint,
                              const struct ant_shard *shard, const struct ant_backend *be,
                              size_t *own)
{
    struct ant_model model;

    init(&model, shard, checkpoint, NULL, (struct ant_backend *)be); /* only sizes are asked for */
    struct load load = {.checkpoint = checkpoint, .shard = &model.shard, .be = be};
    list_weights(&load, &model);
    release(&load);
    fini(&model);
    *own = load.bytes[OWN];
    return load.bytes[COMMON] + load.bytes[OWN];
}

/* Threads take the next weight of this rank's part until none is left or one has failed. */
struct team {
    const struct load *load;
    struct ant_backend *be;
    char *memory[N_BLOCKS];
    int rank, size;    /* among those who share COMMON */
    int host, n_hosts; /* among those of which each reads a part of it */
    _Atomic int next, failure;
    _Atomic int64_t bytes_read;
};

/* The next weight is for the one who has the fewest bytes so far. */
static int give_least(size_t *bytes, int n, size_t more)
{
    int least = 0;

    for (int i = 1; i < n; i++)
        if (bytes[i] < bytes[least])
            least = i;
    bytes[least] += more;
    return least;
}

/* Who reads what: of hosts all ranks find the same, of those of a host all of that host. */
static void deal_out(struct team *team)
{
    size_t *hosts = ant_xcalloc((size_t)team->n_hosts, sizeof(*hosts));
    size_t *ranks = ant_xcalloc((size_t)team->size, sizeof(*ranks));

    for (int i = 0; i < team->load->n_jobs; i++) {
        struct job *job = &team->load->jobs[i];
        if (job->block == COMMON)
            job->host = give_least(hosts, team->n_hosts, job->bytes);
        job->is_mine =
            job->block == OWN ||
            (job->host == team->host && give_least(ranks, team->size, job->bytes) == team->rank);
    }
    free(hosts);
    free(ranks);
}

/* Columns are copied together first: backends take whole rows. */
static int prepare(struct team *team, int i, struct ant_error *err)
{
    const struct job *job = &team->load->jobs[i];
    struct ant_piece *pieces = team->load->pieces + job->first_piece;
    void **copies = ant_xcalloc((size_t)job->n_pieces, sizeof(*copies));
    bool fill = job->is_mine;

    for (int k = 0; k < job->n_pieces && fill; k++) {
        ant_shard_read(&pieces[k], &copies[k]);
        if (pieces[k].whole->data)
            team->bytes_read += (int64_t)pieces[k].tensor.bytes;
    }
    int rc = team->be->ops->weight_put(team->be, job->handle, &job->spec,
                                       team->memory[job->block] + job->offset, fill, err);
    for (int k = 0; k < job->n_pieces; k++)
        free(copies[k]);
    free(copies);
    return rc;
}

struct worker {
    struct team *team;
    struct ant_error error;
    int rc;
    pthread_t thread;
};

static void *worker_main(void *argument)
{
    struct worker *worker = argument;
    struct team *team = worker->team;
    int i;

    while (!atomic_load(&team->failure) &&
           (i = atomic_fetch_add(&team->next, 1)) < team->load->n_jobs) {
        worker->rc = prepare(team, i, &worker->error);
        if (worker->rc < 0)
            atomic_store(&team->failure, 1);
    }
    return NULL;
}

static int prepare_all(struct team *team, int n_threads, struct ant_error *err)
{
    struct worker *workers = ant_xcalloc((size_t)n_threads, sizeof(*workers));
    int n_started = 1, rc = 0;

    for (int i = 0; i < n_threads; i++)
        workers[i].team = team;
    while (n_started < n_threads &&
           pthread_create(&workers[n_started].thread, NULL, worker_main, &workers[n_started]) == 0)
        n_started++;
    worker_main(&workers[0]); /* with fewer threads than asked for it only takes longer */
    for (int i = 1; i < n_started; i++)
        pthread_join(workers[i].thread, NULL);
    for (int i = 0; i < n_started && rc == 0; i++)
        if (workers[i].rc < 0)
            rc = ant_fail(err, workers[i].rc, "%s", workers[i].error.text);
    free(workers);
    return rc;
}

/* The device's memory, or the host's, then of all twins together. A device's is not given to other
 * hosts, nor is memory that twins could not share but one of them. */
static int open_memory(struct team *team, struct ant_model *model,
                       const struct ant_loading *loading, struct ant_error *err)
{
    size_t bytes = team->load->bytes[COMMON], own = team->load->bytes[OWN];
    void *memory;

    ANT_TRY(team->be->ops->weight_open(team->be, bytes + own, &memory, err));
    bool is_device = memory != NULL;
    if (!is_device && own > 0)
        ANT_TRY(ant_shared_open(&model->own_weights, NULL, own, "experts", err));
    if (!is_device) {
        ANT_TRY(ant_shared_open(&model->weights, loading->twins, bytes, "weights", err));
        memory = model->weights.memory;
    }
    if (model->weights.is_shared) {
        team->rank = ant_group_rank(loading->twins);
        team->size = ant_group_size(loading->twins);
    }
    if (loading->n_hosts > 1 && (is_device || model->weights.is_shared || loading->hosts)) {
        team->host = loading->host;
        team->n_hosts = loading->n_hosts;
    }
    team->memory[COMMON] = memory;
    team->memory[OWN] = is_device ? (char *)memory + bytes : model->own_weights.memory;
    return 0;
}

static int share_all(const struct team *team, const struct ant_loading *loading, bool *damaged,
                     struct ant_error *err)
{
    const struct load *load = team->load;
    struct ant_weight_part *items = ant_xcalloc((size_t)load->n_jobs, sizeof(*items));
    struct ant_weight_parts parts = {
        .items = items, .ranks = loading->hosts, .id = loading->id, .timeout = TIMEOUT_S};

    for (int i = 0; i < load->n_jobs; i++) {
        const struct job *job = &load->jobs[i];
        if (job->block == COMMON)
            items[parts.n++] =
                (struct ant_weight_part){team->memory[COMMON] + job->offset, job->bytes, job->host};
    }
    int rc = team->be->ops->weight_share(team->be, &parts, damaged, err);
    free(items);
    return rc;
}

/* Once all have read their parts. `rc` and `err` are how this host fared. */
static int pass_all_on(const struct team *team, const struct ant_loading *loading, int rc,
                       struct ant_error *err)
{
    bool damaged = false;

    rc = ant_group_agree(loading->hosts, rc, TIMEOUT_S, err);
    if (rc == 0)
        rc = share_all(team, loading, &damaged, err);
    if (rc == ANT_EPEER)
        return rc;
    if (rc == 0 && damaged)
        rc = ant_fail(err, ANT_EPEER,
                      "weights that another had read arrived damaged at the %d. of %d readers: "
                      "--load read does without",
                      team->host + 1, team->n_hosts);
    return ant_group_agree(loading->hosts, rc, TIMEOUT_S, err);
}

int ant_model_load(struct ant_model **out, const struct ant_checkpoint *checkpoint,
                   const struct ant_shard *shard, const struct ant_parallel *parallel,
                   struct ant_backend *be, const struct ant_loading *loading, struct ant_error *err)
{
    struct ant_model *model = ant_xcalloc(1, sizeof(*model));
    struct ant_group *twins = loading->twins;
    struct ant_backend_facts facts;

    init(model, shard, checkpoint, parallel, be);
    be->ops->facts(be, &facts);
    model->depth = facts.steps_in_flight;
    model->replica.mask_words = ((size_t)model->arch->vocab + 63) / 64;
    struct load load = {.checkpoint = checkpoint, .shard = &model->shard, .be = be};
    list_weights(&load, model);
    struct team team = {.load = &load, .be = be, .size = 1, .n_hosts = 1};
    int rc = open_memory(&team, model, loading, err);
    deal_out(&team);
    if (rc == 0)
        rc = prepare_all(&team, loading->n_threads, err);
    if (twins && rc != ANT_EPEER)
        rc = ant_group_agree(twins, rc, TIMEOUT_S, err);
    if (team.n_hosts > 1) { /* the first of the twins speaks for them, and they wait for it */
        double start = ant_now();
        if (loading->hosts && rc != ANT_EPEER)
            rc = pass_all_on(&team, loading, rc, err);
        if (twins && rc != ANT_EPEER)
            rc = ant_group_agree(twins, rc, TIMEOUT_S, err);
        model->share_s = ant_now() - start;
    }
    model->bytes_read = team.bytes_read;
    release(&load);
    if (rc < 0) {
        ant_model_close(model);
        return rc;
    }
    if (!model->output)
        model->output = model->embed;
    join_company(model);
    ant_checkpoint_drop_pages(checkpoint);
    *out = model;
    return 0;
}

int64_t ant_model_bytes_read(const struct ant_model *model)
{
    return model->bytes_read;
}

double ant_model_share_seconds(const struct ant_model *model)
{
    return model->share_s;
}

void ant_model_close(struct ant_model *model)
{
    if (!model)
        return;
    ant_shared_close(&model->weights);
    ant_shared_close(&model->own_weights);
    fini(model);
    free(model);
}
