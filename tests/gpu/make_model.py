# SPDX-License-Identifier: Apache-2.0
"""make_model.py SHAPE LAYERS FOLDER: a checkpoint of a known model's own shapes but so many layers,
with random weights, the same wherever it is made. Needs numpy; nothing is held but one layer."""
import json
import math
import os
import struct
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy

COMMON = {"hidden_size": 4096, "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128,
          "hidden_act": "silu", "rms_norm_eps": 1e-5, "tie_word_embeddings": False,
          "torch_dtype": "bfloat16", "bos_token_id": 1, "eos_token_id": 2,
          "max_position_embeddings": 4096}
SHAPES = {
    "llama-3.1-8b": {"architectures": ["LlamaForCausalLM"], "model_type": "llama",
                     "intermediate_size": 14336, "vocab_size": 128256, "rope_theta": 500000.0},
    "qwen2.5-7b": {"architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2",
                   "hidden_size": 3584, "num_attention_heads": 28, "num_key_value_heads": 4,
                   "intermediate_size": 18944, "vocab_size": 152064, "rope_theta": 1000000.0},
    "mixtral-8x7b": {"architectures": ["MixtralForCausalLM"], "model_type": "mixtral",
                     "num_local_experts": 8, "num_experts_per_tok": 2, "sliding_window": None,
                     "intermediate_size": 14336, "vocab_size": 32000, "rope_theta": 1000000.0},
    "phi-mini-moe": {"architectures": ["PhiMoEForCausalLM"], "model_type": "phimoe",
                     "num_local_experts": 16, "num_experts_per_tok": 2, "sliding_window": 2047,
                     "intermediate_size": 960, "vocab_size": 32064, "rope_theta": 10000.0,
                     "attention_bias": True, "lm_head_bias": True, "router_jitter_noise": 0.01},
}


def layer(config, at):
    """Names and shapes of a layer's tensors."""
    hidden, inner, width = (config[k] for k in ("hidden_size", "intermediate_size", "head_dim"))
    heads, kv_heads = config["num_attention_heads"], config["num_key_value_heads"]
    is_phi = config["model_type"] == "phimoe"
    for name, rows, columns in (("q", heads * width, hidden), ("k", kv_heads * width, hidden),
                                ("v", kv_heads * width, hidden), ("o", hidden, heads * width)):
        yield f"{at}self_attn.{name}_proj.weight", (rows, columns)
        if is_phi or (config["model_type"] == "qwen2" and name != "o"):
            yield f"{at}self_attn.{name}_proj.bias", (rows,)
    for norm in ("input_layernorm", "post_attention_layernorm"):
        yield f"{at}{norm}.weight", (hidden,)
        if is_phi:
            yield f"{at}{norm}.bias", (hidden,)
    if "num_local_experts" not in config:
        for name in ("gate", "up"):
            yield f"{at}mlp.{name}_proj.weight", (inner, hidden)
        yield f"{at}mlp.down_proj.weight", (hidden, inner)
        return
    yield f"{at}block_sparse_moe.gate.weight", (config["num_local_experts"], hidden)
    for expert in range(config["num_local_experts"]):
        for name, shape in (("w1", (inner, hidden)), ("w2", (hidden, inner)), ("w3", (inner, hidden))):
            yield f"{at}block_sparse_moe.experts.{expert}.{name}.weight", shape


def tensors(config):
    hidden, words = config["hidden_size"], config["vocab_size"]
    yield "model.embed_tokens.weight", (words, hidden)
    for i in range(config["num_hidden_layers"]):
        yield from layer(config, f"model.layers.{i}.")
    yield "model.norm.weight", (hidden,)
    if config["model_type"] == "phimoe":
        yield "model.norm.bias", (hidden,)
        yield "lm_head.bias", (words,)
    yield "lm_head.weight", (words, hidden)


def values(seed, name, shape):
    """bf16 weights. The last norm is large, so that few answers are near-ties; experts add little to
    embeddings, so that another choice of them, where two are nearly as good, changes little."""
    if name.endswith("norm.weight"):
        x = numpy.full(shape, 3 if name == "model.norm.weight" else 1, numpy.float32)
    else:
        x = numpy.random.Generator(numpy.random.PCG64(seed)).standard_normal(shape, numpy.float32)
        if len(shape) == 1:
            x *= 0.1
        elif not name.startswith("model.embed"):
            x *= (0.25 if ".w2." in name else 1) / math.sqrt(shape[1])
    return ((x.view(numpy.uint32) + 0x8000) >> 16).astype(numpy.uint16).tobytes()


def main(shape, layers, folder):
    config = COMMON | SHAPES[shape] | {"num_hidden_layers": layers}
    os.makedirs(folder, exist_ok=True)
    with open(f"{folder}/config.json", "w", encoding="ascii") as out:
        json.dump(config, out)
    header, at, names = {}, 0, list(tensors(config))
    for name, dims in names:
        size = 2 * math.prod(dims)
        header[name] = {"dtype": "BF16", "shape": dims, "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(f"{folder}/model.safetensors", "wb") as out, ThreadPoolExecutor() as pool:
        out.write(struct.pack("<Q", len(text)) + text)
        for i in range(0, len(names), 16):
            for data in pool.map(lambda at: values(at, *names[at]), range(i, min(i + 16, len(names)))):
                out.write(data)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3])
