#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# What cppcheck and clang-tidy have against the sources. .clang-tidy says what the one looks for; the
# other is told apart here from what it does not understand.
set -u
: "${TOP_SRCDIR:=$(cd "$(dirname "$0")/../.." && pwd)}"
: "${ANT_CC:=cc -I$TOP_SRCDIR/src -I$TOP_SRCDIR/kernels}"
. "$TOP_SRCDIR/tests/tap.sh"

cores=$(nproc 2>/dev/null || echo 1)
if command -v cppcheck >/dev/null; then
    # Functions with a range of their own in its tables (log(0) is -inf here, file -1 is none), a
    # macro of Jansson's, arrays that a loop fills, what newer ones say of their own depth.
    empty "cppcheck" "$(cppcheck --std=c11 --enable=warning,portability,performance --quiet \
        -j "$cores" --inline-suppr --library=posix -DHAVE_CONFIG_H -I. -Isrc -I"$TOP_SRCDIR/src" \
        -I"$TOP_SRCDIR/kernels" --suppress=missingIncludeSystem --suppress=invalidFunctionArg \
        --suppress=readdirCalled --suppress=unknownMacro --suppress=internalAstError \
        --suppress=uninitvar --suppress=legacyUninitvar --suppress=invalidPointerCast \
        --suppress=normalCheckLevelMaxBranches --max-configs=2 \
        --template='{file}:{line}: {message} [{id}]' \
        "$TOP_SRCDIR/src" "$TOP_SRCDIR/kernels/cpu" 2>&1)"
else
    skip cppcheck "cppcheck" "not installed"
fi
if command -v clang-tidy >/dev/null; then
    # The compiler's own flags, without its name. CUDA's files want its headers.
    flags="-std=gnu11 -Wno-everything ${ANT_CC#* }"
    # shellcheck disable=SC2086
    empty "clang-tidy" "$(find "$TOP_SRCDIR/src" -name '*.c' ! -path '*/cuda/*' -print0 |
        xargs -0 -P "$cores" -I '{}' clang-tidy --quiet --config-file="$TOP_SRCDIR/.clang-tidy" \
            '{}' -- $flags 2>/dev/null | grep -E '(warning|error):')"
else
    skip clang-tidy "clang-tidy" "not installed"
fi
done_testing
