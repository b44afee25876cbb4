/* SPDX-License-Identifier: Apache-2.0 */
/* Places where a test may have the process killed: ANTIPHON_FAILPOINT=NAME, or NAME@RANK for that
 * rank alone, ends it there by SIGKILL; stop:NAME... stops it by SIGSTOP two seconds later, when
 * others know what it is at. Without the variable they do nothing. Thread: any. */
#ifndef ANT_BASE_FAILPOINT_H
#define ANT_BASE_FAILPOINT_H

void ant_failpoint(const char *name, int rank);

#endif
