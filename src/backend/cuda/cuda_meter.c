/* SPDX-License-Identifier: Apache-2.0 */
/* What a run costs: the energy that the GPU has taken, from the driver's management library, which
 * is looked for when the program runs; and the time of each operation, between events, where the
 * backend was asked to time them. */
#include "config.h"

#include <dlfcn.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/cuda/cuda.h"
#include "base/log.h"
#include "base/mem.h"

/* ---- energy ---------------------------------------------------------------------------------- */

/* The few functions of libnvidia-ml that are needed; all return 0 for success. */
struct ant_cuda_energy {
    void *library, *device;
    int (*shutdown)(void);
    int (*total)(void *device, unsigned long long *millijoules); /* since the driver was loaded */
    unsigned long long first;
};

static bool open_energy(struct ant_cuda_energy *energy, const char *unit)
{
    int (*init)(void), (*find)(const char *uuid, void **device);

    energy->library = dlopen("libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL);
    if (!energy->library)
        return false;
    *(void **)&init = dlsym(energy->library, "nvmlInit_v2");
    *(void **)&find = dlsym(energy->library, "nvmlDeviceGetHandleByUUID");
    *(void **)&energy->total = dlsym(energy->library, "nvmlDeviceGetTotalEnergyConsumption");
    *(void **)&energy->shutdown = dlsym(energy->library, "nvmlShutdown");
    if (!init || !find || !energy->total || !energy->shutdown || init() != 0) {
        energy->shutdown = NULL;
        return false;
    }
    return find(unit, &energy->device) == 0 && energy->total(energy->device, &energy->first) == 0;
}

static void close_energy(struct ant_cuda_energy *energy)
{
    if (!energy)
        return;
    if (energy->shutdown)
        energy->shutdown();
    if (energy->library)
        dlclose(energy->library);
    free(energy);
}

/* Since the backend was opened; 0: not known. */
static double joules(const struct ant_cuda_energy *energy)
{
    unsigned long long now;

    if (!energy || energy->total(energy->device, &now) != 0)
        return 0;
    return (double)(now - energy->first) * 1e-3;
}

/* ---- times of operations --------------------------------------------------------------------- */

/* The end of an operation, which is the beginning of the next. */
struct mark {
    cudaEvent_t event;
    int operation; /* whose time this ends; -1: none, a step begins */
};

/* Written by the thread that takes steps, read by any: a name before its number is counted. */
struct timed_operation {
    char name[sizeof(((struct ant_operation *)0)->name)];
    _Atomic double seconds;
};

struct ant_cuda_marks {
    struct mark *items; /* (n_made) events are made once and used again in each step */
    int n, n_made;
    struct timed_operation operations[ANT_MAX_OPERATIONS];
    atomic_int n_operations;
};

static void add_mark(struct cuda_backend *cuda, int operation)
{
    struct ant_cuda_marks *marks = cuda->marks;

    if (marks->n == marks->n_made) {
        marks->items = ant_xrealloc(marks->items, (size_t)marks->n_made + 1, sizeof(struct mark));
        if (cudaEventCreate(&marks->items[marks->n_made].event) != cudaSuccess)
            return;
        marks->n_made++;
    }
    marks->items[marks->n].operation = operation;
    cudaEventRecord(marks->items[marks->n++].event, cuda->stream);
}

void ant_cuda_mark_begin(struct cuda_backend *cuda)
{
    if (!cuda->marks)
        return;
    cuda->marks->n = 0;
    add_mark(cuda, -1);
}

/* What an operation is called among the times: without its rows and its layer, but with the shape
 * of a product. The last of too many stands for all others. */
static int find_operation(struct ant_cuda_marks *marks, const char *what)
{
    const char *shape = strstr(what, " with "), *end = strstr(what, " of ");
    struct timed_operation *all = marks->operations;
    int n = atomic_load_explicit(&marks->n_operations, memory_order_relaxed), i = 0;
    char name[sizeof(all->name)];

    snprintf(name, sizeof(name), "%.*s%s", (int)(end ? end - what : (ptrdiff_t)strlen(what)), what,
             shape ? shape + 5 : "");
    while (i < n && strcmp(all[i].name, name) != 0)
        i++;
    if (i == ANT_MAX_OPERATIONS)
        return i - 1;
    if (i == n) {
        memcpy(all[i].name, name, sizeof(name));
        atomic_store_explicit(&marks->n_operations, n + 1, memory_order_release);
    }
    return i;
}

void ant_cuda_mark(struct cuda_backend *cuda, const char *what)
{
    if (cuda->marks)
        add_mark(cuda, find_operation(cuda->marks, what));
}

void ant_cuda_mark_end(struct cuda_backend *cuda)
{
    struct ant_tally *tally = &cuda->tally;

    for (int i = 1; cuda->marks && i < cuda->marks->n; i++) {
        const struct mark *mark = &cuda->marks->items[i];
        struct timed_operation *operation = &cuda->marks->operations[mark->operation];
        _Atomic double *class = strstr(operation->name, "product")     ? &tally->seconds_gemm
                                : strstr(operation->name, "attention") ? &tally->seconds_attention
                                                                       : &tally->seconds_other;
        float ms = 0;
        cudaEventElapsedTime(&ms, mark[-1].event, mark->event);
        ant_tally_add(&operation->seconds, (double)ms * 1e-3);
        ant_tally_add(class, (double)ms * 1e-3);
    }
}

/* ---- both ------------------------------------------------------------------------------------ */

void ant_cuda_meter_open(struct cuda_backend *cuda, const char *unit)
{
    struct ant_cuda_energy *energy = ant_xcalloc(1, sizeof(*energy));

    if (open_energy(energy, unit)) {
        cuda->energy = energy;
    } else {
        ant_log(ANT_LOG_INFO, "cuda",
                "the GPU's energy is not counted: no libnvidia-ml.so.1 here, "
                "or it does not tell");
        close_energy(energy);
    }
    if (cuda->config.times_operations)
        cuda->marks = ant_xcalloc(1, sizeof(*cuda->marks));
}

void ant_cuda_meter_read(const struct cuda_backend *cuda, struct ant_backend_counts *counts)
{
    const struct ant_cuda_marks *marks = cuda->marks;

    counts->joules = joules(cuda->energy);
    if (!marks)
        return;
    counts->n_operations = atomic_load_explicit(&marks->n_operations, memory_order_acquire);
    for (int i = 0; i < counts->n_operations; i++) {
        struct ant_operation *to = &counts->operations[i];
        memcpy(to->name, marks->operations[i].name, sizeof(to->name));
        to->seconds = atomic_load_explicit(&marks->operations[i].seconds, memory_order_relaxed);
    }
}

void ant_cuda_meter_close(struct cuda_backend *cuda)
{
    close_energy(cuda->energy);
    for (int i = 0; cuda->marks && i < cuda->marks->n_made; i++)
        cudaEventDestroy(cuda->marks->items[i].event);
    if (cuda->marks)
        free(cuda->marks->items);
    free(cuda->marks);
}
