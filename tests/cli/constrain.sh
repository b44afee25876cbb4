#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# What answers must be, by options and row by row: lines of JSON, CSV and an OpenAI batch, through a tiny real checkpoint.
set -u
# shellcheck source=tests/launch/lib.sh
. "$(dirname "$0")/../launch/lib.sh"

# answer NAME [OPTIONS]: $tmp/NAME.h5, then the texts of its answers or why there is none, one a line in $tmp/NAME.out
answer() {
    name=$1
    shift
    rm -f "$tmp/$name.answers.h5"
    try "$antiphon" run --model "$TOP_SRCDIR/tests/golden/tiny/llama" --input "$tmp/$name.h5" \
        --output "$tmp/$name.answers.h5" --max-tokens 60 --max-model-len 256 --backend cpu "$@"
    [ "$code" -ne 0 ] || "$antiphon" export "$tmp/$name.answers.h5" |
        sed 's/.*"\(text\|error\)": "\(..*\)".*/\2/' >"$tmp/$name.out"
}

# lines WHAT PATTERN...: line i of the answers matches pattern i
lines() {
    what=$1
    shift
    n=0
    for pattern in "$@"; do
        n=$((n + 1))
        if ! sed -n "${n}p" "$tmp/$name.out" | grep -qxE "$pattern"; then
            not_ok "$what" "line $n is no '$pattern': $(sed -n "${n}p" "$tmp/$name.out")"
            return
        fi
    done
    ok "$what"
}

cat >"$tmp/rows.jsonl" <<'END'
{"prompt": "a", "choice": ["yes", "no"]}
{"prompt": "b", "regex": "[0-9]{3}-[a-f]+!"}
{"prompt": "c", "json_schema": {"type": "object", "properties": {"x": {"type": "integer", "maximum": 9, "minimum": 0}}, "required": ["x"]}}
{"prompt": "d", "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {"enum": [12, 34]}}}}
{"prompt": "e", "structured_outputs": {"choice": ["one"]}}
{"prompt": "f", "json_schema": {"type": "array", "uniqueItems": true}}
{"prompt": "g", "guided_regex": "(a"}
{"prompt": "h", "response_format": {"type": "text"}}
{"prompt": "i", "guided_json": "{\"type\": \"null\"}"}
END
"$antiphon" pack "$tmp/rows.jsonl" --output "$tmp/rows.h5" >"$tmp/packed"
if grep -q "with choice, regex, json_schema" "$tmp/packed"; then
    ok "packed as columns"
else
    not_ok "packed as columns" "$(cat "$tmp/packed")"
fi
answer rows --choice other
expect "rows of their own shapes" 0 "COMPLETE 9/9 rows, 2 failed"
lines "each as it must be" 'yes|no' '[0-9]{3}-[a-f]+!' '\{.*\\"x\\": ?[0-9].*\}' '12|34' one \
    ".*json_schema: 'uniqueItems' cannot be met at #" ".*regex: at byte 0: a group that does not end: '\)' is missing" \
    other null

printf 'prompt,choice,regex\na,"[""left"",""right""]",\nb,,x+y\n' >"$tmp/table.csv"
"$antiphon" pack "$tmp/table.csv" --output "$tmp/table.h5" >/dev/null
answer table
lines "columns of CSV" 'left|right' 'x+y?'

cat >"$tmp/bad.jsonl" <<'END'
{"prompt": "a", "choice": ["yes"], "regex": "b"}
END
try "$antiphon" pack "$tmp/bad.jsonl" --output "$tmp/bad.h5"
expect "two shapes in a line" 65 "line 1: only one of choice, regex, json_schema and response_format can be met"
printf '{"prompt": "a", "response_format": {"type": "xml"}}\n' >"$tmp/bad.jsonl"
try "$antiphon" pack "$tmp/bad.jsonl" --output "$tmp/bad.h5"
expect "a format that is not known" 65 "'response_format' is none that is known"

printf '{"prompt": "a"}\n{"prompt": "b"}\n' >"$tmp/plain.jsonl"
"$antiphon" pack "$tmp/plain.jsonl" --output "$tmp/plain.h5" >/dev/null
printf '{"type": "array", "items": {"type": "boolean"}, "minItems": 2, "maxItems": 2}' >"$tmp/schema.json"
answer plain --json-schema "$tmp/schema.json"
expect "a schema in a file" 0 "COMPLETE 2/2 rows, 0 failed"
lines "is satisfied" '\[.*(true|false).*,.*(true|false).*\]' '\[.*(true|false).*,.*(true|false).*\]'
answer plain --regex 'ab' --min-tokens 30 --ignore-eos
lines "an end that a shape forces comes at once" ab ab
answer plain --regex '[a-c]+' --allowed-token-id 300
lines "nothing left to draw is the row's failure" '.*no token was left to draw.*'
answer plain --regex 'a(' --max-tokens 5
expect "an expression that is none" 65 "'--regex': regex: at byte 1: a group that does not end"
answer plain --json --choice x
expect "two shapes" 64 "only one of --choice, --regex, --json-schema and --json can be met"
answer plain --json-schema "$tmp/none.json"
expect "a file that is not there" 65 "none.json"

# The same schema is the same job; another in the same file is not.
run_plain() {
    try "$antiphon" run --model "$TOP_SRCDIR/tests/golden/tiny/llama" --input "$tmp/plain.h5" --backend cpu \
        --output "$tmp/kept.h5" --max-tokens 20 --max-model-len 256 --json-schema "$tmp/schema.json"
}
run_plain
run_plain
expect "the same schema again" 0 "COMPLETE already"
printf '{"type": "null"}' >"$tmp/schema.json"
run_plain
expect "another schema in the file is another job" 64 "was begun with 'json-schema-digest="
done_testing
