/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "job/launch.h"

#include <limits.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifdef HAVE_PMIX
#include <pmix.h>
#endif

#include "base/log.h"
#include "base/mem.h"
#include "base/nap.h"
#include "job/card.h"

static const char card_key[] = "antiphon.card";

/* A value put in a world of one, where no server keeps it. */
struct own_value {
    struct own_value *next;
    char *key;
    struct ant_buf data;
};

struct ant_job {
    int rank, size;
    bool has_server; /* PMIx is initialised */
    char name[256];
    const char *launcher;
    char pmix_version[32];
    struct ant_card *cards; /* (size), after the exchange */
    struct own_value *own;
};

/* ---- what the environment says --------------------------------------------------------------- */

static bool env_number(const char *name, long max, long *out)
{
    const char *text = getenv(name);
    char *end;
    long value;

    if (!text || *text < '0' || *text > '9')
        return false;
    value = strtol(text, &end, 10);
    if (*end || value > max)
        return false;
    *out = value;
    return true;
}

/* Is this process a task of a step made by srun? A batch script is not, although it sees the
 * job's SLURM_NTASKS; batch, extern and interactive steps have ids just below 2^32. */
static bool is_srun_task(void)
{
    long step, task;

    return env_number("SLURM_STEP_ID", 0xfffffff0, &step) &&
           env_number("SLURM_PROCID", INT_MAX, &task);
}

/* Tasks that were started together with this one as far as any launcher's variables tell, and who
 * that launcher is. 1 and "none" if nobody says anything. */
static long env_size(const char **launcher)
{
    long size;

    if (is_srun_task() && (env_number("SLURM_STEP_NUM_TASKS", INT_MAX, &size) ||
                           env_number("SLURM_NTASKS", INT_MAX, &size))) {
        *launcher = "srun";
        return size;
    }
    *launcher = "mpirun";
    if (env_number("OMPI_COMM_WORLD_SIZE", INT_MAX, &size))
        return size;
    *launcher = "mpiexec";
    if (env_number("PMI_SIZE", INT_MAX, &size))
        return size;
    *launcher = "none";
    return 1;
}

int ant_job_env_rank(void)
{
    long rank;

    if (getenv("PMIX_NAMESPACE") && env_number("PMIX_RANK", INT_MAX, &rank))
        return (int)rank;
    if (env_number("OMPI_COMM_WORLD_RANK", INT_MAX, &rank) ||
        env_number("PMI_RANK", INT_MAX, &rank))
        return (int)rank;
    if (is_srun_task() && env_number("SLURM_PROCID", INT_MAX, &rank))
        return (int)rank;
    return 0;
}

int ant_job_env_size(void)
{
    const char *launcher;

    return getenv("PMIX_NAMESPACE") ? (int)env_size(&launcher) : 1;
}

/* Nobody offers PMIx: alone, unless others were started beside us. Each of them would otherwise
 * take itself for the whole job, and all would write the same files. */
static int open_alone(struct ant_job *job, struct ant_error *err)
{
    long size = env_size(&job->launcher);

    if (size > 1 && strcmp(job->launcher, "srun") == 0)
        return ant_fail(err, ANT_EUSAGE,
                        "started by srun as %ld tasks without PMIx: add --mpi=pmix", size);
    if (size > 1)
        return ant_fail(err, ANT_EUSAGE,
                        "started by %s as %ld processes without PMIx: start it with srun "
                        "--mpi=pmix or with the mpirun of Open MPI",
                        job->launcher, size);
    job->launcher = "none";
    job->size = 1;
    snprintf(job->name, sizeof(job->name), "single");
    return 0;
}

static struct own_value *find_own(struct ant_job *job, const char *key)
{
    struct own_value *value = job->own;

    while (value && strcmp(value->key, key) != 0)
        value = value->next;
    return value;
}

/* ---- the server ------------------------------------------------------------------------------ */

#ifdef HAVE_PMIX

/* Longer than the slowest start of a node that may still be waited for; Slurm itself gives up at
 * the same time. */
enum { FENCE_SECONDS = 300, GET_SECONDS = 60 };

enum {
    ASKING = 4, /* so many ranks look for those who do not come; the first of them says it */
    ANSWER_SECONDS = 3, /* in which a rank that has put its card is seen to have */
    MAX_NAMED = 8,
};

static struct pmix_proc self; /* filled by PMIx_Init; PMIx knows one client a process anyway */

static int fail_pmix(struct ant_error *err, const char *what, pmix_status_t status)
{
    return ant_fail(err, ANT_EPEER, "%s failed: %s (PMIx status %d)", what,
                    PMIx_Error_string(status), status);
}

/* Servers differ in the type they send for one key (local ranks come as uint16 from one and as
 * uint32 from another), so a count is read by the type it arrives in. */
static bool read_count(const pmix_value_t *value, uint64_t *out)
{
    int64_t number;

    switch (value->type) {
    case PMIX_BYTE:
    case PMIX_UINT8:
        *out = value->data.uint8;
        return true;
    case PMIX_UINT16:
        *out = value->data.uint16;
        return true;
    case PMIX_UINT:
        *out = value->data.uint;
        return true;
    case PMIX_UINT32:
        *out = value->data.uint32;
        return true;
    case PMIX_UINT64:
        *out = value->data.uint64;
        return true;
    case PMIX_SIZE:
        *out = value->data.size;
        return true;
    case PMIX_PROC_RANK:
        *out = value->data.rank;
        return true;
    case PMIX_INT8:
        number = value->data.int8;
        break;
    case PMIX_INT16:
        number = value->data.int16;
        break;
    case PMIX_INT:
        number = value->data.integer;
        break;
    case PMIX_INT32:
        number = value->data.int32;
        break;
    case PMIX_INT64:
        number = value->data.int64;
        break;
    default:
        return false;
    }
    *out = (uint64_t)number;
    return number >= 0;
}

/* A number the server knows about the whole job. */
static bool job_number(const char *key, uint64_t max, uint64_t *out)
{
    struct pmix_proc everyone = self;
    pmix_value_t *value = NULL;
    bool found;

    everyone.rank = PMIX_RANK_WILDCARD;
    if (PMIx_Get(&everyone, key, NULL, 0, &value) != PMIX_SUCCESS || !value)
        return false;
    found = read_count(value, out) && *out >= 1 && *out <= max;
    PMIX_VALUE_RELEASE(value);
    return found;
}

/* Ranks of the job. Every server is bound to tell; if one does not, the launcher's own variables
 * do. */
static int learn_size(struct ant_job *job, struct ant_error *err)
{
    const char *launcher;
    uint64_t size;

    if (!job_number(PMIX_JOB_SIZE, INT_MAX, &size))
        size = (uint64_t)env_size(&launcher);
    if (self.rank >= size)
        return ant_fail(err, ANT_EPEER,
                        "the PMIx server calls this process rank %u of a job of %llu: it does not "
                        "tell the size of the job",
                        (unsigned)self.rank, (unsigned long long)size);
    job->rank = (int)self.rank;
    job->size = (int)size;
    return 0;
}

static void note_version(struct ant_job *job)
{
    const char *text = PMIx_Get_version();
    size_t bytes;

    text += strcspn(text, "0123456789"); /* "OpenPMIx 4.2.2 (...)" */
    bytes = strcspn(text, " ,;");
    snprintf(job->pmix_version, sizeof(job->pmix_version), "%.*s", (int)bytes, text);
}

static void tell_others_to_end(int exit_code)
{
    /* An abort that gets no answer from a dying server must not keep this process: SIGALRM ends
     * it. */
    signal(SIGALRM, SIG_DFL);
    alarm(10);
    PMIx_Abort(exit_code, "antiphon gives up", NULL, 0);
}

static int open_server(struct ant_job *job, struct ant_error *err)
{
    pmix_status_t status;

    status = PMIx_Init(&self, NULL, 0);
    if (status != PMIX_SUCCESS)
        return ant_fail(err, ANT_EPEER,
                        "no answer from the PMIx server that PMIX_NAMESPACE '%s' promises: %s",
                        getenv("PMIX_NAMESPACE"), PMIx_Error_string(status));
    job->has_server = true;
    ant_die_hook = tell_others_to_end;
    snprintf(job->name, sizeof(job->name), "%s", self.nspace);
    note_version(job);
    env_size(&job->launcher);
    if (strcmp(job->launcher, "none") == 0)
        job->launcher = "PMIx";
    return learn_size(job, err);
}

static void close_server(struct ant_job *job)
{
    if (!job->has_server)
        return;
    ant_die_hook = NULL;
    PMIx_Finalize(NULL, 0);
}

static int server_put(const char *key, const void *data, size_t bytes, struct ant_error *err)
{
    pmix_value_t value;
    pmix_status_t status;

    memset(&value, 0, sizeof(value));
    value.type = PMIX_BYTE_OBJECT;
    value.data.bo.bytes = (char *)data; /* PMIx copies it */
    value.data.bo.size = bytes;
    status = PMIx_Put(PMIX_GLOBAL, key, &value);
    if (status == PMIX_SUCCESS)
        status = PMIx_Commit();
    return status == PMIX_SUCCESS ? 0 : fail_pmix(err, "PMIx_Put", status);
}

/* A fence under way; the server ends it on a thread of the library's. */
struct fence {
    pmix_status_t status;
    struct ant_nap nap; /* until then */
};

static void end_fence(pmix_status_t status, void *data)
{
    struct fence *fence = data;

    fence->status = status;
    ant_nap_end(&fence->nap);
}

/* (size) Whose card has been seen without waiting for the fence. Kept to the end: an answer may
 * come as late as the rank. */
static _Atomic bool *has_come;

static void note_card(pmix_status_t status, pmix_value_t *value, void *data)
{
    _Atomic bool *has = data;

    if (status == PMIX_SUCCESS && value)
        *has = true;
}

static void ask_for_cards(const struct ant_job *job)
{
    has_come = ant_xcalloc((size_t)job->size, sizeof(*has_come));
    for (int i = 0; i < job->size; i++) {
        struct pmix_proc owner = self;

        owner.rank = (pmix_rank_t)i;
        has_come[i] = i == job->rank;
        if (i != job->rank)
            PMIx_Get_nb(&owner, card_key, NULL, 0, note_card, &has_come[i]);
    }
}

/* "rank 3, rank 5 and 2 more" of those that have not come; false: nobody is missing, or another
 * rank says it. */
static bool name_missing(const struct ant_job *job, struct ant_buf *out)
{
    int n = 0;

    for (int i = 0; has_come && i < job->rank; i++)
        if (has_come[i])
            return false;
    for (int i = 0; has_come && i < job->size; i++) {
        if (!has_come[i] && n < MAX_NAMED)
            ant_buf_printf(out, "%srank %d", n ? ", " : "", i);
        n += !has_come[i];
    }
    if (n > MAX_NAMED)
        ant_buf_printf(out, " and %d more", n - MAX_NAMED);
    return n > 0;
}

/* Wait; those who keep all others waiting are named, since they cannot say so themselves. */
static void wait_for_all(const struct ant_job *job, struct fence *fence, double patience)
{
    struct ant_buf names = {0};

    if (patience > 0 && job->rank < ASKING && !ant_nap_sleep(&fence->nap, patience)) {
        ask_for_cards(job);
        if (!ant_nap_sleep(&fence->nap, ANSWER_SECONDS) && name_missing(job, &names))
            ant_log(ANT_LOG_WARN, "launch",
                    "%.*s of %d did not come to the exchange for %.0f s: a slow node, or a process "
                    "that hangs",
                    (int)names.len, names.data, job->size, patience + ANSWER_SECONDS);
    }
    ant_buf_release(&names);
    while (!ant_nap_sleep(&fence->nap, FENCE_SECONDS)) {
    }
}

static int fail_fence(const struct ant_job *job, pmix_status_t status, struct ant_error *err)
{
    struct ant_buf names = {0};
    bool is_named = name_missing(job, &names);

    ant_fail(err, ANT_EPEER,
             "not all of the %d ranks came to the exchange%s%.*s: %s (PMIx status %d)", job->size,
             is_named ? ", missing: " : "", (int)names.len, is_named ? names.data : "",
             PMIx_Error_string(status), status);
    ant_buf_release(&names);
    return ANT_EPEER;
}

/* `patience` 0: nobody is named. */
static int server_fence(const struct ant_job *job, double patience, struct ant_error *err)
{
    struct fence fence = {.status = PMIX_SUCCESS};
    pmix_info_t info[2];
    bool collect = true;
    int seconds = FENCE_SECONDS;
    pmix_status_t status;

    memset(info, 0, sizeof(info));
    /* Without this a fence is no barrier across nodes under Slurm. */
    PMIX_INFO_LOAD(&info[0], PMIX_COLLECT_DATA, &collect, PMIX_BOOL);
    PMIX_INFO_LOAD(&info[1], PMIX_TIMEOUT, &seconds, PMIX_INT);
    ant_nap_init(&fence.nap);
    status = PMIx_Fence_nb(NULL, 0, info, 2, end_fence, &fence);
    if (status == PMIX_SUCCESS) {
        wait_for_all(job, &fence, patience);
        status = fence.status;
    }
    ant_nap_fini(&fence.nap);
    if (status == PMIX_SUCCESS || status == PMIX_OPERATION_SUCCEEDED)
        return 0;
    return fail_fence(job, status, err);
}

/* The value of `rank` under `key`, appended to `out`. */
static int server_get(int rank, const char *key, struct ant_buf *out, struct ant_error *err)
{
    struct pmix_proc owner = self;
    pmix_info_t info[2];
    pmix_value_t *value = NULL;
    bool immediate = true;
    int seconds = GET_SECONDS, rc = 0;
    pmix_status_t status;

    memset(info, 0, sizeof(info));
    /* The fence has brought everything here: what the node's server has not got, nobody has. */
    PMIX_INFO_LOAD(&info[0], PMIX_IMMEDIATE, &immediate, PMIX_BOOL);
    PMIX_INFO_LOAD(&info[1], PMIX_TIMEOUT, &seconds, PMIX_INT);
    owner.rank = (pmix_rank_t)rank;
    status = PMIx_Get(&owner, key, info, 2, &value);
    if (status != PMIX_SUCCESS || !value)
        return ant_fail(err, ANT_EPEER, "rank %d is gone, or has put no value '%s': %s", rank, key,
                        PMIx_Error_string(status));
    if (value->type != PMIX_BYTE_OBJECT)
        rc = ant_fail(err, ANT_EPEER, "the value '%s' of rank %d is not bytes (PMIx type %d)", key,
                      rank, (int)value->type);
    else
        ant_buf_add(out, value->data.bo.bytes, value->data.bo.size);
    PMIX_VALUE_RELEASE(value);
    return rc;
}

#else /* !HAVE_PMIX */

static int open_server(struct ant_job *job, struct ant_error *err)
{
    long size = env_size(&job->launcher);

    /* A launcher that is alone in offering PMIx may have started just one. */
    if (size == 1 && strcmp(job->launcher, "none") != 0)
        return open_alone(job, err);
    return ant_fail(err, ANT_EUSAGE,
                    "started in parallel, but this program was built without PMIx: configure it "
                    "--with-pmix");
}

static void close_server(struct ant_job *job)
{
    (void)job;
}

static void tell_others_to_end(int exit_code)
{
    (void)exit_code;
}

static int server_put(const char *key, const void *data, size_t bytes, struct ant_error *err)
{
    (void)data, (void)bytes;
    return ant_fail(err, ANT_EBUG, "no PMIx server takes '%s'", key);
}

static int server_fence(const struct ant_job *job, double patience, struct ant_error *err)
{
    (void)patience;
    return ant_fail(err, ANT_EBUG, "no PMIx server for a fence of %d ranks", job->size);
}

static int server_get(int rank, const char *key, struct ant_buf *out, struct ant_error *err)
{
    (void)out;
    return ant_fail(err, ANT_EBUG, "no PMIx server has '%s' of rank %d", key, rank);
}

#endif

/* ---- the job --------------------------------------------------------------------------------- */

static bool is_open; /* a server will have to be told when we go */

int ant_job_open(struct ant_job **out, struct ant_error *err)
{
    struct ant_job *job = ant_xcalloc(1, sizeof(*job));
    int rc = getenv("PMIX_NAMESPACE") ? open_server(job, err) : open_alone(job, err);

    if (rc < 0) {
        ant_job_close(job);
        return rc;
    }
    is_open = job->has_server;
    *out = job;
    return 0;
}

void ant_job_close(struct ant_job *job)
{
    if (!job)
        return;
    is_open = false;
    close_server(job);
    for (int i = 0; job->cards && i < job->size; i++)
        ant_card_release(&job->cards[i]);
    free(job->cards);
    while (job->own) {
        struct own_value *value = job->own;

        job->own = value->next;
        ant_buf_release(&value->data);
        free(value->key);
        free(value);
    }
    free(job);
}

int ant_job_rank(const struct ant_job *job)
{
    return job->rank;
}

int ant_job_size(const struct ant_job *job)
{
    return job->size;
}

const char *ant_job_name(const struct ant_job *job)
{
    return job->name;
}

const char *ant_job_launcher(const struct ant_job *job)
{
    return job->launcher;
}

const char *ant_job_pmix_version(const struct ant_job *job)
{
    return job->pmix_version;
}

const struct ant_card *ant_job_cards(const struct ant_job *job)
{
    return job->cards;
}

int ant_job_put(struct ant_job *job, const char *key, const void *data, size_t bytes,
                struct ant_error *err)
{
    struct own_value *value;

    if (job->has_server)
        return server_put(key, data, bytes, err);
    if (find_own(job, key))
        return ant_fail(err, ANT_EBUG, "'%s' was put before", key);
    value = ant_xcalloc(1, sizeof(*value));
    value->key = ant_xstrdup(key);
    ant_buf_add(&value->data, data, bytes);
    value->next = job->own;
    job->own = value;
    return 0;
}

int ant_job_fence(struct ant_job *job, struct ant_error *err)
{
    return job->has_server ? server_fence(job, 0, err) : 0;
}

/* Append what `rank` has put to `out`. */
static int get_value(struct ant_job *job, int rank, const char *key, struct ant_buf *out,
                     struct ant_error *err)
{
    const struct own_value *value;

    if (job->has_server)
        return server_get(rank, key, out, err);
    value = rank == 0 ? find_own(job, key) : NULL;
    if (!value)
        return ant_fail(err, ANT_EPEER, "rank %d has put no value '%s'", rank, key);
    ant_buf_add(out, value->data.data, value->data.len);
    return 0;
}

int ant_job_get(struct ant_job *job, int rank, const char *key, void *data, size_t bytes,
                struct ant_error *err)
{
    struct ant_buf value = {0};
    int rc = get_value(job, rank, key, &value, err);

    if (rc == 0 && value.len != bytes)
        rc = ant_fail(err, ANT_EPEER, "'%s' of rank %d has %zu bytes instead of %zu", key, rank,
                      value.len, bytes);
    if (rc == 0 && bytes)
        memcpy(data, value.data, bytes);
    ant_buf_release(&value);
    return rc;
}

/* Read everybody's card; all or nothing. */
static int collect_cards(struct ant_job *job, struct ant_card *cards, struct ant_error *err)
{
    struct ant_buf value = {0};
    int rc = 0;

    for (int i = 0; rc == 0 && i < job->size; i++) {
        value.len = 0;
        rc = get_value(job, i, card_key, &value, err);
        if (rc == 0)
            rc = ant_card_read(&cards[i], value.data, value.len, i, err);
    }
    ant_buf_release(&value);
    if (rc == 0)
        ant_cards_derive(cards, job->size);
    return rc;
}

int ant_job_exchange(struct ant_job *job, const struct ant_card *mine, double patience,
                     struct ant_error *err)
{
    struct ant_card card = *mine;
    struct ant_buf bytes = {0};
    struct ant_card *cards;
    int rc;

    ANT_TRY(ant_card_fill(&card, err));
    ant_card_write(&card, &bytes);
    rc = ant_job_put(job, card_key, bytes.data, bytes.len, err);
    ant_buf_release(&bytes);
    ANT_TRY(rc);
    if (job->has_server)
        ANT_TRY(server_fence(job, patience, err));
    cards = ant_xcalloc((size_t)job->size, sizeof(*cards));
    rc = collect_cards(job, cards, err);
    if (rc == 0)
        rc = ant_cards_check(cards, job->size, err);
    if (rc < 0) {
        for (int i = 0; i < job->size; i++)
            ant_card_release(&cards[i]);
        free(cards);
        return rc;
    }
    job->cards = cards;
    return 0;
}

void ant_job_abort(int exit_code)
{
    if (is_open)
        tell_others_to_end(exit_code);
    _exit(exit_code);
}
