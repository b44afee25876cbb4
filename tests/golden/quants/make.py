#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes quants.txt: random blocks of every quantized format and what they stand for.

Needs: pip install gguf (the reference implementation of the formats). One line a block: format,
block in hexadecimal, its elements as hexadecimal float32 bit patterns.
"""
import numpy
from gguf import GGMLQuantizationType, quants
from gguf.constants import GGML_QUANT_SIZES

# Where the half-precision scales of a block lie; anything else may hold any bits.
HALVES = {
    "Q8_0": [0], "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2],
    "Q2_K": [80, 82], "Q3_K": [108], "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208],
}
# Ordinary, negative, subnormal and largest scales.
SCALES = [0.0123, -0.37, 4.2e-7, 65504.0]

random = numpy.random.default_rng(20261122)
with open("quants.txt", "w", encoding="ascii") as out:
    for name, halves in HALVES.items():
        kind = GGMLQuantizationType[name]
        size = GGML_QUANT_SIZES[kind][1]
        for scale in SCALES:
            block = random.integers(0, 256, size, dtype=numpy.uint8)
            for at in halves:
                half = numpy.array([scale * random.uniform(0.5, 1.0)], dtype=numpy.float16)
                block[at : at + 2] = half.view(numpy.uint8)
            values = quants.dequantize(block.reshape(1, -1), kind).astype(numpy.float32)
            bits = values.reshape(-1).view(numpy.uint32)
            out.write(f"{name} {block.tobytes().hex()} {' '.join(f'{b:08x}' for b in bits)}\n")
