#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# What must hold for the built objects: wide registers are used in the archive of their
# instruction-set level alone (else the program dies on a CPU without them), and external names
# carry our prefix.
set -u
: "${TOP_SRCDIR:=$(cd "$(dirname "$0")/../.." && pwd)}"
. "$TOP_SRCDIR/tests/tap.sh"

# registers ARCHIVE PATTERN: the functions of the archive that use such a register.
registers() {
    LC_ALL=C objdump -d --no-show-raw-insn "$1" | awk -v pattern="$2" '
        /file format/ { member = $1 }
        /^[0-9a-f]+ <.*>:$/ { name = $2 }
        $0 ~ pattern && !seen[member name]++ { print member " " name }'
}

# level ARCHIVE FORBIDDEN NEEDED: an archive of kernels has none of the registers of higher levels
# and does have its own (else this test would see nothing in a wrong build either).
level() {
    [ -f "$1" ] || return 0
    empty "$1 uses no $2" "$(registers "$1" "$2" | head -n 20)"
    if [ -n "$(registers "$1" "$3" | head -n 1)" ]; then
        ok "$1 uses $3"
    else
        not_ok "$1 uses $3" "not one such register found"
    fi
}

if ! command -v objdump >/dev/null; then
    skip objdump "registers of the instruction-set levels" "no objdump"
elif [ "$(uname -m)" != x86_64 ]; then
    skip x86_64 "registers of the instruction-set levels" "not an x86-64 machine"
else
    case " ${ANT_CFLAGS:-} " in
    *" -march="* | *" -mavx"* | *" -mtune=native "*)
        skip portable "no wide registers in libantiphon.a" "CFLAGS ask for them: $ANT_CFLAGS" ;;
    *)
        empty "libantiphon.a uses no %[yzt]mm" \
            "$(registers libantiphon.a '%[yzt]mm' | head -n 20)" ;;
    esac
    level libkernels_avx2.a '%[zt]mm' '%ymm'
    level libkernels_avx512.a '%tmm' '%zmm'
    level libkernels_amx.a '%nomm' '%tmm'
fi

if command -v nm >/dev/null; then
    # Names with two underscores or _Z are the compiler's (sanitizers, C++ in .cu files).
    empty "external names carry our prefix" "$(
        for archive in libantiphon.a libkernels_*.a; do
            [ ! -f "$archive" ] || nm -g --defined-only "$archive" 2>/dev/null
        done | awk 'NF == 3 && $3 !~ /^(ant_|kern_|__|_Z)/ { print $3 }'
    )"
else
    skip nm "external names carry our prefix" "no nm"
fi

done_testing
