#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Log probabilities against transformers, of tiny checkpoints of several families; in every form
# that they leave in; after a stop in the middle the same again.
set -u
# shellcheck source=tests/launch/lib.sh
. "$(dirname "$0")/../launch/lib.sh"
golden=$TOP_SRCDIR/tests/golden/logprobs.jsonl

if ! command -v python3 >/dev/null; then
    skip python "log probabilities" "no python3"
    done_testing
    exit
fi

# In plain C with a float32 cache only the order of sums differs.
sed 's/.*"model": "\([a-z0-9]*\)".*/\1/' "$golden" | sort -u >"$tmp/families"
while read -r family; do
    grep "\"model\": \"$family\"" "$golden" >"$tmp/pairs.jsonl"
    "$antiphon" pack --force "$tmp/pairs.jsonl" --output "$tmp/pairs.h5" >"$out" 2>"$err"
    try env ANTIPHON_CPU=c "$antiphon" score --model "$tiny/$family" --input "$tmp/pairs.h5" \
        --output "$tmp/$family.h5" --logprobs 3 --kv-type f32 --max-model-len 256
    expect "$family: all scored" 0 " 0 failed"
    "$antiphon" export "$tmp/$family.h5" --output "$tmp/$family.jsonl" >"$out" 2>"$err"
    try python3 "$TOP_SRCDIR/tests/cli/score_check.py" golden "$tmp/pairs.jsonl" \
        "$tmp/$family.jsonl"
    expect "$family: log probabilities, sums and the most probable as by transformers" 0 "alike"
done <"$tmp/families"

# ---- rows that cannot be scored, prompts that begin alike ---------------------------------------

python3 - "$tmp/rows.jsonl" <<'END'
import json, sys
with open(sys.argv[1], "w") as out:
    common = "a common beginning of some length, long enough for pages to be shared " * 3
    for i in range(40):
        row = {"id": i, "prompt": common, "continuation": " number %d" % i}
        if i == 7:
            row["continuation"] = ""
        if i == 8:
            row["prompt"] = common * 30
        if i == 9:
            row["prompt"] = ""
        if i == 10:
            del row["continuation"]
        out.write(json.dumps(row) + "\n")
END
"$antiphon" pack "$tmp/rows.jsonl" --output "$tmp/rows.h5" >"$out" 2>"$err"
try "$antiphon" score --model "$tiny/llama" --input "$tmp/rows.h5" --output "$tmp/scores.h5" \
    --max-model-len 256 --max-num-batched-tokens 64
expect "a bad row fails alone" 0 "COMPLETE 40/40 rows, 3 failed" "more shared"
try "$antiphon" export "$tmp/scores.h5"
expect "and says why" 0 "empty continuation" "--max-model-len is 256"
cp "$out" "$tmp/whole.jsonl"
try "$antiphon" export --csv "$tmp/scores.h5"
expect "sums in CSV" 0 ",error,logprob_sum,is_greedy"
try "$antiphon" score --model "$tiny/llama" --input "$tmp/rows.h5" --output "$tmp/few.h5" \
    --max-model-len 256 --max-num-seqs 2 --max-num-batched-tokens 7 --no-prefix-sharing
expect "with a small budget" 0 "COMPLETE 40/40"
"$antiphon" export "$tmp/few.h5" >"$tmp/few.jsonl" 2>"$err"
try python3 "$TOP_SRCDIR/tests/cli/score_check.py" same "$tmp/whole.jsonl" "$tmp/few.jsonl"
expect "the same bits" 0 "the same"
for k in 0 1; do
    "$antiphon" score --model "$tiny/llama" --input "$tmp/rows.h5" --output "$tmp/part.h5" \
        --max-model-len 256 --shard "$k/2" >"$out" 2>"$err"
done
try "$antiphon" merge "$tmp/part.0-of-2.h5" "$tmp/part.1-of-2.h5" --output "$tmp/both.h5"
expect "as two shards" 0 "complete, 37 ok, 3 failed"
"$antiphon" export "$tmp/both.h5" >"$tmp/both.jsonl" 2>"$err"
try python3 "$TOP_SRCDIR/tests/cli/score_check.py" same "$tmp/whole.jsonl" "$tmp/both.jsonl"
expect "the same bits" 0 "the same"
try "$antiphon" score --model "$tiny/llama" --input "$tmp/rows.h5" --output "$tmp/rows.h5x" \
    --temperature 1
expect "nothing is drawn" 64 "unknown option '--temperature'"
try "$antiphon" score --model "$tiny/llama" --input "$TOP_SRCDIR/share/examples/prompts.jsonl" \
    --output "$tmp/x.h5"
expect "an input that is none" 65 "antiphon pack"

# ---- as an evaluation harness asks --------------------------------------------------------------

cat >"$tmp/requests.jsonl" <<'END'
["The answer is", " yes"]
{"context": "The answer is", "continuation": " no"}
{"doc_id": 0, "arguments": {"gen_args_0": {"arg_0": "One", "arg_1": " two"}, "gen_args_1": {"arg_0": "One", "arg_1": " three"}}}
END
harness=$TOP_SRCDIR/share/examples/harness.py
python3 "$harness" pack "$tmp/requests.jsonl" --output "$tmp/asked.jsonl" >"$out" 2>"$err" &&
    "$antiphon" pack "$tmp/asked.jsonl" --output "$tmp/asked.h5" >"$out" 2>"$err"
try "$antiphon" score --model "$tiny/llama" --input "$tmp/asked.h5" --output "$tmp/told.h5"
expect "requests of a harness" 0 "COMPLETE 4/4 rows, 0 failed"
if python3 -c "import h5py" 2>/dev/null; then
    try python3 "$harness" answers "$tmp/told.h5"
    expect "its answers" 0 "[-"
else
    skip h5py "its answers" "no h5py"
fi

# ---- answers with log probabilities, gone on with after a kill ----------------------------------

sed 's/, "continuation".*/}/' "$tmp/rows.jsonl" | head -n 7 >"$tmp/prompts.jsonl"
"$antiphon" pack --force "$tmp/prompts.jsonl" --output "$tmp/prompts.h5" >"$out" 2>"$err"
set -- "$antiphon" run --model "$tiny/llama" --input "$tmp/prompts.h5" --max-model-len 512 \
    --max-tokens 400 --ignore-eos --samples 12 --seed 5
try "$@" --logprobs 2 --prompt-logprobs 1 --output "$tmp/once.h5"
expect "answers with log probabilities" 0 "COMPLETE 84/84"
"$antiphon" export "$tmp/once.h5" >"$tmp/once.jsonl" 2>"$err"
# Killed when parts of answers are in the journal.
cut_off twice 8192 "$@" --logprobs 2 --prompt-logprobs 1 --output "$tmp/twice.h5" --threads 1 \
    --save-every 0.02
try "$antiphon" merge "$tmp/twice.h5" --output "$tmp/part.h5"
expect "what there is by then" 0 "not complete"
try "$@" --logprobs 2 --prompt-logprobs 1 --output "$tmp/twice.h5"
expect "gone on with" 0 "COMPLETE 84/84"
"$antiphon" export "$tmp/twice.h5" >"$tmp/twice.jsonl" 2>"$err"
try python3 "$TOP_SRCDIR/tests/cli/score_check.py" same "$tmp/once.jsonl" "$tmp/twice.jsonl"
expect "the same bits" 0 "the same"
try "$@" --output "$tmp/plain.h5"
"$antiphon" export "$tmp/plain.h5" >"$tmp/plain.jsonl" 2>"$err"
try python3 "$TOP_SRCDIR/tests/cli/score_check.py" texts "$tmp/once.jsonl" "$tmp/plain.jsonl"
expect "the same answers as without them" 0 "the same"
done_testing
