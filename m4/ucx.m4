dnl SPDX-License-Identifier: Apache-2.0
AC_DEFUN([ANT_UCX], [
  ANT_LIBRARY([ucx], [UCX], [host memory between processes through UCX], [ucx],
    [-lucp,-lucs], [@%:@include <ucp/api/ucp.h>],
    [unsigned a, b, c; ucp_get_version(&a, &b, &c); ucp_worker_progress(NULL);])
])
