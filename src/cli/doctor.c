/* SPDX-License-Identifier: Apache-2.0 */
/* antiphon doctor: look at each thing that commonly goes wrong between a job script and its first
 * token, on every rank, and say what to do about it. */
#include "config.h"

#include "cli/doctor.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "cli/cli.h"
#include "store/results.h"

static const char *const verdicts[] = {"", "OK", "WARN", "FAIL"};

static const struct ant_option options[] = {
    {ANT_OPTION_TEXT, 'o', "output", "FILE", offsetof(struct doctor_settings, output),
     .help =
         "Where the job would write its answers: its file system is looked at, too. Default: the "
         "current folder."},
    {0},
};

static const struct ant_command_help help = {
    .name = "doctor",
    .summary = "check what a job needs of the cluster",
    .synopsis = "[--output FILE]",
    .purpose =
        "Check what a job needs of the cluster: start it just as the job, 'srun --mpi=pmix -N2 "
        "-n8 antiphon doctor'.",
    .epilog =
        "Each line is OK, WARN or FAIL, with the reason and what to do; a line names the ranks "
        "that found it, unless all did. Looked at are the launcher and PMIx, whether a fence "
        "waits, the program, clocks, network interfaces and UCX's way through them, cores, GPUs, "
        "their driver and NCCL, locked and shared memory, HDF5 and the output's file system. Exit "
        "code 0, or 69 when something failed.",
};

/* What a check can do without. */
enum need { ALONE, FENCE, CARDS, WORLD };

enum { FENCE_CHECK = 1 }; /* where it stands below */

/* In this order on all ranks. A check whose needs are not met says nothing: the one before it,
 * which should have met them, has failed. */
static const struct check {
    const char *name;
    void (*look)(struct doctor *doctor);
    enum need need;
} checks[] = {
    {"launcher", ant_doctor_launcher, ALONE},
    [FENCE_CHECK] = {"fence", ant_doctor_fence, ALONE},
    {"program", ant_doctor_program, FENCE},
    {"interfaces", ant_doctor_interfaces, ALONE},
    {"devices", ant_doctor_names, ALONE},
    {"UCX", ant_doctor_messages, CARDS},
    {"transports", ant_doctor_ways, WORLD},
    {"clocks", ant_doctor_clocks, FENCE},
    {"cores", ant_doctor_cores, CARDS},
    {"CPU", ant_doctor_level, ALONE},
    {"GPU", ant_doctor_gpu, CARDS},
    {"driver", ant_doctor_driver, CARDS},
    {"NCCL", ant_doctor_sum, CARDS},
    {"memlock", ant_doctor_locked_memory, ALONE},
    {"/dev/shm", ant_doctor_shared_memory, ALONE},
    {"HDF5", ant_doctor_store, FENCE},
    {"output", ant_doctor_output, ALONE},
    {"one folder", ant_doctor_same_folder, CARDS},
    {"locks", ant_doctor_locks, ALONE},
    {"MPI-IO", ant_doctor_parallel, WORLD},
    {"time limit", ant_doctor_time_limit, ALONE},
};

enum { N_CHECKS = sizeof(checks) / sizeof(*checks) };

/* ---- what checks use ------------------------------------------------------------------------- */

void ant_doctor_find(struct doctor *doctor, enum doctor_verdict verdict, const char *fix,
                     const char *format, ...)
{
    struct doctor_finding *finding = doctor->finding;
    va_list args;

    *finding = (struct doctor_finding){.verdict = verdict};
    snprintf(finding->fix, sizeof(finding->fix), "%s", fix);
    va_start(args, format);
    vsnprintf(finding->text, sizeof(finding->text), format, args);
    va_end(args);
}

static int share_by_fence(struct doctor *doctor, const void *mine, size_t bytes, void *all,
                          struct ant_error *err)
{
    char key[40];

    snprintf(key, sizeof(key), "antiphon.doctor.%d", doctor->n_shared++);
    ANT_TRY(ant_job_put(doctor->job, key, mine, bytes, err));
    ANT_TRY(ant_job_fence(doctor->job, err));
    for (int i = 0; i < doctor->size; i++)
        ANT_TRY(ant_job_get(doctor->job, i, key, (char *)all + (size_t)i * bytes, bytes, err));
    return 0;
}

int ant_doctor_share(struct doctor *doctor, const void *mine, size_t bytes, void *all,
                     struct ant_error *err)
{
    if (doctor->world)
        return ant_group_all_gather(doctor->world, mine, bytes, all, DOCTOR_TIMEOUT_S, err);
    return share_by_fence(doctor, mine, bytes, all, err);
}

/* ---- all of them ----------------------------------------------------------------------------- */

static bool is_met(const struct doctor *doctor, const struct doctor_finding *findings,
                   enum need need)
{
    if (need >= FENCE && findings[FENCE_CHECK].verdict == DOCTOR_FAIL)
        return false;
    if (need >= CARDS && !doctor->cards)
        return false;
    return need < WORLD || doctor->world;
}

static void examine(struct doctor *doctor, struct doctor_finding *findings)
{
    for (int i = 0; i < N_CHECKS; i++) {
        doctor->finding = &findings[i];
        if (is_met(doctor, findings, checks[i].need))
            checks[i].look(doctor);
    }
}

/* ---- telling --------------------------------------------------------------------------------- */

static void print_finding(const char *name, const struct doctor_finding *finding, const char *who)
{
    printf("%-4s  %-10s %s%s%s\n", verdicts[finding->verdict], name, finding->text,
           *who ? "; " : "", who);
    if (*finding->fix)
        printf("                 -> %s\n", finding->fix);
}

/* Appends the ranks whose finding is the same in every word as that of `first`, and marks them as
 * printed; nothing if all found it. `of` is finding i of each rank. */
static void list_ranks(const struct doctor_finding *const *of, int size, int first,
                       bool *is_printed, struct ant_buf *out)
{
    int n = 0;

    for (int rank = first; rank < size; rank++) {
        if (is_printed[rank] || of[rank]->verdict != of[first]->verdict ||
            strcmp(of[rank]->text, of[first]->text) != 0)
            continue;
        is_printed[rank] = true;
        if (n++ < 8)
            ant_buf_printf(out, "%s%d", n > 1 ? ", " : "rank ", rank);
    }
    if (n > 8)
        ant_buf_printf(out, " and %d more", n - 8);
    if (n == size)
        out->len = 0;
    ant_buf_add(out, "", 1);
}

/* One line for all ranks that found the same. */
static void print_check(int check, const struct doctor_finding *all, int size)
{
    const struct doctor_finding **of = ant_xcalloc((size_t)size, sizeof(*of));
    bool *is_printed = ant_xcalloc((size_t)size, sizeof(*is_printed));

    for (int rank = 0; rank < size; rank++)
        of[rank] = &all[(size_t)rank * N_CHECKS + (size_t)check];
    for (int rank = 0; rank < size; rank++) {
        struct ant_buf who = {0};

        if (is_printed[rank] || of[rank]->verdict == DOCTOR_UNSEEN)
            continue;
        list_ranks(of, size, rank, is_printed, &who);
        print_finding(checks[check].name, of[rank], who.data);
        ant_buf_release(&who);
    }
    free(is_printed);
    free(of);
}

/* Rank 0 prints what all found; every rank learns whether anything failed. */
static int report(struct doctor *doctor, const struct doctor_finding *mine, bool *has_failed,
                  struct ant_error *err)
{
    size_t bytes = N_CHECKS * sizeof(*mine);
    struct doctor_finding *all = ant_xcalloc((size_t)doctor->size, bytes);
    int rc = 0;

    if (mine[FENCE_CHECK].verdict == DOCTOR_FAIL) { /* nothing can be said to others */
        for (int i = 0; i < N_CHECKS && doctor->rank == 0; i++)
            print_check(i, mine, 1);
        *has_failed = true;
        free(all);
        return 0;
    }
    rc = ant_doctor_share(doctor, mine, bytes, all, err);
    for (int i = 0; rc == 0 && i < N_CHECKS; i++) {
        if (doctor->rank == 0)
            print_check(i, all, doctor->size);
        for (int rank = 0; rank < doctor->size; rank++)
            *has_failed |= all[(size_t)rank * N_CHECKS + (size_t)i].verdict == DOCTOR_FAIL;
    }
    free(all);
    return rc;
}

/* ---- the command ----------------------------------------------------------------------------- */

static int see(struct doctor *doctor, bool *has_failed, struct ant_error *err)
{
    struct doctor_finding *findings = ant_xcalloc(N_CHECKS, sizeof(*findings));

    int rc = ant_store_start_first(ant_job_env_size(), err);
    if (rc == 0)
        rc = ant_job_open(&doctor->job, err);
    if (rc == 0) {
        doctor->rank = ant_job_rank(doctor->job);
        doctor->size = ant_job_size(doctor->job);
        examine(doctor, findings);
        rc = report(doctor, findings, has_failed, err);
    }
    ant_store_stop();
    ant_group_close(doctor->world);
    ant_transport_close(doctor->transport);
    ant_job_close(doctor->job);
    free(findings);
    return rc;
}

static int doctor_main(int argc, char **argv)
{
    struct doctor doctor = {.sys = "/sys"};
    struct ant_error err;
    bool has_failed = false;
    int first, code;

    if (!ant_cli_parse(&ant_command_doctor, &doctor.settings, argc, argv, &first, &code))
        return code;
    int rc = see(&doctor, &has_failed, &err);
    if (rc < 0 && ant_job_env_rank() == 0) { /* the same cause on all, or the others cannot tell */
        struct doctor_finding finding = {.verdict = DOCTOR_FAIL};
        snprintf(finding.text, sizeof(finding.text), "%.299s", err.text);
        print_finding("start", &finding, "");
    }
    return rc < 0 || has_failed ? ANT_EXIT_UNAVAILABLE : ANT_EXIT_DONE;
}

const struct ant_command ant_command_doctor = {doctor_main, options, &help};
