#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Small checkpoints of every family, in the forms that real ones have, against transformers.
set -u
: "${TOP_SRCDIR:=$(cd "$(dirname "$0")/../.." && pwd)}"
set --
for folder in "$TOP_SRCDIR"/tests/golden/tiny/*/; do
    set -- "$@" "$(basename "$folder")" "$folder" "$folder/expected.json"
done
exec ./tests/golden/answers "$@"
