#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Every job template, as it is and filled in by antiphon template: Slurm takes it, and what is small
# enough for this machine runs. The private Slurm says that it has GPUs; the jobs compute on CPUs.
set -u
# shellcheck source=tests/launch/lib.sh
. "$(dirname "$0")/lib.sh"
# One of its own, whatever is around: no other says that it has GPUs.
if [ -z "${PRIVATE_SLURM_GPUS:-}" ] && grep -q "define HAVE_PMIX 1" "$TOP_BUILDDIR/config.h" &&
    "$TOP_SRCDIR/share/private-slurm" check >/dev/null 2>&1; then
    unset SLURM_CONF SLURM_JOB_ID SLURM_JOB_NUM_NODES
    rc=0
    "$TOP_SRCDIR/share/private-slurm" run --nodes 4 --cpus 64 --gpus 8 sh "$0" || rc=$?
    exit "$rc"
fi
under_slurm 4 32
# shellcheck source=tests/launch/jobs.sh
. "$TOP_SRCDIR/tests/launch/jobs.sh"
PATH=$TOP_BUILDDIR/src:$PATH
export PATH
cd "$tmp" || exit 1

awk 'BEGIN { for (i = 0; i < 60; i++)
    printf "{\"prompt\": \"prompt number %d\", \"max_tokens\": %d}\n", i, i % 5 ? 30 : 200 }' >p.jsonl
"$antiphon" pack p.jsonl -o p.h5 >/dev/null
more="--backend cpu --threads 1 --max-num-seqs 4 --temperature 0 --ignore-eos"

try "$antiphon" template
expect "which there are" 0 "gpu        Answer a prompt file on the GPUs of one node"
names=$(cut -d ' ' -f 1 "$out")
for name in $names; do
    try env MODEL=m INPUT=i sbatch --test-only "$TOP_SRCDIR/job-templates/$name.sbatch"
    expect "Slurm takes $name as it is" 0 "to start at"
done
try sh -c "'$antiphon' template multi-node >plain && cmp plain '$TOP_SRCDIR/job-templates/multi-node.sbatch'"
expect "nothing to fill in: the template itself" 0

# takes WHAT CPUS NODES NAME OPTIONS...: Slurm would start it on so much.
takes() {
    what=$1 cpus=$2 nodes=$3
    shift 3
    try sh -c 'antiphon template "$@" >filled && bash -n filled && sbatch --test-only filled' sh "$@"
    expect "$what" 0 "using $cpus processors on nodes $nodes"
    if command -v shellcheck >/dev/null; then
        empty "$what: shellcheck" "$(shellcheck filled)"
    else
        skip shellcheck "$what: shellcheck" "no shellcheck"
    fi
}
takes "32 replicas on 4 nodes of 8 GPUs" 256 "n[1-4]" multi-node --gpus 32 --model m --input i
takes "a 70B model on one" 64 n1 tensor --gpus 8 --model "Llama 3.1 70B" --input i --time 2:00
takes "Mixtral on two nodes of 4" 64 "n[1-2]" experts --gpus 8 --gpus-per-node 4 --tp-size 4
takes "CPUs" 24 "n[1-3]" cpu --nodes 3 --ranks-per-node 2 --cpus-per-rank 4 --partition all
takes "an array" 32 n1 array --parts 5 -- --stop "it's" --system 'a "quoted" word'
try "$antiphon" template cpu -- --stop "it's"
expect "options are quoted" 0 "options=(--stop 'it'\\''s')"
try "$antiphon" template tensor --gpus 8 --tp-size 2 --module antiphon/1 --account mine
expect "what is asked for is there" 0 "options=(--tp-size 2) #" "module load antiphon/1" \
    "#SBATCH --account=mine" "#SBATCH --gpus-per-node=8"

# runs WHAT OUT NAME OPTIONS...: the job comes to its end; its log is $out.
runs() {
    what=$1 answers=$2
    shift 2
    # shellcheck disable=SC2086
    "$antiphon" template "$@" -- $more >"$answers.sbatch"
    try sbatch --wait --output="$tmp/$answers.log" "$answers.sbatch"
    cat "$tmp/$answers.log" >>"$out" 2>/dev/null
    expect "$what" 0 "COMPLETE 60/60 rows, 0 failed"
}
runs "gpu runs" gpu gpu --gpus 2 --cpus-per-rank 1 -m "$tiny/llama" -i p.h5 -o gpu.h5
runs "multi-node runs" multi multi-node --gpus 4 --gpus-per-node 1 --cpus-per-rank 1 -m "$tiny/llama" \
    -i p.h5 -o multi.h5
expect "on four nodes" 0 "4 ranks, dp 4, tp 1, pp 1" "n4 "
same gpu multi "the same answers"
runs "tensor runs" tensor tensor --gpus 4 --tp-size 2 --cpus-per-rank 1 -m "$tiny/llama" -i p.h5 \
    -o tensor.h5
expect "two replicas of two" 0 "4 ranks, dp 2, tp 2, pp 1"
runs "experts runs" experts experts --gpus 4 --cpus-per-rank 1 -m "$tiny/mixtral" -i p.h5 -o experts.h5
expect "two replicas of two" 0 "4 ranks, dp 2, tp 2, pp 1"
runs "cpu runs" cpu cpu --nodes 2 --ranks-per-node 1 --cpus-per-rank 1 -m "$tiny/llama" -i p.h5 -o cpu.h5
same gpu cpu "the same answers"

try "$antiphon" template nothing
expect "a name that is none" 64 "there is no template 'nothing'"
try "$antiphon" template gpu --gpus 12
expect "no whole nodes" 64 "12 GPUs are no whole number of nodes of 8"
try "$antiphon" template gpu --gpus 8 --nodes 2
expect "twice the same" 64 "--nodes and --ranks-per-node follow from --gpus"
done_testing
