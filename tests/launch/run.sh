#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The main job in every way it can be started, on a tiny real checkpoint: the same answers from any
# number of ranks, batch and order, bad rows with a reason, refusals in one line, restarts.
set -u
# shellcheck source=tests/launch/lib.sh
. "$(dirname "$0")/lib.sh"
under_slurm 2 4

# 45 prompts, some with sampling parameters of their own, three that cannot be answered.
awk 'BEGIN {
    for (i = 0; i < 45; i++) {
        text = "prompt number " i
        for (k = 0; k < (i * 7) % 23; k++) text = text " word" k * i
        if (i == 11) text = ""
        if (i == 17) for (k = 0; k < 400; k++) text = text " too long"
        own = ""
        if (i % 5 == 0) own = ", \"max_tokens\": " 3 + i % 20
        if (i == 23) own = ", \"temperature\": -1"
        printf "{\"id\": \"row-%d\", \"prompt\": \"%s\", \"seed\": %d%s}\n", i, text, i * 3, own
    }
}' >"$tmp/prompts.jsonl"
pack prompts
awk '{ line[NR] = $0 } END { for (i = NR; i > 0; i--) print line[i] }' \
    "$tmp/prompts.jsonl" >"$tmp/reversed.jsonl"
pack reversed
: >"$tmp/none.jsonl"
pack none
head -n 7 "$tmp/prompts.jsonl" >"$tmp/seven.jsonl"
pack seven

# `run_args NAME OUT [OPTIONS]` sets the arguments of a job over $tmp/NAME.h5.
settings="--max-tokens 24 --temperature 0.8 --top-p 0.95 --seed 5 --max-model-len 256"
run_args() {
    name=$1 output=$2
    shift 2
    # shellcheck disable=SC2086
    set -- run --model "$model" --input "$tmp/$name.h5" --output "$tmp/$output.h5" $settings "$@"
    args=$*
}

# The answers as JSON lines, without what may differ: who answered, and when.
answers() {
    "$antiphon" export "$tmp/$1.h5" --jsonl | sed 's/, *"\(dp_rank\|t_first\|t_total\|attempt\)": *[^,}]*//g'
}

# ---- alone -------------------------------------------------------------------------------------

run_args prompts alone
# shellcheck disable=SC2086
try "$antiphon" $args
expect "alone" 0 "launched by none: 1 rank" "antiphon: COMPLETE 45/45 rows, 3 failed"
if [ -e "$tmp/alone.h5.journal" ] || [ -e "$tmp/alone.h5.part" ]; then
    not_ok "nothing but the results is left" "$(ls "$tmp")"
else
    ok "nothing but the results is left"
fi
try "$antiphon" show --failed "$tmp/alone.h5"
expect "each bad row has its reason" 0 "empty prompt" "temperature -1" "leaves no room for an answer"

# ---- the same answers however it is cut ----------------------------------------------------------

for setup in "--max-num-seqs 1" "--max-num-seqs 7 --max-num-batched-tokens 13" \
    "--max-num-seqs 64 --threads 3 --partition block" "--kv-memory 200K --max-num-seqs 30"; do
    rm -f "$tmp/cut.h5"
    # shellcheck disable=SC2086
    run_args prompts cut $setup
    # shellcheck disable=SC2086
    try "$antiphon" $args
    expect "alone with $setup" 0 "COMPLETE 45/45 rows, 3 failed"
    same alone cut "the same answers with $setup"
done

run_args prompts srun4
# shellcheck disable=SC2086
on_nodes 2 4 "$antiphon" $args
expect "srun, two nodes, four ranks" 0 "launched by srun: 4 ranks, dp 4" "COMPLETE 45/45 rows, 3 failed"
same alone srun4 "the same answers from four ranks"
run_args prompts srun3 --partition block --dp-size 3 --max-num-seqs 5
# shellcheck disable=SC2086
on_nodes 2 3 "$antiphon" $args
expect "srun, three ranks, in blocks" 0 "dp 3" "dealt in blocks" "COMPLETE 45/45 rows"
same alone srun3 "the same answers from three ranks in blocks"
if command -v mpirun >/dev/null; then
    run_args prompts mpi2
    # shellcheck disable=SC2086
    by_mpirun 2 "$antiphon" $args
    expect "mpirun, two ranks" 0 "launched by mpirun: 2 ranks" "COMPLETE 45/45 rows"
    empty "mpirun's output goes to a file as lines" "$(grep -c "$(printf '\033')" "$out" | grep -v '^0$')"
    same alone mpi2 "the same answers from mpirun"
fi

run_args reversed reversed-out
# shellcheck disable=SC2086
on_nodes 2 2 "$antiphon" $args
expect "the prompts in reverse order" 0 "COMPLETE 45/45 rows, 3 failed"
answers alone | sed 's/"row": *[0-9]*, *//' >"$tmp/forward.txt"
answers reversed-out | sed 's/"row": *[0-9]*, *//' |
    awk '{ line[NR] = $0 } END { for (i = NR; i > 0; i--) print line[i] }' >"$tmp/backward.txt"
same_lines "the same answers in reverse order" "$tmp/forward.txt" "$tmp/backward.txt"

# ---- the output is there already -------------------------------------------------------------------

run_args prompts srun4
# shellcheck disable=SC2086
on_nodes 2 4 "$antiphon" $args
expect "the same job once more" 0 "COMPLETE already"
run_args prompts srun4 --seed 6
# shellcheck disable=SC2086
on_nodes 2 4 "$antiphon" $args
expect "another job to the same output" 64 "was begun with 'seed=5', now it is 'seed=6'"
same alone srun4 "the answers are left alone"
run_args prompts seven
# shellcheck disable=SC2086
try "$antiphon" $args
expect "an output that is something else" 65 "seven.h5' is no results file"

# ---- rows at the edge ------------------------------------------------------------------------------

printf 'good\nbad \377\376 bytes\nlast\n' >"$tmp/bytes.txt"
"$antiphon" pack --from lines "$tmp/bytes.txt" --output "$tmp/bytes.h5"
run_args bytes bytes-out
# shellcheck disable=SC2086
on_nodes 2 2 "$antiphon" $args
expect "bytes that are no UTF-8" 0 "COMPLETE 3/3 rows, 1 failed"
try "$antiphon" show --failed "$tmp/bytes-out.h5"
expect "bytes that are no UTF-8: which" 0 "row 1" "not UTF-8 at byte 4"
awk 'BEGIN { for (i = 0; i < 60; i++) printf "number %d ", i }' >"$tmp/longest.txt"
"$antiphon" pack --from lines "$tmp/longest.txt" --output "$tmp/longest.h5"
run_args longest longest-out --max-model-len 512
# shellcheck disable=SC2086
try "$antiphon" $args
n=$("$antiphon" export "$tmp/longest-out.h5" --jsonl | sed 's/.*"prompt_tokens": *\([0-9]*\).*/\1/')
run_args longest longest-fits --max-model-len $((n + 1))
# shellcheck disable=SC2086
try "$antiphon" $args
expect "a prompt of the greatest length" 0 "COMPLETE 1/1 rows, 0 failed"
try "$antiphon" show "$tmp/longest-fits.h5"
expect "a prompt of the greatest length: one token" 0 "LENGTH, $n + 1 tokens"
run_args longest longest-over --max-model-len "$n"
# shellcheck disable=SC2086
try "$antiphon" $args
expect "a prompt one too long" 0 "COMPLETE 1/1 rows, 1 failed"

# ---- more ranks than rows, no rows ---------------------------------------------------------------

run_args seven seven8
# shellcheck disable=SC2086
on_nodes 2 8 "$antiphon" $args
expect "seven prompts on eight ranks" 0 "8 ranks" "COMPLETE 7/7 rows, 0 failed"
run_args none none1
# shellcheck disable=SC2086
try "$antiphon" $args
expect "no prompts" 0 "COMPLETE 0/0 rows, 0 failed"
run_args none none4
# shellcheck disable=SC2086
on_nodes 2 4 "$antiphon" $args
expect "no prompts on four ranks" 0 "COMPLETE 0/0 rows, 0 failed"

# ---- refusals: one line, the right code, no hang -------------------------------------------------

once() {
    n=$(grep -c '^antiphon run: ' "$err")
    if [ "$n" -eq 1 ]; then ok "$1: told once"; else not_ok "$1: told once" "$n times: $(cat "$err")"; fi
}
run_args prompts bad --dp-size 3
# shellcheck disable=SC2086
on_nodes 2 4 "$antiphon" $args
expect "sizes that do not fit" 64 "dp 3" "4"
once "sizes that do not fit"
run_args prompts bad --no-such-option
# shellcheck disable=SC2086
on_nodes 2 4 "$antiphon" $args
expect "an unknown option" 64 "no-such-option"
once "an unknown option"
run_args prompts bad --model "$tmp/nowhere"
# shellcheck disable=SC2086
on_nodes 2 4 "$antiphon" $args
expect "a model that is not there" 65 "$tmp/nowhere"
once "a model that is not there"
run_args nowhere bad
# shellcheck disable=SC2086
on_nodes 2 4 "$antiphon" $args
expect "an input that is not there" 65 "nowhere.h5"
once "an input that is not there"
run_args prompts no/such/folder/bad
# shellcheck disable=SC2086
on_nodes 2 4 "$antiphon" $args
expect "an output that cannot be made" failure "no/such/folder"
once "an output that cannot be made"
run_args prompts bad --kv-memory 1K
# shellcheck disable=SC2086
on_nodes 2 4 "$antiphon" $args
expect "a plan that does not fit" 64 "does not fit" "256 tokens"
once "a plan that does not fit"
run_args prompts bad
# shellcheck disable=SC2086
try srun --mpi=none -N 2 -n 4 -O "$antiphon" $args
expect "srun without PMIx" 64 "add --mpi=pmix"
once "srun without PMIx"
cat >"$tmp/differ.conf" <<TEXT
0-2 $antiphon $args
3 $antiphon $args --seed 6
TEXT
try srun --mpi=pmix -N 2 -n 4 -O --multi-prog "$tmp/differ.conf"
expect "a rank with other settings" 64 "other settings than rank 0"
once "a rank with other settings"

# ---- a killed job goes on where it was -----------------------------------------------------------

run_args prompts killed --max-num-seqs 2 --max-tokens 60
# shellcheck disable=SC2086
cut_off killed 2000 "$antiphon" $args
# shellcheck disable=SC2086
try "$antiphon" $args --seed 9
expect "other settings are refused" 64 "'seed=5', now it is 'seed=9'"
try "$antiphon" merge "$tmp/killed.h5" --output "$tmp/partial.h5"
expect "what there is can be had" 0 "not complete" "missing"
# shellcheck disable=SC2086
on_nodes 2 4 "$antiphon" $args
expect "the same command goes on, on more ranks" 0 "start 2" "COMPLETE 45/45 rows, 3 failed"
run_args prompts whole --max-num-seqs 2 --max-tokens 60
# shellcheck disable=SC2086
try "$antiphon" $args
expect "the same job in one go" 0 "COMPLETE 45/45 rows, 3 failed"
same whole killed "the same answers after the kill"
done_testing
