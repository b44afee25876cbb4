#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# One input answered in parts by many jobs, and made one file again, copied and virtual: the same as
# by one job. What is missing, not finished, damaged or of another job is named.
set -u
# shellcheck source=tests/launch/lib.sh
. "$(dirname "$0")/lib.sh"
under_slurm 2 4
cd "$tmp" || exit 1

# 250 prompts whose names grow, so that parts have ids of different widths; two cannot be answered.
awk 'BEGIN {
    for (i = 0; i < 250; i++)
        printf "{\"id\": \"%s%d\", \"prompt\": \"%s\"}\n", i < 100 ? "r" : "a-longer-name-", i,
            i == 17 || i == 200 ? "" : "number " i
}' >prompts.jsonl
pack prompts
settings="--max-tokens 8 --temperature 0.8 --max-model-len 128 --threads 1 --progress 0"

# part OUT K M [OPTIONS]: answer a part
part() {
    output=$1 shard=$2/$3
    shift 3
    # shellcheck disable=SC2086
    try "$antiphon" run --model "$model" --input prompts.h5 --output "$output" --shard "$shard" \
        $settings "$@"
}

# shellcheck disable=SC2086
try "$antiphon" run --model "$model" --input prompts.h5 --output whole.h5 $settings
expect "in one job" 0 "COMPLETE 250/250 rows, 2 failed"

# ---- a hundred parts -----------------------------------------------------------------------------

k=0 failed=
while [ "$k" -lt 100 ]; do
    part many.h5 "$k" 100
    [ "$code" -eq 0 ] || failed="$failed $k: $(cat "$err")"
    k=$((k + 1))
done
empty "a hundred jobs" "$failed"
set -- many.*-of-100.h5
if [ $# -eq 100 ] && [ "$1" = many.000-of-100.h5 ]; then
    ok "a file each, in order of name"
else
    not_ok "a file each, in order of name" "$# files, the first is $1"
fi
try "$antiphon" merge "$@" --output copied.h5
expect "a hundred parts are one file" 0 "copied.h5: complete, 248 ok, 2 failed, 0 missing, of 100 files"
same whole copied "the same as of one job"
try "$antiphon" merge "$@" --output virtual.h5 --virtual
expect "a hundred parts are one virtual file" 0 "complete" "which it refers to"
same whole virtual "the virtual one is the same"
try "$antiphon" show virtual.h5 --row 249
expect "a row of the virtual file" 0 "row 249, id a-longer-name-249"
mkdir elsewhere && mv virtual.h5 ./*-of-100.h5 elsewhere
try "$antiphon" export elsewhere/virtual.h5 --jsonl
expect "it can be moved with its parts" 0 '"row": 249'
mv elsewhere/many.042-of-100.h5 part.h5
try "$antiphon" export elsewhere/virtual.h5 --jsonl
expect "a part of the virtual file is gone" 65 "many.042-of-100.h5', which is not there"
mv part.h5 elsewhere/many.042-of-100.h5

# ---- what cannot be merged -----------------------------------------------------------------------

# refused WHAT FILES... -- TEXT...: no file is made, one line says why
refused() {
    what=$1
    shift
    files=
    while [ "$1" != -- ]; do
        files="$files $1"
        shift
    done
    shift
    rm -f merged.h5
    # shellcheck disable=SC2086
    try "$antiphon" merge $files --output merged.h5
    expect "$what" 65 "$@"
    empty "$what: one line and no file" "$(ls merged.h5* 2>/dev/null)$(tail -n +2 "$err")"
}
for k in 0 1 2 3; do
    part few.h5 "$k" 4
done
refused "two parts are missing" few.0-of-4.h5 few.3-of-4.h5 -- \
    "shard 1 of 4 (rows 62 to 124) is missing" "shard 2 of 4 (rows 125 to 186) is missing"
refused "a file is not there" few.0-of-4.h5 few.1-of-4.h5 few.2-of-4.h5 nothing.h5 -- \
    "'nothing.h5' is not there; shard 3 of 4 (rows 187 to 249) is missing"
refused "a part given twice" few.0-of-4.h5 few.1-of-4.h5 few.2-of-4.h5 few.3-of-4.h5 few.1-of-4.h5 -- \
    "rows from 62 on are in 'few.1-of-4.h5' and in 'few.1-of-4.h5'"
part other.h5 1 4 --seed 7
refused "a part of another job" few.0-of-4.h5 other.1-of-4.h5 few.2-of-4.h5 few.3-of-4.h5 -- \
    "'other.1-of-4.h5' holds answers to other settings than 'few.0-of-4.h5'"
try "$antiphon" merge few.0-of-4.h5 few.1-of-4.h5 --output ./few.1-of-4.h5
expect "a part is not written over" 64 "'few.1-of-4.h5' is to be read and written"
refused "something else" few.0-of-4.h5 prompts.h5 -- "prompts.h5"
mv few.2-of-4.h5 kept.h5
mkdir few.2-of-4.h5.journal
refused "a part that is not finished" few.0-of-4.h5 few.1-of-4.h5 few.2-of-4.h5 few.3-of-4.h5 -- \
    "'few.2-of-4.h5' is not finished: start its job again"
rmdir few.2-of-4.h5.journal
try "$antiphon" merge few.0-of-4.h5 few.1-of-4.h5 few.3-of-4.h5 --output partial.h5 --partial
expect "what there is, when asked for" 0 "partial.h5: not complete, 186 ok, 2 failed, 62 missing"
try "$antiphon" show partial.h5 --row 249
expect "a row of it" 0 "row 249, id a-longer-name-249"
try "$antiphon" show partial.h5 --row 130
expect "a row that it has not" 64 "has no row 130"

# One bit of a text.
mv kept.h5 few.2-of-4.h5
if command -v h5dump >/dev/null; then
    cp few.2-of-4.h5 good.h5
    offset=$(h5dump -p -H -d /results/tokens few.2-of-4.h5 | sed -n 's/.*OFFSET *\([0-9]*\).*/\1/p')
    printf '\007' | dd of=few.2-of-4.h5 bs=1 seek=$((offset + 41)) conv=notrunc 2>/dev/null
    refused "a damaged part" few.0-of-4.h5 few.1-of-4.h5 few.2-of-4.h5 few.3-of-4.h5 -- \
        "'few.2-of-4.h5', dataset '/results/tokens' is damaged"
    mv good.h5 few.2-of-4.h5
else
    skip h5dump "a damaged part" "no h5dump"
fi

# ---- the options ----------------------------------------------------------------------------------

for shard in 4/4 -1/4 1 1/ /4 1/4x one; do
    # shellcheck disable=SC2086
    try "$antiphon" run --model "$model" --input prompts.h5 --output bad.h5 $settings --shard "$shard"
    expect "--shard $shard" 64 "--shard '$shard' is neither auto nor K/M"
done
part bad.h5 0 1 --shard auto
expect "--shard auto outside of an array" 64 "SLURM_ARRAY_TASK_ID is not set"
SLURM_ARRAY_TASK_ID=4 SLURM_ARRAY_TASK_MIN=1 SLURM_ARRAY_TASK_MAX=9 SLURM_ARRAY_TASK_COUNT=3
export SLURM_ARRAY_TASK_ID SLURM_ARRAY_TASK_MIN SLURM_ARRAY_TASK_MAX SLURM_ARRAY_TASK_COUNT
part bad.h5 0 1 --shard auto
expect "--shard auto in an array with gaps" 64 "task 4 of 3 from 1 to 9 by 1" "without gaps"
unset SLURM_ARRAY_TASK_ID SLURM_ARRAY_TASK_MIN SLURM_ARRAY_TASK_MAX SLURM_ARRAY_TASK_COUNT

# ---- several ranks, and an array under Slurm ----------------------------------------------------

for k in 0 1 2; do
    # shellcheck disable=SC2086
    on_nodes 2 4 "$antiphon" run --model "$model" --input prompts.h5 --output ranks.h5 $settings \
        --shard $k/3 --partition length
    expect "part $k of 3 by four ranks" 0 "part $k of 3" "COMPLETE 8"
done
try "$antiphon" merge ranks.*-of-3.h5 --output ranks.h5
expect "their file" 0 "complete, 248 ok"
same whole ranks "the same by four ranks"

PATH=$TOP_BUILDDIR/src:$PATH MODEL=$model INPUT=$tmp/prompts.h5 OUTPUT=$tmp/array.h5
export PATH MODEL INPUT OUTPUT
try sbatch --wait --array=3-9:2 --cpus-per-task=1 --output="$tmp/array.log" \
    "$TOP_SRCDIR/job-templates/array.sbatch"
cat array.log >>"$out" 2>/dev/null
expect "the array of job-templates" 0 "part 0 of 4" "part 3 of 4"
try "$antiphon" merge array.*-of-4.h5 --output array.h5
expect "the files of the array" 0 "array.h5: complete, 248 ok, 2 failed, 0 missing, of 4 files"
done_testing
