# shellcheck shell=sh
# SPDX-License-Identifier: Apache-2.0
# What the tests of whole jobs on GPUs share, on top of tests/launch/lib.sh and jobs.sh. Ranks are
# started by mpirun. Where there are fewer GPUs than ranks, these share them; NCCL, which would
# refuse that, is told that they were on hosts of their own.

# shellcheck source=tests/launch/lib.sh
. "$(dirname "$0")/../launch/lib.sh"
# shellcheck source=tests/launch/jobs.sh
. "$TOP_SRCDIR/tests/launch/jobs.sh"

# needs MODULES: all skipped unless there are a GPU, mpirun, and python3 with these modules
needs() {
    if [ "$gpus" -eq 0 ] || ! command -v mpirun >/dev/null ||
        ! python3 -c "import $1" 2>/dev/null; then
        skip "$(basename "$0" .sh)" "whole jobs on GPUs" "no GPU, no mpirun, or no python3 with $1"
        done_testing
        exit
    fi
}

cd "$tmp" || exit 1
export NCCL_NVLS_ENABLE=0
gpus=$(nvidia-smi --list-gpus 2>/dev/null | wc -l)

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
pack few

# on_gpus N COMMAND...: N ranks, on so many GPUs or as many as there are
on_gpus() {
    n=$1
    shift
    FEW_GPUS=
    [ "$n" -le "$gpus" ] || FEW_GPUS=yes
    export FEW_GPUS
    timeout -k 5 60 mpirun --oversubscribe --bind-to none -n "$n" ./rank "$@"
}

# job N FOLDER OUT OPTION...: the model in FOLDER, with a cache that lets ranks share a GPU
job() {
    n=$1 folder=$2 file=$3
    shift 3
    start "$file" on_gpus "$n" "$antiphon" run --backend cuda -m "$folder" -i few.h5 \
        -o "$file.h5" --max-tokens 20 --ignore-eos --temperature 0 --logprobs 20 --restart-over \
        --kv-memory 1G "$@"
    ended
}

# judged WHAT SCRIPT ARGUMENT...: passed if the script, of this folder, says so
judged() {
    what=$1 script=$2
    shift 2
    if said=$(python3 -B "$TOP_SRCDIR/tests/gpu/$script" "$@" 2>judge.err); then
        ok "$what: $said"
    else
        not_ok "$what" "$said $(tail -n 3 judge.err)"
    fi
}

# alike WHAT ONE OTHER BOUND: passed if alike.py says so of the two jobs
alike() {
    for file in "$2" "$3"; do
        rm -f "$file.out.jsonl"
        "$antiphon" export "$file.h5" -o "$file.out.jsonl" >/dev/null 2>&1
    done
    judged "$1" alike.py "$2.out.jsonl" "$3.out.jsonl" "$4"
}

# layouts MODEL FOLDER SUMS: every way to share a model out, against one GPU. Where a sum
# over ranks has other last bits than that of one, log probabilities may be apart by SUMS.
layouts() {
    model=$1 weights=$2 sums=$3
    job 1 "$weights" one
    expect "$model on one GPU" 0 "12/12 rows"
    while read -r ranks tp pp scope bound; do
        what="$model, tp $tp x pp $pp on $ranks ranks"
        experts=
        if [ "$scope" != none ]; then
            grep -q num_local_experts "$weights/config.json" || continue
            what="$what, experts over the $scope"
            experts="--enable-ep --ep-scope $scope"
        fi
        # shellcheck disable=SC2086  # words
        job "$ranks" "$weights" several --tp-size "$tp" --pp-size "$pp" $experts </dev/null
        expect "$what" 0 "12/12 rows"
        alike "$what" one several "$bound"
    done <<TEXT
2 1 2 none 0
2 2 1 none $sums
4 2 2 none $sums
4 2 1 none $sums
2 1 1 job 0
4 2 1 job $sums
4 1 2 job 0
4 2 1 replica $sums
TEXT
}
