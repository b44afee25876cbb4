/* SPDX-License-Identifier: Apache-2.0 */
/* The launch against recorded environments and a PMIx server that lives in this file: it answers
 * from a table and takes the place of libpmix's functions at link time. */
#include "config.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#ifdef HAVE_PMIX
#include <pmix.h>
#endif

#include "base/log.h"
#include "base/mem.h"
#include "job/card.h"
#include "job/launch.h"

/* ---- environments ---------------------------------------------------------------------------- */

static const char *const launcher_variables[] = {
    "PMIX_NAMESPACE", "PMIX_RANK",    "SLURM_STEP_ID",        "SLURM_STEP_NUM_TASKS",
    "SLURM_NTASKS",   "SLURM_PROCID", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK",
    "PMI_SIZE",       "PMI_RANK",     "SLURMD_NODENAME",
};

/* "NAME=value NAME=value": these and no other launcher's variables. */
static void set_environment(const char *text)
{
    char *copy = ant_xstrdup(text), *rest = NULL;

    for (size_t i = 0; i < sizeof(launcher_variables) / sizeof(launcher_variables[0]); i++)
        unsetenv(launcher_variables[i]);
    for (char *pair = strtok_r(copy, " ", &rest); pair; pair = strtok_r(NULL, " ", &rest)) {
        char *value = strchr(pair, '=');

        *value = '\0';
        setenv(pair, value + 1, 1);
    }
    free(copy);
}

static void is_alone(const char *environment)
{
    struct ant_error err = {{0}};
    struct ant_job *job = NULL;

    set_environment(environment);
    assert_int_equal(ant_job_open(&job, &err), 0);
    assert_int_equal(ant_job_rank(job), 0);
    assert_int_equal(ant_job_size(job), 1);
    assert_string_equal(ant_job_name(job), "single");
    assert_string_equal(ant_job_launcher(job), "none");
    assert_string_equal(ant_job_pmix_version(job), "");
    assert_int_equal(ant_job_env_rank(), 0);
    ant_job_close(job);
}

static void alone(void **state)
{
    (void)state;
    is_alone("");
    /* A batch script sees its job's tasks, but is no step; salloc's shell neither. */
    is_alone("SLURM_NTASKS=4 SLURM_PROCID=0");
    is_alone("SLURM_NTASKS=4 SLURM_PROCID=0 SLURM_STEP_ID=batch");
    is_alone("SLURM_NTASKS=4 SLURM_PROCID=0 SLURM_STEP_ID=4294967291");
    is_alone("SLURM_NTASKS=4");
    is_alone("SLURM_NTASKS=4 SLURM_STEP_ID=0"); /* no task of it */
    /* An interactive step, and srun -n1. */
    is_alone("SLURM_NTASKS=4 SLURM_PROCID=0 SLURM_STEP_ID=4294967290 SLURM_STEP_NUM_TASKS=1");
    is_alone("SLURM_NTASKS=4 SLURM_PROCID=0 SLURM_STEP_ID=0 SLURM_STEP_NUM_TASKS=1");
    is_alone("OMPI_COMM_WORLD_SIZE=1 OMPI_COMM_WORLD_RANK=0");
    is_alone("PMI_SIZE=1 PMI_RANK=0");
    is_alone("PMI_SIZE= PMI_RANK=x"); /* nonsense is nobody's word */
    is_alone("PMI_SIZE=99999999999999999999");
}

static void is_refused(const char *environment, int rank, const char *text)
{
    struct ant_error err = {{0}};
    struct ant_job *job = NULL;

    set_environment(environment);
    assert_int_equal(ant_job_env_rank(), rank);
    assert_int_equal(ant_job_open(&job, &err), ANT_EUSAGE);
    assert_null(job);
    assert_string_equal(err.text, text);
}

static void parallel_without_pmix(void **state)
{
    (void)state;
    is_refused("SLURM_NTASKS=4 SLURM_STEP_NUM_TASKS=4 SLURM_STEP_ID=0 SLURM_PROCID=3", 3,
               "started by srun as 4 tasks without PMIx: add --mpi=pmix");
    is_refused("SLURM_NTASKS=2 SLURM_STEP_ID=12 SLURM_PROCID=0", 0,
               "started by srun as 2 tasks without PMIx: add --mpi=pmix");
    is_refused("OMPI_COMM_WORLD_SIZE=3 OMPI_COMM_WORLD_RANK=2", 2,
               "started by mpirun as 3 processes without PMIx: start it with srun --mpi=pmix or "
               "with the mpirun of Open MPI");
    is_refused("PMI_SIZE=8 PMI_RANK=1", 1,
               "started by mpiexec as 8 processes without PMIx: start it with srun --mpi=pmix or "
               "with the mpirun of Open MPI");
}

static void values_of_one(void **state)
{
    struct ant_error err = {{0}};
    struct ant_job *job = NULL;
    int value = 7, got = 0;
    char small[2];

    (void)state;
    set_environment("");
    assert_int_equal(ant_job_open(&job, &err), 0);
    assert_int_equal(ant_job_put(job, "a", &value, sizeof(value), &err), 0);
    assert_int_equal(ant_job_put(job, "empty", NULL, 0, &err), 0);
    assert_int_equal(ant_job_put(job, "a", &value, sizeof(value), &err), ANT_EBUG);
    assert_int_equal(ant_job_fence(job, &err), 0);
    assert_int_equal(ant_job_get(job, 0, "a", &got, sizeof(got), &err), 0);
    assert_int_equal(got, 7);
    assert_int_equal(ant_job_get(job, 0, "empty", NULL, 0, &err), 0);
    assert_int_equal(ant_job_get(job, 0, "a", small, sizeof(small), &err), ANT_EPEER);
    assert_string_equal(err.text, "'a' of rank 0 has 4 bytes instead of 2");
    assert_int_equal(ant_job_get(job, 0, "b", &got, sizeof(got), &err), ANT_EPEER);
    assert_string_equal(err.text, "rank 0 has put no value 'b'");
    ant_job_close(job);
    ant_job_close(NULL);
}

static void exchange_of_one(void **state)
{
    struct ant_error err = {{0}};
    struct ant_card mine = {.address = (unsigned char *)"addr", .address_bytes = 4};
    const struct ant_card *card;
    struct ant_job *job = NULL;

    (void)state;
    set_environment("SLURMD_NODENAME=n17");
    assert_int_equal(ant_job_open(&job, &err), 0);
    assert_null(ant_job_cards(job));
    mine.settings.high = 5;
    assert_int_equal(ant_job_exchange(job, &mine, 0, &err), 0);
    card = ant_job_cards(job);
    assert_int_equal(card->rank, 0);
    assert_int_equal(card->local_size, 1);
    assert_int_equal(card->node, 0);
    assert_int_equal(card->pid, getpid());
    assert_string_equal(card->node_name, "n17");
    assert_true(strlen(card->host) > 0);
    assert_true(card->n_cores >= 1);
    assert_true(strlen(card->cores) > 0);
    assert_int_equal(card->cores_shared, 1);
    assert_true(card->binary.low != 0);
    assert_int_equal(card->settings.high, 5);
    assert_int_equal(card->address_bytes, 4);
    assert_ptr_not_equal(card->address, mine.address);
    assert_memory_equal(card->address, "addr", 4);
    ant_job_close(job);
}

/* ---- cards ----------------------------------------------------------------------------------- */

static struct ant_card make_card(int rank, const char *host, const char *boot_id,
                                 const char *node_name, const char *cores)
{
    struct ant_card card = {.rank = rank, .pid = 1000 + rank, .n_cores = 2};

    snprintf(card.host, sizeof(card.host), "%s", host);
    snprintf(card.boot_id, sizeof(card.boot_id), "%s", boot_id);
    snprintf(card.node_name, sizeof(card.node_name), "%s", node_name);
    snprintf(card.cores, sizeof(card.cores), "%s", cores);
    return card;
}

static void cards_travel(void **state)
{
    struct ant_card card = make_card(3, "host", "boot", "n1", "0-1"), copy;
    struct ant_error err = {{0}};
    struct ant_buf bytes = {0};

    (void)state;
    card.binary = (struct ant_digest){1, UINT64_MAX};
    card.settings = (struct ant_digest){0x123456789abcdef0, 2};
    card.address = (unsigned char *)"\0\1\2";
    card.address_bytes = 3;
    ant_card_write(&card, &bytes);
    assert_int_equal(ant_card_read(&copy, bytes.data, bytes.len, 3, &err), 0);
    assert_int_equal(copy.rank, 3);
    assert_int_equal(copy.pid, 1003);
    assert_int_equal(copy.n_cores, 2);
    assert_string_equal(copy.host, "host");
    assert_string_equal(copy.boot_id, "boot");
    assert_string_equal(copy.node_name, "n1");
    assert_string_equal(copy.cores, "0-1");
    assert_true(copy.binary.low == UINT64_MAX && copy.settings.high == 0x123456789abcdef0);
    assert_int_equal(copy.address_bytes, 3);
    assert_memory_equal(copy.address, "\0\1\2", 3);
    ant_card_release(&copy);
    ant_buf_release(&bytes);
}

static void damaged_cards(void **state)
{
    struct ant_card card = make_card(1, "host", "boot", "n1", "0-1"), copy;
    struct ant_error err = {{0}};
    struct ant_buf bytes = {0};

    (void)state;
    card.address = (unsigned char *)"address";
    card.address_bytes = 7;
    ant_card_write(&card, &bytes);
    for (size_t cut = 0; cut < bytes.len; cut++) {
        char *part = ant_xmalloc(cut + 1); /* of its own, so that a read behind it is seen */

        memcpy(part, bytes.data, cut);
        assert_true(ant_card_read(&copy, part, cut, 1, &err) < 0);
        free(part);
    }
    ant_buf_add(&bytes, "x", 1);
    assert_int_equal(ant_card_read(&copy, bytes.data, bytes.len, 1, &err), ANT_EPEER);
    assert_non_null(strstr(err.text, "the card of rank 1 is damaged"));
    bytes.len--;
    /* Any byte may be wrong; lengths must not be believed. */
    for (size_t i = 0; i < bytes.len; i++)
        for (int bit = 0; bit < 8; bit++) {
            bytes.data[i] ^= (char)(1 << bit);
            if (ant_card_read(&copy, bytes.data, bytes.len, 1, &err) == 0)
                ant_card_release(&copy);
            bytes.data[i] ^= (char)(1 << bit);
        }
    bytes.data[4]++;
    assert_int_equal(ant_card_read(&copy, bytes.data, bytes.len, 1, &err), ANT_EUSAGE);
    assert_string_equal(err.text, "rank 1 runs another version of the program");
    ant_buf_release(&bytes);
}

static void who_shares_what(void **state)
{
    struct ant_card cards[] = {
        make_card(0, "b", "boot1", "n1", "0-1"), make_card(1, "a", "boot2", "n2", "0-1"),
        make_card(2, "b", "boot1", "n3", "2-3"), /* another node daemon of the same host */
        make_card(3, "b", "boot3", "n4", "0-1"), /* another host of the same name */
        make_card(4, "b", "boot1", "n1", "0-1"), make_card(5, "a", "boot2", "n2", "0-1"),
    };
    static const int node[] = {0, 1, 0, 2, 0, 1}, local[] = {0, 0, 1, 0, 2, 1};
    static const int size[] = {3, 2, 3, 1, 3, 2}, shared[] = {2, 2, 1, 1, 2, 2};

    (void)state;
    ant_cards_derive(cards, 6);
    for (int i = 0; i < 6; i++) {
        assert_int_equal(cards[i].node, node[i]);
        assert_int_equal(cards[i].local_rank, local[i]);
        assert_int_equal(cards[i].local_size, size[i]);
        assert_int_equal(cards[i].cores_shared, shared[i]);
    }
}

static void who_differs(void **state)
{
    struct ant_card cards[4];
    struct ant_error err = {{0}};

    (void)state;
    for (int i = 0; i < 4; i++)
        cards[i] = make_card(i, "h", "b", i < 2 ? "n1" : "n2", "0");
    assert_int_equal(ant_cards_check(cards, 4, &err), 0);
    cards[3].binary.high = 1;
    cards[2].settings.low = 1;
    assert_int_equal(ant_cards_check(cards, 4, &err), ANT_EUSAGE);
    assert_string_equal(err.text, "rank 2 on n2 was started with other settings than rank 0 on "
                                  "n1: all ranks must get the same options");
    cards[1].binary.low = 1;
    assert_int_equal(ant_cards_check(cards, 4, &err), ANT_EUSAGE);
    assert_string_equal(err.text, "rank 1 on n1 runs another binary than rank 0 on n1: all ranks "
                                  "must start the same program");
}

/* ---- under a PMIx server --------------------------------------------------------------------- */

#ifdef HAVE_PMIX

struct entry {
    const char *key;
    pmix_rank_t rank;
    pmix_data_type_t type;
    uint64_t number;
    struct ant_buf bytes;
};

static struct {
    struct entry entries[16];
    int n;
    pmix_rank_t rank;
    pmix_status_t init_status, fence_status;
    double fence_seconds;
    pmix_op_cbfunc_t done;
    void *data;
    int fences, inits, collected;
} server;

static void start_server(pmix_rank_t rank, const char *environment)
{
    for (int i = 0; i < server.n; i++)
        ant_buf_release(&server.entries[i].bytes);
    memset(&server, 0, sizeof(server));
    server.rank = rank;
    set_environment(environment);
    setenv("PMIX_NAMESPACE", "slurm.pmix.5.0", 1);
}

static struct entry *add_entry(const char *key, pmix_rank_t rank, pmix_data_type_t type,
                               uint64_t number)
{
    struct entry *entry = &server.entries[server.n++];

    *entry = (struct entry){.key = key, .rank = rank, .type = type, .number = number};
    return entry;
}

static void add_card(const struct ant_card *card)
{
    ant_card_write(
        card, &add_entry("antiphon.card", (pmix_rank_t)card->rank, PMIX_BYTE_OBJECT, 0)->bytes);
}

pmix_status_t PMIx_Init(pmix_proc_t *proc, pmix_info_t info[], size_t n)
{
    (void)info, (void)n;
    if (server.init_status != PMIX_SUCCESS)
        return server.init_status;
    server.inits++;
    memset(proc, 0, sizeof(*proc));
    snprintf(proc->nspace, sizeof(proc->nspace), "%s", getenv("PMIX_NAMESPACE"));
    proc->rank = server.rank;
    return PMIX_SUCCESS;
}

pmix_status_t PMIx_Finalize(const pmix_info_t info[], size_t n)
{
    (void)info, (void)n;
    server.inits--;
    return PMIX_SUCCESS;
}

pmix_status_t PMIx_Get(const pmix_proc_t *proc, const char *key, const pmix_info_t info[], size_t n,
                       pmix_value_t **value)
{
    (void)info, (void)n;
    for (int i = 0; i < server.n; i++) {
        const struct entry *entry = &server.entries[i];

        if (strcmp(entry->key, key) != 0 || entry->rank != proc->rank)
            continue;
        *value = calloc(1, sizeof(**value));
        (*value)->type = entry->type;
        if (entry->type == PMIX_BYTE_OBJECT) {
            (*value)->data.bo.bytes = malloc(entry->bytes.len + 1);
            (*value)->data.bo.size = entry->bytes.len;
            if (entry->bytes.len)
                memcpy((*value)->data.bo.bytes, entry->bytes.data, entry->bytes.len);
        } else if (entry->type == PMIX_STRING)
            (*value)->data.string = strdup("4");
        else
            memcpy(&(*value)->data, &entry->number, sizeof(entry->number)); /* little-endian */
        return PMIX_SUCCESS;
    }
    return PMIX_ERR_NOT_FOUND;
}

pmix_status_t PMIx_Put(pmix_scope_t scope, const char *key, pmix_value_t *value)
{
    struct entry *entry = add_entry(key, server.rank, value->type, 0);

    assert_int_equal(scope, PMIX_GLOBAL);
    ant_buf_add(&entry->bytes, value->data.bo.bytes, value->data.bo.size);
    return PMIX_SUCCESS;
}

pmix_status_t PMIx_Commit(void)
{
    return PMIX_SUCCESS;
}

pmix_status_t PMIx_Get_nb(const pmix_proc_t *proc, const char *key, const pmix_info_t info[],
                          size_t n, pmix_value_cbfunc_t done, void *data)
{
    pmix_value_t *value = NULL;

    if (PMIx_Get(proc, key, info, n, &value) != PMIX_SUCCESS)
        return PMIX_SUCCESS; /* who has put nothing is waited for */
    done(PMIX_SUCCESS, value, data);
    PMIX_VALUE_RELEASE(value);
    return PMIX_SUCCESS;
}

/* Ends at once, or after the server's own patience. */
static void *end_late(void *data)
{
    (void)data;
    usleep((useconds_t)(server.fence_seconds * 1e6));
    server.done(server.fence_status, server.data);
    return NULL;
}

pmix_status_t PMIx_Fence_nb(const pmix_proc_t procs[], size_t n_procs, const pmix_info_t info[],
                            size_t n, pmix_op_cbfunc_t done, void *data)
{
    assert_true(!procs && n_procs == 0); /* the whole job */
    for (size_t i = 0; i < n; i++)
        server.collected += strcmp(info[i].key, PMIX_COLLECT_DATA) == 0 && info[i].value.data.flag;
    server.fences++;
    server.done = done;
    server.data = data;
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, end_late, NULL), 0);
    pthread_detach(thread);
    return PMIX_SUCCESS;
}

/* Recorded: the job keys of rank 3 of 4 on two nodes as a client of the same version sees them
 * under Slurm 22.05 (PMIx 4.2 server). PMIX_NODE_MAP, PROC_MAP, APP_SIZE are not there. */
static void record_slurm_22_05(bool is_newer_client)
{
    start_server(3, "PMIX_RANK=3 SLURM_STEP_ID=0 SLURM_PROCID=3 SLURM_STEP_NUM_TASKS=4 "
                    "SLURMD_NODENAME=n2");
    add_entry(PMIX_JOB_SIZE, PMIX_RANK_WILDCARD, PMIX_UINT32, 4);
    add_entry(PMIX_UNIV_SIZE, PMIX_RANK_WILDCARD, PMIX_UINT32, 4);
    add_entry(PMIX_NUM_NODES, PMIX_RANK_WILDCARD, PMIX_UINT32, 2);
    add_entry(PMIX_LOCAL_RANK, 3, PMIX_UINT16, 0);
    add_entry(PMIX_NODE_RANK, 3, PMIX_UINT16, 0);
    add_entry(PMIX_NODEID, 3, PMIX_UINT32, 1);
    add_entry(PMIX_APPNUM, 3, PMIX_INT, 0);
    if (!is_newer_client) /* a client of PMIx 5 does not get these from that server */
        add_entry(PMIX_LOCAL_SIZE, PMIX_RANK_WILDCARD, PMIX_UINT32, 1);
}

static void opens_as(int rank, int size, const char *launcher)
{
    struct ant_error err = {{0}};
    struct ant_job *job = NULL;

    assert_int_equal(ant_job_open(&job, &err), 0);
    assert_int_equal(ant_job_rank(job), rank);
    assert_int_equal(ant_job_size(job), size);
    assert_string_equal(ant_job_launcher(job), launcher);
    assert_string_equal(ant_job_name(job), "slurm.pmix.5.0");
    assert_true(ant_job_pmix_version(job)[0] >= '1' && ant_job_pmix_version(job)[0] <= '9');
    assert_int_equal(ant_job_env_rank(), rank);
    assert_non_null(ant_die_hook);
    ant_job_close(job);
    assert_null(ant_die_hook);
    assert_int_equal(server.inits, 0);
}

static void recorded_servers(void **state)
{
    (void)state;
    record_slurm_22_05(false);
    opens_as(3, 4, "srun");
    record_slurm_22_05(true);
    opens_as(3, 4, "srun");
    /* mpirun of Open MPI 4.1 */
    start_server(1, "PMIX_RANK=1 OMPI_COMM_WORLD_SIZE=2 OMPI_COMM_WORLD_RANK=1");
    add_entry(PMIX_JOB_SIZE, PMIX_RANK_WILDCARD, PMIX_UINT32, 2);
    opens_as(1, 2, "mpirun");
    start_server(0, "PMIX_RANK=0"); /* somebody's PMIx, no other word */
    add_entry(PMIX_JOB_SIZE, PMIX_RANK_WILDCARD, PMIX_UINT32, 1);
    opens_as(0, 1, "PMIx");
}

static void sizes_of_any_type(void **state)
{
    static const pmix_data_type_t types[] = {
        PMIX_BYTE, PMIX_UINT8, PMIX_UINT16, PMIX_UINT,  PMIX_UINT32, PMIX_UINT64,   PMIX_SIZE,
        PMIX_INT8, PMIX_INT16, PMIX_INT,    PMIX_INT32, PMIX_INT64,  PMIX_PROC_RANK};

    (void)state;
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        start_server(99, "PMIX_RANK=99");
        add_entry(PMIX_JOB_SIZE, PMIX_RANK_WILDCARD, types[i], 100);
        opens_as(99, 100, "PMIx");
    }
}

static void size_by_the_environment(void **state)
{
    static const struct {
        pmix_data_type_t type;
        uint64_t number;
    } useless[] = {{PMIX_STRING, 0},
                   {PMIX_BOOL, 1},
                   {PMIX_INT, UINT32_MAX /* -1 */},
                   {PMIX_UINT32, 0},
                   {PMIX_UINT64, (uint64_t)1 << 40}};

    (void)state;
    for (size_t i = 0; i <= sizeof(useless) / sizeof(useless[0]); i++) {
        start_server(2, "PMIX_RANK=2 SLURM_STEP_ID=0 SLURM_PROCID=2 SLURM_STEP_NUM_TASKS=3");
        if (i > 0)
            add_entry(PMIX_JOB_SIZE, PMIX_RANK_WILDCARD, useless[i - 1].type,
                      useless[i - 1].number);
        opens_as(2, 3, "srun");
    }
}

static void useless_servers(void **state)
{
    struct ant_error err = {{0}};
    struct ant_job *job = NULL;

    (void)state;
    start_server(2, "PMIX_RANK=2");
    assert_int_equal(ant_job_open(&job, &err), ANT_EPEER);
    assert_string_equal(err.text, "the PMIx server calls this process rank 2 of a job of 1: it "
                                  "does not tell the size of the job");
    assert_int_equal(server.inits, 0);
    start_server(0, "");
    server.init_status = PMIX_ERR_UNREACH;
    assert_int_equal(ant_job_open(&job, &err), ANT_EPEER);
    assert_non_null(strstr(err.text, "no answer from the PMIx server that PMIX_NAMESPACE "
                                     "'slurm.pmix.5.0' promises: "));
    assert_null(job);
    assert_null(ant_die_hook);
}

/* Rank 0 of 4, two on each of two hosts, the first also by another daemon; the cards of the others
 * are there. Their binary is ours. */
static struct ant_job *open_with_others(struct ant_card *others)
{
    struct ant_error err = {{0}};
    struct ant_card mine = {0};
    struct ant_job *job = NULL;

    start_server(0, "PMIX_RANK=0 SLURMD_NODENAME=n1");
    add_entry(PMIX_JOB_SIZE, PMIX_RANK_WILDCARD, PMIX_UINT32, 4);
    assert_int_equal(ant_card_fill(&mine, &err), 0);
    others[1] = make_card(1, mine.host, mine.boot_id, "n2", "0");
    others[2] = make_card(2, "elsewhere", "boot", "n3", "0");
    others[3] = make_card(3, "elsewhere", "boot", "n3", "0");
    for (int i = 1; i < 4; i++)
        others[i].binary = mine.binary;
    assert_int_equal(ant_job_open(&job, &err), 0);
    return job;
}

static void exchange(void **state)
{
    struct ant_error err = {{0}};
    struct ant_card others[4], mine = {0};
    struct ant_job *job = open_with_others(others);
    const struct ant_card *cards;

    (void)state;
    for (int i = 1; i < 4; i++)
        add_card(&others[i]);
    assert_int_equal(ant_job_exchange(job, &mine, 0, &err), 0);
    assert_int_equal(server.fences, 1);
    assert_int_equal(server.collected, 1);
    cards = ant_job_cards(job);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(cards[i].rank, i);
        assert_int_equal(cards[i].node, i / 2);
        assert_int_equal(cards[i].local_rank, i % 2);
        assert_int_equal(cards[i].local_size, 2);
    }
    assert_string_equal(cards[0].node_name, "n1");
    assert_string_equal(cards[1].node_name, "n2");
    ant_job_close(job);
}

static void failed_exchanges(void **state)
{
    struct ant_error err = {{0}};
    struct ant_card others[4], mine = {0};
    struct ant_job *job;

    (void)state;
    job = open_with_others(others);
    others[2].settings.high = 1;
    for (int i = 1; i < 4; i++)
        add_card(&others[i]);
    assert_int_equal(ant_job_exchange(job, &mine, 0, &err), ANT_EUSAGE);
    assert_non_null(strstr(err.text, "rank 2 on n3 was started with other settings"));
    assert_null(ant_job_cards(job));
    ant_job_close(job);

    job = open_with_others(others);
    add_card(&others[1]);
    add_card(&others[2]);
    assert_int_equal(ant_job_exchange(job, &mine, 0, &err), ANT_EPEER);
    assert_non_null(strstr(err.text, "rank 3 is gone, or has put no value 'antiphon.card'"));
    ant_job_close(job);

    job = open_with_others(others);
    add_entry("antiphon.card", 1, PMIX_UINT32, 1);
    assert_int_equal(ant_job_exchange(job, &mine, 0, &err), ANT_EPEER);
    assert_non_null(strstr(err.text, "of rank 1 is not bytes"));
    ant_job_close(job);

    job = open_with_others(others);
    add_entry("antiphon.card", 1, PMIX_BYTE_OBJECT, 0);
    assert_int_equal(ant_job_exchange(job, &mine, 0, &err), ANT_EPEER);
    assert_string_equal(err.text, "rank 1 sent no card but 0 other bytes");
    ant_job_close(job);

    job = open_with_others(others);
    server.fence_status = PMIX_ERR_TIMEOUT;
    assert_int_equal(ant_job_exchange(job, &mine, 0, &err), ANT_EPEER);
    assert_non_null(strstr(err.text, "not all of the 4 ranks came to the exchange: "));
    ant_job_close(job);

    /* Those who do not come while others wait are named. */
    job = open_with_others(others);
    add_card(&others[2]);
    server.fence_status = PMIX_ERR_TIMEOUT;
    server.fence_seconds = 0.3;
    assert_int_equal(ant_job_exchange(job, &mine, 0.05, &err), ANT_EPEER);
    assert_non_null(
        strstr(err.text, "the 4 ranks came to the exchange, missing: rank 1, rank 3: "));
    ant_job_close(job);
}

#else

static void build_without_pmix(void **state)
{
    (void)state;
    is_refused("PMIX_NAMESPACE=job PMIX_RANK=2", 2,
               "started in parallel, but this program was built without PMIx: configure it "
               "--with-pmix");
    is_alone("PMIX_NAMESPACE=job PMIX_RANK=0 SLURM_STEP_ID=0 SLURM_PROCID=0 "
             "SLURM_STEP_NUM_TASKS=1");
}

#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(alone),
        cmocka_unit_test(parallel_without_pmix),
        cmocka_unit_test(values_of_one),
        cmocka_unit_test(exchange_of_one),
        cmocka_unit_test(cards_travel),
        cmocka_unit_test(damaged_cards),
        cmocka_unit_test(who_shares_what),
        cmocka_unit_test(who_differs),
#ifdef HAVE_PMIX
        cmocka_unit_test(recorded_servers),
        cmocka_unit_test(sizes_of_any_type),
        cmocka_unit_test(size_by_the_environment),
        cmocka_unit_test(useless_servers),
        cmocka_unit_test(exchange),
        cmocka_unit_test(failed_exchanges),
#else
        cmocka_unit_test(build_without_pmix),
#endif
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
