#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Jobs that are cut off, and go on: with what they had finished and with what they had begun. The
# answers are those of a job that was left alone, byte by byte.
set -u
# shellcheck source=tests/launch/lib.sh
. "$(dirname "$0")/lib.sh"
under_slurm 2 4
# shellcheck source=tests/launch/jobs.sh
. "$TOP_SRCDIR/tests/launch/jobs.sh"

make_prompts prompts 600
make_prompts many 60000
job_args whole
# shellcheck disable=SC2086
try "$antiphon" $args
expect "a job that is left alone" 0 "COMPLETE 600/600 rows, 0 failed"

# ---- killed ------------------------------------------------------------------------------------

# Many answers at once take long enough that some are always under way.
job_args killed --save-every 0.01 --max-num-seqs 32
# shellcheck disable=SC2086
start killed "$antiphon" $args
wait_journal 100000
kill -9 "$pid"
wait "$pid" 2>/dev/null
# shellcheck disable=SC2086
start killed on 4 "$antiphon" $args
wait_rank 2 200000
kill -9 "$rank_pid"
ended
expect "a rank of four killed" 137 "start 2"
# shellcheck disable=SC2086
on_nodes 2 3 "$antiphon" $args
expect "then on three ranks" 0 "start 3" "COMPLETE 600/600 rows"
shows "some answers had been begun" 'start 3, [1-9][0-9]* done before, [1-9][0-9]* begun'
same whole killed "the same answers after two kills"

# ---- stopped -------------------------------------------------------------------------------------

# A signal to one rank is everybody's.
job_args stopped
# shellcheck disable=SC2086
start stopped on 4 "$antiphon" $args
wait_rank 3 100000
kill -TERM "$rank_pid"
ended
expect "SIGTERM to one rank" 75 "stopping (SIGTERM on rank 3 (n2)): no new prompts" \
    "antiphon: STOPPED (SIGTERM on rank 3 (n2))" "0 begun; to go on, the same again: antiphon run"

# A journal of one job in the folder of another.
make_prompts three 3
job_args small --input "$tmp/three.h5"
# shellcheck disable=SC2086
try env ANTIPHON_FAILPOINT=merge-begun "$antiphon" $args
expect "three rows are answered" 137
cp "$tmp/stopped.h5.journal/r0.s1.aj" "$tmp/small.h5.journal/r7.s1.aj"
# shellcheck disable=SC2086
try "$antiphon" $args
expect "a journal of another job" 65 "r7.s1.aj' is of another job" "rows 0 to 2"
try "$antiphon" merge "$tmp/small.h5"
expect "it is not merged either" 65 "r7.s1.aj' is of another job"
rm "$tmp/small.h5.journal/r7.s1.aj"
# shellcheck disable=SC2086
try "$antiphon" $args
expect "without it" 0 "COMPLETE 3/3 rows"

job_args stopped --drain 0
# shellcheck disable=SC2086
start stopped on 2 "$antiphon" $args
wait_journal 1
job=$(squeue -h -o %i -n antiphon -t R | head -n 1)
wait_journal 200000
scancel --signal=USR1 "$job"
ended
expect "SIGUSR1 to all ranks, without a drain" 75 "saving" "antiphon: STOPPED (SIGUSR1"
# shellcheck disable=SC2086
start stopped on 3 "$antiphon" $args
wait_journal 1
job=$(squeue -h -o %i -n antiphon -t R | head -n 1)
wait_journal 100000
scancel "$job"
ended
expect "scancel" failure "antiphon: STOPPED (SIGTERM"
# shellcheck disable=SC2086
try "$antiphon" $args
expect "stopped three times, then to the end" 0 "start 4" "COMPLETE 600/600 rows"
shows "what was under way had been saved" 'start 4, [1-9][0-9]* done before, [1-9][0-9]* begun'
same whole stopped "the same answers after three stops"

# ---- long jobs: limits, wishes, others -------------------------------------------------------------

# It comes to its prompts within the seven seconds before it would only save.
long_args long --time-limit 0:09 --margin 2 --drain 5
# shellcheck disable=SC2086
on_nodes 2 2 "$antiphon" $args
expect "a time limit of its own" 75 "stopping (time limit): no new prompts" "STOPPED (time limit)"
long_args twice --samples 2 --time-limit 0:03 --margin 1 --drain 0
# shellcheck disable=SC2086
try "$antiphon" $args
expect "it counts answers, not rows" 75 "STOPPED (time limit)" "/120000 rows done"
long_args long --margin 57
# shellcheck disable=SC2086
try srun -t 1 --mpi=pmix -N 2 -n 2 "$antiphon" $args --drain 0
expect "the time limit that Slurm set" 75 "start 2" "stopping (time limit)" "STOPPED (time limit)"
# shellcheck disable=SC2086
try "$antiphon" $args --time-limit soon
expect "a time limit that is none" 64 "--time-limit: 'soon' is no time"

# shellcheck disable=SC2086
start long on 2 "$antiphon" $args
wait_journal 500000
# shellcheck disable=SC2086
try "$antiphon" $args
expect "a second job on one output" 64 "long.h5.journal' belongs to a running job: Slurm job"
kill -USR2 "$(rank_pid long 1)"
try "$antiphon" halt --now "$tmp/long.h5"
expect "told to stop" 0 "Slurm job" "is asked to stop"
ended
expect "stopped because it was told to" 75 "progress " "STOPPED (antiphon halt)"
try "$antiphon" halt "$tmp/long.h5"
expect "nobody to tell" 65 "no job is writing"

# shellcheck disable=SC2086
start long on 4 "$antiphon" $args --watchdog 3
wait_journal 500000
sleep 1
stopped=$(rank_pid long 2)
kill -STOP "$stopped"
began=$(date +%s)
ended
expect "a rank that hangs is named" 75 "no sign of rank 2 (n2, pid $stopped)" "answering prompts"
soon 30
# shellcheck disable=SC2086
start long on 4 "$antiphon" $args --watchdog 3
wait_journal 500000
stopped=$(rank_pid long 0)
kill -STOP "$stopped"
ended
expect "rank 0 is named as well" 75 "no sign of rank 0 (n1, pid $stopped)"

# In every other phase too, whatever the other ranks wait in.
for phase in "met@3 starting" "loading@1 loading the model" "merge-created@2 writing the results" \
    "merge-written@0 writing the results"; do
    job_args hung --watchdog 3
    began=$(date +%s)
    # shellcheck disable=SC2086
    try_on 4 env ANTIPHON_FAILPOINT="stop:${phase%% *}" "$antiphon" $args
    rank=${phase%% *}
    expect "stopped at $rank" 75 "no sign of rank ${rank#*@} (n" "it was ${phase#* } last"
    soon 30
done
for point in launched@0 launched@3 met@1; do
    began=$(date +%s)
    # shellcheck disable=SC2086
    try_on 4 env ANTIPHON_FAILPOINT=$point "$antiphon" $args
    if [ "$code" -ne 0 ]; then
        ok "killed at $point"
    else
        not_ok "killed at $point" "$(tail -n 5 "$out")"
    fi
    soon 30
done
# shellcheck disable=SC2086
try_on 3 "$antiphon" $args
expect "then to the end" 0 "600 done before" "COMPLETE 600/600 rows"
same whole hung "the same answers"

# Before the ranks know each other nobody can tell a slow one from one that hangs: it is named, and
# waited for.
job_args late --watchdog 2
# shellcheck disable=SC2086
start late on 4 env ANTIPHON_FAILPOINT=stop:launched@2 "$antiphon" $args
tries=0
until grep -q "did not come to the exchange" "$log" || [ $((tries += 1)) -gt 200 ]; do
    sleep 0.1
done
kill -CONT "$(rank_pid late 2)"
ended
expect "a rank that is late is named" 0 "rank 2 of 4 did not come to the exchange for 5 s" \
    "COMPLETE 600/600 rows"

# A rank of a replica: the others wait for its part of every layer. Here it is the only one of its
# node, which Slurm does not notice.
make_prompts few 150
job_args replica --input "$tmp/few.h5" --tp-size 2
# shellcheck disable=SC2086
try_on 2 "$antiphon" $args
expect "a replica of two ranks" 0 "tp 2" "COMPLETE 150/150 rows"
job_args half --input "$tmp/few.h5" --tp-size 2 --save-every 0.2
# shellcheck disable=SC2086
start half on 2 "$antiphon" $args
wait_rank 1 60000
began=$(date +%s)
kill -9 "$rank_pid"
ended
expect "one of its ranks killed" 75 "rank 1 (n2"
soon 45
# shellcheck disable=SC2086
try_on 4 "$antiphon" $args
expect "then two replicas" 0 "dp 2, tp 2" "start 2, " "COMPLETE 150/150 rows"
shows "what was finished is kept" 'start 2, [1-9][0-9]* done before'
same replica half "the same answers after the loss"
try_on 4 "$antiphon" verify "$tmp/half.h5" --model "$model" --tp-size 2 --sample 20
expect "two replicas give a sample of them again" 0 "20 answers were generated again: the same tokens"

# A job that was suspended as a whole misses nobody.
rm "$tmp/hung.h5"
job_args hung --watchdog 3
# shellcheck disable=SC2086
start hung on 2 "$antiphon" $args
wait_journal 1
ranks="$(rank_pid hung 0) $(rank_pid hung 1)"
wait_journal 100000
# shellcheck disable=SC2086
kill -STOP $ranks
sleep 5
# shellcheck disable=SC2086
kill -CONT $ranks
ended
expect "suspended for longer than the watchdog waits" 0 "COMPLETE 600/600 rows"
done_testing
