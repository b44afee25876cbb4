#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Models of the shapes of real ones, at few layers and with random weights: one GPU against
# transformers in float32, every way to share them out against one GPU. Part of `make check-gpu`;
# takes some minutes and 30 GB of memory and disk.
set -u
# shellcheck source=tests/gpu/jobs.sh
. "$(dirname "$0")/jobs.sh"
needs "numpy, tokenizers, torch, transformers"

# A shape, its layers, and how far log probabilities may be apart; more where experts are chosen,
# two of which may be nearly as good.
for shape in "llama-3.1-8b 4 0.2" "qwen2.5-7b 4 0.2" "phi-mini-moe 4 1" "mixtral-8x7b 2 0.5"; do
    # shellcheck disable=SC2086  # words
    set -- $shape
    python3 -B "$TOP_SRCDIR/tests/gpu/make_model.py" "$1" "$2" model || exit 1
    cp "$tiny/llama/tokenizer.json" model
    layouts "$1" model "$3"
    judged "$1 against transformers" reference.py model few.jsonl one.out.jsonl "$3"
    rm -r model
done
done_testing
