#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""make_logprobs.py

Log probabilities of continuations by PyTorch and transformers, in float32, of some of the tiny
checkpoints that make_tiny.py made: logprobs.jsonl, a line each of

  model          the checkpoint's folder under tiny/
  prompt, continuation
  expected:
  tokens         the continuation's ids, cut as evaluation harnesses do: those of both texts together
                 behind as many as the prompt alone has
  logprobs       of these tokens
  sum, is_greedy of all of them; whether each is the most probable one
  top_ids, top_logprobs    the three most probable ids in each place

Needs: torch, transformers, tokenizers.
"""
import json
import os

import torch
import transformers
from tokenizers import Tokenizer

HERE = os.path.dirname(os.path.abspath(__file__))
FAMILIES = ["llama", "gemma2", "granite", "mixtral", "olmo3", "phi3", "qwen2moe"]
N_TOP = 3
PAIRS = [
    ("The capital of France is", " Paris"),
    ("The capital of France is", " the largest city of the country."),
    ("Question: is water wet?\nAnswer: ", "yes"),
    ("Question: is water wet?\nAnswer: ", "no, not at all"),
    ("Two spaces at the end  ", "and a word"),
    ("na\u00efve caf\u00e9 \u2014 ", "\u65e5\u672c\u8a9e \U0001f600"),
    ("one two three four five six seven eight nine ten " * 4, "eleven twelve"),
    ("1, 2, 3, 4,", " 5, 6, 7"),
]


def split(tokenizer, prompt, continuation):
    bare = prompt.rstrip(" \t\n\r")
    before = tokenizer.encode(bare).ids
    both = tokenizer.encode(prompt + continuation).ids
    return both[: len(before)], both[len(before) :]


@torch.no_grad()
def score(model, before, tokens):
    logits = model(torch.tensor([before + tokens])).logits[0].float()
    logprobs = torch.log_softmax(logits, dim=-1)[len(before) - 1 : -1]
    top = logprobs.topk(N_TOP)
    own = [float(logprobs[i, token]) for i, token in enumerate(tokens)]
    return own, top.indices.tolist(), top.values.tolist()


def write(out, family, prompt, continuation, model, before, tokens):
    own, ids, values = score(model, before, tokens)
    expected = {
        "tokens": tokens,
        "logprobs": [round(x, 6) for x in own],
        "sum": round(sum(own), 6),
        "is_greedy": all(best[0] == token for best, token in zip(ids, tokens)),
        "top_ids": ids,
        "top_logprobs": [[round(x, 6) for x in row] for row in values],
    }
    line = {"model": family, "prompt": prompt, "continuation": continuation, "expected": expected}
    out.write(json.dumps(line) + "\n")


@torch.no_grad()
def write_greedy(out, family, model, tokenizer):
    """A continuation that is the model's own answer, where that is a text which is cut alike."""
    prompt = "The answer is"
    ids = before = tokenizer.encode(prompt).ids
    for _ in range(12):
        ids = ids + [int(model(torch.tensor([ids])).logits[0, -1].argmax())]
        tokens = ids[len(before) :]
        text = tokenizer.decode(tokens)
        if split(tokenizer, prompt, text) == (before, tokens):
            write(out, family, prompt, text, model, before, tokens)
            return


def main():
    with open(os.path.join(HERE, "logprobs.jsonl"), "w", encoding="utf-8") as out:
        for family in FAMILIES:
            folder = os.path.join(HERE, "tiny", family)
            tokenizer = Tokenizer.from_file(os.path.join(folder, "tokenizer.json"))
            model = transformers.AutoModelForCausalLM.from_pretrained(
                folder, dtype=torch.float32, attn_implementation="eager"
            ).eval()
            for prompt, continuation in PAIRS:
                before, tokens = split(tokenizer, prompt, continuation)
                write(out, family, prompt, continuation, model, before, tokens)
            write_greedy(out, family, model, tokenizer)


if __name__ == "__main__":
    main()
