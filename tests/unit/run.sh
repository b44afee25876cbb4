#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# run.sh PROGRAM...: a cmocka test as automake's TAP driver wants it. cmocka says "not ok N # SKIP
# NAME" of a test that called skip(), which counts as a failure; and it cannot say why, so the test
# prints a line "skip: WHY" before.
set -u
exec 4>&1
status=$({ {
    "$@"
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
exit "$status"
