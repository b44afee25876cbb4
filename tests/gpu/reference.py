# SPDX-License-Identifier: Apache-2.0
"""reference.py MODEL PROMPTS ANSWERS BOUND: greedy answers with log probabilities, as JSON lines,
against what transformers makes of the same tokens in float32.

Log probabilities are within BOUND of its own, on average within a tenth of it, and no other token
is better there by more than BOUND."""
import json
import sys

import tokenizers
import torch
import transformers


def main(folder, prompts, answers, bound):
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.backends.cuda.matmul.allow_tf32 = False
    transformers.utils.logging.disable_progress_bar()
    model = transformers.AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager").to(device).eval()
    tokenizer = tokenizers.Tokenizer.from_file(f"{folder}/tokenizer.json")
    with open(prompts, encoding="utf-8") as lines:
        ids = [tokenizer.encode(json.loads(line)["prompt"]).ids for line in lines]
    apart, behind = [], 0.0
    with open(answers, encoding="utf-8") as lines:
        for row in map(json.loads, lines):
            prompt, tokens = ids[row["row"]], torch.tensor(row["tokens"], device=device)
            assert row["status"] == "OK" and row["prompt_tokens"] == len(prompt), row["row"]
            with torch.inference_mode():
                logits = model(torch.tensor([prompt + row["tokens"]], device=device)).logits[0]
            logprobs = logits[len(prompt) - 1 : -1].log_softmax(-1)
            drawn = logprobs.gather(1, tokens[:, None])[:, 0]
            apart += (drawn - torch.tensor(row["logprobs"], device=device)).abs().tolist()
            behind = max(behind, (logprobs.max(-1).values - drawn).max().item())
    mean = sum(apart) / len(apart)
    print(f"{len(apart)} log probabilities apart by {mean:.4f}, at most {max(apart):.4f}; "
          f"better ones by at most {behind:.4f}")
    return max(apart) <= bound and mean <= bound / 10 and behind <= bound


if __name__ == "__main__":
    sys.exit(not main(*sys.argv[1:4], float(sys.argv[4])))
