#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The job layer started in every way there is, and in some that must be refused: who is who, every
# collective, and what happens when a rank differs, fails, is missing, or dies.
set -u
# shellcheck source=tests/launch/lib.sh
. "$(dirname "$0")/lib.sh"
under_slurm 2 4
probe=$TOP_BUILDDIR/tests/launch/group_probe

try "$probe" all
expect "alone" 0 "launcher none, job single" "rank 0 of 1 local 0 of 1 node 0" "probe: all well"

on_nodes 2 4 "$probe" all
expect "srun, two nodes, four ranks" 0 "launcher srun" "probe: all well" \
    "rank 0 of 4 local 0" "rank 3 of 4 local" "UCX"
# A private Slurm's node daemons share a host: one memory, but two names.
if [ -n "${PRIVATE_SLURM_NODES:-}" ]; then
    expect "two node daemons of one host" 0 "rank 1 of 4 local 1 of 4 node 0 n1" \
        "rank 2 of 4 local 2 of 4 node 0 n2" "  n1               0-1" "  n2               2-3"
fi

on_nodes 1 1 "$probe" all
expect "srun, one rank" 0 "launcher srun" "probe: all well"
on_nodes 2 7 "$probe" all
expect "srun, seven ranks" 0 "rank 6 of 7" "probe: all well"

if command -v mpirun >/dev/null; then
    by_mpirun 4 "$probe" all
    expect "mpirun, four ranks" 0 "launcher mpirun" "rank 3 of 4 local 3 of 4 node 0" \
        "probe: all well"
    by_mpirun 5 "$probe" all
    expect "mpirun, five ranks" 0 "probe: all well"
else
    skip mpirun "mpirun, four ranks" "no mpirun"
fi

try srun --mpi=none -N 2 -n 4 -O "$probe" all
expect "srun without PMIx is refused" 64 \
    "rank 0: started by srun as 4 tasks without PMIx: add --mpi=pmix"

cat >"$tmp/batch" <<TEXT
#!/bin/sh
echo "tasks \$SLURM_NTASKS"
"$probe" all
TEXT
try sbatch --wait -N 2 -n 4 -o "$tmp/batch.out" -e "$tmp/batch.out" "$tmp/batch"
cat "$tmp/batch.out" >>"$out"
expect "in a batch script without srun it is alone" 0 "tasks 4" "rank 0 of 1" "probe: all well"

# Steps that all take together while anybody has work.
on_nodes 2 4 "$probe" company
expect "steps in company" 0 "probe: 4" "probe: all well"

# Numbers that all add to: by shared memory without the owner, by messages with its help.
on_nodes 2 4 "$probe" counters
expect "counters, four ranks" 0 "probe: all well"
on_nodes 2 4 "$probe" asleep 3
if [ -n "${PRIVATE_SLURM_NODES:-}" ]; then
    expect "a counter whose owner sleeps" 0 "without its help" "probe: all well"
else
    expect "a counter whose owner sleeps" 0 "probe: all well"
fi
on_nodes 2 4 "$probe" far-counters
expect "counters by messages" 0 "probe: all well"
on_nodes 2 4 "$probe" far-asleep 3
expect "a counter by messages whose owner sleeps" 0 "probe: all well"
UCX_TLS=tcp,self on_nodes 2 4 "$probe" far-counters
expect "counters over TCP" 0 "probe: all well"

# One text for all, and nobody hangs.
on_nodes 2 4 "$probe" differ 2
expect "a rank with other settings" 64 "rank 2 on " " was started with other settings than rank 0"
one_text "a rank with other settings" 4
on_nodes 2 4 "$probe" fail 2
expect "a rank that cannot go on" 65 "rank 0: rank 2 cannot go on"
one_text "a rank that cannot go on" 4

on_nodes 2 4 "$probe" absent 2
expect "a rank that does not come" 75 \
    "rank 0: barrier of 4 ranks stood still for 3 s: no answer from rank 2"
grep -v 'rank 2: ' "$err" >"$tmp/others" && cp "$tmp/others" "$err"
one_text "a rank that does not come" 3

on_nodes 2 4 "$probe" missing 2 11000
expect "a rank that does not come to an all-gather" 75 \
    "rank 0: all-gather of 4 ranks stood still for 3 s: no answer from rank 2"
grep -v 'rank 2: ' "$err" >"$tmp/others" && cp "$tmp/others" "$err"
one_text "a rank that does not come to an all-gather" 3

on_nodes 2 4 "$probe" abort 1
expect "a rank that ends the job" 70
limit=60
try srun --mpi=pmix -N 2 -n 4 -O "$probe" die 3
expect "a rank that is killed" 137 "Killed"
if command -v mpirun >/dev/null; then
    by_mpirun 4 "$probe" die 3
    expect "a rank that is killed under mpirun" 137
fi
done_testing
