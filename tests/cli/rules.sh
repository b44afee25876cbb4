#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Biases, words and ids of a row's own: as good as the options, from lines of JSON and CSV; a row
# with a bad one fails alone.
set -u
# shellcheck source=tests/launch/lib.sh
. "$(dirname "$0")/../launch/lib.sh"
antiphon=$TOP_BUILDDIR/src/antiphon
unset PMIX_NAMESPACE SLURM_JOB_ID
cd "$tmp" || exit 1

# answer NAME INPUT [OPTIONS]: the answers in NAME.out, without times
answer() {
    name=$1
    input=$2
    shift 2
    "$antiphon" run --model "$TOP_SRCDIR/tests/golden/tiny/llama" --input "$input" --output "$name.answers.h5" \
        --max-tokens 30 --temperature 0.8 --max-model-len 256 --backend cpu "$@" >"$name.log" 2>&1 ||
        { not_ok "answers of $name" "$(tail -n 2 "$name.log")"; return; }
    "$antiphon" export "$name.answers.h5" | sed 's/"t_first.*"text"/"text"/' >"$name.out"
}

# rows FILE MEMBERS: four prompts with these members of JSON
rows() {
    for prompt in "The river" Count "one two three" stone; do
        echo "{\"prompt\": \"$prompt\"$2}"
    done >"$1.jsonl"
    "$antiphon" pack "$1.jsonl" -o "$1.h5" >/dev/null
}

rows plain ''
rows own ', "logit_bias": {"97": 5, "300": -5.5}, "stop_token_ids": [280, 285], "bad_words": ["e", "th"]'
rows only ', "allowed_token_ids": [97, 98, 99, 270]'
answer plain-plain plain.h5
answer own-rows own.h5
answer own-options plain.h5 --logit-bias 97=5 --logit-bias 300=-5.5 --stop-token-id 280 \
    --stop-token-id 285 --bad-words e --bad-words th
answer over-options own.h5 --logit-bias 98=50 --stop-token-id 97 --bad-words a
answer only-rows only.h5
answer only-options plain.h5 --allowed-token-id 97 --allowed-token-id 98 --allowed-token-id 99 \
    --allowed-token-id 270
if cmp -s own-rows.out plain-plain.out; then
    not_ok "columns change answers" "they do not"
else
    ok "columns change answers"
fi
empty "columns as options" "$(diff own-rows.out own-options.out 2>&1)"
empty "a row's lists take the place of the options'" "$(diff own-rows.out over-options.out 2>&1)"
empty "allowed ids as options" "$(diff only-rows.out only-options.out 2>&1)"

cat >bad.jsonl <<'TEXT2'
{"prompt": "a", "logit_bias": {"x": 1}}
{"prompt": "a", "logit_bias": {"5": 1000}}
{"prompt": "a", "stop_token_ids": [1.5]}
{"prompt": "a", "bad_words": [""]}
{"prompt": "a", "allowed_token_ids": [384]}
{"prompt": "a", "logit_bias": null, "bad_words": [], "stop_token_ids": []}
{"prompt": "a", "logit_bias": [1]}
TEXT2
try "$antiphon" pack bad.jsonl -o bad.h5
expect "a bias that is no object" 65 "'bad.jsonl', line 7: 'logit_bias' is an array, expected an object"
"$antiphon" pack --keep-bad bad.jsonl -o bad.h5 >/dev/null
answer bad bad.h5
why() {
    sed -n 's/.*"error": "\(.*\)"}$/\1/p' bad.out | sed -n "$1p"
}
for line in "1 logit_bias names something else than tokens of the model (0 to 383)" \
    "2 logit_bias of 5 is no number between -100 and 100" \
    "3 stop_token_ids names something else than tokens of the model (0 to 383)" \
    "4 bad_words: item 1 is no text" \
    "5 allowed_token_ids names something else than tokens of the model (0 to 383)" \
    "6 'bad.jsonl', line 7: 'logit_bias' is an array, expected an object"; do
    if [ "$(why "${line%% *}")" = "${line#* }" ]; then
        ok "${line#* }"
    else
        not_ok "${line#* }" "$(why "${line%% *}")"
    fi
done

cat >own.csv <<'TEXT2'
prompt,logit_bias,stop_token_ids,bad_words
The river,"{""97"": 5, ""300"": -5.5}","[280, 285]","[""e"", ""th""]"
stone,,,
nothing,nonsense,,
TEXT2
try "$antiphon" pack own.csv -o csv.h5
expect "CSV" 0 "3 prompts, 21 bytes, with logit_bias, bad_words, stop_token_ids"
answer csv csv.h5
empty "CSV as lines of JSON" "$(sed -n 1p own-rows.out | diff - csv.out | grep '^<')"
empty "a row without any" "$(sed -n 4p plain-plain.out | sed 's/"row": 3/"row": 1/' | diff - csv.out | grep '^<')"
if grep -q "logit_bias 'nonsense' is no JSON object" csv.out; then
    ok "a cell that is no JSON"
else
    not_ok "a cell that is no JSON" "$(tail -n 1 csv.out)"
fi
done_testing
