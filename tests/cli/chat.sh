#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Prompts that are messages, through a template, on a tiny real checkpoint.
set -u
# shellcheck source=tests/launch/lib.sh
. "$(dirname "$0")/../launch/lib.sh"
mkdir "$tmp/model"
cp -R "$TOP_SRCDIR/tests/golden/tiny/llama/." "$tmp/model"
chmod -R u+w "$tmp/model"

# answer NAME [OPTIONS]: $tmp/NAME.jsonl or .txt to $tmp/NAME.h5, then answers as JSON lines in $tmp/NAME.out
answer() {
    name=$1
    shift
    for input in "$tmp/$name".jsonl "$tmp/$name".txt; do
        [ ! -e "$input" ] || "$antiphon" pack "$input" --force --output "$tmp/$name.h5" >/dev/null
    done
    rm -f "$tmp/$name.answers.h5"
    try "$antiphon" run --model "$tmp/model" --input "$tmp/$name.h5" --temperature 0 \
        --output "$tmp/$name.answers.h5" --max-tokens 8 --max-model-len 256 "$@"
    [ "$code" -ne 0 ] || "$antiphon" export "$tmp/$name.answers.h5" |
        sed 's/, *"\(t_first\|t_total\)": *[^,}]*//g' >"$tmp/$name.out"
}

cat >"$tmp/chat.jsonl" <<'END'
{"messages": [{"role": "user", "content": "hello there"}]}
{"messages": [{"role": "system", "content": "be kind"}, {"role": "user", "content": "word \"two\""}]}
{"messages": [{"role": "user", "content": ""}]}
{"messages": [{"role": "wizard", "content": "x"}]}
END
cat >"$tmp/template.jinja" <<'END'
{%- for m in messages %}
{%- if m.role == 'wizard' %}{{ raise_exception('no wizards') }}{% endif %}
{{- m.role[0] }}: {{ m.content }} {% endfor -%}
END
cat >"$tmp/same.txt" <<'END'
u: hello there 
s: be kind u: word "two" 
u:  
x
END

answer chat
expect "messages without a template" 64 "has no chat template, which messages need"
answer chat --chat-template "$tmp/template.jinja"
expect "messages" 0 "COMPLETE 4/4 rows, 1 failed"
grep -q 'chat template .*line 2: the template says: no wizards' "$tmp/chat.out" ||
    not_ok "a row's error is its own" "$(cat "$tmp/chat.out")"
answer same
head -n 3 "$tmp/chat.out" >"$tmp/a"
head -n 3 "$tmp/same.out" >"$tmp/b"
if cmp -s "$tmp/a" "$tmp/b"; then
    ok "as if the text had been written out"
else
    not_ok "as if the text had been written out" "$(diff "$tmp/a" "$tmp/b")"
fi

cp "$tmp/template.jinja" "$tmp/model/chat_template.jinja"
answer chat
head -n 3 "$tmp/chat.out" >"$tmp/b"
if cmp -s "$tmp/a" "$tmp/b"; then
    ok "the model's own template"
else
    not_ok "the model's own template" "$(diff "$tmp/a" "$tmp/b")"
fi

printf 'hello there\n' >"$tmp/text.txt"
answer text --chat --system "be kind"
expect "texts as messages of a user" 0 "COMPLETE 1/1 rows, 0 failed"
answer text --system "be kind"
expect "texts are no messages unasked" 64 "holds texts, not messages"
answer text --chat --chat-date tomorrow
expect "a day that is none" 64 "--chat-date 'tomorrow' is no day"
answer text --chat --chat-date 2026-02-30
expect "one that no month has" 64 "--chat-date '2026-02-30' is no day"
printf '{%% if x %%}\n{{ y | frobnicate' >"$tmp/bad.jinja"
answer text --chat --chat-template "$tmp/bad.jinja"
expect "a bad template stops the job" 65 "bad.jinja': line 2: {{ has no end"

# A template that was changed makes another job of it.
answer text --chat
printf 'changed' >"$tmp/model/chat_template.jinja"
try "$antiphon" run --model "$tmp/model" --input "$tmp/text.h5" --temperature 0 \
    --output "$tmp/text.answers.h5" --max-tokens 8 --max-model-len 256 --chat
expect "another template, another job" 64 "was begun with 'chat-template-digest="
done_testing
