/* SPDX-License-Identifier: Apache-2.0 */
/* What calls.c knows of a group beyond group.h. Internal to src/job. */
#ifndef ANT_JOB_GROUP_INTERNAL_H
#define ANT_JOB_GROUP_INTERNAL_H

#include "job/group.h"
#include "job/watch.h"

/* Messages of a group beside its collectives, each kind under tags of its own. */
enum ant_line { ANT_LINE_MESSAGE, ANT_LINE_CALL, ANT_LINE_ANSWER, ANT_N_LINES };
uint64_t ant_group_tag(const struct ant_group *group, enum ant_line line, int source);

struct ant_watch *ant_group_watch(struct ant_group *group); /* borrowed */

#endif
