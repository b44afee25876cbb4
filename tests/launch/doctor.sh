#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# antiphon doctor: on a healthy cluster nothing fails; what is wrong is named with what to do.
set -u
# shellcheck source=tests/launch/lib.sh
. "$(dirname "$0")/lib.sh"
under_slurm 2 4
library=$TOP_BUILDDIR/tests/launch/bad_node.so
cd "$tmp" || exit 1
unset CUDA_VISIBLE_DEVICES UCX_TLS UCX_NET_DEVICES NCCL_SOCKET_IFNAME HDF5_USE_FILE_LOCKING

try env -u SLURM_JOB_ID "$antiphon" doctor --output "$tmp/x.h5"
expect "alone" 0 "OK    launcher   none, 1 ranks" "OK    HDF5" "can be written" \
    "OK    transports one rank needs none"

on_nodes 2 4 "$antiphon" doctor --output "$tmp/x.h5"
expect "four ranks under srun" 0 "OK    launcher   srun, 4 ranks, PMIx library" \
    "OK    fence      waits for all" "OK    program" "OK    devices" "OK    UCX" "OK    transports" \
    "OK    clocks     agree" "OK    HDF5" "OK    one folder all ranks see" "OK    locks      work" \
    "OK    MPI-IO     all ranks wrote one HDF5 file"

# doctor_with WHAT CODE "VARIABLE=VALUE ..." TEXT...: the doctor with this environment in every rank.
doctor_with() {
    what=$1 wanted=$2
    on_nodes 2 4 sh -c "export $3; exec '$antiphon' doctor"
    shift 3
    expect "$what" "$wanted" "$@"
}
on_nodes 2 4 "$antiphon" doctor --output /nonexistent/x.h5
expect "a folder that is not there" 69 "FAIL  output" "/nonexistent" \
    "-> choose a folder that every node can write to"
# shellcheck disable=SC2016 # for the shell of each task
on_nodes 2 4 sh -c 'mkdir "$0.$SLURM_PROCID" && cd "$0.$SLURM_PROCID" && exec "$1" doctor' \
    "$tmp/own" "$antiphon"
expect "a folder of its own on each node" 69 "FAIL  one folder what rank 0 writes to '.'" \
    "rank 1, 2, 3" "-> write answers to a file system that all nodes share"
doctor_with "an unknown CPU level" 69 ANTIPHON_CPU=vax "FAIL  CPU" "vax"
on_nodes 2 4 sh -c "[ \$SLURM_PROCID != 2 ] || export ANTIPHON_CPU=vax; exec '$antiphon' doctor"
expect "what one rank alone finds" 69 "FAIL  CPU" "rank 2" "OK    CPU"

cp "$antiphon" "$tmp/other" && echo >>"$tmp/other"
on_nodes 2 4 sh -c "[ \$SLURM_PROCID != 2 ] || exec '$tmp/other' doctor; exec '$antiphon' doctor"
expect "another program on one rank" 69 "FAIL  program    rank 2 on" "another binary than rank 0" \
    "OK    output"
doctor_with "a PMIx server of another major version" 0 PMIX_VERSION=17.0.1 \
    "WARN  launcher   srun, 4 ranks, PMIx library" "but server 17.0.1"
doctor_with "TCP alone" 0 UCX_TLS=tcp,self "WARN  transports" "TCP alone, UCX_TLS is tcp,self" \
    "-> unset UCX_TLS"
doctor_with "no transport at all" 69 UCX_TLS=none "FAIL  UCX" "OK    one folder" \
    "OK    clocks     agree"
doctor_with "a device that is not there" 69 UCX_NET_DEVICES=mlx5_9:1 \
    "FAIL  devices    UCX_NET_DEVICES=mlx5_9:1: there is no 'mlx5_9:1' here"
doctor_with "an interface that is not there" 69 NCCL_SOCKET_IFNAME=ib7 \
    "FAIL  devices    NCCL_SOCKET_IFNAME=ib7: no interface that is up"
doctor_with "fewer cores than asked for" 0 SLURM_CPUS_PER_TASK=999 "WARN  cores" "of the 999 asked" \
    "-> srun does not pass on"
if grep -q "define HAVE_CUDA 1" "$TOP_BUILDDIR/config.h" && [ -e /dev/nvidia0 ]; then
    skip no-gpu "GPUs that cannot be used" "there are some"
else
    doctor_with "GPUs that cannot be used" 69 CUDA_VISIBLE_DEVICES=0 "FAIL  GPU        none:" \
        "-> the job was given GPUs but cannot use them"
fi

try srun --mpi=none -N 2 -n 4 -O "$antiphon" doctor
expect "srun without PMIx" 69 "FAIL  start" "add --mpi=pmix"

if grep -q fsanitize "$TOP_BUILDDIR/config.status"; then
    skip preload "nodes that are not as they should be" "a preloaded library and sanitizers do not mix"
    done_testing
    exit
fi
bad() {
    what=$1 wish=$2 wanted=$3
    shift 3
    doctor_with "$what" "$wanted" "LD_PRELOAD='$library' BAD_NODE='$wish'" "$@"
}
bad "a clock that is ahead" "clock 3" 0 "WARN  clocks     that of rank 3 is 3600 s ahead"
bad "little shared memory" "shm 1" 0 "WARN  /dev/shm   is of 67 MB; rank 1" "docker --shm-size"
bad "a disk that is nearly full" disk 0 "WARN  output     only 105 MB are free"
bad "no locks of whole files" flock 0 "WARN  locks" "has no locks of whole files" \
    "HDF5_USE_FILE_LOCKING=FALSE"
for rank in 0 3; do
    on_nodes 2 4 env LD_PRELOAD="$library" BAD_NODE="sync $rank" "$antiphon" doctor --timeout 5
    if [ $rank = 0 ]; then
        expect "a file system that hangs on rank 0" 69 "OK    launcher" "OK    HDF5" \
            "FAIL  output     hangs on rank 0" "-> the file system does not answer"
    else
        expect "a file system that hangs on rank 3" 69 "OK    launcher" "OK    output" \
            "FAIL  one folder" "no answer from rank 3" "FAIL  ranks"
    fi
done
on_nodes 2 4 env LD_PRELOAD="$library" BAD_NODE=write "$antiphon" doctor --timeout 5
expect "a file system that hangs in HDF5" 69 "OK    output" "OK    locks" \
    "FAIL  MPI-IO     hangs on rank 0" "-> the file system does not answer"
bad "no locks at all" fcntl 0 "WARN  locks" "has no locks (fcntl)"

done_testing
