/* SPDX-License-Identifier: Apache-2.0 */
/* What the doctor looks at on each host: cores, memory that may be locked or shared, the job's end.
 */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "backend/cpu/cpu_level.h"
#include "cli/doctor.h"

void ant_doctor_cores(struct doctor *doctor)
{
    const struct ant_card *card = &doctor->cards[doctor->rank];
    const char *wanted = getenv("SLURM_CPUS_PER_TASK");
    int share = card->n_cores / card->cores_shared;
    long online = sysconf(_SC_NPROCESSORS_ONLN);

    if (wanted && share < atoi(wanted))
        ant_doctor_find(doctor, DOCTOR_WARN,
                        "srun does not pass on sbatch's --cpus-per-task: give it to srun, too",
                        "%d of the %s asked for (%s)", share, wanted, card->cores);
    else if (share < 1)
        ant_doctor_find(
            doctor, DOCTOR_WARN, "start fewer ranks, or give each cores by --cpus-per-task",
            "%d ranks share %d cores (%s)", card->cores_shared, card->n_cores, card->cores);
    else if (share == 1 && online > 4 * card->local_size)
        ant_doctor_find(doctor, DOCTOR_WARN, "give each rank its part by srun --cpus-per-task",
                        "one core, of %ld on the host", online);
    else
        ant_doctor_find(doctor, DOCTOR_OK, "", "%d a rank", share);
}

void ant_doctor_level(struct doctor *doctor)
{
    enum ant_cpu_level level;
    struct ant_error err;
    char brand[64];

    ant_cpu_brand(brand, sizeof(brand));
    if (ant_cpu_choose(&level, &err) < 0)
        ant_doctor_find(doctor, DOCTOR_FAIL,
                        "set ANTIPHON_CPU to a level that the machine has, or unset it", "%.200s",
                        err.text);
    else
        ant_doctor_find(doctor, DOCTOR_OK, "", "%s, level %s", brand, ant_cpu_level_names[level]);
}

void ant_doctor_locked_memory(struct doctor *doctor)
{
    struct rlimit limit = {0};

    getrlimit(RLIMIT_MEMLOCK, &limit);
    if (limit.rlim_cur == RLIM_INFINITY)
        ant_doctor_find(doctor, DOCTOR_OK, "", "unlimited");
    else if (!ant_doctor_has_fabric(doctor))
        ant_doctor_find(doctor, DOCTOR_OK, "",
                        "%.1f MB may be locked, no InfiniBand here needs more",
                        (double)limit.rlim_cur / 1e6);
    else
        ant_doctor_find(doctor, DOCTOR_WARN,
                        "InfiniBand needs locked memory: ask the administrators for "
                        "LimitMEMLOCK=infinity in slurmd's unit",
                        "only %.1f MB may be locked", (double)limit.rlim_cur / 1e6);
}

void ant_doctor_shared_memory(struct doctor *doctor)
{
    struct statvfs fs;

    if (statvfs("/dev/shm", &fs) < 0) {
        ant_doctor_find(doctor, DOCTOR_WARN,
                        "UCX and NCCL talk through it within a host: mount a tmpfs there", "%s",
                        strerror(errno));
        return;
    }
    double free_mb = (double)fs.f_bavail * (double)fs.f_frsize / 1e6;
    double all_mb = (double)fs.f_blocks * (double)fs.f_frsize / 1e6;
    if (all_mb < 256)
        ant_doctor_find(doctor, DOCTOR_WARN,
                        "UCX and NCCL talk through it within a host: a container needs a larger "
                        "one (docker --shm-size, or bind the host's)",
                        "is of %.0f MB", all_mb);
    else if (free_mb < 256)
        ant_doctor_find(doctor, DOCTOR_WARN,
                        "remove what dead jobs have left there, or ask for a larger one",
                        "only %.0f of %.0f MB are free", free_mb, all_mb);
    else
        ant_doctor_find(doctor, DOCTOR_OK, "", "%.1f GB", all_mb / 1e3);
}

void ant_doctor_time_limit(struct doctor *doctor)
{
    if (!getenv("SLURM_JOB_ID"))
        ant_doctor_find(doctor, DOCTOR_OK, "", "not a Slurm job");
    else if (getenv("SLURM_JOB_END_TIME"))
        ant_doctor_find(doctor, DOCTOR_OK, "", "known from SLURM_JOB_END_TIME");
    else
        ant_doctor_find(doctor, DOCTOR_WARN,
                        "srun of this Slurm does not say when the job ends: squeue is asked, or "
                        "give --time-limit",
                        "SLURM_JOB_END_TIME is not set");
}
