#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# antiphon bench alone: every kind of workload on a tiny model, figures that add up, refusals.
set -u
# shellcheck source=tests/launch/lib.sh
. "$(dirname "$0")/../launch/lib.sh"
alone

# adds_up WHAT FILE WORKLOADS
adds_up() {
    python "$1" "$TOP_SRCDIR/tests/cli/bench_check.py" "$2" 1 "$3" "$model/config.json"
}

try "$antiphon" bench --model "$model" --prompts 20 --in 30 --out 12 --max-num-seqs 8 \
    --work batch,mix,topp,single --repeat 2 --json "$tmp/model.json"
expect "a model" 0 "llama, safetensors" "mix           20" "topp" "first token after"
adds_up "its figures add up" "$tmp/model.json" batch,mix,topp,single
try "$antiphon" bench --dummy "$model" --prompts 3 --in 30 --out 4 --work prefill --repeat 1 \
    --threads 1 --json -
expect "random weights, JSON alone" 0 '"format": "random BF16"'
adds_up "its figures add up" "$tmp/out" prefill
for type in f16 f32 q8_0 q4_0; do
    try "$antiphon" bench --dummy "$model/config.json" --dummy-type "$type" --prompts 2 --in 30 \
        --out 4 --work batch --repeat 1
    expect "random weights of type $type" 0 "batch"
done
try "$antiphon" bench --model "$model" --prompts 3 --in 20 --out 6 --work batch --repeat 1 \
    --regex '(.|\n){100,}' --speculate 3
expect "answers of a shape" 0 "batch"
if command -v python3 >/dev/null; then
    try python3 -B "$TOP_SRCDIR/share/benchmarks/side-by-side" --antiphon "$antiphon" \
        --model "$model" --works batch,start --prompts 3 --rounds 2 --threads 1
    expect "side by side with nobody" 0 "| batch, tokens/s | " "| start, s | "
else
    skip python3 "side by side with nobody" "no python3"
fi

try "$antiphon" bench --help
expect "every workload is in the help" 0 " batch " " mix " " prefill " " single " " prefix " " topp " \
    " W1 " " W2 " " W3 " " W4 " " W5 " " W6 "
try "$antiphon" bench
expect "no model" 64 "antiphon bench: one of --model and --dummy is needed"
try "$antiphon" bench --model "$model" --dummy smollm2-135m
expect "two models" 64 "one of --model and --dummy is needed"
try "$antiphon" bench --dummy smollm2-135m --regex a
expect "a shape without words" 64 "a shape of answers needs --model or --tokenizer"
try "$antiphon" bench --dummy smollm3
expect "no such shape" 65 "known: smollm2-135m, "
try "$antiphon" bench --dummy "$model" --work batch,loop
expect "no such workload" 64 "--work 'loop' is no workload"
try "$antiphon" bench --dummy "$model" --work W1
expect "longer than the model is made for" 64 "workload W1 has sequences of 1152 tokens" "for 512"
try "$antiphon" bench --dummy "$model" --work batch --fast
expect "what nothing is faster with" 64 "--fast is for --weight-type fp8"
try "$antiphon" bench --dummy "$model" --prompts 2 --in 30 --out 4 --work batch --repeat 1 \
    --json /nonexistent/x
expect "figures that cannot be written" 65 "cannot create '/nonexistent/x"

done_testing
