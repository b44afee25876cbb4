/* SPDX-License-Identifier: Apache-2.0 */
/* antiphon doctor: look at each thing that commonly goes wrong between a job script and its first
 * token, on every rank, and say what to do about it. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "backend/backend.h"
#include "backend/cpu/cpu_level.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/mem.h"
#include "cli/cli.h"
#include "job/group.h"
#include "job/launch.h"
#include "store/results.h"

#define TIMEOUT_S 60

enum verdict { FINE, WARN, FAIL };
static const char *const verdicts[] = {"OK", "WARN", "FAIL"};

/* What one rank found out about one thing. Plain data: it travels to rank 0. */
struct finding {
    int32_t verdict;
    char what[24], text[232], fix[232];
};

enum { MAX_FINDINGS = 24 };

struct doctor_settings {
    const char *output;
};

struct doctor {
    struct doctor_settings settings;
    struct ant_job *job;
    struct ant_transport *transport;
    struct ant_group *world;
    int rank, size;
    struct finding findings[MAX_FINDINGS];
    int n_findings;
};

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
        "Each line is OK, WARN or FAIL, with the reason and what to do. Exit code 0, or 69 when "
        "something failed.",
};

/* ---- findings -------------------------------------------------------------------------------- */

/* `fix` is for the person; "" when all is well. */
static void find(struct doctor *doctor, enum verdict verdict, const char *what, const char *fix,
                 const char *format, ...) __attribute__((format(printf, 5, 6)));

static void find(struct doctor *doctor, enum verdict verdict, const char *what, const char *fix,
                 const char *format, ...)
{
    struct finding *finding = &doctor->findings[doctor->n_findings++];
    va_list args;

    *finding = (struct finding){.verdict = verdict};
    snprintf(finding->what, sizeof(finding->what), "%s", what);
    snprintf(finding->fix, sizeof(finding->fix), "%s", fix);
    va_start(args, format);
    vsnprintf(finding->text, sizeof(finding->text), format, args);
    va_end(args);
}

static void print_finding(const struct finding *finding, const char *who)
{
    printf("%-4s  %-10s %s%s%s\n", verdicts[finding->verdict], finding->what, finding->text,
           *who ? "; " : "", who);
    if (*finding->fix)
        printf("                 -> %s\n", finding->fix);
}

/* The ranks from `first` on whose finding i is the same in every word, marked as printed. */
static void list_ranks(const struct doctor *doctor, const struct finding *all, int i, int first,
                       bool *is_printed, struct ant_buf *out)
{
    const struct finding *mine = &all[(size_t)first * MAX_FINDINGS + (size_t)i];
    int n = 0;

    for (int rank = first; rank < doctor->size; rank++) {
        const struct finding *other = &all[(size_t)rank * MAX_FINDINGS + (size_t)i];
        if (is_printed[rank] || other->verdict != mine->verdict ||
            strcmp(other->text, mine->text) != 0)
            continue;
        is_printed[rank] = true;
        if (n++ < 8)
            ant_buf_printf(out, "%s%d", n > 1 ? ", " : "", rank);
    }
    if (n > 8)
        ant_buf_printf(out, " and %d more", n - 8);
    if (n == doctor->size)
        out->len = 0;
}

/* One line for all ranks that found the same. */
static void print_check(const struct doctor *doctor, const struct finding *all, int i)
{
    bool *is_printed = ant_xcalloc((size_t)doctor->size, sizeof(*is_printed));

    for (int rank = 0; rank < doctor->size; rank++) {
        struct ant_buf ranks = {0}, who = {0};

        if (is_printed[rank])
            continue;
        ant_buf_add(&ranks, "", 0);
        ant_buf_add(&who, "", 0);
        list_ranks(doctor, all, i, rank, is_printed, &ranks);
        if (ranks.len)
            ant_buf_printf(&who, "rank %s", ranks.data);
        print_finding(&all[(size_t)rank * MAX_FINDINGS + (size_t)i], who.data);
        ant_buf_release(&ranks);
        ant_buf_release(&who);
    }
    free(is_printed);
}

/* ---- this process alone ---------------------------------------------------------------------- */

static void check_launcher(struct doctor *doctor)
{
    const char *server = getenv("PMIX_VERSION");

    find(doctor, FINE, "launcher", "", "%s, %d ranks, PMIx library %s, server %s",
         ant_job_launcher(doctor->job), doctor->size,
         *ant_job_pmix_version(doctor->job) ? ant_job_pmix_version(doctor->job) : "none",
         server ? server : "unknown");
}

static void check_cores(struct doctor *doctor)
{
    const struct ant_card *card = &ant_job_cards(doctor->job)[doctor->rank];
    const char *wanted = getenv("SLURM_CPUS_PER_TASK");
    int share = card->n_cores / card->cores_shared;
    long online = sysconf(_SC_NPROCESSORS_ONLN);

    if (wanted && share < atoi(wanted))
        find(doctor, WARN, "cores",
             "srun does not pass on sbatch's --cpus-per-task: give it to srun, too",
             "%d of the %s asked for (%s)", share, wanted, card->cores);
    else if (share < 1)
        find(doctor, WARN, "cores", "start fewer ranks, or give each cores by --cpus-per-task",
             "%d ranks share %d cores", card->cores_shared, card->n_cores);
    else if (share == 1 && online > 4 * card->local_size)
        find(doctor, WARN, "cores", "give each rank its part by srun --cpus-per-task",
             "one core, of %ld on the host", online);
    else
        find(doctor, FINE, "cores", "", "%d a rank", share);
}

static void check_level(struct doctor *doctor)
{
    enum ant_cpu_level level;
    struct ant_error err;
    char brand[64];

    ant_cpu_brand(brand, sizeof(brand));
    if (ant_cpu_choose(&level, &err) < 0)
        find(doctor, FAIL, "CPU", "set ANTIPHON_CPU to a level that the machine has, or unset it",
             "%s", err.text);
    else
        find(doctor, FINE, "CPU", "", "%s, level %s", brand, ant_cpu_level_names[level]);
}

static void check_locked_memory(struct doctor *doctor)
{
    struct rlimit limit = {0};

    getrlimit(RLIMIT_MEMLOCK, &limit);
    if (limit.rlim_cur == RLIM_INFINITY)
        find(doctor, FINE, "memlock", "", "unlimited");
    else
        find(doctor, WARN, "memlock",
             "InfiniBand needs locked memory: ask the administrators for LimitMEMLOCK=infinity in "
             "slurmd",
             "%.1f MB may be locked", (double)limit.rlim_cur / 1e6);
}

static void check_shared_memory(struct doctor *doctor)
{
    struct statvfs fs;

    if (statvfs("/dev/shm", &fs) < 0)
        find(doctor, WARN, "/dev/shm",
             "UCX and NCCL talk through it within a host: mount a tmpfs there", "%s",
             strerror(errno));
    else if ((double)fs.f_bavail * (double)fs.f_frsize < 256e6)
        find(doctor, WARN, "/dev/shm",
             "remove what dead jobs have left there, or ask for a larger one",
             "only %.0f MB are free", (double)fs.f_bavail * (double)fs.f_frsize / 1e6);
    else
        find(doctor, FINE, "/dev/shm", "", "room");
}

static void check_gpu(struct doctor *doctor)
{
    const struct ant_backend_ops *ops;
    struct ant_error err = {{0}};
    const char *asked = getenv("CUDA_VISIBLE_DEVICES");
    bool wants = (asked && *asked) || getenv("SLURM_GPUS_ON_NODE") || getenv("SLURM_STEP_GPUS");

    if (ant_backend_choose(&ops, "cuda", &err) == 0)
        find(doctor, FINE, "GPU", "", "usable");
    else
        find(doctor, wants ? FAIL : FINE, "GPU",
             wants ? "the job was given GPUs but cannot use them: see the reason" : "", "none: %s",
             err.text);
}

static void check_time_limit(struct doctor *doctor)
{
    if (!getenv("SLURM_JOB_ID"))
        find(doctor, FINE, "time limit", "", "not a Slurm job");
    else if (getenv("SLURM_JOB_END_TIME"))
        find(doctor, FINE, "time limit", "", "known from SLURM_JOB_END_TIME");
    else
        find(doctor, WARN, "time limit",
             "srun of this Slurm does not say when the job ends: squeue is asked, or give "
             "--time-limit",
             "SLURM_JOB_END_TIME is not set");
}

/* ---- the output's file system ---------------------------------------------------------------- */

static const char *file_system(const char *folder)
{
    static const struct {
        long magic;
        const char *name;
    } known[] = {{0x0bd00bd0, "Lustre"},  {0x6969, "NFS"},        {0x47504653, "GPFS"},
                 {0xef53, "ext4"},        {0x58465342, "XFS"},    {0x01021994, "tmpfs"},
                 {0x794c7630, "overlay"}, {0x19830326, "BeeGFS"}, {0x9123683e, "btrfs"}};
    struct statfs fs;

    if (statfs(folder, &fs) == 0)
        for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
            if (fs.f_type == known[i].magic)
                return known[i].name;
    return "a file system";
}

/* Write, sync, rename and remove, as a job does. */
static int try_folder(const char *folder, int rank, struct ant_error *err)
{
    char *name = ant_xasprintf("%s/.antiphon-doctor.%d.%ld", folder, rank, (long)getpid());
    char *renamed = ant_xasprintf("%s.done", name);
    char data[4096] = {0};
    int rc = ant_file_write(name, data, sizeof(data), err);

    if (rc == 0 && rename(name, renamed) < 0)
        rc = ant_fail(err, ANT_EIO, "cannot rename '%s': %s", name, strerror(errno));
    unlink(name);
    unlink(renamed);
    free(renamed);
    free(name);
    return rc;
}

static void check_output(struct doctor *doctor)
{
    const char *output = doctor->settings.output ? doctor->settings.output : "./x";
    const char *slash = strrchr(output, '/');
    char *folder = slash ? ant_xstrndup(output, slash > output ? (size_t)(slash - output) : 1)
                         : ant_xstrdup(".");
    struct ant_error err;
    struct statvfs fs;

    if (try_folder(folder, doctor->rank, &err) < 0)
        find(doctor, FAIL, "output", "choose a folder that every node can write to", "%s",
             err.text);
    else if (statvfs(folder, &fs) == 0 && (double)fs.f_bavail * (double)fs.f_frsize < 1e9)
        find(doctor, WARN, "output", "answers need room twice, as journal and as result: free some",
             "only %.0f MB are free on %s of '%s'", (double)fs.f_bavail * (double)fs.f_frsize / 1e6,
             file_system(folder), folder);
    else
        find(doctor, FINE, "output", "", "'%s' on %s can be written", folder, file_system(folder));
    free(folder);
}

static void check_store(struct doctor *doctor)
{
    struct ant_error err;

    if (ant_store_start(doctor->size, &err) < 0)
        find(doctor, FAIL, "HDF5", "build with a parallel HDF5 whose MPI knows this launcher", "%s",
             err.text);
    else
        find(doctor, FINE, "HDF5", "", "%s", ant_store_versions());
}

/* ---- all ranks together ---------------------------------------------------------------------- */

static double wall_clock(void)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* What the last rank puts late is there for all after the fence. */
static void check_fence(struct doctor *doctor)
{
    const struct timespec late = {0, 200000000};
    int value = 4711, got = 0, last = doctor->size - 1;
    struct ant_error err = {{0}};
    double start = ant_now();

    if (doctor->rank == last && doctor->size > 1)
        nanosleep(&late, NULL);
    int rc = ant_job_put(doctor->job, "antiphon.doctor", &value, sizeof(value), &err);
    if (rc == 0)
        rc = ant_job_fence(doctor->job, &err);
    if (rc == 0)
        rc = ant_job_get(doctor->job, last, "antiphon.doctor", &got, sizeof(got), &err);
    if (rc < 0 || got != value)
        find(doctor, FAIL, "fence", "the PMIx server is broken or of another version: see its log",
             "what rank %d put cannot be read after the fence: %s", last, err.text);
    else if (ant_now() - start > 10)
        find(doctor, WARN, "fence", "starting will be slow: look at the load of the Slurm daemons",
             "takes more than 10 s");
    else
        find(doctor, FINE, "fence", "", "waits for all");
}

static void check_messages(struct doctor *doctor)
{
    enum { ROUNDS = 20 };
    struct ant_error err;
    double start;
    int rc = ant_group_barrier(doctor->world, TIMEOUT_S, &err);

    start = ant_now();
    for (int i = 0; rc == 0 && i < ROUNDS; i++)
        rc = ant_group_barrier(doctor->world, TIMEOUT_S, &err);
    double each = (ant_now() - start) / ROUNDS;
    if (rc < 0)
        find(doctor, FAIL, "UCX",
             "UCX_NET_DEVICES and UCX_TLS name what it may use; ucx_info -d lists it", "%s",
             err.text);
    else if (each > 5e-3)
        find(doctor, WARN, "UCX", "messages go a slow way: see ucx_info -d and UCX_NET_DEVICES",
             "a barrier takes more than 5 ms");
    else
        find(doctor, FINE, "UCX", "", "version %s, all ranks reach each other",
             *ant_transport_version() ? ant_transport_version() : "none");
}

static void check_clocks(struct doctor *doctor)
{
    double mine, *all = ant_xcalloc((size_t)doctor->size, sizeof(*all)), first, last;
    struct ant_error err;
    int rc = ant_group_barrier(doctor->world, TIMEOUT_S, &err);

    mine = wall_clock();
    if (rc == 0)
        rc = ant_group_all_gather(doctor->world, &mine, sizeof(mine), all, TIMEOUT_S, &err);
    first = last = all[0];
    for (int i = 1; i < doctor->size; i++) {
        first = all[i] < first ? all[i] : first;
        last = all[i] > last ? all[i] : last;
    }
    free(all);
    if (rc == 0 && last - first > 2)
        find(doctor, WARN, "clocks",
             "times of different nodes cannot be compared: have NTP looked at",
             "they differ by more than 2 s");
    else
        find(doctor, FINE, "clocks", "", "agree");
}

static int meet(struct doctor *doctor, struct ant_error *err)
{
    struct ant_card card = {0};
    int *ranks = ant_xcalloc((size_t)doctor->size, sizeof(*ranks));

    for (int i = 0; i < doctor->size; i++)
        ranks[i] = i;
    int rc = ant_transport_open(&doctor->transport, false, err);
    if (rc == 0) {
        card.address =
            (unsigned char *)ant_transport_address(doctor->transport, &card.address_bytes);
        rc = ant_job_exchange(doctor->job, &card, err);
    }
    if (rc == 0)
        rc = ant_group_open(&doctor->world, doctor->transport, ant_job_cards(doctor->job), ranks,
                            doctor->size, doctor->rank, err);
    free(ranks);
    return rc;
}

static void examine(struct doctor *doctor)
{
    check_launcher(doctor);
    find(doctor, FINE, "program", "", "the same on all ranks");
    check_fence(doctor);
    check_messages(doctor);
    check_clocks(doctor);
    check_cores(doctor);
    check_level(doctor);
    check_gpu(doctor);
    check_locked_memory(doctor);
    check_shared_memory(doctor);
    check_store(doctor);
    check_output(doctor);
    check_time_limit(doctor);
}

/* Rank 0 prints what all found; every rank learns whether anything failed. */
static int report(struct doctor *doctor, bool *has_failed, struct ant_error *err)
{
    struct finding *all = ant_xcalloc((size_t)doctor->size, sizeof(doctor->findings));
    int rc = ant_group_all_gather(doctor->world, doctor->findings, sizeof(doctor->findings), all,
                                  TIMEOUT_S, err);

    for (int i = 0; rc == 0 && i < doctor->n_findings; i++) {
        if (doctor->rank == 0)
            print_check(doctor, all, i);
        for (int rank = 0; rank < doctor->size; rank++)
            *has_failed |= all[(size_t)rank * MAX_FINDINGS + (size_t)i].verdict == FAIL;
    }
    free(all);
    return rc;
}

static int doctor_main(int argc, char **argv)
{
    struct doctor doctor = {0};
    struct ant_error err;
    bool has_failed = false;
    int first;
    int rc = ant_option_parse(options, &help, &doctor.settings, argc, argv, &first, &err);

    if (rc > 0)
        return ANT_EXIT_DONE;
    if (rc == 0 && first < argc)
        rc = ant_fail(&err, ANT_EUSAGE, "'%s' is not an option", argv[first]);
    if (rc < 0)
        return ant_job_env_rank() == 0 ? ant_cli_fail("doctor", rc, &err) : ANT_EXIT_USAGE;

    rc = ant_job_open(&doctor.job, &err);
    if (rc == 0) {
        doctor.rank = ant_job_rank(doctor.job);
        doctor.size = ant_job_size(doctor.job);
        rc = meet(&doctor, &err);
    }
    if (rc == 0) {
        examine(&doctor);
        rc = report(&doctor, &has_failed, &err);
    }
    if (rc < 0 && ant_job_env_rank() == 0) { /* the same cause on all, or the others cannot tell */
        find(&doctor, FAIL, "start", "", "%s", err.text);
        print_finding(&doctor.findings[doctor.n_findings - 1], "");
    }
    ant_store_stop();
    ant_group_close(doctor.world);
    ant_transport_close(doctor.transport);
    ant_job_close(doctor.job);
    return rc < 0 || has_failed ? ANT_EXIT_UNAVAILABLE : ANT_EXIT_DONE;
}

const struct ant_command ant_command_doctor = {doctor_main, options, &help};
