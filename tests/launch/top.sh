#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# antiphon top on a job of four ranks on two nodes: from beside it, on a terminal, after its end.
set -u
# shellcheck source=tests/launch/lib.sh
. "$(dirname "$0")/lib.sh"
under_slurm 2 4
# shellcheck source=tests/launch/jobs.sh
. "$TOP_SRCDIR/tests/launch/jobs.sh"

# seen WHAT TEXT...: passed when a look at the job shows every TEXT, within 20 s.
seen() {
    what=$1 tries=0 missing=first
    shift
    while [ -n "$missing" ] && [ "$tries" -lt 40 ]; do
        [ "$tries" -eq 0 ] || sleep 0.5
        look >"$out" 2>"$err"
        missing=
        for text in "$@"; do
            grep -qE -e "$text" "$out" || missing="no '$text'"
        done
        tries=$((tries + 1))
    done
    empty "$what" "$missing${missing:+
$(cat "$out" "$err")}"
}

make_prompts many 20000
long_args job
try "$antiphon" top "$tmp/job.h5"
expect "before it begins" 65 "antiphon top: there is neither '$tmp/job.h5' nor '$tmp/job.h5.journal'"
# shellcheck disable=SC2086
start job on 4 "$antiphon" $args

look() { "$antiphon" top "$tmp/job.h5"; }
seen "four replicas at work" "job.h5: running for .* left" "Slurm job [0-9]+, pid" \
    "of 20000 answers, 0 failed, [1-9][0-9]* in flight" "start 1, 4 replicas on 2 hosts" \
    "^ +0 n1 .*\[[pd.]{24}\]" "^ +3 n2 .*\[[pd.]{24}\]"
empty "plain text" "$(tr -d '\n\040-\176' <"$out")"
look() { grep -c . "$tmp/job.h5.journal/r3.s1.csv"; }
seen "the file it reads grows" '^([4-9]|[0-9][0-9]+)$'

if command -v tmux >/dev/null; then
    tmux -S "$tmp/tmux" new-session -d -x 100 -y 20 \
        "'$antiphon' top '$tmp/job.h5' --interval 0.5; echo left the screen; exec bash --norc -i"
    look() { tmux -S "$tmp/tmux" capture-pane -p; }
    seen "on a terminal" "job.h5: running" "4 replicas on 2 hosts" "^ +2 n2 .*\[[pd.]{24}\]"
    tmux -S "$tmp/tmux" resize-window -x 60 -y 12
    seen "on a small one" "2 of 4 replicas: those with most left"
    tmux -S "$tmp/tmux" send-keys q
    seen "q ends it" "left the screen"
    # Stopped, it gives the screen back to the shell.
    tmux -S "$tmp/tmux" send-keys "'$antiphon' top '$tmp/job.h5'" Enter
    seen "in a shell" "2 of 4 replicas"
    tmux -S "$tmp/tmux" send-keys C-z
    seen "Ctrl-Z leaves the screen" "Stopped"
    tmux -S "$tmp/tmux" send-keys fg Enter
    seen "fg comes back to it" "2 of 4 replicas"
    tmux -S "$tmp/tmux" send-keys C-c
    seen "Ctrl-C ends it" '^bash-[^ ]*$'
    tmux -S "$tmp/tmux" kill-server
else
    skip tmux "on a terminal" "no tmux"
fi

try "$antiphon" halt "$tmp/job.h5" --now
wait "$pid"
sleep 1
look() { "$antiphon" top --once "$tmp/job.h5"; }
seen "after it was stopped" "job.h5: not running$" "of 20000 answers"
echo "Slurm job 7, pid 8 on n9" >"$tmp/job.h5.journal/owner"
touch -d '1 minute ago' "$tmp/job.h5.journal/owner"
seen "after it was killed" "job.h5: not running, last sign 0:01:[0-9]+ ago" "Slurm job 7, pid 8"

make_prompts prompts 50
job_args short
# shellcheck disable=SC2086
try "$antiphon" $args
look() { "$antiphon" top "$tmp/short.h5"; }
seen "a job that is complete" "short.h5: complete" "100.0 %" "50 of 50 answers, 0 failed"
look() { "$antiphon" top "$tmp/job.h5" "$tmp/short.h5" "$tmp/none.h5"; }
seen "several, a line each" "job.h5: .* not running" "short.h5: 50 of 50, .* complete" \
    "none.h5: .* nothing is there"
try "$antiphon" top
expect "no job" 64 "antiphon top: name the output of a job"
done_testing
