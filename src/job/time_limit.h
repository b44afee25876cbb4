/* SPDX-License-Identifier: Apache-2.0 */
/* How long this job may run. Thread: any. */
#ifndef ANT_JOB_TIME_LIMIT_H
#define ANT_JOB_TIME_LIMIT_H

#include "base/error.h"

/* Seconds of a time as Slurm writes it: M, M:S, H:M:S, D-H, D-H:M, D-H:M:S. Anything else is
 * ANT_EUSAGE. */
int ant_time_parse(double *seconds, const char *text, struct ant_error *err);

/* Seconds left to the allocation around this process, INFINITY where there is none or it has no
 * end. SLURM_JOB_END_TIME says it, else squeue is asked, which may take `patience` seconds;
 * ANT_EPEER if it has no answer. One rank should ask. */
int ant_time_left(double *seconds, double patience, struct ant_error *err);

#endif
