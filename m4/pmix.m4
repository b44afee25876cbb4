dnl SPDX-License-Identifier: Apache-2.0
AC_DEFUN([ANT_PMIX], [
  ANT_LIBRARY([pmix], [PMIX], [topology from PMIx: more than one process], [pmix], [-lpmix],
    [@%:@include <pmix.h>],
    [pmix_proc_t proc; return PMIx_Init(&proc, NULL, 0);])
])
