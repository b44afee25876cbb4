/* SPDX-License-Identifier: Apache-2.0 */
/* antiphon doctor: look at each thing that commonly goes wrong between a job script and its first
 * token, on every rank, and say what to do about it. */
#include "config.h"

#include "cli/doctor.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/deadline.h"
#include "base/mem.h"
#include "cli/cli.h"
#include "store/results.h"

static const char *const verdicts[] = {"", "OK", "WARN", "FAIL"};

static const struct ant_option options[] = {
    {ANT_OPTION_TEXT, 'o', "output", "FILE", offsetof(struct doctor_settings, output),
     .help =
         "Where the job would write its answers: its file system is looked at, too. Default: the "
         "current folder."},
    {ANT_OPTION_REAL, 0, "timeout", "SECONDS", offsetof(struct doctor_settings, timeout), 1, 3600,
     .help = "How long a check waits for other ranks. One that takes more than twice as long, "
             "because something on its own node hangs, ends the doctor with what it found so far. "
             "Default: 60."},
    {0},
};

static const struct ant_command_help help = {
    .name = "doctor",
    .summary = "check what a job needs of the cluster",
    .synopsis = "[--output FILE] [--timeout SECONDS]",
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

/* What to do about a check that hangs. */
static const char see_ranks[] = "a rank or its node stands still: try fewer nodes, one by one";
static const char see_gpu[] = "see nvidia-smi and dmesg on its node";
static const char see_files[] =
    "the file system does not answer: try another --output, see df and dmesg on its node";

enum { FENCE_CHECK = 1 }; /* where it stands below */

/* In this order on all ranks. A check whose needs are not met says nothing: the one before it,
 * which should have met them, has failed. */
static const struct check {
    const char *name;
    void (*look)(struct doctor *doctor);
    enum need need;
    const char *when_it_hangs;
} checks[] = {
    {"launcher", ant_doctor_launcher, ALONE, see_ranks},
    [FENCE_CHECK] = {"fence", ant_doctor_fence, ALONE, see_ranks},
    {"program", ant_doctor_program, FENCE, see_ranks},
    {"interfaces", ant_doctor_interfaces, ALONE, see_ranks},
    {"devices", ant_doctor_names, ALONE, see_ranks},
    {"UCX", ant_doctor_messages, CARDS, see_ranks},
    {"transports", ant_doctor_ways, WORLD, see_ranks},
    {"clocks", ant_doctor_clocks, FENCE, see_ranks},
    {"cores", ant_doctor_cores, CARDS, see_ranks},
    {"CPU", ant_doctor_level, ALONE, see_ranks},
    {"GPU", ant_doctor_gpu, CARDS, see_gpu},
    {"driver", ant_doctor_driver, CARDS, see_gpu},
    {"NCCL", ant_doctor_sum, CARDS, see_gpu},
    {"memlock", ant_doctor_locked_memory, ALONE, see_ranks},
    {"/dev/shm", ant_doctor_shared_memory, ALONE, see_files},
    {"HDF5", ant_doctor_store, FENCE, see_ranks},
    {"output", ant_doctor_output, ALONE, see_files},
    {"one folder", ant_doctor_same_folder, CARDS, see_files},
    {"locks", ant_doctor_locks, ALONE, see_files},
    {"MPI-IO", ant_doctor_parallel, WORLD, see_files},
    {"time limit", ant_doctor_time_limit, ALONE, see_ranks},
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
        return ant_group_all_gather(doctor->world, mine, bytes, all, doctor->settings.timeout, err);
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

/* What this rank alone has found. */
static void print_mine(const struct doctor_finding *mine)
{
    for (int i = 0; i < N_CHECKS; i++)
        print_check(i, mine, 1);
}

static void print_failure(const char *name, const char *text, const char *fix)
{
    struct doctor_finding finding = {.verdict = DOCTOR_FAIL};

    snprintf(finding.text, sizeof(finding.text), "%.299s", text);
    snprintf(finding.fix, sizeof(finding.fix), "%s", fix);
    print_finding(name, &finding, "");
}

/* Rank 0 prints what all found; every rank learns whether anything failed. */
static void report(struct doctor *doctor, const struct doctor_finding *mine, bool *has_failed)
{
    size_t bytes = N_CHECKS * sizeof(*mine);
    struct doctor_finding *all = ant_xcalloc((size_t)doctor->size, bytes);
    struct ant_error err;
    /* Without a fence nothing can be said to others. */
    bool is_told = mine[FENCE_CHECK].verdict != DOCTOR_FAIL &&
                   ant_doctor_share(doctor, mine, bytes, all, &err) == 0;

    *has_failed = !is_told;
    for (int i = 0; is_told && i < N_CHECKS; i++) {
        if (doctor->rank == 0)
            print_check(i, all, doctor->size);
        for (int rank = 0; rank < doctor->size; rank++)
            *has_failed |= all[(size_t)rank * N_CHECKS + (size_t)i].verdict == DOCTOR_FAIL;
    }
    if (!is_told && doctor->rank == 0) {
        print_mine(mine);
        if (mine[FENCE_CHECK].verdict != DOCTOR_FAIL)
            print_failure("ranks", err.text, see_ranks);
    }
    free(all);
}

/* ---- checks that hang ------------------------------------------------------------------------ */

enum { OTHERS_LATER_S = 5 };

/* What a deadline needs to know. `check` is -1 before them, N_CHECKS after. */
struct course {
    struct doctor *doctor;
    const struct doctor_finding *findings;
    int check;
};

/* The main thread may be anywhere for ever. Rank 0 speaks first, and for all; after the report
 * nothing is left to say. */
static void end_hanging(void *data)
{
    const struct course *course = data;
    const struct doctor *doctor = course->doctor;
    bool is_check = course->check >= 0 && course->check < N_CHECKS;
    char text[120];

    if (ant_job_env_rank() > 0)
        sleep(OTHERS_LATER_S);
    snprintf(text, sizeof(text), "hangs on rank %d: not done after %g s", ant_job_env_rank(),
             2 * doctor->settings.timeout);
    if (ant_job_env_rank() == 0)
        print_mine(course->findings);
    if (course->check < N_CHECKS)
        print_failure(is_check ? checks[course->check].name : "start", text,
                      is_check ? checks[course->check].when_it_hangs : see_ranks);
    fflush(stdout);
    ant_job_abort(ANT_EXIT_UNAVAILABLE);
}

static void start_deadline(struct ant_deadline *deadline, struct course *course)
{
    ant_deadline_start(deadline, 2 * course->doctor->settings.timeout, end_hanging, course);
}

static void examine(struct course *course, struct doctor_finding *findings)
{
    struct doctor *doctor = course->doctor;

    for (int i = 0; i < N_CHECKS; i++) {
        struct ant_deadline deadline;

        course->check = i;
        doctor->finding = &findings[i];
        if (!is_met(doctor, findings, checks[i].need))
            continue;
        start_deadline(&deadline, course);
        checks[i].look(doctor);
        ant_deadline_stop(&deadline);
    }
}

/* ---- the command ----------------------------------------------------------------------------- */

static int start(struct course *course, struct ant_error *err)
{
    struct doctor *doctor = course->doctor;
    struct ant_deadline deadline;

    course->check = -1;
    start_deadline(&deadline, course);
    int rc = ant_store_start_first(ant_job_env_size(), err);
    if (rc == 0)
        rc = ant_job_open(&doctor->job, err);
    ant_deadline_stop(&deadline);
    if (rc == 0) {
        doctor->rank = ant_job_rank(doctor->job);
        doctor->size = ant_job_size(doctor->job);
    }
    return rc;
}

/* Ranks that hang do not come along. */
static void stop(struct course *course)
{
    struct doctor *doctor = course->doctor;
    struct ant_deadline deadline;

    fflush(stdout);
    course->check = N_CHECKS;
    start_deadline(&deadline, course);
    ant_store_stop();
    ant_group_close(doctor->world);
    ant_transport_close(doctor->transport);
    ant_job_close(doctor->job);
    ant_deadline_stop(&deadline);
}

static int see(struct doctor *doctor, bool *has_failed, struct ant_error *err)
{
    struct doctor_finding *findings = ant_xcalloc(N_CHECKS, sizeof(*findings));
    struct course course = {.doctor = doctor, .findings = findings};

    int rc = start(&course, err);
    if (rc == 0) {
        examine(&course, findings);
        report(doctor, findings, has_failed);
    }
    stop(&course);
    free(findings);
    return rc;
}

static int doctor_main(int argc, char **argv)
{
    struct doctor doctor = {.settings.timeout = 60, .sys = "/sys"};
    struct ant_error err;
    bool has_failed = false;
    int first, code;

    if (!ant_cli_parse(&ant_command_doctor, &doctor.settings, argc, argv, &first, &code))
        return code;
    int rc = see(&doctor, &has_failed, &err);
    if (rc < 0 && ant_job_env_rank() == 0) /* the same cause on all, or the others cannot tell */
        print_failure("start", err.text, "");
    return rc < 0 || has_failed ? ANT_EXIT_UNAVAILABLE : ANT_EXIT_DONE;
}

const struct ant_command ant_command_doctor = {doctor_main, options, &help};
