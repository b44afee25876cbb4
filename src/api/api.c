/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include <stdlib.h>

#include "api/api.h"

#include "backend/cpu/cpu_level.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"

/* The place of a name among the choices of a setting; NULL leaves the default. */
static int find_choice(const char *name, const char *const *choices, const char *setting, int *out,
                       struct ant_error *err)
{
    for (int i = 0; name && choices[i]; i++)
        if (strcmp(name, choices[i]) == 0) {
            *out = i;
            return 0;
        }
    return name ? ant_fail(err, ANT_EUSAGE, "%s: there is no '%s'", setting, name) : 0;
}

static int take_settings(struct run *run, const struct antiphon_settings *from,
                         struct ant_error *err)
{
    struct run_settings *to = &run->settings;

    ant_run_set_defaults(to);
    to->watchdog = 0; /* a program that waits in a debugger is not to be ended by its library */
    if (from->version != ANTIPHON_API_VERSION)
        return ant_fail(err, ANT_EUSAGE, "made for version %d of antiphon.h, this library has %d",
                        (int)from->version, ANTIPHON_API_VERSION);
    if (!from->model || from->dp_size < 0 || from->tp_size < 0 || from->pp_size < 0 ||
        from->threads < 0 || from->max_model_len < 0 || from->max_num_seqs < 0 ||
        from->kv_memory < 0 || from->n_stop_texts < 0 ||
        (from->n_stop_texts > 0 && !from->stop_texts))
        return ant_fail(err, ANT_EUSAGE,
                        "settings need a model, n_stop_texts stop_texts, and no negative number");
    to->model = from->model;
    to->dp_size = from->dp_size;
    to->tp_size = from->tp_size ? from->tp_size : 1;
    to->pp_size = from->pp_size ? from->pp_size : 1;
    to->enable_ep = from->ep_scope != NULL;
    to->threads = from->threads;
    to->max_model_len = from->max_model_len;
    to->max_num_seqs = from->max_num_seqs;
    to->kv_memory = from->kv_memory;
    to->stop.items = ant_xcalloc((size_t)from->n_stop_texts + 1, sizeof(*to->stop.items));
    for (int i = 0; i < from->n_stop_texts; i++) {
        if (!from->stop_texts[i])
            return ant_fail(err, ANT_EUSAGE, "stop_texts[%d] is NULL", i);
        to->stop.items[to->stop.count++] = from->stop_texts[i];
    }
    ANT_TRY(find_choice(from->ep_scope, ant_run_ep_scopes, "ep_scope", &to->ep_scope, err));
    return find_choice(from->backend, ant_run_backends, "backend", &to->backend, err);
}

/* Ranks that were given other settings are told apart by these words, as if it were a command. */
static char *words_of(const struct run_settings *settings)
{
    struct ant_buf words = {0};

    ant_buf_printf(&words, "%s %d %d %d %d %d %d %d %d %lld", settings->model, settings->dp_size,
                   settings->tp_size, settings->pp_size, (int)settings->enable_ep,
                   settings->ep_scope, settings->backend, settings->max_model_len,
                   settings->max_num_seqs, (long long)settings->kv_memory);
    for (int i = 0; i < settings->stop.count; i++)
        ant_buf_printf(&words, " %zu:%s", strlen(settings->stop.items[i]), settings->stop.items[i]);
    return words.data;
}

static int launch(struct run *run, struct ant_error *err)
{
    char name[] = "libantiphon", *words = words_of(&run->settings), *argv[] = {name, words};

    run->argc = 2;
    run->argv = argv;
    int rc = ant_run_launch(run, err);
    run->argc = 0;
    run->argv = NULL;
    free(words);
    return rc;
}

static int open_model(struct run *run, struct ant_error *err)
{
    ANT_TRY(ant_checkpoint_open(&run->checkpoint, run->settings.model, err));
    ANT_TRY(ant_checkpoint_tokenizer(run->checkpoint, &run->tokenizer, err));
    return ant_run_collect_rules(run, err);
}

static int open_replica(struct antiphon *antiphon, struct ant_error *err)
{
    const struct run *run = &antiphon->run;
    int n = run->layout.tp_size * run->layout.pp_size;
    int *ranks = ant_xcalloc((size_t)n, sizeof(*ranks));

    for (int i = 0; i < n; i++)
        ranks[i] = run->layout.dp_rank * n + i;
    int rc = ant_group_open(&antiphon->replica, run->transport, ant_job_cards(run->job), ranks, n,
                            run->layout.rank, err);
    free(ranks);
    return rc;
}

static int start(struct antiphon *antiphon, const struct antiphon_settings *settings,
                 struct ant_error *err)
{
    struct run *run = &antiphon->run;

    ANT_TRY(take_settings(run, settings, err));
    ANT_TRY(launch(run, err));
    ANT_TRY(open_replica(antiphon, err));
    ANT_TRY(ant_run_agree(run, open_model(run, err), err));
    ANT_TRY(ant_run_agree(run, ant_run_plan(run, err), err));
    return ant_run_load(run, err);
}

int antiphon_open(struct antiphon **out, const struct antiphon_settings *settings,
                  antiphon_text error)
{
    struct antiphon *antiphon = ant_xcalloc(1, sizeof(*antiphon));
    struct ant_error err = {{0}};

    *out = NULL;
    ant_cpu_request_amx();
    ant_log_set_level(ANT_LOG_WARN);
    antiphon->run.start = ant_now();
    int rc = start(antiphon, settings, &err);
    if (rc < 0)
        antiphon_close(antiphon);
    else
        *out = antiphon;
    return ant_api_result(rc, &err, error);
}

void antiphon_close(struct antiphon *antiphon)
{
    if (!antiphon)
        return;
    for (size_t i = 0; i < sizeof(antiphon->devices) / sizeof(*antiphon->devices); i++)
        ant_device_group_close(antiphon->devices[i]);
    ant_group_close(antiphon->replica);
    ant_run_tear_down(&antiphon->run);
    free(antiphon);
}

void antiphon_where(const struct antiphon *antiphon, struct antiphon_place *out)
{
    const struct ant_layout *layout = &antiphon->run.layout;

    *out = (struct antiphon_place){
        .rank = layout->rank,
        .size = layout->world,
        .node_rank = antiphon_group_rank(antiphon, ANTIPHON_NODE),
        .node_size = antiphon_group_size(antiphon, ANTIPHON_NODE),
        .dp_rank = layout->dp_rank,
        .dp_size = layout->dp_size,
        .tp_rank = layout->tp_rank,
        .tp_size = layout->tp_size,
        .pp_rank = layout->pp_rank,
        .pp_size = layout->pp_size,
    };
}

/* ---- groups ---------------------------------------------------------------------------------- */

static struct ant_group *find(const struct antiphon *antiphon, enum antiphon_group group)
{
    const struct run *run = &antiphon->run;

    return group == ANTIPHON_WORLD  ? run->world
           : group == ANTIPHON_NODE ? run->node
                                    : antiphon->replica;
}

int antiphon_group_size(const struct antiphon *antiphon, enum antiphon_group group)
{
    return ant_group_size(find(antiphon, group));
}

int antiphon_group_rank(const struct antiphon *antiphon, enum antiphon_group group)
{
    return ant_group_rank(find(antiphon, group));
}

int antiphon_barrier(struct antiphon *antiphon, enum antiphon_group group, antiphon_text error)
{
    struct ant_error err;

    return ant_api_result(ant_group_barrier(find(antiphon, group), API_PATIENCE_S, &err), &err,
                          error);
}

int antiphon_broadcast(struct antiphon *antiphon, enum antiphon_group group, int root, void *data,
                       size_t bytes, antiphon_text error)
{
    struct ant_group *members = find(antiphon, group);
    struct ant_error err;
    int rc;

    if (root < 0 || root >= ant_group_size(members))
        rc = ant_fail(&err, ANT_EUSAGE, "rank %d is none of the group's %d", root,
                      ant_group_size(members));
    else
        rc = ant_group_broadcast(members, root, data, bytes, API_PATIENCE_S, &err);
    return ant_api_result(rc, &err, error);
}

int antiphon_all_gather(struct antiphon *antiphon, enum antiphon_group group, const void *mine,
                        size_t bytes, void *all, antiphon_text error)
{
    struct ant_error err;
    int rc = ant_group_all_gather(find(antiphon, group), mine, bytes, all, API_PATIENCE_S, &err);

    return ant_api_result(rc, &err, error);
}

static int open_devices(struct antiphon *antiphon, enum antiphon_group group, struct ant_error *err)
{
    static const char *const names[] = {"the job", "a host", "a replica"};
    const struct run *run = &antiphon->run;
    struct ant_group *members = find(antiphon, group);
    struct ant_device_id id = {0};
    int rc = 0;

    if (run->facts.is_host)
        rc = ant_fail(err, ANT_EUNSUPP, "this job computes on CPUs, which have no device group");
    else if (ant_group_rank(members) == 0)
        rc = ant_device_id_make(&id, err);
    ANT_TRY(ant_group_agree(members, rc, API_PATIENCE_S, err));
    ANT_TRY(ant_group_broadcast(members, 0, &id, sizeof(id), API_PATIENCE_S, err));
    return ant_device_group_open(&antiphon->devices[group], &id, ant_group_rank(members),
                                 ant_group_size(members), names[group], START_TIMEOUT_S, err);
}

int antiphon_device_group(struct antiphon *antiphon, enum antiphon_group group, void **comm,
                          antiphon_text error)
{
    struct ant_error err;
    int rc = antiphon->devices[group] ? 0 : open_devices(antiphon, group, &err);

    *comm = rc == 0 ? ant_device_group_comm(antiphon->devices[group]) : NULL;
    return ant_api_result(rc, &err, error);
}

/* ---- parameters ------------------------------------------------------------------------------ */

int64_t antiphon_parameters(const struct antiphon *antiphon)
{
    return (int64_t)ant_checkpoint_count(antiphon->run.checkpoint);
}

/* NULL with the reason why. */
static const struct ant_tensor *find_tensor(const struct antiphon *antiphon, int64_t i,
                                            struct ant_error *err)
{
    if (i >= 0 && i < antiphon_parameters(antiphon))
        return ant_checkpoint_tensor(antiphon->run.checkpoint, (size_t)i);
    ant_fail(err, ANT_EUSAGE, "there is no parameter %lld of %lld", (long long)i,
             (long long)antiphon_parameters(antiphon));
    return NULL;
}

int antiphon_parameter(const struct antiphon *antiphon, int64_t i, struct antiphon_parameter *out,
                       antiphon_text error)
{
    struct ant_error err;
    const struct ant_tensor *tensor = find_tensor(antiphon, i, &err);

    if (!tensor)
        return ant_api_result(ANT_EUSAGE, &err, error);
    *out = (struct antiphon_parameter){
        .name = tensor->name, .type = ant_types[tensor->type].name, .n_dims = tensor->n_dims};
    memcpy(out->shape, tensor->shape, sizeof(out->shape));
    out->cols = tensor->n_dims > 0 ? tensor->shape[tensor->n_dims - 1] : 1;
    out->rows = out->cols > 0 ? ant_tensor_elements(tensor) / out->cols : 0;
    return 0;
}

int antiphon_parameter_values(const struct antiphon *antiphon, int64_t i, int64_t first, int64_t n,
                              float *out, antiphon_text error)
{
    struct antiphon_parameter parameter;
    struct ant_error err;
    int rc = antiphon_parameter(antiphon, i, &parameter, error);

    if (rc < 0)
        return rc;
    const struct ant_tensor *tensor = find_tensor(antiphon, i, &err);
    if (first < 0 || n < 0 || first > parameter.rows || n > parameter.rows - first) {
        rc = ant_fail(&err, ANT_EUSAGE, "'%s' has %lld rows: none from %lld on for %lld",
                      tensor->name, (long long)parameter.rows, (long long)first, (long long)n);
        return ant_api_result(rc, &err, error);
    }
    size_t row_bytes = ant_row_bytes(tensor->type, parameter.cols);
    ant_dequantize(tensor->type, (const char *)tensor->data + (size_t)first * row_bytes, out,
                   n * parameter.cols);
    return 0;
}
