/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/mem.h"
#include "model/model_internal.h"

/* Preparing a part of the weights may take this long before other ranks of the host give up on it.
 */
#define TIMEOUT_S 1800

/* Weights start on their own cache lines and pages of vector loads. */
#define ALIGNMENT 4096

/* One weight to be prepared: where its handle goes, what it is made of, and its place in the
 * memory. */
struct job {
    struct ant_weight **handle;
    struct ant_weight_spec spec;
    size_t offset;
};

struct load {
    const struct ant_checkpoint *checkpoint;
    const struct ant_backend *be;
    struct job *jobs; /* owned */
    int n_jobs;
    size_t bytes;
};

static void add(struct load *load, struct ant_weight **handle, struct ant_weight_spec spec)
{
    size_t bytes = load->be->ops->weight_bytes(load->be, &spec);

    load->jobs[load->n_jobs++] = (struct job){handle, spec, load->bytes};
    load->bytes += (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

static void add_vector(struct load *load, struct ant_weight **handle, enum ant_role role, int layer)
{
    add(load, handle,
        (struct ant_weight_spec){
            .parts = {ant_checkpoint_role(load->checkpoint, role, layer)},
            .n_parts = 1,
            .is_vector = true,
        });
}

static void add_matrix(struct load *load, struct ant_weight **handle, enum ant_role role, int layer,
                       bool is_table)
{
    add(load, handle,
        (struct ant_weight_spec){
            .parts = {ant_checkpoint_role(load->checkpoint, role, layer)},
            .n_parts = 1,
            .is_table = is_table,
        });
}

static void add_layer(struct load *load, struct ant_layer *layer, int i)
{
    const struct ant_checkpoint *checkpoint = load->checkpoint;

    add_vector(load, &layer->attn_norm, ANT_W_ATTN_NORM, i);
    add(load, &layer->qkv,
        (struct ant_weight_spec){
            .parts = {ant_checkpoint_role(checkpoint, ANT_W_Q, i),
                      ant_checkpoint_role(checkpoint, ANT_W_K, i),
                      ant_checkpoint_role(checkpoint, ANT_W_V, i)},
            .bias = {ant_checkpoint_role(checkpoint, ANT_W_Q_BIAS, i),
                     ant_checkpoint_role(checkpoint, ANT_W_K_BIAS, i),
                     ant_checkpoint_role(checkpoint, ANT_W_V_BIAS, i)},
            .n_parts = 3,
            .rows_by_head = true,
        });
    add(load, &layer->o,
        (struct ant_weight_spec){
            .parts = {ant_checkpoint_role(checkpoint, ANT_W_O, i)},
            .bias = {ant_checkpoint_role(checkpoint, ANT_W_O_BIAS, i)},
            .n_parts = 1,
            .cols_by_head = true,
        });
    add_vector(load, &layer->mlp_norm, ANT_W_MLP_NORM, i);
    add(load, &layer->gate_up,
        (struct ant_weight_spec){
            .parts = {ant_checkpoint_role(checkpoint, ANT_W_GATE, i),
                      ant_checkpoint_role(checkpoint, ANT_W_UP, i)},
            .n_parts = 2,
        });
    add_matrix(load, &layer->down, ANT_W_DOWN, i, false);
}

/* Everything the model consists of, with its place in one block of memory. The biggest come first,
 * so that threads end together. */
static void list_weights(struct load *load, struct ant_model *model)
{
    int n_layers = model->arch->n_layers;

    load->jobs = ant_xcalloc(3 + 6 * (size_t)n_layers, sizeof(*load->jobs));
    add_matrix(load, &model->embed, ANT_W_EMBED, 0, true);
    if (!model->arch->tied)
        add_matrix(load, &model->output, ANT_W_OUTPUT, 0, false);
    for (int i = 0; i < n_layers; i++)
        add_layer(load, &model->layers[i], i);
    add_vector(load, &model->final_norm, ANT_W_FINAL_NORM, 0);
}

static void init(struct ant_model *model, const struct ant_checkpoint *checkpoint,
                 struct ant_backend *be)
{
    *model = (struct ant_model){.arch = ant_checkpoint_arch(checkpoint), .be = be};
    model->layers = ant_xcalloc((size_t)model->arch->n_layers, sizeof(*model->layers));
}

size_t ant_model_weight_bytes(const struct ant_checkpoint *checkpoint, const struct ant_backend *be)
{
    struct load load = {.checkpoint = checkpoint, .be = be};
    struct ant_model model;

    init(&model, checkpoint, (struct ant_backend *)be); /* only its sizes are asked for */
    list_weights(&load, &model);
    free(load.jobs);
    free(model.layers);
    return load.bytes;
}

/* Threads take the next weight of this rank's part until none is left or one has failed. */
struct team {
    const struct load *load;
    struct ant_backend *be;
    char *memory;
    int rank, size; /* among those who share the memory */
    _Atomic int next, failure;
};

static int prepare(struct team *team, int i, struct ant_error *err)
{
    const struct job *job = &team->load->jobs[i];

    return team->be->ops->weight_put(team->be, job->handle, &job->spec, team->memory + job->offset,
                                     i % team->size == team->rank, err);
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

/* The device's memory, or the host's, then of all ranks of the node together. */
static int open_memory(struct team *team, struct ant_model *model, struct ant_group *node,
                       struct ant_error *err)
{
    size_t bytes = team->load->bytes;
    void *memory;

    ANT_TRY(team->be->ops->weight_open(team->be, bytes, &memory, err));
    if (memory == NULL) {
        ANT_TRY(ant_shared_open(&model->weights, node, bytes, "weights", err));
        memory = model->weights.memory;
    }
    if (model->weights.is_shared) {
        team->rank = ant_group_rank(node);
        team->size = ant_group_size(node);
    }
    team->memory = memory;
    return 0;
}

int ant_model_load(struct ant_model **out, const struct ant_checkpoint *checkpoint,
                   struct ant_backend *be, struct ant_group *node, int n_threads,
                   struct ant_error *err)
{
    struct ant_model *model = ant_xcalloc(1, sizeof(*model));
    struct load load = {.checkpoint = checkpoint, .be = be};

    init(model, checkpoint, be);
    list_weights(&load, model);
    struct team team = {.load = &load, .be = be, .size = 1};
    int rc = open_memory(&team, model, node, err);
    if (rc == 0)
        rc = prepare_all(&team, n_threads, err);
    if (node && rc != ANT_EPEER)
        rc = ant_group_agree(node, rc, TIMEOUT_S, err);
    free(load.jobs);
    if (rc < 0) {
        ant_model_close(model);
        return rc;
    }
    if (model->arch->tied)
        model->output = model->embed;
    ant_checkpoint_drop_pages(checkpoint);
    *out = model;
    return 0;
}

void ant_model_close(struct ant_model *model)
{
    if (!model)
        return;
    ant_shared_close(&model->weights);
    free(model->layers);
    free(model);
}
