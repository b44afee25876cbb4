# shellcheck shell=sh
# SPDX-License-Identifier: Apache-2.0
# What launch tests share. A test script sources this, calls under_slurm first, and then speaks TAP
# with the words of tests/tap.sh and these:
#   under_slurm NODES TASKS     go on with a Slurm of so many nodes around (see below), or skip:
#                               no Slurm can be had, or the build cannot do with more than one rank
#   try COMMAND...              run it, at most $limit seconds (120); exit code to $code, its
#                               output and errors to the files $out and $err
#   on_nodes NODES TASKS COMMAND...   the same by srun --mpi=pmix, tasks dealt out evenly
#   by_mpirun TASKS COMMAND...        the same by Open MPI's mpirun
#   expect WHAT CODE [TEXT...]  passed if $code is CODE and $out or $err holds every TEXT; CODE
#                               may be "failure": any but 0 and that of a timeout
# $tmp is a folder that is removed in the end.

: "${TOP_SRCDIR:=$(cd "$(dirname "$0")/../.." && pwd)}"
: "${TOP_BUILDDIR:=$PWD}"
# shellcheck source=tests/tap.sh
. "$TOP_SRCDIR/tests/tap.sh"
export TOP_SRCDIR TOP_BUILDDIR

tmp=$(mktemp -d "${TMPDIR:-/tmp}/antiphon-launch.XXXXXX") || exit 1
trap 'rm -rf "$tmp"' EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM
out=$tmp/out err=$tmp/err code=0 limit=120

# Both keep a few bytes of their own till the end; libuct those of peers that died.
printf 'leak:libpmix\nleak:libuct\n' >"$tmp/lsan"
export LSAN_OPTIONS="suppressions=$tmp/lsan:print_suppressions=0${LSAN_OPTIONS:+:$LSAN_OPTIONS}"
# mpirun wants to be asked twice before it runs as root, as it must in containers.
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1

# Inside an allocation that is large enough, or a private Slurm that is, just go on. Else boot a
# private Slurm, run this very script inside it, and take it down. One that was booted around the
# whole session (share/private-slurm run make check) serves all scripts.
under_slurm() {
    for library in PMIX UCX; do
        if ! grep -q "define HAVE_$library 1" "$TOP_BUILDDIR/config.h"; then
            skip "$library" "launched by Slurm" "built without $library"
            done_testing
            exit
        fi
    done
    if [ "${SLURM_JOB_NUM_NODES:-0}" -ge "$1" ]; then
        return 0
    fi
    if [ "${PRIVATE_SLURM_NODES:-0}" -ge "$1" ] &&
        [ $((PRIVATE_SLURM_NODES * ${PRIVATE_SLURM_CPUS:-0})) -ge "$2" ]; then
        return 0
    fi
    if ! reason=$("$TOP_SRCDIR/share/private-slurm" check 2>&1); then
        skip slurm "launched by Slurm" "$reason"
        done_testing
        exit
    fi
    rc=0
    "$TOP_SRCDIR/share/private-slurm" run --nodes "$1" --cpus "$2" sh "$0" 2>"$tmp/boot" || rc=$?
    cat "$tmp/boot" >&2
    if [ "$rc" -eq 77 ]; then
        skip slurm "launched by Slurm" "$(tail -n 1 "$tmp/boot")"
        done_testing
        exit
    fi
    exit "$rc"
}

try() {
    code=0
    timeout -k 5 "$limit" "$@" >"$out" 2>"$err" </dev/null || code=$?
}

on_nodes() {
    nodes=$1 tasks=$2
    shift 2
    try srun --mpi=pmix -N "$nodes" -n "$tasks" \
        --ntasks-per-node="$(((tasks + nodes - 1) / nodes))" -O "$@"
}

by_mpirun() {
    tasks=$1
    shift
    try mpirun --oversubscribe -n "$tasks" "$@"
}

expect() {
    what=$1 wanted=$2 why=
    shift 2
    case $wanted in
    failure)
        case $code in
        0 | 124 | 137) why="exit code $code" ;;
        esac
        ;;
    "$code") ;;
    *) why="exit code $code instead of $wanted" ;;
    esac
    for text in "$@"; do
        grep -qF -e "$text" "$out" "$err" || why="$why${why:+; }no '$text'"
    done
    if [ -z "$why" ]; then
        ok "$what"
    else
        not_ok "$what" "$why
output: $(tail -n 20 "$out")
errors: $(tail -n 20 "$err")"
    fi
}
