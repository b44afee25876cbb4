# SPDX-License-Identifier: Apache-2.0
"""Prints what is wrong with what antiphon report made; nothing: all is well.

    report_check.py page FILE            a page that needs nothing but itself, every element closed
    report_check.py sums JSON CSV N      the figures of N answers add up, in both forms
"""
import csv
import html.parser
import json
import sys

VOID = {"meta", "br", "hr", "img", "link", "input"}
OPTIONAL = {"th", "tr", "td"}  # need no end


class Page(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.open, self.n, self.ids = [], {}, []

    def handle_starttag(self, tag, attributes):
        self.n[tag] = self.n.get(tag, 0) + 1
        for name, value in attributes:
            if (value or "").startswith("#"):
                continue
            if name in ("src", "href", "srcset", "action") or "url(" in (value or ""):
                print(f"<{tag} {name}={value}> is not of the page itself")
        if tag not in VOID and tag not in OPTIONAL:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.n[tag] = self.n.get(tag, 0) + 1

    def handle_endtag(self, tag):
        if tag in OPTIONAL:
            return
        if not self.open or self.open.pop() != tag:
            print(f"</{tag}> ends nothing, at {self.getpos()}")


def check_page(path):
    text = open(path, encoding="utf-8").read()
    page = Page()
    page.feed(text)
    if page.open:
        print("not closed:", page.open)
    for tag in ("script", "link", "img", "iframe"):
        if tag in page.n:
            print(f"<{tag}> has no place here")
    for word in ("http:", "https:", "@import", "nan", "inf"):
        for place in [i for i in range(len(text)) if text.startswith(word, i)]:
            if word[0] == "h" or not (text[place - 1].isalnum() or text[place + 3 :][:1].isalnum()):
                print(f"'{word}': {text[max(0, place - 40):place + 40]!r}")
    if page.n.get("svg", 0) < 6 or page.n.get("section", 0) < 6:
        print("charts are missing:", page.n)


def near(what, a, b):
    if abs(a - b) > 1e-3 * max(abs(a), abs(b), 1):
        print(f"{what}: {a} and {b}")


def check_sums(json_path, csv_path, n):
    report = json.load(open(json_path))
    rows = list(csv.DictReader(open(csv_path)))
    near("answers", report["ok"], n)
    near("lengths", report["answer_lengths"]["n"], n)
    for name in ("prompt_lengths", "answer_lengths", "first_token_s", "answer_s"):
        near(name, sum(report[name]["bars"]), report[name]["n"])
    near("mean", report["answer_lengths"]["mean"] * n, report["output_tokens"])
    for name in ("prompt_tokens", "output_tokens", "rows", "prefill_s", "decode_s", "idle_s"):
        of_ranks = sum(rank[name] for rank in report["ranks"])
        near(name + " by steps", sum(step[name] for step in report["steps"]), of_ranks)
        near(name + " in CSV", sum(float(row[name]) for row in rows), of_ranks)
    near("rows", sum(rank["rows"] for rank in report["ranks"]), report["ok"] + report["failed"])
    near("tokens", sum(rank["output_tokens"] for rank in report["ranks"]), report["output_tokens"])
    for row in rows:
        if sum(float(row[k]) for k in ("prefill_s", "decode_s", "idle_s")) > 1.05 * report["step_s"] + 0.01:
            print("more than a step holds:", row)
    if not report["provenance"]["settings"]["model"]:
        print("no settings")


if sys.argv[1] == "page":
    check_page(sys.argv[2])
else:
    check_sums(sys.argv[2], sys.argv[3], int(sys.argv[4]))
