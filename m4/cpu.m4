dnl SPDX-License-Identifier: Apache-2.0
dnl The instruction-set levels that the compiler can build. Which one runs is decided at run time;
dnl a level's flags are the whole feature set that its detection asks for, and only the level's own
dnl archive is compiled with them.

dnl ANT_CPU_LEVEL(NAME, FLAGS, PROLOGUE, BODY)
AC_DEFUN([ANT_CPU_LEVEL], [
  AC_MSG_CHECKING([whether $CC builds for $1])
  ant_save_CFLAGS=$CFLAGS
  CFLAGS="$CFLAGS $2"
  AC_LINK_IFELSE([AC_LANG_PROGRAM([$3], [$4])], [ant_level_$1=yes], [ant_level_$1=no])
  CFLAGS=$ant_save_CFLAGS
  AC_MSG_RESULT([$ant_level_$1])
  AS_VAR_IF([ant_level_$1], [yes], [
    AC_DEFINE([WITH_]m4_toupper([$1]), [1], [CPU kernels for $1 are built.])
    AS_VAR_APPEND([ant_levels], [" $1"])])
  AM_CONDITIONAL([WITH_]m4_toupper([$1]), [test "$ant_level_$1" = yes])
  AC_SUBST([ANT_]m4_toupper([$1])[_CFLAGS], ["$2"])
])

AC_DEFUN([ANT_CPU_LEVELS], [
  ant_levels=" c"
  ant_avx2="-mavx2 -mfma -mf16c"
  ant_avx512="$ant_avx2 -mavx512f -mavx512bw -mavx512vl -mavx512dq -mavx512cd -mavx512vnni -mavx512bf16"
  ant_amx="$ant_avx512 -mamx-tile -mamx-int8 -mamx-bf16"
  ANT_CPU_LEVEL([avx2], [$ant_avx2], [@%:@include <immintrin.h>],
    [volatile float out = _mm256_cvtss_f32(_mm256_fmadd_ps(_mm256_set1_ps(1), _mm256_set1_ps(2),
       _mm256_cvtph_ps(_mm_setzero_si128()))); return out > 3;])
  ANT_CPU_LEVEL([avx512], [$ant_avx512], [@%:@include <immintrin.h>],
    [__m512 sum = _mm512_dpbf16_ps(_mm512_set1_ps(1),
       _mm512_cvtne2ps_pbh(_mm512_set1_ps(1), _mm512_set1_ps(1)),
       _mm512_cvtne2ps_pbh(_mm512_set1_ps(1), _mm512_set1_ps(1)));
     __m512i dot = _mm512_dpbusd_epi32(_mm512_set1_epi32(1), _mm512_set1_epi8(1), _mm512_set1_epi8(1));
     return _mm512_reduce_add_ps(sum) > _mm512_reduce_add_epi32(dot);])
  ANT_CPU_LEVEL([amx], [$ant_amx], [@%:@include <immintrin.h>],
    [_tile_zero(0); _tile_dpbf16ps(0, 1, 2); _tile_dpbssd(0, 1, 2); _tile_release();])
])
