#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# What must hold for the text of the sources: outside libraries each in its one place, headers that
# compile alone, files of a readable size, no unsafe string calls, everything in the tarball.
set -u
: "${TOP_SRCDIR:=$(cd "$(dirname "$0")/../.." && pwd)}"
: "${ANT_CC:=cc -I$TOP_SRCDIR/src}"
. "$TOP_SRCDIR/tests/tap.sh"

# The files of the project: those that git knows, or all that a tarball has.
files=$(
    cd "$TOP_SRCDIR" || exit 1
    if [ -e .git ] && command -v git >/dev/null; then
        git ls-files src kernels tests
    else
        find src kernels tests -type f ! -path src/base/commit.h # made by the build
    fi | grep -E '\.(c|h|cu|cuh)$' | LC_ALL=C sort | while read -r file; do
        [ ! -f "$file" ] || echo "$file"
    done
)
if [ -z "$files" ]; then
    not_ok "there are sources" "none in $TOP_SRCDIR"
    done_testing
    exit 1
fi

# search PATTERN [FOLDER]: matching lines of the sources, with file and line number.
search() {
    (cd "$TOP_SRCDIR" && printf '%s\n' "$files" | grep -E "^${2:-}" |
        xargs grep -nHE -e "$1" 2>/dev/null)
}

# quarantine NAME HEADERS PLACES: headers (a regular expression) are included there alone.
quarantine() {
    empty "$1 is included in its place alone" "$(
        search "^[[:space:]]*#[[:space:]]*include[[:space:]]*[<\"]($2)[>\"]" '(src|kernels)/' |
            grep -vE "^($3)"
    )"
}
quarantine PMIx 'pmix[^>]*\.h' 'src/job/launch\.c:'
quarantine UCX 'uc[pts]/.*' 'src/job/[a-z_]*(transport|group)[a-z_]*\.[ch]:'
quarantine NCCL 'nccl[^>]*\.h' 'src/job/device_group\.c:|src/backend/cuda/'
quarantine HDF5 'hdf5[^>]*\.h|H5.*\.h' 'src/store/'
quarantine MPI 'mpi\.h' 'src/store/'
quarantine PCRE2 'pcre2[^>]*\.h' 'src/text/'
quarantine utf8proc 'utf8proc\.h' 'src/text/'
quarantine CUDA 'cu[a-zA-Z_]*\.h|cu(da|tlass|te|b)/.*|mma\.h' 'src/backend/cuda/|kernels/cuda/'

empty "no unsafe string calls" \
    "$(search '(^|[^A-Za-z0-9_])(strcpy|strcat|v?sprintf|gets|alloca)[[:space:]]*\(')"
empty "nothing is left for later" "$(search '(^|[^A-Za-z0-9_])(TODO|FIXME|XXX)([^A-Za-z0-9_]|$)')"
empty "no file is over 900 lines" "$(
    cd "$TOP_SRCDIR" && printf '%s\n' "$files" | xargs wc -l | awk '$1 > 900 && $2 != "total"'
)"
empty "every file names its licence" "$(
    cd "$TOP_SRCDIR" && printf '%s\n' "$files" | while read -r file; do
        head -n 1 "$file" | grep -q 'SPDX-License-Identifier: Apache-2.0' || echo "$file"
    done
)"

# A source that no local.mk names is missing from the tarball.
empty "every file is named in a local.mk" "$(
    cd "$TOP_SRCDIR" && printf '%s\n' "$files" | while read -r file; do
        # A test program may be named without its ending.
        case $file in
        tests/*.c) name=${file%.c} ;;
        *) name=$file ;;
        esac
        grep -qF "$name" src/local.mk kernels/local.mk tests/local.mk || echo "$file"
    done
)"

alone=$(
    printf '%s\n' "$files" | grep -E '^src/.*\.h$' | while read -r file; do
        case $file in
        src/backend/cuda/*) [ -n "${ANT_HAVE_CUDA:-}" ] || continue ;;
        esac
        # shellcheck disable=SC2086  # a command with its flags
        $ANT_CC -fsyntax-only -Wall -Werror -x c -include "$TOP_SRCDIR/$file" /dev/null 2>&1 |
            grep -E 'error|warning'
    done
)
empty "every header of src compiles alone" "$alone"

done_testing
