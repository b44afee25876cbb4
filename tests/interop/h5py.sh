#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Files as other people make and read them, by h5py: prompts in the forms that come naturally,
# results without a word of explanation.
set -u
: "${TOP_SRCDIR:=$(cd "$(dirname "$0")/../.." && pwd)}"
: "${TOP_BUILDDIR:=$PWD}"
# shellcheck source=tests/tap.sh
. "$TOP_SRCDIR/tests/tap.sh"

tmp=$(mktemp -d "${TMPDIR:-/tmp}/antiphon-h5py.XXXXXX") || exit 1
trap 'rm -rf "$tmp"' EXIT
unset PMIX_NAMESPACE SLURM_JOB_ID

# The python that has h5py: the system's own, where a virtual environment hides it.
python=
for candidate in python3 /usr/bin/python3; do
    if "$candidate" -c 'import h5py, numpy' 2>/dev/null; then
        python=$candidate
        break
    fi
done
if [ -z "$python" ]; then
    skip h5py "files in h5py" "no python3 with h5py"
    done_testing
    exit
fi
TMP=$tmp ANTIPHON=$TOP_BUILDDIR/src/antiphon PROBE=$TOP_BUILDDIR/tests/launch/results_probe \
    exec "$python" -B "$TOP_SRCDIR/tests/interop/h5py_files.py"
