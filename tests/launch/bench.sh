#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# antiphon bench on several ranks: one table and one file of figures, summed over all of them.
set -u
# shellcheck source=tests/launch/lib.sh
. "$(dirname "$0")/lib.sh"
under_slurm 2 2

on_nodes 2 2 "$antiphon" bench --dummy "$model" --prompts 21 --in 40 --out 10 --work batch,single \
    --repeat 2 --threads 1 --json "$tmp/two.json"
expect "two ranks" 0 "2 ranks of 1 thread" "batch         21"
if [ "$(grep -c '^work' "$out")" -eq 1 ]; then
    ok "one table"
else
    not_ok "one table" "$(cat "$out")"
fi
python "the figures of both add up" "$TOP_SRCDIR/tests/cli/bench_check.py" "$tmp/two.json" 2 \
    batch,single "$model/config.json"

# Long enough that a rank without prompts of its own could look too early.
work="--prompts 64 --in 40 --out 400 --work batch --threads 1"
# shellcheck disable=SC2086  # words
try "$antiphon" bench --dummy "$model" $work --json "$tmp/one.json"
# shellcheck disable=SC2086  # words
on_nodes 2 2 "$antiphon" bench --dummy "$model" $work --tp-size 2 --json "$tmp/replica.json"
expect "a replica of two ranks" 0 "batch         64"
python "what both of them did is counted" "$TOP_SRCDIR/tests/cli/bench_check.py" \
    "$tmp/replica.json" 2 batch "$model/config.json" "$tmp/one.json"

on_nodes 2 2 "$antiphon" bench --dummy "$tmp/none"
expect "an error of all is told once" 65 "antiphon bench: '$tmp/none' is neither"
if [ "$(grep -c "is neither" "$err")" -ne 1 ]; then
    not_ok "told once" "$(cat "$err")"
fi
done_testing
