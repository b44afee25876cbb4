# shellcheck shell=sh
# SPDX-License-Identifier: Apache-2.0
# Jobs for the tests that disturb them, on a tiny real checkpoint. Sourced after lib.sh and
# under_slurm; these words:
#   make_prompts NAME ROWS      $tmp/NAME.h5, with answers of skewed lengths
#   job_args OUT [OPTIONS]      sets $args: a job over prompts.h5 that writes $tmp/OUT.h5
#   long_args OUT [OPTIONS]     the same over many.h5
#   start OUT COMMAND...        in the background; ended waits for it
#   on N COMMAND...             N ranks on two nodes, behind whoever looks at them
#   try_on N COMMAND...         the same, waited for: sets $code, $out and $err
#   rank_pid OUT RANK           the process of a rank that writes OUT
#   wait_journal BYTES          until the journals of what was started have grown so much
#   wait_rank RANK BYTES        the same, with $rank_pid the process of that rank, found before
#   soon SECONDS                passed if it is not longer since $began
# shellcheck disable=SC2034,SC2154 # what lib.sh and its scripts use and set

# make_prompts NAME ROWS: skewed lengths; 600 rows are 240,000 tokens, four seconds on one rank.
make_prompts() {
    awk -v n="$2" 'BEGIN {
        for (i = 0; i < n; i++)
            printf "{\"prompt\": \"prompt number %d\", \"seed\": %d, \"max_tokens\": %d}\n", i, i,
                i % 10 ? 450 : 20
    }' >"$tmp/$1.jsonl"
    pack "$1"
}
settings="--ignore-eos --temperature 0.8 --threads 1 --max-num-seqs 4"

# job_args OUT [OPTIONS] sets the arguments of a job, long_args those of one that lasts for minutes.
job_args() {
    output=$1
    shift
    args="run --model $model --input $tmp/prompts.h5 --output $tmp/$output.h5 $settings $*"
}
long_args() {
    job_args "$@" --input "$tmp/many.h5"
}

# start OUT COMMAND...: in the background; its process is $pid, its output $tmp/OUT.log.
start() {
    started=$1 log=$tmp/$1.log bytes=$(journal_bytes "$1")
    shift
    "$@" >"$log" 2>&1 </dev/null &
    pid=$!
}

# on N COMMAND...: N ranks on two nodes, nice, so that a busy machine does not keep us from looking. A
# lost rank ends the step at once, unless it was the only one of its node: that the PMIx plugin does not
# notice.
on() {
    n=$1
    shift
    timeout -k 5 "$limit" srun --mpi=pmix -N 2 -n "$n" --ntasks-per-node="$(((n + 1) / 2))" -O \
        --job-name=antiphon nice -n 19 "$@"
}

# try_on N COMMAND...: the same, waited for.
try_on() {
    start tried on "$@"
    ended
}

# ended: wait for what start started; its exit code is $code, its output is in $out.
ended() {
    code=0
    wait "$pid" || code=$?
    cp "$log" "$out"
    : >"$err"
}

# rank_pid OUT RANK: the process of a rank that writes OUT.
rank_pid() {
    ranks=$(grep -la "^$antiphon.*$tmp/$1\.h5" /proc/[0-9]*/cmdline 2>/dev/null |
        sed 's/cmdline$/environ/')
    # shellcheck disable=SC2086
    grep -laxz "SLURM_PROCID=$2" /dev/null $ranks 2>/dev/null | tr -dc '0-9\n'
}

# wait_journal BYTES: until the journals of what start started hold so much more than then, a minute or
# two at most.
wait_journal() {
    tries=0
    while [ "$tries" -lt 3000 ] && [ "$(journal_bytes "$started")" -lt $((bytes + $1)) ]; do
        sleep 0.02
        tries=$((tries + 1))
    done
}

# wait_rank RANK BYTES: the process of a rank of what start started to $rank_pid, and wait_journal. In
# this order: what others answer while one looks for it may be the rest of the job.
wait_rank() {
    wait_journal 1
    rank_pid=$(rank_pid "$started" "$1")
    wait_journal "$2"
}

soon() {
    took=$(($(date +%s) - began))
    if [ "$took" -le "$1" ]; then ok "soon"; else not_ok "soon" "after $took s"; fi
}
