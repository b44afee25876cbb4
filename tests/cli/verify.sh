#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# A results file is compared with its checksums and with its model, and rows that failed are
# answered again where the reason is gone.
set -u
# shellcheck source=tests/launch/lib.sh
. "$(dirname "$0")/../launch/lib.sh"
alone

# Rows 41, 141 and 241 have a temperature that is none.
awk 'BEGIN {
    for (i = 0; i < 300; i++)
        printf "{\"prompt\": \"number %d\", \"temperature\": %s}\n", i, i % 100 == 41 ? "-1" : "0.8"
}' >prompts.jsonl
"$antiphon" pack prompts.jsonl --output prompts.h5 >/dev/null || not_ok "pack" "$?"

# job OUT [OPTIONS]
job() {
    output=$1
    shift
    try "$antiphon" run --model "$tiny/llama" --input prompts.h5 --output "$output" --threads 1 \
        --max-tokens 8 --max-model-len 128 --stop 'a
b\c' --logit-bias 7=-1.5 --logprobs 2 --progress 0 "$@"
}

# poke FILE BYTES WANTED: the first place of the bytes WANTED (a pattern) holds BYTES (octal) now.
poke() {
    at=$(LC_ALL=C grep -obUaP "$3" "$1" | head -n 1 | cut -d : -f 1)
    # shellcheck disable=SC2059 # the bytes are a format
    printf "$2" | dd of="$1" bs=1 seek="$at" conv=notrunc 2>/dev/null
}

job out.h5
expect "three rows fail" 0 "COMPLETE 300/300 rows, 3 failed"
cp out.h5 first.h5

# ---- verify ------------------------------------------------------------------------------------

try "$antiphon" verify out.h5
expect "a good file" 0 "out.h5: fits its checksums; complete, 297 ok, 3 failed, 0 missing"
try "$antiphon" verify out.h5 --model "$tiny/llama"
expect "a sample of it again" 0 "32 answers were generated again: the same tokens"
try "$antiphon" verify out.h5 --model "$tiny/llama" --sample 0 --threads 2
expect "all of it again" 0 "297 answers were generated again: the same tokens"
try "$antiphon" verify out.h5 --model "$tiny/mixtral"
expect "another model" 64 "mixtral' is not the model of 'out.h5'"
head -n 299 prompts.jsonl >other.jsonl
"$antiphon" pack other.jsonl --output other.h5 >/dev/null
try "$antiphon" verify out.h5 --model "$tiny/llama" --input other.h5
expect "another input" 64 "'other.h5' is not the input of 'out.h5'"
try "$antiphon" verify prompts.h5
expect "no results file" 65 "'prompts.h5' is no results file"
try "$antiphon" verify
expect "no file named" 64 "name one results file"

# Row 96 is another prompt now, a place that the fingerprint of the input does not look at.
cp prompts.h5 kept.h5
poke prompts.h5 'number 96' 'number 97'
try "$antiphon" verify out.h5 --model "$tiny/llama" --sample 0
expect "an answer that is not the model's" 65 "'out.h5', row 97, sample 0: token " \
    "in the file, " " now; 1 of 297 answers differ"
cp kept.h5 prompts.h5

if command -v h5dump >/dev/null; then
    offset=$(h5dump -p -H -d /results/tokens out.h5 | sed -n 's/.*OFFSET *\([0-9]*\).*/\1/p')
    printf '\007' | dd of=out.h5 bs=1 seek=$((offset + 41)) conv=notrunc 2>/dev/null
    try "$antiphon" verify out.h5
    expect "one bit is another" 65 "'out.h5', dataset '/results/tokens' is damaged"
    job out.h5 --retry-failed
    expect "a damaged file is not gone on with" 65 "'/results/tokens' is damaged"
    cp first.h5 out.h5
else
    skip h5dump "a damaged file" "no h5dump"
fi

# ---- retry ---------------------------------------------------------------------------------------

# The temperature of row 41 is 0.8 now.
poke prompts.h5 '\232\231\231\231\231\231\351\077' '\x00\x00\x00\x00\x00\x00\xf0\xbf'
job out.h5
expect "without asking nothing is done" 0 "COMPLETE already"
job out.h5 --retry-failed --seed 3
expect "other settings are refused" 64 "'out.h5' was begun with 'seed=0', now it is 'seed=3'"
job out.h5 --retry-failed --restart-over
expect "one of the two" 64 "--restart-over answers all rows, --retry-failed some"
job out.h5 --retry-failed
expect "one of three failed rows can be answered" 0 "297 done before" \
    "COMPLETE 300/300 rows, 2 failed"
empty "nothing but the results is left" "$(ls -d out.h5.journal out.h5.part 2>/dev/null)"
try "$antiphon" verify out.h5 --model "$tiny/llama" --sample 0
expect "all are the model's" 0 "298 answers were generated again: the same tokens"
"$antiphon" export first.h5 --jsonl | grep -v '"row": 41,' >first.jsonl
"$antiphon" export out.h5 --jsonl | grep -v '"row": 41,' | sed 's/"attempt": *2/"attempt": 1/' >out.jsonl
empty "the other rows are as they were" "$(diff first.jsonl out.jsonl | head -n 4)"

# Killed in the middle: it goes on, and what was there stays until then.
cp first.h5 out.h5
ANTIPHON_FAILPOINT=merge-written
export ANTIPHON_FAILPOINT
job out.h5 --retry-failed
unset ANTIPHON_FAILPOINT
expect "killed" 137
empty "the file is as it was" "$(cmp first.h5 out.h5)"
job out.h5
expect "without asking the file is complete" 0 "COMPLETE already"
job out.h5 --retry-failed
expect "asked again it goes on" 0 "start 2, 300 done before" "COMPLETE 300/300 rows, 2 failed"

# What is missing is no answer either: of a job whose journal was cut off, then merged and removed.
ANTIPHON_FAILPOINT=merge-begun
export ANTIPHON_FAILPOINT
job part.h5
unset ANTIPHON_FAILPOINT
truncate -s 20000 part.h5.journal/r0.s1.aj
try "$antiphon" merge part.h5
expect "a part of the answers" 0 "part.h5: not complete" " missing"
try "$antiphon" verify part.h5 --model "$tiny/llama"
expect "is what it says it is" 0 "not complete" "the same tokens"
rm -r part.h5.journal
job part.h5 --retry-failed
expect "the others are answered" 0 "done before" "COMPLETE 300/300 rows, 2 failed"
try "$antiphon" verify part.h5 --model "$tiny/llama" --sample 0
expect "and are the model's" 0 "298 answers were generated again: the same tokens"
done_testing
