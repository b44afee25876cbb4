#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# One results file written by many processes at once: any number of rows and ranks, a rank that
# fails, a full disk. A failure must be every rank's error, leave no file and hang nobody.
set -u
# shellcheck source=tests/launch/lib.sh
. "$(dirname "$0")/lib.sh"
probe=$TOP_BUILDDIR/tests/launch/results_probe

try "$probe" "$tmp/alone.h5" 100
expect "alone" 0 "probe: 86 ok, 14 failed" "complete 1, 100 rows well"
if ! command -v mpirun >/dev/null; then
    skip mpirun "many processes" "no mpirun"
    done_testing
    exit
fi
if ! grep -q 'define HAVE_PMIX 1' "$TOP_BUILDDIR/config.h"; then
    skip pmix "many processes" "built without PMIx"
    done_testing
    exit
fi
if ! grep -q 'define HAVE_PARALLEL_HDF5 1' "$TOP_BUILDDIR/config.h"; then
    by_mpirun 3 "$probe" "$tmp/serial.h5" 7
    expect "without parallel HDF5 many processes are refused" failure \
        "this build has no parallel HDF5"
    done_testing
    exit
fi

# Open MPI does not free all that its modules have taken, and they are unloaded before anybody could
# say whose it was. What is ours is looked for in the run alone above.
export ASAN_OPTIONS="detect_leaks=0${ASAN_OPTIONS:+:$ASAN_OPTIONS}"

for rows in 0 1 2 3 7; do
    by_mpirun 3 "$probe" "$tmp/rows$rows.h5" "$rows"
    expect "$rows rows on three ranks" 0 "complete 1, $rows rows well"
done
by_mpirun 4 "$probe" "$tmp/many.h5" 20000
expect "20000 rows on four ranks" 0 "complete 1, 20000 rows well"
by_mpirun 1 "$probe" "$tmp/one.h5" 20000
expect "20000 rows on one rank" 0 "complete 1, 20000 rows well"
by_mpirun 3 "$probe" "$tmp/large.h5" 200 large
expect "40 MB on three ranks" 0 "complete 1, 200 rows well"
by_mpirun 3 "$probe" "$tmp/missing.h5" 100 missing
expect "rows without an answer" 0 "complete 0, 100 rows well"

same one many "one and four ranks write the same"

# no_file NAME: neither the file nor its beginnings are there.
no_file() {
    empty "$1: no file is left" "$(ls "$tmp/$1.h5" "$tmp/$1.h5.part" 2>/dev/null)"
}
for rank in 0 1 2; do
    by_mpirun 3 "$probe" "$tmp/limit$rank.h5" 3000 limit "$rank"
    expect "rank $rank cannot write" failure "/limit$rank.h5.part'" ": File too large"
    one_text "rank $rank cannot write" 3
    no_file "limit$rank"
    by_mpirun 3 "$probe" "$tmp/damage$rank.h5" 3000 damage "$rank"
    expect "rank $rank has a damaged journal" failure \
        ": rank 0: '" "r$rank.s1.aj': the frame of row $rank at byte 0 has changed"
    one_text "rank $rank has a damaged journal" 3
    no_file "damage$rank"
done

mkdir "$tmp/small"
if [ "$(id -u)" -eq 0 ] && mount -t tmpfs -o size=12m none "$tmp/small" 2>/dev/null; then
    by_mpirun 3 "$probe" "$tmp/small/full.h5" 45 large
    expect "a full disk" failure "MB free"
    one_text "a full disk" 3
    no_file "small/full"
    umount "$tmp/small"
else
    skip mount "a full disk" "no tmpfs can be mounted"
fi
done_testing
