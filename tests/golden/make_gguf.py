#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""make_gguf.py LLAMA_CPP [FAMILY...]

Writes tiny/FAMILY/model.gguf by llama.cpp's own convert_hf_to_gguf.py, for families whose settings
the metadata of such files can tell: the same bf16 weights, so expected.json holds for them too.
LLAMA_CPP is its source folder. Needs what that script needs: torch, transformers, gguf.

The script knows tokenizers by a list of its own; the tiny ones are written here as what they are,
byte-level BPE split like Llama 3's.
"""
import json
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
FAMILIES = ["smollm3", "phi4", "olmo3", "granite", "mixtral", "qwen3moe"]


def set_vocab(model):
    with open(model.dir_model / "tokenizer.json", encoding="utf-8") as file:
        tokenizer = json.load(file)
    ids = dict(tokenizer["model"]["vocab"])
    special = {token["content"]: token["id"] for token in tokenizer["added_tokens"]}
    ids.update(special)
    kinds = gguf.TokenType
    tokens = sorted(ids, key=ids.get)
    model.gguf_writer.add_tokenizer_model("gpt2")
    model.gguf_writer.add_tokenizer_pre("llama-bpe")
    model.gguf_writer.add_token_list(tokens)
    model.gguf_writer.add_token_types(
        [kinds.CONTROL if token in special else kinds.NORMAL for token in tokens]
    )
    gguf.SpecialVocab(model.dir_model, load_merges=True).add_to_gguf(model.gguf_writer)


def subclasses(cls):
    for child in cls.__subclasses__():
        yield child
        yield from subclasses(child)


def main():
    global gguf
    sys.path[:0] = [sys.argv[1], os.path.join(sys.argv[1], "gguf-py")]
    import conversion
    import conversion.base
    import convert_hf_to_gguf
    import gguf

    conversion.load_all_models()
    for cls in [conversion.base.TextModel, *subclasses(conversion.base.TextModel)]:
        if "set_vocab" in vars(cls):
            cls.set_vocab = set_vocab
    for name in sys.argv[2:] or FAMILIES:
        folder = os.path.join(HERE, "tiny", name)
        out = os.path.join(folder, "model.gguf")
        sys.argv = ["convert_hf_to_gguf", folder, "--outfile", out, "--outtype", "bf16"]
        convert_hf_to_gguf.main()


if __name__ == "__main__":
    main()
