#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Jobs that are cut off, and go on: with what they had finished and with what they had begun. The
# answers are those of a job that was left alone, byte by byte.
set -u
# shellcheck source=tests/launch/lib.sh
. "$(dirname "$0")/lib.sh"
under_slurm 2 4
antiphon=$TOP_BUILDDIR/src/antiphon
model=$TOP_SRCDIR/tests/golden/tiny/llama

# About 80,000 tokens: a second or two on one rank.
awk 'BEGIN {
    for (i = 0; i < 200; i++)
        printf "{\"prompt\": \"prompt number %d\", \"seed\": %d, \"max_tokens\": %d}\n", i, i,
            i % 10 ? 450 : 20
}' >"$tmp/prompts.jsonl"
"$antiphon" pack "$tmp/prompts.jsonl" --output "$tmp/prompts.h5" >/dev/null ||
    not_ok "pack" "exit code $?"
settings="--ignore-eos --temperature 0.8 --threads 1 --max-num-seqs 4"

# job_args OUT [OPTIONS] sets the arguments of a job.
job_args() {
    output=$1
    shift
    args="run --model $model --input $tmp/prompts.h5 --output $tmp/$output.h5 $settings $*"
}

same() {
    if command -v h5diff >/dev/null; then
        differ=
        for part in tokens tokens_offsets text text_offsets status finish; do
            h5diff "$tmp/$1.h5" "$tmp/$2.h5" "/results/$part" >"$tmp/diff" 2>&1 ||
                differ="$differ /results/$part: $(head -n 5 "$tmp/diff")"
        done
        empty "$3" "$differ"
    else
        skip h5diff "$3" "no h5diff"
    fi
}

# wait_journal OUT BYTES: until the job's journals hold so much, 10 s at most.
wait_journal() {
    tries=0
    while [ "$tries" -lt 500 ] && [ "$(cat "$tmp/$1".h5.journal/*.aj 2>/dev/null | wc -c)" -lt "$2" ]; do
        sleep 0.02
        tries=$((tries + 1))
    done
}

job_args whole
# shellcheck disable=SC2086
try "$antiphon" $args
expect "a job that is left alone" 0 "COMPLETE 200/200 rows, 0 failed"

# ---- killed ------------------------------------------------------------------------------------

job_args killed --save-every 0.01
# shellcheck disable=SC2086
"$antiphon" $args >"$tmp/killed.log" 2>&1 &
pid=$!
wait_journal killed 50000
kill -9 "$pid" 2>/dev/null
wait "$pid" 2>/dev/null
# shellcheck disable=SC2086
on_nodes 2 3 "$antiphon" $args
expect "killed, then on three ranks" 0 "start 2" "COMPLETE 200/200 rows"
if grep -q 'start 2, [1-9][0-9]* done before, [1-4] begun' "$out"; then
    ok "it had begun some answers"
else
    not_ok "it had begun some answers" "$(grep 'start 2' "$out")"
fi
same whole killed "the same answers after a kill"
done_testing
