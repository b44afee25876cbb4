#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The job templates, submitted: jobs that need several time limits, and jobs that lose ranks and
# nodes, come to their end without a hand.
set -u
# shellcheck source=tests/launch/lib.sh
. "$(dirname "$0")/lib.sh"
under_slurm 2 4
# shellcheck source=tests/launch/jobs.sh
. "$TOP_SRCDIR/tests/launch/jobs.sh"

make_prompts prompts 1600
job_args whole
began=$(date +%s)
# shellcheck disable=SC2086
try "$antiphon" $args
expect "a job that is left alone" 0 "COMPLETE 1600/1600 rows, 0 failed"
# Time for the start and for some of the answers, but on four cores not for all of them.
seconds=$((1 + ($(date +%s) - began + 2) / 4))
limits="--time-limit 0:$seconds --margin 1 --drain 0"

PATH=$TOP_BUILDDIR/src:$PATH
export PATH MODEL="$model" INPUT="$tmp/prompts.h5"

# submit NAME [OPTIONS]: a template over prompts.h5 to NAME.h5; the job is $job.
submit() {
    name=$1
    shift
    # shellcheck disable=SC2086
    job=$(cd "$tmp" && OUTPUT="$tmp/$name.h5" sbatch --parsable --nodes=2 --ntasks-per-node=2 \
        --cpus-per-task=1 --time=10 --output="$name.log" --open-mode=append \
        "$TOP_SRCDIR/job-templates/$name.sbatch" $settings "$@") || not_ok "submit $name" "$job"
}

# finished NAME: until its results are there and no job is left, five minutes or so at most. A requeued
# job may wait for a minute or two: not here.
finished() {
    tries=0
    while [ "$tries" -lt 300 ] && { [ ! -e "$tmp/$1.h5" ] || [ -n "$(squeue -h -o %i)" ]; }; do
        squeue -h -t PD -o %i | while read -r pending; do
            # A start beside the rest of the one before fails.
            pgrep -f "slurmstepd: \\[$pending\\." >/dev/null 2>&1 ||
                scontrol update "JobId=$pending" StartTime=now 2>/dev/null
        done
        sleep 1
        tries=$((tries + 1))
    done
    cat "$tmp/$1.log" "$tmp"/slurm-*.out >"$out" 2>/dev/null
    squeue -h -t all -o 'job %i: %T' >"$err"
    code=0
}

often() {
    n=$(grep -c "$2" "$out")
    if [ "$n" -ge "$3" ]; then ok "$1"; else not_ok "$1" "$n times: $(cat "$out")"; fi
}

# shellcheck disable=SC2086
submit requeue $limits
finished requeue
expect "requeued to the end" 0 "COMPLETE 1600/1600 rows" "restart 1 of at most 50"
often "it took several time limits" "antiphon: STOPPED (time limit)" 1
same whole requeue "the answers of a requeued job"

# shellcheck disable=SC2086
submit chain $limits
finished chain
expect "a chain to the end" 0 "COMPLETE 1600/1600 rows" "goes on if this one does not"
often "it had several links" "antiphon: STOPPED (time limit)" 1
same whole chain "the answers of a chain"

submit resilient
started=resilient bytes=0
wait_rank 2 100000
kill -9 "$rank_pid"
finished resilient
expect "started again in its allocation" 0 "start 2 of at most 5 on 2 nodes: n1,n2" \
    "COMPLETE 1600/1600 rows"
same whole resilient "the answers after a rank was lost"

# A node goes down: its daemons and whatever it runs. It takes Slurm a minute or two to give it up.
if [ -n "${FAULT_TRIALS:-}" ] && [ -n "${PRIVATE_SLURM_NODES:-}" ]; then
    rm "$tmp"/resilient.*
    submit resilient --watchdog 5
    wait_journal 100000
    state=$(dirname "$SLURM_CONF")
    kill -9 "$(cat "$state/slurmd.n2.pid")"
    began=$(date +%s)
    for rank in 2 3; do
        task=$(rank_pid resilient $rank)
        [ -z "$task" ] || kill -9 "$(awk '{ print $4 }' "/proc/$task/stat")" "$task" # with its daemon
    done
    finished resilient
    echo "# $(($(date +%s) - began)) s from the loss of the node to the end"
    slurmd -N n2 -f "$SLURM_CONF"
    expect "a node is lost" 0 "start 2 of at most 5 on 1 nodes: n1" "COMPLETE 1600/1600 rows"
    same whole resilient "the answers after a node was lost"
fi
done_testing
