# shellcheck shell=sh
# SPDX-License-Identifier: Apache-2.0
# What launch tests share. A test script sources this, calls under_slurm first, and then speaks TAP
# with the words of tests/tap.sh and these:
#   under_slurm NODES TASKS     go on with a Slurm of so many nodes around (see below), or skip:
#                               no Slurm can be had, or the build cannot do with more than one rank
#   try COMMAND...              run it, at most $limit seconds (300); exit code to $code, its
#                               output and errors to the files $out and $err
#   alone                       go on in $tmp, as no part of a job
#   on_nodes NODES TASKS COMMAND...   the same by srun --mpi=pmix, tasks dealt out evenly
#   by_mpirun TASKS COMMAND...        the same by Open MPI's mpirun
#   expect WHAT CODE [TEXT...]  passed if $code is CODE and $out or $err holds every TEXT; CODE
#                               may be "failure": any but 0 and that of a timeout
#   shows WHAT PATTERN          passed if a line of $out matches
#   one_text WHAT RANKS         passed if so many ranks of a probe have given one reason in $err
#   python WHAT ARGUMENTS...    passed if python3 has nothing to say with these
#   pack NAME                   $tmp/NAME.jsonl to $tmp/NAME.h5
#   same NAME NAME WHAT [COLUMN...]   passed if the results $tmp/NAME.h5 are the same, byte by byte,
#                               but for these columns, who answered, and when
#   same_lines WHAT FILE FILE   passed if both have the same lines, and some
#   cut_off NAME BYTES COMMAND...   run it, and kill it once the journal of $tmp/NAME.h5 has so many
#                               bytes; passed if that was before its end
# $tmp is a folder that is removed in the end, $antiphon the program, $tiny the folder of tiny
# checkpoints, $model that of a Llama.

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
out=$tmp/out err=$tmp/err code=0 limit=300
antiphon=$TOP_BUILDDIR/src/antiphon
tiny=$TOP_SRCDIR/tests/golden/tiny
# shellcheck disable=SC2034 # for scripts
model=$tiny/llama

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

alone() {
    unset PMIX_NAMESPACE SLURM_JOB_ID
    cd "$tmp" || exit 1
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

shows() {
    if grep -qE -e "$2" "$out"; then ok "$1"; else not_ok "$1" "$(cat "$out")"; fi
}

one_text() {
    if [ "$(grep -c '^probe: rank' "$err")" -eq "$2" ] &&
        [ "$(sed -n 's/^probe: rank [0-9]*: //p' "$err" | sort -u | wc -l)" -eq 1 ]; then
        ok "$1: one text on $2 ranks"
    else
        not_ok "$1: one text on $2 ranks" "$(cat "$err")"
    fi
}

python() {
    what=$1
    shift
    if command -v python3 >/dev/null; then
        empty "$what" "$(python3 -B "$@" 2>&1)"
    else
        skip python3 "$what" "no python3"
    fi
}

pack() {
    "$antiphon" pack "$tmp/$1.jsonl" --output "$tmp/$1.h5" --force >/dev/null ||
        not_ok "pack $1" "exit code $?"
}

# differences NAME NAME [COLUMN...]: nothing, or what h5diff says of results but for these columns. A
# column of no bytes is "not comparable" there and no difference.
differences() {
    first=$tmp/$1.h5 second=$tmp/$2.h5
    shift 2
    except=
    for column in dp_rank attempt t_first t_total "$@"; do
        except="$except --exclude-path /$column"
    done
    # shellcheck disable=SC2086
    said=$(h5diff $except "$first" "$second" /results 2>&1) || echo "h5diff: $? $said"
}

same() {
    one=$1 other=$2 what=$3
    shift 3
    if command -v h5diff >/dev/null; then
        empty "$what" "$(differences "$one" "$other" "$@")"
    else
        skip h5diff "$what" "no h5diff"
    fi
}

same_lines() {
    if [ -s "$2" ] && cmp -s "$2" "$3"; then
        ok "$1"
    else
        not_ok "$1" "$(diff -a "$2" "$3" | head -n 4)"
    fi
}

journal_bytes() {
    cat "$tmp/$1".h5.journal/*.aj 2>/dev/null | wc -c
}

cut_off() {
    cut=$1 enough=$2
    shift 2
    nice -n 19 "$@" >"$out" 2>"$err" </dev/null & # so that a busy machine does not keep us from looking
    pid=$!
    while kill -0 "$pid" 2>/dev/null && [ "$(journal_bytes "$cut")" -lt "$enough" ]; do
        sleep 0.01
    done
    kill -9 "$pid" 2>/dev/null
    wait "$pid" 2>/dev/null
    if [ -e "$tmp/$cut.h5" ]; then
        not_ok "killed on the way" "it was through before"
    else
        ok "killed on the way"
    fi
}
