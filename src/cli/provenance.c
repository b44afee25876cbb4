/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/version.h"
#include "cli/run.h"

enum { MAX_FACTS = 48 };

struct ant_run_facts {
    struct ant_fact root[MAX_FACTS], provenance[MAX_FACTS];
    size_t n_root, n_provenance;
};

static struct ant_fact *next(struct ant_fact *facts, size_t *n)
{
    if (*n == MAX_FACTS)
        ant_die("more than %d facts of provenance", MAX_FACTS);
    return &facts[(*n)++];
}

/* Takes `text` over; NULL: nothing is known, nothing is said. */
static void add_text(struct ant_run_facts *facts, const char *name, char *text)
{
    if (text)
        *next(facts->provenance, &facts->n_provenance) =
            (struct ant_fact){.name = name, .kind = ANT_FACT_TEXT, .text = text};
}

static void add_int(struct ant_run_facts *facts, const char *name, int64_t value)
{
    *next(facts->provenance, &facts->n_provenance) =
        (struct ant_fact){.name = name, .kind = ANT_FACT_INT, .integer = value};
}

static void add_env(struct ant_run_facts *facts, const char *name, const char *variable)
{
    const char *value = getenv(variable);

    add_text(facts, name, value ? ant_xstrdup(value) : NULL);
}

static char *digest_text(struct ant_digest digest)
{
    char text[ANT_DIGEST_TEXT];

    ant_digest_text(text, digest);
    return ant_xstrdup(text);
}

static char *utc_ago(double seconds)
{
    char text[32];

    ant_utc(text, sizeof(text), time(NULL) - (time_t)seconds);
    return ant_xstrdup(text);
}

static char *join_arguments(int argc, char **argv)
{
    struct ant_buf out = {0};

    ant_buf_printf(&out, "antiphon");
    for (int i = 0; i < argc; i++)
        ant_buf_printf(&out, " %s", argv[i]);
    return out.data;
}

/* The nodes, each once, in order of rank; several may share a host. */
static char *join_hosts(const struct run *run)
{
    const struct ant_card *cards = ant_job_cards(run->job);
    struct ant_buf out = {0};

    for (int i = 0; i < run->layout.world; i++) {
        bool is_first = true;

        for (int k = 0; k < i && is_first; k++)
            is_first = strcmp(cards[k].node_name, cards[i].node_name) != 0;
        if (is_first)
            ant_buf_printf(&out, "%s%s", i ? "," : "", cards[i].node_name);
    }
    return out.data;
}

/* Version, command, times and libraries. */
static void add_program(struct ant_run_facts *facts, const struct run *run)
{
    add_text(facts, "version", ant_xstrdup(ant_version));
    add_text(facts, "commit", ant_xstrdup(ant_version_commit));
    add_text(facts, "compiler", ant_xstrdup(ant_version_compiler));
    add_text(facts, "features", ant_xstrdup(ant_version_features));
    add_text(facts, "build_options", ant_xstrdup(ant_version_options));
    add_text(facts, "libraries", ant_xstrdup(ant_store_versions()));
    add_text(facts, "pmix", ant_xstrdup(ant_job_pmix_version(run->job)));
    add_text(facts, "ucx", ant_xstrdup(ant_transport_version()));
    add_text(facts, "command", join_arguments(run->argc, run->argv));
    add_text(facts, "started", utc_ago(ant_now() - run->start));
    add_text(facts, "ended", utc_ago(0));
}

/* Where it ran, and as which job. */
static void add_place(struct ant_run_facts *facts, const struct run *run)
{
    add_text(facts, "launcher", ant_xstrdup(ant_job_launcher(run->job)));
    add_text(facts, "job", ant_xstrdup(ant_job_name(run->job)));
    add_text(facts, "hosts", join_hosts(run));
    add_env(facts, "cluster", "SLURM_CLUSTER_NAME");
    add_env(facts, "slurm_job_id", "SLURM_JOB_ID");
    add_env(facts, "slurm_array_job_id", "SLURM_ARRAY_JOB_ID");
    add_env(facts, "slurm_array_task_id", "SLURM_ARRAY_TASK_ID");
    add_env(facts, "slurm_restart_count", "SLURM_RESTART_COUNT");
    add_int(facts, "attempt", run->attempt);
    add_int(facts, "ranks", run->layout.world);
    add_int(facts, "dp_size", run->layout.dp_size);
    add_int(facts, "tp_size", run->layout.tp_size);
    add_int(facts, "pp_size", run->layout.pp_size);
    add_int(facts, "threads", run->settings.threads);
    add_text(facts, "load", ant_xstrdup(run->is_broadcast ? "broadcast" : "read"));
    add_text(facts, "device", ant_xstrdup(run->facts.device));
    add_text(facts, "backend", ant_xstrdup(run->ops->name));
    add_text(facts, "level", ant_xstrdup(run->facts.level));
}

static void add_root(struct ant_run_facts *facts, const char *name, const char *text)
{
    *next(facts->root, &facts->n_root) =
        (struct ant_fact){.name = name, .kind = ANT_FACT_TEXT, .text = ant_xstrdup(text)};
}

struct ant_run_facts *ant_run_facts_open(const struct run *run, const char *input,
                                         const char *model, const char *answers,
                                         const char *settings)
{
    struct ant_run_facts *facts = ant_xcalloc(1, sizeof(*facts));

    add_root(facts, "input_digest", input);
    add_root(facts, "model_digest", model);
    add_root(facts, "settings_digest", answers);
    add_root(facts, "answer_settings", run->answers);
    add_root(facts, "prompts", run->chat ? "chat" : "text");
    add_program(facts, run);
    add_place(facts, run);
    add_text(facts, "model", ant_xstrdup(run->settings.model));
    add_text(facts, "input", ant_xstrdup(run->settings.input));
    add_text(facts, "tokenizer_digest", digest_text(ant_tokenizer_digest(run->tokenizer)));
    add_text(facts, "settings", ant_xstrdup(settings));
    return facts;
}

const struct ant_fact *ant_run_facts_root(const struct ant_run_facts *facts, size_t *n)
{
    *n = facts->n_root;
    return facts->root;
}

const struct ant_fact *ant_run_facts_provenance(const struct ant_run_facts *facts, size_t *n)
{
    *n = facts->n_provenance;
    return facts->provenance;
}

void ant_run_facts_close(struct ant_run_facts *facts)
{
    for (size_t i = 0; i < facts->n_root; i++)
        free((char *)facts->root[i].text);
    for (size_t i = 0; i < facts->n_provenance; i++)
        free((char *)facts->provenance[i].text);
    free(facts);
}
