/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "job/shared.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"

/* Ranks of a host start together; reserving memory takes no time. */
#define TIMEOUT_S 120

struct offer {
    pid_t pid;
    int fd;    /* -1: none, */
    int cause; /* an errno, why */
};

static struct offer make_offer(size_t bytes)
{
    struct offer offer = {.pid = getpid(), .fd = memfd_create("antiphon-weights", MFD_CLOEXEC)};
    bool is_good = offer.fd >= 0 && ftruncate(offer.fd, (off_t)bytes) == 0;

    offer.cause = is_good ? 0 : errno;
    if (!is_good && offer.fd >= 0) {
        close(offer.fd);
        offer.fd = -1;
    }
    return offer;
}

static int open_offer(struct offer offer)
{
    char path[64];

    if (offer.fd < 0) {
        errno = offer.cause;
        return -1;
    }
    snprintf(path, sizeof(path), "/proc/%d/fd/%d", (int)offer.pid, offer.fd);
    return open(path, O_RDWR | O_CLOEXEC);
}

/* Map `fd` (closed in any case), or say why not. */
static int map_shared(void **out, int fd, size_t bytes, struct ant_error *err)
{
    int cause = errno;

    if (fd < 0)
        return ant_fail(err, ANT_EIO, "cannot open the memory of the host's first rank: %s%s",
                        strerror(cause),
                        cause == EACCES ? " (containers: apptainer wants --sharens)" : "");
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    cause = errno;
    close(fd);
    if (memory == MAP_FAILED)
        return ant_fail(err, ANT_ENOMEM, "cannot map %zu bytes: %s", bytes, strerror(cause));
    madvise(memory, bytes, MADV_HUGEPAGE);
    *out = memory;
    return 0;
}

int ant_shared_open(struct ant_shared *out, struct ant_group *node, size_t bytes, const char *what,
                    struct ant_error *err)
{
    struct ant_error why = {{0}};
    struct offer offer = {0};
    void *memory = NULL;

    *out = (struct ant_shared){.bytes = bytes};
    if (!node || ant_group_size(node) == 1)
        return ant_map_memory(&out->memory, bytes, what, err);
    bool is_first = ant_group_rank(node) == 0;
    if (is_first)
        offer = make_offer(bytes);
    ANT_TRY(ant_group_broadcast(node, 0, &offer, sizeof(offer), TIMEOUT_S, err));
    int rc = map_shared(&memory, open_offer(offer), bytes, &why);
    rc = ant_group_agree(node, rc, TIMEOUT_S,
                         &why); /* also: the first rank keeps its file open until all have it */
    if (is_first && offer.fd >= 0)
        close(offer.fd);
    if (rc == 0) {
        out->memory = memory;
        out->is_shared = true;
        return 0;
    }
    ant_unmap(memory, bytes);
    if (rc == ANT_EPEER)
        return ant_fail(err, rc, "%s", why.text);
    if (is_first)
        ant_log(ANT_LOG_WARN, "job",
                "%s are not shared by the ranks of this host, each holds its own: %s", what,
                why.text);
    return ant_map_memory(&out->memory, bytes, what, err);
}

void ant_shared_close(struct ant_shared *shared)
{
    ant_unmap(shared->memory, shared->bytes);
    *shared = (struct ant_shared){0};
}
