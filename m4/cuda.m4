dnl SPDX-License-Identifier: Apache-2.0
dnl The CUDA toolkit: nvcc for kernels/cuda/*.cu, libcudart and libcublasLt to link with.
dnl --with-cuda-arch takes the list of compute capabilities; PTX is kept of the newest one
dnl without a letter behind it (only that runs on later GPUs).

AC_DEFUN([ANT_CUDA_GENCODE], [
  ant_ptx= ant_sm90a=no
  NVCC_GENCODE=
  for ant_arch in $with_cuda_arch; do
    AS_VAR_APPEND([NVCC_GENCODE], [" -gencode=arch=compute_$ant_arch,code=sm_$ant_arch"])
    case $ant_arch in #(
      90a) ant_sm90a=yes ;; #(
      *@<:@a-z@:>@) ;; #(
      *) test "${ant_ptx:-0}" -ge "$ant_arch" || ant_ptx=$ant_arch ;;
    esac
  done
  test -z "$ant_ptx" ||
    AS_VAR_APPEND([NVCC_GENCODE], [" -gencode=arch=compute_$ant_ptx,code=compute_$ant_ptx"])
])

AC_DEFUN([ANT_CUDA], [
  ANT_WITH([cuda], [computing on NVIDIA GPUs])
  AC_ARG_WITH([cuda-arch], [AS_HELP_STRING([--with-cuda-arch=LIST],
    [compute capabilities to build kernels for @<:@"80 90a"@:>@])],
    [ant_arch_given=yes], [ant_arch_given=no; with_cuda_arch="80 90a"])
  AC_ARG_VAR([NVCC], [CUDA compiler])
  AC_ARG_VAR([NVCCFLAGS], [flags for the CUDA compiler @<:@-O3@:>@])
  : ${NVCCFLAGS=-O3}

  have_cuda=no
  found_cuda="no (--without-cuda)"
  AS_IF([test "$with_cuda" != no], [
    ant_path=$PATH$PATH_SEPARATOR/usr/local/cuda/bin
    case $with_cuda in #(
      check|yes) ;; #(
      *) ant_path=$with_cuda/bin ;;
    esac
    AC_PATH_PROG([NVCC], [nvcc], [], [$ant_path])
    found_cuda="no (no nvcc)"
    AS_IF([test -n "$NVCC"], [
      ANT_CUDA_GENCODE
      CUDA_HOME=`AS_ECHO(["$NVCC"]) | $SED 's|/bin/nvcc$||'`
      AC_MSG_CHECKING([whether $NVCC builds for $with_cuda_arch])
      AS_ECHO(["__global__ void f(int *p) { *p = 1; }"]) >conftest.cu
      AS_IF([AC_TRY_COMMAND([$NVCC $NVCC_GENCODE -c conftest.cu -o conftest.cu.o >&AS_MESSAGE_LOG_FD 2>&1])],
        [ant_nvcc_works=yes], [ant_nvcc_works=no])
      rm -f conftest.cu conftest.cu.o
      AC_MSG_RESULT([$ant_nvcc_works])
      AS_IF([test "$ant_nvcc_works$ant_arch_given" = noyes],
        [AC_MSG_ERROR([$NVCC does not build for --with-cuda-arch="$with_cuda_arch" (see config.log)])])
      found_cuda="no (nvcc does not build for $with_cuda_arch)"
      AS_IF([test "$ant_nvcc_works" = yes], [
        AC_MSG_CHECKING([for the CUDA libraries])
        ANT_SEARCH([cuda], [CUDA], ["dir:$CUDA_HOME:-lcublasLt,-lcudart" plain:-lcublasLt,-lcudart],
          [@%:@include <cuda_runtime_api.h>
@%:@include <cublasLt.h>],
          [cublasLtHandle_t handle; cudaSetDevice(0); return cublasLtCreate(&handle);])
        AC_MSG_RESULT([$found_cuda])
        AS_IF([test "$have_cuda" = yes],
          [found_cuda="`$NVCC --version | $SED -n 's/.*release \(@<:@0-9.@:>@*\).*/\1/p'`, for $with_cuda_arch"])
      ])
    ])
  ])
  ANT_INSISTED([cuda])
  AS_IF([test "$have_cuda" = yes],
    [AC_DEFINE([HAVE_CUDA], [1], [Built with cuda.])
     AS_IF([test "$ant_sm90a" = yes],
       [AC_DEFINE([HAVE_SM90A], [1], [Kernels are built for Hopper's own instructions, too.])])
     dnl What nvcc's host code may leave to the C++ runtime; dropped when unused.
     AS_VAR_APPEND([CUDA_LIBS], [" -lstdc++"])])
  AM_CONDITIONAL([HAVE_CUDA], [test "$have_cuda" = yes])
  AC_SUBST([CUDA_HOME])
  AC_SUBST([NVCC_GENCODE])
  AC_SUBST([CUDA_CPPFLAGS])
  AC_SUBST([CUDA_LIBS])
])
