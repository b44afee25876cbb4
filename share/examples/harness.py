#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Requests of an evaluation harness, scored by antiphon.

    harness.py pack REQUESTS.jsonl -o pairs.jsonl      what 'antiphon pack' reads
    antiphon pack pairs.jsonl -o pairs.h5
    srun --mpi=pmix antiphon score --model MODEL --input pairs.h5 --output scores.h5
    harness.py answers scores.h5                       a line [log probability, is greedy] a request

A request is a line ["context", "continuation"], {"context": ..., "continuation": ...}, or one of the
samples that lm-evaluation-harness writes with --log_samples, whose "arguments" hold one such pair
a choice. In Python, answers() gives what LM.loglikelihood must return, in the order of requests.
"""
import argparse
import json
import sys


def pairs(line):
    """The pairs of context and continuation in a line."""
    if isinstance(line, list):
        yield line[0], line[1]
    elif "arguments" in line:
        arguments = line["arguments"]
        for pair in arguments.values() if isinstance(arguments, dict) else arguments:
            if isinstance(pair, dict):
                yield pair["arg_0"], pair["arg_1"]
            else:
                yield pair[0], pair[1]
    else:
        yield line["context"], line["continuation"]


def pack(source, out):
    for line in source:
        for context, continuation in pairs(json.loads(line)):
            out.write(json.dumps({"prompt": context, "continuation": continuation}) + "\n")


def answers(path):
    """[(log probability, is greedy)] of a results file; a row that failed has its reason raised."""
    import h5py

    with h5py.File(path, "r") as f:
        results = f["results"]
        for row, status in enumerate(results["status"]):
            if status != 0:
                at = results["error_offsets"]
                why = bytes(results["error"][at[row] : at[row + 1]]).decode()
                raise RuntimeError(f"{path}: row {row}: {why}")
        return list(zip(results["logprob_sum"][:].tolist(), results["is_greedy"][:] == 1))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("pack", help="requests to pairs")
    command.add_argument("requests")
    command.add_argument("-o", "--output", required=True)
    command = commands.add_parser("answers", help="results to answers")
    command.add_argument("results")
    arguments = parser.parse_args()
    if arguments.command == "pack":
        with open(arguments.requests, encoding="utf-8") as source:
            with open(arguments.output, "w", encoding="utf-8") as out:
                pack(source, out)
    else:
        for logprob, is_greedy in answers(arguments.results):
            sys.stdout.write(json.dumps([logprob, bool(is_greedy)]) + "\n")


if __name__ == "__main__":
    main()
