#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# An OpenAI batch in, answered by a tiny real checkpoint, and out: every line has its answer or the
# reason why not.
set -u
# shellcheck source=tests/launch/lib.sh
. "$(dirname "$0")/../launch/lib.sh"

cat >"$tmp/template.jinja" <<'END'
{{ tools | length if tools }}{% for m in messages %}{{ m.role }}: {{ m.content }} {% endfor %}
END
cat >"$tmp/batch.jsonl" <<'END'
{"custom_id": "plain", "method": "POST", "url": "/v1/chat/completions", "body": {"model": "m", "messages": [{"role": "user", "content": "hello there"}], "max_tokens": 5, "temperature": 0, "seed": 7, "n": 1}}
{"body": {"messages": [{"role": "user", "content": "tools"}], "tools": [{"type": "function"}], "max_completion_tokens": 3, "top_p": 0.5}, "custom_id": "tools"}
not JSON
{"custom_id": "none", "body": {"messages": []}}
{"custom_id": "n", "body": {"messages": [{"role": "user", "content": "x"}], "n": 3}}
{"custom_id": "many", "body": {"messages": [{"role": "user", "content": "x"}], "n": 1000000000}}
{"custom_id": "best", "body": {"messages": [{"role": "user", "content": "x"}], "best_of": 3}}
{"custom_id": "stop", "body": {"messages": [{"role": "user", "content": "x"}], "n": 1, "stop": ["never there", "e", "a", "i", "o", "u", " "], "max_tokens": 200}}
{"custom_id": "empty stop", "body": {"messages": [{"role": "user", "content": "x"}], "stop": ""}}
{"custom_id": 12, "body": {"prompt": "a text"}}
{"custom_id": "hot \"é\"", "body": {"messages": [{"role": "user", "content": "x"}], "temperature": -3}}
{"custom_id": "format", "body": {"messages": [{"role": "user", "content": "x"}], "response_format": {"type": "json_object"}}}
{"custom_id": "logprobs", "body": {"messages": [{"role": "user", "content": "x"}], "logprobs": true, "top_logprobs": 2, "max_tokens": 2}}
{"custom_id": "too many", "body": {"messages": [{"role": "user", "content": "x"}], "logprobs": true, "top_logprobs": 50}}
{"custom_id": "last", "body": {"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "x"}], "max_tokens": 2}}
END

try "$antiphon" pack "$tmp/batch.jsonl" --output "$tmp/strict.h5"
expect "a bad line is an error" 65 "line 3: no JSON"
try "$antiphon" pack --from openai-batch "$tmp/batch.jsonl" --output "$tmp/batch.h5"
expect "or a row that fails" 0 "15 prompts" "4 of them are none"
try "$antiphon" run --model "$TOP_SRCDIR/tests/golden/tiny/llama" --input "$tmp/batch.h5" \
    --output "$tmp/answers.h5" --max-tokens 4 --max-model-len 256 --temperature 0 --samples 2 \
    --chat-template "$tmp/template.jinja"
expect "each for itself" 0 "COMPLETE 45/45"
try "$antiphon" export --openai-batch "$tmp/answers.h5" --output "$tmp/out.jsonl"
expect "out again" 0

# line CUSTOM_ID: that line of the output.
line() {
    grep "\"custom_id\": \"$1\"" "$tmp/out.jsonl"
}
# holds WHAT CUSTOM_ID TEXT: the line of that id holds the text.
holds() {
    case $(line "$2") in
    *"$3"*) ok "$1" ;;
    *) not_ok "$1" "$(line "$2")" ;;
    esac
}
# lacks WHAT CUSTOM_ID TEXT: it does not.
lacks() {
    case $(line "$2") in
    *"$3"*) not_ok "$1" "$(line "$2")" ;;
    *) ok "$1" ;;
    esac
}
holds "an answer" plain '"object": "chat.completion", "created": '
holds "its samples" last '}, {"index": 1, "message": {"role": "assistant", "content": '
holds "its tokens" plain '"usage": {"prompt_tokens": '
holds "tools go to the template" tools '"finish_reason": "length"'
holds "log probabilities" logprobs '"logprobs": {"content": [{"token": "'
holds "with the most probable tokens" logprobs '], "logprob": -'
holds "none where none are wanted" plain '"logprobs": null'
holds "more than there are" "too many" "logprobs 50 is more than 20"
holds "the last line" last '"status_code": 200'
holds "no messages" none "\"status_code\": 400"
holds "and why" none "line 4: 'messages' must be a list of messages"
holds "answers of its own number" n '{"index": 2, '
lacks "but no more than others" plain '{"index": 2, '
holds "too many of them" many "n 1000000000 is not between 1 and 128"
holds "what cannot be honoured" best "'best_of' cannot be set for one prompt"
holds "ends of its own" stop '"finish_reason": "stop"'
holds "an end that is none" "empty stop" "has something else than texts"
holds "a text among messages" 12 'a text, where there were messages before'
holds "a temperature that is none" 'hot \\"é\\"' 'temperature'
holds "an object, where one is asked for" format '"content": "{'
if grep -q '"custom_id": ""' "$tmp/out.jsonl"; then
    ok "a line without an id has a line too"
else
    not_ok "a line without an id has a line too" "$(cat "$tmp/out.jsonl")"
fi
if [ "$(wc -l <"$tmp/out.jsonl")" -eq 15 ]; then
    ok "a line for each"
else
    not_ok "a line for each" "$(cat "$tmp/out.jsonl")"
fi
python "valid JSON" -c 'import json, sys
for line in open(sys.argv[1], encoding="utf-8"):
    line = json.loads(line)
    assert (line["response"]["status_code"] == 200) == ("choices" in line["response"]["body"])' \
    "$tmp/out.jsonl"
done_testing
