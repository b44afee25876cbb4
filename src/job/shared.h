/* SPDX-License-Identifier: Apache-2.0 */
/* One block of memory for all ranks of a host, so that weights are held once a node.
 *
 * The block is an anonymous memory file (memfd) of the group's first rank that the others open
 * through /proc/PID/fd: it has no name, needs no room in /dev/shm, and the kernel frees it when the
 * last rank is gone, however it went. Where that is not possible (ranks in PID namespaces of their
 * own, say) every rank gets private memory and `is_shared` is false. Thread: control. Errors:
 * ANT_ENOMEM, ANT_EPEER. */
#ifndef ANT_JOB_SHARED_H
#define ANT_JOB_SHARED_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "job/group.h"

struct ant_shared {
    void *memory; /* (bytes), zeroed, page-aligned */
    size_t bytes;
    bool is_shared;
};

/* Collective over `node`, the ranks of one host; NULL or a group of one: private memory. */
int ant_shared_open(struct ant_shared *out, struct ant_group *node, size_t bytes, const char *what,
                    struct ant_error *err);
void ant_shared_close(struct ant_shared *shared); /* legal on a zeroed struct */

#endif
