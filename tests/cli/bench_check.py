# SPDX-License-Identifier: Apache-2.0
# bench_check.py FILE RANKS WORKLOADS CONFIG [OTHER]: what antiphon bench wrote as JSON of the model
# with this config.json is whole and adds up, and as much was computed as in the other file. Prints
# what is not so, one line each.
import json
import sys

path, ranks, names = sys.argv[1], int(sys.argv[2]), sys.argv[3].split(",")
figures = json.load(open(path))
config = json.load(open(sys.argv[4]))
# Weights that every row meets: not the embedding, nor the output and what comes behind the last
# layer's attention, which only drawn rows meet.
hidden, heads = config["hidden_size"], config["num_attention_heads"]
behind = config.get("head_dim", hidden // heads) * heads + 3 * config["intermediate_size"] + 1
inner = figures["model"]["parameters"] - hidden * (2 * config["vocab_size"] + behind)


def near(what, a, b):
    if abs(a - b) > 1e-6 * max(abs(a), abs(b), 1e-9):
        print(f"{what}: {a} is not {b}")


def check(name, work, s):
    if not 0 < s["wall_s"] < 600:
        print(f"{name}: {s['wall_s']} s")
    near(f"{name}: prompt/s", s["prompt_tokens_per_s"] * s["wall_s"], s["prompt_tokens"])
    near(f"{name}: output/s", s["output_tokens_per_s"] * s["wall_s"], s["output_tokens"])
    near(f"{name}: total/s", s["total_tokens_per_s"] * s["wall_s"],
         s["prompt_tokens"] + s["output_tokens"])
    near(f"{name}: prompts", s["prompt_tokens"], sum(n for n, _ in work["lengths"]))
    near(f"{name}: answers", s["output_tokens"], sum(n for _, n in work["lengths"]))
    if not work["mixed_lengths"]:
        near(f"{name}: prompts", s["prompt_tokens"],
             work["prompts"] * (work["shared_tokens"] + work["in"]))
        near(f"{name}: answers", s["output_tokens"], work["prompts"] * work["out"])
    if not 0 < s["first_token_s"] <= s["wall_s"]:
        print(f"{name}: first token after {s['first_token_s']} of {s['wall_s']} s")
    if s["steps"] <= 0:
        print(f"{name}: {s['steps']} steps")
    if not 0 < s["prefilled_tokens"] <= s["prompt_tokens"]:
        print(f"{name}: {s['prefilled_tokens']} tokens prefilled of {s['prompt_tokens']}")
    busy = s["gemm_s"] + s["attention_s"] + s["other_s"]
    if not 0 < busy <= 1.05 * s["wall_s"]:
        print(f"{name}: {busy} s busy of {s['wall_s']}")
    if not 0 < s["floor_s"]:
        print(f"{name}: no floor")
    rows = s["prefilled_tokens"] + s["output_tokens"] - work["prompts"]
    if not s["flops"] >= 2 * inner * rows:
        print(f"{name}: {s['flops']} flops for {rows} rows by {inner} weights")


if figures["device"]["ranks"] != ranks:
    print(f"{figures['device']['ranks']} ranks, not {ranks}")
limits = figures["limits"]
if not 0 < limits["least_read_bytes_per_s"] <= limits["usual_read_bytes_per_s"] <= limits["read_bytes_per_s"]:
    print(f"limits: {limits}")
if limits["flops_per_s"] <= 0:
    print(f"limits: {limits}")
start = figures["start"]
if not 0 < start["load_s"] < start["ready_s"] < start["first_token_s"]:
    print(f"start: {start}")
if [w["name"] for w in figures["workloads"]] != names:
    print(f"workloads: {[w['name'] for w in figures['workloads']]}")
for work in figures["workloads"]:
    samples = work["repetitions"]
    walls = sorted(s["wall_s"] for s in samples)
    near("median", work["median"]["wall_s"], walls[len(walls) // 2])
    near("spread", work["spread"], walls[-1] / walls[0] - 1)
    for i, s in enumerate(samples):
        check(f"{work['name']}, repetition {i + 1}", work, s)
if len(sys.argv) > 5:
    for work, other in zip(figures["workloads"], json.load(open(sys.argv[5]))["workloads"]):
        near(f"{work['name']}: flops", work["median"]["flops"], other["median"]["flops"])
