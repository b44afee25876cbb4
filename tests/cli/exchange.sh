#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The commands around a job as a person uses them: pack, show, export, merge.
set -u
# shellcheck source=tests/launch/lib.sh
. "$(dirname "$0")/../launch/lib.sh"

probe=$TOP_BUILDDIR/tests/launch/results_probe
alone

same_bytes() {
    if cmp -s "$2" "$3"; then ok "$1"; else not_ok "$1" "$2 and $3 differ"; fi
}

cat >prompts.jsonl <<'TEXT'
{"prompt": "first", "id": "a", "max_tokens": 5}
{"text": "second", "id": "b", "colour": "red"}
{"custom_id": "c", "method": "POST", "body": {"prompt": "third", "seed": 3}}
TEXT
try "$antiphon" pack prompts.jsonl -o p.h5
expect "pack JSON lines" 0 "p.h5: 3 prompts, 16 bytes, with id, max_tokens, seed" \
    "not used from 'prompts.jsonl': colour"
try "$antiphon" pack prompts.jsonl -o p.h5
expect "an output that is there stays" 64 "antiphon pack: 'p.h5' is there already"
try "$antiphon" pack prompts.jsonl prompts.jsonl -o p2.h5 --force
expect "two inputs" 0 "6 prompts"
cp p2.h5 kept.h5
try "$antiphon" pack kept.h5 -o ./kept.h5 --force
expect "pack over its input" 64 "'kept.h5' is to be read and written"
same_bytes "the input stays" p2.h5 kept.h5
printf '"x"\n{"prompt": 5}\n' >bad.jsonl
try "$antiphon" pack bad.jsonl -o bad.h5
expect "a bad line is named" 65 "antiphon pack: 'bad.jsonl', line 2: 'prompt' is a number"
empty "a failed pack leaves nothing" "$(ls bad.h5* 2>/dev/null)"
try "$antiphon" pack prompts.jsonl --from lines -o lines.h5
expect "another format than the name's" 0 "3 prompts"
code=0
printf 'a\n\nb\nc\n' | "$antiphon" pack - --from paragraphs -o par.h5 >out 2>err || code=$?
expect "standard input" 0 "2 prompts, 4 bytes"
try "$antiphon" pack - -o x.h5
expect "standard input has no name to tell" 64 "say --from"
try "$antiphon" pack prompts.jsonl -o x.h5 --column id
expect "a column of JSON lines" 64 "--column is for CSV, 'prompts.jsonl' is not"
try "$antiphon" pack prompts.jsonl -o x.h5 --whole-file --from csv
expect "two formats" 64 "choose one format"
mkfifo pipe
try "$antiphon" pack prompts.jsonl -o pipe --force
expect "a pipe is not replaced" 64 "'pipe' is no file that could be replaced"
try "$antiphon" pack prompts.jsonl -o /nonexistent/x.h5
expect "a folder that is not there" 74 "cannot create '/nonexistent/x.h5.part'" \
    "No such file or directory"
try "$antiphon" pack -o x.h5
expect "no input" 64 "no input is named"

try "$probe" r.h5 3 input p.h5
expect "results to look at" 0 "3 rows well"
try "$antiphon" show r.h5
expect "show" 0 "r.h5: complete, 3 results: 3 ok, 0 failed" \
    "--- row 2, id c: OK, EOS, 2 + 14 tokens"
try "$antiphon" show r.h5 --row 1
expect "show one row" 0 "--- row 1, id b"
empty "and no other" "$(grep -e '--- row [02]' out)"
try "$antiphon" show r.h5 --row 3
expect "show a row that is not there" 64 "has no row 3, there are 3"
try "$antiphon" show p.h5
expect "show a file of prompts" 65 "'p.h5' is no results file of antiphon: it holds prompts"
try "$probe" many.h5 50
try "$antiphon" show many.h5 --failed -n 2
expect "show what failed" 0 "43 ok, 7 failed" "--- row 10: FAILED" "row 10 is bad"
empty "no more than asked for" "$(grep -e '--- row 17' out)"
printf '{"prompt": "a", "n": 2}\n{"prompt": "b"}\n' >n.jsonl
"$antiphon" pack n.jsonl -o n.h5 >/dev/null
try "$antiphon" run --model "$model" --input n.h5 --output n-answers.h5 --max-tokens 2
expect "rows with more answers than others" 0 "COMPLETE"
try "$antiphon" show --failed n-answers.h5
expect "nothing failed" 0 "0 failed"
empty "so nothing is shown" "$(grep -e '--- row' out)"
printf '{"id": "a", "prompt": "x"}\n{"id": "b", "prompt": 5}\n' >bad.jsonl
"$antiphon" pack bad.jsonl --keep-bad -o bad.h5 >/dev/null
"$antiphon" run --model "$model" --input bad.h5 --output bad-answers.h5 --max-tokens 2 >out 2>err
try "$antiphon" show --failed bad-answers.h5
expect "a bad row keeps its id" 0 "--- row 1, id b: FAILED" "'prompt' is a number"
# Row 9 has control characters in it.
try "$antiphon" show many.h5 --row 9
empty "no control characters reach the terminal" "$(LC_ALL=C tr -d '[:print:]\n\t\200-\377' <out)"

try "$antiphon" export r.h5
expect "export" 0 '{"row": 1, "sample": 0, "id": "b", "status": "OK", "finish": "LENGTH"'
try "$antiphon" export r.h5 --csv -o r.csv
expect "export CSV to a file" 0
if [ "$(wc -l <r.csv)" -eq 4 ] && grep -q '^1,0,b,OK,LENGTH,1,7,' r.csv; then
    ok "the CSV has every row"
else
    not_ok "the CSV has every row" "$(cat r.csv)"
fi
try "$antiphon" pack r.csv --column text -o again.h5
expect "what was exported can be packed" 0 "3 prompts" "with id, seed"
cp r.h5 kept.h5
ln kept.h5 link.h5
for command in "export kept.h5 -o link.h5" "report kept.h5 -o ./kept.h5"; do
    # shellcheck disable=SC2086
    try "$antiphon" $command
    expect "$command" 64 "'kept.h5' is to be read and written"
    same_bytes "the results stay" r.h5 kept.h5
done
for command in "export r.h5 --csv" "report r.h5 --csv"; do
    # shellcheck disable=SC2086
    try "$antiphon" $command
    mv out wanted
    cat pipe >got &
    # shellcheck disable=SC2086
    try "$antiphon" $command -o pipe
    if [ -p pipe ]; then wait; else kill $!; fi
    expect "$command into a pipe" 0
    same_bytes "it comes out at the other end" wanted got
    empty "and nothing is said beside" "$(cat out)"
done
try "$antiphon" export r.h5 --csv --jsonl
expect "one format at a time" 64 "choose one"
try "$antiphon" export r.h5 --model "$model"
expect "a model that nothing is asked of" 64 "--model is for the log probabilities of --openai-batch"
if [ -w /dev/full ]; then
    code=0
    "$antiphon" export r.h5 >/dev/full 2>err || code=$?
    expect "a full disk" 74 "cannot write 'standard output': No space left on device"
else
    skip devfull "a full disk" "no /dev/full"
fi

"$antiphon" pack prompts.jsonl prompts.jsonl prompts.jsonl -o p9.h5 >/dev/null 2>&1
try "$probe" job.h5 9 killed p9.h5
expect "a job that died" 0
try "$antiphon" merge job.h5 -o so-far.h5
expect "merge what there is" 0 "so-far.h5: not complete, 5 ok, 1 failed, 3 missing"
try "$antiphon" show so-far.h5
expect "which can be shown" 0 "so-far.h5: not complete, 9 results: 5 ok, 1 failed, 3 missing" \
    "--- row 2, id c: MISSING"
cp p9.h5 kept.h5
try "$antiphon" merge job.h5 -o kept.h5
expect "merge over prompts" 65 "merge replaces results alone" "it holds prompts"
try "$antiphon" merge r.h5 -o kept.h5
expect "and of shards" 65 "merge replaces results alone"
same_bytes "the prompts stay" p9.h5 kept.h5
try "$antiphon" merge job.h5
expect "merge into its place" 0 "job.h5: not complete"
if [ -d job.h5.journal ]; then ok "the journal stays"; else not_ok "the journal stays"; fi
try "$antiphon" merge job.h5 --input p.h5
expect "merge with other prompts" 64 "'p.h5' is not the input of this job"
mv p9.h5 elsewhere.h5
try "$antiphon" merge job.h5 -o without.h5
expect "merge without prompts" 0 "note: without ids" "9.h5'" "not complete"
try "$antiphon" merge job.h5 -o with.h5 --input elsewhere.h5
expect "merge with the prompts named" 0 "not complete"
try "$probe" done.h5 9 journal elsewhere.h5
try "$antiphon" merge done.h5
expect "merge a job that was all but done" 0 "done.h5: complete, 8 ok, 1 failed, 0 missing"
if [ ! -e done.h5.journal ]; then ok "its journal is gone"; else not_ok "its journal is gone"; fi
try "$probe" done.h5 9 journal elsewhere.h5
try "$antiphon" merge done.h5 -o "./done.h5"
expect "by another name" 0 "done.h5: complete, 8 ok, 1 failed, 0 missing"
if [ ! -e done.h5.journal ]; then ok "and its journal"; else not_ok "and its journal"; fi
try "$antiphon" merge nothing.h5
expect "merge what is not there" 65 "there is neither 'nothing.h5' nor 'nothing.h5.journal'"
done_testing
