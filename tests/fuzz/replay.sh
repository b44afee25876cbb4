#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Give every fuzz target the files of its corpus; with FUZZ_SECONDS (and libFuzzer) go on for that
# long with inputs made of them.
set -u
: "${TOP_SRCDIR:=$(cd "$(dirname "$0")/../.." && pwd)}"
. "$TOP_SRCDIR/tests/tap.sh"

for target in ${FUZZ_TARGETS:-}; do
    name=${target##*/fuzz_}
    corpus=$TOP_SRCDIR/tests/fuzz/corpus/$name
    if [ -z "$(find "$corpus" -type f 2>/dev/null | head -n 1)" ]; then
        not_ok "$name: replay of the corpus" "no files in $corpus"
        continue
    fi
    if output=$(find "$corpus" -type f | LC_ALL=C sort |
        xargs timeout "${FUZZ_REPLAY_LIMIT:-120}" "./$target" 2>&1); then
        ok "$name: $(find "$corpus" -type f | wc -l) files replayed"
    else
        not_ok "$name: replay of the corpus" "$(printf '%s\n' "$output" | tail -n 40)"
    fi
    [ -n "${FUZZ_SECONDS:-}" ] || continue
    fresh=$(mktemp -d "${TMPDIR:-/tmp}/antiphon-fuzz.XXXXXX")
    if output=$("./$target" -max_total_time="$FUZZ_SECONDS" -timeout=10 "$fresh" "$corpus" 2>&1); then
        ok "$name: $FUZZ_SECONDS s of fuzzing"
    else
        not_ok "$name: $FUZZ_SECONDS s of fuzzing" "$(printf '%s\n' "$output" | tail -n 40)"
    fi
    rm -rf "$fresh"
done
[ "$tap_count" -gt 0 ] || skip fuzz "replay" "there are no fuzz targets"
done_testing
