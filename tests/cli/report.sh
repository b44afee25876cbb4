#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# antiphon report: the page, the figures, jobs that were begun again, shards, refusals.
set -u
# shellcheck source=tests/launch/lib.sh
. "$(dirname "$0")/../launch/lib.sh"
alone

# check WHAT ARGUMENTS: of report_check.py
check() {
    what=$1
    shift
    python "$what" "$TOP_SRCDIR/tests/cli/report_check.py" "$@"
}
# holds WHAT FILE TEXT...
holds() {
    what=$1 file=$2 why=
    shift 2
    for text in "$@"; do
        grep -qF -e "$text" "$file" || why="$why${why:+; }no '$text'"
    done
    empty "$what" "$why"
}

awk 'BEGIN {
    for (i = 0; i < 100; i++)
        printf "{\"prompt\": \"%s\", \"max_tokens\": %d%s}\n", i % 33 == 5 ? "" : "prompt number " i,
            i % 7 ? 20 : 90, i % 50 == 9 ? ", \"temperature\": -" i : ""
}' >p.jsonl
"$antiphon" pack p.jsonl -o p.h5 >/dev/null
settings="--model $model --input p.h5 --threads 1 --max-num-seqs 8 --temperature 0"
# shellcheck disable=SC2086
try "$antiphon" run $settings --output a.h5 --stop '<script>"no"</script>' --progress 0
expect "a job" 0 "COMPLETE 100/100 rows, 5 failed"

try "$antiphon" report a.h5
expect "the page lies beside the results" 0 "a.html: "
check "the page needs nothing but itself" page a.html
holds "what it says" a.html "<span class=\"state\">complete</span>" "href=\"#ended\">5 failed</a>" \
    "antiphon show --failed" "empty prompt</td><td>3</td>" \
    "not between 0 and 10000</td><td>2</td>" "&lt;script&gt;&quot;no&quot;&lt;/script&gt;" \
    "prompt tokens computed" "from admission to the first token"
try "$antiphon" report a.h5 --output other.html
expect "another name" 0 "other.html: "
try "$antiphon" report a.h5 -o -
expect "standard output" 0 "<!DOCTYPE html>" "</html>"
"$antiphon" report a.h5 --json >a.json && "$antiphon" report a.h5 --csv >a.csv
check "the figures add up" sums a.json a.csv 95

# Shards made into one.
for k in 0 1 2; do
    # shellcheck disable=SC2086
    "$antiphon" run $settings --output s.h5 --shard $k/3 --progress 0 >/dev/null 2>&1
done
"$antiphon" merge s.*-of-3.h5 -o merged.h5 >/dev/null
try "$antiphon" report merged.h5
expect "of shards" 0 "merged.html"
check "the page needs nothing but itself" page merged.html
holds "its ranks are of shards" merged.html "<td>2/0</td>"
"$antiphon" report merged.h5 --json >m.json
holds "all of them" m.json '"shard": 0' '"shard": 1' '"shard": 2' '"host": "' '"peak_memory": '

# A job that is stopped and goes on.
awk 'BEGIN { for (i = 0; i < 400; i++)
    printf "{\"prompt\": \"prompt number %d\", \"max_tokens\": 400}\n", i }' >long.jsonl
"$antiphon" pack long.jsonl -o long.h5 >/dev/null
long="run --model $model --input long.h5 --output b.h5 --threads 1 --max-num-seqs 4 --ignore-eos --progress 0"
# shellcheck disable=SC2086
try "$antiphon" $long --time-limit 0:02 --margin 1 --drain 0
expect "stopped" 75 "STOPPED (time limit)"
try "$antiphon" report b.h5
expect "it has no results yet" 65 "antiphon report: 'b.h5' is not written yet: 'antiphon top b.h5'"
try "$antiphon" merge b.h5 -o sofar.h5
try "$antiphon" report sofar.h5
expect "of what there is" 0 "sofar.html"
holds "it is said to be not complete" sofar.html "partial\">not complete</span>" "MISSING"
check "the page needs nothing but itself" page sofar.html
sleep 1
# shellcheck disable=SC2086
try "$antiphon" $long
expect "and goes on" 0 "COMPLETE 400/400 rows"
try "$antiphon" report b.h5
holds "both starts are in the page" b.html "<title>begun again</title>"
check "the page needs nothing but itself" page b.html

try "$antiphon" report
expect "no file" 64 "antiphon report: name one results file"
try "$antiphon" report a.h5 --json --csv
expect "two forms" 64 "choose one"
try "$antiphon" report nothing.h5
expect "a file that is not there" 65 "nothing.h5"
try "$antiphon" report p.h5
expect "a file of something else" 65 "'p.h5' is no results file of antiphon"
try "$antiphon" report a.h5 -o /nonexistent/a.html
expect "a folder that is not there" 65 "/nonexistent/a.html"
done_testing
