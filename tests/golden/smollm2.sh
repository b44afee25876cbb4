#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The real SmolLM2-135M-Instruct against transformers. ANTIPHON_MODEL names the file that
# share/get-smollm2 fetches. smollm2.sh [PROGRAM]: another build of answers.
set -u
: "${TOP_SRCDIR:=$(cd "$(dirname "$0")/../.." && pwd)}"
. "$TOP_SRCDIR/tests/tap.sh"
if [ -z "${ANTIPHON_MODEL:-}" ]; then
    skip model "SmolLM2" "ANTIPHON_MODEL names no file; share/get-smollm2 fetches it"
    done_testing
    exit
fi
exec "${1:-./tests/golden/answers}" SmolLM2 "$ANTIPHON_MODEL" "$TOP_SRCDIR/tests/golden/smollm2.json"
