#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# What can go wrong with a job, on purpose: merges cut off between any two of their steps, disks that
# fill up or fail. Each time the same command is given again, and the answers are those of an
# undisturbed job, byte by byte. `make check-faults`, which sets FAULT_TRIALS, does all of it.
set -u
# shellcheck source=tests/launch/lib.sh
. "$(dirname "$0")/lib.sh"
under_slurm 2 4
# shellcheck source=tests/launch/jobs.sh
. "$TOP_SRCDIR/tests/launch/jobs.sh"

make_prompts prompts 600
job_args whole
# shellcheck disable=SC2086
try "$antiphon" $args
expect "an undisturbed job" 0 "COMPLETE 600/600 rows, 0 failed"

# ---- merges cut off ----------------------------------------------------------------------------------

# One journal with all answers serves all; a disk that fails at the merge leaves it.
job_args merged
# shellcheck disable=SC2086
try env ANTIPHON_FAILPOINT=merge-begun "$antiphon" $args
mv "$tmp/merged.h5.journal" "$tmp/answered.journal"
points="merge-begun merge-created merge-written merge-verified merge-closed merge-completed
    merge-renamed merge-published journals-removed manifest-removed"
[ -n "${FAULT_TRIALS:-}" ] || points="merge-written merge-renamed"
for point in $points; do
    for rank in 0 1; do
        case $point@$rank in
        merge-completed@1 | merge-renamed@1 | *-removed@1) continue ;; # rank 0 alone does that
        esac
        rm -rf "$tmp"/merged.h5*
        cp -r "$tmp/answered.journal" "$tmp/merged.h5.journal"
        # shellcheck disable=SC2086
        try_on 4 env ANTIPHON_FAILPOINT="$point@$rank" "$antiphon" $args
        # Open MPI 5 has a code of its own for a rank that it lost while others write.
        [ "$code" -ne 14 ] || code=137
        expect "killed at $point@$rank" 137
        if [ -e "$tmp/merged.h5" ]; then
            same whole merged "the results of $point@$rank are whole"
        else
            ok "no results of $point@$rank"
        fi
        # shellcheck disable=SC2086
        try_on 3 "$antiphon" $args
        expect "$point@$rank, given again" 0 "antiphon: COMPLETE"
        same whole merged "the answers after $point@$rank"
        empty "nothing else is left after $point@$rank" \
            "$(ls -d "$tmp/merged.h5.journal" "$tmp/merged.h5.part" 2>/dev/null)"
    done
done

# ---- disks -----------------------------------------------------------------------------------------

# fail_at WHAT N ERRNO PART RANK TEXT: the N-th write goes wrong on this rank; then all is well.
library=$TOP_BUILDDIR/tests/launch/fail_write.so
fail_at() {
    # shellcheck disable=SC2086
    try_on 4 env LD_PRELOAD="$library" FAIL_WRITE="$2 $3 $4 $5" "$antiphon" $args
    expect "$1, write $2 of rank $5" 74 "$6"
    empty "$1: no results" "$(ls "$tmp/disk.h5" "$tmp/disk.h5.part" 2>/dev/null)"
    # shellcheck disable=SC2086
    try_on 2 "$antiphon" $args
    expect "$1: given again" 0 "start 2" "COMPLETE 600/600 rows"
    same whole disk "the answers after: $1"
    rm -f "$tmp/disk.h5"
}
job_args disk --save-every 0.05
if [ -e "$library" ]; then
    fail_at "journal: no space" 20 28 .aj 1 "r1.s1.aj': No space left on device"
    fail_at "merge: broken disk" 4 5 disk.h5.part 1 "disk.h5.part'"
    if [ -n "${FAULT_TRIALS:-}" ]; then
        fail_at "journal: over quota" 1 122 .aj 2 "r2.s1.aj': Disk quota exceeded"
        fail_at "journal: broken disk" 100 5 .aj 0 "r0.s1.aj': Input/output error"
        fail_at "merge: no space" 2 28 disk.h5.part 1 "disk.h5.part'"
        for n in 1 2 3 5 8 13 21 34; do
            fail_at "merge: over quota" "$n" 122 disk.h5.part 0 "disk.h5.part'"
        done
    fi
else
    skip preload "writes that fail" "no $library"
fi

# A file that is removed while a process has it open keeps a name on NFS, and its folder with it.
library=$TOP_BUILDDIR/tests/launch/nfs_unlink.so
if [ -e "$library" ]; then
    job_args nfs
    # shellcheck disable=SC2086
    try_on 4 env LD_PRELOAD="$library" "$antiphon" $args
    expect "a job on NFS" 0 "COMPLETE 600/600 rows"
    empty "NFS keeps nothing of its journal" "$(ls -dA "$tmp"/nfs.h5.journal 2>/dev/null)"
else
    skip preload "files that NFS keeps" "no $library"
fi

mkdir "$tmp/small"
if [ "$(id -u)" -eq 0 ] && mount -t tmpfs -o size=8m none "$tmp/small" 2>/dev/null; then
    job_args small/disk --save-every 0.05
    # shellcheck disable=SC2086
    try_on 3 "$antiphon" $args
    expect "8 MB are refused before the first token" 74 "MB free"
    mount -o remount,size=64m "$tmp/small"
    # shellcheck disable=SC2086
    start small/disk on 3 "$antiphon" $args
    wait_journal 300000
    head -c 80000000 /dev/zero >"$tmp/small/other" 2>/dev/null
    ended
    expect "a disk that fills up" 74 "No space left on device"
    rm "$tmp/small/other"
    mount -o remount,size=20m "$tmp/small"
    # shellcheck disable=SC2086
    try_on 3 "$antiphon" $args
    expect "no space for the results" 74 "MB free"
    mount -o remount,size=64m "$tmp/small"
    # shellcheck disable=SC2086
    try_on 2 "$antiphon" $args
    expect "with space again" 0 "COMPLETE 600/600 rows"
    same whole small/disk "the answers from a disk that was full"
    umount "$tmp/small"
else
    skip mount "a full disk" "no tmpfs can be mounted"
fi
done_testing
