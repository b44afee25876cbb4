#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Ranks killed at any moment, one or all of four. The same command is given again, on any number of
# ranks, and the answers are those of an undisturbed job, byte by byte. FAULT_TRIALS kills (default 4;
# `make check-faults` does 200).
set -u
# shellcheck source=tests/launch/lib.sh
. "$(dirname "$0")/lib.sh"
under_slurm 2 4
# shellcheck source=tests/launch/jobs.sh
. "$TOP_SRCDIR/tests/launch/jobs.sh"
trials=${FAULT_TRIALS:-4}

make_prompts prompts 600
job_args whole
# shellcheck disable=SC2086
try "$antiphon" $args
expect "an undisturbed job" 0 "COMPLETE 600/600 rows, 0 failed"

# random N: from 0 to N - 1.
random() {
    echo $(($(od -An -N4 -tu4 /dev/urandom) % $1))
}

# What goes wrong in a trial is gathered: all of them are one case.
failures=
check() {
    if [ "$code" -ne 0 ] || ! grep -q "COMPLETE" "$out"; then
        failures="$failures
$1: exit code $code: $(tail -n 3 "$out" "$err")"
    fi
}
differs() {
    difference=$(differences whole "$1")
    [ -z "$difference" ] || failures="$failures
$2: $difference"
}

# ---- kill -9 at a random time, of one rank or of all -------------------------------------------------

# What the job is at, by what it has left so far.
phase() {
    if [ -e "$tmp/kill.h5" ]; then
        echo "ending"
    elif [ -e "$tmp/kill.h5.part" ]; then
        echo "writing results"
    elif [ "$(journal_bytes kill)" -gt 0 ]; then
        echo "answering"
    else
        echo "starting"
    fi
}

: >"$tmp/phases"
kept=0 begun=0 redone=0 hit=0 trial=0
while [ "$trial" -lt "$trials" ]; do
    trial=$((trial + 1))
    rm -rf "$tmp"/kill.h5*
    rank=$(random 5) tenths=$(random 30)
    job_args kill --save-every 0.01
    # shellcheck disable=SC2086
    start kill on 4 "$antiphon" $args
    sleep "$((tenths / 10)).$((tenths % 10))"
    case $rank in
    4) victims=$(for i in 0 1 2 3; do rank_pid kill $i; done) ;;
    *) victims=$(rank_pid kill "$rank") ;;
    esac
    phase=$(phase)
    # shellcheck disable=SC2086
    if [ -n "$victims" ] && kill -9 $victims 2>/dev/null; then
        hit=$((hit + 1))
        echo "$phase" >>"$tmp/phases"
    fi
    ended
    what="trial $trial, rank $rank of 4 killed after $tenths tenths of a second"
    done_before=0
    if [ -e "$tmp/kill.h5.journal/manifest.json" ] && [ ! -e "$tmp/kill.h5" ]; then
        try "$antiphon" merge "$tmp/kill.h5" --output "$tmp/kill-part.h5"
        done_before=$(sed -n 's/.* \([0-9]*\) ok, .*/\1/p' "$out")
        rm -f "$tmp/kill-part.h5"
    fi
    # shellcheck disable=SC2086
    try_on $((1 + $(random 5))) "$antiphon" $args
    check "$what"
    differs kill "$what"
    if grep -q 'COMPLETE 600' "$out"; then
        answered=$(awk '/^ *[0-9]+ n[12] / { n += $3 } END { print n + 0 }' "$out")
        kept=$((kept + done_before)) redone=$((redone + answered + done_before - 600))
        begun=$((begun + $(sed -n 's/.* done before, \([0-9]*\) begun.*/\1/p' "$out" | grep . || echo 0)))
    fi
done
empty "$trials kills at random times" "$failures"
sort "$tmp/phases" | uniq -c | sed 's/^ */# hit: /'
echo "# $hit of $trials jobs were hit: $kept finished rows kept, $begun unfinished answers gone on with, $redone rows answered twice"
if [ "$redone" -eq 0 ]; then ok "no row is answered twice"; else not_ok "no row is answered twice" "$redone"; fi

# ---- from 8 ranks to 3 to 5 ------------------------------------------------------------------------

# A job of some seconds on a fast machine, as those that are left go on until Slurm has ended them.
make_prompts longer 2400
longer="--input $tmp/longer.h5 --save-every 0.02"
# shellcheck disable=SC2086
{
    job_args calm $longer
    try_on 2 "$antiphon" $args
    expect "an undisturbed long job" 0 "COMPLETE 2400/2400 rows, 0 failed"
    job_args many $longer
    start many on 8 "$antiphon" $args
}
wait_rank 6 100000
kill -9 "$rank_pid"
ended
expect "one of eight ranks killed" 137 "8 ranks"
# shellcheck disable=SC2086
start many on 3 "$antiphon" $args
wait_rank 0 100000
kill -9 "$rank_pid"
ended
expect "the first of three ranks killed" 137 "start 2"
# shellcheck disable=SC2086
try_on 5 "$antiphon" $args
expect "five ranks finish" 0 "start 3" "COMPLETE 2400/2400 rows"
same calm many "the same answers over eight, three and five ranks"

done_testing
