/* SPDX-License-Identifier: Apache-2.0 */
/* Writing the results file: the order of events. All ranks take each step together and agree on
 * its outcome before the next, so that a failure of one is everybody's error and nobody waits. */
#include "config.h"

#include "store/results.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/statvfs.h>
#include <unistd.h>

#ifdef HAVE_PARALLEL_HDF5
#include <mpi.h>
#endif

#include "base/checksum.h"
#include "base/deadline.h"
#include "base/failpoint.h"
#include "base/log.h"
#include "base/mem.h"
#include "store/results_file.h"

/* Beside the columns: superblock, headers, attributes, alignment. */
enum { METADATA_BYTES = 32 << 20 };

/* ---- MPI ------------------------------------------------------------------------------------- */

#ifdef HAVE_PARALLEL_HDF5
#if defined(OMPI_MAJOR_VERSION) && OMPI_MAJOR_VERSION >= 5
enum { OMPI_5 = true };
#else
enum { OMPI_5 = false };
#endif

static bool mpi_is_ours;

/* While Open MPI starts and ends, a rank looks every 100 us whether the others have come. Where
 * many share a core that takes most of it from those they wait for; a lazy timer makes it 2 ms. */
static unsigned long begin_lazy_waits(void)
{
    int slack = prctl(PR_GET_TIMERSLACK, 0, 0, 0, 0);

    prctl(PR_SET_TIMERSLACK, 2000000UL, 0, 0, 0);
    return slack > 0 ? (unsigned long)slack : 0; /* 0: back to the thread's default */
}

static void end_lazy_waits(unsigned long slack)
{
    prctl(PR_SET_TIMERSLACK, slack, 0, 0, 0);
}

static int start_mpi(int n_ranks, struct ant_error *err)
{
    int is_there = 0, provided = 0;

    MPI_Initialized(&is_there);
    if (is_there)
        return 0;
    /* Open MPI's ranks spin while they wait; where some share a core that stops those they wait
     * for. It moves nothing here whose speed depends on it. */
    setenv("OMPI_MCA_mpi_yield_when_idle", "1", 0);
    unsigned long slack = begin_lazy_waits();
    int status = MPI_Init_thread(NULL, NULL, MPI_THREAD_FUNNELED, &provided);
    end_lazy_waits(slack);
    if (status != MPI_SUCCESS)
        return ant_fail(err, ANT_EPEER,
                        "MPI does not start: without it %d ranks cannot write one results file",
                        n_ranks);
    mpi_is_ours = true;
    return 0;
}

int ant_store_start_first(int n_ranks, struct ant_error *err)
{
    return OMPI_5 && n_ranks > 1 ? start_mpi(n_ranks, err) : 0;
}

int ant_store_start(int world_size, struct ant_error *err)
{
    int size = 0;

    ant_h5_start();
    if (world_size == 1)
        return 0;
    ANT_TRY(start_mpi(world_size, err));
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    if (size != world_size)
        return ant_fail(err, ANT_EUSAGE,
                        "MPI counts %d ranks where there are %d: it was built for another launcher",
                        size, world_size);
    return 0;
}

void ant_store_stop(void)
{
    if (mpi_is_ours) {
        unsigned long slack = begin_lazy_waits();
        MPI_Finalize();
        end_lazy_waits(slack);
    }
    mpi_is_ours = false;
}

/* "Open MPI 4.1.4" out of what the library says of itself. */
static void mpi_version(char *out, size_t bytes)
{
    char text[MPI_MAX_LIBRARY_VERSION_STRING] = "";
    int length = 0;

    MPI_Get_library_version(text, &length);
    text[strcspn(text, ",\n")] = '\0';
    char *v = strstr(text, " v");
    if (v)
        memmove(v + 1, v + 2, strlen(v + 2) + 1);
    snprintf(out, bytes, ", MPI-IO of %.100s", text);
}

static int access_by_mpi(hid_t access, struct ant_error *err)
{
    int is_there = 0;

    MPI_Initialized(&is_there);
    if (!is_there || H5Pset_fapl_mpio(access, MPI_COMM_WORLD, MPI_INFO_NULL) < 0)
        return ant_fail(err, ANT_EBUG, "MPI-IO is asked for before MPI was started");
    return 0;
}
#else
int ant_store_start_first(int n_ranks, struct ant_error *err)
{
    (void)n_ranks, (void)err;
    return 0;
}

int ant_store_start(int world_size, struct ant_error *err)
{
    ant_h5_start();
    if (world_size > 1)
        return ant_fail(err, ANT_EUNSUPP,
                        "this build has no parallel HDF5: it can run as one process, not as %d",
                        world_size);
    return 0;
}

void ant_store_stop(void)
{
}

static void mpi_version(char *out, size_t bytes)
{
    snprintf(out, bytes, ", serial");
}

static int access_by_mpi(hid_t access, struct ant_error *err)
{
    (void)access;
    return ant_fail(err, ANT_EUNSUPP, "this build has no parallel HDF5");
}
#endif

const char *ant_store_versions(void)
{
    static char text[160];
    char mpi[128];
    unsigned major = 0, minor = 0, release = 0;

    H5get_libversion(&major, &minor, &release);
    mpi_version(mpi, sizeof(mpi));
    snprintf(text, sizeof(text), "HDF5 %u.%u.%u%s", major, minor, release, mpi);
    return text;
}

/* ---- space ----------------------------------------------------------------------------------- */

int ant_results_check_space(const char *path, int64_t bytes, struct ant_error *err)
{
    const char *slash = strrchr(path, '/');
    char *folder = slash ? ant_xstrndup(path, (size_t)(slash - path) + 1) : ant_xstrdup(".");
    double needed = (double)bytes + METADATA_BYTES;
    struct statvfs fs;
    int rc = 0;

    if (statvfs(folder, &fs) < 0) {
        rc = ant_fail(err, errno == ENOENT ? ANT_ENOENT : ANT_EIO,
                      "cannot write '%s': folder '%s': %s", path, folder, strerror(errno));
    } else {
        double there = (double)fs.f_bavail * (double)fs.f_frsize;
        if (there < needed)
            rc = ant_fail(err, ANT_EIO,
                          "'%s' needs %.1f MB, the file system of '%s' has %.1f MB free", path,
                          needed / 1e6, folder, there / 1e6);
    }
    free(folder);
    return rc;
}

/* ---- the steps ------------------------------------------------------------------------------- */

/* Enough for a slow file system (5 MB/s and rank is slow), and then some. */
#define LEAST_TIMEOUT_S     900.0
#define SLOW_BYTES_A_SECOND 5e6

struct writer {
    const struct ant_results_plan *plan;
    struct ant_prompts *prompts;
    struct ant_group *world; /* NULL: alone */
    int rank, size;
    double timeout;
    char *part; /* owned */
    struct ant_results_layout layout;
    hid_t file;
    struct ant_results_slice *slice;
    struct ant_results_seal seals[ANT_N_COLUMNS]; /* of this rank's slice, then of all */
};

static int agree(const struct writer *w, int rc, struct ant_error *err)
{
    return w->world ? ant_group_agree(w->world, rc, w->timeout, err) : rc;
}

/* Of what each rank does by itself it matters whose disk or journal it was. */
static int agree_on_slice(const struct writer *w, int rc, struct ant_error *err)
{
    if (rc < 0 && w->world)
        ant_fail_in(err, rc, "rank %d", w->rank);
    return agree(w, rc, err);
}

/* What ranks tell each other before anything is written. */
struct notes {
    struct ant_digest plan;
    int64_t id_width, id_bytes;
};

/* Cut the slices; no rank knows yet how long the ids of others are. */
static int plan_slices(struct writer *w, struct ant_results_ids *ids, struct notes *mine,
                       struct ant_error *err)
{
    const struct ant_results_plan *plan = w->plan;

    ANT_TRY(ant_results_lay_out(&w->layout, plan, w->rank, w->size, err));
    int64_t input_rows = plan->shard.count > 0 ? plan->shard.input_rows : plan->n_rows;
    if (w->prompts && ant_prompts_count(w->prompts) != input_rows)
        return ant_fail(err, ANT_EBUG, "'%s': %lld rows for %lld prompts", plan->path,
                        (long long)input_rows, (long long)ant_prompts_count(w->prompts));
    ANT_TRY(ant_results_measure_ids(ids, &w->layout, plan, w->prompts, err));
    mine->plan = ant_digest(plan->entries, plan->n_entries * sizeof(*plan->entries));
    mine->id_width = ids->width;
    mine->id_bytes = ids->n;
    return 0;
}

static int share_notes(struct writer *w, struct ant_results_ids *ids, const struct notes *mine,
                       struct ant_error *err)
{
    struct notes *all = ant_xcalloc((size_t)w->size, sizeof(*all));
    int rc = 0;

    all[0] = *mine;
    if (w->world)
        rc = ant_group_all_gather(w->world, mine, sizeof(*mine), all, w->timeout, err);
    for (int i = 0; i < w->size && rc == 0; i++) {
        if (all[i].plan.low != all[0].plan.low || all[i].plan.high != all[0].plan.high)
            rc = ant_fail(err, ANT_EBUG, "'%s': rank %d has another plan than rank 0",
                          w->plan->path, i);
        if (i == w->rank)
            ids->first = ids->bytes;
        ids->bytes += all[i].id_bytes;
        if (all[i].id_width > ids->width)
            ids->width = all[i].id_width;
    }
    free(all);
    if (rc == 0)
        ant_results_lay_out_ids(&w->layout, ids, w->rank == w->size - 1);
    return rc;
}

static int create_part(struct writer *w, struct ant_error *err)
{
    if (w->rank != 0)
        return 0;
    unlink(w->part); /* of an earlier try; its space comes back */
    ANT_TRY(ant_results_check_space(w->plan->path, ant_results_bytes(&w->layout), err));
    return ant_results_file_create(w->part, w->plan, &w->layout, err);
}

/* Collective. */
static int open_part(struct writer *w, struct ant_error *err)
{
    if (w->size == 1)
        return ant_h5_open(&w->file, w->part, true, "", err);
    hid_t access = H5Pcreate(H5P_FILE_ACCESS);
    int rc = access_by_mpi(access, err);
    if (rc == 0)
        w->file = H5Fopen(w->part, H5F_ACC_RDWR, access);
    H5Pclose(access);
    if (rc == 0 && w->file < 0)
        return ant_h5_fail(err, ANT_EIO, "cannot open '%s' by MPI-IO", w->part);
    return rc;
}

static int write_slice(struct writer *w, struct ant_error *err)
{
    ANT_TRY(
        ant_results_slice_open(&w->slice, w->file, w->part, w->plan, &w->layout, w->prompts, err));
    return ant_results_slice_write(w->slice, err);
}

/* Collective. */
static int flush_part(struct writer *w, struct ant_error *err)
{
    if (H5Fflush(w->file, H5F_SCOPE_GLOBAL) < 0)
        return ant_h5_fail(err, ANT_EIO, "cannot flush '%s'", w->part);
    return 0;
}

/* Collective. */
static int close_part(struct writer *w, struct ant_error *err)
{
    ant_results_slice_close(w->slice);
    w->slice = NULL;
    if (ant_h5_close(w->file) < 0)
        return ant_h5_fail(err, ANT_EIO, "cannot close '%s'", w->part);
    return 0;
}

/* With the file open on all ranks. A first failure outlives what closing has to say. */
static int fill_part(struct writer *w, struct ant_error *err)
{
    struct ant_error ignored;
    int rc = agree_on_slice(w, write_slice(w, err), err);

    ant_failpoint("merge-written", w->rank);
    if (rc == 0)
        rc = agree(w, flush_part(w, err), err);
    if (rc == 0) /* by every rank: what its host keeps for later only it can write */
        rc = agree_on_slice(w, ant_results_file_sync(w->part, err), err);
    if (rc == 0)
        rc = agree_on_slice(w, ant_results_slice_verify(w->slice, err), err);
    ant_failpoint("merge-verified", w->rank);
    for (int c = 0; c < ANT_N_COLUMNS && rc == 0; c++)
        w->seals[c] = (struct ant_results_seal){w->layout.columns[c].name,
                                                ant_results_slice_crc(w->slice, c)};
    if (rc == 0)
        return agree(w, close_part(w, err), err);
    if (rc != ANT_EPEER) /* closing would wait for the rank that is gone */
        close_part(w, &ignored);
    return rc;
}

/* The checksums of whole columns, out of those of all slices. */
static int join_seals(struct writer *w, struct ant_error *err)
{
    struct sums {
        uint32_t crc[ANT_N_COLUMNS];
        int64_t bytes[ANT_N_COLUMNS];
    } mine = {{0}, {0}}, *all;
    int rc = 0;

    for (int c = 0; c < ANT_N_COLUMNS; c++) {
        const struct ant_results_column *column = &w->layout.columns[c];
        mine.crc[c] = w->seals[c].crc;
        mine.bytes[c] = column->n * (int64_t)column->width;
    }
    if (!w->world)
        return 0;
    all = ant_xcalloc((size_t)w->size, sizeof(*all));
    rc = ant_group_all_gather(w->world, &mine, sizeof(mine), all, w->timeout, err);
    for (int c = 0; c < ANT_N_COLUMNS && rc == 0; c++) {
        w->seals[c].crc = 0;
        for (int i = 0; i < w->size; i++)
            w->seals[c].crc =
                ant_crc32c_combine(w->seals[c].crc, all[i].crc[c], (uint64_t)all[i].bytes[c]);
    }
    free(all);
    return rc;
}

static int write_results(struct writer *w, struct ant_error *err)
{
    struct ant_results_ids ids = {0};
    struct notes mine = {0};

    ANT_TRY(agree(w, plan_slices(w, &ids, &mine, err), err));
    ANT_TRY(share_notes(w, &ids, &mine, err));
    ant_failpoint("merge-begun", w->rank);
    ANT_TRY(agree(w, create_part(w, err), err));
    ant_failpoint("merge-created", w->rank);
    ANT_TRY(agree(w, open_part(w, err), err));
    ANT_TRY(fill_part(w, err));
    ANT_TRY(join_seals(w, err));
    ant_failpoint("merge-closed", w->rank);
    int rc = w->rank == 0 ? ant_results_file_publish(w->part, w->plan->path, w->seals,
                                                     ANT_N_COLUMNS, w->layout.n_missing == 0, err)
                          : 0;
    ant_failpoint("merge-published", w->rank);
    return agree(w, rc, err);
}

/* ---- deadline -------------------------------------------------------------------------------- */

/* A collective of MPI on a file system that hangs never comes back. Agreements have their own
 * deadlines; this one ends the job when nothing else does. */
static void end_job(void *data)
{
    const struct writer *w = data;
    const char *path = w->plan->path;

    ant_log(ANT_LOG_ERROR, "results",
            "writing '%s' hangs; all answers are in '%s.journal', the same command goes on there",
            path, path);
    if (ant_die_hook)
        ant_die_hook(ANT_EXIT_TEMPORARY);
    _exit(ANT_EXIT_TEMPORARY);
}

int ant_results_write(const struct ant_results_plan *plan, struct ant_prompts *prompts,
                      struct ant_group *world, int64_t *n_ok, int64_t *n_failed,
                      struct ant_error *err)
{
    struct writer w = {.plan = plan, .prompts = prompts, .size = 1, .file = H5I_INVALID_HID};
    struct ant_deadline deadline;
    double bytes = 0;

    if (world && ant_group_size(world) > 1) {
        w.world = world;
        w.rank = ant_group_rank(world);
        w.size = ant_group_size(world);
    }
    for (size_t i = 0; i < plan->n_entries; i++)
        bytes += plan->entries[i].length;
    w.timeout = LEAST_TIMEOUT_S + bytes / SLOW_BYTES_A_SECOND;
    w.part = ant_xasprintf("%s.part", plan->path);
    ant_h5_start();
    if (w.world)
        ant_deadline_start(&deadline, w.timeout, end_job, &w);
    int rc = write_results(&w, err);
    if (w.world)
        ant_deadline_stop(&deadline);
    if (rc < 0 && w.rank == 0)
        unlink(w.part);
    free(w.part);
    if (rc < 0)
        return rc;
    *n_ok = w.layout.n_ok;
    *n_failed = w.layout.n_failed;
    return 0;
}

/* ---- a try ----------------------------------------------------------------------------------- */

enum { TRY_CELLS = 16384 }; /* of each rank */

static int create_try(const struct writer *w, struct ant_error *err)
{
    hsize_t n = (hsize_t)TRY_CELLS * (hsize_t)w->size;
    hid_t file = H5I_INVALID_HID;

    if (w->rank != 0)
        return 0;
    ANT_TRY(ant_results_file_begin(&file, w->part, err));
    hid_t creation = H5Pcreate(H5P_DATASET_CREATE), space = H5Screate_simple(1, &n, NULL);
    H5Pset_alloc_time(creation, H5D_ALLOC_TIME_EARLY);
    hid_t data = H5Dcreate2(file, "try", H5T_NATIVE_INT, space, H5P_DEFAULT, creation, H5P_DEFAULT);
    int rc = data < 0 ? ant_h5_fail(err, ANT_EIO, "cannot make a dataset in '%s'", w->part) : 0;
    ant_h5_close(data);
    ant_h5_close(space);
    ant_h5_close(creation);
    if (ant_h5_close(file) < 0 && rc == 0)
        rc = ant_h5_fail(err, ANT_EIO, "cannot write '%s'", w->part);
    return rc;
}

/* This rank's cells, there and back. */
static int move_try(const struct writer *w, struct ant_error *err)
{
    hsize_t first = (hsize_t)TRY_CELLS * (hsize_t)w->rank, n = TRY_CELLS;
    int *cells = ant_xcalloc(TRY_CELLS, sizeof(*cells));
    hid_t data = H5Dopen2(w->file, "try", H5P_DEFAULT), whole = H5Dget_space(data);
    hid_t part = H5Screate_simple(1, &n, NULL);
    int rc = 0, wrong = 0;

    for (int i = 0; i < TRY_CELLS; i++)
        cells[i] = (int)first + i;
    H5Sselect_hyperslab(whole, H5S_SELECT_SET, &first, NULL, &n, NULL);
    if (H5Dwrite(data, H5T_NATIVE_INT, part, whole, H5P_DEFAULT, cells) < 0)
        rc = ant_h5_fail(err, ANT_EIO, "cannot write '%s'", w->part);
    memset(cells, 0, TRY_CELLS * sizeof(*cells));
    if (rc == 0 && H5Dread(data, H5T_NATIVE_INT, part, whole, H5P_DEFAULT, cells) < 0)
        rc = ant_h5_fail(err, ANT_EIO, "cannot read '%s' back", w->part);
    for (int i = 0; i < TRY_CELLS && rc == 0; i++)
        wrong += cells[i] != (int)first + i;
    if (wrong > 0)
        rc = ant_fail(err, ANT_EIO, "'%s': %d of %d numbers were read back otherwise", w->part,
                      wrong, TRY_CELLS);
    ant_h5_close(part);
    ant_h5_close(whole);
    ant_h5_close(data);
    free(cells);
    return rc;
}

int ant_results_try(const char *path, struct ant_group *world, double timeout,
                    struct ant_error *err)
{
    struct writer w = {.size = 1, .file = H5I_INVALID_HID, .timeout = timeout};

    if (world && ant_group_size(world) > 1) {
        w.world = world;
        w.rank = ant_group_rank(world);
        w.size = ant_group_size(world);
    }
    w.part = ant_xstrdup(path);
    int rc = agree(&w, create_try(&w, err), err);
    if (rc == 0)
        rc = agree(&w, open_part(&w, err), err);
    if (rc == 0) {
        rc = agree_on_slice(&w, move_try(&w, err), err);
        if (rc != ANT_EPEER && ant_h5_close(w.file) < 0 && rc == 0)
            rc = ant_h5_fail(err, ANT_EIO, "cannot close '%s'", w.part);
        rc = agree(&w, rc, err);
    }
    if (w.rank == 0)
        unlink(w.part);
    free(w.part);
    return rc;
}
