dnl SPDX-License-Identifier: Apache-2.0
dnl How every outside library is looked for.

dnl ANT_SEARCH(NAME, VAR, CANDIDATES, PROLOGUE, BODY, [EXTRA-CPPFLAGS], [EXTRA-LIBS])
dnl Try each candidate in turn until a program of PROLOGUE and BODY links:
dnl   pkg:MODULE[+MODULE...]        what pkg-config says of these modules
dnl   dir:DIR:-lA[,-lB...]          DIR/include, DIR/lib or DIR/lib64
dnl   plain:-lA[,-lB...]            the compiler's own paths (CPATH, LIBRARY_PATH of a module)
dnl On success sets have_NAME=yes, VAR_CPPFLAGS, VAR_LIBS and found_NAME (a text for people).
AC_DEFUN([ANT_SEARCH], [
  have_$1=no
  ant_save_CPPFLAGS=$CPPFLAGS
  ant_save_LIBS=$LIBS
  for ant_candidate in $3; do
    case $ant_candidate in #(
      pkg:*)
        ant_modules=`AS_ECHO(["$ant_candidate"]) | $SED 's/^pkg://; s/+/ /g'`
        test -n "$PKG_CONFIG" && $PKG_CONFIG --exists $ant_modules 2>/dev/null || continue
        $2_CPPFLAGS=`$PKG_CONFIG --cflags $ant_modules`
        $2_LIBS=`$PKG_CONFIG --libs $ant_modules`
        found_$1=`$PKG_CONFIG --modversion $ant_modules | $SED 1q` ;; #(
      dir:*)
        ant_dir=`AS_ECHO(["$ant_candidate"]) | $SED 's/^dir://; s/:[[^:]]*$//'`
        test -d "$ant_dir/include" || continue
        ant_libdir=$ant_dir/lib
        test ! -d "$ant_dir/lib64" || ant_libdir=$ant_dir/lib64
        $2_CPPFLAGS=-I$ant_dir/include
        test "$ant_dir" != /usr || $2_CPPFLAGS=
        $2_LIBS="-L$ant_libdir -Wl,-rpath,$ant_libdir `AS_ECHO(["$ant_candidate"]) | $SED 's/.*://; s/,/ /g'`"
        found_$1="in $ant_dir" ;; #(
      plain:*)
        $2_CPPFLAGS=
        $2_LIBS=`AS_ECHO(["$ant_candidate"]) | $SED 's/^plain://; s/,/ /g'`
        found_$1="on the compiler's paths" ;;
    esac
    dnl As system headers: our warnings are not for them.
    $2_CPPFLAGS=`AS_ECHO(["$[]$2_CPPFLAGS $6"]) | $SED 's/^-I/-isystem /; s/ -I/ -isystem /g'`
    $2_LIBS="$[]$2_LIBS $7"
    CPPFLAGS="$ant_save_CPPFLAGS $[]$2_CPPFLAGS"
    LIBS="$[]$2_LIBS $ant_save_LIBS"
    AC_LINK_IFELSE([AC_LANG_PROGRAM([$4], [$5])], [have_$1=yes])
    test "$have_$1" = no || break
  done
  CPPFLAGS=$ant_save_CPPFLAGS
  LIBS=$ant_save_LIBS
  AS_IF([test "$have_$1" = no], [
    $2_CPPFLAGS=
    $2_LIBS=
    found_$1=no])
])

dnl ANT_CANDIDATES(NAME, MODULES, LIBS): ant_candidates for ANT_SEARCH from --with-NAME.
dnl A DIR given by the user is the only place looked in.
AC_DEFUN([ANT_CANDIDATES], [
  ant_candidates=
  case $with_$1 in #(
    check|yes)
      for ant_module in $2; do
        AS_VAR_APPEND([ant_candidates], [" pkg:$ant_module"])
      done
      AS_VAR_APPEND([ant_candidates], [" plain:$3"]) ;; #(
    *)
      ant_candidates="dir:$with_$1:$3" ;;
  esac
])

dnl ANT_WITH(NAME, TEXT): the option --with-NAME[=DIR], "check" when not given.
AC_DEFUN([ANT_WITH],
  [AC_ARG_WITH([$1], [AS_HELP_STRING([--with-$1@<:@=DIR@:>@], [$2])], [], [with_$1=check])])

dnl ANT_LIBRARY(NAME, VAR, TEXT, MODULES, LIBS, PROLOGUE, BODY)
dnl An optional library: --with-NAME[=DIR], HAVE_VAR in config.h and as automake conditional.
AC_DEFUN([ANT_LIBRARY], [
  ANT_WITH([$1], [$3])
  have_$1=no
  found_$1="no (--without-$1)"
  AS_IF([test "$with_$1" != no], [
    AC_MSG_CHECKING([for $1])
    ANT_CANDIDATES([$1], [$4], [$5])
    ANT_SEARCH([$1], [$2], [$ant_candidates], [$6], [$7])
    AC_MSG_RESULT([$found_$1])
  ])
  ANT_INSISTED([$1])
  AS_IF([test "$have_$1" = yes], [AC_DEFINE([HAVE_$2], [1], [Built with $1.])])
  AM_CONDITIONAL([HAVE_$2], [test "$have_$1" = yes])
  AC_SUBST([$2_CPPFLAGS])
  AC_SUBST([$2_LIBS])
])

dnl ANT_INSISTED(NAME): what the user asked for by name and is not there ends configure.
AC_DEFUN([ANT_INSISTED], [
  AS_IF([test "$have_$1" = no && test "$with_$1" != no && test "$with_$1" != check],
    [AC_MSG_ERROR([--with-$1=$with_$1 was given, but $1 cannot be used from there (see config.log)])])
])

dnl ANT_REQUIRED(NAME, VAR, MODULE, DEBIAN-PACKAGE), ANT_REQUIRED_END
dnl Libraries that must be there; all that are missing are named at once.
AC_DEFUN([ANT_REQUIRED], [
  PKG_CHECK_MODULES([$2], [$3], [found_$1=`$PKG_CONFIG --modversion "$3" | $SED 1q`],
    [AS_VAR_APPEND([ant_missing], [" $1"])
     AS_VAR_APPEND([ant_missing_packages], [" $4"])])
])
AC_DEFUN([ANT_REQUIRED_END], [
  AC_SEARCH_LIBS([pthread_create], [pthread], [], [AS_VAR_APPEND([ant_missing], [" pthread"])])
  AC_SEARCH_LIBS([dlopen], [dl], [], [AS_VAR_APPEND([ant_missing], [" libdl"])])
  AC_SEARCH_LIBS([expf], [m], [], [AS_VAR_APPEND([ant_missing], [" libm"])])
  AS_IF([test -n "$ant_missing"],
    [AC_MSG_ERROR([required and not found:$ant_missing (Debian: apt-get install$ant_missing_packages; elsewhere set PKG_CONFIG_PATH)])])
])
