#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# antiphon doctor: on a healthy cluster nothing fails; what is wrong is named with what to do.
set -u
# shellcheck source=tests/launch/lib.sh
. "$(dirname "$0")/lib.sh"
under_slurm 2 4
antiphon=$TOP_BUILDDIR/src/antiphon

try "$antiphon" doctor --output "$tmp/x.h5"
expect "alone" 0 "OK    launcher   none, 1 ranks" "OK    HDF5" "can be written"

on_nodes 2 4 "$antiphon" doctor --output "$tmp/x.h5"
expect "four ranks under srun" 0 "OK    launcher   srun, 4 ranks, PMIx library" \
    "OK    fence      waits for all" "OK    UCX" "OK    clocks     agree" "OK    HDF5"
on_nodes 2 4 "$antiphon" doctor --output /nonexistent/x.h5
expect "a folder that is not there" 69 "FAIL  output" "/nonexistent" \
    "-> choose a folder that every node can write to"
on_nodes 2 4 env ANTIPHON_CPU=vax "$antiphon" doctor --output "$tmp/x.h5"
expect "an unknown CPU level" 69 "FAIL  CPU" "vax"
on_nodes 2 4 sh -c "[ \$SLURM_PROCID != 2 ] || export ANTIPHON_CPU=vax; exec '$antiphon' doctor"
expect "what one rank alone finds" 69 "FAIL  CPU" "rank 2" "OK    CPU"

try srun --mpi=none -N 2 -n 4 -O "$antiphon" doctor
expect "srun without PMIx" 69 "FAIL  start" "add --mpi=pmix"

done_testing
