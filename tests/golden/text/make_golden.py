#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Make the expected tokens of this folder with Hugging Face tokenizers (made with 0.23.3) and
SentencePiece (0.2.3).

    pip install tokenizers sentencepiece protobuf gguf
    python3 make_golden.py [--model SMOLLM2.gguf]

Writes beside itself
  texts.json       the hostile texts
  bytes.json       a small byte-level tokenizer, trained on them
  chars.json       one like SentencePiece's, with byte fallback
  unigram.json     a unigram model
  *.model          models of SentencePiece, and in models.json a CRC-32C of the ids that it makes of
                   every text, null for texts with its special tokens, which it does not look for
  unigram.gguf     unigram.model in the metadata of a GGUF file, as T5's are; its ids likewise
  variants.json    ways to change those two, and for each a CRC-32C of the ids of every text (with
                   special tokens; int32, little-endian) and one of what they decode to (with and
                   without special tokens, a NUL between); no "decode" where Hugging Face's is no
                   inverse: it decodes normalised added tokens in their normalised form
  smollm2.json     with --model: ids of the real SmolLM2 for some of the texts
"""
import argparse
import base64
import collections
import copy
import io
import json
import os
import random
import struct
import sys
import tempfile

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

HERE = os.path.dirname(os.path.abspath(__file__))

PLAIN = [
    "", " ", "  ", "   ", "\t", "\n", "\r\n", "\r", "\n\n", " \n", "\n ", "\t\n\t ", "\u00a0",
    "\u3000 \u2003x", "a\u0085b", "\u180ea\u180e b", "\u200b\u200c\u200d", "\ufeffBOM",
    "\ufffd\ufffd", "\ue000\uf8ff\U000f0000", "\x00", "a\x00b\x01\x02\x1f\x7f\x80\x9f",
    "\u2028\u2029x\u2028", "a  \u00a0 b \u2009\u2009c", " \t \n \r\n x", "x \n\n\n y",
    "   x   y   ", "trailing space ", "trailing newline\n", "trailing spaces   \n",
    "Hello world", " Hello  World! ", "The quick brown fox jumps over the lazy dog.",
    "I'm you're HE'LL WE'VE it's IT'S 'tis don'T I'D 'S'T'RE'VE'M'LL'D \u2019s \u2019S",
    "'\u017f '\u017f '\u212a", "x'sy'tz",
    "123 1234567890 12,345.67 1e10 \u00bd \u00bc \u00b2 \u00b3 \u2167 \u2177",
    "\u096a\u096b\u096c \u0661\u0662\u0663 \U0001d7d8\U0001d7d9 \u3280 \u2460",
    "a1b2c3 3D 2x 007", "foo_bar-baz/qux.c:12 (see [1]) {x} <y> && || != == ->",
    "http://example.org/a?b=c&d=%20e#f", "\u043d\u0435\u0449\u043e \u043d\u0430 "
    "\u0411\u044a\u043b\u0433\u0430\u0440\u0441\u043a\u0438", "Ελληνικά γλώσσα ά έ",
    "العربية لغة ١٢٣", "עברית שלום", "हिन्दी में क्षत्रिय", "বাংলা ভাষা", "தமிழ்", "తెలుగు",
    "ไทยไม่มีช่องว่าง", "ລາວ", "မြန်မာ", "ភាសាខ្មែរ", "ქართული", "Հայերեն", "አማርኛ", "ᏣᎳᎩ", "ᠮᠣᠩᠭᠣᠯ",
    "中文字符，没有空格。", "日本語のテキスト、カタカナ ひらがな", "한국어 텍스트 ㄱㄴㄷ", "𐍈𐌰𐌽𐌰 𒀀𒁀 𓀀𓁀",
    "Tiếng Việt có dấu", "Türkçe İstanbul ıi", "ǅ ǈ ǋ Titlecase", "ªº ʰʱ ˠ modifier",
    "😀😁 👨\u200d👩\u200d👧\u200d👦 👍🏽 🏳\ufe0f\u200d🌈 🇩🇪🇫🇷 ☺\ufe0f 1\ufe0f\u20e3",
    "e\u0301 \u00e9 a\u030a\u0323 \u1e9b\u0323 \ufb01 \ufb00 \u00c5 \u212b \u2126",
    "\u0301start combining \u0300\u0301\u0302", "q\u0307\u0323 q\u0323\u0307",
    "\uac00\uac01\u1100\u1161\u11a8 \u1100\u1161\u11a8", "\ufdfa \u338f \u2116 \u2122",
    "Z\u0351\u036b\u0343\u036aA\u0335\u035c\u0370L\u0320\u0368G\u033b\u0348O\u0339!\u0316\u032c",
    "<s>", "</s>", "<unk>", "<s> hello </s>", "a<s>b</s>c", "  <s>  x  </s>  ", "<|endoftext|>",
    " <|endoftext|> text<|endoftext|><|endoftext|>", "<|im_start|>user\nHi<|im_end|>\n",
    "<|im_start", "<0x41><0x0A>", "[MASK] a[MASK]b  [MASK]  c", "<pad><pad> <pad>\n<pad>  x",
    "fooADD bar ADD ADDx xADD ADD", "\u2581 \u2581\u2581x y\u2581z \u2581",
    "\u00dcnorm Token U\u0308norm Token \u00fcnorm token", "  <pad>   [MASK]  ",
    "def f(x):\n    return x + 1\n\n\nclass A:\n\tpass\n", "if (a) {\r\n\r\n  b();\r\n}",
    '{"a": [1, 2.5, null], "b": "\\u00e9"}', "\\n \\t \\\\ \"quoted\" `code`",
    "SELECT * FROM t WHERE a='b';", "#include <stdio.h>\nint main(void) { return 0; }",
    '<div class="x">&nbsp;</div>', "$x^2 + \\frac{1}{2}$", "a=b;c+=d--; //e",
    "--- *** ___ +++ ... !!! ??? ~~~",
]
LONG = [c * n for c, n in (
    ("a", 2), ("a", 3), ("a", 31), ("a", 47), ("a", 48), ("a", 49), ("a", 50), ("a", 1000),
    ("ab", 500), (" ", 47), ("\n", 60), ("\t", 33), (".", 70), ("=", 129), ("1", 50),
    ("\u00e9", 60), ("\u4e2d", 200), ("\U0001f600", 40), ("abcdefghijklmnopqrstuvwxyz", 20),
    ("\u0301", 30), ("\u0928\u094d", 30), ("q", 3000), ("the quick brown fox ", 40),
)] + [" " * 300 + "x", "xyz" * 40 + " " + "the" * 30, "A" * 33 + "a" * 33]


def random_texts():
    r = random.Random(7)
    words = ("the of and to in is that for was on with be by this are have from one had word but "
             "what all were when your can said there use each which she how their will up").split()
    spaces = [" "] * 6 + ["  ", "\n", "\t", "\r\n", " \n", "\u00a0", "\u3000", "\u0085", "\v"]
    signs = list(".,;:!?'\"()[]{}<>-_/\\|@#$%^&*+=~`") + list("…—“”«»、。！€£©→∀🙂")
    letters = [chr(c) for low, high in (
        (0x41, 0x5b), (0x61, 0x7b), (0xc0, 0x17f), (0x391, 0x3c9), (0x400, 0x460), (0x5d0, 0x5eb),
        (0x620, 0x650), (0x904, 0x96f), (0xe01, 0xe3b), (0x3041, 0x30ff), (0x4e00, 0x4e80),
        (0xac00, 0xac80), (0x300, 0x320), (0x1f600, 0x1f640)) for c in range(low, high)
        if c != 0x3a2]
    tokens = ["<s>", "</s>", "<|im_start|>", "<|endoftext|>", "[MASK]", "ADD", "<pad>", "\u2581"]
    makers = [
        lambda: r.choice(words), lambda: r.choice(words).upper(), lambda: r.choice(spaces),
        lambda: r.choice(spaces), lambda: r.choice(signs), lambda: r.choice(tokens),
        lambda: str(r.randrange(10 ** r.randrange(1, 9))),
        lambda: "".join(r.choice(letters) for _ in range(r.randrange(1, 6))),
        lambda: "'" + r.choice(["s", "t", "re", "ve", "m", "ll", "d", "S", "LL"]),
    ]
    mixed = ["".join(r.choice(makers)() for _ in range(r.randrange(1, 40))) for _ in range(150)]
    # Characters that Unicode had in 2021: which letters came later depends on the library.
    ranges = [(0x20, 0x7f), (0, 0x250), (0x250, 0x500), (0x3000, 0xd7a4), (0xe000, 0x10000),
              (0x10000, 0x10200), (0x1f300, 0x1f600), (0x20000, 0x2a000), (0xe0000, 0x110000)]
    wild = ["".join(chr(r.randrange(*r.choice(ranges))) for _ in range(r.randrange(1, 40)))
            for _ in range(60)]
    return mixed + wild


TEXTS = PLAIN + LONG + random_texts()

SHORTENED = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
BEHIND = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
CAPITALS, SMALLS = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
PATTERNS = {
    "llama3": SHORTENED + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}" + BEHIND,
    "qwen2": SHORTENED + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}" + BEHIND,
    "gpt-4o": r"[^\r\n\p{L}\p{N}]?" + CAPITALS + "*" + SMALLS + "+" + SHORTENED +
              r"?|[^\r\n\p{L}\p{N}]?" + CAPITALS + "+" + SMALLS + "*" + SHORTENED +
              r"?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    "bloom": " ?[^(\\s|[.,!?…。，、।۔،])]+",
    "cl100k": r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+"
              r"| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]|\s+(?!\S)|\s",
    "deepseek3": r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+"
                 r"|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*"
                 r"|\s*[\r\n]+|\s+(?!\S)|\s+",
    "words": r"\w+|[^\w\s]+|\b|\s",
    "thousands": r"\d{1,3}(?=(?:\d{3})*\b)",
    "lines": r"^.|.$|a{,2}b|x{2}?y|(?<=o)r|o(?i)E|\h+",
}


def byte_level(**more):
    return {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True,
            "use_regex": False, **more}


def split(pattern, behavior="Isolated", invert=False, kind="Regex"):
    return {"type": "Split", "pattern": {kind: pattern}, "behavior": behavior, "invert": invert}


def sequence(key, *members):
    return {"type": "Sequence", key: list(members)}


def cuts(*members):
    return sequence("pretokenizers", *members)


def replace(what, by, kind="String"):
    return {"type": "Replace", "pattern": {kind: what}, "content": by}


def added(vocab, tokens):
    """Those that are tokens already keep their ids, others are numbered on."""
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized", "special"), False)
    fresh = [t["content"] for t in tokens if t["content"] not in vocab]
    ids = {**vocab, **{text: len(vocab) + i for i, text in enumerate(fresh)}}
    return [{"id": ids[t["content"]], **flags, **t} for t in tokens]


def byte_variants(vocab):
    tokens = added(vocab, [
        {"content": "<|endoftext|>", "special": True},
        {"content": "[MASK]", "lstrip": True, "special": True},
        {"content": "ADD", "single_word": True, "normalized": True},
        {"content": "<pad>", "rstrip": True, "special": True},
        {"content": "\u00dcnorm Token", "normalized": True},
        {"content": "<|im_start|>", "special": True}, {"content": "<|im_end|>", "special": True},
        {"content": "<|"},
    ])
    template = {"type": "TemplateProcessing",
                "single": [{"SpecialToken": {"id": "<|endoftext|>", "type_id": 0}},
                           {"Sequence": {"id": "A", "type_id": 0}},
                           {"SpecialToken": {"id": "[MASK]", "type_id": 0}}],
                "pair": [{"Sequence": {"id": "A", "type_id": 0}},
                         {"Sequence": {"id": "B", "type_id": 0}}],
                "special_tokens": {t["content"]: {"id": t["content"], "ids": [t["id"]],
                                                  "tokens": [t["content"]]}
                                   for t in tokens[:2]}}
    common = {"added_tokens": tokens,
              "post_processor": sequence("processors", byte_level(), template)}
    pre = {"gpt2": byte_level(use_regex=True),
           "gpt2-space": byte_level(use_regex=True, add_prefix_space=True),
           "smollm": cuts({"type": "Digits", "individual_digits": True},
                          byte_level(use_regex=True)),
           "falcon": cuts({"type": "Punctuation", "behavior": "Contiguous"},
                          byte_level(use_regex=True),
                          {"type": "Digits", "individual_digits": False},
                          split("[0-9][0-9][0-9]")),
           "text": cuts(split("th", "MergedWithNext", False, "String"),
                        byte_level(add_prefix_space=True)),
           "metaspace": cuts({"type": "Metaspace", "replacement": "\u2581",
                              "prepend_scheme": "first", "split": True}, byte_level())}
    pre.update({name: cuts(split(p), byte_level()) for name, p in PATTERNS.items()})
    for behavior in ("Removed", "Contiguous", "MergedWithPrevious", "MergedWithNext"):
        for invert in (False, True):
            pre[behavior + ("-invert" if invert else "")] = cuts(
                split(r"\s|o|[0-9]+", behavior, invert), byte_level())
    for name, part in pre.items():
        change = {**common, "pre_tokenizer": part}
        if name in ("llama3", "gpt-4o"):
            change["model"] = {"ignore_merges": True}
        yield name, "bytes", change, True
    normal = {"nfc": {"type": "NFC"}, "nfd": {"type": "NFD"}, "nfkc": {"type": "NFKC"},
              "nfkd-lower-strip": sequence(
                  "normalizers", {"type": "NFKD"}, {"type": "Lowercase"},
                  {"type": "Strip", "strip_left": True, "strip_right": True}),
              "replace": sequence("normalizers", replace(" {2,}", "\u2581 ", "Regex"),
                                  {"type": "Prepend", "prepend": "x "})}
    for name, part in normal.items():
        change = {**common, "normalizer": part, "pre_tokenizer": pre["qwen2"]}
        yield name, "bytes", change, name not in ("nfkd-lower-strip", "replace", "nfd")


def char_variants():
    marks = replace(" ", "\u2581")
    legacy = sequence("normalizers", {"type": "Prepend", "prepend": "\u2581"}, marks)
    back = [replace("\u2581", " "), {"type": "ByteFallback"}, {"type": "Fuse"}]
    strip = {"type": "Strip", "content": " ", "start": 1, "stop": 0}
    special = [{"content": c, "special": True} for c in ("<unk>", "<s>", "</s>")]
    names = {"single_word": False, "lstrip": False, "rstrip": False}
    plain = [{"id": i, **names, "normalized": False, **t} for i, t in enumerate(special)]
    normal = [{"id": i, **names, "normalized": True, **t} for i, t in enumerate(special)]
    sp = {"unk_token": "<unk>", "fuse_unk": True, "byte_fallback": True}
    bos = {"type": "TemplateProcessing",
           "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}},
                      {"Sequence": {"id": "A", "type_id": 0}}],
           "pair": [{"Sequence": {"id": "A", "type_id": 0}},
                    {"Sequence": {"id": "B", "type_id": 0}}],
           "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}}}
    yield "llama2", "chars", {"normalizer": legacy, "added_tokens": plain, "post_processor": bos,
                              "decoder": sequence("decoders", *back, strip), "model": sp}, True
    yield "llama2-normalized", "chars", {
        "normalizer": legacy, "added_tokens": normal,
        "decoder": sequence("decoders", *back, strip), "model": sp}, False
    yield "gemma", "chars", {
        "normalizer": marks, "added_tokens": plain, "model": sp,
        "pre_tokenizer": split(" ", "MergedWithPrevious", False, "String"),
        "decoder": sequence("decoders", *back)}, True
    for scheme in ("first", "always", "never"):
        for whole in (False, True):
            mark = {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": scheme,
                    "split": not whole}
            yield f"metaspace-{scheme}" + ("-whole" if whole else ""), "chars", {
                "added_tokens": plain, "pre_tokenizer": mark, "decoder": mark,
                "model": {"unk_token": "<unk>", "fuse_unk": whole, "byte_fallback": False}}, True
    yield "no-unknown", "chars", {
        "added_tokens": plain, "decoder": None, "model": {"byte_fallback": False},
        "pre_tokenizer": {"type": "Metaspace", "replacement": "\u2581",
                          "prepend_scheme": "first", "split": False}}, True


def unigram_variants(charsmap):
    special = [{"content": c, "special": True} for c in ("<unk>", "<s>", "</s>")]
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    tokens = [{"id": i, **flags, **t} for i, t in enumerate(special)]
    for scheme in ("always", "first"):
        mark = {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": scheme,
                "split": scheme == "always"}
        yield f"unigram-{scheme}", "unigram", {
            "added_tokens": tokens, "pre_tokenizer": mark, "decoder": mark}, True
    yield "unigram-bytes", "unigram", {
        "added_tokens": tokens, "pre_tokenizer": mark,
        "decoder": sequence("decoders", {"type": "ByteFallback"}, mark),
        "model": {"byte_fallback": True}}, True
    yield "unigram-charsmap", "unigram", {
        "added_tokens": tokens, "pre_tokenizer": mark, "decoder": mark,
        "normalizer": sequence(
            "normalizers", {"type": "Precompiled", "precompiled_charsmap": charsmap},
            {"type": "Strip", "strip_left": False, "strip_right": True},
            replace(" {2,}", "\u2581", "Regex"))}, True


SPECIAL = "<s>", "</s>", "<unk>"


def common_texts():
    """Without special tokens, and without rare characters, which a model then does not know."""
    counts = collections.Counter("".join(TEXTS).replace("\0", ""))
    known = set(sorted(counts, key=lambda c: (-counts[c], c))[:250])
    return ["".join(c for c in text if c in known) for text in TEXTS
            if not any(s in text for s in SPECIAL)]


def train_unigram():
    t = Tokenizer(models.Unigram())
    t.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    special = ["<unk>", "<s>", "</s>"] + [f"<0x{byte:02X}>" for byte in range(256)]
    t.train_from_iterator(common_texts(), trainers.UnigramTrainer(
        vocab_size=1000, show_progress=False, special_tokens=special, unk_token="<unk>"))
    return t


# What SentencePiece rewrites: characters to characters, one to many, many to one, to nothing.
RULES = {"\t": " ", "\n": " ", "\r": " ", "\u00a0": " ", "\u3000": " ", "\ufb01": "fi",
         "e\u0301": "\u00e9", "\u00bd": "1/2", "\u200b": "", "\u2028": " ", "A": "a",
         "the": "THE", "th": "t", "\u1100\u1161": "\uac00", "\u212b": "\u00c5"}


def train_sentencepiece(name, **options):
    import sentencepiece
    path = os.path.join(HERE, name)
    with tempfile.TemporaryDirectory() as folder:
        rules = os.path.join(folder, "rules.tsv")
        with open(rules, "w", encoding="utf-8") as f:
            for what, by in RULES.items():
                f.write("\t".join(" ".join(f"{ord(c):X}" for c in s) for s in (what, by)) + "\n")
        if options.pop("rules", False):
            options["normalization_rule_tsv"] = rules
        model = io.BytesIO()
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(common_texts()),
            model_writer=model, num_threads=1, hard_vocab_limit=False, minloglevel=2,
            max_sentence_length=100000, character_coverage=1.0, **options)
    with open(path, "wb") as f:
        f.write(model.getvalue())
    processor = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    bos = [processor.bos_id()] if options["model_type"] == "bpe" else []
    return [None if any(s in text for s in SPECIAL) else
            crc32c(struct.pack(f"<{len(i)}i", *i))
            for text in TEXTS for i in [bos + processor.encode(text)]]


def proto_of(name):
    from sentencepiece import sentencepiece_model_pb2
    proto = sentencepiece_model_pb2.ModelProto()
    with open(os.path.join(HERE, name), "rb") as f:
        proto.ParseFromString(f.read())
    return proto


def charsmap_of(name):
    return base64.b64encode(proto_of(name).normalizer_spec.precompiled_charsmap).decode()


def wrap_gguf(name, out):
    """A model of SentencePiece as the metadata of a GGUF file, in the way T5's are converted; every
    text then ends in </s>."""
    import sentencepiece
    from gguf import GGUFWriter
    proto = proto_of(name)
    processor = sentencepiece.SentencePieceProcessor(model_proto=proto.SerializeToString())
    w = GGUFWriter(os.path.join(HERE, out), "t5")
    w.add_tokenizer_model("t5")
    w.add_tokenizer_pre("default")
    w.add_token_list([piece.piece for piece in proto.pieces])
    w.add_token_scores([piece.score for piece in proto.pieces])
    w.add_token_types([piece.type for piece in proto.pieces])
    w.add_add_space_prefix(proto.normalizer_spec.add_dummy_prefix)
    w.add_remove_extra_whitespaces(proto.normalizer_spec.remove_extra_whitespaces)
    w.add_precompiled_charsmap(proto.normalizer_spec.precompiled_charsmap)
    w.add_unk_token_id(processor.unk_id())
    w.add_bos_token_id(processor.bos_id())
    w.add_eos_token_id(processor.eos_id())
    w.add_add_bos_token(False)
    w.add_add_eos_token(True)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()
    return [None if any(s in text for s in SPECIAL) else
            crc32c(struct.pack(f"<{len(i)}i", *i))
            for text in TEXTS for i in [processor.encode(text) + [processor.eos_id()]]]


def train_bytes():
    t = Tokenizer(models.BPE())
    t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    t.decoder = decoders.ByteLevel()
    t.train_from_iterator(TEXTS, trainers.BpeTrainer(
        vocab_size=700, show_progress=False,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet())))
    return t


def train_chars():
    t = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    t.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    special = ["<unk>", "<s>", "</s>"] + [f"<0x{byte:02X}>" for byte in range(256)]
    # No NUL: jansson refuses keys with one, and no known vocabulary has such a token.
    counts = collections.Counter("".join(TEXTS).replace(" ", "\u2581").replace("\0", ""))
    # The trainer's own choice among equally frequent characters differs from run to run.
    alphabet = sorted(counts, key=lambda c: (-counts[c], c))[:250]
    t.train_from_iterator(TEXTS, trainers.BpeTrainer(
        vocab_size=1100, initial_alphabet=alphabet, limit_alphabet=len(alphabet),
        show_progress=False, special_tokens=special))
    return t


def changed(base, change):
    root = copy.deepcopy(base)
    for key, value in change.items():
        if key == "model":
            root["model"].update(value)
        else:
            root[key] = value
    return root


CRC = []
for byte in range(256):
    for _ in range(8):
        byte = byte >> 1 ^ (0x82f63b78 if byte & 1 else 0)
    CRC.append(byte)


def crc32c(data):
    crc = 0xffffffff
    for byte in data:
        crc = crc >> 8 ^ CRC[(crc ^ byte) & 0xff]
    return crc ^ 0xffffffff


def expect(tokenizer, decode):
    ids = [tokenizer.encode(text).ids for text in TEXTS]
    out = {"encode": [crc32c(struct.pack(f"<{len(i)}i", *i)) for i in ids]}
    if decode:
        out["decode"] = [crc32c((tokenizer.decode(i, skip_special_tokens=False) + "\0" +
                                 tokenizer.decode(i, skip_special_tokens=True)).encode())
                         for i in ids]
    return out


def write(name, value, lines=False):
    with open(os.path.join(HERE, name), "w", encoding="utf-8") as f:
        if lines:
            f.write("[\n" + ",\n".join(json.dumps(v, separators=(",", ":")) for v in value) +
                    "\n]\n")
        else:
            json.dump(value, f, separators=(",", ":"))
            f.write("\n")


def smollm2(path):
    from gguf import GGUFReader
    fields = GGUFReader(path).fields

    def get(key):
        return fields["tokenizer.ggml." + key].contents()

    tokens, merges, types = get("tokens"), get("merges"), get("token_type")
    t = Tokenizer(models.BPE({text: i for i, text in enumerate(tokens)},
                             [tuple(merge.split(" ")) for merge in merges]))
    t.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Digits(individual_digits=True),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)])
    t.decoder = decoders.ByteLevel()
    t.add_special_tokens([AddedToken(text, special=True, normalized=False)
                          for text, kind in zip(tokens, types) if kind == 3])
    texts = PLAIN + LONG[-5:]
    write("smollm2.json", [{"text": text, "ids": t.encode(text).ids} for text in texts], True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", help="SmolLM2 as GGUF")
    parser.add_argument("--show", nargs=2, metavar=("VARIANT", "TEXT"),
                        help="print the ids of one text (by number) instead")
    args = parser.parse_args()
    bases = {"bytes": train_bytes(), "chars": train_chars(), "unigram": train_unigram()}
    bases = {name: json.loads(t.to_str()) for name, t in bases.items()}
    for base in bases.values():
        base["added_tokens"] = []
    found = {name: train_sentencepiece(name, **options) for name, options in {
        "bpe.model": dict(model_type="bpe", vocab_size=700, byte_fallback=True,
                          normalization_rule_name="identity", remove_extra_whitespaces=False),
        "unigram.model": dict(model_type="unigram", vocab_size=600, rules=True),
        "unigram-bytes.model": dict(model_type="unigram", vocab_size=700, byte_fallback=True,
                                    add_dummy_prefix=False, normalization_rule_name="identity"),
    }.items()}
    found["unigram.gguf"] = wrap_gguf("unigram.model", "unigram.gguf")
    variants = []
    for name, base, change, decode in [
            *byte_variants(bases["bytes"]["model"]["vocab"]), *char_variants(),
            *unigram_variants(charsmap_of("unigram.model"))]:
        t = Tokenizer.from_str(json.dumps(changed(bases[base], change)))
        if args.show and args.show[0] == name:
            print(t.encode(TEXTS[int(args.show[1])]).ids)
        if not args.show:
            variants.append({"name": name, "base": base, "change": change, **expect(t, decode)})
    if args.show:
        return
    for name, base in bases.items():
        write(name + ".json", base)
    write("texts.json", TEXTS, True)
    write("models.json", found)
    write("variants.json", variants, True)
    if args.model:
        smollm2(args.model)


if __name__ == "__main__":
    sys.exit(main())
