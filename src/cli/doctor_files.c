/* SPDX-License-Identifier: Apache-2.0 */
/* What the doctor looks at where answers are written: HDF5, and the output's file system. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/file.h"
#include "base/mem.h"
#include "cli/doctor.h"
#include "store/results.h"

void ant_doctor_store(struct doctor *doctor)
{
    struct ant_error err;

    if (ant_store_start(doctor->size, &err) < 0)
        ant_doctor_find(doctor, DOCTOR_FAIL,
                        "build with a parallel HDF5 whose MPI knows this launcher", "%.200s",
                        err.text);
    else
        ant_doctor_find(doctor, DOCTOR_OK, "", "%s", ant_store_versions());
}

/* ---- the folder ------------------------------------------------------------------------------ */

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

/* Caller frees. */
static char *folder_of(const struct doctor *doctor)
{
    const char *output = doctor->settings.output ? doctor->settings.output : "./x";
    const char *slash = strrchr(output, '/');

    return slash ? ant_xstrndup(output, slash > output ? (size_t)(slash - output) : 1)
                 : ant_xstrdup(".");
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

void ant_doctor_output(struct doctor *doctor)
{
    char *folder = folder_of(doctor);
    struct ant_error err;
    struct statvfs fs = {0};
    int rc = try_folder(folder, doctor->rank, &err);

    if (rc == 0 && statvfs(folder, &fs) < 0)
        rc = ant_fail(&err, ANT_EIO, "cannot tell the free space of '%s': %s", folder,
                      strerror(errno));
    if (rc < 0) {
        ant_doctor_find(doctor, DOCTOR_FAIL, "choose a folder that every node can write to",
                        "%.200s", err.text);
        free(folder);
        return;
    }
    double room = (double)fs.f_bavail * (double)fs.f_frsize;
    if (room < 1e9)
        ant_doctor_find(
            doctor, DOCTOR_WARN, "answers need room twice, as journal and as result: free some",
            "only %.0f MB are free on %s of '%.80s'", room / 1e6, file_system(folder), folder);
    else if (fs.f_files > 0 && fs.f_favail < 1000)
        ant_doctor_find(doctor, DOCTOR_WARN, "each rank needs a few files: remove some",
                        "only %llu more files may be made on %s of '%.80s'",
                        (unsigned long long)fs.f_favail, file_system(folder), folder);
    else
        ant_doctor_find(doctor, DOCTOR_OK, "", "'%.80s' on %s can be written", folder,
                        file_system(folder));
    free(folder);
}

/* What rank 0 writes, the others see: it is not each node's own folder. A file that some ranks
 * cannot open would keep the others in MPI for ever, so nothing is written together then. */
void ant_doctor_same_folder(struct doctor *doctor)
{
    char *folder = folder_of(doctor), *seen = ant_xcalloc((size_t)doctor->size, 1), mark = 0;
    char *name = ant_xasprintf("%s/.antiphon-doctor.%ld", folder, (long)doctor->cards[0].pid);
    struct ant_error err;

    if (doctor->rank == 0)
        ant_file_write(name, "", 1, NULL);
    int rc = ant_doctor_share(doctor, &mark, 1, seen, &err);
    mark = access(name, W_OK) == 0;
    if (rc == 0)
        rc = ant_doctor_share(doctor, &mark, 1, seen, &err);
    if (doctor->rank == 0)
        unlink(name);
    doctor->has_one_folder = rc == 0 && !memchr(seen, 0, (size_t)doctor->size);
    if (rc < 0)
        ant_doctor_find(doctor, DOCTOR_FAIL, "see the line about UCX", "%.200s", err.text);
    else if (!mark)
        ant_doctor_find(doctor, DOCTOR_FAIL, "write answers to a file system that all nodes share",
                        "what rank 0 writes to '%.80s' is not there", folder);
    else
        ant_doctor_find(doctor, DOCTOR_OK, "", "all ranks see what rank 0 writes");
    free(name);
    free(seen);
    free(folder);
}

/* ---- locks and parallel writing -------------------------------------------------------------- */

static bool can_lock(const char *name, bool by_flock)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    int fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    bool can = fd >= 0 &&
               (by_flock ? flock(fd, LOCK_EX | LOCK_NB) == 0 : fcntl(fd, F_OFD_SETLK, &lock) == 0);

    if (fd >= 0)
        close(fd);
    return can;
}

/* Antiphon opens HDF5 files without locks, others lock what they read; its journals have one of
 * their own. */
void ant_doctor_locks(struct doctor *doctor)
{
    const char *setting = getenv("HDF5_USE_FILE_LOCKING");
    bool is_off = setting && (strcmp(setting, "FALSE") == 0 || strcmp(setting, "0") == 0);
    char *folder = folder_of(doctor);
    char *name =
        ant_xasprintf("%s/.antiphon-doctor.%d.%ld.lock", folder, doctor->rank, (long)getpid());
    bool whole = can_lock(name, true), range = can_lock(name, false);

    unlink(name);
    if (!whole && !is_off)
        ant_doctor_find(doctor, DOCTOR_WARN,
                        "Antiphon does without; for h5py and h5dump set "
                        "HDF5_USE_FILE_LOCKING=FALSE",
                        "'%.80s' on %s has no locks of whole files (flock)", folder,
                        file_system(folder));
    else if (!range)
        ant_doctor_find(doctor, DOCTOR_WARN,
                        "a second job that writes the same answers is noticed only after some "
                        "seconds of looking: do not start one",
                        "'%.80s' on %s has no locks (fcntl)", folder, file_system(folder));
    else
        ant_doctor_find(doctor, DOCTOR_OK, "", "work%s%s",
                        setting ? ", HDF5_USE_FILE_LOCKING is " : "", setting ? setting : "");
    free(name);
    free(folder);
}

void ant_doctor_parallel(struct doctor *doctor)
{
    if (!doctor->has_one_folder)
        return;
    char *folder = folder_of(doctor);
    char *name = ant_xasprintf("%s/.antiphon-doctor.%ld.h5", folder, (long)doctor->cards[0].pid);
    struct ant_error err;

    if (ant_results_try(name, doctor->world, doctor->settings.timeout, &err) < 0)
        ant_doctor_find(doctor, DOCTOR_FAIL,
                        "the file system or MPI's way of using it is at fault: try another "
                        "--output, or OMPI_MCA_io=romio321",
                        "%.200s", err.text);
    else
        ant_doctor_find(doctor, DOCTOR_OK, "", "all ranks wrote one HDF5 file and read it back");
    free(name);
    free(folder);
}
