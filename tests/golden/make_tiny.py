#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""make_tiny.py [FAMILY...]

Makes tiny checkpoints of random weights, one folder a family under tiny/, in the form in which
models are handed round (config.json, safetensors, tokenizer.json), and what an independent
implementation (PyTorch and transformers, float32 arithmetic on the stored weights) answers with
them. Between them they hold what real checkpoints do to a reader: BF16, F16 and F32, one file and
several with an index, tied and separate output matrices, and both ways that config.json has of
writing the rotary settings.

  llama    grouped-query attention, llama3 rotary scaling, separate output, BF16 in two files
  mistral  head_dim that is not hidden / heads, sliding window, separate output, F16
  qwen2    bias on Q, K and V, tied output, F32

Needs: torch, transformers, tokenizers, safetensors. The same versions give the same bytes.

expected.json of a family:
  window             of the model, 0: none
  prompts[i].text    a prompt; .tokens its ids by Hugging Face tokenizers
  prompts[i].logits  of the first position of the answer, all of them
  prompts[i].output  32 ids of the greedy answer (nothing ends it); .second, .gap as in smollm2.json
"""
import json
import os
import shutil
import sys

import torch
from safetensors.torch import save_file
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
)

HERE = os.path.dirname(os.path.abspath(__file__))
N_ANSWER = 32
VOCAB = 384
SPECIAL = ["<|begin|>", "<|end|>", "<|turn|>"]

LLAMA3_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)

COMMON = {
    "vocab_size": VOCAB,
    "hidden_size": 64,
    "intermediate_size": 160,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "num_hidden_layers": 2,
    "hidden_act": "silu",
    "rms_norm_eps": 1e-5,
    "bos_token_id": 0,
    "eos_token_id": 1,
}

FAMILIES = {
    "llama": {
        "model": LlamaForCausalLM,
        "config": LlamaConfig,
        "dtype": "bfloat16",
        "files": 2,
        "seed": 21,
        "settings": {
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "max_position_embeddings": 512,
            "rope_theta": 500000.0,
            "rope_scaling": {
                "rope_type": "llama3",
                "factor": 8.0,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 64,
            },
            "attention_bias": False,
            "mlp_bias": False,
            "tie_word_embeddings": False,
            "torch_dtype": "bfloat16",
            **COMMON,
        },
    },
    "mistral": {
        "model": MistralForCausalLM,
        "config": MistralConfig,
        "dtype": "float16",
        "files": 1,
        "seed": 20,
        "settings": {
            "architectures": ["MistralForCausalLM"],
            "model_type": "mistral",
            "max_position_embeddings": 512,
            "head_dim": 32,
            "sliding_window": 24,
            "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
            "tie_word_embeddings": False,
            "dtype": "float16",
            **COMMON,
            "intermediate_size": 96,
        },
    },
    "qwen2": {
        "model": Qwen2ForCausalLM,
        "config": Qwen2Config,
        "dtype": "float32",
        "files": 1,
        "seed": 22,
        "settings": {
            "architectures": ["Qwen2ForCausalLM"],
            "model_type": "qwen2",
            "max_position_embeddings": 512,
            "max_window_layers": 2,
            "sliding_window": None,
            "use_sliding_window": False,
            "rope_theta": 1000000.0,
            "rope_scaling": None,
            "tie_word_embeddings": True,
            "torch_dtype": "float32",
            **COMMON,
            "intermediate_size": 96,
            "num_key_value_heads": 1,
            "rms_norm_eps": 1e-6,
        },
    },
}

PROMPTS = [
    "A",
    "<|begin|>The quick brown fox jumps over the lazy dog.",
    "Numbers 1 22 333 4444 and a naïve café, Ελλάδα, 東京.",
    "def f(x):\n    return x * x  # twice\n\nfor i in range(10):\n    print(f(i))\n",
    "The rain fell on the town and on the river, and the river carried it to the sea; the sea gave "
    "it back to the sky, and the sky, in its own time, let it fall again on the town and on the "
    "river. Nobody who lived there thought this strange, for it had always been so.",
]


def make_tokenizer(path, three_digits):
    """A byte-level BPE trained on the prompts of smollm2: small, but with real merges."""
    tokenizer = Tokenizer(models.BPE(ignore_merges=three_digits))
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=not three_digits)
    tokenizer.pre_tokenizer = byte_level
    if three_digits:
        split = pre_tokenizers.Split(Regex(LLAMA3_SPLIT), "isolated")
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, byte_level])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB,
        special_tokens=[AddedToken(text, special=True, normalized=False) for text in SPECIAL],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    with open(os.path.join(HERE, "smollm2_prompts.jsonl"), encoding="utf-8") as file:
        corpus = [json.loads(line)["prompt"] for line in file]
    tokenizer.train_from_iterator(corpus, trainer)
    assert tokenizer.get_vocab_size() == VOCAB
    tokenizer.save(path, pretty=False)
    return tokenizer


def randomize(model, seed):
    """Weights of a size at which answers vary: the usual 0.02 would leave only noise to compare.
    The seeds are those of a few dozen that leave the fewest near-ties."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            noise = torch.randn(weight.shape, generator=generator)
            if name.endswith("norm.weight"):
                weight.copy_(1 + 0.2 * noise)
            elif name.endswith(".bias"):
                weight.copy_(0.3 * noise)
            elif "embed_tokens" in name:
                weight.copy_(0.3 * noise)
            else:
                weight.copy_(1.2 * noise / weight.shape[1] ** 0.5)


def save_file_for_all(state, path):
    save_file(state, path, metadata={"format": "pt"})
    os.chmod(path, 0o644)


def save_weights(model, folder, dtype, n_files):
    state = {name: w.to(getattr(torch, dtype)).contiguous() for name, w in model.named_parameters()}
    names = sorted(state)
    if n_files == 1:
        save_file_for_all(state, os.path.join(folder, "model.safetensors"))
        return
    weight_map, total = {}, 0
    for i in range(n_files):
        part = names[i * len(names) // n_files : (i + 1) * len(names) // n_files]
        file = f"model-{i + 1:05d}-of-{n_files:05d}.safetensors"
        save_file_for_all({n: state[n] for n in part}, os.path.join(folder, file))
        weight_map.update({name: file for name in part})
        total += sum(state[n].numel() * state[n].element_size() for n in part)
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    write_json(os.path.join(folder, "model.safetensors.index.json"), index)


def write_json(path, value):
    with open(path, "w", encoding="utf-8") as file:
        json.dump(value, file, indent=1)
        file.write("\n")


@torch.inference_mode()
def answer(model, tokens):
    """No cache: every step computes the whole text anew, so that no cache can be wrong in it."""
    tokens, output, second, gap, first = list(tokens), [], [], [], None
    for _ in range(N_ANSWER):
        logits = model(input_ids=torch.tensor([tokens]), use_cache=False).logits[0, -1]
        if first is None:
            first = [round(v, 5) for v in logits.tolist()]
        values, ids = torch.topk(logits, 2)
        output.append(ids[0].item())
        second.append(ids[1].item())
        gap.append(round((values[0] - values[1]).item(), 4))
        tokens.append(output[-1])
    return {"output": output, "second": second, "gap": gap, "logits": first}


def make(name):
    family = FAMILIES[name]
    folder = os.path.join(HERE, "tiny", name)
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    write_json(os.path.join(folder, "config.json"), family["settings"])
    stops = {"bos_token_id": 0, "eos_token_id": [1, 2]}
    write_json(os.path.join(folder, "generation_config.json"), stops)
    tokenizer = make_tokenizer(os.path.join(folder, "tokenizer.json"), name != "mistral")

    model = family["model"](family["config"](**family["settings"], attn_implementation="eager"))
    randomize(model, family["seed"])
    save_weights(model, folder, family["dtype"], family["files"])
    exact = {"dtype": torch.float32, "attn_implementation": "eager"}
    model = family["model"].from_pretrained(folder, **exact).eval()

    lines = []
    for text in PROMPTS:
        tokens = tokenizer.encode(text, add_special_tokens=False).ids
        record = {"text": text, "tokens": tokens, **answer(model, tokens)}
        lines.append(json.dumps(record, separators=(",", ":")))
        spread = max(record["logits"]) - min(record["logits"])
        print(
            f"{name}: {len(tokens)} tokens, smallest gap {min(record['gap'])}, "
            f"spread {spread:.1f}, {len(set(record['output']))} different ids"
        )
    window = family["settings"].get("sliding_window") or 0
    with open(os.path.join(folder, "expected.json"), "w", encoding="utf-8") as file:
        file.write(f'{{"window":{window},"prompts":[\n' + ",\n".join(lines) + "\n]}\n")


def main():
    for name in sys.argv[1:] or FAMILIES:
        make(name)


if __name__ == "__main__":
    main()
