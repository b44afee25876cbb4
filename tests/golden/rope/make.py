#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes rope.txt: cosines and sines of rotary positions as transformers computes them.

Needs: pip install torch transformers. One line a case and position: kind, dim, theta, factor,
low_freq_factor, high_freq_factor, original context, position, then dim/2 cosines and dim/2 sines.
"""
import torch
from transformers import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

CASES = [  # dim, theta, scaling
    (64, 10000.0, {"rope_type": "default"}),
    (64, 100000.0, {"rope_type": "default"}),
    (80, 1000000.0, {"rope_type": "default"}),
    (4, 10000.0, {"rope_type": "default"}),
    (64, 10000.0, {"rope_type": "linear", "factor": 4.0}),
    (128, 500000.0, {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
                     "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}),
    (64, 500000.0, {"rope_type": "llama3", "factor": 32.0, "low_freq_factor": 1.0,
                    "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}),
    (128, 1000000.0, {"rope_type": "yarn", "factor": 4.0,
                      "original_max_position_embeddings": 4096}),
    (64, 10000.0, {"rope_type": "yarn", "factor": 16.0, "original_max_position_embeddings": 512}),
]
POSITIONS = [0, 1, 2, 100, 2047, 8191]

with open("rope.txt", "w", encoding="ascii") as out:
    for dim, theta, scaling in CASES:
        config = LlamaConfig(hidden_size=dim, num_attention_heads=1, head_dim=dim,
                             max_position_embeddings=16384,
                             rope_parameters={"rope_theta": theta, **scaling})
        rope = LlamaRotaryEmbedding(config)
        cos, sin = rope(torch.zeros(1), torch.tensor([POSITIONS]))
        for i, position in enumerate(POSITIONS):
            head = [scaling["rope_type"], dim, theta, scaling.get("factor", 0),
                    scaling.get("low_freq_factor", 0), scaling.get("high_freq_factor", 0),
                    scaling.get("original_max_position_embeddings", 0), position]
            values = torch.cat((cos[0, i, : dim // 2], sin[0, i, : dim // 2]))
            out.write(" ".join(str(x) for x in head) + " "
                      + " ".join(f"{v:.9g}" for v in values.tolist()) + "\n")
