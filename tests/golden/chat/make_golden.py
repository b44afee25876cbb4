#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Make the expected prompts of this folder with jinja2, in the environment that transformers gives
chat templates (made with transformers 5.23.0, jinja2 3.1.6).

    pip install transformers jinja2
    python3 make_golden.py [--templates FOLDER] [--show TEMPLATE CONVERSATION]

Writes
  conversations.json   what is said: the variables of a template, one conversation a line
  expected.json        beside the templates: for each (by file name) a CRC-32C of what it makes of
                       every conversation, null where it raises an error
--templates takes other templates than those of this folder: tests/unit/test_jinja_golden renders
them if ANTIPHON_TEMPLATES names that folder.
"""
import argparse
import datetime
import json
import os
import sys

from transformers.utils import chat_template_utils

HERE = os.path.dirname(os.path.abspath(__file__))
NOW = datetime.datetime(2025, 7, 4, 12, 30, 15)

U, A, S = "user", "assistant", "system"
NASTY = "  \t\n<|im_end|> [INST] </s> {{ x }} {% if %} 'q' \"d\" \\n \u00e9\u4e2d\U0001f600 \u2028 & < > \x07 \n\n"
WEATHER = {"type": "function", "function": {
    "name": "get_weather", "description": "The weather of a city, 'now' & \"here\" <b>.",
    "parameters": {"type": "object", "properties": {
        "city": {"type": "string", "description": "Name\nof the city \u00e9"},
        "days": {"type": "integer", "enum": [1, 2, 3]},
        "unit": {"type": ["string", "null"], "default": None}},
        "required": ["city"]}}}
ADD = {"type": "function", "function": {
    "name": "add", "description": "", "parameters": {"type": "object", "properties": {
        "x": {"type": "number", "minimum": 0.5}, "y": {"type": "array", "items": {
            "type": "object", "properties": {"z": {"type": "boolean"}}}}}, "required": []},
    "return": {"type": "number", "description": "Sum"}}}


def talk(*turns):
    return [{"role": role, "content": content} for role, content in turns]


def call(name, arguments, **more):
    return {"type": "function", "id": "abcDEF123", "function": {
        "name": name, "arguments": arguments}, **more}


CONVERSATIONS = [
    dict(messages=talk((U, "Hello"))),
    dict(messages=talk((U, "Hello")), add_generation_prompt=False),
    dict(messages=talk((S, "You are kind."), (U, "Hello"))),
    dict(messages=talk((U, "Hello"), (A, "Hi!"), (U, "How are you?"))),
    dict(messages=talk((S, " Be brief.\n"), (U, " 1+1? "), (A, " 2 \n"), (U, "\n2+2?"))),
    dict(messages=talk((S, "a"), (S, "b"), (U, "c"))),
    dict(messages=talk((U, "a"), (U, "b"))),
    dict(messages=talk((U, "a"), (A, "b"))),
    dict(messages=talk((U, "a"), (A, "b")), add_generation_prompt=False),
    dict(messages=talk((A, "b"), (U, "a"))),
    dict(messages=talk((U, "a"), (S, "late"), (U, "b"))),
    dict(messages=talk((U, ""))),
    dict(messages=talk((S, ""), (U, "x"))),
    dict(messages=talk((U, NASTY))),
    dict(messages=talk((S, NASTY), (U, NASTY), (A, NASTY), (U, NASTY))),
    dict(messages=talk(("developer", "Rules."), (U, "Hello"))),
    dict(messages=talk(("tool", "42"), (U, "Hello"))),
    dict(messages=talk(("nobody", "x"))),
    dict(messages=[]),
    dict(messages=[{"role": U}]),
    dict(messages=[{"content": "no role"}]),
    dict(messages=[{"role": U, "content": None}]),
    dict(messages=[{"role": U, "content": [{"type": "text", "text": "part one "},
                                           {"type": "text", "text": "part two"}]}]),
    dict(messages=[{"role": U, "content": [{"type": "image"}, {"type": "text", "text": "look"}]}]),
    dict(messages=[{"role": U, "content": 12.5}]),
    dict(messages=talk((U, "x")) + [{"role": A, "content": "<think>\nhm\n</think>\n\nyes"}] +
         talk((U, "y"))),
    dict(messages=talk((U, "x")) + [{"role": A, "content": "yes", "reasoning_content": " hm \n"}]),
    dict(messages=talk((U, "x")) + [{"role": A, "content": "yes", "reasoning_content": "hm"}] +
         talk((U, "y")), enable_thinking=False),
    dict(messages=talk((U, "Hello")), enable_thinking=True),
    dict(messages=talk((S, "Be kind. /no_think"), (U, "Hello")), enable_thinking=False),
    dict(messages=talk((U, "Weather?")), tools=[WEATHER]),
    dict(messages=talk((S, "Use tools."), (U, "Weather?")), tools=[WEATHER, ADD]),
    dict(messages=talk((U, "Weather?")) + [
        {"role": A, "content": "", "tool_calls": [call("get_weather", {"city": "\u00c5s", "days": 2})]},
        {"role": "tool", "name": "get_weather", "tool_call_id": "abcDEF123", "content": "rain"},
        {"role": A, "content": "It rains."}] + talk((U, "Thanks")), tools=[WEATHER]),
    dict(messages=talk((U, "Both?")) + [
        {"role": A, "content": None, "tool_calls": [
            call("get_weather", {"city": "x"}), call("add", {"x": 1.5, "y": [{"z": True}]})]},
        {"role": "tool", "name": "get_weather", "tool_call_id": "abcDEF123", "content": "rain"},
        {"role": "tool", "name": "add", "tool_call_id": "abcDEF123",
         "content": "{\"a\": [1, 2.0, null, \"\u00e9\"]}"}], tools=[WEATHER, ADD]),
    dict(messages=talk((U, "s")) + [
        {"role": A, "content": "calls", "tool_calls": [call("add", "{\"x\": 1}")]},
        {"role": "tool", "content": "3"}], tools=[ADD]),
    dict(messages=talk((U, "Hello")), tools=[]),
    dict(messages=talk((U, "docs?")), documents=[{"title": "T", "text": "body"}]),
    dict(messages=talk(*[(U if i % 2 == 0 else A, f"turn {i} ") for i in range(41)])),
    dict(messages=[{"role": U, "content": "k", "items": [1], "get": "g", "name": "Bob", "keys": {}}]),
]
for number, conversation in enumerate(CONVERSATIONS):
    conversation.setdefault("add_generation_prompt", True)
    conversation.setdefault("tools", None)
    conversation.setdefault("documents", None)
    conversation["messages"] = chat_template_utils._alias_reasoning_fields(conversation["messages"])
    if number % 5 != 4:  # some models have none
        conversation.update(bos_token="<s>", eos_token="</s>")

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


def render(source, conversation):
    template = chat_template_utils._compile_jinja_template(source)
    template.globals["strftime_now"] = NOW.strftime
    return template.render(**conversation)


def expect(source):
    out = []
    for conversation in CONVERSATIONS:
        try:
            out.append(crc32c(render(source, conversation).encode()))
        except Exception:  # whatever the template does wrong
            out.append(None)
    return out


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--templates", default=os.path.join(HERE, "templates"))
    parser.add_argument("--show", nargs=2, metavar=("TEMPLATE", "CONVERSATION"),
                        help="print one prompt instead; conversations are numbered from 0")
    args = parser.parse_args()

    def source(name):
        with open(os.path.join(args.templates, name), encoding="utf-8", newline="") as f:
            return f.read()

    if args.show:
        sys.stdout.write(render(source(args.show[0]), CONVERSATIONS[int(args.show[1])]))
        return
    expected = {name: expect(source(name)) for name in sorted(os.listdir(args.templates))
                if name.endswith(".jinja")}
    with open(os.path.join(args.templates, "expected.json"), "w", encoding="utf-8") as f:
        f.write("{\n" + ",\n".join(f'"{name}": {json.dumps(crcs, separators=(",", ":"))}'
                                   for name, crcs in expected.items()) + "\n}\n")
    with open(os.path.join(HERE, "conversations.json"), "w", encoding="utf-8") as f:
        f.write("[\n" + ",\n".join(json.dumps(c, separators=(",", ":")) for c in CONVERSATIONS) +
                "\n]\n")


if __name__ == "__main__":
    sys.exit(main())
