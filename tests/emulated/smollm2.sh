#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The real SmolLM2-135M-Instruct at level amx, on a machine without AMX too (amx.sh).
set -u
: "${TOP_SRCDIR:=$(cd "$(dirname "$0")/../.." && pwd)}"
. "$TOP_SRCDIR/tests/tap.sh"
unset ANTIPHON_CPU
program=./tests/emulated/answers
if ! grep -q '^flags.* avx512_bf16' /proc/cpuinfo; then
    skip avx512_bf16 "SmolLM2, AMX emulated" "this CPU has no AVX-512 with BF16 to emulate it with"
elif [ ! -x $program ]; then
    skip emulated "SmolLM2, AMX emulated" "not built: a compiler without AMX"
else
    exec sh "$TOP_SRCDIR/tests/golden/smollm2.sh" $program
fi
done_testing
