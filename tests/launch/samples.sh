#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Several answers to each prompt, prompts that begin alike, rules for what is drawn: the same from
# any number of ranks, after a kill, and with every prompt computed whole.
set -u
# shellcheck source=tests/launch/lib.sh
. "$(dirname "$0")/lib.sh"
under_slurm 2 4

# 12 prompts that begin with the same words; the fifth is empty.
awk 'BEGIN {
    for (k = 0; k < 40; k++) common = common " word" k
    for (i = 0; i < 12; i++)
        printf "{\"prompt\": \"%s\"}\n", i == 4 ? "" : common " number " i
}' >"$tmp/prompts.jsonl"
pack prompts

# `job OUT [OPTIONS]` sets the arguments of a job.
job() {
    output=$tmp/$1.h5
    shift
    args="run --model $model --input $tmp/prompts.h5 --output $output"
    args="$args --max-tokens 40 --temperature 0.8 --seed 5 --max-model-len 512 $*"
}

# The answers as lines, without what may differ: who answered, and when.
answers() {
    "$antiphon" export "$tmp/$1.h5" --jsonl |
        sed 's/, *"\(dp_rank\|t_first\|t_total\|attempt\)": *[^,}]*//g'
}

job alone --samples 5
# shellcheck disable=SC2086
try "$antiphon" $args
expect "five answers each" 0 "5 answers each" "more shared" "COMPLETE 60/60 rows, 5 failed"
answers alone >"$tmp/alone.txt"
job one
# shellcheck disable=SC2086
try "$antiphon" $args
answers one >"$tmp/one.txt"
grep '"sample": 0' "$tmp/alone.txt" >"$tmp/first.txt"
same_lines "the first of each is the only one of a job without samples" "$tmp/one.txt" "$tmp/first.txt"
n=$(sed -n 's/.*"row": 7, .*"text": //p' "$tmp/alone.txt" | sort -u | wc -l)
if [ "$n" -eq 5 ]; then ok "they differ"; else not_ok "they differ" "$n different of 5"; fi

job whole --samples 5 --no-prefix-sharing
# shellcheck disable=SC2086
try "$antiphon" $args
answers whole >"$tmp/whole.txt"
same_lines "the same answers when every prompt is computed whole" "$tmp/alone.txt" "$tmp/whole.txt"
if grep -q shared "$out"; then
    not_ok "nothing was shared then" "$(grep shared "$out")"
else
    ok "nothing was shared then"
fi

job ranks --samples 5
# shellcheck disable=SC2086
on_nodes 2 4 "$antiphon" $args
expect "on four ranks" 0 "4 ranks" "COMPLETE 60/60 rows, 5 failed"
answers ranks >"$tmp/ranks.txt"
same_lines "the same answers from four ranks" "$tmp/alone.txt" "$tmp/ranks.txt"

# Penalties and other rules for what may be drawn: the answers change, and change the same way.
rules="--repetition-penalty 1.2 --frequency-penalty 0.3 --bad-words e --logit-bias 300=2"
# shellcheck disable=SC2086
job rules --samples 2 $rules
# shellcheck disable=SC2086
try "$antiphon" $args
expect "with penalties" 0 "COMPLETE 24/24 rows, 2 failed"
answers rules >"$tmp/rules.txt"
if grep '"sample": [01]' "$tmp/alone.txt" | cmp -s - "$tmp/rules.txt"; then
    not_ok "they change the answers" "they are the same"
else
    ok "they change the answers"
fi
# shellcheck disable=SC2086
job rules4 --samples 2 --max-num-seqs 3 --no-prefix-sharing $rules
# shellcheck disable=SC2086
on_nodes 2 4 "$antiphon" $args
expect "with penalties, on four ranks" 0 "COMPLETE 24/24 rows, 2 failed"
answers rules4 >"$tmp/rules4.txt"
same_lines "the same answers with penalties from four ranks" "$tmp/rules.txt" "$tmp/rules4.txt"
job wrong --logit-bias 300=high
# shellcheck disable=SC2086
try "$antiphon" $args
expect "a bias that is no number" 64 "--logit-bias '300=high'"

# What answers must be: of four ranks with a batch of three as of one.
job shape --samples 2 --regex '[a-z]{5,30}[.!]' --max-tokens 60
# shellcheck disable=SC2086
try "$antiphon" $args
expect "answers that match an expression" 0 "COMPLETE 24/24 rows, 2 failed"
answers shape >"$tmp/shape.txt"
if [ "$(grep -c '"text": "[a-z]\{5,30\}[.!]"' "$tmp/shape.txt")" -eq 22 ]; then
    ok "they do"
else
    not_ok "they do" "$(cut -c 1-200 "$tmp/shape.txt")"
fi
job shape4 --samples 2 --regex '[a-z]{5,30}[.!]' --max-tokens 60 --max-num-seqs 3
# shellcheck disable=SC2086
on_nodes 2 4 "$antiphon" $args
answers shape4 >"$tmp/shape4.txt"
same_lines "the same answers from four ranks" "$tmp/shape.txt" "$tmp/shape4.txt"

# Killed when some samples of a row are done and others are not. 190,000 tokens take some
# seconds, and the first answers are there at once.
long="--samples 40 --ignore-eos --max-tokens 400 --regex [^b]{900,9000}"
job long "$long"
# shellcheck disable=SC2086
try "$antiphon" $args
answers long >"$tmp/long.txt"
job killed "$long --max-num-seqs 6"
# shellcheck disable=SC2086
cut_off killed 1500 "$antiphon" $args
# shellcheck disable=SC2086
on_nodes 2 2 "$antiphon" $args
expect "after a kill, on two ranks" 0 "start 2" "COMPLETE 480/480 rows, 40 failed"
answers killed >"$tmp/killed.txt"
same_lines "the same answers after a kill" "$tmp/long.txt" "$tmp/killed.txt"

job killed "$long --regex [^c]{900,9000}"
# shellcheck disable=SC2086
try "$antiphon" $args
expect "another expression is another job" 64 "was begun with 'regex="
job killed --samples 4
# shellcheck disable=SC2086
try "$antiphon" $args
expect "another number of them is another job" 64 "was begun with another number of rows"
job wrong --samples 0
# shellcheck disable=SC2086
try "$antiphon" $args
expect "none is no number of answers" 64 "samples"
done_testing
