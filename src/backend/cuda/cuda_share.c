/* SPDX-License-Identifier: Apache-2.0 */
/* Weights from the GPU of the rank that has read them to those of all ranks that hold the same:
 * over NCCL, or over host memory where there is none. Each GPU checks what it has got. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "backend/cuda/cuda.h"
#include "base/mem.h"
#include "job/group.h"

enum { STAGE_BYTES = 32 << 20 };

/* From device to device. The group is gone before the cache takes what memory is left. */
static int send_by_devices(struct cuda_backend *cuda, const struct ant_weight_parts *parts,
                           struct ant_device_group **group, struct ant_error *err)
{
    int rank = ant_group_rank(parts->ranks), n = ant_group_size(parts->ranks);

    ANT_TRY(ant_device_group_open(group, parts->id, rank, n, "weights", parts->timeout, err));
    for (int i = 0; i < parts->n; i++) {
        const struct ant_weight_part *part = &parts->items[i];
        ANT_TRY(ant_device_group_broadcast(*group, part->from, part->data, part->bytes,
                                           cuda->load_stream, err));
    }
    return 0;
}

/* `bytes` of a part through `stage`, memory of the host. */
static int send_piece(const struct ant_weight_parts *parts, int from, void *data, size_t bytes,
                      void *stage, struct ant_error *err)
{
    bool is_mine = from == ant_group_rank(parts->ranks);

    if (is_mine)
        ANT_CUDA_TRY("cannot copy weights from the GPU",
                     cudaMemcpy(stage, data, bytes, cudaMemcpyDeviceToHost));
    ANT_TRY(ant_group_broadcast(parts->ranks, from, stage, bytes, parts->timeout, err));
    if (!is_mine)
        ANT_CUDA_TRY("cannot copy weights to the GPU",
                     cudaMemcpy(data, stage, bytes, cudaMemcpyHostToDevice));
    return 0;
}

static int send_by_hosts(struct cuda_backend *cuda, const struct ant_weight_parts *parts,
                         struct ant_error *err)
{
    void *stage = NULL;
    int rc = 0;

    ANT_CUDA_TRY("weights did not arrive on the GPU", cudaStreamSynchronize(cuda->load_stream));
    ANT_CUDA_TRY("cannot pin memory for weights", cudaHostAlloc(&stage, STAGE_BYTES, 0));
    for (int i = 0; i < parts->n && rc == 0; i++) {
        const struct ant_weight_part *part = &parts->items[i];
        for (size_t at = 0; at < part->bytes && rc == 0; at += STAGE_BYTES) {
            size_t left = part->bytes - at;
            rc = send_piece(parts, part->from, (char *)part->data + at,
                            left < STAGE_BYTES ? left : STAGE_BYTES, stage, err);
        }
    }
    cudaFreeHost(stage);
    return rc;
}

/* The digest of every part as it is on this GPU. */
static int digest_parts(struct cuda_backend *cuda, const struct ant_weight_parts *parts,
                        uint64_t *out, struct ant_error *err)
{
    size_t bytes = (size_t)parts->n * sizeof(*out);
    uint64_t *digests = NULL;

    ANT_CUDA_TRY("cannot allocate memory for checksums", cudaMalloc((void **)&digests, bytes));
    cudaError_t e = cudaMemsetAsync(digests, 0, bytes, cuda->load_stream);
    for (int i = 0; i < parts->n && e == cudaSuccess; i++)
        e = kern_digest(parts->items[i].data, parts->items[i].bytes, digests + i,
                        cuda->load_stream);
    if (e == cudaSuccess)
        e = cudaMemcpyAsync(out, digests, bytes, cudaMemcpyDeviceToHost, cuda->load_stream);
    if (e == cudaSuccess)
        e = cudaStreamSynchronize(cuda->load_stream);
    cudaFree(digests);
    ANT_CUDA_TRY("weights did not arrive on the GPU", e);
    return 0;
}

/* Is every part what the rank that has read it has? `rc` and `err`: how this rank fared so far. */
static int compare(struct cuda_backend *cuda, const struct ant_weight_parts *parts, int rc,
                   bool *damaged, struct ant_error *err)
{
    size_t n = (size_t)parts->n;
    uint64_t *mine = ant_xcalloc(n, sizeof(*mine));
    uint64_t *all = ant_xcalloc(n * (size_t)ant_group_size(parts->ranks), sizeof(*all));

    if (rc == 0)
        rc = digest_parts(cuda, parts, mine, err);
    rc = ant_group_agree(parts->ranks, rc, parts->timeout, err);
    if (rc == 0)
        rc = ant_group_all_gather(parts->ranks, mine, n * sizeof(*mine), all, parts->timeout, err);
    for (size_t i = 0; i < n && rc == 0; i++)
        *damaged = *damaged || all[(size_t)parts->items[i].from * n + i] != mine[i];
    free(mine);
    free(all);
    return rc;
}

int ant_cuda_weight_share(struct ant_backend *be, const struct ant_weight_parts *parts,
                          bool *damaged, struct ant_error *err)
{
    struct cuda_backend *cuda = cuda_of(be);
    struct ant_device_group *group = NULL;

    ANT_CUDA_TRY("cannot use the GPU", cudaSetDevice(cuda->device));
    int rc = parts->id->is_made ? send_by_devices(cuda, parts, &group, err)
                                : send_by_hosts(cuda, parts, err);
    rc = compare(cuda, parts, rc, damaged, err); /* all have all before the group is closed */
    ant_device_group_close(group);
    return rc;
}
