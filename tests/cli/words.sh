#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# What a person meets who types something else than was meant: help, suggestions, files that are not
# there or not what they should be.
set -u
# shellcheck source=tests/launch/lib.sh
. "$(dirname "$0")/../launch/lib.sh"
alone
printf 'one\ntwo\n' >p.txt
"$antiphon" pack --from lines p.txt -o p.h5 >/dev/null

try "$antiphon"
expect "nothing" 64 "Usage: antiphon COMMAND" "'antiphon help COMMAND' tells"
try "$antiphon" help
expect "help" 0 "Usage: antiphon COMMAND"
try "$antiphon" help run
expect "help of a command" 0 "Usage: antiphon run --model"
try "$antiphon" help rnu
expect "help of none" 64 "unknown command 'rnu'; did you mean 'run'?"
try "$antiphon" exprot
expect "a command mistyped" 64 "unknown command 'exprot'; did you mean 'export'?"
try "$antiphon" answer
expect "no command at all" 64 "unknown command 'answer': 'antiphon help' lists them"

for command in run score pack show export merge verify top report halt params plan template bench \
    doctor manual; do
    try "$antiphon" $command --help
    expect "$command --help" 0 "Usage: antiphon $command" "-h, --help"
    try "$antiphon" $command --hlep
    expect "$command with an unknown option" 64 "antiphon $command: unknown option '--hlep'; did you mean '--help'?" \
        "'antiphon $command --help' tells the options"
done

for command in show export report verify top; do
    try "$antiphon" $command nowhere.h5
    expect "$command: no such file" 65 "nowhere.h5'"
    try "$antiphon" $command p.h5
    expect "$command: prompts" 65 "'p.h5' is no results file of antiphon: it holds prompts"
    try "$antiphon" $command p.txt
    expect "$command: a text" 65 "'p.txt' is not an HDF5 file"
    try "$antiphon" $command
    expect "$command: nothing named" 64 "antiphon $command: name" "--help' tells the options"
done
try "$antiphon" merge nowhere.h5
expect "merge: no such job" 65 "there is neither 'nowhere.h5' nor 'nowhere.h5.journal'"
try "$antiphon" halt nowhere.h5
expect "halt: no such job" 65 "no job is writing 'nowhere.h5'"
try "$antiphon" pack nowhere.jsonl -o x.h5
expect "pack: no such file" 65 "cannot open 'nowhere.jsonl': No such file"
try "$antiphon" run -m "$model" -i p.h5 -o nowhere/x.h5
expect "run: no such folder" 65 "cannot write 'nowhere/x.h5': folder 'nowhere/': No such file"
try "$antiphon" run -m "$model" -i p.h5 -o p.h5
expect "run: over its input" 65 "'p.h5' is no results file of antiphon: it holds prompts"
try "$antiphon" run -m "$model"
expect "run: options missing" 64 "missing option '--input', '--output'" "'antiphon run --help'"
try "$antiphon" run -m nowhere.gguf -i p.h5 -o x.h5
expect "run: no such model" 65 "cannot open 'nowhere.gguf': No such file"
try "$antiphon" run -m p.h5 -i p.h5 -o x.h5
expect "run: a model that is none" 65 "'p.h5' is not a GGUF file"
try "$antiphon" run -m org/model -i p.h5 -o x.h5
expect "run: a model of a hub" 65 "'org/model': No such file" "nothing is downloaded"
try "$antiphon" run -m . -i p.h5 -o x.h5
expect "run: a folder that is no model" 65 "'.' has no config.json: it is not the folder of a"
cp -r "$model" folder && chmod -R u+w folder && rm folder/tokenizer.json
try "$antiphon" run -m folder -i p.h5 -o x.h5
expect "run: a model without a tokenizer" 65 "'folder' has neither tokenizer.json nor tokenizer.model"
pointer='version https://git-lfs.github.com/spec/v1'
echo "$pointer" >pointer.gguf
try "$antiphon" run -m pointer.gguf -i p.h5 -o x.h5
expect "run: a clone without Git LFS" 65 "'pointer.gguf' is only a pointer of Git LFS" "git lfs pull"
rm folder/*00002*.safetensors
try "$antiphon" params -m folder
expect "params: half a model" 65 "the model is not whole: cannot open 'folder/model-00001"
try "$antiphon" run -m "$model" -i p.h5 -o x.h5 --time-limit 0:40
expect "run: a limit too short" 64 "--time-limit '0:40' leaves no time to answer: --margin and --drain keep 45 s"
mkdir stopped.h5.journal
for command in show export verify report; do
    try "$antiphon" $command stopped.h5
    expect "$command: a job that has not ended" 65 "'stopped.h5' is not written yet" \
        "'antiphon merge stopped.h5 -o FILE' makes"
done
printf 'text\n' >none.csv
try "$antiphon" pack none.csv -o none.h5
expect "pack: nothing" 0 "none.h5: 0 prompts" "note: there are no prompts in it"
try "$antiphon" run -m "$model" -i none.h5 -o none-answers.h5 --max-model-len 64
expect "run: nothing" 0 "'none.h5' has no prompts" "COMPLETE 0/0"
printf 'text,max_tokens\none,3.0\ntwo,\nthree,4.5\n' >pandas.csv
try "$antiphon" pack pandas.csv -o x.h5
expect "pack: numbers of pandas" 65 "line 4: 'max_tokens' is '4.5', expected an integer"
try "$antiphon" run -m "$model" -i p.h5 -o x.h5 --kv-memory 1
expect "run: too little memory" 64 "one sequence of 512 tokens needs 0.0" "or raise --kv-memory"
if [ "$(awk '/^MemTotal:/ { print int($2 / 1e6) }' /proc/meminfo)" -lt 140 ]; then
    try "$antiphon" bench --dummy llama-3.1-70b
    expect "a model that is too large" 64 "does not fit: 141 GB of weights on a host" "among more hosts"
fi
mkdir closed && chmod 555 closed
if [ "$(id -u)" = 0 ] && chmod 755 . && command -v setpriv >/dev/null; then
    try setpriv --reuid 65534 --clear-groups "$antiphon" run -m "$model" -i p.h5 -o closed/x.h5
    expect "run: a folder that is closed" 74 "cannot create folder 'closed/x.h5.journal': Permission denied"
fi
for option in output input model; do
    try "$antiphon" run -m "$model" -i p.h5 -o y.h5 "--$option" ""
    expect "an empty --$option" 64 "option '--$option' is empty: it names no file"
done
# What is closed from the start is not what the first file is opened as.
# shellcheck disable=SC2016
try sh -c 'exec "$0" run -m "$1" -i p.h5 -o closed.h5 --max-tokens 1 <&- >&- 2>&-' "$antiphon" "$model"
expect "run: all standard streams closed" 0
try "$antiphon" verify closed.h5
expect "it has written what it should" 0
# shellcheck disable=SC2016
try sh -c '("$0" run -m "$1" -i p.h5 -o pipe.h5 --max-tokens 1; echo "code $?" >&2) | true' \
    "$antiphon" "$model"
expect "run: nobody reads what it says" 0 "code 0"
for command in "show x.h5" "template gpu" "params -m $model" "manual run" "--version" "--help" help \
    "help run" "run --help"; do
    [ "$command" != "show x.h5" ] || "$antiphon" run -m "$model" -i p.h5 -o x.h5 --max-tokens 1 \
        --log-level error >/dev/null 2>&1
    # shellcheck disable=SC2016,SC2086
    try sh -c '"$0" "$@" >/dev/full' "$antiphon" $command
    expect "$command to a full disk" 74 "cannot write to standard output"
done

try "$antiphon" merge x.h5
expect "merge: nothing left" 64 "'x.h5' has no journal beside it: nothing is left to merge"

done_testing
