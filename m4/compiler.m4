dnl SPDX-License-Identifier: Apache-2.0
dnl Flags of our own, kept apart from the user's CFLAGS: warnings, sanitizers, fuzzing.

dnl ANT_TRY_FLAG(VARIABLE, FLAG): append FLAG to VARIABLE where the compiler knows it.
AC_DEFUN([ANT_TRY_FLAG], [
  ant_save_CFLAGS=$CFLAGS
  CFLAGS="$CFLAGS -Werror $2"
  AC_MSG_CHECKING([whether $CC accepts $2])
  AC_LINK_IFELSE([AC_LANG_PROGRAM([], [])],
    [AC_MSG_RESULT([yes])
     AS_VAR_APPEND([$1], [" $2"])],
    [AC_MSG_RESULT([no])])
  CFLAGS=$ant_save_CFLAGS
])

AC_DEFUN([ANT_COMPILER], [
  AC_ARG_ENABLE([werror], [AS_HELP_STRING([--enable-werror], [warnings end the build])],
    [], [enable_werror=no])
  AC_ARG_ENABLE([sanitizers], [AS_HELP_STRING([--enable-sanitizers=LIST],
    [build with -fsanitize=LIST: address,undefined or thread])], [], [enable_sanitizers=no])
  AC_ARG_ENABLE([fuzzing], [AS_HELP_STRING([--enable-fuzzing],
    [link the fuzz targets with libFuzzer (CC=clang)])], [], [enable_fuzzing=no])

  ANT_WARNINGS=
  m4_foreach_w([ant_flag], [-Wall -Wextra -Wvla -Wstrict-prototypes -Wmissing-prototypes
    -Wpointer-arith -Wwrite-strings -Wundef -Wshadow
    -Wno-missing-field-initializers], [ANT_TRY_FLAG([ANT_WARNINGS], ant_flag)])
  NVCC_WARNINGS=
  AS_IF([test "$enable_werror" = yes],
    [AS_VAR_APPEND([ANT_WARNINGS], [" -Werror"])
     NVCC_WARNINGS="-Werror all-warnings"])
  AC_SUBST([ANT_WARNINGS])
  AC_SUBST([NVCC_WARNINGS])

  dnl A product and a sum must not become one rounding where a compiler feels like it: results
  dnl would depend on the compiler and differ between instruction-set levels.
  ANT_MATH_CFLAGS=
  ANT_TRY_FLAG([ANT_MATH_CFLAGS], [-ffp-contract=off])
  AC_SUBST([ANT_MATH_CFLAGS])

  SANITIZE_FLAGS=
  AS_IF([test "$enable_sanitizers" = yes], [enable_sanitizers=address,undefined])
  AS_IF([test "$enable_sanitizers" != no],
    [SANITIZE_FLAGS="-fsanitize=$enable_sanitizers -fno-omit-frame-pointer -fno-sanitize-recover=all"])
  FUZZ_LDFLAGS=
  AS_IF([test "$enable_fuzzing" != no],
    [AS_VAR_APPEND([SANITIZE_FLAGS], [" -fsanitize=fuzzer-no-link"])
     FUZZ_LDFLAGS=-fsanitize=fuzzer])
  AS_IF([test -n "$SANITIZE_FLAGS"], [
    AC_MSG_CHECKING([whether $CC links with $SANITIZE_FLAGS])
    ant_save_CFLAGS=$CFLAGS
    CFLAGS="$CFLAGS $SANITIZE_FLAGS"
    AC_LINK_IFELSE([AC_LANG_PROGRAM([], [])], [AC_MSG_RESULT([yes])],
      [AC_MSG_RESULT([no])
       AC_MSG_ERROR([$CC cannot build with $SANITIZE_FLAGS])])
    CFLAGS=$ant_save_CFLAGS
  ])
  AC_SUBST([SANITIZE_FLAGS])
  AC_SUBST([FUZZ_LDFLAGS])
  AM_CONDITIONAL([FUZZING], [test "$enable_fuzzing" != no])

  ANT_LINK_FLAGS=
  ANT_TRY_FLAG([ANT_LINK_FLAGS], [-Wl,--as-needed])
  AC_SUBST([ANT_LINK_FLAGS])
])
