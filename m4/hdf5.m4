dnl SPDX-License-Identifier: Apache-2.0
dnl HDF5, parallel if there is one together with the MPI it was built with, else serial.
dnl MPI serves HDF5 alone, so its flags are part of HDF5's. Where pkg-config knows a matching
dnl pair that pair is taken; a bare HDF5 is paired with what the MPI compiler wrapper says.

AC_DEFUN([ANT_HDF5_MPI_WRAPPER], [
  AC_ARG_VAR([MPICC], [MPI compiler wrapper asked for the flags of the MPI that HDF5 was built with])
  AC_CHECK_PROGS([MPICC], [mpicc mpiicx mpiicc cc], [])
  ant_mpi_cppflags=
  ant_mpi_libs=
  AS_IF([test -n "$MPICC"], [
    AS_IF([ant_mpi_cppflags=`$MPICC --showme:compile 2>/dev/null`],
      [ant_mpi_libs=`$MPICC --showme:link 2>/dev/null`],
      [ant_flags=`$MPICC -show 2>/dev/null | $SED 's/^[[^ ]]* *//'`], [
      for ant_flag in $ant_flags; do
        case $ant_flag in #(
          -I*|-D*) AS_VAR_APPEND([ant_mpi_cppflags], [" $ant_flag"]) ;; #(
          -L*|-l*|-Wl,*) AS_VAR_APPEND([ant_mpi_libs], [" $ant_flag"]) ;;
        esac
      done
    ])
  ])
])

AC_DEFUN([ANT_HDF5], [
  ANT_WITH([hdf5], [prompts and results in HDF5, parallel or serial])
  AS_IF([test "$with_hdf5" = no], [AC_MSG_ERROR([HDF5 is required: --without-hdf5 cannot be built])])
  AC_ARG_WITH([mpi], [AS_HELP_STRING([--without-mpi], [use a serial HDF5: one process only])],
    [], [with_mpi=check])

  have_hdf5=no
  have_parallel_hdf5=no
  AS_IF([test "$with_mpi" != no], [
    ANT_HDF5_MPI_WRAPPER
    AC_MSG_CHECKING([for parallel hdf5])
    m4_define([ant_hdf5_prologue], [@%:@include <hdf5.h>
@%:@ifndef H5_HAVE_PARALLEL
@%:@error serial
@%:@endif])
    m4_define([ant_hdf5_body], [MPI_Init(0, 0);
      return H5Pset_fapl_mpio(0, MPI_COMM_WORLD, MPI_INFO_NULL);])
    case $with_hdf5 in #(
      check|yes)
        ANT_SEARCH([hdf5], [HDF5],
          [pkg:hdf5-openmpi+ompi-c pkg:hdf5-mpich+mpich pkg:hdf5-mpi+mpi-c],
          [ant_hdf5_prologue], [ant_hdf5_body]) ;;
    esac
    AS_IF([test "$have_hdf5" = no], [
      ANT_CANDIDATES([hdf5], [hdf5], [-lhdf5])
      ANT_SEARCH([hdf5], [HDF5], [$ant_candidates], [ant_hdf5_prologue], [ant_hdf5_body],
        [$ant_mpi_cppflags], [$ant_mpi_libs])
    ])
    have_parallel_hdf5=$have_hdf5
    AC_MSG_RESULT([$found_hdf5])
  ])
  AS_IF([test "$have_hdf5" = no], [
    AC_MSG_CHECKING([for serial hdf5])
    ANT_CANDIDATES([hdf5], [hdf5-serial hdf5], [-lhdf5])
    ANT_SEARCH([hdf5], [HDF5], [$ant_candidates], [@%:@include <hdf5.h>
@%:@ifdef H5_HAVE_PARALLEL
@%:@error parallel
@%:@endif], [return H5open();])
    AC_MSG_RESULT([$found_hdf5])
  ])
  ANT_INSISTED([hdf5])
  AS_IF([test "$have_hdf5" = no],
    [AS_VAR_APPEND([ant_missing], [" hdf5"])
     AS_VAR_APPEND([ant_missing_packages], [" libhdf5-openmpi-dev"])])
  AS_IF([test "$have_parallel_hdf5" = yes],
    [AC_DEFINE([HAVE_PARALLEL_HDF5], [1], [Built with a parallel HDF5, and so with MPI.])])
  AM_CONDITIONAL([HAVE_PARALLEL_HDF5], [test "$have_parallel_hdf5" = yes])
  dnl Functions with versions are those of the oldest release that is built with.
  AS_VAR_APPEND([HDF5_CPPFLAGS], [" -DH5_USE_110_API"])
  AC_SUBST([HDF5_CPPFLAGS])
  AC_SUBST([HDF5_LIBS])
])
