#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Mixtures whose experts are spread over ranks: those of a replica, those of the job. The answers are
# those of one rank, also after a restart with another layout; nobody takes steps for company; a rank
# that hangs is named.
set -u
# shellcheck source=tests/launch/lib.sh
. "$(dirname "$0")/lib.sh"
under_slurm 2 8
# shellcheck source=tests/launch/jobs.sh
. "$TOP_SRCDIR/tests/launch/jobs.sh"
export ANTIPHON_CPU=c ANTIPHON_CHECK=1
settings="--ignore-eos --threads 1 --max-num-seqs 5 --max-num-batched-tokens 24 --max-tokens 20"

# prompts NAME AWK: $tmp/NAME.h5 of the lines that AWK prints.
prompts() {
    awk "BEGIN { $2 }" >"$tmp/$1.jsonl"
    pack "$1"
}
# job OUT RANKS [OPTIONS]
job() {
    file=$1 ranks=$2
    shift 2
    job_args "$file" --kv-type f32 --restart-over "$@"
    # shellcheck disable=SC2086
    case $ranks in
    1) try "$antiphon" $args ;;
    *) try_on "$ranks" "$antiphon" $args ;;
    esac
}

prompts prompts 'for (i = 1; i <= 12; i++) { t = "abc"; for (k = 0; k < 3 * i; k++) t = t " " k
    printf "{\"prompt\": \"%s\"}\n", t }'
for name in mixtral phimoe; do
    model=$tiny/$name
    job one 1
    expect "$name on one rank" 0 "12/12 rows"
    layouts="2,2,1,replica 4,2,1,replica 4,2,1,job 8,2,2,job"
    [ "$name" = phimoe ] || layouts="$layouts 8,2,2,replica 2,1,1,job 4,1,2,job"
    for layout in $layouts; do
        # shellcheck disable=SC2046  # four words
        set -- $(echo "$layout" | tr , ' ')
        job many "$1" --tp-size "$2" --pp-size "$3" --enable-ep --ep-scope "$4"
        expect "$name on $1 ranks, tp $2 x pp $3, experts over the $4" 0 "12/12 rows"
        same one many "$name on $1 ranks, tp $2 x pp $3, experts over the $4: the same answers"
    done
done

# Rows come back from other ranks as they were, so that the same tokens are drawn in any arithmetic.
unset ANTIPHON_CPU
job one 1 --kv-type auto --temperature 1.5
expect "one rank on the machine's best level" 0 "12/12 rows"
job many 4 --kv-type auto --temperature 1.5 --enable-ep --ep-scope job
expect "four ranks on the machine's best level" 0 "12/12 rows"
same one many "four ranks on the machine's best level: the same answers"
export ANTIPHON_CPU=c

# One answer a hundred times as long as the others: its rank takes its steps, no other any more than
# its own answers need.
prompts prompts 'for (i = 0; i < 7; i++)
    printf "{\"prompt\": \"prompt %d\", \"max_tokens\": %d}\n", i, i == 3 ? 400 : 4'
job one 1
expect "seven prompts on one rank" 0 "7/7 rows"
job many 4 --enable-ep --ep-scope job --no-steal
expect "seven prompts, one of them long" 0 "7/7 rows"
same one many "seven prompts, one of them long: the same answers"
steps=$(h5dump -d /performance/steps -y -w 0 "$tmp/many.h5" | grep -E '^ *[0-9]+,' | tr -d ' ')
if echo "$steps" | awk -F, 'NF != 4 || $1 > 8 || $2 > 8 || $3 > 8 || $4 < 400 { exit 1 }'; then
    ok "nobody takes steps for company"
else
    not_ok "nobody takes steps for company" "steps of the ranks: $steps"
fi

# What was begun with one layout goes on with another.
prompts prompts 'for (i = 0; i < 100; i++) printf "{\"prompt\": \"prompt %d\"}\n", i'
model=$tiny/mixtral
job one 1 --max-tokens 400
expect "a hundred prompts on one rank" 0 "100/100 rows"
for layout in "4 2 1 job 2 1 2 replica" "4 1 1 job 4 2 1 replica"; do
    # shellcheck disable=SC2086  # eight words
    set -- $layout
    rm -rf "$tmp/many.h5" "$tmp/many.h5.journal"
    job_args many --kv-type f32 --max-tokens 400 --save-every 0.1
    # shellcheck disable=SC2086
    start many on "$1" "$antiphon" $args --tp-size "$2" --pp-size "$3" --enable-ep --ep-scope "$4"
    wait_journal 5000
    "$antiphon" halt "$tmp/many.h5" --now >/dev/null
    ended
    expect "stopped with experts over the $4, tp $2 on $1 ranks" 75 "STOPPED (antiphon halt)"
    ep=
    [ "$6" -eq 1 ] || ep=--enable-ep
    # shellcheck disable=SC2086
    try_on "$5" "$antiphon" $args --tp-size "$6" --pp-size "$7" $ep
    expect "goes on with tp $6 x pp $7 on $5 ranks" 0 "100/100 rows"
    same one many "goes on with tp $6 x pp $7 on $5 ranks: the same answers"
done

job_args hangs --kv-type f32 --max-tokens 400 --watchdog 3 --enable-ep --ep-scope job
# shellcheck disable=SC2086
start hangs on 4 "$antiphon" $args
wait_rank 2 1000
stopped=$rank_pid
kill -STOP "$stopped"
began=$(date +%s)
ended
expect "a rank that hangs is named" 75 "no sign of rank 2 (n2, pid $stopped)"
soon 30

job many 2 --ep-scope job
expect "a scope of nothing" 64 "--ep-scope says nothing without --enable-ep"
model=$tiny/qwen2moe
job many 8 --enable-ep --ep-scope job
expect "more ranks than experts" 64 "6 experts cannot be spread over 8 ranks"
model=$tiny/llama
job many 2 --tp-size 2 --enable-ep
expect "a model without experts" 64 "--enable-ep is for mixtures of experts"
done_testing
