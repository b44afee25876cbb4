/* SPDX-License-Identifier: Apache-2.0 */
/* What the doctor looks at of GPUs: one a rank, a driver that serves them, and NCCL between them.
 */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "cli/doctor.h"

/* ---- one a rank ------------------------------------------------------------------------------ */

static bool is_asked_for(void)
{
    const char *visible = getenv("CUDA_VISIBLE_DEVICES");

    return (visible && *visible) || getenv("SLURM_GPUS_ON_NODE") || getenv("SLURM_STEP_GPUS");
}

static int find_twin(const struct doctor *doctor, const struct doctor_gpu *all)
{
    for (int i = 0; i < doctor->size; i++)
        if (i != doctor->rank && all[i].is_there &&
            strcmp(all[i].gpu.uuid, all[doctor->rank].gpu.uuid) == 0)
            return i;
    return -1;
}

/* The first rank that has a GPU; -1: none has. */
static int first_with_gpu(const struct doctor *doctor, const struct doctor_gpu *all)
{
    for (int i = 0; i < doctor->size; i++)
        if (all[i].is_there)
            return i;
    return -1;
}

static void judge_none(struct doctor *doctor, const struct doctor_gpu *mine, int other)
{
    if (mine->is_asked)
        ant_doctor_find(doctor, DOCTOR_FAIL,
                        "the job was given GPUs but cannot use them: see the reason", "none: %s",
                        mine->why);
    else if (other >= 0)
        ant_doctor_find(doctor, DOCTOR_FAIL,
                        "ask for as many GPUs as ranks (srun --gpus-per-task=1), or use none "
                        "(--backend cpu)",
                        "none, while rank %d has one: %s", other, mine->why);
    else
        ant_doctor_find(doctor, DOCTOR_OK, "", "none: %s", mine->why);
}

void ant_doctor_judge_gpus(struct doctor *doctor, const struct doctor_gpu *all)
{
    const struct doctor_gpu *mine = &all[doctor->rank];
    const struct ant_gpu *gpu = &mine->gpu;
    int other = first_with_gpu(doctor, all), twin;

    if (!mine->is_there)
        judge_none(doctor, mine, other);
    else if ((twin = find_twin(doctor, all)) >= 0)
        ant_doctor_find(doctor, DOCTOR_FAIL,
                        "give each rank a GPU of its own (srun --gpus-per-task=1) or start fewer "
                        "ranks",
                        "%s (%s) is also that of rank %d", gpu->name, gpu->uuid, twin);
    else if (strcmp(gpu->name, all[other].gpu.name) != 0)
        ant_doctor_find(doctor, DOCTOR_WARN,
                        "ask for one kind (--constraint, --gres=gpu:KIND): answers may differ "
                        "between kinds, and the slowest one ends last",
                        "%s, while rank %d has %s", gpu->name, other, all[other].gpu.name);
    else if (gpu->free_bytes < 0.9 * gpu->total_bytes)
        ant_doctor_find(doctor, DOCTOR_WARN,
                        "something else is on it: nvidia-smi shows what; the cache will be smaller",
                        "%s, only %.0f of %.0f GB are free", gpu->name, gpu->free_bytes / 1e9,
                        gpu->total_bytes / 1e9);
    else
        ant_doctor_find(doctor, DOCTOR_OK, "", "%s, %.0f GB, one a rank", gpu->name,
                        gpu->total_bytes / 1e9);
}

static bool each_has_one(const struct doctor *doctor, const struct doctor_gpu *all)
{
    for (int i = 0; i < doctor->size; i++) {
        if (!all[i].is_there)
            return false;
        for (int k = 0; k < i; k++)
            if (strcmp(all[i].gpu.uuid, all[k].gpu.uuid) == 0)
                return false;
    }
    return true;
}

void ant_doctor_gpu(struct doctor *doctor)
{
    struct doctor_gpu *all = ant_xcalloc((size_t)doctor->size, sizeof(*all)), *mine = &doctor->gpu;
    struct ant_error err = {{0}};

    mine->is_asked = is_asked_for();
    mine->is_there = ant_gpu_look(&mine->gpu, doctor->cards[doctor->rank].local_rank, &err) == 0;
    snprintf(mine->why, sizeof(mine->why), "%.159s", err.text);
    if (ant_doctor_share(doctor, mine, sizeof(*mine), all, &err) < 0) {
        ant_doctor_find(doctor, DOCTOR_FAIL, "see the line about UCX", "%.200s", err.text);
    } else {
        ant_doctor_judge_gpus(doctor, all);
        doctor->may_sum = each_has_one(doctor, all);
    }
    free(all);
}

/* ---- the driver ------------------------------------------------------------------------------ */

/* Within one major version an older driver runs the kernels that the program holds for its GPU, but
 * compiles none that were made by a newer toolkit. */
void ant_doctor_judge_driver(struct doctor *doctor, const struct doctor_gpu *gpu)
{
    int driver = gpu->gpu.driver, runtime = gpu->gpu.runtime;

    if (runtime == 0)
        ant_doctor_find(doctor, DOCTOR_OK, "", "none is needed without CUDA");
    else if (driver == 0)
        ant_doctor_find(doctor, gpu->is_asked ? DOCTOR_FAIL : DOCTOR_OK,
                        gpu->is_asked ? "load the nvidia driver on the node; a container needs it "
                                        "passed in (apptainer --nv)"
                                      : "",
                        "no NVIDIA driver");
    else if (driver / 1000 < runtime / 1000)
        ant_doctor_find(doctor, DOCTOR_FAIL,
                        "build with a CUDA toolkit that the driver serves, or load the module "
                        "cuda-compat, or have the driver updated",
                        "serves CUDA %d.%d, the program needs %d.%d", driver / 1000,
                        driver % 1000 / 10, runtime / 1000, runtime % 1000 / 10);
    else if (driver < runtime)
        ant_doctor_find(doctor, DOCTOR_WARN,
                        "works on kinds of GPU that the program was built for; else have the "
                        "driver updated",
                        "serves CUDA %d.%d, the program was built with %d.%d", driver / 1000,
                        driver % 1000 / 10, runtime / 1000, runtime % 1000 / 10);
    else
        ant_doctor_find(doctor, DOCTOR_OK, "", "serves CUDA %d.%d, the program needs %d.%d",
                        driver / 1000, driver % 1000 / 10, runtime / 1000, runtime % 1000 / 10);
}

void ant_doctor_driver(struct doctor *doctor)
{
    ant_doctor_judge_driver(doctor, &doctor->gpu);
}

/* ---- NCCL ------------------------------------------------------------------------------------ */

#define SUM_BYTES ((size_t)64 << 20)

void ant_doctor_judge_sum(struct doctor *doctor, double seconds, double bytes)
{
    const struct ant_card *card = &doctor->cards[doctor->rank];
    bool is_one_host = card->local_size == doctor->size;
    double each = 2.0 * (doctor->size - 1) / doctor->size * bytes / seconds, least = 10e9;

    if (is_one_host && each < least)
        ant_doctor_find(doctor, DOCTOR_WARN,
                        "GPUs do not reach each other directly: NCCL_DEBUG=INFO says which way it "
                        "goes, nvidia-smi topo -m what there is",
                        "version %s: sums are right, but go at %.1f GB/s a GPU",
                        ant_device_group_version(), each / 1e9);
    else
        ant_doctor_find(doctor, DOCTOR_OK, "",
                        "version %s: sums of all GPUs are right, at %.1f GB/s a GPU",
                        ant_device_group_version(), each / 1e9);
}

/* The first rank's NCCL id for all. */
static int share_id(struct doctor *doctor, struct ant_device_id *out, struct ant_error *err)
{
    struct ant_device_id mine = {0}, *all = ant_xcalloc((size_t)doctor->size, sizeof(*all));
    int made = doctor->rank == 0 ? ant_device_id_make(&mine, err) : 0;
    struct ant_error why;

    int rc = ant_doctor_share(doctor, &mine, sizeof(mine), all, &why);
    *out = all[0];
    free(all);
    return made < 0 ? made : rc < 0 ? ant_fail(err, ANT_EPEER, "%s", why.text) : 0;
}

/* Every rank tells the time of the slowest, so that all say the same. */
static int slowest(struct doctor *doctor, double *seconds, struct ant_error *err)
{
    double *all = ant_xcalloc((size_t)doctor->size, sizeof(*all));
    int rc = ant_doctor_share(doctor, seconds, sizeof(*seconds), all, err);

    for (int i = 0; i < doctor->size; i++)
        *seconds = all[i] > *seconds ? all[i] : *seconds;
    free(all);
    return rc;
}

void ant_doctor_sum(struct doctor *doctor)
{
    struct ant_device_id id;
    struct ant_error err = {{0}}, why;
    double seconds = 0;

    if (!doctor->may_sum || doctor->size == 1) {
        ant_doctor_find(doctor, DOCTOR_OK, "", "not tried: %s",
                        doctor->size == 1 ? "one rank needs none"
                                          : "not every rank has a GPU of its own");
        return;
    }
    int rc = share_id(doctor, &id, &err);
    if (rc == 0)
        rc = ant_gpu_try_sum(&seconds, SUM_BYTES, &id, doctor->rank, doctor->size,
                             doctor->cards[doctor->rank].local_rank, doctor->settings.timeout / 2,
                             &err);
    int told = slowest(doctor, &seconds, &why);
    if (rc == ANT_EUNSUPP)
        ant_doctor_find(doctor, DOCTOR_WARN,
                        "--tp-size and --pp-size need it: configure --with-nccl", "%.200s",
                        err.text);
    else if (rc < 0 || told < 0 || seconds <= 0)
        ant_doctor_find(doctor, DOCTOR_FAIL,
                        "NCCL_DEBUG=INFO says more; NCCL_SOCKET_IFNAME and NCCL_IB_HCA name what "
                        "it may use",
                        "%.200s", rc < 0 ? err.text : why.text);
    else
        ant_doctor_judge_sum(doctor, seconds, (double)SUM_BYTES);
}
