#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Replicas of several GPUs, and experts over all of them: the answers of one GPU, after a halt too,
# and the end of a job whose rank dies or hangs. Part of `make check-gpu`.
set -u
# shellcheck source=tests/gpu/jobs.sh
. "$(dirname "$0")/jobs.sh"
needs json

for model in llama mixtral phimoe; do
    layouts "$model" "$tiny/$model" 0.05
done

seq 2000 | sed 's/.*/{"prompt": "prompt &"}/' >many.jsonl
pack many

# long N MODEL OUT OPTION...: at work for a while, in the background
long() {
    n=$1 kind=$2 file=$3
    shift 3
    start "$file" on_gpus "$n" "$antiphon" run --backend cuda -m "$tiny/$kind" -i many.h5 \
        -o "$file.h5" --max-tokens 400 --ignore-eos --temperature 0 --logprobs 0 --save-every 0.2 "$@"
}

for signal in KILL STOP; do
    long 2 llama "$signal" --tp-size 2
    wait_journal 4000
    kill -s "$signal" "$(cat pid.1)"
    since=$(date +%s)
    ended
    kill -s KILL "$(cat pid.1)" 2>/dev/null
    took=$(($(date +%s) - since))
    if [ "$(journal_bytes "$signal")" -lt 4000 ]; then
        not_ok "a job is at work for SIG$signal" "$(tail -n 5 "$out")"
    elif [ "$code" -ne 0 ] && [ "$code" -ne 124 ] && [ "$took" -le 30 ]; then
        ok "a rank of two that gets SIG$signal ends the job within 30 s"
    else
        not_ok "a rank of two that gets SIG$signal ends the job within 30 s" \
            "exit code $code after $took s: $(tail -n 5 "$out")"
    fi
done
expect "the one that hangs is named" 75 "no sign of rank 1"

long 2 mixtral halted --enable-ep --ep-scope job --max-num-seqs 4
wait_journal 4000
"$antiphon" halt halted.h5 --now >/dev/null
ended
expect "a job of spread experts is halted" 75 "STOPPED"
long 1 mixtral halted
ended
expect "and goes on on one GPU" 0 "2000/2000 rows"
long 1 mixtral one --restart-over
ended
alike "with the answers of one GPU alone" one halted 0
done_testing
