/* SPDX-License-Identifier: Apache-2.0 */
/* What this build is: for --version and for the provenance of results.
 * Thread: any. */
#ifndef ANT_BASE_VERSION_H
#define ANT_BASE_VERSION_H

extern const char ant_version[];          /* "0.1.0" */
extern const char ant_version_commit[];   /* "bc7721b5b832", "-dirty" behind it, or "unknown" */
extern const char ant_version_features[]; /* "parallel-hdf5 pmix ucx cuda nccl avx2 avx512 amx" */
extern const char ant_version_compiler[]; /* "gcc 12.2.0" */
extern const char ant_version_options[];  /* the arguments of configure */

#endif
