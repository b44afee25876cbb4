#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Replicas of several GPUs, and experts over all of them: the answers of one GPU, after a halt too,
# and the end of a job whose rank dies or hangs. Part of `make check-gpu`; ranks are started by
# mpirun. Where there are fewer GPUs than ranks, these share them; NCCL, which would refuse that,
# is told that they were on hosts of their own.
set -u
# shellcheck source=tests/launch/lib.sh
. "$(dirname "$0")/../launch/lib.sh"
# shellcheck source=tests/launch/jobs.sh
. "$TOP_SRCDIR/tests/launch/jobs.sh"
cd "$tmp" || exit 1
export NCCL_NVLS_ENABLE=0
gpus=$(nvidia-smi --list-gpus 2>/dev/null | wc -l)
if [ "$gpus" -eq 0 ] || ! command -v mpirun >/dev/null || ! command -v python3 >/dev/null; then
    skip parallel "replicas of several GPUs" "no GPU, no mpirun, or no python3"
    done_testing
    exit
fi

cat >rank <<'TEXT'
#!/bin/sh
if [ -n "$FEW_GPUS" ]; then
    export ANTIPHON_SHARE_GPU=1 NCCL_SOCKET_IFNAME=lo NCCL_IB_DISABLE=1
    export NCCL_HOSTID="host$OMPI_COMM_WORLD_RANK"
fi
echo $$ >"pid.$OMPI_COMM_WORLD_RANK"
exec "$@"
TEXT
chmod +x rank
for i in 1 2 3 4 5 6 7 8 9 10 11 12; do
    echo "{\"prompt\": \"abc $(seq -s ' ' 1 $((i * 3)))\"}"
done >few.jsonl
seq 2000 | sed 's/.*/{"prompt": "prompt &"}/' >many.jsonl
pack few
pack many

# on_gpus N COMMAND...: N ranks, on so many GPUs or as many as there are
on_gpus() {
    n=$1
    shift
    FEW_GPUS=
    [ "$n" -le "$gpus" ] || FEW_GPUS=yes
    export FEW_GPUS
    timeout -k 5 60 mpirun --oversubscribe --bind-to none -n "$n" ./rank "$@"
}

# job N MODEL OUT OPTION...
job() {
    n=$1 kind=$2 file=$3
    shift 3
    start "$file" on_gpus "$n" "$antiphon" run --backend cuda -m "$tiny/$kind" -i few.h5 \
        -o "$file.h5" --max-tokens 20 --ignore-eos --temperature 0 --logprobs 20 --restart-over "$@"
    ended
}

# alike WHAT ONE OTHER BOUND: passed if alike.py says so of the two jobs
alike() {
    for file in "$2" "$3"; do
        rm -f "$file.out.jsonl"
        "$antiphon" export "$file.h5" -o "$file.out.jsonl" >/dev/null 2>&1
    done
    if said=$(python3 -B "$TOP_SRCDIR/tests/gpu/alike.py" "$2.out.jsonl" "$3.out.jsonl" "$4" 2>&1)
    then
        ok "$1: $said"
    else
        not_ok "$1" "$said"
    fi
}

# Where a sum over ranks has other last bits than that of one, log probabilities may be apart by:
sums=0.05
for model in llama mixtral phimoe; do
    job 1 "$model" one
    expect "$model on one GPU" 0 "12/12 rows"
    for layout in "2 1 2 0" "2 2 1 $sums" "4 2 2 $sums" "4 2 1 $sums"; do
        # shellcheck disable=SC2086  # words
        set -- $layout
        what="$model, tp $2 x pp $3 on $1 ranks"
        job "$1" "$model" several --tp-size "$2" --pp-size "$3"
        expect "$what" 0 "12/12 rows"
        alike "$what" one several "$4"
    done
    [ "$model" != llama ] || continue
    for layout in "2 1 1 job 0" "4 2 1 job $sums" "4 1 2 job 0" "4 2 1 replica $sums"; do
        # shellcheck disable=SC2086  # words
        set -- $layout
        what="$model, tp $2 x pp $3 on $1 ranks, experts over the $4"
        job "$1" "$model" several --tp-size "$2" --pp-size "$3" --enable-ep --ep-scope "$4"
        expect "$what" 0 "12/12 rows"
        alike "$what" one several "$5"
    done
done

# long N MODEL OUT OPTION...: at work for a while, in the background
long() {
    n=$1 kind=$2 file=$3
    shift 3
    start "$file" on_gpus "$n" "$antiphon" run --backend cuda -m "$tiny/$kind" -i many.h5 \
        -o "$file.h5" --max-tokens 400 --ignore-eos --temperature 0 --logprobs 0 --save-every 0.2 "$@"
}

for signal in KILL STOP; do
    long 2 llama "$signal" --tp-size 2
    wait_journal 4000
    kill -s "$signal" "$(cat pid.1)"
    since=$(date +%s)
    ended
    kill -s KILL "$(cat pid.1)" 2>/dev/null
    took=$(($(date +%s) - since))
    if [ "$code" -ne 0 ] && [ "$code" -ne 124 ] && [ "$took" -le 30 ]; then
        ok "a rank of two that gets SIG$signal ends the job within 30 s"
    else
        not_ok "a rank of two that gets SIG$signal ends the job within 30 s" \
            "exit code $code after $took s: $(tail -n 5 "$out")"
    fi
done
expect "the one that hangs is named" 75 "no sign of rank 1"

long 2 mixtral halted --enable-ep --ep-scope job --max-num-seqs 4
wait_journal 4000
"$antiphon" halt halted.h5 --now >/dev/null
ended
expect "a job of spread experts is halted" 75 "STOPPED"
long 1 mixtral halted
ended
expect "and goes on on one GPU" 0 "2000/2000 rows"
long 1 mixtral one --restart-over
ended
alike "with the answers of one GPU alone" one halted 0
done_testing
