#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# antiphon plan: what it predicts beside runs that were measured, what it takes and refuses.
set -u
# shellcheck source=tests/launch/lib.sh
. "$(dirname "$0")/../launch/lib.sh"
alone

# near WHAT MEASURED OPTIONS...: output tokens/s of the best layout within 20 % of those measured.
near() {
    what=$1 measured=$2
    shift 2
    try "$antiphon" plan "$@" --json -
    empty "$what: within 20 % of $measured tokens/s" "$(awk -v measured="$measured" '
        /"answers_s"/ && !seconds { gsub(/[^0-9.e+-]/, "", $2); seconds = $2 }
        /"output_tokens"/ && !tokens { gsub(/[^0-9.e+-]/, "", $2); tokens = $2 }
        END {
            if (!seconds) { print "no plan"; exit }
            ratio = tokens / seconds / measured
            if (ratio < 0.8 || ratio > 1.2) print tokens / seconds
        }' out)$(cat err)"
}

# The runs of BENCHMARKS.
big=llama-3.1-8b small=smollm2-135m
near "H100, long prompts" 3857 --dummy $big --prompts 1000 --in 1024 --out 128 --gpus h100:1
near "H100, a batch" 17990 --dummy $big --prompts 2000 --in 128 --out 128 --gpus h100:1
near "H100, long answers" 16642 --dummy $big --prompts 512 --in 128 --out 1024 --gpus h100:1
near "H100, one answer" 186 --dummy $big --prompts 1 --in 128 --out 256 --gpus h100:1
near "H100, shared beginning" 16697 --dummy $big --prompts 1000 --shared 1024 --in 64 --out 64 --gpus h100:1
near "H200, a batch" 19039 --dummy $big --prompts 2000 --in 128 --out 128 --gpus h200:1
near "two H200, two replicas" 37350 --dummy $big --prompts 4000 --in 128 --out 128 --gpus h200:2
near "two H200, one replica" 29610 --dummy $big --prompts 2000 --in 128 --out 128 --gpus h200:2 --tp-size 2
near "two H200, one answer" 364 --dummy $big --prompts 1 --in 128 --out 256 --gpus h200:2 --tp-size 2
near "H100, a small model" 291900 --dummy $small --prompts 2000 --in 128 --out 128 --gpus h100:1 \
    --max-num-seqs 2048
near "two cores, BF16" 586 --dummy $small --prompts 64 --in 128 --out 128 --cpus zen4:2
near "two cores, Q8_0" 567 --dummy $small --dummy-type q8_0 --prompts 64 --in 128 --out 128 \
    --cpus zen4:2
near "two cores, one answer" 113 --dummy $small --prompts 1 --in 1 --out 128 --cpus zen4:2
near "two cores, one answer of Q8_0" 184 --dummy $small --dummy-type q8_0 --prompts 1 --in 1 --out 128 \
    --cpus zen4:2
near "two cores, one answer of Q4_0" 320 --dummy $small --dummy-type q4_0 --prompts 1 --in 1 --out 128 \
    --cpus zen4:2
near "two cores, one answer of a larger model" 29.3 --dummy qwen2.5-0.5b --prompts 1 --in 1 --out 48 \
    --cpus zen4:2
near "two cores, one such answer of Q8_0" 49 --dummy qwen2.5-0.5b --dummy-type q8_0 --prompts 1 --in 1 \
    --out 48 --cpus zen4:2
near "two cores, BF16 of a larger model" 95.8 --dummy qwen2.5-0.5b --prompts 32 --in 128 --out 32 --cpus zen4:2
near "two cores, shared beginning" 241 --dummy $small --prompts 200 --shared 1000 --in 16 --out 8 \
    --max-tokens 8 --cpus zen4:2
near "H100, a mixture" 33971 --dummy phi-mini-moe --prompts 2000 --in 128 --out 128 --gpus h100:1 \
    --max-model-len 4096 --max-num-seqs 2048
near "H100, one answer of a small model" 1637 --dummy $small --prompts 1 --in 128 --out 256 --gpus h100:1
near "H200, a mixture" 35541 --dummy phi-mini-moe --prompts 2000 --in 128 --out 128 --gpus h200:1 \
    --max-model-len 4096 --max-num-seqs 1024
near "H200, a large mixture" 7153 --dummy mixtral-8x7b --prompts 600 --in 128 --out 128 --gpus h200:1 \
    --max-model-len 4096 --max-num-seqs 1024
near "two H200, two replicas of a mixture" 70218 --dummy phi-mini-moe --prompts 4000 --in 128 --out 128 \
    --gpus h200:2 --max-model-len 4096 --max-num-seqs 1024 --dp-size 2
near "two H200, experts over the job" 55183 --dummy phi-mini-moe --prompts 4000 --in 128 --out 128 \
    --gpus h200:2 --max-model-len 4096 --max-num-seqs 1024 --dp-size 2 --enable-ep --ep-scope job
near "two H200, stages" 31847 --dummy $big --prompts 2000 --in 128 --out 128 --gpus h200:2 --pp-size 2
near "two H200, stages of a mixture" 51911 --dummy phi-mini-moe --prompts 2000 --in 128 --out 128 \
    --gpus h200:2 --max-model-len 4096 --max-num-seqs 1024 --pp-size 2
near "two H200, stages, one answer" 234 --dummy $big --prompts 1 --in 128 --out 256 --gpus h200:2 --pp-size 2
near "H200, one answer" 240 --dummy $big --prompts 1 --in 128 --out 256 --gpus h200:1

try "$antiphon" plan --dummy llama-3.1-70b --prompts 100000 --in 1000 --out 300 --gpus h100:32 \
    --max-model-len 8192
expect "70B needs several GPUs a replica" 0 "    8    4    1       35.2" "best     dp 8, tp 4, pp 1" \
    "antiphon template tensor --gpus 32 --gpus-per-node 8 --tp-size 4" "4 nodes of 8 ranks"
try "$antiphon" plan --dummy llama-3.1-70b --prompts 10 --gpus h100:1
expect "and does not fit one" 64 "no way fits 1 ranks: weights 141.1 GB"
try "$antiphon" plan --dummy llama-3.1-70b --prompts 10 --gpus h100:8 --per-node 1 --max-model-len 4096
expect "stages where nodes have one" 0 "best     dp 4, tp 1, pp 2" "--pp-size 2"
try "$antiphon" plan --dummy mixtral-8x7b --prompts 100000 --gpus h100:8 --max-model-len 8192 --enable-ep
expect "experts" 0 "best     dp 4, tp 2, pp 1" "antiphon template experts --gpus 8"
try "$antiphon" plan --dummy mixtral-8x7b --prompts 100000 --gpus h100:8 --max-model-len 8192 \
    --tp-size 1 --enable-ep --ep-scope job
expect "experts over the job" 0 "    8    1    1       14.49" "--tp-size 1 " "-- --ep-scope job | sbatch"
try "$antiphon" plan --dummy $big --prompts 1000000 --gpus h100:32
expect "a million prompts on four nodes" 0 "best     dp 32, tp 1, pp 1" "antiphon template multi-node"
try "$antiphon" plan --dummy $big --prompts 100 --samples 8 --in 2000 --out 20 --gpus h100:1
expect "samples share their prompt" 0 "800 answers"

# A real input: texts, and tokens.
printf '{"prompt": "a longer prompt number %d", "max_tokens": 40}\n{"prompt": "x"}\n{"prompt": ""}\n' 1 >p.jsonl
"$antiphon" pack p.jsonl -o p.h5 >/dev/null
try "$antiphon" plan --model "$model" --input p.h5 --cpus avx2:64 --nodes 2 --max-tokens 100 --out 30
expect "prompts of a file" 0 "work     2 answers: prompts of" "answers of 30" "2 nodes of 4 ranks" \
    "antiphon template cpu --nodes 2 --ranks-per-node 4 --cpus-per-rank 16"
try "$antiphon" plan --dummy $big --input p.h5 --gpus h100:1
expect "texts need the model's tokenizer" 64 "'p.h5' holds texts, whose tokens only --model can count"
try "$antiphon" plan --model "$model" --prompts 10 --in 5 --out 5 --cpus zen4:2 --json plan.json
expect "JSON beside the table" 0 "best     dp 1"
python "it is JSON" -c 'import json; json.load(open("plan.json"))["layouts"][0]["answers_s"]'

# A machine that reads half as fast, and one whose figures are something else.
cat >slow.json <<END
{"device": {"backend": "cpu", "ranks": 1, "threads": 2},
 "limits": {"read_bytes_per_s": 36e9, "usual_read_bytes_per_s": 18e9, "least_read_bytes_per_s": 9e9,
            "flops_per_s": 0}}
END
try "$antiphon" plan --dummy $small --prompts 1 --in 1 --out 128 --cpus zen4:2 --measured slow.json
expect "and what it may be" 0 "reckoned at 18 GB/s a rank and was seen at 9 to 36: 3"
near "what bench has measured" 58 --dummy $small --prompts 1 --in 1 --out 128 --cpus zen4:2 \
    --measured slow.json
try "$antiphon" plan --dummy $small --prompts 1 --gpus h100:1 --measured slow.json
expect "measured on something else" 64 "'slow.json' was measured on a host, not on h100"
try "$antiphon" plan --dummy $small --prompts 1 --cpus zen4:2 --measured plan.json
expect "not measured at all" 65 "'plan.json' is not JSON of antiphon bench"

try "$antiphon" plan --dummy $big --prompts 10
expect "no machine" 64 "one of --gpus and --cpus is needed"
try "$antiphon" plan --dummy $big --gpus h100:1
expect "no prompts" 64 "one of --input and --prompts is needed"
try "$antiphon" plan --prompts 10 --gpus h100:1
expect "no model" 64 "one of --model and --dummy is needed"
try "$antiphon" plan --dummy $big --prompts 10 --gpus h100
expect "no number" 64 "--gpus 'h100' is not a kind and a number, such as h100:8"
try "$antiphon" plan --dummy $big --prompts 10 --gpus v100:8
expect "an unknown kind" 64 "--gpus: 'v100' is not one of a100-40, a100"
try "$antiphon" plan --dummy $big --prompts 10 --gpus zen4:8
expect "a kind of core" 64 "--gpus: 'zen4' is a kind of core"
try "$antiphon" plan --dummy $big --prompts 10 --gpus h100:8 --dp-size 3
expect "a number that does not fit" 64 "8 ranks cannot be shared out so"
try "$antiphon" plan --dummy $big --prompts 10 --in 200000 --gpus h100:1
expect "prompts that are too long" 64 "leave no room for answers in 131072"
done_testing
