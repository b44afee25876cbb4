#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# --restart-over: what is begun anew can be stopped and gone on with as any job, and throws away
# nothing but results.
set -u
# shellcheck source=tests/launch/lib.sh
. "$(dirname "$0")/../launch/lib.sh"
alone
awk 'BEGIN { for (i = 0; i < 400; i++) print "prompt number " i }' >p.txt
"$antiphon" pack --from lines p.txt -o p.h5 >/dev/null
job="run --model $model --input p.h5 --output x.h5 --ignore-eos --threads 1 --drain 0"

# stopped WHAT COMMAND...: SIGTERM once some rows are done, and before all are.
stopped() {
    what=$1
    shift
    "$@" >"$out" 2>"$err" </dev/null &
    pid=$!
    while kill -0 "$pid" 2>/dev/null && [ "$(journal_bytes x)" -lt 20000 ]; do
        sleep 0.02
    done
    kill -TERM "$pid"
    code=0
    wait "$pid" || code=$?
    expect "$what" 75 "STOPPED (SIGTERM"
}

# shellcheck disable=SC2086
{
    try "$antiphon" $job --max-tokens 3
    expect "a job" 0 "COMPLETE 400/400 rows"
    stopped "another instead of it, stopped" "$antiphon" $job --max-tokens 300 --restart-over
    told=$(sed -n 's/.*the same again: antiphon //p' "$out" "$err" | head -n 1)
    empty "it is told how to go on" "$([ "$told" = "$job --max-tokens 300" ] || echo "$told")"
    try "$antiphon" $told
    expect "so it goes on" 0 "start 2, " "COMPLETE 400/400 rows"
    shows "with what it had" 'start 2, [1-9][0-9]* done before'

    # Slurm runs the same command again, option and all.
    stopped "in a job of Slurm" env SLURM_JOB_ID=71 "$antiphon" $job --max-tokens 299 --restart-over
    try env SLURM_JOB_ID=71 SLURM_RESTART_COUNT=1 "$antiphon" $job --max-tokens 299 --restart-over
    expect "that is queued again" 0 "start 2, " "COMPLETE 400/400 rows"
    shows "with what there was" 'start 2, [1-9][0-9]* done before'
    try env SLURM_JOB_ID=72 SLURM_RESTART_COUNT=1 "$antiphon" $job --max-tokens 3 --restart-over
    expect "another job begins anew" 0 "COMPLETE 400/400 rows"
}

try "$antiphon" run --model "$model" --input p.h5 --output y.h5 --max-tokens 3 --partition rank
expect "a job that died before it began" 65 "has no column 'rank'"
try "$antiphon" run --model "$model" --input p.h5 --output y.h5 --max-tokens 2
expect "is not in the way of another" 0 "COMPLETE 400/400 rows"

cp p.h5 kept.h5
try "$antiphon" run --model "$model" --input p.h5 --output kept.h5 --restart-over --max-tokens 3
expect "prompts are not thrown away" 65 "--restart-over throws away results alone" \
    "'kept.h5' is no results file of antiphon: it holds prompts"
if cmp -s p.h5 kept.h5; then ok "they stay"; else not_ok "they stay"; fi
done_testing
