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
if [ "$gpus" -eq 0 ] || ! command -v mpirun >/dev/null; then
    skip parallel "replicas of several GPUs" "no GPU, or no mpirun"
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
        -o "$file.h5" --max-tokens 20 --ignore-eos --temperature 0 --restart-over "$@"
    ended
}

# The rows of the first file that the second has otherwise.
differing() {
    for file in "$1" "$2"; do
        "$antiphon" export --csv "$file.h5" -o "$file.csv" >/dev/null 2>&1 || echo none
    done
    diff "$1.csv" "$2.csv" | grep -c '^<'
}

# alike WHAT MOST: at most so many of 12 answers differ, at tokens that are nearly as good
alike() {
    differing=$(differing one several)
    case $differing in
    *[!0-9]*) not_ok "$1" "no results" ;;
    *)
        if [ "$differing" -le "$2" ]; then
            ok "$1: $differing of 12 answers differ"
        else
            not_ok "$1" "$differing of 12 answers differ"
        fi
        ;;
    esac
}

# Sums over ranks have other last bits than those of one: near-ties.
near_ties=4
for model in llama mixtral phimoe; do
    job 1 "$model" one
    expect "$model on one GPU" 0 "12/12 rows"
    for layout in "2 1 2 0" "2 2 1 $near_ties" "4 2 2 $near_ties" "4 2 1 $near_ties"; do
        # shellcheck disable=SC2086  # words
        set -- $layout
        what="$model, tp $2 x pp $3 on $1 ranks"
        job "$1" "$model" several --tp-size "$2" --pp-size "$3"
        expect "$what" 0 "12/12 rows"
        alike "$what" "$4"
    done
    [ "$model" != llama ] || continue
    for layout in "2 1 1 job 0" "4 2 1 job $near_ties" "4 1 2 job 0" "4 2 1 replica $near_ties"; do
        # shellcheck disable=SC2086  # words
        set -- $layout
        what="$model, tp $2 x pp $3 on $1 ranks, experts over the $4"
        job "$1" "$model" several --tp-size "$2" --pp-size "$3" --enable-ep --ep-scope "$4"
        expect "$what" 0 "12/12 rows"
        alike "$what" "$5"
    done
done

# long N MODEL OUT OPTION...: at work for a while, in the background
long() {
    n=$1 kind=$2 file=$3
    shift 3
    start "$file" on_gpus "$n" "$antiphon" run --backend cuda -m "$tiny/$kind" -i many.h5 \
        -o "$file.h5" --max-tokens 400 --ignore-eos --temperature 0 --save-every 0.2 "$@"
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
differing=$(differing one halted)
if [ "$differing" = 0 ]; then
    ok "with the answers of one GPU alone"
else
    not_ok "with the answers of one GPU alone" "$differing of 2000 answers differ"
fi
done_testing
