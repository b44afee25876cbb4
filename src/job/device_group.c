/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "job/device_group.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/mem.h"

#ifdef HAVE_NCCL
#include <nccl.h>

/* Taking an operation is a matter of microseconds, but for a peer that has to connect first. */
static const double take_seconds = 60;

struct ant_device_group {
    ncclComm_t comm;
    const char *what;
    int n;
};

_Static_assert(sizeof(ncclUniqueId) <= sizeof(((struct ant_device_id *)0)->bytes),
               "an NCCL id fits");

const char *ant_device_group_version(void)
{
    static char text[32];
    int version = 0;

    if (ncclGetVersion(&version) != ncclSuccess)
        return "";
    snprintf(text, sizeof(text), "%d.%d.%d", version / 10000, version / 100 % 100, version % 100);
    return text;
}

int ant_device_id_make(struct ant_device_id *out, struct ant_error *err)
{
    ncclUniqueId id;
    ncclResult_t result = ncclGetUniqueId(&id);

    *out = (struct ant_device_id){0};
    if (result != ncclSuccess)
        return ant_fail(err, ANT_EDEVICE, "NCCL cannot start: %s", ncclGetErrorString(result));
    memcpy(out->bytes, &id, sizeof(id));
    out->is_made = 1;
    return 0;
}

static int fail(const struct ant_device_group *group, const char *what, ncclResult_t result,
                struct ant_error *err)
{
    const char *cause = group->comm ? ncclGetLastError(group->comm) : "";
    bool is_peer = result == ncclRemoteError || result == ncclSystemError;

    return ant_fail(err, is_peer ? ANT_EPEER : ANT_EDEVICE, "%s of %d GPUs (%s): %s%s%s", what,
                    group->n, group->what, ncclGetErrorString(result), cause && *cause ? ": " : "",
                    cause ? cause : "");
}

/* Communicators do not block: what was asked for is under way until this says otherwise. */
static int settle(const struct ant_device_group *group, const char *what, ncclResult_t result,
                  double timeout, struct ant_error *err)
{
    const struct timespec nap = {0, 100000};
    double until = ant_now() + timeout;

    while (result == ncclInProgress && ant_now() < until) {
        if (ncclCommGetAsyncError(group->comm, &result) != ncclSuccess)
            result = ncclInternalError;
        if (result == ncclInProgress && timeout > take_seconds)
            nanosleep(&nap, NULL);
    }
    if (result == ncclInProgress)
        return ant_fail(err, ANT_EPEER, "%s of %d GPUs (%s): not all ranks have come for %.0f s",
                        what, group->n, group->what, timeout);
    return result == ncclSuccess ? 0 : fail(group, what, result, err);
}

int ant_device_group_open(struct ant_device_group **out, const struct ant_device_id *id, int rank,
                          int n, const char *what, double timeout, struct ant_error *err)
{
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    ncclUniqueId unique;

    if (!id->is_made)
        return ant_fail(err, ANT_EDEVICE,
                        "the first rank of the %s could not start NCCL: its log says why "
                        "(NCCL_DEBUG=WARN)",
                        what);
    struct ant_device_group *group = ant_xcalloc(1, sizeof(*group));
    group->what = what;
    group->n = n;
    config.blocking = 0;
    memcpy(&unique, id->bytes, sizeof(unique));
    ncclResult_t result = ncclCommInitRankConfig(&group->comm, n, unique, rank, &config);
    int rc = settle(group, "start", result, timeout, err);
    if (rc < 0) {
        if (group->comm)
            ncclCommAbort(group->comm);
        free(group);
        return rc;
    }
    *out = group;
    return 0;
}

/* Without a farewell: whoever is left has no more to say. */
void ant_device_group_close(struct ant_device_group *group)
{
    if (!group)
        return;
    ncclCommAbort(group->comm);
    free(group);
}

void *ant_device_group_comm(const struct ant_device_group *group)
{
    return group->comm;
}

int ant_device_group_all_reduce(struct ant_device_group *group, float *data, size_t n, void *stream,
                                struct ant_error *err)
{
    ncclResult_t result = ncclAllReduce(data, data, n, ncclFloat, ncclSum, group->comm, stream);

    return settle(group, "all-reduce", result, take_seconds, err);
}

int ant_device_group_send(struct ant_device_group *group, int to, const float *data, size_t n,
                          void *stream, struct ant_error *err)
{
    ncclResult_t result = ncclSend(data, n, ncclFloat, to, group->comm, stream);

    return settle(group, "send", result, take_seconds, err);
}

int ant_device_group_receive(struct ant_device_group *group, int from, float *data, size_t n,
                             void *stream, struct ant_error *err)
{
    ncclResult_t result = ncclRecv(data, n, ncclFloat, from, group->comm, stream);

    return settle(group, "receive", result, take_seconds, err);
}

int ant_device_group_exchange(struct ant_device_group *group, const struct ant_device_piece *pieces,
                              int n, void *stream, struct ant_error *err)
{
    ncclResult_t result = ncclGroupStart(), end;

    for (int i = 0; i < n && result == ncclSuccess; i++) {
        const struct ant_device_piece *piece = &pieces[i];
        if (piece->out_bytes > 0)
            result = ncclSend(piece->out, piece->out_bytes, ncclInt8, piece->member, group->comm,
                              stream);
        if (piece->in_bytes > 0 && result == ncclSuccess)
            result =
                ncclRecv(piece->in, piece->in_bytes, ncclInt8, piece->member, group->comm, stream);
    }
    end = ncclGroupEnd();
    return settle(group, "exchange", result == ncclSuccess ? end : result, take_seconds, err);
}

int ant_device_group_broadcast(struct ant_device_group *group, int root, void *data, size_t bytes,
                               void *stream, struct ant_error *err)
{
    ncclResult_t result =
        ncclBroadcast(data, data, bytes, ncclInt8, root, group->comm, (cudaStream_t)stream);

    return settle(group, "broadcast", result, take_seconds, err);
}

#else

const char *ant_device_group_version(void)
{
    return "";
}

int ant_device_id_make(struct ant_device_id *out, struct ant_error *err)
{
    *out = (struct ant_device_id){0};
    return ant_fail(err, ANT_EUNSUPP, "this program was built without NCCL");
}

int ant_device_group_open(struct ant_device_group **out, const struct ant_device_id *id, int rank,
                          int n, const char *what, double timeout, struct ant_error *err)
{
    (void)out, (void)id, (void)rank, (void)timeout;
    return ant_fail(err, ANT_EUNSUPP,
                    "%s of %d GPUs: this program was built without NCCL, configure it --with-nccl",
                    what, n);
}

void ant_device_group_close(struct ant_device_group *group)
{
    (void)group;
}

void *ant_device_group_comm(const struct ant_device_group *group)
{
    (void)group;
    return NULL;
}

static int refuse(struct ant_error *err)
{
    return ant_fail(err, ANT_EBUG, "a device group without NCCL");
}

int ant_device_group_all_reduce(struct ant_device_group *group, float *data, size_t n, void *stream,
                                struct ant_error *err)
{
    (void)group, (void)data, (void)n, (void)stream;
    return refuse(err);
}

int ant_device_group_send(struct ant_device_group *group, int to, const float *data, size_t n,
                          void *stream, struct ant_error *err)
{
    (void)group, (void)to, (void)data, (void)n, (void)stream;
    return refuse(err);
}

int ant_device_group_receive(struct ant_device_group *group, int from, float *data, size_t n,
                             void *stream, struct ant_error *err)
{
    (void)group, (void)from, (void)data, (void)n, (void)stream;
    return refuse(err);
}

int ant_device_group_exchange(struct ant_device_group *group, const struct ant_device_piece *pieces,
                              int n, void *stream, struct ant_error *err)
{
    (void)group, (void)pieces, (void)n, (void)stream;
    return refuse(err);
}

int ant_device_group_broadcast(struct ant_device_group *group, int root, void *data, size_t bytes,
                               void *stream, struct ant_error *err)
{
    (void)group, (void)root, (void)data, (void)bytes, (void)stream;
    return refuse(err);
}

#endif
