#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Small checkpoints of every family, in the forms that real ones have, against transformers; some as
# GGUF files too. tiny.sh [PROGRAM]: another build of answers.
set -u
: "${TOP_SRCDIR:=$(cd "$(dirname "$0")/../.." && pwd)}"
program=${1:-./tests/golden/answers}
set --
for folder in "$TOP_SRCDIR"/tests/golden/tiny/*/; do
    name=$(basename "$folder")
    set -- "$@" "$name" "$folder" "$folder/expected.json"
    if test -f "$folder/model.gguf"; then
        set -- "$@" "$name.gguf" "$folder/model.gguf" "$folder/expected.json"
    fi
done
exec "$program" "$@"
