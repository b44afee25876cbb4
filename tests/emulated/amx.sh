#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Level amx on a machine without AMX: kernel tests, backend tests and the golden answers of the tiny
# checkpoints over the level's own sources, with tiles in memory (tests/emulated/amx.c).
set -u
: "${TOP_SRCDIR:=$(cd "$(dirname "$0")/../.." && pwd)}"
. "$TOP_SRCDIR/tests/tap.sh"
unset ANTIPHON_CPU
log=$(mktemp "${TMPDIR:-/tmp}/antiphon-emulated.XXXXXX") || exit 99
trap 'rm -f "$log"' EXIT

# check WHAT PROGRAM COMMAND...: a command that runs the program; what it says counts if it fails.
check() {
    what="$1, AMX emulated"
    program=$2
    shift 2
    if [ ! -x "$program" ]; then
        skip emulated "$what" "not built: no cmocka, or a compiler without AMX"
    elif "$@" >"$log" 2>&1; then
        ok "$what"
    else
        not_ok "$what" "$(grep -v '^ok ' "$log" | tail -n 40)"
    fi
}

if ! grep -q '^flags.* avx512_bf16' /proc/cpuinfo; then
    skip avx512_bf16 "level amx, emulated" "this CPU has no AVX-512 with BF16 to emulate it with"
else
    cd tests/emulated || exit 99
    check "kernels" ./test_cpu_dsp ./test_cpu_dsp
    check "backend" ./test_cpu_backend ./test_cpu_backend amx
    check "golden answers" ./answers sh "$TOP_SRCDIR/tests/golden/tiny.sh" ./answers
fi
done_testing
