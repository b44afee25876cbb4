#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# run.sh PROGRAM...: a cmocka test as automake's TAP driver wants it.
# cmocka says "not ok N # SKIP NAME" of a test that called skip(), which counts as a failure; and it
# cannot say why, so the test prints a line "skip: WHY" before. What a failing program wrote to
# standard error, where assertions tell their values, goes into its log.
set -u
errors=$(mktemp "${TMPDIR:-/tmp}/antiphon-test.XXXXXX") || exit 99
trap 'rm -f "$errors"' EXIT
exec 4>&1
status=$({ {
    "$@" 2>"$errors"
    echo $? >&3
} | awk '
    /^skip: / { why = substr($0, 7); next }
    /^not ok [0-9]+ # SKIP / {
        number = $3
        sub(/^not ok [0-9]+ # SKIP /, "")
        $0 = "ok " number " - " $0 " # SKIP " (why == "" ? "no reason given" : why)
        why = ""
    }
    { print; fflush() }' >&4; } 3>&1)
if [ "$status" -eq 0 ]; then
    cat "$errors" >&2
else
    sed 's/^/# /' "$errors"
fi
exit "$status"
