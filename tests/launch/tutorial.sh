#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The tutorial does what it says: its commands, taken from its text, run one after the other.
set -u
# shellcheck source=tests/launch/lib.sh
. "$(dirname "$0")/lib.sh"
under_slurm 2 4
PATH=$TOP_BUILDDIR/src:$PATH MODEL=$model
export PATH MODEL
cd "$tmp" || exit 1

# "    $ " begins a command, "    > " goes on with it.
{
    echo 'set -eu -o pipefail'
    command -v gnuplot >/dev/null || echo 'gnuplot() { :; }'
    command -v h5dump >/dev/null || echo 'h5dump() { :; }; h5diff() { :; }'
    sed -n 's/^    [$>] //p' "$TOP_SRCDIR/share/doc/tutorial"
} >commands
n=$(grep -c '^    \$ ' "$TOP_SRCDIR/share/doc/tutorial")
if [ "$n" -ge 15 ]; then ok "$n commands"; else not_ok "commands" "only $n"; fi
try bash -x commands
expect "they all run" 0 "prompts.h5: 201 prompts" "best     dp" "tensor --gpus 32" \
    "COMPLETE 201/201 rows, 1 failed" "empty prompt" "answers.html: "
try cat job.log
expect "the job had four ranks on two nodes" 0 ": 4 ranks, dp 4, tp 1, pp 1" "n2 "
try grep -c '"id"' answers.jsonl
expect "an answer to each" 0 201
if command -v gnuplot >/dev/null; then
    try grep -c "<path" tokens.svg
    expect "the plot" 0
else
    skip gnuplot "the plot" "no gnuplot"
fi
if command -v h5dump >/dev/null; then ok "h5dump and h5diff"; else
    skip hdf5-tools "h5dump and h5diff" "not installed"
fi
done_testing
