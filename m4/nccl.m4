dnl SPDX-License-Identifier: Apache-2.0
dnl NCCL is of use with CUDA only, and is often installed beside it.
AC_DEFUN([ANT_NCCL], [
  ANT_WITH([nccl], [device memory between processes through NCCL (needs CUDA)])
  have_nccl=no
  found_nccl="no (--without-nccl)"
  AS_IF([test "$with_nccl" != no && test "$have_cuda" = no], [found_nccl="no (needs CUDA)"],
    [test "$with_nccl" != no], [
    AC_MSG_CHECKING([for nccl])
    ANT_CANDIDATES([nccl], [nccl], [-lnccl])
    case $with_nccl in #(
      check|yes) ant_candidates="pkg:nccl dir:$CUDA_HOME:-lnccl plain:-lnccl" ;;
    esac
    ANT_SEARCH([nccl], [NCCL], [$ant_candidates], [@%:@include <nccl.h>],
      [ncclUniqueId id; return ncclGetUniqueId(&id);], [$CUDA_CPPFLAGS])
    AC_MSG_RESULT([$found_nccl])
  ])
  ANT_INSISTED([nccl])
  AS_IF([test "$have_nccl" = yes], [AC_DEFINE([HAVE_NCCL], [1], [Built with nccl.])])
  AM_CONDITIONAL([HAVE_NCCL], [test "$have_nccl" = yes])
  AC_SUBST([NCCL_CPPFLAGS])
  AC_SUBST([NCCL_LIBS])
])
