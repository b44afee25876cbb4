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
  qwen3    norms of each head's queries and keys, windows from layer 2 on, yarn
  smollm3  every 4th layer without rotation
  phi3     fused projections, window
  phi4     partial rotation, longrope within its original context
  phi4long the same beyond it, with the long factors
  gemma2   post norms, (1 + w), softcaps, GELU, alternate windows, query scale
  gemma3   two thetas, norms of each head's queries and keys, linear scaling of the global one
  olmo2    norms behind the blocks alone, norms over all queries and keys
  olmo3    the same with windows, yarn in the others
  granite  multipliers of embeddings, attention, residual and logits, bias everywhere in attention
  mixtral  8 experts of which 2
  qwen2moe 6 experts of which 3, a shared one by its share, a layer without experts
  qwen3moe 8 experts of which 3, weights summing to one
  olmoe    8 experts of which 4, norms over all queries and keys
  glm4moe  8 experts in 4 groups, chosen by biased sigmoids, a shared one, the first layer dense
  phimoe   LayerNorm, bias everywhere, window, sparse mixer

Needs: torch, transformers, tokenizers, safetensors. The same versions give the same bytes. GGUF files
of the same weights are made of them afterwards by make_gguf.py.

expected.json of a family:
  window             of the model, 0: none
  prompts[i].text    a prompt; .tokens its ids by Hugging Face tokenizers
  prompts[i].logits  of the first position of the answer, all of them
  prompts[i].output  32 ids of the greedy answer (nothing ends it); .second, .gap as in smollm2.json
"""
import json
import os
import re
import shutil
import sys

import torch
import transformers
from safetensors.torch import save_file
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

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

PHI4 = {
    "architectures": ["Phi3ForCausalLM"],
    "model_type": "phi3",
    "head_dim": 32,
    "sliding_window": None,
    "partial_rotary_factor": 0.75,
    "attention_bias": False,
    "full_attn_mod": 1,
    "interpolate_factor": 1,
    "lm_head_bias": False,
    "mlp_bias": False,
    "rope_theta": 10000.0,
    "rope_scaling": {
        "type": "longrope",
        "short_factor": [1.0 + 0.1 * i for i in range(12)],
        "long_factor": [1.0 + 1.5 * i for i in range(12)],
    },
    "tie_word_embeddings": True,
    "torch_dtype": "bfloat16",
    "pad_token_id": 2,
    **COMMON,
    "hidden_size": 128,
    "intermediate_size": 64,
}

FAMILIES = {
    "llama": {
        "class": "Llama",
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
        "class": "Mistral",
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
        "class": "Qwen2",
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
    "qwen3": {
        "class": "Qwen3",
        "dtype": "bfloat16",
        "seed": 20,
        "settings": {
            "architectures": ["Qwen3ForCausalLM"],
            "model_type": "qwen3",
            "max_position_embeddings": 256,
            "head_dim": 32,
            "use_sliding_window": True,
            "sliding_window": 20,
            "max_window_layers": 2,
            "attention_bias": False,
            "rope_theta": 1000000.0,
            "rope_scaling": {
                "rope_type": "yarn",
                "factor": 4.0,
                "original_max_position_embeddings": 64,
            },
            "tie_word_embeddings": True,
            "torch_dtype": "bfloat16",
            **COMMON,
            "num_hidden_layers": 3,
        },
    },
    "smollm3": {
        "class": "SmolLM3",
        "dtype": "bfloat16",
        "seed": 20,
        "settings": {
            "architectures": ["SmolLM3ForCausalLM"],
            "model_type": "smollm3",
            "max_position_embeddings": 512,
            "max_window_layers": 28,
            "no_rope_layer_interval": 4,
            "no_rope_layers": [1, 1, 1, 0],
            "layer_types": ["full_attention"] * 4,
            "use_sliding_window": False,
            "sliding_window": None,
            "attention_bias": False,
            "mlp_bias": False,
            "pretraining_tp": 2,
            "rope_theta": 5000000.0,
            "rope_scaling": None,
            "torch_dtype": "bfloat16",
            "pad_token_id": 2,
            **COMMON,
            "intermediate_size": 96,
            "num_hidden_layers": 4,
        },
    },
    "phi3": {
        "class": "Phi3",
        "dtype": "bfloat16",
        "seed": 21,
        "settings": {
            "architectures": ["Phi3ForCausalLM"],
            "model_type": "phi3",
            "max_position_embeddings": 512,
            "original_max_position_embeddings": 512,
            "sliding_window": 23,
            "attention_bias": False,
            "attention_dropout": 0.0,
            "embd_pdrop": 0.0,
            "resid_pdrop": 0.0,
            "rope_theta": 10000.0,
            "rope_scaling": None,
            "tie_word_embeddings": False,
            "torch_dtype": "bfloat16",
            "pad_token_id": 2,
            **COMMON,
        },
    },
    "phi4": {
        "class": "Phi3",
        "dtype": "bfloat16",
        "seed": 20,
        "settings": {
            **PHI4,
            "max_position_embeddings": 2048,
            "original_max_position_embeddings": 512,
        },
    },
    "phi4long": {
        "class": "Phi3",
        "dtype": "bfloat16",
        "seed": 20,
        "is_long": True,
        "settings": {
            **PHI4,
            "max_position_embeddings": 512,
            "original_max_position_embeddings": 64,
        },
    },
    "gemma2": {
        "class": "Gemma2",
        "embedding": 0.12,
        "dtype": "bfloat16",
        "seed": 20,
        "settings": {
            "architectures": ["Gemma2ForCausalLM"],
            "model_type": "gemma2",
            "max_position_embeddings": 512,
            "head_dim": 32,
            "sliding_window": 20,
            "query_pre_attn_scalar": 24,
            "attn_logit_softcapping": 4.0,
            "final_logit_softcapping": 10.0,
            "cache_implementation": "hybrid",
            "hidden_activation": "gelu_pytorch_tanh",
            "attention_bias": False,
            "rope_theta": 10000.0,
            "torch_dtype": "bfloat16",
            "pad_token_id": 2,
            **COMMON,
            "hidden_act": "gelu_pytorch_tanh",
            "num_hidden_layers": 3,
            "intermediate_size": 96,
        },
    },
    "gemma3": {
        "class": "Gemma3",
        "embedding": 0.12,
        "config": "Gemma3TextConfig",
        "dtype": "bfloat16",
        "seed": 20,
        "settings": {
            "architectures": ["Gemma3ForCausalLM"],
            "model_type": "gemma3_text",
            "max_position_embeddings": 512,
            "head_dim": 32,
            "sliding_window": 20,
            "_sliding_window_pattern": 3,
            "layer_types": ["sliding_attention", "sliding_attention", "full_attention"],
            "query_pre_attn_scalar": 40,
            "attn_logit_softcapping": None,
            "final_logit_softcapping": None,
            "hidden_activation": "gelu_pytorch_tanh",
            "attention_bias": False,
            "rope_theta": 1000000.0,
            "rope_local_base_freq": 10000.0,
            "rope_scaling": {"factor": 8.0, "rope_type": "linear"},
            "use_bidirectional_attention": False,
            "torch_dtype": "bfloat16",
            "pad_token_id": 2,
            **{key: value for key, value in COMMON.items() if key != "hidden_act"},
            "num_hidden_layers": 3,
            "num_key_value_heads": 1,
            "intermediate_size": 96,
        },
    },
    "olmo2": {
        "class": "Olmo2",
        "dtype": "bfloat16",
        "seed": 20,
        "settings": {
            "architectures": ["Olmo2ForCausalLM"],
            "model_type": "olmo2",
            "max_position_embeddings": 512,
            "attention_bias": False,
            "rope_theta": 500000,
            "rope_scaling": None,
            "tie_word_embeddings": False,
            "torch_dtype": "bfloat16",
            "pad_token_id": 2,
            **COMMON,
        },
    },
    "olmo3": {
        "class": "Olmo3",
        "dtype": "bfloat16",
        "seed": 20,
        "settings": {
            "architectures": ["Olmo3ForCausalLM"],
            "model_type": "olmo3",
            "max_position_embeddings": 512,
            "sliding_window": 20,
            "layer_types": ["sliding_attention"] * 3 + ["full_attention"],
            "attention_bias": False,
            "rope_theta": 500000,
            "rope_scaling": {
                "attention_factor": 1.2079441541679836,
                "beta_fast": 32.0,
                "beta_slow": 1.0,
                "factor": 8.0,
                "original_max_position_embeddings": 64,
                "rope_type": "yarn",
            },
            "tie_word_embeddings": False,
            "dtype": "bfloat16",
            "pad_token_id": 2,
            **COMMON,
            "num_hidden_layers": 4,
            "intermediate_size": 96,
        },
    },
    "granite": {
        "class": "Granite",
        "dtype": "bfloat16",
        "seed": 20,
        "settings": {
            "architectures": ["GraniteForCausalLM"],
            "model_type": "granite",
            "max_position_embeddings": 512,
            "attention_bias": True,
            "mlp_bias": False,
            "attention_multiplier": 0.15,
            "embedding_multiplier": 3.0,
            "residual_multiplier": 0.6,
            "logits_scaling": 5.0,
            "rope_theta": 10000.0,
            "rope_scaling": None,
            "tie_word_embeddings": False,
            "torch_dtype": "bfloat16",
            "pad_token_id": 2,
            **COMMON,
        },
    },
    "mixtral": {
        "class": "Mixtral",
        "dtype": "bfloat16",
        "seed": 20,
        "settings": {
            "architectures": ["MixtralForCausalLM"],
            "model_type": "mixtral",
            "max_position_embeddings": 512,
            "num_local_experts": 8,
            "num_experts_per_tok": 2,
            "output_router_logits": False,
            "router_aux_loss_coef": 0.02,
            "rope_theta": 1000000.0,
            "sliding_window": None,
            "tie_word_embeddings": False,
            "torch_dtype": "bfloat16",
            **COMMON,
            "intermediate_size": 48,
        },
    },
    "qwen2moe": {
        "class": "Qwen2Moe",
        "dtype": "bfloat16",
        "seed": 20,
        "settings": {
            "architectures": ["Qwen2MoeForCausalLM"],
            "model_type": "qwen2_moe",
            "max_position_embeddings": 512,
            "num_experts": 6,
            "num_experts_per_tok": 3,
            "moe_intermediate_size": 24,
            "shared_expert_intermediate_size": 40,
            "norm_topk_prob": False,
            "decoder_sparse_step": 1,
            "mlp_only_layers": [1],
            "max_window_layers": 28,
            "use_sliding_window": False,
            "output_router_logits": False,
            "router_aux_loss_coef": 0.001,
            "rope_theta": 1000000.0,
            "sliding_window": 32768,
            "tie_word_embeddings": False,
            "torch_dtype": "bfloat16",
            **COMMON,
            "num_hidden_layers": 3,
            "intermediate_size": 96,
        },
    },
    "qwen3moe": {
        "class": "Qwen3Moe",
        "dtype": "bfloat16",
        "seed": 20,
        "settings": {
            "architectures": ["Qwen3MoeForCausalLM"],
            "model_type": "qwen3_moe",
            "max_position_embeddings": 512,
            "head_dim": 32,
            "num_experts": 8,
            "num_experts_per_tok": 3,
            "moe_intermediate_size": 32,
            "norm_topk_prob": True,
            "decoder_sparse_step": 1,
            "mlp_only_layers": [],
            "max_window_layers": 48,
            "use_sliding_window": False,
            "output_router_logits": False,
            "router_aux_loss_coef": 0.001,
            "rope_theta": 1000000.0,
            "rope_scaling": None,
            "sliding_window": None,
            "tie_word_embeddings": False,
            "torch_dtype": "bfloat16",
            **COMMON,
        },
    },
    "olmoe": {
        "class": "Olmoe",
        "dtype": "bfloat16",
        "seed": 20,
        "settings": {
            "architectures": ["OlmoeForCausalLM"],
            "model_type": "olmoe",
            "max_position_embeddings": 512,
            "num_experts": 8,
            "num_experts_per_tok": 4,
            "norm_topk_prob": False,
            "clip_qkv": None,
            "output_router_logits": False,
            "router_aux_loss_coef": 0.01,
            "rope_theta": 10000.0,
            "rope_scaling": None,
            "attention_bias": False,
            "tie_word_embeddings": False,
            "torch_dtype": "bfloat16",
            "pad_token_id": 2,
            **COMMON,
            "intermediate_size": 40,
            "num_key_value_heads": 4,
        },
    },
    "glm4moe": {
        "class": "Glm4Moe",
        "dtype": "bfloat16",
        "seed": 21,
        "settings": {
            "architectures": ["Glm4MoeForCausalLM"],
            "model_type": "glm4_moe",
            "max_position_embeddings": 512,
            "head_dim": 32,
            "partial_rotary_factor": 0.5,
            "attention_bias": True,
            "use_qk_norm": True,
            "n_routed_experts": 8,
            "n_shared_experts": 1,
            "num_experts_per_tok": 3,
            "n_group": 4,
            "topk_group": 2,
            "moe_intermediate_size": 32,
            "routed_scaling_factor": 1.5,
            "norm_topk_prob": True,
            "first_k_dense_replace": 1,
            "num_nextn_predict_layers": 1,
            "rope_theta": 1000000,
            "rope_scaling": None,
            "tie_word_embeddings": False,
            "dtype": "bfloat16",
            "pad_token_id": 2,
            **COMMON,
            "num_hidden_layers": 3,
            "intermediate_size": 96,
        },
    },
    "phimoe": {
        "class": "Phimoe",
        "dtype": "bfloat16",
        "seed": 20,
        "settings": {
            "architectures": ["PhiMoEForCausalLM"],
            "model_type": "phimoe",
            "max_position_embeddings": 512,
            "head_dim": 32,
            "num_local_experts": 8,
            "num_experts_per_tok": 2,
            "router_jitter_noise": 0.1,
            "input_jitter_noise": 0.0,
            "attention_bias": True,
            "lm_head_bias": True,
            "hidden_dropout": 0.0,
            "output_router_logits": False,
            "router_aux_loss_coef": 0.0,
            "rope_theta": 10000.0,
            "rope_scaling": None,
            "sliding_window": 23,
            "tie_word_embeddings": False,
            "torch_dtype": "bfloat16",
            **COMMON,
            "intermediate_size": 40,
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


def spread_experts(model, generator):
    """Rounding must not make a token change its experts, for then nothing is left to compare. So
    the first dimensions of the residual, one an expert, keep what the embedding put there: levels
    far from each other, in another order for every token; and routers look at little else."""
    n = getattr(model.config, "num_local_experts", None) or model.config.num_experts
    weights = dict(model.named_parameters())
    embedding = weights["model.embed_tokens.weight"]
    levels = torch.tensor([1.0, 0.95] + [0.6 - 0.1 * i for i in range(n - 2)])
    order = torch.rand(embedding.shape[0], n, generator=generator).argsort(dim=1)
    embedding[:, :n] = levels[order]
    for name, weight in weights.items():
        if name.endswith(("norm.weight", "norm.bias")) and weight.shape[0] > n:
            weight[:n] = 1.0 if name.endswith("weight") else 0.0
        elif name.endswith(("mlp.gate.weight", "mlp.router.weight")):
            weight.mul_(0.03)
            is_sigmoid = hasattr(model.config, "n_group")  # which a large score would saturate
            weight[:, :n] = (1.0 if is_sigmoid else 5.0) * torch.eye(n)
        elif name.endswith("experts.down_proj"):
            weight[:, :n] = 0.0
        elif name.endswith(("o_proj.weight", "o_proj.bias", "down_proj.weight")):
            weight[:n] = 0.0


def randomize(model, seed, scale):
    """Weights of a size at which answers vary: the usual 0.02 would leave only noise to compare.
    The seeds are those of a few dozen that leave the fewest near-ties."""
    generator = torch.Generator().manual_seed(seed)
    is_offset = "Gemma" in type(model).__name__
    with torch.no_grad():
        for name, weight in model.named_parameters():
            noise = torch.randn(weight.shape, generator=generator)
            if name.endswith("norm.weight"):
                weight.copy_((0 if is_offset else 1) + 0.2 * noise)
            elif name.endswith(".bias"):
                weight.copy_(0.3 * noise)
            elif "embed_tokens" in name:
                weight.copy_(scale * noise)
            else:
                weight.copy_(1.2 * noise / weight.shape[-1] ** 0.5)
        if any("experts" in name for name, _ in model.named_parameters()):
            spread_experts(model, generator)
        for _, bias in biases_of_routers(model):
            bias.copy_(0.1 * torch.randn(bias.shape, generator=generator))


def save_file_for_all(state, path):
    save_file(state, path, metadata={"format": "pt"})
    os.chmod(path, 0o644)


def biases_of_routers(model):
    return [(n, b) for n, b in model.named_buffers() if n.endswith("e_score_correction_bias")]


def split_experts(name, weight, is_mixtral):
    """Real checkpoints have a tensor an expert and matrix where transformers keeps one for all."""
    found = re.fullmatch(r"(.*)\.mlp\.(experts\.(gate_up_proj|down_proj)|gate\.weight|router\.weight)", name)
    if not found:
        return {name: weight}
    prefix = found[1] + (".block_sparse_moe." if is_mixtral else ".mlp.")
    if found[3] is None:
        return {prefix + "gate.weight": weight}
    names = ("w1", "w3", "w2") if is_mixtral else ("gate_proj", "up_proj", "down_proj")
    parts = {}
    for i, expert in enumerate(weight):
        matrices = expert.chunk(2) if found[3] == "gate_up_proj" else [expert]
        for part, matrix in zip(names[-1:] if len(matrices) == 1 else names, matrices):
            parts[f"{prefix}experts.{i}.{part}.weight"] = matrix
    return parts


def save_weights(model, folder, dtype, n_files):
    state, is_mixtral = {}, type(model).__name__.startswith(("Mixtral", "Phimoe"))
    for name, weight in [*model.named_parameters(), *biases_of_routers(model)]:
        for part, matrix in split_experts(name, weight, is_mixtral).items():
            state[part] = matrix.to(getattr(torch, dtype)).contiguous()
    if hasattr(model.config, "num_mtp_layers"):  # such layers are in files, but not in answers
        state[f"model.layers.{model.config.num_hidden_layers}.eh_proj.weight"] = torch.ones(4, 8)
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


def load(name, folder):
    """The stored weights in float32."""
    cls = getattr(transformers, FAMILIES[name]["class"] + "ForCausalLM")
    config = make_config(name)
    model, seen = cls.from_pretrained(
        folder,
        config=config,
        dtype=torch.float32,
        attn_implementation="eager",
        output_loading_info=True,
    )
    seen["unexpected_keys"] = [key for key in seen["unexpected_keys"] if "eh_proj" not in key]
    assert not any(seen[key] for key in seen), seen
    if FAMILIES[name].get("is_long"):
        # A text is not to change its frequencies when it grows beyond the original context.
        rope = model.model.rotary_emb
        long = transformers.modeling_rope_utils.ROPE_INIT_FUNCTIONS["longrope"]
        rope.original_inv_freq.copy_(long(config, seq_len=1 << 20)[0])
    return model.eval()


def make_config(name):
    family = FAMILIES[name]
    cls = getattr(transformers, family.get("config", family["class"] + "Config"))
    return cls(**json.loads(json.dumps(family["settings"])), attn_implementation="eager")


def make(name):
    family = FAMILIES[name]
    folder = os.path.join(HERE, "tiny", name)
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    write_json(os.path.join(folder, "config.json"), family["settings"])
    stops = {"bos_token_id": 0, "eos_token_id": [1, 2]}
    write_json(os.path.join(folder, "generation_config.json"), stops)
    tokenizer = make_tokenizer(os.path.join(folder, "tokenizer.json"), name != "mistral")

    model = getattr(transformers, family["class"] + "ForCausalLM")(make_config(name))
    randomize(model, family["seed"], family.get("embedding", 0.3))
    save_weights(model, folder, family["dtype"], family.get("files", 1))
    model = load(name, folder)

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
