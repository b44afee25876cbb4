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
    [ -z "$2" ] || empty "$1 uses no $2" "$(registers "$1" "$2" | head -n 20)"
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
elif case " ${ANT_CFLAGS:-} " in *" -march="* | *" -mavx"*) ;; *) false ;; esac; then
    skip portable "registers of the instruction-set levels" "CFLAGS ask for wide ones: $ANT_CFLAGS"
else
    empty "libantiphon.a uses no %[yzt]mm" "$(registers libantiphon.a '%[yzt]mm' | head -n 20)"
    for archive in ${ANT_KERNEL_ARCHIVES:-}; do
        case $archive in
        *_avx2.a) level "$archive" '%[zt]mm' '%ymm' ;;
        *_avx512.a) level "$archive" '%tmm' '%zmm' ;;
        *_amx.a) level "$archive" '' '%tmm' ;;
        *) not_ok "$archive is of a known level" "this test must be told its registers" ;;
        esac
    done
    [ -n "${ANT_KERNEL_ARCHIVES:-}" ] ||
        skip levels "registers of the instruction-set levels" "no level above C is built"
fi

if command -v nm >/dev/null; then
    # Names with two underscores or _Z are the compiler's (sanitizers, C++ in .cu files).
    empty "external names carry our prefix" "$(
        # shellcheck disable=SC2086  # a list of archives
        nm -g --defined-only libantiphon.a ${ANT_KERNEL_ARCHIVES:-} | awk 'NF == 3 && $3 !~ /^(ant_|antiphon_|kern_|__|_Z)/ { print $3 }'
    )"
else
    skip nm "external names carry our prefix" "no nm"
fi

done_testing
