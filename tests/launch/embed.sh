#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# A program of a user's with libantiphon inside: built as he would, with pkg-config, on ranks of a
# job; its answers are those of antiphon run.
set -u
# shellcheck source=tests/launch/lib.sh
. "$(dirname "$0")/lib.sh"
under_slurm 2 4
if ! command -v pkg-config >/dev/null; then
    skip pkg-config "a program with libantiphon" "no pkg-config"
    done_testing
    exit
fi
# What pkg-config says relative to antiphon.pc is right for an installed tree, and for libraries in
# a build tree.
flags=$(PKG_CONFIG_PATH=$TOP_BUILDDIR/share pkg-config --libs antiphon)
# shellcheck disable=SC2086
if $ANT_CC -std=c11 -o "$tmp/embed" "$TOP_SRCDIR/share/examples/embed.c" -I"$TOP_SRCDIR/src" \
    $flags 2>"$tmp/cc"; then
    ok "the example is built"
else
    not_ok "the example is built" "$(cat "$tmp/cc")"
    done_testing
    exit
fi

# answers NAME: of what has just run, in order.
answers() {
    grep -a '^prompt ' "$out" | LC_ALL=C sort >"$tmp/$1"
}
try "$tmp/embed" "$model"
answers alone
expect "alone" 0 "21 parameters; the first is lm_head.weight, BF16, 384 x 64" "6 answers of 6"
on_nodes 2 4 "$tmp/embed" "$model"
answers four
expect "four replicas on two hosts" 0 "rank 3 of 4 (dp 3, tp 0): 1 answers of 6"
on_nodes 2 4 "$tmp/embed" "$model" 2
answers two
expect "two replicas of two ranks" 0 "rank 2 of 4 (dp 1, tp 0): 3 answers of 6" \
    "rank 3 of 4 (dp 1, tp 1): 0 answers of 6"
for name in four two; do
    same_lines "the same answers: $name" "$tmp/alone" "$tmp/$name"
done

# finish and number of tokens of each answer, from the example's own texts
sed -n '/texts\[N_PROMPTS\] = {/,/};/s/[^"]*\("[^"]*"\)/{"prompt": \1}\n/gp' \
    "$TOP_SRCDIR/share/examples/embed.c" | grep '^{' >"$tmp/prompts.jsonl"
"$antiphon" pack "$tmp/prompts.jsonl" -o "$tmp/prompts.h5" >/dev/null
try "$antiphon" run --model "$model" --input "$tmp/prompts.h5" --output "$tmp/out.h5" \
    --max-tokens 12 --temperature 0 --max-model-len 64
"$antiphon" export "$tmp/out.h5" --jsonl |
    sed 's/.*"finish": *"\([A-Z]*\)".*"completion_tokens": *\([0-9]*\).*/\1, \2 tokens/' >"$tmp/run"
sed 's/^prompt [0-9]*: \([A-Z]*, [0-9]* tokens\).*/\1/' "$tmp/alone" >"$tmp/embedded"
if [ "$(wc -l <"$tmp/run")" -eq 6 ] && cmp -s "$tmp/run" "$tmp/embedded"; then
    ok "the answers of antiphon run"
else
    not_ok "the answers of antiphon run" "$(diff -a "$tmp/run" "$tmp/embedded")"
fi

try "$tmp/embed" "$tmp/nowhere"
expect "a model that is not there" 1 "embed: " "nowhere"
on_nodes 2 4 "$tmp/embed" "$model" 3
expect "ranks that do not fit" 1 "4" "3"
done_testing
