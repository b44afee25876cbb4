# SPDX-License-Identifier: Apache-2.0
"""alike.py ONE OTHER BOUND: the answers of two jobs over the same prompts, as JSON lines with log
probabilities and alternatives.

Sums over ranks have other last bits than those of one, so a near-tie may fall either way: up to the
first token that differs, log probabilities are within BOUND of each other, on average within a tenth
of it, and so are there, in the first job, those of both tokens. What comes after it says nothing. A
BOUND of 0: all the same."""
import json
import math
import sys


def load(path):
    with open(path, encoding="utf-8") as lines:
        return {row["row"]: row for row in map(json.loads, lines)}


def compare(one, other):
    """How far log probabilities are apart, and how near the tie is where tokens part, or None."""
    apart = []
    for i, (x, y) in enumerate(zip(one["tokens"], other["tokens"])):
        if x != y:
            alternatives = dict(one["top_logprobs"][i]) if "top_logprobs" in one else {}
            return apart, one["logprobs"][i] - alternatives.get(y, -math.inf)
        apart.append(abs(one["logprobs"][i] - other["logprobs"][i]))
    return apart, None


def main(one, other, bound):
    assert one and one.keys() == other.keys(), f"{len(one)} and {len(other)} answers"
    apart, gaps = [], []
    for row, x in one.items():
        y = other[row]
        assert x["status"] == y["status"] == "OK" and len(x["tokens"]) == len(y["tokens"]), row
        difference, gap = compare(x, y)
        apart += difference
        if gap is not None:
            gaps.append(gap)
            print(f"row {row} parts at a gap of {gap:.4f};", end=" ")
    worst, mean = max(apart, default=0), sum(apart) / max(len(apart), 1)
    print(f"{len(gaps)} of {len(one)} answers differ; before, log probabilities by {mean:.4f}, "
          f"at most {worst:.4f}")
    return (worst <= bound and mean <= bound / 10 and all(gap <= bound for gap in gaps)
            and (bound > 0 or not gaps))


if __name__ == "__main__":
    sys.exit(not main(load(sys.argv[1]), load(sys.argv[2]), float(sys.argv[3])))
