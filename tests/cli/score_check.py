# SPDX-License-Identifier: Apache-2.0
"""score_check.py golden EXPECTED EXPORTED | same A B | texts A B

What score.sh looks for in lines of JSON."""
import json
import sys

TOLERANCE = 1e-4


def load(path):
    with open(path, encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def near(a, b):
    return abs(a - b) <= TOLERANCE * max(1.0, abs(a))


def golden(expected, exported):
    assert len(expected) == len(exported)
    for row, got in zip(expected, exported):
        want = row["expected"]
        assert got["tokens"] == want["tokens"], (want, got)
        assert near(want["sum"], got["logprob_sum"]), (want, got)
        assert want["is_greedy"] == got["is_greedy"], (want, got)
        assert all(map(near, want["logprobs"], got["logprobs"])), (want, got)
        for ids, values, top in zip(want["top_ids"], want["top_logprobs"], got["top_logprobs"]):
            assert [pair[0] for pair in top] == ids, (want, got)
            assert all(map(near, values, [pair[1] for pair in top])), (want, got)
    print("alike")


def same(a, b, names):
    assert len(a) == len(b)
    for x, y in zip(a, b):
        for name in names:
            assert x.get(name) == y.get(name), (name, x, y)
    print("the same")


if __name__ == "__main__":
    how, first, second = sys.argv[1], load(sys.argv[2]), load(sys.argv[3])
    if how == "golden":
        golden(first, second)
    elif how == "same":
        same(first, second, ["row", "sample", "status", "finish", "text", "tokens", "logprobs",
                             "top_logprobs", "prompt_ids", "prompt_logprobs",
                             "prompt_top_logprobs", "logprob_sum", "is_greedy", "error"])
    else:
        same(first, second, ["row", "sample", "status", "finish", "text"])
