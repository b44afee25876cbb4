dnl SPDX-License-Identifier: Apache-2.0
dnl The last thing configure prints: what was found and what the build can and cannot do.

AC_DEFUN([ANT_SUMMARY], [
  AS_IF([test "$have_parallel_hdf5" = yes], [ant_hdf5_kind=parallel], [ant_hdf5_kind=serial])
  AS_IF([test "$have_pmix" = no && test "$have_parallel_hdf5" = no],
      [ant_processes="one process only: no PMIx and no parallel HDF5"],
    [test "$have_pmix" = no], [ant_processes="one process only: no PMIx"],
    [test "$have_parallel_hdf5" = no], [ant_processes="one process only: no parallel HDF5"],
    [test "$have_ucx" = no],
      [ant_processes="any number, each a replica of its own; no work stealing, no TP/PP/EP on CPUs: no UCX"],
      [ant_processes="any number, on any number of nodes"])
  AS_IF([test "$have_cuda" = no], [ant_gpus="none: no CUDA"],
    [test "$have_nccl" = no], [ant_gpus="NVIDIA, one a replica: no NCCL"],
      [ant_gpus="NVIDIA, several a replica"])
  AS_IF([test "$have_cmocka" = yes], [ant_tests=all], [ant_tests="without unit tests: no cmocka"])

  AS_ECHO(["
$PACKAGE_NAME $PACKAGE_VERSION, to be installed in $prefix

  compiler       $CC $CFLAGS
  HDF5           $found_hdf5 ($ant_hdf5_kind)
  PMIx           $found_pmix
  UCX            $found_ucx
  CUDA           $found_cuda
  NCCL           $found_nccl
  sanitizers     $enable_sanitizers
  fuzzing        $enable_fuzzing

What this build can do
  processes      $ant_processes
  CPU levels    $ant_levels
  GPUs           $ant_gpus
  make check     $ant_tests
"])
])
