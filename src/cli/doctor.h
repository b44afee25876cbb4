/* SPDX-License-Identifier: Apache-2.0 */
/* antiphon doctor: what its checks share.
 *
 * A check looks at one thing and says one finding on every rank. doctor.c has their table, calls
 * them in order on all ranks, and lets rank 0 print what was found. What a check learns and what it
 * makes of that are two functions where the first needs hardware: tests call the second. Thread:
 * the main thread. */
#ifndef ANT_CLI_DOCTOR_H
#define ANT_CLI_DOCTOR_H

#include <stdbool.h>
#include <stdint.h>

#include "backend/gpu.h"
#include "base/error.h"
#include "job/group.h"
#include "job/launch.h"

enum doctor_verdict { DOCTOR_UNSEEN, DOCTOR_OK, DOCTOR_WARN, DOCTOR_FAIL };

/* What one rank found out about one thing. Plain data: it travels to rank 0. */
struct doctor_finding {
    int32_t verdict;
    char text[300], fix[232];
};

/* What one rank has of a GPU, likewise. */
struct doctor_gpu {
    struct ant_gpu gpu;
    int32_t is_there, is_asked; /* is_asked: the job was given GPUs */
    char why[160];              /* there is none */
};

struct doctor_settings {
    const char *output;
    double timeout;
};

struct doctor {
    struct doctor_settings settings;
    const char *sys; /* "/sys" */
    struct ant_job *job;
    const struct ant_card *cards; /* of all ranks; NULL before they were exchanged */
    struct ant_transport *transport;
    struct ant_error why;    /* there is no transport */
    struct ant_group *world; /* NULL: the ranks do not reach each other by UCX */
    int rank, size;
    int n_shared; /* values, through PMIx */
    struct doctor_gpu gpu;
    bool may_sum;                   /* every rank has a GPU of its own */
    bool has_one_folder;            /* all can write where rank 0 does */
    struct doctor_finding *finding; /* of the check that is under way */
};

/* `fix` is for the person; "" when all is well. */
void ant_doctor_find(struct doctor *doctor, enum doctor_verdict verdict, const char *fix,
                     const char *format, ...) __attribute__((format(printf, 4, 5)));

/* What every rank knows to all, (size * bytes): by UCX where it works, by PMIx else. Collective. */
int ant_doctor_share(struct doctor *doctor, const void *mine, size_t bytes, void *all,
                     struct ant_error *err);

/* doctor_host.c */
void ant_doctor_cores(struct doctor *doctor);
void ant_doctor_level(struct doctor *doctor);
void ant_doctor_locked_memory(struct doctor *doctor);
void ant_doctor_shared_memory(struct doctor *doctor);
void ant_doctor_time_limit(struct doctor *doctor);

/* doctor_net.c */
void ant_doctor_launcher(struct doctor *doctor);
void ant_doctor_fence(struct doctor *doctor);
void ant_doctor_program(struct doctor *doctor);
void ant_doctor_clocks(struct doctor *doctor);
void ant_doctor_interfaces(struct doctor *doctor);
void ant_doctor_names(struct doctor *doctor);
void ant_doctor_messages(struct doctor *doctor);
void ant_doctor_ways(struct doctor *doctor);
bool ant_doctor_has_fabric(const struct doctor *doctor); /* InfiniBand and the like */
/* Of the ways to a rank of this host, and of another ("": there is none). */
void ant_doctor_judge_ways(struct doctor *doctor, const char *near, const char *far);

/* doctor_gpu.c */
void ant_doctor_gpu(struct doctor *doctor);
void ant_doctor_driver(struct doctor *doctor);
void ant_doctor_sum(struct doctor *doctor);
void ant_doctor_judge_gpus(struct doctor *doctor, const struct doctor_gpu *all); /* (size) */
void ant_doctor_judge_driver(struct doctor *doctor, const struct doctor_gpu *gpu);
void ant_doctor_judge_sum(struct doctor *doctor, double seconds, double bytes);

/* doctor_files.c */
void ant_doctor_store(struct doctor *doctor);
void ant_doctor_output(struct doctor *doctor);
void ant_doctor_same_folder(struct doctor *doctor);
void ant_doctor_locks(struct doctor *doctor);
void ant_doctor_parallel(struct doctor *doctor);

#endif
