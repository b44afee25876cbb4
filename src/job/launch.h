/* SPDX-License-Identifier: Apache-2.0 */
/* Where this process is in the job: the facts of the launcher (PMIx, or a world
 * of one), and the first exchange.
 *
 * Hides PMIx altogether. With PMIX_NAMESPACE in the environment PMIx is used;
 * without it the process is a world of one, unless the environment says that
 * srun started several tasks without --mpi=pmix, which is an error. Values are
 * read by the type they arrive in; absent optional keys are derived from the
 * cards. Thread: control. Errors: ANT_EUSAGE (launched wrongly), ANT_EPEER (the
 * exchange failed). */
#ifndef ANT_JOB_LAUNCH_H
#define ANT_JOB_LAUNCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/checksum.h"
#include "base/error.h"

/* What every rank tells all others, once, before anything is loaded. */
struct ant_card {
    int rank;
    int local_rank; /* position among the ranks of its host, by rank */
    int local_size; /* ranks on that host */
    int node;       /* 0.. in order of each host's lowest rank */
    pid_t pid;
    char host[64];      /* by gethostname; with boot_id it says who shares memory */
    char boot_id[40];   /* of the running kernel: two containers of one host share it, two hosts of
                           one name do not */
    char node_name[64]; /* for people: Slurm's name of the node, else the host's */
    struct ant_digest binary;   /* of /proc/self/exe */
    struct ant_digest settings; /* of everything that must be equal on all ranks */
    int n_cores;                /* cores this process may run on */
    char cores[64];             /* the same as a list: "0-3,8"; ends in ... where cut short */
    int cores_shared;           /* ranks of its host that may run on just the same cores, itself
                                   included: n_cores / cores_shared are its fair part */
    unsigned char *address;     /* UCX worker address; owned by the job */
    size_t address_bytes;
};

struct ant_job;

/* What rank this process will have, by the environment alone, before anything is set up: so that a
 * usage error is printed once. 0 when not launched in parallel. */
int ant_job_env_rank(void);
/* As much about the number of ranks that PMIx will tell; 1 when not launched in parallel. */
int ant_job_env_size(void);

/* Learn rank and size from the launcher. */
int ant_job_open(struct ant_job **out, struct ant_error *err);

/* Finalize. NULL is legal. A process that ends without it takes the others down with it. */
void ant_job_close(struct ant_job *job);

int ant_job_rank(const struct ant_job *job);
int ant_job_size(const struct ant_job *job);
const char *ant_job_name(const struct ant_job *job);     /* PMIx namespace or "single" */
const char *ant_job_launcher(const struct ant_job *job); /* for people: "srun", "mpirun", "none" */
const char *ant_job_pmix_version(const struct ant_job *job); /* library loaded, "" if none */

/* Exchange cards: collective, called once. `mine` gives `settings` and `address` (copied); the
 * rest is found out here. Ranks that have not come after `patience` seconds (0: never) are named in
 * a warning, and when the exchange fails. Checks that binary and settings are equal everywhere; if
 * not, every rank gets the same ANT_EUSAGE text, naming the first rank that differs from rank 0 and
 * its node. */
int ant_job_exchange(struct ant_job *job, const struct ant_card *mine, double patience,
                     struct ant_error *err);

/* Cards of all ranks, after the exchange, (size); borrowed until ant_job_close. */
const struct ant_card *ant_job_cards(const struct ant_job *job);

/* NCCL ids and the like: a value of one rank for the others, under a key never used before. It can
 * be read after the next fence, which is collective over the job and a true barrier. A value of
 * another size than `bytes` is an error. */
int ant_job_put(struct ant_job *job, const char *key, const void *data, size_t bytes,
                struct ant_error *err);
int ant_job_fence(struct ant_job *job, struct ant_error *err);
int ant_job_get(struct ant_job *job, int rank, const char *key, void *data, size_t bytes,
                struct ant_error *err);

/* End every process of the job step with this exit code (PMIx_Abort). Does not return. From any
 * thread. While a job is open ant_die does the same. */
void ant_job_abort(int exit_code) __attribute__((noreturn));

#endif
