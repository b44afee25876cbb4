# SPDX-License-Identifier: Apache-2.0
"""Prompts written and results read by h5py and numpy alone. Called by h5py.sh."""
import csv
import json
import os
import shutil
import subprocess
import sys

import h5py
import numpy as np

tmp, antiphon, probe = os.environ["TMP"], os.environ["ANTIPHON"], os.environ["PROBE"]
os.chdir(tmp)
count = failed = 0


def check(what, is_fine, why=""):
    global count, failed
    count += 1
    failed += not is_fine
    print(f"{'ok' if is_fine else 'not ok'} {count} - {what}")
    if not is_fine and why:
        print("# " + str(why).replace("\n", "\n# "))


def run(*args):
    done = subprocess.run(args, capture_output=True, text=True, errors="replace")
    return done.returncode, done.stdout + done.stderr


def journalled(what, n, make):
    """The program reads what `make` has put into the file: its rows are counted against `n`."""
    with h5py.File("in.h5", "w") as f:
        make(f)
    code, text = run(probe, "out.h5", str(n), "input", "in.h5")
    check(what, code == 0 and f"complete 1, {n} rows well" in text, text)


texts = ["one", "zwölf", "", "three"]
journalled("a list of str", 4, lambda f: f.__setitem__("prompts", texts))
journalled("a list of bytes", 4, lambda f: f.__setitem__("prompts", [t.encode() for t in texts]))
journalled("fixed strings", 4, lambda f: f.__setitem__(
    "prompts", np.array([b"a", b"bc", b"", b"d"])))
journalled("compressed, chunked strings", 1000, lambda f: f.create_dataset(
    "prompts", data=[f"prompt {i}" for i in range(1000)], compression="gzip"))


def group(f):
    f["prompts/text"] = texts
    f["prompts/id"] = np.arange(4) * 10
    f["prompts/temperature"] = np.array([0.5, np.nan, 1, 0], dtype=np.float16)
    f["prompts/max_tokens"] = np.array([1, 2, 3, 4], dtype=">i2")
    f["prompts/seed"] = np.array([1, 2, 3, 2**64 - 1], dtype=np.uint64)
    f["prompts"].attrs["format"] = "text"


journalled("a group with columns of many types", 4, group)
with h5py.File("out.h5") as f:
    check("integer ids", f["results/id"][:].tolist() == [0, 10, 20, 30])


def tokens(f):
    f["prompts/tokens"] = np.arange(10)
    f["prompts/tokens_offsets"] = np.array([0, 3, 3, 10])


journalled("tokens with offsets, int64 as numpy makes them", 3, tokens)


def nothing(f):
    f.create_dataset("prompts", shape=(0,), dtype=h5py.string_dtype())


journalled("no rows", 0, nothing)
with h5py.File("out.h5") as f:
    check("a results file without rows", f["results/row"].shape == (0,) and
          f["results/text_offsets"][:].tolist() == [0] and f.attrs["complete"] == 1)


def refused(what, part, make):
    with h5py.File("in.h5", "w") as f:
        make(f)
    shutil.rmtree("out.h5.journal", ignore_errors=True)
    code, text = run(probe, "out.h5", "1", "input", "in.h5")
    lines = [line for line in text.splitlines() if line.startswith("probe: rank")]
    check(what, code == 65 and part in text and len(lines) == 1, text)


records = np.array([(b"a", 1)], dtype=[("prompt", "S5"), ("n", int)])
refused("records", "compound records", lambda f: f.__setitem__("prompts", records))
refused("a single string", "is a single value", lambda f: f.__setitem__("prompts", "one"))
refused("a table of strings", "2 dimensions", lambda f: f.create_dataset(
    "prompts", data=[["a", "b"]], dtype=h5py.string_dtype()))
refused("numbers", "holds numbers", lambda f: f.__setitem__("prompts", [1, 2]))
refused("ragged tokens", "variable-length lists", lambda f: f.create_dataset(
    "prompts/tokens", (1,), dtype=h5py.vlen_dtype(np.int32)))
refused("another name", "it has /questions", lambda f: f.__setitem__("questions", ["a"]))

# The results of 500 rows, read without anything of ours.
n = 500
with h5py.File("in.h5", "w") as f:
    f["prompts/text"] = ["x"] * n
    f["prompts/id"] = [f"näme {i}" for i in range(n)]
code, text = run(probe, "out.h5", str(n), "input", "in.h5")
check("results of 500 rows", code == 0, text)
with h5py.File("out.h5") as f:
    a, g = f.attrs, f["results"]
    check("root attributes", a["schema"] == "antiphon-results" and a["version"] == 1 and
          a["complete"] == 1 and a["n_rows"] == n and a["n_ok"] + a["n_failed"] == n, dict(a))
    check("rows in order", (g["row"][:] == np.arange(n)).all() and (g["sample"][:] == 0).all())
    names = h5py.check_enum_dtype(g["status"].dtype)
    check("status is an enumeration",
          names == {"OK": 0, "FAILED": 1, "SKIPPED": 2, "MISSING": 3}, names)
    names = h5py.check_enum_dtype(g["finish"].dtype)
    check("finish is an enumeration",
          names == {"NONE": 0, "STOP": 1, "LENGTH": 2, "EOS": 3, "ERROR": 4, "LOOP": 5}, names)
    types = {k: str(g[k].dtype) for k in g if k not in ("status", "finish", "id")}
    wanted = dict(row="int64", sample="uint16", prompt_tokens="int32", completion_tokens="int32",
                  seed="uint64", dp_rank="int32", attempt="uint16", t_first="float32",
                  t_total="float32", text="uint8", text_offsets="int64", tokens="int32",
                  tokens_offsets="int64", error="uint8", error_offsets="int64")
    check("every column has its type", types == wanted, types)
    check("contiguous, no filters", all(g[k].chunks is None for k in g))
    check("string ids", g["id"].asstr()[7] == "näme 7" and g["id"].dtype.kind == "S")
    offsets, blob = g["text_offsets"][:], g["text"][:].tobytes()
    row = 8
    text = bytes(ord("a") + (row + i) % 26 for i in range(row * 37 % 300))
    check("text by offsets", blob[offsets[row]:offsets[row + 1]] == text)
    o = g["tokens_offsets"][:]
    check("tokens by offsets", g["tokens"][o[row]:o[row + 1]].tolist() ==
          [row * 1000 + i for i in range(len(text) // 5)] and
          (np.diff(o) == g["completion_tokens"][:]).all())
    o, e = g["error_offsets"][:], g["error"][:].tobytes()
    check("errors by offsets", e[o[3]:o[4]] == b"row 3 is bad" and o[5] == o[4])
    check("seeds", g["seed"][5] == 2**64 - 1 - 5)
    check("provenance", f["provenance"].attrs["command"] == "probe")
    p = f["performance"]
    check("performance", p["rows"][:].tolist() == [n] and p.attrs["rows"] == n, dict(p.attrs))

# What the program exports is what the file holds.
code, text = run(antiphon, "export", "out.h5", "-o", "out.jsonl")
lines = [json.loads(line) for line in open("out.jsonl", encoding="utf-8")]
with h5py.File("out.h5") as f:
    g = f["results"]
    o, blob = g["text_offsets"][:], g["text"][:].tobytes()
    same = all(blob[o[i]:o[i + 1]].decode("utf-8", "replace") == lines[i]["text"] and
               lines[i]["id"] == f"näme {i}" and lines[i]["row"] == i for i in range(n))
check("export as JSON lines", code == 0 and len(lines) == n and same, text)
code, text = run(antiphon, "export", "out.h5", "--csv", "-o", "out.csv")
with open("out.csv", encoding="utf-8", errors="surrogateescape", newline="") as f:
    rows = list(csv.reader(line.replace("\0", "?") for line in f))
check("export as CSV", code == 0 and len(rows) == n + 1 and rows[9][2] == "näme 8", text)

# What the program packs is read by h5py.
with open("in.jsonl", "w", encoding="utf-8") as f:
    for i in range(300):
        f.write(json.dumps({"prompt": f"prömpt {i}", "id": f"k{i}",
                            **({"max_tokens": i} if i % 2 else {})}) + "\n")
code, text = run(antiphon, "pack", "in.jsonl", "-o", "packed.h5")
check("pack", code == 0, text)
with h5py.File("packed.h5") as f:
    g = f["prompts"]
    o, blob = g["text_offsets"][:], g["text"][:].tobytes()
    check("packed prompts", [blob[o[i]:o[i + 1]].decode() for i in range(300)] ==
          [f"prömpt {i}" for i in range(300)] and g["id"].asstr()[299] == "k299" and
          g.attrs["format"] == "text")
    fill = g["max_tokens"].attrs["_FillValue"]
    check("packed columns", all(g["max_tokens"][i] == (i if i % 2 else fill) for i in range(300)))

print(f"1..{count}")
sys.exit(failed != 0)
