/* SPDX-License-Identifier: Apache-2.0 */
/* Ranks that take their steps together, because each has a part of what every step needs.
 *
 * Whoever has work begins the next step and tells the others, who take part in it, with nothing of
 * their own if need be. Where nobody has work there are no steps. A rank that has ended takes part
 * until all have. The messages say only that there is a step: what each brings is exchanged in it.
 *
 * Thread: the one that uses the group's transport. A member that dies shows in what the members do
 * together in a step, and in ant_group_attend, which is how to wait for a call. */
#ifndef ANT_JOB_COMPANY_H
#define ANT_JOB_COMPANY_H

#include "job/group.h"

struct ant_company {
    struct ant_group *group; /* borrowed; no other posts go over it */
    int64_t n_begun;         /* steps that this rank has taken part in, or does */
    int64_t n_called;        /* steps that others say they have begun */
    int n_left;              /* others that begin no more steps */
};

/* A new step begins here. The others are told, unless one of them has told this rank: all know it
 * then. */
void ant_company_begin(struct ant_company *company);
/* Has another begun a step that this rank has not? */
bool ant_company_is_called(struct ant_company *company);
/* This rank calls no more steps, but takes part in those of the others until ant_company_is_over.
 */
void ant_company_leave(struct ant_company *company);
bool ant_company_is_over(struct ant_company *company);

#endif
